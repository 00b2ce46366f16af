//! The admin port on a simulated host: what it shows, and what bad clients cannot do to it.

mod faults;
mod groups;

use super::exposition::Kind;
use super::families::{Description, descriptions};
use super::{Admin, AdminOptions, Format};
use crate::limits::{
    ADMIN_CONNECTION_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_HEADERS_MAX, ADMIN_PAGES_MAX,
    ADMIN_SHARD_WAIT_MAX,
};
use crate::log::{LogOptions, ShardLog};
use crate::net::harness::{Client, Host, HostOptions, fetch_request, produce_request};
use crate::probe::Probe;
use crate::runtime::sim::{Simulation, disk, for_each_seed};
use crate::runtime::{Stream, create_directory_all, now, random_u64, sleep, spawn, timeout};
use crate::shard::request::Stage;
use crate::shard::{Shard, mailbox};
use crate::types::ShardId;
use crate::wire::Str;
use crate::wire::api::find_coordinator::FindCoordinatorRequest;
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::api::{FetchRequest, MetadataRequest};
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9644))
}

fn start(shard: &Rc<Shard>, per_partition: bool) -> Rc<Admin> {
    let options = AdminOptions { data_directory: "/data".into(), per_partition };
    let admin = Admin::new(shard.clone(), options);
    drop(spawn(admin.clone().serve_if_free(address())));
    admin
}

/// All that comes back until the connection ends.
async fn exchange(request: &[u8]) -> io::Result<String> {
    let client = match Client::connect(address()).await {
        // The task that listens may not have begun yet.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            sleep(Duration::from_millis(1)).await;
            Client::connect(address()).await?
        }
        other => other?,
    };
    client.send(request).await?;
    receive_all(&client.stream).await
}

async fn receive_all(stream: &Stream) -> io::Result<String> {
    let mut received = BytesMut::new();
    while poll_fn(|context| stream.poll_read(context, &mut received, 4096)).await? > 0 {}
    Ok(String::from_utf8(received.to_vec()).expect("text"))
}

/// Status line and body.
async fn get(path: &str, headers: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let answer = exchange(request.as_bytes()).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_string(), body.to_string())
}

/// A page's samples: name and labels as written, and the value.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
    let mut all = BTreeMap::new();
    for (series, value) in pairs {
        let before = all.insert(series, value.parse().unwrap());
        assert_eq!(before, None, "{series} twice");
    }
    all
}

/// The sum of a metric over all shards, for labels that begin in some way.
fn sum(page: &str, name: &str, labels: &str) -> f64 {
    let is_it = |series: &str| {
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        found == name && rest.contains(labels)
    };
    samples(page).iter().filter(|(series, _)| is_it(series)).map(|(_, value)| value).sum()
}

/// A host of two shards that has served something of everything.
async fn busy_host() -> Host {
    let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
    host.create("t", 4, &[]).await;
    for index in 0..4 {
        host.produce("t", index, 3, 1000).await;
    }
    let mut client = host.client(0).await;
    let here = (0..4).find(|index| host.owner("t", *index) == 0).unwrap();
    let there = (0..4).find(|index| host.owner("t", *index) == 1).unwrap();
    client.call(9, &produce_request("t", there, 10)).await;
    client.call(9, &produce_request("missing", 0, 10)).await;
    client.call(11, &fetch_request("t", &[(here, 0)])).await;
    client.call(11, &fetch_request("t", &[(here, 1_000_000)])).await;
    client.call(1, &MetadataRequest::default()).await;
    host
}

