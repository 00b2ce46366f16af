//! All forms on a real file system, with little.

use super::*;
use corelog::log::segment;
use corelog::types::Offset;
use corelog::wire::batch;

const TIME: Timestamp = Timestamp(1_700_000_000_000);

fn given(folder: &Path, form: Form, lazy: Lazy) -> CommitForms {
    CommitForms {
        dir: folder.to_path_buf(),
        form,
        partitions: 5,
        batch_bytes: Size(1000),
        in_flight: 40,
        duration: Length::from_secs(600),
        warm_up: Length::from_millis(0),
        data_bytes: Size(4 << 20),
        cpu: None,
        journal: JournalForm {
            journal_bytes: Size(1 << 20),
            regions: 2,
            gather_bytes: Size(16 << 10),
            depth: 2,
            lazy,
            piece_bytes: Size(32 << 10),
            lazy_writers: 3,
        },
    }
}

/// Runs until the data is over, and leaves nothing behind.
fn measured(form: Form, lazy: Lazy) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let figures = measure(&given(folder.path(), form, lazy)).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is gone");
    let bytes = figures.batches as f64 * figures.batch_bytes as f64;
    assert!((3.0e6..4.4e6).contains(&bytes), "{figures:?}");
    assert!(figures.p50_ms > 0.0 && figures.p50_ms <= figures.p999_ms, "{figures:?}");
    assert!(figures.writes > 0 && figures.writes < figures.batches, "{figures:?}");
    figures
}

#[test]
fn the_log_commits_what_is_offered_into_new_space_and_into_written_blocks() {
    let figures = measured(Form::Files, Lazy::Sync);
    assert_eq!((figures.syncs, figures.prepared_bytes), (figures.writes, 0));
    let figures = measured(Form::Prepared, Lazy::Sync);
    assert!(figures.prepared_bytes > 4 << 20 && figures.journal.is_none(), "{figures:?}");
}

#[test]
fn the_journal_is_used_over_and_over_and_emptied_into_segments() {
    for lazy in [Lazy::Sync, Lazy::Dsync, Lazy::Syncfs] {
        let figures = measured(Form::Journal, lazy);
        let journal = figures.journal.clone().unwrap();
        // 4 MiB of batches, and their headers, through regions of half a MiB, two of which may still be full.
        assert!(journal.regions_emptied >= 5, "{figures:?}");
        // Each time each partition has some 90 KiB in it, which is a few pieces.
        assert!(journal.pieces >= 5 * journal.regions_emptied, "{figures:?}");
        assert!(journal.pieces * 10 < figures.batches, "{figures:?}");
        // The file holds something of each, and no more than two regions do.
        assert!((1..=1100).contains(&journal.read_back_batches), "{figures:?}");
    }
}

/// Base offsets and ends of the batches in a partition's segment.
fn stored(folder: &Path, partition: usize) -> Vec<(Offset, Offset)> {
    let directory = partition_folder(folder, partition);
    let path = segment::file_path(&directory, Offset::ZERO, segment::LOG_SUFFIX);
    let bytes = fs::read(path).unwrap();
    let (mut found, mut rest) = (Vec::new(), &bytes[..]);
    while let Ok(header) = batch::parse_whole(rest) {
        found.push((header.base_offset, header.next_offset()));
        rest = &rest[header.batch_bytes..];
    }
    found
}

