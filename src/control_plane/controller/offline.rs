//! Which partitions are offline, as their shards tell: it goes into the image that all shards see, and nowhere
//! else. Nothing of it is recorded, and the next life begins without. So it is taken up also while the metadata
//! log cannot be written, as on a device that fails both.

use super::{Pending, Worker};
use crate::shard::control::{ControlReply, ControlRequest};

impl Worker {
    /// Takes up what shards tell, and gives back the requests that are about the log.
    pub(super) async fn hear_offline(&mut self, group: Vec<Pending>) -> Vec<Pending> {
        let (mut told, mut others) = (Vec::new(), Vec::with_capacity(group.len()));
        for pending in group {
            if let ControlRequest::TellOffline { shard, partitions } = &pending.request {
                self.offline.insert(*shard, partitions.clone());
                told.push(pending);
            } else {
                others.push(pending);
            }
        }
        if !told.is_empty() {
            // What is shown already: the state may hold what could not be recorded.
            let image = self.shard.image().shared();
            self.show(image).await;
        }
        for pending in told {
            pending.slot.complete(ControlReply::TellOffline);
        }
        others
    }
}
