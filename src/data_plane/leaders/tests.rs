//! Leaders that refusals name, as clients of a host of two cores are told of them while a partition moves, in the
//! simulation.

use super::{Leader, Leaders};
use crate::config::{Config, Endpoints};
use crate::net::harness::{
    Client, Host, HostOptions, address, fetch_request, partitions_of, produce_request,
};
use crate::runtime::sim::{DiskOptions, Simulation, disk};
use crate::runtime::{now, sleep, spawn};
use crate::shard::control::{ControlReply, ControlRequest};
use crate::shard::image::MetadataImage;
use crate::shard::request::PartitionKey;
use crate::types::ShardId;
use crate::wire::api::fetch::{FetchResponse, PartitionData};
use crate::wire::api::metadata::{MetadataRequestTopic, MetadataResponse};
use crate::wire::api::produce::ProduceResponse;
use crate::wire::api::{FetchRequest, MetadataRequest, ProduceRequest};
use crate::wire::{ErrorCode, Request, Str, decode_response, encode_request};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Id and epoch of a leader, as answers tell it.
type LeaderTold = (i32, i32);
/// A broker's id, host, port and rack.
type Listed = (i32, Str, i32, Option<Str>);
/// What an answer tells of a partition's leader, and the brokers that it names.
type Told = (LeaderTold, Vec<Listed>);

const NOT_LEADER: ErrorCode = ErrorCode::NotLeaderOrFollower;
const NOTHING_TOLD: Told = ((-1, -1), Vec::new());

fn run(config: Config, test: impl AsyncFnOnce(Host)) {
    let options = HostOptions { shards: 2, config, ..HostOptions::default() };
    Simulation::new(1).run(async { test(Host::start(options).await).await });
}

/// Makes a topic `t` with one partition that holds some records: the partition, the core that has it, and the other.
async fn with_partition(host: &Host) -> (PartitionKey, usize, usize) {
    host.create("t", 1, &[]).await;
    host.produce("t", 0, 3, 10).await;
    let topic_id = host.servers[0].shard.image().topic("t").unwrap().id;
    let from = host.owner("t", 0);
    (PartitionKey { topic_id, index: 0 }, from, 1 - from)
}

/// Starts a move on a disk that takes so long for each of its operations: longer than a request takes to come. When it
/// returns, the core that had the partition has given it up, and nobody was shown yet where it will be.
async fn begin_move(
    host: &Host,
    key: PartitionKey,
    (from, to): (usize, usize),
    operation: Duration,
) -> impl Future<Output = ControlReply> {
    let latency = operation..operation + MILLISECOND / 100;
    disk().set_options(DiskOptions { latency, ..disk().options() });
    let PartitionKey { topic_id, index } = key;
    let request = ControlRequest::MovePartition { topic_id, index, to: ShardId(to as u16) };
    let controller = host.servers[0].shard.clone();
    let moving = spawn(async move { controller.control(request).await });
    while host.servers[from].shard.partition(key).is_ok() {
        sleep(MILLISECOND / 10).await;
    }
    assert_eq!(host.owner("t", 0), from);
    moving
}

async fn move_to(host: &Host, key: PartitionKey, from: usize, to: usize) {
    let moving = begin_move(host, key, (from, to), MILLISECOND).await;
    assert_eq!(moving.await, ControlReply::MovePartition(Ok(())));
    assert_eq!(host.owner("t", 0), to);
}

async fn metadata(host: &Host) -> MetadataResponse {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    host.client(0).await.call(12, &request).await
}

/// What Metadata says of the leader of `t`'s first partition.
async fn as_metadata_says(host: &Host) -> Told {
    let answer = metadata(host).await;
    let partition = &answer.topics[0].partitions[0];
    let leaders = answer.brokers.iter().filter(|node| node.node_id == partition.leader_id);
    let listed =
        leaders.map(|node| (node.node_id, node.host.clone(), node.port, node.rack.clone()));
    ((partition.leader_id, partition.leader_epoch), listed.collect())
}

fn told_by_fetch(answer: &FetchResponse) -> Told {
    let data: &PartitionData = partitions_of(answer)[0];
    let named = answer.node_endpoints.iter();
    let listed = named.map(|node| (node.node_id, node.host.clone(), node.port, node.rack.clone()));
    ((data.current_leader.leader_id, data.current_leader.leader_epoch), listed.collect())
}

fn told_by_produce(answer: &ProduceResponse) -> Told {
    let leader = &answer.responses[0].partition_responses[0].current_leader;
    let named = answer.node_endpoints.iter();
    let listed = named.map(|node| (node.node_id, node.host.clone(), node.port, node.rack.clone()));
    ((leader.leader_id, leader.leader_epoch), listed.collect())
}

