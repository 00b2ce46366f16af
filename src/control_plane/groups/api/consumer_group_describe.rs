//! ConsumerGroupDescribe (KIP-848): consumer groups and their members.

use super::super::classic::GROUP_OPERATIONS;
use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::ManyGroups;
use crate::control_plane::ControlPlane;
use crate::wire::api::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedConsumerGroup,
};
use crate::wire::{ErrorCode, Str};

impl ManyGroups for ConsumerGroupDescribeRequest {
    type Answer = DescribedConsumerGroup;

    fn groups(&self) -> Vec<Str> {
        self.group_ids.clone()
    }

    fn only(&self, places: &[usize]) -> ConsumerGroupDescribeRequest {
        let group_ids = places.iter().map(|place| self.group_ids[*place].clone()).collect();
        ConsumerGroupDescribeRequest { group_ids, ..self.clone() }
    }

    fn answers(
        &self,
        response: ConsumerGroupDescribeResponse,
        _version: i16,
    ) -> Vec<DescribedConsumerGroup> {
        response.groups
    }

    fn response(
        &self,
        groups: Vec<DescribedConsumerGroup>,
        _version: i16,
    ) -> ConsumerGroupDescribeResponse {
        ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() }
    }

    fn refuse(&self, place: usize, _version: i16, error_code: ErrorCode) -> DescribedConsumerGroup {
        let group_id = self.group_ids[place].clone();
        DescribedConsumerGroup { error_code, group_id, ..DescribedConsumerGroup::default() }
    }

    async fn serve(
        &self,
        place: usize,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> DescribedConsumerGroup {
        let (name, image) = (&self.group_ids[place], plane.shard.image());
        if name.as_bytes().is_empty() {
            return self.refuse(place, caller.version(), ErrorCode::InvalidGroupId);
        }
        let described = coordinator
            .answer(|groups, turn| groups.describe_consumer(name, &*image, turn.config))
            .await;
        match described {
            Ok(mut described) => {
                if self.include_authorized_operations && described.error_code.is_none() {
                    described.authorized_operations = GROUP_OPERATIONS;
                }
                described
            }
            Err(error) => self.refuse(place, caller.version(), error),
        }
    }
}
