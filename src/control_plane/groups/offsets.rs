//! Committed offsets: kept, told, removed, and forgotten when their time is over. Pure, on the group's core.
//!
//! The rules are those of Kafka's OffsetMetadataManager.

use super::classic::OffsetsExpire;
use super::consumer::TopicView;
use super::group::OffsetCommitter;
use super::record::{CommittedOffset, GroupRecord, OffsetKey};
use super::state::Groups;
use super::turn::Turn;
use crate::limits::GROUPS_BYTES_MAX;
use crate::log::planted::{self, Bug};
use crate::types::Timestamp;
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
};
use crate::wire::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::api::offset_fetch::{OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
use crate::wire::{ErrorCode, Str};
use std::time::Duration;

/// A member may be named by its epoch from this version of OffsetCommit on (KIP-848).
const MEMBER_EPOCH_VERSION_MIN: i16 = 9;

/// Of what a fetch tells of a partition without an offset.
const NO_OFFSET: i64 = -1;

/// Of an offset that Kafka wrote before it kept ids beside them.
const NO_TOPIC_ID: [u8; 16] = [0; 16];

/// Whose offsets a fetch is after, and as whom.
#[derive(Clone, Debug)]
pub struct OffsetFetcher {
    pub group: Str,
    pub member_id: Option<Str>,
    pub member_epoch: i32,
}

impl Groups {
    // ------------------------------------------------------------ commit

    /// Keeps offsets. `response` has the request's partitions in its order; those without an error in it are
    /// to be kept, under the names and ids of topics in it.
    pub fn commit_offsets(
        &mut self,
        request: &OffsetCommitRequest,
        version: i16,
        mut response: OffsetCommitResponse,
        turn: &mut Turn,
    ) -> OffsetCommitResponse {
        let committer = OffsetCommitter {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_ref(),
            generation_or_epoch: request.generation_id_or_member_epoch,
            version,
        };
        let refused = self.check_commit(&request.group_id, &committer, &response, turn).err();
        let expire_timestamp = match request.retention_time_ms {
            -1 => -1,
            retention => turn.wall.0.saturating_add(retention),
        };
        for (asked, answer) in request.topics.iter().zip(&mut response.topics) {
            for (partition, told) in asked.partitions.iter().zip(&mut answer.partitions) {
                if !told.error_code.is_none() {
                    continue;
                }
                told.error_code = match refused {
                    Some(refused) => refused,
                    None => self.check_offset(partition, turn),
                };
                if !told.error_code.is_none() {
                    continue;
                }
                let key = OffsetKey {
                    group: request.group_id.detached(),
                    topic: answer.name.detached(),
                    partition: partition.partition_index,
                };
                let metadata = partition.committed_metadata.as_ref();
                let value = CommittedOffset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch.max(-1),
                    metadata: metadata.map(Str::detached).unwrap_or_default(),
                    commit_timestamp: turn.wall.0,
                    expire_timestamp,
                    topic_id: answer.topic_id.0,
                };
                self.set_offset(&key, Some(value.clone()), turn.wall);
                turn.store(GroupRecord::Offset(key, Some(value)));
                turn.counts.offsets_committed += 1;
            }
        }
        response
    }

    /// Whether the group takes offsets from whoever commits. One that does not use membership makes its group.
    fn check_commit(
        &mut self,
        group: &Str,
        committer: &OffsetCommitter<'_>,
        response: &OffsetCommitResponse,
        turn: &mut Turn,
    ) -> Result<(), ErrorCode> {
        if self.entry(group).is_none() {
            if committer.generation_or_epoch >= 0 {
                return Err(if committer.version >= MEMBER_EPOCH_VERSION_MIN {
                    ErrorCode::GroupIdNotFound
                } else {
                    ErrorCode::IllegalGeneration
                });
            }
            if self.memory_bytes() >= GROUPS_BYTES_MAX {
                return Err(ErrorCode::InvalidCommitOffsetSize);
            }
            self.get_or_make(group, turn.wall);
        }
        let entry = self.entry_mut(group).expect("it is there");
        let partitions = response.topics.iter().flat_map(|topic| {
            let wanted = topic.partitions.iter().filter(|told| told.error_code.is_none());
            wanted.map(|told| (topic.topic_id, told.partition_index))
        });
        entry.group.take_offset_commit(committer, partitions, turn)
    }

    fn check_offset(&self, partition: &OffsetCommitRequestPartition, turn: &Turn) -> ErrorCode {
        let metadata = partition.committed_metadata.as_ref();
        // As Java counts: in units of UTF-16. There are never more of those than bytes.
        let is_long = |text: &Str| {
            let limit = turn.config.offset_metadata_bytes_max;
            text.as_bytes().len() > limit && text.encode_utf16().count() > limit
        };
        if metadata.is_some_and(is_long) {
            return ErrorCode::OffsetMetadataTooLarge;
        }
        if self.memory_bytes() >= GROUPS_BYTES_MAX {
            return ErrorCode::InvalidCommitOffsetSize;
        }
        ErrorCode::None
    }

    // ------------------------------------------------------------ fetch

    /// What was committed for these partitions; -1 for none, and for all of an unknown group. `view` says which
    /// topics there are: what was committed for another one of the same name is not told.
    ///
    /// # Errors
    /// Whoever asks says to be a member and is not, or not any more.
    pub fn fetch_offsets(
        &self,
        fetcher: &OffsetFetcher,
        mut topics: Vec<OffsetFetchResponseTopics>,
        view: &dyn TopicView,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
        let entry = match self.entry(&fetcher.group) {
            Some(entry) => {
                let (member_id, epoch) = (fetcher.member_id.as_ref(), fetcher.member_epoch);
                entry.group.check_offset_fetch(member_id, epoch)?;
                Some(entry)
            }
            None => None,
        };
        for topic in &mut topics {
            let offsets = entry.and_then(|entry| entry.offsets.get(&topic.name));
            let id = id_of(&topic.name, view);
            for told in topic.partitions.iter_mut().filter(|told| told.error_code.is_none()) {
                let offset = offsets.and_then(|offsets| offsets.get(&told.partition_index));
                let offset = offset.filter(|offset| may_be_about(offset, id));
                *told = told_offset(told.partition_index, offset);
            }
        }
        Ok(topics)
    }

    /// All that was committed for a group.
    ///
    /// # Errors
    /// As `fetch_offsets`.
    pub fn fetch_all_offsets(
        &self,
        fetcher: &OffsetFetcher,
        view: &dyn TopicView,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
        let Some(entry) = self.entry(&fetcher.group) else { return Ok(Vec::new()) };
        entry.group.check_offset_fetch(fetcher.member_id.as_ref(), fetcher.member_epoch)?;
        let topics = entry.offsets.iter().map(|(name, offsets)| {
            let id = id_of(name, view);
            let told = offsets.iter().filter(|(_, offset)| may_be_about(offset, id));
            OffsetFetchResponseTopics {
                name: name.clone(),
                partitions: told.map(|(at, offset)| told_offset(*at, Some(offset))).collect(),
                ..OffsetFetchResponseTopics::default()
            }
        });
        Ok(topics.filter(|topic| !topic.partitions.is_empty()).collect())
    }

    // ------------------------------------------------------------ removal

    /// Removes offsets that a client names; `response` as with `commit_offsets`.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        mut response: OffsetDeleteResponse,
        turn: &mut Turn,
    ) -> OffsetDeleteResponse {
        let name = &request.group_id;
        let checked = match self.entry(name) {
            Some(entry) => entry.group.check_offset_delete(),
            None => Err(ErrorCode::GroupIdNotFound),
        };
        if let Err(error_code) = checked {
            return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
        }
        for topic in &mut response.topics {
            let entry = self.entry(name).expect("checked above");
            let is_subscribed = entry.group.is_subscribed_to(&topic.name);
            for told in topic.partitions.iter_mut().filter(|told| told.error_code.is_none()) {
                if is_subscribed {
                    told.error_code = ErrorCode::GroupSubscribedToTopic;
                    continue;
                }
                let had = self.drop_offset(name, &topic.name, told.partition_index, turn);
                turn.counts.offsets_deleted += u64::from(had);
            }
        }
        response
    }

    /// False when there was none.
    fn drop_offset(&mut self, group: &Str, topic: &Str, partition: i32, turn: &mut Turn) -> bool {
        let offsets = self.entry(group).and_then(|entry| entry.offsets.get(topic));
        if !offsets.is_some_and(|offsets| offsets.contains_key(&partition)) {
            return false;
        }
        let key = OffsetKey { group: group.detached(), topic: topic.detached(), partition };
        self.set_offset(&key, None, turn.wall);
        if !planted::is(Bug::ForgetRemovedOffsets) {
            turn.store(GroupRecord::Offset(key, None));
        }
        true
    }

    /// Removes a group's offsets of a topic, those that are about it.
    fn drop_topic(
        &mut self,
        group: &Str,
        topic: &Str,
        is_about: impl Fn(&CommittedOffset) -> bool,
        turn: &mut Turn,
    ) {
        let offsets = self.entry(group).and_then(|entry| entry.offsets.get(topic));
        let chosen = offsets.into_iter().flatten().filter(|(_, offset)| is_about(offset));
        let partitions: Vec<i32> = chosen.map(|(partition, _)| *partition).collect();
        for partition in partitions {
            let had = self.drop_offset(group, topic, partition, turn);
            turn.counts.offsets_deleted += u64::from(had);
        }
    }

    /// Removes all groups' offsets of topics of this name that are gone. `id`: of the one that is there now, whose
    /// offsets stay.
    pub fn drop_gone_topic(&mut self, topic: &Str, id: Option<[u8; 16]>, turn: &mut Turn) {
        let is_gone = |offset: &CommittedOffset| match offset.topic_id {
            // Written by a broker that did not say.
            NO_TOPIC_ID => id.is_none(),
            found => Some(found) != id,
        };
        for group in self.groups_of_topic(topic) {
            self.drop_topic(&group, topic, is_gone, turn);
        }
    }

    /// Removes a group with all that belongs to it.
    ///
    /// # Errors
    /// It has members, or there is none of this name.
    pub fn delete_group(&mut self, name: &Str, turn: &mut Turn) -> Result<(), ErrorCode> {
        let entry = self.entry(name).ok_or(ErrorCode::GroupIdNotFound)?;
        entry.group.check_delete()?;
        let topics: Vec<Str> = entry.offsets.keys().cloned().collect();
        for topic in topics {
            self.drop_topic(name, &topic, |_| true, turn);
        }
        self.drop_group(name, turn);
        Ok(())
    }

    fn drop_group(&mut self, name: &Str, turn: &mut Turn) {
        if let Some(entry) = self.entry_mut(name) {
            entry.group.delete(turn);
        }
        self.remove(name);
    }

    /// Forgets a group's offsets whose time is over, and the group when nothing is left of it.
    pub fn expire_group(&mut self, name: &Str, turn: &mut Turn) {
        let Some(entry) = self.entry(name) else { return };
        let expiration = entry.group.offsets_expire();
        let is_over = |offset: &CommittedOffset| {
            is_over(expiration, offset, turn.wall, turn.config.offsets_retention)
        };
        let mut over: Vec<(Str, i32)> = Vec::new();
        let mut left = 0;
        for (topic, offsets) in &entry.offsets {
            let may = !entry.group.is_subscribed_to(topic);
            for (partition, offset) in offsets {
                if may && is_over(offset) {
                    over.push((topic.clone(), *partition));
                } else {
                    left += 1;
                }
            }
        }
        for (topic, partition) in over {
            let had = self.drop_offset(name, &topic, partition, turn);
            turn.counts.offsets_expired += u64::from(had);
        }
        let is_empty = self.entry(name).is_some_and(|entry| entry.group.is_empty());
        if left == 0 && is_empty {
            self.drop_group(name, turn);
        }
    }
}

