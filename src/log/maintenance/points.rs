//! Rounds over a shard's partitions that write down how far each is complete on disk, so that a start reads
//! no more than `recovery_scan_bytes_max` of what was written since. Lives on its shard; a round waits for
//! the disk, and nobody waits for it before the bound is reached.

use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::planted::{self, Bug};
use crate::log::recovery_points::{self, PointKey, RecoveryPoint};
use crate::log::shard_log::ShardLog;
use crate::runtime::{self, File, FileOptions};
use crate::types::Durability;
use std::io;

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

    /// Writes down how far every partition is complete on disk.
    ///
    /// # Errors
    /// As the system calls; what was written down before holds.
    pub async fn save_recovery_points(&self) -> io::Result<()> {
        let _round = self.rounds.enter().await;
        let covered = self.unsaved_bytes();
        let mut entries = self.unopened_points();
        for partition in self.partitions() {
            entries.extend(partition.recovery_entry().await);
            runtime::yield_if_needed().await;
        }
        if planted::is(Bug::ForgetPoints) {
            self.remove_unsaved(covered);
            return Ok(());
        }
        let path = recovery_points::file_of(&self.options.data_directory, self.options.shard);
        recovery_points::write(&path, &entries).await?;
        self.remove_unsaved(covered);
        self.probe.recovery_points_saved.add(1);
        Ok(())
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

    /// Gives it back: the partition could not be opened, and the next start must not know less.
    pub(super) fn return_point(&self) {
        if let Some(point) = self.state.borrow_mut().point.take() {
            self.shard.return_point(self.point_key(), point);
        }
    }

    /// What a shard's file says of this partition: up to now, if all of it is on stable storage, else what
    /// it said before.
    async fn recovery_entry(&self) -> Option<Vec<u8>> {
        if self.sealed().await.is_err() {
            return self.saved_entry();
        }
        let (point, is_unsynced) = {
            let state = self.state.borrow();
            if state.retired {
                return None;
            }
            let active = state.active();
            let is_known = state.point.as_ref().is_some_and(|point| point.next == state.committed);
            // Without any promise the file may not have what consumers see.
            let lax = state.config.durability == Durability::Memory;
            if !state.opened || state.fault.is_some() || active.allocated == 0 || is_known || lax {
                drop(state);
                return self.saved_entry();
            }
            let (next, epochs) = (state.committed, state.epochs.clone());
            let point = RecoveryPoint::at_end_of(active, next, epochs, &state.producers);
            (point, state.unsynced)
        };
        if is_unsynced
            && !planted::is(Bug::SkipSyncOfPoint)
            && let Err(fault) = self.sync_segment(&point).await
        {
            tracing::warn!(partition = %self.id, %fault, "cannot sync for a recovery point");
            return self.saved_entry();
        }
        self.state.borrow_mut().point = Some(point);
        self.saved_entry()
    }

    fn saved_entry(&self) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        state.point.as_ref().map(|point| point.encode(self.point_key()))
    }

    async fn sync_segment(&self, point: &RecoveryPoint) -> Result<(), LogFault> {
        let path = self.segment_path(point.segment);
        let synced = async {
            let file = File::open(&path, FileOptions::default()).await?;
            file.sync().await?;
            file.close().await
        };
        let synced = synced.await;
        synced.map_err(|error| LogFault::from_io("sync", &path, point.end.0, &error))?;
        self.sync_names().await
    }
}
