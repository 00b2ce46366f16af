//! Two ways to wait on this thread: a `Slot` for one value, an `Event` for "something has changed".

use super::Wakers;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
enum State<T> {
    Empty(Option<Waker>),
    Full(T),
    /// The filler went away, or the value was taken.
    Over,
}

/// A value that comes later; None when it never will.
#[derive(Debug)]
pub struct Slot<T>(Rc<RefCell<State<T>>>);

/// Fills its slot once.
#[derive(Debug)]
pub struct Filler<T>(Rc<RefCell<State<T>>>);

pub fn slot<T>() -> (Filler<T>, Slot<T>) {
    let state = Rc::new(RefCell::new(State::Empty(None)));
    (Filler(state.clone()), Slot(state))
}

impl<T> Filler<T> {
    pub fn fill(self, value: T) {
        self.settle(State::Full(value));
    }

    fn settle(&self, end: State<T>) {
        let before = self.0.replace(end);
        if let State::Empty(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Filler<T> {
    fn drop(&mut self) {
        let is_empty = matches!(*self.0.borrow(), State::Empty(_));
        if is_empty {
            self.settle(State::Over);
        }
    }
}

impl<T> Future for Slot<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.borrow_mut();
        if let State::Empty(waker) = &mut *state {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Full(value) => Poll::Ready(Some(value)),
            _ => Poll::Ready(None),
        }
    }
}

/// Counts what happened. Whoever waits says up to which count it has seen, so that nothing is missed.
#[derive(Debug, Default)]
pub struct Event {
    count: Cell<u64>,
    waiting: Wakers,
}

impl Event {
    pub fn notify(&self) {
        self.count.set(self.count.get() + 1);
        self.waiting.wake_all();
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Returns once more than `seen` has happened.
    pub fn after(&self, seen: u64) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(move |context| {
            if self.count.get() > seen {
                return Poll::Ready(());
            }
            self.waiting.register(context);
            Poll::Pending
        })
    }
}
