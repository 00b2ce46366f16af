//! The times of a run: warm-up, measured time, end. The same on all threads. Plain data.

use corelog::runtime::Instant;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Load begins.
    pub start: Instant,
    /// Measuring begins.
    pub measure: Instant,
    /// Measuring ends, and nothing is planned any more.
    pub end: Instant,
}

impl Window {
    /// Whether what happened then, or was planned for then, counts.
    pub fn counts(&self, at: u64) -> bool {
        (self.measure.0..self.end.0).contains(&at)
    }

    pub fn seconds(&self) -> f64 {
        self.end.since(self.measure).as_secs_f64()
    }
}
