//! OffsetCommit (key 8).
//! v2 the client's own retention, gone with v5; v6 leader epochs (KIP-320); v7 static members (KIP-345); v9
//! member epochs (KIP-848); v10 topic ids (KIP-516).

use crate::wire::message::prelude::*;

messages! {
    OffsetCommitRequest (2..=10, flexible 8..) {
        group_id: Str => 0..;
        generation_id_or_member_epoch: i32 => 1.., default -1;
        member_id: Str => 1..;
        group_instance_id: Option<Str> => 7..;
        retention_time_ms: i64 => 2..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic> => 0..;
    }

    OffsetCommitRequestTopic {
        name: Str => 0..=9;
        topic_id: TopicId => 10..;
        partitions: Vec<OffsetCommitRequestPartition> => 0..;
    }

    OffsetCommitRequestPartition {
        partition_index: i32 => 0..;
        committed_offset: i64 => 0..;
        committed_leader_epoch: i32 => 6.., default -1;
        committed_metadata: Option<Str> => 0..;
    }

    OffsetCommitResponse (2..=10, flexible 8..) {
        throttle_time_ms: i32 => 3..;
        topics: Vec<OffsetCommitResponseTopic> => 0..;
    }

    OffsetCommitResponseTopic {
        name: Str => 0..=9;
        topic_id: TopicId => 10..;
        partitions: Vec<OffsetCommitResponsePartition> => 0..;
    }

    OffsetCommitResponsePartition {
        partition_index: i32 => 0..;
        error_code: ErrorCode => 0..;
    }
}
