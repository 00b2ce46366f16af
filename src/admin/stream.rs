//! What hyper wants of a connection and of an answer, in terms of the runtime's streams. Decides nothing.

use crate::runtime::Stream;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most that one read takes: a request is a few hundred bytes.
const READ_BYTES_MAX: usize = 4096;

/// A connection as hyper reads and writes it.
pub struct HttpStream {
    stream: Stream,
    received: BytesMut,
}

impl HttpStream {
    pub fn new(stream: Stream) -> HttpStream {
        HttpStream { stream, received: BytesMut::new() }
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = target.remaining().min(READ_BYTES_MAX);
        if limit == 0 {
            return Poll::Ready(Ok(()));
        }
        let HttpStream { stream, received } = &mut *self;
        received.clear();
        ready!(stream.poll_read(context, received, limit))?;
        target.put_slice(received);
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is held back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shutdown();
        Poll::Ready(Ok(()))
    }
}

/// An answer that is there as a whole.
#[derive(Debug)]
pub struct Whole(Bytes);

impl Whole {
    pub fn new(text: String) -> Whole {
        Whole(text.into())
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let all = std::mem::take(&mut self.0);
        Poll::Ready((!all.is_empty()).then(|| Ok(Frame::data(all))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
