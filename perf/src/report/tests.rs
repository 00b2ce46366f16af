//! A made-up run that is always the same, and the reports that must come of it (perf/tests/golden).

use super::model::*;
use super::*;
use crate::histogram::Latencies;
use std::collections::BTreeMap;
use std::path::Path;

/// Set to write the golden files anew; look at what changed before committing.
const WRITE: &str = "CORELOG_PERF_GOLDEN_WRITE";

/// Compares with the file in perf/tests/golden.
pub fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = expected.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(
        expected == text,
        "{file} differs, first at line {differing:?} counted from 0; if that is right: {WRITE}=1 \
         cargo test -p corelog-perf, and look at the difference"
    );
}

/// A small generator of its own: no crate's update may change the golden files.
struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A body and a long tail, in whole numbers so that every machine has the same.
    fn latency(&mut self, floor: u64) -> u64 {
        let body = (0..8).map(|_| self.below(floor / 4)).sum::<u64>();
        let tail = match self.below(10_000) {
            0 => 60 * floor,
            1..=9 => 24 * floor,
            10..=199 => 6 * floor,
            _ => 0,
        };
        floor + body + if tail > 0 { self.below(tail) } else { 0 }
    }
}

const SECONDS: u64 = 20;
const RATE: u64 = 50_000;

fn interval(second: u64, random: &mut Random, floor: u64) -> Interval {
    let mut one = Interval {
        start_seconds: second as f64,
        seconds: 1.0,
        planned_records: RATE,
        produced_records: RATE - if second == 11 { 7_000 } else { 0 }
            + if second == 12 { 7_000 } else { 0 },
        consumed_records: RATE - random.below(400),
        broker_cpu_seconds: Some(0.40 + random.below(60) as f64 / 1_000.0),
        broker_memory_bytes: Some(180_000_000 + second * 1_000_000),
        backlog_records: random.below(900) + if second == 11 { 7_000 } else { 0 },
        consumer_lag_records: random.below(1_500),
        ..Interval::default()
    };
    one.produced_bytes = one.produced_records * 1024;
    one.consumed_bytes = one.consumed_records * 1024;
    let (mut acknowledge, mut end_to_end) = (Latencies::default(), Latencies::default());
    for _ in 0..one.produced_records / 10 {
        let mut latency = random.latency(floor);
        if second == 11 && random.below(100) < 14 {
            latency += random.below(140_000_000);
        }
        acknowledge.record_n(latency, 10);
        end_to_end.record_n(latency + random.latency(floor / 2), 10);
    }
    (one.acknowledge, one.end_to_end) = (acknowledge.pack(), end_to_end.pack());
    one
}

fn environment(label: &str) -> Environment {
    let is_corelog = label == "corelog";
    Environment {
        started_at: "2026-03-01T12:00:00Z".to_owned(),
        command_line: "corelog-perf run --rate 50000 --record-bytes 1024 --topic <perf>".to_owned(),
        generator_version: "0.1.0".to_owned(),
        commit: "0d575e6".to_owned(),
        host: Host {
            cpu_model: "AMD EPYC 7B13".to_owned(),
            cpus: 2,
            kernel: "Linux 6.1.0-18-amd64".to_owned(),
            memory_bytes: 8_321_499_136,
        },
        broker: BrokerFacts {
            bootstrap: "127.0.0.1:9092".to_owned(),
            brokers: 1,
            version: if is_corelog { "corelog 0.1.0" } else { "Apache Kafka 4.3" }.to_owned(),
            durability: Fact {
                value: if is_corelog { "sync before acknowledging" } else { "page cache" }
                    .to_owned(),
                is_declared: !is_corelog,
            },
            replication: 1,
            filesystem: "ext4".to_owned(),
            device: "nvme0n1 (Google PersistentDisk)".to_owned(),
            cpus: "0".to_owned(),
        },
        loop_kind: LoopKind::Open,
        acks: "all".to_owned(),
        generator_limits: "1 thread on CPU 1, 4 connections, 64 in flight each".to_owned(),
    }
}

