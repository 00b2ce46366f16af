//! JoinGroup: who may be in the next generation. Pure, on the group's core.

use super::super::turn::{GroupConfig, Turn};
use super::members::{Member, member_id, milliseconds};
use super::{ClassicGroup, State, record, refused_join, refused_sync};
use crate::limits::{GROUP_VALUE_BYTES_MAX, NEW_MEMBER_JOIN_MAX, PENDING_MEMBERS_MAX};
use crate::runtime::Filler;
use crate::wire::api::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use crate::wire::api::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// KIP-394: a member joins with an id that the broker gave.
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// KIP-814: a leader that comes back into a stable group is told not to assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

type Waiting = Filler<JoinGroupResponse>;

/// What no group answers otherwise: to be asked before a group is made for the request.
pub fn refuse_join(request: &JoinGroupRequest, config: &GroupConfig) -> Option<JoinGroupResponse> {
    let session = u64::try_from(request.session_timeout_ms).map(Duration::from_millis);
    let bounds = config.session_timeout_min..=config.session_timeout_max;
    let error = if request.group_id.is_empty() {
        ErrorCode::InvalidGroupId
    } else if !session.is_ok_and(|session| bounds.contains(&session)) {
        ErrorCode::InvalidSessionTimeout
    } else {
        return None;
    };
    Some(refused_join(&request.member_id, error))
}

/// A request to join, with where it came from.
pub(super) struct Joining {
    request: JoinGroupRequest,
    version: i16,
    client_id: Str,
    client_host: String,
}

impl Joining {
    fn instance(&self) -> Option<&str> {
        self.request.group_instance_id.as_deref()
    }

    /// Before version 1 a member has one timeout for both.
    fn rebalance_timeout_ms(&self) -> i32 {
        match self.version {
            0 => self.request.session_timeout_ms,
            _ => self.request.rebalance_timeout_ms,
        }
    }

    /// Copies: the request's frame is not kept.
    fn protocols(&self) -> Vec<JoinGroupRequestProtocol> {
        let copied = |each: &JoinGroupRequestProtocol| JoinGroupRequestProtocol {
            name: each.name.detached(),
            metadata: Bytes::copy_from_slice(&each.metadata),
        };
        self.request.protocols.iter().map(copied).collect()
    }

    fn member(&self, id: Str) -> Member {
        Member {
            id,
            instance_id: self.request.group_instance_id.as_ref().map(Str::detached),
            client_id: self.client_id.detached(),
            client_host: Str::from(&*self.client_host),
            rebalance_timeout_ms: self.rebalance_timeout_ms(),
            session_timeout_ms: self.request.session_timeout_ms,
            protocols: self.protocols(),
            assignment: Bytes::new(),
            is_new: true,
        }
    }

    fn why(&self, why: &'static str) -> Reason<'_> {
        Reason { why, of_client: self.request.reason.as_deref().unwrap_or_default() }
    }
}

/// Why a group rebalances: ours, and what the client said (KIP-800).
#[derive(Clone, Copy)]
pub(super) struct Reason<'a> {
    why: &'static str,
    of_client: &'a str,
}

impl Reason<'static> {
    pub(super) fn ours(why: &'static str) -> Reason<'static> {
        Reason { why, of_client: "" }
    }
}

/// A client's words are cut at what Kafka's own clients send.
impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of_client {
            "" => f.write_str(self.why),
            said => write!(f, "{} ({:.255})", self.why, said.escape_debug().to_string()),
        }
    }
}

impl ClassicGroup {
    /// Answered when the group's next generation has begun, or at once. `refuse_join` comes before it.
    /// `client_host` is as Kafka shows it: a slash and the address.
    pub fn join(
        &mut self,
        request: JoinGroupRequest,
        version: i16,
        client_id: Str,
        client_host: String,
        waiting: Waiting,
        turn: &mut Turn,
    ) {
        let was_stored = self.stored.is_some();
        let joining = Joining { request, version, client_id, client_host };
        let id = joining.request.member_id.detached();
        if !self.has_room_for(&id, turn.config) {
            turn.answer(waiting, refused_join("", ErrorCode::GroupMaxSizeReached));
            self.remove(&id, turn);
            self.maybe_complete_join(turn);
        } else if id.is_empty() {
            self.join_new(&joining, waiting, turn);
        } else {
            self.join_known(&id, &joining, waiting, turn);
        }
        // Like Kafka, a group is in the log from its first join on, whatever comes of that.
        if !was_stored && self.stored.is_none() {
            let value = record::ClassicGroupValue {
                protocol: None,
                leader: None,
                current_state_timestamp: self.state_since.0,
                ..Default::default()
            };
            self.store(value, turn);
        }
    }

