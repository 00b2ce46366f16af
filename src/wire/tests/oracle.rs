//! Our codec against the `kafka-protocol` crate, byte for byte, in both directions.
//!
//! Only well-formed bytes of our own making go to it: it aborts the process on hostile ones.

use std::fmt::Debug;

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

use super::{Bytes, Decoder, Message, Sample, encoded, for_each_sample};
use crate::wire::api::{self as ours, ApiKey, supported_apis};
use crate::wire::{Encoder, RequestHeader, ResponseHeader, Str};

/// Samples in every version that both know; `only_ours` are those that the oracle lacks.
fn check<O, T>(only_ours: &[i16])
where
    O: Message + Sample,
    T: TheirMessage + Decodable + Encodable + PartialEq + Debug,
{
    let shared = T::VERSIONS.min..=T::VERSIONS.max;
    let missing: Vec<i16> = O::VERSIONS.filter(|version| !shared.contains(version)).collect();
    assert_eq!(missing, only_ours, "{}: the versions that the oracle lacks", O::NAME);
    for_each_sample::<O>(|message, version, seed| {
        if shared.contains(&version) {
            check_sample::<O, T>(message, version, seed);
        }
    });
}

fn check_sample<O, T>(message: &O, version: i16, seed: u64)
where
    O: Message,
    T: Decodable + Encodable,
{
    let place = format!("{} v{version} seed {seed}", O::NAME);
    let bytes = encoded(message, version);
    let mut unread = bytes.clone();
    let their_message = T::decode(&mut unread, version).unwrap_or_else(|e| panic!("{place}: {e}"));
    assert!(unread.is_empty(), "{place}: {} bytes unread", unread.len());

    let mut their_bytes = bytes::BytesMut::new();
    their_message.encode(&mut their_bytes, version).unwrap_or_else(|e| panic!("{place}: {e}"));
    assert_eq!(their_bytes.freeze(), bytes, "{place}");
}

/// What Kafka 4 dropped (the oracle follows it) but old clients still send.
const DROPPED_0: &[i16] = &[0];
const DROPPED_0_1: &[i16] = &[0, 1];

#[test]
fn hot_messages_agree_with_the_oracle() {
    check::<ours::ProduceRequest, theirs::ProduceRequest>(&[]);
    check::<ours::ProduceResponse, theirs::ProduceResponse>(&[]);
    check::<ours::FetchRequest, theirs::FetchRequest>(&[]);
    check::<ours::FetchResponse, theirs::FetchResponse>(&[]);
}

#[test]
fn messages_of_reading_agree_with_the_oracle() {
    // ListOffsets 11 came with Kafka 4.2, ApiVersions 5 with 4.4, after the oracle; InitProducerId 6
    // is unstable in Kafka, and the oracle leaves it out of the request.
    check::<ours::ListOffsetsRequest, theirs::ListOffsetsRequest>(&[11]);
    check::<ours::ListOffsetsResponse, theirs::ListOffsetsResponse>(&[11]);
    check::<ours::MetadataRequest, theirs::MetadataRequest>(&[]);
    check::<ours::MetadataResponse, theirs::MetadataResponse>(&[]);
    check::<ours::ApiVersionsRequest, theirs::ApiVersionsRequest>(&[5]);
    check::<ours::ApiVersionsResponse, theirs::ApiVersionsResponse>(&[5]);
    check::<ours::InitProducerIdRequest, theirs::InitProducerIdRequest>(&[6]);
    check::<ours::InitProducerIdResponse, theirs::InitProducerIdResponse>(&[]);
    check::<ours::OffsetForLeaderEpochRequest, theirs::OffsetForLeaderEpochRequest>(DROPPED_0_1);
    check::<ours::OffsetForLeaderEpochResponse, theirs::OffsetForLeaderEpochResponse>(DROPPED_0_1);
}

