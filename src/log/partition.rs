//! One partition's log on the shard that owns it: offsets are given in `append`, promised in
//! `poll_committed`, and state changes only in the synchronous functions here. What waits for the disk is
//! in `appender` (the commit), `reader` and `maintenance`.
//!
//! It never blocks, never touches another core, and never shows a reader what is not committed.

use super::config::LogConfig;
use super::fault::{FaultKind, LogFault};
use super::index::SegmentIndex;
use super::maintenance::{Housekeeping, Recovery};
use super::planted::{self, Bug};
use super::producers::{ActiveProducer, ProducerState, SequenceError, StoredBatch, Verdict};
use super::recovery_points::RecoveryPoint;
use super::segment::{self, Segment};
use super::shard_log::ShardLog;
use super::tail_cache::TailCache;
use super::verify::{self, Epochs};
use super::watch::{WatchKey, WatchList};
use crate::limits::RECORDS_NAMED_MAX;
use crate::runtime::{self, Instant, Wakers};
use crate::types::{Offset, Position, Timestamp, TopicId};
use crate::wire::batch::{self, BatchError, BatchHeader, RecordFacts};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Between two tries of a partition that a full disk stopped.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that records of a partition cannot be read.
const UNREADABLE_TOLD_EVERY: Duration = Duration::from_mins(1);

/// Which partition this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionId {
    pub topic_id: TopicId,
    pub topic: Arc<str>,
    pub index: i32,
}

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Why a batch was not dispatched. All but the last are the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch of {bytes} bytes where {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("{} records have no key, which a compacted topic needs", .records.len())]
    Keyless { records: Vec<usize> },
    #[error("record time {0} is too far from the broker's")]
    Timestamp(Timestamp),
    #[error(transparent)]
    Offline(LogFault),
}

/// A batch whose place is fixed and whose promise is not yet kept: the first of produce's two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched {
    pub base_offset: Offset,
    /// The offset after its last record: once the committed end reaches it, it is `produced`.
    pub end: Offset,
    /// The broker's time when it stamps records, else `Timestamp::NONE`.
    pub append_time: Timestamp,
    /// Tells whether the log was reset in between, so that the promise cannot be kept any more.
    generation: u32,
}

/// A batch on its way to the file.
pub(super) struct PendingBatch {
    pub header: BatchHeader,
    pub bytes: Bytes,
    /// What the broker stamps it with, as its producer is told; `NONE` when it keeps its own times.
    pub append_time: Timestamp,
}

/// Who works on the partition's files now. One at a time; others wait in `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// In its shard's line for a writer.
    Queued,
    /// A writer, recovery or a stop has it.
    Busy,
}

pub(super) struct State {
    pub config: Arc<LogConfig>,
    pub leader_epoch: i32,
    /// Where each leader epoch began, ascending.
    pub epochs: Epochs,
    /// False for a log that came without the history of its epochs.
    pub epochs_known: bool,
    /// What the file of epochs says.
    pub epochs_written: Epochs,
    /// Apache Kafka wrote here once, so batches may be missing where it compacted.
    pub foreign: bool,
    /// The files were read, so what is here is the log and not an empty one.
    pub opened: bool,
    pub recovery: Recovery,
    /// Where a write begins that is in flight although its batches are committed already: without a
    /// promise (`Durability::Memory`) consumers see them before the file has them.
    pub in_flight: Option<Position>,
    /// The file is there that tells recovery of commits without a sync.
    pub marked_unsynced: bool,
    /// Commits were written that no sync has covered.
    pub unsynced: bool,
    /// The end of the log that the files on disk are complete for; none once more was written.
    pub checkpoint: Option<Offset>,
    pub log_start: Offset,
    /// The next offset to be dispatched.
    pub next_offset: Offset,
    /// What is promised: consumers see no further (single replica: the high watermark).
    pub committed: Offset,
    /// Ascending, never empty; the last is the active one.
    pub segments: VecDeque<Segment>,
    pub producers: ProducerState,
    pub pending: VecDeque<PendingBatch>,
    pub pending_bytes: usize,
    pub phase: Phase,
    /// It is being left complete on disk: housekeepers keep off its files meanwhile.
    pub completing: bool,
    pub tail: TailCache,
    pub fault: Option<LogFault>,
    /// What lies before the fault may be read.
    pub read_only: bool,
    /// Deleted, or moved to another shard: nothing more is written.
    pub retired: bool,
    pub generation: u32,
    /// When a full disk may be tried again.
    pub retry_at: Instant,
    /// When it was last said that records cannot be read.
    pub unreadable_told: Option<Instant>,
    pub house: Housekeeping,
    /// Up to where the log is known to be complete on disk, as the shard's file says.
    pub point: Option<RecoveryPoint>,
    idle: Wakers,
}

