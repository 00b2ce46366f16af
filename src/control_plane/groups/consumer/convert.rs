//! From a classic group to a consumer group and back (KIP-848's online migration), as far as the broker's
//! policy allows.

use super::classic_member::{assignment_bytes, read_assignment};
use super::member::{Assignment, Holding, Member, MemberState, Owned, write_target};
use super::record::ConsumerChange;
use super::topics::metadata_hash;
use super::{ConsumerGroup, Refusal, TopicView, sort_topics};
use crate::control_plane::groups::classic::{self, ClassicGroup};
use crate::control_plane::groups::turn::Turn;
use crate::limits::{GROUP_MEMBER_BYTES_MAX, GROUP_VALUE_BYTES_MAX, TOPIC_NAME_BYTES_MAX};
use crate::types::TopicId;
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::consumer_group::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupTargetAssignmentMetadataValue,
};
use crate::wire::consumer_protocol::ConsumerProtocolSubscription;
use crate::wire::{ErrorCode, Str};
use std::collections::HashSet;

impl ConsumerGroup {
    /// The group that takes a classic one's place when somebody joins it by ConsumerGroupHeartbeat. Its members
    /// keep what they have, and learn by their next Heartbeat that they are to join again. The classic group is
    /// to be forgotten; its tombstone is stored. `may_join` says whether the group would let in who joins.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, and nothing has changed: groups are not upgraded, or the members are no consumers, too
    /// many, or have an assignor that keeps data in its assignments. What `may_join` says, and nothing has changed.
    pub fn from_classic(
        classic: &mut ClassicGroup,
        may_join: &dyn Fn(&ConsumerGroup, &Turn) -> Result<(), Refusal>,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) -> Result<ConsumerGroup, Refusal> {
        let mut group = ConsumerGroup::new(classic.id().clone());
        if classic.can_be_deleted() {
            may_join(&group, turn)?;
            classic.delete(turn);
            return Ok(group);
        }
        let refuse = |reason: &str| {
            tracing::info!(group = %classic.id(), "the group stays classic: {reason}");
            Refusal::new(
                ErrorCode::GroupIdNotFound,
                format!(
                    "Cannot upgrade classic group {} to consumer group because {reason}.",
                    classic.id()
                ),
            )
        };
        if !turn.config.consumer_migration_policy.upgrades() {
            return Err(refuse("online upgrade is disabled"));
        }
        if !classic.uses_consumer_protocol() {
            return Err(refuse("the group does not use the consumer embedded protocol"));
        }
        if classic.members().iter().count() > turn.config.consumer_members_max {
            return Err(refuse("the group size exceeds the consumer group maximum size"));
        }
        let mut members = Vec::new();
        let mut taken: HashSet<(TopicId, i32)> = HashSet::new();
        for member in classic.members().iter() {
            let (said, places) = converted(classic, member, topics).map_err(refuse)?;
            if (Member { said: said.clone(), ..Default::default() }).memory_bytes()
                > GROUP_MEMBER_BYTES_MAX
            {
                return Err(refuse("a member's subscription is too large"));
            }
            group
                .check_partitions(&said, topics)
                .map_err(|_| refuse("its topics are too large"))?;
            let mut holding = Holding {
                epoch: classic.generation(),
                previous_epoch: classic.generation(),
                state: MemberState::Stable,
                ..Default::default()
            };
            // A leader that gave a partition to two is not believed twice.
            for (topic, index) in places.into_iter().filter(|place| taken.insert(*place)) {
                holding.assigned.entry(topic).or_default().insert(index, holding.epoch);
            }
            members.push((member.id.clone(), Member { said, holding }));
        }
        let mut converted = group.clone();
        for (id, member) in &members {
            converted.replay(ConsumerChange::Member(id.clone(), Some(member.said.clone())));
        }
        may_join(&converted, turn)?;
        let epoch = classic.generation();
        // Members were on their way to another generation: they have to come again if this group ends.
        group.soft.rebalances = classic.state() != classic::State::Stable;
        classic.convert_away(turn);
        group.take_over(members, epoch, topics, turn);
        tracing::info!(group = %group.group, "the classic group became a consumer group");
        Ok(group)
    }

