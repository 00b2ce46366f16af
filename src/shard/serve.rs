//! Doing what is asked of a partition, wherever it lives: here at once, elsewhere through the mailbox.

use super::Shard;
use super::control::{ControlReply, ControlRequest};
use super::load::{Hosted, Work};
use super::mailbox::Call;
use super::opening::EarlyAppend;
use super::request::{
    Bounds, PartitionError, PartitionKey, Produced, ReadCopy, ReadSpec, ShardReply, ShardRequest,
    TimeLookup,
};
use crate::log::{ActiveProducer, Dispatched, Partition, ReadBatches, ReadError, WatchKey};
use crate::probe::Probe;
use crate::runtime;
use crate::types::{Offset, ShardId, Timestamp};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

/// An append whose order is fixed and whose promise is awaited.
pub enum AppendTicket {
    Here {
        partition: Rc<Partition>,
        dispatched: Dispatched,
        key: WatchKey,
        probe: Rc<Probe>,
        /// Faults of this core's partitions until the log took the batch.
        faults: u64,
    },
    Elsewhere(Call),
    /// The partition is being opened.
    Early(Rc<EarlyAppend>),
    /// The partition is not here. While it leaves for another core, the refusal waits until it is known for which.
    NotHere(Rc<Shard>, PartitionKey),
    Refused(Option<PartitionError>),
}

impl AppendTicket {
    /// The log has taken the batch: what may still go wrong has nothing to do with what is in it.
    pub fn is_taken(&self) -> bool {
        matches!(self, AppendTicket::Here { .. })
    }

    /// Ready when the batch is stored as promised, or cannot be.
    pub fn poll_produced(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Produced, PartitionError>> {
        if let AppendTicket::Early(early) = self {
            let ticket = ready!(early.poll_dispatched(context));
            *self = ticket;
        }
        match self {
            AppendTicket::Early(_) => unreachable!("dispatched is not early"),
            AppendTicket::Here { partition, dispatched, key, probe, faults } => {
                if let Err(fault) = ready!(partition.poll_committed(key, dispatched, context)) {
                    // A partition that has moved to another core, or was deleted, has no word any more for what it
                    // had stored. Had one failed since, though, other batches could have these offsets.
                    let is_sound = probe.faults.get() == *faults;
                    if !is_sound || partition.high_watermark() < dispatched.end {
                        return Poll::Ready(Err(fault.into()));
                    }
                }
                let log_start = partition.log_start();
                Poll::Ready(Ok(Produced { dispatched: *dispatched, log_start }))
            }
            AppendTicket::Elsewhere(call) => match ready!(Pin::new(call).poll(context)) {
                ShardReply::Append(outcome) => Poll::Ready(outcome),
                _ => Poll::Ready(Err(PartitionError::Stopping)),
            },
            AppendTicket::NotHere(shard, key) => {
                ready!(shard.leaving.poll_told(*key, context));
                Poll::Ready(Err(PartitionError::NotHere))
            }
            AppendTicket::Refused(error) => {
                Poll::Ready(Err(error.take().unwrap_or(PartitionError::Stopping)))
            }
        }
    }
}

impl Drop for AppendTicket {
    fn drop(&mut self) {
        if let AppendTicket::Here { partition, key, .. } = self {
            partition.cancel_watch(key);
        }
    }
}

/// What a read gave: by reference from this core, or a copy from another.
pub enum Reading {
    Here(ReadBatches),
    Copied(ReadCopy),
}

impl Reading {
    pub fn bytes(&self) -> usize {
        match self {
            Reading::Here(batches) => batches.bytes,
            Reading::Copied(copy) => copy.records.len(),
        }
    }

    pub fn high_watermark(&self) -> Offset {
        match self {
            Reading::Here(batches) => batches.high_watermark,
            Reading::Copied(copy) => copy.high_watermark,
        }
    }

