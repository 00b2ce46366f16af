//! Who works on the log in one life of the process: producers with retries, consumers, an operator. Each
//! tells the model what it did and was told, and holds what it reads against it.

use super::check;
use super::dice::Dice;
use super::model::{PartitionModel, Sent};
use crate::limits::BATCH_HEADER_BYTES;
use crate::log::producers::SequenceError;
use crate::log::{
    AppendError, Dispatched, FaultKind, LogConfig, LogFault, Partition, ReadBatches, ReadError,
    ShardLog, WatchKey,
};
use crate::runtime::{self, sim};
use crate::types::{Durability, Offset, Timestamp};
use crate::wire::batch::{self, BatchHeader, testing};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Sizes of values: within a block, about one, several, and more than one commit.
const VALUE_BYTES: [usize; 10] = [1, 30, 30, 300, 300, 1200, 3900, 4030, 9000, 20_000];
/// Batches that a producer has in flight at most, as the clients of Kafka have.
pub const IN_FLIGHT_MAX: usize = 5;

/// Producers of a history: one or two partitions', and one more perhaps.
const PRODUCERS_MAX: usize = 3;

/// A partition in a history, in whatever life.
pub struct Subject {
    pub model: RefCell<PartitionModel>,
    pub config: RefCell<Arc<LogConfig>>,
    pub epoch: Cell<i32>,
}

/// A partition in one life.
#[derive(Clone)]
pub struct Open {
    pub subject: Rc<Subject>,
    pub partition: Rc<Partition>,
    pub shard: Rc<ShardLog>,
    /// The disk is made to fail, or bits of it are turned over: errors are no wonder.
    pub faults_expected: bool,
}

/// A client that outlives the broker: it goes on where it was.
pub struct Producer {
    /// Id, epoch and next sequence of an idempotent one.
    identity: Option<(i64, i16, i32)>,
    /// Not acknowledged yet, in order.
    unresolved: VecDeque<(Rc<Sent>, i32)>,
    /// The last that were acknowledged, to be sent once more for no reason.
    resolved: VecDeque<Rc<Sent>>,
    dice: Dice,
    made: Rc<Cell<u64>>,
}

/// A dispatched batch whose promise is awaited; leaves the line of waiters when it is dropped.
struct Ticket {
    partition: Rc<Partition>,
    dispatched: Dispatched,
    key: WatchKey,
}

impl Ticket {
    async fn produced(&mut self) -> Result<(), LogFault> {
        let Ticket { partition, dispatched, key } = self;
        poll_fn(|context| partition.poll_committed(key, dispatched, context)).await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.partition.cancel_watch(&mut self.key);
    }
}

struct Watch<'a> {
    partition: &'a Rc<Partition>,
    key: WatchKey,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.partition.cancel_watch(&mut self.key);
    }
}

impl Producer {
    pub fn new(id: Option<i64>, dice: Dice, made: Rc<Cell<u64>>) -> Producer {
        Producer {
            identity: id.map(|id| (id, 0, 0)),
            unresolved: VecDeque::new(),
            resolved: VecDeque::new(),
            dice,
            made,
        }
    }

    /// A life's work: sends some batches, each until it is acknowledged if it can be told apart.
    pub async fn work(&mut self, open: &Open, batches: u64) {
        let mut left = batches;
        let mut failures = 0;
        if self.identity.is_none() {
            // Sent again after a crash, it would be another batch.
            self.unresolved.clear();
        }
        while (left > 0 || !self.unresolved.is_empty()) && failures < 4 {
            // As connections do before they read on.
            open.shard.pending_below_limit().await;
            let wanted = self.dice.within(1..IN_FLIGHT_MAX as i64 + 1) as usize;
            while self.unresolved.len() < wanted && left > 0 {
                left -= 1;
                let next = self.compose();
                self.unresolved.push_back(next);
            }
            if !self.round(open).await {
                failures += 1;
                if self.identity.is_none() {
                    // Sent again, it would be another batch.
                    self.unresolved.clear();
                }
                runtime::sleep(Duration::from_millis(400)).await;
            }
            if self.dice.percent(15) {
                self.repeat(open).await;
            }
            if self.dice.percent(20) {
                runtime::sleep(Duration::from_micros(self.dice.below(3000))).await;
            }
        }
    }

    fn compose(&mut self) -> (Rc<Sent>, i32) {
        let id = self.made.get();
        self.made.set(id + 1);
        let records = self.dice.within(1..5);
        let bytes = self.dice.pick(&VALUE_BYTES);
        let mut value = id.to_be_bytes().to_vec();
        value.resize(8 + bytes, 1 + (id % 250) as u8);
        let values: Vec<&[u8]> = (0..records)
            .map(|record| if record == 0 { &value[..] } else { &value[..8.min(bytes)] })
            .collect();
        let now = runtime::wall_clock().0;
        let time = match self.dice.below(10) {
            0 => -1,
            1 => now - self.dice.within(0..10_000),
            2 => now + 3000,
            _ => now,
        };
        let producer = self.identity;
        let bytes = testing::batch(&values, Timestamp(time), producer);
        let sequence = producer.map_or(-1, |(_, _, sequence)| sequence);
        if let Some((_, _, next)) = &mut self.identity {
            *next += records as i32;
        }
        (Rc::new(Sent { id, bytes, records }), sequence)
    }

