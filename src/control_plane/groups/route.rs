//! Which core a group lives on, and the way there. On each shard: the coordinators of this core's partitions
//! of `__consumer_offsets`, started and ended as the image says.

use super::api;
use super::coordinator::Coordinator;
use super::turn::{GroupConfig, Setting};
use crate::config::Config;
use crate::control_plane::configs::Overrides;
use crate::control_plane::create_topics;
use crate::control_plane::dynamic_configs::{self, ASSIGNMENT_INTERVAL};
use crate::control_plane::{ConnectionInfo, ControlPlane};
use crate::log::planted::{self, Bug};
use crate::shard::Shard;
use crate::shard::control::{ControlError, ControlReply, ControlRequest, NewTopic};
use crate::shard::coordinators::{
    Coordinators as CoordinatorsOfShard, GroupAnswer, GroupFrame, GroupsRead,
};
use crate::shard::image::{BrokerOverrides, Topic};
use crate::shard::quotas::Meter;
use crate::shard::request::{PartitionKey, ShardReply, ShardRequest};
use crate::types::{Offset, ShardId, TopicId};
use crate::wire::{Decoder, ErrorCode, Request, RequestHeader, decode_response, encode_request};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Kafka's name of the topic.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What stands before header and body of a frame.
const LENGTH_BYTES: usize = 4;

/// The topic, as this core first saw it: partitions that are added later do not change where groups live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetsTopic {
    id: TopicId,
    partitions: i32,
}

/// The coordinators of one core.
pub struct CoordinatorsHere {
    /// As it was configured.
    configured: GroupConfig,
    /// With what was set while brokers run.
    config: RefCell<Rc<GroupConfig>>,
    topic: Cell<Option<OffsetsTopic>>,
    /// By partition.
    coordinators: RefCell<BTreeMap<i32, Rc<Coordinator>>>,
    /// Bytes that all their groups hold.
    memory: Rc<Cell<usize>>,
    /// The broker is going down.
    has_ended: Cell<bool>,
}

impl CoordinatorsHere {
    pub fn new(config: &Config) -> CoordinatorsHere {
        let configured = group_config(config);
        CoordinatorsHere {
            config: RefCell::new(Rc::new(configured.clone())),
            configured,
            topic: Cell::new(None),
            coordinators: RefCell::default(),
            memory: Rc::default(),
            has_ended: Cell::new(false),
        }
    }

    /// All of this core, by partition.
    pub fn all(&self) -> Vec<Rc<Coordinator>> {
        self.coordinators.borrow().values().cloned().collect()
    }

    /// Bytes that the groups of this core hold.
    pub fn memory_bytes(&self) -> usize {
        self.memory.get()
    }

    /// Ends all, at a stop: what has gathered is stored, then whoever waits for an answer gets none.
    pub async fn end(&self, limit: Duration) {
        self.has_ended.set(true);
        let coordinators = self.coordinators.take();
        let ends = coordinators.values().map(|coordinator| coordinator.end());
        let all = futures_util::future::join_all(ends);
        crate::runtime::timeout(limit, all).await;
    }

    fn take_up(&self, shard: &Rc<Shard>) {
        let image = shard.image();
        if image.version == 0 || self.has_ended.get() {
            return;
        }
        self.take_up_settings(&image.broker_overrides);
        let topic = image.topic(OFFSETS_TOPIC);
        if topic.map(|topic| topic.id) != self.topic.get().map(|topic| topic.id) {
            self.replace(shard, topic);
        }
        for coordinator in self.coordinators.borrow().values() {
            coordinator.forget_topics(|name| image.topic(name).is_none());
        }
    }

    fn take_up_settings(&self, overrides: &BrokerOverrides) {
        let config = with_overrides(&self.configured, overrides);
        if config == **self.config.borrow() {
            return;
        }
        let config = Rc::new(config);
        for coordinator in self.coordinators.borrow().values() {
            coordinator.set_config(config.clone());
        }
        *self.config.borrow_mut() = config;
    }

