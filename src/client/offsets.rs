//! Where a partition begins, ends, and stands at a time (ListOffsets).

use super::error::ClientError;
use super::{Client, TopicPartition};
use crate::runtime;
use crate::types::{Offset, Timestamp};
use crate::wire::api::ListOffsetsRequest;
use crate::wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic,
};
use crate::wire::{ErrorCode, Str};
use std::collections::{BTreeMap, HashMap};

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first that is still there.
    Earliest,
    /// After the last that consumers may read.
    Latest,
    /// Of the first record with this timestamp or a later one.
    At(Timestamp),
    /// Of the record with the greatest timestamp (KIP-734).
    MaxTimestamp,
}

impl OffsetQuery {
    fn to_timestamp(self) -> i64 {
        match self {
            OffsetQuery::Latest => -1,
            OffsetQuery::Earliest => -2,
            OffsetQuery::MaxTimestamp => -3,
            OffsetQuery::At(timestamp) => timestamp.0,
        }
    }
}

impl Client {
    /// The offset that each partition answers the query with; None where there is none, such as after the
    /// last timestamp.
    ///
    /// # Errors
    /// The first partition's that cannot be answered in the operation's time.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, ClientError> {
        let mut found = HashMap::new();
        let mut missing = partitions.to_vec();
        let limit = self.options().operation_limit;
        let deadline = runtime::now() + limit;
        loop {
            let error = match self.list_offsets_once(&missing, query, &mut found).await {
                Ok(()) => return Ok(found),
                Err(error) => error,
            };
            missing.retain(|partition| !found.contains_key(partition));
            if !error.is_retriable() {
                return Err(error);
            }
            if runtime::now() >= deadline {
                let what = "looking up offsets".to_string();
                return Err(ClientError::Expired { what, limit, cause: Some(Box::new(error)) });
            }
            runtime::sleep(self.options().retry_pause).await;
            let topics: Vec<Str> =
                missing.iter().map(|partition| partition.topic.clone()).collect();
            self.refresh(&topics).await?;
        }
    }

    /// One round over all leaders; keeps what was found even when something else failed.
    async fn list_offsets_once(
        &self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
        found: &mut HashMap<TopicPartition, Option<Offset>>,
    ) -> Result<(), ClientError> {
        let mut failed = None;
        let mut by_leader: BTreeMap<i32, HashMap<Str, Vec<i32>>> = BTreeMap::new();
        for TopicPartition { topic, partition } in partitions {
            self.topic(topic).await?;
            match self.leader(topic, *partition) {
                Some(leader) => {
                    let topics = by_leader.entry(leader).or_default();
                    topics.entry(topic.clone()).or_default().push(*partition);
                }
                None => {
                    failed = Some(ClientError::NoLeader { what: format!("{topic}-{partition}") });
                }
            }
        }
        for (leader, topics) in by_leader {
            if let Err(error) = self.list_offsets_at(leader, topics, query, found).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn list_offsets_at(
        &self,
        leader: i32,
        topics: HashMap<Str, Vec<i32>>,
        query: OffsetQuery,
        found: &mut HashMap<TopicPartition, Option<Offset>>,
    ) -> Result<(), ClientError> {
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic {
            name,
            partitions: partitions
                .into_iter()
                .map(|partition_index| ListOffsetsPartition {
                    partition_index,
                    timestamp: query.to_timestamp(),
                    ..Default::default()
                })
                .collect(),
        });
        let limit = self.options().request_limit;
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: topics.collect(),
            timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
            ..Default::default()
        };
        let response = self.broker(leader).await?.call(&request, limit).await?;
        let mut failed = None;
        for topic in response.topics {
            for answer in &topic.partitions {
                let ListOffsetsPartitionResponse { partition_index, error_code, offset, .. } =
                    *answer;
                let partition =
                    TopicPartition { topic: topic.name.detached(), partition: partition_index };
                let what = || format!("offsets of {partition}");
                if let Err(error) = ClientError::check(error_code, None, what) {
                    failed = Some(error);
                } else {
                    found.insert(partition, (offset >= 0).then_some(Offset(offset)));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is wrong when a partition that was asked for is not in the answer.
    pub(super) fn not_answered(partition: &TopicPartition) -> ClientError {
        ClientError::refused(partition.to_string(), ErrorCode::UnknownTopicOrPartition)
    }
}
