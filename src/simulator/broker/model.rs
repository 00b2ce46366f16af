//! What was promised of topics: which are there, with how many partitions and which settings, and what each
//! partition holds.
//!
//! One admin works on a name, one request after the other; but what was asked for and not answered may still
//! be done at any time of the same life. So a topic may be there for certain, may be there, or may be gone.

use super::records::{Floor, Records, Sent};
use crate::control_plane::configs::Overrides;
use crate::types::{Durability, TopicId};
use crate::wire::ErrorCode;
use crate::wire::batch::BatchHeader;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How a life of the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Stop,
    Kill,
    PowerLoss,
}

/// What an admin does to topics of one name in this history, beside making and deleting them.
#[derive(Clone, Debug)]
pub struct Habits {
    pub durability: Durability,
    /// It is set to `write` and back.
    pub changes_durability: bool,
    /// Retention may be set.
    pub retains: bool,
    /// Records are deleted.
    pub deletes_records: bool,
    /// How often what is done is the topic's deletion, of a hundred times.
    pub deletes_percent: u64,
}

impl Habits {
    /// Whether an end of the process may take what was acknowledged.
    fn may_lose(&self, end: End) -> bool {
        match self.durability {
            _ if end == End::Stop => false,
            Durability::Memory => true,
            Durability::Fsync if !self.changes_durability => false,
            _ => end == End::PowerLoss,
        }
    }

    pub fn is_strict(&self) -> bool {
        self.durability == Durability::Fsync && !self.changes_durability
    }
}

/// All topics that ever had this name.
#[derive(Debug)]
pub struct Name {
    pub habits: Habits,
    creates_sent: usize,
    /// Without an answer in this life.
    creates_open: usize,
    deletes_open: usize,
    pub deletes_sent: usize,
    /// Moves of a partition of whatever topic has the name, without an answer.
    moves_open: usize,
    partitions_asked: usize,
    ids_seen: usize,
    /// A disk that failed may have lost what was not synced, for good, or bits were turned over: what is left
    /// is anything, but never wrong.
    pub rotten: bool,
}

/// One topic, from its creation to its deletion.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    /// All shards know it.
    pub known: bool,
    /// Its deletion was asked for, perhaps by its id.
    pub doomed: bool,
    doomed_by_id: bool,
    pub gone: bool,
    /// It was seen to be gone, though nobody said so.
    seen_gone: bool,
    partitions_min: usize,
    partitions_seen: usize,
    /// A move that was meant for a topic of this name before may have been done to this one.
    may_have_moved: bool,
    /// What is set, if that is known, and what may be set since.
    pub settled: Option<Overrides>,
    pub open: Vec<Overrides>,
    records: BTreeMap<i32, Records>,
}

impl Topic {
    pub fn is_certain(&self) -> bool {
        self.known && !self.doomed && !self.gone
    }
}

/// Who must be there, and who must not, when a request is sent.
pub struct Roll {
    certain: BTreeMap<TopicId, usize>,
    known: BTreeSet<TopicId>,
    gone: BTreeSet<TopicId>,
    /// The epoch that each partition has at least.
    epochs: BTreeMap<(TopicId, i32), i32>,
}

impl Roll {
    pub fn is_certain(&self, id: TopicId) -> bool {
        self.certain.contains_key(&id)
    }

    pub fn is_gone(&self, id: TopicId) -> bool {
        self.gone.contains(&id)
    }
}

pub struct Model {
    pub names: BTreeMap<String, Name>,
    pub topics: BTreeMap<TopicId, Topic>,
    batches: BTreeMap<u32, Vec<Rc<Sent>>>,
    producer_ids: BTreeSet<i64>,
}

impl Model {
    pub fn new(names: impl Iterator<Item = (String, Habits)>) -> Model {
        let name = |habits| Name {
            habits,
            creates_sent: 0,
            creates_open: 0,
            deletes_open: 0,
            deletes_sent: 0,
            moves_open: 0,
            partitions_asked: 0,
            ids_seen: 0,
            rotten: false,
        };
        Model {
            names: names.map(|(text, habits)| (text, name(habits))).collect(),
            topics: BTreeMap::new(),
            batches: BTreeMap::new(),
            producer_ids: BTreeSet::new(),
        }
    }

