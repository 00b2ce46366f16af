//! Groups and offsets as clients meet them, on two shards of the simulation.

mod expiration;
mod full_disk;
mod gone_topics;
mod listing;
mod offline;
mod reading;
mod settings;
mod upgrade;

use super::route::OFFSETS_TOPIC;
use crate::config::Config;
use crate::control_plane::harness::{self, Host};

use crate::runtime::sim::{DiskOperation, Simulation, disk, sleep, spawn};
use crate::shard::request::PartitionKey;
use crate::types::Offset;
use crate::wire::api::consumer_group_heartbeat as heartbeat_api;
use crate::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::api::delete_groups::DeleteGroupsRequest;
use crate::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::wire::api::describe_groups::DescribeGroupsRequest;
use crate::wire::api::find_coordinator::{FindCoordinatorRequest, FoundCoordinator};
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::api::leave_group::MemberIdentity;
use crate::wire::api::list_groups::{ListGroupsRequest, ListedGroup};
use crate::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::wire::api::offset_commit::*;
use crate::wire::api::offset_delete::*;
use crate::wire::api::offset_fetch::*;
use crate::wire::api::sync_group::SyncGroupRequestAssignment;
use crate::wire::api::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

const GROUPS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn run(test: impl AsyncFnOnce(Host)) {
    Simulation::new(1).run(async { test(harness::start(2).await).await });
}

async fn create(host: &Host, name: &str, partitions: i32) {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let made = host.call(0, 7, request).await;
    assert_eq!(made.topics[0].error_code, ErrorCode::None, "{made:?}");
}

async fn find(host: &Host, key_type: i8, keys: &[&str]) -> Vec<FoundCoordinator> {
    let coordinator_keys = keys.iter().map(|key| Str::from(*key)).collect();
    let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
    host.call(0, 6, request).await.coordinators
}

/// A host with a topic `t` of four partitions, and whose coordinators can be found.
async fn ready(host: &Host) {
    create(host, "t", 4).await;
    assert_eq!(find(host, 0, &["g"]).await[0].error_code, ErrorCode::None);
    loaded(host).await;
}

/// Waits until all groups are served.
async fn loaded(host: &Host) {
    while list(host, &[], &[]).await.is_err() {
        sleep(Duration::from_millis(5)).await;
    }
}

fn commit_request(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("m".into()),
    };
    let topic = OffsetCommitRequestTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..OffsetCommitRequestTopic::default()
    };
    OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() }
}

async fn commit_with(host: &Host, shard: usize, request: OffsetCommitRequest) -> ErrorCode {
    host.call(shard, 9, request).await.topics[0].partitions[0].error_code
}

async fn commit(host: &Host, shard: usize, group: &str, partition: i32, offset: i64) -> ErrorCode {
    commit_with(host, shard, commit_request(group, "t", partition, offset)).await
}

/// All offsets of a group: topic, partition, offset.
async fn fetch(host: &Host, shard: usize, group: &str) -> Vec<(String, i32, i64)> {
    let group = OffsetFetchRequestGroup { group_id: group.into(), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let mut answer = host.call(shard, 9, request).await;
    let answer = answer.groups.pop().unwrap();
    assert_eq!(answer.error_code, ErrorCode::None);
    let of_topic = |topic: OffsetFetchResponseTopics| {
        let name = topic.name.to_string();
        let offsets = topic.partitions.into_iter();
        offsets.map(move |one| (name.clone(), one.partition_index, one.committed_offset))
    };
    answer.topics.into_iter().flat_map(of_topic).collect()
}

fn of_t(offsets: &[(i32, i64)]) -> Vec<(String, i32, i64)> {
    offsets.iter().map(|(partition, offset)| ("t".to_string(), *partition, *offset)).collect()
}

async fn list(host: &Host, states: &[&str], types: &[&str]) -> Result<Vec<ListedGroup>, ErrorCode> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Str::from(*text)).collect();
    let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
    let last = host.shards.len() - 1;
    let mut answer = host.call(last, 5, request).await;
    answer.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    if answer.error_code.is_none() { Ok(answer.groups) } else { Err(answer.error_code) }
}

