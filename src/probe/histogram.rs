//! Log-linear histograms in plain cells: four buckets for each doubling, so that a quantile is known to a
//! fifth, and a value is counted with two adds.

use super::Counter;

/// Buckets in each doubling.
const STEPS: usize = 4;

/// Counts values in steps of `UNIT`: one bucket up to 2^FIRST of it, four for each doubling after that, and
/// the last for all beyond.
#[derive(Debug)]
pub struct Histogram<const UNIT: u64, const FIRST: u32, const BUCKETS: usize> {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

const fn buckets(doublings: usize) -> usize {
    doublings * STEPS + 2
}

/// Of nanoseconds: 8 microseconds to 33.6 seconds.
pub type DurationHistogram = Histogram<1000, 3, { buckets(22) }>;

/// Of bytes: 512 bytes to 64 MiB.
pub type SizeHistogram = Histogram<1, 9, { buckets(17) }>;

impl<const UNIT: u64, const FIRST: u32, const BUCKETS: usize> Default
    for Histogram<UNIT, FIRST, BUCKETS>
{
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Histogram { buckets, sum: Counter::default() }
    }
}

impl<const UNIT: u64, const FIRST: u32, const BUCKETS: usize> Histogram<UNIT, FIRST, BUCKETS> {
    const STEPS_LOG: u32 = STEPS.ilog2();

    #[inline]
    pub fn record(&self, value: u64) {
        self.buckets[Self::bucket_of(value)].add(1);
        self.sum.add(value);
    }

    /// A bucket's bound belongs to it, as Prometheus has it.
    #[inline]
    fn bucket_of(value: u64) -> usize {
        let below = value.div_ceil(UNIT).saturating_sub(1);
        if below < 1 << FIRST {
            return 0;
        }
        let doubling = below.ilog2();
        let step = (below >> (doubling - Self::STEPS_LOG)) as usize & (STEPS - 1);
        let bucket = (doubling - FIRST) as usize * STEPS + step + 1;
        bucket.min(BUCKETS - 1)
    }

    /// The largest value that a bucket counts; the last has none.
    fn bound_of(bucket: usize) -> u64 {
        let Some(after_first) = bucket.checked_sub(1) else { return UNIT << FIRST };
        let doubling = FIRST + (after_first / STEPS) as u32;
        let steps = (STEPS + after_first % STEPS + 1) as u64;
        (steps << (doubling - Self::STEPS_LOG)) * UNIT
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    pub fn read(&self) -> HistogramReading {
        let bounds = (0..BUCKETS - 1).map(Self::bound_of);
        let counts = self.buckets.iter().map(Counter::get);
        HistogramReading {
            buckets: bounds.zip(counts).collect(),
            beyond: self.buckets[BUCKETS - 1].get(),
            sum: self.sum(),
        }
    }
}

/// A histogram as plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    /// The largest value that each bucket counts, ascending, and how many it has counted.
    pub buckets: Vec<(u64, u64)>,
    /// Values beyond all buckets.
    pub beyond: u64,
    pub sum: u64,
}

impl HistogramReading {
    /// Each bound, and how many values lie at or below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let below = |total: &mut u64, (bound, count): &(u64, u64)| {
            *total += count;
            Some((*bound, *total))
        };
        self.buckets.iter().scan(0, below)
    }

    /// The same for every doubling only.
    pub fn cumulative_by_doublings(&self) -> impl Iterator<Item = (u64, u64)> {
        self.cumulative().step_by(STEPS)
    }

    pub fn count(&self) -> u64 {
        self.beyond + self.buckets.iter().map(|(_, count)| count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of one, 8 to 64 in three doublings.
    type Small = Histogram<1, 3, { buckets(3) }>;

    #[test]
    fn a_value_is_counted_at_the_first_bound_that_is_not_below_it() {
        let bounds: Vec<u64> = (0..buckets(3) - 1).map(Small::bound_of).collect();
        assert_eq!(bounds, [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64]);
        for value in 0..=100 {
            let expect = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
            assert_eq!(Small::bucket_of(value), expect, "{value}");
        }
        assert_eq!(Small::bucket_of(u64::MAX), bounds.len());
    }

    #[test]
    fn units_are_rounded_up_so_that_no_value_lies_above_its_bound() {
        let bounds: Vec<u64> = (0..buckets(22) - 1).map(DurationHistogram::bound_of).collect();
        assert!(bounds.is_sorted());
        assert_eq!((bounds[0], *bounds.last().unwrap()), (8_000, 33_554_432_000));
        for value in [0, 1, 7_999, 8_000, 8_001, 9_999, 10_000, 10_001, 1_024_000, 1_024_001] {
            let bucket = DurationHistogram::bucket_of(value);
            assert!(value <= bounds[bucket], "{value}");
            assert!(bucket == 0 || value > bounds[bucket - 1], "{value}");
        }
        assert_eq!(DurationHistogram::bucket_of(33_554_432_001), bounds.len());
    }

    #[test]
    fn a_reading_adds_up() {
        let histogram = Small::default();
        [1, 8, 9, 16, 17, 64, 65, 1000].into_iter().for_each(|value| histogram.record(value));
        let reading = histogram.read();
        assert_eq!((reading.count(), reading.sum, reading.beyond), (8, 1180, 2));
        assert_eq!((histogram.count(), histogram.sum()), (8, 1180));
        let doublings: Vec<_> = reading.cumulative_by_doublings().collect();
        assert_eq!(doublings, [(8, 2), (16, 4), (32, 5), (64, 6)]);
        assert_eq!(reading.cumulative().last(), Some((64, 6)));
    }
}
