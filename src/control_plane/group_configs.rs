//! A group's settings under Kafka's names (KIP-848): one table, from which come validation and what
//! DescribeConfigs shows. They are kept whether or not the group is there. Pure.
//!
//! As by Kafka, a value out of the broker's bounds is refused when it is set; one that was set before the
//! bounds were changed is brought between them when it is used (`groups::turn`). What is for share and streams
//! groups is checked, kept and shown, as there are no such groups.

use super::configs::{self, Kind, Overrides, Source};
use super::dynamic_configs::{self, BrokerSettings};
use crate::config::Config;
use crate::limits::CONFIG_VALUE_BYTES_MAX;
use crate::shard::control::ConfigsChange;
use std::time::Duration;

pub const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
const OFFSET_RESET: &str = "share.auto.offset.reset";

/// A member has to have time for more than one heartbeat: the first of each pair is to be longer.
const LONGER_THAN: &[(&str, &str)] = &[
    (SESSION_TIMEOUT, HEARTBEAT_INTERVAL),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

/// One key that a group has.
pub struct GroupKey {
    pub name: &'static str,
    pub kind: Kind,
    /// The broker's key that gives the default; those of the bounds have `min.` or `max.` in their names.
    pub broker_name: Option<&'static str>,
    pub doc: &'static str,
    /// What the broker allows, if it has bounds.
    bounds: fn(&Config) -> Option<(i64, i64)>,
    default: fn(&Config) -> String,
}

impl GroupKey {
    /// What holds for groups that set none.
    pub fn default_value(&self, broker: BrokerSettings<'_>) -> String {
        let set = self.broker_name.and_then(|name| broker.dynamic(name));
        set.map_or_else(|| (self.default)(broker.config), |(value, _)| value.to_string())
    }

    /// Who chose the broker's value, or that nobody did.
    pub fn default_source(&self, broker: BrokerSettings<'_>) -> Source {
        broker.default_source(self.broker_name, self.default)
    }

    /// The broker's key of a bound. (Kafka leaves out a word in one of them.)
    fn bound_name(&self, which: &str) -> String {
        let (kind, rest) = self.name.split_once('.').expect("a name has parts");
        format!("group.{kind}.{which}.{}", rest.trim_start_matches("num."))
    }

    /// A value against what the broker allows; `name` is the group's or the broker's, as it was set.
    fn check_within(&self, bounds: (i64, i64), name: &str, value: i64) -> Result<(), String> {
        let (least, most) = bounds;
        if value < least {
            let bound = self.bound_name("min");
            return Err(format!("{name} must be greater than or equal to {bound}"));
        }
        if value > most {
            let bound = self.bound_name("max");
            return Err(format!("{name} must be less than or equal to {bound}"));
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn between(least: Duration, most: Duration) -> Option<(i64, i64)> {
    Some((milliseconds(least), milliseconds(most)))
}

macro_rules! group_keys {
    ($($name:expr, $kind:expr, $broker:expr, $bounds:expr, $default:expr, $doc:literal;)*) => {
        /// All keys, by name.
        pub const GROUP_KEYS: &[GroupKey] = &[$(GroupKey {
            name: $name, kind: $kind, broker_name: $broker, doc: $doc, bounds: $bounds, default: $default,
        },)*];
    };
}

const INT: i32 = i32::MAX;
const OFFSET_RESETS: &[&str] = &["earliest", "latest"];
const ISOLATION_LEVELS: &[&str] = &["read_committed", "read_uncommitted"];

group_keys! {
    ASSIGNMENT_INTERVAL, Kind::Int(0, INT), Some("group.consumer.assignment.interval.ms"),
        |c| between(c.groups.consumer_assignment_interval_ms_min, c.groups.consumer_assignment_interval_ms_max),
        |c| milliseconds(c.groups.consumer_assignment_interval_ms).to_string(),
        "Least time between two assignments of a consumer group.";
    HEARTBEAT_INTERVAL, Kind::Int(1, INT), Some("group.consumer.heartbeat.interval.ms"),
        |c| between(c.groups.consumer_heartbeat_interval_ms_min, c.groups.consumer_heartbeat_interval_ms_max),
        |c| milliseconds(c.groups.consumer_heartbeat_interval_ms).to_string(),
        "How often the members of a consumer group are asked to say that they are there.";
    SESSION_TIMEOUT, Kind::Int(1, INT), Some("group.consumer.session.timeout.ms"),
        |c| between(c.groups.consumer_session_timeout_ms_min, c.groups.consumer_session_timeout_ms_max),
        |c| milliseconds(c.groups.consumer_session_timeout_ms).to_string(),
        "A member of a consumer group that says nothing for this long is removed.";
    "share.assignment.interval.ms", Kind::Int(0, INT), Some("group.share.assignment.interval.ms"),
        |_| Some((0, 15_000)), |_| "1000".into(),
        "Kept for clients; there are no share groups.";
    OFFSET_RESET, Kind::OneOf(OFFSET_RESETS), None,
        |_| None, |_| "latest".into(),
        "Kept for clients; there are no share groups.";
    "share.delivery.count.limit", Kind::Int(2, INT), Some("group.share.delivery.count.limit"),
        |_| Some((2, 10)), |_| "5".into(),
        "Kept for clients; there are no share groups.";
    "share.heartbeat.interval.ms", Kind::Int(1, INT), Some("group.share.heartbeat.interval.ms"),
        |_| Some((5000, 15_000)), |_| "5000".into(),
        "Kept for clients; there are no share groups.";
    "share.isolation.level", Kind::OneOf(ISOLATION_LEVELS), None,
        |_| None, |_| "read_uncommitted".into(),
        "Kept for clients; there are no share groups.";
    "share.partition.max.record.locks", Kind::Int(100, INT), Some("group.share.partition.max.record.locks"),
        |_| Some((100, 4000)), |_| "2000".into(),
        "Kept for clients; there are no share groups.";
    "share.record.lock.duration.ms", Kind::Int(1000, INT), Some("group.share.record.lock.duration.ms"),
        |_| Some((15_000, 60_000)), |_| "30000".into(),
        "Kept for clients; there are no share groups.";
    "share.renew.acknowledge.enable", Kind::Boolean, None,
        |_| None, |_| "true".into(),
        "Kept for clients; there are no share groups.";
    "share.session.timeout.ms", Kind::Int(1, INT), Some("group.share.session.timeout.ms"),
        |_| Some((45_000, 60_000)), |_| "45000".into(),
        "Kept for clients; there are no share groups.";
    "streams.assignment.interval.ms", Kind::Int(0, INT), Some("group.streams.assignment.interval.ms"),
        |_| Some((0, 15_000)), |_| "1000".into(),
        "Kept for clients; there are no streams groups.";
    "streams.heartbeat.interval.ms", Kind::Int(1, INT), Some("group.streams.heartbeat.interval.ms"),
        |_| Some((5000, 15_000)), |_| "5000".into(),
        "Kept for clients; there are no streams groups.";
    "streams.initial.rebalance.delay.ms", Kind::Int(0, INT), Some("group.streams.initial.rebalance.delay.ms"),
        |_| None, |_| "3000".into(),
        "Kept for clients; there are no streams groups.";
    "streams.num.standby.replicas", Kind::Int(0, INT), Some("group.streams.num.standby.replicas"),
        |_| Some((0, 2)), |_| "0".into(),
        "Kept for clients; there are no streams groups.";
    "streams.session.timeout.ms", Kind::Int(1, INT), Some("group.streams.session.timeout.ms"),
        |_| Some((45_000, 60_000)), |_| "45000".into(),
        "Kept for clients; there are no streams groups.";
}

fn group_key(name: &str) -> Result<&'static GroupKey, String> {
    let key = GROUP_KEYS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &GROUP_KEYS[at]);
    key.ok_or_else(|| format!("Unknown group config name: {name}"))
}

/// One value, as it is kept.
fn check(name: &str, value: &str) -> Result<String, String> {
    let key = group_key(name)?;
    let kept = value.trim();
    if kept.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(format!("Invalid value for configuration {name}: {} bytes", kept.len()));
    }
    if name == OFFSET_RESET && is_reset_by_duration(kept) {
        return Ok(kept.to_string());
    }
    key.kind.check(kept).map_err(|why| {
        let why = match name {
            OFFSET_RESET => format!(
                "Invalid value `{value}` for configuration {name}. The value must be either \
                 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
            ),
            _ => why,
        };
        format!("Invalid value {value} for configuration {name}: {why}")
    })
}

/// `by_duration:` and a time that Java reads and that is not negative, such as P1DT2H3M4.5S.
fn is_reset_by_duration(value: &str) -> bool {
    let Some(duration) = value.strip_prefix("by_duration:") else { return false };
    let duration = duration.to_ascii_uppercase();
    let Some(duration) = duration.strip_prefix('P') else { return false };
    let (days, time) = match duration.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (duration, None),
    };
    let is_count = |text: &str| text.parse::<u32>().is_ok();
    // What is left after a number and its unit, if that is there; none when the number is not one.
    let after =
        |text: &str, unit: char, is_number: &dyn Fn(&str) -> bool| match text.split_once(unit) {
            Some((number, left)) => is_number(number).then(|| left.to_string()),
            None => Some(text.to_string()),
        };
    let is_seconds = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        is_count(whole) && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let of_time = |time: &str| {
        let left = after(time, 'H', &is_count)?;
        let left = after(&left, 'M', &is_count)?;
        after(&left, 'S', &is_seconds)
    };
    let is_whole = |left: Option<String>| left.is_some_and(|left| left.is_empty());
    match time {
        Some("") => false,
        Some(time) => is_whole(after(days, 'D', &is_count)) && is_whole(of_time(time)),
        None => !days.is_empty() && is_whole(after(days, 'D', &is_count)),
    }
}

