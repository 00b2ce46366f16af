use super::*;
use crate::runtime::sim::{NetworkOptions, Simulation, for_each_seed, network};
use crate::runtime::{self, ListenOptions, Listener, Stream};
use crate::types::TopicId;
use crate::wire::api::api_versions::ApiVersion;
use crate::wire::api::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::api::produce::{PartitionProduceResponse, TopicProduceResponse};
use crate::wire::api::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::wire::batch::{BatchHeader, parse_produced};
use crate::wire::records::records;
use crate::wire::{
    ApiKey, Decoder, Encoder, ErrorCode, Records, RequestHeader, Str, encode_response,
};
use bytes::{Buf, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

const PARTITIONS: i32 = 3;
const TOPIC: &str = "topic";
const TOPIC_ID: TopicId = TopicId([7; 16]);

/// A broker of one topic that keeps to the rules of KIP-98, and now and then refuses or hangs up.
#[derive(Default)]
struct Broker {
    logs: RefCell<HashMap<i32, Vec<Bytes>>>,
    /// By partition and producer id, the sequence that comes next.
    sequences: RefCell<HashMap<(i32, i64), i32>>,
    /// By partition, producer id and base sequence, where a batch was put.
    placed: RefCell<HashMap<(i32, i64, i32), i64>>,
    next_producer_id: Cell<i64>,
    /// In a thousand.
    refusals: Cell<u64>,
    is_silent: Cell<bool>,
    /// Newest versions of Metadata and Produce: with topic ids, or before them.
    has_ids: Cell<bool>,
}

impl Broker {
    fn start(self: &Rc<Self>) -> Client {
        let options = ListenOptions { shared: false, backlog: 16 };
        let listener = Listener::bind("127.0.0.1:9092".parse().unwrap(), options).unwrap();
        let broker = self.clone();
        drop(runtime::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let broker = broker.clone();
                drop(runtime::spawn(async move {
                    let _ = broker.serve(stream).await;
                }));
            }
        }));
        Client::new(ClientOptions { request_limit: Duration::from_secs(5), ..Default::default() })
    }

    async fn serve(&self, stream: Stream) -> io::Result<()> {
        let mut incoming = BytesMut::new();
        loop {
            while let Some(frame) = take_frame(&mut incoming) {
                if self.is_silent.get() {
                    continue;
                }
                if let Some(answer) = self.answer(frame) {
                    write_all(&stream, answer.out.freeze()).await?;
                }
            }
            if poll_fn(|context| stream.poll_read(context, &mut incoming, 4096)).await? == 0 {
                return Ok(());
            }
        }
    }

    fn answer(&self, frame: Bytes) -> Option<Encoder> {
        let mut d = Decoder::new(frame);
        let header = RequestHeader::decode(&mut d).unwrap();
        let (version, id) = (header.api_version, header.correlation_id);
        Some(match header.api_key {
            ApiKey::ApiVersions => {
                encode_response::<ApiVersionsRequest>(&self.versions(), version, id)
            }
            ApiKey::Metadata => encode_response::<MetadataRequest>(&metadata(), version, id),
            ApiKey::InitProducerId => {
                let producer_id = self.next_producer_id.get();
                self.next_producer_id.set(producer_id + 1);
                let response = InitProducerIdResponse { producer_id, ..Default::default() };
                encode_response::<InitProducerIdRequest>(&response, version, id)
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut d, version).unwrap();
                d.finish().unwrap();
                encode_response::<ProduceRequest>(&self.produce(&request), version, id)
            }
            other => panic!("{other} was not advertised"),
        })
    }

    fn versions(&self) -> ApiVersionsResponse {
        let newest = |key: ApiKey, max: i16| {
            if self.has_ids.get() { 13 } else { max }.min(match key {
                ApiKey::ApiVersions => 4,
                ApiKey::InitProducerId => 5,
                _ => 13,
            })
        };
        let keys = [
            (ApiKey::Produce, 3, 12),
            (ApiKey::Metadata, 0, 9),
            (ApiKey::ApiVersions, 0, 4),
            (ApiKey::InitProducerId, 0, 5),
        ];
        let api_keys = keys.map(|(key, min_version, max)| ApiVersion {
            api_key: key.to_i16(),
            min_version,
            max_version: newest(key, max),
        });
        ApiVersionsResponse { api_keys: api_keys.to_vec(), ..Default::default() }
    }

    fn produce(&self, request: &ProduceRequest) -> ProduceResponse {
        let responses = request.topic_data.iter().map(|topic| TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: topic
                .partition_data
                .iter()
                .map(|data| {
                    let Some(Records::Inline(batch)) = &data.records else { panic!("no records") };
                    let result = self.append(data.index, batch);
                    PartitionProduceResponse {
                        index: data.index,
                        error_code: result.err().unwrap_or_default(),
                        base_offset: result.unwrap_or(-1),
                        ..Default::default()
                    }
                })
                .collect(),
        });
        ProduceResponse { responses: responses.collect(), ..Default::default() }
    }

    fn append(&self, partition: i32, batch: &Bytes) -> Result<i64, ErrorCode> {
        let header: BatchHeader = parse_produced(batch).expect("the producer builds whole batches");
        if runtime::random_u64() % 1000 < self.refusals.get() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let (id, sequence) = (header.producer_id, header.base_sequence);
        let mut sequences = self.sequences.borrow_mut();
        let next = sequences.entry((partition, id)).or_default();
        if let Some(offset) = self.placed.borrow().get(&(partition, id, sequence)) {
            return Ok(*offset);
        }
        if *next != sequence {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        *next += header.record_count;
        let mut logs = self.logs.borrow_mut();
        let log = logs.entry(partition).or_default();
        let offset = log.len() as i64;
        self.placed.borrow_mut().insert((partition, id, sequence), offset);
        log.extend(records(&header, batch).unwrap().map(|record| record.unwrap().value.unwrap()));
        Ok(offset)
    }
}

