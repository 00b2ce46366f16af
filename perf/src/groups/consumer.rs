//! A member of the consumer protocol (KIP-848), as Kafka's consumer: it does at once what the broker says, and says so.

use super::classic::LEAVE_LIMIT;
use super::member::{Member, REBALANCE_TIMEOUT, REQUEST_LIMIT, RETRY_PAUSE, milliseconds};
use corelog::client::ClientError;
use corelog::runtime::{self, Instant};
use corelog::types::TopicId;
use corelog::wire::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatTopicPartitions,
};
use corelog::wire::{ErrorCode, Request, Str};
use std::time::Duration;

const EPOCH_JOIN: i32 = 0;
const EPOCH_LEAVE: i32 = -1;
/// A broker that asks for more would not be asked less than this apart.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

impl Member {
    /// Joins; false when that has to be tried again.
    pub async fn join_consumer(&mut self) -> Result<bool, ClientError> {
        if self.id.as_bytes().is_empty() {
            self.id = new_id();
        }
        let request = ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: milliseconds(REBALANCE_TIMEOUT),
            subscribed_topic_names: Some(vec![self.topic().0.clone()]),
            topic_partitions: Some(Vec::new()),
            ..self.says(EPOCH_JOIN)
        };
        let response = self.tell(&request, REQUEST_LIMIT).await?;
        if !response.error_code.is_none() {
            runtime::sleep(RETRY_PAUSE).await;
            return Ok(false);
        }
        self.epoch = response.member_epoch;
        let every = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.beat_from_now(Duration::from_millis(every).max(INTERVAL_MIN));
        self.take(Vec::new());
        self.follow(response).await
    }

    fn says(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.group_name.clone(),
            member_id: self.id.clone(),
            member_epoch: epoch,
            rebalance_timeout_ms: -1,
            ..Default::default()
        }
    }

    async fn tell(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        limit: Duration,
    ) -> Result<ConsumerGroupHeartbeatResponse, ClientError> {
        let response = self.call(request, i16::MAX, limit).await?;
        self.driver.note(ConsumerGroupHeartbeatRequest::KEY, response.error_code);
        Ok(response)
    }

    /// Does what an answer says, and what the answers to that say; false when it is out of the group.
    async fn follow(
        &mut self,
        mut response: ConsumerGroupHeartbeatResponse,
    ) -> Result<bool, ClientError> {
        loop {
            match response.error_code {
                ErrorCode::None => {}
                ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                    self.fall_out();
                    return Ok(false);
                }
                // The next heartbeat tries again.
                _ => return Ok(true),
            }
            let told = response.assignment.as_ref();
            let told = told.map(|told| self.partitions_of(&told.topic_partitions));
            let Some(target) = told.filter(|target| *target != self.owned) else {
                self.epoch = response.member_epoch;
                self.take(self.owned.clone());
                return Ok(true);
            };
            let revokes = self.owned.iter().any(|at| !target.contains(at));
            if revokes && self.driver.plan.commit.is_some() {
                self.commit_offsets().await?;
            }
            self.epoch = response.member_epoch;
            let is_new = |at: &&i32| !self.owned.contains(at);
            let added: Vec<i32> = target.iter().filter(is_new).copied().collect();
            self.take(target);
            self.fetch_offsets(&added).await?;
            let owned = HeartbeatTopicPartitions {
                topic_id: self.topic().1,
                partitions: self.owned.clone(),
            };
            let request = ConsumerGroupHeartbeatRequest {
                topic_partitions: Some(vec![owned].into_iter().filter(has_some).collect()),
                ..self.says(self.epoch)
            };
            response = self.tell(&request, REQUEST_LIMIT).await?;
        }
    }

    fn partitions_of(&self, told: &[HeartbeatTopicPartitions]) -> Vec<i32> {
        let own = told.iter().filter(|topic| topic.topic_id == self.topic().1);
        let mut partitions: Vec<i32> =
            own.flat_map(|topic| topic.partitions.iter().copied()).collect();
        partitions.sort_unstable();
        partitions
    }

    pub async fn beat_consumer(&mut self, due: Instant) -> Result<(), ClientError> {
        let response = self.tell(&self.says(self.epoch), REQUEST_LIMIT).await?;
        self.beaten(due);
        self.follow(response).await.map(drop)
    }

    pub async fn leave_consumer(&mut self) -> Result<(), ClientError> {
        self.tell(&self.says(EPOCH_LEAVE), LEAVE_LIMIT).await.map(drop)
    }
}

fn has_some(topic: &HeartbeatTopicPartitions) -> bool {
    !topic.partitions.is_empty()
}

/// Any id will do that nobody else has.
fn new_id() -> Str {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&runtime::random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&runtime::random_u64().to_be_bytes());
    TopicId(bytes).to_base64().as_str().into()
}
