//! Which partitions are offline, as their shards tell: it goes into the image that all shards see, and nowhere
//! else. Nothing of it is recorded, and the next life begins without. So it is taken up also while the metadata
//! log cannot be written, as on a device that fails both. And how facts are shown to all shards.

use super::{Pending, Worker};
use crate::shard::control::{ControlReply, ControlRequest};
use crate::shard::image::MetadataImage;
use crate::shard::request::ShardRequest;
use futures_util::future::join_all;
use std::sync::Arc;

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

    /// Shows facts to all shards, with what is offline; when it returns, all have taken them up. What has moved is
    /// handed over first; when a shard that stops keeps it, nothing is shown: this life is about to end.
    pub(super) async fn show(&mut self, mut image: Arc<MetadataImage>) {
        self.version += 1;
        let shown = Arc::make_mut(&mut image);
        shown.version = self.version;
        shown.withheld = self.withheld.clone();
        shown.offline = Arc::new(self.offline.values().flatten().copied().collect());
        if !self.hand_over(&image).await {
            return;
        }
        let asked = self
            .shard
            .all_shards()
            .map(|shard| self.shard.ask(shard, ShardRequest::Install { image: image.clone() }));
        join_all(asked).await;
    }
}
