//! The rule on made-up figures, the plan, and a whole run on the simulated disk.

use super::choose::choose;
use super::measure::{FILE_PREFIX, Measured, measure};
use super::plan::{FILES_MAX, Plan, SMALL_BYTES, Shape, Work, shapes};
use super::{model_of, refuse_what_is_no_model, refuse_without_space, write_json, write_text};
use crate::config::DiskModel;
use crate::runtime::sim::{self, DiskOperation, Simulation};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const MIB: usize = 1 << 20;
const BOUND: Duration = Duration::from_millis(10);

/// A device that moves `bandwidth` bytes a second at most, and takes `pause` for each operation beside that.
fn device(bandwidth: f64, pause: Duration) -> Vec<Measured> {
    let of = |shape: Shape| {
        let alone = pause.as_secs_f64() + shape.bytes as f64 / bandwidth;
        let rate = (shape.in_flight as f64 / alone).min(bandwidth / shape.bytes as f64);
        let took = Duration::from_secs_f64(shape.in_flight as f64 / rate);
        Measured { shape, count: 100, per_second: rate, median: took, p99: took }
    };
    shapes().into_iter().map(of).collect()
}

/// Commit size, commits in flight, reads in flight.
fn chosen(measured: &[Measured]) -> (usize, usize, usize) {
    let choice = choose(measured, BOUND).unwrap();
    (choice.commit_bytes_max(), choice.commits_in_flight_max(), choice.file_reads_in_flight_max())
}

#[test]
fn the_smallest_that_gives_nine_tenths_of_the_best_is_chosen() {
    // Without a pause, size and depth change nothing: the smallest, and the least that commits are given.
    assert_eq!(chosen(&device(1e9, Duration::ZERO)), (64 << 10, 8, 1));
    // A pause of 100 us at 1 GB/s: 512 KiB give 0.84 of the bandwidth, 1 MiB 0.91, 4 MiB 0.98, of which nine
    // tenths are 0.88. One read of 1 MiB gives more than nine tenths of two; small writes fill it from 26 on.
    assert_eq!(chosen(&device(1e9, Duration::from_micros(100))), (MIB, 32, 1));
    // A quick device with long pauses wants long commits and many: four of 1 MiB are 0.83 of its bandwidth.
    assert_eq!(chosen(&device(4e9, Duration::from_millis(1))), (4 * MIB, 64, 8));
}

#[test]
fn what_is_slow_at_its_p99_is_not_chosen_unless_all_is() {
    let mut measured = device(4e9, Duration::from_millis(1));
    for one in &mut measured {
        let is_long = one.shape.bytes > 256 << 10 || one.shape.in_flight > 4;
        one.p99 = if is_long { BOUND + Duration::from_micros(1) } else { BOUND };
    }
    let (commit, _, _) = chosen(&measured);
    assert_eq!(commit, 256 << 10);
    let choice = choose(&measured, BOUND).unwrap();
    assert!(choice.deep.shape.in_flight <= 4 && choice.small.shape.in_flight <= 4);
    // No read of 1 MiB keeps to the bound, so all of them count.
    assert_eq!(choice.file_reads_in_flight_max(), 8);
    assert_eq!(choice.commits_in_flight_max(), 8, "others do not wait for who opens a file");
}

#[test]
fn without_a_shape_nothing_is_chosen() {
    let all = device(1e9, Duration::ZERO);
    for work in [Work::SyncedWrite, Work::Read] {
        let mut some = all.clone();
        some.retain(|one| one.shape.work != work);
        assert_eq!(choose(&some, BOUND), None);
    }
    assert_eq!(choose(&[], BOUND), None);
}

#[test]
fn every_choice_is_a_model_that_a_start_takes() {
    for bandwidth in [1e6, 1e8, 1e10] {
        for pause in [0, 100, 10_000, 1_000_000] {
            let measured = device(bandwidth, Duration::from_micros(pause));
            let choice = choose(&measured, BOUND).unwrap();
            let model = model_of(&measured, &choice);
            assert_eq!(DiskModel::parse(&model.to_toml()), Ok(model));
        }
    }
}

#[test]
fn times_are_told_by_median_and_p99() {
    let shape = shapes()[0];
    let of = |count: u64| {
        let times = (1..=count).rev().map(Duration::from_micros).collect();
        let measured = Measured::of(shape, times, Duration::from_secs(2));
        (measured.median.as_micros(), measured.p99.as_micros(), measured.per_second)
    };
    assert_eq!(of(1), (1, 1, 0.5));
    assert_eq!(of(2), (1, 2, 1.0));
    assert_eq!(of(100), (50, 99, 50.0));
    assert_eq!(of(1000), (500, 990, 500.0));
}

#[test]
fn the_plan_grows_with_its_time_up_to_a_bound() {
    let space = |seconds: f64| Plan::new(seconds).space_bytes >> 20;
    assert_eq!((space(0.1), space(3600.0)), (16, 1024));
    assert!((16..1024).contains(&space(30.0)), "{}", space(30.0));
    let all = shapes();
    let shares = Plan::new(30.0).share * u32::try_from(all.len()).unwrap();
    assert!((Duration::from_secs(29)..Duration::from_secs(31)).contains(&shares));
    for (at, shape) in all.iter().enumerate() {
        assert!(!all[..at].contains(shape), "{shape:?} is measured twice");
        assert!(shape.files <= FILES_MAX && [1, shape.in_flight].contains(&shape.files));
        let of_each = Plan::new(0.1).space_bytes / shape.files as u64;
        assert!(of_each >= shape.bytes as u64, "{shape:?} has room");
    }
    let is_read = |shape: &Shape| shape.work == Work::Read;
    assert!(all.iter().skip_while(|shape| !is_read(shape)).all(is_read), "reads come last");
}

