//! Opening a partition: from where it is known to be complete on, every batch is read and checked, and the
//! log ends after the last whole one.
//!
//! Two things say up to where all was complete and synced, and the later holds: the recovery point in the
//! shard's file, and the partition's own `.producers` snapshot, from its last sealed segment or a stop. So the
//! scan is as long as what was written since, not as the log. Bytes after the last whole batch are a torn
//! tail and are cut. Not a tail, but damage, is what lies before that place, and, where every commit was
//! synced, what whole batches follow that no commit in flight can have reached: then nothing is cut and the
//! partition stays offline.
//!
//! What a killed process wrote may not be durable yet, so it is made so before anybody sees it; a segment
//! that was rolled and not yet sealed is.
//!
//! Runs on the partition's shard, before it serves; also when a full disk is tried again, while readers go
//! on: so the partition's state changes at the end, at once.

use super::scan::{Scan, Window};
use crate::log::config::LogConfig;
use crate::log::fault::{LogFault, full_disk_of};
use crate::log::index::{IndexedBatch, SegmentIndex};
use crate::log::partition::{Partition, PartitionId, State};
use crate::log::producers::ProducerState;
use crate::log::recovery_points::RecoveryPoint;
use crate::log::segment::{self, Segment};
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::log::verify::Succession;
use crate::runtime::{self, File, FileOptions};
use crate::types::{Durability, Offset, Position, Timestamp};
use crate::wire::batch::BatchHeader;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Steps by which an index is written on that may be missing at its end: beyond, it is made anew.
pub(super) const GAP_STEPS_MAX: u64 = 4;

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
pub(super) struct Listing {
    /// Base offset and length of each segment, ascending.
    pub segments: Vec<(Offset, u64)>,
    pub snapshots: Vec<Offset>,
    /// Those that the device has lost, with its words; looked for by inspections only.
    pub lost_snapshots: Vec<(Offset, String)>,
    temporary: Vec<PathBuf>,
    /// Files of segments that were deleted and not freed.
    deleted: Vec<PathBuf>,
    indexes: Vec<(Offset, PathBuf)>,
    /// Apache Kafka wrote here.
    pub foreign: bool,
    /// Commits may not have been synced.
    pub unsynced: bool,
    /// A repair did not end.
    pub repairing: bool,
}

/// Up to where a log is known to be complete on disk, and by what.
pub(super) struct Known {
    pub next: Offset,
    pub producers: ProducerState,
    /// None: by a snapshot.
    point: Option<RecoveryPoint>,
    /// The partition's own snapshot says the same.
    is_snapshot_too: bool,
}

impl Known {
    /// The segment whose end the recovery point is, if no snapshot says that it was sealed there.
    pub(super) fn unsealed(&self) -> Option<Offset> {
        self.point.as_ref().filter(|_| !self.is_snapshot_too).map(|point| point.segment)
    }
}

/// What a partition was found to be, before its state says so.
pub(super) struct Recovered {
    pub segments: Vec<Segment>,
    pub scan: Scan,
    pub recovery: Recovery,
    /// The files are as a checkpoint left them.
    pub clean: bool,
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
        let serves_damaged = config.serves_damaged;
        let state = State::new(config, leader_epoch, log_start);
        let partition = Partition::new(shard, id, directory, state);
        partition.take_point();
        let opened = async {
            partition.set_stray_aside().await?;
            partition.recover(log_start).await
        };
        let opened = opened.await;
        if let Ok(Some(full)) = opened {
            // Readers are served, and whoever writes has it tried again.
            partition.fail(full);
            return Ok(partition);
        }
        if let Err(fault) = opened {
            if serves_damaged && partition.open_before(&fault, log_start).await {
                return Ok(partition);
            }
            shard.files.remove_partition(partition.number);
            partition.return_point();
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
        self.kept().await;
        self.shard.files.remove_partition(self.number);
        let is_first = !self.state.borrow().opened;
        if is_first {
            self.take_point();
        }
        let opened = async {
            if is_first {
                self.set_stray_aside().await?;
            }
            self.recover(log_start).await
        };
        let opened = opened.await;
        if opened.is_err() && is_first {
            self.return_point();
        }
        let full = opened?;
        let mut state = self.state.borrow_mut();
        state.generation += 1;
        if let Some(full) = full {
            return Err(full);
        }
        self.set_fault(&mut state, None);
        tracing::info!(partition = %self.id, "partition is online again");
        drop(state);
        self.watch.wake_all();
        // Segments may have expired meanwhile, and what was to be deleted is listed again.
        self.retain_later();
        Ok(())
    }

