//! One partition on the simulated disk, step by step; whole histories are in `simulator`.

use super::*;
use crate::probe::Probe;
use crate::runtime::sim::{DiskOptions, Simulation, disk, for_each_seed};
use crate::runtime::{self, sim};
use crate::types::{Durability, Offset, Timestamp, TopicId};
use crate::wire::batch::{self, BatchHeader, testing};
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const FOLDER: &str = "/data/t-0";

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

async fn open_with(shard: &Rc<ShardLog>, config: LogConfig, epoch: i32) -> Rc<Partition> {
    let id = PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 };
    Partition::open(shard, id, Arc::new(config), epoch, Offset::ZERO).await.unwrap()
}

async fn open(shard: &Rc<ShardLog>) -> Rc<Partition> {
    open_with(shard, LogConfig::default(), 0).await
}

/// A batch of `records` records whose first has a value of so many bytes.
fn bytes_of(records: usize, bytes: usize, time: i64, producer: testing::Producer) -> Bytes {
    let value = vec![7; bytes];
    let values: Vec<&[u8]> =
        (0..records).map(|record| if record == 0 { &value[..] } else { b"x" }).collect();
    Bytes::from(testing::batch(&values, Timestamp(time), producer))
}

async fn produced(partition: &Rc<Partition>, dispatched: Dispatched) -> Result<(), LogFault> {
    let mut key = WatchKey::default();
    poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context)).await
}

/// Appends and waits; the base offset.
async fn append(partition: &Rc<Partition>, bytes: Bytes) -> i64 {
    let dispatched = partition.append(bytes, runtime::wall_clock()).unwrap();
    produced(partition, dispatched).await.unwrap();
    dispatched.base_offset.0
}

/// Base offsets of the batches that a read gives.
async fn read(
    partition: &Rc<Partition>,
    offset: i64,
    bytes_max: usize,
    first_whole: bool,
) -> Vec<i64> {
    let found = partition.read(Offset(offset), bytes_max, first_whole).await.unwrap();
    let mut bases = Vec::new();
    for slice in &found.slices {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            let header = batch::parse_whole(rest).unwrap();
            bases.push(header.base_offset.0);
            rest = &rest[header.batch_bytes..];
        }
    }
    bases
}

/// Four batches: offsets 0-2, 3, 4-5, 6, of 178, 170, 172 and 170 bytes, a second apart.
async fn four(partition: &Rc<Partition>) {
    for (number, records) in [3, 1, 2, 1].into_iter().enumerate() {
        append(partition, bytes_of(records, 100, 1000 * number as i64, None)).await;
    }
}

/// The same reads from the tail cache and from the file.
async fn check_reads(partition: &Rc<Partition>) {
    let whole = |offset| partition.read(Offset(offset), 1 << 20, true);
    let size = whole(6).await.unwrap().bytes;
    assert_eq!(read(partition, 0, 1 << 20, false).await, [0, 3, 4, 6]);
    // From within a batch, that batch is given whole.
    assert_eq!(read(partition, 2, 1 << 20, false).await, [0, 3, 4, 6]);
    assert_eq!(read(partition, 5, 1 << 20, false).await, [4, 6]);
    // As many whole batches as fit; the first one anyhow if asked for (KIP-74).
    assert_eq!(read(partition, 6, size, false).await, [6]);
    assert_eq!(read(partition, 6, size - 1, false).await, [0i64; 0]);
    assert_eq!(read(partition, 6, size - 1, true).await, [6]);
    assert_eq!(read(partition, 3, 2 * size, true).await, [3]);
    assert_eq!(read(partition, 3, 3 * size, true).await, [3, 4]);
    assert_eq!(read(partition, 0, 0, true).await, [0]);
    assert_eq!(read(partition, 0, 0, false).await, [0i64; 0]);
    // At the end there is nothing yet; beyond it, and before the start, nothing ever.
    assert_eq!(read(partition, 7, 1 << 20, true).await, [0i64; 0]);
    for offset in [-1, 8] {
        let outside = ReadError::OutOfRange {
            offset: Offset(offset),
            log_start: Offset::ZERO,
            high_watermark: Offset(7),
        };
        assert_eq!(whole(offset).await.unwrap_err(), outside);
    }
}

#[test]
fn reads_give_whole_batches_within_the_limits_from_memory_and_file() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        four(&partition).await;
        check_reads(&partition).await;
        assert!(shard.probe.tail_reads.get() > 0 && shard.probe.disk_reads.get() == 0);
        partition.stop().await.unwrap();
        let again = open(&shard).await;
        check_reads(&again).await;
        assert!(shard.probe.disk_reads.get() > 0);
    });
}

