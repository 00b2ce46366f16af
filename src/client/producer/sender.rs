//! The producer's one task: looks which batches are due, sends them to their leaders, and settles the answers.

use super::queue::{Identity, Outgoing};
use super::{Shared, State, earlier};
use crate::client::error::ClientError;
use crate::client::{Acknowledged, Client, TopicPartition};
use crate::runtime::{self, Instant};
use crate::wire::Str;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Something the sender waits for.
enum Finished {
    Produced { broker: i32, answers: Vec<Answer> },
    Identity(Result<Identity, ClientError>),
    Refreshed { topics: Vec<Str>, result: Result<(), ClientError> },
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Finished>>>>;

/// A batch on its way: where its queue is, and its id there.
struct Sent {
    place: usize,
    partition: TopicPartition,
    batch: Outgoing,
}

struct Answer {
    place: usize,
    batch: u64,
    result: Result<Acknowledged, ClientError>,
}

/// What the sender itself remembers between turns.
#[derive(Default)]
struct Memory {
    requests_in_flight: HashMap<i32, usize>,
    is_asking_identity: bool,
    refreshing: HashSet<Str>,
    not_before: Instant,
}

/// What is to be done now.
#[derive(Default)]
struct Plan {
    requests: BTreeMap<i32, Vec<Sent>>,
    wants_identity: bool,
    unknown: HashSet<Str>,
    wake_at: Option<Instant>,
}

pub(super) async fn run(shared: Rc<Shared>) {
    let mut running = Running::new();
    let mut memory = Memory::default();
    while !shared.is_dropped.get() {
        let seen = shared.work.count();
        let wake_at = shared.start_what_is_due(&mut running, &mut memory);
        let finished = async {
            match running.next().await {
                Some(finished) => Some(finished),
                None => std::future::pending().await,
            }
        };
        let woken = async {
            shared.work.after(seen).await;
            None
        };
        let due = async {
            match wake_at {
                Some(at) => runtime::sleep(at.since(runtime::now())).await,
                None => std::future::pending().await,
            }
            None
        };
        let finished =
            futures_lite::future::or(finished, futures_lite::future::or(woken, due)).await;
        if let Some(finished) = finished {
            shared.settle(finished, &mut memory);
        }
    }
}

impl Shared {
    /// Starts requests until nothing more is due; returns when to look again.
    fn start_what_is_due(
        self: &Rc<Self>,
        running: &mut Running,
        memory: &mut Memory,
    ) -> Option<Instant> {
        loop {
            let plan = self.plan(memory);
            let is_done = plan.requests.is_empty();
            for (broker, sent) in plan.requests {
                *memory.requests_in_flight.entry(broker).or_default() += 1;
                running.push(Box::pin(self.clone().produce(broker, sent)));
            }
            if plan.wants_identity && !memory.is_asking_identity {
                memory.is_asking_identity = true;
                running.push(Box::pin(ask_identity(self.client.clone())));
            }
            let unknown = plan.unknown.difference(&memory.refreshing);
            let topics: Vec<Str> = unknown.cloned().collect();
            if !topics.is_empty() {
                memory.refreshing.extend(topics.iter().cloned());
                running.push(Box::pin(refresh(self.client.clone(), topics)));
            }
            if is_done {
                return plan.wake_at;
            }
        }
    }

