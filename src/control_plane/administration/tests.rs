//! Administration as clients meet it, on two shards of the simulation with per-core endpoints. That Apache Kafka
//! answers the same is checked against recordings of it (tests/clients/oracle.py).

use crate::config::Config;
use crate::control_plane::harness::{self, Host};
use crate::runtime::sim::Simulation;
use crate::shard::control::{ControlReply, ControlRequest, NewTopic};
use crate::shard::quota_table::QuotaKind;
use crate::types::{ShardId, Timestamp, TopicId};
use crate::wire::api::ApiVersionsRequest;
use crate::wire::api::alter_client_quotas::{self, AlterClientQuotasRequest, OpData};
use crate::wire::api::alter_partition_reassignments::*;
use crate::wire::api::alter_replica_log_dirs::*;
use crate::wire::api::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use crate::wire::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::api::describe_log_dirs::DescribeLogDirsRequest;
use crate::wire::api::describe_producers::{DescribeProducersRequest, TopicRequest};
use crate::wire::api::describe_quorum::*;
use crate::wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use crate::wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::api::list_config_resources::ListConfigResourcesRequest;
use crate::wire::api::list_partition_reassignments::ListPartitionReassignmentsRequest;
use crate::wire::api::list_transactions::ListTransactionsRequest;
use crate::wire::api::metadata::MetadataRequest;
use crate::wire::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use crate::wire::batch::testing::batch;
use crate::wire::{ErrorCode, Str};
use std::future::poll_fn;

fn run(test: impl AsyncFnOnce(Host)) {
    Simulation::new(1).run(async { test(harness::start(2).await).await });
}

/// A topic with a partition on each shard.
async fn create(host: &Host, name: &str) -> TopicId {
    let topic = NewTopic {
        name: name.to_string(),
        partitions: 2,
        places: Some(vec![ShardId(0), ShardId(1)]),
        overrides: Default::default(),
    };
    match host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await {
        ControlReply::CreateTopics(mut made) => made.remove(0).unwrap(),
        _ => unreachable!("the answer to another request"),
    }
}

#[test]
fn every_partition_has_its_leader() {
    run(async |host| {
        create(&host, "t").await;
        let elect = async |election_type, partitions: Option<Vec<i32>>| {
            let topic = |partitions| TopicPartitions { topic: "t".into(), partitions };
            let topic_partitions = partitions.map(|partitions| vec![topic(partitions)]);
            let request =
                ElectLeadersRequest { election_type, topic_partitions, ..Default::default() };
            let answer = host.call(1, 2, request).await;
            let results = answer.replica_election_results.into_iter();
            let codes = results.flat_map(|topic| topic.partition_result);
            (answer.error_code, codes.map(|one| one.error_code).collect::<Vec<_>>())
        };
        let (needless, unknown) =
            (ErrorCode::ElectionNotNeeded, ErrorCode::UnknownTopicOrPartition);
        let partitions = Some(vec![0, 1, 2]);
        let answer = elect(0, partitions.clone()).await;
        assert_eq!(answer, (ErrorCode::None, vec![needless, needless, unknown]));
        assert_eq!(elect(1, None).await, (ErrorCode::None, vec![]));
        let invalid = ErrorCode::InvalidRequest;
        assert_eq!(elect(2, partitions).await, (invalid, vec![invalid; 3]));
    });
}

