//! Damage to a real broker's files as an operator meets it: what `doctor` says, what the broker serves meanwhile,
//! what `repair` makes of it, and what is served then.

mod support;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::Broker;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelog"));
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORELOG_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program is built");
    let mut stdin = process.stdin.take().expect("piped");
    let input = input.to_string();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = process.wait_with_output().expect("it ends");
    writer.join().expect("writing does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("no signal ended it");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

/// What a command prints, and its exit code, in silence on stderr.
#[track_caller]
fn quiet(arguments: &[&str], code: i32) -> String {
    let ran = run(arguments, "");
    assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{arguments:?}: {}", ran.out);
    ran.out
}

/// The lines of numbers that a topic gets: each its own offset.
fn lines(range: std::ops::Range<i64>) -> String {
    range.map(|number| format!("{number} {}\n", "x".repeat(200))).collect()
}

fn values(range: std::ops::Range<i64>) -> BTreeSet<i64> {
    range.collect()
}

/// A folder with a broker's data.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("there is room") }
    }

    /// Two topics of one partition: 3,000 records of 200 bytes in small batches, in segments of 100 KiB.
    fn with_segments() -> Place {
        let place = Place::new();
        let broker = place.start(&["--log-segment-bytes", "100KiB"]);
        for topic in ["t", "other"] {
            let ran = run(
                &["produce", topic, "--batch-bytes", "4096", "-b", &broker.bootstrap()],
                &lines(0..3000),
            );
            assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        }
        broker.stop();
        place
    }

    fn start(&self, arguments: &[&str]) -> Broker {
        Broker::start(self.folder.path(), &[&["--cpus", "0"], arguments].concat())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn data_dir(&self) -> String {
        self.data().display().to_string()
    }

    fn doctor(&self, code: i32) -> String {
        quiet(&["doctor", "data", "--data-dir", &self.data_dir()], code)
    }

    /// The line of one subject.
    fn doctor_json(&self, subject: &str) -> Value {
        let out = run(&["doctor", "data", "--json", "--data-dir", &self.data_dir()], "").out;
        let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let found = lines.into_iter().find(|line| line["subject"] == subject);
        found.unwrap_or_else(|| panic!("{subject} is not in {out}"))
    }

    fn repair(&self, how: &str) -> Ran {
        run(&["repair", "t-0", "--data-dir", &self.data_dir(), how, "--yes"], "")
    }

    /// Segments of t-0, in order.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data().join("t-0")).expect("it is there");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        paths
    }

    /// The first number of each record that is served, which is its offset.
    fn consume(&self, broker: &Broker) -> BTreeSet<i64> {
        let out = quiet(&["consume", "t", "--print", "offset,value", "-b", &broker.bootstrap()], 0);
        let numbers = out.lines().map(|line| {
            let (offset, value) = line.split_once('\t').expect("two fields");
            let number = value.split(' ').next().expect("a number");
            assert_eq!(offset, number, "records keep their offsets");
            number.parse().expect("a number")
        });
        numbers.collect()
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it is there");
    change(&mut bytes);
    fs::write(path, bytes).expect("there is room");
}

/// Batches of a segment: position and offsets, as `dump` tells them.
fn batches(path: &Path) -> Vec<(u64, i64, i64)> {
    let out = quiet(&["dump", path.to_str().expect("text")], 0);
    let batch = |line: &str| {
        let words: Vec<&str> = line.split([' ', ':', ',']).collect();
        let number = |after: &str| {
            let at = words.iter().position(|word| *word == after).expect("it is told");
            words[at + 1].parse::<i64>().expect("a number")
        };
        let position = number("position") as u64;
        let at = words.iter().position(|word| *word == "offsets").expect("it is told");
        (position, words[at + 1].parse().expect("a number"), number("to"))
    };
    out.lines().filter(|line| line.contains(": offsets ")).map(batch).collect()
}

