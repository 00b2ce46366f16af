//! What the clients of a history share, in whatever life.

use super::model::Model;
use super::records::Sent;
use crate::runtime::{self, sim};
use crate::simulator::dice::Dice;
use crate::types::{Timestamp, TopicId};
use crate::wire::ErrorCode;
use crate::wire::batch::testing;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Sizes of values: within a block, about one, several, and more than one commit.
const VALUE_BYTES: [usize; 8] = [1, 30, 300, 300, 1200, 4030, 9000, 18_000];

/// What a client may expect of this life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub shards: u16,
    /// Each shard is a broker of its own.
    pub per_core: bool,
    /// The disk fails: errors are no wonder.
    pub faults: bool,
    /// Connections break.
    pub cuts: bool,
    /// The broker goes down: it may refuse, and end connections.
    pub stopping: bool,
}

/// What happened in one history or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub lives: u64,
    pub stops: u64,
    pub failed_starts: u64,
    pub requests: u64,
    pub lost_answers: u64,
    pub batches: u64,
    pub reads: u64,
    pub topics: u64,
    pub deletions: u64,
    /// Partitions that moved to another core.
    pub moves: u64,
    pub storage_errors: u64,
    pub out_of_order: u64,
    pub disk_operations: u64,
    pub joins: u64,
    pub commits: u64,
    /// Partitions whose committed offset was read.
    pub offsets_read: u64,
    pub groups_deleted: u64,
    /// Groups that were stable when all were calm.
    pub groups_settled: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.stops += other.stops;
        self.failed_starts += other.failed_starts;
        self.requests += other.requests;
        self.lost_answers += other.lost_answers;
        self.batches += other.batches;
        self.reads += other.reads;
        self.topics += other.topics;
        self.deletions += other.deletions;
        self.moves += other.moves;
        self.storage_errors += other.storage_errors;
        self.out_of_order += other.out_of_order;
        self.disk_operations += other.disk_operations;
        self.joins += other.joins;
        self.commits += other.commits;
        self.offsets_read += other.offsets_read;
        self.groups_deleted += other.groups_deleted;
        self.groups_settled += other.groups_settled;
    }
}

pub struct World {
    pub model: RefCell<Model>,
    pub now: Cell<Now>,
    pub tally: RefCell<Tally>,
    batches_made: Cell<u64>,
}

impl World {
    pub fn new(model: Model) -> Rc<World> {
        let (now, tally) = (Cell::default(), RefCell::default());
        Rc::new(World { model: RefCell::new(model), now, tally, batches_made: Cell::new(1) })
    }

    /// A batch that nobody made before, known to the model.
    pub fn compose(
        &self,
        dice: &Dice,
        (id_of_topic, topic, index): (Option<TopicId>, &str, i32),
        producer: testing::Producer,
    ) -> Rc<Sent> {
        let id = self.batches_made.get();
        self.batches_made.set(id + 1);
        let records = dice.within(1..4);
        let mut value = id.to_be_bytes().to_vec();
        value.resize(8 + dice.pick(&VALUE_BYTES), 1 + (id % 250) as u8);
        let values: Vec<&[u8]> =
            (0..records).map(|record| if record == 0 { &value[..] } else { &value[..8] }).collect();
        let time = runtime::wall_clock().0 - dice.pick(&[0, 0, 0, 5, 2000]);
        let bytes = testing::batch(&values, Timestamp(time), producer);
        let sent =
            Rc::new(Sent { id, bytes, records, id_of_topic, topic: topic.to_string(), index });
        self.model.borrow_mut().register(&sent);
        self.tally.borrow_mut().batches += 1;
        sent
    }

    /// Errors that have nothing to do with what was asked. `must`: the partition had to be there for as long
    /// as the request took.
    pub fn expect_error(&self, name: &str, code: ErrorCode, must: bool, may_fail: bool) {
        let now = self.now.get();
        let is_allowed = match code {
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => !must,
            ErrorCode::NotLeaderOrFollower => !must || now.stopping,
            ErrorCode::KafkaStorageError => {
                self.tally.borrow_mut().storage_errors += 1;
                !must || now.faults || may_fail
            }
            _ => false,
        };
        assert!(is_allowed, "{name}: {code} out of nowhere ({now:?})");
    }
}

/// Between two things that a client does.
pub async fn pause(dice: &Dice) {
    if dice.percent(40) {
        runtime::sleep(Duration::from_micros(dice.below(3000))).await;
    }
}

/// A line in the trace, when one seed is replayed.
pub fn tell(line: impl FnOnce() -> String) {
    thread_local! {
        static REPLAYS: bool = std::env::var_os("CORELOG_SEED").is_some();
    }
    if REPLAYS.with(|replays| *replays) {
        sim::note(&line());
    }
}
