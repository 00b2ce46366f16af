//! Bugs of moves between cores that tests can switch on, to prove that the simulation finds them; those of all else
//! are in `log::planted`. In the product every question here is answered `false` at compile time.

/// A known way to have two owners of a partition, or the wrong one, or to lose what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveBug {
    /// The core that a partition moves to opens it while the one that had it is still closing it.
    OpenBeforeClosed,
    /// That a partition was moved is not written down.
    ForgetMove,
    /// A partition that moves keeps its leader epoch, so that clients cannot tell what is older from the news.
    KeepLeaderEpoch,
    /// The core that gives a partition up completes nothing of what is pending.
    DropPending,
}

impl MoveBug {
    pub const ALL: [MoveBug; 4] = [
        MoveBug::OpenBeforeClosed,
        MoveBug::ForgetMove,
        MoveBug::KeepLeaderEpoch,
        MoveBug::DropPending,
    ];
}

#[cfg(any(test, feature = "planted-bugs"))]
mod switch {
    use super::MoveBug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<MoveBug>> = const { Cell::new(None) };
    }

    /// Switches a bug on for this thread.
    pub fn plant(bug: Option<MoveBug>) {
        PLANTED.set(bug);
    }

    /// Whether the bug is switched on.
    pub fn is(bug: MoveBug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(any(test, feature = "planted-bugs")))]
mod switch {
    pub const fn is(_bug: super::MoveBug) -> bool {
        false
    }
}

pub use switch::*;
