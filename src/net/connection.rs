//! One client's connection: requests are read and started in order, answers leave in the same order.
//!
//! A single long-lived task per connection polls both halves. Produce requests are dispatched when read,
//! so that their appends gather; every other request starts when its turn to answer comes, as in Kafka.
//! At any limit (requests in flight, answers not taken, memory) the socket is not read; nothing is dropped.

use super::budget::{Reservation, UNRESERVED_BYTES_MAX};
use super::frame::{FrameBuffer, FrameError, LENGTH_BYTES};
use super::server::Server;
use crate::control_plane::ConnectionInfo;
use crate::data_plane::{AnswerShare, Part, Response};
use crate::limits::{
    ANSWER_STILL_MAX_WHEN_SCARCE, FRAME_BYTES_PER_SECOND_MIN, FRAME_STILL_MAX,
    REQUESTS_IN_FLIGHT_MAX, REQUESTS_LATER_MAX, RESPONSE_BACKLOG_BYTES_MAX, SEND_SLICES_MAX,
    STILL_MAX_WHEN_SCARCE,
};
use crate::router::{self, InFlight, Refusal, Routed};
use crate::runtime::{self, Instant, Stream};
use crate::wire::ApiKey;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Answers gathered for one send, in bytes; more wait for the next.
const SEND_BYTES_TARGET: usize = 512 * 1024;
/// How long answers may still leave after the client ended its side or was refused.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why a connection ends, other than by the client's wish.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] Refusal),
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// What the server knows of a connection while it lives.
#[derive(Debug)]
pub struct ConnectionState {
    /// When the last whole request arrived or answer left, or the connection began.
    pub active_at: Cell<Instant>,
    /// The large frame that is arriving, while its client is waited for.
    arriving: Cell<Option<Arriving>>,
    /// Since when the client has taken nothing of what is sent to it.
    unsent_since: Cell<Option<Instant>>,
    pub in_flight: Cell<usize>,
    pub stopping: Cell<bool>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    stream: Rc<Stream>,
}

/// A frame that holds memory, while nothing more of it is there to be read.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    bytes: usize,
    /// How long its client was waited for before the last byte came.
    waited: Duration,
    last_byte_at: Instant,
}

impl ConnectionState {
    /// Nothing is owed to the client.
    pub fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && self.unsent_since.get().is_none()
    }

    /// The client owes the rest of a large frame, and the memory that it holds is better used by others:
    /// nothing came for long or, while others wait for memory, too little.
    pub fn owes_a_frame(&self, now: Instant, memory_is_scarce: bool) -> bool {
        let Some(arriving) = self.arriving.get() else { return false };
        let Arriving { bytes, waited, last_byte_at } = arriving;
        let still = now.since(last_byte_at);
        let pace = Duration::from_secs((bytes / FRAME_BYTES_PER_SECOND_MIN) as u64);
        still > FRAME_STILL_MAX
            || (memory_is_scarce && waited + still > STILL_MAX_WHEN_SCARCE + pace)
    }

    /// The client takes nothing of its answers, for as long as it may be idle or, while others wait for the
    /// memory that they hold, for longer than a moment.
    pub fn owes_a_read(&self, now: Instant, idle_max: Duration, memory_is_scarce: bool) -> bool {
        let still_max =
            if memory_is_scarce { idle_max.min(ANSWER_STILL_MAX_WHEN_SCARCE) } else { idle_max };
        self.unsent_since.get().is_some_and(|since| now.since(since) > still_max)
    }

    /// Stops reading requests; what is in flight is answered, then the connection closes.
    pub fn stop(&self) {
        self.stopping.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes the socket under the connection; false when that was done before.
    pub fn close(&self) -> bool {
        self.stream.shutdown();
        !self.closed.replace(true)
    }
}

struct Connection {
    server: Rc<Server>,
    stream: Rc<Stream>,
    info: ConnectionInfo,
    state: Rc<ConnectionState>,
    queue: RefCell<Queue>,
    backlog_bytes: Cell<usize>,
    /// The reader waits for room, the writer for something to send.
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    reading_ended: Cell<bool>,
    /// The client was too fast: its socket is not read until then.
    paused_until: Cell<Option<Instant>>,
}

/// A frame that is too large to arrive without memory set aside for it.
struct LargeFrame {
    reservation: Reservation,
    /// How long its client was waited for, and until when.
    waited: Duration,
    last_byte_at: Instant,
}

