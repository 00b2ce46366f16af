use super::*;
use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::sim::{Simulation, Stop, for_each_seed, random_u64, sleep, spawn};
use crate::runtime::{FileOptions, timeout};
use std::collections::BTreeSet;

const BLOCK: u64 = BLOCK_BYTES as u64;
const SECTORS: usize = BLOCK_BYTES / image::SECTOR_BYTES;

const CREATE: FileOptions =
    FileOptions { create_new: true, sync_on_write: false, read_only: false };
const CREATE_SYNC: FileOptions =
    FileOptions { create_new: true, sync_on_write: true, read_only: false };
const OPEN: FileOptions = FileOptions { create_new: false, sync_on_write: false, read_only: false };

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn filled(blocks: usize, byte: u8) -> SharedBuffer {
    let mut buffer = AlignedBuffer::allocate(blocks * BLOCK_BYTES);
    buffer.as_mut_slice().fill(byte);
    buffer.freeze()
}

/// A simulation with a durable directory `/d`.
fn simulation(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    simulation.disk().put_directory("/d").unwrap();
    simulation
}

/// A durable file `/d/f` of so many blocks of ones.
fn with_file(seed: u64, blocks: usize) -> Simulation {
    let simulation = simulation(seed);
    simulation.disk().put_file("/d/f", &filled(blocks, 1)).unwrap();
    simulation
}

/// The first byte of each sector, after checking that no sector is torn.
fn sectors(bytes: &[u8]) -> Vec<u8> {
    let whole = |sector: &[u8]| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a torn sector");
        sector[0]
    };
    bytes.chunks(image::SECTOR_BYTES).map(whole).collect()
}

#[test]
fn what_was_written_is_read_back_at_any_alignment() {
    for_each_seed(50, |seed| {
        simulation(seed).run(async {
            let file = File::open(path("/d/f"), CREATE).await.unwrap();
            let bytes: Vec<u8> = (0..3 * BLOCK_BYTES).map(|i| (i % 251) as u8).collect();
            let mut buffer = AlignedBuffer::allocate(bytes.len());
            buffer.as_mut_slice().copy_from_slice(&bytes);
            file.write_at(&buffer.freeze(), BLOCK).await.unwrap();
            assert_eq!(file.length().await.unwrap(), 4 * BLOCK);
            let read = file.read_at(BLOCK + 17, 5000).await.unwrap();
            assert_eq!(&*read, &bytes[17..5017]);
            assert_eq!(&*file.read_at(10, 100).await.unwrap(), &[0; 100]);
            let tail = file.read_at(4 * BLOCK - 5, 100).await.unwrap();
            assert_eq!(&*tail, &bytes[bytes.len() - 5..]);
            assert!(file.read_at(5 * BLOCK, 100).await.unwrap().is_empty());
            file.close().await.unwrap();
        });
    });
}

#[test]
fn lengths_change_and_new_space_reads_as_zeros() {
    for_each_seed(50, |seed| {
        with_file(seed, 2).run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.truncate(100).await.unwrap();
            assert_eq!(file.length().await.unwrap(), 100);
            file.allocate(50).await.unwrap();
            assert_eq!(file.length().await.unwrap(), 100);
            file.allocate(3 * BLOCK).await.unwrap();
            let bytes = file.read_at(0, 3 * BLOCK_BYTES).await.unwrap();
            assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
            assert!(bytes[..100].iter().all(|byte| *byte == 1));
            assert!(bytes[100..].iter().all(|byte| *byte == 0));
        });
    });
}

#[test]
fn synced_data_survives_power_loss() {
    for_each_seed(3000, |seed| {
        let simulation = simulation(seed);
        simulation.run(async {
            let file = File::open(path("/d/f"), CREATE).await.unwrap();
            file.allocate(8 * BLOCK).await.unwrap();
            file.write_at(&filled(2, 7), 0).await.unwrap();
            file.sync().await.unwrap();
            sync_directory(path("/d")).await.unwrap();
            file.write_at(&filled(1, 9), 4 * BLOCK).await.unwrap();
        });
        simulation.crash();
        let bytes = simulation.disk().read_file("/d/f").unwrap();
        assert_eq!(bytes.len() as u64, 8 * BLOCK);
        assert!(bytes[..2 * BLOCK_BYTES].iter().all(|byte| *byte == 7));
    });
}