    pub fn log_start(&self) -> Offset {
        match self {
            Reading::Here(batches) => batches.log_start,
            Reading::Copied(copy) => copy.log_start,
        }
    }
}

/// No file is read for less than this part of an answer.
const ROOM_LEFT_EMPTY: usize = 8;
/// Reads of files that one fetch has in flight at most, unless set otherwise: enough to keep a device busy, too few for
/// one consumer to have it to itself.
pub(super) const FILE_READS_IN_FLIGHT: usize = 4;
/// Room that one of these takes until it has ended: as much as one read of a log gives, but for a larger batch.
const FILE_READ_BYTES_PLANNED: usize = 2 << 20;

/// A read of a file: whose, the room that was planned for it, and what it gave.
type FileRead = (usize, usize, Result<ReadBatches, ReadError>);

/// Takes what a read of a file gave, unless it is a batch so large that it has no room.
fn settle(results: &mut [Result<ReadBatches, PartitionError>], left: &mut usize, read: FileRead) {
    let (at, planned, mut read) = read;
    *left += planned;
    if let Ok(batches) = &mut read {
        if batches.bytes > *left {
            (batches.bytes, batches.slices) = (0, Vec::new());
        }
        *left -= batches.bytes;
    }
    results[at] = read.map_err(PartitionError::from);
}

impl Shard {
    // ------------------------------------------------------------ from this core

    /// Hands a batch to the log of the shard that owns the partition. The order of appends to it is the
    /// order of these calls.
    pub fn append(
        self: &Rc<Self>,
        owner: ShardId,
        key: PartitionKey,
        batch: Bytes,
    ) -> AppendTicket {
        self.append_at(owner, key, batch, runtime::wall_clock())
    }

    /// The same for whoever has looked at the clock already. Another shard looks at it itself, when it comes to
    /// the batch.
    pub fn append_at(
        self: &Rc<Self>,
        owner: ShardId,
        key: PartitionKey,
        batch: Bytes,
        now: Timestamp,
    ) -> AppendTicket {
        if owner == self.id {
            return self.append_here(key, batch, now);
        }
        self.probe.hops.add(1);
        let bytes = batch.len();
        let request = ShardRequest::Append { key, batch };
        AppendTicket::Elsewhere(self.mailbox.call_holding(owner, request, &self.log, bytes))
    }

    pub(super) fn append_here(
        self: &Rc<Self>,
        key: PartitionKey,
        batch: Bytes,
        now: Timestamp,
    ) -> AppendTicket {
        if self.is_stopping() {
            return AppendTicket::Refused(Some(PartitionError::Stopping));
        }
        if self.is_opening()
            && let Some(early) = self.append_early(key, &batch)
        {
            return early;
        }
        match self.hand_to_log(key, batch, now) {
            Ok((partition, dispatched)) => {
                let (key, probe) = (WatchKey::default(), self.probe.clone());
                let faults = probe.faults.get();
                AppendTicket::Here { partition, dispatched, key, probe, faults }
            }
            Err(PartitionError::NotHere) => AppendTicket::NotHere(self.clone(), key),
            Err(error) => AppendTicket::Refused(Some(error)),
        }
    }

    fn hand_to_log(
        &self,
        key: PartitionKey,
        batch: Bytes,
        now: Timestamp,
    ) -> Result<(Rc<Partition>, Dispatched), PartitionError> {
        let partitions = self.partitions.borrow();
        let Hosted { partition, load } = partitions.get(&key).ok_or(PartitionError::NotHere)?;
        let bytes = batch.len();
        match partition.append(batch, now) {
            Ok(dispatched) => {
                load.add(self.windows.number(), Work::append(bytes));
                Ok((partition.clone(), dispatched))
            }
            Err(error) => Err(PartitionError::Append { error, log_start: partition.log_start() }),
        }
    }

