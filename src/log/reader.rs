//! Reading a partition: committed batches from an offset on, from the tail cache by reference or from a
//! segment file. Lives on the partition's shard; never shows what is not committed, never copies records.
//!
//! What comes from a file is checked batch by batch before anybody sees it.

use super::fault::{FaultKind, LogFault};
use super::file_cache::{Access, FileKey};
use super::index::IndexedBatch;
use super::partition::{Partition, gone_fault};
use super::verify::Succession;
use crate::limits::BATCH_HEADER_BYTES;
use crate::runtime::buffer::BufferSlice;
use crate::runtime::{File, FileOptions};
use crate::types::{Offset, Position};
use crate::wire::batch::BatchHeader;
use std::rc::Rc;

/// Most bytes that one read takes from a file, but for a batch that is larger: a consumer that may have
/// more asks again, and memory does not follow from a number that a client sent.
const READ_BYTES_MAX: usize = 2 << 20;
/// Most bytes read ahead of the wanted batch because the index is sparse.
const READ_BEFORE_BYTES_MAX: usize = 1 << 20;

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

/// A batch boundary in a segment, and where the segment's committed bytes end.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub segment: Offset,
    pub start: IndexedBatch,
    /// As far as the file has them.
    pub end: Position,
    /// More is committed than the file has.
    pub in_flight: bool,
}

/// What a reader still takes.
#[derive(Clone, Copy)]
struct Wish {
    from: Offset,
    bytes_max: usize,
    /// The first batch is taken whatever its size (KIP-74).
    first_whole: bool,
}

/// What a segment gave to a reader.
enum Step {
    /// Batches, and the offset after them.
    Taken(BufferSlice, Offset),
    /// The next batch is more than the reader takes.
    TooLarge,
    /// The segment ends before the wanted offset.
    Exhausted,
}

/// What a walk over batches saw.
#[derive(Default)]
struct Walked {
    /// Bytes of batches that lie wholly before the offset asked for.
    skipped: usize,
    /// Where the last batch that is taken ends; 0 when none is.
    end: usize,
    /// The offset after the last batch taken.
    next: Offset,
    /// The batch at which the walk ended: not all there, or more than is taken.
    stopped_at: Option<BatchHeader>,
}

