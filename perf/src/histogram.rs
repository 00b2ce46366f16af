//! Latencies as full-range histograms: merged as histograms, never averaged. Plain data, any thread.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Three significant digits from one nanosecond to an hour; later ones count as an hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies in nanoseconds. In JSON: HdrHistogram's V2 deflated encoding in base64, as in interval logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS).expect("the bounds are in order"))
    }
}

impl Latencies {
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// `count` records that waited equally long.
    pub fn record_n(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    pub fn clear(&mut self) {
        self.0.reset();
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that `share` (0 to 1) of all do not exceed, in nanoseconds; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    pub fn max(&self) -> u64 {
        self.0.max()
    }

    pub fn inner(&self) -> &Histogram<u64> {
        &self.0
    }

    pub fn encode(&self) -> String {
        use base64::Engine;
        let mut bytes = Vec::new();
        let done = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        done.expect("a vector takes any length");
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    /// # Errors
    /// What is wrong with the text.
    pub fn decode(text: &str) -> Result<Latencies, String> {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        let bytes = bytes.map_err(|error| error.to_string())?;
        let mut latencies = Latencies::default();
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("not a histogram: {error:?}"))?;
        latencies.0.add(&read).map_err(|error| error.to_string())?;
        Ok(latencies)
    }
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Latencies, D::Error> {
        let text = String::deserialize(deserializer)?;
        Latencies::decode(&text).map_err(serde::de::Error::custom)
    }
}
