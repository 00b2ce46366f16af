//! PARTITION LOG -> SEGMENT FILE: ordered, durable, read by reference. Lives on the shard that owns the
//! partition.
//!
//! - `partition`: offsets given, promises kept; all state changes
//! - `appender`: the commit: claim, write, settle; rolling
//! - `reader`, `tail_cache`, `lookup`: batches out, from memory or file, by offset or time
//! - `producers`, `index`, `segment`: what a partition knows of itself
//! - `verify`, `sealed_index`: what is believed of what a file says
//! - `shard_log`, `file_cache`, `small_file`: what partitions of a shard share
//! - `maintenance` (cold): recovery, removal, inspection, repair
//! - `planted`: bugs for tests of the tests

mod appender;
mod config;
mod fault;
mod file_cache;
pub mod index;
mod lookup;
mod maintenance;
mod partition;
pub mod planted;
pub mod producers;
mod reader;
mod recovery_points;
mod sealed_index;
pub mod segment;
mod shard_log;
pub mod small_file;
mod tail_cache;
mod verify;
mod watch;

pub use config::LogConfig;
pub use fault::{FaultKind, LogFault};
pub use maintenance::{
    After, DELETED_SUFFIX, Finding, FindingKind, Inspection, PartitionFacts, Recovery, Remedy,
    Repair, RepairPlan, Totals, inspect_recovery_points,
};
pub use partition::{AppendError, Dispatched, Partition, PartitionId};
pub use producers::ActiveProducer;
pub use reader::{ReadBatches, ReadError};
pub use recovery_points::{PointKey, RecoveryPoint};
pub use shard_log::{LogOptions, ShardLog};
pub use watch::WatchKey;

#[cfg(test)]
mod tests;
