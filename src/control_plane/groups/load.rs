//! Reading a partition of `__consumer_offsets` from its start to its end, and folding what it says. Lives on
//! the group's core; cold. Never skips damage: a partition that cannot be read has no groups to serve.

use super::consumer::record::ConsumerRecord;
use super::group::Group;
use super::record::{self, Decoded, GroupRecord};
use super::state::{Groups, Memory};
use crate::log::ReadError;
use crate::runtime;
use crate::shard::Shard;
use crate::shard::request::{PartitionError, PartitionKey};
use crate::types::{Offset, Timestamp};
use crate::wire::batch::BatchHeader;
use crate::wire::records::{self, Record, RecordsError};
use crate::wire::{Decoder, Str, WireError};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Why the groups of a partition cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error("record at {offset}: {fault}")]
    Record { offset: Offset, fault: WireError },
    #[error("the log ends at {at}, before {end}")]
    Short { at: Offset, end: Offset },
}

/// What a partition holds.
#[derive(Debug, Default)]
pub struct Loaded {
    pub groups: Groups,
    /// Bytes of log that were read.
    pub log_bytes: usize,
    pub records: u64,
    pub end: Offset,
}

/// Reads all of a partition of this core.
///
/// # Errors
/// What cannot be read, or is not on this core any more.
pub async fn load(
    shard: &Rc<Shard>,
    key: PartitionKey,
    memory: Memory,
) -> Result<Loaded, LoadError> {
    shard.opened(key).await;
    let partition = shard.partition(key)?;
    // One that could not be opened looks empty, and its groups are not: nobody may be told that they are.
    if let Some(fault) = partition.read_fault() {
        return Err(PartitionError::from(fault).into());
    }
    let mut fold = Fold::new(memory, runtime::wall_clock(), partition.log_start());
    let (mut at, end) = (partition.log_start(), partition.high_watermark());
    while at < end {
        let read = partition.read(at, READ_BYTES, true).await?;
        let before = at;
        for slice in &read.slices {
            let bytes = slice.to_bytes();
            fold.log_bytes += bytes.len();
            for batch in records::batches(bytes) {
                let (header, batch) = batch.map_err(RecordsError::from)?;
                fold.add_batch(&header, &batch)?;
                at = at.max(header.next_offset());
            }
        }
        if at == before {
            return Err(LoadError::Short { at, end });
        }
        runtime::yield_if_needed().await;
    }
    if !fold.foreign.is_empty() {
        tracing::warn!(partition = %partition.id, kinds = ?fold.foreign,
            "records of groups of other kinds are passed over");
    }
    Ok(Loaded { groups: fold.groups, log_bytes: fold.log_bytes, records: fold.records, end })
}

/// The state while it is being read.
struct Fold {
    groups: Groups,
    wall: Timestamp,
    /// Records before it were deleted.
    start: Offset,
    /// What Apache Kafka's transactions committed, by producer, until their end is known.
    pending: HashMap<i64, Vec<GroupRecord>>,
    foreign: BTreeSet<i16>,
    log_bytes: usize,
    records: u64,
}

impl Fold {
    fn new(memory: Memory, wall: Timestamp, start: Offset) -> Fold {
        Fold {
            groups: Groups::new(memory),
            wall,
            start,
            pending: HashMap::new(),
            foreign: BTreeSet::new(),
            log_bytes: 0,
            records: 0,
        }
    }

    fn add_batch(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), LoadError> {
        // A batch whose records were all compacted away has none left.
        if header.record_count == 0 {
            return Ok(());
        }
        for record in records::records(header, batch)? {
            let record = record?;
            if record.offset < self.start {
                continue;
            }
            self.records += 1;
            let offset = record.offset;
            let added = self.add_record(header, record);
            added.map_err(|fault| LoadError::Record { offset, fault })?;
        }
        Ok(())
    }

    fn add_record(&mut self, header: &BatchHeader, record: Record) -> Result<(), WireError> {
        let Some(key) = record.key else { return Ok(()) };
        if header.is_control() {
            return self.end_transaction(header.producer_id, &key);
        }
        let record = match record::decode(&key, record.value.as_ref())? {
            Decoded::Known(known) => *known,
            Decoded::Foreign(kind) => {
                self.foreign.insert(kind);
                return Ok(());
            }
        };
        if header.is_transactional() {
            self.pending.entry(header.producer_id).or_default().push(record);
        } else {
            self.groups.replay(record, self.wall);
        }
        Ok(())
    }

    /// A control record's key: version i16 | 0: abort, 1: commit, i16.
    fn end_transaction(&mut self, producer_id: i64, key: &Bytes) -> Result<(), WireError> {
        let mut d = Decoder::new(key.clone());
        let (_version, kind) = (d.read_i16()?, d.read_i16()?);
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if kind == 1 {
            pending.into_iter().for_each(|record| self.groups.replay(record, self.wall));
        }
        Ok(())
    }
}

impl Groups {
    /// The tombstone of a group. Offsets that are left, as those of a client without membership, stay.
    fn replay_end(&mut self, name: &Str, wall: Timestamp) {
        match self.entry_mut(name) {
            None => {}
            // It has become one of the other kind.
            Some(entry) if entry.group.is_consumer() => {}
            Some(entry) if entry.offsets.is_empty() => self.remove(name),
            Some(entry) => entry.group = Group::new(name.detached(), wall),
        }
    }

    fn replay_consumer(&mut self, record: &ConsumerRecord, is_tombstone: bool, wall: Timestamp) {
        let ConsumerRecord { group: name, change } = record;
        let is_there = matches!(self.entry(name), Some(entry) if entry.group.is_consumer());
        if is_tombstone && !is_there {
            return;
        }
        let entry = self.get_or_make(name, wall);
        if entry.group.replay_consumer(name, change.clone()) {
            return;
        }
        if entry.offsets.is_empty() {
            self.remove(name);
        } else {
            entry.group = Group::new(name.detached(), wall);
        }
    }

    /// Takes up a record of the log.
    fn replay(&mut self, record: GroupRecord, wall: Timestamp) {
        match record {
            GroupRecord::Offset(key, value) => self.set_offset(&key, value, wall),
            GroupRecord::Classic(ref name, ref value) => {
                let encoded = record.encode();
                match value {
                    Some(value) => self.get_or_make(name, wall).group.replay_classic(name, value),
                    None => self.replay_end(name, wall),
                }
                self.note_stored(&record, &encoded);
            }
            GroupRecord::Consumer(ref record_of_group) => {
                let encoded = record.encode();
                let is_tombstone = encoded.value.is_none();
                self.replay_consumer(record_of_group, is_tombstone, wall);
                self.note_stored(&record, &encoded);
            }
        }
    }
}
