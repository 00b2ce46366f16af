//! Produces records: gathered into batches by partition, sent to the leaders, retried in order.
//!
//! Memory is bounded by `buffer_bytes`: at it, `send` waits. One task per producer sends for all partitions.

mod delivery;
pub mod partitioner;
mod queue;
mod sender;

pub use delivery::{Delivered, Delivery};

use super::error::ClientError;
use super::{Client, TopicPartition};
use crate::limits::BATCH_BYTES_MAX;
use crate::runtime::Event;
use crate::runtime::{self, Instant};
use crate::types::Timestamp;
use crate::wire::Str;
use crate::wire::compression::Codec;
use crate::wire::records::Header;
use bytes::Bytes;
use queue::{Identity, Queue, Rules, Settled};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// How many replicas must have a batch before the leader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Acks {
    /// No answer at all.
    None,
    Leader,
    /// All in sync.
    #[default]
    All,
}

impl Acks {
    pub(super) fn to_wire(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    pub acks: Acks,
    pub codec: Codec,
    /// A batch is sent when it has this many bytes...
    pub batch_bytes: usize,
    /// ...or is this old.
    pub linger: Duration,
    /// Duplicates by retries are told by the broker (KIP-98). Needs `Acks::All`.
    pub idempotent: bool,
    /// Requests on their way to one broker.
    pub in_flight_max: usize,
    /// Bytes of one request, save that a batch always fits.
    pub request_bytes_max: usize,
    /// Records that wait for an answer. At it, `send` waits.
    pub buffer_bytes: usize,
    /// A record that is not written after this long fails.
    pub delivery_limit: Duration,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: Acks::All,
            codec: Codec::None,
            batch_bytes: 64 * 1024,
            linger: Duration::from_millis(5),
            idempotent: true,
            in_flight_max: 5,
            request_bytes_max: 1024 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            delivery_limit: Duration::from_mins(2),
        }
    }
}

/// Batches per partition that an idempotent producer may have in flight: as many as brokers remember.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = crate::limits::PRODUCER_BATCHES_RETAINED;

/// What is produced.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// None: by the key's hash, or wherever the current batch goes when there is no key.
    pub partition: Option<i32>,
    /// None: now.
    pub timestamp: Option<Timestamp>,
    pub key: Option<Bytes>,
    /// None is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

/// Sends records to any topics. Dropping it abandons what was not flushed.
#[derive(Debug)]
pub struct Producer {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    options: ProducerOptions,
    rules: Rules,
    state: RefCell<State>,
    /// The sender has something to look at.
    work: Event,
    /// Records have ended: there is room, or a flush may be done.
    room: Event,
    is_flushing: Cell<bool>,
    is_dropped: Cell<bool>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<TopicPartition, usize>,
    partitions: Vec<PartitionState>,
    /// Places of the partitions whose queues are not empty, in the order in which they are visited.
    active: Vec<usize>,
    /// The partition for records without a key, by topic.
    sticky: HashMap<Str, Sticky>,
    buffered_bytes: usize,
    identity: Option<Identity>,
    first_error: Option<ClientError>,
}

#[derive(Debug)]
struct PartitionState {
    partition: TopicPartition,
    queue: Queue,
    is_active: bool,
}

/// KIP-480, KIP-794: a batch's worth of records goes to one partition, the next to another.
#[derive(Clone, Copy, Debug)]
struct Sticky {
    partition: i32,
    bytes_left: usize,
}

impl Producer {
    /// # Errors
    /// `Invalid` when the options contradict each other.
    pub fn new(client: Client, options: ProducerOptions) -> Result<Producer, ClientError> {
        let invalid = |text: &str| Err(ClientError::Invalid(text.to_string()));
        if options.idempotent && options.acks != Acks::All {
            return invalid("an idempotent producer needs acks=all");
        }
        if options.batch_bytes == 0 || options.batch_bytes > BATCH_BYTES_MAX {
            return invalid("the batch size is out of range");
        }
        if options.in_flight_max == 0 || options.buffer_bytes < options.batch_bytes {
            return invalid("the producer's limits leave no room for a batch");
        }
        let rules = Rules {
            codec: options.codec,
            batch_bytes: options.batch_bytes,
            linger: options.linger,
            // Without sequences only one in flight keeps the order through a retry.
            in_flight_max: match options.idempotent {
                true => options.in_flight_max.min(IDEMPOTENT_IN_FLIGHT_MAX),
                false => 1,
            },
            is_idempotent: options.idempotent,
            delivery_limit: options.delivery_limit,
            retry_pause: client.options().retry_pause,
        };
        let shared = Rc::new(Shared {
            client,
            options,
            rules,
            state: RefCell::default(),
            work: Event::default(),
            room: Event::default(),
            is_flushing: Cell::new(false),
            is_dropped: Cell::new(false),
        });
        drop(runtime::spawn(sender::run(shared.clone())));
        Ok(Producer { shared })
    }

