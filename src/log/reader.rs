//! Reading a partition: committed batches from an offset on, from the tail cache by reference or from a
//! segment file. Lives on the partition's shard; never shows what is not committed, never copies records.

use super::fault::{FaultKind, LogFault};
use super::index::SegmentIndex;
use super::partition::Partition;
use super::segment::{self, Segment};
use super::small_file;
use crate::limits::BATCH_HEADER_BYTES;
use crate::runtime::buffer::BufferSlice;
use crate::runtime::{File, FileOptions};
use crate::types::{Offset, Position, Timestamp};
use crate::wire::batch::BatchHeader;
use std::rc::Rc;

/// Bytes read at once where batches are only looked through.
const SCAN_BYTES: usize = 256 * 1024;
/// Largest index file that is believed.
const INDEX_FILE_BYTES_MAX: usize = 64 << 20;

/// Why nothing can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside {log_start}..={high_watermark}")]
    OutOfRange { offset: Offset, log_start: Offset, high_watermark: Offset },
    #[error(transparent)]
    Offline(#[from] LogFault),
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct ReadBatches {
    /// Whole batches, in order; the first may begin before the offset asked for.
    pub slices: Vec<BufferSlice>,
    pub bytes: usize,
    pub log_start: Offset,
    pub high_watermark: Offset,
}

/// Where a walk over batches stands.
struct Place {
    segment: Offset,
    position: Position,
    end: Position,
}

/// The batches at the start of `bytes` that may be sent.
struct Walked {
    /// Bytes of batches that lie wholly before the offset asked for.
    skipped: usize,
    /// Where the last whole batch within the limit ends.
    end: usize,
    /// Bytes of the first wanted batch, if its header is there.
    first_bytes: Option<usize>,
    /// The offset after the last batch taken.
    next: Offset,
}

/// Walks headers: skips batches before `from`, then takes whole ones up to `bytes_max` in all; the first
/// is taken whatever its size when `first_whole`.
fn walk(bytes: &[u8], from: Offset, bytes_max: usize, first_whole: bool) -> Result<Walked, String> {
    let mut walked = Walked { skipped: 0, end: 0, first_bytes: None, next: from };
    let mut at = 0;
    while bytes.len() - at >= BATCH_HEADER_BYTES {
        let header = BatchHeader::parse(&bytes[at..]).map_err(|error| error.to_string())?;
        let end = at + header.batch_bytes;
        if header.next_offset() <= from {
            at = end.min(bytes.len());
            (walked.skipped, walked.end) = (at, at);
            if end > bytes.len() {
                break;
            }
            continue;
        }
        let is_first = walked.first_bytes.is_none();
        walked.first_bytes.get_or_insert(header.batch_bytes);
        let fits = end - walked.skipped <= bytes_max || (is_first && first_whole);
        if end > bytes.len() || !fits {
            break;
        }
        (at, walked.end, walked.next) = (end, end, header.next_offset());
    }
    Ok(walked)
}

impl Partition {
    /// Reads whole batches from the one that holds `offset` on, `bytes_max` in all at most; the first one
    /// is returned even if it is larger, when `first_whole` (KIP-74).
    ///
    /// # Errors
    /// `OutOfRange`; `Offline` with the fault of the partition or of this read.
    pub async fn read(
        self: &Rc<Self>,
        offset: Offset,
        bytes_max: usize,
        first_whole: bool,
    ) -> Result<ReadBatches, ReadError> {
        let mut found = self.check_range(offset)?;
        let mut from = offset;
        let mut first_whole = first_whole;
        while from < found.high_watermark && (found.bytes < bytes_max || first_whole) {
            let Some(place) = self.locate(from).await? else { break };
            let budget = bytes_max - found.bytes.min(bytes_max);
            let cached = self.read_cached(&place);
            let is_cached = cached.is_some();
            let slice = match cached {
                Some(bytes) => self.take(&place, bytes, from, budget, first_whole)?,
                // Old data comes in one piece per read: it is read ahead by whoever asks again.
                None if found.bytes > 0 => break,
                None => self.read_file(&place, from, budget, first_whole).await?,
            };
            let Some((slice, next)) = slice else { break };
            found.bytes += slice.len();
            found.slices.push(slice);
            (from, first_whole) = (next, false);
            if !is_cached {
                break;
            }
        }
        Ok(found)
    }

    fn check_range(&self, offset: Offset) -> Result<ReadBatches, ReadError> {
        let state = self.state.borrow();
        if let Some(fault) = &state.fault {
            // A full disk keeps nobody from reading.
            if fault.kind != FaultKind::StorageFull {
                return Err(fault.clone().into());
            }
        }
        let (log_start, high_watermark) = (state.log_start, state.committed);
        if offset < log_start || offset > high_watermark {
            return Err(ReadError::OutOfRange { offset, log_start, high_watermark });
        }
        Ok(ReadBatches { log_start, high_watermark, ..ReadBatches::default() })
    }

    /// A batch boundary at or before the batch that holds `offset`.
    async fn locate(self: &Rc<Self>, offset: Offset) -> Result<Option<Place>, LogFault> {
        let (base, end) = {
            let state = self.state.borrow();
            let Some(segment) = state.segment_of(offset) else { return Ok(None) };
            let place = |index: &SegmentIndex| Place {
                segment: segment.base,
                position: index.locate(offset),
                end: segment.end,
            };
            if let Some(index) = &segment.index {
                return Ok(Some(place(index)));
            }
            (segment.base, segment.end)
        };
        let index = self.load_index(base, end).await?;
        Ok(Some(Place { segment: base, position: index.locate(offset), end }))
    }

    fn read_cached(&self, place: &Place) -> Option<BufferSlice> {
        let state = self.state.borrow();
        let bytes = state.tail.read(place.segment, place.position)?;
        self.shard.probe.tail_reads.add(1);
        Some(bytes)
    }

    /// The wanted batches at the start of `bytes`, which lie at `place`; with the offset after them.
    fn take(
        &self,
        place: &Place,
        bytes: BufferSlice,
        from: Offset,
        bytes_max: usize,
        first_whole: bool,
    ) -> Result<Option<(BufferSlice, Offset)>, LogFault> {
        let walked = walk(&bytes, from, bytes_max, first_whole)
            .map_err(|reason| self.damage(place.segment, place.position, reason))?;
        if walked.end <= walked.skipped {
            // All of this chunk lies before the offset: the next one begins where it ends.
            let next = Position(place.position.0 + walked.skipped as u64);
            if walked.first_bytes.is_none() && walked.skipped == bytes.len() && next < place.end {
                let place = Place { segment: place.segment, position: next, end: place.end };
                if let Some(bytes) = self.read_cached(&place) {
                    return self.take(&place, bytes, from, bytes_max, first_whole);
                }
            }
            return Ok(None);
        }
        let slice = bytes.slice(walked.skipped..walked.end);
        Ok(Some((slice, walked.next)))
    }

    /// Reads from the segment file: first as much as is likely to serve, then exactly what the first
    /// batch needs if it is larger.
    async fn read_file(
        &self,
        place: &Place,
        from: Offset,
        bytes_max: usize,
        first_whole: bool,
    ) -> Result<Option<(BufferSlice, Offset)>, LogFault> {
        let file = self.open_for_reading(place.segment).await?;
        // The index is sparse, so the wanted batch begins a little behind the place.
        let interval = self.state.borrow().config.index_interval_bytes as usize;
        let mut position = place.position;
        let mut wish = bytes_max.saturating_add(interval.min(1 << 20)).max(BATCH_HEADER_BYTES);
        loop {
            let length = wish.min((place.end - position) as usize);
            let bytes = self.read_exactly(&file, place.segment, position, length).await?;
            let at = Place { segment: place.segment, position, end: place.end };
            let walked = walk(&bytes, from, bytes_max, first_whole)
                .map_err(|reason| self.damage(place.segment, position, reason))?;
            if walked.end > walked.skipped {
                return self.take(&at, bytes, from, bytes_max, first_whole);
            }
            let rest = place.end - position - length as u64;
            match walked.first_bytes {
                Some(first) if first_whole && first > length - walked.skipped => {
                    position = position + walked.skipped as u64;
                    wish = first;
                }
                Some(_) => return Ok(None),
                None if rest == 0 => return Ok(None),
                // All before the offset, or a batch to skip reaches beyond what was read.
                None => {
                    position = self.skip(&bytes, position, from)?;
                    if position >= place.end {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The position after the batches of `bytes` that lie before `from`, even when the last of them is
    /// not wholly in `bytes`.
    fn skip(&self, bytes: &[u8], start: Position, from: Offset) -> Result<Position, LogFault> {
        let mut at = 0;
        while at + BATCH_HEADER_BYTES <= bytes.len() {
            let header = BatchHeader::parse(&bytes[at..])
                .map_err(|error| self.damage(Offset::ZERO, start + at as u64, error.to_string()))?;
            if header.next_offset() > from {
                break;
            }
            at += header.batch_bytes;
        }
        Ok(start + at as u64)
    }

    async fn read_exactly(
        &self,
        file: &File,
        segment: Offset,
        position: Position,
        length: usize,
    ) -> Result<BufferSlice, LogFault> {
        let path = self.segment_path(segment);
        let bytes = file.read_at(position.0, length).await;
        let bytes = bytes.map_err(|error| LogFault::from_io("read", &path, position.0, &error))?;
        if bytes.len() < length {
            let reason = format!("{} of {length} bytes are there", bytes.len());
            return Err(LogFault::damage(&path, position.0, reason));
        }
        self.shard.probe.disk_reads.add(1);
        self.shard.probe.disk_read_bytes.add(length as u64);
        Ok(bytes)
    }

    async fn open_for_reading(&self, segment: Offset) -> Result<Rc<File>, LogFault> {
        let (is_active, durability) = {
            let state = self.state.borrow();
            (state.active().base == segment, state.config.durability)
        };
        let options = FileOptions {
            read_only: !is_active,
            sync_on_write: is_active && durability == crate::types::Durability::Fsync,
            create_new: false,
        };
        let path = self.segment_path(segment);
        self.shard.files.open((self.number, segment), &path, options).await
    }

    fn damage(&self, segment: Offset, position: Position, reason: String) -> LogFault {
        LogFault::damage(&self.segment_path(segment), position.0, reason)
    }

    // ------------------------------------------------------------ indexes of sealed segments

    /// The index of a sealed segment, read from its files, or rebuilt from the segment if they are
    /// missing or do not fit.
    pub(super) async fn load_index(
        self: &Rc<Self>,
        base: Offset,
        end: Position,
    ) -> Result<Rc<SegmentIndex>, LogFault> {
        let mut index = None;
        if let Some(decoded) = self.read_index(base, end).await? {
            if self.index_fits(&decoded, base, end).await? {
                index = Some(decoded);
            }
        }
        let index = match index {
            Some(index) => index,
            None => self.rebuild_index(base, end).await?,
        };
        let index = Rc::new(index);
        self.keep_sealed_index(base, index.clone());
        Ok(index)
    }

    /// What `.index` and `.timeindex` say; `None` when they are missing or damaged.
    pub(super) async fn read_index(
        &self,
        base: Offset,
        end: Position,
    ) -> Result<Option<SegmentIndex>, LogFault> {
        let mut contents = Vec::with_capacity(2);
        for suffix in [segment::INDEX_SUFFIX, segment::TIME_INDEX_SUFFIX] {
            let path = segment::file_path(&self.directory, base, suffix);
            match small_file::read(&path, INDEX_FILE_BYTES_MAX).await {
                Ok(Some(bytes)) => contents.push(bytes),
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(None),
                Err(error) => return Err(LogFault::from_io("read", &path, 0, &error)),
            }
        }
        Ok(SegmentIndex::decode(base, &contents[0], &contents[1], end.0))
    }

    /// An index is believed when its last entry names a batch.
    async fn index_fits(
        &self,
        index: &SegmentIndex,
        base: Offset,
        end: Position,
    ) -> Result<bool, LogFault> {
        let position = index.last_position();
        if end - position < BATCH_HEADER_BYTES as u64 {
            return Ok(end == Position::ZERO);
        }
        let file = self.open_for_reading(base).await?;
        let bytes = self.read_exactly(&file, base, position, BATCH_HEADER_BYTES).await?;
        let named = BatchHeader::parse(&bytes).ok();
        Ok(named.is_some_and(|header| index.locate(header.base_offset) == position))
    }

    async fn rebuild_index(
        self: &Rc<Self>,
        base: Offset,
        end: Position,
    ) -> Result<SegmentIndex, LogFault> {
        tracing::warn!(partition = %self.id, segment = %base, "rebuilding the index of a segment");
        let interval = self.state.borrow().config.index_interval_bytes;
        let mut segment = Segment::sealed(base, end.0);
        let mut index = SegmentIndex::new(base);
        self.scan_headers(base, Position::ZERO, end, |header, position| {
            segment.note_time(header.max_timestamp, header.last_offset());
            let max = segment.max_timestamp.expect("just noted");
            let range = (header.base_offset, header.last_offset());
            index.note_batch(range, position, header.batch_bytes as u64, max, interval);
            true
        })
        .await?;
        if let Some(max) = segment.max_timestamp {
            index.seal(max);
        }
        Ok(index)
    }

    /// Shows `visit` the header of every batch between two positions, until it says no.
    pub(super) async fn scan_headers(
        &self,
        base: Offset,
        start: Position,
        end: Position,
        mut visit: impl FnMut(&BatchHeader, Position) -> bool,
    ) -> Result<(), LogFault> {
        // An empty partition has no file.
        if end <= start {
            return Ok(());
        }
        let file = self.open_for_reading(base).await?;
        let mut position = start;
        while end.0.saturating_sub(position.0) >= BATCH_HEADER_BYTES as u64 {
            let length = SCAN_BYTES.min((end - position) as usize);
            let bytes = self.read_exactly(&file, base, position, length).await?;
            let mut at = 0;
            while at + BATCH_HEADER_BYTES <= bytes.len() {
                let header = BatchHeader::parse(&bytes[at..])
                    .map_err(|error| self.damage(base, position + at as u64, error.to_string()))?;
                if !visit(&header, position + at as u64) {
                    return Ok(());
                }
                at += header.batch_bytes;
            }
            position = position + at as u64;
        }
        Ok(())
    }

    // ------------------------------------------------------------ by time

    /// The bytes of the first committed batch that may hold a record of `timestamp` or later, at or after
    /// `from` and the log's start; the caller looks into it. `None` when there is none.
    ///
    /// # Errors
    /// The fault of the partition or of this read.
    pub async fn find_batch_by_time(
        self: &Rc<Self>,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<BufferSlice>, ReadError> {
        let log_start = self.log_start();
        self.check_range(log_start)?;
        let from = from.max(log_start);
        let bases: Vec<Offset> = self.state.borrow().segments.iter().map(|s| s.base).collect();
        for base in bases {
            let Some((end, index)) = self.index_of(base).await? else { continue };
            let reaches = index.last_time().is_none_or(|(last, _)| last >= timestamp);
            let is_active = self.state.borrow().active().base == base;
            if !reaches && !is_active {
                continue;
            }
            let start = index.locate(index.locate_time(timestamp).max(from));
            drop(index);
            if start >= end {
                // Nothing is there to look at: the active segment may not even have a file yet.
                continue;
            }
            let mut found = None;
            self.scan_headers(base, start, end, |header, position| {
                let holds = header.max_timestamp >= timestamp && header.next_offset() > from;
                if holds {
                    found = Some((position, header.batch_bytes));
                }
                !holds
            })
            .await?;
            if let Some((position, length)) = found {
                let file = self.open_for_reading(base).await?;
                return Ok(Some(self.read_exactly(&file, base, position, length).await?));
            }
        }
        Ok(None)
    }

    /// The committed batch with the largest timestamp; the earliest of several.
    ///
    /// # Errors
    /// The fault of the partition or of this read.
    pub async fn find_batch_of_max_time(self: &Rc<Self>) -> Result<Option<BufferSlice>, ReadError> {
        let log_start = self.log_start();
        self.check_range(log_start)?;
        let bases: Vec<Offset> = self.state.borrow().segments.iter().map(|s| s.base).collect();
        let mut max: Option<Timestamp> = None;
        for base in bases {
            self.index_of(base).await?;
            let state = self.state.borrow();
            let segment = state.segments.iter().find(|segment| segment.base == base);
            let time = segment.and_then(|segment| segment.max_timestamp);
            let live = time.filter(|(_, offset)| *offset >= log_start).map(|(time, _)| time);
            max = max.max(live);
        }
        match max {
            Some(time) if time.0 >= 0 => self.find_batch_by_time(time, log_start).await,
            _ => Ok(None),
        }
    }

    async fn index_of(
        self: &Rc<Self>,
        base: Offset,
    ) -> Result<Option<(Position, Rc<SegmentIndex>)>, LogFault> {
        let end = {
            let state = self.state.borrow();
            let segment = state.segments.iter().find(|segment| segment.base == base);
            let Some(segment) = segment else { return Ok(None) };
            if let Some(index) = &segment.index {
                return Ok(Some((segment.end, index.clone())));
            }
            segment.end
        };
        Ok(Some((end, self.load_index(base, end).await?)))
    }
}
