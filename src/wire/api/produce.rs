//! Produce (key 0).
//! v3 record batches; v5 log start offset; v7 zstd; v8 per-record errors (KIP-467); v10 leader hints
//! (KIP-951); v12 implicit transaction partitions (KIP-890); v13 topic ids (KIP-516).

use crate::wire::message::prelude::*;

messages! {
    ProduceRequest (3..=13, flexible 9..) {
        transactional_id: Option<Str> => 3..;
        acks: i16 => 0..;
        timeout_ms: i32 => 0..;
        topic_data: Vec<TopicProduceData> => 0..;
    }

    TopicProduceData {
        name: Str => 0..=12;
        topic_id: TopicId => 13..;
        partition_data: Vec<PartitionProduceData> => 0..;
    }

    PartitionProduceData {
        index: i32 => 0..;
        records: Option<Records> => 0.., default Some(Records::default());
    }

    ProduceResponse (3..=13, flexible 9..) {
        responses: Vec<TopicProduceResponse> => 0..;
        throttle_time_ms: i32 => 1..;
        node_endpoints: Vec<NodeEndpoint> => 10.., tag 0;
    }

    TopicProduceResponse {
        name: Str => 0..=12;
        topic_id: TopicId => 13..;
        partition_responses: Vec<PartitionProduceResponse> => 0..;
    }

    PartitionProduceResponse {
        index: i32 => 0..;
        error_code: ErrorCode => 0..;
        base_offset: i64 => 0..;
        log_append_time_ms: i64 => 2.., default -1;
        log_start_offset: i64 => 5.., default -1;
        record_errors: Vec<BatchIndexAndErrorMessage> => 8..;
        error_message: Option<Str> => 8..;
        current_leader: LeaderIdAndEpoch => 10.., tag 0;
    }

    BatchIndexAndErrorMessage {
        batch_index: i32 => 8..;
        batch_index_error_message: Option<Str> => 8..;
    }

    LeaderIdAndEpoch {
        leader_id: i32 => 10.., default -1;
        leader_epoch: i32 => 10.., default -1;
    }

    NodeEndpoint {
        node_id: i32 => 10..;
        host: Str => 10..;
        port: i32 => 10..;
        rack: Option<Str> => 10..;
    }
}
