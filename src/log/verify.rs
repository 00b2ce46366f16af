//! What a batch that was read from a file must show before it is believed: its checksum, and, because the
//! checksum covers neither, its place in the succession of offsets and its leader epoch. Pure.

use super::index::IndexedBatch;
use super::planted::{self, Bug};
use crate::types::Offset;
use crate::wire::batch::{self, BatchHeader};
use std::rc::Rc;

/// Where each leader epoch began, ascending.
pub type Epochs = Rc<Vec<(i32, Offset)>>;

/// The epoch under which the record at `offset` was written, if that is known.
pub fn epoch_at(epochs: &[(i32, Offset)], offset: Offset) -> Option<i32> {
    let after = epochs.partition_point(|(_, start)| *start <= offset);
    after.checked_sub(1).map(|at| epochs[at].0)
}

/// What is wrong with a batch, for people. Only a torn one can be what a crash left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("{0}")]
    Torn(String),
    /// Whole, but not what belongs here.
    #[error("{0}")]
    Misplaced(String),
}

/// Adds an epoch to the history if it is newer than all.
pub fn note_epoch(epochs: &mut Epochs, epoch: i32, start: Offset) {
    if epochs.last().is_none_or(|(last, _)| *last < epoch) {
        Rc::make_mut(epochs).push((epoch, start));
    }
}

/// Follows the batches of one segment.
pub struct Succession {
    /// The offset that comes next; none before the first batch.
    next: Option<Offset>,
    first: IndexedBatch,
    base: Offset,
    /// Batches may be missing in between: the log was compacted, here or by Apache Kafka.
    gaps_allowed: bool,
    /// None where a log came without its history of epochs.
    epochs: Option<Epochs>,
    tail: Option<Tail>,
    last_bytes: usize,
}

/// What a succession does at the log's end, where the history of epochs grows.
struct Tail {
    epochs: Epochs,
    /// The newest epoch there can be; none when nothing is known of epochs.
    limit: Option<i32>,
}

impl Succession {
    /// Begins at the batch that an index names, of the segment that begins with offset `base`.
    pub fn new(
        first: IndexedBatch,
        base: Offset,
        gaps_allowed: bool,
        epochs: Option<Epochs>,
    ) -> Succession {
        Succession { next: None, first, base, gaps_allowed, epochs, tail: None, last_bytes: 0 }
    }

    /// The same at the log's end: batches may begin new epochs, up to `limit` where epochs are known.
    pub fn of_tail(
        first: IndexedBatch,
        base: Offset,
        gaps_allowed: bool,
        epochs: Epochs,
        limit: Option<i32>,
    ) -> Succession {
        let tail = Some(Tail { epochs, limit });
        Succession { tail, ..Succession::new(first, base, gaps_allowed, None) }
    }

    /// The same after a place that is known: the next batch begins at `next`.
    pub fn after(self, next: Offset) -> Succession {
        Succession { next: Some(next), ..self }
    }

    /// Bytes of the batch that was checked last.
    pub fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    /// The history of epochs, with those that the log's end began.
    pub fn epochs(&self) -> Epochs {
        let epochs = self.tail.as_ref().map(|tail| &tail.epochs).or(self.epochs.as_ref());
        epochs.cloned().unwrap_or_default()
    }

