//! A history: its plan, drawn from the seed, and its drive through several lives of the process.

use super::check;
use super::dice::Dice;
use super::model::{End, PartitionModel};
use super::strain::Strain;
use super::trouble::{Measure, Trouble};
use super::workload::{self, Open, Producer, Subject};
use crate::log::{LogConfig, LogOptions, Partition, PartitionId, ShardLog};
use crate::probe::Probe;
use crate::runtime::sim::{DiskOptions, Simulation, SimulationOptions, Stop};
use crate::runtime::{self, Instant};
use crate::types::{Durability, Offset, TopicId};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const DATA: &str = "/data";
/// How hard the disk's troubles come.
const MEASURE: Measure<'_> = Measure {
    error_probability: 0.03,
    bytes_left_max: 200_000,
    skips: &[12],
    paths: &["", ".log", "index", "producers"],
};
/// No history needs more; a hang shows early.
const STEPS_MAX: u64 = 300_000;

/// What happened in one history or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub lives: u64,
    pub stops: u64,
    pub kills: u64,
    pub power_losses: u64,
    pub batches: u64,
    pub disk_operations: u64,
    /// Batches that were acknowledged and lost, where the durability allows it.
    pub lost: u64,
    /// Partitions that could not be opened, after a fault of the disk.
    pub offline: u64,
    pub tails_cut: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.stops += other.stops;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.batches += other.batches;
        self.disk_operations += other.disk_operations;
        self.lost += other.lost;
        self.offline += other.offline;
        self.tails_cut += other.tails_cut;
    }
}

/// One life of the process.
#[derive(Clone, Copy, Debug)]
struct Life {
    end: End,
    /// It ends once so many operations of the disk were submitted, else when its work is done.
    cut_after: Option<u64>,
    trouble: Trouble,
    /// Bits to turn over before it begins.
    rot: u64,
}

/// What a history dwells on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// Everything that may go wrong.
    Any,
    /// Crash upon crash, on a disk that works.
    Crashes,
    /// Durability changes, rotting files.
    Changes,
}

struct History {
    theme: Theme,
    dice: Dice,
    strain: Option<Strain>,
    simulation: Simulation,
    options: LogOptions,
    subjects: Vec<Rc<Subject>>,
    producers: Vec<(usize, RefCell<Producer>)>,
    tally: RefCell<Tally>,
    /// Whether every partition was left complete.
    complete: Cell<bool>,
    /// Bits of some file were turned over.
    rotted: Cell<bool>,
    /// The disk failed some operation.
    troubled: Cell<bool>,
}

/// Runs the history of a seed.
///
/// # Panics
/// When the log breaks a promise.
pub fn run_history(seed: u64) -> Tally {
    let history = History::plan(seed);
    let lives = 2 + history.dice.below(if history.theme == Theme::Crashes { 4 } else { 3 });
    for number in 0..lives {
        let life = history.plan_life();
        history.live(life, number);
    }
    // And without trouble: all that is left must be there, and stay.
    for number in 0..1 + history.dice.below(2) {
        let end = history.dice.pick(&[End::Stop, End::Kill, End::PowerLoss]);
        let life = Life { end, cut_after: None, trouble: Trouble::None, rot: 0 };
        history.live(life, lives + number);
    }
    let mut tally = *history.tally.borrow();
    tally.disk_operations = history.simulation.disk().operations_submitted();
    tally
}