    fn take_over(
        &mut self,
        members: Vec<(Str, Member)>,
        epoch: i32,
        topics: &dyn TopicView,
        turn: &mut Turn,
    ) {
        for (id, member) in &members {
            self.change(ConsumerChange::Member(id.clone(), Some(member.said.clone())), turn);
        }
        let metadata_hash = metadata_hash(self.subscribed_topics(), topics);
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        self.change(ConsumerChange::Epoch(Some(value)), turn);
        for (id, member) in &members {
            let target = write_target(&target_of(&member.holding.assigned));
            self.change(ConsumerChange::Target(id.clone(), Some(target)), turn);
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            assignment_timestamp: 0,
        };
        self.change(ConsumerChange::TargetEpoch(Some(value)), turn);
        for (id, member) in members {
            let value = member.holding.to_value();
            self.change(ConsumerChange::Current(id.clone(), Some(value)), turn);
            self.restart_session(&id, turn);
        }
    }

    /// Should the group become a classic one again, its members are to join anew.
    pub fn rebalance_when_classic(&mut self) {
        self.soft.rebalances = true;
    }

    /// Whether all who are left speak the classic protocol: the group is to become a classic one.
    pub(super) fn wants_downgrade(&self, turn: &Turn) -> bool {
        let count = self.members.len();
        count > 0
            && self.follows.classic_members == count
            && turn.config.consumer_migration_policy.downgrades()
            && count <= turn.config.members_max
            // A classic group is one record. One that is too large stays as it is.
            && self.members.values().map(classic_bytes).sum::<usize>() <= GROUP_VALUE_BYTES_MAX
    }

    /// The classic group that takes this one's place, if it is time. To be called after every request and timer
    /// that was given to the group; the consumer group is then to be forgotten, and its tombstones are stored.
    pub fn to_classic(&mut self, topics: &dyn TopicView, turn: &mut Turn) -> Option<ClassicGroup> {
        if !self.wants_downgrade(turn) {
            return None;
        }
        let (group, epoch, rebalances) = (self.group.clone(), self.epoch, self.soft.rebalances);
        let members = self.members.iter().filter_map(|(id, member)| {
            let classic = member.said.classic_member_metadata.as_ref()?;
            let protocol = |protocol: &ClassicProtocol| JoinGroupRequestProtocol {
                name: protocol.name.clone(),
                metadata: protocol.metadata.clone(),
            };
            Some(classic::Member {
                id: id.clone(),
                instance_id: member.said.instance_id.clone(),
                client_id: member.said.client_id.clone(),
                client_host: member.said.client_host.clone(),
                rebalance_timeout_ms: member.said.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.supported_protocols.iter().map(protocol).collect(),
                assignment: assignment_bytes(&member.holding, classic, topics),
                is_new: false,
            })
        });
        let members: Vec<classic::Member> = members.collect();
        self.delete(turn);
        let mut classic = ClassicGroup::converted(group, epoch, members, turn);
        if rebalances {
            classic.rebalance_converted(turn);
        }
        tracing::info!(group = %classic.id(), "the consumer group became a classic group");
        Some(classic)
    }
}

/// What a member takes of a classic group's record, at most.
fn classic_bytes(member: &Member) -> usize {
    let assigned = member.holding.assigned.values();
    let part = |partitions: usize| TOPIC_NAME_BYTES_MAX + 16 + partitions * size_of::<i32>();
    member.memory_bytes() + assigned.map(|partitions| part(partitions.len())).sum::<usize>()
}

/// What a classic member says of itself, and has.
type Converted = (ConsumerGroupMemberMetadataValue, Vec<(TopicId, i32)>);

fn converted(
    group: &ClassicGroup,
    member: &classic::Member,
    topics: &dyn TopicView,
) -> Result<Converted, &'static str> {
    const MALFORMED: &str = "the embedded consumer protocol is malformed";
    let chosen = member.protocols.iter().find(|it| Some(&it.name) == group.protocol());
    let metadata = chosen.or(member.protocols.first()).ok_or(MALFORMED)?.metadata.clone();
    let (_, subscription) =
        ConsumerProtocolSubscription::from_metadata(metadata).map_err(|_| MALFORMED)?;
    let (places, has_data) = read_assignment(&member.assignment, topics).ok_or(MALFORMED)?;
    if has_data {
        return Err(
            "an unsupported custom assignor is in use. Please refer to the documentation or \
                    switch to a default assignor before re-attempting the upgrade",
        );
    }
    let mut names: Vec<Str> = subscription.topics.iter().map(Str::detached).collect();
    sort_topics(&mut names);
    let protocol = |protocol: &JoinGroupRequestProtocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    };
    let said = ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id.as_ref().map(Str::detached),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: names,
        subscribed_topic_regex: Some(Str::default()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: None,
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: member.protocols.iter().map(protocol).collect(),
        }),
    };
    Ok((said, places))
}

fn target_of(assigned: &Owned) -> Assignment {
    assigned.iter().map(|(id, of)| (*id, of.keys().copied().collect())).collect()
}