/// Has a group that has no members commit offsets of `t`, when its coordinator is ready.
async fn commit(host: &Host, group: &str, offsets: &[(i32, i64)]) {
    let mut client = host.client(0).await;
    let keys = vec![Str::from(group)];
    let find = FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() };
    let partition =
        |(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *committed_offset,
            ..Default::default()
        };
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: offsets.iter().map(partition).collect(),
        ..Default::default()
    };
    let request =
        OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() };
    loop {
        client.call(6, &find).await;
        let answer = client.call(9, &request).await;
        if answer.topics[0].partitions.iter().all(|one| one.error_code.is_none()) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn what_happened_is_what_the_page_says() {
    for_each_seed(5, |seed| {
        Simulation::new(seed).run(async {
            let host = busy_host().await;
            start(&host.servers[0].shard, true);
            let (status, page) = get("/metrics", "").await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            let is = |name: &str, labels: &str, expect: f64| {
                assert_eq!(sum(&page, name, labels), expect, "{name} {labels}");
            };
            is("corelog_appended_records_total", "", 13.0);
            is("corelog_appended_batches_total", "", 13.0);
            is("corelog_requests_total", "api=\"Produce\"", 14.0);
            is("corelog_requests_total", "api=\"Fetch\"", 2.0);
            is("corelog_request_duration_seconds_count", "api=\"Produce\"", 14.0);
            is("corelog_request_duration_seconds_bucket", "api=\"Fetch\",le=\"+Inf\"", 2.0);
            is("corelog_commit_size_bytes_sum", "", sum(&page, "corelog_appended_bytes_total", ""));
            is("corelog_hops_total", "shard=\"0\"", 1.0);
            is("corelog_request_errors_total", "error=\"UNKNOWN_TOPIC_OR_PARTITION\"", 1.0);
            is("corelog_request_errors_total", "error=\"OFFSET_OUT_OF_RANGE\"", 1.0);
            is("corelog_request_errors_total", "", 2.0);
            is("corelog_tail_cache_hits_total", "shard=\"1\"", 0.0);
            assert!(sum(&page, "corelog_tail_cache_hits_total", "shard=\"0\"") > 0.0);
            is("corelog_partitions", "", 4.0);
            is("corelog_partitions_offline", "", 0.0);
            is("corelog_partition_end_offset", "topic=\"t\"", 13.0);
            is("corelog_shard_up", "", 2.0);
            let open: usize = host.servers.iter().map(|server| server.connection_count()).sum();
            is("corelog_connections", "", open as f64);
            is("corelog_memory_used_bytes", "budget=\"pending\"", 0.0);
            assert!(sum(&page, "corelog_received_bytes_total", "") > 13_000.0);
            assert!(sum(&page, "corelog_sent_bytes_total", "") > 3_000.0);
        });
    });
}

#[test]
fn a_partition_that_fails_is_offline_with_its_reason() {
    Simulation::new(3).run(async {
        let log = ShardLog::new(LogOptions::new("/data".into()), Rc::new(Probe::default()));
        create_directory_all("/data".as_ref()).await.unwrap();
        let shard = Shard::new(ShardId(0), 1, log.clone());
        let admin = start(&shard, false);
        let id = crate::log::PartitionId {
            topic_id: crate::types::TopicId([7; 16]),
            topic: "t".into(),
            index: 0,
        };
        let fault = crate::log::LogFault::damage("/data/t-0".as_ref(), 0, "torn".into());
        let config = std::sync::Arc::default();
        let partition =
            crate::log::Partition::offline(&log, id, config, 0, crate::types::Offset::ZERO, fault);
        let page = admin.metrics(Format::Text).await;
        assert_eq!(sum(&page, "corelog_partitions_offline", "reason=\"damage\""), 1.0);
        assert_eq!(sum(&page, "corelog_partitions_offline", ""), 1.0);
        partition.retire();
        partition.retire();
        let page = admin.metrics(Format::Text).await;
        assert_eq!(sum(&page, "corelog_partitions_offline", ""), 0.0, "it is somebody else's now");
    });
}

#[test]
fn the_page_of_faults_says_which_partition_what_and_where() {
    let simulation = Simulation::new(1);
    simulation.run(async {
        let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
        host.create("t", 4, &[]).await;
        for index in 0..4 {
            host.produce("t", index, 1, 100).await;
        }
    });
    simulation.kill();
    simulation.run(async {
        disk().put_file("/data/t-2/partition.metadata", b"version: 0\n").unwrap();
        let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
        start(&host.servers[0].shard, false);
        let (status, page) = get("/faults", "").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["faults"].as_array().unwrap().len(), 1, "{page}");
        let fault = &page["faults"][0];
        assert_eq!((fault["topic"].as_str(), fault["partition"].as_i64()), (Some("t"), Some(2)));
        assert_eq!(fault["shard"].as_u64(), Some(host.owner("t", 2) as u64));
        let text = |name: &str| fault[name].as_str().unwrap();
        let told = [text("state"), text("kind"), text("operation")];
        assert_eq!(told, ["offline", "damage", "accept"]);
        assert_eq!(text("file"), "/data/t-2/partition.metadata");
        assert_eq!(fault["position"].as_u64(), Some(0));
        assert!(text("reason").starts_with("it names no topic id; "), "{fault}");
        assert!(text("reason").contains("or write it anew: `version: 0`, then "), "{fault}");
        assert!(text("remedy").ends_with("then restart the broker"), "{fault}");
        assert_eq!(page["left_out"].as_u64(), Some(0));
        let (_, metrics) = get("/metrics", "").await;
        assert_eq!(sum(&metrics, "corelog_partitions_offline", "reason=\"damage\""), 1.0);
    });
}

