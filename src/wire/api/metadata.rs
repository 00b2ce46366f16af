//! Metadata (key 3).
//! v0 asks for all topics by an empty list, later versions by null; v4 auto-creation; v7 leader
//! epochs; v8 authorized operations (KIP-430); v10 topic ids (KIP-516); v12 lookup by id; v13 a
//! top-level error (KIP-1102).

use crate::wire::message::prelude::*;

/// Not asked for, or not known.
const NO_OPERATIONS: i32 = i32::MIN;

messages! {
    MetadataRequest (0..=13, flexible 9..) {
        topics: Option<Vec<MetadataRequestTopic>> => 0.., nullable 1.., default Some(Vec::new());
        allow_auto_topic_creation: bool => 4.., default true;
        include_cluster_authorized_operations: bool => 8..=10;
        include_topic_authorized_operations: bool => 8..;
    }

    MetadataRequestTopic {
        topic_id: TopicId => 10..;
        name: Option<Str> => 0.., nullable 10..;
    }

    MetadataResponse (0..=13, flexible 9..) {
        throttle_time_ms: i32 => 3..;
        brokers: Vec<MetadataResponseBroker> => 0..;
        cluster_id: Option<Str> => 2..;
        controller_id: i32 => 1.., default -1;
        topics: Vec<MetadataResponseTopic> => 0..;
        cluster_authorized_operations: i32 => 8..=10, default NO_OPERATIONS;
        error_code: ErrorCode => 13..;
    }

    MetadataResponseBroker {
        node_id: i32 => 0..;
        host: Str => 0..;
        port: i32 => 0..;
        rack: Option<Str> => 1..;
    }

    MetadataResponseTopic {
        error_code: ErrorCode => 0..;
        name: Option<Str> => 0.., nullable 12..;
        topic_id: TopicId => 10..;
        is_internal: bool => 1..;
        partitions: Vec<MetadataResponsePartition> => 0..;
        topic_authorized_operations: i32 => 8.., default NO_OPERATIONS;
    }

    MetadataResponsePartition {
        error_code: ErrorCode => 0..;
        partition_index: i32 => 0..;
        leader_id: i32 => 0..;
        leader_epoch: i32 => 7.., default -1;
        replica_nodes: Vec<i32> => 0..;
        isr_nodes: Vec<i32> => 0..;
        offline_replicas: Vec<i32> => 5..;
    }
}
