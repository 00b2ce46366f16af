//! The controller with all shards of a host, on the simulation.

use super::*;
use crate::control_plane::harness::{self, DATA, Host};
use crate::control_plane::metadata_log::{FILE_NAME, glimpse};
use crate::runtime::sim::{DiskOperation, Effect, Fault, Simulation, Stop, disk, for_each_seed};
use crate::shard::Shard;
use crate::shard::request::PartitionKey;
use crate::types::{Offset, Timestamp};
use crate::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::api::init_producer_id::InitProducerIdRequest;
use crate::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::wire::{ErrorCode, batch};
use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

fn new_topic(name: &str, partitions: u32) -> NewTopic {
    NewTopic { name: name.to_string(), partitions, places: None, overrides: BTreeMap::new() }
}

async fn create(host: &Host, topics: &[(&str, u32)]) -> Vec<Result<TopicId, ControlError>> {
    let topics = topics.iter().map(|(name, partitions)| new_topic(name, *partitions)).collect();
    let asked = host.shards.last().unwrap().control(ControlRequest::CreateTopics(topics)).await;
    let ControlReply::CreateTopics(made) = asked else { panic!("{asked:?}") };
    made
}

async fn delete(host: &Host, id: TopicId) -> Result<(), ControlError> {
    let asked = host.shards[0].control(ControlRequest::DeleteTopics(vec![id])).await;
    let ControlReply::DeleteTopics(mut gone) = asked else { panic!("{asked:?}") };
    gone.remove(0)
}

/// Names and partition counts as a shard sees them, after checking that all see the same, and that each
/// partition is open on its shard and nowhere else.
fn seen(host: &Host) -> Vec<(String, usize)> {
    let image = host.shards[0].image();
    for shard in &host.shards {
        assert_eq!(shard.image().version, image.version);
        assert_eq!(shard.image().partition_count(), image.partition_count());
    }
    for topic in image.topics() {
        for (index, place) in (0..).zip(&topic.partitions) {
            for shard in &host.shards {
                let key = PartitionKey { topic_id: topic.id, index };
                assert_eq!(shard.partition(key).is_ok(), shard.id == place.shard, "{key:?}");
            }
        }
    }
    let open: usize = host.shards.iter().map(|shard| shard.partitions().len()).sum();
    assert_eq!(open, image.partition_count());
    image.topics().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect()
}

#[test]
fn topics_are_made_deleted_and_made_again_on_all_shards() {
    Simulation::new(1).run(async {
        let host = harness::start(3).await;
        let made = create(&host, &[("a", 5), ("b", 1), ("a", 2)]).await;
        let id = made[0].clone().unwrap();
        assert_eq!(made[2], Err(ControlError::TopicExists("a".into())));
        assert_eq!(seen(&host), [("a".to_string(), 5), ("b".to_string(), 1)]);
        assert_eq!(delete(&host, id).await, Ok(()));
        assert_eq!(delete(&host, id).await, Err(ControlError::UnknownTopic));
        assert_eq!(seen(&host), [("b".to_string(), 1)]);
        let again = create(&host, &[("a", 2)]).await;
        assert_ne!(again[0], Ok(id));
        assert_eq!(seen(&host), [("a".to_string(), 2), ("b".to_string(), 1)]);
    });
}

#[test]
fn a_topic_made_in_the_moment_its_namesake_goes_keeps_its_records() {
    for_each_seed(20, |seed| {
        let simulation = Simulation::new(seed);
        let id = simulation.run(async {
            let host = Rc::new(harness::start(3).await);
            let old = create(&host, &[("a", 4)]).await[0].clone().unwrap();
            for index in 0..4 {
                store_one(&host, PartitionKey { topic_id: old, index }).await;
            }
            // Somebody writes to the new one as soon as it is seen, while the old one is still busy.
            let writers = (0..4).map(|index| store_in_next(host.clone(), old, index));
            let writers: Vec<_> = writers.map(runtime::spawn).collect();
            let made = vec![new_topic("a", 4)];
            let deleted = host.shards[0].control(ControlRequest::DeleteTopics(vec![old]));
            let created = host.shards[0].control(ControlRequest::CreateTopics(made));
            let (_, created) = futures_util::future::join(deleted, created).await;
            let ControlReply::CreateTopics(made) = created else { panic!("{created:?}") };
            for writer in writers {
                writer.await;
            }
            made[0].clone().unwrap()
        });
        simulation.crash();
        simulation.run(async {
            let host = harness::start(3).await;
            for index in 0..4 {
                let key = PartitionKey { topic_id: id, index };
                let end = owner(&host, key).partition(key).unwrap().high_watermark();
                assert_eq!(end, Offset(1), "{key:?}");
            }
        });
    });
}

