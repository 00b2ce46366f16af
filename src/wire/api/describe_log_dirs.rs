//! DescribeLogDirs (key 35).
//! v3 a top-level error; v4 the volume's size (KIP-827); v5 cordoned directories (KIP-1066).
//! Kafka 4 serves it from v1; v0 is for old clients.

use crate::wire::message::prelude::*;

messages! {
    DescribeLogDirsRequest (0..=5, flexible 2..) {
        /// Null asks for all.
        topics: Option<Vec<DescribableLogDirTopic>> => 0..;
    }

    DescribableLogDirTopic {
        topic: Str => 0..;
        partitions: Vec<i32> => 0..;
    }

    DescribeLogDirsResponse (0..=5, flexible 2..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 3..;
        results: Vec<DescribeLogDirsResult> => 0..;
    }

    DescribeLogDirsResult {
        error_code: ErrorCode => 0..;
        log_dir: Str => 0..;
        topics: Vec<DescribeLogDirsTopic> => 0..;
        total_bytes: i64 => 4.., default -1;
        usable_bytes: i64 => 4.., default -1;
        is_cordoned: bool => 5..;
    }

    DescribeLogDirsTopic {
        name: Str => 0..;
        partitions: Vec<DescribeLogDirsPartition> => 0..;
    }

    DescribeLogDirsPartition {
        partition_index: i32 => 0..;
        partition_size: i64 => 0..;
        offset_lag: i64 => 0..;
        is_future_key: bool => 0..;
    }
}
