//! When records are planned to be sent: an open loop does not ask how the broker feels. Pure.

use crate::settings::Arrivals;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

/// The planned times of one producer, in nanoseconds of the runtime's clock, ascending.
#[derive(Debug)]
pub struct Pace {
    start: u64,
    per_second: f64,
    arrivals: Arrivals,
    chance: SmallRng,
    planned: u64,
    next: u64,
    /// Where the last independent arrival fell, with its fraction of a nanosecond.
    exact: f64,
}

impl Pace {
    /// Begins after a share (0 to 1) of one gap, so that several producers do not send in step.
    pub fn new(start: u64, per_second: f64, arrivals: Arrivals, share: f64, seed: u64) -> Pace {
        let first = start + (share * 1e9 / per_second) as u64;
        let chance = SmallRng::seed_from_u64(seed);
        let mut pace = Pace {
            start: first,
            per_second,
            arrivals,
            chance,
            planned: 0,
            next: first,
            exact: 0.0,
        };
        if arrivals == Arrivals::Poisson {
            pace.draw_gap();
        }
        pace
    }

    /// The time of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn advance(&mut self) {
        self.planned += 1;
        match self.arrivals {
            // From the start each time: no error adds up.
            Arrivals::Constant => {
                self.next = self.start + (self.planned as f64 * 1e9 / self.per_second) as u64;
            }
            Arrivals::Poisson => self.draw_gap(),
        }
    }

    fn draw_gap(&mut self) {
        let gap: f64 = Exp1.sample(&mut self.chance);
        self.exact += gap * 1e9 / self.per_second;
        self.next = self.start + self.exact as u64;
    }

    /// Records planned before `now`, those among them that were not taken yet included.
    pub fn planned_by(&self, now: u64) -> u64 {
        if now < self.next {
            return self.planned;
        }
        self.planned + 1 + ((now - self.next) as f64 * self.per_second / 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn constant_arrivals_keep_their_rate_over_any_length(rate in 0.1f64..1e8, count in 1u64..100_000) {
            let mut pace = Pace::new(1000, rate, Arrivals::Constant, 0.0, 1);
            prop_assert_eq!(pace.next(), 1000);
            for _ in 0..count {
                pace.advance();
            }
            let exact = count as f64 * 1e9 / rate;
            prop_assert!(((pace.next() - 1000) as f64 - exact).abs() <= 1.0 + exact * 1e-12);
            prop_assert_eq!(pace.planned_by(pace.next() - 1), count);
            prop_assert_eq!(pace.planned_by(pace.next()), count + 1);
        }
    }

    #[test]
    fn independent_arrivals_have_exponential_gaps_of_the_right_mean() {
        let mut pace = Pace::new(0, 1000.0, Arrivals::Poisson, 0.0, 7);
        let (mut last, mut below_mean) = (0, 0);
        let count = 200_000;
        for _ in 0..count {
            below_mean += u32::from(pace.next() - last < 1_000_000);
            last = pace.next();
            pace.advance();
        }
        let mean = last as f64 / f64::from(count) / 1e6;
        assert!((0.99..1.01).contains(&mean), "{mean}");
        // 1 - 1/e of all gaps are shorter than their mean.
        let share = f64::from(below_mean) / f64::from(count);
        assert!((share - 0.632).abs() < 0.005, "{share}");
    }
}
