//! Files and directories: direct I/O by glommio's rings, and what io_uring does not do in a thread beside.

use super::blocking;
use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::{AlignedBuffer, BufferSlice, SharedBuffer};
use crate::runtime::{DirectoryEntry, FileOptions};
use crate::types::Timestamp;
use glommio::GlommioError;
use glommio::io::{Directory, DmaFile, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// A file under direct I/O.
#[derive(Debug)]
pub struct File {
    file: Rc<DmaFile>,
}

impl File {
    /// Opens or makes a file.
    ///
    /// # Errors
    /// As open(2).
    pub async fn open(path: &Path, options: FileOptions) -> io::Result<File> {
        let mut open = OpenOptions::new();
        open.read(true).write(!options.read_only).create_new(options.create_new);
        if options.sync_on_write {
            open.custom_flags(libc::O_DSYNC);
        }
        let file = open.dma_open(path).await.map_err(plain)?;
        Ok(File { file: Rc::new(file) })
    }

    /// Writes the whole buffer at a block-aligned position. On a `sync_on_write` file it is on stable
    /// storage when this returns.
    ///
    /// # Errors
    /// As write(2); part of the buffer may have been written.
    pub async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "unaligned write at {position}");
        let length = buffer.len();
        let written = self
            .file
            .write_rc_at(buffer.storage().clone(), position)
            .await
            .map_err(io::Error::from)?;
        if written == length { Ok(()) } else { self.write_rest(buffer, position, written).await }
    }

    /// A short write is how a full device begins: go on block by block until it says why.
    async fn write_rest(
        &self,
        buffer: &SharedBuffer,
        position: u64,
        written: usize,
    ) -> io::Result<()> {
        let mut at = written / BLOCK_BYTES * BLOCK_BYTES;
        while at < buffer.len() {
            let mut block = AlignedBuffer::allocate(BLOCK_BYTES);
            block.as_mut_slice().copy_from_slice(&buffer[at..at + BLOCK_BYTES]);
            let block = block.freeze();
            let written = self
                .file
                .write_rc_at(block.storage().clone(), position + at as u64)
                .await
                .map_err(io::Error::from)?;
            if written != BLOCK_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "the device took part of a block",
                ));
            }
            at += BLOCK_BYTES;
        }
        Ok(())
    }

    /// Reads up to `length` bytes at any position; fewer at the file's end.
    ///
    /// # Errors
    /// As read(2).
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<BufferSlice> {
        let result = self.file.read_at(position, length).await.map_err(plain)?;
        Ok(BufferSlice::from_read(result))
    }

    /// Brings data, and the metadata needed to read it, to stable storage (fdatasync(2)).
    ///
    /// # Errors
    /// As fdatasync(2). After a failure the state of what was written is unknown.
    pub async fn sync(&self) -> io::Result<()> {
        self.file.fdatasync().await.map_err(io::Error::from)
    }

    /// Makes the file at least `length` bytes long, with space that reads as zeros (fallocate(2)).
    ///
    /// # Errors
    /// `StorageFull`, or as fallocate(2).
    pub async fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.pre_allocate(length, false).await.map_err(io::Error::from)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// As ftruncate(2).
    pub async fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length).await.map_err(io::Error::from)
    }

    /// The first byte from `position` on that is not in space allocated and never written (SEEK_DATA of
    /// lseek(2)); `None` when nothing is. A file system that cannot tell says `position` itself.
    ///
    /// # Errors
    /// As lseek(2).
    pub fn next_written(&self, position: u64) -> io::Result<Option<u64>> {
        let offset = i64::try_from(position).map_err(io::Error::other)?;
        // SAFETY: no memory is passed, and the descriptor is open while `self` is.
        let found = unsafe { libc::lseek64(self.file.as_raw_fd(), offset, libc::SEEK_DATA) };
        if let Ok(found) = u64::try_from(found) {
            return Ok(Some(found));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENXIO) => Ok(None),
            Some(libc::EINVAL | libc::EOPNOTSUPP) => Ok(Some(position)),
            _ => Err(error),
        }
    }

    /// # Errors
    /// As statx(2).
    pub async fn length(&self) -> io::Result<u64> {
        self.file.file_size().await.map_err(io::Error::from)
    }

    /// Closes the descriptor once no operation uses it.
    ///
    /// # Errors
    /// As close(2).
    pub async fn close(self) -> io::Result<()> {
        self.file.close_rc().await.map(drop).map_err(io::Error::from)
    }
}

