//! The forms a value may take: how it is read from text, shown, and described in an error.
//!
//! Pure. Every form reads back what it shows.

use super::address::{AdminListen, Advertise, HostPort};
use super::disk_model::DiskModelAt;
use crate::limits;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

pub(super) trait Form {
    type Value;
    /// None when the text is malformed or out of range.
    fn parse(&self, text: &str) -> Option<Self::Value>;
    /// A TOML literal.
    fn show(&self, value: &Self::Value) -> String;
    /// For people: "a size from 1KiB to 100MiB".
    fn allowed(&self) -> String;
}

/// The same form, and the type of its value settled.
pub(super) fn of<T>(form: impl Form<Value = T>) -> impl Form<Value = T> {
    form
}

/// A number that any of the integer fields can hold.
pub(super) trait Number: Copy + PartialOrd + Display + TryFrom<u64> + TryInto<u64> {}
impl<T: Copy + PartialOrd + Display + TryFrom<u64> + TryInto<u64>> Number for T {}

fn number_to_u64<T: Number>(value: T) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

/// A number of things, from `min` to `max`.
pub(super) fn count<T: Number>(min: T, max: T) -> Count<T> {
    Count { min, max }
}

pub(super) struct Count<T> {
    min: T,
    max: T,
}

impl<T: Number> Form for Count<T> {
    type Value = T;
    fn parse(&self, text: &str) -> Option<T> {
        let value = T::try_from(parse_digits(text)?).ok()?;
        (self.min <= value && value <= self.max).then_some(value)
    }
    fn show(&self, value: &T) -> String {
        value.to_string()
    }
    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.min, self.max)
    }
}

/// Units of size, the largest exact one shown. Decimal ones are read too.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];
const SIZE_UNITS_SHOWN: &[(&str, u64)] = SIZE_UNITS.split_at(4).0;

/// Bytes, from `min` to `max`: a plain number, or one with a unit.
pub(super) fn bytes<T: Number>(min: T, max: T) -> Bytes<T> {
    Bytes { min, max }
}

pub(super) struct Bytes<T> {
    min: T,
    max: T,
}

impl<T: Number> Form for Bytes<T> {
    type Value = T;
    fn parse(&self, text: &str) -> Option<T> {
        let value = T::try_from(parse_with_unit(text, SIZE_UNITS)?).ok()?;
        (self.min <= value && value <= self.max).then_some(value)
    }
    fn show(&self, value: &T) -> String {
        match show_with_unit(number_to_u64(*value), SIZE_UNITS_SHOWN) {
            Some(text) => quoted(&text),
            None => value.to_string(),
        }
    }
    fn allowed(&self) -> String {
        let show = |value: T| {
            show_with_unit(number_to_u64(value), SIZE_UNITS_SHOWN).unwrap_or(value.to_string())
        };
        format!("a size in bytes from {} to {}, such as 64MiB", show(self.min), show(self.max))
    }
}

const DURATION_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A time from `min` to `max` milliseconds: a plain number of them, or one with a unit.
pub(super) fn duration(min_ms: u64, max_ms: u64) -> Millis {
    Millis { min_ms, max_ms }
}

pub(super) struct Millis {
    min_ms: u64,
    max_ms: u64,
}

impl Form for Millis {
    type Value = Duration;
    fn parse(&self, text: &str) -> Option<Duration> {
        let value = parse_with_unit(text, DURATION_UNITS)?;
        (self.min_ms <= value && value <= self.max_ms).then_some(Duration::from_millis(value))
    }
    fn show(&self, value: &Duration) -> String {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        quoted(&show_with_unit(millis, DURATION_UNITS).unwrap_or("0ms".to_string()))
    }
    fn allowed(&self) -> String {
        let range = match (self.min_ms, self.max_ms) {
            (min, max) if max >= i64::MAX as u64 => format!("of {min} ms or more"),
            (min, max) => format!("from {min} to {max} ms"),
        };
        format!("a time {range}, such as 500ms, 30s, 2h, 7d, or a number of milliseconds")
    }
}

/// `auto`, or a value of the inner form.
pub(super) fn auto<F: Form>(inner: F) -> Or<F> {
    Or { word: "auto", literal: "\"auto\"", inner }
}

/// `-1` for no limit, or a value of the inner form.
pub(super) fn unlimited<F: Form>(inner: F) -> Or<F> {
    Or { word: "-1", literal: "-1", inner }
}

