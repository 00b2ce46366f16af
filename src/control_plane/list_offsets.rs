//! ListOffsets: the offset of the first record, of the end, or of a time.

use super::ControlPlane;
use super::partitions::{BoundsByPartition, Located, check_epoch, code_of, locate};
use crate::limits::{
    TIME_LOOKUP_BATCH_BYTES_MAX, TIME_LOOKUP_BATCHES_MAX, TIME_LOOKUP_BYTES_MAX, TIME_LOOKUPS_MAX,
};
use crate::runtime;
use crate::shard::request::{Bounds, ShardReply, ShardRequest, TimeLookup};
use crate::types::{Offset, Timestamp};
use crate::wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use crate::wire::records::{self, FirstRecords};
use crate::wire::{ErrorCode, batch};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::cell::Cell;
use std::collections::HashMap;

/// Times that stand for something else.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: what lies on local disk, which is all there is.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005: what was copied to tiered storage, which is nothing.
const LATEST_TIERED: i64 = -5;
/// KIP-1023: what waits to be copied there.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Records looked at before others on the core have their turn.
const RECORDS_PER_TURN: usize = 1024;

/// What is found, as offset, time and leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    offset: Offset,
    timestamp: Timestamp,
    leader_epoch: i32,
}

impl Found {
    const NONE: Found = Found { offset: Offset(-1), timestamp: Timestamp::NONE, leader_epoch: -1 };
}

/// One partition of the request.
struct Question {
    asked: ListOffsetsPartition,
    located: Result<Located, ErrorCode>,
}

pub async fn handle(
    control_plane: &ControlPlane,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let topics: Vec<(_, Vec<Question>)> = request
        .topics
        .into_iter()
        .map(|topic| (topic.name.clone(), questions(control_plane, &topic.name, topic.partitions)))
        .collect();
    let located = topics.iter().flat_map(|(_, questions)| questions);
    let located = located.filter_map(|question| question.located.as_ref().ok());
    let bounds = control_plane.bounds_of(located.map(|found| (found.owner, found.key))).await;
    let budget = Budget { left: Cell::new(TIME_LOOKUP_BYTES_MAX) };
    let mut answered = Vec::with_capacity(topics.len());
    for (name, questions) in topics {
        let answers = stream::iter(questions)
            .map(|question| answer(control_plane, question, &bounds, version, &budget))
            .buffered(TIME_LOOKUPS_MAX);
        answered.push(ListOffsetsTopicResponse { name, partitions: answers.collect().await });
    }
    ListOffsetsResponse { topics: answered, ..ListOffsetsResponse::default() }
}

/// The partitions of a topic, each once; one that was named twice is refused.
fn questions(
    control_plane: &ControlPlane,
    topic: &str,
    partitions: Vec<ListOffsetsPartition>,
) -> Vec<Question> {
    let image = control_plane.shard.image();
    let mut places: HashMap<i32, usize> = HashMap::new();
    let mut questions: Vec<Question> = Vec::with_capacity(partitions.len());
    for asked in partitions {
        let index = asked.partition_index;
        if let Some(place) = places.get(&index) {
            questions[*place].located = Err(ErrorCode::InvalidRequest);
            continue;
        }
        places.insert(index, questions.len());
        questions.push(Question { located: locate(&image, topic, index), asked });
    }
    questions
}

async fn answer(
    control_plane: &ControlPlane,
    question: Question,
    bounds: &BoundsByPartition,
    version: i16,
    budget: &Budget,
) -> ListOffsetsPartitionResponse {
    let partition_index = question.asked.partition_index;
    match find(control_plane, question, bounds, version, budget).await {
        Ok(found) => ListOffsetsPartitionResponse {
            partition_index,
            timestamp: found.timestamp.0,
            offset: found.offset.0,
            leader_epoch: found.leader_epoch,
            ..ListOffsetsPartitionResponse::default()
        },
        Err(error_code) => ListOffsetsPartitionResponse {
            partition_index,
            error_code,
            ..ListOffsetsPartitionResponse::default()
        },
    }
}

