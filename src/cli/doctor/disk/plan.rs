//! What is measured, in which order, for how long and in how much space. Pure.

use std::time::Duration;

/// What is done to the disk. Writes go to space that was allocated and never written, as those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A write that returns when it is on stable storage (O_DSYNC): a commit under `durability = "fsync"`.
    SyncedWrite,
    /// The same without that promise.
    Write,
    /// Making a write of 4 KiB durable after it returned (fdatasync): the write is not counted in.
    Sync,
    /// Of what was written, from start to end and again.
    Read,
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Work::SyncedWrite => "synced-write",
            Work::Write => "write",
            Work::Sync => "sync",
            Work::Read => "read",
        }
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub work: Work,
    /// Of one operation.
    pub bytes: usize,
    pub in_flight: usize,
    /// One, or as many as operations are in flight: then each has a file of its own, as each commit has.
    pub files: usize,
}

const KIB: usize = 1024;

/// What a partition with little to write commits at once.
pub const SMALL_BYTES: usize = 4 * KIB;
/// In rising order, as all of these.
const WRITE_BYTES: [usize; 5] = [64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 1024 * KIB];
/// One in flight only: what they would tell with more is told by the largest of the others.
const LONG_WRITE_BYTES: [usize; 2] = [2048 * KIB, 4096 * KIB];
/// The largest of which more than one is in flight.
pub const DEEP_BYTES_MAX: usize = 1024 * KIB;
const READ_BYTES: [usize; 4] = [128 * KIB, 256 * KIB, 512 * KIB, 1024 * KIB];
const DEPTHS: [usize; 4] = [1, 2, 4, 8];
/// Files with one write of 4 KiB in flight each.
const SMALL_FILES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The most that one shape has.
pub const FILES_MAX: usize = 64;

/// All that is measured. Reads come last: what they read is written before them.
pub fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for work in [Work::SyncedWrite, Work::Write] {
        for bytes in WRITE_BYTES {
            for in_flight in DEPTHS {
                shapes.push(Shape { work, bytes, in_flight, files: 1 });
                if in_flight > 1 {
                    shapes.push(Shape { work, bytes, in_flight, files: in_flight });
                }
            }
        }
        shapes.extend(LONG_WRITE_BYTES.map(|bytes| Shape { work, bytes, in_flight: 1, files: 1 }));
    }
    shapes.extend(SMALL_FILES.map(|files| Shape {
        work: Work::SyncedWrite,
        bytes: SMALL_BYTES,
        in_flight: files,
        files,
    }));
    shapes.push(Shape { work: Work::Sync, bytes: SMALL_BYTES, in_flight: 1, files: 1 });
    for bytes in READ_BYTES {
        shapes.extend(DEPTHS.map(|in_flight| Shape {
            work: Work::Read,
            bytes,
            in_flight,
            files: 1,
        }));
    }
    shapes
}

/// How long each shape takes, and in how much space it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// A shape ends after it, or when its space is used up.
    pub share: Duration,
    /// Of all its files together.
    pub space_bytes: u64,
}

/// Room for a quick device to write all the time, up to a bound: a file that is written again is no log.
const SPACE_BYTES_PER_SECOND: f64 = (1 << 30) as f64;
/// The parts of which space is made: one file, or 64 of 256 KiB.
const SPACE_STEP_BYTES: u64 = 16 << 20;
const SPACE_BYTES_MAX: u64 = 1 << 30;
const _: () = assert!(SPACE_BYTES_MAX.is_multiple_of(SPACE_STEP_BYTES));
const _: () = assert!(SPACE_STEP_BYTES.is_multiple_of((FILES_MAX * SMALL_BYTES) as u64));
const _: () = assert!(SPACE_STEP_BYTES >= (8 * DEEP_BYTES_MAX) as u64, "each writes once at least");

impl Plan {
    pub fn new(seconds: f64) -> Plan {
        let share = seconds / shapes().len() as f64;
        let steps = (share * SPACE_BYTES_PER_SECOND) as u64 / SPACE_STEP_BYTES;
        let space_bytes = (steps * SPACE_STEP_BYTES).clamp(SPACE_STEP_BYTES, SPACE_BYTES_MAX);
        Plan { share: Duration::from_secs_f64(share), space_bytes }
    }

    /// What has to be free: as much again as is used stays free meanwhile.
    pub fn free_bytes_min(&self) -> u64 {
        2 * self.space_bytes
    }
}
