//! Damage of every kind to a log of several segments, and what is made of it: what an inspection says is held
//! against what a start serves, what is served up to the damage against what was written, and a repair, also one
//! that is cut short anywhere, against both. What a repair changes must be kept.

use super::dice::Dice;
use crate::log::{
    AppendError, FindingKind, Inspection, LogConfig, LogFault, LogOptions, Partition,
    PartitionFacts, PartitionId, Repair, RepairPlan, ShardLog,
};
use crate::probe::Probe;
use crate::runtime;
use crate::runtime::sim::{DiskSnapshot, Simulation, Stop, for_each_seed};
use crate::types::{Durability, Offset, Timestamp, TopicId};
use crate::wire::batch::{self, BatchHeader, testing};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Logs that a plain `cargo test` damages; CORELOG_REPAIRS asks for more.
const CASES: u64 = 250;

const FOLDER: &str = "/data/t-0";
const BACKUP: &str = "/data/.repair/then/t-0";

/// Batches by their first offset, as they lie in files.
type Batches = BTreeMap<i64, Vec<u8>>;

/// One log, its damage, and all that is tried with it.
struct Case {
    simulation: Simulation,
    config: LogConfig,
    written: Batches,
    damaged: DiskSnapshot,
}

fn shard() -> Rc<ShardLog> {
    // Little may be torn, so that damage is told from it in small logs.
    let options = LogOptions { commit_bytes_max: 4096, ..LogOptions::new("/data".into()) };
    let shard = ShardLog::new(options, Rc::new(Probe::default()));
    shard.start_writers();
    shard
}

async fn ready_shard() -> Rc<ShardLog> {
    let shard = shard();
    shard.load_recovery_points().await.expect("the disk works");
    shard
}

fn facts(config: &LogConfig) -> PartitionFacts {
    let id = PartitionId { topic_id: TopicId([7; 16]), topic: "t".into(), index: 0 };
    let log_start = Some(Offset::ZERO);
    PartitionFacts { id, config: Arc::new(config.clone()), leader_epoch: 0, log_start }
}

async fn open(shard: &Rc<ShardLog>, config: &LogConfig) -> Result<Rc<Partition>, LogFault> {
    let PartitionFacts { id, config, .. } = facts(config);
    Partition::open(shard, id, config, 0, Offset::ZERO).await
}

/// What is served from the log's start on, and whether that is all up to its end.
async fn read_all(partition: &Rc<Partition>) -> (Batches, bool) {
    let mut served = Batches::new();
    let mut next = partition.log_start();
    while next < partition.high_watermark() {
        let Ok(found) = partition.read(next, 10_000, true).await else { return (served, false) };
        for slice in &found.slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                let header = batch::parse_whole(rest).expect("what is served is whole");
                assert!(header.next_offset() > next, "{} after {next}", header.base_offset);
                served.insert(header.base_offset.0, rest[..header.batch_bytes].to_vec());
                next = header.next_offset();
                rest = &rest[header.batch_bytes..];
            }
        }
    }
    (served, true)
}

fn is_stand_in(bytes: &[u8]) -> bool {
    BatchHeader::parse(bytes).is_ok_and(|header| header.record_count == 0)
}

impl Case {
    fn new(seed: u64) -> Case {
        let dice = Dice::new(seed);
        let simulation = Simulation::new(seed);
        simulation.disk().put_directory("/data").expect("the disk is empty");
        let config = LogConfig {
            segment_bytes: dice.pick(&[5000, 20_000, 1 << 20]),
            index_interval_bytes: dice.pick(&[1, 600, 4096]),
            durability: if dice.percent(85) { Durability::Fsync } else { Durability::Write },
            ..LogConfig::default()
        };
        let written = RefCell::new(Batches::new());
        let stops = dice.percent(50);
        simulation.run(write(&dice, &config, stops, &written));
        simulation.kill();
        simulation.run(damage(&dice));
        let damaged = simulation.disk().snapshot();
        Case { simulation, config, written: written.into_inner(), damaged }
    }

