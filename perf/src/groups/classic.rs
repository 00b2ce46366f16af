//! A member of the classic protocol, as Kafka's consumer with the assignor `range`: it gives up all it has before it
//! joins again, and the leader shares out.

use super::member::{Member, REBALANCE_TIMEOUT, REQUEST_LIMIT, RETRY_PAUSE, milliseconds};
use bytes::Bytes;
use corelog::client::ClientError;
use corelog::runtime::{self, Instant};
use corelog::wire::api::join_group::{JoinGroupRequestProtocol, JoinGroupResponse};
use corelog::wire::api::leave_group::MemberIdentity;
use corelog::wire::api::sync_group::SyncGroupRequestAssignment;
use corelog::wire::api::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use corelog::wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
    PROTOCOL_TYPE,
};
use corelog::wire::{Encoder, ErrorCode, Request, Str};
use std::time::Duration;

const ASSIGNOR: &str = "range";
/// Of subscriptions and assignments.
const VERSION: i16 = 3;

impl Member {
    /// Joins the next generation and learns what it has in it; false when that has to be tried again.
    pub async fn join_classic(&mut self) -> Result<bool, ClientError> {
        let Some(joined) = self.ask_to_join().await? else { return Ok(false) };
        self.epoch = joined.generation_id;
        let request = SyncGroupRequest {
            group_id: self.group_name.clone(),
            generation_id: self.epoch,
            member_id: self.id.clone(),
            protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
            protocol_name: Some(Str::from_static(ASSIGNOR)),
            assignments: self.assignments(&joined),
            ..Default::default()
        };
        let response = self.call(&request, i16::MAX, REBALANCE_TIMEOUT + REQUEST_LIMIT).await?;
        let code = response.error_code;
        self.driver.note(SyncGroupRequest::KEY, code);
        if !code.is_none() {
            self.forget_id(code);
            self.pause_after(code).await;
            return Ok(false);
        }
        let partitions = partitions_of(response.assignment)?;
        self.beat_from_now(self.driver.plan.heartbeat);
        self.take(partitions);
        self.fetch_offsets(&self.owned).await?;
        Ok(true)
    }

    /// Asks until it has an id and is let in; none when it should begin anew.
    async fn ask_to_join(&mut self) -> Result<Option<JoinGroupResponse>, ClientError> {
        let request = JoinGroupRequest {
            group_id: self.group_name.clone(),
            session_timeout_ms: milliseconds(self.driver.plan.session_timeout),
            rebalance_timeout_ms: milliseconds(REBALANCE_TIMEOUT),
            member_id: self.id.clone(),
            group_instance_id: None,
            protocol_type: Str::from_static(PROTOCOL_TYPE),
            protocols: vec![JoinGroupRequestProtocol {
                name: Str::from_static(ASSIGNOR),
                metadata: subscription(&self.topic().0),
            }],
            reason: Some(Str::default()),
        };
        let limit = REBALANCE_TIMEOUT + REQUEST_LIMIT;
        let response: JoinGroupResponse = self.call(&request, i16::MAX, limit).await?;
        let code = response.error_code;
        self.driver.note(JoinGroupRequest::KEY, code);
        match code {
            ErrorCode::None => {
                self.id = response.member_id.detached();
                return Ok(Some(response));
            }
            ErrorCode::MemberIdRequired => self.id = response.member_id.detached(),
            other => {
                self.forget_id(other);
                self.pause_after(other).await;
            }
        }
        Ok(None)
    }

    fn forget_id(&mut self, code: ErrorCode) {
        if code == ErrorCode::UnknownMemberId {
            self.id = Str::default();
        }
    }

    /// What a rebalance says is followed at once.
    async fn pause_after(&self, code: ErrorCode) {
        if code != ErrorCode::RebalanceInProgress {
            runtime::sleep(RETRY_PAUSE).await;
        }
    }

    /// What each member has, when this one leads.
    fn assignments(&self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        if joined.leader != self.id || joined.skip_assignment {
            return Vec::new();
        }
        let topic = &self.topic().0;
        let mut ids: Vec<Str> = joined.members.iter().map(|one| one.member_id.detached()).collect();
        ids.sort();
        let parts = ranges(self.driver.plan.partitions, ids.len());
        let given = ids.into_iter().zip(parts).map(|(member_id, partitions)| {
            let assigned = ConsumerProtocolTopicPartitions { topic: topic.clone(), partitions };
            let assignment =
                ConsumerProtocolAssignment { assigned_partitions: vec![assigned], user_data: None };
            SyncGroupRequestAssignment { member_id, assignment: assignment.to_assignment(VERSION) }
        });
        given.collect()
    }

    pub async fn beat_classic(&mut self, due: Instant) -> Result<(), ClientError> {
        let request = HeartbeatRequest {
            group_id: self.group_name.clone(),
            generation_id: self.epoch,
            member_id: self.id.clone(),
            group_instance_id: None,
        };
        let response = self.call(&request, i16::MAX, REQUEST_LIMIT).await?;
        self.beaten(due);
        let code = response.error_code;
        self.driver.note(HeartbeatRequest::KEY, code);
        match code {
            ErrorCode::RebalanceInProgress => {
                if self.driver.plan.commit.is_some() {
                    self.commit_offsets().await?;
                }
                self.fall_out();
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.forget_id(code);
                self.fall_out();
            }
            _ => {}
        }
        Ok(())
    }

    pub async fn leave_classic(&mut self) -> Result<(), ClientError> {
        let request = LeaveGroupRequest {
            group_id: self.group_name.clone(),
            member_id: self.id.clone(),
            members: vec![MemberIdentity {
                member_id: self.id.clone(),
                group_instance_id: None,
                reason: None,
            }],
        };
        let response = self.call(&request, i16::MAX, LEAVE_LIMIT).await?;
        let of_member = response.members.first().map(|one| one.error_code);
        let code = Some(response.error_code).filter(|code| !code.is_none()).or(of_member);
        self.driver.note(LeaveGroupRequest::KEY, code.unwrap_or_default());
        Ok(())
    }
}

pub const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// Partitions in ranges, the first ones longer by one where they do not divide evenly.
pub fn ranges(partitions: usize, members: usize) -> Vec<Vec<i32>> {
    let (each, more) = (partitions / members.max(1), partitions % members.max(1));
    let mut at = 0..partitions as i32;
    let length = |member: usize| each + usize::from(member < more);
    (0..members).map(|member| at.by_ref().take(length(member)).collect()).collect()
}

pub fn subscription(topic: &Str) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: vec![topic.clone()],
        ..ConsumerProtocolSubscription::default()
    };
    let mut encoder = Encoder::new();
    encoder.write_i16(VERSION);
    subscription.encode(&mut encoder, VERSION);
    encoder.out.freeze()
}

fn partitions_of(assignment: Bytes) -> Result<Vec<i32>, ClientError> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let (_, read) = ConsumerProtocolAssignment::from_assignment(assignment)
        .map_err(|error| ClientError::Invalid(format!("an assignment: {error}")))?;
    Ok(read.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect())
}
