//! DescribeGroups: classic groups and their members.

use super::super::classic::GROUP_OPERATIONS;
use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::ManyGroups;
use crate::control_plane::ControlPlane;
use crate::wire::api::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use crate::wire::{ErrorCode, Str};

impl ManyGroups for DescribeGroupsRequest {
    type Answer = DescribedGroup;

    fn groups(&self) -> Vec<Str> {
        self.groups.clone()
    }

    fn only(&self, places: &[usize]) -> DescribeGroupsRequest {
        let groups = places.iter().map(|place| self.groups[*place].clone());
        DescribeGroupsRequest { groups: groups.collect(), ..self.clone() }
    }

    fn answers(&self, response: DescribeGroupsResponse, _version: i16) -> Vec<DescribedGroup> {
        response.groups
    }

    fn response(&self, groups: Vec<DescribedGroup>, _version: i16) -> DescribeGroupsResponse {
        DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
    }

    fn refuse(&self, place: usize, _version: i16, error_code: ErrorCode) -> DescribedGroup {
        let group_id = self.groups[place].clone();
        DescribedGroup { error_code, group_id, ..DescribedGroup::default() }
    }

    async fn serve(
        &self,
        place: usize,
        _plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> DescribedGroup {
        let (name, version) = (&self.groups[place], caller.version());
        let described =
            coordinator.answer(|groups, _| groups.describe_classic(name, version)).await;
        match described {
            Ok(mut described) => {
                if self.include_authorized_operations && described.error_code.is_none() {
                    described.authorized_operations = GROUP_OPERATIONS;
                }
                described
            }
            Err(error) => self.refuse(place, version, error),
        }
    }
}
