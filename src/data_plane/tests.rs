//! Fetches as clients make them, in the simulation.

use crate::net::harness::{Host, HostOptions, fetch_request, partitions_of};
use crate::runtime::sim::Simulation;
use crate::wire::ErrorCode;
use crate::wire::api::FetchRequest;

fn run(options: HostOptions, test: impl AsyncFnOnce(Host)) {
    Simulation::new(1).run(async { test(Host::start(options).await).await });
}

#[test]
fn a_name_that_no_topic_has_is_unknown_however_long_it_is() {
    run(HostOptions::default(), async |host| {
        host.create("t", 1, &[]).await;
        let mut client = host.client(0).await;
        for name in ["none".to_string(), "no name".to_string(), "x".repeat(30_000)] {
            let unknown = fetch_request(&name, &[(0, 0), (7, 0)]).topics.remove(0);
            let mut request = FetchRequest {
                max_wait_ms: 60_000,
                min_bytes: 1,
                session_epoch: 0,
                ..fetch_request("t", &[(0, 0)])
            };
            request.topics.push(unknown);
            let answer = client.call(12, &request).await;
            assert_ne!(answer.session_id, 0);
            assert_eq!(answer.responses[1].topic, *name);
            let codes: Vec<_> = partitions_of(&answer).iter().map(|one| one.error_code).collect();
            let unknown = ErrorCode::UnknownTopicOrPartition;
            assert_eq!(codes, [ErrorCode::None, unknown, unknown]);
        }
    });
}
