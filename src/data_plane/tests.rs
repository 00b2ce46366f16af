//! Fetches, and batches that are refused, as clients make them, in the simulation.

use crate::config::Config;
use crate::net::harness::{
    Host, HostOptions, fetch_request, partitions_of, produce_request, record_bytes_of,
};
use crate::runtime::sim::{DiskOptions, Simulation, disk, for_each_seed};
use crate::runtime::{now, random_u64, sleep, spawn, timeout, wall_clock};
use crate::types::Timestamp;
use crate::wire::api::FetchRequest;
use crate::wire::api::fetch::PartitionData;
use crate::wire::api::produce::{PartitionProduceResponse, ProduceRequest};
use crate::wire::batch::BatchHeader;
use crate::wire::compression::Codec;
use crate::wire::records::{BatchBuilder, ProducerSequence};
use crate::wire::{ErrorCode, Records};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

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

/// A host whose records are read from the disk, but for each partition's last.
fn cold() -> HostOptions {
    HostOptions { tail_cache_bytes: 1, ..HostOptions::default() }
}

const SMALL_SEGMENTS: &[(&str, &str)] = &[("segment.bytes", "1048576")];

fn waiting(min_bytes: i32, max_bytes: i32, request: FetchRequest) -> FetchRequest {
    FetchRequest { max_wait_ms: 10_000, min_bytes, max_bytes, ..request }
}

#[test]
fn what_is_there_is_not_waited_for_though_it_takes_several_reads() {
    run(cold(), async |host| {
        host.create("t", 1, SMALL_SEGMENTS).await;
        host.produce("t", 0, 12, 400_000).await;
        let mut client = host.client(0).await;
        for min_bytes in [1, 500_000, 1_000_000, 4_000_000] {
            let before = now();
            let request = waiting(min_bytes, i32::MAX, fetch_request("t", &[(0, 0)]));
            let answer = client.call(12, &request).await;
            let bytes = record_bytes_of(partitions_of(&answer)[0]);
            assert!(bytes >= min_bytes as usize && bytes < min_bytes as usize + (2 << 20));
            assert!(now().since(before) < SECOND, "{min_bytes}: {:?}", now().since(before));
        }
        let before = now();
        let request = waiting(i32::MAX, i32::MAX, fetch_request("t", &[(0, 0)]));
        let answer = client.call(12, &request).await;
        assert!(record_bytes_of(partitions_of(&answer)[0]) > 12 * 400_000);
        assert!(now().since(before) > 9 * SECOND, "there is no more");
    });
}

#[test]
fn more_than_an_answer_may_hold_is_not_waited_for() {
    run(HostOptions::default(), async |host| {
        host.create("t", 2, &[]).await;
        host.produce("t", 0, 12, 300).await;
        let mut client = host.client(0).await;
        let mut limited = fetch_request("t", &[(0, 0), (1, 0)]);
        limited.topics[0].partitions[0].partition_max_bytes = 1000;
        let requests = [
            waiting(10_000, 1000, fetch_request("t", &[(0, 0), (1, 0)])),
            waiting(1000, 1000, fetch_request("t", &[(0, 0), (1, 0)])),
            // No more whole batches fit, though some bytes would.
            waiting(1000, 10_000, limited),
        ];
        for request in requests {
            let before = now();
            let answer = client.call(12, &request).await;
            let bytes = record_bytes_of(partitions_of(&answer)[0]);
            assert!(bytes > 700 && bytes <= 1000, "{bytes}");
            assert!(now().since(before) < SECOND, "{:?}", now().since(before));
        }
    });
}

#[test]
fn what_was_read_is_not_read_again_whenever_something_comes() {
    run(cold(), async |host| {
        let host = Rc::new(host);
        host.create("t", 2, SMALL_SEGMENTS).await;
        host.produce("t", 0, 2, 400_000).await;
        let mut client = host.client(0).await;
        let request = waiting(820_000, i32::MAX, fetch_request("t", &[(0, 0), (1, 0)]));
        let read_bytes = || host.servers[0].shard.probe.disk_read_bytes.get();
        let before = read_bytes();
        let producer = spawn({
            let host = host.clone();
            async move {
                let mut client = host.client(0).await;
                for _ in 0..30 {
                    sleep(SECOND / 100).await;
                    client.produce("t", 1, 1000).await.unwrap();
                }
            }
        });
        let answer = client.call(12, &request).await;
        let bytes: usize = partitions_of(&answer).into_iter().map(record_bytes_of).sum();
        assert!(bytes >= 820_000);
        // Once to see how much there is, and once to answer with it.
        let read = read_bytes() - before;
        assert!(read < 3 * 820_000, "{read}");
        producer.await;
    });
}

