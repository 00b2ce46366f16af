//! Opening a partition: from its newest checkpoint on, every batch is read and checked, and the log ends
//! after the last whole one.
//!
//! A checkpoint is a `.producers` snapshot: it says up to which offset all was complete and synced, and
//! the indexes beside it say where that is. So the scan is as long as what was written since, not as the
//! log. Bytes after the last whole batch are a torn tail and are cut; but whole batches far behind damage
//! mean that the damage is not a tail, and then nothing is cut and the partition stays offline.
//!
//! Runs on the partition's shard, before it serves; also when a full disk is tried again.

use crate::limits::{BATCH_BYTES_MAX, BATCH_HEADER_BYTES, COMMIT_BYTES_MAX};
use crate::log::config::LogConfig;
use crate::log::fault::LogFault;
use crate::log::partition::{Partition, PartitionId, State};
use crate::log::producers::ProducerState;
use crate::log::segment::{self, Segment};
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::runtime::buffer::BufferSlice;
use crate::runtime::{self, File, FileOptions};
use crate::types::{Offset, Position, Timestamp};
use crate::wire::batch::{self, BatchHeader};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes read at once by the scan; a larger batch is read whole.
const SCAN_BYTES: usize = 1 << 20;
/// How far behind the first damaged byte a whole batch may lie if the damage is a torn commit.
const TORN_BYTES_MAX: u64 = (COMMIT_BYTES_MAX + BATCH_BYTES_MAX) as u64;
/// Kafka's file of leader epochs is small: an epoch a line.
const EPOCH_FILE_BYTES_MAX: usize = 16 << 20;

/// What opening a partition found, for the log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub scanned_bytes: u64,
    pub cut_bytes: u64,
}

