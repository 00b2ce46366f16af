//! OffsetDelete (key 47, KIP-496). Never flexible.

use crate::wire::message::prelude::*;

messages! {
    OffsetDeleteRequest (0..=0, flexible 1..) {
        group_id: Str => 0..;
        topics: Vec<OffsetDeleteRequestTopic> => 0..;
    }

    OffsetDeleteRequestTopic {
        name: Str => 0..;
        partitions: Vec<OffsetDeleteRequestPartition> => 0..;
    }

    OffsetDeleteRequestPartition {
        partition_index: i32 => 0..;
    }

    OffsetDeleteResponse (0..=0, flexible 1..) {
        error_code: ErrorCode => 0..;
        throttle_time_ms: i32 => 0..;
        topics: Vec<OffsetDeleteResponseTopic> => 0..;
    }

    OffsetDeleteResponseTopic {
        name: Str => 0..;
        partitions: Vec<OffsetDeleteResponsePartition> => 0..;
    }

    OffsetDeleteResponsePartition {
        partition_index: i32 => 0..;
        error_code: ErrorCode => 0..;
    }
}
