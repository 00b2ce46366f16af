//! A client's way to its group's coordinator, and what all who have one do: commit offsets and fetch them.

use super::Groups;
use super::model::Place;
use super::register::{Asked, NONE};
use crate::net::harness::address;
use crate::simulator::broker::link::Link;
use crate::simulator::broker::world::{World, tell};
use crate::simulator::dice::Dice;
use crate::types::TopicId;
use crate::wire::api::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use crate::wire::{ErrorCode, Request, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// First versions of FindCoordinator and OffsetFetch that name several groups, and of OffsetCommit and OffsetFetch
/// that name topics by id, and of OffsetFetch that names the member.
const SEVERAL_FROM: i16 = 4;
const SEVERAL_GROUPS_FROM: i16 = 8;
const MEMBER_FROM: i16 = 9;
const TOPIC_ID_FROM: i16 = 10;

/// Who commits, or fetches.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub member: String,
    pub instance: Option<String>,
    pub epoch: i32,
}

impl Identity {
    /// Somebody who is no member.
    pub fn nobody() -> Identity {
        Identity { epoch: -1, ..Identity::default() }
    }
}

/// A connection to where a group is served.
pub struct Seat {
    pub groups: Rc<Groups>,
    pub world: Rc<World>,
    pub group: String,
    pub dice: Dice,
    link: Link,
    is_found: bool,
}

/// Whether an error says to ask again, perhaps elsewhere.
pub fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress
    )
}

impl Seat {
    pub fn new(groups: &Rc<Groups>, world: &Rc<World>, group: &str, dice: Dice) -> Seat {
        let link = Link::new(world, &dice);
        let (groups, world) = (groups.clone(), world.clone());
        Seat { groups, world, group: group.to_string(), dice, link, is_found: false }
    }

    /// The connection ends, whatever is in flight.
    pub fn leave(&mut self) {
        self.link.leave();
        self.is_found = false;
    }

    /// To a shard, whoever owns the group.
    pub fn go_to(&mut self, shard: usize) {
        self.link.leave();
        (self.link.shard, self.is_found) = (Some(shard), true);
    }

    /// The shard that serves the group, if each is a broker of its own; outer none without an answer, or when
    /// there is nobody yet.
    pub async fn find(&mut self) -> Option<Option<usize>> {
        let version = self.dice.pick(&[0, 2, 3, 4, 5, 6]);
        let key = Str::from(self.group.as_str());
        let request = match version {
            SEVERAL_FROM.. => {
                FindCoordinatorRequest { coordinator_keys: vec![key], ..Default::default() }
            }
            _ => FindCoordinatorRequest { key, ..Default::default() },
        };
        let FindCoordinatorResponse { error_code, node_id, port, coordinators, .. } =
            self.link.ask(version, &request).await?;
        let (code, node, port) = match coordinators.first() {
            Some(found) => (found.error_code, found.node_id, found.port),
            None => (error_code, node_id, port),
        };
        tell(|| format!("{}: its coordinator is {node} at {port}: {code}", self.group));
        if code != ErrorCode::None {
            assert!(is_passing(code), "{}: no coordinator: {code}", self.group);
            return None;
        }
        let first = i32::from(address(0).port());
        let shard = usize::try_from(port - first).ok();
        let now = self.world.now.get();
        assert_eq!(shard.is_some(), now.per_core, "{}: at port {port}", self.group);
        Some(shard)
    }

