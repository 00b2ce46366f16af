//! The value of a classic group's record in `__consumer_offsets` (key of kind 2), as Kafka's GroupMetadataValue.
//! v1 rebalance timeouts; v2 when the state began; v3 static members (KIP-345); v4 tagged fields (KIP-915).

use super::message::prelude::*;

messages! {
    GroupMetadataValue (0..=4, flexible 4..) {
        protocol_type: Str => 0..;
        generation: i32 => 0..;
        protocol: Option<Str> => 0..;
        leader: Option<Str> => 0..;
        current_state_timestamp: i64 => 2.., default -1;
        members: Vec<GroupMetadataMember> => 0..;
    }

    GroupMetadataMember {
        member_id: Str => 0..;
        group_instance_id: Option<Str> => 3..;
        client_id: Str => 0..;
        client_host: Str => 0..;
        rebalance_timeout: i32 => 1.., default -1;
        session_timeout: i32 => 0..;
        subscription: Bytes => 0..;
        assignment: Bytes => 0..;
    }
}

impl Eq for GroupMetadataValue {}
impl Eq for GroupMetadataMember {}
