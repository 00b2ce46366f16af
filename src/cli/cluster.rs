//! `corelog cluster`: the brokers, and what they hold.

use super::connect::Connect;
use super::output::{self, Failure, Format};
use crate::client::{Client, Metadata};
use clap::Subcommand;
use serde_json::json;
use std::io::{self, Write};

/// Look at the cluster as a whole.
#[derive(Debug, clap::Args)]
pub struct Cluster {
    #[command(flatten)]
    connect: Connect,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Describe(Describe),
}

/// Show the cluster's id, its controller, and its brokers.
#[derive(Debug, clap::Args)]
struct Describe {
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Cluster {
    pub fn run(self) -> Result<(), Failure> {
        let Action::Describe(describe) = self.action;
        self.connect.run(|_| {}, async |client| describe.run(&client).await)
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
