//! The records of `__consumer_offsets`: Kafka's own format, as its CoordinatorRecordSerde writes them. A key
//! begins with the number of its kind, a value with its version; a key without a value removes. Pure.
//!
//! ```text
//! key 0, 1   group, topic: string16 | partition i32
//! key 2      group: string16 (its value: `classic::record`)
//! key 3-8,16 `consumer::record`
//! value 0, 2 offset i64 | metadata string16 | commit timestamp i64
//! value 1    offset i64 | metadata string16 | commit timestamp i64 | expire timestamp i64
//! value 3    offset i64 | leader epoch i32 | metadata string16 | commit timestamp i64
//! value 4    the same with a compact string and tagged fields: 0 is the topic id
//! ```

use super::classic::ClassicGroupValue;
use super::classic::record as classic;
use super::consumer::record::ConsumerRecord;
use crate::wire::decoder::{Fault, WireError};
use crate::wire::{Decoder, Encoder, Str};
use bytes::Bytes;

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

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What a record of the log is.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    Known(Box<GroupRecord>),
    /// Of a kind that is not kept here: share and streams groups, or a newer Kafka's.
    Foreign(i16),
}

/// Of the kind, at the start of a key.
const KIND_BYTES: usize = 2;
const OFFSET_KEY_OLD: i16 = 0;
const OFFSET_KEY: i16 = 1;
const CLASSIC_KEY: i16 = 2;

/// The first version of an offset's value with tagged fields, and the one that knows an expiration.
const OFFSET_VALUE_FLEXIBLE: i16 = 4;
const OFFSET_VALUE_EXPIRING: i16 = 1;
const TOPIC_ID_TAG: u32 = 0;

impl GroupRecord {
    /// Whose record it is.
    pub fn group(&self) -> &Str {
        match self {
            GroupRecord::Offset(key, _) => &key.group,
            GroupRecord::Classic(group, _) => group,
            GroupRecord::Consumer(record) => &record.group,
        }
    }

    pub fn encode(&self) -> Encoded {
        match self {
            GroupRecord::Offset(key, value) => Encoded {
                key: encode_offset_key(key),
                value: value.as_ref().map(encode_offset_value),
            },
            GroupRecord::Classic(group, value) => Encoded {
                key: encode_group_key(CLASSIC_KEY, group),
                value: value.as_ref().map(classic::encode_value),
            },
            GroupRecord::Consumer(record) => Encoded { key: record.key(), value: record.value() },
        }
    }
}

/// Reads a record.
///
/// # Errors
/// It is of a known kind and cannot be read.
pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, WireError> {
    let mut d = Decoder::new(key.clone());
    let kind = d.read_i16()?;
    let record = match kind {
        OFFSET_KEY_OLD | OFFSET_KEY => {
            let (group, topic) = (read_text(&mut d, false)?, read_text(&mut d, false)?);
            let key = OffsetKey { group, topic, partition: d.read_i32()? };
            GroupRecord::Offset(key, value.map(decode_offset_value).transpose()?)
        }
        CLASSIC_KEY => {
            let group = read_text(&mut d, false)?;
            GroupRecord::Classic(group, value.cloned().map(classic::decode_value).transpose()?)
        }
        kind if ConsumerRecord::is_kind(kind) => {
            // What it names is kept as it lies here, and the log's buffer is not.
            let mut d = Decoder::new(Bytes::copy_from_slice(&key[KIND_BYTES..]));
            let value = value.map(|value| Bytes::copy_from_slice(value));
            GroupRecord::Consumer(ConsumerRecord::decode(kind, &mut d, value)?)
        }
        foreign => return Ok(Decoded::Foreign(foreign)),
    };
    Ok(Decoded::Known(Box::new(record)))
}

/// A string that is not null, without the buffer that it lay in.
pub fn read_text(d: &mut Decoder, flexible: bool) -> Result<Str, WireError> {
    let text = d.read_string(flexible)?;
    text.map(|text| text.detached()).ok_or_else(|| d.error(Fault::Null))
}

fn encode_offset_key(key: &OffsetKey) -> Bytes {
    let mut e = Encoder::new();
    e.write_i16(OFFSET_KEY);
    e.write_string(key.group.as_bytes(), false);
    e.write_string(key.topic.as_bytes(), false);
    e.write_i32(key.partition);
    e.out.freeze()
}

/// A key that names nothing but a group.
fn encode_group_key(kind: i16, group: &Str) -> Bytes {
    let mut e = Encoder::new();
    e.write_i16(kind);
    e.write_string(group.as_bytes(), false);
    e.out.freeze()
}

fn encode_offset_value(value: &CommittedOffset) -> Bytes {
    let mut e = Encoder::new();
    let flexible = value.expire_timestamp < 0;
    e.write_i16(if flexible { OFFSET_VALUE_FLEXIBLE } else { OFFSET_VALUE_EXPIRING });
    e.write_i64(value.offset);
    if flexible {
        e.write_i32(value.leader_epoch);
    }
    e.write_string(value.metadata.as_bytes(), flexible);
    e.write_i64(value.commit_timestamp);
    if !flexible {
        e.write_i64(value.expire_timestamp);
    } else if value.topic_id == [0; 16] {
        e.write_uvarint(0);
    } else {
        e.write_uvarint(1);
        e.write_tag(TOPIC_ID_TAG, |e| e.write_uuid(value.topic_id));
    }
    e.out.freeze()
}

