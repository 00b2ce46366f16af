//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455): a partition's one replica stays on its
//! core while the broker runs. With per-core endpoints a core is a broker to clients; to move a partition to
//! another is refused as an assignment that cannot be. Pure.

use crate::control_plane::ControlPlane;
use crate::control_plane::create_topics::{Refusal, assigned_shard};
use crate::control_plane::partitions::locate;
use crate::shard::image::MetadataImage;
use crate::wire::ErrorCode;
use crate::wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub fn alter(
    control_plane: &ControlPlane,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = control_plane.shard.image();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let outcome = examine(control_plane, &image, &topic.name, asked);
            let (error_code, error_message) = match outcome {
                Ok(()) => (ErrorCode::None, None),
                Err((code, text)) => (code, Some(text.into())),
            };
            let partition_index = asked.partition_index;
            ReassignablePartitionResponse { partition_index, error_code, error_message }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse { name: topic.name, partitions }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: topics.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    }
}

/// Fine is what changes nothing.
fn examine(
    control_plane: &ControlPlane,
    image: &MetadataImage,
    topic: &str,
    asked: &ReassignablePartition,
) -> Result<(), Refusal> {
    let index = asked.partition_index;
    let located = locate(image, topic, index)
        .map_err(|code| (code, format!("There is no partition {index} of topic {topic}.")))?;
    let Some(replicas) = &asked.replicas else {
        let text = "The partition is not being moved.".to_string();
        return Err((ErrorCode::NoReassignmentInProgress, text));
    };
    match assigned_shard(control_plane, replicas)? {
        Some(shard) if shard != located.owner => {
            let text = "A partition cannot be moved to another core of this host while it runs.";
            Err((ErrorCode::InvalidReplicaAssignment, text.to_string()))
        }
        _ => Ok(()),
    }
}

pub fn list(_: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
