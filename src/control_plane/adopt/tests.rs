//! Data directories as Apache Kafka and crashes leave them, on the simulated disk.

use super::*;
use crate::config::Config;
use crate::control_plane::harness::{self, DATA, Host};
use crate::runtime::sim::{DiskOperation, Effect, Fault, Simulation, disk};
use crate::shard::control::{ControlError, ControlReply, ControlRequest, NewTopic};
use crate::wire::ErrorCode;
use crate::wire::api::init_producer_id::InitProducerIdRequest;
use crate::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use crate::wire::api::metadata::MetadataRequest;
use crate::wire::compression::Codec;
use crate::wire::records::{BatchBuilder, ProducerSequence};
use bytes::Bytes;
use std::future::poll_fn;
use std::time::Duration;

const ID: TopicId = TopicId([0x5a; 16]);

/// A batch of three records.
fn batch(producer: ProducerSequence) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    for number in 0..3 {
        let value = format!("value {number}").into_bytes();
        batch.push(crate::types::Timestamp(1000 + number), None, Some(&value), &[]);
    }
    batch.build(producer)
}

/// A file of a partition's folder.
fn put(folder: &str, name: &str, contents: &[u8]) {
    disk().put_file(format!("{DATA}/{folder}/{name}"), contents).unwrap();
}

/// A partition's folder with these bytes as its log, and without a history of leader epochs.
fn put_log(folder: &str, id: TopicId, log: &[u8]) {
    disk().put_directory(format!("{DATA}/{folder}")).unwrap();
    put(folder, "partition.metadata", format!("version: 0\ntopic_id: {id}").as_bytes());
    put(folder, "00000000000000000000.log", log);
}

/// A partition's folder with a batch of three records at offset 0.
fn put_partition(folder: &str, id: TopicId) {
    put_log(folder, id, &batch(ProducerSequence::NONE));
    put(folder, "leader-epoch-checkpoint", b"0\n2\n0 0\n4 2\n");
}

/// Topics with their partitions' leader epochs and log starts, as shard 0 sees them.
fn seen(host: &Host) -> Vec<(String, Vec<(i32, i64)>)> {
    let image = host.shards[0].image();
    let places = |topic: &crate::shard::image::Topic| {
        let places = topic.partitions.iter();
        places.map(|place| (place.leader_epoch, place.log_start.0)).collect()
    };
    image.topics().map(|topic| (topic.name.to_string(), places(topic))).collect()
}

#[test]
fn what_kafka_wrote_is_served_under_its_id_and_stays_after_a_restart() {
    let simulation = Simulation::new(1);
    simulation.run(async {
        put_partition("flights-0", ID);
        put_partition("flights-1", ID);
        put_partition("__consumer_offsets-3", TopicId([9; 16]));
        disk().put_directory(format!("{DATA}/not a partition")).unwrap();
        let starts = b"0\n1\nflights 1 2\n";
        disk().put_file(format!("{DATA}/log-start-offset-checkpoint"), starts).unwrap();
    });
    for shards in [1, 2] {
        simulation.run(async {
            let host = harness::start(shards).await;
            let partitions = seen(&host);
            assert_eq!(partitions.len(), 1);
            assert_eq!(partitions[0].0, "flights");
            let starts: Vec<i64> = partitions[0].1.iter().map(|(_, start)| *start).collect();
            assert_eq!(starts, [0, 2]);
            assert!(partitions[0].1.iter().all(|(epoch, _)| *epoch >= 4));
            let image = host.shards[0].image();
            let topic = image.topic_by_id(ID).expect("its own id");
            assert_eq!(topic.log_config.retention_ms, -1, "nothing is deleted unasked");
            for (index, place) in (0..).zip(&topic.partitions) {
                let key = PartitionKey { topic_id: ID, index };
                let log = host.shards[place.shard.index()].partition(key).unwrap();
                assert_eq!(log.fault(), None);
                assert_eq!(log.log_start(), Offset(i64::from(index) * 2));
                assert_eq!(log.high_watermark(), Offset(3));
            }
        });
        simulation.crash();
    }
}

