//! Percentile text as Java's HdrHistogram prints it (outputPercentileDistribution, 5 ticks for each half of
//! the distance to 100 %, milliseconds), to the letter: public plotters read it. Pure.

use crate::histogram::Latencies;

const TICKS_PER_HALF: f64 = 5.0;
const DIGITS: usize = 3;

pub fn render(latencies: &Latencies) -> String {
    let histogram = latencies.inner();
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let total = histogram.len();
    let mut seen: u64 = 0;
    let mut level: f64 = 0.0;
    for step in histogram.iter_recorded() {
        seen += step.count_at_value();
        let percentile = 100.0 * seen as f64 / total as f64;
        let milliseconds = milliseconds(step.value_iterated_to());
        while percentile >= level {
            let distance = decimals(1.0 / (1.0 - level / 100.0), 2);
            let share = decimals(level / 100.0, 12);
            text += &format!("{milliseconds:>12} {share} {seen:>10} {distance:>14}\n");
            level = next_level(level);
            if seen == total {
                // The end is said once more, as 100 %, and without its infinite distance.
                text += &format!("{milliseconds:>12} {} {seen:>10}\n", decimals(1.0, 12));
                break;
            }
        }
    }
    text + &trailer(latencies)
}

/// In percent: the steps shrink by half whenever half of the distance to 100 is behind.
fn next_level(level: f64) -> f64 {
    let halves = ((100.0 / (100.0 - level)).ln() / 2f64.ln()) as i32 + 1;
    level + 100.0 / (TICKS_PER_HALF * 2f64.powi(halves))
}

fn trailer(latencies: &Latencies) -> String {
    let histogram = latencies.inner();
    let total = histogram.len() as f64;
    let middles = || {
        let recorded = histogram.iter_recorded();
        recorded.map(|step| {
            let middle = histogram.median_equivalent(step.value_iterated_to()) as f64;
            (middle, step.count_at_value() as f64)
        })
    };
    let (mut mean, mut deviation) = (0.0, 0.0);
    if total > 0.0 {
        mean = middles().map(|(middle, count)| middle * count).sum::<f64>() / total;
        let squares = middles().map(|(middle, count)| (middle - mean) * (middle - mean) * count);
        deviation = (squares.sum::<f64>() / total).sqrt();
    }
    let sub_buckets = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    format!(
        "#[Mean    = {:>12}, StdDeviation   = {:>12}]\n\
         #[Max     = {:>12}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]\n",
        decimals(mean / 1e6, DIGITS),
        decimals(deviation / 1e6, DIGITS),
        milliseconds(histogram.max()),
        histogram.len(),
        histogram.buckets(),
    )
}

fn milliseconds(nanoseconds: u64) -> String {
    decimals(nanoseconds as f64 / 1e6, DIGITS)
}

/// Java rounds the shortest decimal form of a number, halves up; Rust would round its exact binary value.
pub fn decimals(value: f64, digits: usize) -> String {
    debug_assert!(value >= 0.0, "latencies and shares are not negative");
    let shortest = value.to_string();
    let (whole, fraction) = shortest.split_once('.').unwrap_or((&shortest, ""));
    if fraction.len() <= digits {
        return format!("{whole}.{fraction:0<digits$}");
    }
    let is_up = fraction.as_bytes()[digits] >= b'5';
    let mut kept: Vec<u8> = [whole.as_bytes(), &fraction.as_bytes()[..digits]].concat();
    if is_up {
        increment(&mut kept);
    }
    let mut text = String::from_utf8(kept).expect("digits");
    text.insert(text.len() - digits, '.');
    text
}

/// Adds one to a number written in decimal digits.
fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_up_as_in_java() {
        let check = |value, digits, text: &str| assert_eq!(decimals(value, digits), text);
        check(1.0005, 3, "1.001");
        check(0.0004, 3, "0.000");
        check(9.9996, 3, "10.000");
        check(2.5, 3, "2.500");
        check(7.0, 2, "7.00");
        check(0.999_999_999_999_95, 12, "1.000000000000");
    }

    #[test]
    fn no_records_give_a_table_without_lines() {
        let text = render(&Latencies::default());
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2, "{text}");
        assert!(
            text.contains("#[Max     =        0.000, Total count    =            0]"),
            "{text}"
        );
    }
}
