//! ElectLeaders: each partition has one replica, which leads it unless it is offline, so no election ever helps.

use crate::control_plane::ControlPlane;
use crate::control_plane::partitions::locate;
use crate::limits::ADMINISTERED_PARTITIONS_MAX;
use crate::runtime;
use crate::shard::image::MetadataImage;
use crate::wire::api::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::wire::{ErrorCode, Str};

/// Kinds of elections: the preferred replica, or whichever is there (KIP-460).
const PREFERRED: i8 = 0;
const KINDS: std::ops::RangeInclusive<i8> = PREFERRED..=1;

pub async fn handle(
    control_plane: &ControlPlane,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let kind = Some(request.election_type).filter(|kind| KINDS.contains(kind));
    let image = control_plane.shard.image();
    // Null asks for all partitions that need an election: there is none that one helps.
    let topics = request.topic_partitions.unwrap_or_default();
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>()
        > ADMINISTERED_PARTITIONS_MAX
    {
        let error_code = ErrorCode::PolicyViolation;
        return ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
    }
    let mut results = Vec::with_capacity(topics.len());
    for asked in topics {
        let mut partition_result = Vec::with_capacity(asked.partitions.len());
        for partition_id in asked.partitions {
            let (error_code, text) = outcome(&image, kind, &asked.topic, partition_id);
            let error_message = Some(Str::from_static(text));
            partition_result.push(PartitionResult { partition_id, error_code, error_message });
            runtime::yield_if_needed().await;
        }
        results.push(ReplicaElectionResult { topic: asked.topic, partition_result });
    }
    ElectLeadersResponse {
        error_code: if kind.is_some() { ErrorCode::None } else { ErrorCode::InvalidRequest },
        replica_election_results: results,
        ..ElectLeadersResponse::default()
    }
}

/// The outcome for one partition; there is no kind when it is unknown.
fn outcome(
    image: &MetadataImage,
    kind: Option<i8>,
    topic: &str,
    index: i32,
) -> (ErrorCode, &'static str) {
    let Some(kind) = kind else { return (ErrorCode::InvalidRequest, "Unknown election type.") };
    match locate(image, topic, index) {
        Ok(found) if image.is_offline(found.key) => {
            let error_code = match kind {
                PREFERRED => ErrorCode::PreferredLeaderNotAvailable,
                _ => ErrorCode::EligibleLeadersNotAvailable,
            };
            (error_code, "The partition's only replica is offline.")
        }
        Ok(_) => (ErrorCode::ElectionNotNeeded, "The partition has its leader."),
        Err(code) => (code, "There is no such partition."),
    }
}
