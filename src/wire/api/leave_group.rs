//! LeaveGroup (key 13). v3 several members, by member id or instance id (KIP-345); v5 reason (KIP-800).

use crate::wire::message::prelude::*;

messages! {
    LeaveGroupRequest (0..=5, flexible 4..) {
        group_id: Str => 0..;
        member_id: Str => 0..=2;
        members: Vec<MemberIdentity> => 3..;
    }

    MemberIdentity {
        member_id: Str => 3..;
        group_instance_id: Option<Str> => 3..;
        reason: Option<Str> => 5..;
    }

    LeaveGroupResponse (0..=5, flexible 4..) {
        throttle_time_ms: i32 => 1..;
        error_code: ErrorCode => 0..;
        members: Vec<MemberResponse> => 3..;
    }

    MemberResponse {
        member_id: Str => 3..;
        group_instance_id: Option<Str> => 3..;
        error_code: ErrorCode => 3..;
    }
}
