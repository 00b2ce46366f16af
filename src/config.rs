//! What an operator may choose: validated plain data, passed in, never global.
//!
//! Each key is declared once, in this file, with its documentation, type, default and allowed range; from
//! that one line come the TOML key, the `CORELOG_*` variable, the flag, its `--help` text and every error
//! message. Sources in rising order: defaults, TOML file, environment, flags (`config::load`).
//! Reads no file, no environment and no clock itself: the command line hands it their contents.

mod address;
pub mod commit_size;
mod disk_model;
mod form;
mod load;

pub use address::{AdminListen, Advertise, HostPort};
pub use disk_model::{DiskModel, DiskModelAt, DiskSettings};
pub use load::{ConfigError, Effective, Loader, Source};

use crate::limits;
use crate::types::Durability;
use form::{Form, auto, bytes, count, cpus, duration, one_of, some_of, switch, text, unlimited};
use std::path::PathBuf;
use std::time::Duration;

/// One key, as the sources and the help see it.
pub struct Key {
    /// The TOML table that holds it; empty for the top level.
    pub table: &'static str,
    pub name: &'static str,
    /// The lines of documentation above its declaration.
    pub doc: &'static [&'static str],
    /// Takes a value as an operator writes it; false when it is not one of `allowed`.
    set: fn(&mut Config, &str) -> bool,
    /// The value as a TOML literal that `set` takes back.
    show: fn(&Config) -> String,
    allowed: fn() -> String,
}

impl Key {
    /// `log.segment_bytes`
    pub fn path(&self) -> String {
        let separator = if self.table.is_empty() { "" } else { "." };
        format!("{}{separator}{}", self.table, self.name)
    }

    /// `CORELOG_LOG_SEGMENT_BYTES`
    pub fn variable(&self) -> String {
        format!("CORELOG_{}", self.path().replace('.', "_").to_uppercase())
    }

    /// `log-segment-bytes`, without the dashes before it.
    pub fn flag(&self) -> String {
        self.path().replace(['.', '_'], "-")
    }

    /// The documentation as one paragraph.
    pub fn help(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// What may be written, for people: "a size from 1KiB to 100MiB".
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// The value that this key has in `config`, as a TOML literal.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// Every key there is, the top level first, in the order of declaration.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    let tables = Config::KEYS.iter().chain(LogConfig::KEYS).chain(GroupsConfig::KEYS);
    tables.chain(LoggingConfig::KEYS)
}

/// Declares a table of the configuration: the struct, its defaults, and its keys.
/// One entry: documentation, `name: Type = default, form;`
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $table:ident $name:literal [$($at:tt)*] { $(pub $inner:ident: $inner_type:ty,)* }
        $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $form:expr; )+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $table {
            $( $(#[doc = $doc])+ pub $key: $type, )+
            $( pub $inner: $inner_type, )*
        }

        impl Default for $table {
            fn default() -> $table {
                $table { $( $key: $default, )+ $( $inner: <$inner_type>::default(), )* }
            }
        }

        impl $table {
            fn of(config: &Config) -> &$table {
                &(*config)$($at)*
            }

            fn of_mut(config: &mut Config) -> &mut $table {
                &mut (*config)$($at)*
            }

            const KEYS: &'static [Key] = &[$( Key {
                table: $name,
                name: stringify!($key),
                doc: &[$($doc),+],
                set: |config, text| match $form.parse(text) {
                    Some(value) => {
                        $table::of_mut(config).$key = value;
                        true
                    }
                    None => false,
                },
                show: |config| $form.show(&$table::of(config).$key),
                allowed: || form::of::<$type>($form).allowed(),
            }, )+];
        }
    };
}