/// # Errors
/// As unlink(2). Runs off the shard's thread: freeing a large file takes long.
pub async fn remove_file(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::remove_file(path)).await
}

/// # Errors
/// As rename(2).
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || std::fs::rename(from, to)).await
}

/// # Errors
/// As mkdir(2).
pub async fn create_directory_all(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::create_dir_all(path)).await
}

/// Removes a directory and all in it, off the shard's thread.
///
/// # Errors
/// As unlink(2) and rmdir(2).
pub async fn remove_directory(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::remove_dir_all(path)).await
}

/// The entries of a directory, by name.
///
/// # Errors
/// As readdir(3). Names that are not UTF-8 are left out: none of ours are.
pub async fn list_directory(path: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let path = path.to_owned();
    blocking(move || {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Removed since it was listed.
            let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            // As the directory itself says: a data directory of 10,000 folders is listed several times by a start.
            let kind = match entry.file_type() {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            if kind.is_dir() {
                let (length, modified) = (0, Timestamp::NONE);
                entries.push(DirectoryEntry { name, is_directory: true, length, modified });
                continue;
            }
            let metadata = match entry.metadata() {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            let (length, modified) = (metadata.len(), milliseconds(metadata.modified()?));
            entries.push(DirectoryEntry { name, is_directory: false, length, modified });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    })
    .await
}

fn milliseconds(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_millis() as i64))
}

/// For each directory, when the last of its files, by name, that end so was last written; `None` where nobody can
/// tell. All in one go, off the shard's thread; no other file is looked at.
pub async fn last_modified(directories: Vec<PathBuf>, end: &'static str) -> Vec<Option<Timestamp>> {
    let count = directories.len();
    let look = move || -> io::Result<Vec<Option<Timestamp>>> {
        Ok(directories.iter().map(|directory| last_modified_of(directory, end)).collect())
    };
    blocking(look).await.unwrap_or_else(|_| vec![None; count])
}

fn last_modified_of(directory: &Path, end: &str) -> Option<Timestamp> {
    let entries = std::fs::read_dir(directory).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let last = names.filter(|name| name.ends_with(end)).max()?;
    let metadata = std::fs::metadata(directory.join(last)).ok()?;
    metadata.modified().ok().map(milliseconds)
}

/// Threads that read small files at a time, and how few of them are not worth another.
const SMALL_READERS: usize = 8;
const SMALL_READS_EACH: usize = 32;

/// The bytes of each of these files; `None` for one that is not there. In a few threads beside the shard's and from the
/// page cache: 10,000 of them take a start 0.1 s so, and several times that with direct I/O.
///
/// # Errors
/// Of each file, as open(2) and read(2); `InvalidData` when it is longer than `bytes_max`.
pub async fn read_small_files(
    paths: Vec<PathBuf>,
    bytes_max: usize,
) -> Vec<io::Result<Option<Vec<u8>>>> {
    let count = paths.len();
    let read = move || {
        let each = paths.len().div_ceil(SMALL_READERS).max(SMALL_READS_EACH);
        let read_some = |some: &[PathBuf]| -> Vec<io::Result<Option<Vec<u8>>>> {
            some.iter().map(|path| read_small_file(path, bytes_max)).collect()
        };
        if count <= each {
            return Ok(read_some(&paths));
        }
        let all = std::thread::scope(|scope| {
            let start = |some| {
                let reader = std::thread::Builder::new().name("small-files".to_string());
                // Where no more threads may be, this one reads.
                (some, reader.spawn_scoped(scope, move || read_some(some)).ok())
            };
            let readers: Vec<_> = paths.chunks(each).map(start).collect();
            let read = readers.into_iter().flat_map(|(some, reader)| {
                reader.map_or_else(
                    || read_some(some),
                    |one| one.join().expect("a read panics nowhere"),
                )
            });
            read.collect()
        });
        Ok(all)
    };
    let failed = |error: io::Error| {
        (0..count).map(|_| Err(io::Error::new(error.kind(), error.to_string()))).collect()
    };
    blocking(read).await.unwrap_or_else(failed)
}

fn read_small_file(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than it can be"));
    }
    Ok(Some(bytes))
}

/// Brings a directory's entries to stable storage.
///
/// # Errors
/// As open(2) and fsync(2).
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    // glommio opens directories relative to none: only absolute paths are found.
    let path = std::path::absolute(path)?;
    let directory = Directory::open(&path).await.map_err(io::Error::from)?;
    let synced = directory.sync().await.map_err(io::Error::from);
    directory.close().await.map_err(io::Error::from)?;
    synced
}

