//! Seeded randomness. Every part of the simulation draws from a stream of its own, so that one more
//! draw in the disk does not change what the network does.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

/// One stream of splitmix64: small, quick, and good enough to explore with.
#[derive(Debug)]
pub(super) struct Random {
    state: Cell<u64>,
}

impl Random {
    /// The stream that `salt` names among those of `seed`.
    pub fn stream(seed: u64, salt: u64) -> Random {
        let random = Random { state: Cell::new(seed) };
        let start = random.next() ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        random.state.set(start);
        random.next();
        random
    }

    pub fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`; 0 when the limit is 0.
    pub fn below(&self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// An index into something of `length` entries.
    pub fn index(&self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True once in `n`.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn chance(&self, probability: f64) -> bool {
        // Draw nothing when it cannot matter: most knobs are zero most of the time.
        probability > 0.0 && (self.next() >> 11) as f64 * 2f64.powi(-53) < probability
    }

    pub fn duration(&self, range: &Range<Duration>) -> Duration {
        let span = range.end.saturating_sub(range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.below(span))
    }
}
