//! The group's epoch, and the target assignment that goes with it.

use super::assign::{self, Subscriber};
use super::member::{Assignment, Member, write_target};
use super::record::ConsumerChange;
use super::topics::{metadata_hash, resolve};
use super::{ConsumerGroup, INITIAL_EPOCH, Refusal, ResolvedRegex, TopicView};
use crate::config::Assignor;
use crate::control_plane::groups::turn::{GroupConfig, Turn};
use crate::limits::{
    GROUP_ASSIGNED_PARTITION_BYTES, GROUP_ASSIGNED_TOPIC_BYTES, GROUP_ASSIGNMENT_BYTES_MAX,
};
use crate::runtime::Instant;
use crate::types::{Timestamp, TopicId};
use crate::wire::consumer_group::{
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use crate::wire::{ErrorCode, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Topics that came since are looked for no sooner than this after the last time, as in Kafka.
const REGEX_REFRESH_MIN: Duration = Duration::from_secs(10);

/// What goes on at each heartbeat is warned of this often, for each group.
const WARN_EVERY: Duration = Duration::from_mins(10);

impl ConsumerGroup {
    /// Searches the topics for the group's regular expressions, when one is new, or topics may be. Whether what
    /// they match changed.
    ///
    /// Kafka does it beside the heartbeat and bumps the epoch later; here the member has its topics at once.
    pub(super) fn refresh_regexes(&mut self, topics: &dyn TopicView, turn: &mut Turn) -> bool {
        let subscribed = &self.follows.regex_subscribers;
        if subscribed.is_empty() {
            return false;
        }
        let is_due = match self.soft.searched {
            None => true,
            Some((version, at)) => {
                let age = age(at, turn.wall);
                version != topics.version() && age >= REGEX_REFRESH_MIN
                    || age >= turn.config.consumer_regex_refresh_interval
            }
        };
        let wanted: Vec<Str> = subscribed
            .keys()
            .filter(|regex| is_due || !self.regexes.contains_key(*regex))
            .cloned()
            .collect();
        if wanted.is_empty() {
            return false;
        }
        if is_due {
            self.soft.searched = Some((topics.version(), turn.wall));
        }
        let mut changed = false;
        let (found, left_out) = resolve(wanted.iter(), topics);
        self.note_left_out(left_out, turn);
        for (regex, matching) in found {
            if self.regexes.get(&regex).is_some_and(|known| known.topics == matching) {
                continue;
            }
            let resolved = ResolvedRegex {
                topics: matching,
                version: topics.version() as i64,
                timestamp: turn.wall.0,
            };
            self.change(ConsumerChange::Regex(regex, Some(resolved.to_value())), turn);
            changed = true;
        }
        changed
    }

    fn note_left_out(&mut self, left_out: u64, turn: &mut Turn) {
        turn.counts.topics_left_out += left_out;
        if left_out > 0 && is_due(&mut self.soft.left_out_warned, turn.now) {
            tracing::warn!(
                group = %self.group,
                topics = left_out,
                "regular expressions of the group match too many topics: some are not assigned"
            );
        }
    }

    pub(super) fn drop_unused_regexes(&mut self, turn: &mut Turn) {
        let is_unused = |regex: &&Str| !self.follows.regex_subscribers.contains_key(*regex);
        let unused: Vec<Str> = self.regexes.keys().filter(is_unused).cloned().collect();
        for regex in unused {
            self.change(ConsumerChange::Regex(regex, None), turn);
        }
    }

    /// Bumps the epoch when it must be, or when topics changed that the group subscribes to.
    pub(super) fn refresh_epoch(&mut self, must: bool, topics: &dyn TopicView, turn: &mut Turn) {
        if !must && self.soft.hashed_version == Some(topics.version()) {
            return;
        }
        if must || metadata_hash(self.subscribed_topics(), topics) != self.metadata_hash {
            self.bump_epoch(topics, turn);
        } else {
            self.soft.hashed_version = Some(topics.version());
        }
    }

    pub(super) fn bump_epoch(&mut self, topics: &dyn TopicView, turn: &mut Turn) {
        let before = if self.epoch == 0 { INITIAL_EPOCH } else { self.epoch };
        let value = ConsumerGroupMetadataValue {
            // Kafka's arithmetic; after two thousand million bumps, a group is to be made anew.
            epoch: before.saturating_add(1),
            metadata_hash: metadata_hash(self.subscribed_topics(), topics),
        };
        self.change(ConsumerChange::Epoch(Some(value)), turn);
        if self.has_partition_metadata {
            self.change(ConsumerChange::PartitionMetadata(None), turn);
        }
        self.soft.hashed_version = Some(topics.version());
    }

    /// Computes who should have what, when the epoch moved on and the last time is long enough ago.
    pub(super) fn refresh_target(&mut self, topics: &dyn TopicView, turn: &mut Turn) {
        let last = self.assignment_timestamp;
        let may = last == 0
            // A clock that was set back must not stop the group.
            || turn.wall.0 < last
            || age(Timestamp(last), turn.wall) >= turn.consumer_assignment_interval(&self.group);
        if self.target_epoch() >= self.epoch || !may {
            return;
        }
        let facts = self.subscribed_facts(topics);
        if assigned_bytes(facts.values().copied()) > GROUP_ASSIGNMENT_BYTES_MAX {
            turn.counts.assignments_withheld += 1;
            if is_due(&mut self.soft.withheld_warned, turn.now) {
                tracing::warn!(
                    group = %self.group,
                    "topics of the group have too many partitions: assignments stay as they are"
                );
            }
            return;
        }
        for (id, target) in self.compute_target(&facts, turn.config) {
            if self.targets.get(&id) != Some(&target) {
                self.change(ConsumerChange::Target(id, Some(write_target(&target))), turn);
            }
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: self.epoch,
            assignment_timestamp: turn.wall.0,
        };
        self.change(ConsumerChange::TargetEpoch(Some(value)), turn);
        turn.counts.assignments_consumer += 1;
    }

    fn compute_target(
        &self,
        facts: &BTreeMap<Str, (TopicId, usize)>,
        config: &GroupConfig,
    ) -> Vec<(Str, Assignment)> {
        let nothing = Assignment::new();
        let subscribers: Vec<Subscriber> = self
            .members
            .iter()
            .map(|(id, member)| {
                let regex = member.regex().and_then(|regex| self.regexes.get(regex));
                let by_regex = regex.into_iter().flat_map(|regex| &regex.topics);
                let names = member.said.subscribed_topic_names.iter().chain(by_regex);
                Subscriber {
                    topics: names
                        .filter_map(|name| facts.get(name).map(|(id, _)| *id))
                        .collect::<BTreeSet<TopicId>>(),
                    has: self.targets.get(id).unwrap_or(&nothing),
                }
            })
            .collect();
        let counts = facts.values().copied().collect();
        let targets = match self.preferred_assignor(config) {
            Assignor::Range => assign::range(&subscribers, &counts),
            Assignor::Uniform => assign::uniform(&subscribers, &counts),
        };
        self.members.keys().cloned().zip(targets).collect()
    }

    /// The assignor that most members ask for, of those that there are: members may have joined when there were
    /// others. Else the first.
    pub(super) fn preferred_assignor(&self, config: &GroupConfig) -> Assignor {
        let votes = |assignor: Assignor| {
            let asks = |member: &&Member| {
                member.said.server_assignor.as_ref().is_some_and(|name| *name == assignor.name())
            };
            self.members.values().filter(asks).count()
        };
        let mut best: Option<(Assignor, usize)> = None;
        for assignor in config.consumer_assignors.iter().copied() {
            let count = votes(assignor);
            // Where as many ask for each, the first is it.
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((assignor, count));
            }
        }
        best.map_or(Assignor::Uniform, |(assignor, _)| assignor)
    }

    /// Refuses a subscription with which the group could not be assigned.
    pub(super) fn check_partitions(
        &self,
        said: &ConsumerGroupMemberMetadataValue,
        topics: &dyn TopicView,
    ) -> Result<(), Refusal> {
        let names: BTreeSet<&Str> =
            self.subscribed_topics().chain(&said.subscribed_topic_names).collect();
        let facts = names.into_iter().filter_map(|name| topics.topic(name));
        if assigned_bytes(facts) > GROUP_ASSIGNMENT_BYTES_MAX {
            return Err(Refusal::new(
                ErrorCode::GroupMaxSizeReached,
                "The topics of the consumer group have too many partitions.",
            ));
        }
        Ok(())
    }

    /// The subscribed topics that are there.
    fn subscribed_facts(&self, topics: &dyn TopicView) -> BTreeMap<Str, (TopicId, usize)> {
        self.subscribed_topics()
            .filter_map(|name| topics.topic(name).map(|facts| (name.clone(), facts)))
            .collect()
    }
}

/// What it takes to store all of these topics as one member's.
fn assigned_bytes(facts: impl Iterator<Item = (TopicId, usize)>) -> usize {
    let of = |(_, count)| GROUP_ASSIGNED_TOPIC_BYTES + count * GROUP_ASSIGNED_PARTITION_BYTES;
    facts.map(of).sum()
}

/// Whether it is time to warn once more, which is noted.
fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = last.is_none_or(|at| now.since(at) >= WARN_EVERY);
    if is_due {
        *last = Some(now);
    }
    is_due
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0))
}
