//! What is read of groups for the admin port.

use super::*;
use crate::limits::ADMIN_GROUPS_MAX;
use crate::shard::coordinators::{Coordinators, GroupsReading};

async fn read(host: &Host, offsets_max: usize) -> GroupsReading {
    Coordinators::read(host.control_planes[0].clone(), offsets_max).await
}

#[test]
fn groups_with_members_are_shown_first_and_those_left_out_are_counted() {
    Simulation::new(1).run(async {
        let host = harness::start(1).await;
        ready(&host).await;
        for number in 0..ADMIN_GROUPS_MAX + 5 {
            let error = commit(&host, 0, &format!("g{number}"), 0, 0).await;
            assert_eq!(error, ErrorCode::None);
        }
        assert_eq!(commit(&host, 0, &"n".repeat(257), 0, 0).await, ErrorCode::None);
        assert_eq!(beat(&host, 0, "zz", "me", 0, Some(&[])).await.error_code, ErrorCode::None);
        let first = read(&host, 0).await;
        assert_eq!((first.groups.len(), first.left_out), (ADMIN_GROUPS_MAX, 7));
        assert_eq!((&*first.groups[0].name, first.groups[0].members), ("zz", 1));
        assert_eq!((first.groups[0].lag, first.offsets_left_out), (None, 0));
        assert!(first.groups.iter().all(|group| group.name.len() < 257));
        let second = read(&host, 3).await;
        let names = |reading: &GroupsReading| {
            reading.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&first), names(&second));
        let shown: usize = second.groups.iter().map(|group| group.offsets.len()).sum();
        assert_eq!((shown, second.offsets_left_out), (3, ADMIN_GROUPS_MAX - 1 - 3));
        let all: usize = second.counts.iter().map(|(_, _, count)| count).sum();
        assert_eq!(all, ADMIN_GROUPS_MAX + 7);
    });
}

#[test]
fn offsets_of_a_topic_that_was_made_again_have_no_lag() {
    run(async |host| {
        ready(&host).await;
        create(&host, "u", 1).await;
        let request = commit_request("g", "u", 0, 4);
        assert_eq!(commit_with(&host, 0, request).await, ErrorCode::None);
        let topics = vec![DeleteTopicState { name: Some("u".into()), ..Default::default() }];
        host.call(0, 6, DeleteTopicsRequest { topics, ..Default::default() }).await;
        create(&host, "u", 1).await;
        for plane in &host.control_planes {
            let reading = Coordinators::read(plane.clone(), 10).await;
            assert!(reading.groups.iter().all(|group| group.offsets.is_empty()), "{reading:?}");
        }
    });
}
