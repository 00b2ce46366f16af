//! The charts of a report: which series they have, in which units. Pure.

use super::Report;
use super::axes::{Axis, nines, share_at};
use super::model::Interval;
use super::svg::{Chart, Series};
use super::units;
use crate::histogram::Latencies;

const NS_PER_MS: f64 = 1e6;
/// Points drawn for each nine of the axis of percentiles; the drawing is not finer.
const POINTS_PER_NINE: u32 = 40;
const NINES_MAX: u32 = 5;
const PERCENTILES_HEIGHT: f64 = 380.0;
const TIME_HEIGHT: f64 = 260.0;
const TIME_TITLE: &str = "seconds of the measured time";

/// All charts that have something to show, in the order of reading.
pub fn of_report(report: &Report) -> Vec<Chart> {
    let kinds = [
        ("acknowledge", &report.acknowledge),
        ("end to end", &report.end_to_end),
        ("generator lag", &report.generator_lag),
    ];
    let drawn = latency_by_percentile("Latency by percentile", &kinds);
    let mut charts: Vec<Chart> = drawn.into_iter().collect();
    if report.intervals.len() > 1 {
        let over_time =
            [throughput(report), latency_over_time(report), backlog(report), broker_cpu(report)];
        charts.extend(over_time.into_iter().flatten());
    }
    charts
}

/// Histograms over each other on HdrHistogram's axis; none when all are empty.
pub fn latency_by_percentile(title: &str, histograms: &[(&str, &Latencies)]) -> Option<Chart> {
    let drawn = histograms.iter().enumerate().filter(|(_, (_, latencies))| !latencies.is_empty());
    let drawn: Vec<(usize, &str, &Latencies)> =
        drawn.map(|(colour, (name, latencies))| (colour, *name, *latencies)).collect();
    let most = drawn.iter().map(|(_, _, latencies)| latencies.count()).max()?;
    let nines_max = ((most as f64).log10().ceil() as u32).clamp(2, NINES_MAX);
    let x = Axis::percentiles(nines_max);
    let series: Vec<Series> = drawn
        .iter()
        .map(|(colour, name, latencies)| percentile_series(*colour, name, latencies, nines_max))
        .collect();
    let values = || series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
    let lowest = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let highest = values().fold(0.0, f64::max);
    let y = Axis::fitting("milliseconds", if lowest.is_finite() { lowest } else { 0.0 }, highest);
    let ends =
        |series: &Series| series.points.last().is_some_and(|(x, _)| *x < f64::from(nines_max));
    let note = match series.iter().any(ends) {
        true => "A line ends where a single record remains, at the slowest one.".to_owned(),
        false => String::new(),
    };
    let (title, height, hovers) = (title.to_owned(), PERCENTILES_HEIGHT, Vec::new());
    Some(Chart { title, note, height, x, y, series, hovers })
}

fn percentile_series(colour: usize, name: &str, latencies: &Latencies, nines_max: u32) -> Series {
    let end = nines(1.0 - 1.0 / latencies.count().max(2) as f64).min(f64::from(nines_max));
    let places = (0..=nines_max * POINTS_PER_NINE)
        .map(|at| f64::from(at) / f64::from(POINTS_PER_NINE))
        .take_while(|place| *place < end)
        .chain([end]);
    let value = |place: f64| latencies.quantile(share_at(place)) as f64 / NS_PER_MS;
    let mut points: Vec<(f64, f64)> = places.map(|place| (place, value(place))).collect();
    let named = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    let mut dots: Vec<(f64, f64, String)> = named
        .into_iter()
        .filter(|share| nines(*share) < end - 1e-6)
        .map(|share| {
            let words = units::latency(latencies.quantile(share));
            let place = nines(share);
            (place, value(place), format!("{name} p{}: {words}", share_words(share)))
        })
        .collect();
    if end < f64::from(nines_max) {
        let slowest = latencies.max() as f64 / NS_PER_MS;
        points.push((end, slowest));
        dots.push((end, slowest, format!("{name} max: {}", units::latency(latencies.max()))));
    }
    Series { name: name.to_owned(), colour, is_plan: false, points, dots }
}

