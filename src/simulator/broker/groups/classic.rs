//! A member by the classic protocol, eager: it gives all up when it joins, and the leader assigns. It outlives the
//! broker.

use super::Groups;
use super::member::{Facts, Mood};
use super::model::{Kind, Place, Told};
use super::seat::{Identity, Seat, is_passing};
use crate::runtime::{self, Instant};
use crate::simulator::broker::world::{World, tell};
use crate::simulator::dice::Dice;
use crate::wire::api::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use crate::wire::api::leave_group::MemberIdentity;
use crate::wire::api::sync_group::SyncGroupRequestAssignment;
use crate::wire::api::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use crate::wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
    PROTOCOL_TYPE,
};
use crate::wire::{Encoder, ErrorCode, Str};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const PROTOCOL: &str = "range";
/// Of subscriptions and assignments.
const EMBEDDED_VERSION: i16 = 1;
/// Versions of JoinGroup, SyncGroup, Heartbeat and LeaveGroup that a client of one age uses; the first knows no
/// static members.
const VERSIONS: [(i16, i16, i16, i16); 4] =
    [(4, 2, 2, 2), (5, 3, 3, 3), (7, 5, 4, 4), (9, 5, 4, 5)];

#[derive(Debug, Default)]
struct State {
    id: String,
    generation: i32,
    is_member: bool,
    leads: bool,
    /// An answer is missing.
    has_lost: bool,
    owned: BTreeSet<Place>,
    /// What its assignment was made of, when it leads.
    assigned_of: BTreeSet<Place>,
    is_down: bool,
    topics: Vec<String>,
}

pub struct Classic {
    pub facts: Facts,
    versions: (i16, i16, i16, i16),
    dice: Dice,
    state: RefCell<State>,
}

impl Classic {
    pub fn new(facts: Facts, dice: Dice) -> Classic {
        let versions = match facts.instance {
            // KIP-814: before, a leader that comes back is not told that it leads, and minds nothing.
            Some(_) => VERSIONS[VERSIONS.len() - 1],
            None => dice.pick(&VERSIONS),
        };
        let state = State { topics: facts.topics.clone(), ..State::default() };
        Classic { facts, versions, dice, state: RefCell::new(state) }
    }

    fn be_born(&self) {
        let mut state = self.state.borrow_mut();
        let topics = std::mem::take(&mut state.topics);
        *state = State { topics, ..State::default() };
    }

    /// The id may change while it is the same member: by its instance, or by its client.
    fn owner(&self) -> String {
        self.facts.instance.clone().unwrap_or_else(|| self.facts.name.clone())
    }

    pub fn is_down(&self) -> bool {
        self.state.borrow().is_down
    }

    pub fn settled(&self) -> Option<(String, i32, BTreeSet<Place>)> {
        let state = self.state.borrow();
        // One that leads and does not know what it assigned is about to join again.
        let assigns_anew = state.leads && state.assigned_of.is_empty();
        let is_settled = state.is_member && !state.has_lost && !assigns_anew;
        is_settled.then(|| (state.id.clone(), state.generation, state.owned.clone()))
    }

    pub fn topics(&self) -> Vec<String> {
        self.state.borrow().topics.clone()
    }

    /// What it does until it is told to stop.
    pub async fn work(self: Rc<Self>, groups: Rc<Groups>, world: Rc<World>, mood: Mood) {
        let mut seat = Seat::new(&groups, &world, &self.facts.group, self.dice.fork());
        {
            let mut state = self.state.borrow_mut();
            state.has_lost = true;
            // KIP-848: the broker may have made it the leader, and it does not know.
            state.is_member &= !(mood.is_calm && groups.kind(&self.facts.group) == Kind::Mixed);
        }
        while !mood.is_over(&world) {
            if self.is_down() {
                if mood.is_calm {
                    return;
                }
                mood.wait(&self.dice, self.facts.patience.session / 2).await;
                if self.dice.percent(40) {
                    self.be_born();
                }
                continue;
            }
            if !self.state.borrow().is_member {
                if !mood.is_calm && self.dice.percent(10) {
                    mood.wait(&self.dice, self.facts.patience.rebalance * 3 / 2).await;
                }
                self.join(&mut seat).await;
                mood.wait(&self.dice, groups.plan.heartbeat / 2).await;
                continue;
            }
            let action = if mood.is_calm { 50 } else { self.dice.below(100) };
            match action {
                0..2 => self.go_down(&groups, &mut seat),
                2..5 => self.leave(&mut seat).await,
                5..7 => mood.wait(&self.dice, self.facts.patience.session * 3 / 2).await,
                7..10 => self.subscribe(),
                10..20 => self.look(&mut seat).await,
                20..60 => self.beat(&mut seat).await,
                _ => self.commit(&mut seat).await,
            }
            self.mind_new_partitions(&groups);
            mood.wait(&self.dice, groups.plan.heartbeat).await;
        }
    }