table! {
    /// The whole configuration of a broker process.
    pub struct Config "" [] { pub log: LogConfig, pub groups: GroupsConfig, pub logging: LoggingConfig, }

    /// Directory of all data. Made if missing; one broker at a time may use it.
    data_dir: PathBuf = PathBuf::from("./data"), form::path();

    /// Address of the common (bootstrap) port. Port 0 lets the kernel choose.
    /// With per-core endpoints, shard N also listens on this port + 1 + N.
    listen: HostPort = HostPort::new("127.0.0.1", 9092), form::host_port();

    /// Host, or HOST:PORT, by which clients reach the common port, when it differs from `listen`.
    advertise: Option<Advertise> = None, auto(form::advertise());

    /// Address of the admin port: metrics for Prometheus (/metrics) and health (/healthz, /readyz), without
    /// authentication. auto: 127.0.0.1:9644, and none while another process has that. none: no such port.
    admin_listen: AdminListen = AdminListen::Auto, form::admin_listen();

    /// Show the size, start and end of each partition's log in /metrics: three series for each.
    metrics_per_partition: bool = false, switch();

    /// CPUs to use, one shard on each, such as `0-3,5`. auto: all that the process is allowed.
    cpus: Option<Vec<usize>> = None, auto(cpus());

    /// per-core: each shard is advertised as a broker of its own, so that clients talk straight to
    /// the core that owns a partition. shared: one port and one broker id, for NAT and firewalls.
    endpoints: Endpoints = Endpoints::PerCore, one_of(Endpoints::ALL);

    /// Move partitions from busy cores to the idlest while they are served, one at a time, where that evens the
    /// load of the two by a tenth of a core or more. Clients of a partition that moves are told to look for its leader
    /// again.
    balance_cores: bool = false, switch();

    /// What an acknowledgement promises. fsync: survives power loss; write: survives the process;
    /// memory: nothing, for benchmarks.
    durability: Durability = Durability::Fsync, one_of(DURABILITIES);

    /// What becomes of a partition that was found damaged when it was opened. offline: nothing of it is served;
    /// serve-readable: what lies before the damage is, for reading only. Each topic has its own
    /// (corelog.damaged.partitions); a change holds from the next start on.
    damaged_partitions: DamagedPartitions = DamagedPartitions::Offline,
        one_of(DamagedPartitions::ALL);

    /// Number of this host. With per-core endpoints, broker id = node_id * 1024 + shard.
    node_id: u32 = 1, count(0, NODE_ID_MAX);

    /// Name of the cluster. auto: made up at the first start and kept in the data directory.
    cluster_id: Option<String> = None, auto(text(1, CLUSTER_ID_BYTES_MAX));

    /// Make a topic when a client asks for the metadata of a missing one (Kafka's
    /// auto.create.topics.enable).
    auto_create_topics: bool = true, switch();

    /// Partitions of a topic whose creator does not say (Kafka's num.partitions).
    num_partitions: u32 = 1, count(1, limits::TOPIC_PARTITIONS_MAX as u32);

    /// Memory that one shard plans with: tail cache, request and response buffers. At it, sockets are
    /// not read and fetches wait until some is free, save that one request at a time may go beyond it, so that no two
    /// wait for each other. auto: half of the host's memory, shared out among the shards, 1 GiB for
    /// each at most.
    memory_per_shard_bytes: Option<u64> = None, auto(bytes(MEMORY_BYTES_MIN, 1 << 50));

    /// Share of a shard's memory that keeps recently written records for consumers near the end.
    tail_cache_percent: u8 = 50, count(1, 90);

    /// Files that one shard keeps open. At it, the longest unused is closed. auto: from the process's
    /// limit (ulimit -n).
    open_files_max: Option<usize> = None, auto(count(16, 1 << 24));

    /// Connections of one shard. At it, a new one is closed at once.
    connections_max: usize = 16_384, count(1, 1 << 20);

    /// A connection without a request, or whose client takes nothing of its answers, for this long is
    /// closed (Kafka's connections.max.idle.ms); after 1 second already while others wait for the memory
    /// that its answers hold.
    connection_idle_ms_max: Duration = Duration::from_mins(10), duration(1000, DURATION_MS_MAX);

    /// Largest request; a larger one closes its connection (Kafka's socket.request.max.bytes).
    request_bytes_max: usize = limits::FRAME_BYTES_MAX, bytes(1024, limits::FRAME_BYTES_MAX);

    /// Most bytes that one fetch answers with, save that the first batch is always whole (Kafka's
    /// fetch.max.bytes on the broker).
    fetch_bytes_max: usize = limits::FETCH_BYTES_MAX, bytes(1024, limits::FRAME_BYTES_MAX);

    /// Incremental fetch sessions of one shard (KIP-227). At it, one that was unused for two minutes is
    /// evicted; if there is none, the fetch is answered without a session.
    fetch_sessions_max: usize = limits::FETCH_SESSIONS_MAX, count(0, 1 << 20);

    /// An idempotent producer that was silent for this long is forgotten (Kafka's
    /// producer.id.expiration.ms).
    producer_id_expiration_ms: Duration = DAY, duration(1, DURATION_MS_MAX);

    /// How long a graceful stop waits for what is in flight, before it closes connections.
    shutdown_grace_ms: Duration = Duration::from_secs(10), duration(0, 3_600_000);

    /// Bytes of a shard's log that a start after a crash reads again at most, whatever the size of the data:
    /// at half of it, how far each partition is complete is written down; at it, sockets are not read until
    /// that is done.
    recovery_scan_bytes_max: u64 = limits::RECOVERY_SCAN_BYTES_MAX, bytes(1 << 20, 1 << 50);

    /// How often segments to delete are looked for (Kafka's log.retention.check.interval.ms).
    retention_check_ms: Duration = Duration::from_mins(5), duration(1, DURATION_MS_MAX);

    /// What `corelog doctor disk` has measured, for the three settings that follow. auto: disk-model.toml in `data_dir`,
    /// if there is one. none: no such file.
    disk_model: DiskModelAt = DiskModelAt::Auto, form::disk_model();

    /// Commits that one shard has in flight at most, each of another partition. auto: what `disk_model` says, else 32.
    commits_in_flight_max: Option<usize> = None, auto(count(1, limits::COMMITS_IN_FLIGHT_MAX));

    /// Longest single write of a commit, save that a batch is never split. auto: what `disk_model` says, else 4MiB. A
    /// smaller one than before holds from a start after a clean stop on.
    commit_bytes_max: Option<usize> = None,
        auto(bytes(limits::COMMIT_BYTES_MIN, limits::COMMIT_BYTES_MAX));

    /// Reads of files that one fetch has in flight at most, each of another partition. auto: what `disk_model` says,
    /// else 4.
    file_reads_in_flight_max: Option<usize> = None,
        auto(count(1, limits::FILE_READS_IN_FLIGHT_MAX));
}

