//! ConsumerGroupHeartbeat, and what happens when none comes: members join, change, leave and are fenced.

use super::member::{Holding, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member, MemberState, write_target};
use super::reconcile::Reconciliation;
use super::record::ConsumerChange;
use super::topics::compile;
use super::{ConsumerGroup, Refusal, TopicView, rebalance_timeout, sort_topics};
use crate::control_plane::groups::turn::{GroupConfig, Timer, Turn};
use crate::limits::GROUP_MEMBER_BYTES_MAX;
use crate::log::planted::{self, Bug};
use crate::types::TopicId;
use crate::wire::api::consumer_group_heartbeat::{HeartbeatAssignment, HeartbeatTopicPartitions};
use crate::wire::api::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::consumer_group::ConsumerGroupMemberMetadataValue;
use crate::wire::{ErrorCode, Str};

/// Who sends a request, as it is kept and shown: the host in Kafka's form, as `/127.0.0.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub client_id: Str,
    pub client_host: Str,
}

/// What is wrong with a request whatever the group; looked at before the group is.
pub fn refuse(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    config: &GroupConfig,
) -> Option<ConsumerGroupHeartbeatResponse> {
    let checked = check(request, version).and_then(|()| check_assignor(request, config));
    checked.err().map(Refusal::heartbeat_response)
}

