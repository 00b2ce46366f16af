//! What decoding allocates: never more than a small multiple of the frame, whatever its bytes are;
//! and exactly so much for the requests that run millions of times.

#![allow(unsafe_code)] // an allocator that counts

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};
use corelog::wire::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use corelog::wire::api::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use corelog::wire::api::*;
use corelog::wire::{Decoder, Encoder, Message, Records, RequestHeader, Str};

/// Counts what the current thread holds, so that tests may run side by side.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static HELD_MAX: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    HELD_MAX.set(HELD_MAX.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` held at once, beyond what was held before.
fn bytes_held_by<T>(work: impl FnOnce() -> T) -> usize {
    let before = HELD.get();
    HELD_MAX.set(before);
    drop(work());
    usize::try_from(HELD_MAX.get() - before).expect("held no less than before")
}

fn allocations_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let value = work();
    (ALLOCATIONS.get() - before, value)
}

/// The decoder's budget (8 bytes of arrays for each of the frame's, 64 KiB free), doubled because
/// arrays grow by doubling, and something for an error or a sliced frame's counter.
fn bytes_held_max(frame: usize) -> usize {
    2 * (8 * frame + 64 * 1024) + 1024
}

fn check<M: Message>(frame: &Bytes, version: i16, what: &dyn std::fmt::Display) {
    let held = bytes_held_by(|| M::decode(&mut Decoder::new(frame.clone()), version));
    assert!(
        held <= bytes_held_max(frame.len()),
        "{} v{version}: {held} bytes held for a frame of {} ({what})",
        M::NAME,
        frame.len()
    );
}

macro_rules! for_each_message {
    ($run:ident: $($request:ident, $response:ident;)*) => {$(
        for version in $request::VERSIONS {
            $run::<$request>(version);
            $run::<$response>(version);
        }
    )*};
    ($run:ident) => {
        for_each_message! { $run:
            ProduceRequest, ProduceResponse;
            FetchRequest, FetchResponse;
            ListOffsetsRequest, ListOffsetsResponse;
            MetadataRequest, MetadataResponse;
            ApiVersionsRequest, ApiVersionsResponse;
            CreateTopicsRequest, CreateTopicsResponse;
            DeleteTopicsRequest, DeleteTopicsResponse;
            DeleteRecordsRequest, DeleteRecordsResponse;
            InitProducerIdRequest, InitProducerIdResponse;
            OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            DescribeConfigsRequest, DescribeConfigsResponse;
            AlterConfigsRequest, AlterConfigsResponse;
            DescribeLogDirsRequest, DescribeLogDirsResponse;
            CreatePartitionsRequest, CreatePartitionsResponse;
            IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            DescribeClusterRequest, DescribeClusterResponse;
            DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        }
    };
}

/// One byte over and over: the shortest way to many arrays of many short elements.
fn check_monotone<M: Message>(version: i16) {
    for byte in [0x00, 0x01, 0x02, 0x03, 0x08, 0x40, 0x7f, 0x80, 0x81, 0xff] {
        for length in [0, 5, 64, 4096, 200_000] {
            let frame = Bytes::from(vec![byte; length]);
            check::<M>(&frame, version, &format_args!("{length} times {byte:#04x}"));
        }
    }
}

#[test]
fn monotone_frames_do_not_inflate() {
    for_each_message!(check_monotone);
}

/// A body that begins honestly and then claims an array as large as the frame can hold, or larger.
fn check_claims<M: Message>(version: i16) {
    let mut e = Encoder::new();
    M::default().encode(&mut e, version);
    let honest = e.out.freeze();
    for cut in 0..=honest.len().min(64) {
        for claim in [0x7fff_ffff_u32, 0x0010_0000, 100_000, 20_000] {
            for compact in [false, true] {
                let mut frame = BytesMut::from(&honest[..cut]);
                if compact {
                    let mut varint = Encoder::new();
                    varint.write_uvarint(claim);
                    frame.put_slice(&varint.out);
                } else {
                    frame.put_u32(claim);
                }
                frame.put_bytes(0, 100_000);
                check::<M>(&frame.freeze(), version, &format_args!("{claim} claimed at {cut}"));
            }
        }
    }
}

#[test]
fn claims_of_large_arrays_do_not_inflate() {
    for_each_message!(check_claims);
}

fn check_noise<M: Message>(version: i16) {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..40 {
        let mask = [0xff, 0x07, 0x01, 0x83][round % 4];
        let frame: Bytes = (0..20_000)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as u8 & mask
            })
            .collect();
        check::<M>(&frame, version, &format_args!("noise {round}"));
    }
}

#[test]
fn noise_does_not_inflate() {
    for_each_message!(check_noise);
}

#[test]
fn a_frame_of_mebibytes_full_of_tiny_topics_holds_no_more_than_its_budget() {
    let mut frame = BytesMut::new();
    frame.put_u32(0x0050_0000);
    frame.put_bytes(0, 2 * 0x0050_0000 + 4);
    check::<MetadataRequest>(&frame.freeze(), 0, &"five million empty names");
}

fn produce_request() -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: Str::from_static("flights"),
            partition_data: vec![PartitionProduceData {
                index: 3,
                records: Some(Records::Inline(Bytes::from_static(&[7; 16 * 1024]))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// As the connection has it: one buffer filled by reads, frozen.
fn received(e: Encoder) -> Bytes {
    e.out.freeze()
}

#[test]
fn decoding_a_produce_request_allocates_its_two_arrays_and_copies_no_record() {
    let header = RequestHeader {
        api_key: ApiKey::Produce,
        api_version: 9,
        correlation_id: 1,
        client_id: Some(Str::from_static("loader")),
    };
    let mut e = Encoder::new();
    header.encode(&mut e);
    produce_request().encode(&mut e, 9);
    let frame = received(e);

    let (allocations, request) = allocations_of(|| {
        let mut d = Decoder::new(frame.clone());
        RequestHeader::decode(&mut d).unwrap();
        let request = ProduceRequest::decode(&mut d, 9).unwrap();
        d.finish().unwrap();
        request
    });
    let Some(Records::Inline(records)) = &request.topic_data[0].partition_data[0].records else {
        panic!("records are inline");
    };
    assert!(frame.as_ptr_range().contains(&records.as_ptr()));
    assert!(allocations <= 3, "{allocations} allocations"); // one makes the frame shareable
    let (allocations, _again) = allocations_of(|| {
        let mut d = Decoder::new(frame.clone());
        RequestHeader::decode(&mut d).unwrap();
        ProduceRequest::decode(&mut d, 9).unwrap()
    });
    assert_eq!(allocations, 2);
}

#[test]
fn encoding_a_produce_response_into_a_ready_buffer_allocates_nothing() {
    let response = ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: Str::from_static("flights"),
            partition_responses: vec![PartitionProduceResponse::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut e = Encoder::with_capacity(256);
    let (allocations, ()) = allocations_of(|| response.encode(&mut e, 9));
    assert_eq!(allocations, 0);
}

#[test]
fn encoding_a_fetch_response_allocates_only_its_list_of_cuts() {
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Str::from_static("flights"),
            partitions: vec![PartitionData {
                records: Some(Records::External(1024 * 1024)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut e = Encoder::with_capacity(256);
    let (allocations, ()) = allocations_of(|| response.encode(&mut e, 12));
    assert_eq!(allocations, 1);
    assert_eq!(e.cuts.len(), 1);
    assert_eq!(e.length(), e.out.len() + 1024 * 1024);
}
