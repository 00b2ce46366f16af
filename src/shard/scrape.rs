//! What the admin port shows of one shard: its counters and what it holds, as plain values that may cross.
//!
//! Read on the shard itself, when somebody asks; nothing is kept for it in between.

use super::Shard;
use super::coordinators::GroupsReading;
use super::request::PartitionKey;
use crate::log::{FaultKind, LogFault, Partition};
use crate::probe::{ApiReading, Budget, FrontReading, HistogramReading};
use crate::runtime;
use crate::types::Offset;
use std::sync::Arc;
use std::time::Duration;

/// Partitions that are read in one turn of the core.
const PARTITIONS_PER_TURN: usize = 128;

/// One shard, at one moment.
#[derive(Clone, Debug)]
pub struct ShardReading {
    /// In the order of `probe::COUNTERS`.
    pub counters: Vec<u64>,
    pub apis: Vec<ApiReading>,
    /// API key, error code, how often.
    pub errors: Vec<(i16, i16, u64)>,
    /// In nanoseconds.
    pub commit_duration: HistogramReading,
    pub commit_bytes: HistogramReading,
    /// Time that this core's thread has spent on anything but waiting.
    pub busy: Duration,
    pub front: FrontReading,
    pub pending: Budget,
    pub tail_cache: Budget,
    pub segment_files: Budget,
    pub mailbox_backlog: usize,
    pub mailbox_calls: usize,
    pub partitions: usize,
    /// Offline partitions, for each kind of fault by its name.
    pub offline: Vec<(&'static str, usize)>,
    pub unopened: usize,
    pub scanned_bytes: u64,
    /// What a start after a crash would scan now.
    pub unsaved_bytes: u64,
    /// As many as were asked for, in the order of their keys.
    pub logs: Vec<LogReading>,
    pub groups: GroupsReading,
}

/// One partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReading {
    pub topic: Arc<str>,
    pub index: i32,
    pub start: Offset,
    pub end: Offset,
    pub bytes: u64,
}

/// The partitions of one shard that something is wrong with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultsReading {
    /// As many as were asked for, in the order of their keys.
    pub faults: Vec<FaultReading>,
    /// How many there are beside.
    pub left_out: usize,
    /// Partitions that are not open yet, so that nobody knows.
    pub unopened: usize,
}

/// What is wrong with one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultReading {
    pub topic: Arc<str>,
    pub index: i32,
    /// What clients may still do: nothing when `offline`, read when `read_only` or `full`.
    pub state: &'static str,
    /// As metrics name it.
    pub kind: &'static str,
    pub operation: &'static str,
    pub path: String,
    pub position: u64,
    pub reason: String,
    pub remedy: &'static str,
}

impl FaultReading {
    fn of(partition: &Partition, fault: &LogFault) -> FaultReading {
        let state = match partition.read_fault() {
            Some(_) => "offline",
            None if fault.kind == FaultKind::StorageFull => "full",
            None => "read_only",
        };
        let kind = FaultKind::ALL.into_iter().find(|(kind, _)| *kind == fault.kind);
        FaultReading {
            topic: partition.id.topic.clone(),
            index: partition.id.index,
            state,
            kind: kind.map_or("", |(_, name)| name),
            operation: fault.operation,
            path: fault.path().display().to_string(),
            position: fault.position,
            reason: fault.reason.clone(),
            remedy: fault.remedy(),
        }
    }
}

impl Shard {
    pub(super) async fn read_all(&self, partitions_max: usize) -> ShardReading {
        let logs = self.read_logs(partitions_max).await;
        let groups = match self.coordinators() {
            Some(coordinators) => coordinators.read(partitions_max).await,
            None => GroupsReading::default(),
        };
        let (probe, log) = (&self.probe, &self.log);
        let front = self.front.borrow();
        ShardReading {
            counters: probe.counters(),
            apis: probe.apis.read(),
            errors: probe.errors.read(),
            commit_duration: probe.commit_duration.read(),
            commit_bytes: probe.commit_bytes.read(),
            busy: runtime::busy_time(),
            front: front.as_ref().map(|read| read()).unwrap_or_default(),
            pending: Budget { used: log.pending_bytes(), limit: log.options.pending_bytes_max },
            tail_cache: Budget { used: log.cached_bytes(), limit: log.options.tail_cache_bytes },
            segment_files: Budget { used: log.files_held(), limit: log.options.files_open_max },
            mailbox_backlog: self.mailbox.backlog(),
            mailbox_calls: self.mailbox.calls_waiting(),
            partitions: self.partition_count(),
            offline: log.offline().to_vec(),
            unopened: self.opening.len(),
            scanned_bytes: self.opening.scanned_bytes(),
            unsaved_bytes: log.unsaved_bytes(),
            logs,
            groups,
        }
    }

    /// Where partitions of this core end; none for one that is not served, or not opened yet.
    pub(super) async fn ends(&self, keys: &[PartitionKey]) -> Vec<Option<Offset>> {
        let mut ends = Vec::with_capacity(keys.len());
        for some in keys.chunks(PARTITIONS_PER_TURN) {
            ends.extend(some.iter().map(|key| {
                let partition = self.partition(*key).ok()?;
                partition.read_fault().is_none().then(|| partition.high_watermark())
            }));
            runtime::yield_if_needed().await;
        }
        ends
    }

    /// Partitions of this core that are offline, or serve reads only.
    pub(super) async fn read_faults(&self, faults_max: usize) -> FaultsReading {
        let mut reading = FaultsReading::default();
        for (at, partition) in self.partitions().into_iter().enumerate() {
            if at % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1 {
                runtime::yield_now().await;
            }
            let Some(fault) = partition.fault() else { continue };
            if reading.faults.len() < faults_max {
                reading.faults.push(FaultReading::of(&partition, &fault));
            } else {
                reading.left_out += 1;
            }
        }
        reading.unopened = self.opening.len();
        reading
    }

    async fn read_logs(&self, partitions_max: usize) -> Vec<LogReading> {
        let mut logs = Vec::new();
        if partitions_max == 0 {
            return logs;
        }
        for partition in self.partitions().into_iter().take(partitions_max) {
            if logs.len() % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1 {
                runtime::yield_now().await;
            }
            logs.push(LogReading {
                topic: partition.id.topic.clone(),
                index: partition.id.index,
                start: partition.log_start(),
                end: partition.high_watermark(),
                bytes: partition.log_bytes(),
            });
        }
        logs
    }
}
