//! The broker's configuration under Kafka's names, for tools that ask a broker for it: a table. Some of it can be
//! changed while the broker runs (`dynamic_configs`). Pure.

use super::configs::Source;
use crate::config::{Config, HostPort, LogConfig};
use crate::limits::DESCRIBED_PARTITIONS_MAX;
use std::time::Duration;

/// Types as numbered on the wire (KIP-569).
#[derive(Clone, Copy, Debug)]
#[repr(i8)]
pub enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One key.
pub struct BrokerKey {
    pub name: &'static str,
    pub kind: Kind,
    pub doc: &'static str,
    value: fn(&Config) -> Option<String>,
}

impl BrokerKey {
    /// As it is configured.
    pub fn value(&self, config: &Config) -> Option<String> {
        (self.value)(config)
    }

    pub fn source(&self, config: &Config) -> Source {
        let is_chosen = self.value(config) != self.value(&Config::default());
        if is_chosen { Source::StaticBroker } else { Source::Default }
    }
}

fn milliseconds(duration: Duration) -> String {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).to_string()
}

/// Kafka counts these in hours, unless somebody set the milliseconds.
fn when_chosen(config: &Config, value: fn(&LogConfig) -> String) -> Option<String> {
    let (value, default) = (value(&config.log), value(&LogConfig::default()));
    (value != default).then_some(value)
}

fn or_never(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "-1".to_string(), milliseconds)
}

fn or_any(limit: Option<Duration>) -> String {
    limit.map_or_else(|| i64::MAX.to_string(), milliseconds)
}

fn listener(config: &Config) -> String {
    format!("PLAINTEXT://{}", config.listen)
}

fn advertised(config: &Config) -> String {
    let (advertise, listen) = (config.advertise.as_ref(), &config.listen);
    let host = advertise.map_or(&listen.host, |advertise| &advertise.host);
    let port = advertise.and_then(|advertise| advertise.port).unwrap_or(listen.port);
    format!("PLAINTEXT://{}", HostPort::new(host, port))
}

fn assignors(config: &Config) -> String {
    let names: Vec<&str> =
        config.groups.consumer_assignors.iter().map(|assignor| assignor.name()).collect();
    names.join(",")
}

macro_rules! broker_keys {
    ($($name:literal, $kind:ident, $value:expr, $doc:literal;)*) => {
        /// All keys, by name.
        pub const BROKER_KEYS: &[BrokerKey] = &[$(
            BrokerKey { name: $name, kind: Kind::$kind, doc: $doc, value: $value },
        )*];
    };
}

