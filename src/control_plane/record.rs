//! What the metadata log says: one fact per record, in a compact form of its own. No kind is 0. Pure.
//!
//! ```text
//! record    kind u8 | fields
//! Format    1 | version uvarint | cluster id string | node id uvarint          always the first
//! Shards    2 | count uvarint
//! Created   3 | topic id 16 bytes | name string | places | settings
//! Deleted   4 | topic id
//! Added     5 | topic id | places                                  partitions after those there are
//! Set       6 | topic id | settings                                all of them
//! LogStart  7 | topic id | partition uvarint | offset varlong
//! Placed    8 | topic id | places                                  all of them, log starts included
//! Ids       9 | next producer id varlong
//! Moved    10 | topic id | partition uvarint | shard uvarint | leader epoch uvarint
//! Quota    16 | entity | quotas                                   all of them; none: the entity is forgotten
//! Group    17 | group string | settings                           all of them; none: the group is forgotten
//! Brokers  18 | whose uvarint | settings                          all of them
//!
//! places    count uvarint | count * (shard uvarint | leader epoch uvarint | log start varlong)
//! entity    user name | client name
//! name      0 none | 1 default | 2, string
//! quotas    4 * (0 not set | 1, number f64)                       in the order of QuotaKind::ALL
//! whose     0 of all brokers | node id + 1, of those of one host
//! settings  count uvarint | count * (name string | value string)
//! string    length + 1 uvarint | UTF-8, as on the wire
//! ```

use super::configs::Overrides;
use crate::limits::{SHARDS_MAX, STRING_BYTES_MAX, TOPIC_PARTITIONS_MAX};
use crate::shard::image::PartitionPlace;
use crate::shard::quota_table::{QuotaEntity, QuotaKind, QuotaName, QuotaValues};
use crate::types::{Offset, ShardId, TopicId};
use crate::wire::{Decoder, Encoder, WireError};

/// What this broker writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// A change of the cluster-wide facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Format {
        version: u32,
        cluster_id: String,
        node_id: u32,
    },
    /// The number of shards that the places hold for.
    Shards(u16),
    Created {
        id: TopicId,
        name: String,
        partitions: Vec<PartitionPlace>,
        overrides: Overrides,
    },
    Deleted(TopicId),
    Added {
        id: TopicId,
        partitions: Vec<PartitionPlace>,
    },
    Set {
        id: TopicId,
        overrides: Overrides,
    },
    LogStart {
        id: TopicId,
        index: i32,
        offset: Offset,
    },
    Placed {
        id: TopicId,
        partitions: Vec<PartitionPlace>,
    },
    /// Producer ids below this one were given out.
    Ids(i64),
    /// One partition has another shard, while it was served.
    Moved {
        id: TopicId,
        index: i32,
        shard: ShardId,
        leader_epoch: i32,
    },
    Quota {
        entity: QuotaEntity,
        values: QuotaValues,
    },
    Group {
        group: String,
        overrides: Overrides,
    },
    Brokers {
        /// None: of all.
        node_id: Option<u32>,
        overrides: Overrides,
    },
}

