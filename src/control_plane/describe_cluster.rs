//! DescribeCluster (KIP-700): the brokers, without topics.

use super::metadata::CLUSTER_OPERATIONS;
use super::{ConnectionInfo, ControlPlane};
use crate::wire::api::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::wire::{ErrorCode, Str};

/// KIP-919.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn handle(
    control_plane: &ControlPlane,
    request: &DescribeClusterRequest,
    connection: ConnectionInfo,
) -> DescribeClusterResponse {
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let text = "The request was sent to an endpoint of type BROKER, but we wanted an \
                        endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, text.to_string());
        }
        other => {
            let text = format!("Unsupported endpoint type {other}");
            return refuse(ErrorCode::UnsupportedEndpointType, text);
        }
    }
    let brokers = control_plane.endpoints.brokers(connection.local).into_iter();
    let mut response = DescribeClusterResponse {
        cluster_id: Str::from(&*control_plane.shard.image().cluster_id),
        controller_id: control_plane.endpoints.controller_id(),
        brokers: brokers
            .map(|broker| DescribeClusterBroker {
                broker_id: broker.id,
                host: broker.host.into(),
                port: i32::from(broker.port),
                rack: broker.rack.map(Str::from),
                is_fenced: false,
            })
            .collect(),
        ..DescribeClusterResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn refuse(error_code: ErrorCode, text: String) -> DescribeClusterResponse {
    let error_message = Some(text.into());
    DescribeClusterResponse { error_code, error_message, ..DescribeClusterResponse::default() }
}
