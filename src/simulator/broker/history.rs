//! A history: its plan, drawn from the seed, and its drive through several lives of the broker.

use super::admin::{self, Admin};
use super::consumer::{self, Consumer};
use super::defaults::Defaults;
use super::groups::{Groups, is_topic_of_groups};
use super::host;
use super::link::Link;
use super::model::{End, Habits, Model};
use super::mover::Mover;
use super::producer::Producer;
use super::world::{Now, Tally, World, tell};
use crate::config::{Config, Endpoints, LogConfig};
use crate::control_plane::groups::set_copy_bytes_min;
use crate::control_plane::metadata_log;
use crate::log::LogOptions;
use crate::net::harness::{Host, HostOptions};
use crate::runtime::sim::{self, DiskOptions, NetworkOptions, Simulation, SimulationOptions, Stop};
use crate::runtime::{self, Instant};
use crate::simulator::dice::Dice;
use crate::simulator::strain::Strain;
use crate::simulator::trouble::{Measure, Trouble};
use crate::types::Durability;
use futures_util::future::join_all;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// No life needs more; a hang shows early.
const STEPS_MAX: u64 = 1_000_000;
/// How hard the disk's troubles come.
const MEASURE: Measure<'_> = Measure {
    error_probability: 0.02,
    bytes_left_max: 400_000,
    skips: &[1, 4, 20],
    paths: &["", ".log", "index", "producers", "metadata.log", "points"],
};
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Tries to have one request answered while connections break.
const TRIES: usize = 30;

/// One life of the broker.
#[derive(Clone, Copy, Debug)]
struct Life {
    shards: u16,
    per_core: bool,
    end: End,
    /// It ends once so many operations of the disk were submitted, else when its work is done.
    cut_after: Option<u64>,
    /// It is stopped while clients are at work.
    stops_early: bool,
    trouble: Trouble,
    cut_probability: f64,
    /// Bits to turn over before it begins.
    rot: u64,
    rounds: u64,
}

struct History {
    dice: Dice,
    simulation: Simulation,
    log: LogOptions,
    segment_bytes: u64,
    fetch_sessions_max: usize,
    world: Rc<World>,
    producers: Vec<Rc<Producer>>,
    groups: Option<Rc<Groups>>,
    defaults: Option<Rc<Defaults>>,
    mover: Option<Mover>,
    /// The last life was stopped, and that was complete.
    complete: Rc<Cell<bool>>,
    /// The disk fails in some lives.
    is_troubled: bool,
    strain: Option<Strain>,
    /// What the next start may read again, but for what was in flight; none when nobody knows.
    scan_bytes_max: Cell<Option<u64>>,
    /// All partitions were opened in this life.
    is_all_open: Cell<bool>,
    moves: bool,
    breaks: bool,
    rots: bool,
}

/// Runs the history of a seed.
///
/// # Panics
/// When the broker breaks a promise.
pub fn run_history(seed: u64) -> (Tally, u64) {
    let history = History::plan(seed);
    let lives = 1 + history.dice.below(3);
    for number in 0..lives {
        let life = history.plan_life();
        history.live(life, number);
    }
    // And without trouble: all that is left must be there.
    let end = history.dice.pick(&[End::Stop, End::Kill, End::PowerLoss]);
    let calm = Life {
        end,
        cut_after: None,
        trouble: Trouble::None,
        stops_early: false,
        cut_probability: 0.0,
        rot: 0,
        rounds: 3,
        ..history.plan_life()
    };
    history.live(calm, lives);
    let mut tally = *history.world.tally.borrow();
    tally.disk_operations = history.simulation.disk().operations_submitted();
    (tally, history.simulation.fingerprint())
}

