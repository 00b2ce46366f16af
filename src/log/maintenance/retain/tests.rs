use crate::log::{LogConfig, LogOptions, Partition, PartitionId, ReadError, ShardLog, WatchKey};
use crate::probe::Probe;
use crate::runtime;
use crate::runtime::sim::{Simulation, Stop, for_each_seed};
use crate::types::{Offset, Timestamp, TopicId};
use crate::wire::batch::testing;
use bytes::Bytes;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Two of the batches below fill a segment.
const SEGMENT_BYTES: u64 = 5000;
/// Of a deleted file freed at once.
const PIECE_BYTES: u64 = 1500;

async fn open(config: LogConfig) -> Rc<Partition> {
    let options = LogOptions { free_piece_bytes: PIECE_BYTES, ..LogOptions::new("/data".into()) };
    let shard = ShardLog::new(options, Rc::new(Probe::default()));
    shard.start_writers();
    let id = PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 };
    Partition::open(&shard, id, Arc::new(config), 0, Offset::ZERO).await.unwrap()
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() }
}

async fn append(partition: &Rc<Partition>, time: i64) {
    let bytes = Bytes::from(testing::batch(&[&[7; 2000][..]], Timestamp(time), None));
    let dispatched = partition.append(bytes, runtime::wall_clock()).unwrap();
    let mut key = WatchKey::default();
    poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context)).await.unwrap();
}

/// A log of ten batches of one record each, in five segments.
async fn five_segments() -> Rc<Partition> {
    let partition = open(config()).await;
    for _ in 0..10 {
        append(&partition, runtime::wall_clock().0).await;
    }
    partition.kept().await;
    partition
}

async fn retained(partition: &Rc<Partition>, config: LogConfig) -> i64 {
    partition.set_config(Arc::new(config));
    partition.retain_later();
    partition.kept().await;
    partition.log_start().0
}

fn simulate<T>(body: impl Future<Output = T>) -> T {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(body)
}

fn segments() -> usize {
    runtime::sim::disk().files().iter().filter(|file| file.ends_with(".log")).count()
}

#[test]
fn the_oldest_segments_go_while_the_others_hold_enough() {
    simulate(async {
        let partition = five_segments().await;
        let all = partition.log_bytes();
        let keep = |bytes: u64| LogConfig { retention_bytes: bytes as i64, ..config() };
        assert_eq!(retained(&partition, keep(all)).await, 0);
        assert_eq!(retained(&partition, keep(all * 3 / 5)).await, 4);
        assert_eq!(retained(&partition, keep(all * 3 / 5)).await, 4, "nothing more is due");
        assert!(matches!(
            partition.read(Offset(3), 100, true).await,
            Err(ReadError::OutOfRange { log_start: Offset(4), .. })
        ));
        assert_eq!(
            partition.read(Offset(4), 1 << 20, true).await.unwrap().high_watermark,
            Offset(10)
        );
        assert_eq!(segments(), 3);
        let none = LogConfig { deletes: false, ..keep(0) };
        assert_eq!(retained(&partition, none).await, 4, "cleanup.policy does not say delete");
    });
}

#[test]
fn a_segment_goes_when_its_newest_record_is_too_old() {
    simulate(async {
        let partition = five_segments().await;
        let age = |ms| LogConfig { retention_ms: ms, ..config() };
        runtime::sleep(Duration::from_secs(10)).await;
        assert_eq!(retained(&partition, age(60_000)).await, 0);
        append(&partition, runtime::wall_clock().0).await;
        partition.kept().await;
        assert_eq!(retained(&partition, age(5000)).await, 10, "all but the segment that is young");
        runtime::sleep(Duration::from_secs(10)).await;
        assert_eq!(retained(&partition, age(5000)).await, 11, "the only one too, after a new one");
        append(&partition, runtime::wall_clock().0).await;
        assert_eq!(partition.high_watermark(), Offset(12));
        partition.stop().await.unwrap();
        let again = open(config()).await;
        assert_eq!((again.log_start(), again.high_watermark()), (Offset(11), Offset(12)));
    });
}