#[test]
fn deleted_records_are_out_of_range_and_the_start_never_goes_back() {
    simulate(async {
        let partition = open(&shard()).await;
        four(&partition).await;
        assert_eq!(partition.raise_log_start(Offset(5)), Offset(5));
        assert_eq!(partition.raise_log_start(Offset(2)), Offset(5));
        assert!(matches!(
            partition.read(Offset(4), 100, true).await,
            Err(ReadError::OutOfRange { .. })
        ));
        assert_eq!(read(&partition, 5, 1, true).await, [4]);
        assert_eq!(partition.raise_log_start(Offset(99)), Offset(7));
    });
}

#[test]
fn segments_roll_by_size_and_time_and_are_read_through() {
    simulate(async {
        let shard = shard();
        let config = LogConfig { segment_bytes: 5000, segment_ms: 10_000, ..LogConfig::default() };
        let partition = open_with(&shard, config.clone(), 0).await;
        // Two fit; the next would make it too large; then one too young; then one larger than a segment.
        for (bytes, time) in [(2000, 0), (2000, 1), (2000, 2), (10, 10_003), (9000, 10_004)] {
            append(&partition, bytes_of(1, bytes, time, None)).await;
        }
        // A batch without a time, or an old one, is no reason.
        for time in [-1, 5, 10_005] {
            append(&partition, bytes_of(1, 10, time, None)).await;
        }
        partition.kept().await;
        let names: Vec<String> = disk().files();
        let logs = |suffix: &str| -> Vec<i64> {
            let names = names.iter().filter_map(|name| name.rsplit('/').next());
            let parsed = names.filter_map(|name| segment::parse_name(name));
            parsed.filter(|(_, found)| *found == suffix).map(|(base, _)| base.0).collect()
        };
        assert_eq!(logs("log"), [0, 2, 3, 4, 5]);
        assert_eq!(logs("index"), [0, 2, 3, 4]);
        assert_eq!(logs("timeindex"), [0, 2, 3, 4]);
        partition.stop().await.unwrap();
        let partition = open_with(&shard, config, 0).await;
        for offset in 0..8 {
            assert_eq!(read(&partition, offset, 1, true).await, [offset]);
        }
    });
}

#[test]
fn indexes_that_a_crash_left_without_their_segments_are_removed() {
    simulate(async {
        let config = LogConfig { segment_bytes: 5000, retention_ms: -1, ..LogConfig::default() };
        let shard = shard();
        let partition = open_with(&shard, config.clone(), 0).await;
        for time in 0..3 {
            append(&partition, bytes_of(1, 4000, time, None)).await;
        }
        partition.kept().await;
        partition.raise_log_start(Offset(1));
        partition.kept().await;
        partition.stop().await.unwrap();
        let names = || disk().files().into_iter().filter(|name| name.ends_with("index"));
        let kept: Vec<String> = names().collect();
        assert!(
            kept.len() >= 2 && !kept.iter().any(|name| name.contains("/00000000000000000000."))
        );
        for suffix in [segment::INDEX_SUFFIX, segment::TIME_INDEX_SUFFIX] {
            let path = segment::file_path(FOLDER.as_ref(), Offset(0), suffix);
            disk().put_file(&path, b"of a segment that is gone").unwrap();
        }
        assert_eq!(names().count(), kept.len() + 2);
        let partition = open_with(&shard, config, 0).await;
        assert_eq!(names().collect::<Vec<_>>(), kept);
        assert_eq!(read(&partition, 1, 1, true).await, [1]);
    });
}

#[test]
fn an_index_that_is_written_on_bounds_what_is_scanned() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    let options = LogOptions { index_step_bytes: 8192, ..LogOptions::new("/data".into()) };
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let shard = || {
        let shard = ShardLog::new(options.clone(), Rc::new(Probe::default()));
        shard.start_writers();
        shard
    };
    for life in 0..3 {
        simulation.run(async {
            let shard = shard();
            shard.load_recovery_points().await.unwrap();
            let partition = open_with(&shard, config.clone(), 0).await;
            let scanned = partition.recovery().scanned_bytes;
            assert!(scanned < 1000, "life {life} scans {scanned} bytes");
            // More entries than a block of either file holds.
            for batch in 0..1500 {
                let bytes = bytes_of(1, 10, 1000 * life + batch, None);
                let dispatched = partition.append(bytes, runtime::wall_clock()).unwrap();
                produced(&partition, dispatched).await.unwrap();
                partition.kept().await;
            }
            shard.save_recovery_points().await.unwrap();
            append(&partition, bytes_of(1, 10, 1000 * life + 1500, None)).await;
            let end = partition.high_watermark().0;
            assert_eq!(read(&partition, end / 2, 1, true).await, [end / 2]);
        });
        simulation.kill();
    }
}

