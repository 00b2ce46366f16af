//! Settings of brokers that change while they run (KIP-226): which those are, what they may be, and what holds of
//! all that was configured and set. Pure.
//!
//! They are set for all brokers, or for those of this host, which goes before; both go before the configuration, and
//! what a topic or a group sets itself before all of them. As by Kafka, a name that nobody knows is kept and never
//! shown with its value; one of Kafka's that changes nothing here while the broker runs is refused.

use super::broker_configs::{BROKER_KEYS, BrokerKey, Kind as BrokerKind, broker_key};
use super::configs::{self, Kind, Overrides, Source, TOPIC_KEYS};
use super::group_configs;
use super::kafka_names::KAFKA_NAMES;
use crate::config::Config;
use crate::limits::UNKNOWN_BROKER_SETTINGS_MAX;
use crate::shard::control::{ConfigOperation, ConfigsChange, ControlError};
use crate::shard::image::{BrokerOverrides, BrokerScope};

pub const ASSIGNMENT_INTERVAL: &str = "group.consumer.assignment.interval.ms";
pub const CONNECTIONS_MAX: &str = "max.connections";

const INT: i32 = i32::MAX;

/// What no topic has, and what topics have with another range. The throttles of replication are kept for tools that
/// move partitions: there is one replica.
const KINDS: &[(&str, Kind)] = &[
    ("follower.replication.throttled.rate", Kind::Long(0)),
    (ASSIGNMENT_INTERVAL, Kind::Int(0, INT)),
    ("group.share.assignment.interval.ms", Kind::Int(0, INT)),
    ("group.streams.assignment.interval.ms", Kind::Int(0, INT)),
    ("leader.replication.throttled.rate", Kind::Long(0)),
    ("log.flush.interval.ms", Kind::Long(i64::MIN)),
    ("log.retention.ms", Kind::Long(i64::MIN)),
    ("log.roll.jitter.ms", Kind::Long(i64::MIN)),
    ("log.roll.ms", Kind::Long(i64::MIN)),
    // As it may be configured. At 0, nobody could connect to raise it again.
    (CONNECTIONS_MAX, Kind::Int(1, 1 << 20)),
    ("replica.alter.log.dirs.io.max.bytes.per.second", Kind::Long(0)),
];

/// Keys that say the same; the first of them that is set holds.
const SYNONYMS: &[&[&str]] = &[
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.roll.ms", "log.roll.hours"],
];

/// The type of a key that can be changed while brokers run, with the range that Kafka's brokers give it; `None` of
/// others.
pub fn kind_of(name: &str) -> Option<Kind> {
    let own = KINDS.iter().find(|(key, _)| *key == name).map(|(_, kind)| *kind);
    own.or_else(|| {
        // Our own settings are the operator's to choose, at a start.
        let mut of_topics = TOPIC_KEYS.iter().filter(|key| !key.name.starts_with("corelog."));
        of_topics.find(|key| key.broker_name == Some(name)).map(|key| key.kind)
    })
}

/// Whether somebody has a key of this name that cannot be changed while brokers run. Those of single listeners are
/// about TLS and SASL, which are not there yet.
fn is_fixed(name: &str) -> bool {
    let is_known = || broker_key(name).is_some() || KAFKA_NAMES.binary_search(&name).is_ok();
    kind_of(name).is_none() && (name.starts_with("listener.name.") || is_known())
}

/// What cannot be read, kept by another version, counts as not set.
fn is_readable(name: &str, value: &str) -> bool {
    kind_of(name).map_or_else(|| !is_fixed(name), |kind| kind.check(value).is_ok())
}

/// What was set for a scope.
fn set_for<'a>(overrides: &'a BrokerOverrides, scope: BrokerScope, name: &str) -> Option<&'a str> {
    let value = overrides.of(scope).get(name)?;
    is_readable(name, value).then_some(value.as_str())
}

fn source_of(scope: BrokerScope) -> Source {
    match scope {
        BrokerScope::Host => Source::DynamicBroker,
        BrokerScope::All => Source::DynamicDefaultBroker,
    }
}

/// What was set and holds, and for whom it was set: this host goes before all brokers.
fn held<'a>(overrides: &'a BrokerOverrides, name: &str) -> Option<(&'a str, BrokerScope)> {
    let of = |scope| Some((set_for(overrides, scope, name)?, scope));
    of(BrokerScope::Host).or_else(|| of(BrokerScope::All))
}