    /// Takes at most one batch of each partition that is due and whose leader has room.
    fn plan(&self, memory: &Memory) -> Plan {
        let now = runtime::now();
        let mut plan = Plan::default();
        let mut request_bytes: HashMap<i32, usize> = HashMap::new();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        // A full buffer waits for nothing.
        let is_full = state.buffered_bytes >= self.options.buffer_bytes;
        let is_flushing = self.is_flushing.get() || is_full;
        for place in state.active.clone() {
            let settled = state.partitions[place].queue.expire(now);
            if settled.bytes_freed > 0 {
                self.note(settled, state);
            }
            let entry = &mut state.partitions[place];
            plan.wake_at = earlier(plan.wake_at, entry.queue.expires_at());
            match entry.queue.due(is_flushing) {
                None => continue,
                Some(at) if at > now => {
                    plan.wake_at = earlier(plan.wake_at, Some(at));
                    continue;
                }
                Some(_) => {}
            }
            if entry.queue.wants_identity() {
                match state.identity {
                    Some(identity) => entry.queue.set_identity(identity),
                    None if now < memory.not_before => {
                        plan.wake_at = earlier(plan.wake_at, Some(memory.not_before));
                        continue;
                    }
                    None => {
                        plan.wants_identity = true;
                        continue;
                    }
                }
            }
            let partition = &entry.partition;
            let Some(leader) = self.client.leader(&partition.topic, partition.partition) else {
                plan.unknown.insert(partition.topic.clone());
                continue;
            };
            let bytes = request_bytes.entry(leader).or_default();
            let requests = memory.requests_in_flight.get(&leader).copied().unwrap_or(0);
            // Until there is a connection, two requests could overtake each other.
            let requests_max =
                if self.client.is_connected(leader) { self.options.in_flight_max } else { 1 };
            if requests >= requests_max || *bytes >= self.options.request_bytes_max {
                continue;
            }
            if let Some(batch) = entry.queue.take() {
                *bytes += batch.bytes.len();
                let sent = Sent { place, partition: partition.clone(), batch };
                plan.requests.entry(leader).or_default().push(sent);
            }
        }
        self.forget_idle(state);
        // So that a full request does not always leave out the same partitions.
        let turn = state.active.len().min(1);
        state.active.rotate_left(turn);
        plan
    }

    fn forget_idle(&self, state: &mut State) {
        let partitions = &mut state.partitions;
        let before = state.active.len();
        state.active.retain(|place| {
            let entry = &mut partitions[*place];
            entry.is_active = !entry.queue.is_empty();
            entry.is_active
        });
        if state.active.len() < before {
            self.room.notify();
        }
    }

    async fn produce(self: Rc<Self>, broker: i32, sent: Vec<Sent>) -> Finished {
        let batches: Vec<_> =
            sent.iter().map(|sent| (sent.partition.clone(), sent.batch.bytes.clone())).collect();
        let result = self.client.produce(broker, self.options.acks, &batches).await;
        let mut results = result.map(|answer| answer.results.into_iter());
        let answers = sent
            .into_iter()
            .map(|sent| Answer {
                place: sent.place,
                batch: sent.batch.id,
                result: match &mut results {
                    Ok(results) => results.next().expect("an answer for each batch"),
                    Err(error) => Err(error.clone()),
                },
            })
            .collect();
        Finished::Produced { broker, answers }
    }

    fn settle(&self, finished: Finished, memory: &mut Memory) {
        let now = runtime::now();
        match finished {
            Finished::Produced { broker, answers } => {
                let requests = memory.requests_in_flight.get_mut(&broker);
                *requests.expect("a request was counted when it was sent") -= 1;
                let mut state = self.state.borrow_mut();
                for Answer { place, batch, result } in answers {
                    let entry = &mut state.partitions[place];
                    let TopicPartition { topic, partition } = &entry.partition;
                    let is_retried = result.as_ref().is_err_and(ClientError::is_retriable);
                    if is_retried {
                        self.client.forget_leader(topic, *partition, broker);
                    }
                    let settled = entry.queue.settle(batch, result, now);
                    if is_retried && self.client.leader(topic, *partition).is_some() {
                        entry.queue.end_pause();
                    }
                    self.note(settled, &mut state);
                }
            }
            Finished::Identity(result) => {
                memory.is_asking_identity = false;
                match result {
                    Ok(identity) => self.state.borrow_mut().identity = Some(identity),
                    Err(error) => {
                        memory.not_before = now + self.rules.retry_pause;
                        self.abandon(&error);
                    }
                }
            }
            Finished::Refreshed { topics, result } => {
                for topic in topics {
                    memory.refreshing.remove(&topic);
                }
                // The records expire in their own time; until then the cluster may come back.
                drop(result);
            }
        }
    }
}

impl Shared {
    /// Without an identity nothing can be sent, and the client has tried for long enough.
    fn abandon(&self, error: &ClientError) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for place in state.active.clone() {
            let settled = state.partitions[place].queue.abandon(error);
            self.note(settled, state);
        }
    }
}

async fn ask_identity(client: Client) -> Finished {
    Finished::Identity(client.producer_identity().await)
}

/// Asks who leads these topics, after a pause: nobody asks twice in one.
async fn refresh(client: Client, topics: Vec<Str>) -> Finished {
    let pause = client.options().retry_pause.min(Duration::from_secs(1));
    runtime::sleep(pause).await;
    let result = client.refresh(&topics).await.map(drop);
    Finished::Refreshed { topics, result }
}