#[test]
fn whoever_writes_recovery_points_lets_connections_read_on() {
    simulate(async {
        let options =
            LogOptions { recovery_scan_bytes_max: 100, ..LogOptions::new("/data".into()) };
        // Without the task that writes them when it is time: at a start another may come first.
        let shard = ShardLog::new(options, Rc::new(Probe::default()));
        shard.note_unsaved(101);
        let waiting = runtime::spawn({
            let shard = shard.clone();
            async move { shard.pending_below_limit().await }
        });
        let limit = Duration::from_secs(1);
        assert_eq!(runtime::timeout(limit, shard.pending_below_limit()).await, None);
        shard.save_recovery_points().await.unwrap();
        assert_eq!(runtime::timeout(limit, waiting).await, Some(()));
    });
}

/// Bytes scanned after a loss of power, when all but one batch was written down before.
fn scanned_after_power_loss(seed: u64) -> u64 {
    let simulation = Simulation::new(seed);
    simulation.disk().put_directory("/data").unwrap();
    let options = LogOptions { index_step_bytes: 8192, ..LogOptions::new("/data".into()) };
    let config = LogConfig { message_bytes_max: 8192, ..LogConfig::default() };
    let opened = async || {
        let shard = ShardLog::new(options.clone(), Rc::new(Probe::default()));
        shard.start_writers();
        shard.load_recovery_points().await.unwrap();
        let partition = open_with(&shard, config.clone(), 0).await;
        (shard, partition)
    };
    simulation.run(async {
        let (shard, partition) = opened().await;
        for batch in 0..30 {
            append(&partition, bytes_of(1, 5000, batch, None)).await;
            partition.kept().await;
        }
        shard.save_recovery_points().await.unwrap();
        append(&partition, bytes_of(1, 5000, 30, None)).await;
    });
    simulation.crash();
    simulation.run(async { opened().await.1.recovery().scanned_bytes })
}

#[test]
fn power_loss_takes_no_index_back_that_bounds_what_is_scanned() {
    for_each_seed(50, |seed| {
        let scanned = scanned_after_power_loss(seed);
        assert!(scanned <= 2 * 8192, "{scanned} bytes are scanned");
    });
}

#[test]
fn a_clean_stop_leaves_nothing_to_scan_and_is_left_alone_when_nothing_came() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        for _ in 0..40 {
            append(&partition, bytes_of(2, 3000, 5, None)).await;
        }
        partition.stop().await.unwrap();
        let again = open(&shard).await;
        assert!(again.recovery().scanned_bytes < 8000, "{:?}", again.recovery());
        assert_eq!((again.high_watermark(), again.recovery().cut_bytes), (Offset(80), 0));
        let before = disk().operations_submitted();
        again.stop().await.unwrap();
        assert_eq!(disk().operations_submitted(), before);
        assert_eq!(append(&again, bytes_of(1, 10, 5, None)).await, 80);
    });
}

#[test]
fn what_power_loss_left_of_deleted_records_is_read_by_one_start_only() {
    simulate(async {
        let partition = open(&shard()).await;
        for batch in 0..40 {
            append(&partition, bytes_of(1, 3000, batch, None)).await;
        }
        // As after a loss of power without fsync: there were more, and all were deleted.
        let open_behind = async |end| {
            let (id, config) = (partition.id.clone(), Arc::new(LogConfig::default()));
            let again = Partition::open(&shard(), id, config, 0, Offset(90)).await.unwrap();
            assert_eq!((again.log_start(), again.high_watermark()), (Offset(90), Offset(end)));
            again
        };
        let first = open_behind(90).await;
        assert_eq!(first.recovery().scanned_bytes, partition.log_bytes());
        let second = open_behind(90).await;
        assert!(second.recovery().scanned_bytes < 8000, "{:?}", second.recovery());
        assert_eq!(append(&second, bytes_of(1, 10, 5, None)).await, 90);
        let third = open_behind(91).await;
        assert_eq!(read(&third, 90, 1, true).await, [90]);
    });
}

