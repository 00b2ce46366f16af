//! The two text formats in which Prometheus reads metrics. Pure.
//!
//! They differ in little: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4) is the default,
//! https://prometheus.io/docs/specs/om/open_metrics_spec/ (1.0.0) what most scrapers ask for.

use crate::probe::HistogramReading;
use std::fmt::{self, Display, Write};

/// Which format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What an Accept header prefers; the plain text when it does not say.
    pub fn accepted(accept: &str) -> Format {
        let quality = |wanted: &[&str]| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_wanted = parts.next().is_some_and(|name| wanted.contains(&name));
                let q = parts.find_map(|part| part.strip_prefix("q=")).map_or("1", str::trim);
                is_wanted.then(|| q.parse().unwrap_or(0.0))
            });
            ranges.fold(0.0, f32::max)
        };
        let open = quality(&["application/openmetrics-text"]);
        let plain = quality(&["text/plain"]);
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        Number::Whole(value as u64)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Number {
        Number::Whole(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(value) => value.fmt(f),
            Number::Real(value) => value.fmt(f),
        }
    }
}

/// A page of metrics in the making.
#[derive(Debug)]
pub struct Page {
    out: String,
    format: Format,
}

/// Labels of a sample, in order.
pub type Labels<'a> = &'a [(&'static str, &'a dyn Display)];

/// Writing to a string does not fail.
const WRITES: &str = "a string takes what is written";

impl Page {
    pub fn new(format: Format) -> Page {
        Page { out: String::new(), format }
    }

    /// Begins a metric; its samples follow.
    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        // In OpenMetrics the suffix belongs to the samples.
        let is_open = self.format == Format::OpenMetrics && kind == Kind::Counter;
        let family = name.strip_suffix("_total").filter(|_| is_open).unwrap_or(name);
        let (kind, help) = (kind.name(), Escaped(&help));
        write!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}\n").expect(WRITES);
    }

    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: Number) {
        self.line(name, "", labels, None, value);
    }

    /// `unit`: how many of the histogram's values make one of the metric's.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        reading: &HistogramReading,
        is_fine: bool,
        unit: f64,
    ) {
        let mut bucket = |(bound, count): (u64, u64)| {
            self.line(name, "_bucket", labels, Some(&(bound as f64 / unit)), count.into());
        };
        match is_fine {
            true => reading.cumulative().for_each(&mut bucket),
            false => reading.cumulative_by_doublings().for_each(&mut bucket),
        }
        let count = Number::from(reading.count());
        self.line(name, "_bucket", labels, Some(&"+Inf"), count);
        self.line(name, "_sum", labels, None, (reading.sum as f64 / unit).into());
        self.line(name, "_count", labels, None, count);
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&dyn Display>,
        value: Number,
    ) {
        let out = &mut self.out;
        write!(out, "{name}{suffix}").expect(WRITES);
        let bound = bound.map(|bound| ("le", bound));
        for (at, (label, text)) in labels.iter().copied().chain(bound).enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            write!(out, "{before}{label}=\"{}\"", Quoted(text)).expect(WRITES);
        }
        if !labels.is_empty() || bound.is_some() {
            out.push('}');
        }
        writeln!(out, " {value}").expect(WRITES);
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Help as both formats want it.
struct Escaped<'a>(&'a dyn Display);

/// A label's value as both formats want it.
struct Quoted<'a>(&'a dyn Display);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape { f, quotes: false }, "{}", self.0)
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape { f, quotes: true }, "{}", self.0)
    }
}

/// Escapes what is written through it.
struct Escape<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    quotes: bool,
}

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(['\\', '\n', '"']) {
            let (plain, escaped) = match piece.as_bytes().last() {
                Some(b'\\') => (&piece[..piece.len() - 1], "\\\\"),
                Some(b'\n') => (&piece[..piece.len() - 1], "\\n"),
                Some(b'"') if self.quotes => (&piece[..piece.len() - 1], "\\\""),
                _ => (piece, ""),
            };
            self.f.write_str(plain)?;
            self.f.write_str(escaped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, expect: &str) {
        let mut page = Page::new(format);
        page.begin("a_total", Kind::Counter, "two\nlines of a \\ and a \"");
        page.sample("a_total", &[("x", &"q\"\\\n"), ("y", &7)], 3u64.into());
        page.begin("b_seconds", Kind::Histogram, "h");
        let buckets = vec![(8_000, 1), (10_000, 0), (12_000, 2)];
        let reading = HistogramReading { buckets, beyond: 4, sum: 1_500_000_000 };
        page.histogram("b_seconds", &[], &reading, true, 1e9);
        page.begin("c", Kind::Gauge, "g");
        page.sample("c", &[], 0.25.into());
        assert_eq!(page.finish(), expect);
    }

    #[test]
    fn plain_text() {
        check(
            Format::Text,
            "# HELP a_total two\\nlines of a \\\\ and a \"\n# TYPE a_total counter\n\
             a_total{x=\"q\\\"\\\\\\n\",y=\"7\"} 3\n\
             # HELP b_seconds h\n# TYPE b_seconds histogram\n\
             b_seconds_bucket{le=\"0.000008\"} 1\nb_seconds_bucket{le=\"0.00001\"} 1\n\
             b_seconds_bucket{le=\"0.000012\"} 3\nb_seconds_bucket{le=\"+Inf\"} 7\n\
             b_seconds_sum 1.5\nb_seconds_count 7\n\
             # HELP c g\n# TYPE c gauge\nc 0.25\n",
        );
    }

    #[test]
    fn open_metrics_names_a_counter_without_its_suffix_and_says_where_it_ends() {
        let mut page = Page::new(Format::OpenMetrics);
        page.begin("a_total", Kind::Counter, "h");
        page.sample("a_total", &[], 3u64.into());
        page.begin("b_total", Kind::Gauge, "h");
        assert_eq!(
            page.finish(),
            "# HELP a h\n# TYPE a counter\na_total 3\n# HELP b_total h\n# TYPE b_total gauge\n# EOF\n"
        );
    }

    #[test]
    fn the_format_is_what_the_scraper_prefers() {
        for (accept, expect) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, application/xml;q=0.9, */*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            // Prometheus 2.53
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.7, application/openmetrics-text; q=0.6", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), expect, "{accept}");
        }
    }
}
