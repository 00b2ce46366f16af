//! The APIs as clients meet them, on two shards of the simulation. That Apache Kafka answers the same is
//! checked against recordings of it (tests/clients/oracle.py).

mod offline;

use super::harness::{self, Host};
use crate::config::Config;
use crate::limits::{
    BATCH_HEADER_BYTES, CONFIG_VALUE_BYTES_MAX, CONTROL_REQUEST_BYTES_MAX,
    DESCRIBED_CONFIGS_BYTES_MAX, TIME_LOOKUP_BATCH_BYTES_MAX, TIME_LOOKUP_BYTES_MAX,
};
use crate::runtime::sim::Simulation;
use crate::shard::request::PartitionKey;
use crate::types::{Offset, Timestamp, TopicId};
use crate::wire::api::alter_configs::{self, AlterConfigsRequest};
use crate::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::api::create_topics::*;
use crate::wire::api::delete_records::*;
use crate::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::wire::api::describe_cluster::DescribeClusterRequest;
use crate::wire::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::api::describe_log_dirs::DescribeLogDirsRequest;
use crate::wire::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use crate::wire::api::incremental_alter_configs::{self, IncrementalAlterConfigsRequest};
use crate::wire::api::init_producer_id::InitProducerIdRequest;
use crate::wire::api::list_offsets::*;
use crate::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::wire::api::offset_for_leader_epoch::*;
use crate::wire::compression::Codec;
use crate::wire::records::{BatchBuilder, ProducerSequence};
use crate::wire::{ApiKey, Decoder, ErrorCode, RequestHeader};
use bytes::Bytes;
use std::future::poll_fn;

fn run(test: impl AsyncFnOnce(Host)) {
    Simulation::new(1).run(async { test(harness::start(2).await).await });
}

async fn create(host: &Host, name: &str, partitions: i32) -> TopicId {
    create_with(host, name, partitions, &[]).await
}

async fn create_with(
    host: &Host,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> TopicId {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs.collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let made = host.call(0, 7, request).await;
    assert_eq!(made.topics[0].error_code, ErrorCode::None, "{made:?}");
    made.topics[0].topic_id
}

fn batch(codec: Codec, times: &[i64]) -> Bytes {
    let mut batch = BatchBuilder::new(codec);
    for time in times {
        batch.push(Timestamp(*time), None, Some(b"a value that repeats a value"), &[]);
    }
    batch.build(ProducerSequence::NONE)
}

async fn produce(host: &Host, id: TopicId, index: i32, batch: Bytes) {
    let image = host.shards[0].image();
    let owner = image.topic_by_id(id).unwrap().partition(index).unwrap().shard;
    let mut ticket = host.shards[0].append(owner, PartitionKey { topic_id: id, index }, batch);
    poll_fn(|context| ticket.poll_produced(context)).await.unwrap();
}

/// Error, offset and time for one partition.
async fn offset(host: &Host, topic: &str, index: i32, time: i64) -> (ErrorCode, i64, i64) {
    let partition = ListOffsetsPartition {
        partition_index: index,
        timestamp: time,
        ..ListOffsetsPartition::default()
    };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
    let request =
        ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    let answer = host.call(1, 11, request).await.topics.remove(0).partitions.remove(0);
    (answer.error_code, answer.offset, answer.timestamp)
}

#[test]
fn offsets_by_time_are_exact_within_batches_of_every_codec() {
    run(async |host| {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let name = format!("t-{}", codec.name());
            let id = create(&host, &name, 2).await;
            for index in 0..2 {
                produce(&host, id, index, batch(codec, &[5000, 1000, 9000, 2000])).await;
                produce(&host, id, index, batch(codec, &[3000, 8000])).await;
                produce(&host, id, index, batch(codec, &[12_000])).await;
                for (time, found) in [
                    (0, (0, 5000)),
                    (5000, (0, 5000)),
                    (5001, (2, 9000)),
                    (9001, (6, 12_000)),
                    (12_001, (-1, -1)),
                    (-1, (7, -1)),
                    (-2, (0, -1)),
                    (-3, (6, 12_000)),
                    (-4, (0, -1)),
                    (-5, (-1, -1)),
                ] {
                    let answer = offset(&host, &name, index, time).await;
                    assert_eq!(answer, (ErrorCode::None, found.0, found.1), "{name} {time}");
                }
            }
            assert_eq!(offset(&host, &name, 2, -1).await.0, ErrorCode::UnknownTopicOrPartition);
            assert_eq!(offset(&host, &name, 0, -9).await.0, ErrorCode::UnsupportedVersion);
        }
        create(&host, "empty", 1).await;
        for time in [0, 1_000_000, -3] {
            assert_eq!(offset(&host, "empty", 0, time).await, (ErrorCode::None, -1, -1));
        }
    });
}

