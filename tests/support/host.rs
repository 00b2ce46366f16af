//! A shard, or two, on the simulated runtime with one topic, for what counts instructions or allocations.
//! Each partition has a batch already: files are open, lists have their sizes, and the start is over.

#![allow(dead_code)] // its users need different parts

use bytes::{Bytes, BytesMut};
use corelog::config::Config;
use corelog::control_plane::{ConnectionInfo, ControlPlane};
use corelog::data_plane::{AnswerBudget, Response, SessionCache};
use corelog::log::{Dispatched, LogConfig, LogOptions, Partition, ShardLog, WatchKey};
use corelog::probe::Probe;
use corelog::router::{self, Services};
use corelog::runtime;
use corelog::runtime::sim::{Simulation, SimulationOptions};
use corelog::shard::endpoints::Endpoints;
use corelog::shard::image::{MetadataImage, PartitionPlace, Topic};
use corelog::shard::{Shard, mailbox};
use corelog::types::{Offset, ShardId, Timestamp, TopicId};
use corelog::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use corelog::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use corelog::wire::batch::testing;
use corelog::wire::{Records, Str, decode_response, encode_request};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Of all records, and the clock of those who append them.
pub const TIME: Timestamp = Timestamp(1_700_000_000_000);
/// Of a record's value where a batch is small.
pub const VALUE_BYTES: usize = 100;
pub const FETCH_VERSION: i16 = 12;

const PRODUCE_VERSION: i16 = 9;
const CLIENT: &str = "steady";
const TOPIC: &str = "flights";
const TOPIC_ID: TopicId = TopicId([7; 16]);
const DATA: &str = "/data";
const PRODUCER_ID: i64 = 7;
/// As the broker's by default.
const FETCH_BYTES_MAX: usize = 55 << 20;
const ANSWER_BYTES_MAX: usize = 256 << 20;
const SESSIONS_MAX: usize = 1000;
const SESSION_BYTES_MAX: usize = 1 << 20;

pub struct Host {
    pub simulation: Simulation,
    pub shards: Vec<Rc<Shard>>,
    /// Of the first shard.
    pub services: Services,
}

impl Host {
    /// All partitions of the topic are on the last shard.
    pub fn start(shards: u16, partitions: usize) -> Host {
        // Nothing is held up by chance: that only adds to what the simulation itself takes.
        let options = SimulationOptions { stall_probability: 0.0, ..SimulationOptions::default() };
        let simulation = Simulation::with_options(1, options);
        let (shards, services) = simulation.run(async {
            runtime::create_directory_all(DATA.as_ref()).await.expect("the disk is empty");
            let shards = start_shards(shards).await;
            show_topic(&shards, partitions).await;
            let services = services_of(&shards[0]);
            for partition in shards.last().expect("there is one").partitions() {
                let dispatched = partition.append(batch(VALUE_BYTES, 0), TIME);
                committed(&partition, &dispatched.expect("a sound batch")).await;
            }
            // What a start does in the background ends meanwhile.
            runtime::sleep(Duration::from_secs(1)).await;
            (shards, services)
        });
        Host { simulation, shards, services }
    }

    /// A fetch session with so many partitions, of which the first `busy` always have something new.
    pub fn open_session(&self, partitions: i32, busy: i32) -> i32 {
        let request = body(fetch_request(partitions, busy, (0, 0)));
        let response = self.simulation.run(answer(&self.services, request));
        let bytes: Vec<u8> = response.parts.iter().flat_map(|part| part.iter().copied()).collect();
        let decoded = decode_response::<FetchRequest>(Bytes::from(bytes).slice(4..), FETCH_VERSION);
        let (_, decoded) = decoded.expect("a sound response");
        assert_ne!(decoded.session_id, 0, "there is room for a session");
        decoded.session_id
    }
}

async fn start_shards(count: u16) -> Vec<Rc<Shard>> {
    let ends = mailbox::ends(usize::from(count)).into_iter();
    let connecting = (0..count).zip(ends).map(|(number, end)| async move {
        let options = LogOptions { shard: number, ..LogOptions::new(DATA.into()) };
        let log = ShardLog::new(options, Rc::new(Probe::default()));
        runtime::prepare_directory(DATA.as_ref()).await.expect("the disk works");
        log.load_recovery_points().await.expect("the disk works");
        log.start_writers();
        let shard = Shard::new(ShardId(number), count, log);
        mailbox::connect(&shard, end).await;
        shard
    });
    join_all(connecting).await
}

