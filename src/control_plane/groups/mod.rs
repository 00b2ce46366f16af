//! Consumer groups and their offsets. COLD, but for commits and heartbeats, which are plenty.
//!
//! A group belongs to one partition of `__consumer_offsets` (by Kafka's hash of its name) and so lives on the
//! one core that owns this partition; a request that arrives elsewhere is forwarded there. What a group is, is
//! the fold of that partition's records, in Kafka's own format.
//!
//! - `api`: the requests, one file for each
//! - `route`: which core a group lives on, and the way there
//! - `coordinator`, `load`: one partition's groups: read, served in turns, stored, written anew
//! - `state`, `offsets`, `members`, `group`: what the groups of a partition are
//! - `reading`: what the admin port shows of them
//! - `turn`: what one request or timer does, as plain data: records to store, answers to give, timers to set
//! - `record`: what is stored
//! - `classic`: a group by JoinGroup and SyncGroup
//! - `consumer`: groups of the consumer protocol (KIP-848)
//!
//! The state machines are pure: no await, no clock, no disk. Whoever runs them applies a turn's records at
//! once, stores them, and gives the turn's answers when everything they could have seen is durable.

mod api;
pub mod classic;
pub mod consumer;
mod coordinator;
mod group;
mod load;
mod members;
mod offsets;
mod reading;
pub mod record;
pub mod route;
mod state;
pub mod turn;

pub use api::{answer, detach, is_about_groups};
#[cfg(test)]
pub use coordinator::set_copy_bytes_min;
pub use route::{Caller, CoordinatorsHere};

#[cfg(test)]
mod tests;