    /// Sends what is unresolved and waits for it. False when something failed.
    async fn round(&mut self, open: &Open) -> bool {
        let mut tickets = VecDeque::new();
        let mut refused = false;
        let queue: Vec<Rc<Sent>> = self.unresolved.iter().map(|(sent, _)| sent.clone()).collect();
        for sent in queue {
            match append(open, &sent) {
                Ok(dispatched) => tickets.push_back((sent, self.ticket(open, dispatched))),
                Err(AppendError::Sequence(SequenceError::OutOfOrder { .. })) => {
                    self.start_over(open);
                    return false;
                }
                Err(error) => {
                    expect_offline(open, &error);
                    refused = true;
                    break;
                }
            }
            if self.dice.percent(10) {
                runtime::yield_now().await;
            }
        }
        while let Some((sent, mut ticket)) = tickets.pop_front() {
            if let Err(fault) = ticket.produced().await {
                expect_fault(open, &fault);
                return false;
            }
            open.subject.model.borrow_mut().acknowledged(sent.id);
            check::memory(&open.shard, PRODUCERS_MAX, IN_FLIGHT_MAX);
            tell(|| format!("{}: batch {} is acknowledged", open.partition.id, sent.id));
            self.unresolved.pop_front();
            self.resolved.push_back(sent);
            if self.resolved.len() > IN_FLIGHT_MAX + 1 {
                self.resolved.pop_front();
            }
        }
        !refused
    }

    fn ticket(&self, open: &Open, dispatched: Dispatched) -> Ticket {
        Ticket { partition: open.partition.clone(), dispatched, key: WatchKey::default() }
    }

    /// Acknowledged batches of this producer were lost, as its durability allows: it takes the next epoch
    /// (KIP-360) and sends anew what is not acknowledged.
    fn start_over(&mut self, open: &Open) {
        let model = open.subject.model.borrow();
        let lost = self
            .resolved
            .iter()
            .any(|sent| !model.entries.iter().any(|entry| entry.sent.id == sent.id));
        let rotten = model.rotten || model.producers_rotten;
        assert!(
            lost || self.resolved.is_empty() || rotten || model.may_forget_producers(),
            "{}: a batch in sequence is refused as out of order",
            model.name
        );
        let (id, epoch, _) = self.identity.expect("only idempotent producers have sequences");
        self.identity = Some((id, epoch + 1, 0));
        self.unresolved.clear();
        self.resolved.clear();
    }

    /// Sends an acknowledged batch once more, as a client does that did not get the answer.
    async fn repeat(&mut self, open: &Open) {
        if self.identity.is_none() || !self.unresolved.is_empty() || self.resolved.is_empty() {
            return;
        }
        let at = self.dice.below(self.resolved.len() as u64) as usize;
        let is_known = at + IN_FLIGHT_MAX >= self.resolved.len();
        let may_be_lost = {
            let model = open.subject.model.borrow();
            model.rotten || model.may_forget_producers()
        };
        let sent = self.resolved[at].clone();
        {
            let model = open.subject.model.borrow();
            let deletes = !model.retention.is_empty() || model.log_start > Offset::ZERO;
            if model.producers_rotten && deletes {
                return;
            }
            if model.was_offline || !model.entries.iter().any(|entry| entry.sent.id == sent.id) {
                return;
            }
        }
        match append(open, &sent) {
            // One of the five may be among what was lost.
            Ok(_) if !is_known && !may_be_lost => {
                panic!("a batch is known again after more than five others")
            }
            Ok(dispatched) => {
                let outcome = self.ticket(open, dispatched).produced().await;
                if let Err(fault) = outcome {
                    expect_fault(open, &fault);
                }
            }
            Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))
                if !is_known || may_be_lost => {}
            Err(AppendError::Sequence(error)) => panic!("a retry is not known: {error}"),
            Err(error) => expect_offline(open, &error),
        }
    }
}

