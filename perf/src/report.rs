//! Reports of a run: all are made of one `Report`, and none lacks its header.

pub mod model;

pub use model::Report;