#[test]
fn messages_that_change_topics_agree_with_the_oracle() {
    check::<ours::CreateTopicsRequest, theirs::CreateTopicsRequest>(DROPPED_0_1);
    check::<ours::CreateTopicsResponse, theirs::CreateTopicsResponse>(DROPPED_0_1);
    check::<ours::DeleteTopicsRequest, theirs::DeleteTopicsRequest>(DROPPED_0);
    check::<ours::DeleteTopicsResponse, theirs::DeleteTopicsResponse>(DROPPED_0);
    check::<ours::DeleteRecordsRequest, theirs::DeleteRecordsRequest>(&[]);
    check::<ours::DeleteRecordsResponse, theirs::DeleteRecordsResponse>(&[]);
    check::<ours::CreatePartitionsRequest, theirs::CreatePartitionsRequest>(&[]);
    check::<ours::CreatePartitionsResponse, theirs::CreatePartitionsResponse>(&[]);
    check::<ours::AlterConfigsRequest, theirs::AlterConfigsRequest>(&[]);
    check::<ours::AlterConfigsResponse, theirs::AlterConfigsResponse>(&[]);
    check::<ours::IncrementalAlterConfigsRequest, theirs::IncrementalAlterConfigsRequest>(&[]);
    check::<ours::IncrementalAlterConfigsResponse, theirs::IncrementalAlterConfigsResponse>(&[]);
}

#[test]
fn messages_of_consumer_groups_agree_with_the_oracle() {
    check::<ours::ConsumerGroupHeartbeatRequest, theirs::ConsumerGroupHeartbeatRequest>(&[]);
    check::<ours::ConsumerGroupHeartbeatResponse, theirs::ConsumerGroupHeartbeatResponse>(&[]);
    check::<ours::ConsumerGroupDescribeRequest, theirs::ConsumerGroupDescribeRequest>(&[]);
    check::<ours::ConsumerGroupDescribeResponse, theirs::ConsumerGroupDescribeResponse>(&[]);
}

#[test]
fn messages_of_classic_groups_agree_with_the_oracle() {
    check::<ours::JoinGroupRequest, theirs::JoinGroupRequest>(&[]);
    check::<ours::JoinGroupResponse, theirs::JoinGroupResponse>(&[]);
    check::<ours::SyncGroupRequest, theirs::SyncGroupRequest>(&[]);
    check::<ours::SyncGroupResponse, theirs::SyncGroupResponse>(&[]);
    check::<ours::HeartbeatRequest, theirs::HeartbeatRequest>(&[]);
    check::<ours::HeartbeatResponse, theirs::HeartbeatResponse>(&[]);
    check::<ours::LeaveGroupRequest, theirs::LeaveGroupRequest>(&[]);
    check::<ours::LeaveGroupResponse, theirs::LeaveGroupResponse>(&[]);
    check::<ours::DescribeGroupsRequest, theirs::DescribeGroupsRequest>(&[]);
    check::<ours::DescribeGroupsResponse, theirs::DescribeGroupsResponse>(&[]);
}

#[test]
fn messages_that_describe_agree_with_the_oracle() {
    // DescribeLogDirs 5 came with Kafka 4.3, after the oracle.
    check::<ours::DescribeConfigsRequest, theirs::DescribeConfigsRequest>(DROPPED_0);
    check::<ours::DescribeConfigsResponse, theirs::DescribeConfigsResponse>(DROPPED_0);
    check::<ours::DescribeLogDirsRequest, theirs::DescribeLogDirsRequest>(&[0, 5]);
    check::<ours::DescribeLogDirsResponse, theirs::DescribeLogDirsResponse>(&[0, 5]);
    check::<ours::DescribeClusterRequest, theirs::DescribeClusterRequest>(&[]);
    check::<ours::DescribeClusterResponse, theirs::DescribeClusterResponse>(&[]);
    check::<ours::DescribeTopicPartitionsRequest, theirs::DescribeTopicPartitionsRequest>(&[]);
    check::<ours::DescribeTopicPartitionsResponse, theirs::DescribeTopicPartitionsResponse>(&[]);
}