/// Appends a batch and tells the model where it went.
fn append(open: &Open, sent: &Rc<Sent>) -> Result<Dispatched, AppendError> {
    let bytes = Bytes::copy_from_slice(&sent.bytes);
    let appended = open.partition.append(bytes, runtime::wall_clock());
    tell(|| match &appended {
        Ok(at) => format!("{}: batch {} goes to {}", open.partition.id, sent.id, at.base_offset),
        Err(error) => format!("{}: batch {}: {error}", open.partition.id, sent.id),
    });
    let mut model = open.subject.model.borrow_mut();
    match &appended {
        Ok(dispatched) => {
            if model.was_offline {
                // Nothing was committed since it was opened anew.
                let end = open.partition.recovery().end;
                model.opened(end, super::model::End::Kill);
            }
            let mut stored = sent.bytes.clone();
            if dispatched.append_time != Timestamp::NONE {
                batch::assign_append_time(&mut stored, dispatched.append_time);
            }
            let header = BatchHeader::parse(&stored).expect("it was composed well");
            let at = (dispatched.base_offset, dispatched.end);
            model.dispatched(sent, stored, at, &header, open.subject.epoch.get());
        }
        Err(AppendError::Offline(_)) => model.was_offline = true,
        Err(_) => {}
    }
    appended
}

/// A line in the trace, when one seed is replayed.
pub fn tell(line: impl FnOnce() -> String) {
    thread_local! {
        static REPLAYS: bool = std::env::var_os("CORELOG_SEED").is_some();
    }
    if REPLAYS.with(|replays| *replays) {
        sim::note(&line());
    }
}

fn expect_offline(open: &Open, error: &AppendError) {
    match error {
        AppendError::Offline(fault) => expect_fault(open, fault),
        other => panic!("{}: refused: {other}", open.partition.id),
    }
}

pub fn expect_fault(open: &Open, fault: &LogFault) {
    assert!(open.faults_expected, "{}: a fault out of nowhere: {fault}", open.partition.id);
}

/// Reads at one offset and holds the answer against the model. The offset after it, if there was one.
pub async fn read(
    open: &Open,
    offset: Offset,
    bytes_max: usize,
    first_whole: bool,
) -> Option<Offset> {
    let before = open.partition.high_watermark();
    match open.partition.read(offset, bytes_max, first_whole).await {
        Ok(found) => Some(check_read(open, offset, (bytes_max, first_whole), before, &found)),
        Err(ReadError::OutOfRange { log_start, high_watermark, .. }) => {
            assert!(offset < log_start || offset > high_watermark, "{offset} is in range");
            assert_eq!(log_start, open.partition.log_start());
            None
        }
        Err(ReadError::Offline(fault)) => {
            expect_fault(open, &fault);
            if open.partition.fault().is_none() {
                let expected =
                    open.subject.model.borrow().rotten || fault.kind != FaultKind::Damage;
                let kind = open.subject.model.borrow().epochs_rotten;
                assert!(expected || kind, "{}: damage out of nowhere: {fault}", open.partition.id);
            }
            None
        }
    }
}

fn check_read(
    open: &Open,
    offset: Offset,
    (bytes_max, first_whole): (usize, bool),
    before: Offset,
    found: &ReadBatches,
) -> Offset {
    let mut model = open.subject.model.borrow_mut();
    let epochs_rotten = model.epochs_rotten || model.rotten;
    let name = model.name.clone();
    assert!(offset >= found.log_start && offset <= found.high_watermark);
    assert!(found.high_watermark >= before, "{name}: the high watermark went back");
    model.high_watermark = model.high_watermark.max(found.high_watermark);
    let mut at = None;
    let mut next = offset;
    let (mut bytes, mut batches) = (0, 0);
    for slice in &found.slices {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            let header = batch::parse_whole(rest);
            let header = header.unwrap_or_else(|error| panic!("{name}: served at {next}: {error}"));
            let (served, after) = rest.split_at(header.batch_bytes);
            let index = at.map_or_else(|| model.position_of(offset), |at: usize| Some(at + 1));
            let entry = index.and_then(|index| model.entries.get_mut(index));
            let entry = entry.unwrap_or_else(|| panic!("{name}: {next} was never written"));
            check_batch(&name, epochs_rotten, entry, served, &header);
            assert!(entry.end <= found.high_watermark, "{name}: {} is not committed", entry.end);
            entry.seen = true;
            next = entry.end;
            at = index;
            (bytes, batches, rest) = (bytes + served.len(), batches + 1, after);
        }
    }
    assert_eq!(bytes, found.bytes);
    assert!(bytes <= bytes_max || (batches == 1 && first_whole), "{name}: {bytes} of {bytes_max}");
    if batches == 0 && offset < found.high_watermark {
        let first = model.position_of(offset).map(|at| model.entries[at].stored.len());
        let fits = first_whole || first.is_some_and(|first| first <= bytes_max);
        // Without any promise a batch may be committed and neither cached nor in its file yet.
        let may_wait = model.entries.iter().any(|entry| entry.promise == Durability::Memory);
        // A length of which a bit was turned over may say that a batch is larger than the reader takes.
        assert!(
            !fits || may_wait || model.rotten,
            "{name}: nothing is served at {offset} below {}",
            found.high_watermark
        );
    }
    next
}

