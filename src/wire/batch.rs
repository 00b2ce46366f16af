//! A v2 record batch as bytes: its 61-byte header read, checked and patched in place.
//!
//! Pure: no copy, no decompression, no record decoded (that is `wire::records`). Layout, from
//! https://kafka.apache.org/documentation/#recordbatch, big-endian:
//!
//! ```text
//!  0 base offset i64        23 last offset delta i32     51 producer epoch i16
//!  8 length of the rest i32 27 base timestamp i64        53 base sequence i32
//! 12 leader epoch i32       35 max timestamp i64         57 record count i32
//! 16 magic i8 = 2           43 producer id i64           61 records
//! 17 CRC-32C u32, of everything from byte 21
//! 21 attributes i16: 0-2 codec, 3 log-append time, 4 transactional, 5 control, 6 delete horizon
//! ```

use crate::limits::{BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BATCH_RECORDS_MAX};
use crate::types::{Offset, Timestamp};

/// Bytes before the part that the length field counts.
pub const LENGTH_OVERHEAD: usize = 12;
/// Where the CRC's cover begins.
const CRC_START: usize = 21;
/// An uncompressed record's least bytes: length, attributes, two deltas, two lengths, header count.
const RECORD_BYTES_MIN: usize = 7;

pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;

/// Why bytes are not a batch that may be stored. The first three say that bytes were damaged, the rest
/// that a client composed a batch wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{have} bytes where a batch needs {need}")]
    Truncated { have: usize, need: usize },
    #[error("batch length field {0} is out of range")]
    Length(i32),
    #[error("checksum {stored:#010x} stored, {computed:#010x} computed")]
    Checksum { stored: u32, computed: u32 },
    #[error("magic {0}, only 2 is stored")]
    Magic(i8),
    #[error("{records} records with last offset delta {last_offset_delta}")]
    Count { records: i32, last_offset_delta: i32 },
    #[error("compression codec {0} is unknown")]
    Codec(i16),
    #[error("{0}")]
    Records(&'static str),
    #[error("producer id {producer_id} with epoch {epoch} and sequence {sequence}")]
    Producer { producer_id: i64, epoch: i16, sequence: i32 },
    #[error("clients may not write control batches")]
    Control,
    #[error("no transaction of producer {producer_id} is known")]
    Transactional { producer_id: i64 },
    #[error("base offset {0}: offsets are the broker's to give")]
    BaseOffset(Offset),
}

impl BatchError {
    /// Whether the bytes are damaged (else they are whole but wrongly composed).
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Length(_) | Self::Checksum { .. })
    }
}

/// A batch's header as plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes of the whole batch, header and length field included.
    pub batch_bytes: usize,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Reads `N` bytes at `at`; the caller has checked that they are there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

impl BatchHeader {
    /// Reads a header. The length field is checked against the limits, not against `bytes`, which may
    /// hold no more than the header.
    ///
    /// # Errors
    /// `Truncated` below 61 bytes; `Length` when no batch can have that length; `Magic` when not 2.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        BatchHeader::parse_up_to(bytes, BATCH_BYTES_MAX)
    }

    fn parse_up_to(bytes: &[u8], batch_bytes_max: usize) -> Result<BatchHeader, BatchError> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(BatchError::Truncated { have: bytes.len(), need: BATCH_HEADER_BYTES });
        }
        let magic = i8::from_be_bytes(field(bytes, 16));
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        let length = i32::from_be_bytes(field(bytes, 8));
        let batch_bytes = usize::try_from(length).map_or(0, |length| length + LENGTH_OVERHEAD);
        if !(BATCH_HEADER_BYTES..=batch_bytes_max).contains(&batch_bytes) {
            return Err(BatchError::Length(length));
        }
        Ok(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_bytes,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic,
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// The offset after this batch's last.
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta) + 1))
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        self.attributes & 0b111
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0b1000 != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 0b1_0000 != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & 0b10_0000 != 0
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The sequence of the batch's last record; sequences wrap after `i32::MAX` (KIP-98).
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(last % (i64::from(i32::MAX) + 1)).expect("the remainder is below 2^31")
    }
}