table! {
    /// Defaults of every topic's log; each topic may override them under Kafka's names.
    pub struct LogConfig "log" [.log] { }

    /// A segment is sealed at this size (segment.bytes).
    segment_bytes: u64 = 1 << 30, bytes(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);

    /// A segment is sealed at this age (segment.ms).
    segment_ms: Duration = WEEK, duration(1, DURATION_MS_MAX);

    /// No effect yet: up to this much is taken off `segment_ms` at random, so that not all roll at once
    /// (segment.jitter.ms).
    segment_jitter_ms: Duration = Duration::ZERO, duration(0, DURATION_MS_MAX);

    /// A segment whose newest record is older than this is deleted (retention.ms); -1: never.
    retention_ms: Option<Duration> = Some(WEEK), unlimited(duration(0, DURATION_MS_MAX));

    /// The oldest segments are deleted while the others of a partition hold this much (retention.bytes);
    /// -1: never.
    retention_bytes: Option<u64> = None, unlimited(bytes(0, i64::MAX as u64));

    /// Largest record batch (max.message.bytes); a larger one is refused.
    max_message_bytes: usize = limits::MESSAGE_BYTES_MAX_DEFAULT, bytes(0, limits::BATCH_BYTES_MAX);

    /// Bytes of records between two entries of the offset index (index.interval.bytes).
    index_interval_bytes: u64 = 4096, bytes(1, i32::MAX as u64);

    /// Largest index of a segment (segment.index.bytes); a segment with a full one is sealed.
    segment_index_bytes: u64 = 10 << 20, bytes(1024, i32::MAX as u64);

    /// Whose clock stamps the records (message.timestamp.type).
    message_timestamp_type: TimestampType = TimestampType::CreateTime, one_of(TimestampType::ALL);

    /// How far a record's timestamp may lie behind the broker's clock
    /// (message.timestamp.before.max.ms); -1: any.
    message_timestamp_before_ms_max: Option<Duration> = None,
        unlimited(duration(0, DURATION_MS_MAX));

    /// How far a record's timestamp may lie ahead of the broker's clock
    /// (message.timestamp.after.max.ms); -1: any.
    message_timestamp_after_ms_max: Option<Duration> = Some(Duration::from_hours(1)),
        unlimited(duration(0, DURATION_MS_MAX));

    /// No effect yet, files are deleted at once: those of deleted segments and topics stay this long,
    /// renamed (file.delete.delay.ms).
    file_delete_delay_ms: Duration = Duration::from_mins(1), duration(0, DURATION_MS_MAX);
}

