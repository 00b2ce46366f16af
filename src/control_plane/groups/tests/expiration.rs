//! Offsets whose time is over, while the same groups' coordinator is asked for other things.

use super::*;
use std::cell::RefCell;

#[test]
fn commits_are_answered_while_offsets_expire() {
    const MANY: usize = 1000;
    Simulation::new(6).run(async {
        let mut config = Config::default();
        config.groups.offsets_topic_partitions = 1;
        config.groups.offsets_retention_ms = Duration::from_mins(10);
        config.groups.offsets_retention_check_ms = Duration::from_mins(30);
        let host = Rc::new(harness::try_start(1, config).await.unwrap());
        ready(&host).await;
        for group in 0..MANY {
            let done = commit(&host, 0, &format!("g{group:04}"), 0, 1).await;
            assert_eq!(done, ErrorCode::None);
        }
        let groups_left = |host: &Host| {
            let coordinator = host.control_planes[0].groups.all().pop().unwrap();
            coordinator.look(|groups| groups.entries().count()).unwrap()
        };
        // How many groups were left when each of these commits was answered.
        let seen: Rc<RefCell<Vec<usize>>> = Rc::default();
        sleep(Duration::from_mins(29)).await;
        let (committing, told) = (host.clone(), seen.clone());
        let committing = spawn(async move {
            while groups_left(&committing) > 1 {
                assert_eq!(commit(&committing, 0, "alive", 0, 1).await, ErrorCode::None);
                told.borrow_mut().push(groups_left(&committing));
                sleep(Duration::from_micros(50)).await;
            }
        });
        committing.await;
        let between = seen.borrow().iter().filter(|left| **left > 1 && **left <= MANY).count();
        assert!(between > 0, "all were answered before or after");
        assert_eq!(names(&host).await, ["alive"]);
    });
}
