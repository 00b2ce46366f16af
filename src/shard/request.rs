//! What one shard may ask of another: plain values that own what they carry.

use super::coordinators::GroupFrame;
use super::image::MetadataImage;
use super::quotas::BucketKey;
use crate::log::{ActiveProducer, Dispatched, LogFault};
use crate::types::{Offset, Timestamp, TopicId};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A partition, by the topic's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    pub topic_id: TopicId,
    pub index: i32,
}

/// Why a shard cannot do something for a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    #[error("the partition is not on this shard")]
    NotHere,
    #[error("{error}")]
    Append { error: crate::log::AppendError, log_start: Offset },
    #[error(transparent)]
    Read(#[from] crate::log::ReadError),
    #[error(transparent)]
    Fault(#[from] LogFault),
    #[error("the broker is stopping")]
    Stopping,
}

/// A batch that is stored as promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub dispatched: Dispatched,
    pub log_start: Offset,
}

/// Where a partition's log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub leader_epoch: i32,
    /// The leader epoch of the first record.
    pub log_start_epoch: i32,
    pub log_bytes: u64,
    /// Nothing keeps it from being written.
    pub is_sound: bool,
}

/// What one partition is asked to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSpec {
    pub key: PartitionKey,
    pub offset: Offset,
    pub bytes_max: usize,
    /// A first batch beyond `bytes_max` is given whole, if nothing else was read (KIP-74).
    pub first_whole: bool,
}

/// What was read, copied so that it may cross.
#[derive(Clone, Debug)]
pub struct ReadCopy {
    pub records: Bytes,
    pub log_start: Offset,
    pub high_watermark: Offset,
}

/// Which record a lookup by time is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLookup {
    /// The first record at or after this time, in the batches from an offset on.
    AtOrAfter(Timestamp, Offset),
    /// The record with the largest time.
    Max,
}

/// A step of the way down, taken by all shards before any takes the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Running,
    /// No more requests are read; those in flight are answered.
    Draining,
    /// Partitions are left so that the next start scans nothing.
    Stopped,
}

/// What came of giving a partition up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It is closed here, and its files are complete.
    Complete,
    /// It is closed here, and this fault kept its files from being complete.
    Failed(LogFault),
    /// This shard stops, and closes all that it has.
    Kept,
}

/// What to do, in the shard that owns what it is about.
pub enum ShardRequest {
    /// Stores a batch; answered when its promise is kept.
    Append {
        key: PartitionKey,
        batch: Bytes,
    },
    /// Reads several partitions, `bytes_max` in all.
    Read {
        specs: Vec<ReadSpec>,
        bytes_max: usize,
    },
    /// Answered when one of the partitions has passed the offset beside it, or time is up.
    Watch {
        thresholds: Vec<(PartitionKey, Offset)>,
        limit: Duration,
    },
    Bounds {
        keys: Vec<PartitionKey>,
    },
    /// Where partitions end, for somebody who counts: none is opened for it.
    Ends {
        keys: Vec<PartitionKey>,
    },
    /// KIP-320: where an epoch ended.
    EpochEnd {
        key: PartitionKey,
        epoch: i32,
    },
    /// A copy of the batch that may hold the record looked for.
    FindByTime {
        key: PartitionKey,
        lookup: TimeLookup,
    },
    /// No record below this offset is served any more; the metadata log says so already.
    RaiseLogStart {
        key: PartitionKey,
        offset: Offset,
    },
    /// New cluster-wide facts: partitions are opened, changed and removed accordingly.
    Install {
        image: Arc<MetadataImage>,
    },
    /// A partition moves to another shard, which may open it once this is answered.
    GiveUp {
        key: PartitionKey,
    },
    /// What another shard has charged clients' quotas with.
    HearCharges {
        charged: Vec<(BucketKey, Duration)>,
    },
    /// Who produced to a partition.
    Producers {
        key: PartitionKey,
    },
    /// For the controller on shard 0.
    Control(super::control::ControlRequest),
    /// About groups that this shard owns.
    Group(GroupFrame),
    /// A step of the way down; answered when this shard has taken it.
    Enter(Stage),
    /// Whether clients are served here: answered at once.
    Standing,
    /// What this shard counts and holds, with a line for each of so many partitions at most.
    Scrape {
        partitions_max: usize,
    },
    /// What is wrong with partitions here, of so many at most.
    Faults {
        faults_max: usize,
    },
    /// What this shard has to do, and for which partitions, of so many at most.
    Load {
        partitions_max: usize,
    },
}

/// The answers, in the order of the requests.
pub enum ShardReply {
    Append(Result<Produced, PartitionError>),
    Read(Vec<Result<ReadCopy, PartitionError>>),
    Watch,
    Bounds(Vec<Result<Bounds, PartitionError>>),
    /// None for one that is offline, not opened yet, or not here.
    Ends(Vec<Option<Offset>>),
    EpochEnd(Result<Option<(i32, Offset)>, PartitionError>),
    FindByTime(Result<Option<Bytes>, PartitionError>),
    RaiseLogStart(Result<Offset, PartitionError>),
    Install,
    GiveUp(GivenUp),
    HearCharges,
    Producers(Result<Vec<ActiveProducer>, PartitionError>),
    Control(super::control::ControlReply),
    /// The response's frame; none when it cannot be given.
    Group(Option<Bytes>),
    Enter,
    Standing {
        is_ready: bool,
    },
    Scrape(Box<super::scrape::ShardReading>),
    Faults(super::scrape::FaultsReading),
    Load(super::load::LoadReading),
    /// The other shard is gone: the process is stopping.
    Gone,
}
