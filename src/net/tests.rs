//! Connections of good and of bad clients, in the simulation.

use super::harness::{
    Client, Host, HostOptions, fetch_request, partitions_of, produce_request, record_bytes_of,
};
use crate::limits::{FRAME_BYTES_MAX, FRAME_STILL_MAX, STILL_MAX_WHEN_SCARCE};
use crate::log::LogOptions;
use crate::runtime::sim::{
    NetworkOptions, Simulation, SimulationOptions, for_each_seed, stall_core,
};
use crate::runtime::{now, sleep, timeout};
use crate::shard::control::{ConfigsChange, ControlReply, ControlRequest};
use crate::shard::image::BrokerScope;
use crate::wire::api::FetchRequest;
use crate::wire::encode_request;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MEBI: usize = 1 << 20;

/// A network that is not what the test is about: large requests take few steps.
fn simulation(seed: u64) -> Simulation {
    let network = NetworkOptions {
        buffer_bytes: 4 * MEBI,
        partial_probability: 0.05,
        ..NetworkOptions::default()
    };
    Simulation::with_options(seed, SimulationOptions { network, ..SimulationOptions::default() })
}

/// A client that announces a request of `length` bytes and sends `bytes` of it.
async fn announce(host: &Host, length: usize, bytes: usize) -> Client {
    let client = host.client(0).await;
    let mut start = (length as i32).to_be_bytes().to_vec();
    start.extend_from_slice(&encode_request(&produce_request("t", 0, 10), 9, 7, None).out[4..]);
    start.resize(4 + bytes, 0);
    client.send(&start).await.unwrap();
    client
}

async fn host_with(receive_bytes_max: usize) -> Host {
    let host = Host::start(HostOptions { receive_bytes_max, ..HostOptions::default() }).await;
    host.create("t", 1, &[("max.message.bytes", "10000000")]).await;
    host
}

async fn is_closed(client: &mut Client) -> bool {
    matches!(timeout(SECOND / 10, client.receive()).await, Some(Err(_)))
}

#[test]
fn as_many_connections_are_let_in_as_is_set_while_the_broker_runs() {
    Simulation::new(1).run(async {
        let host = Host::start(HostOptions::default()).await;
        let allow = async |count: &str| {
            let set = [("max.connections".to_string(), count.to_string())];
            let change = ConfigsChange::Replace(set.into());
            let request = ControlRequest::AlterBrokerConfigs { scope: BrokerScope::All, change };
            let reply = host.servers[0].shard.control(request).await;
            assert_eq!(reply, ControlReply::AlterBrokerConfigs(Ok(())));
        };
        let mut first = host.client(0).await;
        assert!(!is_closed(&mut first).await);
        allow("1").await;
        assert!(is_closed(&mut host.client(0).await).await);
        assert!(!is_closed(&mut first).await, "who is in stays");
        allow("2").await;
        assert!(!is_closed(&mut host.client(0).await).await);
    });
}

#[test]
fn lengths_that_are_announced_and_not_sent_hold_no_memory() {
    for_each_seed(5, |seed| {
        simulation(seed).run(async {
            let host = host_with(10 * MEBI).await;
            let mut attackers = Vec::new();
            for bytes in (0..100).map(|number| number * 100) {
                attackers.push(announce(&host, FRAME_BYTES_MAX, bytes).await);
            }
            sleep(SECOND).await;
            assert_eq!(host.servers[0].budget.used(), 0);
            let before = now();
            host.produce("t", 0, 3, 5_000_000).await;
            assert!(now().since(before) < SECOND, "{:?}", now().since(before));
        });
    });
}

