//! The coordinator of the groups of one partition of `__consumer_offsets`. Lives on the core that owns the
//! partition, as one task for as long as the partition is there.
//!
//! It reads its partition, then serves. A turn (a request, a timer) changes the state at once and may leave
//! records and answers. While one append is in flight, the records of further turns gather for the next; an
//! answer is given when all that was stored up to its turn is durable, so that it never shows what a crash
//! could take back. When an append fails, nobody who waits is answered, and the partition is read anew.
//!
//! It never waits within a turn, and nothing but it appends to its partition.

use super::load::{self, LoadError, Loaded};
use super::record::Encoded;
use super::state::{Groups, Memory};
use super::turn::{Counts, GroupConfig, Release, Timers, Turn};
use crate::limits::{BATCH_HEADER_BYTES, GROUP_TIMERS_PER_TURN_MAX};
use crate::log::planted::{self, Bug};
use crate::runtime::{self, Event, Filler, Instant, Slot, slot};
use crate::shard::Shard;
use crate::shard::request::{PartitionError, PartitionKey, Produced};
use crate::types::Offset;
use crate::wire::compression::Codec;
use crate::wire::records::{BatchBuilder, ProducerSequence};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

/// How long after a failure the partition is read again: doubled each time until something was stored, up to the
/// longest. One that can be read and not written, say because the disk is full, is back sooner: what was committed
/// is told in between, and members stay.
const RELOAD_AFTER: Duration = Duration::from_millis(100);
const RELOAD_AFTER_MAX: Duration = Duration::from_secs(30);
const RELOAD_READABLE_AFTER_MAX: Duration = Duration::from_secs(2);
/// Records that expiration and copying gather before they wait for them to be stored.
const GATHERED_BYTES_WISHED: usize = 256 << 10;
/// Groups that expiration looks at before what others want is done.
const GROUPS_EXPIRED_PER_TURN: usize = 128;
/// A log shorter than this is not written anew, and one that is, when it is so much longer than what it says.
const COPY_BYTES_MIN: usize = 4 << 20;
const COPY_FACTOR: usize = 4;
#[cfg(test)]
thread_local! {
    static COPY_BYTES_MIN_HERE: Cell<usize> = const { Cell::new(COPY_BYTES_MIN) };
}

/// For the simulation, whose logs stay short: from now on, logs of this length are written anew on this thread.
#[cfg(test)]
pub fn set_copy_bytes_min(bytes: Option<usize>) {
    COPY_BYTES_MIN_HERE.set(bytes.unwrap_or(COPY_BYTES_MIN));
}

#[cfg(test)]
fn copy_bytes_min() -> usize {
    COPY_BYTES_MIN_HERE.get()
}

#[cfg(not(test))]
const fn copy_bytes_min() -> usize {
    COPY_BYTES_MIN
}

/// What a record takes in a batch beside key and value, at most.
const RECORD_OVERHEAD: usize = 32;

/// Why what has gathered is not stored, or not where it should be.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error("stored at {found} where {expected} follows: the log has records that were not read")]
    Elsewhere { expected: Offset, found: Offset },
}

/// One partition's coordinator.
pub struct Coordinator {
    shard: Rc<Shard>,
    config: RefCell<Rc<GroupConfig>>,
    pub key: PartitionKey,
    /// What groups of this core hold, all together.
    memory: Rc<Cell<usize>>,
    /// What the state is the fold of ends here.
    end: Cell<Offset>,
    phase: RefCell<Phase>,
    /// There is something to do for the task.
    changed: Event,
    /// What the task sleeps until, if it does for a timer.
    sleeps_until: Cell<Option<Instant>>,
    ending: Cell<bool>,
    ended: Event,
}

enum Phase {
    Loading,
    /// The partition cannot be read or written.
    Failed,
    Serving(Box<Serving>),
    Ended,
}

