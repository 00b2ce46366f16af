//! Where the next write to the journal goes, and which parts of its file may be written. Pure.
//!
//! The file is a ring of regions. They are numbered over all laps: region `n` lies at place `n` modulo their number,
//! where `n` minus their number lay before. That one has to be free first: all its batches in their segments.

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number over all laps.
    pub region: u64,
    /// In the file.
    pub position: u64,
}

#[derive(Clone, Debug)]
pub struct Ring {
    region_bytes: u64,
    regions: u64,
    /// The region in use, and what is used of it.
    current: u64,
    used: u64,
    /// The first region that is not free.
    oldest: u64,
}

impl Ring {
    pub fn new(regions: u64, region_bytes: u64) -> Ring {
        assert!(regions > 1, "one is written while another is emptied");
        Ring { region_bytes, regions, current: 0, used: 0, oldest: 0 }
    }

    /// A place for so many bytes; `None` while the region that is next holds what is nowhere else.
    pub fn reserve(&mut self, bytes: u64) -> Option<Place> {
        assert!((1..=self.region_bytes).contains(&bytes), "{bytes} bytes for a region");
        if self.used + bytes > self.region_bytes {
            if self.current + 1 == self.oldest + self.regions {
                return None;
            }
            (self.current, self.used) = (self.current + 1, 0);
        }
        let start = self.current % self.regions * self.region_bytes;
        let place = Place { region: self.current, position: start + self.used };
        self.used += bytes;
        Some(place)
    }

    /// The oldest region that is no longer in use and not free.
    pub fn oldest_full(&self) -> Option<u64> {
        (self.oldest < self.current).then_some(self.oldest)
    }

    /// All that the oldest region holds is in segments.
    pub fn free_oldest(&mut self) {
        assert!(self.oldest < self.current, "it is in use");
        self.oldest += 1;
    }

    /// Bytes of all laps, with what was left over at the ends of regions.
    pub fn filled(&self) -> u64 {
        self.current * self.region_bytes + self.used
    }

    pub fn region_bytes(&self) -> u64 {
        self.region_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: u64, position: u64) -> Option<Place> {
        Some(Place { region, position })
    }

    #[test]
    fn regions_are_used_in_turn_and_only_when_they_are_free() {
        let mut ring = Ring::new(2, 100);
        assert_eq!((ring.reserve(60), ring.oldest_full()), (place(0, 0), None));
        assert_eq!(ring.reserve(40), place(0, 60));
        assert_eq!((ring.reserve(1), ring.oldest_full()), (place(1, 100), Some(0)));
        // What does not fit begins the next region; it is not free, however often one asks.
        assert_eq!((ring.reserve(100), ring.reserve(100)), (None, None));
        assert_eq!(ring.reserve(99), place(1, 101), "what fits still goes there");
        ring.free_oldest();
        assert_eq!((ring.reserve(100), ring.oldest_full()), (place(2, 0), Some(1)));
        assert_eq!(ring.reserve(1), None);
        ring.free_oldest();
        assert_eq!((ring.reserve(1), ring.oldest_full()), (place(3, 100), Some(2)));
        assert_eq!(ring.filled(), 301);
    }

    #[test]
    fn with_more_regions_one_may_be_emptied_late() {
        let mut ring = Ring::new(3, 10);
        for region in 0..3 {
            assert_eq!(ring.reserve(10), place(region, region * 10));
        }
        assert_eq!((ring.reserve(10), ring.oldest_full()), (None, Some(0)));
        ring.free_oldest();
        assert_eq!((ring.reserve(10), ring.reserve(10)), (place(3, 0), None));
    }

    #[test]
    #[should_panic(expected = "it is in use")]
    fn the_region_in_use_is_not_freed() {
        let mut ring = Ring::new(2, 10);
        ring.reserve(10);
        ring.free_oldest();
    }
}
