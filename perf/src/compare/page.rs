//! A comparison as one page: the histograms drawn over each other, and the table of ratios. Pure.

use super::{Comparison, Group};
use crate::histogram::Latencies;
use crate::report::{Page, latency_by_percentile};

pub fn render(comparison: &Comparison) -> String {
    let headline = comparison.headline();
    let mut page = Page::new(&format!("{headline} – corelog-perf"));
    if !comparison.objections.is_empty() {
        page.alarm("NOT COMPARABLE", &comparison.objections, "Compared all the same, by --force.");
    }
    page.heading("Side by side", &headline, &comparison.remarks());
    let mut draw = |kind: &str, of: fn(&Group) -> &Latencies| {
        let title = format!("{kind} latency by percentile, repeated runs merged");
        let merged: Vec<(&str, &Latencies)> =
            comparison.groups.iter().map(|group| (group.label.as_str(), of(group))).collect();
        let chart = latency_by_percentile(&title, &merged);
        chart.iter().for_each(|chart| page.chart(chart));
    };
    draw("Acknowledge", |group| &group.acknowledge);
    draw("End-to-end", |group| &group.end_to_end);
    page.table(&comparison.ratios());
    page.table(&comparison.headers());
    page.finish()
}