fn metadata() -> MetadataResponse {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: Str::from("127.0.0.1"),
            port: 9092,
            rack: None,
        }],
        controller_id: 1,
        topics: vec![MetadataResponseTopic {
            name: Some(Str::from(TOPIC)),
            topic_id: TOPIC_ID,
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn take_frame(incoming: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(*incoming.first_chunk::<4>()?) as usize;
    if incoming.len() < 4 + length {
        return None;
    }
    incoming.advance(4);
    Some(incoming.split_to(length).freeze())
}

async fn write_all(stream: &Stream, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let slices = [IoSlice::new(&bytes)];
        let written = poll_fn(|context| stream.poll_write_vectored(context, &slices)).await?;
        bytes.advance(written);
    }
    Ok(())
}

#[test]
fn requests_are_pipelined_and_each_gets_its_own_answer() {
    for_each_seed(20, |seed| {
        Simulation::new(seed).run(async {
            let broker: Rc<Broker> = Rc::default();
            let client = broker.start();
            let connection = client.any().await.unwrap();
            let calls = (0..300).map(|_| {
                let connection = connection.clone();
                runtime::spawn(async move {
                    let request = InitProducerIdRequest::default();
                    connection.call(&request, Duration::from_secs(60)).await.unwrap().producer_id
                })
            });
            let calls: Vec<_> = calls.collect();
            let mut found = Vec::new();
            for call in calls {
                found.push(call.await);
            }
            found.sort_unstable();
            assert_eq!(found, (0..300).collect::<Vec<i64>>());
        });
    });
}

#[test]
fn a_silent_broker_is_a_timeout_and_the_connection_ends_for_all() {
    Simulation::new(1).run(async {
        let broker: Rc<Broker> = Rc::default();
        let client = broker.start();
        let connection = client.any().await.unwrap();
        broker.is_silent.set(true);
        let slow = connection.clone();
        let slow = runtime::spawn(async move {
            slow.call(&InitProducerIdRequest::default(), Duration::from_secs(60)).await
        });
        runtime::yield_now().await;
        let request = InitProducerIdRequest::default();
        let error = connection.call(&request, Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { api: ApiKey::InitProducerId, .. }));
        assert_eq!(slow.await.unwrap_err(), error, "whoever else waits hears the same");
        assert!(connection.is_closed());
    });
}