#[test]
fn what_a_start_cut_stays_cut_after_a_stop_and_power_loss_without_fsync_too() {
    let config = LogConfig { durability: Durability::Write, ..LogConfig::default() };
    // A start after the last one may have died before its cut was durable.
    for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let disk = simulation.disk();
        disk.put_directory("/data").unwrap();
        simulation.run(async {
            append(&open_with(&shard(), config.clone(), 0).await, bytes_of(1, 9000, 5, None)).await
        });
        let path = format!("{FOLDER}/00000000000000000000.log");
        let mut bytes = disk.read_file(&path).unwrap();
        bytes[100] ^= 1;
        disk.put_file(&path, &bytes).unwrap();
        simulation.run(async {
            let file = runtime::File::open(path.as_ref(), Default::default()).await.unwrap();
            file.truncate(0).await.unwrap();
            let partition = open_with(&shard(), config.clone(), 0).await;
            partition.stop().await.unwrap();
        });
        simulation.crash();
        let recovery =
            simulation.run(async { open_with(&shard(), config.clone(), 0).await.recovery() });
        assert_eq!(recovery.cut_bytes, 0);
    });
}

#[test]
fn torn_tail_is_cut_at_the_last_whole_batch() {
    simulate(async {
        let partition = open(&shard()).await;
        four(&partition).await;
        let path = format!("{FOLDER}/00000000000000000000.log");
        let mut bytes = disk().read_file(&path).unwrap();
        let last = partition.log_bytes() as usize - 1;
        bytes[last] ^= 1;
        disk().put_file(&path, &bytes).unwrap();
        let again = open(&shard()).await;
        assert_eq!(again.high_watermark(), Offset(6));
        assert!(again.recovery().cut_bytes > 0);
        assert_eq!(append(&again, bytes_of(1, 10, 5, None)).await, 6);
    });
}

#[test]
fn damage_before_the_checkpoint_is_reported_and_not_cut() {
    simulate(async {
        let partition = open(&shard()).await;
        four(&partition).await;
        partition.stop().await.unwrap();
        let path = format!("{FOLDER}/00000000000000000000.log");
        disk().flip_bit(&path, partition.log_bytes() - 1, 0).unwrap();
        let before = disk().read_file(&path).unwrap();
        let id = partition.id.clone();
        let config = Arc::new(LogConfig::default());
        let opened = Partition::open(&shard(), id, config, 0, Offset::ZERO).await;
        let fault = opened.err().expect("it stays offline");
        assert_eq!(fault.kind, FaultKind::Damage);
        assert_eq!(disk().read_file(&path).unwrap(), before);
    });
}

#[test]
fn times_find_the_first_batch_that_may_hold_them() {
    simulate(async {
        let shard = shard();
        let config = LogConfig { segment_bytes: 400, ..LogConfig::default() };
        let partition = open_with(&shard, config.clone(), 0).await;
        let by_time = async |partition: &Rc<Partition>, time, from| {
            let found = partition.find_batch_by_time(Timestamp(time), Offset(from)).await.unwrap();
            found.map(|bytes| batch::parse_whole(&bytes).unwrap().base_offset.0)
        };
        let latest = async |partition: &Rc<Partition>| {
            let found = partition.find_batch_of_max_time().await.unwrap();
            found.map(|bytes| batch::parse_whole(&bytes).unwrap().base_offset.0)
        };
        assert_eq!((by_time(&partition, 0, 0).await, latest(&partition).await), (None, None));
        // Out of order: the largest lies in the middle, in a segment that is sealed.
        for (base, time) in [100, 300, 900, 200, 400, -1].into_iter().enumerate() {
            assert_eq!(append(&partition, bytes_of(1, 100, time, None)).await, base as i64);
        }
        for again in [false, true] {
            let partition = match again {
                true => {
                    partition.stop().await.unwrap();
                    open_with(&shard, config.clone(), 0).await
                }
                false => partition.clone(),
            };
            for (time, from, expected) in [
                (0, 0, Some(0)),
                (100, 0, Some(0)),
                (101, 0, Some(1)),
                (301, 0, Some(2)),
                (901, 0, None),
                (150, 3, Some(3)),
                (250, 3, Some(4)),
                (0, 5, None),
            ] {
                assert_eq!(by_time(&partition, time, from).await, expected, "{time} from {from}");
            }
            assert_eq!(latest(&partition).await, Some(2));
        }
        let partition = open_with(&shard, config, 0).await;
        partition.raise_log_start(Offset(3));
        assert_eq!(latest(&partition).await, Some(4));
        assert_eq!(by_time(&partition, 500, 0).await, None);
    });
}

