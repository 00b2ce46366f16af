//! From one generation to the next: when a group rebalances, how long it waits for whom, and what its timers do.
//! Pure, on the group's core.

use super::super::turn::{Timer, Turn};
use super::join::Reason;
use super::{ClassicGroup, InitialDelay, State, refused_sync};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::time::Duration;

/// Where nobody has joined, the wait begins again; not at the same moment, whatever timeout clients ask for.
const NOBODY_JOINED_WAIT_MIN: Duration = Duration::from_secs(1);

impl ClassicGroup {
    /// Begins the sessions of a group that was loaded.
    pub fn on_loaded(&mut self, turn: &mut Turn) {
        for id in self.members.ids() {
            self.heard_of(&id, turn);
        }
        if self.members.len() > turn.config.members_max {
            self.prepare_rebalance(Reason::ours("more members than are allowed"), turn);
        }
    }

    pub fn on_timer(&mut self, timer: &Timer, turn: &mut Turn) {
        match timer {
            Timer::Join { .. } => self.on_join_timer(turn),
            Timer::Sync { .. } => self.on_sync_timer(turn),
            Timer::Session { member, .. } => self.on_session_timer(member, turn),
            Timer::Revoke { .. } => {}
        }
    }

    fn on_join_timer(&mut self, turn: &mut Turn) {
        if self.state != State::PreparingRebalance {
            return;
        }
        match &mut self.initial {
            Some(initial) if initial.has_new_member && !initial.remaining.is_zero() => {
                let delay = turn.config.initial_rebalance_delay.min(initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.now);
                *initial = InitialDelay { now: delay, remaining, has_new_member: false };
                turn.timers.set(self.join_timer(), turn.now + delay);
            }
            _ => self.complete_join(turn),
        }
    }

    /// The members of this generation that never asked for their assignment are out.
    fn on_sync_timer(&mut self, turn: &mut Turn) {
        let is_generation = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !is_generation || self.unsynced.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.unsynced) {
            self.remove(&id, turn);
        }
        self.prepare_rebalance(Reason::ours("members have not synced"), turn);
    }

    fn on_session_timer(&mut self, id: &Str, turn: &mut Turn) {
        if self.members.remove_pending(id) {
            return self.maybe_complete_join(turn);
        }
        if !self.members.contains(id) || self.members.is_waiting(id) {
            return;
        }
        tracing::debug!(group = ?self.id, member = ?id, "a member's session has ended");
        turn.counts.sessions_expired += 1;
        self.remove(id, turn);
        match self.state {
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(Reason::ours("a member's session has ended"), turn);
            }
            State::PreparingRebalance => self.maybe_complete_join(turn),
            State::Empty | State::Dead => {}
        }
    }

    pub(super) fn rebalance_or_complete(&mut self, reason: Reason, turn: &mut Turn) {
        match self.state {
            State::Stable | State::CompletingRebalance | State::Empty => {
                self.prepare_rebalance(reason, turn);
            }
            State::PreparingRebalance | State::Dead => self.maybe_complete_join(turn),
        }
    }

    /// The first rebalance of an empty group lasts its delay, even when all that are there have joined.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn) {
        let is_waiting = self.state == State::PreparingRebalance && self.initial.is_none();
        if is_waiting && self.members.have_all_joined() {
            self.complete_join(turn);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, reason: Reason, turn: &mut Turn) {
        if self.state == State::CompletingRebalance {
            self.reset_assignment(ErrorCode::RebalanceInProgress, turn);
        }
        self.unsynced.clear();
        turn.timers.cancel(&self.sync_timer());
        let was_empty = self.state == State::Empty;
        self.enter(State::PreparingRebalance, turn);
        tracing::info!(group = ?self.id, generation = self.generation, %reason, "preparing to rebalance");
        if was_empty {
            let delay = turn.config.initial_rebalance_delay;
            let remaining = self.members.rebalance_timeout().saturating_sub(delay);
            self.initial = Some(InitialDelay { now: delay, remaining, has_new_member: false });
            turn.timers.set(self.join_timer(), turn.now + delay);
        } else if self.members.have_all_joined() {
            self.complete_join(turn);
        } else {
            self.wait_for_joins(Duration::ZERO, turn);
        }
    }

    /// After KIP-848's downgrade, when a member left with it: the others are to join again.
    pub fn rebalance_converted(&mut self, turn: &mut Turn) {
        self.prepare_rebalance(Reason::ours("the group was one of the consumer protocol"), turn);
    }

    fn wait_for_joins(&mut self, least: Duration, turn: &mut Turn) {
        let wait = self.members.rebalance_timeout().max(least);
        turn.timers.set(self.join_timer(), turn.now + wait);
    }

    /// Ends the wait for joins: dynamic members that have not joined are out, static ones stay until their
    /// session ends, and the others are the next generation.
    fn complete_join(&mut self, turn: &mut Turn) {
        turn.timers.cancel(&self.join_timer());
        self.initial = None;
        for id in self.members.absent() {
            if !self.members.get(&id).is_some_and(|member| member.is_static()) {
                self.remove(&id, turn);
            }
        }
        if !self.members.is_empty() && !self.elect_leader() {
            tracing::info!(group = ?self.id, "no member has joined again; waiting for their sessions to end");
            return self.wait_for_joins(NOBODY_JOINED_WAIT_MIN, turn);
        }
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol = self.next_protocol();
        self.subscribed = self.subscription();
        self.unsynced.clear();
        if self.members.is_empty() {
            self.enter(State::Empty, turn);
            tracing::info!(group = ?self.id, generation = self.generation, "the group is empty");
            let value = self.current_value();
            self.store(value, turn);
        } else {
            self.enter(State::CompletingRebalance, turn);
            self.begin_generation(turn);
        }
    }

    /// The leader stays when it has joined, else one that has takes its place. False when nobody has.
    fn elect_leader(&mut self) -> bool {
        if self.leader.as_deref().is_some_and(|leader| self.members.is_joining(leader)) {
            return true;
        }
        let Some(joining) = self.members.first_joining() else { return false };
        self.leader = Some(joining);
        true
    }

    pub(super) fn next_protocol(&self) -> Option<Str> {
        self.members.vote(self.leader.as_deref())
    }

    fn begin_generation(&mut self, turn: &mut Turn) {
        tracing::info!(group = ?self.id, generation = self.generation, members = self.members.len(),
            "a new generation");
        for id in self.members.ids() {
            if let Some(waiting) = self.members.take_join(&id) {
                let answer = self.joined(&id, self.is_leader(&id));
                turn.answer(waiting, answer);
            }
            self.members.settle(&id);
            self.heard_of(&id, turn);
            self.unsynced.insert(id);
        }
        let until = turn.now + self.members.rebalance_timeout();
        turn.timers.set(self.sync_timer(), until);
    }

    /// Nobody has an assignment any more, and all who wait for one are told why.
    pub(super) fn reset_assignment(&mut self, error: ErrorCode, turn: &mut Turn) {
        for id in self.members.ids() {
            self.members.assign(&id, Bytes::new());
            if let Some(waiting) = self.members.take_sync(&id) {
                turn.answer(waiting, refused_sync(error));
                self.heard_of(&id, turn);
            }
        }
    }
}
