//! Removing files: those of a segment, and a partition's whole folder. That is renamed out of the way at
//! once, so that a topic of the same name can be made again, then freed in the background. What a crash leaves
//! is removed at the next start. A folder that is in the way and is not known to be of a deleted topic is set
//! aside and kept.

use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::segment;
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::runtime;
use crate::types::Offset;
use futures_util::stream::{self, StreamExt};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The end of a deleted folder's name, as Kafka's.
pub const DELETED_SUFFIX: &str = "-delete";
/// The end of the name of a folder that was in the way, as Kafka's.
const STRAY_SUFFIX: &str = "-stray";

/// Linux's NAME_MAX: the longest name of a topic takes nearly all of it.
const NAME_BYTES_MAX: usize = 255;
/// Folders looked into or renamed at once.
const AT_ONCE: usize = 16;

/// `partition.metadata` is two short lines.
const METADATA_BYTES_MAX: usize = 4096;

impl Partition {
    /// Removes the files of a partition that is retired and quiet.
    #[cfg(test)]
    pub async fn remove_files(self: &Rc<Self>) {
        self.shard.remove_partitions(std::slice::from_ref(self)).await;
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
        self.remove_indexes(base).await?;
        self.sync_names().await?;
        self.shard.free_file_later(deleted);
        Ok(())
    }

    /// Removes a segment's indexes, as far as they are there. Who needs them makes them anew.
    pub(super) async fn remove_indexes(&self, base: Offset) -> Result<(), LogFault> {
        for suffix in segment::INDEX_SUFFIXES {
            let path = segment::file_path(&self.directory, base, suffix);
            if let Some(error) = runtime::remove_file(&path).await.err().filter(is_there) {
                return Err(LogFault::from_io("remove", &path, 0, &error));
            }
        }
        Ok(())
    }

    /// Another partition of this name may have the folder by now, and have set ours aside.
    async fn has_own_folder(&self) -> Result<bool, LogFault> {
        let fault = |error| LogFault::from_io("read", &self.directory, 0, &error);
        let id = self.read_topic_id().await.map_err(fault)?;
        Ok(id.is_none_or(|id| id == self.id.topic_id.to_base64()))
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

    /// Sets a folder of this name aside that is not this topic's, or does not say whose its segments are:
    /// their records are none of this topic's.
    pub(super) async fn set_stray_aside(&self) -> Result<(), LogFault> {
        let fault = |error| LogFault::from_io("read", &self.directory, 0, &error);
        if self.is_stray().await?
            && let Some(kept) = rename_away(&self.directory, STRAY_SUFFIX).await.map_err(fault)?
        {
            let parent = self.directory.parent().unwrap_or(&self.directory);
            runtime::sync_directory(parent).await.map_err(fault)?;
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

/// Renames a folder; `None` if there is none. The new name is not durable yet.
async fn rename_away(folder: &Path, suffix: &str) -> io::Result<Option<PathBuf>> {
    let moved = folder.with_file_name(name_away(folder, runtime::random_u64(), suffix));
    match runtime::rename(folder, &moved).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(|()| Some(moved)),
    }
}

/// The folder's name, what makes it unlike others, and the suffix; of a long name the end gives way, as Kafka
/// does it.
fn name_away(folder: &Path, unlike: u64, suffix: &str) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let end = format!(".{unlike:016x}{suffix}");
    let kept = name.floor_char_boundary(NAME_BYTES_MAX - end.len());
    format!("{}{end}", &name[..kept])
}

impl ShardLog {
    /// Removes the files of partitions that are retired and quiet. What fails is left to the next start.
    pub async fn remove_partitions(&self, partitions: &[Rc<Partition>]) {
        let looks = partitions.iter().map(async |partition: &Rc<Partition>| {
            (partition.has_own_folder().await, partition.directory.clone())
        });
        let mut looks = stream::iter(looks).buffered(AT_ONCE);
        let mut folders = Vec::new();
        while let Some((looked, folder)) = looks.next().await {
            match looked {
                Ok(true) => folders.push(folder),
                Ok(false) => {}
                Err(fault) => tracing::error!(%fault, "cannot remove a deleted partition"),
            }
        }
        if let Err(fault) = self.remove_folders(folders).await {
            tracing::error!(%fault, "cannot remove deleted partitions");
        }
    }

    /// Renames folders of deleted partitions, as far as they are there, brings that to stable storage at once,
    /// and has them freed. Of all, so that many take one sync of the data directory.
    ///
    /// # Errors
    /// The first of what the system says; the others are renamed all the same.
    pub async fn remove_folders(&self, folders: Vec<PathBuf>) -> Result<(), LogFault> {
        let renames = folders.into_iter().map(async |folder| {
            let renamed = rename_away(&folder, DELETED_SUFFIX).await;
            renamed.map_err(|error| LogFault::from_io("rename", &folder, 0, &error))
        });
        let mut renames = stream::iter(renames).buffered(AT_ONCE);
        let (mut moved, mut failed) = (Vec::new(), None);
        while let Some(renamed) = renames.next().await {
            match renamed {
                Ok(path) => moved.extend(path),
                Err(fault) => drop(failed.get_or_insert(fault)),
            }
        }
        if !moved.is_empty() {
            // Before it is cut under its new name: a crash must not bring it back under the old one.
            let directory = &self.options.data_directory;
            let synced = runtime::sync_directory(directory).await;
            synced.map_err(|error| LogFault::from_io("sync", directory, 0, &error))?;
        }
        for path in moved {
            self.free_directory_later(path);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Has the folders freed that deletions before the last stop left in the data directory.
    ///
    /// # Errors
    /// The directory cannot be synced or listed.
    pub async fn free_left_behind(&self) -> io::Result<()> {
        let directory = &self.options.data_directory;
        // What is freed must not come back under its old name.
        runtime::sync_directory(directory).await?;
        for entry in runtime::list_directory(directory).await? {
            if entry.is_directory && entry.name.ends_with(DELETED_SUFFIX) {
                self.free_directory_later(directory.join(&entry.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_longest_topic_can_be_renamed() {
        let name = format!("{}-99999", "t".repeat(249));
        let moved = name_away(&Path::new("/data").join(&name), 7, DELETED_SUFFIX);
        assert_eq!(moved.len(), NAME_BYTES_MAX);
        assert!(moved.ends_with(".0000000000000007-delete"), "{moved}");
        assert_eq!(name_away("/data/t-0".as_ref(), 7, STRAY_SUFFIX), "t-0.0000000000000007-stray");
    }
}
