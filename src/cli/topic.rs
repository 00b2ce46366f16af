//! `corelog topic`: topics made, listed, shown, changed and deleted.

use super::connect::Connect;
use super::output::{self, Failure, Format};
use crate::client::{Client, ClientError, ConfigSource, NewTopic, OffsetQuery, TopicPartition};
use crate::types::Offset;
use crate::wire::{ErrorCode, Str};
use clap::Subcommand;
use serde_json::json;
use std::collections::HashMap;
use std::io::Write;

/// Create, list, describe, alter and delete topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog topic create flights --partitions 8 --config max.message.bytes=2000000
  corelog topic list
  corelog topic describe flights
  corelog topic alter flights --partitions 16 --set message.timestamp.type=LogAppendTime --unset max.message.bytes
  corelog topic delete flights")]
pub struct Topic {
    #[command(flatten)]
    connect: Connect,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    List(List),
    Describe(Describe),
    Alter(Alter),
    Trim(Trim),
    Delete(Delete),
}

/// Make a topic.
#[derive(Debug, clap::Args)]
struct Create {
    name: String,

    /// How many; the broker's default (num.partitions) when not given.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,

    /// Copies of each partition; the broker's default when not given.
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,

    /// A setting of the topic, under Kafka's name; may be repeated.
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    configs: Vec<(String, String)>,

    /// Succeed when the topic is there already, whatever its settings.
    #[arg(long)]
    if_not_exists: bool,

    /// Only check that it could be made.
    #[arg(long)]
    dry_run: bool,
}

/// List the topics, by name.
#[derive(Debug, clap::Args)]
struct List {
    /// Also those that the brokers keep for themselves.
    #[arg(long)]
    internal: bool,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Show partitions, leaders, offsets, and settings.
#[derive(Debug, clap::Args)]
struct Describe {
    /// All topics when none is named.
    names: Vec<String>,

    /// Also settings that have their defaults.
    #[arg(long)]
    all_configs: bool,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Add partitions, set and take back settings.
#[derive(Debug, clap::Args)]
struct Alter {
    name: String,

    /// Raise their number to this. Keys then go to other partitions than before.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,

    /// A setting of the topic, under Kafka's name; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    set: Vec<(String, String)>,

    /// Give a setting its default again; may be repeated.
    #[arg(short, long, value_name = "KEY")]
    unset: Vec<String>,
}

/// Delete the oldest records of a partition.
#[derive(Debug, clap::Args)]
struct Trim {
    name: String,

    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,

    /// The first offset to keep; `end` keeps none.
    #[arg(long, value_name = "OFFSET|end", value_parser = parse_before)]
    before: Before,
}

/// Delete topics and all their records.
#[derive(Debug, clap::Args)]
struct Delete {
    #[arg(required = true)]
    names: Vec<String>,