impl State {
    pub fn new(config: Arc<LogConfig>, leader_epoch: i32, log_start: Offset) -> State {
        State {
            config,
            leader_epoch,
            epochs: Epochs::default(),
            epochs_known: false,
            epochs_written: Epochs::default(),
            foreign: false,
            opened: false,
            recovery: Recovery::default(),
            in_flight: None,
            marked_unsynced: false,
            unsynced: false,
            checkpoint: None,
            log_start,
            next_offset: log_start,
            committed: log_start,
            segments: VecDeque::from([Segment::empty(log_start)]),
            producers: ProducerState::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            phase: Phase::Idle,
            completing: false,
            tail: TailCache::default(),
            fault: None,
            read_only: false,
            retired: false,
            generation: 0,
            retry_at: Instant(0),
            unreadable_told: None,
            house: Housekeeping::default(),
            point: None,
            idle: Wakers::default(),
        }
    }

    pub fn active(&self) -> &Segment {
        self.segments.back().expect("a log has an active segment")
    }

    pub fn active_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has an active segment")
    }

    /// Ends the active segment's time index with its largest time.
    pub fn end_index(&mut self) {
        let active = self.active_mut();
        if let Some(max) = active.max_timestamp {
            Rc::make_mut(active.index.as_mut().expect("active")).seal(max);
        }
    }

    /// The segment that holds `offset`, or would.
    pub fn segment_of(&self, offset: Offset) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        self.segments.get(after.checked_sub(1)?)
    }

    /// Where the committed bytes of a segment end that are in its file.
    pub fn file_end(&self, segment: &Segment) -> Position {
        let is_active = segment.base == self.active().base;
        let in_flight = self.in_flight.filter(|_| is_active);
        in_flight.map_or(segment.end, |start| start.min(segment.end))
    }

    /// What keeps readers away. A full disk keeps nobody from reading what was opened before, nor does damage
    /// behind it.
    pub fn read_fault(&self) -> Option<&LogFault> {
        let is_readable = |fault: &&LogFault| {
            (fault.kind == FaultKind::StorageFull || self.read_only) && self.opened
        };
        self.fault.as_ref().filter(|fault| !is_readable(fault))
    }

    /// Whether a full disk stopped it.
    pub fn is_full(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::StorageFull)
    }

    /// Whether batches may be missing between others.
    pub fn gaps_allowed(&self) -> bool {
        self.foreign || self.config.compacted
    }
}

/// A partition's log.
pub struct Partition {
    pub id: PartitionId,
    /// Unique in this shard's life: names its files in the cache.
    pub(super) number: u64,
    pub(super) directory: PathBuf,
    pub(super) shard: Rc<ShardLog>,
    pub(super) state: RefCell<State>,
    pub(super) watch: WatchList,
}

impl Partition {
    pub(super) fn new(
        shard: &Rc<ShardLog>,
        id: PartitionId,
        directory: PathBuf,
        state: State,
    ) -> Rc<Partition> {
        let number = match planted::is(Bug::ReuseFileIdentity) {
            true => u64::from(crc32fast::hash(id.to_string().as_bytes())),
            false => shard.next_partition_number(),
        };
        let state = RefCell::new(state);
        let watch = WatchList::default();
        let partition =
            Rc::new(Partition { id, number, directory, shard: shard.clone(), state, watch });
        shard.note_partition(&partition);
        partition
    }

