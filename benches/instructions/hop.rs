//! To another core and back: a question that is answered at once, so that the way is all that is counted.

use crate::budgets::{self, limit};
use crate::host::Host;
use corelog::shard::request::{ShardReply, ShardRequest};
use corelog::types::ShardId;
use gungraun::prelude::*;
use std::hint::black_box;

const QUESTIONS: u64 = 1000;
const TOGETHER: u64 = 100;

/// Two shards, and so many questions that are on their way at once.
struct Asking {
    host: Host,
    together: u64,
}

impl Asking {
    fn of(together: u64) -> Asking {
        let asking = Asking { host: Host::start(2, 1), together };
        // Lists get their sizes.
        asking.ask(2 * together);
        asking
    }

    fn ask(&self, questions: u64) {
        let Asking { host, together } = self;
        let mailbox = &host.shards[0].mailbox;
        host.simulation.run(async {
            for _ in 0..questions / together {
                let ask = |_| mailbox.call(ShardId(1), ShardRequest::Standing);
                let calls: Vec<_> = (0..*together).map(ask).collect();
                for call in calls {
                    assert!(matches!(call.await, ShardReply::Standing { .. }));
                }
            }
        });
    }

    fn ask_all(self) -> Asking {
        self.ask(QUESTIONS);
        self
    }
}

#[library_benchmark]
#[bench::alone(args = (Asking::of(1)), config = limit(budgets::HOP_ALONE, QUESTIONS))]
#[bench::together(args = (Asking::of(TOGETHER)), config = limit(budgets::HOP_TOGETHER, QUESTIONS))]
fn ask(asking: Asking) -> Asking {
    black_box(asking.ask_all())
}

library_benchmark_group!(name = hops, benchmarks = [ask]);
