//! Tasks and time: one thread, a seeded choice among whatever can run, and events in virtual time.
//!
//! A waker only notes that its task can run; tasks are polled by `Simulation::run` alone, so nothing
//! here is re-entered.

use super::World;
use super::random::Random;
use crate::runtime::Instant;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A slot and its generation, so that a stale waker never reaches the slot's next task.
pub(super) type TaskId = u64;

/// The future that `run` was given; it lives on the stack of `run`, not in a slot.
pub(super) const ROOT: TaskId = u64::MAX;

/// While foreground tasks can run, a background one is chosen once in so many turns.
const BACKGROUND_TURNS: u64 = 16;

/// A timer fires up to this much late, never early.
const TIMER_LATE_NS_MAX: u64 = 20_000;

/// What happens at a moment of virtual time.
pub(super) enum Event {
    Wake(Waker),
    /// A task that could run, and was held up, goes on.
    Resume(TaskId),
    Disk(u64),
    Network(u64),
}

/// When an event happens, and its number, which breaks ties in order of scheduling.
pub(super) type EventKey = (Instant, u64);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Foreground,
    Background,
}

#[derive(Default)]
struct Ready {
    foreground: Vec<TaskId>,
    background: Vec<TaskId>,
}

/// `Waker` demands Send and Sync, hence a mutex; nobody ever contends for it.
pub(super) struct TaskWaker {
    task: TaskId,
    class: Class,
    queued: AtomicBool,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let mut ready = lock(&self.ready);
            match self.class {
                Class::Foreground => ready.foreground.push(self.task),
                Class::Background => ready.background.push(self.task),
            }
        }
    }
}

impl TaskWaker {
    /// For a task that is about to be polled: a wake from here on queues it again.
    pub fn for_poll(self: &Arc<Self>) -> Waker {
        self.queued.store(false, Ordering::Relaxed);
        Waker::from(Arc::clone(self))
    }
}

fn lock(ready: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    ready.lock().expect("a panic never happens under this lock")
}

struct Body {
    /// None while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<TaskWaker>,
    cancelled: bool,
    /// Of the simulated host: its spawner's.
    core: Option<u16>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    body: Option<Body>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

impl Slots {
    fn body(&mut self, task: TaskId) -> Option<&mut Body> {
        let slot = self.slots.get_mut((task & 0xFFFF_FFFF) as usize)?;
        if u64::from(slot.generation) == task >> 32 { slot.body.as_mut() } else { None }
    }

    /// The caller drops the body after it has let go of the slots: a drop may spawn and cancel.
    fn remove(&mut self, index: usize) -> Option<Body> {
        let body = self.slots[index].body.take()?;
        self.slots[index].generation += 1;
        self.free.push(index as u32);
        self.live -= 1;
        Some(body)
    }
}

/// The tasks of a simulation and what will wake them.
#[derive(Default)]
pub(super) struct Executor {
    slots: RefCell<Slots>,
    ready: Arc<Mutex<Ready>>,
    events: RefCell<BTreeMap<EventKey, Event>>,
    events_scheduled: Cell<u64>,
    /// That of what is being polled.
    core: Cell<Option<u16>>,
    /// Cores that stand still, and until when.
    stalled: RefCell<BTreeMap<u16, Instant>>,
}

impl Executor {
    /// Has `work` done on a core: what it spawns stays there.
    fn as_core<T>(&self, core: Option<u16>, work: impl FnOnce() -> T) -> T {
        let before = self.core.replace(core);
        let done = work();
        self.core.set(before);
        done
    }

    pub fn stall(&self, core: u16, until: Instant) {
        let mut stalled = self.stalled.borrow_mut();
        let end = stalled.entry(core).or_insert(until);
        *end = until.max(*end);
    }

    /// Until when the core of a task stands still.
    pub fn stalled_until(&self, task: TaskId, now: Instant) -> Option<Instant> {
        let mut stalled = self.stalled.borrow_mut();
        if stalled.is_empty() {
            return None;
        }
        stalled.retain(|_, until| *until > now);
        let core = self.slots.borrow_mut().body(task)?.core?;
        stalled.get(&core).copied()
    }

