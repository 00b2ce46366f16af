//! corelog: an Apache-Kafka-compatible message broker, one thread per core, on io_uring.
//!
//! The contents page, in the order in which data flows.

pub mod config;
pub mod limits;
pub mod probe;
pub mod types;

pub mod runtime;
pub mod wire;

pub mod log;
pub mod shard;

pub mod cli;
