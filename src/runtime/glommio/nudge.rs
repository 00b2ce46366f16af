//! A thread beside the executors that ends a sleep from which none of their own timers can wake them.
//!
//! glommio 0.9 can park although tasks are runnable (decision 0005). The heartbeat's timer bounds that, but the
//! heartbeat may itself be among those tasks, at a start even before its first timer is set. So each executor
//! counts its beats, and where none was counted for a while, its thread gets a signal: a wait in io_uring ends
//! with EINTR, glommio takes that for a wake-up and runs what is there. The signal does nothing else.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

/// Longer than the slowest beat. An executor that computes for longer is signalled for nothing.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ignored by default, and by everybody else in this process.
const SIGNAL: libc::c_int = libc::SIGURG;

struct Watched {
    thread: libc::pid_t,
    beats: Arc<AtomicU64>,
    seen: u64,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());
static STARTED: Once = Once::new();

/// This thread is watched while it lives.
pub(super) struct Watch {
    thread: libc::pid_t,
    beats: Arc<AtomicU64>,
}

extern "C" fn do_nothing(_signal: libc::c_int) {}

impl Watch {
    /// Watches the calling thread, which is about to run an executor.
    ///
    /// # Errors
    /// The thread beside could not be started, or the signal not be handled.
    pub fn begin() -> io::Result<Watch> {
        let mut started = Ok(());
        STARTED.call_once(|| started = start());
        started?;
        // SAFETY: gettid takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        let beats = Arc::new(AtomicU64::new(0));
        let watched = Watched { thread, beats: beats.clone(), seen: u64::MAX };
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        Ok(Watch { thread, beats })
    }

    /// What the heartbeat counts.
    pub fn beats(&self) -> Arc<AtomicU64> {
        self.beats.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|other| other.thread != self.thread);
    }
}

fn start() -> io::Result<()> {
    // SAFETY: sigaction is plain data for which all zeros is valid: no flags, so that system calls end with EINTR,
    // and an empty mask. The handler touches nothing, and both pointers are good for the call.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    std::thread::Builder::new().name("nudge".into()).spawn(watch).map(drop)
}

fn watch() {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        for Watched { thread, beats, seen } in watched.iter_mut() {
            let now = beats.load(Ordering::Relaxed);
            if now == std::mem::replace(seen, now) {
                // SAFETY: takes numbers only. The thread lives: it leaves the list, under its lock, before it ends.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), *thread, SIGNAL) };
            }
        }
    }
}
