//! A group of the consumer protocol (KIP-848): the coordinator assigns, members follow step by step. Pure, on
//! the core that owns the group; no await, no clock, no disk.
//!
//! - `member`: what a member said and what it holds
//! - `heartbeat`: joins, stays, leaves and expires; bumps the group's epoch
//! - `target`: who should have what; `assign`: the assignors that say so
//! - `reconcile`: a member's next step from what it holds towards what it should have
//! - `classic_member`: members that speak the classic protocol; `convert`: from a classic group and back
//! - `topics`: the subscribed topics, by name or by regular expression
//! - `record`: what is stored
//!
//! **The state is the fold of the records**: every change of it is a record that is applied by the same
//! function when it is made and when the log is read (`replay`). What follows from the members (who owns a
//! partition, who subscribes to what) is kept beside them and never stored.
//!
//! **Two members never own a partition**: a partition is given to a member only when no other has it among
//! its assigned partitions or those that it is to give up; it leaves the latter when the member says that it
//! gave it up, or is a member no more.

pub mod assign;
mod classic_member;
mod convert;
mod describe;
mod heartbeat;
pub mod member;
mod offsets;
mod reconcile;
pub mod record;
mod refusal;
mod target;
mod topics;

pub use heartbeat::{Caller, refuse};
pub use offsets::CommitCheck;
pub use refusal::Refusal;
pub use topics::{TopicView, compile};

use super::record::GroupRecord;
use super::turn::{Timer, Turn};
use crate::runtime::Instant;
use crate::types::{Timestamp, TopicId};
use crate::wire::Str;
use crate::wire::consumer_group::{
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use member::{Assignment, Holding, Member, MemberState, target_bytes};
use record::{ConsumerChange, ConsumerRecord};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What topics a regular expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<Str>,
    /// Of the image that was searched, and when.
    pub version: i64,
    pub timestamp: i64,
}

/// The epoch of a group before its first change, whose target is that nobody has anything (Kafka 4.2 and later).
const INITIAL_EPOCH: i32 = 1;

/// A consumer group.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    group: Str,
    /// 0 for a group that is not stored (yet, or any more).
    epoch: i32,
    metadata_hash: i64,
    /// Kafka before 4.1 left a record of a kind that is not used any more.
    has_partition_metadata: bool,
    assignment_epoch: i32,
    /// When the target was computed, in milliseconds since 1970; 0 for never.
    assignment_timestamp: i64,
    members: BTreeMap<Str, Member>,
    targets: BTreeMap<Str, Assignment>,
    regexes: BTreeMap<Str, ResolvedRegex>,
    follows: Follows,
    soft: Soft,
}

/// What follows from the members.
#[derive(Clone, Debug, Default, PartialEq)]
struct Follows {
    /// Member ids by instance id.
    static_members: HashMap<Str, Str>,
    /// Members that subscribe to a topic by name, or to a regular expression.
    topic_subscribers: BTreeMap<Str, usize>,
    regex_subscribers: BTreeMap<Str, usize>,
    owners: HashMap<(TopicId, i32), Str>,
    classic_members: usize,
    memory_bytes: usize,
}

/// What is found out anew after a restart.
#[derive(Clone, Debug, Default)]
struct Soft {
    /// The image that the metadata hash was computed of.
    hashed_version: Option<u64>,
    /// The image that regular expressions were searched in, and when.
    searched: Option<(u64, Timestamp)>,
    /// When the group becomes a classic one, its members are to join again.
    rebalances: bool,
    /// When it was warned that topics are not assigned: some that regular expressions match, or new partitions.
    left_out_warned: Option<Instant>,
    withheld_warned: Option<Instant>,
}

impl ConsumerGroup {
    pub fn new(group: Str) -> ConsumerGroup {
        ConsumerGroup {
            group,
            epoch: 0,
            metadata_hash: 0,
            has_partition_metadata: false,
            assignment_epoch: 0,
            assignment_timestamp: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            follows: Follows::default(),
            soft: Soft::default(),
        }
    }

    /// Whether nothing is stored of it: whoever keeps groups forgets it then.
    pub fn is_gone(&self) -> bool {
        self.epoch == 0
            && self.assignment_epoch == 0
            && self.members.is_empty()
            && self.targets.is_empty()
            && self.regexes.is_empty()
            && !self.has_partition_metadata
    }

    pub fn members_count(&self) -> usize {
        self.members.len()
    }

    /// Only an empty group can be deleted (else NON_EMPTY_GROUP), and its offsets expire as a whole.
    pub fn can_be_deleted(&self) -> bool {
        self.members.is_empty()
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.follows.topic_subscribers.contains_key(topic)
            || self.regexes.values().any(|regex| regex.topics.contains(topic))
    }

