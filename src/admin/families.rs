//! Which metrics there are: each is declared once, with its name, its text and how it is read. Pure, but for
//! giving way to others between the shards.
//!
//! The counters of `probe` come first, from their declarations there. docs/METRICS.md shows all of them. What
//! another part of the broker has to tell is one more field of `ShardReading`, filled by the shard that knows
//! it, and one more line here.

use super::exposition::{Format, Kind, Labels, Number, Page};
use crate::limits::{
    ADMIN_GROUP_NAME_BYTES_MAX, ADMIN_GROUPS_MAX, ADMIN_OFFSETS_MAX, ADMIN_PARTITIONS_MAX,
};
use crate::probe::{Budget, COUNTERS, HistogramReading};
use crate::runtime::{self, ProcessUsage, VolumeSpace};
use crate::shard::coordinators::OffsetReading;
use crate::shard::scrape::{LogReading, ShardReading};
use crate::types::{ShardId, Timestamp};
use crate::wire::{ApiKey, ErrorCode};
use std::fmt::Display;

const NANOSECONDS: f64 = 1e9;

/// As the texts below say.
const _: () = assert!(ADMIN_GROUPS_MAX == 1000 && ADMIN_OFFSETS_MAX == 100_000);
const _: () = assert!(ADMIN_PARTITIONS_MAX == 10_000 && ADMIN_GROUP_NAME_BYTES_MAX == 256);

/// What is known of the process.
#[derive(Clone, Copy, Debug)]
pub struct HostReading {
    pub started: Timestamp,
    pub usage: ProcessUsage,
    /// The volume of the data directory.
    pub volume: Option<VolumeSpace>,
}

/// All that a page shows. A shard that has not answered has no reading.
#[derive(Clone, Debug)]
pub struct Scraped {
    pub host: HostReading,
    pub shards: Vec<(ShardId, Option<Box<ShardReading>>)>,
}

/// A metric as docs/METRICS.md has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: Vec<&'static str>,
    pub help: String,
}

struct Family {
    name: &'static str,
    kind: Kind,
    /// Beside the shard.
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
}