/// A request in flight, with the memory that its bytes take.
struct Waiting {
    key: ApiKey,
    arrived_at: Instant,
    answer: InFlight,
    _reservation: Option<Reservation>,
}

impl Waiting {
    /// It starts when its turn to answer comes, and may wait for something then.
    fn is_later(&self) -> bool {
        self.answer.is_later()
    }
}

/// Answers to come, oldest first.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Those that start when their turn comes: asked for each request, so they are counted.
    later: usize,
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        self.later += usize::from(waiting.is_later());
        self.waiting.push_back(waiting);
    }

    fn pop(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.later -= usize::from(first.is_later());
        }
    }
}

/// Serves a connection until either side ends it.
pub async fn serve(server: Rc<Server>, stream: Stream) {
    let stream = Rc::new(stream);
    let state = Rc::new(ConnectionState {
        active_at: Cell::new(runtime::now()),
        arriving: Cell::new(None),
        unsent_since: Cell::new(None),
        in_flight: Cell::new(0),
        stopping: Cell::new(false),
        closed: Cell::new(false),
        waker: RefCell::default(),
        stream: stream.clone(),
    });
    let info = ConnectionInfo { peer: stream.peer_address(), local: stream.local_address() };
    let key = server.register(state.clone());
    let connection = Connection {
        server: server.clone(),
        stream,
        info,
        state,
        queue: RefCell::default(),
        backlog_bytes: Cell::new(0),
        reader: RefCell::default(),
        writer: RefCell::default(),
        reading_ended: Cell::new(false),
        paused_until: Cell::new(None),
    };
    connection.run().await;
    server.unregister(key);
}

impl Connection {
    async fn run(&self) {
        let read = async {
            let end = self.read_requests().await;
            self.reading_ended.set(true);
            wake(&self.writer);
            if let Err(end) = &end {
                self.report(end);
            }
            // The other half sends what is still owed, then ends both.
            runtime::sleep(DRAIN_MAX).await;
        };
        futures_lite::future::or(self.write_responses(), read).await;
        self.stream.shutdown();
    }

    fn report(&self, end: &End) {
        let peer = self.info.peer;
        match end {
            End::Socket(error) => tracing::debug!(%peer, %error, "connection lost"),
            refused => {
                self.server.shard.probe.connections_bad_request.add(1);
                tracing::warn!(%peer, reason = %refused, "connection closed: bad request");
            }
        }
    }

    // ------------------------------------------------------------ reading

