//! What a partition remembers of idempotent producers, so that a retry is stored once (KIP-98).
//!
//! Per producer id: its epoch and its last batches; a retry of one of the last five is known. Lives with
//! its partition on the owning shard; pure state, written to `.producers` snapshots and rebuilt by
//! recovery.
//!
//! ```text
//! snapshot: "CLPS" | version u8 = 1 | next offset i64 | count u32 | producers | crc32 of all before
//! producer: id i64 | epoch i16 | batches u8 | batch: first seq i32, last seq i32, first offset i64,
//!           last offset i64, timestamp i64
//! ```

use super::planted::{self, Bug};
use crate::limits::{PRODUCER_BATCHES_RETAINED, PRODUCERS_PER_PARTITION_MAX};
use crate::types::{Offset, Timestamp};
use crate::wire::batch::BatchHeader;
use std::collections::{HashMap, VecDeque};

/// A stored batch of a producer, as far as a retry of it must be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// When it was stored: the broker's clock, for expiry.
    pub timestamp: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Oldest first; never empty.
    batches: VecDeque<StoredBatch>,
}

impl Producer {
    fn last(&self) -> &StoredBatch {
        self.batches.back().expect("a producer is remembered by its batches")
    }
}

/// Why a producer's batch is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    #[error("producer {producer_id} has epoch {known}, the batch says {given}")]
    EpochFenced { producer_id: i64, known: i16, given: i16 },
    #[error("producer {producer_id} is at sequence {last}, the batch begins at {given}")]
    OutOfOrder { producer_id: i64, last: i32, given: i32 },
}

/// A producer as far as clients may ask (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    /// When its last batch was stored: the broker's clock.
    pub last_timestamp: Timestamp,
}

/// What to do with a producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New: to be stored.
    Append,
    /// Stored before, at these offsets: to be acknowledged again, not stored.
    Duplicate(StoredBatch),
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    producers: HashMap<i64, Producer>,
}

/// Batches kept per producer: the window in which a retry is known, and as many again, because those
/// that are dispatched but not committed are left out of a snapshot (clients have five in flight at most).
const BATCHES_KEPT: usize = 2 * PRODUCER_BATCHES_RETAINED;

/// Producers forgotten at once at the limit.
const PRODUCERS_FORGOTTEN: usize = PRODUCERS_PER_PARTITION_MAX / 16;

const SNAPSHOT_MAGIC: &[u8; 4] = b"CLPS";
const SNAPSHOT_VERSION: u8 = 1;
const PRODUCER_HEADER_BYTES: usize = 11;
const STORED_BATCH_BYTES: usize = 32;

impl ProducerState {
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Judges a batch that names a producer, without changing anything.
    ///
    /// # Errors
    /// `EpochFenced` when a newer epoch was seen; `OutOfOrder` when batches are missing before this one.
    pub fn check(&self, batch: &BatchHeader) -> Result<Verdict, SequenceError> {
        let producer_id = batch.producer_id;
        // An unknown producer may begin anywhere: its state may have expired (KIP-360).
        let Some(producer) = self.producers.get(&producer_id) else { return Ok(Verdict::Append) };
        let (known, given) = (producer.epoch, batch.producer_epoch);
        if given < known {
            return Err(SequenceError::EpochFenced { producer_id, known, given });
        }
        let last = producer.last().last_sequence;
        let out_of_order =
            SequenceError::OutOfOrder { producer_id, last, given: batch.base_sequence };
        if given > known {
            // KIP-98: a new epoch starts its sequence at zero.
            return if batch.base_sequence == 0 { Ok(Verdict::Append) } else { Err(out_of_order) };
        }
        let same = |stored: &&StoredBatch| {
            stored.first_sequence == batch.base_sequence
                && stored.last_sequence == batch.last_sequence()
        };
        let retained = PRODUCER_BATCHES_RETAINED - usize::from(planted::is(Bug::WindowOffByOne));
        let mut window = producer.batches.iter().rev().take(retained);
        if let Some(stored) = window.find(same) {
            return Ok(Verdict::Duplicate(*stored));
        }
        let next = if last == i32::MAX { 0 } else { last + 1 };
        if batch.base_sequence == next { Ok(Verdict::Append) } else { Err(out_of_order) }
    }