table! {
    /// Consumer groups and their committed offsets.
    pub struct GroupsConfig "groups" [.groups] { }

    /// Partitions of the topic that keeps groups and offsets, when it is made
    /// (offsets.topic.num.partitions).
    offsets_topic_partitions: u32 = 50, count(1, limits::TOPIC_PARTITIONS_MAX as u32);

    /// A committed offset is forgotten when its group has been without members for this long
    /// (offsets.retention.minutes).
    offsets_retention_ms: Duration = WEEK, duration(60_000, DURATION_MS_MAX);

    /// How often offsets to forget are looked for (offsets.retention.check.interval.ms).
    offsets_retention_check_ms: Duration = Duration::from_mins(10), duration(1, DURATION_MS_MAX);

    /// Longest text that a client may keep with an offset (offset.metadata.max.bytes); a longer one is
    /// OFFSET_METADATA_TOO_LARGE.
    offset_metadata_bytes_max: usize = 4096, bytes(0, limits::STRING_BYTES_MAX);

    /// How long an empty group waits for more members after its first (group.initial.rebalance.delay.ms).
    initial_rebalance_delay_ms: Duration = Duration::from_secs(3), duration(0, DURATION_MS_MAX);

    /// Shortest time without a heartbeat that a member may choose (group.min.session.timeout.ms).
    session_timeout_ms_min: Duration = Duration::from_secs(6), duration(1, i32::MAX as u64);

    /// Longest such time (group.max.session.timeout.ms).
    session_timeout_ms_max: Duration = Duration::from_mins(30), duration(1, i32::MAX as u64);

    /// Members of a classic group at most (group.max.size); one more is GROUP_MAX_SIZE_REACHED.
    members_max: usize = i32::MAX as usize, count(1, i32::MAX as usize);

    /// A member of a consumer group (KIP-848) without a heartbeat for this long is removed
    /// (group.consumer.session.timeout.ms).
    consumer_session_timeout_ms: Duration = Duration::from_secs(45), duration(1, i32::MAX as u64);

    /// How often members of a consumer group are told to send one (group.consumer.heartbeat.interval.ms).
    consumer_heartbeat_interval_ms: Duration = Duration::from_secs(5), duration(1, i32::MAX as u64);

    /// Shortest session timeout that a consumer group may set for itself
    /// (group.consumer.min.session.timeout.ms).
    consumer_session_timeout_ms_min: Duration = Duration::from_secs(45), duration(1, i32::MAX as u64);

    /// Longest session timeout that a consumer group may set for itself
    /// (group.consumer.max.session.timeout.ms).
    consumer_session_timeout_ms_max: Duration = Duration::from_mins(1), duration(1, i32::MAX as u64);

    /// Shortest interval of heartbeats that a consumer group may set for itself
    /// (group.consumer.min.heartbeat.interval.ms).
    consumer_heartbeat_interval_ms_min: Duration = Duration::from_secs(5), duration(1, i32::MAX as u64);

    /// Longest interval of heartbeats that a consumer group may set for itself
    /// (group.consumer.max.heartbeat.interval.ms).
    consumer_heartbeat_interval_ms_max: Duration = Duration::from_secs(15), duration(1, i32::MAX as u64);

    /// Least time between two assignments of a consumer group, so that members that come one after the other
    /// are assigned together (group.consumer.assignment.interval.ms).
    consumer_assignment_interval_ms: Duration = Duration::from_secs(1), duration(0, i32::MAX as u64);

    /// Shortest such time that a consumer group may set for itself (group.consumer.min.assignment.interval.ms).
    consumer_assignment_interval_ms_min: Duration = Duration::ZERO, duration(0, i32::MAX as u64);

    /// Longest such time that a consumer group may set for itself (group.consumer.max.assignment.interval.ms).
    consumer_assignment_interval_ms_max: Duration = Duration::from_secs(15), duration(0, i32::MAX as u64);

    /// Members of a consumer group at most (group.consumer.max.size); one more is GROUP_MAX_SIZE_REACHED.
    consumer_members_max: usize = i32::MAX as usize, count(1, i32::MAX as usize);

    /// What assigns partitions to the members of a consumer group, as they choose: uniform, range, or both,
    /// separated by a comma. The first is that of members that do not choose (group.consumer.assignors).
    consumer_assignors: Vec<Assignor> = vec![Assignor::Uniform, Assignor::Range], some_of(Assignor::ALL);

    /// Which groups with members change their kind when somebody of the other protocol joins or leaves: upgrade,
    /// from classic to consumer; downgrade, from consumer to classic; bidirectional, both; disabled, none
    /// (group.consumer.migration.policy).
    consumer_migration_policy: MigrationPolicy = MigrationPolicy::Bidirectional, one_of(MigrationPolicy::ALL);

    /// How often the topics that a regular expression matches are looked for at least
    /// (group.consumer.regex.refresh.interval.ms).
    consumer_regex_refresh_interval_ms: Duration = Duration::from_mins(10), duration(10_000, i32::MAX as u64);
}

