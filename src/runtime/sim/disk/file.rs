//! Files and directories as the layers above see them.

use super::{Action, Disk, Outcome};
use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::{AlignedBuffer, BufferSlice, SharedBuffer};
use crate::runtime::sim::World;
use crate::runtime::{DirectoryEntry, FileOptions};
use crate::types::Timestamp;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::contents::InodeId;
use super::image::Extent;

/// An open file. Dropping it closes it.
pub struct File {
    disk: Disk,
    inode: InodeId,
    /// The life of the process that opened it; a file does not outlive that.
    life: u64,
    path: Rc<str>,
    options: FileOptions,
}

impl File {
    /// Opens `path`; `NotFound` when it, or the parent of a new file, is missing.
    pub async fn open(path: &Path, options: FileOptions) -> io::Result<File> {
        let world = World::current();
        let name = text(path);
        let action = Action::Open { path: path.to_path_buf(), create_new: options.create_new };
        let Outcome::Opened(inode) = perform(action, Rc::clone(&name)).await? else {
            unreachable!("opening opens");
        };
        let disk = world.disk.clone();
        disk.opened(inode);
        Ok(File { disk, inode, life: world.life(), path: name, options })
    }

    /// Writes the whole buffer; with `sync_on_write` it is durable when this returns.
    ///
    /// # Panics
    /// When position or length are not whole blocks, or another write of these bytes is in flight.
    pub async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "{}: position {position}", self.path);
        assert!(buffer.len().is_multiple_of(BLOCK_BYTES), "{}: {} bytes", self.path, buffer.len());
        assert!(!self.options.read_only, "{} is open for reading", self.path);
        if buffer.is_empty() {
            return Ok(());
        }
        let extent = Extent::whole(position, buffer.clone());
        let action = Action::Write {
            inode: self.inode,
            sync_on_write: self.options.sync_on_write,
            enough_space: self.disk.has_space_for(self.inode, &extent),
            extent,
        };
        self.perform(action).await.map(|_| ())
    }

    /// Reads up to `length` bytes at any position; fewer at the end of the file.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<BufferSlice> {
        match self.perform(Action::Read { inode: self.inode, position, length }).await? {
            Outcome::Bytes(bytes) => Ok(bytes),
            _ => unreachable!("reading gives bytes"),
        }
    }

    /// Makes durable what was written before the call.
    pub async fn sync(&self) -> io::Result<()> {
        let covered = self.disk.changes_made();
        self.perform(Action::Sync { inode: self.inode, covered }).await.map(|_| ())
    }

    /// Makes the file at least `length` bytes long; what is new reads as zeros.
    pub async fn allocate(&self, length: u64) -> io::Result<()> {
        self.perform(Action::Allocate { inode: self.inode, length }).await.map(|_| ())
    }

    pub async fn truncate(&self, length: u64) -> io::Result<()> {
        self.perform(Action::Truncate { inode: self.inode, length }).await.map(|_| ())
    }

    /// The first byte from `position` on in a block that was ever written.
    pub fn next_written(&self, position: u64) -> io::Result<Option<u64>> {
        self.check_alive()?;
        let mut state = self.disk.state.borrow_mut();
        Ok(state.contents.file(self.inode)?.current().next_written(position))
    }

    pub async fn length(&self) -> io::Result<u64> {
        match self.perform(Action::Length { inode: self.inode }).await? {
            Outcome::Length(length) => Ok(length),
            _ => unreachable!("asking for the length gives it"),
        }
    }

    pub async fn close(self) -> io::Result<()> {
        self.perform(Action::Close).await.map(|_| ())
    }

    async fn perform(&self, action: Action) -> io::Result<Outcome> {
        self.check_alive()?;
        perform(action, Rc::clone(&self.path)).await
    }

    fn check_alive(&self) -> io::Result<()> {
        match World::current().life() == self.life {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if World::try_current().is_some_and(|world| world.life() == self.life) {
            self.disk.closed(self.inode);
        }
    }
}

impl Disk {
    fn changes_made(&self) -> u64 {
        self.state.borrow().contents.changes_made()
    }

    fn has_space_for(&self, inode: InodeId, extent: &Extent) -> bool {
        let mut state = self.state.borrow_mut();
        let length = state.contents.file(inode).map_or(0, |file| file.current().length());
        // The rest of its last block is the file's already.
        let taken = length.next_multiple_of(BLOCK_BYTES as u64);
        state.check_space(extent.end().saturating_sub(taken)).is_ok()
    }
}

/// Makes a directory and those above it.
pub async fn create_directory_all(path: &Path) -> io::Result<()> {
    perform(Action::CreateDirectoryAll(path.to_path_buf()), text(path)).await.map(|_| ())
}

/// Removes a directory with everything below it.
pub async fn remove_directory(path: &Path) -> io::Result<()> {
    perform(Action::RemoveDirectory(path.to_path_buf()), text(path)).await.map(|_| ())
}

pub async fn remove_file(path: &Path) -> io::Result<()> {
    perform(Action::RemoveFile(path.to_path_buf()), text(path)).await.map(|_| ())
}

