//! The forms of settings: read from text, written back as text. Pure.

use corelog::client::{Acks, Address};
use corelog::wire::compression::Codec;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a text must be, for messages.
pub trait Need {
    const NEED: &'static str;
}

/// In TOML a number or a text, on the command line a text.
macro_rules! from_text {
    ($($name:ident)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Given {
                    Whole(i64),
                    Fraction(f64),
                    Text(String),
                }
                let text = match Given::deserialize(deserializer)? {
                    Given::Whole(number) => number.to_string(),
                    Given::Fraction(number) => number.to_string(),
                    Given::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

from_text!(Length Sizes Keys Rate Start Compression AcksText);

fn expected<T: Need>(text: &str) -> String {
    format!("{text:?}: expected {}", T::NEED)
}

/// A length of time: 500us, 5ms, 30s, 10m or 1h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Duration);

impl Length {
    pub const fn from_secs(seconds: u64) -> Length {
        Length(Duration::from_secs(seconds))
    }

    pub const fn from_millis(milliseconds: u64) -> Length {
        Length(Duration::from_millis(milliseconds))
    }

    pub fn as_millis(self) -> u128 {
        self.0.as_millis()
    }

    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

const UNITS: [(&str, u64); 5] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Need for Length {
    const NEED: &'static str = "a length of time such as 500us, 5ms, 30s, 10m or 1h";
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Length, String> {
        let wrong = || expected::<Length>(text);
        if text == "0" {
            return Ok(Length(Duration::ZERO));
        }
        let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(at);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let total = number * *nanoseconds as f64;
        if !(0.0..=1e18).contains(&total) {
            return Err(wrong());
        }
        Ok(Length(Duration::from_nanos(total as u64)))
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.as_nanos();
        let fits =
            |(_, unit): &&(&str, u64)| nanoseconds >= *unit && nanoseconds.is_multiple_of(*unit);
        match UNITS.iter().rev().find(fits) {
            _ if nanoseconds == 0 => write!(f, "0"),
            Some((name, unit)) => write!(f, "{}{name}", nanoseconds / unit),
            None => write!(f, "{}us", nanoseconds as f64 / 1e3),
        }
    }
}

/// Bytes of a value: always so many, or evenly drawn from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    Fixed(usize),
    Uniform(usize, usize),
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes::Fixed(1024)
    }
}

impl Sizes {
    pub fn least(self) -> usize {
        match self {
            Sizes::Fixed(bytes) | Sizes::Uniform(bytes, _) => bytes,
        }
    }
}

/// Largest value: a batch holds it, and brokers' defaults are far below.
const VALUE_BYTES_MAX: usize = 32 << 20;

impl Need for Sizes {
    const NEED: &'static str = "bytes such as 1024, or a range such as 100-2000, up to 33554432";
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let wrong = || expected::<Sizes>(text);
        let number = |text: &str| text.trim().parse().map_err(|_| wrong());
        let sizes = match text.split_once('-') {
            None => Sizes::Fixed(number(text)?),
            Some((from, to)) => Sizes::Uniform(number(from)?, number(to)?),
        };
        match sizes {
            Sizes::Fixed(bytes) if bytes > VALUE_BYTES_MAX => Err(wrong()),
            Sizes::Uniform(from, to) if from > to || to > VALUE_BYTES_MAX => Err(wrong()),
            sizes => Ok(sizes),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(bytes) => write!(f, "{bytes}"),
            Sizes::Uniform(from, to) => write!(f, "{from}-{to}"),
        }
    }
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Keys {
    #[default]
    None,
    Uniform(u64),
    /// Rank r comes with weight r^-exponent.
    Zipf(u64, f64),
}

impl Need for Keys {
    const NEED: &'static str = "none, uniform:COUNT or zipf:COUNT:EXPONENT";
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Keys, String> {
        let wrong = || expected::<Keys>(text);
        let count = |text: &str| {
            text.parse::<u64>().ok().filter(|count| (1..=1 << 40).contains(count)).ok_or_else(wrong)
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            ["none"] => Ok(Keys::None),
            ["uniform", keys] => Ok(Keys::Uniform(count(keys)?)),
            ["zipf", keys, exponent] => {
                let exponent: f64 = exponent.parse().map_err(|_| wrong())?;
                if !(0.0..=10.0).contains(&exponent) {
                    return Err(wrong());
                }
                Ok(Keys::Zipf(count(keys)?, exponent))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::None => write!(f, "none"),
            Keys::Uniform(count) => write!(f, "uniform:{count}"),
            Keys::Zipf(count, exponent) => write!(f, "zipf:{count}:{exponent}"),
        }
    }
}

/// A target, or as fast as is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    Max,
    PerSecond(f64),
}

impl Need for Rate {
    const NEED: &'static str = "records per second, such as 50000 or 1.5e6, or max";
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text {
            "max" => Ok(Rate::Max),
            _ => text.parse().map(Rate::PerSecond).map_err(|_| expected::<Rate>(text)),
        }
    }
}

/// How planned times are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    #[default]
    Constant,
    /// Independent of each other: exponential gaps.
    Poisson,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        })
    }
}

