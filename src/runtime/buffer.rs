//! Memory that direct I/O reads into and writes from: block-aligned, filled once, then shared by
//! reference on its core. Lives on one shard; never crosses to another (a hop copies, see `to_bytes`).

use crate::limits::BLOCK_BYTES;
use bytes::Bytes;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

#[cfg(any(test, feature = "sim"))]
type Storage = Vec<u8>;
#[cfg(not(any(test, feature = "sim")))]
type Storage = ::glommio::io::DmaBuffer;

/// A block-aligned buffer with one owner, to be filled. Its first contents are arbitrary.
pub struct AlignedBuffer {
    storage: Storage,
}

impl AlignedBuffer {
    /// Memory of `length` bytes, a positive multiple of the block size. The caller has bounded it.
    pub fn allocate(length: usize) -> AlignedBuffer {
        assert!(length > 0 && length.is_multiple_of(BLOCK_BYTES), "length {length}");
        #[cfg(any(test, feature = "sim"))]
        // Arbitrary contents, so that a test sees bytes that nobody wrote.
        let storage = vec![0xAA; length];
        #[cfg(not(any(test, feature = "sim")))]
        let storage = ::glommio::allocate_dma_buffer_global(length);
        AlignedBuffer { storage }
    }

    /// A copy of these bytes, at least one, with zeros behind them to the next block.
    pub fn padded(bytes: &[u8]) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::allocate(bytes.len().next_multiple_of(BLOCK_BYTES));
        let (copy, rest) = buffer.as_mut_slice().split_at_mut(bytes.len());
        copy.copy_from_slice(bytes);
        rest.fill(0);
        buffer
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        #[cfg(any(test, feature = "sim"))]
        return &mut self.storage;
        #[cfg(not(any(test, feature = "sim")))]
        self.storage.as_bytes_mut()
    }

    /// Ends the filling; from here on the bytes never change.
    pub fn freeze(self) -> SharedBuffer {
        SharedBuffer { storage: Rc::new(self.storage) }
    }
}

/// Bytes that never change, shared by reference within a core.
#[derive(Clone)]
pub struct SharedBuffer {
    storage: Rc<Storage>,
}

impl SharedBuffer {
    /// The whole buffer as `range` of it.
    ///
    /// # Panics
    /// When the range is outside the buffer: the caller's fault.
    pub fn slice(&self, range: Range<usize>) -> BufferSlice {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        BufferSlice { bytes: Backing::Written(self.clone()), range }
    }

    /// What the simulated disk read or kept.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn from_vec(bytes: Vec<u8>) -> SharedBuffer {
        SharedBuffer { storage: Rc::new(bytes) }
    }

    #[cfg(not(any(test, feature = "sim")))]
    pub(super) fn storage(&self) -> &Rc<Storage> {
        &self.storage
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        (*self.storage).as_ref()
    }
}

#[derive(Clone)]
enum Backing {
    Written(SharedBuffer),
    #[cfg(not(any(test, feature = "sim")))]
    Read(::glommio::io::ReadResult),
}

/// A run of bytes within a shared buffer; cheap to clone and to narrow.
#[derive(Clone)]
pub struct BufferSlice {
    bytes: Backing,
    range: Range<usize>,
}

impl BufferSlice {
    #[cfg(not(any(test, feature = "sim")))]
    pub(super) fn from_read(result: ::glommio::io::ReadResult) -> BufferSlice {
        let range = 0..result.len();
        BufferSlice { bytes: Backing::Read(result), range }
    }

    /// A part of this slice, without copying.
    ///
    /// # Panics
    /// When the range is outside the slice: the caller's fault.
    pub fn slice(&self, range: Range<usize>) -> BufferSlice {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let range = self.range.start + range.start..self.range.start + range.end;
        BufferSlice { bytes: self.bytes.clone(), range }
    }

    /// A copy that may cross to another core.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl Deref for BufferSlice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Backing::Written(buffer) => &buffer[self.range.clone()],
            #[cfg(not(any(test, feature = "sim")))]
            Backing::Read(result) => &result[self.range.clone()],
        }
    }
}

impl fmt::Debug for BufferSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferSlice({} bytes)", self.len())
    }
}
