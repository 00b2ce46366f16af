//! What a partition's files need beside records, done ahead or afterwards so that no commit waits for it:
//! the last segment sealed, the index written as it grows, space and the next segment's file prepared.
//!
//! Runs in its shard's housekeepers, one of them at a time for a partition. A commit goes on meanwhile in the
//! active segment; it waits only to roll a second time, and `stop`, `reopen` and removal wait for the end.

use crate::limits::BLOCK_BYTES;
use crate::log::appender::{ALLOCATE_BYTES_MAX, ALLOCATE_BYTES_MIN};
use crate::log::fault::{FaultKind, LogFault};
use crate::log::partition::{Partition, State};
use crate::log::planted::{self, Bug};
use crate::log::segment::{self, Segment};
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::{self, File, FileOptions, Wakers};
use crate::types::{Durability, Offset, Position};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;

/// The next segment's file is made when this is left of the active one, or a quarter.
const PREPARE_BYTES: u64 = 64 << 20;
/// Name of the file that becomes the next segment's; recovery removes it like all temporary ones.
const PREPARED_NAME: &str = "next.log.tmp";

/// What is to be done for a partition, and what is known of its files beside segments.
#[derive(Default)]
pub(in crate::log) struct Housekeeping {
    /// In its shard's line, or at work on.
    is_due: bool,
    sealing: Option<Sealing>,
    writes_index: bool,
    pub retains: bool,
    /// Deleted segments whose files are still there, oldest first.
    pub doomed: VecDeque<Offset>,
    /// Snapshots of producers that are there, oldest first.
    snapshots: VecDeque<Offset>,
    prepares: bool,
    allocates: bool,
    /// The active segment's index on disk was of no use to the start: power loss may have left it longer than the
    /// segment.
    pub is_index_stale: bool,
    /// Why a segment could not be sealed: the next commit fails with it.
    failed: Option<LogFault>,
    written: IndexWritten,
    prepared: Prepared,
    changed: Wakers,
}

/// The file that becomes the next segment's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Prepared {
    #[default]
    No,
    /// It is there, this long.
    Made(u64),
    /// It could not be made; the roll will.
    Failed,
}

/// A segment that was rolled and is not complete on disk yet.
#[derive(Clone)]
struct Sealing {
    segment: Segment,
    next: Offset,
    producers: Rc<Vec<u8>>,
    durability: Durability,
    written: IndexWritten,
}

/// How much of a segment's index is in its files. Nothing is, at the start of a life.
#[derive(Clone, Copy, Debug, Default)]
struct IndexWritten {
    segment: Offset,
    /// The files were written in this life, and have their names for good.
    is_made: bool,
    /// The segment's bytes that it covers.
    end: Position,
    offset_bytes: usize,
    time_bytes: usize,
}

/// What an index has more than its files: encoded at once, because whoever holds the index while commits go
/// on has it copied.
struct IndexBytes {
    segment: Offset,
    is_made: bool,
    end: Position,
    offsets_from: usize,
    offsets: Vec<u8>,
    times_from: usize,
    times: Vec<u8>,
}

impl IndexBytes {
    fn of(segment: &Segment, written: IndexWritten) -> Option<IndexBytes> {
        let index = segment.index.as_ref()?;
        let block = |bytes: usize| bytes / BLOCK_BYTES * BLOCK_BYTES;
        let offsets_from = block(written.offset_bytes);
        let times_from = block(written.time_bytes);
        let offsets = index.encode_offsets_from(offsets_from);
        let times = index.encode_times_from(times_from);
        let (segment, end) = (segment.base, segment.end);
        let is_made = written.is_made;
        Some(IndexBytes { segment, is_made, end, offsets_from, offsets, times_from, times })
    }

    fn written(&self) -> IndexWritten {
        IndexWritten {
            segment: self.segment,
            is_made: true,
            end: self.end,
            offset_bytes: self.offsets_from + self.offsets.len(),
            time_bytes: self.times_from + self.times.len(),
        }
    }
}

enum Chore {
    Seal(Sealing),
    WriteIndex(IndexBytes),
    Retain,
    Prepare(u64),
    Allocate,
}