/// The names under which a metric's samples stand.
fn sample_names(description: &Description) -> Vec<String> {
    let name = description.name;
    match description.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|s| format!("{name}{s}")).to_vec(),
        _ => vec![name.to_string()],
    }
}

#[test]
fn the_page_holds_every_metric_that_is_described_and_no_other() {
    Simulation::new(1).run(async {
        let host = busy_host().await;
        commit(&host, "g", &[(0, 1)]).await;
        let admin = start(&host.servers[0].shard, true);
        let page = admin.metrics(Format::Text).await;
        let mut left: BTreeSet<String> = descriptions().iter().flat_map(sample_names).collect();
        let described = left.clone();
        let labels_of: BTreeMap<String, Description> = descriptions()
            .into_iter()
            .flat_map(|one| sample_names(&one).into_iter().map(move |name| (name, one.clone())))
            .collect();
        for series in samples(&page).keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(described.contains(name), "{name} is not described");
            left.remove(name);
            let labels = labels.trim_end_matches('}').split("\",").filter(|text| !text.is_empty());
            let labels: Vec<&str> = labels.map(|label| label.split_once('=').unwrap().0).collect();
            let mut expect = labels_of[name].labels.clone();
            expect.extend(name.ends_with("_bucket").then_some("le"));
            assert_eq!(labels, expect, "{series}");
        }
        assert_eq!(left, BTreeSet::new(), "described, but not on the page");
    });
}

#[test]
fn the_page_of_cores_names_what_keeps_them_busy() {
    Simulation::new(1).run(async {
        let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
        host.create("t", 4, &[]).await;
        for index in 0..4 {
            host.produce("t", index, 1, 100).await;
        }
        host.produce("t", 2, 9, 10_000).await;
        let owner = host.owner("t", 2);
        let read = fetch_request("t", &[(2, 0)]);
        host.client(owner).await.call(11, &read).await;
        start(&host.servers[0].shard, false);
        let page = async || {
            let (status, page) = get("/cores", "").await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            serde_json::from_str::<serde_json::Value>(&page).unwrap()
        };
        assert_eq!(page().await["hottest_partitions"], serde_json::json!([]), "not measured yet");
        for server in &host.servers {
            server.shard.end_window(Duration::ZERO);
        }
        let page = page().await;
        assert_eq!(page["hottest_core"].as_u64(), Some(owner as u64));
        let partitions = page["cores"].as_array().unwrap().iter().map(|core| &core["partitions"]);
        assert_eq!(partitions.filter_map(|count| count.as_u64()).sum::<u64>(), 4);
        let hot = &page["hottest_partitions"][0];
        assert_eq!((hot["topic"].as_str(), hot["partition"].as_i64()), (Some("t"), Some(2)));
        assert_eq!(hot["core"].as_u64(), Some(owner as u64));
        let rate = |name: &str| hot[name].as_u64().unwrap();
        // Half of what a window of five seconds saw.
        assert!((9_000..10_000).contains(&rate("appended_bytes_per_second")), "{hot}");
        assert!((9_000..10_000).contains(&rate("fetched_bytes_per_second")), "{hot}");
        assert_eq!(rate("operations_per_second"), 1, "{hot}");
    });
}

