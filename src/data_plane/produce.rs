//! Produce (KIP-98 batches): dispatched in the order of arrival, answered when all promises are kept.
//!
//! `dispatch` runs when the request is read from its socket and fixes the order; the answer waits in the
//! connection's line as a `ProduceInFlight`. Never decompresses what is stored, never copies a record.

use super::errors::{code_of, log_start_of};
use super::leaders::{Leader, Leaders};
use super::record_faults::{self, RecordFaults, Room};
use super::response::{Response, room_for};
use crate::runtime;
use crate::shard::endpoints::Broker;
use crate::shard::image::{MetadataImage, Topic};
use crate::shard::quota_table::QuotaKind;
use crate::shard::quotas::Meter;
use crate::shard::request::{PartitionError, PartitionKey, Produced};
use crate::shard::{AppendTicket, Shard};
use crate::types::{ShardId, Timestamp, TopicId};
use crate::wire::api::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::wire::{Encoder, ErrorCode, Records, RequestHeader, Str, encode_response_in_room};
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// First version that may carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;
/// First version that names the leader of a partition that is elsewhere (KIP-951).
const LEADERS_VERSION_MIN: i16 = 10;
/// First version that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// By its client id, the one who may write to the broker's own topics, as with Kafka.
const ADMIN_CLIENT: &str = "__admin_client";

/// A partition of the request whose promise is awaited.
struct Waiting {
    /// Of its answer: the topic's place in the response, and the partition's in the topic.
    place: (usize, usize),
    /// The core that was asked.
    owner: ShardId,
    ticket: AppendTicket,
    /// While its log may still refuse it.
    batch: Option<Bytes>,
}

/// A produce request whose order is fixed and whose promises are awaited; with acks=0 too, so that what
/// one connection has in flight is bounded and a refusal is noticed.
pub struct ProduceInFlight {
    shard: Rc<Shard>,
    acks: i16,
    correlation_id: i32,
    version: i16,
    /// The client may write to the broker's own topics.
    is_admin: bool,
    response: ProduceResponse,
    /// In the response's order; who is waited for no more has left.
    waiting: VecDeque<Waiting>,
    /// For records that the answer says what is wrong with.
    room: Room,
    /// That the answer names.
    leaders: Leaders,
    /// Of a client that has quotas.
    meter: Option<Rc<Meter>>,
    /// Of records.
    bytes: usize,
}

/// Starts all appends of a request. `local`: the address that its client reached.
pub fn dispatch(
    shard: &Rc<Shard>,
    header: &RequestHeader,
    request: ProduceRequest,
    meter: Option<Rc<Meter>>,
    local: SocketAddr,
) -> ProduceInFlight {
    let version = header.api_version;
    let acks = request.acks;
    let responses = Vec::with_capacity(request.topic_data.len());
    let mut in_flight = ProduceInFlight {
        shard: shard.clone(),
        acks,
        correlation_id: header.correlation_id,
        version,
        is_admin: header.client_id.as_deref() == Some(ADMIN_CLIENT),
        response: ProduceResponse { responses, ..ProduceResponse::default() },
        waiting: VecDeque::new(),
        room: Room::default(),
        leaders: Leaders::new(local),
        meter,
        bytes: 0,
    };
    let (image, now) = (shard.image(), runtime::wall_clock());
    for data in request.topic_data {
        let by_id = version >= TOPIC_ID_VERSION_MIN;
        let topic = find_topic(&image, by_id, data.topic_id, &data.name);
        let unknown =
            if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        in_flight.add_topic(data, topic.ok_or(unknown), now);
    }
    in_flight
}

fn find_topic<'a>(
    image: &'a MetadataImage,
    by_id: bool,
    id: TopicId,
    name: &str,
) -> Option<&'a Topic> {
    let topic = if by_id { image.topic_by_id(id) } else { image.topic(name) };
    topic.map(|topic| &**topic)
}

impl ProduceInFlight {
    fn add_topic(
        &mut self,
        data: TopicProduceData,
        topic: Result<&Topic, ErrorCode>,
        now: Timestamp,
    ) {
        let TopicProduceData { name, topic_id, partition_data } = data;
        // Of all that the request names, no more than these are there.
        let room = topic.map_or(0, |topic| topic.partitions.len().min(partition_data.len()));
        self.waiting.reserve(room);
        let partition_responses = Vec::with_capacity(room);
        let mut answer = TopicProduceResponse { name, topic_id, partition_responses };
        // Few are looked through, as that needs no memory; many would take quadratic time.
        let mut seen = (partition_data.len() > 32).then(|| HashSet::with_capacity(room));
        for partition in partition_data {
            let index = partition.index;
            let twice = match &mut seen {
                Some(seen) => !seen.insert(index),
                None => answer.partition_responses.iter().any(|other| other.index == index),
            };
            if twice {
                // Kafka keeps the first of two and forgets the other.
                continue;
            }
            let error_code = match self.check(topic, partition) {
                Ok((topic, batch)) => {
                    self.bytes += batch.len();
                    let owner = topic.partition(index).expect("checked").shard;
                    let key = PartitionKey { topic_id: topic.id, index };
                    // Nobody is told of single records with acks=0.
                    let kept = (self.acks != 0).then(|| batch.clone());
                    let ticket = self.shard.append_at(owner, key, batch, now);
                    let batch = kept.filter(|_| !ticket.is_taken());
                    let place = (self.response.responses.len(), answer.partition_responses.len());
                    self.waiting.push_back(Waiting { place, owner, ticket, batch });
                    ErrorCode::None
                }
                Err(code) => code,
            };
            let base_offset = -1;
            let refused =
                PartitionProduceResponse { index, error_code, base_offset, ..Default::default() };
            answer.partition_responses.push(refused);
        }
        if !answer.partition_responses.is_empty() {
            self.response.responses.push(answer);
        }
    }

