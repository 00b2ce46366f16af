//! Where in a segment an offset or a time is: sparse, one entry per `index_interval_bytes`.
//!
//! In memory for the segment being written, on disk beside a sealed one, in Kafka's own formats:
//!
//! ```text
//! .index      relative offset u32 | position u32        ascending in both
//! .timeindex  timestamp i64       | relative offset u32 ascending in both
//! ```
//!
//! Offsets are those of the last record of a batch, as Kafka's tools check. Pure. An index never decides
//! what is valid: a reader starts at the entry's batch, looks whether it is that one, and walks on.

use crate::types::{Offset, Position, Timestamp};

pub const OFFSET_ENTRY_BYTES: usize = 8;
pub const TIME_ENTRY_BYTES: usize = 12;

/// A batch that an index names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexedBatch {
    pub position: Position,
    /// The offset of its last record; none at the segment's start.
    pub last_offset: Option<Offset>,
}

/// Offset and time index of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    base: Offset,
    offsets: Vec<(u32, u32)>,
    times: Vec<(i64, u32)>,
    /// Bytes appended since the last entry.
    since_entry: u64,
}

impl SegmentIndex {
    pub fn new(base: Offset) -> SegmentIndex {
        SegmentIndex { base, ..SegmentIndex::default() }
    }

    /// Notes a batch that lies at `position` and ends with offset `last`. `max_timestamp` is the largest
    /// timestamp of the segment so far, this batch included, and the last offset of the batch that has it.
    pub fn note_batch(
        &mut self,
        last: Offset,
        position: Position,
        batch_bytes: u64,
        max_timestamp: (Timestamp, Offset),
        interval_bytes: u64,
    ) {
        let entry = (self.relative(last), u32::try_from(position.0));
        let is_due = self.since_entry >= interval_bytes && position > self.last_position();
        if let (true, (Some(relative), Ok(position))) = (is_due, entry) {
            self.offsets.push((relative, position));
            self.note_time(max_timestamp);
            self.since_entry = 0;
        }
        self.since_entry += batch_bytes;
    }

    /// Ends the time index with the segment's largest timestamp, as Kafka does when it seals.
    pub fn seal(&mut self, max_timestamp: (Timestamp, Offset)) {
        self.note_time(max_timestamp);
    }

    /// Goes on at a place up to which nothing more is known: the next batch gets an entry.
    pub fn continue_at(&mut self, end: Position) {
        self.since_entry = end - self.last_position();
    }

    fn note_time(&mut self, (timestamp, offset): (Timestamp, Offset)) {
        let last = self.times.last().copied();
        let ascends = last.is_none_or(|(time, at)| {
            timestamp.0 > time && self.relative(offset).is_some_and(|relative| relative >= at)
        });
        if timestamp.0 >= 0
            && ascends
            && let Some(relative) = self.relative(offset)
        {
            self.times.push((timestamp.0, relative));
        }
    }

    fn relative(&self, offset: Offset) -> Option<u32> {
        u32::try_from(offset.0.checked_sub(self.base.0)?).ok()
    }

    /// A batch at or before the one that holds `offset`.
    pub fn locate(&self, offset: Offset) -> IndexedBatch {
        let after = match self.relative(offset) {
            Some(relative) => self.offsets.partition_point(|(entry, _)| *entry <= relative),
            // Below the base, or further than a segment reaches.
            None if offset < self.base => 0,
            None => self.offsets.len(),
        };
        self.entry(after)
    }

    /// The batch of the last entry: from there a scan finds the segment's end.
    pub fn last_entry(&self) -> IndexedBatch {
        self.entry(self.offsets.len())
    }

    /// The entry before place `after`; the segment's start when there is none.
    fn entry(&self, after: usize) -> IndexedBatch {
        let Some(at) = after.checked_sub(1) else { return IndexedBatch::default() };
        let (relative, position) = self.offsets[at];
        IndexedBatch {
            position: Position(u64::from(position)),
            last_offset: Some(self.offset(relative)),
        }
    }

    fn offset(&self, relative: u32) -> Offset {
        Offset(self.base.0.saturating_add(i64::from(relative)))
    }

    /// The last entry before `timestamp`: no batch before the one that ends with its offset holds a record
    /// of that time or later. None: it may be in the first.
    pub fn locate_time(&self, timestamp: Timestamp) -> Option<(Timestamp, Offset)> {
        let after = self.times.partition_point(|(time, _)| *time < timestamp.0);
        let (time, relative) = self.times[after.checked_sub(1)?];
        Some((Timestamp(time), self.offset(relative)))
    }