/// CRC-32C of the part of a whole batch that the stored checksum covers.
pub fn checksum(batch: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[CRC_START..]);
    u32::try_from(sum).expect("a 32-bit CRC fits 32 bits")
}

/// Reads and checks the batch at the start of `bytes` as it lies in a log: whole, and with a right
/// checksum.
///
/// # Errors
/// As `BatchHeader::parse`; `Truncated` when the batch is not all there; `Checksum`.
pub fn parse_whole(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    if bytes.len() < header.batch_bytes {
        return Err(BatchError::Truncated { have: bytes.len(), need: header.batch_bytes });
    }
    let computed = checksum(&bytes[..header.batch_bytes]);
    if computed != header.crc {
        return Err(BatchError::Checksum { stored: header.crc, computed });
    }
    if header.last_offset_delta < 0 {
        let BatchHeader { record_count: records, last_offset_delta, .. } = header;
        return Err(BatchError::Count { records, last_offset_delta });
    }
    Ok(header)
}

/// Reads the header of the one batch that a producer sent for a partition: it must be all of `bytes`, and
/// may be larger than any that is stored.
///
/// # Errors
/// As `BatchHeader::parse`; `Truncated` when the batch is longer or shorter.
pub fn parse_single(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse_up_to(bytes, i32::MAX as usize)?;
    if header.batch_bytes != bytes.len() {
        return Err(BatchError::Truncated { have: bytes.len(), need: header.batch_bytes });
    }
    Ok(header)
}

/// What the walk over uncompressed records found beside their lengths; nothing for compressed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// The least of the records' timestamps, relative to the batch's first.
    pub timestamp_delta_min: i64,
    /// Some record has no key.
    pub is_keyless: bool,
}

/// Checks the one batch that a producer sent for a partition: all of `bytes`, whole, right checksum,
/// consistent counts, a known codec, a sensible producer. Uncompressed records are walked by their lengths.
///
/// # Errors
/// The first rule that the batch breaks.
pub fn parse_produced(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    parse_produced_records(bytes).map(|(header, _)| header)
}

/// The same, with what was found on the way.
///
/// # Errors
/// As `parse_produced`.
pub fn parse_produced_records(bytes: &[u8]) -> Result<(BatchHeader, RecordFacts), BatchError> {
    let header = parse_single(bytes)?;
    let computed = checksum(bytes);
    if computed != header.crc {
        return Err(BatchError::Checksum { stored: header.crc, computed });
    }
    let BatchHeader { record_count: records, last_offset_delta, .. } = header;
    let count_max = BATCH_RECORDS_MAX as i32;
    if records <= 0 || records > count_max || last_offset_delta != records - 1 {
        return Err(BatchError::Count { records, last_offset_delta });
    }
    if header.codec() > 4 {
        return Err(BatchError::Codec(header.codec()));
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::BaseOffset(header.base_offset));
    }
    check_producer(&header)?;
    let facts = match header.codec() {
        0 => walk_records(&bytes[BATCH_HEADER_BYTES..], records as usize)?,
        _ => RecordFacts::default(),
    };
    Ok((header, facts))
}

/// KIP-98: a batch that names a producer numbers its records. (Whether the epoch is right is for the
/// partition to say.)
fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { producer_id, producer_epoch: epoch, base_sequence: sequence, .. } = *header;
    if header.has_producer() && sequence < 0 || !header.has_producer() && header.is_transactional()
    {
        return Err(BatchError::Producer { producer_id, epoch, sequence });
    }
    // There are no transactions yet: stored, this would be read as committed.
    if header.is_transactional() {
        return Err(BatchError::Transactional { producer_id });
    }
    Ok(())
}

