//! A member of a consumer group (KIP-848): the broker assigns partitions, this reads them and commits how far
//! its caller came. Needs a broker of Kafka 4.0 or newer, or corelog.
//!
//! One task does everything in turn: heartbeats go out between fetches, so whoever handles records for longer
//! than the group's session timeout is taken for dead, as with any Kafka client's poll.

use super::error::ClientError;
use super::groups::Membership;
use super::{Client, Fetched, Fetcher, FetcherOptions, OffsetQuery, OutOfRange, TopicPartition};
use crate::runtime::{self, Instant};
use crate::types::{Offset, TopicId};
use crate::wire::api::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::wire::api::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long others wait for this member to give up partitions.
const REBALANCE_TIMEOUT: Duration = Duration::from_mins(1);
/// Before the broker has said how often it wants to hear of this member.
const HEARTBEAT_FIRST: Duration = Duration::from_secs(1);
const EPOCH_JOIN: i32 = 0;
const EPOCH_LEAVE: i32 = -1;
/// A member that has nothing to read asks this often at least: what comes then, it gets at once.
const INTERVAL_MAX_WITH_NOTHING: Duration = Duration::from_secs(1);
/// A commit is tried so often with the newest epoch.
const COMMIT_TRIES: u32 = 5;

pub struct GroupConsumer {
    client: Client,
    group: Str,
    topics: Vec<Str>,
    /// Where a partition is begun that the group has committed nothing for.
    start: OffsetQuery,
    fetcher: Fetcher,
    member: Str,
    epoch: i32,
    heartbeat_at: Instant,
    interval: Duration,
    /// The next offset to hand out of each assigned partition.
    positions: BTreeMap<TopicPartition, Offset>,
    /// Of the topics that `positions` are in: another topic of that name is not what was assigned.
    ids: BTreeMap<Str, TopicId>,
    /// Handed out and, by the next call, handled.
    handed_out: Option<(TopicPartition, Offset)>,
    /// What has been handled since the last commit.
    uncommitted: BTreeMap<TopicPartition, Offset>,
    /// The broker is to hear what this member owns.
    owes_report: bool,
    /// Something is assigned of a topic that no broker told of: the next heartbeat asks for it again.
    asks_again: bool,
    /// Answers to heartbeats in a row that left this member with nothing to read.
    nothing_answers: u32,
}

impl GroupConsumer {
    /// Nothing is asked of the broker before the first call of `next`.
    pub fn new(client: Client, group: &str, topics: Vec<Str>, start: OffsetQuery) -> GroupConsumer {
        let options =
            FetcherOptions { out_of_range: OutOfRange::Earliest, ..FetcherOptions::default() };
        GroupConsumer {
            fetcher: Fetcher::new(client.clone(), options),
            client,
            group: group.into(),
            topics,
            start,
            member: TopicId(random_uuid()).to_base64().as_str().into(),
            epoch: EPOCH_JOIN,
            heartbeat_at: Instant::default(),
            interval: HEARTBEAT_FIRST,
            positions: BTreeMap::new(),
            ids: BTreeMap::new(),
            handed_out: None,
            uncommitted: BTreeMap::new(),
            owes_report: false,
            asks_again: false,
            nothing_answers: 0,
        }
    }

    /// What this member reads, and the next offset it will hand out of each.
    pub fn positions(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.positions
    }

    /// How often in a row the broker has said that there is nothing for this member, a second apart at most.
    pub fn nothing_answers(&self) -> u32 {
        self.nothing_answers
    }

