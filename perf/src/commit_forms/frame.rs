//! A batch in the journal: a header, then the batch as it will lie in its segment. Pure.
//!
//! ```text
//!  0 magic u32                       24 base offset i64     52 bytes of the batch u32
//!  4 CRC-32 u32 of bytes 8 to 63     32 topic id            56 leader epoch i32
//!  8 salt u64: of the region's lap   48 partition i32       60 CRC-32C u32 of the batch
//! 16 sequence u64                                           64 the batch
//! ```
//!
//! Big-endian. The header's checksum covers what the batch's own does not (offset, length, epoch) and names the
//! batch's own, which was computed when the batch came: no byte is summed twice. Frames of one write lie behind each
//! other; zeros fill its last block, and the next write begins at the next. The blocks are recycled, so behind the
//! last frame lie older ones: they have another salt.

use bytes::{Buf, BufMut};
use corelog::limits::BLOCK_BYTES;
use corelog::types::{Offset, TopicId};
use corelog::wire::batch::{self, BatchHeader};

/// Bytes before the batch.
pub const FRAME_BYTES: usize = 64;
const MAGIC: u32 = 0x636a_6631;
/// Where the header's checksum is, and where what it covers begins.
const CHECKSUM_AT: usize = 4;
const CHECKED_FROM: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Drawn anew whenever a region is used again.
    pub salt: u64,
    /// One more than that of the frame before.
    pub sequence: u64,
    pub base_offset: Offset,
    pub topic_id: TopicId,
    pub partition: i32,
    pub batch_bytes: u32,
    pub leader_epoch: i32,
    pub batch_checksum: u32,
}

impl FrameHeader {
    fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32(MAGIC);
        out.put_u32(0);
        out.put_u64(self.salt);
        out.put_u64(self.sequence);
        out.put_i64(self.base_offset.0);
        out.put_slice(&self.topic_id.0);
        out.put_i32(self.partition);
        out.put_u32(self.batch_bytes);
        out.put_i32(self.leader_epoch);
        out.put_u32(self.batch_checksum);
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<FrameHeader> {
        let checksum = crc32fast::hash(bytes.get(CHECKED_FROM..FRAME_BYTES)?);
        if bytes.get_u32() != MAGIC || bytes.get_u32() != checksum {
            return None;
        }
        let (salt, sequence) = (bytes.get_u64(), bytes.get_u64());
        let base_offset = Offset(bytes.get_i64());
        let mut topic_id = TopicId::ZERO;
        bytes.copy_to_slice(&mut topic_id.0);
        let (partition, batch_bytes) = (bytes.get_i32(), bytes.get_u32());
        let (leader_epoch, batch_checksum) = (bytes.get_i32(), bytes.get_u32());
        Some(FrameHeader {
            salt,
            sequence,
            base_offset,
            topic_id,
            partition,
            batch_bytes,
            leader_epoch,
            batch_checksum,
        })
    }

    /// Whether this is the batch that it was written for.
    fn names(&self, batch: &BatchHeader) -> bool {
        batch.base_offset == self.base_offset
            && batch.batch_bytes == self.batch_bytes as usize
            && batch.leader_epoch == self.leader_epoch
            && batch.crc == self.batch_checksum
    }
}

/// Writes a frame into `target`, which is as long as it, and into the batch what the broker decides: the one copy on
/// the way to the journal.
pub fn write(target: &mut [u8], header: &FrameHeader, batch: &[u8]) {
    let (head, copy) = target.split_at_mut(FRAME_BYTES);
    head.copy_from_slice(&header.encode());
    copy.copy_from_slice(batch);
    batch::assign_offsets(copy, header.base_offset, header.leader_epoch);
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: FrameHeader,
    /// The offset after its batch.
    pub next_offset: Offset,
}

/// The frames of a region as a start would find them: up to the first that is torn, or of another lap.
pub struct Frames<'a> {
    region: &'a [u8],
    at: usize,
    last: Option<FrameHeader>,
}