async fn show_topic(shards: &[Rc<Shard>], partitions: usize) {
    let shard = shards.last().expect("there is one").id;
    let place = PartitionPlace { shard, leader_epoch: 0, log_start: Offset::ZERO };
    let topic = Topic {
        id: TOPIC_ID,
        name: TOPIC.into(),
        partitions: vec![place; partitions],
        overrides: BTreeMap::new(),
        log_config: Arc::new(LogConfig::default()),
    };
    let topics = std::iter::once(Arc::new(topic));
    let image = Arc::new(MetadataImage::new(1, "steady".into(), topics));
    for shard in shards {
        shard.install(image.clone()).await;
        shard.opened_all().await;
    }
}

fn services_of(shard: &Rc<Shard>) -> Services {
    let config = Arc::new(Config::default());
    let endpoints = Arc::new(Endpoints::new(&config, 1, 9092, &[]));
    let sessions = SessionCache::new(SESSIONS_MAX, SESSION_BYTES_MAX, runtime::random_u64);
    Services {
        shard: shard.clone(),
        control: ControlPlane::new(shard.clone(), config, endpoints),
        sessions: Rc::new(sessions),
        answers: AnswerBudget::new(ANSWER_BYTES_MAX),
        fetch_bytes_max: FETCH_BYTES_MAX,
    }
}

/// Waits until a batch is stored as promised.
pub async fn committed(partition: &Partition, dispatched: &Dispatched) {
    let mut key = WatchKey::default();
    let kept = poll_fn(|context| partition.poll_committed(&mut key, dispatched, context)).await;
    kept.expect("the disk works");
}

/// Where requests come from.
pub fn connection() -> ConnectionInfo {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    ConnectionInfo { peer: at(50_000), local: at(9092) }
}

/// Starts a request, and waits until it is answered without an error.
pub async fn answer(services: &Services, request: Bytes) -> Response {
    let routed = router::route(services, request, connection());
    let mut routed = routed.expect("a sound request");
    let response = poll_fn(|context| routed.answer.poll(context)).await;
    let response = response.expect("a sound request");
    assert!(response.errors.iter().next().is_none(), "{:?}", response.errors);
    response
}

/// A batch of one record, the `number`th of an idempotent producer.
pub fn batch(value_bytes: usize, number: i32) -> Bytes {
    let value = vec![7; value_bytes];
    Bytes::from(testing::batch(&[&value[..]], TIME, Some((PRODUCER_ID, 0, number))))
}

/// A frame with its length: a small batch for each of so many partitions.
pub fn produce_request(partitions: i32, number: i32) -> BytesMut {
    let partition_data = (0..partitions).map(|index| PartitionProduceData {
        index,
        records: Some(Records::Inline(batch(VALUE_BYTES, number))),
    });
    let topic = TopicProduceData {
        name: TOPIC.into(),
        partition_data: partition_data.collect(),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    encode_request(&request, PRODUCE_VERSION, number, Some(Str::from_static(CLIENT))).out
}

/// A frame with its length: a fetch that names so many partitions, of which the first `busy` have a batch
/// that its client has not seen, within a session's id and epoch.
pub fn fetch_request(partitions: i32, busy: i32, session: (i32, i32)) -> BytesMut {
    let wanted = (0..partitions).map(|partition| FetchPartition {
        partition,
        fetch_offset: i64::from(partition >= busy),
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic =
        FetchTopic { topic: TOPIC.into(), partitions: wanted.collect(), ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_id: session.0,
        session_epoch: session.1,
        topics: if partitions > 0 { vec![topic] } else { Vec::new() },
        ..Default::default()
    };
    encode_request(&request, FETCH_VERSION, 1, Some(Str::from_static(CLIENT))).out
}

/// A frame without its length, as a request is routed.
pub fn body(frame: BytesMut) -> Bytes {
    frame.freeze().slice(4..)
}