#[test]
fn names_keep_to_the_conventions() {
    let all = descriptions();
    let families: BTreeSet<&str> =
        all.iter().map(|one| one.name.strip_suffix("_total").unwrap_or(one.name)).collect();
    assert_eq!(families.len(), all.len(), "in OpenMetrics two would have one name");
    for Description { name, kind, labels, help } in &all {
        assert!(name.starts_with("corelog_"), "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        assert!(labels.iter().all(|label| *label != "le"), "{name}");
    }
}

#[test]
fn the_documentation_has_the_table_of_all_metrics() {
    let mut table = String::from("| metric | type | labels | |\n|---|---|---|---|\n");
    for Description { name, kind, labels, help } in descriptions() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.name(), labels.join(", "));
        table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    let page = read("docs/METRICS.md");
    assert!(page.contains(&table), "docs/METRICS.md has to contain this table:\n\n{table}");
}

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a query of Prometheus names: metrics, and labels in selectors and groupings.
fn names_in(query: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c| !is_letter(c)).filter(|w| !w.is_empty()).map(str::to_string).collect()
    };
    let metrics = words(query).into_iter().filter(|word| word.starts_with("corelog_")).collect();
    let mut labels = BTreeSet::new();
    for (at, _) in query.match_indices("by (").chain(query.match_indices("on (")) {
        labels.extend(words(query[at + 3..].split(')').next().unwrap()));
    }
    for selector in query.split('{').skip(1) {
        for matcher in selector.split('}').next().unwrap().split(',').filter(|m| m.contains('=')) {
            labels.insert(matcher.split(['=', '!']).next().unwrap().trim().to_string());
        }
    }
    (metrics, labels)
}

/// Names that a query uses and no metric has.
fn unknown_names(query: &str) -> Vec<String> {
    let (metrics, labels) = names_in(query);
    let mut known: BTreeSet<&str> = BTreeSet::from(["job", "instance", "le"]);
    let mut unknown = Vec::new();
    let all = descriptions();
    for metric in metrics {
        match all.iter().find(|one| sample_names(one).contains(&metric)) {
            Some(one) => known.extend(&one.labels),
            None => unknown.push(metric),
        }
    }
    unknown.extend(labels.into_iter().filter(|label| !known.contains(label.as_str())));
    unknown
}

#[test]
fn names_are_found_in_queries() {
    let query =
        "sum by (shard, x) (rate(corelog_hops_total{shard=~\"$s\",y!=\"1\"}[5m])) / corelog_no";
    assert_eq!(unknown_names(query), ["corelog_no", "x", "y"]);
    assert_eq!(
        unknown_names("corelog_request_duration_seconds"),
        ["corelog_request_duration_seconds"]
    );
}

/// Every string that stands below this key.
fn strings_of<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if name == key {
                    found.extend(value.as_str());
                }
                strings_of(value, key, found);
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|one| strings_of(one, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("tuning/grafana/corelog.json")).unwrap();
    let mut queries = Vec::new();
    strings_of(&dashboard, "expr", &mut queries);
    strings_of(&dashboard["templating"], "definition", &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    let unknown: Vec<_> = queries.iter().flat_map(|query| unknown_names(query)).collect();
    assert_eq!(unknown, Vec::<String>::new());
    let mut sources = Vec::new();
    strings_of(&dashboard["panels"], "uid", &mut sources);
    assert!(
        !sources.is_empty() && sources.iter().all(|uid| *uid == "${datasource}"),
        "{sources:?}"
    );
    let ids: Vec<u64> = panels(&dashboard).iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a panel's id is its own");
}

