//! Values of a batch's records without taking them apart: as cheap as can be, because a generator that is
//! slower than the broker measures itself. Pure.

use bytes::Bytes;
use corelog::limits::{BATCH_HEADER_BYTES, DECOMPRESSED_BYTES_MAX};
use corelog::wire::batch::BatchHeader;
use corelog::wire::compression::{Codec, decompress};

/// Calls `look` with the offset, key length and value of every record of a whole batch.
///
/// # Errors
/// What is wrong with the batch.
pub fn values(
    header: &BatchHeader,
    batch: &Bytes,
    mut look: impl FnMut(i64, usize, &[u8]),
) -> Result<(), String> {
    let codec = Codec::from_attributes(header.attributes).ok_or("an unknown codec")?;
    let body = batch.slice(BATCH_HEADER_BYTES..header.batch_bytes);
    let body = match codec {
        Codec::None => body,
        _ => decompress(codec, &body, DECOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?,
    };
    let mut rest = &body[..];
    for at in 0..header.record_count {
        let wrong = || format!("record {at} of {} is damaged", header.record_count);
        let (length, after) = varint(rest).ok_or_else(wrong)?;
        let record = after.get(..length).ok_or_else(wrong)?;
        rest = &after[length..];
        let fields = record.get(1..).ok_or_else(wrong)?;
        let (_, fields) = varint_bytes(fields).ok_or_else(wrong)?;
        let (delta, fields) = varint(fields).ok_or_else(wrong)?;
        let (key, fields) = bytes(fields).ok_or_else(wrong)?;
        let (value, _) = bytes(fields).ok_or_else(wrong)?;
        look(header.base_offset.0 + delta as i64, key.len(), value);
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("{} bytes after the last record", rest.len()))
    }
}

/// A zigzag number that is not negative, and what follows it.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (raw, rest) = varint_bytes(bytes)?;
    (raw & 1 == 0).then_some(((raw >> 1) as usize, rest))
}

/// The number as it is written, seven bits a byte.
fn varint_bytes(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut raw = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            return Some((raw, &bytes[at + 1..]));
        }
    }
    None
}

/// A length and so many bytes; none for null.
fn bytes(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (raw, rest) = varint_bytes(field)?;
    if raw == 1 {
        return Some((&[], rest));
    }
    let length = usize::try_from(raw >> 1).ok().filter(|_| raw & 1 == 0)?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelog::types::Timestamp;
    use corelog::wire::batch::parse_produced;
    use corelog::wire::records::{BatchBuilder, Header, ProducerSequence};

    #[test]
    fn values_are_those_that_were_written_and_damage_is_an_error() {
        for codec in [Codec::None, Codec::Lz4] {
            let mut builder = BatchBuilder::new(codec);
            let headers = [Header { name: "h".into(), value: None }];
            builder.push(Timestamp(5), None, Some(b"one"), &[]);
            builder.push(Timestamp(99_999), Some(b"key"), Some(&[7; 300]), &headers);
            builder.push(Timestamp(1), Some(b""), None, &[]);
            let batch = builder.build(ProducerSequence::NONE);
            let header = parse_produced(&batch).unwrap();
            let mut seen = Vec::new();
            values(&header, &batch, |offset, key, value| seen.push((offset, key, value.len())))
                .unwrap();
            assert_eq!(seen, [(0, 0, 3), (1, 3, 300), (2, 0, 0)]);
            if codec == Codec::None {
                for end in BATCH_HEADER_BYTES..batch.len() {
                    let cut = BatchHeader { batch_bytes: end, ..header };
                    assert!(values(&cut, &batch, |_, _, _| {}).is_err(), "cut at {end}");
                }
            }
        }
    }
}