    /// Power loss, where every commit was synced; else what was not, may go.
    fn crash(&self) {
        match self.config.durability {
            Durability::Fsync => self.simulation.crash(),
            _ => self.simulation.kill(),
        }
    }

    fn restore(&self) {
        self.simulation.kill();
        self.simulation.disk().restore(&self.damaged);
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.simulation.disk();
        let read = |path: String| (path.clone(), disk.read_file(&path).expect("it was listed"));
        disk.files().into_iter().map(read).collect()
    }

    /// What was served is what was written there.
    fn check_served(&self, served: &Batches) {
        for (base, bytes) in served.iter().filter(|(_, bytes)| !is_stand_in(bytes)) {
            assert_eq!(self.written.get(base), Some(bytes), "the batch at {base}");
        }
    }

    fn inspect(&self) -> Inspection {
        let facts = facts(&self.config);
        self.simulation.run(async move {
            let shard = ready_shard().await;
            Inspection::of(&shard, &facts, &|_| ()).await.expect("the disk works")
        })
    }

    /// What a start serves: the end, whether all up to it can be read, and what can.
    fn start(&self, config: &LogConfig) -> Result<(Offset, bool, Batches), LogFault> {
        let config = config.clone();
        self.simulation.run(async move {
            let partition = open(&ready_shard().await, &config).await?;
            let (served, is_all) = read_all(&partition).await;
            if partition.fault().is_some() {
                check_read_only(&partition).await;
            }
            Ok((partition.high_watermark(), is_all, served))
        })
    }

    /// Asks for a repair, up to so many operations of the disk; false when it was cut short.
    fn repair(&self, repair: Repair, stop: Option<u64>) -> bool {
        let found = self.inspect();
        let Ok(Some(plan)) = RepairPlan::make(&found, repair) else { return true };
        let facts = facts(&self.config);
        let body = async move {
            let shard = ready_shard().await;
            let done = plan.carry_out(&shard, &facts, Path::new(BACKUP)).await;
            done.expect("the disk works");
        };
        match stop {
            Some(count) => {
                self.simulation.run_until(Stop::AfterDiskOperations(count), body).is_some()
            }
            None => {
                self.simulation.run(body);
                true
            }
        }
    }
}

/// Somebody who was further already waits instead of beginning anew, and nobody writes.
async fn check_read_only(partition: &Rc<Partition>) {
    let beyond = partition.high_watermark().advanced_by(1);
    assert!(matches!(
        partition.read(beyond, 1000, true).await,
        Err(crate::log::ReadError::Offline(_))
    ));
    let bytes = Bytes::from(testing::batch(&[b"late"], Timestamp(5), None));
    let refused = partition.append(bytes, runtime::wall_clock());
    assert!(matches!(refused, Err(AppendError::Offline(_))), "{refused:?}");
    assert!(partition.stop().await.is_err(), "nothing is left complete");
}

async fn write(dice: &Dice, config: &LogConfig, stops: bool, written: &RefCell<Batches>) {
    let shard = shard();
    let partition = open(&shard, config).await.expect("the disk works");
    for number in 0..10 + dice.below(30) as i64 {
        let value = vec![number as u8; 20 + dice.below(1800) as usize];
        let producer = (number % 2 == 0).then_some((9, 0, number as i32));
        let values: &[&[u8]] = if number % 2 == 0 { &[&value, b"x"] } else { &[&value] };
        let bytes = Bytes::from(testing::batch(values, Timestamp(1000 * number), producer));
        let dispatched = partition.append(bytes.clone(), runtime::wall_clock());
        let dispatched = dispatched.expect("sequences follow");
        let mut key = Default::default();
        let stored = poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context));
        stored.await.expect("the disk works");
        let mut bytes = bytes.to_vec();
        batch::assign_offsets(&mut bytes, dispatched.base_offset, 0);
        written.borrow_mut().insert(dispatched.base_offset.0, bytes);
        if dice.percent(10) {
            shard.save_recovery_points().await.expect("the disk works");
        }
    }
    if stops {
        partition.stop().await.expect("the disk works");
        shard.save_recovery_points().await.expect("the disk works");
    }
}

