//! Clients with quotas, over connections of the simulated network: told how long to be still, and kept so.

use super::harness::{
    Client, Host, HostOptions, common_address, fetch_request, partitions_of, produce_request,
    record_bytes_of,
};
use crate::runtime::sim::Simulation;
use crate::runtime::{now, timeout};
use crate::shard::quota_table::QuotaKind;
use crate::wire::api::alter_client_quotas::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use crate::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::api::offset_fetch::OffsetFetchRequestGroup;
use crate::wire::api::{
    ApiVersionsRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, ListGroupsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest,
};
use crate::wire::{ErrorCode, Str, encode_request};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A host on which every client has this quota.
async fn host_with(shards: u16, key: &str, value: f64) -> Host {
    let host = Host::start(HostOptions { shards, ..HostOptions::default() }).await;
    host.create("t", 2, &[]).await;
    set_quota(&host, key, value).await;
    host
}

async fn set_quota(host: &Host, key: &str, value: f64) {
    let entity = EntityData { entity_type: "client-id".into(), entity_name: None };
    let op = OpData { key: key.into(), value, remove: false };
    let entries = vec![EntryData { entity: vec![entity], ops: vec![op] }];
    let request = AlterClientQuotasRequest { entries, validate_only: false };
    let answer = host.client(0).await.call(1, &request).await;
    assert_eq!(answer.entries[0].error_code, ErrorCode::None);
}

async fn produce(client: &mut Client, index: i32, bytes: usize) -> Duration {
    let answer = client.call(9, &produce_request("t", index, bytes)).await;
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::None);
    Duration::from_millis(u64::try_from(answer.throttle_time_ms).unwrap())
}

#[test]
fn a_producer_that_is_too_fast_is_answered_first_and_then_not_read() {
    Simulation::new(1).run(async {
        let host = host_with(1, "producer_byte_rate", 10_000.0).await;
        let mut client = host.client(0).await;
        let before = now();
        assert_eq!(produce(&mut client, 0, 5000).await, Duration::ZERO);
        let throttled = produce(&mut client, 0, 20_000).await;
        assert!(now().since(before) < SECOND / 2, "the answer did not wait");
        assert!(throttled > SECOND * 3 / 2 && throttled < SECOND * 17 / 10, "{throttled:?}");
        // Whatever it asks next waits for as long as it was told.
        client.call(3, &MetadataRequest::default()).await;
        assert!(now().since(before) >= throttled, "{:?}", now().since(before));
        // Nobody else waits.
        let before = now();
        host.client(0).await.call(0, &ApiVersionsRequest::default()).await;
        assert!(now().since(before) < SECOND / 10);
    });
}

#[test]
fn a_producer_that_wants_no_answers_is_not_read_either() {
    Simulation::new(1).run(async {
        let host = host_with(1, "producer_byte_rate", 10_000.0).await;
        let mut client = host.client(0).await;
        let mut request = produce_request("t", 0, 40_000);
        request.acks = 0;
        client.send(&encode_request(&request, 9, 7, None).out).await.unwrap();
        client.call(3, &MetadataRequest::default()).await;
        let before = now();
        client.call(3, &MetadataRequest::default()).await;
        assert!(now().since(before) > SECOND * 2, "{:?}", now().since(before));
    });
}

#[test]
fn requests_ahead_of_the_pause_are_answered_and_no_sum_is_forgotten() {
    Simulation::new(1).run(async {
        let host = host_with(1, "producer_byte_rate", 10_000.0).await;
        let mut client = host.client(0).await;
        let before = now();
        let request = encode_request(&produce_request("t", 0, 5000), 9, 7, None).out;
        for _ in 0..20 {
            client.send(&request).await.unwrap();
        }
        for _ in 0..20 {
            client.receive().await.unwrap();
        }
        client.call(3, &MetadataRequest::default()).await;
        // 100,000 bytes at 10,000 a second, the first second's worth at once.
        let took = now().since(before);
        assert!(took > SECOND * 9 && took < SECOND * 11, "{took:?}");
    });
}

#[test]
fn a_consumer_gets_no_more_than_its_quota_and_no_fetch_takes_long_to_pay() {
    Simulation::new(1).run(async {
        let host = Host::start(HostOptions::default()).await;
        host.create("t", 1, &[]).await;
        host.produce("t", 0, 100, 1000).await;
        set_quota(&host, "consumer_byte_rate", 2000.0).await;
        let mut client = host.client(0).await;
        let before = now();
        let (mut offset, mut bytes) = (0, 0);
        while offset < 100 {
            let answer = client.call(12, &fetch_request("t", &[(0, offset)])).await;
            let data = partitions_of(&answer)[0];
            let got = record_bytes_of(data);
            assert!(got <= 20_000 + 1100, "{got}");
            assert!(answer.throttle_time_ms <= 11_000, "{}", answer.throttle_time_ms);
            bytes += got;
            offset += i64::try_from(got / 1060).unwrap();
        }
        let least = Duration::from_secs_f64((bytes as f64 - 22_000.0) / 2000.0);
        assert!(now().since(before) >= least, "{bytes} in {:?}", now().since(before));
    });
}

