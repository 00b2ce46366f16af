//! The cluster-wide facts as the fold of the metadata log's records. Lives on shard 0, owned by the
//! controller; other shards see images of it. Pure.

use super::configs::{self, Overrides};
use super::dynamic_configs::{BrokerSettings, CONNECTIONS_MAX, number_of};
use super::record::{FORMAT_VERSION, Record};
use super::topic_name;
use crate::config::Config;
use crate::shard::image::{BrokerOverrides, BrokerScope, MetadataImage, PartitionPlace, Topic};
use crate::shard::quota_table::QuotaTable;
use crate::types::TopicId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Topics that are settled at once: about half a millisecond's work.
const SETTLED_AT_ONCE: usize = 32;

/// All that is recorded.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub cluster_id: Arc<str>,
    pub node_id: u32,
    /// What the places hold for; 0 before the first start ended.
    pub shards: u16,
    pub next_producer_id: i64,
    /// Topics whose files may still lie in the data directory, so that nobody takes them for new ones.
    pub deleted: BTreeSet<TopicId>,
    quotas: Arc<QuotaTable>,
    group_overrides: Arc<BTreeMap<String, Overrides>>,
    broker_overrides: Arc<BrokerOverrides>,
    /// They were changed, and topics from this name on do not know yet what holds for those that set nothing.
    unsettled: Option<Arc<str>>,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    names: HashMap<TopicId, Arc<str>>,
    /// Names with '.' or '_', by what they look like in Kafka's metrics.
    lookalikes: HashMap<String, Arc<str>>,
    partitions: usize,
}

impl State {
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The topic whose name differs from this one only in '.' and '_'.
    pub fn lookalike_of(&self, name: &str) -> Option<&str> {
        let other = self.lookalikes.get(&topic_name::collision_key(name))?;
        (&**other != name).then_some(&**other)
    }

    pub fn quotas(&self) -> &QuotaTable {
        &self.quotas
    }

    pub fn group_overrides(&self) -> &BTreeMap<String, Overrides> {
        &self.group_overrides
    }

    pub fn broker_overrides(&self) -> &BrokerOverrides {
        &self.broker_overrides
    }

    /// Has topics know what holds for those that set nothing, if that was changed: to be called before somebody is
    /// shown them.
    pub fn settle(&mut self, config: &Config) {
        while self.settle_some(config) {}
    }

    /// The same for some of them. True when others are left.
    pub fn settle_some(&mut self, config: &Config) -> bool {
        let Some(first) = self.unsettled.take() else { return false };
        let broker = BrokerSettings { config, overrides: &self.broker_overrides };
        let left = (Bound::Included(&*first), Bound::Unbounded);
        let mut topics = self.topics.range_mut::<str, _>(left);
        for (_, topic) in topics.by_ref().take(SETTLED_AT_ONCE) {
            let log_config = configs::log_config(&topic.overrides, broker);
            // Those that nothing changes for are the same to the shards.
            if log_config != *topic.log_config {
                Arc::make_mut(topic).log_config = Arc::new(log_config);
            }
        }
        self.unsettled = topics.next().map(|(name, _)| name.clone());
        self.unsettled.is_some()
    }

    pub fn image(&self, version: u64) -> Arc<MetadataImage> {
        assert!(self.unsettled.is_none(), "settled before it is shown");
        let topics = self.topics.values().cloned();
        let mut image = MetadataImage::new(version, self.cluster_id.clone(), topics);
        image.quotas = self.quotas.clone();
        image.group_overrides = self.group_overrides.clone();
        image.broker_overrides = self.broker_overrides.clone();
        let connections = number_of(&self.broker_overrides, CONNECTIONS_MAX);
        image.connections_max = connections.and_then(|most| usize::try_from(most).ok());
        Arc::new(image)
    }