/// One to three places of damage, most of them to segments.
async fn damage(dice: &Dice) {
    for _ in 0..1 + dice.below(3) {
        let disk = runtime::sim::disk();
        let is_log = |path: &String| path.ends_with(".log");
        let of_kind = dice.percent(75);
        let mut files = disk.files();
        files.retain(|path| !path.ends_with("metadata") && is_log(path) == of_kind);
        if files.is_empty() {
            continue;
        }
        let path = files[dice.below(files.len() as u64) as usize].clone();
        let mut bytes = disk.read_file(&path).expect("it was listed");
        if bytes.is_empty() {
            continue;
        }
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 | 2 => {
                let from = at / 512 * 512;
                let end = (from + 512 * dice.pick(&[1, 8])).min(bytes.len());
                bytes[from..end].fill(dice.pick(&[0, 0, 0xFF]));
            }
            3 => {
                runtime::remove_file(Path::new(&path)).await.expect("it was listed");
                for folder in [FOLDER, "/data"] {
                    runtime::sync_directory(Path::new(folder)).await.expect("it is there");
                }
                continue;
            }
            4 => drop(bytes.drain(at..(at + dice.below(300) as usize).min(bytes.len()))),
            _ => bytes[at] ^= 1 << dice.below(8),
        }
        disk.put_file(&path, &bytes).expect("the disk works");
    }
}

/// An inspection changes nothing and says what a start will serve.
fn check_inspection(case: &Case) -> Inspection {
    let before = case.files();
    let found = case.inspect();
    assert_eq!(case.files(), before, "an inspection changes nothing");
    case.simulation.kill();
    let served = case.start(&case.config);
    match &served {
        Ok((end, is_all, served)) => {
            case.check_served(served);
            // A wrong history of epochs is in the way of records that are sound.
            let of_epochs = found.findings.iter().any(|f| f.kind == FindingKind::Epochs);
            assert!(of_epochs || *is_all != found.is_damaged(), "{found:?}");
            assert!(!is_all || *end == found.end, "up to {end}: {found:?}");
        }
        Err(fault) => assert!(!found.is_sound(), "{fault}, but {found:?}"),
    }
    case.restore();
    let readable = LogConfig { serves_damaged: true, ..case.config.clone() };
    if let Ok((end, _, before)) = case.start(&readable) {
        case.check_served(&before);
        assert!(end <= found.end.max(Offset(case.written.len() as i64 * 2)));
    }
    case.restore();
    found
}

fn check_repair(case: &Case, found: &Inspection, repair: Repair) -> Option<(Offset, Batches)> {
    let planned = RepairPlan::make(found, repair).ok()?;
    if planned.is_none() && !found.is_sound() {
        // It is for another repair.
        return None;
    }
    let before = case.files();
    case.repair(repair, None);
    let after = case.files();
    // What a crash left half written is nobody's.
    for (path, bytes) in before.into_iter().filter(|(path, _)| !path.ends_with(".tmp")) {
        let name = Path::new(&path).file_name().expect("a file has one").to_owned();
        let kept = Path::new(BACKUP).join(name).display().to_string();
        let is_kept = after.get(&path) == Some(&bytes) || after.get(&kept) == Some(&bytes);
        assert!(is_kept, "{path} was changed and not kept");
    }
    case.crash();
    let again = case.inspect();
    assert!(!again.is_damaged(), "{repair:?} of {found:?}: {again:?}");
    if planned.is_some() {
        assert!(matches!(RepairPlan::make(&again, repair), Ok(None)), "{repair:?}: {again:?}");
    }
    case.simulation.kill();
    let started = case.start(&case.config);
    let (end, is_all, served) =
        started.unwrap_or_else(|fault| panic!("{repair:?}: {fault}; {found:?}"));
    case.check_served(&served);
    assert!(is_all, "{repair:?}: all can be read; {found:?}");
    if repair == Repair::SkipDamaged {
        let records = |bytes: &Vec<u8>| BatchHeader::parse(bytes).expect("whole").record_count;
        let records: i64 = served.values().map(|bytes| i64::from(records(bytes))).sum();
        assert_eq!(records as u64, found.totals.records, "what is whole is served: {found:?}");
        assert_eq!(end, found.end, "{found:?}");
    }
    case.restore();
    Some((end, served))
}