#[test]
fn a_quota_holds_for_the_sum_of_what_two_cores_serve() {
    Simulation::new(1).run(async {
        let host = host_with(2, "producer_byte_rate", 10_000.0).await;
        let before = now();
        let run = async |shard: usize| {
            let mut client = host.client(shard).await;
            let mut bytes = 0;
            while now().since(before) < SECOND * 20 {
                produce(&mut client, i32::try_from(shard).unwrap(), 2000).await;
                bytes += 2000;
            }
            bytes
        };
        let (first, second) = futures_util::future::join(run(0), run(1)).await;
        let sum = f64::from(first + second);
        // A second's worth more at once, and what each core lets pass before it hears of the other.
        assert!(sum > 180_000.0 && sum < 235_000.0, "{first} and {second}");
    });
}

#[test]
fn topics_beyond_the_quota_are_refused_to_clients_that_know_and_slow_others_down() {
    Simulation::new(1).run(async {
        let host = host_with(1, "controller_mutation_rate", 1.0).await;
        let mut client = host.client(0).await;
        let create = |name: &str, num_partitions| {
            let topic = CreatableTopic {
                name: name.into(),
                num_partitions,
                replication_factor: -1,
                ..Default::default()
            };
            CreateTopicsRequest { topics: vec![topic], ..Default::default() }
        };
        let made = client.call(7, &create("a", 13)).await;
        assert_eq!(made.topics[0].error_code, ErrorCode::None);
        assert!(made.throttle_time_ms > 1900 && made.throttle_time_ms <= 2000);
        let mut other = host.client(0).await;
        let refused = other.call(7, &create("b", 1)).await;
        assert_eq!(refused.topics[0].error_code, ErrorCode::ThrottlingQuotaExceeded);
        assert!(refused.throttle_time_ms > 0);
        let mut old = host.client(0).await;
        let slowed = old.call(5, &create("c", 5)).await;
        assert_eq!(slowed.topics[0].error_code, ErrorCode::None);
        assert!(slowed.throttle_time_ms > refused.throttle_time_ms);
        other.call(3, &MetadataRequest::default()).await;
        let made = other.call(7, &create("b", 1)).await;
        assert_eq!(made.topics[0].error_code, ErrorCode::ThrottlingQuotaExceeded, "c's debt");
    });
}

#[test]
fn answers_about_groups_say_how_long_to_be_still() {
    Simulation::new(1).run(async {
        let host = host_with(1, "request_percentage", 50.0).await;
        let mut client = host.client(0).await;
        // The client has used minutes of the core: every answer tells it to be still for the second that is
        // the most for this.
        let meter = host.servers[0].shard.meter(None).expect("there is a quota");
        meter.charge(QuotaKind::RequestTime, 50.0 * 600.0);
        let group_id = || Str::from_static("g");
        let find = FindCoordinatorRequest {
            coordinator_keys: vec![group_id()],
            ..FindCoordinatorRequest::default()
        };
        assert_eq!(client.call(6, &find).await.throttle_time_ms, 1000);
        let list = ListGroupsRequest::default();
        assert_eq!(client.call(5, &list).await.throttle_time_ms, 1000);
        let join = JoinGroupRequest { group_id: group_id(), ..JoinGroupRequest::default() };
        assert_eq!(client.call(9, &join).await.throttle_time_ms, 1000);
        let heartbeat = HeartbeatRequest { group_id: group_id(), ..HeartbeatRequest::default() };
        assert_eq!(client.call(4, &heartbeat).await.throttle_time_ms, 1000);
        let beat = ConsumerGroupHeartbeatRequest { group_id: group_id(), ..Default::default() };
        assert_eq!(client.call(1, &beat).await.throttle_time_ms, 1000);
        let commit = OffsetCommitRequest { group_id: group_id(), ..Default::default() };
        assert_eq!(client.call(9, &commit).await.throttle_time_ms, 1000);
        let groups = vec![OffsetFetchRequestGroup { group_id: group_id(), ..Default::default() }];
        let fetch = OffsetFetchRequest { groups, ..Default::default() };
        assert_eq!(client.call(9, &fetch).await.throttle_time_ms, 1000);
        let describe = DescribeGroupsRequest { groups: vec![group_id()], ..Default::default() };
        assert_eq!(client.call(5, &describe).await.throttle_time_ms, 1000);
    });
}

#[test]
fn a_stop_does_not_wait_for_a_pause() {
    Simulation::new(1).run(async {
        let host = host_with(1, "producer_byte_rate", 1.0).await;
        let mut client = Client::connect(common_address()).await.unwrap();
        assert!(produce(&mut client, 0, 5000).await > SECOND * 1000);
        let stopped = timeout(SECOND, host.servers[0].stop(SECOND * 30)).await;
        assert!(stopped.is_some());
        assert!(client.receive().await.is_err());
    });
}