/// Renames a file or directory in one step; a file of the new name is replaced.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let action = Action::Rename(from.to_path_buf(), to.to_path_buf());
    perform(action, text(from)).await.map(|_| ())
}

/// The entries of a directory, sorted by name.
pub async fn list_directory(path: &Path) -> io::Result<Vec<DirectoryEntry>> {
    match perform(Action::ListDirectory(path.to_path_buf()), text(path)).await? {
        Outcome::Entries(entries) => Ok(entries),
        _ => unreachable!("listing gives entries"),
    }
}

/// For each directory, when the last of its files, by name, that end so was last written; `None` where there is none.
/// A kernel answers mostly from memory: it takes no time here, and never fails.
pub async fn last_modified(directories: Vec<PathBuf>, end: &'static str) -> Vec<Option<Timestamp>> {
    let world = World::current();
    let state = &mut *world.disk.state.borrow_mut();
    let last = |directory: PathBuf| {
        let entries = state.contents.list_directory(&directory).ok()?;
        let last = entries.into_iter().rfind(|entry| entry.name.ends_with(end))?;
        Some(last.modified)
    };
    directories.into_iter().map(last).collect()
}

/// The bytes of each of these files, one after the other; `None` for one that is not there.
pub async fn read_small_files(
    paths: Vec<PathBuf>,
    bytes_max: usize,
) -> Vec<io::Result<Option<Vec<u8>>>> {
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        all.push(read_small_file(&path, bytes_max).await);
    }
    all
}

async fn read_small_file(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let options = FileOptions { read_only: true, ..FileOptions::default() };
    let file = match File::open(path, options).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.length().await? {
        0 => Ok(Some(Vec::new())),
        length if length > bytes_max as u64 => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "longer than it can be"))
        }
        length => Ok(Some(file.read_at(0, length as usize).await?.to_vec())),
    }
}

/// Makes the entries of a directory durable: files made, renamed and removed in it.
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    perform(Action::SyncDirectory(path.to_path_buf()), text(path)).await.map(|_| ())
}

/// Readies this shard for files under `directory` as on a real disk: a file is written and read to see
/// whether that works, or on a full disk one read that is there.
pub async fn prepare_directory(directory: &Path) -> io::Result<()> {
    let number = World::current().disk.submitted.get();
    let path = directory.join(format!(".probe-{number}"));
    let probed = probe(&path).await;
    let removed = remove_file(&path).await;
    match probed {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            prepare_to_read(directory).await
        }
        Ok(()) => removed,
        failed => failed,
    }
}

async fn probe(path: &Path) -> io::Result<()> {
    let file = File::open(path, FileOptions { create_new: true, ..Default::default() }).await?;
    file.write_at(&AlignedBuffer::padded(&[1]).freeze(), 0).await?;
    file.read_at(0, BLOCK_BYTES).await.map(|_| ())
}

async fn prepare_to_read(directory: &Path) -> io::Result<()> {
    let entries = list_directory(directory).await?;
    let is_candidate = |entry: &&DirectoryEntry| {
        !entry.is_directory && entry.length > 0 && !entry.name.starts_with(".probe-")
    };
    if let Some(entry) = entries.iter().find(is_candidate) {
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = File::open(&directory.join(&entry.name), options).await?;
        // What is wrong with its contents is for others to say.
        drop(file.read_at(0, BLOCK_BYTES).await);
    }
    Ok(())
}

/// Held while this process owns a data directory; the end of the process ends it.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    life: u64,
}

impl DirectoryLock {
    /// Makes the lock file and takes it; none when it is held already.
    pub fn acquire(path: &Path) -> io::Result<Option<DirectoryLock>> {
        let world = World::current();
        let state = &mut *world.disk.state.borrow_mut();
        match state.contents.create_file(path, world.wall_clock()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = path.to_path_buf();
        let taken = state.locks.insert(path.clone());
        Ok(taken.then(|| DirectoryLock { path, life: world.life() }))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Some(world) = World::try_current().filter(|world| world.life() == self.life) {
            world.disk.state.borrow_mut().locks.remove(&self.path);
        }
    }
}

fn text(path: &Path) -> Rc<str> {
    path.to_string_lossy().into()
}

async fn perform(action: Action, path: Rc<str>) -> io::Result<Outcome> {
    let disk = World::current().disk.clone();
    let number = disk.submit(action, path);
    Completion { disk, number }.await
}

/// Waits for an operation. Dropping it does not stop the operation.
struct Completion {
    disk: Disk,
    number: u64,
}

impl Future for Completion {
    type Output = io::Result<Outcome>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Outcome>> {
        let mut state = self.disk.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(&self.number) else {
            // Power was lost or the process died; this future is about to be dropped.
            return Poll::Pending;
        };
        if !operation.completed {
            operation.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let operation = state.operations.remove(&self.number).expect("found above");
        Poll::Ready(operation.result.expect("completed operations have a result"))
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let mut state = self.disk.state.borrow_mut();
        if let Some(operation) = state.operations.get_mut(&self.number) {
            operation.abandoned = true;
            operation.waiting = None;
            if operation.completed {
                state.operations.remove(&self.number);
            }
        }
    }
}
