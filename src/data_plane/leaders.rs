//! KIP-951: an answer that refuses a partition because it is elsewhere, or has another epoch by now, names its leader
//! and where that broker listens, as Metadata would. So the client goes there without asking for metadata. An answer
//! that refuses nothing asks nothing of this.

use crate::shard::Shard;
use crate::shard::endpoints::Broker;
use crate::shard::image::{MetadataImage, Topic};
use crate::shard::request::PartitionKey;
use crate::types::ShardId;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The broker that leads a partition, and the epoch in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub id: i32,
    pub epoch: i32,
}

/// The leaders that one answer names.
#[derive(Debug)]
pub struct Leaders {
    /// The address that the client reached.
    local: SocketAddr,
    ids: BTreeSet<i32>,
}

impl Leaders {
    pub fn new(local: SocketAddr) -> Leaders {
        Leaders { local, ids: BTreeSet::new() }
    }

    /// Who leads a partition as an image says, to be named in this answer. None where nobody does, and where it is the
    /// broker that has just refused it: some clients do not ask for metadata once they are told a leader, and would
    /// come back here.
    pub fn find(
        &mut self,
        shard: &Shard,
        image: &MetadataImage,
        topic: &Topic,
        index: i32,
        refused_by: Option<ShardId>,
    ) -> Option<Leader> {
        let place = topic.partition(index)?;
        let endpoints = shard.endpoints()?;
        let key = PartitionKey { topic_id: topic.id, index };
        let id = endpoints.leader_of(image, key, place)?;
        if refused_by.is_some_and(|core| endpoints.broker_of(core) == id) {
            return None;
        }
        self.ids.insert(id);
        Some(Leader { id, epoch: place.leader_epoch })
    }

    /// Those that were found, each once, as Metadata lists them.
    pub fn brokers(&self, shard: &Shard) -> Vec<Broker> {
        if self.ids.is_empty() {
            return Vec::new();
        }
        let Some(endpoints) = shard.endpoints() else { return Vec::new() };
        let mut brokers = endpoints.brokers(self.local);
        brokers.retain(|broker| self.ids.contains(&broker.id));
        brokers
    }
}

#[cfg(test)]
mod tests;
