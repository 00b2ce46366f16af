//! Partitions that move between the cores of a host while they are written and read, on the simulation.

use crate::config::{Config, DamagedPartitions, LogConfig};
use crate::control_plane::groups::route::OFFSETS_TOPIC;
use crate::control_plane::harness::{self, Host};
use crate::control_plane::metadata_log::FILE_NAME;
use crate::log::Partition;
use crate::runtime::sim::{DiskOperation, DiskOptions, Simulation, Stop, disk, for_each_seed};
use crate::runtime::{self, spawn, timeout};
use crate::shard::AppendTicket;
use crate::shard::control::{ControlError, ControlReply, ControlRequest, NewTopic};
use crate::shard::image::PartitionPlace;
use crate::shard::request::{
    GivenUp, PartitionError, PartitionKey, Produced, ReadSpec, ShardReply, ShardRequest,
};
use crate::types::{Offset, ShardId, Timestamp, TopicId};
use crate::wire::batch::testing::batch;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

const PRODUCER_ID: i64 = 77;

/// A topic whose partitions lie on these shards.
async fn create(host: &Host, name: &str, shards: &[u16]) -> TopicId {
    let topic = NewTopic {
        name: name.to_string(),
        partitions: shards.len() as u32,
        places: Some(shards.iter().map(|shard| ShardId(*shard)).collect()),
        overrides: Default::default(),
    };
    match host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await {
        ControlReply::CreateTopics(mut made) => made.remove(0).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn move_to(host: &Host, key: PartitionKey, to: u16) -> Result<(), ControlError> {
    let PartitionKey { topic_id, index } = key;
    let request = ControlRequest::MovePartition { topic_id, index, to: ShardId(to) };
    match host.shards[host.shards.len() - 1].control(request).await {
        ControlReply::MovePartition(moved) => moved,
        other => panic!("{other:?}"),
    }
}

fn place(host: &Host, through: usize, key: PartitionKey) -> PartitionPlace {
    let image = host.shards[through].image();
    *image.topic_by_id(key.topic_id).unwrap().partition(key.index).unwrap()
}

/// Shards that have a partition's files in hand.
fn owners(host: &Host, key: PartitionKey) -> Vec<ShardId> {
    let has_it =
        |open: &Rc<Partition>| (open.id.topic_id, open.id.index) == (key.topic_id, key.index);
    let shards = host.shards.iter();
    shards.filter(|shard| shard.partitions().iter().any(has_it)).map(|shard| shard.id).collect()
}

/// Hands a record to whoever has the partition, as a shard knows it.
fn append(host: &Host, through: usize, key: PartitionKey, number: i32) -> AppendTicket {
    let value = number.to_string();
    let bytes = batch(&[value.as_bytes()], Timestamp(5), Some((PRODUCER_ID, 0, number)));
    let owner = place(host, through, key).shard;
    host.shards[through].append(owner, key, bytes.into())
}

async fn produced(mut ticket: AppendTicket) -> Result<Produced, PartitionError> {
    poll_fn(|context| ticket.poll_produced(context)).await
}

/// Writes a record, again while the partition is on its way.
async fn store(host: &Host, through: usize, key: PartitionKey, number: i32) -> Offset {
    loop {
        match produced(append(host, through, key, number)).await {
            Ok(stored) => return stored.dispatched.base_offset,
            Err(error) => assert_eq!(error, PartitionError::NotHere, "record {number}"),
        }
        runtime::sleep(Duration::from_micros(50)).await;
    }
}

async fn end_of(host: &Host, key: PartitionKey) -> Offset {
    let owner = &host.shards[place(host, 0, key).shard.index()];
    let spec = ReadSpec { key, offset: Offset(0), bytes_max: 1 << 20, first_whole: true };
    let read = owner.read_here(&[spec], 1 << 20).await.remove(0);
    read.unwrap().high_watermark
}

#[test]
fn a_partition_moves_while_it_is_written_and_one_core_at_most_has_it() {
    for_each_seed(30, |seed| {
        Simulation::new(seed).run(async {
            let host = Rc::new(harness::start(3).await);
            let id = create(&host, "t", &[0]).await;
            let key = PartitionKey { topic_id: id, index: 0 };
            let is_over = Rc::new(Cell::new(false));
            let watched = (host.clone(), is_over.clone());
            let watch = spawn(async move {
                while !watched.1.get() {
                    let owners = owners(&watched.0, key);
                    assert!(owners.len() <= 1, "{owners:?} have it");
                    runtime::sleep(Duration::from_micros(20)).await;
                }
            });
            let writing = host.clone();
            let writer = spawn(async move {
                for number in 0..60 {
                    // Now and then a request is sent twice.
                    let through = (seed as usize + number as usize) % 3;
                    for _ in 0..1 + number % 5 / 4 {
                        let offset = store(&writing, through, key, number).await;
                        assert_eq!(offset, Offset(i64::from(number)), "each once, in order");
                    }
                }
            });
            for to in [1, 2, 1, 0, 2, 0] {
                runtime::sleep(Duration::from_micros(seed * 37 % 900)).await;
                assert_eq!(move_to(&host, key, to).await, Ok(()));
                assert_eq!(owners(&host, key), [ShardId(to)]);
            }
            writer.await;
            is_over.set(true);
            watch.await;
            for through in 0..3 {
                let PartitionPlace { shard, leader_epoch, .. } = place(&host, through, key);
                assert_eq!((shard, leader_epoch), (ShardId(0), 6), "as shard {through} sees it");
            }
            assert_eq!(end_of(&host, key).await, Offset(60));
        });
    });
}

#[test]
fn what_was_pending_is_stored_and_told_however_late_one_asks() {
    for_each_seed(20, |seed| {
        Simulation::new(seed).run(async {
            let host = harness::start(2).await;
            let id = create(&host, "t", &[1]).await;
            let key = PartitionKey { topic_id: id, index: 0 };
            let through = (seed % 2) as usize;
            let tickets: Vec<AppendTicket> =
                (0..20).map(|number| append(&host, through, key, number)).collect();
            assert_eq!(move_to(&host, key, 0).await, Ok(()));
            let stored = join_all(tickets.into_iter().map(produced)).await;
            for (number, stored) in (0..).zip(stored) {
                assert_eq!(stored.unwrap().dispatched.base_offset, Offset(number));
            }
            assert_eq!(end_of(&host, key).await, Offset(20));
            // The core that has it now knows the producer.
            assert_eq!(store(&host, 0, key, 19).await, Offset(19));
            assert_eq!(store(&host, 0, key, 20).await, Offset(20));
        });
    });
}

#[test]
fn whoever_waits_for_records_learns_that_they_come_elsewhere() {
    Simulation::new(1).run(async {
        let host = Rc::new(harness::start(2).await);
        let id = create(&host, "t", &[0]).await;
        let key = PartitionKey { topic_id: id, index: 0 };
        store(&host, 0, key, 0).await;
        let waiting = host.clone();
        let waiter = spawn(async move { waiting.shards[0].watch_here(&[(key, Offset(2))]).await });
        runtime::sleep(Duration::from_millis(1)).await;
        assert_eq!(move_to(&host, key, 1).await, Ok(()));
        assert!(timeout(Duration::from_secs(1), waiter).await.is_some(), "it still waits");
        let spec = ReadSpec { key, offset: Offset(0), bytes_max: 1000, first_whole: true };
        let read = host.shards[0].read_here(&[spec], 1000).await.remove(0);
        assert_eq!(read.map(|batches| batches.bytes), Err(PartitionError::NotHere));
        assert_eq!(host.shards[0].probe.partitions_given_up.get(), 1);
    });
}

#[test]
fn what_cannot_move_is_refused_and_stays() {
    Simulation::new(1).run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", &[0]).await;
        let key = PartitionKey { topic_id: id, index: 0 };
        let of_groups = create(&host, OFFSETS_TOPIC, &[0]).await;
        let invalid = |text: &str| Err(ControlError::InvalidAssignment(text.to_string()));
        let unknown: Result<(), ControlError> = Err(ControlError::UnknownTopic);
        for (key, to, expect) in [
            (key, 0, Ok(())),
            (key, 2, invalid("There is no core 2: this host has 2, counted from 0.")),
            (PartitionKey { index: 1, ..key }, 1, unknown.clone()),
            (PartitionKey { index: -1, ..key }, 1, unknown.clone()),
            (PartitionKey { topic_id: TopicId([9; 16]), index: 0 }, 1, unknown),
            (
                PartitionKey { topic_id: of_groups, index: 0 },
                1,
                invalid("Partitions of __consumer_offsets do not move while the broker runs."),
            ),
        ] {
            assert_eq!(move_to(&host, key, to).await, expect, "{key:?} to {to}");
        }
        let stays = PartitionPlace { shard: ShardId(0), leader_epoch: 0, log_start: Offset::ZERO };
        assert_eq!(place(&host, 1, key), stays);
        assert_eq!(host.shards[0].partitions().len(), 2);
        // What cannot be read stays, too.
        disk().fail_next(DiskOperation::Write, "/t-0/");
        assert!(matches!(produced(append(&host, 0, key, 0)).await, Err(PartitionError::Fault(_))));
        let refused = move_to(&host, key, 1).await;
        assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
        assert_eq!(owners(&host, key), [ShardId(0)]);
    });
}

