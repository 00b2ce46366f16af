//! Cutting frames out of what a socket gave.

use crate::budgets::{self, limit};
use bytes::Bytes;
use corelog::limits::FRAME_BYTES_MAX;
use corelog::net::FrameBuffer;
use gungraun::prelude::*;
use std::hint::black_box;

const SMALL_FRAMES: u64 = 1000;
const LARGE_FRAMES: u64 = 10;
const MEBIBYTE: usize = 1 << 20;
/// Bytes that a read gives at most.
const PIECE_BYTES: usize = 64 * 1024;

/// A stream of frames, and as far as it was received what was cut out of it.
struct Received {
    stream: Vec<u8>,
    buffer: FrameBuffer,
    frames: Vec<Bytes>,
    count: usize,
}

impl Received {
    fn nothing(count: u64, frame_bytes: usize) -> Received {
        let mut frame = (frame_bytes as i32).to_be_bytes().to_vec();
        frame.resize(4 + frame_bytes, 7);
        let count = count as usize;
        Received {
            stream: frame.repeat(count),
            buffer: FrameBuffer::new(FRAME_BYTES_MAX),
            frames: Vec::with_capacity(count),
            count,
        }
    }

    /// All of the stream, in one chunk.
    fn everything(count: u64, frame_bytes: usize) -> Received {
        let mut received = Received::nothing(count, frame_bytes);
        received.buffer.bytes.extend_from_slice(&received.stream);
        received
    }

    fn cut(&mut self) {
        while let Some(frame) = self.buffer.next_frame().expect("the lengths are sound") {
            self.frames.push(frame);
        }
    }

    fn cut_all(mut self) -> Received {
        self.cut();
        assert_eq!(self.frames.len(), self.count);
        self
    }

    /// Receives all of the stream piece by piece, each into the room that was made for it.
    fn receive(mut self) -> Received {
        let mut at = 0;
        while at < self.stream.len() {
            // All of a frame is reserved, as where memory is no matter.
            let room = self.buffer.make_room(4 + MEBIBYTE);
            let piece = room.min(PIECE_BYTES).min(self.stream.len() - at);
            self.buffer.bytes.extend_from_slice(&self.stream[at..at + piece]);
            at += piece;
            self.cut();
        }
        assert_eq!(self.frames.len(), self.count);
        self
    }
}

#[library_benchmark]
#[bench::small(
    args = (Received::everything(SMALL_FRAMES, 100)),
    config = limit(budgets::FRAME_SMALL, SMALL_FRAMES)
)]
fn cut(received: Received) -> Received {
    black_box(received.cut_all())
}

#[library_benchmark]
#[bench::mebibyte(
    args = (Received::nothing(LARGE_FRAMES, MEBIBYTE)),
    config = limit(budgets::FRAME_MEBIBYTE, LARGE_FRAMES)
)]
fn receive(received: Received) -> Received {
    black_box(received.receive())
}

library_benchmark_group!(name = frames, benchmarks = [cut, receive]);
