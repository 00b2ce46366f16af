//! Consumer groups from outside: who is in them, what they have committed, and how both are changed.

use super::error::ClientError;
use super::{Client, TopicPartition};
use crate::types::{Offset, TopicId};
use crate::wire::api::consumer_group_describe::DescribedConsumerMember;
use crate::wire::api::describe_groups::DescribedGroupMember;
use crate::wire::api::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::api::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::wire::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use crate::wire::api::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest,
};
use crate::wire::{Decoder, ErrorCode, Request, Str, WireError};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A group as a list shows it. Brokers of before Kafka 2.6 and 3.8 do not tell state and type: empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGroup {
    pub id: String,
    pub kind: String,
    pub state: String,
    pub protocol_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    /// `classic` or `consumer` (KIP-848).
    pub kind: &'static str,
    pub state: String,
    /// What shares out the partitions: a classic group's protocol, or the broker's assignor.
    pub assignor: String,
    /// Of a consumer group.
    pub epoch: Option<i32>,
    /// The broker that looks after it.
    pub coordinator: i32,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// Of a consumer group.
    pub epoch: Option<i32>,
    pub assignment: Vec<TopicPartition>,
}

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    pub metadata: String,
}

/// Who commits, and reads what was committed: nobody in particular, or a member in its epoch (KIP-848).
#[derive(Clone, Debug, Default)]
pub struct Membership {
    pub member: Option<(Str, i32)>,
}

const KEY_TYPE_GROUP: i8 = 0;
/// The last versions that name topics rather than their ids.
const COMMIT_VERSION_MAX: i16 = 9;
const FETCH_VERSION_MAX: i16 = 9;

