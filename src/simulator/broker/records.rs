//! What is known of one partition's records: which batch lies where, and how far the log must reach.

use crate::types::TopicId;
use crate::wire::batch::{self, BatchHeader};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A batch as a client sent it, perhaps more than once.
#[derive(Debug)]
pub struct Sent {
    pub id: u64,
    pub bytes: Vec<u8>,
    pub records: i64,
    /// The partition that it was meant for: by the topic's id, or in whatever topic of that name.
    pub id_of_topic: Option<TopicId>,
    pub topic: String,
    pub index: i32,
}

impl Sent {
    /// Whether these bytes are this batch, but for what the broker writes: base offset and leader epoch.
    pub fn is(&self, served: &[u8]) -> bool {
        served.len() == self.bytes.len()
            && served[8..12] == self.bytes[8..12]
            && served[16..] == self.bytes[16..]
    }
}

/// A batch whose place is known: its producer was told, or a consumer saw it.
#[derive(Clone, Debug)]
struct Entry {
    end: i64,
    sent: Rc<Sent>,
}

/// What an answer must not fall behind: what was known when its request was sent.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    pub high_watermark: i64,
    pub log_start: i64,
    /// Moves between cores that were over.
    pub moves_ended: u64,
}

/// One partition of one topic.
#[derive(Debug, Default)]
pub struct Records {
    entries: BTreeMap<i64, Entry>,
    /// Where each batch lies, by its id.
    places: BTreeMap<u64, i64>,
    high_watermark: i64,
    log_start: i64,
    /// DeleteRecords up to here was acknowledged, and up to there it was asked for.
    deleted: i64,
    delete_asked: i64,
    pub leader_epoch: i32,
    /// Moves between cores that were asked for in this life, and of these, those that are over.
    moves_sent: u64,
    moves_ended: u64,
    /// Those of which nobody knows whether they have raised the epoch.
    moves_open: i32,
    /// The last life may have lost something that its durability does not promise; nobody has looked yet.
    pub unsettled: bool,
}

impl Records {
    pub fn floor(&self) -> Floor {
        Floor {
            high_watermark: self.high_watermark,
            log_start: self.log_start,
            moves_ended: self.moves_ended,
        }
    }

    /// It is to move to another core. The epoch that it has at least.
    pub fn move_sent(&mut self) -> i32 {
        self.moves_sent += 1;
        self.moves_open += 1;
        self.leader_epoch
    }

    /// It has moved, and had this epoch at least before.
    pub fn moved(&mut self, before: i32) {
        self.leader_epoch = self.leader_epoch.max(before + 1);
        self.stayed();
    }

    /// It was not moved, nor will be.
    pub fn stayed(&mut self) {
        self.moves_ended += 1;
        self.moves_open -= 1;
    }

    /// Whether it was on its way between two cores at any time since a request was sent.
    pub fn has_moved(&self, since: Floor) -> bool {
        self.moves_sent > since.moves_ended
    }

    /// The epoch that it has at most.
    pub fn leader_epoch_max(&self) -> i32 {
        self.leader_epoch + self.moves_open
    }

    /// A life begins: what was not done in the last will not be.
    pub fn forget_moves(&mut self) {
        (self.moves_sent, self.moves_ended, self.moves_open) = (0, 0, 0);
    }

    /// A batch lies at `base`: its producer is told so, or it is read there.
    pub fn place(&mut self, name: &str, base: i64, sent: &Rc<Sent>) {
        let (id, end) = (sent.id, base + sent.records);
        let known = *self.places.entry(id).or_insert(base);
        assert_eq!(known, base, "{name}: batch {id} lies at two places");
        let before = self.entries.range(..base).next_back();
        if let Some((at, entry)) = before {
            assert!(
                entry.end <= base,
                "{name}: batch {id} at {base} is in that at {at}: {entry:?}"
            );
        }
        let next = self.entries.range(base..).next();
        if let Some((at, entry)) = next {
            let other = entry.sent.id;
            let same = *at == base && other == id;
            assert!(same || *at >= end, "{name}: batch {id} at {base}, but batch {other} at {at}");
        }
        self.entries.insert(base, Entry { end, sent: sent.clone() });
        self.high_watermark = self.high_watermark.max(end);
    }