    /// The largest timestamp noted, and its offset.
    pub fn last_time(&self) -> Option<(Timestamp, Offset)> {
        let (time, relative) = self.times.last()?;
        Some((Timestamp(*time), self.offset(*relative)))
    }

    /// An entry of the offset index, by its number.
    pub fn offset_entry(&self, at: usize) -> Option<IndexedBatch> {
        (at < self.offsets.len()).then(|| self.entry(at + 1))
    }

    /// An entry of the time index, by its number.
    pub fn time_entry(&self, at: usize) -> Option<(Timestamp, Offset)> {
        let (time, relative) = self.times.get(at)?;
        Some((Timestamp(*time), self.offset(*relative)))
    }

    fn last_position(&self) -> Position {
        self.last_entry().position
    }

    /// Bytes of the larger of the two files.
    pub fn file_bytes(&self) -> usize {
        (self.offsets.len() * OFFSET_ENTRY_BYTES).max(self.times.len() * TIME_ENTRY_BYTES)
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<(u32, u32)>()
            + self.times.capacity() * size_of::<(i64, u32)>()
    }

    /// The contents of `.index`.
    pub fn encode_offsets(&self) -> Vec<u8> {
        self.encode_offsets_from(0)
    }

    /// The contents of `.timeindex`.
    pub fn encode_times(&self) -> Vec<u8> {
        self.encode_times_from(0)
    }

    /// The contents of `.index` from a byte on.
    pub fn encode_offsets_from(&self, byte: usize) -> Vec<u8> {
        encode_from(
            &self.offsets,
            byte,
            |(relative, position), out: &mut [u8; OFFSET_ENTRY_BYTES]| {
                out[..4].copy_from_slice(&relative.to_be_bytes());
                out[4..].copy_from_slice(&position.to_be_bytes());
            },
        )
    }

    /// The contents of `.timeindex` from a byte on.
    pub fn encode_times_from(&self, byte: usize) -> Vec<u8> {
        encode_from(&self.times, byte, |(time, relative), out: &mut [u8; TIME_ENTRY_BYTES]| {
            out[..8].copy_from_slice(&time.to_be_bytes());
            out[8..].copy_from_slice(&relative.to_be_bytes());
        })
    }

    /// Forgets what lies at or after the end of what is known to be complete.
    pub fn truncate(&mut self, end: Position, next: Offset) {
        let relative = next.0.saturating_sub(self.base.0);
        let is_before =
            |entry: &(u32, u32)| u64::from(entry.1) < end.0 && i64::from(entry.0) < relative;
        self.offsets.truncate(self.offsets.partition_point(is_before));
        self.times.truncate(self.times.partition_point(|(_, at)| i64::from(*at) < relative));
        self.since_entry = end - self.last_position();
    }

    /// Reads both files' contents back. Entries that do not ascend, or lie outside the segment, mean
    /// that the index is damaged or belongs to something else: `None`, and the caller rebuilds it.
    /// Trailing zeros are what Kafka preallocated, or our own last block's rest, and are ignored.
    pub fn decode(
        base: Offset,
        offsets: &[u8],
        times: &[u8],
        segment_bytes: u64,
    ) -> Option<SegmentIndex> {
        let (times, rest) = times.split_at(times.len() / TIME_ENTRY_BYTES * TIME_ENTRY_BYTES);
        let is_padded = rest.iter().all(|byte| *byte == 0);
        if !offsets.len().is_multiple_of(OFFSET_ENTRY_BYTES) || !is_padded {
            return None;
        }
        let mut index = SegmentIndex::new(base);
        for entry in offsets.chunks_exact(OFFSET_ENTRY_BYTES) {
            let relative = u32::from_be_bytes(entry[..4].try_into().ok()?);
            let position = u32::from_be_bytes(entry[4..].try_into().ok()?);
            if (relative, position) == (0, 0) {
                continue;
            }
            let ascends = index.offsets.last().is_none_or(|(r, p)| *r < relative && *p < position);
            if !ascends || u64::from(position) >= segment_bytes {
                return None;
            }
            index.offsets.push((relative, position));
        }
        for entry in times.chunks_exact(TIME_ENTRY_BYTES) {
            let time = i64::from_be_bytes(entry[..8].try_into().ok()?);
            let relative = u32::from_be_bytes(entry[8..].try_into().ok()?);
            if (time, relative) == (0, 0) {
                continue;
            }
            if !index.times.last().is_none_or(|(t, r)| *t < time && *r <= relative) {
                return None;
            }
            index.times.push((time, relative));
        }
        Some(index)
    }
}

