//! Why a request to a consumer group is refused: Kafka's error code and a sentence. Pure.

use crate::wire::api::ConsumerGroupHeartbeatResponse;
use crate::wire::{ErrorCode, Str};

/// The client's fault, or the group's state that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub fn heartbeat_response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.code,
            error_message: Some(Str::from(self.message)),
            ..Default::default()
        }
    }
}