    /// The log's ends, as an answer tells them.
    pub fn ends(&mut self, name: &str, floor: Floor, log_start: i64, high_watermark: i64) {
        let Floor { high_watermark: least, log_start: least_start, .. } = floor;
        assert!(
            high_watermark >= least,
            "{name}: the high watermark is {high_watermark}, it was {least} before"
        );
        self.begins(name, least_start, log_start);
        assert!(log_start <= high_watermark, "{name}: from {log_start} to {high_watermark}");
        self.high_watermark = self.high_watermark.max(high_watermark);
    }

    /// The log's start, as an answer tells it.
    pub fn begins(&mut self, name: &str, least: i64, log_start: i64) {
        assert!(log_start >= least, "{name}: the log begins at {log_start}, it was {least} before");
        self.log_start = self.log_start.max(log_start);
    }

    /// How far the log may begin where retention does nothing.
    pub fn delete_asked(&self) -> i64 {
        self.delete_asked
    }

    pub fn ask_deletion(&mut self, offset: i64) {
        self.delete_asked = self.delete_asked.max(offset);
    }

    pub fn deleted(&mut self, offset: i64) {
        self.deleted = self.deleted.max(offset);
        self.log_start = self.log_start.max(offset);
    }

    /// A life has ended: what retention took may come back, what was deleted by name may not.
    pub fn life_ended(&mut self, may_lose: bool) {
        self.log_start = self.deleted;
        self.unsettled |= may_lose;
        if self.unsettled {
            self.high_watermark = 0;
        }
    }

    /// Somebody looked how much is left: what lies behind is gone. True when that was known.
    pub fn settle(&mut self, name: &str, end: i64) -> bool {
        self.unsettled = false;
        self.high_watermark = end;
        // When all that was not deleted is gone, the log goes on where the deletion ended, wherever that is.
        let cut = self.entries.range(..end).next_back().filter(|(_, entry)| entry.end > end);
        let cut = cut.map(|(base, _)| *base);
        assert!(cut.is_none() || end == self.deleted, "{name} ends at {end}, within {cut:?}");
        let lost = self.entries.split_off(&cut.unwrap_or(end));
        for entry in lost.values() {
            self.places.remove(&entry.sent.id);
        }
        !lost.is_empty()
    }

    /// Whether a batch's place is known.
    pub fn has(&self, id: u64) -> bool {
        self.places.contains_key(&id)
    }
}

/// The whole batches of an answer. The first holds the offset asked for, each other follows the one before.
pub fn batches_of(name: &str, asked: i64, records: &[u8]) -> Vec<(BatchHeader, Vec<u8>)> {
    let (mut rest, mut next) = (records, asked);
    let mut found: Vec<(BatchHeader, Vec<u8>)> = Vec::new();
    while !rest.is_empty() {
        let header = batch::parse_whole(rest);
        let header = header.unwrap_or_else(|error| panic!("{name}: served at {next}: {error}"));
        let (base, end) = (header.base_offset.0, header.next_offset().0);
        let follows = if found.is_empty() { base <= asked && end > asked } else { base == next };
        assert!(follows, "{name}: {base} to {end} is served where {next} was to come");
        let epoch = found.last().map_or(0, |(before, _)| before.leader_epoch);
        assert!(header.leader_epoch >= epoch, "{name}: epoch {} at {base}", header.leader_epoch);
        let (served, after) = rest.split_at(header.batch_bytes);
        found.push((header, served.to_vec()));
        (rest, next) = (after, end);
    }
    found
}
