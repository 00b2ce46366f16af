//! What a producer's batch must show before it is stored.

use crate::budgets::{self, limit};
use crate::host::TIME;
use corelog::wire::batch::{parse_produced_records, testing};
use gungraun::prelude::*;
use std::hint::black_box;

const TIMES: u64 = 100;

/// A batch that is checked so many times.
struct Produced {
    bytes: Vec<u8>,
    times: u64,
}

impl Produced {
    fn of(records: usize, value_bytes: usize) -> Produced {
        let value = vec![7; value_bytes];
        let bytes = testing::batch(&vec![&value[..]; records], TIME, Some((7, 0, 0)));
        // The first look chooses how checksums are computed.
        parse_produced_records(&bytes).expect("a sound batch");
        Produced { bytes, times: TIMES }
    }

    fn check(self) -> Produced {
        for _ in 0..self.times {
            let checked = parse_produced_records(black_box(&self.bytes));
            assert!(black_box(checked).is_ok());
        }
        self
    }
}

#[library_benchmark]
#[bench::small(
    args = (Produced::of(1, 100)),
    config = limit(budgets::BATCH_SMALL, TIMES)
)]
#[bench::small_records(
    args = (Produced::of(1000, 100)),
    config = limit(budgets::BATCH_OF_SMALL_RECORDS, TIMES)
)]
#[bench::large_records(
    args = (Produced::of(128, 1024)),
    config = limit(budgets::BATCH_OF_LARGE_RECORDS, TIMES)
)]
fn check(produced: Produced) -> Produced {
    black_box(produced.check())
}

library_benchmark_group!(name = batches, benchmarks = [check]);
