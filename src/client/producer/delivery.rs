//! What tells the sender of a record where it went.

use crate::client::{Acknowledged, ClientError, TopicPartition};
use crate::runtime::Wakers;
use crate::types::{Offset, Timestamp};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The end of a batch, shared by its records.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    answer: RefCell<Option<Result<Acknowledged, ClientError>>>,
    waiting: Wakers,
}

impl Outcome {
    pub fn fill(&self, answer: Result<Acknowledged, ClientError>) {
        let before = self.answer.replace(Some(answer));
        debug_assert!(before.is_none(), "a batch ends once");
        self.waiting.wake_all();
    }

    #[cfg(test)]
    pub fn answer(&self) -> Option<Result<Acknowledged, ClientError>> {
        self.answer.borrow().clone()
    }
}

/// A record's future place. Dropping it changes nothing; `Producer::flush` tells of failures too.
#[derive(Debug)]
pub struct Delivery {
    pub(super) partition: TopicPartition,
    pub(super) outcome: Rc<Outcome>,
    /// In its batch.
    pub(super) index: usize,
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub partition: TopicPartition,
    /// None when the broker does not say: acks=0, or a duplicate from long ago.
    pub offset: Option<Offset>,
    /// The broker's, where it stamps the records.
    pub append_time: Option<Timestamp>,
}

impl Future for Delivery {
    type Output = Result<Delivered, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &*self.outcome.answer.borrow() else {
            self.outcome.waiting.register(context);
            return Poll::Pending;
        };
        Poll::Ready(match answer {
            Ok(acknowledged) => Ok(Delivered {
                partition: self.partition.clone(),
                offset: acknowledged.base_offset.map(|base| base.advanced_by(self.index as i64)),
                append_time: acknowledged.append_time,
            }),
            Err(error) => Err(error.clone()),
        })
    }
}
