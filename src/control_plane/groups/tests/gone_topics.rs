//! Offsets of topics that are deleted, and of others of the same name.

use super::*;
use crate::runtime::sim::{Effect, Fault};

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
