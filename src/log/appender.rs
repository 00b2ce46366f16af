//! The commit: what was dispatched becomes durable. While one write of a partition is in flight, all that
//! arrives gathers for the next one; there is no timer.
//!
//! Runs in the shard's writer tasks. Claim and settle are synchronous, only opening, allocating and
//! writing are awaited between them; one task at a time has a partition's files (`Phase::Busy`).
//!
//! A commit writes whole blocks from a buffer of its own: it repeats the bytes of the block in which the
//! last commit ended, appends the pending batches and ends in zeros. So no buffer changes after it was
//! written, and a torn write leaves what was promised before as it was.

use super::config::LogConfig;
use super::fault::{FaultKind, LogFault};
use super::file_cache::{Access, FileKey};
use super::maintenance::allocation_step;
use super::partition::{Partition, Phase, Written};
use super::planted::{self, Bug};
use super::segment::{self, Segment};
use super::small_file;
use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::{AlignedBuffer, BufferSlice};
use crate::runtime::{self, File, FileOptions};
use crate::types::{Durability, Offset, Position, Timestamp};
use crate::wire::batch;
use std::rc::Rc;

/// First preallocation of a segment, and the largest step by which it grows.
pub(super) const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
pub(super) const ALLOCATE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the next commit has to do before it can write.
struct Plan {
    roll: bool,
    /// What was written under a laxer durability has to be synced first: an acknowledgement under `fsync`
    /// promises all that comes before it, too.
    sync: bool,
    /// Recovery has to know that commits are not synced.
    mark: bool,
    durability: Durability,
}

impl Partition {
    /// One commit, called by a writer for a partition that was in line.
    pub(super) async fn commit_next(self: Rc<Self>) {
        let reopen = {
            let mut state = self.state.borrow_mut();
            assert_eq!(state.phase, Phase::Queued, "only a queued partition is committed");
            state.phase = Phase::Busy;
            // Another shard may have the files of a retired one.
            state.is_full() && !state.retired
        };
        let outcome = if reopen { self.reopen().await } else { self.commit().await };
        if let Err(fault) = outcome {
            self.fail(fault);
        }
        self.release();
    }

    async fn commit(self: &Rc<Self>) -> Result<(), LogFault> {
        let Some(plan) = self.plan() else { return Ok(()) };
        if plan.roll {
            self.roll().await?;
        }
        if plan.sync {
            self.sealed().await?;
        }
        let file = self.open_active(plan.durability).await?;
        if plan.sync {
            self.sync_written(&file).await?;
        }
        if plan.mark {
            self.mark_unsynced().await?;
        }
        let last_block = self.last_block(&file).await?;
        let Some(written) = self.claim(last_block, plan.durability) else { return Ok(()) };
        self.allocate(&file, written.start, &written).await?;
        self.write(&file, written, plan.durability).await
    }

    /// What to do for the batches that wait; `None` when none does any more.
    fn plan(&self) -> Option<Plan> {
        let state = self.state.borrow();
        if state.retired || state.fault.is_some() {
            return None;
        }
        let first = &state.pending.front()?.header;
        let active = state.active();
        let config = &state.config;
        let full = active.end.0 + first.batch_bytes as u64 > config.segment_bytes;
        let roll = active.end > Position::ZERO && (full || wants_roll(active, first, config));
        let durability = config.durability;
        let synced = durability == Durability::Fsync;
        let sync = synced && (state.unsynced || state.marked_unsynced);
        let mark = !synced && !state.marked_unsynced;
        Some(Plan { roll, sync, mark, durability })
    }

    // ------------------------------------------------------------ files

    fn file_options(durability: Durability) -> FileOptions {
        let is_synced = durability == Durability::Fsync && !planted::is(Bug::AcknowledgeBeforeSync);
        FileOptions { sync_on_write: is_synced, ..FileOptions::default() }
    }

