//! DeleteGroups (KIP-229): groups without members, with their offsets.

use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::ManyGroups;
use crate::control_plane::ControlPlane;
use crate::wire::api::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use crate::wire::{ErrorCode, Str};
use std::collections::HashSet;

impl ManyGroups for DeleteGroupsRequest {
    type Answer = DeletableGroupResult;

    fn groups(&self) -> Vec<Str> {
        self.groups_names.clone()
    }

    fn without_repetitions(mut self) -> DeleteGroupsRequest {
        let mut named = HashSet::new();
        self.groups_names.retain(|name| named.insert(name.clone()));
        self
    }

    fn only(&self, places: &[usize]) -> DeleteGroupsRequest {
        let groups_names = places.iter().map(|place| self.groups_names[*place].clone());
        DeleteGroupsRequest { groups_names: groups_names.collect() }
    }

    fn answers(&self, response: DeleteGroupsResponse, _version: i16) -> Vec<DeletableGroupResult> {
        response.results
    }

    fn response(&self, results: Vec<DeletableGroupResult>, _version: i16) -> DeleteGroupsResponse {
        DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
    }

    fn refuse(&self, place: usize, _version: i16, error_code: ErrorCode) -> DeletableGroupResult {
        DeletableGroupResult { group_id: self.groups_names[place].clone(), error_code }
    }

    async fn serve(
        &self,
        place: usize,
        _plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> DeletableGroupResult {
        let name = &self.groups_names[place];
        let deleted = coordinator.answer(|groups, turn| groups.delete_group(name, turn)).await;
        let error = deleted.flatten().err().unwrap_or(ErrorCode::None);
        self.refuse(place, caller.version(), error)
    }
}
