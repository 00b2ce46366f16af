//! Reads assigned partitions from their leaders, one fetch per broker in flight. No group, no commits.
//!
//! Whole batches are handed over as they lie in the log, checksums checked; records before the position
//! asked for may be in the first of them.

use super::error::ClientError;
use super::{Broker, Client, OffsetQuery, TopicPartition};
use crate::runtime::{self, Instant};
use crate::types::{Offset, TopicId};
use crate::wire::api::fetch::{FetchPartition, FetchTopic, LeaderIdAndEpoch, PartitionData};
use crate::wire::api::{FetchRequest, FetchResponse};
use crate::wire::batch::BatchHeader;
use crate::wire::records::batches;
use crate::wire::{ErrorCode, Records, Str};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct FetcherOptions {
    /// How long a broker may wait for `bytes_min`.
    pub wait: Duration,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    /// Only what committed transactions wrote.
    pub committed_only: bool,
    pub out_of_range: OutOfRange,
}

/// What to do when a position is not in the log any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Tell the caller.
    Fail,
    /// Go on with the first record that is still there.
    Earliest,
}

impl Default for FetcherOptions {
    fn default() -> FetcherOptions {
        FetcherOptions {
            wait: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            committed_only: false,
            out_of_range: OutOfRange::Fail,
        }
    }
}

/// What one fetch brought of one partition: at least one batch.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub partition: TopicPartition,
    /// Records before it were not asked for.
    pub from: Offset,
    pub batches: Vec<(BatchHeader, Bytes)>,
    pub high_watermark: Offset,
}

struct Assigned {
    partition: TopicPartition,
    position: Offset,
    is_in_flight: bool,
    not_before: Instant,
}

struct Answer {
    broker: i32,
    /// With the positions asked for.
    asked: Vec<(TopicPartition, Offset)>,
    ids: HashMap<TopicId, Str>,
    result: Result<FetchResponse, ClientError>,
}

/// The last Fetch version that names topics rather than their ids (KIP-516).
const NAMED_VERSION_MAX: i16 = 12;

pub struct Fetcher {
    client: Client,
    options: FetcherOptions,
    /// In the order in which they are asked for; an answered one goes to the end.
    assigned: VecDeque<Assigned>,
    busy: HashSet<i32>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Answer>>>>,
    ready: VecDeque<Fetched>,
}

impl Fetcher {
    pub fn new(client: Client, options: FetcherOptions) -> Fetcher {
        Fetcher {
            client,
            options,
            assigned: VecDeque::new(),
            busy: HashSet::new(),
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
        }
    }

    /// Reads this partition from this offset on.
    pub fn assign(&mut self, partition: TopicPartition, position: Offset) {
        self.unassign(&partition);
        let not_before = Instant::default();
        self.assigned.push_back(Assigned { partition, position, is_in_flight: false, not_before });
    }

