//! Recovery of arbitrary bytes: whatever lies on the disk, opening it ends, and what is served then is
//! whole.
