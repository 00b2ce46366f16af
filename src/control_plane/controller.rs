//! The one writer of cluster-wide facts. Lives on shard 0; any shard reaches it by `Shard::control`.
//!
//! One task does the changes, one after the other: check against the state, write to the metadata log,
//! sync, make an image, install it on every shard, answer. What gathers while it does so is done together
//! next time. It never waits for a client's connection, and nothing it answers with success can be lost.
//! When nothing has come for a while, and when the broker stops, it seals the log.
//!
//! - `queue`: what is asked, and where answers are awaited
//! - `moves`: partitions that change cores while they are served
//! - `offline`: partitions that cannot be read, which the image says beside the facts

mod moves;
mod offline;
mod queue;

use super::adopt;
use super::configs;
use super::create_partitions::wrong_assignments;
use super::dynamic_configs::{self, BrokerSettings};
use super::group_configs;
use super::metadata_log::{MetadataLog, MetadataLogError, random_id};
use super::record::Record;
use super::state::State;
use crate::config::Config;
use crate::limits::{
    CONFIGURED_GROUPS_MAX, PARTITIONS_MAX, QUOTA_ENTITIES_MAX, TOPIC_PARTITIONS_MAX,
};
use crate::log::LogFault;
use crate::log::planted::{self, Bug};
use crate::runtime::{self, Instant};
use crate::shard::Shard;
use crate::shard::control::{
    ConfigsChange, ControlError, ControlReply, ControlRequest, Controller as ControllerOfShard,
    NewTopic, PRODUCER_ID_BLOCK,
};
use crate::shard::image::{BrokerScope, MetadataImage, PartitionPlace};
use crate::shard::placement;
use crate::shard::quota_table::{QuotaEntity, QuotaKind};
use crate::shard::request::{PartitionKey, ShardRequest};
use crate::types::{Offset, ShardId, TopicId};
use futures_util::future::join_all;
use queue::{Pending, Queue, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long after a change the log is sealed, if no other comes: it costs a sync, which must not hold one up.
const SEAL_AFTER: Duration = Duration::from_millis(100);

/// Why the broker cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    #[error("{0}")]
    Directory(String),
}

/// The controller as its shard sees it: the way to the task that does the work.
pub struct Controller {
    queue: Rc<Queue>,
}