    /// The rules that need no partition.
    fn check<'a>(
        &self,
        topic: Result<&'a Topic, ErrorCode>,
        partition: PartitionProduceData,
    ) -> Result<(&'a Topic, Bytes), ErrorCode> {
        if !(-1..=1).contains(&self.acks) {
            return Err(ErrorCode::InvalidRequiredAcks);
        }
        let topic = topic?;
        if topic.partition(partition.index).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let Some(Records::Inline(batch)) = partition.records else {
            return Err(ErrorCode::InvalidRecord);
        };
        // The codec's bits are in the low byte of the attributes; a short batch is refused later.
        let is_zstd = batch.get(22).is_some_and(|attributes| attributes & 0b111 == 4);
        if is_zstd && self.version < ZSTD_VERSION_MIN {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        if topic.is_internal() && !self.is_admin {
            return Err(ErrorCode::InvalidTopicException);
        }
        Ok((topic, batch))
    }

    /// Ready with the answer when every partition's promise is kept or broken. With acks=0 the answer is
    /// empty.
    ///
    /// # Errors
    /// With acks=0, what went wrong: closing the connection is the only way to say so, as in Kafka.
    pub fn poll_produced(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Response, ErrorCode>> {
        while let Some(first) = self.waiting.front_mut() {
            let outcome = ready!(first.ticket.poll_produced(context));
            let first = self.waiting.pop_front().expect("it was polled");
            let topic = &mut self.response.responses[first.place.0];
            let answer = &mut topic.partition_responses[first.place.1];
            match outcome {
                Ok(produced) => accept(answer, produced),
                Err(error) => {
                    let image = self.shard.image();
                    let by_id = self.version >= TOPIC_ID_VERSION_MIN;
                    let found = find_topic(&image, by_id, topic.topic_id, &topic.name);
                    let faults = found.zip(first.batch).and_then(|(found, batch)| {
                        let (at, now) = ((found, answer.index), runtime::wall_clock());
                        record_faults::find(&error, at, &batch, now, &mut self.room)
                    });
                    refuse(answer, &error, faults);
                    let is_elsewhere = answer.error_code == ErrorCode::NotLeaderOrFollower;
                    if is_elsewhere
                        && self.version >= LEADERS_VERSION_MIN
                        && let Some(found) = found
                    {
                        let (index, owner) = (answer.index, Some(first.owner));
                        let leader = self.leaders.find(&self.shard, &image, found, index, owner);
                        answer.current_leader = leader.map(told).unwrap_or_default();
                    }
                }
            }
        }
        if let Some(meter) = &self.meter {
            meter.charge(QuotaKind::ProduceBytes, self.bytes as f64);
            self.response.throttle_time_ms = meter.settle();
        }
        if self.acks == 0 {
            let mut codes = self.response.responses.iter().flat_map(|t| &t.partition_responses);
            let refused = codes.find(|answer| !answer.error_code.is_none());
            return Poll::Ready(refused.map_or(Ok(Response::default()), |r| Err(r.error_code)));
        }
        let leaders = self.leaders.brokers(&self.shard).into_iter();
        self.response.node_endpoints = leaders.map(endpoint).collect();
        Poll::Ready(Ok(Response::encoded(self.encode())))
    }

    fn encode(&self) -> Encoder {
        let topics = self.response.responses.iter();
        let sizes = topics.map(|topic| (&topic.name, topic.partition_responses.len()));
        encode_response_in_room::<ProduceRequest>(
            &self.response,
            self.version,
            self.correlation_id,
            room_for(sizes),
        )
    }
}

fn accept(answer: &mut PartitionProduceResponse, produced: Produced) {
    let Produced { dispatched, log_start } = produced;
    answer.base_offset = dispatched.base_offset.0;
    answer.log_append_time_ms = dispatched.append_time.0;
    answer.log_start_offset = log_start.0;
}

fn refuse(
    answer: &mut PartitionProduceResponse,
    error: &PartitionError,
    faults: Option<RecordFaults>,
) {
    answer.log_start_offset = log_start_of(error).0;
    let RecordFaults { error_code, record_errors, error_message } =
        faults.unwrap_or_else(|| RecordFaults {
            error_code: code_of(error),
            record_errors: Vec::new(),
            error_message: error.to_string(),
        });
    answer.error_code = error_code;
    answer.record_errors = record_errors;
    answer.error_message = Some(Str::from(error_message));
}

fn told(leader: Leader) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch { leader_id: leader.id, leader_epoch: leader.epoch }
}

fn endpoint(broker: Broker) -> NodeEndpoint {
    NodeEndpoint {
        node_id: broker.id,
        host: Str::from(broker.host),
        port: i32::from(broker.port),
        rack: broker.rack.map(Str::from),
    }
}
