//! COLD: what keeps a partition's files in order, beside the data path.

mod epochs;
mod housekeep;
mod points;
mod recover;
mod remove;
mod retain;
mod scan;

pub(super) use housekeep::{Housekeeping, allocation_step};
pub use recover::Recovery;
pub use remove::{DELETED_SUFFIX, remove_deleted};
