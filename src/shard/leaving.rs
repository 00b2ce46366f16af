//! Partitions that this core has given up and that have not been shown to it elsewhere yet. Who asks for one is refused,
//! and is told so when its new place is known: so that the answer can name it, and whoever asks for metadata instead
//! finds it there. Nobody waits for that much longer than he would by himself before he tries again. Cold.

use super::Shard;
use super::request::{PartitionError, PartitionKey, ReadSpec};
use crate::log::ReadBatches;
use crate::runtime::{self, Wakers};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// As long as Java's client pauses before it tries again (retry.backoff.ms).
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// What leaves, and who is to be told where it went.
#[derive(Default)]
pub struct Leaving {
    keys: RefCell<BTreeSet<PartitionKey>>,
    waiting: Wakers,
}

impl Leaving {
    /// Ready once a refusal of this partition may be told; at once when it is not leaving.
    pub fn poll_told(&self, key: PartitionKey, context: &Context<'_>) -> Poll<()> {
        if !self.keys.borrow().contains(&key) {
            return Poll::Ready(());
        }
        self.waiting.register(context);
        Poll::Pending
    }

    /// New places were shown.
    pub fn end_all(&self) {
        self.keys.borrow_mut().clear();
        self.waiting.wake_all();
    }

    fn end(&self, key: PartitionKey) {
        self.keys.borrow_mut().remove(&key);
        self.waiting.wake_all();
    }
}

impl Shard {
    /// A partition leaves this core from now on.
    pub(super) fn begin_leaving(self: &Rc<Self>, key: PartitionKey) {
        self.leaving.keys.borrow_mut().insert(key);
        let shard = self.clone();
        drop(runtime::spawn(async move {
            runtime::sleep(TOLD_WITHIN).await;
            shard.leaving.end(key);
        }));
    }

    /// Waits until the refusals among these may be told, all together no longer than for one.
    pub(super) async fn may_be_told(
        &self,
        specs: &[ReadSpec],
        results: &[Result<ReadBatches, PartitionError>],
    ) {
        let all = async {
            for (spec, result) in specs.iter().zip(results) {
                if matches!(result, Err(PartitionError::NotHere)) {
                    poll_fn(|context| self.leaving.poll_told(spec.key, context)).await;
                }
            }
        };
        runtime::timeout(TOLD_WITHIN, all).await;
    }
}
