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
pub mod control_plane;
pub mod data_plane;
pub mod log;
pub mod net;
pub mod router;
pub mod shard;

// beside the way of a record: metrics and health
pub mod admin;

// processes
#[cfg(not(any(test, feature = "sim")))]
pub mod broker;
pub mod client;

pub mod cli;
#[cfg(any(test, feature = "sim"))]
pub mod fuzzing;

#[cfg(any(test, feature = "sim"))]
pub mod simulator;
