//! REQUEST -> OWNING CORE: what one core has, and the way to what another has.
//!
//! - `placement` (pure): which core owns a partition
//! - `endpoints` (pure): which broker and address stand for which core, as clients see them
//! - `image`: the cluster-wide facts as an immutable snapshot; `id_map` (pure): what is looked up by ids for each batch
//! - `opening`: partitions that a start has not opened yet; `offline`: those that cannot be read
//! - `leaving`: partitions on their way to another core
//! - `planted`: bugs of moves, for tests of the tests
//! - `scrape`: what is read of a shard for the admin port; `load`: what it has to do, and for which partitions
//! - `quota_table` (pure), `quotas`: what clients may use, and how long those that use more are to be still
//! - `mailbox`: the only hop between cores; `request`, `control`, `coordinators`: what it carries
//! - `Shard`: this core's partitions; a request for one of them goes straight to its log, for another's
//!   through the mailbox, and the caller cannot tell the difference but by time

pub mod control;
pub mod coordinators;
pub mod endpoints;
pub mod id_map;
pub mod image;
mod leaving;
mod lifecycle;
pub mod load;
pub mod mailbox;
mod offline;
mod opening;
mod partitions;
pub mod placement;
pub mod planted;
pub mod quota_table;
pub mod quotas;
pub mod request;
pub mod scrape;
mod serve;

use crate::log::{Partition, ShardLog};
use crate::probe::{FrontReading, Probe};
use crate::types::ShardId;
use control::Controller;
use coordinators::Coordinators;
use endpoints::Endpoints;
use id_map::IdMap;
use image::HeldImage;
use leaving::Leaving;
use lifecycle::Lifecycle;
use load::{Hosted, Windows};
use mailbox::Mailbox;
use opening::Opening;
use quotas::Ledger;
use request::PartitionKey;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

pub use serve::{AppendTicket, Reading};

/// One core's share of the broker. Never leaves its thread.
pub struct Shard {
    pub id: ShardId,
    pub shards: u16,
    pub log: Rc<ShardLog>,
    pub probe: Rc<Probe>,
    pub mailbox: Mailbox,
    image: RefCell<HeldImage>,
    /// None before there is somebody who answers clients.
    endpoints: RefCell<Option<Arc<Endpoints>>>,
    partitions: RefCell<IdMap<PartitionKey, Hosted>>,
    /// Those that move to other shards and are not closed yet. Nobody reaches them by their keys any more.
    closing: RefCell<Vec<Rc<Partition>>>,
    leaving: Leaving,
    opening: Opening,
    windows: Windows,
    quotas: Ledger,
    /// On shard 0 only.
    controller: RefCell<Option<Rc<dyn Controller>>>,
    coordinators: RefCell<Option<Weak<dyn Coordinators>>>,
    pub lifecycle: Lifecycle,
    stopping: Cell<bool>,
    file_reads_in_flight_max: Cell<usize>,
    /// Reads what this core's connections hold; none before there is a server.
    front: RefCell<Option<ReadFront>>,
}

type ReadFront = Box<dyn Fn() -> FrontReading>;

impl Shard {
    pub fn new(id: ShardId, shards: u16, log: Rc<ShardLog>) -> Rc<Shard> {
        let probe = log.probe.clone();
        Rc::new(Shard {
            id,
            shards,
            log,
            probe,
            mailbox: Mailbox::new(usize::from(shards)),
            image: RefCell::default(),
            endpoints: RefCell::default(),
            partitions: RefCell::default(),
            closing: RefCell::default(),
            leaving: Leaving::default(),
            opening: Opening::default(),
            windows: Windows::default(),
            quotas: Ledger::default(),
            controller: RefCell::default(),
            coordinators: RefCell::default(),
            lifecycle: Lifecycle::default(),
            stopping: Cell::new(false),
            file_reads_in_flight_max: Cell::new(serve::FILE_READS_IN_FLIGHT),
            front: RefCell::default(),
        })
    }

    /// The cluster-wide facts as this shard knows them now.
    pub fn image(&self) -> HeldImage {
        self.image.borrow().clone()
    }

    /// Says who is who for clients.
    pub fn set_endpoints(&self, endpoints: Arc<Endpoints>) {
        *self.endpoints.borrow_mut() = Some(endpoints);
    }

    /// Who is who for clients. All shards share it: to be asked for by what is rare.
    pub fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.endpoints.borrow().clone()
    }

    pub fn set_controller(&self, controller: Rc<dyn Controller>) {
        *self.controller.borrow_mut() = Some(controller);
    }

    /// Says how to read what this core's connections hold.
    pub fn set_front(&self, read: ReadFront) {
        *self.front.borrow_mut() = Some(read);
    }

    /// Sets how many reads of files one fetch has in flight; one at least.
    pub fn set_file_reads_in_flight_max(&self, reads: usize) {
        self.file_reads_in_flight_max.set(reads.max(1));
    }

    pub fn set_coordinators(&self, coordinators: Weak<dyn Coordinators>) {
        *self.coordinators.borrow_mut() = Some(coordinators);
    }

    fn coordinators(&self) -> Option<Rc<dyn Coordinators>> {
        self.coordinators.borrow().as_ref().and_then(Weak::upgrade)
    }

    /// The broker is going down: what is in flight is still answered.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub fn all_shards(&self) -> impl Iterator<Item = ShardId> {
        (0..self.shards).map(ShardId)
    }
}
