//! corelog: an Apache-Kafka-compatible message broker, one thread per core, on io_uring.
//!
//! The contents page, in the order in which data flows.

// plain values, known everywhere
pub mod config;
pub mod limits;
pub mod probe;
pub mod types;

// the executor, the kernel, the bytes
pub mod runtime;
pub mod wire;

// the way of a record: net -> router -> data_plane -> shard -> log
pub mod data_plane;
pub mod log;
pub mod shard;

// what is cold: metadata, administration
pub mod control_plane;

// processes
pub mod cli;
