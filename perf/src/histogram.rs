//! Latencies as full-range histograms: merged as histograms, never averaged. Plain data, any thread.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Three significant digits from one nanosecond to an hour; later ones count as an hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies in nanoseconds. In JSON: HdrHistogram's V2 deflated encoding in base64, as in interval logs.
#[derive(Clone, PartialEq)]
pub struct Latencies(Histogram<u64>);

/// In short: tens of thousands of counts say nothing to a reader.
impl std::fmt::Debug for Latencies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, max) = (self.count(), self.max());
        write!(formatter, "Latencies({count}, p50 {} ns, max {max} ns)", self.quantile(0.5))
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(
            Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS).expect("the bounds are in order"),
        )
    }
}

impl Latencies {
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.min(HIGHEST_NS));
    }

    /// `count` records that waited equally long.
    pub fn record_n(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds.min(HIGHEST_NS), count);
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    #[cfg(test)]
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

    /// A few hundred bytes where the counts take 300 KB: for the many of a long run.
    pub fn pack(&self) -> Packed {
        let mut bytes = Vec::new();
        let done = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        done.expect("a vector takes any length");
        Packed(bytes)
    }

    pub fn encode(&self) -> String {
        self.pack().encode()
    }

    /// # Errors
    /// What is wrong with the text.
    pub fn decode(text: &str) -> Result<Latencies, String> {
        Latencies::read(&Packed::bytes_of(text)?)
    }

    fn read(bytes: &[u8]) -> Result<Latencies, String> {
        let mut bytes = bytes;
        let mut latencies = Latencies::default();
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes)
            .map_err(|error| format!("not a histogram: {error:?}"))?;
        latencies.0.add(&read).map_err(|error| error.to_string())?;
        Ok(latencies)
    }
}

/// Latencies in HdrHistogram's V2 deflated encoding; none at all are no bytes.
#[derive(Clone, Default, PartialEq)]
pub struct Packed(Vec<u8>);

impl std::fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.unpack().fmt(formatter)
    }
}

impl Packed {
    pub fn unpack(&self) -> Latencies {
        if self.0.is_empty() {
            return Latencies::default();
        }
        Latencies::read(&self.0).expect("what is packed was read before")
    }

    /// In base64, as interval logs have it.
    pub fn encode(&self) -> String {
        use base64::Engine;
        if self.0.is_empty() {
            return Latencies::default().encode();
        }
        base64::engine::general_purpose::STANDARD.encode(&self.0)
    }

    fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map_err(|error| error.to_string())
    }
}

impl Serialize for Packed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Packed, D::Error> {
        // Taken apart once: what is damaged is said so here, and unpacks never fail.
        Latencies::deserialize(deserializer).map(|latencies| latencies.pack())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From nanoseconds to beyond the hour, each order of magnitude as likely as the next.
    fn latency() -> impl Strategy<Value = u64> {
        (0u32..44, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
    }

    fn recorded(values: &[u64]) -> Latencies {
        let mut latencies = Latencies::default();
        values.iter().for_each(|value| latencies.record(*value));
        latencies
    }

    proptest! {
        #[test]
        fn merging_equals_recording_all_in_one(
            first in prop::collection::vec(latency(), 0..200),
            second in prop::collection::vec(latency(), 0..200),
        ) {
            let mut merged = recorded(&first);
            merged.merge(&recorded(&second));
            let whole: Vec<u64> = first.into_iter().chain(second).collect();
            prop_assert_eq!(&merged, &recorded(&whole));
            prop_assert_eq!(merged.count(), whole.len() as u64);
        }

        #[test]
        fn quantiles_are_right_within_three_digits(
            mut values in prop::collection::vec(latency(), 1..300),
            share in 0.000_1f64..=1.0,
        ) {
            let latencies = recorded(&values);
            values.sort_unstable();
            let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
            let truth = values[rank - 1].min(HIGHEST_NS);
            let told = latencies.quantile(share);
            prop_assert!(told >= truth, "{told} is below {truth}");
            prop_assert!((told - truth) as f64 <= truth as f64 / 1_000.0, "{told} is not {truth}");
            let slowest = values[values.len() - 1].min(HIGHEST_NS);
            prop_assert!(latencies.max() >= slowest);
            prop_assert!((latencies.max() - slowest) as f64 <= slowest as f64 / 1_000.0);
        }

        #[test]
        fn what_is_encoded_is_decoded(values in prop::collection::vec((latency(), 1u64..1 << 40), 0..200)) {
            let mut latencies = Latencies::default();
            values.iter().for_each(|(value, count)| latencies.record_n(*value, *count));
            let decoded = Latencies::decode(&latencies.encode()).expect("just encoded");
            prop_assert_eq!(&decoded, &latencies);
            prop_assert_eq!(decoded.max(), latencies.max());
            prop_assert_eq!(decoded.count(), latencies.count());
        }

        #[test]
        fn damage_is_an_error_or_a_histogram(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = recorded(&[1, 1_000, 1_000_000, 3_000_000]).encode().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Latencies::decode(&String::from_utf8_lossy(&bytes));
        }
    }
}
