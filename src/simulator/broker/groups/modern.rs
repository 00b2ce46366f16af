//! A member by KIP-848's protocol: it says by its heartbeats what it subscribes to and what it has, and follows
//! what it is told step by step. It outlives the broker.

use super::Groups;
use super::member::{Facts, Mood};
use super::model::{Patience, Place, Told};
use super::seat::{Identity, Seat, is_passing};
use crate::runtime;
use crate::simulator::broker::world::{World, tell};
use crate::simulator::dice::Dice;
use crate::wire::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatTopicPartitions,
};
use crate::wire::{ErrorCode, Str};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Epochs that say that a member leaves, for good or, a static one, for a while.
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;

#[derive(Debug, Default)]
struct State {
    id: String,
    epoch: i32,
    /// What it works on.
    owned: BTreeSet<Place>,
    /// What it was told to have, when it has not followed yet.
    told: Option<BTreeSet<Place>>,
    said: Option<BTreeSet<Place>>,
    /// The next request says all.
    says_all: bool,
    /// An answer is missing since the last one that came.
    has_lost: bool,
    /// It is gone, and did not say so.
    is_down: bool,
    topics: Vec<String>,
}

pub struct Modern {
    pub facts: Facts,
    dice: Dice,
    state: RefCell<State>,
}

impl Modern {
    pub fn new(facts: Facts, dice: Dice) -> Modern {
        let topics = facts.topics.clone();
        let member = Modern { facts, dice, state: RefCell::default() };
        member.be_born(topics);
        member
    }

    /// A new process, which knows nothing.
    fn be_born(&self, topics: Vec<String>) {
        let id = format!("{}-{:016x}", self.facts.name, self.dice.next());
        *self.state.borrow_mut() = State { id, topics, ..State::default() };
    }

    fn owner(&self) -> String {
        self.facts.instance.clone().unwrap_or_else(|| self.state.borrow().id.clone())
    }

    pub fn is_down(&self) -> bool {
        self.state.borrow().is_down
    }

    /// What it has, when it follows what it was told and the group has it.
    pub fn settled(&self) -> Option<(String, i32, BTreeSet<Place>)> {
        let state = self.state.borrow();
        let is_settled = state.epoch > 0 && state.told.is_none() && !state.has_lost;
        is_settled.then(|| (state.id.clone(), state.epoch, state.owned.clone()))
    }

    pub fn topics(&self) -> Vec<String> {
        self.state.borrow().topics.clone()
    }

    fn patience(&self, groups: &Groups) -> Patience {
        Patience { session: groups.plan.modern_session, rebalance: self.facts.patience.rebalance }
    }

