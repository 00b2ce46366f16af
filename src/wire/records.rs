//! The records in a v2 batch (KIP-98): taken apart, and put together. Pure.
//!
//! For clients, tools and the broker's cold paths; a produced batch is stored as it came, and only
//! `wire::batch` looks at it. One record, every number a zigzag varint:
//!
//! ```text
//! length of the rest | attributes i8 = 0 | timestamp delta | offset delta
//! | key length, -1: null | key | value length, -1: null | value
//! | header count | { name length | name | value length, -1: null | value }
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{self, BatchError, BatchHeader};
use super::compression::{self, Codec, CompressionError};
use super::decoder::{Decoder, Fault, WireError};
use super::encoder::Encoder;
use crate::limits::{BATCH_HEADER_BYTES, DECOMPRESSED_BYTES_MAX};
use crate::types::{Offset, Timestamp};

/// A record; what it holds are slices of the batch, or of what that decompressed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// A record's headers, as they lie in it: a header of two bytes costs no more here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    count: usize,
    bytes: Bytes,
}

impl Headers {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header> {
        let mut d = Decoder::new(self.bytes.clone());
        (0..self.count).map(move |_| read_header(&mut d).expect("the headers were walked before"))
    }
}

/// Kafka's clients write names in UTF-8; nothing checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: Bytes,
    pub value: Option<Bytes>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("record {index}: {fault}")]
    Record { index: usize, fault: WireError },
    #[error("{0} bytes remain after the last record")]
    Remainder(usize),
}

/// The batches that lie one after the other in `bytes`, checksums checked. What is cut off at the end, as a
/// fetch may cut it, is no batch and no error.
pub fn batches(bytes: Bytes) -> impl Iterator<Item = Result<(BatchHeader, Bytes), BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || match batch::parse_whole(&rest) {
        Ok(header) => Some(Ok((header, rest.split_to(header.batch_bytes)))),
        Err(BatchError::Truncated { .. }) => None,
        Err(error) => {
            rest.clear();
            Some(Err(error))
        }
    })
}

/// The records of one whole batch, whose header `batch::parse_whole` read.
///
/// # Errors
/// When it cannot be decompressed. What is wrong with a record comes in its turn, and ends the iteration.
pub fn records(header: &BatchHeader, batch: &Bytes) -> Result<RecordIterator, RecordsError> {
    let (codec, body) = body_of(header, batch)?;
    let body = compression::decompress(codec, &body, DECOMPRESSED_BYTES_MAX)?;
    iterate(header, body)
}

/// The first records of such a batch, from `limit` decompressed bytes at most, and whether that is all of it.
/// Where it is not, the iteration may end with a record that is cut.
///
/// # Errors
/// As `records`.
pub fn first_records(
    header: &BatchHeader,
    batch: &Bytes,
    limit: usize,
) -> Result<FirstRecords, RecordsError> {
    let (codec, body) = body_of(header, batch)?;
    let (body, is_all) = compression::decompress_start(codec, &body, limit)?;
    let bytes = body.len();
    Ok(FirstRecords { records: iterate(header, body)?, is_all, bytes })
}

/// What `first_records` found.
#[derive(Debug)]
pub struct FirstRecords {
    pub records: RecordIterator,
    pub is_all: bool,
    /// What was decompressed.
    pub bytes: usize,
}

fn body_of(header: &BatchHeader, batch: &Bytes) -> Result<(Codec, Bytes), RecordsError> {
    let codec =
        Codec::from_attributes(header.attributes).ok_or(BatchError::Codec(header.codec()))?;
    Ok((codec, batch.slice(BATCH_HEADER_BYTES..header.batch_bytes)))
}

fn iterate(header: &BatchHeader, body: Bytes) -> Result<RecordIterator, RecordsError> {
    let count = usize::try_from(header.record_count).map_err(|_| BatchError::Count {
        records: header.record_count,
        last_offset_delta: header.last_offset_delta,
    })?;
    let body = Decoder::new(body);
    Ok(RecordIterator { header: *header, body, index: 0, count, is_over: false })
}

#[derive(Debug)]
pub struct RecordIterator {
    header: BatchHeader,
    body: Decoder,
    index: usize,
    count: usize,
    is_over: bool,
}

impl Iterator for RecordIterator {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Result<Record, RecordsError>> {
        if self.is_over {
            return None;
        }
        if self.index == self.count {
            self.is_over = true;
            let left = self.body.remaining();
            return (left > 0).then_some(Err(RecordsError::Remainder(left)));
        }
        let index = self.index;
        self.index += 1;
        let read = read_record(&mut self.body, &self.header);
        // After a fault it is not known where the next one begins.
        self.is_over = read.is_err();
        Some(read.map_err(|fault| RecordsError::Record { index, fault }))
    }
}

fn read_record(body: &mut Decoder, batch: &BatchHeader) -> Result<Record, WireError> {
    let length = body.read_varint()?;
    let length = usize::try_from(length)
        .map_err(|_| body.error(Fault::BadLength(length.into())).in_field("record.length"))?;
    let bytes = body.read_slice(length).map_err(|error| error.in_field("record.length"))?;
    let mut d = Decoder::new(bytes.clone());
    d.read_i8().map_err(|error| error.in_field("record.attributes"))?;
    let timestamp_delta = d.read_varlong().map_err(|error| error.in_field("record.timestamp"))?;
    let offset_delta = d.read_varint().map_err(|error| error.in_field("record.offset"))?;
    let key = read_bytes(&mut d).map_err(|error| error.in_field("record.key"))?;
    let value = read_bytes(&mut d).map_err(|error| error.in_field("record.value"))?;
    let headers = read_headers(&mut d, &bytes)?;
    d.finish()?;
    let timestamp = if batch.is_log_append_time() {
        batch.max_timestamp
    } else {
        Timestamp(batch.base_timestamp.0.saturating_add(timestamp_delta))
    };
    let offset = Offset(batch.base_offset.0.saturating_add(offset_delta.into()));
    Ok(Record { offset, timestamp, key, value, headers })
}

