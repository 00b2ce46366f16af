//! Points in time as people write them, without a time zone database: UTC, or an offset that is given.

use crate::types::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// Reads `1372636800000` (milliseconds), `2013-07-01`, `2013-07-01T12:30:00[.5][Z|+02:00]`, a space in place of
/// the T, or `-15m` (ago).
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "'{text}' is no time: give milliseconds since 1970, 2013-07-01, 2013-07-01T12:30:00Z, or -15m for \
             fifteen minutes ago (s, m, h, d)"
        )
    };
    let parsed = match text.strip_prefix('-') {
        Some(ago) => parse_ago(ago).map(|ago| now().0 - ago),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => parse_date_time(text),
    };
    parsed.map(Timestamp).ok_or_else(wrong)
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `2013-07-01T12:30:00.000Z`; a number when the year has not four digits.
pub fn show(at: Timestamp) -> String {
    let (days, ms) = (at.0.div_euclid(DAY_MS), at.0.rem_euclid(DAY_MS));
    let (year, month, day) = date_of_days(days);
    if !(0..=9999).contains(&year) {
        return at.0.to_string();
    }
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn parse_ago(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return None,
    };
    number(digits)?.checked_mul(unit)
}

fn parse_date_time(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let mut parts = date.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days_of_date(year, month, day);
    let is_real =
        date.len() == 10 && parts.next().is_none() && date_of_days(days) == (year, month, day);
    let (time, zone_ms) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], zone(&time[at..])?),
        None => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let in_range = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    let ms = number(&format!("{fraction:0<3}")[..3])?;
    let in_day = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    (is_real && in_range && number(fraction).is_some()).then_some(days * DAY_MS + in_day - zone_ms)
}

/// `Z`, `+02:00` or `-0730`, in milliseconds.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let digits = text[1..].replace(':', "");
    let hhmm = number(&digits).filter(|_| digits.len() == 4)?;
    let ms = (hhmm / 100 * 60 + hhmm % 100) * 60_000;
    Some(if text.starts_with('-') { -ms } else { ms })
}

fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Days since 1970 of a date of the Gregorian calendar, by eras of 400 years that begin in March
/// (https://howardhinnant.github.io/date_algorithms.html).
fn days_of_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_written() {
        for (text, expect) in [
            ("0", Some(0)),
            ("1372636800000", Some(1_372_636_800_000)),
            ("2013-07-01", Some(1_372_636_800_000)),
            ("2013-07-01T00:00:00Z", Some(1_372_636_800_000)),
            ("2013-07-01 12:30", Some(1_372_681_800_000)),
            ("2013-07-01T12:30:05.25", Some(1_372_681_805_250)),
            ("2013-07-01T02:00:00+02:00", Some(1_372_636_800_000)),
            ("2013-06-30T16:30:00-0730", Some(1_372_636_800_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2000-02-29", Some(951_782_400_000)),
            ("1900-02-29", None),
            ("2013-13-01", None),
            ("2013-7-1", None),
            ("2013-07-01T24:00:00", None),
            ("2013-07-01T", None),
            ("yesterday", None),
            ("", None),
            ("-5", None),
            ("-5y", None),
        ] {
            assert_eq!(parse(text).ok().map(|at| at.0), expect, "{text}");
        }
        let hour_ago = parse("-1h").unwrap().0;
        assert!((3_600_000..3_660_000).contains(&(now().0 - hour_ago)));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for at in [0, 1, -1, 951_782_399_999, 1_372_636_800_000, 253_402_300_799_999] {
            assert_eq!(parse(&show(Timestamp(at))), Ok(Timestamp(at)), "{}", show(Timestamp(at)));
        }
        for days in -800_000..800_000 {
            let (year, month, day) = date_of_days(days);
            assert_eq!(days_of_date(year, month, day), days);
        }
        assert_eq!(show(Timestamp(i64::MAX)), i64::MAX.to_string());
    }
}
