//! The simulated disk: operations that take time, fail when told to or by chance, and are cut short by
//! a crash. What they do is in `contents`; what the layers above call is in `file`.
//!
//! It outlives the runs of a simulation: that is its purpose.

mod contents;
mod file;
mod image;
mod inode;

pub use file::{
    DirectoryLock, File, create_directory_all, last_modified, list_directory, prepare_directory,
    read_small_files, remove_directory, remove_file, rename, sync_directory,
};

use super::World;
use super::executor::Event;
use super::random::Random;
use crate::runtime::DirectoryEntry;
use crate::runtime::buffer::{BufferSlice, SharedBuffer};
use crate::types::Timestamp;
use contents::{Contents, InodeId};
use image::Extent;
use inode::{Flight, WriteEnd};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// How the disk behaves. The default is a quick disk that never fails by itself.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// How long an operation takes.
    pub latency: Range<Duration>,
    /// How often one takes `spike` instead.
    pub spike_probability: f64,
    pub spike: Range<Duration>,
    /// How often an operation of a kind fails with EIO. A failed sync also fails writes that sync.
    pub read_error_probability: f64,
    pub write_error_probability: f64,
    pub sync_error_probability: f64,
    /// Bytes for files, in whole blocks; growth beyond it is ENOSPC.
    pub capacity: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            latency: Duration::from_micros(20)..Duration::from_micros(200),
            spike_probability: 0.0,
            spike: Duration::from_millis(1)..Duration::from_millis(50),
            read_error_probability: 0.0,
            write_error_probability: 0.0,
            sync_error_probability: 0.0,
            capacity: u64::MAX,
        }
    }
}

/// What a fault can strike. `Sync` also strikes writes to files that sync on write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOperation {
    Open,
    Read,
    Write,
    Sync,
    Allocate,
    Truncate,
    Length,
    Close,
    Remove,
    Rename,
    Directory,
    SyncDirectory,
}

/// A fault that waits for its operation.
#[derive(Clone, Debug)]
pub struct Fault {
    pub operation: DiskOperation,
    /// Strikes paths that contain this text.
    pub path_contains: String,
    /// Operations that it lets pass first.
    pub skip: u32,
    /// Operations that it strikes then.
    pub times: u32,
    pub effect: Effect,
}

/// What a fault does.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// The operation fails with this errno.
    Error(i32),
    /// The operation takes so much longer.
    Delay(Duration),
}

/// Everything on a disk at one moment, with what is not synced and what is in flight.
#[derive(Clone)]
pub struct DiskSnapshot {
    contents: Contents,
}

impl DiskSnapshot {
    /// What is left of it when the power goes; another seed, another outcome.
    pub fn after_power_loss(&self, seed: u64) -> DiskSnapshot {
        let mut contents = self.contents.clone();
        contents.lose_power(&Random::stream(seed, 4));
        DiskSnapshot { contents }
    }
}

enum Action {
    Open { path: PathBuf, create_new: bool },
    Read { inode: InodeId, position: u64, length: usize },
    Write { inode: InodeId, extent: Extent, sync_on_write: bool, enough_space: bool },
    Sync { inode: InodeId, covered: u64 },
    Allocate { inode: InodeId, length: u64 },
    Truncate { inode: InodeId, length: u64 },
    Length { inode: InodeId },
    Close,
    RemoveFile(PathBuf),
    RemoveDirectory(PathBuf),
    Rename(PathBuf, PathBuf),
    CreateDirectoryAll(PathBuf),
    ListDirectory(PathBuf),
    SyncDirectory(PathBuf),
}

