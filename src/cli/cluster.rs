//! `corelog cluster`: the brokers, what they hold, and how busy their cores are.

use super::admin_page;
use super::connect::Connect;
use super::output::{self, Failure, Format};
use crate::client::{Client, Metadata};
use crate::config::HostPort;
use crate::limits::SHARDS_MAX;
use crate::wire::Str;
use clap::Subcommand;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Look at the cluster as a whole, and move partitions between its cores.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog cluster describe
  corelog cluster cores
  corelog cluster move flights:3 --to 1")]
pub struct Cluster {
    #[command(flatten)]
    connect: Connect,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Describe(Describe),
    Cores(Cores),
    Move(Move),
}

/// Show the cluster's id, its controller, and its brokers.
#[derive(Debug, clap::Args)]
struct Describe {
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Show how busy each core of a corelog broker is, and which partitions keep it so.
#[derive(Debug, clap::Args)]
struct Cores {
    /// The admin port of the broker.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9644")]
    admin: HostPort,

    /// How many partitions to show, the hottest first.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    top: usize,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Move a partition to another core while it is served; on Apache Kafka, to another broker.
///
/// Where each core is a broker to clients (per-core endpoints); with shared endpoints only the broker itself
/// moves partitions.
#[derive(Debug, clap::Args)]
struct Move {
    #[arg(value_name = "TOPIC:PARTITION", value_parser = parse_place)]
    place: Place,

    /// The number of the core, on the host that has the partition.
    #[arg(long, value_name = "CORE", value_parser = clap::value_parser!(i32).range(0..1024))]
    to: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    topic: String,
    partition: i32,
}

/// Reads `flights:3`.
fn parse_place(text: &str) -> Result<Place, String> {
    let place = text.rsplit_once(':').and_then(|(topic, partition)| {
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        (!topic.is_empty()).then(|| Place { topic: topic.to_string(), partition })
    });
    place.ok_or_else(|| "a partition is TOPIC:NUMBER, such as flights:3".to_string())
}

impl Cluster {
    pub fn run(self) -> Result<(), Failure> {
        let Cluster { connect, action } = self;
        match action {
            Action::Describe(describe) => {
                connect.run(|_| {}, async |client| describe.run(&client).await)
            }
            Action::Cores(cores) => cores.run(),
            Action::Move(moving) => connect.run(|_| {}, async |client| moving.run(&client).await),
        }
    }
}

impl Describe {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        client.refresh_all().await?;
        let metadata = client.metadata(Metadata::clone);
        output::stdout(|out| match self.format {
            Format::Text => write_cluster(out, &metadata),
            Format::Json => writeln!(out, "{}", cluster_to_json(&metadata)),
        })
    }
}

impl Cores {
    fn run(self) -> Result<(), Failure> {
        let page = admin_page::fetch(&self.admin, "/cores")?;
        output::stdout(|out| match self.format {
            Format::Text => write_cores(out, &page, self.top),
            Format::Json => writeln!(out, "{page}"),
        })
    }
}

impl Move {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let Place { topic, partition } = &self.place;
        client.topic(&Str::from(topic.as_str())).await?;
        let leader = client.leader(topic, *partition);
        let leader = leader.ok_or_else(|| {
            Failure::failed(format!("partition {partition} of topic {topic} has no leader"))
        })?;
        let brokers: Vec<i32> = client.metadata(|known| known.brokers.keys().copied().collect());
        let broker = broker_of(&brokers, leader, self.to).ok_or_else(|| {
            Failure::failed(format!(
                "core {} is no broker of its own; the brokers are {brokers:?}",
                self.to
            ))
        })?;
        client.move_partition(topic, *partition, broker).await?;
        output::note(&format!("{topic}-{partition} is on broker {broker}"));
        Ok(())
    }
}

/// The broker that is a core of the host that a broker is on. Of a host's ids the low ten bits are the core; one broker
/// alone stands for all of them.
fn broker_of(brokers: &[i32], leader: i32, core: i32) -> Option<i32> {
    let cores = SHARDS_MAX as i32;
    let id = leader / cores * cores + core;
    (brokers.len() > 1 && brokers.contains(&id)).then_some(id)
}

/// How many partitions a broker leads.
fn led_by(metadata: &Metadata, broker: i32) -> usize {
    let partitions = metadata.topics.values().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.leader == Some(broker)).count()
}

