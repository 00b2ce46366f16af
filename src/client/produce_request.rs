//! One Produce request: whole batches to the leader of their partitions, and what it said of each. What is
//! gathered, sequenced and tried again is the caller's to say.

use super::error::ClientError;
use super::{Acks, Broker, Client, TopicPartition};
use crate::types::{Offset, Timestamp, TopicId};
use crate::wire::api::produce::{
    LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use crate::wire::api::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use crate::wire::{Records, Str};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The last Produce version that names topics rather than their ids (KIP-516).
const NAMED_VERSION_MAX: i16 = 12;

/// What a broker said of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// None when the broker does not say: acks=0, or a duplicate from long ago.
    pub base_offset: Option<Offset>,
    /// With LogAppendTime.
    pub append_time: Option<Timestamp>,
}

/// What a broker said of a request.
#[derive(Clone, Debug)]
pub struct ProduceAnswer {
    /// In the order of the batches.
    pub results: Vec<Result<Acknowledged, ClientError>>,
    /// How long the client should rest (KIP-124).
    pub throttle: Duration,
}

impl Client {
    /// Sends batches, at most one of each partition, in one request. With `Acks::None` it returns when they
    /// have left.
    ///
    /// # Errors
    /// When there is no answer; what is wrong with one batch is in the answer.
    pub async fn produce(
        &self,
        broker: i32,
        acks: Acks,
        batches: &[(TopicPartition, Bytes)],
    ) -> Result<ProduceAnswer, ClientError> {
        let connection = self.broker(broker).await?;
        let limit = self.options().request_limit;
        let mut topics: BTreeMap<&Str, TopicProduceData> = BTreeMap::new();
        let mut ids = HashMap::new();
        for (TopicPartition { topic: name, partition }, bytes) in batches {
            let topic = topics.entry(name).or_insert_with(|| {
                let topic_id = self.topic_id(name);
                ids.insert(topic_id, name.clone());
                TopicProduceData { name: name.clone(), topic_id, partition_data: Vec::new() }
            });
            topic.partition_data.push(PartitionProduceData {
                index: *partition,
                records: Some(Records::External(bytes.len())),
            });
        }
        let mut records: Vec<_> = batches.iter().collect();
        // In the order of the topics above; the sort is stable, so partitions keep theirs.
        records.sort_by(|(a, _), (b, _)| a.topic.cmp(&b.topic));
        let records = records.into_iter().map(|(_, bytes)| bytes.clone()).collect();
        let request = ProduceRequest {
            transactional_id: None,
            acks: acks.to_wire(),
            timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics.into_values().collect(),
        };
        let version_max =
            if ids.contains_key(&TopicId::ZERO) { NAMED_VERSION_MAX } else { i16::MAX };
        let version = connection.version::<ProduceRequest>(version_max)?;
        if acks == Acks::None {
            connection.send_unanswered(&request, version, records).await?;
            let results = batches.iter().map(|_| Ok(Acknowledged::default())).collect();
            return Ok(ProduceAnswer { results, throttle: Duration::ZERO });
        }
        let response = connection.call_version(&request, version, records, limit).await?;
        if !response.node_endpoints.is_empty() {
            self.follow_all(&response, &ids, batches);
        }
        let results =
            batches.iter().map(|(partition, _)| find_answer(&response, &ids, partition)).collect();
        let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
        Ok(ProduceAnswer { results, throttle: Duration::from_millis(throttle) })
    }

    /// Takes up the leaders that refusals tell (KIP-951).
    fn follow_all(
        &self,
        response: &ProduceResponse,
        ids: &HashMap<TopicId, Str>,
        batches: &[(TopicPartition, Bytes)],
    ) {
        let named = response
            .node_endpoints
            .iter()
            .map(|node| Broker::listed(node.node_id, &node.host, node.port, node.rack.as_deref()));
        let named: Vec<Broker> = named.collect();
        for (partition, _) in batches {
            if let Some(found) = find(response, ids, partition) {
                let LeaderIdAndEpoch { leader_id, leader_epoch } = found.current_leader;
                self.follow(partition, (leader_id, leader_epoch), &named);
            }
        }
    }

    /// An id and epoch for an idempotent producer (KIP-98).
    ///
    /// # Errors
    /// When no broker gives one in the operation's time.
    pub async fn producer_identity(&self) -> Result<(i64, i16), ClientError> {
        let request =
            InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
        let limit = self.options().request_limit;
        let what = "asking for a producer id";
        self.retry(what, async || {
            let response = self.any().await?.call(&request, limit).await?;
            ClientError::check(response.error_code, None, || what.to_string())?;
            Ok((response.producer_id, response.producer_epoch))
        })
        .await
    }
}

fn find<'a>(
    response: &'a ProduceResponse,
    ids: &HashMap<TopicId, Str>,
    partition: &TopicPartition,
) -> Option<&'a PartitionProduceResponse> {
    let is_of = |topic_id: &TopicId, name: &Str| match name.is_empty() {
        true => ids.get(topic_id) == Some(&partition.topic),
        false => *name == partition.topic,
    };
    let topic = response.responses.iter().find(|topic| is_of(&topic.topic_id, &topic.name))?;
    topic.partition_responses.iter().find(|found| found.index == partition.partition)
}

fn find_answer(
    response: &ProduceResponse,
    ids: &HashMap<TopicId, Str>,
    partition: &TopicPartition,
) -> Result<Acknowledged, ClientError> {
    let what = || format!("producing to {partition}");
    let found = find(response, ids, partition);
    let found = found.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
    ClientError::check(found.error_code, found.error_message.as_deref(), what)?;
    let append_time = found.log_append_time_ms;
    Ok(Acknowledged {
        base_offset: (found.base_offset >= 0).then_some(Offset(found.base_offset)),
        append_time: (append_time >= 0).then_some(Timestamp(append_time)),
    })
}