#[test]
fn leader_epochs_and_their_ends_are_known_after_a_restart() {
    simulate(async {
        let shard = shard();
        for (epoch, base) in [(0, 0), (3, 2), (4, 4)] {
            let partition = open_with(&shard, LogConfig::default(), epoch).await;
            assert_eq!(append(&partition, bytes_of(2, 10, 5, None)).await, base);
            partition.stop().await.unwrap();
        }
        let partition = open_with(&shard, LogConfig::default(), 4).await;
        let epochs: Vec<i32> = (0..7).map(|offset| partition.epoch_of(Offset(offset))).collect();
        assert_eq!(epochs, [0, 0, 3, 3, 4, 4, 4]);
        // KIP-101: the largest epoch up to the one asked for, and where it ended.
        for (epoch, expected) in
            [(0, Some((0, 2))), (2, Some((0, 2))), (3, Some((3, 4))), (4, Some((4, 6))), (5, None)]
        {
            let end = partition.end_of_epoch(epoch).map(|(known, end)| (known, end.0));
            assert_eq!(end, expected, "epoch {epoch}");
        }
        let found = partition.read(Offset(3), 1, true).await.unwrap();
        assert_eq!(BatchHeader::parse(&found.slices[0]).unwrap().leader_epoch, 3);
    });
}

#[test]
fn retries_are_stored_once_also_across_a_crash() {
    let simulation = Simulation::new(6);
    simulation.disk().put_directory("/data").unwrap();
    let batch = |sequence| bytes_of(2, 100, 5, Some((42, 1, sequence)));
    simulation.run(async {
        let partition = open(&shard()).await;
        let first = partition.append(batch(0), runtime::wall_clock()).unwrap();
        // Not committed yet, and known already.
        let again = partition.append(batch(0), runtime::wall_clock()).unwrap();
        assert_eq!((first.base_offset, first.end), (again.base_offset, again.end));
        produced(&partition, again).await.unwrap();
        append(&partition, batch(2)).await;
    });
    simulation.crash();
    simulation.run(async {
        let partition = open(&shard()).await;
        assert_eq!(append(&partition, batch(0)).await, 0);
        assert_eq!(append(&partition, batch(2)).await, 2);
        let gap = partition.append(batch(6), runtime::wall_clock()).unwrap_err();
        assert!(matches!(gap, AppendError::Sequence(_)));
        assert_eq!(append(&partition, batch(4)).await, 4);
        assert_eq!(partition.high_watermark(), Offset(6));
    });
}

#[test]
fn waiters_are_woken_when_their_offset_is_committed_or_never_will_be() {
    simulate(async {
        let partition = open(&shard()).await;
        let waiter = |partition: Rc<Partition>, threshold| {
            runtime::spawn(async move {
                let mut key = WatchKey::default();
                let threshold = Offset(threshold);
                poll_fn(|context| partition.poll_reached(&mut key, threshold, context)).await;
                partition.high_watermark()
            })
        };
        let (near, far) = (waiter(partition.clone(), 2), waiter(partition.clone(), 99));
        runtime::sleep(Duration::from_millis(1)).await;
        assert_eq!(partition.waiters(), 2);
        append(&partition, bytes_of(1, 10, 5, None)).await;
        append(&partition, bytes_of(1, 10, 5, None)).await;
        assert_eq!(near.await, Offset(2));
        assert_eq!(partition.waiters(), 1);
        let pending = partition.append(bytes_of(1, 10, 5, None), runtime::wall_clock()).unwrap();
        partition.retire();
        assert_eq!(far.await, Offset(2));
        produced(&partition, pending).await.unwrap_err();
        assert_eq!(partition.waiters(), 0);
        assert!(partition.read(Offset(0), 100, true).await.is_err(), "it is gone");
    });
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_heals_by_itself() {
    simulate(async {
        let partition = open(&shard()).await;
        let now = || runtime::wall_clock().0;
        append(&partition, bytes_of(1, 10, now(), None)).await;
        let full = DiskOptions { capacity: disk().used_bytes(), ..disk().options() };
        disk().set_options(full.clone());
        let large = || bytes_of(1, 90_000, now(), None);
        let refused = partition.append(large(), runtime::wall_clock()).unwrap();
        let fault = produced(&partition, refused).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::StorageFull);
        assert_eq!(read(&partition, 0, 100, true).await, [0]);
        assert_eq!(partition.read_fault(), None);
        let mut key = WatchKey::default();
        let grown = poll_fn(|context| partition.poll_reached(&mut key, Offset(2), context));
        let early = runtime::timeout(Duration::from_secs(1), grown).await;
        assert_eq!(early, None, "a reader waits for what does not come yet");
        disk().set_options(DiskOptions { capacity: u64::MAX, ..full });
        let refused = partition.append(large(), runtime::wall_clock()).unwrap_err();
        assert!(matches!(refused, AppendError::Offline(_)));
        runtime::sleep(Duration::from_millis(50)).await;
        assert_eq!(append(&partition, large()).await, 1);
        assert_eq!(read(&partition, 0, 1 << 20, true).await, [0, 1]);
    });
}