impl ControllerOfShard for Controller {
    /// The request is done even when the answer is not awaited.
    fn handle(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply>>> {
        let slot = Rc::new(Slot::default());
        self.queue.push(Pending { request, slot: slot.clone() });
        Box::pin(async move { slot.wait().await })
    }
}

impl Controller {
    /// Reads the metadata log of the data directory, or begins one; takes up what Apache Kafka left
    /// there; places partitions anew when the number of shards has changed; installs the facts on all
    /// shards, which must be connected already; and serves from then on.
    ///
    /// # Errors
    /// Why the broker must not start, in a sentence for its operator.
    pub async fn start(
        shard: &Rc<Shard>,
        config: &Arc<Config>,
    ) -> Result<Rc<Controller>, StartError> {
        assert_eq!(shard.id, ShardId::CONTROLLER, "the controller lives on shard 0");
        let directory = shard.log.options.data_directory.clone();
        let (log, state) = MetadataLog::open(&directory, config).await?;
        (shard.log.free_left_behind().await)
            .map_err(|error| MetadataLogError::io("list", &directory, &error))?;
        let mut worker = Worker {
            shard: shard.clone(),
            config: config.clone(),
            directory,
            log: Some(log),
            broken: None,
            scarce: None,
            unsealed_since: None,
            withheld: Arc::default(),
            offline: BTreeMap::new(),
            unread: BTreeSet::new(),
            state,
            version: 0,
        };
        worker.prepare().await?;
        worker.install().await;
        let controller = Rc::new(Controller { queue: Rc::default() });
        shard.set_controller(controller.clone());
        drop(runtime::spawn(worker.serve(controller.queue.clone())));
        Ok(controller)
    }
}

/// What the task owns. Nobody else sees the state before it is durable.
struct Worker {
    shard: Rc<Shard>,
    config: Arc<Config>,
    directory: PathBuf,
    /// None while it must be opened anew.
    log: Option<MetadataLog>,
    /// Why nothing can be changed until the broker is restarted.
    broken: Option<MetadataLogError>,
    /// Why nothing is made now: what space is left is for deletions.
    scarce: Option<MetadataLogError>,
    /// When the log was written last, if it was not sealed since.
    unsealed_since: Option<Instant>,
    /// Partitions that this life does not open, and why.
    withheld: Arc<BTreeMap<PartitionKey, LogFault>>,
    /// Partitions that cannot be read now, by shard.
    offline: BTreeMap<ShardId, Vec<PartitionKey>>,
    /// Names of topics that may be in the data directory and could not be read.
    unread: BTreeSet<String>,
    state: State,
    version: u64,
}

/// The records of a group of changes, with what they need beside being written.
#[derive(Default)]
struct Change {
    records: Vec<Record>,
    /// Shards must see it; giving out producer ids, say, concerns nobody else.
    is_visible: bool,
}

impl Worker {
    /// What the start does before anybody sees the facts.
    async fn prepare(&mut self) -> Result<(), StartError> {
        let found = adopt::find(&self.directory, &self.state).await?;
        let mut records = found.adopted(self.shard.shards, self.state.next_producer_id);
        let apply = |state: &mut State, config: &Config, records: &[Record]| {
            for record in records {
                state.apply(record, config).expect("made to follow from the state");
            }
        };
        apply(&mut self.state, &self.config, &records);
        let moved = self.place_anew();
        apply(&mut self.state, &self.config, &moved);
        if !planted::is(Bug::ForgetPlaces) {
            records.extend(moved);
        }
        let log = self.log.as_mut().expect("just opened");
        if !records.is_empty() {
            log.append(&records).await?;
            log.seal().await?;
        }
        found.remove_leftovers(&self.shard.log).await?;
        if !found.is_partial {
            self.state.deleted.clear();
        }
        if log.is_wordy() {
            log.rewrite(&self.state).await?;
        }
        self.withheld = Arc::new(found.withheld);
        self.unread = found.unread;
        Ok(())
    }

    /// The records that place all partitions on the shards there are now, if their number has changed.
    /// A partition that moves has another broker as its leader, so its epoch rises.
    fn place_anew(&self) -> Vec<Record> {
        let shards = self.shard.shards;
        if self.state.shards == shards {
            return Vec::new();
        }
        if self.state.shards > 0 {
            tracing::info!(was = self.state.shards, is = shards, "placing partitions anew");
        }
        let mut records = vec![Record::Shards(shards)];
        let mut shares = Shares::new(self.state.partition_count(), shards);
        for topic in self.state.topics() {
            let current: Vec<ShardId> = topic.partitions.iter().map(|place| place.shard).collect();
            let anew = placement::place_anew(topic.id, &current, shards);
            let anew: Vec<ShardId> = anew.into_iter().map(|shard| shares.take(shard)).collect();
            if anew == current {
                continue;
            }
            let places = topic.partitions.iter().zip(anew).map(|(place, shard)| {
                let moved = i32::from(place.shard != shard);
                let leader_epoch = place.leader_epoch.saturating_add(moved);
                PartitionPlace { shard, leader_epoch, ..*place }
            });
            records.push(Record::Placed { id: topic.id, partitions: places.collect() });
        }
        records
    }

    async fn serve(mut self, queue: Rc<Queue>) {
        loop {
            let Some(group) = self.next_group(&queue).await else {
                self.seal().await;
                continue;
            };
            if self.shard.is_stopping() {
                self.seal().await;
                group.into_iter().for_each(|pending| pending.slot.complete(ControlReply::Stopping));
                continue;
            }
            let group = self.hear_offline(group).await;
            if group.is_empty() {
                continue;
            }
            if let Err(error) = self.ready().await {
                let reply = |pending: Pending| {
                    pending.slot.complete(refusal(&pending.request, &error));
                };
                group.into_iter().for_each(reply);
                continue;
            }
            match moves::wanted(&group) {
                None => self.change(group).await,
                Some((key, to)) => {
                    let reply = ControlReply::MovePartition(self.move_partition(key, to).await);
                    group.into_iter().for_each(|pending| pending.slot.complete(reply.clone()));
                }
            }
        }
    }

