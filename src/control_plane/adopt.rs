//! What lies in the data directory and the metadata log does not know: partitions that Apache Kafka
//! wrote, which become topics, and leftovers of deleted topics, which go. Runs on shard 0 at the start.
//!
//! Kafka's `<topic>-<n>/partition.metadata` names the topic's id, `leader-epoch-checkpoint` its epochs,
//! and `log-start-offset-checkpoint` beside the folders what was deleted. Nothing of Kafka's is removed,
//! and an adopted topic keeps all its records until its operator sets a retention.
//!
//! The checkpoint of epochs may be missing or behind, so the batches are asked too (`last_segment`): the
//! epoch that Metadata tells is never older than what the log will find.
//!
//! A bad folder stops no broker. A known partition whose folder says that it is not its own, or cannot say, is
//! not opened, because opening sets such a folder aside and begins an empty log: it is offline until the file is
//! mended. A topic that is not known and has a folder that cannot be read is not adopted in this life, and no
//! other takes its name.

mod last_segment;

use super::configs::Overrides;
use super::controller::StartError;
use super::groups::route::{OFFSETS_TOPIC, offsets_topic_overrides};
use super::metadata_log::MetadataLogError;
use super::record::Record;
use super::state::State;
use super::topic_name;
use crate::limits::TOPIC_PARTITIONS_MAX;
use crate::log::{LogFault, ShardLog, small_file};
use crate::runtime::{self, DirectoryEntry};
use crate::shard::control::PRODUCER_ID_BLOCK;
use crate::shard::image::{PartitionPlace, Topic};
use crate::shard::placement;
use crate::shard::request::PartitionKey;
use crate::types::{Offset, TopicId};
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt};
use last_segment::LastSegment;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Says whose a partition's folder is (KIP-516).
const METADATA_NAME: &str = "partition.metadata";
/// It is two short lines, a checkpoint a line per epoch or partition.
const METADATA_BYTES_MAX: usize = 4096;
const CHECKPOINT_BYTES_MAX: usize = 64 << 20;
/// Above every producer id that Apache Kafka gave out.
const ADOPTED_IDS_MIN: i64 = 1 << 32;
const ADOPTED_IDS_BITS: u32 = 52;
/// Folders looked into at the same time.
const LOOKS_MAX: usize = 32;

/// What was found beside what is known.
#[derive(Debug, Default)]
pub struct Found {
    topics: BTreeMap<TopicId, FoundTopic>,
    /// Names of folders that deleted topics left.
    leftovers: Vec<String>,
    /// Known partitions whose folders are bad, and in what way: nobody may open them.
    pub withheld: BTreeMap<PartitionKey, LogFault>,
    /// Names of topics that are not known, of which a folder cannot be read: no topic may be made of that name.
    pub unread: BTreeSet<String>,
    /// Some folders have not said whose they are: among them may be more that deleted topics left.
    pub is_partial: bool,
}

#[derive(Debug)]
struct FoundTopic {
    name: String,
    /// By index: leader epoch and log start.
    partitions: BTreeMap<i32, (i32, Offset)>,
    /// Transactions were written to one of its partitions.
    is_transactional: bool,
}

/// A partition's folder, by its name.
pub(super) struct Folder {
    pub name: String,
    pub topic: String,
    pub index: i32,
}

/// What a folder says of its topic.
enum Label {
    /// There is no such file.
    Missing,
    /// It is there and names no topic.
    Illegible,
    Id(TopicId),
}

