//! What is asked of the controller, in its order, and where the answers are awaited. Lives on shard 0.

use crate::limits::CONTROL_GROUP_MAX;
use crate::shard::control::{ControlReply, ControlRequest};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A request, and where its answer is awaited.
pub(super) struct Pending {
    pub request: ControlRequest,
    pub slot: Rc<Slot>,
}

#[derive(Default)]
pub(super) struct Slot {
    reply: Cell<Option<ControlReply>>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    pub fn complete(&self, reply: ControlReply) {
        self.reply.set(Some(reply));
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub async fn wait(&self) -> ControlReply {
        poll_fn(|context| {
            if let Some(reply) = self.reply.take() {
                return Poll::Ready(reply);
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pending: RefCell<VecDeque<Pending>>,
    worker_idle: RefCell<Option<Waker>>,
}

impl Queue {
    pub fn push(&self, pending: Pending) {
        self.pending.borrow_mut().push_back(pending);
        let worker = self.worker_idle.borrow_mut().take();
        if let Some(worker) = worker {
            worker.wake();
        }
    }

    /// What has gathered, once there is some. A deletion has been taken up by all shards before a topic is
    /// made that may have the same name, and so the same folders. A move comes alone: nothing else is decided
    /// about a partition that is on its way.
    pub async fn next_group(&self) -> Vec<Pending> {
        poll_fn(|context| {
            let mut pending = self.pending.borrow_mut();
            if pending.is_empty() {
                *self.worker_idle.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            let mut deletes = false;
            let together = |pending: &&Pending| match pending.request {
                ControlRequest::MovePartition { .. } => false,
                ControlRequest::CreateTopics(_) => !deletes,
                ControlRequest::DeleteTopics(_) => {
                    deletes = true;
                    true
                }
                _ => true,
            };
            let count = pending.iter().take(CONTROL_GROUP_MAX).take_while(together).count();
            Poll::Ready(pending.drain(..count.max(1)).collect())
        })
        .await
    }
}
