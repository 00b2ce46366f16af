//! Memory that requests of one core may take while they arrive. A large frame reserves all of its length
//! before it is read, so that whoever has begun can end; at the limit its socket is not read.

use crate::runtime::Wakers;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// Frames up to this size need no reservation: connections are bounded, so these are too.
pub const UNRESERVED_BYTES_MAX: usize = 16 * 1024;

/// One core's budget for arriving requests.
#[derive(Debug)]
pub struct ReceiveBudget {
    limit: usize,
    used: Cell<usize>,
    waiting: Wakers,
}

/// Part of a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Rc<ReceiveBudget>,
    bytes: usize,
}

impl ReceiveBudget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Rc<ReceiveBudget> {
        Rc::new(ReceiveBudget { limit, used: Cell::new(0), waiting: Wakers::default() })
    }

    /// Waits for `bytes`. One that is larger than the whole budget gets all of it.
    pub async fn reserve(self: &Rc<Self>, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.limit);
        poll_fn(|context| {
            if self.used.get() + bytes <= self.limit {
                self.used.set(self.used.get() + bytes);
                return Poll::Ready(());
            }
            self.waiting.register(context);
            Poll::Pending
        })
        .await;
        Reservation { budget: self.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        self.budget.waiting.wake_all();
    }
}
