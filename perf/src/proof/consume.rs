//! Consumers against a source that has a small log, and what it was asked and when: whoever reads again reads
//! all of it each time and nothing beyond; whoever comes afterwards asks for nothing before. And which
//! partitions producers begin with, which no delay shows.

use super::{Ran, load, next_frame, quiet, send};
use crate::settings::{Length, Rate, Settings, Start};
use crate::source::Stock;
use crate::stub::Stub;
use bytes::{Bytes, BytesMut};
use corelog::runtime::sim::Simulation;
use corelog::runtime::{self, Instant, ListenOptions, Listener};
use corelog::wire::api::{FetchRequest, ProduceRequest};
use corelog::wire::{ApiKey, Decoder, Message, RequestHeader};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Of the source; of each partition; of each batch of 100-byte records that fit 1,000 bytes.
const PARTITIONS: i32 = 2;
const BATCHES: i64 = 3;
const RECORDS: i64 = 8;

#[derive(Default)]
struct Asked {
    /// When, for which partition, from which offset on.
    fetched: Vec<(Instant, i32, i64)>,
    /// For which partitions.
    produced: Vec<i32>,
}

impl Asked {
    fn note(&mut self, frame: Bytes) {
        let mut decoder = Decoder::new(frame);
        let header = RequestHeader::decode(&mut decoder).unwrap();
        let version = header.api_version;
        match header.api_key {
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut decoder, version).unwrap();
                let wanted = request.topics.iter().flat_map(|topic| &topic.partitions);
                let now = runtime::now();
                self.fetched.extend(wanted.map(|one| (now, one.partition, one.fetch_offset)));
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut decoder, version).unwrap();
                let batches = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
                self.produced.extend(batches.map(|batch| batch.index));
            }
            _ => {}
        }
    }
}

/// Runs a load against the source.
fn run(settings: Settings) -> (Ran, Asked) {
    Simulation::with_options(1, quiet()).run(async move {
        let listening = ListenOptions { shared: false, backlog: 16 };
        let listener = Listener::bind("127.0.0.1:9092".parse().unwrap(), listening).unwrap();
        let stub = Stub { host: "127.0.0.1".into(), port: 9092, partitions: PARTITIONS };
        let stock = Rc::new(Stock::new(stub, 3000, 100, 1000).unwrap());
        let asked: Rc<RefCell<Asked>> = Rc::default();
        let noted = asked.clone();
        drop(runtime::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let (stock, noted) = (stock.clone(), noted.clone());
                drop(runtime::spawn(async move {
                    let mut buffer = BytesMut::new();
                    while let Some(frame) = next_frame(&stream, &mut buffer).await {
                        noted.borrow_mut().note(frame.clone());
                        let answer = stock.answer(frame).unwrap();
                        runtime::sleep(answer.wait).await;
                        for piece in answer.pieces {
                            send(&stream, piece).await;
                        }
                    }
                }));
            }
        }));
        let ran = load(settings).await;
        (ran, asked.take())
    })
}

#[test]
fn a_log_that_is_read_again_is_read_to_its_end_each_time_and_never_beyond() {
    let (Ran { meters, outcome }, asked) = run(Settings {
        producers: Some(0),
        consumers: Some(1),
        start: Some(Start::Again),
        fetch_partition_bytes: Some(1000),
        duration: Some(Length::from_millis(100)),
        ..Settings::default()
    });
    assert_eq!((outcome.failed, meters.consumed.errors), (None, 0));
    let batches_of = |partition| (0..BATCHES).map(move |batch| (partition, batch * RECORDS));
    let all: BTreeSet<(i32, i64)> = (0..PARTITIONS).flat_map(batches_of).collect();
    let from: BTreeSet<(i32, i64)> =
        asked.fetched.iter().map(|(_, partition, offset)| (*partition, *offset)).collect();
    assert_eq!(from, all);
    let consumed = &meters.consumed;
    assert!(consumed.batches > 10 * (BATCHES * i64::from(PARTITIONS)) as u64, "{consumed:?}");
    assert_eq!(consumed.records, consumed.batches * RECORDS as u64);
}

#[test]
fn consumers_that_come_after_the_producers_ask_for_nothing_before() {
    let first_fetch = |consume_after| {
        let (Ran { meters, outcome }, asked) = run(Settings {
            rate: Some(Rate::PerSecond(1000.0)),
            consumers: Some(1),
            start: Some(Start::Beginning),
            consume_after: Some(consume_after),
            duration: Some(Length::from_secs(1)),
            ..Settings::default()
        });
        assert_eq!((outcome.failed, outcome.backlog), (None, 0));
        assert_eq!(meters.acknowledge.count(), 1000);
        asked.fetched.iter().map(|(at, _, _)| *at).min().expect("what is there is read")
    };
    let (beside, after) = (first_fetch(false), first_fetch(true));
    // The measured time is a second, and begins later than consumers that need not wait.
    assert!(after.since(beside) >= Duration::from_secs(1), "{beside:?}, {after:?}");
}

#[test]
fn producers_of_a_closed_loop_begin_with_different_partitions() {
    let (Ran { outcome, .. }, asked) = run(Settings {
        producers: Some(2),
        in_flight: Some(1),
        batch_bytes: Some(200),
        request_bytes: Some(128),
        duration: Some(Length::from_millis(100)),
        ..Settings::default()
    });
    assert_eq!(outcome.failed, None);
    let first: BTreeSet<i32> = asked.produced[..2].iter().copied().collect();
    assert_eq!(first, BTreeSet::from([0, 1]));
}
