//! Partitions that a start has not opened yet. The shard serves from its first moment: whoever asks for such a
//! partition has it opened at once and waits for that one only, the others follow in the background, those first
//! whose newest segments were written last, of all that were looked at by then. Cold; nothing of it is left once all
//! are open.

use super::Shard;
use super::image::{MetadataImage, Topic};
use super::load::Hosted;
use super::request::{PartitionError, PartitionKey};
use super::serve::AppendTicket;
use crate::log::planted::{self, Bug};
use crate::log::{LogFault, PartitionId};
use crate::runtime::{self, Instant, Wakers};
use crate::types::Timestamp;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Partitions opened at once in the background: enough to keep a device busy while each waits for it.
const OPENERS: usize = 16;
/// Folders looked into at once for when they were written. The thread beside the shard's does it, which opens partitions
/// that somebody waits for as well: where nothing is in memory, it waits for the device for each of them.
const LOOKS: usize = 16;
/// How the names of segments end.
const SEGMENT_END: &str = ".log";
/// How often the log says how far it is.
const TELL_EVERY_MS: u128 = 1000;

/// A partition that is not open yet, and what waits for it.
struct Unopened {
    topic: RefCell<Arc<Topic>>,
    /// Why it must not be opened: then it is offline.
    withheld: Option<LogFault>,
    claimed: Cell<bool>,
    opened: Wakers,
    /// Batches that came early, in their order.
    early: RefCell<VecDeque<(Bytes, Rc<EarlyAppend>)>>,
}

/// An append to a partition that is being opened: its order among others is fixed, its offset is not.
#[derive(Default)]
pub struct EarlyAppend {
    ticket: RefCell<Option<AppendTicket>>,
    dispatched: Wakers,
}

impl EarlyAppend {
    pub fn poll_dispatched(&self, context: &Context<'_>) -> Poll<AppendTicket> {
        if let Some(ticket) = self.ticket.take() {
            return Poll::Ready(ticket);
        }
        self.dispatched.register(context);
        Poll::Pending
    }

    fn dispatch(&self, ticket: AppendTicket) {
        *self.ticket.borrow_mut() = Some(ticket);
        self.dispatched.wake_all();
    }
}

/// What is left to be opened.
#[derive(Default)]
pub struct Opening {
    left: RefCell<HashMap<PartitionKey, Rc<Unopened>>>,
    /// Some are left: what the hot path asks.
    is_active: Cell<bool>,
    /// For the background, as records say when they were written. Others may have opened them by the time it comes to
    /// them.
    queue: RefCell<VecDeque<PartitionKey>>,
    /// Those of them that were looked at, with when they were written and their places in the queue.
    looked_at: RefCell<BinaryHeap<(Timestamp, Reverse<usize>, PartitionKey)>>,
    all_opened: Wakers,
    scanned_bytes: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl Opening {
    /// Partitions left.
    pub fn len(&self) -> usize {
        self.left.borrow().len()
    }

    /// Bytes of log that were read again to open partitions.
    pub fn scanned_bytes(&self) -> u64 {
        self.scanned_bytes.get()
    }

    fn get(&self, key: PartitionKey) -> Option<Rc<Unopened>> {
        self.left.borrow().get(&key).cloned()
    }
}

impl Shard {
    /// Some partitions are not open yet.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.is_active.get()
    }

    /// Takes up the first facts of a life: what they name is opened from here on.
    pub(super) fn open_later(self: &Rc<Self>, image: &MetadataImage) {
        let mut keys: Vec<(Option<Timestamp>, PartitionKey)> = Vec::new();
        for topic in image.topics() {
            for (index, place) in topic.partitions.iter().enumerate() {
                let beside = (place.shard.0 + 1) % self.shards == self.id.0;
                let is_moved = beside && place.leader_epoch > 0;
                let is_planted = is_moved && planted::is(Bug::OpenMovedTwice);
                if place.shard != self.id && !is_planted {
                    continue;
                }
                let index = i32::try_from(index).expect("bounded by TOPIC_PARTITIONS_MAX");
                let key = PartitionKey { topic_id: topic.id, index };
                keys.push((self.log.last_written((topic.id, index)), key));
                let unopened = Unopened {
                    topic: RefCell::new(topic.clone()),
                    withheld: image.withheld.get(&key).cloned(),
                    claimed: Cell::new(false),
                    opened: Wakers::default(),
                    early: RefCell::default(),
                };
                self.opening.left.borrow_mut().insert(key, Rc::new(unopened));
            }
        }
        keys.sort_by_key(|(last_written, _)| Reverse(*last_written));
        self.log.keep_points(|(topic_id, index)| {
            self.opening.left.borrow().contains_key(&PartitionKey { topic_id, index })
        });
        if keys.is_empty() {
            return;
        }
        self.opening.is_active.set(true);
        self.opening.told.set(Some(runtime::now()));
        self.opening.queue.borrow_mut().extend(keys.into_iter().map(|(_, key)| key));
        drop(runtime::spawn_background(self.clone().open_all()));
    }

