//! Test builds only: whole histories of one shard's log on the simulated runtime, each from a seed.
//!
//! A history is a few lives of a process over one disk. In each life producers, consumers and an operator
//! work on some partitions until the process is stopped, killed, or loses its power at some operation of
//! the disk; meanwhile the disk may fail, fill up, or rot. What was promised and what was seen is kept in a
//! model, and everything that the log shows is held against it.
//!
//! - `broker`: the same for whole brokers, driven by clients over the network
//! - `history`: the plan of a history and its drive
//! - `workload`: who works on the log; `check`: what must hold after it was opened
//! - `model`: what was promised; `trouble`: what goes wrong with the disk; `strain`: what is slow
//! - `full_disk`: a disk that is full, and room that is made by deleting
//! - `damaged`: recovery of arbitrary bytes, for fuzzing
//! - `repaired`: what is said of damage, served before it, and made of it by repairs

#[cfg(test)]
mod broker;
mod check;
pub mod damaged;
mod dice;
#[cfg(test)]
mod full_disk;
mod history;
mod model;
#[cfg(test)]
mod repaired;
mod strain;
mod trouble;
mod workload;

pub use history::{Tally, run_history};

#[cfg(test)]
mod tests;
