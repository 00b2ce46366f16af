//! CreateTopics, and the creation that Metadata does by itself.

use super::configs::{self, Overrides, Source};
use super::mutations::Mutations;
use super::{ControlPlane, topic_name};
use crate::limits::PARTITIONS_PER_REQUEST_MAX;
use crate::runtime;
use crate::shard::control::{ControlError, ControlReply, ControlRequest, NewTopic};
use crate::types::{ShardId, TopicId};
use crate::wire::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::{ErrorCode, Str};
use std::collections::{BTreeMap, HashMap};

/// An error with the text that explains it.
pub type Refusal = (ErrorCode, String);

pub async fn handle(
    control_plane: &ControlPlane,
    request: CreateTopicsRequest,
    mutations: Mutations<'_>,
) -> CreateTopicsResponse {
    let mut counts: BTreeMap<Str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    // In the order of the request; those that the controller is asked for are filled in after.
    let mut results = Vec::new();
    let mut accepted = Vec::new();
    let is_excessive =
        partitions_asked(control_plane, &request.topics) > PARTITIONS_PER_REQUEST_MAX;
    for topic in request.topics.iter().filter(|topic| counts[&topic.name] == 1) {
        match examine(control_plane, topic, is_excessive) {
            Ok(new) if request.validate_only => results.push(described(control_plane, &new, None)),
            Ok(new) => match mutations.admit(new.partitions as usize) {
                Ok(()) => {
                    accepted.push((results.len(), new));
                    results.push(CreatableTopicResult::default());
                }
                Err(refusal) => results.push(refused(&topic.name, refusal)),
            },
            Err(refusal) => results.push(refused(&topic.name, refusal)),
        }
        runtime::yield_if_needed().await;
    }
    let (places, accepted): (Vec<usize>, Vec<NewTopic>) = accepted.into_iter().unzip();
    for (place, result) in places.into_iter().zip(create(control_plane, accepted).await) {
        results[place] = result;
    }
    let twice = counts.into_iter().filter(|(_, count)| *count > 1);
    let refusal = || (ErrorCode::InvalidRequest, "Duplicate topic name.".to_string());
    results.extend(twice.map(|(name, _)| refused(&name, refusal())));
    CreateTopicsResponse { topics: results, ..CreateTopicsResponse::default() }
}

/// Makes topics that a Metadata request named, as many as one request may; the answers are of those that
/// could not be made. Others are unknown: the client asks again.
pub async fn create_automatically(
    control_plane: &ControlPlane,
    names: Vec<String>,
) -> HashMap<String, ErrorCode> {
    let partitions = control_plane.config.num_partitions;
    let may = |name: &String| !topic_name::is_reserved(name) && !topic_name::is_internal(name);
    let new =
        |name: String| NewTopic { name, partitions, places: None, overrides: Overrides::new() };
    let count = PARTITIONS_PER_REQUEST_MAX / u64::from(partitions);
    let allowed = names.into_iter().filter(may).take(count as usize);
    let topics: Vec<NewTopic> = allowed.map(new).collect();
    let outcomes = ask_controller(control_plane, topics.clone()).await;
    let failed = topics.into_iter().zip(outcomes).filter_map(|(topic, outcome)| match outcome {
        Ok(_) | Err(ControlError::TopicExists(_)) => None,
        Err(ControlError::NameCollides { .. }) => {
            Some((topic.name, ErrorCode::InvalidTopicException))
        }
        // As Kafka says when a topic cannot be made yet; the client asks again.
        Err(_) => Some((topic.name, ErrorCode::LeaderNotAvailable)),
    });
    failed.collect()
}

async fn ask_controller(
    control_plane: &ControlPlane,
    topics: Vec<NewTopic>,
) -> Vec<Result<TopicId, ControlError>> {
    let count = topics.len();
    if count == 0 {
        return Vec::new();
    }
    match control_plane.shard.control(ControlRequest::CreateTopics(topics)).await {
        ControlReply::CreateTopics(outcomes) if outcomes.len() == count => outcomes,
        _ => vec![Err(ControlError::Stopping); count],
    }
}

