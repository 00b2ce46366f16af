//! Batches as they go out: put together from drawn records, or, where all records are alike, stamped into a
//! prepared one. Pure.
//!
//! A prepared batch holds as many records as fit; one of fewer records is its beginning with another
//! header. Buffers come back after the answer, so a steady load allocates nothing.

use super::draw::{Draw, Drawn, Source, key_bytes};
use super::stamp::{STAMP_BYTES, Stamp, rest_checksum};
use bytes::{Bytes, BytesMut};
use corelog::types::Timestamp;
use corelog::wire::batch;
use corelog::wire::compression::Codec;
use corelog::wire::records::{BatchBuilder, ProducerSequence};

/// What an uncompressed record takes beside its value and key, at most, and what a batch takes.
const RECORD_OVERHEAD_BYTES: usize = 20;
const BATCH_HEADER_BYTES: usize = 61;
/// Buffers kept for the next batch.
const SPARE_MAX: usize = 64;

/// Planned times of a batch's records.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    /// All at once: a closed loop sends when it can.
    Now(u64),
    Each(Vec<u64>),
}

/// A batch on its way.
#[derive(Debug)]
pub struct Batch {
    pub bytes: Bytes,
    /// The buffer of a prepared batch, of which `bytes` is the beginning.
    whole: Option<Bytes>,
    pub planned: Planned,
    pub records: u32,
    pub payload_bytes: u64,
    /// Of the first record, in its producer's and partition's numbering.
    pub first_sequence: u64,
    /// When it was due, and when it was first sent.
    pub due_at: u64,
    pub sent_at: u64,
    pub attempts: u32,
}

/// Who writes: what goes into stamps and headers.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    pub run: u32,
    pub producer: u32,
    /// Producer id and epoch (KIP-98), when batches are numbered.
    pub identity: Option<(i64, i16)>,
}

/// Puts batches together for one producer.
#[derive(Debug)]
pub struct Press {
    codec: Codec,
    source: Source,
    stamps: bool,
    verify: bool,
    prepared: Option<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    template: Bytes,
    spare: Vec<BytesMut>,
    /// Where each record's value begins, and where the record ends.
    values: Vec<(u32, u32)>,
    value_bytes: usize,
    /// Checksum of what follows each stamp.
    rests: Vec<u32>,
}

impl Press {
    pub fn new(draw: &Draw, codec: Codec, batch_bytes: usize, stamps: bool, verify: bool) -> Press {
        let source = draw.source().clone();
        let prepared = match draw.uniform_bytes() {
            Some(bytes) if codec == Codec::None => {
                Some(Prepared::new(draw, bytes, batch_bytes, stamps))
            }
            _ => None,
        };
        Press { codec, source, stamps, verify, prepared }
    }

    /// Bytes that a record takes in a batch, about: exact enough to say when one is full.
    pub fn record_bytes(drawn: &Drawn) -> usize {
        drawn.payload_bytes() + RECORD_OVERHEAD_BYTES
    }

    /// Records of a full batch, when all are alike.
    pub fn records_max(&self) -> Option<usize> {
        self.prepared.as_ref().map(|prepared| prepared.values.len())
    }

