//! The scan of a log's tail: batch after batch from the checkpoint on, and what becomes of the bytes after
//! the last whole one. Runs on the partition's shard while it opens.

use super::observe::Observer;
use super::recover::Recovery;
use crate::limits::{BATCH_HEADER_BYTES, BLOCK_BYTES};
use crate::log::fault::LogFault;
use crate::log::index::IndexedBatch;
use crate::log::partition::Partition;
use crate::log::planted::{self, Bug};
use crate::log::producers::ProducerState;
use crate::log::segment::Segment;
use crate::log::verify::{Succession, Wrong};
use crate::runtime::buffer::{AlignedBuffer, BufferSlice};
use crate::runtime::{self, File};
use crate::types::{Offset, Position, Timestamp};
use crate::wire::batch::{self, BatchHeader};
use std::io;
use std::rc::Rc;

/// Bytes read at once by the scan; a larger batch is read whole.
const SCAN_BYTES: usize = 1 << 20;
/// Bytes whose checksum is computed at most while looking for a whole batch behind damage: anything may
/// look like a header, also what a client sent. At it, the damage counts as no torn tail.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Why a walk over batches ended where it did.
pub(super) enum Stop {
    /// The file ends there, or zeros begin.
    End,
    /// No whole batch is there: what a crash may have left.
    Torn(String),
    /// A whole batch is there that does not belong there.
    Misplaced(String),
}

/// How far a scan has come.
pub(super) struct Scan {
    pub next: Offset,
    /// Where the log begins, as far as it was told.
    pub log_start: Offset,
    /// The checkpoint: producers are noted from here on; before, the snapshot knows them.
    pub from: Offset,
    pub producers: ProducerState,
    pub succession: Succession,
    /// Where in the segment that place is, once it is known; before, all may have to be made durable.
    pub durable: Position,
    /// Sees every batch, when somebody inspects the log.
    pub observer: Option<Observer>,
}

impl Partition {
    /// Checks every batch from the active segment's `end` on, as far as that is known, and moves it to
    /// the log's end.
    pub(super) async fn scan_tail(
        self: &Rc<Self>,
        file: &File,
        active: &mut Segment,
        scan: &mut Scan,
    ) -> Result<Recovery, LogFault> {
        let start = active.end;
        let mut window = Window::default();
        let stop = self.scan_batches_of(file, active, scan, &mut window).await?;
        let torn = self.judge_tail(file, active, scan, stop, &mut window).await?;
        let cut_bytes = self.cut_tail(file, active, torn).await?;
        Ok(Recovery { scanned_bytes: active.end - start, cut_bytes, end: scan.next })
    }

    /// Walks over batches up to the first that is none, and says why it is none.
    pub(super) async fn scan_batches_of(
        self: &Rc<Self>,
        file: &File,
        active: &mut Segment,
        scan: &mut Scan,
        window: &mut Window,
    ) -> Result<Stop, LogFault> {
        let path = self.segment_path(active.base);
        let length = active.allocated;
        let interval = self.state.borrow().config.index_interval_bytes;
        // When a batch was stored nobody knows any more; its records' time says nothing of it.
        let now = runtime::wall_clock();
        loop {
            let batch = window.batch_at(file, active.end, length).await;
            let position = active.end.0;
            let batch =
                batch.map_err(|error| LogFault::from_io("read", &path, position, &error))?;
            let Some(bytes) = batch else { return Ok(Stop::End) };
            match scan.check(&bytes) {
                Ok(header) => scan.note(active, &header, interval, now),
                Err(Wrong::Misplaced(reason)) if !begins_torn(active.end, &bytes) => {
                    return Ok(Stop::Misplaced(reason));
                }
                Err(Wrong::Torn(reason) | Wrong::Misplaced(reason)) => {
                    return Ok(Stop::Torn(reason));
                }
            }
            runtime::yield_if_needed().await;
        }
    }