/// Whole, the one that was written, and unchanged but for base offset and leader epoch.
pub fn check_batch(
    name: &str,
    epochs_rotten: bool,
    entry: &super::model::Entry,
    served: &[u8],
    header: &BatchHeader,
) {
    let id = entry.sent.id;
    assert_eq!(header.base_offset, entry.base, "{name}: batch {id} at another offset");
    // A history of epochs that was turned over may name an epoch that never was, and writes go on in it.
    let epoch = header.leader_epoch;
    assert!(epochs_rotten || epoch == entry.epoch, "{name}: epoch {epoch} of batch {id}");
    let same = served.len() == entry.stored.len()
        && served[8..12] == entry.stored[8..12]
        && served[16..] == entry.stored[16..];
    assert!(same, "{name}: other bytes at {} than batch {id} has", entry.base);
    assert!(served.len() >= BATCH_HEADER_BYTES);
}

/// Reads here and there, and follows the end.
pub async fn consume(open: &Open, dice: &Dice, rounds: u64) {
    let mut next = open.partition.log_start();
    for _ in 0..rounds {
        let high_watermark = open.partition.high_watermark();
        check::memory(&open.shard, PRODUCERS_MAX, IN_FLIGHT_MAX);
        if dice.percent(40) {
            let span = high_watermark - open.partition.log_start() + 3;
            let offset = open.partition.log_start().advanced_by(dice.within(-1..span));
            let bytes_max = dice.pick(&[0, 70, 1000, 5000, 30_000, 1 << 30]);
            read(open, offset, bytes_max, dice.percent(60)).await;
        }
        let mut watch = Watch { partition: &open.partition, key: WatchKey::default() };
        let reached = poll_fn(|context| {
            watch.partition.poll_reached(&mut watch.key, next.advanced_by(1), context)
        });
        let limit = Duration::from_micros(500 + dice.below(4000));
        let reached = runtime::timeout(limit, reached).await;
        drop(watch);
        if reached.is_none() {
            continue;
        }
        if open.partition.read_fault().is_some() {
            runtime::sleep(Duration::from_millis(300)).await;
        }
        next = next.max(open.partition.log_start());
        match read(open, next, dice.pick(&[300, 6000, 100_000]), true).await {
            Some(after) => next = after,
            None => next = open.partition.high_watermark(),
        }
    }
}

/// Deletes records, changes the configuration, frees the disk.
pub async fn operate(opens: &[Open], dice: &Dice, rounds: u64, frees: bool) {
    for round in 0..rounds {
        runtime::sleep(Duration::from_micros(dice.below(4000))).await;
        let open = &opens[dice.below(opens.len() as u64) as usize];
        let model = &open.subject.model;
        {
            let start = open.partition.log_start();
            model.borrow_mut().check_start(start, runtime::wall_clock());
        }
        match dice.below(8) {
            0 | 1 => {
                let high_watermark = open.partition.high_watermark();
                let span = high_watermark - open.partition.log_start() + 1;
                let wanted = open.partition.log_start().advanced_by(dice.within(0..span));
                if open.partition.fault().is_none() {
                    model.borrow_mut().log_start = wanted;
                    assert_eq!(open.partition.raise_log_start(wanted), wanted);
                }
            }
            2 => {
                let mut config = LogConfig::clone(&open.subject.config.borrow());
                let strict = config.durability == Durability::Fsync;
                config.durability = if strict { Durability::Write } else { Durability::Fsync };
                model.borrow_mut().set_durability(config.durability);
                set_config(open, config);
            }
            3 | 4 => {
                let mut config = LogConfig::clone(&open.subject.config.borrow());
                let (bytes, age) = match dice.below(3) {
                    0 => (None, Some(dice.pick(&[0, 2, 1000]))),
                    _ => (Some(dice.pick(&[0, 3000, 30_000])), None),
                };
                config.retention_bytes = bytes.map_or(-1, |bytes| bytes as i64);
                config.retention_ms = age.unwrap_or(-1);
                model.borrow_mut().retention.push((bytes, age));
                set_config(open, config);
                open.partition.retain_later();
            }
            5 => {
                let mut config = LogConfig::clone(&open.subject.config.borrow());
                config.log_append_time = !config.log_append_time;
                set_config(open, config);
            }
            _ => {}
        }
        if frees && round + 1 == rounds {
            runtime::sleep(Duration::from_millis(dice.below(3000))).await;
            sim::note("the operator frees space");
            let disk = sim::disk();
            disk.set_options(sim::DiskOptions { capacity: u64::MAX, ..disk.options() });
        }
    }
}

fn set_config(open: &Open, config: LogConfig) {
    let config = Arc::new(config);
    *open.subject.config.borrow_mut() = config.clone();
    open.partition.set_config(config);
}
