use super::*;
use crate::log::planted::{Bug, plant};
use crate::runtime::sim::{for_each_seed, seeds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Histories that a plain `cargo test` runs; the simulation lane of .ci/run asks for more.
const HISTORIES: u64 = 10_000;
/// The histories are shared out, so that they run on several cores.
const SHARES: u64 = 4;

/// Seeds that failed once, and why.
const KEPT: &[(u64, &str)] = &[
    (4855, "a full disk's retention took a segment whose producers no snapshot knew"),
    (2_329_817, "a full disk left a time index that ended before its segment"),
    (2_089_018, "a recovery point ran away from the index after a start that had read much"),
    (
        7_122_447,
        "a recovery point passed a segment that a full disk had kept from being sealed meanwhile",
    ),
    (
        5_092_673,
        "an index of which a bit had turned showed a small reader a batch that is too large",
    ),
    (
        40080972,
        "after a clean stop all was read: power loss had left an index longer than its segment",
    ),
    (70106395, "what power loss left of deleted records was read by every start"),
    (80886341, "a segment that a start had emptied came back after a clean stop, without fsync"),
    (20246076, "a stop and a round of recovery points both wrote an index"),
];

fn histories() -> u64 {
    let asked = std::env::var("CORELOG_HISTORIES").ok();
    asked.map_or(HISTORIES, |asked| asked.parse().expect("CORELOG_HISTORIES is a number"))
}

/// Says which seed has been running for too long: a history that never ends has no other way to say so.
fn tell_what_hangs() -> Arc<AtomicU64> {
    let running = Arc::new(AtomicU64::new(u64::MAX));
    let watched = Arc::downgrade(&running);
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        while let Some(running) = watched.upgrade() {
            let seed = running.load(Ordering::Relaxed);
            if seed == last && seed != u64::MAX {
                eprintln!("seed {seed} has been running for a minute");
            }
            last = seed;
            drop(running);
            std::thread::sleep(Duration::from_mins(1));
        }
    });
    running
}

/// One of the shares of all histories; replayed with `CORELOG_SEED`, any of them runs that seed.
fn check_share(share: u64) {
    let mut tally = Tally::default();
    let running = tell_what_hangs();
    let replays = std::env::var_os("CORELOG_SEED").is_some();
    for_each_seed(histories(), |seed| {
        if replays || seed % SHARES == share {
            running.store(seed, Ordering::Relaxed);
            tally.add(&run_history(seed));
        }
    });
    eprintln!("seeds {:?}, share {share} of {SHARES}: {tally:?}", seeds(histories()));
}

#[test]
fn promises_are_kept_in_every_history_1() {
    check_share(0);
}

#[test]
fn promises_are_kept_in_every_history_2() {
    check_share(1);
}

#[test]
fn promises_are_kept_in_every_history_3() {
    check_share(2);
}

#[test]
fn promises_are_kept_in_every_history_4() {
    check_share(3);
}

#[test]
fn histories_that_failed_once_pass() {
    for (seed, why) in KEPT {
        eprintln!("seed {seed}: {why}");
        run_history(*seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        assert_eq!(run_history(seed), run_history(seed), "seed {seed}");
    }
}

/// A planted bug is found within so many histories. (That they pass without it, others check.)
fn check_found(bug: Bug, histories: u64) {
    plant(Some(bug));
    let fails = |seed: &u64| catch_unwind(AssertUnwindSafe(|| run_history(*seed))).is_err();
    let found = (0..histories).find(fails);
    plant(None);
    eprintln!("{bug:?} is found by seed {found:?}");
    assert!(found.is_some(), "{bug:?} is not found in {histories} histories");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        check_found(bug, 20_000);
    }
}
