//! A consumer group's settings under Kafka's names (KIP-848): one table, from which come validation and what
//! DescribeConfigs shows. They are kept whether or not the group is there. Pure.

use super::configs::{Kind, Overrides};
use crate::limits::CONFIG_VALUE_BYTES_MAX;
use crate::shard::control::{ConfigOperation, ConfigsChange};

/// One key that a group has.
pub struct GroupKey {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker's key that gives the default.
    pub broker_name: &'static str,
    /// What the broker allows; the keys that say so have `min.` or `max.` in their names.
    least: i32,
    most: i32,
    pub doc: &'static str,
}

/// All keys, by name.
pub const GROUP_KEYS: &[GroupKey] = &[
    GroupKey {
        name: "consumer.assignment.interval.ms",
        kind: Kind::Int(0, i32::MAX),
        default: "1000",
        broker_name: "group.consumer.assignment.interval.ms",
        least: 0,
        most: 15_000,
        doc: "No effect yet: least time between two assignments of a consumer group.",
    },
    GroupKey {
        name: "consumer.heartbeat.interval.ms",
        kind: Kind::Int(1, i32::MAX),
        default: "5000",
        broker_name: "group.consumer.heartbeat.interval.ms",
        least: 5_000,
        most: 15_000,
        doc: "How often the members of a consumer group are asked to say that they are there.",
    },
    GroupKey {
        name: "consumer.session.timeout.ms",
        kind: Kind::Int(1, i32::MAX),
        default: "45000",
        broker_name: "group.consumer.session.timeout.ms",
        least: 45_000,
        most: 60_000,
        doc: "A member of a consumer group that says nothing for this long is removed.",
    },
];

fn group_key(name: &str) -> Result<&'static GroupKey, String> {
    let key = GROUP_KEYS.iter().find(|key| key.name == name);
    key.ok_or_else(|| format!("Unknown group config name: {name}"))
}

fn check(name: &str, value: &str) -> Result<String, String> {
    let key = group_key(name)?;
    let kept = value.trim();
    if kept.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(format!("Invalid value for configuration {name}: {} bytes", kept.len()));
    }
    let kept = key
        .kind
        .check(kept)
        .map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))?;
    let number: i32 = kept.parse().expect("checked above");
    let limit = |which: &str| key.broker_name.replacen("consumer.", which, 1);
    if number < key.least {
        let limit = limit("consumer.min.");
        return Err(format!("{name} must be greater than or equal to {limit} ({})", key.least));
    }
    if number > key.most {
        let limit = limit("consumer.max.");
        return Err(format!("{name} must be less than or equal to {limit} ({})", key.most));
    }
    Ok(kept)
}

/// A group's settings after a change. What is not one of its keys can be deleted, not set.
///
/// # Errors
/// The message that Kafka answers INVALID_CONFIG with; then nothing changes.
pub fn changed(current: &Overrides, change: &ConfigsChange) -> Result<Overrides, String> {
    let mut overrides = Overrides::new();
    match change {
        ConfigsChange::Replace(settings) => {
            for (name, value) in settings {
                overrides.insert(name.clone(), check(name, value)?);
            }
        }
        ConfigsChange::Merge(operations) => {
            overrides.clone_from(current);
            for (name, operation) in operations {
                let verb = match operation {
                    ConfigOperation::Delete => {
                        overrides.remove(name);
                        continue;
                    }
                    ConfigOperation::Set(value) => {
                        overrides.insert(name.clone(), check(name, value)?);
                        continue;
                    }
                    ConfigOperation::Append(_) => "APPEND",
                    ConfigOperation::Subtract(_) => "SUBTRACT",
                };
                group_key(name)?;
                return Err(format!("Can't {verb} to key {name} because its type is not LIST."));
            }
        }
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<Overrides, String> {
        let operation = (name.to_string(), ConfigOperation::Set(value.to_string()));
        changed(&Overrides::new(), &ConfigsChange::Merge(vec![operation]))
    }

    #[test]
    fn every_default_passes_its_own_check() {
        assert!(GROUP_KEYS.is_sorted_by_key(|key| key.name));
        for key in GROUP_KEYS {
            assert_eq!(check(key.name, key.default).as_deref(), Ok(key.default), "{}", key.name);
        }
    }

    #[test]
    fn what_the_broker_does_not_allow_is_refused() {
        let session = "consumer.session.timeout.ms";
        assert_eq!(set(session, "50000").unwrap()[session], "50000");
        for (name, value, why) in [
            (session, "44999", "group.consumer.min.session.timeout.ms"),
            (session, "60001", "group.consumer.max.session.timeout.ms"),
            ("consumer.heartbeat.interval.ms", "15001", "group.consumer.max.heartbeat.interval.ms"),
            (session, "x", "Not a number of type INT"),
            ("retention.ms", "1", "Unknown group config name"),
        ] {
            assert!(set(name, value).unwrap_err().contains(why), "{name} {value}");
        }
        let current = set(session, "50000").unwrap();
        let merged = |operation| {
            changed(&current, &ConfigsChange::Merge(vec![(session.to_string(), operation)]))
        };
        assert_eq!(merged(ConfigOperation::Delete), Ok(Overrides::new()));
        assert!(merged(ConfigOperation::Append("1".into())).is_err());
        assert_eq!(
            changed(&current, &ConfigsChange::Replace(Overrides::new())),
            Ok(Overrides::new())
        );
    }
}
