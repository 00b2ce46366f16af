//! COLD: what keeps a partition's files in order, beside the data path.

mod recover;
