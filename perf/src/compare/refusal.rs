//! What speaks against comparing runs, in words. Pure.

use crate::report::Report;
use crate::report::invalid_reasons;
use crate::report::{fact_words, loop_words};
use std::collections::{BTreeMap, BTreeSet};

type Run = (String, Report);

/// Each setting that differs with its values, each run that does not count, and repetitions that are none.
pub fn objections(runs: &[Run]) -> Vec<String> {
    let mut objections = Vec::new();
    for (name, report) in runs {
        let reasons = invalid_reasons(report);
        if !reasons.is_empty() {
            objections.push(format!("{name} is invalid: {}", reasons.join("; ")));
        }
    }
    let settings: BTreeSet<&String> =
        runs.iter().flat_map(|(_, report)| report.work.keys()).collect();
    for setting in settings {
        let value = |report: &Report| report.work.get(setting).cloned();
        let value = |report: &Report| value(report).unwrap_or_else(|| "not set".to_owned());
        objections.extend(difference(setting, runs.iter(), value));
    }
    // Settings of the work too, unless the work says them itself: latencies of open and closed loops, or
    // behind one replica and all, are different things.
    let is_said = |setting: &str| runs.iter().any(|(_, report)| report.work.contains_key(setting));
    if !is_said("acks") {
        objections
            .extend(difference("acks", runs.iter(), |report| report.environment.acks.clone()));
    }
    if !is_said("loop") {
        objections.extend(difference("loop", runs.iter(), |report| loop_words(report).to_owned()));
    }
    objections.extend(repetitions(runs));
    objections
}

/// Runs of one label are merged, so they must be of the same broker.
fn repetitions(runs: &[Run]) -> Vec<String> {
    let mut by_label: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        by_label.entry(&run.1.label).or_default().push(run);
    }
    let mut objections = Vec::new();
    for (label, runs) in by_label {
        let mut check = |what: &str, value: fn(&Report) -> String| {
            let what = format!("{what} of runs labelled {label}");
            objections.extend(difference(&what, runs.iter().copied(), value));
        };
        check("the version", |report| report.environment.broker.version.clone());
        check("the durability", |report| fact_words(&report.environment.broker.durability));
        check("the replication", |report| report.environment.broker.replication.to_string());
    }
    objections
}

/// "record_bytes differs: 100 in a.json, 1024 in b.json, c.json"; none when it does not.
fn difference<'a>(
    what: &str,
    runs: impl Iterator<Item = &'a Run>,
    value: impl Fn(&Report) -> String,
) -> Option<String> {
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, report) in runs {
        let value = value(report);
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(name),
            None => values.push((value, vec![name])),
        }
    }
    let words = values.iter().map(|(value, names)| format!("{value} in {}", names.join(", ")));
    let words = words.collect::<Vec<_>>().join("; ");
    (values.len() > 1).then(|| format!("{what} differs: {words}"))
}