/// Looks through the data directory.
///
/// # Errors
/// The directory itself cannot be read, or what Apache Kafka knew of consumer groups cannot.
pub async fn find(directory: &Path, state: &State) -> Result<Found, StartError> {
    let entries = runtime::list_directory(directory).await;
    let entries = entries.map_err(|error| MetadataLogError::io("list", directory, &error))?;
    let folders: Vec<Folder> = entries.into_iter().filter_map(folder_of).collect();
    let labels = folders.iter().map(|folder| directory.join(&folder.name).join(METADATA_NAME));
    let labels = runtime::read_small_files(labels.collect(), METADATA_BYTES_MAX).await;
    let mut found = Found::default();
    let mut unknown = Vec::new();
    for (folder, label) in folders.into_iter().zip(labels) {
        let label = label.map(label_of);
        found.is_partial |= label.is_err();
        if let Ok(Label::Id(id)) = &label
            && state.deleted.contains(id)
        {
            found.leftovers.push(folder.name);
            continue;
        }
        if let Some(known) = state.topic(&folder.topic) {
            found.check_known(directory, &folder, known, label);
            continue;
        }
        match label {
            Ok(Label::Id(id)) if state.topic_by_id(id).is_none() => unknown.push((id, folder)),
            Ok(_) => {}
            Err(error) => {
                let path = directory.join(&folder.name).join(METADATA_NAME);
                found.skip(folder, MetadataLogError::io("read", &path, &error))?;
            }
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    let starts = read_log_starts(directory).await?;
    let mut looks = stream::iter(unknown)
        .map(|(id, folder)| async move {
            let path = directory.join(&folder.name);
            let looks = try_join(read_leader_epoch(&path), last_segment::read(&path));
            (looks.await, id, folder)
        })
        .buffered(LOOKS_MAX);
    while let Some((looked, id, folder)) = looks.next().await {
        let (epoch, mut last) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                found.skip(folder, error)?;
                continue;
            }
        };
        last.leader_epoch = last.leader_epoch.max(epoch);
        let start = starts.get(&folder.name).copied().unwrap_or(Offset::ZERO);
        found.add(id, folder, last, start);
    }
    // With a gap, its later partitions would be left behind for good.
    let Found { topics, unread, .. } = &mut found;
    topics.retain(|_, topic| !unread.contains(&topic.name));
    Ok(found)
}

impl Found {
    /// A folder that is named like a partition of a known topic. One without the file is as a crash may leave it.
    fn check_known(
        &mut self,
        directory: &Path,
        folder: &Folder,
        topic: &Topic,
        label: io::Result<Label>,
    ) {
        let path = directory.join(&folder.name).join(METADATA_NAME);
        let id = topic.id;
        let reason = |what: String| {
            format!(
                "{what}; if the records beside it are those of topic '{}', restore the file from a \
                 copy, or write it anew: `version: 0`, then `topic_id: {id}`",
                topic.name
            )
        };
        let refused = |what: String| LogFault::unaccepted(&path, reason(what));
        let fault = match label {
            Ok(Label::Missing) => return,
            Ok(Label::Id(said)) if said == id => return,
            Ok(Label::Id(said)) => refused(format!("it names the topic id {said}, not {id}")),
            Ok(Label::Illegible) => refused("it names no topic id".to_string()),
            Err(error) => {
                let error = io::Error::new(error.kind(), reason(error.to_string()));
                LogFault::from_io("read", &path, 0, &error)
            }
        };
        if topic.partition(folder.index).is_some() {
            self.withheld.insert(PartitionKey { topic_id: id, index: folder.index }, fault);
        } else {
            tracing::error!(folder = %folder.name, %fault,
                "left alone: the topic has no such partition, and the folder is not its own");
        }
    }

    /// A folder of a topic that is not known, which cannot be read.
    ///
    /// # Errors
    /// The topic is that of consumer groups: when it is not there the broker makes it by itself, and all groups
    /// begin anew.
    fn skip(&mut self, folder: Folder, error: MetadataLogError) -> Result<(), StartError> {
        if folder.topic == OFFSETS_TOPIC {
            return Err(error.into());
        }
        tracing::error!(folder = %folder.name, topic = %folder.topic, %error,
            "not adopted, and no topic of this name can be made: mend the file or move the folder \
             away, then restart the broker");
        self.unread.insert(folder.topic);
        Ok(())
    }

