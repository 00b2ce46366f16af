//! The scan of a log's tail: batch after batch from the checkpoint on, and what becomes of the bytes after
//! the last whole one. Runs on the partition's shard while it opens.

use super::recover::Recovery;
use crate::limits::{BATCH_HEADER_BYTES, BLOCK_BYTES};
use crate::log::fault::LogFault;
use crate::log::index::IndexedBatch;
use crate::log::partition::Partition;
use crate::log::planted::{self, Bug};
use crate::log::producers::ProducerState;
use crate::log::segment::Segment;
use crate::log::verify::{Succession, Wrong};
use crate::runtime::buffer::BufferSlice;
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

/// How far a scan has come.
pub(super) struct Scan {
    pub next: Offset,
    /// The checkpoint: producers are noted from here on; before, the snapshot knows them.
    pub from: Offset,
    pub producers: ProducerState,
    pub succession: Succession,
    /// Where in the segment that place is, once it is known; before, all may have to be made durable.
    pub durable: Position,
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
        let (stop, mut window) = self.scan_batches_of(file, active, scan).await?;
        let cut_bytes = self.cut_tail(file, active, scan, stop, &mut window).await?;
        Ok(Recovery { scanned_bytes: active.end - start, cut_bytes, end: scan.next })
    }

    /// The same for a segment that another follows: bytes scanned, and whether only zeros are left.
    pub(super) async fn scan_whole(
        self: &Rc<Self>,
        file: &File,
        segment: &mut Segment,
        scan: &mut Scan,
    ) -> Result<(u64, bool), LogFault> {
        let start = segment.end;
        let (_, mut window) = self.scan_batches_of(file, segment, scan).await?;
        let path = self.segment_path(segment.base);
        let dirty = window.last_nonzero(file, segment.end, segment.allocated).await;
        let end = segment.end;
        let dirty = dirty.map_err(|error| LogFault::from_io("read", &path, end.0, &error))?;
        Ok((end - start, dirty.is_none()))
    }

    /// Walks over batches up to the first that is none, and says why it is none.
    async fn scan_batches_of(
        self: &Rc<Self>,
        file: &File,
        active: &mut Segment,
        scan: &mut Scan,
    ) -> Result<(Option<String>, Window), LogFault> {
        let path = self.segment_path(active.base);
        let length = active.allocated;
        let interval = self.state.borrow().config.index_interval_bytes;
        // When a batch was stored nobody knows any more; its records' time says nothing of it.
        let now = runtime::wall_clock();
        let mut window = Window::default();
        let stop = loop {
            let batch = window.batch_at(file, active.end, length).await;
            let position = active.end.0;
            let batch =
                batch.map_err(|error| LogFault::from_io("read", &path, position, &error))?;
            let Some(bytes) = batch else { break None };
            match scan.succession.check(&bytes) {
                Ok(header) => scan.note(active, &header, interval, now),
                Err(Wrong::Torn(reason)) => break Some(reason),
                Err(Wrong::Misplaced(reason)) if begins_torn(active.end, &bytes) => {
                    break Some(reason);
                }
                Err(Wrong::Misplaced(reason)) => {
                    return Err(LogFault::damage(&path, position, reason));
                }
            }
            runtime::yield_if_needed().await;
        };
        Ok((stop, window))
    }

    /// Cuts what follows the last whole batch, if anything does that is not zeros.
    async fn cut_tail(
        &self,
        file: &File,
        active: &mut Segment,
        scan: &Scan,
        stop: Option<String>,
        window: &mut Window,
    ) -> Result<u64, LogFault> {
        let path = self.segment_path(active.base);
        let end = active.end;
        let fault = |error| LogFault::from_io("cut", &path, end.0, &error);
        let reason = stop.unwrap_or_else(|| "the file ends within a batch".to_string());
        if scan.next < scan.from {
            let Scan { next, from, .. } = scan;
            let reason = format!("{reason}; the log ends at {next}, but was complete up to {from}");
            return Err(LogFault::damage(&path, end.0, reason));
        }
        let dirty = window.last_nonzero(file, end, active.allocated).await.map_err(fault)?;
        let Some(last) = dirty else { return Ok(0) };
        // Without a sync of every commit, the power takes what it likes.
        let synced = !self.state.borrow().marked_unsynced;
        let torn = end + self.shard.options.commit_bytes_max as u64;
        if synced && last > torn {
            let later = window.find_batch(file, torn, last, scan.next).await.map_err(fault)?;
            if let Some(later) = later {
                let reason = format!("{reason}, but a whole batch follows at byte {later}");
                return Err(LogFault::damage(&path, end.0, reason));
            }
        }
        if planted::is(Bug::KeepTornTail) {
            return Ok(0);
        }
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

    fn note(&mut self, active: &mut Segment, header: &BatchHeader, interval: u64, now: Timestamp) {
        self.next = header.next_offset();
        if header.base_offset >= self.from && !planted::is(Bug::ForgetProducersAfterSnapshot) {
            self.producers.note(header, now);
        }
        let (position, last) = (active.end, header.last_offset());
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
            let left = file_length.saturating_sub(position);
            let wish = SCAN_BYTES.max(length).min(usize::try_from(left).unwrap_or(usize::MAX));
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

    /// The last byte at or after `start` that is not zero. What was allocated and never written is not read.
    async fn last_nonzero(
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

    /// A whole batch of at least offset `next` that begins between two positions.
    async fn find_batch(
        &mut self,
        file: &File,
        start: Position,
        end: Position,
        next: Offset,
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
                    header.base_offset >= next
                        && header.batch_bytes as u64 <= left - *from as u64
                        && header.record_count.checked_sub(1) == Some(header.last_offset_delta)
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
                || searched > SEARCH_BYTES_MAX
            {
                return Ok(Some(position));
            }
            at = position.0 + 1;
        }
        Ok(None)
    }
}
