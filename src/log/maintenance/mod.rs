//! COLD: what keeps a partition's files in order, beside the data path.

mod epochs;
mod recover;
mod remove;
mod scan;

pub use recover::Recovery;
pub use remove::{DELETED_SUFFIX, remove_deleted};
