//! RemoveRaftVoter (key 81). KIP-853.

use crate::wire::message::prelude::*;

messages! {
    RemoveRaftVoterRequest (0..=0, flexible 0..) {
        cluster_id: Option<Str> => 0..;
        voter_id: i32 => 0..;
        voter_directory_id: TopicId => 0..;
    }

    RemoveRaftVoterResponse (0..=0, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
    }
}