    /// Reads it no more; what is on its way is dropped.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.assigned.retain(|assigned| assigned.partition != *partition);
        self.ready.retain(|fetched| fetched.partition != *partition);
    }

    /// Whether any partition is being read.
    pub fn is_idle(&self) -> bool {
        self.assigned.is_empty()
    }

    /// The next records of any assigned partition; waits for them as long as it takes.
    ///
    /// # Errors
    /// What no retry mends. A partition whose leader moves, or a broker that goes away, is retried.
    pub async fn next(&mut self) -> Result<Fetched, ClientError> {
        loop {
            if let Some(fetched) = self.next_by(Instant(u64::MAX)).await? {
                return Ok(fetched);
            }
        }
    }

    /// The same, or None when nothing has come until then. Fetches on their way go on.
    ///
    /// # Errors
    /// As `next`.
    pub async fn next_by(&mut self, deadline: Instant) -> Result<Option<Fetched>, ClientError> {
        loop {
            if let Some(fetched) = self.ready.pop_front() {
                return Ok(Some(fetched));
            }
            let left = deadline.since(runtime::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.start().await?;
            let pause = self.client.options().retry_pause;
            if self.running.is_empty() {
                runtime::sleep(pause.min(left)).await;
            } else if let Some(Some(answer)) = runtime::timeout(left, self.running.next()).await {
                self.take(answer).await?;
            }
        }
    }

    /// Sends a fetch to every leader that has none in flight.
    async fn start(&mut self) -> Result<(), ClientError> {
        let now = runtime::now();
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, Offset)>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for assigned in &mut self.assigned {
            if assigned.is_in_flight || assigned.not_before > now {
                continue;
            }
            let TopicPartition { topic, partition } = &assigned.partition;
            match self.client.leader(topic, *partition) {
                Some(leader) if self.busy.contains(&leader) => {}
                Some(leader) => {
                    assigned.is_in_flight = true;
                    let asked = (assigned.partition.clone(), assigned.position);
                    by_leader.entry(leader).or_default().push(asked);
                }
                None => {
                    assigned.not_before = now + self.client.options().retry_pause;
                    unknown.push(topic.clone());
                }
            }
        }
        for (leader, asked) in by_leader {
            self.busy.insert(leader);
            let ids: HashMap<TopicId, Str> = asked
                .iter()
                .map(|(partition, _)| &partition.topic)
                .map(|topic| (self.client.topic_id(topic), topic.clone()))
                .collect();
            let fetch = fetch(self.client.clone(), self.options, leader, asked, ids);
            self.running.push(Box::pin(fetch));
        }
        if !unknown.is_empty() {
            unknown.sort();
            unknown.dedup();
            let codes = self.client.refresh(&unknown).await?;
            for (topic, code) in codes.into_iter().filter(|(_, code)| !code.is_retriable()) {
                ClientError::check(code, None, || format!("topic {topic}"))?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, answer: Answer) -> Result<(), ClientError> {
        let Answer { broker, asked, ids, result } = answer;
        self.busy.remove(&broker);
        let response = result.and_then(|response| {
            let what = || format!("fetching from broker {broker}");
            ClientError::check(response.error_code, None, what).map(|()| response)
        });
        let response = match response {
            Ok(response) => response,
            Err(error) if error.is_retriable() => {
                for (partition, _) in &asked {
                    self.delay(partition, broker);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let named = response
            .node_endpoints
            .iter()
            .map(|node| Broker::listed(node.node_id, &node.host, node.port, node.rack.as_deref()));
        let named: Vec<Broker> = named.collect();
        let mut answers = HashMap::new();
        for topic in response.responses {
            let name = match topic.topic.is_empty() {
                true => ids.get(&topic.topic_id).cloned().unwrap_or_default(),
                false => topic.topic.detached(),
            };
            for data in topic.partitions {
                let partition = data.partition_index;
                answers.insert(TopicPartition { topic: name.clone(), partition }, data);
            }
        }
        for (partition, position) in asked {
            match answers.remove(&partition) {
                Some(data) => {
                    self.take_partition(broker, partition, position, data, &named).await?;
                }
                None => return Err(Client::not_answered(&partition)),
            }
        }
        Ok(())
    }

    async fn take_partition(
        &mut self,
        broker: i32,
        partition: TopicPartition,
        position: Offset,
        data: PartitionData,
        named: &[Broker],
    ) -> Result<(), ClientError> {
        let found = self
            .assigned
            .iter()
            .position(|assigned| assigned.partition == partition && assigned.position == position);
        // It may have been given up or assigned anew since.
        let Some(place) = found else { return Ok(()) };
        let mut assigned = self.assigned.remove(place).expect("the place was just found");
        assigned.is_in_flight = false;
        let what = || format!("fetching {partition} from offset {position}");
        match ClientError::check(data.error_code, None, what) {
            Ok(()) => {}
            Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                if self.options.out_of_range == OutOfRange::Fail {
                    return Err(error);
                }
                let only = std::slice::from_ref(&partition);
                let found = self.client.list_offsets(only, OffsetQuery::Earliest).await?;
                assigned.position = found.get(&partition).copied().flatten().unwrap_or_default();
            }
            Err(error) if error.is_retriable() => {
                let LeaderIdAndEpoch { leader_id, leader_epoch } = data.current_leader;
                self.client.follow(&partition, (leader_id, leader_epoch), named);
                let TopicPartition { topic, partition } = &partition;
                self.client.forget_leader(topic, *partition, broker);
                if self.client.leader(topic, *partition).is_none() {
                    assigned.not_before = runtime::now() + self.client.options().retry_pause;
                }
            }
            Err(error) => return Err(error),
        }
        let Some(Records::Inline(bytes)) = data.records else {
            self.assigned.push_back(assigned);
            return Ok(());
        };
        let batches: Result<Vec<_>, _> = batches(bytes).collect();
        let batches = batches.map_err(|error| {
            ClientError::Invalid(format!("{partition} at offset {position}: {error}"))
        })?;
        if let Some((last, _)) = batches.last() {
            assigned.position = last.next_offset().max(position);
            let high_watermark = Offset(data.high_watermark);
            self.ready.push_back(Fetched { partition, from: position, batches, high_watermark });
        }
        self.assigned.push_back(assigned);
        Ok(())
    }

    /// Asks again after a pause, and after a look at who leads it now.
    fn delay(&mut self, partition: &TopicPartition, broker: i32) {
        self.client.forget_leader(&partition.topic, partition.partition, broker);
        let not_before = runtime::now() + self.client.options().retry_pause;
        for assigned in self.assigned.iter_mut().filter(|found| found.partition == *partition) {
            assigned.is_in_flight = false;
            assigned.not_before = not_before;
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("partitions", &self.assigned.len()).finish_non_exhaustive()
    }
}

async fn fetch(
    client: Client,
    options: FetcherOptions,
    broker: i32,
    asked: Vec<(TopicPartition, Offset)>,
    ids: HashMap<TopicId, Str>,
) -> Answer {
    let result = exchange(&client, options, broker, &asked, &ids).await;
    Answer { broker, asked, ids, result }
}

/// A full fetch without a session (KIP-227): few partitions, or long ones.
async fn exchange(
    client: &Client,
    options: FetcherOptions,
    broker: i32,
    asked: &[(TopicPartition, Offset)],
    ids: &HashMap<TopicId, Str>,
) -> Result<FetchResponse, ClientError> {
    let connection = client.broker(broker).await?;
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (TopicPartition { topic, partition }, position) in asked {
        let partition = FetchPartition {
            partition: *partition,
            fetch_offset: position.0,
            partition_max_bytes: options.partition_bytes_max,
            ..Default::default()
        };
        // Runs of one topic share an entry; the order says who comes first when the answer fills up.
        match topics.last_mut().filter(|last| last.topic == *topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: topic.clone(),
                topic_id: client.topic_id(topic),
                partitions: vec![partition],
            }),
        }
    }
    let request = FetchRequest {
        max_wait_ms: i32::try_from(options.wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: options.bytes_min,
        max_bytes: options.bytes_max,
        isolation_level: i8::from(options.committed_only),
        topics,
        ..Default::default()
    };
    let version_max = if ids.contains_key(&TopicId::ZERO) { NAMED_VERSION_MAX } else { i16::MAX };
    let version = connection.version::<FetchRequest>(version_max)?;
    let limit = client.options().request_limit + options.wait;
    connection.call_version(&request, version, Vec::new(), limit).await
}
