//! Partitions that change cores while they are served: the move is recorded, then the core that has the partition
//! completes what is pending and closes it, then the other opens it, then all cores are shown where it is. So one core
//! at most has it at any moment, and a crash anywhere leaves it to the one that the metadata log names.
//!
//! One that fails in between is closed here and not opened there: it is offline at its new place until the next start,
//! and who has it moved is told why.
//!
//! In between, whoever asks for the partition is refused with NOT_LEADER_OR_FOLLOWER, and told so once the new place is
//! shown, so that it can be named. The controller does nothing else meanwhile: what it decides next finds the partition
//! at its new place.

use super::{Pending, Worker};
use crate::control_plane::record::Record;
use crate::runtime;
use crate::shard::control::{ControlError, ControlRequest};
use crate::shard::image::MetadataImage;
use crate::shard::planted::{self, MoveBug};
use crate::shard::request::{GivenUp, PartitionError, PartitionKey, ShardReply, ShardRequest};
use crate::types::ShardId;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is to be moved, and where to, by a group of requests that is a move.
pub(super) fn wanted(group: &[Pending]) -> Option<(PartitionKey, ShardId)> {
    match group.first()?.request {
        ControlRequest::MovePartition { topic_id, index, to } => {
            Some((PartitionKey { topic_id, index }, to))
        }
        _ => None,
    }
}

impl Worker {
    /// Has another shard own a partition; when it returns, it serves there, or was not moved.
    pub(super) async fn move_partition(
        &mut self,
        key: PartitionKey,
        to: ShardId,
    ) -> Result<(), ControlError> {
        let Some((from, record)) = self.decide_move(key, to)? else { return Ok(()) };
        self.check_may_move(from, key).await?;
        let started = runtime::now();
        self.state.apply(&record, &self.config).expect("checked against the state");
        let records = if planted::is(MoveBug::ForgetMove) { vec![] } else { vec![record] };
        if let Err(error) = self.write(&records).await {
            tracing::error!(%error, "cannot move a partition");
            return Err(ControlError::Storage(error.to_string()));
        }
        self.install().await;
        if !self.is_shown(key, to) {
            // A shard that stops has kept it: the next start has it where it should be.
            return Err(ControlError::Stopping);
        }
        if let Some(fault) = self.withheld.get(&key) {
            return Err(ControlError::Storage(fault.to_string()));
        }
        let milliseconds = runtime::now().since(started).as_millis();
        let topic = self.state.topic_by_id(key.topic_id).map_or("", |topic| &*topic.name);
        tracing::info!(topic, partition = key.index, %from, %to, milliseconds, "moved a partition");
        Ok(())
    }

    fn is_shown(&self, key: PartitionKey, at: ShardId) -> bool {
        let image = self.shard.image();
        let topic = image.topic_by_id(key.topic_id);
        topic.and_then(|topic| topic.partition(key.index)).is_some_and(|place| place.shard == at)
    }

    /// Who has the partition, and what is recorded; none when it is there already.
    fn decide_move(
        &self,
        key: PartitionKey,
        to: ShardId,
    ) -> Result<Option<(ShardId, Record)>, ControlError> {
        let PartitionKey { topic_id: id, index } = key;
        let topic = self.state.topic_by_id(id).ok_or(ControlError::UnknownTopic)?;
        let place = topic.partition(index).ok_or(ControlError::UnknownTopic)?;
        let shards = self.shard.shards;
        if to.0 >= shards {
            let text = format!("There is no core {to}: this host has {shards}, counted from 0.");
            return Err(ControlError::InvalidAssignment(text));
        }
        if place.shard == to {
            // It is there, and served by nobody.
            let fault = self.withheld.get(&key);
            return fault.map_or(Ok(None), |fault| Err(ControlError::Storage(fault.to_string())));
        }
        if topic.is_internal() {
            // Groups live where their partition is, and their members' requests are on their way there.
            let text = format!("Partitions of {} do not move while the broker runs.", topic.name);
            return Err(ControlError::InvalidAssignment(text));
        }
        // Another broker may be its leader, so that clients have to tell the news from what is older.
        let risen = i32::from(!planted::is(MoveBug::KeepLeaderEpoch));
        let leader_epoch = place.leader_epoch.saturating_add(risen);
        Ok(Some((place.shard, Record::Moved { id, index, shard: to, leader_epoch })))
    }

    /// A partition that cannot be read stays: whoever opens it anew would take for mended what may not be. Nor does
    /// anything move when what space is left is for deletions.
    async fn check_may_move(
        &mut self,
        from: ShardId,
        key: PartitionKey,
    ) -> Result<(), ControlError> {
        if let Some(log) = &mut self.log
            && let Some(error) = log.lacks_reserve().await
        {
            return Err(ControlError::Storage(error.to_string()));
        }
        let asked = self.shard.ask(from, ShardRequest::Bounds { keys: vec![key] }).await;
        let ShardReply::Bounds(mut bounds) = asked else { return Err(ControlError::Stopping) };
        match bounds.pop() {
            Some(Ok(bounds)) if bounds.is_sound => Ok(()),
            Some(Ok(_)) => {
                let text = "The partition takes no records now: it stays where it is.";
                Err(ControlError::Storage(text.to_string()))
            }
            Some(Err(PartitionError::Fault(fault))) => {
                Err(ControlError::Storage(fault.to_string()))
            }
            _ => Err(ControlError::Stopping),
        }
    }

    /// Has partitions that are elsewhere in an image than in the one that is shown closed by the shards that have them,
    /// and opened by those that have them next. False when a shard that stops has kept one.
    ///
    /// One that could not be left complete is withheld, as it would be offline where it was: whoever opened it anew
    /// would take for mended what may not be.
    pub(super) async fn hand_over(&mut self, image: &mut Arc<MetadataImage>) -> bool {
        let moved = image.moved_since(&self.shard.image());
        if moved.is_empty() || planted::is(MoveBug::OpenBeforeClosed) {
            return true;
        }
        let asked =
            moved.iter().map(|one| self.shard.ask(one.from, ShardRequest::GiveUp { key: one.key }));
        let given = join_all(asked).await;
        for (one, given) in moved.iter().zip(given) {
            match given {
                ShardReply::GiveUp(GivenUp::Complete) => {}
                ShardReply::GiveUp(GivenUp::Failed(fault)) => {
                    Arc::make_mut(&mut self.withheld).insert(one.key, fault);
                }
                _ => return false,
            }
        }
        Arc::make_mut(image).withheld = self.withheld.clone();
        // They have it open before anybody sends them somebody.
        let takers: BTreeSet<ShardId> = moved.iter().map(|one| one.to).collect();
        let asked = takers
            .into_iter()
            .map(|shard| self.shard.ask(shard, ShardRequest::Install { image: image.clone() }));
        join_all(asked).await;
        true
    }
}

#[cfg(test)]
mod tests;