async fn names(host: &Host) -> Vec<String> {
    let groups = list(host, &[], &[]).await.unwrap();
    groups.into_iter().map(|group| group.group_id.to_string()).collect()
}

async fn describe(host: &Host, group: &str) -> (String, usize) {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    let group = host.call(0, 5, request).await.groups.pop().unwrap();
    (group.group_state.to_string(), group.members.len())
}

// ---------------------------------------------------------------- offsets

#[test]
fn a_group_is_found_on_the_core_that_answers_for_it() {
    run(async |host| {
        ready(&host).await;
        let found = find(&host, 0, &GROUPS).await;
        for (group, found) in GROUPS.iter().zip(&found) {
            let shard = host.control_planes[0].home_of(group).unwrap();
            assert_eq!(
                (found.node_id, found.port),
                (1024 + i32::from(shard.0), 9093 + i32::from(shard.0))
            );
            assert_eq!(&found.key, group);
        }
        assert!(found.iter().any(|one| one.node_id == 1024));
        assert!(found.iter().any(|one| one.node_id == 1025));
        let old = FindCoordinatorRequest { key: "a".into(), ..Default::default() };
        assert_eq!(host.call(1, 3, old).await.node_id, found[0].node_id);
        for key_type in [1, 2, 77] {
            assert_eq!(
                find(&host, key_type, &["x"]).await[0].error_code,
                ErrorCode::InvalidRequest
            );
        }
        let named = MetadataRequestTopic { name: Some(OFFSETS_TOPIC.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
        let topic = host.call(0, 12, request).await.topics.pop().unwrap();
        assert!(topic.is_internal);
        assert_eq!(topic.partitions.len(), 50);
    });
}

#[test]
fn what_is_committed_anywhere_is_told_everywhere_and_survives_crashes_and_moves() {
    let simulation = Simulation::new(3);
    simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        for (number, group) in (0..).zip(GROUPS) {
            for shard in 0..2 {
                let partition = shard as i32;
                let error = commit(&host, shard, group, partition, number * 100 + partition as i64);
                assert_eq!(error.await, ErrorCode::None);
            }
        }
    });
    for (shards, crashes) in [(2, true), (1, true), (3, false), (2, true)] {
        if crashes {
            simulation.crash();
        } else {
            simulation.kill();
        }
        simulation.run(async {
            let host = harness::start(shards).await;
            loaded(&host).await;
            for (number, group) in (0..).zip(GROUPS) {
                let expected = of_t(&[(0, number * 100), (1, number * 100 + 1)]);
                for shard in 0..usize::from(shards) {
                    assert_eq!(fetch(&host, shard, group).await, expected, "{group}");
                }
            }
        });
    }
}

#[test]
fn commits_of_what_is_not_there_are_refused_one_by_one() {
    run(async |host| {
        ready(&host).await;
        let mut request = commit_request("g", "t", 0, 5);
        let mut partition = |index: i32, metadata: usize| {
            let mut more = request.topics[0].partitions[0].clone();
            more.partition_index = index;
            more.committed_metadata = Some("ö".repeat(metadata).as_str().into());
            request.topics[0].partitions.push(more);
        };
        partition(1, 4096);
        partition(2, 4097);
        partition(4, 1);
        request.topics.push(commit_request("g", "missing", 0, 5).topics.remove(0));
        let answer = host.call(1, 9, request).await;
        let errors: Vec<Vec<ErrorCode>> = answer
            .topics
            .iter()
            .map(|topic| topic.partitions.iter().map(|one| one.error_code).collect())
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let first =
            vec![ErrorCode::None, ErrorCode::None, ErrorCode::OffsetMetadataTooLarge, unknown];
        assert_eq!(errors, [first, vec![unknown]]);
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 5), (1, 5)]));
        // Who says to be a member of a group that is not there is none.
        for (version, error) in [(8, ErrorCode::IllegalGeneration), (9, ErrorCode::GroupIdNotFound)]
        {
            let mut request = commit_request("new", "t", 0, 5);
            request.generation_id_or_member_epoch = 1;
            request.member_id = "me".into();
            let answer = host.call(0, version, request).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, error);
        }
        assert_eq!(names(&host).await, ["g"]);
    });
}

