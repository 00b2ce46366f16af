//! Fetch: reads what is there, waits for more if that is too little, and answers with the records by
//! reference. Limits are Kafka's: min_bytes or max_wait end the wait, max_bytes and partition_max_bytes
//! bound the answer, and the first batch found is whole whatever its size (KIP-74).

use super::errors::code_of;
use super::fetch_session::{Fetching, SessionCache, SessionPartition};
use super::response::{Part, Response};
use crate::runtime;
use crate::shard::image::{MetadataImage, PartitionPlace, Topic};
use crate::shard::request::{
    PartitionError, PartitionKey, ReadCopy, ReadSpec, ShardReply, ShardRequest,
};
use crate::shard::{Reading, Shard};
use crate::types::{Offset, ShardId};
use crate::wire::api::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, PartitionData,
};
use crate::wire::batch::BatchHeader;
use crate::wire::{ErrorCode, Records, RequestHeader, encode_response};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// First version with sessions (KIP-227), and first that names topics by id (KIP-516).
const SESSION_VERSION_MIN: i16 = 7;
const TOPIC_ID_VERSION_MIN: i16 = 13;
/// Longest wait that a client may ask for; a longer one is shortened.
const WAIT_MS_MAX: i32 = 60 * 60 * 1000;

/// A fetch's limits, as far as they are the same for all partitions.
#[derive(Clone, Copy)]
struct Limits {
    bytes_min: usize,
    bytes_max: usize,
    wait: Duration,
}

/// One partition of the fetch, resolved against the image.
struct Item {
    /// Its place in the session.
    place: usize,
    key: PartitionKey,
    owner: ShardId,
    wanted: FetchPartition,
}

/// What one partition has to say.
enum Outcome {
    Read(Reading),
    Error(ErrorCode),
    Diverging(EpochEndOffset),
}

impl Outcome {
    fn bytes(&self) -> usize {
        match self {
            Outcome::Read(reading) => reading.bytes(),
            _ => 0,
        }
    }

    fn ends_wait(&self) -> bool {
        !matches!(self, Outcome::Read(_))
    }
}

/// Answers a fetch.
pub async fn fetch(
    shard: Rc<Shard>,
    sessions: Rc<SessionCache>,
    header: RequestHeader,
    request: FetchRequest,
    fetch_bytes_max: usize,
) -> Response {
    let version = header.api_version;
    let mut limits = Limits {
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).map_or(0, |max| max.min(fetch_bytes_max)),
        wait: Duration::from_millis(request.max_wait_ms.clamp(0, WAIT_MS_MAX) as u64),
    };
    let nothing = request.max_bytes < 0;
    let committed_only = request.isolation_level == 1;
    let begun =
        sessions.begin(request, version >= SESSION_VERSION_MIN, version >= TOPIC_ID_VERSION_MIN);
    let fetching = match begun {
        Ok(fetching) => fetching,
        Err(error_code) => {
            let response = FetchResponse { error_code, ..FetchResponse::default() };
            return encode(&header, &response, Vec::new());
        }
    };
    if !fetching.impossible.is_empty() {
        // Errors are told at once.
        limits.wait = Duration::ZERO;
    }
    let wanted: Vec<SessionPartition> = fetching.session.borrow().partitions.clone();
    let outcomes = read_until_enough(&shard, version, &wanted, limits, nothing).await;
    shard.probe.bytes_fetched.add(outcomes.iter().map(|outcome| outcome.bytes() as u64).sum());
    answer(&header, fetching, &wanted, outcomes, committed_only)
}