    fn go_down(&self, groups: &Groups, seat: &mut Seat) {
        tell(|| format!("{}: {} goes down", self.facts.group, self.owner()));
        groups.model.borrow_mut().gives_all_up(&self.facts.group, &self.owner());
        seat.leave();
        self.state.borrow_mut().is_down = true;
    }

    fn subscribe(&self) {
        let mut state = self.state.borrow_mut();
        state.topics = self.facts.some_topics(&self.dice);
        state.is_member = false;
    }

    /// A leader joins again when there are partitions that it has not assigned.
    fn mind_new_partitions(&self, groups: &Groups) {
        let mut state = self.state.borrow_mut();
        let model = groups.model.borrow();
        if state.leads && state.assigned_of != model.places(self.facts.topics.iter()) {
            state.is_member = false;
        }
    }

    fn identity(&self) -> Identity {
        let state = self.state.borrow();
        let instance = self.facts.instance.clone();
        Identity { member: state.id.clone(), instance, epoch: state.generation }
    }

    async fn commit(&self, seat: &mut Seat) {
        let mut identity = self.identity();
        let places = self.facts.some_places(&self.dice, &self.state.borrow().owned);
        if places.is_empty() {
            return;
        }
        let is_stale = self.dice.percent(5);
        identity.epoch -= i32::from(is_stale);
        let version = match self.facts.instance {
            Some(_) => self.dice.pick(&[7, 8, 9, 10]),
            None => self.dice.pick(&[2, 5, 6, 7, 8, 9, 10]),
        };
        let facts = |groups: &Groups| {
            let model = groups.model.borrow();
            (model.number(&self.facts.group), model.groups[&self.facts.group].kind)
        };
        let before = facts(&seat.groups);
        let is_done = seat.commit(version, &identity, &places).await;
        // By KIP-1251 a consumer group takes it for what the member has had for long, and what the power took may have
        // been the newer generation.
        let may_be_newest = seat.groups.plan.may_lose();
        let must_refuse = is_stale
            && !may_be_newest
            && before.1 == Kind::Classic
            && facts(&seat.groups) == before;
        assert!(!is_done || !must_refuse, "{}: {identity:?} commits", self.facts.group);
    }

    async fn look(&self, seat: &mut Seat) {
        let places = self.state.borrow().owned.clone();
        if !places.is_empty() {
            let version = self.dice.pick(&[1, 2, 5, 7, 8, 10]);
            seat.fetch(version, &Identity::nobody(), &places).await;
        }
    }

    // ------------------------------------------------------------ joining

    fn join_request(&self) -> JoinGroupRequest {
        let state = self.state.borrow();
        let topics = state.topics.iter().map(|name| Str::from(name.as_str()));
        let subscription =
            ConsumerProtocolSubscription { topics: topics.collect(), ..Default::default() };
        let mut e = Encoder::new();
        e.write_i16(EMBEDDED_VERSION);
        subscription.encode(&mut e, EMBEDDED_VERSION);
        let protocol = JoinGroupRequestProtocol { name: PROTOCOL.into(), metadata: e.out.freeze() };
        JoinGroupRequest {
            group_id: self.facts.group.as_str().into(),
            session_timeout_ms: self.facts.patience.session.as_millis() as i32,
            rebalance_timeout_ms: self.facts.patience.rebalance.as_millis() as i32,
            member_id: state.id.as_str().into(),
            group_instance_id: self.facts.instance.as_deref().map(Str::from),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![protocol],
            ..Default::default()
        }
    }