    async fn open_all(self: Rc<Self>) {
        let (started, count) = (runtime::now(), self.opening.len());
        let keys: Vec<(usize, PartitionKey)> =
            self.opening.queue.borrow().iter().copied().enumerate().collect();
        let (first, others) = keys.split_at(LOOKS.min(keys.len()));
        // Nothing is opened before some of them are known; the others are looked at meanwhile.
        self.look_at(first).await;
        let looking = async {
            for some in others.chunks(LOOKS) {
                self.look_at(some).await;
            }
        };
        let openers = (0..OPENERS.min(count)).map(|_| async {
            while let Some(key) = self.next_unopened() {
                self.open_now(key).await;
                self.tell_progress(count);
            }
        });
        join(looking, join_all(openers)).await;
        drop(self.opening.looked_at.take());
        self.opened_all().await;
        let milliseconds = runtime::now().since(started).as_millis();
        tracing::info!(shard = %self.id, partitions = count, milliseconds,
            scanned_bytes = self.opening.scanned_bytes(), "all partitions are open");
        if !self.is_stopping()
            && let Err(error) = self.log.save_recovery_points().await
        {
            tracing::warn!(%error, "cannot write recovery points");
        }
    }

    /// Finds out when some of them were last written, as the file system knows it. What records say of their time is the
    /// clients' to choose; it decides where nothing else does.
    async fn look_at(&self, some: &[(usize, PartitionKey)]) {
        // Those that are open are looked at no more.
        let left = some.iter().filter_map(|one| Some((*one, self.folder_of(one.1)?)));
        let (left, folders): (Vec<(usize, PartitionKey)>, Vec<PathBuf>) = left.unzip();
        if folders.is_empty() || self.is_stopping() {
            return;
        }
        let looked = runtime::last_modified(folders, SEGMENT_END).await;
        let known = left.into_iter().zip(looked);
        let known = known.filter_map(|((at, key), written)| Some((written?, Reverse(at), key)));
        self.opening.looked_at.borrow_mut().extend(known);
    }

    /// Where the files are of a partition that is not open yet.
    fn folder_of(&self, key: PartitionKey) -> Option<PathBuf> {
        let unopened = self.opening.get(key)?;
        let topic = unopened.topic.borrow().name.clone();
        let id = PartitionId { topic_id: key.topic_id, topic, index: key.index };
        Some(self.log.options.data_directory.join(id.to_string()))
    }

    fn next_unopened(&self) -> Option<PartitionKey> {
        if self.is_stopping() {
            return None;
        }
        let looked_at = self.opening.looked_at.borrow_mut().pop();
        let last_written = looked_at.map(|(_, _, key)| key);
        last_written.or_else(|| self.opening.queue.borrow_mut().pop_front())
    }

    fn tell_progress(&self, count: usize) {
        let now = runtime::now();
        let is_due =
            self.opening.told.get().is_none_or(|told| now.since(told).as_millis() >= TELL_EVERY_MS);
        if is_due {
            self.opening.told.set(Some(now));
            let (left, scanned_bytes) = (self.opening.len(), self.opening.scanned_bytes());
            tracing::info!(shard = %self.id, opened = count - left, of = count, scanned_bytes,
                "opening partitions");
        }
    }

