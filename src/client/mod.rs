//! The Kafka client that the command line, the load generator and (later) replicas share.
//!
//! Lives on one thread, on whatever executor `runtime` is; clones of `Client` share connections and
//! metadata. Talks to any broker of the Kafka API, from 0.11 on. Never blocks, save to look up a host's name.

mod admin;
mod cluster;
mod connection;
mod error;
mod fetcher;
mod group_consumer;
mod groups;
mod offsets;
mod produce_request;
mod producer;
#[cfg(test)]
mod tests;

pub use admin::{ConfigEntry, ConfigSource, NewTopic};
pub use cluster::{Address, Broker, Client, ClientOptions, Metadata, Partition, Topic};
pub use connection::Connection;
pub use error::ClientError;
pub use fetcher::{Fetched, Fetcher, FetcherOptions, OutOfRange};
pub use group_consumer::GroupConsumer;
pub use groups::{Committed, Group, GroupMember, ListedGroup, Membership};
pub use offsets::OffsetQuery;
pub use produce_request::{Acknowledged, ProduceAnswer};
pub use producer::{Acks, Delivered, Delivery, Message, Producer, ProducerOptions, partitioner};

use crate::wire::Str;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Str,
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