/// Walks the headers, so that `Headers::iter` cannot fail, and keeps them as they lie.
fn read_headers(d: &mut Decoder, record: &Bytes) -> Result<Headers, WireError> {
    let count = d.read_varint().map_err(|error| error.in_field("record.headers"))?;
    let count = usize::try_from(count)
        .map_err(|_| d.error(Fault::BadLength(count.into())).in_field("record.headers"))?;
    let start = d.position();
    for _ in 0..count {
        read_header(d)?;
    }
    let bytes = if count == 0 { Bytes::new() } else { record.slice(start..d.position()) };
    Ok(Headers { count, bytes })
}

fn read_header(d: &mut Decoder) -> Result<Header, WireError> {
    let name = read_bytes(d).map_err(|error| error.in_field("header.name"))?;
    let name = name.ok_or_else(|| d.error(Fault::Null).in_field("header.name"))?;
    let value = read_bytes(d).map_err(|error| error.in_field("header.value"))?;
    Ok(Header { name, value })
}

/// Bytes with a varint for length, -1 for null.
fn read_bytes(d: &mut Decoder) -> Result<Option<Bytes>, WireError> {
    match d.read_varint()? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) => d.read_slice(length).map(Some),
            Err(_) => Err(d.error(Fault::BadLength(length.into()))),
        },
    }
}

/// Who writes a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSequence {
    pub id: i64,
    pub epoch: i16,
    /// Of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerSequence {
    /// Nobody in particular: no duplicate can be told.
    pub const NONE: ProducerSequence = ProducerSequence {
        id: batch::NO_PRODUCER_ID,
        epoch: batch::NO_PRODUCER_EPOCH,
        base_sequence: batch::NO_SEQUENCE,
    };
}

/// Writes another producer into a built batch and renews its checksum: for a batch that was refused and is
/// sent again with other numbers.
pub fn assign_producer(batch: &mut [u8], producer: ProducerSequence) {
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
    let crc = batch::checksum(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Puts a batch together, record by record.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    /// Room for the header, then the records as they will be when not compressed.
    out: Encoder,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    pub fn new(codec: Codec) -> BatchBuilder {
        let mut out = Encoder::new();
        out.out.put_bytes(0, BATCH_HEADER_BYTES);
        BatchBuilder {
            codec,
            out,
            count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
        }
    }

    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let length = 1
            + varlong_bytes(timestamp_delta)
            + varlong_bytes(self.count.into())
            + bytes_bytes(key)
            + bytes_bytes(value)
            + varlong_bytes(headers.len() as i64)
            + headers.iter().map(header_bytes).sum::<usize>();
        let e = &mut self.out;
        e.write_varint(i32::try_from(length).expect("record below 2 GiB"));
        e.write_i8(0);
        e.write_varlong(timestamp_delta);
        e.write_varint(self.count);
        write_bytes(e, key);
        write_bytes(e, value);
        e.write_varint(i32::try_from(headers.len()).expect("headers below 2^31"));
        for header in headers {
            write_bytes(e, Some(&header.name));
            write_bytes(e, header.value.as_deref());
        }
        self.count += 1;
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn bytes(&self) -> usize {
        self.out.out.len()
    }

    /// The batch, checksum and all. Its base offset is 0 and its leader epoch -1: the broker's to assign.
    ///
    /// # Panics
    /// When no record was pushed: Kafka has no empty batches.
    pub fn build(self, producer: ProducerSequence) -> Bytes {
        assert!(self.count > 0, "a batch has records");
        let mut batch = match self.codec {
            Codec::None => self.out.out,
            codec => {
                let mut out = vec![0; BATCH_HEADER_BYTES];
                compression::compress(codec, &self.out.out[BATCH_HEADER_BYTES..], &mut out);
                BytesMut::from(Bytes::from(out))
            }
        };
        let length = i32::try_from(batch.len() - batch::LENGTH_OVERHEAD).expect("below 2 GiB");
        let mut header = &mut batch[..BATCH_HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(self.codec.to_attributes());
        header.put_i32(self.count - 1);
        header.put_i64(self.base_timestamp.0);
        header.put_i64(self.max_timestamp.0);
        header.put_i64(producer.id);
        header.put_i16(producer.epoch);
        header.put_i32(producer.base_sequence);
        header.put_i32(self.count);
        let crc = batch::checksum(&batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch.freeze()
    }
}

fn write_bytes(e: &mut Encoder, bytes: Option<&[u8]>) {
    match bytes {
        None => e.write_varint(-1),
        Some(bytes) => {
            e.write_varint(i32::try_from(bytes.len()).expect("field below 2 GiB"));
            e.out.put_slice(bytes);
        }
    }
}

fn header_bytes(header: &Header) -> usize {
    bytes_bytes(Some(&header.name)) + bytes_bytes(header.value.as_deref())
}

fn bytes_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_bytes(bytes.len() as i64) + bytes.len())
}

/// How many bytes the zigzag varint takes.
fn varlong_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests;