impl Client {
    /// The broker that looks after a group.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn coordinator(&self, group: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest {
            key: group.into(),
            key_type: KEY_TYPE_GROUP,
            coordinator_keys: vec![group.into()],
        };
        let limit = self.options().request_limit;
        let what = || format!("finding the coordinator of group {group}");
        self.retry(&what(), async || {
            let response = self.any().await?.call(&request, limit).await?;
            let (code, message, id) = match response.coordinators.first() {
                Some(found) => (found.error_code, found.error_message.as_deref(), found.node_id),
                None => (response.error_code, response.error_message.as_deref(), response.node_id),
            };
            ClientError::check(code, message, what)?;
            if self.metadata(|metadata| !metadata.brokers.contains_key(&id)) {
                self.refresh(&[]).await?;
            }
            Ok(id)
        })
        .await
    }

    /// Asks a group's coordinator, again while that may help. `code` finds what it says of the whole request.
    pub(super) async fn call_coordinator<R: Request>(
        &self,
        group: &str,
        request: &R,
        version_max: i16,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<(i32, R::Response), ClientError> {
        let limit = self.options().request_limit;
        let what = || format!("group {group}");
        self.retry(&what(), async || {
            let id = self.coordinator(group).await?;
            let connection = self.broker(id).await?;
            let version = connection.version::<R>(version_max)?;
            let response = connection.call_version(request, version, Vec::new(), limit).await?;
            ClientError::check(code(&response), None, what)?;
            Ok((id, response))
        })
        .await
    }

    /// All groups of all brokers, by name.
    ///
    /// # Errors
    /// When a broker does not answer: a list would not be whole.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        self.refresh(&[]).await?;
        let ids: Vec<i32> = self.metadata(|known| known.brokers.keys().copied().collect());
        let limit = self.options().request_limit;
        let mut groups = Vec::new();
        for id in ids {
            let what = || format!("the groups of broker {id}");
            let response = self
                .retry(&what(), async || {
                    let request = ListGroupsRequest::default();
                    let response = self.broker(id).await?.call(&request, limit).await?;
                    ClientError::check(response.error_code, None, what)?;
                    Ok(response)
                })
                .await?;
            groups.extend(response.groups.iter().map(|group| ListedGroup {
                id: group.group_id.to_string(),
                kind: group.group_type.to_lowercase(),
                state: group.group_state.to_string(),
                protocol_type: group.protocol_type.to_string(),
            }));
        }
        groups.sort();
        // A group that moved meanwhile was told by two brokers, perhaps not in the same state.
        groups.dedup_by(|one, other| one.id == other.id);
        Ok(groups)
    }

    /// A group with its members; None when there is none of this name.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn describe_group(&self, name: &str) -> Result<Option<Group>, ClientError> {
        match self.describe_consumer_group(name).await {
            // An older broker, or a group of the other kind.
            Err(ClientError::Unsupported { .. }) => {}
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
            found => return found.map(Some),
        }
        let request = DescribeGroupsRequest { groups: vec![name.into()], ..Default::default() };
        let code = |response: &<DescribeGroupsRequest as Request>::Response| {
            response.groups.first().map_or(ErrorCode::UnknownServerError, |group| group.error_code)
        };
        let called = self.call_coordinator(name, &request, i16::MAX, code).await;
        let (coordinator, response) = match called {
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Ok(None),
            other => other?,
        };
        let group = response.groups.into_iter().next();
        let group = group.ok_or_else(|| ClientError::NotAnswered { what: name.to_string() })?;
        // How brokers said before Kafka 4.0 that there is none.
        if group.group_state.as_str() == "Dead" {
            return Ok(None);
        }
        Ok(Some(Group {
            id: name.to_string(),
            kind: "classic",
            state: group.group_state.to_string(),
            assignor: group.protocol_data.to_string(),
            epoch: None,
            coordinator,
            members: group.members.into_iter().map(classic_member).collect(),
        }))
    }

    async fn describe_consumer_group(&self, name: &str) -> Result<Group, ClientError> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![name.into()], ..Default::default() };
        let code = |response: &<ConsumerGroupDescribeRequest as Request>::Response| {
            response.groups.first().map_or(ErrorCode::UnknownServerError, |group| group.error_code)
        };
        let (coordinator, response) = self.call_coordinator(name, &request, i16::MAX, code).await?;
        let group = response.groups.into_iter().next();
        let group = group.ok_or_else(|| ClientError::NotAnswered { what: name.to_string() })?;
        Ok(Group {
            id: name.to_string(),
            kind: "consumer",
            state: group.group_state.to_string(),
            assignor: group.assignor_name.to_string(),
            epoch: Some(group.group_epoch),
            coordinator,
            members: group.members.iter().map(consumer_member).collect(),
        })
    }

    /// What a group has committed: for these partitions, or for all that it has an offset of.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        by: &Membership,
    ) -> Result<BTreeMap<TopicPartition, Committed>, ClientError> {
        let topics = partitions.map(|partitions| {
            let topics = by_topic(partitions.iter().map(|at| (at, at.partition)));
            topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopic {
                name,
                partition_indexes,
            })
        });
        let topics: Option<Vec<_>> = topics.map(Iterator::collect);
        let (member_id, member_epoch) = match &by.member {
            Some((id, epoch)) => (Some(id.clone()), *epoch),
            None => (None, -1),
        };
        let request = OffsetFetchRequest {
            group_id: group.into(),
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                member_id,
                member_epoch,
                topics: topics.as_ref().map(|topics| topics.iter().map(Into::into).collect()),
            }],
            topics,
            require_stable: true,
        };
        let code = |response: &<OffsetFetchRequest as Request>::Response| {
            response.groups.first().map_or(response.error_code, |group| group.error_code)
        };
        let (_, response) = self.call_coordinator(group, &request, FETCH_VERSION_MAX, code).await?;
        let mut found = BTreeMap::new();
        let mut take = |topic: &Str, partition, offset, metadata: &Option<Str>, code: ErrorCode| {
            let at = TopicPartition { topic: topic.detached(), partition };
            ClientError::check(code, None, || format!("the offset of group {group} in {at}"))?;
            if offset >= 0 {
                let metadata = metadata.as_ref().map(Str::to_string).unwrap_or_default();
                found.insert(at, Committed { offset: Offset(offset), metadata });
            }
            Ok::<(), ClientError>(())
        };
        for topic in response.groups.iter().flat_map(|group| &group.topics) {
            for one in &topic.partitions {
                let (offset, metadata) = (one.committed_offset, &one.metadata);
                take(&topic.name, one.partition_index, offset, metadata, one.error_code)?;
            }
        }
        for topic in &response.topics {
            for one in &topic.partitions {
                let (offset, metadata) = (one.committed_offset, &one.metadata);
                take(&topic.name, one.partition_index, offset, metadata, one.error_code)?;
            }
        }
        Ok(found)
    }

    /// Commits offsets for a group.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason: UNKNOWN_MEMBER_ID while a group has members and `by` is none.
    pub async fn commit(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, Offset>,
        by: &Membership,
    ) -> Result<(), ClientError> {
        let topics = by_topic(offsets.iter().map(|(at, offset)| (at, (at.partition, *offset))));
        let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
            name,
            topic_id: TopicId::ZERO,
            partitions: partitions
                .into_iter()
                .map(|(partition_index, offset)| OffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: offset.0,
                    committed_leader_epoch: -1,
                    committed_metadata: Some(Str::default()),
                })
                .collect(),
        });
        let (member_id, epoch) = by.member.clone().unwrap_or((Str::default(), -1));
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: epoch,
            member_id,
            group_instance_id: None,
            retention_time_ms: -1,
            topics: topics.collect(),
        };
        let code = |response: &<OffsetCommitRequest as Request>::Response| {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let mut failed = partitions.map(|one| one.error_code).filter(|code| !code.is_none());
            failed.next().unwrap_or(ErrorCode::None)
        };
        // A member finds out whether its topic is gone; others wait for the broker to hear of theirs.
        let retried = |response: &<OffsetCommitRequest as Request>::Response| {
            let code = code(response);
            let is_missing = code == ErrorCode::UnknownTopicOrPartition;
            if is_missing && by.member.is_some() { ErrorCode::None } else { code }
        };
        let called = self.call_coordinator(group, &request, COMMIT_VERSION_MAX, retried).await?;
        ClientError::check(code(&called.1), None, || format!("offsets of group {group}"))
    }

    /// Forgets what a group has committed for these partitions.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason: GROUP_SUBSCRIBED_TO_TOPIC while members read the topic.
    pub async fn delete_committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let topics = by_topic(partitions.iter().map(|at| (at, at.partition)));
        let topics = topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic {
            name,
            partitions: partitions
                .into_iter()
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        });
        let request = OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
        let code = |response: &<OffsetDeleteRequest as Request>::Response| {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let codes = std::iter::once(response.error_code)
                .chain(partitions.map(|one| one.error_code))
                .find(|code| !code.is_none());
            codes.unwrap_or(ErrorCode::None)
        };
        self.call_coordinator(group, &request, i16::MAX, code).await.map(drop)
    }

    /// Deletes a group that has no members, with its offsets.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason: NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
        let code = |response: &<DeleteGroupsRequest as Request>::Response| {
            response.results.first().map_or(ErrorCode::UnknownServerError, |one| one.error_code)
        };
        self.call_coordinator(group, &request, i16::MAX, code).await.map(drop)
    }
}