#[test]
fn a_request_is_served_though_others_hold_all_memory_and_send_no_more() {
    for_each_seed(5, |seed| {
        simulation(seed).run(async {
            let limit = 10 * MEBI;
            let host = host_with(limit).await;
            let mut attackers = Vec::new();
            for bytes in (0..30).map(|number| 20_000 + number * 1000) {
                attackers.push(announce(&host, FRAME_BYTES_MAX, bytes).await);
            }
            sleep(SECOND / 10).await;
            let used = || host.servers[0].budget.used();
            assert!(used() > limit - MEBI && used() <= limit + FRAME_BYTES_MAX, "{}", used());
            let before = now();
            host.produce("t", 0, 1, 5_000_000).await;
            let took = now().since(before);
            assert!(took < 4 * STILL_MAX_WHEN_SCARCE, "{took:?}");
            assert!(is_closed(&mut attackers[0]).await);
        });
    });
}

#[test]
fn frames_that_hold_a_part_each_do_not_wait_for_each_other() {
    for_each_seed(10, |seed| {
        simulation(seed).run(async {
            let limit = 4 * MEBI;
            let host = std::rc::Rc::new(host_with(limit).await);
            let mut tasks = Vec::new();
            for _ in 0..8 {
                let host = host.clone();
                tasks.push(crate::runtime::spawn(async move {
                    host.client(0).await.produce("t", 0, 3_000_000).await.unwrap();
                }));
            }
            let before = now();
            for task in tasks {
                task.await;
            }
            assert!(now().since(before) < SECOND, "{:?}", now().since(before));
            assert_eq!(host.servers[0].budget.used(), 0);
        });
    });
}

#[test]
fn a_request_that_comes_slowly_is_served_and_one_that_stands_still_is_closed() {
    for_each_seed(3, |seed| {
        simulation(seed).run(async {
            let host = host_with(4 * MEBI).await;
            let request = encode_request(&produce_request("t", 0, 100_000), 9, 7, None).out;
            let mut slow = host.client(0).await;
            for piece in request.chunks(10_000) {
                slow.send(piece).await.unwrap();
                sleep(FRAME_STILL_MAX - 2 * SECOND).await;
            }
            slow.receive().await.expect("an answer");
            let mut still = announce(&host, 100_000, 99_000).await;
            sleep(FRAME_STILL_MAX - SECOND).await;
            assert!(!is_closed(&mut still).await);
            sleep(3 * SECOND).await;
            assert!(is_closed(&mut still).await);
            assert_eq!(host.servers[0].budget.used(), 0);
        });
    });
}

#[test]
fn a_large_request_behind_a_fetch_that_waits_holds_no_memory() {
    simulation(1).run(async {
        let host = host_with(4 * MEBI).await;
        let fetch =
            FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch_request("t", &[(0, 0)]) };
        let mut client = host.client(0).await;
        client.send(&encode_request(&fetch, 12, 1, None).out).await.unwrap();
        sleep(SECOND).await;
        let produce = encode_request(&produce_request("t", 0, 900_000), 9, 2, None).out;
        client.send(&produce).await.unwrap();
        sleep(SECOND).await;
        assert_eq!(host.servers[0].budget.used(), 0);
        host.produce("t", 0, 1, 10).await;
        assert!(timeout(SECOND, client.receive()).await.is_some());
        assert!(timeout(SECOND, client.receive()).await.is_some());
    });
}

/// A host whose answers come from the disk, and fetches of some 8 MB in all.
async fn host_with_answers(answer_bytes_max: usize) -> (Host, FetchRequest) {
    let options = HostOptions { answer_bytes_max, tail_cache_bytes: 1, ..HostOptions::default() };
    let host = Host::start(options).await;
    host.create("t", 4, &[]).await;
    for index in 0..4 {
        host.produce("t", index, 3, 900_000).await;
    }
    (host, fetch_request("t", &[(0, 0), (1, 0), (2, 0), (3, 0)]))
}

