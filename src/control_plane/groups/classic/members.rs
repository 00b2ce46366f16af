//! The members of a classic group, and which of them wait for what. Pure, on the group's core.
//!
//! Members are kept in the order of their ids, so that what depends on an order is the same in every run.

use crate::limits::STRING_BYTES_MAX;
use crate::runtime::Filler;
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::api::{JoinGroupResponse, SyncGroupResponse};
use crate::wire::{ErrorCode, Str};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What a member, or an id that waits for its member, takes beside its texts: the struct, its places in maps
/// and timers, roughly.
const MEMBER_BYTES: usize = 1024;

/// What a protocol in a member's list takes beside its name and metadata.
const PROTOCOL_BYTES: usize = size_of::<JoinGroupRequestProtocol>();

/// Characters of a random UUID.
const UUID_BYTES: usize = 36;

/// A member as it last joined. Nothing in it is a slice of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub id: Str,
    /// Of a static member (KIP-345).
    pub instance_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the order of its preference.
    pub protocols: Vec<JoinGroupRequestProtocol>,
    /// As the leader wrote it. Empty before.
    pub assignment: Bytes,
    /// In no generation yet: its session ends even while it waits to join.
    pub is_new: bool,
}

impl Member {
    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub fn session_timeout(&self) -> Duration {
        milliseconds(self.session_timeout_ms)
    }

    /// Of this protocol; empty when the member does not have it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|each| each.name == *protocol);
        found.map(|each| each.metadata.clone()).unwrap_or_default()
    }

    /// Each once, however often the client named it.
    fn protocol_names(&self) -> BTreeSet<&Str> {
        self.protocols.iter().map(|each| &each.name).collect()
    }

    /// Memory it holds, roughly.
    fn bytes(&self) -> usize {
        let text = |text: &Option<Str>| text.as_ref().map_or(0, |text| text.as_bytes().len());
        let protocols = |sum, each: &JoinGroupRequestProtocol| {
            sum + PROTOCOL_BYTES + each.name.as_bytes().len() + each.metadata.len()
        };
        MEMBER_BYTES
            + self.id.as_bytes().len()
            + text(&self.instance_id)
            + self.client_id.as_bytes().len()
            + self.client_host.as_bytes().len()
            + self.protocols.iter().fold(0, protocols)
            + self.assignment.len()
    }
}

/// What a client sent as a timeout; a negative one is over at once.
pub fn milliseconds(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// What a member is called: by its instance or its client, and by chance. Short enough for a string of the
/// protocol, however long the client's own name is.
pub fn member_id(name: &str, uuid: &str) -> Str {
    debug_assert_eq!(uuid.len(), UUID_BYTES);
    let mut end = name.len().min(STRING_BYTES_MAX - UUID_BYTES - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Str::from(format!("{}-{uuid}", &name[..end]))
}

/// Who waits for an answer.
#[derive(Debug, Default)]
struct Waiting {
    join: Option<Filler<JoinGroupResponse>>,
    sync: Option<Filler<SyncGroupResponse>>,
}

#[derive(Debug, Default)]
pub struct Members {
    by_id: BTreeMap<Str, (Member, Waiting)>,
    /// Instance id -> member id.
    statics: HashMap<Str, Str>,
    /// Ids that were given to clients that have not joined with them yet (KIP-394).
    pending: BTreeSet<Str>,
    /// Protocol -> members that have it.
    protocols: BTreeMap<Str, usize>,
    /// Members that wait for JoinGroup.
    joining: usize,
    bytes: usize,
}

impl Members {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values().map(|(member, _)| member)
    }

    /// Those that wait for an answer.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        let waits = |waiting: &Waiting| waiting.join.is_some() || waiting.sync.is_some();
        self.by_id.values().filter(|(_, waiting)| waits(waiting)).count()
    }

    pub fn ids(&self) -> Vec<Str> {
        self.by_id.keys().cloned().collect()
    }

    pub fn first_id(&self) -> Option<Str> {
        self.by_id.keys().next().cloned()
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id).map(|(member, _)| member)
    }

    pub fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The member of this instance.
    pub fn static_id(&self, instance: &str) -> Option<&Str> {
        self.statics.get(instance)
    }

    /// Memory that the members hold, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Longest of the members' rebalance timeouts.
    pub fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.iter().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0))
    }

    /// Whether this is the member that it says it is: KIP-345 has an older holder of an instance id fenced.
    pub fn check(&self, id: &str, instance: Option<&str>) -> ErrorCode {
        match instance.map(|instance| self.static_id(instance)) {
            Some(None) => ErrorCode::UnknownMemberId,
            Some(Some(holder)) if *holder != *id => ErrorCode::FencedInstanceId,
            _ if !self.contains(id) => ErrorCode::UnknownMemberId,
            _ => ErrorCode::None,
        }
    }

    pub fn add(&mut self, member: Member, waiting: Option<Filler<JoinGroupResponse>>) {
        self.remove_pending(&member.id);
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        self.count_in(&member);
        self.joining += usize::from(waiting.is_some());
        let waiting = Waiting { join: waiting, sync: None };
        let before = self.by_id.insert(member.id.clone(), (member, waiting));
        debug_assert!(before.is_none(), "a member is added once");
    }

    /// Whoever still waits for an answer to this member is returned with it.
    pub fn remove(&mut self, id: &str) -> Option<Removed> {
        let (member, waiting) = self.by_id.remove(id)?;
        self.count_out(&member);
        self.joining -= usize::from(waiting.join.is_some());
        if let Some(instance) = &member.instance_id
            && self.statics.get(instance) == Some(&member.id)
        {
            self.statics.remove(instance);
        }
        Some(Removed { member, join: waiting.join, sync: waiting.sync })
    }

    /// Has a member join again, in place of what it said before.
    pub fn rejoin(
        &mut self,
        id: &str,
        protocols: Vec<JoinGroupRequestProtocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let change = |member: &mut Member| {
            member.protocols = protocols;
            member.rebalance_timeout_ms = rebalance_timeout_ms;
            member.session_timeout_ms = session_timeout_ms;
        };
        self.change(id, change);
    }

    pub fn assign(&mut self, id: &str, assignment: Bytes) {
        self.change(id, |member| member.assignment = assignment);
    }

    pub fn settle(&mut self, id: &str) {
        self.change(id, |member| member.is_new = false);
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Member)) {
        let Some((mut member, waiting)) = self.by_id.remove(id) else { return };
        self.count_out(&member);
        change(&mut member);
        self.count_in(&member);
        self.by_id.insert(member.id.clone(), (member, waiting));
    }

    fn count_in(&mut self, member: &Member) {
        self.bytes += member.bytes();
        for name in member.protocol_names() {
            *self.protocols.entry(name.clone()).or_default() += 1;
        }
    }

    fn count_out(&mut self, member: &Member) {
        self.bytes -= member.bytes();
        for name in member.protocol_names() {
            if let Some(count) = self.protocols.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.protocols.remove(name);
                }
            }
        }
    }
}

