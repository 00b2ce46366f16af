//! The seeded simulation that stands in for the product's runtime in tests: one thread, virtual time,
//! a disk that tears and forgets, a network that delays and cuts.
//!
//! The same seed gives the same execution, bit for bit: nothing here asks the real clock, an address,
//! or the order of a hash map. A `Simulation` is made from a seed; `run` drives a future on it; `crash`
//! and `kill` end the process in between, and what is on the disk is what the next run finds.

mod disk;
mod executor;
mod mesh;
mod net;
mod random;
mod trace;

pub use disk::{
    DirectoryLock, Disk, DiskOperation, DiskOptions, DiskSnapshot, Effect, Fault, File,
    create_directory_all, last_modified, list_directory, prepare_directory, read_small_files,
    remove_directory, remove_file, rename, sync_directory,
};
pub use executor::{
    Task, on_core, sleep, spawn, spawn_background, stall_core, yield_if_needed, yield_now,
};
pub use mesh::{MeshPeer, MeshReceiver, MeshSender, mesh};
pub use net::{Listener, Network, NetworkOptions, Stream};

use crate::runtime::Instant;
use crate::types::Timestamp;
use executor::{Event, Executor, ROOT, TaskId};
use random::Random;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use trace::Trace;

/// Where virtual wall clocks start: 2023-11-14.
const WALL_CLOCK_START_MS: i64 = 1_700_000_000_000;

/// How a simulation behaves.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    pub disk: DiskOptions,
    pub network: NetworkOptions,
    /// How often a task that could run is held up for a while instead, as by a kernel that runs
    /// something else on its core.
    pub stall_probability: f64,
    pub stall: Range<Duration>,
    /// Polls that one `run` may take; beyond it the run panics as stuck.
    pub steps_max: u64,
}

impl Default for SimulationOptions {
    fn default() -> SimulationOptions {
        SimulationOptions {
            disk: DiskOptions::default(),
            network: NetworkOptions::default(),
            stall_probability: 0.005,
            stall: Duration::from_micros(1)..Duration::from_millis(1),
            steps_max: 10_000_000,
        }
    }
}

/// When `run_until` gives up on its future, which is then dropped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// At a moment of virtual time.
    At(Instant),
    /// Once this many disk operations were submitted in this run. Tried with 0, 1, 2 ... it visits
    /// every point at which a crash can matter to the disk.
    AfterDiskOperations(u64),
}

/// One simulated host.
struct World {
    seed: u64,
    stall_probability: f64,
    stall: Range<Duration>,
    steps_max: u64,
    now: Cell<Instant>,
    wall_clock_steps_ms: Cell<i64>,
    /// Distinguishes what was opened before a crash from what was opened after.
    life: Cell<u64>,
    executor: Executor,
    disk: Disk,
    network: Network,
    schedule: Random,
    application: Random,
    trace: RefCell<Trace>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static LIVES: Cell<u64> = const { Cell::new(0) };
}

fn next_life() -> u64 {
    LIVES.set(LIVES.get() + 1);
    LIVES.get()
}

impl World {
    fn current() -> Rc<World> {
        World::try_current().expect("no simulation runs on this thread: use Simulation::run")
    }

    fn try_current() -> Option<Rc<World>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn life(&self) -> u64 {
        self.life.get()
    }

    fn wall_clock(&self) -> Timestamp {
        let elapsed_ms = (self.now().0 / 1_000_000) as i64;
        Timestamp(WALL_CLOCK_START_MS + self.wall_clock_steps_ms.get() + elapsed_ms)
    }

    fn record(&self, what: &'static str, subject: Rc<str>, numbers: [u64; 2]) {
        self.trace.borrow_mut().record(self.now().0, what, subject, numbers);
    }

    /// Holds up a task that was chosen to run: because its core stands still, or by chance.
    fn stalls(&self, task: TaskId) -> bool {
        if let Some(until) = self.executor.stalled_until(task, self.now()) {
            self.executor.schedule(until, Event::Resume(task));
            return true;
        }
        let stalls = self.schedule.chance(self.stall_probability);
        if stalls {
            let until = self.now() + self.schedule.duration(&self.stall);
            self.executor.schedule(until, Event::Resume(task));
        }
        stalls
    }

    fn dispatch(&self, event: Event) {
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Resume(task) => self.executor.resume(task),
            Event::Disk(operation) => self.disk.complete(self, operation),
            Event::Network(connection) => self.network.arrive(self, connection),
        }
    }
}

