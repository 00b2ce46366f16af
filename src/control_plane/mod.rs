//! COLD: metadata, administration and what else is not produce or fetch. One file for each API.
//!
//! A `ControlPlane` lives on every shard and answers the requests of that shard's connections, from the
//! shard's image of the cluster-wide facts and by asking the shards that own partitions. Changes go to
//! the `controller` on shard 0, the one writer.
//!
//! - `controller`, `state`, `metadata_log`, `record`, `adopt`: the facts and how they last
//! - `examine`: the facts of a data directory that no broker uses
//! - `configs`, `broker_configs`, `topic_name`: what may be set and named
//! - `dynamic_configs`: what may be set for brokers while they run; `kafka_names`: what Kafka has beside that
//! - `administration`: what tools ask a cluster beside topics and their settings; `group_configs`: what may be
//!   set for a group
//! - `groups`: consumer groups and their offsets
//! - `balance`: load-weighted placement, where that is asked for
//! - `partitions`, `resource`, `mutations`: what several APIs share

mod administration;
pub mod adopt;
mod alter_configs;
mod api_versions;
pub mod balance;
mod broker_configs;
pub mod configs;
pub mod controller;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_topic_partitions;
mod dynamic_configs;
pub mod examine;
mod group_configs;
pub mod groups;
#[cfg(test)]
pub mod harness;
mod incremental_alter_configs;
mod init_producer_id;
mod kafka_names;
mod list_offsets;
mod metadata;
pub mod metadata_log;
mod mutations;
mod offset_for_leader_epoch;
mod partitions;
pub mod record;
mod resource;
pub mod state;
pub mod topic_name;

pub use controller::{Controller, StartError};

use dynamic_configs::BrokerSettings;
use groups::{Caller, CoordinatorsHere};

use crate::config::Config;
use crate::limits::CONTROL_REQUEST_BYTES_MAX;
use crate::shard::Shard;
use crate::shard::coordinators::Coordinators;
use crate::shard::endpoints::Endpoints;
use crate::shard::image::MetadataImage;
use crate::shard::quotas::Meter;
use crate::wire::{
    ApiKey, Decoder, Encoder, Fault, Request, RequestHeader, Throttled, WireError, encode_response,
};
use mutations::Mutations;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    pub peer: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
}

/// One shard's control plane.
pub struct ControlPlane {
    pub shard: Rc<Shard>,
    pub config: Arc<Config>,
    pub endpoints: Arc<Endpoints>,
    pub groups: CoordinatorsHere,
    /// Given to this shard and not yet to a client.
    producer_ids: RefCell<Range<i64>>,
}

impl ControlPlane {
    pub fn new(
        shard: Rc<Shard>,
        config: Arc<Config>,
        endpoints: Arc<Endpoints>,
    ) -> Rc<ControlPlane> {
        shard.set_endpoints(endpoints.clone());
        let groups = CoordinatorsHere::new(&config);
        let producer_ids = RefCell::new(0..0);
        let plane = Rc::new(ControlPlane { shard, config, endpoints, groups, producer_ids });
        let coordinators: Rc<dyn Coordinators> = plane.clone();
        plane.shard.set_coordinators(Rc::downgrade(&coordinators));
        // The facts may have been there before.
        coordinators.installed();
        plane
    }

    /// What holds for topics and groups that set nothing, by an image.
    fn broker<'a>(&'a self, image: &'a MetadataImage) -> BrokerSettings<'a> {
        BrokerSettings { config: &self.config, overrides: &image.broker_overrides }
    }

    /// The broker stops: groups are served no more, and those who wait for one are told so.
    pub async fn leave_groups(&self, limit: Duration) {
        self.groups.end(limit).await;
    }

