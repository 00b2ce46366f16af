//! Consumer groups in the histories of whole brokers: members of both protocols that outlive the broker, their
//! offsets, and what must hold of them.
//!
//! A group's times are short, so that a life of the broker sees several rebalances; what takes seconds costs
//! virtual time only. What groups read is kept apart from what the other clients make and delete.
//!
//! - `classic`, `modern`: members by JoinGroup and by KIP-848; `member`: what they share
//! - `seat`: a client's way to its coordinator, and commits and fetches
//! - `operator`: who describes and deletes; `settle`: when everybody is calm, groups become stable
//! - `model`: what was promised; `register`: of one committed offset

mod classic;
mod member;
mod model;
mod modern;
mod operator;
mod register;
mod seat;
mod settle;

use super::link::Link;
use super::model::End;
use super::world::{World, tell};
use crate::config::Config;
use crate::control_plane::groups::route::OFFSETS_TOPIC;
use crate::runtime::{self, Task, sim};
use crate::simulator::dice::Dice;
use crate::types::Durability;
use crate::wire::ErrorCode;
use crate::wire::api::{create_topics, metadata};
use classic::Classic;
use member::{Facts, Mood};
use model::{Kind, Model, Patience, Place};
use modern::Modern;
use operator::Operator;
use seat::{Identity, Seat};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// What groups read.
const TOPICS: [&str; 2] = ["of-groups-a", "of-groups-b"];
const PARTITIONS_MAX: i32 = 6;
/// The dice of groups is another than that of the rest: a history without groups is the same with or without
/// this module. None of those that are kept from before has groups.
const SALT: u64 = 0x6706_5C0D_1E5E_ED03;
/// Of a hundred histories.
const HISTORIES_WITH_GROUPS: u64 = 40;
const TRIES: usize = 40;

/// Whether a topic is here for groups.
pub fn is_topic_of_groups(name: &str) -> bool {
    name == OFFSETS_TOPIC || TOPICS.contains(&name)
}

/// What does not change in a history.
#[derive(Clone, Debug)]
pub struct Plan {
    durability: Durability,
    offsets_partitions: u32,
    initial_delay: Duration,
    pub modern_session: Duration,
    pub heartbeat: Duration,
    /// Bytes from which on a log of groups is written anew.
    pub copy_bytes_min: usize,
    /// Operations of the disk after which a life is cut at most; lives with groups have more of them.
    cut_after_max: u64,
}

impl Plan {
    fn draw(dice: &Dice, is_troubled: bool) -> Plan {
        let is_lax = dice.percent(12) && !is_troubled;
        Plan {
            durability: if is_lax { Durability::Write } else { Durability::Fsync },
            offsets_partitions: dice.pick(&[1, 2, 4]),
            initial_delay: Duration::from_millis(dice.pick(&[0, 5, 40])),
            modern_session: Duration::from_millis(dice.pick(&[300, 800])),
            heartbeat: Duration::from_millis(dice.pick(&[10, 40])),
            copy_bytes_min: dice.pick(&[6000, 30_000, 4 << 20]),
            cut_after_max: dice.pick(&[200, 600, 1500]),
        }
    }

    pub fn may_lose(&self) -> bool {
        self.durability != Durability::Fsync
    }

    /// How a broker with these groups is set up.
    pub fn set(&self, config: &mut Config) {
        config.durability = self.durability;
        let groups = &mut config.groups;
        groups.offsets_topic_partitions = self.offsets_partitions;
        groups.initial_rebalance_delay_ms = self.initial_delay;
        groups.session_timeout_ms_min = Duration::from_millis(1);
        groups.consumer_session_timeout_ms = self.modern_session;
        groups.consumer_heartbeat_interval_ms = self.heartbeat;
    }
}

/// A member of either protocol.
#[derive(Clone)]
pub enum Member {
    Classic(Rc<Classic>),
    Modern(Rc<Modern>),
}

impl Member {
    fn facts(&self) -> &Facts {
        match self {
            Member::Classic(member) => &member.facts,
            Member::Modern(member) => &member.facts,
        }
    }

    fn group(&self) -> &str {
        &self.facts().group
    }

    fn name(&self) -> &str {
        &self.facts().name
    }

    fn is_down(&self) -> bool {
        match self {
            Member::Classic(member) => member.is_down(),
            Member::Modern(member) => member.is_down(),
        }
    }

    fn topics(&self) -> Vec<String> {
        match self {
            Member::Classic(member) => member.topics(),
            Member::Modern(member) => member.topics(),
        }
    }

    /// Its id, generation or epoch, and what it has, when it has heard all and follows.
    fn settled(&self) -> Option<(String, i32, BTreeSet<Place>)> {
        match self {
            Member::Classic(member) => member.settled(),
            Member::Modern(member) => member.settled(),
        }
    }
}