    // ------------------------------------------------------------ append

    /// Checks a producer's batch and gives it the next offsets; from here on its order is fixed. The
    /// promise is kept when `poll_committed` says so. Touches no disk.
    ///
    /// # Errors
    /// The rule that the batch breaks, or the fault that keeps the partition offline.
    pub fn append(
        self: &Rc<Self>,
        bytes: Bytes,
        now: Timestamp,
    ) -> Result<Dispatched, AppendError> {
        let mut state = self.state.borrow_mut();
        if state.retired {
            return Err(AppendError::Offline(gone_fault(&self.directory)));
        }
        if let Some(fault) = state.fault.clone() {
            self.retry_when_due(&mut state);
            return Err(AppendError::Offline(fault));
        }
        batch::parse_single(&bytes)?;
        let limit = state.config.message_bytes_max;
        if bytes.len() > limit {
            return Err(AppendError::TooLarge { bytes: bytes.len(), limit });
        }
        let (mut header, facts) = batch::parse_produced_records(&bytes)?;
        if state.config.compacted && facts.is_keyless {
            let records = batch::keyless_records(&bytes, RECORDS_NAMED_MAX);
            return Err(AppendError::Keyless { records });
        }
        let append_time = if state.config.log_append_time { now } else { Timestamp::NONE };
        if append_time == Timestamp::NONE {
            check_timestamp(&header, facts, &state.config, now)?;
        }
        let generation = state.generation;
        if header.has_producer()
            && let Verdict::Duplicate(stored) = state.producers.check(&header)?
        {
            // Kafka tells a retry when the batch was stored.
            let StoredBatch { first_offset, last_offset, timestamp: append_time, .. } = stored;
            let end = last_offset.advanced_by(1);
            return Ok(Dispatched { base_offset: first_offset, end, append_time, generation });
        }
        header.base_offset = state.next_offset;
        if append_time != Timestamp::NONE {
            header.max_timestamp = append_time;
        }
        state.producers.note(&header, now);
        state.next_offset = header.next_offset();
        state.pending_bytes += bytes.len();
        self.shard.add_pending(bytes.len());
        self.shard.probe.batches_appended.add(1);
        self.shard.probe.records_appended.add(header.record_count as u64);
        self.shard.probe.bytes_appended.add(bytes.len() as u64);
        state.pending.push_back(PendingBatch { header, bytes, append_time });
        let dispatched = Dispatched {
            base_offset: header.base_offset,
            end: header.next_offset(),
            append_time,
            generation,
        };
        self.enqueue_if_idle(&mut state);
        Ok(dispatched)
    }

    pub(super) fn enqueue_if_idle(self: &Rc<Self>, state: &mut State) {
        if state.phase == Phase::Idle {
            state.phase = Phase::Queued;
            self.shard.enqueue(self.clone());
        }
    }

    /// Whether a full disk stopped it.
    pub(super) fn is_full(&self) -> bool {
        self.state.borrow().is_full()
    }

    /// Has it opened anew that a full disk stopped.
    pub(super) fn try_again(self: &Rc<Self>) {
        self.retry_when_due(&mut self.state.borrow_mut());
    }

    /// A partition that a full disk stopped is opened anew, at most once a second: when somebody writes, and when
    /// there is room.
    fn retry_when_due(self: &Rc<Self>, state: &mut State) {
        let now = runtime::now();
        if state.is_full() && !state.retired && now >= state.retry_at {
            state.retry_at = now + RETRY_PAUSE;
            self.enqueue_if_idle(state);
        }
    }

