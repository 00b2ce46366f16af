//! Tasks of one core that wait for the same thing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Each waiting task stands here once, however often it is polled: glommio counts the wakers of a task in
/// 16 bits, and aborts beyond.
#[derive(Debug, Default)]
pub struct Wakers(RefCell<Vec<Waker>>);

impl Wakers {
    /// Has the task woken by the next `wake_all`.
    pub fn register(&self, context: &Context<'_>) {
        let mut waiting = self.0.borrow_mut();
        // From the back: who is polled again and again came last.
        if !waiting.iter().rev().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
    }

    /// Wakes and forgets all.
    pub fn wake_all(&self) {
        // Taken first: a waker may run code of its own.
        self.0.take().into_iter().for_each(Waker::wake);
    }
}

/// Tasks of one core that get something one after the other, in the order of coming: nobody is overtaken
/// by those who want less.
#[derive(Debug, Default)]
pub struct Line {
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next_number: Cell<u64>,
}

impl Line {
    /// Waits until it is this task's turn and `take` gives it what it wants.
    pub async fn wait<T>(&self, mut take: impl FnMut() -> Option<T>) -> T {
        let mut place = Place { line: self, number: None };
        poll_fn(|context| {
            if place.is_first()
                && let Some(taken) = take()
            {
                return Poll::Ready(taken);
            }
            place.stand(context);
            Poll::Pending
        })
        .await
    }

    /// There may be something to take now.
    pub fn wake_first(&self) {
        let first = self.waiting.borrow().front().map(|(_, waker)| waker.clone());
        first.into_iter().for_each(Waker::wake);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

/// Something that one task of a core does at a time.
#[derive(Debug, Default)]
pub struct Turn {
    is_taken: Cell<bool>,
    line: Line,
}

/// Held while it is this task's turn.
#[must_use]
pub struct TurnHeld<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn.
    pub async fn enter(&self) -> TurnHeld<'_> {
        self.line.wait(|| (!self.is_taken.replace(true)).then_some(())).await;
        TurnHeld(self)
    }
}

impl Drop for TurnHeld<'_> {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
        self.0.line.wake_first();
    }
}

/// A task's place in a line; who leaves, served or not, makes way for the next.
struct Place<'a> {
    line: &'a Line,
    number: Option<u64>,
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        self.line.waiting.borrow().front().is_none_or(|(number, _)| Some(*number) == self.number)
    }

    fn stand(&mut self, context: &Context<'_>) {
        let mut waiting = self.line.waiting.borrow_mut();
        match waiting.iter_mut().find(|(number, _)| Some(*number) == self.number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => {
                let number = self.line.next_number.get();
                self.line.next_number.set(number + 1);
                self.number = Some(number);
                waiting.push_back((number, context.waker().clone()));
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.number.is_some() {
            let stays = |entry: &(u64, Waker)| Some(entry.0) != self.number;
            self.line.waiting.borrow_mut().retain(stays);
            self.line.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sim::{Simulation, for_each_seed, sleep, spawn};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_polled_often_stands_in_the_list_once() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let wakers = Wakers::default();
        for _ in 0..100_000 {
            wakers.register(&Context::from_waker(&Waker::from(first.clone())));
        }
        wakers.register(&Context::from_waker(&Waker::from(second.clone())));
        assert_eq!(Arc::strong_count(&first), 2);
        wakers.wake_all();
        wakers.wake_all();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_line_is_served_in_the_order_of_coming_whoever_leaves_it() {
        for_each_seed(100, |seed| {
            Simulation::new(seed).run(async {
                let (line, left, served) = (
                    Rc::new(Line::default()),
                    Rc::new(Cell::new(0usize)),
                    Rc::<RefCell<Vec<_>>>::default(),
                );
                let mut tasks = Vec::new();
                for number in 0..10usize {
                    let (line, left, served) = (line.clone(), left.clone(), served.clone());
                    tasks.push(spawn(async move {
                        sleep(Duration::from_millis(number as u64 * 10)).await;
                        let take = || left.get().checked_sub(number).map(|rest| left.set(rest));
                        let waiting =
                            crate::runtime::timeout(Duration::from_millis(300), line.wait(take));
                        if waiting.await.is_some() {
                            served.borrow_mut().push(number);
                        }
                    }));
                }
                sleep(Duration::from_millis(200)).await;
                for _ in 0..11 {
                    left.set(left.get() + 1);
                    line.wake_first();
                    sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(
                    *served.borrow(),
                    [0, 1, 2, 3, 4],
                    "what is left is not enough for the next"
                );
                for task in tasks {
                    task.await;
                }
                assert!(line.is_empty());
            });
        });
    }
}
