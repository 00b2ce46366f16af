//! A classic group as `__consumer_offsets` holds it: Kafka's GroupMetadataValue, written in version 3 as Kafka 4
//! does, read in all. Pure. The key's framing is not here.

use super::members::{Member, Members};
use super::{ClassicGroup, State};
use crate::types::Timestamp;
use crate::wire::api::join_group::JoinGroupRequestProtocol;
pub use crate::wire::group_metadata::{
    GroupMetadataMember as ClassicMemberValue, GroupMetadataValue as ClassicGroupValue,
};
use crate::wire::{Decoder, Encoder, Str, WireError};
use bytes::Bytes;

const VERSION: i16 = 3;

pub fn encode_value(value: &ClassicGroupValue) -> Bytes {
    let mut e = Encoder::new();
    e.write_i16(VERSION);
    value.encode(&mut e, VERSION);
    e.out.freeze()
}

/// # Errors
/// Bytes that are not such a value, or of a version that is not known.
pub fn decode_value(bytes: Bytes) -> Result<ClassicGroupValue, WireError> {
    let mut d = Decoder::new(bytes);
    let version = d.read_i16()?;
    ClassicGroupValue::decode(&mut d, version)
}

/// Bytes that `encode_value` makes of it.
pub fn value_bytes(value: &ClassicGroupValue) -> usize {
    let text = |text: &Str| 2 + text.as_bytes().len();
    let optional = |optional: &Option<Str>| optional.as_ref().map_or(2, text);
    let member = |member: &ClassicMemberValue| {
        text(&member.member_id)
            + optional(&member.group_instance_id)
            + text(&member.client_id)
            + text(&member.client_host)
            + 2 * size_of::<i32>()
            + 4
            + member.subscription.len()
            + 4
            + member.assignment.len()
    };
    size_of::<i16>()
        + text(&value.protocol_type)
        + size_of::<i32>()
        + optional(&value.protocol)
        + optional(&value.leader)
        + size_of::<i64>()
        + 4
        + value.members.iter().map(member).sum::<usize>()
}

/// A copy that does not keep what it was read from alive.
fn detached(value: &ClassicGroupValue) -> ClassicGroupValue {
    let member = |member: &ClassicMemberValue| ClassicMemberValue {
        member_id: member.member_id.detached(),
        group_instance_id: member.group_instance_id.as_ref().map(Str::detached),
        client_id: member.client_id.detached(),
        client_host: member.client_host.detached(),
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
        ..*member
    };
    ClassicGroupValue {
        protocol_type: value.protocol_type.detached(),
        protocol: value.protocol.as_ref().map(Str::detached),
        leader: value.leader.as_ref().map(Str::detached),
        members: value.members.iter().map(member).collect(),
        ..*value
    }
}

impl ClassicGroup {
    /// The group that a record describes: Stable with members, Empty without. Its sessions begin with
    /// `on_loaded`.
    pub fn from_value(group: Str, value: &ClassicGroupValue) -> ClassicGroup {
        let value = detached(value);
        let mut loaded = ClassicGroup::new(group, Timestamp(value.current_state_timestamp));
        loaded.generation = value.generation;
        loaded.protocol = value.protocol.clone();
        if !value.protocol_type.is_empty() {
            loaded.protocol_type = Some(value.protocol_type.clone());
        }
        for member in &value.members {
            loaded.protocol_type = Some(value.protocol_type.clone());
            loaded.members.add(loaded_member(&value, member), None);
        }
        loaded.leader = value.leader.clone().or_else(|| loaded.members.first_id());
        if !loaded.members.is_empty() {
            loaded.state = State::Stable;
        }
        loaded.subscribed = loaded.subscription();
        loaded.stored = Some(value);
        loaded
    }

    /// What is in the log of this group. A rebalance under way is not: after a crash, the generation before it
    /// is the group's, as in Kafka. `None` when nothing was stored yet.
    pub fn value(&self) -> Option<ClassicGroupValue> {
        self.stored.clone()
    }

    /// The generation as it is to be stored.
    pub(super) fn current_value(&self) -> ClassicGroupValue {
        ClassicGroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since.0,
            members: member_values(&self.members, self.protocol.as_deref()),
        }
    }
}

fn loaded_member(value: &ClassicGroupValue, member: &ClassicMemberValue) -> Member {
    let rebalance_timeout_ms = match member.rebalance_timeout {
        -1 => member.session_timeout,
        timeout => timeout,
    };
    Member {
        id: member.member_id.clone(),
        instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout,
        protocols: vec![JoinGroupRequestProtocol {
            name: value.protocol.clone().unwrap_or_default(),
            metadata: member.subscription.clone(),
        }],
        assignment: member.assignment.clone(),
        is_new: false,
    }
}

fn member_values(members: &Members, protocol: Option<&str>) -> Vec<ClassicMemberValue> {
    members
        .iter()
        .map(|member| ClassicMemberValue {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(protocol.unwrap_or_default()),
            assignment: member.assignment.clone(),
        })
        .collect()
}
