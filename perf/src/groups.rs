//! `corelog-perf groups`: many consumer groups, each member with a connection of its own as real clients have it,
//! and storms of rebalances. What their coordinators cost, and how long groups take to be stable again.
//!
//! - `plan`: what is to be done, checked
//! - `command`: flags to exit code
//! - `conduct`: the stages of a run, and when storms come
//! - `member`, `classic`, `consumer`: what one member does
//! - `track`: whether a group is whole
//! - `counts`: what is counted
//! - `report`: what is told, and whether it counts

mod classic;
#[cfg(not(feature = "sim"))]
pub mod command;
mod conduct;
mod consumer;
mod counts;
mod member;
mod plan;
#[cfg(all(test, feature = "sim"))]
mod proof;
mod report;
#[cfg(test)]
mod tests;
mod track;
