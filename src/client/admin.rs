//! Topics made, changed and deleted; configurations read and written.

use super::Client;
use super::error::ClientError;
use crate::types::{Offset, TopicId};
use crate::wire::Str;
use crate::wire::api::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use crate::wire::api::create_partitions::CreatePartitionsTopic;
use crate::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreatableTopicResult};
use crate::wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::api::delete_topics::DeleteTopicState;
use crate::wire::api::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use crate::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use crate::wire::api::{
    AlterPartitionReassignmentsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeConfigsResponse,
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest,
};

/// A topic to be made; None is the broker's default.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

/// One line of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// None when it is a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// Who set a value, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Broker,
    Default,
}

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

impl Client {
    /// Makes a topic; `dry_run` only checks that it could.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        dry_run: bool,
    ) -> Result<CreatableTopicResult, ClientError> {
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.as_str().into(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                assignments: Vec::new(),
                configs: configs.collect(),
            }],
            timeout_ms: self.timeout_ms(),
            validate_only: dry_run,
        };
        let response = self.call_controller(&request).await?;
        let what = || format!("creating topic {}", topic.name);
        let result = response.topics.into_iter().next();
        let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
        ClientError::check(result.error_code, result.error_message.as_deref(), what)?;
        Ok(result)
    }

    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let topic = DeleteTopicState { name: Some(name.into()), topic_id: TopicId::ZERO };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            topic_names: vec![name.into()],
            timeout_ms: self.timeout_ms(),
        };
        let response = self.call_controller(&request).await?;
        let what = || format!("deleting topic {name}");
        let result = response.responses.first();
        let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
        ClientError::check(result.error_code, result.error_message.as_deref(), what)
    }

    /// Raises the number of partitions.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.call_controller(&request).await?;
        let what = || format!("raising {name} to {count} partitions");
        let result = response.results.first();
        let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
        ClientError::check(result.error_code, result.error_message.as_deref(), what)
    }

    /// Has one broker have a partition, and no other.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn move_partition(
        &self,
        topic: &str,
        partition_index: i32,
        broker: i32,
    ) -> Result<(), ClientError> {
        let partition = ReassignablePartition { partition_index, replicas: Some(vec![broker]) };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: vec![ReassignableTopic { name: topic.into(), partitions: vec![partition] }],
            ..Default::default()
        };
        let response = self.call_controller(&request).await?;
        let what = || format!("moving {topic}-{partition_index} to broker {broker}");
        ClientError::check(response.error_code, response.error_message.as_deref(), what)?;
        let result = response.responses.first().and_then(|topic| topic.partitions.first());
        let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
        ClientError::check(result.error_code, result.error_message.as_deref(), what)
    }

    /// Sets the keys that have a value and takes back those that have none.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason: then nothing was changed.
    pub async fn alter_topic_configs(
        &self,
        name: &str,
        changes: &[(String, Option<String>)],
    ) -> Result<(), ClientError> {
        let configs = changes.iter().map(|(key, value)| AlterableConfig {
            name: key.as_str().into(),
            config_operation: if value.is_some() { OPERATION_SET } else { OPERATION_DELETE },
            value: value.as_deref().map(Str::from),
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.into(),
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let response = self.call_controller(&request).await?;
        let what = || format!("altering topic {name}");
        let result = response.responses.first();
        let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
        ClientError::check(result.error_code, result.error_message.as_deref(), what)
    }

    /// The whole configuration of a topic, sorted by name.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn topic_configs(&self, name: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        let request = configs_request(RESOURCE_TOPIC, name);
        let response = self.call_any(&request).await?;
        sorted_configs(response, &format!("the configuration of topic {name}"))
    }

    /// The whole configuration of a broker, sorted by name.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn broker_configs(&self, id: i32) -> Result<Vec<ConfigEntry>, ClientError> {
        let request = configs_request(RESOURCE_BROKER, &id.to_string());
        let limit = self.options().request_limit;
        let response = self.broker(id).await?.call(&request, limit).await?;
        sorted_configs(response, &format!("the configuration of broker {id}"))
    }

    /// The data directories of a broker, as it names them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn data_directories(&self, id: i32) -> Result<Vec<String>, ClientError> {
        // Of no topic: only the directories are asked for.
        let request = DescribeLogDirsRequest { topics: Some(Vec::new()) };
        let limit = self.options().request_limit;
        let response = self.broker(id).await?.call(&request, limit).await?;
        Ok(response.results.iter().map(|found| found.log_dir.to_string()).collect())
    }

    /// Makes everything before `offset` unreadable; None means all there is. Returns the new start.
    ///
    /// # Errors
    /// `Refused`, with the broker's reason.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let name = Str::from(topic);
        let limit = self.options().request_limit;
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: name.clone(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset: offset.map_or(-1, |offset| offset.0),
                }],
            }],
            timeout_ms: self.timeout_ms(),
        };
        let what = || format!("deleting records of {topic}-{partition}");
        self.retry(&what(), async || {
            self.refresh(std::slice::from_ref(&name)).await?;
            let leader = self.leader(topic, partition);
            let leader = leader.ok_or_else(|| ClientError::NoLeader { what: what() })?;
            let response = self.broker(leader).await?.call(&request, limit).await?;
            let result = response.topics.first().and_then(|topic| topic.partitions.first());
            let result = result.ok_or_else(|| ClientError::NotAnswered { what: what() })?;
            ClientError::check(result.error_code, None, what)?;
            Ok(Offset(result.low_watermark))
        })
        .await
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.options().request_limit.as_millis()).unwrap_or(i32::MAX)
    }
}

fn configs_request(resource_type: i8, name: &str) -> DescribeConfigsRequest {
    let resource_name = name.into();
    let configuration_keys = None;
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

fn sorted_configs(
    response: DescribeConfigsResponse,
    what: &str,
) -> Result<Vec<ConfigEntry>, ClientError> {
    let result = response.results.into_iter().next();
    let result = result.ok_or_else(|| ClientError::NotAnswered { what: what.to_string() })?;
    let message = result.error_message.as_deref();
    ClientError::check(result.error_code, message, || what.to_string())?;
    let mut entries: Vec<ConfigEntry> = result.configs.iter().map(config_entry).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn config_entry(entry: &DescribeConfigsResourceResult) -> ConfigEntry {
    // 1 topic; 2 to 4 broker, dynamic or from its file; 5 default. Version 0 says only whether default.
    let source = match entry.config_source {
        1 => ConfigSource::Topic,
        2..=4 => ConfigSource::Broker,
        -1 if !entry.is_default => ConfigSource::Topic,
        _ => ConfigSource::Default,
    };
    ConfigEntry {
        name: entry.name.to_string(),
        value: entry.value.as_ref().map(|value| value.to_string()),
        source,
    }
}