    /// What has gathered; none when it is time to seal the log.
    async fn next_group(&self, queue: &Queue) -> Option<Vec<Pending>> {
        let Some(since) = self.unsealed_since else { return Some(queue.next_group().await) };
        let left = SEAL_AFTER.saturating_sub(runtime::now().since(since));
        runtime::timeout(left, queue.next_group()).await
    }

    /// From here on, damage to what was written is told from a torn tail. Nothing to do when nothing was written.
    async fn seal(&mut self) {
        if self.unsealed_since.take().is_none() {
            return;
        }
        let Some(mut log) = self.log.take() else { return };
        match log.seal().await {
            Ok(()) => self.log = Some(log),
            Err(error) => {
                tracing::error!(%error, "cannot seal the metadata log");
                self.broken = Some(error).filter(|error| !error.is_storage_full());
            }
        }
    }

    /// Opens the log again after a full disk.
    async fn ready(&mut self) -> Result<(), MetadataLogError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.log.is_none() {
            let (log, state) = MetadataLog::open(&self.directory, &self.config).await?;
            (self.log, self.state) = (Some(log), state);
            // What was refused may have been written all the same.
            self.install().await;
        }
        Ok(())
    }

    async fn change(&mut self, group: Vec<Pending>) {
        self.scarce = match &mut self.log {
            Some(log) => log.lacks_reserve().await,
            None => None,
        };
        let mut change = Change::default();
        let mut replies = Vec::with_capacity(group.len());
        for pending in group {
            let reply = self.decide(&pending.request, &mut change);
            replies.push((pending, reply));
        }
        if let Err(error) = self.write(&change.records).await {
            tracing::error!(%error, "cannot change the cluster's metadata");
            for (pending, _) in replies {
                pending.slot.complete(refusal(&pending.request, &error));
            }
            return;
        }
        if change.is_visible {
            self.install().await;
        }
        for (pending, reply) in replies {
            pending.slot.complete(reply);
        }
    }

    async fn write(&mut self, records: &[Record]) -> Result<(), MetadataLogError> {
        if records.is_empty() {
            return Ok(());
        }
        let Some(mut log) = self.log.take() else {
            let path = self.directory.clone();
            return Err(MetadataLogError::io("open", &path, &std::io::ErrorKind::NotFound.into()));
        };
        let mut written = log.append(records).await;
        if written.is_ok() && log.is_wordy() {
            written = log.rewrite(&self.state).await;
        }
        match &written {
            Ok(()) => {
                self.log = Some(log);
                self.unsealed_since = Some(runtime::now());
            }
            Err(error) if error.is_storage_full() => {}
            Err(error) => self.broken = Some(error.clone()),
        }
        written
    }

    /// Shows the state to all shards; when it returns, all have taken it up.
    async fn install(&mut self) {
        // Others run while thousands of topics are told of other defaults.
        while self.state.settle_some(&self.config) {
            runtime::yield_if_needed().await;
        }
        let image = self.state.image(self.version + 1);
        self.show(image).await;
    }

    /// Shows facts to all shards, with what is offline; when it returns, all have taken them up. What has moved is
    /// handed over first; when a shard that stops keeps it, nothing is shown: this life is about to end.
    async fn show(&mut self, mut image: Arc<MetadataImage>) {
        self.version += 1;
        let shown = Arc::make_mut(&mut image);
        shown.version = self.version;
        shown.withheld = self.withheld.clone();
        shown.offline = Arc::new(self.offline.values().flatten().copied().collect());
        if !self.hand_over(&mut image).await {
            return;
        }
        let asked = self
            .shard
            .all_shards()
            .map(|shard| self.shard.ask(shard, ShardRequest::Install { image: image.clone() }));
        join_all(asked).await;
    }

    // ------------------------------------------------------------ decisions

