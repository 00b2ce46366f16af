//! SyncGroup (key 14): the leader brings the assignment, each member fetches its own.
//! v3 static members (KIP-345); v5 protocol type and name (KIP-559).

use crate::wire::message::prelude::*;

messages! {
    SyncGroupRequest (0..=5, flexible 4..) {
        group_id: Str => 0..;
        generation_id: i32 => 0..;
        member_id: Str => 0..;
        group_instance_id: Option<Str> => 3..;
        protocol_type: Option<Str> => 5..;
        protocol_name: Option<Str> => 5..;
        assignments: Vec<SyncGroupRequestAssignment> => 0..;
    }

    SyncGroupRequestAssignment {
        member_id: Str => 0..;
        assignment: Bytes => 0..;
    }

    SyncGroupResponse (0..=5, flexible 4..) {
        throttle_time_ms: i32 => 1..;
        error_code: ErrorCode => 0..;
        protocol_type: Option<Str> => 5..;
        protocol_name: Option<Str> => 5..;
        assignment: Bytes => 0..;
    }
}
