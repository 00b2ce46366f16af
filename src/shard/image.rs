//! The cluster-wide facts as every shard sees them: an immutable snapshot, made by shard 0 and sent to
//! the others. Reading it costs no lock and no hop.

use super::id_map::IdMap;
use super::quota_table::QuotaTable;
use super::request::PartitionKey;
use crate::log::{LogConfig, LogFault};
use crate::types::{Offset, ShardId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Where a partition lives, and what its owner must know to open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPlace {
    pub shard: ShardId,
    pub leader_epoch: i32,
    /// Records below were deleted (DeleteRecords).
    pub log_start: Offset,
}

/// A partition that another shard had in an image before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub key: PartitionKey,
    pub from: ShardId,
    pub to: ShardId,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// By partition index.
    pub partitions: Vec<PartitionPlace>,
    /// What was set for this topic, under Kafka's names; all else is a default.
    pub overrides: BTreeMap<String, String>,
    /// The same, with defaults, as the log uses it.
    pub log_config: Arc<LogConfig>,
}

impl Topic {
    /// See `is_internal`.
    pub fn is_internal(&self) -> bool {
        // The letters that all of them begin with are asked first: this is on the way of every record.
        self.name.starts_with("__") && is_internal(&self.name)
    }

    /// The place of a partition; `None` when there is no such partition.
    pub fn partition(&self, index: i32) -> Option<&PartitionPlace> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Whether a topic is the broker's own, so that clients may read it and not write to it.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Whom a setting of brokers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerScope {
    /// All brokers of the cluster.
    All,
    /// Those of this host, on which every shard may be one.
    Host,
}

/// What was set for brokers while they ran, under Kafka's names (KIP-226).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerOverrides {
    pub all: BTreeMap<String, String>,
    /// Goes before what is set for all.
    pub host: BTreeMap<String, String>,
}

impl BrokerOverrides {
    pub fn of(&self, scope: BrokerScope) -> &BTreeMap<String, String> {
        match scope {
            BrokerScope::All => &self.all,
            BrokerScope::Host => &self.host,
        }
    }

    pub fn of_mut(&mut self, scope: BrokerScope) -> &mut BTreeMap<String, String> {
        match scope {
            BrokerScope::All => &mut self.all,
            BrokerScope::Host => &mut self.host,
        }
    }
}

/// All topics, and what is set for brokers, groups and clients, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MetadataImage {
    /// Grows with every change.
    pub version: u64,
    pub cluster_id: Arc<str>,
    pub quotas: Arc<QuotaTable>,
    pub broker_overrides: Arc<BrokerOverrides>,
    /// Of one core, when it was set for brokers; else the configuration's holds.
    pub connections_max: Option<usize>,
    /// What was set for consumer groups, under Kafka's names; all else is a default.
    pub group_overrides: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// Partitions that this life leaves closed, with what is wrong with them: as the start found their folders, or as
    /// their cores left them that gave them up.
    pub withheld: Arc<BTreeMap<PartitionKey, LogFault>>,
    /// Partitions that cannot be read now, as their shards tell (`offline`). Of this life only.
    pub offline: Arc<BTreeSet<PartitionKey>>,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: IdMap<TopicId, Arc<Topic>>,
}

impl MetadataImage {
    pub fn new(
        version: u64,
        cluster_id: Arc<str>,
        topics: impl Iterator<Item = Arc<Topic>>,
    ) -> MetadataImage {
        let topics: BTreeMap<_, _> = topics.map(|topic| (topic.name.clone(), topic)).collect();
        let by_id = topics.values().map(|topic| (topic.id, topic.clone())).collect();
        MetadataImage { version, cluster_id, topics, by_id, ..MetadataImage::default() }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Topics from a name on, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let from = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.topics.range::<str, _>(from).map(|(_, topic)| topic)
    }

    /// Whether nobody can be served from a partition, so that nobody leads it.
    pub fn is_offline(&self, key: PartitionKey) -> bool {
        self.offline.contains(&key)
    }

    /// Partitions that another shard has than in an image before, by topic's name and index.
    pub fn moved_since(&self, before: &MetadataImage) -> Vec<Moved> {
        let mut moved = Vec::new();
        for topic in self.topics.values() {
            let Some(old) = before.topic_by_id(topic.id) else { continue };
            // Most topics are as they were, and not looked into.
            if Arc::ptr_eq(old, topic) {
                continue;
            }
            let places = old.partitions.iter().zip(&topic.partitions);
            for (index, (was, is)) in (0..).zip(places) {
                if was.shard != is.shard {
                    let key = PartitionKey { topic_id: topic.id, index };
                    moved.push(Moved { key, from: was.shard, to: is.shard });
                }
            }
        }
        moved
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }
}

/// An image as one shard holds it. Requests clone it all the time: that counts in memory of this core alone, where
/// a clone of what all shards share would write to a cache line that all of them read.
#[derive(Clone, Debug, Default)]
pub struct HeldImage(Rc<Held>);

#[derive(Debug, Default)]
struct Held {
    image: Arc<MetadataImage>,
}

impl HeldImage {
    pub fn new(image: Arc<MetadataImage>) -> HeldImage {
        HeldImage(Rc::new(Held { image }))
    }

    /// What all shards share.
    pub fn shared(&self) -> Arc<MetadataImage> {
        self.0.image.clone()
    }
}

impl Deref for HeldImage {
    type Target = MetadataImage;
    fn deref(&self) -> &MetadataImage {
        &self.0.image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u8, shards: &[u16]) -> Arc<Topic> {
        let place = |shard: &u16| PartitionPlace {
            shard: ShardId(*shard),
            leader_epoch: 0,
            log_start: Offset::ZERO,
        };
        Arc::new(Topic {
            id: TopicId([number; 16]),
            name: format!("t{number}").into(),
            partitions: shards.iter().map(place).collect(),
            overrides: BTreeMap::new(),
            log_config: Arc::default(),
        })
    }

    fn image(topics: &[&Arc<Topic>]) -> MetadataImage {
        MetadataImage::new(1, "c".into(), topics.iter().map(|topic| (*topic).clone()))
    }

    #[test]
    fn what_has_moved_is_what_another_shard_has_of_the_topics_that_are_in_both() {
        let (stays, gone, new) = (topic(1, &[0, 1]), topic(2, &[0]), topic(3, &[1]));
        let before = image(&[&stays, &gone, &topic(4, &[0, 1, 0])]);
        // A partition more, and one that has moved.
        let after = image(&[&stays, &new, &topic(4, &[0, 0, 0, 1])]);
        let key = PartitionKey { topic_id: TopicId([4; 16]), index: 1 };
        let moved = Moved { key, from: ShardId(1), to: ShardId(0) };
        assert_eq!(after.moved_since(&before), [moved]);
        assert_eq!(after.moved_since(&after), []);
        assert_eq!(after.moved_since(&MetadataImage::default()), []);
    }
}