table! {
    /// What the process says about itself, on stderr. (`log` is the records' log.)
    pub struct LoggingConfig "logging" [.logging] { }

    /// Which lines are written: a level, or targets with levels, such as `info,corelog::net=debug`.
    filter: String = "info".to_string(), text(1, 1024);

    /// text, for people; json, one object per line, for collectors.
    format: LoggingFormat = LoggingFormat::Text, one_of(LoggingFormat::ALL);
}

/// How stock clients reach the core that owns a partition (design, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Every shard has a port and a broker id of its own, beside the common port.
    PerCore,
    /// One port and one broker id for all shards.
    Shared,
}

impl Endpoints {
    const ALL: &'static [(&'static str, Endpoints)] =
        &[("per-core", Endpoints::PerCore), ("shared", Endpoints::Shared)];
}

/// What says who of a consumer group has which partitions, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    const ALL: &'static [(&'static str, Assignor)] =
        &[("uniform", Assignor::Uniform), ("range", Assignor::Range)];

    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
}

/// Which groups change their kind while they have members (KIP-848), by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Bidirectional,
    Upgrade,
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    const ALL: &'static [(&'static str, MigrationPolicy)] = &[
        ("bidirectional", MigrationPolicy::Bidirectional),
        ("upgrade", MigrationPolicy::Upgrade),
        ("downgrade", MigrationPolicy::Downgrade),
        ("disabled", MigrationPolicy::Disabled),
    ];

    pub const fn name(self) -> &'static str {
        match self {
            MigrationPolicy::Bidirectional => "bidirectional",
            MigrationPolicy::Upgrade => "upgrade",
            MigrationPolicy::Downgrade => "downgrade",
            MigrationPolicy::Disabled => "disabled",
        }
    }

    /// Whether classic groups become consumer groups.
    pub const fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    /// Whether consumer groups become classic groups.
    pub const fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

/// What becomes of a partition that was found damaged when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedPartitions {
    /// Nothing of it is served.
    Offline,
    /// What lies before the damage is, for reading only.
    ServeReadable,
}

impl DamagedPartitions {
    const ALL: &'static [(&'static str, DamagedPartitions)] = &[
        ("offline", DamagedPartitions::Offline),
        ("serve-readable", DamagedPartitions::ServeReadable),
    ];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            DamagedPartitions::Offline => "offline",
            DamagedPartitions::ServeReadable => "serve-readable",
        }
    }
}

/// Whose clock stamps the records, under Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

impl TimestampType {
    const ALL: &'static [(&'static str, TimestampType)] = &[
        ("CreateTime", TimestampType::CreateTime),
        ("LogAppendTime", TimestampType::LogAppendTime),
    ];
}

/// The shape of the process's own log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggingFormat {
    Text,
    Json,
}

impl LoggingFormat {
    const ALL: &'static [(&'static str, LoggingFormat)] =
        &[("text", LoggingFormat::Text), ("json", LoggingFormat::Json)];
}