fn check(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    // As Java's trim: controls and spaces make no id.
    let is_blank = |text: &Str| text.bytes().all(|byte| byte <= b' ');
    let epoch = request.member_epoch;
    // Before version 1, the broker makes the id of a member that joins.
    if (version >= 1 || epoch > 0 || epoch == LEAVE_EPOCH) && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_ref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none()
            && request.subscribed_topic_regex.is_none() =>
        {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        ..LEAVE_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    Ok(())
}

fn check_assignor(
    request: &ConsumerGroupHeartbeatRequest,
    config: &GroupConfig,
) -> Result<(), Refusal> {
    let supported: Vec<&str> = config.consumer_assignors.iter().map(|one| one.name()).collect();
    match &request.server_assignor {
        Some(name) if !supported.contains(&name.as_str()) => {
            let supported = supported.join(", ");
            let message = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {supported}."
            );
            Err(Refusal::new(ErrorCode::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

/// Which member a request is of.
pub(super) enum Found {
    /// It is in the group under the id that it says.
    Known,
    New,
    /// A static member that comes back under a new id takes the place of this one.
    Replaces(Str),
}

/// A member that may be in the group, as it was and as it says that it is.
struct Admission {
    found: Found,
    before: Member,
    said: ConsumerGroupMemberMetadataValue,
}

/// What a request changed of a subscription.
#[derive(Default)]
pub(super) struct Changed {
    pub subscription: bool,
    /// Of the group: a new target is needed.
    pub bump: bool,
}

impl ConsumerGroup {
    /// Answers a request that `refuse` let through. Of a group that is gone, only a join makes sense (any other
    /// is GROUP_ID_NOT_FOUND), and when it is gone afterwards, too, nothing came of it.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> ConsumerGroupHeartbeatResponse {
        let answer = match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.leave_by_heartbeat(request, topics, turn),
            _ => self.stay(request, caller, topics, turn),
        };
        answer.unwrap_or_else(Refusal::heartbeat_response)
    }

    /// A member's timer fired: it was not heard of, or did not give up in time what it should have.
    pub fn on_timer(&mut self, timer: &Timer, topics: &dyn TopicView, turn: &mut Turn) {
        let (member, reason) = match timer {
            Timer::Session { member, .. } => (member, "its session expired"),
            Timer::Revoke { member, .. } => {
                let is_behind = self.members.get(member).is_some_and(|member| {
                    member.is_classic()
                        || member.holding.state == MemberState::UnrevokedPartitions
                            && member.holding.epoch != LEAVE_STATIC_EPOCH
                });
                if !is_behind {
                    return;
                }
                (member, "it did not do within the rebalance timeout what it was told to")
            }
            Timer::Join { .. } | Timer::Sync { .. } => return,
        };
        if self.members.contains_key(member) {
            let is_session = matches!(timer, Timer::Session { .. });
            turn.counts.sessions_expired += u64::from(is_session);
            tracing::info!(group = %self.group, %member, "member fenced: {reason}");
            self.fence(std::slice::from_ref(member), topics, turn);
        }
    }

    /// Removes members: what they had is free at once.
    pub(super) fn fence(&mut self, ids: &[Str], topics: &dyn TopicView, turn: &mut Turn) {
        for id in ids {
            self.remove_member(id, turn);
        }
        self.drop_unused_regexes(turn);
        if self.wants_downgrade(turn) {
            // Its generation is to be the one that the members know.
            self.soft.rebalances = true;
        } else {
            self.bump_epoch(topics, turn);
        }
    }

    fn remove_member(&mut self, id: &Str, turn: &mut Turn) {
        self.cancel_timers(id, turn);
        self.change(ConsumerChange::Current(id.clone(), None), turn);
        self.change(ConsumerChange::Target(id.clone(), None), turn);
        self.change(ConsumerChange::Member(id.clone(), None), turn);
    }

    fn leave_by_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = request.member_id.detached();
        match &request.instance_id {
            None => self.known(&id)?,
            Some(instance) => self.check_instance(instance, &id)?,
        };
        if request.instance_id.is_some() && request.member_epoch == LEAVE_STATIC_EPOCH {
            // Its partitions stay its own until it comes back or its session expires.
            turn.timers.cancel(&self.revoke_timer(&id));
            let mut holding = self.members[&id].holding.clone();
            holding.epoch = LEAVE_STATIC_EPOCH;
            holding.revoking.clear();
            self.change(ConsumerChange::Current(id.clone(), Some(holding.to_value())), turn);
        } else {
            self.fence(std::slice::from_ref(&id), topics, turn);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }

    fn stay(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = match request.member_id.is_empty() {
            true => new_member_id(turn),
            false => request.member_id.detached(),
        };
        let Admission { found, before, said } =
            self.admission(request, &id, caller, topics, turn)?;
        let said_owned = request.topic_partitions.as_deref();
        if before.holding.state == MemberState::Unknown
            && said_owned.is_none_or(|it| !it.is_empty())
        {
            self.next_holding(&id, &before, said_owned, true, topics)?;
        }

        let mut changed = self.admit(&id, &found, before.said.clone(), said, turn);
        changed.bump |= self.refresh_regexes(topics, turn);
        self.refresh_epoch(changed.bump, topics, turn);
        self.refresh_target(topics, turn);
        let start = match &found {
            Found::Replaces(_) => before.holding,
            Found::Known | Found::New => self.members[&id].holding.clone(),
        };
        self.reconcile(&id, said_owned, changed.subscription, topics, turn)?;
        self.restart_session(&id, turn);

        let holding = &self.members[&id].holding;
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let tells = request.member_epoch == 0 || is_full || holding.assigned != start.assigned;
        Ok(ConsumerGroupHeartbeatResponse {
            member_epoch: holding.epoch,
            heartbeat_interval_ms: i32::try_from(
                turn.consumer_heartbeat_interval(&self.group).as_millis(),
            )
            .unwrap_or(i32::MAX),
            assignment: tells.then(|| assignment_of(holding)),
            member_id: Some(id),
            ..Default::default()
        })
    }

    /// Whether `heartbeat` would let somebody join. Nothing changes.
    ///
    /// # Errors
    /// What it would answer.
    pub fn check_join(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &Turn,
    ) -> Result<(), Refusal> {
        self.admission(request, &request.member_id, caller, topics, turn).map(drop)
    }

    fn admission(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        id: &Str,
        caller: &Caller,
        topics: &dyn TopicView,
        turn: &Turn,
    ) -> Result<Admission, Refusal> {
        self.check_room(id, turn)?;
        let found = self.find(request, id)?;
        let before = match &found {
            Found::Known => self.members[id].clone(),
            Found::New => Member::default(),
            Found::Replaces(other) => self.members[other].clone(),
        };
        let said = updated(&before.said, request, caller);
        self.check_subscription(&before, &said, topics)?;
        Ok(Admission { found, before, said })
    }

    pub(super) fn check_room(&self, id: &Str, turn: &Turn) -> Result<(), Refusal> {
        let max = turn.config.consumer_members_max;
        if self.members.len() >= max && !self.members.contains_key(id) {
            return Err(Refusal::new(
                ErrorCode::GroupMaxSizeReached,
                format!("The consumer group has reached its maximum capacity of {max} members."),
            ));
        }
        Ok(())
    }

    pub(super) fn known(&self, id: &Str) -> Result<&Member, Refusal> {
        self.members.get(id).ok_or_else(|| {
            Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of group {}.", self.group),
            )
        })
    }

    /// The static member of this instance, which has to be this one.
    pub(super) fn check_instance(&self, instance: &Str, id: &Str) -> Result<&Member, Refusal> {
        let Some(owner) = self.follows.static_members.get(instance) else {
            return Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance} is unknown."),
            ));
        };
        if owner != id {
            return Err(Refusal::new(
                ErrorCode::FencedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} was fenced by member {owner}."
                ),
            ));
        }
        self.known(id)
    }

    fn find(&self, request: &ConsumerGroupHeartbeatRequest, id: &Str) -> Result<Found, Refusal> {
        let joins = request.member_epoch == 0;
        match &request.instance_id {
            None if joins && !self.members.contains_key(id) => Ok(Found::New),
            None => {
                check_epoch(self.known(id)?, request)?;
                Ok(Found::Known)
            }
            Some(instance) if joins => match self.follows.static_members.get(instance) {
                None if self.members.contains_key(id) => Ok(Found::Known),
                None => Ok(Found::New),
                Some(owner) => {
                    let held = &self.members[owner];
                    // KIP-345: who holds the instance must have left first, for a while or for good.
                    if !held.is_classic() && held.holding.epoch != LEAVE_STATIC_EPOCH {
                        return Err(Refusal::new(
                            ErrorCode::UnreleasedInstanceId,
                            format!(
                                "Static member {id} with instance id {instance} cannot join the group \
                                 because the instance id is owned by {owner} member."
                            ),
                        ));
                    }
                    Ok(Found::Replaces(owner.clone()))
                }
            },
            Some(instance) => {
                check_epoch(self.check_instance(instance, id)?, request)?;
                Ok(Found::Known)
            }
        }
    }

    /// What cannot be stored or understood is refused before anything changes.
    pub(super) fn check_subscription(
        &self,
        before: &Member,
        said: &ConsumerGroupMemberMetadataValue,
        topics: &dyn TopicView,
    ) -> Result<(), Refusal> {
        if *said == before.said {
            return Ok(());
        }
        let after = Member { said: said.clone(), holding: Holding::default() };
        if let Some(regex) = after.regex()
            && before.regex() != Some(regex)
            && !self.follows.regex_subscribers.contains_key(regex)
        {
            compile(regex)?;
        }
        if after.memory_bytes() > GROUP_MEMBER_BYTES_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "The member's subscription is too large.",
            ));
        }
        self.check_partitions(said, topics)
    }

    /// Writes what is new of a member.
    pub(super) fn admit(
        &mut self,
        id: &Str,
        found: &Found,
        before: ConsumerGroupMemberMetadataValue,
        said: ConsumerGroupMemberMetadataValue,
        turn: &mut Turn,
    ) -> Changed {
        if let Found::Replaces(old) = found {
            self.replace_member(old, id, turn);
        }
        let names_changed = said.subscribed_topic_names != before.subscribed_topic_names;
        // Kafka knows no difference between none and an empty one.
        let regex_of = |said: &ConsumerGroupMemberMetadataValue| {
            said.subscribed_topic_regex.clone().filter(|regex| !regex.is_empty())
        };
        let regex_changed = regex_of(&said) != regex_of(&before);
        if matches!(found, Found::New) || said != before {
            self.change(ConsumerChange::Member(id.clone(), Some(said)), turn);
        }
        if regex_changed {
            self.drop_unused_regexes(turn);
        }
        let subscription = names_changed || regex_changed;
        Changed { subscription, bump: self.epoch == 0 || subscription }
    }

    /// A static member came back: the new member has all that the old one had, from epoch 0 on.
    fn replace_member(&mut self, old: &Str, new: &Str, turn: &mut Turn) {
        let member = self.members[old].clone();
        let target = self.targets.get(old).cloned().unwrap_or_default();
        self.remove_member(old, turn);
        let holding = Holding { epoch: 0, previous_epoch: 0, ..member.holding };
        self.change(ConsumerChange::Member(new.clone(), Some(member.said)), turn);
        self.change(ConsumerChange::Target(new.clone(), Some(write_target(&target))), turn);
        self.change(ConsumerChange::Current(new.clone(), Some(holding.to_value())), turn);
    }

    /// Takes a member's next step, stores it, and minds the time that it has to give partitions up.
    pub(super) fn reconcile(
        &mut self,
        id: &Str,
        said: Option<&[HeartbeatTopicPartitions]>,
        subscription_changed: bool,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<(), Refusal> {
        let member = &self.members[id];
        let next = self.next_holding(id, member, said, subscription_changed, topics)?;
        if next == member.holding {
            return Ok(());
        }
        if !member.is_classic() {
            match next.state {
                MemberState::UnrevokedPartitions => {
                    turn.timers.set(self.revoke_timer(id), turn.now + rebalance_timeout(member));
                }
                _ => turn.timers.cancel(&self.revoke_timer(id)),
            }
        }
        self.change(ConsumerChange::Current(id.clone(), Some(next.to_value())), turn);
        Ok(())
    }

    fn next_holding(
        &self,
        id: &Str,
        member: &Member,
        said: Option<&[HeartbeatTopicPartitions]>,
        subscription_changed: bool,
        topics: &dyn TopicView,
    ) -> Result<Holding, Refusal> {
        let regex = member.regex().and_then(|regex| self.regexes.get(regex));
        let is_subscribed = |topic: TopicId| {
            topics.name(topic).is_some_and(|name| {
                member.subscribes_by_name(&name)
                    || regex.is_some_and(|regex| regex.topics.contains(&name))
            })
        };
        let nothing = Default::default();
        Reconciliation {
            target_epoch: self.target_epoch(),
            target: self.targets.get(id).unwrap_or(&nothing),
            subscription_changed,
            is_subscribed: &is_subscribed,
            is_free: &|topic, index| {
                planted::is(Bug::GiveBeforeRevoked)
                    || !self.follows.owners.contains_key(&(topic, index))
            },
            said,
        }
        .next(&member.holding)
    }
}