#[test]
fn partitions_behind_a_gap_are_left_alone() {
    let simulation = Simulation::new(2);
    simulation.run(async {
        put_partition("gap-0", ID);
        put_partition("gap-2", ID);
        put_partition("headless-1", TopicId([7; 16]));
        put_partition("two-ids-0", TopicId([1; 16]));
        put_partition("two-ids-1", TopicId([2; 16]));
        let host = harness::start(1).await;
        let names: Vec<_> = seen(&host).into_iter().map(|(name, all)| (name, all.len())).collect();
        assert_eq!(names, [("gap".to_string(), 1), ("two-ids".to_string(), 1)]);
        let files = disk().files();
        assert!(files.iter().any(|file| file.contains("gap-2/0000")), "{files:?}");
    });
}

#[test]
fn files_of_a_deleted_topic_are_removed_and_not_adopted() {
    let simulation = Simulation::new(3);
    simulation.run(async {
        let host = harness::start(1).await;
        let overrides = Default::default();
        let topic = NewTopic { name: "gone".into(), partitions: 1, places: None, overrides };
        let made = host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await;
        let ControlReply::CreateTopics(made) = made else { panic!("{made:?}") };
        let id = made[0].clone().unwrap();
        host.shards[0].control(ControlRequest::DeleteTopics(vec![id])).await;
        // As a crash between the record and the removal of the files leaves it.
        for index in 0..100 {
            put_partition(&format!("gone-{index}"), id);
        }
    });
    simulation.kill();
    simulation.run(async {
        let slow = Fault {
            operation: DiskOperation::Remove,
            path_contains: "gone".to_string(),
            skip: 0,
            times: u32::MAX,
            effect: Effect::Delay(Duration::from_secs(1)),
        };
        disk().inject(slow);
        let started = runtime::now();
        let host = harness::start(1).await;
        assert!(runtime::now().since(started) < Duration::from_secs(1), "nobody waits for it");
        assert_eq!(seen(&host), []);
        let is_left = |file: &String| file.contains("gone");
        let left = disk().files();
        assert!(left.iter().filter(|file| is_left(file)).all(|file| file.contains("-delete/")));
        disk().heal();
        runtime::sleep(Duration::from_secs(60)).await;
        assert!(!disk().files().iter().any(is_left), "{:?}", disk().files());
    });
}

/// Has a topic made.
async fn make(host: &Host, name: &str, partitions: u32) -> Result<TopicId, ControlError> {
    let overrides = Default::default();
    let topic = NewTopic { name: name.into(), partitions, places: None, overrides };
    let made = host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await;
    let ControlReply::CreateTopics(mut made) = made else { panic!("{made:?}") };
    made.remove(0)
}

/// Starts a host and gives the end of a partition, or what keeps it from being read.
async fn end_after_start(id: TopicId, index: i32) -> Result<i64, String> {
    let host = harness::start(1).await;
    let log = host.shards[0].partition(PartitionKey { topic_id: id, index }).unwrap();
    match log.read_fault() {
        Some(fault) => Err(fault.to_string()),
        None => Ok(log.high_watermark().0),
    }
}

fn is_there(file: &str) -> bool {
    disk().read_file(format!("{DATA}/{file}")).is_ok()
}

/// What is told of a partition whose file says this; with none, it cannot be read. The topic's other partition is
/// served, and this one too once the file is mended.
fn told_of_damaged(said: Option<&str>) -> String {
    let simulation = Simulation::new(4);
    let id = simulation.run(async { make(&harness::start(1).await, "here", 2).await.unwrap() });
    simulation.kill();
    let told = simulation.run(async {
        put_log("here-0", id, &batch(ProducerSequence::NONE));
        put_log("here-1", id, &batch(ProducerSequence::NONE));
        match said {
            Some(text) => put("here-0", "partition.metadata", text.as_bytes()),
            None => disk().fail_next(DiskOperation::Read, "here-0/partition.metadata"),
        }
        end_after_start(id, 0).await.unwrap_err()
    });
    simulation.kill();
    simulation.run(async {
        assert!(is_there("here-0/00000000000000000000.log"), "{:?}", disk().files());
        assert_eq!(end_after_start(id, 1).await, Ok(3));
    });
    simulation.kill();
    simulation.run(async {
        put("here-0", "partition.metadata", format!("version: 0\ntopic_id: {id}").as_bytes());
        assert_eq!(end_after_start(id, 0).await, Ok(3));
    });
    let operation = if said.is_some() { "accept" } else { "read" };
    let begins = format!("{operation} /data/here-0/partition.metadata at byte 0: ");
    assert!(told.starts_with(&begins), "{told}");
    assert!(!told.contains("corelog repair"), "it does not mend this file: {told}");
    let remedy = format!("write it anew: `version: 0`, then `topic_id: {id}`");
    assert!(told.contains(&remedy), "{told}");
    told
}