    /// What it does until it is told to stop.
    pub async fn work(self: Rc<Self>, groups: Rc<Groups>, world: Rc<World>, mood: Mood) {
        let mut seat = Seat::new(&groups, &world, &self.facts.group, self.dice.fork());
        // Whatever was asked in the last life may not have been answered.
        {
            let mut state = self.state.borrow_mut();
            (state.has_lost, state.says_all) = (true, true);
        }
        while !mood.is_over(&world) {
            if self.is_down() {
                if mood.is_calm {
                    return;
                }
                mood.wait(&self.dice, self.facts.patience.session / 2).await;
                if self.dice.percent(40) {
                    let topics = self.state.borrow().topics.clone();
                    self.be_born(topics);
                }
                continue;
            }
            let action = if mood.is_calm { 20 } else { self.dice.below(100) };
            match action {
                0..2 => self.go_down(&groups, &mut seat),
                2..5 => self.leave(&mut seat).await,
                5..7 => mood.wait(&self.dice, self.facts.patience.session * 3 / 2).await,
                7..10 => self.subscribe(),
                10..20 => self.look(&mut seat).await,
                20..60 => self.beat(&mut seat).await,
                _ => {
                    if self.dice.percent(80) {
                        self.follow();
                    }
                    self.commit(&mut seat).await;
                    self.beat(&mut seat).await;
                }
            }
            if mood.is_calm {
                self.follow();
            }
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
        state.says_all = true;
    }

    /// Works on what it was told to have, and on nothing else.
    fn follow(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(told) = state.told.take() {
            state.owned = told;
        }
    }

    fn identity(&self) -> Identity {
        let state = self.state.borrow();
        let instance = self.facts.instance.clone();
        Identity { member: state.id.clone(), instance, epoch: state.epoch }
    }

    async fn commit(&self, seat: &mut Seat) {
        let mut identity = self.identity();
        let places = self.facts.some_places(&self.dice, &self.state.borrow().owned);
        if places.is_empty() || identity.epoch <= 0 {
            return;
        }
        if self.dice.percent(5) {
            identity.epoch -= 1;
        }
        seat.commit(self.dice.pick(&[9, 10]), &identity, &places).await;
    }

    async fn look(&self, seat: &mut Seat) {
        let places = self.state.borrow().owned.clone();
        let identity = if self.dice.percent(60) { self.identity() } else { Identity::nobody() };
        if !places.is_empty() && identity.epoch != 0 {
            seat.fetch(self.dice.pick(&[5, 8, 9, 10]), &identity, &places).await;
        }
    }

    fn request(&self, groups: &Groups, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let mut state = self.state.borrow_mut();
        let is_full = state.says_all || epoch == 0;
        let says = is_full || state.said.as_ref() != Some(&state.owned);
        if says {
            state.said = Some(state.owned.clone());
        }
        (state.says_all, state.has_lost) = (true, true);
        let text = |text: &String| Str::from(text.as_str());
        let rebalance = self.facts.patience.rebalance.as_millis() as i32;
        let owned = if epoch < 0 { None } else { Some(wire(groups, &state.owned)) };
        ConsumerGroupHeartbeatRequest {
            group_id: self.facts.group.as_str().into(),
            member_id: state.id.as_str().into(),
            member_epoch: epoch,
            instance_id: self.facts.instance.as_ref().map(text),
            rebalance_timeout_ms: if is_full { rebalance } else { -1 },
            subscribed_topic_names: is_full.then(|| state.topics.iter().map(text).collect()),
            server_assignor: self.facts.assignor.map(Str::from_static).filter(|_| is_full),
            topic_partitions: owned.filter(|_| says),
            ..Default::default()
        }
    }

    async fn leave(&self, seat: &mut Seat) {
        if self.state.borrow().epoch == 0 {
            return;
        }
        let for_a_while = self.facts.instance.is_some() && self.dice.percent(50);
        let request =
            self.request(&seat.groups, if for_a_while { LEAVES_FOR_A_WHILE } else { LEAVES });
        let (group, owner) = (&self.facts.group, self.owner());
        seat.groups.model.borrow_mut().gives_all_up(group, &owner);
        let answer = seat.ask(1, &request).await;
        tell(|| format!("{group}: {owner} leaves: {:?}", answer.map(|it| it.error_code)));
        let topics = self.state.borrow().topics.clone();
        self.be_born(topics);
        self.state.borrow_mut().is_down = self.dice.percent(30);
    }

    async fn beat(&self, seat: &mut Seat) {
        let epoch = self.state.borrow().epoch;
        let (group, owner) = (&self.facts.group, self.owner());
        let had_lost = self.state.borrow().has_lost;
        let request = self.request(&seat.groups, epoch);
        let (number, floor) = {
            let mut model = seat.groups.model.borrow_mut();
            if epoch == 0 {
                model.gives_all_up(group, &owner);
            } else if request.topic_partitions.is_some() {
                // What it was told and has not taken up yet is its own, too.
                let state = self.state.borrow();
                let mut keeps = state.owned.clone();
                keeps.extend(state.told.iter().flatten().cloned());
                model.keeps(group, &owner, &keeps);
            }
            (model.number(group), model.floor(group, true))
        };
        let sent = runtime::now();
        let Some(answer) = seat.ask(1, &request).await else { return };
        tell(|| format!("{group}: {owner} at {epoch} is told {answer:?}"));
        let code = answer.error_code;
        match code {
            ErrorCode::None => {
                {
                    let mut state = self.state.borrow_mut();
                    (state.says_all, state.has_lost) = (false, false);
                }
                assert!(
                    answer.member_epoch >= epoch,
                    "{group}: {owner} was at {epoch}: {answer:?}"
                );
                if epoch == 0 {
                    let mut model = seat.groups.model.borrow_mut();
                    model.generation_seen(group, floor, answer.member_epoch, number);
                    seat.world.tally.borrow_mut().joins += 1;
                }
                self.hear(&seat.groups, &answer, sent, number);
            }
            ErrorCode::FencedMemberEpoch
            | ErrorCode::UnknownMemberId
            | ErrorCode::GroupIdNotFound => {
                // One that missed an answer may have the epoch before that.
                if had_lost || epoch == 0 {
                    seat.groups.model.borrow_mut().gives_all_up(group, &owner);
                } else {
                    seat.groups.model.borrow_mut().disowned(group, &owner, code.name());
                }
                let mut state = self.state.borrow_mut();
                (state.epoch, state.told) = (0, None);
                state.owned.clear();
            }
            ErrorCode::UnreleasedInstanceId | ErrorCode::FencedInstanceId
                if self.facts.instance.is_some() =>
            {
                seat.groups.model.borrow_mut().gives_all_up(group, &owner);
                let topics = self.state.borrow().topics.clone();
                self.be_born(topics);
            }
            code => {
                assert!(
                    is_passing(code),
                    "{group}: a heartbeat of {owner} is answered with {code}"
                );
                seat.note(code);
            }
        }
    }

    fn hear(
        &self,
        groups: &Groups,
        answer: &ConsumerGroupHeartbeatResponse,
        sent: runtime::Instant,
        number: u64,
    ) {
        let (group, owner, patience) = (&self.facts.group, self.owner(), self.patience(groups));
        let mut state = self.state.borrow_mut();
        state.epoch = answer.member_epoch;
        let mut model = groups.model.borrow_mut();
        let Some(assignment) = &answer.assignment else {
            return model.heard(group, &owner, sent, state.told.is_none());
        };
        let mut places = BTreeSet::new();
        for topic in &assignment.topic_partitions {
            let Some(name) = model.name_of(topic.topic_id) else { continue };
            places.extend(topic.partitions.iter().map(|index| (name.clone(), *index)));
        }
        let is_calm = state.owned.is_subset(&places);
        let epoch = answer.member_epoch;
        let is_heard = true;
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
        model.told(group, &told);
        if is_calm {
            (state.owned, state.told) = (places, None);
        } else {
            state.told = Some(places);
        }
    }
}

fn wire(groups: &Groups, owned: &BTreeSet<Place>) -> Vec<HeartbeatTopicPartitions> {
    let model = groups.model.borrow();
    let mut topics: BTreeMap<&String, Vec<i32>> = BTreeMap::new();
    for (topic, index) in owned {
        topics.entry(topic).or_default().push(*index);
    }
    let known = topics.into_iter().filter_map(|(name, partitions)| {
        let topic_id = model.topics.get(name)?.id;
        Some(HeartbeatTopicPartitions { topic_id, partitions })
    });
    known.collect()
}
