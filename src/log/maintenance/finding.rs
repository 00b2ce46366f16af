//! What an inspection says of a partition's files. Plain values.

use crate::log::partition::PartitionId;
use crate::log::verify::Epochs;
use crate::types::{Offset, Position};
use std::path::PathBuf;

/// Findings that are told of one partition at most; what comes after them is only counted.
pub const FINDINGS_MAX: usize = 1000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// What a crash leaves and the next start cuts; nobody was promised it.
    TornTail,
    /// Records cannot be served.
    Damage,
    /// An index says what is not so.
    Index,
    /// A snapshot of producers cannot be read.
    Producers,
    /// The history of leader epochs cannot be read.
    Epochs,
    /// A producer's batches do not follow each other.
    Sequence,
    /// The folder is not the topic's.
    Folder,
    /// A repair did not end.
    Interrupted,
    /// A file of recovery points cannot be read.
    RecoveryPoints,
}

impl FindingKind {
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::TornTail => "torn tail",
            FindingKind::Damage => "damage",
            FindingKind::Index => "index",
            FindingKind::Producers => "producers",
            FindingKind::Epochs => "epochs",
            FindingKind::Sequence => "sequence",
            FindingKind::Folder => "folder",
            FindingKind::Interrupted => "interrupted repair",
            FindingKind::RecoveryPoints => "recovery points",
        }
    }

    /// False for what every crash leaves.
    pub fn is_damage(self) -> bool {
        self != FindingKind::TornTail
    }
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing, and why.
    NotNeeded(&'static str),
    /// `corelog repair --indexes`.
    RemakeIndexes,
    /// `corelog repair --skip-damaged`, or `--truncate`.
    SkipOrCut,
    /// `corelog repair --truncate` only.
    Cut,
    /// The repair, again.
    RepairAgain,
    /// By hand.
    ByHand(&'static str),
}

/// Counts of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Totals {
    pub(super) fn since(self, earlier: Totals) -> Totals {
        Totals {
            batches: self.batches - earlier.batches,
            records: self.records - earlier.records,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// What is whole behind a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Where in the same file whole batches go on; none when they do not.
    pub position: Option<u64>,
    /// Of the rest of the log.
    pub totals: Totals,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    pub path: PathBuf,
    pub position: u64,
    /// The first and the last offset that it concerns.
    pub offsets: Option<(Offset, Offset)>,
    /// In one sentence.
    pub reason: String,
    pub after: Option<After>,
    pub remedy: Remedy,
}

/// A run of bytes that are no batches of the log, and the offsets that were in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub segment: Offset,
    pub start: Position,
    pub end: Position,
    pub from: Offset,
    pub to: Offset,
    /// Where the search for what follows had to be given up.
    pub is_given_up: bool,
}

impl Region {
    /// Whether a batch without records can stand for it.
    pub fn can_be_skipped(&self) -> bool {
        let offsets = self.to.0.saturating_sub(self.from.0);
        (0..=i64::from(i32::MAX) + 1).contains(&offsets) && !self.is_given_up
    }
}

/// What an inspection of a partition found.
#[derive(Clone, Debug)]
pub struct Inspection {
    pub id: PartitionId,
    pub log_start: Offset,
    /// The offset after the last record that is there or was, once a start has cut what is torn.
    pub end: Offset,
    pub segments: usize,
    pub totals: Totals,
    /// Offsets that a repair took out.
    pub skipped: u64,
    pub findings: Vec<Finding>,
    /// Findings that are not among them, because there are too many.
    pub findings_left_out: usize,
    /// In the order of offsets.
    pub(super) regions: Vec<Region>,
    /// Segments whose indexes do not fit.
    pub(super) stale: Vec<Offset>,
    /// The history of leader epochs, as the batches tell it.
    pub(super) epochs: Epochs,
    pub(super) epochs_stale: bool,
    /// A batch that is whole and in its place is of another epoch than its history says.
    pub(super) doubts_epochs: bool,
    /// What was known of producers where the first region begins.
    pub(super) producers_at_cut: Vec<u8>,
    /// Where records are known to be complete up to.
    pub(super) known: Offset,
    pub(super) is_interrupted: bool,
}

impl Inspection {
    /// Nothing is wrong but what every crash leaves.
    pub fn is_sound(&self) -> bool {
        self.findings_left_out == 0 && !self.findings.iter().any(|found| found.kind.is_damage())
    }

    /// Records cannot be served.
    pub fn is_damaged(&self) -> bool {
        !self.regions.is_empty()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }
}
