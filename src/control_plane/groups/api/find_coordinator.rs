//! FindCoordinator: which broker serves a group. The first that is asked for makes the topic that keeps groups.

use super::super::route::Caller;
use crate::control_plane::ControlPlane;
use crate::wire::api::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse, FoundCoordinator,
};
use crate::wire::{ErrorCode, Str};

/// Types of keys.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// First version that asks for several keys.
const SEVERAL_VERSION_MIN: i16 = 4;

/// Where there is no broker.
const NO_NODE: i32 = -1;

pub async fn handle(
    plane: &ControlPlane,
    caller: Caller<'_>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let several = caller.version() >= SEVERAL_VERSION_MIN;
    let keys = if several { request.coordinator_keys } else { vec![request.key] };
    if request.key_type == GROUP && !keys.is_empty() {
        plane.make_offsets_topic().await;
    }
    let mut found: Vec<FoundCoordinator> =
        keys.into_iter().map(|key| find(plane, caller, key, request.key_type)).collect();
    if several {
        return FindCoordinatorResponse { coordinators: found, ..Default::default() };
    }
    let FoundCoordinator { node_id, host, port, error_code, error_message, .. } =
        found.pop().expect("one key was asked for");
    // As by Kafka, the old form names the error that is none.
    let error_message = match error_code {
        ErrorCode::None => Some(Str::from_static(error_code.name())),
        _ => error_message,
    };
    FindCoordinatorResponse { node_id, host, port, error_code, error_message, ..Default::default() }
}

fn find(plane: &ControlPlane, caller: Caller<'_>, key: Str, key_type: i8) -> FoundCoordinator {
    let (error_code, text) = match key_type {
        GROUP => match plane.home_of(&key) {
            Ok(shard) => {
                let id = plane.endpoints.broker_of(shard);
                let brokers = plane.endpoints.brokers(caller.connection.local);
                let broker = brokers.into_iter().find(|broker| broker.id == id);
                let broker = broker.expect("every shard is served by a broker");
                return FoundCoordinator {
                    key,
                    node_id: id,
                    host: broker.host.into(),
                    port: i32::from(broker.port),
                    error_message: Some(Str::default()),
                    ..FoundCoordinator::default()
                };
            }
            // As by Kafka, the form with several keys has no text for it.
            Err(_) if caller.version() >= SEVERAL_VERSION_MIN => {
                (ErrorCode::CoordinatorNotAvailable, "")
            }
            Err(_) => (ErrorCode::CoordinatorNotAvailable, "The coordinator is not available."),
        },
        // A code that no client tries again and again, until there are transactions.
        TRANSACTION => (ErrorCode::InvalidRequest, "There are no transactions yet."),
        _ => (ErrorCode::InvalidRequest, "The key type is not known."),
    };
    FoundCoordinator {
        key,
        node_id: NO_NODE,
        port: NO_NODE,
        error_code,
        error_message: Some(Str::from_static(text)),
        ..FoundCoordinator::default()
    }
}
