//! The APIs: their keys, which of them are served in which versions, and one file for each.

use super::message::{Message, Request};

macro_rules! api_keys {
    ($($name:ident = $key:literal,)*) => {
        /// Every key that Kafka has or had, as of 4.4, so that a refused request can be named.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            pub const fn from_i16(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }
        }
    };
}

api_keys! {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    LeaderAndIsr = 4,
    StopReplica = 5,
    UpdateMetadata = 6,
    ControlledShutdown = 7,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    CreateDelegationToken = 38,
    RenewDelegationToken = 39,
    ExpireDelegationToken = 40,
    DescribeDelegationToken = 41,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    Vote = 52,
    BeginQuorumEpoch = 53,
    EndQuorumEpoch = 54,
    DescribeQuorum = 55,
    AlterPartition = 56,
    UpdateFeatures = 57,
    Envelope = 58,
    FetchSnapshot = 59,
    DescribeCluster = 60,
    DescribeProducers = 61,
    BrokerRegistration = 62,
    BrokerHeartbeat = 63,
    UnregisterBroker = 64,
    DescribeTransactions = 65,
    ListTransactions = 66,
    AllocateProducerIds = 67,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ControllerRegistration = 70,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
    AssignReplicasToDirs = 73,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
    ShareGroupHeartbeat = 76,
    ShareGroupDescribe = 77,
    ShareFetch = 78,
    ShareAcknowledge = 79,
    AddRaftVoter = 80,
    RemoveRaftVoter = 81,
    UpdateRaftVoter = 82,
    InitializeShareGroupState = 83,
    ReadShareGroupState = 84,
    WriteShareGroupState = 85,
    DeleteShareGroupState = 86,
    ReadShareGroupStateSummary = 87,
    StreamsGroupHeartbeat = 88,
    StreamsGroupDescribe = 89,
    DescribeShareGroupOffsets = 90,
    AlterShareGroupOffsets = 91,
    DeleteShareGroupOffsets = 92,
    StreamsGroupTopologyDescriptionUpdate = 93,
    UnregisterController = 94,
}

/// An API that is served, and in which versions. The codec may know more versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportedApi {
    pub key: ApiKey,
    pub version_min: i16,
    pub version_max: i16,
    flexible_from: i16,
}

macro_rules! apis {
    ($($key:ident: $module:ident, $request:ident, $response:ident $(, advertised to $max:literal)?;)*) => {
        $(
            pub mod $module;
            pub use $module::{$request, $response};

            impl Request for $request {
                const KEY: ApiKey = ApiKey::$key;
                type Response = $response;
            }
        )*

        const SUPPORTED: &[SupportedApi] = &[$(
            SupportedApi {
                key: ApiKey::$key,
                version_min: *<$request as Message>::VERSIONS.start(),
                version_max: version_max!($request $(, $max)?),
                flexible_from: <$request as Message>::FLEXIBLE_FROM,
            },
        )*];

        /// Decodes whatever request this is, and what it becomes when encoded again: for fuzzing.
        #[cfg(any(test, feature = "sim"))]
        pub fn reencode_request(
            key: ApiKey,
            d: &mut super::Decoder,
            version: i16,
        ) -> Result<super::Encoder, super::WireError> {
            let mut e = super::Encoder::new();
            match key {
                $(ApiKey::$key => {
                    <$request as Message>::decode(d, version)?.encode(&mut e, version);
                })*
                other => return Err(d.error(super::Fault::UnknownApi(other.to_i16()))),
            }
            Ok(e)
        }

        /// Visits the types of every API, for tests that hold for all of them.
        #[cfg(test)]
        pub(crate) fn visit_apis(visitor: &mut impl ApiVisitor) {
            $(visitor.visit::<$request, $response>();)*
        }
    };
}

macro_rules! version_max {
    ($request:ident) => {
        *<$request as Message>::VERSIONS.end()
    };
    ($request:ident, $max:literal) => {
        $max
    };
}

