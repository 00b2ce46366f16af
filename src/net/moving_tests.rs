//! The client's producer and fetcher against a broker of two cores while a partition moves, over connections of the
//! simulated network.

use super::harness::{Host, HostOptions};
use crate::client::{
    Client, ClientOptions, Fetcher, FetcherOptions, Message, Producer, ProducerOptions,
    TopicPartition,
};
use crate::runtime::sim::{Simulation, for_each_seed};
use crate::runtime::{now, sleep, spawn};
use crate::shard::control::{ControlReply, ControlRequest};
use crate::types::{Offset, ShardId};
use crate::wire::{ApiKey, Str};
use bytes::Bytes;
use std::time::Duration;

const RECORDS: i64 = 500;

/// How often clients asked this host for metadata.
fn asked_for_metadata(host: &Host) -> u64 {
    let key = ApiKey::Metadata.to_i16();
    host.servers.iter().map(|server| server.shard.probe.apis.of(key).requests.get()).sum()
}

#[test]
fn a_producer_and_a_fetcher_follow_a_partition_that_moves_and_ask_for_no_metadata() {
    for_each_seed(10, |seed| {
        Simulation::new(seed).run(async {
            let host = Host::start(HostOptions { shards: 2, ..HostOptions::default() }).await;
            host.create("t", 1, &[]).await;
            let from = host.owner("t", 0);
            let client = Client::new(ClientOptions::default());
            let options = ProducerOptions { linger: Duration::ZERO, ..Default::default() };
            let producer = Producer::new(client.clone(), options).unwrap();
            let topic = Str::from("t");
            let value = Some(Bytes::from_static(b"v"));
            let message = Message { partition: Some(0), value, ..Default::default() };
            producer.send(&topic, &message).await.unwrap().await.unwrap();
            let mut fetcher = Fetcher::new(client.clone(), FetcherOptions::default());
            let partition = TopicPartition { topic: topic.clone(), partition: 0 };
            fetcher.assign(partition, Offset::ZERO);
            let reader = spawn(async move {
                let mut next = Offset::ZERO;
                while next < Offset(RECORDS) {
                    for (header, _) in fetcher.next().await.unwrap().batches {
                        assert_eq!(header.base_offset, next);
                        next = header.next_offset();
                    }
                }
            });
            let asked_before = asked_for_metadata(&host);
            let topic_id = host.servers[0].shard.image().topic("t").unwrap().id;
            let to = ShardId(1 - from as u16);
            let request = ControlRequest::MovePartition { topic_id, index: 0, to };
            let controller = host.servers[0].shard.clone();
            let moving = spawn(async move {
                sleep(Duration::from_millis(5)).await;
                controller.control(request).await
            });
            let mut longest = Duration::ZERO;
            for _ in 1..RECORDS {
                let sent_at = now();
                producer.send(&topic, &message).await.unwrap().await.unwrap();
                longest = longest.max(now().since(sent_at));
            }
            assert_eq!(moving.await, ControlReply::MovePartition(Ok(())));
            reader.await;
            let leader = host.servers[0].shard.endpoints().unwrap().broker_of(to);
            assert_eq!(client.leader("t", 0), Some(leader));
            assert_eq!(asked_for_metadata(&host), asked_before);
            let pause = ClientOptions::default().retry_pause;
            assert!(longest < pause, "{longest:?}: it paused before it went on");
        });
    });
}