#[test]
fn a_partition_goes_to_the_core_that_its_replicas_name() {
    run(async |host| {
        create(&host, "t").await;
        let endpoints = &host.control_planes[0].endpoints;
        let (own, other) = (endpoints.broker_of(ShardId(0)), endpoints.broker_of(ShardId(1)));
        let move_to = async |partition_index, replicas: Option<Vec<i32>>| {
            let partitions = vec![ReassignablePartition { partition_index, replicas }];
            let topics = vec![ReassignableTopic { name: "t".into(), partitions }];
            let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
            host.call(0, 1, request).await.responses[0].partitions[0].error_code
        };
        // As each of the brokers tells it: who leads, and since which epoch.
        let led = async || {
            let mut told = Vec::new();
            for shard in 0..2 {
                let request = MetadataRequest { topics: None, ..Default::default() };
                let answer = host.call(shard, 12, request).await;
                let first = &answer.topics[0].partitions[0];
                assert_eq!(first.replica_nodes, [first.leader_id]);
                told.push((first.leader_id, first.leader_epoch));
            }
            told
        };
        let impossible = ErrorCode::InvalidReplicaAssignment;
        assert_eq!(move_to(0, Some(vec![own])).await, ErrorCode::None);
        assert_eq!(led().await, [(own, 0); 2]);
        assert_eq!(move_to(0, Some(vec![other])).await, ErrorCode::None);
        assert_eq!(led().await, [(other, 1); 2]);
        assert_eq!(move_to(0, Some(vec![other])).await, ErrorCode::None, "it is there");
        assert_eq!(led().await, [(other, 1); 2]);
        let list = ListPartitionReassignmentsRequest::default();
        assert!(host.call(1, 0, list).await.topics.is_empty(), "none is under way");
        assert_eq!(move_to(0, Some(vec![own, other])).await, impossible);
        assert_eq!(move_to(0, Some(vec![])).await, impossible);
        assert_eq!(move_to(0, Some(vec![7])).await, impossible);
        assert_eq!(move_to(0, None).await, ErrorCode::NoReassignmentInProgress);
        assert_eq!(move_to(2, Some(vec![own])).await, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(move_to(2, None).await, ErrorCode::UnknownTopicOrPartition);
    });
}

#[test]
fn there_is_one_log_directory() {
    run(async |host| {
        create(&host, "t").await;
        let described = host.call(0, 4, DescribeLogDirsRequest { topics: None }).await;
        let own = described.results[0].log_dir.clone();
        let alter = async |path: &str, index: i32| {
            let topics =
                vec![AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![index] }];
            let dirs = vec![AlterReplicaLogDir { path: path.into(), topics }];
            let answer = host.call(0, 2, AlterReplicaLogDirsRequest { dirs }).await;
            answer.results[0].partitions[0].error_code
        };
        assert_eq!(alter(&own, 1).await, ErrorCode::None);
        assert_eq!(alter("/elsewhere", 1).await, ErrorCode::LogDirNotFound);
        assert_eq!(alter("/elsewhere", 9).await, ErrorCode::LogDirNotFound);
        assert_eq!(alter(&own, 9).await, ErrorCode::UnknownTopicOrPartition);
    });
}

#[test]
fn producers_are_told_wherever_they_are_asked_for() {
    run(async |host| {
        let id = create(&host, "t").await;
        for sequence in 0..3 {
            let key = crate::shard::request::PartitionKey { topic_id: id, index: 1 };
            let batch = batch(&[b"x"], Timestamp(5), Some((77, 3, sequence)));
            let mut ticket = host.shards[0].append(ShardId(1), key, batch.into());
            poll_fn(|context| ticket.poll_produced(context)).await.unwrap();
        }
        let topic = TopicRequest { name: "t".into(), partition_indexes: vec![0, 1, 2] };
        for shard in 0..2 {
            let request = DescribeProducersRequest { topics: vec![topic.clone()] };
            let answer = host.call(shard, 0, request).await.topics.remove(0).partitions;
            let codes: Vec<ErrorCode> = answer.iter().map(|one| one.error_code).collect();
            let unknown = ErrorCode::UnknownTopicOrPartition;
            assert_eq!(codes, [ErrorCode::None, ErrorCode::None, unknown]);
            assert!(answer[0].active_producers.is_empty());
            let [producer] = &answer[1].active_producers[..] else { panic!("{answer:?}") };
            let seen = (producer.producer_id, producer.producer_epoch, producer.last_sequence);
            assert_eq!(seen, (77, 3, 2));
            assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
        }
    });
}

#[test]
fn states_of_transactions_that_kafka_does_not_have_are_named() {
    run(async |host| {
        let state_filters = vec!["Ongoing".into(), "Odd".into()];
        let request = ListTransactionsRequest { state_filters, ..Default::default() };
        let answer = host.call(0, 2, request).await;
        assert_eq!(answer.unknown_state_filters, ["Odd"]);
        assert!(answer.transaction_states.is_empty() && answer.error_code.is_none());
    });
}

#[test]
fn a_pattern_of_transactions_has_to_be_one() {
    run(async |host| {
        for (pattern, code) in [
            (Some("a.*"), ErrorCode::None),
            (Some(""), ErrorCode::None),
            (None, ErrorCode::None),
            (Some("(["), ErrorCode::InvalidRegularExpression),
        ] {
            let transactional_id_pattern = pattern.map(Into::into);
            let request =
                ListTransactionsRequest { transactional_id_pattern, ..Default::default() };
            assert_eq!(host.call(0, 2, request).await.error_code, code, "{pattern:?}");
        }
    });
}