    /// The topic is new, or gone.
    fn replace(&self, shard: &Rc<Shard>, topic: Option<&Arc<Topic>>) {
        for coordinator in self.coordinators.take().into_values() {
            drop(crate::runtime::spawn(async move { coordinator.end().await }));
        }
        let count = |topic: &Topic| i32::try_from(topic.partitions.len()).expect("bounded");
        self.topic.set(topic.map(|topic| OffsetsTopic { id: topic.id, partitions: count(topic) }));
        let Some(topic) = topic else { return };
        for (index, place) in (0..).zip(&topic.partitions) {
            if place.shard == shard.id || planted::is(Bug::ServeForeignGroups) {
                let key = PartitionKey { topic_id: topic.id, index };
                let config = self.config.borrow().clone();
                let coordinator = Coordinator::start(shard, config, key, &self.memory);
                self.coordinators.borrow_mut().insert(index, coordinator);
            }
        }
    }
}

fn group_config(config: &Config) -> GroupConfig {
    let groups = &config.groups;
    GroupConfig {
        session_timeout_min: groups.session_timeout_ms_min,
        session_timeout_max: groups.session_timeout_ms_max,
        initial_rebalance_delay: groups.initial_rebalance_delay_ms,
        members_max: groups.members_max,
        consumer_session_timeout: Setting {
            default: groups.consumer_session_timeout_ms,
            least: groups.consumer_session_timeout_ms_min,
            most: groups.consumer_session_timeout_ms_max,
        },
        consumer_heartbeat_interval: Setting {
            default: groups.consumer_heartbeat_interval_ms,
            least: groups.consumer_heartbeat_interval_ms_min,
            most: groups.consumer_heartbeat_interval_ms_max,
        },
        consumer_assignment_interval: Setting {
            default: groups.consumer_assignment_interval_ms,
            least: groups.consumer_assignment_interval_ms_min,
            most: groups.consumer_assignment_interval_ms_max,
        },
        consumer_members_max: groups.consumer_members_max,
        consumer_assignors: groups.consumer_assignors.clone(),
        consumer_migration_policy: groups.consumer_migration_policy,
        consumer_regex_refresh_interval: groups.consumer_regex_refresh_interval_ms,
        offset_metadata_bytes_max: groups.offset_metadata_bytes_max,
        offsets_retention: groups.offsets_retention_ms,
        offsets_retention_check: groups.offsets_retention_check_ms,
    }
}

/// What holds for groups that set nothing, within what they may set.
fn with_overrides(configured: &GroupConfig, overrides: &BrokerOverrides) -> GroupConfig {
    let mut config = configured.clone();
    if let Some(ms) = dynamic_configs::number_of(overrides, ASSIGNMENT_INTERVAL) {
        let interval = &mut config.consumer_assignment_interval;
        let set = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        // The bounds may be others than when it was set.
        interval.default = set.max(interval.least).min(interval.most);
    }
    config
}

impl CoordinatorsOfShard for ControlPlane {
    fn answer(self: Rc<Self>, asked: GroupFrame) -> GroupAnswer {
        Box::pin(async move {
            let connection = ConnectionInfo { peer: asked.peer, local: asked.local };
            let mut body = Decoder::new(asked.frame);
            let header = RequestHeader::decode(&mut body).ok()?;
            let header = &header;
            let caller = Caller { header, connection, is_forwarded: true, meter: None };
            let answer = api::answer(&self, caller, &mut body).await.ok()?;
            Some(answer.out.freeze().slice(LENGTH_BYTES..))
        })
    }

    fn installed(self: Rc<Self>) {
        self.groups.take_up(&self.shard);
    }

    fn read(self: Rc<Self>, offsets_max: usize) -> GroupsRead {
        Box::pin(async move { super::reading::read(&self, offsets_max).await })
    }
}

/// Who asks for something about groups.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub header: &'a RequestHeader,
    pub connection: ConnectionInfo,
    /// Another core asks for it: it goes no further.
    pub is_forwarded: bool,
    /// None of a client without quotas, and where another core answers the client.
    pub meter: Option<&'a Meter>,
}

impl Caller<'_> {
    pub fn version(&self) -> i16 {
        self.header.api_version
    }
}

/// Which partition of the topic a group belongs to: as Java hashes a text, in units of UTF-16.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0, add);
    // Kafka's Utils.abs: the least number has no counterpart, and counts as zero.
    hash.checked_abs().unwrap_or(0) % partitions
}

