//! What the log has promised: every batch that was dispatched, where, and what may not happen to it.

use crate::types::{Durability, Offset, Timestamp};
use crate::wire::batch::BatchHeader;
use std::rc::Rc;

/// A batch as a client sent it. A retry sends the same one.
#[derive(Debug)]
pub struct Sent {
    pub id: u64,
    pub bytes: Vec<u8>,
    pub records: i64,
}

/// A batch in the log, or on its way there.
#[derive(Clone, Debug)]
pub struct Entry {
    pub base: Offset,
    pub end: Offset,
    pub sent: Rc<Sent>,
    /// As it must be read, but for base offset and leader epoch.
    pub stored: Rc<Vec<u8>>,
    pub epoch: i32,
    pub max_timestamp: Timestamp,
    pub acknowledged: bool,
    pub seen: bool,
    /// The least durability that held since it was dispatched.
    pub promise: Durability,
}

/// How a life of the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Stop,
    Kill,
    PowerLoss,
}

/// What is known of one partition.
#[derive(Debug)]
pub struct PartitionModel {
    pub name: String,
    pub entries: Vec<Entry>,
    pub next: Offset,
    /// As the metadata says; durable whenever it changes. Retention may have gone further.
    pub log_start: Offset,
    /// What retention was ever allowed: bytes to leave, or age in ms to take.
    pub retention: Vec<(Option<u64>, Option<i64>)>,
    /// Where the log was seen to begin.
    start_seen: Offset,
    pub durability: Durability,
    pub high_watermark: Offset,
    /// A full disk stopped it: it may have been opened anew since.
    pub was_offline: bool,
    /// Bits of its segments were turned over: it may be cut, or offline, but never wrong.
    pub rotten: bool,
    /// Bits of its other files were turned over, which must not matter, but for epochs.
    pub epochs_rotten: bool,
    /// Bits of what is known of producers were turned over, and retention may have taken what would tell it
    /// again.
    pub producers_rotten: bool,
    /// Not every commit was synced.
    pub was_lax: bool,
    /// Acknowledgements promised nothing: what was lost may lie before what is there.
    pub was_memory: bool,
    /// The worst end of a life since it was open.
    pub ended: End,
}

fn holds(promise: Durability, end: End) -> bool {
    match (promise, end) {
        (_, End::Stop) | (Durability::Fsync, _) => true,
        (Durability::Write, end) => end == End::Kill,
        (Durability::Memory, _) => false,
    }
}

impl PartitionModel {
    pub fn new(name: String, durability: Durability) -> PartitionModel {
        PartitionModel {
            name,
            entries: Vec::new(),
            next: Offset::ZERO,
            log_start: Offset::ZERO,
            retention: Vec::new(),
            start_seen: Offset::ZERO,
            durability,
            high_watermark: Offset::ZERO,
            was_offline: false,
            rotten: false,
            epochs_rotten: false,
            producers_rotten: false,
            was_lax: durability != Durability::Fsync,
            was_memory: durability == Durability::Memory,
            ended: End::Stop,
        }
    }

    /// Whether what was told of producers may be lost without a trace: where not all is synced, what lay
    /// before a gap, or before the log's start.
    pub fn may_forget_producers(&self) -> bool {
        self.was_memory || (self.was_lax && self.log_start > Offset::ZERO)
    }

    /// Where the log must at least end after such an end of the process.
    fn required(&self, end: End) -> Offset {
        let kept = |entry: &&Entry| (entry.acknowledged || entry.seen) && holds(entry.promise, end);
        self.entries.iter().rev().find(kept).map_or(Offset::ZERO, |entry| entry.end)
    }

