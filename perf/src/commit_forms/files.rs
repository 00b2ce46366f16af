//! The form of the log: each partition's commits go to its own segment. It is the broker's log that runs here, with the
//! broker's bounds; nothing is made like it.

use super::drive::Counts;
use super::{CommitForms, TOPIC, TOPIC_ID, partition_folder};
use bytes::Bytes;
use corelog::limits::BLOCK_BYTES;
use corelog::log::{
    Dispatched, LogConfig, LogFault, LogOptions, Partition, PartitionId, ShardLog, WatchKey,
    segment, small_file,
};
use corelog::probe::Probe;
use corelog::runtime::buffer::AlignedBuffer;
use corelog::runtime::{self, File, FileOptions};
use corelog::types::Offset;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Half of what a shard has by default is its tail cache.
const TAIL_CACHE_BYTES: usize = 512 << 20;
/// Partitions that are made or opened at once.
pub const OPENED_AT_ONCE: usize = 32;
/// Zeros are written by so many bytes at once.
const ZEROS_BYTES: u64 = 1 << 20;

pub struct Files {
    shard: Rc<ShardLog>,
    partitions: Vec<Rc<Partition>>,
    batch: Bytes,
}

impl Files {
    /// # Errors
    /// The fault of a partition that cannot be opened.
    pub async fn open(
        given: &CommitForms,
        batch: Bytes,
        folder: &Path,
        open_files_max: u64,
    ) -> io::Result<Files> {
        // As the broker shares descriptors out on one core.
        let files = usize::try_from(open_files_max / 2).unwrap_or(usize::MAX);
        let options = LogOptions {
            files_open_max: files.clamp(16, 65_536),
            tail_cache_bytes: TAIL_CACHE_BYTES,
            ..LogOptions::new(folder.to_path_buf())
        };
        let shard = ShardLog::new(options, Rc::new(Probe::default()));
        shard.start_writers();
        let config = Arc::new(LogConfig::default());
        let opening = (0..given.partitions).map(|index| {
            let (topic_id, topic, index) = (TOPIC_ID, Arc::from(TOPIC), index as i32);
            let id = PartitionId { topic_id, topic, index };
            Partition::open(&shard, id, config.clone(), 0, Offset::ZERO)
        });
        let opened: Result<Vec<_>, LogFault> =
            stream::iter(opening).buffered(OPENED_AT_ONCE).try_collect().await;
        let partitions = opened.map_err(io::Error::other)?;
        Ok(Files { shard, partitions, batch })
    }

    /// # Errors
    /// The partition is offline.
    pub fn offer(
        &self,
        partition: usize,
    ) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        let partition = self.partitions[partition].clone();
        let dispatched = partition.append(self.batch.clone(), runtime::wall_clock());
        Ok(produced(partition, dispatched.map_err(io::Error::other)?))
    }

    /// Commits only: indexes and recovery points are among the bytes written, not here.
    pub fn counts(&self) -> Counts {
        let commits = self.shard.probe.commit_duration.count();
        Counts { writes: commits, syncs: commits, ..Counts::default() }
    }

    /// Until nobody works on the files of a partition.
    pub async fn quiesce(&self) {
        for partition in &self.partitions {
            partition.quiesce().await;
        }
    }
}

async fn produced(partition: Rc<Partition>, dispatched: Dispatched) -> io::Result<()> {
    let mut key = WatchKey::default();
    let kept = poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context)).await;
    kept.map_err(io::Error::other)
}

/// Gives each partition a segment of so many bytes that were written before: the log takes zeros for space that is
/// free, and writes over them. Opening the partitions reads them.
///
/// # Errors
/// As the system calls.
pub async fn prepare(folder: &Path, partitions: usize, bytes_each: u64) -> io::Result<()> {
    let metadata = format!("version: 0\ntopic_id: {TOPIC_ID}");
    let preparing = (0..partitions).map(|partition| {
        let directory = partition_folder(folder, partition);
        let metadata = metadata.as_bytes();
        async move {
            runtime::create_directory_all(&directory).await?;
            small_file::write(&directory.join("partition.metadata"), metadata).await?;
            let path = segment::file_path(&directory, Offset::ZERO, segment::LOG_SUFFIX);
            write_zeros(&path, bytes_each).await
        }
    });
    stream::iter(preparing).buffered(OPENED_AT_ONCE).try_collect::<()>().await
}

/// Makes a file of whole blocks that were all written.
///
/// # Errors
/// As the system calls.
pub async fn write_zeros(path: &Path, length: u64) -> io::Result<()> {
    assert!(length > 0 && length.is_multiple_of(BLOCK_BYTES as u64), "length {length}");
    let options = FileOptions { create_new: true, ..FileOptions::default() };
    let file = File::open(path, options).await?;
    file.allocate(length).await?;
    let mut at = 0;
    while at < length {
        let piece = (length - at).min(ZEROS_BYTES);
        let mut zeros = AlignedBuffer::allocate(piece as usize);
        zeros.as_mut_slice().fill(0);
        file.write_at(&zeros.freeze(), at).await?;
        at += piece;
    }
    file.sync().await?;
    file.close().await
}
