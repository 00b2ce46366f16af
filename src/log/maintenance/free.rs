//! Gives space back: files of deleted segments, and folders of deleted partitions, cut piece by piece from
//! their ends and then removed.
//!
//! Runs in one background task of each shard. A file system frees a large file in one go, and one that tells
//! the device so (mount option `discard`) holds up every write meanwhile: 32 MiB took up to 17 ms, and
//! renames of the same shard waited behind it. So pieces are small, and there is a pause after each. It never
//! touches a file under the name that recovery would read: what is queued here was renamed durably.

use crate::log::shard_log::ShardLog;
use crate::runtime::{self, File, FileOptions, Instant};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// A pause is this many times as long as what came before took: the device has three quarters for others.
const PAUSES: u32 = 3;
/// A device that is slow for a moment does not make for long pauses.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// What has been waiting for twice this has pauses half as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file or folder that nobody needs.
pub(in crate::log) struct Garbage {
    path: PathBuf,
    is_directory: bool,
    since: Instant,
}

impl ShardLog {
    /// Has a file freed that nothing refers to any more.
    pub(super) fn free_file_later(&self, path: PathBuf) {
        self.add_garbage(Garbage { path, is_directory: false, since: runtime::now() });
    }

    /// The same for a folder and all in it.
    pub(super) fn free_directory_later(&self, path: PathBuf) {
        self.add_garbage(Garbage { path, is_directory: true, since: runtime::now() });
    }

    /// Frees what is queued, one after the other, as long as the shard lives.
    pub(in crate::log) async fn free_when_due(self: Rc<Self>) {
        loop {
            let garbage = self.next_garbage().await;
            let piece = self.options.free_piece_bytes;
            match garbage.free(piece).await {
                Ok(()) => {}
                // A file may have gone with its folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = garbage.path.display();
                    tracing::error!(%path, %error, "cannot give back the space of what was deleted");
                    self.keep_garbage(Garbage { since: runtime::now(), ..garbage });
                }
            }
        }
    }
}

impl Garbage {
    async fn free(&self, piece: u64) -> io::Result<()> {
        if !self.is_directory {
            return self.free_file(&self.path, piece).await;
        }
        for entry in runtime::list_directory(&self.path).await? {
            if !entry.is_directory {
                let path = self.path.join(&entry.name);
                if let Err(error) = self.free_file(&path, piece).await {
                    // The removal of the whole says whether that matters.
                    tracing::debug!(path = %path.display(), %error, "cannot free a file yet");
                }
            }
        }
        self.paced(runtime::remove_directory(&self.path)).await
    }

    async fn free_file(&self, path: &Path, piece: u64) -> io::Result<()> {
        let file = File::open(path, FileOptions::default()).await?;
        let mut length = file.length().await?;
        while length > piece {
            length -= piece;
            self.paced(file.truncate(length)).await?;
        }
        file.close().await?;
        self.paced(runtime::remove_file(path)).await
    }

    /// Pauses after a piece of work, the less the longer this has been waiting for: deletion must not fall behind
    /// what is written.
    async fn paced(&self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let start = runtime::now();
        let outcome = work.await;
        let end = runtime::now();
        let pause = (end.since(start) * PAUSES).min(PAUSE_MAX);
        let patience = PATIENCE.as_secs_f64() / end.since(self.since).as_secs_f64();
        runtime::sleep(pause.mul_f64(patience.min(1.0))).await;
        outcome
    }
}