fn owner(host: &Host, key: PartitionKey) -> &Rc<Shard> {
    host.shards.iter().find(|shard| shard.partition(key).is_ok()).expect("it is open somewhere")
}

/// Keeps the old topic's partition busy until there is a new one of the same name, then writes there.
async fn store_in_next(host: Rc<Host>, old: TopicId, index: i32) {
    let new = loop {
        let key = PartitionKey { topic_id: old, index };
        for shard in &host.shards {
            if let Ok(partition) = shard.partition(key) {
                let batch = batch::testing::batch(&[b"old"], Timestamp(5), None).into();
                let _ = partition.append(batch, runtime::wall_clock());
            }
        }
        let seen = host.shards.iter().find_map(|shard| {
            let image = shard.image();
            let topic = image.topic("a").filter(|topic| topic.id != old)?;
            let key = PartitionKey { topic_id: topic.id, index };
            shard.partition(key).is_ok().then_some(key)
        });
        match seen {
            Some(key) => break key,
            None => runtime::sleep(Duration::from_micros(20)).await,
        }
    };
    store_one(&host, new).await;
}

async fn store_one(host: &Host, key: PartitionKey) {
    let batch = batch::testing::batch(&[b"one"], Timestamp(5), None).into();
    let shard = owner(host, key);
    let mut ticket = shard.append(shard.id, key, batch);
    std::future::poll_fn(|context| ticket.poll_produced(context)).await.expect("it is stored");
}

#[test]
fn places_that_were_chosen_for_another_number_of_partitions_are_refused() {
    Simulation::new(9).run(async {
        let host = harness::start(2).await;
        let id = create(&host, &[("a", 2)]).await[0].clone().unwrap();
        // Both were composed when there were 2 partitions; the second is decided when there are 5.
        let add = async |partitions: u32| {
            let places = Some(vec![ShardId(1); partitions as usize - 2]);
            let request = ControlRequest::CreatePartitions { topic_id: id, partitions, places };
            let asked = host.shards[1].control(request).await;
            let ControlReply::CreatePartitions(added) = asked else { panic!("{asked:?}") };
            added
        };
        let (first, second) = futures_util::future::join(add(5), add(6)).await;
        assert_eq!(first, Ok(()));
        let text =
            "Attempted to add 1 additional partition(s), but only 4 assignment(s) were specified.";
        assert_eq!(second, Err(ControlError::InvalidAssignment(text.into())));
        assert_eq!(seen(&host), [("a".to_string(), 5)]);
    });
}

#[test]
fn clients_make_topics_and_see_them_at_once_through_any_shard() {
    Simulation::new(2).run(async {
        let host = harness::start(2).await;
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "flights".into(),
                num_partitions: 4,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let made = host.call(1, 7, request).await;
        assert_eq!(made.topics[0].error_code, ErrorCode::None);
        assert_eq!(
            made.topics[0].configs.as_ref().unwrap().len(),
            crate::control_plane::configs::TOPIC_KEYS.len()
        );
        for shard in 0..2 {
            let all = host.call(shard, 13, MetadataRequest { topics: None, ..Default::default() });
            let all = all.await;
            assert_eq!(all.brokers.len(), 2);
            assert_eq!(all.topics[0].topic_id, made.topics[0].topic_id);
            let leaders: Vec<i32> =
                all.topics[0].partitions.iter().map(|partition| partition.leader_id).collect();
            assert!(leaders.contains(&1024) && leaders.contains(&1025), "{leaders:?}");
        }
        let automatic = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some("auto".into()),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        let automatic = host.call(1, 12, automatic).await;
        assert_eq!(automatic.topics[0].error_code, ErrorCode::None);
        assert_eq!(automatic.topics[0].partitions.len(), 1);
    });
}