impl History {
    fn plan(seed: u64) -> History {
        let dice = Dice::new(seed);
        let theme = match seed % 4 {
            0 | 1 => Theme::Any,
            2 => Theme::Crashes,
            _ => Theme::Changes,
        };
        let simulation_options = SimulationOptions { steps_max: STEPS_MAX, ..Default::default() };
        let simulation = Simulation::with_options(seed, simulation_options);
        simulation.disk().put_directory(DATA).expect("the disk is empty");
        let options = LogOptions {
            writers: 1 + dice.below(3) as usize,
            files_open_max: dice.pick(&[1, 2, 4, 64]),
            tail_cache_bytes: dice.pick(&[4096, 20_000, 1 << 20]),
            pending_bytes_max: if seed.is_multiple_of(2) { 30_000 } else { 1 << 20 },
            sealed_indexes_max: dice.pick(&[1, 4]),
            commit_bytes_max: dice.pick(&[4096, 12_288, 65_536]),
            recovery_scan_bytes_max: dice.pick(&[8192, 100_000, 100_000, 1 << 30]),
            index_step_bytes: dice.pick(&[4096, 30_000, 1 << 20]),
            housekeepers: 1 + dice.below(2) as usize,
            free_piece_bytes: 8 * 1024,
            ..LogOptions::new(DATA.into())
        };
        let partitions = 1 + dice.below(2) as usize;
        let subjects: Vec<Rc<Subject>> =
            (0..partitions).map(|index| Rc::new(subject(&dice, index))).collect();
        let made = Rc::new(Cell::new(1));
        let producers = (0..partitions + dice.below(2) as usize)
            .map(|number| {
                let id = dice.percent(60).then_some(1000 + number as i64);
                let producer = Producer::new(id, dice.fork(), made.clone());
                (number % partitions, RefCell::new(producer))
            })
            .collect();
        let tally = RefCell::default();
        History {
            theme,
            dice,
            strain: Strain::plan(seed),
            simulation,
            options,
            subjects,
            producers,
            tally,
            complete: Cell::new(true),
            rotted: Cell::new(false),
            troubled: Cell::new(false),
        }
    }

    fn plan_life(&self) -> Life {
        let dice = &self.dice;
        if self.theme == Theme::Crashes {
            let end = dice.pick(&[End::Kill, End::PowerLoss]);
            let cut_after = Some(10 + dice.below(100));
            return Life { end, cut_after, trouble: Trouble::None, rot: 0 };
        }
        let end = dice.pick(&[End::Stop, End::Kill, End::PowerLoss, End::PowerLoss]);
        let is_cut = end != End::Stop && dice.percent(75);
        let trouble = match dice.below(16) {
            0 => Trouble::WriteErrors,
            1 => Trouble::SyncErrors,
            2 => Trouble::ReadErrors,
            3 | 4 => Trouble::OneError,
            5 | 6 => Trouble::DiskFull,
            7 => Trouble::SlowDisk,
            _ => Trouble::None,
        };
        let rots = dice.percent(if self.theme == Theme::Changes { 25 } else { 8 });
        let rot = if rots { 1 + dice.below(3) } else { 0 };
        Life { end, cut_after: is_cut.then(|| dice.below(160)), trouble, rot }
    }

    fn live(&self, life: Life, number: u64) {
        self.rot(life.rot);
        life.trouble.begin(&self.dice, &self.simulation.disk(), &MEASURE);
        self.complete.set(false);
        let faults = life.trouble.is_fault();
        let body = async {
            workload::tell(|| format!("life {number}: {life:?}"));
            self.work(life, faults, number).await;
        };
        let stop = life.cut_after.map_or(Stop::At(Instant(u64::MAX)), Stop::AfterDiskOperations);
        self.troubled.set(self.troubled.get() || faults);
        let finished = self.simulation.run_until(stop, body).is_some();
        if faults && life.trouble != Trouble::ReadErrors {
            for subject in &self.subjects {
                let mut model = subject.model.borrow_mut();
                // A sync that failed may have lost writes for good, and the next one says nothing
                // ("fsyncgate"). Only where every commit is synced can recovery mend that.
                model.rotten |= model.was_lax;
            }
        }
        let stopped = life.end == End::Stop && finished;
        let disk = self.simulation.disk();
        disk.heal();
        disk.set_options(DiskOptions::default());
        let mut tally = self.tally.borrow_mut();
        tally.lives += 1;
        match life.end {
            // All is complete, so the power may go as well.
            End::Stop if number.is_multiple_of(2) => self.simulation.crash(),
            End::Stop | End::Kill => self.simulation.kill(),
            End::PowerLoss => self.simulation.crash(),
        }
        let ended = match life.end {
            End::Stop if !self.complete.get() => End::Kill,
            other => other,
        };
        tally.stops += u64::from(stopped);
        tally.kills += u64::from(life.end == End::Kill);
        tally.power_losses += u64::from(life.end == End::PowerLoss);
        // A stop that was not complete, then power loss, is a power loss.
        let lost_power = life.end == End::Stop && number.is_multiple_of(2);
        let ended = if ended == End::Kill && lost_power { End::PowerLoss } else { ended };
        for subject in &self.subjects {
            let mut model = subject.model.borrow_mut();
            model.ended = model.ended.max(ended);
        }
    }

