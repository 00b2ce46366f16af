//! What the partitions of one shard share: open files, the queue of partitions with something to write,
//! the writers that serve it, and the memory that pending and cached bytes take.
//!
//! Lives on one core; never holds a partition alive except while it has something to write.

use super::file_cache::FileCache;
use super::partition::Partition;
use crate::limits::COMMIT_BYTES_MAX;
use crate::probe::Probe;
use crate::runtime::{self, Wakers};
use crate::types::Offset;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

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
        })
    }

    /// Starts the writers: long-lived tasks, so that a commit spawns nothing.
    pub fn start_writers(self: &Rc<Self>) {
        for writer in 0..self.options.writers {
            let shard = self.clone();
            drop(runtime::spawn(async move {
                loop {
                    let partition = shard.next_dirty(writer).await;
                    partition.commit_next().await;
                }
            }));
        }
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

    pub(super) fn add_pending(&self, bytes: usize) {
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
    }

    pub(super) fn remove_pending(&self, bytes: usize) {
        let was = self.pending_bytes.get();
        debug_assert!(was >= bytes);
        self.pending_bytes.set(was - bytes);
        if self.pending_bytes.get() <= self.options.pending_bytes_max {
            self.relieved.wake_all();
        }
    }

    /// Waits until no more than the allowed bytes are pending: what a connection does before it reads on.
    pub async fn pending_below_limit(&self) {
        poll_fn(|context| {
            if self.pending_bytes.get() <= self.options.pending_bytes_max {
                return Poll::Ready(());
            }
            self.relieved.register(context);
            Poll::Pending
        })
        .await;
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
