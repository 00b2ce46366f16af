//! The resources that configs belong to, as requests name them. Pure.

use super::create_topics::Refusal;
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// Kafka's name of the logger that others inherit their level from.
pub const ROOT_LOGGER: &str = "root";

/// For each resource, whether the request names it more than once.
pub fn named_twice<'a>(resources: impl Iterator<Item = (i8, &'a Str)> + Clone) -> Vec<bool> {
    let mut counts: BTreeMap<(i8, &Str), usize> = BTreeMap::new();
    for resource in resources.clone() {
        *counts.entry(resource).or_default() += 1;
    }
    resources.map(|resource| counts[&resource] > 1).collect()
}

pub fn twice() -> Refusal {
    (ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_string())
}

pub fn outcome(outcome: Result<(), Refusal>) -> (ErrorCode, Option<Str>) {
    match outcome {
        Ok(()) => (ErrorCode::None, None),
        // Kafka has no words for its own faults.
        Err((ErrorCode::UnknownServerError, _)) => (ErrorCode::UnknownServerError, None),
        Err((error_code, text)) => (error_code, Some(text.into())),
    }
}
