//! Counters of one shard: plain cells that only its own core touches, gathered on request.

use std::cell::Cell;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct Probe {
    pub connections_accepted: Counter,
    pub connections_closed: Counter,
    /// Connections closed because of what they sent.
    pub connections_refused: Counter,
    pub requests: Counter,
    /// Messages sent to another shard on behalf of a client's data request: zero when clients follow
    /// Metadata in per-core mode.
    pub hops: Counter,
    pub batches_appended: Counter,
    pub bytes_appended: Counter,
    /// Writes to segment files; batches per commit say how well commits gather.
    pub commits: Counter,
    pub bytes_committed: Counter,
    pub segments_rolled: Counter,
    pub segments_deleted: Counter,
    pub recovery_points_saved: Counter,
    pub tail_reads: Counter,
    pub disk_reads: Counter,
    pub disk_read_bytes: Counter,
    pub bytes_fetched: Counter,
    pub faults: Counter,
}
