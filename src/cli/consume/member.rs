//! `corelog consume --group`: the same lines, read as a member of a consumer group.

use super::{Consume, records_of};
use crate::cli::output::{self, Failure, Stdout, buffered_stdout};
use crate::cli::place::Place;
use crate::client::{Client, GroupConsumer, OffsetQuery, TopicPartition};
use crate::runtime::{self, Instant};
use crate::types::Offset;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What was printed is committed this often.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether somebody wants this to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Without --follow: a member ends that was told so often that there is nothing for it, some 15 seconds long.
const NOTHING_ANSWERS_MAX: u32 = 15;

struct Run<'a> {
    consume: &'a Consume,
    client: &'a Client,
    out: Stdout,
    /// Records that may still be printed.
    left: u64,
    /// Where each assigned partition ended when it came.
    ends: BTreeMap<TopicPartition, Offset>,
    committed_at: Instant,
}

impl Consume {
    pub(super) async fn consume_as_member(
        &self,
        client: &Client,
        group: &str,
    ) -> Result<(), Failure> {
        let start = match self.from {
            Place::Beginning => OffsetQuery::Earliest,
            Place::End => OffsetQuery::Latest,
            Place::Time(time) => OffsetQuery::At(time),
            Place::Offset(_) => {
                let sentence =
                    "--from @OFFSET does not go with --group: see corelog group reset-offsets";
                return Err(Failure::usage(sentence));
            }
        };
        let topic = self.topic.as_str().into();
        client.topic(&topic).await?;
        let stopped = stop_flag()?;
        let mut consumer = GroupConsumer::new(client.clone(), group, vec![topic], start);
        let mut run = Run {
            consume: self,
            client,
            out: buffered_stdout(),
            left: self.count.unwrap_or(u64::MAX),
            ends: BTreeMap::new(),
            committed_at: runtime::now(),
        };
        let printed = run.print_all(&mut consumer, &stopped).await;
        // Whatever ended it, what was printed is not printed again.
        let left = consumer.leave().await;
        printed?;
        Ok(left?)
    }
}

impl Run<'_> {
    async fn print_all(
        &mut self,
        consumer: &mut GroupConsumer,
        stopped: &AtomicBool,
    ) -> Result<(), Failure> {
        while self.left > 0 && !stopped.load(Ordering::Relaxed) {
            let fetched = consumer.next(runtime::now() + LOOK_EVERY).await?;
            if let Some(fetched) = fetched {
                let mut next = fetched.from;
                for record in records_of(&fetched)? {
                    if self.left == 0 {
                        break;
                    }
                    self.consume.write_record(&mut self.out, &fetched.partition, &record)?;
                    next = Offset(record.offset.0 + 1);
                    self.left -= 1;
                }
                self.out.flush()?;
                if self.left == 0 {
                    consumer.handled_to(fetched.partition, next);
                }
            }
            let now = runtime::now();
            if now.since(self.committed_at) >= COMMIT_EVERY {
                consumer.commit().await?;
                self.committed_at = now;
            }
            if !self.consume.follow && self.is_done(consumer).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether all that is assigned has been read to where it ended when it came.
    async fn is_done(&mut self, consumer: &GroupConsumer) -> Result<bool, Failure> {
        let positions = consumer.positions();
        if positions.is_empty() {
            let is_hopeless = consumer.nothing_answers() >= NOTHING_ANSWERS_MAX;
            if is_hopeless {
                output::note("the group gives this member nothing to read");
            }
            return Ok(is_hopeless);
        }
        self.ends.retain(|at, _| positions.contains_key(at));
        let fresh: Vec<TopicPartition> =
            positions.keys().filter(|at| !self.ends.contains_key(at)).cloned().collect();
        if !fresh.is_empty() {
            let ends = self.client.list_offsets(&fresh, OffsetQuery::Latest).await?;
            let end = |at: TopicPartition| {
                let end = ends.get(&at).copied().flatten().unwrap_or_default();
                (at, end)
            };
            self.ends.extend(fresh.into_iter().map(end));
        }
        Ok(positions.iter().all(|(at, position)| *position >= self.ends[at]))
    }
}

/// Set by SIGINT or SIGTERM; a second one ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()));
        registered.map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
    }
    Ok(flag)
}
