//! What a run says of itself: written as JSON, and all that the other reports are made of. Plain data.

use crate::histogram::{Latencies, Packed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Grows when old readers would misunderstand.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub format: u32,
    /// What the user calls the run: "corelog", "kafka".
    pub label: String,
    /// Why the numbers do not count; none when they do. The first line of every report.
    pub invalid: Vec<String>,
    /// What a reader should know although the run counts.
    pub remarks: Vec<String>,
    /// What was asked for, setting by setting: runs whose work differs are not comparable.
    pub work: BTreeMap<String, String>,
    pub environment: Environment,
    /// Length of the measured time, after the warm-up, in seconds.
    pub seconds: f64,
    pub produced: Option<Flow>,
    pub consumed: Option<Flow>,
    /// From a record's planned time (open loop) or its sending (closed loop) to its acknowledgement.
    pub acknowledge: Latencies,
    /// From the same moment to the record's arrival in a consumer.
    pub end_to_end: Latencies,
    /// How late the generator itself was: from when a batch could have been sent to when it was.
    pub generator_lag: Latencies,
    pub intervals: Vec<Interval>,
    pub broker: Option<ProcessUse>,
    pub generator: ProcessUse,
    pub device: Option<DeviceUse>,
    pub verified: Option<Verified>,
    /// What the machine allows, measured in the same run.
    pub limits: Vec<Limit>,
}

/// Records one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Records per second that were planned; none for as fast as possible.
    pub rate_planned: Option<f64>,
    pub records: u64,
    /// Bytes of keys and values.
    pub payload_bytes: u64,
    /// Bytes of batches as on the wire.
    pub batch_bytes: u64,
    pub batches: u64,
    pub requests: u64,
    pub errors: u64,
    pub retries: u64,
    /// Records planned but not yet acknowledged (or written but not yet read), at the end.
    pub backlog: u64,
    /// Time that brokers asked to wait (throttle_time_ms), in seconds.
    pub throttled_seconds: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// RFC 3339, UTC.
    pub started_at: String,
    pub command_line: String,
    pub generator_version: String,
    /// Of the sources that the generator was built from, or "unknown".
    pub commit: String,
    pub host: Host,
    pub broker: BrokerFacts,
    pub loop_kind: LoopKind,
    pub acks: String,
    /// Threads, CPUs and bounds of the generator.
    pub generator_limits: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopKind {
    /// Planned times: latency runs from the plan.
    #[default]
    Open,
    /// As fast as acknowledged: latency runs from the sending, and hides waiting.
    Closed,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub cpu_model: String,
    pub cpus: usize,
    pub kernel: String,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerFacts {
    pub bootstrap: String,
    pub brokers: usize,
    /// "corelog 0.1.0", "Apache Kafka 4.3", or "unknown".
    pub version: String,
    pub durability: Fact,
    pub replication: i32,
    /// Of its data directory where that is on this host, else "unknown".
    pub filesystem: String,
    pub device: String,
    /// CPUs that the broker may use, where it is on this host.
    pub cpus: String,
}

/// Something the broker said itself, or the user declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub value: String,
    pub is_declared: bool,
}

/// One stretch of the measured time, a second as a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Since the measured time began.
    pub start_seconds: f64,
    pub seconds: f64,
    pub planned_records: u64,
    pub produced_records: u64,
    pub produced_bytes: u64,
    pub consumed_records: u64,
    pub consumed_bytes: u64,
    /// At its end.
    pub backlog_records: u64,
    pub consumer_lag_records: u64,
    pub errors: u64,
    pub retries: u64,
    pub acknowledge: Packed,
    pub end_to_end: Packed,
    pub broker_cpu_seconds: Option<f64>,
    pub broker_memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessUse {
    pub pid: u32,
    /// User and system, over the measured time.
    pub cpu_seconds: f64,
    pub peak_memory_bytes: u64,
    /// What the process made the kernel write to devices, where the kernel tells.
    pub device_written_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceUse {
    pub name: String,
    pub written_bytes: u64,
    pub writes: u64,
    pub flushes: u64,
}

/// What checking every record found. All but `records` must be zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    pub records: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub damaged: u64,
    /// Records of other runs, or not ours.
    pub foreign: u64,
    /// The first few faults, in words.
    pub examples: Vec<String>,
}

/// A ceiling: "TCP sink" or "disk, 128 KiB direct writes, O_DSYNC".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub name: String,
    pub bytes_per_second: f64,
    pub how: String,
}
