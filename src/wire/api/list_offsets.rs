//! ListOffsets (key 2).
//! v1 one offset per partition; v2 isolation level; v4 leader epochs (KIP-320). The timestamps -1
//! latest, -2 earliest, then -3 max timestamp from v7 (KIP-734), -4 earliest local from v8 (KIP-405),
//! -5 latest tiered from v9 (KIP-1005), -6 earliest pending upload from v11 (KIP-1023).

use crate::wire::message::prelude::*;

messages! {
    ListOffsetsRequest (1..=11, flexible 6..) {
        replica_id: i32 => 0..;
        isolation_level: i8 => 2..;
        topics: Vec<ListOffsetsTopic> => 0..;
        timeout_ms: i32 => 10..;
    }

    ListOffsetsTopic {
        name: Str => 0..;
        partitions: Vec<ListOffsetsPartition> => 0..;
    }

    ListOffsetsPartition {
        partition_index: i32 => 0..;
        current_leader_epoch: i32 => 4.., default -1;
        timestamp: i64 => 0..;
    }

    ListOffsetsResponse (1..=11, flexible 6..) {
        throttle_time_ms: i32 => 2..;
        topics: Vec<ListOffsetsTopicResponse> => 0..;
    }

    ListOffsetsTopicResponse {
        name: Str => 0..;
        partitions: Vec<ListOffsetsPartitionResponse> => 0..;
    }

    ListOffsetsPartitionResponse {
        partition_index: i32 => 0..;
        error_code: ErrorCode => 0..;
        timestamp: i64 => 1.., default -1;
        offset: i64 => 1.., default -1;
        leader_epoch: i32 => 4.., default -1;
    }
}