    /// The second of produce's two moments: ready once the promise of a dispatched batch is kept.
    ///
    /// # Errors
    /// The fault that broke the promise; nothing of the batch may be assumed.
    pub fn poll_committed(
        &self,
        key: &mut WatchKey,
        dispatched: &Dispatched,
        context: &Context<'_>,
    ) -> Poll<Result<(), LogFault>> {
        let state = self.state.borrow();
        let is_held = planted::is(Bug::MoveWatermarkEarly)
            && (state.in_flight.is_some() || state.fault.is_some());
        let is_kept =
            state.generation == dispatched.generation && state.committed >= dispatched.end;
        if is_held || !is_kept {
            if let Some(fault) = self.broken_promise(&state, dispatched) {
                self.watch.cancel(key);
                return Poll::Ready(Err(fault));
            }
            self.watch.register(key, dispatched.end, context);
            return Poll::Pending;
        }
        self.watch.cancel(key);
        Poll::Ready(Ok(()))
    }

    fn broken_promise(&self, state: &State, dispatched: &Dispatched) -> Option<LogFault> {
        if let Some(fault) = &state.fault {
            return Some(fault.clone());
        }
        let gone = state.retired || state.generation != dispatched.generation;
        gone.then(|| gone_fault(&self.directory))
    }

    /// Ready once the committed end has reached `threshold`, or the partition cannot be read any more: the
    /// caller looks again.
    pub fn poll_reached(
        &self,
        key: &mut WatchKey,
        threshold: Offset,
        context: &Context<'_>,
    ) -> Poll<()> {
        let state = self.state.borrow();
        let is_readable = !state.retired && state.read_fault().is_none();
        if state.committed >= threshold || !is_readable {
            self.watch.cancel(key);
            return Poll::Ready(());
        }
        self.watch.register(key, threshold, context);
        Poll::Pending
    }

    /// Ends a wait that was not completed.
    pub fn cancel_watch(&self, key: &mut WatchKey) {
        self.watch.cancel(key);
    }

    // ------------------------------------------------------------ what is known

    /// The first offset that may be read.
    pub fn log_start(&self) -> Offset {
        self.state.borrow().log_start
    }

    /// The offset after the last promised record.
    pub fn high_watermark(&self) -> Offset {
        self.state.borrow().committed
    }

    pub fn leader_epoch(&self) -> i32 {
        self.state.borrow().leader_epoch
    }

    pub fn fault(&self) -> Option<LogFault> {
        self.state.borrow().fault.clone()
    }

    /// What keeps readers away.
    pub fn read_fault(&self) -> Option<LogFault> {
        self.state.borrow().read_fault().cloned()
    }

    /// Bytes of all segments.
    pub fn log_bytes(&self) -> u64 {
        self.state.borrow().segments.iter().map(|segment| segment.end.0).sum()
    }

    /// KIP-101: the largest epoch at or before `epoch`, and where it ended.
    pub fn end_of_epoch(&self, epoch: i32) -> Option<(i32, Offset)> {
        let state = self.state.borrow();
        if epoch > state.leader_epoch || epoch < 0 {
            return None;
        }
        if epoch == state.leader_epoch {
            return Some((epoch, state.committed));
        }
        let after = state.epochs.partition_point(|(known, _)| *known <= epoch);
        let end = state.epochs.get(after).map_or(state.committed, |(_, start)| *start);
        let known = after.checked_sub(1).map_or(epoch, |at| state.epochs[at].0);
        Some((known, end))
    }

    /// The leader epoch under which a record was written.
    pub fn epoch_of(&self, offset: Offset) -> i32 {
        let state = self.state.borrow();
        verify::epoch_at(&state.epochs, offset).unwrap_or(state.leader_epoch)
    }

    /// What the last opening of the files found.
    pub fn recovery(&self) -> Recovery {
        self.state.borrow().recovery
    }

    /// Who waits on this partition now.
    pub fn waiters(&self) -> usize {
        self.watch.len()
    }

    /// Takes a changed configuration. A new durability holds from the next commit on.
    pub fn set_config(&self, config: Arc<LogConfig>) {
        self.state.borrow_mut().config = config;
    }