    /// What the folder holds, rid of what a crash left half made and of snapshots that serve nobody any more.
    pub(super) async fn take_stock(&self) -> Result<Listing, LogFault> {
        let listing = self.list().await?;
        if listing.repairing {
            let path = self.directory.join(segment::REPAIRING_NAME);
            let reason = "a repair of this partition did not end: run it again".to_string();
            return Err(LogFault::damage(&path, 0, reason));
        }
        // Those of deleted segments, whose records went first.
        let left = listing
            .indexes
            .iter()
            .filter(|(base, _)| listing.segments.first().is_some_and(|(oldest, _)| base < oldest));
        for path in listing.temporary.iter().chain(left.map(|(_, path)| path)) {
            let removed = runtime::remove_file(path).await;
            removed.map_err(|error| LogFault::from_io("remove", path, 0, &error))?;
        }
        if !listing.deleted.is_empty() {
            // Cut under a name that does not last, a segment would come back damaged.
            self.sync_names().await?;
        }
        for path in &listing.deleted {
            self.shard.free_file_later(path.clone());
        }
        self.read_epochs(listing.foreign).await?;
        {
            let mut state = self.state.borrow_mut();
            state.marked_unsynced = listing.unsynced;
            state.house.forget(&listing.snapshots);
        }
        if listing.unsynced {
            // The life that made the mark may have ended before its name was durable.
            self.sync_names().await?;
        }
        for old in listing.snapshots.iter().rev().skip(2) {
            let path = segment::file_path(&self.directory, *old, segment::PRODUCERS_SUFFIX);
            let removed = runtime::remove_file(&path).await;
            removed.map_err(|error| LogFault::from_io("remove", &path, 0, &error))?;
        }
        Ok(listing)
    }

    /// Reads the state from disk. What it gives is a full disk that left no room for what is written beside
    /// the records: all of them are there and durable, but nothing may be added yet.
    async fn recover(self: &Rc<Self>, log_start: Offset) -> Result<Option<LogFault>, LogFault> {
        let mut listing = self.take_stock().await?;
        let known = self.known_complete(&listing).await?;
        if listing.segments.is_empty() {
            if known.next > log_start {
                let end = known.next;
                let reason = format!("no segment is here, but the log was complete up to {end}");
                return Err(LogFault::damage(&self.directory, 0, reason));
            }
            self.adopt(log_start, None)?;
            return self.forget_later_epochs().await.map(|()| None);
        }
        let mut full = None;
        let mut segments: Vec<Segment> =
            listing.segments.iter().map(|(base, bytes)| Segment::sealed(*base, *bytes)).collect();
        let (from, is_snapshot_too) = (known.next, known.is_snapshot_too);
        let (mut at, mut active, mut scan) = self.resume(&listing, known, log_start).await?;
        let mut recovery = Recovery::default();
        while let Some((next_base, _)) = listing.segments.get(at + 1).copied() {
            let goes_on =
                self.scan_rolled(&mut active, &mut scan, next_base, &mut recovery).await?;
            if !goes_on {
                self.remove_later(&mut listing, at).await?;
                segments.truncate(at + 1);
                break;
            }
            full = full.or(self.complete_rolled(&active, &scan, next_base).await?);
            segments[at] = Segment::sealed(active.base, active.end.0);
            at += 1;
            let (base, bytes) = listing.segments[at];
            active = Segment { allocated: bytes, ..Segment::empty(base) };
            scan.begin_segment(self, IndexedBatch::default(), base);
        }
        let (last, bytes) = (active.base, active.allocated);
        let path = self.segment_path(last);
        let fault = |error| LogFault::from_io("recover", &path, 0, &error);
        let file = File::open(&path, FileOptions::default()).await.map_err(fault)?;
        let tail = self.scan_tail(&file, &mut active, &mut scan).await?;
        recovery.scanned_bytes += tail.scanned_bytes;
        (recovery.cut_bytes, recovery.end) = (recovery.cut_bytes + tail.cut_bytes, tail.end);
        let clean = recovery.cut_bytes == 0 && scan.next == from && bytes == active.end.0;
        // An empty file may be what a start made of it that died before the cut was durable.
        let clean = clean && is_snapshot_too && active.end > Position::ZERO;
        // The next stop leaves an index that serves.
        let clean = clean && !self.state.borrow().house.is_index_stale;
        if !clean {
            self.make_durable(&file, &mut active, &scan).await?;
        }
        let place = segments.last_mut().expect("not empty");
        if scan.next < log_start {
            full = full.or(self.seal_deleted(&file, &mut active, &scan).await?);
            *place = Segment::sealed(last, active.end.0);
            segments.push(Segment::empty(log_start));
            scan.next = log_start;
        } else {
            *place = active;
        }
        file.close().await.map_err(fault)?;
        self.adopt(log_start, Some(Recovered { segments, scan, recovery, clean }))?;
        if let Some(full) = &full {
            // What knows of the last sealed segment's producers is not written.
            self.state.borrow_mut().house.fail(full.clone());
        }
        let forgotten = full_disk_of(self.forget_later_epochs().await)?;
        Ok(full.or(forgotten))
    }

