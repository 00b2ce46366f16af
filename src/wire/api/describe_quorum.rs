//! DescribeQuorum (key 55). KIP-595; v1 adds when a replica was heard of (KIP-836), v2 nodes and directories (KIP-853).

use crate::wire::message::prelude::*;

messages! {
    DescribeQuorumRequest (0..=2, flexible 0..) {
        topics: Vec<TopicAsked> => 0..;
    }

    TopicAsked {
        topic_name: Str => 0..;
        partitions: Vec<PartitionAsked> => 0..;
    }

    PartitionAsked {
        partition_index: i32 => 0..;
    }

    DescribeQuorumResponse (0..=2, flexible 0..) {
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 2..;
        topics: Vec<TopicData> => 0..;
        nodes: Vec<Node> => 2..;
    }

    TopicData {
        topic_name: Str => 0..;
        partitions: Vec<PartitionData> => 0..;
    }

    PartitionData {
        partition_index: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 2..;
        leader_id: i32 => 0..;
        leader_epoch: i32 => 0..;
        high_watermark: i64 => 0..;
        current_voters: Vec<ReplicaState> => 0..;
        observers: Vec<ReplicaState> => 0..;
    }

    ReplicaState {
        replica_id: i32 => 0..;
        replica_directory_id: TopicId => 2..;
        log_end_offset: i64 => 0..;
        last_fetch_timestamp: i64 => 1.., default -1;
        last_caught_up_timestamp: i64 => 1.., default -1;
    }

    Node {
        node_id: i32 => 2..;
        listeners: Vec<Listener> => 2..;
    }

    Listener {
        name: Str => 2..;
        host: Str => 2..;
        port: u16 => 2..;
    }
}
