//! ConsumerGroupHeartbeat (key 68, KIP-848): joins, stays, acknowledges and leaves, all in one.

use crate::wire::message::prelude::*;

messages! {
    ConsumerGroupHeartbeatRequest (0..=1, flexible 0..) {
        group_id: Str => 0..;
        /// Made by the client from version 1 on.
        member_id: Str => 0..;
        /// 0 joins, -1 leaves, -2 leaves for a while (a static member).
        member_epoch: i32 => 0..;
        instance_id: Option<Str> => 0..;
        rack_id: Option<Str> => 0..;
        rebalance_timeout_ms: i32 => 0.., default -1;
        subscribed_topic_names: Option<Vec<Str>> => 0..;
        subscribed_topic_regex: Option<Str> => 1..;
        server_assignor: Option<Str> => 0..;
        /// What the member owns.
        topic_partitions: Option<Vec<HeartbeatTopicPartitions>> => 0..;
    }

    HeartbeatTopicPartitions {
        topic_id: TopicId => 0..;
        partitions: Vec<i32> => 0..;
    }

    ConsumerGroupHeartbeatResponse (0..=1, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        member_id: Option<Str> => 0..;
        member_epoch: i32 => 0..;
        heartbeat_interval_ms: i32 => 0..;
        assignment: Option<HeartbeatAssignment> => 0..;
    }

    HeartbeatAssignment {
        topic_partitions: Vec<HeartbeatTopicPartitions> => 0..;
    }
}
