//! Retention: segments go, oldest first, when they are too old, more than the log may hold, or before its
//! start. Records are deleted by whole segments only. What is deleted is out of sight at once, and freed by a
//! housekeeper; a crash in between may bring it back until the next look.
//!
//! Runs in its shard's housekeepers, one at a time for a partition. It never waits on the way of a record:
//! only when all of a log has expired it takes the partition's turn to begin a new segment, as Kafka does.

use crate::log::fault::LogFault;
use crate::log::partition::{Partition, Phase, State};
use crate::log::planted::{self, Bug};
use crate::log::segment::Segment;
use crate::log::shard_log::ShardLog;
use crate::runtime;
use crate::types::Timestamp;
use std::rc::Rc;

/// Why a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Age,
    Size,
    Start,
}

/// What is said of the oldest segment.
enum Verdict {
    Stays,
    /// It would go by its age, which nobody knows yet.
    Unknown(Segment),
    Goes(Reason),
}

impl ShardLog {
    /// Looks for segments to delete, again and again.
    pub(in crate::log) async fn retain_when_due(self: Rc<Self>) {
        loop {
            runtime::sleep(self.options.retention_check).await;
            self.free_stuck_garbage();
            for partition in self.partitions() {
                partition.retain_if_due(runtime::wall_clock());
                runtime::yield_if_needed().await;
            }
        }
    }
}

impl State {
    /// A full disk is what deletion helps against; but whoever opens the log anew must find it as it lists it.
    pub(super) fn deletes_when_full(&self) -> bool {
        self.is_full() && self.opened && self.phase != Phase::Busy
    }

    fn may_delete(&self) -> bool {
        let is_sound = self.fault.is_none() || self.deletes_when_full();
        self.opened && !self.retired && is_sound
    }

    /// Judges the oldest segment. Kafka's rules: by age, if its newest record is older than retention.ms; by
    /// size, if the others hold retention.bytes without it; by the log's start, if all of it lies before.
    fn judge(&self, now: Timestamp) -> Verdict {
        let Some(oldest) = self.segments.front() else { return Verdict::Stays };
        let next = self.segments.get(1).map(|next| next.base);
        let is_empty = oldest.end.0 == 0;
        let config = &self.config;
        if next.is_some_and(|next| next <= self.log_start) {
            return Verdict::Goes(Reason::Start);
        }
        // What is not promised yet stays.
        let is_settled = next.is_some() || self.next_offset == self.committed;
        if !config.deletes || is_empty || !is_settled {
            return Verdict::Stays;
        }
        let others: u64 = self.segments.iter().skip(1).map(|segment| segment.end.0).sum();
        if u64::try_from(config.retention_bytes).is_ok_and(|bytes| others >= bytes) {
            return Verdict::Goes(Reason::Size);
        }
        if config.retention_ms < 0 {
            return Verdict::Stays;
        }
        let newest = oldest.max_timestamp.map(|(newest, _)| newest).filter(|newest| newest.0 >= 0);
        match newest.or(oldest.modified) {
            Some(newest) if now.0.saturating_sub(newest.0) > config.retention_ms => {
                Verdict::Goes(Reason::Age)
            }
            None if next.is_some() => Verdict::Unknown(oldest.clone()),
            _ => Verdict::Stays,
        }
    }
}

impl Partition {
    /// Has a housekeeper look for segments to delete, if that is worth its turn.
    pub(super) fn retain_if_due(self: &Rc<Self>, now: Timestamp) {
        let state = self.state.borrow();
        let is_due = !matches!(state.judge(now), Verdict::Stays) || !state.house.doomed.is_empty();
        let is_due = is_due && state.may_delete();
        drop(state);
        if is_due {
            self.retain_later();
        }
    }

    /// Has a housekeeper look for segments to delete.
    pub fn retain_later(self: &Rc<Self>) {
        self.state.borrow_mut().house.retains = true;
        self.call_housekeeper();
    }