    /// The fewest records that fold to this state.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = vec![Record::Format {
            version: FORMAT_VERSION,
            cluster_id: self.cluster_id.to_string(),
            node_id: self.node_id,
        }];
        if self.shards > 0 {
            records.push(Record::Shards(self.shards));
        }
        if self.next_producer_id > 0 {
            records.push(Record::Ids(self.next_producer_id));
        }
        let scopes = [(BrokerScope::All, None), (BrokerScope::Host, Some(self.node_id))];
        for (scope, node_id) in scopes {
            let overrides = self.broker_overrides.of(scope);
            if !overrides.is_empty() {
                records.push(Record::Brokers { node_id, overrides: overrides.clone() });
            }
        }
        records.extend(self.topics.values().map(|topic| Record::Created {
            id: topic.id,
            name: topic.name.to_string(),
            partitions: topic.partitions.clone(),
            overrides: topic.overrides.clone(),
        }));
        let quotas = self.quotas.entities();
        records.extend(
            quotas
                .map(|(entity, values)| Record::Quota { entity: entity.clone(), values: *values }),
        );
        records.extend(self.group_overrides.iter().map(|(group, overrides)| Record::Group {
            group: group.clone(),
            overrides: overrides.clone(),
        }));
        records.extend(self.deleted.iter().copied().map(Record::Deleted));
        records
    }

    /// Takes up one record.
    ///
    /// # Errors
    /// Why it does not follow from those before: then the log is damaged in a way that no checksum shows.
    pub fn apply(&mut self, record: &Record, config: &Config) -> Result<(), String> {
        match record {
            Record::Format { cluster_id, node_id, .. } => {
                self.cluster_id = cluster_id.as_str().into();
                self.node_id = *node_id;
            }
            Record::Shards(count) => self.shards = *count,
            Record::Created { id, name, partitions, overrides } => {
                return self.create(*id, name, partitions, overrides, config);
            }
            Record::Deleted(id) => self.delete(*id),
            Record::Added { id, partitions } => {
                self.change(*id, |topic| {
                    topic.partitions.extend_from_slice(partitions);
                    Ok(())
                })?;
                self.partitions += partitions.len();
            }
            Record::Set { id, overrides } => {
                let broker = BrokerSettings { config, overrides: &self.broker_overrides };
                let log_config = Arc::new(configs::log_config(overrides, broker));
                self.change(*id, |topic| {
                    topic.overrides = overrides.clone();
                    topic.log_config = log_config;
                    Ok(())
                })?;
            }
            Record::LogStart { id, index, offset } => self.change_place(*id, *index, |place| {
                place.log_start = place.log_start.max(*offset);
            })?,
            Record::Placed { id, partitions } => self.change(*id, |topic| {
                if topic.partitions.len() != partitions.len() {
                    return Err(format!("topic {id} has another number of partitions"));
                }
                topic.partitions.clone_from(partitions);
                Ok(())
            })?,
            Record::Moved { shard, .. } if shard.0 >= self.shards => {
                return Err(format!("shard {shard} is not one of {}", self.shards));
            }
            Record::Moved { id, index, shard, leader_epoch } => {
                self.change_place(*id, *index, |place| {
                    (place.shard, place.leader_epoch) = (*shard, *leader_epoch);
                })?;
            }
            Record::Quota { entity, values } => {
                Arc::make_mut(&mut self.quotas).set(entity.clone(), *values);
            }
            Record::Group { group, overrides } => {
                let groups = Arc::make_mut(&mut self.group_overrides);
                if overrides.is_empty() {
                    groups.remove(group);
                } else {
                    groups.insert(group.clone(), overrides.clone());
                }
            }
            Record::Brokers { node_id, overrides } => {
                let scope = match node_id {
                    None => BrokerScope::All,
                    Some(id) if *id == self.node_id => BrokerScope::Host,
                    Some(id) => return Err(format!("node {id} is not this one")),
                };
                Arc::make_mut(&mut self.broker_overrides).of_mut(scope).clone_from(overrides);
                self.unsettled = Some("".into());
            }
            Record::Ids(next) => self.next_producer_id = self.next_producer_id.max(*next),
        }
        Ok(())
    }

    fn create(
        &mut self,
        id: TopicId,
        name: &str,
        partitions: &[PartitionPlace],
        overrides: &Overrides,
        config: &Config,
    ) -> Result<(), String> {
        if self.topics.contains_key(name) || self.names.contains_key(&id) {
            return Err(format!("topic '{name}' with id {id} is there already"));
        }
        let name: Arc<str> = name.into();
        if topic_name::has_collision_letters(&name) {
            self.lookalikes.insert(topic_name::collision_key(&name), name.clone());
        }
        self.names.insert(id, name.clone());
        self.partitions += partitions.len();
        let broker = BrokerSettings { config, overrides: &self.broker_overrides };
        let topic = Topic {
            id,
            name: name.clone(),
            partitions: partitions.to_vec(),
            overrides: overrides.clone(),
            log_config: Arc::new(configs::log_config(overrides, broker)),
        };
        self.topics.insert(name, Arc::new(topic));
        Ok(())
    }

    fn delete(&mut self, id: TopicId) {
        self.deleted.insert(id);
        let Some(name) = self.names.remove(&id) else { return };
        let lookalike = topic_name::collision_key(&name);
        if self.lookalikes.get(&lookalike) == Some(&name) {
            self.lookalikes.remove(&lookalike);
        }
        let topic = self.topics.remove(&name).expect("named topics are there");
        self.partitions -= topic.partitions.len();
    }

    fn change(
        &mut self,
        id: TopicId,
        change: impl FnOnce(&mut Topic) -> Result<(), String>,
    ) -> Result<(), String> {
        let topic = self.names.get(&id).and_then(|name| self.topics.get_mut(name));
        let topic = topic.ok_or_else(|| format!("there is no topic {id}"))?;
        change(Arc::make_mut(topic))
    }

    fn change_place(
        &mut self,
        id: TopicId,
        index: i32,
        change: impl FnOnce(&mut PartitionPlace),
    ) -> Result<(), String> {
        self.change(id, |topic| {
            let place = usize::try_from(index).ok();
            let place = place.and_then(|index| topic.partitions.get_mut(index));
            change(place.ok_or_else(|| format!("topic {id} has no partition {index}"))?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::quota_table::{QuotaEntity, QuotaKind, QuotaName, QuotaValues};
    use crate::types::Offset;
    use crate::types::ShardId;

    fn place(shard: u16) -> PartitionPlace {
        PartitionPlace { shard: ShardId(shard), leader_epoch: 0, log_start: Offset::ZERO }
    }

    fn created(number: u8, name: &str) -> Record {
        Record::Created {
            id: TopicId([number; 16]),
            name: name.into(),
            partitions: vec![place(0), place(1)],
            overrides: Overrides::new(),
        }
    }

    fn quota(rate: Option<f64>) -> Record {
        let entity = QuotaEntity { user: None, client: Some(QuotaName::Default) };
        let mut values = QuotaValues::default();
        values.set(QuotaKind::FetchBytes, rate);
        Record::Quota { entity, values }
    }

    fn fold(records: &[Record]) -> State {
        let mut state = State::default();
        for record in records {
            state.apply(record, &Config::default()).unwrap();
        }
        state.settle(&Config::default());
        state
    }

    fn brokers(node_id: Option<u32>, retention_ms: Option<&str>) -> Record {
        let set = retention_ms.map(|value| ("log.retention.ms".to_string(), value.to_string()));
        Record::Brokers { node_id, overrides: set.into_iter().collect() }
    }

    #[test]
    fn the_fewest_records_fold_to_the_same_state() {
        let id = TopicId([1; 16]);
        let state = fold(&[
            Record::Format { version: 1, cluster_id: "c".into(), node_id: 3 },
            Record::Shards(2),
            created(1, "a"),
            created(2, "b.c"),
            Record::Added { id, partitions: vec![place(1)] },
            Record::Moved { id, index: 2, shard: ShardId(0), leader_epoch: 4 },
            Record::Set { id, overrides: [("retention.ms".into(), "9".into())].into() },
            Record::LogStart { id, index: 2, offset: Offset(50) },
            Record::LogStart { id, index: 2, offset: Offset(40) },
            Record::Ids(3000),
            quota(Some(7.0)),
            Record::Group { group: "g".into(), overrides: [("a".into(), "1".into())].into() },
            Record::Group { group: "h".into(), overrides: [("a".into(), "1".into())].into() },
            Record::Group { group: "h".into(), overrides: Overrides::new() },
            brokers(None, Some("77")),
            brokers(Some(3), Some("78")),
            brokers(None, Some("79")),
            Record::Deleted(TopicId([2; 16])),
        ]);
        assert_eq!(state.partition_count(), 3);
        let moved = PartitionPlace { shard: ShardId(0), leader_epoch: 4, log_start: Offset(50) };
        assert_eq!(state.topic("a").unwrap().partitions, [place(0), place(1), moved]);
        let again = fold(&state.to_records());
        assert_eq!(again.to_records(), state.to_records());
        assert_eq!((again.next_producer_id, again.node_id, again.shards), (3000, 3, 2));
        assert_eq!(again.partition_count(), 3);
        assert!(again.deleted.contains(&TopicId([2; 16])));
        assert_eq!((again.quotas().len(), again.group_overrides().len()), (1, 1));
        let set = again.broker_overrides();
        assert_eq!((&*set.all["log.retention.ms"], &*set.host["log.retention.ms"]), ("79", "78"));
        assert_eq!(again.topic("a").unwrap().log_config.retention_ms, 9, "its own");
        let gone = fold(&[quota(Some(7.0)), quota(None)]);
        assert!(gone.quotas().is_empty() && gone.image(1).quotas.is_empty());
    }

    #[test]
    fn what_is_set_for_brokers_holds_for_topics_that_set_nothing_whenever_they_were_made() {
        let retention =
            |state: &State, name: &str| state.topic(name).unwrap().log_config.retention_ms;
        let set = Record::Set {
            id: TopicId([2; 16]),
            overrides: [("retention.ms".into(), "5".into())].into(),
        };
        let mut state = fold(&[
            Record::Format { version: 1, cluster_id: "c".into(), node_id: 3 },
            created(1, "before"),
            brokers(None, Some("77")),
            created(2, "own"),
            set,
            created(3, "after"),
        ]);
        let all = |state: &State| ["before", "own", "after"].map(|name| retention(state, name));
        assert_eq!(all(&state), [77, 5, 77]);
        let own = state.topic("own").unwrap().clone();
        for (record, expect) in [
            (brokers(Some(3), Some("78")), 78),
            (brokers(None, None), 78),
            (brokers(Some(3), Some("not a number, kept by another version")), 604_800_000),
            (brokers(Some(3), None), 604_800_000),
        ] {
            state.apply(&record, &Config::default()).unwrap();
            state.settle(&Config::default());
            assert_eq!(all(&state), [expect, 5, expect], "{record:?}");
        }
        assert!(Arc::ptr_eq(&own, state.topic("own").unwrap()), "nothing changes for it");
        assert!(state.apply(&brokers(Some(4), None), &Config::default()).is_err());
    }

    #[test]
    fn topics_are_settled_some_at_a_time_until_all_are() {
        let count = 3 * SETTLED_AT_ONCE as u8 + 1;
        let mut state = State::default();
        for number in 0..count {
            state.apply(&created(number, &format!("t{number}")), &Config::default()).unwrap();
        }
        state.apply(&brokers(None, Some("77")), &Config::default()).unwrap();
        let settled = |state: &State| {
            state.topics().filter(|topic| topic.log_config.retention_ms == 77).count()
        };
        for turn in 1..4 {
            assert!(state.settle_some(&Config::default()), "turn {turn}");
            assert_eq!(settled(&state), turn * SETTLED_AT_ONCE);
        }
        assert!(!state.settle_some(&Config::default()));
        assert_eq!(settled(&state), usize::from(count));
        assert!(!state.settle_some(&Config::default()), "nothing was changed since");
    }

    #[test]
    fn lookalikes_are_known_until_they_are_deleted() {
        let mut state = fold(&[created(1, "a.b")]);
        assert_eq!(state.lookalike_of("a_b"), Some("a.b"));
        assert_eq!(state.lookalike_of("a.b"), None);
        state.apply(&Record::Deleted(TopicId([1; 16])), &Config::default()).unwrap();
        assert_eq!(state.lookalike_of("a_b"), None);
    }

    #[test]
    fn records_that_do_not_follow_are_refused() {
        let mut state = fold(&[Record::Shards(2), created(1, "a")]);
        let id = TopicId([1; 16]);
        let moved =
            |index, shard| Record::Moved { id, index, shard: ShardId(shard), leader_epoch: 1 };
        assert_eq!(state.apply(&moved(1, 0), &Config::default()), Ok(()));
        for record in [
            moved(2, 0),
            moved(-1, 0),
            moved(0, 2),
            created(1, "b"),
            created(2, "a"),
            Record::Added { id: TopicId([9; 16]), partitions: vec![] },
            Record::LogStart { id, index: 2, offset: Offset(1) },
            Record::Placed { id, partitions: vec![place(0)] },
        ] {
            assert!(state.apply(&record, &Config::default()).is_err(), "{record:?}");
        }
    }
}