    /// Succeed when a topic is not there.
    #[arg(long)]
    if_exists: bool,
}

/// None: the end.
#[derive(Clone, Copy, Debug)]
struct Before(Option<Offset>);

impl Topic {
    pub fn run(self) -> Result<(), Failure> {
        self.connect.run(
            |_| {},
            async |client| match self.action {
                Action::Create(create) => create.run(&client).await,
                Action::List(list) => list.run(&client).await,
                Action::Describe(describe) => describe.run(&client).await,
                Action::Alter(alter) => alter.run(&client).await,
                Action::Trim(trim) => trim.run(&client).await,
                Action::Delete(delete) => delete.run(&client).await,
            },
        )
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let topic = NewTopic {
            name: self.name,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.configs,
        };
        match client.create_topic(&topic, self.dry_run).await {
            Ok(result) => {
                let (name, count) = (&topic.name, result.num_partitions);
                let done = if self.dry_run { "could be created" } else { "created" };
                output::note(&format!("topic {name} {done}, {count} partitions"));
                Ok(())
            }
            Err(error) if self.if_not_exists && has_code(&error, ErrorCode::TopicAlreadyExists) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        client.refresh_all().await?;
        let mut topics: Vec<_> = client.metadata(|known| {
            let visible = known.topics.values().filter(|topic| self.internal || !topic.is_internal);
            visible.cloned().collect()
        });
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        output::stdout(|out| {
            for topic in &topics {
                let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
                match self.format {
                    Format::Text => writeln!(out, "{}", topic.name)?,
                    Format::Json => {
                        let line = json!({
                            "name": topic.name.as_str(),
                            "id": topic.id.to_base64(),
                            "partitions": topic.partitions.len(),
                            "replication_factor": replicas,
                            "internal": topic.is_internal,
                        });
                        writeln!(out, "{line}")?;
                    }
                }
            }
            Ok(())
        })
    }
}

impl Describe {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut names: Vec<Str> = self.names.iter().map(|name| name.as_str().into()).collect();
        if names.is_empty() {
            client.refresh_all().await?;
            names = client.metadata(|known| known.topics.keys().cloned().collect());
            names.sort();
        }
        for name in &names {
            let topic = client.topic(name).await?;
            let mut configs = client.topic_configs(name).await?;
            configs.retain(|entry| self.all_configs || entry.source == ConfigSource::Topic);
            let offsets = Offsets::look_up(client, &topic).await?;
            output::stdout(|out| match self.format {
                Format::Text => write_topic(out, &topic, &configs, &offsets),
                Format::Json => {
                    writeln!(out, "{}", topic_to_json(&topic, &configs, &offsets))
                }
            })?;
        }
        Ok(())
    }
}

/// Where the partitions that have a leader begin and end.
struct Offsets {
    start: HashMap<TopicPartition, Option<Offset>>,
    end: HashMap<TopicPartition, Option<Offset>>,
}

impl Offsets {
    async fn look_up(
        client: &Client,
        topic: &crate::client::Topic,
    ) -> Result<Offsets, ClientError> {
        let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        let led: Vec<TopicPartition> = led.map(|found| place(topic, found.index)).collect();
        Ok(Offsets {
            start: client.list_offsets(&led, OffsetQuery::Earliest).await?,
            end: client.list_offsets(&led, OffsetQuery::Latest).await?,
        })
    }
}

fn place(topic: &crate::client::Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.name.clone(), partition }
}

fn write_topic(
    out: &mut impl Write,
    topic: &crate::client::Topic,
    configs: &[crate::client::ConfigEntry],
    offsets: &Offsets,
) -> std::io::Result<()> {
    writeln!(out, "topic       {}", topic.name)?;
    writeln!(out, "id          {}", topic.id)?;
    for entry in configs {
        let value = entry.value.as_deref().unwrap_or("(secret)");
        writeln!(out, "setting     {}={value}", entry.name)?;
    }
    let head = ["partition", "leader", "replicas", "in sync", "start", "end"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    for partition in &topic.partitions {
        let at = place(topic, partition.index);
        let offset = |found: &HashMap<TopicPartition, Option<Offset>>| {
            found.get(&at).copied().flatten().map_or("-".to_string(), |offset| offset.to_string())
        };
        rows.push(vec![
            partition.index.to_string(),
            partition.leader.map_or("none".to_string(), |leader| leader.to_string()),
            ids(&partition.replicas),
            ids(&partition.in_sync),
            offset(&offsets.start),
            offset(&offsets.end),
        ]);
    }
    output::write_table(out, &rows)
}

fn topic_to_json(
    topic: &crate::client::Topic,
    configs: &[crate::client::ConfigEntry],
    offsets: &Offsets,
) -> serde_json::Value {
    let partitions = topic.partitions.iter().map(|partition| {
        let at = place(topic, partition.index);
        let offset = |found: &HashMap<TopicPartition, Option<Offset>>| {
            found.get(&at).copied().flatten().map(|offset| offset.0)
        };
        json!({
            "partition": partition.index,
            "leader": partition.leader,
            "leader_epoch": partition.leader_epoch,
            "replicas": partition.replicas,
            "in_sync": partition.in_sync,
            "offline": partition.offline,
            "start_offset": offset(&offsets.start),
            "end_offset": offset(&offsets.end),
        })
    });
    let configs = configs.iter().map(|entry| (entry.name.clone(), json!(entry.value)));
    json!({
        "name": topic.name.as_str(),
        "id": topic.id.to_base64(),
        "internal": topic.is_internal,
        "configs": configs.collect::<serde_json::Map<_, _>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

impl Alter {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let set = self.set.into_iter().map(|(key, value)| (key, Some(value)));
        let changes: Vec<_> = set.chain(self.unset.into_iter().map(|key| (key, None))).collect();
        if changes.is_empty() && self.partitions.is_none() {
            let sentence = "nothing to alter: give --partitions, --set or --unset";
            return Err(Failure::usage(sentence));
        }
        if !changes.is_empty() {
            client.alter_topic_configs(&self.name, &changes).await?;
        }
        if let Some(count) = self.partitions {
            client.create_partitions(&self.name, count).await?;
        }
        Ok(())
    }
}

impl Trim {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let Before(before) = self.before;
        let start = client.delete_records(&self.name, self.partition, before).await?;
        output::note(&format!("{}-{} now starts at {start}", self.name, self.partition));
        Ok(())
    }
}

impl Delete {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        for name in &self.names {
            match client.delete_topic(name).await {
                Err(error)
                    if self.if_exists && has_code(&error, ErrorCode::UnknownTopicOrPartition) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// Of the error itself, or of what it gave up on.
fn has_code(error: &ClientError, code: ErrorCode) -> bool {
    match error {
        ClientError::Expired { cause: Some(cause), .. } => has_code(cause, code),
        error => error.code() == Some(code),
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".to_string()),
    }
}

fn parse_before(text: &str) -> Result<Before, String> {
    if text == "end" {
        return Ok(Before(None));
    }
    let offset = text.parse().ok().filter(|offset| *offset >= 0);
    offset
        .map(|offset| Before(Some(Offset(offset))))
        .ok_or("expected an offset, or end".to_string())
}