broker_keys! {
    "advertised.listeners", List, |c| Some(advertised(c)),
        "Address of the common port as clients reach it.";
    "authorizer.class.name", Text, |_| Some(String::new()),
        "There is no access control yet.";
    "auto.create.topics.enable", Boolean, |c| Some(c.auto_create_topics.to_string()),
        "Make a topic when a client asks for the metadata of a missing one.";
    "broker.id", Int, |c| Some(c.node_id.to_string()),
        "Number of this host.";
    "broker.rack", Text, |_| None,
        "With endpoints per core, the host's address is the rack of its cores.";
    "compression.gzip.level", Int, |_| Some("-1".into()),
        "Records are stored as they were produced.";
    "compression.lz4.level", Int, |_| Some("9".into()),
        "Records are stored as they were produced.";
    "compression.type", Text, |_| Some("producer".into()),
        "Records are stored as they were produced.";
    "compression.zstd.level", Int, |_| Some("3".into()),
        "Records are stored as they were produced.";
    "connections.max.idle.ms", Long, |c| Some(milliseconds(c.connection_idle_ms_max)),
        "A connection without a request for this long is closed.";
    "controller.quota.window.num", Int, |_| Some("11".into()),
        "How many seconds' worth of partitions a client with a quota may make or delete at once.";
    "controller.quota.window.size.seconds", Int, |_| Some("1".into()),
        "What controller.quota.window.num counts.";
    "corelog.version", Text, |_| Some(env!("CARGO_PKG_VERSION").into()),
        "Version of this broker.";
    "damaged.partitions", Text, |c| Some(c.damaged_partitions.name().into()),
        "What becomes of a damaged partition at a start: offline or serve-readable.";
    "default.replication.factor", Int, |_| Some("1".into()),
        "There is one replica.";
    "delete.topic.enable", Boolean, |_| Some("true".into()),
        "Topics can be deleted.";
    "durability", Text, |c| Some(c.durability.to_string()),
        "What an acknowledgement promises: fsync, write or memory.";
    "fetch.max.bytes", Int, |c| Some(c.fetch_bytes_max.to_string()),
        "Most bytes that one fetch answers with.";
    "group.consumer.assignment.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_assignment_interval_ms)),
        "Least time between two assignments of a consumer group.";
    "group.consumer.assignors", List, |c| Some(assignors(c)),
        "What assigns partitions to members of a consumer group; the first is that of members that do not choose.";
    "group.consumer.heartbeat.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_heartbeat_interval_ms)),
        "How often members of a consumer group are told to send a heartbeat.";
    "group.consumer.max.assignment.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_assignment_interval_ms_max)),
        "Most that a group may set.";
    "group.consumer.max.heartbeat.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_heartbeat_interval_ms_max)),
        "Most that a group may set.";
    "group.consumer.max.session.timeout.ms", Int, |c| Some(milliseconds(c.groups.consumer_session_timeout_ms_max)),
        "Most that a group may set.";
    "group.consumer.max.size", Int, |c| Some(c.groups.consumer_members_max.to_string()),
        "Members of a consumer group at most.";
    "group.consumer.migration.policy", Text, |c| Some(c.groups.consumer_migration_policy.name().into()),
        "Which groups with members change their kind: bidirectional, upgrade, downgrade or disabled.";
    "group.consumer.min.assignment.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_assignment_interval_ms_min)),
        "Least that a group may set.";
    "group.consumer.min.heartbeat.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_heartbeat_interval_ms_min)),
        "Least that a group may set.";
    "group.consumer.min.session.timeout.ms", Int, |c| Some(milliseconds(c.groups.consumer_session_timeout_ms_min)),
        "Least that a group may set.";
    "group.consumer.regex.refresh.interval.ms", Int, |c| Some(milliseconds(c.groups.consumer_regex_refresh_interval_ms)),
        "How often the topics that a regular expression matches are looked for at least.";
    "group.consumer.session.timeout.ms", Int, |c| Some(milliseconds(c.groups.consumer_session_timeout_ms)),
        "A member of a consumer group without a heartbeat for this long is removed.";
    "group.coordinator.rebalance.protocols", List, |_| Some("classic,consumer".into()),
        "The protocols of groups.";
    "group.initial.rebalance.delay.ms", Int, |c| Some(milliseconds(c.groups.initial_rebalance_delay_ms)),
        "How long an empty group waits for more members after its first.";
    "group.max.session.timeout.ms", Int, |c| Some(milliseconds(c.groups.session_timeout_ms_max)),
        "Longest time without a heartbeat that a member may choose.";
    "group.max.size", Int, |c| Some(c.groups.members_max.to_string()),
        "Members of a classic group at most.";
    "group.min.session.timeout.ms", Int, |c| Some(milliseconds(c.groups.session_timeout_ms_min)),
        "Shortest time without a heartbeat that a member may choose.";
    "group.share.assignment.interval.ms", Int, |_| Some("1000".into()),
        "Kept for clients; there are no share groups.";
    "group.share.delivery.count.limit", Int, |_| Some("5".into()),
        "Kept for clients; there are no share groups.";
    "group.share.heartbeat.interval.ms", Int, |_| Some("5000".into()),
        "Kept for clients; there are no share groups.";
    "group.share.max.assignment.interval.ms", Int, |_| Some("15000".into()),
        "Most that a group may set.";
    "group.share.max.delivery.count.limit", Int, |_| Some("10".into()),
        "Most that a group may set.";
    "group.share.max.heartbeat.interval.ms", Int, |_| Some("15000".into()),
        "Most that a group may set.";
    "group.share.max.partition.max.record.locks", Int, |_| Some("4000".into()),
        "Most that a group may set.";
    "group.share.max.record.lock.duration.ms", Int, |_| Some("60000".into()),
        "Most that a group may set.";
    "group.share.max.session.timeout.ms", Int, |_| Some("60000".into()),
        "Most that a group may set.";
    "group.share.min.assignment.interval.ms", Int, |_| Some("0".into()),
        "Least that a group may set.";
    "group.share.min.delivery.count.limit", Int, |_| Some("2".into()),
        "Least that a group may set.";
    "group.share.min.heartbeat.interval.ms", Int, |_| Some("5000".into()),
        "Least that a group may set.";
    "group.share.min.partition.max.record.locks", Int, |_| Some("100".into()),
        "Least that a group may set.";
    "group.share.min.record.lock.duration.ms", Int, |_| Some("15000".into()),
        "Least that a group may set.";
    "group.share.min.session.timeout.ms", Int, |_| Some("45000".into()),
        "Least that a group may set.";
    "group.share.partition.max.record.locks", Int, |_| Some("2000".into()),
        "Kept for clients; there are no share groups.";
    "group.share.record.lock.duration.ms", Int, |_| Some("30000".into()),
        "Kept for clients; there are no share groups.";
    "group.share.session.timeout.ms", Int, |_| Some("45000".into()),
        "Kept for clients; there are no share groups.";
    "group.streams.assignment.interval.ms", Int, |_| Some("1000".into()),
        "Kept for clients; there are no streams groups.";
    "group.streams.heartbeat.interval.ms", Int, |_| Some("5000".into()),
        "Kept for clients; there are no streams groups.";
    "group.streams.initial.rebalance.delay.ms", Int, |_| Some("3000".into()),
        "Kept for clients; there are no streams groups.";
    "group.streams.max.assignment.interval.ms", Int, |_| Some("15000".into()),
        "Most that a group may set.";
    "group.streams.max.heartbeat.interval.ms", Int, |_| Some("15000".into()),
        "Most that a group may set.";
    "group.streams.max.session.timeout.ms", Int, |_| Some("60000".into()),
        "Most that a group may set.";
    "group.streams.max.standby.replicas", Int, |_| Some("2".into()),
        "Most that a group may set.";
    "group.streams.min.assignment.interval.ms", Int, |_| Some("0".into()),
        "Least that a group may set.";
    "group.streams.min.heartbeat.interval.ms", Int, |_| Some("5000".into()),
        "Least that a group may set.";
    "group.streams.min.session.timeout.ms", Int, |_| Some("45000".into()),
        "Least that a group may set.";
    "group.streams.num.standby.replicas", Int, |_| Some("0".into()),
        "Kept for clients; there are no streams groups.";
    "group.streams.session.timeout.ms", Int, |_| Some("45000".into()),
        "Kept for clients; there are no streams groups.";
    "listeners", List, |c| Some(listener(c)),
        "Address of the common port.";
    "log.cleaner.delete.retention.ms", Long, |_| Some("86400000".into()),
        "No effect yet: how long compaction keeps the markers of deleted keys.";
    "log.cleaner.max.compaction.lag.ms", Long, |_| Some(i64::MAX.to_string()),
        "No effect yet: how long a record may stay uncompacted.";
    "log.cleaner.min.cleanable.ratio", Double, |_| Some("0.5".into()),
        "No effect yet: how much of a log may be uncompacted.";
    "log.cleaner.min.compaction.lag.ms", Long, |_| Some("0".into()),
        "No effect yet: how long a record stays uncompacted at least.";
    "log.cleanup.policy", List, |_| Some("delete".into()),
        "What becomes of old segments: delete by age and size; compact has no effect yet.";
    "log.dirs", List, |c| Some(c.data_dir.display().to_string()),
        "Directory of all data.";
    "log.flush.interval.messages", Long, |_| Some(i64::MAX.to_string()),
        "The durability says when records are on stable storage.";
    "log.flush.interval.ms", Long, |_| None,
        "The durability says when records are on stable storage.";
    "log.flush.scheduler.interval.ms", Long, |_| Some(i64::MAX.to_string()),
        "The durability says when records are on stable storage.";
    "log.index.interval.bytes", Int, |c| Some(c.log.index_interval_bytes.to_string()),
        "Bytes of records between two entries of the offset index.";
    "log.index.size.max.bytes", Int, |c| Some(c.log.segment_index_bytes.to_string()),
        "Largest index of a segment; a segment with a full one is sealed.";
    "log.local.retention.bytes", Long, |_| Some("-2".into()),
        "There is no tiered storage.";
    "log.local.retention.ms", Long, |_| Some("-2".into()),
        "There is no tiered storage.";
    "log.message.timestamp.after.max.ms", Long, |c| Some(or_any(c.log.message_timestamp_after_ms_max)),
        "How far a record's timestamp may lie ahead of the broker's clock.";
    "log.message.timestamp.before.max.ms", Long, |c| Some(or_any(c.log.message_timestamp_before_ms_max)),
        "How far a record's timestamp may lie behind the broker's clock.";
    "log.message.timestamp.type", Text, |c| Some(super::configs::timestamp_type(c).into()),
        "Whose clock stamps the records.";
    "log.preallocate", Boolean, |_| Some("false".into()),
        "The broker preallocates as it sees fit.";
    "log.retention.bytes", Long, |c| Some(c.log.retention_bytes.map_or("-1".into(), |b| b.to_string())),
        "The oldest segments are deleted while the others of a partition hold this much; -1: never.";
    "log.retention.check.interval.ms", Long, |c| Some(milliseconds(c.retention_check_ms)),
        "How often retention looks for segments to delete.";
    "log.retention.hours", Int, |_| Some("168".into()),
        "Segments older than this are deleted, unless log.retention.ms says otherwise.";
    "log.retention.minutes", Int, |_| None,
        "Segments older than this are deleted, unless log.retention.ms says otherwise.";
    "log.retention.ms", Long, |c| when_chosen(c, |log| or_never(log.retention_ms)),
        "Segments older than this are deleted; -1: never.";
    "log.roll.hours", Int, |_| Some("168".into()),
        "A segment is sealed at this age, unless log.roll.ms says otherwise.";
    "log.roll.jitter.hours", Int, |_| Some("0".into()),
        "No effect yet: up to this much is taken off a segment's age at random.";
    "log.roll.jitter.ms", Long, |c| when_chosen(c, |log| milliseconds(log.segment_jitter_ms)),
        "No effect yet: up to this much is taken off a segment's age at random.";
    "log.roll.ms", Long, |c| when_chosen(c, |log| milliseconds(log.segment_ms)),
        "A segment is sealed at this age.";
    "log.segment.bytes", Int, |c| Some(c.log.segment_bytes.to_string()),
        "A segment is sealed at this size.";
    "log.segment.delete.delay.ms", Long, |c| Some(milliseconds(c.log.file_delete_delay_ms)),
        "No effect yet, files are deleted at once: how long those of deleted segments stay, renamed.";
    "max.connections", Int, |c| Some(c.connections_max.to_string()),
        "Connections of one core; those that are there when it becomes less stay.";
    "max.incremental.fetch.session.cache.slots", Int, |c| Some(c.fetch_sessions_max.to_string()),
        "Incremental fetch sessions of one core.";
    "max.request.partition.size.limit", Int, |_| Some(DESCRIBED_PARTITIONS_MAX.to_string()),
        "Partitions in one answer to DescribeTopicPartitions.";
    "message.max.bytes", Int, |c| Some(c.log.max_message_bytes.to_string()),
        "Largest record batch.";
    "min.insync.replicas", Int, |_| Some("1".into()),
        "There is one replica.";
    "node.id", Int, |c| Some(c.node_id.to_string()),
        "Number of this host.";
    "num.partitions", Int, |c| Some(c.num_partitions.to_string()),
        "Partitions of a topic whose creator does not say.";
    "offset.metadata.max.bytes", Int, |c| Some(c.groups.offset_metadata_bytes_max.to_string()),
        "Longest text that a client may keep with an offset.";
    "offsets.retention.check.interval.ms", Long, |c| Some(milliseconds(c.groups.offsets_retention_check_ms)),
        "How often offsets to forget are looked for.";
    "offsets.retention.minutes", Int, |c| Some((c.groups.offsets_retention_ms.as_secs() / 60).to_string()),
        "An offset is forgotten when its group has been without members for this long.";
    "offsets.topic.num.partitions", Int, |c| Some(c.groups.offsets_topic_partitions.to_string()),
        "Partitions of the topic that keeps groups and offsets.";
    "offsets.topic.replication.factor", Int, |_| Some("1".into()),
        "There is one replica.";
    "offsets.topic.segment.bytes", Int, |_| Some("104857600".into()),
        "A segment of that topic is sealed at this size.";
    "producer.id.expiration.ms", Int, |c| Some(milliseconds(c.producer_id_expiration_ms)),
        "An idempotent producer that was silent for this long is forgotten.";
    "quota.window.size.seconds", Int, |_| Some("1".into()),
        "How many seconds' worth a client with a quota may use at once.";
    "socket.request.max.bytes", Int, |c| Some(c.request_bytes_max.to_string()),
        "Largest request.";
    "unclean.leader.election.enable", Boolean, |_| Some("false".into()),
        "There is one replica.";
}

/// The key of this name; `None` when brokers have no such key.
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    BROKER_KEYS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &BROKER_KEYS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_defaults_are_kafkas() {
        assert!(BROKER_KEYS.windows(2).all(|two| two[0].name < two[1].name));
        let config = Config::default();
        let value = |name: &str| {
            let key = broker_key(name).unwrap();
            assert_eq!(key.source(&config), Source::Default);
            key.value(&config)
        };
        assert_eq!(value("log.retention.ms"), None);
        assert_eq!(value("message.max.bytes").as_deref(), Some("1048588"));
        assert_eq!(value("socket.request.max.bytes").as_deref(), Some("104857600"));
    }
}
