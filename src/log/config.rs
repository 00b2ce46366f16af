//! What a partition's log needs to know of its topic's configuration. Plain values, shared by its
//! partitions; a change arrives as a new value.

use crate::limits::MESSAGE_BYTES_MAX_DEFAULT;
use crate::types::Durability;

/// A topic's settings as the log uses them. Names as Kafka's, unit last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is sealed before it would grow beyond this (segment.bytes).
    pub segment_bytes: u64,
    /// A segment is sealed when a batch is this much younger than its first (segment.ms).
    pub segment_ms: i64,
    /// Oldest segments go when the log is larger than this; -1 never (retention.bytes).
    pub retention_bytes: i64,
    /// Segments whose newest record is older go; -1 never (retention.ms).
    pub retention_ms: i64,
    /// Largest batch (max.message.bytes).
    pub message_bytes_max: usize,
    /// Bytes between index entries (index.interval.bytes).
    pub index_interval_bytes: u64,
    /// A segment is sealed when one of its indexes has this many bytes (segment.index.bytes).
    pub index_bytes_max: u64,
    /// The broker stamps records (message.timestamp.type=LogAppendTime).
    pub log_append_time: bool,
    /// How far in the past and the future a record's time may be (message.timestamp.{before,after}.max.ms).
    pub timestamp_before_ms_max: i64,
    pub timestamp_after_ms_max: i64,
    pub durability: Durability,
    /// What lies before damage is served, for reading only.
    pub serves_damaged: bool,
    /// Retention by time and size holds (cleanup.policy contains delete).
    pub deletes: bool,
    /// Records without a key are refused (cleanup.policy contains compact).
    pub compacted: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3600 * 1000,
            message_bytes_max: MESSAGE_BYTES_MAX_DEFAULT,
            index_interval_bytes: 4096,
            index_bytes_max: 10 << 20,
            log_append_time: false,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            durability: Durability::Fsync,
            serves_damaged: false,
            deletes: true,
            compacted: false,
        }
    }
}