#[test]
fn times_that_no_record_has_are_passed_over() {
    run(async |host| {
        let id = create(&host, "t", 1).await;
        // The header claims a time that its records do not have, or holds no records at all.
        let mut lie = batch(Codec::None, &[1000]).to_vec();
        lie[35..43].copy_from_slice(&99_000i64.to_be_bytes());
        let mut garbage = batch(Codec::Gzip, &[50_000]).to_vec();
        garbage[BATCH_HEADER_BYTES..].fill(7);
        for mut bytes in [lie, garbage] {
            let crc = crate::wire::batch::checksum(&bytes);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            produce(&host, id, 0, bytes.into()).await;
        }
        produce(&host, id, 0, batch(Codec::Zstd, &[60_000])).await;
        assert_eq!(offset(&host, "t", 0, 40_000).await, (ErrorCode::None, 2, 60_000));
        assert_eq!(offset(&host, "t", 0, 70_000).await, (ErrorCode::None, -1, -1));
    });
}

#[test]
fn a_time_in_a_batch_too_long_to_look_through_is_told_as_the_batch_s_place() {
    run(async |host| {
        let id = create(&host, "t", 1).await;
        produce(&host, id, 0, batch(Codec::None, &[1000])).await;
        // Small as it lies there, and more than may be decompressed: the last record is out of reach.
        let half = vec![0; TIME_LOOKUP_BATCH_BYTES_MAX / 2];
        let mut long = BatchBuilder::new(Codec::Zstd);
        for time in [2000, 3000, 4000] {
            long.push(Timestamp(time), None, Some(&half), &[]);
        }
        produce(&host, id, 0, long.build(ProducerSequence::NONE)).await;
        produce(&host, id, 0, batch(Codec::None, &[5000])).await;
        for (time, offset_and_time) in [
            (1000, (0, 1000)),
            (2000, (1, 2000)),
            (2001, (1, 4000)),
            (4000, (1, 4000)),
            (4001, (4, 5000)),
        ] {
            let (error_code, offset, found) = offset(&host, "t", 0, time).await;
            assert_eq!((error_code, (offset, found)), (ErrorCode::None, offset_and_time), "{time}");
        }
    });
}

#[test]
fn lookups_of_one_request_decompress_a_bounded_sum() {
    run(async |host| {
        let id = create(&host, "t", 1).await;
        let long = vec![0; TIME_LOOKUP_BATCH_BYTES_MAX - 100];
        let mut bomb = BatchBuilder::new(Codec::Zstd);
        bomb.push(Timestamp(1000), None, Some(&long), &[]);
        bomb.push(Timestamp(2000), None, None, &[]);
        let mut bomb = bomb.build(ProducerSequence::NONE).to_vec();
        bomb[35..43].copy_from_slice(&9000i64.to_be_bytes());
        let crc = crate::wire::batch::checksum(&bomb);
        bomb[17..21].copy_from_slice(&crc.to_be_bytes());
        let count = TIME_LOOKUP_BYTES_MAX / TIME_LOOKUP_BATCH_BYTES_MAX;
        for _ in 0..count + 3 {
            produce(&host, id, 0, bomb.clone().into()).await;
        }
        // None has a record of that time. Those that were not looked into may.
        let (error_code, found, _) = offset(&host, "t", 0, 5000).await;
        assert_eq!(error_code, ErrorCode::None);
        assert_eq!(found, 2 * count as i64);
    });
}