impl History {
    fn plan(seed: u64) -> History {
        let dice = Dice::new(seed);
        let is_troubled = dice.percent(35);
        let options = SimulationOptions {
            steps_max: STEPS_MAX,
            stall_probability: dice.pick(&[0.0, 0.005, 0.03]),
            network: NetworkOptions { partial_probability: 0.05, ..Default::default() },
            ..Default::default()
        };
        let simulation = Simulation::with_options(seed, options);
        let strain = Strain::plan(seed);
        let mut log = LogOptions {
            writers: 1 + dice.below(3) as usize,
            files_open_max: dice.pick(&[1, 2, 4, 64]),
            tail_cache_bytes: dice.pick(&[4096, 20_000, 1 << 20]),
            pending_bytes_max: dice.pick(&[30_000, 1 << 20]),
            sealed_indexes_max: dice.pick(&[1, 4]),
            commit_bytes_max: dice.pick(&[4096, 12_288, 65_536]),
            recovery_scan_bytes_max: dice.pick(&[8192, 100_000, 1 << 30]),
            index_step_bytes: dice.pick(&[4096, 30_000, 1 << 20]),
            retention_check: Duration::from_millis(dice.pick(&[5, 50, 1000])),
            housekeepers: 1 + dice.below(2) as usize,
            free_piece_bytes: 8 * 1024,
            ..LogOptions::new("/data".into())
        };
        if strain.is_some() {
            log.pending_bytes_max = 30_000;
        }
        let names = &NAMES[..1 + dice.below(3) as usize];
        let habits = names.iter().map(|name| (name.to_string(), habits(&dice, is_troubled)));
        let world = World::new(Model::new(habits.collect::<Vec<_>>().into_iter()));
        let producers = 1 + dice.below(3);
        let producers =
            (0..producers).map(|_| Rc::new(Producer::new(dice.fork(), strain.is_some()))).collect();
        let groups = Groups::plan(seed, is_troubled);
        set_copy_bytes_min(groups.as_ref().map(|groups| groups.plan.copy_bytes_min));
        History {
            simulation,
            log,
            segment_bytes: dice.pick(&[5000, 20_000, 60_000, 1 << 20]),
            fetch_sessions_max: dice.pick(&[1000, 1000, 1, 0]),
            world,
            producers,
            groups,
            defaults: Defaults::plan(seed),
            mover: Mover::plan(seed),
            complete: Rc::new(Cell::new(true)),
            is_troubled,
            strain,
            scan_bytes_max: Cell::new(Some(0)),
            is_all_open: Cell::new(false),
            moves: dice.percent(70),
            breaks: dice.percent(40),
            rots: dice.percent(10),
            dice,
        }
    }

    fn plan_life(&self) -> Life {
        let dice = &self.dice;
        let end = dice.pick(&[End::Stop, End::Kill, End::PowerLoss, End::PowerLoss]);
        let is_cut = end != End::Stop && dice.percent(75);
        let trouble = match dice.below(8) {
            _ if !self.is_troubled => Trouble::None,
            0 => Trouble::WriteErrors,
            1 => Trouble::SyncErrors,
            2 => Trouble::ReadErrors,
            3 | 4 => Trouble::OneError,
            5 => Trouble::DiskFull,
            6 => Trouble::SlowDisk,
            _ => Trouble::None,
        };
        Life {
            shards: if self.moves { 1 + dice.below(4) as u16 } else { 2 },
            per_core: dice.percent(60),
            end,
            cut_after: is_cut.then(|| dice.pick(&[40, 150, 400])).map(|most| dice.below(most)),
            stops_early: end == End::Stop && dice.percent(50),
            trouble,
            cut_probability: if self.breaks { dice.pick(&[0.0, 0.002, 0.02]) } else { 0.0 },
            rot: if self.rots && dice.percent(50) { 1 + dice.below(3) } else { 0 },
            rounds: 2 + dice.below(6),
        }
    }