#[test]
fn a_full_disk_does_not_keep_a_waiting_fetch_busy_for_ever() {
    run(HostOptions::default(), async |host| {
        host.create("t", 1, &[]).await;
        host.produce("t", 0, 1, 10).await;
        let full = DiskOptions { capacity: disk().used_bytes(), ..disk().options() };
        disk().set_options(full);
        let mut producer = host.client(0).await;
        let refused = producer.call(9, &produce_request("t", 0, 900_000)).await;
        let code = refused.responses[0].partition_responses[0].error_code;
        assert_ne!(code, ErrorCode::None);
        let request =
            FetchRequest { max_wait_ms: 20, min_bytes: 1, ..fetch_request("t", &[(0, 1)]) };
        let answer = timeout(SECOND, host.client(0).await.call(12, &request)).await;
        assert_eq!(partitions_of(&answer.expect("in time")).len(), 1);
    });
}

#[test]
fn files_of_several_partitions_are_read_side_by_side() {
    run(cold(), async |host| {
        let partitions: Vec<(i32, i64)> = (0..9).map(|index| (index, 0)).collect();
        host.create("t", 9, &[]).await;
        for (index, _) in &partitions {
            host.produce("t", *index, 2, 100_000).await;
        }
        let mut client = host.client(0).await;
        let latency = SECOND..SECOND + SECOND / 100;
        let mut request = waiting(1, i32::MAX, fetch_request("t", &partitions));
        request.topics[0].partitions.iter_mut().for_each(|p| p.partition_max_bytes = 110_000);
        // The files are opened by then.
        client.call(12, &request).await;
        disk().set_options(DiskOptions { latency, ..disk().options() });
        let before = now();
        let answer = client.call(12, &request).await;
        let bytes: Vec<usize> = partitions_of(&answer).into_iter().map(record_bytes_of).collect();
        assert!(bytes.iter().all(|bytes| *bytes > 100_000), "{bytes:?}");
        // The first alone, then four and four.
        let reads = now().since(before).as_secs_f64();
        assert!((3.0..3.5).contains(&reads), "{reads}");
    });
}

/// The offsets of an answer's batches, which follow each other.
fn offsets_of(data: &PartitionData) -> std::ops::Range<i64> {
    let Some(Records::Inline(bytes)) = &data.records else { return 0..0 };
    let (mut at, mut offsets) = (0, None);
    while at < bytes.len() {
        let header = BatchHeader::parse(&bytes[at..]).unwrap();
        let (first, end) = offsets.unwrap_or((header.base_offset.0, header.base_offset.0));
        assert_eq!(header.base_offset.0, end);
        offsets = Some((first, header.next_offset().0));
        at += header.batch_bytes;
    }
    offsets.map_or(0..0, |(first, end)| first..end)
}

#[test]
fn answers_are_whole_and_in_their_limits_whatever_is_asked_of_however_many_cores() {
    for_each_seed(40, |seed| {
        Simulation::new(seed).run(async {
            let below = |bound: u64| random_u64() % bound;
            let mut config = Config::default();
            config.log.segment_bytes = 20_000;
            let (shards, tail_cache_bytes) = (1 + below(3) as u16, 1 << below(20));
            let options =
                HostOptions { shards, config, tail_cache_bytes, ..HostOptions::default() };
            let host = Host::start(options).await;
            host.create("t", 4, &[]).await;
            let mut ends = [0i64; 4];
            for _ in 0..8 {
                let (index, batches) = (below(4) as usize, 1 + below(12) as usize);
                host.produce("t", index as i32, batches, 1 + below(9000) as usize).await;
                ends[index] += batches as i64;
            }
            let mut client = host.client(below(2) as usize % host.servers.len()).await;
            for _ in 0..10 {
                let wanted: Vec<(i32, i64)> = (0..4)
                    .map(|index| (index as i32, below(ends[index] as u64 + 1) as i64))
                    .collect();
                let mut request = fetch_request("t", &wanted);
                request.max_wait_ms = 100;
                request.min_bytes = below(40_000) as i32;
                request.max_bytes = below(60_000) as i32;
                let limit = below(30_000) as i32;
                request.topics[0].partitions.iter_mut().for_each(|p| p.partition_max_bytes = limit);
                let answer = client.call(12, &request).await;
                let mut bytes = Vec::new();
                for (data, (index, from)) in partitions_of(&answer).into_iter().zip(&wanted) {
                    assert_eq!(data.error_code, ErrorCode::None);
                    assert_eq!(
                        (data.partition_index, data.high_watermark),
                        (*index, ends[*index as usize])
                    );
                    let offsets = offsets_of(data);
                    assert!(offsets.is_empty() || offsets.start == *from);
                    bytes.push(record_bytes_of(data));
                }
                let total: usize = bytes.iter().sum();
                let mut filled = bytes.iter().filter(|bytes| **bytes > 0);
                let first = filled.next().copied().unwrap_or(0);
                let rest: Vec<_> = filled.collect();
                assert!(rest.iter().all(|bytes| **bytes <= limit as usize));
                assert!(rest.is_empty() || total <= request.max_bytes as usize);
                let is_one_batch = first < 2 * 9100;
                assert!(is_one_batch || first <= (limit as usize).min(request.max_bytes as usize));
                let is_some = wanted.iter().any(|(index, from)| *from < ends[*index as usize]);
                assert_eq!(total > 0, is_some);
            }
        });
    });
}

