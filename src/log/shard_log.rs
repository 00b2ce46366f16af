//! What the partitions of one shard share: open files, the queue of partitions with something to write,
//! the writers that serve it, and the memory that pending and cached bytes take.
//!
//! Lives on one core; never holds a partition alive except while it has something to write.

use super::fault::FaultKind;
use super::file_cache::FileCache;
use super::maintenance::Garbage;
use super::partition::Partition;
use super::planted::{self, Bug};
use super::recovery_points::{PointKey, RecoveryPoint};
use crate::limits::{COMMIT_BYTES_MAX, FREE_PIECE_BYTES, RECOVERY_SCAN_BYTES_MAX};
use crate::probe::Probe;
use crate::runtime::{self, Line, Turn, Wakers};
use crate::types::{Offset, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// When recovery points are tried again that could not be written.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// Bounds of one shard's log, from the configuration.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub data_directory: PathBuf,
    /// Writes in flight at most, each of another partition.
    pub writers: usize,
    pub files_open_max: usize,
    /// Memory for the tail caches of all partitions.
    pub tail_cache_bytes: usize,
    /// Bytes dispatched but not committed, beyond which connections stop reading.
    pub pending_bytes_max: usize,
    /// Idempotent producers idle for longer are forgotten (producer.id.expiration.ms).
    pub producer_expiration_ms: i64,
    /// Indexes of sealed segments held in memory at most.
    pub sealed_indexes_max: usize,
    /// Longest single write, but for a batch that is longer.
    pub commit_bytes_max: usize,
    /// Names this shard's file of recovery points.
    pub shard: u16,
    /// Bytes that a start after a crash reads again at most. At it, connections stop reading until what was
    /// written is written down as complete.
    pub recovery_scan_bytes_max: u64,
    /// Bytes of log after which its index is written on: what recovery points may be ahead of it.
    pub index_step_bytes: u64,
    /// How often segments to delete are looked for (log.retention.check.interval.ms).
    pub retention_check: Duration,
    /// Tasks that seal, prepare, delete and write indexes. What they sync and free is on the device that commits
    /// wait for: with three rolls and deletions a second, four tasks brought produce's p99.9 from 24 to 98 ms, two
    /// to 39, one to 22 (medians, perf/housekeeping).
    pub housekeepers: usize,
    /// Bytes by which files are cut that are to be freed.
    pub free_piece_bytes: u64,
}

impl LogOptions {
    pub fn new(data_directory: PathBuf) -> LogOptions {
        LogOptions {
            data_directory,
            writers: 32,
            files_open_max: 256,
            tail_cache_bytes: 64 << 20,
            pending_bytes_max: 64 << 20,
            producer_expiration_ms: 24 * 3600 * 1000,
            sealed_indexes_max: 64,
            commit_bytes_max: COMMIT_BYTES_MAX,
            shard: 0,
            recovery_scan_bytes_max: RECOVERY_SCAN_BYTES_MAX,
            index_step_bytes: 4 << 20,
            retention_check: Duration::from_mins(5),
            housekeepers: 1,
            free_piece_bytes: FREE_PIECE_BYTES,
        }
    }
}

/// The log side of one shard.
pub struct ShardLog {
    pub options: LogOptions,
    pub probe: Rc<Probe>,
    pub(super) files: FileCache,
    dirty: RefCell<VecDeque<Rc<Partition>>>,
    /// Writers with nothing to do, each once.
    idle_writers: RefCell<Vec<(usize, Waker)>>,
    /// One entry per cached chunk, oldest first: its partition, and that one's number.
    cached: RefCell<VecDeque<(u64, Weak<Partition>)>>,
    /// Bytes cached per partition that has any.
    cached_of: RefCell<HashMap<u64, usize>>,
    cached_bytes: Cell<usize>,
    pending_bytes: Cell<usize>,
    relieved: Wakers,
    sealed_indexes: RefCell<VecDeque<(Weak<Partition>, Offset)>>,
    partitions_made: Cell<u64>,
    /// All partitions, by number.
    partitions: RefCell<BTreeMap<u64, Weak<Partition>>>,
    chores: RefCell<VecDeque<Weak<Partition>>>,
    housekeepers: Line,
    garbage: RefCell<VecDeque<Garbage>>,
    stuck_garbage: RefCell<Vec<Garbage>>,
    is_freeing: Cell<bool>,
    freer: Line,
    /// What the last start knew of partitions that are not open yet.
    points: RefCell<HashMap<PointKey, RecoveryPoint>>,
    /// Bytes committed since the recovery points were written.
    unsaved_bytes: Cell<u64>,
    /// The recovery points could not be written: the bound does not hold, but the broker goes on.
    is_unbounded: Cell<bool>,
    saver: Line,
    /// Recovery points are written by one at a time.
    pub rounds: Turn,
    /// Offline partitions, in the order of `FaultKind::ALL`.
    offline: [Cell<usize>; FaultKind::ALL.len()],
}

