//! The simulated network: connections over a loopback that delays, splits, and cuts, with bounded
//! buffers. Within a direction of a connection bytes stay in order; that is all TCP promises.

use super::World;
use super::executor::{Event, sleep_until};
use super::random::Random;
use crate::runtime::{Instant, ListenOptions};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Where ports that nobody asked for start, as on Linux.
const EPHEMERAL_PORT_FIRST: u16 = 32768;

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// How long bytes are on their way.
    pub delay: Range<Duration>,
    /// Bytes that one direction of a connection takes before its reader has read some.
    pub buffer_bytes: usize,
    /// How often a read gives, or a write takes, less than it could.
    pub partial_probability: f64,
    /// How often a write cuts its connection at one of its bytes. The writer learns of it later.
    pub cut_probability: f64,
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions {
            delay: Duration::from_micros(10)..Duration::from_micros(100),
            buffer_bytes: 64 * 1024,
            partial_probability: 0.25,
            cut_probability: 0.0,
        }
    }
}

enum Segment {
    Bytes(BytesMut),
    /// The writer has ended its side.
    End,
    /// The connection breaks here.
    Cut,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    in_transit: VecDeque<(Instant, Segment)>,
    arrived: BytesMut,
    /// Bytes written and not read.
    unread: usize,
    /// The end has arrived.
    ended: bool,
    /// Its writer has shut down or closed.
    writer_closed: bool,
    /// Its reader has shut down or closed.
    reader_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// Sides are 0, who connected, and 1, who accepted; a pipe is indexed by the side that writes it.
struct Connection {
    pipes: [Pipe; 2],
    addresses: [SocketAddr; 2],
    closed: [bool; 2],
    cut: bool,
}

impl Connection {
    /// Both directions break: what is under way is lost, and what arrived may be, from some byte on.
    fn cut(&mut self, random: &Random) {
        self.cut = true;
        for pipe in &mut self.pipes {
            pipe.in_transit.clear();
            if random.one_in(2) {
                pipe.arrived.truncate(random.index(pipe.arrived.len() + 1));
            }
            pipe.wake();
        }
    }
}

struct ListenerState {
    address: SocketAddr,
    options: ListenOptions,
    /// Connections not yet accepted.
    queue: VecDeque<u64>,
    waiting: Option<Waker>,
}

struct State {
    options: NetworkOptions,
    random: Random,
    listeners: BTreeMap<u64, ListenerState>,
    connections: BTreeMap<u64, Connection>,
    ids_made: u64,
    ports_taken: u16,
    accept_error: Option<i32>,
}

/// The network of a simulation, for tests to tamper with; cheap to clone.
#[derive(Clone)]
pub struct Network {
    state: Rc<RefCell<State>>,
}

impl Network {
    pub(super) fn new(seed: u64, options: NetworkOptions) -> Network {
        let state = State {
            options,
            random: Random::stream(seed, 5),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            ids_made: 0,
            ports_taken: 0,
            accept_error: None,
        };
        Network { state: Rc::new(RefCell::new(state)) }
    }

    pub fn set_options(&self, options: NetworkOptions) {
        self.state.borrow_mut().options = options;
    }

    pub fn options(&self) -> NetworkOptions {
        self.state.borrow().options.clone()
    }

    /// Connections that at least one side holds open.
    pub fn connections(&self) -> usize {
        self.state.borrow().connections.len()
    }

    /// Breaks every connection to `port`, at any byte of what is under way.
    pub fn cut_port(&self, port: u16) {
        let State { connections, random, .. } = &mut *self.state.borrow_mut();
        let to_port = connections.values_mut().filter(|other| other.addresses[1].port() == port);
        to_port.for_each(|connection| connection.cut(random));
    }

    /// Breaks every connection.
    pub fn cut_all(&self) {
        let State { connections, random, .. } = &mut *self.state.borrow_mut();
        connections.values_mut().for_each(|connection| connection.cut(random));
    }

    /// The next `accept` that has a connection fails with this errno; the connection stays queued.
    pub fn fail_next_accept(&self, errno: i32) {
        self.state.borrow_mut().accept_error = Some(errno);
    }

