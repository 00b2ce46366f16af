//! Groups whose partition cannot be read.

use super::*;

#[test]
fn groups_of_a_partition_that_was_not_opened_are_not_there_rather_than_empty() {
    let simulation = Simulation::new(8);
    simulation.run(async {
        let host = harness::start(1).await;
        ready(&host).await;
        assert_eq!(commit(&host, 0, "g", 0, 5).await, ErrorCode::None);
    });
    simulation.kill();
    // Where "g" lies.
    simulation
        .disk()
        .fail_next(DiskOperation::Read, "__consumer_offsets-3/00000000000000000000.log");
    simulation.run(async {
        let host = harness::start(1).await;
        for _ in 0..50 {
            let group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
            let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
            let answer = host.call(0, 9, request).await;
            let error = answer.groups[0].error_code;
            let is_refused = matches!(
                error,
                ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable
            );
            assert!(is_refused, "{answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
    });
    simulation.kill();
    simulation.run(async {
        let host = harness::start(1).await;
        loaded(&host).await;
        assert_eq!(fetch(&host, 0, "g").await, of_t(&[(0, 5)]));
    });
}
