//! Crashes, torn tails and damage, on the simulated disk.

use super::*;
use crate::runtime::sim::{Simulation, Stop, for_each_seed};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

const DATA: &str = "/data";

async fn open(config: &Config) -> Result<(MetadataLog, State), MetadataLogError> {
    runtime::create_directory_all(DATA.as_ref()).await.unwrap();
    MetadataLog::open(DATA.as_ref(), config).await
}

fn path() -> String {
    format!("{DATA}/{FILE_NAME}")
}

/// A log of `count` frames, of one record each.
fn filled(simulation: &Simulation, count: i64) {
    simulation.run(async {
        let (mut log, _) = open(&Config::default()).await.unwrap();
        for next in 1..=count {
            log.append(&[Record::Ids(next)]).await.unwrap();
        }
    });
}

fn reopened(simulation: &Simulation) -> Result<i64, MetadataLogError> {
    simulation
        .run(async { open(&Config::default()).await.map(|(_, state)| state.next_producer_id) })
}

#[test]
fn a_log_goes_on_where_it_ended_across_block_boundaries() {
    let simulation = Simulation::new(1);
    for round in 0..5 {
        simulation.run(async {
            let (mut log, state) = open(&Config::default()).await.unwrap();
            assert_eq!(state.next_producer_id, round * 300);
            for next in 1..=300 {
                log.append(&[Record::Ids(round * 300 + next)]).await.unwrap();
            }
        });
        simulation.crash();
    }
    assert_eq!(reopened(&simulation), Ok(1500));
}

#[test]
fn the_cluster_id_is_made_up_once() {
    let simulation = Simulation::new(2);
    let id = || simulation.run(async { open(&Config::default()).await.unwrap().1.cluster_id });
    let first = id();
    assert_eq!(first.len(), 22);
    simulation.crash();
    assert_eq!(id(), first);
}

#[test]
fn what_was_acknowledged_survives_every_crash_and_the_rest_is_whole_or_gone() {
    for_each_seed(200, |seed| {
        let simulation = Simulation::new(seed);
        let acknowledged = Rc::new(RefCell::new(0));
        for life in 0..3u64 {
            let noted = acknowledged.clone();
            let stop = Stop::AfterDiskOperations(6 + (seed * 13 + life * 5) % 40);
            let work = async move {
                let (mut log, state) = open(&Config::default()).await.unwrap();
                let at_least = *noted.borrow();
                let next = state.next_producer_id;
                assert!((at_least..=at_least + 1).contains(&next), "{at_least} became {next}");
                // What was found is durable, whoever was told.
                *noted.borrow_mut() = next;
                for next in next + 1.. {
                    // Of many sizes: within a block, and over several.
                    let overrides = [("k".to_string(), "v".repeat(next as usize * 977 % 9000))];
                    let id = TopicId([next as u8; 16]);
                    let name = format!("t{next}");
                    let (partitions, overrides) = (Vec::new(), overrides.into());
                    let created = Record::Created { id, name, partitions, overrides };
                    log.append(&[created, Record::Ids(next), Record::Deleted(id)]).await.unwrap();
                    *noted.borrow_mut() = next;
                }
            };
            simulation.run_until(stop, work);
            if life == 1 { simulation.kill() } else { simulation.crash() }
        }
    });
}

#[test]
fn damage_before_a_whole_frame_refuses_to_start_and_changes_nothing() {
    let simulation = Simulation::new(3);
    filled(&simulation, 20);
    let whole = simulation.disk().read_file(path()).unwrap();
    let length = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let last_frame = FRAME_HEADER_BYTES + SEQUENCE_BYTES + 2;
    for position in 0..length as u64 - last_frame as u64 {
        simulation.disk().put_file(path(), &whole).unwrap();
        simulation.disk().flip_bit(path(), position, (position % 8) as u8).unwrap();
        let damaged = simulation.disk().read_file(path()).unwrap();
        let error = reopened(&simulation).expect_err("damaged");
        let text = error.to_string();
        assert!(matches!(error, MetadataLogError::Damaged { .. }), "{position}: {text}");
        assert!(text.starts_with(&format!("{} is damaged at byte ", path())), "{text}");
        assert_eq!(simulation.disk().read_file(path()).unwrap(), damaged);
    }
}

/// Whichever of these bits turns over: the log is refused, with file, byte and remedy, and stays as it is.
fn check_refused(simulation: &Simulation, positions: Range<u64>) {
    let mut whole = simulation.disk().read_file(path()).unwrap();
    // Without most of the space that is kept behind, which takes time to look at.
    whole.truncate(BLOCK_BYTES);
    assert!(positions.end < whole.len() as u64, "{positions:?}");
    for (position, bit) in positions.flat_map(|position| (0..8).map(move |bit| (position, bit))) {
        simulation.disk().put_file(path(), &whole).unwrap();
        simulation.disk().flip_bit(path(), position, bit).unwrap();
        let damaged = simulation.disk().read_file(path()).unwrap();
        let text = reopened(simulation).expect_err("damaged").to_string();
        let begins = format!("{} is damaged at byte ", path());
        assert!(text.starts_with(&begins), "byte {position}, bit {bit}: {text}");
        assert!(text.contains("restore the file from a copy"), "{text}");
        assert_eq!(simulation.disk().read_file(path()).unwrap(), damaged);
    }
}