impl Action {
    fn operation(&self) -> DiskOperation {
        match self {
            Action::Open { .. } => DiskOperation::Open,
            Action::Read { .. } => DiskOperation::Read,
            Action::Write { .. } => DiskOperation::Write,
            Action::Sync { .. } => DiskOperation::Sync,
            Action::Allocate { .. } => DiskOperation::Allocate,
            Action::Truncate { .. } => DiskOperation::Truncate,
            Action::Length { .. } => DiskOperation::Length,
            Action::Close => DiskOperation::Close,
            Action::RemoveFile(_) | Action::RemoveDirectory(_) => DiskOperation::Remove,
            Action::Rename(..) => DiskOperation::Rename,
            Action::CreateDirectoryAll(_) | Action::ListDirectory(_) => DiskOperation::Directory,
            Action::SyncDirectory(_) => DiskOperation::SyncDirectory,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Action::Open { create_new: true, .. } => "create",
            Action::Open { .. } => "open",
            Action::Read { .. } => "read",
            Action::Write { sync_on_write: true, .. } => "write+sync",
            Action::Write { .. } => "write",
            Action::Sync { .. } => "sync",
            Action::Allocate { .. } => "allocate",
            Action::Truncate { .. } => "truncate",
            Action::Length { .. } => "length",
            Action::Close => "close",
            Action::RemoveFile(_) => "remove file",
            Action::RemoveDirectory(_) => "remove dir",
            Action::Rename(..) => "rename",
            Action::CreateDirectoryAll(_) => "create dir",
            Action::ListDirectory(_) => "list dir",
            Action::SyncDirectory(_) => "sync dir",
        }
    }

    /// Position and length, for a reader of the trace.
    fn place(&self) -> [u64; 2] {
        match self {
            Action::Read { position, length, .. } => [*position, *length as u64],
            Action::Write { extent, .. } => [extent.position, extent.length as u64],
            Action::Allocate { length, .. } | Action::Truncate { length, .. } => [*length, 0],
            _ => [0, 0],
        }
    }

    /// Whether it may take effect before it completes: entries and lengths, of which a crash in the
    /// middle then shows either. Syncs promise only at the end, and writes do this on their own.
    fn may_act_early(&self) -> bool {
        !matches!(self, Action::Read { .. } | Action::Write { .. } | Action::Sync { .. })
            && !matches!(self, Action::SyncDirectory(_))
    }
}

enum Outcome {
    Done,
    Opened(InodeId),
    Bytes(BufferSlice),
    Length(u64),
    Entries(Vec<DirectoryEntry>),
}

/// Submitted, not yet taken by its caller.
struct Operation {
    action: Action,
    path: Rc<str>,
    errno: Option<i32>,
    /// Set when it took effect; the caller hears of it at its event.
    result: Option<io::Result<Outcome>>,
    completed: bool,
    waiting: Option<Waker>,
    /// The caller's future was dropped; the operation goes on.
    abandoned: bool,
}

impl Operation {
    fn record(&self, world: &World) {
        world.record(self.action.verb(), Rc::clone(&self.path), self.action.place());
    }
}

struct State {
    contents: Contents,
    options: DiskOptions,
    random: Random,
    operations: BTreeMap<u64, Operation>,
    operations_submitted: u64,
    /// Files open, by inode, in this life of the process.
    open: BTreeMap<InodeId, u32>,
    faults: Vec<Fault>,
    /// Lock files held, as flock(2) does.
    locks: BTreeSet<PathBuf>,
}

/// The disk of a simulation, for tests to look at and to tamper with; cheap to clone.
#[derive(Clone)]
pub struct Disk {
    state: Rc<RefCell<State>>,
    submitted: Rc<Cell<u64>>,
}

impl Disk {
    pub(super) fn new(seed: u64, options: DiskOptions) -> Disk {
        let state = State {
            contents: Contents::new(),
            options,
            random: Random::stream(seed, 3),
            operations: BTreeMap::new(),
            operations_submitted: 0,
            open: BTreeMap::new(),
            faults: Vec::new(),
            locks: BTreeSet::new(),
        };
        Disk { state: Rc::new(RefCell::new(state)), submitted: Rc::default() }
    }

    /// Files open now.
    pub fn files_open(&self) -> usize {
        self.state.borrow().open.values().map(|count| *count as usize).sum()
    }

