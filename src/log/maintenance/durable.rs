//! What a start found stays: written and synced again where the last life may not have made it durable. Lives on
//! its shard, before the partition serves; cuts nothing that is whole.

use super::scan::Scan;
use crate::limits::BLOCK_BYTES;
use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::planted::{self, Bug};
use crate::log::segment::Segment;
use crate::runtime::File;
use crate::runtime::buffer::AlignedBuffer;
use crate::types::{Durability, Position};
use std::rc::Rc;

/// Read and written again at once.
const REWRITE_BYTES: usize = 1 << 20;

impl Partition {
    /// Makes sure that what was found stays. A killed process may have left a commit that the kernel has
    /// not written, and after an error of the device even a sync need not write it any more: so the last
    /// commit is written again. Its batches are those that reach into its longest possible extent.
    pub(super) async fn make_durable(
        &self,
        file: &File,
        active: &mut Segment,
        scan: &Scan,
    ) -> Result<(), LogFault> {
        let path = self.segment_path(active.base);
        let (end, is_empty) = (active.end.0, active.end == Position::ZERO);
        let fault = |error| LogFault::from_io("recover", &path, end, &error);
        let of_sync = |error| LogFault::of_sync(&path, end, &error);
        if planted::is(Bug::SkipSyncOfRecovered) {
            return Ok(());
        }
        if self.state.borrow().config.durability != Durability::Fsync {
            // A stop leaves an empty segment alone: what a start cut from it must not come back.
            return if is_empty { file.sync().await.map_err(of_sync) } else { Ok(()) };
        }
        let commit = self.shard.options.commit_bytes_max.max(scan.succession.last_bytes()) as u64;
        let from = active.end.0.saturating_sub(commit).max(scan.durable.0);
        let mut at = from / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        // Where the last life knew all to be complete, it knew the file's name to be.
        let is_known = scan.durable > Position::ZERO && scan.durable == active.end;
        if is_known && !self.state.borrow().marked_unsynced {
            return Ok(());
        }
        while at < active.end.0 {
            let length = REWRITE_BYTES.min((active.end.0 - at) as usize);
            let bytes = file.read_at(at, length).await.map_err(fault)?;
            if bytes.len() < length {
                let reason = format!("the file ends before {}", active.end);
                return Err(LogFault::damage(&path, at, reason));
            }
            file.write_at(&AlignedBuffer::padded(&bytes).freeze(), at).await.map_err(fault)?;
            at += length as u64;
            active.allocated = active.allocated.max(at.next_multiple_of(BLOCK_BYTES as u64));
        }
        file.sync().await.map_err(of_sync)?;
        self.unmark_unsynced().await?;
        self.sync_names().await
    }

    /// What was deleted is all there was, since power loss took the rest: the log goes on after it in a segment of
    /// its own; nothing follows in the last one, nor is it read again. Gives what a full disk kept from being written.
    pub(super) async fn seal_deleted(
        self: &Rc<Self>,
        file: &File,
        last: &mut Segment,
        scan: &Scan,
    ) -> Result<Option<LogFault>, LogFault> {
        let path = self.segment_path(last.base);
        let fault = |error| LogFault::from_io("recover", &path, last.end.0, &error);
        file.truncate(last.end.0).await.map_err(fault)?;
        let synced = file.sync().await;
        synced.map_err(|error| LogFault::of_sync(&path, last.end.0, &error))?;
        if let (Some(index), Some(max)) = (&mut last.index, last.max_timestamp) {
            Rc::make_mut(index).seal(max);
        }
        self.learn_epochs(scan.succession.epochs());
        self.complete_rolled(last, scan, scan.next).await
    }
}
