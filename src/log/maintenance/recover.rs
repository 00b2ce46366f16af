//! Opening a partition: from its newest checkpoint on, every batch is read and checked, and the log ends
//! after the last whole one.
//!
//! A checkpoint is a `.producers` snapshot: it says up to which offset all was complete and synced, and
//! the indexes beside it say where that is. So the scan is as long as what was written since, not as the
//! log. Bytes after the last whole batch are a torn tail and are cut. Not a tail, but damage, is what lies
//! before the checkpoint, and, where every commit was synced, what whole batches follow that no commit
//! in flight can have reached: then nothing is cut and the partition stays offline.
//!
//! What a killed process wrote may not be durable yet, so it is made so before anybody sees it.
//!
//! Runs on the partition's shard, before it serves; also when a full disk is tried again, while readers go
//! on: so the partition's state changes at the end, at once.

use super::scan::Scan;
use crate::limits::BLOCK_BYTES;
use crate::log::config::LogConfig;
use crate::log::fault::LogFault;
use crate::log::index::IndexedBatch;
use crate::log::partition::{Partition, PartitionId, State};
use crate::log::planted::{self, Bug};
use crate::log::producers::ProducerState;
use crate::log::reader::Place;
use crate::log::segment::{self, Segment};
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::log::verify::Succession;
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::{self, File, FileOptions};
use crate::types::{Durability, Offset, Position, Timestamp};
use crate::wire::batch::BatchHeader;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes rewritten at once when a recovered tail is made durable.
const REWRITE_BYTES: usize = 1 << 20;

/// What opening a partition found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub scanned_bytes: u64,
    pub cut_bytes: u64,
    /// Where the files end. The log begins after that when more was deleted than is left.
    pub end: Offset,
}

/// The files of a partition's folder that matter.
#[derive(Default)]
struct Listing {
    /// Base offset and length of each segment, ascending.
    segments: Vec<(Offset, u64)>,
    snapshots: Vec<Offset>,
    temporary: Vec<PathBuf>,
    /// Apache Kafka wrote here.
    foreign: bool,
    /// Commits may not have been synced.
    unsynced: bool,
}

/// What a partition was found to be, before its state says so.
struct Recovered {
    segments: Vec<Segment>,
    scan: Scan,
    recovery: Recovery,
    /// The files are as a checkpoint left them.
    clean: bool,
}

impl Partition {
    /// Opens a partition's log from its folder, or an empty one if there is none.
    ///
    /// # Errors
    /// A fault that names the file and place: then the partition cannot serve.
    pub async fn open(
        shard: &Rc<ShardLog>,
        id: PartitionId,
        config: Arc<LogConfig>,
        leader_epoch: i32,
        log_start: Offset,
    ) -> Result<Rc<Partition>, LogFault> {
        let directory = shard.options.data_directory.join(id.to_string());
        let state = State::new(config, leader_epoch, log_start);
        let partition = Partition::new(shard, id, directory, state);
        let opened = async {
            partition.set_stray_aside().await?;
            partition.recover(log_start).await
        };
        if let Err(fault) = opened.await {
            shard.files.remove_partition(partition.number);
            return Err(fault);
        }
        Ok(partition)
    }

    /// A partition that could not be opened: it answers with its fault.
    pub fn offline(
        shard: &Rc<ShardLog>,
        id: PartitionId,
        config: Arc<LogConfig>,
        leader_epoch: i32,
        log_start: Offset,
        fault: LogFault,
    ) -> Rc<Partition> {
        let directory = shard.options.data_directory.join(id.to_string());
        let state = State::new(config, leader_epoch, log_start);
        let partition = Partition::new(shard, id, directory, state);
        partition.fail(fault);
        partition
    }

