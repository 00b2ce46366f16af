//! DeleteTopics (key 20).
//! v5 error messages (KIP-599); v6 topic ids (KIP-516), in `topics` instead of `topic_names`.
//! Kafka 4 serves it from v1; v0 is for old clients.

use crate::wire::message::prelude::*;

messages! {
    DeleteTopicsRequest (0..=6, flexible 4..) {
        topics: Vec<DeleteTopicState> => 6..;
        topic_names: Vec<Str> => 0..=5;
        timeout_ms: i32 => 0..;
    }

    DeleteTopicState {
        name: Option<Str> => 6..;
        topic_id: TopicId => 6..;
    }

    DeleteTopicsResponse (0..=6, flexible 4..) {
        throttle_time_ms: i32 => 1..;
        responses: Vec<DeletableTopicResult> => 0..;
    }

    DeletableTopicResult {
        name: Option<Str> => 0.., nullable 6..;
        topic_id: TopicId => 6..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 5..;
    }
}
