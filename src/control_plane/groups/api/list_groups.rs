//! ListGroups: the groups of the broker that is asked. Asked on a core's own port, that core alone answers: clients
//! ask every broker and put the answers together. On a port of all cores, each core is asked for its own.

use super::super::route::Caller;
use crate::control_plane::ControlPlane;
use crate::wire::api::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::wire::{ErrorCode, Str};
use futures_util::future::join_all;

pub async fn handle(
    plane: &ControlPlane,
    caller: Caller<'_>,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    if caller.is_forwarded || plane.endpoints.is_own_port(caller.connection.local.port()) {
        return list_here(plane, &request).await;
    }
    let asked = plane.shard.all_shards().map(async |shard| {
        if shard == plane.shard.id {
            Some(list_here(plane, &request).await)
        } else {
            plane.ask_groups_of(shard, caller, &request).await
        }
    });
    let mut all = ListGroupsResponse::default();
    for answer in join_all(asked).await {
        let answer = answer.unwrap_or_else(|| refuse(ErrorCode::CoordinatorNotAvailable));
        if !answer.error_code.is_none() {
            return answer;
        }
        all.groups.extend(answer.groups);
    }
    all
}

fn refuse(error_code: ErrorCode) -> ListGroupsResponse {
    ListGroupsResponse { error_code, ..ListGroupsResponse::default() }
}

async fn list_here(plane: &ControlPlane, request: &ListGroupsRequest) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    for coordinator in plane.groups.all() {
        let listed = coordinator.answer(|groups, _| {
            let listed = groups.entries().map(|(name, entry)| ListedGroup {
                group_id: name.clone(),
                protocol_type: entry.group.protocol_type(),
                group_state: Str::from_static(entry.group.state_name()),
                group_type: Str::from_static(entry.group.type_name()),
            });
            listed.filter(|group| is_wanted(request, group)).collect::<Vec<_>>()
        });
        match listed.await {
            Ok(listed) => response.groups.extend(listed),
            Err(error) => return refuse(error),
        }
    }
    response
}

/// KIP-518, KIP-848: filters that are empty take all. Letters' case does not count.
fn is_wanted(request: &ListGroupsRequest, group: &ListedGroup) -> bool {
    let takes = |filter: &[Str], value: &Str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    takes(&request.states_filter, &group.group_state)
        && takes(&request.types_filter, &group.group_type)
}
