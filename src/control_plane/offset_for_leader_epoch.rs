//! OffsetForLeaderEpoch (KIP-320): where an epoch ended, by which a client sees that a log was cut.

use super::ControlPlane;
use super::partitions::{check_epoch, code_of, locate};
use crate::limits::EPOCH_LOOKUPS_MAX;
use crate::shard::request::{ShardReply, ShardRequest};
use crate::wire::ErrorCode;
use crate::wire::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use futures_util::stream::{self, StreamExt};

/// What stands for no epoch.
const NO_EPOCH: i32 = -1;

pub async fn handle(
    control_plane: &ControlPlane,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let name = &asked.topic;
        let answers = stream::iter(asked.partitions)
            .map(|partition| answer(control_plane, name, partition))
            .buffered(EPOCH_LOOKUPS_MAX);
        let partitions = answers.collect().await;
        topics.push(OffsetForLeaderTopicResult { topic: asked.topic.clone(), partitions });
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

async fn answer(
    control_plane: &ControlPlane,
    topic: &str,
    asked: OffsetForLeaderPartition,
) -> EpochEndOffset {
    let partition = asked.partition;
    match find(control_plane, topic, &asked).await {
        Ok((leader_epoch, end_offset)) => {
            EpochEndOffset { partition, leader_epoch, end_offset, ..EpochEndOffset::default() }
        }
        Err(error_code) => EpochEndOffset { partition, error_code, ..EpochEndOffset::default() },
    }
}

async fn find(
    control_plane: &ControlPlane,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let located = locate(&control_plane.shard.image(), topic, asked.partition)?;
    let bounds = control_plane.bounds(&located).await?;
    check_epoch(asked.current_leader_epoch, located.leader_epoch)?;
    if asked.leader_epoch < NO_EPOCH {
        // As Kafka: an epoch before all others ended where the log begins.
        return Ok((asked.leader_epoch, bounds.log_start.0));
    }
    let request = ShardRequest::EpochEnd { key: located.key, epoch: asked.leader_epoch };
    match control_plane.shard.ask(located.owner, request).await {
        ShardReply::EpochEnd(Ok(Some((epoch, end)))) => Ok((epoch, end.0)),
        ShardReply::EpochEnd(Ok(None)) => Ok((NO_EPOCH, -1)),
        ShardReply::EpochEnd(Err(error)) => Err(code_of(&error)),
        _ => Err(ErrorCode::NotLeaderOrFollower),
    }
}