    /// Whether a segment that another follows ends as it should: with whole batches, up to the other's first
    /// offset. False when the log ends in it all the same, because nothing promised that it would not. Changes
    /// nothing.
    pub(super) async fn judge_rolled(
        &self,
        file: &File,
        segment: &Segment,
        scan: &Scan,
        stop: Stop,
        next_base: Offset,
        window: &mut Window,
    ) -> Result<bool, LogFault> {
        let (path, end) = (self.segment_path(segment.base), segment.end);
        let torn = match stop {
            Stop::Misplaced(reason) => return Err(LogFault::damage(&path, end.0, reason)),
            Stop::Torn(reason) => format!("{reason}; "),
            Stop::End => String::new(),
        };
        let dirty = window.last_nonzero(file, end, segment.allocated).await;
        let dirty = dirty.map_err(|error| LogFault::from_io("read", &path, end.0, &error))?;
        let (lax, gap_allowed) = {
            let state = self.state.borrow();
            (state.marked_unsynced, state.gaps_allowed() || next_base <= scan.log_start)
        };
        let follows = scan.next == next_base || (gap_allowed && scan.next < next_base);
        if dirty.is_none() && follows {
            return Ok(true);
        }
        // What was complete is not taken for what the power took.
        if lax && scan.next >= scan.from {
            return Ok(false);
        }
        let next = scan.next;
        let reason = format!("{torn}the segment ends at {next}, the next begins at {next_base}");
        Err(LogFault::damage(&path, end.0, reason))
    }

    /// What follows the last whole batch of the log: the last byte of a torn tail; `None` when nothing but zeros
    /// does. Changes nothing.
    pub(super) async fn judge_tail(
        &self,
        file: &File,
        active: &Segment,
        scan: &Scan,
        stop: Stop,
        window: &mut Window,
    ) -> Result<Option<Position>, LogFault> {
        let path = self.segment_path(active.base);
        let end = active.end;
        let fault = |error| LogFault::from_io("read", &path, end.0, &error);
        let reason = match stop {
            Stop::Misplaced(reason) => return Err(LogFault::damage(&path, end.0, reason)),
            Stop::Torn(reason) => reason,
            Stop::End => "no batch is there".to_string(),
        };
        if scan.next < scan.from {
            let Scan { next, from, .. } = scan;
            let reason = format!("{reason}; the log ends at {next}, but was complete up to {from}");
            return Err(LogFault::damage(&path, end.0, reason));
        }
        let dirty = window.last_nonzero(file, end, active.allocated).await.map_err(fault)?;
        let Some(last) = dirty else { return Ok(None) };
        // Without a sync of every commit, the power takes what it likes.
        let synced = !self.state.borrow().marked_unsynced;
        // One commit may have been in flight; a batch that is longer is one by itself.
        let batch_bytes_max = self.state.borrow().config.message_bytes_max;
        let torn = end + self.shard.options.commit_bytes_max.max(batch_bytes_max) as u64;
        if synced && last > torn {
            let is_later = |header: &BatchHeader| {
                header.base_offset >= scan.next
                    && header.record_count.checked_sub(1) == Some(header.last_offset_delta)
            };
            // The last batch may end with zeros; most do.
            let until = Position(active.allocated.saturating_sub(1)).max(last);
            let later = window.find_batch(file, torn, until, is_later, SEARCH_BYTES_MAX).await;
            if let Some(later) = later.map_err(fault)? {
                let reason = format!("{reason}, but a whole batch follows at byte {later}");
                return Err(LogFault::damage(&path, end.0, reason));
            }
        }
        Ok(Some(last))
    }

