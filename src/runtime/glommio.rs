//! The product's runtime: glommio, with the traps of version 0.9 closed here (design, section 7).
//!
//! Lives on every shard's core. It never decides anything: it opens, reads, writes, waits.

use super::host::bound_socket;
use super::{Instant, ListenOptions};
use crate::types::Timestamp;
use bytes::{BufMut, BytesMut};
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::channels::shared_channel::{self, ConnectedReceiver, ConnectedSender};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement, TaskQueueHandle};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

mod files;
mod nudge;
mod usage;

pub use files::*;
use nudge::Watch;
pub use usage::busy_time;

// ---------------------------------------------------------------- clock, randomness

/// Monotonic time since the process's first look at the clock.
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    Instant(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The host's clock, which may step.
pub fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Random bits for ids (not for secrets): the standard library's per-instance hash keys.
pub fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(now().0);
    hasher.finish()
}

// ---------------------------------------------------------------- shards and tasks

/// One pinned executor thread to start.
#[derive(Clone, Debug)]
pub struct ShardThread {
    pub name: String,
    /// The CPU to pin to; `None` lets the kernel move it.
    pub cpu: Option<usize>,
    /// How long an idle shard polls before it sleeps. Zero: at once.
    pub spin: Duration,
}

/// A started shard's thread.
#[derive(Debug)]
pub struct ShardHandle<T>(std::thread::JoinHandle<io::Result<T>>);

impl<T> ShardHandle<T> {
    /// Waits for the shard's main future to end.
    ///
    /// # Errors
    /// The executor could not start (rlimits, kernel), or its thread panicked.
    pub fn join(self) -> io::Result<T> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
    }
}

/// glommio's registered buffers are not used for what this broker keeps (they would be held by the tail
/// cache), so the arena stays at its minimum: three rings register it against RLIMIT_MEMLOCK.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Requests that one ring can have submitted at once.
const RING_ENTRIES: usize = 512;
/// A task that runs longer than this is asked to yield.
const PREEMPT_AFTER: Duration = Duration::from_millis(2);

/// How often an executor is tried to be made while locked memory is short, and how long between.
const MAKE_TRIES: u32 = 100;
const MAKE_AGAIN: Duration = Duration::from_millis(20);

fn executor_builder(thread: &ShardThread) -> LocalExecutorBuilder {
    let placement = thread.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(placement)
        .name(&thread.name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_ENTRIES)
        .preempt_timer(PREEMPT_AFTER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
    if thread.spin.is_zero() { builder } else { builder.spin_before_park(thread.spin) }
}

/// Starts a thread with an executor of its own that runs `main`.
///
/// # Errors
/// The thread could not be made, or the CPU does not exist.
pub fn start_shard<F, T>(
    thread: &ShardThread,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<ShardHandle<T>>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    // glommio looks the CPU up there, and panics where a container has no /sys.
    if thread.cpu.is_some() && !Path::new("/sys/devices/system/cpu").exists() {
        return Err(io::Error::other("/sys is not mounted: the CPUs are described there"));
    }
    let thread = thread.clone();
    let builder = std::thread::Builder::new().name(thread.name.clone());
    let (tell, told) = std::sync::mpsc::channel();
    let run = move || {
        // Before the executor runs for the first time, its thread is watched.
        let ready = make_executor(&thread).and_then(|made| Ok((made, Watch::begin()?)));
        let (ready, told) = match ready {
            Ok(ready) => (Ok(ready), Ok(())),
            Err(error) => (Err(io::Error::from(error.kind())), Err(error)),
        };
        // Who started it waits for this.
        drop(tell.send(told));
        let (executor, watch) = ready?;
        Ok(executor.run(async { with_heartbeat(&watch, main()).await }))
    };
    let handle = builder.spawn(run)?;
    told.recv().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))?;
    Ok(ShardHandle(handle))
}

/// Makes an executor on this thread. The kernel frees the rings of a process that was killed some time after it is gone:
/// who takes its place at once may find no memory to lock, and tries again for a while.
fn make_executor(thread: &ShardThread) -> io::Result<glommio::LocalExecutor> {
    let mut left = MAKE_TRIES;
    loop {
        left -= 1;
        match executor_builder(thread).make().map_err(io::Error::from) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && left > 0 => {
                std::thread::sleep(MAKE_AGAIN);
            }
            made => return made,
        }
    }
}

/// glommio 0.9 can park although tasks are runnable, when its preemption is asked for before any has run
/// (glommio/glommio PR #53): a timer bounds how long such a shard sleeps, and `nudge` when that fails.
const HEARTBEAT_IDLE: Duration = Duration::from_millis(10);
const HEARTBEAT_BUSY: Duration = Duration::from_millis(1);
/// Tasks that run in one beat of an idle shard, this one among them.
const IDLE_TASKS_MAX: u64 = 4;

