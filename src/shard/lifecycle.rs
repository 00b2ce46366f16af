//! The way down, step by step: a step is asked for by shard 0, taken by the shard's main task, and
//! answered when it is done.

use super::request::Stage;
use crate::runtime::Wakers;
use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

/// Which step was asked for, and which is done.
#[derive(Debug)]
pub struct Lifecycle {
    asked: Cell<Stage>,
    done: Cell<Stage>,
    /// The shard's main task takes the steps; before, and on a shard that failed to start, none does.
    served: Cell<bool>,
    /// Clients are served.
    ready: Cell<bool>,
    waiting: Wakers,
}

impl Default for Lifecycle {
    fn default() -> Lifecycle {
        let (asked, done) = (Cell::new(Stage::Running), Cell::new(Stage::Running));
        Lifecycle {
            asked,
            done,
            served: Cell::new(false),
            ready: Cell::new(false),
            waiting: Wakers::default(),
        }
    }
}

impl Lifecycle {
    /// Asks for a step and waits until it is done.
    pub async fn enter(&self, stage: Stage) {
        self.asked.set(self.asked.get().max(stage));
        self.waiting.wake_all();
        self.until(|| self.done.get() >= stage).await;
    }

    /// The main task takes steps from here on.
    pub fn serve(&self) {
        self.served.set(true);
    }

    pub fn is_served(&self) -> bool {
        self.served.get()
    }

    /// Clients are served from here on.
    pub fn set_ready(&self) {
        self.ready.set(true);
    }

    /// Clients are served: not before the shard listens, nor once it was asked to leave.
    pub fn is_ready(&self) -> bool {
        self.ready.get() && self.asked.get() == Stage::Running
    }

    /// Waits until a step is asked for.
    pub async fn asked(&self, stage: Stage) {
        self.until(|| self.asked.get() >= stage).await;
    }

    /// Says that a step is done.
    pub fn finish(&self, stage: Stage) {
        self.done.set(stage);
        self.waiting.wake_all();
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        poll_fn(|context| {
            if reached() {
                return Poll::Ready(());
            }
            self.waiting.register(context);
            Poll::Pending
        })
        .await;
    }
}
