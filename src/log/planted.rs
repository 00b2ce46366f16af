//! Bugs that tests can switch on, to prove that the simulation finds them. In the product every question
//! here is answered `false` at compile time.

/// A known way to lose, to invent, or to show what was not promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The acknowledgement goes out, and consumers see the batch, before the write has completed.
    AcknowledgeBeforeWrite,
    /// The acknowledgement waits for the write, and not for the sync that `fsync` promises.
    AcknowledgeBeforeSync,
    /// Consumers see a batch before its write has completed; its producer is told afterwards, as it should be.
    MoveWatermarkEarly,
    /// A new segment's name is not made durable.
    SkipDirectorySync,
    /// Bytes from the disk are taken without looking at their checksum.
    SkipChecksum,
    /// Recovery takes a header for a batch, though not all was written of what the header says follows.
    AcceptTornHeader,
    /// Recovery leaves what follows the last whole batch where it is.
    KeepTornTail,
    /// Recovery shows what a killed process wrote before it is durable.
    SkipSyncOfRecovered,
    /// A change to `fsync` forgets what was written under `write`.
    SkipSyncOnChange,
    /// A commit that begins within a block does not repeat what the block held.
    ForgetLastBlock,
    /// A retry of the oldest of the five batches is not known again.
    WindowOffByOne,
    /// Recovery takes the producers' snapshot and does not look at what follows it.
    ForgetProducersAfterSnapshot,
    /// A segment is sealed before all of it is synced.
    SkipSyncOnSeal,
    /// Retention takes the segment that is being written.
    DeleteActiveSegment,
    /// A recovery point is written down before what it covers is synced.
    SkipSyncOfPoint,
    /// Recovery points are never written.
    ForgetPoints,
    /// The index of a segment is believed whatever it says.
    TrustIndex,

    /// Connections read on, whatever is pending.
    ForgetPendingBound,
    /// A partition that has moved is opened by the shard beside its own as well.
    OpenMovedTwice,
    /// Partitions are placed anew, and nobody writes down where.
    ForgetPlaces,
    /// Changes of metadata are acknowledged before they are synced.
    SkipSyncOfMetadata,
    /// A start shows what it finds in the metadata log before it is durable.
    SkipSyncOfFoundMetadata,
    /// The metadata log is not sealed, so that damage to its last change can pass for a torn tail.
    SkipSeal,
    /// A partition's open files are known by its name, and kept when it is deleted.
    ReuseFileIdentity,
    /// Batches that wait for a partition to be opened are appended newest first.
    TurnEarlyAppends,
    /// Producer ids that were given out are not written down.
    ForgetProducerIds,
    /// A raised log start is not written down.
    ForgetLogStart,

    /// The answers of groups are given before what they show is durable.
    AnswerGroupsEarly,
    /// Groups are served from nothing while their partition is being read.
    ServeGroupsWhileLoading,
    /// A core answers for groups that live on another, from the nothing that it knows of them.
    ServeForeignGroups,
    /// A partition is given to its next owner before the one that has it gave it up.
    GiveBeforeRevoked,
    /// A log of groups that is written anew leaves out an offset of each group.
    CopyForgetsOffset,
    /// Members that were there before a start are not waited for, and so never found missing.
    ForgetSessions,
    /// That offsets were removed is not written down.
    ForgetRemovedOffsets,
    /// A commit of a generation that is over is taken.
    TakeStaleCommits,
}

impl Bug {
    /// Those that only a whole broker shows.
    pub const OF_BROKERS: [Bug; 10] = [
        Bug::ForgetPendingBound,
        Bug::OpenMovedTwice,
        Bug::ForgetPlaces,
        Bug::SkipSyncOfMetadata,
        Bug::SkipSyncOfFoundMetadata,
        Bug::SkipSeal,
        Bug::ReuseFileIdentity,
        Bug::TurnEarlyAppends,
        Bug::ForgetProducerIds,
        Bug::ForgetLogStart,
    ];

    /// Those that only consumer groups show.
    pub const OF_GROUPS: [Bug; 8] = [
        Bug::AnswerGroupsEarly,
        Bug::ServeGroupsWhileLoading,
        Bug::ServeForeignGroups,
        Bug::GiveBeforeRevoked,
        Bug::CopyForgetsOffset,
        Bug::ForgetSessions,
        Bug::ForgetRemovedOffsets,
        Bug::TakeStaleCommits,
    ];

    pub const ALL: [Bug; 17] = [
        Bug::AcknowledgeBeforeWrite,
        Bug::AcknowledgeBeforeSync,
        Bug::MoveWatermarkEarly,
        Bug::AcceptTornHeader,
        Bug::SkipDirectorySync,
        Bug::SkipChecksum,
        Bug::KeepTornTail,
        Bug::SkipSyncOfRecovered,
        Bug::SkipSyncOnChange,
        Bug::ForgetLastBlock,
        Bug::WindowOffByOne,
        Bug::ForgetProducersAfterSnapshot,
        Bug::SkipSyncOnSeal,
        Bug::DeleteActiveSegment,
        Bug::SkipSyncOfPoint,
        Bug::ForgetPoints,
        Bug::TrustIndex,
    ];
}

#[cfg(any(test, feature = "planted-bugs"))]
mod switch {
    use super::Bug;
    use std::cell::Cell;

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
}

#[cfg(not(any(test, feature = "planted-bugs")))]
mod switch {
    pub const fn is(_bug: super::Bug) -> bool {
        false
    }
}

pub use switch::*;