#[test]
fn no_turned_bit_of_a_sealed_log_is_taken_for_a_torn_tail() {
    let mut all_sealed_by = Vec::new();
    // A seal goes on in the next sector after 25 frames of 18 bytes, so another comes behind it.
    for count in [1, 3, 24, 25, 26] {
        let simulation = Simulation::new(8);
        let (before, end) = simulation.run(async {
            let (mut log, _) = open(&Config::default()).await.unwrap();
            for next in 1..=count {
                log.append(&[Record::Ids(next)]).await.unwrap();
            }
            let before = log.bytes();
            log.seal().await.unwrap();
            let end = log.bytes();
            log.seal().await.unwrap();
            assert_eq!(log.bytes(), end, "it is sealed");
            (before, end)
        });
        all_sealed_by.push(end - before);
        let from = if count > 3 { before - 40 } else { 0 };
        check_refused(&simulation, from..end);
    }
    let (one, two) = (SEAL_BYTES as u64, 2 * SEAL_BYTES as u64);
    assert!(all_sealed_by.contains(&one) && all_sealed_by.contains(&two), "{all_sealed_by:?}");
}

#[test]
fn no_turned_bit_of_a_log_written_anew_is_taken_for_a_torn_tail() {
    let simulation = Simulation::new(9);
    let end = simulation.run(async {
        let (mut log, _) = open(&Config::default()).await.unwrap();
        for number in 0.. {
            let overrides = [("k".to_string(), "v".repeat(9000))].into();
            let (id, name) = (TopicId([number; 16]), format!("t{number}"));
            let created = Record::Created { id, name, partitions: Vec::new(), overrides };
            log.append(&[created, Record::Deleted(id)]).await.unwrap();
            if log.bytes() > REWRITE_BYTES_MIN {
                break;
            }
        }
        log.append(&[Record::Ids(7)]).await.unwrap();
        drop(log);
        let (mut log, mut state) = open(&Config::default()).await.unwrap();
        state.deleted.clear();
        log.rewrite(&state).await.unwrap();
        log.bytes()
    });
    check_refused(&simulation, 0..end);
}

#[test]
fn a_last_frame_within_one_sector_is_never_taken_for_a_torn_tail() {
    let simulation = Simulation::new(10);
    filled(&simulation, 20);
    let whole = simulation.disk().read_file(path()).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let frame = (FRAME_HEADER_BYTES + SEQUENCE_BYTES + 2) as u64;
    // All but its length, which can make it look like one of several sectors.
    check_refused(&simulation, end - frame + 4..end);
}

#[test]
fn a_log_without_seals_opens_and_gets_one() {
    let simulation = Simulation::new(11);
    let format = Record::Format { version: 1, cluster_id: "one".into(), node_id: 1 };
    let old = frames(&[format, Record::Ids(5)], 0).concat();
    simulation.disk().put_file(path(), &old).unwrap();
    let is_sealed = || {
        let seen = simulation.run(async { glimpse(DATA.as_ref()).await });
        seen.unwrap().expect("there is a log").is_sealed
    };
    assert!(!is_sealed());
    assert_eq!(reopened(&simulation), Ok(5));
    assert!(is_sealed());
    simulation.crash();
    assert_eq!(reopened(&simulation), Ok(5));
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_frame() {
    let simulation = Simulation::new(4);
    filled(&simulation, 20);
    let whole = simulation.disk().read_file(path()).unwrap();
    let frame = FRAME_HEADER_BYTES + SEQUENCE_BYTES + 2;
    let length = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for cut in length - frame + 1..length {
        simulation.disk().put_file(path(), &whole[..cut]).unwrap();
        assert_eq!(reopened(&simulation), Ok(19), "cut at {cut} of {length}");
        simulation.run(async {
            let (mut log, _) = open(&Config::default()).await.unwrap();
            log.append(&[Record::Ids(500)]).await.unwrap();
        });
        assert_eq!(reopened(&simulation), Ok(500));
    }
    simulation.disk().put_file(path(), &whole[..length]).unwrap();
    assert_eq!(reopened(&simulation), Ok(20));
}

#[test]
fn zeros_behind_the_last_frame_are_its_end() {
    let simulation = Simulation::new(5);
    filled(&simulation, 3);
    let mut bytes = simulation.disk().read_file(path()).unwrap();
    bytes.resize(1 << 20, 0);
    simulation.disk().put_file(path(), &bytes).unwrap();
    assert_eq!(reopened(&simulation), Ok(3));
}

#[test]
fn another_format_node_or_cluster_is_refused_in_a_plain_sentence() {
    let simulation = Simulation::new(6);
    let start = |config: Config| simulation.run(async { open(&config).await.map(|_| ()) });
    start(Config { cluster_id: Some("one".into()), ..Config::default() }).unwrap();
    let other_cluster = Config { cluster_id: Some("two".into()), ..Config::default() };
    let text = start(other_cluster).unwrap_err().to_string();
    assert!(text.contains("belongs to cluster 'one', the configuration says 'two'"), "{text}");
    let text = start(Config { node_id: 9, ..Config::default() }).unwrap_err().to_string();
    assert!(text.contains("belongs to node '1', the configuration says '9'"), "{text}");
    let newer = Record::Format { version: 2, cluster_id: "one".into(), node_id: 1 };
    simulation.disk().put_file(path(), &frames(&[newer], 0).concat()).unwrap();
    let text = start(Config::default()).unwrap_err().to_string();
    assert!(text.contains("has format 2, this version of corelog reads up to 1"), "{text}");
    simulation.disk().put_file(path(), &[0; 4096]).unwrap();
    assert!(start(Config::default()).unwrap_err().to_string().contains("first frame"));
}

#[test]
fn ids_are_version_4_and_never_begin_with_a_dash() {
    Simulation::new(7).run(async {
        for _ in 0..2000 {
            let id = random_id();
            assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2));
            assert!(!id.to_base64().starts_with('-'));
        }
    });
}
