//! One turn of a group's state machine: what a request or a timer makes it do. Pure, on the group's core.

use super::record::GroupRecord;
use crate::runtime::{Filler, Instant};
use crate::types::Timestamp;
use crate::wire::Str;
use std::collections::{BTreeSet, HashMap};
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
    pub consumer_session_timeout: Duration,
    pub consumer_heartbeat_interval: Duration,
    /// group.consumer.max.size
    pub consumer_members_max: usize,
    /// group.consumer.assignment.interval.ms: a new target comes no sooner than this after the last one.
    pub consumer_assignment_interval: Duration,
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
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_members_max: i32::MAX as usize,
            consumer_assignment_interval: Duration::from_secs(1),
            consumer_regex_refresh_interval: Duration::from_mins(10),
            offset_metadata_bytes_max: 4096,
            offsets_retention: Duration::from_hours(7 * 24),
            offsets_retention_check: Duration::from_mins(10),
        }
    }
}

/// Gives one answer. Dropped without being called, whoever waits learns that there will be none.
pub type Release = Box<dyn FnOnce()>;

/// What a state machine is given, and what it leaves behind.
pub struct Turn<'a> {
    pub now: Instant,
    pub wall: Timestamp,
    pub config: &'a GroupConfig,
    pub timers: &'a mut Timers,
    /// For member ids; seeded in the simulation.
    pub random: &'a mut dyn FnMut() -> u64,
    /// To be stored, in this order. The state machine has applied them to itself already.
    pub records: Vec<GroupRecord>,
    /// To be given once all records so far, of this turn and those before, are durable.
    pub releases: Vec<Release>,
}

impl Turn<'_> {
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
    fn a_uuid_says_that_it_is_random() {
        let (config, mut timers) = (GroupConfig::default(), Timers::default());
        let mut turn = Turn {
            now: Instant(0),
            wall: Timestamp(0),
            config: &config,
            timers: &mut timers,
            random: &mut || u64::MAX,
            records: Vec::new(),
            releases: Vec::new(),
        };
        assert_eq!(turn.uuid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
