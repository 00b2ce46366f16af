//! What a run is to do: flags over a scenario file over defaults, checked before anything starts. Plain data.
//!
//! A scenario is a TOML file whose keys are the flags' names with underscores.

mod values;

pub use values::{AcksText, Arrivals, Compression, Keys, Length, Rate, Sizes, Start, address};

use corelog::client::{Acks, Address};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest numbers that make sense, so that a typing error does not fill the host.
const THREADS_MAX: usize = 1024;
const PARTITIONS_MAX: i32 = 100_000;
const PRODUCERS_MAX: usize = 100_000;

/// How long an idle thread polls unless it is said: a late wake-up would be measured as the broker's.
const SPIN: Length = Length(Duration::from_micros(200));

/// What flags and scenarios may say; what is not said is a default of `Work`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Brokers to find the cluster through [default: 127.0.0.1:9092]
    #[arg(short, long, value_name = "HOST:PORT", value_delimiter = ',', help_heading = "Cluster")]
    pub bootstrap: Option<Vec<String>>,
    /// Topic to use; with --topics N: NAME-0 to NAME-(N-1) [default: corelog-perf]
    #[arg(short, long, help_heading = "Cluster")]
    pub topic: Option<String>,
    /// Number of topics [default: 1]
    #[arg(long, help_heading = "Cluster")]
    pub topics: Option<usize>,
    /// Partitions of each topic [default: 1]
    #[arg(short, long, help_heading = "Cluster")]
    pub partitions: Option<i32>,
    /// Copies of each partition [default: 1]
    #[arg(long, help_heading = "Cluster")]
    pub replication: Option<i16>,
    /// Setting of the topics that are made, such as corelog.durability=write; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Cluster")]
    pub topic_config: Option<Vec<String>>,
    /// Use topics that exist, and leave them; else they are made before and deleted after
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Cluster")]
    pub existing: Option<bool>,
    /// Leave the topics that were made
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Cluster")]
    pub keep: Option<bool>,

    /// Producers; 0 only consumes [default: 1]
    #[arg(long, help_heading = "Produce")]
    pub producers: Option<usize>,
    /// Records per second, all producers together; "max" sends as fast as is acknowledged (closed loop)
    /// [default: max]
    #[arg(short, long, help_heading = "Produce")]
    pub rate: Option<Rate>,
    /// Records per second of each producer, instead of --rate
    #[arg(long, help_heading = "Produce")]
    pub rate_per_producer: Option<f64>,
    /// Planned times: evenly spaced, or as independent users come [default: constant]
    #[arg(long, value_enum, help_heading = "Produce")]
    pub arrivals: Option<Arrivals>,
    /// Bytes of a record's value: 1024, or a range such as 100-2000 [default: 1024]
    #[arg(short = 's', long, help_heading = "Produce")]
    pub record_bytes: Option<Sizes>,
    /// Take values from the lines of this file, again and again
    #[arg(long, value_name = "FILE", help_heading = "Produce")]
    pub records_file: Option<PathBuf>,
    /// Keys: none, uniform:COUNT or zipf:COUNT:EXPONENT [default: none]
    #[arg(long, help_heading = "Produce")]
    pub keys: Option<Keys>,
    /// Bytes of a batch: a full one is sent at once [default: 65536]
    #[arg(long, help_heading = "Produce")]
    pub batch_bytes: Option<usize>,
    /// How long a batch waits to be filled, such as 5ms [default: 5ms]
    #[arg(long, help_heading = "Produce")]
    pub linger: Option<Length>,
    /// none, gzip, snappy, lz4 or zstd [default: none]
    #[arg(long, help_heading = "Produce")]
    pub compression: Option<Compression>,
    /// 0, 1 or all [default: all]
    #[arg(long, help_heading = "Produce")]
    pub acks: Option<AcksText>,
    /// Number batches so that a retry is stored once (KIP-98); needs --acks all
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Produce")]
    pub idempotent: Option<bool>,
    /// Requests in flight on a connection [default: 5]
    #[arg(long, help_heading = "Produce")]
    pub in_flight: Option<usize>,
    /// Bytes of one request, save that a batch always fits [default: 1048576]
    #[arg(long, help_heading = "Produce")]
    pub request_bytes: Option<usize>,

    /// Consumers of each group; partitions are dealt out among them [default: 0]
    #[arg(short, long, help_heading = "Consume")]
    pub consumers: Option<usize>,
    /// Groups: each reads everything [default: 1]
    #[arg(long, help_heading = "Consume")]
    pub groups: Option<usize>,
    /// Where consumers begin: end, beginning, behind:10m (catching up), or again: at the beginning, and there
    /// again whenever what was there at the start has been read [default: end]
    #[arg(long, help_heading = "Consume")]
    pub start: Option<Start>,
    /// Consumers begin when all producers have ended: with --verify, all that was written is checked without a
    /// reader beside the measured load
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Consume")]
    pub consume_after: Option<bool>,
    /// Bytes of one fetch's answer [default: 4194304]
    #[arg(long, help_heading = "Consume")]
    pub fetch_bytes: Option<i32>,
    /// Bytes of one partition in a fetch's answer [default: 1048576]
    #[arg(long, help_heading = "Consume")]
    pub fetch_partition_bytes: Option<i32>,
    /// Check sequence and checksum of every record; a fault makes the run invalid
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Consume")]
    pub verify: Option<bool>,

    /// Measured time [default: 30s]
    #[arg(short, long, help_heading = "Run")]
    pub duration: Option<Length>,
    /// Time before measuring begins, under the same load [default: 5s]
    #[arg(long, help_heading = "Run")]
    pub warm_up: Option<Length>,
    /// How long to wait for what is still owed at the end [default: 30s]
    #[arg(long, help_heading = "Run")]
    pub drain: Option<Length>,
    /// Threads, each with an io_uring of its own [default: 1, or the number of --cpus]
    #[arg(long, help_heading = "Run")]
    pub threads: Option<usize>,
    /// CPUs to pin the threads to, such as 1,2
    #[arg(long, value_delimiter = ',', help_heading = "Run")]
    pub cpus: Option<Vec<usize>>,
    /// How long an idle thread polls before it sleeps; 0 leaves its CPU to others [default: 200us]
    #[arg(long, help_heading = "Run")]
    pub spin: Option<Length>,
    /// Seed of everything drawn by chance [default: 1]
    #[arg(long, help_heading = "Run")]
    pub seed: Option<u64>,

    /// What the run is called in reports and comparisons [default: the broker's name]
    #[arg(short, long, help_heading = "Report")]
    pub label: Option<String>,
    /// Process of a broker on this host [default: whoever listens on the bootstrap port]
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub broker_pid: Option<u32>,
    /// CPUs that the broker uses, such as 0-1 [default: what its process may use]
    #[arg(long, value_name = "LIST", help_heading = "Report")]
    pub broker_cpus: Option<String>,
    /// Before the run, measure what the machine allows: a TCP sink in the broker's place, and its disk
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Report")]
    pub ceilings: Option<bool>,
    /// The broker's version, where it does not tell
    #[arg(long, value_name = "TEXT", help_heading = "Report")]
    pub broker_version: Option<String>,
    /// What an acknowledgement promises, where the broker does not tell
    #[arg(long, value_name = "TEXT", help_heading = "Report")]
    pub durability: Option<String>,
    /// Folder for the report's files [default: none are written]
    #[arg(short, long, value_name = "DIR", help_heading = "Report")]
    pub out: Option<PathBuf>,
    /// First part of the files' names [default: the label]
    #[arg(long, help_heading = "Report")]
    pub name: Option<String>,
    /// Keep in this file what was acknowledged so far, for `corelog-perf verify`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub ledger: Option<PathBuf>,
}

