//! Deleting a partition's folder: renamed out of the way at once, so that a topic of the same name can be
//! made again, then freed in the background. What a crash leaves is removed at the next start.

use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::small_file;
use crate::runtime;
use std::io;
use std::path::{Path, PathBuf};

/// The end of a deleted folder's name, as Kafka's.
pub const DELETED_SUFFIX: &str = "-delete";

/// `partition.metadata` is two short lines.
const METADATA_BYTES_MAX: usize = 4096;

impl Partition {
    /// Removes the files of a partition that is retired and quiet.
    pub async fn remove_files(&self) {
        match self.move_away_if_ours().await {
            Ok(Some(moved)) => drop(runtime::spawn_background(async move { free(&moved).await })),
            Ok(None) => {}
            Err(error) => {
                let directory = self.directory.display();
                tracing::error!(%directory, %error, "cannot remove a deleted partition");
            }
        }
    }

    /// Another partition of this name may have the folder by now, and have set ours aside.
    async fn move_away_if_ours(&self) -> io::Result<Option<PathBuf>> {
        match self.read_topic_id().await? {
            Some(id) if id != self.id.topic_id.to_base64() => Ok(None),
            _ => self.move_away().await,
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
    async fn move_away(&self) -> io::Result<Option<PathBuf>> {
        let mut name = self.directory.as_os_str().to_owned();
        name.push(format!(".{:016x}{DELETED_SUFFIX}", runtime::random_u64()));
        let moved = PathBuf::from(name);
        match runtime::rename(&self.directory, &moved).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        let parent = self.directory.parent().unwrap_or(&self.directory);
        runtime::sync_directory(parent).await?;
        Ok(Some(moved))
    }

    /// A folder of this name that belongs to another topic, one deleted before a crash, is moved away.
    pub(super) async fn set_stray_aside(&self) -> Result<(), LogFault> {
        let fault = |error| LogFault::from_io("read", &self.directory, 0, &error);
        let id = self.read_topic_id().await.map_err(fault)?;
        if id.is_none_or(|id| id == self.id.topic_id.to_base64()) {
            return Ok(());
        }
        tracing::warn!(partition = %self.id, "removing the files of a deleted topic of this name");
        let moved = self.move_away().await.map_err(fault)?;
        if let Some(moved) = moved {
            drop(runtime::spawn_background(async move { free(&moved).await }));
        }
        Ok(())
    }
}

async fn free(directory: &Path) {
    if let Err(error) = runtime::remove_directory(directory).await {
        tracing::error!(directory = %directory.display(), %error, "cannot free a deleted partition");
    }
}

/// Frees what deletions before the last stop left in the data directory.
///
/// # Errors
/// The directory cannot be listed.
pub async fn remove_deleted(data_directory: &Path) -> io::Result<()> {
    for entry in runtime::list_directory(data_directory).await? {
        if entry.is_directory && entry.name.ends_with(DELETED_SUFFIX) {
            let path = data_directory.join(&entry.name);
            drop(runtime::spawn_background(async move { free(&path).await }));
        }
    }
    Ok(())
}
