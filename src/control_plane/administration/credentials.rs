//! SCRAM credentials (KIP-554): there is no authentication that would use any, so none are kept. What Kafka
//! refuses in a request is refused the same way. Pure.

use crate::wire::api::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
};
use crate::wire::api::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

/// SCRAM-SHA-256 and SCRAM-SHA-512, with the fewest iterations that Kafka allows of each.
fn iterations_min(mechanism: i8) -> Option<i32> {
    match mechanism {
        1 | 2 => Some(4096),
        _ => None,
    }
}

const ITERATIONS_MAX: i32 = 16_384;

/// What is said of a credential that Kafka would keep.
const NO_SASL: (ErrorCode, &str) =
    (ErrorCode::UnsupportedSaslMechanism, "This broker has no SASL yet.");

pub fn describe(
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let mut counts: BTreeMap<Str, usize> = BTreeMap::new();
    for user in request.users.into_iter().flatten() {
        *counts.entry(user.name).or_default() += 1;
    }
    let results = counts.into_iter().map(|(user, count)| {
        let (error_code, text) = match count {
            1 => (ErrorCode::ResourceNotFound, "The user has no credential."),
            _ => (ErrorCode::DuplicateResource, "The user is named twice."),
        };
        DescribeUserScramCredentialsResult {
            user,
            error_code,
            error_message: Some(Str::from_static(text)),
            credential_infos: Vec::new(),
        }
    });
    DescribeUserScramCredentialsResponse {
        error_message: Some(Str::default()),
        results: results.collect(),
        ..DescribeUserScramCredentialsResponse::default()
    }
}

pub fn alter(request: AlterUserScramCredentialsRequest) -> AlterUserScramCredentialsResponse {
    use ErrorCode::{
        DuplicateResource, ResourceNotFound, UnacceptableCredential, UnsupportedSaslMechanism,
    };
    let unknown = (UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    let nameless = (UnacceptableCredential, "Username must not be empty");
    let mut users: BTreeMap<Str, (ErrorCode, &'static str)> = BTreeMap::new();
    // What is wrong with a user first, holds.
    for deletion in request.deletions {
        let refusal = match iterations_min(deletion.mechanism) {
            _ if deletion.name.is_empty() => nameless,
            None => unknown,
            Some(_) => (ResourceNotFound, "There is no such credential."),
        };
        users.entry(deletion.name).or_insert(refusal);
    }
    for upsertion in request.upsertions {
        let refusal = match iterations_min(upsertion.mechanism) {
            _ if upsertion.name.is_empty() => nameless,
            None => unknown,
            Some(least) if upsertion.iterations < least => {
                (UnacceptableCredential, "Too few iterations")
            }
            Some(_) if upsertion.iterations > ITERATIONS_MAX => {
                (UnacceptableCredential, "Too many iterations")
            }
            Some(_) => NO_SASL,
        };
        let twice = (DuplicateResource, "A user can be changed once in a request.");
        let is_fine = |said: &(ErrorCode, &str)| *said == NO_SASL;
        users
            .entry(upsertion.name)
            .and_modify(|said| *said = if is_fine(said) { twice } else { *said })
            .or_insert(refusal);
    }
    let results = users.into_iter().map(|(user, (error_code, text))| {
        let error_message = Some(Str::from_static(text));
        AlterUserScramCredentialsResult { user, error_code, error_message }
    });
    AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..AlterUserScramCredentialsResponse::default()
    }
}