/// A checked run.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub bootstrap: Vec<Address>,
    pub topics: Vec<String>,
    pub partitions: i32,
    pub replication: i16,
    pub topic_configs: Vec<(String, String)>,
    pub existing: bool,
    pub keep: bool,
    pub producers: usize,
    /// Of all producers; none is as fast as possible.
    pub rate: Option<f64>,
    pub arrivals: Arrivals,
    pub sizes: Sizes,
    pub records_file: Option<PathBuf>,
    pub keys: Keys,
    pub batch_bytes: usize,
    pub linger: Length,
    pub compression: Compression,
    pub acks: Acks,
    pub idempotent: bool,
    pub in_flight: usize,
    pub request_bytes: usize,
    pub consumers: usize,
    pub groups: usize,
    pub start: Start,
    pub consume_after: bool,
    pub fetch_bytes: i32,
    pub fetch_partition_bytes: i32,
    pub verify: bool,
    pub duration: Length,
    pub warm_up: Length,
    pub drain: Length,
    pub threads: usize,
    pub cpus: Vec<usize>,
    pub spin: Length,
    pub seed: u64,
    pub ledger: Option<PathBuf>,
}

/// Bytes at the start of a value that say whose record it is: see `load::stamp`.
pub const STAMP_BYTES: usize = crate::load::STAMP_BYTES;

