//! Removing files: those of a segment, and a partition's whole folder. That is renamed out of the way at
//! once, so that a topic of the same name can be made again, then freed in the background. What a crash leaves
//! is removed at the next start. A folder that is in the way and is not known to be of a deleted topic is set
//! aside and kept.

use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::planted::{self, Bug};
use crate::log::segment;
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::runtime;
use crate::types::Offset;
use std::io;
use std::path::PathBuf;

/// The end of a deleted folder's name, as Kafka's.
pub const DELETED_SUFFIX: &str = "-delete";
/// The end of the name of a folder that was in the way, as Kafka's.
const STRAY_SUFFIX: &str = "-stray";

/// `partition.metadata` is two short lines.
const METADATA_BYTES_MAX: usize = 4096;

impl Partition {
    /// Removes the files of a partition that is retired and quiet.
    pub async fn remove_files(&self) {
        match self.move_away_if_ours().await {
            Ok(Some(moved)) => self.shard.free_directory_later(moved),
            Ok(None) => {}
            Err(error) => {
                let directory = self.directory.display();
                tracing::error!(%directory, %error, "cannot remove a deleted partition");
            }
        }
    }

    /// Removes the files of one segment, as far as they are there; durably, so that a crash does not bring them
    /// back. The space of the records is given back piece by piece.
    pub(super) async fn remove_segment_files(&self, base: Offset) -> Result<(), LogFault> {
        let log = segment::file_path(&self.directory, base, segment::LOG_SUFFIX);
        let deleted = segment::with_end(&log, segment::DELETED_END);
        let renamed = match runtime::rename(&log, &deleted).await {
            // Not even a longer name has room: then what is to make room goes at once.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                runtime::remove_file(&log).await
            }
            other => other,
        };
        if let Some(error) = renamed.err().filter(is_there) {
            return Err(LogFault::from_io("rename", &log, 0, &error));
        }
        for suffix in segment::INDEX_SUFFIXES {
            let path = segment::file_path(&self.directory, base, suffix);
            if let Some(error) = runtime::remove_file(&path).await.err().filter(is_there) {
                return Err(LogFault::from_io("remove", &path, 0, &error));
            }
        }
        self.sync_names().await?;
        self.shard.free_file_later(deleted);
        Ok(())
    }

    /// Another partition of this name may have the folder by now, and have set ours aside.
    async fn move_away_if_ours(&self) -> io::Result<Option<PathBuf>> {
        match self.read_topic_id().await? {
            Some(id) if id != self.id.topic_id.to_base64() => Ok(None),
            _ => self.move_away(DELETED_SUFFIX).await,
        }
    }

    /// Whose folder this is (KIP-516); `None` when it does not say.
    async fn read_topic_id(&self) -> io::Result<Option<String>> {
        let path = self.directory.join("partition.metadata");
        let Some(bytes) = small_file::read(&path, METADATA_BYTES_MAX).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
        Ok(id.map(|id| id.trim().to_string()))
    }

    /// Renames the folder, durably; `None` if there is none.
    async fn move_away(&self, suffix: &str) -> io::Result<Option<PathBuf>> {
        let end = format!(".{:016x}{suffix}", runtime::random_u64());
        let moved = segment::with_end(&self.directory, &end);
        match runtime::rename(&self.directory, &moved).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        let parent = self.directory.parent().unwrap_or(&self.directory);
        runtime::sync_directory(parent).await?;
        Ok(Some(moved))
    }

    /// Sets a folder of this name aside that is not this topic's, or does not say whose its segments are:
    /// their records are none of this topic's.
    pub(super) async fn set_stray_aside(&self) -> Result<(), LogFault> {
        let fault = |error| LogFault::from_io("read", &self.directory, 0, &error);
        if self.is_stray().await?
            && !planted::is(Bug::KeepStrayFolder)
            && let Some(kept) = self.move_away(STRAY_SUFFIX).await.map_err(fault)?
        {
            let kept = kept.display();
            tracing::warn!(partition = %self.id, %kept, "a folder in the way was set aside");
        }
        Ok(())
    }

    /// Whether the folder is not this topic's, or does not say whose its segments are.
    pub(super) async fn is_stray(&self) -> Result<bool, LogFault> {
        let fault = |error| LogFault::from_io("read", &self.directory, 0, &error);
        match self.read_topic_id().await.map_err(fault)? {
            Some(id) => Ok(id != self.id.topic_id.to_base64()),
            None => self.has_segments().await.map_err(fault),
        }
    }

    async fn has_segments(&self) -> io::Result<bool> {
        let entries = match runtime::list_directory(&self.directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let is_segment = |name| matches!(segment::parse_name(name), Some((_, segment::LOG_SUFFIX)));
        Ok(entries.iter().any(|entry| is_segment(&entry.name)))
    }
}

fn is_there(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound
}

impl ShardLog {
    /// Has the folders freed that deletions before the last stop left in the data directory.
    ///
    /// # Errors
    /// The directory cannot be synced or listed.
    pub async fn free_left_behind(&self) -> io::Result<()> {
        let directory = &self.options.data_directory;
        // What is freed must not come back under its old name.
        if !planted::is(Bug::KeepStrayFolder) {
            runtime::sync_directory(directory).await?;
        }
        for entry in runtime::list_directory(directory).await? {
            if entry.is_directory && entry.name.ends_with(DELETED_SUFFIX) {
                self.free_directory_later(directory.join(&entry.name));
            }
        }
        Ok(())
    }
}
