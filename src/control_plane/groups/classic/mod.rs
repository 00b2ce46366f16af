//! A group by the classic protocol: its members choose one of themselves, the leader, who assigns.
//! Pure, on the group's core: no await, no clock, no disk.
//!
//! - `join`, `sync`, `leave`: what the requests of these names do; heartbeats and commits are with `sync`
//! - `rebalance`: from one generation to the next, and what timers do
//! - `members`: who is in it, and who waits for what
//! - `record`: what is stored
//!
//! ```text
//! Empty --join--> PreparingRebalance --all joined, or time is up--> CompletingRebalance --leader's SyncGroup--> Stable
//!   ^                   |       ^                                          |                                      |
//!   '---all have left---'       '---------- a join, a leave, or a member not heard of -----------------------------'
//! ```
//!
//! Names and answers are Apache Kafka's (its GroupMetadataManager, 4.3). One thing is different: there, a group is
//! Stable once its record is stored; here it is at once, and no answer is given before the record is.

mod join;
mod leave;
mod members;
mod rebalance;
pub mod record;
mod sync;

pub use join::refuse_join;
pub use leave::{leave_in_vain, leaving};
pub use members::{Member, Members};
pub use record::{ClassicGroupValue, ClassicMemberValue};
pub use sync::refuse_sync;

use super::record::GroupRecord;
use super::turn::{Timer, Turn};
use crate::types::Timestamp;
use crate::wire::api::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::api::{JoinGroupResponse, SyncGroupResponse};
use crate::wire::consumer_protocol::{ConsumerProtocolSubscription, PROTOCOL_TYPE};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the topics of a subscription take in memory, each, roughly: they are slices of members' metadata.
const SUBSCRIBED_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    /// Deleted, or another core's.
    Dead,
}

impl State {
    /// As clients see it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// From when on the time counts after which a group's offsets may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsExpire {
    Never,
    AfterCommit,
    After(Timestamp),
}

/// The first rebalance of a group that was empty waits for more members to come.
#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    now: Duration,
    remaining: Duration,
    has_new_member: bool,
}

#[derive(Debug)]
pub struct ClassicGroup {
    id: Str,
    state: State,
    /// -1 when the record does not say.
    state_since: Timestamp,
    generation: i32,
    protocol_type: Option<Str>,
    /// What this generation's members voted for.
    protocol: Option<Str>,
    leader: Option<Str>,
    members: Members,
    /// Members of a generation that have not sent their SyncGroup.
    unsynced: BTreeSet<Str>,
    /// Topics of all members' subscriptions; `None` when that is not known.
    subscribed: Option<BTreeSet<Str>>,
    /// While the first rebalance of an empty group is prepared.
    initial: Option<InitialDelay>,
    /// The last that was given to a turn to store.
    stored: Option<ClassicGroupValue>,
}

impl ClassicGroup {
    /// An empty group. `group` is kept: detached from its frame.
    pub fn new(group: Str, wall: Timestamp) -> ClassicGroup {
        ClassicGroup {
            id: group,
            state: State::Empty,
            state_since: wall,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::default(),
            unsynced: BTreeSet::new(),
            subscribed: None,
            initial: None,
            stored: None,
        }
    }

    /// A stable group of members that another protocol assigned to (KIP-848's downgrade). Its record is stored
    /// and its sessions begin.
    pub fn converted(
        group: Str,
        generation: i32,
        members: Vec<Member>,
        turn: &mut Turn,
    ) -> ClassicGroup {
        let mut converted = ClassicGroup::new(group, turn.wall);
        converted.generation = generation;
        converted.protocol_type = Some(Str::from_static(PROTOCOL_TYPE));
        for member in members {
            converted.members.add(member, None);
        }
        converted.leader = converted.members.first_id();
        converted.protocol = converted.members.vote(converted.leader.as_deref());
        converted.subscribed = converted.subscription();
        converted.state = State::Stable;
        for id in converted.members.ids() {
            converted.heard_of(&id, turn);
        }
        let value = converted.current_value();
        converted.store(value, turn);
        converted
    }

