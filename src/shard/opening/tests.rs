use super::OPENERS;
use crate::config::Config;
use crate::control_plane::harness::{self, Host};
use crate::runtime::sim::{Simulation, for_each_seed};
use crate::runtime::sleep;
use crate::shard::AppendTicket;
use crate::shard::control::{ControlReply, ControlRequest, NewTopic};
use crate::shard::request::{PartitionKey, Produced, ReadSpec, ShardReply, ShardRequest};
use crate::types::{Offset, ShardId, Timestamp, TopicId};
use crate::wire::batch::testing::batch;
use bytes::Bytes;
use futures_util::future::join_all;
use std::future::poll_fn;
use std::time::Duration;

/// More for each of two shards than are opened at once.
const PARTITIONS: u32 = 64;

async fn create(host: &Host, name: &str) -> TopicId {
    let topic = NewTopic {
        name: name.into(),
        partitions: PARTITIONS,
        places: None,
        overrides: Default::default(),
    };
    match host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await {
        ControlReply::CreateTopics(made) => made[0].clone().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn owner(host: &Host, topic_id: TopicId, index: i32) -> (PartitionKey, ShardId) {
    let image = host.shards[0].image();
    let topic = image.topic_by_id(topic_id).unwrap().clone();
    (PartitionKey { topic_id, index }, topic.partition(index).unwrap().shard)
}

fn one_record(number: usize) -> Bytes {
    batch(&[number.to_string().as_bytes()], Timestamp(5), None).into()
}

/// Appends through a shard, which may be another than the owner.
fn append(
    host: &Host,
    through: usize,
    topic_id: TopicId,
    index: i32,
    number: usize,
) -> AppendTicket {
    let (key, shard) = owner(host, topic_id, index);
    host.shards[through].append(shard, key, one_record(number))
}

async fn produced(mut ticket: AppendTicket) -> Produced {
    poll_fn(|context| ticket.poll_produced(context)).await.unwrap()
}

/// A topic with one record in each partition, whose host then dies.
fn left_behind(simulation: &Simulation) -> TopicId {
    let id = simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t").await;
        let appends = (0..PARTITIONS as i32).map(|index| append(&host, 0, id, index, 0));
        join_all(appends.map(produced).collect::<Vec<_>>()).await;
        id
    });
    simulation.crash();
    id
}

async fn started(shards: u16) -> Host {
    harness::start_unopened(shards, Config::default()).await.unwrap()
}

#[test]
fn appends_to_partitions_that_are_not_open_keep_their_order() {
    for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let id = left_behind(&simulation);
        simulation.run(async {
            let host = started(2).await;
            for index in 0..PARTITIONS as i32 {
                let through = (seed as usize + index as usize) % 2;
                let early: Vec<_> =
                    (1..6).map(|number| append(&host, through, id, index, number)).collect();
                let offsets: Vec<i64> = join_all(early.into_iter().map(produced))
                    .await
                    .iter()
                    .map(|produced| produced.dispatched.base_offset.0)
                    .collect();
                assert_eq!(offsets, [1, 2, 3, 4, 5], "partition {index}");
            }
        });
    });
}

#[test]
fn whoever_asks_for_a_partition_has_it_opened_and_nobody_waits_for_all() {
    let simulation = Simulation::new(1);
    let id = left_behind(&simulation);
    simulation.run(async {
        let host = started(2).await;
        let last = PARTITIONS as i32 - 1;
        let (key, shard) = owner(&host, id, last);
        let shard = &host.shards[shard.index()];
        let spec = ReadSpec { key, offset: Offset(0), bytes_max: 1000, first_whole: true };
        let read = shard.read_here(&[spec], 1000).await;
        assert_eq!(read[0].as_ref().unwrap().high_watermark, Offset(1));
        assert!(shard.partitions().len() < shard.partition_count(), "the others are on their way");
        let request = ShardRequest::Bounds { keys: vec![key] };
        let ShardReply::Bounds(bounds) = shard.ask(shard.id, request).await else { panic!() };
        assert_eq!(bounds[0].as_ref().unwrap().high_watermark, Offset(1));
        shard.opened_all().await;
        assert_eq!(shard.partitions().len(), shard.partition_count());
    });
}

#[test]
fn partitions_are_opened_in_the_order_of_their_last_write_whatever_records_say() {
    for_each_seed(10, |seed| {
        let simulation = Simulation::new(seed);
        simulation.run(async {
            let host = harness::start(1).await;
            let id = create(&host, "t").await;
            for index in 0..PARTITIONS as i32 {
                // The later a partition is written, the older its record says to be.
                let time = Timestamp(1_000_000 - i64::from(index));
                let record = batch(&[b"x"], time, None).into();
                let (key, shard) = owner(&host, id, index);
                produced(host.shards[0].append(shard, key, record)).await;
                sleep(Duration::from_millis(2)).await;
            }
        });
        simulation.crash();
        simulation.run(async {
            let host = started(1).await;
            let shard = &host.shards[0];
            while shard.partitions().is_empty() {
                sleep(Duration::from_micros(20)).await;
            }
            let open: Vec<i32> = shard.partitions().iter().map(|open| open.id.index).collect();
            assert!(open.len() < OPENERS, "{open:?}");
            // Of those before them in line, all that are not open are being opened.
            let first = PARTITIONS as usize - open.len() - OPENERS;
            assert!(open.iter().all(|index| *index >= first as i32), "{open:?}");
        });
    });
}

#[test]
fn a_topic_is_deleted_and_changed_before_it_is_open() {
    let simulation = Simulation::new(2);
    let id = left_behind(&simulation);
    simulation.run(async {
        let host = started(2).await;
        let reply = host.shards[1].control(ControlRequest::DeleteTopics(vec![id])).await;
        assert_eq!(reply, ControlReply::DeleteTopics(vec![Ok(())]));
        let again = create(&host, "t").await;
        let first = produced(append(&host, 0, again, 3, 7)).await;
        assert_eq!(first.dispatched.base_offset, Offset(0), "nothing of its namesake is left");
        let count: usize = host.shards.iter().map(|shard| shard.partition_count()).sum();
        assert_eq!(count, PARTITIONS as usize);
    });
}

#[test]
fn a_stop_waits_for_what_is_being_opened_and_opens_no_more() {
    for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let id = left_behind(&simulation);
        simulation.run(async {
            let host = started(1 + (seed % 3) as u16).await;
            let early = append(&host, 0, id, 5, 1);
            join_all(host.shards.iter().map(|shard| shard.stop_partitions())).await;
            drop(early);
        });
        simulation.kill();
        simulation.run(async {
            let host = harness::start(2).await;
            for index in 0..PARTITIONS as i32 {
                let next = produced(append(&host, 0, id, index, 9)).await.dispatched.base_offset;
                let expected = if index == 5 { 1..=2 } else { 1..=1 };
                assert!(expected.contains(&next.0), "partition {index} goes on at {next}");
            }
        });
    });
}
