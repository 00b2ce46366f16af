//! Offsets whose time is over, while the same groups' coordinator is asked for other things.

use super::*;
use crate::runtime::now;
use std::cell::RefCell;

#[test]
fn commits_are_answered_while_offsets_expire() {
    const MANY: usize = 1000;
    let check = Duration::from_mins(30);
    Simulation::new(6).run(async {
        let began = now();
        let mut config = Config::default();
        config.groups.offsets_topic_partitions = 1;
        config.groups.offsets_retention_ms = Duration::from_mins(10);
        config.groups.offsets_retention_check_ms = check;
        let host = Rc::new(harness::try_start(1, config).await.unwrap());
        ready(&host).await;
        let until = now() + check + Duration::from_secs(2);
        for group in 0..MANY {
            let done = commit(&host, 0, &format!("g{group:04}"), 0, 1).await;
            assert_eq!(done, ErrorCode::None);
        }
        let groups_left = |host: &Host| {
            let coordinator = host.control_planes[0].groups.all().pop().unwrap();
            coordinator.look(|groups| groups.entries().count()).unwrap()
        };
        sleep((began + check).since(now())).await;
        assert_eq!(groups_left(&host), MANY);
        // How many groups were left when each of these commits was answered.
        let seen: Rc<RefCell<Vec<usize>>> = Rc::default();
        let committing = ["one", "two", "three"].map(|group| {
            let (host, seen) = (host.clone(), seen.clone());
            spawn(async move {
                while groups_left(&host) > 3 && now() < until {
                    assert_eq!(commit(&host, 0, group, 0, 1).await, ErrorCode::None);
                    seen.borrow_mut().push(groups_left(&host));
                }
            })
        });
        futures_util::future::join_all(committing).await;
        assert_eq!(names(&host).await, ["one", "three", "two"]);
        let between = seen.borrow().iter().filter(|left| (4..MANY).contains(*left)).count();
        // One of each of the three may have been answered before, and looked late.
        assert!(between > 3, "{between}: the others were answered before or after");
    });
}