    /// The next records, or None when there are none until then. What was handed out before counts as handled.
    ///
    /// # Errors
    /// What no retry mends.
    pub async fn next(&mut self, until: Instant) -> Result<Option<Fetched>, ClientError> {
        self.note_handled();
        loop {
            if self.owes_report || runtime::now() >= self.heartbeat_at {
                self.heartbeat().await?;
                continue;
            }
            let fetched = self.fetcher.next_by(until.min(self.heartbeat_at)).await?;
            if let Some(fetched) = fetched {
                self.owes_report |= self.forget_gone_topics(false);
                if !self.positions.contains_key(&fetched.partition) {
                    // It is of another topic of that name, from an offset that says nothing of that one.
                    continue;
                }
                let end = fetched.batches.last().map(|(header, _)| header.next_offset());
                let end = end.unwrap_or(fetched.from);
                self.positions.insert(fetched.partition.clone(), end);
                self.handed_out = Some((fetched.partition.clone(), end));
                return Ok(Some(fetched));
            }
            if runtime::now() >= until {
                return Ok(None);
            }
        }
    }

    fn note_handled(&mut self) {
        if let Some((partition, end)) = self.handed_out.take() {
            self.handled(partition, end);
        }
    }

    /// Only so much of what was handed out was handled: the rest is not committed.
    pub fn handled_to(&mut self, partition: TopicPartition, end: Offset) {
        self.handed_out = None;
        self.handled(partition, end);
    }

    fn handled(&mut self, partition: TopicPartition, end: Offset) {
        if self.positions.contains_key(&partition) {
            self.uncommitted.insert(partition, end);
        }
    }

