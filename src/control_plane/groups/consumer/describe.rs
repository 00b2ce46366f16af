//! ConsumerGroupDescribe, of one group.

use super::member::{Assignment, Member, Owned};
use super::{ConsumerGroup, TopicView};
use crate::control_plane::groups::turn::GroupConfig;
use crate::types::TopicId;
use crate::wire::Str;
use crate::wire::api::consumer_group_describe::{
    DescribedAssignment, DescribedConsumerGroup, DescribedConsumerMember, DescribedTopicPartitions,
};

/// KIP-1099's types of members.
const MEMBER_TYPE_CLASSIC: i8 = 0;
const MEMBER_TYPE_CONSUMER: i8 = 1;

impl ConsumerGroup {
    pub fn describe(&self, topics: &dyn TopicView, config: &GroupConfig) -> DescribedConsumerGroup {
        DescribedConsumerGroup {
            group_id: self.group.clone(),
            group_state: Str::from_static(self.state_name()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch(),
            assignor_name: Str::from_static(self.preferred_assignor(config).name()),
            members: self
                .members
                .iter()
                .map(|(id, member)| describe_member(id, member, self.targets.get(id), topics))
                .collect(),
            ..Default::default()
        }
    }
}

fn describe_member(
    id: &Str,
    member: &Member,
    target: Option<&Assignment>,
    topics: &dyn TopicView,
) -> DescribedConsumerMember {
    let said = &member.said;
    DescribedConsumerMember {
        member_id: id.clone(),
        instance_id: said.instance_id.clone(),
        rack_id: said.rack_id.clone(),
        member_epoch: member.holding.epoch,
        client_id: said.client_id.clone(),
        client_host: said.client_host.clone(),
        subscribed_topic_names: said.subscribed_topic_names.clone(),
        subscribed_topic_regex: said.subscribed_topic_regex.clone(),
        assignment: named(owned_parts(&member.holding.assigned), topics),
        target_assignment: named(target.into_iter().flat_map(target_parts), topics),
        member_type: match member.is_classic() {
            true => MEMBER_TYPE_CLASSIC,
            false => MEMBER_TYPE_CONSUMER,
        },
    }
}

fn owned_parts(owned: &Owned) -> impl Iterator<Item = (TopicId, Vec<i32>)> {
    owned.iter().map(|(id, partitions)| (*id, partitions.keys().copied().collect()))
}

fn target_parts(target: &Assignment) -> impl Iterator<Item = (TopicId, Vec<i32>)> {
    target.iter().map(|(id, partitions)| (*id, partitions.iter().copied().collect()))
}

/// As Kafka: topics that were deleted are left out.
fn named(
    parts: impl Iterator<Item = (TopicId, Vec<i32>)>,
    topics: &dyn TopicView,
) -> DescribedAssignment {
    let topic_partitions = parts
        .filter_map(|(topic_id, partitions)| {
            let topic_name = topics.name(topic_id)?;
            Some(DescribedTopicPartitions { topic_id, topic_name, partitions })
        })
        .collect();
    DescribedAssignment { topic_partitions }
}