impl Settings {
    /// # Errors
    /// A file that cannot be read, or the key that is wrong in it, and where.
    pub fn read(path: &Path) -> Result<Settings, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the scenario {shown}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("scenario {shown}: {error}"))
    }

    /// These settings where they say something, else the others'.
    pub fn over(self, other: Settings) -> Settings {
        macro_rules! over {
            ($($field:ident)*) => {
                Settings { $($field: self.$field.or(other.$field)),* }
            };
        }
        over!(bootstrap topic topics partitions replication topic_config existing keep producers rate
            rate_per_producer arrivals record_bytes records_file keys batch_bytes linger compression
            acks idempotent in_flight request_bytes consumers groups start consume_after fetch_bytes
            fetch_partition_bytes verify duration warm_up drain threads cpus spin seed label
            broker_pid broker_cpus ceilings broker_version durability out name
            ledger)
    }

    /// # Errors
    /// The setting that is out of range, or contradicts another.
    pub fn check(&self) -> Result<Work, String> {
        let producers = self.producers.unwrap_or(1);
        let consumers = self.consumers.unwrap_or(0);
        let rate = match (self.rate, self.rate_per_producer) {
            (Some(_), Some(_)) => {
                return Err("rate and rate_per_producer exclude each other".to_string());
            }
            (_, Some(each)) => Some(each * producers as f64),
            (Some(Rate::PerSecond(rate)), None) => Some(rate),
            (Some(Rate::Max) | None, None) => None,
        };
        let bootstrap = self.bootstrap.clone().unwrap_or_else(|| vec!["127.0.0.1:9092".into()]);
        let bootstrap: Result<Vec<Address>, String> =
            bootstrap.iter().map(|text| address(text)).collect();
        let cpus = self.cpus.clone().unwrap_or_default();
        let acks = self.acks.map_or(Acks::All, |acks| acks.0);
        let work = Work {
            bootstrap: bootstrap?,
            topics: self.topic_names()?,
            partitions: self.partitions.unwrap_or(1),
            replication: self.replication.unwrap_or(1),
            topic_configs: self.topic_configs()?,
            existing: self.existing.unwrap_or(false),
            keep: self.keep.unwrap_or(false),
            producers,
            rate,
            arrivals: self.arrivals.unwrap_or_default(),
            sizes: self.record_bytes.unwrap_or_default(),
            records_file: self.records_file.clone(),
            keys: self.keys.unwrap_or_default(),
            batch_bytes: self.batch_bytes.unwrap_or(64 * 1024),
            linger: self.linger.unwrap_or(Length::from_millis(5)),
            compression: self.compression.unwrap_or_default(),
            acks,
            idempotent: self.idempotent.unwrap_or(false),
            in_flight: self.in_flight.unwrap_or(5),
            request_bytes: self.request_bytes.unwrap_or(1 << 20),
            consumers,
            groups: self.groups.unwrap_or(usize::from(consumers > 0)),
            start: self.start.unwrap_or_default(),
            consume_after: self.consume_after.unwrap_or(false),
            fetch_bytes: self.fetch_bytes.unwrap_or(4 << 20),
            fetch_partition_bytes: self.fetch_partition_bytes.unwrap_or(1 << 20),
            verify: self.verify.unwrap_or(false),
            duration: self.duration.unwrap_or(Length::from_secs(30)),
            warm_up: self.warm_up.unwrap_or(Length::from_secs(5)),
            drain: self.drain.unwrap_or(Length::from_secs(30)),
            threads: self.threads.unwrap_or(cpus.len().max(1)),
            cpus,
            spin: self.spin.unwrap_or(SPIN),
            seed: self.seed.unwrap_or(1),
            ledger: self.ledger.clone(),
        };
        work.check()?;
        Ok(work)
    }

    fn topic_names(&self) -> Result<Vec<String>, String> {
        let name = self.topic.clone().unwrap_or_else(|| "corelog-perf".to_string());
        match self.topics {
            None => Ok(vec![name]),
            Some(count @ 1..=100_000) => Ok((0..count).map(|n| format!("{name}-{n}")).collect()),
            Some(count) => Err(format!("topics = {count}: 1 to 100000 are possible")),
        }
    }

    fn topic_configs(&self) -> Result<Vec<(String, String)>, String> {
        let pair = |text: &String| {
            let (key, value) = text.split_once('=')?;
            Some((key.trim().to_string(), value.trim().to_string()))
        };
        let wrong = |text: &String| format!("topic_config = {text:?}: expected KEY=VALUE");
        let given = self.topic_config.iter().flatten();
        given.map(|text| pair(text).ok_or_else(|| wrong(text))).collect()
    }
}

