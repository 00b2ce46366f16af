//! Bugs that can be switched on in test builds, to prove that the simulation finds them.

use std::cell::Cell;

/// A known way to lose or show what was not promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The acknowledgement goes out before the write has completed.
    AcknowledgeBeforeWrite,
    /// A new segment's name is not made durable.
    SkipDirectorySync,
    /// Recovery takes a batch without looking at its checksum.
    SkipChecksumOnRecovery,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the bug is switched on.
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