#[test]
fn a_completed_write_that_syncs_survives_power_loss_with_its_length() {
    for_each_seed(3000, |seed| {
        let simulation = simulation(seed);
        simulation.run(async {
            let file = File::open(path("/d/f"), CREATE_SYNC).await.unwrap();
            sync_directory(path("/d")).await.unwrap();
            file.write_at(&filled(2, 7), BLOCK).await.unwrap();
            file.write_at(&filled(1, 8), BLOCK).await.unwrap();
        });
        simulation.crash();
        let bytes = simulation.disk().read_file("/d/f").unwrap();
        let expected = [[0; SECTORS], [8; SECTORS], [7; SECTORS]].concat();
        assert_eq!(sectors(&bytes), expected);
    });
}

#[test]
fn an_older_unsynced_write_never_reaches_what_a_newer_synced_write_wrote() {
    for_each_seed(1000, |seed| {
        let simulation = with_file(seed, 4);
        simulation.run(async {
            let loose = File::open(path("/d/f"), OPEN).await.unwrap();
            let options = FileOptions { sync_on_write: true, ..OPEN };
            let strict = File::open(path("/d/f"), options).await.unwrap();
            loose.write_at(&filled(4, 2), 0).await.unwrap();
            strict.write_at(&filled(2, 3), BLOCK).await.unwrap();
        });
        simulation.crash();
        let sectors = sectors(&simulation.disk().read_file("/d/f").unwrap());
        assert!(sectors[SECTORS..3 * SECTORS].iter().all(|byte| *byte == 3));
        assert!(sectors.iter().all(|byte| matches!(byte, 1..=3)));
    });
}

/// What one write of twos over a file of ones left behind.
fn outcome(simulation: &Simulation) -> &'static str {
    let sectors = sectors(&simulation.disk().read_file("/d/f").unwrap());
    let kept = sectors.iter().filter(|byte| **byte == 2).count();
    assert!(sectors.iter().all(|byte| matches!(byte, 1 | 2)));
    match kept {
        0 => "lost",
        _ if kept == sectors.len() => "kept",
        _ if sectors.windows(2).any(|pair| pair == [1, 2]) => "torn, later sectors kept",
        _ => "torn, earlier sectors kept",
    }
}

#[test]
fn an_unsynced_write_is_kept_lost_and_torn_in_turns() {
    let mut outcomes = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 4);
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.write_at(&filled(4, 2), 0).await.unwrap();
        });
        simulation.crash();
        outcomes.insert(outcome(&simulation));
    });
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn a_write_in_flight_is_kept_lost_and_torn_in_turns_even_where_writes_sync() {
    let mut outcomes = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 4);
        simulation.run(async {
            let options = FileOptions { sync_on_write: true, ..OPEN };
            let file = File::open(path("/d/f"), options).await.unwrap();
            let buffer = filled(4, 2);
            timeout(Duration::from_nanos(1), file.write_at(&buffer, 0)).await;
        });
        simulation.crash();
        outcomes.insert(outcome(&simulation));
    });
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn an_older_version_of_a_rewritten_sector_can_be_the_one_that_survives() {
    let mut seen = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 1);
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.write_at(&filled(1, 2), 0).await.unwrap();
            file.write_at(&filled(1, 3), 0).await.unwrap();
        });
        simulation.crash();
        seen.extend(sectors(&simulation.disk().read_file("/d/f").unwrap()));
    });
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

#[test]
fn an_unsynced_length_is_the_old_or_the_new_one_after_power_loss() {
    let mut seen = BTreeSet::new();
    for_each_seed(200, |seed| {
        let simulation = with_file(seed, 1);
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.allocate(4 * BLOCK).await.unwrap();
            file.truncate(2 * BLOCK).await.unwrap();
        });
        simulation.crash();
        let bytes = simulation.disk().read_file("/d/f").unwrap();
        assert!(bytes[BLOCK_BYTES..].iter().all(|byte| *byte == 0));
        seen.insert(bytes.len() / BLOCK_BYTES);
    });
    assert_eq!(seen, BTreeSet::from([1, 2, 4]));
}