    async fn join(&self, seat: &mut Seat) {
        let (group, owner) = (&self.facts.group, self.owner());
        {
            let mut state = self.state.borrow_mut();
            state.owned.clear();
            (state.is_member, state.leads) = (false, false);
        }
        let request = self.join_request();
        let reloads = seat.world.now.get().faults;
        let (number, floor) = {
            let mut model = seat.groups.model.borrow_mut();
            model.gives_all_up(group, &owner);
            (model.number(group), model.floor(group, reloads))
        };
        let sent = runtime::now();
        let Some(answer) = seat.ask(self.versions.0, &request).await else { return };
        let code = answer.error_code;
        tell(|| format!("{group}: {owner} joins: {code}, {answer:?}"));
        match code {
            ErrorCode::None => {
                let generation = answer.generation_id;
                {
                    let mut model = seat.groups.model.borrow_mut();
                    model.generation_seen(group, floor, generation, number);
                }
                seat.world.tally.borrow_mut().joins += 1;
                {
                    let mut state = self.state.borrow_mut();
                    state.id = answer.member_id.as_str().to_string();
                    state.generation = generation;
                }
                self.sync(seat, &answer, sent, number).await;
            }
            ErrorCode::MemberIdRequired => {
                self.state.borrow_mut().id = answer.member_id.as_str().to_string();
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.state.borrow_mut().id.clear();
            }
            ErrorCode::RebalanceInProgress => {}
            code => {
                assert!(is_passing(code), "{group}: {owner} joins: {code}");
                seat.note(code);
            }
        }
    }