    /// While members join, those that wait count, so that a group that is too large is cut to its limit: the
    /// last to join again are out.
    fn has_room_for(&self, id: &str, config: &GroupConfig) -> bool {
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                self.members.is_joining(id) || self.members.joining() < config.members_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains(id) || self.members.len() < config.members_max
            }
        }
    }

    /// An empty group takes any protocol, another one those of its type that all its members have.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.state == State::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && self.members.share_any(&request.protocols)
    }

    fn join_new(&mut self, joining: &Joining, waiting: Waiting, turn: &mut Turn) {
        let error = if self.state == State::Dead {
            ErrorCode::CoordinatorNotAvailable
        } else if !self.supports(&joining.request) {
            ErrorCode::InconsistentGroupProtocol
        } else {
            ErrorCode::None
        };
        if !error.is_none() {
            return turn.answer(waiting, refused_join("", error));
        }
        let uuid = turn.uuid();
        let Some(instance) = joining.instance() else {
            let id = member_id(&joining.client_id, &uuid);
            return match joining.version {
                MEMBER_ID_REQUIRED_FROM.. => self.give_id(id, joining, waiting, turn),
                _ => self.add(id, joining, waiting, turn),
            };
        };
        let id = member_id(instance, &uuid);
        match self.members.static_id(instance).cloned() {
            Some(old) => self.replace(&old, id, joining, waiting, turn),
            None => self.add(id, joining, waiting, turn),
        }
    }

    /// The client is to join again with this id, within its session timeout (KIP-394).
    fn give_id(&mut self, id: Str, joining: &Joining, waiting: Waiting, turn: &mut Turn) {
        if self.members.pending().len() >= PENDING_MEMBERS_MAX {
            return turn.answer(waiting, refused_join("", ErrorCode::GroupMaxSizeReached));
        }
        let until = turn.now + milliseconds(joining.request.session_timeout_ms);
        turn.timers.set(self.session_timer(&id), until);
        turn.answer(waiting, refused_join(&id, ErrorCode::MemberIdRequired));
        self.members.add_pending(id);
    }

    fn join_known(&mut self, id: &Str, joining: &Joining, waiting: Waiting, turn: &mut Turn) {
        let request = &joining.request;
        let error = if self.state == State::Dead {
            ErrorCode::CoordinatorNotAvailable
        } else if !self.supports(request) {
            ErrorCode::InconsistentGroupProtocol
        } else if self.members.is_pending(id) {
            // No static member was ever given an id to come back with.
            if joining.instance().is_none() {
                return self.add(id.clone(), joining, waiting, turn);
            }
            ErrorCode::UnknownServerError
        } else {
            match self.members.check(id, joining.instance()) {
                ErrorCode::None => return self.join_again(id, joining, waiting, turn),
                error => {
                    let refused = refused_join(id, error);
                    let refused = JoinGroupResponse { protocol_name: None, ..refused };
                    return turn.answer(waiting, refused);
                }
            }
        };
        turn.answer(waiting, refused_join(id, error));
    }

    fn join_again(&mut self, id: &Str, joining: &Joining, waiting: Waiting, turn: &mut Turn) {
        let member = self.members.get(id);
        let is_unchanged =
            member.is_some_and(|member| member.protocols == joining.request.protocols);
        let why = match self.state {
            State::PreparingRebalance => "a member joins again",
            // Its answer may have been lost.
            State::CompletingRebalance if is_unchanged => {
                let answer = self.joined(id, self.is_leader(id));
                return turn.answer(waiting, answer);
            }
            State::CompletingRebalance => "a member's metadata has changed",
            // A leader joins for what members' metadata does not show, such as new partitions.
            State::Stable if self.is_leader(id) => "the leader joins again",
            State::Stable if !is_unchanged => "a member's metadata has changed",
            State::Stable => return turn.answer(waiting, self.joined(id, false)),
            State::Empty | State::Dead => {
                return turn.answer(waiting, refused_join(id, ErrorCode::UnknownMemberId));
            }
        };
        self.rejoin(id, joining, waiting);
        self.rebalance_or_complete(joining.why(why), turn);
    }

    fn rejoin(&mut self, id: &Str, joining: &Joining, waiting: Waiting) {
        let (rebalance, session) =
            (joining.rebalance_timeout_ms(), joining.request.session_timeout_ms);
        self.members.rejoin(id, joining.protocols(), rebalance, session);
        self.members.wait_join(id, waiting);
    }

    /// A new member's session does not end for want of heartbeats, as it cannot send any before it has joined;
    /// but a client that asked and went away is not waited for without end.
    fn add(&mut self, id: Str, joining: &Joining, waiting: Waiting, turn: &mut Turn) {
        if let Some(initial) = &mut self.initial {
            initial.has_new_member = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(joining.request.protocol_type.detached());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.add(joining.member(id.clone()), Some(waiting));
        turn.timers.set(self.session_timer(&id), turn.now + NEW_MEMBER_JOIN_MAX);
        self.rebalance_or_complete(joining.why("a new member"), turn);
    }

    /// A static member came back without its id: it has a new one, and all else of the old one's. Whoever still
    /// waits with the old id is fenced (KIP-345).
    fn replace(
        &mut self,
        old: &Str,
        id: Str,
        joining: &Joining,
        waiting: Waiting,
        turn: &mut Turn,
    ) {
        let Some(removed) = self.members.remove(old) else { return };
        if let Some(waiting) = removed.join {
            let fenced = refused_join(old, ErrorCode::FencedInstanceId);
            turn.answer(waiting, JoinGroupResponse { protocol_name: None, ..fenced });
        }
        if let Some(waiting) = removed.sync {
            turn.answer(waiting, refused_sync(ErrorCode::FencedInstanceId));
        }
        turn.timers.cancel(&self.session_timer(old));
        let (old_leader, was_leader) = (self.leader.clone(), self.is_leader(old));
        if was_leader {
            self.leader = Some(id.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(id.clone());
        }
        self.members.add(Member { id: id.clone(), is_new: false, ..removed.member }, None);
        self.heard_of(&id, turn);
        let (rebalance, session) =
            (joining.rebalance_timeout_ms(), joining.request.session_timeout_ms);
        self.members.rejoin(&id, joining.protocols(), rebalance, session);
        if self.state == State::Stable && self.next_protocol() == self.protocol {
            let value = self.current_value();
            if record::value_bytes(&value) <= GROUP_VALUE_BYTES_MAX {
                self.store(value, turn);
                self.subscribed = self.subscription();
                let answer = self.taken_back(&id, old_leader, joining.version);
                return turn.answer(waiting, answer);
            }
        }
        self.members.wait_join(&id, waiting);
        match self.state {
            // The leader may be assigning to the old id.
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(joining.why("a static member is back"), turn);
            }
            State::PreparingRebalance | State::Empty | State::Dead => {
                self.maybe_complete_join(turn);
            }
        }
    }

    /// For a static member that is back in a generation that goes on. Only from KIP-814 on can the leader be told
    /// that it leads and is not to assign; before, it is told that its old self leads.
    fn taken_back(&self, id: &Str, old_leader: Option<Str>, version: i16) -> JoinGroupResponse {
        let can_skip = version >= SKIP_ASSIGNMENT_FROM;
        let leads = can_skip && self.is_leader(id);
        let leader = if can_skip { self.leader.clone() } else { old_leader };
        JoinGroupResponse {
            leader: leader.unwrap_or_default(),
            skip_assignment: leads,
            ..self.joined(id, leads)
        }
    }

    /// An answer that lets a member into the generation; the leader gets everybody's metadata.
    pub(super) fn joined(&self, id: &Str, leads: bool) -> JoinGroupResponse {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.clone(),
            members: if leads { self.members.iter().map(member).collect() } else { Vec::new() },
            ..JoinGroupResponse::default()
        }
    }
}