#[test]
fn without_twice_the_space_nothing_is_measured() {
    let plan = Plan::new(0.1);
    assert!(refuse_without_space(32 << 20, &plan).is_ok());
    let refused = format!("{:?}", refuse_without_space((32 << 20) - 1, &plan).unwrap_err());
    assert!(refused.contains("31 MiB are free, and 32 MiB have to be"), "{refused}");
}

#[test]
fn only_a_model_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    assert!(refuse_what_is_no_model(&file).is_ok());
    for (text, is_replaced) in [
        (DiskModel::FIRST_LINE.to_string(), true),
        (format!("{}version = 7\n", DiskModel::FIRST_LINE), true),
        (String::new(), false),
        ("[log]\nsegment_bytes = 1\n".to_string(), false),
    ] {
        std::fs::write(&file, &text).unwrap();
        assert_eq!(refuse_what_is_no_model(&file).is_ok(), is_replaced, "{text}");
    }
    assert!(refuse_what_is_no_model(folder.path()).is_err());
}

#[test]
fn all_that_was_measured_is_shown() {
    let measured = device(1e9, Duration::from_micros(100));
    let choice = choose(&measured, BOUND).unwrap();
    let (mut text, mut lines) = (Vec::new(), Vec::new());
    write_text(&mut text, &measured, &choice).unwrap();
    write_json(&mut lines, &measured, &choice).unwrap();
    let (text, lines) = (String::from_utf8(text).unwrap(), String::from_utf8(lines).unwrap());
    let rows = |work: &str| text.lines().filter(|line| line.starts_with(work)).count();
    for work in [Work::SyncedWrite, Work::Write, Work::Sync, Work::Read] {
        let count = shapes().iter().filter(|shape| shape.work == work).count();
        assert_eq!(rows(&format!("{} ", work.name())), count, "{text}");
    }
    assert!(text.contains("\ncommit_bytes_max 1 MiB: "), "{text}");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), measured.len() + 1);
    assert_eq!(lines[measured.len()]["commit_bytes_max"], MIB);
    assert_eq!(lines[0]["subject"], "synced-write");
}

/// A data directory with a file of somebody, and one that a killed run left behind.
fn simulation() -> Simulation {
    let simulation = Simulation::new(1);
    let disk = simulation.disk();
    disk.put_directory("/data").unwrap();
    disk.put_file("/data/metadata.log", &[7; 100]).unwrap();
    disk.put_file(format!("/data/{FILE_PREFIX}3"), &[1; 10]).unwrap();
    disk.put_file(format!("/data/{FILE_PREFIX}x"), &[2; 10]).unwrap();
    simulation
}

fn run(simulation: &Simulation) -> std::io::Result<Vec<Measured>> {
    simulation.run(async {
        let measured =
            measure(Path::new("/data"), &shapes(), &Plan::new(0.1), &|| sim::note("measured"))
                .await;
        // What the files held is given back once they are closed.
        sim::sleep(Duration::from_secs(1)).await;
        measured
    })
}

#[track_caller]
fn is_as_before(simulation: &Simulation) {
    let disk = simulation.disk();
    assert_eq!(disk.read_file("/data/metadata.log").unwrap(), [7; 100]);
    assert_eq!(disk.read_file(format!("/data/{FILE_PREFIX}x")).unwrap(), [2; 10]);
    assert_eq!(disk.files().len(), 2, "{:?}", disk.files());
    assert_eq!(disk.files_open(), 0);
}

#[test]
fn all_shapes_are_measured_and_nothing_is_left_or_touched() {
    let simulation = simulation();
    let measured = run(&simulation).unwrap();
    let of: Vec<Shape> = measured.iter().map(|one| one.shape).collect();
    assert_eq!(of, shapes());
    for one in &measured {
        let Measured { count, per_second, median, p99, shape } = *one;
        assert!(count >= shape.in_flight.min(shape.files) && per_second > 0.0, "{one:?}");
        assert!(Duration::ZERO < median && median <= p99, "{one:?}");
    }
    let small = measured.iter().filter(|one| one.shape.bytes == SMALL_BYTES).map(|one| one.count);
    assert!(small.max().is_some_and(|count| count >= 64), "each of 64 files was written");
    assert!(choose(&measured, BOUND).is_some());
    is_as_before(&simulation);
}

#[test]
fn a_device_that_fails_is_told_and_nothing_is_left() {
    for operation in [
        DiskOperation::Open,
        DiskOperation::Allocate,
        DiskOperation::Write,
        DiskOperation::Sync,
        DiskOperation::Read,
    ] {
        let simulation = simulation();
        simulation.disk().fail_next(operation, FILE_PREFIX);
        assert!(run(&simulation).is_err(), "{operation:?}");
        is_as_before(&simulation);
    }
}
