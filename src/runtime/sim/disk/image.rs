//! The bytes of one file: a length, and the blocks that were ever written. Blocks are references into
//! the buffers that were written, so copying an image, or syncing one into another, copies no data.

use crate::limits::BLOCK_BYTES;
use crate::runtime::buffer::SharedBuffer;
use std::collections::BTreeMap;

/// What a device writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

const BLOCK: u64 = BLOCK_BYTES as u64;

#[derive(Clone)]
struct Block {
    buffer: SharedBuffer,
    start: usize,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.start + BLOCK_BYTES]
    }
}

/// A run of whole blocks of a buffer and its place in a file.
#[derive(Clone)]
pub(super) struct Extent {
    pub position: u64,
    pub buffer: SharedBuffer,
    pub start: usize,
    pub length: usize,
}

impl Extent {
    pub fn whole(position: u64, buffer: SharedBuffer) -> Extent {
        let length = buffer.len();
        Extent { position, buffer, start: 0, length }
    }

    pub fn end(&self) -> u64 {
        self.position + self.length as u64
    }

    pub fn overlaps(&self, other: &Extent) -> bool {
        self.position < other.end() && other.position < self.end()
    }

    /// What is left of this extent where `newer` has not overwritten it.
    pub fn without(&self, newer: &Extent) -> impl Iterator<Item = Extent> {
        let before = self.position..self.end().min(newer.position);
        let after = self.position.max(newer.end())..self.end();
        [before, after].into_iter().filter(|range| range.start < range.end).map(|range| Extent {
            position: range.start,
            buffer: self.buffer.clone(),
            start: self.start + (range.start - self.position) as usize,
            length: (range.end - range.start) as usize,
        })
    }
}

/// Bytes past `length` in the last block may be anything; growing turns them into zeros.
#[derive(Clone, Default)]
pub(super) struct Image {
    length: u64,
    blocks: BTreeMap<u64, Block>,
}

impl Image {
    pub fn from_bytes(bytes: &[u8]) -> Image {
        let mut image = Image { length: bytes.len() as u64, blocks: BTreeMap::new() };
        if !bytes.is_empty() {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
            image.apply(&Extent::whole(0, SharedBuffer::from_vec(padded)));
        }
        image
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The first byte from `position` on in a block that was ever written.
    pub fn next_written(&self, position: u64) -> Option<u64> {
        let (index, _) = self.blocks.range(position / BLOCK..).next()?;
        Some(position.max(index * BLOCK)).filter(|found| *found < self.length)
    }

    pub fn resize(&mut self, length: u64) {
        if length > self.length && !self.length.is_multiple_of(BLOCK) {
            let (index, kept) = (self.length / BLOCK, (self.length % BLOCK) as usize);
            if let Some(block) = self.blocks.get_mut(&index) {
                let mut bytes = block.bytes().to_vec();
                bytes[kept..].fill(0);
                *block = Block { buffer: SharedBuffer::from_vec(bytes), start: 0 };
            }
        }
        if length < self.length {
            self.blocks.split_off(&length.div_ceil(BLOCK));
        }
        self.length = length;
    }

    /// Writes what lies within the length; the caller grows the image first if it means to.
    pub fn apply(&mut self, extent: &Extent) {
        for start in (0..extent.length).step_by(BLOCK_BYTES) {
            let position = extent.position + start as u64;
            if position < self.length {
                let block = Block { buffer: extent.buffer.clone(), start: extent.start + start };
                self.blocks.insert(position / BLOCK, block);
            }
        }
    }

    /// Writes only those sectors that `keep` says.
    pub fn apply_sectors(&mut self, extent: &Extent, keep: impl FnMut() -> bool) {
        let mixed = self.mixed(extent, keep);
        self.apply(&mixed);
    }

    /// The extent as it would read if only some of its sectors had been written over this image.
    pub fn mixed(&self, extent: &Extent, mut keep: impl FnMut() -> bool) -> Extent {
        let mut bytes = self.read_padded(extent.position, extent.length);
        for start in (0..extent.length).step_by(SECTOR_BYTES) {
            if keep() {
                let from = extent.start + start;
                bytes[start..start + SECTOR_BYTES]
                    .copy_from_slice(&extent.buffer[from..from + SECTOR_BYTES]);
            }
        }
        Extent::whole(extent.position, SharedBuffer::from_vec(bytes))
    }

    /// At most `length` bytes; fewer at the end of the file.
    pub fn read(&self, position: u64, length: usize) -> Vec<u8> {
        let available = self.length.saturating_sub(position);
        self.read_padded(position, length.min(usize::try_from(available).unwrap_or(usize::MAX)))
    }

    /// Exactly `length` bytes, zeros where nothing was written.
    fn read_padded(&self, position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let end = position + length as u64;
        for (index, block) in self.blocks.range(position / BLOCK..end.div_ceil(BLOCK)) {
            let block_start = index * BLOCK;
            let from = position.max(block_start);
            let to = end.min(block_start + BLOCK).min(self.length.max(from));
            bytes[(from - position) as usize..(to - position) as usize].copy_from_slice(
                &block.bytes()[(from - block_start) as usize..(to - block_start) as usize],
            );
        }
        bytes
    }

    /// Turns one bit over where it lies.
    pub fn flip_bit(&mut self, position: u64, bit: u8) {
        assert!(position < self.length, "byte {position} of a file of {}", self.length);
        let start = position / BLOCK * BLOCK;
        let mut bytes = self.read_padded(start, BLOCK_BYTES);
        bytes[(position - start) as usize] ^= 1 << (bit % 8);
        self.apply(&Extent::whole(start, SharedBuffer::from_vec(bytes)));
    }
}
