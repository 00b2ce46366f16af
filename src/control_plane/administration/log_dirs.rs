//! AlterReplicaLogDirs (KIP-113): there is one directory, and every partition is in it already.

use crate::control_plane::describe_log_dirs::shown_directory;
use crate::control_plane::partitions::locate;
use crate::control_plane::{ConnectionInfo, ControlPlane};
use crate::runtime;
use crate::wire::api::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

pub async fn alter(
    control_plane: &ControlPlane,
    request: &AlterReplicaLogDirsRequest,
    connection: ConnectionInfo,
) -> AlterReplicaLogDirsResponse {
    let image = control_plane.shard.image();
    let own = shown_directory(control_plane);
    let is_own_port = control_plane.endpoints.is_own_port(connection.local.port());
    let mut topics: BTreeMap<&Str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for directory in &request.dirs {
        for topic in &directory.topics {
            for index in &topic.partitions {
                let outcome = match locate(&image, &topic.name, *index) {
                    _ if *directory.path != *own => ErrorCode::LogDirNotFound,
                    // The broker that the client talks to is one core, and has only what is on it.
                    Ok(located) if is_own_port && located.owner != control_plane.shard.id => {
                        ErrorCode::UnknownTopicOrPartition
                    }
                    Ok(_) => ErrorCode::None,
                    Err(code) => code,
                };
                topics.entry(&topic.name).or_default().insert(*index, outcome);
                runtime::yield_if_needed().await;
            }
        }
    }
    let results = topics.into_iter().map(|(name, partitions)| AlterReplicaLogDirTopicResult {
        topic_name: name.clone(),
        partitions: partitions
            .into_iter()
            .map(|(partition_index, error_code)| AlterReplicaLogDirPartitionResult {
                partition_index,
                error_code,
            })
            .collect(),
    });
    AlterReplicaLogDirsResponse {
        results: results.collect(),
        ..AlterReplicaLogDirsResponse::default()
    }
}