    pub fn spawn(&self, class: Class, future: Pin<Box<dyn Future<Output = ()>>>) -> TaskId {
        let mut slots = self.slots.borrow_mut();
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(Slot::default());
            (slots.slots.len() - 1) as u32
        });
        slots.live += 1;
        let slot = &mut slots.slots[index as usize];
        let task = (u64::from(slot.generation) << 32) | u64::from(index);
        let waker = self.waker(task, class);
        waker.wake_by_ref();
        let core = self.core.get();
        slot.body = Some(Body { future: Some(future), waker, cancelled: false, core });
        task
    }

    /// For the root future, which can run at once.
    pub fn root_waker(&self) -> Arc<TaskWaker> {
        let waker = self.waker(ROOT, Class::Foreground);
        waker.wake_by_ref();
        waker
    }

    fn waker(&self, task: TaskId, class: Class) -> Arc<TaskWaker> {
        let ready = Arc::clone(&self.ready);
        Arc::new(TaskWaker { task, class, queued: AtomicBool::new(false), ready })
    }

    pub fn cancel(&self, task: TaskId) {
        if let Some(body) = self.slots.borrow_mut().body(task) {
            body.cancelled = true;
            body.waker.wake_by_ref();
        }
    }

    /// Takes one of the tasks that can run.
    pub fn choose(&self, random: &Random) -> Option<TaskId> {
        let ready = &mut *lock(&self.ready);
        let (foreground, background) = (&mut ready.foreground, &mut ready.background);
        let turn_of_background =
            !background.is_empty() && (foreground.is_empty() || random.one_in(BACKGROUND_TURNS));
        let queue = if turn_of_background { background } else { foreground };
        match queue.len() {
            0 => None,
            1 => queue.pop(),
            length => Some(queue.swap_remove(random.index(length))),
        }
    }

    /// Makes a chosen task one that can run, again.
    pub fn resume(&self, task: TaskId) {
        lock(&self.ready).foreground.push(task);
    }

    pub fn poll(&self, task: TaskId) {
        let (mut future, waker, core) = {
            let mut slots = self.slots.borrow_mut();
            let Some(body) = slots.body(task) else { return };
            if body.cancelled {
                let body = slots.remove((task & 0xFFFF_FFFF) as usize);
                drop(slots);
                drop(body);
                return;
            }
            let Some(future) = body.future.take() else { return };
            (future, body.waker.for_poll(), body.core)
        };
        let mut context = Context::from_waker(&waker);
        match self.as_core(core, || future.as_mut().poll(&mut context)) {
            Poll::Pending => {
                if let Some(body) = self.slots.borrow_mut().body(task) {
                    body.future = Some(future);
                }
            }
            Poll::Ready(()) => {
                let body = self.slots.borrow_mut().remove((task & 0xFFFF_FFFF) as usize);
                drop(body);
            }
        }
    }

    pub fn schedule(&self, at: Instant, event: Event) -> EventKey {
        let number = self.events_scheduled.get();
        self.events_scheduled.set(number + 1);
        self.events.borrow_mut().insert((at, number), event);
        (at, number)
    }

    pub fn unschedule(&self, key: EventKey) {
        self.events.borrow_mut().remove(&key);
    }

    pub fn next_event_at(&self) -> Option<Instant> {
        self.events.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    pub fn take_event_due(&self, now: Instant) -> Option<Event> {
        let mut events = self.events.borrow_mut();
        let entry = events.first_entry()?;
        if entry.key().0 <= now { Some(entry.remove()) } else { None }
    }

    pub fn live_tasks(&self) -> usize {
        self.slots.borrow().live
    }

    /// Drops every task and every event. Drops may spawn, so it goes on until nothing is left.
    pub fn clear(&self) {
        while self.live_tasks() > 0 {
            let length = self.slots.borrow().slots.len();
            for index in 0..length {
                let body = self.slots.borrow_mut().remove(index);
                drop(body);
            }
        }
        *lock(&self.ready) = Ready::default();
        self.stalled.borrow_mut().clear();
        let events = self.events.take();
        drop(events);
    }
}