async fn delete_records(host: &Host, topic: &str, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition { partition_index: 0, offset };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 };
    let answer = host.call(1, 2, request).await.topics.remove(0).partitions.remove(0);
    (answer.error_code, answer.low_watermark)
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() {
    let simulation = Simulation::new(2);
    simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", 1).await;
        for first in [10, 20, 30] {
            produce(&host, id, 0, batch(Codec::None, &[first, first + 1, first + 2])).await;
        }
        assert_eq!(delete_records(&host, "t", 10).await, (ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(delete_records(&host, "t", -2).await, (ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(delete_records(&host, "t", 4).await, (ErrorCode::None, 4));
        assert_eq!(delete_records(&host, "t", 2).await, (ErrorCode::None, 4));
        assert_eq!(offset(&host, "t", 0, 0).await, (ErrorCode::None, 4, 21));
        create_with(&host, "c", 1, &[("cleanup.policy", "compact")]).await;
        assert_eq!(delete_records(&host, "c", 0).await, (ErrorCode::PolicyViolation, -1));
    });
    simulation.crash();
    for shards in [2, 1] {
        simulation.run(async {
            let host = harness::start(shards).await;
            let topic = host.shards[0].image().topic("t").unwrap().clone();
            let place = topic.partition(0).unwrap();
            let key = PartitionKey { topic_id: topic.id, index: 0 };
            let log = host.shards[place.shard.index()].partition(key).unwrap();
            assert_eq!((log.log_start(), log.high_watermark()), (Offset(4), Offset(9)));
        });
        simulation.kill();
    }
    simulation.run(async {
        let host = harness::start(2).await;
        assert_eq!(delete_records(&host, "t", -1).await, (ErrorCode::None, 9));
        assert_eq!(offset(&host, "t", 0, 0).await, (ErrorCode::None, -1, -1));
    });
}

#[test]
fn leader_epochs_are_checked_and_their_ends_told() {
    run(async |host| {
        let id = create(&host, "t", 1).await;
        produce(&host, id, 0, batch(Codec::None, &[1, 2])).await;
        let ask = async |current_leader_epoch, leader_epoch| {
            let partition =
                OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch };
            let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] };
            let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
            let answer = host.call(0, 4, request).await.topics.remove(0).partitions.remove(0);
            (answer.error_code, answer.leader_epoch, answer.end_offset)
        };
        assert_eq!(ask(-1, 0).await, (ErrorCode::None, 0, 2));
        assert_eq!(ask(0, 1).await, (ErrorCode::None, -1, -1));
        assert_eq!(ask(5, 0).await, (ErrorCode::UnknownLeaderEpoch, -1, -1));
    });
}

