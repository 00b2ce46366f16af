//! What a run of groups has found: as text, as JSON, and whether it counts. Plain data.

use super::conduct::{Driven, Stage};
use super::counts::Answers;
use super::plan::{Flags, Plan};
use crate::histogram::Latencies;
use crate::report::model::Host;
use crate::verdict;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Debug, Serialize)]
pub struct Report {
    pub label: String,
    /// Why it does not count.
    pub invalid: Vec<String>,
    pub groups: usize,
    pub members: usize,
    pub protocol: &'static str,
    pub topics: usize,
    pub partitions: usize,
    pub command_line: String,
    pub commit: String,
    pub host: Host,
    pub storms: usize,
    pub alone: StageFigures,
    pub connected: StageFigures,
    pub measured: StageFigures,
    pub heartbeat_ms: Figures,
    pub commit_ms: Figures,
    pub lateness_ms: Figures,
    pub stable_at_start_ms: Figures,
    pub stable_after_storm_ms: Figures,
    pub requests_at_start: BTreeMap<&'static str, u64>,
    pub requests: BTreeMap<&'static str, u64>,
    /// By API and code: what rebalances are told with, and all else.
    pub expected_errors: Vec<Answered>,
    pub unexpected_errors: Vec<Answered>,
    /// The same as whole histograms, in nanoseconds.
    pub heartbeat: Latencies,
    pub offset_commit: Latencies,
    pub stable_after_storm: Latencies,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StageFigures {
    pub seconds: f64,
    /// CPU time of broker and driver for each second.
    pub broker_cpu: Option<f64>,
    pub driver_cpu: f64,
    pub broker_memory_mb: Option<f64>,
    pub broker_peak_mb: Option<f64>,
}

impl From<Stage> for StageFigures {
    fn from(stage: Stage) -> StageFigures {
        let each = |used: f64| used / stage.seconds.max(1e-9);
        let megabytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / 1e6);
        StageFigures {
            seconds: stage.seconds,
            broker_cpu: stage.broker_cpu_seconds.map(each),
            driver_cpu: each(stage.driver_cpu_seconds),
            broker_memory_mb: megabytes(stage.broker_memory_bytes),
            broker_peak_mb: megabytes(stage.broker_peak_bytes),
        }
    }
}