#[test]
fn segments_and_then_the_journal_have_all_that_was_acknowledged() {
    const BATCHES: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let given = given(folder.path(), Form::Journal, Lazy::Sync);
    let ends = runtime::run_local(async {
        runtime::prepare_directory(folder.path()).await.unwrap();
        let journal = Journal::start(&given, batch_of(1000, TIME), folder.path()).await.unwrap();
        for number in (0..BATCHES).step_by(30) {
            let offered = (number..number + 30).map(|number| journal.offer(number % 4).unwrap());
            for acknowledged in futures_util::future::join_all(offered).await {
                acknowledged.unwrap();
            }
        }
        journal.stop().await;
        assert!(journal.counts().regions > 2, "{:?}", journal.counts());
        let read_back = journal.read_back().await.unwrap();
        assert!((1..BATCHES as u64).contains(&read_back.batches), "{read_back:?}");
        // As a start would: first what the segments have, then frames that go on from there.
        let mut ends: Vec<Offset> = Vec::new();
        for partition in 0..4 {
            let mut end = Offset::ZERO;
            for (base, next) in stored(folder.path(), partition) {
                assert_eq!(base, end, "a gap in the segment of {partition}");
                end = next;
            }
            ends.push(end);
        }
        let before = ends.clone();
        for frame in journal.frames().await.unwrap() {
            let end = &mut ends[frame.header.partition as usize];
            if frame.header.base_offset == *end {
                *end = frame.next_offset;
            }
        }
        assert_ne!(ends, before, "something was in the journal only");
        ends
    })
    .unwrap();
    let records = i64::from(batch::parse_whole(&batch_of(1000, TIME)).unwrap().record_count);
    assert_eq!(ends, [Offset(records * BATCHES as i64 / 4); 4]);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |change: fn(&mut CommitForms)| {
        let mut given = given(folder.path(), Form::Journal, Lazy::Sync);
        change(&mut given);
        measure(&given).expect_err("it is not possible")
    };
    assert!(fault(|given| given.partitions = 0).contains("partitions = 0"));
    assert!(fault(|given| given.batch_bytes = Size(100)).contains("batch_bytes = 100"));
    assert!(fault(|given| given.in_flight = 0).contains("in_flight = 0"));
    assert!(fault(|given| given.duration = Length::from_secs(0)).contains("duration"));
    assert!(fault(|given| given.warm_up = Length::from_secs(7200)).contains("warm_up"));
    assert!(fault(|given| given.data_bytes = Size(1)).contains("data_bytes = 1"));
    assert!(fault(|given| given.dir = "/nowhere".into()).contains("/nowhere"));
    assert!(fault(|given| given.journal.regions = 1).contains("regions = 1"));
    assert!(fault(|given| given.journal.depth = 0).contains("depth = 0"));
    assert!(fault(|given| given.journal.lazy_writers = 0).contains("lazy_writers = 0"));
    assert!(fault(|given| given.journal.gather_bytes = Size(4095)).contains("gather_bytes"));
    assert!(fault(|given| given.journal.piece_bytes = Size(5000)).contains("multiples of 4096"));
    assert!(fault(|given| given.journal.journal_bytes = Size(4096)).contains("journal_bytes"));
    // A batch has to fit into a write.
    assert!(fault(|given| given.batch_bytes = Size(16 << 10)).contains("gather_bytes = 16384"));
}

#[test]
fn a_run_needs_room_for_what_is_allocated_and_for_the_journal() {
    let given = given(Path::new("/"), Form::Journal, Lazy::Sync);
    let (data, journal) = (4 << 20, 1 << 20);
    assert!(given.room_bytes() > 2 * data + journal + 5 * PARTITION_BYTES);
    assert_eq!(given.check_room(given.room_bytes()), Ok(()));
    let fault = given.check_room(2 * data).expect_err("twice the data is not enough");
    assert!(fault.contains("8 MiB are free"), "{fault}");
}

#[test]
fn sizes_are_read_and_wrong_ones_say_what_is_expected() {
    for (text, expect) in [("4096", 4096), ("64KiB", 65_536), ("8GiB", 8 << 30)] {
        assert_eq!(text.parse(), Ok(Size(expect)));
    }
    for text in ["", "KiB", "-1", "1.5MiB", "5 MiB", "7MB", "99999999999GiB"] {
        assert!(text.parse::<Size>().is_err_and(|error| error.contains("expected bytes")));
    }
}

#[test]
fn a_batch_is_as_large_as_asked_for_and_one_that_a_producer_may_send() {
    for bytes_max in [256, 1000, 4096, 65_536] {
        let bytes = batch_of(bytes_max, TIME);
        assert!(batch::parse_produced(&bytes).is_ok());
        assert!(bytes.len() <= bytes_max && bytes.len() + RECORD_BYTES_MAX > bytes_max);
    }
}
