//! Fetch: reads what is there, waits for more if that is too little, and answers with the records by
//! reference. Limits are Kafka's: min_bytes or max_wait end the wait, max_bytes and partition_max_bytes
//! bound the answer, and the first batch found is whole whatever its size (KIP-74).

use super::answer_budget::{AnswerBudget, AnswerShare};
use super::errors::code_of;
use super::fetch_read::{
    Outcome, PartitionRead, bytes_to_hold, is_enough, read_on, rewind, wait_for_more,
};
use super::fetch_session::{Fetching, SessionCache, SessionKey, SessionPartition};
use super::leaders::{Leader, Leaders};
use super::response::{Part, Response, room_for};
use crate::runtime;
use crate::shard::Shard;
use crate::shard::endpoints::Broker;
use crate::shard::image::{MetadataImage, PartitionPlace, Topic};
use crate::shard::quota_table::QuotaKind;
use crate::shard::quotas::Meter;
use crate::shard::request::{PartitionKey, ShardReply, ShardRequest};
use crate::types::{Offset, ShardId};
use crate::wire::api::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::wire::{ErrorCode, Records, RequestHeader, Str, encode_response_in_room};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// First version with sessions (KIP-227), and first that names topics by id (KIP-516).
const SESSION_VERSION_MIN: i16 = 7;
const TOPIC_ID_VERSION_MIN: i16 = 13;
/// First version that names the leader of a partition that is elsewhere (KIP-951), as by Kafka: the field is older.
const LEADERS_VERSION_MIN: i16 = 16;
/// What one fetch may take of its client's quota, in time.
const QUOTA_SECONDS_PER_FETCH_MAX: f64 = 10.0;
/// Longest wait that a client may ask for; a longer one is shortened.
const WAIT_MS_MAX: i32 = 60 * 60 * 1000;

/// Who asks, and for which answer.
pub struct Asker {
    pub header: RequestHeader,
    /// The address that the client reached.
    pub local: SocketAddr,
}

/// A fetch's limits, as far as they are the same for all partitions.
#[derive(Clone, Copy)]
struct Limits {
    bytes_min: usize,
    bytes_max: usize,
    wait: Duration,
    /// The first batch found is given whole whatever its size (KIP-74).
    first_whole: bool,
}

/// Answers a fetch.
pub async fn fetch(
    shard: Rc<Shard>,
    sessions: Rc<SessionCache>,
    answers: Rc<AnswerBudget>,
    asker: Asker,
    request: FetchRequest,
    fetch_bytes_max: usize,
    meter: Option<&Meter>,
) -> Response {
    let version = asker.header.api_version;
    let quota = meter.and_then(|meter| meter.rate(QuotaKind::FetchBytes));
    // As Kafka, so that a large fetch does not silence its client for long.
    let fetch_bytes_max = quota.map_or(fetch_bytes_max, |quota| {
        fetch_bytes_max.min((quota * QUOTA_SECONDS_PER_FETCH_MAX) as usize)
    });
    let bytes_max = usize::try_from(request.max_bytes).map_or(0, |max| max.min(fetch_bytes_max));
    let mut limits = Limits {
        // As Kafka's: more than an answer may hold cannot be waited for.
        bytes_min: usize::try_from(request.min_bytes).map_or(0, |min| min.min(bytes_max)),
        bytes_max,
        wait: Duration::from_millis(request.max_wait_ms.clamp(0, WAIT_MS_MAX) as u64),
        first_whole: request.max_bytes >= 0,
    };
    let committed_only = request.isolation_level == 1;
    let begun =
        sessions.begin(request, version >= SESSION_VERSION_MIN, version >= TOPIC_ID_VERSION_MIN);
    let fetching = match begun {
        Ok(fetching) => fetching,
        Err(error_code) => {
            let throttle_time_ms = meter.map_or(0, Meter::settle);
            let response =
                FetchResponse { error_code, throttle_time_ms, ..FetchResponse::default() };
            return encode(&asker.header, &response, Vec::new());
        }
    };
    if !fetching.impossible.is_empty() {
        // Errors are told at once.
        limits.wait = Duration::ZERO;
    }
    let wanted: Vec<SessionPartition> = fetching.session.borrow().partitions.clone();
    let (outcomes, mut share) = read_until_enough(&shard, &answers, version, &wanted, limits).await;
    let bytes: u64 = outcomes.iter().map(|outcome| outcome.bytes() as u64).sum();
    shard.probe.bytes_fetched.add(bytes);
    let throttle_time_ms = meter.map_or(0, |meter| {
        meter.charge(QuotaKind::FetchBytes, bytes as f64);
        meter.settle()
    });
    let mut response =
        answer(&shard, &asker, fetching, &wanted, outcomes, committed_only, throttle_time_ms);
    share.set(response.bytes());
    response.share = Some(share);
    response
}

