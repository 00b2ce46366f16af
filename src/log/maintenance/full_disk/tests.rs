use crate::log::fault::{FaultKind, LogFault};
use crate::log::{AppendError, LogConfig, LogOptions, Partition, PartitionId, ShardLog, WatchKey};
use crate::probe::Probe;
use crate::runtime;
use crate::runtime::sim::{DiskOperation, DiskOptions, Effect, Fault, Simulation, disk};
use crate::types::{Durability, Offset, TopicId};
use crate::wire::batch::testing;
use bytes::Bytes;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// errno(3), no space left on device.
const ENOSPC: i32 = 28;

fn simulate<T>(body: impl Future<Output = T>) -> T {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(body)
}

fn shard() -> Rc<ShardLog> {
    let shard = ShardLog::new(LogOptions::new("/data".into()), Rc::new(Probe::default()));
    shard.start_writers();
    shard
}

fn id() -> PartitionId {
    PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 }
}

/// Two batches fill a segment.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 100_000, ..LogConfig::default() }
}

async fn open(shard: &Rc<ShardLog>, config: LogConfig) -> Rc<Partition> {
    Partition::open(shard, id(), Arc::new(config), 0, Offset::ZERO).await.unwrap()
}

async fn try_append(partition: &Rc<Partition>) -> Result<(), LogFault> {
    let now = runtime::wall_clock();
    let bytes = Bytes::from(testing::batch(&[&[7; 40_000][..]], now, None));
    let dispatched = match partition.append(bytes, now) {
        Err(AppendError::Offline(fault)) => return Err(fault),
        other => other.unwrap(),
    };
    let mut key = WatchKey::default();
    poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context)).await
}

async fn append(partition: &Rc<Partition>, count: usize) {
    for _ in 0..count {
        try_append(partition).await.unwrap();
    }
    partition.kept().await;
}

/// Nothing more fits; records come in until one is refused for it.
async fn fill(partition: &Rc<Partition>) {
    disk().set_options(DiskOptions { capacity: disk().used_bytes(), ..disk().options() });
    let fault = loop {
        if let Err(fault) = try_append(partition).await {
            break fault;
        }
    };
    assert_eq!(fault.kind, FaultKind::StorageFull);
    partition.kept().await;
}

async fn online(partition: &Rc<Partition>) {
    while partition.fault().is_some() {
        runtime::sleep(Duration::from_millis(100)).await;
    }
}

async fn within_seconds<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    let done = runtime::timeout(Duration::from_secs(seconds), work).await;
    done.expect("it takes too long")
}

#[test]
fn deleting_records_makes_room_on_a_disk_that_they_filled() {
    simulate(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 9).await;
        fill(&partition).await;
        let end = partition.high_watermark();
        assert_eq!(partition.read(Offset(8), 1, true).await.unwrap().high_watermark, end);
        partition.raise_log_start(Offset(5));
        within_seconds(3, online(&partition)).await;
        assert_eq!(partition.log_start(), Offset(5));
        append(&partition, 1).await;
        assert_eq!(partition.high_watermark(), end.advanced_by(1));
    });
}

#[test]
fn retention_makes_room_on_a_disk_that_is_full_and_nothing_of_it_comes_back() {
    let simulation = Simulation::new(7);
    simulation.disk().put_directory("/data").unwrap();
    let (start, end) = simulation.run(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 9).await;
        fill(&partition).await;
        let one = LogConfig { retention_bytes: 1, ..config() };
        partition.set_config(Arc::new(one));
        within_seconds(3, online(&partition)).await;
        append(&partition, 1).await;
        (partition.log_start(), partition.high_watermark())
    });
    assert!(start > Offset(4), "{start}");
    simulation.crash();
    simulation.run(async {
        let partition = open(&shard(), config()).await;
        assert_eq!((partition.log_start(), partition.high_watermark()), (start, end));
    });
}

#[test]
fn what_could_not_be_opened_for_a_full_disk_is_read_again_without_a_producer() {
    simulate(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 3).await;
        partition.stop().await.unwrap();
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let fault = LogFault::from_io("write", Path::new("/data/t-0"), 0, &error);
        let config = Arc::new(config());
        let again = Partition::offline(&shard(), id(), config, 0, Offset::ZERO, fault);
        assert!(again.read(Offset(0), 1, true).await.is_err());
        within_seconds(3, online(&again)).await;
        assert_eq!(again.read(Offset(0), 1, true).await.unwrap().high_watermark, Offset(3));
    });
}

