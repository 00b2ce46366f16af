//! Delegation tokens (KIP-48): who has not been authenticated, which is everybody yet, may not ask for one. Pure.

use crate::shard::quotas::ANONYMOUS;
use crate::wire::api::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};
use crate::wire::api::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
};
use crate::wire::api::expire_delegation_token::{
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
};
use crate::wire::api::renew_delegation_token::{
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use crate::wire::{ErrorCode, Str};

const NOT_ALLOWED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;
const USER: Str = Str::from_static("User");
const NO_TIME: i64 = -1;

pub fn create(request: CreateDelegationTokenRequest) -> CreateDelegationTokenResponse {
    let anonymous = Str::from_static(ANONYMOUS);
    let named = |name: &Option<Str>| name.as_ref().is_some_and(|name| !name.is_empty());
    let is_for_another =
        named(&request.owner_principal_type) && named(&request.owner_principal_name);
    let (kind, name) = match (request.owner_principal_type, request.owner_principal_name) {
        (Some(kind), Some(name)) if is_for_another => (kind, name),
        _ => (USER, anonymous.clone()),
    };
    CreateDelegationTokenResponse {
        error_code: NOT_ALLOWED,
        principal_type: kind,
        principal_name: name,
        token_requester_principal_type: USER,
        token_requester_principal_name: anonymous,
        issue_timestamp_ms: NO_TIME,
        expiry_timestamp_ms: NO_TIME,
        max_timestamp_ms: NO_TIME,
        ..CreateDelegationTokenResponse::default()
    }
}

pub fn renew(_: &RenewDelegationTokenRequest) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse {
        error_code: NOT_ALLOWED,
        expiry_timestamp_ms: NO_TIME,
        ..RenewDelegationTokenResponse::default()
    }
}

pub fn expire(_: &ExpireDelegationTokenRequest) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse {
        error_code: NOT_ALLOWED,
        expiry_timestamp_ms: NO_TIME,
        ..ExpireDelegationTokenResponse::default()
    }
}

pub fn describe(_: &DescribeDelegationTokenRequest) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse {
        error_code: NOT_ALLOWED,
        ..DescribeDelegationTokenResponse::default()
    }
}