    fn add(&mut self, id: TopicId, folder: Folder, last: LastSegment, start: Offset) {
        let Folder { name, topic, index } = folder;
        let same_name = self.topics.iter().find(|(_, found)| found.name == topic);
        if same_name.is_some_and(|(known, _)| *known != id) {
            tracing::warn!(folder = %name, topic_id = %id,
                "not adopted: folders of this topic name several topic ids");
            return;
        }
        let new =
            || FoundTopic { name: topic, partitions: BTreeMap::new(), is_transactional: false };
        let found = self.topics.entry(id).or_insert_with(new);
        found.is_transactional |= last.is_transactional;
        found.partitions.insert(index, (last.leader_epoch, start));
    }

    /// The records that make topics of what Kafka left, after one that keeps new producers apart from
    /// those that wrote there.
    pub fn adopted(&self, shards: u16, next_producer_id: i64) -> Vec<Record> {
        let topics = self.topics.iter().filter_map(|(id, topic)| topic.record(*id, shards));
        let mut records: Vec<Record> = topics.collect();
        if !records.is_empty() {
            records.insert(0, Record::Ids(producer_ids_from(next_producer_id)));
        }
        records
    }

    /// Renames the folders of deleted topics, durably, and has them freed in the background.
    ///
    /// # Errors
    /// What the system says.
    pub async fn remove_leftovers(&self, log: &ShardLog) -> Result<(), StartError> {
        let Some(first) = self.leftovers.first() else { return Ok(()) };
        tracing::warn!(folders = self.leftovers.len(), %first, "removing the files of deleted topics");
        let directory = &log.options.data_directory;
        let folders = self.leftovers.iter().map(|name| directory.join(name));
        let removed = log.remove_folders(folders.collect()).await;
        removed.map_err(|fault| StartError::Directory(fault.to_string()))
    }
}

impl FoundTopic {
    fn record(&self, id: TopicId, shards: u16) -> Option<Record> {
        let name = &self.name;
        let partitions: Vec<PartitionPlace> = (0..)
            .zip(&self.partitions)
            .take_while(|(expected, (index, _))| expected == *index)
            .map(|(index, (_, (leader_epoch, log_start)))| PartitionPlace {
                shard: placement::place(id, index, shards),
                leader_epoch: *leader_epoch,
                log_start: *log_start,
            })
            .collect();
        let (present, adopted) = (self.partitions.len(), partitions.len());
        if adopted < present {
            tracing::warn!(topic = %name, present, adopted,
                "partitions are missing: only those before the gap are adopted");
        }
        if partitions.is_empty() {
            return None;
        }
        let name = name.clone();
        if name == OFFSETS_TOPIC {
            tracing::info!(topic_id = %id, partitions = adopted,
                "adopted the consumer groups and offsets of Apache Kafka");
            return Some(Record::Created {
                id,
                name,
                partitions,
                overrides: offsets_topic_overrides(),
            });
        }
        tracing::info!(topic = %name, topic_id = %id, partitions = adopted,
            "adopted a topic of Apache Kafka, with retention.ms=-1 until it is set");
        if self.is_transactional {
            tracing::warn!(topic = %name,
                "there are no transactions yet: this topic's records are served as if all of them were \
                 committed, those of aborted and unfinished transactions too");
        }
        let overrides: Overrides = [("retention.ms".to_string(), "-1".to_string())].into();
        Some(Record::Created { id, name, partitions, overrides })
    }
}

/// Where the ids of new producers begin once logs were adopted, given where they began before.
///
/// An adopted log remembers the producers that wrote it. Whoever got one of their ids anew would have its
/// first batch taken for a retry: acknowledged, and never stored. Which ids those are, only a walk over
/// every log would say, so the new ones begin where none of them can lie in practice:
/// - Apache Kafka counts ids up from 0, one for each start of a producer: fewer than 2^32 in any cluster.
/// - Another corelog, or this one before its metadata log was lost, gave out few ids from 0 on or from a
///   random place of its own. With a million ids on both sides, two random places among 2^52 overlap once
///   in two thousand million adoptions.
///
/// The random step is small enough for thousands of adoptions, and for the first ones to stay exact in tools
/// that keep numbers as doubles.
fn producer_ids_from(next: i64) -> i64 {
    let step = (runtime::random_u64() >> (64 - ADOPTED_IDS_BITS)).cast_signed();
    let least = next.max(ADOPTED_IDS_MIN);
    least.saturating_add(step / PRODUCER_ID_BLOCK * PRODUCER_ID_BLOCK)
}