/// The run of `label`; another seed is another run of the same work.
pub fn sample(label: &str, seed: u64) -> Report {
    let mut random = Random(seed);
    let floor = if label == "corelog" { 400_000 } else { 900_000 };
    let intervals: Vec<Interval> =
        (0..SECONDS).map(|second| interval(second, &mut random, floor)).collect();
    let sum = |of: fn(&Interval) -> u64| intervals.iter().map(of).sum::<u64>();
    let flow = |records: u64| Flow {
        records,
        payload_bytes: records * 1024,
        batch_bytes: records * 1040,
        batches: records / 60,
        requests: records / 60,
        ..Flow::default()
    };
    let planned = Some(RATE as f64);
    let produced = Flow {
        rate_planned: planned,
        retries: 3,
        backlog: 212,
        ..flow(sum(|one| one.produced_records))
    };
    let consumed =
        Flow { backlog: 431, throttled_seconds: 0.25, ..flow(sum(|one| one.consumed_records)) };
    let mut report = Report {
        format: FORMAT,
        label: label.to_owned(),
        invalid: Vec::new(),
        remarks: vec!["the device's cache was not switched off".to_owned()],
        work: work(),
        environment: environment(label),
        seconds: SECONDS as f64,
        acknowledge: Latencies::default(),
        end_to_end: Latencies::default(),
        generator_lag: Latencies::default(),
        broker: Some(ProcessUse {
            pid: 4711,
            cpu_seconds: if label == "corelog" { 8.61 } else { 17.93 } + seed as f64 / 10.0,
            peak_memory_bytes: if label == "corelog" { 201_326_592 } else { 1_288_490_188 },
            device_written_bytes: Some(1_072_000_000),
        }),
        generator: ProcessUse {
            pid: 4712,
            cpu_seconds: 5.02,
            peak_memory_bytes: 96_000_000,
            device_written_bytes: None,
        },
        device: Some(DeviceUse {
            name: "nvme0n1".to_owned(),
            written_bytes: 1_101_004_800,
            writes: 16_912,
            flushes: 4_010,
        }),
        verified: Some(Verified {
            records: sum(|one| one.consumed_records),
            ..Verified::default()
        }),
        limits: limits(),
        produced: Some(produced),
        consumed: Some(consumed),
        intervals,
    };
    for one in &report.intervals {
        report.acknowledge.merge(&one.acknowledge.unpack());
        report.end_to_end.merge(&one.end_to_end.unpack());
    }
    (0..2_000).for_each(|_| report.generator_lag.record_n(random.latency(8_000), 500));
    report
}