    /// Remembers a batch that is stored at its header's offsets. Recovery uses it without `check`: what
    /// is in the log was accepted.
    pub fn note(&mut self, batch: &BatchHeader, timestamp: Timestamp) {
        if !batch.has_producer() || batch.is_control() {
            return;
        }
        let stored = StoredBatch {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp,
        };
        if let Some(producer) = self.producers.get_mut(&batch.producer_id) {
            if producer.epoch != batch.producer_epoch {
                producer.epoch = batch.producer_epoch;
                producer.batches.clear();
            } else if producer.batches.len() == BATCHES_KEPT {
                producer.batches.pop_front();
            }
            producer.batches.push_back(stored);
            return;
        }
        if self.producers.len() >= PRODUCERS_PER_PARTITION_MAX {
            self.forget_idle();
        }
        let producer = Producer { epoch: batch.producer_epoch, batches: VecDeque::from([stored]) };
        self.producers.insert(batch.producer_id, producer);
    }

    /// Makes room at the limit: those that have been idle for longest go, many at once, so that a walk
    /// over all is paid for by many batches.
    fn forget_idle(&mut self) {
        let age = |(id, producer): (&i64, &Producer)| (producer.last().timestamp, *id);
        let mut ages: Vec<_> = self.producers.iter().map(age).collect();
        let (idle, _, _) = ages.select_nth_unstable(PRODUCERS_FORGOTTEN);
        for (_, id) in idle {
            self.producers.remove(id);
        }
    }