apis! {
    Produce: produce, ProduceRequest, ProduceResponse;
    Fetch: fetch, FetchRequest, FetchResponse;
    ListOffsets: list_offsets, ListOffsetsRequest, ListOffsetsResponse;
    Metadata: metadata, MetadataRequest, MetadataResponse;
    OffsetCommit: offset_commit, OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch: offset_fetch, OffsetFetchRequest, OffsetFetchResponse;
    FindCoordinator: find_coordinator, FindCoordinatorRequest, FindCoordinatorResponse;
    JoinGroup: join_group, JoinGroupRequest, JoinGroupResponse;
    Heartbeat: heartbeat, HeartbeatRequest, HeartbeatResponse;
    LeaveGroup: leave_group, LeaveGroupRequest, LeaveGroupResponse;
    SyncGroup: sync_group, SyncGroupRequest, SyncGroupResponse;
    DescribeGroups: describe_groups, DescribeGroupsRequest, DescribeGroupsResponse;
    ListGroups: list_groups, ListGroupsRequest, ListGroupsResponse;
    ApiVersions: api_versions, ApiVersionsRequest, ApiVersionsResponse, advertised to 4;
    CreateTopics: create_topics, CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics: delete_topics, DeleteTopicsRequest, DeleteTopicsResponse;
    DeleteRecords: delete_records, DeleteRecordsRequest, DeleteRecordsResponse;
    InitProducerId: init_producer_id, InitProducerIdRequest, InitProducerIdResponse, advertised to 5;
    OffsetForLeaderEpoch:
        offset_for_leader_epoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    DescribeAcls: describe_acls, DescribeAclsRequest, DescribeAclsResponse;
    CreateAcls: create_acls, CreateAclsRequest, CreateAclsResponse;
    DeleteAcls: delete_acls, DeleteAclsRequest, DeleteAclsResponse;
    DescribeConfigs: describe_configs, DescribeConfigsRequest, DescribeConfigsResponse;
    AlterConfigs: alter_configs, AlterConfigsRequest, AlterConfigsResponse;
    AlterReplicaLogDirs:
        alter_replica_log_dirs, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
    DescribeLogDirs: describe_log_dirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
    CreatePartitions: create_partitions, CreatePartitionsRequest, CreatePartitionsResponse;
    CreateDelegationToken:
        create_delegation_token, CreateDelegationTokenRequest, CreateDelegationTokenResponse;
    RenewDelegationToken:
        renew_delegation_token, RenewDelegationTokenRequest, RenewDelegationTokenResponse;
    ExpireDelegationToken:
        expire_delegation_token, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse;
    DescribeDelegationToken:
        describe_delegation_token, DescribeDelegationTokenRequest, DescribeDelegationTokenResponse;
    DeleteGroups: delete_groups, DeleteGroupsRequest, DeleteGroupsResponse;
    ElectLeaders: elect_leaders, ElectLeadersRequest, ElectLeadersResponse;
    IncrementalAlterConfigs:
        incremental_alter_configs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    AlterPartitionReassignments:
        alter_partition_reassignments, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
    ListPartitionReassignments:
        list_partition_reassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
    OffsetDelete: offset_delete, OffsetDeleteRequest, OffsetDeleteResponse;
    DescribeClientQuotas:
        describe_client_quotas, DescribeClientQuotasRequest, DescribeClientQuotasResponse;
    AlterClientQuotas: alter_client_quotas, AlterClientQuotasRequest, AlterClientQuotasResponse;
    DescribeUserScramCredentials:
        describe_user_scram_credentials, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse;
    AlterUserScramCredentials:
        alter_user_scram_credentials, AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse;
    DescribeQuorum: describe_quorum, DescribeQuorumRequest, DescribeQuorumResponse;
    UpdateFeatures: update_features, UpdateFeaturesRequest, UpdateFeaturesResponse;
    DescribeCluster: describe_cluster, DescribeClusterRequest, DescribeClusterResponse;
    DescribeProducers: describe_producers, DescribeProducersRequest, DescribeProducersResponse;
    UnregisterBroker: unregister_broker, UnregisterBrokerRequest, UnregisterBrokerResponse;
    DescribeTransactions:
        describe_transactions, DescribeTransactionsRequest, DescribeTransactionsResponse;
    ListTransactions: list_transactions, ListTransactionsRequest, ListTransactionsResponse;
    ConsumerGroupHeartbeat:
        consumer_group_heartbeat, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    ConsumerGroupDescribe:
        consumer_group_describe, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
    ListConfigResources:
        list_config_resources, ListConfigResourcesRequest, ListConfigResourcesResponse;
    DescribeTopicPartitions:
        describe_topic_partitions, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    AddRaftVoter: add_raft_voter, AddRaftVoterRequest, AddRaftVoterResponse;
    RemoveRaftVoter: remove_raft_voter, RemoveRaftVoterRequest, RemoveRaftVoterResponse;
}

/// What is served, in the order of the keys.
pub fn supported_apis() -> &'static [SupportedApi] {
    SUPPORTED
}

impl ApiKey {
    pub const fn to_i16(self) -> i16 {
        self as i16
    }

    /// `None` when this API is not served at all.
    pub fn supported(self) -> Option<&'static SupportedApi> {
        SUPPORTED.iter().find(|api| api.key == self)
    }

    pub fn supports(self, version: i16) -> bool {
        self.supported().is_some_and(|api| (api.version_min..=api.version_max).contains(&version))
    }

    /// 2 from the first flexible version on, else 1. An API that is not served has its header read
    /// as version 1: the fields that name the request in the refusal are the same.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 1 from the first flexible version on, else 0; always 0 for ApiVersions (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        if self != ApiKey::ApiVersions && self.is_flexible(version) { 1 } else { 0 }
    }

    fn is_flexible(self, version: i16) -> bool {
        self.supported().is_some_and(|api| version >= api.flexible_from)
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
pub(crate) trait ApiVisitor {
    fn visit<R, S>(&mut self)
    where
        R: Request<Response = S> + super::sample::Sample,
        S: Message + super::sample::Sample;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_numbers() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_i16(key.to_i16()), Some(*key));
        }
        assert_eq!(ApiKey::from_i16(-1), None);
        assert_eq!(ApiKey::from_i16(1000), None);
    }

    #[test]
    fn the_table_is_in_the_order_of_its_keys() {
        assert!(supported_apis().is_sorted_by_key(|api| api.key));
    }

    #[test]
    fn what_only_the_codec_knows_is_not_advertised() {
        let range = |key: ApiKey| key.supported().map(|api| (api.version_min, api.version_max));
        assert_eq!(range(ApiKey::Produce), Some((3, 13)));
        assert_eq!(range(ApiKey::Fetch), Some((4, 18)));
        assert_eq!(range(ApiKey::InitProducerId), Some((0, 5)));
        assert_eq!(range(ApiKey::ApiVersions), Some((0, 4)));
        assert_eq!(range(ApiKey::LeaderAndIsr), None);
        assert!(ApiKey::Produce.supports(3) && !ApiKey::Produce.supports(2));
        assert!(!ApiKey::LeaderAndIsr.supports(0));
    }

    #[test]
    fn api_versions_is_readable_across_all_versions() {
        // A client of the future: the request's header is flexible, the answer's never is (KIP-511).
        assert_eq!(ApiKey::ApiVersions.request_header_version(9), 2);
        assert!((0..9).all(|version| ApiKey::ApiVersions.response_header_version(version) == 0));
        assert_eq!(ApiKey::ApiVersions.request_header_version(2), 1);
    }
}
