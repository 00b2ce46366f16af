//! The admin port of a broker as a process: what it shows is what happened, and several brokers of one host do
//! not get in each other's way.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use support::Broker;

fn corelog(broker: &Broker, arguments: &[&str], input: &str) -> (bool, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_corelog"))
        .args(arguments)
        .env("CORELOG_BOOTSTRAP", broker.bootstrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    process.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    let both = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(both).expect("text"))
}

/// Status and body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_string())
}

/// The sum of a metric's samples whose labels contain this text.
fn sum(page: &str, name: &str, labels: &str) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        (found == name && rest.contains(labels)).then(|| value.parse::<f64>().expect("a number"))
    });
    samples.sum()
}

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

#[test]
fn what_a_client_did_is_what_the_metrics_say() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ADMIN[..], &["--cpus", "0", "--metrics-per-partition", "true"]].concat();
    let broker = Broker::start(folder.path(), &arguments);
    let admin = broker.admin();
    assert_eq!(get(admin, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(admin, "/readyz"), (200, "ok\n".into()));
    let create = ["topic", "create", "t", "--config", "max.message.bytes=2000"];
    assert!(corelog(&broker, &create, "").0);
    let lines: String = (0..100).map(|number| format!("record {number}\n")).collect();
    assert!(corelog(&broker, &["produce", "t"], &lines).0);
    let (accepted, said) = corelog(&broker, &["produce", "t"], &"x".repeat(3000));
    assert!(!accepted && said.contains("MESSAGE_TOO_LARGE"), "{said}");
    let (_, read) = corelog(&broker, &["consume", "t"], "");
    assert_eq!(read.lines().count(), 100, "{read}");

    let (status, page) = get(admin, "/metrics");
    assert_eq!(status, 200);
    let of = |name: &str, labels: &str| sum(&page, name, labels);
    assert_eq!(of("corelog_appended_records_total", ""), 100.0);
    let appended = of("corelog_appended_bytes_total", "");
    assert!(appended > lines.len() as f64);
    assert_eq!(of("corelog_partition_size_bytes", "topic=\"t\""), appended);
    assert_eq!(of("corelog_partition_end_offset", "topic=\"t\""), 100.0);
    assert_eq!(of("corelog_commit_size_bytes_sum", ""), appended);
    let commits = of("corelog_commit_size_bytes_count", "");
    assert_eq!(of("corelog_commit_duration_seconds_count", ""), commits);
    assert!(of("corelog_fetched_bytes_total", "") >= appended);
    assert!(of("corelog_received_bytes_total", "") > appended);
    assert!(of("corelog_sent_bytes_total", "") > appended);
    assert_eq!(of("corelog_request_errors_total", "error=\"MESSAGE_TOO_LARGE\""), 1.0);
    assert_eq!(of("corelog_request_errors_total", "api=\"Produce\""), 1.0);
    assert_eq!(of("corelog_requests_total", "api=\"CreateTopics\""), 1.0);
    let produced = of("corelog_request_duration_seconds_count", "api=\"Produce\"");
    assert_eq!(produced, of("corelog_requests_total", "api=\"Produce\""));
    assert!(produced >= 2.0);
    assert_eq!(of("corelog_shard_up", ""), 1.0);
    let busy = of("corelog_shard_busy_seconds_total", "");
    assert!(busy > 0.0 && busy <= of("corelog_process_cpu_seconds_total", "") + 10.0, "{busy}");
    assert!(of("corelog_process_resident_memory_bytes", "") > 1e6);
    assert!(of("corelog_volume_size_bytes", "") > of("corelog_volume_free_bytes", ""));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - of("corelog_process_start_time_seconds", "");
    assert!((0.0..600.0).contains(&age), "{age}");

    broker.stop();
    assert!(TcpStream::connect(admin).is_err(), "the port is closed with the broker");
}

#[test]
fn a_partition_goes_to_the_core_that_is_named_and_its_records_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ADMIN[..], &["--cpus", "0,1"]].concat();
    let broker = Broker::start(folder.path(), &arguments);
    assert!(corelog(&broker, &["topic", "create", "t"], "").0);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
    for (round, core) in [0, 1, 0, 1].into_iter().enumerate() {
        let number = core.to_string();
        let (done, said) = corelog(&broker, &["cluster", "move", "t:0", "--to", &number], "");
        assert!(done, "{said}");
        let (_, shown) = corelog(&broker, &["topic", "describe", "t", "-f", "json"], "");
        assert_eq!(json(&shown)["partitions"][0]["leader"], 1024 + core, "{shown}");
        assert!(corelog(&broker, &["produce", "t"], &format!("record {round}\n")).0);
    }
    let (_, read) = corelog(&broker, &["consume", "t"], "");
    assert_eq!(read.lines().collect::<Vec<_>>(), ["record 0", "record 1", "record 2", "record 3"]);
    let (done, said) = corelog(&broker, &["cluster", "move", "t:0", "--to", "2"], "");
    assert!(!done && said.contains("core 2 is no broker of its own"), "{said}");
    let admin = broker.admin().to_string();
    let (done, page) = corelog(&broker, &["cluster", "cores", "--admin", &admin, "-f", "json"], "");
    assert!(done, "{page}");
    let page = json(&page);
    let partitions = page["cores"].as_array().unwrap().iter().map(|core| &core["partitions"]);
    assert_eq!(partitions.collect::<Vec<_>>(), [0, 1], "{page}");
    let (done, table) = corelog(&broker, &["cluster", "cores", "--admin", &admin], "");
    assert!(done && table.starts_with("core  busy  partitions"), "{table}");
    broker.stop();
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_keeps_a_broker_from_starting() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start(first.path(), &ADMIN);
    let taken = broker.admin().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_corelog"))
        .args(["serve", "--listen", "127.0.0.1:0", "--endpoints", "shared"])
        .args(["--admin-listen", &taken])
        .current_dir(second.path())
        .output()
        .expect("the program is built");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&taken) && said.contains("--admin-listen"), "{said}");
    assert_eq!(get(broker.admin(), "/healthz").0, 200);
}

#[test]
fn brokers_that_were_not_told_where_do_not_get_in_each_others_way() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |folder: &tempfile::TempDir| {
        Broker::start(folder.path(), &["--admin-listen", "auto", "--cpus", "0"])
    };
    let brokers = folders.each_ref().map(start);
    for broker in &brokers {
        assert!(corelog(broker, &["produce", "t"], "a record\n").0);
    }
    for broker in brokers {
        broker.stop();
    }
}