#[derive(Default)]
struct Serving {
    groups: Groups,
    timers: Timers,
    /// Of turns whose records are not on their way yet.
    gathered: Gathered,
    /// Answers that wait for the append in flight, if there is one.
    in_flight: Option<Vec<Release>>,
    /// Topics that are gone, whose offsets are to go.
    gone_topics: Vec<Str>,
}

#[derive(Default)]
struct Gathered {
    records: Vec<Encoded>,
    bytes: usize,
    releases: Vec<Release>,
}

/// A look at all groups for offsets whose time is over: up to which one.
#[derive(Default)]
struct Expiring {
    last: Option<Str>,
}

/// A way to write the log anew: up to which group, and where the copy begins.
struct Copying {
    from: Offset,
    /// Bytes appended before it began.
    bytes_before: usize,
    last: Option<Str>,
    /// All groups are copied: durable with the next append.
    is_whole: bool,
}

impl Serving {
    /// Takes over what a turn left; the answers that may be given at once.
    fn take_up(&mut self, records: Vec<Encoded>, releases: Vec<Release>) -> Vec<Release> {
        self.gathered.bytes += records.iter().map(bytes_of).sum::<usize>();
        self.gathered.records.extend(records);
        if planted::is(Bug::AnswerGroupsEarly) {
            return releases;
        }
        if !self.gathered.records.is_empty() {
            self.gathered.releases.extend(releases);
            return Vec::new();
        }
        match &mut self.in_flight {
            Some(waiting) => {
                waiting.extend(releases);
                Vec::new()
            }
            None => releases,
        }
    }
}

fn bytes_of(record: &Encoded) -> usize {
    RECORD_OVERHEAD + record.key.len() + record.value.as_ref().map_or(0, Bytes::len)
}

impl Coordinator {
    /// Starts the task of a partition of this core.
    pub fn start(
        shard: &Rc<Shard>,
        config: Rc<GroupConfig>,
        key: PartitionKey,
        memory: &Rc<Cell<usize>>,
    ) -> Rc<Coordinator> {
        let coordinator = Rc::new(Coordinator {
            shard: shard.clone(),
            config: RefCell::new(config),
            key,
            memory: memory.clone(),
            end: Cell::new(Offset::ZERO),
            phase: RefCell::new(Phase::Loading),
            changed: Event::default(),
            sleeps_until: Cell::new(None),
            ending: Cell::new(false),
            ended: Event::default(),
        });
        drop(runtime::spawn(coordinator.clone().run()));
        coordinator
    }

    /// From the next turn on.
    pub fn set_config(&self, config: Rc<GroupConfig>) {
        *self.config.borrow_mut() = config;
    }

    /// What holds for groups that set nothing, and what they may set.
    pub fn config(&self) -> Rc<GroupConfig> {
        self.config.borrow().clone()
    }

    // ------------------------------------------------------------ turns

