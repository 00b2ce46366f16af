//! Finding records by their time (ListOffsets). Cold; lives on the partition's shard.

use super::fault::{FaultKind, LogFault};
use super::index::{IndexedBatch, SegmentIndex};
use super::partition::Partition;
use super::reader::{Place, ReadError};
use crate::runtime::buffer::BufferSlice;
use crate::types::{Offset, Position, Timestamp};
use std::ops::ControlFlow;
use std::rc::Rc;

/// A batch in a segment: where it begins and how long it is.
type Found = Option<(Position, usize)>;

impl Partition {
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
        for base in self.segments_from(from) {
            match self.read_by_time(base, timestamp, from).await {
                Ok(None) => {}
                // Retention took it in the meantime.
                Err(_) if !self.has_segment(base) => {}
                found => return Ok(found?),
            }
        }
        Ok(None)
    }

    async fn read_by_time(
        self: &Rc<Self>,
        base: Offset,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<BufferSlice>, LogFault> {
        let Some((end, index)) = self.index_of(base).await? else { return Ok(None) };
        let found = self.find_in_segment(base, end, &index, timestamp, from).await?;
        let Some((position, length)) = found else { return Ok(None) };
        let file = self.open_for_reading(base).await?;
        Ok(Some(self.read_exactly(&file, base, position, length).await?))
    }

    fn has_segment(&self, base: Offset) -> bool {
        self.state.borrow().segments.iter().any(|segment| segment.base == base)
    }

    /// The committed batch with the largest timestamp; the earliest of several.
    ///
    /// # Errors
    /// The fault of the partition or of this read.
    pub async fn find_batch_of_max_time(self: &Rc<Self>) -> Result<Option<BufferSlice>, ReadError> {
        let log_start = self.log_start();
        self.check_range(log_start)?;
        let mut max = Timestamp::NONE;
        for base in self.segments_from(log_start) {
            match self.max_time_of(base, log_start).await {
                Err(_) if !self.has_segment(base) => {}
                time => max = max.max(time?),
            }
        }
        if max.0 < 0 {
            return Ok(None);
        }
        self.find_batch_by_time(max, log_start).await
    }

    /// The largest time in a segment from an offset on.
    async fn max_time_of(
        self: &Rc<Self>,
        base: Offset,
        log_start: Offset,
    ) -> Result<Timestamp, LogFault> {
        let Some((end, _)) = self.index_of(base).await? else { return Ok(Timestamp::NONE) };
        let known = {
            let state = self.state.borrow();
            let segment = state.segments.iter().find(|segment| segment.base == base);
            segment.and_then(|segment| segment.max_timestamp)
        };
        match known {
            Some((time, offset)) if offset >= log_start => Ok(time),
            // The segment's largest time lies before the log's start.
            _ => self.max_time_from(base, end, log_start).await,
        }
    }

    /// Base offsets of the segments that may hold `log_start` or later.
    fn segments_from(&self, log_start: Offset) -> Vec<Offset> {
        let state = self.state.borrow();
        let first = state.segment_of(log_start).map_or(Offset::ZERO, |segment| segment.base);
        state.segments.iter().map(|segment| segment.base).filter(|base| *base >= first).collect()
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
                return Ok(Some((state.file_end(segment), index.clone())));
            }
            segment.end
        };
        Ok(Some((end, self.load_index(base, end).await?)))
    }

    async fn find_in_segment(
        self: &Rc<Self>,
        base: Offset,
        end: Position,
        index: &SegmentIndex,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Found, LogFault> {
        let is_active = self.state.borrow().active().base == base;
        // The index of a sealed segment ends with its largest time.
        if !is_active && index.last_time().is_some_and(|(last, _)| last < timestamp) {
            return Ok(None);
        }
        let entry = index.locate_time(timestamp);
        let start = index.locate(entry.map_or(base, |(_, offset)| offset));
        // From the segment's start on nothing can be missed, whatever the index said.
        let mut entry = entry.filter(|_| start.last_offset.is_some());
        let mut start = start;
        if index.locate(from).position > start.position {
            (entry, start) = (None, index.locate(from));
        }
        let place = Place { segment: base, start, end, in_flight: false };
        match self.scan_for_time(place, entry, timestamp, from).await {
            Err(fault) if fault.kind == FaultKind::Damage => {
                let Some(start) = self.distrust_index(&place, base).await? else {
                    return Err(fault);
                };
                let place = Place { start, ..place };
                self.scan_for_time(place, None, timestamp, from).await
            }
            other => other,
        }
    }

    /// `entry` of the time index led to the place: it is damage when no batch bears it out.
    async fn scan_for_time(
        &self,
        place: Place,
        entry: Option<(Timestamp, Offset)>,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Found, LogFault> {
        let mut found = None;
        let mut borne_out = entry.is_none();
        self.scan_batches(place, |header, position| {
            borne_out |= entry == Some((header.max_timestamp, header.last_offset()));
            let holds = header.max_timestamp >= timestamp && header.next_offset() > from;
            let passed = entry.is_some_and(|(_, offset)| header.last_offset() >= offset);
            if holds {
                found = Some((position, header.batch_bytes));
            }
            let goes_on = !holds && (borne_out || !passed);
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
        if !borne_out {
            let reason = "the time index names another batch".to_string();
            return Err(self.damage(place.segment, place.start.position, reason));
        }
        Ok(found)
    }

    async fn max_time_from(
        &self,
        base: Offset,
        end: Position,
        log_start: Offset,
    ) -> Result<Timestamp, LogFault> {
        let mut max = Timestamp::NONE;
        let place = Place { segment: base, start: IndexedBatch::default(), end, in_flight: false };
        self.scan_batches(place, |header, _| {
            if header.next_offset() > log_start {
                max = max.max(header.max_timestamp);
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(max)
    }
}