/// A stock client sees the same records, and gets past what was taken out.
fn consume_with_librdkafka(broker: &Broker, until: i64) -> BTreeSet<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("group.id", "unused");
    config.set("check.crcs", "true");
    let consumer: BaseConsumer = config.create().expect("it is configured");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Beginning).expect("a topic");
    consumer.assign(&list).expect("it is known");
    let (mut seen, started) = (BTreeSet::new(), Instant::now());
    while seen.last().is_none_or(|last| last + 1 < until) {
        assert!(started.elapsed() < Duration::from_secs(60), "it stands at {:?}", seen.last());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            seen.insert(message.expect("records are sound").offset());
        }
    }
    seen
}

#[test]
fn sound_data_is_said_to_be_sound_and_is_left_alone() {
    let place = Place::with_segments();
    let out = place.doctor(0);
    assert!(out.contains("t-0") && out.contains("other-0"), "{out}");
    assert_eq!(out.matches(" sound").count(), 2, "{out}");
    let one = quiet(&["doctor", "data", "other-0", "--data-dir", &place.data_dir()], 0);
    assert!(!one.contains("t-0 ") || one.contains("other-0"), "{one}");
    let ran = run(&["doctor", "data", "nobody", "--data-dir", &place.data_dir()], "");
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("no topic or partition named nobody"), "{}", ran.err);
    for how in ["--skip-damaged", "--truncate", "--indexes"] {
        let ran = place.repair(how);
        assert_eq!((ran.code, ran.out.as_str()), (0, "t-0: nothing to repair, 3000 records\n"));
    }
    assert!(!place.data().join(".repair").exists());
    let ran = run(&["repair", "t-0", "--data-dir", &place.data_dir()], "");
    assert_eq!(ran.code, 2, "how is to be said: {}", ran.err);

    let broker = place.start(&[]);
    let ran = run(&["doctor", "data", "--data-dir", &place.data_dir()], "");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("is in use by a running corelog: stop it first"), "{}", ran.err);
    let ran = place.repair("--truncate");
    assert!(ran.code == 1 && ran.err.contains("is in use"), "{}", ran.err);
    broker.stop();
}

#[test]
fn a_torn_tail_is_told_apart_from_damage() {
    let place = Place::new();
    let broker = place.start(&[]);
    let ran = run(&["produce", "t", "-b", &broker.bootstrap()], &lines(0..1000));
    assert_eq!(ran.code, 0, "{}", ran.err);
    broker.kill();
    let path = &place.segments()[0];
    let (position, first, _) = *batches(path).last().expect("there are some");
    change(path, |bytes| bytes[position as usize + 100] ^= 1);
    let out = place.doctor(0);
    assert!(out.contains("torn tail") && out.contains("none needed: a start cuts this torn tail"));
    assert!(out.contains(&format!("byte {position}")), "{out}");
    let broker = place.start(&[]);
    assert_eq!(place.consume(&broker), values(0..first));
    broker.stop();
    assert!(!place.doctor(0).contains("torn"));
}

/// Damages the third of many segments, and says which offsets are lost with that.
fn check_segment(damage: impl FnOnce(&Path, &[(u64, i64, i64)]) -> (i64, i64)) {
    let place = Place::with_segments();
    let segments = place.segments();
    assert!(segments.len() > 4, "{segments:?}");
    let path = &segments[2];
    let (first, last) = damage(path, &batches(path));
    let out = place.doctor(1);
    assert!(out.contains(&format!("offsets {first} to {last}: damage")), "{out}");
    assert!(
        out.contains("corelog repair t-0 --data-dir") && out.contains("--skip-damaged"),
        "{out}"
    );
    assert!(
        out.lines().any(|line| line.starts_with("other-0") && line.ends_with("sound")),
        "{out}"
    );
    let json = place.doctor_json("t-0");
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1), "{json}");
    let found = &json["findings"][0];
    assert_eq!(
        (found["base_offset"].as_i64(), found["last_offset"].as_i64()),
        (Some(first), Some(last))
    );
    assert_eq!(found["after"]["records"].as_i64(), Some(3000 - last - 1), "{found}");
    let lost = values(first..last + 1);

    // Without --yes nothing happens.
    let before = fs::read(path).ok();
    let ran = run(&["repair", "t-0", "--data-dir", &place.data_dir(), "--skip-damaged"], "");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("would be repaired") && ran.err.contains("say --yes"), "{}", ran.out);
    assert_eq!(fs::read(path).ok(), before);
    assert!(!place.data().join(".repair").exists());

    let ran = place.repair("--skip-damaged");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let kept = ran.out.lines().find_map(|line| line.strip_prefix("what was changed is kept in "));
    let kept = Path::new(kept.expect("it is told"));
    if let Some(before) = before {
        let copy = kept.join(path.file_name().expect("a name"));
        assert_eq!(fs::read(copy).expect("it is kept"), before);
    }
    assert!(place.doctor(0).contains("taken out by repairs"));
    assert!(place.repair("--skip-damaged").out.contains("nothing to repair"));

    let broker = place.start(&[]);
    let left: BTreeSet<i64> = values(0..3000).difference(&lost).copied().collect();
    assert_eq!(place.consume(&broker), left);
    assert_eq!(consume_with_librdkafka(&broker, 3000), left);
    let ran = run(&["produce", "t", "-b", &broker.bootstrap()], &lines(3000..3010));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(place.consume(&broker).contains(&3009));
    broker.stop();
    place.doctor(0);
}

