//! OffsetDelete (KIP-496): a group's offsets of topics that it does not read any more.

use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::OneGroup;
use crate::control_plane::ControlPlane;
use crate::wire::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::wire::{ErrorCode, Str};

impl OneGroup for OffsetDeleteRequest {
    const IS_NAMED: bool = true;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> OffsetDeleteResponse {
        OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> OffsetDeleteResponse {
        let image = plane.shard.image();
        let asked = self.topics.iter().filter(|asked| !asked.partitions.is_empty());
        let topics = asked.map(|asked| {
            let topic = image.topic(&asked.name);
            let partitions = asked.partitions.iter().map(|partition| {
                let partition_index = partition.partition_index;
                let is_known =
                    topic.is_some_and(|topic| topic.partition(partition_index).is_some());
                let error_code = match is_known {
                    true => ErrorCode::None,
                    false => ErrorCode::UnknownTopicOrPartition,
                };
                OffsetDeleteResponsePartition { partition_index, error_code }
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic { name: asked.name.clone(), partitions }
        });
        let found =
            OffsetDeleteResponse { topics: topics.collect(), ..OffsetDeleteResponse::default() };
        let deleted =
            coordinator.answer(|groups, turn| groups.delete_offsets(&self, found, turn)).await;
        deleted.unwrap_or_else(|error| self.refuse(caller.version(), error))
    }
}