impl Housekeeping {
    fn next(&mut self, active: &Segment, segment_bytes: u64) -> Option<Chore> {
        if let Some(sealing) = &self.sealing {
            return Some(Chore::Seal(sealing.clone()));
        }
        if std::mem::take(&mut self.allocates) {
            return Some(Chore::Allocate);
        }
        if std::mem::take(&mut self.prepares) && self.prepared == Prepared::No {
            let wish = ALLOCATE_BYTES_MAX.min(segment_bytes.next_multiple_of(BLOCK_BYTES as u64));
            return Some(Chore::Prepare(wish.max(ALLOCATE_BYTES_MIN)));
        }
        if std::mem::take(&mut self.retains) {
            return Some(Chore::Retain);
        }
        if std::mem::take(&mut self.writes_index) {
            return IndexBytes::of(active, self.written_of(active.base)).map(Chore::WriteIndex);
        }
        None
    }

    fn written_of(&self, segment: Offset) -> IndexWritten {
        if self.written.segment == segment {
            return self.written;
        }
        IndexWritten { segment, ..IndexWritten::default() }
    }

    /// A segment is full: what remains is done while others are written.
    pub fn seal_later(
        &mut self,
        segment: Segment,
        next: Offset,
        producers: Vec<u8>,
        durability: Durability,
    ) {
        let (producers, written) = (Rc::new(producers), self.written_of(segment.base));
        self.sealing = Some(Sealing { segment, next, producers, durability, written });
    }

    /// The files are read anew.
    pub fn forget(&mut self, snapshots: &[Offset]) {
        self.written = IndexWritten::default();
        self.is_index_stale = false;
        self.prepared = Prepared::No;
        self.snapshots = snapshots.iter().rev().take(2).rev().copied().collect();
    }

    /// They were: what is in them is known and complete.
    pub fn begin_anew(&mut self) {
        self.failed = None;
        // They are among the segments again.
        self.doomed.clear();
    }

    /// A segment is not complete on disk, and nobody is about to make it so.
    pub fn fail(&mut self, fault: LogFault) {
        self.failed = Some(fault);
    }

    /// A segment could not be sealed: the next commit fails with it.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub fn is_sealing(&self) -> bool {
        self.sealing.is_some()
    }
}

impl State {
    /// What a housekeeper does next: all that is due; on a full disk, only deletes; else nothing where nobody may
    /// write.
    fn next_chore(&mut self) -> Option<Chore> {
        if self.retired || self.completing {
            return None;
        }
        let limit = self.config.segment_bytes;
        let deletes = self.deletes_when_full();
        let State { house, segments, fault, .. } = self;
        let Some(fault) = fault else {
            return house.next(segments.back().expect("a log has an active segment"), limit);
        };
        if house.sealing.take().is_some() {
            house.failed = Some(fault.clone());
            house.changed.wake_all();
        }
        (deletes && std::mem::take(&mut house.retains)).then_some(Chore::Retain)
    }

    /// Bytes of the active segment that its index files do not cover, as far as this life knows.
    pub(super) fn unindexed_bytes(&self) -> u64 {
        let active = self.active();
        active.end - self.house.written_of(active.base).end
    }

    /// What a commit made due. True when there is something for a housekeeper.
    pub(in crate::log) fn note_chores(&mut self, index_step_bytes: u64) -> bool {
        let limit = self.config.segment_bytes;
        let active = self.segments.back().expect("a log has an active segment");
        let house = &mut self.house;
        let end = active.end.0;
        house.writes_index |= end - house.written_of(active.base).end.0 >= index_step_bytes;
        let near = limit.saturating_sub(end) <= PREPARE_BYTES.min(limit / 4);
        house.prepares |= near && house.prepared == Prepared::No;
        let step = allocation_step(active.allocated);
        let ends = active.allocated < limit && active.allocated.saturating_sub(end) < step / 2;
        house.allocates |= ends && active.allocated > 0;
        (house.writes_index || house.prepares || house.allocates) && !house.is_due
    }
}

/// A segment's file grows by so much at once: an idle partition holds little.
pub(in crate::log) fn allocation_step(allocated: u64) -> u64 {
    allocated.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX)
}

impl Partition {
    /// Has a housekeeper look after this partition.
    pub(in crate::log) fn call_housekeeper(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if !state.house.is_due {
            state.house.is_due = true;
            self.shard.add_chores(self);
        }
    }

    /// Has the active segment's index written out as far as it is.
    pub(super) fn write_index_later(self: &Rc<Self>) {
        self.state.borrow_mut().house.writes_index = true;
        self.call_housekeeper();
    }

