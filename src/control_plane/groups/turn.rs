//! One turn of a group's state machine: what a request or a timer makes it do. Pure, on the group's core.

use super::record::GroupRecord;
use crate::config::{Assignor, MigrationPolicy};
use crate::control_plane::configs::Overrides;
use crate::control_plane::group_configs::{
    ASSIGNMENT_INTERVAL, HEARTBEAT_INTERVAL, SESSION_TIMEOUT,
};
use crate::runtime::{Filler, Instant};
use crate::types::Timestamp;
use crate::wire::Str;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Bounds and defaults, by Kafka's names of broker settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// group.min.session.timeout.ms, group.max.session.timeout.ms
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// group.initial.rebalance.delay.ms
    pub initial_rebalance_delay: Duration,
    /// group.max.size
    pub members_max: usize,
    /// group.consumer.session.timeout.ms, group.consumer.heartbeat.interval.ms
    pub consumer_session_timeout: Setting,
    pub consumer_heartbeat_interval: Setting,
    /// group.consumer.max.size
    pub consumer_members_max: usize,
    /// group.consumer.assignment.interval.ms: a new target comes no sooner than this after the last one.
    pub consumer_assignment_interval: Setting,
    /// group.consumer.assignors; the first is that of groups whose members do not ask for one.
    pub consumer_assignors: Vec<Assignor>,
    /// group.consumer.migration.policy
    pub consumer_migration_policy: MigrationPolicy,
    /// group.consumer.regex.refresh.interval.ms
    pub consumer_regex_refresh_interval: Duration,
    /// offset.metadata.max.bytes
    pub offset_metadata_bytes_max: usize,
    /// offsets.retention.minutes, offsets.retention.check.interval.ms
    pub offsets_retention: Duration,
    pub offsets_retention_check: Duration,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_mins(30),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: i32::MAX as usize,
            consumer_session_timeout: Setting::seconds(45, 45, 60),
            consumer_heartbeat_interval: Setting::seconds(5, 5, 15),
            consumer_members_max: i32::MAX as usize,
            consumer_assignment_interval: Setting::seconds(1, 0, 15),
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_regex_refresh_interval: Duration::from_mins(10),
            offset_metadata_bytes_max: 4096,
            offsets_retention: Duration::from_hours(7 * 24),
            offsets_retention_check: Duration::from_mins(10),
        }
    }
}

/// A time that consumer groups may set for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Of a group that sets none.
    pub default: Duration,
    /// What a group may set; what one has set before these were changed is brought between them.
    pub least: Duration,
    pub most: Duration,
}

impl Setting {
    const fn seconds(default: u64, least: u64, most: u64) -> Setting {
        let [default, least, most] =
            [Duration::from_secs(default), Duration::from_secs(least), Duration::from_secs(most)];
        Setting { default, least, most }
    }

    /// What holds for a group, by what it has set.
    fn of(&self, own: Option<&String>) -> Duration {
        let own = own.and_then(|text| text.parse().ok()).map(Duration::from_millis);
        own.map_or(self.default, |own| own.max(self.least).min(self.most))
    }
}

/// Gives one answer. Dropped without being called, whoever waits learns that there will be none.
pub type Release = Box<dyn FnOnce()>;

/// What happened in a turn, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub assignments_classic: u64,
    pub assignments_consumer: u64,
    pub sessions_expired: u64,
    pub offsets_committed: u64,
    pub offsets_expired: u64,
    pub offsets_deleted: u64,
    /// Of what regular expressions match.
    pub topics_left_out: u64,
    /// Assignments that would be too large.
    pub assignments_withheld: u64,
}

/// What a state machine is given, and what it leaves behind.
pub struct Turn<'a> {
    pub now: Instant,
    pub wall: Timestamp,
    pub config: &'a GroupConfig,
    /// What is set for single groups, by group and Kafka's name of the setting.
    pub overrides: &'a BTreeMap<String, Overrides>,
    pub timers: &'a mut Timers,
    /// For member ids; seeded in the simulation.
    pub random: &'a mut dyn FnMut() -> u64,
    /// To be stored, in this order. The state machine has applied them to itself already.
    pub records: Vec<GroupRecord>,
    /// To be given once all records so far, of this turn and those before, are durable.
    pub releases: Vec<Release>,
    pub counts: Counts,
}

