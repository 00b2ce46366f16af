//! The only door to the executor, the kernel and `unsafe`.
//!
//! Everything above says `runtime::File`, `runtime::spawn`, `runtime::now`; which runtime that is, is an
//! alias: glommio in the product, a seeded simulation (virtual time, a disk that tears and loses what was
//! not synced, a network that delays and cuts) in test builds. Nothing above this module names glommio,
//! libc or a raw file descriptor.

#![allow(unsafe_code)]

pub mod buffer;
mod clock;
mod replace;
mod slot;
mod wakers;

pub use clock::Instant;
pub use replace::{replace_file, unlink_file};
pub use slot::{Event, Filler, Slot, slot};
pub use wakers::{Line, Turn, Wakers};

#[cfg(not(any(test, feature = "sim")))]
mod glommio;
#[cfg(not(any(test, feature = "sim")))]
pub use self::glommio::*;
#[cfg(not(any(test, feature = "sim")))]
mod host;
#[cfg(not(any(test, feature = "sim")))]
pub use self::host::{
    DirectoryLock, PortReservation, StopSignal, host_memory_bytes, keep_freed_memory,
    process_usage, raise_open_files_limit, raise_stop_signal, volume_space,
};

#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(any(test, feature = "sim"))]
pub use self::sim::{
    DirectoryLock, File, Listener, MeshPeer, MeshReceiver, MeshSender, Stream, Task, busy_time,
    create_directory_all, last_modified, list_directory, mesh, now, prepare_directory,
    process_usage, random_u64, read_small_files, remove_directory, remove_file, rename, sleep,
    spawn, spawn_background, sync_directory, volume_space, wall_clock, yield_if_needed, yield_now,
};

use crate::types::Timestamp;
use std::future::Future;
use std::time::Duration;

/// How a file is opened. All files are read and written with direct I/O, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Make the file; an existing one is an error (`AlreadyExists`).
    pub create_new: bool,
    /// A write that returned is on stable storage (O_DSYNC).
    pub sync_on_write: bool,
    /// No writes will be made.
    pub read_only: bool,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: String,
    pub is_directory: bool,
    /// Bytes; 0 for a directory.
    pub length: u64,
    /// When a file was last written; of a directory nobody asks.
    pub modified: Timestamp,
}

/// How a listening socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Several shards may bind the same port; the kernel spreads connections (SO_REUSEPORT).
    pub shared: bool,
    pub backlog: u32,
}

/// Sizes of a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeSpace {
    pub total_bytes: u64,
    /// What an ordinary user may still write.
    pub usable_bytes: u64,
}

/// What this process takes of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Memory in pages that are there.
    pub resident_bytes: u64,
    /// CPU time of all threads, in the kernel too.
    pub cpu: Duration,
}

/// Whether a device cannot give what it is asked for, or a file system does not believe what it finds (errno(3)). A
/// process cannot bring it about by itself.
pub fn is_lost(error: &std::io::Error) -> bool {
    use libc::{EBADMSG, EILSEQ, EIO, ENODATA, EREMOTEIO, EUCLEAN};
    let lost = [EIO, EBADMSG, EUCLEAN, ENODATA, EILSEQ, EREMOTEIO];
    error.raw_os_error().is_some_and(|number| lost.contains(&number))
}

/// Runs `future` for at most `limit`; `None` when time ran out (the future is dropped).
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    futures_lite::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}
