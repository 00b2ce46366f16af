//! What an inspection learns from each batch of a walk over a log: counts, whether the segment's index names
//! batches that are there, whether producers' batches follow each other. Pure.

use super::finding::{FINDINGS_MAX, Totals};
use crate::log::index::{OFFSET_ENTRY_BYTES, SegmentIndex, TIME_ENTRY_BYTES};
use crate::log::producers::{ProducerState, Verdict};
use crate::types::{Offset, Position, Timestamp};
use crate::wire::batch::BatchHeader;

/// What an index says that is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongEntry {
    pub in_times: bool,
    pub position: u64,
    pub reason: String,
}

/// Holds an index against the batches of its segment as they come.
struct IndexCheck {
    index: SegmentIndex,
    offsets_seen: usize,
    times_seen: usize,
    /// Time entries name the last offset of a batch, as ours do.
    is_exact: bool,
    wrong: Option<WrongEntry>,
}

impl IndexCheck {
    fn see(&mut self, header: &BatchHeader, position: Position) {
        let last = header.last_offset();
        while let Some(entry) = self.index.offset_entry(self.offsets_seen)
            && entry.position <= position
            && self.wrong.is_none()
        {
            if entry.position < position || entry.last_offset != Some(last) {
                self.wrong = Some(self.wrong_offset());
            }
            self.offsets_seen += 1;
        }
        while let Some((time, offset)) = self.index.time_entry(self.times_seen)
            && offset <= last
            && self.wrong.is_none()
        {
            // Kafka of old days names the record itself, whose time need not be the batch's largest.
            if self.is_exact && (time, offset) != (header.max_timestamp, last) {
                self.wrong = Some(self.wrong_time());
            }
            self.times_seen += 1;
        }
    }

    fn wrong_offset(&self) -> WrongEntry {
        let entry = self.index.offset_entry(self.offsets_seen).unwrap_or_default();
        let last = entry.last_offset.unwrap_or_default();
        let position = (self.offsets_seen * OFFSET_ENTRY_BYTES) as u64;
        let reason =
            format!("no batch that ends with offset {last} begins at byte {}", entry.position);
        WrongEntry { in_times: false, position, reason }
    }

    fn wrong_time(&self) -> WrongEntry {
        let entry = self.index.time_entry(self.times_seen);
        let (time, offset) = entry.unwrap_or((Timestamp::NONE, Offset::ZERO));
        let position = (self.times_seen * TIME_ENTRY_BYTES) as u64;
        let reason = format!("no batch ends with offset {offset} and has the time {time}");
        WrongEntry { in_times: true, position, reason }
    }

    /// After the segment's last batch; `max` when its index must end with the largest time.
    fn end(self, max: Option<(Timestamp, Offset)>) -> Option<WrongEntry> {
        if self.wrong.is_some() {
            return self.wrong;
        }
        if self.index.offset_entry(self.offsets_seen).is_some() {
            return Some(self.wrong_offset());
        }
        if self.index.time_entry(self.times_seen).is_some() {
            return Some(self.wrong_time());
        }
        let max = max.filter(|(time, _)| time.0 >= 0);
        if max.is_some() && max != self.index.last_time() {
            let (time, offset) = max.unwrap_or((Timestamp::NONE, Offset::ZERO));
            let reason =
                format!("it does not end with the largest time, {time} at offset {offset}");
            let position = (self.times_seen * TIME_ENTRY_BYTES) as u64;
            return Some(WrongEntry { in_times: true, position, reason });
        }
        None
    }
}

/// A batch whose sequence does not follow.
pub struct Break {
    pub position: Position,
    pub offsets: (Offset, Offset),
    pub reason: String,
}

/// Sees every batch of a log in order.
pub struct Observer {
    pub totals: Totals,
    /// Offsets that batches without records stand for.
    pub skipped: u64,
    pub producers: ProducerState,
    /// Of the segment that is walked over; taken away by whoever ends it.
    pub breaks: Vec<Break>,
    /// Nothing is missing so far, so that sequences can be expected to follow.
    follows: bool,
    index: Option<IndexCheck>,
}

impl Observer {
    /// `is_own`: no batches were compacted away, and sequences can be held against each other.
    pub fn new(is_own: bool) -> Observer {
        Observer {
            totals: Totals::default(),
            skipped: 0,
            producers: ProducerState::default(),
            breaks: Vec::new(),
            follows: is_own,
            index: None,
        }
    }