#[test]
fn a_folder_that_names_another_topic_takes_only_its_partition_offline() {
    let told = told_of_damaged(Some(&format!("version: 0\ntopic_id: {ID}")));
    assert!(told.contains("it names the topic id WlpaWlpaWlpaWlpaWlpaWg, not "), "{told}");
}

#[test]
fn a_folder_that_names_no_topic_takes_only_its_partition_offline() {
    for said in ["", "version: 0\ntopic?id: WlpaWlpaWlpaWlpaWlpaWg", "version: 0\ntopic_id: A"] {
        let told = told_of_damaged(Some(said));
        assert!(told.contains("it names no topic id; "), "{told}");
    }
    // The last letter has bits that say nothing, but the log compares letters.
    let told = told_of_damaged(Some("version: 0\ntopic_id: WlpaWlpaWlpaWlpaWlpaWh"));
    assert!(told.contains("it names no topic id; "), "{told}");
}

#[test]
fn a_folder_that_cannot_be_read_takes_only_its_partition_offline() {
    let told = told_of_damaged(None);
    assert!(told.contains("check the device and the kernel log"), "{told}");
}

#[test]
fn an_unknown_topic_that_cannot_be_read_waits_under_its_name() {
    for file in ["lost-1/partition.metadata", "lost-1/00000000000000000000.log"] {
        let simulation = Simulation::new(4);
        simulation.run(async {
            put_partition("flights-0", ID);
            for index in 0..3 {
                put_partition(&format!("lost-{index}"), TopicId([7; 16]));
            }
            disk().fail_next(DiskOperation::Read, file);
            let host = harness::start(1).await;
            let names: Vec<_> = seen(&host).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["flights"]);
            let refused = make(&host, "lost", 1).await;
            assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
            assert!((0..3).all(|index| is_there(&format!("lost-{index}/partition.metadata"))));
        });
        simulation.kill();
        simulation.run(async {
            let found = seen(&harness::start(1).await).into_iter();
            let found: Vec<_> = found.map(|(name, all)| (name, all.len())).collect();
            assert_eq!(found, [("flights".to_string(), 1), ("lost".to_string(), 3)]);
        });
    }
}

#[test]
fn groups_that_cannot_be_read_are_not_begun_anew() {
    Simulation::new(4).run(async {
        put_partition("__consumer_offsets-0", TopicId([9; 16]));
        disk().fail_next(DiskOperation::Read, "__consumer_offsets-0/partition.metadata");
        let refused = harness::try_start(1, Config::default()).await.map(|_| ()).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("cannot read /data/__consumer_offsets-0/partition"), "{text}");
    });
}

#[test]
fn a_deleted_topic_that_cannot_be_read_is_removed_when_it_can() {
    let simulation = Simulation::new(4);
    let id = simulation.run(async {
        let host = harness::start(1).await;
        let id = make(&host, "gone", 1).await.unwrap();
        host.shards[0].control(ControlRequest::DeleteTopics(vec![id])).await;
        id
    });
    simulation.kill();
    simulation.run(async {
        put_partition("gone-0", id);
        disk().fail_next(DiskOperation::Read, "gone-0/partition.metadata");
        let host = harness::start(1).await;
        assert_eq!(seen(&host), []);
        assert!(is_there("gone-0/partition.metadata"));
    });
    simulation.kill();
    simulation.run(async {
        let host = harness::start(1).await;
        assert_eq!(seen(&host), []);
        assert!(!is_there("gone-0/partition.metadata"));
    });
}

