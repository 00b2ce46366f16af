//! Cutting a byte stream into frames: four bytes of length, then so many bytes. Pure.
//!
//! A large frame gets room for all of it once its first bytes are there, so that it is not moved while the
//! rest arrives. Room is address space: the kernel gives memory as bytes come, and the connection reserves
//! it before they do.
//!
//! Connections that send little and wait, each a request in flight, would take a chunk for each request. So what
//! one leaves of a chunk is kept, once for each core, for whoever receives next: their frames lie behind each
//! other, and when all of them are gone the chunk is used from its start.

use super::budget::UNRESERVED_BYTES_MAX;
use crate::limits::FRAME_BYTES_MIN;
use bytes::{Buf, Bytes, BytesMut};

/// The length that every frame begins with.
pub const LENGTH_BYTES: usize = 4;
/// A read is offered at least this much room.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Bytes are received into chunks, frames are slices of them. A chunk's size follows the traffic, and a
/// frame larger than the largest has one to itself.
const CHUNK_BYTES_MIN: usize = 64 * 1024;
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// The most one read takes: what it copies is looked at next, and should still be in the core's own cache.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A length that no request has: the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes; the least is {FRAME_BYTES_MIN}")]
    TooSmall(i32),
    #[error("a frame of {length} bytes; at most {limit} are allowed")]
    TooLarge { length: usize, limit: usize },
}

/// Bytes received and not yet cut.
#[derive(Debug)]
pub struct FrameBuffer {
    pub bytes: BytesMut,
    limit: usize,
    /// Size of the next chunk, and bytes received into this one.
    chunk_bytes: usize,
    received: usize,
    /// Bytes received into the last chunk that it gave up.
    last_received: usize,
}

impl FrameBuffer {
    /// `limit`: largest frame that is accepted, in bytes.
    pub fn new(limit: usize) -> FrameBuffer {
        FrameBuffer {
            bytes: BytesMut::new(),
            limit,
            chunk_bytes: CHUNK_BYTES_MIN,
            received: 0,
            last_received: 0,
        }
    }

    /// The length of the frame that has begun; `None` while its length field is not all there.
    ///
    /// # Errors
    /// A length that no request has.
    pub fn frame_bytes(&self) -> Result<Option<usize>, FrameError> {
        let Some(field) = self.bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let signed = i32::from_be_bytes(*field);
        match usize::try_from(signed) {
            Ok(length) if length > self.limit => {
                Err(FrameError::TooLarge { length, limit: self.limit })
            }
            Ok(length) if length >= FRAME_BYTES_MIN => Ok(Some(length)),
            _ => Err(FrameError::TooSmall(signed)),
        }
    }

