//! Requests as bytes, made once and sent many times.

use bytes::{Bytes, BytesMut};
use corelog::wire::api::fetch::{FetchPartition, FetchTopic};
use corelog::wire::api::metadata::MetadataRequestTopic;
use corelog::wire::api::produce::{PartitionProduceData, TopicProduceData};
use corelog::wire::api::{FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest};
use corelog::wire::{Records, batch, decode_response, encode_request};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

pub const PRODUCE_VERSION: i16 = 9;
pub const FETCH_VERSION: i16 = 11;
const METADATA_VERSION: i16 = 9;

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// A batch of records of `record_bytes` each, about `batch_bytes` in all, and the number of records.
pub fn batch_of(record_bytes: usize, batch_bytes: usize) -> (Bytes, u64) {
    let count = (batch_bytes / (record_bytes + 8)).max(1);
    let mut out = vec![0u8; 61];
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for index in 0..count {
        let mut record = vec![0u8];
        put_varint(&mut record, 0);
        put_varint(&mut record, index as i64);
        put_varint(&mut record, -1);
        put_varint(&mut record, record_bytes as i64);
        for _ in 0..record_bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            record.push(seed as u8);
        }
        put_varint(&mut record, 0);
        put_varint(&mut out, record.len() as i64);
        out.extend_from_slice(&record);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_millis() as i64);
    let length = (out.len() - 12) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    out[16] = 2;
    out[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    out[27..35].copy_from_slice(&now.to_be_bytes());
    out[35..43].copy_from_slice(&now.to_be_bytes());
    out[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    out[51..53].copy_from_slice(&(-1i16).to_be_bytes());
    out[53..57].copy_from_slice(&(-1i32).to_be_bytes());
    out[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    let crc = batch::checksum(&out);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    (Bytes::from(out), count as u64)
}

/// A produce request with the same batch for each of these partitions.
pub fn produce(topic: &str, partitions: &[i32], batch: &Bytes) -> Bytes {
    let partition_data = partitions
        .iter()
        .map(|index| PartitionProduceData {
            index: *index,
            records: Some(Records::Inline(batch.clone())),
        })
        .collect();
    let data = TopicProduceData { name: topic.into(), partition_data, ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![data],
        ..Default::default()
    };
    encode_request(&request, PRODUCE_VERSION, 1, Some("corelog-perf".into())).out.freeze()
}

/// A fetch of partitions from the offsets beside them.
pub fn fetch(topic: &str, partitions: &[(i32, i64)]) -> Bytes {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| FetchPartition {
            partition: *index,
            fetch_offset: *offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        })
        .collect();
    let topic = FetchTopic { topic: topic.into(), partitions, ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    encode_request(&request, FETCH_VERSION, 1, Some("corelog-perf".into())).out.freeze()
}

/// Reads one frame, without its length.
pub fn read_frame(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut length = [0u8; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
    let mut frame = BytesMut::zeroed(length.min(1 << 30));
    stream.read_exact(&mut frame)?;
    Ok(frame.freeze())
}

/// Which partitions each broker leads.
pub fn leaders(bootstrap: SocketAddr, topic: &str) -> io::Result<BTreeMap<SocketAddr, Vec<i32>>> {
    let mut stream = TcpStream::connect(bootstrap)?;
    let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
    let frame = encode_request(&request, METADATA_VERSION, 1, None).out;
    stream.write_all(&frame)?;
    let answer = read_frame(&mut stream)?;
    let (_, metadata): (i32, MetadataResponse) =
        decode_response::<MetadataRequest>(answer, METADATA_VERSION)
            .map_err(|error| io::Error::other(error.to_string()))?;
    let mut leaders: BTreeMap<SocketAddr, Vec<i32>> = BTreeMap::new();
    for partition in metadata.topics.iter().flat_map(|topic| &topic.partitions) {
        let broker = metadata.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
        let broker = broker.ok_or_else(|| io::Error::other("a partition without a leader"))?;
        let mut addresses = (broker.host.as_str(), broker.port as u16).to_socket_addrs()?;
        let address =
            addresses.next().ok_or_else(|| io::Error::other("a broker without address"))?;
        leaders.entry(address).or_default().push(partition.partition_index);
    }
    if leaders.is_empty() {
        return Err(io::Error::other(format!("topic {topic} has no partitions here")));
    }
    Ok(leaders)
}