fn write_cluster(out: &mut impl Write, metadata: &Metadata) -> io::Result<()> {
    let partitions = metadata.topics.values().map(|topic| topic.partitions.len()).sum::<usize>();
    writeln!(out, "cluster     {}", metadata.cluster_id.as_deref().unwrap_or("(no id)"))?;
    writeln!(out, "topics      {}", metadata.topics.len())?;
    writeln!(out, "partitions  {partitions}")?;
    let head = ["broker", "address", "rack", "leads", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (id, broker) in &metadata.brokers {
        let is_controller = metadata.controller_id == Some(*id);
        rows.push(vec![
            id.to_string(),
            broker.address.to_string(),
            broker.rack.clone().unwrap_or("-".to_string()),
            led_by(metadata, *id).to_string(),
            if is_controller { "controller" } else { "" }.to_string(),
        ]);
    }
    output::write_table(out, &rows)
}

fn cluster_to_json(metadata: &Metadata) -> serde_json::Value {
    let brokers = metadata.brokers.values().map(|broker| {
        json!({
            "id": broker.id,
            "host": broker.address.host,
            "port": broker.address.port,
            "rack": broker.rack,
            "partitions_led": led_by(metadata, broker.id),
        })
    });
    json!({
        "cluster_id": metadata.cluster_id,
        "controller": metadata.controller_id,
        "brokers": brokers.collect::<Vec<_>>(),
        "topics": metadata.topics.len(),
    })
}

// ---------------------------------------------------------------- cores

fn write_cores(out: &mut impl Write, page: &Value, top: usize) -> io::Result<()> {
    let list = |name: &str| page[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let head = ["core", "busy", "partitions", "appended/s", "fetched/s", "operations/s", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    for core in list("cores") {
        let is_hottest = !core["core"].is_null() && core["core"] == page["hottest_core"];
        let mut row = vec![core["core"].to_string(), percent(&core["busy"])];
        row.push(core["partitions"].to_string());
        row.extend(rates(core));
        row.push(if is_hottest { "hottest" } else { "" }.to_string());
        rows.push(row);
    }
    rows.extend(
        list("silent_cores").iter().map(|core| vec![core.to_string(), "no answer".to_string()]),
    );
    output::write_table(out, &rows)?;
    writeln!(out)?;
    let head = ["partition", "core", "busy", "appended/s", "fetched/s", "operations/s"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for hot in list("hottest_partitions").iter().take(top) {
        let topic = hot["topic"].as_str().unwrap_or_default();
        let mut row = vec![format!("{topic}:{}", hot["partition"])];
        row.extend([hot["core"].to_string(), percent(&hot["busy"])]);
        row.extend(rates(hot));
        rows.push(row);
    }
    output::write_table(out, &rows)
}

/// Bytes appended, bytes fetched and operations, each in a second.
fn rates(of: &Value) -> [String; 3] {
    let bytes = |name: &str| HumanBytes(of[name].as_u64().unwrap_or(0)).to_string();
    [
        bytes("appended_bytes_per_second"),
        bytes("fetched_bytes_per_second"),
        of["operations_per_second"].to_string(),
    ]
}

fn percent(share: &Value) -> String {
    share.as_f64().map_or("-".to_string(), |share| format!("{:.0}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_a_topic_and_a_number() {
        let place = |topic: &str, partition| Ok(Place { topic: topic.to_string(), partition });
        assert_eq!(parse_place("flights:3"), place("flights", 3));
        assert_eq!(parse_place("a:b:0"), place("a:b", 0));
        for text in ["flights", "flights:", ":3", "flights:-1", "flights:x"] {
            assert!(parse_place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_core_is_a_broker_of_the_host_that_has_the_partition() {
        let two_hosts = [1024, 1025, 2048, 2049];
        assert_eq!(broker_of(&two_hosts, 1025, 0), Some(1024));
        assert_eq!(broker_of(&two_hosts, 2048, 1), Some(2049));
        assert_eq!(broker_of(&two_hosts, 2048, 2), None);
        assert_eq!(broker_of(&[1, 2, 3], 1, 3), Some(3), "as Apache Kafka numbers brokers");
        assert_eq!(broker_of(&[1], 1, 1), None, "shared endpoints");
    }

    #[test]
    fn the_table_names_the_hottest_core_and_its_partitions() {
        let page = json!({
            "cores": [
                { "core": 0, "busy": 0.914, "partitions": 8, "appended_bytes_per_second": 1536,
                  "fetched_bytes_per_second": 0, "operations_per_second": 12 },
                { "core": 2, "busy": null, "partitions": 0, "appended_bytes_per_second": 0,
                  "fetched_bytes_per_second": 7, "operations_per_second": 0 },
            ],
            "hottest_core": 0,
            "hottest_partitions": [
                { "topic": "t", "partition": 3, "core": 0, "busy": 0.5,
                  "appended_bytes_per_second": 1024, "fetched_bytes_per_second": 0,
                  "operations_per_second": 9 },
                { "topic": "t", "partition": 4, "core": 0, "busy": 0.1 },
            ],
            "silent_cores": [1],
        });
        let mut out = Vec::new();
        write_cores(&mut out, &page, 1).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let head = ["core", "busy", "partitions", "appended/s", "fetched/s", "operations/s"];
        assert_eq!(lines[0], head);
        assert_eq!(lines[1], ["0", "91%", "8", "1.50", "KiB", "0", "B", "12", "hottest"]);
        assert_eq!(lines[2], ["2", "-", "0", "0", "B", "7", "B", "0"]);
        assert_eq!(lines[3], ["1", "no", "answer"]);
        assert!(lines[4].is_empty());
        assert_eq!(lines[6], ["t:3", "0", "50%", "1.00", "KiB", "0", "B", "9"]);
        assert_eq!(lines.len(), 7, "no more than was asked for");
    }
}
