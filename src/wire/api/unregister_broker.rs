//! UnregisterBroker (key 64). KIP-500.

use crate::wire::message::prelude::*;

messages! {
    UnregisterBrokerRequest (0..=0, flexible 0..) {
        broker_id: i32 => 0..;
    }

    UnregisterBrokerResponse (0..=0, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
    }
}