/// All groups of a history, through all lives.
pub struct Groups {
    pub plan: Plan,
    pub model: RefCell<Model>,
    members: Vec<Member>,
    dice: Dice,
    /// All of what groups read is there.
    has_topics: Cell<bool>,
}

impl Groups {
    /// The groups of a seed's history, if it has any.
    pub fn plan(seed: u64, is_troubled: bool) -> Option<Rc<Groups>> {
        let dice = Dice::new(seed ^ SALT);
        if !dice.percent(HISTORIES_WITH_GROUPS) {
            return None;
        }
        let plan = Plan::draw(&dice, is_troubled);
        let mut kinds = Vec::new();
        for number in 0..1 + dice.below(2) {
            let kind = dice.pick(&[Kind::Classic, Kind::Modern, Kind::Mixed]);
            kinds.push((format!("group-{number}-{kind:?}"), kind));
        }
        if dice.percent(50) {
            kinds.push(("simple".to_string(), Kind::Simple));
        }
        let members = kinds.iter().flat_map(|(group, kind)| draw_members(&dice, group, *kind));
        let members = members.collect();
        let model = RefCell::new(Model::new(kinds.into_iter()));
        Some(Rc::new(Groups { plan, model, members, dice, has_topics: Cell::new(false) }))
    }

    pub fn kind(&self, group: &str) -> Kind {
        self.model.borrow().groups[group].kind
    }

    /// After how many operations of the disk a life is cut.
    pub fn cut_after(&self) -> u64 {
        self.dice.below(self.plan.cut_after_max)
    }

    /// A life has ended.
    pub fn life_ended(&self, end: End) {
        let may_lose = self.plan.may_lose() && end == End::PowerLoss;
        self.model.borrow_mut().life_ended(may_lose);
    }

    // ------------------------------------------------------------ a life

    /// Sees to what groups read, and looks what is committed. False when that cannot be had.
    pub async fn begin(self: &Rc<Self>, world: &Rc<World>) -> bool {
        for _ in 0..TRIES {
            if self.look(world).await {
                break;
            }
            self.make_topics(world).await;
            if world.now.get().stopping {
                return false;
            }
        }
        if !self.has_topics.get() {
            return false;
        }
        // The first that looks for a coordinator has the topic made that keeps groups.
        let mut seat = Seat::new(self, world, "", self.dice.fork());
        for _ in 0..TRIES {
            if seat.find().await.is_some() {
                self.read_offsets(world, None).await;
                return true;
            }
        }
        false
    }

    /// Looks which topics there are. Whether all are.
    pub async fn look(&self, world: &Rc<World>) -> bool {
        let named = |name: &&'static str| metadata::MetadataRequestTopic {
            name: Some((*name).into()),
            ..Default::default()
        };
        let request = metadata::MetadataRequest {
            topics: Some(TOPICS.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let mut link = Link::new(world, &self.dice);
        let Some(answer) = link.ask(12, &request).await else { return false };
        let mut model = self.model.borrow_mut();
        for told in answer.topics.iter().filter(|told| told.error_code.is_none()) {
            let name = told.name.as_ref().expect("it was asked for by name").as_str().to_string();
            let topic = model.topics.entry(name).or_default();
            topic.id = told.topic_id;
            topic.partitions = topic.partitions.max(told.partitions.len() as i32);
        }
        self.has_topics.set(model.topics.len() == TOPICS.len());
        self.has_topics.get()
    }

    async fn make_topics(&self, world: &Rc<World>) {
        let topic = |name: &&'static str| create_topics::CreatableTopic {
            name: (*name).into(),
            num_partitions: 1 + self.dice.below(4) as i32,
            replication_factor: -1,
            ..Default::default()
        };
        let topics = TOPICS.iter().map(topic).collect();
        let request = create_topics::CreateTopicsRequest { topics, ..Default::default() };
        let answer = Link::new(world, &self.dice).ask(7, &request).await;
        for made in answer.iter().flat_map(|answer| &answer.topics) {
            tell(|| format!("making {}: {}", made.name, made.error_code));
            assert_ne!(made.error_code, ErrorCode::InvalidTopicException);
        }
    }

    pub fn spawn_members(self: &Rc<Self>, world: &Rc<World>, mood: &Mood) -> Vec<Task<()>> {
        let spawned = self.members.iter().map(|member| {
            let (groups, world, mood) = (self.clone(), world.clone(), mood.clone());
            match member.clone() {
                Member::Classic(member) => runtime::spawn(member.work(groups, world, mood)),
                Member::Modern(member) => runtime::spawn(member.work(groups, world, mood)),
            }
        });
        spawned.collect()
    }

