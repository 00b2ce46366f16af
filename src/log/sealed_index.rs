//! Indexes of segments that are not being written: loaded when somebody reads there, believed when they
//! name batches that are there, made anew from the segment when not. Lives on the partition's shard.

use super::fault::LogFault;
use super::index::{IndexedBatch, SegmentIndex};
use super::partition::Partition;
use super::planted::{self, Bug};
use super::reader::Place;
use super::segment::{self, Segment};
use super::small_file;
use crate::limits::{BATCH_HEADER_BYTES, INDEX_FILE_BYTES_MAX};
use crate::types::{Offset, Position};
use crate::wire::batch::BatchHeader;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Bytes read at once where batches are only looked through; a larger batch is read whole.
const SCAN_BYTES: usize = 256 * 1024;

impl Partition {
    /// The index of a sealed segment, read from its files, or rebuilt from the segment if they are
    /// missing or do not fit.
    pub(super) async fn load_index(
        self: &Rc<Self>,
        base: Offset,
        end: Position,
    ) -> Result<Rc<SegmentIndex>, LogFault> {
        let mut index = self.read_index(base, end).await?;
        if let Some(decoded) = &index
            && !self.index_fits(decoded, base, end).await?
        {
            index = None;
        }
        match index {
            Some(index) => {
                let index = Rc::new(index);
                self.keep_sealed_index(base, index.clone());
                Ok(index)
            }
            None => self.rebuild_index(base, end).await,
        }
    }

    /// Where to read instead after the index named a batch that is not there; `None` when the index was
    /// not asked.
    pub(super) async fn distrust_index(
        self: &Rc<Self>,
        place: &Place,
        offset: Offset,
    ) -> Result<Option<IndexedBatch>, LogFault> {
        if place.start.last_offset.is_none() {
            return Ok(None);
        }
        if self.state.borrow().active().base == place.segment {
            return Ok(Some(IndexedBatch::default()));
        }
        let index = self.rebuild_index(place.segment, place.end).await?;
        Ok(Some(index.locate(offset)))
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
            match small_file::read_if_whole(&path, INDEX_FILE_BYTES_MAX).await {
                Ok(Some(bytes)) => contents.push(bytes),
                Ok(None) => return Ok(None),
                Err(error) => return Err(LogFault::from_io("read", &path, 0, &error)),
            }
        }
        Ok(SegmentIndex::decode(base, &contents[0], &contents[1], end.0))
    }

    /// An index is believed when its last entries name batches that are there. Others are looked at when
    /// they are used.
    pub(super) async fn index_fits(
        self: &Rc<Self>,
        index: &SegmentIndex,
        base: Offset,
        end: Position,
    ) -> Result<bool, LogFault> {
        if end == Position::ZERO || planted::is(Bug::TrustIndex) {
            return Ok(true);
        }
        let last = index.last_entry();
        if end.0.saturating_sub(last.position.0) < BATCH_HEADER_BYTES as u64 {
            return Ok(false);
        }
        let file = self.open_for_reading(base).await?;
        let bytes = self.read_exactly(&file, base, last.position, BATCH_HEADER_BYTES).await?;
        let named = BatchHeader::parse(&bytes).ok();
        let is_named = named
            .is_some_and(|header| last.last_offset.is_none_or(|last| header.last_offset() == last));
        let Some((time, offset)) = index.last_time().filter(|_| is_named) else {
            return Ok(is_named);
        };
        let mut fits = false;
        let place = Place { segment: base, start: index.locate(offset), end, in_flight: false };
        let scanned = self.scan_batches(place, |header, _| {
            fits = header.last_offset() == offset && header.max_timestamp == time;
            if header.last_offset() < offset {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match scanned.await {
            Err(fault) if fault.kind == super::fault::FaultKind::Damage => Ok(false),
            other => other.map(|()| fits),
        }
    }

    pub(super) async fn rebuild_index(
        self: &Rc<Self>,
        base: Offset,
        end: Position,
    ) -> Result<Rc<SegmentIndex>, LogFault> {
        tracing::warn!(partition = %self.id, segment = %base, "rebuilding the index of a segment");
        let interval = self.state.borrow().config.index_interval_bytes;
        let mut segment = Segment::sealed(base, end.0);
        let mut index = SegmentIndex::new(base);
        let whole = Place { segment: base, start: IndexedBatch::default(), end, in_flight: false };
        self.scan_batches(whole, |header, position| {
            let last = header.last_offset();
            let max = segment.note_time(header.max_timestamp, last);
            index.note_batch(last, position, header.batch_bytes as u64, max, interval);
            ControlFlow::Continue(())
        })
        .await?;
        if let Some(max) = segment.max_timestamp {
            index.seal(max);
        }
        let index = Rc::new(index);
        self.keep_sealed_index(base, index.clone());
        Ok(index)
    }

    /// Shows `visit` every batch of a segment from a place on, checked, until it breaks off.
    pub(super) async fn scan_batches(
        &self,
        place: Place,
        mut visit: impl FnMut(&BatchHeader, Position) -> ControlFlow<()>,
    ) -> Result<(), LogFault> {
        if place.start.position >= place.end {
            // An empty log has no file.
            return Ok(());
        }
        let file = self.open_for_reading(place.segment).await?;
        let mut succession = self.succession(place.start, place.segment);
        let (mut position, mut wish) = (place.start.position, SCAN_BYTES);
        while position < place.end {
            let left = usize::try_from(place.end - position).unwrap_or(usize::MAX);
            let bytes = self.read_exactly(&file, place.segment, position, wish.min(left)).await?;
            let (mut at, mut next_bytes) = (0, BATCH_HEADER_BYTES);
            while bytes.len() - at >= BATCH_HEADER_BYTES {
                let here = position + at as u64;
                let fault = |reason| self.damage(place.segment, here, reason);
                let header = BatchHeader::parse(&bytes[at..]);
                let header = header.map_err(|error| fault(error.to_string()))?;
                next_bytes = header.batch_bytes;
                let Some(batch) = bytes.get(at..at + next_bytes) else { break };
                succession.check(batch).map_err(|wrong| fault(wrong.to_string()))?;
                if visit(&header, here).is_break() {
                    return Ok(());
                }
                // Of the one after it no more than a header is known to be needed.
                (at, next_bytes) = (at + next_bytes, BATCH_HEADER_BYTES);
            }
            if left - at < next_bytes && left > at {
                let reason = "the segment ends within a batch".to_string();
                return Err(self.damage(place.segment, position + at as u64, reason));
            }
            position = position + at as u64;
            wish = if at == 0 { next_bytes } else { SCAN_BYTES };
        }
        Ok(())
    }
}
