//! `corelog-perf search`: the highest rate that a broker sustains: 99 % of records within a latency, and no
//! backlog that grows. Each step is a run of its own with a verdict of its own.

use crate::report::Report;
use crate::run::{self, Watcher};
use crate::settings::{Length, Rate, Settings};

/// The first steps multiply, until one fails; then the gap is halved until it is this small.
const FACTOR: f64 = 2.0;
const PRECISION: f64 = 0.05;
const STEPS_MAX: usize = 40;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Goal {
    pub share: f64,
    pub latency: Length,
    /// The rate to begin with, in records per second.
    pub from: f64,
}

/// One step: at which rate, what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    pub rate: f64,
    pub report: Report,
    /// Why the rate is not sustained; none when it is.
    pub refused: Option<String>,
}

/// Rates to try, one after the other, as their outcomes come in. Pure.
#[derive(Debug)]
pub struct Steps {
    next: f64,
    sustained: Option<f64>,
    refused: Option<f64>,
}

impl Steps {
    pub fn new(from: f64) -> Steps {
        Steps { next: from, sustained: None, refused: None }
    }

    /// The next rate; none when it is known well enough.
    pub fn next(&self) -> Option<f64> {
        match (self.sustained, self.refused) {
            (Some(low), Some(high)) if high / low <= 1.0 + PRECISION => None,
            _ => Some(self.next),
        }
    }

    pub fn note(&mut self, rate: f64, is_sustained: bool) {
        if is_sustained {
            self.sustained = Some(self.sustained.map_or(rate, |best| best.max(rate)));
        } else {
            self.refused = Some(self.refused.map_or(rate, |least| least.min(rate)));
        }
        self.next = match (self.sustained, self.refused) {
            // In the middle by ratio: rates are compared by theirs.
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * FACTOR,
            (None, Some(high)) => high / FACTOR,
            (None, None) => self.next,
        };
    }
}

/// Runs step after step; `tell` hears of each.
///
/// # Errors
/// Why a step did not start. What was found before is lost with it only to the caller who drops it.
pub fn search(
    settings: &Settings,
    goal: &Goal,
    watcher: &mut dyn Watcher,
    mut tell: impl FnMut(&Step),
) -> Result<Option<Step>, String> {
    let mut steps = Steps::new(goal.from);
    let mut best: Option<Step> = None;
    for _ in 0..STEPS_MAX {
        let Some(rate) = steps.next() else { break };
        let settings = Settings { rate: Some(Rate::PerSecond(rate)), ..settings.clone() };
        let report = run::run(&settings, watcher)?;
        let refused = refusal(&report, goal);
        let step = Step { rate, report, refused };
        tell(&step);
        steps.note(rate, step.refused.is_none());
        if step.refused.is_none() && best.as_ref().is_none_or(|best| best.rate < rate) {
            best = Some(step);
        } else if rate < 1.0 {
            break;
        }
    }
    Ok(best)
}

/// Why a rate is not sustained.
fn refusal(report: &Report, goal: &Goal) -> Option<String> {
    if let Some(why) = report.invalid.first() {
        return Some(format!("invalid: {why}"));
    }
    let produced = report.produced.as_ref()?;
    let planned = produced.rate_planned.unwrap_or(0.0);
    let actual = produced.records as f64 / report.seconds;
    let latency = report.acknowledge.quantile(goal.share);
    if latency > goal.latency.as_nanos() {
        let milliseconds = latency as f64 / 1e6;
        return Some(format!("{milliseconds:.1} ms at the {} quantile", goal.share));
    }
    // What one latency's worth of time holds back is no backlog.
    let backlog = |at: usize| report.intervals.get(at).map_or(0, |one| one.backlog_records) as f64;
    let grown = backlog(report.intervals.len().saturating_sub(1)) - backlog(0);
    if actual < planned * 0.99 || grown > planned * goal.latency.0.as_secs_f64() * 2.0 {
        return Some(format!("{actual:.0} of {planned:.0} records per second: the backlog grows"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_limit_is_found_to_a_twentieth_from_wherever_it_begins(
            limit in 1.0f64..1e8,
            from in 1.0f64..1e7,
        ) {
            let mut steps = Steps::new(from);
            let mut count = 0;
            while let Some(rate) = steps.next() {
                steps.note(rate, rate <= limit);
                count += 1;
                prop_assert!(count <= STEPS_MAX, "{limit} from {from}");
            }
            let best = steps.sustained.unwrap();
            prop_assert!(best <= limit && best * (1.0 + PRECISION) >= limit, "{best} of {limit}");
        }
    }
}
