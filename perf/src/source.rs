//! `corelog-perf source`: the sink's counterpart for consumers. Every partition holds batches that were made
//! before the first client came, in memory of its own; fetches are answered with slices of it, as many whole
//! batches as fit. No log, no index, no wake-ups: the ceiling that the kernel's TCP and the generator's
//! consumers set. One blocking thread per connection.

use crate::load::batch::{Planned, Press, Writer};
use crate::load::draw::{self, Draw};
use crate::raw::{self, Received};
use crate::settings::{Settings, Sizes};
use crate::stub::{self, Stub};
use bytes::{Bytes, BytesMut};
use corelog::types::{Offset, Timestamp};
use corelog::wire::api::fetch::{FetchPartition, FetchableTopicResponse, PartitionData};
use corelog::wire::api::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use corelog::wire::api::{
    ApiVersionsRequest, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use corelog::wire::batch::assign_offsets;
use corelog::wire::compression::Codec;
use corelog::wire::{
    ApiKey, Decoder, ErrorCode, Records, RequestHeader, WireError, encode_response,
};
use std::io::{self, IoSlice, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Fetch versions that name topics: there are no ids.
const FETCH_VERSION_MAX: i16 = 12;
/// What ListOffsets calls a partition's end.
const LATEST: i64 = -1;
/// Larger batches are no broker's.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Answer every fetch from memory, like a broker without a log: what the kernel allows consumers
///
/// Its partitions hold the same batches, each in memory of its own, so that they are no more in a CPU's cache
/// than a broker's. Read them over and over with `run --existing --producers 0 -c 1 --start again`.
#[derive(clap::Args, Clone, Debug)]
pub struct Source {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9193")]
    listen: SocketAddr,
    /// Partitions that every topic is said to have
    #[arg(short, long, default_value_t = 1)]
    partitions: i32,
    /// Bytes of batches in each partition
    #[arg(long, default_value_t = 16 << 20)]
    bytes: usize,
    /// Bytes of a record's value
    #[arg(short = 's', long, default_value_t = 1024)]
    record_bytes: usize,
    /// Bytes of a batch
    #[arg(long, default_value_t = 65536)]
    batch_bytes: usize,
}

/// Serves until it is killed.
///
/// # Errors
/// The address cannot be listened on, or the sizes are none.
pub fn run(arguments: &Source) -> Result<(), String> {
    let Source { partitions, bytes, record_bytes, batch_bytes, .. } = *arguments;
    let (listener, local) = raw::bind(arguments.listen)?;
    let (host, port) = (local.ip().to_string(), local.port());
    let stock = Stock::new(Stub { host, port, partitions }, bytes, record_bytes, batch_bytes)?;
    raw::serve(&listener, local, "source", move |stream| serve(&stock, stream));
    Ok(())
}

fn serve(stock: &Stock, mut stream: TcpStream) -> Result<(), String> {
    let mut received = Received::default();
    while received.fill(&mut stream)? {
        while let Some(frame) = received.next_frame()? {
            let answer = stock.answer(frame)?;
            if !answer.wait.is_zero() {
                std::thread::sleep(answer.wait);
            }
            write(&mut stream, &answer.pieces).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// All pieces, one after the other, without a copy.
fn write(stream: &mut TcpStream, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let sent = stream.write_vectored(rest)?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, sent);
    }
    Ok(())
}

/// What there is to fetch. Pure: frames in, frames out.
#[derive(Clone)]
pub struct Stock {
    /// Answers all but what is fetched.
    stub: Stub,
    /// By partition, batches of one size, with offsets from 0 on.
    logs: Arc<Vec<Bytes>>,
    batch_bytes: usize,
    batch_records: i64,
}

/// An answer's frame in pieces, and how long it is to be held back: nothing was there to fetch.
pub struct Answer {
    pub pieces: Vec<Bytes>,
    pub wait: Duration,
}

impl Answer {
    fn at_once(frame: Option<Bytes>) -> Answer {
        Answer { pieces: frame.into_iter().collect(), wait: Duration::ZERO }
    }
}

impl Stock {
    /// About `bytes` in each of the stub's partitions, at least one batch.
    ///
    /// # Errors
    /// The size that is none.
    pub fn new(
        stub: Stub,
        bytes: usize,
        record_bytes: usize,
        batch_bytes: usize,
    ) -> Result<Stock, String> {
        if record_bytes > BATCH_BYTES_MAX {
            return Err(format!("record_bytes = {record_bytes}: at most {BATCH_BYTES_MAX}"));
        }
        let settings = Settings {
            record_bytes: Some(Sizes::Fixed(record_bytes)),
            batch_bytes: Some(batch_bytes),
            ..Settings::default()
        };
        let work = settings.check()?;
        let mut draw = Draw::new(&work, draw::Source::new(&work)?, work.seed);
        let mut press = Press::new(&draw, Codec::None, batch_bytes, false, false);
        let count = press.records_max().expect("all records are alike");
        let records = vec![draw.draw(0); count];
        let writer = Writer { run: 0, producer: 0, identity: None };
        let batch = press.press(&records, Planned::Now(0), 0, writer, Timestamp(0)).bytes;
        let batches = (bytes / batch.len()).max(1);
        let mut log = BytesMut::with_capacity(batches * batch.len());
        for number in 0..batches {
            let start = log.len();
            log.extend_from_slice(&batch);
            assign_offsets(&mut log[start..], Offset((number * count) as i64), 0);
        }
        let logs = (0..stub.partitions).map(|_| Bytes::copy_from_slice(&log)).collect();
        let (batch_bytes, batch_records) = (batch.len(), count as i64);
        Ok(Stock { stub, logs: Arc::new(logs), batch_bytes, batch_records })
    }

    /// Answers one request frame (without its length).
    ///
    /// # Errors
    /// What is wrong with it; the connection is to be closed.
    pub fn answer(&self, frame: Bytes) -> Result<Answer, String> {
        let mut decoder = Decoder::new(frame.clone());
        let wrong = |error: WireError| error.to_string();
        let header = RequestHeader::decode(&mut decoder).map_err(wrong)?;
        let (version, id) = (header.api_version, header.correlation_id);
        match header.api_key {
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut decoder, version).map_err(wrong)?;
                Ok(self.fetched(&request, version, id))
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(&mut decoder, version).map_err(wrong)?;
                let response = self.offsets(request);
                let encoder = encode_response::<ListOffsetsRequest>(&response, version, id);
                Ok(Answer::at_once(Some(encoder.out.freeze())))
            }
            ApiKey::ApiVersions if version <= 3 => {
                let mut response = stub::versions();
                response.api_keys.push(stub::range::<FetchRequest>(FETCH_VERSION_MAX));
                response.api_keys.push(stub::range::<ListOffsetsRequest>(i16::MAX));
                let encoder = encode_response::<ApiVersionsRequest>(&response, version, id);
                Ok(Answer::at_once(Some(encoder.out.freeze())))
            }
            _ => self.stub.answer(frame).map(Answer::at_once),
        }
    }

    /// The offset after the last record of each partition.
    fn end(&self) -> i64 {
        let bytes = self.logs.first().map_or(0, Bytes::len);
        (bytes / self.batch_bytes) as i64 * self.batch_records
    }

    fn offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let offset = |timestamp: i64| if timestamp == LATEST { self.end() } else { 0 };
        let topics = request.topics.into_iter().map(|topic| ListOffsetsTopicResponse {
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| ListOffsetsPartitionResponse {
                    partition_index: wanted.partition_index,
                    offset: offset(wanted.timestamp),
                    ..Default::default()
                })
                .collect(),
            name: topic.name,
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn fetched(&self, request: &FetchRequest, version: i16, id: i32) -> Answer {
        let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut records = Vec::new();
        let mut has_failed = false;
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let taken = self.taken(wanted, left, records.is_empty());
                has_failed |= taken.is_err();
                partitions.push(self.data(wanted.partition, taken.as_ref()));
                let taken = taken.unwrap_or_default();
                left = left.saturating_sub(taken.len());
                records.extend(Some(taken).filter(|taken| !taken.is_empty()));
            }
            let (topic, topic_id) = (topic.topic.clone(), topic.topic_id);
            responses.push(FetchableTopicResponse { topic, topic_id, partitions });
        }
        let response = FetchResponse { responses, ..Default::default() };
        let encoder = encode_response::<FetchRequest>(&response, version, id);
        let wait = match records.is_empty() && !has_failed {
            true => Duration::from_millis(request.max_wait_ms.max(0) as u64),
            false => Duration::ZERO,
        };
        Answer { pieces: encoder.into_pieces(records), wait }
    }

    /// Whole batches from the one that holds the offset on, as far as they fit; an answer's first is taken
    /// whatever its size (KIP-74).
    fn taken(
        &self,
        wanted: &FetchPartition,
        left: usize,
        is_first: bool,
    ) -> Result<Bytes, ErrorCode> {
        let log = usize::try_from(wanted.partition).ok().and_then(|at| self.logs.get(at));
        let log = log.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !(0..=self.end()).contains(&wanted.fetch_offset) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let start = (wanted.fetch_offset / self.batch_records) as usize * self.batch_bytes;
        let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left);
        let batches = (limit / self.batch_bytes).max(usize::from(is_first));
        Ok(log.slice(start..log.len().min(start + batches * self.batch_bytes)))
    }

    fn data(&self, partition_index: i32, taken: Result<&Bytes, &ErrorCode>) -> PartitionData {
        let end = self.end();
        let data = PartitionData { partition_index, ..Default::default() };
        match taken {
            Err(error_code) => {
                PartitionData { error_code: *error_code, high_watermark: -1, ..data }
            }
            Ok(taken) => PartitionData {
                high_watermark: end,
                last_stable_offset: end,
                log_start_offset: 0,
                records: Some(Records::External(taken.len())),
                ..data
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelog::wire::api::fetch::FetchTopic;
    use corelog::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
    use corelog::wire::records::batches;
    use corelog::wire::{Request, Str, decode_response, encode_request};

    const BATCHES: i64 = 3;
    const RECORDS: i64 = 8;
    const END: i64 = BATCHES * RECORDS;

    /// Two partitions of three batches of eight records.
    fn stock() -> Stock {
        let stub = Stub { host: "127.0.0.1".to_string(), port: 9, partitions: 2 };
        Stock::new(stub, 3000, 100, 1000).unwrap()
    }

    fn ask<R: Request>(stock: &Stock, request: &R, version: i16) -> (R::Response, Duration) {
        let frame = encode_request(request, version, 5, None).out.freeze();
        let answer = stock.answer(frame.slice(4..)).unwrap();
        let whole: Vec<u8> = answer.pieces.concat();
        let whole = Bytes::from(whole);
        assert_eq!(whole[..4], (whole.len() as u32 - 4).to_be_bytes());
        let (id, response) = decode_response::<R>(whole.slice(4..), version).unwrap();
        assert_eq!(id, 5);
        (response, answer.wait)
    }

    /// Fetches from partitions 0 and 1, and says how many batches came of each and how long they were held back.
    fn fetch(offsets: [i64; 2], bytes: i32, partition_bytes: i32) -> ([usize; 2], u64) {
        let stock = stock();
        let partitions = (0..).zip(offsets).map(|(partition, fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: partition_bytes,
            ..Default::default()
        });
        let topic = FetchTopic {
            topic: Str::from("any"),
            partitions: partitions.collect(),
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            max_bytes: bytes,
            topics: vec![topic],
            ..Default::default()
        };
        let (response, wait) = ask(&stock, &request, FETCH_VERSION_MAX);
        let mut counts = [0; 2];
        let data = response.responses.into_iter().flat_map(|topic| topic.partitions);
        for ((data, count), offset) in data.zip(&mut counts).zip(offsets) {
            assert_eq!((data.error_code, data.high_watermark), (ErrorCode::None, END));
            let Some(Records::Inline(bytes)) = data.records else { panic!("no records at all") };
            let mut expect = offset / RECORDS * RECORDS;
            for batch in batches(bytes) {
                let (header, _) = batch.unwrap();
                assert_eq!(header.base_offset, Offset(expect));
                assert_eq!(i64::from(header.record_count), RECORDS);
                expect += RECORDS;
                *count += 1;
            }
        }
        (counts, wait.as_millis() as u64)
    }

    #[test]
    fn a_fetch_gets_whole_batches_in_order_as_far_as_they_fit() {
        const ALL: i32 = 1 << 20;
        assert_eq!(fetch([0, 0], ALL, ALL), ([3, 3], 0));
        assert_eq!(fetch([RECORDS, END], ALL, ALL), ([2, 0], 0));
        assert_eq!(fetch([RECORDS + 3, 0], ALL, 2000), ([2, 2], 0), "from inside of a batch");
        assert_eq!(fetch([0, 0], 4000, ALL), ([3, 1], 0));
        assert_eq!(fetch([0, 0], 10, ALL), ([1, 0], 0), "the first batch, whatever its size");
        assert_eq!(fetch([END, 0], 10, 10), ([0, 1], 0));
        assert_eq!(fetch([END, END], ALL, ALL), ([0, 0], 500), "nothing is there: it waits");
    }

    #[test]
    fn a_fetch_from_elsewhere_is_refused_at_once() {
        let check = |partition, fetch_offset, expect| {
            let wanted = FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1000,
                ..Default::default()
            };
            let topic = FetchTopic { partitions: vec![wanted], ..Default::default() };
            let request =
                FetchRequest { max_wait_ms: 500, topics: vec![topic], ..Default::default() };
            let (response, wait) = ask(&stock(), &request, FETCH_VERSION_MAX);
            assert_eq!(response.responses[0].partitions[0].error_code, expect);
            assert_eq!(wait, Duration::ZERO);
        };
        check(2, 0, ErrorCode::UnknownTopicOrPartition);
        check(-1, 0, ErrorCode::UnknownTopicOrPartition);
        check(1, END + 1, ErrorCode::OffsetOutOfRange);
        check(0, -1, ErrorCode::OffsetOutOfRange);
    }

    #[test]
    fn a_client_learns_what_it_needs_to_fetch() {
        let stock = stock();
        let (versions, _) = ask(&stock, &ApiVersionsRequest::default(), 3);
        let max = |key: ApiKey| {
            let found = versions.api_keys.iter().find(|api| api.api_key == key.to_i16());
            found.map(|api| api.max_version)
        };
        assert_eq!(max(ApiKey::Fetch), Some(FETCH_VERSION_MAX));
        assert!(max(ApiKey::ListOffsets).is_some() && max(ApiKey::Metadata).is_some());
        for (timestamp, expect) in [(LATEST, END), (-2, 0)] {
            let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
            let topics = vec![ListOffsetsTopic { name: Str::from("any"), partitions }];
            let request = ListOffsetsRequest { topics, ..Default::default() };
            let (response, _) = ask(&stock, &request, 7);
            assert_eq!(response.topics[0].partitions[0].offset, expect);
        }
    }
}
