//! The client's group member against a broker, over connections of the simulated network.

use super::harness::{Host, HostOptions};
use crate::client::{Client, ClientOptions, GroupConsumer, OffsetQuery};
use crate::runtime::now;
use crate::runtime::sim::{Simulation, sleep};
use crate::types::Offset;
use crate::wire::ErrorCode;
use crate::wire::api::DeleteTopicsRequest;
use crate::wire::api::delete_topics::DeleteTopicState;
use std::time::Duration;

async fn delete(host: &Host, name: &str) {
    let topics = vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let answer = host.client(0).await.call(6, &request).await;
    assert_eq!(answer.responses[0].error_code, ErrorCode::None);
}

/// Reads until so many batches have come, or the time is over: where each began.
async fn read(consumer: &mut GroupConsumer, batches: usize, limit: Duration) -> Vec<Offset> {
    let until = now() + limit;
    let mut read = Vec::new();
    while read.len() < batches && now() < until {
        if let Some(fetched) = consumer.next(until).await.unwrap() {
            read.extend(fetched.batches.iter().map(|(header, _)| header.base_offset));
        }
    }
    read
}

#[test]
fn a_member_reads_a_topic_that_was_made_again_from_its_start() {
    for (seed, pause_ms) in [(1, 0), (2, 700), (3, 20_000)] {
        Simulation::new(seed).run(async {
            let host = Host::start(HostOptions::default()).await;
            host.create("t", 1, &[]).await;
            host.produce("t", 0, 5, 10).await;
            let client = Client::new(ClientOptions::default());
            let topics = vec!["t".into()];
            let mut consumer =
                GroupConsumer::new(client.clone(), "g", topics, OffsetQuery::Earliest);
            let first = read(&mut consumer, 5, Duration::from_secs(20)).await;
            assert_eq!(first, (0..5).map(Offset).collect::<Vec<_>>(), "{pause_ms} ms");
            delete(&host, "t").await;
            // What was handled of a topic that is gone is committed to nothing.
            consumer.commit().await.unwrap();
            read(&mut consumer, 1, Duration::from_millis(pause_ms)).await;
            host.create("t", 1, &[]).await;
            host.produce("t", 0, 7, 10).await;
            let again = read(&mut consumer, 7, Duration::from_mins(1)).await;
            assert_eq!(again, (0..7).map(Offset).collect::<Vec<_>>(), "{pause_ms} ms");
            consumer.commit().await.unwrap();
            host.produce("t", 0, 1, 10).await;
            assert_eq!(read(&mut consumer, 1, Duration::from_secs(20)).await, [Offset(7)]);
            consumer.leave().await.unwrap();
        });
    }
}

#[test]
fn a_member_that_hears_of_a_new_topic_before_its_metadata_reads_it() {
    Simulation::new(4).run(async {
        let host = Host::start(HostOptions::default()).await;
        host.create("t", 1, &[]).await;
        let client = Client::new(ClientOptions::default());
        client.topic(&"t".into()).await.unwrap();
        // Before the member joins, so that nothing makes the client ask for the topic.
        delete(&host, "t").await;
        host.create("t", 1, &[]).await;
        host.produce("t", 0, 3, 10).await;
        let topics = vec!["t".into()];
        let mut consumer = GroupConsumer::new(client.clone(), "g", topics, OffsetQuery::Earliest);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(read(&mut consumer, 3, Duration::from_mins(1)).await.len(), 3);
    });
}
