//! A broker that stores nothing: it answers what a client needs to produce, and takes every batch. What is
//! left of a broker's work is the kernel's. Pure: frames in, frames out.

use bytes::Bytes;
use corelog::types::TopicId;
use corelog::wire::api::api_versions::{ApiVersion, ApiVersionsResponse};
use corelog::wire::api::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use corelog::wire::api::delete_topics::{DeletableTopicResult, DeleteTopicsResponse};
use corelog::wire::api::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use corelog::wire::api::produce::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use corelog::wire::api::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, InitProducerIdRequest,
    InitProducerIdResponse, MetadataRequest, ProduceRequest,
};
use corelog::wire::{ApiKey, Decoder, Message, Request, RequestHeader, Str, encode_response};

const BROKER: i32 = 1;
/// Produce versions that name topics: the stub has no ids.
const PRODUCE_VERSION_MAX: i16 = 12;

/// What the stub says of itself.
#[derive(Clone, Debug)]
pub struct Stub {
    pub host: String,
    pub port: u16,
    /// Of every topic, whatever its name.
    pub partitions: i32,
}

impl Stub {
    /// Answers one request frame (without its length); a produce with acks=0 with none.
    ///
    /// # Errors
    /// What is wrong with it; the connection is to be closed.
    pub fn answer(&self, frame: Bytes) -> Result<Option<Bytes>, String> {
        let mut decoder = Decoder::new(frame);
        let wrong = |error: corelog::wire::WireError| error.to_string();
        let header = RequestHeader::decode(&mut decoder).map_err(wrong)?;
        let (version, id) = (header.api_version, header.correlation_id);
        let d = &mut decoder;
        macro_rules! reply {
            ($request:ident, $answer:expr) => {{
                let request = $request::decode(d, version).map_err(wrong)?;
                #[allow(clippy::redundant_closure_call)]
                let response = $answer(request);
                encode_response::<$request>(&response, version, id).out.freeze()
            }};
        }
        let frame = match header.api_key {
            ApiKey::Produce => {
                let request = ProduceRequest::decode(d, version).map_err(wrong)?;
                let frame = (request.acks != 0).then(|| {
                    encode_response::<ProduceRequest>(&taken(request), version, id).out.freeze()
                });
                return Ok(frame);
            }
            ApiKey::ApiVersions if version > 3 => {
                return Err("ApiVersions in a version of the future".to_string());
            }
            ApiKey::ApiVersions => reply!(ApiVersionsRequest, |_| versions()),
            ApiKey::Metadata => reply!(MetadataRequest, |request| self.metadata(request)),
            ApiKey::InitProducerId => reply!(InitProducerIdRequest, |_| InitProducerIdResponse {
                producer_id: 1,
                ..Default::default()
            }),
            ApiKey::CreateTopics => reply!(CreateTopicsRequest, created),
            ApiKey::DeleteTopics => reply!(DeleteTopicsRequest, deleted),
            key => return Err(format!("{key} is not answered")),
        };
        Ok(Some(frame))
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let host: Str = self.host.as_str().into();
        let broker = MetadataResponseBroker {
            node_id: BROKER,
            host,
            port: self.port.into(),
            ..Default::default()
        };
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: BROKER,
            replica_nodes: vec![BROKER],
            isr_nodes: vec![BROKER],
            ..Default::default()
        };
        let names = request.topics.unwrap_or_default().into_iter().filter_map(|topic| topic.name);
        let topics = names.map(|name| MetadataResponseTopic {
            name: Some(name),
            topic_id: TopicId::ZERO,
            partitions: (0..self.partitions).map(partition).collect(),
            ..Default::default()
        });
        MetadataResponse {
            brokers: vec![broker],
            controller_id: BROKER,
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

/// What the stub answers.
pub fn versions() -> ApiVersionsResponse {
    let api_keys = vec![
        range::<ProduceRequest>(PRODUCE_VERSION_MAX),
        range::<ApiVersionsRequest>(3),
        range::<MetadataRequest>(12),
        range::<InitProducerIdRequest>(i16::MAX),
        range::<CreateTopicsRequest>(i16::MAX),
        range::<DeleteTopicsRequest>(5),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// An API in all versions that the codec knows, up to `max`.
pub fn range<R: Request + Message>(max: i16) -> ApiVersion {
    let ours = R::VERSIONS;
    let max_version = (*ours.end()).min(max);
    ApiVersion { api_key: R::KEY.to_i16(), min_version: *ours.start(), max_version }
}

fn created(request: CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.into_iter();
    let topics =
        topics.map(|topic| CreatableTopicResult { name: topic.name, ..Default::default() });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}

fn deleted(request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let result = |name| DeletableTopicResult { name: Some(name), ..Default::default() };
    let responses = request.topic_names.into_iter().map(result).collect();
    DeleteTopicsResponse { responses, ..Default::default() }
}

/// Every batch is taken; offsets are not counted.
fn taken(request: ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.into_iter().map(|topic| TopicProduceResponse {
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| PartitionProduceResponse { index: data.index, ..Default::default() })
            .collect(),
        name: topic.name,
        topic_id: topic.topic_id,
    });
    ProduceResponse { responses: topics.collect(), ..Default::default() }
}