#[test]
fn a_failed_write_takes_the_partition_offline_until_it_is_opened_anew() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        append(&partition, bytes_of(1, 10, 5, None)).await;
        disk().fail_next(sim::DiskOperation::Write, ".log");
        let failed = partition.append(bytes_of(1, 10, 5, None), runtime::wall_clock()).unwrap();
        let fault = produced(&partition, failed).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Device);
        assert_eq!(fault.path().to_str(), Some("/data/t-0/00000000000000000000.log"));
        assert!(partition.append(bytes_of(1, 10, 5, None), runtime::wall_clock()).is_err());
        assert!(partition.read(Offset(0), 100, true).await.is_err());
        assert_eq!(partition.stop().await.unwrap_err(), fault);
        let again = open(&shard).await;
        assert!(again.high_watermark() >= Offset(1));
    });
}

#[test]
fn an_index_need_not_be_readable_but_what_records_do_not_tell_must_be() {
    simulate(async {
        let config = LogConfig { segment_bytes: 5000, retention_ms: -1, ..LogConfig::default() };
        let shard = shard();
        let partition = open_with(&shard, config.clone(), 0).await;
        for time in 0..4 {
            append(&partition, bytes_of(1, 4000, time, None)).await;
        }
        partition.stop().await.unwrap();
        disk().fail_always(sim::DiskOperation::Read, "index");
        let partition = open_with(&shard, config.clone(), 0).await;
        for offset in 0..4 {
            assert_eq!(read(&partition, offset, 1, true).await, [offset]);
        }
        partition.stop().await.unwrap();
        disk().heal();
        for lost in ["00000000000000000004.producers", "leader-epoch"] {
            disk().fail_always(sim::DiskOperation::Read, lost);
            let id = PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 };
            let opened =
                Partition::open(&shard, id, Arc::new(config.clone()), 0, Offset::ZERO).await;
            let fault = opened.map(|_| ()).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Device);
            let told = fault.to_string();
            assert!(told.contains(lost) && told.contains("ddrescue"), "{told}");
            disk().heal();
        }
        // The doctor says so, and looks at the rest.
        disk().fail_always(sim::DiskOperation::Read, "00000000000000000004.producers");
        let facts = PartitionFacts {
            id: partition.id.clone(),
            config: Arc::new(config),
            leader_epoch: 0,
            log_start: None,
        };
        let found = Inspection::of(&shard, &facts, &|_| ()).await.unwrap();
        let told: Vec<_> = found.findings.iter().map(|finding| &finding.reason[..]).collect();
        // Besides, the time index that was made while none could be read lacks the end that a seal writes.
        assert!(matches!(told[..], [one, _] if one.contains("cannot be read: ")), "{told:?}");
        assert_eq!((found.totals.records, found.end), (4, Offset(4)));
    });
}

#[test]
fn records_that_cannot_be_read_are_counted_and_keep_the_others_online() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        four(&partition).await;
        partition.stop().await.unwrap();
        let partition = open(&shard).await;
        disk().fail_next(sim::DiskOperation::Read, ".log");
        let unread = partition.read(Offset(0), 1 << 20, true).await;
        assert!(matches!(unread, Err(ReadError::Offline(_))), "{unread:?}");
        assert_eq!((shard.probe.read_faults.get(), partition.read_fault()), (1, None));
        assert_eq!(read(&partition, 0, 1 << 20, true).await, [0, 3, 4, 6]);
    });
}

#[test]
fn a_damaged_partition_that_serves_readers_counts_as_offline_until_it_is_gone() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        four(&partition).await;
        partition.stop().await.unwrap();
        let path = format!("{FOLDER}/00000000000000000000.log");
        let mut bytes = disk().read_file(&path).unwrap();
        bytes[400] ^= 1;
        disk().put_file(&path, &bytes).unwrap();
        let config = LogConfig { serves_damaged: true, ..LogConfig::default() };
        let id = PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 };
        let opened = Partition::open(&shard, id, Arc::new(config), 0, Offset::ZERO).await;
        let damaged = || shard.offline().into_iter().map(|(_, count)| count).sum::<usize>();
        match opened {
            Ok(partition) => {
                assert_eq!(damaged(), 1);
                partition.retire();
            }
            Err(fault) => panic!("it serves what lies before: {fault}"),
        }
        assert_eq!(damaged(), 0);
    });
}

