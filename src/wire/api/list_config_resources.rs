//! ListConfigResources (key 74). KIP-1142; v0, then of another name, lists client metrics only.

use crate::wire::message::prelude::*;

messages! {
    ListConfigResourcesRequest (0..=1, flexible 0..) {
        resource_types: Vec<i8> => 1..;
    }

    ListConfigResourcesResponse (0..=1, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        config_resources: Vec<ConfigResource> => 0..;
    }

    ConfigResource {
        resource_name: Str => 0..;
        resource_type: i8 => 1.., default 16;
    }
}