    /// Asks the group's coordinator, or any shard, which is to pass it on.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        if !self.is_found {
            self.link.leave();
            if self.dice.percent(80) {
                let found = self.find().await?;
                if self.link.shard != found && found.is_some() {
                    self.link.leave();
                    self.link.shard = found;
                }
            } else {
                self.link = Link::new(&self.world, &self.dice);
            }
            self.is_found = true;
        }
        let answer = self.link.ask(version, request).await;
        if answer.is_none() {
            self.is_found = false;
        }
        answer
    }

    /// Whoever answered so does not serve the group now: it is looked for again.
    pub fn note(&mut self, code: ErrorCode) {
        if is_passing(code) && code != ErrorCode::CoordinatorLoadInProgress {
            self.leave();
        }
    }

    // ------------------------------------------------------------ commit

    /// Commits for these partitions, each a value that nobody committed before. True when all was done; a
    /// member that is not one any more learns so by its next heartbeat.
    pub async fn commit(
        &mut self,
        version: i16,
        identity: &Identity,
        places: &BTreeSet<Place>,
    ) -> bool {
        let mut topics: BTreeMap<&String, Vec<(i32, i64)>> = BTreeMap::new();
        let mut sent: BTreeMap<Place, u64> = BTreeMap::new();
        let request = {
            let mut model = self.groups.model.borrow_mut();
            for place in places {
                let value = model.new_value();
                sent.insert(place.clone(), model.commit_sent(&self.group, place, value));
                topics.entry(&place.0).or_default().push((place.1, value));
            }
            let topic = |(name, of): (&&String, &Vec<(i32, i64)>)| OffsetCommitRequestTopic {
                name: name.as_str().into(),
                topic_id: model.topics.get(*name).map_or(TopicId::ZERO, |topic| topic.id),
                partitions: of.iter().map(|(index, value)| partition(*index, *value)).collect(),
            };
            OffsetCommitRequest {
                group_id: self.group.as_str().into(),
                generation_id_or_member_epoch: identity.epoch,
                member_id: identity.member.as_str().into(),
                group_instance_id: identity.instance.as_deref().map(Str::from),
                topics: topics.iter().map(topic).collect(),
                ..Default::default()
            }
        };
        self.world.tally.borrow_mut().commits += 1;
        let Some(answer) = self.ask(version, &request).await else { return false };
        let told = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<ErrorCode> = told.map(|told| told.error_code).collect();
        tell(|| format!("{}: {identity:?} commits {topics:?}: {codes:?}", self.group));
        assert_eq!(codes.len(), places.len(), "{}: each partition is answered", self.group);
        for ((place, start), code) in sent.iter().zip(&codes) {
            self.settle_commit(place, *start, *code);
        }
        codes.iter().all(|code| code.is_none())
    }

    fn settle_commit(&mut self, place: &Place, start: u64, code: ErrorCode) {
        let mut model = self.groups.model.borrow_mut();
        match code {
            ErrorCode::None => model.committed(&self.group, place, start),
            ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId
            | ErrorCode::RebalanceInProgress
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::GroupIdNotFound
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId => model.commit_refused(&self.group, place, start),
            // It may have been done.
            code => assert!(is_passing(code), "{}: a commit is answered with {code}", self.group),
        }
        drop(model);
        self.note(code);
    }

    // ------------------------------------------------------------ fetch

    /// Fetches what is committed for these partitions; false without an answer, or when it is refused.
    pub async fn fetch(
        &mut self,
        version: i16,
        identity: &Identity,
        places: &BTreeSet<Place>,
    ) -> bool {
        let asked: BTreeMap<Place, Asked> = {
            let mut model = self.groups.model.borrow_mut();
            places
                .iter()
                .map(|place| (place.clone(), model.fetch_sent(&self.group, place)))
                .collect()
        };
        let is_all = self.dice.percent(25) && version >= 2;
        let request = self.fetch_request(version, identity, places, is_all);
        let Some(answer) = self.ask(version, &request).await else { return false };
        let (code, told) = match self.told_of(version, &answer) {
            Ok(told) => (ErrorCode::None, told),
            Err(code) => (code, BTreeMap::new()),
        };
        tell(|| format!("{}: {identity:?} fetches {told:?}: {code}", self.group));
        if code != ErrorCode::None {
            let is_refused = matches!(
                code,
                ErrorCode::StaleMemberEpoch
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::IllegalGeneration
                    | ErrorCode::UnknownTopicId
            );
            assert!(is_refused || is_passing(code), "{}: fetch: {code}", self.group);
            self.note(code);
            return false;
        }
        let mut model = self.groups.model.borrow_mut();
        for (place, asked) in &asked {
            let value = told.get(place).copied();
            assert!(value.is_some() || is_all, "{}: {place:?} is not answered", self.group);
            model.fetched(&self.group, place, asked, value.unwrap_or(NONE));
        }
        self.world.tally.borrow_mut().offsets_read += asked.len() as u64;
        true
    }

    fn fetch_request(
        &self,
        version: i16,
        identity: &Identity,
        places: &BTreeSet<Place>,
        is_all: bool,
    ) -> OffsetFetchRequest {
        let mut topics: BTreeMap<&String, Vec<i32>> = BTreeMap::new();
        for (topic, index) in places {
            topics.entry(topic).or_default().push(*index);
        }
        let require_stable = self.dice.percent(50) && version >= 7;
        if version < SEVERAL_GROUPS_FROM {
            let topic = |(name, indexes): (&String, Vec<i32>)| OffsetFetchRequestTopic {
                name: name.as_str().into(),
                partition_indexes: indexes,
            };
            return OffsetFetchRequest {
                group_id: self.group.as_str().into(),
                topics: (!is_all).then(|| topics.into_iter().map(topic).collect()),
                require_stable,
                ..Default::default()
            };
        }
        let model = self.groups.model.borrow();
        let topic = |(name, indexes): (&String, Vec<i32>)| OffsetFetchRequestTopics {
            name: name.as_str().into(),
            topic_id: model.topics.get(name).map_or(TopicId::ZERO, |topic| topic.id),
            partition_indexes: indexes,
        };
        let is_member = version >= MEMBER_FROM && !identity.member.is_empty();
        let group = OffsetFetchRequestGroup {
            group_id: self.group.as_str().into(),
            member_id: is_member.then(|| identity.member.as_str().into()),
            member_epoch: if is_member { identity.epoch } else { -1 },
            topics: (!is_all).then(|| topics.into_iter().map(topic).collect()),
        };
        OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
    }

    fn told_of(
        &self,
        version: i16,
        answer: &OffsetFetchResponse,
    ) -> Result<BTreeMap<Place, i64>, ErrorCode> {
        let mut told = BTreeMap::new();
        let mut add = |topic: &str, index: i32, code: ErrorCode, offset: i64| {
            if code.is_none() {
                told.insert((topic.to_string(), index), offset);
                Ok(())
            } else {
                Err(code)
            }
        };
        if version < SEVERAL_GROUPS_FROM {
            for topic in &answer.topics {
                for it in &topic.partitions {
                    add(&topic.name, it.partition_index, it.error_code, it.committed_offset)?;
                }
            }
            return if answer.error_code.is_none() { Ok(told) } else { Err(answer.error_code) };
        }
        let group = &answer.groups[0];
        assert_eq!(group.group_id, self.group.as_str());
        if !group.error_code.is_none() {
            return Err(group.error_code);
        }
        let model = self.groups.model.borrow();
        for topic in &group.topics {
            let name = match version {
                TOPIC_ID_FROM.. => model.name_of(topic.topic_id),
                _ => Some(topic.name.as_str().to_string()),
            };
            // Of a topic that is gone, or of one that nobody has seen yet.
            let Some(name) = name else { continue };
            for it in &topic.partitions {
                add(&name, it.partition_index, it.error_code, it.committed_offset)?;
            }
        }
        Ok(told)
    }
}

fn partition(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition { partition_index, committed_offset, ..Default::default() }
}
