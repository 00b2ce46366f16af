//! The newest part of a partition's log, still in the memory that it was written from: consumers near
//! the end are served from it by reference. Lives on the partition's shard; holds only committed bytes.

use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::{BufferSlice, SharedBuffer};
use crate::types::{Offset, Position};
use std::collections::VecDeque;

/// One commit's buffer: whole batches, from `start` to `end` in the segment's file.
#[derive(Clone)]
struct TailChunk {
    segment: Offset,
    /// Where the first batch begins and the last ends.
    start: Position,
    end: Position,
    buffer: SharedBuffer,
}

impl TailChunk {
    /// Where in the file the buffer's first byte belongs: the block of `start`.
    fn buffer_start(&self) -> u64 {
        self.start.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64
    }

    fn slice(&self, from: Position, to: Position) -> BufferSlice {
        let base = self.buffer_start();
        self.buffer.slice((from.0 - base) as usize..(to.0 - base) as usize)
    }
}

/// The chunks of one partition, oldest first, without gaps.
#[derive(Default)]
pub struct TailCache {
    chunks: VecDeque<TailChunk>,
    bytes: usize,
}

impl TailCache {
    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a commit's buffer, whose batches lie at `start..end` of `segment`. True when that is a
    /// chunk more: where a commit began in a block that the last one ended in, and that one held nothing
    /// else, the old buffer is dropped, since the new one repeats its bytes.
    pub fn push(
        &mut self,
        segment: Offset,
        start: Position,
        end: Position,
        buffer: SharedBuffer,
    ) -> bool {
        let mut is_new = true;
        let mut chunk = TailChunk { segment, start, end, buffer };
        if let Some(last) = self.chunks.back() {
            let contained = last.segment == segment
                && last.end == start
                && last.buffer_start() == chunk.buffer_start();
            if contained {
                chunk.start = last.start;
                self.bytes -= last.buffer.len();
                self.chunks.pop_back();
                is_new = false;
            }
        }
        self.bytes += chunk.buffer.len();
        self.chunks.push_back(chunk);
        is_new
    }

    /// Drops the oldest chunk; bytes still held.
    pub fn evict_oldest(&mut self) -> usize {
        self.bytes -= self.chunks.pop_front().map_or(0, |chunk| chunk.buffer.len());
        self.bytes
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    /// Committed bytes from `position` on, to the end of the chunk that holds it.
    pub fn read(&self, segment: Offset, position: Position) -> Option<BufferSlice> {
        let key = (segment, position);
        let after = self.chunks.partition_point(|chunk| (chunk.segment, chunk.start) <= key);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        (chunk.segment == segment && position < chunk.end).then(|| chunk.slice(position, chunk.end))
    }

    /// The bytes of the block that `end` lies in, up to `end`, when the newest chunk ends there.
    pub fn last_block(&self, segment: Offset, end: Position) -> Option<BufferSlice> {
        let last = self.chunks.back()?;
        if last.segment != segment || last.end != end {
            return None;
        }
        let block = Position(end.0 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64);
        // The buffer begins at a block, so it holds all of its last one.
        Some(last.slice(block, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::buffer::AlignedBuffer;

    fn buffer(blocks: usize, fill: u8) -> SharedBuffer {
        let mut buffer = AlignedBuffer::allocate(blocks * BLOCK_BYTES);
        buffer.as_mut_slice().fill(fill);
        buffer.freeze()
    }

    #[test]
    fn a_position_is_read_from_the_chunk_that_holds_it() {
        let mut cache = TailCache::default();
        let base = Offset(0);
        cache.push(base, Position(0), Position(5000), buffer(2, 1));
        cache.push(base, Position(5000), Position(9000), buffer(2, 2));
        assert_eq!(cache.read(base, Position(0)).unwrap().len(), 5000);
        assert_eq!(cache.read(base, Position(4999)).unwrap()[..], [1]);
        assert_eq!(cache.read(base, Position(5000)).unwrap().len(), 4000);
        assert!(cache.read(base, Position(9000)).is_none());
        assert!(cache.read(Offset(7), Position(0)).is_none());
        assert_eq!(cache.last_block(base, Position(9000)).unwrap().len(), 9000 - 8192);
        assert_eq!(cache.evict_oldest(), 8192);
        assert!(cache.read(base, Position(0)).is_none());
        assert_eq!(cache.bytes(), 8192);
    }

    #[test]
    fn small_commits_in_one_block_hold_one_block() {
        let mut cache = TailCache::default();
        for commit in 0..40 {
            let (start, end) = (Position(commit * 100), Position(commit * 100 + 100));
            cache.push(Offset(0), start, end, buffer(1, 0));
        }
        assert_eq!(cache.bytes(), BLOCK_BYTES);
        assert_eq!(cache.read(Offset(0), Position(0)).unwrap().len(), 4000);
    }
}
