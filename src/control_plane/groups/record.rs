//! The records of `__consumer_offsets`: Kafka's own format, as its CoordinatorRecordSerde writes them. A key
//! begins with the number of its kind, a value with its version; a key without a value removes.

use super::classic::ClassicGroupValue;
use super::consumer::record::ConsumerRecord;
use crate::wire::Str;

/// Whose offset it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group: Str,
    pub topic: Str,
    pub partition: i32,
}

/// A committed offset. Times are in milliseconds since 1970, -1 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1 when the client did not say.
    pub leader_epoch: i32,
    pub metadata: Str,
    pub commit_timestamp: i64,
    /// Of clients before version 5 of OffsetCommit that chose their own retention; else -1.
    pub expire_timestamp: i64,
    /// Nil when not known.
    pub topic_id: [u8; 16],
}

/// What is stored; `None` is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRecord {
    /// Keys 0 and 1.
    Offset(OffsetKey, Option<CommittedOffset>),
    /// Key 2.
    Classic(Str, Option<ClassicGroupValue>),
    /// Keys 3 to 8, and 16: of a consumer group (KIP-848).
    Consumer(ConsumerRecord),
}
