use super::*;
use crate::runtime::sim::for_each_seed;

/// Histories that a plain `cargo test` runs; the simulation lane of .ci/run asks for more.
const HISTORIES: u64 = 1_000;

fn histories() -> u64 {
    let asked = std::env::var("CORELOG_HISTORIES").ok();
    asked.map_or(HISTORIES, |asked| asked.parse().expect("CORELOG_HISTORIES is a number"))
}

#[test]
fn promises_are_kept_in_every_history() {
    let mut tally = Tally::default();
    for_each_seed(histories(), |seed| tally.add(&run_history(seed)));
    eprintln!("{tally:?}");
}
