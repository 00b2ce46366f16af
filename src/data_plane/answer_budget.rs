//! Memory that the answers of one core may take until they are sent. A fetch takes its share before it
//! reads and gets less when little is left, but enough for a first batch; without that it waits its turn.
//! Other answers are only counted: a connection makes one at a time.

use crate::runtime::Line;
use std::cell::Cell;
use std::rc::Rc;

/// The most that one fetch is given of what is left, unless it needs more for a first batch: who comes
/// next finds some too.
const SHARE_OF_REST: usize = 4;

/// One core's budget for answers.
#[derive(Debug)]
pub struct AnswerBudget {
    limit: usize,
    used: Cell<usize>,
    line: Line,
}

/// Part of a budget, given back on drop.
#[derive(Debug)]
pub struct AnswerShare {
    budget: Rc<AnswerBudget>,
    bytes: usize,
}

impl AnswerBudget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Rc<AnswerBudget> {
        Rc::new(AnswerBudget { limit, used: Cell::new(0), line: Line::default() })
    }

    /// Waits until `least` bytes are free, or all of the budget is, and takes `most` of them at most.
    pub async fn take(self: &Rc<Self>, least: usize, most: usize) -> AnswerShare {
        if most == 0 {
            return self.hold(0);
        }
        let least = least.min(self.limit);
        let take = || {
            let rest = self.limit.saturating_sub(self.used.get());
            (least <= rest).then(|| self.hold(most.clamp(least, least.max(rest / SHARE_OF_REST))))
        };
        self.line.wait(take).await
    }

    /// Counts what is held already, be it beyond the limit: then fetches wait.
    pub fn hold(self: &Rc<Self>, bytes: usize) -> AnswerShare {
        self.used.set(self.used.get() + bytes);
        AnswerShare { budget: self.clone(), bytes }
    }

    /// Somebody waits for memory, or would.
    pub fn is_scarce(&self) -> bool {
        !self.line.is_empty() || self.used.get() >= self.limit
    }

    /// Bytes that are held.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl AnswerShare {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held in fact: less than was taken or, as a first batch is whole whatever its size, more.
    pub fn set(&mut self, bytes: usize) {
        let used = self.budget.used.get() - self.bytes + bytes;
        self.budget.used.set(used);
        let is_less = bytes < self.bytes;
        self.bytes = bytes;
        if is_less {
            self.budget.line.wake_first();
        }
    }

    pub fn give_back(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes));
    }

    /// Takes over what another share holds.
    pub fn absorb(&mut self, mut other: AnswerShare) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for AnswerShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sim::Simulation;
    use crate::runtime::{sleep, spawn};
    use std::time::Duration;

    #[test]
    fn there_is_less_for_each_as_there_is_less_in_all_and_then_they_wait() {
        Simulation::new(1).run(async {
            let budget = AnswerBudget::new(1000);
            let mut shares = vec![budget.take(10, 1000).await, budget.take(10, 1000).await];
            assert_eq!([shares[0].bytes(), shares[1].bytes()], [250, 187]);
            assert_eq!(budget.take(10, 50).await.bytes(), 50);
            shares[0].set(800);
            assert!(!budget.is_scarce());
            let waiting = spawn({
                let budget = budget.clone();
                async move { budget.take(50, 1000).await.bytes() }
            });
            sleep(Duration::from_secs(1)).await;
            assert!(budget.is_scarce());
            shares[0].give_back(50);
            assert_eq!(waiting.await, 50);
            shares[0].set(0);
            let other = shares.pop().unwrap();
            shares[0].absorb(other);
            assert_eq!((shares[0].bytes(), budget.used()), (187, 187));
            drop(shares);
            assert_eq!((budget.used(), budget.is_scarce()), (0, false));
            assert_eq!(budget.take(5000, 9000).await.bytes(), 1000, "all that there is");
        });
    }
}
