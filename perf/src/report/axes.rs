//! Axes of charts: where values lie and which of them are named. Pure.

use super::units;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    Log,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub title: String,
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
    /// Values and their names; an empty name is a faint line without one.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// 0 at the low end, 1 at the high end; what lies outside is at the end.
    pub fn position(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value <= self.low => 0.0,
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        place.clamp(0.0, 1.0)
    }

    /// From zero to just above the highest value.
    pub fn from_zero(title: &str, highest: f64) -> Axis {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = round_step(highest / 4.0, &[1.0, 2.0, 2.5, 5.0]);
        let count = (highest / step * 1.02).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step);
        let ticks = ticks.map(|at| (at, units::tick(at))).collect();
        let (title, high) = (title.to_owned(), count * step);
        Axis { title, scale: Scale::Linear, low: 0.0, high, ticks }
    }

    /// Time, which ends where the data ends.
    pub fn seconds(title: &str, end: f64) -> Axis {
        let end = if end > 0.0 { end } else { 1.0 };
        let step = round_step(end / 10.0, &[1.0, 2.0, 5.0]);
        let ticks = (0..=(end / step).floor() as u32).map(|at| f64::from(at) * step);
        let ticks = ticks.map(|at| (at, units::tick(at))).collect();
        Axis { title: title.to_owned(), scale: Scale::Linear, low: 0.0, high: end, ticks }
    }

    /// Logarithmic, from the last of 1, 2, 5 times a power of ten below to the first above.
    pub fn log(title: &str, lowest: f64, highest: f64) -> Axis {
        let lowest = if lowest > 0.0 { lowest } else { 1e-6 };
        let highest = highest.max(lowest);
        let low = steps_from(lowest).take_while(|step| *step <= lowest * 1.000_1).last();
        let low = low.unwrap_or(lowest);
        let high = steps_from(lowest).find(|step| *step >= highest && *step > low);
        let high = high.expect("steps grow without end");
        let decades = (high / low).log10();
        let all = steps_from(low).skip_while(|step| *step < low * 0.999);
        let ticks = all.take_while(|step| *step <= high * 1.000_1).map(|step| {
            let is_named = decades <= 3.4 || is_power_of_ten(step);
            (step, if is_named { units::tick(step) } else { String::new() })
        });
        let ticks = ticks.collect();
        Axis { title: title.to_owned(), scale: Scale::Log, low, high, ticks }
    }

    /// Logarithmic when the range spans more than a hundredfold, else from zero.
    pub fn fitting(title: &str, lowest: f64, highest: f64) -> Axis {
        if lowest > 0.0 && highest > 100.0 * lowest {
            Axis::log(title, lowest, highest)
        } else {
            Axis::from_zero(title, highest)
        }
    }

    /// HdrHistogram's: equal steps are 0, 90, 99, 99.9 % and so on. Values are `nines` of a share.
    pub fn percentiles(nines_max: u32) -> Axis {
        assert!((1..=6).contains(&nines_max), "an axis of one to six nines");
        let name = |nines| match nines {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            more => format!("99.{} %", "9".repeat(more as usize - 2)),
        };
        let half = (nines(0.5), "50 %".to_owned());
        let whole = (0..=nines_max).map(|nines| (f64::from(nines), name(nines)));
        let ticks = std::iter::once(half).chain(whole).collect();
        let (title, high) = ("percentile".to_owned(), f64::from(nines_max));
        Axis { title, scale: Scale::Linear, low: 0.0, high, ticks }
    }
}

/// Where a share lies on the axis of percentiles: 0.9 at 1, 0.99 at 2.
pub fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The share at a place of the axis of percentiles.
pub fn share_at(nines: f64) -> f64 {
    1.0 - 10f64.powf(-nines)
}

/// The first of `factors` times a power of ten that is not below `step`.
fn round_step(step: f64, factors: &[f64]) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    factors.iter().find(|factor| **factor * power >= step * 0.999).unwrap_or(&10.0) * power
}

/// 1, 2, 5, 10, 20, ... times the power of ten that is not above `value`.
fn steps_from(value: f64) -> impl Iterator<Item = f64> {
    let power = value.log10().floor() as i32;
    (power..=300).flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
}

fn is_power_of_ten(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn a_linear_axis_covers_its_highest_value_in_round_steps() {
        let axis = Axis::from_zero("", 49_998.0);
        assert_eq!(names(&axis), ["0", "20k", "40k", "60k"]);
        assert!((axis.position(30_000.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::from_zero("", 0.0).low, 0.0);
    }

    #[test]
    fn a_logarithmic_axis_encloses_its_values() {
        for (lowest, highest) in [(0.4, 120.0), (1.0, 1.0), (1e-6, 3.6e6), (0.0, 5.0), (0.01, 1.0)]
        {
            let axis = Axis::log("", lowest, highest);
            assert!(axis.low <= lowest.max(1e-6) * 1.001 && axis.high >= highest, "{axis:?}");
            assert!(axis.low < axis.high && axis.ticks.len() >= 2, "{axis:?}");
        }
        assert_eq!(names(&Axis::log("", 0.4, 18.0)), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
    }

    #[test]
    fn nines_and_shares_are_each_others_inverse() {
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
        assert!((share_at(2.0) - 0.99).abs() < 1e-12);
        assert_eq!(names(&Axis::percentiles(3)), ["50 %", "0 %", "90 %", "99 %", "99.9 %"]);
    }
}