/// Makes a world the current one of its thread, and tells the story when a panic passes through.
struct Entered {
    world: Rc<World>,
}

impl Entered {
    fn new(world: &Rc<World>) -> Entered {
        let earlier = CURRENT.replace(Some(Rc::clone(world)));
        assert!(earlier.is_none(), "a simulation runs on this thread already");
        Entered { world: Rc::clone(world) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(None);
        if std::thread::panicking() {
            let World { seed, trace, .. } = &*self.world;
            let trace = trace.borrow();
            eprintln!("{trace}the simulation of seed {seed} failed at {:?}", self.world.now());
        }
    }
}

/// A host with its disk, made from a seed.
pub struct Simulation {
    world: Rc<World>,
}

impl Simulation {
    pub fn new(seed: u64) -> Simulation {
        Simulation::with_options(seed, SimulationOptions::default())
    }

    pub fn with_options(seed: u64, options: SimulationOptions) -> Simulation {
        let world = World {
            seed,
            stall_probability: options.stall_probability,
            stall: options.stall,
            steps_max: options.steps_max,
            now: Cell::default(),
            wall_clock_steps_ms: Cell::new(0),
            life: Cell::new(next_life()),
            executor: Executor::default(),
            disk: Disk::new(seed, options.disk),
            network: Network::new(seed, options.network),
            schedule: Random::stream(seed, 1),
            application: Random::stream(seed, 2),
            trace: RefCell::default(),
        };
        Simulation { world: Rc::new(world) }
    }

    /// Runs `root` to its end. Tasks that it leaves behind stand still until the next run, a crash or
    /// a kill.
    ///
    /// # Panics
    /// When nothing can ever run again, or after too many steps.
    pub fn run<T>(&self, root: impl Future<Output = T>) -> T {
        self.drive(root, None).expect("it runs to its end")
    }

    /// Runs `root` to its end, or until `stop`: then the answer is none.
    pub fn run_until<T>(&self, stop: Stop, root: impl Future<Output = T>) -> Option<T> {
        self.drive(root, Some(stop))
    }

    fn drive<T>(&self, root: impl Future<Output = T>, stop: Option<Stop>) -> Option<T> {
        let entered = Entered::new(&self.world);
        let World { executor, schedule, now, disk, .. } = &*self.world;
        let disk_operations_before = disk.operations_submitted();
        let stops = |at: Instant| match stop {
            None => false,
            Some(Stop::At(moment)) => at >= moment,
            Some(Stop::AfterDiskOperations(count)) => {
                disk.operations_submitted() - disk_operations_before >= count
            }
        };
        let mut root = pin!(root);
        let root_waker = executor.root_waker();
        let mut steps = 0;
        let result = loop {
            while let Some(event) = executor.take_event_due(now.get()) {
                self.world.dispatch(event);
            }
            if stops(now.get()) {
                break None;
            }
            let Some(task) = executor.choose(schedule) else {
                self.skip_to_next_event();
                continue;
            };
            if self.world.stalls(task) {
                continue;
            }
            steps += 1;
            assert!(steps <= self.world.steps_max, "stuck: {steps} steps and no end");
            self.world.trace.borrow_mut().mix(task);
            if task == ROOT {
                let waker = root_waker.for_poll();
                if let Poll::Ready(value) = root.as_mut().poll(&mut Context::from_waker(&waker)) {
                    break Some(value);
                }
            } else {
                executor.poll(task);
            }
            // Computing takes time too, so that whoever only looks at the clock gets on.
            now.set(now.get() + Duration::from_nanos(100 + schedule.below(900)));
        };
        drop(entered);
        result
    }

    fn skip_to_next_event(&self) {
        let World { executor, now, .. } = &*self.world;
        let Some(next) = executor.next_event_at() else {
            panic!(
                "deadlock at {:?}: the root future waits, so do {} tasks, and nothing will wake them",
                now.get(),
                executor.live_tasks()
            );
        };
        now.set(now.get().max(next));
    }

    /// Power loss: every task, file and socket is gone, and of the disk only what was synced is sure
    /// to be left.
    pub fn crash(&self) {
        self.end_process("power loss");
        self.world.disk.crash(&self.world);
    }