/// Where a task leaves its result for whoever awaits it.
struct Outcome<T> {
    value: Option<T>,
    /// The future is gone, with a result or without.
    ended: bool,
    waiting: Option<Waker>,
}

/// Held by a task's future: tells who waits that it is gone.
struct Ending<T>(Rc<RefCell<Outcome<T>>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let mut outcome = self.0.borrow_mut();
        outcome.ended = true;
        if let Some(waiting) = outcome.waiting.take() {
            waiting.wake();
        }
    }
}

/// A spawned future. Awaiting it gives its result; dropping it leaves it running.
pub struct Task<T> {
    task: TaskId,
    outcome: Rc<RefCell<Outcome<T>>>,
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({:x})", self.task)
    }
}

impl<T> Task<T> {
    /// Ends the task where it waits; returns when its future is dropped.
    pub async fn cancel(self) {
        World::current().executor.cancel(self.task);
        poll_fn(|cx| {
            let mut outcome = self.outcome.borrow_mut();
            if outcome.ended {
                return Poll::Ready(());
            }
            outcome.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<T> Future for Task<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut outcome = self.outcome.borrow_mut();
        match outcome.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                outcome.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Runs `future` beside its spawner.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_class(Class::Foreground, future)
}

/// Runs `future` when little else can run.
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_class(Class::Background, future)
}

fn spawn_class<T: 'static>(class: Class, future: impl Future<Output = T> + 'static) -> Task<T> {
    let outcome = Rc::new(RefCell::new(Outcome { value: None, ended: false, waiting: None }));
    let ending = Ending(Rc::clone(&outcome));
    let body = async move {
        let ending = ending;
        let value = future.await;
        ending.0.borrow_mut().value = Some(value);
    };
    Task { task: World::current().executor.spawn(class, Box::pin(body)), outcome }
}

/// Runs `future`, and what it spawns, on one of the host's cores. (What is spawned elsewhere is on none.)
pub async fn on_core<T>(core: u16, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let poll = || future.as_mut().poll(cx);
        World::current().executor.as_core(Some(core), poll)
    })
    .await
}

/// Has a core stand still: nothing that was spawned on it runs meanwhile; the disk and the network go on.
pub fn stall_core(core: u16, duration: Duration) {
    let world = World::current();
    world.record("core stalls", "".into(), [u64::from(core), duration.as_micros() as u64]);
    world.executor.stall(core, world.now() + duration);
}

/// Lets others run.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets others run, now and then: in the product, when this task has used up its slice.
pub async fn yield_if_needed() {
    if World::current().schedule.one_in(4) {
        yield_now().await;
    }
}

/// Waits for `duration` of virtual time, and a little more.
pub async fn sleep(duration: Duration) {
    let world = World::current();
    let late = Duration::from_nanos(world.schedule.below(TIMER_LATE_NS_MAX));
    sleep_until(world.now() + duration + late).await;
}

/// Waits for a moment, exactly.
pub(super) fn sleep_until(deadline: Instant) -> SleepUntil {
    SleepUntil { deadline, event: None }
}

pub(super) struct SleepUntil {
    deadline: Instant,
    event: Option<EventKey>,
}

impl Future for SleepUntil {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = World::current();
        if let Some(event) = self.event.take() {
            world.executor.unschedule(event);
            if world.now() >= self.deadline {
                return Poll::Ready(());
            }
        }
        let event = Event::Wake(cx.waker().clone());
        self.event = Some(world.executor.schedule(self.deadline, event));
        Poll::Pending
    }
}

impl Drop for SleepUntil {
    fn drop(&mut self) {
        if let (Some(event), Some(world)) = (self.event, World::try_current()) {
            world.executor.unschedule(event);
        }
    }
}
