//! Tasks of one core that wait for the same thing.

use std::cell::RefCell;
use std::task::{Context, Waker};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

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
}