    /// Operations submitted since the beginning.
    pub fn operations_submitted(&self) -> u64 {
        self.submitted.get()
    }

    pub fn set_options(&self, options: DiskOptions) {
        self.state.borrow_mut().options = options;
    }

    pub fn options(&self) -> DiskOptions {
        self.state.borrow().options.clone()
    }

    pub fn inject(&self, fault: Fault) {
        self.state.borrow_mut().faults.push(fault);
    }

    /// The next such operation on a path that contains `path_contains` fails with EIO.
    pub fn fail_next(&self, operation: DiskOperation, path_contains: &str) {
        self.fail(operation, path_contains, 1);
    }

    /// Every such operation from here on fails with EIO, until `heal`.
    pub fn fail_always(&self, operation: DiskOperation, path_contains: &str) {
        self.fail(operation, path_contains, u32::MAX);
    }

    fn fail(&self, operation: DiskOperation, path_contains: &str, times: u32) {
        let path_contains = path_contains.to_string();
        let effect = Effect::Error(libc::EIO);
        self.inject(Fault { operation, path_contains, skip: 0, times, effect });
    }

    /// Forgets all injected faults.
    pub fn heal(&self) {
        self.state.borrow_mut().faults.clear();
    }

    pub fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot { contents: self.state.borrow().contents.clone() }
    }

    /// Puts another disk in the place of this one; between runs, after `crash` or `kill`.
    pub fn restore(&self, snapshot: &DiskSnapshot) {
        let mut state = self.state.borrow_mut();
        assert!(state.operations.is_empty(), "the disk is in use");
        state.contents = snapshot.contents.clone();
        let State { contents, random, .. } = &mut *state;
        contents.finish_flights(random);
    }

    /// What the running system would read.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut state = self.state.borrow_mut();
        let inode = state.contents.find_file(path.as_ref())?;
        let image = state.contents.file(inode)?.current();
        Ok(image.read(0, image.length() as usize))
    }

    /// Puts a durable file there, with its directories.
    pub fn put_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.state.borrow_mut().contents.put_file(path.as_ref(), bytes, Timestamp(0))
    }

    /// Puts a durable directory there, with those above it.
    pub fn put_directory(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.state.borrow_mut().contents.put_directory(path.as_ref())
    }

    pub fn flip_bit(&self, path: impl AsRef<Path>, position: u64, bit: u8) -> io::Result<()> {
        self.state.borrow_mut().contents.flip_bit(path.as_ref(), position, bit)
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.state.borrow().contents.files()
    }

    pub fn used_bytes(&self) -> u64 {
        self.state.borrow().contents.used_bytes()
    }

    /// The process died: its calls are over, what it handed to the kernel happens.
    pub(super) fn kill(&self, world: &World) {
        let mut state = self.state.borrow_mut();
        state.end_operations(world);
        let State { contents, random, .. } = &mut *state;
        contents.finish_flights(random);
    }

    pub(super) fn crash(&self, world: &World) {
        let mut state = self.state.borrow_mut();
        state.end_operations(world);
        let State { contents, random, .. } = &mut *state;
        contents.lose_power(random);
    }

    fn submit(&self, action: Action, path: Rc<str>) -> u64 {
        let world = World::current();
        self.submitted.set(self.submitted.get() + 1);
        self.state.borrow_mut().submit(&world, action, path)
    }

    pub(super) fn complete(&self, world: &World, number: u64) {
        let waiting = self.state.borrow_mut().complete(world, number);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    fn opened(&self, inode: InodeId) {
        *self.state.borrow_mut().open.entry(inode).or_default() += 1;
    }

    fn closed(&self, inode: InodeId) {
        let mut state = self.state.borrow_mut();
        if let Some(count) = state.open.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&inode);
            }
        }
    }
}

