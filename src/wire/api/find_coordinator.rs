//! FindCoordinator (key 10).
//! v1 transactions; v4 several keys (KIP-699); v6 share groups (KIP-932).

use crate::wire::message::prelude::*;

messages! {
    FindCoordinatorRequest (0..=6, flexible 3..) {
        key: Str => 0..=3;
        /// 0: group, 1: transaction, 2: share.
        key_type: i8 => 1..;
        coordinator_keys: Vec<Str> => 4..;
    }

    FindCoordinatorResponse (0..=6, flexible 3..) {
        throttle_time_ms: i32 => 1..;
        error_code: ErrorCode => 0..=3;
        error_message: Option<Str> => 1..=3;
        node_id: i32 => 0..=3;
        host: Str => 0..=3;
        port: i32 => 0..=3;
        coordinators: Vec<FoundCoordinator> => 4..;
    }

    FoundCoordinator {
        key: Str => 4..;
        node_id: i32 => 4..;
        host: Str => 4..;
        port: i32 => 4..;
        error_code: ErrorCode => 4..;
        error_message: Option<Str> => 4..;
    }
}
