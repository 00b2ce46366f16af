//! The most instructions that each step may take: the one place where the numbers stand.
//!
//! **Not measured yet**: 1,000,000,000 guards nothing, and until it is replaced `.ci/run bench` only counts.
//!
//! Each is to be what was measured (`Instructions` of a run, divided by the operations that the benchmark makes) and a
//! few per cent more, for another compiler or C library. Whoever makes a step cheaper lowers its budget in the
//! same commit; whoever needs a higher one says in the commit what it buys.

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig};

/// A frame of 100 bytes, cut out of a chunk that holds many.
pub const FRAME_SMALL: u64 = 1_000_000_000;
/// A frame of 1 MiB that arrives in pieces of 64 KiB, with the one copy of its bytes.
pub const FRAME_MEBIBYTE: u64 = 1_000_000_000;

/// A batch of one record of 100 bytes.
pub const BATCH_SMALL: u64 = 1_000_000_000;
/// A batch of 1,000 records of 100 bytes.
pub const BATCH_OF_SMALL_RECORDS: u64 = 1_000_000_000;
/// A batch of 128 records of 1 KiB.
pub const BATCH_OF_LARGE_RECORDS: u64 = 1_000_000_000;

/// A small batch dispatched to a partition that has others waiting.
pub const APPEND_DISPATCHED: u64 = 1_000_000_000;
/// A small batch dispatched, one of ten for each of 100 partitions.
pub const APPEND_DISPATCHED_MANY: u64 = 1_000_000_000;
/// A small batch committed alone, by the simulated disk.
pub const APPEND_COMMITTED_ALONE: u64 = 1_000_000_000;
/// A small batch committed with 99 others of its partition, by the simulated disk.
pub const APPEND_COMMITTED_TOGETHER: u64 = 1_000_000_000;
/// A small batch committed with those of 99 other partitions, by the simulated disk.
pub const APPEND_COMMITTED_MANY: u64 = 1_000_000_000;

/// A fetch's answer with the records of one partition.
pub const ENCODE_ONE: u64 = 1_000_000_000;
/// A fetch's answer with the records of 100 partitions.
pub const ENCODE_MANY: u64 = 1_000_000_000;

/// A question to another core and its answer, alone on their way, through the simulated mesh.
pub const HOP_ALONE: u64 = 1_000_000_000;
/// The same, with 99 others.
pub const HOP_TOGETHER: u64 = 1_000_000_000;

/// A produce request of one small batch, from its bytes to where it waits for its promise.
pub const PRODUCE_STARTED: u64 = 1_000_000_000;
/// A produce request of small batches for 100 partitions, as far.
pub const PRODUCE_STARTED_MANY: u64 = 1_000_000_000;
/// A produce request of one small batch, answered: with its commit, alone, by the simulated disk.
pub const PRODUCE_ANSWERED: u64 = 1_000_000_000;
/// A produce request of small batches for 100 partitions, answered.
pub const PRODUCE_ANSWERED_MANY: u64 = 1_000_000_000;
/// A fetch of one partition without a session, answered with a small batch from the tail cache.
pub const FETCH_ANSWERED: u64 = 1_000_000_000;
/// A fetch within a session of 100 partitions of which one has something new.
pub const FETCH_ANSWERED_IDLE: u64 = 1_000_000_000;

/// Fails a benchmark of so many operations that takes more than this for each.
pub fn limit(instructions_each: u64, operations: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let most = instructions_each * operations;
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, most)]));
    config
}
