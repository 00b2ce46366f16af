//! The commit: what was dispatched becomes durable. While one write of a partition is in flight, all that
//! arrives gathers for the next one; there is no timer.
//!
//! Runs in the shard's writer tasks. Claim and settle are synchronous, only opening, allocating and
//! writing are awaited between them; one task at a time has a partition's files (`Phase::Busy`).
//!
//! A commit writes whole blocks from a buffer of its own: it repeats the bytes of the block in which the
//! last commit ended, appends the pending batches and ends in zeros. So no buffer changes after it was
//! written, and a torn write leaves what was promised before as it was.

use super::fault::{FaultKind, LogFault};
use super::partition::{Partition, Phase, Written};
use super::segment::{self, Segment};
use super::small_file;
use crate::limits::{BLOCK_BYTES, COMMIT_BYTES_MAX};
use crate::runtime::buffer::{AlignedBuffer, BufferSlice};
use crate::runtime::{self, File, FileOptions};
use crate::types::{Durability, Offset, Position, Timestamp};
use crate::wire::batch;
use std::rc::Rc;

/// First preallocation of a segment, and the largest step by which it grows.
const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
const ALLOCATE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the next commit has to do before it can write.
struct Plan {
    roll: bool,
    durability: Durability,
}

impl Partition {
    /// One commit, called by a writer for a partition that was in line.
    pub(super) async fn commit_next(self: Rc<Self>) {
        let reopen = {
            let mut state = self.state.borrow_mut();
            assert_eq!(state.phase, Phase::Queued, "only a queued partition is committed");
            state.phase = Phase::Busy;
            state.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::StorageFull)
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
        let file = self.open_active(plan.durability).await?;
        let last_block = self.last_block(&file).await?;
        let Some(written) = self.claim(last_block) else { return Ok(()) };
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
        let expired = active
            .first_timestamp
            .is_some_and(|from| first.max_timestamp.0.saturating_sub(from.0) > config.segment_ms);
        // The index holds offsets relative to the base in 32 bits, signed in Kafka.
        let unindexable = first.last_offset() - active.base > i64::from(i32::MAX);
        let roll = active.end > Position::ZERO && (full || expired || unindexable);
        Some(Plan { roll, durability: config.durability })
    }

    // ------------------------------------------------------------ files

    fn file_options(durability: Durability) -> FileOptions {
        FileOptions { sync_on_write: durability == Durability::Fsync, ..FileOptions::default() }
    }