enum Read {
    /// Of the process.
    Host(fn(&HostReading, &mut Samples<'_>)),
    /// Of each shard, whether it has answered.
    Answered,
    /// One value of each shard.
    Value(fn(&ShardReading) -> Number),
    /// Several of each shard, by label.
    Labelled(fn(&ShardReading, &mut Samples<'_>)),
}

/// Where the samples of one metric, and of one shard if it has one, go.
struct Samples<'a> {
    page: &'a mut Page,
    name: &'static str,
    shard: Option<ShardId>,
}

impl Samples<'_> {
    fn add(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        let Samples { page, name, shard } = self;
        with_shard(*shard, labels, |labels| page.sample(name, labels, value.into()));
    }

    fn add_histogram(
        &mut self,
        labels: Labels<'_>,
        reading: &HistogramReading,
        is_fine: bool,
        unit: f64,
    ) {
        let Samples { page, name, shard } = self;
        with_shard(*shard, labels, |labels| page.histogram(name, labels, reading, is_fine, unit));
    }
}

fn with_shard(shard: Option<ShardId>, labels: Labels<'_>, write: impl FnOnce(Labels<'_>)) {
    let Some(shard) = shard else { return write(labels) };
    let number = shard.0;
    let mut all: Vec<(&'static str, &dyn Display)> = vec![("shard", &number)];
    all.extend_from_slice(labels);
    write(&all);
}

/// Every metric there is, in the order of a page.
pub fn descriptions() -> Vec<Description> {
    let mut all: Vec<Description> = Vec::new();
    for counter in COUNTERS {
        if all.last().is_none_or(|last| last.name != counter.name) {
            let label = counter.label.map(|(label, _)| label);
            let labels = std::iter::once("shard").chain(label).collect();
            let (name, kind, help) = (counter.name, Kind::Counter, counter.help());
            all.push(Description { name, kind, labels, help });
        }
    }
    all.extend(FAMILIES.iter().map(|family| {
        let is_of_a_shard = !matches!(family.read, Read::Host(_));
        let labels =
            is_of_a_shard.then_some("shard").into_iter().chain(family.labels.iter().copied());
        let Family { name, kind, help, .. } = family;
        Description { name, kind: *kind, labels: labels.collect(), help: (*help).into() }
    }));
    all
}

/// Writes a page, giving way to others between the shards: with many of them it takes milliseconds.
pub async fn write(scraped: &Scraped, format: Format) -> String {
    let mut page = Page::new(format);
    let answered =
        || scraped.shards.iter().filter_map(|(id, reading)| Some((*id, reading.as_deref()?)));
    let mut begun = "";
    for (at, counter) in COUNTERS.iter().enumerate() {
        if std::mem::replace(&mut begun, counter.name) != counter.name {
            page.begin(counter.name, Kind::Counter, &counter.help());
        }
        let label = counter.label.as_ref().map(|(name, value)| (*name, value as &dyn Display));
        for (shard, reading) in answered() {
            let mut samples = Samples { page: &mut page, name: counter.name, shard: Some(shard) };
            samples.add(label.as_slice(), reading.counters[at]);
        }
    }
    for family in FAMILIES {
        page.begin(family.name, family.kind, family.help);
        let mut samples = Samples { page: &mut page, name: family.name, shard: None };
        match family.read {
            Read::Host(read) => read(&scraped.host, &mut samples),
            Read::Answered => {
                for (shard, reading) in &scraped.shards {
                    samples.shard = Some(*shard);
                    samples.add(&[], reading.is_some());
                }
            }
            Read::Value(read) => {
                for (shard, reading) in answered() {
                    samples.shard = Some(shard);
                    samples.add(&[], read(reading));
                }
            }
            Read::Labelled(read) => {
                for (shard, reading) in answered() {
                    runtime::yield_if_needed().await;
                    samples.shard = Some(shard);
                    read(reading, &mut samples);
                }
            }
        }
    }
    page.finish()
}

// ---------------------------------------------------------------- the metrics

const fn host(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&HostReading, &mut Samples<'_>),
) -> Family {
    Family { name, kind, labels: &[], help, read: Read::Host(read) }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    read: fn(&ShardReading) -> Number,
) -> Family {
    Family { name, kind: Kind::Gauge, labels: &[], help, read: Read::Value(read) }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    read: fn(&ShardReading) -> Number,
) -> Family {
    Family { name, kind: Kind::Counter, labels: &[], help, read: Read::Value(read) }
}

const fn labelled(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&ShardReading, &mut Samples<'_>),
) -> Family {
    Family { name, kind, labels, help, read: Read::Labelled(read) }
}

static FAMILIES: &[Family] = &[
    labelled(
        "corelog_requests_total",
        Kind::Counter,
        &["api"],
        "Requests of clients that were started, by API.",
        |reading, out| {
            for api in &reading.apis {
                out.add(&[("api", &api_name(api.key))], api.requests);
            }
        },
    ),
    labelled(
        "corelog_request_errors_total",
        Kind::Counter,
        &["api", "error"],
        "Error codes in answers, each as often as an answer says it: one answer may name many partitions.",
        |reading, out| {
            for (key, code, count) in &reading.errors {
                let labels: Labels<'_> = &[("api", &api_name(*key)), ("error", &error_name(*code))];
                out.add(labels, *count);
            }
        },
    ),
    labelled(
        "corelog_request_duration_seconds",
        Kind::Histogram,
        &["api"],
        "From when a request had arrived as a whole until its answer was next to be sent. Of a fetch that waits \
         for records, the wait is part.",
        |reading, out| {
            for api in &reading.apis {
                // Four buckets for each doubling of these, one of the others.
                let is_fine =
                    [ApiKey::Produce, ApiKey::Fetch].map(ApiKey::to_i16).contains(&api.key);
                let labels: Labels<'_> = &[("api", &api_name(api.key))];
                out.add_histogram(labels, &api.duration, is_fine, NANOSECONDS);
            }
        },
    ),
    labelled(
        "corelog_commit_duration_seconds",
        Kind::Histogram,
        &[],
        "A commit's write to a segment file and, with durability fsync, its sync.",
        |reading, out| out.add_histogram(&[], &reading.commit_duration, true, NANOSECONDS),
    ),
    labelled(
        "corelog_commit_size_bytes",
        Kind::Histogram,
        &[],
        "Bytes of batches that one commit wrote.",
        |reading, out| out.add_histogram(&[], &reading.commit_bytes, false, 1.0),
    ),
    counter(
        "corelog_shard_busy_seconds_total",
        "Time that the shard's thread has spent on anything but waiting for something to do.",
        |reading| reading.busy.as_secs_f64().into(),
    ),
    Family {
        name: "corelog_shard_up",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 when the shard has answered this scrape in time; when not, its other series are missing.",
        read: Read::Answered,
    },
    gauge("corelog_connections", "Connections of clients.", |reading| {
        reading.front.connections.into()
    }),
    gauge(
        "corelog_connections_limit",
        "Connections that are allowed (connections_max).",
        |reading| reading.front.connections_max.into(),
    ),
    labelled(
        "corelog_memory_used_bytes",
        Kind::Gauge,
        &["budget"],
        "Memory that each budget holds: requests that arrive, batches on their way to the disk, answers that are \
         not sent, fetch sessions, the tail cache, and groups with their offsets.",
        |reading, out| {
            for (name, budget) in budgets(reading) {
                out.add(&[("budget", &name)], budget.used);
            }
        },
    ),
    labelled(
        "corelog_memory_limit_bytes",
        Kind::Gauge,
        &["budget"],
        "Memory that each budget may hold. At it clients wait, save that the tail cache drops its oldest, and that \
         groups take no new members and offsets.",
        |reading, out| {
            for (name, budget) in budgets(reading) {
                out.add(&[("budget", &name)], budget.limit);
            }
        },
    ),
    gauge("corelog_fetch_sessions", "Incremental fetch sessions (KIP-227).", |reading| {
        reading.front.session_count.into()
    }),
    gauge("corelog_mailbox_backlog", "Messages to other shards that wait to leave.", |reading| {
        reading.mailbox_backlog.into()
    }),
    gauge(
        "corelog_mailbox_calls",
        "Requests to other shards that wait for their answer.",
        |reading| reading.mailbox_calls.into(),
    ),
    gauge("corelog_segment_files_open", "Segment files held open.", |reading| {
        reading.segment_files.used.into()
    }),
    gauge(
        "corelog_segment_files_open_limit",
        "Segment files that may be held open (open_files_max). At it the longest unused is closed.",
        |reading| reading.segment_files.limit.into(),
    ),
    gauge("corelog_partitions", "Partitions that the shard owns.", |reading| {
        reading.partitions.into()
    }),
    labelled(
        "corelog_partitions_offline",
        Kind::Gauge,
        &["reason"],
        "Partitions that are not served, or, with a full disk, not written.",
        |reading, out| {
            for (reason, count) in &reading.offline {
                out.add(&[("reason", reason)], *count);
            }
        },
    ),
    gauge(
        "corelog_partitions_unopened",
        "Partitions that this start has not opened yet; whoever asks for one has it opened first.",
        |reading| reading.unopened.into(),
    ),
    counter(
        "corelog_recovery_scanned_bytes_total",
        "Bytes of log that were read again to open partitions.",
        |reading| reading.scanned_bytes.into(),
    ),
    gauge(
        "corelog_recovery_unsaved_bytes",
        "Bytes of log that a start after a crash would read again now (recovery_scan_bytes_max bounds them).",
        |reading| reading.unsaved_bytes.into(),
    ),
    labelled(
        "corelog_partition_size_bytes",
        Kind::Gauge,
        &["topic", "partition"],
        "Bytes of a partition's segments (with metrics_per_partition only).",
        |reading, out| each_log(reading, out, |log| log.bytes),
    ),
    labelled(
        "corelog_partition_start_offset",
        Kind::Gauge,
        &["topic", "partition"],
        "First offset of a partition's log (with metrics_per_partition only).",
        |reading, out| each_log(reading, out, |log| log.start.0.unsigned_abs()),
    ),
    labelled(
        "corelog_partition_end_offset",
        Kind::Gauge,
        &["topic", "partition"],
        "The offset after the last committed record of a partition (with metrics_per_partition only).",
        |reading, out| each_log(reading, out, |log| log.end.0.unsigned_abs()),
    ),
    labelled(
        "corelog_group_coordinators",
        Kind::Gauge,
        &["state"],
        "Partitions of __consumer_offsets, whose groups this shard looks after: loading while they are read, failed \
         when they cannot be read or written.",
        |reading, out| {
            for (state, count) in &reading.groups.coordinators {
                out.add(&[("state", state)], *count);
            }
        },
    ),
    labelled(
        "corelog_groups",
        Kind::Gauge,
        &["protocol", "state"],
        "Groups by the protocol that their members use and by their state.",
        |reading, out| {
            for (protocol, state, count) in &reading.groups.counts {
                out.add(&[("protocol", protocol), ("state", state)], *count);
            }
        },
    ),
    labelled(
        "corelog_groups_members",
        Kind::Gauge,
        &["protocol"],
        "Members of all groups by protocol.",
        |reading, out| {
            for (protocol, count) in &reading.groups.members {
                out.add(&[("protocol", protocol)], *count);
            }
        },
    ),
    gauge(
        "corelog_groups_left_out",
        "Groups that have no metrics of their own, because there are more than 1000 on the shard, or because they \
         have more than 100000 offsets, or a name of more than 256 bytes.",
        |reading| reading.groups.left_out.into(),
    ),
    labelled(
        "corelog_group_members",
        Kind::Gauge,
        &["group"],
        "Members of a group.",
        |reading, out| {
            for group in &reading.groups.groups {
                out.add(&[("group", &group.name)], group.members);
            }
        },
    ),
    labelled(
        "corelog_group_lag_records",
        Kind::Gauge,
        &["group"],
        "Records between what a group has committed and the ends of the partitions, all together. Partitions that \
         are offline or not opened yet do not count.",
        |reading, out| {
            for group in &reading.groups.groups {
                group.lag.iter().for_each(|lag| out.add(&[("group", &group.name)], lag.sum));
            }
        },
    ),
    labelled(
        "corelog_group_lag_records_max",
        Kind::Gauge,
        &["group"],
        "The same of the one partition where they are the most.",
        |reading, out| {
            for group in &reading.groups.groups {
                group.lag.iter().for_each(|lag| out.add(&[("group", &group.name)], lag.max));
            }
        },
    ),
    labelled(
        "corelog_group_committed_offset",
        Kind::Gauge,
        &["group", "topic", "partition"],
        "What a group has committed for a partition (with metrics_per_partition only).",
        |reading, out| {
            each_offset(reading, out, |offset| Some(offset.committed.0.max(0).unsigned_abs()));
        },
    ),
    labelled(
        "corelog_group_partition_lag_records",
        Kind::Gauge,
        &["group", "topic", "partition"],
        "Records between what a group has committed and the end of a partition (with metrics_per_partition only).",
        |reading, out| each_offset(reading, out, |offset| offset.lag),
    ),
    gauge(
        "corelog_group_offsets_left_out",
        "Offsets of groups with metrics that have none of their own, because there are more than 10000 on the shard \
         (with metrics_per_partition only).",
        |reading| reading.groups.offsets_left_out.into(),
    ),
    Family {
        name: "corelog_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "1; the version that runs is its label.",
        read: Read::Host(|_, out| out.add(&[("version", &env!("CARGO_PKG_VERSION"))], 1u64)),
    },
    host(
        "corelog_process_start_time_seconds",
        Kind::Gauge,
        "When the process started, in seconds since 1970.",
        |host, out| out.add(&[], host.started.0 as f64 / 1000.0),
    ),
    host(
        "corelog_process_resident_memory_bytes",
        Kind::Gauge,
        "Memory that the process takes.",
        |host, out| out.add(&[], host.usage.resident_bytes),
    ),
    host(
        "corelog_process_cpu_seconds_total",
        Kind::Counter,
        "CPU time of all threads, in the kernel too.",
        |host, out| out.add(&[], host.usage.cpu.as_secs_f64()),
    ),
    host(
        "corelog_volume_size_bytes",
        Kind::Gauge,
        "Size of the volume of the data directory.",
        |host, out| host.volume.iter().for_each(|volume| out.add(&[], volume.total_bytes)),
    ),
    host(
        "corelog_volume_free_bytes",
        Kind::Gauge,
        "What is free of the volume of the data directory.",
        |host, out| host.volume.iter().for_each(|volume| out.add(&[], volume.usable_bytes)),
    ),
];

fn budgets(reading: &ShardReading) -> [(&'static str, Budget); 6] {
    [
        ("arriving", reading.front.arriving),
        ("pending", reading.pending),
        ("answers", reading.front.answers),
        ("sessions", reading.front.sessions),
        ("tail_cache", reading.tail_cache),
        ("groups", reading.groups.memory),
    ]
}

fn each_log(reading: &ShardReading, out: &mut Samples<'_>, value: fn(&LogReading) -> u64) {
    for log in &reading.logs {
        out.add(&[("topic", &log.topic), ("partition", &log.index)], value(log));
    }
}

fn each_offset(
    reading: &ShardReading,
    out: &mut Samples<'_>,
    value: fn(&OffsetReading) -> Option<u64>,
) {
    for group in &reading.groups.groups {
        for offset in &group.offsets {
            let labels: Labels<'_> =
                &[("group", &group.name), ("topic", &offset.topic), ("partition", &offset.index)];
            value(offset).iter().for_each(|value| out.add(labels, *value));
        }
    }
}

fn api_name(key: i16) -> &'static str {
    ApiKey::from_i16(key).map_or("unknown", ApiKey::name)
}

fn error_name(code: i16) -> &'static str {
    ErrorCode::from_i16(code).map_or("unknown", ErrorCode::name)
}
