//! Frames that a client should not send. What they may allocate is measured in
//! `tests/wire_allocation.rs`, which can replace the allocator.

use super::{Bytes, Decoder, Dice, Message, Request, Sample, encoded};
use crate::wire::api::{ApiVisitor, visit_apis};
use crate::wire::{Fault, RequestHeader};

/// Decodes, for its freedom of panics, and says whether it was taken for a whole message.
fn decodes<M: Message>(frame: Bytes, version: i16) -> bool {
    let mut d = Decoder::new(frame);
    M::decode(&mut d, version).is_ok() && d.finish().is_ok()
}

struct Truncations;

impl ApiVisitor for Truncations {
    fn visit<R, S>(&mut self)
    where
        R: Request<Response = S> + Sample,
        S: Message + Sample,
    {
        check_truncations::<R>();
        check_truncations::<S>();
    }
}

fn check_truncations<M: Message + Sample>() {
    for version in M::VERSIONS {
        for seed in 0..3 {
            let frame = encoded(&M::sample(&mut Dice::new(seed), M::form(version)), version);
            for end in 0..frame.len().min(3000) {
                assert!(
                    !decodes::<M>(frame.slice(..end), version),
                    "{} v{version} seed {seed}: {end} of {} bytes were taken for all",
                    M::NAME,
                    frame.len()
                );
            }
        }
    }
}

#[test]
fn no_truncated_message_is_taken_for_a_whole_one() {
    visit_apis(&mut Truncations);
}

struct Mutations;

impl ApiVisitor for Mutations {
    fn visit<R, S>(&mut self)
    where
        R: Request<Response = S> + Sample,
        S: Message + Sample,
    {
        check_mutations::<R>();
        check_mutations::<S>();
    }
}

/// Every byte in turn becomes what makes lengths negative, huge, off by one or unending.
fn check_mutations<M: Message + Sample>() {
    for version in M::VERSIONS {
        let frame = encoded(&M::sample(&mut Dice::new(7), M::form(version)), version);
        for place in 0..frame.len().min(1000) {
            let byte = frame[place];
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, byte.wrapping_add(1), byte ^ 0x10] {
                let mut mutant = frame.to_vec();
                mutant[place] = value;
                decodes::<M>(mutant.into(), version);
            }
        }
    }
}

#[test]
fn no_mutation_of_a_byte_panics() {
    visit_apis(&mut Mutations);
}

struct Noise;

impl ApiVisitor for Noise {
    fn visit<R, S>(&mut self)
    where
        R: Request<Response = S> + Sample,
        S: Message + Sample,
    {
        check_noise::<R>();
        check_noise::<S>();
    }
}

fn check_noise<M: Message>() {
    for version in M::VERSIONS {
        let mut dice = Dice::new(version as u64);
        for _ in 0..300 {
            let length = dice.below(80);
            // Small values dominate in half of the frames: they are plausible lengths.
            let mask = if dice.one_in(2) { 0xff } else { 0x07 };
            let frame = (0..length).map(|_| dice.next() as u8 & mask).collect::<Bytes>();
            let mut d = Decoder::new(frame.clone());
            let _ = RequestHeader::decode(&mut d);
            decodes::<M>(frame, version);
        }
    }
}

#[test]
fn no_noise_panics() {
    visit_apis(&mut Noise);
}

/// Decodes a body given in hex and expects this fault at this byte of this field.
fn check_fault<M: Message>(hex: &str, version: i16, fault: Fault, field: &str, at: usize) {
    let error = M::decode(&mut Decoder::new(super::bytes_of(hex)), version).unwrap_err();
    assert_eq!((error.fault, error.field, error.at), (fault, field, at), "{hex}");
}

#[test]
fn faults_name_the_field_and_the_byte() {
    use crate::wire::api::{FetchRequest, MetadataRequest, ProduceRequest};
    // The five bytes on which kafka-protocol 0.18 aborts: an array of 2^32 - 2 topics.
    check_fault::<MetadataRequest>(
        "ff ff ff ff 0f",
        9,
        Fault::BadLength(0xffff_fffe),
        "MetadataRequest.topics",
        5,
    );
    check_fault::<MetadataRequest>(
        "7f ff ff ff",
        4,
        Fault::Truncated { needed: 2 * 0x7fff_ffff, left: 0 },
        "MetadataRequest.topics",
        4,
    );
    check_fault::<MetadataRequest>("ff ff ff ff", 0, Fault::Null, "MetadataRequest.topics", 4);
    check_fault::<MetadataRequest>(
        "00 00 00 01 ff ff",
        1,
        Fault::Null,
        "MetadataRequestTopic.name",
        6,
    );
    check_fault::<MetadataRequest>(
        "00 00 00 01 00 02 c3 28",
        1,
        Fault::NotUtf8,
        "MetadataRequestTopic.name",
        6,
    );
    check_fault::<MetadataRequest>(
        "02 ff ff ff ff ff 01",
        9,
        Fault::BadVarint,
        "MetadataRequestTopic.name",
        6,
    );
    check_fault::<ProduceRequest>(
        "ff fe",
        3,
        Fault::BadLength(-2),
        "ProduceRequest.transactional_id",
        2,
    );
    check_fault::<FetchRequest>("", 3, Fault::UnknownVersion(3), "FetchRequest", 0);
    // Replica state (tag 1) is 13 bytes long; here it is said to be 14.
    check_fault::<FetchRequest>(
        "00000000 00000000 00000000 00 00000000 00000000 01 01 01 \
         01 01 0e 00000001 0000000000000000 00 00",
        15,
        Fault::TagSize(1),
        "FetchRequest.tags",
        40,
    );
}

#[test]
fn a_frame_of_tiny_elements_is_refused_before_it_outgrows_itself() {
    use crate::wire::api::DeleteTopicsRequest;
    let count = 100_000;
    let mut frame = (count as u32).to_be_bytes().to_vec();
    frame.resize(4 + 2 * count + 4, 0);
    let error = DeleteTopicsRequest::decode(&mut Decoder::new(frame.into()), 1).unwrap_err();
    assert_eq!(error.fault, Fault::TooManyElements(count));
}

#[test]
fn unknown_tagged_fields_are_skipped_and_known_ones_found_among_them() {
    use crate::wire::api::ApiVersionsResponse;
    // Tags 1 (epoch 5), 7 (three bytes), 3 (true).
    let hex = "0000 01 00000000 03 01 08 0000000000000005 07 03 aabbcc 03 01 01";
    let mut d = Decoder::new(super::bytes_of(hex));
    let response = ApiVersionsResponse::decode(&mut d, 3).unwrap();
    assert_eq!(d.finish(), Ok(()));
    assert_eq!((response.finalized_features_epoch, response.zk_migration_ready), (5, true));
}
