//! A topic's settings under Kafka's names: one table with type, range, default and documentation of each,
//! from which come validation, what DescribeConfigs shows, and the values that the log uses. Pure.
//!
//! Defaults are those of the broker, as it is configured or as they were set while it runs. A key that Kafka has
//! and that changes nothing here (because there is one replica, or because the feature comes later) is checked,
//! kept and shown.

use super::dynamic_configs::BrokerSettings;
use crate::config::{Config, DamagedPartitions, TimestampType};
use crate::limits::{BATCH_BYTES_MAX, CONFIG_VALUE_BYTES_MAX, INDEX_FILE_BYTES_MAX};
use crate::log::LogConfig;
use crate::shard::control::{ConfigOperation, ConfigsChange};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// What was set for a topic.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from, as numbered on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    /// Set for one broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    Logger = 6,
    Group = 8,
}

/// A key's type, with what values it may have.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Boolean,
    Int(i32, i32),
    Long(i64),
    Double(f64, f64),
    OneOf(&'static [&'static str]),
    /// Several of these, separated by commas.
    List(&'static [&'static str]),
    /// Any texts, separated by commas.
    TextList,
}

impl Kind {
    /// The type's number on the wire (KIP-569).
    pub fn number(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::OneOf(_) => 2,
            Kind::Int(..) => 3,
            Kind::Long(_) => 5,
            Kind::Double(..) => 6,
            Kind::List(_) | Kind::TextList => 7,
        }
    }

    pub fn is_list(self) -> bool {
        matches!(self, Kind::List(_) | Kind::TextList)
    }

    /// The value as it is kept, from one without space around it.
    ///
    /// # Errors
    /// What is wrong with it, as Kafka says it.
    pub fn check(self, text: &str) -> Result<String, String> {
        let at_least = |least: &dyn std::fmt::Display| format!("Value must be at least {least}");
        let at_most = |most: &dyn std::fmt::Display| format!("Value must be no more than {most}");
        match self {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => return Ok("true".into()),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => return Ok("false".into()),
            Kind::Boolean => return Err("Expected value to be either true or false".into()),
            Kind::Int(least, most) => {
                let number: i32 = text.parse().map_err(|_| "Not a number of type INT")?;
                if number < least {
                    return Err(at_least(&least));
                }
                if number > most {
                    return Err(at_most(&most));
                }
            }
            Kind::Long(least) => {
                let number: i64 = text.parse().map_err(|_| "Not a number of type LONG")?;
                if number < least {
                    return Err(at_least(&least));
                }
            }
            Kind::Double(least, most) => {
                let number: f64 = text.parse().map_err(|_| "Not a number of type DOUBLE")?;
                if number.is_nan() || number < least {
                    return Err(at_least(&least));
                }
                if number > most {
                    return Err(at_most(&most));
                }
            }
            Kind::OneOf(choices) if choices.contains(&text) => {}
            Kind::List(choices) if elements(text).all(|element| choices.contains(&element)) => {}
            Kind::OneOf(choices) | Kind::List(choices) => {
                return Err(format!("String must be one of: {}", choices.join(", ")));
            }
            Kind::TextList => {}
        }
        Ok(text.to_string())
    }
}

/// The elements of a list's text.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// One key that a topic has.
pub struct TopicKey {
    pub name: &'static str,
    pub kind: Kind,
    /// The broker's key that gives the default.
    pub broker_name: Option<&'static str>,
    pub doc: &'static str,
    default: fn(&Config) -> String,
}

impl TopicKey {
    /// The broker's value, which holds for topics that set none.
    pub fn default_value(&self, broker: BrokerSettings<'_>) -> String {
        let Some((value, _)) = self.broker_name.and_then(|name| broker.dynamic(name)) else {
            return (self.default)(broker.config);
        };
        // Kafka's brokers take any negative number for this.
        let is_never = self.name == "retention.ms" && value.starts_with('-');
        if is_never { "-1".to_string() } else { value.to_string() }
    }

    /// Who chose the broker's value, or that nobody did.
    pub fn default_source(&self, broker: BrokerSettings<'_>) -> Source {
        broker.default_source(self.broker_name, self.default)
    }
}