/// A histogram in short, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl From<&Latencies> for Figures {
    fn from(latencies: &Latencies) -> Figures {
        let at = |share| latencies.quantile(share) as f64 / 1e6;
        let max = latencies.max() as f64 / 1e6;
        Figures { count: latencies.count(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub api: &'static str,
    pub code: &'static str,
    pub count: u64,
}

fn answered(first: &Answers, second: &Answers) -> Vec<Answered> {
    let mut all = first.clone();
    second.iter().for_each(|(key, count)| *all.entry(*key).or_default() += count);
    all.into_iter().map(|((api, code), count)| Answered { api, code, count }).collect()
}

/// Why a run does not count.
pub fn faults(driven: &Driven) -> Vec<String> {
    let mut faults = Vec::new();
    for (when, counts) in [("at the start", &driven.starting), ("measured", &driven.counts)] {
        if counts.faults() > 0 {
            let first = counts.first_fault.as_deref().unwrap_or_default();
            faults.push(format!("{} faults {when}, the first: {first}", counts.faults()));
        }
    }
    if driven.doubled > 0 {
        faults.push(format!("two members had the same partition, {} times", driven.doubled));
    }
    if driven.unstable > 0 {
        faults.push(format!("{} groups were not stable at the end", driven.unstable));
    }
    if driven.met_again > 0 {
        faults.push(format!("{} groups met a storm in the last one", driven.met_again));
    }
    let late = verdict::fell_behind(&driven.counts.heartbeat, &driven.counts.lateness);
    if late.is_some() {
        let late = driven.counts.lateness.quantile(0.99) as f64 / 1e6;
        faults.push(format!("the driver fell behind: 1 % of what was due left {late:.1} ms late"));
    }
    faults
}

impl Report {
    pub fn new(flags: &Flags, plan: &Plan, host: Host, commit: String, driven: Driven) -> Report {
        let (starting, counts) = (&driven.starting, &driven.counts);
        Report {
            label: flags.label.clone(),
            invalid: faults(&driven),
            groups: plan.groups,
            members: plan.members,
            protocol: plan.protocol.name(),
            topics: plan.topics,
            partitions: plan.partitions,
            command_line: std::env::args().collect::<Vec<_>>().join(" "),
            commit,
            host,
            storms: driven.storms,
            alone: driven.alone.into(),
            connected: driven.connected.into(),
            measured: driven.measured.into(),
            heartbeat_ms: (&counts.heartbeat).into(),
            commit_ms: (&counts.commit).into(),
            lateness_ms: (&counts.lateness).into(),
            stable_at_start_ms: (&starting.stable_after).into(),
            stable_after_storm_ms: (&counts.stable_after).into(),
            requests_at_start: starting.requests.clone(),
            requests: counts.requests.clone(),
            expected_errors: answered(&starting.expected, &counts.expected),
            unexpected_errors: answered(&starting.unexpected, &counts.unexpected),
            heartbeat: driven.counts.heartbeat,
            offset_commit: driven.counts.commit,
            stable_after_storm: driven.counts.stable_after,
        }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            writeln!(text, "{words}").expect("a text takes any length");
        };
        match self.invalid.as_slice() {
            [] => line(format_args!("{}: valid", self.label)),
            why => line(format_args!("{}: INVALID: {}", self.label, why.join("; "))),
        }
        line(format_args!(
            "{} {} groups of {} members, {} topics of {} partitions; {}, {}, commit {}",
            self.groups,
            self.protocol,
            self.members,
            self.topics,
            self.partitions,
            self.host.cpu_model,
            self.host.kernel,
            self.commit
        ));
        line(format_args!(
            "{:24}{:>10}{:>14}{:>14}{:>14}",
            "", "seconds", "broker CPU", "broker MB", "at most"
        ));
        let stages =
            [("alone", self.alone), ("connected", self.connected), ("in groups", self.measured)];
        for (name, stage) in stages {
            let cpu = stage.broker_cpu.map_or("-".into(), |cpu| format!("{:.1} %", cpu * 100.0));
            let told = |mb: Option<f64>| mb.map_or("-".into(), |mb| format!("{mb:.1}"));
            let (memory, peak) = (told(stage.broker_memory_mb), told(stage.broker_peak_mb));
            line(format_args!("{name:24}{:>10.1}{cpu:>14}{memory:>14}{peak:>14}", stage.seconds));
        }
        line(format_args!("driver's CPU, in groups: {:.1} %", self.measured.driver_cpu * 100.0));
        line(format_args!(
            "{:24}{:>10}{:>12}{:>12}{:>12}{:>12}",
            "ms", "count", "p50", "p99", "p99.9", "max"
        ));
        let rows = [
            ("heartbeat", self.heartbeat_ms),
            ("commit", self.commit_ms),
            ("driver's lateness", self.lateness_ms),
            ("stable after start", self.stable_at_start_ms),
            ("stable after storm", self.stable_after_storm_ms),
        ];
        for (name, row) in rows.into_iter().filter(|(_, row)| row.count > 0) {
            let Figures { count, p50, p99, p999, max } = row;
            line(format_args!("{name:24}{count:>10}{p50:>12.3}{p99:>12.3}{p999:>12.3}{max:>12.3}"));
        }
        line(format_args!("storms: {}", self.storms));
        line(format_args!("requests at the start: {}", listed(&self.requests_at_start)));
        line(format_args!("requests measured: {}", listed(&self.requests)));
        let errors = [("expected", &self.expected_errors), ("unexpected", &self.unexpected_errors)];
        for (kind, errors) in errors.into_iter().filter(|(_, errors)| !errors.is_empty()) {
            let told = errors.iter().map(|one| format!("{} {} {}", one.api, one.code, one.count));
            line(format_args!("{kind} codes: {}", told.collect::<Vec<_>>().join(", ")));
        }
        text
    }
}

fn listed(requests: &BTreeMap<&'static str, u64>) -> String {
    let told = requests.iter().map(|(api, count)| format!("{api} {count}"));
    told.collect::<Vec<_>>().join(", ")
}
