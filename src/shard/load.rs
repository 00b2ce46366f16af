//! What this core has to do, and for which of its partitions: counted where a partition is in hand anyway, in windows
//! of time that end for all at once. So a partition that is idle costs nothing, and nobody walks over all of them
//! before somebody asks.
//!
//! Plain cells of one core. Without `measure_load` no window ends, and all that is told is zero.

use super::Shard;
use super::request::PartitionKey;
use crate::log::Partition;
use crate::runtime::{self, Instant};
use std::cell::Cell;
use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a window is. The last one is half of what is told, the one before it a quarter, and so on.
pub const WINDOW: Duration = Duration::from_secs(5);

/// What a request for a partition costs beside its bytes, in bytes: of one of 4 KiB a core was busy for 30 us, of one
/// of 128 KiB for 140 us (docs/decisions/0004-per-core-endpoints-by-default.md).
const OPERATION_BYTES: u64 = 30 * 1024;

/// What was done in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub appended_bytes: u64,
    pub fetched_bytes: u64,
    /// Batches appended, and reads that gave something.
    pub operations: u64,
}

impl Work {
    pub(super) fn append(bytes: usize) -> Work {
        Work { appended_bytes: bytes as u64, operations: 1, ..Work::default() }
    }

    pub(super) fn fetch(bytes: usize) -> Work {
        Work { fetched_bytes: bytes as u64, operations: 1, ..Work::default() }
    }

    /// What it costs a core, about, to compare one partition with another.
    pub fn weight(self) -> u64 {
        self.appended_bytes + self.fetched_bytes + self.operations * OPERATION_BYTES
    }

    fn plus(self, more: Work) -> Work {
        Work {
            appended_bytes: self.appended_bytes + more.appended_bytes,
            fetched_bytes: self.fetched_bytes + more.fetched_bytes,
            operations: self.operations + more.operations,
        }
    }

    /// Each number by another.
    fn map(self, change: impl Fn(u64) -> u64) -> Work {
        Work {
            appended_bytes: change(self.appended_bytes),
            fetched_bytes: change(self.fetched_bytes),
            operations: change(self.operations),
        }
    }

    fn per_second(self) -> Work {
        self.map(|count| count / WINDOW.as_secs())
    }
}

/// What is done for one partition.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// That of `now`.
    window: Cell<u64>,
    now: Cell<Work>,
    /// In a window, by those before.
    before: Cell<Work>,
}

impl Load {
    pub fn add(&self, window: u64, work: Work) {
        if self.window.get() != window {
            self.before.set(self.at(window));
            self.now.set(Work::default());
            self.window.set(window);
        }
        self.now.set(self.now.get().plus(work));
    }

    /// Work in a window, by those that have ended.
    fn at(&self, window: u64) -> Work {
        let before = self.before.get();
        match window.saturating_sub(self.window.get()) {
            0 => before,
            ended => {
                let halves = u32::try_from(ended).unwrap_or(u32::MAX).min(63);
                // The last one in which something was done, and then nothing.
                before.plus(self.now.get()).map(|count| count >> halves)
            }
        }
    }
}

/// The windows of a core.
#[derive(Debug, Default)]
pub(super) struct Windows {
    number: Cell<u64>,
    /// When the present one began, and for how long the core had been busy by then.
    begun: Cell<Option<(Instant, Duration)>>,
    /// Share of its time that the core was busy; none before a window has ended.
    busy: Cell<Option<f64>>,
}

impl Windows {
    pub fn number(&self) -> u64 {
        self.number.get()
    }

    /// A window ends, and another begins.
    fn turn(&self, now: Instant, busy: Duration) {
        if let Some((then, busy_then)) = self.begun.replace(Some((now, busy))) {
            let share = busy.saturating_sub(busy_then).as_secs_f64()
                / now.since(then).max(Duration::from_millis(1)).as_secs_f64();
            let share = share.min(1.0);
            self.busy.set(Some(self.busy.get().map_or(share, |before| (before + share) / 2.0)));
        }
        self.number.set(self.number.get() + 1);
    }
}

/// A partition that this core has open, and what it does for it.
pub(super) struct Hosted {
    pub partition: Rc<Partition>,
    pub load: Load,
}

impl Hosted {
    pub fn new(partition: Rc<Partition>) -> Hosted {
        Hosted { partition, load: Load::default() }
    }
}

