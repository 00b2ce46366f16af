//! Interval log V2, as Java's HistogramLogWriter writes it: a histogram for each interval and tag. Pure.
//!
//! The hdrhistogram crate has a writer too, but without the version line and the legend that other readers
//! look for.

use super::Report;
use super::hgrm::decimals;
use crate::histogram::Latencies;

/// Nanoseconds to milliseconds, which readers expect of the column Interval_Max.
const MAX_DIVISOR: f64 = 1e6;

pub fn render(report: &Report) -> String {
    let mut text = String::from("#[Histogram log format version 1.3]\n");
    if let Some(seconds) = epoch_seconds(&report.environment.started_at) {
        let seconds = decimals(seconds, 3);
        let words = &report.environment.started_at;
        text += &format!("#[StartTime: {seconds} (seconds since epoch), {words}]\n");
        text += &format!("#[BaseTime: {seconds} (seconds since epoch)]\n");
    }
    text += "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
    for interval in &report.intervals {
        let mut line = |tag: &str, latencies: &Latencies| {
            let start = decimals(interval.start_seconds.max(0.0), 3);
            let length = decimals(interval.seconds.max(0.0), 3);
            let max = decimals(latencies.max() as f64 / MAX_DIVISOR, 3);
            text += &format!("Tag={tag},{start},{length},{max},{}\n", latencies.encode());
        };
        line("acknowledge", &interval.acknowledge);
        if !report.end_to_end.is_empty() {
            line("end-to-end", &interval.end_to_end);
        }
    }
    text
}

/// Of an RFC 3339 time in UTC ("2026-03-01T12:00:00.5Z"); none when it is not one.
pub fn epoch_seconds(time: &str) -> Option<f64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.splitn(3, ':');
    let hours: u32 = clock.next()?.parse().ok()?;
    let minutes: u32 = clock.next()?.parse().ok()?;
    let seconds: f64 = clock.next()?.parse().ok()?;
    let is_time = hours < 24 && minutes < 60 && (0.0..=60.0).contains(&seconds);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds_of_day = f64::from(hours * 3600 + minutes * 60) + seconds;
    is_time.then(|| (days_since_epoch(year, month, day) * 86_400) as f64 + seconds_of_day)
}

/// Years begin in March here, so that the leap day is their last (Hinnant, "days_from_civil").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_seconds_since_the_epoch() {
        let check = |time, seconds| assert_eq!(epoch_seconds(time), seconds, "{time}");
        check("1970-01-01T00:00:00Z", Some(0.0));
        check("2000-02-29T12:00:00.500Z", Some(951_825_600.5));
        check("2026-03-01T00:00:01Z", Some(1_772_323_201.0));
        check("2026-13-01T00:00:01Z", None);
        check("yesterday", None);
        check("", None);
    }
}