/// The key of this name; `None` when topics have no such key.
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &TOPIC_KEYS[at])
}

/// Checks one setting of a topic and gives the value as it is kept.
///
/// # Errors
/// The message that Kafka answers INVALID_CONFIG with.
pub fn check_topic_value(name: &str, value: &str) -> Result<String, String> {
    let key = topic_key(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    check_value(name, key.kind, value)
}

/// Checks a value of a key of this type and gives it as it is kept.
///
/// # Errors
/// What is wrong with it, as Kafka says it.
pub(super) fn check_value(name: &str, kind: Kind, value: &str) -> Result<String, String> {
    let kept = value.trim();
    if kept.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(format!(
            "Invalid value for configuration {name}: {} bytes where {CONFIG_VALUE_BYTES_MAX} are \
             allowed",
            kept.len()
        ));
    }
    kind.check(kept).map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))
}

/// Checks a topic's settings as a whole, after each was checked.
///
/// # Errors
/// The message that Kafka answers INVALID_CONFIG with.
pub fn check_topic(overrides: &Overrides, broker: BrokerSettings<'_>) -> Result<(), String> {
    if value_of(overrides, broker, "remote.storage.enable") == "true" {
        return Err("Tiered Storage functionality is disabled in the broker. Topic cannot be \
                    configured with remote log storage."
            .to_string());
    }
    let number = |name: &str| value_of(overrides, broker, name).parse::<i64>().unwrap_or(0);
    let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if least > most {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > \
             max.compaction.lag.ms ({most})"
        ));
    }
    Ok(())
}

/// A topic's settings after a change. What is not one of Kafka's keys can be deleted, not set.
///
/// # Errors
/// The message that Kafka answers INVALID_CONFIG with; then nothing changes.
pub fn changed(
    current: &Overrides,
    change: &ConfigsChange,
    broker: BrokerSettings<'_>,
) -> Result<Overrides, String> {
    let overrides = merged(current, change, check_topic_value, |overrides, name| {
        let key = topic_key(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        Ok(key.kind.is_list().then(|| value_of(overrides, broker, name)))
    })?;
    check_topic(&overrides, broker)?;
    Ok(overrides)
}

/// Settings after a change, each checked by itself. `check` gives a value as it is kept; `list` says what a key
/// holds whose type is a list, and `None` of other keys.
///
/// # Errors
/// What either says, and that a key is no list.
pub(super) fn merged(
    current: &Overrides,
    change: &ConfigsChange,
    check: fn(&str, &str) -> Result<String, String>,
    list: impl Fn(&Overrides, &str) -> Result<Option<String>, String>,
) -> Result<Overrides, String> {
    let operations = match change {
        ConfigsChange::Replace(settings) => {
            let checked =
                settings.iter().map(|(name, value)| Ok((name.clone(), check(name, value)?)));
            return checked.collect();
        }
        ConfigsChange::Merge(operations) => operations,
    };
    let mut overrides = current.clone();
    for (name, operation) in operations {
        let (verb, value) = match operation {
            ConfigOperation::Delete => {
                overrides.remove(name);
                continue;
            }
            ConfigOperation::Set(value) => {
                overrides.insert(name.clone(), check(name, value)?);
                continue;
            }
            ConfigOperation::Append(value) => ("APPEND", value),
            ConfigOperation::Subtract(value) => ("SUBTRACT", value),
        };
        let Some(held) = list(&overrides, name)? else {
            return Err(format!("Can't {verb} to key {name} because its type is not LIST."));
        };
        let kept = match operation {
            ConfigOperation::Subtract(_) => subtracted(&held, value),
            _ => appended(&held, value),
        };
        let kept = check(name, &kept)?;
        overrides.insert(name.clone(), kept);
    }
    Ok(overrides)
}

/// A list with more elements; those that it has already are not added.
pub(super) fn appended(held: &str, more: &str) -> String {
    let mut kept: Vec<&str> = elements(held).collect();
    let mut there: HashSet<&str> = kept.iter().copied().collect();
    kept.extend(elements(more).filter(|element| there.insert(element)));
    kept.join(",")
}

/// A list without some elements.
pub(super) fn subtracted(held: &str, less: &str) -> String {
    let gone: HashSet<&str> = elements(less).collect();
    let kept: Vec<&str> = elements(held).filter(|element| !gone.contains(element)).collect();
    kept.join(",")
}

/// A key's value for a topic.
pub fn value_of(overrides: &Overrides, broker: BrokerSettings<'_>, name: &str) -> String {
    match overrides.get(name) {
        Some(value) => value.clone(),
        None => topic_key(name).map(|key| key.default_value(broker)).unwrap_or_default(),
    }
}

/// What the log does with a topic's settings. A value that cannot be read, kept by a broker of another
/// version, counts as not set.
pub fn log_config(overrides: &Overrides, broker: BrokerSettings<'_>) -> LogConfig {
    let text = |name: &str| {
        let kept = overrides.get(name).filter(|value| check_topic_value(name, value).is_ok());
        kept.cloned().unwrap_or_else(|| value_of(&Overrides::new(), broker, name))
    };
    let number = |name: &str| text(name).parse::<i64>().expect("checked above");
    let positive = |name: &str| u64::try_from(number(name).max(1)).expect("positive");
    LogConfig {
        segment_bytes: positive("segment.bytes"),
        segment_ms: number("segment.ms"),
        retention_bytes: number("retention.bytes"),
        retention_ms: number("retention.ms"),
        message_bytes_max: usize::try_from(number("max.message.bytes")).expect("not negative"),
        index_interval_bytes: positive("index.interval.bytes"),
        index_bytes_max: positive("segment.index.bytes").min(INDEX_FILE_BYTES_MAX as u64),
        log_append_time: text("message.timestamp.type") == "LogAppendTime",
        timestamp_before_ms_max: number("message.timestamp.before.max.ms"),
        timestamp_after_ms_max: number("message.timestamp.after.max.ms"),
        serves_damaged: text(DAMAGED_PARTITIONS) == DamagedPartitions::ServeReadable.name(),
        durability: text(DURABILITY).parse().unwrap_or(broker.config.durability),
        deletes: elements(&text("cleanup.policy")).any(|policy| policy == "delete"),
        compacted: elements(&text("cleanup.policy")).any(|policy| policy == "compact"),
    }
}

/// Our own key: what an acknowledgement promises.
pub const DURABILITY: &str = "corelog.durability";
/// Our own key: what becomes of a partition that is damaged.
pub const DAMAGED_PARTITIONS: &str = "corelog.damaged.partitions";

fn milliseconds(duration: Duration) -> String {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).to_string()
}