    /// Decides one request, takes it up in the state and adds its records.
    fn decide(&mut self, request: &ControlRequest, change: &mut Change) -> ControlReply {
        match request {
            ControlRequest::CreateTopics(topics) => {
                let made = topics.iter().map(|topic| self.create_topic(topic, change));
                ControlReply::CreateTopics(made.collect())
            }
            ControlRequest::DeleteTopics(ids) => {
                let gone = ids.iter().map(|id| {
                    self.known(*id)?;
                    self.take_up(Record::Deleted(*id), true, change);
                    Ok(())
                });
                ControlReply::DeleteTopics(gone.collect())
            }
            ControlRequest::CreatePartitions { topic_id, partitions, places } => {
                let places = places.as_deref();
                let added = self.create_partitions(*topic_id, *partitions, places, change);
                ControlReply::CreatePartitions(added)
            }
            ControlRequest::AlterConfigs { topic_id, change: wanted } => {
                ControlReply::AlterConfigs(self.alter_configs(*topic_id, wanted, change))
            }
            ControlRequest::AlterGroupConfigs { group, change: wanted } => {
                ControlReply::AlterGroupConfigs(self.alter_group_configs(group, wanted, change))
            }
            ControlRequest::AlterBrokerConfigs { scope, change: wanted } => {
                ControlReply::AlterBrokerConfigs(self.alter_broker_configs(*scope, wanted, change))
            }
            ControlRequest::AlterQuotas { entity, changes } => {
                ControlReply::AlterQuotas(self.alter_quotas(entity, changes, change))
            }
            ControlRequest::AllocateProducerIds => {
                let first = self.state.next_producer_id;
                let next = first.checked_add(PRODUCER_ID_BLOCK);
                let given = next.map(|next| {
                    self.take_up(Record::Ids(next), false, change);
                    first
                });
                let exhausted = || ControlError::Storage("producer ids are exhausted".to_string());
                ControlReply::AllocateProducerIds(given.ok_or_else(exhausted))
            }
            ControlRequest::SetLogStart { topic_id, index, offset } => {
                ControlReply::SetLogStart(self.set_log_start(*topic_id, *index, *offset, change))
            }
            ControlRequest::MovePartition { .. } | ControlRequest::TellOffline { .. } => {
                unreachable!("neither is decided with others")
            }
            ControlRequest::Stop => ControlReply::Stopping,
        }
    }

    fn take_up(&mut self, record: Record, is_visible: bool, change: &mut Change) {
        self.state.apply(&record, &self.config).expect("checked against the state");
        let is_forgotten = match record {
            Record::Ids(_) => planted::is(Bug::ForgetProducerIds),
            Record::LogStart { .. } => planted::is(Bug::ForgetLogStart),
            _ => false,
        };
        if !is_forgotten {
            change.records.push(record);
        }
        change.is_visible |= is_visible;
    }

    fn known(&self, id: TopicId) -> Result<(), ControlError> {
        self.state.topic_by_id(id).map(|_| ()).ok_or(ControlError::UnknownTopic)
    }

    fn create_topic(
        &mut self,
        topic: &NewTopic,
        change: &mut Change,
    ) -> Result<TopicId, ControlError> {
        if self.state.topic(&topic.name).is_some() {
            return Err(ControlError::TopicExists(topic.name.clone()));
        }
        if let Some(other) = self.state.lookalike_of(&topic.name) {
            return Err(ControlError::NameCollides {
                name: topic.name.clone(),
                other: other.to_string(),
            });
        }
        if self.unread.contains(&topic.name) {
            return Err(ControlError::Storage(format!(
                "A folder of a topic '{}' could not be read when the broker started.",
                topic.name
            )));
        }
        self.check_room(0, topic.partitions)?;
        let id = loop {
            let id = random_id();
            if self.state.topic_by_id(id).is_none() {
                break id;
            }
        };
        let places_fit = |places: &Vec<ShardId>| places.len() == topic.partitions as usize;
        assert!(topic.places.as_ref().is_none_or(places_fit), "one place for each partition");
        let partitions = match &topic.places {
            Some(places) => places.iter().map(|shard| new_place(*shard)).collect(),
            None => self.new_places(id, 0, topic.partitions),
        };
        let (name, overrides) = (topic.name.clone(), topic.overrides.clone());
        self.take_up(Record::Created { id, name, partitions, overrides }, true, change);
        Ok(id)
    }

