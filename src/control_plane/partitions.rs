//! Who leads a partition, and asking the shards that own partitions, many at once: one message to each owner.

use super::ControlPlane;
use crate::log::ReadError;
use crate::shard::image::{MetadataImage, PartitionPlace, Topic};
use crate::shard::request::{Bounds, PartitionError, PartitionKey, ShardReply, ShardRequest};
use crate::types::{ShardId, TopicId};
use crate::wire::ErrorCode;
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A partition that a request names, found in the image.
#[derive(Clone, Debug)]
pub struct Located {
    pub topic: Arc<Topic>,
    pub key: PartitionKey,
    pub owner: ShardId,
    /// As Metadata tells it, so that a client that asks with what it was told is never fenced.
    pub leader_epoch: i32,
}

/// Finds a partition by its topic's name.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION.
pub fn locate(image: &MetadataImage, topic: &str, index: i32) -> Result<Located, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let place = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let key = PartitionKey { topic_id: topic.id, index };
    let PartitionPlace { shard: owner, leader_epoch, .. } = *place;
    Ok(Located { topic: topic.clone(), key, owner, leader_epoch })
}

/// What a client is told of a partition that cannot be asked.
pub fn code_of(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Read(ReadError::OutOfRange { .. }) => ErrorCode::OffsetOutOfRange,
        PartitionError::Read(ReadError::Offline(_)) | PartitionError::Fault(_) => {
            ErrorCode::KafkaStorageError
        }
        PartitionError::NotHere | PartitionError::Stopping | PartitionError::Append { .. } => {
            ErrorCode::NotLeaderOrFollower
        }
    }
}

/// KIP-320: a client that knows an older epoch must ask for metadata, one that knows a newer must wait.
///
/// # Errors
/// FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH.
pub fn check_epoch(asked: i32, current: i32) -> Result<(), ErrorCode> {
    match asked {
        _ if asked < 0 || asked == current => Ok(()),
        _ if asked < current => Err(ErrorCode::FencedLeaderEpoch),
        _ => Err(ErrorCode::UnknownLeaderEpoch),
    }
}

/// Where clients are told that nobody leads.
const NO_LEADER: i32 = -1;

/// Who has a partition, by the ids of brokers.
pub struct Standing {
    /// The one that has it; also in sync, whatever is wrong with it: by Kafka's rules the last one stays so.
    pub replica: i32,
    pub leader: i32,
    /// Those that have it and cannot serve it (KIP-112).
    pub offline: Vec<i32>,
}

impl Standing {
    pub fn is_led(&self) -> bool {
        self.leader != NO_LEADER
    }
}

impl ControlPlane {
    /// Who leads a partition, as the image says: its owner, or nobody while it cannot be read.
    pub(super) fn standing(
        &self,
        image: &MetadataImage,
        topic_id: TopicId,
        index: i32,
        place: &PartitionPlace,
    ) -> Standing {
        let replica = self.endpoints.broker_of(place.shard);
        match self.endpoints.leader_of(image, PartitionKey { topic_id, index }, place) {
            Some(leader) => Standing { replica, leader, offline: Vec::new() },
            None => Standing { replica, leader: NO_LEADER, offline: vec![replica] },
        }
    }
}

pub type BoundsByPartition = HashMap<PartitionKey, Result<Bounds, ErrorCode>>;

impl ControlPlane {
    /// Where the logs of partitions begin and end, each owner asked once.
    pub(super) async fn bounds_of(
        &self,
        partitions: impl Iterator<Item = (ShardId, PartitionKey)>,
    ) -> BoundsByPartition {
        let mut by_owner: BTreeMap<ShardId, Vec<PartitionKey>> = BTreeMap::new();
        for (owner, key) in partitions {
            by_owner.entry(owner).or_default().push(key);
        }
        let asks = by_owner.into_iter().map(async |(owner, keys)| {
            let request = ShardRequest::Bounds { keys: keys.clone() };
            let bounds = match self.shard.ask(owner, request).await {
                ShardReply::Bounds(bounds) => bounds,
                _ => vec![Err(PartitionError::Stopping); keys.len()],
            };
            keys.into_iter().zip(bounds).collect::<Vec<_>>()
        });
        let answers = join_all(asks).await.into_iter().flatten();
        answers.map(|(key, bounds)| (key, bounds.map_err(|error| code_of(&error)))).collect()
    }

    /// The same for one partition.
    pub(super) async fn bounds(&self, located: &Located) -> Result<Bounds, ErrorCode> {
        let one = std::iter::once((located.owner, located.key));
        let bounds = self.bounds_of(one).await.remove(&located.key);
        bounds.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))
    }
}