impl From<&OffsetFetchRequestTopic> for crate::wire::api::offset_fetch::OffsetFetchRequestTopics {
    fn from(topic: &OffsetFetchRequestTopic) -> Self {
        Self {
            name: topic.name.clone(),
            topic_id: TopicId::ZERO,
            partition_indexes: topic.partition_indexes.clone(),
        }
    }
}

fn by_topic<'a, T>(items: impl Iterator<Item = (&'a TopicPartition, T)>) -> BTreeMap<Str, Vec<T>> {
    let mut topics: BTreeMap<Str, Vec<T>> = BTreeMap::new();
    for (at, item) in items {
        topics.entry(at.topic.clone()).or_default().push(item);
    }
    topics
}

fn consumer_member(member: &DescribedConsumerMember) -> GroupMember {
    let topics = member.assignment.topic_partitions.iter();
    let assignment = topics.flat_map(|topic| {
        let at = |partition: &i32| TopicPartition {
            topic: topic.topic_name.detached(),
            partition: *partition,
        };
        topic.partitions.iter().map(at)
    });
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(Str::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        assignment: assignment.collect(),
    }
}

fn classic_member(member: DescribedGroupMember) -> GroupMember {
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(Str::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        // Another program's own format, where the group is none of consumers: shown as nothing.
        assignment: parse_assignment(member.member_assignment).unwrap_or_default(),
    }
}

/// ConsumerProtocolAssignment: a version, then topics with their partitions.
fn parse_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, WireError> {
    let mut decoder = Decoder::new(bytes);
    let mut found = Vec::new();
    if decoder.remaining() == 0 {
        return Ok(found);
    }
    let _version = decoder.read_i16()?;
    for _ in 0..decoder.read_i32()?.max(0) {
        let topic = decoder.read_string(false)?.unwrap_or_default().detached();
        for _ in 0..decoder.read_i32()?.max(0) {
            found.push(TopicPartition { topic: topic.clone(), partition: decoder.read_i32()? });
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_a_broken_one_is_refused() {
        let bytes = b"\0\x01\0\0\0\x01\0\x02ab\0\0\0\x02\0\0\0\x07\0\0\0\x03\xff\xff\xff\xff";
        let at = |partition| TopicPartition { topic: "ab".into(), partition };
        assert_eq!(parse_assignment(Bytes::from_static(bytes)).unwrap(), vec![at(3), at(7)]);
        assert_eq!(parse_assignment(Bytes::new()).unwrap(), vec![]);
        assert!(parse_assignment(Bytes::from_static(b"\0\x01\x7f\xff\xff\xff")).is_err());
    }
}