impl State {
    fn submit(&mut self, world: &World, action: Action, path: Rc<str>) -> u64 {
        let number = self.operations_submitted;
        self.operations_submitted += 1;
        let (errno, delay) = self.draw_fault(&action, &path);
        let latency = self.latency() + delay;
        world.executor.schedule(world.now() + latency, Event::Disk(number));
        if let Action::Write { inode, extent, sync_on_write, enough_space: true } = &action {
            let flight =
                Flight { operation: number, extent: extent.clone(), sync_on_write: *sync_on_write };
            self.start_write(*inode, &path, flight);
        }
        let early = errno.is_none() && action.may_act_early() && self.random.one_in(2);
        let result = early.then(|| self.act(world, number, &action, None));
        let (completed, waiting, abandoned) = (false, None, false);
        let operation = Operation { action, path, errno, result, completed, waiting, abandoned };
        self.operations.insert(number, operation);
        number
    }

    fn start_write(&mut self, inode: InodeId, path: &str, flight: Flight) {
        let State { contents, random, .. } = self;
        let Ok(file) = contents.file(inode) else { return };
        for other in file.in_flight() {
            assert!(
                !other.extent.overlaps(&flight.extent),
                "two writes of {path} are in flight over each other: {}..{} and {}..{}",
                other.extent.position,
                other.extent.end(),
                flight.extent.position,
                flight.extent.end(),
            );
        }
        file.start_write(flight, random);
    }

    fn latency(&mut self) -> Duration {
        let spike = self.random.chance(self.options.spike_probability);
        self.random.duration(if spike { &self.options.spike } else { &self.options.latency })
    }