    /// Reads the state anew from disk after a full disk stopped the partition, and takes it online.
    pub(in crate::log) async fn reopen(self: &Rc<Self>) -> Result<(), LogFault> {
        let log_start = self.log_start();
        self.shard.files.remove_partition(self.number);
        self.recover(log_start).await?;
        let mut state = self.state.borrow_mut();
        state.fault = None;
        state.generation += 1;
        tracing::info!(partition = %self.id, "partition is online again");
        drop(state);
        self.watch.wake_all();
        Ok(())
    }

    async fn recover(self: &Rc<Self>, log_start: Offset) -> Result<(), LogFault> {
        let listing = self.list().await?;
        for path in &listing.temporary {
            let removed = runtime::remove_file(path).await;
            removed.map_err(|error| LogFault::from_io("remove", path, 0, &error))?;
        }
        self.read_epochs(listing.foreign).await?;
        self.state.borrow_mut().marked_unsynced = listing.unsynced;
        let (mut producers, from) = self.newest_snapshot(&listing.snapshots).await?;
        let Some((last, bytes)) = listing.segments.last().copied() else {
            if from > log_start {
                let reason = format!("no segment is here, but the log was complete up to {from}");
                return Err(LogFault::damage(&self.directory, 0, reason));
            }
            self.adopt(log_start, None)?;
            return self.forget_later_epochs().await;
        };
        self.replay_sealed(&listing, from, &mut producers).await?;
        let (mut active, start) = self.resume_at(last, bytes, from).await?;
        let mut scan = Scan { next: last, from, producers, succession: self.tail_of(start, last) };
        let path = self.segment_path(last);
        let fault = |error| LogFault::from_io("recover", &path, 0, &error);
        let file = File::open(&path, FileOptions::default()).await.map_err(fault)?;
        let recovery = self.scan_tail(&file, &mut active, &mut scan).await?;
        let clean = recovery.cut_bytes == 0 && scan.next == from && bytes == active.end.0;
        if !clean {
            self.make_durable(&file, &mut active, &scan).await?;
        }
        let mut segments: Vec<Segment> =
            listing.segments.iter().map(|(base, bytes)| Segment::sealed(*base, *bytes)).collect();
        if scan.next < log_start {
            self.seal_deleted(&file, &active, &scan).await?;
            *segments.last_mut().expect("not empty") = Segment::sealed(last, active.end.0);
            segments.push(Segment::empty(log_start));
            scan.next = log_start;
        } else {
            *segments.last_mut().expect("not empty") = active;
        }
        file.close().await.map_err(fault)?;
        self.adopt(log_start, Some(Recovered { segments, scan, recovery, clean }))?;
        self.forget_later_epochs().await
    }

    async fn list(&self) -> Result<Listing, LogFault> {
        let mut listing = Listing::default();
        let entries = match runtime::list_directory(&self.directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            other => {
                other.map_err(|error| LogFault::from_io("list", &self.directory, 0, &error))?
            }
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_directory) {
            if entry.name.ends_with(segment::TEMPORARY_SUFFIX) {
                listing.temporary.push(self.directory.join(&entry.name));
                continue;
            }
            listing.unsynced |= entry.name == segment::UNSYNCED_NAME;
            match segment::parse_name(&entry.name) {
                Some((base, segment::LOG_SUFFIX)) => listing.segments.push((base, entry.length)),
                Some((offset, segment::PRODUCERS_SUFFIX)) => listing.snapshots.push(offset),
                Some((_, segment::KAFKA_SNAPSHOT_SUFFIX)) => listing.foreign = true,
                _ => {}
            }
        }
        listing.segments.sort();
        listing.snapshots.sort();
        Ok(listing)
    }