#[test]
fn a_sync_that_failed_for_want_of_space_is_not_tried_again_either() {
    simulate(async {
        let shard = shard();
        let config = LogConfig { durability: Durability::Write, ..LogConfig::default() };
        let partition = open_with(&shard, config, 0).await;
        append(&partition, bytes_of(1, 10, 5, None)).await;
        disk().inject(sim::Fault {
            operation: sim::DiskOperation::Sync,
            path_contains: ".log".into(),
            skip: 0,
            times: 1,
            effect: sim::Effect::Error(libc::ENOSPC),
        });
        shard.save_recovery_points().await.unwrap();
        let refused = partition.append(bytes_of(1, 10, 5, None), runtime::wall_clock());
        let Err(AppendError::Offline(fault)) = refused else { panic!("{refused:?}") };
        assert_eq!((fault.kind, fault.operation), (FaultKind::Device, "sync"));
    });
}

#[test]
fn limits_and_foreign_times_are_refused_and_leave_no_trace() {
    simulate(async {
        let config = LogConfig {
            message_bytes_max: 500,
            timestamp_before_ms_max: 1000,
            timestamp_after_ms_max: 1000,
            ..LogConfig::default()
        };
        let partition = open_with(&shard(), config, 0).await;
        let now = runtime::wall_clock();
        let append = |bytes| partition.append(bytes, now);
        let large = append(bytes_of(1, 500, now.0, None)).unwrap_err();
        assert!(matches!(large, AppendError::TooLarge { limit: 500, .. }));
        for time in [now.0 - 1001, now.0 + 1001] {
            let refused = append(bytes_of(1, 10, time, Some((1, 0, 0)))).unwrap_err();
            assert_eq!(refused, AppendError::Timestamp(Timestamp(time)));
        }
        let dispatched = append(bytes_of(1, 10, now.0, Some((1, 0, 7)))).unwrap();
        assert_eq!(dispatched.base_offset, Offset(0));
        produced(&partition, dispatched).await.unwrap();
    });
}

#[test]
fn the_brokers_time_is_stamped_as_it_was_told() {
    simulate(async {
        let config = LogConfig { log_append_time: true, ..LogConfig::default() };
        let partition = open_with(&shard(), config.clone(), 0).await;
        let now = runtime::wall_clock();
        let stamped = partition.append(bytes_of(1, 10, 5, None), now).unwrap();
        assert_eq!(stamped.append_time, now);
        // The configuration changes before the commit: what was told holds.
        partition.set_config(Arc::new(LogConfig { log_append_time: false, ..config }));
        let own = partition.append(bytes_of(1, 10, 5, None), now).unwrap();
        assert_eq!(own.append_time, Timestamp::NONE);
        produced(&partition, own).await.unwrap();
        let found = partition.read(Offset(0), 1 << 20, true).await.unwrap();
        let bytes: Vec<u8> = found.slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let first = batch::parse_whole(&bytes).unwrap();
        let second = batch::parse_whole(&bytes[first.batch_bytes..]).unwrap();
        assert_eq!((first.max_timestamp, first.is_log_append_time()), (now, true));
        assert_eq!((second.max_timestamp, second.is_log_append_time()), (Timestamp(5), false));
    });
}

#[test]
fn a_stricter_durability_covers_what_was_written_before() {
    let simulation = Simulation::new(8);
    simulation.disk().put_directory("/data").unwrap();
    simulation.run(async {
        let lax = LogConfig { durability: Durability::Write, ..LogConfig::default() };
        let partition = open_with(&shard(), lax, 0).await;
        append(&partition, bytes_of(1, 6000, 5, None)).await;
        partition.set_config(Arc::new(LogConfig::default()));
        append(&partition, bytes_of(1, 6000, 5, None)).await;
    });
    simulation.crash();
    simulation.run(async {
        assert_eq!(open(&shard()).await.high_watermark(), Offset(2));
    });
}

#[test]
fn an_index_that_misleads_is_made_anew() {
    simulate(async {
        let shard = shard();
        let config =
            LogConfig { segment_bytes: 20_000, index_interval_bytes: 1, ..LogConfig::default() };
        let partition = open_with(&shard, config.clone(), 0).await;
        for _ in 0..12 {
            append(&partition, bytes_of(1, 2000, 5, None)).await;
        }
        partition.stop().await.unwrap();
        // The fourth entry's position, within its batch.
        disk().flip_bit(format!("{FOLDER}/00000000000000000000.index"), 3 * 8 + 7, 3).unwrap();
        let partition = open_with(&shard, config, 0).await;
        for offset in 0..12 {
            assert_eq!(read(&partition, offset, 1, true).await, [offset]);
        }
    });
}