    /// Checks the whole batch at the start of `bytes`, which comes next.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&mut self, bytes: &[u8]) -> Result<BatchHeader, Wrong> {
        let header = match planted::is(Bug::SkipChecksum) {
            true => BatchHeader::parse(bytes),
            false => batch::parse_whole(bytes),
        };
        let header = header.map_err(|error| Wrong::Torn(error.to_string()))?;
        self.pass(&header).map_err(Wrong::Misplaced)?;
        Ok(header)
    }

    /// Checks as much of the next batch as its header shows.
    ///
    /// # Errors
    /// As `check`.
    pub fn pass(&mut self, header: &BatchHeader) -> Result<(), String> {
        let offset = header.base_offset;
        let next = offset.0.checked_add(i64::from(header.last_offset_delta) + 1);
        let Some(next) = next.filter(|next| *next > offset.0 && *next < i64::MAX) else {
            return Err(format!("no batch of {} can begin at {offset}", header.last_offset_delta));
        };
        self.check_offset(header)?;
        self.check_epoch(header)?;
        (self.next, self.last_bytes) = (Some(Offset(next)), header.batch_bytes);
        Ok(())
    }

    fn check_epoch(&mut self, header: &BatchHeader) -> Result<(), String> {
        let (offset, epoch) = (header.base_offset, header.leader_epoch);
        // Batches older than epochs say -1.
        if epoch == -1 {
            return Ok(());
        }
        if let Some(Tail { epochs, limit }) = &mut self.tail {
            let is_new =
                epochs.last().is_none_or(|(last, start)| epoch > *last && offset >= *start);
            if is_new && limit.is_none_or(|limit| epoch <= limit) {
                note_epoch(epochs, epoch, offset);
                return Ok(());
            }
            if limit.is_none() {
                let last = epochs.last().map_or(-1, |(last, _)| *last);
                let reason = || format!("offset {offset} is of epoch {epoch}, after {last}");
                return if epoch >= last { Ok(()) } else { Err(reason()) };
            }
        }
        let epochs = self.tail.as_ref().map(|tail| &tail.epochs).or(self.epochs.as_ref());
        let expected = epochs.and_then(|epochs| epoch_at(epochs, offset));
        match expected.filter(|expected| *expected != epoch) {
            Some(expected) => {
                Err(format!("offset {offset} is of epoch {expected}, the batch says {epoch}"))
            }
            None => Ok(()),
        }
    }

    fn check_offset(&self, header: &BatchHeader) -> Result<(), String> {
        let offset = header.base_offset;
        match (self.next, self.first.last_offset) {
            (Some(next), _) if offset == next || (self.gaps_allowed && offset > next) => Ok(()),
            (Some(next), _) => Err(format!("offset {offset} where {next} comes next")),
            (None, _) if planted::is(Bug::TrustIndex) => Ok(()),
            (None, Some(last)) if header.last_offset() == last => Ok(()),
            (None, Some(last)) => {
                Err(format!("offset {} where the index says {last}", header.last_offset()))
            }
            (None, None) if offset == self.base => Ok(()),
            (None, None) if self.gaps_allowed && offset > self.base => Ok(()),
            (None, None) => Err(format!("offset {offset} at the start of {}", self.base)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Position, Timestamp};
    use crate::wire::batch::testing;

    fn batch_at(base: i64, epoch: i32) -> Vec<u8> {
        let mut bytes = testing::batch(&[b"one", b"two"], Timestamp(7), None);
        batch::assign_offsets(&mut bytes, Offset(base), epoch);
        bytes
    }

    /// Offsets and epochs of batches of two records each, in a segment that begins at 10.
    fn check(gaps_allowed: bool, batches: &[(i64, i32)], accepted: usize) {
        let epochs = Rc::new(vec![(0, Offset(0)), (3, Offset(12))]);
        let first = IndexedBatch::default();
        let mut succession = Succession::new(first, Offset(10), gaps_allowed, Some(epochs));
        let good = batches
            .iter()
            .take_while(|(base, epoch)| succession.check(&batch_at(*base, *epoch)).is_ok());
        assert_eq!(good.count(), accepted, "{batches:?}");
    }

    #[test]
    fn offsets_follow_each_other_and_epochs_are_those_of_their_time() {
        check(false, &[(10, 0), (12, 3), (14, 3)], 3);
        check(false, &[(11, 0)], 0);
        check(false, &[(10, 0), (13, 3)], 1);
        check(false, &[(10, 0), (10, 0)], 1);
        check(false, &[(10, 0), (12, 0)], 1);
        check(false, &[(10, 1)], 0);
        check(false, &[(10, -1)], 1);
        check(true, &[(11, 0), (20, 3), (19, 3)], 2);
        check(true, &[(9, 0)], 0);
        check(true, &[(i64::MAX - 1, 3)], 0);
    }

    #[test]
    fn the_batch_that_an_index_names_is_that_one_or_none() {
        let first = IndexedBatch { position: Position(500), last_offset: Some(Offset(21)) };
        let named = |base| {
            Succession::new(first, Offset(10), false, None).check(&batch_at(base, 0)).is_ok()
        };
        assert!(named(20));
        assert!(!named(21));
        assert!(!named(10));
    }

    #[test]
    fn every_damaged_bit_is_seen() {
        let epochs = Rc::new(vec![(0, Offset(0))]);
        let good = batch_at(10, 0);
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let first = IndexedBatch::default();
            let mut succession = Succession::new(first, Offset(10), false, Some(epochs.clone()));
            assert!(succession.check(&bytes).is_err(), "bit {at}");
        }
    }
}
