//! A run from its settings to its report: topics are made, threads started, what they count is gathered, and
//! the verdict is spoken. Lives on the main thread, off the load's cores.

mod observe;

use crate::ceilings;
use crate::facts::{self, Broker};
use crate::load::ledger::{self, Promised, Seen, Stream};
use crate::load::ledger_file::LedgerFile;
use crate::load::meters::Meters;
use crate::load::thread::{self, Sample, Shared};
use crate::load::window::Window;
use crate::process;
use crate::report::model::{
    BrokerFacts, Environment, FORMAT, Flow, Interval, LoopKind, ProcessUse, Report, Verified,
};
use crate::settings::{AcksText, Settings, Work};
use crate::verdict;
use corelog::client::{Client, ClientError, ClientOptions, NewTopic};
use corelog::runtime::{self, ShardThread};
use corelog::wire::ErrorCode;
use observe::Observer;
use std::collections::{BTreeMap, HashMap};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the ledger is written anew, where one is asked for.
const LEDGER_EVERY: Duration = Duration::from_millis(100);

/// What is told while a run goes on.
pub trait Watcher {
    /// A second of the measured time is over.
    fn second(&mut self, number: usize, meters: &Meters);
}

/// Does what the settings say.
///
/// # Errors
/// What kept it from starting. A run that started has a report, however it ended.
pub fn run(settings: &Settings, watcher: &mut dyn Watcher) -> Result<Report, String> {
    let work = settings.check()?;
    let pid = settings.broker_pid.or_else(|| broker_process(&work));
    let broker = on_executor(prepare(settings, &work, pid))??;
    let limits = match settings.ceilings {
        Some(true) => {
            let settings = Settings { ceilings: None, ..settings.clone() };
            let cpus = facts::broker_cpus(&settings, pid);
            ceilings::measure(&settings, cpus.as_deref(), broker.directory.as_deref(), watcher)
        }
        _ => Ok(Vec::new()),
    };
    let report = limits.and_then(|limits| {
        let report = measure(settings, &work, broker.facts, pid, watcher)?;
        Ok(Report { limits, ..report })
    });
    if !work.existing && !work.keep {
        let removed = on_executor(remove(&work)).and_then(|removed| removed);
        if let Err(error) = removed {
            eprintln!("corelog-perf: topics are left behind: {error}");
        }
    }
    report
}

fn on_executor<T>(talk: impl Future<Output = T>) -> Result<T, String> {
    runtime::run_local(talk).map_err(|error| {
        format!("cannot start io_uring ({error}); it needs Linux 5.10 or newer and `ulimit -l` of 512 or more")
    })
}

fn client(work: &Work) -> Client {
    Client::new(ClientOptions {
        bootstrap: work.bootstrap.clone(),
        client_id: "corelog-perf".to_string(),
        operation_limit: Duration::from_secs(30),
        ..ClientOptions::default()
    })
}

/// The process behind the first bootstrap address, when it is on this host.
fn broker_process(work: &Work) -> Option<u32> {
    let address = work.bootstrap.first()?;
    let mut found = (address.host.as_str(), address.port).to_socket_addrs().ok()?;
    found.find_map(|address| process::listener(&address))
}

/// Makes the topics, and waits until every partition has a leader.
async fn prepare(settings: &Settings, work: &Work, pid: Option<u32>) -> Result<Broker, String> {
    let client = client(work);
    let told = |error: ClientError| error.to_string();
    // A broker that is not there is said at once; later trouble is given time.
    client.any().await.map_err(told)?;
    for (made, name) in work.topics.iter().enumerate().filter(|_| !work.existing) {
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(work.partitions),
            replication_factor: Some(work.replication),
            configs: work.topic_configs.clone(),
        };
        let Err(error) = client.create_topic(&topic, false).await else { continue };
        // Those made before it are this run's.
        for name in &work.topics[..made] {
            if let Err(error) = client.delete_topic(name).await {
                eprintln!("corelog-perf: topic {name} is left behind: {error}");
            }
        }
        return Err(match error.code() {
            Some(ErrorCode::TopicAlreadyExists) => {
                format!("{error} (--existing uses it, --topic takes another name)")
            }
            _ => error.to_string(),
        });
    }
    for name in &work.topics {
        wait_for_leaders(&client, name, work.partitions).await?;
    }
    client.refresh_all().await.map_err(told)?;
    Ok(facts::broker(&client, settings, work, pid).await)
}