    /// Answers any request but Produce and Fetch with a whole response frame.
    ///
    /// # Errors
    /// A body that cannot be read or is too large, or an API or version that is not served: the
    /// connection closes.
    pub async fn handle(
        self: Rc<Self>,
        mut header: RequestHeader,
        mut body: Decoder,
        connection: ConnectionInfo,
        meter: Option<&Meter>,
    ) -> Result<Encoder, WireError> {
        let version = header.api_version;
        if !header.api_key.supports(version) {
            if header.api_key == ApiKey::ApiVersions {
                return Ok(api_versions::refuse(header.correlation_id));
            }
            return Err(unserved(Fault::UnknownVersion(version)));
        }
        if body.remaining() > CONTROL_REQUEST_BYTES_MAX {
            return Err(unserved(Fault::BadLength(body.remaining() as i64)));
        }
        if groups::is_about_groups(header.api_key) {
            groups::detach(&mut header, &mut body)?;
            let caller = Caller { header: &header, connection, is_forwarded: false, meter };
            return groups::answer(&self, caller, &mut body).await;
        }
        let asked = Asked { header: &header, body: &mut body, meter };
        let plane = &*self;
        match header.api_key {
            ApiKey::ApiVersions => {
                asked.answer(async |request| api_versions::handle(&request, version)).await
            }
            ApiKey::Metadata => {
                let answer =
                    async |request| metadata::handle(plane, request, version, connection).await;
                asked.answer(answer).await
            }
            ApiKey::ListOffsets => {
                asked
                    .answer(async |request| list_offsets::handle(plane, request, version).await)
                    .await
            }
            ApiKey::DescribeCluster => {
                let answer = async |request| describe_cluster::handle(plane, &request, connection);
                asked.answer(answer).await
            }
            ApiKey::DescribeLogDirs => {
                let answer =
                    async |request| describe_log_dirs::handle(plane, request, connection).await;
                asked.answer(answer).await
            }
            _ => plane.administer(asked, connection).await,
        }
    }

    /// Topics and their settings.
    async fn administer(
        &self,
        asked: Asked<'_>,
        connection: ConnectionInfo,
    ) -> Result<Encoder, WireError> {
        match asked.header.api_key {
            ApiKey::CreateTopics => {
                let by = asked.mutations(6);
                asked.answer(async |request| create_topics::handle(self, request, by).await).await
            }
            ApiKey::DeleteTopics => {
                let by = asked.mutations(5);
                asked.answer(async |request| delete_topics::handle(self, request, by).await).await
            }
            ApiKey::CreatePartitions => {
                let by = asked.mutations(3);
                let answer = async |request| create_partitions::handle(self, request, by).await;
                asked.answer(answer).await
            }
            ApiKey::DeleteRecords => {
                asked.answer(async |request| delete_records::handle(self, request).await).await
            }
            ApiKey::InitProducerId => {
                asked.answer(async |request| init_producer_id::handle(self, &request).await).await
            }
            ApiKey::OffsetForLeaderEpoch => {
                let answer = async |request| offset_for_leader_epoch::handle(self, request).await;
                asked.answer(answer).await
            }
            ApiKey::DescribeConfigs => {
                asked.answer(async |request| describe_configs::handle(self, &request).await).await
            }
            ApiKey::AlterConfigs => {
                asked.answer(async |request| alter_configs::handle(self, request).await).await
            }
            ApiKey::IncrementalAlterConfigs => {
                let answer = async |request| incremental_alter_configs::handle(self, request).await;
                asked.answer(answer).await
            }
            ApiKey::DescribeTopicPartitions => {
                let answer = async |request| describe_topic_partitions::handle(self, request);
                asked.answer(answer).await
            }
            _ => self.oversee(asked, connection).await,
        }
    }
}

fn unserved(fault: Fault) -> WireError {
    WireError { fault, field: "RequestHeader", at: 0 }
}

/// A request whose body is to be read.
struct Asked<'a> {
    header: &'a RequestHeader,
    body: &'a mut Decoder,
    meter: Option<&'a Meter>,
}

impl<'a> Asked<'a> {
    /// What it is measured with when it changes partitions; from this version on, it may be refused.
    fn mutations(&self, strict_from: i16) -> Mutations<'a> {
        Mutations { meter: self.meter, is_strict: self.header.api_version >= strict_from }
    }

    /// Reads the body, has it answered, and writes the response. What follows the body is ignored, as
    /// Kafka does.
    async fn answer<R: Request>(
        self,
        answer: impl AsyncFnOnce(R) -> R::Response,
    ) -> Result<Encoder, WireError> {
        let version = self.header.api_version;
        let request = R::decode(self.body, version)?;
        let mut response = answer(request).await;
        if let Some(meter) = self.meter {
            response.set_throttle_ms(meter.settle());
        }
        Ok(encode_response::<R>(&response, version, self.header.correlation_id))
    }
}

#[cfg(test)]
mod tests;