/// The value and source of one of a topic's settings.
async fn setting(host: &Host, topic: &str, name: &str) -> (String, i8) {
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: topic.into(),
        configuration_keys: Some(vec![name.into()]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let mut answer = host.call(1, 4, request).await.results.remove(0);
    assert_eq!(answer.error_code, ErrorCode::None);
    let config = answer.configs.remove(0);
    (config.value.unwrap().to_string(), config.config_source)
}

async fn alter(host: &Host, topic: &str, changes: &[(&str, i8, Option<&str>)]) -> ErrorCode {
    let configs =
        changes.iter().map(|(name, operation, value)| incremental_alter_configs::AlterableConfig {
            name: (*name).into(),
            config_operation: *operation,
            value: value.map(Into::into),
        });
    let resource = incremental_alter_configs::AlterConfigsResource {
        resource_type: 2,
        resource_name: topic.into(),
        configs: configs.collect(),
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    host.call(1, 1, request).await.responses.remove(0).error_code
}

#[test]
fn settings_change_one_by_one_or_all_at_once_and_reach_the_log() {
    run(async |host| {
        let id = create_with(&host, "t", 2, &[("retention.ms", " 1234 ")]).await;
        assert_eq!(setting(&host, "t", "retention.ms").await, ("1234".into(), 1));
        assert_eq!(setting(&host, "t", "segment.ms").await, ("604800000".into(), 5));
        let set = [("segment.ms", 0, Some("7")), ("cleanup.policy", 2, Some("compact"))];
        assert_eq!(alter(&host, "t", &set).await, ErrorCode::None);
        assert_eq!(setting(&host, "t", "cleanup.policy").await, ("delete,compact".into(), 1));
        assert_eq!(alter(&host, "t", &[("retention.ms", 1, None)]).await, ErrorCode::None);
        assert_eq!(setting(&host, "t", "retention.ms").await, ("604800000".into(), 5));
        for (changes, error) in [
            (&[("no.such", 0, Some("1"))][..], ErrorCode::InvalidConfig),
            (&[("segment.ms", 0, Some("8")), ("flush.ms", 0, Some("x"))], ErrorCode::InvalidConfig),
            (&[("segment.ms", 2, Some("8"))], ErrorCode::InvalidConfig),
            (&[("segment.ms", 0, None)], ErrorCode::InvalidRequest),
            (&[("segment.ms", 1, None), ("segment.ms", 1, None)], ErrorCode::InvalidRequest),
            (&[("segment.ms", 9, Some("8"))], ErrorCode::UnknownServerError),
        ] {
            assert_eq!(alter(&host, "t", changes).await, error, "{changes:?}");
        }
        assert_eq!(setting(&host, "t", "segment.ms").await, ("7".into(), 1));
        let topic = host.shards[1].image().topic_by_id(id).unwrap().clone();
        assert_eq!((topic.log_config.segment_ms, topic.log_config.compacted), (7, true));
        let replace = alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configs: vec![alter_configs::AlterableConfig {
                name: "corelog.durability".into(),
                value: Some("write".into()),
            }],
        };
        let request = AlterConfigsRequest { resources: vec![replace], validate_only: false };
        let replaced = host.call(0, 2, request).await;
        assert_eq!(replaced.responses[0].error_code, ErrorCode::None);
        assert_eq!(setting(&host, "t", "segment.ms").await, ("604800000".into(), 5));
        assert_eq!(setting(&host, "t", "corelog.durability").await, ("write".into(), 1));
        assert_eq!(alter(&host, "nowhere", &[]).await, ErrorCode::UnknownTopicOrPartition);
    });
}

#[test]
fn settings_that_are_asked_for_again_and_again_are_answered_up_to_a_limit() {
    run(async |host| {
        let name = "leader.replication.throttled.replicas";
        let value = "x".repeat(CONFIG_VALUE_BYTES_MAX);
        create_with(&host, "t", 1, &[(name, &value)]).await;
        let resource = DescribeConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configuration_keys: Some(vec![name.into()]),
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource; 1100],
            include_synonyms: true,
            ..DescribeConfigsRequest::default()
        };
        let answer = host.call(1, 4, request).await;
        assert_eq!(answer.results.len(), 1100);
        let (whole, refused): (Vec<_>, Vec<_>) =
            answer.results.into_iter().partition(|one| one.error_code == ErrorCode::None);
        let bytes = whole.len() * 2 * CONFIG_VALUE_BYTES_MAX;
        assert!(bytes.abs_diff(DESCRIBED_CONFIGS_BYTES_MAX) < 1 << 20, "{bytes}");
        assert!(
            whole.iter().all(|one| one.configs[0].value.as_ref().unwrap().len() == value.len())
        );
        assert!(refused.iter().all(|one| one.error_code == ErrorCode::PolicyViolation));
    });
}

#[test]
fn topics_that_are_not_there_fill_pages_too() {
    run(async |host| {
        create(&host, "n", 1).await;
        let mut cursor: Option<Cursor> = None;
        let mut pages = Vec::new();
        loop {
            let missing = (0..4500).map(|number| format!("m{number:0>4}"));
            let named = missing.chain(["n".to_string()]);
            let request = DescribeTopicPartitionsRequest {
                topics: named.map(|name| TopicRequest { name: name.into() }).collect(),
                response_partition_limit: 2000,
                cursor,
            };
            let page = host.call(0, 0, request).await;
            pages.push(page.topics.len());
            cursor = page.next_cursor;
            if cursor.is_none() {
                assert_eq!(page.topics.last().unwrap().partitions.len(), 1);
                break;
            }
        }
        assert_eq!(pages, [2000, 2000, 501]);
    });
}

