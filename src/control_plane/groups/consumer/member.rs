//! A member of a consumer group: what it said of itself, and what it holds. Pure.

use crate::limits::GROUP_PARTITION_MEMORY_BYTES;
use crate::types::TopicId;
use crate::wire::Str;
use crate::wire::api::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::wire::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue, CurrentTopicPartitions, TargetTopicPartitions,
};
use std::collections::{BTreeMap, BTreeSet};

/// Epochs that a member sends, and that is written for a static member that left for a while.
pub const LEAVE_EPOCH: i32 = -1;
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// Partitions by topic; no topic is without partitions.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// Partitions by topic, each with the member epoch at which the member got it (KIP-1251).
pub type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// How far a member is on its way to its target. Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It has what it should have.
    #[default]
    Stable = 0,
    /// It was told to give partitions up and has not said yet that it did.
    UnrevokedPartitions = 1,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions = 2,
    /// Written by a later version.
    Unknown = 127,
}

impl MemberState {
    fn from_i8(state: i8) -> MemberState {
        match state {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member holds, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Holding {
    pub epoch: i32,
    /// The member may still say this one: the answer with the new epoch may have been lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Owned,
    /// Still its own, until it says that it gave them up.
    pub revoking: Owned,
}

impl Holding {
    pub fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Moves to an epoch; the one before it stays valid for a retry.
    pub fn advance(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// All partitions that nobody else may have.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, i32)> {
        [&self.assigned, &self.revoking].into_iter().flat_map(|owned| {
            owned.iter().flat_map(|(id, partitions)| partitions.keys().map(|index| (*id, *index)))
        })
    }

    /// Since which member epoch it has had a partition, whether or not it is to give it up.
    pub fn epoch_of(&self, topic: TopicId, index: i32) -> Option<i32> {
        let among = |owned: &Owned| owned.get(&topic).and_then(|of| of.get(&index)).copied();
        among(&self.assigned).or_else(|| among(&self.revoking))
    }

    /// Whether it owns all that a member says it has. A member that does not say is not believed.
    pub fn covers(&self, said: Option<&[HeartbeatTopicPartitions]>) -> bool {
        said.is_some_and(|said| {
            said.iter().all(|topic| {
                self.assigned.get(&topic.topic_id).is_some_and(|owned| {
                    topic.partitions.iter().all(|index| owned.contains_key(index))
                })
            })
        })
    }

    pub fn from_value(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Holding {
        Holding {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: MemberState::from_i8(value.state),
            assigned: read_owned(&value.assigned_partitions, value.member_epoch),
            revoking: read_owned(&value.partitions_pending_revocation, value.member_epoch),
        }
    }

    pub fn to_value(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state as i8,
            assigned_partitions: write_owned(&self.assigned),
            partitions_pending_revocation: write_owned(&self.revoking),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.partitions().count() * GROUP_PARTITION_MEMORY_BYTES
    }
}

/// Records of Kafka before 4.3 do not say since when: the member's epoch is what it compared with then.
fn read_owned(topics: &[CurrentTopicPartitions], member_epoch: i32) -> Owned {
    let mut owned = Owned::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
        let since = (0..).map(|place| epochs.get(place).copied().unwrap_or(member_epoch));
        owned
            .entry(topic.topic_id)
            .or_default()
            .extend(topic.partitions.iter().copied().zip(since));
    }
    owned
}

fn write_owned(owned: &Owned) -> Vec<CurrentTopicPartitions> {
    let topic = |(id, partitions): (&TopicId, &BTreeMap<i32, i32>)| CurrentTopicPartitions {
        topic_id: *id,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
    };
    owned.iter().map(topic).collect()
}

pub fn read_target(value: &ConsumerGroupTargetAssignmentMemberValue) -> Assignment {
    let mut target = Assignment::new();
    for topic in value.topic_partitions.iter().filter(|topic| !topic.partitions.is_empty()) {
        target.entry(topic.topic_id).or_default().extend(topic.partitions.iter().copied());
    }
    target
}

pub fn write_target(target: &Assignment) -> ConsumerGroupTargetAssignmentMemberValue {
    let topic = |(id, partitions): (&TopicId, &BTreeSet<i32>)| TargetTopicPartitions {
        topic_id: *id,
        partitions: partitions.iter().copied().collect(),
    };
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: target.iter().map(topic).collect(),
    }
}

/// What a target takes in memory, about.
pub fn target_bytes(target: &Assignment) -> usize {
    target.values().map(|partitions| partitions.len() * GROUP_PARTITION_MEMORY_BYTES).sum()
}

/// One member.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Member {
    /// Its topics are in order and each stands there once.
    pub said: ConsumerGroupMemberMetadataValue,
    pub holding: Holding,
}

impl Member {
    /// Whether it speaks JoinGroup, SyncGroup and Heartbeat.
    pub fn is_classic(&self) -> bool {
        self.said.classic_member_metadata.is_some()
    }

    /// The regular expression that it subscribes to; an empty one is none.
    pub fn regex(&self) -> Option<&Str> {
        self.said.subscribed_topic_regex.as_ref().filter(|regex| !regex.is_empty())
    }

    pub fn subscribes_by_name(&self, topic: &str) -> bool {
        let names = &self.said.subscribed_topic_names;
        names.binary_search_by(|name| name.as_bytes().cmp(topic.as_bytes())).is_ok()
    }

    /// What it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        let said = &self.said;
        let texts =
            [&said.instance_id, &said.rack_id, &said.server_assignor, &said.subscribed_topic_regex];
        let classic = said.classic_member_metadata.iter().flat_map(|of| &of.supported_protocols);
        size_of::<Member>()
            + said.client_id.as_bytes().len()
            + said.client_host.as_bytes().len()
            + texts.into_iter().flatten().map(|text| text.as_bytes().len()).sum::<usize>()
            + said
                .subscribed_topic_names
                .iter()
                .map(|name| size_of::<Str>() + name.as_bytes().len())
                .sum::<usize>()
            + classic.map(|of| of.name.as_bytes().len() + of.metadata.len()).sum::<usize>()
            + self.holding.memory_bytes()
    }
}