async fn wait_for_leaders(client: &Client, name: &str, partitions: i32) -> Result<(), String> {
    let what = format!("waiting for the leaders of topic {name}");
    let name = name.into();
    client
        .retry(&what, async || {
            client.refresh(std::slice::from_ref(&name)).await?;
            let topic = client.topic(&name).await?;
            let led =
                topic.partitions.iter().filter(|partition| partition.leader.is_some()).count();
            if topic.partitions.len() != partitions as usize {
                let found = topic.partitions.len();
                let text = format!("topic {name} has {found} partitions, not {partitions}");
                return Err(ClientError::Invalid(text));
            }
            if led < topic.partitions.len() {
                return Err(ClientError::NoLeader { what: format!("topic {name}") });
            }
            Ok(())
        })
        .await
        .map_err(|error| error.to_string())
}

async fn remove(work: &Work) -> Result<(), String> {
    let client = client(work);
    for name in &work.topics {
        client.delete_topic(name).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

// ---------------------------------------------------------------- threads

fn measure(
    settings: &Settings,
    work: &Work,
    broker: BrokerFacts,
    pid: Option<u32>,
    watcher: &mut dyn Watcher,
) -> Result<Report, String> {
    let started_at = observe::utc_now();
    let shared = Shared::new(work.clone(), runtime::random_u64() as u32);
    let (sender, samples) = channel();
    let mut threads = Vec::new();
    for index in 0..work.threads {
        let cpu = work.cpus.get(index).copied();
        let placed = ShardThread { name: format!("load-{index}"), cpu, spin: work.spin.0 };
        let (shared, sender) = (shared.clone(), sender.clone());
        let started = runtime::start_shard(&placed, move || thread::run(index, shared, sender));
        threads.push(started.map_err(|error| format!("cannot start thread {index}: {error}"))?);
    }
    drop(sender);
    let mut observer = Observer::new(pid, &broker.device);
    let mut counted = collect(&shared, &samples, &mut observer, watcher);
    let mut ended = Ended::default();
    for thread in threads {
        let outcome =
            thread.join().map_err(|error| format!("a thread of the load failed: {error}"))?;
        ended.take(outcome);
    }
    ended.failed = ended.failed.or_else(|| counted.ledger_failed.take());
    ended.failed = ended.failed.or(write_ledger(&shared, ended.promised.clone()).err());
    let Some(window) = shared.window.get().copied() else {
        return Err(ended.failed.unwrap_or_else(|| "the load did not start".to_string()));
    };
    let environment = environment(work, broker, started_at);
    Ok(report(settings, work, window, environment, counted, ended, observer))
}

/// What all threads know at the end.
#[derive(Default)]
struct Ended {
    promised: HashMap<Stream, Promised>,
    seen: Vec<Seen>,
    failed: Option<String>,
    backlog: u64,
    lag: u64,
}

impl Ended {
    fn take(&mut self, outcome: thread::Outcome) {
        self.promised.extend(outcome.promised);
        self.seen.resize_with(self.seen.len().max(outcome.seen.len()), Seen::default);
        for (all, more) in self.seen.iter_mut().zip(outcome.seen) {
            all.merge(more);
        }
        self.failed = self.failed.take().or(outcome.failed);
        self.backlog += outcome.backlog;
        self.lag += outcome.lag;
    }

    /// Each group must have seen everything.
    fn verdict(&mut self) -> Verified {
        let mut verified = Verified::default();
        for seen in self.seen.drain(..) {
            ledger::add(&mut verified, &seen.judge(&self.promised));
        }
        verified
    }
}

/// What was counted in all, and second by second.
#[derive(Default)]
struct Counted {
    all: Meters,
    intervals: Vec<Interval>,
    /// Why the ledger is older than it should be.
    ledger_failed: Option<String>,
}

impl Counted {
    fn end(&mut self, meters: &Meters) {
        self.all.merge(meters);
        let start = self.intervals.len() as f64 * thread::SAMPLE_EVERY.as_secs_f64();
        self.intervals.push(meters.interval(start));
    }
}

/// Gathers what the threads count until the last of them has ended.
fn collect(
    shared: &Arc<Shared>,
    samples: &Receiver<Sample>,
    observer: &mut Observer,
    watcher: &mut dyn Watcher,
) -> Counted {
    let mut counted = Counted::default();
    // Threads end a second almost together, but not quite.
    let mut open: BTreeMap<usize, (Meters, usize)> = BTreeMap::new();
    let mut ledger_due = runtime::now();
    loop {
        observer.look(shared.window.get());
        if shared.work.ledger.is_some() && runtime::now() >= ledger_due {
            ledger_due = runtime::now() + LEDGER_EVERY;
            let promised = shared.promised.lock().expect("nobody panics with it").clone();
            counted.ledger_failed = write_ledger(shared, promised).err();
        }
        match samples.recv_timeout(LOOK_EVERY) {
            Ok(Sample { interval, meters }) => {
                let (merged, told) = open.entry(interval).or_default();
                merged.merge(&meters);
                *told += 1;
                if *told == shared.work.threads {
                    watcher.second(interval, merged);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // The last one also takes what comes after its end.
        while let Some(first) = open.first_entry()
            && first.get().1 == shared.work.threads
            && *first.key() + 1 < shared.intervals()
        {
            counted.end(&first.remove().0);
        }
    }
    open.into_values().for_each(|(meters, _)| counted.end(&meters));
    counted
}

fn write_ledger(shared: &Shared, promised: HashMap<Stream, Promised>) -> Result<(), String> {
    let Some(path) = &shared.work.ledger else { return Ok(()) };
    let topics = shared.work.topics.clone();
    LedgerFile::new(shared.run, topics, promised).write(path)
}

// ---------------------------------------------------------------- the report

fn environment(work: &Work, broker: BrokerFacts, started_at: String) -> Environment {
    let cpus: Vec<String> = work.cpus.iter().map(ToString::to_string).collect();
    let pinned =
        if cpus.is_empty() { "not pinned".to_string() } else { format!("CPUs {}", cpus.join(",")) };
    Environment {
        started_at,
        command_line: std::env::args().collect::<Vec<_>>().join(" "),
        generator_version: format!("corelog-perf {}", env!("CARGO_PKG_VERSION")),
        commit: facts::commit(),
        host: facts::host(),
        broker,
        loop_kind: if work.rate.is_some() { LoopKind::Open } else { LoopKind::Closed },
        acks: AcksText(work.acks).to_string(),
        generator_limits: format!("{} threads, {pinned}", work.threads),
    }
}

fn report(
    settings: &Settings,
    work: &Work,
    window: Window,
    environment: Environment,
    counted: Counted,
    mut ended: Ended,
    observer: Observer,
) -> Report {
    let Counted { all, mut intervals, .. } = counted;
    for (number, interval) in intervals.iter_mut().enumerate() {
        let left = window.seconds() - interval.start_seconds;
        interval.seconds = left.min(thread::SAMPLE_EVERY.as_secs_f64());
        let planned = work.rate.map_or(0.0, |rate| rate * interval.seconds);
        interval.planned_records = planned.round() as u64;
        observer.complete(number, interval);
    }
    let label = settings.label.clone();
    let name =
        environment.broker.version.split([' ', ',']).next().unwrap_or("broker").to_lowercase();
    let flow = |present: bool, flow: &Flow, rate, backlog| {
        present.then(|| Flow { rate_planned: rate, backlog, ..flow.clone() })
    };
    let verified = work.verify.then(|| ended.verdict());
    let mut report = Report {
        format: FORMAT,
        label: label.unwrap_or(name),
        invalid: Vec::new(),
        remarks: Vec::new(),
        work: work.described(),
        environment,
        seconds: window.seconds(),
        produced: flow(work.producers > 0, &all.produced, work.rate, ended.backlog),
        consumed: flow(work.consumers > 0, &all.consumed, None, ended.lag),
        acknowledge: all.acknowledge,
        end_to_end: all.end_to_end,
        generator_lag: all.generator_lag,
        intervals,
        broker: observer.broker(),
        generator: observer.generator(),
        device: observer.device(),
        verified,
        limits: Vec::new(),
    };
    verdict::speak(&mut report, work, ended.failed, all.first_error);
    report
}

impl ProcessUse {
    /// What a process used between two looks at it.
    pub fn between(pid: u32, from: &process::Used, to: &process::Used) -> ProcessUse {
        let written = to.device_written_bytes.zip(from.device_written_bytes);
        ProcessUse {
            pid,
            cpu_seconds: to.cpu_seconds - from.cpu_seconds,
            peak_memory_bytes: to.peak_memory_bytes,
            device_written_bytes: written.map(|(to, from)| to.saturating_sub(from)),
        }
    }
}