/// A member that is none any more.
#[derive(Debug)]
pub struct Removed {
    pub member: Member,
    pub join: Option<Filler<JoinGroupResponse>>,
    pub sync: Option<Filler<SyncGroupResponse>>,
}

/// Who waits.
impl Members {
    /// Whoever waited before for the same member learns that there is no answer: its client has asked again.
    pub fn wait_join(&mut self, id: &str, waiting: Filler<JoinGroupResponse>) {
        if let Some((_, all)) = self.by_id.get_mut(id)
            && all.join.replace(waiting).is_none()
        {
            self.joining += 1;
        }
    }

    pub fn take_join(&mut self, id: &str) -> Option<Filler<JoinGroupResponse>> {
        let taken = self.by_id.get_mut(id)?.1.join.take()?;
        self.joining -= 1;
        Some(taken)
    }

    pub fn wait_sync(&mut self, id: &str, waiting: Filler<SyncGroupResponse>) {
        if let Some((_, all)) = self.by_id.get_mut(id) {
            all.sync = Some(waiting);
        }
    }

    pub fn take_sync(&mut self, id: &str) -> Option<Filler<SyncGroupResponse>> {
        self.by_id.get_mut(id)?.1.sync.take()
    }

    pub fn is_joining(&self, id: &str) -> bool {
        self.by_id.get(id).is_some_and(|(_, waiting)| waiting.join.is_some())
    }

    /// Whether its waiting says that it lives.
    pub fn is_waiting(&self, id: &str) -> bool {
        let waits = |waiting: &Waiting| waiting.join.is_some() || waiting.sync.is_some();
        self.by_id.get(id).is_some_and(|(member, waiting)| !member.is_new && waits(waiting))
    }

    /// Members that wait for JoinGroup.
    pub fn joining(&self) -> usize {
        self.joining
    }

    pub fn first_joining(&self) -> Option<Str> {
        let mut all = self.by_id.iter();
        all.find(|(_, (_, waiting))| waiting.join.is_some()).map(|(id, _)| id.clone())
    }

    /// Members that do not wait for JoinGroup.
    pub fn absent(&self) -> Vec<Str> {
        let absent = self.by_id.iter().filter(|(_, (_, waiting))| waiting.join.is_none());
        absent.map(|(id, _)| id.clone()).collect()
    }

    pub fn have_all_joined(&self) -> bool {
        self.joining == self.len() && self.pending.is_empty()
    }

    pub fn add_pending(&mut self, id: Str) {
        let bytes = MEMBER_BYTES + id.as_bytes().len();
        if self.pending.insert(id) {
            self.bytes += bytes;
        }
    }

    pub fn remove_pending(&mut self, id: &str) -> bool {
        let is_removed = self.pending.remove(id);
        if is_removed {
            self.bytes -= MEMBER_BYTES + id.len();
        }
        is_removed
    }

    pub fn is_pending(&self, id: &str) -> bool {
        self.pending.contains(id)
    }

    pub fn pending(&self) -> &BTreeSet<Str> {
        &self.pending
    }
}

/// Which protocol the next generation has.
impl Members {
    /// Whether every member has one of these.
    pub fn share_any(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        let count = |name: &Str| self.protocols.get(name).copied().unwrap_or(0);
        protocols.iter().any(|each| count(&each.name) == self.len())
    }

    /// The protocol with the most votes of those that all members have; each member votes for the first of its
    /// list that is one. Where votes are equal, the leader's preference decides (Kafka leaves it to the order of
    /// a hash map). `None` only without members: joins are checked so that one protocol is always shared.
    pub fn vote(&self, leader: Option<&str>) -> Option<Str> {
        let is_shared = |name: &Str| self.protocols.get(name) == Some(&self.len());
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.iter() {
            if let Some(vote) = member.protocols.iter().find(|each| is_shared(&each.name)) {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let has_most = |name: &Str| votes.get(name) == Some(&most);
        let leader = leader.and_then(|id| self.get(id));
        let preferred = leader.and_then(|leader| {
            leader.protocols.iter().map(|each| &each.name).find(|name| has_most(name))
        });
        let first = votes.keys().copied().find(|name| has_most(name));
        preferred.or(first).cloned()
    }
}