#[test]
fn a_damaged_partition_that_serves_readers_stays_where_its_recovery_point_is() {
    const SEGMENT: &str = "/data/t-0/00000000000000000000.log";
    let simulation = Simulation::new(1);
    let id = simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", &[0]).await;
        for number in 0..3 {
            store(&host, 0, PartitionKey { topic_id: id, index: 0 }, number).await;
        }
        id
    });
    simulation.kill();
    simulation.run(async {
        // The second batch says to be at offset 0, where the first is: no crash leaves that.
        let mut log = disk().read_file(SEGMENT).unwrap();
        let length: [u8; 4] = log[8..12].try_into().unwrap();
        let second = 12 + u32::from_be_bytes(length) as usize;
        log[second..second + 8].fill(0);
        disk().put_file(SEGMENT, &log).unwrap();
        let config =
            Config { damaged_partitions: DamagedPartitions::ServeReadable, ..Config::default() };
        let host = harness::try_start(2, config).await.unwrap();
        let key = PartitionKey { topic_id: id, index: 0 };
        assert_eq!(end_of(&host, key).await, Offset(1), "it is read up to the damage");
        let refused = move_to(&host, key, 1).await;
        assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
        assert_eq!(owners(&host, key), [ShardId(0)]);
        assert_eq!(end_of(&host, key).await, Offset(1));
    });
}

