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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How often a consumer looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a fetch may wait for records.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// A stretch of work after which others get their turn.
const TURN_RECORDS: u64 = 20_000;

/// How long the question where the log ends may take before more is read.
const ENDS_WAIT: Duration = Duration::from_secs(1);

/// What producers and consumers of all threads tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    pub producers_ended: AtomicUsize,
    /// Those that have read all that there was when the last producer had ended, and those that failed.
    pub consumers_ended: AtomicUsize,
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

/// How far a partition has been read.
#[derive(Clone, Copy)]
struct Place {
    next: Offset,
    /// Records written and not read yet, as last seen.
    lag: u64,
}

pub struct Consumer {
    given: Assignment,
    window: Window,
    fetcher: Fetcher,
    topics: HashMap<Str, u32>,
    places: HashMap<TopicPartition, Place>,
    /// Records written and not read yet, as last seen, of all partitions.
    lag: u64,
    /// Where each partition ended when all producers had; before that, nothing.
    ends: Option<HashMap<TopicPartition, Option<Offset>>>,
    /// Where those begin and end that are read over and over.
    again: HashMap<TopicPartition, (Offset, Offset)>,
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
            Start::Beginning | Start::Again => OffsetQuery::Earliest,
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
        let (mut places, mut again) = (HashMap::new(), HashMap::new());
        for partition in mine {
            let end = ends.get(&partition).copied().flatten().unwrap_or_default();
            // After the last record there is none of that time: at the end then.
            let start = from.get(&partition).copied().flatten().unwrap_or(end);
            if work.start == Start::Again {
                if start == end {
                    // It would only be waited for.
                    continue;
                }
                again.insert(partition.clone(), (start, end));
            }
            let lag = (end - start).max(0) as u64;
            places.insert(partition.clone(), Place { next: start, lag });
            fetcher.assign(partition, start);
        }
        if work.start == Start::Again && again.is_empty() {
            let why = "start = again: there is nothing to read for a consumer".to_string();
            return Err(ClientError::Invalid(why));
        }
        let (seen, window) = (Seen::default(), Window::default());
        let lag = places.values().map(|place| place.lag).sum();
        let ends = None;
        Ok(Consumer { given, window, fetcher, topics, places, lag, ends, again, seen, turn: 0 })
    }

    /// Reads until all that producers of this run wrote has been read, or the run is stopped.
    pub async fn run(mut self, window: Window) -> Outcome {
        self.window = window;
        let mut failed = None;
        let progress = self.given.progress.clone();
        if self.given.work.consume_after {
            self.wait_for_producers().await;
        }
        while !progress.stop.load(Ordering::Relaxed) && !self.fetcher.is_idle() {
            if self.has_read_all().await {
                break;
            }
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
        progress.consumers_ended.fetch_add(1, Ordering::SeqCst);
        Outcome { group: self.given.group, seen: self.seen, failed }
    }

    /// Until all producers of the run have ended, or it is stopped.
    async fn wait_for_producers(&self) {
        let Assignment { work, progress, .. } = &self.given;
        while progress.producers_ended.load(Ordering::SeqCst) < work.producers
            && !progress.stop.load(Ordering::Relaxed)
        {
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the producers of the run have ended, and all that they wrote was read. What they wrote and do not know
    /// to be written may be there too, so records are not counted.
    async fn has_read_all(&mut self) -> bool {
        let Assignment { work, progress, client, .. } = &self.given;
        let all_written = progress.producers_ended.load(Ordering::SeqCst) == work.producers;
        if !work.stamps() || !all_written {
            return false;
        }
        if self.ends.is_none() {
            let places: Vec<TopicPartition> = self.places.keys().cloned().collect();
            let asked =
                runtime::timeout(ENDS_WAIT, client.list_offsets(&places, OffsetQuery::Latest));
            // Without an answer it is asked again, until the run is stopped.
            self.ends = asked.await.and_then(Result::ok);
        }
        let Some(ends) = &self.ends else { return false };
        self.places.iter().all(|(partition, place)| {
            ends.get(partition).copied().flatten().is_none_or(|end| place.next >= end)
        })
    }

    fn take(&mut self, fetched: &Fetched) -> Result<(), String> {
        let now = runtime::now().0;
        let topic = self.topics.get(&fetched.partition.topic).copied().unwrap_or(u32::MAX);
        let partition = fetched.partition.partition;
        let window = self.window;
        let counts = window.counts(now);
        // Whoever comes afterwards says nothing of how soon a record arrives.
        let measures = !self.given.work.consume_after;
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
                if measures && window.counts(stamp.planned) {
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
        self.note_lag(fetched);
        self.rewind(fetched);
        Ok(())
    }

    /// Begins again with a partition of which all that was there at the start has been read.
    fn rewind(&mut self, fetched: &Fetched) {
        let Some((start, end)) = self.again.get(&fetched.partition) else { return };
        if fetched.batches.last().is_some_and(|(last, _)| last.next_offset() >= *end) {
            self.fetcher.assign(fetched.partition.clone(), *start);
        }
    }

    fn note_lag(&mut self, fetched: &Fetched) {
        let Some((last, _)) = fetched.batches.last() else { return };
        let next = last.next_offset();
        let lag = (fetched.high_watermark - next).max(0) as u64;
        if let Some(known) = self.places.get_mut(&fetched.partition) {
            self.lag = self.lag - known.lag + lag;
            *known = Place { next, lag };
        }
        self.given.lag.set(self.lag);
    }
}