#[test]
fn producer_ids_differ_on_all_shards_and_after_restarts() {
    let simulation = Simulation::new(3);
    let mut given = Vec::new();
    for _ in 0..3 {
        given.extend(simulation.run(async {
            let host = harness::start(2).await;
            let mut ids = Vec::new();
            for round in 0..2100 {
                let request = InitProducerIdRequest {
                    producer_epoch: -1,
                    ..InitProducerIdRequest::default()
                };
                let answer = host.call(round % 2, 4, request).await;
                assert_eq!((answer.error_code, answer.producer_epoch), (ErrorCode::None, 0));
                ids.push(answer.producer_id);
            }
            ids
        }));
        simulation.crash();
    }
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count);
}

#[test]
fn another_number_of_shards_places_anew_and_loses_nothing() {
    let simulation = Simulation::new(4);
    let mut epochs: BTreeMap<(String, usize), (ShardId, i32)> = BTreeMap::new();
    for (round, shards) in [1u16, 4, 2, 3, 3, 1].into_iter().enumerate() {
        simulation.run(async {
            let host = harness::start(shards).await;
            if round == 0 {
                create(&host, &[("a", 7), ("b", 1), ("c", 12)]).await;
            }
            let expected = [("a".to_string(), 7), ("b".to_string(), 1), ("c".to_string(), 12)];
            assert_eq!(seen(&host), expected);
            for topic in host.shards[0].image().topics() {
                for (index, place) in topic.partitions.iter().enumerate() {
                    let key = (topic.name.to_string(), index);
                    let now = (place.shard, place.leader_epoch);
                    let was = epochs.insert(key, now).unwrap_or(now);
                    let moved = i32::from(was.0 != now.0);
                    assert_eq!(now.1, was.1 + moved, "a new leader has a new epoch");
                }
            }
        });
        simulation.crash();
    }
}

