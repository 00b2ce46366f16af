//! Rounds over a shard's partitions that write down how far each is complete on disk, so that a start reads
//! no more than `recovery_scan_bytes_max` of what was written since. Lives on its shard; a round waits for
//! the disk, and nobody waits for it before the bound is reached.

use super::recover::GAP_STEPS_MAX;
use crate::log::fault::LogFault;
use crate::log::partition::{Partition, State};
use crate::log::planted::{self, Bug};
use crate::log::recovery_points::{self, PointKey, RecoveryPoint};
use crate::log::shard_log::ShardLog;
use crate::runtime::{self, File, FileOptions};
use crate::types::Durability;
use std::io;
use std::rc::Rc;

impl ShardLog {
    /// Takes up what the last start wrote, before partitions are opened.
    ///
    /// # Errors
    /// The directory, or a file of it, cannot be read.
    pub async fn load_recovery_points(&self) -> io::Result<()> {
        let (points, _) = recovery_points::read_all(&self.options.data_directory).await?;
        self.set_points(points);
        Ok(())
    }

    /// Writes down how far every partition is complete on disk. Returns how many partitions that are online are
    /// not as far as they should be; then what was written since counts on.
    ///
    /// # Errors
    /// As the system calls; what was written down before holds.
    pub async fn save_recovery_points(&self) -> io::Result<usize> {
        let _round = self.rounds.enter().await;
        let covered = self.unsaved_bytes();
        let mut entries = self.unopened_points();
        let mut behind = 0;
        for partition in self.partitions() {
            behind += usize::from(!partition.advance_point().await);
            entries.extend(partition.saved_entry());
            runtime::yield_if_needed().await;
        }
        if planted::is(Bug::ForgetPoints) {
            self.remove_unsaved(covered);
            return Ok(0);
        }
        let path = recovery_points::file_of(&self.options.data_directory, self.options.shard);
        recovery_points::write(&path, &entries).await?;
        if behind == 0 {
            self.remove_unsaved(covered);
        }
        self.probe.recovery_points_saved.add(1);
        Ok(behind)
    }
}

impl State {
    /// Whether more may be on stable storage than the shard's file says.
    fn wants_point(&self) -> bool {
        let is_known = self.point.as_ref().is_some_and(|point| point.next == self.committed);
        // Without any promise the file may not have what consumers see; nor while a write goes on that began so.
        let lax = self.config.durability == Durability::Memory || self.in_flight.is_some();
        let is_online = self.opened && !self.retired && self.fault.is_none();
        is_online && self.active().allocated > 0 && !is_known && !lax
    }
}

impl Partition {
    fn point_key(&self) -> PointKey {
        (self.id.topic_id, self.id.index)
    }

    /// Takes what the last start knew of this partition.
    pub(super) fn take_point(&self) {
        let Some(point) = self.shard.take_point(self.point_key()) else { return };
        self.state.borrow_mut().point = Some(point);
    }

    /// Gives it back: the partition could not be opened, or not be left complete, and the next start must not know less.
    pub fn return_point(&self) {
        if let Some(point) = self.state.borrow_mut().point.take() {
            self.shard.return_point(self.point_key(), point);
        }
    }

    /// Takes note of how far this partition is complete on disk now, synced if need be; what was known before stays
    /// when it is not. False when it should be further.
    async fn advance_point(self: &Rc<Self>) -> bool {
        if !self.has_index_near(GAP_STEPS_MAX / 2) {
            // A start resumes where the index ends: the point must not run away from it.
            self.write_index_later();
            self.kept().await;
        }
        // Last of what is waited for: a segment may have been rolled meanwhile, and could not be sealed.
        if let Err(fault) = self.sealed().await {
            tracing::debug!(partition = %self.id, %fault, "no recovery point yet");
            return self.state.borrow().fault.is_some();
        }
        if !self.has_index_near(GAP_STEPS_MAX) {
            return false;
        }
        let (point, is_unsynced) = {
            let state = self.state.borrow();
            if !state.wants_point() {
                return true;
            }
            let active = state.active();
            let (next, epochs) = (state.committed, state.epochs.clone());
            let point = RecoveryPoint::at_end_of(active, next, epochs, &state.producers);
            (point, state.unsynced)
        };
        if is_unsynced
            && !planted::is(Bug::SkipSyncOfPoint)
            && let Err(fault) = self.sync_segment(&point).await
        {
            tracing::warn!(partition = %self.id, %fault, "cannot sync for a recovery point");
            if fault.operation == "sync" {
                self.fail(fault);
            }
            return self.state.borrow().fault.is_some();
        }
        self.state.borrow_mut().point = Some(point);
        true
    }

    /// Whether the index files of the active segment reach near its end, as far as this life knows; or nobody asks.
    fn has_index_near(&self, steps_max: u64) -> bool {
        let state = self.state.borrow();
        let unindexed_max = steps_max * self.shard.options.index_step_bytes;
        !state.wants_point() || state.unindexed_bytes() <= unindexed_max
    }

    fn saved_entry(&self) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let point = state.point.as_ref().filter(|_| !state.retired)?;
        Some(point.encode(self.point_key()))
    }

    async fn sync_segment(&self, point: &RecoveryPoint) -> Result<(), LogFault> {
        let path = self.segment_path(point.segment);
        let fault = |operation, error| LogFault::from_io(operation, &path, point.end.0, &error);
        let file = File::open(&path, FileOptions::default()).await;
        let file = file.map_err(|error| fault("open", error))?;
        let synced = file.sync().await;
        synced.map_err(|error| LogFault::of_sync(&path, point.end.0, &error))?;
        file.close().await.map_err(|error| fault("close", error))?;
        self.sync_names().await
    }
}