    /// The process dies, as by kill -9: every task, file and socket is gone, and all that was handed
    /// to the kernel is kept, though not yet synced.
    pub fn kill(&self) {
        self.end_process("kill");
        self.world.disk.kill(&self.world);
    }

    fn end_process(&self, what: &'static str) {
        let entered = Entered::new(&self.world);
        self.world.record(what, "".into(), [0, 0]);
        self.world.life.set(next_life());
        self.world.executor.clear();
        self.world.network.clear();
        self.world.now.set(self.world.now() + Duration::from_secs(1));
        drop(entered);
    }

    pub fn disk(&self) -> Disk {
        self.world.disk.clone()
    }

    pub fn network(&self) -> Network {
        self.world.network.clone()
    }

    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Sets the wall clock forward, or back, as an operator or a time server does.
    pub fn step_wall_clock(&self, by_ms: i64) {
        step_wall_clock_of(&self.world, by_ms);
    }

    /// The latest things that happened, one a line.
    pub fn trace(&self) -> String {
        self.world.trace.borrow().to_string()
    }

    /// A number that depends on everything that happened: equal for equal executions.
    pub fn fingerprint(&self) -> u64 {
        self.world.trace.borrow().fingerprint()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // After a failed test, or within another simulation, tasks are better leaked than dropped:
        // what they assert then would only hide the first failure.
        if !std::thread::panicking() && World::try_current().is_none() {
            self.end_process("end");
        }
    }
}

fn step_wall_clock_of(world: &World, by_ms: i64) {
    world.wall_clock_steps_ms.set(world.wall_clock_steps_ms.get() + by_ms);
    world.record("wall clock steps", "".into(), [by_ms as u64, 0]);
}

/// The moment it is, in virtual time.
pub fn now() -> Instant {
    World::current().now()
}

/// The simulated disk's; one without a limit is half full.
///
/// # Errors
/// None; the host's can fail.
pub fn volume_space(_path: &std::path::Path) -> std::io::Result<crate::runtime::VolumeSpace> {
    let (disk, unlimited) = (disk(), 1 << 40);
    let (total_bytes, usable_bytes) = match disk.options().capacity {
        u64::MAX => (unlimited, unlimited / 2),
        capacity => (capacity, capacity.saturating_sub(disk.used_bytes())),
    };
    Ok(crate::runtime::VolumeSpace { total_bytes, usable_bytes })
}

/// Virtual time passes only while nothing runs.
pub fn busy_time() -> Duration {
    Duration::ZERO
}

/// Of the host's, a simulation takes nothing that repeats.
pub fn process_usage() -> crate::runtime::ProcessUsage {
    crate::runtime::ProcessUsage::default()
}

/// The time of day, in virtual time; it may be stepped.
pub fn wall_clock() -> Timestamp {
    World::current().wall_clock()
}

/// Sets the wall clock of the simulation that runs forward, or back.
pub fn step_wall_clock(by_ms: i64) {
    step_wall_clock_of(&World::current(), by_ms);
}

/// A number from the seed.
pub fn random_u64() -> u64 {
    World::current().application.next()
}

/// The disk of the simulation that runs.
pub fn disk() -> Disk {
    World::current().disk.clone()
}

/// The network of the simulation that runs.
pub fn network() -> Network {
    World::current().network.clone()
}

/// Leaves a line in the trace of the simulation that runs.
pub fn note(line: &str) {
    World::current().record("note", line.into(), [0, 0]);
}

/// So many seeds: from 0 on, or from `CORELOG_SEED_FROM`, so that another long run tries others; or, to replay a
/// failure, the one in `CORELOG_SEED`.
///
/// # Panics
/// When a variable is no number.
pub fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| {
        let set = std::env::var(name).ok();
        set.map(|seed| seed.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let from = number("CORELOG_SEED_FROM").unwrap_or(0);
    number("CORELOG_SEED").map_or(from..from + count, |seed| seed..seed + 1)
}

/// Checks a property for each of `seeds`.
pub fn for_each_seed(count: u64, mut check: impl FnMut(u64)) {
    struct Replay(u64);
    impl Drop for Replay {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let thread = std::thread::current();
                let test = thread.name().unwrap_or("NAME_OF_THIS_TEST");
                eprintln!("replay: CORELOG_SEED={} cargo test --lib {test}", self.0);
            }
        }
    }
    for seed in seeds(count) {
        let _replay = Replay(seed);
        check(seed);
    }
}

#[cfg(test)]
mod tests;
