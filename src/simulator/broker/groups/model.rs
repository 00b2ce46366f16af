//! What was promised of groups: which offsets may be committed, which generations there were, and who works on
//! what.
//!
//! A member holds a partition from when it is told so until it says, or is about to say, that it has given it
//! up. Whether the group still knows it follows from when it was last heard of: before its session can have
//! ended, and before it can have been waited for too long, nobody else may be told to have what it holds.

use super::PARTITIONS_MAX;
use super::register::{Asked, Register};
use crate::runtime::{self, Instant};
use crate::types::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A partition of a topic, by its name.
pub type Place = (String, i32);

/// Which protocols the members of a group speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Classic,
    /// KIP-848.
    Modern,
    Mixed,
    /// Nobody is a member.
    Simple,
}

/// How long a member may be silent, and how long it may take to follow.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub session: Duration,
    pub rebalance: Duration,
}

#[derive(Debug)]
struct Hold {
    places: BTreeSet<Place>,
    /// When the last request was sent that says that the member lives.
    heard: Instant,
    /// When the last was sent whose answer left it nothing to follow. None: the group waits for it, and nobody
    /// knows since when, because what was known of the members before was forgotten.
    calm: Option<Instant>,
    patience: Patience,
    /// It was heard since it was told. A classic member that joins a stable group again has the session that it had.
    is_heard: bool,
}

impl Hold {
    /// The group knows it until then, at least.
    fn until(&self) -> Instant {
        let heard = self.heard + self.patience.session;
        let calm = self.calm.map_or(self.heard, |calm| calm + self.patience.rebalance);
        if self.is_heard { heard.min(calm) } else { self.heard }
    }
}

/// The groups that there are and were of a name.
#[derive(Debug)]
pub struct Group {
    pub kind: Kind,
    offsets: BTreeMap<Place, Register>,
    /// Who was told to have what in a generation, or at an epoch.
    owners: BTreeMap<i32, BTreeMap<Place, String>>,
    holds: BTreeMap<String, Hold>,
    /// The last that is durable, and the last that was seen in this life.
    epoch: i32,
    epoch_seen: i32,
    /// Counts the groups of this name: one that was deleted begins anew.
    pub number: u64,
    /// Its deletion was sent, and may be done at any time.
    is_doomed: bool,
}

impl Group {
    /// What was promised of its members holds no more.
    fn begin_anew(&mut self) {
        self.number += 1;
        (self.epoch, self.epoch_seen, self.is_doomed) = (0, 0, false);
        self.owners.clear();
        self.holds.clear();
    }
}

/// What a member was told to have.
#[derive(Debug)]
pub struct Told<'a> {
    pub owner: &'a str,
    pub epoch: i32,
    pub places: &'a BTreeSet<Place>,
    /// When it asked.
    pub sent: Instant,
    pub patience: Patience,
    /// It has nothing to follow.
    pub is_calm: bool,
    /// Its session begins with this.
    pub is_heard: bool,
    /// Which group of this name was asked.
    pub number: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Topic {
    pub id: TopicId,
    pub partitions: i32,
}

#[derive(Debug, Default)]
pub struct Model {
    pub topics: BTreeMap<String, Topic>,
    pub groups: BTreeMap<String, Group>,
    ticks: u64,
    values: i64,
}

impl Model {
    pub fn new(groups: impl Iterator<Item = (String, Kind)>) -> Model {
        let group = |kind| Group {
            kind,
            offsets: BTreeMap::new(),
            owners: BTreeMap::new(),
            holds: BTreeMap::new(),
            epoch: 0,
            epoch_seen: 0,
            number: 0,
            is_doomed: false,
        };
        let groups = groups.map(|(name, kind)| (name, group(kind))).collect();
        Model { groups, ..Model::default() }
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn group(&mut self, name: &str) -> &mut Group {
        self.groups.get_mut(name).expect("a group of this history")
    }

    pub fn number(&self, group: &str) -> u64 {
        self.groups[group].number
    }

    /// All partitions of these topics.
    pub fn places<'a>(&self, topics: impl Iterator<Item = &'a String>) -> BTreeSet<Place> {
        let of = |name: &String| {
            let (name, count) = (name.clone(), self.topics.get(name).map_or(0, |it| it.partitions));
            (0..count).map(move |index| (name.clone(), index)).collect::<Vec<_>>()
        };
        topics.flat_map(of).collect()
    }

