//! Heartbeat (key 12): a member of a classic group lives. v3 static members (KIP-345).

use crate::wire::message::prelude::*;

messages! {
    HeartbeatRequest (0..=4, flexible 4..) {
        group_id: Str => 0..;
        generation_id: i32 => 0..;
        member_id: Str => 0..;
        group_instance_id: Option<Str> => 3..;
    }

    HeartbeatResponse (0..=4, flexible 4..) {
        throttle_time_ms: i32 => 1..;
        error_code: ErrorCode => 0..;
    }
}