    fn create_partitions(
        &mut self,
        id: TopicId,
        partitions: u32,
        places: Option<&[ShardId]>,
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let topic = self.state.topic_by_id(id).ok_or(ControlError::UnknownTopic)?;
        let current = u32::try_from(topic.partitions.len()).expect("TOPIC_PARTITIONS_MAX");
        if partitions == current {
            return Err(ControlError::InvalidPartitions(format!(
                "Topic already has {current} partition(s)."
            )));
        }
        if partitions < current {
            return Err(ControlError::InvalidPartitions(format!(
                "The topic {} currently has {current} partition(s); {partitions} would not be an \
                 increase.",
                topic.name
            )));
        }
        self.check_room(current, partitions)?;
        let more = partitions - current;
        let partitions = match places {
            // They were chosen for the number of partitions that the asking shard saw.
            Some(places) if places.len() != more as usize => {
                let text = wrong_assignments(more.into(), places.len());
                return Err(ControlError::InvalidAssignment(text));
            }
            Some(places) => places.iter().map(|shard| new_place(*shard)).collect(),
            None => self.new_places(id, current, partitions),
        };
        self.take_up(Record::Added { id, partitions }, true, change);
        Ok(())
    }

    /// What holds for topics and groups that set nothing.
    fn broker(&self) -> BrokerSettings<'_> {
        BrokerSettings { config: &self.config, overrides: self.state.broker_overrides() }
    }

    fn alter_configs(
        &mut self,
        id: TopicId,
        wanted: &ConfigsChange,
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let topic = self.state.topic_by_id(id).ok_or(ControlError::UnknownTopic)?;
        let overrides = configs::changed(&topic.overrides, wanted, self.broker())
            .map_err(ControlError::InvalidConfig)?;
        if overrides != topic.overrides {
            self.take_up(Record::Set { id, overrides }, true, change);
        }
        Ok(())
    }

    fn alter_group_configs(
        &mut self,
        group: &str,
        wanted: &ConfigsChange,
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let known = self.state.group_overrides();
        let current = known.get(group).cloned().unwrap_or_default();
        let overrides = group_configs::changed(&current, wanted, self.broker())
            .map_err(ControlError::InvalidConfig)?;
        if current.is_empty() && !overrides.is_empty() && known.len() >= CONFIGURED_GROUPS_MAX {
            return Err(ControlError::TooMany(format!(
                "Settings of {CONFIGURED_GROUPS_MAX} groups are kept at most."
            )));
        }
        if overrides != current {
            self.take_up(Record::Group { group: group.to_string(), overrides }, true, change);
        }
        Ok(())
    }

    fn alter_broker_configs(
        &mut self,
        scope: BrokerScope,
        wanted: &ConfigsChange,
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let current = self.state.broker_overrides();
        let overrides = dynamic_configs::changed(current, scope, wanted, &self.config)?;
        if overrides != *current.of(scope) {
            let node_id = (scope == BrokerScope::Host).then_some(self.state.node_id);
            self.take_up(Record::Brokers { node_id, overrides }, true, change);
        }
        Ok(())
    }

    fn alter_quotas(
        &mut self,
        entity: &QuotaEntity,
        changes: &[(QuotaKind, Option<u64>)],
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let current = self.state.quotas().values(entity);
        let mut values = current;
        for (kind, value) in changes {
            values.set(*kind, value.map(f64::from_bits));
        }
        let count = self.state.quotas().len();
        if current.is_empty() && !values.is_empty() && count >= QUOTA_ENTITIES_MAX {
            return Err(ControlError::TooMany(format!(
                "Quotas of {QUOTA_ENTITIES_MAX} entities are kept at most."
            )));
        }
        if values != current {
            self.take_up(Record::Quota { entity: entity.clone(), values }, true, change);
        }
        Ok(())
    }

    /// At the limit, nothing is made.
    fn check_room(&self, current: u32, partitions: u32) -> Result<(), ControlError> {
        if let Some(error) = &self.scarce {
            return Err(ControlError::Storage(error.to_string()));
        }
        let (wanted, more) = (partitions as usize, (partitions - current) as usize);
        if wanted > TOPIC_PARTITIONS_MAX {
            return Err(ControlError::InvalidPartitions(format!(
                "A topic may have {TOPIC_PARTITIONS_MAX} partitions at most."
            )));
        }
        if self.state.partition_count() + more > PARTITIONS_MAX {
            return Err(ControlError::InvalidPartitions(format!(
                "This host holds {PARTITIONS_MAX} partitions at most."
            )));
        }
        Ok(())
    }

    fn new_places(&self, id: TopicId, from: u32, to: u32) -> Vec<PartitionPlace> {
        let index = |index: u32| i32::try_from(index).expect("TOPIC_PARTITIONS_MAX");
        let place = |at| new_place(placement::place(id, index(at), self.shard.shards));
        (from..to).map(place).collect()
    }

    fn set_log_start(
        &mut self,
        id: TopicId,
        index: i32,
        offset: Offset,
        change: &mut Change,
    ) -> Result<(), ControlError> {
        let topic = self.state.topic_by_id(id).ok_or(ControlError::UnknownTopic)?;
        let place = topic.partition(index).ok_or(ControlError::UnknownTopic)?;
        if place.log_start < offset {
            // The owner is told by who asked; other shards need not know before the next start.
            self.take_up(Record::LogStart { id, index, offset }, false, change);
        }
        Ok(())
    }
}

