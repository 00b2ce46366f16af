//! DeleteRecords: a partition begins at a later offset from now on. Recorded first, then the owner is told.

use super::ControlPlane;
use super::configs;
use super::create_topics;
use super::partitions::{BoundsByPartition, code_of, locate};
use super::topic_name;
use crate::limits::DELETE_RECORDS_MAX;
use crate::shard::control::{ControlReply, ControlRequest};
use crate::shard::image::MetadataImage;
use crate::shard::request::{ShardReply, ShardRequest};
use crate::types::Offset;
use crate::wire::ErrorCode;
use crate::wire::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use futures_util::stream::{self, StreamExt};

/// Stands for the high watermark.
const ALL: i64 = -1;

pub async fn handle(
    control_plane: &ControlPlane,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = control_plane.shard.image();
    let located = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.filter_map(|one| locate(&image, &topic.name, one.partition_index).ok())
    });
    let bounds = control_plane.bounds_of(located.map(|found| (found.owner, found.key))).await;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let answers = stream::iter(&asked.partitions)
            .map(|partition| answer(control_plane, &image, &asked.name, partition, &bounds))
            .buffered(DELETE_RECORDS_MAX);
        let partitions = answers.collect().await;
        topics.push(DeleteRecordsTopicResult { name: asked.name.clone(), partitions });
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

async fn answer(
    control_plane: &ControlPlane,
    image: &MetadataImage,
    topic: &str,
    asked: &DeleteRecordsPartition,
    bounds: &BoundsByPartition,
) -> DeleteRecordsPartitionResult {
    let partition_index = asked.partition_index;
    let raised = raise(control_plane, image, topic, asked, bounds).await;
    let (low_watermark, error_code) = match raised {
        Ok(start) => (start.0, ErrorCode::None),
        Err(error_code) => (-1, error_code),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
}

async fn raise(
    control_plane: &ControlPlane,
    image: &MetadataImage,
    topic: &str,
    asked: &DeleteRecordsPartition,
    bounds: &BoundsByPartition,
) -> Result<Offset, ErrorCode> {
    let located = locate(image, topic, asked.partition_index)?;
    if topic_name::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let broker = control_plane.broker(image);
    let policy = configs::value_of(&located.topic.overrides, broker, "cleanup.policy");
    if !configs::elements(&policy).any(|policy| policy == "delete") {
        return Err(ErrorCode::PolicyViolation);
    }
    let known = bounds.get(&located.key).copied();
    let bounds = known.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))?;
    let offset = if asked.offset == ALL { bounds.high_watermark } else { Offset(asked.offset) };
    if offset < Offset::ZERO || offset > bounds.high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if offset <= bounds.log_start {
        return Ok(bounds.log_start);
    }
    let (topic_id, index) = (located.key.topic_id, located.key.index);
    let record = ControlRequest::SetLogStart { topic_id, index, offset };
    match control_plane.shard.control(record).await {
        ControlReply::SetLogStart(recorded) => {
            recorded.map_err(|error| create_topics::code_of(&error))?;
        }
        _ => return Err(ErrorCode::NotLeaderOrFollower),
    }
    // It may have moved to another core since.
    let owner = locate(&control_plane.shard.image(), topic, index)?.owner;
    let request = ShardRequest::RaiseLogStart { key: located.key, offset };
    match control_plane.shard.ask(owner, request).await {
        ShardReply::RaiseLogStart(start) => start.map_err(|error| code_of(&error)),
        _ => Err(ErrorCode::NotLeaderOrFollower),
    }
}