/// Walks batches: skips those before the wanted offset, then takes whole ones as far as they fit.
fn walk(
    bytes: &[u8],
    wish: &Wish,
    mut succession: Option<&mut Succession>,
) -> Result<Walked, String> {
    let mut walked = Walked::default();
    let mut at = 0;
    while bytes.len() - at >= BATCH_HEADER_BYTES {
        let header = BatchHeader::parse(&bytes[at..]).map_err(|error| error.to_string())?;
        let end = at + header.batch_bytes;
        let is_wanted = header.next_offset() > wish.from;
        let is_first = walked.end == 0;
        let fits = end - walked.skipped <= wish.bytes_max || (is_first && wish.first_whole);
        if end > bytes.len() || (is_wanted && !fits) {
            walked.stopped_at = Some(header);
            break;
        }
        if let Some(succession) = &mut succession {
            succession.check(&bytes[at..end]).map_err(|wrong| wrong.to_string())?;
        }
        if is_wanted {
            (walked.end, walked.next) = (end, header.next_offset());
        } else if is_first {
            walked.skipped = end;
        } else {
            return Err(format!("offset {} after {}", header.base_offset, walked.next));
        }
        at = end;
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
        let wish = Wish { from: offset, bytes_max, first_whole };
        let read = self.read_from(wish, true).await;
        match read {
            Err(ReadError::Offline(fault)) => {
                // Retention may have taken the segment in the meantime.
                self.check_range(offset)?;
                self.note_unreadable(&fault);
                Err(fault.into())
            }
            read => read,
        }
    }

    /// The same, but of what needs no read of a file: for a reader whose room is not worth one.
    ///
    /// # Errors
    /// As `read`.
    pub async fn read_in_memory(
        self: &Rc<Self>,
        offset: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        self.read_from(Wish { from: offset, bytes_max, first_whole: false }, false).await
    }

    async fn read_from(
        self: &Rc<Self>,
        mut wish: Wish,
        files: bool,
    ) -> Result<ReadBatches, ReadError> {
        let mut found = self.check_range(wish.from)?;
        while wish.from < found.high_watermark && (wish.bytes_max > 0 || wish.first_whole) {
            if !files && !self.has_index_of(wish.from) {
                break;
            }
            let Some(place) = self.locate(wish.from).await? else { break };
            let (step, is_cached) = match self.read_cached(&place, &wish)? {
                Some(step) => (step, true),
                // Old data comes in one piece per read: it is read ahead by whoever asks again.
                None if found.bytes > 0 || !files => break,
                None => {
                    self.shard.probe.tail_misses.add(1);
                    (self.read_segment(place, &wish).await?, false)
                }
            };
            match step {
                Step::Taken(slice, next) => {
                    found.bytes += slice.len();
                    wish.bytes_max -= slice.len().min(wish.bytes_max);
                    found.slices.push(slice);
                    // What was committed since this read began may have been read as well.
                    found.high_watermark = found.high_watermark.max(next);
                    (wish.from, wish.first_whole) = (next, false);
                }
                Step::TooLarge => break,
                // What comes next is on its way to the file.
                Step::Exhausted if place.in_flight => break,
                Step::Exhausted => {
                    wish.from = self.after_gap(place.segment, wish.from)?;
                    continue;
                }
            }
            if !is_cached {
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn check_range(&self, offset: Offset) -> Result<ReadBatches, ReadError> {
        let state = self.state.borrow();
        if state.retired {
            return Err(gone_fault(&self.directory).into());
        }
        if let Some(fault) = state.read_fault() {
            return Err(fault.clone().into());
        }
        let (log_start, high_watermark) = (state.log_start, state.committed);
        // There was more: who was there already must not take this for the end and begin elsewhere.
        if let Some(fault) = state.fault.as_ref().filter(|_| state.read_only)
            && offset > high_watermark
        {
            return Err(fault.clone().into());
        }
        if offset < log_start || offset > high_watermark {
            return Err(ReadError::OutOfRange { offset, log_start, high_watermark });
        }
        Ok(ReadBatches { log_start, high_watermark, ..ReadBatches::default() })
    }

    fn has_index_of(&self, offset: Offset) -> bool {
        let state = self.state.borrow();
        state.segment_of(offset).is_some_and(|segment| segment.index.is_some())
    }

    /// A batch boundary at or before the batch that holds `offset`.
    async fn locate(self: &Rc<Self>, offset: Offset) -> Result<Option<Place>, LogFault> {
        let (segment, end) = {
            let state = self.state.borrow();
            let Some(segment) = state.segment_of(offset) else { return Ok(None) };
            if let Some(index) = &segment.index {
                let (start, end) = (index.locate(offset), state.file_end(segment));
                let in_flight = end < segment.end;
                return Ok(Some(Place { segment: segment.base, start, end, in_flight }));
            }
            (segment.base, segment.end)
        };
        let index = self.load_index(segment, end).await?;
        Ok(Some(Place { segment, start: index.locate(offset), end, in_flight: false }))
    }

    /// Where the log goes on when a segment ends before an offset that should be in it: with the next
    /// segment, if batches may be missing.
    fn after_gap(&self, segment: Offset, offset: Offset) -> Result<Offset, LogFault> {
        let state = self.state.borrow();
        let next = state.segments.iter().find(|next| next.base > segment && next.base > offset);
        match next {
            Some(next) if state.gaps_allowed() => Ok(next.base),
            _ => Err(self.damage(segment, Position::ZERO, format!("offset {offset} is missing"))),
        }
    }

    /// Takes batches from the tail cache; `None` when they are not there.
    fn read_cached(&self, place: &Place, wish: &Wish) -> Result<Option<Step>, LogFault> {
        let state = self.state.borrow();
        let mut position = place.start.position;
        loop {
            // All of this chunk may lie before the offset: the next one begins where it ends.
            let Some(bytes) = state.tail.read(place.segment, position) else { return Ok(None) };
            let walked = walk(&bytes, wish, None)
                .map_err(|reason| self.damage(place.segment, position, reason))?;
            if walked.end > 0 {
                self.shard.probe.tail_reads.add(1);
                let slice = bytes.slice(walked.skipped..walked.end);
                return Ok(Some(Step::Taken(slice, walked.next)));
            }
            if walked.stopped_at.is_some() {
                return Ok(Some(Step::TooLarge));
            }
            position = position + bytes.len() as u64;
        }
    }

    /// Takes batches from the segment's file. An index that misleads is made anew, once.
    async fn read_segment(self: &Rc<Self>, place: Place, wish: &Wish) -> Result<Step, LogFault> {
        match self.read_file(place, wish).await {
            Err(fault) if fault.kind == FaultKind::Damage => {
                let Some(start) = self.distrust_index(&place, wish.from).await? else {
                    return Err(fault);
                };
                self.read_file(Place { start, ..place }, wish).await
            }
            other => other,
        }
    }

    /// Reads first as much as is likely to serve, then exactly what the first batch needs if it is larger.
    async fn read_file(&self, place: Place, wish: &Wish) -> Result<Step, LogFault> {
        let file = self.open_for_reading(place.segment).await?;
        let mut succession = self.succession(place.start, place.segment);
        // The index is sparse, so the wanted batch begins a little behind the place.
        let interval = self.state.borrow().config.index_interval_bytes;
        let before = usize::try_from(interval).unwrap_or(usize::MAX).min(READ_BEFORE_BYTES_MAX);
        let usual = (wish.bytes_max.min(READ_BYTES_MAX) + before).max(BATCH_HEADER_BYTES);
        let (mut position, mut length) = (place.start.position, usual);
        while position < place.end {
            let left = place.end - position;
            length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = self.read_exactly(&file, place.segment, position, length).await?;
            let fault = |at, reason| self.damage(place.segment, at, reason);
            let walked = walk(&bytes, wish, Some(&mut succession));
            let walked = walked.map_err(|reason| fault(position, reason))?;
            if walked.end > 0 {
                return Ok(Step::Taken(bytes.slice(walked.skipped..walked.end), walked.next));
            }
            position = position + walked.skipped as u64;
            length = usual;
            match walked.stopped_at {
                None if walked.skipped == 0 => {
                    return Err(fault(position, format!("{left} bytes at the end are no batch")));
                }
                None => {}
                Some(header) if header.batch_bytes as u64 > place.end - position => {
                    let reason = "a batch is longer than its segment".to_string();
                    return Err(fault(position, reason));
                }
                Some(header) if header.next_offset() <= wish.from => {
                    let passed = succession.pass(&header);
                    passed.map_err(|reason| fault(position, reason))?;
                    position = position + header.batch_bytes as u64;
                }
                Some(header) if header.batch_bytes <= wish.bytes_max || wish.first_whole => {
                    length = header.batch_bytes;
                }
                Some(header) => {
                    // The one that the index promised, not just one that is too large.
                    let passed = succession.pass(&header);
                    passed.map_err(|reason| fault(position, reason))?;
                    return Ok(Step::TooLarge);
                }
            }
        }
        Ok(Step::Exhausted)
    }

    /// What the batches of a segment from a place on must be.
    pub(super) fn succession(&self, start: IndexedBatch, segment: Offset) -> Succession {
        let state = self.state.borrow();
        let epochs = state.epochs_known.then(|| state.epochs.clone());
        Succession::new(start, segment, state.gaps_allowed(), epochs)
    }

    pub(super) async fn read_exactly(
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

    pub(super) async fn open_for_reading(&self, segment: Offset) -> Result<Rc<File>, LogFault> {
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let key = FileKey { partition: self.number, segment, access: Access::Read };
        let file = self.shard.files.open(key, &self.segment_path(segment), options).await?;
        if self.state.borrow().retired {
            // Its files may be gone, and another partition's may have their names.
            self.shard.files.remove(key);
            return Err(gone_fault(&self.directory));
        }
        Ok(file)
    }

    pub(super) fn damage(&self, segment: Offset, position: Position, reason: String) -> LogFault {
        LogFault::damage(&self.segment_path(segment), position.0, reason)
    }
}
