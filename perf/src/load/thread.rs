//! One thread of the generator: its share of the producers and consumers, and what they count, handed over
//! once a second. The first thread also conducts: it says when all begin, and when consumers have seen enough.

use super::consumer::{self, Consumer, Progress};
use super::draw::{Draw, Source};
use super::ledger::{Promised, Seen, Stream};
use super::meters::Meters;
use super::pace::Pace;
use super::producer::{self, Producer};
use super::window::Window;
use crate::settings::Work;
use corelog::client::{Client, ClientOptions};
use corelog::runtime::{self, Instant};
use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Between the moment when all are ready and the start.
const START_AFTER: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(5);
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How old the ledger that others look at may be.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// What all threads of a run share.
#[derive(Debug)]
pub struct Shared {
    pub work: Work,
    /// A number that this run alone has.
    pub run: u32,
    pub progress: Arc<Progress>,
    pub ready: AtomicUsize,
    pub window: OnceLock<Window>,
    /// What is promised so far, a moment ago; only kept when a ledger is to be written.
    pub promised: Mutex<HashMap<Stream, Promised>>,
}

/// What one thread counted in one stretch of the measured time; in the last one also what came later.
#[derive(Debug)]
pub struct Sample {
    pub interval: usize,
    pub meters: Meters,
}

/// What one thread knows at the end.
#[derive(Debug, Default)]
pub struct Outcome {
    pub promised: HashMap<Stream, Promised>,
    /// By group.
    pub seen: Vec<Seen>,
    /// Why it ended before its time.
    pub failed: Option<String>,
    pub backlog: u64,
    pub lag: u64,
}

impl Shared {
    pub fn new(work: Work, run: u32) -> Arc<Shared> {
        let (progress, promised) = (Arc::default(), Mutex::default());
        let (ready, window) = (AtomicUsize::new(0), OnceLock::new());
        Arc::new(Shared { work, run, progress, ready, window, promised })
    }

    pub fn intervals(&self) -> usize {
        let every = SAMPLE_EVERY.as_nanos() as u64;
        (self.work.duration.as_nanos().div_ceil(every) as usize).max(1)
    }
}

/// Ends the run of everybody when this thread ends early.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let progress = &self.0.progress;
        if self.0.window.get().is_none() {
            progress.stop.store(true, Ordering::Relaxed);
        }
    }
}

struct Thread {
    index: usize,
    shared: Arc<Shared>,
    work: Rc<Work>,
    meters: Rc<RefCell<Meters>>,
    backlogs: RefCell<Vec<Rc<Cell<u64>>>>,
    lags: RefCell<Vec<Rc<Cell<u64>>>>,
    promised: RefCell<Vec<(Stream, Rc<RefCell<Promised>>)>>,
    has_ended: Cell<bool>,
}

/// Does a thread's share of the work.
pub async fn run(index: usize, shared: Arc<Shared>, samples: Sender<Sample>) -> Outcome {
    let work = Rc::new(shared.work.clone());
    let stop_on_drop = StopOnDrop(shared.clone());
    let thread = Rc::new(Thread {
        index,
        shared,
        work,
        meters: Rc::default(),
        backlogs: RefCell::default(),
        lags: RefCell::default(),
        promised: RefCell::default(),
        has_ended: Cell::new(false),
    });
    let outcome = match thread.prepare().await {
        Ok((producers, consumers)) => thread.work(producers, consumers, samples).await,
        Err(failed) => Outcome { failed: Some(failed), ..Outcome::default() },
    };
    drop(stop_on_drop);
    outcome
}

type Prepared = (Vec<Producer>, Vec<Consumer>);

impl Thread {
    fn client(&self) -> Client {
        Client::new(ClientOptions {
            bootstrap: self.work.bootstrap.clone(),
            client_id: "corelog-perf".to_string(),
            ..ClientOptions::default()
        })
    }

    /// This thread's share of `count`.
    fn share(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        (self.index..count).step_by(self.work.threads)
    }

    async fn prepare(&self) -> Result<Prepared, String> {
        let source = Source::new(&self.work)?;
        let mut producers = Vec::new();
        for number in self.share(self.work.producers) {
            let seed = self.work.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
            let backlog = Rc::new(Cell::new(0));
            self.backlogs.borrow_mut().push(backlog.clone());
            let given = producer::Assignment {
                number: number as u32,
                run: self.shared.run,
                client: self.client(),
                work: self.work.clone(),
                draw: Draw::new(&self.work, source.clone(), seed),
                meters: self.meters.clone(),
                backlog,
            };
            let prepared = Producer::prepare(given).await;
            let producer = prepared.map_err(|error| error.to_string())?;
            self.promised.borrow_mut().extend(producer.promised());
            producers.push(producer);
        }
        let mut consumers = Vec::new();
        let members = self.work.consumers;
        for number in self.share(members * self.work.groups) {
            let lag = Rc::new(Cell::new(0));
            self.lags.borrow_mut().push(lag.clone());
            let given = consumer::Assignment {
                group: number / members,
                member: number % members,
                members,
                run: self.shared.run,
                client: self.client(),
                work: self.work.clone(),
                meters: self.meters.clone(),
                progress: self.shared.progress.clone(),
                lag,
            };
            let prepared = Consumer::prepare(given).await;
            consumers.push(prepared.map_err(|error| error.to_string())?);
        }
        Ok((producers, consumers))
    }