#[test]
fn messages_of_administration_agree_with_the_oracle() {
    // AddRaftVoter 1 came with Kafka 4.2, after the oracle; tests/clients/oracle.py asks Kafka itself.
    check::<ours::DescribeAclsRequest, theirs::DescribeAclsRequest>(&[]);
    check::<ours::DescribeAclsResponse, theirs::DescribeAclsResponse>(&[]);
    check::<ours::CreateAclsRequest, theirs::CreateAclsRequest>(&[]);
    check::<ours::CreateAclsResponse, theirs::CreateAclsResponse>(&[]);
    check::<ours::DeleteAclsRequest, theirs::DeleteAclsRequest>(&[]);
    check::<ours::DeleteAclsResponse, theirs::DeleteAclsResponse>(&[]);
    check::<ours::AlterReplicaLogDirsRequest, theirs::AlterReplicaLogDirsRequest>(&[]);
    check::<ours::AlterReplicaLogDirsResponse, theirs::AlterReplicaLogDirsResponse>(&[]);
    check::<ours::CreateDelegationTokenRequest, theirs::CreateDelegationTokenRequest>(&[]);
    check::<ours::CreateDelegationTokenResponse, theirs::CreateDelegationTokenResponse>(&[]);
    check::<ours::RenewDelegationTokenRequest, theirs::RenewDelegationTokenRequest>(&[]);
    check::<ours::RenewDelegationTokenResponse, theirs::RenewDelegationTokenResponse>(&[]);
    check::<ours::ExpireDelegationTokenRequest, theirs::ExpireDelegationTokenRequest>(&[]);
    check::<ours::ExpireDelegationTokenResponse, theirs::ExpireDelegationTokenResponse>(&[]);
    check::<ours::DescribeDelegationTokenRequest, theirs::DescribeDelegationTokenRequest>(&[]);
    check::<ours::DescribeDelegationTokenResponse, theirs::DescribeDelegationTokenResponse>(&[]);
    check::<ours::ElectLeadersRequest, theirs::ElectLeadersRequest>(&[]);
    check::<ours::ElectLeadersResponse, theirs::ElectLeadersResponse>(&[]);
    check::<ours::AlterPartitionReassignmentsRequest, theirs::AlterPartitionReassignmentsRequest>(
        &[],
    );
    check::<ours::AlterPartitionReassignmentsResponse, theirs::AlterPartitionReassignmentsResponse>(
        &[],
    );
    check::<ours::ListPartitionReassignmentsRequest, theirs::ListPartitionReassignmentsRequest>(&[]);
    check::<ours::ListPartitionReassignmentsResponse, theirs::ListPartitionReassignmentsResponse>(
        &[],
    );
    check::<ours::DescribeClientQuotasRequest, theirs::DescribeClientQuotasRequest>(&[]);
    check::<ours::DescribeClientQuotasResponse, theirs::DescribeClientQuotasResponse>(&[]);
    check::<ours::AlterClientQuotasRequest, theirs::AlterClientQuotasRequest>(&[]);
    check::<ours::AlterClientQuotasResponse, theirs::AlterClientQuotasResponse>(&[]);
    check::<ours::DescribeUserScramCredentialsRequest, theirs::DescribeUserScramCredentialsRequest>(
        &[],
    );
    check::<ours::DescribeUserScramCredentialsResponse, theirs::DescribeUserScramCredentialsResponse>(
        &[],
    );
    check::<ours::AlterUserScramCredentialsRequest, theirs::AlterUserScramCredentialsRequest>(&[]);
    check::<ours::AlterUserScramCredentialsResponse, theirs::AlterUserScramCredentialsResponse>(&[]);
    check::<ours::DescribeQuorumRequest, theirs::DescribeQuorumRequest>(&[]);
    check::<ours::DescribeQuorumResponse, theirs::DescribeQuorumResponse>(&[]);
    check::<ours::UpdateFeaturesRequest, theirs::UpdateFeaturesRequest>(&[]);
    check::<ours::UpdateFeaturesResponse, theirs::UpdateFeaturesResponse>(&[]);
    check::<ours::DescribeProducersRequest, theirs::DescribeProducersRequest>(&[]);
    check::<ours::DescribeProducersResponse, theirs::DescribeProducersResponse>(&[]);
    check::<ours::UnregisterBrokerRequest, theirs::UnregisterBrokerRequest>(&[]);
    check::<ours::UnregisterBrokerResponse, theirs::UnregisterBrokerResponse>(&[]);
    check::<ours::DescribeTransactionsRequest, theirs::DescribeTransactionsRequest>(&[]);
    check::<ours::DescribeTransactionsResponse, theirs::DescribeTransactionsResponse>(&[]);
    check::<ours::ListTransactionsRequest, theirs::ListTransactionsRequest>(&[]);
    check::<ours::ListTransactionsResponse, theirs::ListTransactionsResponse>(&[]);
    check::<ours::ListConfigResourcesRequest, theirs::ListConfigResourcesRequest>(&[]);
    check::<ours::ListConfigResourcesResponse, theirs::ListConfigResourcesResponse>(&[]);
    check::<ours::AddRaftVoterRequest, theirs::AddRaftVoterRequest>(&[1]);
    check::<ours::AddRaftVoterResponse, theirs::AddRaftVoterResponse>(&[1]);
    check::<ours::RemoveRaftVoterRequest, theirs::RemoveRaftVoterRequest>(&[]);
    check::<ours::RemoveRaftVoterResponse, theirs::RemoveRaftVoterResponse>(&[]);
}