const DURABILITIES: &[(&str, Durability)] =
    &[("fsync", Durability::Fsync), ("write", Durability::Write), ("memory", Durability::Memory)];

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// The longest time a key may say, about 292 million years: Kafka counts milliseconds in an i64.
const DURATION_MS_MAX: u64 = i64::MAX as u64;

/// Broker ids are positive i32 on the wire, and their low ten bits are the shard.
const NODE_ID_MAX: u32 = i32::MAX as u32 / limits::SHARDS_MAX as u32 - 1;
const _: () = assert!(NODE_ID_MAX as usize * limits::SHARDS_MAX + limits::SHARDS_MAX < 1 << 31);

/// Kafka takes any string; this is long enough for any that is used.
const CLUSTER_ID_BYTES_MAX: usize = 64;

/// Under this a shard cannot hold one commit and the chunks of its busy partitions.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
const _: () = assert!(MEMORY_BYTES_MIN >= 2 * limits::COMMIT_BYTES_MAX as u64);

/// Small segments are for tests; positions in an offset index are 4 bytes with a sign.
const SEGMENT_BYTES_MIN: u64 = 16 << 10;
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
const _: () = assert!(SEGMENT_BYTES_MIN >= limits::BLOCK_BYTES as u64);
const _: () = assert!(limits::BATCH_BYTES_MAX as u64 <= SEGMENT_BYTES_MAX);

impl Config {
    /// What no single key can see: each finding names the two keys that disagree.
    fn disagreements(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let request_bytes_min = self.log.max_message_bytes + BATCH_ENVELOPE_BYTES;
        if self.request_bytes_max < request_bytes_min {
            found.push((
                "request_bytes_max",
                format!("log.max_message_bytes needs it to be {request_bytes_min} or more"),
            ));
        }
        if let Some(memory) = self.memory_per_shard_bytes
            && memory < self.request_bytes_max as u64
        {
            let least = self.request_bytes_max;
            found.push((
                "memory_per_shard_bytes",
                format!("request_bytes_max needs it to be {least} or more"),
            ));
        }
        if self.groups.session_timeout_ms_min > self.groups.session_timeout_ms_max {
            let reason = "it is longer than groups.session_timeout_ms_max".to_string();
            found.push(("groups.session_timeout_ms_min", reason));
        }
        if self.groups.consumer_heartbeat_interval_ms >= self.groups.consumer_session_timeout_ms {
            let reason = "groups.consumer_session_timeout_ms needs to be longer".to_string();
            found.push(("groups.consumer_heartbeat_interval_ms", reason));
        }
        found.extend(self.groups.disagreements());
        found
    }
}

impl GroupsConfig {
    /// What holds for consumer groups that set nothing lies between what they may set.
    fn disagreements(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for ([least_name, name, most_name], [least, value, most]) in [
            (
                [
                    "groups.consumer_session_timeout_ms_min",
                    "groups.consumer_session_timeout_ms",
                    "groups.consumer_session_timeout_ms_max",
                ],
                [
                    self.consumer_session_timeout_ms_min,
                    self.consumer_session_timeout_ms,
                    self.consumer_session_timeout_ms_max,
                ],
            ),
            (
                [
                    "groups.consumer_heartbeat_interval_ms_min",
                    "groups.consumer_heartbeat_interval_ms",
                    "groups.consumer_heartbeat_interval_ms_max",
                ],
                [
                    self.consumer_heartbeat_interval_ms_min,
                    self.consumer_heartbeat_interval_ms,
                    self.consumer_heartbeat_interval_ms_max,
                ],
            ),
            (
                [
                    "groups.consumer_assignment_interval_ms_min",
                    "groups.consumer_assignment_interval_ms",
                    "groups.consumer_assignment_interval_ms_max",
                ],
                [
                    self.consumer_assignment_interval_ms_min,
                    self.consumer_assignment_interval_ms,
                    self.consumer_assignment_interval_ms_max,
                ],
            ),
        ] {
            if least > most {
                found.push((least_name, format!("it is longer than {most_name}")));
            } else if value < least {
                found.push((name, format!("it is shorter than {least_name}")));
            } else if value > most {
                found.push((name, format!("it is longer than {most_name}")));
            }
        }
        found
    }
}

