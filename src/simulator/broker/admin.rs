//! Who makes topics, changes and deletes them, and deletes records: one admin for each name.

use super::groups::is_topic_of_groups;
use super::link::Link;
use super::model::Roll;
use super::world::{World, pause, tell};
use crate::control_plane::configs::{DURABILITY, Overrides, Source};
use crate::limits::SHARDS_MAX;
use crate::simulator::dice::Dice;
use crate::types::{Durability, TopicId};
use crate::wire::api::{
    alter_configs, create_partitions, create_topics, delete_records, delete_topics,
    describe_configs, incremental_alter_configs, metadata,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The type of a topic among resources that have settings.
const TOPIC: i8 = 2;
const PARTITIONS_MAX: usize = 5;

pub struct Admin {
    pub link: Link,
    name: String,
    dice: Dice,
}

impl Admin {
    pub fn new(world: &Rc<World>, name: &str, dice: Dice) -> Admin {
        Admin { link: Link::new(world, &dice), name: name.to_string(), dice }
    }

    pub async fn work(mut self, rounds: u64) {
        for _ in 0..rounds {
            pause(&self.dice).await;
            let is_free = {
                let model = self.link.world.model.borrow();
                !model.topics.values().any(|topic| topic.name == self.name && !topic.gone)
            };
            if is_free || self.dice.percent(4) {
                self.create().await;
                continue;
            }
            let deletes = {
                let model = self.link.world.model.borrow();
                self.dice.percent(model.names[&self.name].habits.deletes_percent)
            };
            match self.dice.below(14) {
                _ if deletes => self.delete().await,
                0..3 => self.add_partitions().await,
                3..6 => self.alter().await,
                6 | 7 => self.describe(false).await,
                8..11 => self.delete_records().await,
                _ => drop(list(&mut self.link, false).await),
            }
            if self.dice.percent(10) {
                self.link = Link::new(&self.link.world, &self.dice);
            }
        }
    }

    /// Refused for a reason that has nothing to do with what is there: it may have been done.
    fn expect_trouble(&self, code: ErrorCode) {
        let now = self.link.world.now.get();
        let is_allowed = match code {
            ErrorCode::KafkaStorageError => now.faults,
            ErrorCode::NotController => now.stopping,
            _ => false,
        };
        assert!(is_allowed, "{}: {code} out of nowhere ({now:?})", self.name);
    }

    /// What is set for the topic from its beginning, and what else may be.
    fn overrides(&self, is_new: bool) -> Overrides {
        let (dice, model) = (&self.dice, self.link.world.model.borrow());
        let habits = &model.names[&self.name].habits;
        let mut set = Overrides::new();
        let is_lax = habits.changes_durability && dice.percent(50);
        let durability = if is_lax { Durability::Write } else { habits.durability };
        set.insert(DURABILITY.to_string(), durability.to_string());
        if habits.retains && !is_new && dice.percent(70) {
            let (key, value) = match dice.below(2) {
                0 => ("retention.bytes", dice.pick(&["0", "3000", "30000"])),
                _ => ("retention.ms", dice.pick(&["0", "5", "1000"])),
            };
            set.insert(key.to_string(), value.to_string());
        }
        if dice.percent(20) {
            set.insert("segment.ms".to_string(), dice.pick(&["1", "20", "5000"]).to_string());
        }
        set
    }

    async fn create(&mut self) {
        let partitions = 1 + self.dice.below(3) as usize;
        let overrides = self.overrides(true);
        let configs = overrides.iter().map(|(name, value)| create_topics::CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        });
        let topic = create_topics::CreatableTopic {
            name: self.name.as_str().into(),
            num_partitions: partitions as i32,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request =
            create_topics::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let world = self.link.world.clone();
        world.model.borrow_mut().creation_sent(&self.name, partitions);
        let Some(answer) = self.link.ask(7, &request).await else { return };
        let made = &answer.topics[0];
        tell(|| format!("creating {}: {} {}", self.name, made.error_code, made.topic_id));
        let mut model = world.model.borrow_mut();
        match made.error_code {
            ErrorCode::None => {
                world.tally.borrow_mut().topics += 1;
                model.created(&self.name, made.topic_id, partitions, overrides);
            }
            ErrorCode::TopicAlreadyExists => {
                assert!(model.may_be_there(&self.name), "{} exists already?", self.name);
                model.creation_refused(&self.name);
            }
            code => self.expect_trouble(code),
        }
    }

    async fn delete(&mut self) {
        let world = self.link.world.clone();
        let by_id = {
            let mut model = world.model.borrow_mut();
            let id = model.only(&self.name).filter(|_| self.dice.percent(40));
            model.deletion_sent(&self.name, id);
            id
        };
        let name = by_id.is_none().then(|| Str::from(self.name.as_str()));
        let topic_id = by_id.unwrap_or(TopicId::ZERO);
        let state = delete_topics::DeleteTopicState { name, topic_id };
        let topics = vec![state];
        let request = delete_topics::DeleteTopicsRequest { topics, ..Default::default() };
        let roll = world.model.borrow().roll();
        let Some(answer) = self.link.ask(6, &request).await else { return };
        let gone = &answer.responses[0];
        tell(|| format!("deleting {} {by_id:?}: {}", self.name, gone.error_code));
        let mut model = world.model.borrow_mut();
        match gone.error_code {
            ErrorCode::None => {
                world.tally.borrow_mut().deletions += 1;
                let id = gone.topic_id;
                assert!(by_id.is_none_or(|asked| asked == id), "{id} was deleted, not {by_id:?}");
                assert!(!roll.is_gone(id), "{} with id {id} is deleted twice", self.name);
                model.deleted(&self.name, id, by_id.is_some());
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                model.deletion_refused(&self.name, by_id);
                let left = model.only(&self.name).filter(|id| roll.is_certain(*id));
                let still = left.is_some_and(|id| model.must(id, 0));
                assert!(!still || by_id.is_some(), "{}: nothing to delete?", self.name);
            }
            code => self.expect_trouble(code),
        }
    }

    async fn add_partitions(&mut self) {
        let world = self.link.world.clone();
        let only = world.model.borrow().only(&self.name);
        let Some(id) = only else { return };
        let before = world.model.borrow().partitions_of(id);
        let count = before + self.dice.below(2) as usize;
        if count > PARTITIONS_MAX {
            return;
        }
        world.model.borrow_mut().partitions_asked(&self.name, count);
        let topic = create_partitions::CreatePartitionsTopic {
            name: self.name.as_str().into(),
            count: count as i32,
            assignments: None,
        };
        let request = create_partitions::CreatePartitionsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let Some(answer) = self.link.ask(3, &request).await else { return };
        let code = answer.results[0].error_code;
        tell(|| format!("{} gets {count} partitions: {code}", self.name));
        let mut model = world.model.borrow_mut();
        match code {
            ErrorCode::None => {
                if model.only(&self.name) == Some(id) {
                    model.partitions_added(id, count);
                }
            }
            // It has as many, or an earlier request that was not answered has been done.
            ErrorCode::InvalidPartitions => {}
            ErrorCode::UnknownTopicOrPartition => {
                assert!(!model.must(id, 0), "{} is not there", self.name);
            }
            code => self.expect_trouble(code),
        }
    }

    async fn alter(&mut self) {
        let world = self.link.world.clone();
        let only = world.model.borrow().only(&self.name);
        let Some(id) = only else { return };
        let wanted = self.overrides(false);
        let settled = {
            let mut model = world.model.borrow_mut();
            let topic = model.topics.get_mut(&id).expect("it is there");
            let settled = topic.settled.clone().filter(|_| topic.open.is_empty());
            topic.open.push(wanted.clone());
            settled
        };
        let code = match settled.filter(|_| self.dice.percent(50)) {
            Some(before) => self.alter_some(&before, &wanted).await,
            None => self.alter_all(&wanted).await,
        };
        let Some(code) = code else { return };
        tell(|| format!("{} is set to {wanted:?}: {code}", self.name));
        let mut model = world.model.borrow_mut();
        let is_same = model.only(&self.name) == Some(id);
        let must = model.must(id, 0);
        let topic = model.topics.get_mut(&id).expect("it was there");
        let at = topic.open.iter().position(|open| *open == wanted);
        match code {
            ErrorCode::None if is_same => {
                topic.settled = Some(wanted);
                topic.open.remove(at.expect("it was added"));
            }
            ErrorCode::None => topic.settled = None,
            ErrorCode::UnknownTopicOrPartition => {
                assert!(!must, "{} is not there", self.name);
                topic.open.remove(at.expect("it was added"));
            }
            code => self.expect_trouble(code),
        }
    }

    async fn alter_all(&mut self, wanted: &Overrides) -> Option<ErrorCode> {
        let configs = wanted.iter().map(|(name, value)| alter_configs::AlterableConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        });
        let resource = alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: self.name.as_str().into(),
            configs: configs.collect(),
        };
        let resources = vec![resource];
        let request = alter_configs::AlterConfigsRequest { resources, ..Default::default() };
        Some(self.link.ask(2, &request).await?.responses[0].error_code)
    }

    /// The same by what differs (KIP-339).
    async fn alter_some(&mut self, before: &Overrides, wanted: &Overrides) -> Option<ErrorCode> {
        let config =
            |name: &String, value: Option<&String>| incremental_alter_configs::AlterableConfig {
                name: name.as_str().into(),
                config_operation: i8::from(value.is_none()),
                value: value.map(|value| value.as_str().into()),
            };
        let gone = before.keys().filter(|name| !wanted.contains_key(*name));
        let configs = gone.map(|name| config(name, None));
        let configs = configs.chain(wanted.iter().map(|(name, value)| config(name, Some(value))));
        let resource = incremental_alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: self.name.as_str().into(),
            configs: configs.collect(),
        };
        let request = incremental_alter_configs::IncrementalAlterConfigsRequest {
            resources: vec![resource],
            ..Default::default()
        };
        Some(self.link.ask(1, &request).await?.responses[0].error_code)
    }

    /// Looks at the settings. `is_first`: nothing was asked for in this life. False when there is no answer.
    pub async fn describe(&mut self, is_first: bool) {
        let world = self.link.world.clone();
        let only = world.model.borrow().only(&self.name);
        let Some(id) = only else { return };
        let resource = describe_configs::DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: self.name.as_str().into(),
            configuration_keys: None,
        };
        let resources = vec![resource];
        let request = describe_configs::DescribeConfigsRequest { resources, ..Default::default() };
        let Some(answer) = self.link.ask(4, &request).await else { return };
        let result = &answer.results[0];
        let mut model = world.model.borrow_mut();
        match result.error_code {
            ErrorCode::None => {
                let set =
                    result.configs.iter().filter(|key| key.config_source == Source::Topic as i8);
                let text = |text: &Str| text.as_str().to_string();
                let set = set
                    .map(|key| (text(&key.name), key.value.as_ref().map(text).unwrap_or_default()));
                if model.only(&self.name) == Some(id) {
                    model.described(id, set.collect(), is_first);
                }
            }
            ErrorCode::UnknownTopicOrPartition => {
                assert!(!model.must(id, 0), "{} is not there", self.name);
            }
            code => self.expect_trouble(code),
        }
    }

    async fn delete_records(&mut self) {
        let world = self.link.world.clone();
        let asked = {
            let mut model = world.model.borrow_mut();
            let only = model.only(&self.name).filter(|id| model.habits(*id).deletes_records);
            only.and_then(|id| {
                let index = self.dice.below(model.partitions_of(id) as u64) as i32;
                let records = model.records(id, index);
                let floor = records.floor();
                let offset = self.dice.within(floor.log_start..floor.high_watermark + 1);
                let usable = !records.unsettled;
                if usable {
                    records.ask_deletion(offset);
                }
                usable.then_some((id, index, offset, floor))
            })
        };
        let Some((id, index, offset, floor)) = asked else { return };
        let partition = delete_records::DeleteRecordsPartition { partition_index: index, offset };
        let topic = delete_records::DeleteRecordsTopic {
            name: self.name.as_str().into(),
            partitions: vec![partition],
        };
        let topics = vec![topic];
        let request = delete_records::DeleteRecordsRequest { topics, ..Default::default() };
        let Some(answer) = self.link.ask(2, &request).await else { return };
        let result = &answer.topics[0].partitions[0];
        let code = result.error_code;
        let name = format!("{}-{index}", self.name);
        tell(|| format!("{name} from {offset} on: {code}, {}", result.low_watermark));
        let mut model = world.model.borrow_mut();
        let is_same = model.only(&self.name) == Some(id);
        let must = model.must(id, index) && is_same;
        match code {
            ErrorCode::None if is_same => {
                assert!(result.low_watermark >= offset, "{name}: {} remains", result.low_watermark);
                let start = result.low_watermark;
                model.records(id, index).begins(&name, floor.log_start, start);
                model.check_start((id, index), start);
                model.records(id, index).deleted(offset);
            }
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => assert!(!must, "{name}: {offset} is out of range"),
            code => {
                let must = must && model.wants_reason(code, (id, index), floor);
                let may_fail = model.is_rotten(id);
                drop(model);
                world.expect_error(&name, code, must, may_fail);
            }
        }
    }
}