/// Reads, and reads on when something has come, until there is enough or time is up.
async fn read_until_enough(
    shard: &Rc<Shard>,
    answers: &Rc<AnswerBudget>,
    version: i16,
    wanted: &[SessionPartition],
    limits: Limits,
) -> (Vec<Outcome>, AnswerShare) {
    let deadline = runtime::now() + limits.wait;
    let mut image = shard.image();
    let mut outcomes = resolve_all(shard, &image, version, wanted, limits).await;
    loop {
        let (least, most) = bytes_to_hold(&outcomes, limits.bytes_max);
        let share = answers.take(least, most).await;
        let bytes_max = limits.bytes_max.min(share.bytes());
        let bytes_min = limits.bytes_min.min(bytes_max);
        read_on(shard, &mut outcomes, bytes_min, bytes_max).await;
        let left = deadline - runtime::now();
        let is_over = left.is_zero() || outcomes.is_empty() || shard.is_stopping();
        if is_over || is_enough(&outcomes, bytes_min) {
            if rewind(&mut outcomes) {
                read_on(shard, &mut outcomes, bytes_min, bytes_max).await;
            }
            return (outcomes, share);
        }
        drop(share);
        wait_for_more(shard, &mut outcomes, left).await;
        // Whatever woke it: nobody has this core to himself.
        runtime::yield_if_needed().await;
        if shard.image().version != image.version {
            image = shard.image();
            outcomes = resolve_all(shard, &image, version, wanted, limits).await;
        }
    }
}

/// Finds where the partitions are, and what cannot be read of them.
async fn resolve_all(
    shard: &Rc<Shard>,
    image: &MetadataImage,
    version: i16,
    wanted: &[SessionPartition],
    limits: Limits,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(wanted.len());
    // A topic's partitions mostly follow each other: it is looked up once for all of them.
    let mut last: Option<(&SessionKey, Result<&Topic, ErrorCode>)> = None;
    for partition in wanted {
        let topic = match last {
            Some((key, topic)) if key.is_beside(&partition.key) => topic,
            _ => find_topic(image, version, &partition.key),
        };
        last = Some((&partition.key, topic));
        let outcome = match topic.and_then(|topic| resolve(topic, partition)) {
            Ok((key, owner, batch_bytes_max)) => {
                let FetchPartition {
                    fetch_offset, last_fetched_epoch, partition_max_bytes, ..
                } = partition.wanted;
                let first = Offset(fetch_offset);
                match check_epoch(shard, key, owner, last_fetched_epoch, first).await {
                    Some(outcome) => outcome,
                    None => {
                        let limit = usize::try_from(partition_max_bytes);
                        let first_whole = limits.first_whole && limit.is_ok();
                        let first_bytes_max = if first_whole { batch_bytes_max } else { 0 };
                        let limit = limit.unwrap_or(0);
                        Outcome::Read(PartitionRead::new(key, owner, first, limit, first_bytes_max))
                    }
                }
            }
            Err(code) => Outcome::Error(code),
        };
        outcomes.push(outcome);
    }
    outcomes
}

fn find_topic<'a>(
    image: &'a MetadataImage,
    version: i16,
    key: &SessionKey,
) -> Result<&'a Topic, ErrorCode> {
    let found = if version >= TOPIC_ID_VERSION_MIN {
        image.topic_by_id(key.topic_id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic(key.topic.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition)
    };
    found.map(|topic| &**topic)
}

