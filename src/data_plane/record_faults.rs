//! Which records of a refused batch are at fault (KIP-467). COLD: a batch is looked at again once it was refused, and
//! only as far as the answer may say so much. Pure.

use crate::limits::{BATCH_HEADER_BYTES, RECORDS_NAMED_BYTES_MAX, RECORDS_NAMED_MAX};
use crate::log::{AppendError, LogConfig};
use crate::shard::image::Topic;
use crate::shard::request::PartitionError;
use crate::types::Timestamp;
use crate::wire::api::produce::BatchIndexAndErrorMessage;
use crate::wire::batch::{self, BatchHeader};
use crate::wire::compression::{self, Codec};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;

/// Records that the message of a partition names, as Kafka's.
const SHOWN: usize = 3;

/// What the answer to one request may still say, and cost.
pub struct Room {
    records: usize,
    decompressed_bytes: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { records: RECORDS_NAMED_MAX, decompressed_bytes: RECORDS_NAMED_BYTES_MAX }
    }
}

/// What a partition is answered with.
#[derive(Debug, PartialEq)]
pub struct RecordFaults {
    pub error_code: ErrorCode,
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    pub error_message: String,
}

/// Finds the records for which a partition of a topic has refused a batch; `now` is soon after. `None` when it was
/// refused for something else, and when none is found: then the header lied, or the records cannot be read.
pub fn find(
    error: &PartitionError,
    (topic, index): (&Topic, i32),
    batch: &Bytes,
    now: Timestamp,
    room: &mut Room,
) -> Option<RecordFaults> {
    let PartitionError::Append { error, .. } = error else { return None };
    let config = &*topic.log_config;
    let now = match error {
        AppendError::Keyless { .. } => now,
        AppendError::Timestamp(found) => time_of_refusal(config, *found, now),
        _ => return None,
    };
    let header = batch::parse_single(batch).ok()?;
    let count = usize::try_from(header.record_count).ok()?;
    let records = records_of(&header, batch, &mut room.decompressed_bytes)?;
    let most = room.records.max(SHOWN);
    let (mut faulty, mut untimely, mut named) = (0, 0, Vec::new());
    batch::each_record(&records, count, |at, timestamp_delta, key_length| {
        let time = header.base_timestamp.0.wrapping_add(timestamp_delta);
        let is_keyless = config.compacted && key_length < 0;
        let is_untimely = !is_keyless && !is_timely(config, time, now);
        if !is_keyless && !is_untimely {
            return;
        }
        faulty += 1;
        untimely += usize::from(is_untimely);
        if named.len() < most {
            let text = match is_keyless {
                true => keyless(&topic.name, index),
                false => out_of_range(config, at, time, now),
            };
            named.push((at, text));
        }
    });
    if faulty == 0 {
        return None;
    }
    let (error_code, error_message) = match untimely {
        0 => (ErrorCode::InvalidRecord, summary(faulty, &named)),
        _ => {
            let text = "One or more records have been rejected due to invalid timestamp";
            (ErrorCode::InvalidTimestamp, text.to_string())
        }
    };
    named.truncate(room.records);
    room.records -= named.len();
    let record_errors = named.into_iter().map(|(at, text)| BatchIndexAndErrorMessage {
        batch_index: i32::try_from(at).unwrap_or(i32::MAX),
        batch_index_error_message: Some(Str::from(text)),
    });
    Some(RecordFaults { error_code, record_errors: record_errors.collect(), error_message })
}

/// The records as they are when not compressed, or as many of them as there is room for.
fn records_of(header: &BatchHeader, batch: &Bytes, room: &mut usize) -> Option<Bytes> {
    let codec = Codec::from_attributes(header.attributes)?;
    let body = batch.slice(BATCH_HEADER_BYTES..);
    if codec == Codec::None {
        return Some(body);
    }
    if *room == 0 {
        return None;
    }
    let Ok((records, _)) = compression::decompress_start(codec, &body, *room) else {
        // It may have taken as long as if all had been used.
        *room = 0;
        return None;
    };
    *room -= records.len();
    Some(records)
}

/// When a time was found to be out of range: what is too far ahead was further ahead then.
fn time_of_refusal(config: &LogConfig, found: Timestamp, now: Timestamp) -> Timestamp {
    let latest = found.0.saturating_sub(config.timestamp_after_ms_max).saturating_sub(1);
    if found > now { now.min(Timestamp(latest)) } else { now }
}

/// KIP-937: near the broker's time, as far as the topic asks; a record may have none.
fn is_timely(config: &LogConfig, time: i64, now: Timestamp) -> bool {
    let behind = now.0.wrapping_sub(time);
    config.log_append_time
        || time == Timestamp::NONE.0
        || behind <= config.timestamp_before_ms_max
            && behind.wrapping_neg() <= config.timestamp_after_ms_max
}

fn keyless(topic: &str, index: i32) -> String {
    format!("Compacted topic cannot accept message without key in topic partition {topic}-{index}")
}

fn out_of_range(config: &LogConfig, at: usize, time: i64, now: Timestamp) -> String {
    let earliest = now.0.wrapping_sub(config.timestamp_before_ms_max);
    let latest = now.0.wrapping_add(config.timestamp_after_ms_max);
    format!(
        "Timestamp {time} of message with offset {at} is out of range. The timestamp should be \
         within [{earliest}, {latest}]"
    )
}

/// As Kafka prints it.
fn summary(faulty: usize, named: &[(usize, String)]) -> String {
    let shown = named.iter().take(SHOWN);
    let shown: Vec<String> =
        shown.map(|(at, text)| format!("RecordError(batchIndex={at}, message='{text}')")).collect();
    format!(
        "One or more records have been rejected due to {faulty} record errors in total, and only \
         showing the first three errors at most: [{}]",
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests;