    /// Turns bits over, anywhere but in `partition.metadata`, which the controller reads first.
    fn rot(&self, bits: u64) {
        let disk = self.simulation.disk();
        for _ in 0..bits {
            let files: Vec<String> =
                disk.files().into_iter().filter(|file| !file.ends_with("metadata")).collect();
            if files.is_empty() {
                return;
            }
            let file = &files[self.dice.below(files.len() as u64) as usize];
            let length = disk.read_file(file).expect("it was listed").len() as u64;
            if length == 0 {
                continue;
            }
            self.rotted.set(true);
            let position = self.dice.below(length);
            disk.flip_bit(file, position, self.dice.below(8) as u8).expect("it is there");
            for subject in &self.subjects {
                let mut model = subject.model.borrow_mut();
                model.producers_rotten |= file.contains("recovery-points");
                if Path::new(file).parent().is_some_and(|folder| folder.ends_with(&model.name)) {
                    model.rotten |= file.ends_with(".log");
                    model.producers_rotten |= file.ends_with(".producers");
                    model.epochs_rotten |= file.ends_with("leader-epoch-checkpoint");
                }
            }
        }
    }

    async fn work(&self, life: Life, faults: bool, number: u64) {
        let shard = ShardLog::new(self.options.clone(), Rc::new(Probe::default()));
        if let Err(error) = shard.load_recovery_points().await {
            assert!(faults, "recovery points cannot be read: {error}");
            // Then a broker does not start.
            return;
        }
        shard.start_writers();
        let dice = self.dice.fork();
        if dice.percent(20) {
            runtime::sim::step_wall_clock(dice.within(0..100_000));
        }
        let mut opens = Vec::new();
        for subject in &self.subjects {
            if let Some(open) = self.open(&shard, subject, faults).await {
                opens.push(open);
            }
        }
        let is_strict = |subject: &Rc<Subject>| !subject.model.borrow().was_lax;
        if !self.troubled.get() && !self.rotted.get() && self.subjects.iter().all(is_strict) {
            check::scanned_no_more(&opens, self.options.recovery_scan_bytes_max);
        }
        for open in &opens {
            check::after_opening(open, &dice).await;
        }
        if opens.is_empty() {
            return;
        }
        let (dice, frees) = (&dice, life.trouble == Trouble::DiskFull);
        let batches = 1 + dice.below(8);
        let producing = self.producers.iter().filter_map(|(subject, producer)| {
            let name = &self.subjects[*subject];
            let open = opens.iter().find(|open| Rc::ptr_eq(&open.subject, name))?;
            Some(async move {
                // Nobody else has this producer in this life.
                let mut producer = ProducerOut::take(producer);
                producer.get().work(open, batches).await;
                self.tally.borrow_mut().batches += batches;
            })
        });
        let consuming = opens.iter().map(|open| workload::consume(open, dice, 1 + dice.below(4)));
        let producing = futures_util::future::join_all(producing);
        let consuming = futures_util::future::join_all(consuming);
        let rounds = 1 + dice.below(if self.theme == Theme::Changes { 10 } else { 4 });
        let operating = workload::operate(&opens, dice, rounds, frees);
        let straining = async {
            if let Some(strain) = &self.strain {
                strain.work(1).await;
            }
        };
        futures_util::future::join4(producing, consuming, operating, straining).await;
        self.wind_up(&shard, &opens, life, number).await;
    }