pub(super) struct Or<F> {
    word: &'static str,
    literal: &'static str,
    inner: F,
}

impl<F: Form> Form for Or<F> {
    type Value = Option<F::Value>;
    fn parse(&self, text: &str) -> Option<Option<F::Value>> {
        if text == self.word { Some(None) } else { self.inner.parse(text).map(Some) }
    }
    fn show(&self, value: &Option<F::Value>) -> String {
        value.as_ref().map_or(self.literal.to_string(), |value| self.inner.show(value))
    }
    fn allowed(&self) -> String {
        format!("{}, or {}", self.word, self.inner.allowed())
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy + PartialEq + 'static>(
    choices: &'static [(&'static str, T)],
) -> OneOf<T> {
    OneOf { choices }
}

pub(super) struct OneOf<T: 'static> {
    choices: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq> Form for OneOf<T> {
    type Value = T;
    fn parse(&self, text: &str) -> Option<T> {
        self.choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }
    fn show(&self, value: &T) -> String {
        let word = self.choices.iter().find(|(_, choice)| choice == value);
        quoted(word.expect("every value of the type is listed").0)
    }
    fn allowed(&self) -> String {
        let words: Vec<_> = self.choices.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }
}

/// Some of a few words, each once, separated by commas; their order counts.
pub(super) fn some_of<T: Copy + PartialEq + 'static>(
    choices: &'static [(&'static str, T)],
) -> SomeOf<T> {
    SomeOf { one: OneOf { choices } }
}

pub(super) struct SomeOf<T: 'static> {
    one: OneOf<T>,
}

impl<T: Copy + PartialEq> Form for SomeOf<T> {
    type Value = Vec<T>;
    fn parse(&self, text: &str) -> Option<Vec<T>> {
        let mut values = Vec::new();
        for word in text.split(',') {
            let value = self.one.parse(word.trim())?;
            if values.contains(&value) {
                return None;
            }
            values.push(value);
        }
        Some(values)
    }
    fn show(&self, values: &Vec<T>) -> String {
        let words: Vec<String> = values.iter().map(|value| self.one.show(value)).collect();
        quoted(&words.iter().map(|word| word.trim_matches('"')).collect::<Vec<_>>().join(","))
    }
    fn allowed(&self) -> String {
        let words: Vec<_> = self.one.choices.iter().map(|(word, _)| *word).collect();
        format!("some of {}, separated by commas, each once", words.join(", "))
    }
}

pub(super) fn switch() -> Switch {
    Switch
}

pub(super) struct Switch;

impl Form for Switch {
    type Value = bool;
    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }
    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
    fn allowed(&self) -> String {
        "true or false".to_string()
    }
}

/// Text of `min` to `max` bytes, without control characters.
pub(super) fn text(min: usize, max: usize) -> Text {
    Text { min, max }
}

pub(super) struct Text {
    min: usize,
    max: usize,
}

impl Form for Text {
    type Value = String;
    fn parse(&self, text: &str) -> Option<String> {
        let fits = self.min <= text.len() && text.len() <= self.max;
        (fits && !text.chars().any(char::is_control)).then(|| text.to_string())
    }
    fn show(&self, value: &String) -> String {
        quoted(value)
    }
    fn allowed(&self) -> String {
        format!("text of {} to {} bytes", self.min, self.max)
    }
}

pub(super) fn path() -> Path {
    Path
}

pub(super) struct Path;

impl Form for Path {
    type Value = PathBuf;
    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    }
    fn show(&self, value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }
    fn allowed(&self) -> String {
        "a path".to_string()
    }
}

pub(super) fn host_port() -> Address<HostPort> {
    Address { allowed: "HOST:PORT, an IPv6 address in brackets", value: std::marker::PhantomData }
}

pub(super) fn advertise() -> Address<Advertise> {
    Address { allowed: "HOST or HOST:PORT (1 to 65535)", value: std::marker::PhantomData }
}

pub(super) fn admin_listen() -> Address<AdminListen> {
    Address { allowed: "auto, none, or HOST:PORT", value: std::marker::PhantomData }
}

pub(super) fn disk_model() -> Address<DiskModelAt> {
    Address { allowed: "auto, none, or a path", value: std::marker::PhantomData }
}

/// What reads and shows itself.
pub(super) struct Address<T> {
    allowed: &'static str,
    value: std::marker::PhantomData<T>,
}