    /// Has a turn make an answer, and waits until it may be given.
    ///
    /// # Errors
    /// The state is not there, or was lost before the answer could be given.
    pub async fn ask<T: 'static>(
        &self,
        act: impl FnOnce(&mut Groups, &mut Turn, Filler<T>),
    ) -> Result<T, ErrorCode> {
        let (filler, answer): (Filler<T>, Slot<T>) = slot();
        self.turn(|groups, turn| act(groups, turn, filler))?;
        answer.await.ok_or_else(|| match *self.phase.borrow() {
            Phase::Ended => ErrorCode::NotCoordinator,
            _ => ErrorCode::CoordinatorNotAvailable,
        })
    }

    /// The same for an answer that the turn gives itself.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn answer<T: 'static>(
        &self,
        act: impl FnOnce(&mut Groups, &mut Turn) -> T,
    ) -> Result<T, ErrorCode> {
        self.ask(|groups, turn, filler| {
            let answer = act(groups, turn);
            turn.answer(filler, answer);
        })
        .await
    }

    /// Changes the state. Nothing is waited for.
    fn turn(&self, act: impl FnOnce(&mut Groups, &mut Turn)) -> Result<(), ErrorCode> {
        let mut phase = self.phase.borrow_mut();
        let serving = match &mut *phase {
            Phase::Serving(serving) if !self.ending.get() => serving,
            Phase::Serving(_) | Phase::Ended => return Err(ErrorCode::NotCoordinator),
            Phase::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Failed => return Err(ErrorCode::CoordinatorNotAvailable),
        };
        let (image, config) = (self.shard.image(), self.config());
        let mut turn = Turn {
            now: runtime::now(),
            wall: runtime::wall_clock(),
            config: &config,
            overrides: &image.group_overrides,
            timers: &mut serving.timers,
            random: &mut runtime::random_u64,
            records: Vec::new(),
            releases: Vec::new(),
            counts: Counts::default(),
        };
        act(&mut serving.groups, &mut turn);
        let Turn { records, releases, counts, .. } = turn;
        self.count(&counts);
        let mut encoded = Vec::with_capacity(records.len());
        for record in records {
            let bytes = record.encode();
            serving.groups.note_stored(&record, &bytes);
            encoded.push(bytes);
        }
        let stores = !encoded.is_empty();
        let releases = serving.take_up(encoded, releases);
        let next_at = serving.timers.next_at();
        drop(phase);
        releases.into_iter().for_each(|release| release());
        let sleeps_until = self.sleeps_until.get();
        let is_sooner = next_at.zip(sleeps_until).is_some_and(|(at, until)| at < until);
        if stores || is_sooner {
            self.changed.notify();
        }
        Ok(())
    }

    fn count(&self, counts: &Counts) {
        let probe = &self.shard.probe;
        probe.group_assignments_classic.add(counts.assignments_classic);
        probe.group_assignments_consumer.add(counts.assignments_consumer);
        probe.group_sessions_expired.add(counts.sessions_expired);
        probe.offsets_committed.add(counts.offsets_committed);
        probe.offsets_expired.add(counts.offsets_expired);
        probe.offsets_deleted.add(counts.offsets_deleted);
        probe.group_topics_left_out.add(counts.topics_left_out);
        probe.group_assignments_withheld.add(counts.assignments_withheld);
    }

    /// Shows the groups as they are now, to somebody who only reads; `None` while they are not served.
    pub fn look<T>(&self, at: impl FnOnce(&Groups) -> T) -> Option<T> {
        match &*self.phase.borrow() {
            Phase::Serving(serving) => Some(at(&serving.groups)),
            Phase::Loading | Phase::Failed | Phase::Ended => None,
        }
    }

    /// What it does, for metrics.
    pub fn state_name(&self) -> &'static str {
        match &*self.phase.borrow() {
            Phase::Loading => "loading",
            Phase::Failed | Phase::Ended => "failed",
            Phase::Serving(_) => "serving",
        }
    }

    /// Members that wait for an answer.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        match &*self.phase.borrow() {
            Phase::Serving(serving) => serving.groups.waiting(),
            _ => 0,
        }
    }

    /// Topics are gone: the offsets that groups have of them go too.
    pub fn forget_topics(&self, is_gone: impl Fn(&str) -> bool) {
        if let Phase::Serving(serving) = &mut *self.phase.borrow_mut() {
            let Serving { groups, gone_topics, .. } = &mut **serving;
            gone_topics.extend(groups.topics().filter(|topic| is_gone(topic)).cloned());
            if gone_topics.is_empty() {
                return;
            }
            self.changed.notify();
        }
    }

    /// Ends the task when what has gathered is stored: groups are served elsewhere, or nowhere.
    pub async fn end(&self) {
        self.ending.set(true);
        self.changed.notify();
        while !matches!(*self.phase.borrow(), Phase::Ended) {
            self.ended.after(self.ended.count()).await;
        }
    }

    // ------------------------------------------------------------ the task

    async fn run(self: Rc<Self>) {
        let mut pause = RELOAD_AFTER;
        while !self.ending.get() {
            let mut longest = RELOAD_AFTER_MAX;
            match self.load().await {
                Ok(log_bytes) => {
                    let end = self.end.get();
                    self.serve(log_bytes).await;
                    if self.end.get() > end {
                        pause = RELOAD_AFTER;
                    }
                    longest = RELOAD_READABLE_AFTER_MAX;
                }
                Err(_) if self.shard.is_stopping() => break,
                Err(error) => {
                    tracing::error!(partition = self.key.index, %error, again_in = ?pause,
                        "cannot read the groups of a partition of __consumer_offsets");
                }
            }
            if self.ending.get() {
                break;
            }
            self.set_phase(Phase::Failed);
            let ending = self.changed.after(self.changed.count());
            runtime::timeout(pause.min(longest), ending).await;
            pause = (pause * 2).min(RELOAD_AFTER_MAX);
        }
        self.set_phase(Phase::Ended);
        self.ended.notify();
    }

    /// Whoever waits for an answer from the phase before learns that there will be none.
    fn set_phase(&self, phase: Phase) {
        let before = self.phase.replace(phase);
        drop(before);
    }

    async fn load(&self) -> Result<usize, LoadError> {
        self.set_phase(match planted::is(Bug::ServeGroupsWhileLoading) {
            true => Phase::Serving(Box::default()),
            false => Phase::Loading,
        });
        let started = runtime::now();
        let memory = Memory::new(self.memory.clone());
        let loaded = match load::load(&self.shard, self.key, memory).await {
            Err(_) if planted::is(Bug::ServeForeignGroups) => Loaded::default(),
            loaded => loaded?,
        };
        let Loaded { groups, log_bytes, records, end } = loaded;
        self.end.set(end);
        if records > 0 {
            let milliseconds = runtime::now().since(started).as_millis();
            tracing::info!(
                partition = self.key.index,
                groups = groups.entries().count(),
                records,
                log_bytes,
                milliseconds,
                "groups are loaded"
            );
        }
        let gone_topics = self.topics_of_old_ids(&groups);
        let serving = Serving { groups, gone_topics, ..Serving::default() };
        self.set_phase(Phase::Serving(Box::new(serving)));
        if !planted::is(Bug::ForgetSessions) {
            let _ = self.turn(|groups, turn| groups.start_timers(turn));
        }
        Ok(log_bytes)
    }

    /// Topics that were deleted while their offsets were being removed, as the ids beside the offsets say.
    fn topics_of_old_ids(&self, groups: &Groups) -> Vec<Str> {
        let image = self.shard.image();
        let is_old = |topic: &&Str| {
            let id = image.topic(topic).map(|topic| topic.id.0);
            let mut offsets = groups.groups_of_topic(topic).into_iter().flat_map(|name| {
                let entry = groups.entry(&name);
                let offsets = entry.and_then(|entry| entry.offsets.get(*topic));
                offsets.into_iter().flat_map(|offsets| offsets.values().map(|one| one.topic_id))
            });
            offsets.any(|found| found != [0; 16] && Some(found) != id)
        };
        groups.topics().filter(is_old).cloned().collect()
    }

    /// Serves until it fails, or is to end.
    async fn serve(&self, mut log_bytes: usize) {
        let mut expires_at = runtime::now() + self.config().offsets_retention_check;
        let mut expiring: Option<Expiring> = None;
        let mut copying: Option<Copying> = None;
        loop {
            let seen = self.changed.count();
            self.take_due_timers();
            self.drop_gone_topics();
            let stores = self.has_gathered();
            if stores {
                match self.store_gathered().await {
                    Ok(bytes) => log_bytes += bytes,
                    Err(error) => {
                        tracing::error!(partition = self.key.index, %error,
                            "cannot store what groups have become; reading them again");
                        return;
                    }
                }
            }
            if self.ending.get() {
                if !stores {
                    return;
                }
                continue;
            }
            // One piece of what is not urgent after each append: no number of commits keeps it from its turn.
            let now = runtime::now();
            if now >= expires_at {
                expires_at = now + self.config().offsets_retention_check;
                expiring.get_or_insert_default();
            }
            if let Some(at) = &mut expiring {
                if !self.expire_some(at) {
                    expiring = None;
                }
                runtime::yield_if_needed().await;
                continue;
            }
            if let Some(copy) = &mut copying {
                if copy.is_whole {
                    log_bytes -= self.end_copy(copy).await;
                    copying = None;
                } else {
                    self.copy_some(copy);
                }
                continue;
            }
            copying = self.begin_copy(log_bytes);
            if copying.is_none() && !stores {
                self.sleep(seen, expires_at).await;
            }
        }
    }

    async fn sleep(&self, seen: u64, until: Instant) {
        let timer = match &*self.phase.borrow() {
            Phase::Serving(serving) => serving.timers.next_at(),
            _ => None,
        };
        let until = timer.map_or(until, |timer| timer.min(until));
        self.sleeps_until.set(Some(until));
        let limit = until.since(runtime::now());
        runtime::timeout(limit, self.changed.after(seen)).await;
        self.sleeps_until.set(None);
    }

    fn take_due_timers(&self) {
        // Ended or not, nobody is told of what cannot be done any more.
        let image = self.shard.image();
        let _ = self.turn(|groups, turn| {
            for _ in 0..GROUP_TIMERS_PER_TURN_MAX {
                let Some(timer) = turn.timers.take_due(turn.now) else { break };
                groups.on_timer(&timer, &*image, turn);
            }
        });
    }

    fn drop_gone_topics(&self) {
        let gone = match &mut *self.phase.borrow_mut() {
            Phase::Serving(serving) => std::mem::take(&mut serving.gone_topics),
            _ => return,
        };
        // Another topic of that name may be there by now, and offsets of it.
        let image = self.shard.image();
        for topic in gone {
            let id = image.topic(&topic).map(|topic| topic.id.0);
            let _ = self.turn(|groups, turn| groups.drop_gone_topic(&topic, id, turn));
        }
    }

    // ------------------------------------------------------------ storing

    fn has_gathered(&self) -> bool {
        match &*self.phase.borrow() {
            Phase::Serving(serving) => !serving.gathered.records.is_empty(),
            _ => false,
        }
    }

    /// Appends all that has gathered and gives the answers that wait for it; the bytes appended.
    async fn store_gathered(&self) -> Result<usize, StoreError> {
        let Gathered { records, releases, .. } = match &mut *self.phase.borrow_mut() {
            Phase::Serving(serving) => {
                serving.in_flight = Some(Vec::new());
                std::mem::take(&mut serving.gathered)
            }
            _ => return Ok(0),
        };
        let image = self.shard.image();
        let topic = image.topic_by_id(self.key.topic_id);
        let limit = topic.map_or(0, |topic| topic.log_config.message_bytes_max);
        let batches = batches_of(&records, limit);
        drop(records);
        let bytes = batches.iter().map(Bytes::len).sum();
        let append = |batch| self.shard.append(self.shard.id, self.key, batch);
        let mut tickets: Vec<_> = batches.into_iter().map(append).collect();
        let mut outcome = Ok(());
        // All of them, so that none is on its way any more when the partition is read again.
        for ticket in &mut tickets {
            let stored = poll_fn(|context| ticket.poll_produced(context)).await;
            outcome = outcome.and_then(|()| self.advance(stored));
        }
        outcome?;
        let later = match &mut *self.phase.borrow_mut() {
            Phase::Serving(serving) => serving.in_flight.take().unwrap_or_default(),
            _ => Vec::new(),
        };
        releases.into_iter().chain(later).for_each(|release| release());
        Ok(bytes)
    }

    /// A partition that a full disk stopped is opened anew by the log, and may have more than was promised.
    fn advance(&self, stored: Result<Produced, PartitionError>) -> Result<(), StoreError> {
        let Produced { dispatched, .. } = stored?;
        let (expected, found) = (self.end.get(), dispatched.base_offset);
        self.end.set(dispatched.end);
        if found == expected { Ok(()) } else { Err(StoreError::Elsewhere { expected, found }) }
    }

    /// Forgets offsets of the next groups whose time is over, and empty groups without any; false when no group
    /// is left.
    fn expire_some(&self, at: &mut Expiring) -> bool {
        for _ in 0..GROUPS_EXPIRED_PER_TURN {
            let next = match &*self.phase.borrow() {
                Phase::Serving(serving) if serving.gathered.bytes < GATHERED_BYTES_WISHED => {
                    serving.groups.name_after(at.last.as_ref())
                }
                Phase::Serving(_) => return true,
                _ => None,
            };
            let Some(name) = next else { return false };
            let _ = self.turn(|groups, turn| groups.expire_group(&name, turn));
            at.last = Some(name);
        }
        true
    }

    // ------------------------------------------------------------ copying forward

    /// Compaction without touching segments: what is live is appended again, then the log begins there. A
    /// crash anywhere leaves a log that folds to the same state.
    fn begin_copy(&self, log_bytes: usize) -> Option<Copying> {
        let live = match &*self.phase.borrow() {
            Phase::Serving(serving) => serving.groups.live_bytes(),
            _ => return None,
        };
        if log_bytes < copy_bytes_min().max(live.saturating_mul(COPY_FACTOR)) {
            return None;
        }
        let from = self.shard.partition(self.key).ok()?.high_watermark();
        Some(Copying { from, bytes_before: log_bytes, last: None, is_whole: false })
    }

    /// Copies the next groups.
    fn copy_some(&self, copy: &mut Copying) {
        let Phase::Serving(serving) = &mut *self.phase.borrow_mut() else { return };
        while serving.gathered.bytes < GATHERED_BYTES_WISHED {
            let Some(name) = serving.groups.name_after(copy.last.as_ref()) else {
                copy.is_whole = true;
                return;
            };
            let mut records = serving.groups.records_of(&name);
            if planted::is(Bug::CopyForgetsOffset) {
                records.pop();
            }
            let none = serving.take_up(records, Vec::new());
            debug_assert!(none.is_empty());
            copy.last = Some(name);
        }
    }

    /// All is copied and durable: the log begins where the copy does. The bytes before it.
    async fn end_copy(&self, copy: &Copying) -> usize {
        let raised = super::route::raise_log_start(&self.shard, self.key, copy.from).await;
        match raised {
            Ok(()) => {
                tracing::info!(partition = self.key.index, log_start = %copy.from,
                    bytes = copy.bytes_before, "wrote groups anew");
            }
            // It is tried again when the log has grown.
            Err(error) => {
                tracing::warn!(partition = self.key.index, %error, "cannot shorten a log of groups");
            }
        }
        copy.bytes_before
    }
}

/// The records as batches that the topic takes, as few as possible.
fn batches_of(records: &[Encoded], bytes_max: usize) -> Vec<Bytes> {
    let wall = runtime::wall_clock();
    let mut batches = Vec::new();
    let mut batch = BatchBuilder::new(Codec::None);
    for record in records {
        if !batch.is_empty() && batch.bytes() + bytes_of(record) > bytes_max {
            let full = std::mem::replace(&mut batch, BatchBuilder::new(Codec::None));
            batches.push(full.build(ProducerSequence::NONE));
        }
        batch.push(wall, Some(&record.key), record.value.as_deref(), &[]);
    }
    debug_assert!(batch.bytes() > BATCH_HEADER_BYTES, "there are records");
    batches.push(batch.build(ProducerSequence::NONE));
    batches
}
