//! Frames as bytes: captured between stock clients and Apache Kafka 4.3.1, or, for the versions that
//! neither the oracle nor Kafka 4 has, checked with the classes of kafka-clients 3.9.1 and 4.4.0.

use super::{Decoder, Message, Request, bytes_of, encoded};
use crate::types::TopicId;
use crate::wire::api::*;
use crate::wire::{Encoder, ErrorCode, Records, RequestHeader, Str, decode_response};

fn text(text: &str) -> Str {
    Str::from(text)
}

/// A captured request, its header included, decodes to this and encodes to the same bytes.
fn check_request<R: Request>(hex: &str, version: i16, client_id: &str, expected: R) {
    let frame = bytes_of(hex);
    let mut d = Decoder::new(frame.clone());
    let header = RequestHeader::decode(&mut d).unwrap();
    assert_eq!((header.api_key, header.api_version), (R::KEY, version));
    assert_eq!(header.client_id, Some(text(client_id)));
    let request = R::decode(&mut d, version).unwrap();
    assert_eq!(request, expected);
    assert_eq!(d.finish(), Ok(()));

    let mut e = Encoder::new();
    header.encode(&mut e);
    request.encode(&mut e, version);
    assert_eq!(e.out, frame);
}

/// The same for a response of Kafka's.
fn check_response<R: Request>(hex: &str, version: i16, expected: R::Response) {
    let frame = bytes_of(hex);
    let (correlation_id, response) = decode_response::<R>(frame.clone(), version).unwrap();
    assert_eq!(response, expected);
    let e = crate::wire::encode_response::<R>(&response, version, correlation_id);
    assert_eq!(e.out[4..], frame, "the frame behind its length");
}

#[test]
fn api_versions_as_clients_of_all_ages_ask_for_it() {
    // kcat of Debian 12: librdkafka 2.0.2
    check_request(
        "0012000300000001 000772646b61666b 61000b6c69627264 6b61666b6106322e 302e3200",
        3,
        "rdkafka",
        ApiVersionsRequest {
            client_software_name: text("librdkafka"),
            client_software_version: text("2.0.2"),
            ..Default::default()
        },
    );
    // Kafka's Java client 4.4.0, which falls back to an older version when this one is refused
    check_request(
        "0012000500000000 000d61646d696e63 6c69656e742d3100 126170616368652d 6b61666b612d6a61 \
         766106342e342e30 00ffffffff00",
        5,
        "adminclient-1",
        ApiVersionsRequest {
            client_software_name: text("apache-kafka-java"),
            client_software_version: text("4.4.0"),
            ..Default::default()
        },
    );
    check_request(
        "0012000000000001 000f61696f6b6166 6b612d302e31342e 30",
        0,
        "aiokafka-0.14.0",
        ApiVersionsRequest::default(),
    );
}

/// librdkafka 2.16.1 (its issue 5049) writes "all topics" as null in one byte and
/// leaves the three others of the older form behind. Kafka reads this as all topics and ignores the
/// rest, so a broker must not refuse trailing bytes.
#[test]
fn metadata_of_librdkafka_trails_three_bytes() {
    let frame = bytes_of("0003000d00000003 000772646b61666b61 00 00 00 00 00 01 00 00");
    let mut d = Decoder::new(frame);
    assert_eq!(RequestHeader::decode(&mut d).unwrap().api_key, ApiKey::Metadata);
    assert_eq!(MetadataRequest::decode(&mut d, 13).unwrap().topics, None);
    assert_eq!(d.remaining(), 3);
}

fn topic_id(hex: &str) -> TopicId {
    TopicId(bytes_of(hex)[..].try_into().unwrap())
}

fn records(hex: &str) -> Option<Records> {
    Some(Records::Inline(bytes_of(hex)))
}