    /// The active segment's file, made on first use: an empty partition has none.
    async fn open_active(&self, durability: Durability) -> Result<Rc<File>, LogFault> {
        let (base, exists) = {
            let state = self.state.borrow();
            (state.active().base, state.active().allocated > 0)
        };
        let key = (self.number, base);
        let path = self.segment_path(base);
        let options = Partition::file_options(durability);
        if exists {
            return self.shard.files.open(key, &path, options).await;
        }
        if self.state.borrow().segments.len() == 1 {
            self.create_directory().await?;
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
        runtime::sync_directory(&self.directory).await.map_err(fault)?;
        self.shard.files.insert(key, file.clone());
        self.state.borrow_mut().active_mut().allocated = ALLOCATE_BYTES_MIN;
        Ok(file)
    }

    /// The partition's folder, with the `partition.metadata` that Kafka keeps there (KIP-516).
    async fn create_directory(&self) -> Result<(), LogFault> {
        let fault = |error| LogFault::from_io("create", &self.directory, 0, &error);
        runtime::create_directory_all(&self.directory).await.map_err(fault)?;
        let metadata = format!("version: 0\ntopic_id: {}", self.id.topic_id);
        let path = self.directory.join("partition.metadata");
        small_file::write(&path, metadata.as_bytes()).await.map_err(fault)?;
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
    fn claim(&self, last_block: Option<BufferSlice>) -> Option<Written> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        if state.retired {
            return None;
        }
        let (base, start) = (state.active().base, state.active().end);
        let room = state.config.segment_bytes.saturating_sub(start.0) as usize;
        let (mut count, mut bytes) = (0, 0);
        for pending in &state.pending {
            let more = bytes + pending.bytes.len();
            // The first goes alone if need be: the plan has made room for it.
            if count > 0 && (more > COMMIT_BYTES_MAX || more > room) {
                break;
            }
            if count > 0 && self.wants_roll(state.active(), &pending.header, &state.config) {
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
        if let Some(block) = last_block {
            target[..head].copy_from_slice(&block);
        }
        let (leader_epoch, log_append_time) = (state.leader_epoch, state.config.log_append_time);
        let mut batches = Vec::with_capacity(count);
        let mut at = head;
        for mut pending in state.pending.drain(..count) {
            let batch = &mut target[at..at + pending.bytes.len()];
            batch.copy_from_slice(&pending.bytes);
            batch::assign_offsets(batch, pending.header.base_offset, leader_epoch);
            pending.header.leader_epoch = leader_epoch;
            if log_append_time && pending.header.max_timestamp != Timestamp::NONE {
                batch::assign_append_time(batch, pending.header.max_timestamp);
            }
            batches.push((pending.header, start + (at - head) as u64));
            at += pending.bytes.len();
        }
        target[at..].fill(0);
        state.pending_bytes -= bytes;
        drop(guard);
        self.shard.remove_pending(bytes);
        let end = start + bytes as u64;
        Some(Written { segment: base, start, end, buffer: buffer.freeze(), batches })
    }

    /// Whether a batch behind others of this commit belongs into the next segment by its time.
    fn wants_roll(
        &self,
        active: &Segment,
        header: &batch::BatchHeader,
        config: &super::config::LogConfig,
    ) -> bool {
        let expired = active
            .first_timestamp
            .is_some_and(|from| header.max_timestamp.0.saturating_sub(from.0) > config.segment_ms);
        expired || header.last_offset() - active.base > i64::from(i32::MAX)
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
        let step = allocated.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
        let wish = (allocated + step).min(limit.next_multiple_of(BLOCK_BYTES as u64)).max(need);
        let path = self.segment_path(written.segment);
        let allocated = file.allocate(wish).await;
        allocated.map_err(|error| LogFault::from_io("allocate", &path, need, &error))?;
        self.state.borrow_mut().active_mut().allocated = wish;
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
        let early = durability == Durability::Memory || planted_bug_acknowledges_early();
        let later = if early {
            self.settle(written);
            None
        } else {
            Some(written)
        };
        let result = file.write_at(&buffer, position).await;
        result.map_err(|error| LogFault::from_io("write", &path, position, &error))?;
        if let Some(written) = later {
            if !self.state.borrow().retired {
                self.settle(written);
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------ roll

    /// Seals the active segment and begins the next at the next batch's offset.
    async fn roll(self: &Rc<Self>) -> Result<(), LogFault> {
        self.checkpoint().await?;
        let mut state = self.state.borrow_mut();
        let next = state.committed;
        let sealed = state.active().base;
        state.segments.push_back(Segment::empty(next));
        drop(state);
        self.shard.files.remove((self.number, sealed));
        self.shard.note_sealed_index(self, sealed);
        self.shard.probe.segments_rolled.add(1);
        Ok(())
    }

    /// Makes the active segment complete on disk: its file trimmed and synced, its indexes and the
    /// producers' snapshot beside it. Recovery begins here. Called with the files in hand (`Busy`).
    pub(super) async fn checkpoint(self: &Rc<Self>) -> Result<(), LogFault> {
        let (segment, producers, next, durability) = {
            let mut state = self.state.borrow_mut();
            let active = state.active_mut();
            if active.allocated == 0 {
                return Ok(());
            }
            if let Some(max) = active.max_timestamp {
                Rc::make_mut(active.index.as_mut().expect("active")).seal(max);
            }
            let segment = state.active().clone();
            // Only what is committed: a stop comes with nothing pending, a roll may have more dispatched.
            let mut producers = state.producers.clone();
            producers.truncate(state.committed);
            (segment, producers, state.committed, state.config.durability)
        };
        let path = self.segment_path(segment.base);
        let key = (self.number, segment.base);
        let file = self.shard.files.open(key, &path, Partition::file_options(durability)).await?;
        let fault = |error| LogFault::from_io("seal", &path, segment.end.0, &error);
        file.truncate(segment.end.0).await.map_err(fault)?;
        file.sync().await.map_err(fault)?;
        // The file is shorter now; should the next step fail, a later write must allocate again.
        self.state.borrow_mut().active_mut().allocated = segment.end.0.max(1);
        let index = segment.index.as_ref().expect("the active segment has its index");
        self.write_beside(segment.base, segment::INDEX_SUFFIX, &index.encode_offsets()).await?;
        self.write_beside(segment.base, segment::TIME_INDEX_SUFFIX, &index.encode_times()).await?;
        let snapshot = producers.encode(next);
        self.write_beside(next, segment::PRODUCERS_SUFFIX, &snapshot).await?;
        runtime::sync_directory(&self.directory).await.map_err(fault)
    }

    async fn write_beside(
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
        {
            let mut state = self.state.borrow_mut();
            if state.fault.is_some() || state.retired || state.phase != Phase::Idle {
                return state.fault.clone().map_or(Ok(()), Err);
            }
            state.phase = Phase::Busy;
        }
        let outcome = self.checkpoint().await;
        self.shard.files.remove_partition(self.number);
        self.release();
        outcome
    }
}

/// A bug to be found: the promise is given before the write has completed.
#[cfg(feature = "planted-bugs")]
fn planted_bug_acknowledges_early() -> bool {
    super::planted::is(super::planted::Bug::AcknowledgeBeforeWrite)
}

#[cfg(not(feature = "planted-bugs"))]
fn planted_bug_acknowledges_early() -> bool {
    false
}