/// Asks some shard for all topics. None when there is no answer.
pub async fn list(link: &mut Link, is_first: bool) -> Option<()> {
    let world = link.world.clone();
    let roll: Roll = world.model.borrow().roll();
    let request = metadata::MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = link.ask(12, &request).await?;
    let now = world.now.get();
    let brokers: BTreeSet<i32> = answer.brokers.iter().map(|broker| broker.node_id).collect();
    let count = if now.per_core { usize::from(now.shards) } else { 1 };
    assert_eq!(brokers.len(), count, "{brokers:?}");
    assert!(brokers.contains(&answer.controller_id));
    let least = if count > 1 { SHARDS_MAX as i32 } else { 0 };
    assert!(brokers.iter().all(|broker| *broker >= least), "{brokers:?}");
    let is_shared = |topic: &&metadata::MetadataResponseTopic| {
        let is_of_groups = topic.name.as_ref().is_some_and(|name| is_topic_of_groups(name));
        assert!(is_of_groups || !topic.is_internal, "{:?} is internal", topic.name);
        !is_of_groups
    };
    let listed = answer.topics.iter().filter(is_shared).map(|topic| {
        let name = topic.name.as_ref().expect("all are named").as_str().to_string();
        assert_eq!(topic.error_code, ErrorCode::None, "{name}");
        let may_fail = now.faults || world.model.borrow().names[&name].rotten;
        let epochs = (0..).zip(&topic.partitions).map(|(index, partition)| {
            assert_eq!(partition.partition_index, index, "{name}");
            check_standing(partition, &brokers, may_fail);
            partition.leader_epoch
        });
        let epochs = epochs.collect();
        (name, topic.topic_id, epochs)
    });
    let listed: Vec<(String, TopicId, Vec<i32>)> = listed.collect();
    world.model.borrow_mut().listed(&roll, &listed, is_first);
    Some(())
}

/// A partition is led by who has it; by nobody where the disk may have failed it.
fn check_standing(
    partition: &metadata::MetadataResponsePartition,
    brokers: &BTreeSet<i32>,
    may_fail: bool,
) {
    let replica = partition.replica_nodes[0];
    assert!(brokers.contains(&replica) && partition.isr_nodes == [replica], "{partition:?}");
    let is_led = partition.leader_id == replica
        && partition.error_code == ErrorCode::None
        && partition.offline_replicas.is_empty();
    let is_offline = partition.leader_id == -1
        && partition.error_code == ErrorCode::LeaderNotAvailable
        && partition.offline_replicas == [replica];
    assert!(is_led || (is_offline && may_fail), "{partition:?}");
}