#[test]
fn what_is_no_answer_ends_the_connection() {
    for (sent, expect) in [
        (&b"\xff\xff\xff\xff"[..], "a response frame of -1 bytes"),
        (b"\x7f\xff\xff\xff", "a response frame of 2147483647 bytes"),
        (b"HTTP/1.1 400 Bad Request", "a response frame of 1213486160 bytes"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x09", "correlation id Some(9) for 0"),
        (b"", "the connection to 127.0.0.1:9092 broke: "),
    ] {
        let error = Simulation::new(1).run(async move {
            let options = ListenOptions { shared: false, backlog: 16 };
            let listener = Listener::bind("127.0.0.1:9092".parse().unwrap(), options).unwrap();
            drop(runtime::spawn(async move {
                let stream = listener.accept().await.unwrap();
                let mut incoming = BytesMut::new();
                poll_fn(|context| stream.poll_read(context, &mut incoming, 4096)).await.unwrap();
                write_all(&stream, Bytes::from_static(sent)).await.unwrap();
                if !sent.is_empty() {
                    runtime::sleep(Duration::from_secs(1)).await;
                }
            }));
            Client::new(ClientOptions::default()).any().await.unwrap_err()
        });
        assert!(error.to_string().contains(expect), "{error}");
    }
}

/// Every record is written once, in its partition's order, whatever the network and the broker do, as long as
/// both come back in time.
#[test]
fn an_idempotent_producer_writes_once_and_in_order_through_cuts_and_refusals() {
    for_each_seed(150, |seed| {
        Simulation::new(seed).run(async move {
            let broker: Rc<Broker> = Rc::default();
            broker.refusals.set([0, 50, 300][seed as usize % 3]);
            broker.has_ids.set(seed % 2 == 0);
            let cut_probability = [0.0, 0.02, 0.1][seed as usize / 3 % 3];
            network().set_options(NetworkOptions { cut_probability, ..Default::default() });
            let client = broker.start();
            let options = ProducerOptions {
                batch_bytes: 300,
                buffer_bytes: 3000,
                delivery_limit: Duration::from_hours(1),
                ..Default::default()
            };
            let producer = Producer::new(client, options).unwrap();
            let mut deliveries = Vec::new();
            for number in 0..400u32 {
                let message = Message {
                    partition: Some((runtime::random_u64() % PARTITIONS as u64) as i32),
                    value: Some(Bytes::from(number.to_string())),
                    ..Default::default()
                };
                let delivery = producer.send(&Str::from(TOPIC), &message).await.unwrap();
                deliveries.push((number, delivery));
                if runtime::random_u64().is_multiple_of(8) {
                    runtime::sleep(Duration::from_millis(runtime::random_u64() % 20)).await;
                }
            }
            producer.flush().await.unwrap();
            let mut count = 0;
            for (number, delivery) in deliveries {
                let delivered = delivery.await.unwrap();
                let logs = broker.logs.borrow();
                let log = &logs[&delivered.partition.partition];
                let offset = delivered.offset.expect("the broker says where").0;
                assert_eq!(log[offset as usize], number.to_string().as_bytes());
                count += 1;
            }
            for log in broker.logs.borrow().values() {
                let numbers: Vec<u32> = log
                    .iter()
                    .map(|value| std::str::from_utf8(value).unwrap().parse().unwrap())
                    .collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
                count -= numbers.len();
            }
            assert_eq!(count, 0, "as many records as were sent");
        });
    });
}

#[test]
fn a_broker_that_stays_away_fails_the_records_in_time() {
    Simulation::new(3).run(async {
        let broker: Rc<Broker> = Rc::default();
        let client = broker.start();
        let options =
            ProducerOptions { delivery_limit: Duration::from_secs(20), ..Default::default() };
        let producer = Producer::new(client.clone(), options).unwrap();
        let message = Message { value: Some(Bytes::from_static(b"x")), ..Default::default() };
        producer.send(&Str::from(TOPIC), &message).await.unwrap().await.unwrap();
        broker.is_silent.set(true);
        let start = runtime::now();
        let delivery = producer.send(&Str::from(TOPIC), &message).await.unwrap();
        let error = producer.flush().await.unwrap_err();
        assert!(error.to_string().starts_with("delivering 1 records took longer"), "{error}");
        assert_eq!(delivery.await.unwrap_err(), error);
        let took = runtime::now().since(start);
        assert!(took < Duration::from_secs(30), "{took:?}");
        // The broker comes back, and the producer with it, under another id.
        broker.is_silent.set(false);
        producer.send(&Str::from(TOPIC), &message).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(broker.next_producer_id.get(), 2);
    });
}

#[test]
fn a_leader_is_followed_when_it_is_news_and_it_is_known_where_it_is() {
    Simulation::new(1).run(async {
        let broker: Rc<Broker> = Rc::default();
        let client = broker.start();
        let topic = Str::from(TOPIC);
        client.topic(&topic).await.unwrap();
        let partition = TopicPartition { topic, partition: 0 };
        let named = [crate::client::Broker::listed(2, "127.0.0.1", 9093, Some("r"))];
        let follow = |leader, epoch, named: &[crate::client::Broker]| {
            client.follow(&partition, (leader, epoch), named);
            client.leader(TOPIC, 0)
        };
        assert_eq!(follow(2, 0, &[]), Some(1), "nobody says where it is");
        assert_eq!(follow(-1, -1, &named), Some(1), "nobody leads");
        assert_eq!(follow(2, 0, &named), Some(2));
        assert_eq!(client.metadata(|known| known.brokers[&2].clone()), named[0]);
        assert_eq!(follow(1, 0, &[]), Some(2), "that is as old");
        client.forget_leader(TOPIC, 0, 1);
        assert_eq!(client.leader(TOPIC, 0), Some(2), "another leads by now");
        client.forget_leader(TOPIC, 0, 2);
        assert_eq!(client.leader(TOPIC, 0), None);
        assert_eq!(follow(1, 1, &[]), Some(1), "it is known where that is");
        assert_eq!(client.leader(TOPIC, 1), Some(1), "others are as they were");
    });
}
