//! Runs side by side: repeated runs in one group by their label, against the first label. Pure.
//!
//! Numbers of runs that did different work, or that do not count, are not set side by side unless the user
//! insists; then the first line says so.

mod group;
pub mod page;
mod refusal;
#[cfg(test)]
mod tests;
pub mod text;

use crate::report::{Report, Table};
use group::Group;
use std::fmt;

/// What the reports of a comparison are made of.
#[derive(Debug)]
pub struct Comparison {
    /// Why the runs should not have been compared; none unless forced.
    pub objections: Vec<String>,
    /// In the order of their first run; the others are measured against the first.
    pub groups: Vec<Group>,
}

/// Why runs are not compared.
#[derive(Debug)]
pub struct Refusal {
    pub objections: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "these runs are not comparable:")?;
        for objection in &self.objections {
            write!(formatter, "\n  {objection}")?;
        }
        write!(formatter, "\nwith --force they are compared all the same, and the table says so")
    }
}

impl std::error::Error for Refusal {}

/// `runs` are the names of files and what they hold.
///
/// # Errors
/// Names each setting that differs with its values, and each run that does not count.
pub fn compare(runs: Vec<(String, Report)>, is_forced: bool) -> Result<Comparison, Refusal> {
    let objections = refusal::objections(&runs);
    if !objections.is_empty() && !is_forced {
        return Err(Refusal { objections });
    }
    Ok(Comparison { objections, groups: group::by_label(runs) })
}

impl Comparison {
    /// Medians with their spread, and each label's ratio to the first.
    pub fn ratios(&self) -> Table {
        let baseline = &self.groups[0];
        let mut columns = vec![String::new(), baseline.label.clone()];
        for group in &self.groups[1..] {
            columns.push(group.label.clone());
            columns.push(format!("{} / {}", group.label, baseline.label));
        }
        let rows = group::METRICS.iter().filter_map(|metric| {
            let ours = baseline.spread(metric);
            let theirs: Vec<_> =
                self.groups[1..].iter().map(|group| group.spread(metric)).collect();
            if ours.is_none() && theirs.iter().all(Option::is_none) {
                return None;
            }
            let words = |spread: &Option<group::Spread>| match spread {
                Some(spread) => spread.words(metric),
                None => "–".to_owned(),
            };
            let mut row = vec![metric.name.to_owned(), words(&ours)];
            for spread in &theirs {
                row.push(words(spread));
                row.push(group::ratio_words(ours.as_ref(), spread.as_ref()));
            }
            Some(row)
        });
        let rows = rows.collect();
        Table { title: "Medians of runs (lowest to highest run)".to_owned(), columns, rows }
    }

    /// What is behind the numbers, a column for each label. Durability and version may differ: that is what
    /// is compared.
    pub fn headers(&self) -> Table {
        let mut columns = vec![String::new()];
        columns.extend(self.groups.iter().map(|group| group.label.clone()));
        let headers: Vec<_> = self.groups.iter().map(Group::header).collect();
        let rows = (0..headers[0].len()).map(|at| {
            let values: Vec<&String> = headers.iter().map(|header| &header[at].1).collect();
            let is_same = values.iter().all(|value| *value == values[0]);
            let mark = if is_same { "" } else { " (differs)" };
            let mut row = vec![format!("{}{mark}", headers[0][at].0)];
            row.extend(values.into_iter().cloned());
            row
        });
        Table { title: "What was compared".to_owned(), columns, rows: rows.collect() }
    }

    /// In one line, what is compared with what.
    pub fn headline(&self) -> String {
        let runs = |group: &Group| match group.runs.len() {
            1 => format!("{} (1 run)", group.label),
            count => format!("{} ({count} runs)", group.label),
        };
        self.groups.iter().map(runs).collect::<Vec<_>>().join(" and ")
    }

    /// How to read the table, and what it cannot tell.
    pub fn remarks(&self) -> Vec<String> {
        let baseline = &self.groups[0].label;
        let mut remarks = vec![format!(
            "a ratio is a median divided by that of {baseline}; ≈ where the runs of both overlap"
        )];
        remarks.push("of throughput more is better, of everything else less".to_owned());
        let lone = self.groups.iter().filter(|group| group.runs.len() == 1);
        let lone: Vec<&str> = lone.map(|group| group.label.as_str()).collect();
        if !lone.is_empty() {
            let lone = lone.join(", ");
            remarks.push(format!("a single run of {lone}: nothing is known of its spread"));
        }
        remarks
    }
}