#[test]
fn produce_of_kafkajs_and_librdkafka() {
    let batch = "0000000000000000 0000003a 00000000 02 bcb82e88 0000 00000000 \
                 000001a1fdab5edf 000001a1fdab5edf ffffffffffffffff 0000 00000000 00000001 \
                 10 00 00 00 01 04 61 30 00";
    check_request(
        "0000000700000002 000e73756974652d 3532663438626566 ffff000000007530 0000000100186b6a \
         732d353266343862 65662d61636b732d 6433373162320000 0001000000000000 0046000000000000 \
         00000000003a0000 000002bcb82e8800 0000000000000001 a1fdab5edf000001 a1fdab5edfffffff \
         ffffffffff000000 0000000000000110 0000000104613000",
        7,
        "suite-52f48bef",
        ProduceRequest {
            acks: 0,
            timeout_ms: 30_000,
            topic_data: vec![produce::TopicProduceData {
                name: text("kjs-52f48bef-acks-d371b2"),
                partition_data: vec![produce::PartitionProduceData {
                    index: 0,
                    records: records(batch),
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    let batch = "0000000000000000 00000039 00000000 02 e85e3865 0000 00000000 \
                 000001a1fda9ea5c 000001a1fda9ea5c ffffffffffffffff ffff ffffffff 00000001 \
                 0e 00 00 00 01 02 78 00";
    check_request(
        "0000000a00000003 000772646b61666b 610000ffff000075 30021970632d3235 373131333035362d \
         706f6c6c2d303133 3461650200000000 4600000000000000 0000000039000000 0002e85e38650000 \
         00000000000001a1 fda9ea5c000001a1 fda9ea5cffffffff ffffffffffffffff ffff000000010e00 \
         0000010278000000 00",
        10,
        "rdkafka",
        ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![produce::TopicProduceData {
                name: text("pc-257113056-poll-0134ae"),
                partition_data: vec![produce::PartitionProduceData {
                    index: 0,
                    records: records(batch),
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    check_response::<ProduceRequest>(
        "0000000200021770 632d323537313133 3035362d6c6f2d35 3532323032020000 0000000000000000 \
         00000000ffffffff ffffffff00000000 0000000001000000 0000000000",
        10,
        ProduceResponse {
            responses: vec![produce::TopicProduceResponse {
                name: text("pc-257113056-lo-552202"),
                partition_responses: vec![produce::PartitionProduceResponse {
                    log_start_offset: 0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

#[test]
fn fetch_of_librdkafka_and_the_java_client() {
    let id = topic_id("0e19833b5f064779a2f3c0b592617924");
    check_request(
        "0001001000000005 000772646b61666b 6100000001f40000 0001032000000100 000000ffffffff02 \
         0e19833b5f064779 a2f3c0b592617924 0200000000000000 0000000000000000 00ffffffffffffff \
         ffffffffff001000 000000010100",
        16,
        "rdkafka",
        FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 52_428_800,
            isolation_level: 1,
            topics: vec![fetch::FetchTopic {
                topic_id: id,
                partitions: vec![fetch::FetchPartition {
                    current_leader_epoch: 0,
                    partition_max_bytes: 1_048_576,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    check_response::<FetchRequest>(
        "0000000600000000 0000000000000002 0e19833b5f064779 a2f3c0b592617924 0200000000000000 \
         000000000001f400 000000000001f400 0000000000000001 ffffffff01000000",
        16,
        FetchResponse {
            responses: vec![fetch::FetchableTopicResponse {
                topic_id: id,
                partitions: vec![fetch::PartitionData {
                    high_watermark: 500,
                    last_stable_offset: 500,
                    log_start_offset: 0,
                    aborted_transactions: Some(vec![]),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    // The Java client 4.4.0 asks for the news of its session, and there are none.
    check_request(
        "0001001200000009 000f636f6e73756d 65722d6e756c6c2d 3100000001f40000 0001032000000119 \
         25cf3a0000000201 0103723100",
        18,
        "consumer-null-1",
        FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 52_428_800,
            isolation_level: 1,
            session_id: 0x1925_cf3a,
            session_epoch: 2,
            rack_id: text("r1"),
            ..Default::default()
        },
    );
    check_response::<FetchRequest>(
        "0000000800000000 0000001925cf3a01 00",
        18,
        FetchResponse { session_id: 0x1925_cf3a, ..Default::default() },
    );
    check_response::<FetchRequest>(
        "0000000600000000 0000000000000000 000100146b636174 2d31373935323537 3137323130373632 \
         0000000100000000 0000000000000000 0064000000000000 0064000000000000 000000000000ffff \
         ffff00000000",
        11,
        FetchResponse {
            responses: vec![fetch::FetchableTopicResponse {
                topic: text("kcat-179525717210762"),
                partitions: vec![fetch::PartitionData {
                    high_watermark: 100,
                    last_stable_offset: 100,
                    log_start_offset: 0,
                    aborted_transactions: Some(vec![]),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

/// KIP-951, by Kafka's schemas: the leader in the partition's tags, its endpoint in the response's.
#[test]
fn refusals_name_the_leader_in_tagged_fields() {
    check_body(
        12,
        "02 02 74 02 00000002 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00 \
         01 00 09 00000401 00000003 00 00 00000000 \
         01 00 0e 02 00000401 02 68 00002386 02 72 00",
        ProduceResponse {
            responses: vec![produce::TopicProduceResponse {
                name: text("t"),
                partition_responses: vec![produce::PartitionProduceResponse {
                    index: 2,
                    error_code: ErrorCode::NotLeaderOrFollower,
                    base_offset: -1,
                    current_leader: produce::LeaderIdAndEpoch { leader_id: 1025, leader_epoch: 3 },
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: vec![produce::NodeEndpoint {
                node_id: 1025,
                host: text("h"),
                port: 9094,
                rack: Some(text("r")),
            }],
            ..Default::default()
        },
    );
    let id = "0e19833b5f064779a2f3c0b592617924";
    check_body(
        16,
        &format!(
            "00000000 0000 00000000 02 {id} 02 00000002 004a ffffffffffffffff ffffffffffffffff \
             ffffffffffffffff 00 ffffffff 01 01 01 09 00000401 00000003 00 00 \
             01 00 0d 02 00000401 02 68 00002386 00 00"
        ),
        FetchResponse {
            responses: vec![fetch::FetchableTopicResponse {
                topic_id: topic_id(id),
                partitions: vec![fetch::PartitionData {
                    partition_index: 2,
                    error_code: ErrorCode::FencedLeaderEpoch,
                    high_watermark: -1,
                    current_leader: fetch::LeaderIdAndEpoch { leader_id: 1025, leader_epoch: 3 },
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: vec![fetch::NodeEndpoint {
                node_id: 1025,
                host: text("h"),
                port: 9094,
                rack: None,
            }],
            ..Default::default()
        },
    );
}

#[test]
fn admin_requests_of_kafkajs_and_the_java_client() {
    check_request(
        "0014000100000016 000e73756974652d 3532663438626566 0000000100196b6a 732d353266343862 \
         65662d61646d696e 2d65313165363900 001388",
        1,
        "suite-52f48bef",
        DeleteTopicsRequest {
            topic_names: vec![text("kjs-52f48bef-admin-e11e69")],
            timeout_ms: 5000,
            ..Default::default()
        },
    );
    check_request(
        "004b000000000005 000d61646d696e63 6c69656e742d3100 02036a7400000007 d0ff00",
        0,
        "adminclient-1",
        DescribeTopicPartitionsRequest {
            topics: vec![describe_topic_partitions::TopicRequest { name: text("jt") }],
            ..Default::default()
        },
    );
    check_response::<DescribeTopicPartitionsRequest>(
        "0000000500000000 00020000036a744c 37d9c834aa42c0a7 c7b8071e45f2e900 0400000000000000 \
         0000010000000002 0000000102000000 0101010100000000 0000010000000100 0000000200000001 \
         0200000001010101 0000000000000200 0000010000000002 0000000102000000 010101010000000d \
         f800ff00",
        0,
        DescribeTopicPartitionsResponse {
            topics: vec![describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
                name: Some(text("jt")),
                topic_id: topic_id("4c37d9c834aa42c0a7c7b8071e45f2e9"),
                partitions: (0..3).map(described_partition).collect(),
                topic_authorized_operations: 0x0df8,
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

fn described_partition(
    partition_index: i32,
) -> describe_topic_partitions::DescribeTopicPartitionsResponsePartition {
    describe_topic_partitions::DescribeTopicPartitionsResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        eligible_leader_replicas: Some(vec![]),
        last_known_elr: Some(vec![]),
        ..Default::default()
    }
}

/// A body alone, in both directions.
fn check_body<M: Message>(version: i16, hex: &str, message: M) {
    let bytes = bytes_of(hex);
    assert_eq!(encoded(&message, version), bytes, "{} v{version}", M::NAME);
    let mut d = Decoder::new(bytes);
    assert_eq!(M::decode(&mut d, version), Ok(message), "{} v{version}", M::NAME);
    assert_eq!(d.finish(), Ok(()));
}

#[test]
fn topics_are_created_and_deleted_by_the_oldest_versions() {
    use create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
    let topic = CreatableTopic {
        name: text("t"),
        num_partitions: 3,
        replication_factor: 1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 2, broker_ids: vec![9] }],
        configs: vec![CreatableTopicConfig { name: text("c"), value: None }],
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5, validate_only: false };
    let body = "00000001 0001 74 00000003 0001 00000001 00000002 00000001 00000009 \
                00000001 0001 63 ffff 00000005";
    check_body(0, body, request.clone());
    check_body(1, &format!("{body} 01"), CreateTopicsRequest { validate_only: true, ..request });

    let mut result = create_topics::CreatableTopicResult {
        name: text("t"),
        error_code: ErrorCode::TopicAlreadyExists,
        ..Default::default()
    };
    let response = |result: &create_topics::CreatableTopicResult| CreateTopicsResponse {
        topics: vec![result.clone()],
        ..Default::default()
    };
    check_body(0, "00000001 0001 74 0024", response(&result));
    result.error_message = Some(text("m"));
    check_body(1, "00000001 0001 74 0024 0001 6d", response(&result));

    check_body(
        0,
        "00000001 0001 74 00000005",
        DeleteTopicsRequest { topic_names: vec![text("t")], timeout_ms: 5, ..Default::default() },
    );
    check_body(
        0,
        "00000001 0001 74 0003",
        DeleteTopicsResponse {
            responses: vec![delete_topics::DeletableTopicResult {
                name: Some(text("t")),
                error_code: ErrorCode::UnknownTopicOrPartition,
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

#[test]
fn leader_epochs_are_asked_for_by_the_oldest_versions() {
    use offset_for_leader_epoch::*;
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: text("t"),
            partitions: vec![OffsetForLeaderPartition {
                partition: 2,
                leader_epoch: 7,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let body = "00000001 0001 74 00000001 00000002 00000007";
    check_body(0, body, request.clone());
    check_body(1, body, request);

    let response = |leader_epoch| OffsetForLeaderEpochResponse {
        topics: vec![OffsetForLeaderTopicResult {
            topic: text("t"),
            partitions: vec![EpochEndOffset {
                error_code: ErrorCode::None,
                partition: 2,
                leader_epoch,
                end_offset: 11,
            }],
        }],
        ..Default::default()
    };
    check_body(0, "00000001 0001 74 00000001 0000 00000002 000000000000000b", response(-1));
    check_body(1, "00000001 0001 74 00000001 0000 00000002 00000007 000000000000000b", response(7));
}

#[test]
fn configs_and_log_dirs_are_described_by_the_oldest_versions() {
    check_body(
        0,
        "00000001 02 0001 74 00000001 0001 63",
        DescribeConfigsRequest {
            resources: vec![describe_configs::DescribeConfigsResource {
                resource_type: 2,
                resource_name: text("t"),
                configuration_keys: Some(vec![text("c")]),
            }],
            ..Default::default()
        },
    );
    check_body(
        0,
        "00000009 00000001 0000 ffff 02 0001 74 00000001 0001 63 0001 76 00 01 00",
        DescribeConfigsResponse {
            throttle_time_ms: 9,
            results: vec![describe_configs::DescribeConfigsResult {
                resource_type: 2,
                resource_name: text("t"),
                configs: vec![describe_configs::DescribeConfigsResourceResult {
                    name: text("c"),
                    value: Some(text("v")),
                    is_default: true,
                    ..Default::default()
                }],
                ..Default::default()
            }],
        },
    );
    check_body(
        0,
        "00000001 0001 74 00000001 00000002",
        DescribeLogDirsRequest {
            topics: Some(vec![describe_log_dirs::DescribableLogDirTopic {
                topic: text("t"),
                partitions: vec![2],
            }]),
        },
    );
    check_body(
        0,
        "00000009 00000001 0000 0001 2f 00000001 0001 74 00000001 \
         00000002 000000000000000b 0000000000000000 00",
        described_dirs(-1, false),
    );
}

fn described_dirs(volume_bytes: i64, is_cordoned: bool) -> DescribeLogDirsResponse {
    use describe_log_dirs::*;
    DescribeLogDirsResponse {
        throttle_time_ms: 9,
        results: vec![DescribeLogDirsResult {
            log_dir: text("/"),
            topics: vec![DescribeLogDirsTopic {
                name: text("t"),
                partitions: vec![DescribeLogDirsPartition {
                    partition_index: 2,
                    partition_size: 11,
                    ..Default::default()
                }],
            }],
            total_bytes: volume_bytes,
            usable_bytes: volume_bytes,
            is_cordoned,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn the_newest_versions_are_those_of_kafka_4_4() {
    check_body(
        5,
        "00000009 0000 02 0000 02 2f 02 02 74 02 00000002 000000000000000b 0000000000000000 00 \
         00 00 00000000000000ff 00000000000000ff 01 00 00",
        described_dirs(255, true),
    );
    check_body(5, "00 00", DescribeLogDirsRequest::default());
    check_body(
        11,
        "ffffffff 01 02 02 74 02 00000002 00000003 fffffffffffffffa 00 00 00000005 00",
        ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 1,
            topics: vec![list_offsets::ListOffsetsTopic {
                name: text("t"),
                partitions: vec![list_offsets::ListOffsetsPartition {
                    partition_index: 2,
                    current_leader_epoch: 3,
                    timestamp: -6,
                }],
            }],
            timeout_ms: 5,
        },
    );
    check_body(
        11,
        "00000009 02 02 74 02 00000002 0000 ffffffffffffffff 000000000000000b 00000003 00 00 00",
        ListOffsetsResponse {
            throttle_time_ms: 9,
            topics: vec![list_offsets::ListOffsetsTopicResponse {
                name: text("t"),
                partitions: vec![list_offsets::ListOffsetsPartitionResponse {
                    partition_index: 2,
                    offset: 11,
                    leader_epoch: 3,
                    ..Default::default()
                }],
            }],
        },
    );
    check_body(
        6,
        "02 78 00000005 0000000000000007 0001 01 00 00",
        InitProducerIdRequest {
            transactional_id: Some(text("x")),
            transaction_timeout_ms: 5,
            producer_id: 7,
            producer_epoch: 1,
            enable_2_pc: true,
            keep_prepared_txn: false,
        },
    );
    check_body(
        5,
        "0000 02 0012 0000 0004 00 00000000 01 01 08 0000000000000007",
        ApiVersionsResponse {
            api_keys: vec![api_versions::ApiVersion {
                api_key: 18,
                min_version: 0,
                max_version: 4,
            }],
            finalized_features_epoch: 7,
            ..Default::default()
        },
    );
}