impl Work {
    fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: u64, from: u64, to: u64| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} = {value}: {from} to {to} is possible"))
        };
        range("partitions", self.partitions.max(0) as u64, 1, PARTITIONS_MAX as u64)?;
        range("replication", self.replication.max(0) as u64, 1, 100)?;
        range("producers", self.producers as u64, 0, PRODUCERS_MAX as u64)?;
        range("threads", self.threads as u64, 1, THREADS_MAX as u64)?;
        range("batch_bytes", self.batch_bytes as u64, 128, 64 << 20)?;
        range("in_flight", self.in_flight as u64, 1, 256)?;
        range("request_bytes", self.request_bytes as u64, 128, 90 << 20)?;
        range("groups", self.groups as u64, 0, 10_000)?;
        range("consumers", self.consumers as u64, 0, 100_000)?;
        range("fetch_bytes", self.fetch_bytes.max(0) as u64, 1, 90 << 20)?;
        range("fetch_partition_bytes", self.fetch_partition_bytes.max(0) as u64, 1, 90 << 20)?;
        range("duration", self.duration.as_millis() as u64, 100, 7 * 24 * 3600 * 1000)?;
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate <= 1e9)
        {
            return Err(format!("rate = {rate}: more than 0 and at most 1e9 records per second"));
        }
        if self.producers == 0 && self.consumers == 0 {
            return Err("nothing to do: producers and consumers are both 0".to_string());
        }
        if (self.consumers == 0) != (self.groups == 0) {
            return Err("consumers and groups: both or none".to_string());
        }
        if self.idempotent && self.acks != Acks::All {
            return Err("idempotent = true needs acks = all".to_string());
        }
        if self.verify && self.consumers == 0 {
            return Err("verify = true needs consumers".to_string());
        }
        if self.consume_after && !self.stamps() {
            return Err("consume_after = true needs producers and consumers".to_string());
        }
        if self.start == Start::Again && self.producers > 0 {
            return Err("start = again reads what is there: it needs producers = 0".to_string());
        }
        if self.ledger.is_some() && !(self.verify && self.producers > 0) {
            return Err("ledger = FILE needs verify = true, and producers".to_string());
        }
        if self.records_file.is_none() && self.stamps() && self.sizes.least() < STAMP_BYTES {
            return Err(format!(
                "record_bytes = {}: with consumers a value needs {STAMP_BYTES} bytes, for its time and number",
                self.sizes
            ));
        }
        if !self.cpus.is_empty() && self.cpus.len() != self.threads {
            return Err(format!("threads = {}, but {} cpus", self.threads, self.cpus.len()));
        }
        Ok(())
    }

    /// Whether records carry their planned time and their number.
    pub fn stamps(&self) -> bool {
        self.producers > 0 && self.consumers > 0
    }

    /// What decides whether two runs did the same work, setting by setting.
    pub fn described(&self) -> BTreeMap<String, String> {
        let rate = self.rate.map_or("max".to_string(), |rate| rate.to_string());
        let file =
            self.records_file.as_ref().map_or(String::new(), |file| file.display().to_string());
        let acks = AcksText(self.acks).to_string();
        let all: [(&str, String); 25] = [
            ("topics", self.topics.len().to_string()),
            ("partitions", self.partitions.to_string()),
            ("replication", self.replication.to_string()),
            ("producers", self.producers.to_string()),
            ("rate", rate),
            ("arrivals", self.arrivals.to_string()),
            ("record_bytes", self.sizes.to_string()),
            ("records_file", file),
            ("keys", self.keys.to_string()),
            ("batch_bytes", self.batch_bytes.to_string()),
            ("linger", self.linger.to_string()),
            ("compression", self.compression.to_string()),
            ("acks", acks),
            ("idempotent", self.idempotent.to_string()),
            ("in_flight", self.in_flight.to_string()),
            ("request_bytes", self.request_bytes.to_string()),
            ("consumers", self.consumers.to_string()),
            ("groups", self.groups.to_string()),
            ("start", self.start.to_string()),
            ("fetch_bytes", self.fetch_bytes.to_string()),
            ("fetch_partition_bytes", self.fetch_partition_bytes.to_string()),
            ("verify", self.verify.to_string()),
            ("duration", self.duration.to_string()),
            ("warm_up", self.warm_up.to_string()),
            ("threads", self.threads.to_string()),
        ];
        // Said only where they differ from what all runs did before there were such settings.
        let consume_after = self.consume_after.then(|| ("consume_after", "true".to_string()));
        let spin = (self.spin != SPIN).then(|| ("spin", self.spin.to_string()));
        let all = all.into_iter().chain(consume_after).chain(spin);
        all.map(|(name, value)| (name.to_string(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(settings: &Settings, refused: Option<&str>) {
        match (settings.check(), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(refused)) => assert!(error.contains(refused), "{error}"),
            (checked, _) => panic!("{checked:?}"),
        }
    }

    #[test]
    fn who_reads_again_or_afterwards_is_told_what_that_needs() {
        let again = Settings {
            start: Some(Start::Again),
            producers: Some(0),
            consumers: Some(1),
            ..Settings::default()
        };
        check(&again, None);
        check(&Settings { producers: Some(1), ..again.clone() }, Some("producers = 0"));
        let after =
            Settings { consume_after: Some(true), consumers: Some(1), ..Settings::default() };
        check(&after, None);
        check(&Settings { consumers: None, ..after.clone() }, Some("producers and consumers"));
        check(&Settings { producers: Some(0), ..after }, Some("producers and consumers"));
    }

    #[test]
    fn only_settings_that_change_the_work_are_added_to_what_was_always_said() {
        let said = |settings: Settings| settings.check().unwrap().described();
        let usual = said(Settings::default());
        let spin = said(Settings { spin: Some(Length(Duration::ZERO)), ..Settings::default() });
        assert_eq!(usual.len(), 25);
        assert_eq!(spin.len(), 26);
        assert_eq!(spin["spin"], "0");
    }
}
