//! For tests: a host that serves connections on the simulated network, and a client.

use super::Server;
use crate::config::Config;
use crate::control_plane::{ControlPlane, Controller};
use crate::data_plane::{AnswerBudget, SessionCache};
use crate::log::{LogOptions, ShardLog};
use crate::probe::Probe;
use crate::router::Services;
use crate::runtime::sim::on_core;
use crate::runtime::{self, ListenOptions, Listener, Stream, create_directory_all};
use crate::shard::endpoints::Endpoints;
use crate::shard::{Shard, mailbox};
use crate::types::{ShardId, Timestamp};
use crate::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use crate::wire::api::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use crate::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::wire::batch::testing::batch;
use crate::wire::{ErrorCode, Records, Request, decode_response, encode_request};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::join_all;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How a host of a test is made.
pub struct HostOptions {
    pub shards: u16,
    pub config: Config,
    pub receive_bytes_max: usize,
    pub answer_bytes_max: usize,
    pub tail_cache_bytes: usize,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions {
            shards: 1,
            config: Config::default(),
            receive_bytes_max: 64 << 20,
            answer_bytes_max: 256 << 20,
            tail_cache_bytes: 64 << 20,
        }
    }
}

pub struct Host {
    /// One for each shard; it listens on the port of `address`.
    pub servers: Vec<Rc<Server>>,
}

/// The port of the host's own: whichever shard accepts.
pub fn common_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9092))
}

pub fn address(shard: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9093 + shard as u16))
}

impl Host {
    pub async fn start(options: HostOptions) -> Host {
        let log = LogOptions {
            tail_cache_bytes: options.tail_cache_bytes,
            ..LogOptions::new("/data".into())
        };
        let host = Host::start_with(options, log).await.unwrap();
        join_all(host.servers.iter().map(|server| server.shard.opened_all())).await;
        host
    }

    /// Starts as the broker does, with these options of each shard's log; does not wait until partitions
    /// are open.
    ///
    /// # Errors
    /// Why the broker would not start.
    pub async fn start_with(options: HostOptions, log: LogOptions) -> Result<Host, String> {
        create_directory_all("/data".as_ref()).await.map_err(|error| error.to_string())?;
        let HostOptions { shards, config, receive_bytes_max, answer_bytes_max, .. } = options;
        let config = Arc::new(config);
        let ends = mailbox::ends(usize::from(shards)).into_iter();
        let connect = async |(number, end)| {
            let log = ShardLog::new(
                LogOptions { shard: number, ..log.clone() },
                Rc::new(Probe::default()),
            );
            let loaded = match runtime::prepare_directory("/data".as_ref()).await {
                Ok(()) => log.load_recovery_points().await,
                failed => failed,
            };
            log.start_writers();
            let shard = Shard::new(ShardId(number), shards, log);
            mailbox::connect(&shard, end).await;
            loaded.map(|()| shard).map_err(|error| error.to_string())
        };
        let connecting =
            (0..shards).zip(ends).map(|(number, end)| on_core(number, connect((number, end))));
        let all: Result<Vec<Rc<Shard>>, String> = join_all(connecting).await.into_iter().collect();
        let all = all?;
        let started = on_core(0, Controller::start(&all[0], &config)).await;
        started.map_err(|error| error.to_string())?;
        let ports: Vec<u16> = (0..shards).map(|number| address(number.into()).port()).collect();
        let ports = if Endpoints::is_per_core(&config, shards) { &ports[..] } else { &[] };
        let endpoints = Arc::new(Endpoints::new(&config, shards, 9092, ports));
        let serve = async |shard: Rc<Shard>| {
            let control = ControlPlane::new(shard.clone(), config.clone(), endpoints.clone());
            let sessions =
                SessionCache::new(config.fetch_sessions_max, 1 << 20, runtime::random_u64);
            let fetch_bytes_max = config.fetch_bytes_max;
            let at = address(shard.id.index());
            let services = Services {
                shard,
                control,
                sessions: Rc::new(sessions),
                answers: AnswerBudget::new(answer_bytes_max),
                fetch_bytes_max,
            };
            let server = Server::new(services, config.clone(), receive_bytes_max);
            for (at, shared) in [(at, false), (common_address(), true)] {
                let listener = Listener::bind(at, ListenOptions { shared, backlog: 512 });
                drop(runtime::spawn(server.clone().accept_from(listener.unwrap())));
            }
            drop(runtime::spawn(server.clone().sweep()));
            server
        };
        let serving = all.into_iter().map(|shard| on_core(shard.id.0, serve(shard)));
        Ok(Host { servers: join_all(serving).await })
    }

