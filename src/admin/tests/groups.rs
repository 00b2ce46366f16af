//! What the page shows of groups.

use super::*;
use crate::wire::api::ConsumerGroupHeartbeatRequest;

/// A host of two shards, and a topic `t` whose partition n has n + 1 records.
async fn host() -> Host {
    let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
    host.create("t", 4, &[]).await;
    for index in 0..4 {
        host.produce("t", index, index as usize + 1, 100).await;
    }
    host
}

#[test]
fn a_groups_lag_is_what_lies_between_its_offsets_and_the_ends() {
    for_each_seed(5, |seed| {
        Simulation::new(seed).run(async {
            let host = host().await;
            commit(&host, "behind", &[(0, 0), (1, 1), (3, 0)]).await;
            commit(&host, "done", &[(0, 1), (3, 4)]).await;
            commit(&host, "beyond", &[(2, 1_000_000)]).await;
            commit(&host, "a\"b\\c\nd", &[(2, 2)]).await;
            start(&host.servers[0].shard, true);
            let (_, page) = get("/metrics", "").await;
            let is = |name: &str, labels: &str, expect: f64| {
                assert_eq!(sum(&page, name, labels), expect, "{name} {labels}\n{page}");
            };
            for (group, lag, max) in [
                ("behind", 1.0 + 1.0 + 4.0, 4.0),
                ("done", 0.0, 0.0),
                ("beyond", 0.0, 0.0),
                (r#"a\"b\\c\nd"#, 1.0, 1.0),
            ] {
                let group = format!("group=\"{group}\"");
                is("corelog_group_lag_records", &group, lag);
                is("corelog_group_lag_records_max", &group, max);
                assert!(page.contains(&group));
            }
            let one = "group=\"behind\",topic=\"t\",partition=\"3\"";
            is("corelog_group_partition_lag_records", one, 4.0);
            is("corelog_group_committed_offset", one, 0.0);
            is("corelog_group_committed_offset", "group=\"beyond\"", 1_000_000.0);
            is("corelog_groups", "protocol=\"classic\",state=\"Empty\"", 4.0);
            is("corelog_groups", "", 4.0);
            is("corelog_group_coordinators", "state=\"serving\"", 50.0);
            is("corelog_group_coordinators", "", 50.0);
            is("corelog_groups_left_out", "", 0.0);
            is("corelog_group_offsets_left_out", "", 0.0);
            is("corelog_offset_commits_total", "", 3.0 + 2.0 + 1.0 + 1.0);
            assert!(sum(&page, "corelog_memory_used_bytes", "budget=\"groups\"") > 0.0);
        });
    });
}

#[test]
fn partitions_of_groups_are_shown_only_where_that_is_asked_for() {
    Simulation::new(1).run(async {
        let host = host().await;
        commit(&host, "g", &[(0, 0), (3, 1)]).await;
        start(&host.servers[0].shard, false);
        let (_, page) = get("/metrics", "").await;
        assert_eq!(sum(&page, "corelog_group_lag_records", "group=\"g\""), 4.0);
        assert!(!page.contains("corelog_group_committed_offset{"));
        assert!(!page.contains("corelog_group_partition_lag_records{"));
        assert_eq!(sum(&page, "corelog_group_offsets_left_out", ""), 0.0);
    });
}

#[test]
fn members_that_come_and_are_lost_are_counted() {
    Simulation::new(1).run(async {
        let host = host().await;
        commit(&host, "g", &[(0, 0)]).await;
        let mut client = host.client(1).await;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "me".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let joined = client.call(1, &request).await;
        assert!(joined.error_code.is_none(), "{joined:?}");
        start(&host.servers[0].shard, false);
        let is = |page: &str, expect: [f64; 5]| {
            let found = [
                sum(page, "corelog_group_members", "group=\"g\""),
                sum(page, "corelog_groups_members", "protocol=\"consumer\""),
                sum(page, "corelog_groups", "protocol=\"consumer\",state=\"Stable\""),
                sum(page, "corelog_group_rebalances_total", "protocol=\"consumer\""),
                sum(page, "corelog_group_sessions_expired_total", ""),
            ];
            assert_eq!(found, expect);
        };
        is(&get("/metrics", "").await.1, [1.0, 1.0, 1.0, 1.0, 0.0]);
        sleep(Duration::from_secs(46)).await;
        let (_, page) = get("/metrics", "").await;
        is(&page, [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(sum(&page, "corelog_groups", "protocol=\"consumer\",state=\"Empty\""), 1.0);
    });
}