    fn name_mut(&mut self, name: &str) -> &mut Name {
        self.names.get_mut(name).expect("a name of this history")
    }

    fn alive(&mut self, name: &str) -> impl Iterator<Item = &mut Topic> {
        let name = name.to_string();
        self.topics.values_mut().filter(move |topic| topic.name == name && !topic.gone)
    }

    // ------------------------------------------------------------ making and deleting

    pub fn creation_sent(&mut self, name: &str, partitions: usize) {
        let known = self.name_mut(name);
        known.creates_sent += 1;
        known.creates_open += 1;
        known.partitions_asked = known.partitions_asked.max(partitions);
    }

    /// It was made, says the broker.
    pub fn created(&mut self, name: &str, id: TopicId, partitions: usize, overrides: Overrides) {
        let other = self
            .topics
            .iter()
            .find(|(other, topic)| **other != id && topic.name == name && topic.is_certain());
        assert!(
            other.is_none(),
            "{name} has two ids: {id} is made beside {:?}",
            other.map(|o| o.0)
        );
        self.name_mut(name).creates_open -= 1;
        self.discover(name, id);
        let topic = self.topics.get_mut(&id).expect("just discovered");
        assert!(!topic.known, "{name} with id {id} is made twice");
        topic.known = true;
        topic.partitions_min = topic.partitions_min.max(partitions);
        if !topic.doomed {
            topic.settled = Some(overrides);
        }
    }

    pub fn creation_refused(&mut self, name: &str) {
        self.name_mut(name).creates_open -= 1;
    }

    /// Whether a topic of this name may be there, so that another cannot be made.
    pub fn may_be_there(&self, name: &str) -> bool {
        let alive = self.topics.values().any(|topic| topic.name == name && !topic.gone);
        // The one that asks is one of those that are open.
        alive || self.names[name].creates_open > 1
    }

    /// A topic that nobody knew is seen: somebody must have asked for it.
    fn discover(&mut self, name: &str, id: TopicId) {
        if let Some(topic) = self.topics.get(&id) {
            assert_eq!(topic.name, name, "{id} has two names");
            assert!(!topic.gone, "{name} with id {id} is there again after its deletion");
            return;
        }
        let known = self.names.get_mut(name).unwrap_or_else(|| panic!("{name}: nobody made it"));
        known.ids_seen += 1;
        assert!(known.ids_seen <= known.creates_sent, "{name}: more topics than were asked for");
        let topic = Topic {
            name: name.to_string(),
            known: false,
            doomed: known.deletes_open > 0,
            doomed_by_id: false,
            gone: false,
            seen_gone: false,
            partitions_min: 0,
            partitions_seen: 0,
            may_have_moved: known.moves_open > 0,
            settled: None,
            open: Vec::new(),
            records: BTreeMap::new(),
        };
        self.topics.insert(id, topic);
    }

    /// Deletion was asked for, by name or by id: from now on the topic may be gone.
    pub fn deletion_sent(&mut self, name: &str, id: Option<TopicId>) {
        let known = self.name_mut(name);
        known.deletes_sent += 1;
        known.deletes_open += usize::from(id.is_none());
        match id {
            Some(id) => {
                let topic = self.topics.get_mut(&id).expect("it was seen");
                (topic.doomed, topic.doomed_by_id) = (true, true);
            }
            None => self.alive(name).for_each(|topic| topic.doomed = true),
        }
    }

    pub fn deleted(&mut self, name: &str, id: TopicId, by_id: bool) {
        self.discover(name, id);
        self.topics.get_mut(&id).expect("just discovered").gone = true;
        self.deletion_refused(name, by_id.then_some(id));
    }