    /// Those who work with groups for a while.
    pub fn clients(self: &Rc<Self>, world: &Rc<World>) -> Vec<Task<()>> {
        let time = Duration::from_millis(self.dice.pick(&[20, 200, 200, 1200, 4000]));
        let until =
            runtime::now() + Duration::from_millis(1 + self.dice.below(time.as_millis() as u64));
        let mood = Mood { is_calm: false, until, is_over: Rc::default() };
        let mut tasks = self.spawn_members(world, &mood);
        let operator = Operator::new(self, world, self.dice.fork());
        tasks.push(runtime::spawn(operator.work(mood.clone())));
        for name in self.simple() {
            let (groups, world) = (self.clone(), world.clone());
            tasks.push(runtime::spawn(groups.commit_simply(world, name, mood.clone())));
        }
        tasks
    }

    fn simple(&self) -> Vec<String> {
        let model = self.model.borrow();
        let simple = model.groups.iter().filter(|(_, group)| group.kind == Kind::Simple);
        simple.map(|(name, _)| name.clone()).collect()
    }

    /// A client that keeps offsets and is no member.
    async fn commit_simply(self: Rc<Self>, world: Rc<World>, name: String, mood: Mood) {
        let dice = self.dice.fork();
        let mut seat = Seat::new(&self, &world, &name, dice.fork());
        while !mood.is_over(&world) {
            let places = self.model.borrow().places(TOPICS.map(String::from).iter());
            let places: BTreeSet<Place> = places.into_iter().filter(|_| dice.percent(40)).collect();
            if !places.is_empty() {
                if dice.percent(33) {
                    seat.fetch(dice.pick(&[1, 5, 8, 10]), &Identity::nobody(), &places).await;
                } else {
                    seat.commit(dice.pick(&[2, 6, 9, 10]), &Identity::nobody(), &places).await;
                }
            }
            mood.wait(&dice, self.plan.heartbeat).await;
        }
    }

    /// When all clients but the members have done their work: groups settle, and what was committed is read
    /// through every shard.
    pub async fn end(self: &Rc<Self>, world: &Rc<World>) {
        let network = sim::network();
        network.set_options(crate::runtime::sim::NetworkOptions {
            cut_probability: 0.0,
            ..network.options()
        });
        if !world.now.get().faults {
            settle::settle(self, world).await;
        }
        for shard in 0..usize::from(world.now.get().shards) {
            self.read_offsets(world, Some(shard)).await;
        }
    }

    /// Reads all that was committed, through a shard of choice.
    async fn read_offsets(self: &Rc<Self>, world: &Rc<World>, shard: Option<usize>) {
        let names: Vec<String> = self.model.borrow().groups.keys().cloned().collect();
        for name in names {
            let places = self.model.borrow().committed_places(&name);
            let places: BTreeSet<Place> = places.into_iter().collect();
            if places.is_empty() {
                continue;
            }
            let mut seat = Seat::new(self, world, &name, self.dice.fork());
            let mut is_read = false;
            for attempt in 0..TRIES {
                if let Some(shard) = shard {
                    seat.go_to(shard);
                }
                let version = self.dice.pick(&[1, 2, 5, 7, 8, 9, 10]);
                is_read = seat.fetch(version, &Identity::nobody(), &places).await;
                if is_read || world.now.get().stopping {
                    break;
                }
                runtime::sleep(Duration::from_millis(1 + attempt as u64)).await;
            }
            let now = world.now.get();
            assert!(is_read || now.faults || now.stopping, "{name}: its offsets cannot be read");
        }
    }
}

fn draw_members(dice: &Dice, group: &str, kind: Kind) -> Vec<Member> {
    let count = if kind == Kind::Simple { 0 } else { 1 + dice.below(4) };
    let member = |number: u64| {
        let name = format!("{group}-{number}");
        let patience = Patience {
            session: Duration::from_millis(dice.pick(&[150, 400, 900])),
            rebalance: Duration::from_millis(dice.pick(&[200, 600])),
        };
        let facts = Facts {
            instance: dice.percent(25).then(|| format!("{name}-instance")),
            name,
            group: group.to_string(),
            topics: TOPICS.map(String::from).to_vec(),
            patience,
            assignor: dice.pick(&[None, Some("uniform"), Some("range")]),
        };
        match kind {
            Kind::Classic => Member::Classic(Rc::new(Classic::new(facts, dice.fork()))),
            Kind::Mixed if dice.percent(50) => {
                Member::Classic(Rc::new(Classic::new(facts, dice.fork())))
            }
            _ => Member::Modern(Rc::new(Modern::new(facts, dice.fork()))),
        }
    };
    (0..count).map(member).collect()
}
