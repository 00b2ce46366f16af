//! Our small files (indexes, snapshots, checkpoints): written whole under a temporary name, synced, then
//! renamed, so that a reader finds the old one or the new one. Cold; runs on any shard.

use super::segment::{self, TEMPORARY_END};
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::{self, File, FileOptions};
use std::io;
use std::path::Path;

/// Replaces the file at `path` by `bytes`. Its name is durable after the directory's next sync.
///
/// # Errors
/// As the system calls; the old file is still there.
pub async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = segment::with_end(path, TEMPORARY_END);
    match runtime::remove_file(&temporary).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let options = FileOptions { create_new: true, ..FileOptions::default() };
    let file = File::open(&temporary, options).await?;
    if !bytes.is_empty() {
        file.write_at(&AlignedBuffer::padded(bytes).freeze(), 0).await?;
    }
    file.truncate(bytes.len() as u64).await?;
    file.sync().await?;
    file.close().await?;
    runtime::rename(&temporary, path).await
}

/// Reads a small file that can be done without: `None` when there is none, when it is longer than it can be, and when
/// the device has lost it, which is logged.
///
/// # Errors
/// As the system calls: it may be there and whole.
pub async fn read_if_whole(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    match read(path, bytes_max).await {
        Err(error) if error.kind() == io::ErrorKind::InvalidData || runtime::is_lost(&error) => {
            tracing::warn!(file = %path.display(), %error, "a file cannot be read; going on without it");
            Ok(None)
        }
        other => other,
    }
}

/// Reads a small file whole; `None` when there is none.
///
/// # Errors
/// As the system calls; `InvalidData` when it is longer than `bytes_max`.
pub async fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path, FileOptions { read_only: true, ..Default::default() }).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = file.length().await?;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max);
    let Some(length) = length else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than it can be"));
    };
    let bytes = if length == 0 { Vec::new() } else { file.read_at(0, length).await?.to_vec() };
    file.close().await?;
    Ok(Some(bytes))
}
