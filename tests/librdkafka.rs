//! librdkafka, the client under most others, against the broker as a process: both endpoint modes, all
//! codecs, kill -9 in the middle, restarts with another number of cores.

mod support;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Broker, counted};

const PARTITIONS: i32 = 4;
const WAIT: Duration = Duration::from_secs(60);

fn client(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("log_level", "3");
    config
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(future)
}

fn create_topic(broker: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let results = block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
    results.into_iter().for_each(|result| {
        result.unwrap();
    });
}

/// What was acknowledged: value to (partition, offset).
type Ledger = Arc<Mutex<BTreeMap<String, (i32, i64)>>>;

#[derive(Clone, Default)]
struct Acknowledged {
    ledger: Ledger,
    failed: Arc<Mutex<Vec<KafkaError>>>,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                let place = (message.partition(), message.offset());
                let before = self.ledger.lock().unwrap().insert(value, place);
                assert_eq!(before, None, "acknowledged twice");
            }
            Err((error, _)) => self.failed.lock().unwrap().push(error.clone()),
        }
    }
}

/// Sends `values`, spread by key; the ledger grows as they are acknowledged.
fn send(
    producer: &ThreadedProducer<Acknowledged>,
    topic: &str,
    values: impl Iterator<Item = String>,
) {
    for value in values {
        let key = value.split('-').next().unwrap().to_string();
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((KafkaError::MessageProduction(_), back)) = producer.send(record) {
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
}

fn producer(
    broker: &str,
    codec: &str,
    idempotent: bool,
) -> (ThreadedProducer<Acknowledged>, Acknowledged) {
    let context = Acknowledged::default();
    let producer = client(broker)
        .set("compression.codec", codec)
        .set("enable.idempotence", idempotent.to_string())
        .set("linger.ms", "2")
        .set("batch.num.messages", "50")
        .set("message.timeout.ms", "60000")
        .set("reconnect.backoff.max.ms", "200")
        .create_with_context(context.clone())
        .unwrap();
    (producer, context)
}

/// Everything in the topic: value to (partition, offset), in order within each partition.
fn read_all(broker: &str, topic: &str) -> Vec<(String, (i32, i64))> {
    let consumer: BaseConsumer = client(broker)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut got, mut ended) = (Vec::new(), 0);
    let start = Instant::now();
    while ended < PARTITIONS {
        assert!(start.elapsed() < WAIT, "{} records, {ended} ends", got.len());
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                got.push((value, (message.partition(), message.offset())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    got
}

/// What was acknowledged is there, once, where it was said to be, in order for each key.
fn check(broker: &str, topic: &str, context: &Acknowledged, keys: usize) {
    let failed = context.failed.lock().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let ledger = context.ledger.lock().unwrap();
    let read = read_all(broker, topic);
    let found: BTreeMap<_, _> = read.iter().cloned().collect();
    assert_eq!(found.len(), read.len(), "a record is there twice");
    for (value, place) in ledger.iter() {
        assert_eq!(found.get(value), Some(place), "{value}");
    }
    for key in 0..keys {
        let prefix = format!("k{key}-");
        let numbers = read.iter().filter_map(|(value, _)| value.strip_prefix(&prefix));
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "key {key} is out of order");
    }
}

fn values(from: usize, to: usize, keys: usize) -> impl Iterator<Item = String> {
    (from..to).map(move |number| format!("k{}-{number}", number % keys))
}

#[test]
fn every_codec_comes_back_as_sent_and_no_request_hops_in_per_core_mode() {
    for endpoints in ["per-core", "shared"] {
        let directory = tempfile::tempdir().unwrap();
        let broker = Broker::start(directory.path(), &["--cpus", "0,1", "--endpoints", endpoints]);
        let address = broker.bootstrap();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            create_topic(&address, codec);
            let (producer, context) = producer(&address, codec, codec != "gzip");
            send(&producer, codec, values(0, 2000, 7));
            producer.flush(WAIT).unwrap();
            assert_eq!(context.ledger.lock().unwrap().len(), 2000);
            check(&address, codec, &context, 7);
        }
        let log = broker.stop();
        let hops = counted(&log, "hops");
        assert!(counted(&log, "requests") > 0, "{log:#?}");
        match endpoints {
            "per-core" => assert_eq!(hops, 0, "{log:#?}"),
            _ => assert!(hops > 0, "{log:#?}"),
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9_and_other_core_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(directory.path(), &["--cpus", "0,1"]);
    create_topic(&broker.bootstrap(), "t");
    let mut all = Acknowledged::default();
    for (round, cpus) in ["0", "0,1", "1"].into_iter().enumerate() {
        let (producer, context) = producer(&broker.bootstrap(), "none", true);
        all.ledger.lock().unwrap().clone_into(&mut context.ledger.lock().unwrap());
        let (from, before) = (round * 100_000, context.ledger.lock().unwrap().len());
        send(&producer, "t", values(from, from + 20_000, 5));
        // Killed while records are on their way: some are acknowledged, of the others nobody knows.
        let start = Instant::now();
        while context.ledger.lock().unwrap().len() < before + 500 {
            assert!(start.elapsed() < WAIT, "nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        broker.kill();
        producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        let _ = producer.flush(Duration::from_secs(5));
        context.failed.lock().unwrap().clear();
        all = context;
        broker = Broker::start(directory.path(), &["--cpus", cpus]);
        check(&broker.bootstrap(), "t", &all, 0);
    }
    assert!(all.ledger.lock().unwrap().len() >= 1500);
    // A clean stop leaves it all as well.
    broker.stop();
    let broker = Broker::start(directory.path(), &["--cpus", "0,1", "--endpoints", "shared"]);
    check(&broker.bootstrap(), "t", &all, 0);
}

#[test]
fn a_second_broker_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &["--cpus", "0"]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_corelog"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is in use by another corelog"), "{said}");
    broker.stop();
}

/// A member of a group that reads the topic and commits what it read.
fn member(broker: &str, group: &str) -> BaseConsumer {
    let consumer: BaseConsumer = client(broker)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    consumer
}

/// Has members read until `enough`; what each read.
fn read_together(
    members: &[BaseConsumer],
    mut enough: impl FnMut(&[BTreeSet<String>]) -> bool,
) -> Vec<BTreeSet<String>> {
    let mut read = vec![BTreeSet::new(); members.len()];
    let start = Instant::now();
    while !enough(&read) {
        assert!(start.elapsed() < WAIT, "{:?}", read.iter().map(BTreeSet::len).collect::<Vec<_>>());
        for (member, read) in members.iter().zip(&mut read) {
            match member.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => {
                    read.insert(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
                }
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
    }
    read
}

#[test]
fn a_group_shares_a_topic_commits_and_goes_on_after_kill_9() {
    for endpoints in ["per-core", "shared"] {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["--cpus", "0,1", "--endpoints", endpoints];
        let broker = Broker::start(directory.path(), &arguments);
        create_topic(&broker.bootstrap(), "t");
        let (producer, _) = producer(&broker.bootstrap(), "none", true);
        send(&producer, "t", values(0, 1000, 40));
        producer.flush(WAIT).unwrap();
        let members = [member(&broker.bootstrap(), "g"), member(&broker.bootstrap(), "g")];
        let share = |member: &BaseConsumer| member.assignment().unwrap().count();
        read_together(&members, |_| members.iter().all(|member| share(member) == 2));
        send(&producer, "t", values(1000, 2000, 40));
        producer.flush(WAIT).unwrap();
        let new = |values: &BTreeSet<String>| {
            let number = |value: &String| value.split('-').nth(1).unwrap().parse::<u32>().unwrap();
            values.iter().filter(|value| number(value) >= 1000).count()
        };
        let read = read_together(&members, |read| read.iter().map(new).sum::<usize>() >= 1000);
        assert!(read.iter().all(|read| new(read) > 0), "both have a share");
        assert_eq!(read.iter().map(new).sum::<usize>(), 1000, "no record has two readers");
        for member in &members {
            member.commit_consumer_state(rdkafka::consumer::CommitMode::Sync).unwrap();
        }
        broker.kill();
        drop(members);
        drop(producer);
        let broker = Broker::start(directory.path(), &["--cpus", "0"]);
        let (producer, _) = self::producer(&broker.bootstrap(), "none", true);
        send(&producer, "t", values(2000, 2100, 40));
        producer.flush(WAIT).unwrap();
        let members = [member(&broker.bootstrap(), "g")];
        let read = read_together(&members, |read| read[0].len() >= 100);
        let expected: BTreeSet<String> = values(2000, 2100, 40).collect();
        assert_eq!(read[0], expected, "reading goes on where it was committed");
        drop(members);
        broker.stop();
    }
}