    fn draw_fault(&mut self, action: &Action, path: &str) -> (Option<i32>, Duration) {
        let syncs = matches!(action, Action::Write { sync_on_write: true, .. });
        let kind = action.operation();
        let (mut errno, mut delay) = (None, Duration::ZERO);
        for fault in &mut self.faults {
            let strikes =
                fault.operation == kind || (syncs && fault.operation == DiskOperation::Sync);
            if !strikes || fault.times == 0 || !path.contains(&fault.path_contains) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = if fault.times == u32::MAX { u32::MAX } else { fault.times - 1 };
            match fault.effect {
                Effect::Error(number) => errno = Some(number),
                Effect::Delay(more) => delay += more,
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        let probability = match kind {
            DiskOperation::Read => self.options.read_error_probability,
            DiskOperation::Write if syncs => {
                self.options.write_error_probability + self.options.sync_error_probability
            }
            DiskOperation::Write => self.options.write_error_probability,
            DiskOperation::Sync => self.options.sync_error_probability,
            _ => 0.0,
        };
        if self.random.chance(probability) {
            errno = errno.or(Some(libc::EIO));
        }
        (errno, delay)
    }

    fn complete(&mut self, world: &World, number: u64) -> Option<Waker> {
        let mut operation = self.operations.remove(&number)?;
        let result = match operation.result.take() {
            Some(result) => result,
            None => self.act(world, number, &operation.action, operation.errno),
        };
        operation.record(world);
        if let Some(errno) = result.as_ref().err().and_then(io::Error::raw_os_error) {
            world.record("  which failed", Rc::clone(&operation.path), [errno as u64, 0]);
        }
        if self.contents.has_unlinked() && matches!(operation.action, Action::SyncDirectory(_)) {
            self.contents.forget_unreachable(self.open.keys().copied().collect());
        }
        if operation.abandoned {
            return None;
        }
        operation.result = Some(result);
        operation.completed = true;
        let waiting = operation.waiting.take();
        self.operations.insert(number, operation);
        waiting
    }

    /// Does what the operation is for, or what its failure leaves.
    fn act(
        &mut self,
        world: &World,
        number: u64,
        action: &Action,
        errno: Option<i32>,
    ) -> io::Result<Outcome> {
        let State { contents, random, .. } = self;
        let failure = errno.map(io::Error::from_raw_os_error);
        match (action, failure) {
            (Action::Write { inode, enough_space, .. }, failure) => {
                let change = contents.next_change();
                let end = match &failure {
                    _ if !enough_space => WriteEnd::Refused,
                    Some(_) => WriteEnd::Failed,
                    None => WriteEnd::Written,
                };
                contents.file(*inode)?.finish_write(number, end, change, random);
                contents.touch(*inode, world.wall_clock());
                match (end, failure) {
                    (WriteEnd::Refused, _) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
                    (_, failure) => failure.map_or(Ok(Outcome::Done), Err),
                }
            }
            (Action::Sync { inode, covered }, None) => {
                contents.file(*inode)?.commit_through(*covered);
                Ok(Outcome::Done)
            }
            (Action::Sync { inode, covered }, Some(failure)) => {
                contents.file(*inode)?.fail_sync(*covered, random);
                Err(failure)
            }
            (_, Some(failure)) => Err(failure),
            (action, None) => self.act_well(world, action),
        }
    }

    fn act_well(&mut self, world: &World, action: &Action) -> io::Result<Outcome> {
        let contents = &mut self.contents;
        match action {
            Action::Open { path, create_new: true } => {
                contents.create_file(path, world.wall_clock()).map(Outcome::Opened)
            }
            Action::Open { path, .. } => contents.find_file(path).map(Outcome::Opened),
            Action::Read { inode, position, length } => {
                let bytes = contents.file(*inode)?.current().read(*position, *length);
                let length = bytes.len();
                Ok(Outcome::Bytes(SharedBuffer::from_vec(bytes).slice(0..length)))
            }
            Action::Allocate { inode, length } => {
                let present = contents.file(*inode)?.current().length();
                if *length > present {
                    self.check_space(*length - present)?;
                    self.change_length(world, *inode, *length)?;
                }
                Ok(Outcome::Done)
            }
            Action::Truncate { inode, length } => {
                self.change_length(world, *inode, *length).map(|()| Outcome::Done)
            }
            Action::Length { inode } => {
                Ok(Outcome::Length(contents.file(*inode)?.current().length()))
            }
            Action::Close | Action::Write { .. } | Action::Sync { .. } => Ok(Outcome::Done),
            Action::RemoveFile(path) => contents.remove_file(path).map(|()| Outcome::Done),
            Action::RemoveDirectory(path) => {
                contents.remove_directory(path, usize::MAX).map(|()| Outcome::Done)
            }
            Action::Rename(from, to) => contents.rename(from, to).map(|()| Outcome::Done),
            Action::CreateDirectoryAll(path) => {
                contents.create_directory_all(path).map(|()| Outcome::Done)
            }
            Action::ListDirectory(path) => contents.list_directory(path).map(Outcome::Entries),
            Action::SyncDirectory(path) => contents.sync_directory(path).map(|()| Outcome::Done),
        }
    }

    fn change_length(&mut self, world: &World, inode: InodeId, length: u64) -> io::Result<()> {
        let number = self.contents.next_change();
        self.contents.file(inode)?.change_length(length, number);
        self.contents.touch(inode, world.wall_clock());
        Ok(())
    }

    fn check_space(&self, more: u64) -> io::Result<()> {
        // Counting all files is worth it only where there is a limit.
        if self.options.capacity != u64::MAX
            && self.contents.used_bytes().saturating_add(more) > self.options.capacity
        {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    /// Nobody waits for an operation any more. A removal of a directory may stop half way.
    fn end_operations(&mut self, world: &World) {
        for operation in std::mem::take(&mut self.operations).into_values() {
            if !operation.completed {
                world.record("was in flight:", operation.action.verb().into(), [0, 0]);
                operation.record(world);
            }
            if let (Action::RemoveDirectory(path), None) = (&operation.action, &operation.result) {
                let entries = self.random.index(8);
                // It may be gone by now; then there is nothing to stop half way.
                let _ = self.contents.remove_directory(path, entries);
            }
        }
        self.open.clear();
        self.locks.clear();
    }
}

#[cfg(test)]
mod tests;