    /// Deletes what is due.
    pub(super) async fn retain(self: &Rc<Self>) {
        let now = runtime::wall_clock();
        while self.state.borrow().may_delete() {
            let verdict = self.state.borrow().judge(now);
            let reason = match verdict {
                Verdict::Stays => break,
                Verdict::Unknown(segment) => {
                    if let Err(fault) = self.find_age(&segment).await {
                        tracing::warn!(partition = %self.id, %fault, "cannot tell a segment's age");
                        break;
                    }
                    continue;
                }
                Verdict::Goes(reason) => reason,
            };
            let is_only = self.state.borrow().segments.len() == 1;
            if is_only && !planted::is(Bug::DeleteActiveSegment) {
                if let Err(fault) = self.begin_anew().await {
                    tracing::warn!(partition = %self.id, %fault, "cannot begin a segment");
                    break;
                }
                // It has to be sealed first; then this is looked at again.
                let mut state = self.state.borrow_mut();
                state.house.retains = state.segments.len() > 1;
                break;
            }
            match self.forget_oldest(reason) {
                Some(segment) => self.state.borrow_mut().house.doomed.push_back(segment.base),
                None => {
                    // It is being sealed, then this is looked at again; or what follows has no file yet.
                    let mut state = self.state.borrow_mut();
                    state.house.retains |= state.house.is_sealing();
                    break;
                }
            }
        }
        self.remove_doomed().await;
    }

    /// The newest time of a segment that was not looked at in this life: from its index, or, where records
    /// have no times, from its file.
    async fn find_age(self: &Rc<Self>, segment: &Segment) -> Result<(), LogFault> {
        if segment.index.is_none()
            && let Err(fault) = self.load_index(segment.base, segment.end).await
        {
            // What is damaged gets old, too.
            tracing::warn!(partition = %self.id, %fault, "cannot read the times of a segment; its file's holds");
        }
        let known = |state: &State| state.segments.front().and_then(|oldest| oldest.max_timestamp);
        if known(&self.state.borrow()).is_some_and(|(newest, _)| newest.0 >= 0) {
            return Ok(());
        }
        let fault = |error| LogFault::from_io("list", &self.directory, 0, &error);
        let entries = runtime::list_directory(&self.directory).await.map_err(fault)?;
        let path = self.segment_path(segment.base);
        let name = path.file_name().unwrap_or_default();
        let entry = entries.iter().find(|entry| name == entry.name.as_str());
        let modified = entry.map_or_else(runtime::wall_clock, |entry| entry.modified);
        let mut state = self.state.borrow_mut();
        let oldest = state.segments.front_mut().filter(|oldest| oldest.base == segment.base);
        if let Some(oldest) = oldest {
            oldest.modified = Some(modified);
        }
        Ok(())
    }

    /// Begins a new segment, so that the only one can go.
    async fn begin_anew(self: &Rc<Self>) -> Result<(), LogFault> {
        {
            let mut state = self.state.borrow_mut();
            let is_idle = state.phase == Phase::Idle && state.pending.is_empty();
            if !is_idle || state.retired || state.fault.is_some() || state.house.is_sealing() {
                // Somebody writes: it is not that old any more.
                return Ok(());
            }
            state.phase = Phase::Busy;
        }
        let rolled = async {
            self.roll().await?;
            let durability = self.state.borrow().config.durability;
            // The next start must find where offsets go on.
            self.open_active(durability).await.map(drop)
        };
        let outcome = rolled.await;
        self.release();
        outcome
    }

    /// Takes the oldest segment out of sight.
    fn forget_oldest(self: &Rc<Self>, reason: Reason) -> Option<Segment> {
        let mut state = self.state.borrow_mut();
        let is_active = state.segments.len() == 1 && !planted::is(Bug::DeleteActiveSegment);
        let is_sealing = state.house.is_sealing() && state.segments.len() == 2;
        // What a segment knew of producers must be in the snapshot behind it before it goes.
        let is_unsealed = state.house.has_failed() && state.segments.len() <= 2;
        // The next start must find where offsets go on.
        let is_last_file = state.segments.get(1).is_some_and(|next| next.allocated == 0);
        if is_active || is_sealing || is_unsealed || is_last_file {
            return None;
        }
        let segment = state.segments.pop_front()?;
        let first = state.segments.front().map_or(state.next_offset, |first| first.base);
        state.log_start = state.log_start.max(first);
        let log_start = state.log_start;
        drop(state);
        self.shard.files.remove_segment(self.number, segment.base);
        self.shard.probe.segments_deleted.add(1);
        tracing::info!(partition = %self.id, segment = %segment.base, bytes = segment.end.0, ?reason,
            %log_start, "deleted a segment");
        Some(segment)
    }

    /// Removes what was deleted, oldest first: each is gone for good before the next one goes, because a crash must
    /// not bring it back in front of a gap. What cannot be removed is tried again before anything later goes.
    async fn remove_doomed(&self) {
        loop {
            let doomed = self.state.borrow().house.doomed.front().copied();
            let Some(base) = doomed else { return };
            if let Err(fault) = self.remove_segment_files(base).await {
                tracing::error!(partition = %self.id, %fault, "cannot remove a deleted segment");
                return;
            }
            self.state.borrow_mut().house.doomed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
