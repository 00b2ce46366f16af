//! The producer's one task: looks which batches are due, sends them to their leaders, and settles the answers.

use super::delivery::Acknowledged;
use super::queue::{Identity, Outgoing};
use super::{Acks, Shared, State, earlier};
use crate::client::error::ClientError;
use crate::client::{Client, TopicPartition};
use crate::runtime::{self, Instant};
use crate::types::{Offset, Timestamp, TopicId};
use crate::wire::api::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use crate::wire::api::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use crate::wire::{Records, Str};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// The last Produce version that names topics rather than their ids (KIP-516).
const NAMED_VERSION_MAX: i16 = 12;

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
        let result = self.exchange(broker, &sent).await;
        let answers = sent
            .into_iter()
            .map(|sent| Answer {
                place: sent.place,
                batch: sent.batch.id,
                result: result.as_ref().map_err(ClientError::clone).and_then(|response| {
                    match response {
                        None => Ok(Acknowledged::default()),
                        Some((response, ids)) => find_answer(response, ids, &sent.partition),
                    }
                }),
            })
            .collect();
        Finished::Produced { broker, answers }
    }

    /// Sends one request; None is the absent answer of acks=0. Beside the answer, the ids of its topics.
    async fn exchange(
        &self,
        broker: i32,
        sent: &[Sent],
    ) -> Result<Option<(ProduceResponse, HashMap<TopicId, Str>)>, ClientError> {
        let connection = self.client.broker(broker).await?;
        let limit = self.client.options().request_limit;
        let mut topics: BTreeMap<Str, TopicProduceData> = BTreeMap::new();
        let mut ids = HashMap::new();
        for Sent { partition, batch, .. } in sent {
            let name = &partition.topic;
            let topic = topics.entry(name.clone()).or_insert_with(|| {
                let topic_id = self.client.topic_id(name);
                ids.insert(topic_id, name.clone());
                TopicProduceData { name: name.clone(), topic_id, partition_data: Vec::new() }
            });
            topic.partition_data.push(PartitionProduceData {
                index: partition.partition,
                records: Some(Records::External(batch.bytes.len())),
            });
        }
        let mut records: Vec<(&TopicPartition, Bytes)> =
            sent.iter().map(|sent| (&sent.partition, sent.batch.bytes.clone())).collect();
        // In the order of the topics above; the sort is stable, so partitions keep theirs.
        records.sort_by(|(a, _), (b, _)| a.topic.cmp(&b.topic));
        let records = records.into_iter().map(|(_, bytes)| bytes).collect();
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.options.acks.to_wire(),
            timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics.into_values().collect(),
        };
        let version_max =
            if ids.contains_key(&TopicId::ZERO) { NAMED_VERSION_MAX } else { i16::MAX };
        let version = connection.version::<ProduceRequest>(version_max)?;
        if self.options.acks == Acks::None {
            connection.send_unanswered(&request, version, records).await?;
            return Ok(None);
        }
        let response = connection.call_version(&request, version, records, limit).await?;
        Ok(Some((response, ids)))
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
                    if result.as_ref().is_err_and(ClientError::is_retriable) {
                        self.client
                            .forget_leader(&entry.partition.topic, entry.partition.partition);
                    }
                    let settled = entry.queue.settle(batch, result, now);
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
    let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
    let limit = client.options().request_limit;
    let what = "asking for a producer id";
    let ask = async || {
        let response = client.any().await?.call(&request, limit).await?;
        ClientError::check(response.error_code, None, || what.to_string())?;
        Ok((response.producer_id, response.producer_epoch))
    };
    let answer = client.retry(what, ask).await;
    Finished::Identity(answer)
}

/// Asks who leads these topics, after a pause: nobody asks twice in one.
async fn refresh(client: Client, topics: Vec<Str>) -> Finished {
    let pause = client.options().retry_pause.min(Duration::from_secs(1));
    runtime::sleep(pause).await;
    let result = client.refresh(&topics).await.map(drop);
    Finished::Refreshed { topics, result }
}

fn find_answer(
    response: &ProduceResponse,
    ids: &HashMap<TopicId, Str>,
    partition: &TopicPartition,
) -> Result<Acknowledged, ClientError> {
    let name = |topic_id: &TopicId, name: &Str| match name.is_empty() {
        true => ids.get(topic_id).cloned().unwrap_or_default(),
        false => name.clone(),
    };
    let topic = response
        .responses
        .iter()
        .find(|topic| name(&topic.topic_id, &topic.name) == partition.topic);
    let found = topic.and_then(|topic| {
        topic.partition_responses.iter().find(|found| found.index == partition.partition)
    });
    let what = || format!("producing to {partition}");
    let found: &PartitionProduceResponse =
        found.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
    ClientError::check(found.error_code, found.error_message.as_deref(), what)?;
    let append_time = found.log_append_time_ms;
    Ok(Acknowledged {
        base_offset: (found.base_offset >= 0).then_some(Offset(found.base_offset)),
        append_time: (append_time >= 0).then_some(Timestamp(append_time)),
    })
}