    async fn open(
        &self,
        shard: &Rc<ShardLog>,
        subject: &Rc<Subject>,
        faults: bool,
    ) -> Option<Open> {
        if self.dice.percent(20) {
            subject.epoch.set(subject.epoch.get() + 1);
        }
        let (name, log_start, rotten) = {
            let model = subject.model.borrow();
            (model.name.clone(), model.log_start, model.rotten || model.epochs_rotten)
        };
        let index = name.rsplit_once('-').and_then(|(_, index)| index.parse().ok());
        let id = PartitionId {
            topic_id: TopicId([7; 16]),
            topic: "t".into(),
            index: index.expect("names end with a number"),
        };
        let config = subject.config.borrow().clone();
        let epoch = subject.epoch.get();
        let opened = Partition::open(shard, id.clone(), config.clone(), epoch, log_start).await;
        let faults_expected = faults || rotten;
        let touched = self.rotted.get();
        match opened {
            Ok(partition) => {
                self.tally.borrow_mut().tails_cut += u64::from(partition.recovery().cut_bytes > 0);
                workload::tell(|| format!("{name} opened: {:?}", partition.recovery()));
                let mut model = subject.model.borrow_mut();
                let ended = std::mem::replace(&mut model.ended, End::Stop);
                let lost = model.opened(partition.recovery().end, ended);
                drop(model);
                self.tally.borrow_mut().lost += u64::from(lost);
                let (subject, shard) = (subject.clone(), shard.clone());
                let open = Open { subject, partition, shard, faults_expected };
                // An index that cannot be read is done without.
                if ended == End::Stop && !rotten && !touched && !faults {
                    check::scanned_little(&open, self.options.index_step_bytes);
                }
                Some(open)
            }
            Err(fault) => {
                assert!(faults_expected, "{name} does not open: {fault}");
                self.tally.borrow_mut().offline += 1;
                let partition = Partition::offline(shard, id, config, epoch, log_start, fault);
                let answer = partition.read(log_start, 1000, true).await;
                assert!(
                    matches!(answer, Err(crate::log::ReadError::Offline(_))),
                    "{name} could not be opened and answers {answer:?}"
                );
                None
            }
        }
    }

    /// The end of a life that was not cut short.
    async fn wind_up(&self, shard: &Rc<ShardLog>, opens: &[Open], life: Life, number: u64) {
        for open in opens {
            assert_eq!(open.partition.waiters(), 0, "{}: somebody still waits", open.partition.id);
        }
        if life.end != End::Stop {
            return;
        }
        let mut complete = opens.len() == self.subjects.len();
        for open in opens {
            if let Err(fault) = open.partition.stop().await {
                workload::expect_fault(open, &fault);
                complete = false;
            }
        }
        // What keeps it from being written has been seen: partitions that failed keep their old ones.
        drop(shard.save_recovery_points().await);
        if number.is_multiple_of(3) {
            opens.iter().for_each(|open| open.partition.retire());
            runtime::sleep(Duration::from_millis(1)).await;
            assert_eq!(shard.cached_bytes(), 0, "retired partitions hold no cache");
        }
        assert_eq!(shard.pending_bytes(), 0, "nothing is pending after a stop");
        // No round is under way that has files of its own open.
        let _round = shard.rounds.enter().await;
        while shard.is_freeing() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        let open_files = runtime::sim::disk().files_open();
        assert!(open_files == 0 || !complete, "{open_files} files are open after a stop");
        self.complete.set(complete);
    }
}

/// A producer on loan from the history: a client outlives the broker, even one that is cut short.
struct ProducerOut<'a>(std::cell::RefMut<'a, Producer>);

impl<'a> ProducerOut<'a> {
    fn take(producer: &'a RefCell<Producer>) -> ProducerOut<'a> {
        ProducerOut(producer.borrow_mut())
    }

    fn get(&mut self) -> &mut Producer {
        &mut self.0
    }
}

fn subject(dice: &Dice, index: usize) -> Subject {
    let durability = match dice.below(10) {
        0..7 => Durability::Fsync,
        7..9 => Durability::Write,
        _ => Durability::Memory,
    };
    let config = LogConfig {
        segment_bytes: dice.pick(&[5000, 20_000, 60_000, 1 << 20]),
        segment_ms: dice.pick(&[1000, 20_000, i64::MAX]),
        index_interval_bytes: dice.pick(&[1, 600, 4096]),
        log_append_time: dice.percent(10),
        message_bytes_max: 24_000,
        durability,
        ..LogConfig::default()
    };
    let model = PartitionModel::new(format!("t-{index}"), durability);
    assert_eq!(model.next, Offset::ZERO);
    Subject {
        model: RefCell::new(model),
        config: RefCell::new(Arc::new(config)),
        epoch: Cell::new(0),
    }
}