    /// Something arrives on a connection.
    pub(super) fn arrive(&self, world: &World, id: u64) {
        let State { connections, random, .. } = &mut *self.state.borrow_mut();
        let Some(connection) = connections.get_mut(&id) else { return };
        for side in 0..2 {
            loop {
                let pipe = &mut connection.pipes[side];
                match pipe.in_transit.front() {
                    Some((at, _)) if *at <= world.now() => {}
                    _ => break,
                }
                match pipe.in_transit.pop_front().map(|(_, segment)| segment) {
                    Some(Segment::Bytes(bytes)) => pipe.arrived.extend_from_slice(&bytes),
                    Some(Segment::End) => pipe.ended = true,
                    Some(Segment::Cut) => {
                        world.record("cut", name_of(connection), [id, 0]);
                        connection.cut(random);
                        return;
                    }
                    None => {}
                }
                pipe.reader.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// The process is gone, and its sockets with it.
    pub(super) fn clear(&self) {
        let mut state = self.state.borrow_mut();
        state.listeners.clear();
        state.connections.clear();
        state.accept_error = None;
    }
}

fn name_of(connection: &Connection) -> Rc<str> {
    let [from, to] = connection.addresses;
    format!("{from}->{to}").into()
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.ids_made += 1;
        self.ids_made
    }

    fn next_port(&mut self) -> u16 {
        self.ports_taken = (self.ports_taken + 1) % (u16::MAX - EPHEMERAL_PORT_FIRST);
        EPHEMERAL_PORT_FIRST + self.ports_taken
    }

    /// Puts a segment on its way; it never overtakes an earlier one.
    fn send(&mut self, world: &World, id: u64, side: usize, segment: Segment) {
        let delay = self.random.duration(&self.options.delay);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let in_transit = &mut connection.pipes[side].in_transit;
        let earliest = in_transit.back().map_or(Instant::default(), |(at, _)| *at);
        let at = earliest.max(world.now() + delay);
        in_transit.push_back((at, segment));
        world.executor.schedule(at, Event::Network(id));
    }

    fn close(&mut self, id: u64, side: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.closed[side] = true;
        if connection.closed == [true, true] {
            self.connections.remove(&id);
            return;
        }
        let has_unread = connection.pipes[1 - side].unread > 0;
        if has_unread && !connection.cut {
            // Closing with bytes unread resets the connection, and may destroy what was sent last.
            connection.cut(&self.random);
        }
        self.shut_down(id, side);
    }

    fn shut_down(&mut self, id: u64, side: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pipes[1 - side].reader_closed = true;
        let ends = !std::mem::replace(&mut connection.pipes[side].writer_closed, true);
        connection.pipes.iter_mut().for_each(Pipe::wake);
        if ends
            && !connection.cut
            && let Some(world) = World::try_current()
        {
            self.send(&world, id, side, Segment::End);
        }
    }
}

/// A listening socket. Dropping it resets what was not accepted.
pub struct Listener {
    network: Network,
    id: u64,
    address: SocketAddr,
}

impl Listener {
    /// Listens; port 0 takes a free one. `AddrInUse` unless all listeners of the port are shared.
    pub fn bind(mut address: SocketAddr, options: ListenOptions) -> io::Result<Listener> {
        let network = World::current().network.clone();
        let mut state = network.state.borrow_mut();
        if address.port() == 0 {
            address.set_port(state.next_port());
        }
        let conflicts = |other: &ListenerState| {
            other.address.port() == address.port() && !(other.options.shared && options.shared)
        };
        if state.listeners.values().any(conflicts) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = state.next_id();
        let listener = ListenerState { address, options, queue: VecDeque::new(), waiting: None };
        state.listeners.insert(id, listener);
        drop(state);
        Ok(Listener { network, id, address })
    }

    /// The next connection, in the order in which they were made.
    pub async fn accept(&self) -> io::Result<Stream> {
        let id = poll_fn(|cx| {
            let mut state = self.network.state.borrow_mut();
            let State { listeners, accept_error, .. } = &mut *state;
            let Some(listener) = listeners.get_mut(&self.id) else {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EBADF)));
            };
            if listener.queue.is_empty() {
                listener.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if let Some(errno) = accept_error.take() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
            }
            Poll::Ready(Ok(listener.queue.pop_front().expect("checked above")))
        })
        .await?;
        Ok(Stream::new(self.network.clone(), id, 1))
    }

    /// Connections are refused from here on; those not accepted are reset.
    pub fn close(&self) {
        let mut state = self.network.state.borrow_mut();
        let Some(mut listener) = state.listeners.remove(&self.id) else { return };
        if let Some(waker) = listener.waiting.take() {
            waker.wake();
        }
        let State { connections, random, .. } = &mut *state;
        for id in &listener.queue {
            if let Some(connection) = connections.get_mut(id) {
                connection.cut(random);
            }
        }
        for id in listener.queue {
            state.close(id, 1);
        }
    }

    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// One side of a connection. Dropping it closes.
pub struct Stream {
    network: Network,
    id: u64,
    side: usize,
    addresses: [SocketAddr; 2],
}

impl Stream {
    fn new(network: Network, id: u64, side: usize) -> Stream {
        let addresses = network.state.borrow().connections[&id].addresses;
        Stream { network, id, side, addresses }
    }