    pub fn name_of(&self, id: TopicId) -> Option<String> {
        let found = self.topics.iter().find(|(_, topic)| topic.id == id);
        found.map(|(name, _)| name.clone())
    }

    // ------------------------------------------------------------ offsets

    /// A value that nobody committed before.
    pub fn new_value(&mut self) -> i64 {
        self.values += 1;
        self.values
    }

    /// A commit or removal is sent; what names it.
    pub fn commit_sent(&mut self, group: &str, place: &Place, value: i64) -> u64 {
        let now = self.tick();
        self.group(group).offsets.entry(place.clone()).or_default().send(value, now);
        now
    }

    pub fn committed(&mut self, group: &str, place: &Place, start: u64) {
        let now = self.tick();
        self.group(group).offsets.entry(place.clone()).or_default().done(start, now);
    }

    pub fn commit_refused(&mut self, group: &str, place: &Place, start: u64) {
        self.group(group).offsets.entry(place.clone()).or_default().refused(start);
    }

    /// What a fetch may show.
    pub fn fetch_sent(&mut self, group: &str, place: &Place) -> Asked {
        let now = self.tick();
        self.group(group).offsets.entry(place.clone()).or_default().ask(now)
    }

    pub fn fetched(&mut self, group: &str, place: &Place, asked: &Asked, value: i64) {
        let now = self.tick();
        let name = format!("{group}: {}-{}", place.0, place.1);
        let register = self.group(group).offsets.entry(place.clone()).or_default();
        register.read(&name, asked, value, now);
    }

    /// All that something may be committed for, now or until a request that is about to be sent arrives.
    pub fn all_places(&self) -> Vec<Place> {
        let of = |name: &String| {
            (0..PARTITIONS_MAX).map(|index| (name.clone(), index)).collect::<Vec<_>>()
        };
        self.topics.keys().flat_map(of).collect()
    }

    /// Partitions that something was committed for, perhaps.
    pub fn committed_places(&self, group: &str) -> Vec<Place> {
        self.groups[group].offsets.keys().cloned().collect()
    }

    /// All offsets of a group, or those of a topic, are removed; what names the removals.
    pub fn removal_sent(&mut self, group: &str, places: &[Place]) -> Vec<u64> {
        places.iter().map(|place| self.commit_sent(group, place, super::register::NONE)).collect()
    }

    // ------------------------------------------------------------ members

    /// A generation as an answer names it, which need not be durable. `floor`: as `floor` told when it was
    /// asked for.
    pub fn generation_seen(&mut self, name: &str, floor: i32, generation: i32, number: u64) {
        let group = self.group(name);
        if group.kind == Kind::Mixed || group.number != number || group.is_doomed {
            return;
        }
        assert!(generation >= floor, "{name}: generation {generation}, it was {floor} before");
        group.epoch_seen = group.epoch_seen.max(generation);
    }

    /// What a generation that an answer names may not be below. `reloads`: the group may be read anew in this
    /// life, and then forgets generations that nobody had an assignment in.
    pub fn floor(&self, name: &str, reloads: bool) -> i32 {
        let group = &self.groups[name];
        if reloads { group.epoch } else { group.epoch.max(group.epoch_seen) }
    }

