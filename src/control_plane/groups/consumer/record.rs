//! The records that keep a consumer group (KIP-848), in Kafka's format. Pure.
//!
//! ```text
//! key    kind i16 | group string | member or regular expression string      in the old, not flexible form
//! value  version i16 (0) | fields in the flexible form; no value removes
//! ```

use crate::wire::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
};
use crate::wire::{Decoder, Encoder, Fault, Message, Str, WireError};
use bytes::Bytes;

/// A change of one consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerRecord {
    pub group: Str,
    pub change: ConsumerChange,
}

/// What changes; `None` is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerChange {
    /// Key 3: the group's epoch.
    Epoch(Option<ConsumerGroupMetadataValue>),
    /// Key 4: what Kafka before 4.1 knew of topics. It is only ever removed; what it says is not read.
    PartitionMetadata(Option<Bytes>),
    /// Key 5: what a member said of itself.
    Member(Str, Option<ConsumerGroupMemberMetadataValue>),
    /// Key 6: of which epoch the target assignment is.
    TargetEpoch(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    /// Key 7: what a member should have.
    Target(Str, Option<ConsumerGroupTargetAssignmentMemberValue>),
    /// Key 8: what a member has.
    Current(Str, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    /// Key 16: what topics match a regular expression.
    Regex(Str, Option<ConsumerGroupRegularExpressionValue>),
}

const KIND_EPOCH: i16 = 3;
const KIND_PARTITION_METADATA: i16 = 4;
const KIND_MEMBER: i16 = 5;
const KIND_TARGET_EPOCH: i16 = 6;
const KIND_TARGET: i16 = 7;
const KIND_CURRENT: i16 = 8;
const KIND_REGEX: i16 = 16;

/// All values have this version so far.
const VALUE_VERSION: i16 = 0;

impl ConsumerRecord {
    /// Whether a key of this kind is one of a consumer group.
    pub fn is_kind(kind: i16) -> bool {
        matches!(kind, KIND_EPOCH..=KIND_CURRENT | KIND_REGEX)
    }

    /// The whole key, its kind included.
    pub fn key(&self) -> Bytes {
        let (kind, second) = match &self.change {
            ConsumerChange::Epoch(_) => (KIND_EPOCH, None),
            ConsumerChange::PartitionMetadata(_) => (KIND_PARTITION_METADATA, None),
            ConsumerChange::Member(member, _) => (KIND_MEMBER, Some(member)),
            ConsumerChange::TargetEpoch(_) => (KIND_TARGET_EPOCH, None),
            ConsumerChange::Target(member, _) => (KIND_TARGET, Some(member)),
            ConsumerChange::Current(member, _) => (KIND_CURRENT, Some(member)),
            ConsumerChange::Regex(regex, _) => (KIND_REGEX, Some(regex)),
        };
        let mut e = Encoder::new();
        e.write_i16(kind);
        e.write_string(self.group.as_bytes(), false);
        if let Some(second) = second {
            e.write_string(second.as_bytes(), false);
        }
        e.out.freeze()
    }

    /// The whole value, its version included.
    pub fn value(&self) -> Option<Bytes> {
        match &self.change {
            ConsumerChange::Epoch(value) => encoded(value.as_ref()),
            ConsumerChange::PartitionMetadata(value) => value.clone(),
            ConsumerChange::Member(_, value) => encoded(value.as_ref()),
            ConsumerChange::TargetEpoch(value) => encoded(value.as_ref()),
            ConsumerChange::Target(_, value) => encoded(value.as_ref()),
            ConsumerChange::Current(_, value) => encoded(value.as_ref()),
            ConsumerChange::Regex(_, value) => encoded(value.as_ref()),
        }
    }

    /// Reads a record whose key's kind was read already and is one of a consumer group.
    ///
    /// # Errors
    /// A key or value that is not of Kafka's format, or of a version that is not known.
    pub fn decode(
        kind: i16,
        key: &mut Decoder,
        value: Option<Bytes>,
    ) -> Result<ConsumerRecord, WireError> {
        let group = read_text(key)?;
        let change = match kind {
            KIND_EPOCH => ConsumerChange::Epoch(decoded(value)?),
            KIND_PARTITION_METADATA => ConsumerChange::PartitionMetadata(value),
            KIND_MEMBER => ConsumerChange::Member(read_text(key)?, decoded(value)?),
            KIND_TARGET_EPOCH => ConsumerChange::TargetEpoch(decoded(value)?),
            KIND_TARGET => ConsumerChange::Target(read_text(key)?, decoded(value)?),
            KIND_CURRENT => ConsumerChange::Current(read_text(key)?, decoded(value)?),
            KIND_REGEX => ConsumerChange::Regex(read_text(key)?, decoded(value)?),
            other => return Err(malformed(Fault::UnknownVersion(other))),
        };
        Ok(ConsumerRecord { group, change })
    }
}

fn malformed(fault: Fault) -> WireError {
    WireError { fault, field: "a consumer group's record", at: 0 }
}

/// What is kept must not keep the batch that it came in.
fn read_text(key: &mut Decoder) -> Result<Str, WireError> {
    Ok(key.read_string(false)?.ok_or_else(|| malformed(Fault::Null))?.detached())
}

fn encoded<M: Message>(value: Option<&M>) -> Option<Bytes> {
    let mut e = Encoder::new();
    e.write_i16(VALUE_VERSION);
    value?.encode(&mut e, VALUE_VERSION);
    Some(e.out.freeze())
}

fn decoded<M: Message>(value: Option<Bytes>) -> Result<Option<M>, WireError> {
    let Some(bytes) = value else { return Ok(None) };
    // A copy, once, so that the texts in it pin no more than this record.
    let mut d = Decoder::new(Bytes::copy_from_slice(&bytes));
    let version = d.read_i16()?;
    M::decode(&mut d, version).map(Some)
}

#[cfg(test)]
mod tests;