/// What is set for brokers while they run, against what they allow groups.
///
/// # Errors
/// What Kafka says.
pub fn check_broker_defaults(broker: BrokerSettings<'_>) -> Result<(), String> {
    for key in GROUP_KEYS {
        let Some(name) = key.broker_name else { continue };
        let set = dynamic_configs::number_of(broker.overrides, name);
        if let (Some(value), Some(bounds)) = (set, (key.bounds)(broker.config)) {
            key.check_within(bounds, name, value)?;
        }
    }
    Ok(())
}

/// All that a group has set, against what the broker allows.
fn check_bounds(overrides: &Overrides, broker: BrokerSettings<'_>) -> Result<(), String> {
    let number = |name: &str| -> Result<i64, String> {
        let default = || group_key(name).map(|key| key.default_value(broker));
        let text = overrides.get(name).cloned().map_or_else(default, Ok)?;
        text.parse().map_err(|_| format!("Invalid value {text} for configuration {name}"))
    };
    for name in overrides.keys() {
        let key = group_key(name)?;
        if let Some(bounds) = (key.bounds)(broker.config) {
            key.check_within(bounds, name, number(name)?)?;
        }
    }
    for (longer, than) in LONGER_THAN {
        if number(longer)? <= number(than)? {
            return Err(format!("{longer} must be greater than {than}"));
        }
    }
    Ok(())
}

