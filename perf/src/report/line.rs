//! A run in one line of JSON, for `perf/history.ndjson`: what was measured, on what, of which commit. Pure.

use super::Report;
use serde_json::{Value, json};

/// Ends in a newline. An invalid run has its reasons and no figures.
pub fn render(report: &Report) -> String {
    let milliseconds = |share: f64| report.acknowledge.quantile(share) as f64 / 1e6;
    let produced = report.produced.clone().unwrap_or_default();
    let consumed = report.consumed.clone().unwrap_or_default();
    let per_second = |count: u64| (count as f64 / report.seconds).round();
    let cpu =
        |used: f64, records: u64| (records > 0).then(|| (used * 1e9 / records as f64).round());
    let environment = &report.environment;
    let records = produced.records.max(consumed.records);
    let figures = json!({
        "produced_records_per_second": per_second(produced.records),
        "produced_bytes_per_second": per_second(produced.payload_bytes),
        "consumed_records_per_second": per_second(consumed.records),
        "acknowledge_p50_ms": milliseconds(0.5),
        "acknowledge_p99_ms": milliseconds(0.99),
        "acknowledge_p999_ms": milliseconds(0.999),
        "acknowledge_p9999_ms": milliseconds(0.9999),
        "acknowledge_max_ms": milliseconds(1.0),
        "broker_cpu_ns_per_record": report.broker.as_ref().and_then(|used| cpu(used.cpu_seconds, records)),
        "generator_cpu_ns_per_record": cpu(report.generator.cpu_seconds, records),
        "broker_peak_memory_bytes": report.broker.as_ref().map(|used| used.peak_memory_bytes),
    });
    let line = json!({
        "at": environment.started_at,
        "commit": environment.commit,
        "label": report.label,
        "invalid": report.invalid,
        "remarks": report.remarks,
        "broker": environment.broker.version,
        "durability": environment.broker.durability.value,
        "loop": environment.loop_kind,
        "cpu": environment.host.cpu_model,
        "cpus": environment.host.cpus,
        "kernel": environment.host.kernel,
        "filesystem": environment.broker.filesystem,
        "device": environment.broker.device,
        "work": report.work,
        "figures": if report.invalid.is_empty() { figures } else { Value::Null },
    });
    format!("{line}\n")
}