    /// Nothing was deleted, or something else.
    pub fn deletion_refused(&mut self, name: &str, id: Option<TopicId>) {
        let known = self.name_mut(name);
        known.deletes_open -= usize::from(id.is_none());
        if known.deletes_open > 0 {
            return;
        }
        if id.is_none() {
            self.alive(name).for_each(|topic| topic.doomed = topic.doomed_by_id);
        }
    }

    pub fn partitions_asked(&mut self, name: &str, partitions: usize) {
        let known = self.name_mut(name);
        known.partitions_asked = known.partitions_asked.max(partitions);
    }

    pub fn partitions_added(&mut self, id: TopicId, partitions: usize) {
        let topic = self.topics.get_mut(&id).expect("it was seen");
        topic.partitions_min = topic.partitions_min.max(partitions);
    }

    // ------------------------------------------------------------ what is listed

    pub fn roll(&self) -> Roll {
        let certain = self.topics.iter().filter(|(_, topic)| topic.is_certain());
        let known = self.topics.iter().filter(|(_, topic)| topic.known);
        let gone = self.topics.iter().filter(|(_, topic)| topic.gone);
        let epochs = self.topics.iter().flat_map(|(id, topic)| {
            let records = topic.records.iter();
            records.map(move |(index, records)| ((*id, *index), records.leader_epoch))
        });
        Roll {
            epochs: epochs.collect(),
            known: known.map(|(id, _)| *id).collect(),
            certain: certain.map(|(id, topic)| (*id, topic.partitions_min)).collect(),
            gone: gone.map(|(id, _)| *id).collect(),
        }
    }

    /// All topics, with the leader epoch of each partition, as some shard lists them. `is_first`: nothing was
    /// asked for in this life, so that what is there is there.
    pub fn listed(&mut self, roll: &Roll, list: &[(String, TopicId, Vec<i32>)], is_first: bool) {
        let mut names = BTreeSet::new();
        for (name, id, epochs) in list {
            assert!(names.insert(name), "{name} is listed twice");
            assert!(!roll.gone.contains(id), "{name} with id {id} is listed after its deletion");
            if self.topics.get(id).is_some_and(|topic| topic.gone) {
                // It was deleted while this was asked.
                continue;
            }
            self.discover(name, *id);
            let most = self.names[name].partitions_asked;
            let topic = self.topics.get_mut(id).expect("just discovered");
            let least = roll.certain.get(id).copied().unwrap_or(0);
            let count = epochs.len();
            assert!(count >= least, "{name} has {count} partitions, {least} were acknowledged");
            assert!(count <= most, "{name} has {count} partitions, {most} were asked for");
            topic.partitions_seen = topic.partitions_seen.max(count);
            if is_first {
                let seen = topic.partitions_seen;
                assert!(count >= seen, "{name} has {count} partitions, {seen} were seen before");
                assert!(!topic.seen_gone, "{name} with id {id} is back after it was gone");
                (topic.known, topic.partitions_min) = (true, count);
                (topic.doomed, topic.doomed_by_id) = (false, false);
            }
            let may_have_moved = i32::from(topic.may_have_moved);
            for (index, epoch) in (0..).zip(epochs) {
                let records = topic.records.entry(index).or_default();
                let before = roll.epochs.get(&(*id, index)).copied().unwrap_or(0);
                let most = records.leader_epoch_max() + may_have_moved;
                assert!(*epoch >= before, "{name}-{index} has epoch {epoch}, it had {before}");
                // Another number of cores raises it, too.
                assert!(*epoch <= most || is_first, "{name}-{index} has epoch {epoch} of {most}");
                records.leader_epoch = records.leader_epoch.max(*epoch);
            }
        }
        let listed: BTreeSet<TopicId> = list.iter().map(|(_, id, _)| *id).collect();
        for (id, topic) in self.topics.iter_mut().filter(|(id, _)| !listed.contains(id)) {
            let must = match is_first {
                // What was seen was durable before.
                true => !topic.doomed && !topic.gone,
                false => topic.is_certain() && roll.certain.contains_key(id),
            };
            assert!(!must, "{} with id {id} is gone, and nobody asked for that", topic.name);
            topic.seen_gone |= roll.known.contains(id);
            topic.gone |= is_first;
        }
    }