    /// The next whole frame, without its length; a slice of the buffer.
    ///
    /// # Errors
    /// A length that no request has.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.frame_bytes()? else { return Ok(None) };
        if self.bytes.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        let frame = self.bytes.split_to(length).freeze();
        self.received += LENGTH_BYTES + length;
        Ok(Some(frame))
    }

    fn is_chunk_small(&self) -> bool {
        self.chunk_bytes == CHUNK_BYTES_MIN
    }

    /// Receives into what another connection has left, if this one has no chunk, and needs no larger one, and what
    /// comes is likely to have room there.
    pub fn take_up(&mut self, spare: &mut BytesMut) {
        let has_none = self.bytes.capacity() == 0 && self.received == 0;
        if !has_none || !self.is_chunk_small() {
            return;
        }
        let is_whole = spare.try_reclaim(CHUNK_BYTES_MIN);
        if is_whole || spare.capacity() >= READ_BYTES_MIN.max(2 * self.last_received) {
            self.bytes = std::mem::take(spare);
        }
    }

    /// Makes room for what comes next; the bytes that the next read may take. Of a large frame that is what
    /// was `reserved` for it, its length included, and little before that.
    pub fn make_room(&mut self, reserved: usize) -> usize {
        let have = self.bytes.len();
        let known = self.frame_bytes().ok().flatten().map(|length| LENGTH_BYTES + length);
        let frame = known.unwrap_or(READ_BYTES_MIN);
        let held = reserved.max(UNRESERVED_BYTES_MAX);
        // With all of a frame may come what follows it in the same chunk.
        let allowed = if frame <= held { usize::MAX } else { held };
        let room = if reserved > 0 { frame } else { frame.min(held) };
        // However little is left of the smallest chunk, it is enough to find that nothing more comes yet.
        let is_enough = have == 0 && self.bytes.capacity() > 0 && self.is_chunk_small();
        if self.bytes.capacity() < room && !is_enough {
            if self.received > 0 {
                // The last chunk was filled by whole frames: more comes than it holds.
                self.chunk_bytes = (2 * self.chunk_bytes).min(CHUNK_BYTES_MAX);
            }
            let mut chunk = BytesMut::with_capacity(room.max(self.chunk_bytes));
            chunk.extend_from_slice(&self.bytes);
            (self.bytes, self.received) = (chunk, 0);
        }
        // Where no other frame of its size has room, what follows begins a chunk of its own and is not moved.
        let is_last = known.is_some_and(|frame| self.bytes.capacity() < 2 * frame);
        let end = if is_last { frame.min(allowed) } else { self.bytes.capacity().min(allowed) };
        (end - have).min(READ_BYTES_MAX)
    }

    /// Gives the memory of an empty buffer back: an idle connection holds none. Of the smallest chunks the largest
    /// rest is kept in `spare`; a slow client could hold more of a larger one than it needs.
    pub fn release_if_empty(&mut self, spare: &mut BytesMut) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            let rest = std::mem::take(&mut self.bytes);
            if self.is_chunk_small() && rest.capacity() > spare.capacity() {
                *spare = rest;
            }
            if self.received < self.chunk_bytes / 4 {
                self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
            }
            if self.received > 0 {
                (self.last_received, self.received) = (self.received, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(bodies: &[&[u8]]) -> Vec<u8> {
        let frame = |body: &&[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
        bodies.iter().flat_map(frame).collect()
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let bodies: [&[u8]; 3] = [b"12345678", b"the second frame", &[7; 300]];
        let stream = framed(&bodies);
        for piece in 1..40 {
            let mut buffer = FrameBuffer::new(1000);
            let mut got = Vec::new();
            for bytes in stream.chunks(piece) {
                buffer.bytes.extend_from_slice(bytes);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, bodies);
            assert!(buffer.bytes.is_empty());
        }
    }

    #[test]
    fn lengths_that_no_request_has_are_refused() {
        let refused = |field: i32| {
            let mut buffer = FrameBuffer::new(1000);
            buffer.bytes.extend_from_slice(&field.to_be_bytes());
            buffer.next_frame().err()
        };
        assert_eq!(refused(-1), Some(FrameError::TooSmall(-1)));
        assert_eq!(refused(i32::MIN), Some(FrameError::TooSmall(i32::MIN)));
        assert_eq!(refused(7), Some(FrameError::TooSmall(7)));
        assert_eq!(refused(8), None);
        assert_eq!(refused(1000), None);
        assert_eq!(refused(1001), Some(FrameError::TooLarge { length: 1001, limit: 1000 }));
        assert_eq!(
            refused(i32::MAX),
            Some(FrameError::TooLarge { length: i32::MAX as usize, limit: 1000 })
        );
    }

    #[test]
    fn a_large_frame_is_read_as_far_as_it_is_reserved_into_room_made_at_once() {
        let mut buffer = FrameBuffer::new(100 << 20);
        let length = 64 << 20;
        buffer.bytes.extend_from_slice(&(length as i32).to_be_bytes());
        assert_eq!(buffer.make_room(0), UNRESERVED_BYTES_MAX - LENGTH_BYTES);
        assert_eq!(buffer.bytes.capacity(), CHUNK_BYTES_MIN, "a length alone makes no room");
        buffer.bytes.resize(UNRESERVED_BYTES_MAX, 7);
        assert_eq!(buffer.make_room(UNRESERVED_BYTES_MAX + 5000), 5000);
        let (start, capacity) = (buffer.bytes.as_ptr(), buffer.bytes.capacity());
        assert_eq!(capacity, LENGTH_BYTES + length);
        let mut reserved = 0;
        while buffer.bytes.len() < capacity {
            let have = buffer.bytes.len();
            reserved = if have < reserved { reserved } else { capacity.min(2 * have) };
            let piece = buffer.make_room(reserved);
            assert!(piece > 0 && piece <= READ_BYTES_MAX && have + piece <= reserved);
            buffer.bytes.resize(have + piece, 7);
        }
        assert_eq!((buffer.bytes.as_ptr(), buffer.bytes.capacity()), (start, capacity));
        assert_eq!(buffer.next_frame().unwrap().unwrap().len(), length);
    }

    #[test]
    fn a_frame_that_has_begun_fits_the_room_made_for_it() {
        let mut buffer = FrameBuffer::new(10 << 20);
        for length in [8usize, 100, 70_000, 16_000, 900_000, 8, 300_000] {
            buffer.bytes.extend_from_slice(&(length as i32).to_be_bytes());
            buffer.make_room(LENGTH_BYTES + length);
            let capacity = buffer.bytes.capacity();
            buffer.bytes.resize(4 + length, 7);
            assert_eq!(buffer.bytes.capacity(), capacity, "no growth while {length} bytes arrive");
            assert_eq!(buffer.next_frame().unwrap().unwrap().len(), length);
        }
        buffer.release_if_empty(&mut BytesMut::new());
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    /// Receives one frame of so many bytes as a connection does, which then waits for another.
    fn receive(buffer: &mut FrameBuffer, spare: &mut BytesMut, body: &[u8]) -> Bytes {
        let stream = framed(&[body]);
        buffer.take_up(spare);
        assert!(buffer.make_room(0) >= stream.len(), "one read is enough");
        buffer.bytes.extend_from_slice(&stream);
        let frame = buffer.next_frame().unwrap().unwrap();
        buffer.take_up(spare);
        buffer.make_room(0);
        buffer.release_if_empty(spare);
        assert_eq!(buffer.bytes.capacity(), 0, "who waits holds nothing");
        frame
    }

    #[test]
    fn connections_share_a_chunk_and_use_it_again_when_its_frames_are_gone() {
        let mut spare = BytesMut::new();
        let mut buffers = [FrameBuffer::new(1 << 20), FrameBuffer::new(1 << 20)];
        let mut frames = Vec::new();
        for round in 0..20u8 {
            let buffer = &mut buffers[usize::from(round) % 2];
            frames.push(receive(buffer, &mut spare, &[round; 1000]));
        }
        assert!((0..20u8).zip(&frames).all(|(round, frame)| frame[..] == [round; 1000]));
        let end = |frame: &Bytes| frame.as_ptr_range().end.wrapping_add(LENGTH_BYTES);
        assert!(frames.windows(2).all(|pair| end(&pair[0]) == pair[1].as_ptr()));
        let start = frames[0].as_ptr();
        drop(frames);
        assert_eq!(receive(&mut buffers[0], &mut spare, &[7; 60_000]).as_ptr(), start);
    }

    #[test]
    fn a_connection_that_receives_more_than_there_is_left_takes_a_chunk_of_its_own() {
        let (mut spare, mut buffer) = (BytesMut::new(), FrameBuffer::new(1 << 20));
        let first = receive(&mut buffer, &mut spare, &[1; 40_000]);
        let second = receive(&mut buffer, &mut spare, &[2; 40_000]);
        assert_eq!((&first[..], &second[..]), (&[1; 40_000][..], &[2; 40_000][..]));
    }
}
