//! A batch into a partition's log: given its offsets, and stored as promised.

use crate::budgets::{self, limit};
use crate::host::{Host, TIME, VALUE_BYTES, batch, committed};
use bytes::Bytes;
use corelog::log::{Dispatched, Partition};
use gungraun::prelude::*;
use std::hint::black_box;
use std::rc::Rc;

const DISPATCHED: u64 = 1000;
const COMMITTED: u64 = 100;
const PARTITIONS: u64 = 100;

/// Batches that wait to be appended, and what came of the others.
struct Appending {
    host: Host,
    batches: Vec<(Rc<Partition>, Bytes)>,
    dispatched: Vec<(Rc<Partition>, Dispatched)>,
}

impl Appending {
    /// So many batches, one after the other for each of so many partitions.
    fn of(count: u64, partitions: u64) -> Appending {
        let host = Host::start(1, partitions as usize);
        let all = host.shards[0].partitions();
        let nth = |at: u64| {
            let number = 1 + at / partitions;
            (all[(at % partitions) as usize].clone(), batch(VALUE_BYTES, number as i32))
        };
        let batches: Vec<_> = (0..count).map(nth).collect();
        let dispatched = Vec::with_capacity(batches.len());
        Appending { host, batches, dispatched }
    }

    fn dispatch(mut self) -> Appending {
        for (partition, bytes) in self.batches.drain(..) {
            let dispatched = partition.append(bytes, TIME).expect("a sound batch");
            self.dispatched.push((partition, dispatched));
        }
        self
    }

    /// Each is stored before the next one comes.
    fn commit_alone(mut self) -> Appending {
        let batches = std::mem::take(&mut self.batches);
        self.host.simulation.run(async {
            for (partition, bytes) in batches {
                let dispatched = partition.append(bytes, TIME).expect("a sound batch");
                committed(&partition, &dispatched).await;
            }
        });
        self
    }

    /// All are there at once.
    fn commit_together(self) -> Appending {
        let appending = self.dispatch();
        appending.host.simulation.run(async {
            for (partition, dispatched) in &appending.dispatched {
                committed(partition, dispatched).await;
            }
        });
        appending
    }
}

#[library_benchmark]
#[bench::one_partition(
    args = (Appending::of(DISPATCHED, 1)),
    config = limit(budgets::APPEND_DISPATCHED, DISPATCHED)
)]
#[bench::many_partitions(
    args = (Appending::of(DISPATCHED, PARTITIONS)),
    config = limit(budgets::APPEND_DISPATCHED_MANY, DISPATCHED)
)]
fn dispatch(appending: Appending) -> Appending {
    black_box(appending.dispatch())
}

#[library_benchmark]
#[bench::one_partition(
    args = (Appending::of(COMMITTED, 1)),
    config = limit(budgets::APPEND_COMMITTED_ALONE, COMMITTED)
)]
fn commit_alone(appending: Appending) -> Appending {
    black_box(appending.commit_alone())
}

#[library_benchmark]
#[bench::one_partition(
    args = (Appending::of(COMMITTED, 1)),
    config = limit(budgets::APPEND_COMMITTED_TOGETHER, COMMITTED)
)]
#[bench::many_partitions(
    args = (Appending::of(COMMITTED, PARTITIONS)),
    config = limit(budgets::APPEND_COMMITTED_MANY, COMMITTED)
)]
fn commit_together(appending: Appending) -> Appending {
    black_box(appending.commit_together())
}

library_benchmark_group!(name = appends, benchmarks = [dispatch, commit_alone, commit_together]);