    /// Stops as the broker does: what is in flight is answered, files are left complete.
    pub async fn stop(&self, grace: Duration) {
        join_all(self.servers.iter().map(|server| server.stop(grace))).await;
        join_all(self.servers.iter().map(|server| server.shard.stop_partitions())).await;
        join_all(self.servers.iter().map(|server| server.shard.mailbox.flushed())).await;
    }

    /// Connects to a shard.
    pub async fn client(&self, shard: usize) -> Client {
        Client::connect(address(shard)).await.unwrap()
    }

    /// Makes a topic with these settings.
    pub async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let made = self.client(0).await.call(7, &request).await;
        assert_eq!(made.topics[0].error_code, ErrorCode::None, "{made:?}");
    }

    /// The shard that owns a partition.
    pub fn owner(&self, topic: &str, index: i32) -> usize {
        let image = self.servers[0].shard.image();
        image.topic(topic).unwrap().partition(index).unwrap().shard.index()
    }

    /// Produces batches of one record of so many bytes each to a partition.
    pub async fn produce(&self, topic: &str, index: i32, batches: usize, record_bytes: usize) {
        let mut client = self.client(self.owner(topic, index)).await;
        for _ in 0..batches {
            client.produce(topic, index, record_bytes).await.unwrap();
        }
    }
}

/// A client with one connection.
pub struct Client {
    pub stream: Stream,
    received: BytesMut,
}

impl Client {
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: SocketAddr) -> io::Result<Client> {
        Ok(Client { stream: Stream::connect(address).await?, received: BytesMut::new() })
    }

    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let sent = poll_fn(|context| self.stream.poll_write_vectored(context, &slices)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The next answer, without its length; an error when the connection has ended.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(length) = self.received.first_chunk::<4>() {
                let length = i32::from_be_bytes(*length) as usize;
                if self.received.len() >= 4 + length {
                    self.received.advance(4);
                    return Ok(self.received.split_to(length).freeze());
                }
            }
            let Client { stream, received } = self;
            if poll_fn(|context| stream.poll_read(context, received, 1 << 20)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// # Errors
    /// The connection ended.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(&encode_request(request, version, 7, None).out).await?;
        let answer = self.receive().await?;
        Ok(decode_response::<R>(answer, version).expect("a sound response").1)
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.ask(version, request).await.expect("the connection lives")
    }

    /// Produces one record of so many bytes.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn produce(&mut self, topic: &str, index: i32, bytes: usize) -> io::Result<()> {
        let answer = self.ask(9, &produce_request(topic, index, bytes)).await?;
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::None);
        Ok(())
    }
}

/// A produce request with a batch of one record of so many bytes.
pub fn produce_request(topic: &str, index: i32, bytes: usize) -> ProduceRequest {
    let records = batch(&[&vec![7; bytes]], Timestamp(1_700_000_000_000), None);
    let records = Some(Records::Inline(records.into()));
    let partition_data = vec![PartitionProduceData { index, records }];
    let topic = TopicProduceData { name: topic.into(), partition_data, ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

/// A fetch of these partitions of a topic from an offset each, without a session; limits as by default.
pub fn fetch_request(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: i32::MAX,
        ..Default::default()
    });
    let topic =
        FetchTopic { topic: topic.into(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest { topics: vec![topic], ..Default::default() }
}

/// The partitions of an answer, in order.
pub fn partitions_of(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

/// Bytes of records that a partition was answered with.
pub fn record_bytes_of(data: &PartitionData) -> usize {
    match &data.records {
        Some(Records::Inline(bytes)) => bytes.len(),
        _ => 0,
    }
}