/// A produce request with one batch for a partition.
fn request_of(topic: &str, index: i32, batch: BatchBuilder) -> ProduceRequest {
    let mut request = produce_request(topic, index, 1);
    let records = Records::Inline(batch.build(ProducerSequence::NONE));
    request.topic_data[0].partition_data[0].records = Some(records);
    request
}

/// The places of records that an answer names, with its message.
fn named(answer: &PartitionProduceResponse) -> (Vec<i32>, &str) {
    let places = answer.record_errors.iter().map(|one| one.batch_index).collect();
    (places, answer.error_message.as_deref().unwrap_or_default())
}

#[test]
fn records_at_fault_are_named_on_whichever_core_their_partition_is() {
    run(HostOptions { shards: 2, ..HostOptions::default() }, async |host| {
        host.create("c", 4, &[("cleanup.policy", "compact")]).await;
        let owners: BTreeSet<usize> = (0..4).map(|index| host.owner("c", index)).collect();
        assert_eq!(owners.len(), 2);
        let mut client = host.client(0).await;
        for index in 0..4 {
            let mut batch = BatchBuilder::new(Codec::None);
            batch.push(wall_clock(), Some(b"k"), Some(b"v"), &[]);
            batch.push(wall_clock(), None, Some(b"v"), &[]);
            let answer = client.call(9, &request_of("c", index, batch)).await;
            let answer = &answer.responses[0].partition_responses[0];
            assert_eq!((answer.error_code, answer.log_start_offset), (ErrorCode::InvalidRecord, 0));
            let fault = format!(
                "Compacted topic cannot accept message without key in topic partition c-{index}"
            );
            let text = format!(
                "One or more records have been rejected due to 1 record errors in total, and only \
                 showing the first three errors at most: \
                 [RecordError(batchIndex=1, message='{fault}')]"
            );
            assert_eq!(named(answer), (vec![1], &*text));
            let told = answer.record_errors[0].batch_index_error_message.as_deref();
            assert_eq!(told, Some(&*fault));
        }
    });
}

#[test]
fn records_whose_time_is_out_of_range_are_named_by_name_and_by_id() {
    run(HostOptions::default(), async |host| {
        host.create("t", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
        let topic = host.servers[0].shard.image().topic("t").unwrap().clone();
        let mut client = host.client(0).await;
        for (version, codec) in [(9, Codec::None), (13, Codec::None), (13, Codec::Gzip)] {
            let mut batch = BatchBuilder::new(codec);
            for behind in [2000, 0, 2000] {
                batch.push(Timestamp(wall_clock().0 - behind), None, Some(b"v"), &[]);
            }
            let mut request = request_of("t", 0, batch);
            request.topic_data[0].topic_id = topic.id;
            let answer = client.call(version, &request).await;
            let answer = &answer.responses[0].partition_responses[0];
            assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp);
            let text = "One or more records have been rejected due to invalid timestamp";
            assert_eq!(named(answer), (vec![0, 2], text), "{version} {codec}");
        }
        // Nothing of them was stored.
        let mut sound = BatchBuilder::new(Codec::None);
        sound.push(wall_clock(), None, Some(b"v"), &[]);
        let answer = client.call(9, &request_of("t", 0, sound)).await;
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, 0));
        assert_eq!(named(answer), (vec![], ""));
    });
}

#[test]
fn an_old_client_is_told_the_code_alone() {
    run(HostOptions::default(), async |host| {
        host.create("c", 1, &[("cleanup.policy", "compact")]).await;
        let answer = host.client(0).await.call(7, &produce_request("c", 0, 10)).await;
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, ErrorCode::InvalidRecord);
        assert_eq!(named(answer), (vec![], ""));
    });
}