    /// The settings of the one topic that can have this name.
    pub fn described(&mut self, id: TopicId, overrides: Overrides, is_first: bool) {
        let topic = self.topics.get_mut(&id).expect("it was listed");
        let name = &topic.name;
        if let Some(settled) = &topic.settled {
            let is_known = *settled == overrides || topic.open.contains(&overrides);
            assert!(
                is_known,
                "{name} has settings {overrides:?}, should have {settled:?} or one of {:?}",
                topic.open
            );
        }
        if is_first {
            topic.settled = Some(overrides);
            topic.open.clear();
        }
    }

    /// A life begins: what was not answered in the last will not be done any more.
    pub fn life_begins(&mut self) {
        for name in self.names.values_mut() {
            (name.creates_open, name.deletes_open, name.moves_open) = (0, 0, 0);
        }
        for topic in self.topics.values_mut() {
            topic.may_have_moved = false;
            topic.records.values_mut().for_each(Records::forget_moves);
        }
    }

    pub fn life_ended(&mut self, end: End, disk_failed: bool) {
        for name in self.names.values_mut() {
            // A sync that failed may have lost writes for good, and the next one says nothing. Only where
            // every commit is synced can recovery mend that.
            name.rotten |= disk_failed && !name.habits.is_strict();
        }
        for topic in self.topics.values_mut() {
            let name = &self.names[&topic.name];
            let may_lose = name.habits.may_lose(end) || name.rotten;
            topic.records.values_mut().for_each(|records| records.life_ended(may_lose));
        }
    }

    /// Bits of this name's files were turned over.
    pub fn rot(&mut self, name: &str) {
        self.name_mut(name).rotten = true;
        for topic in self.alive(name) {
            topic.records.values_mut().for_each(|records| records.life_ended(true));
        }
    }

    // ------------------------------------------------------------ moves

    /// A move by the topic's name is on its way, or answered.
    pub fn move_by_name(&mut self, name: &str, is_sent: bool) {
        let known = self.name_mut(name);
        known.moves_open = if is_sent { known.moves_open + 1 } else { known.moves_open - 1 };
    }

    /// Whether an error still wants a reason: nobody leads a partition while it moves.
    pub fn wants_reason(
        &mut self,
        code: ErrorCode,
        (id, index): (TopicId, i32),
        since: Floor,
    ) -> bool {
        let may_have_moved = self.topics[&id].may_have_moved;
        let has_moved = may_have_moved || self.records(id, index).has_moved(since);
        !(code == ErrorCode::NotLeaderOrFollower && has_moved)
    }

    // ------------------------------------------------------------ partitions

    /// Partitions that somebody could work on: topic and index.
    pub fn partitions(&self) -> Vec<(TopicId, i32)> {
        let alive = self.topics.iter().filter(|(_, topic)| !topic.gone);
        let of = |(id, topic): (&TopicId, &Topic)| {
            let (id, count) = (*id, topic.partitions_min as i32);
            (0..count).map(move |index| (id, index)).collect::<Vec<_>>()
        };
        alive.flat_map(of).collect()
    }

    /// Whether it must be there.
    pub fn must(&self, id: TopicId, index: i32) -> bool {
        let topic = self.topics.get(&id);
        topic.is_some_and(|topic| topic.is_certain() && index < topic.partitions_min as i32)
    }

    /// The one topic that a request by name can have reached.
    pub fn only(&self, name: &str) -> Option<TopicId> {
        let mut alive = self.topics.iter().filter(|(_, topic)| topic.name == name && !topic.gone);
        let one = alive.next().filter(|(_, topic)| topic.known).map(|(id, _)| *id);
        one.filter(|_| alive.next().is_none() && self.names[name].creates_open == 0)
    }

    pub fn name_of(&self, id: TopicId) -> String {
        self.topics[&id].name.clone()
    }

    /// Partitions that it has for certain.
    pub fn partitions_of(&self, id: TopicId) -> usize {
        self.topics[&id].partitions_min
    }

