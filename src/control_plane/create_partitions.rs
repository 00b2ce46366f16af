//! CreatePartitions: raises the number of a topic's partitions.

use super::ControlPlane;
use super::create_topics::{Refusal, assigned_shard, code_of};
use super::mutations::Mutations;
use crate::limits::PARTITIONS_PER_REQUEST_MAX;
use crate::shard::control::{ControlReply, ControlRequest};
use crate::types::{ShardId, TopicId};
use crate::wire::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

pub async fn handle(
    control_plane: &ControlPlane,
    request: CreatePartitionsRequest,
    mutations: Mutations<'_>,
) -> CreatePartitionsResponse {
    let mut counts: BTreeMap<Str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::new();
    let twice = counts.iter().filter(|(_, count)| **count > 1);
    results.extend(twice.map(|(name, _)| {
        let refusal = (ErrorCode::InvalidRequest, "Duplicate topic name.".to_string());
        result(name.clone(), Err(refusal))
    }));
    for topic in request.topics.iter().filter(|topic| counts[&topic.name] == 1) {
        let outcome = create(control_plane, topic, request.validate_only, mutations).await;
        results.push(result(topic.name.clone(), outcome));
    }
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

fn result(name: Str, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err((error_code, text)) => (error_code, Some(text.into())),
    };
    CreatePartitionsTopicResult { name, error_code, error_message }
}

async fn create(
    control_plane: &ControlPlane,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    mutations: Mutations<'_>,
) -> Result<(), Refusal> {
    let Examined { topic_id, partitions, more, places } = examine(control_plane, topic)?;
    if validate_only {
        return Ok(());
    }
    mutations.admit(more)?;
    let request = ControlRequest::CreatePartitions { topic_id, partitions, places };
    match control_plane.shard.control(request).await {
        ControlReply::CreatePartitions(outcome) => {
            outcome.map_err(|error| (code_of(&error), error.to_string()))
        }
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

/// Why so many places do not do for `more` new partitions.
pub fn wrong_assignments(more: u64, given: usize) -> String {
    format!(
        "Attempted to add {more} additional partition(s), but only {given} assignment(s) were \
         specified."
    )
}

/// What the controller is asked for.
struct Examined {
    topic_id: TopicId,
    /// In all, and those that are new.
    partitions: u32,
    more: usize,
    places: Option<Vec<ShardId>>,
}

fn examine(
    control_plane: &ControlPlane,
    topic: &CreatePartitionsTopic,
) -> Result<Examined, Refusal> {
    let image = control_plane.shard.image();
    let known = image.topic(&topic.name).ok_or_else(|| {
        let text = "This server does not host this topic-partition.".to_string();
        (ErrorCode::UnknownTopicOrPartition, text)
    })?;
    let (wanted, current) = (i64::from(topic.count), known.partitions.len() as i64);
    let invalid = |text: String| Err((ErrorCode::InvalidPartitions, text));
    if wanted == current {
        return invalid(format!("Topic already has {current} partition(s)."));
    }
    if wanted < current {
        return invalid(format!(
            "The topic {} currently has {current} partition(s); {wanted} would not be an increase.",
            topic.name
        ));
    }
    let more = (wanted - current) as u64;
    if more > PARTITIONS_PER_REQUEST_MAX {
        let text = "Excessively large number of partitions per request.".to_string();
        return Err((ErrorCode::PolicyViolation, text));
    }
    let partitions = u32::try_from(topic.count).expect("more than there are");
    let Some(assignments) = &topic.assignments else {
        return Ok(Examined { topic_id: known.id, partitions, more: more as usize, places: None });
    };
    if assignments.len() as u64 != more {
        return Err((
            ErrorCode::InvalidReplicaAssignment,
            wrong_assignments(more, assignments.len()),
        ));
    }
    let places = assignments.iter().map(|one| assigned_shard(control_plane, &one.broker_ids));
    let places: Vec<Option<ShardId>> = places.collect::<Result<_, _>>()?;
    let places = places.into_iter().collect();
    Ok(Examined { topic_id: known.id, partitions, more: more as usize, places })
}
