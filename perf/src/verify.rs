//! `corelog-perf verify`: a run's topics read from start to end and held against its ledger. Lives on the main
//! thread.

use crate::load::ledger::{self, Seen, Stream};
use crate::load::ledger_file::LedgerFile;
use crate::load::stamp::Stamp;
use crate::load::walk;
use crate::report::model::Verified;
use crate::settings;
use corelog::client::{
    Client, ClientError, ClientOptions, Fetched, Fetcher, FetcherOptions, OffsetQuery,
    TopicPartition,
};
use corelog::runtime;
use corelog::types::Offset;
use corelog::wire::Str;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The log is not what the ledger says.
const FAULTY: u8 = 3;

/// Read a run's topics from start to end and hold them against its ledger
///
/// Every record that was acknowledged when the ledger was written must be there, once, in order and whole; what came
/// later may be. Offsets must follow each other. The last line is JSON; exit code 3: a record is missing or wrong.
#[derive(clap::Args, Clone, Debug)]
pub struct Verify {
    /// What `run --ledger FILE` wrote
    ledger: PathBuf,
    /// Brokers to find the cluster through
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    bootstrap: Vec<String>,
}

/// # Errors
/// Why the topics could not be read to their end.
pub fn run(arguments: &Verify) -> Result<ExitCode, String> {
    let ledger = LedgerFile::read(&arguments.ledger)?;
    let bootstrap: Result<Vec<_>, String> =
        arguments.bootstrap.iter().map(|text| settings::address(text)).collect();
    let client_id = "corelog-perf".to_string();
    let options = ClientOptions { bootstrap: bootstrap?, client_id, ..ClientOptions::default() };
    let reading = async move { Reading::start(Client::new(options), ledger).await?.finish().await };
    let verified = runtime::run_local(reading)
        .map_err(|error| format!("cannot start io_uring: {error}"))??;
    let line = serde_json::to_string(&verified).expect("a verdict can be written as JSON");
    // Whoever reads may have gone; the exit code says it all.
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(if ledger::is_clean(&verified) { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
}

/// The topics of a ledger on the way from their start to their end.
struct Reading {
    ledger: LedgerFile,
    fetcher: Fetcher,
    topics: HashMap<Str, u32>,
    /// Where each partition that is still read goes on, and where it ended when this began.
    left: HashMap<TopicPartition, (Offset, Offset)>,
    seen: Seen,
}

impl Reading {
    async fn start(client: Client, ledger: LedgerFile) -> Result<Reading, String> {
        let told = |error: ClientError| error.to_string();
        let mut topics = HashMap::new();
        let mut partitions = Vec::new();
        for (number, name) in (0..).zip(&ledger.topics) {
            let name: Str = name.as_str().into();
            let topic = client.topic(&name).await.map_err(told)?;
            let places = topic.partitions.iter();
            partitions.extend(places.map(|partition| TopicPartition {
                topic: name.clone(),
                partition: partition.index,
            }));
            topics.insert(name, number);
        }
        let from = client.list_offsets(&partitions, OffsetQuery::Earliest).await.map_err(told)?;
        let ends = client.list_offsets(&partitions, OffsetQuery::Latest).await.map_err(told)?;
        let mut fetcher = Fetcher::new(client, FetcherOptions::default());
        let mut left = HashMap::new();
        for place in partitions {
            let at = |offsets: &HashMap<TopicPartition, Option<Offset>>| {
                offsets.get(&place).copied().flatten().unwrap_or_default()
            };
            let (from, end) = (at(&from), at(&ends));
            if from < end {
                fetcher.assign(place.clone(), from);
                left.insert(place, (from, end));
            }
        }
        Ok(Reading { ledger, fetcher, topics, left, seen: Seen::default() })
    }

    async fn finish(mut self) -> Result<Verified, String> {
        while !self.left.is_empty() {
            let fetched = self.fetcher.next().await.map_err(|error| error.to_string())?;
            self.take(&fetched)?;
        }
        Ok(self.seen.judge(&self.ledger.promised()))
    }

    fn take(&mut self, fetched: &Fetched) -> Result<(), String> {
        let place = &fetched.partition;
        let Some((next, end)) = self.left.get_mut(place) else { return Ok(()) };
        let (topic, partition, run) = (self.topics[&place.topic], place.partition, self.ledger.run);
        let seen = &mut self.seen;
        for (header, batch) in &fetched.batches {
            if header.base_offset != *next {
                return Err(format!("{place}: offset {} follows {next}", header.base_offset));
            }
            *next = header.next_offset();
            walk::values(header, batch, |_, _, value| {
                match Stamp::read(value).filter(|stamp| stamp.run == run) {
                    Some(stamp) => {
                        let stream = Stream { producer: stamp.producer, topic, partition };
                        seen.note(stream, stamp.sequence, stamp.is_whole(value));
                    }
                    None => seen.note_foreign(),
                }
            })
            .map_err(|why| format!("{place} at {}: {why}", header.base_offset))?;
        }
        if *next >= *end {
            self.left.remove(place);
            self.fetcher.unassign(&fetched.partition);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ledger::Promised;
    use crate::load::stamp::{STAMP_BYTES, rest_checksum};
    use bytes::Bytes;
    use corelog::types::Timestamp;
    use corelog::wire::batch::{BatchHeader, parse_produced};
    use corelog::wire::compression::Codec;
    use corelog::wire::records::{BatchBuilder, ProducerSequence};

    const RUN: u32 = 7;
    const STREAM: Stream = Stream { producer: 0, topic: 0, partition: 0 };

    /// A batch of one record at this offset, with this number.
    fn batch(run: u32, offset: i64, sequence: u64) -> (BatchHeader, Bytes) {
        let mut value = [5; STAMP_BYTES + 9];
        let stamp = Stamp { planned: 1, run, producer: 0, sequence };
        stamp.write(&mut value, Some(rest_checksum(&[5; 9])));
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(1), None, Some(&value), &[]);
        let batch = builder.build(ProducerSequence::NONE);
        let header = parse_produced(&batch).expect("it was just built");
        (BatchHeader { base_offset: Offset(offset), ..header }, batch)
    }

    /// Reads batches of one partition against a ledger that has acknowledged numbers below `acknowledged`: lost,
    /// duplicated and foreign records.
    fn check(
        batches: Vec<(BatchHeader, Bytes)>,
        acknowledged: u64,
        expect: Result<[u64; 3], &str>,
    ) {
        let mut owed = Promised::default();
        owed.number(acknowledged);
        owed.acknowledge(0);
        owed.number(1);
        let ledger = LedgerFile::new(RUN, vec!["t".into()], HashMap::from([(STREAM, owed)]));
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let high_watermark = Offset(batches.len() as i64);
        let client = Client::new(ClientOptions::default());
        let mut reading = Reading {
            fetcher: Fetcher::new(client, FetcherOptions::default()),
            topics: HashMap::from([("t".into(), 0)]),
            left: HashMap::from([(partition.clone(), (Offset(0), high_watermark))]),
            seen: Seen::default(),
            ledger,
        };
        let fetched = Fetched { partition, from: Offset(0), batches, high_watermark };
        match (reading.take(&fetched), expect) {
            (Ok(()), Ok(expect)) => {
                assert!(reading.left.is_empty(), "all was read");
                let verified = reading.seen.judge(&reading.ledger.promised());
                assert_eq!([verified.lost, verified.duplicated, verified.foreign], expect);
            }
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
            (taken, _) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn a_log_is_held_against_its_ledger_from_start_to_end() {
        let log =
            |sequences: &[u64]| (0..).zip(sequences).map(|(at, n)| batch(RUN, at, *n)).collect();
        check(log(&[0, 1, 2]), 3, Ok([0, 0, 0]));
        // What was not acknowledged yet may be there.
        check(log(&[0, 1, 2, 3]), 3, Ok([0, 0, 0]));
        check(log(&[0, 1]), 3, Ok([1, 0, 0]));
        check(log(&[0, 1, 1, 2]), 3, Ok([0, 1, 0]));
        check(vec![batch(RUN, 0, 0), batch(8, 1, 0)], 1, Ok([0, 0, 1]));
        check(vec![batch(RUN, 0, 0), batch(RUN, 2, 1)], 2, Err("offset 2 follows 1"));
    }
}