    /// The active segment's file, made on first use: an empty partition has none.
    pub(super) async fn open_active(&self, durability: Durability) -> Result<Rc<File>, LogFault> {
        let (base, exists) = {
            let state = self.state.borrow();
            (state.active().base, state.active().allocated > 0)
        };
        let path = self.segment_path(base);
        if exists {
            return self.open_for_writing(base, durability).await;
        }
        let options = Partition::file_options(durability);
        if self.state.borrow().segments.len() == 1 {
            self.create_directory().await?;
        }
        if let Some(bytes) = self.take_prepared(base).await? {
            // A record is not durable in a file whose name is not.
            self.sync_names().await?;
            let file = self.open_for_writing(base, durability).await?;
            let mut state = self.state.borrow_mut();
            (state.active_mut().allocated, state.checkpoint) = (bytes, None);
            return Ok(file);
        }
        let fault = |error| LogFault::from_io("create", &path, 0, &error);
        let file = match File::open(&path, FileOptions { create_new: true, ..options }).await {
            // Left by an attempt that failed before anything was promised from it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                File::open(&path, options).await
            }
            other => other,
        };
        let file = Rc::new(file.map_err(fault)?);
        file.allocate(ALLOCATE_BYTES_MIN).await.map_err(fault)?;
        // A record is not durable in a file whose name is not.
        file.sync().await.map_err(fault)?;
        self.sync_names().await?;
        self.shard.files.insert(self.write_key(base, durability), file.clone());
        let mut state = self.state.borrow_mut();
        state.active_mut().allocated = ALLOCATE_BYTES_MIN;
        state.checkpoint = None;
        Ok(file)
    }

    fn write_key(&self, segment: Offset, durability: Durability) -> FileKey {
        let synced = durability == Durability::Fsync;
        let access = if synced { Access::WriteAndSync } else { Access::Write };
        FileKey { partition: self.number, segment, access }
    }

    pub(super) async fn open_for_writing(
        &self,
        segment: Offset,
        durability: Durability,
    ) -> Result<Rc<File>, LogFault> {
        let key = self.write_key(segment, durability);
        let options = Partition::file_options(durability);
        self.shard.files.open(key, &self.segment_path(segment), options).await
    }

    /// Makes durable which files the folder has.
    pub(super) async fn sync_names(&self) -> Result<(), LogFault> {
        if planted::is(Bug::SkipDirectorySync) {
            return Ok(());
        }
        let synced = runtime::sync_directory(&self.directory).await;
        synced.map_err(|error| LogFault::of_sync(&self.directory, 0, &error))
    }

    /// Makes durable what was written without a sync.
    async fn sync_written(&self, file: &File) -> Result<(), LogFault> {
        let path = self.segment_path(self.state.borrow().active().base);
        if !planted::is(Bug::SkipSyncOnChange) {
            file.sync().await.map_err(|error| LogFault::of_sync(&path, 0, &error))?;
        }
        self.unmark_unsynced().await?;
        self.sync_names().await?;
        self.state.borrow_mut().unsynced = false;
        Ok(())
    }

    async fn mark_unsynced(&self) -> Result<(), LogFault> {
        let path = self.directory.join(segment::UNSYNCED_NAME);
        let written = small_file::write(&path, &[]).await;
        written.map_err(|error| LogFault::from_io("create", &path, 0, &error))?;
        self.sync_names().await?;
        self.state.borrow_mut().marked_unsynced = true;
        Ok(())
    }

    pub(super) async fn unmark_unsynced(&self) -> Result<(), LogFault> {
        let path = self.directory.join(segment::UNSYNCED_NAME);
        match runtime::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LogFault::from_io("remove", &path, 0, &error));
            }
            _ => {}
        }
        self.state.borrow_mut().marked_unsynced = false;
        Ok(())
    }

    /// The partition's folder, with the `partition.metadata` that Kafka keeps there (KIP-516).
    async fn create_directory(&self) -> Result<(), LogFault> {
        let fault = |error| LogFault::from_io("create", &self.directory, 0, &error);
        runtime::create_directory_all(&self.directory).await.map_err(fault)?;
        let metadata = format!("version: 0\ntopic_id: {}", self.id.topic_id);
        let path = self.directory.join("partition.metadata");
        small_file::write(&path, metadata.as_bytes()).await.map_err(fault)?;
        self.write_epochs(true).await?;
        let parent = self.directory.parent().unwrap_or(&self.directory);
        runtime::sync_directory(parent).await.map_err(fault)
    }

    /// The bytes of the block in which the last commit ended: from memory, else from the file.
    async fn last_block(&self, file: &File) -> Result<Option<BufferSlice>, LogFault> {
        let (base, end) = {
            let state = self.state.borrow();
            let active = state.active();
            let (base, end) = (active.base, active.end);
            if end.0.is_multiple_of(BLOCK_BYTES as u64) {
                return Ok(None);
            }
            if let Some(block) = state.tail.last_block(base, end) {
                return Ok(Some(block));
            }
            (base, end)
        };
        let start = end.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let length = (end.0 - start) as usize;
        let path = self.segment_path(base);
        let block = file.read_at(start, length).await;
        let block = block.map_err(|error| LogFault::from_io("read", &path, start, &error))?;
        if block.len() < length {
            let reason = format!("the file ends at {}, before {end}", start + block.len() as u64);
            return Err(LogFault::damage(&path, start, reason));
        }
        Ok(Some(block))
    }

    // ------------------------------------------------------------ claim, write, settle

    /// Takes the batches that go into the next write, and copies them into its buffer: the one copy of a
    /// record's bytes on their way to the disk.
    fn claim(&self, last_block: Option<BufferSlice>, durability: Durability) -> Option<Written> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        // With another durability by now, the file was opened in the wrong way: the next turn plans anew.
        if state.retired || state.config.durability != durability {
            return None;
        }
        let (base, start) = (state.active().base, state.active().end);
        let room = state.config.segment_bytes.saturating_sub(start.0) as usize;
        let (mut count, mut bytes) = (0, 0);
        for pending in &state.pending {
            let more = bytes + pending.bytes.len();
            // The first goes alone if need be: the plan has made room for it.
            let full = more > self.shard.options.commit_bytes_max || more > room;
            if count > 0 && (full || wants_roll(state.active(), &pending.header, &state.config)) {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        if count == 0 {
            return None;
        }
        let head = last_block.as_ref().map_or(0, |block| block.len());
        let mut buffer = AlignedBuffer::allocate((head + bytes).next_multiple_of(BLOCK_BYTES));
        let target = buffer.as_mut_slice();
        match last_block {
            Some(block) if !planted::is(Bug::ForgetLastBlock) => {
                target[..head].copy_from_slice(&block);
            }
            _ => target[..head].fill(0),
        }
        let leader_epoch = state.leader_epoch;
        let mut batches = Vec::with_capacity(count);
        let mut at = head;
        for mut pending in state.pending.drain(..count) {
            let batch = &mut target[at..at + pending.bytes.len()];
            batch.copy_from_slice(&pending.bytes);
            batch::assign_offsets(batch, pending.header.base_offset, leader_epoch);
            pending.header.leader_epoch = leader_epoch;
            if pending.append_time != Timestamp::NONE {
                batch::assign_append_time(batch, pending.append_time);
            }
            batches.push((pending.header, start + (at - head) as u64));
            at += pending.bytes.len();
        }
        target[at..].fill(0);
        state.pending_bytes -= bytes;
        state.unsynced |= durability != Durability::Fsync;
        state.checkpoint = None;
        drop(guard);
        self.shard.remove_pending(bytes);
        let end = start + bytes as u64;
        Some(Written { segment: base, start, end, buffer: buffer.freeze(), batches })
    }

    /// Extends the file ahead of the write, more the more there is: an idle partition holds little.
    async fn allocate(
        &self,
        file: &File,
        start: Position,
        written: &Written,
    ) -> Result<(), LogFault> {
        let block_start = start.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let need = block_start + written.buffer.len() as u64;
        let (allocated, limit) = {
            let state = self.state.borrow();
            (state.active().allocated, state.config.segment_bytes)
        };
        if need <= allocated {
            return Ok(());
        }
        let step = allocation_step(allocated);
        let wish = (allocated + step).min(limit.next_multiple_of(BLOCK_BYTES as u64)).max(need);
        let path = self.segment_path(written.segment);
        let fault = |error| LogFault::from_io("allocate", &path, need, &error);
        let allocated = match file.allocate(wish).await.map_err(fault) {
            // What is left may do for this commit.
            Err(fault) if fault.kind == FaultKind::StorageFull && need < wish => need,
            other => other.map(|()| wish)?,
        };
        if allocated < wish {
            file.allocate(allocated).await.map_err(fault)?;
        }
        self.state.borrow_mut().active_mut().allocated = allocated;
        Ok(())
    }

    async fn write(
        self: &Rc<Self>,
        file: &File,
        written: Written,
        durability: Durability,
    ) -> Result<(), LogFault> {
        let position = written.start.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let path = self.segment_path(written.segment);
        let buffer = written.buffer.clone();
        let shows_early = planted::is(Bug::MoveWatermarkEarly);
        let in_memory = durability == Durability::Memory || shows_early;
        let early = in_memory || planted::is(Bug::AcknowledgeBeforeWrite);
        let later = if early {
            if in_memory {
                self.state.borrow_mut().in_flight = Some(written.start);
            }
            self.settle(written);
            None
        } else {
            Some(written)
        };
        let began = runtime::now();
        let result = file.write_at(&buffer, position).await;
        self.shard.probe.commit_duration.record(runtime::now().0.saturating_sub(began.0));
        self.state.borrow_mut().in_flight = None;
        if shows_early {
            self.watch.wake_all();
        }
        result.map_err(|error| LogFault::from_io("write", &path, position, &error))?;
        if let Some(written) = later
            && !self.state.borrow().retired
        {
            self.settle(written);
        }
        Ok(())
    }

    // ------------------------------------------------------------ roll

    /// Begins the next segment at the next batch's offset. A housekeeper completes the last one meanwhile;
    /// the one before that is waited for.
    pub(super) async fn roll(self: &Rc<Self>) -> Result<(), LogFault> {
        self.sealed().await?;
        let mut state = self.state.borrow_mut();
        let (next, durability) = (state.committed, state.config.durability);
        state.end_index();
        let sealed = state.active().clone();
        let producers = state.producers.encode(next);
        state.house.seal_later(sealed, next, producers, durability);
        state.segments.push_back(Segment::empty(next));
        drop(state);
        self.call_housekeeper();
        self.shard.probe.segments_rolled.add(1);
        Ok(())
    }

    /// Makes the active segment complete on disk: its file trimmed and synced, its indexes and the
    /// producers' snapshot beside it. Recovery begins here. Called with the files in hand (`Busy`).
    pub(super) async fn checkpoint(self: &Rc<Self>) -> Result<(), LogFault> {
        self.drop_prepared().await;
        let (segment, snapshot, next, durability) = {
            let mut state = self.state.borrow_mut();
            if state.active().allocated == 0 {
                return Ok(());
            }
            state.end_index();
            let snapshot = state.producers.encode(state.committed);
            (state.active().clone(), snapshot, state.committed, state.config.durability)
        };
        let path = self.segment_path(segment.base);
        let file = self.open_for_writing(segment.base, durability).await?;
        let fault = |error| LogFault::from_io("seal", &path, segment.end.0, &error);
        file.truncate(segment.end.0).await.map_err(fault)?;
        if !planted::is(Bug::SkipSyncOnSeal) {
            let synced = file.sync().await;
            synced.map_err(|error| LogFault::of_sync(&path, segment.end.0, &error))?;
        }
        {
            // The file is shorter now; should the next step fail, a later write must allocate again.
            let mut state = self.state.borrow_mut();
            state.active_mut().allocated = segment.end.0.max(1);
            state.unsynced = false;
        }
        self.complete_index(&segment).await?;
        self.write_epochs(false).await?;
        self.write_beside(next, segment::PRODUCERS_SUFFIX, &snapshot).await?;
        self.sync_names().await?;
        self.state.borrow_mut().checkpoint = Some(next);
        Ok(())
    }

    pub(super) async fn write_beside(
        &self,
        base: Offset,
        suffix: &'static str,
        bytes: &[u8],
    ) -> Result<(), LogFault> {
        let path = segment::file_path(&self.directory, base, suffix);
        let written = small_file::write(&path, bytes).await;
        written.map_err(|error| LogFault::from_io("write", &path, 0, &error))
    }

    /// The last act before a shard stops: waits for what is pending, then leaves the partition so that
    /// the next start scans nothing.
    ///
    /// # Errors
    /// The fault that kept it from being complete; the next start recovers.
    pub async fn stop(self: &Rc<Self>) -> Result<(), LogFault> {
        self.quiesce().await;
        // The snapshot of a stop says that all before it is complete.
        if let Err(fault) = self.sealed().await {
            self.shard.files.remove_partition(self.number);
            return Err(fault);
        }
        {
            let mut state = self.state.borrow_mut();
            if state.fault.is_some() || state.retired || state.phase != Phase::Idle {
                return state.fault.clone().map_or(Ok(()), Err);
            }
            if state.checkpoint == Some(state.committed) {
                drop(state);
                self.shard.files.remove_partition(self.number);
                return Ok(());
            }
            (state.phase, state.completing) = (Phase::Busy, true);
        }
        let outcome = self.checkpoint().await;
        self.state.borrow_mut().completing = false;
        self.shard.files.remove_partition(self.number);
        self.release();
        outcome
    }
}

/// Whether a batch belongs into the next segment, by its time or because the index is full or could not
/// name it: that holds offsets relative to the base in 32 bits, signed in Kafka.
fn wants_roll(active: &Segment, header: &batch::BatchHeader, config: &LogConfig) -> bool {
    let from = active.first_timestamp.filter(|from| from.0 >= 0);
    let expired =
        from.is_some_and(|from| header.max_timestamp.0.saturating_sub(from.0) > config.segment_ms);
    let index_bytes = active.index.as_ref().map_or(0, |index| index.file_bytes());
    let full = index_bytes as u64 >= config.index_bytes_max;
    expired || full || header.last_offset() - active.base > i64::from(i32::MAX)
}
