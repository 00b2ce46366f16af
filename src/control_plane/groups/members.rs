//! What clients do to be members of a group. Pure, on the group's core.

use super::classic::{self, ClassicGroup};
use super::consumer::{self, ConsumerGroup, Refusal, TopicView};
use super::group::Group;
use super::state::Groups;
use super::turn::{GroupConfig, Turn};
use crate::limits::{GROUPS_BYTES_MAX, MEMBER_BYTES_MAX_WHEN_FULL};
use crate::runtime::Filler;
use crate::wire::api::consumer_group_describe::DescribedConsumerGroup;
use crate::wire::api::describe_groups::DescribedGroup;
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::api::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use crate::wire::{ErrorCode, Str};

/// Who joins, as the group remembers it.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: Str,
    /// As Kafka shows it: a slash and the address.
    pub host: String,
}

impl From<Client> for consumer::Caller {
    fn from(client: Client) -> consumer::Caller {
        consumer::Caller { client_id: client.id, client_host: client.host.into() }
    }
}

impl Groups {
    fn classic(&mut self, name: &str) -> Option<&mut ClassicGroup> {
        match &mut self.entry_mut(name)?.group {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    fn consumer(&mut self, name: &str) -> Option<&mut ConsumerGroup> {
        match &mut self.entry_mut(name)?.group {
            Group::Consumer(group) => Some(group),
            Group::Classic(_) => None,
        }
    }

    // ------------------------------------------------------------ the consumer protocol

    /// A group begins with its first member; one of the classic protocol makes way when nobody is in it.
    pub fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        version: i16,
        client: Client,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> ConsumerGroupHeartbeatResponse {
        if let Some(refusal) = consumer::refuse(request, version, turn.config) {
            return refusal;
        }
        let (name, caller) = (request.group_id.detached(), client.into());
        let was_consumer = self.entry(&name).is_some_and(|entry| entry.group.is_consumer());
        if let Err(refusal) = self.make_consumer(&name, request, &caller, topics, turn) {
            return refusal.heartbeat_response();
        }
        let group = self.consumer(&name).expect("made above");
        let answer = group.heartbeat(request, &caller, topics, turn);
        if !was_consumer && !answer.error_code.is_none() {
            // It was checked before. Members that wait are told to come again whatever comes of that.
            group.rebalance_when_classic();
        }
        self.settle(&name, topics, turn);
        answer
    }

    /// Has a group of the consumer protocol be there for a member that joins, if it may. A classic group becomes
    /// one only for a member that will be let in: its members may be waiting, and are not sent away in vain.
    fn make_consumer(
        &mut self,
        name: &Str,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &consumer::Caller,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<(), Refusal> {
        let epoch = request.member_epoch;
        let refuse = |text: String| Err(Refusal::new(ErrorCode::GroupIdNotFound, text));
        let is_full = self.memory_bytes() >= GROUPS_BYTES_MAX;
        match self.entry(name).map(|entry| entry.group.is_consumer()) {
            Some(true) if epoch != 0 || !is_full => return Ok(()),
            Some(false) if epoch != 0 => {
                return refuse(format!("Group {name} is not a consumer group."));
            }
            None if epoch != 0 => return refuse(format!("Consumer group {name} not found.")),
            _ if is_full => {
                let text = "The groups of this broker hold all the memory that they may.";
                return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, text));
            }
            Some(_) => {}
            None => {
                self.get_or_make(name, turn.wall).group = Group::new_consumer(name.clone());
                return Ok(());
            }
        }
        if let Some(entry) = self.entry_mut(name)
            && let Group::Classic(group) = &mut entry.group
        {
            let may_join = |group: &ConsumerGroup, turn: &Turn| {
                group.check_join(request, caller, topics, turn)
            };
            let group = ConsumerGroup::from_classic(group, &may_join, topics, turn)?;
            entry.group = Group::Consumer(Box::new(group));
        }
        Ok(())
    }

    /// After whatever happened to a group: one of the consumer protocol may be nothing any more, or of the
    /// other kind. Offsets stay.
    pub fn settle(&mut self, name: &Str, topics: &dyn TopicView, turn: &mut Turn) {
        if let Some(group) = self.consumer(name) {
            let classic = group.to_classic(topics, turn);
            let is_gone = group.is_gone();
            let entry = self.entry_mut(name).expect("it is there");
            match classic {
                Some(classic) => entry.group = Group::Classic(Box::new(classic)),
                None if is_gone && entry.offsets.is_empty() => self.remove(name),
                None if is_gone => entry.group = Group::new(name.clone(), turn.wall),
                None => {}
            }
        }
        self.count_members(name);
    }

    pub fn describe_consumer(
        &self,
        name: &Str,
        topics: &dyn TopicView,
        config: &GroupConfig,
    ) -> DescribedConsumerGroup {
        let text = match self.entry(name).map(|entry| &entry.group) {
            Some(Group::Consumer(group)) => return group.describe(topics, config),
            Some(Group::Classic(_)) => format!("Group {name} is not a consumer group."),
            None => format!("Group {name} not found."),
        };
        DescribedConsumerGroup {
            error_code: ErrorCode::GroupIdNotFound,
            error_message: Some(text.into()),
            group_id: name.clone(),
            ..DescribedConsumerGroup::default()
        }
    }

    // ------------------------------------------------------------ the classic protocol

    /// A group begins with its first member; a member id of a group that is not there is not known.
    pub fn join(
        &mut self,
        request: JoinGroupRequest,
        version: i16,
        client: Client,
        topics: &dyn TopicView,
        waiting: Filler<JoinGroupResponse>,
        turn: &mut Turn,
    ) {
        if let Some(refusal) = classic::refuse_join(&request, turn.config) {
            return turn.answer(waiting, refusal);
        }
        let name = request.group_id.detached();
        let is_new = self.entry(&name).is_none();
        let error = if is_new && !request.member_id.as_bytes().is_empty() {
            ErrorCode::UnknownMemberId
        } else if !self.has_room_for(&request) {
            ErrorCode::GroupMaxSizeReached
        } else {
            ErrorCode::None
        };
        if !error.is_none() {
            let member_id = request.member_id.detached();
            let refusal =
                JoinGroupResponse { error_code: error, member_id, ..JoinGroupResponse::default() };
            return turn.answer(waiting, refusal);
        }
        let entry = self.get_or_make(&name, turn.wall);
        if let Group::Consumer(group) = &mut entry.group {
            if group.can_be_deleted() {
                // KIP-848: an empty group takes the protocol of whoever comes first.
                group.delete(turn);
                entry.group = Group::new(name.clone(), turn.wall);
            } else {
                let joined = group.join_classic(&request, version, &client.into(), topics, turn);
                turn.answer(waiting, joined);
                return self.settle(&name, topics, turn);
            }
        }
        let group = self.classic(&name).expect("made above");
        group.join(request, version, client.id, client.host, waiting, turn);
        self.count_members(&name);
    }

    /// When all groups of the core hold what they may, members that are there may come back if they are small.
    fn has_room_for(&self, request: &JoinGroupRequest) -> bool {
        let of = |each: &JoinGroupRequestProtocol| each.name.as_bytes().len() + each.metadata.len();
        let bytes: usize = request.protocols.iter().map(of).sum();
        if self.memory_bytes() < GROUPS_BYTES_MAX {
            return true;
        }
        let is_member = match self.entry(&request.group_id).map(|entry| &entry.group) {
            Some(Group::Classic(group)) => group.members().contains(&request.member_id),
            Some(Group::Consumer(_)) => !request.member_id.as_bytes().is_empty(),
            None => false,
        };
        is_member && bytes <= MEMBER_BYTES_MAX_WHEN_FULL
    }

    pub fn sync(
        &mut self,
        request: SyncGroupRequest,
        version: i16,
        topics: &dyn TopicView,
        waiting: Filler<SyncGroupResponse>,
        turn: &mut Turn,
    ) {
        if let Some(refusal) = classic::refuse_sync(&request, version) {
            return turn.answer(waiting, refusal);
        }
        let name = request.group_id.detached();
        match self.entry_mut(&name).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.sync(request, waiting, turn),
            Some(Group::Consumer(group)) => {
                let synced = group.sync_classic(&request, topics, turn);
                turn.answer(waiting, synced);
            }
            None => {
                let error_code = ErrorCode::UnknownMemberId;
                let refusal = SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
                turn.answer(waiting, refusal);
            }
        }
        self.settle(&name, topics, turn);
    }

