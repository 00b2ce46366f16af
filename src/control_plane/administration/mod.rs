//! What tools ask a cluster beside topics and their settings. COLD, on the connection's core.
//!
//! This host is a cluster of one that has no replicas, transactions, authentication or access control yet, so
//! most of it is answered as Apache Kafka answers where there are none.
//!
//! - `client_quotas`: set and found (KIP-546); `shard::quotas` holds clients to them
//! - `elections`, `log_dirs`: where partitions are, and that they stay there; `reassignments`: moves between cores
//! - `producers`, `transactions`: who writes
//! - `credentials`, `access`, `tokens`: security that is not there
//! - `quorum`: the controllers, and the cluster's members
//! - `features`: what is told of this broker's abilities by name and level
//! - `config_resources`: what has settings

mod access;
mod client_quotas;
mod config_resources;
mod credentials;
mod elections;
pub mod features;
mod log_dirs;
mod producers;
mod quorum;
mod reassignments;
mod tokens;
mod transactions;

use super::{Asked, ConnectionInfo, ControlPlane, unserved};
use crate::wire::{ApiKey, Encoder, Fault, WireError};

impl ControlPlane {
    /// Requests about the cluster itself.
    pub(super) async fn oversee(
        &self,
        asked: Asked<'_>,
        connection: ConnectionInfo,
    ) -> Result<Encoder, WireError> {
        match asked.header.api_key {
            ApiKey::DescribeClientQuotas => {
                asked.answer(async |request| client_quotas::describe(self, &request)).await
            }
            ApiKey::AlterClientQuotas => {
                asked.answer(async |request| client_quotas::alter(self, request).await).await
            }
            ApiKey::ElectLeaders => {
                asked.answer(async |request| elections::handle(self, request).await).await
            }
            ApiKey::AlterPartitionReassignments => {
                asked.answer(async |request| reassignments::alter(self, request).await).await
            }
            ApiKey::ListPartitionReassignments => {
                asked.answer(async |request| reassignments::list(&request)).await
            }
            ApiKey::AlterReplicaLogDirs => {
                asked
                    .answer(async |request| log_dirs::alter(self, &request, connection).await)
                    .await
            }
            ApiKey::DescribeProducers => {
                asked.answer(async |request| producers::handle(self, request).await).await
            }
            ApiKey::DescribeTransactions => {
                asked.answer(async |request| transactions::describe(request)).await
            }
            ApiKey::ListTransactions => {
                asked.answer(async |request| transactions::list(request)).await
            }
            ApiKey::ListConfigResources => {
                let version = asked.header.api_version;
                let answer = async |request| config_resources::handle(self, &request, version);
                asked.answer(answer).await
            }
            ApiKey::DescribeQuorum => {
                asked.answer(async |request| quorum::describe(self, request, connection)).await
            }
            ApiKey::AddRaftVoter => {
                asked.answer(async |request| quorum::add_voter(self, &request)).await
            }
            ApiKey::RemoveRaftVoter => {
                asked.answer(async |request| quorum::remove_voter(self, &request)).await
            }
            ApiKey::UnregisterBroker => {
                asked.answer(async |request| quorum::unregister(self, &request)).await
            }
            ApiKey::UpdateFeatures => {
                let version = asked.header.api_version;
                asked.answer(async |request| features::update(self, &request, version)).await
            }
            _ => secure(asked).await,
        }
    }
}

/// Requests about who may do what: nobody is asked yet.
async fn secure(asked: Asked<'_>) -> Result<Encoder, WireError> {
    match asked.header.api_key {
        ApiKey::DescribeAcls => asked.answer(async |request| access::describe(&request)).await,
        ApiKey::CreateAcls => asked.answer(async |request| access::create(&request)).await,
        ApiKey::DeleteAcls => asked.answer(async |request| access::delete(&request)).await,
        ApiKey::DescribeUserScramCredentials => {
            asked.answer(async |request| credentials::describe(request)).await
        }
        ApiKey::AlterUserScramCredentials => {
            asked.answer(async |request| credentials::alter(request)).await
        }
        ApiKey::CreateDelegationToken => {
            asked.answer(async |request| tokens::create(request)).await
        }
        ApiKey::RenewDelegationToken => asked.answer(async |request| tokens::renew(&request)).await,
        ApiKey::ExpireDelegationToken => {
            asked.answer(async |request| tokens::expire(&request)).await
        }
        ApiKey::DescribeDelegationToken => {
            asked.answer(async |request| tokens::describe(&request)).await
        }
        key => Err(unserved(Fault::UnknownApi(key.to_i16()))),
    }
}

#[cfg(test)]
mod tests;
