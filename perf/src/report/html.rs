//! The report as one page that needs nothing else: verdict, key figures, header, charts, tables. Pure.

use super::model::Report;
use super::summary::{self, Table};
use super::svg::Chart;
use super::{charts, figures, text, units};

const STYLE: &str = include_str!("page.css");

pub fn render(report: &Report) -> String {
    let reasons = summary::invalid_reasons(report);
    let mark = if reasons.is_empty() { "" } else { "INVALID: " };
    let mut page = Page::new(&format!("{mark}{} – corelog-perf", report.label));
    if !reasons.is_empty() {
        page.alarm("INVALID", &reasons, "The numbers below do not count.");
    }
    page.heading(&report.label, &summary::measured(report), &report.remarks);
    page.tiles(&tiles(report));
    page.facts("What was measured", &summary::header(report));
    charts::of_report(report).iter().for_each(|chart| page.chart(chart));
    summary::tables(report).iter().for_each(|table| page.table(table));
    if let Some(verified) = report.verified.as_ref().filter(|all| !all.examples.is_empty()) {
        page.list("First faults", &verified.examples);
    }
    page.finish()
}

/// The figures that people look for first.
fn tiles(report: &Report) -> Vec<(String, String)> {
    let mut tiles = Vec::new();
    if let Some(base) = figures::base(report) {
        let rates = [
            ("records", figures::record_rate(report, base.flow).map(units::rate)),
            ("payload", figures::payload_rate(report, base.flow).map(units::byte_rate)),
        ];
        for (name, rate) in rates {
            tiles.extend(rate.map(|rate| (format!("{name} {}", base.word), rate)));
        }
    }
    let kinds = [(&report.acknowledge, "acknowledge"), (&report.end_to_end, "end to end")];
    if let Some((latencies, kind)) = kinds.into_iter().find(|(latencies, _)| !latencies.is_empty())
    {
        for (share, name) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")] {
            tiles.push((format!("{kind} {name}"), units::latency(latencies.quantile(share))));
        }
    }
    let broker = report.broker.as_ref();
    if let Some(ns) = broker.and_then(|broker| figures::cpu_ns_per_record(report, broker)) {
        tiles.push(("broker CPU per record".to_owned(), format!("{} ns", units::number(ns))));
    }
    tiles
}

/// A page that is being written, from its top.
pub struct Page {
    text: String,
}

impl Page {
    pub fn new(title: &str) -> Page {
        let title = escape(title);
        let head = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        );
        Page { text: head }
    }

    /// Red: why the numbers do not count.
    pub fn alarm(&mut self, title: &str, reasons: &[String], consequence: &str) {
        let title = escape(title);
        self.text += &format!("<div class=\"alarm\" role=\"alert\">\n<h1>{title}</h1>\n");
        self.items("", reasons);
        self.text += &format!("<p>{}</p>\n</div>\n", escape(consequence));
    }

    pub fn heading(&mut self, title: &str, lead: &str, remarks: &[String]) {
        let (title, lead) = (escape(title), escape(lead));
        self.text += &format!("<header>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n");
        self.items("remarks", remarks);
        self.text += "</header>\n";
    }

    pub fn tiles(&mut self, tiles: &[(String, String)]) {
        self.text += "<section class=\"tiles\">\n";
        for (name, value) in tiles {
            let (name, value) = (escape(name), escape(value));
            self.text += &format!("<div><b>{value}</b><span>{name}</span></div>\n");
        }
        self.text += "</section>\n";
    }

    pub fn facts(&mut self, title: &str, facts: &[(&str, String)]) {
        self.text += &format!("<section>\n<h2>{}</h2>\n<dl>\n", escape(title));
        for (name, value) in facts {
            let (name, value) = (escape(name), escape(value));
            self.text += &format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n");
        }
        self.text += "</dl>\n</section>\n";
    }

    pub fn chart(&mut self, chart: &Chart) {
        self.text += &chart.render();
    }

    pub fn table(&mut self, table: &Table) {
        self.text += &format!("<section>\n<h2>{}</h2>\n", escape(&table.title));
        self.text += "<div class=\"wide\"><table>\n<thead><tr>";
        let words: Vec<&str> = (0..table.columns.len())
            .map(|at| {
                let is_words = at == 0 || table.rows.iter().any(|row| text::is_sentence(&row[at]));
                if is_words { " class=\"words\"" } else { "" }
            })
            .collect();
        for (column, class) in table.columns.iter().zip(&words) {
            self.text += &format!("<th{class}>{}</th>", escape(column));
        }
        self.text += "</tr></thead>\n<tbody>\n";
        for row in &table.rows {
            self.text += "<tr>";
            for (cell, class) in row.iter().zip(&words) {
                self.text += &format!("<td{class}>{}</td>", escape(cell));
            }
            self.text += "</tr>\n";
        }
        self.text += "</tbody>\n</table></div>\n</section>\n";
    }

    pub fn list(&mut self, title: &str, items: &[String]) {
        self.text += &format!("<section>\n<h2>{}</h2>\n", escape(title));
        self.items("", items);
        self.text += "</section>\n";
    }

    pub fn finish(mut self) -> String {
        self.text += "</main>\n</body>\n</html>\n";
        self.text
    }

    fn items(&mut self, class: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.text += &format!("<ul class=\"{class}\">\n");
        items.iter().for_each(|item| self.text += &format!("<li>{}</li>\n", escape(item)));
        self.text += "</ul>\n";
    }
}

/// For text and for attributes in double or single quotes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other if other.is_control() && other != '\n' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}