#[test]
fn metadata_makes_no_more_topics_than_one_request_may() {
    Simulation::new(1).run(async {
        let config = Config { num_partitions: 4000, ..Config::default() };
        let host = harness::try_start(1, config).await.unwrap();
        let ask = async || {
            let topic = |name: &str| MetadataRequestTopic {
                name: Some(name.into()),
                ..MetadataRequestTopic::default()
            };
            let names = ["a b", "__consumer_offsets", "t0", "t1", "t2"];
            let request = MetadataRequest {
                topics: Some(names.map(topic).to_vec()),
                allow_auto_topic_creation: true,
                ..MetadataRequest::default()
            };
            let topics = host.call(0, 12, request).await.topics.into_iter();
            let mut told: Vec<_> =
                topics.map(|topic| (topic.name.unwrap().to_string(), topic.error_code)).collect();
            told.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            told.into_iter().map(|(_, error_code)| error_code).collect::<Vec<_>>()
        };
        let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownTopicOrPartition);
        let invalid = ErrorCode::InvalidTopicException;
        assert_eq!(ask().await, [unknown, invalid, none, none, unknown]);
        assert_eq!(
            ask().await,
            [unknown, invalid, none, none, none],
            "the others when asked again"
        );
        assert_eq!(host.shards[0].image().partition_count(), 12_000);
    });
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    run(async |host| {
        create(&host, "t", 2).await;
        let ask = async |count: i32, validate_only: bool| {
            let topic = CreatePartitionsTopic { name: "t".into(), count, assignments: None };
            let request = CreatePartitionsRequest {
                topics: vec![topic],
                validate_only,
                ..CreatePartitionsRequest::default()
            };
            host.call(1, 3, request).await.results.remove(0).error_code
        };
        assert_eq!(ask(2, false).await, ErrorCode::InvalidPartitions);
        assert_eq!(ask(1, false).await, ErrorCode::InvalidPartitions);
        assert_eq!(ask(i32::MIN, false).await, ErrorCode::InvalidPartitions);
        assert_eq!(ask(i32::MAX, false).await, ErrorCode::PolicyViolation);
        assert_eq!(ask(5, true).await, ErrorCode::None);
        assert_eq!(host.shards[0].image().partition_count(), 2);
        assert_eq!(ask(5, false).await, ErrorCode::None);
        assert_eq!(host.shards[1].image().partition_count(), 5);
        let open: usize = host.shards.iter().map(|shard| shard.partitions().len()).sum();
        assert_eq!(open, 5);
    });
}

#[test]
fn a_client_chooses_the_cores_of_its_partitions() {
    run(async |host| {
        let assignment = |(partition_index, broker): (i32, i32)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: vec![broker],
        };
        let topic = CreatableTopic {
            name: "placed".into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: [(1, 1025), (0, 1024), (2, 1025)].map(assignment).to_vec(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let made = host.call(0, 7, request).await;
        assert_eq!(made.topics[0].error_code, ErrorCode::None, "{made:?}");
        let topic = host.shards[0].image().topic("placed").unwrap().clone();
        let shards: Vec<u16> = topic.partitions.iter().map(|place| place.shard.0).collect();
        assert_eq!(shards, [0, 1, 1]);
    });
}

#[test]
fn topics_named_twice_are_not_deleted() {
    run(async |host| {
        let id = create(&host, "a", 1).await;
        create(&host, "b", 1).await;
        let by_name = |name: &str| DeleteTopicState {
            name: Some(name.into()),
            ..DeleteTopicState::default()
        };
        let by_id = DeleteTopicState { name: None, topic_id: id };
        let ask = async |topics: Vec<DeleteTopicState>| -> Vec<ErrorCode> {
            let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
            let answer = host.call(1, 6, request).await;
            answer.responses.iter().map(|response| response.error_code).collect()
        };
        let twice = ErrorCode::InvalidRequest;
        assert_eq!(ask(vec![by_name("a"), by_name("a")]).await, [twice]);
        assert_eq!(ask(vec![by_name("a"), by_id.clone()]).await, [twice]);
        assert_eq!(ask(vec![by_id.clone(), by_id.clone()]).await, [twice]);
        assert_eq!(ask(vec![DeleteTopicState::default()]).await, [twice]);
        assert_eq!(host.shards[0].image().topic_count(), 2);
        let answer = ask(vec![by_name("b"), by_id.clone(), by_name("nowhere")]).await;
        assert_eq!(answer, [ErrorCode::UnknownTopicOrPartition, ErrorCode::None, ErrorCode::None]);
        assert_eq!(host.shards[0].image().topic_count(), 0);
        assert_eq!(ask(vec![by_id]).await, [ErrorCode::UnknownTopicId]);
    });
}

#[test]
fn topics_are_described_page_by_page() {
    run(async |host| {
        create(&host, "q1", 3).await;
        create(&host, "q2", 2).await;
        let mut cursor: Option<Cursor> = None;
        let mut seen = Vec::new();
        loop {
            let request = DescribeTopicPartitionsRequest {
                response_partition_limit: 2,
                cursor,
                ..DescribeTopicPartitionsRequest::default()
            };
            let page = host.call(0, 0, request).await;
            for topic in &page.topics {
                let partitions = topic.partitions.iter().map(|one| one.partition_index);
                seen.extend(partitions.map(|index| (topic.name.clone().unwrap(), index)));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let expected = [("q1", 0), ("q1", 1), ("q1", 2), ("q2", 0), ("q2", 1)];
        assert_eq!(seen, expected.map(|(name, index)| (name.into(), index)));
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "q1".into() }],
            cursor: Some(Cursor { topic_name: "q0".into(), partition_index: 0 }),
            ..DescribeTopicPartitionsRequest::default()
        };
        let refused = host.call(0, 0, request).await;
        assert_eq!(refused.topics[0].error_code, ErrorCode::InvalidRequest);
    });
}