/// Retention knows "never" as -1.
fn or_never(limit: Option<impl ToString>) -> String {
    limit.map_or_else(|| "-1".to_string(), |limit| limit.to_string())
}

pub fn timestamp_type(config: &Config) -> &'static str {
    match config.log.message_timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// Distances in time know "any" as the largest number.
fn or_any(limit: Option<Duration>) -> String {
    limit.map_or_else(|| i64::MAX.to_string(), milliseconds)
}

macro_rules! topic_keys {
    ($($name:literal, $kind:expr, $broker:expr, $default:expr, $doc:literal;)*) => {
        /// All keys that a topic has, by name.
        pub const TOPIC_KEYS: &[TopicKey] = &[$(
            TopicKey { name: $name, kind: $kind, broker_name: $broker, doc: $doc, default: $default },
        )*];
    };
}

const INT: i32 = i32::MAX;
const POLICIES: &[&str] = &["compact", "delete"];
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
const DAMAGED: &[&str] = &["offline", "serve-readable"];
const DURABILITIES: &[&str] = &["fsync", "write", "memory"];

topic_keys! {
    "cleanup.policy", Kind::List(POLICIES), Some("log.cleanup.policy"), |_| "delete".into(),
        "With compact, records need keys. No other effect yet: nothing is deleted or compacted.";
    "compression.gzip.level", Kind::Int(-1, 9), Some("compression.gzip.level"), |_| "-1".into(),
        "Kept for clients; records are stored as they were produced.";
    "compression.lz4.level", Kind::Int(1, 17), Some("compression.lz4.level"), |_| "9".into(),
        "Kept for clients; records are stored as they were produced.";
    "compression.type", Kind::OneOf(CODECS), Some("compression.type"), |_| "producer".into(),
        "Kept for clients; records are stored as they were produced.";
    "compression.zstd.level", Kind::Int(-131_072, 22), Some("compression.zstd.level"), |_| "3".into(),
        "Kept for clients; records are stored as they were produced.";
    "corelog.damaged.partitions", Kind::OneOf(DAMAGED), Some("damaged.partitions"),
        |c| c.damaged_partitions.name().into(),
        "What becomes of a damaged partition at a start. offline: nothing is served; serve-readable: what lies before.";
    "corelog.durability", Kind::OneOf(DURABILITIES), Some("durability"), |c| c.durability.to_string(),
        "What an acknowledgement promises. fsync: survives power loss; write: survives the process; memory: nothing.";
    "delete.retention.ms", Kind::Long(0), Some("log.cleaner.delete.retention.ms"), |_| "86400000".into(),
        "No effect yet: how long compaction keeps the markers of deleted keys.";
    "file.delete.delay.ms", Kind::Long(0), Some("log.segment.delete.delay.ms"),
        |c| milliseconds(c.log.file_delete_delay_ms),
        "No effect yet, files are deleted at once: how long those of deleted segments stay, renamed.";
    "flush.messages", Kind::Long(1), Some("log.flush.interval.messages"), |_| i64::MAX.to_string(),
        "Kept for clients; corelog.durability says when records are on stable storage.";
    "flush.ms", Kind::Long(0), Some("log.flush.interval.ms"), |_| i64::MAX.to_string(),
        "Kept for clients; corelog.durability says when records are on stable storage.";
    "follower.replication.throttled.replicas", Kind::TextList, None, |_| String::new(),
        "Kept for clients; there is one replica.";
    "index.interval.bytes", Kind::Int(0, INT), Some("log.index.interval.bytes"),
        |c| c.log.index_interval_bytes.to_string(),
        "Bytes of records between two entries of the offset index.";
    "leader.replication.throttled.replicas", Kind::TextList, None, |_| String::new(),
        "Kept for clients; there is one replica.";
    "local.retention.bytes", Kind::Long(-2), Some("log.local.retention.bytes"), |_| "-2".into(),
        "Kept for clients; there is no tiered storage.";
    "local.retention.ms", Kind::Long(-2), Some("log.local.retention.ms"), |_| "-2".into(),
        "Kept for clients; there is no tiered storage.";
    "max.compaction.lag.ms", Kind::Long(1), Some("log.cleaner.max.compaction.lag.ms"), |_| i64::MAX.to_string(),
        "No effect yet: how long a record may stay uncompacted.";
    "max.message.bytes", Kind::Int(0, BATCH_BYTES_MAX as i32), Some("message.max.bytes"),
        |c| c.log.max_message_bytes.to_string(),
        "Largest record batch; a larger one is refused.";
    "message.timestamp.after.max.ms", Kind::Long(0), Some("log.message.timestamp.after.max.ms"),
        |c| or_any(c.log.message_timestamp_after_ms_max),
        "How far a record's timestamp may lie ahead of the broker's clock.";
    "message.timestamp.before.max.ms", Kind::Long(0), Some("log.message.timestamp.before.max.ms"),
        |c| or_any(c.log.message_timestamp_before_ms_max),
        "How far a record's timestamp may lie behind the broker's clock.";
    "message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), Some("log.message.timestamp.type"),
        |c| timestamp_type(c).into(),
        "Whose clock stamps the records: the producer's or the broker's.";
    "min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), Some("log.cleaner.min.cleanable.ratio"), |_| "0.5".into(),
        "No effect yet: how much of a log may be uncompacted.";
    "min.compaction.lag.ms", Kind::Long(0), Some("log.cleaner.min.compaction.lag.ms"), |_| "0".into(),
        "No effect yet: how long a record stays uncompacted at least.";
    "min.insync.replicas", Kind::Int(1, INT), Some("min.insync.replicas"), |_| "1".into(),
        "Kept for clients; there is one replica.";
    "preallocate", Kind::Boolean, Some("log.preallocate"), |_| "false".into(),
        "Kept for clients; the broker preallocates as it sees fit.";
    "remote.log.copy.disable", Kind::Boolean, None, |_| "false".into(),
        "Kept for clients; there is no tiered storage.";
    "remote.log.delete.on.disable", Kind::Boolean, None, |_| "false".into(),
        "Kept for clients; there is no tiered storage.";
    "remote.storage.enable", Kind::Boolean, None, |_| "false".into(),
        "Kept for clients; there is no tiered storage.";
    "retention.bytes", Kind::Long(i64::MIN), Some("log.retention.bytes"), |c| or_never(c.log.retention_bytes),
        "The oldest segments are deleted while the others of a partition hold this much; -1: never.";
    "retention.ms", Kind::Long(-1), Some("log.retention.ms"),
        |c| or_never(c.log.retention_ms.map(milliseconds)),
        "Segments older than this are deleted; -1: never.";
    "segment.bytes", Kind::Int(1 << 20, INT), Some("log.segment.bytes"), |c| c.log.segment_bytes.to_string(),
        "A segment is sealed at this size.";
    "segment.index.bytes", Kind::Int(4, INT), Some("log.index.size.max.bytes"),
        |c| c.log.segment_index_bytes.to_string(),
        "Largest index of a segment; a segment with a full one is sealed.";
    "segment.jitter.ms", Kind::Long(0), Some("log.roll.jitter.ms"), |c| milliseconds(c.log.segment_jitter_ms),
        "No effect yet: up to this much is taken off segment.ms at random, so that not all roll at once.";
    "segment.ms", Kind::Long(1), Some("log.roll.ms"), |c| milliseconds(c.log.segment_ms),
        "A segment is sealed at this age.";
    "unclean.leader.election.enable", Kind::Boolean, Some("unclean.leader.election.enable"), |_| "false".into(),
        "Kept for clients; there is one replica.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Durability;

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn keys_are_sorted_and_every_default_passes_its_own_check() {
        let config = Config::default();
        assert!(TOPIC_KEYS.windows(2).all(|two| two[0].name < two[1].name));
        for key in TOPIC_KEYS {
            let value = key.default_value(BrokerSettings::fixed(&config));
            assert_eq!(check_topic_value(key.name, &value), Ok(value), "{}", key.name);
            let source = key.default_source(BrokerSettings::fixed(&config));
            assert_eq!(source, Source::Default, "{}", key.name);
        }
        assert_eq!(check_topic(&Overrides::new(), BrokerSettings::fixed(&config)), Ok(()));
    }

    #[test]
    fn the_defaults_are_those_of_the_log() {
        let config = Config::default();
        let log = log_config(&Overrides::new(), BrokerSettings::fixed(&config));
        assert_eq!(log, LogConfig::default());
    }

    #[test]
    fn settings_reach_the_log() {
        let set = overrides(&[
            ("cleanup.policy", "delete,compact"),
            ("corelog.durability", "write"),
            ("index.interval.bytes", "0"),
            ("max.message.bytes", "10000"),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.bytes", "77"),
            ("retention.ms", "-1"),
            ("segment.bytes", "1048576"),
            ("segment.ms", "5"),
            ("flush.ms", "not a number, kept by another version"),
        ]);
        let config = Config::default();
        let log = log_config(&set, BrokerSettings::fixed(&config));
        assert!(log.compacted && log.log_append_time);
        assert_eq!(log.durability, Durability::Write);
        assert_eq!((log.index_interval_bytes, log.message_bytes_max), (1, 10_000));
        assert_eq!((log.retention_bytes, log.retention_ms), (77, -1));
        assert_eq!((log.segment_bytes, log.segment_ms), (1 << 20, 5));
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        for (name, value, why) in [
            ("no.such.key", "1", "Unknown topic config name: no.such.key"),
            (
                "retention.ms",
                "soon",
                "Invalid value soon for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "retention.ms",
                "-2",
                "Invalid value -2 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "segment.bytes",
                "99999999999",
                "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
            ),
            (
                "cleanup.policy",
                "shred",
                "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
        ] {
            assert_eq!(check_topic_value(name, value), Err(why.to_string()));
        }
        assert_eq!(check_topic_value("retention.ms", " 5 "), Ok("5".into()));
        assert_eq!(check_topic_value("preallocate", "TRUE"), Ok("true".into()));
        assert_eq!(check_topic_value("cleanup.policy", ""), Ok(String::new()));
    }

    #[test]
    fn changes_of_settings_follow_kip_339() {
        let config = Config::default();
        let current = overrides(&[("retention.ms", "5")]);
        let merged = |name: &str, operation: ConfigOperation| {
            let change = ConfigsChange::Merge(vec![(name.to_string(), operation)]);
            changed(&current, &change, BrokerSettings::fixed(&config))
        };
        let append = merged("cleanup.policy", ConfigOperation::Append("compact".into())).unwrap();
        assert_eq!(append["cleanup.policy"], "delete,compact");
        assert_eq!(append["retention.ms"], "5");
        let subtract = merged("cleanup.policy", ConfigOperation::Subtract("delete".into()));
        assert_eq!(subtract.unwrap()["cleanup.policy"], "");
        assert_eq!(merged("retention.ms", ConfigOperation::Delete), Ok(Overrides::new()));
        assert_eq!(merged("no.such", ConfigOperation::Delete), Ok(current.clone()));
        let refused = merged("retention.ms", ConfigOperation::Append("1".into()));
        let text = "Can't APPEND to key retention.ms because its type is not LIST.";
        assert_eq!(refused, Err(text.to_string()));
        let replaced = ConfigsChange::Replace(overrides(&[("segment.ms", "9")]));
        let replaced = changed(&current, &replaced, BrokerSettings::fixed(&config));
        assert_eq!(replaced, Ok(overrides(&[("segment.ms", "9")])));
    }

    #[test]
    fn a_value_longer_than_a_string_is_refused_however_it_comes_about() {
        let config = Config::default();
        let name = "leader.replication.throttled.replicas".to_string();
        let list = |from: usize, to: usize| -> String {
            (from..to).map(|number| format!("{number:0>9},")).collect()
        };
        let set = |value: String| {
            let set = ConfigsChange::Merge(vec![(name.clone(), ConfigOperation::Set(value))]);
            changed(&Overrides::new(), &set, BrokerSettings::fixed(&config))
        };
        let longest = format!("{}{}", list(0, 3276), "1234567");
        assert_eq!(longest.len(), CONFIG_VALUE_BYTES_MAX);
        let current = set(format!("  {longest} ")).unwrap();
        assert_eq!(current[&name], longest);
        let why = "Invalid value for configuration leader.replication.throttled.replicas: \
                   32768 bytes where 32767 are allowed";
        assert_eq!(set(format!("{longest}8")), Err(why.to_string()));
        let replace = ConfigsChange::Replace([(name.clone(), format!("{longest}8"))].into());
        let replaced = changed(&Overrides::new(), &replace, BrokerSettings::fixed(&config));
        assert_eq!(replaced, Err(why.to_string()));
        let append = |value: String| {
            let append = ConfigsChange::Merge(vec![(name.clone(), ConfigOperation::Append(value))]);
            changed(&current, &append, BrokerSettings::fixed(&config))
        };
        assert!(append("1".into()).unwrap_err().contains("32769 bytes"));
        assert_eq!(append(longest.clone()), Ok(current.clone()), "there already");
        let subtract = ConfigOperation::Subtract(list(1, 3276));
        let subtract = ConfigsChange::Merge(vec![(name.clone(), subtract)]);
        let left = changed(&current, &subtract, BrokerSettings::fixed(&config)).unwrap();
        assert_eq!(left[&name], "000000000,1234567");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let config = Config::default();
        let lags = overrides(&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")]);
        let broker = BrokerSettings::fixed(&config);
        assert!(check_topic(&lags, broker).unwrap_err().contains("(9) > max"));
        let remote = overrides(&[("remote.storage.enable", "true")]);
        assert!(check_topic(&remote, broker).is_err());
    }

    #[test]
    fn a_default_that_the_operator_chose_says_so() {
        let mut config = Config::default();
        config.log.retention_ms = None;
        let key = topic_key("retention.ms").unwrap();
        let broker = BrokerSettings::fixed(&config);
        assert_eq!(key.default_value(broker), "-1");
        assert_eq!(key.default_source(broker), Source::StaticBroker);
    }
}