#[test]
fn topics_are_named_by_id_from_version_10_on() {
    run(async |host| {
        ready(&host).await;
        let id = host.shards[0].image().topic("t").unwrap().id;
        let mut request = commit_request("g", "", 2, 7);
        request.topics[0].topic_id = id;
        let answer = host.call(0, 10, request.clone()).await;
        assert_eq!(
            (answer.topics[0].topic_id, answer.topics[0].partitions[0].error_code),
            (id, ErrorCode::None)
        );
        request.topics[0].topic_id.0[0] ^= 1;
        let answer = host.call(0, 10, request.clone()).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicId);
        let mut group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
        let wanted = |topic_id| OffsetFetchRequestTopics {
            topic_id,
            partition_indexes: vec![2, 3],
            ..Default::default()
        };
        group.topics = Some(vec![wanted(id), wanted(request.topics[0].topic_id)]);
        let all = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group, all], ..Default::default() };
        let answer = host.call(1, 10, request).await;
        let told = |group: usize, topic: usize| {
            let partitions = &answer.groups[group].topics[topic].partitions;
            partitions.iter().map(|one| (one.committed_offset, one.error_code)).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 0), [(7, ErrorCode::None), (-1, ErrorCode::None)]);
        assert_eq!(told(0, 1), [(-1, ErrorCode::UnknownTopicId); 2]);
        assert_eq!(
            (told(1, 0), answer.groups[1].topics[0].topic_id),
            (vec![(7, ErrorCode::None)], id)
        );
    });
}

#[test]
fn old_versions_ask_for_one_group_and_null_is_all_topics() {
    run(async |host| {
        ready(&host).await;
        assert_eq!(commit(&host, 0, "g", 1, 9).await, ErrorCode::None);
        let topic = |name: &str| OffsetFetchRequestTopic {
            name: name.into(),
            partition_indexes: vec![0, 1],
        };
        let asked =
            |topics| OffsetFetchRequest { group_id: "g".into(), topics, ..Default::default() };
        for shard in 0..2 {
            let answer = host.call(shard, 1, asked(Some(vec![topic("t"), topic("x")]))).await;
            let offsets = |at: usize| {
                answer.topics[at]
                    .partitions
                    .iter()
                    .map(|one| one.committed_offset)
                    .collect::<Vec<_>>()
            };
            assert_eq!((offsets(0), offsets(1)), (vec![-1, 9], vec![-1, -1]));
            let answer = host.call(shard, 7, asked(None)).await;
            assert_eq!(answer.error_code, ErrorCode::None);
            assert_eq!(
                (answer.topics.len(), answer.topics[0].partitions[0].committed_leader_epoch),
                (1, 3)
            );
            let unknown = OffsetFetchRequest { group_id: "x".into(), ..asked(None) };
            assert_eq!(host.call(shard, 7, unknown).await.topics, []);
        }
    });
}

#[test]
fn offsets_of_a_deleted_topic_go_for_good() {
    let simulation = Simulation::new(4);
    simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        create(&host, "u", 1).await;
        for group in GROUPS {
            assert_eq!(commit(&host, 0, group, 1, 9).await, ErrorCode::None);
            assert_eq!(
                commit_with(&host, 0, commit_request(group, "u", 0, 4)).await,
                ErrorCode::None
            );
        }
        let topics = vec![DeleteTopicState { name: Some("u".into()), ..Default::default() }];
        host.call(0, 6, DeleteTopicsRequest { topics, ..Default::default() }).await;
        create(&host, "u", 1).await;
        for group in GROUPS {
            assert_eq!(fetch(&host, 1, group).await, of_t(&[(1, 9)]));
        }
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        for group in GROUPS {
            assert_eq!(fetch(&host, 1, group).await, of_t(&[(1, 9)]));
        }
    });
}