    pub fn habits(&self, id: TopicId) -> &Habits {
        &self.names[&self.topics[&id].name].habits
    }

    /// Nobody knows what a disk that failed has left of it.
    pub fn is_rotten(&self, id: TopicId) -> bool {
        self.names[&self.topics[&id].name].rotten
    }

    /// What is committed can be read. Not so where nobody knows what is left, nor without a promise
    /// (`Durability::Memory`): what is on its way to the file is read once it is there.
    pub fn gives_all(&self, id: TopicId) -> bool {
        self.habits(id).durability != Durability::Memory && !self.is_rotten(id)
    }

    pub fn records(&mut self, id: TopicId, index: i32) -> &mut Records {
        let topic = self.topics.get_mut(&id).expect("a topic that was seen");
        topic.records.entry(index).or_default()
    }

    /// Whether nobody has looked what the last life left of it.
    pub fn is_unsettled(&mut self, id: TopicId, index: i32) -> bool {
        self.records(id, index).unsettled
    }

    pub fn register(&mut self, sent: &Rc<Sent>) {
        let header = BatchHeader::parse(&sent.bytes).expect("it was composed well");
        self.batches.entry(header.crc).or_default().push(sent.clone());
    }

    /// The batch that these bytes are.
    fn find(&self, name: &str, header: &BatchHeader, served: &[u8]) -> Rc<Sent> {
        let alike = self.batches.get(&header.crc).into_iter().flatten();
        let sent = alike.into_iter().find(|sent| sent.is(served));
        let at = header.base_offset;
        sent.unwrap_or_else(|| panic!("{name}: what is served at {at} was never sent")).clone()
    }

    /// What an answer shows of a partition. The offset after the last batch.
    pub fn read(
        &mut self,
        (id, index): (TopicId, i32),
        floor: Floor,
        (log_start, high_watermark): (i64, i64),
        asked: i64,
        records: &[u8],
    ) -> i64 {
        let name = format!("{}-{index}", self.topics[&id].name);
        self.ends((id, index), floor, log_start, high_watermark);
        let batches = super::records::batches_of(&name, asked, records);
        let may_have_moved = i32::from(self.topics[&id].may_have_moved);
        let epoch_max = self.records(id, index).leader_epoch_max() + may_have_moved;
        let mut next = asked;
        for (header, served) in batches {
            let sent = self.find(&name, &header, &served);
            let meant = format!("{}-{}", sent.topic, sent.index);
            assert_eq!(meant, name, "{name}: batch {} was meant for another", sent.id);
            let same = sent.id_of_topic.is_none_or(|meant| meant == id);
            assert!(same, "{name}: batch {} was meant for a topic of this name before", sent.id);
            let epoch = header.leader_epoch;
            assert!(epoch <= epoch_max, "{name}: epoch {epoch}, the last is {epoch_max}");
            next = header.next_offset().0;
            assert!(next <= high_watermark, "{name}: {next} is above {high_watermark}");
            self.records(id, index).place(&name, header.base_offset.0, &sent);
        }
        next
    }

    /// What an answer says of a partition's ends.
    pub fn ends(
        &mut self,
        (id, index): (TopicId, i32),
        floor: Floor,
        log_start: i64,
        high_watermark: i64,
    ) {
        let name = format!("{}-{index}", self.topics[&id].name);
        self.records(id, index).ends(&name, floor, log_start, high_watermark);
        self.check_start((id, index), log_start);
    }

    /// The log may begin so late only if somebody asked for it.
    pub fn check_start(&mut self, (id, index): (TopicId, i32), log_start: i64) {
        let retains = self.habits(id).retains;
        let asked = self.records(id, index).delete_asked();
        assert!(
            retains || log_start <= asked,
            "{}-{index} begins at {log_start}, nobody asked for more than {asked}",
            self.topics[&id].name
        );
    }

    pub fn producer_id(&mut self, id: i64) {
        assert!(self.producer_ids.insert(id), "producer id {id} is given out twice");
    }
}
