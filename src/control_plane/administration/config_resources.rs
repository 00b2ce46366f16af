//! ListConfigResources (KIP-1142): what has settings, by kind. Pure.

use crate::control_plane::ControlPlane;
use crate::control_plane::resource;
use crate::wire::api::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeSet;

const KINDS: [i8; 5] = [
    resource::TOPIC,
    resource::BROKER,
    resource::BROKER_LOGGER,
    resource::CLIENT_METRICS,
    resource::GROUP,
];

pub fn handle(
    control_plane: &ControlPlane,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let asked: BTreeSet<i8> = match (version, request.resource_types.is_empty()) {
        (0, _) => [resource::CLIENT_METRICS].into(),
        (_, true) => KINDS.into(),
        (_, false) => request.resource_types.iter().copied().collect(),
    };
    if asked.iter().any(|kind| !KINDS.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion,
            ..ListConfigResourcesResponse::default()
        };
    }
    let mut config_resources = Vec::new();
    for resource_type in asked {
        let of = |resource_name: Str| ConfigResource { resource_name, resource_type };
        config_resources.extend(names(control_plane, resource_type).into_iter().map(of));
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}

fn names(control_plane: &ControlPlane, kind: i8) -> Vec<Str> {
    let image = control_plane.shard.image();
    match kind {
        resource::TOPIC => image.topics().map(|topic| Str::from(&*topic.name)).collect(),
        resource::BROKER | resource::BROKER_LOGGER => {
            let shards: BTreeSet<i32> = control_plane
                .shard
                .all_shards()
                .map(|shard| control_plane.endpoints.broker_of(shard))
                .collect();
            shards.into_iter().map(|id| Str::from(id.to_string())).collect()
        }
        resource::GROUP => {
            image.group_overrides.keys().map(|group| Str::from(group.as_str())).collect()
        }
        // No subscription to clients' metrics can be made.
        _ => Vec::new(),
    }
}