/// Follows the records' length prefixes: exactly `count` of them must fill `records`, with ascending
/// offset deltas. Reads a few bytes of each record, about 2 ns.
fn walk_records(records: &[u8], count: usize) -> Result<RecordFacts, BatchError> {
    if records.len() / RECORD_BYTES_MIN < count {
        return Err(BatchError::Records("more records claimed than the bytes can hold"));
    }
    let mut facts = RecordFacts::default();
    let mut note = |_: usize, timestamp_delta: i64, key_length: i64| {
        facts.timestamp_delta_min = facts.timestamp_delta_min.min(timestamp_delta);
        facts.is_keyless |= key_length < 0;
    };
    walk_fields(records, count, &mut note)?;
    Ok(facts)
}

/// Which records of a batch that `parse_produced` takes have no key, the first `most` of them; of a compressed one, none is
/// known.
pub fn keyless_records(batch: &[u8], most: usize) -> Vec<usize> {
    let mut keyless = Vec::new();
    let note = |at: usize, _: i64, key_length: i64| {
        if key_length < 0 && keyless.len() < most {
            keyless.push(at);
        }
    };
    if let Ok(header) = parse_single(batch)
        && header.codec() == 0
    {
        let count = usize::try_from(header.record_count).unwrap_or(0);
        each_record(&batch[BATCH_HEADER_BYTES..], count, note);
    }
    keyless
}

/// Tells of each record its place, timestamp delta and key length (negative: no key), as far as they can be followed.
/// For whoever looks again at the records of a batch that was checked, decompressed.
pub fn each_record(records: &[u8], count: usize, mut note: impl FnMut(usize, i64, i64)) {
    // What is wrong with them was said before, or they are cut.
    let _ = walk_fields(records, count, &mut note);
}

/// Tells of each record its place, timestamp delta and key length.
#[inline]
fn walk_fields(
    records: &[u8],
    count: usize,
    note: &mut impl FnMut(usize, i64, i64),
) -> Result<(), BatchError> {
    let mut rest = records;
    for expected in 0..count {
        let (length, after) =
            varint(rest).ok_or(BatchError::Records("a record's length is cut"))?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= after.len() && *length >= RECORD_BYTES_MIN - 1)
            .ok_or(BatchError::Records("a record's length leaves the batch"))?;
        let (record, next) = after.split_at(length);
        let cut = BatchError::Records("a record's fields leave the record");
        // Attributes (one byte), timestamp delta, offset delta, length of the key.
        let (timestamp_delta, fields) = varint(&record[1..]).ok_or(cut)?;
        let (offset_delta, fields) = varint(fields).ok_or(cut)?;
        let (key_length, _) = varint(fields).ok_or(cut)?;
        if offset_delta != expected as i64 {
            return Err(BatchError::Records("a record's offset delta is out of order"));
        }
        note(expected, timestamp_delta, key_length);
        rest = next;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BatchError::Records("bytes remain after the last record"))
    }
}

/// A zigzag varint of at most ten bytes and what follows it. Nearly all in a record have one byte or two.
#[inline]
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Some((signed(u64::from(*first)), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            let bits = u64::from(first & 0x7f) | (u64::from(*second) << 7);
            Some((signed(bits), rest))
        }
        _ => long_varint(bytes),
    }
}

/// The same, whatever its length.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut bits = 0u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        bits |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((signed(bits), &bytes[place + 1..]));
        }
    }
    None
}