#[test]
fn groups_and_offsets_are_deleted_when_nobody_uses_them() {
    run(async |host| {
        ready(&host).await;
        for group in ["a", "b"] {
            for partition in 0..2 {
                assert_eq!(commit(&host, 0, group, partition, 9).await, ErrorCode::None);
            }
        }
        let delete = async |group: &str, partitions: &[i32]| {
            let partitions = partitions
                .iter()
                .map(|index| OffsetDeleteRequestPartition { partition_index: *index });
            let topic =
                OffsetDeleteRequestTopic { name: "t".into(), partitions: partitions.collect() };
            let request = OffsetDeleteRequest { group_id: group.into(), topics: vec![topic] };
            let answer = host.call(1, 0, request).await;
            let told = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            (answer.error_code, told.map(|one| one.error_code).collect::<Vec<_>>())
        };
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(
            delete("a", &[0, 3, 4]).await,
            (ErrorCode::None, vec![ErrorCode::None, ErrorCode::None, unknown])
        );
        assert_eq!(delete("x", &[0]).await, (ErrorCode::GroupIdNotFound, vec![]));
        assert_eq!(delete("", &[0]).await, (ErrorCode::InvalidGroupId, vec![]));
        assert_eq!(fetch(&host, 0, "a").await, of_t(&[(1, 9)]));
        let groups_names = ["a", "x", "b"].map(Str::from).to_vec();
        let answer = host.call(0, 2, DeleteGroupsRequest { groups_names }).await;
        let told: Vec<_> =
            answer.results.iter().map(|one| (one.group_id.as_str(), one.error_code)).collect();
        let expected =
            [("a", ErrorCode::None), ("x", ErrorCode::GroupIdNotFound), ("b", ErrorCode::None)];
        assert_eq!(told, expected);
        assert_eq!(names(&host).await, [""; 0]);
        assert!(host.control_planes.iter().all(|plane| plane.groups.memory_bytes() == 0));
    });
}

#[test]
fn offsets_expire_after_their_time_and_the_group_with_the_last() {
    let simulation = Simulation::new(5);
    simulation.run(async {
        let mut config = Config::default();
        config.groups.offsets_retention_ms = Duration::from_mins(10);
        config.groups.offsets_retention_check_ms = Duration::from_mins(1);
        let host = harness::try_start(2, config).await.unwrap();
        ready(&host).await;
        assert_eq!(commit(&host, 0, "g", 0, 9).await, ErrorCode::None);
        // A client of old times may choose another end.
        let request =
            OffsetCommitRequest { retention_time_ms: 60_000, ..commit_request("g", "t", 2, 8) };
        let answer = host.call(0, 3, request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::None);
        sleep(Duration::from_mins(6)).await;
        assert_eq!(commit(&host, 0, "g", 1, 10).await, ErrorCode::None);
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 9), (1, 10)]));
        sleep(Duration::from_mins(6)).await;
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(1, 10)]));
        sleep(Duration::from_mins(6)).await;
        assert_eq!(names(&host).await, [""; 0]);
    });
}

// ---------------------------------------------------------------- the log

/// Where the log of a group's partition begins and ends.
fn log_of(host: &Host, group: &str) -> (Offset, Offset) {
    let plane = &host.control_planes[0];
    let shard = plane.home_of(group).unwrap();
    let image = host.shards[0].image();
    let topic = image.topic(OFFSETS_TOPIC).unwrap();
    let index = super::route::partition_of(group, 50);
    let log = host.shards[shard.index()].partition(PartitionKey { topic_id: topic.id, index });
    let log = log.unwrap();
    (log.log_start(), log.high_watermark())
}

