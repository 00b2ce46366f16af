//! Numbers in words: three significant digits and a unit that fits the size. Pure.

/// "812 ns", "1.23 ms", "61.0 s".
pub fn latency(nanoseconds: u64) -> String {
    scaled(nanoseconds as f64, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")])
}

/// "1.23 GB"; decimal units, as devices and networks are sold in.
pub fn bytes(count: f64) -> String {
    scaled(count, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// "12,345,678".
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// "49,998/s"; fractions only for slow rates.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", number(per_second))
}

/// "123 MB/s".
pub fn byte_rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second))
}

/// "87.3 %".
pub fn share(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// "2.31×".
pub fn ratio(value: f64) -> String {
    format!("{}×", number(value))
}

/// Whole from a hundred on, else three significant digits: "12,345", "12.3", "0.00123".
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    let rounded = significant(value);
    let decimals = (2 - magnitude(rounded)).clamp(0, 9) as usize;
    grouped(&format!("{:.*}", decimals, if decimals == 0 { value } else { rounded }))
}

/// For the ticks of an axis: "250k", "1.5M"; short rather than exact.
pub fn tick(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| value.abs() >= *size).unwrap_or((1.0, ""));
    let shown = format!("{:.6}", value / size);
    format!("{}{unit}", shown.trim_end_matches('0').trim_end_matches('.'))
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let rounded = significant(value);
    let smallest = units[units.len() - 1];
    let (size, unit) = *units.iter().find(|(size, _)| rounded >= *size).unwrap_or(&smallest);
    let part = rounded / size;
    // A nanosecond and a byte have no fractions.
    let decimals = if size == 1.0 { 0 } else { (2 - magnitude(part)).clamp(0, 2) as usize };
    format!("{part:.decimals$} {unit}")
}

fn significant(value: f64) -> f64 {
    let step = 10f64.powi(magnitude(value) - 2);
    if step >= 1.0 { (value / step).round() * step } else { (value * (1.0 / step)).round() * step }
}

/// 0 for 1 to 9.99, 2 for hundreds.
fn magnitude(value: f64) -> i32 {
    if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 }
}

fn grouped(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(a, b)| (a, Some(b)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_three_digits_and_the_unit_that_fits() {
        let check = |nanoseconds, text: &str| assert_eq!(latency(nanoseconds), text);
        check(0, "0 ns");
        check(812, "812 ns");
        check(1_000, "1.00 µs");
        check(12_345, "12.3 µs");
        check(999_999, "1.00 ms");
        check(123_456_789, "123 ms");
        check(3_600_000_000_000, "3600 s");
    }

    #[test]
    fn numbers_are_grouped_and_small_ones_keep_their_digits() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.001_234), "0.00123");
        assert_eq!(number(0.0), "0.00");
        assert_eq!(number(f64::NAN), "unknown");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(999), "999");
        assert_eq!(bytes(1_500_000.0), "1.50 MB");
        assert_eq!(bytes(12.0), "12 B");
        assert_eq!(share(0.873), "87.3 %");
        assert_eq!(tick(250_000.0), "250k");
        assert_eq!(tick(0.5), "0.5");
        assert_eq!(tick(0.0), "0");
    }
}
