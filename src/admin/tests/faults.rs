//! The page of faults about partitions that clients may still read.

use super::*;
use crate::net::harness::{partitions_of, record_bytes_of};
use crate::runtime::sim::DiskOptions;
use crate::wire::ErrorCode;
use serde_json::Value;

const SEGMENT: &str = "/data/t-0/00000000000000000000.log";

/// What stands on the page.
async fn faults() -> Vec<Value> {
    let (status, page) = get("/faults", "").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let page: Value = serde_json::from_str(&page).unwrap();
    page["faults"].as_array().unwrap().clone()
}

/// State, kind and file of the one fault on the page.
async fn only_fault() -> [String; 3] {
    let found = faults().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0]["topic"].as_str(), found[0]["partition"].as_i64()), (Some("t"), Some(0)));
    ["state", "kind", "file"].map(|name| found[0][name].as_str().unwrap().to_string())
}

async fn produce(host: &Host, bytes: usize) -> ErrorCode {
    let answer = host.client(0).await.call(9, &produce_request("t", 0, bytes)).await;
    answer.responses[0].partition_responses[0].error_code
}

/// Bytes of records from the partition's start on.
async fn read(host: &Host) -> usize {
    let answer = host.client(0).await.call(11, &fetch_request("t", &[(0, 0)])).await;
    let partitions = partitions_of(&answer);
    assert_eq!(partitions[0].error_code, ErrorCode::None);
    record_bytes_of(partitions[0])
}

/// Who leads the partition, for clients.
async fn leader(host: &Host) -> i32 {
    let request = MetadataRequest { topics: None, ..Default::default() };
    let answer = host.client(0).await.call(12, &request).await;
    answer.topics[0].partitions[0].leader_id
}

async fn offline(reason: &str) -> f64 {
    let (_, page) = get("/metrics", "").await;
    sum(&page, "corelog_partitions_offline", &format!("reason=\"{reason}\""))
}

#[test]
fn a_partition_that_serves_what_lies_before_damage_is_read_only() {
    let simulation = Simulation::new(1);
    simulation.run(async {
        let host = Host::start(HostOptions::default()).await;
        host.create("t", 1, &[("corelog.damaged.partitions", "serve-readable")]).await;
        host.produce("t", 0, 3, 100).await;
    });
    simulation.kill();
    simulation.run(async {
        // The second batch says to be at offset 0, where the first is: no crash leaves that.
        let mut log = disk().read_file(SEGMENT).unwrap();
        let length: [u8; 4] = log[8..12].try_into().unwrap();
        let second = 12 + u32::from_be_bytes(length) as usize;
        log[second..second + 8].fill(0);
        disk().put_file(SEGMENT, &log).unwrap();
        let host = Host::start(HostOptions::default()).await;
        start(&host.servers[0].shard, false);
        assert_eq!(only_fault().await, ["read_only", "damage", SEGMENT]);
        let fault = &faults().await[0];
        assert_eq!(fault["position"].as_u64(), Some(second as u64), "{fault}");
        let remedy = fault["remedy"].as_str().unwrap();
        assert!(remedy.contains("corelog doctor data"), "{remedy}");
        assert_eq!(offline("damage").await, 1.0);
        assert_eq!(read(&host).await, second, "the first batch, and no more");
        assert_eq!(produce(&host, 100).await, ErrorCode::KafkaStorageError);
        let led_by = leader(&host).await;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(leader(&host).await, led_by, "who reads it has to find it");
    });
}

#[test]
fn a_partition_that_a_full_disk_stopped_is_full_until_there_is_room() {
    Simulation::new(2).run(async {
        let host = Host::start(HostOptions::default()).await;
        host.create("t", 1, &[]).await;
        assert_eq!(produce(&host, 100).await, ErrorCode::None);
        start(&host.servers[0].shard, false);
        let led_by = leader(&host).await;
        assert_eq!(faults().await, Vec::<Value>::new());
        let usual = disk().options();
        disk().set_options(DiskOptions { capacity: disk().used_bytes(), ..usual.clone() });
        // What is allocated already takes some more.
        let mut tries = 0;
        while produce(&host, 4000).await == ErrorCode::None {
            tries += 1;
            assert!(tries < 1000, "the disk is never full");
        }
        assert_eq!(only_fault().await, ["full", "storage_full", SEGMENT]);
        let remedy = faults().await[0]["remedy"].as_str().unwrap().to_string();
        assert!(remedy.starts_with("free space on the device"), "{remedy}");
        assert_eq!(offline("storage_full").await, 1.0);
        assert!(read(&host).await > 0, "what was acknowledged is read");
        sleep(Duration::from_secs(3)).await;
        assert_eq!(leader(&host).await, led_by, "who reads it has to find it");
        disk().set_options(usual);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(faults().await, Vec::<Value>::new());
        assert_eq!(offline("storage_full").await, 0.0);
        assert_eq!(produce(&host, 4000).await, ErrorCode::None);
    });
}