/// Of the topic of this name, if there is one.
fn id_of(topic: &str, view: &dyn TopicView) -> Option<[u8; 16]> {
    view.topic(topic).map(|(id, _)| id.0)
}

/// Unless both ids are known and differ: then it was committed for a topic that is gone.
fn may_be_about(offset: &CommittedOffset, id: Option<[u8; 16]>) -> bool {
    offset.topic_id == NO_TOPIC_ID || id.is_none_or(|id| id == offset.topic_id)
}

fn told_offset(
    partition_index: i32,
    offset: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartitions {
    match offset {
        Some(offset) => OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            metadata: Some(offset.metadata.clone()),
            error_code: ErrorCode::None,
        },
        None => OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: NO_OFFSET,
            committed_leader_epoch: -1,
            metadata: Some(Str::default()),
            error_code: ErrorCode::None,
        },
    }
}

/// KIP-211: since when an offset's time runs depends on its group. One whose client chose a retention of its
/// own has an end of its own.
fn is_over(
    expiration: OffsetsExpire,
    offset: &CommittedOffset,
    now: Timestamp,
    retention: Duration,
) -> bool {
    let since = match expiration {
        OffsetsExpire::Never => return false,
        OffsetsExpire::AfterCommit => offset.commit_timestamp,
        OffsetsExpire::After(moment) => moment.0,
    };
    if offset.expire_timestamp >= 0 {
        return now.0 >= offset.expire_timestamp;
    }
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(since) >= retention
}
