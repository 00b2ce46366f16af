//! Test builds only: a disk that is full, and an operator who makes room on it by deleting alone: records,
//! segments by retention, a partition. Writing must go on by itself, and nothing that was promised be missing.

use super::dice::Dice;
use crate::log::{
    AppendError, FaultKind, LogConfig, LogFault, LogOptions, Partition, PartitionId, ReadError,
    ShardLog, WatchKey,
};
use crate::probe::Probe;
use crate::runtime;
use crate::runtime::sim::{self, DiskOptions, Simulation, SimulationOptions, for_each_seed};
use crate::types::{Offset, TopicId};
use crate::wire::batch::{self, testing};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long it may take, in virtual time, until the room that was made is written to. A writer tries again after
/// a second.
const RESUMES_AFTER_MAX: Duration = Duration::from_secs(10);
/// No history needs more; a hang shows early.
const STEPS_MAX: u64 = 300_000;
const TRY_AGAIN: Duration = Duration::from_millis(100);
const SEGMENT_BYTES: u64 = 20_000;

/// How room is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    DeleteRecords,
    Retention,
    DeleteTopic,
}

struct Subject {
    partition: Rc<Partition>,
    /// What was acknowledged, by its first offset.
    kept: RefCell<BTreeMap<i64, Bytes>>,
}

fn options(dice: &Dice) -> LogOptions {
    LogOptions {
        writers: 1 + dice.below(2) as usize,
        commit_bytes_max: dice.pick(&[12_288, 65_536]),
        recovery_scan_bytes_max: dice.pick(&[30_000, 1 << 30]),
        index_step_bytes: dice.pick(&[4096, 1 << 20]),
        retention_check: Duration::from_millis(dice.pick(&[50, 1000])),
        free_piece_bytes: 8 * 1024,
        ..LogOptions::new("/data".into())
    }
}

fn id_of(index: i32) -> PartitionId {
    PartitionId { topic_id: TopicId([7; 16]), topic: "t".into(), index }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, message_bytes_max: 24_000, ..LogConfig::default() }
}

async fn open(shard: &Rc<ShardLog>, index: i32, log_start: Offset) -> Rc<Partition> {
    Partition::open(shard, id_of(index), Arc::new(config()), 0, log_start)
        .await
        .unwrap_or_else(|fault| panic!("t-{index} does not open: {fault}"))
}

impl Subject {
    /// Appends a batch and waits for its promise; false when the disk is full.
    async fn append(&self, dice: &Dice) -> bool {
        let fill = vec![1 + dice.below(200) as u8; dice.pick(&[300, 4000, 9000])];
        let bytes = Bytes::from(testing::batch(&[&fill], runtime::wall_clock(), None));
        let expect_full = |fault: &LogFault| {
            assert_eq!(fault.kind, FaultKind::StorageFull, "{fault}");
            false
        };
        let dispatched = match self.partition.append(bytes.clone(), runtime::wall_clock()) {
            Ok(dispatched) => dispatched,
            Err(AppendError::Offline(fault)) => return expect_full(&fault),
            Err(error) => panic!("{error}"),
        };
        let mut key = WatchKey::default();
        let kept = poll_fn(|context| self.partition.poll_committed(&mut key, &dispatched, context));
        match kept.await {
            Ok(()) => {
                self.kept.borrow_mut().insert(dispatched.base_offset.0, bytes);
                true
            }
            Err(fault) => expect_full(&fault),
        }
    }

    async fn fill(&self, dice: &Dice) {
        // What an earlier round allowed would make room as fast.
        self.partition.set_config(Arc::new(config()));
        let mut refusals = 0;
        while refusals < 3 {
            if !self.append(dice).await {
                refusals += 1;
                runtime::sleep(TRY_AGAIN).await;
            }
        }
    }

    async fn resumes(&self, dice: &Dice, why: Way) {
        let until = runtime::now() + RESUMES_AFTER_MAX;
        while !self.append(dice).await {
            let id = &self.partition.id;
            assert!(runtime::now() < until, "{id}: no write after {why:?} made room");
            runtime::sleep(TRY_AGAIN).await;
        }
    }