    pub fn heartbeat(&mut self, request: &HeartbeatRequest, turn: &mut Turn) -> ErrorCode {
        match self.entry_mut(&request.group_id).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.heartbeat(request, turn),
            Some(Group::Consumer(group)) => group.heartbeat_classic(request, turn),
            None => ErrorCode::UnknownMemberId,
        }
    }

    pub fn leave(
        &mut self,
        request: &LeaveGroupRequest,
        version: i16,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> LeaveGroupResponse {
        let name = request.group_id.detached();
        let answer = match self.entry_mut(&name).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.leave(request, version, turn),
            Some(Group::Consumer(group)) => group.leave_classic(request, version, topics, turn),
            None => classic::leave_in_vain(request, version),
        };
        self.settle(&name, topics, turn);
        answer
    }

    pub fn describe_classic(&self, name: &Str, version: i16) -> DescribedGroup {
        match self.entry(name).map(|entry| &entry.group) {
            Some(Group::Classic(group)) => group.describe(),
            Some(Group::Consumer(_)) => {
                let message = format!("Group {name} is not a classic group.");
                classic::describe_missing(name.clone(), version, message)
            }
            None => {
                let message = format!("Group {name} not found.");
                classic::describe_missing(name.clone(), version, message)
            }
        }
    }
}