fn panels(dashboard: &serde_json::Value) -> Vec<&serde_json::Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let rules = read("tuning/prometheus/alerts.yml");
    let lines: Vec<&str> =
        rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut queries = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, query)) = line.split_once("expr:") else { continue };
        let depth = before.len() - before.trim_start().len();
        let is_deeper = |line: &&&str| line.len() - line.trim_start().len() > depth;
        let rest = lines[at + 1..].iter().take_while(is_deeper);
        queries.push(rest.fold(query.to_string(), |query, line| query + " " + line.trim()));
    }
    assert!(queries.len() > 4, "{queries:?}");
    let unknown: Vec<_> = queries.iter().flat_map(|query| unknown_names(query)).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn the_format_is_negotiated() {
    Simulation::new(1).run(async {
        let host = busy_host().await;
        start(&host.servers[0].shard, false);
        let (_, plain) = get("/metrics", "").await;
        assert!(plain.contains("# TYPE corelog_hops_total counter\n") && !plain.contains("# EOF"));
        assert!(!plain.contains("corelog_partition_end_offset{"), "only where it is asked for");
        let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n";
        let (_, open) = get("/metrics", accept).await;
        assert!(open.contains("# TYPE corelog_hops counter\ncorelog_hops_total{"));
        assert!(open.ends_with("\n# EOF\n"));
        let head = exchange(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(
            head.contains("content-type: text/plain; version=0.0.4") && head.ends_with("\r\n\r\n")
        );
    });
}

#[test]
fn what_is_not_served_is_said_so() {
    Simulation::new(1).run(async {
        let host = Host::start(HostOptions::default()).await;
        let admin = start(&host.servers[0].shard, false);
        assert_eq!(get("/", "").await.0, "HTTP/1.1 404 Not Found");
        assert_eq!(get("/metrics/../x", "").await.0, "HTTP/1.1 404 Not Found");
        let post = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        let refusal = exchange(post).await.unwrap();
        assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD"));
        // A second request on the same connection is not answered.
        let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        let answers = exchange(twice.as_bytes()).await.unwrap_or_default();
        assert!(answers.matches("HTTP/1.1").count() <= 1, "{answers}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(admin.connections(), 0);
    });
}

#[test]
fn a_host_is_ready_from_when_all_shards_serve_until_it_is_asked_to_stop() {
    Simulation::new(1).run(async {
        let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
        start(&host.servers[0].shard, false);
        let lifecycle = |shard: usize| &host.servers[shard].shard.lifecycle;
        let ready = async || get("/readyz", "").await;
        let not = |shard: usize| {
            let reason = format!("shard {shard} does not serve clients\n");
            ("HTTP/1.1 503 Service Unavailable".to_string(), reason)
        };
        let well = ("HTTP/1.1 200 OK".to_string(), "ok\n".to_string());
        assert_eq!((ready().await, get("/healthz", "").await), (not(0), well.clone()));
        lifecycle(0).set_ready();
        assert_eq!(ready().await, not(1));
        lifecycle(1).set_ready();
        assert_eq!(ready().await, well);
        let shard = host.servers[1].shard.clone();
        drop(spawn(async move { shard.lifecycle.enter(Stage::Draining).await }));
        sleep(Duration::from_millis(10)).await;
        assert_eq!((ready().await, get("/healthz", "").await), (not(1), well));
    });
}

#[test]
fn a_shard_that_does_not_answer_is_unwell_and_the_others_are_still_shown() {
    Simulation::new(1).run(async {
        create_directory_all("/data".as_ref()).await.unwrap();
        let log = ShardLog::new(LogOptions::new("/data".into()), Rc::new(Probe::default()));
        let shard = Shard::new(ShardId(0), 2, log);
        let mut ends = mailbox::ends(2);
        let (silent, own) = (ends.pop().unwrap(), ends.pop().unwrap());
        // Its queues are there, and nobody takes anything from them.
        let silent = spawn(async move {
            let held = silent.join().await;
            std::future::pending::<()>().await;
            drop(held);
        });
        mailbox::connect(&shard, own).await;
        start(&shard, false);
        let before = now();
        let (status, reason) = get("/healthz", "").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(reason, "shard 1 has not answered within 2 seconds\n");
        assert!(now().since(before) < ADMIN_SHARD_WAIT_MAX + Duration::from_secs(1));
        let (_, page) = get("/metrics", "").await;
        assert_eq!(sum(&page, "corelog_shard_up", "shard=\"0\""), 1.0);
        assert!(page.contains("corelog_shard_up{shard=\"1\"} 0\n"));
        assert!(page.contains("corelog_hops_total{shard=\"0\"} 0\n"));
        assert!(!page.contains("corelog_hops_total{shard=\"1\"}"));
        silent.cancel().await;
    });
}

// ---------------------------------------------------------------- bad clients

async fn host_and_admin() -> (Host, Rc<Admin>) {
    let host = Host::start(HostOptions::default()).await;
    let admin = start(&host.servers[0].shard, false);
    sleep(Duration::from_millis(10)).await;
    (host, admin)
}

#[test]
fn headers_that_are_too_long_or_too_many_are_refused() {
    for_each_seed(5, |seed| {
        Simulation::new(seed).run(async {
            let (_host, admin) = host_and_admin().await;
            let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
            let many = "X: 1\r\n".repeat(ADMIN_HEADERS_MAX + 1);
            let many = format!("GET /healthz HTTP/1.1\r\n{many}\r\n");
            let endless = format!("GET /{}", "a".repeat(200_000));
            for request in [long, many, endless] {
                // A reset may overtake the refusal.
                let answer = exchange(request.as_bytes()).await.unwrap_or_default();
                let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"];
                let is_refusal = refused.iter().any(|status| answer.starts_with(status));
                assert!(answer.is_empty() || is_refusal, "{answer}");
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(admin.connections(), 0);
            assert_eq!(get("/healthz", "").await.0, "HTTP/1.1 200 OK");
        });
    });
}

#[test]
fn slow_clients_hold_a_bounded_number_of_places_for_a_bounded_time() {
    Simulation::new(7).run(async {
        let (_host, admin) = host_and_admin().await;
        let mut slow = Vec::new();
        for _ in 0..2 * ADMIN_CONNECTIONS_MAX {
            let client = Client::connect(address()).await.unwrap();
            // A connection that was closed already takes no bytes.
            let _ = client.send(b"GET /metrics HTTP/1.1\r\nX: ").await;
            slow.push(client);
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(admin.connections(), ADMIN_CONNECTIONS_MAX);
        for _ in 0..ADMIN_CONNECTION_MAX.as_secs() {
            for client in &slow {
                let _ = client.send(b"a").await;
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(admin.connections(), 0, "sending a little now and then is no help");
        assert_eq!(get("/healthz", "").await.0, "HTTP/1.1 200 OK");
    });
}

#[test]
fn clients_that_do_not_take_their_answers_hold_few_pages_and_are_left() {
    Simulation::new(7).run(async {
        let (host, admin) = host_and_admin().await;
        host.create("t", 500, &[]).await;
        let admin = {
            admin.close();
            sleep(Duration::from_secs(1)).await;
            start(&host.servers[0].shard, true)
        };
        sleep(Duration::from_secs(1)).await;
        let mut clients = Vec::new();
        for _ in 0..ADMIN_PAGES_MAX {
            let client = Client::connect(address()).await.unwrap();
            client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(admin.connections(), ADMIN_PAGES_MAX);
        assert_eq!(get("/metrics", "").await.0, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(get("/healthz", "").await.0, "HTTP/1.1 200 OK");
        sleep(ADMIN_CONNECTION_MAX).await;
        assert_eq!(admin.connections(), 0);
        assert_eq!(get("/metrics", "").await.0, "HTTP/1.1 200 OK");
    });
}

#[test]
fn whatever_arrives_the_next_request_is_answered() {
    for_each_seed(20, |seed| {
        Simulation::new(seed).run(async {
            let (_host, admin) = host_and_admin().await;
            for _ in 0..20 {
                let mut bytes =
                    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n".to_vec();
                for _ in 0..=random_u64() % 4 {
                    let at = random_u64() as usize % bytes.len();
                    bytes[at] = random_u64() as u8;
                }
                bytes.truncate(1 + random_u64() as usize % bytes.len());
                let client = Client::connect(address()).await.unwrap();
                let _ = client.send(&bytes).await;
                let _ = timeout(Duration::from_secs(1), receive_all(&client.stream)).await;
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(admin.connections(), 0);
            assert_eq!(get("/healthz", "").await.0, "HTTP/1.1 200 OK");
        });
    });
}

#[test]
fn a_fetch_of_the_disk_is_a_miss() {
    Simulation::new(1).run(async {
        let options = HostOptions { tail_cache_bytes: 4096, ..HostOptions::default() };
        let host = Host::start(options).await;
        host.create("t", 1, &[]).await;
        host.produce("t", 0, 8, 4000).await;
        let admin = start(&host.servers[0].shard, false);
        let misses = async || {
            let page = admin.metrics(Format::Text).await;
            sum(&page, "corelog_tail_cache_misses_total", "")
        };
        assert_eq!(misses().await, 0.0);
        let mut client = host.client(0).await;
        let request = FetchRequest { max_bytes: 5000, ..fetch_request("t", &[(0, 0)]) };
        client.call(11, &request).await;
        assert_eq!(misses().await, 1.0);
    });
}