#[test]
fn a_partition_that_fails_while_it_is_closed_is_served_by_nobody_before_the_next_start() {
    let simulation = Simulation::new(1);
    let key = simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", &[0]).await;
        let key = PartitionKey { topic_id: id, index: 0 };
        assert_eq!(store(&host, 0, key, 0).await, Offset(0));
        assert_eq!(host.shards[0].log.save_recovery_points().await.unwrap(), 0);
        // What a close leaves beside the records.
        disk().fail_next(DiskOperation::Write, ".producers");
        let refused = move_to(&host, key, 1).await;
        let Err(ControlError::Storage(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("/data/t-0/"), "{why}");
        assert_eq!(place(&host, 0, key).shard, ShardId(1), "so it was recorded");
        assert_eq!(owners(&host, key), [ShardId(1)]);
        let fault = host.shards[1].partition(key).unwrap().read_fault();
        assert_eq!(fault.map(|fault| fault.to_string()), Some(why));
        assert!(produced(append(&host, 0, key, 1)).await.is_err());
        // Nor does it go back.
        let refused = move_to(&host, key, 0).await;
        assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
        // Nor is it where it should be.
        let refused = move_to(&host, key, 1).await;
        assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
        // Another round of the core that had it.
        assert_eq!(host.shards[0].log.save_recovery_points().await.unwrap(), 0);
        key
    });
    simulation.kill();
    simulation.run(async {
        let host = harness::start(2).await;
        assert_eq!(owners(&host, key), [ShardId(1)]);
        assert_eq!(end_of(&host, key).await, Offset(1));
        let recovery = host.shards[1].partition(key).unwrap().recovery();
        assert_eq!(
            recovery.scanned_bytes, 0,
            "the point is known, so what lies before is complete"
        );
        assert_eq!(store(&host, 0, key, 1).await, Offset(1));
    });
}

