//! This core's partitions: opened, changed and removed as the image says. Cold, but for the lookup.

use super::Shard;
use super::control::ControlRequest;
use super::image::{HeldImage, MetadataImage, PartitionPlace, Topic};
use super::load::Hosted;
use super::planted::{self, MoveBug};
use super::request::{GivenUp, PartitionError, PartitionKey};
use crate::log::{FaultKind, LogFault, Partition, PartitionId};
use crate::runtime;
use futures_util::stream::{self, StreamExt};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Partitions that stop at once.
const STOPS: usize = 32;
/// Partitions opened at once when they are new.
const OPENERS: usize = 16;
/// How long the controller may take to stop: it may wait for a shard that has left already.
const CONTROLLER_STOPS_WITHIN: Duration = Duration::from_secs(5);

impl Shard {
    /// A partition that this core owns.
    pub fn partition(&self, key: PartitionKey) -> Result<Rc<Partition>, PartitionError> {
        let partitions = self.partitions.borrow();
        let hosted = partitions.get(&key).ok_or(PartitionError::NotHere)?;
        Ok(hosted.partition.clone())
    }

    /// All partitions that this core owns and has opened, in an order that runs repeat; then those that it is giving
    /// up and has not closed yet.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        let partitions = self.partitions.borrow();
        let mut sorted: Vec<_> = partitions.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| **key);
        let open = sorted.into_iter().map(|(_, hosted)| hosted.partition.clone());
        let mut all: Vec<Rc<Partition>> = open.collect();
        all.extend(self.closing.borrow().iter().cloned());
        all
    }

    /// Partitions that this core owns, open or not.
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len() + self.opening.len()
    }

    /// Takes up new cluster-wide facts. Those of a start are opened after they are shown. Later, partitions that are
    /// gone are removed first, because a new one may have the same name; those that are new here are opened before
    /// the image is shown, so that whoever sees them can use them.
    pub async fn install(self: &Rc<Self>, image: Arc<MetadataImage>) {
        if image.version <= self.image.borrow().version && self.image.borrow().version > 0 {
            return;
        }
        if self.image.borrow().version == 0 {
            self.open_later(&image);
            self.show(image);
            drop(runtime::spawn_background(self.clone().tell_offline_when_changed()));
            return;
        }
        let unopened = self.unopened_but_gone(|key| self.is_here(&image, *key));
        let opened = unopened.into_iter().map(|key| self.opened(key));
        stream::iter(opened).buffer_unordered(OPENERS).for_each(|()| async {}).await;
        let mut gone: Vec<PartitionKey> = {
            let partitions = self.partitions.borrow();
            let stays = |key: &&PartitionKey| self.is_here(&image, **key);
            partitions.keys().filter(|key| !stays(key)).copied().collect()
        };
        gone.sort_unstable();
        self.remove_partitions(&image, &gone).await;
        let before = self.image();
        for topic in image.topics() {
            let unchanged = before.topic_by_id(topic.id).is_some_and(|old| Arc::ptr_eq(old, topic));
            if !unchanged {
                self.install_topic(&image, topic).await;
                runtime::yield_if_needed().await;
            }
        }
        self.show(image);
    }

    fn show(&self, image: Arc<MetadataImage>) {
        self.quotas.install(&image.quotas);
        *self.image.borrow_mut() = HeldImage::new(image);
        self.leaving.end_all();
        if let Some(coordinators) = self.coordinators() {
            coordinators.installed();
        }
    }

    fn is_here(&self, image: &MetadataImage, key: PartitionKey) -> bool {
        let topic = image.topic_by_id(key.topic_id);
        topic.and_then(|topic| topic.partition(key.index)).is_some_and(|p| p.shard == self.id)
    }

    async fn install_topic(&self, image: &MetadataImage, topic: &Arc<Topic>) {
        let places = (0..).zip(&topic.partitions).filter(|(_, place)| place.shard == self.id);
        let installs = places.map(|(index, place)| {
            let withheld = image.withheld.get(&PartitionKey { topic_id: topic.id, index });
            self.install_partition(topic, index, place, withheld)
        });
        stream::iter(installs).buffer_unordered(OPENERS).for_each(|()| async {}).await;
    }

    async fn install_partition(
        &self,
        topic: &Arc<Topic>,
        index: i32,
        place: &PartitionPlace,
        withheld: Option<&LogFault>,
    ) {
        let key = PartitionKey { topic_id: topic.id, index };
        match self.partition(key) {
            Err(_) if self.change_unopened(key, topic) => {}
            Ok(partition) => partition.set_config(topic.log_config.clone()),
            Err(_) => {
                let partition = self.open_partition(topic, index, place, withheld).await;
                self.partitions.borrow_mut().insert(key, Hosted::new(partition));
            }
        }
    }

    /// Opens a partition, unless it is withheld: then it is offline, as when it cannot be opened.
    pub(super) async fn open_partition(
        &self,
        topic: &Topic,
        index: i32,
        place: &PartitionPlace,
        withheld: Option<&LogFault>,
    ) -> Rc<Partition> {
        if let Some(fault) = withheld {
            return self.offline_partition(topic, index, place, fault.clone());
        }
        let id = PartitionId { topic_id: topic.id, topic: topic.name.clone(), index };
        let config = topic.log_config.clone();
        let PartitionPlace { leader_epoch, log_start, .. } = *place;
        let opened = Partition::open(&self.log, id, config, leader_epoch, log_start).await;
        opened.unwrap_or_else(|fault| self.offline_partition(topic, index, place, fault))
    }

    /// A partition that cannot be opened, or must not be.
    fn offline_partition(
        &self,
        topic: &Topic,
        index: i32,
        place: &PartitionPlace,
        fault: LogFault,
    ) -> Rc<Partition> {
        let id = PartitionId { topic_id: topic.id, topic: topic.name.clone(), index };
        let config = topic.log_config.clone();
        let PartitionPlace { leader_epoch, log_start, .. } = *place;
        Partition::offline(&self.log, id, config, leader_epoch, log_start, fault)
    }

    /// Those of a deleted topic go together: the controller waits, and nothing is made meanwhile.
    async fn remove_partitions(&self, image: &MetadataImage, gone: &[PartitionKey]) {
        let mut deleted = Vec::new();
        for key in gone {
            let is_moved = image.topic_by_id(key.topic_id).is_some();
            if is_moved {
                self.close_moved(*key).await;
                continue;
            }
            let removed = self.partitions.borrow_mut().remove(key);
            let Some(Hosted { partition, .. }) = removed else { continue };
            partition.retire();
            deleted.push(partition);
        }
        for partition in &deleted {
            partition.quiesce().await;
        }
        self.log.remove_partitions(&deleted).await;
    }

    /// Has a partition closed that moves to another shard.
    pub(super) async fn give_up(self: &Rc<Self>, key: PartitionKey) -> GivenUp {
        self.opened(key).await;
        if self.is_stopping() {
            return GivenUp::Kept;
        }
        self.begin_leaving(key);
        self.close_moved(key).await.map_or(GivenUp::Complete, GivenUp::Failed)
    }

    /// From the first moment on, whoever asks for the partition is refused (`leaving`). What is pending is
    /// completed and answered, and the files are left as by a stop, so that whoever opens them scans nothing. Gives
    /// the fault that kept them from it, but for a full disk: what that left undone, whoever opens them does.
    async fn close_moved(&self, key: PartitionKey) -> Option<LogFault> {
        let Hosted { partition, .. } = self.partitions.borrow_mut().remove(&key)?;
        self.closing.borrow_mut().push(partition.clone());
        if planted::is(MoveBug::DropPending) {
            partition.retire();
        }
        let stopped = partition.stop().await;
        if let Err(fault) = &stopped {
            tracing::error!(partition = %partition.id, %fault, "cannot leave a moved partition complete");
            // It stands for the snapshot that was not written: this core keeps it until the next start, which asks all.
            partition.return_point();
        }
        // Who waits for records, or works on its files, learns of it.
        partition.retire();
        // One that a full disk stopped may have begun to be opened anew: it must be through with the files.
        partition.quiesce().await;
        self.probe.partitions_given_up.add(1);
        self.closing.borrow_mut().retain(|other| !Rc::ptr_eq(other, &partition));
        stopped.err().filter(|fault| fault.kind != FaultKind::StorageFull)
    }

    /// Stops all partitions of this core, and the controller if it lives here: pending writes end, files are left
    /// complete. Whether all logs are: none failed, and none is as the last life left it.
    pub async fn stop_partitions(self: &Rc<Self>) -> bool {
        let all_opened = self.image.borrow().version > 0 && self.opening.len() == 0;
        self.stopping.set(true);
        self.end_opening().await;
        let stops = self.partitions().into_iter().map(|partition| async move {
            let stopped = partition.stop().await;
            if let Err(fault) = &stopped {
                tracing::error!(partition = %partition.id, %fault, "stopped without a checkpoint");
            }
            stopped.is_ok()
        });
        let stops = stream::iter(stops).buffer_unordered(STOPS);
        let all_stopped = stops.fold(true, |all, this| async move { all && this }).await;
        if let Err(error) = self.log.save_recovery_points().await {
            tracing::warn!(%error, "cannot write recovery points");
        }
        self.stop_controller().await;
        all_opened && all_stopped
    }

    async fn stop_controller(self: &Rc<Self>) {
        if self.controller.borrow().is_none() {
            return;
        }
        let stopped = self.control(ControlRequest::Stop);
        if runtime::timeout(CONTROLLER_STOPS_WITHIN, stopped).await.is_none() {
            tracing::warn!("the controller did not stop in time");
        }
    }
}
