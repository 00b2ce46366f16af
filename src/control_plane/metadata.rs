//! Metadata: which topics there are, and which broker leads each partition.

use super::create_topics;
use super::{ConnectionInfo, ControlPlane, topic_name};
use crate::shard::image::{MetadataImage, Topic};
use crate::types::TopicId;
use crate::wire::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::{ErrorCode, Str};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// KIP-430: bits of the operations that anybody may do, as there is no authorization.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

pub async fn handle(
    control_plane: &ControlPlane,
    request: MetadataRequest,
    version: i16,
    connection: ConnectionInfo,
) -> MetadataResponse {
    let image = control_plane.shard.image();
    let mut response = MetadataResponse {
        brokers: brokers(control_plane, connection),
        cluster_id: Some(Str::from(&*image.cluster_id)),
        controller_id: control_plane.endpoints.controller_id(),
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    let operations = request.include_topic_authorized_operations;
    let allow_creation = request.allow_auto_topic_creation;
    let describe = |topic: &Arc<Topic>| describe(control_plane, &image, topic, operations);
    let asked = match request.topics {
        // Version 0 has no null: an empty list asks for all.
        Some(asked) if !(version == 0 && asked.is_empty()) => asked,
        _ => {
            response.topics = image.topics().map(describe).collect();
            return response;
        }
    };
    if let Err(error_code) = check(&asked, version) {
        response.topics = asked.iter().map(|topic| refuse_all(topic, error_code)).collect();
        response.error_code = error_code;
        return response;
    }
    let ids: Vec<TopicId> = distinct(asked.iter().map(|topic| topic.topic_id));
    if ids.iter().any(|id| *id != TopicId::ZERO) {
        // KIP-516: when there is an id, names are not looked at.
        let ids = ids.into_iter().filter(|id| *id != TopicId::ZERO);
        let found = ids.map(|id| image.topic_by_id(id).map(describe).ok_or(id));
        response.topics = found.map(|found| found.unwrap_or_else(unknown_id)).collect();
        return response;
    }
    let names = distinct(asked.into_iter().filter_map(|topic| topic.name));
    let (known, missing): (Vec<Str>, Vec<Str>) =
        names.into_iter().partition(|name| image.topic(name).is_some());
    response.topics = known.iter().filter_map(|name| image.topic(name)).map(describe).collect();
    let may_create = allow_creation && control_plane.config.auto_create_topics;
    response.topics.extend(answer_missing(control_plane, missing, may_create, operations).await);
    response
}

fn brokers(
    control_plane: &ControlPlane,
    connection: ConnectionInfo,
) -> Vec<MetadataResponseBroker> {
    let brokers = control_plane.endpoints.brokers(connection.local).into_iter();
    let listed = brokers.map(|broker| MetadataResponseBroker {
        node_id: broker.id,
        host: broker.host.into(),
        port: i32::from(broker.port),
        rack: broker.rack.map(Str::from),
    });
    listed.collect()
}

/// What Kafka refuses as a whole.
fn check(asked: &[MetadataRequestTopic], version: i16) -> Result<(), ErrorCode> {
    for topic in asked {
        if version < 12 && (topic.name.is_none() || topic.topic_id != TopicId::ZERO) {
            return Err(ErrorCode::InvalidRequest);
        }
        if topic.name.is_none() && topic.topic_id == TopicId::ZERO {
            return Err(ErrorCode::UnknownServerError);
        }
    }
    Ok(())
}

fn distinct<T: Clone + Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

fn refuse_all(topic: &MetadataRequestTopic, error_code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn unknown_id(topic_id: TopicId) -> MetadataResponseTopic {
    let error_code = ErrorCode::UnknownTopicId;
    MetadataResponseTopic { error_code, topic_id, ..MetadataResponseTopic::default() }
}

/// Topics that are not there: made if that is allowed, and then described at once.
async fn answer_missing(
    control_plane: &ControlPlane,
    missing: Vec<Str>,
    may_create: bool,
    operations: bool,
) -> Vec<MetadataResponseTopic> {
    let is_legal = |name: &Str| topic_name::check(name).is_ok();
    let legal: Vec<String> =
        missing.iter().filter(|name| is_legal(name)).map(|name| name.to_string()).collect();
    let mut failures = HashMap::new();
    if may_create && !legal.is_empty() {
        failures = create_topics::create_automatically(control_plane, legal).await;
    }
    let image = control_plane.shard.image();
    let answer = |name: Str| {
        if let Some(topic) = image.topic(&name) {
            return describe(control_plane, &image, topic, operations);
        }
        let error_code = match failures.get(name.as_str()) {
            _ if !is_legal(&name) => ErrorCode::InvalidTopicException,
            Some(error_code) => *error_code,
            None => ErrorCode::UnknownTopicOrPartition,
        };
        let is_internal = topic_name::is_internal(&name);
        let name = Some(name);
        MetadataResponseTopic { error_code, name, is_internal, ..MetadataResponseTopic::default() }
    };
    missing.into_iter().map(answer).collect()
}

fn describe(
    control_plane: &ControlPlane,
    image: &MetadataImage,
    topic: &Arc<Topic>,
    operations: bool,
) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(partition_index, place)| {
        let standing = control_plane.standing(image, topic.id, partition_index, place);
        let is_led = standing.is_led();
        MetadataResponsePartition {
            error_code: if is_led { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
            partition_index,
            leader_id: standing.leader,
            leader_epoch: place.leader_epoch,
            replica_nodes: vec![standing.replica],
            isr_nodes: vec![standing.replica],
            offline_replicas: standing.offline,
        }
    });
    let mut described = MetadataResponseTopic {
        name: Some(Str::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: topic_name::is_internal(&topic.name),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    };
    if operations {
        described.topic_authorized_operations = TOPIC_OPERATIONS;
    }
    described
}
