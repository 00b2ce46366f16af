//! Which groups a broker lists: clients ask every one and put the answers together.

use super::*;
use crate::config::Endpoints;

async fn listed_at(host: &Host, shard: usize, port: u16) -> Vec<String> {
    let answer = host.call_at(shard, port, 5, ListGroupsRequest::default()).await;
    assert_eq!(answer.error_code, ErrorCode::None);
    let mut names: Vec<String> =
        answer.groups.iter().map(|group| group.group_id.to_string()).collect();
    names.sort();
    names
}

async fn host_with_groups(endpoints: Endpoints) -> Host {
    let config = Config { endpoints, ..Config::default() };
    let host = harness::try_start(2, config).await.unwrap();
    ready(&host).await;
    for group in GROUPS {
        assert_eq!(commit(&host, 0, group, 0, 1).await, ErrorCode::None);
    }
    host
}

#[test]
fn the_lists_of_all_cores_that_are_brokers_have_each_group_once() {
    Simulation::new(3).run(async {
        let host = host_with_groups(Endpoints::PerCore).await;
        let first = listed_at(&host, 0, 9093).await;
        let second = listed_at(&host, 1, 9094).await;
        assert!(!first.is_empty() && !second.is_empty(), "{first:?} and {second:?}");
        let mut all = [first, second].concat();
        all.sort();
        assert_eq!(all, GROUPS);
        // Whoever reached the port of all cores asks nobody else, perhaps.
        assert_eq!(listed_at(&host, 0, 9092).await, GROUPS);
        assert_eq!(listed_at(&host, 1, 9092).await, GROUPS);
    });
}

#[test]
fn a_host_that_is_one_broker_lists_all_groups_on_whichever_core() {
    Simulation::new(4).run(async {
        let host = host_with_groups(Endpoints::Shared).await;
        assert_eq!(listed_at(&host, 0, 9092).await, GROUPS);
        assert_eq!(listed_at(&host, 1, 9092).await, GROUPS);
    });
}
