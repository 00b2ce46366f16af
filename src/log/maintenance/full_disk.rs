//! What a full disk stopped goes on by itself: segments that have expired or were deleted make room, and once
//! there is room, partitions are opened anew.
//!
//! Runs in one background task of each shard, which does nothing while no partition of it is stopped so.

use crate::log::appender::ALLOCATE_BYTES_MIN;
use crate::log::fault::FaultKind;
use crate::log::shard_log::ShardLog;
use crate::runtime;
use std::rc::Rc;
use std::time::Duration;

/// How often stopped partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
impl ShardLog {
    /// Looks after partitions that a full disk stopped, as long as the shard lives.
    pub(in crate::log) async fn relieve_when_due(self: Rc<Self>) {
        loop {
            runtime::sleep(LOOK_EVERY).await;
            if self.offline_of(FaultKind::StorageFull) == 0 {
                continue;
            }
            let has_room = self.has_room();
            for partition in self.partitions().into_iter().filter(|partition| partition.is_full()) {
                let now = runtime::wall_clock();
                partition.retain_if_due(now);
                if has_room {
                    partition.try_again();
                }
                runtime::yield_if_needed().await;
            }
        }
    }

    fn has_room(&self) -> bool {
        let space = runtime::volume_space(&self.options.data_directory);
        // With less than a segment begins with, only who writes tries.
        space.is_ok_and(|space| space.usable_bytes >= ALLOCATE_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests;