    fn live(&self, life: Life, number: u64) {
        let faults = life.trouble.is_fault();
        if life.rot > 0 {
            self.rot_metadata(life);
        }
        self.rot(life.rot);
        life.trouble.begin(&self.dice, &self.simulation.disk(), &MEASURE);
        let network = self.simulation.network();
        let cut_probability = life.cut_probability;
        network.set_options(NetworkOptions { cut_probability, ..network.options() });
        self.world.now.set(Now {
            shards: life.shards,
            per_core: life.per_core && life.shards > 1,
            faults,
            cuts: cut_probability > 0.0,
            stopping: false,
        });
        if self.dice.percent(15) {
            self.simulation.step_wall_clock(self.dice.within(-600_000..600_000));
        }
        self.complete.set(false);
        let body = async {
            tell(|| format!("life {number}: {life:?}"));
            self.work(life).await;
        };
        // Lives with groups have more of them.
        let of_groups = self.groups.as_ref().filter(|_| life.cut_after.is_some());
        let cut_after = of_groups.map(|groups| groups.cut_after()).or(life.cut_after);
        let stop = cut_after.map_or(Stop::At(Instant(u64::MAX)), Stop::AfterDiskOperations);
        let finished = self.simulation.run_until(stop, body).is_some();
        let disk = self.simulation.disk();
        disk.heal();
        disk.set_options(DiskOptions::default());
        let is_complete = life.end == End::Stop && finished && self.complete.get() && !faults;
        let loses_power = match life.end {
            // When all is complete the power may go as well.
            End::Stop => number.is_multiple_of(2),
            end => end == End::PowerLoss,
        };
        let end = match loses_power {
            _ if is_complete => End::Stop,
            true => End::PowerLoss,
            false => End::Kill,
        };
        if loses_power {
            self.simulation.crash()
        } else {
            self.simulation.kill()
        }
        self.bound_the_next_scan(life, is_complete);
        let mut tally = self.world.tally.borrow_mut();
        tally.lives += 1;
        tally.stops += u64::from(is_complete);
        let disk_failed = faults && life.trouble != Trouble::ReadErrors;
        self.world.model.borrow_mut().life_ended(end, disk_failed);
        if let Some(groups) = &self.groups {
            groups.life_ended(end);
        }
    }

    /// A bit of a sealed metadata log turned over: the broker does not start and says where. It is turned back.
    fn rot_metadata(&self, life: Life) {
        let directory = &self.log.data_directory;
        let seen = self.simulation.run(metadata_log::glimpse(directory));
        let Some(seen) = seen.ok().flatten() else { return };
        // What is set for the next life is still the last one's. A core that stands still may keep a stop from it.
        let was_well = !self.world.now.get().faults && self.strain.is_none();
        let must = self.complete.get() && was_well;
        assert!(seen.is_sealed || !must, "a stop left the metadata log without a seal");
        if !seen.is_sealed {
            return;
        }
        let disk = self.simulation.disk();
        let file = directory.join(metadata_log::FILE_NAME);
        let (position, bit) = (self.dice.below(seen.end), self.dice.below(8) as u8);
        disk.flip_bit(&file, position, bit).expect("it is there");
        let started = Host::start_with(self.host_options(life), self.log.clone());
        let Err(why) = self.simulation.run(started) else {
            panic!("the broker starts with bit {bit} of byte {position} turned over in {file:?}");
        };
        assert!(why.contains("metadata.log is damaged at byte"), "{why}");
        self.simulation.kill();
        disk.flip_bit(&file, position, bit).expect("it is there");
    }

    /// Turns bits over in segments and their indexes.
    fn rot(&self, bits: u64) {
        let disk = self.simulation.disk();
        let is_chosen = |file: &String| file.ends_with(".log") || file.ends_with("index");
        for _ in 0..bits {
            let files: Vec<String> = disk.files().into_iter().filter(is_chosen).collect();
            let is_shared = |file: &&String| {
                let folder = file.rsplit('/').nth(1).unwrap_or_default();
                let name = folder.rsplit_once('-').map_or(folder, |(name, _)| name);
                !file.ends_with("metadata.log") && !is_topic_of_groups(name)
            };
            let files: Vec<&String> = files.iter().filter(is_shared).collect();
            if files.is_empty() {
                return;
            }
            let file = self.dice.pick(&files);
            let length = disk.read_file(file).expect("it was listed").len() as u64;
            if length > 0 {
                let position = self.dice.below(length);
                disk.flip_bit(file, position, self.dice.below(8) as u8).expect("it is there");
                let folder = file.rsplit('/').nth(1).expect("it is in a partition's folder");
                let name = folder.split('-').next().expect("folders begin with the topic's name");
                self.world.model.borrow_mut().rot(name);
            }
        }
    }