#[test]
fn the_data_directory_tells_what_partitions_take() {
    run(async |host| {
        let id = create(&host, "t", 2).await;
        let bytes = batch(Codec::None, &[1, 2, 3]);
        produce(&host, id, 1, bytes.clone()).await;
        let answer = host.call(0, 4, DescribeLogDirsRequest { topics: None }).await;
        let sizes: Vec<i64> =
            answer.results[0].topics[0].partitions.iter().map(|one| one.partition_size).collect();
        assert_eq!(sizes, [0, bytes.len() as i64]);
    });
}

#[test]
fn the_cluster_is_described_alike_by_all_shards() {
    run(async |host| {
        let mut seen = Vec::new();
        for shard in 0..2 {
            let cluster = host.call(shard, 0, DescribeClusterRequest::default()).await;
            let metadata = host.call(shard, 9, MetadataRequest::default()).await;
            assert_eq!(Some(&cluster.cluster_id), metadata.cluster_id.as_ref());
            assert_eq!(cluster.controller_id, metadata.controller_id);
            let brokers = cluster.brokers.iter().map(|broker| (broker.broker_id, broker.port));
            seen.push((brokers.collect::<Vec<_>>(), cluster.cluster_id));
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0].0, [(1024, 9093), (1025, 9094)]);
    });
}

#[test]
fn transactions_are_refused_for_good() {
    run(async |host| {
        let ask = async |id: Option<&str>, producer_id: i64| {
            let request = InitProducerIdRequest {
                transactional_id: id.map(Into::into),
                producer_id,
                producer_epoch: -1,
                ..InitProducerIdRequest::default()
            };
            let answer = host.call(0, 4, request).await;
            (answer.error_code, answer.producer_epoch)
        };
        assert_eq!(ask(Some("tx"), -1).await, (ErrorCode::UnsupportedVersion, -1));
        assert_eq!(ask(Some(""), -1).await, (ErrorCode::InvalidRequest, -1));
        assert_eq!(ask(None, 7).await, (ErrorCode::InvalidRequest, -1));
        assert_eq!(ask(None, -1).await, (ErrorCode::None, 0));
    });
}

#[test]
fn what_cannot_be_read_or_is_not_served_closes_the_connection() {
    run(async |host| {
        let local = "127.0.0.1:9092".parse().unwrap();
        let connection = super::ConnectionInfo { peer: local, local };
        let ask = async |api_key, api_version, body: &'static [u8]| {
            let header =
                RequestHeader { api_key, api_version, correlation_id: 77, client_id: None };
            let body = Decoder::new(Bytes::from_static(body));
            host.control_planes[0].clone().handle(header, body, connection, None).await
        };
        assert!(ask(ApiKey::Metadata, 12, b"\xff").await.is_err());
        assert!(ask(ApiKey::Metadata, 99, b"").await.is_err());
        assert!(ask(ApiKey::LeaderAndIsr, 0, b"").await.is_err());
        let longest = vec![0; CONTROL_REQUEST_BYTES_MAX].leak();
        assert!(ask(ApiKey::ApiVersions, 0, longest).await.is_ok());
        let longer = vec![0; CONTROL_REQUEST_BYTES_MAX + 1].leak();
        assert!(ask(ApiKey::ApiVersions, 0, longer).await.is_err());
        // KIP-511: an unknown version of ApiVersions is answered in version 0.
        let refused = ask(ApiKey::ApiVersions, 99, b"").await.unwrap();
        assert_eq!(&refused.out[4..10], [0, 0, 0, 77, 0, 35]);
        assert!(ask(ApiKey::ApiVersions, 0, b"and more").await.is_ok(), "as Kafka");
    });
}