#[test]
fn a_log_that_says_little_is_written_anew_and_folds_to_the_same() {
    let simulation = Simulation::new(6);
    let text = "x".repeat(4000);
    let expected = simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        let joined = join(&host, 0, "g", "", None).await;
        let member = joined.member_id;
        let joined = join(&host, 0, "g", &member, None).await;
        sync(&host, 0, "g", &joined, &[(&member, "all")]).await;
        for round in 0..400 {
            for partition in 0..3 {
                let mut request = commit_request("g", "t", partition, round);
                request.topics[0].partitions[0].committed_metadata = Some(text.as_str().into());
                request.member_id = member.clone();
                request.generation_id_or_member_epoch = joined.generation_id;
                assert_eq!(commit_with(&host, 0, request).await, ErrorCode::None);
            }
        }
        sleep(Duration::from_secs(1)).await;
        let (start, end) = log_of(&host, "g");
        assert!(start > Offset(1000), "{start} to {end}");
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 399), (1, 399), (2, 399)]));
        (member, joined.generation_id)
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        assert_eq!(fetch(&host, 1, "g").await, of_t(&[(0, 399), (1, 399), (2, 399)]));
        let (member, generation) = expected;
        assert_eq!(heartbeat(&host, 1, "g", &member, generation).await, ErrorCode::None);
        assert_eq!(describe(&host, "g").await, ("Stable".to_string(), 1));
    });
}

#[test]
fn a_crash_while_a_log_is_written_anew_loses_nothing() {
    let text = "x".repeat(4000);
    crate::runtime::sim::for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let committed = std::cell::Cell::new(-1);
        let stop = crate::runtime::sim::Stop::AfterDiskOperations(800 + seed * 150);
        simulation.run_until(stop, async {
            let host = harness::start(1).await;
            ready(&host).await;
            for round in 0..2000 {
                let mut request = commit_request("g", "t", 0, round);
                request.topics[0].partitions[0].committed_metadata = Some(text.as_str().into());
                assert_eq!(commit_with(&host, 0, request).await, ErrorCode::None);
                committed.set(round);
            }
        });
        simulation.crash();
        simulation.run(async {
            let host = harness::start(1).await;
            loaded(&host).await;
            let told = fetch(&host, 0, "g").await.first().map_or(-1, |one| one.2);
            assert!(told >= committed.get(), "{told} where {} was committed", committed.get());
        });
    });
}

#[test]
fn a_commit_that_the_disk_fails_is_refused_and_those_before_it_stay() {
    let simulation = Simulation::new(7);
    simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        assert_eq!(commit(&host, 0, "g", 0, 5).await, ErrorCode::None);
        disk().fail_next(DiskOperation::Write, OFFSETS_TOPIC);
        assert_eq!(commit(&host, 1, "g", 0, 6).await, ErrorCode::CoordinatorNotAvailable);
        sleep(Duration::from_secs(2)).await;
        assert_ne!(commit(&host, 1, "g", 0, 7).await, ErrorCode::None);
    });
    simulation.kill();
    simulation.run(async {
        disk().heal();
        let host = harness::start(2).await;
        loaded(&host).await;
        // What was refused may have been written all the same.
        let told = fetch(&host, 0, "g").await;
        assert!(told == of_t(&[(0, 5)]) || told == of_t(&[(0, 6)]), "{told:?}");
        assert_eq!(commit(&host, 1, "g", 0, 7).await, ErrorCode::None);
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 7)]));
    });
}

// ---------------------------------------------------------------- members

async fn join(
    host: &Host,
    shard: usize,
    group: &str,
    member: &str,
    instance: Option<&str>,
) -> JoinGroupResponse {
    let protocol =
        JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"mine") };
    let request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.into(),
        group_instance_id: instance.map(Str::from),
        protocol_type: "test".into(),
        protocols: vec![protocol],
        reason: None,
    };
    host.call(shard, 9, request).await
}

async fn sync(
    host: &Host,
    shard: usize,
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &str)],
) -> (ErrorCode, Bytes) {
    let assignment = |(member, bytes): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::copy_from_slice(bytes.as_bytes()),
    };
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("test".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.iter().map(assignment).collect(),
        ..SyncGroupRequest::default()
    };
    let answer = host.call(shard, 5, request).await;
    (answer.error_code, answer.assignment)
}