    /// What is known to be complete: by the shard's recovery point, or by a snapshot of the partition.
    pub(super) async fn known_complete(&self, listing: &Listing) -> Result<Known, LogFault> {
        let snapshot = self.known_by_snapshot(listing).await?;
        let next = snapshot.next;
        let Some(point) = self.state.borrow().point.clone() else { return Ok(snapshot) };
        if point.next < next {
            return Ok(snapshot);
        }
        let found = listing.segments.iter().find(|(base, _)| *base == point.segment);
        let oldest = listing.segments.first().map(|(base, _)| *base);
        match found {
            Some((_, bytes)) if *bytes >= point.end.0 => {}
            // Retention took it, and what came next.
            None if oldest.is_some_and(|oldest| oldest >= point.next) => return Ok(snapshot),
            found => {
                let path = self.segment_path(point.segment);
                let (bytes, end) = (found.map_or(0, |(_, bytes)| *bytes), point.end);
                let reason = format!("it has {bytes} bytes where {end} were complete");
                return Err(LogFault::damage(&path, bytes, reason));
            }
        }
        let Some((producers, _)) = ProducerState::decode(&point.producers) else {
            return Ok(snapshot);
        };
        let is_snapshot_too = point.next == next;
        Ok(Known { next: point.next, producers, point: Some(point), is_snapshot_too })
    }

    /// What a snapshot of the partition alone says.
    pub(super) async fn known_by_snapshot(&self, listing: &Listing) -> Result<Known, LogFault> {
        let (producers, next) = self.newest_snapshot(&listing.snapshots).await?;
        Ok(Known { next, producers, point: None, is_snapshot_too: true })
    }

    /// Where the scan begins: the place of a segment among all, what is known of it, and the scan.
    pub(super) async fn resume(
        self: &Rc<Self>,
        listing: &Listing,
        known: Known,
        log_start: Offset,
    ) -> Result<(usize, Segment, Scan), LogFault> {
        let Known { next: from, producers, point, .. } = known;
        // The segment that holds the place, or that it is the end of.
        let after = listing.segments.partition_point(|(base, _)| *base <= from);
        let mut at = after.saturating_sub(1);
        if let Some(point) = &point {
            at = listing.segments.partition_point(|(base, _)| *base < point.segment);
            self.learn_epochs(point.epochs.clone());
        }
        let (base, bytes) = listing.segments[at];
        let resumed = match &point {
            Some(point) => self.resume_at_point(point, bytes).await?,
            None => None,
        };
        let (active, start, next) = match resumed {
            Some(active) => (active, IndexedBatch::default(), Some(from)),
            // All of it is read, and its index made anew.
            None if point.is_some() => {
                self.state.borrow_mut().house.is_index_stale = true;
                let active = Segment { allocated: bytes, ..Segment::empty(base) };
                (active, IndexedBatch::default(), None)
            }
            None => {
                let (active, start) = self.resume_at(base, bytes, from).await?;
                (active, start, None)
            }
        };
        let succession = match next {
            Some(next) => self.tail_of(IndexedBatch::default(), base).after(next),
            None => self.tail_of(start, base),
        };
        let durable = next.map_or(Position::ZERO, |_| active.end);
        let next = next.unwrap_or(base);
        let observer = None;
        let scan = Scan { next, log_start, from, producers, succession, durable, observer };
        Ok((at, active, scan))
    }