    /// Commits how far everything was handled.
    ///
    /// # Errors
    /// What no retry mends. A member that has been put out of the group meanwhile forgets instead: another has
    /// the partitions, and reads what was not committed again.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.note_handled();
        for _ in 0..COMMIT_TRIES {
            if self.uncommitted.is_empty() {
                return Ok(());
            }
            let offsets = self.uncommitted.clone();
            match self.client.commit(&self.group, &offsets, &self.membership()).await {
                Ok(()) => {
                    // More may not have been handled meanwhile: this takes the member itself.
                    self.uncommitted.clear();
                    return Ok(());
                }
                Err(error) => match error.code() {
                    Some(ErrorCode::StaleMemberEpoch) => self.heartbeat().await?,
                    Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => {
                        self.lose_all();
                        return Ok(());
                    }
                    Some(ErrorCode::UnknownTopicOrPartition) => self.look_for_gone_topics().await?,
                    _ => return Err(error),
                },
            }
        }
        let what = format!("committing offsets of group {}", self.group);
        Err(ClientError::refused(what, ErrorCode::StaleMemberEpoch))
    }

    /// Commits and leaves the group, so that others get the partitions at once.
    ///
    /// # Errors
    /// As `commit`.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        let committed = self.commit().await;
        if self.epoch != EPOCH_JOIN {
            let left = self.call(EPOCH_LEAVE, None).await;
            match left.map(|response| response.error_code) {
                // It was put out before.
                Ok(ErrorCode::None | ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => {
                }
                Ok(code) => return Err(ClientError::refused("leaving the group", code)),
                Err(error) => return Err(error),
            }
        }
        committed
    }

    fn membership(&self) -> Membership {
        Membership { member: Some((self.member.clone(), self.epoch)) }
    }

    fn lose_all(&mut self) {
        for partition in std::mem::take(&mut self.positions).into_keys() {
            self.fetcher.unassign(&partition);
        }
        self.ids.clear();
        self.uncommitted.clear();
        self.handed_out = None;
        self.epoch = EPOCH_JOIN;
        self.heartbeat_at = Instant::default();
        self.owes_report = false;
        self.asks_again = false;
    }

    /// Forgets what was assigned of topics that are gone, as far as is known, though others of their names may be
    /// there: how far the old ones were read says nothing of those. One of which nothing is known may be there
    /// still, unless the caller knows better. Whether there was any.
    fn forget_gone_topics(&mut self, unknown_too: bool) -> bool {
        let is_gone = |(name, id): &(&Str, &TopicId)| match self.client.topic_id(name) {
            TopicId::ZERO => unknown_too,
            known => known != **id,
        };
        let gone: Vec<Str> =
            self.ids.iter().filter(is_gone).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.ids.remove(name);
            let partitions = self.positions.keys().filter(|at| at.topic == *name);
            for partition in partitions.cloned().collect::<Vec<_>>() {
                self.forget(&partition);
            }
        }
        !gone.is_empty()
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.positions.remove(partition);
        self.uncommitted.remove(partition);
        self.fetcher.unassign(partition);
        if self.handed_out.as_ref().is_some_and(|(at, _)| at == partition) {
            self.handed_out = None;
        }
    }

    /// A topic that was assigned is not there, as a broker says: it is gone, or that broker has not heard of it.
    async fn look_for_gone_topics(&mut self) -> Result<(), ClientError> {
        self.client.refresh(&self.topics).await?;
        if self.forget_gone_topics(true) {
            self.owes_report = true;
        } else {
            runtime::sleep(self.client.options().retry_pause).await;
        }
        Ok(())
    }

    // ------------------------------------------------------------ heartbeats

    async fn call(
        &self,
        epoch: i32,
        owned: Option<Vec<HeartbeatTopicPartitions>>,
    ) -> Result<ConsumerGroupHeartbeatResponse, ClientError> {
        let is_full = epoch == EPOCH_JOIN || owned.is_some();
        let timeout_ms = i32::try_from(REBALANCE_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.member.clone(),
            member_epoch: epoch,
            rebalance_timeout_ms: if is_full { timeout_ms } else { -1 },
            subscribed_topic_names: is_full.then(|| self.topics.clone()),
            topic_partitions: owned,
            ..Default::default()
        };
        let retriable = |response: &ConsumerGroupHeartbeatResponse| match response.error_code {
            code if code.is_retriable() || code == ErrorCode::NotCoordinator => code,
            _ => ErrorCode::None,
        };
        let called = self.client.call_coordinator(&self.group, &request, i16::MAX, retriable);
        Ok(called.await?.1)
    }

    async fn heartbeat(&mut self) -> Result<(), ClientError> {
        let is_joining = self.epoch == EPOCH_JOIN;
        let reports = is_joining || self.owes_report || self.asks_again;
        let owned = reports.then(|| self.owned());
        self.owes_report = false;
        let response = self.call(self.epoch, owned).await?;
        match response.error_code {
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch if !is_joining => {
                self.lose_all();
                return Ok(());
            }
            code => {
                let message = response.error_message.as_deref();
                ClientError::check(code, message, || format!("group {}", self.group))?;
            }
        }
        self.epoch = response.member_epoch;
        let interval_ms = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.interval = Duration::from_millis(interval_ms.max(100));
        self.heartbeat_at = runtime::now() + self.interval;
        if let Some(assignment) = response.assignment {
            self.take_assignment(&assignment.topic_partitions).await?;
        }
        if !self.positions.is_empty() {
            self.nothing_answers = 0;
            if !self.asks_again {
                return Ok(());
            }
        } else {
            self.nothing_answers += 1;
        }
        let soon = runtime::now() + self.interval.min(INTERVAL_MAX_WITH_NOTHING);
        self.heartbeat_at = self.heartbeat_at.min(soon);
        Ok(())
    }

    fn owned(&self) -> Vec<HeartbeatTopicPartitions> {
        let mut owned: Vec<HeartbeatTopicPartitions> = Vec::new();
        for TopicPartition { topic, partition } in self.positions.keys() {
            let topic_id = self.ids.get(topic).copied().unwrap_or(TopicId::ZERO);
            match owned.last_mut().filter(|last| last.topic_id == topic_id) {
                Some(last) => last.partitions.push(*partition),
                None => {
                    owned.push(HeartbeatTopicPartitions { topic_id, partitions: vec![*partition] })
                }
            }
        }
        owned
    }

    async fn take_assignment(
        &mut self,
        topics: &[HeartbeatTopicPartitions],
    ) -> Result<(), ClientError> {
        let target = self.resolve(topics).await?;
        let are_gone = self.forget_gone_topics(false);
        let revoked: Vec<TopicPartition> =
            self.positions.keys().filter(|at| !target.contains_key(at)).cloned().collect();
        if !revoked.is_empty() {
            // Boxed, because a commit in a stale epoch asks for another assignment.
            Box::pin(self.commit()).await?;
            revoked.iter().for_each(|partition| self.forget(partition));
        }
        let added: BTreeMap<TopicPartition, TopicId> =
            target.into_iter().filter(|(at, _)| !self.positions.contains_key(at)).collect();
        // A report is answered with the assignment again: only what is new is reported.
        self.owes_report = are_gone || !revoked.is_empty() || !added.is_empty();
        if !added.is_empty() {
            self.begin(added).await?;
        }
        Ok(())
    }

    /// The partitions by their topics' names, with the topics' ids. Brokers are asked of topics that this client
    /// does not know, and whether those that it has to give up are there.
    async fn resolve(
        &mut self,
        topics: &[HeartbeatTopicPartitions],
    ) -> Result<BTreeMap<TopicPartition, TopicId>, ClientError> {
        let is_known = |id: TopicId| self.topics.iter().any(|it| self.client.topic_id(it) == id);
        let are_known = topics.iter().all(|one| is_known(one.topic_id));
        let keeps = self.ids.values().all(|id| topics.iter().any(|one| one.topic_id == *id));
        if !are_known || !keeps {
            self.client.refresh(&self.topics).await?;
        }
        let mut target = BTreeMap::new();
        self.asks_again = false;
        for HeartbeatTopicPartitions { topic_id, partitions } in topics {
            let known = self.topics.iter().find(|topic| self.client.topic_id(topic) == *topic_id);
            let Some(topic) = known else {
                self.asks_again = true;
                continue;
            };
            target.extend(partitions.iter().map(|partition| {
                let at = TopicPartition { topic: topic.clone(), partition: *partition };
                (at, *topic_id)
            }));
        }
        Ok(target)
    }

    /// Begins to read partitions where the group left them.
    async fn begin(&mut self, added: BTreeMap<TopicPartition, TopicId>) -> Result<(), ClientError> {
        let ids: BTreeMap<Str, TopicId> =
            added.iter().map(|(at, id)| (at.topic.clone(), *id)).collect();
        let added: Vec<TopicPartition> = added.into_keys().collect();
        let by = self.membership();
        let committed = match self.client.committed(&self.group, Some(&added), &by).await {
            Err(error) if error.code() == Some(ErrorCode::StaleMemberEpoch) => {
                // The group went on meanwhile: the next heartbeat brings what holds now.
                self.heartbeat_at = Instant::default();
                return Ok(());
            }
            other => other?,
        };
        let fresh: Vec<TopicPartition> =
            added.iter().filter(|at| !committed.contains_key(at)).cloned().collect();
        let starts = self.client.list_offsets(&fresh, self.start).await?;
        let ends = match fresh.iter().all(|at| starts.get(at).copied().flatten().is_some()) {
            true => Default::default(),
            // No record is that late: what follows the end is.
            false => self.client.list_offsets(&fresh, OffsetQuery::Latest).await?,
        };
        for partition in added {
            let start = match committed.get(&partition) {
                Some(committed) => committed.offset,
                None => {
                    let found = |offsets: &std::collections::HashMap<_, Option<Offset>>| {
                        offsets.get(&partition).copied().flatten()
                    };
                    found(&starts).or_else(|| found(&ends)).unwrap_or_default()
                }
            };
            self.fetcher.assign(partition.clone(), start);
            self.positions.insert(partition, start);
        }
        self.ids.extend(ids);
        Ok(())
    }
}

fn random_uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&runtime::random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&runtime::random_u64().to_be_bytes());
    bytes
}