#[test]
fn messages_of_groups_and_offsets_agree_with_the_oracle() {
    // Requests of OffsetCommit and OffsetFetch in version 10 are unstable in the oracle's Kafka.
    check::<ours::FindCoordinatorRequest, theirs::FindCoordinatorRequest>(&[]);
    check::<ours::FindCoordinatorResponse, theirs::FindCoordinatorResponse>(&[]);
    check::<ours::OffsetCommitRequest, theirs::OffsetCommitRequest>(&[10]);
    check::<ours::OffsetCommitResponse, theirs::OffsetCommitResponse>(&[]);
    check::<ours::OffsetFetchRequest, theirs::OffsetFetchRequest>(&[10]);
    check::<ours::OffsetFetchResponse, theirs::OffsetFetchResponse>(&[]);
    check::<ours::OffsetDeleteRequest, theirs::OffsetDeleteRequest>(&[]);
    check::<ours::OffsetDeleteResponse, theirs::OffsetDeleteResponse>(&[]);
    check::<ours::ListGroupsRequest, theirs::ListGroupsRequest>(&[]);
    check::<ours::ListGroupsResponse, theirs::ListGroupsResponse>(&[]);
    check::<ours::DeleteGroupsRequest, theirs::DeleteGroupsRequest>(&[]);
    check::<ours::DeleteGroupsResponse, theirs::DeleteGroupsResponse>(&[]);
}

#[test]
fn header_versions_agree_with_the_oracle() {
    for api in supported_apis() {
        let their_key = theirs::ApiKey::try_from(api.key.to_i16()).unwrap();
        for version in api.version_min..=api.version_max {
            let place = format!("{} v{version}", api.key);
            let (request, response) = (
                their_key.request_header_version(version),
                their_key.response_header_version(version),
            );
            assert_eq!(api.key.request_header_version(version), request, "{place}");
            assert_eq!(api.key.response_header_version(version), response, "{place}");
        }
    }
}

#[test]
fn headers_agree_with_the_oracle() {
    for (api_version, client_id) in [(3, None), (9, Some("")), (2, Some("größe")), (13, Some("c"))]
    {
        let header = RequestHeader {
            api_key: ApiKey::Produce,
            api_version,
            correlation_id: -7,
            client_id: client_id.map(Str::from),
        };
        let mut e = Encoder::new();
        header.encode(&mut e);
        let bytes = e.out.freeze();
        let header_version = ApiKey::Produce.request_header_version(api_version);
        let their = theirs::RequestHeader::decode(&mut bytes.clone(), header_version).unwrap();
        let mut again = bytes::BytesMut::new();
        their.encode(&mut again, header_version).unwrap();
        assert_eq!(again.freeze(), bytes);

        let mut d = Decoder::new(bytes);
        assert_eq!(RequestHeader::decode(&mut d), Ok(header));
        assert_eq!(d.finish(), Ok(()));
    }
    for (header_version, expected) in [(0, &b"\0\0\0\x05"[..]), (1, &b"\0\0\0\x05\0"[..])] {
        let mut e = Encoder::new();
        ResponseHeader { correlation_id: 5 }.encode(&mut e, header_version);
        assert_eq!(e.out, expected);
        let mut d = Decoder::new(Bytes::from_static(expected));
        assert_eq!(ResponseHeader::decode(&mut d, header_version).unwrap().correlation_id, 5);
        assert_eq!(d.finish(), Ok(()));
    }
}