async fn heartbeat(
    host: &Host,
    shard: usize,
    group: &str,
    member: &str,
    generation: i32,
) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..HeartbeatRequest::default()
    };
    host.call(shard, 4, request).await.error_code
}

/// Two members of one group, at different cores, through a rebalance: what each is assigned.
async fn two_members(host: &Rc<Host>, group: &'static str) -> [JoinGroupResponse; 2] {
    let first = join(host, 0, group, "", None).await;
    let second = join(host, 1, group, "", None).await;
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired);
    let both = [(0, first.member_id), (1, second.member_id)].map(|(shard, member)| {
        let host = host.clone();
        spawn(async move {
            let joined = join(&host, shard, group, &member, None).await;
            assert_eq!(joined.error_code, ErrorCode::None);
            let all: Vec<String> =
                joined.members.iter().map(|one| one.member_id.to_string()).collect();
            let all: Vec<(&str, &str)> =
                all.iter().map(|member| (member.as_str(), member.as_str())).collect();
            let (error, assignment) = sync(&host, shard, group, &joined, &all).await;
            assert_eq!((error, &assignment[..]), (ErrorCode::None, joined.member_id.as_bytes()));
            joined
        })
    });
    let [first, second] = both;
    [first.await, second.await]
}

#[test]
fn members_at_different_cores_share_a_group_that_a_restart_keeps() {
    let simulation = Simulation::new(8);
    let members = simulation.run(async {
        let host = Rc::new(harness::start(2).await);
        ready(&host).await;
        let members = two_members(&host, "g").await;
        assert_eq!(members[0].generation_id, members[1].generation_id);
        assert_eq!(members[0].leader, members[1].leader);
        assert_eq!(describe(&host, "g").await, ("Stable".to_string(), 2));
        members
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        for member in &members {
            let heard = heartbeat(&host, 0, "g", &member.member_id, member.generation_id).await;
            assert_eq!(heard, ErrorCode::None);
        }
        let mut request = commit_request("g", "t", 0, 5);
        request.generation_id_or_member_epoch = members[0].generation_id;
        request.member_id = members[0].member_id.clone();
        assert_eq!(commit_with(&host, 1, request.clone()).await, ErrorCode::None);
        request.generation_id_or_member_epoch += 1;
        assert_eq!(commit_with(&host, 1, request).await, ErrorCode::IllegalGeneration);
        assert_eq!(commit(&host, 0, "g", 1, 5).await, ErrorCode::UnknownMemberId);
        // One leaves, the other is not heard of: the group is empty, its offsets stay.
        let members_left =
            vec![MemberIdentity { member_id: members[0].member_id.clone(), ..Default::default() }];
        let request =
            LeaveGroupRequest { group_id: "g".into(), members: members_left, ..Default::default() };
        assert_eq!(host.call(0, 5, request).await.error_code, ErrorCode::None);
        sleep(Duration::from_secs(80)).await;
        assert_eq!(describe(&host, "g").await, ("Empty".to_string(), 0));
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 5)]));
        let listed = list(&host, &["empty"], &["CLASSIC"]).await.unwrap();
        assert_eq!((listed.len(), listed[0].protocol_type.as_str()), (1, "test"));
        assert_eq!(list(&host, &["Stable"], &[]).await.unwrap(), []);
    });
}

#[test]
fn whoever_waits_at_a_stop_is_told_to_look_elsewhere() {
    run(async |host| {
        ready(&host).await;
        let host = Rc::new(host);
        let first = join(&host, 0, "g", "", None).await;
        let waiting = {
            let (host, member) = (host.clone(), first.member_id.clone());
            spawn(async move { join(&host, 1, "g", &member, None).await.error_code })
        };
        sleep(Duration::from_millis(50)).await;
        for plane in &host.control_planes {
            plane.leave_groups(Duration::from_secs(1)).await;
        }
        assert_eq!(waiting.await, ErrorCode::NotCoordinator);
        assert_eq!(commit(&host, 0, "g", 0, 1).await, ErrorCode::NotCoordinator);
    });
}

