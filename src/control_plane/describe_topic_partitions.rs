//! DescribeTopicPartitions (KIP-966): topics with their partitions, page by page.

use super::metadata::TOPIC_OPERATIONS;
use super::{ControlPlane, topic_name};
use crate::limits::DESCRIBED_PARTITIONS_MAX;
use crate::shard::image::{MetadataImage, PartitionPlace, Topic};
use crate::wire::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeSet;

pub fn handle(
    control_plane: &ControlPlane,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = control_plane.shard.image();
    if !is_cursor_sound(&request) {
        return refuse(request);
    }
    let (first, start) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index),
        None => (Str::default(), 0),
    };
    let limit = request.response_partition_limit.clamp(1, DESCRIBED_PARTITIONS_MAX) as usize;
    let wants_all = request.topics.is_empty();
    let names: BTreeSet<Str> = if wants_all {
        // Each has a partition at least, so that more do not fit; the last says that there are more.
        let topics = image.topics_from(&first).take(limit + 1);
        topics.map(|topic| Str::from(&*topic.name)).collect()
    } else {
        let named = request.topics.iter().map(|topic| topic.name.clone());
        named.filter(|name| *name >= first).collect()
    };
    let mut page = Page {
        control_plane,
        image: &image,
        room: limit,
        room_for_unknown: DESCRIBED_PARTITIONS_MAX as usize,
        topics: Vec::new(),
    };
    let mut next_cursor = None;
    for name in names {
        let from = if name == first { start } else { 0 };
        if let Some(next) = page.add(&name, from) {
            next_cursor = Some(Cursor { topic_name: name, partition_index: next });
            break;
        }
    }
    let topics = page.topics;
    DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() }
}

/// A cursor names a partition of a topic that was asked for.
fn is_cursor_sound(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let is_asked = request.topics.is_empty()
        || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
    is_asked && cursor.partition_index >= 0
}

fn refuse(request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |name: Str| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let topics = request.topics.into_iter().map(|topic| refused(topic.name)).collect();
    DescribeTopicPartitionsResponse { topics, ..Default::default() }
}

struct Page<'a> {
    control_plane: &'a ControlPlane,
    image: &'a MetadataImage,
    /// Partitions that still fit.
    room: usize,
    /// Topics that are not there and still fit.
    room_for_unknown: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
}

impl Page<'_> {
    /// Adds a topic from a partition on; the partition at which the next page begins, if one is needed.
    fn add(&mut self, name: &Str, from: i32) -> Option<i32> {
        if self.room == 0 || self.room_for_unknown == 0 {
            return Some(0);
        }
        let mut described = DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            is_internal: topic_name::is_internal(name),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        let Some(topic) = self.image.topic(name) else {
            described.error_code = match topic_name::check(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            self.room_for_unknown -= 1;
            self.topics.push(described);
            return None;
        };
        described.topic_id = topic.id;
        described.partitions = self.partitions(topic, from);
        self.room -= described.partitions.len();
        let next = i64::from(from) + described.partitions.len() as i64;
        self.topics.push(described);
        let is_cut = next < topic.partitions.len() as i64;
        is_cut.then(|| i32::try_from(next).expect("below TOPIC_PARTITIONS_MAX"))
    }

    fn partitions(
        &self,
        topic: &Topic,
        from: i32,
    ) -> Vec<DescribeTopicPartitionsResponsePartition> {
        let places = (0..).zip(&topic.partitions).skip(from as usize).take(self.room);
        let describe = |(partition_index, place): (i32, &PartitionPlace)| {
            let standing =
                self.control_plane.standing(self.image, topic.id, partition_index, place);
            DescribeTopicPartitionsResponsePartition {
                partition_index,
                leader_id: standing.leader,
                leader_epoch: place.leader_epoch,
                replica_nodes: vec![standing.replica],
                isr_nodes: vec![standing.replica],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                offline_replicas: standing.offline,
                // As by Kafka, also where nobody leads.
                error_code: ErrorCode::None,
            }
        };
        places.map(describe).collect()
    }
}