    /// Takes a record; waits while the buffer is full, or the topic is not yet known. Records of one partition
    /// are written in the order of these calls.
    ///
    /// # Errors
    /// When there is no such topic or partition. What happens to the record after is the delivery's to tell.
    pub async fn send(&self, topic: &Str, message: &Message) -> Result<Delivery, ClientError> {
        let shared = &self.shared;
        let record_bytes = message.bytes();
        if record_bytes > BATCH_BYTES_MAX {
            return Err(ClientError::Invalid(format!("a record of {record_bytes} bytes")));
        }
        let partitions = match self.partition_count(topic) {
            Some(count) => count,
            None => shared.client.topic(topic).await?.partitions.len() as i32,
        };
        while shared.state.borrow().buffered_bytes >= shared.options.buffer_bytes {
            let seen = shared.room.count();
            shared.work.notify();
            shared.room.after(seen).await;
        }
        let partition = shared.choose(topic, message, partitions, record_bytes)?;
        Ok(shared.push(TopicPartition { topic: topic.clone(), partition }, message))
    }

    /// From what is known, unless that is old: a topic may have grown.
    fn partition_count(&self, topic: &str) -> Option<i32> {
        let now = runtime::now();
        let age_max = self.shared.client.options().metadata_age_max;
        self.shared.client.metadata(|metadata| {
            let topic = metadata.topics.get(topic)?;
            (now.since(topic.known_since) < age_max).then_some(topic.partitions.len() as i32)
        })
    }

    /// Waits until everything that was sent has been answered.
    ///
    /// # Errors
    /// The first failure since the last flush.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let shared = &self.shared;
        shared.is_flushing.set(true);
        shared.work.notify();
        loop {
            let seen = shared.room.count();
            if shared.state.borrow().active.is_empty() {
                break;
            }
            shared.room.after(seen).await;
        }
        shared.is_flushing.set(false);
        shared.state.borrow_mut().first_error.take().map_or(Ok(()), Err)
    }

    /// The first failure since the last flush, so that a long run can end early.
    pub fn first_error(&self) -> Option<ClientError> {
        self.shared.state.borrow().first_error.clone()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.is_dropped.set(true);
        self.shared.work.notify();
    }
}

impl Message {
    fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl Shared {
    fn choose(
        &self,
        topic: &Str,
        message: &Message,
        partitions: i32,
        record_bytes: usize,
    ) -> Result<i32, ClientError> {
        if partitions == 0 {
            return Err(ClientError::NoLeader { what: format!("topic {topic}") });
        }
        if let Some(partition) = message.partition {
            return if (0..partitions).contains(&partition) {
                Ok(partition)
            } else {
                let what =
                    format!("topic {topic} has {partitions} partitions, none is {partition}");
                Err(ClientError::Invalid(what))
            };
        }
        if let Some(key) = &message.key {
            return Ok(partitioner::partition_of(key, partitions));
        }
        let mut state = self.state.borrow_mut();
        let sticky = state.sticky.get(topic).copied();
        let sticky = sticky.filter(|sticky| sticky.bytes_left > 0 && sticky.partition < partitions);
        let mut sticky = sticky.unwrap_or_else(|| Sticky {
            partition: (runtime::random_u64() % partitions as u64) as i32,
            bytes_left: self.options.batch_bytes,
        });
        sticky.bytes_left = sticky.bytes_left.saturating_sub(record_bytes.max(1));
        state.sticky.insert(topic.clone(), sticky);
        Ok(sticky.partition)
    }

    fn push(&self, partition: TopicPartition, message: &Message) -> Delivery {
        let now = runtime::now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let place = *state.places.entry(partition.clone()).or_insert_with(|| {
            state.partitions.push(PartitionState {
                partition: partition.clone(),
                queue: Queue::new(self.rules),
                is_active: false,
            });
            state.partitions.len() - 1
        });
        let entry = &mut state.partitions[place];
        let before = entry.queue.due(false);
        let (outcome, index, bytes) = entry.queue.push(
            now,
            message.timestamp.unwrap_or_else(runtime::wall_clock),
            message.key.as_deref(),
            message.value.as_deref(),
            &message.headers,
        );
        state.buffered_bytes += bytes;
        if !entry.is_active {
            entry.is_active = true;
            state.active.push(place);
        }
        // The sender sleeps until the earliest batch is due: it needs to hear only of an earlier one.
        if entry.queue.due(false) != before {
            self.work.notify();
        }
        Delivery { partition, outcome, index }
    }

    /// Notes what has ended.
    fn note(&self, settled: Settled, state: &mut State) {
        state.buffered_bytes -= settled.bytes_freed;
        if settled.is_reset {
            state.identity = None;
        }
        if let Some(error) = settled.error {
            state.first_error.get_or_insert(error);
        }
        self.room.notify();
    }
}

/// The earlier of two times, where None is never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