async fn new_producer_id(host: &Host) -> i64 {
    let request = InitProducerIdRequest { producer_epoch: -1, ..Default::default() };
    let answer = host.call(0, 4, request).await;
    assert_eq!(answer.error_code, ErrorCode::None);
    answer.producer_id
}

/// The first batch of a producer; its base offset.
async fn produce_first(host: &Host, id: i64) -> Offset {
    let producer = ProducerSequence { id, epoch: 0, base_sequence: 0 };
    let key = PartitionKey { topic_id: ID, index: 0 };
    let mut ticket = host.shards[0].append(host.shards[0].id, key, batch(producer));
    let produced = poll_fn(|context| ticket.poll_produced(context)).await.unwrap();
    produced.dispatched.base_offset
}

/// Else its first batch is taken for a retry of what that producer stored, acknowledged and forgotten.
#[test]
fn a_new_producer_has_no_id_that_an_adopted_log_knows() {
    let simulation = Simulation::new(5);
    let mut given = Vec::new();
    simulation.run(async {
        let producer = ProducerSequence { id: 0, epoch: 0, base_sequence: 0 };
        put_log("flights-0", ID, &batch(producer));
        let host = harness::start(1).await;
        let id = new_producer_id(&host).await;
        assert_eq!(produce_first(&host, id).await, Offset(3), "stored, not taken for a retry");
        given.push(id);
    });
    // A data directory without its metadata log is adopted again.
    simulation.kill();
    simulation.run(async {
        crate::runtime::remove_file(format!("{DATA}/metadata.log").as_ref()).await.unwrap();
        let host = harness::start(1).await;
        let id = new_producer_id(&host).await;
        assert_eq!(produce_first(&host, id).await, Offset(6));
        given.push(id);
    });
    // One more topic beside those that are known: what ids it knows nobody can say.
    simulation.crash();
    simulation.run(async {
        put_partition("more-0", TopicId([7; 16]));
        let host = harness::start(1).await;
        given.push(new_producer_id(&host).await);
    });
    // Nothing new: ids go on where they were.
    simulation.crash();
    simulation.run(async {
        let host = harness::start(1).await;
        given.push(new_producer_id(&host).await);
    });
    assert!(given.iter().all(|id| *id >= 1 << 32), "{given:?}");
    assert!(given[0].abs_diff(given[1]) > 1 << 20, "{given:?}");
    assert!(given[2] > given[1] + (1 << 20), "{given:?}");
    assert_eq!(given[3], given[2] + 1000, "{given:?}");
}

