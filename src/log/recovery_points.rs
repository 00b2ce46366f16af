//! Up to where each partition of a shard is complete on disk, so that what is read again after a crash is
//! bounded by bytes and not by partitions or segments. One small file per shard in the data directory,
//! written anew whenever half of the bound was written since (`recovery_scan_bytes_max`):
//!
//! ```text
//! file:  "CLRP" | version u8 = 1 | count u32 | entries | crc32 of all before
//! entry: topic id 16 | partition i32 | segment i64 | end u64 | next offset i64
//!        | time of the segment's first batch i64 | its largest time i64, at offset i64
//!        | epochs u32: (epoch i32, start i64) each | snapshot of producers: length u32, bytes
//! ```
//!
//! Lives on its shard; cold. A partition that moved to another core is found in the file of its old one:
//! all are read at the start, and of two entries the later holds. Without a file, or when it is damaged,
//! recovery goes by the partitions' own snapshots, from their last sealed segment on.

use super::producers::ProducerState;
use super::segment::Segment;
use super::small_file;
use super::verify::Epochs;
use crate::limits::PARTITIONS_MAX;
use crate::runtime;
use crate::types::{Offset, Position, Timestamp, TopicId};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const MAGIC: &[u8; 4] = b"CLRP";
const VERSION: u8 = 1;
const FILE_PREFIX: &str = "recovery-points-";
/// A quarter of a million partitions with a few producers each.
const FILE_BYTES_MAX: usize = 1 << 30;
const ENTRY_BYTES_MIN: usize = 16 + 4 + 8 * 6 + 4 + 4;
/// More changes of leadership than a partition sees.
const EPOCHS_MAX: usize = 1 << 20;

/// A partition, as the files on disk know it.
pub type PointKey = (TopicId, i32);

/// All before `next` is on stable storage: in `segment` up to byte `end`, and in those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    pub segment: Offset,
    pub end: Position,
    pub next: Offset,
    pub first_timestamp: Option<Timestamp>,
    pub max_timestamp: Option<(Timestamp, Offset)>,
    pub epochs: Epochs,
    /// A snapshot of `ProducerState`.
    pub producers: Vec<u8>,
}

impl RecoveryPoint {
    /// The end of what a segment holds.
    pub fn at_end_of(
        segment: &Segment,
        next: Offset,
        epochs: Epochs,
        producers: &ProducerState,
    ) -> RecoveryPoint {
        RecoveryPoint {
            segment: segment.base,
            end: segment.end,
            next,
            first_timestamp: segment.first_timestamp,
            max_timestamp: segment.max_timestamp,
            epochs,
            producers: producers.encode(next),
        }
    }

    /// The entry of a partition.
    pub fn encode(&self, (topic_id, index): PointKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_BYTES_MIN);
        out.extend_from_slice(&topic_id.0);
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(&self.segment.0.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
        out.extend_from_slice(&self.next.0.to_be_bytes());
        let none = (Timestamp(i64::MIN), Offset(-1));
        let (max, max_offset) = self.max_timestamp.unwrap_or(none);
        let first = self.first_timestamp.unwrap_or(Timestamp(i64::MIN));
        for number in [first.0, max.0, max_offset.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&(self.epochs.len() as u32).to_be_bytes());
        for (epoch, start) in self.epochs.iter() {
            out.extend_from_slice(&epoch.to_be_bytes());
            out.extend_from_slice(&start.0.to_be_bytes());
        }
        out.extend_from_slice(&(self.producers.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.producers);
        out
    }
}

/// A file's contents from its entries.
fn encode_file(entries: &[Vec<u8>]) -> Vec<u8> {
    let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
    let mut out = Vec::with_capacity(bytes + 16);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    entries.iter().for_each(|entry| out.extend_from_slice(entry));
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// A file's entries; `None` when it is damaged or of another version.
fn decode_file(bytes: &[u8]) -> Option<Vec<(PointKey, RecoveryPoint)>> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32fast::hash(body).to_be_bytes() != crc {
        return None;
    }
    let mut cursor = Cursor { bytes: body, at: 0 };
    if cursor.take::<4>()? != *MAGIC || cursor.take::<1>()? != [VERSION] {
        return None;
    }
    let count = u32::from_be_bytes(cursor.take()?) as usize;
    if count > PARTITIONS_MAX || count > body.len() / ENTRY_BYTES_MIN {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(cursor.entry()?);
    }
    (cursor.at == body.len()).then_some(entries)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn slice(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take()?))
    }

    fn entry(&mut self) -> Option<(PointKey, RecoveryPoint)> {
        let key = (TopicId(self.take()?), i32::from_be_bytes(self.take()?));
        let segment = Offset(self.number()?);
        let end = Position(u64::from_be_bytes(self.take()?));
        let next = Offset(self.number()?);
        let (first, max, max_offset) = (self.number()?, self.number()?, Offset(self.number()?));
        let count = u32::from_be_bytes(self.take()?) as usize;
        if count > EPOCHS_MAX || segment < Offset::ZERO || next < segment {
            return None;
        }
        let mut epochs: Vec<(i32, Offset)> = Vec::new();
        for _ in 0..count {
            let epoch = i32::from_be_bytes(self.take()?);
            let start = Offset(self.number()?);
            if epochs.last().is_some_and(|(last, at)| *last >= epoch || *at > start) {
                return None;
            }
            epochs.push((epoch, start));
        }
        let length = u32::from_be_bytes(self.take()?) as usize;
        let producers = self.slice(length)?.to_vec();
        let point = RecoveryPoint {
            segment,
            end,
            next,
            first_timestamp: (first != i64::MIN).then_some(Timestamp(first)),
            max_timestamp: (max != i64::MIN).then_some((Timestamp(max), max_offset)),
            epochs: Rc::new(epochs),
            producers,
        };
        Some((key, point))
    }
}