#[test]
fn a_partition_that_is_being_opened_anew_is_given_up_when_that_is_over() {
    let mut opened_anew = 0;
    for_each_seed(20, |seed| {
        let is_open = Simulation::new(seed).run(async {
            // Two batches fill a segment.
            let log = LogConfig { segment_bytes: 100_000, ..LogConfig::default() };
            let host = harness::try_start(2, Config { log, ..Config::default() }).await.unwrap();
            let id = create(&host, "t", &[0]).await;
            let key = PartitionKey { topic_id: id, index: 0 };
            let shard = &host.shards[0];
            let partition = shard.partition(key).unwrap();
            let large = || Bytes::from(batch(&[&[7; 40_000][..]], runtime::wall_clock(), None));
            for _ in 0..9 {
                produced(shard.append(ShardId(0), key, large())).await.unwrap();
            }
            let roomy = disk().options();
            disk().set_options(DiskOptions { capacity: disk().used_bytes(), ..disk().options() });
            while partition.fault().is_none() {
                drop(produced(shard.append(ShardId(0), key, large())).await);
            }
            disk().set_options(roomy);
            // The close waits for a housekeeper, who has something to delete; meanwhile who writes has the partition
            // opened anew. The controller looked before the disk was full.
            partition.raise_log_start(Offset(5));
            let given = shard.ask(ShardId(0), ShardRequest::GiveUp { key });
            let writing = async { assert!(partition.append(large(), Timestamp(5)).is_err()) };
            let (given, ()) = join(given, writing).await;
            assert!(matches!(given, ShardReply::GiveUp(GivenUp::Complete)));
            let is_quiet = partition.quiesce().now_or_never().is_some();
            assert!(is_quiet, "the next core opens what this one works on");
            partition.fault().is_none()
        });
        opened_anew += u32::from(is_open);
    });
    assert!(opened_anew > 0, "the close was never later than the opening's begin");
}

#[test]
fn a_move_that_cannot_be_recorded_changes_nothing() {
    let simulation = Simulation::new(1);
    let id = simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", &[0]).await;
        let key = PartitionKey { topic_id: id, index: 0 };
        disk().fail_next(DiskOperation::Sync, FILE_NAME);
        let refused = move_to(&host, key, 1).await;
        assert!(matches!(refused, Err(ControlError::Storage(_))), "{refused:?}");
        assert_eq!(store(&host, 1, key, 0).await, Offset(0));
        assert_eq!(owners(&host, key), [ShardId(0)]);
        id
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        let key = PartitionKey { topic_id: id, index: 0 };
        // It may have been written all the same.
        assert_eq!(owners(&host, key), [place(&host, 0, key).shard]);
        assert_eq!(store(&host, 1, key, 1).await, Offset(1));
    });
}

#[test]
fn a_crash_anywhere_in_a_move_leaves_one_owner_and_all_that_was_acknowledged() {
    for_each_seed(160, |seed| {
        let simulation = Simulation::new(seed);
        let id = simulation.run(async {
            let host = harness::start(2).await;
            let id = create(&host, "t", &[1]).await;
            for number in 0..3 {
                store(&host, 0, PartitionKey { topic_id: id, index: 0 }, number).await;
            }
            id
        });
        simulation.kill();
        let key = PartitionKey { topic_id: id, index: 0 };
        let acknowledged = Rc::new(Cell::new((3, false)));
        let noted = acknowledged.clone();
        simulation.run_until(Stop::AfterDiskOperations(seed), async move {
            let host = harness::start(2).await;
            let moving = async {
                assert_eq!(move_to(&host, key, 0).await, Ok(()));
                noted.set((noted.get().0, true));
            };
            let writing = async {
                for number in 3..12 {
                    store(&host, 1, key, number).await;
                    noted.set((number + 1, noted.get().1));
                }
            };
            join(moving, writing).await;
        });
        if seed.is_multiple_of(2) {
            simulation.crash()
        } else {
            simulation.kill()
        }
        simulation.run(async {
            let host = harness::start(2).await;
            let (records, is_moved) = acknowledged.get();
            let PartitionPlace { shard, leader_epoch, .. } = place(&host, 1, key);
            assert_eq!(leader_epoch, i32::from(shard == ShardId(0)));
            assert!(!is_moved || shard == ShardId(0), "it is back where it was");
            assert_eq!(owners(&host, key), [shard]);
            let end = end_of(&host, key).await;
            assert!(end >= Offset(records.into()), "{records} were acknowledged, {end} are left");
            let next = i32::try_from(end.0).unwrap();
            assert_eq!(store(&host, 0, key, next).await, end);
        });
    });
}