    pub fn id(&self) -> &Str {
        &self.id
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Empty when there is none.
    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub fn protocol(&self) -> Option<&Str> {
        self.protocol.as_ref()
    }

    pub fn leader(&self) -> Option<&Str> {
        self.leader.as_ref()
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type() == PROTOCOL_TYPE
    }

    /// Memory that it holds, roughly; the record last stored shares its bytes.
    pub fn bytes(&self) -> usize {
        let subscribed = self.subscribed.as_ref().map_or(0, BTreeSet::len);
        size_of::<ClassicGroup>()
            + self.id.as_bytes().len()
            + self.members.bytes()
            + subscribed * SUBSCRIBED_BYTES
    }

    /// A group that only holds offsets that somebody committed without being a member.
    pub fn is_simple(&self) -> bool {
        self.state == State::Empty
            && self.protocol_type.is_none()
            && self.members.pending().is_empty()
    }

    /// A group of consumers of which no subscription is known counts as subscribed to everything.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Whether offsets of this group may be deleted, those of topics it is subscribed to excepted.
    pub fn check_offset_delete(&self) -> ErrorCode {
        match self.state {
            State::Dead => ErrorCode::GroupIdNotFound,
            State::Empty => ErrorCode::None,
            _ if self.uses_consumer_protocol() => ErrorCode::None,
            _ => ErrorCode::NonEmptyGroup,
        }
    }

    /// Whether DeleteGroups may delete it.
    pub fn check_delete(&self) -> ErrorCode {
        match self.state {
            State::Dead => ErrorCode::GroupIdNotFound,
            State::Empty => ErrorCode::None,
            _ => ErrorCode::NonEmptyGroup,
        }
    }

    /// Whether the group may go when it has no offsets any more.
    pub fn can_be_deleted(&self) -> bool {
        self.state == State::Empty
    }

    /// By Kafka's rules (KIP-211, KIP-496).
    pub fn offsets_expire(&self) -> OffsetsExpire {
        match self.state {
            _ if self.protocol_type.is_none() => OffsetsExpire::AfterCommit,
            State::Empty if self.state_since == Timestamp::NONE => OffsetsExpire::AfterCommit,
            State::Empty => OffsetsExpire::After(self.state_since),
            State::Stable if self.uses_consumer_protocol() && self.subscribed.is_some() => {
                OffsetsExpire::AfterCommit
            }
            _ => OffsetsExpire::Never,
        }
    }

    /// DescribeGroups, but for the authorized operations.
    pub fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        let member = |member: &Member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
        };
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: Str::from_static(self.state_name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.map(Str::from).unwrap_or_default(),
            members: self.members.iter().map(member).collect(),
            ..DescribedGroup::default()
        }
    }

    /// Stores the group's tombstone; its owner forgets it.
    pub fn delete(&mut self, turn: &mut Turn) {
        self.end(ErrorCode::CoordinatorNotAvailable, turn);
        turn.store(GroupRecord::Classic(self.id.clone(), None));
    }

    /// Tells all who wait that this is not the coordinator any more; its owner forgets the group.
    pub fn unload(&mut self, turn: &mut Turn) {
        self.end(ErrorCode::NotCoordinator, turn);
    }

    /// Makes way for a group of the new protocol with the same members (KIP-848's upgrade): they are to join
    /// again, and the tombstone is stored.
    pub fn convert_away(&mut self, turn: &mut Turn) {
        self.end(ErrorCode::RebalanceInProgress, turn);
        turn.store(GroupRecord::Classic(self.id.clone(), None));
    }

    fn end(&mut self, error: ErrorCode, turn: &mut Turn) {
        turn.timers.cancel(&self.join_timer());
        turn.timers.cancel(&self.sync_timer());
        for id in self.members.ids() {
            turn.timers.cancel(&self.session_timer(&id));
            if let Some(waiting) = self.members.take_join(&id) {
                turn.answer(waiting, refused_join(&id, error));
            }
            if let Some(waiting) = self.members.take_sync(&id) {
                turn.answer(waiting, refused_sync(error));
            }
        }
        for id in self.members.pending() {
            turn.timers.cancel(&self.session_timer(id));
        }
        self.enter(State::Dead, turn);
    }
}

/// What its parts share.
impl ClassicGroup {
    fn enter(&mut self, state: State, turn: &Turn) {
        (self.state, self.state_since) = (state, turn.wall);
    }

    fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    fn store(&mut self, value: ClassicGroupValue, turn: &mut Turn) {
        self.stored = Some(value.clone());
        turn.store(GroupRecord::Classic(self.id.clone(), Some(value)));
    }

    fn join_timer(&self) -> Timer {
        Timer::Join { group: self.id.clone() }
    }

    fn sync_timer(&self) -> Timer {
        Timer::Sync { group: self.id.clone() }
    }

    fn session_timer(&self, id: &Str) -> Timer {
        Timer::Session { group: self.id.clone(), member: id.clone() }
    }

    /// The member lives: its session begins anew.
    fn heard_of(&self, id: &str, turn: &mut Turn) {
        if let Some(member) = self.members.get(id) {
            let until = turn.now + member.session_timeout();
            turn.timers.set(self.session_timer(&member.id), until);
        }
    }

    /// Takes a member out; whoever waits for it is told that there is no such member. Another one leads when
    /// this one did.
    fn remove(&mut self, id: &Str, turn: &mut Turn) {
        turn.timers.cancel(&self.session_timer(id));
        self.members.remove_pending(id);
        self.unsynced.remove(id);
        let Some(removed) = self.members.remove(id) else { return };
        let error = ErrorCode::UnknownMemberId;
        if let Some(waiting) = removed.join {
            turn.answer(waiting, refused_join("", error));
        }
        if let Some(waiting) = removed.sync {
            turn.answer(waiting, refused_sync(error));
        }
        if self.is_leader(id) {
            self.leader = self.members.first_id();
        }
    }

    /// What the members' metadata says, when it is that of consumers and all of it can be read.
    fn subscription(&self) -> Option<BTreeSet<Str>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.iter() {
            match ConsumerProtocolSubscription::topics_of(member.metadata(protocol)) {
                Ok(of_member) => topics.extend(of_member),
                Err(error) => {
                    tracing::debug!(group = %self.id, member = %member.id, %error,
                        "a subscription that cannot be read");
                    return None;
                }
            }
        }
        Some(topics)
    }
}

/// An answer to JoinGroup that lets nobody in.
fn refused_join(member: &str, error_code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code, member_id: Str::from(member), ..JoinGroupResponse::default() }
}

fn refused_sync(error_code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code, ..SyncGroupResponse::default() }
}
