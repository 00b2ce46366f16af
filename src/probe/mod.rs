//! What one shard counts: plain cells that only its own core touches, read when somebody asks.
//!
//! Nothing here is shared between cores, waits, or allocates while it counts (but for the first error of a
//! kind). A counter is declared once, below, with its name and text; from that line come the cell, the metric
//! and its place in docs/METRICS.md.

mod histogram;

pub use histogram::{DurationHistogram, Histogram, HistogramReading, SizeHistogram};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A counter's metric. Those of one name stand side by side and differ in their label.
#[derive(Clone, Copy, Debug)]
pub struct CounterFamily {
    pub name: &'static str,
    pub label: Option<(&'static str, &'static str)>,
    /// The lines of documentation above its declaration.
    doc: &'static [&'static str],
}

impl CounterFamily {
    /// The documentation as one paragraph.
    pub fn help(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! label {
    () => {
        None
    };
    ($name:ident, $value:literal) => {
        Some((stringify!($name), $value))
    };
}

macro_rules! probe {
    ($(
        $(#[doc = $doc:literal])+
        $field:ident => $metric:literal $({ $label:ident = $value:literal })?;
    )+) => {
        /// What one shard counts.
        #[derive(Debug, Default)]
        pub struct Probe {
            $( $(#[doc = $doc])+ pub $field: Counter, )+
            pub apis: Apis,
            /// Error codes that clients were answered with.
            pub errors: Errors,
            /// Time of a commit's write and, as far as it is promised, sync.
            pub commit_duration: DurationHistogram,
            /// Bytes of log that a commit wrote.
            pub commit_bytes: SizeHistogram,
        }

        /// The plain counters' metrics, in the order of `Probe::counters`.
        pub const COUNTERS: &[CounterFamily] = &[$( CounterFamily {
            name: $metric,
            label: label!($($label, $value)?),
            doc: &[$($doc),+],
        }, )+];

        impl Probe {
            /// The plain counters, in the order of `COUNTERS`.
            pub fn counters(&self) -> Vec<u64> {
                vec![$( self.$field.get() ),+]
            }
        }
    };
}

probe! {
    /// Messages sent to another shard on behalf of a client: zero for data requests while clients follow
    /// Metadata in per-core mode.
    hops => "corelog_hops_total";
    /// Connections taken from a listener.
    connections_accepted => "corelog_connections_accepted_total";
    /// Connections that the broker closed: over the limit, for a request that cannot be read, or as idle or
    /// stalled.
    connections_over_limit => "corelog_connections_dropped_total" { reason = "limit" };
    /// As above.
    connections_bad_request => "corelog_connections_dropped_total" { reason = "bad_request" };
    /// As above.
    connections_overdue => "corelog_connections_dropped_total" { reason = "overdue" };
    /// Connections that have ended, whoever ended them.
    connections_closed => "corelog_connections_closed_total";
    /// Bytes read from clients' sockets.
    bytes_received => "corelog_received_bytes_total";
    /// Bytes written to clients' sockets.
    bytes_sent => "corelog_sent_bytes_total";
    /// Batches appended to logs.
    batches_appended => "corelog_appended_batches_total";
    /// Records appended to logs.
    records_appended => "corelog_appended_records_total";
    /// Bytes of batches appended to logs.
    bytes_appended => "corelog_appended_bytes_total";
    /// Bytes of batches that fetches were answered with.
    bytes_fetched => "corelog_fetched_bytes_total";
    /// Reads of records served from memory.
    tail_reads => "corelog_tail_cache_hits_total";
    /// Reads of records that had to go to a segment file.
    tail_misses => "corelog_tail_cache_misses_total";
    /// Reads of segment files.
    disk_reads => "corelog_disk_reads_total";
    /// Bytes read from segment files.
    disk_read_bytes => "corelog_disk_read_bytes_total";
    /// Segments begun because the one before was full or old.
    segments_rolled => "corelog_segments_rolled_total";
    /// Segments deleted by retention or DeleteRecords.
    segments_deleted => "corelog_segments_deleted_total";
    /// Times that recovery points were written: what bounds the scan of a start after a crash.
    recovery_points_saved => "corelog_recovery_points_saved_total";
    /// Partitions that the shard gave up to another while they were served.
    partitions_given_up => "corelog_partitions_given_up_total";
    /// Times that a partition was taken offline.
    faults => "corelog_partition_faults_total";
    /// Reads that ended at damage, or at what the device cannot read, in a partition that is online.
    read_faults => "corelog_read_faults_total";
    /// Assignments that groups were given: of the classic protocol when the leader's has come, of the consumer
    /// protocol (KIP-848) when the broker has made one.
    group_assignments_classic => "corelog_group_rebalances_total" { protocol = "classic" };
    /// As above.
    group_assignments_consumer => "corelog_group_rebalances_total" { protocol = "consumer" };
    /// Members that were removed from their group because nothing was heard of them for the session timeout.
    group_sessions_expired => "corelog_group_sessions_expired_total";
    /// Offsets that clients committed, one for each partition of a request.
    offsets_committed => "corelog_offset_commits_total";
    /// Offsets that were forgotten because their time was over.
    offsets_expired => "corelog_offset_expirations_total";
    /// Offsets that were removed by clients, or with their group or topic.
    offsets_deleted => "corelog_offset_deletions_total";
    /// Topics that a consumer group's regular expression matches and its members are not assigned, because the
    /// names of all that match are more than 512 KiB: counted at each search, which the log warns of.
    group_topics_left_out => "corelog_group_topics_left_out_total";
    /// Times that a consumer group kept its assignment because its topics have too many partitions for a new
    /// one, at each heartbeat. New partitions have no consumer meanwhile; the log warns of it.
    group_assignments_withheld => "corelog_group_assignments_withheld_total";
}

impl Probe {
    /// Requests of all APIs.
    pub fn requests(&self) -> u64 {
        self.apis.0.iter().map(|api| api.requests.get()).sum()
    }
}

/// API keys lie below this; those of Kafka's that are not served are never counted.
pub const API_KEYS_MAX: usize = 128;

/// Counts for each API, by its key.
#[derive(Debug)]
pub struct Apis(Box<[ApiProbe]>);

/// What is counted of one API.
#[derive(Debug, Default)]
pub struct ApiProbe {
    pub requests: Counter,
    /// From when a request was there as a whole until its answer was on its way into the socket's queue.
    pub duration: DurationHistogram,
}

impl Default for Apis {
    fn default() -> Apis {
        Apis((0..API_KEYS_MAX).map(|_| ApiProbe::default()).collect())
    }
}

impl Apis {
    /// `key`: one of Kafka's.
    #[inline]
    pub fn of(&self, key: i16) -> &ApiProbe {
        &self.0[key as usize]
    }

    /// The APIs that were asked for, by ascending key.
    pub fn read(&self) -> Vec<ApiReading> {
        let used = self.0.iter().enumerate().filter(|(_, api)| api.requests.get() > 0);
        let read = |(key, api): (usize, &ApiProbe)| ApiReading {
            key: key as i16,
            requests: api.requests.get(),
            duration: api.duration.read(),
        };
        used.map(read).collect()
    }
}

/// Error codes by API: both are Kafka's numbers, so there are few.
#[derive(Debug, Default)]
pub struct Errors(RefCell<BTreeMap<(i16, i16), u64>>);

impl Errors {
    pub fn add(&self, key: i16, code: i16, count: u64) {
        *self.0.borrow_mut().entry((key, code)).or_default() += count;
    }

    /// API key, error code, how often.
    pub fn read(&self) -> Vec<(i16, i16, u64)> {
        self.0.borrow().iter().map(|((key, code), count)| (*key, *code, *count)).collect()
    }
}

/// What was counted of one API, as plain values.
#[derive(Clone, Debug)]
pub struct ApiReading {
    pub key: i16,
    pub requests: u64,
    pub duration: HistogramReading,
}

/// A part of a shard's memory: what is used now and what is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    pub used: usize,
    pub limit: usize,
}

/// What the connections of one shard hold now.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrontReading {
    pub connections: usize,
    pub connections_max: usize,
    /// Requests that are arriving.
    pub arriving: Budget,
    /// Answers that are not sent yet.
    pub answers: Budget,
    /// Fetch sessions.
    pub sessions: Budget,
    pub session_count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_in_the_order_of_their_names() {
        let probe = Probe::default();
        probe.connections_overdue.add(7);
        let at = COUNTERS.iter().position(|family| family.label == Some(("reason", "overdue")));
        assert_eq!(probe.counters()[at.unwrap()], 7);
        assert_eq!(probe.counters().iter().sum::<u64>(), 7);
    }

    #[test]
    fn only_apis_that_were_asked_for_are_read() {
        let probe = Probe::default();
        probe.apis.of(3).requests.add(2);
        probe.apis.of(API_KEYS_MAX as i16 - 1).requests.add(1);
        let keys: Vec<i16> = probe.apis.read().iter().map(|api| api.key).collect();
        assert_eq!((keys, probe.requests()), (vec![3, 127], 3));
    }
}