    /// Cuts a torn tail; the bytes cut.
    async fn cut_tail(
        &self,
        file: &File,
        active: &mut Segment,
        torn: Option<Position>,
    ) -> Result<u64, LogFault> {
        let Some(last) = torn.filter(|_| !planted::is(Bug::KeepTornTail)) else { return Ok(0) };
        let path = self.segment_path(active.base);
        let end = active.end;
        let fault = |error| LogFault::from_io("cut", &path, end.0, &error);
        // Nothing of the old tail may come back when later writes end before it.
        file.truncate(end.0).await.map_err(fault)?;
        file.sync().await.map_err(fault)?;
        active.allocated = end.0.max(1);
        Ok(last - end)
    }
}

/// Whether a batch that is whole but for its offset, length or epoch, which its checksum does not cover, is one
/// whose first sector was not written.
fn begins_torn(position: Position, bytes: &[u8]) -> bool {
    const UNCHECKED_BYTES: usize = 16;
    let left = SECTOR_BYTES - (position.0 % SECTOR_BYTES as u64) as usize;
    left < UNCHECKED_BYTES && bytes.iter().take(left).all(|byte| *byte == 0)
}

impl Scan {
    /// Goes on with the next segment.
    pub fn begin_segment(&mut self, partition: &Partition, start: IndexedBatch, base: Offset) {
        partition.learn_epochs(self.succession.epochs());
        self.succession = partition.tail_of(start, base);
        self.durable = Position::ZERO;
        self.next = self.next.max(base);
    }

    fn check(&mut self, bytes: &[u8]) -> Result<BatchHeader, Wrong> {
        let checked = self.succession.check(bytes);
        if planted::is(Bug::AcceptTornHeader)
            && matches!(checked, Err(Wrong::Torn(_)))
            && let Ok(header) = BatchHeader::parse(bytes)
            && (bytes.len() < header.batch_bytes || bytes.ends_with(&[0; 16]))
        {
            return self.succession.pass(&header).map(|()| header).map_err(Wrong::Misplaced);
        }
        checked
    }

    fn note(&mut self, active: &mut Segment, header: &BatchHeader, interval: u64, now: Timestamp) {
        self.next = header.next_offset();
        if header.base_offset >= self.from && !planted::is(Bug::ForgetProducersAfterSnapshot) {
            self.producers.note(header, now);
        }
        let (position, last) = (active.end, header.last_offset());
        if let Some(observer) = &mut self.observer {
            observer.see(header, position, now);
        }
        active.first_timestamp.get_or_insert(header.max_timestamp);
        let max = active.note_time(header.max_timestamp, last);
        let index = Rc::make_mut(active.index.as_mut().expect("the active segment has its index"));
        index.note_batch(last, position, header.batch_bytes as u64, max, interval);
        active.end = position + header.batch_bytes as u64;
        if header.next_offset() <= self.from {
            self.durable = active.end;
        }
    }
}

/// A piece of the file in memory, moved along by the scan.
#[derive(Default)]
pub(super) struct Window {
    start: u64,
    bytes: Option<BufferSlice>,
    forgives: bool,
    unreadable: Option<Unreadable>,
}

/// The last block of a file that could not be read.
pub(super) struct Unreadable {
    pub position: u64,
    pub reason: String,
}

impl Window {
    /// One that reads on where the device fails: such blocks count as zeros.
    pub fn forgiving() -> Window {
        Window { forgives: true, ..Window::default() }
    }

