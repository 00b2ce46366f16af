//! Members of a consumer group that still speak the classic protocol (KIP-848's migration): their JoinGroup is
//! a full heartbeat, their SyncGroup fetches what it brought, and their Heartbeat says when to join again.
//!
//! Nobody waits for others: every answer is there at once.

use super::heartbeat::Found;
use super::member::{Holding, Member, MemberState};
use super::{Caller, ConsumerGroup, Refusal, TopicView, millis, rebalance_timeout, sort_topics};
use crate::control_plane::groups::classic::leaving;
use crate::control_plane::groups::turn::Turn;
use crate::types::TopicId;
use crate::wire::api::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::wire::api::leave_group::{MemberIdentity, MemberResponse};
use crate::wire::api::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use crate::wire::consumer_group::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};
use crate::wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
    PROTOCOL_TYPE,
};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::collections::BTreeSet;

/// KIP-394: a member joins with an id that the broker gave.
const MEMBER_ID_REQUIRED_FROM: i16 = 4;

/// KIP-345: one LeaveGroup names several members.
const LEAVING_MEMBERS_FROM: i16 = 3;

impl ConsumerGroup {
    /// JoinGroup, of a group with members; one without makes way for a classic group instead.
    pub fn join_classic(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> JoinGroupResponse {
        self.join(request, version, caller, topics, turn).unwrap_or_else(|refusal| {
            tracing::debug!(group = %self.group, "JoinGroup refused: {}", refusal.message);
            // To what it does not expect Kafka answers with nothing but the error.
            let is_expected = refusal.code != ErrorCode::UnknownServerError;
            let member_id = is_expected.then(|| request.member_id.clone());
            JoinGroupResponse {
                error_code: refusal.code,
                member_id: member_id.unwrap_or_default(),
                ..Default::default()
            }
        })
    }

    fn join(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<JoinGroupResponse, Refusal> {
        let is_new = request.member_id.is_empty();
        let id = match is_new {
            true => super::heartbeat::new_member_id(turn),
            false => request.member_id.detached(),
        };
        self.check_room(&id, turn)?;
        let protocol = self.check_protocols(request)?;
        if is_new && request.group_instance_id.is_none() && version >= MEMBER_ID_REQUIRED_FROM {
            return Ok(JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired,
                member_id: id,
                ..Default::default()
            });
        }
        let subscription = subscription(request)?;
        let found = self.find_classic(request, &id, is_new)?;
        let before = match &found {
            Found::Known => self.members[&id].clone(),
            Found::New => Member::default(),
            Found::Replaces(other) => self.members[other].clone(),
        };
        let said = updated(&before.said, request, version, &subscription, caller);
        self.check_subscription(&before, &said, topics)?;

        let changed = self.admit(&id, &found, before.said, said, turn);
        let downgrades = self.wants_downgrade(turn);
        if downgrades {
            self.soft.rebalances |= changed.subscription;
        } else {
            let regexes_changed = self.refresh_regexes(topics, turn);
            self.refresh_epoch(changed.bump || regexes_changed, topics, turn);
            self.refresh_target(topics, turn);
        }
        if !downgrades || !changed.subscription {
            let owned = owned(&subscription, topics);
            self.reconcile(&id, Some(&owned), changed.subscription, topics, turn)?;
        }
        self.restart_session(&id, turn);
        // It has to fetch its assignment in time.
        let member = &self.members[&id];
        turn.timers.set(self.revoke_timer(&id), turn.now + rebalance_timeout(member));
        Ok(JoinGroupResponse {
            generation_id: member.holding.epoch,
            protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
            protocol_name: Some(protocol),
            member_id: id,
            ..Default::default()
        })
    }

    /// SyncGroup: what the member has.
    pub fn sync_classic(
        &mut self,
        request: &SyncGroupRequest,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> SyncGroupResponse {
        match self.sync(request, topics, turn) {
            Ok(assignment) => SyncGroupResponse {
                protocol_type: request.protocol_type.clone(),
                protocol_name: request.protocol_name.clone(),
                assignment,
                ..Default::default()
            },
            Err(refusal) => {
                tracing::debug!(group = %self.group, "SyncGroup refused: {}", refusal.message);
                SyncGroupResponse { error_code: refusal.code, ..Default::default() }
            }
        }
    }

    fn sync(
        &mut self,
        request: &SyncGroupRequest,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<Bytes, Refusal> {
        let id = &request.member_id;
        let instance = request.group_instance_id.as_ref();
        let (member, classic) = self.classic_member(id, instance, request.generation_id)?;
        let protocol = first_protocol(classic);
        let type_differs = request.protocol_type.as_ref().is_some_and(|it| *it != PROTOCOL_TYPE);
        let name_differs = request
            .protocol_name
            .as_ref()
            .is_some_and(|name| protocol.is_none_or(|protocol| protocol.name != *name));
        if type_differs || name_differs {
            return Err(Refusal::new(
                ErrorCode::InconsistentGroupProtocol,
                format!("The protocol of member {id} is another one."),
            ));
        }
        // A member that is giving up partitions has joined already, and joins again when it is done.
        let holding = &member.holding;
        if self.epoch > holding.epoch && holding.state != MemberState::UnrevokedPartitions {
            self.expect_join(id, turn);
            return Err(Refusal::new(
                ErrorCode::RebalanceInProgress,
                format!("Member {id} should join again."),
            ));
        }
        let assignment = assignment_bytes(holding, classic, topics);
        let id = id.detached();
        turn.timers.cancel(&self.revoke_timer(&id));
        self.restart_session(&id, turn);
        Ok(assignment)
    }

    /// Heartbeat: whether the member is to join again.
    pub fn heartbeat_classic(&mut self, request: &HeartbeatRequest, turn: &mut Turn) -> ErrorCode {
        let id = &request.member_id;
        let instance = request.group_instance_id.as_ref();
        let (member, _) = match self.classic_member(id, instance, request.generation_id) {
            Ok(found) => found,
            Err(refusal) => return refusal.code,
        };
        let holding = &member.holding;
        let joins = holding.epoch < self.epoch
            || match holding.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(id, holding),
                MemberState::Stable | MemberState::Unknown => false,
            };
        self.restart_session(&id.detached(), turn);
        if joins {
            self.expect_join(id, turn);
            return ErrorCode::RebalanceInProgress;
        }
        ErrorCode::None
    }

    /// LeaveGroup: of members of either protocol, as an administrator may remove any.
    pub fn leave_classic(
        &mut self,
        request: &LeaveGroupRequest,
        version: i16,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> LeaveGroupResponse {
        let mut gone: BTreeSet<Str> = BTreeSet::new();
        let mut members = Vec::new();
        for MemberIdentity { member_id, group_instance_id, .. } in leaving(request, version) {
            let found = match &group_instance_id {
                None if self.members.contains_key(&member_id) => Ok(member_id.detached()),
                None => Err(ErrorCode::UnknownMemberId),
                Some(instance) => match self.follows.static_members.get(instance) {
                    None => Err(ErrorCode::UnknownMemberId),
                    Some(id) if member_id.is_empty() || *id == member_id => Ok(id.clone()),
                    Some(_) => Err(ErrorCode::FencedInstanceId),
                },
            };
            let error_code = found.as_ref().err().copied().unwrap_or_default();
            gone.extend(found);
            members.push(MemberResponse { member_id, group_instance_id, error_code });
        }
        if !gone.is_empty() {
            self.fence(&gone.into_iter().collect::<Vec<Str>>(), topics, turn);
        }
        match version {
            LEAVING_MEMBERS_FROM.. => LeaveGroupResponse { members, ..Default::default() },
            _ => LeaveGroupResponse {
                error_code: members.first().map(|member| member.error_code).unwrap_or_default(),
                ..Default::default()
            },
        }
    }

    /// All classic members share a protocol, and this one has to as well. Its first is what it is told.
    fn check_protocols(&self, request: &JoinGroupRequest) -> Result<Str, Refusal> {
        let is_shared = |name: &Str| {
            let classic =
                self.members.values().filter_map(|it| it.said.classic_member_metadata.as_ref());
            classic.into_iter().all(|of| of.supported_protocols.iter().any(|it| it.name == *name))
        };
        match request.protocols.first() {
            Some(first)
                if request.protocol_type == PROTOCOL_TYPE
                    && request.protocols.iter().any(|protocol| is_shared(&protocol.name)) =>
            {
                Ok(first.name.detached())
            }
            _ => Err(Refusal::new(
                ErrorCode::InconsistentGroupProtocol,
                format!("Member {}'s protocols are not supported.", request.member_id),
            )),
        }
    }

    fn find_classic(
        &self,
        request: &JoinGroupRequest,
        id: &Str,
        is_new: bool,
    ) -> Result<Found, Refusal> {
        let Some(instance) = &request.group_instance_id else {
            return Ok(if self.members.contains_key(id) { Found::Known } else { Found::New });
        };
        if !is_new {
            self.check_instance(instance, id)?;
            return Ok(Found::Known);
        }
        // Whoever had the instance is fenced: a classic member does not say that it leaves for a while.
        Ok(match self.follows.static_members.get(instance) {
            Some(owner) => Found::Replaces(owner.clone()),
            None => Found::New,
        })
    }

    fn classic_member(
        &self,
        id: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(&Member, &ClassicMemberMetadata), Refusal> {
        let member = match instance {
            Some(instance) => self.check_instance(instance, id)?,
            None => self.known(id)?,
        };
        let Some(classic) = &member.said.classic_member_metadata else {
            return Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Member {id} does not use the classic protocol."),
            ));
        };
        if member.holding.epoch != generation {
            return Err(Refusal::new(
                ErrorCode::IllegalGeneration,
                format!(
                    "The request generation id {generation} is not equal to the member epoch {} of member {id}.",
                    member.holding.epoch
                ),
            ));
        }
        Ok((member, classic))
    }

    /// From now on, the member has its rebalance timeout to join again.
    fn expect_join(&self, id: &Str, turn: &mut Turn) {
        let timer = self.revoke_timer(&id.detached());
        if !turn.timers.is_set(&timer)
            && let Some(member) = self.members.get(id)
        {
            turn.timers.set(timer, turn.now + rebalance_timeout(member));
        }
    }

    /// Whether somebody still has what the member should get.
    fn waits_for_others(&self, id: &Str, holding: &Holding) -> bool {
        self.targets.get(id).into_iter().flatten().any(|(topic, indexes)| {
            indexes.iter().any(|index| {
                let has = holding.assigned.get(topic).is_some_and(|of| of.contains_key(index));
                !has && self.follows.owners.contains_key(&(*topic, *index))
            })
        })
    }
}

fn first_protocol(classic: &ClassicMemberMetadata) -> Option<&ClassicProtocol> {
    classic.supported_protocols.first()
}

/// All protocols of a consumer carry the same subscription.
fn subscription(request: &JoinGroupRequest) -> Result<ConsumerProtocolSubscription, Refusal> {
    let metadata = request.protocols.first().map(|it| it.metadata.clone()).unwrap_or_default();
    ConsumerProtocolSubscription::from_metadata(metadata)
        .map(|(_, subscription)| subscription)
        // Kafka's answer to what it does not expect.
        .map_err(|error| Refusal::new(ErrorCode::UnknownServerError, error.to_string()))
}

fn updated(
    before: &ConsumerGroupMemberMetadataValue,
    request: &JoinGroupRequest,
    version: i16,
    subscription: &ConsumerProtocolSubscription,
    caller: &Caller,
) -> ConsumerGroupMemberMetadataValue {
    let newer = |said: &Option<Str>, before: &Option<Str>| {
        said.as_ref().map(Str::detached).or_else(|| before.clone())
    };
    let mut names: Vec<Str> = subscription.topics.iter().map(Str::detached).collect();
    sort_topics(&mut names);
    let protocols = request.protocols.iter().map(|protocol| ClassicProtocol {
        name: protocol.name.detached(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    ConsumerGroupMemberMetadataValue {
        instance_id: newer(&request.group_instance_id, &before.instance_id),
        rack_id: newer(&subscription.rack_id, &before.rack_id),
        client_id: caller.client_id.clone(),
        client_host: caller.client_host.clone(),
        subscribed_topic_names: names,
        subscribed_topic_regex: Some(Str::default()),
        // Before version 1 a member has one timeout for both.
        rebalance_timeout_ms: match (version, request.rebalance_timeout_ms) {
            (0, _) => request.session_timeout_ms,
            (_, -1) => before.rebalance_timeout_ms,
            (_, timeout) => timeout,
        },
        server_assignor: before.server_assignor.clone(),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: protocols.collect(),
        }),
    }
}

/// What the member says it owns. One that speaks an old version says nothing, and gave up all before it joined.
fn owned(
    subscription: &ConsumerProtocolSubscription,
    topics: &dyn TopicView,
) -> Vec<HeartbeatTopicPartitions> {
    let owned = subscription.owned_partitions.iter().filter_map(|owned| {
        let (topic_id, _) = topics.topic(&owned.topic)?;
        Some(HeartbeatTopicPartitions { topic_id, partitions: owned.partitions.clone() })
    });
    owned.collect()
}

/// What a member has, as consumers read it, in the version of the member's own metadata.
pub(super) fn assignment_bytes(
    holding: &Holding,
    classic: &ClassicMemberMetadata,
    topics: &dyn TopicView,
) -> Bytes {
    let version = first_protocol(classic)
        .and_then(|it| ConsumerProtocolSubscription::from_metadata(it.metadata.clone()).ok())
        .map_or(0, |(version, _)| version);
    let part = |(topic, partitions): (&TopicId, &std::collections::BTreeMap<i32, i32>)| {
        let topic = topics.name(*topic)?;
        let partitions = partitions.keys().copied().collect();
        Some(ConsumerProtocolTopicPartitions { topic, partitions })
    };
    let assigned_partitions = holding.assigned.iter().filter_map(part).collect();
    ConsumerProtocolAssignment { assigned_partitions, user_data: None }.to_assignment(version)
}

/// What a classic member's bytes assign it; `None` for what is none.
pub(super) fn read_assignment(
    assignment: &Bytes,
    topics: &dyn TopicView,
) -> Option<(Vec<(TopicId, i32)>, bool)> {
    if assignment.is_empty() {
        return Some((Vec::new(), false));
    }
    let (_, read) = ConsumerProtocolAssignment::from_assignment(assignment.clone()).ok()?;
    let mut places = Vec::new();
    for part in &read.assigned_partitions {
        if let Some((topic, count)) = topics.topic(&part.topic) {
            let is_there = |index: &&i32| usize::try_from(**index).is_ok_and(|at| at < count);
            places.extend(part.partitions.iter().filter(is_there).map(|index| (topic, *index)));
        }
    }
    Some((places, read.user_data.is_some_and(|data| !data.is_empty())))
}

/// The timeout after which a classic member that is not heard of is out.
pub(super) fn session_timeout(classic: &ClassicMemberMetadata) -> std::time::Duration {
    millis(classic.session_timeout_ms)
}
