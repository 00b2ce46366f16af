//! Properties that hold for every message in every version.

mod hostile;
mod oracle;

use bytes::Bytes;

use super::api::{ApiVisitor, visit_apis};
use super::message::{Message, Request};
use super::sample::{Dice, Sample};
use super::{Decoder, Encoder};

const SAMPLES_PER_VERSION: u64 = 200;

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut e = Encoder::new();
    message.encode(&mut e, version);
    assert!(e.cuts.is_empty());
    e.out.freeze()
}

/// Calls `check` with samples of the message in each of its versions.
fn for_each_sample<M: Message + Sample>(mut check: impl FnMut(&M, i16, u64)) {
    for version in M::VERSIONS {
        for seed in 0..SAMPLES_PER_VERSION {
            check(&M::sample(&mut Dice::new(seed), M::form(version)), version, seed);
        }
    }
}

/// Bytes from their hex digits; spaces are for the reader.
fn bytes_of(hex: &str) -> Bytes {
    let digits: Vec<u8> =
        hex.chars().filter_map(|letter| letter.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

struct RoundTrip;

impl ApiVisitor for RoundTrip {
    fn visit<R, S>(&mut self)
    where
        R: Request<Response = S> + Sample,
        S: Message + Sample,
    {
        assert_eq!(R::VERSIONS, S::VERSIONS, "{}", R::NAME);
        assert_eq!(R::FLEXIBLE_FROM, S::FLEXIBLE_FROM, "{}", R::NAME);
        for_each_sample::<R>(check_round_trip);
        for_each_sample::<S>(check_round_trip);
    }
}

fn check_round_trip<M: Message>(message: &M, version: i16, seed: u64) {
    let mut d = Decoder::new(encoded(message, version));
    let decoded = M::decode(&mut d, version)
        .unwrap_or_else(|error| panic!("{} v{version} seed {seed}: {error}", M::NAME));
    assert_eq!(d.finish(), Ok(()), "{} v{version} seed {seed}", M::NAME);
    assert_eq!(&decoded, message, "{} v{version} seed {seed}", M::NAME);
}

#[test]
fn what_is_encoded_decodes_to_the_same_in_every_version() {
    visit_apis(&mut RoundTrip);
}
