//! What the last segment of an adopted partition says: its newest leader epoch, whatever the checkpoint
//! beside it knows, and whether transactions were written. Runs on shard 0 at the start; reads only.

use crate::control_plane::metadata_log::MetadataLogError;
use crate::log::segment;
use crate::runtime::{self, DirectoryEntry, File, FileOptions};
use crate::wire::batch::{self, BatchError, BatchHeader};
use std::io;
use std::path::Path;

/// Bytes read at once; a larger batch is read whole.
const WALK_BYTES: usize = 1 << 20;
/// Apache Kafka's index of aborted transactions: a segment that has none has no such file, or an empty one.
const TRANSACTION_INDEX_SUFFIX: &str = "txnindex";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSegment {
    /// 0 where no batch says more.
    pub leader_epoch: i32,
    /// Transactions were written to this segment, or aborted in any.
    pub is_transactional: bool,
}

/// Reads the whole batches of a partition's last segment. What follows them is recovery's to judge.
///
/// # Errors
/// What cannot be read.
pub async fn read(folder: &Path) -> Result<LastSegment, MetadataLogError> {
    let entries = runtime::list_directory(folder).await;
    let entries = entries.map_err(|error| MetadataLogError::io("list", folder, &error))?;
    let mut seen = LastSegment {
        leader_epoch: 0,
        is_transactional: entries.iter().any(is_index_of_aborted_transactions),
    };
    let segments = entries.iter().filter_map(|entry| match segment::parse_name(&entry.name) {
        Some((base, segment::LOG_SUFFIX)) => Some((base, entry.length)),
        _ => None,
    });
    let Some((base, length)) = segments.max() else { return Ok(seen) };
    let path = segment::file_path(folder, base, segment::LOG_SUFFIX);
    let walked = seen.walk(&path, length).await;
    walked.map_err(|error| MetadataLogError::io("read", &path, &error))?;
    Ok(seen)
}

fn is_index_of_aborted_transactions(entry: &DirectoryEntry) -> bool {
    let suffix = segment::parse_name(&entry.name).map(|(_, suffix)| suffix);
    suffix == Some(TRANSACTION_INDEX_SUFFIX) && entry.length > 0
}

impl LastSegment {
    async fn walk(&mut self, path: &Path, length: u64) -> io::Result<()> {
        let file = File::open(path, FileOptions { read_only: true, ..Default::default() }).await?;
        let (mut at, mut needed) = (0, Some(0));
        while let Some(bytes) = needed {
            let wish = bytes.max(WALK_BYTES) as u64;
            let wish = usize::try_from(wish.min(length - at)).expect("no more than wished");
            if wish < bytes || wish == 0 {
                break;
            }
            let bytes = file.read_at(at, wish).await?;
            let (passed, next) = self.note_batches(&bytes);
            at += passed as u64;
            needed = next;
            runtime::yield_if_needed().await;
        }
        file.close().await
    }

    /// Takes up the whole batches at the start of `bytes`: how many bytes they take, and how many the next
    /// one does; none when no batch follows.
    fn note_batches(&mut self, bytes: &[u8]) -> (usize, Option<usize>) {
        let mut at = 0;
        loop {
            match batch::parse_whole(&bytes[at..]) {
                Ok(header) => {
                    self.note(&header);
                    at += header.batch_bytes;
                }
                Err(BatchError::Truncated { need, .. }) => return (at, Some(need)),
                Err(_) => return (at, None),
            }
        }
    }

    fn note(&mut self, header: &BatchHeader) {
        self.leader_epoch = self.leader_epoch.max(header.leader_epoch);
        self.is_transactional |= header.is_transactional();
    }
}