/// A group's settings after a change. What is not one of its keys can be deleted, not set.
///
/// # Errors
/// The message that Kafka answers INVALID_CONFIG with; then nothing changes.
pub fn changed(
    current: &Overrides,
    change: &ConfigsChange,
    broker: BrokerSettings<'_>,
) -> Result<Overrides, String> {
    // No key of a group is a list.
    let no_list = |_: &Overrides, name: &str| group_key(name).map(|_| None);
    let overrides = configs::merged(current, change, check, no_list)?;
    check_bounds(&overrides, broker)?;
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::control::ConfigOperation;

    fn set_with(config: &Config, settings: &[(&str, &str)]) -> Result<Overrides, String> {
        let set = |(name, value): &(&str, &str)| {
            (name.to_string(), ConfigOperation::Set(value.to_string()))
        };
        let change = ConfigsChange::Merge(settings.iter().map(set).collect());
        changed(&Overrides::new(), &change, BrokerSettings::fixed(config))
    }

    fn set(name: &str, value: &str) -> Result<Overrides, String> {
        set_with(&Config::default(), &[(name, value)])
    }

    #[test]
    fn every_default_passes_its_own_check() {
        assert!(GROUP_KEYS.is_sorted_by_key(|key| key.name));
        let config = Config::default();
        for key in GROUP_KEYS {
            let value = key.default_value(BrokerSettings::fixed(&config));
            assert_eq!(set(key.name, &value).unwrap()[key.name], value, "{}", key.name);
            let source = key.default_source(BrokerSettings::fixed(&config));
            assert_eq!(source, Source::Default, "{}", key.name);
        }
    }

    #[test]
    fn every_name_of_the_broker_is_one_that_the_broker_shows() {
        let shown = |name: &str| {
            let keys = crate::control_plane::broker_configs::BROKER_KEYS;
            keys.iter().find(|key| key.name == name).and_then(|key| key.value(&Config::default()))
        };
        let config = Config::default();
        for key in GROUP_KEYS {
            if let Some(name) = key.broker_name {
                let value = key.default_value(BrokerSettings::fixed(&config));
                assert_eq!(shown(name), Some(value), "{name}");
            }
            if let Some((least, most)) = (key.bounds)(&config) {
                if key.name != "streams.num.standby.replicas" {
                    assert_eq!(shown(&key.bound_name("min")), Some(least.to_string()));
                }
                assert_eq!(shown(&key.bound_name("max")), Some(most.to_string()));
            }
        }
    }

    #[test]
    fn what_the_broker_does_not_allow_is_refused_in_kafkas_words() {
        let session = SESSION_TIMEOUT;
        assert_eq!(set(session, "50000").unwrap()[session], "50000");
        for (name, value, why) in [
            (
                session,
                "44999",
                "consumer.session.timeout.ms must be greater than or equal to \
                 group.consumer.min.session.timeout.ms",
            ),
            (
                session,
                "60001",
                "consumer.session.timeout.ms must be less than or equal to \
                 group.consumer.max.session.timeout.ms",
            ),
            (
                "streams.num.standby.replicas",
                "3",
                "streams.num.standby.replicas must be less than or equal to \
                 group.streams.max.standby.replicas",
            ),
            (
                session,
                "x",
                "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
            ),
            (
                ASSIGNMENT_INTERVAL,
                "-1",
                "Invalid value -1 for configuration consumer.assignment.interval.ms: Value must be at least 0",
            ),
            (
                OFFSET_RESET,
                "none",
                "Invalid value none for configuration share.auto.offset.reset: Invalid value `none` for \
                 configuration share.auto.offset.reset. The value must be either 'earliest', 'latest' or \
                 of the format 'by_duration:<PnDTnHnMn.nS>'.",
            ),
            ("retention.ms", "1", "Unknown group config name: retention.ms"),
        ] {
            assert_eq!(set(name, value), Err(why.to_string()));
        }
    }

    #[test]
    fn a_session_is_longer_than_the_interval_of_heartbeats() {
        let mut config = Config::default();
        config.groups.consumer_session_timeout_ms_min = Duration::from_secs(1);
        let short = [(SESSION_TIMEOUT, "5001"), (HEARTBEAT_INTERVAL, "5000")];
        assert!(set_with(&config, &short).is_ok());
        let text =
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        assert_eq!(set_with(&config, &[(SESSION_TIMEOUT, "5000")]), Err(text.to_string()));
    }

    #[test]
    fn a_change_is_refused_while_another_setting_is_out_of_bounds() {
        let current = Overrides::from([(SESSION_TIMEOUT.to_string(), "50000".to_string())]);
        let mut config = Config::default();
        config.groups.consumer_session_timeout_ms_max = Duration::from_secs(45);
        let operation = |operation| (SESSION_TIMEOUT.to_string(), operation);
        let beat = (HEARTBEAT_INTERVAL.to_string(), ConfigOperation::Set("6000".into()));
        let merged = |operations| {
            let change = ConfigsChange::Merge(operations);
            changed(&current, &change, BrokerSettings::fixed(&config))
        };
        assert!(merged(vec![beat.clone()]).is_err());
        assert!(merged(vec![beat, operation(ConfigOperation::Delete)]).is_ok());
    }

    #[test]
    fn settings_can_be_deleted_and_replaced_but_are_no_lists() {
        let current = set(SESSION_TIMEOUT, "50000").unwrap();
        let config = Config::default();
        let merged = |operation| {
            let operation = (SESSION_TIMEOUT.to_string(), operation);
            let change = ConfigsChange::Merge(vec![operation]);
            changed(&current, &change, BrokerSettings::fixed(&config))
        };
        assert_eq!(merged(ConfigOperation::Delete), Ok(Overrides::new()));
        assert!(merged(ConfigOperation::Append("1".into())).is_err());
        let nothing = ConfigsChange::Replace(Overrides::new());
        let replaced = changed(&current, &nothing, BrokerSettings::fixed(&config));
        assert_eq!(replaced, Ok(Overrides::new()));
    }

    #[test]
    fn an_offset_may_be_reset_by_a_time_as_java_writes_it() {
        for (value, is_one) in [
            ("by_duration:P1DT2H3M4.5S", true),
            ("by_duration:PT1H", true),
            ("by_duration:p2d", true),
            ("by_duration:PT0.000000001S", true),
            ("by_duration:P", false),
            ("by_duration:PT", false),
            ("by_duration:P1DT", false),
            ("by_duration:PT1M2H", false),
            ("by_duration:-PT1H", false),
            ("by_duration:PT-1H", false),
            ("by_duration:PT1", false),
            ("by_duration:PTH", false),
            ("by_duration", false),
        ] {
            assert_eq!(is_reset_by_duration(value), is_one, "{value}");
            assert_eq!(set(OFFSET_RESET, value).is_ok(), is_one, "{value}");
        }
    }
}