#[test]
fn a_killed_process_leaves_everything_that_it_handed_over() {
    for_each_seed(500, |seed| {
        let simulation = simulation(seed);
        simulation.run(async {
            let file = File::open(path("/d/f"), CREATE).await.unwrap();
            file.write_at(&filled(1, 2), 0).await.unwrap();
            let buffer = filled(1, 3);
            timeout(Duration::from_nanos(1), file.write_at(&buffer, BLOCK)).await;
        });
        simulation.kill();
        let bytes = simulation.disk().read_file("/d/f").unwrap();
        assert_eq!(sectors(&bytes), [[2; SECTORS], [3; SECTORS]].concat());
    });
}

#[test]
fn what_a_killed_process_did_not_sync_can_still_be_lost_with_the_power() {
    let mut outcomes = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 4);
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.write_at(&filled(4, 2), 0).await.unwrap();
        });
        simulation.kill();
        assert_eq!(outcome(&simulation), "kept");
        simulation.crash();
        outcomes.insert(outcome(&simulation));
    });
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn new_entries_survive_as_a_prefix_unless_their_directory_was_synced() {
    let mut seen = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = simulation(seed);
        simulation.run(async {
            for name in ["/d/a", "/d/b"] {
                File::open(path(name), CREATE).await.unwrap();
            }
            sync_directory(path("/d")).await.unwrap();
            for name in ["/d/c", "/d/e"] {
                File::open(path(name), CREATE).await.unwrap();
            }
            remove_file(path("/d/a")).await.unwrap();
        });
        simulation.crash();
        seen.insert(simulation.disk().files().concat());
    });
    let expected = ["/d/a/d/b", "/d/a/d/b/d/c", "/d/a/d/b/d/c/d/e", "/d/b/d/c/d/e"];
    assert_eq!(seen, expected.map(String::from).into());
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    let mut seen = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = simulation(seed);
        simulation.disk().put_file("/d/old", b"new contents").unwrap();
        simulation.disk().put_file("/e/target", b"old contents").unwrap();
        simulation.run(async {
            rename(path("/d/old"), path("/e/target")).await.unwrap();
            let missing = File::open(path("/d/old"), OPEN).await;
            assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
        });
        simulation.crash();
        let target = simulation.disk().read_file("/e/target").unwrap();
        let renamed = simulation.disk().read_file("/d/old").is_err();
        assert_eq!(target == b"new contents", renamed);
        seen.insert(renamed);
    });
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_synced_rename_survives_and_so_does_a_synced_tree() {
    for_each_seed(300, |seed| {
        let simulation = simulation(seed);
        simulation.run(async {
            create_directory_all(path("/d/x/y")).await.unwrap();
            let file = File::open(path("/d/x/y/new"), CREATE_SYNC).await.unwrap();
            file.write_at(&filled(1, 5), 0).await.unwrap();
            rename(path("/d/x/y/new"), path("/d/x/y/named")).await.unwrap();
            for directory in ["/d/x/y", "/d/x", "/d"] {
                sync_directory(path(directory)).await.unwrap();
            }
        });
        simulation.crash();
        assert_eq!(simulation.disk().files(), ["/d/x/y/named"]);
        assert_eq!(simulation.disk().read_file("/d/x/y/named").unwrap(), [5; BLOCK_BYTES]);
    });
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_saves_nothing() {
    let mut outcomes = BTreeSet::new();
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 4);
        simulation.disk().fail_next(DiskOperation::Sync, "/d/f");
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.write_at(&filled(4, 2), 0).await.unwrap();
            let failed = file.sync().await;
            assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EIO));
            file.sync().await.unwrap();
            assert!(file.read_at(0, 4 * BLOCK_BYTES).await.unwrap().iter().all(|byte| *byte == 2));
        });
        simulation.crash();
        outcomes.insert(outcome(&simulation));
    });
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("torn")), "{outcomes:?}");
}