#[test]
fn records_without_times_are_as_old_as_their_file() {
    simulate(async {
        let partition = open(config()).await;
        for _ in 0..6 {
            append(&partition, -1).await;
        }
        partition.kept().await;
        let age = |ms| LogConfig { retention_ms: ms, ..config() };
        assert_eq!(retained(&partition, age(60_000)).await, 0);
        runtime::sleep(Duration::from_secs(100)).await;
        assert_eq!(retained(&partition, age(60_000)).await, 4);
    });
}

#[test]
fn what_was_deleted_by_name_is_freed() {
    simulate(async {
        let partition = five_segments().await;
        assert_eq!(partition.raise_log_start(Offset(5)), Offset(5));
        partition.kept().await;
        assert_eq!(segments(), 3, "the one that holds the start stays");
        assert_eq!(partition.log_start(), Offset(5));
    });
}

/// The process dies somewhere while segments are freed, and the next one loses its power; then what is left must be
/// without a gap. Or power is lost at once.
fn is_whole_after_power_loss(seed: u64, killed_before: bool) -> bool {
    let simulation = Simulation::new(seed);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        five_segments().await.stop().await.unwrap();
    });
    simulation.kill();
    let deletes = async {
        let partition = open(config()).await;
        retained(&partition, LogConfig { retention_bytes: 1, ..config() }).await;
    };
    let _ = simulation.run_until(Stop::AfterDiskOperations(5 + seed % 40), deletes);
    if killed_before {
        simulation.kill();
        simulation.run(async {
            let partition = open(config()).await;
            while partition.shard.is_freeing() {
                runtime::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    simulation.crash();
    simulation.run(async {
        let partition = open(config()).await;
        let mut next = partition.log_start();
        while next < partition.high_watermark() {
            match partition.read(next, 1, true).await {
                Ok(found) if found.bytes > 0 => next = next.advanced_by(1),
                _ => return false,
            }
        }
        true
    })
}

#[test]
fn deleted_segments_never_come_back_in_front_of_a_gap() {
    for_each_seed(300, |seed| assert!(is_whole_after_power_loss(seed, false)));
    for_each_seed(300, |seed| assert!(is_whole_after_power_loss(seed, true)));
}

/// Lengths of files of deleted segments.
fn deleted_bytes() -> Vec<usize> {
    let disk = runtime::sim::disk();
    let deleted = disk.files().into_iter().filter(|file| file.ends_with(".deleted"));
    deleted.map(|file| disk.read_file(&file).unwrap().len()).collect()
}

#[test]
fn deleted_segments_are_freed_piece_by_piece() {
    simulate(async {
        let partition = five_segments().await;
        let one = LogConfig { retention_bytes: 1, ..config() };
        assert_eq!(retained(&partition, one).await, 8);
        let mut seen = vec![deleted_bytes()];
        assert!(seen[0].len() > 1, "nothing waits to be freed: {seen:?}");
        while partition.shard.is_freeing() {
            runtime::sleep(Duration::from_micros(20)).await;
            let now = deleted_bytes();
            if Some(&now) != seen.last() {
                seen.push(now);
            }
        }
        assert_eq!(seen.last().map(Vec::len), Some(0));
        for step in seen.windows(2) {
            let [before, after] = step else { unreachable!() };
            let freed = before.iter().sum::<usize>() - after.iter().sum::<usize>();
            assert!(freed <= 2 * PIECE_BYTES as usize, "{freed} bytes were freed at once");
        }
        assert_eq!(segments(), 1);
    });
}

#[test]
fn what_a_crash_leaves_of_deleted_segments_is_freed_by_the_next_life() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        let partition = five_segments().await;
        let one = LogConfig { retention_bytes: 1, ..config() };
        assert_eq!(retained(&partition, one).await, 8);
        assert!(!deleted_bytes().is_empty());
    });
    simulation.kill();
    simulation.run(async {
        let partition = open(config()).await;
        assert_eq!((partition.log_start().0, segments()), (8, 1));
        while partition.shard.is_freeing() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(deleted_bytes(), Vec::<usize>::new());
    });
}
