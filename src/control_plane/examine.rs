//! What a data directory says of its partitions while no broker uses it: for tools that look and repair. Changes
//! nothing, and takes what is damaged as found.

use super::adopt::{self, Folder};
use super::metadata_log::{self, Glimpse, MetadataLogError};
use super::state::State;
use crate::log::{LogConfig, PartitionFacts, PartitionId};
use crate::runtime;
use crate::types::TopicId;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What a data directory holds.
pub struct Examined {
    /// None: there is no metadata log.
    pub metadata: Result<Option<Glimpse>, MetadataLogError>,
    /// By topic and index.
    pub partitions: Vec<PartitionFacts>,
    /// Folders of topics that were deleted: the next start frees them.
    pub leftovers: Vec<String>,
}

/// Reads a data directory's metadata log, and whose its folders are.
///
/// # Errors
/// What keeps the directory from being read.
pub async fn examine(directory: &Path) -> Result<Examined, MetadataLogError> {
    let metadata = metadata_log::glimpse(directory).await;
    let nothing = State::default();
    let state = match &metadata {
        Ok(Some(glimpse)) => &glimpse.state,
        _ => &nothing,
    };
    let mut partitions = known_to(state);
    let mut names: BTreeSet<String> = partitions.iter().map(|facts| facts.id.to_string()).collect();
    let mut leftovers = Vec::new();
    let starts = adopt::read_log_starts(directory).await?;
    let entries = runtime::list_directory(directory).await;
    let entries = entries.map_err(|error| MetadataLogError::io("list", directory, &error))?;
    for Folder { name, topic, index } in entries.into_iter().filter_map(adopt::folder_of) {
        if !names.insert(name.clone()) {
            continue;
        }
        let topic_id = adopt::read_topic_id(&directory.join(&name)).await?;
        if topic_id.is_some_and(|id| state.deleted.contains(&id)) {
            leftovers.push(name);
            continue;
        }
        let topic_id = topic_id.unwrap_or(TopicId::ZERO);
        partitions.push(PartitionFacts {
            id: PartitionId { topic_id, topic: topic.into(), index },
            config: Arc::new(LogConfig::default()),
            // Nobody says which is the newest.
            leader_epoch: i32::MAX,
            log_start: starts.get(&name).copied(),
        });
    }
    partitions.sort_by(|a, b| (&a.id.topic, a.id.index).cmp(&(&b.id.topic, b.id.index)));
    Ok(Examined { metadata, partitions, leftovers })
}

fn known_to(state: &State) -> Vec<PartitionFacts> {
    let mut partitions = Vec::with_capacity(state.partition_count());
    for topic in state.topics() {
        for (index, place) in (0..).zip(&topic.partitions) {
            partitions.push(PartitionFacts {
                id: PartitionId { topic_id: topic.id, topic: topic.name.clone(), index },
                config: topic.log_config.clone(),
                leader_epoch: place.leader_epoch,
                log_start: Some(place.log_start),
            });
        }
    }
    partitions
}
