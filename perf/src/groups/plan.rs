//! What a run of groups is to do: flags, checked before anything starts. Plain data.

use crate::settings::{self, Length};
use corelog::client::Address;
use std::path::PathBuf;
use std::time::Duration;

/// Largest numbers that make sense, so that a typing error does not fill the host.
const MEMBERS_MAX: usize = 100_000;
const PARTITIONS_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// JoinGroup and SyncGroup: the members' leader assigns
    Classic,
    /// KIP-848: the broker assigns
    Consumer,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        }
    }
}

/// What the command line may say.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Brokers to find the cluster through
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    bootstrap: Vec<String>,
    /// Number of groups; 0 only looks at the broker
    #[arg(short, long, default_value_t = 1000)]
    groups: usize,
    /// Members of each group, each with a connection of its own
    #[arg(short, long, default_value_t = 3)]
    members: usize,
    /// How members agree who reads what
    #[arg(long, value_enum, default_value = "classic")]
    protocol: Protocol,
    /// Topics, dealt out among the groups, one for each [default: as many as groups]
    #[arg(long)]
    topics: Option<usize>,
    /// Partitions of each topic
    #[arg(short, long, default_value_t = 10)]
    partitions: usize,
    /// Topics are NAME-0, NAME-1 and so on; groups are NAME-classic-0 or NAME-consumer-0
    #[arg(short, long, value_name = "NAME", default_value = "corelog-groups")]
    topic: String,
    /// Use topics that exist, and leave them; else they are made before and deleted after
    #[arg(long)]
    existing: bool,
    /// Leave the topics that were made
    #[arg(long)]
    keep: bool,
    /// Between heartbeats of the classic protocol; in the other one the broker says
    #[arg(long, default_value = "3s")]
    heartbeat: Length,
    /// Session timeout of the classic protocol; in the other one the broker's
    #[arg(long, default_value = "45s")]
    session_timeout: Length,
    /// Between commits of all partitions that a member has; 0: none
    #[arg(long, default_value = "5s")]
    commit: Length,
    /// Over which time members connect, and then join
    #[arg(long, default_value = "5s")]
    ramp: Length,
    /// How long the broker is looked at alone, and with connections alone
    #[arg(long, default_value = "2s")]
    look: Length,
    /// Measured time
    #[arg(short, long, default_value = "30s")]
    duration: Length,
    /// So often all groups rebalance, the first time after half of it
    #[arg(long, value_name = "EVERY")]
    storm: Option<Length>,
    /// Members of each group that go and come again in a storm
    #[arg(long, default_value_t = 1)]
    storm_members: usize,
    /// Over which time groups are hit by a storm, one by one
    #[arg(long, value_name = "LENGTH", default_value = "1s")]
    storm_over: Length,
    /// In a storm members vanish without leaving their group: it waits for the session timeout
    #[arg(long)]
    crash: bool,
    /// How long groups may take to be stable, at the start and at the end
    #[arg(long, default_value = "60s")]
    drain: Length,
    /// CPU to pin the driver's thread to
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Process of a broker on this host [default: whoever listens on the bootstrap port]
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// What the run is called in its report
    #[arg(short, long, default_value = "groups")]
    pub label: String,
    /// Write NAME.json into this directory
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// NAME of the file [default: the label]
    #[arg(long)]
    pub name: Option<String>,
}

/// The flags, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    pub bootstrap: Vec<Address>,
    pub groups: usize,
    pub members: usize,
    pub protocol: Protocol,
    pub topics: usize,
    pub partitions: usize,
    pub name: String,
    pub existing: bool,
    pub keep: bool,
    pub heartbeat: Duration,
    pub session_timeout: Duration,
    pub commit: Option<Duration>,
    pub ramp: Duration,
    pub look: Duration,
    pub duration: Duration,
    pub storm: Option<Storm>,
    pub drain: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    pub every: Duration,
    pub members: usize,
    pub crash: bool,
    /// From the first group hit to the last: all in one moment would be a queue in the driver.
    pub over: Duration,
}

impl Flags {
    /// # Errors
    /// What cannot be done.
    pub fn check(&self) -> Result<Plan, String> {
        let bootstrap: Result<Vec<Address>, String> =
            self.bootstrap.iter().map(|text| settings::address(text)).collect();
        let topics = self.topics.unwrap_or(self.groups.max(1));
        let ranges = [
            ("members", self.members, 1, 1000),
            ("groups times members", self.groups.saturating_mul(self.members), 0, MEMBERS_MAX),
            ("topics", topics, 1, PARTITIONS_MAX),
            ("partitions", self.partitions, 1, PARTITIONS_MAX),
            ("topics times partitions", topics.saturating_mul(self.partitions), 1, PARTITIONS_MAX),
            ("storm_members", self.storm_members, 1, self.members.max(1)),
        ];
        for (what, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{what} = {value}: from {least} to {most}"));
            }
        }
        if self.heartbeat.0.is_zero() || self.storm.is_some_and(|every| every.0.is_zero()) {
            return Err("heartbeat and storm are lengths of time above 0".to_string());
        }
        let storm = |every: Length| Storm {
            every: every.0,
            members: self.storm_members,
            crash: self.crash,
            over: self.storm_over.0,
        };
        Ok(Plan {
            bootstrap: bootstrap?,
            groups: self.groups,
            members: self.members,
            protocol: self.protocol,
            topics,
            partitions: self.partitions,
            name: self.topic.clone(),
            existing: self.existing,
            keep: self.keep,
            heartbeat: self.heartbeat.0,
            session_timeout: self.session_timeout.0,
            commit: (!self.commit.0.is_zero()).then_some(self.commit.0),
            ramp: self.ramp.0,
            look: self.look.0,
            duration: self.duration.0,
            storm: self.storm.map(storm),
            drain: self.drain.0,
        })
    }
}

impl Plan {
    pub fn count(&self) -> usize {
        self.groups * self.members
    }

    pub fn group_name(&self, group: usize) -> String {
        format!("{}-{}-{group}", self.name, self.protocol.name())
    }

    pub fn topic_name(&self, topic: usize) -> String {
        format!("{}-{topic}", self.name)
    }

    /// Which topic a group reads.
    pub fn topic_of(&self, group: usize) -> usize {
        group % self.topics
    }

    /// When in a ramp a member has its turn: those of a group after one another, groups one by one.
    pub fn turn_of(&self, group: usize, member: usize) -> Duration {
        let place = group * self.members + member;
        self.ramp.mul_f64(place as f64 / self.count().max(1) as f64)
    }

    /// Storms in the measured time, from its start.
    pub fn storms(&self) -> Vec<Duration> {
        let Some(storm) = self.storm else { return Vec::new() };
        let at = |number: u32| storm.every / 2 + storm.every * number;
        (0..).map(at).take_while(|at| *at < self.duration).collect()
    }

    /// Who goes in a storm: each time the next ones, so that a group loses its leader too.
    pub fn restarting(&self, storm: usize) -> Vec<usize> {
        let count = self.storm.map_or(0, |storm| storm.members);
        (0..count).map(|number| (storm * count + number) % self.members).collect()
    }
}
