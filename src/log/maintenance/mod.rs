//! COLD: what keeps a partition's files in order, beside the data path.

mod backup;
mod durable;
mod epochs;
mod finding;
mod free;
mod full_disk;
mod housekeep;
mod inspect;
mod observe;
mod points;
mod readable;
mod recover;
mod remove;
mod repair;
mod retain;
mod scan;

pub use finding::{After, Finding, FindingKind, Inspection, Remedy, Totals};
pub(super) use free::Garbage;
pub(super) use housekeep::{Housekeeping, allocation_step};
pub use inspect::{PartitionFacts, inspect_recovery_points};
pub use recover::Recovery;
pub use remove::DELETED_SUFFIX;
pub use repair::{Repair, RepairPlan};
