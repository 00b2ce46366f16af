//! What a report must say of host and broker. Asked once, before and after the load; never during it.

use crate::process;
use crate::report::model::{BrokerFacts, Fact, Host};
use crate::settings::{Settings, Work};
use corelog::client::{Client, ConfigEntry};
use std::fs;
use std::path::PathBuf;

const UNKNOWN: &str = "unknown";

pub fn host() -> Host {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or(UNKNOWN, |text| text.trim_start_matches([' ', '\t', ':']));
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Host {
        cpu_model: model.to_string(),
        cpus: cpus.lines().filter(|line| line.starts_with("processor")).count(),
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        memory_bytes: kibibytes.unwrap_or(0) * 1024,
    }
}

/// What is known of a broker.
pub struct Broker {
    pub facts: BrokerFacts,
    /// Where its data is, when it is on this host.
    pub directory: Option<PathBuf>,
}

/// What the broker says, and where it does not, what the user declared.
pub async fn broker(client: &Client, settings: &Settings, work: &Work, pid: Option<u32>) -> Broker {
    let id = client.metadata(|metadata| metadata.brokers.keys().next().copied());
    let configs = match id {
        Some(id) => client.broker_configs(id).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let topic = client.topic_configs(&work.topics[0]).await.unwrap_or_default();
    let directories = match id {
        // The directory is the broker's: it is only ours to look at when the broker runs here.
        Some(id) if pid.is_some() => client.data_directories(id).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let directory = directories.into_iter().map(PathBuf::from).find(|path| path.is_dir());
    let mount = directory.as_deref().and_then(process::mount_of);
    let (filesystem, device) = mount.unwrap_or_else(|| (UNKNOWN.to_string(), UNKNOWN.to_string()));
    let addresses: Vec<String> = work.bootstrap.iter().map(ToString::to_string).collect();
    let declared = |value: &String| Fact { value: value.clone(), is_declared: true };
    let facts = BrokerFacts {
        bootstrap: addresses.join(","),
        brokers: client.metadata(|metadata| metadata.brokers.len()),
        version: settings
            .broker_version
            .clone()
            .or_else(|| version(&configs))
            .unwrap_or(UNKNOWN.into()),
        durability: match durability(&topic) {
            Some(value) => Fact { value, is_declared: false },
            None => settings
                .durability
                .as_ref()
                .map(declared)
                .unwrap_or(Fact { value: UNKNOWN.to_string(), is_declared: false }),
        },
        replication: client.metadata(|metadata| {
            let topic = metadata.topics.get(work.topics[0].as_str());
            topic.and_then(|topic| topic.partitions.first()).map_or(0, |p| p.replicas.len() as i32)
        }),
        filesystem,
        device,
        cpus: broker_cpus(settings, pid).unwrap_or_else(|| UNKNOWN.to_string()),
    };
    Broker { facts, directory }
}

/// CPUs that the broker may use, as it was declared or its process says.
pub fn broker_cpus(settings: &Settings, pid: Option<u32>) -> Option<String> {
    settings.broker_cpus.clone().or_else(|| pid.and_then(process::allowed_cpus))
}

fn value<'a>(configs: &'a [ConfigEntry], name: &str) -> Option<&'a str> {
    configs.iter().find(|entry| entry.name == name)?.value.as_deref()
}

/// Brokers do not tell their version in the protocol, but settings tell which broker it is, and corelog's
/// which version.
fn version(configs: &[ConfigEntry]) -> Option<String> {
    if let Some(version) = value(configs, "corelog.version") {
        return Some(format!("corelog {version}"));
    }
    value(configs, "process.roles").map(|_| "Apache Kafka, version not told".to_string())
}

/// What an acknowledgement promises, from the settings of the topic that is loaded.
fn durability(topic: &[ConfigEntry]) -> Option<String> {
    if let Some(mode) = value(topic, "corelog.durability") {
        return Some(match mode {
            "fsync" => "fsync: on stable storage".to_string(),
            "write" => "write: survives the process, not power loss".to_string(),
            _ => format!("{mode}: survives nothing"),
        });
    }
    // Kafka's flush settings decide; their default never syncs before it acknowledges.
    match value(topic, "flush.messages")? {
        "1" => Some("fsync: on stable storage (flush.messages=1)".to_string()),
        _ => Some("page cache: survives the process, not power loss".to_string()),
    }
}

/// The commit that the sources were at when this was built, with a mark when they were changed.
pub fn commit() -> String {
    option_env!("CORELOG_PERF_COMMIT").unwrap_or(UNKNOWN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelog::client::ConfigSource;

    fn entry(name: &str, value: &str) -> ConfigEntry {
        let (name, value) = (name.to_string(), Some(value.to_string()));
        ConfigEntry { name, value, source: ConfigSource::Default }
    }

    #[test]
    fn durability_is_what_the_topic_says_and_nothing_is_guessed() {
        let of = |name, text| durability(&[entry(name, text)]).unwrap_or_default();
        assert!(of("corelog.durability", "fsync").starts_with("fsync"));
        assert!(of("corelog.durability", "memory").starts_with("memory"));
        assert!(of("flush.messages", "1").starts_with("fsync"));
        assert!(of("flush.messages", "9223372036854775807").starts_with("page cache"));
        assert_eq!(durability(&[]), None);
    }
}