impl ControlPlane {
    /// The core that a group lives on.
    ///
    /// # Errors
    /// NOT_COORDINATOR, while there is no topic.
    pub fn home_of(&self, group: &str) -> Result<ShardId, ErrorCode> {
        let topic = self.groups.topic.get().ok_or(ErrorCode::NotCoordinator)?;
        let image = self.shard.image();
        if planted::is(Bug::ServeForeignGroups) {
            return Ok(self.shard.id);
        }
        let place = image
            .topic_by_id(topic.id)
            .and_then(|found| found.partition(partition_of(group, topic.partitions)));
        place.map(|place| place.shard).ok_or(ErrorCode::NotCoordinator)
    }

    /// The coordinator of a group of this core.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub fn coordinator_of(&self, group: &str) -> Result<Rc<Coordinator>, ErrorCode> {
        let topic = self.groups.topic.get().ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group, topic.partitions);
        let coordinators = self.groups.coordinators.borrow();
        coordinators.get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// Has another core answer a request about its groups; `None` when it cannot.
    pub async fn ask_groups_of<R: Request>(
        &self,
        owner: ShardId,
        caller: Caller<'_>,
        request: &R,
    ) -> Option<R::Response> {
        let version = caller.version();
        let client_id = caller.header.client_id.clone();
        let frame = encode_request(request, version, caller.header.correlation_id, client_id);
        let ConnectionInfo { peer, local } = caller.connection;
        let frame = frame.out.freeze().slice(LENGTH_BYTES..);
        let asked = ShardRequest::Group(GroupFrame { frame, peer, local });
        match self.shard.ask(owner, asked).await {
            ShardReply::Group(answer) => {
                decode_response::<R>(answer?, version).ok().map(|two| two.1)
            }
            _ => None,
        }
    }

    /// Makes the topic that keeps groups, unless it is there.
    pub async fn make_offsets_topic(&self) {
        if self.groups.topic.get().is_some() {
            return;
        }
        let topic = offsets_topic(&self.config);
        let made = match self.shard.control(ControlRequest::CreateTopics(vec![topic])).await {
            ControlReply::CreateTopics(mut made) => made.pop(),
            _ => None,
        };
        if let Some(Err(error)) = made
            && !matches!(error, ControlError::TopicExists(_) | ControlError::Stopping)
        {
            tracing::warn!(%error, "cannot make {OFFSETS_TOPIC}");
        }
    }
}

/// The topic as the broker makes it.
pub fn offsets_topic(config: &Config) -> NewTopic {
    NewTopic {
        name: OFFSETS_TOPIC.to_string(),
        partitions: config.groups.offsets_topic_partitions,
        places: None,
        overrides: offsets_topic_overrides(),
    }
}

/// Its settings, as Kafka's.
pub fn offsets_topic_overrides() -> Overrides {
    let settings = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Has a partition of this core begin at a later offset, on disk first, as DeleteRecords does.
///
/// # Errors
/// Why it does not.
pub async fn raise_log_start(
    shard: &Rc<Shard>,
    key: PartitionKey,
    offset: Offset,
) -> Result<(), ErrorCode> {
    let PartitionKey { topic_id, index } = key;
    let record = ControlRequest::SetLogStart { topic_id, index, offset };
    match shard.control(record).await {
        ControlReply::SetLogStart(recorded) => {
            recorded.map_err(|error| create_topics::code_of(&error))?;
        }
        _ => return Err(ErrorCode::NotLeaderOrFollower),
    }
    let log = shard.partition(key).map_err(|_| ErrorCode::NotLeaderOrFollower)?;
    log.raise_log_start(offset);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_brokers_holds_within_what_groups_may_set() {
        let configured = group_config(&Config::default());
        let interval = |text: &str| {
            let mut overrides = BrokerOverrides::default();
            overrides.all.insert(ASSIGNMENT_INTERVAL.to_string(), text.to_string());
            with_overrides(&configured, &overrides).consumer_assignment_interval.default
        };
        assert_eq!(interval("0"), Duration::ZERO);
        assert_eq!(interval("15000"), Duration::from_secs(15));
        assert_eq!(interval("15001"), Duration::from_secs(15));
        assert_eq!(interval("no number, kept by another version"), Duration::from_secs(1));
        assert_eq!(with_overrides(&configured, &BrokerOverrides::default()), configured);
    }

    #[test]
    fn groups_lie_where_kafka_puts_them() {
        // Utils.abs("...".hashCode()) % 50, by Java.
        for (group, partition) in [
            ("", 0),
            ("g", 3),
            ("test-group", 12),
            ("console-consumer-1234", 9),
            ("größe", 7),
            ("𝄞x", 34),
        ] {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
        // Its hash is the least number there is.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