#[test]
fn a_flipped_bit_costs_its_batch_only() {
    check_segment(|path, batches| {
        let (position, first, last) = batches[5];
        change(path, |bytes| bytes[position as usize + 70] ^= 4);
        (first, last)
    });
}

#[test]
fn a_flipped_bit_in_a_header_costs_its_batch_only() {
    check_segment(|path, batches| {
        let (position, first, last) = batches[5];
        change(path, |bytes| bytes[position as usize + 9] ^= 4);
        (first, last)
    });
}

#[test]
fn a_zeroed_block_costs_the_batches_in_it() {
    check_segment(|path, batches| {
        change(path, |bytes| bytes[8192..12288].fill(0));
        let end = |at: usize| batches.get(at + 1).map_or(u64::MAX, |(position, ..)| *position);
        let lost: Vec<usize> =
            (0..batches.len()).filter(|at| batches[*at].0 < 12288 && end(*at) > 8192).collect();
        (batches[lost[0]].1, batches[lost[lost.len() - 1]].2)
    });
}

#[test]
fn a_cut_file_costs_what_was_cut() {
    check_segment(|path, batches| {
        let (position, first, _) = batches[7];
        change(path, |bytes| bytes.truncate(position as usize + 10));
        (first, batches[batches.len() - 1].2)
    });
}

#[test]
fn a_missing_segment_costs_its_records_only() {
    check_segment(|path, batches| {
        fs::remove_file(path).expect("it is there");
        (batches[0].1, batches[batches.len() - 1].2)
    });
}

#[test]
fn cutting_at_the_damage_loses_what_follows_and_keeps_a_copy() {
    let place = Place::with_segments();
    let segments = place.segments();
    let (position, first, _) = batches(&segments[1])[3];
    change(&segments[1], |bytes| bytes[position as usize + 80] ^= 1);
    let damaged: Vec<Vec<u8>> =
        segments.iter().map(|path| fs::read(path).expect("it is there")).collect();
    let ran = place.repair("--truncate");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains(&format!("the log ends at offset {first}")), "{}", ran.out);
    let kept = ran.out.lines().find_map(|line| line.strip_prefix("what was changed is kept in "));
    let kept = Path::new(kept.expect("it is told"));
    for (path, bytes) in segments.iter().zip(&damaged).skip(1) {
        let copy = kept.join(path.file_name().expect("a name"));
        assert_eq!(&fs::read(copy).expect("it is kept"), bytes);
    }
    assert_eq!(place.segments(), segments[..2]);
    place.doctor(0);
    assert!(place.repair("--truncate").out.contains("nothing to repair"));
    let broker = place.start(&[]);
    assert_eq!(place.consume(&broker), values(0..first));
    let ran = run(&["produce", "t", "-b", &broker.bootstrap()], &lines(first..first + 10));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(place.consume(&broker), values(0..first + 10));
    broker.stop();
    place.doctor(0);
}