async fn create(control_plane: &ControlPlane, topics: Vec<NewTopic>) -> Vec<CreatableTopicResult> {
    let outcomes = ask_controller(control_plane, topics.clone()).await;
    let answer = |(topic, outcome): (NewTopic, Result<TopicId, ControlError>)| match outcome {
        Ok(id) => described(control_plane, &topic, Some(id)),
        Err(error) => refused(&topic.name.as_str().into(), (code_of(&error), error.to_string())),
    };
    topics.into_iter().zip(outcomes).map(answer).collect()
}

/// The code on the wire for what the controller refuses.
pub fn code_of(error: &ControlError) -> ErrorCode {
    match error {
        ControlError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        ControlError::NameCollides { .. } => ErrorCode::InvalidTopicException,
        ControlError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
        ControlError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        ControlError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        ControlError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        ControlError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        ControlError::TooMany(_) => ErrorCode::PolicyViolation,
        ControlError::Storage(_) => ErrorCode::KafkaStorageError,
        ControlError::Stopping => ErrorCode::NotController,
    }
}

// ---------------------------------------------------------------- checks

fn partitions_asked(control_plane: &ControlPlane, topics: &[CreatableTopic]) -> u64 {
    let count = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => u64::from(control_plane.config.num_partitions),
        (0, partitions) => u64::try_from(partitions).unwrap_or(0),
        (assigned, _) => assigned as u64,
    };
    topics.iter().map(count).sum()
}

/// What the controller is asked for, after Kafka's checks in Kafka's order.
fn examine(
    control_plane: &ControlPlane,
    topic: &CreatableTopic,
    is_excessive: bool,
) -> Result<NewTopic, Refusal> {
    let name = topic.name.as_str();
    if topic_name::is_reserved(name) {
        let text = format!("Creation of internal topic {name} is prohibited.");
        return Err((ErrorCode::InvalidRequest, text));
    }
    topic_name::check(name).map_err(|text| (ErrorCode::InvalidTopicException, text))?;
    if control_plane.shard.image().topic(name).is_some() {
        let exists = ControlError::TopicExists(name.to_string());
        return Err((code_of(&exists), exists.to_string()));
    }
    let overrides = check_configs(control_plane, topic)?;
    if is_excessive {
        let text = "Excessively large number of partitions per request.".to_string();
        return Err((ErrorCode::PolicyViolation, text));
    }
    let name = name.to_string();
    if topic.assignments.is_empty() {
        let partitions = check_counts(control_plane, topic)?;
        return Ok(NewTopic { name, partitions, places: None, overrides });
    }
    let places = check_assignments(control_plane, topic)?;
    let partitions = u32::try_from(topic.assignments.len()).expect("not excessive");
    Ok(NewTopic { name, partitions, places, overrides })
}

fn check_configs(
    control_plane: &ControlPlane,
    topic: &CreatableTopic,
) -> Result<Overrides, Refusal> {
    let invalid = |text: String| (ErrorCode::InvalidConfig, text);
    let mut overrides = Overrides::new();
    for config in &topic.configs {
        let name = config.name.as_str();
        let Some(value) = &config.value else {
            return Err(invalid(format!("Null value not supported for topic configs: {name}")));
        };
        let value = configs::check_topic_value(name, value).map_err(invalid)?;
        overrides.insert(name.to_string(), value);
    }
    let image = control_plane.shard.image();
    configs::check_topic(&overrides, control_plane.broker(&image)).map_err(invalid)?;
    Ok(overrides)
}

fn check_counts(control_plane: &ControlPlane, topic: &CreatableTopic) -> Result<u32, Refusal> {
    let replicas = topic.replication_factor;
    if replicas == 0 || replicas < -1 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::InvalidReplicationFactor, text.to_string()));
    }
    let partitions = match topic.num_partitions {
        -1 => control_plane.config.num_partitions,
        partitions => u32::try_from(partitions).unwrap_or(0),
    };
    if partitions == 0 {
        let text = "Number of partitions was set to an invalid non-positive value.";
        return Err((ErrorCode::InvalidPartitions, text.to_string()));
    }
    if replicas > 1 {
        let text = format!(
            "Unable to replicate the partition {replicas} time(s): The target replication factor of \
             {replicas} cannot be reached because only 1 host is there."
        );
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    Ok(partitions)
}