impl ShardLog {
    pub fn new(options: LogOptions, probe: Rc<Probe>) -> Rc<ShardLog> {
        let files = FileCache::new(options.files_open_max);
        Rc::new(ShardLog {
            options,
            probe,
            files,
            dirty: RefCell::default(),
            idle_writers: RefCell::default(),
            cached: RefCell::default(),
            cached_of: RefCell::default(),
            cached_bytes: Cell::new(0),
            pending_bytes: Cell::new(0),
            relieved: Wakers::default(),
            sealed_indexes: RefCell::default(),
            partitions_made: Cell::new(0),
            partitions: RefCell::default(),
            chores: RefCell::default(),
            housekeepers: Line::default(),
            garbage: RefCell::default(),
            stuck_garbage: RefCell::default(),
            is_freeing: Cell::default(),
            freer: Line::default(),
            points: RefCell::default(),
            unsaved_bytes: Cell::new(0),
            is_unbounded: Cell::new(false),
            saver: Line::default(),
            rounds: Turn::default(),
            offline: Default::default(),
        })
    }

    /// Starts the writers: long-lived tasks, so that a commit spawns nothing.
    pub fn start_writers(self: &Rc<Self>) {
        for writer in 0..self.options.writers {
            let shard = self.clone();
            drop(runtime::spawn(async move {
                loop {
                    shard.bounded().await;
                    let partition = shard.next_dirty(writer).await;
                    partition.commit_next().await;
                }
            }));
        }
        for _ in 0..self.options.housekeepers {
            let shard = self.clone();
            drop(runtime::spawn_background(async move {
                loop {
                    let due = || shard.chores.borrow_mut().pop_front();
                    let partition = shard.housekeepers.wait(due).await;
                    if let Some(partition) = partition.upgrade() {
                        partition.keep_house().await;
                    }
                }
            }));
        }
        drop(runtime::spawn_background(self.clone().save_when_due()));
        drop(runtime::spawn_background(self.clone().retain_when_due()));
        drop(runtime::spawn_background(self.clone().free_when_due()));
        drop(runtime::spawn_background(self.clone().relieve_when_due()));
    }

    /// Puts a partition in line whose files want something beside a commit.
    pub(super) fn add_chores(&self, partition: &Rc<Partition>) {
        self.chores.borrow_mut().push_back(Rc::downgrade(partition));
        self.housekeepers.wake_first();
    }

    pub(super) fn add_garbage(&self, garbage: Garbage) {
        self.garbage.borrow_mut().push_back(garbage);
        self.freer.wake_first();
    }

    pub(super) async fn next_garbage(&self) -> Garbage {
        self.is_freeing.set(false);
        let garbage = self.freer.wait(|| self.garbage.borrow_mut().pop_front()).await;
        self.is_freeing.set(true);
        garbage
    }

    /// What could not be freed is tried again with the next look of retention.
    pub(super) fn keep_garbage(&self, garbage: Garbage) {
        self.stuck_garbage.borrow_mut().push(garbage);
    }

    pub(super) fn free_stuck_garbage(&self) {
        for garbage in self.stuck_garbage.take() {
            self.add_garbage(garbage);
        }
    }

    /// Whether space of what was deleted is still to be given back, but for what could not be.
    pub fn is_freeing(&self) -> bool {
        self.is_freeing.get() || !self.garbage.borrow().is_empty()
    }