    /// All that is due, one after the other.
    pub(in crate::log) async fn keep_house(self: Rc<Self>) {
        loop {
            let chore = {
                let mut state = self.state.borrow_mut();
                let chore = state.next_chore();
                if chore.is_none() {
                    state.house.is_due = false;
                    state.house.sealing = None;
                    state.house.changed.wake_all();
                }
                chore
            };
            match chore {
                None => return,
                Some(Chore::Seal(sealing)) => self.seal(sealing).await,
                Some(Chore::WriteIndex(bytes)) => match self.write_index(&bytes, false).await {
                    Ok(()) => self.note_written(bytes.written()),
                    Err(fault) => tracing::debug!(%fault, "cannot write an index yet"),
                },
                Some(Chore::Retain) => self.retain().await,
                Some(Chore::Prepare(bytes)) => self.prepare_next(bytes).await,
                Some(Chore::Allocate) => self.allocate_ahead().await,
            }
        }
    }

    fn note_written(&self, written: IndexWritten) {
        let mut state = self.state.borrow_mut();
        if state.active().base == written.segment {
            state.house.written = written;
        }
    }

    /// Waits until no housekeeper works on this partition, and none is to.
    pub(in crate::log) async fn kept(&self) {
        self.until(|state| !state.house.is_due).await;
    }

    /// Waits until the segments before the active one are complete on disk.
    ///
    /// # Errors
    /// What kept one from being so.
    pub(in crate::log) async fn sealed(&self) -> Result<(), LogFault> {
        self.until(|state| !state.house.is_sealing()).await;
        self.state.borrow().house.failed.clone().map_or(Ok(()), Err)
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        poll_fn(|context| {
            let state = self.state.borrow();
            if reached(&state) {
                return Poll::Ready(());
            }
            state.house.changed.register(context);
            Poll::Pending
        })
        .await;
    }

    // ------------------------------------------------------------ sealing

    async fn seal(self: &Rc<Self>, sealing: Sealing) {
        let base = sealing.segment.base;
        let mut outcome = self.make_complete(sealing).await;
        if outcome.is_err() {
            // What is left of them may end before the segment does, and the one in memory does not stay for ever.
            outcome = self.remove_indexes(base).await.and(outcome);
        }
        let mut state = self.state.borrow_mut();
        state.house.sealing = None;
        state.house.changed.wake_all();
        match outcome {
            Ok(()) => {
                let sealed = state.segments.iter_mut().find(|segment| segment.base == base);
                if let Some(sealed) = sealed {
                    sealed.allocated = sealed.end.0;
                }
                drop(state);
                self.shard.files.remove_writers(self.number, base);
                self.shard.note_sealed_index(self, base);
            }
            Err(fault) => {
                tracing::warn!(partition = %self.id, %fault, "cannot seal a segment");
                state.house.failed = Some(fault.clone());
                drop(state);
                // After a sync that failed nobody knows what the files have, and the next sync may lie.
                if fault.kind == FaultKind::Device {
                    self.fail(fault);
                }
            }
        }
    }

    async fn make_complete(self: &Rc<Self>, sealing: Sealing) -> Result<(), LogFault> {
        let Sealing { segment, next, producers, durability, written } = sealing;
        let path = self.segment_path(segment.base);
        let file = self.open_for_writing(segment.base, durability).await?;
        let fault = |error| LogFault::from_io("seal", &path, segment.end.0, &error);
        file.truncate(segment.end.0).await.map_err(fault)?;
        if !planted::is(Bug::SkipSyncOnSeal) {
            let synced = file.sync().await;
            synced.map_err(|error| LogFault::of_sync(&path, segment.end.0, &error))?;
        }
        if let Some(bytes) = IndexBytes::of(&segment, written) {
            self.write_index(&bytes, true).await?;
        }
        self.write_epochs(false).await?;
        self.write_beside(next, segment::PRODUCERS_SUFFIX, &producers).await?;
        self.sync_names().await?;
        self.drop_old_snapshots(next).await;
        Ok(())
    }

    /// The newest snapshot serves, and the one before it should that be damaged.
    pub(super) async fn drop_old_snapshots(&self, newest: Offset) {
        loop {
            let old = {
                let snapshots = &mut self.state.borrow_mut().house.snapshots;
                if snapshots.back() != Some(&newest) {
                    snapshots.push_back(newest);
                }
                if snapshots.len() > 2 { snapshots.pop_front() } else { None }
            };
            let Some(old) = old else { return };
            let path = segment::file_path(&self.directory, old, segment::PRODUCERS_SUFFIX);
            if let Err(error) = runtime::remove_file(&path).await {
                tracing::debug!(file = %path.display(), %error, "cannot remove an old snapshot");
            }
        }
    }

