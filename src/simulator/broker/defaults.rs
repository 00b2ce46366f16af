//! Who sets, in some histories, what brokers use where topics and groups set nothing (KIP-226): for all brokers, or by
//! the id of any that the host has in this life. What was set is there in every later life.

use super::link::Link;
use super::world::{World, pause, tell};
use crate::control_plane::configs::{Overrides, Source};
use crate::limits::SHARDS_MAX;
use crate::simulator::dice::Dice;
use crate::wire::ErrorCode;
use crate::wire::api::{alter_configs, describe_configs, incremental_alter_configs};
use std::cell::RefCell;
use std::rc::Rc;

/// The type of a broker among resources that have settings.
const BROKER: i8 = 4;
/// Keeps these choices apart from those of the history: others are the same with or without this module.
const SALT: u64 = 0xD3FA_0175_B20C_E26A;
/// One history of so many; none of those that are kept from before.
const ONE_OF: u64 = 16;
const TURN: u64 = 7;
/// What may be set. Nothing that takes records away, nor keeps groups waiting.
const SETTINGS: [(&str, [&str; 2]); 5] = [
    ("compression.type", ["gzip", "producer"]),
    ("group.consumer.assignment.interval.ms", ["0", "1000"]),
    ("log.roll.ms", ["20", "5000"]),
    ("min.insync.replicas", ["1", "2"]),
    ("unclean.leader.election.enable", ["false", "true"]),
];

/// What is set for all brokers, or for those of the host.
#[derive(Default)]
struct Set {
    settled: Overrides,
    /// Asked for without an answer: it may be done, and late.
    open: Vec<Overrides>,
}

impl Set {
    fn check(&mut self, whose: &str, found: Overrides, is_first: bool) {
        let is_known = self.settled == found || self.open.contains(&found);
        assert!(
            is_known,
            "{whose} brokers have {found:?}, should have {:?} or one of {:?}",
            self.settled, self.open
        );
        if is_first {
            self.settled = found;
            self.open.clear();
        }
    }
}

pub struct Defaults {
    dice: Dice,
    of_all: RefCell<Set>,
    of_host: RefCell<Set>,
}

impl Defaults {
    /// None in most histories.
    pub fn plan(seed: u64) -> Option<Rc<Defaults>> {
        let dice = Dice::new(seed ^ SALT);
        let defaults = Defaults { dice, of_all: RefCell::default(), of_host: RefCell::default() };
        (seed % ONE_OF == TURN).then(|| Rc::new(defaults))
    }

    pub async fn work(self: Rc<Self>, world: Rc<World>) {
        let dice = self.dice.fork();
        let mut link = Link::new(&world, &dice);
        for _ in 0..1 + dice.below(8) {
            pause(&dice).await;
            match dice.below(3) {
                0 => self.describe(&mut link, &dice, false).await,
                1 => self.alter(&mut link, &dice, true).await,
                _ => self.alter(&mut link, &dice, false).await,
            }
            if dice.percent(10) {
                link = Link::new(&world, &dice);
            }
        }
    }

    /// Looks before anything is asked for in this life.
    pub async fn look(&self, world: &Rc<World>) {
        let dice = self.dice.fork();
        self.describe(&mut Link::new(world, &dice), &dice, true).await;
    }

    async fn alter(&self, link: &mut Link, dice: &Dice, for_all: bool) {
        let world = link.world.clone();
        let set = if for_all { &self.of_all } else { &self.of_host };
        let chosen = SETTINGS.iter().filter(|_| dice.percent(40));
        let chosen = chosen.map(|(name, values)| (name, dice.pick(values)));
        let wanted: Overrides =
            chosen.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        set.borrow_mut().open.push(wanted.clone());
        let name = if for_all { String::new() } else { name_of_one(&world, dice) };
        let code = match dice.percent(50) {
            true => replace(link, &name, &wanted).await,
            false => change(link, &name, &wanted).await,
        };
        let Some(code) = code else { return };
        tell(|| format!("brokers '{name}' are set to {wanted:?}: {code}"));
        let now = world.now.get();
        match code {
            ErrorCode::None => {
                let mut set = set.borrow_mut();
                let at = set.open.iter().position(|open| *open == wanted);
                set.open.remove(at.expect("it was added"));
                set.settled = wanted;
            }
            // It may have been done.
            ErrorCode::KafkaStorageError => assert!(now.faults, "brokers '{name}': {code}"),
            ErrorCode::NotController => assert!(now.stopping, "brokers '{name}': {code}"),
            code => panic!("brokers '{name}': {code} out of nowhere ({now:?})"),
        }
    }

    async fn describe(&self, link: &mut Link, dice: &Dice, is_first: bool) {
        let name = name_of_one(&link.world, dice);
        let resource = describe_configs::DescribeConfigsResource {
            resource_type: BROKER,
            resource_name: name.as_str().into(),
            configuration_keys: None,
        };
        let request = describe_configs::DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            ..Default::default()
        };
        let Some(answer) = link.ask(4, &request).await else { return };
        let result = &answer.results[0];
        assert_eq!(result.error_code, ErrorCode::None, "broker {name}");
        let of = |source: Source| -> Overrides {
            let given = result.configs.iter().flat_map(|config| &config.synonyms);
            let set = given.filter(|given| given.source == source as i8);
            let text = |one: &describe_configs::DescribeConfigsSynonym| {
                let value = one.value.as_ref().map(|value| value.to_string());
                (one.name.to_string(), value.unwrap_or_default())
            };
            set.map(text).collect()
        };
        self.of_all.borrow_mut().check("all", of(Source::DynamicDefaultBroker), is_first);
        self.of_host.borrow_mut().check("the host's", of(Source::DynamicBroker), is_first);
    }
}

/// Any broker of the host: each stands for all of them.
fn name_of_one(world: &World, dice: &Dice) -> String {
    let now = world.now.get();
    let id = match now.per_core {
        true => SHARDS_MAX as u64 + dice.below(now.shards.into()),
        false => 1,
    };
    id.to_string()
}

async fn replace(link: &mut Link, name: &str, wanted: &Overrides) -> Option<ErrorCode> {
    let configs = wanted.iter().map(|(name, value)| alter_configs::AlterableConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
    });
    let resource = alter_configs::AlterConfigsResource {
        resource_type: BROKER,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    let resources = vec![resource];
    let request = alter_configs::AlterConfigsRequest { resources, ..Default::default() };
    Some(link.ask(2, &request).await?.responses[0].error_code)
}

/// The same one by one (KIP-339): whatever is not wanted is deleted.
async fn change(link: &mut Link, name: &str, wanted: &Overrides) -> Option<ErrorCode> {
    let configs = SETTINGS.iter().map(|(name, _)| {
        let value = wanted.get(*name);
        incremental_alter_configs::AlterableConfig {
            name: (*name).into(),
            config_operation: i8::from(value.is_none()),
            value: value.map(|value| value.as_str().into()),
        }
    });
    let resource = incremental_alter_configs::AlterConfigsResource {
        resource_type: BROKER,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    let request = incremental_alter_configs::IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    Some(link.ask(1, &request).await?.responses[0].error_code)
}