    async fn work(
        self: Rc<Self>,
        producers: Vec<Producer>,
        consumers: Vec<Consumer>,
        samples: Sender<Sample>,
    ) -> Outcome {
        self.shared.ready.fetch_add(1, Ordering::SeqCst);
        if self.index == 0 {
            drop(runtime::spawn(conduct(self.shared.clone())));
        }
        let window = loop {
            if let Some(window) = self.shared.window.get() {
                break *window;
            }
            if self.shared.progress.stop.load(Ordering::Relaxed) {
                return Outcome {
                    failed: Some("another thread failed".into()),
                    ..Outcome::default()
                };
            }
            runtime::sleep(LOOK_EVERY).await;
        };
        let sampler = runtime::spawn(self.clone().sample(window, samples.clone()));
        if self.work.ledger.is_some() {
            drop(runtime::spawn(self.clone().publish()));
        }
        let consuming: Vec<_> =
            consumers.into_iter().map(|consumer| runtime::spawn(consumer.run(window))).collect();
        let drain = self.work.drain.0;
        let producing: Vec<_> = self
            .share(self.work.producers)
            .zip(producers)
            .map(|(number, producer)| {
                let pace = self.pace(number, window);
                runtime::spawn(producer.run(pace, window, drain))
            })
            .collect();
        let mut outcome = Outcome::default();
        for ended in join_all(producing).await {
            let progress = &self.shared.progress;
            progress.producers_ended.fetch_add(1, Ordering::SeqCst);
            outcome.failed = outcome.failed.or(ended.failed);
        }
        outcome.seen = (0..self.work.groups).map(|_| Seen::default()).collect();
        for ended in join_all(consuming).await {
            outcome.seen[ended.group].merge(ended.seen);
            outcome.failed = outcome.failed.or(ended.failed);
        }
        sampler.await;
        self.has_ended.set(true);
        outcome.promised.extend(self.promised_so_far());
        outcome.backlog = self.backlogs.borrow().iter().map(|backlog| backlog.get()).sum();
        outcome.lag = self.lags.borrow().iter().map(|lag| lag.get()).sum();
        // What came after the end of the measured time belongs to records of that time.
        let meters = self.meters.borrow_mut().take();
        let _ = samples.send(Sample { interval: self.shared.intervals() - 1, meters });
        outcome
    }

    fn pace(&self, number: usize, window: Window) -> Option<Pace> {
        let each = self.work.rate? / self.work.producers as f64;
        let share = number as f64 / self.work.producers as f64;
        let seed = self.work.seed ^ (number as u64) << 20;
        Some(Pace::new(window.start.0, each, self.work.arrivals, share, seed))
    }

    fn promised_so_far(&self) -> Vec<(Stream, Promised)> {
        let promised = self.promised.borrow();
        promised.iter().map(|(stream, promised)| (*stream, promised.borrow().clone())).collect()
    }

    /// Shows others what is promised so far. What is acknowledged in it was acknowledged before it is seen.
    async fn publish(self: Rc<Self>) {
        while !self.has_ended.get() {
            let promised = self.promised_so_far();
            self.shared.promised.lock().expect("nobody panics with it").extend(promised);
            runtime::sleep(PUBLISH_EVERY).await;
        }
    }

    /// Hands over what was counted, at the end of each stretch. Whoever collects may have gone.
    async fn sample(self: Rc<Self>, window: Window, samples: Sender<Sample>) {
        for interval in 0..self.shared.intervals() {
            let until = Instant(window.measure.0) + SAMPLE_EVERY * (interval as u32 + 1);
            let until = until.min(window.end);
            runtime::sleep(until.since(runtime::now())).await;
            let mut meters = self.meters.borrow_mut().take();
            meters.backlog = self.backlogs.borrow().iter().map(|backlog| backlog.get()).sum();
            meters.consumer_lag = self.lags.borrow().iter().map(|lag| lag.get()).sum();
            let _ = samples.send(Sample { interval, meters });
        }
    }
}

/// Says when all begin, and, when producers have ended, when consumers have read what they must.
async fn conduct(shared: Arc<Shared>) {
    let progress = &shared.progress;
    while shared.ready.load(Ordering::SeqCst) < shared.work.threads {
        if progress.stop.load(Ordering::Relaxed) {
            return;
        }
        runtime::sleep(LOOK_EVERY).await;
    }
    let start = runtime::now() + START_AFTER;
    let measure = start + shared.work.warm_up.0;
    let window = Window { start, measure, end: measure + shared.work.duration.0 };
    shared.window.set(window).expect("only the first thread conducts");
    let work = &shared.work;
    let (producers, consumers) = (work.producers, work.consumers * work.groups);
    let give_up = window.end + shared.work.drain.0 + Duration::from_secs(5);
    loop {
        let now = runtime::now();
        let ended = progress.producers_ended.load(Ordering::SeqCst) == producers;
        let all_read =
            !work.stamps() || progress.consumers_ended.load(Ordering::SeqCst) == consumers;
        if now >= give_up || (now >= window.end && ended && all_read) {
            progress.stop.store(true, Ordering::SeqCst);
            return;
        }
        runtime::sleep(LOOK_EVERY).await;
    }
}
