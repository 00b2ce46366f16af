//! What fuzz targets do with bytes from nowhere, and the replay of what they found.
//!
//! Test builds only. Each function takes any bytes and must neither panic, hang nor grow without bound;
//! `fuzz/fuzz_targets` has a target for each, and `cargo test` replays their corpora.

use crate::limits::{BATCH_HEADER_BYTES, FRAME_BYTES_MAX};
use crate::net::FrameBuffer;
use crate::wire::api::reencode_request;
use crate::wire::records::{batches, records};
use crate::wire::{Decoder, RequestHeader, batch};
use bytes::Bytes;

/// A stream in pieces: what is cut out of it is what was in it. The first byte sets the size of pieces.
pub fn frame(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let mut buffer = FrameBuffer::new(FRAME_BYTES_MAX);
    let mut cut = 0;
    for bytes in stream.chunks(usize::from(*piece) + 1) {
        buffer.bytes.extend_from_slice(bytes);
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => {
                    assert_eq!(frame, stream[cut + 4..cut + 4 + frame.len()]);
                    cut += 4 + frame.len();
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(buffer.make_room(buffer.bytes.len() + 1) <= (2 << 20).max(buffer.bytes.len()));
    }
    assert_eq!(buffer.bytes, stream[cut..]);
}

/// A request's header: what was read is written and read again alike.
pub fn request_header(input: &[u8]) {
    let Ok(header) = RequestHeader::decode(&mut Decoder::new(Bytes::copy_from_slice(input))) else {
        return;
    };
    let mut encoder = crate::wire::Encoder::new();
    header.encode(&mut encoder);
    let again = RequestHeader::decode(&mut Decoder::new(encoder.out.freeze()));
    assert_eq!(again, Ok(header));
}

/// A whole request of any API and version: what was read is written and read again alike.
pub fn request(input: &[u8]) {
    let mut decoder = Decoder::new(Bytes::copy_from_slice(input));
    let Ok(header) = RequestHeader::decode(&mut decoder) else { return };
    let (key, version) = (header.api_key, header.api_version);
    let Ok(first) = reencode_request(key, &mut decoder, version) else { return };
    let first = first.out.freeze();
    let second = reencode_request(key, &mut Decoder::new(first.clone()), version);
    assert_eq!(second.expect("what we wrote is read").out, first);
}

/// A producer's batch: what is accepted is whole, and can be taken apart or is refused by who does.
pub fn produced_batch(input: &[u8]) {
    // The checksum is mended, else nothing gets past it.
    let mut bytes = input.to_vec();
    if bytes.len() >= BATCH_HEADER_BYTES {
        let crc = batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let Ok(header) = batch::parse_produced(&bytes) else { return };
    assert_eq!(header.batch_bytes, bytes.len());
    assert_eq!(batch::parse_whole(&bytes).expect("accepted, so it is whole"), header);
    let bytes = Bytes::from(bytes);
    if let Ok(found) = records(&header, &bytes) {
        // What is inside a record is for its reader to check.
        found.take_while(|record| record.is_ok()).for_each(drop);
    }
}

/// Records as a client has them from a fetch: batches one after the other, each decompressed.
pub fn fetched_records(input: &[u8]) {
    for (header, bytes) in batches(Bytes::copy_from_slice(input)).map_while(|batch| batch.ok()) {
        if let Ok(found) = records(&header, &bytes) {
            found.take_while(|record| record.is_ok()).for_each(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    /// Every file of a target's corpus and of what it once failed on.
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let entries = std::fs::read_dir(&corpus).unwrap_or_else(|error| {
            panic!("no corpus at {}: {error}", corpus.display());
        });
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            eprintln!("replaying {}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "an empty corpus at {}", corpus.display());
    }

    #[test]
    fn corpora_are_replayed() {
        replay("frame", frame);
        replay("request_header", request_header);
        replay("request", request);
        replay("produced_batch", produced_batch);
        replay("fetched_records", fetched_records);
        replay("recovery", crate::simulator::damaged::recovery);
    }

    #[test]
    fn targets_reach_what_they_are_for() {
        let good = batch::testing::batch(&[b"a", b"bc"], Timestamp(5), Some((1, 0, 0)));
        produced_batch(&good);
        fetched_records(&[&good[..], &good].concat());
        request_header(&[0, 18, 0, 3, 0, 0, 0, 1, 0, 1, b'c', 0]);
        request(&[0, 18, 0, 0, 0, 0, 0, 1, 0, 1, b'c']);
        frame(&[3, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    }
}
