//! The groups of one partition of `__consumer_offsets`: what its records fold to, and what is only in memory.
//! Lives with its coordinator. Pure.

use super::consumer::TopicView;
use super::group::Group;
use super::record::{CommittedOffset, Encoded, GroupRecord, OffsetKey};
use super::turn::{Timer, Turn};
use crate::types::Timestamp;
use crate::wire::Str;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::rc::Rc;

/// What maps and strings take beside their text, about.
const GROUP_BYTES: usize = 512;
const TOPIC_BYTES: usize = 256;
const OFFSET_BYTES: usize = 160;
const STORED_BYTES: usize = 96;

/// Bytes that all groups of a core hold, and the share of one coordinator in them.
#[derive(Debug, Default)]
pub struct Memory {
    all: Rc<Cell<usize>>,
    own: Cell<usize>,
}

impl Memory {
    pub fn new(all: Rc<Cell<usize>>) -> Memory {
        Memory { all, own: Cell::new(0) }
    }

    fn add(&self, bytes: usize) {
        self.all.set(self.all.get() + bytes);
        self.own.set(self.own.get() + bytes);
    }

    fn remove(&self, bytes: usize) {
        self.all.set(self.all.get() - bytes);
        self.own.set(self.own.get() - bytes);
    }

    /// Of all groups of the core.
    pub fn all(&self) -> usize {
        self.all.get()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.remove(self.own.get());
    }
}

pub type OffsetsByPartition = BTreeMap<i32, CommittedOffset>;

/// A group with its offsets.
#[derive(Debug)]
pub struct Entry {
    pub group: Group,
    pub offsets: BTreeMap<Str, OffsetsByPartition>,
    /// The keys of the records that the group itself has in the log, and the length of their values.
    stored: HashMap<Bytes, usize>,
    /// What its group was counted with.
    counted: usize,
}

/// All groups of one partition.
#[derive(Debug, Default)]
pub struct Groups {
    entries: BTreeMap<Str, Entry>,
    /// Which groups have offsets of a topic.
    by_topic: BTreeMap<Str, BTreeSet<Str>>,
    memory: Memory,
    /// Bytes that the records take of which the state is the fold, about.
    live_bytes: usize,
}

impl Groups {
    pub fn new(memory: Memory) -> Groups {
        Groups { memory, ..Groups::default() }
    }

    pub fn entry(&self, group: &str) -> Option<&Entry> {
        self.entries.get(group)
    }

    pub fn entry_mut(&mut self, group: &str) -> Option<&mut Entry> {
        self.entries.get_mut(group)
    }