    /// All that was acknowledged, and is not before the log's start, is there.
    async fn check(&self) {
        let partition = &self.partition;
        let (mut next, mut found) = (partition.log_start(), BTreeMap::new());
        while next < partition.high_watermark() {
            let read = match partition.read(next, 50_000, true).await {
                // Retention goes on meanwhile.
                Err(ReadError::OutOfRange { log_start, .. }) if next < log_start => {
                    next = log_start;
                    continue;
                }
                read => read.expect("a full disk is read"),
            };
            assert!(read.bytes > 0, "{}: nothing is served at {next}", partition.id);
            for slice in &read.slices {
                let mut rest = &slice[..];
                while !rest.is_empty() {
                    let header = batch::parse_whole(rest).expect("what is served is whole");
                    let (served, after) = rest.split_at(header.batch_bytes);
                    found.insert(header.base_offset.0, Bytes::copy_from_slice(served));
                    (next, rest) = (header.next_offset(), after);
                }
            }
        }
        let start = partition.log_start().0;
        for (base, sent) in self.kept.borrow().range(start..) {
            let served = found.get(base).unwrap_or_else(|| panic!("the batch at {base} is gone"));
            assert_eq!(served[16..], sent[16..], "other bytes at {base}");
        }
    }
}

/// Deletes what is there, in one of the ways; `log_starts` are what a controller would keep.
async fn make_room(
    way: Way,
    subject: &Subject,
    other: &Subject,
    log_starts: &RefCell<[Offset; 2]>,
) {
    sim::note(&format!("{way:?}"));
    let partition = &subject.partition;
    match way {
        Way::DeleteRecords => {
            let end = partition.high_watermark();
            log_starts.borrow_mut()[0] = end;
            assert_eq!(partition.raise_log_start(end), end);
        }
        Way::Retention => {
            partition.set_config(Arc::new(LogConfig { retention_bytes: 0, ..config() }));
            partition.retain_later();
        }
        Way::DeleteTopic => {
            other.partition.retire();
            other.partition.remove_files().await;
        }
    }
}

fn writing_resumes(seed: u64, way: Way) {
    let dice = Dice::new(seed);
    let simulated = SimulationOptions { steps_max: STEPS_MAX, ..Default::default() };
    let simulation = Simulation::with_options(seed, simulated);
    let disk = simulation.disk();
    disk.put_directory("/data").expect("the disk is empty");
    disk.set_options(DiskOptions { capacity: 500_000 + dice.below(300_000), ..disk.options() });
    let options = options(&dice);
    let kept = RefCell::default();
    let log_starts = RefCell::new([Offset::ZERO; 2]);
    simulation.run(async {
        let shard = ShardLog::new(options.clone(), Rc::new(Probe::default()));
        shard.start_writers();
        let [subject, other] = [0, 1].map(|index| {
            let shard = &shard;
            async move {
                Subject {
                    partition: open(shard, index, Offset::ZERO).await,
                    kept: RefCell::default(),
                }
            }
        });
        let (subject, other) = (subject.await, other.await);
        for _ in 0..10 {
            assert!(subject.append(&dice).await && other.append(&dice).await, "there is room yet");
        }
        let rounds = if way == Way::DeleteTopic { 1 } else { 1 + dice.below(3) };
        for _ in 0..rounds {
            if way == Way::DeleteTopic {
                // Both grow, so that what goes with one is worth it.
                while other.append(&dice).await && subject.append(&dice).await {}
            }
            subject.fill(&dice).await;
            subject.check().await;
            make_room(way, &subject, &other, &log_starts).await;
            subject.resumes(&dice, way).await;
            if way != Way::DeleteTopic {
                other.resumes(&dice, way).await;
                other.check().await;
            }
            subject.check().await;
        }
        *kept.borrow_mut() = subject.kept.take();
    });
    match dice.percent(50) {
        true => simulation.crash(),
        false => simulation.kill(),
    }
    // The disk is as small as it was.
    simulation.run(async {
        let shard = ShardLog::new(options, Rc::new(Probe::default()));
        shard.load_recovery_points().await.expect("the disk works");
        shard.start_writers();
        let [log_start, _] = log_starts.take();
        let partition = open(&shard, 0, log_start).await;
        let subject = Subject { partition, kept };
        let end = subject.kept.borrow().last_key_value().map_or(0, |(base, _)| base + 1);
        assert!(subject.partition.high_watermark().0 >= end, "acknowledged batches are gone");
        subject.check().await;
    });
}

#[test]
fn a_full_disk_is_written_to_again_once_records_were_deleted() {
    for_each_seed(100, |seed| writing_resumes(seed, Way::DeleteRecords));
}

#[test]
fn a_full_disk_is_written_to_again_once_retention_made_room() {
    for_each_seed(100, |seed| writing_resumes(seed, Way::Retention));
}

#[test]
fn a_full_disk_is_written_to_again_once_a_topic_was_deleted() {
    for_each_seed(100, |seed| writing_resumes(seed, Way::DeleteTopic));
}
