//! What glommio counts of the executor of this thread. Reading its statistics begins them anew, so all who
//! want some read them here, where they are added up.

use std::cell::Cell;
use std::time::Duration;

#[derive(Default)]
struct Usage {
    busy: Cell<Duration>,
    /// Tasks that ran since the last beat.
    tasks: Cell<u64>,
}

thread_local! {
    static USAGE: Usage = Usage::default();
}

fn add_up(usage: &Usage) {
    let stats = glommio::executor().executor_stats();
    usage.busy.set(usage.busy.get() + stats.total_runtime());
    usage.tasks.set(usage.tasks.get() + stats.tasks_executed());
}

/// Time that this thread's executor has spent on anything but waiting: running tasks, and submitting and
/// reaping their I/O.
pub fn busy_time() -> Duration {
    USAGE.with(|usage| {
        add_up(usage);
        usage.busy.get()
    })
}

/// For the heartbeat: tasks that ran since it last asked.
pub(super) fn tasks_since_last_beat() -> u64 {
    USAGE.with(|usage| {
        add_up(usage);
        usage.tasks.take()
    })
}
