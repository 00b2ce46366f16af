//! Waiting for a partition's committed end to pass an offset: producers for their acknowledgement,
//! consumers for something to read. Lives on the partition's shard; costs nothing when nobody waits.

use crate::types::Offset;
use std::cell::RefCell;
use std::task::{Context, Waker};

/// All who wait on one partition. Slots are reused, so waiting allocates only at a new high.
#[derive(Debug, Default)]
pub struct WatchList {
    slots: RefCell<Vec<Option<(Offset, Waker)>>>,
}

/// One waiter's place; it re-registers in place when polled again, and leaves by `cancel`.
#[derive(Debug, Default)]
pub struct WatchKey(Option<usize>);

impl WatchList {
    /// Wakes the task once the committed end reaches `threshold`, or on `wake_all`.
    pub fn register(&self, key: &mut WatchKey, threshold: Offset, context: &Context<'_>) {
        let mut slots = self.slots.borrow_mut();
        if let Some(Some((at, waker))) = key.0.and_then(|at| slots.get_mut(at)) {
            *at = threshold;
            waker.clone_from(context.waker());
            return;
        }
        let entry = Some((threshold, context.waker().clone()));
        let at = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        if at == slots.len() {
            slots.push(entry);
        } else {
            slots[at] = entry;
        }
        key.0 = Some(at);
    }

    /// Forgets a waiter that was not woken.
    pub fn cancel(&self, key: &mut WatchKey) {
        let Some(at) = key.0.take() else { return };
        if let Some(slot) = self.slots.borrow_mut().get_mut(at) {
            *slot = None;
        }
    }

    /// Who waits now.
    pub fn len(&self) -> usize {
        self.slots.borrow().iter().flatten().count()
    }

    /// Wakes those whose threshold is reached.
    pub fn wake(&self, committed: Offset) {
        self.wake_where(|threshold| threshold <= committed);
    }

    /// Wakes all: the partition has gone offline or away.
    pub fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    fn wake_where(&self, reached: impl Fn(Offset) -> bool) {
        let mut slots = self.slots.borrow_mut();
        for (threshold, waker) in slots.iter().flatten() {
            if reached(*threshold) {
                waker.wake_by_ref();
            }
        }
        // A woken waiter keeps its slot until it re-registers or cancels: its key still names it.
        if slots.iter().all(Option::is_none) {
            slots.clear();
        }
    }
}
