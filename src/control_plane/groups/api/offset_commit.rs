//! OffsetCommit: topics and partitions are looked up first, as Kafka does; the group decides about the rest.

use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::OneGroup;
use crate::control_plane::ControlPlane;
use crate::shard::image::MetadataImage;
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::{ErrorCode, Str};

/// First version that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 10;

impl OneGroup for OffsetCommitRequest {
    const IS_NAMED: bool = false;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error: ErrorCode) -> OffsetCommitResponse {
        let topics = self.topics.iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: told(topic, |_| error),
        });
        OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> OffsetCommitResponse {
        let version = caller.version();
        let found = find_topics(&self, version, &plane.shard.image());
        let mut all = found.topics.iter().flat_map(|topic| &topic.partitions);
        if !all.any(|partition| partition.error_code.is_none()) {
            return found;
        }
        let unknown = found.clone();
        let kept = coordinator
            .answer(|groups, turn| groups.commit_offsets(&self, version, found, turn))
            .await;
        kept.unwrap_or_else(|error| with_error(unknown, error))
    }
}

/// The answer as far as it follows from the facts: partitions that are not there.
fn find_topics(
    request: &OffsetCommitRequest,
    version: i16,
    image: &MetadataImage,
) -> OffsetCommitResponse {
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    let topics = request.topics.iter().map(|asked| {
        let topic =
            if by_id { image.topic_by_id(asked.topic_id) } else { image.topic(&asked.name) };
        let Some(topic) = topic else {
            let unknown =
                if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            let (name, topic_id) = (asked.name.clone(), asked.topic_id);
            return OffsetCommitResponseTopic {
                name,
                topic_id,
                partitions: told(asked, |_| unknown),
            };
        };
        let check = |index: i32| match topic.partition(index) {
            Some(_) => ErrorCode::None,
            None => ErrorCode::UnknownTopicOrPartition,
        };
        OffsetCommitResponseTopic {
            name: Str::from(&*topic.name),
            topic_id: topic.id,
            partitions: told(asked, check),
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

fn told(
    topic: &OffsetCommitRequestTopic,
    error_code: impl Fn(i32) -> ErrorCode,
) -> Vec<OffsetCommitResponsePartition> {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error_code(partition.partition_index),
    });
    partitions.collect()
}

fn with_error(mut response: OffsetCommitResponse, error: ErrorCode) -> OffsetCommitResponse {
    let all = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    all.filter(|told| told.error_code.is_none()).for_each(|told| told.error_code = error);
    response
}
