//! ConsumerGroupDescribe (key 69, KIP-848).

use crate::wire::message::prelude::*;

messages! {
    ConsumerGroupDescribeRequest (0..=1, flexible 0..) {
        group_ids: Vec<Str> => 0..;
        include_authorized_operations: bool => 0..;
    }

    ConsumerGroupDescribeResponse (0..=1, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        groups: Vec<DescribedConsumerGroup> => 0..;
    }

    DescribedConsumerGroup {
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        group_id: Str => 0..;
        group_state: Str => 0..;
        group_epoch: i32 => 0..;
        assignment_epoch: i32 => 0..;
        assignor_name: Str => 0..;
        members: Vec<DescribedConsumerMember> => 0..;
        authorized_operations: i32 => 0.., default i32::MIN;
    }

    DescribedConsumerMember {
        member_id: Str => 0..;
        instance_id: Option<Str> => 0..;
        rack_id: Option<Str> => 0..;
        member_epoch: i32 => 0..;
        client_id: Str => 0..;
        client_host: Str => 0..;
        subscribed_topic_names: Vec<Str> => 0..;
        subscribed_topic_regex: Option<Str> => 0..;
        assignment: DescribedAssignment => 0..;
        target_assignment: DescribedAssignment => 0..;
        /// KIP-1099: -1 not known, 0 speaks the classic protocol, 1 the consumer protocol.
        member_type: i8 => 1.., default -1;
    }

    DescribedAssignment {
        topic_partitions: Vec<DescribedTopicPartitions> => 0..;
    }

    DescribedTopicPartitions {
        topic_id: TopicId => 0..;
        topic_name: Str => 0..;
        partitions: Vec<i32> => 0..;
    }
}