/// The number that was set for brokers; `None` when none was.
pub fn number_of(overrides: &BrokerOverrides, name: &str) -> Option<i64> {
    let (value, _) = held(overrides, name)?;
    value.parse().ok()
}

/// A broker's settings: as it was configured, and what was set over it.
#[derive(Clone, Copy)]
pub struct BrokerSettings<'a> {
    pub config: &'a Config,
    pub overrides: &'a BrokerOverrides,
}

impl<'a> BrokerSettings<'a> {
    /// Of brokers that nothing was set for while they run.
    #[cfg(test)]
    pub fn fixed(config: &'a Config) -> BrokerSettings<'a> {
        static NOTHING: BrokerOverrides =
            BrokerOverrides { all: Overrides::new(), host: Overrides::new() };
        BrokerSettings { config, overrides: &NOTHING }
    }

    /// What was set while brokers run, and for whom.
    pub fn dynamic(self, name: &str) -> Option<(&'a str, Source)> {
        let (value, scope) = held(self.overrides, name)?;
        Some((value, source_of(scope)))
    }

    /// What holds.
    pub fn value(self, name: &str) -> Option<String> {
        let set = self.dynamic(name).map(|(value, _)| value.to_string());
        set.or_else(|| broker_key(name)?.value(self.config))
    }

    /// Who chose what the broker's key of this name gives topics and groups, or that nobody did.
    pub fn default_source(self, name: Option<&str>, default: fn(&Config) -> String) -> Source {
        if let Some((_, source)) = name.and_then(|name| self.dynamic(name)) {
            return source;
        }
        let is_chosen = default(self.config) != default(&Config::default());
        if is_chosen { Source::StaticBroker } else { Source::Default }
    }

    /// All that gives a key its value, with the key that does, the one that holds first (KIP-226).
    pub fn given<'n>(self, name: &'n str) -> Vec<(&'n str, String, Source)> {
        let (names, default) = (synonyms_of(name), Config::default());
        let mut all: Vec<(&'n str, String, Source)> = Vec::new();
        for scope in [BrokerScope::Host, BrokerScope::All] {
            for key in &names {
                if let Some(value) = set_for(self.overrides, scope, key) {
                    all.push((*key, value.to_string(), source_of(scope)));
                }
            }
        }
        let keys: Vec<&BrokerKey> = names.iter().filter_map(|key| broker_key(key)).collect();
        let chosen = keys.iter().filter(|key| key.source(self.config) == Source::StaticBroker);
        for key in chosen {
            all.extend(key.value(self.config).map(|value| (key.name, value, Source::StaticBroker)));
        }
        for key in &keys {
            all.extend(key.value(&default).map(|value| (key.name, value, Source::Default)));
        }
        all.into_iter().skip_while(|(key, ..)| *key != name).collect()
    }

    /// The names that a broker shows: all that it has, and what else was set.
    pub fn names(self) -> Vec<&'a str> {
        let set = [BrokerScope::Host, BrokerScope::All].map(|scope| self.names_set_for(scope));
        let mut others: Vec<&'a str> =
            set.into_iter().flatten().filter(|name| broker_key(name).is_none()).collect();
        others.sort_unstable();
        others.dedup();
        BROKER_KEYS.iter().map(|key| key.name).chain(others).collect()
    }

    /// The names that were set for a scope.
    pub fn names_set_for(self, scope: BrokerScope) -> Vec<&'a str> {
        let set = self.overrides.of(scope).iter();
        let readable = set.filter(|(name, value)| is_readable(name, value));
        readable.map(|(name, _)| name.as_str()).collect()
    }
}

fn synonyms_of(name: &str) -> Vec<&str> {
    let mut all = SYNONYMS.iter();
    match all.find(|names| names.contains(&name)) {
        // Kafka does not look the other way here.
        Some(names) if name != "log.flush.scheduler.interval.ms" => names.to_vec(),
        _ => vec![name],
    }
}

// ---------------------------------------------------------------- changes

