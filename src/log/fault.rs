//! What is wrong with a partition's files: which file, where, and what an operator can do.

use std::io;
use std::path::{Path, PathBuf};

/// What kind of trouble, which decides what the partition still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The file system is full: nothing was lost, reads go on, writes are tried again later.
    StorageFull,
    /// The device failed an operation: what was being written is in an unknown state.
    Device,
    /// Stored bytes are damaged before the tail.
    Damage,
}

impl FaultKind {
    /// With the name that metrics have for it.
    pub const ALL: [(FaultKind, &str); 3] = [
        (FaultKind::StorageFull, "storage_full"),
        (FaultKind::Device, "device"),
        (FaultKind::Damage, "damage"),
    ];
}

/// Why a partition is offline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {path} at byte {position}: {reason}; {}", self.remedy())]
pub struct LogFault {
    pub kind: FaultKind,
    pub operation: &'static str,
    path: String,
    pub position: u64,
    pub reason: String,
}

impl LogFault {
    pub fn from_io(
        operation: &'static str,
        path: &Path,
        position: u64,
        error: &io::Error,
    ) -> LogFault {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::StorageFull,
            _ => FaultKind::Device,
        };
        let path = path.display().to_string();
        LogFault { kind, operation, path, position, reason: error.to_string() }
    }

    /// After a sync that failed, on a full disk too, nobody knows what the file has, and the next sync may lie.
    pub fn of_sync(path: &Path, position: u64, error: &io::Error) -> LogFault {
        LogFault { kind: FaultKind::Device, ..LogFault::from_io("sync", path, position, error) }
    }

    pub fn damage(path: &Path, position: u64, reason: String) -> LogFault {
        let path = path.display().to_string();
        LogFault { kind: FaultKind::Damage, operation: "read", path, position, reason }
    }

    /// A file whose words are not accepted: `reason` says what to write into it. No repair touches it.
    pub fn unaccepted(path: &Path, reason: String) -> LogFault {
        LogFault { operation: "accept", ..LogFault::damage(path, 0, reason) }
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.path)
    }

    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            FaultKind::StorageFull => "free space on the device; writing resumes by itself",
            FaultKind::Device if self.operation == "read" => {
                "check the device and the kernel log; if the place stays unreadable, stop the broker, put a copy of \
                 the file there, as ddrescue makes one of what is left of it, and run `corelog doctor data`"
            }
            FaultKind::Device => "check the device and the kernel log, then restart the broker",
            FaultKind::Damage if self.operation == "accept" => {
                "look at the device, mend the file, then restart the broker"
            }
            FaultKind::Damage => {
                "stop the broker and run `corelog doctor data`, which says what is lost; then restore the \
                 file from a copy, or run `corelog repair`"
            }
        }
    }
}

/// A disk that is full is no reason not to serve what it holds.
pub(super) fn full_disk_of(written: Result<(), LogFault>) -> Result<Option<LogFault>, LogFault> {
    match written {
        Err(fault) if fault.kind == FaultKind::StorageFull => Ok(Some(fault)),
        other => other.map(|()| None),
    }
}