impl<T: std::str::FromStr + Display> Form for Address<T> {
    type Value = T;
    fn parse(&self, text: &str) -> Option<T> {
        text.parse().ok()
    }
    fn show(&self, value: &T) -> String {
        quoted(&value.to_string())
    }
    fn allowed(&self) -> String {
        self.allowed.to_string()
    }
}

/// The kernel's own bound on CPU numbers, as in its build with CONFIG_MAXSMP.
const CPU_MAX: usize = 8191;

/// A set of CPUs in the kernel's list notation: `0-3,5`.
pub(super) fn cpus() -> Cpus {
    Cpus
}

pub(super) struct Cpus;

impl Form for Cpus {
    type Value = Vec<usize>;
    fn parse(&self, text: &str) -> Option<Vec<usize>> {
        let mut cpus = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (parse_digits(first)? as usize, parse_digits(last)? as usize);
            if first > last || last > CPU_MAX {
                return None;
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        let distinct = cpus.windows(2).all(|pair| pair[0] != pair[1]);
        (distinct && cpus.len() <= limits::SHARDS_MAX).then_some(cpus)
    }
    fn show(&self, value: &Vec<usize>) -> String {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for cpu in value {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
                _ => ranges.push((*cpu, *cpu)),
            }
        }
        let show = |(first, last): &(usize, usize)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        quoted(&ranges.iter().map(show).collect::<Vec<_>>().join(","))
    }
    fn allowed(&self) -> String {
        format!("at most {} different CPU numbers, such as 0-3,5", limits::SHARDS_MAX)
    }
}

/// Digits only: no sign, no space.
fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (parse_digits(&text[..digits_end])?, text[digits_end..].trim_start());
    if unit.is_empty() {
        return (digits_end == text.len()).then_some(number);
    }
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    number.checked_mul(factor)
}

/// With the largest unit that divides it; None when there is none.
fn show_with_unit(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let (name, factor) =
        units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))?;
    Some(format!("{}{name}", value / factor))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<F: Form<Value = V>, V: PartialEq + std::fmt::Debug>(
        form: F,
        input: &str,
        expect: Option<V>,
    ) {
        let value = form.parse(input);
        assert_eq!(value, expect, "{input}");
        if let Some(value) = value {
            let shown = form.show(&value);
            assert_eq!(
                form.parse(shown.trim_matches(['"', '\''])),
                Some(value),
                "{input} -> {shown}"
            );
        }
    }

    #[test]
    fn sizes_take_plain_numbers_and_units() {
        for (input, expect) in [
            ("1024", Some(1024)),
            ("1025", Some(1025)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("2MB", Some(2_000_000)),
            ("1023", None),
            ("1PiB", None),
            ("1TiB", Some(1 << 40)),
            ("2TiB", None),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("+2048", None),
            ("1.5GiB", None),
            ("2048 ", None),
            ("99999999999999999999", None),
            ("18014398509481985KiB", None),
        ] {
            check(bytes(1024u64, 1 << 40), input, expect);
        }
    }

    #[test]
    fn durations_take_plain_milliseconds_and_units() {
        for (input, expect) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("7d", Some(604_800_000)),
            ("8d", None),
            ("1y", None),
            ("1h30m", None),
        ] {
            check(duration(0, 604_800_000), input, expect.map(Duration::from_millis));
        }
    }

    #[test]
    fn cpu_lists_are_sets() {
        for (input, expect) in [
            ("0", Some(vec![0])),
            ("0-3,5", Some(vec![0, 1, 2, 3, 5])),
            ("5,0-1", Some(vec![0, 1, 5])),
            ("1,1", None),
            ("0-2,2", None),
            ("3-1", None),
            ("", None),
            ("0,", None),
            ("a", None),
            ("0-9000", None),
            ("0-1024", None),
        ] {
            check(cpus(), input, expect);
        }
    }

    #[test]
    fn a_word_stands_for_none() {
        check(unlimited(bytes(0u64, 10)), "-1", Some(None));
        check(unlimited(bytes(0u64, 10)), "-2", None);
        check(auto(count(1u32, 5)), "auto", Some(None));
        check(auto(count(1u32, 5)), "3", Some(Some(3)));
        check(auto(count(1u32, 5)), "6", None);
    }

    #[test]
    fn text_is_bounded_and_printable() {
        check(text(1, 4), "ab\"c", Some("ab\"c".to_string()));
        check(text(1, 4), "", None);
        check(text(1, 4), "abcde", None);
        check(text(1, 4), "a\n", None);
    }
}