fn decode_offset_value(value: &Bytes) -> Result<CommittedOffset, WireError> {
    let mut d = Decoder::new(value.clone());
    let version = d.read_i16()?;
    if !(0..=OFFSET_VALUE_FLEXIBLE).contains(&version) {
        return Err(d.error(Fault::UnknownVersion(version)));
    }
    let flexible = version >= OFFSET_VALUE_FLEXIBLE;
    let offset = d.read_i64()?;
    let leader_epoch = if version >= 3 { d.read_i32()? } else { -1 };
    let metadata = read_text(&mut d, flexible)?;
    let commit_timestamp = d.read_i64()?;
    let expire_timestamp = if version == OFFSET_VALUE_EXPIRING { d.read_i64()? } else { -1 };
    let mut topic_id = [0; 16];
    if flexible {
        d.read_tags(|d, tag| {
            if tag == TOPIC_ID_TAG {
                topic_id = d.read_uuid()?;
            }
            Ok(tag == TOPIC_ID_TAG)
        })?;
    }
    Ok(CommittedOffset {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp,
        expire_timestamp,
        topic_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (OffsetKey, CommittedOffset) {
        let key = OffsetKey { group: "g".into(), topic: "größe".into(), partition: 7 };
        let value = CommittedOffset {
            offset: 1 << 40,
            leader_epoch: 3,
            metadata: "m".into(),
            commit_timestamp: 99,
            expire_timestamp: -1,
            topic_id: [5; 16],
        };
        (key, value)
    }

    #[track_caller]
    fn check(record: &GroupRecord) -> Encoded {
        let encoded = record.encode();
        let decoded = decode(&encoded.key, encoded.value.as_ref());
        assert_eq!(decoded, Ok(Decoded::Known(Box::new(record.clone()))));
        encoded
    }

    #[test]
    fn offsets_come_back_as_they_were_stored() {
        let (key, value) = sample();
        check(&GroupRecord::Offset(key.clone(), None));
        check(&GroupRecord::Offset(key.clone(), Some(value.clone())));
        let unnamed = CommittedOffset { topic_id: [0; 16], ..value.clone() };
        check(&GroupRecord::Offset(key.clone(), Some(unnamed)));
        // A value that expires by itself knows neither epoch nor id, as Kafka's.
        let expiring =
            CommittedOffset { leader_epoch: -1, expire_timestamp: 100, topic_id: [0; 16], ..value };
        check(&GroupRecord::Offset(key, Some(expiring)));
    }

    #[test]
    fn offsets_are_written_in_kafkas_bytes() {
        let (key, value) = sample();
        let key = OffsetKey { topic: "t".into(), ..key };
        let Encoded { key, value } = GroupRecord::Offset(key, Some(value)).encode();
        assert_eq!(key[..], *b"\0\x01\0\x01g\0\x01t\0\0\0\x07");
        let mut expected =
            b"\0\x04\0\0\x01\0\0\0\0\0\0\0\0\x03\x02m\0\0\0\0\0\0\0\x63\x01\0\x10".to_vec();
        expected.extend([5; 16]);
        assert_eq!(value.unwrap()[..], expected);
    }

    #[test]
    fn values_of_all_ages_are_read() {
        let key = Bytes::from_static(b"\0\0\0\x01g\0\x01t\0\0\0\x07");
        for (value, leader_epoch, expire_timestamp) in [
            (&b"\0\0\0\0\0\0\0\0\0\x09\0\x01m\0\0\0\0\0\0\0\x63"[..], -1, -1),
            (b"\0\x01\0\0\0\0\0\0\0\x09\0\x01m\0\0\0\0\0\0\0\x63\0\0\0\0\0\0\0\x64", -1, 100),
            (b"\0\x02\0\0\0\0\0\0\0\x09\0\x01m\0\0\0\0\0\0\0\x63", -1, -1),
            (b"\0\x03\0\0\0\0\0\0\0\x09\0\0\0\x02\0\x01m\0\0\0\0\0\0\0\x63", 2, -1),
        ] {
            let value = Bytes::copy_from_slice(value);
            let Ok(Decoded::Known(record)) = decode(&key, Some(&value)) else {
                panic!("{value:?}");
            };
            let GroupRecord::Offset(key, Some(read)) = *record else { panic!("{record:?}") };
            assert_eq!((key.partition, read.offset, read.metadata.as_str()), (7, 9, "m"));
            assert_eq!(
                (read.leader_epoch, read.expire_timestamp),
                (leader_epoch, expire_timestamp)
            );
            assert_eq!(read.commit_timestamp, 99);
        }
    }

    #[test]
    fn foreign_kinds_are_named_and_damage_is_an_error() {
        assert_eq!(decode(&Bytes::from_static(b"\0\x0b\0\0"), None), Ok(Decoded::Foreign(11)));
        let key = Bytes::from_static(b"\0\x01\0\x01g\0\x01t\0\0\0\x07");
        assert!(decode(&key, Some(&Bytes::from_static(b"\0\x09"))).is_err());
        for cut in 0..key.len() {
            assert!(decode(&key.slice(..cut), None).is_err(), "{cut}");
        }
    }
}