/// KIP-848: a member is where the coordinator left it, or one answer behind and with nothing that is not its.
fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let (said, epoch) = (request.member_epoch, member.holding.epoch);
    let fenced = |than: &str| {
        Err(Refusal::new(
            ErrorCode::FencedMemberEpoch,
            format!(
                "The consumer group member has a {than} member epoch ({said}) than the one known by the \
                 group coordinator ({epoch}). The member must abandon all its partitions and rejoin."
            ),
        ))
    };
    if said == 0 || said == epoch {
        Ok(())
    } else if said > epoch {
        fenced("greater")
    } else if said == member.holding.previous_epoch
        && member.holding.covers(request.topic_partitions.as_deref())
    {
        Ok(())
    } else {
        fenced("smaller")
    }
}

/// What a member says of itself after this request; what the request leaves out stays as it was.
fn updated(
    before: &ConsumerGroupMemberMetadataValue,
    request: &ConsumerGroupHeartbeatRequest,
    caller: &Caller,
) -> ConsumerGroupMemberMetadataValue {
    let newer = |said: &Option<Str>, before: &Option<Str>| {
        said.as_ref().map(Str::detached).or_else(|| before.clone())
    };
    let names = match &request.subscribed_topic_names {
        Some(names) => {
            let mut names: Vec<Str> = names.iter().map(Str::detached).collect();
            sort_topics(&mut names);
            names
        }
        None => before.subscribed_topic_names.clone(),
    };
    ConsumerGroupMemberMetadataValue {
        instance_id: newer(&request.instance_id, &before.instance_id),
        rack_id: newer(&request.rack_id, &before.rack_id),
        client_id: caller.client_id.clone(),
        client_host: caller.client_host.clone(),
        subscribed_topic_names: names,
        subscribed_topic_regex: newer(
            &request.subscribed_topic_regex,
            &before.subscribed_topic_regex,
        )
        .or(Some(Str::default())),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout => timeout,
        },
        server_assignor: newer(&request.server_assignor, &before.server_assignor),
        classic_member_metadata: None,
    }
}

fn assignment_of(holding: &Holding) -> HeartbeatAssignment {
    let topic = |(id, partitions): (&TopicId, &std::collections::BTreeMap<i32, i32>)| {
        HeartbeatTopicPartitions { topic_id: *id, partitions: partitions.keys().copied().collect() }
    };
    HeartbeatAssignment { topic_partitions: holding.assigned.iter().map(topic).collect() }
}

/// As Kafka makes them: 16 random bytes in base64, and none that a command line takes for an option.
pub(super) fn new_member_id(turn: &mut Turn) -> Str {
    loop {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(turn.random)().to_be_bytes());
        bytes[8..].copy_from_slice(&(turn.random)().to_be_bytes());
        // The marks of a random UUID (RFC 9562).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let text = TopicId(bytes).to_base64();
        if !text.starts_with('-') {
            return Str::from(text);
        }
    }
}