#[test]
fn topics_of_one_partition_use_all_cores_that_there_are() {
    let simulation = Simulation::new(8);
    for (round, shards) in [1u16, 4, 3, 2, 4].into_iter().enumerate() {
        simulation.run(async {
            let host = harness::start(shards).await;
            if round == 0 {
                let names: Vec<String> = (0..24).map(|number| format!("t{number}")).collect();
                let topics: Vec<(&str, u32)> = names.iter().map(|name| (&**name, 1)).collect();
                create(&host, &topics).await;
            }
            let open = host.shards.iter().map(|shard| shard.partitions().len());
            assert_eq!(open.collect::<Vec<_>>(), vec![24 / usize::from(shards); shards.into()]);
        });
        simulation.kill();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_any_crash() {
    for_each_seed(60, |seed| {
        let simulation = Simulation::new(seed);
        let acknowledged: Rc<RefCell<Vec<String>>> = Rc::default();
        for life in 0..4 {
            let noted = acknowledged.clone();
            let stop = Stop::AfterDiskOperations(20 + seed * 7 % 90);
            let work = async move {
                let host = harness::start(2).await;
                let image = host.shards[1].image();
                for name in noted.borrow().iter() {
                    assert!(image.topic(name).is_some(), "lost topic {name} in life {life}");
                }
                for number in 0..40 {
                    let name = format!("t-{life}-{number}");
                    let made = create(&host, &[(&name, 1 + number % 3)]).await;
                    made[0].clone().unwrap();
                    noted.borrow_mut().push(name);
                }
            };
            simulation.run_until(stop, work);
            if life % 2 == 0 { simulation.crash() } else { simulation.kill() }
        }
    });
}

#[test]
fn a_full_disk_refuses_changes_until_there_is_room() {
    Simulation::new(5).run(async {
        let host = harness::start(1).await;
        create(&host, &[("before", 1)]).await;
        let mut options = disk().options();
        let capacity = options.capacity;
        options.capacity = disk().used_bytes();
        disk().set_options(options.clone());
        let mut refused = None;
        for number in 0..400 {
            let made = create(&host, &[(&format!("{number:0>200}"), 1)]).await;
            if let Err(ControlError::Storage(text)) = &made[0] {
                refused = Some(text.clone());
                break;
            }
        }
        assert!(refused.expect("the disk is full").contains(FILE_NAME));
        // What frees space is still done.
        let some = host.shards[0].image().topic(&format!("{:0>200}", 7)).unwrap().id;
        delete(&host, some).await.unwrap();
        let before = host.shards[0].image().topic("before").unwrap().id;
        let request = ControlRequest::SetLogStart { topic_id: before, index: 0, offset: Offset(0) };
        let reply = host.shards[0].control(request).await;
        assert_eq!(reply, ControlReply::SetLogStart(Ok(())));
        options.capacity = capacity;
        disk().set_options(options);
        assert!(create(&host, &[("after", 1)]).await[0].is_ok());
        let names = seen(&host);
        assert!(names.contains(&("before".to_string(), 1)), "{names:?}");
        assert!(names.contains(&("after".to_string(), 1)), "{names:?}");
    });
}

/// Folders as partitions have them that were written to.
fn put_folders(topic: &str, id: TopicId, count: u32) {
    for index in 0..count {
        let folder = format!("{DATA}/{topic}-{index}");
        disk().put_directory(&folder).unwrap();
        let text = format!("version: 0\ntopic_id: {}\n", id.to_base64());
        disk().put_file(format!("{folder}/partition.metadata"), text.as_bytes()).unwrap();
    }
}

#[test]
fn a_deletion_waits_for_one_sync_of_the_directory_however_many_partitions_go() {
    Simulation::new(1).run(async {
        let host = harness::start(1).await;
        let id = create(&host, &[("many", 300)]).await[0].clone().unwrap();
        put_folders("many", id, 300);
        let slow = Fault {
            operation: DiskOperation::SyncDirectory,
            path_contains: DATA.to_string(),
            skip: 0,
            times: u32::MAX,
            effect: Effect::Delay(Duration::from_secs(1)),
        };
        disk().inject(slow);
        let started = crate::runtime::now();
        delete(&host, id).await.unwrap();
        let took = crate::runtime::now().since(started);
        assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&took), "{took:?}");
        assert!(create(&host, &[("many", 1)]).await[0].is_ok());
        crate::runtime::sleep(Duration::from_secs(60)).await;
        let files = disk().files();
        assert!(!files.iter().any(|file| file.contains("/many-")), "{files:?}");
    });
}

#[test]
fn a_topic_whose_deletion_a_crash_met_is_gone_with_all_its_files() {
    for_each_seed(60, |seed| {
        let simulation = Simulation::new(seed);
        let id: Rc<Cell<Option<TopicId>>> = Rc::default();
        let made = id.clone();
        simulation.run(async move {
            let host = harness::start(2).await;
            made.set(Some(create(&host, &[("gone", 30), ("kept", 3)]).await[0].clone().unwrap()));
        });
        simulation.kill();
        let id = id.get().unwrap();
        simulation.run(async move { put_folders("gone", id, 30) });
        simulation.kill();
        let is_deleted: Rc<Cell<bool>> = Rc::default();
        let deleted = is_deleted.clone();
        simulation.run_until(Stop::AfterDiskOperations(150 + seed * 11 % 600), async move {
            let host = harness::start(2).await;
            delete(&host, id).await.unwrap();
            deleted.set(true);
            crate::runtime::sleep(Duration::from_secs(seed % 3)).await;
        });
        if seed % 2 == 0 {
            simulation.crash()
        } else {
            simulation.kill()
        }
        simulation.run(async move {
            let host = harness::start(2).await;
            if host.shards[0].image().topic("gone").is_some() {
                assert!(!is_deleted.get(), "it came back");
                delete(&host, id).await.unwrap();
            }
            assert!(create(&host, &[("gone", 2)]).await[0].is_ok());
            assert_eq!(seen(&host), [("gone".to_string(), 2), ("kept".to_string(), 3)]);
            crate::runtime::sleep(Duration::from_secs(60)).await;
            let files = disk().files();
            assert!(!files.iter().any(|file| file.contains("/gone-")), "{files:?}");
        });
    });
}