/// The files of a partition's folder that matter.
#[derive(Default)]
struct Listing {
    /// Base offset and length of each segment, ascending.
    segments: Vec<(Offset, u64)>,
    snapshots: Vec<Offset>,
    temporary: Vec<PathBuf>,
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
        partition.set_stray_aside().await?;
        partition.recover(log_start).await?;
        Ok(partition)
    }

    /// A partition that could not be opened: it answers with its fault.
    pub fn offline(
        shard: &Rc<ShardLog>,
        id: PartitionId,
        config: Arc<LogConfig>,
        log_start: Offset,
        fault: LogFault,
    ) -> Rc<Partition> {
        let directory = shard.options.data_directory.join(id.to_string());
        let partition = Partition::new(shard, id, directory, State::new(config, 0, log_start));
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

    async fn recover(self: &Rc<Self>, log_start: Offset) -> Result<Recovery, LogFault> {
        let listing = self.list().await?;
        for path in &listing.temporary {
            let removed = runtime::remove_file(path).await;
            removed.map_err(|error| LogFault::from_io("remove", path, 0, &error))?;
        }
        let Some((last, _)) = listing.segments.last().copied() else {
            self.adopt(log_start, vec![Segment::empty(log_start)], ProducerState::default());
            return Ok(Recovery::default());
        };
        let mut segments: Vec<Segment> =
            listing.segments.iter().map(|(base, bytes)| Segment::sealed(*base, *bytes)).collect();
        let (mut producers, from) = self.newest_snapshot(&listing.snapshots).await?;
        self.install_segments(&segments);
        self.read_epochs().await?;
        self.replay_sealed(&listing, last, from, &mut producers).await?;
        let mut active = Segment::empty(last);
        active.allocated = listing.segments.last().map_or(0, |(_, bytes)| *bytes);
        let (start, next) = self.resume_at(&mut active, from.max(last)).await?;
        let mut scan = Scan { next, from, producers, start };
        let recovery = self.scan_tail(&mut active, &mut scan).await?;
        *segments.last_mut().expect("not empty") = active;
        let next = scan.next;
        self.adopt_at(log_start, segments, scan.producers, next);
        if recovery.cut_bytes > 0 {
            let Recovery { scanned_bytes, cut_bytes } = recovery;
            tracing::warn!(partition = %self.id, end = %next, scanned_bytes, cut_bytes,
                "cut a torn tail after the last whole batch");
        }
        Ok(recovery)
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
            match segment::parse_name(&entry.name) {
                Some((base, segment::LOG_SUFFIX)) => listing.segments.push((base, entry.length)),
                Some((offset, segment::PRODUCERS_SUFFIX)) => listing.snapshots.push(offset),
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

    /// Kafka's `leader-epoch-checkpoint`, for a log that Kafka wrote.
    async fn read_epochs(&self) -> Result<(), LogFault> {
        let path = self.directory.join("leader-epoch-checkpoint");
        let bytes = match small_file::read(&path, EPOCH_FILE_BYTES_MAX).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(()),
            other => other.map_err(|error| LogFault::from_io("read", &path, 0, &error))?,
        };
        let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Ok(());
        };
        let mut state = self.state.borrow_mut();
        for line in text.lines().skip(2) {
            let Some((epoch, start)) = line.trim().split_once(' ') else { continue };
            if let (Ok(epoch), Ok(start)) = (epoch.parse(), start.trim().parse()) {
                state.note_epoch(epoch, Offset(start));
            }
        }
        Ok(())
    }

    /// Notes the producers of sealed segments that the snapshot does not cover: those of a log that has
    /// no snapshot of ours, or whose newest one is damaged.
    async fn replay_sealed(
        self: &Rc<Self>,
        listing: &Listing,
        active: Offset,
        from: Offset,
        producers: &mut ProducerState,
    ) -> Result<(), LogFault> {
        let now = runtime::wall_clock();
        for pair in listing.segments.windows(2) {
            let ((base, bytes), (next_base, _)) = (pair[0], pair[1]);
            if next_base <= from || base >= active {
                continue;
            }
            self.scan_headers(base, Position::ZERO, Position(bytes), |header, _| {
                if header.base_offset >= from {
                    producers.note(header, stored_at(header, now));
                }
                true
            })
            .await?;
        }
        Ok(())
    }

    /// Where in the active segment the scan begins, with the offset expected there: at the checkpoint if
    /// its index says where that is, else at the start.
    async fn resume_at(
        self: &Rc<Self>,
        active: &mut Segment,
        from: Offset,
    ) -> Result<(Position, Offset), LogFault> {
        let end = Position(active.allocated);
        if from <= active.base {
            return Ok((Position::ZERO, active.base));
        }
        let Some(index) = self.read_index(active.base, end).await? else {
            return Ok((Position::ZERO, active.base));
        };
        let path = self.segment_path(active.base);
        let file = self.open_scan_file(active.base).await?;
        let position = index.locate(from);
        let bytes = file.read_at(position.0, BATCH_HEADER_BYTES).await;
        let bytes = bytes.map_err(|error| LogFault::from_io("read", &path, position.0, &error))?;
        // An index is believed when the batch that it names is there.
        let named = BatchHeader::parse(&bytes).ok().filter(|header| {
            header.base_offset <= from && index.locate(header.base_offset) == position
        });
        let Some(header) = named else { return Ok((Position::ZERO, active.base)) };
        let first = file.read_at(0, BATCH_HEADER_BYTES).await;
        let first = first.map_err(|error| LogFault::from_io("read", &path, 0, &error))?;
        if let Ok(first) = BatchHeader::parse(&first) {
            active.first_timestamp = Some(first.max_timestamp);
        }
        active.max_timestamp = index.last_time();
        active.end = position;
        active.index = Some(Rc::new(index));
        Ok((position, header.base_offset))
    }

    async fn open_scan_file(&self, base: Offset) -> Result<File, LogFault> {
        let path = self.segment_path(base);
        let file = File::open(&path, FileOptions::default()).await;
        file.map_err(|error| LogFault::from_io("open", &path, 0, &error))
    }

    /// Checks every batch from the scan's start on and finds the log's end.
    async fn scan_tail(
        self: &Rc<Self>,
        active: &mut Segment,
        scan: &mut Scan,
    ) -> Result<Recovery, LogFault> {
        let path = self.segment_path(active.base);
        let file = self.open_scan_file(active.base).await?;
        let length = active.allocated;
        let read_fault = |at: u64, error| LogFault::from_io("read", &path, at, &error);
        let interval = self.state.borrow().config.index_interval_bytes;
        let now = runtime::wall_clock();
        let mut position = scan.start;
        let mut window = Window::default();
        let stop = loop {
            let batch = window.batch_at(&file, position, length).await;
            let batch = batch.map_err(|error| read_fault(position.0, error))?;
            let header = match batch {
                Some(bytes) => batch::parse_whole(&bytes).map_err(|error| error.to_string()),
                None => break None,
            };
            let header = match header {
                Ok(header) if header.base_offset >= scan.next => header,
                Ok(header) => {
                    break Some(format!("offset {} follows {}", header.base_offset, scan.next));
                }
                Err(reason) => break Some(reason),
            };
            self.note_scanned(active, scan, &header, position, interval, now);
            position = position + header.batch_bytes as u64;
        };
        active.end = position;
        let cut = self.cut_tail(&file, active, scan.next, stop, &mut window).await?;
        file.close().await.map_err(|error| read_fault(position.0, error))?;
        Ok(Recovery { scanned_bytes: position - scan.start, cut_bytes: cut })
    }

    fn note_scanned(
        &self,
        active: &mut Segment,
        scan: &mut Scan,
        header: &BatchHeader,
        position: Position,
        interval: u64,
        now: Timestamp,
    ) {
        scan.next = header.next_offset();
        if header.base_offset >= scan.from {
            scan.producers.note(header, stored_at(header, now));
        }
        active.first_timestamp.get_or_insert(header.max_timestamp);
        active.note_time(header.max_timestamp, header.last_offset());
        self.state.borrow_mut().note_epoch(header.leader_epoch, header.base_offset);
        let index = Rc::make_mut(active.index.as_mut().expect("the active segment has its index"));
        // The entry where the scan began is in the index already.
        if position > index.last_position() || position == Position::ZERO {
            let range = (header.base_offset, header.last_offset());
            let max = active.max_timestamp.expect("just noted");
            index.note_batch(range, position, header.batch_bytes as u64, max, interval);
        }
    }

    /// Cuts what follows the last whole batch, if anything does that is not zeros.
    async fn cut_tail(
        &self,
        file: &File,
        active: &mut Segment,
        next: Offset,
        stop: Option<String>,
        window: &mut Window,
    ) -> Result<u64, LogFault> {
        let path = self.segment_path(active.base);
        let fault = |error| LogFault::from_io("cut", &path, active.end.0, &error);
        let dirty = window.last_nonzero(file, active.end, active.allocated).await.map_err(fault)?;
        let Some(last) = dirty else { return Ok(0) };
        let reason = stop.unwrap_or_else(|| "the file ends within a batch".to_string());
        let beyond = Position(active.end.0 + TORN_BYTES_MAX);
        if last > beyond {
            let later = window.find_batch(file, beyond, last, next).await.map_err(fault)?;
            if let Some(later) = later {
                let reason = format!("{reason}, but a whole batch follows at byte {later}");
                return Err(LogFault::damage(&path, active.end.0, reason));
            }
        }
        // Nothing of the old tail may come back when later writes end before it.
        file.truncate(active.end.0).await.map_err(fault)?;
        file.sync().await.map_err(fault)?;
        active.allocated = active.end.0.max(1);
        Ok(last - active.end)
    }

    fn install_segments(&self, segments: &[Segment]) {
        self.state.borrow_mut().segments = segments.iter().cloned().collect();
    }

    fn adopt(&self, log_start: Offset, segments: Vec<Segment>, producers: ProducerState) {
        self.adopt_at(log_start, segments, producers, log_start);
    }

    /// Takes up what was read as the partition's state.
    fn adopt_at(
        &self,
        log_start: Offset,
        segments: Vec<Segment>,
        producers: ProducerState,
        next: Offset,
    ) {
        let mut state = self.state.borrow_mut();
        let first = segments.first().expect("a log has a segment").base;
        let (epoch, start) = (state.leader_epoch, log_start.max(first));
        state.log_start = start.min(next);
        state.segments = segments.into();
        state.producers = producers;
        (state.next_offset, state.committed) = (next, next);
        state.leader_epoch = state.epochs.last().map_or(epoch, |(known, _)| epoch.max(*known));
        if state.epochs.is_empty() {
            state.note_epoch(epoch, start);
        }
        self.shard.forget_cached(state.tail.bytes());
        state.tail.clear();
    }
}