    /// The segment as it was at a recovery point, if its index reaches near enough.
    async fn resume_at_point(
        self: &Rc<Self>,
        point: &RecoveryPoint,
        bytes: u64,
    ) -> Result<Option<Segment>, LogFault> {
        let base = point.segment;
        let mut index = SegmentIndex::new(base);
        let step = self.shard.options.index_step_bytes;
        if point.end.0 > step
            && let Some(mut read) = self.read_index(base, Position(bytes)).await?
        {
            read.truncate(point.end, point.next);
            if self.index_fits(&read, base, point.end).await? {
                index = read;
            }
        }
        // An entry is a batch apart from the next at least.
        let batch_bytes_max = self.state.borrow().config.message_bytes_max as u64;
        let gap_max = GAP_STEPS_MAX * step + batch_bytes_max;
        if point.end - index.last_entry().position > gap_max {
            return Ok(None);
        }
        index.continue_at(point.end);
        Ok(Some(Segment {
            base,
            end: point.end,
            allocated: bytes,
            first_timestamp: point.first_timestamp,
            max_timestamp: point.max_timestamp,
            modified: None,
            index: Some(Rc::new(index)),
        }))
    }

    /// Reads on in a segment that another follows: it was rolled and may not be sealed yet. False when the
    /// log ends in it all the same, because nothing promised that it would not.
    async fn scan_rolled(
        self: &Rc<Self>,
        segment: &mut Segment,
        scan: &mut Scan,
        next_base: Offset,
        recovery: &mut Recovery,
    ) -> Result<bool, LogFault> {
        let path = self.segment_path(segment.base);
        let fault = |error| LogFault::from_io("recover", &path, 0, &error);
        let file = File::open(&path, FileOptions::default()).await.map_err(fault)?;
        let (start, mut window) = (segment.end, Window::default());
        let stop = self.scan_batches_of(&file, segment, scan, &mut window).await?;
        let judged = self.judge_rolled(&file, segment, scan, stop, next_base, &mut window).await;
        recovery.scanned_bytes += segment.end - start;
        if !judged? {
            return Ok(false);
        }
        // Its length may be as it should and not durable: after a sync that failed the next one says nothing.
        // So it is changed again.
        file.truncate(segment.end.0 + 1).await.map_err(fault)?;
        file.truncate(segment.end.0).await.map_err(fault)?;
        segment.allocated = segment.end.0;
        if let Some(max) = segment.max_timestamp {
            Rc::make_mut(segment.index.as_mut().expect("scanned")).seal(max);
        }
        let synced = file.sync().await;
        synced.map_err(|error| LogFault::of_sync(&path, segment.end.0, &error))?;
        file.close().await.map_err(fault)?;
        self.learn_epochs(scan.succession.epochs());
        Ok(true)
    }

    /// Writes what a sealed segment has beside its records. Gives what a full disk kept from being written.
    pub(super) async fn complete_rolled(
        self: &Rc<Self>,
        segment: &Segment,
        scan: &Scan,
        next_base: Offset,
    ) -> Result<Option<LogFault>, LogFault> {
        let full = full_disk_of(self.write_beside_rolled(segment, scan, next_base).await)?;
        if full.is_some() {
            // What is left of them may end before the segment does.
            self.remove_indexes(segment.base).await?;
        }
        self.sync_names().await?;
        Ok(full)
    }

    async fn write_beside_rolled(
        self: &Rc<Self>,
        segment: &Segment,
        scan: &Scan,
        next_base: Offset,
    ) -> Result<(), LogFault> {
        self.complete_index(segment).await?;
        // Retention may take the segment next; what it knew of producers stays.
        let snapshot = scan.producers.encode(next_base);
        self.write_epochs(false).await?;
        self.write_beside(next_base, segment::PRODUCERS_SUFFIX, &snapshot).await?;
        self.sync_names().await?;
        self.drop_old_snapshots(next_base).await;
        Ok(())
    }