/// Wherever it is cut short, asking again ends it, and no broker serves what is half done.
fn check_interruption(case: &Case, dice: &Dice, repair: Repair, expected: &(Offset, Batches)) {
    let old = case.start(&case.config).map(|(end, ..)| end).ok();
    case.restore();
    let is_done = case.repair(repair, Some(1 + dice.below(60)));
    if dice.percent(50) {
        case.simulation.kill()
    } else {
        case.crash()
    }
    let half = case.simulation.disk().snapshot();
    if let Ok((end, ..)) = case.start(&case.config) {
        assert!(end == expected.0 || (Some(end) == old && !is_done), "{end} is neither");
    }
    case.simulation.kill();
    case.simulation.disk().restore(&half);
    case.repair(repair, None);
    case.crash();
    let again = case.inspect();
    case.simulation.kill();
    let started = case.start(&case.config);
    let (end, is_all, served) =
        started.unwrap_or_else(|fault| panic!("{repair:?} again: {fault}; {again:?}"));
    assert!(is_all && (end, &served) == (expected.0, &expected.1), "{end}, not {}", expected.0);
}

#[test]
fn what_is_said_of_damage_is_so_and_repairs_mend_it() {
    let asked = std::env::var("CORELOG_REPAIRS").ok();
    let cases = asked.map_or(CASES, |asked| asked.parse().expect("CORELOG_REPAIRS is a number"));
    for_each_seed(cases, |seed| {
        let case = Case::new(seed);
        let dice = Dice::new(seed + 1_000_000);
        let found = check_inspection(&case);
        for repair in [Repair::Truncate, Repair::SkipDamaged] {
            let Some(expected) = check_repair(&case, &found, repair) else { continue };
            if found.is_damaged() && dice.percent(50) {
                check_interruption(&case, &dice, repair, &expected);
                case.restore();
            }
        }
        if !found.is_damaged() && !found.is_sound() {
            check_repair(&case, &found, Repair::Indexes);
        }
    });
}

/// Whoever asks after a crash is told of what a start would cut, and of nothing else.
#[test]
fn what_a_crash_leaves_is_sound() {
    for_each_seed(CASES * 4, |seed| {
        let dice = Dice::new(seed);
        let simulation = Simulation::new(seed);
        simulation.disk().put_directory("/data").expect("the disk is empty");
        let config = LogConfig {
            segment_bytes: dice.pick(&[5000, 20_000, 1 << 20]),
            index_interval_bytes: dice.pick(&[1, 600, 4096]),
            ..LogConfig::default()
        };
        let written = RefCell::default();
        let stop = Stop::AfterDiskOperations(10 + dice.below(200));
        simulation.run_until(stop, write(&dice, &config, dice.percent(20), &written));
        match dice.percent(50) {
            true => simulation.crash(),
            false => simulation.kill(),
        }
        let facts = facts(&config);
        let found = simulation.run(async move {
            let shard = ready_shard().await;
            Inspection::of(&shard, &facts, &|_| ()).await.expect("the disk works")
        });
        assert!(found.is_sound(), "{found:?}");
    });
}