#[test]
fn who_does_not_read_answers_takes_no_more_memory_than_there_is_and_not_for_long() {
    for_each_seed(3, |seed| {
        Simulation::new(seed).run(async {
            let limit = 12 * MEBI;
            let (host, fetch) = host_with_answers(limit).await;
            let used = || host.servers[0].services.answers.used();
            let ask = encode_request(&fetch, 12, 1, None).out;
            let mut attackers = Vec::new();
            for _ in 0..40 {
                let client = host.client(0).await;
                for _ in 0..3 {
                    client.send(&ask).await.unwrap();
                }
                attackers.push(client);
                sleep(SECOND / 100).await;
                assert!(used() <= limit, "{}", used());
            }
            assert!(used() > limit / 2, "{}", used());
            let before = now();
            let answer = host.client(0).await.call(12, &fetch).await;
            assert!(record_bytes_of(partitions_of(&answer)[0]) > 0);
            // Each time that they stand still, as many as there is memory for are closed.
            assert!(now().since(before) < 10 * STILL_MAX_WHEN_SCARCE, "{:?}", now().since(before));
            sleep(10 * STILL_MAX_WHEN_SCARCE).await;
            assert!(!host.servers[0].services.answers.is_scarce());
            assert!(host.servers[0].connection_count() < 20);
        });
    });
}

#[test]
fn who_reads_slowly_is_served_and_who_reads_nothing_is_closed_when_idle() {
    Simulation::new(1).run(async {
        let (host, fetch) = host_with_answers(64 * MEBI).await;
        let idle_max = host.servers[0].config.connection_idle_ms_max;
        let ask = encode_request(&fetch, 12, 1, None).out;
        let (mut slow, still) = (host.client(0).await, host.client(0).await);
        for client in [&slow, &still] {
            client.send(&ask).await.unwrap();
            client.send(&ask).await.unwrap();
        }
        sleep(idle_max - SECOND).await;
        slow.receive().await.unwrap();
        assert_eq!(host.servers[0].connection_count(), 2);
        sleep(3 * SECOND).await;
        assert_eq!(host.servers[0].connection_count(), 1);
        slow.receive().await.unwrap();
        assert_eq!(host.servers[0].services.answers.used(), 0);
    });
}

#[test]
fn a_client_that_leaves_while_it_waits_for_memory_makes_way() {
    for_each_seed(5, |seed| {
        simulation(seed).run(async {
            let host = host_with(MEBI).await;
            let holders = [
                announce(&host, 10 * MEBI, 20_000).await,
                announce(&host, 10 * MEBI, 20_000).await,
            ];
            sleep(SECOND / 10).await;
            let waiting = announce(&host, 10 * MEBI, 20_000).await;
            sleep(SECOND / 10).await;
            drop(waiting);
            drop(holders);
            host.produce("t", 0, 1, 900_000).await;
            sleep(SECOND).await;
            assert_eq!(host.servers[0].budget.used(), 0);
        });
    });
}

#[test]
fn batches_for_a_core_that_stands_still_are_taken_up_to_the_bound_of_the_one_they_come_by() {
    const BATCHES: usize = 100;
    for_each_seed(5, |seed| {
        simulation(seed).run(async {
            let options = HostOptions { shards: 2, ..HostOptions::default() };
            let log = LogOptions { pending_bytes_max: 30_000, ..LogOptions::new("/data".into()) };
            let host = Host::start_with(options, log).await.unwrap();
            host.create("t", 1, &[]).await;
            let owner = host.owner("t", 0);
            let mut client = host.client(1 - owner).await;
            stall_core(owner as u16, SECOND);
            let request = encode_request(&produce_request("t", 0, 10_000), 9, 7, None).out;
            client.send(&request.repeat(BATCHES)).await.unwrap();
            sleep(SECOND / 2).await;
            let pending = |shard: usize| host.servers[shard].shard.log.pending_bytes();
            assert!((30_000..42_000).contains(&pending(1 - owner)), "{}", pending(1 - owner));
            for _ in 0..BATCHES {
                client.receive().await.unwrap();
            }
            assert_eq!((pending(0), pending(1)), (0, 0));
        });
    });
}
