//! DescribeCluster (key 60, KIP-700).
//! v1 endpoint types (KIP-919); v2 fenced brokers (KIP-1073).

use crate::wire::message::prelude::*;

/// Brokers rather than controllers.
const BROKER_ENDPOINTS: i8 = 1;

messages! {
    DescribeClusterRequest (0..=2, flexible 0..) {
        include_cluster_authorized_operations: bool => 0..;
        endpoint_type: i8 => 1.., default BROKER_ENDPOINTS;
        include_fenced_brokers: bool => 2..;
    }

    DescribeClusterResponse (0..=2, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        endpoint_type: i8 => 1.., default BROKER_ENDPOINTS;
        cluster_id: Str => 0..;
        controller_id: i32 => 0.., default -1;
        brokers: Vec<DescribeClusterBroker> => 0..;
        cluster_authorized_operations: i32 => 0.., default i32::MIN;
    }

    DescribeClusterBroker {
        broker_id: i32 => 0..;
        host: Str => 0..;
        port: i32 => 0..;
        rack: Option<Str> => 0..;
        is_fenced: bool => 2..;
    }
}
