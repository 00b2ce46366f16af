//! ConsumerGroupHeartbeat (KIP-848): what members of a consumer group send, from the first to the last.

use super::super::coordinator::Coordinator;
use super::super::route::Caller;
use super::OneGroup;
use super::classic::client_of;
use crate::control_plane::ControlPlane;
use crate::wire::api::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::{ErrorCode, Str};

impl OneGroup for ConsumerGroupHeartbeatRequest {
    /// That it has to have one is said with INVALID_REQUEST.
    const IS_NAMED: bool = false;

    fn group(&self) -> &Str {
        &self.group_id
    }

    fn refuse(&self, _version: i16, error_code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse { error_code, ..ConsumerGroupHeartbeatResponse::default() }
    }

    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> ConsumerGroupHeartbeatResponse {
        let (version, client) = (caller.version(), client_of(caller));
        let image = plane.shard.image();
        let answer = coordinator.answer(|groups, turn| {
            groups.consumer_heartbeat(&self, version, client, &*image, turn)
        });
        answer.await.unwrap_or_else(|error| self.refuse(version, error))
    }
}
