//! A group, of whichever kind. Pure, on the group's core.

use super::classic::{ClassicGroup, ClassicGroupValue, OffsetsExpire};
use super::consumer::record::ConsumerChange;
use super::consumer::{ConsumerGroup, TopicView};
use super::record::GroupRecord;
use super::turn::{Timer, Turn};
use crate::types::{Timestamp, TopicId};
use crate::wire::{ErrorCode, Str};

/// Who commits offsets.
#[derive(Clone, Copy, Debug)]
pub struct OffsetCommitter<'a> {
    pub member_id: &'a Str,
    pub instance_id: Option<&'a Str>,
    /// -1 of somebody who is no member.
    pub generation_or_epoch: i32,
    pub version: i16,
}

/// A group.
#[derive(Debug)]
pub enum Group {
    Classic(Box<ClassicGroup>),
    /// KIP-848.
    Consumer(Box<ConsumerGroup>),
}

fn checked(error: ErrorCode) -> Result<(), ErrorCode> {
    if error.is_none() { Ok(()) } else { Err(error) }
}

impl Group {
    /// One that nobody has joined yet.
    pub fn new(name: Str, wall: Timestamp) -> Group {
        Group::Classic(Box::new(ClassicGroup::new(name, wall)))
    }

    /// One that the new protocol's first member is about to join.
    pub fn new_consumer(name: Str) -> Group {
        Group::Consumer(Box::new(ConsumerGroup::new(name)))
    }

    /// What a record of the log says that it is.
    pub fn replay_classic(&mut self, name: &Str, value: &ClassicGroupValue) {
        *self = Group::Classic(Box::new(ClassicGroup::from_value(name.detached(), value)));
    }

    /// Takes up a record of a consumer group; false when nothing of it is left.
    pub fn replay_consumer(&mut self, name: &Str, change: ConsumerChange) -> bool {
        if !matches!(self, Group::Consumer(_)) {
            *self = Group::new_consumer(name.detached());
        }
        let Group::Consumer(group) = self else { return false };
        group.replay(change);
        !group.is_gone()
    }

    pub fn is_consumer(&self) -> bool {
        matches!(self, Group::Consumer(_))
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
        }
    }

    pub fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state_name(),
            Group::Consumer(group) => group.state_name(),
        }
    }

    pub fn protocol_type(&self) -> Str {
        match self {
            Group::Classic(group) => Str::from(group.protocol_type()),
            Group::Consumer(_) => Str::from_static("consumer"),
        }
    }

    pub fn members(&self) -> usize {
        match self {
            Group::Classic(group) => group.members().len(),
            Group::Consumer(group) => group.members_count(),
        }
    }

    /// It has no members.
    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.can_be_deleted(),
            Group::Consumer(group) => group.can_be_deleted(),
        }
    }

    pub fn is_subscribed_to(&self, topic: &Str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    pub fn offsets_expire(&self) -> OffsetsExpire {
        match self {
            Group::Classic(group) => group.offsets_expire(),
            Group::Consumer(_) => OffsetsExpire::AfterCommit,
        }
    }

    /// Memory that it holds, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Group::Classic(group) => group.bytes(),
            Group::Consumer(group) => group.memory_bytes(),
        }
    }

    /// What the log says of it, anew.
    pub fn records(&self) -> Vec<GroupRecord> {
        match self {
            Group::Classic(group) => {
                let value = group.value();
                let record = |value| GroupRecord::Classic(group.id().clone(), Some(value));
                value.map(record).into_iter().collect()
            }
            Group::Consumer(group) => group.records(),
        }
    }

    /// Whether the group takes offsets from a client; a commit counts as a heartbeat.
    ///
    /// # Errors
    /// The client is no member, or not any more, or the group has others.
    pub fn take_offset_commit(
        &mut self,
        committer: &OffsetCommitter<'_>,
        partitions: impl Iterator<Item = (TopicId, i32)>,
        turn: &mut Turn,
    ) -> Result<(), ErrorCode> {
        let OffsetCommitter { member_id, instance_id, generation_or_epoch, version } = *committer;
        match self {
            Group::Classic(group) => {
                let instance = instance_id.map(Str::as_str);
                checked(group.validate_offset_commit(member_id, instance, generation_or_epoch))?;
                group.touch(member_id, turn);
            }
            Group::Consumer(group) => {
                let check = group.validate_offset_commit(member_id, generation_or_epoch, version);
                let check = check.map_err(|refusal| refusal.code)?;
                for (topic, index) in partitions {
                    check.partition(topic, index)?;
                }
            }
        }
        Ok(())
    }

    /// Whether whoever asks for offsets is the member that it says it is.
    ///
    /// # Errors
    /// It is not.
    pub fn check_offset_fetch(&self, member_id: Option<&Str>, epoch: i32) -> Result<(), ErrorCode> {
        match self {
            // As by Kafka, anybody may ask for those of a classic group.
            Group::Classic(_) => Ok(()),
            Group::Consumer(group) => {
                group.validate_offset_fetch(member_id, epoch).map_err(|refusal| refusal.code)
            }
        }
    }

    /// Whether its offsets may be removed by a client, but for topics that it is subscribed to.
    ///
    /// # Errors
    /// They may not.
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => checked(group.check_offset_delete()),
            Group::Consumer(_) => Ok(()),
        }
    }

    /// Whether it may be deleted.
    ///
    /// # Errors
    /// It may not.
    pub fn check_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => checked(group.check_delete()),
            Group::Consumer(group) if group.can_be_deleted() => Ok(()),
            Group::Consumer(_) => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// The group is being removed: its tombstones are stored, and whoever waits is told.
    pub fn delete(&mut self, turn: &mut Turn) {
        match self {
            Group::Classic(group) => group.delete(turn),
            Group::Consumer(group) => group.delete(turn),
        }
    }

    /// After a start: members are waited for again.
    pub fn start_timers(&mut self, turn: &mut Turn) {
        match self {
            Group::Classic(group) => group.on_loaded(turn),
            Group::Consumer(group) => group.start_timers(turn),
        }
    }

    pub fn on_timer(&mut self, timer: &Timer, topics: &dyn TopicView, turn: &mut Turn) {
        match self {
            Group::Classic(group) => group.on_timer(timer, turn),
            Group::Consumer(group) => group.on_timer(timer, topics, turn),
        }
    }
}
