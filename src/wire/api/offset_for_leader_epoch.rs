//! OffsetForLeaderEpoch (key 23).
//! v2 the leader's current epoch (KIP-320); v3 consumers may ask (replica id -2 by default).
//! Kafka 4 serves it from v2; v0 and v1 are for old clients.

use crate::wire::message::prelude::*;

messages! {
    OffsetForLeaderEpochRequest (0..=4, flexible 4..) {
        replica_id: i32 => 3.., default -2;
        topics: Vec<OffsetForLeaderTopic> => 0..;
    }

    OffsetForLeaderTopic {
        topic: Str => 0..;
        partitions: Vec<OffsetForLeaderPartition> => 0..;
    }

    OffsetForLeaderPartition {
        partition: i32 => 0..;
        current_leader_epoch: i32 => 2.., default -1;
        leader_epoch: i32 => 0..;
    }

    OffsetForLeaderEpochResponse (0..=4, flexible 4..) {
        throttle_time_ms: i32 => 2..;
        topics: Vec<OffsetForLeaderTopicResult> => 0..;
    }

    OffsetForLeaderTopicResult {
        topic: Str => 0..;
        partitions: Vec<EpochEndOffset> => 0..;
    }

    EpochEndOffset {
        error_code: ErrorCode => 0..;
        partition: i32 => 0..;
        leader_epoch: i32 => 1.., default -1;
        end_offset: i64 => 0.., default -1;
    }
}