    /// What the group takes in memory, about. Costs nothing.
    pub fn memory_bytes(&self) -> usize {
        size_of::<ConsumerGroup>() + self.follows.memory_bytes
    }

    /// Kafka's name of the state it is in.
    pub fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch() {
            "Assigning"
        } else if self
            .members
            .values()
            .any(|member| !member.holding.is_reconciled_to(self.target_epoch()))
        {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    /// Sets the timers of all members, after the group was read from the log.
    pub fn start_timers(&self, turn: &mut Turn) {
        for (id, member) in &self.members {
            self.restart_session(id, turn);
            if member.holding.state == MemberState::UnrevokedPartitions && !member.is_classic() {
                turn.timers.set(self.revoke_timer(id), turn.now + rebalance_timeout(member));
            }
        }
    }

    /// All that is stored of it, as it is now: folded, it is the same group, without the record that Kafka
    /// before 4.1 left.
    pub fn records(&self) -> Vec<GroupRecord> {
        let mut changes = Vec::new();
        for (id, member) in &self.members {
            changes.push(ConsumerChange::Member(id.clone(), Some(member.said.clone())));
        }
        if self.epoch != 0 {
            changes.push(ConsumerChange::Epoch(Some(self.epoch_value())));
        }
        for (regex, resolved) in &self.regexes {
            changes.push(ConsumerChange::Regex(regex.clone(), Some(resolved.to_value())));
        }
        for (id, target) in &self.targets {
            changes.push(ConsumerChange::Target(id.clone(), Some(member::write_target(target))));
        }
        if self.assignment_epoch != 0 {
            changes.push(ConsumerChange::TargetEpoch(Some(self.target_epoch_value())));
        }
        for (id, member) in &self.members {
            if member.holding != Holding::default() {
                changes.push(ConsumerChange::Current(id.clone(), Some(member.holding.to_value())));
            }
        }
        changes.into_iter().map(|change| self.record(change)).collect()
    }

    /// Removes the group from the log; it must be empty, or about to become one of another kind.
    pub fn delete(&mut self, turn: &mut Turn) {
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in &ids {
            self.cancel_timers(id, turn);
            self.change(ConsumerChange::Current(id.clone(), None), turn);
        }
        let targets: Vec<Str> = self.targets.keys().cloned().collect();
        for id in targets {
            self.change(ConsumerChange::Target(id, None), turn);
        }
        self.change(ConsumerChange::TargetEpoch(None), turn);
        for id in ids {
            self.change(ConsumerChange::Member(id, None), turn);
        }
        let regexes: Vec<Str> = self.regexes.keys().cloned().collect();
        for regex in regexes {
            self.change(ConsumerChange::Regex(regex, None), turn);
        }
        if self.has_partition_metadata {
            self.change(ConsumerChange::PartitionMetadata(None), turn);
        }
        self.change(ConsumerChange::Epoch(None), turn);
        debug_assert!(self.is_gone());
    }

    /// Applies what was stored.
    pub fn replay(&mut self, change: ConsumerChange) {
        match change {
            ConsumerChange::Epoch(value) => {
                let value = value.unwrap_or_default();
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            ConsumerChange::PartitionMetadata(value) => {
                self.has_partition_metadata = value.is_some();
            }
            ConsumerChange::Member(id, Some(said)) => {
                let mut member = self.take_member(&id).unwrap_or_default();
                member.said = said;
                sort_topics(&mut member.said.subscribed_topic_names);
                self.put_member(id, member);
            }
            ConsumerChange::Member(id, None) => {
                self.take_member(&id);
            }
            ConsumerChange::TargetEpoch(value) => {
                let value = value.unwrap_or_default();
                self.assignment_epoch = value.assignment_epoch;
                self.assignment_timestamp = value.assignment_timestamp;
            }
            ConsumerChange::Target(id, value) => {
                self.set_target(id, value.as_ref().map(member::read_target));
            }
            ConsumerChange::Current(id, Some(value)) => {
                let mut member = self.take_member(&id).unwrap_or_default();
                member.holding = Holding::from_value(&value);
                self.put_member(id, member);
            }
            ConsumerChange::Current(id, None) => {
                // The member's own tombstone follows; without it, it starts over with nothing.
                if let Some(mut member) = self.take_member(&id) {
                    member.holding = Holding::default();
                    self.put_member(id, member);
                }
            }
            ConsumerChange::Regex(regex, Some(value)) => {
                self.regexes.insert(regex, ResolvedRegex::from_value(value));
            }
            ConsumerChange::Regex(regex, None) => {
                self.regexes.remove(&regex);
            }
        }
    }

    /// Applies a change and has it stored.
    fn change(&mut self, change: ConsumerChange, turn: &mut Turn) {
        turn.store(self.record(change.clone()));
        self.replay(change);
    }

    fn record(&self, change: ConsumerChange) -> GroupRecord {
        GroupRecord::Consumer(ConsumerRecord { group: self.group.clone(), change })
    }

    fn set_target(&mut self, id: Str, target: Option<Assignment>) {
        self.follows.memory_bytes += target.as_ref().map_or(0, target_bytes);
        let before = match target {
            Some(target) => self.targets.insert(id, target),
            None => self.targets.remove(&id),
        };
        self.follows.memory_bytes -= before.as_ref().map_or(0, target_bytes);
    }

    /// Takes a member out, with all that follows from it.
    fn take_member(&mut self, id: &Str) -> Option<Member> {
        let member = self.members.remove(id)?;
        let follows = &mut self.follows;
        follows.memory_bytes -= member.memory_bytes();
        follows.classic_members -= usize::from(member.is_classic());
        for topic in &member.said.subscribed_topic_names {
            count_down(&mut follows.topic_subscribers, topic);
        }
        if let Some(regex) = member.regex() {
            count_down(&mut follows.regex_subscribers, regex);
        }
        if let Some(instance) = &member.said.instance_id
            && follows.static_members.get(instance) == Some(id)
        {
            follows.static_members.remove(instance);
        }
        for partition in member.holding.partitions() {
            // Another's, if a log that was compacted shows its records in this order.
            if follows.owners.get(&partition) == Some(id) {
                follows.owners.remove(&partition);
            }
        }
        Some(member)
    }

    fn put_member(&mut self, id: Str, member: Member) {
        let follows = &mut self.follows;
        follows.memory_bytes += member.memory_bytes();
        follows.classic_members += usize::from(member.is_classic());
        for topic in &member.said.subscribed_topic_names {
            *follows.topic_subscribers.entry(topic.clone()).or_default() += 1;
        }
        if let Some(regex) = member.regex() {
            *follows.regex_subscribers.entry(regex.clone()).or_default() += 1;
        }
        if let Some(instance) = &member.said.instance_id {
            follows.static_members.insert(instance.clone(), id.clone());
        }
        for partition in member.holding.partitions() {
            follows.owners.insert(partition, id.clone());
        }
        self.members.insert(id, member);
    }

    /// The epoch that the target is of.
    fn target_epoch(&self) -> i32 {
        if self.assignment_epoch == 0 { INITIAL_EPOCH } else { self.assignment_epoch }
    }

    fn epoch_value(&self) -> ConsumerGroupMetadataValue {
        ConsumerGroupMetadataValue { epoch: self.epoch, metadata_hash: self.metadata_hash }
    }

    fn target_epoch_value(&self) -> ConsumerGroupTargetAssignmentMetadataValue {
        ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: self.assignment_epoch,
            assignment_timestamp: self.assignment_timestamp,
        }
    }

    /// All topics that a member subscribes to, by name or by what its regular expression matches.
    fn subscribed_topics(&self) -> impl Iterator<Item = &Str> {
        let of_regexes = self.regexes.values().flat_map(|regex| &regex.topics);
        self.follows.topic_subscribers.keys().chain(of_regexes)
    }

    fn session_timer(&self, member: &Str) -> Timer {
        Timer::Session { group: self.group.clone(), member: member.clone() }
    }

    fn revoke_timer(&self, member: &Str) -> Timer {
        Timer::Revoke { group: self.group.clone(), member: member.clone() }
    }

    fn restart_session(&self, id: &Str, turn: &mut Turn) {
        let classic = self.members.get(id).and_then(|it| it.said.classic_member_metadata.as_ref());
        let timeout = match classic {
            Some(classic) => classic_member::session_timeout(classic),
            None => turn.consumer_session_timeout(&self.group),
        };
        turn.timers.set(self.session_timer(id), turn.now + timeout);
    }

    fn cancel_timers(&self, id: &Str, turn: &mut Turn) {
        turn.timers.cancel(&self.session_timer(id));
        turn.timers.cancel(&self.revoke_timer(id));
    }
}

impl ResolvedRegex {
    fn from_value(value: ConsumerGroupRegularExpressionValue) -> Self {
        ResolvedRegex {
            topics: value.topics.into_iter().collect(),
            version: value.version,
            timestamp: value.timestamp,
        }
    }

    fn to_value(&self) -> ConsumerGroupRegularExpressionValue {
        ConsumerGroupRegularExpressionValue {
            topics: self.topics.iter().cloned().collect(),
            version: self.version,
            timestamp: self.timestamp,
        }
    }
}

/// A timeout of a client; one below 0 ends at once.
fn millis(timeout: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout).unwrap_or(0))
}

fn rebalance_timeout(member: &Member) -> Duration {
    millis(member.said.rebalance_timeout_ms)
}

fn sort_topics(names: &mut Vec<Str>) {
    names.sort_unstable();
    names.dedup();
}

fn count_down(counts: &mut BTreeMap<Str, usize>, key: &Str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
