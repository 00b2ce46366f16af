//! DescribeProducers (KIP-664): the idempotent producers that partitions remember.

use crate::control_plane::partitions::{code_of, locate};
use crate::control_plane::{ControlPlane, topic_name};
use crate::limits::DESCRIBED_PRODUCERS_MAX;
use crate::log::ActiveProducer;
use crate::runtime;
use crate::shard::image::MetadataImage;
use crate::shard::request::{ShardReply, ShardRequest};
use crate::wire::api::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use crate::wire::{ErrorCode, Str};

pub async fn handle(
    control_plane: &ControlPlane,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = control_plane.shard.image();
    let mut room = DESCRIBED_PRODUCERS_MAX;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for partition_index in topic.partition_indexes {
            let described =
                describe(control_plane, &image, &topic.name, partition_index, &mut room).await;
            let mut answer = PartitionResponse { partition_index, ..PartitionResponse::default() };
            match described {
                Ok(producers) => answer.active_producers = producers,
                Err((code, text)) => (answer.error_code, answer.error_message) = (code, text),
            }
            partitions.push(answer);
            runtime::yield_if_needed().await;
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

async fn describe(
    control_plane: &ControlPlane,
    image: &MetadataImage,
    topic: &str,
    index: i32,
    room: &mut usize,
) -> Result<Vec<ProducerState>, (ErrorCode, Option<Str>)> {
    topic_name::check(topic)
        .map_err(|text| (ErrorCode::InvalidTopicException, Some(text.into())))?;
    let located = locate(image, topic, index).map_err(|code| (code, None))?;
    if *room == 0 {
        let text = Str::from_static("Too much for one answer: ask for it in another request.");
        return Err((ErrorCode::PolicyViolation, Some(text)));
    }
    let request = ShardRequest::Producers { key: located.key };
    let producers = match control_plane.shard.ask(located.owner, request).await {
        ShardReply::Producers(outcome) => outcome.map_err(|error| (code_of(&error), None))?,
        _ => return Err((ErrorCode::NotLeaderOrFollower, None)),
    };
    // One too many for the room is still told whole; the next is not.
    *room = room.saturating_sub(producers.len().max(1));
    Ok(producers.iter().map(state_of).collect())
}

fn state_of(producer: &ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp.0,
        // No transaction was ever coordinated, and none is open.
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}