    async fn save_when_due(self: Rc<Self>) {
        loop {
            let half = self.options.recovery_scan_bytes_max / 2;
            self.saver.wait(|| (self.unsaved_bytes.get() >= half.max(1)).then_some(())).await;
            let wrong = match self.save_recovery_points().await {
                Ok(0) => None,
                Ok(behind) => Some(format!("{behind} partitions are not complete on disk")),
                Err(error) => Some(error.to_string()),
            };
            self.is_unbounded.set(wrong.is_some());
            self.relieved.wake_all();
            if let Some(error) = wrong {
                tracing::warn!(
                    error,
                    "cannot write recovery points; a start after a crash will read more"
                );
                runtime::sleep(SAVE_AGAIN).await;
            }
        }
    }

    // ------------------------------------------------------------ what a start has to read again

    /// Bytes that a start after a crash would read again now.
    pub fn unsaved_bytes(&self) -> u64 {
        self.unsaved_bytes.get()
    }

    pub(super) fn note_unsaved(&self, bytes: u64) {
        self.unsaved_bytes.set(self.unsaved_bytes.get() + bytes);
        if self.unsaved_bytes.get() >= self.options.recovery_scan_bytes_max / 2 {
            self.saver.wake_first();
        }
    }

    pub(super) fn remove_unsaved(&self, bytes: u64) {
        self.unsaved_bytes.set(self.unsaved_bytes.get() - bytes);
        // Whoever saved: the round of a start leaves nothing to do for the one that is always about.
        self.relieved.wake_all();
    }

    pub(super) fn set_points(&self, points: HashMap<PointKey, RecoveryPoint>) {
        *self.points.borrow_mut() = points;
    }

    pub(super) fn take_point(&self, key: PointKey) -> Option<RecoveryPoint> {
        self.points.borrow_mut().remove(&key)
    }

    pub(super) fn return_point(&self, key: PointKey, point: RecoveryPoint) {
        self.points.borrow_mut().insert(key, point);
    }

    /// Forgets what the last start knew of partitions that are not this shard's.
    pub fn keep_points(&self, is_here: impl Fn(PointKey) -> bool) {
        self.points.borrow_mut().retain(|key, _| is_here(*key));
    }

    /// The newest time of a partition that is not open yet, as far as the last life wrote it down.
    pub fn last_written(&self, key: PointKey) -> Option<Timestamp> {
        self.points.borrow().get(&key)?.max_timestamp.map(|(time, _)| time)
    }

    /// What the last life wrote down of partitions that are not open yet.
    pub(super) fn unopened_points(&self) -> Vec<Vec<u8>> {
        self.points.borrow().iter().map(|(key, point)| point.encode(*key)).collect()
    }

    pub(super) fn note_partition(&self, partition: &Rc<Partition>) {
        self.partitions.borrow_mut().insert(partition.number, Rc::downgrade(partition));
    }

    /// All partitions of this shard.
    pub(super) fn partitions(&self) -> Vec<Rc<Partition>> {
        let mut partitions = self.partitions.borrow_mut();
        partitions.retain(|_, partition| partition.strong_count() > 0);
        partitions.values().filter_map(Weak::upgrade).collect()
    }

    /// Puts a partition that has something to write in line.
    pub(super) fn enqueue(&self, partition: Rc<Partition>) {
        self.dirty.borrow_mut().push_back(partition);
        let writer = self.idle_writers.borrow_mut().pop();
        if let Some((_, waker)) = writer {
            waker.wake();
        }
    }