async fn with_heartbeat<T>(watch: &Watch, main: impl Future<Output = T>) -> T {
    let beats = watch.beats();
    drop(spawn(async move {
        loop {
            beats.fetch_add(1, Ordering::Relaxed);
            let is_idle = usage::tasks_since_last_beat() <= IDLE_TASKS_MAX;
            sleep(if is_idle { HEARTBEAT_IDLE } else { HEARTBEAT_BUSY }).await;
        }
    }));
    main.await
}

/// Runs a future to its end on an executor of this thread: for clients and tools.
///
/// # Errors
/// The executor could not start.
pub fn run_local<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let thread = ShardThread { name: "corelog".into(), cpu: None, spin: Duration::ZERO };
    let executor = make_executor(&thread)?;
    let watch = Watch::begin()?;
    Ok(executor.run(with_heartbeat(&watch, main)))
}

/// The CPUs this process may run on, ascending (sched_getaffinity(2)).
///
/// # Errors
/// As the system call.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain data for which all zeros is valid; the call writes within its size.
    let (result, set) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set), set)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: CPU_ISSET reads the set's own words for indexes below its number of bits.
    Ok((0..bits).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// A started task. Awaiting gives its result; dropping lets it run on.
#[derive(Debug)]
pub struct Task<T>(Option<glommio::Task<T>>);

impl<T> Task<T> {
    /// Ends the task where it waits; its future is dropped.
    pub async fn cancel(mut self) {
        if let Some(task) = self.0.take() {
            task.cancel().await;
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let task = self.0.as_mut().expect("a task is polled after its end");
        let result = futures_lite::ready!(Pin::new(task).poll(context));
        self.0 = None;
        Poll::Ready(result)
    }
}

/// Starts a task on this shard. Takes a process-wide lock inside glommio: for long-lived tasks.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(Some(glommio::spawn_local(future)))
}

thread_local! {
    static BACKGROUND: Cell<Option<TaskQueueHandle>> = const { Cell::new(None) };
}

/// Starts a task in the class that yields to the data path (a tenth of its shares).
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let queue = BACKGROUND.get().unwrap_or_else(|| {
        let shares = glommio::Shares::Static(100);
        let latency = glommio::Latency::NotImportant;
        let queue = glommio::executor().create_task_queue(shares, latency, "background");
        BACKGROUND.set(Some(queue));
        queue
    });
    Task(Some(glommio::spawn_local_into(future, queue).expect("the queue was made on this shard")))
}

pub async fn yield_now() {
    glommio::executor().yield_now().await;
}

/// Gives way when this task has used up its slice.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Runs a blocking call on this shard's helper thread.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    glommio::executor().spawn_blocking(call).await
}

// ---------------------------------------------------------------- sockets

/// A listening TCP socket of this shard.
#[derive(Debug)]
pub struct Listener {
    listener: glommio::net::TcpListener,
    /// The same socket; glommio does not show its descriptor.
    socket: socket2::Socket,
    local: SocketAddr,
}

impl Listener {
    /// # Errors
    /// As bind(2) and listen(2).
    pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<Listener> {
        let socket = bound_socket(address, options.shared)?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let local = socket.local_addr()?.as_socket().expect("an IP socket has an IP address");
        let descriptor = socket.try_clone()?.into_raw_fd();
        // SAFETY: the descriptor is a listening TCP socket whose only owner becomes the listener.
        let listener = unsafe { glommio::net::TcpListener::from_raw_fd(descriptor) };
        Ok(Listener { listener, socket, local })
    }

    /// # Errors
    /// As accept(2); EMFILE and ENFILE pass when descriptors are freed.
    pub async fn accept(&self) -> io::Result<Stream> {
        let stream = self.listener.accept().await.map_err(io::Error::from)?;
        Stream::adopt(stream)
    }

    /// Connections are refused from here on, and whoever waits in `accept` gets an error. Without it the
    /// kernel goes on for a while after the process has ended: the ring holds the socket, and is taken
    /// down behind its back.
    pub fn close(&self) {
        // It fails when the socket no longer listens.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    pub fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// A TCP connection of this shard. Reading and writing may be polled by one task side by side.
#[derive(Debug)]
pub struct Stream {
    stream: RefCell<glommio::net::TcpStream>,
    fd: i32,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Stream {
    fn adopt(stream: glommio::net::TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true).map_err(io::Error::from)?;
        let peer = stream.peer_addr().map_err(io::Error::from)?;
        let local = stream.local_addr().map_err(io::Error::from)?;
        let fd = stream.as_raw_fd();
        Ok(Stream { stream: RefCell::new(stream), fd, peer, local })
    }

    /// # Errors
    /// As connect(2).
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let stream = glommio::net::TcpStream::connect(address).await.map_err(io::Error::from)?;
        Stream::adopt(stream)
    }

    /// Appends what has arrived, at most `limit` bytes; 0 means that the peer has ended its side.
    ///
    /// # Errors
    /// As recv(2).
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(limit > 0);
        if buffer.capacity() - buffer.len() < limit {
            buffer.reserve(limit);
        }
        let spare = buffer.chunk_mut();
        let length = spare.len().min(limit);
        // SAFETY: recv(2) only writes to this memory, which `spare` owns for `length` bytes, and the
        // bytes are counted as initialised below only as far as the kernel says it wrote them.
        let target = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr(), length) };
        let mut stream = self.stream.borrow_mut();
        let read = futures_lite::ready!(Pin::new(&mut *stream).poll_read(context, target))?;
        assert!(read <= length, "the kernel wrote {read} bytes into {length}");
        // SAFETY: the kernel initialised `read` bytes from the start of the spare memory.
        unsafe { buffer.advance_mut(read) };
        Poll::Ready(Ok(read))
    }

    /// Sends as much of the slices as the socket takes now, in one system call.
    ///
    /// # Errors
    /// As sendmsg(2).
    pub fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match send_now(self.fd, slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        // Full socket: glommio has no vectored write, but its plain one arms the wake-up we need.
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, first)
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Ends both directions; pending reads and writes return.
    pub fn shutdown(&self) {
        // SAFETY: the descriptor is this stream's own and open while `self` lives.
        unsafe { libc::shutdown(self.fd, libc::SHUT_RDWR) };
    }
}

