//! Properties that hold for every message in every version.

mod golden;
mod hostile;
mod oracle;

use bytes::Bytes;

use super::api::{ApiVisitor, FetchResponse, MetadataRequest, visit_apis};
use super::message::{Message, Request};
use super::sample::{Dice, Sample};
use super::{ApiKey, Decoder, Encoder, Fault, Records, RequestHeader};

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

/// Record bytes as a sender adds them, in order of the cuts.
fn filled(e: &Encoder, mut records: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut from = 0;
    for cut in &e.cuts {
        whole.extend_from_slice(&e.out[from..cut.at]);
        let (these, rest) = records.split_at(cut.length);
        whole.extend_from_slice(these);
        (from, records) = (cut.at, rest);
    }
    whole.extend_from_slice(&e.out[from..]);
    assert!(records.is_empty());
    whole
}

#[test]
fn external_records_make_the_frame_that_inline_ones_make() {
    for_each_sample::<FetchResponse>(|inline, version, seed| {
        let mut external = inline.clone();
        let mut sent = Vec::new();
        for topic in &mut external.responses {
            for records in topic.partitions.iter_mut().filter_map(|each| each.records.as_mut()) {
                if let Records::Inline(bytes) = records {
                    sent.extend_from_slice(bytes);
                    *records = Records::External(bytes.len());
                }
            }
        }
        let mut e = Encoder::new();
        external.encode(&mut e, version);
        assert_eq!(filled(&e, &sent), encoded(inline, version), "v{version} seed {seed}");
        assert_eq!(e.length(), e.out.len() + sent.len());
    });
}

#[test]
fn what_a_version_lacks_is_dropped_and_null_becomes_empty_where_null_is_not_known() {
    let request = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    assert_eq!(encoded(&request, 0), bytes_of("00000000"));
    assert_eq!(encoded(&request, 1), bytes_of("ffffffff"));
    assert_eq!(encoded(&request, 4), bytes_of("ffffffff 00"));
    let decoded = MetadataRequest::decode(&mut Decoder::new(bytes_of("ffffffff")), 1).unwrap();
    assert!(decoded.allow_auto_topic_creation, "the default, where the version does not say");
}

#[test]
fn a_header_of_an_unknown_api_is_refused_and_that_of_an_unserved_one_is_named() {
    let unknown = RequestHeader::decode(&mut Decoder::new(bytes_of("03e8 0000 00000001 ffff")));
    assert_eq!(unknown.unwrap_err().fault, Fault::UnknownApi(1000));
    let mut d = Decoder::new(bytes_of("0004 0007 00000001 ffff 00"));
    let unserved = RequestHeader::decode(&mut d).unwrap();
    assert_eq!((unserved.api_key, unserved.api_version), (ApiKey::LeaderAndIsr, 7));
    assert!(RequestHeader::decode(&mut Decoder::new(bytes_of("0012 0003 00000001 0005"))).is_err());
}