    /// Removes what follows the end of a log that was not synced.
    async fn remove_later(&self, listing: &mut Listing, at: usize) -> Result<(), LogFault> {
        for (base, _) in listing.segments.drain(at + 1..) {
            self.remove_segment_files(base).await?;
            tracing::warn!(partition = %self.id, segment = %base,
                "removed a segment behind the end of what survived of a log without fsync");
        }
        self.sync_names().await
    }

    pub(super) async fn list(&self) -> Result<Listing, LogFault> {
        let mut listing = Listing::default();
        let entries = match runtime::list_directory(&self.directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            other => {
                other.map_err(|error| LogFault::from_io("list", &self.directory, 0, &error))?
            }
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_directory) {
            if entry.name.ends_with(segment::TEMPORARY_END) {
                listing.temporary.push(self.directory.join(&entry.name));
                continue;
            }
            if entry.name.ends_with(segment::DELETED_END) {
                listing.deleted.push(self.directory.join(&entry.name));
                continue;
            }
            listing.unsynced |= entry.name == segment::UNSYNCED_NAME;
            listing.repairing |= entry.name == segment::REPAIRING_NAME;
            match segment::parse_name(&entry.name) {
                Some((base, segment::LOG_SUFFIX)) => listing.segments.push((base, entry.length)),
                Some((offset, segment::PRODUCERS_SUFFIX)) => listing.snapshots.push(offset),
                Some((base, segment::INDEX_SUFFIX | segment::TIME_INDEX_SUFFIX)) => {
                    listing.indexes.push((base, self.directory.join(&entry.name)));
                }
                Some((_, segment::KAFKA_SNAPSHOT_SUFFIX)) => listing.foreign = true,
                _ => {}
            }
        }
        listing.segments.sort();
        listing.snapshots.sort();
        Ok(listing)
    }

    /// The newest snapshot that is whole, and the offset that it covers.
    async fn newest_snapshot(
        &self,
        snapshots: &[Offset],
    ) -> Result<(ProducerState, Offset), LogFault> {
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
            self.state.borrow_mut().house.is_index_stale = true;
            return Ok((active, IndexedBatch::default()));
        };
        let start = index.last_entry();
        let is_later = start.last_offset.is_some_and(|last| last >= from)
            || index.last_time().is_some_and(|(_, last)| last >= from);
        if start.last_offset.is_none()
            || is_later
            || !self.index_fits(&index, base, Position(bytes)).await?
        {
            self.state.borrow_mut().house.is_index_stale = is_later || start.last_offset.is_some();
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
    pub(super) fn tail_of(&self, start: IndexedBatch, base: Offset) -> Succession {
        let state = self.state.borrow();
        let last_known = state.epochs.last().map_or(-1, |(epoch, _)| *epoch);
        let limit = state.epochs_known.then(|| state.leader_epoch.max(last_known));
        Succession::of_tail(start, base, state.gaps_allowed(), state.epochs.clone(), limit)
    }

    /// Takes up what was read as the partition's state.
    pub(super) fn adopt(
        &self,
        log_start: Offset,
        recovered: Option<Recovered>,
    ) -> Result<(), LogFault> {
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
        // DeleteRecords may have raised it while the files were read anew.
        state.log_start = state.log_start.max(log_start).max(first).min(next);
        state.segments = segments.into();
        state.house.begin_anew();
        state.producers = producers;
        (state.next_offset, state.committed) = (next, next);
        let last_epoch = state.epochs.last().map_or(0, |(known, _)| *known);
        state.leader_epoch = state.leader_epoch.max(last_epoch);
        state.opened = true;
        state.unsynced = !clean && durability != Durability::Fsync;
        state.checkpoint = clean.then_some(next);
        state.tail.clear();
        let scanned_bytes = state.recovery.scanned_bytes;
        drop(state);
        self.shard.forget_cached_of(self.number);
        self.shard.note_unsaved(scanned_bytes);
        Ok(())
    }
}