/// A fetch of `t`'s first partition from its start, by name and by id.
fn fetch_of(key: PartitionKey, current_leader_epoch: i32) -> FetchRequest {
    let mut request = fetch_request("t", &[(0, 0)]);
    request.topics[0].topic_id = key.topic_id;
    request.topics[0].partitions[0].current_leader_epoch = current_leader_epoch;
    request
}

fn produce_of(key: PartitionKey) -> ProduceRequest {
    let mut request = produce_request("t", 0, 10);
    request.topic_data[0].topic_id = key.topic_id;
    request
}

async fn send<R: Request>(client: &Client, version: i16, request: &R) {
    client.send(&encode_request(request, version, 7, None).out).await.unwrap();
}

async fn receive<R: Request>(client: &mut Client, version: i16) -> R::Response {
    decode_response::<R>(client.receive().await.unwrap(), version).unwrap().1
}

#[test]
fn a_consumer_that_knows_an_older_epoch_is_told_the_leader_as_metadata_tells_it() {
    for endpoints in [Endpoints::PerCore, Endpoints::Shared] {
        run(Config { endpoints, ..Config::default() }, async |host| {
            let (key, from, to) = with_partition(&host).await;
            move_to(&host, key, from, to).await;
            let expect = as_metadata_says(&host).await;
            assert_eq!((expect.0.1, expect.1.len()), (1, 1), "{expect:?}");
            let mut client = host.client(from).await;
            for version in 12..=18 {
                let answer = client.call(version, &fetch_of(key, 0)).await;
                let code = partitions_of(&answer)[0].error_code;
                assert_eq!(code, ErrorCode::FencedLeaderEpoch, "version {version}");
                let expect = if version < 16 { NOTHING_TOLD } else { expect.clone() };
                assert_eq!(told_by_fetch(&answer), expect, "version {version}");
            }
            // Whoever is served is told nothing, also where a hop serves him.
            for epoch in [-1, 1] {
                let answer = client.call(16, &fetch_of(key, epoch)).await;
                assert_eq!(partitions_of(&answer)[0].error_code, ErrorCode::None);
                assert_eq!(told_by_fetch(&answer), NOTHING_TOLD);
            }
            let answer = client.call(10, &produce_of(key)).await;
            let code = answer.responses[0].partition_responses[0].error_code;
            assert_eq!(code, ErrorCode::None);
            assert_eq!(told_by_produce(&answer), NOTHING_TOLD);
        });
    }
}

#[test]
fn what_a_core_has_given_up_is_refused_with_its_new_leader_once_that_is_shown() {
    for endpoints in [Endpoints::PerCore, Endpoints::Shared] {
        run(Config { endpoints, ..Config::default() }, async |host| {
            host.create("still", 1, &[]).await;
            let (key, from, to) = with_partition(&host).await;
            let mut client = host.client(from).await;
            // What is behind it in the line is answered when the move is long over.
            let mut ahead = fetch_request("still", &[(0, 0)]);
            (ahead.max_wait_ms, ahead.min_bytes) = (60_000, 1);
            send(&client, 12, &ahead).await;
            let moving = begin_move(&host, key, (from, to), 2 * MILLISECOND).await;
            for version in [9, 10, 13] {
                send(&client, version, &produce_of(key)).await;
            }
            assert_eq!(moving.await, ControlReply::MovePartition(Ok(())));
            receive::<FetchRequest>(&mut client, 12).await;
            // With shared endpoints the leader is the broker that has refused: that is no news.
            let expect = match endpoints {
                Endpoints::PerCore => as_metadata_says(&host).await,
                Endpoints::Shared => NOTHING_TOLD,
            };
            for version in [9, 10, 13] {
                let answer = receive::<ProduceRequest>(&mut client, version).await;
                let code = answer.responses[0].partition_responses[0].error_code;
                assert_eq!(code, NOT_LEADER, "version {version}");
                let expect = if version < 10 { NOTHING_TOLD } else { expect.clone() };
                assert_eq!(told_by_produce(&answer), expect, "version {version}");
            }
        });
    }
}

