//! COLD: what keeps a partition's files in order, beside the data path.

mod recover;
mod remove;

pub use remove::{DELETED_SUFFIX, remove_deleted};