/// What is set for a scope after a change.
///
/// # Errors
/// What Kafka says; then nothing changes.
pub fn changed(
    current: &BrokerOverrides,
    scope: BrokerScope,
    change: &ConfigsChange,
    config: &Config,
) -> Result<Overrides, ControlError> {
    let wanted = merged(current.of(scope), change)?;
    let names = wanted.keys().map(String::as_str);
    let fixed: Vec<&str> = names.filter(|name| is_fixed(name)).collect();
    if !fixed.is_empty() {
        let text = format!("Cannot update these configs dynamically: [{}]", fixed.join(", "));
        return Err(ControlError::InvalidRequest(text));
    }
    let mut overrides = Overrides::new();
    for (name, value) in wanted {
        let value = check_value(&name, &value).map_err(ControlError::InvalidRequest)?;
        overrides.insert(name, value);
    }
    let unknown = overrides.keys().filter(|name| kind_of(name).is_none()).count();
    if unknown > UNKNOWN_BROKER_SETTINGS_MAX {
        return Err(ControlError::TooMany(format!(
            "{UNKNOWN_BROKER_SETTINGS_MAX} settings that nobody knows are kept at most."
        )));
    }
    let mut together = current.clone();
    together.of_mut(scope).clone_from(&overrides);
    let broker = BrokerSettings { config, overrides: &together };
    check_together(broker).map_err(ControlError::InvalidRequest)?;
    Ok(overrides)
}

/// As it is kept.
fn check_value(name: &str, value: &str) -> Result<String, String> {
    configs::check_value(name, kind_of(name).unwrap_or(Kind::TextList), value)
}

/// What cannot be read is not among it any more.
fn merged(current: &Overrides, change: &ConfigsChange) -> Result<Overrides, ControlError> {
    let operations = match change {
        ConfigsChange::Replace(settings) => return Ok(settings.clone()),
        ConfigsChange::Merge(operations) => operations,
    };
    let mut set = current.clone();
    set.retain(|name, value| is_readable(name, value));
    for (name, operation) in operations {
        let value = match operation {
            ConfigOperation::Delete => {
                set.remove(name);
                continue;
            }
            ConfigOperation::Set(value) => value.clone(),
            ConfigOperation::Append(value) => {
                configs::appended(&list_of(&set, name, "append")?, value)
            }
            ConfigOperation::Subtract(value) => {
                configs::subtracted(&list_of(&set, name, "subtract")?, value)
            }
        };
        set.insert(name.clone(), value);
    }
    Ok(set)
}

/// What is set for a key whose type is a list; as by Kafka, else its default, whatever was configured.
fn list_of(set: &Overrides, name: &str, verb: &str) -> Result<String, ControlError> {
    let key = broker_key(name);
    let is_list = match (kind_of(name), key) {
        (Some(kind), _) => kind.is_list(),
        (None, Some(key)) => matches!(key.kind, BrokerKind::List),
        // One of Kafka's is refused later.
        (None, None) if is_fixed(name) => true,
        (None, None) => {
            return Err(ControlError::InvalidConfig(format!("Unknown config name: {name}")));
        }
    };
    if !is_list {
        let text = format!("Config value {verb} is not allowed for config key: {name}");
        return Err(ControlError::InvalidConfig(text));
    }
    let default = || key.and_then(|key| key.value(&Config::default())).unwrap_or_default();
    Ok(set.get(name).cloned().unwrap_or_else(default))
}

/// What no single value shows: what Kafka's broker requires of its configuration as a whole.
fn check_together(broker: BrokerSettings<'_>) -> Result<(), String> {
    let set = |name: &str| number_of(broker.overrides, name);
    let required = |text: &str| Err(format!("requirement failed: {text}"));
    if set("log.roll.ms").is_some_and(|ms| ms < 1) {
        return required("log.roll.ms must be greater than or equal to 1");
    }
    if set("log.roll.jitter.ms").is_some_and(|ms| ms < 0) {
        return required("log.roll.jitter.ms must be greater than or equal to 0");
    }
    if set("log.retention.ms") == Some(0) {
        return required("log.retention.ms must be unlimited (-1) or, greater than or equal to 1");
    }
    group_configs::check_broker_defaults(broker)?;
    let nothing = Overrides::new();
    for (whole, local) in
        [("retention.ms", "local.retention.ms"), ("retention.bytes", "local.retention.bytes")]
    {
        let number = |name: &str| configs::value_of(&nothing, broker, name).parse::<i64>();
        let (whole, local) = (number(whole).unwrap_or(-1), number(local).unwrap_or(-2));
        // -2: as the whole.
        if whole >= 0 && local != -2 && (local == -1 || local > whole) {
            return Err("Invalid dynamic configuration".to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