    /// Reads partitions of this core, `bytes_max` in all; the first batch found is whole whatever its
    /// size (KIP-74). What is in memory is taken in the order asked; files are read side by side meanwhile, each
    /// within what is left if those before it give all that they may.
    pub async fn read_here(
        self: &Rc<Self>,
        specs: &[ReadSpec],
        bytes_max: usize,
    ) -> Vec<Result<ReadBatches, PartitionError>> {
        for spec in specs {
            if !self.is_opening() {
                break;
            }
            self.opened(spec.key).await;
        }
        let mut left = bytes_max;
        let mut first_whole = true;
        let mut results: Vec<_> = specs.iter().map(|_| Err(PartitionError::Stopping)).collect();
        // Not made before it is needed: it takes memory.
        let mut of_files: Option<FuturesUnordered<_>> = None;
        for (at, spec) in specs.iter().enumerate() {
            let partition = match self.partition(spec.key) {
                Ok(partition) => partition,
                Err(error) => {
                    results[at] = Err(error);
                    continue;
                }
            };
            let limit = spec.bytes_max.min(left);
            if first_whole && spec.first_whole {
                // Whether the next one's first batch is whole hangs on this one.
                let read = partition.read(spec.offset, limit, true).await;
                if let Ok(batches) = &read {
                    left -= batches.bytes.min(left);
                    first_whole &= batches.bytes == 0;
                }
                results[at] = read.map_err(PartitionError::from);
                continue;
            }
            let read = partition.read_in_memory(spec.offset, limit).await;
            // The last of the room is left empty rather than filled by reads of files that give nothing,
            // because the next batch is larger.
            let is_worth_a_read = limit > 0 && left >= bytes_max / ROOM_LEFT_EMPTY;
            let is_behind =
                |batches: &ReadBatches| batches.bytes == 0 && spec.offset < batches.high_watermark;
            if is_worth_a_read && read.as_ref().is_ok_and(is_behind) {
                let of_files = of_files.get_or_insert_default();
                if of_files.len() >= self.file_reads_in_flight_max.get() {
                    let done = of_files.next().await;
                    settle(&mut results, &mut left, done.expect("some are under way"));
                }
                let planned = limit.min(FILE_READ_BYTES_PLANNED);
                left -= planned;
                of_files.push(async move {
                    (at, planned, partition.read(spec.offset, limit, false).await)
                });
                continue;
            }
            if let Ok(batches) = &read {
                left -= batches.bytes.min(left);
            }
            results[at] = read.map_err(PartitionError::from);
        }
        if let Some(mut of_files) = of_files {
            while let Some(done) = of_files.next().await {
                settle(&mut results, &mut left, done);
            }
        }
        if self.note_reads(specs, &mut results) {
            self.may_be_told(specs, &results).await;
        }
        results
    }

    /// Whether some partitions are not here.
    fn note_reads(
        &self,
        specs: &[ReadSpec],
        results: &mut [Result<ReadBatches, PartitionError>],
    ) -> bool {
        let mut some_are_not_here = false;
        for (spec, result) in specs.iter().zip(results) {
            match result {
                Ok(batches) if batches.bytes > 0 => self.note_fetched(spec.key, batches.bytes),
                Ok(_) => {}
                Err(error) => {
                    self.judge(spec.key, error);
                    some_are_not_here |= *error == PartitionError::NotHere;
                }
            }
        }
        some_are_not_here
    }

    /// A partition that has left this core while it was read has no fault: it is elsewhere.
    fn judge(&self, key: PartitionKey, error: &mut PartitionError) {
        let is_of_partition = matches!(error, PartitionError::Read(ReadError::Offline(_)));
        if is_of_partition && self.partition(key).is_err() {
            *error = PartitionError::NotHere;
        }
    }

    /// Reads partitions that another shard owns; the records are copied there.
    pub fn read_elsewhere(&self, owner: ShardId, specs: Vec<ReadSpec>, bytes_max: usize) -> Call {
        self.probe.hops.add(1);
        self.mailbox.call(owner, ShardRequest::Read { specs, bytes_max })
    }

