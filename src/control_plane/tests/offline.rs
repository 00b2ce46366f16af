//! What clients are told of partitions that cannot be read.

use super::*;
use crate::runtime::sim::{DiskOperation, Effect, Fault, disk};
use crate::runtime::sleep;
use crate::types::ShardId;
use crate::wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use std::time::Duration;

/// Longer than a shard takes to tell the others, if there is something to tell.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// errno(3), no space left on device.
const ENOSPC: i32 = 28;

/// Waits until all shards are shown these as offline, and no others.
async fn shown_offline(host: &Host, keys: &[PartitionKey]) {
    for _ in 0..100 {
        if host.shards.iter().all(|shard| shard.image().offline.iter().eq(keys)) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{keys:?} should be offline: {:?}", host.shards[0].image().offline);
}

/// Error, leader, replicas that are offline, and replicas in sync.
type Told = (ErrorCode, i32, Vec<i32>, Vec<i32>);

/// What both APIs tell of the topic's partitions, through a shard.
async fn told(host: &Host, shard: usize) -> Vec<Told> {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let listed = host.call(shard, 12, request).await.topics.remove(0).partitions;
    let topics = vec![TopicRequest { name: "t".into() }];
    let request = DescribeTopicPartitionsRequest {
        topics,
        response_partition_limit: 100,
        ..Default::default()
    };
    let described = host.call(shard, 0, request).await.topics.remove(0).partitions;
    assert_eq!(listed.len(), described.len());
    for (listed, described) in listed.iter().zip(&described) {
        // Kafka gives no error there.
        assert_eq!(described.error_code, ErrorCode::None);
        assert_eq!(listed.leader_id, described.leader_id);
        assert_eq!(listed.offline_replicas, described.offline_replicas);
        assert_eq!(listed.isr_nodes, described.isr_nodes);
        assert_eq!(listed.replica_nodes, described.replica_nodes);
    }
    let partitions = listed.into_iter();
    partitions.map(|p| (p.error_code, p.leader_id, p.offline_replicas, p.isr_nodes)).collect()
}

fn led(host: &Host, owner: ShardId) -> Told {
    let broker = host.control_planes[0].endpoints.broker_of(owner);
    (ErrorCode::None, broker, vec![], vec![broker])
}

fn unled(host: &Host, owner: ShardId) -> Told {
    let broker = host.control_planes[0].endpoints.broker_of(owner);
    (ErrorCode::LeaderNotAvailable, -1, vec![broker], vec![broker])
}

fn owner(host: &Host, index: i32) -> ShardId {
    host.shards[0].image().topic("t").unwrap().partition(index).unwrap().shard
}

async fn elect(host: &Host, election_type: i8) -> Vec<ErrorCode> {
    let topic = TopicPartitions { topic: "t".into(), partitions: vec![0, 1] };
    let topic_partitions = Some(vec![topic]);
    let request = ElectLeadersRequest { election_type, topic_partitions, ..Default::default() };
    let results = host.call(0, 2, request).await.replica_election_results.remove(0);
    results.partition_result.into_iter().map(|result| result.error_code).collect()
}

#[test]
fn a_partition_that_goes_offline_has_no_leader_and_the_others_have_theirs() {
    run(async |host| {
        let id = create(&host, "t", 2).await;
        for index in 0..2 {
            produce(&host, id, index, batch(Codec::None, &[1])).await;
        }
        let (first, second) = (owner(&host, 0), owner(&host, 1));
        assert_ne!(first, second);
        sleep(TOLD_AFTER).await;
        assert_eq!(told(&host, 0).await, [led(&host, first), led(&host, second)]);
        disk().fail_always(DiskOperation::Write, "/t-1/");
        let key = PartitionKey { topic_id: id, index: 1 };
        let mut ticket = host.shards[0].append(second, key, batch(Codec::None, &[2]));
        assert!(poll_fn(|context| ticket.poll_produced(context)).await.is_err());
        disk().heal();
        shown_offline(&host, &[key]).await;
        for shard in 0..2 {
            let told = told(&host, shard).await;
            assert_eq!(told, [led(&host, first), unled(&host, second)], "shard {shard}");
        }
        assert_eq!(offset(&host, "t", 1, -1).await.0, ErrorCode::KafkaStorageError);
        let needless = ErrorCode::ElectionNotNeeded;
        assert_eq!(elect(&host, 0).await, [needless, ErrorCode::PreferredLeaderNotAvailable]);
        assert_eq!(elect(&host, 1).await, [needless, ErrorCode::EligibleLeadersNotAvailable]);
        // A topic that is made meanwhile is shown by an image that says the same.
        create(&host, "other", 1).await;
        assert_eq!(told(&host, 1).await[1], unled(&host, second));

        let state = DeleteTopicState { name: Some("t".into()), ..Default::default() };
        let request = DeleteTopicsRequest { topics: vec![state], ..Default::default() };
        let gone = host.call(0, 6, request).await;
        assert_eq!(gone.responses[0].error_code, ErrorCode::None, "{gone:?}");
        create(&host, "t", 2).await;
        let all_led = [led(&host, owner(&host, 0)), led(&host, owner(&host, 1))];
        assert_eq!(told(&host, 0).await, all_led, "it is another topic");
        shown_offline(&host, &[]).await;
    });
}

#[test]
fn a_partition_that_is_back_has_its_leader_again() {
    let simulation = Simulation::new(3);
    simulation.run(async {
        let host = harness::start(2).await;
        let id = create(&host, "t", 2).await;
        for index in 0..2 {
            produce(&host, id, index, batch(Codec::None, &[1])).await;
        }
    });
    simulation.kill();
    simulation.run(async {
        // As if a full disk had kept it from being opened, by the start and by the next two tries.
        disk().inject(Fault {
            operation: DiskOperation::Read,
            path_contains: "/t-1/00000000000000000000.log".to_string(),
            skip: 0,
            times: 3,
            effect: Effect::Error(ENOSPC),
        });
        let host = harness::start(2).await;
        let id = host.shards[0].image().topic("t").unwrap().id;
        shown_offline(&host, &[PartitionKey { topic_id: id, index: 1 }]).await;
        let (first, second) = (owner(&host, 0), owner(&host, 1));
        assert_eq!(told(&host, 0).await, [led(&host, first), unled(&host, second)]);
        shown_offline(&host, &[]).await;
        assert_eq!(told(&host, 1).await, [led(&host, first), led(&host, second)]);
        assert_eq!(offset(&host, "t", 1, -1).await, (ErrorCode::None, 1, -1));
    });
}

#[test]
fn what_is_offline_is_told_while_the_metadata_log_cannot_be_written() {
    run(async |host| {
        let id = create(&host, "t", 2).await;
        let second = owner(&host, 1);
        // The device fails the log first, so that it takes no change any more.
        disk().fail_always(DiskOperation::Write, "metadata.log");
        let topic = CreatableTopic {
            name: "late".into(),
            num_partitions: 1,
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let refused = host.call(0, 7, request).await.topics.remove(0).error_code;
        assert_eq!(refused, ErrorCode::KafkaStorageError);
        disk().fail_always(DiskOperation::Write, "/t-1/");
        let key = PartitionKey { topic_id: id, index: 1 };
        let mut ticket = host.shards[0].append(second, key, batch(Codec::None, &[2]));
        assert!(poll_fn(|context| ticket.poll_produced(context)).await.is_err());
        shown_offline(&host, &[key]).await;
        assert_eq!(told(&host, 0).await[1], unled(&host, second));
        assert!(host.shards[0].image().topic("late").is_none(), "it was not recorded");
    });
}