/// `<topic>-<n>`; none for anything else, and for Kafka's own topics but that of groups.
pub(super) fn folder_of(entry: DirectoryEntry) -> Option<Folder> {
    let (topic, index) = entry.name.rsplit_once('-')?;
    let digits = index.bytes().all(|byte| byte.is_ascii_digit());
    let index: i32 = index.parse().ok().filter(|_| digits)?;
    if !entry.is_directory || topic_name::check(topic).is_err() {
        return None;
    }
    let is_foreign = topic_name::is_internal(topic) && topic != OFFSETS_TOPIC;
    if is_foreign || topic_name::is_reserved(topic) {
        tracing::info!(folder = %entry.name, "not adopted: Kafka's own topic");
        return None;
    }
    if index as usize >= TOPIC_PARTITIONS_MAX {
        tracing::warn!(folder = %entry.name, "not adopted: more partitions than a topic may have");
        return None;
    }
    let topic = topic.to_string();
    Some(Folder { name: entry.name, topic, index })
}

async fn read_text(path: &Path, bytes_max: usize) -> Result<Option<String>, MetadataLogError> {
    let read = small_file::read(path, bytes_max).await;
    let read = read.map_err(|error| MetadataLogError::io("read", path, &error))?;
    Ok(read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

pub(super) async fn read_topic_id(folder: &Path) -> Result<Option<TopicId>, MetadataLogError> {
    match read_label(folder).await {
        Ok(Label::Id(id)) => Ok(Some(id)),
        Ok(Label::Missing | Label::Illegible) => Ok(None),
        Err(error) => Err(MetadataLogError::io("read", &folder.join(METADATA_NAME), &error)),
    }
}

async fn read_label(folder: &Path) -> io::Result<Label> {
    small_file::read(&folder.join(METADATA_NAME), METADATA_BYTES_MAX).await.map(label_of)
}

fn label_of(bytes: Option<Vec<u8>>) -> Label {
    let Some(bytes) = bytes else { return Label::Missing };
    let text = String::from_utf8_lossy(&bytes);
    let named = text.lines().find_map(|line| line.strip_prefix("topic_id:")).unwrap_or_default();
    // By its letters, as the log compares it: a bit may turn that says nothing.
    let id = TopicId::from_base64(named.trim()).filter(|id| id.to_base64() == named.trim());
    id.filter(|id| *id != TopicId::ZERO).map_or(Label::Illegible, Label::Id)
}

/// The last line's epoch: `<epoch> <start offset>`, after the version and the count.
async fn read_leader_epoch(folder: &Path) -> Result<i32, MetadataLogError> {
    let path = folder.join("leader-epoch-checkpoint");
    let text = read_text(&path, CHECKPOINT_BYTES_MAX).await?.unwrap_or_default();
    let last = text.lines().skip(2).filter(|line| !line.trim().is_empty()).last();
    let epoch = last.and_then(|line| line.split(' ').next()?.parse().ok());
    Ok(epoch.filter(|epoch: &i32| *epoch >= 0).unwrap_or(0))
}

/// `<topic> <partition> <offset>` a line, after the version and the count; by the folder's name.
pub(super) async fn read_log_starts(
    directory: &Path,
) -> Result<BTreeMap<String, Offset>, MetadataLogError> {
    let path = directory.join("log-start-offset-checkpoint");
    let text = read_text(&path, CHECKPOINT_BYTES_MAX).await?.unwrap_or_default();
    let starts = text.lines().skip(2).filter_map(|line| {
        let mut words = line.split(' ');
        let (topic, index, offset) = (words.next()?, words.next()?, words.next()?);
        let offset: i64 = offset.trim().parse().ok()?;
        Some((format!("{topic}-{index}"), Offset(offset.max(0))))
    });
    Ok(starts.collect())
}

#[cfg(test)]
mod tests;
