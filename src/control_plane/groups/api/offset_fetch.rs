//! OffsetFetch: what groups have committed. Versions before 8 ask for one group; their answer has another form.

use super::super::coordinator::Coordinator;
use super::super::offsets::OffsetFetcher;
use super::super::route::Caller;
use super::super::state::Groups;
use super::super::turn::Turn;
use super::ManyGroups;
use crate::control_plane::ControlPlane;
use crate::shard::image::MetadataImage;
use crate::types::TopicId;
use crate::wire::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::wire::{ErrorCode, Str};

/// First version that knows an error of the whole, of several groups, and topics by id.
const ERROR_VERSION_MIN: i16 = 2;
const SEVERAL_VERSION_MIN: i16 = 8;
const TOPIC_ID_VERSION_MIN: i16 = 10;

impl ManyGroups for OffsetFetchRequest {
    type Answer = OffsetFetchResponseGroup;

    fn groups(&self) -> Vec<Str> {
        match self.groups.is_empty() {
            true => vec![self.group_id.clone()],
            false => self.groups.iter().map(|group| group.group_id.clone()).collect(),
        }
    }

    fn only(&self, places: &[usize]) -> OffsetFetchRequest {
        let groups = places.iter().filter_map(|place| self.groups.get(*place).cloned());
        OffsetFetchRequest { groups: groups.collect(), ..self.clone() }
    }

    fn answers(
        &self,
        response: OffsetFetchResponse,
        version: i16,
    ) -> Vec<OffsetFetchResponseGroup> {
        if version >= SEVERAL_VERSION_MIN {
            return response.groups;
        }
        let topics = response.topics.into_iter().map(|topic| OffsetFetchResponseTopics {
            name: topic.name,
            partitions: topic.partitions.into_iter().map(to_new).collect(),
            ..OffsetFetchResponseTopics::default()
        });
        vec![OffsetFetchResponseGroup {
            group_id: self.group_id.clone(),
            topics: topics.collect(),
            error_code: response.error_code,
        }]
    }

    fn response(
        &self,
        mut answers: Vec<OffsetFetchResponseGroup>,
        version: i16,
    ) -> OffsetFetchResponse {
        if version >= SEVERAL_VERSION_MIN {
            // A request for no group at all was answered as one for a group without a name.
            answers.truncate(self.groups.len());
            return OffsetFetchResponse { groups: answers, ..OffsetFetchResponse::default() };
        }
        let answer = answers.pop().unwrap_or_default();
        let topics = answer.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic.partitions.into_iter().map(to_old).collect(),
        });
        OffsetFetchResponse {
            topics: topics.collect(),
            error_code: answer.error_code,
            ..OffsetFetchResponse::default()
        }
    }

    fn refuse(&self, place: usize, version: i16, error: ErrorCode) -> OffsetFetchResponseGroup {
        let asked = self.asked(place);
        // The oldest have no place for it but beside each partition.
        let topics = match &asked.topics {
            Some(topics) if version < ERROR_VERSION_MIN => {
                topics.iter().map(|topic| empty(topic, &topic.name, error)).collect()
            }
            _ => Vec::new(),
        };
        OffsetFetchResponseGroup { group_id: asked.group_id, topics, error_code: error }
    }

    async fn serve(
        &self,
        place: usize,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> OffsetFetchResponseGroup {
        let asked = self.asked(place);
        let (version, image) = (caller.version(), plane.shard.image());
        let fetcher = OffsetFetcher {
            group: asked.group_id.clone(),
            member_id: asked.member_id.clone(),
            member_epoch: asked.member_epoch,
        };
        let found = match &asked.topics {
            Some(topics) => {
                let wanted =
                    topics.iter().map(|topic| find_topic(topic, version, &image)).collect();
                let fetch = |groups: &mut Groups, _: &mut Turn| {
                    groups.fetch_offsets(&fetcher, wanted, &*image)
                };
                coordinator.answer(fetch).await
            }
            None => {
                coordinator.answer(|groups, _| groups.fetch_all_offsets(&fetcher, &*image)).await
            }
        };
        match found.flatten() {
            Ok(topics) => OffsetFetchResponseGroup {
                group_id: asked.group_id,
                topics: with_ids(topics, asked.topics.is_none(), version, &image),
                error_code: ErrorCode::None,
            },
            Err(error) => self.refuse(place, version, error),
        }
    }
}

trait Asked {
    fn asked(&self, place: usize) -> OffsetFetchRequestGroup;
}

impl Asked for OffsetFetchRequest {
    /// What is asked of a group, in the form of today.
    fn asked(&self, place: usize) -> OffsetFetchRequestGroup {
        if let Some(group) = self.groups.get(place) {
            return group.clone();
        }
        let topics = self.topics.as_ref().map(|topics| {
            let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
                name: topic.name.clone(),
                partition_indexes: topic.partition_indexes.clone(),
                ..OffsetFetchRequestTopics::default()
            });
            topics.collect()
        });
        OffsetFetchRequestGroup {
            group_id: self.group_id.clone(),
            topics,
            ..OffsetFetchRequestGroup::default()
        }
    }
}

/// The answer for a topic as far as it follows from the facts. A name need not be known.
fn find_topic(
    asked: &OffsetFetchRequestTopics,
    version: i16,
    image: &MetadataImage,
) -> OffsetFetchResponseTopics {
    if version < TOPIC_ID_VERSION_MIN {
        return empty(asked, &asked.name, ErrorCode::None);
    }
    match image.topic_by_id(asked.topic_id) {
        Some(topic) => empty(asked, &Str::from(&*topic.name), ErrorCode::None),
        None => empty(asked, &Str::default(), ErrorCode::UnknownTopicId),
    }
}

fn empty(
    asked: &OffsetFetchRequestTopics,
    name: &Str,
    error_code: ErrorCode,
) -> OffsetFetchResponseTopics {
    let partitions = asked.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::default()),
        error_code,
    });
    let (name, partitions) = (name.clone(), partitions.collect());
    OffsetFetchResponseTopics { name, topic_id: asked.topic_id, partitions }
}

/// An answer for all topics gets the ids of today's; topics that are gone cannot be told by id.
fn with_ids(
    mut topics: Vec<OffsetFetchResponseTopics>,
    are_all: bool,
    version: i16,
    image: &MetadataImage,
) -> Vec<OffsetFetchResponseTopics> {
    if are_all && version >= TOPIC_ID_VERSION_MIN {
        for topic in &mut topics {
            topic.topic_id = image.topic(&topic.name).map_or(TopicId::ZERO, |found| found.id);
        }
        topics.retain(|topic| topic.topic_id != TopicId::ZERO);
    }
    topics
}

fn to_old(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}

fn to_new(partition: OffsetFetchResponsePartition) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}