    /// A batch of these records, which are numbered from `first_sequence` on. `now`: the wall clock.
    pub fn press(
        &mut self,
        records: &[Drawn],
        planned: Planned,
        first_sequence: u64,
        writer: Writer,
        now: Timestamp,
    ) -> Batch {
        assert!(!records.is_empty(), "a batch has records");
        let base_sequence = (first_sequence & i32::MAX as u64) as i32;
        let sequence = writer.identity.map_or(ProducerSequence::NONE, |(id, epoch)| {
            ProducerSequence { id, epoch, base_sequence }
        });
        let stamp = |at: usize, drawn: &Drawn| Stamp {
            planned: drawn.planned,
            run: writer.run,
            producer: writer.producer,
            sequence: first_sequence + at as u64,
        };
        let (bytes, whole) = match &mut self.prepared {
            Some(prepared) if records.len() <= prepared.values.len() => {
                let mut buffer = prepared.buffer();
                if self.stamps {
                    for (at, drawn) in records.iter().enumerate() {
                        let value = &mut buffer[prepared.values[at].0 as usize..];
                        let rest = self.verify.then(|| prepared.rests[at]);
                        stamp(at, drawn).write(value, rest);
                    }
                }
                let end = prepared.values[records.len() - 1].1 as usize;
                write_header(&mut buffer[..end], records.len() as i32, now, sequence);
                let whole = buffer.freeze();
                (whole.slice(..end), Some(whole))
            }
            _ => (self.build(records, stamp, sequence, now), None),
        };
        let payload_bytes = records.iter().map(|drawn| drawn.payload_bytes() as u64).sum();
        let records = records.len() as u32;
        let (due_at, sent_at, attempts) = (0, 0, 0);
        Batch {
            bytes,
            whole,
            planned,
            records,
            payload_bytes,
            first_sequence,
            due_at,
            sent_at,
            attempts,
        }
    }

    fn build(
        &self,
        records: &[Drawn],
        stamp: impl Fn(usize, &Drawn) -> Stamp,
        sequence: ProducerSequence,
        now: Timestamp,
    ) -> Bytes {
        let mut builder = BatchBuilder::new(self.codec);
        let mut stamped = Vec::new();
        for (at, drawn) in records.iter().enumerate() {
            let key = drawn.key.map(key_bytes);
            let mut value = self.source.value(drawn);
            if self.stamps {
                stamped.clear();
                // A line of a file comes after its stamp, drawn bytes give way to it.
                stamped.resize(STAMP_BYTES, 0);
                let rest = drawn.value_bytes as usize - STAMP_BYTES;
                stamped.extend_from_slice(&value[value.len() - rest..]);
                let rest = self.verify.then(|| rest_checksum(&stamped[STAMP_BYTES..]));
                stamp(at, drawn).write(&mut stamped, rest);
                value = &stamped;
            }
            builder.push(now, key.as_ref().map(|key| &key[..]), Some(value), &[]);
        }
        builder.build(sequence)
    }

    /// Takes a batch's buffer back once nobody sends it any more.
    pub fn recycle(&mut self, batch: Batch) {
        let (Some(prepared), Some(whole)) = (&mut self.prepared, batch.whole) else { return };
        drop(batch.bytes);
        if prepared.spare.len() < SPARE_MAX
            && let Ok(buffer) = whole.try_into_mut()
        {
            prepared.spare.push(buffer);
        }
    }
}

impl Prepared {
    fn new(draw: &Draw, value_bytes: usize, batch_bytes: usize, stamps: bool) -> Prepared {
        let mut builder = BatchBuilder::new(Codec::None);
        let (mut values, mut rests, mut from) = (Vec::new(), Vec::new(), 0);
        loop {
            let drawn = Drawn { planned: 0, value_bytes: value_bytes as u32, from, key: None };
            let value = draw.source().value(&drawn);
            builder.push(Timestamp(0), None, Some(value), &[]);
            let end = builder.bytes();
            if end > batch_bytes && !values.is_empty() {
                break;
            }
            // A record ends with the value and one byte: no headers.
            values.push(((end - 1 - value_bytes) as u32, end as u32));
            rests.push(if stamps { rest_checksum(&value[STAMP_BYTES..]) } else { 0 });
            from = (from + 4099) % (1 << 20);
        }
        let template = builder.build(ProducerSequence::NONE);
        Prepared { template, spare: Vec::new(), values, value_bytes, rests }
    }

    fn buffer(&mut self) -> BytesMut {
        debug_assert!(
            self.values.iter().all(|(from, end)| (end - from) as usize == self.value_bytes + 1)
        );
        self.spare.pop().unwrap_or_else(|| BytesMut::from(&self.template[..]))
    }
}

