//! Figures that follow from a report: rates, and costs per record and byte. Pure; none where not known.

use super::model::{Flow, ProcessUse, Report};

/// What costs are divided by: what was produced, or what was consumed when nothing was produced.
pub struct Base<'a> {
    pub flow: &'a Flow,
    /// "produced" or "consumed".
    pub word: &'static str,
}

pub fn base(report: &Report) -> Option<Base<'_>> {
    let produced = report.produced.as_ref().map(|flow| Base { flow, word: "produced" });
    let consumed = report.consumed.as_ref().map(|flow| Base { flow, word: "consumed" });
    [produced, consumed].into_iter().flatten().find(|base| base.flow.records > 0)
}

/// Records per second over the measured time.
pub fn record_rate(report: &Report, flow: &Flow) -> Option<f64> {
    quotient(flow.records as f64, report.seconds)
}

/// Bytes of keys and values per second.
pub fn payload_rate(report: &Report, flow: &Flow) -> Option<f64> {
    quotient(flow.payload_bytes as f64, report.seconds)
}

/// Bytes of batches per second, as on the wire: what is compared with the limits.
pub fn batch_rate(report: &Report, flow: &Flow) -> Option<f64> {
    quotient(flow.batch_bytes as f64, report.seconds)
}

/// Records per second of the base.
pub fn throughput(report: &Report) -> Option<f64> {
    record_rate(report, base(report)?.flow)
}

/// CPU nanoseconds for each record of the base.
pub fn cpu_ns_per_record(report: &Report, process: &ProcessUse) -> Option<f64> {
    quotient(process.cpu_seconds * 1e9, base(report)?.flow.records as f64)
}

/// CPU nanoseconds for each million payload bytes of the base.
pub fn cpu_ns_per_megabyte(report: &Report, process: &ProcessUse) -> Option<f64> {
    quotient(process.cpu_seconds * 1e9, base(report)?.flow.payload_bytes as f64 / 1e6)
}

/// How many CPUs were busy on the average.
pub fn cpus_used(report: &Report, process: &ProcessUse) -> Option<f64> {
    quotient(process.cpu_seconds, report.seconds)
}

/// Bytes that went to the device for each payload byte produced.
pub fn written_per_payload(report: &Report, written_bytes: u64) -> Option<f64> {
    quotient(written_bytes as f64, report.produced.as_ref()?.payload_bytes as f64)
}

fn quotient(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole).filter(|value| value.is_finite())
}