/// Finds the partition's owner and how large its batches may be, and checks what can be checked against
/// the image.
fn resolve(
    topic: &Topic,
    partition: &SessionPartition,
) -> Result<(PartitionKey, ShardId, usize), ErrorCode> {
    let key = &partition.key;
    let PartitionPlace { shard: owner, leader_epoch, .. } =
        topic.partition(key.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // KIP-320: a client with other metadata is told so.
    let known_epoch = partition.wanted.current_leader_epoch;
    if known_epoch >= 0 && known_epoch < *leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if known_epoch > *leader_epoch {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    let key = PartitionKey { topic_id: topic.id, index: key.index };
    Ok((key, *owner, topic.log_config.message_bytes_max.max(1)))
}

/// KIP-595: a fetcher whose last records are of an epoch that ended before its offset is told where.
async fn check_epoch(
    shard: &Rc<Shard>,
    key: PartitionKey,
    owner: ShardId,
    epoch: i32,
    first: Offset,
) -> Option<Outcome> {
    if epoch < 0 {
        return None;
    }
    match shard.ask(owner, ShardRequest::EpochEnd { key, epoch }).await {
        ShardReply::EpochEnd(Ok(Some((known, end)))) => {
            let diverges = known < epoch || end < first;
            let end = EpochEndOffset { epoch: known, end_offset: end.0 };
            diverges.then_some(Outcome::Diverging(end))
        }
        ShardReply::EpochEnd(Ok(None)) => Some(Outcome::Error(ErrorCode::OffsetOutOfRange)),
        ShardReply::EpochEnd(Err(error)) => Some(Outcome::refused(code_of(&error), owner)),
        _ => Some(Outcome::NotAt(owner)),
    }
}

// ---------------------------------------------------------------- the answer

fn answer(
    shard: &Shard,
    asker: &Asker,
    fetching: Fetching,
    wanted: &[SessionPartition],
    outcomes: Vec<Outcome>,
    committed_only: bool,
    throttle_time_ms: i32,
) -> Response {
    let mut session = fetching.session.borrow_mut();
    let mut response =
        FetchResponse { session_id: session.id, throttle_time_ms, ..FetchResponse::default() };
    let mut records = Vec::new();
    let mut last_with_data = None;
    let mut leaders = Leaders::new(asker.local);
    for (place, (partition, outcome)) in wanted.iter().zip(outcomes).enumerate() {
        let bytes = outcome.bytes();
        let leader = leader_of(shard, asker, &partition.key, &outcome, &mut leaders);
        let (mut data, parts) = data_of(partition.key.index, outcome, committed_only);
        if let Some(Leader { id, epoch }) = leader {
            data.current_leader = LeaderIdAndEpoch { leader_id: id, leader_epoch: epoch };
        }
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
    response.node_endpoints = leaders.brokers(shard).into_iter().map(endpoint).collect();
    encode(&asker.header, &response, records)
}

/// Who leads a partition that was refused because it is elsewhere, or because its client knows an older epoch.
fn leader_of(
    shard: &Shard,
    asker: &Asker,
    key: &SessionKey,
    outcome: &Outcome,
    leaders: &mut Leaders,
) -> Option<Leader> {
    let refused_by = match outcome {
        Outcome::NotAt(owner) => Some(*owner),
        Outcome::Error(ErrorCode::FencedLeaderEpoch) => None,
        _ => return None,
    };
    let version = asker.header.api_version;
    if version < LEADERS_VERSION_MIN {
        return None;
    }
    let image = shard.image();
    let topic = find_topic(&image, version, key).ok()?;
    leaders.find(shard, &image, topic, key.index, refused_by)
}

fn endpoint(broker: Broker) -> NodeEndpoint {
    NodeEndpoint {
        node_id: broker.id,
        host: Str::from(broker.host),
        port: i32::from(broker.port),
        rack: broker.rack.map(Str::from),
    }
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
        Outcome::NotAt(_) => data.error_code = ErrorCode::NotLeaderOrFollower,
        Outcome::Diverging(end) => data.diverging_epoch = end,
        Outcome::Read(read) => {
            data.high_watermark = read.high_watermark.0;
            data.last_stable_offset = data.high_watermark;
            data.log_start_offset = read.log_start.0;
            if read.bytes > 0 {
                data.records = Some(Records::External(read.bytes));
            }
            parts = read.parts;
        }
    }
    (data, parts)
}

fn encode(header: &RequestHeader, response: &FetchResponse, records: Vec<Vec<Part>>) -> Response {
    let sizes = response.responses.iter().map(|topic| (&topic.topic, topic.partitions.len()));
    let encoder = encode_response_in_room::<FetchRequest>(
        response,
        header.api_version,
        header.correlation_id,
        room_for(sizes),
    );
    Response::with_records(encoder, records)
}