    async fn read_requests(&self) -> Result<(), End> {
        let mut buffer = FrameBuffer::new(self.server.config.request_bytes_max);
        let mut large = None;
        loop {
            // A client that sends faster than its bytes are taken would have this core to itself.
            runtime::yield_if_needed().await;
            self.room_for_a_request().await;
            if large.is_none() {
                // Not in the middle of a large frame, which would hold memory meanwhile.
                self.pause_is_over().await;
            }
            if self.state.stopping.get() {
                return Ok(());
            }
            if let Some(frame) = buffer.next_frame()? {
                let now = runtime::now();
                self.state.active_at.set(now);
                let reservation = large.take().map(|large: LargeFrame| large.reservation);
                self.start(frame, reservation, now)?;
                continue;
            }
            let stopped = async {
                poll_fn(|context| self.poll_stopping(context)).await;
                Ok(())
            };
            futures_lite::future::or(self.reserve(&buffer, &mut large), stopped).await?;
            if self.read_more(&mut buffer, large.as_mut()).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Sets memory aside for the next step of a large frame, once the last is used up.
    async fn reserve(
        &self,
        buffer: &FrameBuffer,
        large: &mut Option<LargeFrame>,
    ) -> Result<(), FrameError> {
        let Some(length) = buffer.frame_bytes()? else { return Ok(()) };
        let (have, frame) = (buffer.bytes.len(), LENGTH_BYTES + length);
        let held = large.as_ref().map_or(0, |large| large.reservation.bytes());
        let held = held.max(UNRESERVED_BYTES_MAX);
        if frame <= held || have < held {
            return Ok(());
        }
        if large.is_none() {
            self.only_produces_ahead().await;
        }
        let large = large.get_or_insert_with(|| LargeFrame {
            reservation: self.server.budget.reservation(),
            waited: Duration::ZERO,
            last_byte_at: runtime::now(),
        });
        large.reservation.grow(have, frame).await;
        Ok(())
    }

    /// Waits until all that is ahead in the line ends by itself: a fetch may wait for an hour, and so long
    /// would a large request behind it hold its memory.
    async fn only_produces_ahead(&self) {
        poll_fn(|context| {
            if self.queue.borrow().later == 0 {
                return Poll::Ready(());
            }
            *self.reader.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Reads what has come; 0 when nothing will any more. `large`: the frame that its bytes are for.
    async fn read_more(
        &self,
        buffer: &mut FrameBuffer,
        large: Option<&mut LargeFrame>,
    ) -> io::Result<usize> {
        let reserved = large.as_ref().map_or(0, |large| large.reservation.bytes());
        let read = poll_fn(|context| {
            if self.poll_stopping(context).is_ready() {
                return Poll::Ready(Ok(0));
            }
            let mut spare = self.server.spare_chunk.borrow_mut();
            buffer.take_up(&mut spare);
            let limit = buffer.make_room(reserved);
            let read = self.stream.poll_read(context, &mut buffer.bytes, limit);
            if read.is_pending() {
                buffer.release_if_empty(&mut spare);
                // What was sent while nobody looked would be there: all that time its client was still.
                self.state.arriving.set(large.as_ref().map(|large| Arriving {
                    bytes: buffer.bytes.len(),
                    waited: large.waited,
                    last_byte_at: large.last_byte_at,
                }));
            }
            read
        })
        .await;
        if let Ok(bytes) = read {
            self.server.shard.probe.bytes_received.add(bytes as u64);
        }
        if let Some(large) = large {
            let now = runtime::now();
            if self.state.arriving.take().is_some() {
                large.waited += now.since(large.last_byte_at);
            }
            large.last_byte_at = now;
        }
        read
    }

    fn poll_stopping(&self, context: &Context<'_>) -> Poll<()> {
        self.remember(context);
        if self.state.stopping.get() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn remember(&self, context: &Context<'_>) {
        let mut waker = self.state.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Starts a request; its answer takes its place in the line.
    fn start(
        &self,
        frame: Bytes,
        reservation: Option<Reservation>,
        arrived_at: Instant,
    ) -> Result<(), Refusal> {
        let server = &self.server;
        let Routed { key, answer } = router::route(&server.services, frame, self.info)?;
        server.shard.probe.apis.of(key.to_i16()).requests.add(1);
        let mut queue = self.queue.borrow_mut();
        queue.push(Waiting { key, arrived_at, answer, _reservation: reservation });
        self.state.in_flight.set(queue.waiting.len());
        drop(queue);
        wake(&self.writer);
        Ok(())
    }

    /// Waits until another request may be taken on.
    async fn room_for_a_request(&self) {
        poll_fn(|context| {
            let queue = self.queue.borrow();
            let full = queue.waiting.len() >= REQUESTS_IN_FLIGHT_MAX
                || queue.later >= REQUESTS_LATER_MAX
                || self.backlog_bytes.get() >= RESPONSE_BACKLOG_BYTES_MAX;
            if !full || self.state.stopping.get() {
                return Poll::Ready(());
            }
            self.remember(context);
            *self.reader.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.server.shard.log.pending_below_limit().await;
        self.server.shard.mailbox.outbox_has_room().await;
    }

    /// Waits as long as the client was told to (KIP-219).
    async fn pause_is_over(&self) {
        while let Some(until) = self.paused_until.get() {
            let left = until.since(runtime::now());
            if left.is_zero() || self.state.stopping.get() {
                self.paused_until.set(None);
                return;
            }
            let stopped = poll_fn(|context| self.poll_stopping(context));
            futures_lite::future::or(runtime::sleep(left), stopped).await;
        }
    }

    fn pause(&self, pause: Duration) {
        if !pause.is_zero() {
            let until = Some(runtime::now() + pause);
            self.paused_until.set(self.paused_until.get().max(until));
        }
    }

    // ------------------------------------------------------------ writing

    /// Sends answers in order until nothing more can come.
    async fn write_responses(&self) {
        let mut out = Outgoing::new(self.server.services.answers.hold(0));
        loop {
            runtime::yield_if_needed().await;
            let more = poll_fn(|context| self.poll_gather(&mut out, context)).await;
            if !more {
                return;
            }
            let sent = poll_fn(|context| self.poll_send(&mut out, context)).await;
            if let Err(error) = sent {
                tracing::debug!(peer = %self.info.peer, %error, "cannot send");
                return;
            }
        }
    }

    /// Ready with true once something can be sent, with false once nothing will come any more.
    fn poll_gather(&self, out: &mut Outgoing, context: &mut Context<'_>) -> Poll<bool> {
        // One look at the clock for all that leave together.
        let mut answered_at = None;
        while out.bytes < SEND_BYTES_TARGET && out.parts.len() < SEND_SLICES_MAX {
            let mut queue = self.queue.borrow_mut();
            let Some(head) = queue.waiting.front_mut() else { break };
            if !out.parts.is_empty() && head.is_later() {
                // It may wait in line for memory, and nobody would look at it while the client is sent to.
                break;
            }
            let Poll::Ready(outcome) = head.answer.poll(context) else { break };
            let (key, arrived_at) = (head.key, head.arrived_at);
            queue.pop();
            self.state.in_flight.set(queue.waiting.len());
            drop(queue);
            wake(&self.reader);
            match outcome {
                Ok(response) => {
                    let now = *answered_at.get_or_insert_with(runtime::now);
                    self.count(key, arrived_at, now, &response);
                    self.pause(response.pause);
                    out.push(response);
                }
                Err(refusal) => {
                    if let Refusal::Silent(code) = refusal {
                        let errors = &self.server.shard.probe.errors;
                        errors.add(key.to_i16(), code.to_i16(), 1);
                    }
                    self.report(&End::Request(refusal));
                    *self.queue.borrow_mut() = Queue::default();
                    self.reading_ended.set(true);
                }
            }
        }
        self.backlog_bytes.set(out.bytes);
        if !out.parts.is_empty() {
            return Poll::Ready(true);
        }
        if self.queue.borrow().waiting.is_empty() && self.reading_ended.get() {
            return Poll::Ready(false);
        }
        *self.writer.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    fn count(&self, key: ApiKey, arrived_at: Instant, now: Instant, response: &Response) {
        let probe = &self.server.shard.probe;
        probe.apis.of(key.to_i16()).duration.record(now.0.saturating_sub(arrived_at.0));
        for (code, count) in response.errors.iter() {
            probe.errors.add(key.to_i16(), code.to_i16(), count);
        }
    }

    /// Sends all that was gathered. While the client does not take it, nothing more is gathered.
    fn poll_send(&self, out: &mut Outgoing, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !out.parts.is_empty() {
            let empty = IoSlice::new(&[]);
            let mut slices = [empty; 64];
            let mut count = 0;
            for (slice, part) in slices.iter_mut().zip(&out.parts) {
                let skip = if count == 0 { out.sent_of_first } else { 0 };
                *slice = IoSlice::new(&part[skip..]);
                count += 1;
            }
            match self.stream.poll_write_vectored(context, &slices[..count]) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(sent)) => {
                    self.state.unsent_since.set(None);
                    self.server.shard.probe.bytes_sent.add(sent as u64);
                    out.advance(sent);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let since = self.state.unsent_since.get();
                    self.state.unsent_since.set(since.or_else(|| Some(runtime::now())));
                    return Poll::Pending;
                }
            }
        }
        out.share.set(0);
        self.state.active_at.set(runtime::now());
        self.backlog_bytes.set(0);
        wake(&self.reader);
        Poll::Ready(Ok(()))
    }
}

/// Answers on their way into the socket.
struct Outgoing {
    parts: VecDeque<Part>,
    sent_of_first: usize,
    bytes: usize,
    /// The memory that they hold.
    share: AnswerShare,
}

impl Outgoing {
    fn new(share: AnswerShare) -> Outgoing {
        Outgoing { parts: VecDeque::new(), sent_of_first: 0, bytes: 0, share }
    }

    fn push(&mut self, response: Response) {
        let bytes = response.bytes();
        self.bytes += bytes;
        match response.share {
            Some(share) => self.share.absorb(share),
            None => self.share.set(self.share.bytes() + bytes),
        }
        self.parts.extend(response.parts.into_iter().filter(|part| !part.is_empty()));
    }

    fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.parts.front() {
            let rest = first.len() - self.sent_of_first;
            if sent < rest {
                self.sent_of_first += sent;
                return;
            }
            sent -= rest;
            self.share.give_back(first.len());
            self.sent_of_first = 0;
            self.parts.pop_front();
        }
        debug_assert_eq!(sent, 0);
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let waker = waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
