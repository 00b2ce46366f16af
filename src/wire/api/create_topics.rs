//! CreateTopics (key 19).
//! v1 validate only; v4 lets partitions and replication factor be -1, the broker's default
//! (KIP-464); v5 the configs in the response (KIP-525); v7 topic ids (KIP-516).
//! Kafka 4 serves it from v2; v0 and v1 are for old clients.

use crate::wire::message::prelude::*;

messages! {
    CreateTopicsRequest (0..=7, flexible 5..) {
        topics: Vec<CreatableTopic> => 0..;
        timeout_ms: i32 => 0.., default 60_000;
        validate_only: bool => 1..;
    }

    CreatableTopic {
        name: Str => 0..;
        num_partitions: i32 => 0..;
        replication_factor: i16 => 0..;
        assignments: Vec<CreatableReplicaAssignment> => 0..;
        configs: Vec<CreatableTopicConfig> => 0..;
    }

    CreatableReplicaAssignment {
        partition_index: i32 => 0..;
        broker_ids: Vec<i32> => 0..;
    }

    CreatableTopicConfig {
        name: Str => 0..;
        value: Option<Str> => 0..;
    }

    CreateTopicsResponse (0..=7, flexible 5..) {
        throttle_time_ms: i32 => 2..;
        topics: Vec<CreatableTopicResult> => 0..;
    }

    CreatableTopicResult {
        name: Str => 0..;
        topic_id: TopicId => 7..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 1..;
        topic_config_error_code: ErrorCode => 5.., tag 0;
        num_partitions: i32 => 5.., default -1;
        replication_factor: i16 => 5.., default -1;
        configs: Option<Vec<CreatableTopicConfigs>> => 5..;
    }

    CreatableTopicConfigs {
        name: Str => 5..;
        value: Option<Str> => 5..;
        read_only: bool => 5..;
        config_source: i8 => 5.., default -1;
        is_sensitive: bool => 5..;
    }
}
