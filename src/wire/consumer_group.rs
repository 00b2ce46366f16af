//! Values of the records in `__consumer_offsets` that keep a consumer group (KIP-848). Pure.
//!
//! Not frames, but made of the same primitives; each stands behind its version as an i16. Their keys are
//! strings of the old form and so simple that they are written where they are used.

use crate::wire::message::prelude::*;

messages! {
    /// Of key 3.
    ConsumerGroupMetadataValue (0..=0, flexible 0..) {
        epoch: i32 => 0..;
        /// Of the topics that members subscribe to (KIP-1101).
        metadata_hash: i64 => 0.., tag 0;
    }

    /// Of key 5.
    ConsumerGroupMemberMetadataValue (0..=0, flexible 0..) {
        instance_id: Option<Str> => 0..;
        rack_id: Option<Str> => 0..;
        client_id: Str => 0..;
        client_host: Str => 0..;
        subscribed_topic_names: Vec<Str> => 0..;
        subscribed_topic_regex: Option<Str> => 0..;
        rebalance_timeout_ms: i32 => 0.., default -1;
        server_assignor: Option<Str> => 0..;
        /// Of a member that speaks the classic protocol.
        classic_member_metadata: Option<ClassicMemberMetadata> => 0.., tag 0;
    }

    ClassicMemberMetadata {
        session_timeout_ms: i32 => 0..;
        supported_protocols: Vec<ClassicProtocol> => 0..;
    }

    ClassicProtocol {
        name: Str => 0..;
        metadata: Bytes => 0..;
    }

    /// Of key 6.
    ConsumerGroupTargetAssignmentMetadataValue (0..=0, flexible 0..) {
        assignment_epoch: i32 => 0..;
        /// When it was computed (KIP-1263).
        assignment_timestamp: i64 => 0.., tag 0;
    }

    /// Of key 7.
    ConsumerGroupTargetAssignmentMemberValue (0..=0, flexible 0..) {
        topic_partitions: Vec<TargetTopicPartitions> => 0..;
    }

    TargetTopicPartitions {
        topic_id: TopicId => 0..;
        partitions: Vec<i32> => 0..;
    }

    /// Of key 8.
    ConsumerGroupCurrentMemberAssignmentValue (0..=0, flexible 0..) {
        member_epoch: i32 => 0..;
        previous_member_epoch: i32 => 0..;
        state: i8 => 0..;
        assigned_partitions: Vec<CurrentTopicPartitions> => 0..;
        partitions_pending_revocation: Vec<CurrentTopicPartitions> => 0..;
    }

    CurrentTopicPartitions {
        topic_id: TopicId => 0..;
        partitions: Vec<i32> => 0..;
        /// Since which member epoch each has been assigned (KIP-1251).
        assignment_epochs: Option<Vec<i32>> => 0.., tag 0;
    }

    /// Of key 16.
    ConsumerGroupRegularExpressionValue (0..=0, flexible 0..) {
        topics: Vec<Str> => 0..;
        /// Of the metadata image that was searched.
        version: i64 => 0..;
        timestamp: i64 => 0..;
    }
}