/// Why a record of a sound frame cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("{0}")]
    Malformed(#[from] WireError),
    #[error("a record of kind {0}, which this version does not know")]
    UnknownKind(i8),
    #[error("{0} out of range")]
    OutOfRange(&'static str),
}

impl Record {
    pub fn encode(&self, e: &mut Encoder) {
        match self {
            Record::Format { version, cluster_id, node_id } => {
                e.write_i8(1);
                e.write_uvarint(*version);
                write_string(e, cluster_id);
                e.write_uvarint(*node_id);
            }
            Record::Shards(count) => {
                e.write_i8(2);
                e.write_uvarint(u32::from(*count));
            }
            Record::Created { id, name, partitions, overrides } => {
                write_kind(e, 3, *id);
                write_string(e, name);
                write_places(e, partitions);
                write_overrides(e, overrides);
            }
            Record::Deleted(id) => write_kind(e, 4, *id),
            Record::Added { id, partitions } => {
                write_kind(e, 5, *id);
                write_places(e, partitions);
            }
            Record::Set { id, overrides } => {
                write_kind(e, 6, *id);
                write_overrides(e, overrides);
            }
            Record::LogStart { id, index, offset } => {
                write_kind(e, 7, *id);
                write_index(e, *index);
                e.write_varlong(offset.0);
            }
            Record::Placed { id, partitions } => {
                write_kind(e, 8, *id);
                write_places(e, partitions);
            }
            Record::Ids(next) => {
                e.write_i8(9);
                e.write_varlong(*next);
            }
            Record::Moved { id, index, shard, leader_epoch } => {
                write_kind(e, 10, *id);
                write_index(e, *index);
                e.write_uvarint(u32::from(shard.0));
                write_epoch(e, *leader_epoch);
            }
            Record::Quota { entity, values } => {
                e.write_i8(16);
                write_name(e, &entity.user);
                write_name(e, &entity.client);
                write_quotas(e, values);
            }
            Record::Group { group, overrides } => {
                e.write_i8(17);
                write_string(e, group);
                write_overrides(e, overrides);
            }
            Record::Brokers { node_id, overrides } => {
                e.write_i8(18);
                e.write_uvarint(node_id.map_or(0, |id| id + 1));
                write_overrides(e, overrides);
            }
        }
    }

    pub fn decode(d: &mut Decoder) -> Result<Record, RecordError> {
        match d.read_i8()? {
            1 => Ok(Record::Format {
                version: d.read_uvarint()?,
                cluster_id: read_string(d)?,
                node_id: d.read_uvarint()?,
            }),
            2 => Ok(Record::Shards(read_shard_number(d)?)),
            3 => Ok(Record::Created {
                id: read_id(d)?,
                name: read_string(d)?,
                partitions: read_places(d)?,
                overrides: read_overrides(d)?,
            }),
            4 => Ok(Record::Deleted(read_id(d)?)),
            5 => Ok(Record::Added { id: read_id(d)?, partitions: read_places(d)? }),
            6 => Ok(Record::Set { id: read_id(d)?, overrides: read_overrides(d)? }),
            7 => Ok(Record::LogStart {
                id: read_id(d)?,
                index: read_i32(d, "partition")?,
                offset: Offset(d.read_varlong()?),
            }),
            8 => Ok(Record::Placed { id: read_id(d)?, partitions: read_places(d)? }),
            9 => Ok(Record::Ids(d.read_varlong()?)),
            10 => Ok(Record::Moved {
                id: read_id(d)?,
                index: read_i32(d, "partition")?,
                shard: ShardId(read_shard_number(d)?),
                leader_epoch: read_i32(d, "leader epoch")?,
            }),
            16 => Ok(Record::Quota { entity: read_entity(d)?, values: read_quotas(d)? }),
            17 => Ok(Record::Group { group: read_string(d)?, overrides: read_overrides(d)? }),
            18 => {
                let node_id = d.read_uvarint()?.checked_sub(1);
                Ok(Record::Brokers { node_id, overrides: read_overrides(d)? })
            }
            kind => Err(RecordError::UnknownKind(kind)),
        }
    }
}

/// The wire's strings are cut where Kafka's end; what is kept here is whole or our fault.
fn write_string(e: &mut Encoder, text: &str) {
    assert!(text.len() <= STRING_BYTES_MAX, "checked before: {} bytes", text.len());
    e.write_string(text.as_bytes(), true);
}

fn write_kind(e: &mut Encoder, kind: i8, id: TopicId) {
    e.write_i8(kind);
    e.write_uuid(id.0);
}

fn write_index(e: &mut Encoder, index: i32) {
    e.write_uvarint(u32::try_from(index).expect("a partition index"));
}

fn write_epoch(e: &mut Encoder, leader_epoch: i32) {
    e.write_uvarint(u32::try_from(leader_epoch).expect("an epoch is not negative"));
}

fn write_places(e: &mut Encoder, places: &[PartitionPlace]) {
    e.write_uvarint(u32::try_from(places.len()).expect("bounded by TOPIC_PARTITIONS_MAX"));
    for place in places {
        e.write_uvarint(u32::from(place.shard.0));
        write_epoch(e, place.leader_epoch);
        e.write_varlong(place.log_start.0);
    }
}

fn write_overrides(e: &mut Encoder, overrides: &Overrides) {
    e.write_uvarint(u32::try_from(overrides.len()).expect("bounded by the keys there are"));
    for (name, value) in overrides {
        write_string(e, name);
        write_string(e, value);
    }
}

fn write_name(e: &mut Encoder, name: &Option<QuotaName>) {
    match name {
        None => e.write_i8(0),
        Some(QuotaName::Default) => e.write_i8(1),
        Some(QuotaName::Is(text)) => {
            e.write_i8(2);
            write_string(e, text);
        }
    }
}

fn write_quotas(e: &mut Encoder, values: &QuotaValues) {
    for kind in QuotaKind::ALL {
        let value = values.get(kind);
        e.write_bool(value.is_some());
        if let Some(value) = value {
            e.write_f64(value);
        }
    }
}

fn read_id(d: &mut Decoder) -> Result<TopicId, RecordError> {
    Ok(TopicId(d.read_uuid()?))
}

fn read_string(d: &mut Decoder) -> Result<String, RecordError> {
    let text = d.read_string(true)?.ok_or(RecordError::OutOfRange("string"))?;
    Ok(text.as_str().to_string())
}

fn read_i32(d: &mut Decoder, what: &'static str) -> Result<i32, RecordError> {
    i32::try_from(d.read_uvarint()?).map_err(|_| RecordError::OutOfRange(what))
}

fn read_shard_number(d: &mut Decoder) -> Result<u16, RecordError> {
    let number = d.read_uvarint()?;
    let in_range = u16::try_from(number).ok().filter(|number| usize::from(*number) <= SHARDS_MAX);
    in_range.ok_or(RecordError::OutOfRange("shard"))
}

/// A count of elements that take `bytes_min` each, checked against what is there.
fn read_count(d: &mut Decoder, bytes_min: usize, most: usize) -> Result<usize, RecordError> {
    let count = d.read_uvarint()? as usize;
    if count > most || count.saturating_mul(bytes_min) > d.remaining() {
        return Err(RecordError::OutOfRange("count"));
    }
    Ok(count)
}

fn read_entity(d: &mut Decoder) -> Result<QuotaEntity, RecordError> {
    let entity = QuotaEntity { user: read_name(d)?, client: read_name(d)? };
    if entity.user.is_none() && entity.client.is_none() {
        return Err(RecordError::OutOfRange("quota entity"));
    }
    Ok(entity)
}

fn read_name(d: &mut Decoder) -> Result<Option<QuotaName>, RecordError> {
    match d.read_i8()? {
        0 => Ok(None),
        1 => Ok(Some(QuotaName::Default)),
        2 => Ok(Some(QuotaName::Is(read_string(d)?))),
        _ => Err(RecordError::OutOfRange("name")),
    }
}

fn read_quotas(d: &mut Decoder) -> Result<QuotaValues, RecordError> {
    let mut values = QuotaValues::default();
    for kind in QuotaKind::ALL {
        if !d.read_bool()? {
            continue;
        }
        // What would divide by zero or never end.
        let value = Some(d.read_f64()?).filter(|value| *value > 0.0);
        values.set(kind, Some(value.ok_or(RecordError::OutOfRange("quota"))?));
    }
    Ok(values)
}

fn read_places(d: &mut Decoder) -> Result<Vec<PartitionPlace>, RecordError> {
    let count = read_count(d, 3, TOPIC_PARTITIONS_MAX)?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        places.push(PartitionPlace {
            shard: ShardId(read_shard_number(d)?),
            leader_epoch: read_i32(d, "leader epoch")?,
            log_start: Offset(d.read_varlong()?),
        });
    }
    Ok(places)
}