async fn is_sealed() -> bool {
    glimpse(DATA.as_ref()).await.unwrap().expect("there is a log").is_sealed
}

#[test]
fn the_log_is_sealed_by_a_start_soon_after_a_change_and_by_a_stop() {
    let simulation = Simulation::new(10);
    simulation.run(async {
        let host = harness::start(2).await;
        assert!(is_sealed().await);
        create(&host, &[("a", 1)]).await;
        assert!(!is_sealed().await, "no change waits for a seal");
        runtime::sleep(2 * SEAL_AFTER).await;
        assert!(is_sealed().await);
        create(&host, &[("b", 1)]).await;
        join_all(host.shards.iter().map(|shard| shard.stop_partitions())).await;
        assert!(is_sealed().await);
    });
    simulation.kill();
    simulation.run(async {
        let host = harness::start(2).await;
        create(&host, &[("c", 1)]).await;
        assert!(!is_sealed().await);
    });
    simulation.kill();
    simulation.run(async {
        let host = harness::start(2).await;
        assert!(is_sealed().await);
        let expected = ["a", "b", "c"].map(|name| (name.to_string(), 1));
        assert_eq!(seen(&host), expected);
    });
}

#[test]
fn a_seal_that_fails_refuses_changes_and_loses_nothing() {
    let simulation = Simulation::new(11);
    simulation.run(async {
        let host = harness::start(1).await;
        create(&host, &[("before", 1)]).await;
        disk().fail_next(DiskOperation::Sync, FILE_NAME);
        runtime::sleep(2 * SEAL_AFTER).await;
        let made = create(&host, &[("one", 1)]).await;
        assert!(matches!(made[0], Err(ControlError::Storage(_))), "{made:?}");
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(1).await;
        assert_eq!(seen(&host), [("before".to_string(), 1)]);
    });
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let simulation = Simulation::new(6);
    simulation.run(async {
        let host = harness::start(1).await;
        create(&host, &[("before", 1)]).await;
        disk().fail_next(DiskOperation::Sync, FILE_NAME);
        for name in ["one", "two"] {
            let made = create(&host, &[(name, 1)]).await;
            assert!(matches!(made[0], Err(ControlError::Storage(_))), "{made:?}");
        }
        assert_eq!(seen(&host), [("before".to_string(), 1)]);
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(1).await;
        assert!(seen(&host).contains(&("before".to_string(), 1)));
        assert!(create(&host, &[("two", 1)]).await[0].is_ok() || seen(&host).len() > 1);
    });
}

#[test]
fn a_log_that_says_too_much_is_written_anew() {
    let simulation = Simulation::new(7);
    let length = || simulation.disk().read_file(format!("{DATA}/{FILE_NAME}")).unwrap().len();
    for _ in 0..2 {
        simulation.run(async {
            let host = harness::start(2).await;
            for round in 0..800 {
                let topics: Vec<NewTopic> = (0..8)
                    .map(|number| new_topic(&format!("{number}{:0>200}", round), 1))
                    .collect();
                let asked = host.shards[0].control(ControlRequest::CreateTopics(topics)).await;
                let ControlReply::CreateTopics(made) = asked else { panic!("{asked:?}") };
                let ids = made.into_iter().map(Result::unwrap).collect();
                host.shards[1].control(ControlRequest::DeleteTopics(ids)).await;
            }
            create(&host, &[("kept", 3)]).await;
            delete(&host, create(&host, &[("gone", 3)]).await[0].clone().unwrap()).await.unwrap();
        });
        simulation.crash();
        simulation.run(async {
            let host = harness::start(2).await;
            assert_eq!(seen(&host), [("kept".to_string(), 3)]);
            let id = host.shards[0].image().topic("kept").unwrap().id;
            delete(&host, id).await.unwrap();
        });
        assert!(length() < 3 << 20, "{} bytes", length());
        simulation.crash();
    }
}