/// The file of a shard.
pub fn file_of(data_directory: &Path, shard: u16) -> PathBuf {
    data_directory.join(format!("{FILE_PREFIX}{shard}"))
}

/// Writes a shard's file; durable when this returns.
///
/// # Errors
/// As the system calls; the old file holds.
pub async fn write(path: &Path, entries: &[Vec<u8>]) -> io::Result<()> {
    small_file::write(path, &encode_file(entries)).await?;
    let directory = path.parent().unwrap_or(path);
    runtime::sync_directory(directory).await
}

/// A file of recovery points as it is found.
pub struct PointsFile {
    pub path: PathBuf,
    pub shard: u16,
    /// None: damaged, or of another version.
    pub entries: Option<Vec<(PointKey, RecoveryPoint)>>,
}

/// All files of recovery points of a data directory.
///
/// # Errors
/// As the system calls.
pub async fn read_files(data_directory: &Path) -> io::Result<Vec<PointsFile>> {
    let mut files = Vec::new();
    for entry in runtime::list_directory(data_directory).await? {
        let number = entry.name.strip_prefix(FILE_PREFIX).and_then(|shard| shard.parse().ok());
        let Some(shard) = number.filter(|_| !entry.is_directory) else { continue };
        let path = data_directory.join(&entry.name);
        let bytes = match small_file::read(&path, FILE_BYTES_MAX).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            other => other.map_err(|error| unreadable(&path, &error))?,
        };
        let entries = bytes.as_deref().and_then(decode_file);
        files.push(PointsFile { path, shard, entries });
    }
    Ok(files)
}

/// Going on without what a device fails to give, perhaps for now only, would take damage to what was complete for a
/// torn tail, and cut it. Whoever operates it decides.
fn unreadable(path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    let text = format!(
        "cannot read {path}: {error}; check the device and the kernel log, and if it stays unreadable, move the \
         file away: the start reads more then, and takes damage in the last commit for a torn tail"
    );
    io::Error::new(error.kind(), text)
}

/// What all files of a data directory say, the later of two for the same partition, and which shards'
/// files there are. A damaged file is as good as none.
///
/// # Errors
/// As the system calls.
pub async fn read_all(
    data_directory: &Path,
) -> io::Result<(HashMap<PointKey, RecoveryPoint>, Vec<u16>)> {
    let (mut points, mut shards) = (HashMap::new(), Vec::new());
    for PointsFile { path, shard, entries } in read_files(data_directory).await? {
        shards.push(shard);
        let Some(entries) = entries else {
            tracing::warn!(file = %path.display(), "recovery points are damaged; reading more instead");
            continue;
        };
        for (key, point) in entries {
            match points.get(&key) {
                Some(RecoveryPoint { next, .. }) if *next >= point.next => {}
                _ => drop(points.insert(key, point)),
            }
        }
    }
    Ok((points, shards))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(next: i64) -> RecoveryPoint {
        RecoveryPoint {
            segment: Offset(100),
            end: Position(5000),
            next: Offset(next),
            first_timestamp: Some(Timestamp(7)),
            max_timestamp: Some((Timestamp(9), Offset(150))),
            epochs: Rc::new(vec![(0, Offset(0)), (3, Offset(120))]),
            producers: ProducerState::default().encode(Offset(next)),
        }
    }

    fn key(index: i32) -> PointKey {
        (TopicId([3; 16]), index)
    }

    #[test]
    fn files_read_back_as_written() {
        let empty = RecoveryPoint {
            first_timestamp: None,
            max_timestamp: None,
            epochs: Rc::default(),
            ..sample(100)
        };
        let points = [(key(0), sample(170)), (key(1), empty)];
        let entries: Vec<Vec<u8>> = points.iter().map(|(key, point)| point.encode(*key)).collect();
        assert_eq!(decode_file(&encode_file(&entries)), Some(points.to_vec()));
        assert_eq!(decode_file(&encode_file(&[])), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn damaged_files_say_nothing(at in 0usize..200, bit in 0u8..8) {
            let mut file = encode_file(&[sample(170).encode(key(0))]);
            let at = at % file.len();
            file[at] ^= 1 << bit;
            prop_assert_eq!(decode_file(&file), None);
            prop_assert_eq!(decode_file(&file[..at]), None);
        }

        #[test]
        fn anything_is_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = [MAGIC, &[VERSION][..], &body].concat();
            let crc = crc32fast::hash(&file);
            file.extend_from_slice(&crc.to_be_bytes());
            decode_file(&file);
        }
    }
}