#[test]
fn features_are_told_and_stay_as_they_are() {
    run(async |host| {
        let request = ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        let told = host.call(1, 3, request.clone()).await;
        let names = |keys: Vec<Str>| keys.iter().map(Str::to_string).collect::<Vec<_>>();
        let supported = told.supported_features.into_iter().map(|one| one.name).collect();
        assert_eq!(names(supported), ["group.version"]);
        assert_eq!(told.finalized_features[0].max_version_level, 1);
        assert!(told.finalized_features_epoch >= 0);
        assert!(host.call(1, 2, request).await.supported_features.is_empty());
        let update = async |version, feature: &str, max_version_level| {
            let update = FeatureUpdateKey {
                feature: feature.into(),
                max_version_level,
                upgrade_type: 2,
                ..Default::default()
            };
            let feature_updates = vec![update];
            let request = UpdateFeaturesRequest { feature_updates, ..Default::default() };
            let answer = host.call(0, version, request).await;
            (answer.error_code, answer.results.len())
        };
        assert_eq!(update(1, "group.version", 1).await, (ErrorCode::None, 1));
        assert_eq!(update(2, "group.version", 1).await, (ErrorCode::None, 0));
        for (feature, level) in [("group.version", 0), ("group.version", 2), ("no.such", 1)] {
            let refused = update(1, feature, level).await;
            assert_eq!(refused, (ErrorCode::InvalidUpdateVersion, 0), "{feature} {level}");
        }
    });
}

#[test]
fn the_controller_is_a_quorum_of_one() {
    run(async |host| {
        let describe = async |topic: &str, indexes: &[i32]| {
            let partitions = indexes.iter().map(|index| PartitionAsked { partition_index: *index });
            let (topic_name, partitions) = (topic.into(), partitions.collect());
            let topics = vec![TopicAsked { topic_name, partitions }];
            host.call(1, 2, DescribeQuorumRequest { topics }).await
        };
        let answer = describe("__cluster_metadata", &[0]).await;
        let metadata = &answer.topics[0].partitions[0];
        let controller = host.control_planes[0].endpoints.controller_id();
        assert_eq!((metadata.leader_id, metadata.current_voters.len()), (controller, 1));
        assert!(metadata.high_watermark > 0);
        assert_eq!((answer.nodes[0].node_id, answer.nodes[0].listeners.len()), (controller, 1));
        for (topic, indexes) in [("t", &[0][..]), ("__cluster_metadata", &[1]), ("t", &[0, 1])] {
            let answer = describe(topic, indexes).await;
            let partitions = &answer.topics[0].partitions;
            assert!(answer.nodes.is_empty() && partitions.len() == indexes.len());
            assert_eq!(partitions[0].error_code, ErrorCode::UnknownTopicOrPartition);
        }
    });
}

// ---------------------------------------------------------------- quotas

fn part(kind: &str, name: Option<&str>) -> alter_client_quotas::EntityData {
    let (entity_type, entity_name) = (kind.into(), name.map(Into::into));
    alter_client_quotas::EntityData { entity_type, entity_name }
}

async fn alter(
    host: &Host,
    entity: Vec<alter_client_quotas::EntityData>,
    key: &str,
    value: Option<f64>,
) -> ErrorCode {
    let remove = value.is_none();
    let op = OpData { key: key.into(), value: value.unwrap_or_default(), remove };
    let entries = vec![alter_client_quotas::EntryData { entity, ops: vec![op] }];
    let request = AlterClientQuotasRequest { entries, validate_only: false };
    host.call(1, 1, request).await.entries.remove(0).error_code
}

#[test]
fn quotas_are_kept_found_and_forgotten() {
    run(async |host| {
        let client = vec![part("client-id", Some("c"))];
        let both = vec![part("user", None), part("client-id", Some("c"))];
        assert_eq!(
            alter(&host, client.clone(), "producer_byte_rate", Some(5.0)).await,
            ErrorCode::None
        );
        assert_eq!(alter(&host, both, "request_percentage", Some(0.5)).await, ErrorCode::None);
        let found = async |kind: &str, match_type, name: Option<&str>, strict| {
            let (entity_type, matched) = (kind.into(), name.map(Into::into));
            let components = vec![ComponentData { entity_type, match_type, matched }];
            let request = DescribeClientQuotasRequest { components, strict };
            let answer = host.call(0, 1, request).await;
            let values = answer.entries.into_iter().flatten().flat_map(|entry| entry.values);
            values.map(|value| value.value).collect::<Vec<f64>>()
        };
        assert_eq!(found("client-id", 0, Some("c"), false).await, [5.0, 0.5]);
        assert_eq!(found("client-id", 0, Some("c"), true).await, [5.0]);
        assert_eq!(found("user", 1, None, false).await, [0.5]);
        assert_eq!(found("client-id", 1, None, false).await, [] as [f64; 0]);
        assert_eq!(found("ip", 2, None, false).await, [] as [f64; 0]);
        for shard in &host.shards {
            let meter = shard.meter(Some("c")).expect("its client has quotas");
            assert_eq!(meter.rate(QuotaKind::ProduceBytes), Some(5.0));
            assert!(shard.meter(Some("d")).is_none());
        }
        assert_eq!(alter(&host, client, "producer_byte_rate", None).await, ErrorCode::None);
        assert_eq!(found("client-id", 2, None, false).await, [0.5]);
    });
}