/// Where consumers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    End,
    Beginning,
    /// At the beginning, and there again whenever what was there at the start has been read.
    Again,
    /// At the first record that is at most this old.
    Behind(Length),
}

impl Need for Start {
    const NEED: &'static str = "end, beginning, again, or behind:LENGTH such as behind:10m";
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        match text.split_once(':') {
            None if text == "end" => Ok(Start::End),
            None if text == "beginning" => Ok(Start::Beginning),
            None if text == "again" => Ok(Start::Again),
            Some(("behind", length)) => Ok(Start::Behind(length.parse()?)),
            _ => Err(expected::<Start>(text)),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::End => write!(f, "end"),
            Start::Beginning => write!(f, "beginning"),
            Start::Again => write!(f, "again"),
            Start::Behind(length) => write!(f, "behind:{length}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(pub Codec);

impl Default for Compression {
    fn default() -> Compression {
        Compression(Codec::None)
    }
}

impl Need for Compression {
    const NEED: &'static str = "none, gzip, snappy, lz4 or zstd";
}

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Compression, String> {
        let codec = CODECS.into_iter().find(|codec| codec.name() == text);
        codec.map(Compression).ok_or_else(|| expected::<Compression>(text))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcksText(pub Acks);

impl Need for AcksText {
    const NEED: &'static str = "0, 1 or all";
}

impl FromStr for AcksText {
    type Err = String;

    fn from_str(text: &str) -> Result<AcksText, String> {
        match text {
            "0" => Ok(AcksText(Acks::None)),
            "1" => Ok(AcksText(Acks::Leader)),
            "all" | "-1" => Ok(AcksText(Acks::All)),
            _ => Err(expected::<AcksText>(text)),
        }
    }
}

impl fmt::Display for AcksText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        })
    }
}

/// `HOST:PORT`, the host in brackets when it is an IPv6 address.
///
/// # Errors
/// What is expected instead.
pub fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("bootstrap = {text:?}: expected HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Address { host: host.to_string(), port: port.parse().map_err(|_| wrong())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(given: &str, expect: Option<&str>)
    where
        T: FromStr<Err = String> + fmt::Display + Need,
    {
        match (given.parse::<T>(), expect) {
            (Ok(value), Some(text)) => assert_eq!(value.to_string(), text),
            (Err(error), None) => assert!(error.contains(T::NEED), "{error}"),
            (parsed, _) => panic!("{given}: {:?}", parsed.map(|value| value.to_string())),
        }
    }

    #[test]
    fn values_are_read_back_as_written_and_wrong_ones_say_what_is_expected() {
        for (given, expect) in [
            ("5ms", "5ms"),
            ("1500ms", "1500ms"),
            ("2m", "2m"),
            ("120s", "2m"),
            ("0", "0"),
            ("1.5us", "1.5us"),
        ] {
            check::<Length>(given, Some(expect));
        }
        for given in ["", "5", "ms", "-1s", "5 parsecs", "1e30s"] {
            check::<Length>(given, None);
        }
        check::<Sizes>("100-2000", Some("100-2000"));
        check::<Sizes>("7", Some("7"));
        for given in ["2000-100", "-5", "99999999999", "many"] {
            check::<Sizes>(given, None);
        }
        check::<Keys>("zipf:1000:1.1", Some("zipf:1000:1.1"));
        for given in ["zipf:0:1", "uniform", "uniform:x", "zipf:5:-1"] {
            check::<Keys>(given, None);
        }
        check::<Start>("behind:10m", Some("behind:10m"));
        check::<Start>("again", Some("again"));
        check::<Start>("again:10m", None);
        check::<Compression>("zstd", Some("zstd"));
        check::<Compression>("brotli", None);
        check::<AcksText>("-1", Some("all"));
        assert!(address("[::1]:9092").is_ok_and(|address| address.host == "::1"));
        assert!(address("9092").is_err() && address(":1").is_err() && address("a:99999").is_err());
    }
}