// ---------------------------------------------------------------- the consumer protocol

/// Has a member say what it has, and told what it is to have.
async fn beat(
    host: &Host,
    shard: usize,
    group: &str,
    member: &str,
    epoch: i32,
    owned: Option<&[i32]>,
) -> ConsumerGroupHeartbeatResponse {
    let topic_id = host.shards[0].image().topic("t").unwrap().id;
    let topic = |partitions: &[i32]| heartbeat_api::HeartbeatTopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
    };
    let owned = owned.map(|owned| if owned.is_empty() { vec![] } else { vec![topic(owned)] });
    let joins = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if joins { 60_000 } else { -1 },
        subscribed_topic_names: joins.then(|| vec!["t".into()]),
        topic_partitions: owned,
        ..Default::default()
    };
    host.call(shard, 1, request).await
}

fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Vec<i32> {
    let assignment = answer.assignment.iter().flat_map(|all| &all.topic_partitions);
    assignment.flat_map(|topic| topic.partitions.clone()).collect()
}

#[test]
fn a_consumer_group_survives_a_crash_with_its_epochs() {
    let simulation = Simulation::new(9);
    let (epoch, owned) = simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        // A commit before there were members makes way for them.
        assert_eq!(commit(&host, 0, "g", 3, 5).await, ErrorCode::None);
        let first = beat(&host, 0, "g", "me", 0, Some(&[])).await;
        assert_eq!((first.error_code, assigned(&first)), (ErrorCode::None, vec![0, 1, 2, 3]));
        let second = beat(&host, 1, "g", "you", 0, Some(&[])).await;
        assert_eq!((second.error_code, assigned(&second)), (ErrorCode::None, vec![]));
        sleep(Duration::from_secs(2)).await;
        let mine = beat(&host, 1, "g", "me", first.member_epoch, Some(&[0, 1, 2, 3])).await;
        let owned = assigned(&mine);
        assert_eq!(owned.len(), 2, "{mine:?}");
        let mine = beat(&host, 1, "g", "me", first.member_epoch, Some(&owned)).await;
        assert!(mine.member_epoch > first.member_epoch, "{mine:?}");
        let yours = beat(&host, 1, "g", "you", second.member_epoch, Some(&[])).await;
        assert_eq!(assigned(&yours).len(), 2);
        (mine.member_epoch, owned)
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        let mine = beat(&host, 0, "g", "me", epoch, Some(&owned)).await;
        assert_eq!((mine.error_code, mine.member_epoch), (ErrorCode::None, epoch));
        let mut request = commit_request("g", "t", owned[0], 9);
        request.generation_id_or_member_epoch = epoch;
        request.member_id = "me".into();
        assert_eq!(commit_with(&host, 1, request.clone()).await, ErrorCode::None);
        request.generation_id_or_member_epoch = epoch + 1;
        assert_eq!(commit_with(&host, 1, request).await, ErrorCode::StaleMemberEpoch);
        let listed = list(&host, &[], &["consumer"]).await.unwrap();
        assert_eq!((listed.len(), listed[0].group_type.as_str()), (1, "consumer"));
        let groups_names = vec!["g".into()];
        let deleted = host.call(0, 2, DeleteGroupsRequest { groups_names }).await;
        assert_eq!(deleted.results[0].error_code, ErrorCode::NonEmptyGroup);
        for member in ["me", "you"] {
            assert_eq!(beat(&host, 0, "g", member, -1, None).await.error_code, ErrorCode::None);
        }
        let groups_names = vec!["g".into()];
        let deleted = host.call(0, 2, DeleteGroupsRequest { groups_names }).await;
        assert_eq!(deleted.results[0].error_code, ErrorCode::None);
        assert!(host.control_planes.iter().all(|plane| plane.groups.memory_bytes() == 0));
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        assert_eq!(names(&host).await, [""; 0]);
        assert_eq!(beat(&host, 0, "g", "me", 5, None).await.error_code, ErrorCode::GroupIdNotFound);
    });
}
