//! LeaveGroup: members that go before their sessions end. Pure, on the group's core.

use super::super::turn::Turn;
use super::join::Reason;
use super::{ClassicGroup, State};
use crate::wire::ErrorCode;
use crate::wire::api::leave_group::{MemberIdentity, MemberResponse};
use crate::wire::api::{LeaveGroupRequest, LeaveGroupResponse};

/// KIP-345: one request names several members.
const MEMBERS_FROM: i16 = 3;

/// Who is to leave, in whatever version it is asked.
pub fn leaving(request: &LeaveGroupRequest, version: i16) -> Vec<MemberIdentity> {
    match version {
        MEMBERS_FROM.. => request.members.clone(),
        _ => vec![MemberIdentity { member_id: request.member_id.clone(), ..Default::default() }],
    }
}

/// The answer when the group is not there.
pub fn leave_in_vain(request: &LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let left = |member| left(member, ErrorCode::UnknownMemberId);
    answer(leaving(request, version).into_iter().map(left).collect(), version)
}

fn left(member: MemberIdentity, error_code: ErrorCode) -> MemberResponse {
    let MemberIdentity { member_id, group_instance_id, .. } = member;
    MemberResponse { member_id, group_instance_id, error_code }
}

/// Before version 3, the one member's error is the request's.
fn answer(members: Vec<MemberResponse>, version: i16) -> LeaveGroupResponse {
    let of_all = members.iter().map(|member| member.error_code).find(|error| !error.is_none());
    match version {
        MEMBERS_FROM.. => LeaveGroupResponse { members, ..LeaveGroupResponse::default() },
        _ => LeaveGroupResponse {
            error_code: of_all.unwrap_or_default(),
            ..LeaveGroupResponse::default()
        },
    }
}

impl ClassicGroup {
    pub fn leave(
        &mut self,
        request: &LeaveGroupRequest,
        version: i16,
        turn: &mut Turn,
    ) -> LeaveGroupResponse {
        if self.state == State::Dead {
            let error_code = ErrorCode::CoordinatorNotAvailable;
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
        }
        let mut members = Vec::new();
        for member in leaving(request, version) {
            let error = self.let_go(&member, turn);
            members.push(left(member, error));
        }
        if members.iter().any(|member| member.error_code.is_none()) {
            match self.state {
                State::Stable | State::CompletingRebalance => {
                    self.prepare_rebalance(Reason::ours("members have left"), turn);
                }
                State::PreparingRebalance | State::Empty | State::Dead => {
                    self.maybe_complete_join(turn);
                }
            }
        }
        answer(members, version)
    }

    /// An administrator names a static member by its instance alone.
    fn let_go(&mut self, leaving: &MemberIdentity, turn: &mut Turn) -> ErrorCode {
        let instance = leaving.group_instance_id.as_deref();
        let id = if leaving.member_id.is_empty() {
            match instance.and_then(|instance| self.members.static_id(instance)) {
                Some(id) => id.clone(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else {
            let error = self.members.check(&leaving.member_id, instance);
            if !self.members.is_pending(&leaving.member_id) && !error.is_none() {
                return error;
            }
            leaving.member_id.clone()
        };
        tracing::debug!(group = %self.id, member = %id, reason = ?leaving.reason, "a member leaves");
        self.remove(&id, turn);
        ErrorCode::None
    }
}
