//! DescribeLogDirs: the data directory and how many bytes each partition takes in it.

use super::{ConnectionInfo, ControlPlane};
use crate::runtime::{self, VolumeSpace};
use crate::shard::image::Topic;
use crate::shard::request::PartitionKey;
use crate::types::ShardId;
use crate::wire::Str;
use crate::wire::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions by topic, with their owners.
type Chosen = BTreeMap<Arc<str>, Vec<(ShardId, PartitionKey)>>;

pub async fn handle(
    control_plane: &ControlPlane,
    request: DescribeLogDirsRequest,
    connection: ConnectionInfo,
) -> DescribeLogDirsResponse {
    let chosen = choose(control_plane, request.topics.as_deref(), connection);
    let bounds = control_plane.bounds_of(chosen.values().flatten().copied()).await;
    let topics = chosen.into_iter().filter_map(|(name, partitions)| {
        let partitions: Vec<DescribeLogDirsPartition> = partitions
            .into_iter()
            .filter_map(|(_, key)| {
                // One that cannot be read is left out, as Kafka leaves out those of a directory that
                // failed: only directories have an error code here. The admin port's `/faults` names it.
                let known = bounds.get(&key)?.as_ref().ok()?;
                Some(DescribeLogDirsPartition {
                    partition_index: key.index,
                    partition_size: i64::try_from(known.log_bytes).unwrap_or(i64::MAX),
                    ..DescribeLogDirsPartition::default()
                })
            })
            .collect();
        let name = Str::from(&*name);
        (!partitions.is_empty()).then_some(DescribeLogDirsTopic { name, partitions })
    });
    let directory = &control_plane.shard.log.options.data_directory;
    // -1 stands for sizes that are not known.
    let volume = runtime::volume_space(directory).ok();
    let bytes = |of: fn(&VolumeSpace) -> u64| {
        volume.as_ref().map_or(-1, |volume| i64::try_from(of(volume)).unwrap_or(i64::MAX))
    };
    let result = DescribeLogDirsResult {
        log_dir: shown_directory(control_plane).into(),
        topics: topics.collect(),
        total_bytes: bytes(|volume| volume.total_bytes),
        usable_bytes: bytes(|volume| volume.usable_bytes),
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

/// Kafka names its directories by their absolute paths.
pub fn shown_directory(control_plane: &ControlPlane) -> String {
    let directory = &control_plane.shard.log.options.data_directory;
    let shown = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
    shown.display().to_string()
}

/// What the client asks for and the broker that it asks has: tools add up what the brokers say.
fn choose(
    control_plane: &ControlPlane,
    asked: Option<&[DescribableLogDirTopic]>,
    connection: ConnectionInfo,
) -> Chosen {
    let image = control_plane.shard.image();
    let is_own = control_plane.endpoints.is_own_port(connection.local.port());
    let has = |owner: ShardId| !is_own || owner == control_plane.shard.id;
    let mut chosen = Chosen::new();
    let mut choose = |topic: &Topic, index: i32| {
        if let Some(place) = topic.partition(index).filter(|place| has(place.shard)) {
            let key = PartitionKey { topic_id: topic.id, index };
            chosen.entry(topic.name.clone()).or_default().push((place.shard, key));
        }
    };
    match asked {
        None => {
            for topic in image.topics() {
                (0..).zip(&topic.partitions).for_each(|(index, _)| choose(topic, index));
            }
        }
        Some(asked) => {
            for DescribableLogDirTopic { topic, partitions } in asked {
                let Some(topic) = image.topic(topic) else { continue };
                let partitions: BTreeSet<i32> = partitions.iter().copied().collect();
                partitions.into_iter().for_each(|index| choose(topic, index));
            }
        }
    }
    chosen
}
