//! Consumer groups and their offsets. COLD, but for commits and heartbeats, which are plenty.
//!
//! A group belongs to one partition of `__consumer_offsets` (by Kafka's hash of its name) and so lives on the
//! one core that owns this partition; a request that arrives elsewhere is forwarded there whole. What a group
//! is, is the fold of that partition's records, in Kafka's own format.
//!
//! - `turn`: what one request or timer does, as plain data: records to store, answers to give, timers to set
//! - `record`: what is stored
//! - `classic`: a group by JoinGroup and SyncGroup
//! - `consumer`: groups of the consumer protocol (KIP-848)
//!
//! The state machines are pure: no await, no clock, no disk. Whoever runs them applies a turn's records at
//! once, stores them, and gives the turn's answers when everything they could have seen is durable.

pub mod classic;
pub mod consumer;
pub mod record;
pub mod turn;