    /// The last block from a position on that could not be read.
    pub fn unreadable_from(&self, position: Position) -> Option<&Unreadable> {
        let block = position.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        self.unreadable.as_ref().filter(|found| found.position >= block)
    }

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
            let left = file_length.saturating_sub(position);
            let wish = SCAN_BYTES.max(length).min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match file.read_at(position, wish).await {
                Err(_) if self.forgives => {
                    let (read, unreadable) = read_blocks(file, position, wish).await?;
                    self.unreadable = unreadable.or(self.unreadable.take());
                    read
                }
                other => other?,
            };
            (self.bytes, self.start) = (Some(read), position);
        }
        let bytes = self.bytes.as_ref().expect("just read");
        Ok(bytes.slice(((position - self.start) as usize).min(bytes.len())..bytes.len()))
    }

    /// The whole batch at `position`, or as much as there is; `None` where the log may end: at the file's
    /// end, or at zeros.
    pub async fn batch_at(
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

    /// The last byte at or after `start` that is not zero. What was allocated and never written is not read.
    pub async fn last_nonzero(
        &mut self,
        file: &File,
        start: Position,
        file_length: u64,
    ) -> io::Result<Option<Position>> {
        let (mut at, mut last) = (start.0, None);
        while at < file_length {
            if at.is_multiple_of(BLOCK_BYTES as u64) {
                match file.next_written(at)? {
                    Some(written) => at = at.max(written),
                    None => break,
                }
            }
            let bytes = self.at(file, at, 1, file_length).await?;
            if bytes.is_empty() {
                break;
            }
            // To the block's end first: what follows may never have been written.
            let block = at.next_multiple_of(BLOCK_BYTES as u64) - at;
            let length = if block == 0 { bytes.len() } else { bytes.len().min(block as usize) };
            if let Some(found) = bytes[..length].iter().rposition(|byte| *byte != 0) {
                last = Some(Position(at + found as u64));
            }
            at += length as u64;
            runtime::yield_if_needed().await;
        }
        Ok(last)
    }

    /// A whole batch that begins between two positions and is accepted; or where one may begin when so many
    /// bytes were searched.
    pub async fn find_batch(
        &mut self,
        file: &File,
        start: Position,
        end: Position,
        accepts: impl Fn(&BatchHeader) -> bool,
        searched_max: usize,
    ) -> io::Result<Option<Position>> {
        let file_length = end.0 + 1;
        let (mut at, mut searched) = (start.0, 0);
        while at + BATCH_HEADER_BYTES as u64 <= file_length {
            runtime::yield_if_needed().await;
            let bytes = self.at(file, at, BATCH_HEADER_BYTES, file_length).await?;
            let Some(last) = bytes.len().checked_sub(BATCH_HEADER_BYTES) else { break };
            let left = file_length - at;
            let found = (0..=last).find(|from| {
                BatchHeader::parse(&bytes[*from..]).is_ok_and(|header| {
                    header.batch_bytes as u64 <= left - *from as u64 && accepts(&header)
                })
            });
            let Some(from) = found else {
                at += last as u64 + 1;
                continue;
            };
            let position = Position(at + from as u64);
            let batch = self.batch_at(file, position, file_length).await?;
            searched += batch.as_ref().map_or(0, |bytes| bytes.len());
            if batch.is_some_and(|bytes| batch::parse_whole(&bytes).is_ok())
                || searched > searched_max
            {
                return Ok(Some(position));
            }
            at = position.0 + 1;
        }
        Ok(None)
    }
}

/// Reads block by block what cannot be read in one piece, with zeros for what cannot be read at all.
pub(super) async fn read_blocks(
    file: &File,
    position: u64,
    length: usize,
) -> io::Result<(BufferSlice, Option<Unreadable>)> {
    let mut unreadable = None;
    let end = (position + length as u64).min(file.length().await?);
    let length = end.saturating_sub(position) as usize;
    let mut buffer = AlignedBuffer::allocate(length.max(1).next_multiple_of(BLOCK_BYTES));
    let target = buffer.as_mut_slice();
    target.fill(0);
    let mut at = 0;
    while at < length {
        let here = position + at as u64;
        let block_end = (here / BLOCK_BYTES as u64 + 1) * BLOCK_BYTES as u64;
        let wish = (block_end.min(end) - here) as usize;
        match file.read_at(here, wish).await {
            Ok(bytes) => target[at..at + bytes.len()].copy_from_slice(&bytes),
            Err(error) => {
                unreadable = Some(Unreadable { position: here, reason: error.to_string() });
            }
        }
        at += wish;
    }
    Ok((buffer.freeze().slice(0..length), unreadable))
}
