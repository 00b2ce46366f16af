//! Waiting for a partition's committed end to pass an offset: producers for their acknowledgement,
//! consumers for something to read. Lives on the partition's shard; costs nothing when nobody waits.

use crate::types::Offset;
use std::cell::RefCell;
use std::task::{Context, Waker};

/// All who wait on one partition. Slots are reused, so waiting allocates only at a new high.
#[derive(Debug, Default)]
pub struct WatchList {
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    taken: Vec<Option<(Offset, Waker)>>,
    free: Vec<usize>,
}

/// One waiter's place; it re-registers in place when polled again, and leaves by `cancel`.
#[derive(Debug, Default)]
pub struct WatchKey(Option<usize>);

impl WatchList {
    /// Wakes the task once the committed end reaches `threshold`, or on `wake_all`.
    pub fn register(&self, key: &mut WatchKey, threshold: Offset, context: &Context<'_>) {
        let Slots { taken, free } = &mut *self.slots.borrow_mut();
        if let Some(Some((at, waker))) = key.0.and_then(|at| taken.get_mut(at)) {
            *at = threshold;
            waker.clone_from(context.waker());
            return;
        }
        let at = free.pop().unwrap_or_else(|| {
            taken.push(None);
            taken.len() - 1
        });
        taken[at] = Some((threshold, context.waker().clone()));
        key.0 = Some(at);
    }

    /// Forgets a waiter that was not woken.
    pub fn cancel(&self, key: &mut WatchKey) {
        let Some(at) = key.0.take() else { return };
        let Slots { taken, free } = &mut *self.slots.borrow_mut();
        if taken[at].take().is_some() {
            free.push(at);
        }
        if free.len() == taken.len() {
            // Nobody waits: a crowd of the past costs no memory.
            (*taken, *free) = Default::default();
        }
    }

    /// Who waits now.
    pub fn len(&self) -> usize {
        {
            let slots = self.slots.borrow();
            slots.taken.len() - slots.free.len()
        }
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
        // A woken waiter keeps its slot until it re-registers or cancels: its key still names it.
        for (threshold, waker) in self.slots.borrow().taken.iter().flatten() {
            if reached(*threshold) {
                waker.wake_by_ref();
            }
        }
    }
}