    /// Appends to both files of an index from their last whole blocks on. Until a segment is complete they
    /// end in zeros. The first time in a life they are written whole: nobody knows what was there before. That has
    /// to last: recovery points are ahead of what the index covers by no more than a step.
    async fn write_index(&self, index: &IndexBytes, is_last: bool) -> Result<(), LogFault> {
        for (suffix, from, bytes) in [
            (segment::INDEX_SUFFIX, index.offsets_from, &index.offsets),
            (segment::TIME_INDEX_SUFFIX, index.times_from, &index.times),
        ] {
            if !index.is_made {
                self.write_beside(index.segment, suffix, bytes).await?;
                continue;
            }
            let path = segment::file_path(&self.directory, index.segment, suffix);
            let from = from as u64;
            let appended = append_blocks(&path, from, bytes, is_last).await;
            appended.map_err(|error| LogFault::from_io("write", &path, from, &error))?;
        }
        if index.is_made { Ok(()) } else { self.sync_names().await }
    }

    /// Writes the index of the active segment out, as a stop leaves it.
    pub(in crate::log) async fn complete_index(&self, segment: &Segment) -> Result<(), LogFault> {
        let written = self.state.borrow().house.written_of(segment.base);
        let Some(bytes) = IndexBytes::of(segment, written) else { return Ok(()) };
        self.write_index(&bytes, true).await?;
        self.note_written(bytes.written());
        Ok(())
    }

    // ------------------------------------------------------------ space ahead

    /// Makes the next segment's file. If it fails, the roll makes it, and says why it cannot.
    async fn prepare_next(&self, bytes: u64) {
        let path = self.directory.join(PREPARED_NAME);
        let made = async {
            match runtime::remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let options = FileOptions { create_new: true, ..FileOptions::default() };
            let file = File::open(&path, options).await?;
            file.allocate(bytes).await?;
            file.sync().await?;
            file.close().await
        };
        match made.await {
            Ok(()) => self.state.borrow_mut().house.prepared = Prepared::Made(bytes),
            Err(error) => {
                tracing::debug!(partition = %self.id, %error, "cannot prepare a segment yet");
                self.state.borrow_mut().house.prepared = Prepared::Failed;
                // A full disk is not filled by what nobody asked for.
                drop(runtime::remove_file(&path).await);
            }
        }
    }

    /// Gives the prepared file the name of the segment that begins at `base`. Its length, if it was there.
    pub(in crate::log) async fn take_prepared(
        &self,
        base: Offset,
    ) -> Result<Option<u64>, LogFault> {
        let prepared = std::mem::take(&mut self.state.borrow_mut().house.prepared);
        let Prepared::Made(bytes) = prepared else { return Ok(None) };
        let path = self.segment_path(base);
        match runtime::rename(&self.directory.join(PREPARED_NAME), &path).await {
            // Somebody tidied it away.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogFault::from_io("create", &path, 0, &error)),
            Ok(()) => Ok(Some(bytes)),
        }
    }

    /// Removes the prepared file of a partition that stops.
    pub(in crate::log) async fn drop_prepared(&self) {
        let prepared = std::mem::take(&mut self.state.borrow_mut().house.prepared);
        if prepared != Prepared::No {
            // What stays is removed by the next start.
            drop(runtime::remove_file(&self.directory.join(PREPARED_NAME)).await);
        }
    }

    async fn allocate_ahead(&self) {
        let (base, allocated, limit, durability) = {
            let state = self.state.borrow();
            let active = state.active();
            let config = &state.config;
            (active.base, active.allocated, config.segment_bytes, config.durability)
        };
        let wish = allocated + allocation_step(allocated);
        let wish = wish.min(limit.next_multiple_of(BLOCK_BYTES as u64));
        if allocated == 0 || wish <= allocated {
            return;
        }
        let grown = async {
            let file = self.open_for_writing(base, durability).await?;
            let path = self.segment_path(base);
            let grown = file.allocate(wish).await;
            grown.map_err(|error| LogFault::from_io("allocate", &path, wish, &error))
        };
        match grown.await {
            Ok(()) => {
                let mut state = self.state.borrow_mut();
                let active = state.active_mut();
                if active.base == base {
                    active.allocated = active.allocated.max(wish);
                }
            }
            Err(fault) => tracing::debug!(%fault, "cannot allocate ahead"),
        }
    }
}

/// Writes blocks at the end of a file that grows, synced.
async fn append_blocks(path: &Path, from: u64, bytes: &[u8], is_last: bool) -> std::io::Result<()> {
    let file = File::open(path, FileOptions::default()).await?;
    if !bytes.is_empty() {
        file.write_at(&AlignedBuffer::padded(bytes).freeze(), from).await?;
    }
    if is_last {
        file.truncate(from + bytes.len() as u64).await?;
    }
    file.sync().await?;
    file.close().await
}