#[test]
fn quotas_that_make_no_sense_or_would_not_hold_are_refused() {
    run(async |host| {
        let client = || vec![part("client-id", Some("c"))];
        for (entity, key, value) in [
            (vec![], "producer_byte_rate", 1.0),
            (vec![part("group", Some("g"))], "producer_byte_rate", 1.0),
            (vec![part("user", Some(""))], "producer_byte_rate", 1.0),
            (vec![part("ip", Some("10.0.0.1"))], "connection_creation_rate", 1.0),
            (client(), "connection_creation_rate", 1.0),
            (client(), "producer_byte_rate", 0.0),
            (client(), "producer_byte_rate", -1.0),
            (client(), "producer_byte_rate", 1.5),
            (client(), "producer_byte_rate", 1e19),
            (client(), "request_percentage", f64::NAN),
        ] {
            let code = alter(&host, entity.clone(), key, Some(value)).await;
            assert_eq!(code, ErrorCode::InvalidRequest, "{entity:?} {key} {value}");
        }
        assert!(host.shards[0].image().quotas.is_empty());
    });
}

#[test]
fn quotas_and_group_settings_survive_a_restart() {
    let simulation = Simulation::new(1);
    simulation.run(async {
        let host = harness::start(2).await;
        let client = vec![part("client-id", None)];
        alter(&host, client, "consumer_byte_rate", Some(7.0)).await;
        set_group(&host, "g", "consumer.session.timeout.ms", Some("50000")).await;
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::try_start(3, Config::default()).await.unwrap();
        for shard in &host.shards {
            let meter = shard.meter(Some("any")).expect("the default holds");
            assert_eq!(meter.rate(QuotaKind::FetchBytes), Some(7.0));
            let image = shard.image();
            assert_eq!(image.group_overrides["g"]["consumer.session.timeout.ms"], "50000");
        }
    });
}

// ---------------------------------------------------------------- settings

async fn set_group(host: &Host, group: &str, key: &str, value: Option<&str>) -> ErrorCode {
    let config = AlterableConfig {
        name: key.into(),
        config_operation: if value.is_some() { 0 } else { 1 },
        value: value.map(Into::into),
    };
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: group.into(),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    host.call(1, 1, request).await.responses[0].error_code
}

#[test]
fn groups_have_settings_before_they_are_there() {
    run(async |host| {
        let key = "consumer.heartbeat.interval.ms";
        assert_eq!(set_group(&host, "g", key, Some("6000")).await, ErrorCode::None);
        assert_eq!(set_group(&host, "g", key, Some("1")).await, ErrorCode::InvalidConfig);
        assert_eq!(set_group(&host, "", key, Some("6000")).await, ErrorCode::InvalidRequest);
        let described = async |resource_type, name: &str| {
            let resource = DescribeConfigsResource {
                resource_type,
                resource_name: name.into(),
                configuration_keys: None,
            };
            let resources = vec![resource];
            let request = DescribeConfigsRequest { resources, ..Default::default() };
            let answer = host.call(0, 4, request).await.results.remove(0);
            let values = answer.configs.into_iter();
            let values = values.map(|one| (one.value.unwrap().to_string(), one.config_source));
            (answer.error_code, values.collect::<Vec<_>>())
        };
        let own = ("6000".to_string(), 8);
        assert_eq!(described(32, "g").await.1[1], own);
        assert_eq!(described(32, "other").await.1[1], ("5000".to_string(), 5));
        let broker = host.control_planes[0].endpoints.controller_id().to_string();
        assert_eq!(described(8, &broker).await.1, [("INFO".to_string(), 6)]);
        assert_eq!(described(8, "").await.0, ErrorCode::InvalidRequest);
        assert_eq!(described(16, "m").await.1.len(), 3);
        let listed = async |kinds: &[i8]| {
            let request = ListConfigResourcesRequest { resource_types: kinds.to_vec() };
            let answer = host.call(0, 1, request).await;
            let names = answer.config_resources.into_iter().map(|one| one.resource_name);
            (answer.error_code, names.map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(listed(&[32]).await, (ErrorCode::None, vec!["g".to_string()]));
        assert_eq!(listed(&[4]).await.1.len(), 2);
        assert_eq!(listed(&[3]).await.0, ErrorCode::UnsupportedVersion);
        assert_eq!(set_group(&host, "g", key, None).await, ErrorCode::None);
        assert!(listed(&[32]).await.1.is_empty());
    });
}