async fn find(
    control_plane: &ControlPlane,
    question: Question,
    bounds: &BoundsByPartition,
    version: i16,
    budget: &Budget,
) -> Result<Found, ErrorCode> {
    let located = question.located?;
    let time = question.asked.timestamp;
    let version_min = match time {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ if time < EARLIEST_PENDING_UPLOAD => return Err(ErrorCode::UnsupportedVersion),
        _ => 1,
    };
    if version < version_min {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let bounds = bounds.get(&located.key).copied();
    let bounds: Bounds = bounds.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))?;
    check_epoch(question.asked.current_leader_epoch, located.leader_epoch)?;
    let at = |offset, leader_epoch| Found { offset, timestamp: Timestamp::NONE, leader_epoch };
    match time {
        LATEST => Ok(at(bounds.high_watermark, bounds.leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => Ok(at(bounds.log_start, bounds.log_start_epoch)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(Found::NONE),
        _ if bounds.log_start >= bounds.high_watermark => Ok(Found::NONE),
        _ => {
            let time = (time != MAX_TIMESTAMP).then_some(Timestamp(time));
            find_record(control_plane, &located, time, bounds.log_start, budget).await
        }
    }
}

/// The first record at or after a time, or the first of those with the largest.
async fn find_record(
    control_plane: &ControlPlane,
    located: &Located,
    time: Option<Timestamp>,
    log_start: Offset,
    budget: &Budget,
) -> Result<Found, ErrorCode> {
    let mut from = log_start;
    for _ in 0..TIME_LOOKUP_BATCHES_MAX {
        let lookup = match time {
            Some(time) => TimeLookup::AtOrAfter(time, from),
            None => TimeLookup::Max,
        };
        let request = ShardRequest::FindByTime { key: located.key, lookup };
        let found = match control_plane.shard.ask(located.owner, request).await {
            ShardReply::FindByTime(found) => found.map_err(|error| code_of(&error))?,
            _ => return Err(ErrorCode::NotLeaderOrFollower),
        };
        let Some(batch) = found else { return Ok(Found::NONE) };
        let header = batch::parse_whole(&batch).map_err(|_| ErrorCode::KafkaStorageError)?;
        let wanted = time.unwrap_or(header.max_timestamp);
        if let Some(found) = look_into(&header, &batch, wanted, from, budget).await {
            return Ok(found);
        }
        if time.is_none() {
            break;
        }
        from = header.next_offset();
    }
    Ok(Found::NONE)
}

/// What the lookups of one request may still decompress, in bytes.
struct Budget {
    left: Cell<usize>,
}

impl Budget {
    /// For one batch.
    fn for_a_batch(&self) -> usize {
        self.left.get().min(TIME_LOOKUP_BATCH_BYTES_MAX)
    }

    fn spend(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }
}

/// The first record of a batch at or after an offset and a time. A batch that a producer filled with
/// garbage has none: it was stored as it came. One that is too long to look through is itself the answer.
async fn look_into(
    header: &batch::BatchHeader,
    batch: &Bytes,
    time: Timestamp,
    from: Offset,
    budget: &Budget,
) -> Option<Found> {
    let limit = budget.for_a_batch();
    budget.spend(batch.len());
    let FirstRecords { records, is_all, bytes } =
        records::first_records(header, batch, limit).ok()?;
    budget.spend(bytes.saturating_sub(batch.len()));
    let leader_epoch = header.leader_epoch;
    for (place, record) in records.map_while(Result::ok).enumerate() {
        if record.offset >= from && record.timestamp >= time {
            let (offset, timestamp) = (record.offset, record.timestamp);
            return Some(Found { offset, timestamp, leader_epoch });
        }
        if place % RECORDS_PER_TURN == 0 {
            runtime::yield_if_needed().await;
        }
    }
    let place = Found {
        offset: header.base_offset.max(from),
        timestamp: header.max_timestamp,
        leader_epoch,
    };
    (!is_all).then_some(place)
}