    /// The newest snapshot that is whole, and the offset that it covers; older ones than the one before
    /// are removed, they serve nobody any more.
    async fn newest_snapshot(
        &self,
        snapshots: &[Offset],
    ) -> Result<(ProducerState, Offset), LogFault> {
        for old in snapshots.iter().rev().skip(2) {
            let path = segment::file_path(&self.directory, *old, segment::PRODUCERS_SUFFIX);
            let removed = runtime::remove_file(&path).await;
            removed.map_err(|error| LogFault::from_io("remove", &path, 0, &error))?;
        }
        for offset in snapshots.iter().rev().take(2) {
            let path = segment::file_path(&self.directory, *offset, segment::PRODUCERS_SUFFIX);
            let bytes = match small_file::read(&path, ProducerState::SNAPSHOT_BYTES_MAX).await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
                other => other.map_err(|error| LogFault::from_io("read", &path, 0, &error))?,
            };
            let decoded = bytes.as_deref().and_then(ProducerState::decode);
            match decoded.filter(|(_, next)| next == offset) {
                Some(found) => return Ok(found),
                None => {
                    tracing::warn!(file = %path.display(), "a producers' snapshot is damaged");
                }
            }
        }
        Ok((ProducerState::default(), Offset::ZERO))
    }

    /// Notes the producers of sealed segments that the snapshot does not cover: those of a log that has
    /// no snapshot of ours, or whose newest one is damaged.
    async fn replay_sealed(
        self: &Rc<Self>,
        listing: &Listing,
        from: Offset,
        producers: &mut ProducerState,
    ) -> Result<(), LogFault> {
        // When they were stored nobody knows any more; a record's own time says nothing of it.
        let now = runtime::wall_clock();
        for pair in listing.segments.windows(2) {
            let ((base, bytes), (next_base, _)) = (pair[0], pair[1]);
            if next_base <= from {
                continue;
            }
            let start = IndexedBatch::default();
            let whole = Place { segment: base, start, end: Position(bytes), in_flight: false };
            self.scan_batches(whole, |header, _| {
                if header.base_offset >= from {
                    producers.note(header, now);
                }
                ControlFlow::Continue(())
            })
            .await?;
        }
        Ok(())
    }

    /// What is known of the active segment without a scan, and the batch at which the scan begins: the
    /// last before the checkpoint that the index names, else the first.
    async fn resume_at(
        self: &Rc<Self>,
        base: Offset,
        bytes: u64,
        from: Offset,
    ) -> Result<(Segment, IndexedBatch), LogFault> {
        let mut active = Segment { allocated: bytes, ..Segment::empty(base) };
        if from <= base {
            return Ok((active, IndexedBatch::default()));
        }
        let Some(index) = self.read_index(base, Position(bytes)).await? else {
            return Ok((active, IndexedBatch::default()));
        };
        let start = index.last_entry();
        let is_later = start.last_offset.is_some_and(|last| last >= from)
            || index.last_time().is_some_and(|(_, last)| last >= from);
        if start.last_offset.is_none()
            || is_later
            || !self.index_fits(&index, base, Position(bytes)).await?
        {
            return Ok((active, IndexedBatch::default()));
        }
        active.first_timestamp = self.first_time(base).await?;
        active.max_timestamp = index.last_time();
        active.end = start.position;
        active.index = Some(Rc::new(index));
        Ok((active, start))
    }

    /// The time of a segment's first batch.
    async fn first_time(&self, base: Offset) -> Result<Option<Timestamp>, LogFault> {
        use crate::limits::BATCH_HEADER_BYTES;
        let file = self.open_for_reading(base).await?;
        let bytes = self.read_exactly(&file, base, Position::ZERO, BATCH_HEADER_BYTES).await?;
        Ok(BatchHeader::parse(&bytes).ok().map(|header| header.max_timestamp))
    }

    /// What the batches of the active segment must be, and by which leader epochs they may go on.
    fn tail_of(&self, start: IndexedBatch, base: Offset) -> Succession {
        let state = self.state.borrow();
        let last_known = state.epochs.last().map_or(-1, |(epoch, _)| *epoch);
        let limit = state.epochs_known.then(|| state.leader_epoch.max(last_known));
        Succession::of_tail(start, base, state.gaps_allowed(), state.epochs.clone(), limit)
    }

    /// Makes sure that what was found stays. A killed process may have left a commit that the kernel has
    /// not written, and after an error of the device even a sync need not write it any more: so the last
    /// commit is written again. Its batches are those that reach into its longest possible extent.
    async fn make_durable(
        &self,
        file: &File,
        active: &mut Segment,
        scan: &Scan,
    ) -> Result<(), LogFault> {
        if self.state.borrow().config.durability != Durability::Fsync
            || planted::is(Bug::SkipSyncOfRecovered)
        {
            return Ok(());
        }
        let path = self.segment_path(active.base);
        let fault = |error| LogFault::from_io("recover", &path, active.end.0, &error);
        let commit = self.shard.options.commit_bytes_max.max(scan.succession.last_bytes()) as u64;
        let mut at = active.end.0.saturating_sub(commit) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        while at < active.end.0 {
            let length = REWRITE_BYTES.min((active.end.0 - at) as usize);
            let bytes = file.read_at(at, length).await.map_err(fault)?;
            if bytes.len() < length {
                let reason = format!("the file ends before {}", active.end);
                return Err(LogFault::damage(&path, at, reason));
            }
            let mut buffer = AlignedBuffer::allocate(length.next_multiple_of(BLOCK_BYTES));
            buffer.as_mut_slice()[..length].copy_from_slice(&bytes);
            buffer.as_mut_slice()[length..].fill(0);
            let buffer = buffer.freeze();
            file.write_at(&buffer, at).await.map_err(fault)?;
            at += length as u64;
            active.allocated = active.allocated.max(at.next_multiple_of(BLOCK_BYTES as u64));
        }
        file.sync().await.map_err(fault)?;
        self.unmark_unsynced().await?;
        self.sync_names().await
    }

    /// What was deleted is all there was, since power loss took the rest: the log goes on after it, in a
    /// segment of its own, and the last one has to be such that nothing follows in it.
    async fn seal_deleted(
        &self,
        file: &File,
        active: &Segment,
        scan: &Scan,
    ) -> Result<(), LogFault> {
        let path = self.segment_path(active.base);
        let fault = |error| LogFault::from_io("recover", &path, active.end.0, &error);
        file.truncate(active.end.0).await.map_err(fault)?;
        file.sync().await.map_err(fault)?;
        self.state.borrow_mut().epochs = scan.succession.epochs();
        self.write_epochs(false).await?;
        self.sync_names().await
    }

    /// Takes up what was read as the partition's state.
    fn adopt(&self, log_start: Offset, recovered: Option<Recovered>) -> Result<(), LogFault> {
        let mut state = self.state.borrow_mut();
        let durability = state.config.durability;
        let next = recovered.as_ref().map_or(log_start, |found| found.scan.next);
        if next < state.committed && durability != Durability::Memory {
            let reason = format!("the log ends at {next}, {} were promised", state.committed);
            return Err(LogFault::damage(&self.directory, 0, reason));
        }
        let empty = vec![Segment::empty(log_start)];
        let (segments, producers, clean) = match recovered {
            Some(Recovered { segments, scan, recovery, clean }) => {
                state.recovery = recovery;
                state.epochs = scan.succession.epochs();
                if recovery.cut_bytes > 0 {
                    let Recovery { scanned_bytes, cut_bytes, .. } = recovery;
                    tracing::warn!(partition = %self.id, end = %next, scanned_bytes, cut_bytes,
                        "cut a torn tail after the last whole batch");
                }
                (segments, scan.producers, clean)
            }
            None => (empty, ProducerState::default(), false),
        };
        let first = segments.first().expect("a log has a segment").base;
        state.log_start = log_start.max(first).min(next);
        state.segments = segments.into();
        state.producers = producers;
        (state.next_offset, state.committed) = (next, next);
        let last_epoch = state.epochs.last().map_or(0, |(known, _)| *known);
        state.leader_epoch = state.leader_epoch.max(last_epoch);
        state.opened = true;
        state.unsynced = !clean && durability != Durability::Fsync;
        state.checkpoint = clean.then_some(next);
        state.tail.clear();
        drop(state);
        self.shard.forget_cached_of(self.number);
        Ok(())
    }
}