    async fn next_dirty(&self, writer: usize) -> Rc<Partition> {
        poll_fn(|context| {
            let mut idle = self.idle_writers.borrow_mut();
            // Woken or not, it is in the list once: a second entry would take a wake from another.
            idle.retain(|(other, _)| *other != writer);
            if let Some(partition) = self.dirty.borrow_mut().pop_front() {
                return Poll::Ready(partition);
            }
            idle.push((writer, context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    pub(super) fn next_partition_number(&self) -> u64 {
        self.partitions_made.set(self.partitions_made.get() + 1);
        self.partitions_made.get()
    }

    /// Bytes dispatched and not yet committed.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.get()
    }

    /// Counts bytes that were taken from a client and have not reached the log.
    pub fn add_pending(&self, bytes: usize) {
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
    }

    pub fn remove_pending(&self, bytes: usize) {
        let was = self.pending_bytes.get();
        debug_assert!(was >= bytes);
        self.pending_bytes.set(was - bytes);
        if self.pending_bytes.get() <= self.options.pending_bytes_max {
            self.relieved.wake_all();
        }
    }

    /// Waits until no more than the allowed bytes are pending, or to be read again after a crash: what a
    /// connection does before it reads on.
    pub async fn pending_below_limit(&self) {
        poll_fn(|context| {
            let is_below = self.pending_bytes.get() <= self.options.pending_bytes_max;
            if (is_below && self.is_bounded()) || planted::is(Bug::ForgetPendingBound) {
                return Poll::Ready(());
            }
            self.relieved.register(context);
            Poll::Pending
        })
        .await;
    }

    /// Waits until a start after a crash would not read more than the allowed bytes again: what a writer does
    /// before a commit, because batches come from other shards, too.
    async fn bounded(&self) {
        poll_fn(|context| {
            if self.is_bounded() {
                return Poll::Ready(());
            }
            self.relieved.register(context);
            Poll::Pending
        })
        .await;
    }

    fn is_bounded(&self) -> bool {
        let unsaved = self.unsaved_bytes.get();
        unsaved <= self.options.recovery_scan_bytes_max || self.is_unbounded.get()
    }

    /// Accounts for what a partition cached, and evicts the shard's oldest chunks when the budget is
    /// exceeded. `is_new` when it is a chunk more, not a larger one in the place of its last.
    pub(super) fn note_cached(&self, partition: &Rc<Partition>, bytes: usize, is_new: bool) {
        let number = partition.number;
        if is_new {
            self.cached.borrow_mut().push_back((number, Rc::downgrade(partition)));
        }
        self.set_cached(number, bytes);
        while self.cached_bytes.get() > self.options.tail_cache_bytes {
            let Some((number, oldest)) = self.cached.borrow_mut().pop_front() else { break };
            let left = oldest.upgrade().map_or(0, |partition| partition.evict_oldest_chunk());
            self.set_cached(number, left);
        }
    }

    fn set_cached(&self, number: u64, bytes: usize) {
        let mut cached_of = self.cached_of.borrow_mut();
        let was = match bytes {
            0 => cached_of.remove(&number),
            _ => cached_of.insert(number, bytes),
        };
        self.cached_bytes.set(self.cached_bytes.get() + bytes - was.unwrap_or(0));
    }

    /// Forgets what was cached for a partition whose tail cache was cleared.
    pub(super) fn forget_cached_of(&self, number: u64) {
        if self.cached_of.borrow().contains_key(&number) {
            self.set_cached(number, 0);
            self.cached.borrow_mut().retain(|(other, _)| *other != number);
        }
    }

    /// Memory held by tail caches, in bytes.
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes.get()
    }

    /// A partition's fault has changed.
    pub(super) fn note_offline(&self, before: Option<FaultKind>, after: Option<FaultKind>) {
        for (count, (kind, _)) in self.offline.iter().zip(FaultKind::ALL) {
            let added = usize::from(after == Some(kind));
            count.set(count.get() + added - usize::from(before == Some(kind)));
        }
    }

    /// Partitions that are offline, for each kind of fault by its name.
    pub fn offline(&self) -> [(&'static str, usize); FaultKind::ALL.len()] {
        std::array::from_fn(|at| (FaultKind::ALL[at].1, self.offline[at].get()))
    }

    pub(super) fn offline_of(&self, kind: FaultKind) -> usize {
        let at = FaultKind::ALL.iter().position(|(other, _)| *other == kind);
        at.map_or(0, |at| self.offline[at].get())
    }

    /// Files held open for later use.
    pub fn files_held(&self) -> usize {
        self.files.len()
    }

    /// Notes that a sealed segment's index was loaded; the longest loaded goes at the limit.
    pub(super) fn note_sealed_index(&self, partition: &Rc<Partition>, base: Offset) {
        let mut loaded = self.sealed_indexes.borrow_mut();
        loaded.push_back((Rc::downgrade(partition), base));
        let oldest =
            if loaded.len() > self.options.sealed_indexes_max { loaded.pop_front() } else { None };
        drop(loaded);
        if let Some((partition, base)) = oldest
            && let Some(partition) = partition.upgrade()
        {
            partition.drop_sealed_index(base);
        }
    }
}