/// 0.999 as "99.9".
fn share_words(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn throughput(report: &Report) -> Option<Chart> {
    let planned = report.produced.as_ref().and_then(|flow| flow.rate_planned);
    let mut series = vec![];
    if report.produced.is_some() {
        series.push(over_time(report, "produced", 0, |one| per_second(one, one.produced_records)));
    }
    if report.consumed.is_some() {
        series.push(over_time(report, "consumed", 1, |one| per_second(one, one.consumed_records)));
    }
    if planned.is_some() {
        let mut plan = over_time(report, "planned", 5, |one| per_second(one, one.planned_records));
        plan.is_plan = true;
        series.push(plan);
    }
    let y = Axis::from_zero("records per second", highest(&series)?);
    time_chart("Throughput over time", "", report, y, series)
}

fn latency_over_time(report: &Report) -> Option<Chart> {
    let is_acknowledge = !report.acknowledge.is_empty();
    let of = move |one: &Interval, share: f64| {
        let packed = if is_acknowledge { &one.acknowledge } else { &one.end_to_end };
        let latencies = packed.unpack();
        (!latencies.is_empty()).then(|| latencies.quantile(share) as f64 / NS_PER_MS)
    };
    let kinds = [("p50", 0, 0.5), ("p99", 2, 0.99), ("p99.9", 1, 0.999), ("max", 3, 1.0)];
    let series: Vec<Series> = kinds
        .into_iter()
        .map(|(name, colour, share)| over_time(report, name, colour, |one| of(one, share)))
        .filter(|series| !series.points.is_empty())
        .collect();
    let values = || series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
    let lowest = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let y =
        Axis::log("milliseconds", if lowest.is_finite() { lowest } else { 0.0 }, highest(&series)?);
    let kind = if is_acknowledge { "acknowledge" } else { "end to end" };
    let title = format!("Latency over time ({kind})");
    time_chart(&title, "Each point is the histogram of one interval.", report, y, series)
}

fn backlog(report: &Report) -> Option<Chart> {
    let of_produced = |one: &Interval| Some(one.backlog_records as f64);
    let of_consumed = |one: &Interval| Some(one.consumer_lag_records as f64);
    let mut series = vec![over_time(report, "not yet acknowledged", 0, of_produced)];
    if report.consumed.is_some() {
        series.push(over_time(report, "not yet consumed", 1, of_consumed));
    }
    let highest = highest(&series).filter(|highest| *highest > 0.0)?;
    let note = "A backlog that grows means that the rate was not sustained.";
    time_chart("Left behind over time", note, report, Axis::from_zero("records", highest), series)
}

fn broker_cpu(report: &Report) -> Option<Chart> {
    let of = |one: &Interval| Some(one.broker_cpu_seconds? / one.seconds).filter(|v| v.is_finite());
    let series = vec![over_time(report, "broker", 0, of)];
    let y = Axis::from_zero("CPUs busy", highest(&series)?);
    time_chart("Broker CPU over time", "", report, y, series)
}

fn per_second(interval: &Interval, records: u64) -> Option<f64> {
    Some(records as f64 / interval.seconds).filter(|rate| rate.is_finite())
}

/// A point in the middle of each interval that has a value.
fn over_time(
    report: &Report,
    name: &str,
    colour: usize,
    value: impl Fn(&Interval) -> Option<f64>,
) -> Series {
    let middle = |one: &Interval| one.start_seconds + one.seconds / 2.0;
    let points = report.intervals.iter().filter_map(|one| Some((middle(one), value(one)?)));
    let points: Vec<(f64, f64)> = points.collect();
    // A line through one point would not be seen.
    let lone = if points.len() == 1 { points.first() } else { None };
    let dots = lone.map(|(x, y)| (*x, *y, format!("{name}: {}", units::number(*y))));
    let dots = dots.into_iter().collect();
    Series { name: name.to_owned(), colour, is_plan: false, points, dots }
}

fn highest(series: &[Series]) -> Option<f64> {
    series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).reduce(f64::max)
}

fn time_chart(
    title: &str,
    note: &str,
    report: &Report,
    y: Axis,
    series: Vec<Series>,
) -> Option<Chart> {
    let last = report.intervals.last()?;
    let x = Axis::seconds(TIME_TITLE, last.start_seconds + last.seconds);
    let hovers = report.intervals.iter().map(|one| {
        let (low, high) = (one.start_seconds, one.start_seconds + one.seconds);
        let middle = low + one.seconds / 2.0;
        let mut words = format!("{} s to {} s", units::tick(low), units::tick(high));
        for series in &series {
            if let Some((_, y)) = series.points.iter().find(|(x, _)| *x == middle) {
                words += &format!("\n{} {}", series.name, units::number(*y));
            }
        }
        (low, high, words)
    });
    let hovers = hovers.collect();
    let (title, note, height) = (title.to_owned(), note.to_owned(), TIME_HEIGHT);
    Some(Chart { title, note, height, x, y, series, hovers })
}
