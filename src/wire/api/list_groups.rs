//! ListGroups (key 16).
//! v4 states (KIP-518); v5 types (KIP-848).

use crate::wire::message::prelude::*;

messages! {
    ListGroupsRequest (0..=5, flexible 3..) {
        /// Empty: all.
        states_filter: Vec<Str> => 4..;
        types_filter: Vec<Str> => 5..;
    }

    ListGroupsResponse (0..=5, flexible 3..) {
        throttle_time_ms: i32 => 1..;
        error_code: ErrorCode => 0..;
        groups: Vec<ListedGroup> => 0..;
    }

    ListedGroup {
        group_id: Str => 0..;
        protocol_type: Str => 0..;
        group_state: Str => 4..;
        group_type: Str => 5..;
    }
}