/// How far a scan has come.
struct Scan {
    next: Offset,
    /// Producers are noted from here on; before, the snapshot knows them.
    from: Offset,
    producers: ProducerState,
    start: Position,
}

/// When a batch was stored, as far as the log tells: its own time, but not in the future.
fn stored_at(header: &BatchHeader, now: Timestamp) -> Timestamp {
    if header.max_timestamp.0 < 0 { now } else { header.max_timestamp.min(now) }
}

/// A piece of the file in memory, moved along by the scan.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Option<BufferSlice>,
}

impl Window {
    /// The bytes at `position`, at least `length` of them if the file has them.
    async fn at(
        &mut self,
        file: &File,
        position: u64,
        length: usize,
        file_length: u64,
    ) -> io::Result<BufferSlice> {
        let have = self.bytes.as_ref().map_or(0, |bytes| bytes.len());
        let end = (position + length as u64).min(file_length);
        let held = position >= self.start && end <= self.start + have as u64;
        if !held || self.bytes.is_none() {
            let wish = SCAN_BYTES.max(length).min((file_length - position) as usize);
            self.bytes = Some(file.read_at(position, wish).await?);
            self.start = position;
        }
        let bytes = self.bytes.as_ref().expect("just read");
        Ok(bytes.slice(((position - self.start) as usize).min(bytes.len())..bytes.len()))
    }

