//! What is set for single groups, and for brokers.

use super::*;
use crate::wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

async fn set(host: &Host, group: &str, name: &str, value: &str) {
    set_of(host, (32, group), name, value).await;
}

async fn set_of(host: &Host, resource: (i8, &str), name: &str, value: &str) {
    let config =
        AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.into(),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = host.call(1, 1, request).await;
    assert_eq!(answer.responses[0].error_code, ErrorCode::None, "{answer:?}");
}

#[test]
fn settings_of_a_group_reach_its_members_on_whichever_core_and_survive_a_crash() {
    let simulation = Simulation::new(11);
    let interval = async |host: &Host, group: &str, epoch: i32| {
        let owned: Option<&[i32]> = if epoch == 0 { Some(&[]) } else { None };
        let answer = beat(host, 0, group, "me", epoch, owned).await;
        assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
        answer.heartbeat_interval_ms
    };
    simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        for group in GROUPS {
            assert_eq!(interval(&host, group, 0).await, 5000);
            set(&host, group, "consumer.heartbeat.interval.ms", "7000").await;
            set(&host, group, "consumer.session.timeout.ms", "60000").await;
            assert_eq!(interval(&host, group, 2).await, 7000);
        }
        assert_eq!(interval(&host, "another", 0).await, 5000);
        sleep(Duration::from_secs(50)).await;
        assert_eq!(names(&host).await.len(), GROUPS.len() + 1);
        let listed = list(&host, &["stable"], &["consumer"]).await.unwrap();
        assert_eq!(listed.len(), GROUPS.len(), "the group without a setting lost its member");
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        loaded(&host).await;
        for group in GROUPS {
            assert_eq!(interval(&host, group, 2).await, 7000);
        }
    });
}

#[test]
fn what_the_broker_sets_for_consumer_groups_holds_for_their_members() {
    Simulation::new(13).run(async {
        let mut config = Config::default();
        config.groups.consumer_assignors = vec![crate::config::Assignor::Range];
        let host = harness::try_start(2, config).await.unwrap();
        ready(&host).await;
        let request = |assignor: &str| ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "me".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            server_assignor: Some(assignor.into()),
            topic_partitions: Some(vec![]),
            ..Default::default()
        };
        let refused = host.call(0, 1, request("uniform")).await;
        assert_eq!(refused.error_code, ErrorCode::UnsupportedAssignor);
        assert_eq!(host.call(0, 1, request("range")).await.error_code, ErrorCode::None);
    });
}

#[test]
fn what_is_set_for_brokers_while_they_run_reaches_all_coordinators_and_survives_a_crash() {
    let simulation = Simulation::new(17);
    let intervals = |host: &Host| -> Vec<u64> {
        let coordinators = host.control_planes.iter().flat_map(|plane| plane.groups.all());
        let intervals = coordinators.map(|one| one.config().consumer_assignment_interval.default);
        let mut seconds: Vec<u64> = intervals.map(|interval| interval.as_secs()).collect();
        seconds.dedup();
        seconds
    };
    let name = "group.consumer.assignment.interval.ms";
    simulation.run(async {
        let host = harness::start(2).await;
        ready(&host).await;
        assert_eq!(intervals(&host), [1]);
        set_of(&host, (4, ""), name, "3000").await;
        assert_eq!(intervals(&host), [3]);
        // Of any broker of this host.
        set_of(&host, (4, "1025"), name, "7000").await;
        assert_eq!(intervals(&host), [7]);
    });
    simulation.crash();
    simulation.run(async {
        let mut config = Config::default();
        config.groups.consumer_assignment_interval_ms_max = Duration::from_secs(5);
        let host = harness::try_start(3, config).await.unwrap();
        loaded(&host).await;
        assert_eq!(intervals(&host), [5], "within the bounds that there are now");
    });
}