/// Makes the beginning of a prepared batch a batch: all times alike, the checksum anew.
fn write_header(batch: &mut [u8], records: i32, now: Timestamp, producer: ProducerSequence) {
    let length = (batch.len() - batch::LENGTH_OVERHEAD) as i32;
    debug_assert!(batch.len() > BATCH_HEADER_BYTES);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&now.0.to_be_bytes());
    batch[35..43].copy_from_slice(&now.0.to_be_bytes());
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    let checksum = batch::checksum(batch);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Compression, Keys, Settings, Sizes};
    use corelog::wire::batch::parse_produced;
    use corelog::wire::records::records;

    const WRITER: Writer = Writer { run: 9, producer: 4, identity: Some((70, 1)) };

    /// Presses batches of several counts and reads them back as a consumer would.
    fn check(change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            consumers: Some(1),
            verify: Some(true),
            batch_bytes: Some(4000),
            ..Settings::default()
        };
        change(&mut settings);
        let work = settings.check().unwrap();
        let source = Source::new(&work).unwrap();
        let mut draw = Draw::new(&work, source, 5);
        let mut press = Press::new(&draw, work.compression.0, work.batch_bytes, true, true);
        let mut sequence = 100;
        for count in [1, 3, 2, 3, 1] {
            let drawn: Vec<Drawn> = (0..count).map(|n| draw.draw(1000 + n)).collect();
            let planned = Planned::Each(drawn.iter().map(|drawn| drawn.planned).collect());
            let batch = press.press(&drawn, planned, sequence, WRITER, Timestamp(77));
            let header = parse_produced(&batch.bytes).unwrap();
            assert_eq!((header.producer_id, header.base_sequence), (70, sequence as i32));
            assert_eq!((header.base_timestamp, header.record_count), (Timestamp(77), count as i32));
            let read = records(&header, &batch.bytes).unwrap().map(Result::unwrap);
            for ((at, record), drawn) in (0..).zip(read).zip(&drawn) {
                let value = record.value.unwrap();
                let stamp = Stamp::read(&value).unwrap();
                let expect =
                    Stamp { planned: drawn.planned, run: 9, producer: 4, sequence: sequence + at };
                assert_eq!(stamp, expect);
                assert!(stamp.is_whole(&value));
                assert_eq!(record.key.is_some(), drawn.key.is_some());
                let payload = value.len() + record.key.map_or(0, |key| key.len());
                assert_eq!(payload, drawn.payload_bytes());
            }
            sequence += count;
            press.recycle(batch);
        }
    }

    #[test]
    fn what_is_pressed_is_read_back_whatever_the_shape() {
        check(|settings| settings.record_bytes = Some(Sizes::Fixed(1024)));
        check(|settings| settings.record_bytes = Some(Sizes::Fixed(STAMP_BYTES)));
        check(|settings| settings.record_bytes = Some(Sizes::Uniform(28, 300)));
        check(|settings| settings.keys = Some(Keys::Uniform(5)));
        check(|settings| settings.compression = Some(Compression(Codec::Zstd)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, "one\nanother\n").unwrap();
        check(|settings| settings.records_file = Some(path));
    }

    #[test]
    fn a_full_prepared_batch_is_as_large_as_asked_for_and_its_buffer_comes_back() {
        let work = Settings::default().check().unwrap();
        let mut draw = Draw::new(&work, Source::new(&work).unwrap(), 1);
        let mut press = Press::new(&draw, Codec::None, 65536, false, false);
        let count = press.records_max().unwrap();
        let drawn: Vec<Drawn> = (0..count as u64).map(|n| draw.draw(n)).collect();
        let batch = press.press(&drawn, Planned::Now(0), 0, WRITER, Timestamp(1));
        assert!((64_000..=65_536).contains(&batch.bytes.len()), "{}", batch.bytes.len());
        let at = batch.bytes.as_ptr();
        press.recycle(batch);
        let again = press.press(&drawn[..1], Planned::Now(0), 0, WRITER, Timestamp(1));
        assert_eq!(again.bytes.as_ptr(), at);
    }
}
