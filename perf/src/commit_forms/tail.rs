//! What of one partition's log is in the journal only, and the pieces in which it goes to the segment's file: whole
//! blocks, as a commit of the log writes them. No device.

use corelog::limits::BLOCK_BYTES;
use corelog::runtime::buffer::{AlignedBuffer, BufferSlice, SharedBuffer};
use corelog::types::Offset;
use std::collections::VecDeque;

/// First preallocation of a segment, and the largest step by which it grows, as the log's.
pub const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
const ALLOCATE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
pub struct Tail {
    /// The offset of the next batch that is offered.
    pub next_offset: Offset,
    /// Bytes of log in the segment's file, or on their way there.
    end: u64,
    /// Length of the file.
    allocated: u64,
    /// The bytes of the block in which the last piece ended: the next one repeats them.
    last_block: Vec<u8>,
    /// Batches in the journal only, each with the number of its region.
    waiting: VecDeque<(u64, BufferSlice)>,
}

/// A write to a segment.
pub struct Piece {
    pub position: u64,
    pub buffer: SharedBuffer,
    /// How long the file has to be made before.
    pub allocate: Option<u64>,
    /// Bytes of log in it.
    pub log_bytes: u64,
    /// Nothing else of the region is left.
    pub is_last: bool,
}

impl Tail {
    /// Of a segment's file that is there, empty.
    pub fn new() -> Tail {
        Tail {
            next_offset: Offset::ZERO,
            end: 0,
            allocated: ALLOCATE_BYTES_MIN,
            last_block: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Takes up a batch that the journal has. True when it is the first of its region.
    pub fn add(&mut self, region: u64, batch: BufferSlice) -> bool {
        let last = self.waiting.back().map(|(last, _)| *last);
        assert!(last.is_none_or(|last| last <= region), "batches come in the journal's order");
        self.waiting.push_back((region, batch));
        last != Some(region)
    }

    /// The next piece of what lies in regions up to this one, of which there must be something.
    pub fn take(&mut self, region: u64, piece_bytes_max: usize) -> Piece {
        let head = self.last_block.len();
        let (mut count, mut bytes) = (0, head);
        for (_, batch) in self.waiting.iter().take_while(|(number, _)| *number <= region) {
            if count > 0 && bytes + batch.len() > piece_bytes_max {
                break;
            }
            (count, bytes) = (count + 1, bytes + batch.len());
        }
        assert!(count > 0, "nothing of region {region} is left");
        let length = bytes.next_multiple_of(BLOCK_BYTES);
        let mut buffer = AlignedBuffer::allocate(length);
        let target = buffer.as_mut_slice();
        target[..head].copy_from_slice(&self.last_block);
        let mut at = head;
        for (_, batch) in self.waiting.drain(..count) {
            target[at..at + batch.len()].copy_from_slice(&batch);
            at += batch.len();
        }
        target[at..].fill(0);
        self.last_block.clear();
        self.last_block.extend_from_slice(&target[at / BLOCK_BYTES * BLOCK_BYTES..at]);
        let position = self.end - head as u64;
        let log_bytes = (at - head) as u64;
        self.end += log_bytes;
        Piece {
            position,
            buffer: buffer.freeze(),
            allocate: self.grow(position + length as u64),
            log_bytes,
            is_last: self.waiting.front().is_none_or(|(number, _)| *number > region),
        }
    }

    /// As the log does: more at once, the more there is.
    fn grow(&mut self, need: u64) -> Option<u64> {
        if need <= self.allocated {
            return None;
        }
        let step = self.allocated.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
        self.allocated = need.max(self.allocated + step);
        Some(self.allocated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(fill: u8, bytes: usize) -> BufferSlice {
        AlignedBuffer::padded(&vec![fill; bytes]).freeze().slice(0..bytes)
    }

    #[test]
    fn pieces_make_the_log_and_each_repeats_the_block_in_which_the_last_one_ended() {
        let mut tail = Tail::new();
        let (mut expect, mut file) = (Vec::new(), vec![0xee; 1 << 20]);
        let mut length = ALLOCATE_BYTES_MIN;
        for region in 0..40 {
            for number in 0..=region % 3 {
                let bytes = 1000 + 1700 * number as usize;
                assert_eq!(tail.add(region, batch(region as u8, bytes)), number == 0);
                expect.extend(vec![region as u8; bytes]);
            }
            let mut is_last = false;
            while !is_last {
                let piece = tail.take(region, 2 * BLOCK_BYTES);
                length = piece.allocate.unwrap_or(length);
                let (from, bytes) = (piece.position as usize, piece.buffer.len());
                assert!(from.is_multiple_of(BLOCK_BYTES) && (from + bytes) as u64 <= length);
                file[from..from + bytes].copy_from_slice(&piece.buffer);
                is_last = piece.is_last;
            }
        }
        assert_eq!(file[..expect.len()], expect);
        let block = expect.len().next_multiple_of(BLOCK_BYTES);
        assert!(file[expect.len()..block].iter().all(|byte| *byte == 0));
        assert_eq!(length, 4 * ALLOCATE_BYTES_MIN, "it doubled twice");
    }

    #[test]
    fn a_piece_takes_whole_batches_of_the_region_as_many_as_fit_and_one_at_least() {
        let mut tail = Tail::new();
        for (region, bytes) in [(3, 3000), (3, 3000), (3, 9000), (4, 500)] {
            tail.add(region, batch(1, bytes));
        }
        let taken = |piece: Piece| (piece.log_bytes, piece.position, piece.is_last);
        assert_eq!(taken(tail.take(3, 2 * BLOCK_BYTES)), (6000, 0, false));
        assert_eq!(taken(tail.take(3, 2 * BLOCK_BYTES)), (9000, 4096, true));
        assert_eq!(taken(tail.take(4, 2 * BLOCK_BYTES)), (500, 12_288, true));
    }
}
