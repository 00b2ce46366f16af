//! What goes wrong with the disk in one life of a process, beside its end.

use super::dice::Dice;
use crate::runtime::sim::{Disk, DiskOperation, DiskOptions, Effect, Fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    WriteErrors,
    SyncErrors,
    ReadErrors,
    OneError,
    DiskFull,
    SlowDisk,
}

/// How hard it comes.
pub struct Measure<'a> {
    /// Of writes and of syncs.
    pub error_probability: f64,
    /// Until the disk is full.
    pub bytes_left_max: u64,
    /// Operations before the one that fails, at most; one of these.
    pub skips: &'a [u64],
    /// Parts of the names of files that it may be about.
    pub paths: &'a [&'a str],
}

impl Trouble {
    /// Operations may fail.
    pub fn is_fault(self) -> bool {
        !matches!(self, Trouble::None | Trouble::SlowDisk)
    }

    /// Brings it upon a disk.
    pub fn begin(self, dice: &Dice, disk: &Disk, measure: &Measure<'_>) {
        let usual = disk.options();
        let probability = measure.error_probability;
        let options = match self {
            Trouble::None => usual,
            Trouble::WriteErrors => DiskOptions { write_error_probability: probability, ..usual },
            Trouble::SyncErrors => DiskOptions { sync_error_probability: probability, ..usual },
            Trouble::ReadErrors => DiskOptions { read_error_probability: 0.05, ..usual },
            Trouble::DiskFull => {
                let more = dice.below(measure.bytes_left_max);
                DiskOptions { capacity: disk.used_bytes() + more, ..usual }
            }
            Trouble::SlowDisk => DiskOptions { spike_probability: 0.1, ..usual },
            Trouble::OneError => {
                disk.inject(one_error(dice, measure));
                usual
            }
        };
        disk.set_options(options);
    }
}

fn one_error(dice: &Dice, measure: &Measure<'_>) -> Fault {
    let operation = dice.pick(&[
        DiskOperation::Open,
        DiskOperation::Read,
        DiskOperation::Write,
        DiskOperation::Sync,
        DiskOperation::Allocate,
        DiskOperation::Truncate,
        DiskOperation::Rename,
        DiskOperation::Remove,
        DiskOperation::SyncDirectory,
        DiskOperation::Directory,
    ]);
    // EIO, or ENOSPC.
    let effect = Effect::Error(dice.pick(&[5, 5, 28]));
    let skip = dice.below(dice.pick(measure.skips)) as u32;
    let path_contains = dice.pick(measure.paths).to_string();
    Fault { operation, path_contains, skip, times: 1, effect }
}
