//! What a request allocates in steady state, from its bytes in a receive buffer to its answer: counted, and held
//! against a budget. The aim is 0; what is in the way of it is listed beside the numbers.
//!
//! It needs the simulated runtime: `cargo test --features sim --test allocations`. What is counted beside a
//! request, while others work for it, includes what the simulated disk and executor take; the rest is the
//! product's alone. The socket and the connection's lists are not among it: those keep their memory.

#![allow(unsafe_code)] // an allocator that counts

#[path = "support/host.rs"]
mod host;

use bytes::Bytes;
use corelog::limits::FRAME_BYTES_MAX;
use corelog::net::FrameBuffer;
use corelog::router;
use host::{Host, connection, fetch_request, produce_request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::poll_fn;

/// So many requests are counted, after some that were not: lists and tables have their sizes by then.
const REQUESTS: i32 = 1000;
const REQUESTS_BEFORE: i32 = 200;

/// Allocations that `REQUESTS` requests may make.
struct Budget {
    /// From the receive buffer to where the request waits: the frame, the decoded request, its appends.
    starting: usize,
    /// While it is asked whether it is ready, and when it is: reads, the response, its bytes.
    answering: usize,
    /// Meanwhile: commits, and the simulation.
    beside: usize,
}

/// The one place where the numbers stand. Growing a list counts as allocating it anew.
///
/// What starting a produce request allocates: receive chunks and their counters, shared by the requests in them
/// (`src/net/frame.rs`); an array of topics and one of partitions for each (`src/wire/primitive.rs`); the entries
/// that wait, the response's topics and their partitions (`src/data_plane/produce.rs`).
/// Answering it: the place among those who wait for a partition's commit, when nobody else does
/// (`src/log/watch.rs`); the response's bytes and their counter (`src/wire/header.rs`); the list of
/// its parts (`src/data_plane/response.rs`).
/// A commit, however many requests are in it: its buffer and list of batches, and three times the path of its file
/// (`src/log/appender.rs`).
/// A fetch: its future (`src/router.rs`); a session, also where the client wants none, and a copy of what it names
/// (`src/data_plane/fetch_session.rs`, `src/data_plane/fetch.rs`); lists of places, specifications and results of
/// each turn of reading (`src/data_plane/fetch_read.rs`, `src/shard/serve.rs`); the response, as above.
const PRODUCE_ONE: Budget = Budget { starting: 5_100, answering: 5_100, beside: 22_500 };
const PRODUCE_MANY: Budget = Budget { starting: 5_100, answering: 10_100, beside: 360_000 };
const FETCH_ONE: Budget = Budget { starting: 3_050, answering: 23_100, beside: 0 };
const FETCH_IN_SESSION: Budget = Budget { starting: 1_050, answering: 25_100, beside: 0 };

/// Counts what the current thread allocates, so that tests may run side by side.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.get()
}

#[derive(Debug, Default)]
struct Counted {
    requests: usize,
    starting: usize,
    answering: usize,
    beside: usize,
}

/// Reads as a connection does: into the room that there is, until a frame is whole.
fn next_frame(buffer: &mut FrameBuffer, stream: &[u8], at: &mut usize) -> Option<Bytes> {
    loop {
        if let Some(frame) = buffer.next_frame().expect("the lengths are sound") {
            return Some(frame);
        }
        let rest = &stream[*at..];
        if rest.is_empty() {
            return None;
        }
        let length = buffer.make_room(0).min(rest.len());
        buffer.bytes.extend_from_slice(&rest[..length]);
        *at += length;
    }
}

/// Receives all requests of a stream, and answers one after the other.
async fn answer_all(host: &Host, stream: &[u8]) -> Counted {
    let mut counted = Counted::default();
    let (mut buffer, mut at) = (FrameBuffer::new(FRAME_BYTES_MAX), 0);
    loop {
        let began = allocations();
        let Some(frame) = next_frame(&mut buffer, stream, &mut at) else { return counted };
        let routed = router::route(&host.services, frame, connection());
        let mut routed = routed.expect("a sound request");
        let started = allocations();
        let mut answering = 0;
        let response = poll_fn(|context| {
            let before = allocations();
            let polled = routed.answer.poll(context);
            answering += allocations() - before;
            polled
        })
        .await;
        let ended = allocations();
        let response = response.expect("a sound request");
        assert!(response.errors.iter().next().is_none(), "{:?}", response.errors);
        counted.requests += 1;
        counted.starting += started - began;
        counted.answering += answering;
        counted.beside += ended - started - answering;
    }
}

/// Answers `REQUESTS` requests after some others, each the `number`th of its client, from 1 on.
fn check(what: &str, host: &Host, budget: &Budget, request: impl Fn(i32) -> Vec<u8>) {
    let stream = |numbers: std::ops::Range<i32>| numbers.flat_map(&request).collect::<Vec<u8>>();
    let before = stream(1..REQUESTS_BEFORE + 1);
    let counted = stream(REQUESTS_BEFORE + 1..REQUESTS_BEFORE + REQUESTS + 1);
    let counted = host.simulation.run(async {
        answer_all(host, &before).await;
        answer_all(host, &counted).await
    });
    assert_eq!(counted.requests, REQUESTS as usize);
    let each = |count: usize| count as f64 / f64::from(REQUESTS);
    let Counted { starting, answering, beside, .. } = counted;
    eprintln!(
        "{what}: {:.2} allocations to start a request, {:.2} to answer it, {:.2} beside",
        each(starting),
        each(answering),
        each(beside)
    );
    let is_within =
        starting <= budget.starting && answering <= budget.answering && beside <= budget.beside;
    assert!(is_within, "{what}: more than its budget for {REQUESTS} requests: {counted:?}");
}

#[test]
fn a_produce_request_of_one_partition_is_within_its_budget() {
    let host = Host::start(1, 1);
    let request = |number| produce_request(1, number).to_vec();
    check("produce to one partition", &host, &PRODUCE_ONE, request);
}

#[test]
fn a_produce_request_of_many_partitions_is_within_its_budget() {
    let host = Host::start(1, 16);
    let request = |number| produce_request(16, number).to_vec();
    check("produce to 16 partitions", &host, &PRODUCE_MANY, request);
}

#[test]
fn a_fetch_of_one_partition_is_within_its_budget() {
    let host = Host::start(1, 1);
    let request = |_| fetch_request(1, 1, (0, -1)).to_vec();
    check("fetch without a session", &host, &FETCH_ONE, request);
}

#[test]
fn a_fetch_in_a_session_is_within_its_budget() {
    let host = Host::start(1, 16);
    let session = host.open_session(16, 1);
    let request = |epoch| fetch_request(0, 0, (session, epoch)).to_vec();
    check("fetch in a session of 16 partitions", &host, &FETCH_IN_SESSION, request);
}