    /// Opens a partition, unless that is done or under way.
    async fn open_now(self: &Rc<Self>, key: PartitionKey) {
        let Some(unopened) = self.opening.get(key).filter(|found| !found.claimed.replace(true))
        else {
            return;
        };
        let topic = unopened.topic.borrow().clone();
        let place = *topic.partition(key.index).expect("the image names it");
        let withheld = unopened.withheld.as_ref();
        let partition = self.open_partition(&topic, key.index, &place, withheld).await;
        let scanned = self.opening.scanned_bytes() + partition.recovery().scanned_bytes;
        self.opening.scanned_bytes.set(scanned);
        // It may have been changed in the meantime.
        partition.set_config(unopened.topic.borrow().log_config.clone());
        self.partitions.borrow_mut().insert(key, Hosted::new(partition));
        self.opening.left.borrow_mut().remove(&key);
        let mut early = unopened.early.take();
        if planted::is(Bug::TurnEarlyAppends) {
            early.make_contiguous().reverse();
        }
        for (batch, early) in early {
            self.log.remove_pending(batch.len());
            early.dispatch(self.append_here(key, batch, runtime::wall_clock()));
        }
        unopened.opened.wake_all();
        if self.opening.len() == 0 {
            self.opening.is_active.set(false);
            self.opening.all_opened.wake_all();
        }
    }

    /// Waits until a partition is open, and has it opened now. At once when it is, or is not known here.
    pub async fn opened(self: &Rc<Self>, key: PartitionKey) {
        let Some(unopened) = self.opening.get(key) else { return };
        if self.is_stopping() {
            return;
        }
        self.open_soon(key, &unopened);
        poll_fn(|context| {
            if self.opening.get(key).is_none() || self.is_stopping() {
                return Poll::Ready(());
            }
            unopened.opened.register(context);
            Poll::Pending
        })
        .await;
    }

    /// In a task of its own: who asks may leave.
    fn open_soon(self: &Rc<Self>, key: PartitionKey, unopened: &Unopened) {
        if !unopened.claimed.get() {
            let shard = self.clone();
            drop(runtime::spawn(async move { shard.open_now(key).await }));
        }
    }

    /// Waits until all partitions are open.
    pub async fn opened_all(&self) {
        poll_fn(|context| {
            if self.opening.len() == 0 || self.is_stopping() {
                return Poll::Ready(());
            }
            self.opening.all_opened.register(context);
            Poll::Pending
        })
        .await;
    }

    /// An append to a partition that is not open yet; `None` when it is, or is not known here.
    pub(super) fn append_early(
        self: &Rc<Self>,
        key: PartitionKey,
        batch: &Bytes,
    ) -> Option<AppendTicket> {
        let unopened = self.opening.get(key)?;
        self.open_soon(key, &unopened);
        let early = Rc::new(EarlyAppend::default());
        // At the bound of what is pending, sockets are not read.
        self.log.add_pending(batch.len());
        unopened.early.borrow_mut().push_back((batch.clone(), early.clone()));
        Some(AppendTicket::Early(early))
    }

    /// A topic was changed: what is not open yet is opened accordingly.
    pub(super) fn change_unopened(&self, key: PartitionKey, topic: &Arc<Topic>) -> bool {
        let unopened = self.opening.get(key);
        if let Some(unopened) = &unopened {
            *unopened.topic.borrow_mut() = topic.clone();
        }
        unopened.is_some()
    }

    /// Partitions that are not open and that an image does not place here any more.
    pub(super) fn unopened_but_gone(
        &self,
        stays: impl Fn(&PartitionKey) -> bool,
    ) -> Vec<PartitionKey> {
        let left = self.opening.left.borrow();
        let mut gone: Vec<PartitionKey> = left.keys().filter(|key| !stays(key)).copied().collect();
        gone.sort_unstable();
        gone
    }

    /// The shard stops: nothing more is opened, and what is being opened is waited for.
    pub(super) async fn end_opening(self: &Rc<Self>) {
        let mut left: Vec<(PartitionKey, Rc<Unopened>)> = {
            let left = self.opening.left.borrow();
            left.iter().map(|(key, unopened)| (*key, unopened.clone())).collect()
        };
        left.sort_unstable_by_key(|(key, _)| *key);
        for (key, unopened) in left {
            if !unopened.claimed.replace(true) {
                self.opening.left.borrow_mut().remove(&key);
                for (batch, early) in unopened.early.take() {
                    self.log.remove_pending(batch.len());
                    early.dispatch(AppendTicket::Refused(Some(PartitionError::Stopping)));
                }
                unopened.opened.wake_all();
                continue;
            }
            poll_fn(|context| {
                if self.opening.get(key).is_none() {
                    return Poll::Ready(());
                }
                unopened.opened.register(context);
                Poll::Pending
            })
            .await;
        }
        self.opening.all_opened.wake_all();
    }
}

#[cfg(test)]
mod tests;