    /// The whole batch at `position`, or as much as there is; `None` where the log may end: at the file's
    /// end, or at zeros.
    async fn batch_at(
        &mut self,
        file: &File,
        position: Position,
        file_length: u64,
    ) -> io::Result<Option<BufferSlice>> {
        if position.0 >= file_length {
            return Ok(None);
        }
        let head = self.at(file, position.0, BATCH_HEADER_BYTES, file_length).await?;
        if head.iter().take(BATCH_HEADER_BYTES).all(|byte| *byte == 0) {
            return Ok(None);
        }
        let Ok(header) = BatchHeader::parse(&head) else { return Ok(Some(head)) };
        let bytes = self.at(file, position.0, header.batch_bytes, file_length).await?;
        let length = header.batch_bytes.min(bytes.len());
        Ok(Some(bytes.slice(0..length)))
    }

    /// The last byte at or after `start` that is not zero.
    async fn last_nonzero(
        &mut self,
        file: &File,
        start: Position,
        file_length: u64,
    ) -> io::Result<Option<Position>> {
        let (mut at, mut last) = (start.0, None);
        while at < file_length {
            let bytes = self.at(file, at, 1, file_length).await?;
            if bytes.is_empty() {
                break;
            }
            if let Some(found) = bytes.iter().rposition(|byte| *byte != 0) {
                last = Some(Position(at + found as u64));
            }
            at += bytes.len() as u64;
        }
        Ok(last)
    }

    /// A whole batch of at least offset `next` that begins between two positions.
    async fn find_batch(
        &mut self,
        file: &File,
        start: Position,
        end: Position,
        next: Offset,
    ) -> io::Result<Option<Position>> {
        let file_length = end.0 + 1;
        let mut at = start.0;
        while at + BATCH_HEADER_BYTES as u64 <= file_length {
            let bytes = self.at(file, at, BATCH_HEADER_BYTES, file_length).await?;
            let last = bytes.len().saturating_sub(BATCH_HEADER_BYTES);
            let found = (0..=last).find(|from| {
                BatchHeader::parse(&bytes[*from..]).is_ok_and(|header| {
                    header.base_offset >= next
                        && header.record_count == header.last_offset_delta + 1
                })
            });
            let Some(from) = found else {
                at += last as u64 + 1;
                continue;
            };
            let position = Position(at + from as u64);
            let batch = self.batch_at(file, position, file_length).await?;
            if batch.is_some_and(|bytes| batch::parse_whole(&bytes).is_ok()) {
                return Ok(Some(position));
            }
            at = position.0 + 1;
        }
        Ok(None)
    }
}
