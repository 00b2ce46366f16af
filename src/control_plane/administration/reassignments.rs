//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455): a partition's one replica stays on its
//! core while the broker runs. With per-core endpoints a core is a broker to clients; to move a partition to
//! another is refused as an assignment that cannot be.

use crate::control_plane::ControlPlane;
use crate::control_plane::create_topics::{Refusal, assigned_shard};
use crate::control_plane::partitions::locate;
use crate::limits::ADMINISTERED_PARTITIONS_MAX;
use crate::runtime;
use crate::shard::image::MetadataImage;
use crate::wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use crate::wire::{ErrorCode, Str};

pub async fn alter(
    control_plane: &ControlPlane,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..AlterPartitionReassignmentsResponse::default()
    };
    let count: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if count > ADMINISTERED_PARTITIONS_MAX {
        let text = Str::from_static("Too many partitions for one request: ask in several.");
        response.error_code = ErrorCode::PolicyViolation;
        response.error_message = Some(text);
        return response;
    }
    let image = control_plane.shard.image();
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let (error_code, error_message) =
                match examine(control_plane, &image, &topic.name, asked) {
                    Ok(()) => (ErrorCode::None, None),
                    Err((code, text)) => (code, Some(text.into())),
                };
            let partition_index = asked.partition_index;
            partitions.push(ReassignablePartitionResponse {
                partition_index,
                error_code,
                error_message,
            });
            runtime::yield_if_needed().await;
        }
        response.responses.push(ReassignableTopicResponse { name: topic.name, partitions });
    }
    response
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
