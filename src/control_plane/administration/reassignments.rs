//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455): a partition has one replica, and with per-core
//! endpoints a core is a broker to clients, so a partition moves to the core that its new replica list names. The
//! answer is given when it is there: no reassignment is ever under way for somebody who asks.

use crate::control_plane::ControlPlane;
use crate::control_plane::create_topics::{self, Refusal, assigned_shard};
use crate::control_plane::partitions::{Located, locate};
use crate::limits::{ADMINISTERED_PARTITIONS_MAX, MOVES_PER_REQUEST_MAX};
use crate::runtime;
use crate::shard::control::{ControlReply, ControlRequest};
use crate::types::ShardId;
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
    let mut moves_left = MOVES_PER_REQUEST_MAX;
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let outcome = reassign(control_plane, &topic.name, asked, &mut moves_left).await;
            let (error_code, error_message) = match outcome {
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

/// Moves a partition, unless it is where it should be.
async fn reassign(
    control_plane: &ControlPlane,
    topic: &str,
    asked: &ReassignablePartition,
    moves_left: &mut usize,
) -> Result<(), Refusal> {
    let Some((located, to)) = examine(control_plane, topic, asked)? else { return Ok(()) };
    let Some(left) = moves_left.checked_sub(1) else {
        let text = format!("One request moves {MOVES_PER_REQUEST_MAX} partitions: ask in several.");
        return Err((ErrorCode::PolicyViolation, text));
    };
    *moves_left = left;
    // Here one waits for a partition that is not open yet, and not where others wait behind it.
    control_plane.bounds(&located).await.map_err(|code| {
        (code, format!("Partition {} of topic {topic} cannot be read.", asked.partition_index))
    })?;
    let (topic_id, index) = (located.key.topic_id, located.key.index);
    let request = ControlRequest::MovePartition { topic_id, index, to };
    match control_plane.shard.control(request).await {
        ControlReply::MovePartition(moved) => {
            moved.map_err(|error| (create_topics::code_of(&error), error.to_string()))
        }
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

/// Where the partition is and where it is to go; none when that is the same.
fn examine(
    control_plane: &ControlPlane,
    topic: &str,
    asked: &ReassignablePartition,
) -> Result<Option<(Located, ShardId)>, Refusal> {
    let index = asked.partition_index;
    let located = locate(&control_plane.shard.image(), topic, index)
        .map_err(|code| (code, format!("There is no partition {index} of topic {topic}.")))?;
    let Some(replicas) = &asked.replicas else {
        let text = "The partition is not being moved.".to_string();
        return Err((ErrorCode::NoReassignmentInProgress, text));
    };
    // None: one broker stands for all cores.
    let to = assigned_shard(control_plane, replicas)?;
    Ok(to.filter(|to| *to != located.owner).map(|to| (located, to)))
}

pub fn list(_: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
