//! InitProducerId: a producer id for an idempotent producer (KIP-98), from blocks that the controller
//! gives to each shard.

use super::ControlPlane;
use crate::shard::control::{ControlReply, ControlRequest, PRODUCER_ID_BLOCK};
use crate::wire::ErrorCode;
use crate::wire::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub async fn handle(
    control_plane: &ControlPlane,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    if let Err(error_code) = check(request) {
        return refusal(error_code);
    }
    match next_producer_id(control_plane).await {
        // Without a transactional id, each call is a new producer, whatever it was before (KIP-360).
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(error_code) => refusal(error_code),
    }
}

fn check(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    // KIP-360: id and epoch are given together or not at all.
    if (request.producer_id < 0) != (request.producer_epoch < 0) {
        return Err(ErrorCode::InvalidRequest);
    }
    match &request.transactional_id {
        None => Ok(()),
        Some(id) if id.as_bytes().is_empty() => Err(ErrorCode::InvalidRequest),
        // Transactions come later. A fatal code, so that no client tries again and again.
        Some(_) => Err(ErrorCode::UnsupportedVersion),
    }
}

fn refusal(error_code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code, producer_epoch: -1, ..InitProducerIdResponse::default() }
}

async fn next_producer_id(control_plane: &ControlPlane) -> Result<i64, ErrorCode> {
    loop {
        if let Some(id) = control_plane.producer_ids.borrow_mut().next() {
            return Ok(id);
        }
        let reply = control_plane.shard.control(ControlRequest::AllocateProducerIds).await;
        let ControlReply::AllocateProducerIds(Ok(first)) = reply else {
            return Err(ErrorCode::CoordinatorNotAvailable);
        };
        // Another request may have asked as well; what its block had left is lost, and does no harm.
        *control_plane.producer_ids.borrow_mut() = first..first + PRODUCER_ID_BLOCK;
    }
}