/// What surrounds one batch of one partition in a produce request: header, topic name, array lengths.
const BATCH_ENVELOPE_BYTES: usize = 1024;
const _: () = assert!(
    limits::FRAME_BYTES_MAX >= limits::MESSAGE_BYTES_MAX_DEFAULT + BATCH_ENVELOPE_BYTES
        && BATCH_ENVELOPE_BYTES > 2 * limits::TOPIC_NAME_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn defaults_are_kafkas() {
        let config = Config::default();
        assert_eq!(config.log.segment_bytes, 1_073_741_824);
        assert_eq!(config.log.segment_ms.as_millis(), 604_800_000);
        assert_eq!(config.log.retention_ms.unwrap().as_millis(), 604_800_000);
        assert_eq!(config.log.retention_bytes, None);
        assert_eq!(config.log.max_message_bytes, 1_048_588);
        assert_eq!(config.connection_idle_ms_max.as_millis(), 600_000);
        assert_eq!(config.producer_id_expiration_ms.as_millis(), 86_400_000);
        assert_eq!(config.request_bytes_max, 104_857_600);
        assert_eq!(config.listen.to_string(), "127.0.0.1:9092");
    }

    #[test]
    fn every_default_lies_in_its_own_range_and_none_disagree() {
        let defaults = Config::default();
        for key in keys() {
            let mut config = Config::default();
            let shown = key.show(&defaults);
            let plain = shown.trim_matches('"');
            assert!((key.set)(&mut config, plain), "{} = {shown}", key.path());
            assert_eq!(config, defaults, "{}", key.path());
        }
        assert_eq!(defaults.disagreements(), []);
    }

    #[test]
    fn what_is_only_kept_for_clients_says_so() {
        let kept: Vec<String> =
            keys().filter(|key| key.help().starts_with("No effect yet")).map(Key::path).collect();
        let expected = ["log.segment_jitter_ms", "log.file_delete_delay_ms"];
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_holds_for_groups_lies_between_what_they_may_set() {
        let wrong = |change: fn(&mut GroupsConfig)| {
            let mut config = Config::default();
            change(&mut config.groups);
            config.disagreements().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let seconds = Duration::from_secs;
        assert_eq!(
            wrong(|groups| groups.consumer_session_timeout_ms = Duration::from_secs(44)),
            ["groups.consumer_session_timeout_ms"]
        );
        assert_eq!(
            wrong(|groups| groups.consumer_session_timeout_ms = Duration::from_secs(61)),
            ["groups.consumer_session_timeout_ms"]
        );
        assert_eq!(
            wrong(|groups| groups.consumer_heartbeat_interval_ms_min = Duration::from_secs(16)),
            ["groups.consumer_heartbeat_interval_ms_min"]
        );
        assert_eq!(
            wrong(|groups| groups.consumer_assignment_interval_ms = Duration::from_secs(16)),
            ["groups.consumer_assignment_interval_ms"]
        );
        let mut short = Config::default();
        short.groups.consumer_session_timeout_ms_min = seconds(1);
        short.groups.consumer_session_timeout_ms = seconds(10);
        assert_eq!(short.disagreements(), []);
    }

    #[test]
    fn assignors_are_listed_in_their_order_and_once() {
        let key = keys().find(|key| key.path() == "groups.consumer_assignors").unwrap();
        for (text, expect) in [
            ("range", Some("\"range\"")),
            ("range, uniform", Some("\"range,uniform\"")),
            ("", None),
            ("range,", None),
            ("range,range", None),
            ("sticky", None),
        ] {
            let mut config = Config::default();
            let shown = (key.set)(&mut config, text).then(|| key.show(&config));
            assert_eq!(shown.as_deref(), expect, "{text:?}");
        }
    }

    #[test]
    fn names_are_distinct_in_every_source() {
        let mut seen = HashSet::new();
        for key in keys() {
            assert!(seen.insert(key.variable()), "{}", key.variable());
            assert!(!key.help().is_empty() && !key.allowed().is_empty());
        }
    }

    #[test]
    fn the_largest_broker_id_fits_the_wire() {
        let largest = u64::from(NODE_ID_MAX) * 1024 + 1023;
        assert!(i32::try_from(largest).is_ok());
    }
}
