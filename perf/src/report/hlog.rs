//! Interval log V2, as Java's HistogramLogWriter writes it: a histogram for each interval and tag. Pure.
//!
//! The hdrhistogram crate has a writer too, but without the version line and the legend that other readers
//! look for.

use super::Report;
use super::hgrm::decimals;
use crate::histogram::Packed;

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
        let mut line = |tag: &str, packed: &Packed| {
            let start = decimals(interval.start_seconds.max(0.0), 3);
            let length = decimals(interval.seconds.max(0.0), 3);
            let max = decimals(packed.unpack().max() as f64 / MAX_DIVISOR, 3);
            text += &format!("Tag={tag},{start},{length},{max},{}\n", packed.encode());
        };
        line("acknowledge", &interval.acknowledge);
        if !report.end_to_end.is_empty() {
            line("end-to-end", &interval.end_to_end);
        }
    }
    text
}

/// Of an RFC 3339 time in UTC ("2026-03-01T12:00:00.5Z"); none when it is not one.
fn epoch_seconds(time: &str) -> Option<f64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
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
