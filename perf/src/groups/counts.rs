//! What the members count. Plain data.

use crate::histogram::Latencies;
use corelog::client::ClientError;
use corelog::runtime::Instant;
use corelog::wire::{ApiKey, ErrorCode};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often an API was answered with a code.
pub type Answers = BTreeMap<(&'static str, &'static str), u64>;

/// Counted since it was last taken.
#[derive(Debug, Default)]
pub struct Counts {
    pub requests: BTreeMap<&'static str, u64>,
    /// Codes that belong to the protocol: what a rebalance is told with.
    pub expected: Answers,
    pub unexpected: Answers,
    /// Connections that failed, answers that did not come.
    pub broken: u64,
    pub first_fault: Option<String>,
    /// From the moment when it was due to its answer.
    pub heartbeat: Latencies,
    pub commit: Latencies,
    /// How much later a member acted than it could have: the driver's own doing.
    pub lateness: Latencies,
    /// From a disturbance until its group was stable again.
    pub stable_after: Latencies,
}

impl Counts {
    pub fn request(&mut self, api: ApiKey) {
        *self.requests.entry(api.name()).or_default() += 1;
    }

    /// Counts what an answer says, if it is no success. `is_starting`: not all groups have been stable yet.
    pub fn answer(&mut self, api: ApiKey, code: ErrorCode, is_starting: bool) {
        if code.is_none() {
            return;
        }
        let key = (api.name(), code.name());
        if is_expected(api, code, is_starting) {
            *self.expected.entry(key).or_default() += 1;
            return;
        }
        *self.unexpected.entry(key).or_default() += 1;
        self.first_fault.get_or_insert_with(|| format!("{} was answered with {code}", api.name()));
    }

    pub fn broke(&mut self, error: &ClientError) {
        self.broken += 1;
        self.first_fault.get_or_insert_with(|| error.to_string());
    }

    pub fn faults(&self) -> u64 {
        self.broken + self.unexpected.values().sum::<u64>()
    }
}

/// Whether a code belongs to how members learn that their group changes. All others are faults, save that a
/// coordinator may have to be found while groups begin.
pub fn is_expected(api: ApiKey, code: ErrorCode, is_starting: bool) -> bool {
    match (api, code) {
        (ApiKey::JoinGroup, ErrorCode::MemberIdRequired)
        | (
            ApiKey::Heartbeat | ApiKey::SyncGroup | ApiKey::OffsetCommit,
            ErrorCode::RebalanceInProgress,
        )
        | (ApiKey::OffsetCommit | ApiKey::OffsetFetch, ErrorCode::StaleMemberEpoch) => true,
        (
            _,
            ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator,
        ) => is_starting,
        _ => false,
    }
}

/// Moments at equal distances, whatever happens at them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beat {
    pub due: Instant,
    pub every: Duration,
}

impl Beat {
    /// The next moment; also when that is past already.
    pub fn advance(&mut self) {
        self.due = self.due + self.every;
    }

    /// The first of its moments that is not past.
    pub fn skip_to(&mut self, now: Instant) {
        if self.due < now {
            let every = (self.every.as_nanos() as u64).max(1);
            let missed = (now.0 - self.due.0).div_ceil(every);
            self.due = Instant(self.due.0 + missed * every);
        }
    }
}