/// What each shard may take when all partitions are placed anew. Topics are spread one by one, so those of
/// one partition would all stay where they are: nothing but the sum is even then.
struct Shares {
    /// Partitions that a shard may still take.
    left: Vec<usize>,
    next: usize,
}

impl Shares {
    fn new(partitions: usize, shards: u16) -> Shares {
        let shards = usize::from(shards);
        Shares { left: vec![partitions.div_ceil(shards); shards], next: 0 }
    }

    /// The wished shard, or another in turn when that has its share.
    fn take(&mut self, wished: ShardId) -> ShardId {
        let mut shard = wished.index();
        while self.left[shard] == 0 {
            shard = self.next;
            self.next = (self.next + 1) % self.left.len();
        }
        self.left[shard] -= 1;
        ShardId(u16::try_from(shard).expect("below SHARDS_MAX"))
    }
}

fn new_place(shard: ShardId) -> PartitionPlace {
    PartitionPlace { shard, leader_epoch: 0, log_start: Offset::ZERO }
}

/// The answer to a request that could not be recorded.
fn refusal(request: &ControlRequest, error: &MetadataLogError) -> ControlReply {
    let error = ControlError::Storage(error.to_string());
    match request {
        ControlRequest::CreateTopics(topics) => {
            ControlReply::CreateTopics(topics.iter().map(|_| Err(error.clone())).collect())
        }
        ControlRequest::DeleteTopics(ids) => {
            ControlReply::DeleteTopics(ids.iter().map(|_| Err(error.clone())).collect())
        }
        ControlRequest::CreatePartitions { .. } => ControlReply::CreatePartitions(Err(error)),
        ControlRequest::AlterConfigs { .. } => ControlReply::AlterConfigs(Err(error)),
        ControlRequest::AlterGroupConfigs { .. } => ControlReply::AlterGroupConfigs(Err(error)),
        ControlRequest::AlterBrokerConfigs { .. } => ControlReply::AlterBrokerConfigs(Err(error)),
        ControlRequest::AlterQuotas { .. } => ControlReply::AlterQuotas(Err(error)),
        ControlRequest::AllocateProducerIds => ControlReply::AllocateProducerIds(Err(error)),
        ControlRequest::SetLogStart { .. } => ControlReply::SetLogStart(Err(error)),
        ControlRequest::MovePartition { .. } => ControlReply::MovePartition(Err(error)),
        ControlRequest::TellOffline { .. } => unreachable!("it was heard before"),
        ControlRequest::Stop => ControlReply::Stopping,
    }
}

#[cfg(test)]
mod tests;
