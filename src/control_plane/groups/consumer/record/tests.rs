//! Bytes that Kafka 4.3.1 writes, made with its GroupCoordinatorRecordSerde.

use super::*;
use crate::types::TopicId;
use crate::wire::consumer_group::{
    ClassicMemberMetadata, ClassicProtocol, CurrentTopicPartitions, TargetTopicPartitions,
};

fn bytes_of(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn text(text: &'static str) -> Str {
    Str::from_static(text)
}

/// The record is written so, and read back the same.
fn check(change: ConsumerChange, key: &str, value: Option<&str>) {
    let record = ConsumerRecord { group: text("g"), change };
    assert_eq!(record.key(), bytes_of(key));
    assert_eq!(record.value(), value.map(bytes_of));
    let mut d = Decoder::new(bytes_of(key));
    let kind = d.read_i16().expect("a kind");
    assert!(ConsumerRecord::is_kind(kind));
    let read = ConsumerRecord::decode(kind, &mut d, value.map(bytes_of));
    assert_eq!(read, Ok(record));
}

const TOPIC: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

#[test]
fn epochs_are_written_as_kafka_writes_them() {
    let epoch = |epoch, metadata_hash| {
        ConsumerChange::Epoch(Some(ConsumerGroupMetadataValue { epoch, metadata_hash }))
    };
    check(epoch(7, -2), "0003000167", Some("000000000007010008fffffffffffffffe"));
    check(epoch(1, 0), "0003000167", Some("00000000000100"));
    check(ConsumerChange::Epoch(None), "0003000167", None);
    check(ConsumerChange::PartitionMetadata(None), "0004000167", None);
    let target_epoch = ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: 9,
        assignment_timestamp: 1_234_567_890_123,
    };
    check(
        ConsumerChange::TargetEpoch(Some(target_epoch)),
        "0006000167",
        Some("0000000000090100080000011f71fb04cb"),
    );
}

#[test]
fn members_are_written_as_kafka_writes_them() {
    let member = ConsumerGroupMemberMetadataValue {
        instance_id: Some(text("i")),
        client_id: text("c"),
        client_host: text("/127.0.0.1"),
        subscribed_topic_names: vec![text("a"), text("b")],
        subscribed_topic_regex: Some(text("")),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some(text("range")),
        ..Default::default()
    };
    check(
        ConsumerChange::Member(text("m"), Some(member)),
        "000500016700016d",
        Some("000002690002630b2f3132372e302e302e31030261026201000493e00672616e676500"),
    );
    let classic = ConsumerGroupMemberMetadataValue {
        rack_id: Some(text("r")),
        client_id: text("c"),
        client_host: text("h"),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: vec![ClassicProtocol {
                name: text("range"),
                metadata: Bytes::from_static(&[1, 2, 3]),
            }],
        }),
        ..Default::default()
    };
    check(
        ConsumerChange::Member(text("m"), Some(classic)),
        "000500016700016d",
        Some("0000000272026302680100ffffffff00010012010000afc8020672616e6765040102030000"),
    );
}

#[test]
fn assignments_are_written_as_kafka_writes_them() {
    let target = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: vec![TargetTopicPartitions {
            topic_id: TOPIC,
            partitions: vec![0, 2, 5],
        }],
    };
    check(
        ConsumerChange::Target(text("m"), Some(target)),
        "000700016700016d",
        Some("0000020102030405060708090a0b0c0d0e0f10040000000000000002000000050000"),
    );
    let part = |partitions: Vec<i32>, epochs: Vec<i32>| {
        vec![CurrentTopicPartitions {
            topic_id: TOPIC,
            partitions,
            assignment_epochs: Some(epochs),
        }]
    };
    let current = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 5,
        previous_member_epoch: 4,
        state: 1,
        assigned_partitions: part(vec![1, 3], vec![4, 5]),
        partitions_pending_revocation: part(vec![0], vec![2]),
    };
    check(
        ConsumerChange::Current(text("m"), Some(current)),
        "000800016700016d",
        Some(concat!(
            "0000000000050000000401020102030405060708090a0b0c0d0e0f1003000000010000",
            "0003010009030000000400000005020102030405060708090a0b0c0d0e0f1002000000",
            "00010005020000000200",
        )),
    );
}

#[test]
fn regular_expressions_are_written_as_kafka_writes_them() {
    let regex = ConsumerGroupRegularExpressionValue {
        topics: vec![text("ab"), text("ac")],
        version: 12,
        timestamp: 99,
    };
    check(
        ConsumerChange::Regex(text("a.*"), Some(regex)),
        "00100001670003612e2a",
        Some("000003036162036163000000000000000c000000000000006300"),
    );
}

#[test]
fn what_is_not_of_the_format_is_refused() {
    let mut nothing = Decoder::new(Bytes::new());
    assert!(ConsumerRecord::decode(KIND_EPOCH, &mut nothing, None).is_err());
    let decode = |value: &str| {
        let mut d = Decoder::new(bytes_of("000167"));
        ConsumerRecord::decode(KIND_EPOCH, &mut d, Some(bytes_of(value)))
    };
    assert!(decode("00000000000100").is_ok());
    assert!(decode("00010000000100").is_err(), "a version that is not known");
    assert!(decode("000000000001").is_err(), "cut off");
    assert!([2, 9, 15, 17].iter().all(|kind| !ConsumerRecord::is_kind(*kind)));
}
