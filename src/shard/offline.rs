//! Partitions of this core that cannot be read: shard 0 is told of them, so that clients anywhere are told that
//! nobody leads them. Whoever asks for metadata asks no other core.
//!
//! Cold: a shard looks at a few numbers once a second, and at its partitions when those have changed.

use super::Shard;
use super::control::{ControlReply, ControlRequest};
use super::request::PartitionKey;
use crate::runtime;
use std::rc::Rc;
use std::time::Duration;

/// How often a shard looks. So long may clients be told of a leader that only refuses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Shard {
    /// Tells shard 0 what is offline here whenever that has changed, as long as the shard lives.
    pub(super) async fn tell_offline_when_changed(self: Rc<Self>) {
        let (mut seen, mut told) = (None, Vec::new());
        loop {
            runtime::sleep(LOOK_EVERY).await;
            if self.is_stopping() {
                return;
            }
            // Whatever goes offline counts as a fault; what comes back, or is deleted, is no longer one of those.
            let now = (self.probe.faults.get(), self.log.offline());
            if seen == Some(now) {
                continue;
            }
            let partitions = self.unreadable();
            if partitions != told {
                let request =
                    ControlRequest::TellOffline { shard: self.id, partitions: partitions.clone() };
                if self.control(request).await != ControlReply::TellOffline {
                    continue;
                }
                told = partitions;
            }
            seen = Some(now);
        }
    }

    /// Partitions of this core that cannot be read, in order.
    fn unreadable(&self) -> Vec<PartitionKey> {
        if self.log.offline().iter().all(|(_, count)| *count == 0) {
            return Vec::new();
        }
        let partitions = self.partitions.borrow();
        let unreadable =
            partitions.iter().filter(|(_, hosted)| hosted.partition.read_fault().is_some());
        let mut keys: Vec<PartitionKey> = unreadable.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }
}
