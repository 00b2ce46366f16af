//! FRAME <-> REQUEST

pub mod batch;
