//! DeleteGroups (key 42, KIP-229).

use crate::wire::message::prelude::*;

messages! {
    DeleteGroupsRequest (0..=2, flexible 2..) {
        groups_names: Vec<Str> => 0..;
    }

    DeleteGroupsResponse (0..=2, flexible 2..) {
        throttle_time_ms: i32 => 0..;
        results: Vec<DeletableGroupResult> => 0..;
    }

    DeletableGroupResult {
        group_id: Str => 0..;
        error_code: ErrorCode => 0..;
    }
}