    /// All that are remembered, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let producers = self.producers.iter().map(|(id, producer)| ActiveProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.last().last_sequence,
            last_timestamp: producer.last().timestamp,
        });
        let mut active: Vec<ActiveProducer> = producers.collect();
        active.sort_unstable_by_key(|producer| producer.id);
        active
    }

    /// Forgets producers whose last batch is older than `oldest`.
    pub fn expire(&mut self, oldest: Timestamp) {
        self.producers.retain(|_, producer| producer.last().timestamp >= oldest);
    }

    /// The snapshot of the state up to `next_offset`: what lies behind is left out.
    pub fn encode(&self, next_offset: Offset) -> Vec<u8> {
        let is_before = |batch: &&StoredBatch| batch.last_offset < next_offset;
        let known =
            self.producers.iter().filter(|(_, known)| known.batches.iter().any(|b| is_before(&b)));
        let mut ids: Vec<_> = known.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut out = Vec::new();
        out.extend_from_slice(SNAPSHOT_MAGIC);
        out.push(SNAPSHOT_VERSION);
        out.extend_from_slice(&next_offset.0.to_be_bytes());
        out.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        for id in ids {
            let producer = &self.producers[&id];
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            let batches = producer.batches.iter().filter(is_before);
            out.push(batches.clone().count() as u8);
            for batch in batches {
                out.extend_from_slice(&batch.first_sequence.to_be_bytes());
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.first_offset.0.to_be_bytes());
                out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
                out.extend_from_slice(&batch.timestamp.0.to_be_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a snapshot; `None` when it is damaged or of another version. Zeros may follow it.
    pub fn decode(bytes: &[u8]) -> Option<(ProducerState, Offset)> {
        let mut cursor = Cursor { bytes, at: 0 };
        if cursor.take::<4>()? != *SNAPSHOT_MAGIC || cursor.take::<1>()? != [SNAPSHOT_VERSION] {
            return None;
        }
        let next_offset = Offset(i64::from_be_bytes(cursor.take()?));
        let count = u32::from_be_bytes(cursor.take()?) as usize;
        if count > PRODUCERS_PER_PARTITION_MAX || count > bytes.len() / PRODUCER_HEADER_BYTES {
            return None;
        }
        let mut producers = HashMap::with_capacity(count);
        for _ in 0..count {
            let id = i64::from_be_bytes(cursor.take()?);
            let epoch = i16::from_be_bytes(cursor.take()?);
            let [length] = cursor.take()?;
            if length == 0 || usize::from(length) > BATCHES_KEPT {
                return None;
            }
            let batches: Option<VecDeque<_>> = (0..length).map(|_| cursor.stored_batch()).collect();
            let batches = batches?;
            if batches.iter().any(|batch| batch.last_offset >= next_offset) {
                return None;
            }
            producers.insert(id, Producer { epoch, batches });
        }
        let end = cursor.at;
        let crc = u32::from_be_bytes(cursor.take()?);
        (crc32fast::hash(&bytes[..end]) == crc)
            .then_some((ProducerState { producers }, next_offset))
    }

    /// Largest snapshot that may be read: the limit's worth of producers.
    pub const SNAPSHOT_BYTES_MAX: usize = 64
        + PRODUCERS_PER_PARTITION_MAX * (PRODUCER_HEADER_BYTES + BATCHES_KEPT * STORED_BATCH_BYTES);
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn stored_batch(&mut self) -> Option<StoredBatch> {
        Some(StoredBatch {
            first_sequence: i32::from_be_bytes(self.take()?),
            last_sequence: i32::from_be_bytes(self.take()?),
            first_offset: Offset(i64::from_be_bytes(self.take()?)),
            last_offset: Offset(i64::from_be_bytes(self.take()?)),
            timestamp: Timestamp(i64::from_be_bytes(self.take()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::{parse_produced, testing};

    fn header(id: i64, epoch: i16, sequence: i32, records: usize, base: i64) -> BatchHeader {
        let values = vec![&b"v"[..]; records];
        let bytes = testing::batch(&values, Timestamp(0), Some((id, epoch, sequence)));
        BatchHeader { base_offset: Offset(base), ..parse_produced(&bytes).unwrap() }
    }

    /// A producer 7 at epoch 1 that stored ten batches of two records: sequences 0-19, offsets 100-119.
    fn sample() -> ProducerState {
        let mut state = ProducerState::default();
        for batch in 0..10 {
            state.note(&header(7, 1, batch * 2, 2, 100 + i64::from(batch) * 2), Timestamp(5));
        }
        state
    }

    fn check(batch: BatchHeader, expect: Result<Option<i64>, &str>) {
        let got = sample().check(&batch);
        let got = match got {
            Ok(Verdict::Append) => Ok(None),
            Ok(Verdict::Duplicate(stored)) => Ok(Some(stored.first_offset.0)),
            Err(SequenceError::EpochFenced { .. }) => Err("fenced"),
            Err(SequenceError::OutOfOrder { .. }) => Err("order"),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn next_in_sequence_is_appended_and_a_gap_refused() {
        check(header(7, 1, 20, 2, 0), Ok(None));
        check(header(7, 1, 21, 2, 0), Err("order"));
        check(header(7, 1, 0, 2, 0), Err("order"));
    }

    #[test]
    fn the_last_five_batches_are_known_again_and_older_ones_are_not() {
        for batch in 5..10 {
            check(header(7, 1, batch * 2, 2, 0), Ok(Some(100 + i64::from(batch) * 2)));
        }
        check(header(7, 1, 8, 2, 0), Err("order"));
        // Same start, other length: not a retry of that batch.
        check(header(7, 1, 18, 1, 0), Err("order"));
    }

    #[test]
    fn epochs_only_go_up_and_start_at_sequence_zero() {
        check(header(7, 0, 20, 2, 0), Err("fenced"));
        check(header(7, 2, 0, 2, 0), Ok(None));
        check(header(7, 2, 3, 2, 0), Err("order"));
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere() {
        check(header(8, 0, 1234, 1, 0), Ok(None));
    }

    #[test]
    fn at_the_limit_the_longest_idle_are_forgotten() {
        let mut state = ProducerState::default();
        let template = header(0, 0, 0, 1, 0);
        for id in 0..=PRODUCERS_PER_PARTITION_MAX as i64 {
            state.note(&BatchHeader { producer_id: id, ..template }, Timestamp(id));
        }
        assert_eq!(state.len(), PRODUCERS_PER_PARTITION_MAX + 1 - PRODUCERS_FORGOTTEN);
        assert!(!state.producers.contains_key(&(PRODUCERS_FORGOTTEN as i64 - 1)));
        assert!(state.producers.contains_key(&(PRODUCERS_FORGOTTEN as i64)));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut state = ProducerState::default();
        state.note(&header(1, 0, i32::MAX, 1, 0), Timestamp(0));
        assert_eq!(state.check(&header(1, 0, 0, 1, 1)), Ok(Verdict::Append));
    }

    #[test]
    fn snapshots_read_back_and_damage_is_seen() {
        let mut state = sample();
        state.note(&header(9, 3, 0, 1, 120), Timestamp(6));
        let bytes = state.encode(Offset(121));
        assert_eq!(ProducerState::decode(&bytes), Some((state, Offset(121))));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(ProducerState::decode(&damaged), None, "byte {at}");
            assert_eq!(ProducerState::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_snapshot_leaves_out_what_lies_behind_its_end() {
        let (mut state, _) = ProducerState::decode(&sample().encode(Offset(114))).unwrap();
        assert_eq!(state.check(&header(7, 1, 14, 2, 0)), Ok(Verdict::Append));
        let (nobody, _) = ProducerState::decode(&state.encode(Offset(100))).unwrap();
        assert!(nobody.is_empty());
        state.expire(Timestamp(6));
        assert!(state.is_empty());
    }
}