/// How the names of the files begin that a start tries direct I/O with.
const PROBE_PREFIX: &str = ".probe-";
/// Files to try direct I/O with, after which no more folders are looked into.
const CANDIDATES_MAX: usize = 16;

/// Readies this shard for files under `directory`. glommio finds out how a device polls with the first
/// file that an executor opens there, and an empty one misleads it: direct reads then fail with EOPNOTSUPP.
/// A full disk has no room for a file to try it with, but files that are there already.
///
/// # Errors
/// The directory is not writable, or its file system has no direct I/O.
pub async fn prepare_directory(directory: &Path) -> io::Result<()> {
    let name = format!("{PROBE_PREFIX}{}-{}", std::process::id(), glommio::executor().id());
    let path = directory.join(name);
    let probed = match std::fs::write(&path, [0u8; BLOCK_BYTES]) {
        Ok(()) => read_directly(&path, FileOptions::default()).await,
        failed => failed,
    };
    // Nothing else removes it. It may not even have been made.
    let removed = std::fs::remove_file(&path);
    match probed {
        Err(error) if is_full(&error) => {
            let directory_shown = directory.display();
            tracing::warn!(directory = %directory_shown, %error,
                "no room to try direct I/O with a new file; trying it with what is there");
            prepare_to_read(directory).await
        }
        Ok(()) => removed,
        failed => failed,
    }
}

/// Removes the files that processes tried direct I/O with and that ended before they could remove them themselves.
///
/// # Errors
/// The directory cannot be listed.
pub fn remove_left_probes(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PROBE_PREFIX));
        let Some((process, _)) = process.and_then(|rest| rest.split_once('-')) else { continue };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            // Whoever is in the way of it is told of by what follows.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The same for who writes nothing: reads the first file that is not empty.
///
/// # Errors
/// The directory cannot be listed, or its file system has no direct I/O.
pub async fn prepare_to_read(directory: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    files_with_bytes(directory, 2, &mut found)?;
    let options = FileOptions { read_only: true, ..FileOptions::default() };
    for path in found {
        match read_directly(&path, options).await {
            // Gone since it was listed, as what another shard tries, or not ours, or a device's error, which is
            // for those to tell who need the file.
            Err(error) if is_of_the_file(&error) => {}
            other => return other,
        }
    }
    Ok(())
}

async fn read_directly(path: &Path, options: FileOptions) -> io::Result<()> {
    let file = File::open(path, options).await?;
    let read = file.read_at(0, BLOCK_BYTES).await.map(|_| ());
    file.close().await?;
    read
}

/// The error as the system call gave it, with its number: callers know the file.
fn plain<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}

/// Says something of one file, not of the file system.
fn is_of_the_file(error: &io::Error) -> bool {
    let is_unreadable = error.raw_os_error() == Some(libc::EIO);
    is_unreadable
        || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Files that are not empty, those of the directory itself first: they stay, while folders may be removed.
fn files_with_bytes(directory: &Path, levels: u32, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(PROBE_PREFIX.as_bytes()) {
            continue;
        }
        let metadata = match entry.metadata() {
            Err(error) if is_of_the_file(&error) => continue,
            other => other?,
        };
        if metadata.is_file() && metadata.len() > 0 {
            found.push(entry.path());
        }
        if metadata.is_dir() {
            directories.push(entry.path());
        }
    }
    for directory in directories.into_iter().filter(|_| levels > 1) {
        if found.len() >= CANDIDATES_MAX {
            break;
        }
        match files_with_bytes(&directory, levels - 1, found) {
            // `lost+found` is root's.
            Err(error) if is_of_the_file(&error) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_probes_of_processes_that_ended_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let own = format!("{PROBE_PREFIX}{}-1", std::process::id());
        // The kernel gives no process such a number (proc_sys_kernel(5): pid_max).
        let left = format!("{PROBE_PREFIX}4294967295-1");
        let others = ["t-0", ".probe-", ".probe-x-1"];
        for name in [own.as_str(), &left].into_iter().chain(others) {
            std::fs::write(directory.path().join(name), b"").unwrap();
        }
        remove_left_probes(directory.path()).unwrap();
        for name in [own.as_str()].into_iter().chain(others) {
            assert!(directory.path().join(name).exists(), "{name}");
        }
        assert!(!directory.path().join(left).exists());
    }
}
