//! One file of a partition's log: names, sizes and what is known of its contents. Plain state.

use super::index::SegmentIndex;
use crate::types::{Offset, Position, Timestamp};
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub const LOG_SUFFIX: &str = "log";
pub const INDEX_SUFFIX: &str = "index";
pub const TIME_INDEX_SUFFIX: &str = "timeindex";
pub const PRODUCERS_SUFFIX: &str = "producers";
/// Files of one segment.
pub const SUFFIXES: [&str; 3] = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX];
/// What a segment has beside its records.
pub const INDEX_SUFFIXES: [&str; 2] = [INDEX_SUFFIX, TIME_INDEX_SUFFIX];
/// Apache Kafka's own snapshot of producers; only its presence is of interest.
pub const KAFKA_SNAPSHOT_SUFFIX: &str = "snapshot";
/// An empty file that says: commits were written that no sync has covered, so power loss may leave holes
/// anywhere after the checkpoint.
pub const UNSYNCED_NAME: &str = "unsynced";
/// A small file that says: a repair of this partition began and did not end, so nobody may serve it.
pub const REPAIRING_NAME: &str = "repairing";
/// The end of the name of a small file that is being written, not yet renamed; removed by recovery.
pub const TEMPORARY_END: &str = ".tmp";
/// The end of the name of a deleted segment's file, as Kafka's; freed by recovery.
pub const DELETED_END: &str = ".deleted";

/// The path with this added to its name.
pub fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// `<directory>/<offset, 20 digits>.<suffix>`, as Kafka names them.
pub fn file_path(directory: &Path, base: Offset, suffix: &str) -> PathBuf {
    directory.join(format!("{:020}.{suffix}", base.0))
}

/// The offset and suffix of such a name; `None` for any other.
pub fn parse_name(name: &str) -> Option<(Offset, &str)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), suffix))
}

/// What is known of one segment. The last of a partition is the active one.
#[derive(Clone, Debug)]
pub struct Segment {
    pub base: Offset,
    /// Bytes of whole, committed batches from the file's start.
    pub end: Position,
    /// Length of the file: beyond `end` it is preallocated and reads as zeros. Zero: no file yet.
    pub allocated: u64,
    /// Time of the first batch, from which `segment_ms` counts.
    pub first_timestamp: Option<Timestamp>,
    /// The largest record time so far and the last offset of its batch.
    pub max_timestamp: Option<(Timestamp, Offset)>,
    /// When a sealed segment whose records have no times was last written, once somebody asked.
    pub modified: Option<Timestamp>,
    /// Always there for the active segment; of a sealed one only while it is in use.
    pub index: Option<Rc<SegmentIndex>>,
}

impl Segment {
    pub fn empty(base: Offset) -> Segment {
        Segment {
            base,
            end: Position::ZERO,
            allocated: 0,
            first_timestamp: None,
            max_timestamp: None,
            modified: None,
            index: Some(Rc::new(SegmentIndex::new(base))),
        }
    }

    /// A sealed segment of which no more than its length is known yet.
    pub fn sealed(base: Offset, bytes: u64) -> Segment {
        let end = Position(bytes);
        Segment { end, allocated: bytes, index: None, ..Segment::empty(base) }
    }

    /// Notes a time at `offset` and returns the largest so far; earlier ones win ties, as in Kafka.
    pub fn note_time(&mut self, timestamp: Timestamp, offset: Offset) -> (Timestamp, Offset) {
        match self.max_timestamp {
            Some(max) if max.0 >= timestamp => max,
            _ => *self.max_timestamp.insert((timestamp, offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_not_ours() {
        let path = file_path(Path::new("d"), Offset(42), LOG_SUFFIX);
        assert_eq!(path, Path::new("d/00000000000000000042.log"));
        assert_eq!(parse_name("00000000000000000042.log"), Some((Offset(42), "log")));
        for name in [
            "42.log",
            "leader-epoch-checkpoint",
            "0000000000000000004x.log",
            "99999999999999999999.log",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
