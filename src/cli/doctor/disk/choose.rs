//! The rule by which settings follow from what was measured. Pure.
//!
//! Of the shapes that stand for one setting, in rising order, the first is taken that gives nine tenths of what the best
//! of them gives. A shape whose p99 is beyond the bound of latency counts only where all of them are beyond it.
//!
//! - `commit_bytes_max`: synced writes to one file, one in flight, because a partition has one commit in flight.
//! - `commits_in_flight_max`: at that size, or 1 MiB if that is less, each to another file; and so many synced writes of
//!   4 KiB, each to another file. The larger of the two, and not less than 8: who commits also opens and begins files,
//!   and others are not to wait for that.
//! - `file_reads_in_flight_max`: reads of 1 MiB, which is what consumers ask of a partition.

use super::measure::Measured;
use super::plan::{DEEP_BYTES_MAX, SMALL_BYTES, Work};
use std::time::Duration;

/// The part of the best that is enough.
const ENOUGH: f64 = 0.9;
const COMMITS_IN_FLIGHT_MIN: usize = 8;

/// The measurements that the settings are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub commit: Measured,
    pub deep: Measured,
    pub small: Measured,
    pub read: Measured,
}

impl Choice {
    pub fn commit_bytes_max(&self) -> usize {
        self.commit.shape.bytes
    }

    pub fn commits_in_flight_max(&self) -> usize {
        let measured = self.deep.shape.in_flight.max(self.small.shape.in_flight);
        measured.max(COMMITS_IN_FLIGHT_MIN)
    }

    pub fn file_reads_in_flight_max(&self) -> usize {
        self.read.shape.in_flight
    }
}

/// `None` when a shape is missing that a setting is taken from.
pub fn choose(measured: &[Measured], latency_max: Duration) -> Option<Choice> {
    let of = |work: Work, counts: &dyn Fn(&Measured) -> bool| {
        let rising = measured.iter().filter(|one| one.shape.work == work && counts(one));
        smallest_enough(&rising.copied().collect::<Vec<_>>(), latency_max)
    };
    let has_own_file = |one: &Measured| one.shape.files == one.shape.in_flight;
    let is_small = |one: &Measured| one.shape.bytes == SMALL_BYTES;
    let commit = of(Work::SyncedWrite, &|one| one.shape.in_flight == 1 && !is_small(one))?;
    let deep_bytes = commit.shape.bytes.min(DEEP_BYTES_MAX);
    let deep = of(Work::SyncedWrite, &|one| has_own_file(one) && one.shape.bytes == deep_bytes)?;
    let small = of(Work::SyncedWrite, &|one| has_own_file(one) && is_small(one))?;
    let read = of(Work::Read, &|one| one.shape.bytes == DEEP_BYTES_MAX)?;
    Some(Choice { commit, deep, small, read })
}

/// The first of them that gives enough; they are in rising order.
fn smallest_enough(rising: &[Measured], latency_max: Duration) -> Option<Measured> {
    let quick: Vec<&Measured> = rising.iter().filter(|one| one.p99 <= latency_max).collect();
    let counted = if quick.is_empty() { rising.iter().collect() } else { quick };
    let best = counted.iter().map(|one| one.bytes_per_second()).fold(0.0, f64::max);
    counted.into_iter().find(|one| one.bytes_per_second() >= ENOUGH * best).copied()
}