    /// A member is told what it has.
    pub fn told(&mut self, name: &str, told: &Told<'_>) {
        let group = self.group(name);
        if group.number != told.number || group.is_doomed {
            return;
        }
        let now = runtime::now();
        let others = group.holds.iter().filter(|(other, _)| *other != told.owner);
        let mut others = others.filter(|(_, hold)| now < hold.until()).peekable();
        let is_member = now < told.sent + told.patience.session.min(told.patience.rebalance);
        if group.kind == Kind::Mixed && others.peek().is_none() {
            // It may have been empty, and then begun anew as one of the other kind.
            group.owners.clear();
        }
        if is_member {
            for (other, hold) in others {
                let both: Vec<&Place> = hold.places.intersection(told.places).collect();
                assert!(
                    both.is_empty(),
                    "{name}: {} is told at {} to have {both:?}, which {other} has: {hold:?}, now {now:?}",
                    told.owner,
                    told.epoch
                );
            }
        }
        let owners = group.owners.entry(told.epoch).or_default();
        for place in told.places {
            let owner = owners.entry(place.clone()).or_insert_with(|| told.owner.to_string());
            assert_eq!(owner, told.owner, "{name}: {place:?} has two owners at {}", told.epoch);
        }
        group.epoch = group.epoch.max(told.epoch);
        let hold = group.holds.entry(told.owner.to_string()).or_insert_with(|| Hold {
            places: BTreeSet::new(),
            heard: told.sent,
            calm: told.is_calm.then_some(told.sent),
            patience: told.patience,
            is_heard: told.is_heard,
        });
        hold.places.extend(told.places.iter().cloned());
        hold.patience = told.patience;
        hold.is_heard |= told.is_heard;
        hold.heard = hold.heard.max(told.sent);
        if told.is_calm {
            hold.calm = hold.calm.max(Some(told.sent));
        }
    }

    /// A member that the group knew at this time has asked and was not refused. Of one that it need not know any
    /// more that says nothing: while a group is being read, anybody's Heartbeat is answered so.
    pub fn heard(&mut self, name: &str, owner: &str, sent: Instant, is_calm: bool) {
        let held = self.group(name).holds.get_mut(owner);
        if let Some(hold) = held.filter(|hold| sent < hold.until() || !hold.is_heard) {
            hold.is_heard = true;
            hold.heard = hold.heard.max(sent);
            if is_calm {
                hold.calm = hold.calm.max(Some(sent));
            }
        }
    }

    /// A member works on nothing but this any more.
    pub fn keeps(&mut self, name: &str, owner: &str, places: &BTreeSet<Place>) {
        if let Some(hold) = self.group(name).holds.get_mut(owner) {
            hold.places.retain(|place| places.contains(place));
        }
    }

    /// A member works on nothing any more, and may be gone.
    pub fn gives_all_up(&mut self, name: &str, owner: &str) {
        self.group(name).holds.remove(owner);
    }

    /// The group says that it does not know a member, or not as it says it is.
    pub fn disowned(&mut self, name: &str, owner: &str, why: &str) {
        let now = runtime::now();
        if let Some(hold) = self.group(name).holds.remove(owner) {
            let until = hold.until();
            assert!(
                now >= until,
                "{name}: {owner} is told {why} at {now:?}: {hold:?} until {until:?}"
            );
        }
    }

    /// The group may begin anew at any time: its deletion is sent.
    pub fn doom(&mut self, name: &str) {
        let group = self.group(name);
        group.begin_anew();
        group.is_doomed = true;
    }

    /// Its deletion is done, or refused.
    pub fn spare(&mut self, name: &str) {
        self.group(name).begin_anew();
    }

    // ------------------------------------------------------------ lives

    /// `may_lose`: what was acknowledged may be gone.
    pub fn life_ended(&mut self, may_lose: bool) {
        let now = self.tick();
        for group in self.groups.values_mut() {
            group.epoch_seen = 0;
            group.holds.retain(|_, hold| hold.is_heard);
            for register in group.offsets.values_mut() {
                register.life_ended(may_lose, now);
            }
            if may_lose || group.is_doomed {
                group.begin_anew();
            }
        }
    }
}
