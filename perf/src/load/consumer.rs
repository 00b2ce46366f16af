//! One consumer of a group: reads its share of the partitions and measures from a record's plan to its arrival.
//! Lives on one thread.

use super::ledger::{Seen, Stream};
use super::meters::Meters;
use super::stamp::Stamp;
use super::walk;
use super::window::Window;
use crate::settings::{Start, Work};
use corelog::client::{
    Client, ClientError, Fetched, Fetcher, FetcherOptions, OffsetQuery, OutOfRange, TopicPartition,
};
use corelog::runtime;
use corelog::types::{Offset, Timestamp};
use corelog::wire::Str;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often a consumer looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a fetch may wait for records.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// A stretch of work after which others get their turn.
const TURN_RECORDS: u64 = 20_000;

/// What producers and consumers of all threads tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records acknowledged by producers that have ended.
    pub acknowledged: AtomicU64,
    pub producers_ended: AtomicU64,
    /// By group: records of this run that were read.
    pub read: Vec<AtomicU64>,
    pub stop: AtomicBool,
}

/// What a consumer is given.
pub struct Assignment {
    pub group: usize,
    /// Its number in the group, and how many there are.
    pub member: usize,
    pub members: usize,
    pub run: u32,
    pub client: Client,
    pub work: Rc<Work>,
    pub meters: Rc<RefCell<Meters>>,
    pub progress: Arc<Progress>,
    /// Records written and not read yet, for whoever looks.
    pub lag: Rc<Cell<u64>>,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub group: usize,
    pub seen: Seen,
    /// Why it ended before its time.
    pub failed: Option<String>,
}

pub struct Consumer {
    given: Assignment,
    window: Window,
    fetcher: Fetcher,
    topics: HashMap<Str, u32>,
    /// Records written and not read yet, by partition as last seen, and their sum.
    lags: HashMap<TopicPartition, u64>,
    lag: u64,
    seen: Seen,
    /// Records since others had their turn.
    turn: u64,
}

impl Consumer {
    /// Learns where its partitions begin.
    ///
    /// # Errors
    /// Why it cannot start.
    pub async fn prepare(given: Assignment) -> Result<Consumer, ClientError> {
        let work = given.work.clone();
        let mut partitions = Vec::new();
        let mut topics = HashMap::new();
        for (number, name) in (0..).zip(&work.topics) {
            let name: Str = name.as_str().into();
            let topic = given.client.topic(&name).await?;
            topics.insert(name.clone(), number);
            partitions.extend(topic.partitions.iter().map(|partition| TopicPartition {
                topic: name.clone(),
                partition: partition.index,
            }));
        }
        let mine = partitions.into_iter().skip(given.member).step_by(given.members);
        let mine: Vec<TopicPartition> = mine.collect();
        let query = match work.start {
            Start::End => OffsetQuery::Latest,
            Start::Beginning => OffsetQuery::Earliest,
            Start::Behind(length) => {
                let age = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                OffsetQuery::At(Timestamp(runtime::wall_clock().0.saturating_sub(age)))
            }
        };
        let from = given.client.list_offsets(&mine, query).await?;
        let ends = given.client.list_offsets(&mine, OffsetQuery::Latest).await?;
        let options = FetcherOptions {
            wait: FETCH_WAIT,
            bytes_max: work.fetch_bytes,
            partition_bytes_max: work.fetch_partition_bytes,
            out_of_range: OutOfRange::Fail,
            ..FetcherOptions::default()
        };
        let mut fetcher = Fetcher::new(given.client.clone(), options);
        let mut lags = HashMap::new();
        for partition in mine {
            let end = ends.get(&partition).copied().flatten().unwrap_or_default();
            // After the last record there is none of that time: at the end then.
            let start = from.get(&partition).copied().flatten().unwrap_or(end);
            lags.insert(partition.clone(), (end - start).max(0) as u64);
            fetcher.assign(partition, start);
        }
        let seen = Seen::default();
        let lag = lags.values().sum();
        let window = Window::default();
        Ok(Consumer { given, window, fetcher, topics, lags, lag, seen, turn: 0 })
    }

    /// Reads until all that was acknowledged has been read, or the run is stopped.
    pub async fn run(mut self, window: Window) -> Outcome {
        self.window = window;
        let mut failed = None;
        while !self.given.progress.stop.load(Ordering::Relaxed) && !self.fetcher.is_idle() {
            let next = runtime::timeout(LOOK_EVERY, self.fetcher.next()).await;
            let Some(next) = next else { continue };
            let taken = match next {
                Ok(fetched) => self.take(&fetched),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = taken {
                let mut meters = self.given.meters.borrow_mut();
                meters.consumed.errors += 1;
                meters.first_error.get_or_insert_with(|| why.clone());
                failed = Some(why);
                break;
            }
            if self.turn >= TURN_RECORDS {
                self.turn = 0;
                runtime::yield_now().await;
            }
        }
        Outcome { group: self.given.group, seen: self.seen, failed }
    }

    fn take(&mut self, fetched: &Fetched) -> Result<(), String> {
        let now = runtime::now().0;
        let topic = self.topics.get(&fetched.partition.topic).copied().unwrap_or(u32::MAX);
        let partition = fetched.partition.partition;
        let window = self.window;
        let counts = window.counts(now);
        let mut own = 0;
        for (header, batch) in &fetched.batches {
            let mut payload = 0;
            let mut records = 0;
            let mut meters = self.given.meters.borrow_mut();
            let (seen, verify) = (&mut self.seen, self.given.work.verify);
            let run = self.given.run;
            walk::values(header, batch, |offset, key_bytes, value| {
                if offset < fetched.from.0 {
                    return;
                }
                payload += (key_bytes + value.len()) as u64;
                records += 1;
                let Some(stamp) = Stamp::read(value).filter(|stamp| stamp.run == run) else {
                    if verify {
                        seen.note_foreign();
                    }
                    return;
                };
                own += 1;
                if window.counts(stamp.planned) {
                    meters.end_to_end.record(now.saturating_sub(stamp.planned));
                }
                if verify {
                    let stream = Stream { producer: stamp.producer, topic, partition };
                    seen.note(stream, stamp.sequence, stamp.is_whole(value));
                }
            })
            .map_err(|why| format!("{} at {}: {why}", fetched.partition, header.base_offset))?;
            self.turn += records;
            if counts {
                let flow = &mut meters.consumed;
                flow.records += records;
                flow.payload_bytes += payload;
                flow.batch_bytes += batch.len() as u64;
                flow.batches += 1;
            }
        }
        self.given.meters.borrow_mut().consumed.requests += u64::from(counts);
        self.given.progress.read[self.given.group].fetch_add(own, Ordering::Relaxed);
        self.note_lag(fetched);
        Ok(())
    }

    fn note_lag(&mut self, fetched: &Fetched) {
        let next = fetched.batches.last().map_or(Offset::ZERO, |(header, _)| header.next_offset());
        let lag = (fetched.high_watermark - next).max(0) as u64;
        if let Some(known) = self.lags.get_mut(&fetched.partition) {
            self.lag = self.lag - *known + lag;
            *known = lag;
        }
        self.given.lag.set(self.lag);
    }
}
