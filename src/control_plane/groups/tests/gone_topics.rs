//! Offsets of topics that are deleted, and of others of the same name.

use super::*;
use crate::runtime::sim::{Effect, Fault};
use crate::types::TopicId;

async fn delete(host: &Host, name: &str) {
    let topics = vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }];
    let answer = host.call(0, 6, DeleteTopicsRequest { topics, ..Default::default() }).await;
    assert_eq!(answer.responses[0].error_code, ErrorCode::None);
}

#[test]
fn a_commit_for_a_new_topic_outlives_the_deletion_of_one_of_its_name() {
    let simulation = Simulation::new(7);
    simulation.run(async {
        let host = Rc::new(harness::start(1).await);
        ready(&host).await;
        create(&host, "u", 1).await;
        assert_eq!(commit_with(&host, 0, commit_request("g", "u", 0, 4)).await, ErrorCode::None);
        assert_eq!(commit_with(&host, 0, commit_request("h", "u", 0, 5)).await, ErrorCode::None);
        // The coordinator is storing something, and cannot remove what the old topic left.
        disk().inject(Fault {
            operation: DiskOperation::Write,
            path_contains: OFFSETS_TOPIC.to_string(),
            skip: 0,
            times: 1,
            effect: Effect::Delay(Duration::from_secs(5)),
        });
        let storing = host.clone();
        let storing = spawn(async move { commit(&storing, 0, "g", 0, 1).await });
        sleep(Duration::from_secs(1)).await;
        delete(&host, "u").await;
        create(&host, "u", 1).await;
        let request = commit_request("g", "u", 0, 6);
        assert_eq!(commit_with(&host, 0, request).await, ErrorCode::None);
        assert_eq!(storing.await, ErrorCode::None);
        sleep(Duration::from_secs(1)).await;
        let new = ("u".to_string(), 0, 6);
        assert_eq!(fetch(&host, 0, "g").await, [of_t(&[(0, 1)]), vec![new]].concat());
        assert_eq!(fetch(&host, 0, "h").await, []);
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(1).await;
        loaded(&host).await;
        let new = ("u".to_string(), 0, 6);
        assert_eq!(fetch(&host, 0, "g").await, [of_t(&[(0, 1)]), vec![new]].concat());
        assert_eq!(fetch(&host, 0, "h").await, []);
    });
}

/// The offsets of partition 0 of these topics, by name or, from version 10 on, by id.
async fn fetch_of(host: &Host, version: i16, group: &str, topic: (&str, TopicId)) -> i64 {
    let topic = OffsetFetchRequestTopics {
        name: topic.0.into(),
        topic_id: topic.1,
        partition_indexes: vec![0],
    };
    let asked = OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest { groups: vec![asked], ..OffsetFetchRequest::default() };
    let answer = host.call(0, version, request).await;
    assert_eq!(answer.groups[0].topics.len(), 1);
    let told = &answer.groups[0].topics[0].partitions[0];
    assert_eq!(told.error_code, ErrorCode::None);
    told.committed_offset
}

#[test]
fn what_was_committed_for_a_topic_that_is_gone_is_not_told_of_its_successor() {
    Simulation::new(8).run(async {
        let host = Rc::new(harness::start(1).await);
        ready(&host).await;
        create(&host, "u", 1).await;
        assert_eq!(commit_with(&host, 0, commit_request("h", "u", 0, 5)).await, ErrorCode::None);
        let id = |host: &Host| host.shards[0].image().topic("u").unwrap().id;
        let old = id(&host);
        assert_eq!(fetch_of(&host, 9, "h", ("u", TopicId::ZERO)).await, 5);
        assert_eq!(fetch_of(&host, 10, "h", ("", old)).await, 5);
        // The group's coordinator is storing something, and cannot remove what the old topic left.
        disk().inject(Fault {
            operation: DiskOperation::Write,
            path_contains: OFFSETS_TOPIC.to_string(),
            skip: 0,
            times: 1,
            effect: Effect::Delay(Duration::from_secs(5)),
        });
        let storing = host.clone();
        let storing = spawn(async move { commit(&storing, 0, "h", 0, 1).await });
        sleep(Duration::from_secs(1)).await;
        delete(&host, "u").await;
        create(&host, "u", 1).await;
        let new = id(&host);
        assert_ne!(new, old);
        // Found out now, and answered when the coordinator has stored what it is at.
        let by_name = fetch_of(&host, 9, "h", ("u", TopicId::ZERO));
        let by_id = fetch_of(&host, 10, "h", ("", new));
        let asked = futures_util::future::join3(by_name, by_id, fetch(&host, 0, "h")).await;
        assert_eq!(asked, (-1, -1, of_t(&[(0, 1)])));
        assert_eq!(storing.await, ErrorCode::None);
    });
}