#[test]
fn whoever_asks_for_what_is_on_its_way_is_told_where_it_has_gone_when_it_serves_there() {
    run(Config::default(), async |host| {
        let (key, from, to) = with_partition(&host).await;
        let mut reader = host.client(from).await;
        let mut fetch = fetch_of(key, 0);
        fetch.topics[0].partitions[0].fetch_offset = 3;
        (fetch.max_wait_ms, fetch.min_bytes) = (60_000, 1);
        send(&reader, 16, &fetch).await;
        // It waits for records by then.
        sleep(10 * MILLISECOND).await;
        let mut writer = host.client(from).await;
        let moving = begin_move(&host, key, (from, to), MILLISECOND / 2).await;
        send(&writer, 10, &produce_of(key)).await;
        let refused = receive::<ProduceRequest>(&mut writer, 10).await;
        assert_eq!(host.owner("t", 0), to);
        let answered = host.client(to).await.call(10, &produce_of(key)).await;
        let code = answered.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::None);
        assert_eq!(moving.await, ControlReply::MovePartition(Ok(())));
        let expect = as_metadata_says(&host).await;
        let code = refused.responses[0].partition_responses[0].error_code;
        assert_eq!((code, told_by_produce(&refused)), (NOT_LEADER, expect.clone()));
        let unread = receive::<FetchRequest>(&mut reader, 16).await;
        let code = partitions_of(&unread)[0].error_code;
        assert_eq!((code, told_by_fetch(&unread)), (NOT_LEADER, expect));
    });
}

#[test]
fn nobody_waits_long_for_the_new_place_of_what_moves_on_a_slow_disk() {
    run(Config::default(), async |host| {
        let (key, from, to) = with_partition(&host).await;
        let mut client = host.client(from).await;
        let moving = begin_move(&host, key, (from, to), 500 * MILLISECOND).await;
        let sent_at = now();
        let answer = client.call(10, &produce_of(key)).await;
        let took = now().since(sent_at);
        assert!((90 * MILLISECOND..110 * MILLISECOND).contains(&took), "{took:?}");
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!((code, told_by_produce(&answer)), (NOT_LEADER, NOTHING_TOLD));
        let answer = client.call(16, &fetch_of(key, 0)).await;
        let code = partitions_of(&answer)[0].error_code;
        assert_eq!((code, told_by_fetch(&answer)), (NOT_LEADER, NOTHING_TOLD));
        assert_eq!(host.owner("t", 0), from);
        assert_eq!(moving.await, ControlReply::MovePartition(Ok(())));
    });
}

#[test]
fn each_leader_is_named_once_and_where_its_client_reaches_it() {
    let listen = "0.0.0.0:9092".parse().unwrap();
    run(Config { listen, ..Config::default() }, async |host| {
        host.create("t", 6, &[]).await;
        let owners: BTreeSet<usize> = (0..6).map(|index| host.owner("t", index)).collect();
        assert_eq!(owners.len(), 2, "each core has some");
        let shard = &host.servers[0].shard;
        let image = shard.image();
        let topic = image.topic("t").unwrap();
        let mut leaders = Leaders::new("10.1.2.3:9092".parse().unwrap());
        assert_eq!(leaders.brokers(shard), []);
        let listed = metadata(&host).await;
        for partition in &listed.topics[0].partitions {
            let found = leaders.find(shard, &image, topic, partition.partition_index, None);
            let expect = Leader { id: partition.leader_id, epoch: partition.leader_epoch };
            assert_eq!(found, Some(expect));
        }
        let named: Vec<_> =
            leaders.brokers(shard).into_iter().map(|one| (one.id, one.host, one.port)).collect();
        let expect =
            listed.brokers.iter().zip(0..).map(|(broker, core)| {
                (broker.node_id, "10.1.2.3".to_string(), address(core).port())
            });
        assert_eq!(named, expect.collect::<Vec<_>>());
    });
}

#[test]
fn nobody_is_sent_to_who_has_just_refused_him_or_to_who_does_not_lead() {
    run(Config::default(), async |host| {
        let (key, from, to) = with_partition(&host).await;
        let shard = &host.servers[0].shard;
        let held = shard.image();
        let image: &MetadataImage = &held;
        let topic = image.topic("t").unwrap();
        let find = |image: &MetadataImage, index: i32, refused_by: usize| {
            let mut leaders = Leaders::new(address(0));
            let refused_by = Some(ShardId(refused_by as u16));
            let found = leaders.find(shard, image, topic, index, refused_by);
            assert_eq!(leaders.brokers(shard).len(), usize::from(found.is_some()));
            found.is_some()
        };
        assert!(find(image, 0, to));
        assert!(!find(image, 0, from));
        assert!(!find(image, 1, to), "there is no such partition");
        let mut offline = image.clone();
        offline.offline = Arc::new([key].into());
        assert!(!find(&offline, 0, to));
    });
}
