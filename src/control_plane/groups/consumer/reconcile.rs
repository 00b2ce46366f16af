//! The next step of a member towards its target: gives up first, then takes what is free. Pure.
//!
//! ```text
//!                 to give up, and it says it still owns it
//!   STABLE ----------------------------------------------> UNREVOKED_PARTITIONS   (old epoch)
//!     ^  ^                                                    | said that it gave up
//!     |  +----- nothing left to wait for ---------------------+
//!     |                                                       v something is not free yet
//!     +----------------------------------------------- UNRELEASED_PARTITIONS      (target's epoch)
//! ```

use super::member::{Assignment, Holding, MemberState, Owned};
use super::refusal::Refusal;
use crate::types::TopicId;
use crate::wire::ErrorCode;
use crate::wire::api::consumer_group_heartbeat::HeartbeatTopicPartitions;
use std::collections::BTreeSet;

/// What a step depends on.
pub struct Reconciliation<'a> {
    pub target_epoch: i32,
    pub target: &'a Assignment,
    /// The member changed its subscription: topics that it left must go, whatever the target says.
    pub subscription_changed: bool,
    pub is_subscribed: &'a dyn Fn(TopicId) -> bool,
    /// Nobody owns it.
    pub is_free: &'a dyn Fn(TopicId, i32) -> bool,
    /// What the member says it owns, if it says.
    pub said: Option<&'a [HeartbeatTopicPartitions]>,
}

impl Reconciliation<'_> {
    /// What the member holds next.
    ///
    /// # Errors
    /// FENCED_MEMBER_EPOCH for a member in a state that is not known: it has to join with nothing.
    pub fn next(&self, holding: &Holding) -> Result<Holding, Refusal> {
        if !self.subscription_changed && holding.is_reconciled_to(self.target_epoch) {
            return Ok(holding.clone());
        }
        match holding.state {
            MemberState::Stable if holding.epoch != self.target_epoch => {
                Ok(self.towards_target(holding, holding.epoch))
            }
            MemberState::Stable => Ok(self.within_subscription(holding)),
            MemberState::UnrevokedPartitions if self.still_owns(&holding.revoking) => {
                if self.subscription_changed {
                    Ok(self.within_subscription(holding))
                } else {
                    Ok(holding.clone())
                }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                Ok(self.towards_target(holding, holding.epoch))
            }
            MemberState::Unknown => {
                if self.said.is_none_or(|said| !said.is_empty()) {
                    return Err(Refusal::new(
                        ErrorCode::FencedMemberEpoch,
                        "The consumer group member is in a unknown state. The member must abandon \
                         all its partitions and rejoin.",
                    ));
                }
                Ok(self.towards_target(holding, self.target_epoch))
            }
        }
    }

    /// Whether the member may have some of these. One that does not say may.
    fn still_owns(&self, partitions: &Owned) -> bool {
        self.said.is_none_or(|said| {
            said.iter().any(|topic| {
                partitions.get(&topic.topic_id).is_some_and(|these| {
                    topic.partitions.iter().any(|index| these.contains_key(index))
                })
            })
        })
    }

    /// Gives up the topics that it subscribes to no more, and nothing else changes.
    fn within_subscription(&self, holding: &Holding) -> Holding {
        let mut next = holding.clone();
        next.assigned.retain(|topic, _| (self.is_subscribed)(*topic));
        if next.assigned.len() == holding.assigned.len() {
            return next;
        }
        let left = holding.assigned.iter().filter(|(topic, _)| !next.assigned.contains_key(topic));
        let mut revoking = holding.revoking.clone();
        for (topic, partitions) in left {
            revoking.entry(*topic).or_default().extend(partitions);
        }
        next.advance(holding.epoch);
        if self.still_owns(&revoking) {
            next.state = MemberState::UnrevokedPartitions;
            next.revoking = revoking;
        }
        next
    }

    fn towards_target(&self, holding: &Holding, epoch: i32) -> Holding {
        let (mut assigned, mut revoking) = (Owned::new(), Owned::new());
        let mut pending: Vec<(TopicId, i32)> = Vec::new();
        let mut is_waiting = false;
        let topics: BTreeSet<TopicId> =
            self.target.keys().chain(holding.assigned.keys()).copied().collect();
        for topic in topics {
            // What the target says of a topic that the member left meanwhile holds no more.
            let target = self.target.get(&topic).filter(|_| (self.is_subscribed)(topic));
            let current = holding.assigned.get(&topic);
            for (index, since) in current.into_iter().flatten() {
                let stays = target.is_some_and(|target| target.contains(index));
                let side = if stays { &mut assigned } else { &mut revoking };
                side.entry(topic).or_default().insert(*index, *since);
            }
            let has = |index: &i32| current.is_some_and(|current| current.contains_key(index));
            for index in target.into_iter().flatten().filter(|index| !has(index)) {
                // Its own, if it is about to give it up: no other can have it.
                let is_own = holding.revoking.get(&topic).is_some_and(|of| of.contains_key(index));
                if is_own || (self.is_free)(topic, *index) {
                    pending.push((topic, *index));
                } else {
                    is_waiting = true;
                }
            }
        }
        let mut next = Holding { assigned, ..holding.clone() };
        if !revoking.is_empty() && self.still_owns(&revoking) {
            next.state = MemberState::UnrevokedPartitions;
            next.advance(epoch);
            next.revoking = revoking;
            return next;
        }
        for (topic, index) in pending {
            next.assigned.entry(topic).or_default().insert(index, self.target_epoch);
        }
        next.state = match is_waiting {
            true => MemberState::UnreleasedPartitions,
            false => MemberState::Stable,
        };
        next.advance(self.target_epoch);
        next.revoking = Owned::new();
        next
    }
}