/// Encodes entries of `N` bytes each, without the first `byte` bytes of the whole.
fn encode_from<T: Copy, const N: usize>(
    entries: &[T],
    byte: usize,
    encode: impl Fn(T, &mut [u8; N]),
) -> Vec<u8> {
    let first = (byte / N).min(entries.len());
    let mut out = Vec::with_capacity((entries.len() - first) * N);
    for entry in &entries[first..] {
        let mut bytes = [0; N];
        encode(*entry, &mut bytes);
        out.extend_from_slice(&bytes);
    }
    drop(out.drain(..(byte - first * N).min(out.len())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of 10 records and 100 bytes, one entry per 200 bytes, a batch a second.
    fn sample() -> SegmentIndex {
        let mut index = SegmentIndex::new(Offset(1000));
        for batch in 0..10i64 {
            let last = Offset(1009 + batch * 10);
            let position = Position(batch as u64 * 100);
            index.note_batch(last, position, 100, (Timestamp(batch * 1000), last), 200);
        }
        index
    }

    #[test]
    fn an_offset_is_located_at_or_before_its_batch() {
        let index = sample();
        for offset in 1000..1100 {
            let true_position = (offset - 1000) as u64 / 10 * 100;
            let located = index.locate(Offset(offset));
            let behind = true_position.checked_sub(located.position.0);
            assert!(behind.is_some_and(|behind| behind <= 200), "{offset}");
            let last = located.position.0 as i64 / 10 + 1009;
            assert_eq!(located.last_offset.unwrap_or(Offset(1009)), Offset(last));
        }
        assert_eq!(index.locate(Offset(5)), IndexedBatch::default());
        assert_eq!(index.locate(Offset(i64::MAX)), index.last_entry());
    }

    #[test]
    fn a_time_is_located_at_or_before_its_batch() {
        let index = sample();
        for time in 0..10_000 {
            let first_batch = (time + 999) / 1000;
            let entry = index.locate_time(Timestamp(time));
            assert!(entry.is_none_or(|(at, _)| at < Timestamp(time)), "{time}");
            assert!(entry.is_none_or(|(_, offset)| offset.0 <= 1009 + first_batch * 10), "{time}");
        }
    }

    #[test]
    fn files_read_back_as_written() {
        let mut index = sample();
        index.seal((Timestamp(9000), Offset(1099)));
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        let mut back = SegmentIndex::decode(Offset(1000), &offsets, &times, 1000).unwrap();
        back.since_entry = index.since_entry;
        assert_eq!(back, index);
        assert_eq!(back.last_time(), Some((Timestamp(9000), Offset(1099))));
    }

    #[test]
    fn files_that_end_in_zeros_read_back() {
        let index = sample();
        let (mut offsets, mut times) = (index.encode_offsets(), index.encode_times());
        offsets.resize(4096, 0);
        times.resize(4096, 0);
        let mut back = SegmentIndex::decode(Offset(1000), &offsets, &times, 1000).unwrap();
        back.since_entry = index.since_entry;
        assert_eq!(back, index);
    }

    #[test]
    fn any_tail_of_a_file_is_encoded_alone() {
        let index = sample();
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        for byte in 0..=offsets.len() {
            assert_eq!(index.encode_offsets_from(byte), offsets[byte..], "{byte}");
        }
        for byte in 0..=times.len() {
            assert_eq!(index.encode_times_from(byte), times[byte..], "{byte}");
        }
    }

    #[test]
    fn what_lies_behind_the_end_is_forgotten() {
        let mut index = sample();
        index.truncate(Position(500), Offset(1050));
        assert_eq!(
            index.last_entry(),
            IndexedBatch { position: Position(400), last_offset: Some(Offset(1049)) }
        );
        assert_eq!(index.last_time(), Some((Timestamp(4000), Offset(1049))));
        assert_eq!(index.since_entry, 100);
        index.truncate(Position::ZERO, Offset(1000));
        assert_eq!(index, SegmentIndex::new(Offset(1000)));
    }

    #[test]
    fn damaged_files_are_not_an_index() {
        let index = sample();
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        assert!(SegmentIndex::decode(Offset(1000), &offsets[1..], &times, 1000).is_none());
        assert!(SegmentIndex::decode(Offset(1000), &offsets, &times[..7], 1000).is_none());
        assert!(SegmentIndex::decode(Offset(1000), &offsets, &times, 300).is_none());
        let mut swapped = offsets.clone();
        swapped.rotate_left(OFFSET_ENTRY_BYTES);
        assert!(SegmentIndex::decode(Offset(1000), &swapped, &times, 1000).is_none());
    }
}