    /// Ready when one of these partitions of this core has passed the offset beside it, or has gone.
    pub async fn watch_here(&self, thresholds: &[(PartitionKey, Offset)]) {
        let mut watches = Vec::with_capacity(thresholds.len());
        for (key, threshold) in thresholds {
            let Ok(partition) = self.partition(*key) else { return };
            watches.push(Watch { partition, key: WatchKey::default(), threshold: *threshold });
        }
        poll_fn(|context| {
            // One waker for all: glommio counts a task's wakers in 16 bits, and a fetch may watch more.
            let shared = Waker::from(Arc::new(SharedWaker(context.waker().clone())));
            let context = &mut Context::from_waker(&shared);
            for watch in &mut watches {
                let Watch { partition, key, threshold } = watch;
                if partition.poll_reached(key, *threshold, context).is_ready() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// The same for partitions of another shard, for so long at most.
    pub fn watch_elsewhere(
        &self,
        owner: ShardId,
        thresholds: Vec<(PartitionKey, Offset)>,
        limit: Duration,
    ) -> Call {
        self.probe.hops.add(1);
        self.mailbox.call(owner, ShardRequest::Watch { thresholds, limit })
    }

    /// Asks the shard that owns something, be it this one.
    pub async fn ask(self: &Rc<Self>, owner: ShardId, request: ShardRequest) -> ShardReply {
        if owner == self.id {
            return self.serve(request).await;
        }
        let is_own_matter = matches!(
            request,
            ShardRequest::Control(_)
                | ShardRequest::Install { .. }
                | ShardRequest::GiveUp { .. }
                | ShardRequest::HearCharges { .. }
                | ShardRequest::Enter(_)
                | ShardRequest::Standing
                | ShardRequest::Scrape { .. }
                | ShardRequest::Faults { .. }
                | ShardRequest::Load { .. }
                | ShardRequest::Ends { .. }
        );
        self.probe.hops.add(u64::from(!is_own_matter));
        self.mailbox.call(owner, request).await
    }

    /// Asks the controller on shard 0.
    pub async fn control(self: &Rc<Self>, request: ControlRequest) -> ControlReply {
        match self.ask(ShardId::CONTROLLER, ShardRequest::Control(request)).await {
            ShardReply::Control(reply) => reply,
            _ => ControlReply::Stopping,
        }
    }

    // ------------------------------------------------------------ for any core

    /// Starts what is asked of this shard at once, in the order of calls; what it has to wait for is the
    /// future.
    pub fn serve(
        self: &Rc<Self>,
        request: ShardRequest,
    ) -> Pin<Box<dyn Future<Output = ShardReply>>> {
        let shard = self.clone();
        match request {
            ShardRequest::Append { key, batch } => {
                let mut ticket = shard.append_here(key, batch, runtime::wall_clock());
                Box::pin(async move {
                    let outcome = poll_fn(|context| ticket.poll_produced(context)).await;
                    ShardReply::Append(outcome)
                })
            }
            ShardRequest::Control(request) => {
                let controller = shard.controller.borrow().clone();
                Box::pin(async move {
                    match controller {
                        Some(controller) => ShardReply::Control(controller.handle(request).await),
                        None => ShardReply::Control(ControlReply::Stopping),
                    }
                })
            }
            other => Box::pin(async move { shard.serve_cold(other).await }),
        }
    }

    /// What is asked of partitions.
    async fn serve_cold(self: Rc<Self>, request: ShardRequest) -> ShardReply {
        match request {
            ShardRequest::Read { specs, bytes_max } => {
                let read = self.read_here(&specs, bytes_max).await;
                ShardReply::Read(read.into_iter().map(|read| read.map(copy_of)).collect())
            }
            ShardRequest::Watch { thresholds, limit } => {
                runtime::timeout(limit, self.watch_here(&thresholds)).await;
                ShardReply::Watch
            }
            ShardRequest::Bounds { keys } => {
                let mut bounds = Vec::with_capacity(keys.len());
                for key in keys {
                    self.opened(key).await;
                    bounds.push(self.bounds(key));
                }
                ShardReply::Bounds(bounds)
            }
            ShardRequest::Ends { keys } => ShardReply::Ends(self.ends(&keys).await),
            ShardRequest::EpochEnd { key, epoch } => {
                self.opened(key).await;
                ShardReply::EpochEnd(self.partition(key).map(|log| log.end_of_epoch(epoch)))
            }
            ShardRequest::FindByTime { key, lookup } => {
                self.opened(key).await;
                ShardReply::FindByTime(self.find_by_time(key, lookup).await)
            }
            ShardRequest::RaiseLogStart { key, offset } => {
                self.opened(key).await;
                let raised = self.partition(key).map(|log| log.raise_log_start(offset));
                ShardReply::RaiseLogStart(raised)
            }
            ShardRequest::Producers { key } => {
                self.opened(key).await;
                ShardReply::Producers(self.producers(key))
            }
            other => self.serve_own(other).await,
        }
    }

    /// What is asked of this shard itself.
    async fn serve_own(self: Rc<Self>, request: ShardRequest) -> ShardReply {
        match request {
            ShardRequest::Install { image } => {
                self.install(image).await;
                ShardReply::Install
            }
            ShardRequest::GiveUp { key } => ShardReply::GiveUp(self.give_up(key).await),
            ShardRequest::HearCharges { charged } => {
                self.quotas.hear(charged);
                ShardReply::HearCharges
            }
            ShardRequest::Group(asked) => {
                let answer = self.coordinators().map(|here| here.answer(asked));
                ShardReply::Group(match answer {
                    Some(answer) => answer.await,
                    None => None,
                })
            }
            ShardRequest::Enter(stage) => {
                self.lifecycle.enter(stage).await;
                ShardReply::Enter
            }
            ShardRequest::Standing => ShardReply::Standing { is_ready: self.lifecycle.is_ready() },
            ShardRequest::Scrape { partitions_max } => {
                ShardReply::Scrape(Box::new(self.read_all(partitions_max).await))
            }
            ShardRequest::Faults { faults_max } => {
                ShardReply::Faults(self.read_faults(faults_max).await)
            }
            ShardRequest::Load { partitions_max } => {
                ShardReply::Load(self.read_load(partitions_max))
            }
            ShardRequest::Append { .. }
            | ShardRequest::Read { .. }
            | ShardRequest::Watch { .. }
            | ShardRequest::Bounds { .. }
            | ShardRequest::Ends { .. }
            | ShardRequest::EpochEnd { .. }
            | ShardRequest::FindByTime { .. }
            | ShardRequest::RaiseLogStart { .. }
            | ShardRequest::Producers { .. }
            | ShardRequest::Control(_) => unreachable!("served before"),
        }
    }

    fn bounds(&self, key: PartitionKey) -> Result<Bounds, PartitionError> {
        let log = self.partition(key)?;
        if let Some(fault) = log.read_fault() {
            return Err(fault.into());
        }
        Ok(Bounds {
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
            leader_epoch: log.leader_epoch(),
            log_start_epoch: log.epoch_of(log.log_start()),
            log_bytes: log.log_bytes(),
            is_sound: log.fault().is_none(),
        })
    }

    fn producers(&self, key: PartitionKey) -> Result<Vec<ActiveProducer>, PartitionError> {
        let log = self.partition(key)?;
        if let Some(fault) = log.read_fault() {
            return Err(fault.into());
        }
        Ok(log.active_producers())
    }

    async fn find_by_time(
        &self,
        key: PartitionKey,
        lookup: TimeLookup,
    ) -> Result<Option<Bytes>, PartitionError> {
        let log = self.partition(key)?;
        let found = match lookup {
            TimeLookup::AtOrAfter(timestamp, from) => log.find_batch_by_time(timestamp, from).await,
            TimeLookup::Max => log.find_batch_of_max_time().await,
        };
        let found = found.map_err(|error| {
            let mut error = PartitionError::from(error);
            self.judge(key, &mut error);
            error
        });
        Ok(found?.map(|batch| batch.to_bytes()))
    }
}

struct SharedWaker(Waker);

impl Wake for SharedWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

struct Watch {
    partition: Rc<Partition>,
    key: WatchKey,
    threshold: Offset,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.partition.cancel_watch(&mut self.key);
    }
}

fn copy_of(batches: ReadBatches) -> ReadCopy {
    let mut records = BytesMut::with_capacity(batches.bytes);
    for slice in &batches.slices {
        records.extend_from_slice(slice);
    }
    let ReadBatches { log_start, high_watermark, .. } = batches;
    ReadCopy { records: records.freeze(), log_start, high_watermark }
}