#[test]
fn an_index_is_made_anew_wherever_a_read_of_the_segment_ends() {
    // Of one batch, but for the bytes of its value: the last then begins just before a window of 256 KiB ends.
    let overhead = bytes_of(1, 200_000, 5, None).len() - 200_000;
    for before_end in [1, 30, 60, 61, 62] {
        simulate(async {
            let shard = shard();
            let config = LogConfig { segment_bytes: 263_000, ..LogConfig::default() };
            let partition = open_with(&shard, config.clone(), 0).await;
            let first = bytes_of(1, 256 * 1024 - before_end - overhead, 5, None);
            assert_eq!(first.len(), 256 * 1024 - before_end);
            append(&partition, first).await;
            for bytes in [100, 2000] {
                append(&partition, bytes_of(1, bytes, 5, None)).await;
            }
            partition.stop().await.unwrap();
            disk().put_file("/data/t-0/00000000000000000000.index", b"no index").unwrap();
            let partition = open_with(&shard, config, 0).await;
            assert_eq!(
                read(&partition, 1, 1, true).await,
                [1],
                "{before_end} bytes before the end"
            );
        });
    }
}

#[test]
fn a_stop_waits_for_what_is_pending() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        let pending = partition.append(bytes_of(1, 10, 5, None), runtime::wall_clock()).unwrap();
        partition.stop().await.unwrap();
        let mut key = WatchKey::default();
        let now =
            poll_fn(|context| Poll::Ready(partition.poll_committed(&mut key, &pending, context)));
        assert_eq!(now.await, Poll::Ready(Ok(())));
        assert_eq!((shard.files_held(), shard.pending_bytes()), (0, 0));
        runtime::sleep(Duration::from_millis(1)).await;
        assert_eq!(disk().files_open(), 0);
    });
}

#[test]
fn damage_with_one_whole_batch_far_behind_it_is_no_torn_tail() {
    let simulation = Simulation::new(5);
    simulation.disk().put_directory("/data").unwrap();
    let options = LogOptions { commit_bytes_max: 4096, ..LogOptions::new("/data".into()) };
    let shard = || {
        let shard = ShardLog::new(options.clone(), Rc::new(Probe::default()));
        shard.start_writers();
        shard
    };
    simulation.run(async {
        let partition = open(&shard()).await;
        for bytes in [100, 5000, 100] {
            append(&partition, bytes_of(1, bytes, 5, None)).await;
        }
    });
    simulation.kill();
    let segment = "/data/t-0/00000000000000000000.log";
    simulation.disk().flip_bit(segment, 80, 3).unwrap();
    simulation.run(async {
        let id = PartitionId { topic_id: TopicId([3; 16]), topic: "t".into(), index: 0 };
        let config = LogConfig { message_bytes_max: 4096, ..LogConfig::default() };
        let config = Arc::new(config);
        let opened = Partition::open(&shard(), id, config, 0, Offset::ZERO).await;
        let fault = opened.map(|_| ()).unwrap_err();
        assert_eq!((fault.kind, fault.position), (FaultKind::Damage, 0));
        let told = fault.to_string();
        assert!(told.contains("a whole batch follows at byte"), "{told}");
        assert!(told.contains("corelog doctor data") && told.contains("corelog repair"), "{told}");
    });
}

#[test]
fn a_folder_that_is_not_the_topics_own_is_set_aside_and_kept() {
    for metadata in [None, Some("version: 0\ntopic_id: BAQEBAQEBAQEBAQEBAQEBA")] {
        simulate(async {
            disk().put_directory("/data/t-0").unwrap();
            disk().put_file("/data/t-0/00000000000000000000.log", b"somebody's records").unwrap();
            if let Some(text) = metadata {
                disk().put_file("/data/t-0/partition.metadata", text.as_bytes()).unwrap();
            }
            let partition = open(&shard()).await;
            assert_eq!(append(&partition, bytes_of(1, 10, 5, None)).await, 0);
            runtime::sleep(Duration::from_secs(1)).await;
            let kept = disk().files().into_iter().filter(|name| name.contains("-stray/"));
            assert_eq!(kept.count(), 1 + usize::from(metadata.is_some()));
        });
    }
}

#[test]
fn a_deleted_partitions_name_can_be_used_again() {
    simulate(async {
        let shard = shard();
        let partition = open(&shard).await;
        four(&partition).await;
        partition.retire();
        partition.quiesce().await;
        partition.remove_files().await;
        let id = PartitionId { topic_id: TopicId([4; 16]), ..partition.id.clone() };
        let config = Arc::new(LogConfig::default());
        let next = Partition::open(&shard, id, config, 0, Offset::ZERO).await.unwrap();
        assert_eq!(append(&next, bytes_of(1, 10, 5, None)).await, 0);
        assert!(partition.read(Offset(0), 100, true).await.is_err());
        runtime::sleep(Duration::from_millis(5)).await;
        assert!(disk().files().iter().all(|name| name.starts_with("/data/t-0/")));
    });
}