#[test]
fn a_failed_write_that_syncs_leaves_any_part_of_itself() {
    let mut torn = 0;
    for_each_seed(300, |seed| {
        let simulation = with_file(seed, 1);
        simulation.disk().fail_next(DiskOperation::Sync, "/d/f");
        simulation.run(async {
            let options = FileOptions { sync_on_write: true, ..OPEN };
            let file = File::open(path("/d/f"), options).await.unwrap();
            file.write_at(&filled(1, 2), 0).await.unwrap_err();
        });
        let before = simulation.disk().read_file("/d/f").unwrap();
        simulation.crash();
        let after = simulation.disk().read_file("/d/f").unwrap();
        for (before, after) in sectors(&before).iter().zip(sectors(&after)) {
            assert!(*before == 2 || after == 1, "what was not written became durable");
        }
        torn += u32::from(outcome(&simulation).starts_with("torn"));
    });
    assert!(torn > 100, "{torn}");
}

#[test]
#[should_panic(expected = "in flight over each other")]
fn two_writes_in_flight_over_each_other_are_a_bug_of_the_caller() {
    with_file(1, 4).run(async {
        let file = Rc::new(File::open(path("/d/f"), OPEN).await.unwrap());
        let other = Rc::clone(&file);
        spawn(async move { other.write_at(&filled(2, 2), 0).await });
        sleep(Duration::from_micros(1)).await;
        file.write_at(&filled(1, 3), BLOCK).await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    for_each_seed(50, |seed| {
        let simulation = with_file(seed, 2);
        let options = DiskOptions { capacity: 4 * BLOCK, ..DiskOptions::default() };
        simulation.disk().set_options(options);
        simulation.run(async {
            let file = File::open(path("/d/f"), OPEN).await.unwrap();
            file.allocate(4 * BLOCK).await.unwrap();
            let refused = file.allocate(5 * BLOCK).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
            let refused = file.write_at(&filled(1, 2), 4 * BLOCK).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
            assert_eq!(file.length().await.unwrap(), 4 * BLOCK);
            file.write_at(&filled(4, 2), 0).await.unwrap();
        });
    });
}

#[test]
fn errors_are_those_of_the_kernel() {
    simulation(1).run(async {
        let kind = |result: io::Result<File>| result.err().unwrap().kind();
        assert_eq!(kind(File::open(path("/x/f"), CREATE).await), io::ErrorKind::NotFound);
        assert_eq!(kind(File::open(path("/d/f"), OPEN).await), io::ErrorKind::NotFound);
        File::open(path("/d/f"), CREATE).await.unwrap();
        assert_eq!(kind(File::open(path("/d/f"), CREATE).await), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(File::open(path("/d"), OPEN).await), io::ErrorKind::IsADirectory);
        let removed = remove_file(path("/d/none")).await;
        assert_eq!(removed.unwrap_err().kind(), io::ErrorKind::NotFound);
        create_directory_all(path("/d/sub")).await.unwrap();
        let names: Vec<_> = list_directory(path("/d")).await.unwrap();
        let names: Vec<_> = names.iter().map(|entry| (&*entry.name, entry.is_directory)).collect();
        assert_eq!(names, [("f", false), ("sub", true)]);
        remove_directory(path("/d")).await.unwrap();
        assert!(list_directory(path("/d")).await.is_err());
    });
}

#[test]
fn injected_faults_strike_what_they_name_and_as_often_as_they_say() {
    let simulation = with_file(1, 1);
    simulation.disk().inject(Fault {
        operation: DiskOperation::Read,
        path_contains: "d/f".to_string(),
        skip: 1,
        times: 2,
        effect: Effect::Error(libc::EIO),
    });
    simulation.disk().inject(Fault {
        operation: DiskOperation::Length,
        path_contains: String::new(),
        skip: 0,
        times: 1,
        effect: Effect::Delay(Duration::from_secs(5)),
    });
    simulation.run(async {
        let file = File::open(path("/d/f"), OPEN).await.unwrap();
        let mut failed = Vec::new();
        for _ in 0..4 {
            failed.push(file.read_at(0, 10).await.is_err());
        }
        assert_eq!(failed, [false, true, true, false]);
        let before = crate::runtime::now();
        file.length().await.unwrap();
        assert!(crate::runtime::now() - before >= Duration::from_secs(5));
    });
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let simulation = with_file(1, 1);
    simulation.disk().flip_bit("/d/f", 1000, 3).unwrap();
    simulation.crash();
    let bytes = simulation.disk().read_file("/d/f").unwrap();
    assert_eq!(bytes[1000], 1 ^ 8);
    assert_eq!(bytes.iter().filter(|byte| **byte != 1).count(), 1);
}

#[test]
fn one_snapshot_gives_many_outcomes_of_the_same_history() {
    let simulation = with_file(1, 4);
    let snapshot = simulation.run(async {
        let file = File::open(path("/d/f"), OPEN).await.unwrap();
        let buffer = filled(4, 2);
        timeout(Duration::from_nanos(1), file.write_at(&buffer, 0)).await;
        crate::runtime::sim::disk().snapshot()
    });
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let after = Simulation::new(seed);
        after.disk().restore(&snapshot.after_power_loss(seed));
        outcomes.insert(outcome(&after));
    }
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn stopping_after_each_disk_operation_visits_every_point_of_a_history() {
    let history = async |simulation: &Simulation| {
        let file = File::open(path("/d/f"), CREATE_SYNC).await.unwrap();
        file.write_at(&filled(1, 2), 0).await.unwrap();
        file.sync().await.unwrap();
        simulation.now()
    };
    let ended = |operations| {
        let simulation = simulation(7);
        simulation.run_until(Stop::AfterDiskOperations(operations), history(&simulation)).is_some()
    };
    assert_eq!([1, 2, 3, 4].map(ended), [false, false, false, true]);
}

#[test]
fn a_file_of_an_earlier_life_is_closed() {
    let simulation = with_file(1, 1);
    let file = simulation.run(async { File::open(path("/d/f"), OPEN).await.unwrap() });
    simulation.kill();
    let answer = simulation.run(async { file.length().await });
    assert_eq!(answer.unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn removed_files_are_freed_once_nothing_can_bring_them_back() {
    let simulation = with_file(1, 4);
    simulation.run(async {
        let file = File::open(path("/d/f"), OPEN).await.unwrap();
        remove_file(path("/d/f")).await.unwrap();
        sync_directory(path("/d")).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 4 * BLOCK);
        drop(file);
        remove_file(path("/d/none")).await.unwrap_err();
        File::open(path("/d/g"), CREATE).await.unwrap();
        remove_file(path("/d/g")).await.unwrap();
        sync_directory(path("/d")).await.unwrap();
    });
    assert_eq!(simulation.disk().used_bytes(), 0);
}

/// Random writes with and without O_DSYNC, and syncs. Notes for each sector the versions written, and
/// the last one that a sync promised.
async fn scribble(versions: &RefCell<Vec<Vec<u8>>>, promised: &RefCell<Vec<u8>>) {
    let blocks = 6;
    let loose = File::open(path("/d/f"), OPEN).await.unwrap();
    let strict = File::open(path("/d/f"), FileOptions { sync_on_write: true, ..OPEN }).await;
    let strict = strict.unwrap();
    for version in 2..40u8 {
        let start = random_u64() % blocks;
        let length = 1 + random_u64() % (blocks - start);
        let sectors = start as usize * SECTORS..(start + length) as usize * SECTORS;
        let buffer = filled(length as usize, version);
        match random_u64() % 4 {
            0 => {
                let newest = versions.borrow().iter().map(|list| list[list.len() - 1]).collect();
                loose.sync().await.unwrap();
                promised.replace(newest);
            }
            kind => {
                let file = if kind == 1 { &strict } else { &loose };
                sectors.clone().for_each(|sector| versions.borrow_mut()[sector].push(version));
                file.write_at(&buffer, start * BLOCK).await.unwrap();
                if kind == 1 {
                    sectors.for_each(|sector| promised.borrow_mut()[sector] = version);
                }
            }
        }
    }
}

#[test]
fn every_sector_holds_its_last_promised_version_or_a_later_one() {
    let mut distinct = BTreeSet::new();
    for_each_seed(2000, |seed| {
        let simulation = with_file(seed, 6);
        let versions = RefCell::new(vec![vec![1]; 6 * SECTORS]);
        let promised = RefCell::new(vec![1; 6 * SECTORS]);
        let stop = Stop::AfterDiskOperations(seed % 45);
        simulation.run_until(stop, scribble(&versions, &promised));
        if seed % 3 == 0 {
            simulation.kill();
        }
        simulation.crash();
        let after = sectors(&simulation.disk().read_file("/d/f").unwrap());
        for (sector, version) in after.iter().enumerate() {
            assert!(versions.borrow()[sector].contains(version), "{version} was never written");
            assert!(*version >= promised.borrow()[sector], "sector {sector} lost {promised:?}");
        }
        distinct.insert(after);
    });
    assert!(distinct.len() > 1000, "{}", distinct.len());
}

#[test]
fn a_write_that_syncs_can_be_read_after_power_loss_though_a_sync_before_it_failed() {
    for_each_seed(500, |seed| {
        let simulation = with_file(seed, 1);
        simulation.run(async {
            let loose = File::open(path("/d/f"), OPEN).await.unwrap();
            loose.allocate(8 * BLOCK).await.unwrap();
            crate::runtime::sim::disk().fail_next(DiskOperation::Sync, "");
            loose.sync().await.unwrap_err();
            let options = FileOptions { sync_on_write: true, ..OPEN };
            let strict = File::open(path("/d/f"), options).await.unwrap();
            strict.write_at(&filled(1, 3), 4 * BLOCK).await.unwrap();
        });
        simulation.crash();
        let bytes = simulation.disk().read_file("/d/f").unwrap();
        assert!(bytes.len() >= 5 * BLOCK_BYTES);
        assert!(bytes[4 * BLOCK_BYTES..5 * BLOCK_BYTES].iter().all(|byte| *byte == 3));
    });
}

#[test]
fn a_read_sees_what_completed_before_it_and_perhaps_parts_of_what_is_in_flight() {
    let mut partial = 0;
    for_each_seed(300, |seed| {
        with_file(seed, 2).run(async {
            let file = Rc::new(File::open(path("/d/f"), OPEN).await.unwrap());
            file.write_at(&filled(2, 2), 0).await.unwrap();
            let other = Rc::clone(&file);
            let writing = spawn(async move { other.write_at(&filled(2, 3), 0).await });
            sleep(Duration::from_micros(1)).await;
            let seen = sectors(&file.read_at(0, 2 * BLOCK_BYTES).await.unwrap());
            assert!(seen.iter().all(|byte| matches!(byte, 2 | 3)), "{seen:?}");
            partial += u32::from(seen.contains(&2) && seen.contains(&3));
            writing.await.unwrap();
            let seen = sectors(&file.read_at(0, 2 * BLOCK_BYTES).await.unwrap());
            assert!(seen.iter().all(|byte| *byte == 3));
        });
    });
    assert!(partial > 10, "{partial}");
}

#[test]
fn removing_a_directory_can_be_cut_short_by_the_end_of_the_process() {
    let mut left = BTreeSet::new();
    for_each_seed(200, |seed| {
        let simulation = simulation(seed);
        for name in ["a", "b", "c"] {
            simulation.disk().put_file(format!("/d/t/{name}"), b"").unwrap();
        }
        let removal = remove_directory(path("/d/t"));
        simulation.run_until(Stop::AfterDiskOperations(1), removal);
        simulation.kill();
        left.insert(simulation.disk().files().len());
    });
    assert_eq!(left, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_lock_is_held_once_and_ends_with_its_holder_or_its_process() {
    let simulation = simulation(1);
    simulation.run(async {
        let acquire = || DirectoryLock::acquire(path("/d/lock")).unwrap();
        let held = acquire();
        assert!(held.is_some() && acquire().is_none());
        drop(held);
        std::mem::forget(acquire());
        assert!(DirectoryLock::acquire(path("/x/lock")).is_err());
    });
    simulation.kill();
    simulation.run(async {
        assert!(DirectoryLock::acquire(path("/d/lock")).unwrap().is_some());
    });
}

#[test]
fn open_files_are_counted() {
    let simulation = with_file(1, 1);
    simulation.run(async {
        let files = [File::open(path("/d/f"), OPEN).await, File::open(path("/d/f"), OPEN).await];
        assert_eq!(crate::runtime::sim::disk().files_open(), 2);
        drop(files);
        assert_eq!(crate::runtime::sim::disk().files_open(), 0);
    });
}