    /// Connects; `ConnectionRefused` where nobody listens. It waits while every queue is full.
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let network = World::current().network.clone();
        loop {
            let world = World::current();
            let delay = {
                let state = network.state.borrow();
                state.random.duration(&state.options.delay)
            };
            let arrives = world.now() + delay;
            drop(world);
            sleep_until(arrives).await;
            if let Some(id) = network.request_connection(address)? {
                let stream = Stream::new(network.clone(), id, 0);
                sleep_until(arrives + delay).await;
                return Ok(stream);
            }
        }
    }

    /// Appends at most `limit` bytes to `buffer`; 0 is the end of the stream.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(limit > 0, "a read of nothing looks like the end of the stream");
        let mut state = self.network.state.borrow_mut();
        let State { connections, random, options, .. } = &mut *state;
        let Some(connection) = connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let pipe = &mut connection.pipes[1 - self.side];
        let available = pipe.arrived.len().min(limit);
        if available > 0 {
            let length = portion(available, random, options);
            buffer.extend_from_slice(&pipe.arrived[..length]);
            pipe.arrived.advance(length);
            pipe.unread -= length;
            pipe.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(length));
        }
        if pipe.reader_closed || (pipe.ended && pipe.in_transit.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if connection.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes as much of the slices as there is room for, or less.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let world = World::current();
        let mut state = self.network.state.borrow_mut();
        let State { connections, random, options, .. } = &mut *state;
        let Some(connection) = connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let pipe = &mut connection.pipes[self.side];
        if pipe.writer_closed || connection.cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.reader_closed {
            // The first write after the peer closed is taken, and answered with a reset.
            connection.cut(random);
            return Poll::Ready(Ok(total));
        }
        let room = options.buffer_bytes.saturating_sub(pipe.unread).min(total);
        if room == 0 && total > 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = portion(room, random, options);
        let mut bytes = gather(slices, length);
        pipe.unread += length;
        let cuts = random.chance(options.cut_probability);
        if cuts {
            bytes.truncate(random.index(length + 1));
        }
        world.trace.borrow_mut().mix(length as u64);
        state.send(&world, self.id, self.side, Segment::Bytes(bytes));
        if cuts {
            state.send(&world, self.id, self.side, Segment::Cut);
        }
        Poll::Ready(Ok(length))
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.addresses[1 - self.side]
    }

    pub fn local_address(&self) -> SocketAddr {
        self.addresses[self.side]
    }

    /// Ends both directions: the peer reads to the end, and this side neither reads nor writes.
    pub fn shutdown(&self) {
        self.network.state.borrow_mut().shut_down(self.id, self.side);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({}->{})", self.local_address(), self.peer_address())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.network.state.borrow_mut().close(self.id, self.side);
    }
}

impl Network {
    /// A connection in the queue of one of the listeners of `address`; none while those are full.
    fn request_connection(&self, address: SocketAddr) -> io::Result<Option<u64>> {
        let world = World::current();
        let state = &mut *self.state.borrow_mut();
        let listens = |listener: &ListenerState| {
            let ip = listener.address.ip();
            listener.address.port() == address.port() && (ip.is_unspecified() || ip == address.ip())
        };
        let open: Vec<u64> = state
            .listeners
            .iter()
            .filter(|(_, listener)| listens(listener))
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let chosen = open[state.random.index(open.len())];
        let (id, port) = (state.next_id(), state.next_port());
        let listener = state.listeners.get_mut(&chosen).expect("found above");
        if listener.queue.len() >= listener.options.backlog.max(1) as usize {
            return Ok(None);
        }
        listener.queue.push_back(id);
        listener.waiting.take().into_iter().for_each(Waker::wake);
        let ip = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let addresses = [SocketAddr::new(ip, port), address];
        let (pipes, closed) = ([Pipe::default(), Pipe::default()], [false; 2]);
        let connection = Connection { pipes, addresses, closed, cut: false };
        world.record("connect", name_of(&connection), [id, 0]);
        state.connections.insert(id, connection);
        Ok(Some(id))
    }
}

/// All of it, or now and then only some; never nothing of something.
fn portion(available: usize, random: &Random, options: &NetworkOptions) -> usize {
    if available > 1 && random.chance(options.partial_probability) {
        // Small portions matter as much as large ones.
        let most = if random.one_in(2) { available } else { available.min(16) };
        return 1 + random.index(most);
    }
    available
}

/// The first `length` bytes of the slices.
fn gather(slices: &[IoSlice<'_>], length: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(length);
    for slice in slices {
        let wanted = (length - bytes.len()).min(slice.len());
        bytes.extend_from_slice(&slice[..wanted]);
    }
    bytes
}

#[cfg(test)]
mod tests;
