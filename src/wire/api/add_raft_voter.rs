//! AddRaftVoter (key 80). KIP-853; v1 may be answered before it is committed.

use crate::wire::message::prelude::*;

messages! {
    AddRaftVoterRequest (0..=1, flexible 0..) {
        cluster_id: Option<Str> => 0..;
        timeout_ms: i32 => 0..;
        voter_id: i32 => 0..;
        voter_directory_id: TopicId => 0..;
        listeners: Vec<Listener> => 0..;
        ack_when_committed: bool => 1.., default true;
    }

    Listener {
        name: Str => 0..;
        host: Str => 0..;
        port: u16 => 0..;
    }

    AddRaftVoterResponse (0..=1, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
    }
}