#[test]
fn where_a_partition_moved_to_outlasts_restarts_with_any_number_of_cores() {
    let simulation = Simulation::new(1);
    let id = simulation.run(async {
        let host = harness::start(3).await;
        let id = create(&host, "t", &[0, 0, 1]).await;
        for index in 0..3 {
            let key = PartitionKey { topic_id: id, index };
            store(&host, 0, key, 0).await;
            assert_eq!(move_to(&host, key, 2).await, Ok(()));
            store(&host, 0, key, 1).await;
        }
        id
    });
    for (shards, stops) in [(3, true), (3, false), (2, true), (1, false), (3, false)] {
        simulation.crash();
        simulation.run(async {
            let host = harness::start(shards).await;
            for index in 0..3 {
                let key = PartitionKey { topic_id: id, index };
                let PartitionPlace { shard, leader_epoch, .. } = place(&host, 0, key);
                assert_eq!(owners(&host, key), [shard]);
                assert!(leader_epoch >= 1);
                let end = end_of(&host, key).await;
                assert!(end >= Offset(2), "{end} of 2 records are left");
                assert_eq!(store(&host, 0, key, end.0 as i32).await, end);
            }
            if stops {
                join_all(host.shards.iter().map(|shard| shard.stop_partitions())).await;
            }
        });
    }
}

#[test]
fn a_partition_moves_that_a_start_has_not_opened_yet() {
    for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let id = simulation.run(async {
            let host = harness::start(2).await;
            let id = create(&host, "t", &[1; 40]).await;
            for index in 0..40 {
                store(&host, 0, PartitionKey { topic_id: id, index }, 0).await;
            }
            id
        });
        simulation.crash();
        simulation.run(async {
            let host = harness::start_unopened(2, Config::default()).await.unwrap();
            let key = PartitionKey { topic_id: id, index: (seed % 40) as i32 };
            let early = append(&host, (seed % 2) as usize, key, 1);
            let (moved, stored) = join(move_to(&host, key, 0), produced(early)).await;
            assert_eq!(moved, Ok(()));
            assert_eq!(stored.unwrap().dispatched.base_offset, Offset(1));
            assert_eq!(owners(&host, key), [ShardId(0)]);
            assert_eq!(store(&host, 1, key, 1).await, Offset(1));
        });
    });
}

#[test]
fn a_stop_in_the_middle_of_a_move_leaves_the_files_complete() {
    for_each_seed(40, |seed| {
        let simulation = Simulation::new(seed);
        let id = simulation.run(async {
            let host = harness::start(2).await;
            let id = create(&host, "t", &[1]).await;
            let key = PartitionKey { topic_id: id, index: 0 };
            for number in 0..5 {
                store(&host, 0, key, number).await;
            }
            let stopping = async {
                runtime::sleep(Duration::from_micros(seed * 31 % 1500)).await;
                join_all(host.shards.iter().map(|shard| shard.stop_partitions())).await;
            };
            let request = ControlRequest::MovePartition { topic_id: id, index: 0, to: ShardId(0) };
            let (moved, ()) = join(host.shards[1].control(request), stopping).await;
            let is_expected = matches!(
                moved,
                ControlReply::MovePartition(Ok(()) | Err(ControlError::Stopping))
                    | ControlReply::Stopping
            );
            assert!(is_expected, "{moved:?}");
            id
        });
        simulation.kill();
        let files = simulation.disk().files();
        let snapshot = "/t-0/00000000000000000005.producers";
        assert!(files.iter().any(|file| file.ends_with(snapshot)), "{files:?}");
        simulation.run(async {
            let host = harness::start(2).await;
            let key = PartitionKey { topic_id: id, index: 0 };
            assert_eq!(owners(&host, key), [place(&host, 0, key).shard]);
            assert_eq!(end_of(&host, key).await, Offset(5));
        });
    });
}
