//! A fetch's answer around slices of records: what is encoded, and where the slices go.

use crate::budgets::{self, limit};
use crate::host::{FETCH_VERSION, VALUE_BYTES, batch};
use corelog::data_plane::{Part, Response};
use corelog::runtime::buffer::AlignedBuffer;
use corelog::wire::api::fetch::{FetchableTopicResponse, PartitionData};
use corelog::wire::api::{FetchRequest, FetchResponse};
use corelog::wire::{Records, encode_response};
use gungraun::prelude::*;
use std::hint::black_box;

const ONE: u64 = 1000;
const MANY: u64 = 100;

/// What is to be answered, the slices for each time, and the answers.
struct Encoding {
    response: FetchResponse,
    slices: Vec<Vec<Vec<Part>>>,
    answers: Vec<Response>,
}

impl Encoding {
    /// So many times an answer with a batch of each of so many partitions.
    fn of(times: u64, partitions: i32) -> Encoding {
        let batch = batch(VALUE_BYTES, 0);
        let slice = AlignedBuffer::padded(&batch).freeze().slice(0..batch.len());
        let data = |partition_index| PartitionData {
            partition_index,
            high_watermark: 1,
            last_stable_offset: 1,
            log_start_offset: 0,
            records: Some(Records::External(batch.len())),
            ..Default::default()
        };
        let topic = FetchableTopicResponse {
            topic: "flights".into(),
            partitions: (0..partitions).map(data).collect(),
            ..Default::default()
        };
        let slices = |_| -> Vec<Vec<Part>> {
            (0..partitions).map(|_| vec![Part::Records(slice.clone())]).collect()
        };
        Encoding {
            response: FetchResponse { responses: vec![topic], ..Default::default() },
            slices: (0..times).map(slices).collect(),
            answers: Vec::with_capacity(times as usize),
        }
    }

    fn encode(mut self) -> Encoding {
        for (slices, correlation_id) in self.slices.drain(..).zip(0..) {
            let response = black_box(&self.response);
            let encoder = encode_response::<FetchRequest>(response, FETCH_VERSION, correlation_id);
            self.answers.push(Response::with_records(encoder, slices));
        }
        self
    }
}

#[library_benchmark]
#[bench::one_partition(
    args = (Encoding::of(ONE, 1)),
    config = limit(budgets::ENCODE_ONE, ONE)
)]
#[bench::many_partitions(
    args = (Encoding::of(MANY, 100)),
    config = limit(budgets::ENCODE_MANY, MANY)
)]
fn answers(encoding: Encoding) -> Encoding {
    black_box(encoding.encode())
}

library_benchmark_group!(name = encodings, benchmarks = [answers]);
