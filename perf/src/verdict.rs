//! Whether a run's numbers count. An instrument that fell behind, lost a record or hid an error has none.

use crate::histogram::Latencies;
use crate::load::ledger;
use crate::report::model::{LoopKind, Report};
use crate::settings::Work;
use corelog::client::Acks;

/// The generator may be this late at the 99th percentile without a word: less than a timer's grain.
const LAG_MAX_NS: u64 = 1_000_000;
/// Or this share of the latency that it measures.
const LAG_SHARE_MAX: f64 = 0.1;
/// Below this share of the plan the broker did not keep up.
const KEPT_UP: f64 = 0.99;
/// A generator that uses its threads this much may be what is measured.
const BUSY: f64 = 0.9;

pub fn speak(
    report: &mut Report,
    work: &Work,
    failed: Option<String>,
    first_error: Option<String>,
) {
    let mut invalid = Vec::new();
    let mut remarks = Vec::new();
    invalid.extend(failed);
    let flows = [&report.produced, &report.consumed];
    let errors: u64 = flows.into_iter().flatten().map(|flow| flow.errors).sum();
    if errors > 0 {
        let first = first_error.unwrap_or_default();
        invalid.push(format!("{errors} errors, the first: {first}"));
    }
    if let Some(verified) = report.verified.as_ref().filter(|verified| !ledger::is_clean(verified))
    {
        invalid.push(format!(
            "records lost: {}, duplicated: {}, reordered: {}, damaged: {}",
            verified.lost, verified.duplicated, verified.reordered, verified.damaged
        ));
    }
    if report.environment.loop_kind == LoopKind::Open {
        invalid.extend(fell_behind(&report.acknowledge, &report.generator_lag));
    }
    if let Some(produced) = &report.produced {
        let rate = produced.records as f64 / report.seconds;
        if let Some(planned) = produced.rate_planned.filter(|planned| rate < planned * KEPT_UP) {
            remarks.push(format!(
                "the broker did not keep up: {rate:.0} of {planned:.0} records per second; latencies grow with the run"
            ));
        }
        if produced.records == 0 && invalid.is_empty() {
            invalid.push("no record was acknowledged in the measured time".to_string());
        }
    }
    if work.acks == Acks::None && report.produced.is_some() {
        remarks
            .push("acks=0: no broker answers; acknowledged means handed to the kernel".to_string());
    }
    let busy = report.generator.cpu_seconds / (report.seconds * work.threads as f64);
    if report.environment.loop_kind == LoopKind::Closed {
        remarks.push(
            "closed loop: latencies hide the time that records would have waited".to_string(),
        );
        if busy > BUSY {
            remarks.push(format!(
                "the generator used {:.0} % of its {} threads: the figure may be its own limit",
                busy * 100.0,
                work.threads
            ));
        }
    }
    report.invalid = invalid;
    report.remarks = remarks;
}

/// Whether the generator itself was late: then the latencies are partly its own.
pub fn fell_behind(acknowledge: &Latencies, generator_lag: &Latencies) -> Option<String> {
    let lag = generator_lag.quantile(0.99);
    let allowed = (acknowledge.quantile(0.99) as f64 * LAG_SHARE_MAX) as u64;
    (lag > allowed.max(LAG_MAX_NS)).then(|| {
        format!(
            "the generator fell behind: 1 % of its batches left {} or more after they could have",
            milliseconds(lag)
        )
    })
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.1} ms", nanoseconds as f64 / 1e6)
}
