//! What every report says, as plain words and tables; the terminal and the page only lay them out. Pure.

use super::figures;
use super::model::{Fact, Flow, LoopKind, ProcessUse, Report, Verified};
use super::units;
use crate::histogram::Latencies;

/// The percentiles that tables show; the longest one follows them.
pub const PERCENTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

const NOT_KNOWN: &str = "–";

/// The first column names the row, the others are figures.
#[derive(Debug, PartialEq)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Why the numbers do not count. A report that forgot to say so is caught here.
pub fn invalid_reasons(report: &Report) -> Vec<String> {
    let mut reasons = report.invalid.clone();
    if reasons.is_empty()
        && let Some(verified) = &report.verified
        && faults(verified) > 0
    {
        reasons.push(format!("verification failed: {}", fault_words(verified)));
    }
    if reasons.is_empty() && figures::base(report).is_none() {
        reasons.push("no record was produced or consumed".to_owned());
    }
    reasons
}

/// In one line, whose run it is and what was measured.
pub fn headline(report: &Report) -> String {
    format!("{}: {}", or_unknown(&report.label), measured(report))
}

pub fn measured(report: &Report) -> String {
    let mut text = match figures::base(report) {
        None => "nothing measured".to_owned(),
        Some(base) => {
            let rate = optional(figures::record_rate(report, base.flow), units::number);
            let planned = match base.flow.rate_planned {
                Some(planned) => format!("{} planned", units::rate(planned)),
                None => "as fast as possible".to_owned(),
            };
            format!("{rate} records/s {} ({planned})", base.word)
        }
    };
    let shown = [(&report.acknowledge, "acknowledged"), (&report.end_to_end, "end to end")];
    if let Some((latencies, words)) = shown.into_iter().find(|(latencies, _)| !latencies.is_empty())
    {
        let at = |share| units::latency(latencies.quantile(share));
        text += &format!(", {words} p50 {}, p99 {}, p99.9 {}", at(0.5), at(0.99), at(0.999));
    }
    format!("{text}, in {} s, {}", units::number(report.seconds), loop_words(report))
}

/// The header that no report lacks: each fact and its value, "unknown" where nobody knows.
pub fn header(report: &Report) -> Vec<(&'static str, String)> {
    let environment = &report.environment;
    let (host, broker) = (&environment.host, &environment.broker);
    let memory = match host.memory_bytes {
        0 => String::new(),
        bytes => format!(", {} memory", units::bytes(bytes as f64)),
    };
    let cpu = format!("{}, {}{memory}", or_unknown(&host.cpu_model), several(host.cpus, "CPU"));
    let brokers = several(broker.brokers, "broker");
    let brokers = format!("{} ({brokers})", or_unknown(&broker.bootstrap));
    let replication = match broker.replication {
        1.. => broker.replication.to_string(),
        _ => "unknown".to_owned(),
    };
    let generator = or_unknown(&environment.generator_version);
    vec![
        ("Broker", or_unknown(&broker.version)),
        ("Reached at", brokers),
        ("Durability", fact_words(&broker.durability)),
        ("Acks", or_unknown(&environment.acks)),
        ("Replication", replication),
        ("Loop", loop_words(report).to_owned()),
        ("CPU", cpu),
        ("Kernel", or_unknown(&host.kernel)),
        ("Filesystem", or_unknown(&broker.filesystem)),
        ("Device", or_unknown(&broker.device)),
        ("Broker's CPUs", or_unknown(&broker.cpus)),
        ("Generator", format!("{generator}, commit {}", or_unknown(&environment.commit))),
        ("Generator's limits", or_unknown(&environment.generator_limits)),
        ("Started at", or_unknown(&environment.started_at)),
        ("Command line", or_unknown(&environment.command_line)),
    ]
}

