//! The controllers and members of a cluster that is one host: DescribeQuorum, AddRaftVoter,
//! RemoveRaftVoter and UnregisterBroker. Nothing of it can be changed. Pure, but for the clock.

use crate::control_plane::{ConnectionInfo, ControlPlane};
use crate::runtime;
use crate::types::TopicId;
use crate::wire::api::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use crate::wire::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState,
    TopicAsked, TopicData,
};
use crate::wire::api::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use crate::wire::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use crate::wire::{ErrorCode, Str};

/// Kafka's name of the metadata log.
const METADATA: &str = "__cluster_metadata";

/// The one writer was never elected.
const LEADER_EPOCH: i32 = 1;

pub fn describe(
    control_plane: &ControlPlane,
    request: DescribeQuorumRequest,
    connection: ConnectionInfo,
) -> DescribeQuorumResponse {
    let is_metadata = |topic: &TopicAsked| {
        *topic.topic_name == *METADATA
            && matches!(&topic.partitions[..], [one] if one.partition_index == 0)
    };
    let is_asked = matches!(&request.topics[..], [one] if is_metadata(one));
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| match is_asked {
            true => one_voter(control_plane),
            false => PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition,
                error_message: Some(Str::from_static("This is not the metadata log.")),
                ..PartitionData::default()
            },
        });
        let partitions = partitions.collect();
        TopicData { topic_name: topic.topic_name, partitions }
    });
    DescribeQuorumResponse {
        error_message: Some(Str::default()),
        topics: topics.collect(),
        nodes: if is_asked { vec![node(control_plane, connection)] } else { Vec::new() },
        ..DescribeQuorumResponse::default()
    }
}

/// The controller, which has all that it has written.
fn one_voter(control_plane: &ControlPlane) -> PartitionData {
    let leader_id = control_plane.endpoints.controller_id();
    let end = i64::try_from(control_plane.shard.image().version).unwrap_or(i64::MAX);
    let now = runtime::wall_clock().0;
    let voter = ReplicaState {
        replica_id: leader_id,
        log_end_offset: end,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
        ..ReplicaState::default()
    };
    PartitionData {
        error_message: Some(Str::default()),
        leader_id,
        leader_epoch: LEADER_EPOCH,
        high_watermark: end,
        current_voters: vec![voter],
        ..PartitionData::default()
    }
}

fn node(control_plane: &ControlPlane, connection: ConnectionInfo) -> Node {
    let node_id = control_plane.endpoints.controller_id();
    let brokers = control_plane.endpoints.brokers(connection.local).into_iter();
    let listeners = brokers.filter(|broker| broker.id == node_id).map(|broker| Listener {
        name: Str::from_static("PLAINTEXT"),
        host: broker.host.into(),
        port: broker.port,
    });
    Node { node_id, listeners: listeners.collect() }
}

pub fn add_voter(
    control_plane: &ControlPlane,
    request: &AddRaftVoterRequest,
) -> AddRaftVoterResponse {
    let voter = (request.voter_id, request.voter_directory_id);
    let (error_code, text) = refuse_voter(control_plane, request.cluster_id.as_ref(), voter);
    AddRaftVoterResponse {
        error_code,
        error_message: Some(text),
        ..AddRaftVoterResponse::default()
    }
}

pub fn remove_voter(
    control_plane: &ControlPlane,
    request: &RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    let voter = (request.voter_id, request.voter_directory_id);
    let (error_code, text) = refuse_voter(control_plane, request.cluster_id.as_ref(), voter);
    RemoveRaftVoterResponse {
        error_code,
        error_message: Some(text),
        ..RemoveRaftVoterResponse::default()
    }
}

/// As Kafka does where the voters are those of the configuration.
fn refuse_voter(
    control_plane: &ControlPlane,
    cluster_id: Option<&Str>,
    (id, directory): (i32, TopicId),
) -> (ErrorCode, Str) {
    let own = control_plane.shard.image().cluster_id.clone();
    if cluster_id.is_some_and(|asked| **asked != *own) {
        let text = format!("This is the cluster {own}.");
        return (ErrorCode::InconsistentClusterId, text.into());
    }
    if id < 0 || directory == TopicId::ZERO {
        let text = Str::from_static("The request names no voter.");
        return (ErrorCode::InvalidRequest, text);
    }
    let text = Str::from_static("The cluster is one host: its controllers cannot be changed.");
    (ErrorCode::UnsupportedVersion, text)
}

pub fn unregister(
    control_plane: &ControlPlane,
    request: &UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = request.broker_id;
    let (error_code, text) = match control_plane.endpoints.shard_of(id) {
        None => (ErrorCode::BrokerIdNotRegistered, format!("There is no broker {id}.")),
        Some(_) => {
            (ErrorCode::InvalidRequest, format!("The broker {id} is this host: it is there."))
        }
    };
    UnregisterBrokerResponse {
        error_code,
        error_message: Some(text.into()),
        ..UnregisterBrokerResponse::default()
    }
}
