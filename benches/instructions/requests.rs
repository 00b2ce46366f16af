//! Whole requests, from their bytes to those of their answers; all but the socket.

use crate::budgets::{self, limit};
use crate::host::{Host, answer, body, connection, fetch_request, produce_request};
use bytes::Bytes;
use corelog::data_plane::Response;
use corelog::router::{self, Routed};
use gungraun::prelude::*;
use std::hint::black_box;

const ONE: u64 = 1000;
const MANY: u64 = 10;
const PARTITIONS: i32 = 100;

/// Requests that wait, those that were started only, and the answers of the others.
struct Requests {
    host: Host,
    bodies: Vec<Bytes>,
    started: Vec<Routed>,
    answers: Vec<Response>,
}

impl Requests {
    fn of(host: Host, bodies: Vec<Bytes>) -> Requests {
        let (started, answers) =
            (Vec::with_capacity(bodies.len()), Vec::with_capacity(bodies.len()));
        Requests { host, bodies, started, answers }
    }

    /// Each has a small batch for each of so many partitions.
    fn produce(count: u64, partitions: i32) -> Requests {
        let numbers = 1..=count as i32;
        let bodies = numbers.map(|number| body(produce_request(partitions, number))).collect();
        Requests::of(Host::start(1, partitions as usize), bodies)
    }

    /// Without a session, as librdkafka's.
    fn fetch(count: u64) -> Requests {
        let fetch = |_| body(fetch_request(1, 1, (0, -1)));
        Requests::of(Host::start(1, 1), (0..count).map(fetch).collect())
    }

    /// Within a session of so many partitions, of which only the first ever has something new.
    fn fetch_in_session(count: u64, partitions: i32) -> Requests {
        let host = Host::start(1, partitions as usize);
        let session = host.open_session(partitions, 1);
        let epochs = 1..=count as i32;
        let bodies = epochs.map(|epoch| body(fetch_request(0, 0, (session, epoch)))).collect();
        Requests::of(host, bodies)
    }

    /// Starts them all, and waits for none.
    fn start(mut self) -> Requests {
        let bodies = std::mem::take(&mut self.bodies);
        let (host, started) = (&self.host, &mut self.started);
        host.simulation.run(async {
            for body in bodies {
                let routed = router::route(&host.services, body, connection());
                started.push(routed.expect("a sound request"));
            }
        });
        self
    }

    /// Answers one after the other.
    fn answer(mut self) -> Requests {
        let bodies = std::mem::take(&mut self.bodies);
        let (host, answers) = (&self.host, &mut self.answers);
        host.simulation.run(async {
            for body in bodies {
                answers.push(answer(&host.services, body).await);
            }
        });
        self
    }
}

#[library_benchmark]
#[bench::produce(
    args = (Requests::produce(ONE, 1)),
    config = limit(budgets::PRODUCE_STARTED, ONE)
)]
#[bench::produce_many(
    args = (Requests::produce(MANY, PARTITIONS)),
    config = limit(budgets::PRODUCE_STARTED_MANY, MANY)
)]
fn start(requests: Requests) -> Requests {
    black_box(requests.start())
}

#[library_benchmark]
#[bench::produce(
    args = (Requests::produce(ONE, 1)),
    config = limit(budgets::PRODUCE_ANSWERED, ONE)
)]
#[bench::produce_many(
    args = (Requests::produce(MANY, PARTITIONS)),
    config = limit(budgets::PRODUCE_ANSWERED_MANY, MANY)
)]
#[bench::fetch(
    args = (Requests::fetch(ONE)),
    config = limit(budgets::FETCH_ANSWERED, ONE)
)]
#[bench::fetch_idle(
    args = (Requests::fetch_in_session(ONE, PARTITIONS)),
    config = limit(budgets::FETCH_ANSWERED_IDLE, ONE)
)]
fn answered(requests: Requests) -> Requests {
    black_box(requests.answer())
}

library_benchmark_group!(name = whole, benchmarks = [start, answered]);