/// Reads, and reads again when something has come, until there is enough or time is up.
async fn read_until_enough(
    shard: &Rc<Shard>,
    version: i16,
    wanted: &[SessionPartition],
    limits: Limits,
    nothing: bool,
) -> Vec<Outcome> {
    let deadline = runtime::now() + limits.wait;
    loop {
        let image = shard.image();
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(wanted.len(), || None);
        let mut items = Vec::with_capacity(wanted.len());
        for (place, partition) in wanted.iter().enumerate() {
            match resolve(&image, version, place, partition) {
                Ok(item) => items.push(item),
                Err(code) => outcomes[place] = Some(Outcome::Error(code)),
            }
        }
        check_epochs(shard, &items, &mut outcomes).await;
        items.retain(|item| outcomes[item.place].is_none());
        read_all(shard, &items, limits.bytes_max, nothing, &mut outcomes).await;
        let outcomes: Vec<Outcome> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::Error(ErrorCode::UnknownServerError)))
            .collect();
        let bytes: usize = outcomes.iter().map(Outcome::bytes).sum();
        let left = deadline - runtime::now();
        let enough = bytes >= limits.bytes_min || outcomes.iter().any(Outcome::ends_wait);
        if enough || left.is_zero() || wanted.is_empty() || shard.is_stopping() {
            return outcomes;
        }
        let thresholds: Vec<(ShardId, PartitionKey, Offset)> = items
            .iter()
            .filter_map(|item| match &outcomes[item.place] {
                Outcome::Read(reading) => {
                    Some((item.owner, item.key, reading.high_watermark().advanced_by(1)))
                }
                _ => None,
            })
            .collect();
        drop(outcomes);
        wait_for_more(shard, &thresholds, left).await;
    }
}

