//! Cutting a byte stream into frames: four bytes of length, then so many bytes. Pure.
//!
//! The buffer grows with what has arrived, not with what a length promises.

use crate::limits::FRAME_BYTES_MIN;
use bytes::{Buf, Bytes, BytesMut};

const LENGTH_BYTES: usize = 4;
/// What an idle connection's next read may take at once.
const READ_BYTES_MIN: usize = 64 * 1024;
/// The most that is allocated ahead of bytes that have not arrived.
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;

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
    /// The size of recent frames, so that the next one fits its buffer from the start.
    recent_bytes: usize,
}

impl FrameBuffer {
    /// `limit`: largest frame that is accepted, in bytes.
    pub fn new(limit: usize) -> FrameBuffer {
        FrameBuffer { bytes: BytesMut::new(), limit, recent_bytes: 0 }
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
        // Falls slowly, so that one small request among large ones does not shrink the buffer.
        self.recent_bytes = length.max(self.recent_bytes - self.recent_bytes / 8);
        Ok(Some(frame))
    }

    /// Bytes to make room for before the next read.
    pub fn read_bytes(&self) -> usize {
        let have = self.bytes.len();
        let rest = match self.frame_bytes() {
            Ok(Some(length)) => (LENGTH_BYTES + length).saturating_sub(have),
            _ => self.recent_bytes.min(READ_AHEAD_BYTES_MAX),
        };
        // Twice what is there, at least, so that a large frame is copied a few times at most.
        rest.min(READ_AHEAD_BYTES_MAX.max(have)).max(READ_BYTES_MIN)
    }

    /// Gives the memory of an empty buffer back: an idle connection holds none.
    pub fn release_if_empty(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
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
    fn room_follows_what_has_arrived_not_what_is_promised() {
        let mut buffer = FrameBuffer::new(100 << 20);
        buffer.bytes.extend_from_slice(&(100i32 << 20).to_be_bytes());
        assert!(buffer.read_bytes() <= READ_AHEAD_BYTES_MAX);
        buffer.bytes.resize(8 << 20, 0);
        assert!(buffer.read_bytes() <= 8 << 20);
    }
}
