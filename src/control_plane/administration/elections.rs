//! ElectLeaders: each partition has one replica, which leads it, so no election is ever needed. Pure.

use crate::control_plane::ControlPlane;
use crate::control_plane::partitions::locate;
use crate::wire::ErrorCode;
use crate::wire::api::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

/// Kinds of elections: the preferred replica, or whichever is there (KIP-460).
const KINDS: std::ops::RangeInclusive<i8> = 0..=1;

pub fn handle(control_plane: &ControlPlane, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let is_known = KINDS.contains(&request.election_type);
    let image = control_plane.shard.image();
    let outcome = |topic: &str, index: i32| {
        if !is_known {
            let text = format!("Unknown election type {}", request.election_type);
            return (ErrorCode::InvalidRequest, text);
        }
        match locate(&image, topic, index) {
            Ok(_) => (ErrorCode::ElectionNotNeeded, "The partition has its leader.".to_string()),
            Err(code) => (code, format!("There is no partition {index} of topic {topic}.")),
        }
    };
    // Null asks for all partitions that need an election: none does.
    let results = request.topic_partitions.iter().flatten().map(|asked| {
        let partition_result = asked.partitions.iter().map(|index| {
            let (error_code, text) = outcome(&asked.topic, *index);
            PartitionResult { partition_id: *index, error_code, error_message: Some(text.into()) }
        });
        ReplicaElectionResult {
            topic: asked.topic.clone(),
            partition_result: partition_result.collect(),
        }
    });
    ElectLeadersResponse {
        error_code: if is_known { ErrorCode::None } else { ErrorCode::InvalidRequest },
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    }
}
