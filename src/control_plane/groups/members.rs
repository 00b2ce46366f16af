//! What clients do to be members of a group. Pure, on the group's core.

use super::classic::{self, ClassicGroup};
use super::group::Group;
use super::state::Groups;
use super::turn::Turn;
use crate::limits::{GROUPS_BYTES_MAX, MEMBER_BYTES_MAX_WHEN_FULL};
use crate::runtime::Filler;
use crate::wire::api::describe_groups::DescribedGroup;
use crate::wire::api::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use crate::wire::{ErrorCode, Str};

/// Who joins, as the group remembers it.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: Str,
    /// As Kafka shows it: a slash and the address.
    pub host: String,
}

impl Groups {
    fn classic(&mut self, name: &str) -> Option<&mut ClassicGroup> {
        match &mut self.entry_mut(name)?.group {
            Group::Classic(group) => Some(group),
        }
    }

    /// A group begins with its first member; a member id of a group that is not there is not known.
    pub fn join(
        &mut self,
        request: JoinGroupRequest,
        version: i16,
        client: Client,
        waiting: Filler<JoinGroupResponse>,
        turn: &mut Turn,
    ) {
        if let Some(refusal) = classic::refuse_join(&request, turn.config) {
            return turn.answer(waiting, refusal);
        }
        let name = request.group_id.detached();
        let is_new = self.entry(&name).is_none();
        let error = if is_new && !request.member_id.as_bytes().is_empty() {
            ErrorCode::UnknownMemberId
        } else if !self.has_room_for(&request) {
            ErrorCode::GroupMaxSizeReached
        } else {
            ErrorCode::None
        };
        if !error.is_none() {
            let member_id = request.member_id.detached();
            let refusal =
                JoinGroupResponse { error_code: error, member_id, ..JoinGroupResponse::default() };
            return turn.answer(waiting, refusal);
        }
        self.get_or_make(&name, turn.wall);
        let group = self.classic(&name).expect("made above");
        group.join(request, version, client.id, client.host, waiting, turn);
        self.count_members(&name);
    }

    /// When all groups of the core hold what they may, members that are there may come back if they are small.
    fn has_room_for(&self, request: &JoinGroupRequest) -> bool {
        if self.memory_bytes() < GROUPS_BYTES_MAX {
            return true;
        }
        let is_member = match self.entry(&request.group_id).map(|entry| &entry.group) {
            Some(Group::Classic(group)) => group.members().contains(&request.member_id),
            None => false,
        };
        let bytes: usize = request.protocols.iter().map(|each| each.metadata.len()).sum();
        is_member && bytes <= MEMBER_BYTES_MAX_WHEN_FULL
    }

    pub fn sync(
        &mut self,
        request: SyncGroupRequest,
        version: i16,
        waiting: Filler<SyncGroupResponse>,
        turn: &mut Turn,
    ) {
        if let Some(refusal) = classic::refuse_sync(&request, version) {
            return turn.answer(waiting, refusal);
        }
        let name = request.group_id.detached();
        match self.classic(&name) {
            Some(group) => group.sync(request, waiting, turn),
            None => {
                let error_code = ErrorCode::UnknownMemberId;
                let refusal = SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
                turn.answer(waiting, refusal);
            }
        }
        self.count_members(&name);
    }

    pub fn heartbeat(&mut self, request: &HeartbeatRequest, turn: &mut Turn) -> ErrorCode {
        match self.classic(&request.group_id) {
            Some(group) => group.heartbeat(request, turn),
            None => ErrorCode::UnknownMemberId,
        }
    }

    pub fn leave(
        &mut self,
        request: &LeaveGroupRequest,
        version: i16,
        turn: &mut Turn,
    ) -> LeaveGroupResponse {
        let answer = match self.classic(&request.group_id) {
            Some(group) => group.leave(request, version, turn),
            None => classic::leave_in_vain(request, version),
        };
        self.count_members(&request.group_id);
        answer
    }

    pub fn describe_classic(&self, name: &Str, version: i16) -> DescribedGroup {
        match self.entry(name).map(|entry| &entry.group) {
            Some(Group::Classic(group)) => group.describe(),
            None => {
                let message = format!("Group {name} not found.");
                classic::describe_missing(name.clone(), version, message)
            }
        }
    }
}
