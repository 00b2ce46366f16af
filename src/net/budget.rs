//! Memory that requests of one core may take while they arrive. A large frame reserves it step by step as
//! its bytes come, so that a length alone takes nothing; at the limit its socket is not read.
//!
//! Frames that hold a part each and wait for the rest would wait for each other for ever. So one of them,
//! the finisher, gets all it needs at once, beyond the limit: what arrives takes `limit` and one largest
//! frame at most.

use crate::runtime::Line;
use std::cell::Cell;
use std::rc::Rc;

/// So much of a frame needs no reservation: connections are bounded, so these bytes are too.
pub const UNRESERVED_BYTES_MAX: usize = 16 * 1024;

/// The least that a frame reserves at a time, or what is left of it.
const STEP_BYTES_MIN: usize = 1024 * 1024;

/// One core's budget for arriving requests.
#[derive(Debug)]
pub struct ReceiveBudget {
    limit: usize,
    used: Cell<usize>,
    has_finisher: Cell<bool>,
    line: Line,
}

/// One frame's part of the budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Rc<ReceiveBudget>,
    bytes: usize,
    is_finisher: bool,
}

impl ReceiveBudget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Rc<ReceiveBudget> {
        let (used, has_finisher) = (Cell::new(0), Cell::new(false));
        Rc::new(ReceiveBudget { limit, used, has_finisher, line: Line::default() })
    }

    pub fn reservation(self: &Rc<Self>) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0, is_finisher: false }
    }

    /// Somebody waits for memory.
    pub fn is_scarce(&self) -> bool {
        !self.line.is_empty()
    }

    /// Bytes that are reserved.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Reservation {
    /// Bytes of the frame that may be received.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits for the next step of a frame of `frame_bytes`, of which `received` are there: at least as
    /// much again, so that steps are few.
    pub async fn grow(&mut self, received: usize, frame_bytes: usize) {
        let wanted = frame_bytes.min(received + received.max(STEP_BYTES_MIN));
        let budget = &self.budget;
        let taken = budget.line.wait(|| budget.take(self.bytes, wanted, frame_bytes)).await;
        (self.bytes, self.is_finisher) = taken;
    }
}

impl ReceiveBudget {
    /// What a frame that has reserved `held` has from now on, and whether it is the finisher.
    fn take(&self, held: usize, wanted: usize, frame_bytes: usize) -> Option<(usize, bool)> {
        let others = self.used.get() - held;
        if others + wanted <= self.limit {
            self.used.set(others + wanted);
            return Some((wanted, false));
        }
        if self.has_finisher.replace(true) {
            return None;
        }
        self.used.set(others + frame_bytes);
        Some((frame_bytes, true))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        if self.is_finisher {
            self.budget.has_finisher.set(false);
        }
        self.budget.line.wake_first();
    }
}