impl<'a> Frames<'a> {
    pub fn of(region: &'a [u8]) -> Frames<'a> {
        Frames { region, at: 0, last: None }
    }

    /// The frame at this place, if it is whole and follows the last one.
    fn frame_at(&self, at: usize) -> Option<Frame> {
        let rest = self.region.get(at..)?;
        let header = FrameHeader::decode(rest)?;
        let follows = |last: FrameHeader| {
            last.salt == header.salt && last.sequence.checked_add(1) == Some(header.sequence)
        };
        let batch = rest[FRAME_BYTES..].get(..header.batch_bytes as usize)?;
        let found = batch::parse_whole(batch).ok().filter(|found| header.names(found))?;
        let frame = Frame { header, next_offset: found.next_offset() };
        self.last.is_none_or(follows).then_some(frame)
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let block = self.at.next_multiple_of(BLOCK_BYTES);
        // Else the last write ended within a block, with zeros behind it.
        let mut found = self.frame_at(self.at);
        if found.is_none() && block > self.at {
            let padding = self.region.get(self.at..block)?;
            if padding.iter().any(|byte| *byte != 0) {
                return None;
            }
            self.at = block;
            found = self.frame_at(block);
        }
        let frame = found?;
        self.at += FRAME_BYTES + frame.header.batch_bytes as usize;
        self.last = Some(frame.header);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use corelog::types::Timestamp;
    use std::ops::Range;

    fn batch_of(bytes_max: usize) -> Bytes {
        crate::commit_forms::batch_of(bytes_max, Timestamp(1_700_000_000_000))
    }

    const TOPIC: TopicId = TopicId([9; 16]);

    fn header(batch: &[u8], salt: u64, sequence: u64) -> FrameHeader {
        let found = batch::parse_whole(batch).unwrap();
        FrameHeader {
            salt,
            sequence,
            base_offset: Offset(1000 + sequence as i64),
            topic_id: TOPIC,
            partition: sequence as i32 % 3,
            batch_bytes: batch.len() as u32,
            leader_epoch: 4,
            batch_checksum: found.crc,
        }
    }

    /// Writes of so many frames each, one behind the other from a block on, into a region that may be in use. Gives
    /// where each frame lies.
    fn fill(region: &mut [u8], writes: &[usize], salt: u64, first: u64) -> Vec<Range<usize>> {
        let (mut at, mut places) = (0, Vec::new());
        for frames in writes {
            for _ in 0..*frames {
                let sequence = first + places.len() as u64;
                let batch = batch_of(300 + sequence as usize % 7 * 500);
                let place = at..at + FRAME_BYTES + batch.len();
                write(&mut region[place.clone()], &header(&batch, salt, sequence), &batch);
                at = place.end;
                places.push(place);
            }
            let block = at.next_multiple_of(BLOCK_BYTES);
            region[at..block].fill(0);
            at = block;
        }
        places
    }

    fn sequences(region: &[u8]) -> Vec<u64> {
        Frames::of(region).map(|frame| frame.header.sequence).collect()
    }

    #[test]
    fn what_was_written_is_read_back_over_padding_and_to_the_last() {
        let mut region = vec![0; 32 * BLOCK_BYTES];
        fill(&mut region, &[3, 1, 5], 77, 10);
        assert_eq!(sequences(&region), (10..19).collect::<Vec<u64>>());
        let batch = batch_of(300 + 10 % 7 * 500);
        let first = Frames::of(&region).next().unwrap();
        assert_eq!(first.header, header(&batch, 77, 10));
        let records = batch::parse_whole(&batch).unwrap().last_offset_delta + 1;
        assert_eq!(first.next_offset - first.header.base_offset, i64::from(records));
        // The batch lies there as it will in its segment.
        let stored = batch::parse_whole(&region[FRAME_BYTES..]).unwrap();
        assert_eq!((stored.base_offset, stored.leader_epoch), (Offset(1010), 4));
    }

    #[test]
    fn frames_of_an_older_lap_end_the_walk_wherever_they_begin() {
        let mut region = vec![0; 64 * BLOCK_BYTES];
        fill(&mut region, &[4, 4, 4, 4, 4, 4], 1, 0);
        fill(&mut region, &[4, 4], 2, 24);
        assert_eq!(sequences(&region), (24..32).collect::<Vec<u64>>());
        // Even when their numbers would go on.
        let mut region = vec![0; 64 * BLOCK_BYTES];
        fill(&mut region, &[2, 2, 2], 1, 8);
        fill(&mut region, &[2], 2, 8);
        assert_eq!(sequences(&region), [8, 9]);
    }

    #[test]
    fn a_torn_tail_ends_the_walk_at_the_last_whole_frame() {
        let mut older = vec![0; 32 * BLOCK_BYTES];
        fill(&mut older, &[5, 5], 1, 100);
        let mut newer = older.clone();
        let places = fill(&mut newer, &[3, 4], 2, 110);
        assert_eq!(sequences(&newer), (110..117).collect::<Vec<u64>>());
        // The device took some blocks of a write and not one of the others.
        for torn in (0..places[6].end).step_by(BLOCK_BYTES) {
            let mut region = newer.clone();
            let block = torn..torn + BLOCK_BYTES;
            region[block.clone()].copy_from_slice(&older[block]);
            let is_whole = |place: &Range<usize>| region[place.clone()] == newer[place.clone()];
            let whole = places.iter().take_while(|place| is_whole(place)).count() as u64;
            assert!(whole < 7, "the block at {torn} is a part of a frame");
            let found = sequences(&region);
            if whole == 0 {
                // The region begins as the last lap left it: nothing of this one is taken for a part of it.
                assert!(found.iter().all(|sequence| *sequence < 110), "{found:?}");
            } else {
                assert_eq!(found, (110..110 + whole).collect::<Vec<u64>>(), "torn at {torn}");
            }
        }
    }

    #[test]
    fn a_bit_that_turned_anywhere_is_found() {
        let mut region = vec![0; 2 * BLOCK_BYTES];
        fill(&mut region, &[1, 1], 5, 0);
        let length = FRAME_BYTES + batch_of(300).len();
        for at in 0..length {
            let mut damaged = region.clone();
            damaged[at] ^= 1;
            assert!(sequences(&damaged).is_empty(), "byte {at}");
        }
    }
}