#[test]
fn a_folder_of_another_topic_is_set_aside_also_when_a_full_disk_is_tried_again() {
    simulate(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 3).await;
        partition.stop().await.unwrap();
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let fault = LogFault::from_io("write", Path::new("/data/t-0"), 0, &error);
        let other = PartitionId { topic_id: TopicId([4; 16]), ..id() };
        let config = Arc::new(config());
        let other = Partition::offline(&shard(), other, config, 0, Offset::ZERO, fault);
        within_seconds(3, online(&other)).await;
        assert_eq!(other.high_watermark(), Offset::ZERO);
    });
}

#[test]
fn a_sync_that_failed_while_a_segment_was_sealed_stops_the_partition_at_once() {
    simulate(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 2).await;
        disk().fail_next(DiskOperation::Sync, "00000000000000000000.log");
        // This one is in the next segment; what becomes of it nobody promised.
        drop(try_append(&partition).await);
        partition.kept().await;
        assert_eq!(partition.fault().map(|fault| fault.kind), Some(FaultKind::Device));
        assert!(try_append(&partition).await.is_err());
    });
}

#[test]
fn a_sync_that_failed_for_a_recovery_point_stops_the_partition_and_is_not_tried_again() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        let shard = shard();
        let lax = LogConfig { durability: Durability::Write, ..config() };
        let partition = open(&shard, lax).await;
        append(&partition, 1).await;
        disk().fail_next(DiskOperation::Sync, "00000000000000000000.log");
        shard.save_recovery_points().await.unwrap();
        assert_eq!(partition.fault().map(|fault| fault.kind), Some(FaultKind::Device));
        shard.save_recovery_points().await.unwrap();
    });
    simulation.crash();
    // Nothing says that the record is there: its loss is no damage.
    simulation.run(async {
        open(&shard(), config()).await;
    });
}

#[test]
fn a_partition_that_holds_its_recovery_point_back_is_told_and_counts_on() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard, config()).await;
        append(&partition, 2).await;
        // The seal finds no room for its snapshot of producers.
        let full = Fault {
            operation: DiskOperation::Write,
            path_contains: ".producers".to_string(),
            skip: 0,
            times: 1,
            effect: Effect::Error(ENOSPC),
        };
        disk().inject(full);
        append(&partition, 1).await;
        assert_eq!(partition.fault(), None);
        let unsaved = shard.unsaved_bytes();
        assert_eq!(shard.save_recovery_points().await.unwrap(), 1);
        assert_eq!(shard.unsaved_bytes(), unsaved);
        // The next segment finds it out, and the one after goes on.
        append(&partition, 1).await;
        assert_eq!(
            try_append(&partition).await.map_err(|fault| fault.kind),
            Err(FaultKind::StorageFull)
        );
        within_seconds(3, online(&partition)).await;
        append(&partition, 1).await;
        assert_eq!(shard.save_recovery_points().await.unwrap(), 0);
        assert_eq!(shard.unsaved_bytes(), 0);
    });
}

#[test]
fn damaged_segments_get_old_too() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        let partition = open(&shard(), config()).await;
        append(&partition, 5).await;
        partition.stop().await.unwrap();
    });
    simulation.kill();
    for index in ["index", "timeindex"] {
        let path = format!("/data/t-0/00000000000000000000.{index}");
        simulation.disk().put_file(&path, b"no index").unwrap();
    }
    let segment = "/data/t-0/00000000000000000000.log";
    simulation.disk().flip_bit(segment, 500, 3).unwrap();
    simulation.run(async {
        let old = LogConfig { retention_ms: 60_000, ..config() };
        let partition = open(&shard(), old).await;
        partition.retain_later();
        partition.kept().await;
        assert_eq!(partition.log_start(), Offset::ZERO);
        runtime::sleep(Duration::from_secs(100)).await;
        partition.retain_later();
        partition.kept().await;
        assert!(partition.log_start() >= Offset(4), "{}", partition.log_start());
    });
}

#[test]
fn what_could_not_be_freed_is_freed_later_and_files_of_others_stay() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        let shard = shard();
        let partition = open(&shard, config()).await;
        append(&partition, 5).await;
        disk().put_file("/data/t-0/notes.undeleted", b"mine").unwrap();
        disk().put_file("/data/t-0/undeleted", b"mine").unwrap();
        disk().fail_next(DiskOperation::Open, ".log.deleted");
        partition.raise_log_start(Offset(2));
        partition.kept().await;
        let left = || disk().files().iter().filter(|file| file.ends_with(".deleted")).count();
        while shard.is_freeing() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(left(), 1);
        runtime::sleep(shard.options.retention_check * 2).await;
        assert_eq!(left(), 0);
        partition.stop().await.unwrap();
    });
    simulation.kill();
    simulation.run(async {
        open(&shard(), config()).await;
        let mine = disk().files().iter().filter(|file| file.ends_with("undeleted")).count();
        assert_eq!(mine, 2);
    });
}