    fn host_options(&self, life: Life) -> HostOptions {
        let log = LogConfig {
            segment_bytes: self.segment_bytes,
            retention_ms: None,
            max_message_bytes: 24_000,
            index_interval_bytes: 600,
            ..LogConfig::default()
        };
        let mut config = Config {
            endpoints: if life.per_core { Endpoints::PerCore } else { Endpoints::Shared },
            fetch_sessions_max: self.fetch_sessions_max,
            log,
            ..Config::default()
        };
        if let Some(groups) = &self.groups {
            groups.plan.set(&mut config);
        }
        HostOptions { shards: life.shards, config, ..HostOptions::default() }
    }

    async fn work(&self, life: Life) {
        let faults = self.world.now.get().faults;
        let host = match Host::start_with(self.host_options(life), self.log.clone()).await {
            Ok(host) => Rc::new(host),
            Err(why) => {
                tell(|| format!("the broker does not start: {why}"));
                assert!(faults, "the broker does not start: {why}");
                self.world.tally.borrow_mut().failed_starts += 1;
                return;
            }
        };
        let watch = runtime::spawn(watch_places(host.clone(), self.groups.is_some()));
        if !self.call_the_roll().await {
            return;
        }
        let mut clients = self.clients(life);
        let mut groups = self.groups.clone();
        if let Some(working) = groups.clone() {
            match working.begin(&self.world).await {
                true => clients.extend(working.clients(&self.world)),
                false => groups = None,
            }
        }
        let operating = self.operate(&host, life);
        let straining = async {
            if let Some(strain) = &self.strain {
                strain.work(life.shards).await;
            }
        };
        let scanning = async {
            self.check_scanned(&host).await;
            // What is opened from here on, no start reads.
            if let Some(mover) = &self.mover {
                mover.work(&self.world, &host).await;
            }
        };
        futures_util::future::join4(join_all(clients), operating, straining, scanning).await;
        let stopping = self.world.now.get().stopping;
        if !stopping {
            if let Some(groups) = &groups {
                groups.end(&self.world).await;
                host::check_groups_quiet(&host, &self.world);
            }
            consumer::audit(&self.world, &self.dice).await;
            host::check_quiet(&host, self.log.files_open_max).await;
            host::check_all_open(&host).await;
        }
        if life.end == End::Stop {
            self.stop(&host).await;
        }
        drop(watch);
    }

    /// Once all is open: a start after a crash reads no more again than docs/DURABILITY.md says.
    async fn check_scanned(&self, host: &Host) {
        for server in &host.servers {
            server.shard.opened_all().await;
        }
        if self.world.now.get().stopping {
            return;
        }
        let scanned = host::scanned_bytes(host);
        if let Some(most) = self.scan_bytes_max.get() {
            assert!(scanned <= most, "{scanned} bytes are read again where {most} are allowed");
        }
        tell(|| format!("all is open, {scanned} bytes were read again"));
        self.is_all_open.set(true);
    }

    /// What the next start may read again: the bound of each core, and what was in flight when it was reached. What a
    /// life did not come to open is read by the next. No bound holds where the disk fails or rots, or without syncs.
    fn bound_the_next_scan(&self, life: Life, is_complete: bool) {
        let is_strict =
            self.world.model.borrow().names.values().all(|name| name.habits.is_strict());
        let cores = u64::from(life.shards);
        let in_flight = host::PRODUCING_CONNECTIONS_MAX * host::REQUEST_BYTES_MAX;
        let in_flight = cores * self.log.pending_bytes_max as u64 + in_flight as u64;
        let before =
            if self.is_all_open.replace(false) { Some(0) } else { self.scan_bytes_max.get() };
        let written = if is_complete { 0 } else { cores * self.log.recovery_scan_bytes_max };
        let is_bounded = is_strict && !self.is_troubled && !self.rots;
        let most = before.filter(|_| is_bounded).map(|before| before + written + in_flight);
        self.scan_bytes_max.set(most);
    }

