//! Repeated runs of one label: medians with their spread; histograms merged, never averaged. Pure.

use crate::histogram::Latencies;
use crate::report::{Report, figures, header, units};

#[derive(Debug)]
pub struct Group {
    pub label: String,
    /// Their files and what they hold; at least one.
    pub runs: Vec<(String, Report)>,
    pub acknowledge: Latencies,
    pub end_to_end: Latencies,
}

/// Something that runs have one number of.
pub struct Metric {
    pub name: &'static str,
    of: fn(&Report) -> Option<f64>,
    words: fn(f64) -> String,
}

pub const METRICS: &[Metric] = &[
    metric("throughput", figures::throughput, units::rate),
    metric("acknowledge p50", |run| quantile(&run.acknowledge, 0.5), latency),
    metric("acknowledge p99", |run| quantile(&run.acknowledge, 0.99), latency),
    metric("acknowledge p99.9", |run| quantile(&run.acknowledge, 0.999), latency),
    metric("acknowledge p99.99", |run| quantile(&run.acknowledge, 0.9999), latency),
    metric("acknowledge max", |run| quantile(&run.acknowledge, 1.0), latency),
    metric("end to end p50", |run| quantile(&run.end_to_end, 0.5), latency),
    metric("end to end p99", |run| quantile(&run.end_to_end, 0.99), latency),
    metric("end to end p99.9", |run| quantile(&run.end_to_end, 0.999), latency),
    metric("end to end p99.99", |run| quantile(&run.end_to_end, 0.9999), latency),
    metric("end to end max", |run| quantile(&run.end_to_end, 1.0), latency),
    metric("broker CPU per record", broker_cpu, |ns| format!("{} ns", units::number(ns))),
    metric("broker peak memory", broker_memory, units::bytes),
];

const fn metric(
    name: &'static str,
    of: fn(&Report) -> Option<f64>,
    words: fn(f64) -> String,
) -> Metric {
    Metric { name, of, words }
}

/// Over the runs that know the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    pub runs: usize,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let is_odd = values.len() % 2 == 1;
        let median =
            if is_odd { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, lowest, highest, runs: values.len() })
    }

    pub fn words(&self, metric: &Metric) -> String {
        let words = metric.words;
        match self.runs {
            1 => words(self.median),
            _ => {
                let (low, high) = (words(self.lowest), words(self.highest));
                let is_same = low == high;
                let spread =
                    if is_same { "in each".to_owned() } else { format!("{low} to {high}") };
                format!("{} ({spread})", words(self.median))
            }
        }
    }
}

/// "2.31×"; "≈ 1.02×" where repeated runs overlap, so that the difference may be chance.
pub fn ratio_words(base: Option<&Spread>, other: Option<&Spread>) -> String {
    let (Some(base), Some(other)) = (base, other) else { return "–".to_owned() };
    if base.median <= 0.0 {
        return "–".to_owned();
    }
    let is_repeated = base.runs > 1 && other.runs > 1;
    let overlaps = other.lowest <= base.highest && base.lowest <= other.highest;
    let mark = if is_repeated && overlaps { "≈ " } else { "" };
    format!("{mark}{}", units::ratio(other.median / base.median))
}

/// In the order in which labels come first.
pub fn by_label(runs: Vec<(String, Report)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (name, report) in runs {
        let at = groups.iter().position(|group| group.label == report.label);
        let at = at.unwrap_or_else(|| {
            groups.push(Group {
                label: report.label.clone(),
                runs: Vec::new(),
                acknowledge: Latencies::default(),
                end_to_end: Latencies::default(),
            });
            groups.len() - 1
        });
        groups[at].acknowledge.merge(&report.acknowledge);
        groups[at].end_to_end.merge(&report.end_to_end);
        groups[at].runs.push((name, report));
    }
    groups
}

impl Group {
    pub fn spread(&self, metric: &Metric) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|(_, report)| (metric.of)(report)).collect())
    }

    /// The header of its runs; values that differ between them are all named.
    pub fn header(&self) -> Vec<(&'static str, String)> {
        let headers: Vec<_> = self.runs.iter().map(|(_, report)| header(report)).collect();
        let merged = (0..headers[0].len()).map(|at| {
            let mut values: Vec<&str> = headers.iter().map(|one| one[at].1.as_str()).collect();
            values.dedup();
            (headers[0][at].0, values.join(" | "))
        });
        merged.collect()
    }
}

fn quantile(latencies: &Latencies, share: f64) -> Option<f64> {
    (!latencies.is_empty()).then(|| latencies.quantile(share) as f64)
}

fn latency(nanoseconds: f64) -> String {
    units::latency(nanoseconds as u64)
}

fn broker_cpu(report: &Report) -> Option<f64> {
    figures::cpu_ns_per_record(report, report.broker.as_ref()?)
}

fn broker_memory(report: &Report) -> Option<f64> {
    Some(report.broker.as_ref()?.peak_memory_bytes as f64)
}
