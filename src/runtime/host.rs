//! What the product asks of the host once, at start: signals, ports, limits, sizes. Runs on the main thread,
//! or on a shard where it says so; never on the path of a record.

use super::{ProcessUsage, VolumeSpace, now};
use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self, UnixDatagram};
use std::path::Path;
use std::time::Duration;

// ---------------------------------------------------------------- signals

/// Arranges for SIGTERM and SIGINT to end `StopSignal::wait`; a second one ends the process at once with
/// the shell's status for it. To be called once, before shards start.
#[derive(Debug)]
pub struct StopSignal {
    stream: std::os::unix::net::UnixStream,
}

impl StopSignal {
    /// # Errors
    /// The handlers cannot be set.
    pub fn install() -> io::Result<StopSignal> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
        let stopping = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            let status = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, status, stopping.clone())?;
            signal_hook::flag::register(signal, stopping.clone())?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(StopSignal { stream: receiver })
    }

    /// Waits for the first signal, on the shard that calls it.
    ///
    /// # Errors
    /// The pipe from the handler failed.
    pub async fn wait(self) -> io::Result<()> {
        use futures_lite::AsyncReadExt;
        self.stream.set_nonblocking(true)?;
        // SAFETY: the descriptor is a connected stream socket whose only owner becomes glommio's stream.
        let mut stream =
            unsafe { glommio::net::UnixStream::from_raw_fd(self.stream.into_raw_fd()) };
        let mut byte = [0u8; 1];
        stream.read(&mut byte).await.map(drop)
    }
}

/// Stops this process as an operator's SIGTERM would.
pub fn raise_stop_signal() {
    if let Err(error) = signal_hook::low_level::raise(signal_hook::consts::SIGTERM) {
        tracing::error!(%error, "cannot stop this process");
    }
}

// ---------------------------------------------------------------- the host

/// How long a port may be in use before it counts as somebody's. A second was too short once in 223 kills on a
/// machine whose processors and disk were all busy.
const PORT_WAIT_MAX: Duration = Duration::from_secs(5);
/// After so long it is said what is waited for.
const PORT_WAIT_SILENT: Duration = Duration::from_millis(500);

/// A port held for this process, so that its shards can share it and nobody else has it.
#[derive(Debug)]
pub struct PortReservation {
    _socket: socket2::Socket,
    _name: Option<UnixDatagram>,
    pub address: SocketAddr,
}

impl PortReservation {
    /// Takes a port that no process listens on; port 0 lets the kernel choose one. Blocks for a while when
    /// somebody does: a killed process's ring can hold its socket a moment longer than the process lives.
    ///
    /// # Errors
    /// `AddrInUse`, or as bind(2).
    pub fn acquire(address: SocketAddr) -> io::Result<PortReservation> {
        let began = now();
        let mut is_told = false;
        loop {
            match PortReservation::try_acquire(address) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && now().since(began) < PORT_WAIT_MAX =>
                {
                    if !is_told && now().since(began) > PORT_WAIT_SILENT {
                        is_told = true;
                        tracing::info!(%address, "the port is in use; waiting for it to become free");
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }

    fn try_acquire(address: SocketAddr) -> io::Result<PortReservation> {
        // Another of this kind that is about to listen cannot be seen by its socket. It can by a name,
        // which the network namespace knows until it is closed (unix(7), abstract).
        let name = format!("corelog/{address}");
        let name = (address.port() != 0)
            .then(|| UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(name)?))
            .transpose()?;
        // Sockets that share a port may bind beside a stranger's that does so too: ask alone first. It
        // does not listen: whoever connected then would be reset.
        let alone = bound_socket(address, false)?;
        let address = alone.local_addr()?.as_socket().expect("an IP socket has an IP address");
        drop(alone);
        Ok(PortReservation { _socket: bound_socket(address, true)?, _name: name, address })
    }
}

pub(super) fn bound_socket(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::STREAM.cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Raises the soft limit of open files to the hard one; the limit that holds then (getrlimit(2)).
///
/// # Errors
/// As the system calls.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit, which `limit` is.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: setrlimit reads one rlimit.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0;
    Ok(if done { raised.rlim_cur } else { limit.rlim_cur })
}

/// Has the allocator keep what is freed, for the next who asks: the broker's memory is bounded by its budget, and
/// giving pages back only to fault them in again took up to 12 ms of a shard's time (a virtual machine that
/// gets its memory from its host page by page), which halved the p99 of produce beside rolls. An operator's
/// `MIMALLOC_PURGE_DELAY`, in milliseconds, holds instead.
pub fn keep_freed_memory() {
    // mimalloc.h 3: the option has no constant in the crate; its default tells that it is this one.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const DEFAULT_MS: std::ffi::c_long = 1000;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: both take any option number and only touch the allocator's table of options; no other thread
    // reads the value in a way that a change in between could break.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == DEFAULT_MS {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER);
        } else {
            tracing::debug!("the allocator's purge delay is set from outside");
        }
    }
}

/// Physical memory of the host in bytes (sysconf(3)).
pub fn host_memory_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let (pages, page) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGE_SIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(page).unwrap_or(0)
}

/// What this process takes of its host (proc_pid_statm(5), clock_gettime(2)); zero where that cannot be told.
pub fn process_usage() -> ProcessUsage {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    // SAFETY: sysconf has no preconditions.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGE_SIZE) };
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which `spent` is.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent) } == 0;
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(spent.tv_nsec).unwrap_or(0);
    ProcessUsage {
        resident_bytes: resident.unwrap_or(0) * u64::try_from(page_bytes).unwrap_or(0),
        cpu: if told { Duration::new(seconds, nanoseconds) } else { Duration::ZERO },
    }
}

/// Held while this process owns a data directory (flock(2): the kernel ends it with the process).
#[derive(Debug)]
pub struct DirectoryLock {
    _file: Option<std::fs::File>,
}

impl DirectoryLock {
    /// `None` when another process holds it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn acquire(path: &Path) -> io::Result<Option<DirectoryLock>> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        DirectoryLock::of(file)
    }

    /// The same for who writes nothing, on a file system that may be read-only: where there is no lock file,
    /// nobody holds it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn acquire_to_read(path: &Path) -> io::Result<Option<DirectoryLock>> {
        match std::fs::File::open(path) {
            Ok(file) => DirectoryLock::of(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Some(DirectoryLock { _file: None }))
            }
            Err(error) => Err(error),
        }
    }

    fn of(file: std::fs::File) -> io::Result<Option<DirectoryLock>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(DirectoryLock { _file: Some(file) })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The volume that a path lies on (statvfs(3)).
///
/// # Errors
/// As the call.
pub fn volume_space(path: &Path) -> io::Result<VolumeSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs reads a string that ends with zero and writes one struct of plain numbers, for which
    // all zeros is valid.
    let (result, found) = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut found), found)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(VolumeSpace {
        total_bytes: found.f_blocks * found.f_frsize,
        usable_bytes: found.f_bavail * found.f_frsize,
    })
}