/// Finds the partition's owner, and checks what can be checked against the image.
fn resolve(
    image: &MetadataImage,
    version: i16,
    place: usize,
    partition: &SessionPartition,
) -> Result<Item, ErrorCode> {
    let key = &partition.key;
    let topic: &Topic = if version >= TOPIC_ID_VERSION_MIN {
        image.topic_by_id(key.topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        image.topic(key.topic.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let PartitionPlace { shard: owner, leader_epoch, .. } =
        topic.partition(key.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let wanted = partition.wanted.clone();
    // KIP-320: a client with other metadata is told so.
    if wanted.current_leader_epoch >= 0 {
        if wanted.current_leader_epoch < *leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if wanted.current_leader_epoch > *leader_epoch {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
    }
    let key = PartitionKey { topic_id: topic.id, index: key.index };
    Ok(Item { place, key, owner: *owner, wanted })
}

/// KIP-595: a fetcher whose last records are of an epoch that ended before its offset is told where.
async fn check_epochs(shard: &Rc<Shard>, items: &[Item], outcomes: &mut [Option<Outcome>]) {
    for item in items.iter().filter(|item| item.wanted.last_fetched_epoch >= 0) {
        let epoch = item.wanted.last_fetched_epoch;
        let asked = shard.ask(item.owner, ShardRequest::EpochEnd { key: item.key, epoch }).await;
        outcomes[item.place] = match asked {
            ShardReply::EpochEnd(Ok(Some((known, end)))) => {
                let diverges = known < epoch || end.0 < item.wanted.fetch_offset;
                let end = EpochEndOffset { epoch: known, end_offset: end.0 };
                diverges.then_some(Outcome::Diverging(end))
            }
            ShardReply::EpochEnd(Ok(None)) => Some(Outcome::Error(ErrorCode::OffsetOutOfRange)),
            ShardReply::EpochEnd(Err(error)) => Some(Outcome::Error(code_of(&error))),
            _ => Some(Outcome::Error(ErrorCode::NotLeaderOrFollower)),
        };
    }
}

fn spec_of(item: &Item, nothing: bool) -> ReadSpec {
    let limit = item.wanted.partition_max_bytes;
    ReadSpec {
        key: item.key,
        offset: Offset(item.wanted.fetch_offset),
        bytes_max: usize::try_from(limit).unwrap_or(0),
        first_whole: !nothing && limit >= 0,
    }
}

/// Reads this core's partitions and, side by side, those of others; then applies the limit in order.
async fn read_all(
    shard: &Rc<Shard>,
    items: &[Item],
    bytes_max: usize,
    nothing: bool,
    outcomes: &mut [Option<Outcome>],
) {
    let mut elsewhere: BTreeMap<ShardId, (Vec<usize>, Vec<ReadSpec>)> = BTreeMap::new();
    let (mut places, mut specs) = (Vec::new(), Vec::with_capacity(items.len()));
    for item in items {
        let spec = spec_of(item, nothing);
        let (places, specs) = if item.owner == shard.id {
            (&mut places, &mut specs)
        } else {
            let entry = elsewhere.entry(item.owner).or_default();
            (&mut entry.0, &mut entry.1)
        };
        places.push(item.place);
        specs.push(spec);
    }
    let calls: Vec<_> = elsewhere
        .into_iter()
        .map(|(owner, (places, specs))| (places, shard.read_elsewhere(owner, specs, bytes_max)))
        .collect();
    let hops = !calls.is_empty();
    for (place, read) in places.into_iter().zip(shard.read_here(&specs, bytes_max).await) {
        outcomes[place] = Some(outcome_of(read.map(Reading::Here)));
    }
    for (places, call) in calls {
        let ShardReply::Read(reads) = call.await else {
            places.into_iter().for_each(|place| {
                outcomes[place] = Some(Outcome::Error(ErrorCode::NotLeaderOrFollower));
            });
            continue;
        };
        for (place, read) in places.into_iter().zip(reads) {
            outcomes[place] = Some(outcome_of(read.map(Reading::Copied)));
        }
    }
    if hops {
        trim(items, outcomes, bytes_max);
    }
}

fn outcome_of(read: Result<Reading, PartitionError>) -> Outcome {
    match read {
        Ok(reading) => Outcome::Read(reading),
        Err(error) => Outcome::Error(code_of(&error)),
    }
}

/// Several cores read up to the limit each, and each gave its first batch whole: what is beyond the limits
/// in all is dropped, in the order asked.
fn trim(items: &[Item], outcomes: &mut [Option<Outcome>], bytes_max: usize) {
    let mut taken = 0;
    for item in items {
        let Some(Outcome::Read(reading)) = &mut outcomes[item.place] else { continue };
        let own = usize::try_from(item.wanted.partition_max_bytes).unwrap_or(0);
        let left = bytes_max.saturating_sub(taken).min(own);
        if taken > 0 && reading.bytes() > left {
            cut_reading(reading, left);
        }
        taken += reading.bytes();
    }
}

/// Keeps the whole batches that fit into `limit`.
fn cut_reading(reading: &mut Reading, limit: usize) {
    match reading {
        Reading::Copied(ReadCopy { records, .. }) => {
            records.truncate(whole_batches(records, limit));
        }
        Reading::Here(batches) => {
            let mut left = limit;
            let mut kept = Vec::new();
            for slice in batches.slices.drain(..) {
                let length = whole_batches(&slice, left);
                let whole = length == slice.len();
                if length > 0 {
                    kept.push(slice.slice(0..length));
                    left -= length;
                }
                if !whole {
                    break;
                }
            }
            batches.bytes = kept.iter().map(|slice| slice.len()).sum();
            batches.slices = kept;
        }
    }
}

/// Bytes of the whole batches at the start of `bytes` within `limit`.
fn whole_batches(bytes: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[end..]) {
        let next = end + header.batch_bytes;
        if next > limit || next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

/// Waits until one of the partitions has grown, wherever it lives, or time is up.
async fn wait_for_more(
    shard: &Rc<Shard>,
    thresholds: &[(ShardId, PartitionKey, Offset)],
    left: Duration,
) {
    let mut here = Vec::new();
    let mut elsewhere: BTreeMap<ShardId, Vec<(PartitionKey, Offset)>> = BTreeMap::new();
    for (owner, key, threshold) in thresholds {
        if *owner == shard.id {
            here.push((*key, *threshold));
        } else {
            elsewhere.entry(*owner).or_default().push((*key, *threshold));
        }
    }
    let mut calls: Vec<_> = elsewhere
        .into_iter()
        .map(|(owner, thresholds)| shard.watch_elsewhere(owner, thresholds, left))
        .collect();
    let any_call = std::future::poll_fn(|context| {
        for call in &mut calls {
            if std::pin::Pin::new(call).poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    });
    let grown = futures_lite::future::or(shard.watch_here(&here), any_call);
    runtime::timeout(left, grown).await;
}

// ---------------------------------------------------------------- the answer

fn answer(
    header: &RequestHeader,
    fetching: Fetching,
    wanted: &[SessionPartition],
    outcomes: Vec<Outcome>,
    committed_only: bool,
) -> Response {
    let mut session = fetching.session.borrow_mut();
    let mut response = FetchResponse { session_id: session.id, ..FetchResponse::default() };
    let mut records = Vec::new();
    let mut last_with_data = None;
    for (place, (partition, outcome)) in wanted.iter().zip(outcomes).enumerate() {
        let bytes = outcome.bytes();
        let (data, parts) = data_of(partition.key.index, outcome, committed_only);
        // The session may have changed while this fetch waited: a client that pipelines on one session.
        let known = session.partitions.get_mut(place).filter(|known| known.key == partition.key);
        let news = known.is_none_or(|known| {
            known.tell(data.error_code, bytes, data.high_watermark, data.log_start_offset)
        });
        if fetching.incremental && !news {
            continue;
        }
        if bytes > 0 {
            last_with_data = Some(place);
            records.push(parts);
        }
        let same_topic = response.responses.last().is_some_and(|topic| {
            topic.topic == partition.key.topic && topic.topic_id == partition.key.topic_id
        });
        if !same_topic {
            response.responses.push(FetchableTopicResponse {
                topic: partition.key.topic.clone(),
                topic_id: partition.key.topic_id,
                partitions: Vec::new(),
            });
        }
        response.responses.last_mut().expect("just pushed").partitions.push(data);
    }
    if let Some(last) = last_with_data {
        session.rotate_after(last);
    }
    drop(session);
    for FetchTopic { topic, topic_id, partitions } in fetching.impossible {
        let data_of = |wanted: FetchPartition| {
            let unknown = Outcome::Error(ErrorCode::UnknownTopicOrPartition);
            data_of(wanted.partition, unknown, committed_only).0
        };
        let partitions = partitions.into_iter().map(data_of).collect();
        response.responses.push(FetchableTopicResponse { topic, topic_id, partitions });
    }
    encode(header, &response, records)
}

fn data_of(
    partition_index: i32,
    outcome: Outcome,
    committed_only: bool,
) -> (PartitionData, Vec<Part>) {
    let mut data = PartitionData {
        partition_index,
        high_watermark: -1,
        aborted_transactions: committed_only.then(Vec::new),
        ..PartitionData::default()
    };
    let mut parts = Vec::new();
    match outcome {
        Outcome::Error(code) => {
            data.error_code = code;
            if matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
                data.aborted_transactions = Some(Vec::new());
            }
        }
        Outcome::Diverging(end) => data.diverging_epoch = end,
        Outcome::Read(reading) => {
            data.high_watermark = reading.high_watermark().0;
            data.last_stable_offset = data.high_watermark;
            data.log_start_offset = reading.log_start().0;
            if reading.bytes() > 0 {
                data.records = Some(Records::External(reading.bytes()));
            }
            parts = match reading {
                Reading::Here(batches) => batches.slices.into_iter().map(Part::Records).collect(),
                Reading::Copied(copy) => vec![Part::Encoded(copy.records)],
            };
        }
    }
    (data, parts)
}

fn encode(header: &RequestHeader, response: &FetchResponse, records: Vec<Vec<Part>>) -> Response {
    let encoder =
        encode_response::<FetchRequest>(response, header.api_version, header.correlation_id);
    Response::with_records(encoder, records)
}