    async fn sync(&self, seat: &mut Seat, joined: &JoinGroupResponse, sent: Instant, number: u64) {
        let (group, owner) = (&self.facts.group, self.owner());
        let leads = joined.leader == joined.member_id && !joined.member_id.is_empty();
        let assigns = leads && !joined.skip_assignment;
        let all = seat.groups.model.borrow().places(self.facts.topics.iter());
        let assignments = match assigns {
            true => assign(&joined.members, &all),
            false => Vec::new(),
        };
        let is_named = self.versions.1 >= 5;
        let request = SyncGroupRequest {
            group_id: group.as_str().into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: self.facts.instance.as_deref().map(Str::from),
            protocol_type: is_named.then(|| PROTOCOL_TYPE.into()),
            protocol_name: is_named.then(|| PROTOCOL.into()),
            assignments,
        };
        let Some(answer) = seat.ask(self.versions.1, &request).await else { return };
        let code = answer.error_code;
        tell(|| format!("{group}: {owner} syncs {}: {code}", joined.generation_id));
        match code {
            ErrorCode::None => {
                let places = places_of(answer.assignment);
                let epoch = joined.generation_id;
                let patience = self.facts.patience;
                let (is_calm, is_heard) = (true, false);
                let told = Told {
                    owner: &owner,
                    epoch,
                    places: &places,
                    sent,
                    patience,
                    is_calm,
                    is_heard,
                    number,
                };
                seat.groups.model.borrow_mut().told(group, &told);
                tell(|| format!("{group}: {owner} has {places:?} in {epoch}"));
                let mut state = self.state.borrow_mut();
                (state.is_member, state.has_lost, state.owned) = (true, false, places);
                // One that leads and was not asked to assign does not know what the assignment is made of.
                (state.leads, state.assigned_of) =
                    (leads, if assigns { all } else { BTreeSet::new() });
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.state.borrow_mut().id.clear();
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            code => {
                assert!(is_passing(code), "{group}: {owner} syncs: {code}");
                seat.note(code);
            }
        }
    }

    // ------------------------------------------------------------ staying

    async fn beat(&self, seat: &mut Seat) {
        let (group, owner) = (&self.facts.group, self.owner());
        let request = {
            let mut state = self.state.borrow_mut();
            state.has_lost = true;
            HeartbeatRequest {
                group_id: group.as_str().into(),
                generation_id: state.generation,
                member_id: state.id.as_str().into(),
                group_instance_id: self.facts.instance.as_deref().map(Str::from),
            }
        };
        let sent = runtime::now();
        let Some(answer) = seat.ask(self.versions.2, &request).await else { return };
        let code = answer.error_code;
        tell(|| format!("{group}: {owner} of {} is told {code}", request.generation_id));
        let mut model = seat.groups.model.borrow_mut();
        let mut state = self.state.borrow_mut();
        state.has_lost = false;
        match code {
            ErrorCode::None => model.heard(group, &owner, sent, true),
            ErrorCode::RebalanceInProgress => {
                model.heard(group, &owner, sent, false);
                state.is_member = false;
            }
            ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId => {
                // A group that becomes classic again takes its epoch for the generation, and members may be behind.
                let is_behind = code == ErrorCode::IllegalGeneration;
                match model.groups[group].kind {
                    Kind::Mixed if is_behind => model.gives_all_up(group, &owner),
                    _ => model.disowned(group, &owner, code.name()),
                }
                state.is_member = false;
                if code != ErrorCode::IllegalGeneration {
                    state.id.clear();
                }
            }
            code => {
                assert!(
                    is_passing(code),
                    "{group}: a heartbeat of {owner} is answered with {code}"
                );
                state.has_lost = true;
                drop(model);
                seat.note(code);
            }
        }
    }

    async fn leave(&self, seat: &mut Seat) {
        let (group, owner) = (&self.facts.group, self.owner());
        let member_id: Str = self.state.borrow().id.as_str().into();
        let group_instance_id = self.facts.instance.as_deref().map(Str::from);
        let members =
            vec![MemberIdentity { member_id: member_id.clone(), group_instance_id, reason: None }];
        let is_old = self.versions.3 < 3;
        let request = LeaveGroupRequest {
            group_id: group.as_str().into(),
            member_id: if is_old { member_id } else { Str::default() },
            members: if is_old { Vec::new() } else { members },
        };
        seat.groups.model.borrow_mut().gives_all_up(group, &owner);
        let answer = seat.ask(self.versions.3, &request).await;
        tell(|| format!("{group}: {owner} leaves: {answer:?}"));
        self.be_born();
        self.state.borrow_mut().is_down = self.dice.percent(30);
    }
}

/// A range of each topic for each member that subscribes to it.
fn assign(
    members: &[JoinGroupResponseMember],
    all: &BTreeSet<Place>,
) -> Vec<SyncGroupRequestAssignment> {
    let topics_of = |member: &JoinGroupResponseMember| {
        let topics = ConsumerProtocolSubscription::topics_of(member.metadata.clone());
        topics.expect("as a member wrote it")
    };
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, index) in all {
        by_topic.entry(topic).or_default().push(*index);
    }
    let mut parts: BTreeMap<&Str, Vec<ConsumerProtocolTopicPartitions>> = BTreeMap::new();
    for (topic, indexes) in by_topic {
        let subscribers: Vec<&Str> = members
            .iter()
            .filter(|member| topics_of(member).iter().any(|name| name.as_str() == topic))
            .map(|member| &member.member_id)
            .collect();
        for (at, member) in subscribers.iter().enumerate() {
            let (count, all) = (subscribers.len(), indexes.len());
            let partitions = indexes[at * all / count..(at + 1) * all / count].to_vec();
            let part = ConsumerProtocolTopicPartitions { topic: topic.into(), partitions };
            parts.entry(member).or_default().push(part);
        }
    }
    let assignment = |member: &JoinGroupResponseMember| {
        let assigned_partitions = parts.get(&member.member_id).cloned().unwrap_or_default();
        let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
        let assignment = assignment.to_assignment(EMBEDDED_VERSION);
        SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
    };
    members.iter().map(assignment).collect()
}

fn places_of(assignment: Bytes) -> BTreeSet<Place> {
    if assignment.is_empty() {
        return BTreeSet::new();
    }
    let read = ConsumerProtocolAssignment::from_assignment(assignment);
    let (_, assignment) = read.expect("an assignment");
    let of = |topic: &ConsumerProtocolTopicPartitions| {
        let name = topic.topic.as_str().to_string();
        topic.partitions.iter().map(move |index| (name.clone(), *index)).collect::<Vec<_>>()
    };
    assignment.assigned_partitions.iter().flat_map(of).collect()
}
