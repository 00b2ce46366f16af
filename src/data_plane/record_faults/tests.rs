//! Batches that were refused, looked at again.

use super::*;
use crate::types::{Offset, TopicId};
use crate::wire::records::{BatchBuilder, ProducerSequence};
use std::sync::Arc;

/// The code, the records that are told of with what is said of each, and what is said of all.
type Refusal = (ErrorCode, Vec<(i32, String)>, String);

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn topic(config: LogConfig) -> Topic {
    Topic {
        id: TopicId([1; 16]),
        name: "t".into(),
        partitions: Vec::new(),
        overrides: Default::default(),
        log_config: Arc::new(config),
    }
}

/// A second around the broker's time.
fn strict() -> LogConfig {
    LogConfig {
        timestamp_before_ms_max: 1000,
        timestamp_after_ms_max: 1000,
        ..LogConfig::default()
    }
}

/// Of records with such keys, so many milliseconds from now.
fn batch_of(codec: Codec, records: &[(Option<&str>, i64)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (key, ahead) in records {
        let time = Timestamp(NOW.0 + ahead);
        builder.push(time, key.map(str::as_bytes), Some(b"v"), &[]);
    }
    builder.build(ProducerSequence::NONE)
}

fn refused(error: AppendError) -> PartitionError {
    PartitionError::Append { error, log_start: Offset::ZERO }
}

fn untimely(ahead: i64) -> PartitionError {
    refused(AppendError::Timestamp(Timestamp(NOW.0 + ahead)))
}

fn without_keys() -> PartitionError {
    refused(AppendError::Keyless { records: vec![0] })
}

/// What is found of partition 4, with the records that are named.
fn found(error: &PartitionError, config: LogConfig, batch: &Bytes) -> Option<Refusal> {
    let found = find(error, (&topic(config), 4), batch, NOW, &mut Room::default())?;
    let told = found.record_errors.into_iter().map(|one| {
        let text = one.batch_index_error_message.expect("each has its words");
        (one.batch_index, text.to_string())
    });
    Some((found.error_code, told.collect(), found.error_message))
}

fn places(found: Option<Refusal>) -> Vec<i32> {
    found.map_or_else(Vec::new, |(_, named, _)| named.into_iter().map(|(at, _)| at).collect())
}

#[test]
fn times_out_of_range_are_named_in_kafkas_words_whatever_the_codec() {
    for codec in Codec::ALL {
        let batch =
            batch_of(codec, &[(Some("k"), 0), (Some("k"), -1001), (None, 1000), (None, 1001)]);
        let (code, named, text) = found(&untimely(-1001), strict(), &batch).unwrap();
        assert_eq!(code, ErrorCode::InvalidTimestamp, "{codec}");
        assert_eq!(text, "One or more records have been rejected due to invalid timestamp");
        let told = |time: i64, at: i32| {
            let text = format!(
                "Timestamp {time} of message with offset {at} is out of range. The timestamp \
                 should be within [1699999999000, 1700000001000]"
            );
            (at, text)
        };
        assert_eq!(named, [told(1_699_999_998_999, 1), told(1_700_000_001_001, 3)], "{codec}");
    }
}

#[test]
fn records_without_a_key_are_named_and_three_of_them_in_the_message() {
    let config = LogConfig { compacted: true, ..LogConfig::default() };
    let keys = [None, Some("k"), None, None, None];
    let batch = batch_of(Codec::None, &keys.map(|key| (key, 0)));
    let (code, named, text) = found(&without_keys(), config, &batch).unwrap();
    assert_eq!(code, ErrorCode::InvalidRecord);
    let told = "Compacted topic cannot accept message without key in topic partition t-4";
    assert_eq!(named, [0, 2, 3, 4].map(|at| (at, told.to_string())));
    let shown = [0, 2, 3].map(|at| format!("RecordError(batchIndex={at}, message='{told}')"));
    let expect = format!(
        "One or more records have been rejected due to 4 record errors in total, and only showing \
         the first three errors at most: [{}]",
        shown.join(", ")
    );
    assert_eq!(text, expect);
}

#[test]
fn a_record_has_one_fault_and_a_time_decides_the_code() {
    let config = LogConfig { compacted: true, ..strict() };
    let batch = batch_of(Codec::None, &[(None, 5000), (Some("k"), 5000), (Some("k"), 0)]);
    let (code, named, _) = found(&without_keys(), config.clone(), &batch).unwrap();
    assert_eq!(code, ErrorCode::InvalidTimestamp);
    assert_eq!(named.len(), 2);
    assert!(named[0].1.starts_with("Compacted topic") && named[1].1.starts_with("Timestamp"));
    let stamped = LogConfig { log_append_time: true, ..config };
    assert_eq!(places(found(&without_keys(), stamped, &batch)), [0], "the broker stamps them");
}

#[test]
fn a_time_that_came_into_range_meanwhile_is_still_named() {
    let batch = batch_of(Codec::None, &[(Some("k"), 0), (Some("k"), 1001)]);
    let later = Timestamp(NOW.0 + 500);
    let at = (&topic(strict()), 4);
    let found = find(&untimely(1001), at, &batch, later, &mut Room::default()).unwrap();
    let text = found.record_errors[0].batch_index_error_message.as_ref().unwrap();
    assert_eq!(found.record_errors[0].batch_index, 1);
    assert!(text.ends_with("within [1699999999000, 1700000001000]"), "{}", text.as_str());
}

#[test]
fn nothing_is_found_where_no_record_is_at_fault() {
    let sound = batch_of(Codec::None, &[(Some("k"), 0), (None, 1000)]);
    // The header alone says that a time is too far ahead.
    let mut lies = sound.to_vec();
    lies[35..43].copy_from_slice(&(NOW.0 + 9999).to_be_bytes());
    assert_eq!(found(&untimely(9999), strict(), &lies.into()), None);
    // A record may have no time.
    let timeless = batch_of(Codec::None, &[(None, -1 - NOW.0)]);
    assert_eq!(found(&untimely(-1 - NOW.0), strict(), &timeless), None);
    let other = refused(AppendError::TooLarge { bytes: 9, limit: 8 });
    assert_eq!(found(&other, strict(), &batch_of(Codec::None, &[(None, 5000)])), None);
    assert_eq!(found(&PartitionError::Stopping, strict(), &sound), None);
}

#[test]
fn an_answer_names_and_costs_no_more_than_it_may() {
    let records = [(Some("k"), 5000); 5];
    let mut room = Room { records: 7, decompressed_bytes: 1 << 20 };
    let (topic, error) = (topic(strict()), untimely(5000));
    let named = |codec: Codec, room: &mut Room| {
        let batch = batch_of(codec, &records);
        let found = find(&error, (&topic, 0), &batch, NOW, room);
        found.map(|found| found.record_errors.len())
    };
    assert_eq!(named(Codec::None, &mut room), Some(5));
    assert_eq!(named(Codec::Zstd, &mut room), Some(2));
    assert_eq!(named(Codec::Lz4, &mut room), Some(0), "refused all the same");
    room.records = 100;
    room.decompressed_bytes = 20;
    // As many as their first twenty bytes hold.
    assert_eq!(named(Codec::Gzip, &mut room), Some(2));
    assert_eq!(named(Codec::Gzip, &mut room), None);
    assert_eq!(named(Codec::None, &mut room), Some(5));
}

#[test]
fn what_cannot_be_decompressed_uses_all_the_room_up() {
    let mut garbage = batch_of(Codec::Zstd, &[(Some("k"), 5000)]).to_vec();
    garbage[BATCH_HEADER_BYTES..].fill(0x55);
    let mut room = Room::default();
    let at = (&topic(strict()), 0);
    assert_eq!(find(&untimely(5000), at, &garbage.into(), NOW, &mut room), None);
    assert_eq!(room.decompressed_bytes, 0);
}