    /// Looks what is there, before anything is asked for. False when nobody answers.
    async fn call_the_roll(&self) -> bool {
        let world = &self.world;
        world.model.borrow_mut().life_begins();
        let mut link = Link::new(world, &self.dice);
        for _ in 0..TRIES {
            if admin::list(&mut link, true).await.is_some() {
                let names: Vec<String> = world.model.borrow().names.keys().cloned().collect();
                for name in names {
                    Admin::new(world, &name, self.dice.fork()).describe(true).await;
                }
                if let Some(defaults) = &self.defaults {
                    defaults.look(world).await;
                }
                consumer::settle(&mut link).await;
                return true;
            }
        }
        false
    }

    fn clients(&self, life: Life) -> Vec<runtime::Task<()>> {
        let (world, dice) = (&self.world, &self.dice);
        let mut tasks = Vec::new();
        let names: Vec<String> = world.model.borrow().names.keys().cloned().collect();
        for name in names {
            let admin = Admin::new(world, &name, dice.fork());
            tasks.push(runtime::spawn(admin.work(1 + dice.below(2 * life.rounds))));
        }
        for producer in &self.producers {
            let batches = 1 + dice.below(3 * life.rounds);
            tasks.push(runtime::spawn(producer.clone().work(world.clone(), batches)));
        }
        for _ in 0..1 + dice.below(2) {
            let consumer = Consumer::new(world, dice.fork());
            tasks.push(runtime::spawn(consumer.work(1 + dice.below(2 * life.rounds))));
        }
        if let Some(defaults) = &self.defaults {
            tasks.push(runtime::spawn(defaults.clone().work(world.clone())));
        }
        tasks
    }

    /// Frees the disk, steps the clock, stops the broker while clients are at work.
    async fn operate(&self, host: &Rc<Host>, life: Life) {
        if self.dice.percent(15) {
            runtime::sleep(Duration::from_micros(self.dice.below(10_000))).await;
            sim::step_wall_clock(self.dice.within(-600_000..600_000));
        }
        if life.trouble == Trouble::DiskFull {
            runtime::sleep(Duration::from_millis(self.dice.below(1500))).await;
            sim::note("the operator frees space");
            let disk = sim::disk();
            disk.set_options(DiskOptions { capacity: u64::MAX, ..disk.options() });
        }
        if life.stops_early {
            let most = if self.groups.is_some() { 800_000 } else { 30_000 };
            runtime::sleep(Duration::from_micros(self.dice.below(most))).await;
            self.stop(host).await;
        }
    }

    async fn stop(&self, host: &Rc<Host>) {
        let now = self.world.now.get();
        if now.stopping {
            return;
        }
        tell(|| "the broker is stopped".to_string());
        self.world.now.set(Now { stopping: true, ..now });
        host.stop(Duration::from_millis(self.dice.pick(&[0, 5, 5000]))).await;
        host::check_stopped(host, !now.faults).await;
        self.complete.set(true);
    }
}

/// `for_long`: lives with groups last seconds, most of which nothing is opened in.
async fn watch_places(host: Rc<Host>, for_long: bool) {
    let mut pause = Duration::from_micros(700);
    loop {
        host::check_places(&host);
        host::check_memory(&host);
        runtime::sleep(pause).await;
        if for_long {
            pause = (pause + pause / 50).min(Duration::from_millis(30));
        }
    }
}

fn habits(dice: &Dice, is_troubled: bool) -> Habits {
    let durability = match dice.below(10) {
        0..7 => Durability::Fsync,
        7..9 => Durability::Write,
        // What a disk that fails leaves of it is anything.
        _ if is_troubled => Durability::Write,
        _ => Durability::Memory,
    };
    Habits {
        durability,
        changes_durability: durability != Durability::Memory && dice.percent(15),
        retains: dice.percent(30),
        deletes_records: dice.percent(50),
        deletes_percent: dice.pick(&[1, 7, 30]),
    }
}