/// One sendmsg(2) that does not wait and raises no SIGPIPE.
fn send_now(fd: i32, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        // SAFETY: an all-zero msghdr is valid; IoSlice has the layout of iovec (std guarantees it), the
        // slices outlive the call, and sendmsg only reads them.
        let sent = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = slices.as_ptr() as *mut libc::iovec;
            message.msg_iovlen = slices.len();
            libc::sendmsg(fd, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

// ---------------------------------------------------------------- between shards

/// One shard's end of the mesh, to be moved to its thread and joined there.
pub struct MeshPeer<T: Send + 'static> {
    senders: Vec<Option<shared_channel::SharedSender<T>>>,
    receivers: Vec<Option<shared_channel::SharedReceiver<T>>>,
}

/// To one other shard.
#[derive(Debug)]
pub struct MeshSender<T: Send + 'static>(ConnectedSender<T>);

/// From one other shard.
#[derive(Debug)]
pub struct MeshReceiver<T: Send + 'static>(ConnectedReceiver<T>);

/// Bounded queues between every two of `peers` shards.
pub fn mesh<T: Send + 'static>(peers: usize, capacity: usize) -> Vec<MeshPeer<T>> {
    let mut ends: Vec<MeshPeer<T>> = (0..peers)
        .map(|_| MeshPeer {
            senders: (0..peers).map(|_| None).collect(),
            receivers: (0..peers).map(|_| None).collect(),
        })
        .collect();
    for from in 0..peers {
        for to in (0..peers).filter(|to| *to != from) {
            let (sender, receiver) = shared_channel::new_bounded(capacity);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
}

impl<T: Send + 'static> MeshPeer<T> {
    /// Connects to all peers; returns when all of them have joined. Indexed by peer, `None` for self.
    #[allow(clippy::type_complexity)]
    pub async fn join(self) -> (Vec<Option<MeshSender<T>>>, Vec<Option<MeshReceiver<T>>>) {
        // Both halves wait for the other side, so all are connected side by side.
        let senders: Vec<_> = self
            .senders
            .into_iter()
            .map(|sender| {
                sender.map(|sender| spawn(async move { MeshSender(sender.connect().await) }))
            })
            .collect();
        let receivers: Vec<_> = self
            .receivers
            .into_iter()
            .map(|receiver| {
                receiver
                    .map(|receiver| spawn(async move { MeshReceiver(receiver.connect().await) }))
            })
            .collect();
        let (mut connected_senders, mut connected_receivers) = (Vec::new(), Vec::new());
        for sender in senders {
            connected_senders.push(match sender {
                Some(task) => Some(task.await),
                None => None,
            });
        }
        for receiver in receivers {
            connected_receivers.push(match receiver {
                Some(task) => Some(task.await),
                None => None,
            });
        }
        (connected_senders, connected_receivers)
    }
}

impl<T: Send + 'static> MeshSender<T> {
    /// # Errors
    /// Gives the item back when the queue is full or its reader is gone.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        self.0.try_send(item).map_err(returned_item)
    }

    /// Waits while the queue is full.
    ///
    /// # Errors
    /// Gives the item back when the reader is gone.
    pub async fn send(&self, item: T) -> Result<(), T> {
        self.0.send(item).await.map_err(returned_item)
    }
}

fn returned_item<T>(error: glommio::GlommioError<T>) -> T {
    match error {
        glommio::GlommioError::Closed(glommio::ResourceType::Channel(item))
        | glommio::GlommioError::WouldBlock(glommio::ResourceType::Channel(item)) => item,
        other => unreachable!("a channel's send failed otherwise: {other}"),
    }
}

impl<T: Send + 'static> MeshReceiver<T> {
    /// The next item; `None` when the sender is gone.
    pub async fn recv(&self) -> Option<T> {
        self.0.recv().await
    }
}