impl Turn<'_> {
    /// How long a member of a consumer group may be silent.
    pub fn consumer_session_timeout(&self, group: &str) -> Duration {
        self.config.consumer_session_timeout.of(self.own(group, SESSION_TIMEOUT))
    }

    pub fn consumer_heartbeat_interval(&self, group: &str) -> Duration {
        self.config.consumer_heartbeat_interval.of(self.own(group, HEARTBEAT_INTERVAL))
    }

    pub fn consumer_assignment_interval(&self, group: &str) -> Duration {
        self.config.consumer_assignment_interval.of(self.own(group, ASSIGNMENT_INTERVAL))
    }

    fn own(&self, group: &str, name: &str) -> Option<&String> {
        self.overrides.get(group)?.get(name)
    }

    pub fn store(&mut self, record: GroupRecord) {
        self.records.push(record);
    }

    /// Answers whoever waits at the other end, when it may be told.
    pub fn answer<T: 'static>(&mut self, waiting: Filler<T>, value: T) {
        self.releases.push(Box::new(move || waiting.fill(value)));
    }

    /// A random (version 4) UUID: what follows the client id in a member id that the broker gives.
    pub fn uuid(&mut self) -> String {
        let (high, low) = ((self.random)(), (self.random)());
        let version = high & !0xf000 | 0x4000;
        let variant = low & !(0b11 << 62) | 0b10 << 62;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            version >> 32,
            version >> 16 & 0xffff,
            version & 0xffff,
            variant >> 48,
            variant & 0xffff_ffff_ffff
        )
    }
}

/// What is to happen to a group at a moment. Strings are detached from the frames they came in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Classic: the initial delay or the rebalance timeout of the join phase ends.
    Join { group: Str },
    /// Classic: members that have not asked for their assignment are removed.
    Sync { group: Str },
    /// Either: a member has not been heard of.
    Session { group: Str, member: Str },
    /// Consumer: a member has not given up what it should have, or, by the classic protocol, has not joined
    /// again or asked for its assignment.
    Revoke { group: Str, member: Str },
}

impl Timer {
    pub fn group(&self) -> &Str {
        match self {
            Timer::Join { group }
            | Timer::Sync { group }
            | Timer::Session { group, .. }
            | Timer::Revoke { group, .. } => group,
        }
    }
}

/// Moments that are awaited, each timer at one.
#[derive(Debug, Default)]
pub struct Timers {
    by_time: BTreeSet<(Instant, Timer)>,
    moments: HashMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(&timer);
        self.by_time.insert((at, timer.clone()));
        self.moments.insert(timer, at);
    }

    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.moments.remove_entry(timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub fn is_set(&self, timer: &Timer) -> bool {
        self.moments.contains_key(timer)
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next_at()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.moments.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_at_one_moment_and_due_in_order() {
        let session = |member| Timer::Session {
            group: Str::from_static("g"),
            member: Str::from_static(member),
        };
        let mut timers = Timers::default();
        timers.set(session("a"), Instant(10));
        timers.set(session("b"), Instant(5));
        timers.set(session("a"), Instant(3));
        timers.set(session("c"), Instant(4));
        assert!(timers.is_set(&session("c")));
        timers.cancel(&session("c"));
        assert!(!timers.is_set(&session("c")));
        assert_eq!(timers.take_due(Instant(2)), None);
        assert_eq!(timers.take_due(Instant(7)), Some(session("a")));
        assert_eq!(timers.take_due(Instant(7)), Some(session("b")));
        assert_eq!((timers.take_due(Instant(99)), timers.next_at()), (None, None));
    }

    #[test]
    fn what_a_group_has_set_holds_within_what_the_broker_allows() {
        let setting = Setting::seconds(45, 30, 60);
        for (own, expect) in [
            (None, 45_000),
            (Some("50000"), 50_000),
            (Some("29999"), 30_000),
            (Some("60001"), 60_000),
            (Some("no number, kept by another version"), 45_000),
        ] {
            let own = own.map(str::to_string);
            assert_eq!(setting.of(own.as_ref()).as_millis(), expect, "{own:?}");
        }
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let (config, mut timers) = (GroupConfig::default(), Timers::default());
        let mut turn = Turn {
            now: Instant(0),
            wall: Timestamp(0),
            config: &config,
            overrides: &BTreeMap::new(),
            timers: &mut timers,
            random: &mut || u64::MAX,
            records: Vec::new(),
            releases: Vec::new(),
            counts: Counts::default(),
        };
        assert_eq!(turn.uuid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