    /// The log was opened and its files end at `end`: what lies after it is gone. True when something
    /// went that had been acknowledged.
    pub fn opened(&mut self, end: Offset, how: End) -> bool {
        let required = self.required(how);
        let name = &self.name;
        assert!(
            end >= required || self.rotten,
            "{name} ends at {end} after {how:?}, but all before {required} was promised or seen"
        );
        let first = self.entries.first().map_or(end, |entry| entry.base);
        let kept = self.entries.iter().take_while(|entry| entry.end <= end).count();
        let last = kept.checked_sub(1).map_or(first, |last| self.entries[last].end);
        assert!(end == last || end < first, "{name} ends at {end}, {last} is a batch's end");
        let lost = self.entries.drain(kept..).any(|entry| entry.acknowledged);
        for entry in &mut self.entries {
            // Whatever was found is committed now.
            entry.acknowledged = true;
            entry.promise = match (how, self.durability) {
                (End::Stop, _) | (_, Durability::Fsync) => Durability::Fsync,
                (_, other) if entry.promise == Durability::Memory => other,
                _ => entry.promise,
            };
        }
        if end < self.log_start {
            // The log goes on after what was deleted.
            self.entries.clear();
        }
        self.next = end.max(self.log_start);
        self.high_watermark = self.next;
        self.was_offline = false;
        lost
    }

    /// A batch got its place.
    pub fn dispatched(
        &mut self,
        sent: &Rc<Sent>,
        stored: Vec<u8>,
        at: (Offset, Offset),
        header: &BatchHeader,
        epoch: i32,
    ) {
        let (base, end) = at;
        let name = &self.name;
        if let Some(known) = self.entries.iter().find(|entry| entry.sent.id == sent.id) {
            // Retries of idempotent producers: stored once.
            assert_eq!((base, end), (known.base, known.end), "{name}: a retry has moved");
            return;
        }
        assert_eq!(base, self.next, "{name}: offsets are not dense");
        assert_eq!(end - base, sent.records, "{name}: as many offsets as records");
        self.next = end;
        self.entries.push(Entry {
            base,
            end,
            sent: sent.clone(),
            stored: Rc::new(stored),
            epoch,
            max_timestamp: header.max_timestamp,
            acknowledged: false,
            seen: false,
            promise: self.durability,
        });
    }

    pub fn acknowledged(&mut self, id: u64) {
        let entry = self.entries.iter_mut().find(|entry| entry.sent.id == id);
        entry.expect("what is acknowledged was dispatched").acknowledged = true;
    }

    /// The durability changes: what waits for its commit is promised the lesser of the two.
    pub fn set_durability(&mut self, durability: Durability) {
        let rank = |durability| match durability {
            Durability::Fsync => 2,
            Durability::Write => 1,
            Durability::Memory => 0,
        };
        self.durability = durability;
        self.was_lax |= durability != Durability::Fsync;
        let waiting = self.entries.iter_mut().filter(|entry| !entry.acknowledged);
        for entry in waiting.filter(|entry| rank(durability) < rank(entry.promise)) {
            entry.promise = durability;
        }
    }

    /// The log was opened and begins at `start`. What was lost with power may have been what let retention go
    /// so far.
    pub fn opened_at(&mut self, start: Offset) {
        let Self { name, log_start, .. } = self;
        assert!(start >= *log_start, "{name} begins at {start}, before {log_start}");
        self.start_seen = start;
    }

    /// The log begins at `start`: beyond what was deleted by name, retention must have been allowed to.
    pub fn check_start(&mut self, start: Offset, now: Timestamp) {
        let name = &self.name;
        assert!(start >= self.start_seen, "{name} begins at {start}, before {}", self.start_seen);
        let known = std::mem::replace(&mut self.start_seen, start).max(self.log_start);
        // What cannot be read is as old as its file.
        if start <= known || self.rotten || self.epochs_rotten {
            return;
        }
        let left = self.entries.iter().filter(|entry| entry.base >= start);
        let left: u64 = left.map(|entry| entry.stored.len() as u64).sum();
        let gone = self.entries.iter().filter(|entry| entry.end > known);
        let gone = gone.filter(|entry| entry.end <= start);
        let newest = gone.map(|entry| entry.max_timestamp.0).max().unwrap_or(-1);
        let is_allowed = self.retention.iter().any(|(bytes, age)| {
            bytes.is_some_and(|bytes| left >= bytes)
                || age.is_some_and(|age| newest < 0 || now.0 - newest > age)
        });
        assert!(is_allowed, "{name} begins at {start}: {left} bytes are left, gone is {newest}");
    }

    /// The place among the entries of the batch that holds `offset`.
    pub fn position_of(&self, offset: Offset) -> Option<usize> {
        let at = self.entries.partition_point(|entry| entry.end <= offset);
        self.entries.get(at).filter(|entry| entry.base <= offset).map(|_| at)
    }
}