    /// All groups, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&Str, &Entry)> {
        self.entries.iter()
    }

    /// Groups after one, by name; from the first on when there is none.
    pub fn entries_after(&self, name: Option<&Str>) -> impl Iterator<Item = (&Str, &Entry)> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.entries.range((from, Bound::Unbounded))
    }

    /// Members that wait for an answer.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        let waiting = self.entries.values().map(|entry| match &entry.group {
            Group::Classic(group) => group.members().waiting(),
            Group::Consumer(_) => 0,
        });
        waiting.sum()
    }

    /// The next group by name.
    pub fn name_after(&self, name: Option<&Str>) -> Option<Str> {
        self.entries_after(name).next().map(|(name, _)| name.clone())
    }

    /// Of all groups of the core.
    pub fn memory_bytes(&self) -> usize {
        self.memory.all()
    }

    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The group of this name; made if it is missing, without members and without a kind of members.
    pub fn get_or_make(&mut self, name: &Str, wall: Timestamp) -> &mut Entry {
        if !self.entries.contains_key(name) {
            let name = name.detached();
            let group = Group::new(name.clone(), wall);
            self.memory.add(GROUP_BYTES + name.as_bytes().len());
            let entry =
                Entry { group, offsets: BTreeMap::new(), stored: HashMap::new(), counted: 0 };
            self.entries.insert(name, entry);
        }
        self.entries.get_mut(name).expect("made above")
    }

    /// Forgets a group that has no offsets any more.
    pub fn remove(&mut self, name: &str) {
        let Some((name, entry)) = self.entries.remove_entry(name) else { return };
        assert!(entry.offsets.is_empty(), "offsets go first");
        for (key, value_bytes) in &entry.stored {
            self.memory.remove(STORED_BYTES + key.len());
            self.live_bytes -= key.len() + value_bytes;
        }
        self.memory.remove(entry.counted + GROUP_BYTES + name.as_bytes().len());
    }

    // ------------------------------------------------------------ records

    /// Takes up an offset, or that there is none any more.
    pub fn set_offset(&mut self, key: &OffsetKey, value: Option<CommittedOffset>, wall: Timestamp) {
        match value {
            Some(value) => self.put_offset(key, value, wall),
            None => self.remove_offset(key),
        }
    }

    fn put_offset(&mut self, key: &OffsetKey, value: CommittedOffset, wall: Timestamp) {
        self.get_or_make(&key.group, wall);
        let (name, entry) = {
            let (name, _) = self.entries.get_key_value(&key.group).expect("made above");
            (name.clone(), self.entries.get_mut(&key.group).expect("made above"))
        };
        if !entry.offsets.contains_key(&key.topic) {
            let topic = match self.by_topic.get_key_value(&key.topic) {
                Some((topic, _)) => topic.clone(),
                None => key.topic.detached(),
            };
            self.memory.add(TOPIC_BYTES + topic.as_bytes().len());
            self.by_topic.entry(topic.clone()).or_default().insert(name);
            entry.offsets.insert(topic, BTreeMap::new());
        }
        let offsets = entry.offsets.get_mut(&key.topic).expect("made above");
        self.memory.add(memory_of(&value));
        self.live_bytes += record_bytes(key, &value);
        if let Some(before) = offsets.insert(key.partition, value) {
            self.memory.remove(memory_of(&before));
            self.live_bytes -= record_bytes(key, &before);
        }
    }

    fn remove_offset(&mut self, key: &OffsetKey) {
        let Some(entry) = self.entries.get_mut(&key.group) else { return };
        let Some(offsets) = entry.offsets.get_mut(&key.topic) else { return };
        let Some(before) = offsets.remove(&key.partition) else { return };
        self.memory.remove(memory_of(&before));
        self.live_bytes -= record_bytes(key, &before);
        if !offsets.is_empty() {
            return;
        }
        entry.offsets.remove(&key.topic);
        self.memory.remove(TOPIC_BYTES + key.topic.as_bytes().len());
        let groups = self.by_topic.get_mut(&key.topic).expect("a topic with offsets is known");
        groups.remove(&key.group);
        if groups.is_empty() {
            self.by_topic.remove(&key.topic);
        }
    }

    /// Counts a group's members anew, after they have changed.
    pub fn count_members(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            let bytes = entry.group.bytes();
            self.memory.add(bytes);
            self.memory.remove(entry.counted);
            entry.counted = bytes;
        }
    }

    /// Notes a record of a group itself as it goes to the log, or lies there.
    pub fn note_stored(&mut self, record: &GroupRecord, encoded: &Encoded) {
        if matches!(record, GroupRecord::Offset(..)) {
            return;
        }
        let Some(entry) = self.entries.get_mut(record.group()) else { return };
        let Encoded { key, value } = encoded;
        let before = match value {
            Some(value) => {
                self.memory.add(STORED_BYTES + key.len());
                self.live_bytes += key.len() + value.len();
                entry.stored.insert(Bytes::copy_from_slice(key), value.len())
            }
            None => entry.stored.remove(key),
        };
        if let Some(before) = before {
            self.memory.remove(STORED_BYTES + key.len());
            self.live_bytes -= key.len() + before;
        }
    }

    /// The records that a copy of a group consists of.
    pub fn records_of(&self, name: &str) -> Vec<Encoded> {
        let Some((name, entry)) = self.entries.get_key_value(name) else { return Vec::new() };
        let own = entry.group.records().into_iter().map(|record| record.encode());
        let offsets = entry.offsets.iter().flat_map(|(topic, offsets)| {
            offsets.iter().map(|(partition, offset)| {
                let key =
                    OffsetKey { group: name.clone(), topic: topic.clone(), partition: *partition };
                GroupRecord::Offset(key, Some(offset.clone())).encode()
            })
        });
        own.chain(offsets).collect()
    }

    // ------------------------------------------------------------ time

    /// After a start: groups wait for their members again.
    pub fn start_timers(&mut self, turn: &mut Turn) {
        let names: Vec<Str> = self.entries.keys().cloned().collect();
        for name in names {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.group.start_timers(turn);
            }
            self.count_members(&name);
        }
    }

    pub fn on_timer(&mut self, timer: &Timer, topics: &dyn TopicView, turn: &mut Turn) {
        if let Some(entry) = self.entries.get_mut(timer.group()) {
            entry.group.on_timer(timer, topics, turn);
        }
        self.settle(timer.group(), topics, turn);
    }

    // ------------------------------------------------------------ topics

    /// Topics that some group has offsets of.
    pub fn topics(&self) -> impl Iterator<Item = &Str> {
        self.by_topic.keys()
    }

    /// The groups that have offsets of a topic.
    pub fn groups_of_topic(&self, topic: &str) -> Vec<Str> {
        self.by_topic.get(topic).map(|groups| groups.iter().cloned().collect()).unwrap_or_default()
    }
}

fn memory_of(value: &CommittedOffset) -> usize {
    OFFSET_BYTES + value.metadata.as_bytes().len()
}

/// What an offset's record takes, about.
fn record_bytes(key: &OffsetKey, value: &CommittedOffset) -> usize {
    let texts = [&key.group, &key.topic, &value.metadata];
    64 + texts.iter().map(|text| text.as_bytes().len()).sum::<usize>()
}