/// What one core has to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReading {
    /// Share of its time that it is busy; none before it was measured for a while.
    pub busy: Option<f64>,
    pub partitions: usize,
    /// For all partitions, in a second.
    pub work: Work,
    /// Those that have the most, the hottest first; as many as were asked for.
    pub hottest: Vec<PartitionLoad>,
}

/// What one partition gives its core to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLoad {
    pub key: PartitionKey,
    pub topic: Arc<str>,
    /// In a second.
    pub work: Work,
}

impl Shard {
    /// Ends windows, as long as the shard lives.
    pub async fn measure_load(self: Rc<Self>) {
        while !self.is_stopping() {
            self.end_window(runtime::busy_time());
            runtime::sleep(WINDOW).await;
        }
    }

    /// `busy`: for how long this core has been busy by now.
    pub fn end_window(&self, busy: Duration) {
        self.windows.turn(runtime::now(), busy);
    }

    pub(super) fn note_fetched(&self, key: PartitionKey, bytes: usize) {
        if let Some(hosted) = self.partitions.borrow().get(&key) {
            hosted.load.add(self.windows.number(), Work::fetch(bytes));
        }
    }

    /// What this core has to do, and for which partitions most of it.
    pub(super) fn read_load(&self, partitions_max: usize) -> LoadReading {
        let window = self.windows.number();
        let mut work = Work::default();
        let mut hottest = Vec::new();
        for (key, hosted) in self.partitions.borrow().iter() {
            let of_one = hosted.load.at(window);
            if of_one.weight() > 0 {
                work = work.plus(of_one);
                let topic = hosted.partition.id.topic.clone();
                hottest.push(PartitionLoad { key: *key, topic, work: of_one.per_second() });
            }
        }
        hottest.sort_unstable_by_key(|one| (Reverse(one.work.weight()), one.key));
        hottest.truncate(partitions_max);
        LoadReading {
            busy: self.windows.busy.get(),
            partitions: self.partition_count(),
            work: work.per_second(),
            hottest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(appended_bytes: u64) -> Work {
        Work { appended_bytes, ..Work::default() }
    }

    #[test]
    fn what_was_done_counts_once_its_window_has_ended_and_less_with_each_that_follows() {
        let load = Load::default();
        load.add(7, bytes(300));
        load.add(7, bytes(100));
        assert_eq!(load.at(7), Work::default(), "the window goes on");
        let later = [8, 9, 10, 20, 1000].map(|window| load.at(window).appended_bytes);
        assert_eq!(later, [200, 100, 50, 0, 0]);
        load.add(8, bytes(1000));
        assert_eq!(load.at(8), bytes(200));
        assert_eq!(load.at(9), bytes(600));
        load.add(11, bytes(1));
        assert_eq!(load.at(11), bytes(150), "two in which nothing was done");
    }

    #[test]
    fn steady_work_is_told_as_it_is() {
        let load = Load::default();
        for window in 0..30 {
            load.add(window, Work { fetched_bytes: 1 << 20, operations: 512, ..bytes(1 << 30) });
        }
        let told = load.at(30);
        let near = |told: u64, is: u64| told <= is && told >= is - is / 100;
        assert!(near(told.appended_bytes, 1 << 30), "{told:?}");
        assert!(near(told.fetched_bytes, 1 << 20) && near(told.operations, 512), "{told:?}");
    }

    #[test]
    fn the_busy_share_is_that_of_the_last_windows() {
        let windows = Windows::default();
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        windows.turn(at(100), Duration::from_secs(50));
        assert_eq!((windows.number(), windows.busy.get()), (1, None), "nobody knows yet");
        windows.turn(at(110), Duration::from_secs(55));
        assert_eq!(windows.busy.get(), Some(0.5));
        windows.turn(at(120), Duration::from_secs(65));
        assert_eq!(windows.busy.get(), Some(0.75));
        windows.turn(at(120), Duration::from_secs(66));
        assert_eq!(windows.busy.get(), Some(0.875), "no core is busier than all the time");
    }

    #[test]
    fn requests_cost_more_than_their_bytes() {
        let small = Work { appended_bytes: 100 << 10, operations: 100, ..Work::default() };
        let large = Work { appended_bytes: 1 << 20, operations: 1, ..Work::default() };
        assert!(small.weight() > large.weight());
        assert_eq!(Work::default().weight(), 0);
    }
}