fn signed(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

/// Writes what the broker decides into a batch: base offset and leader epoch, which the checksum does not
/// cover.
pub fn assign_offsets(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps the batch with the broker's time (message.timestamp.type=LogAppendTime, KIP-32) and renews the
/// checksum.
pub fn assign_append_time(batch: &mut [u8], at: Timestamp) {
    let attributes = i16::from_be_bytes(field(batch, 21)) | 0b1000;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&at.0.to_be_bytes());
    let crc = checksum(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A batch without records in the place of those from `base_offset` on, as compaction leaves them: whoever reads
/// goes on behind it.
pub fn without_records(base_offset: Offset, last_offset_delta: i32) -> Vec<u8> {
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    let length = (BATCH_HEADER_BYTES - LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    // Nobody led when it was made.
    assign_offsets(&mut batch, base_offset, -1);
    batch[16] = 2;
    batch[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    batch[27..35].copy_from_slice(&Timestamp::NONE.0.to_be_bytes());
    batch[35..43].copy_from_slice(&Timestamp::NONE.0.to_be_bytes());
    batch[43..51].copy_from_slice(&NO_PRODUCER_ID.to_be_bytes());
    batch[51..53].copy_from_slice(&NO_PRODUCER_EPOCH.to_be_bytes());
    batch[53..57].copy_from_slice(&NO_SEQUENCE.to_be_bytes());
    let crc = checksum(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[cfg(any(test, feature = "sim"))]
pub mod testing {
    //! Small batches for tests of the layers above.

    use super::*;

    /// Who wrote a test's batch: producer id, epoch, base sequence.
    pub type Producer = Option<(i64, i16, i32)>;

    fn put_varint(out: &mut Vec<u8>, value: i64) {
        let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
        while zigzag >= 0x80 {
            out.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    }

    /// An uncompressed batch of these values, without keys or headers, all at `timestamp`.
    pub fn batch(values: &[&[u8]], timestamp: Timestamp, producer: Producer) -> Vec<u8> {
        let mut out = vec![0u8; BATCH_HEADER_BYTES];
        for (index, value) in values.iter().enumerate() {
            let mut record = vec![0u8];
            put_varint(&mut record, 0);
            put_varint(&mut record, index as i64);
            put_varint(&mut record, -1);
            put_varint(&mut record, value.len() as i64);
            record.extend_from_slice(value);
            put_varint(&mut record, 0);
            put_varint(&mut out, record.len() as i64);
            out.extend_from_slice(&record);
        }
        let (id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
        let length = (out.len() - LENGTH_OVERHEAD) as i32;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        out[16] = 2;
        out[23..27].copy_from_slice(&(values.len() as i32 - 1).to_be_bytes());
        out[27..35].copy_from_slice(&timestamp.0.to_be_bytes());
        out[35..43].copy_from_slice(&timestamp.0.to_be_bytes());
        out[43..51].copy_from_slice(&id.to_be_bytes());
        out[51..53].copy_from_slice(&epoch.to_be_bytes());
        out[53..57].copy_from_slice(&sequence.to_be_bytes());
        out[57..61].copy_from_slice(&(values.len() as i32).to_be_bytes());
        let crc = checksum(&out);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::testing::batch;
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        batch(&[b"one", b"two", b""], Timestamp(1_700_000_000_000), Some((7, 0, 5)))
    }

    /// Changes a batch, renews its checksum, and says what the checks make of it.
    fn check(change: impl FnOnce(&mut Vec<u8>), expect: Result<(), BatchError>) {
        let mut bytes = sample();
        change(&mut bytes);
        let crc = checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(parse_produced(&bytes).map(|_| ()), expect);
    }

    #[test]
    fn a_batch_larger_than_any_stored_is_one_batch_to_whoever_has_all_of_it() {
        let mut bytes = sample();
        bytes.resize(BATCH_BYTES_MAX + 1, 0);
        let length = (bytes.len() - LENGTH_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(parse_single(&bytes).unwrap().batch_bytes, bytes.len());
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Length(length)));
    }

    #[test]
    fn header_fields_are_read_where_kafka_writes_them() {
        let (header, facts) = parse_produced_records(&sample()).unwrap();
        assert_eq!(facts, RecordFacts { timestamp_delta_min: 0, is_keyless: true });
        assert_eq!(header.record_count, 3);
        assert_eq!(header.last_offset(), Offset(2));
        assert_eq!((header.producer_id, header.producer_epoch), (7, 0));
        assert_eq!((header.base_sequence, header.last_sequence()), (5, 7));
        assert_eq!(header.max_timestamp, Timestamp(1_700_000_000_000));
        assert_eq!(header.batch_bytes, sample().len());
    }

    #[test]
    fn records_without_a_key_are_found() {
        assert_eq!(keyless_records(&sample(), 9), [0, 1, 2]);
        assert_eq!(keyless_records(&sample(), 2), [0, 1]);
    }

    #[test]
    fn records_are_told_up_to_where_they_are_cut() {
        let bytes = batch(&[b"one", b"two", b"three"], Timestamp(5), None);
        let places = |records: &[u8]| {
            let mut places = Vec::new();
            each_record(records, 3, |at, timestamp_delta, key_length| {
                assert_eq!((timestamp_delta, key_length), (0, -1));
                places.push(at);
            });
            places
        };
        assert_eq!(places(&bytes[BATCH_HEADER_BYTES..]), [0, 1, 2]);
        assert_eq!(places(&bytes[BATCH_HEADER_BYTES..bytes.len() - 1]), [0, 1]);
    }

    #[test]
    fn checksum_is_crc32c() {
        let bytes = sample();
        assert_eq!(checksum(&bytes), crc32c::crc32c(&bytes[21..]));
    }

    #[test]
    fn wrongly_composed_batches_are_refused_by_the_rule_they_break() {
        let count =
            |records, last_offset_delta| Err(BatchError::Count { records, last_offset_delta });
        check(|_| {}, Ok(()));
        check(|b| b[16] = 1, Err(BatchError::Magic(1)));
        check(|b| b[57..61].copy_from_slice(&9i32.to_be_bytes()), count(9, 2));
        check(|b| b[57..61].copy_from_slice(&(-1i32).to_be_bytes()), count(-1, 2));
        check(|b| b[22] = 5, Err(BatchError::Codec(5)));
        check(|b| b[22] = 0b10_0000, Err(BatchError::Control));
        check(|b| b[22] = 0b1_0000, Err(BatchError::Transactional { producer_id: 7 }));
        check(|b| b[7] = 3, Err(BatchError::BaseOffset(Offset(3))));
        check(
            |b| b[53..57].copy_from_slice(&(-1i32).to_be_bytes()),
            Err(BatchError::Producer { producer_id: 7, epoch: 0, sequence: -1 }),
        );
        check(
            |b| {
                b[23..27].copy_from_slice(&1i32.to_be_bytes());
                b[57..61].copy_from_slice(&2i32.to_be_bytes());
            },
            Err(BatchError::Records("bytes remain after the last record")),
        );
    }

    #[test]
    fn damage_anywhere_is_found() {
        let good = sample();
        // The base offset and leader epoch are outside the checksum: the broker writes them.
        for at in (8..12).chain(16..good.len()) {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                assert!(parse_produced(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
        for cut in 0..good.len() {
            assert!(parse_produced(&good[..cut]).is_err(), "cut at {cut}");
            assert!(parse_whole(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_batch_without_records_stands_for_offsets() {
        let header = parse_whole(&without_records(Offset(17), 4)).unwrap();
        assert_eq!((header.base_offset, header.next_offset()), (Offset(17), Offset(22)));
        assert_eq!((header.record_count, header.leader_epoch), (0, -1));
        assert!(!header.has_producer() && header.max_timestamp == Timestamp::NONE);
        assert_eq!(header.batch_bytes, BATCH_HEADER_BYTES);
    }

    #[test]
    fn sequences_wrap_after_the_largest() {
        let bytes = batch(&[b"a", b"b", b"c"], Timestamp(0), Some((1, 0, i32::MAX - 1)));
        assert_eq!(parse_produced(&bytes).unwrap().last_sequence(), 0);
    }

    #[test]
    fn patches_keep_the_batch_valid() {
        let mut bytes = sample();
        assign_offsets(&mut bytes, Offset(41), 3);
        assign_append_time(&mut bytes, Timestamp(99));
        let header = parse_whole(&bytes).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(41), 3));
        assert_eq!(header.next_offset(), Offset(44));
        assert!(header.is_log_append_time());
        assert_eq!(header.max_timestamp, Timestamp(99));
    }

    #[test]
    fn short_varints_are_read_as_long_ones_are() {
        for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
            assert_eq!(varint(&bytes), long_varint(&bytes), "{bytes:?}");
            assert_eq!(varint(&bytes[..1]), long_varint(&bytes[..1]), "{bytes:?}");
        }
        assert_eq!(varint(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_a_long_varint_is(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xffu8], 0..14),
        ) {
            prop_assert_eq!(varint(&bytes), long_varint(&bytes));
        }
    }
}