    /// A segment begins that has this index.
    pub fn begin_index(&mut self, index: SegmentIndex, is_exact: bool) {
        let (offsets_seen, times_seen, wrong) = (0, 0, None);
        self.index = Some(IndexCheck { index, offsets_seen, times_seen, is_exact, wrong });
    }

    /// A segment ended.
    pub fn end_index(&mut self, max: Option<(Timestamp, Offset)>) -> Option<WrongEntry> {
        self.index.take()?.end(max)
    }

    /// Batches are missing here.
    pub fn note_gap(&mut self) {
        self.follows = false;
    }

    pub fn see(&mut self, header: &BatchHeader, position: Position, now: Timestamp) {
        let records = u64::try_from(header.record_count).unwrap_or(0);
        self.totals.batches += 1;
        self.totals.records += records;
        self.totals.bytes += header.batch_bytes as u64;
        if records == 0 && !header.has_producer() {
            self.skipped += u64::try_from(header.last_offset_delta).map_or(0, |last| last + 1);
            self.follows = false;
        }
        if self.follows && header.has_producer() {
            let offsets = (header.base_offset, header.last_offset());
            let reason = match self.producers.check(header) {
                Ok(Verdict::Append) => None,
                Ok(Verdict::Duplicate(stored)) => {
                    let first = stored.first_offset;
                    Some(format!("the batch was stored before, at offset {first}"))
                }
                Err(error) => Some(error.to_string()),
            };
            let breaks = reason.map(|reason| Break { position, offsets, reason });
            self.breaks.extend(breaks.filter(|_| self.breaks.len() < FINDINGS_MAX));
        }
        self.producers.note(header, now);
        if let Some(index) = &mut self.index {
            index.see(header, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::testing;

    /// Three batches of two records, a second and 100 bytes apart, in a segment that begins at 10.
    fn headers() -> Vec<(BatchHeader, Position)> {
        let batch = |number: i64| {
            let producer = Some((7, 0, number as i32 * 2));
            let bytes = testing::batch(&[b"a", b"b"], Timestamp(1000 * number), producer);
            let header = BatchHeader::parse(&bytes).unwrap();
            let header = BatchHeader { base_offset: Offset(10 + 2 * number), ..header };
            (header, Position(100 * number as u64))
        };
        (0..3).map(batch).collect()
    }

    fn index_of(headers: &[(BatchHeader, Position)]) -> SegmentIndex {
        let mut index = SegmentIndex::new(Offset(10));
        for (header, position) in headers {
            let max = (header.max_timestamp, header.last_offset());
            index.note_batch(header.last_offset(), *position, 100, max, 1);
        }
        index
    }

    fn check(change: impl Fn(&mut BatchHeader, &mut Position)) -> Option<WrongEntry> {
        let mut observer = Observer::new(true);
        observer.begin_index(index_of(&headers()), true);
        for (mut header, mut position) in headers() {
            change(&mut header, &mut position);
            observer.see(&header, position, Timestamp(0));
        }
        observer.end_index(Some((Timestamp(2000), Offset(15))))
    }

    #[test]
    fn an_index_fits_its_batches_and_no_others() {
        assert_eq!(check(|_, _| {}), None);
        let moved = check(|_, position| *position = Position(position.0 + 1)).unwrap();
        assert!(!moved.in_times, "{moved:?}");
        assert!(check(|header, _| header.last_offset_delta = 0).is_some());
        let later = check(|header, _| header.max_timestamp = Timestamp(2000)).unwrap();
        assert!(later.in_times, "{later:?}");
    }

    #[test]
    fn entries_behind_the_end_are_wrong() {
        let mut observer = Observer::new(true);
        observer.begin_index(index_of(&headers()), true);
        let (header, position) = headers()[0];
        observer.see(&header, position, Timestamp(0));
        assert_eq!(observer.end_index(None).unwrap().position, 0);
    }

    #[test]
    fn sequences_must_follow_until_something_is_missing() {
        let [first, second, third]: [_; 3] = headers().try_into().unwrap();
        let breaks = |batches: &[(BatchHeader, Position)], gap_after: usize| {
            let mut observer = Observer::new(true);
            for (number, (header, position)) in batches.iter().enumerate() {
                observer.see(header, *position, Timestamp(0));
                if number == gap_after {
                    observer.note_gap();
                }
            }
            observer.breaks.len()
        };
        assert_eq!(breaks(&[first, second, third], 9), 0);
        assert_eq!(breaks(&[first, third], 9), 1);
        assert_eq!(breaks(&[first, third], 0), 0);
        assert_eq!(breaks(&[first, first], 9), 1);
    }
}