fn read_overrides(d: &mut Decoder) -> Result<Overrides, RecordError> {
    let count = read_count(d, 2, usize::from(u16::MAX))?;
    let mut overrides = Overrides::new();
    for _ in 0..count {
        overrides.insert(read_string(d)?, read_string(d)?);
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn place(shard: u16, leader_epoch: i32, log_start: i64) -> PartitionPlace {
        PartitionPlace { shard: ShardId(shard), leader_epoch, log_start: Offset(log_start) }
    }

    fn all_kinds() -> Vec<Record> {
        let id = TopicId([7; 16]);
        let overrides: Overrides = [("retention.ms".to_string(), "5".to_string())].into();
        let partitions = vec![place(0, 0, 0), place(1023, i32::MAX, i64::MAX)];
        let mut values = QuotaValues::default();
        values.set(QuotaKind::RequestTime, Some(f64::INFINITY));
        values.set(QuotaKind::ProduceBytes, Some(0.5));
        vec![
            Record::Format { version: 1, cluster_id: "größe".into(), node_id: 4_000_000 },
            Record::Shards(1024),
            Record::Created {
                id,
                name: "t".into(),
                partitions: partitions.clone(),
                overrides: overrides.clone(),
            },
            Record::Deleted(id),
            Record::Added { id, partitions: partitions.clone() },
            Record::Set { id, overrides },
            Record::LogStart { id, index: i32::MAX, offset: Offset(1 << 40) },
            Record::Placed { id, partitions },
            Record::Ids(i64::MAX),
            Record::Moved { id, index: i32::MAX, shard: ShardId(1023), leader_epoch: i32::MAX },
            Record::Quota {
                entity: QuotaEntity { user: Some(QuotaName::Default), client: None },
                values: QuotaValues::default(),
            },
            Record::Quota {
                entity: QuotaEntity { user: None, client: Some(QuotaName::Is("c".into())) },
                values,
            },
            Record::Group { group: "g".into(), overrides: Overrides::new() },
            Record::Brokers { node_id: None, overrides: Overrides::new() },
            Record::Brokers {
                node_id: Some(u32::MAX - 1),
                overrides: [("log.retention.ms".to_string(), "5".to_string())].into(),
            },
        ]
    }

    fn encoded(record: &Record) -> Bytes {
        let mut e = Encoder::new();
        record.encode(&mut e);
        e.out.freeze()
    }

    #[test]
    fn every_record_survives_its_bytes() {
        for record in all_kinds() {
            let mut d = Decoder::new(encoded(&record));
            assert_eq!(Record::decode(&mut d).as_ref(), Ok(&record));
            assert_eq!(d.remaining(), 0);
        }
    }

    #[test]
    fn no_prefix_and_no_flipped_bit_panics() {
        for record in all_kinds() {
            let bytes = encoded(&record);
            for length in 0..bytes.len() {
                assert!(Record::decode(&mut Decoder::new(bytes.slice(..length))).is_err());
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _ = Record::decode(&mut Decoder::new(flipped.into()));
            }
        }
    }
}