    /// Moves the log's start up to `offset`; earlier records are no longer served. The caller has made
    /// that durable. Returns the new start.
    pub fn raise_log_start(self: &Rc<Self>, offset: Offset) -> Offset {
        let mut state = self.state.borrow_mut();
        let offset = offset.min(state.committed);
        state.log_start = state.log_start.max(offset);
        let log_start = state.log_start;
        let frees = state.segments.get(1).is_some_and(|next| next.base <= log_start);
        drop(state);
        if frees {
            self.retain_later();
        }
        log_start
    }

    /// The idempotent producers that are remembered.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.state.borrow().producers.active()
    }

    /// Forgets producers that have been idle for too long.
    pub fn expire_producers(&self, now: Timestamp) {
        let oldest = Timestamp(now.0 - self.shard.options.producer_expiration_ms);
        self.state.borrow_mut().producers.expire(oldest);
    }

    // ------------------------------------------------------------ cache and faults

    /// Drops the oldest chunk; bytes still cached.
    pub(super) fn evict_oldest_chunk(&self) -> usize {
        self.state.borrow_mut().tail.evict_oldest()
    }

    pub(super) fn drop_sealed_index(&self, base: Offset) {
        let mut state = self.state.borrow_mut();
        let active = state.active().base;
        let segment = state.segments.iter_mut().find(|segment| segment.base == base);
        if let Some(segment) = segment.filter(|segment| segment.base != active) {
            segment.index = None;
        }
    }

    pub(super) fn keep_sealed_index(self: &Rc<Self>, base: Offset, index: Rc<SegmentIndex>) {
        let mut state = self.state.borrow_mut();
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) else {
            return;
        };
        if let Some((time, offset)) = index.last_time() {
            segment.note_time(time, offset);
        }
        segment.index = Some(index);
        drop(state);
        self.shard.note_sealed_index(self, base);
    }

    /// Takes the partition offline: nothing pending is promised any more, whoever waits is told.
    pub(super) fn fail(&self, fault: LogFault) {
        self.shard.probe.faults.add(1);
        tracing::error!(partition = %self.id, %fault, "partition is offline");
        let mut state = self.state.borrow_mut();
        self.drop_pending(&mut state);
        self.set_fault(&mut state, Some(fault));
        drop(state);
        self.watch.wake_all();
    }

    /// A reader met what cannot be read, while the partition is online: it stays so, for what can.
    pub(super) fn note_unreadable(&self, fault: &LogFault) {
        self.shard.probe.read_faults.add(1);
        let (now, mut state) = (runtime::now(), self.state.borrow_mut());
        if state.unreadable_told.is_none_or(|told| now >= told + UNREADABLE_TOLD_EVERY) {
            state.unreadable_told = Some(now);
            tracing::error!(partition = %self.id, %fault, "records cannot be read");
        }
    }

    /// Keeps the shard's count of offline partitions with it.
    pub(super) fn set_fault(&self, state: &mut State, fault: Option<LogFault>) {
        let kind = |fault: &Option<LogFault>| fault.as_ref().map(|fault| fault.kind);
        if !state.retired {
            self.shard.note_offline(kind(&state.fault), kind(&fault));
        }
        state.fault = fault;
    }

    pub(super) fn drop_pending(&self, state: &mut State) {
        self.shard.remove_pending(state.pending_bytes);
        state.pending_bytes = 0;
        state.pending.clear();
    }

    /// Ends the partition's service on this shard: pending batches are refused, waiters woken.
    pub fn retire(&self) {
        let mut state = self.state.borrow_mut();
        if !state.retired {
            self.shard.note_offline(state.fault.as_ref().map(|fault| fault.kind), None);
        }
        state.retired = true;
        state.generation += 1;
        self.drop_pending(&mut state);
        state.tail.clear();
        drop(state);
        self.shard.forget_cached_of(self.number);
        self.watch.wake_all();
        if !planted::is(Bug::ReuseFileIdentity) {
            self.shard.files.remove_partition(self.number);
        }
    }

    /// Waits until nobody works on the files and nothing is pending.
    pub async fn quiesce(&self) {
        self.all_committed().await;
        self.kept().await;
    }

    async fn all_committed(&self) {
        std::future::poll_fn(|context| {
            let state = self.state.borrow();
            let idle = state.phase != Phase::Busy;
            if idle && (state.pending.is_empty() || state.fault.is_some() || state.retired) {
                return Poll::Ready(());
            }
            state.idle.register(context);
            Poll::Pending
        })
        .await;
    }

    /// Gives the files back: in line again when more has gathered, else idle.
    pub(super) fn release(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Idle;
        if !state.pending.is_empty() && state.fault.is_none() {
            self.enqueue_if_idle(&mut state);
        }
        state.idle.wake_all();
    }

    pub(super) fn segment_path(&self, base: Offset) -> PathBuf {
        segment::file_path(&self.directory, base, segment::LOG_SUFFIX)
    }
}