/// The shards that the client chose; none when one broker stands for all of them.
fn check_assignments(
    control_plane: &ControlPlane,
    topic: &CreatableTopic,
) -> Result<Option<Vec<ShardId>>, Refusal> {
    let invalid = |text: String| Err((ErrorCode::InvalidRequest, text));
    if topic.replication_factor != -1 {
        return invalid(
            "A manual partition assignment was specified, but replication factor was not set to -1."
                .to_string(),
        );
    }
    if topic.num_partitions != -1 {
        return invalid(
            "A manual partition assignment was specified, but numPartitions was not set to -1."
                .to_string(),
        );
    }
    let mut places: BTreeMap<i32, Option<ShardId>> = BTreeMap::new();
    for CreatableReplicaAssignment { partition_index, broker_ids } in &topic.assignments {
        let place = assigned_shard(control_plane, broker_ids)?;
        if places.insert(*partition_index, place).is_some() {
            return Err((
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Found multiple manual partition assignments for partition {partition_index}"
                ),
            ));
        }
    }
    let is_dense = (0..).zip(places.keys()).all(|(expected, index)| expected == *index);
    if !is_dense {
        let text = "partitions should be a consecutive 0-based integer sequence".to_string();
        return Err((ErrorCode::InvalidReplicaAssignment, text));
    }
    Ok(places.into_values().collect())
}

/// The shard that a partition's replica list names.
///
/// # Errors
/// A list that is not one broker of this host.
pub fn assigned_shard(
    control_plane: &ControlPlane,
    broker_ids: &[i32],
) -> Result<Option<ShardId>, Refusal> {
    let invalid = |text: String| Err((ErrorCode::InvalidReplicaAssignment, text));
    let Some(first) = broker_ids.first() else {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    };
    let unknown = broker_ids.iter().find(|id| control_plane.endpoints.shard_of(**id).is_none());
    if let Some(id) = unknown {
        return invalid(format!(
            "The manual partition assignment includes broker {id}, but no such broker is registered."
        ));
    }
    let repeated = broker_ids.iter().enumerate().find(|(at, id)| broker_ids[..*at].contains(id));
    if let Some((_, id)) = repeated {
        return invalid(format!(
            "The manual partition assignment includes the broker {id} more than once."
        ));
    }
    if broker_ids.len() > 1 {
        return invalid(
            "The manual partition assignment includes several brokers, but all are on \
                        one host: a partition has 1 replica."
                .into(),
        );
    }
    Ok(control_plane.endpoints.shard_of(*first).flatten())
}

// ---------------------------------------------------------------- answers

fn refused(name: &Str, (error_code, text): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code,
        error_message: Some(text.into()),
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

/// KIP-525: the answer says what was made. An id is shown even when it was only a trial, as by Kafka.
fn described(
    control_plane: &ControlPlane,
    topic: &NewTopic,
    id: Option<TopicId>,
) -> CreatableTopicResult {
    let image = control_plane.shard.image();
    let broker = control_plane.broker(&image);
    let configs = configs::TOPIC_KEYS.iter().map(|key| {
        let (value, source) = match topic.overrides.get(key.name) {
            Some(value) => (value.clone(), Source::Topic),
            None => (key.default_value(broker), key.default_source(broker)),
        };
        CreatableTopicConfigs {
            name: Str::from_static(key.name),
            value: Some(value.into()),
            config_source: source as i8,
            ..CreatableTopicConfigs::default()
        }
    });
    CreatableTopicResult {
        name: topic.name.as_str().into(),
        topic_id: id.unwrap_or_else(super::metadata_log::random_id),
        num_partitions: i32::try_from(topic.partitions).expect("checked"),
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}
