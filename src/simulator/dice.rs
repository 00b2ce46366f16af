//! The choices of a history: one stream of numbers from its seed, beside those of the runtime, so that a
//! plan can be drawn before anything runs.

use std::cell::Cell;
use std::ops::Range;

/// splitmix64.
pub struct Dice(Cell<u64>);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed ^ 0x51AB_E71D_0C0D_E5ED))
    }

    /// A stream of its own, so that one more choice here changes nothing there.
    pub fn fork(&self) -> Dice {
        Dice::new(self.next())
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub fn within(&self, range: Range<i64>) -> i64 {
        range.start + self.below((range.end - range.start).max(1) as u64) as i64
    }

    pub fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
