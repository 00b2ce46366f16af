//! Serving what lies before damage, for reading only, where the topic asks for that. Nothing is written, and what
//! is known of the files is kept as it was, so that a repair finds all of it.
//!
//! Runs on the partition's shard, in the place of an opening that failed.

use super::recover::{Listing, Recovered, Recovery};
use super::scan::{Scan, Window};
use crate::log::fault::{FaultKind, LogFault};
use crate::log::index::IndexedBatch;
use crate::log::partition::Partition;
use crate::log::segment::Segment;
use crate::runtime::{File, FileOptions};
use crate::types::Offset;
use std::rc::Rc;

impl Partition {
    /// Opens what lies before the fault that kept the partition from being opened. False when nothing can be
    /// served: then it is as if this had not been tried.
    pub(super) async fn open_before(self: &Rc<Self>, fault: &LogFault, log_start: Offset) -> bool {
        let is_of_bytes = match fault.kind {
            FaultKind::Damage => true,
            FaultKind::Device => fault.operation == "read",
            FaultKind::StorageFull => false,
        };
        if !is_of_bytes {
            return false;
        }
        match self.read_before(log_start).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(other) => {
                tracing::warn!(partition = %self.id, fault = %other, "nothing before the damage can be served");
                return false;
            }
        }
        self.shard.probe.faults.add(1);
        let mut state = self.state.borrow_mut();
        self.set_fault(&mut state, Some(fault.clone()));
        state.read_only = true;
        let (log_start, end) = (state.log_start, state.committed);
        drop(state);
        tracing::error!(partition = %self.id, %fault, %log_start, %end,
            "partition is damaged: it serves what lies before, for reading only");
        true
    }

    async fn read_before(self: &Rc<Self>, log_start: Offset) -> Result<bool, LogFault> {
        let listing = self.take_stock().await?;
        if listing.segments.is_empty() {
            return Ok(false);
        }
        let known = match self.known_complete(&listing).await {
            // What was complete is not there any more.
            Err(fault) if fault.kind == FaultKind::Damage => {
                self.known_by_snapshot(&listing).await?
            }
            other => other?,
        };
        let (mut at, mut active, mut scan) = self.resume(&listing, known, log_start).await?;
        while self.is_whole(&listing, at, &mut active, &mut scan).await? {
            at += 1;
            let (base, bytes) = listing.segments[at];
            active = Segment { allocated: bytes, ..Segment::empty(base) };
            scan.begin_segment(self, IndexedBatch::default(), base);
        }
        if scan.next < log_start {
            return Ok(false);
        }
        let before = listing.segments[..at].iter();
        let mut segments: Vec<Segment> =
            before.map(|(base, bytes)| Segment::sealed(*base, *bytes)).collect();
        segments.push(active);
        let recovery = Recovery { end: scan.next, ..Recovery::default() };
        self.adopt(log_start, Some(Recovered { segments, scan, recovery, clean: false }))?;
        let mut state = self.state.borrow_mut();
        let end = state.committed;
        let kept = state.epochs.partition_point(|(_, start)| *start <= end);
        Rc::make_mut(&mut state.epochs).truncate(kept);
        Ok(true)
    }

    /// Walks over a segment as far as it is whole. True when the next one goes on where it ends.
    async fn is_whole(
        self: &Rc<Self>,
        listing: &Listing,
        at: usize,
        segment: &mut Segment,
        scan: &mut Scan,
    ) -> Result<bool, LogFault> {
        let path = self.segment_path(segment.base);
        let fault = |error| LogFault::from_io("read", &path, 0, &error);
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = File::open(&path, options).await.map_err(fault)?;
        let mut window = Window::forgiving();
        let stop = self.scan_batches_of(&file, segment, scan, &mut window).await?;
        let goes_on = match listing.segments.get(at + 1).copied() {
            Some((next, _)) => {
                let judged = self.judge_rolled(&file, segment, scan, stop, next, &mut window).await;
                judged.unwrap_or(false) && window.unreadable_from(segment.end).is_none()
            }
            None => false,
        };
        file.close().await.map_err(fault)?;
        Ok(goes_on)
    }
}
