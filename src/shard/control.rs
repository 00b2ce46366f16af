//! What any shard may ask of the controller, the one writer of cluster-wide facts, which lives on shard 0
//! (`control_plane::controller`). Plain values.

use super::image::BrokerScope;
use super::quota_table::{QuotaEntity, QuotaKind};
use super::request::PartitionKey;
use crate::types::{Offset, ShardId, TopicId};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

/// Why the controller refuses; each maps to one Kafka error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    #[error("Topic '{name}' collides with existing topic: {other}")]
    NameCollides { name: String, other: String },
    #[error("this server does not host this topic-partition")]
    UnknownTopic,
    #[error("{0}")]
    InvalidPartitions(String),
    #[error("{0}")]
    InvalidAssignment(String),
    #[error("{0}")]
    InvalidConfig(String),
    /// What Kafka says of a broker's settings where it says `InvalidConfig` of others'.
    #[error("{0}")]
    InvalidRequest(String),
    /// More than this host keeps.
    #[error("{0}")]
    TooMany(String),
    #[error("{0}")]
    Storage(String),
    #[error("the broker is stopping")]
    Stopping,
}

/// A topic to be made; names, counts and settings were checked by the asking shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: u32,
    /// Where they go, one for each, when the creator chose.
    pub places: Option<Vec<ShardId>>,
    pub overrides: BTreeMap<String, String>,
}

/// How the settings of a topic, a group or brokers change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigsChange {
    /// These, and no others, are set from now on.
    Replace(BTreeMap<String, String>),
    /// Some change, in this order, the others stay (KIP-339).
    Merge(Vec<(String, ConfigOperation)>),
}

/// What happens to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set(String),
    /// The default holds again.
    Delete,
    /// To a list.
    Append(String),
    /// From a list.
    Subtract(String),
}

/// A change of cluster-wide facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// All of them, each answered by itself.
    CreateTopics(Vec<NewTopic>),
    DeleteTopics(Vec<TopicId>),
    /// Raises the number of partitions to this many.
    CreatePartitions {
        topic_id: TopicId,
        partitions: u32,
        /// Where the new ones go, one for each, when the client chose.
        places: Option<Vec<ShardId>>,
    },
    AlterConfigs {
        topic_id: TopicId,
        change: ConfigsChange,
    },
    /// The same for a consumer group, which need not be there.
    AlterGroupConfigs {
        group: String,
        change: ConfigsChange,
    },
    /// The same for brokers.
    AlterBrokerConfigs {
        scope: BrokerScope,
        change: ConfigsChange,
    },
    /// Sets (by the bits of the number) or removes some quotas of an entity; the others stay.
    AlterQuotas {
        entity: QuotaEntity,
        changes: Vec<(QuotaKind, Option<u64>)>,
    },
    /// A block of producer ids for one shard: `PRODUCER_ID_BLOCK` of them.
    AllocateProducerIds,
    /// Records that a partition begins at this offset from now on.
    SetLogStart {
        topic_id: TopicId,
        index: i32,
        offset: Offset,
    },
    /// Has another shard own a partition, while it is served.
    MovePartition {
        topic_id: TopicId,
        index: i32,
        to: ShardId,
    },
    /// All partitions of a shard that cannot be read now. No fact of the metadata log: nothing is recorded.
    TellOffline {
        shard: ShardId,
        partitions: Vec<PartitionKey>,
    },
    /// The last request of a shard that is stopping: what was written is left complete.
    Stop,
}

/// Producer ids given out at once: a shard asks again after that many (KIP-730).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The answers, in the order of the requests. A change is durable and installed on all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlReply {
    CreateTopics(Vec<Result<TopicId, ControlError>>),
    DeleteTopics(Vec<Result<(), ControlError>>),
    CreatePartitions(Result<(), ControlError>),
    AlterConfigs(Result<(), ControlError>),
    AlterGroupConfigs(Result<(), ControlError>),
    AlterBrokerConfigs(Result<(), ControlError>),
    AlterQuotas(Result<(), ControlError>),
    /// The first id of the block.
    AllocateProducerIds(Result<i64, ControlError>),
    SetLogStart(Result<(), ControlError>),
    MovePartition(Result<(), ControlError>),
    TellOffline,
    Stopping,
}

/// The controller as its shard sees it.
pub trait Controller {
    /// Does what is asked, one request after the other.
    fn handle(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply>>>;
}
