//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: what members of a classic group send.

use super::super::coordinator::Coordinator;
use super::super::members::Client;
use super::super::route::Caller;
use super::OneGroup;
use crate::control_plane::ControlPlane;
use crate::wire::api::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use crate::wire::{ErrorCode, Str};

/// Who asks, as groups remember it.
pub fn client_of(caller: Caller<'_>) -> Client {
    let id = caller.header.client_id.as_ref();
    let host = format!("/{}", caller.connection.peer.ip().to_canonical());
    Client { id: id.map(Str::detached).unwrap_or_default(), host }
}

impl OneGroup for JoinGroupRequest {
    const IS_NAMED: bool = true;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> JoinGroupResponse {
        let member_id = self.member_id.clone();
        told(JoinGroupResponse { error_code, member_id, ..JoinGroupResponse::default() })
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> JoinGroupResponse {
        let (version, client, image) = (caller.version(), client_of(caller), plane.shard.image());
        let member_id = self.member_id.clone();
        let joined = coordinator
            .ask(|groups, turn, waiting| groups.join(self, version, client, &*image, waiting, turn))
            .await;
        told(joined.unwrap_or_else(|error_code| JoinGroupResponse {
            error_code,
            member_id,
            ..JoinGroupResponse::default()
        }))
    }
}

/// Who has not joined is told of no protocol, which older versions say by an empty name.
fn told(response: JoinGroupResponse) -> JoinGroupResponse {
    match response.error_code.is_none() {
        true => response,
        false => JoinGroupResponse { protocol_name: None, ..response },
    }
}

impl OneGroup for SyncGroupRequest {
    const IS_NAMED: bool = true;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> SyncGroupResponse {
        refused_sync(error_code)
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> SyncGroupResponse {
        let (version, image) = (caller.version(), plane.shard.image());
        let synced = coordinator
            .ask(|groups, turn, waiting| groups.sync(self, version, &*image, waiting, turn))
            .await;
        // A member that asks while its group is being read joins again, as with Kafka.
        synced.unwrap_or_else(|error| {
            refused_sync(match error {
                ErrorCode::CoordinatorLoadInProgress => ErrorCode::RebalanceInProgress,
                other => other,
            })
        })
    }
}

fn refused_sync(error_code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code, ..SyncGroupResponse::default() }
}

impl OneGroup for HeartbeatRequest {
    const IS_NAMED: bool = true;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> HeartbeatResponse {
        HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
    }

    async fn serve(
        self,
        _plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> HeartbeatResponse {
        let beaten = coordinator.answer(|groups, turn| groups.heartbeat(&self, turn)).await;
        let error = beaten.unwrap_or_else(|error| match error {
            // The member need not do anything until its group is there again, as with Kafka.
            ErrorCode::CoordinatorLoadInProgress => ErrorCode::None,
            other => other,
        });
        self.refuse(caller.version(), error)
    }
}

impl OneGroup for LeaveGroupRequest {
    const IS_NAMED: bool = true;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> LeaveGroupResponse {
        LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> LeaveGroupResponse {
        let (version, image) = (caller.version(), plane.shard.image());
        let left =
            coordinator.answer(|groups, turn| groups.leave(&self, version, &*image, turn)).await;
        left.unwrap_or_else(|error| self.refuse(version, error))
    }
}
