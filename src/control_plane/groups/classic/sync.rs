//! What members of a generation do: SyncGroup, Heartbeat, and OffsetCommit as far as it concerns the group.
//! Pure, on the group's core.

use super::super::turn::Turn;
use super::join::Reason;
use super::{ClassicGroup, State, record, refused_sync};
use crate::limits::GROUP_VALUE_BYTES_MAX;
use crate::log::planted::{self, Bug};
use crate::runtime::Filler;
use crate::wire::api::sync_group::SyncGroupRequestAssignment;
use crate::wire::api::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::collections::HashMap;

/// KIP-559: a member says which protocol it believes the group to have.
const PROTOCOL_REQUIRED_FROM: i16 = 5;

/// What no group answers otherwise.
pub fn refuse_sync(request: &SyncGroupRequest, version: i16) -> Option<SyncGroupResponse> {
    let has_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= PROTOCOL_REQUIRED_FROM && !has_protocol {
        return Some(refused_sync(ErrorCode::InconsistentGroupProtocol));
    }
    request.group_id.is_empty().then(|| refused_sync(ErrorCode::InvalidGroupId))
}

impl ClassicGroup {
    /// Answered when the leader's assignment is there, or at once. `refuse_sync` comes before it.
    pub fn sync(
        &mut self,
        request: SyncGroupRequest,
        waiting: Filler<SyncGroupResponse>,
        turn: &mut Turn,
    ) {
        let error = self.check_sync(&request);
        if !error.is_none() {
            return turn.answer(waiting, refused_sync(error));
        }
        let id = &request.member_id;
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            turn.timers.cancel(&self.sync_timer());
        }
        if self.state == State::Stable {
            return turn.answer(waiting, self.synced(id));
        }
        self.members.wait_sync(id, waiting);
        if self.is_leader(id) {
            self.assign(&request.assignments, turn);
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        let member = self.members.check(&request.member_id, request.group_instance_id.as_deref());
        let differs =
            |said: &Option<Str>, is: &Option<Str>| said.is_some() && is.is_some() && said != is;
        if !member.is_none() {
            member
        } else if request.generation_id != self.generation {
            ErrorCode::IllegalGeneration
        } else if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            ErrorCode::InconsistentGroupProtocol
        } else if self.state == State::PreparingRebalance {
            ErrorCode::RebalanceInProgress
        } else {
            ErrorCode::None
        }
    }

    fn synced(&self, id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map(|of| of.assignment.clone()).unwrap_or_default(),
            ..SyncGroupResponse::default()
        }
    }

    /// The leader's assignment: a member it does not name gets nothing, a name that is no member's is ignored.
    fn assign(&mut self, assignments: &[SyncGroupRequestAssignment], turn: &mut Turn) {
        let named: HashMap<&Str, &Bytes> =
            assignments.iter().map(|each| (&each.member_id, &each.assignment)).collect();
        for id in self.members.ids() {
            let assignment = named.get(&id).map(|bytes| Bytes::copy_from_slice(bytes));
            self.members.assign(&id, assignment.unwrap_or_default());
        }
        let value = self.current_value();
        if record::value_bytes(&value) > GROUP_VALUE_BYTES_MAX {
            tracing::warn!(group = ?self.id, members = self.members.len(),
                "a group's metadata and assignment are too large to be stored");
            self.reset_assignment(ErrorCode::UnknownServerError, turn);
            return self.prepare_rebalance(Reason::ours("the assignment is too large"), turn);
        }
        self.store(value, turn);
        self.enter(State::Stable, turn);
        turn.counts.assignments_classic += 1;
        for id in self.members.ids() {
            if let Some(waiting) = self.members.take_sync(&id) {
                turn.answer(waiting, self.synced(&id));
                self.heard_of(&id, turn);
            }
        }
    }

    /// A group id that is empty is INVALID_GROUP_ID before, and a group that is not there UNKNOWN_MEMBER_ID.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, turn: &mut Turn) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        let member = self.members.check(&request.member_id, request.group_instance_id.as_deref());
        if !member.is_none() {
            return member;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.heard_of(&request.member_id, turn);
        match self.state {
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        }
    }

    /// Whether offsets may be committed by whoever says to be this. A generation below 0 is of a client that is no
    /// member; it may commit when nobody is.
    pub fn validate_offset_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        if generation < 0 && self.state == State::Empty {
            return ErrorCode::None;
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            return ErrorCode::UnknownMemberId;
        }
        match self.members.check(member, instance) {
            ErrorCode::None
                if generation != self.generation && !planted::is(Bug::TakeStaleCommits) =>
            {
                ErrorCode::IllegalGeneration
            }
            // The member is to come back when it has its assignment.
            ErrorCode::None if self.state == State::CompletingRebalance => {
                ErrorCode::RebalanceInProgress
            }
            error => error,
        }
    }

    /// A commit says that its member lives, as a heartbeat does.
    pub fn touch(&mut self, member: &str, turn: &mut Turn) {
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.heard_of(member, turn);
        }
    }
}