/// All tables that have something to say, in the order of reading.
pub fn tables(report: &Report) -> Vec<Table> {
    let all = [
        throughput(report),
        latency(report),
        cost(report),
        device(report),
        limits(report),
        trouble(report),
        verification(report),
        work(report),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn throughput(report: &Report) -> Table {
    let row = |name: &str, flow: &Flow| {
        let planned = flow.rate_planned;
        vec![
            name.to_owned(),
            planned.map_or("none".to_owned(), units::rate),
            optional(figures::record_rate(report, flow), units::rate),
            optional(figures::payload_rate(report, flow), units::byte_rate),
            optional(figures::batch_rate(report, flow), units::byte_rate),
            units::count(flow.records),
            units::count(flow.batches),
            units::count(flow.requests),
        ]
    };
    let columns =
        ["", "planned", "actual", "payload", "on the wire", "records", "batches", "requests"];
    table("Throughput", &columns, flows(report, row))
}

fn latency(report: &Report) -> Table {
    let rows = [
        ("acknowledge", &report.acknowledge),
        ("end to end", &report.end_to_end),
        ("generator lag", &report.generator_lag),
    ];
    let row = |(name, latencies): (&str, &Latencies)| {
        let mut row = vec![name.to_owned()];
        row.extend(PERCENTILES.map(|(share, _)| units::latency(latencies.quantile(share))));
        row.push(units::latency(latencies.max()));
        row.push(units::count(latencies.count()));
        row
    };
    let mut columns = vec![""];
    columns.extend(PERCENTILES.map(|(_, name)| name));
    columns.extend(["max", "count"]);
    let recorded = rows.into_iter().filter(|(_, latencies)| !latencies.is_empty());
    table("Latency", &columns, recorded.map(row).collect())
}

fn cost(report: &Report) -> Table {
    let word = figures::base(report).map_or("", |base| base.word);
    let row = |(name, process): (&str, &ProcessUse)| {
        let per_record = figures::cpu_ns_per_record(report, process);
        let per_megabyte = figures::cpu_ns_per_megabyte(report, process);
        vec![
            name.to_owned(),
            format!("{} s", units::number(process.cpu_seconds)),
            optional(figures::cpus_used(report, process), units::number),
            optional(per_record, |ns| format!("{} ns", units::number(ns))),
            optional(per_megabyte, |ns| units::latency(ns as u64)),
            units::bytes(process.peak_memory_bytes as f64),
        ]
    };
    let per_record = format!("per record {word}");
    let per_megabyte = format!("per MB {word}");
    let columns = ["", "CPU", "CPUs busy", &per_record, &per_megabyte, "peak memory"];
    let broker = report.broker.as_ref().map(|process| ("broker", process));
    let processes = broker.into_iter().chain([("generator", &report.generator)]);
    table("CPU and memory", &columns, processes.map(row).collect())
}

fn device(report: &Report) -> Table {
    let per_payload = |bytes| optional(figures::written_per_payload(report, bytes), units::number);
    let mut rows = Vec::new();
    if let Some(bytes) = report.broker.as_ref().and_then(|process| process.device_written_bytes) {
        let unknown = || NOT_KNOWN.to_owned();
        let written = units::bytes(bytes as f64);
        rows.push(vec!["broker".to_owned(), written, per_payload(bytes), unknown(), unknown()]);
    }
    if let Some(device) = &report.device {
        rows.push(vec![
            or_unknown(&device.name),
            units::bytes(device.written_bytes as f64),
            per_payload(device.written_bytes),
            units::count(device.writes),
            units::count(device.flushes),
        ]);
    }
    let columns = ["", "written", "per payload byte", "writes", "flushes"];
    table("Written to the device", &columns, rows)
}

fn limits(report: &Report) -> Table {
    let rate = figures::base(report).and_then(|base| figures::batch_rate(report, base.flow));
    let row = |limit: &super::model::Limit| {
        let part = rate.filter(|_| limit.bytes_per_second > 0.0);
        vec![
            limit.name.clone(),
            units::byte_rate(limit.bytes_per_second),
            optional(part.map(|rate| rate / limit.bytes_per_second), units::share),
            or_unknown(&limit.how),
        ]
    };
    let columns = ["", "allows", "share reached", "how it was measured"];
    table("What the machine allows", &columns, report.limits.iter().map(row).collect())
}

fn trouble(report: &Report) -> Table {
    let highest = |of: fn(&super::model::Interval) -> u64| report.intervals.iter().map(of).max();
    let produced_highest = highest(|interval| interval.backlog_records).unwrap_or(0);
    let consumed_highest = highest(|interval| interval.consumer_lag_records).unwrap_or(0);
    let row = |name: &str, flow: &Flow| {
        let highest = if name == "produced" { produced_highest } else { consumed_highest };
        vec![
            name.to_owned(),
            units::count(flow.errors),
            units::count(flow.retries),
            units::count(highest.max(flow.backlog)),
            units::count(flow.backlog),
            format!("{} s", units::number(flow.throttled_seconds)),
        ]
    };
    let columns = ["", "errors", "retries", "highest backlog or lag", "at the end", "throttled"];
    table("Errors, retries and what was left behind", &columns, flows(report, row))
}

fn verification(report: &Report) -> Table {
    let columns = ["", "records", "lost", "duplicated", "reordered", "damaged", "foreign"];
    let row = |verified: &Verified| {
        let counts = [
            verified.records,
            verified.lost,
            verified.duplicated,
            verified.reordered,
            verified.damaged,
            verified.foreign,
        ];
        let name = if faults(verified) == 0 { "all is well" } else { "FAILED" };
        [name.to_owned()].into_iter().chain(counts.map(units::count)).collect()
    };
    let mut rows: Vec<Vec<String>> = report.verified.iter().map(row).collect();
    if rows.is_empty() {
        let unknown = vec![NOT_KNOWN.to_owned(); columns.len() - 1];
        rows.push(["not asked for".to_owned()].into_iter().chain(unknown).collect());
    }
    table("Verification", &columns, rows)
}

fn work(report: &Report) -> Table {
    let rows = report.work.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
    table("Work", &["", "asked for"], rows.collect())
}

/// A row for each direction that was used.
fn flows(report: &Report, row: impl Fn(&str, &Flow) -> Vec<String>) -> Vec<Vec<String>> {
    let both = [("produced", &report.produced), ("consumed", &report.consumed)];
    both.into_iter().filter_map(|(name, flow)| Some(row(name, flow.as_ref()?))).collect()
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    assert!(rows.iter().all(|row| row.len() == columns.len()), "{title}: a row has every column");
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    Table { title: title.to_owned(), columns, rows }
}

fn faults(verified: &Verified) -> u64 {
    let Verified { lost, duplicated, reordered, damaged, foreign, .. } = verified;
    lost.saturating_add(*duplicated)
        .saturating_add(*reordered)
        .saturating_add(*damaged)
        .saturating_add(*foreign)
}

fn fault_words(verified: &Verified) -> String {
    let all = [
        (verified.lost, "lost"),
        (verified.duplicated, "duplicated"),
        (verified.reordered, "reordered"),
        (verified.damaged, "damaged"),
        (verified.foreign, "foreign"),
    ];
    let present = all.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> =
        present.map(|(count, word)| format!("{} {word}", units::count(count))).collect();
    format!("{} of {} records", words.join(", "), units::count(verified.records))
}

pub fn fact_words(fact: &Fact) -> String {
    let mark = if fact.is_declared { " (declared, not asked of the broker)" } else { "" };
    format!("{}{mark}", or_unknown(&fact.value))
}

pub fn loop_words(report: &Report) -> &'static str {
    match report.environment.loop_kind {
        LoopKind::Open => "open loop",
        LoopKind::Closed => "closed loop (latency hides waiting)",
    }
}

/// "1 CPU", "2 CPUs".
fn several(count: usize, noun: &str) -> String {
    match count {
        0 => format!("number of {noun}s unknown"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

pub fn or_unknown(text: &str) -> String {
    if text.trim().is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

fn optional(value: Option<f64>, words: impl Fn(f64) -> String) -> String {
    value.map_or(NOT_KNOWN.to_owned(), words)
}
