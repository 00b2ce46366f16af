//! Lines of a file or of stdin, read by a thread of its own, so that a person who types slowly, or a slow pipe,
//! never holds up the conversation with the brokers.

use super::Failure;
use crate::limits::BATCH_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Bytes of one read, and reads that wait to be taken. At it, the thread waits.
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_MAX: usize = 8;

/// A line longer than any record is an error.
const LINE_BYTES_MAX: usize = BATCH_BYTES_MAX;

pub struct Lines {
    shared: Arc<Shared>,
    /// The chunk that is being cut into lines.
    chunk: Bytes,
    /// What an earlier chunk left of the line at its end.
    carry: BytesMut,
    taken: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    end: Option<io::Result<()>>,
    waker: Option<Waker>,
    /// Nobody takes lines any more.
    is_over: bool,
}

impl Lines {
    pub fn read(source: impl Read + Send + 'static) -> Lines {
        let shared = Arc::new(Shared::default());
        let reader = shared.clone();
        std::thread::spawn(move || reader.read_all(source));
        Lines { shared, chunk: Bytes::new(), carry: BytesMut::new(), taken: 0 }
    }

    /// Lines taken so far.
    pub fn count(&self) -> u64 {
        self.taken
    }

    /// The next line without its newline; None at the end. A line at the end needs no newline.
    ///
    /// # Errors
    /// When reading fails, or a line has no end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(at) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let mut line = self.chunk.split_to(at + 1);
                line.truncate(at);
                return Ok(Some(self.finish(line)));
            }
            if self.carry.len() + self.chunk.len() > LINE_BYTES_MAX {
                let line = self.taken + 1;
                let sentence = format!("line {line} is longer than {LINE_BYTES_MAX} bytes");
                return Err(Failure::failed(sentence));
            }
            self.carry.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            match poll_fn(|context| self.shared.poll_chunk(context)).await {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) if self.carry.is_empty() => return Ok(None),
                Ok(None) => return Ok(Some(self.finish(Bytes::new()))),
                Err(error) => return Err(Failure::failed(format!("cannot read: {error}"))),
            }
        }
    }

    fn finish(&mut self, end: Bytes) -> Bytes {
        self.taken += 1;
        if self.carry.is_empty() {
            return end;
        }
        self.carry.extend_from_slice(&end);
        std::mem::take(&mut self.carry).freeze()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.room.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_chunk(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut state = self.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            self.room.notify_one();
            return Poll::Ready(Ok(Some(chunk)));
        }
        match &mut state.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).map(|()| None)),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn read_all(&self, mut source: impl Read) {
        let mut buffer = vec![0; CHUNK_BYTES];
        let end = loop {
            match source.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) if !self.hand_over(Bytes::copy_from_slice(&buffer[..read])) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let mut state = self.lock();
        state.end = Some(end);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for room; false when nobody takes any more.
    fn hand_over(&self, chunk: Bytes) -> bool {
        let mut state = self.lock();
        while state.chunks.len() >= CHUNKS_MAX && !state.is_over {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.chunks.push_back(chunk);
        let waker = state.waker.take();
        let is_over = state.is_over;
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        !is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    /// Gives its bytes in pieces of this size.
    struct Dribble(&'static [u8], usize);

    impl Read for Dribble {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(self.1);
            let (now, later) = self.0.split_at(length);
            out[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    #[test]
    fn lines_are_cut_wherever_the_reads_end() {
        for piece in 1..12 {
            let mut lines = Lines::read(Dribble(b"one\n\ntwo\r\nlast", piece));
            let mut found = Vec::new();
            while let Some(line) = block_on(lines.next()).unwrap() {
                found.push(line);
            }
            assert_eq!(found, ["one", "", "two\r", "last"], "{piece}");
            assert_eq!(lines.count(), 4);
        }
    }

    #[test]
    fn more_than_fits_is_read_as_it_is_taken() {
        let line = [b'x'; 99_999];
        let text: Vec<u8> = [&line[..], b"\n"].concat().repeat(40);
        let mut lines = Lines::read(io::Cursor::new(text));
        for _ in 0..40 {
            assert_eq!(block_on(lines.next()).unwrap().unwrap(), &line[..]);
        }
        assert_eq!(block_on(lines.next()).unwrap(), None);
    }

    #[test]
    fn a_failed_read_is_told_after_the_lines_before_it() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                out[..2].copy_from_slice(b"a\n");
                Ok(2)
            }
        }
        let mut lines = Lines::read(Broken(false));
        assert_eq!(block_on(lines.next()).unwrap().unwrap(), "a");
        let failure = block_on(lines.next()).unwrap_err();
        assert!(format!("{failure:?}").contains("gone"));
    }
}
