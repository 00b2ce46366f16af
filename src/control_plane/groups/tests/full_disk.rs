//! Commits while the disk is full, and when there is room again.

use super::*;
use crate::runtime::sim::{DiskOptions, for_each_seed, now};

/// What refuses a commit that the disk has no room for; the client asks again.
const REFUSALS: [ErrorCode; 2] =
    [ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress];

/// The longest that groups are away after there is room again.
const BACK_AFTER_MAX: Duration = Duration::from_secs(10);

fn set_capacity(capacity: u64) {
    disk().set_options(DiskOptions { capacity, ..disk().options() });
}

/// A commit that takes so much room that a full disk is soon noticed.
async fn commit_much(host: &Host, offset: i64) -> ErrorCode {
    let mut request = commit_request("g", "t", 0, offset);
    request.topics[0].partitions[0].committed_metadata = Some("m".repeat(4000).as_str().into());
    commit_with(host, 0, request).await
}

/// What is told of the group's one offset once groups are served.
async fn told(host: &Host) -> i64 {
    loop {
        loaded(host).await;
        let group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let answer = host.call(0, 9, request).await.groups.pop().unwrap();
        match answer.error_code {
            ErrorCode::None => {
                let topic = answer.topics.first();
                return topic.map_or(-1, |topic| topic.partitions[0].committed_offset);
            }
            error => assert!(REFUSALS.contains(&error), "{error:?}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn commits_are_refused_while_the_disk_is_full_and_go_on_when_it_is_not() {
    for_each_seed(10, |seed| {
        let simulation = Simulation::new(seed);
        let last = simulation.run(async {
            let host = harness::start(1).await;
            ready(&host).await;
            assert_eq!(commit_much(&host, 0).await, ErrorCode::None);
            let (mut offset, mut kept) = (1, 0);
            // It takes what fits where there is room already, then no more.
            set_capacity(disk().used_bytes());
            let mut refused = 0;
            while refused < 20 {
                match commit_much(&host, offset).await {
                    ErrorCode::None => kept = offset,
                    error => {
                        assert!(REFUSALS.contains(&error), "{error:?}");
                        refused += 1;
                    }
                }
                offset += 1;
                assert!(offset < 100_000, "the disk is never full");
                // A refused commit may have been written all the same, one that was kept is there.
                let told = told(&host).await;
                assert!((kept..offset).contains(&told), "{told} after {kept}");
                sleep(Duration::from_millis(100)).await;
            }
            set_capacity(u64::MAX);
            let free = now();
            while commit_much(&host, offset).await != ErrorCode::None {
                assert!(now().since(free) < BACK_AFTER_MAX, "there is room again");
                sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(told(&host).await, offset);
            offset
        });
        simulation.crash();
        simulation.run(async {
            let host = harness::start(1).await;
            loaded(&host).await;
            assert_eq!(told(&host).await, last);
            assert_eq!(commit_much(&host, last + 1).await, ErrorCode::None);
        });
    });
}

#[test]
fn members_stay_in_their_group_while_the_disk_is_full() {
    for_each_seed(20, stays_while_the_disk_is_full);
}

fn stays_while_the_disk_is_full(seed: u64) {
    Simulation::new(seed).run(async {
        let host = harness::start(1).await;
        ready(&host).await;
        let joined = beat(&host, 0, "g", "me", 0, Some(&[])).await;
        assert_eq!(joined.error_code, ErrorCode::None);
        let epoch = joined.member_epoch;
        set_capacity(disk().used_bytes());
        let filled = now();
        let mut request = commit_request("g", "t", 0, 1);
        request.topics[0].partitions[0].committed_metadata = Some("m".repeat(4000).as_str().into());
        request.member_id = "me".into();
        request.generation_id_or_member_epoch = epoch;
        let mut refused = 0;
        while now().since(filled) < Duration::from_secs(120) {
            let error = commit_with(&host, 0, request.clone()).await;
            refused += u32::from(error != ErrorCode::None);
            assert!(error == ErrorCode::None || REFUSALS.contains(&error), "{error:?}");
            let beaten = beat(&host, 0, "g", "me", epoch, None).await;
            let is_well = beaten.error_code == ErrorCode::None && beaten.member_epoch == epoch;
            assert!(is_well || REFUSALS.contains(&beaten.error_code), "{beaten:?}");
            sleep(Duration::from_secs(1)).await;
        }
        assert!(refused > 60, "{refused}");
        set_capacity(u64::MAX);
        // The first who writes may have to find out that there is room.
        let free = now();
        while beat(&host, 0, "g", "me", epoch, None).await.error_code != ErrorCode::None
            || commit_with(&host, 0, request.clone()).await != ErrorCode::None
        {
            assert!(now().since(free) < BACK_AFTER_MAX, "there is room again");
            sleep(Duration::from_millis(50)).await;
        }
        let beaten = beat(&host, 0, "g", "me", epoch, None).await;
        assert_eq!((beaten.error_code, beaten.member_epoch), (ErrorCode::None, epoch));
        assert_eq!(names(&host).await, ["g"]);
    });
}
