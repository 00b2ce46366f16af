//! JoinGroup (key 11): a member asks to be in the next generation of a classic group.
//! v1 rebalance timeout (before, the session timeout stands for it); v4 member id required (KIP-394);
//! v5 static members (KIP-345); v7 protocol type (KIP-559); v8 reason (KIP-800); v9 skip assignment (KIP-814).

use crate::wire::message::prelude::*;

messages! {
    JoinGroupRequest (0..=9, flexible 6..) {
        group_id: Str => 0..;
        session_timeout_ms: i32 => 0..;
        rebalance_timeout_ms: i32 => 1.., default -1;
        member_id: Str => 0..;
        group_instance_id: Option<Str> => 5..;
        protocol_type: Str => 0..;
        protocols: Vec<JoinGroupRequestProtocol> => 0..;
        reason: Option<Str> => 8..;
    }

    JoinGroupRequestProtocol {
        name: Str => 0..;
        metadata: Bytes => 0..;
    }

    JoinGroupResponse (0..=9, flexible 6..) {
        throttle_time_ms: i32 => 2..;
        error_code: ErrorCode => 0..;
        generation_id: i32 => 0.., default -1;
        protocol_type: Option<Str> => 7..;
        protocol_name: Option<Str> => 0.., nullable 7.., default Some(Str::default());
        leader: Str => 0..;
        skip_assignment: bool => 9..;
        member_id: Str => 0..;
        members: Vec<JoinGroupResponseMember> => 0..;
    }

    JoinGroupResponseMember {
        member_id: Str => 0..;
        group_instance_id: Option<Str> => 5..;
        metadata: Bytes => 0..;
    }
}