#[test]
fn indexes_and_epochs_are_made_anew() {
    let place = Place::with_segments();
    let segments = place.segments();
    let (index, times) =
        (segments[1].with_extension("index"), segments[2].with_extension("timeindex"));
    let missing = segments[3].with_extension("index");
    let whole = [&index, &times, &missing].map(|path| fs::read(path).expect("it is there"));
    change(&index, |bytes| bytes[12] ^= 1);
    change(&times, |bytes| bytes[7] ^= 1);
    fs::remove_file(&missing).expect("it is there");
    let epochs = place.data().join("t-0/leader-epoch-checkpoint");
    fs::write(&epochs, "nonsense").expect("there is room");
    let out = place.doctor(1);
    for path in [&index, &times, &missing, &epochs] {
        let stem = path.file_stem().expect("a name").to_str().expect("text");
        assert!(out.contains(stem), "{stem} is not in {out}");
    }
    assert!(out.contains("--indexes"), "{out}");
    let ran = place.repair("--indexes");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!([&index, &times, &missing].map(|path| fs::read(path).expect("made")), whole);
    assert_eq!(fs::read_to_string(&epochs).expect("made"), "0\n1\n0 0\n");
    place.doctor(0);
    let broker = place.start(&[]);
    assert_eq!(place.consume(&broker), values(0..3000));
    broker.stop();
}

#[test]
fn damage_beside_the_records_is_told() {
    let place = Place::with_segments();
    let points = place.data().join("recovery-points-0");
    change(&points, |bytes| bytes[20] ^= 1);
    let out = place.doctor(1);
    assert!(
        out.contains("the recovery points are damaged") && out.contains("none needed"),
        "{out}"
    );
    place.start(&[]).stop();
    place.doctor(0);

    let snapshots = fs::read_dir(place.data().join("t-0")).expect("it is there");
    let snapshots = snapshots.map(|entry| entry.expect("listed").path());
    let mut snapshots: Vec<PathBuf> =
        snapshots.filter(|path| path.extension().is_some_and(|e| e == "producers")).collect();
    snapshots.sort();
    change(&snapshots[0], |bytes| bytes[6] ^= 1);
    assert!(place.doctor(1).contains("the snapshot of producers is damaged"));

    // The newest that cannot be read at all, as on a device that fails: told with the file and what to do.
    let newest = snapshots.last().expect("there are some");
    let whole = fs::read(newest).expect("it is there");
    fs::remove_file(newest).expect("it is there");
    std::os::unix::fs::symlink(newest, newest).expect("there is room");
    let out = place.doctor(1);
    let told = format!("{}, byte 0: producers", newest.display());
    assert!(out.contains(&told) && out.contains("remedy: check the device"), "{out}");
    let json = place.doctor_json("t-0");
    assert_eq!(json["sound"], false);
    assert_eq!(json["findings"][0]["kind"], "producers");
    fs::remove_file(newest).expect("it is there");
    fs::write(newest, whole).expect("there is room");

    // The first frame and the last one.
    let log = place.data().join("metadata.log");
    let whole = fs::read(&log).expect("it is there");
    let last = whole.iter().rposition(|byte| *byte != 0).expect("it has frames");
    for position in [10, last] {
        fs::write(&log, &whole).expect("there is room");
        change(&log, |bytes| bytes[position] ^= 1);
        let json = place.doctor_json("metadata.log");
        assert_eq!(
            (&json["sound"], &json["findings"][0]["remedy"]),
            (&false.into(), &"by hand".into())
        );
    }
    assert_eq!(place.doctor_json("t-0")["records"], 3000, "folders are looked at all the same");
    let metadata = place.data().join("t-0/partition.metadata");
    fs::remove_file(metadata).expect("it is there");
    assert!(place.doctor(1).contains("where the file is missing, the folder is set aside"));
    let ran = place.repair("--skip-damaged");
    assert!(ran.out.contains("no repair mends that: write the file anew"), "{}", ran.out);
}

/// A log of one segment with more behind its damage than a crash can tear: it does not open.
fn unopenable() -> (Place, i64) {
    let place = Place::new();
    let broker = place.start(&[]);
    let produce = ["produce", "t", "--batch-bytes", "16384", "-b", &broker.bootstrap()];
    assert_eq!(run(&produce, &lines(0..40_000)).code, 0);
    let other = ["produce", "other", "-b", &broker.bootstrap()];
    assert_eq!(run(&other, "fine\n").code, 0);
    broker.kill();
    let path = &place.segments()[0];
    let (position, first, _) = batches(path)[20];
    change(path, |bytes| bytes[position as usize + 90] ^= 1);
    (place, first)
}