pub(super) fn gone_fault(directory: &Path) -> LogFault {
    let error = std::io::Error::other("the partition was deleted, moved or reopened");
    LogFault::from_io("use", directory, 0, &error)
}

/// KIP-937: a record's time must be near the broker's, as far as the topic asks.
fn check_timestamp(
    header: &BatchHeader,
    facts: RecordFacts,
    config: &LogConfig,
    now: Timestamp,
) -> Result<(), AppendError> {
    if header.max_timestamp.0.saturating_sub(now.0) > config.timestamp_after_ms_max {
        return Err(AppendError::Timestamp(header.max_timestamp));
    }
    let before = now.0.saturating_sub(config.timestamp_before_ms_max);
    let oldest = header.base_timestamp.0.saturating_add(facts.timestamp_delta_min);
    if header.base_timestamp.0 >= 0 && oldest < before {
        return Err(AppendError::Timestamp(Timestamp(oldest)));
    }
    Ok(())
}

/// A commit that `appender` has written, as the state takes it up.
pub(super) struct Written {
    pub segment: Offset,
    pub start: Position,
    pub end: Position,
    pub buffer: crate::runtime::buffer::SharedBuffer,
    /// Headers of the batches, with the position of each.
    pub batches: Vec<(BatchHeader, Position)>,
}

impl Partition {
    /// Takes up a commit whose promise is kept: index, cache, high watermark; wakes who waited for it.
    pub(super) fn settle(self: &Rc<Self>, written: Written) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let interval = state.config.index_interval_bytes;
        let active = state.segments.back_mut().expect("a log has an active segment");
        assert_eq!(
            (active.base, active.end),
            (written.segment, written.start),
            "one writer at a time"
        );
        let index = Rc::make_mut(active.index.as_mut().expect("the active segment has its index"));
        let Some((last, _)) = written.batches.last().copied() else { return };
        for (header, position) in &written.batches {
            let (time, offset) = (header.max_timestamp, header.last_offset());
            if active.max_timestamp.is_none_or(|(max, _)| time > max) {
                active.max_timestamp = Some((time, offset));
            }
            active.first_timestamp.get_or_insert(time);
            let max = active.max_timestamp.expect("just set");
            index.note_batch(offset, *position, header.batch_bytes as u64, max, interval);
            verify::note_epoch(&mut state.epochs, header.leader_epoch, header.base_offset);
        }
        active.end = written.end;
        state.committed = last.next_offset();
        let committed = state.committed;
        let is_new = state.tail.push(written.segment, written.start, written.end, written.buffer);
        let cached = state.tail.bytes();
        let chores = state.note_chores(self.shard.options.index_step_bytes);
        drop(guard);
        if chores {
            self.call_housekeeper();
        }
        let bytes = written.end - written.start;
        self.shard.note_unsaved(bytes);
        self.shard.probe.commit_bytes.record(bytes);
        self.shard.note_cached(self, cached, is_new);
        self.watch.wake(committed);
    }
}