fn work() -> BTreeMap<String, String> {
    let settings = [
        ("acks", "all"),
        ("batch_bytes", "65536"),
        ("compression", "none"),
        ("partitions", "16"),
        ("rate", "50000/s"),
        ("record_bytes", "1024"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn limits() -> Vec<Limit> {
    let limit = |name: &str, bytes_per_second, how: &str| Limit {
        name: name.to_owned(),
        bytes_per_second,
        how: how.to_owned(),
    };
    vec![
        limit("TCP sink", 1.91e9, "corelog-perf sink, 64 KiB batches, 5 s"),
        limit("disk, 128 KiB direct writes, O_DSYNC", 2.1e8, "one writer, 5 s"),
    ]
}

/// As bad as it can be: invalid, faulty, without what could be missing, and with words that are markup.
pub fn bad_sample() -> Report {
    let mut report = sample("<script>alert(1)</script>", 7);
    report.invalid = vec![
        "the generator fell behind: 12 % of batches were sent more than 1 ms late".to_owned(),
        "the broker <b>died</b> & did not come back\u{1b}[2J".to_owned(),
    ];
    report.environment = Environment { loop_kind: LoopKind::Closed, ..Environment::default() };
    report.produced.as_mut().expect("the sample produces").rate_planned = None;
    report.consumed = None;
    report.end_to_end.clear();
    report.broker = None;
    report.device = None;
    report.limits.clear();
    report.intervals.truncate(1);
    report.verified = Some(Verified {
        records: 999_000,
        lost: 12,
        damaged: 1,
        examples: vec!["partition 3, offset 17: \"checksum\" <differs>\u{1b}[31m".to_owned()],
        ..Verified::default()
    });
    report
}

#[test]
fn reports_are_as_they_were() {
    let report = sample("corelog", 1);
    golden("sample.txt", &text::render(&report));
    golden("sample.json", &json::render(&report));
    golden("sample.hgrm", &hgrm::render(&report.acknowledge));
    golden("sample.hlog", &hlog::render(&report));
    golden("sample.html", &html::render(&report));
    golden("bad.txt", &text::render(&bad_sample()));
    golden("bad.html", &html::render(&bad_sample()));
}

#[test]
fn a_report_of_an_older_day_is_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sample.json");
    assert_eq!(json::read(&path).expect("format 1"), sample("corelog", 1));
}

#[test]
fn the_first_line_says_that_a_run_does_not_count() {
    let first = |report: &Report| text::render(report).lines().next().map(str::to_owned);
    let first = |report: &Report| first(report).expect("a report has lines");
    assert!(first(&bad_sample()).starts_with("INVALID: the generator fell behind: 12 %"));
    assert!(first(&sample("corelog", 1)).starts_with("corelog: 50,000 records/s produced"));
    let mut forgetful = sample("corelog", 1);
    forgetful.verified =
        Some(Verified { records: 10, lost: 1, reordered: 2, ..Verified::default() });
    let expected = "INVALID: verification failed: 1 lost, 2 reordered of 10 records";
    assert_eq!(first(&forgetful), expected);
    forgetful.verified = None;
    forgetful.produced = None;
    forgetful.consumed = None;
    assert_eq!(first(&forgetful), "INVALID: no record was produced or consumed");
}

#[test]
fn nothing_that_others_wrote_becomes_markup() {
    assert_eq!(
        html::escape("<a href='x\"'>&\u{1b}"),
        "&lt;a href=&#39;x&quot;&#39;&gt;&amp;\u{fffd}"
    );
    let page = html::render(&bad_sample());
    for markup in ["<script", "<b>died", "<differs", "\u{1b}"] {
        assert!(!page.contains(markup), "{markup:?} stands in the page");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let text = text::render(&bad_sample());
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let page = html::render(&sample("corelog", 1));
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(reference), "{reference} stands in the page");
    }
}

#[test]
fn no_report_lacks_its_header() {
    let report = sample("corelog", 1);
    let needed = [
        "corelog 0.1.0",
        "sync before acknowledging",
        "AMD EPYC 7B13",
        "Linux 6.1.0-18-amd64",
        "ext4",
        "nvme0n1",
        "open loop",
        "0d575e6",
        "corelog-perf run --rate 50000",
        "64 in flight each",
    ];
    let (text, page) = (text::render(&report), html::render(&report));
    needed.iter().for_each(|fact| assert!(text.contains(fact) && page.contains(fact), "{fact}"));
    let declared = "page cache (declared, not asked of the broker)";
    assert!(text::render(&sample("kafka", 1)).contains(declared));
    let empty = Report { environment: Environment::default(), ..report };
    assert!(text::render(&empty).contains("Kernel              unknown"));
}

#[test]
fn a_run_without_anything_has_reports_all_the_same() {
    let mut report = bad_sample();
    report.acknowledge.clear();
    report.generator_lag.clear();
    report.intervals.clear();
    report.produced = None;
    report.seconds = 0.0;
    report.verified = None;
    assert!(text::render(&report).contains("nothing measured"));
    let (page, log) = (html::render(&report), hlog::render(&report));
    assert!(!page.contains("NaN") && !page.contains("inf"), "figures that are none are not shown");
    assert_eq!(log.lines().count(), 2, "the version and the legend");
}