#[test]
fn what_lies_before_damage_is_served_if_asked() {
    let (place, first) = unopenable();
    let broker = place.start(&[]);
    let bootstrap = broker.bootstrap();
    let ran = run(&["consume", "t", "-b", &bootstrap, "--timeout", "3"], "");
    assert_ne!(ran.code, 0, "nothing is served");
    let ran = run(
        &[
            "topic",
            "alter",
            "t",
            "--set",
            "corelog.damaged.partitions=serve-readable",
            "-b",
            &bootstrap,
        ],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen = broker.stop().join("\n");
    assert!(seen.contains("corelog doctor data") && seen.contains("corelog repair"), "{seen}");

    let broker = place.start(&[]);
    let bootstrap = broker.bootstrap();
    assert_eq!(place.consume(&broker), values(0..first));
    assert_eq!(consume_with_librdkafka(&broker, first), values(0..first));
    let ran = run(&["produce", "t", "-b", &bootstrap, "--timeout", "3"], "late\n");
    assert!(ran.code == 1, "{}", ran.err);
    let ran = run(&["produce", "other", "-b", &bootstrap], "also fine\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(quiet(&["consume", "other", "-b", &bootstrap], 0), "fine\nalso fine\n");
    let seen = broker.stop().join("\n");
    assert!(seen.contains("it serves what lies before, for reading only"), "{seen}");

    // The same for all topics.
    let broker = place.start(&["--damaged-partitions", "serve-readable"]);
    assert_eq!(place.consume(&broker), values(0..first));
    broker.stop();
    assert!(place.doctor(1).contains(&format!("offsets {first} to ")));
    let ran = place.repair("--skip-damaged");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let broker = place.start(&[]);
    let served = place.consume(&broker);
    assert!(served.len() > 39_000 && !served.contains(&first) && served.contains(&39_999));
    broker.stop();
}

// ---------------------------------------------------------------- the disk

impl Place {
    /// Measures for a moment only, and gives the lines of JSON.
    fn measure(&self) -> Vec<Value> {
        let data = self.data_dir();
        let out = quiet(&["doctor", "disk", "--json", "--seconds", "0.3", "--data-dir", &data], 0);
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.data()).expect("it is there");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
        entries.map(|entry| name(entry.expect("listed"))).collect()
    }
}

#[test]
fn what_the_disk_gives_is_taken_up_by_the_next_start() {
    let place = Place::new();
    let broker = place.start(&[]);
    assert_eq!(run(&["produce", "t", "-b", &broker.bootstrap()], &lines(0..100)).code, 0);
    let ran = run(&["doctor", "disk", "--data-dir", &place.data_dir()], "");
    assert!(ran.code == 1 && ran.err.contains("is in use by a running corelog"), "{}", ran.err);
    broker.stop();
    let (mut names, segment) =
        (place.names(), fs::read(&place.segments()[0]).expect("it is there"));

    let lines = place.measure();
    let (model, measured) = lines.split_last().expect("there are some");
    for work in ["synced-write", "write", "sync", "read"] {
        assert!(measured.iter().any(|line| line["subject"] == work), "{work}");
    }
    for line in measured {
        assert!(line["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{line}");
        assert!(line["median_us"].as_u64() <= line["p99_us"].as_u64(), "{line}");
    }
    assert_eq!(model["subject"], "model");
    names.insert("disk-model.toml".to_string());
    assert_eq!(place.names(), names, "nothing else was made or removed");
    assert_eq!(fs::read(&place.segments()[0]).expect("it is there"), segment);
    let file = fs::read_to_string(place.data().join("disk-model.toml")).expect("it was written");
    let settings = ["commits_in_flight_max", "commit_bytes_max", "file_reads_in_flight_max"];
    for setting in settings {
        assert!(file.contains(&format!("\n{setting} = {}\n", model[setting])), "{file}");
    }

    // What is served has been opened, so that a stop leaves it complete.
    let took = |broker: Broker| {
        assert_eq!(place.consume(&broker), values(0..100));
        let seen = broker.stop();
        let line = seen.iter().find(|line| line.contains("took from the model of the disk"));
        line.cloned().unwrap_or_default()
    };
    let line = took(place.start(&[]));
    for setting in settings {
        assert!(line.contains(&format!(" {setting}={}", model[setting])), "{setting}: {line}");
    }
    let line = took(place.start(&["--commits-in-flight-max", "32", "--commit-bytes-max", "1MiB"]));
    assert!(line.contains(" file_reads_in_flight_max="), "{line}");
    assert!(!line.contains(" commits_in_flight_max=") && !line.contains(" commit_bytes_max="));
    assert_eq!(took(place.start(&["--disk-model", "none"])), "");

    // A table for people; the model is replaced by the new one.
    let out = quiet(&["doctor", "disk", "--seconds", "0.1", "--data-dir", &place.data_dir()], 0);
    assert!(out.starts_with("work ") && out.contains("\ncommits_in_flight_max "), "{out}");
    assert_eq!(place.names(), names);
}

#[test]
fn what_is_no_model_is_told_and_only_a_model_is_replaced() {
    let place = Place::new();
    place.start(&[]).stop();
    let file = place.data().join("disk-model.toml");
    fs::write(&file, "commit_bytes_max = 1\n").expect("there is room");
    let seen = place.start(&[]).stop().join("\n");
    assert!(seen.contains("this is no model of a disk") && seen.contains("line 1"), "{seen}");
    let data = place.data_dir();
    let named = file.to_str().expect("text");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none", "--cpus", "0"];
    let ran = run(&[&serve[..], &["--data-dir", &data, "--disk-model", named]].concat(), "");
    assert!(ran.code == 1 && ran.err.contains("as the model of the disk"), "{}", ran.err);
    let ran = run(&["doctor", "disk", "--seconds", "0.1", "--data-dir", &data], "");
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "commit_bytes_max = 1\n");
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    let place = Place::new();
    let mut process = Command::new(env!("CARGO_BIN_EXE_corelog"))
        .args(["doctor", "disk", "--seconds", "20", "--data-dir", &place.data_dir()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is built");
    let open = format!("/proc/{}/fd", process.id());
    // All of its files are open, each in two ways, and have lost their names.
    let nameless = || {
        let entries = fs::read_dir(&open).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        let name = |file: PathBuf| file.to_string_lossy().into_owned();
        let is_one =
            |name: &String| name.contains("/.doctor-disk-") && name.ends_with(" (deleted)");
        files.map(name).filter(is_one).count()
    };
    let started = Instant::now();
    while nameless() < 128 {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        assert!(process.try_wait().expect("it was ours").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill is there").success());
    assert!(!process.wait().expect("it was ours").success());
    assert_eq!(place.names(), BTreeSet::from([".lock".to_string()]));
    assert!(!place.measure().is_empty());
}

/// A start takes a log to end in a commit as long as the last life's may have been.
#[test]
fn a_smaller_commit_holds_from_a_start_after_a_clean_stop_on() {
    let place = Place::new();
    let small = ["--commit-bytes-max", "64KiB"];
    let is_held_back = |seen: &[String]| {
        seen.iter().any(|line| line.contains("logs may end in commits of the former size"))
    };
    let broker = place.start(&small);
    assert!(!is_held_back(&broker.seen), "nothing was there");
    assert_eq!(run(&["produce", "t", "-b", &broker.bootstrap()], &lines(0..100)).code, 0);
    broker.kill();
    let broker = place.start(&small);
    assert!(!is_held_back(&broker.seen), "it was as small before");
    broker.kill();
    place.start(&[]).kill();
    let broker = place.start(&small);
    assert!(is_held_back(&broker.seen), "{:#?}", broker.seen);
    broker.kill();
    for held_back in [true, false] {
        let broker = place.start(&small);
        assert_eq!(is_held_back(&broker.seen), held_back, "{:#?}", broker.seen);
        assert_eq!(place.consume(&broker), values(0..100), "all is open when it stops");
        broker.stop();
    }
}