/// A batch of three records as Apache Kafka stored it.
fn stored(base_offset: i64, leader_epoch: i32, attributes: u8) -> Vec<u8> {
    let mut bytes = batch(ProducerSequence::NONE).to_vec();
    bytes[22] |= attributes;
    let crc = crate::wire::batch::checksum(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    crate::wire::batch::assign_offsets(&mut bytes, Offset(base_offset), leader_epoch);
    bytes
}

/// Adopts a log of batches with these epochs beside such a checkpoint, and gives the epoch of all answers.
fn epoch_told(epochs: &[i32], checkpoint: Option<&[u8]>) -> i32 {
    let log: Vec<u8> =
        (0..).zip(epochs).flat_map(|(at, epoch)| stored(at * 3, *epoch, 0)).collect();
    Simulation::new(6).run(async {
        put_log("flights-0", ID, &log);
        if let Some(checkpoint) = checkpoint {
            put("flights-0", "leader-epoch-checkpoint", checkpoint);
        }
        let host = harness::start(1).await;
        let metadata =
            host.call(0, 9, MetadataRequest { topics: None, ..Default::default() }).await;
        let told = metadata.topics[0].partitions[0].leader_epoch;
        let partition = ListOffsetsPartition {
            current_leader_epoch: told,
            timestamp: -1,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic { name: "flights".into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
        let found = host.call(0, 7, request).await.topics.remove(0).partitions.remove(0);
        assert_eq!((found.error_code, found.leader_epoch), (ErrorCode::None, told));
        assert_eq!(found.offset, 3 * epochs.len() as i64);
        told
    })
}

#[test]
fn the_leader_epoch_that_is_told_is_the_log_s_whatever_the_checkpoint_knows() {
    assert_eq!(epoch_told(&[0, 7], None), 7);
    assert_eq!(epoch_told(&[0, 7], Some(b"0\n0\n")), 7);
    assert_eq!(epoch_told(&[0, 7], Some(b"0\n1\n0 0\n")), 7);
    assert_eq!(epoch_told(&[0, 7], Some(b"damaged")), 7);
    assert_eq!(epoch_told(&[0, 7], Some(b"0\n3\n0 0\n7 3\n9 6\n")), 9);
    assert_eq!(epoch_told(&[-1], None), 0);
}

#[test]
fn an_offline_partition_is_of_the_epoch_that_is_told() {
    Simulation::new(7).run(async {
        put_partition("flights-0", ID);
        // Another batch at offset 0: damage, not a torn tail.
        let log = [stored(0, 4, 0), stored(0, 4, 0)].concat();
        put("flights-0", "00000000000000000000.log", &log);
        let host = harness::start(1).await;
        let key = PartitionKey { topic_id: ID, index: 0 };
        let log = host.shards[0].partition(key).unwrap();
        assert!(log.fault().is_some());
        assert_eq!(log.leader_epoch(), seen(&host)[0].1[0].0);
    });
}

#[test]
fn batches_larger_than_a_read_and_torn_ends_are_walked_over() {
    let mut large = BatchBuilder::new(Codec::None);
    large.push(crate::types::Timestamp(1), None, Some(&vec![7; 3 << 20]), &[]);
    let mut large = large.build(ProducerSequence::NONE).to_vec();
    crate::wire::batch::assign_offsets(&mut large, Offset(3), 5);
    let log = [stored(0, 4, 0), large, stored(4, 6, 0)].concat();
    let small = stored(0, 4, 0).len();
    for (length, epoch) in [
        (log.len(), 6),
        (log.len() - 1, 5),
        (log.len() - small + 20, 5),
        (log.len() - small, 5),
        (log.len() - small - 1, 4),
        (small - 1, 0),
        (0, 0),
    ] {
        Simulation::new(8).run(async {
            put_log("flights-0", ID, &log[..length]);
            let last = last_segment::read(format!("{DATA}/flights-0").as_ref()).await.unwrap();
            assert_eq!(last, LastSegment { leader_epoch: epoch, is_transactional: false });
        });
    }
}

#[test]
fn topics_with_transactions_are_noticed() {
    Simulation::new(9).run(async {
        put_log("plain-0", TopicId([1; 16]), &stored(0, 0, 0));
        put("plain-0", "00000000000000000000.txnindex", b"");
        put_log("open-0", TopicId([2; 16]), &stored(0, 0, 0));
        put_log("open-1", TopicId([2; 16]), &stored(0, 0, 0b1_0000));
        put_log("aborted-0", TopicId([3; 16]), &stored(0, 0, 0));
        put("aborted-0", "00000000000000000000.txnindex", &[0; 34]);
        let found = find(DATA.as_ref(), &State::default()).await.unwrap();
        let noticed = found.topics.values().filter(|topic| topic.is_transactional);
        let noticed: Vec<&str> = noticed.map(|topic| topic.name.as_str()).collect();
        assert_eq!(noticed, ["open", "aborted"]);
    });
}

#[test]
fn transactional_batches_are_refused_and_not_stored() {
    Simulation::new(10).run(async {
        put_partition("flights-0", ID);
        let host = harness::start(1).await;
        let key = PartitionKey { topic_id: ID, index: 0 };
        let mut bytes = batch(ProducerSequence { id: 1, epoch: 0, base_sequence: 0 }).to_vec();
        bytes[22] |= 0b1_0000;
        let crc = crate::wire::batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let mut ticket = host.shards[0].append(host.shards[0].id, key, bytes.into());
        let refused = poll_fn(|context| ticket.poll_produced(context)).await.unwrap_err();
        assert_eq!(refused.to_string(), "no transaction of producer 1 is known");
        assert_eq!(host.shards[0].partition(key).unwrap().high_watermark(), Offset(3));
    });
}
