//! Who writes: producers that outlive the broker, idempotent ones and plain ones, several requests in flight.

use super::link::Link;
use super::records::{Floor, Sent};
use super::world::{World, pause, tell};
use crate::runtime;
use crate::simulator::dice::Dice;
use crate::types::TopicId;
use crate::wire::api::{init_producer_id, produce};
use crate::wire::{ErrorCode, Records};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Batches that a producer has in flight at most, as the clients of Kafka have: so many are known again.
const IN_FLIGHT_MAX: usize = 5;
/// Those that a producer has in flight which does not wait, as Kafka's clients have without idempotence.
const FLOOD: usize = 40;
const TOPIC_ID_VERSION_MIN: i16 = 13;
/// A full disk is tried again after a second.
const TRY_AGAIN: Duration = Duration::from_millis(400);

/// Work on one partition.
struct Stint {
    id: TopicId,
    index: i32,
    name: String,
    /// In order, not acknowledged.
    unresolved: VecDeque<Rc<Sent>>,
    /// The last that were.
    resolved: VecDeque<Rc<Sent>>,
    /// Something failed, so that a sequence may have a gap.
    is_blemished: bool,
    deletes_sent: usize,
}

#[derive(Default)]
struct State {
    identity: Option<(i64, i16)>,
    /// By topic, as this producer names it, and partition.
    sequences: BTreeMap<(String, i32), i32>,
    stint: Option<Stint>,
}

/// A client that goes on where it was, in whatever life of the broker.
pub struct Producer {
    is_idempotent: bool,
    /// It sends as fast as it can.
    floods: bool,
    version: i16,
    dice: Dice,
    state: RefCell<State>,
}

/// What was known when a batch was sent.
struct Ticket {
    sent: Rc<Sent>,
    floor: Floor,
    must: bool,
}

/// What becomes of the batches behind one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    TryLater,
    Leave,
}

impl Producer {
    pub fn new(dice: Dice, may_flood: bool) -> Producer {
        let version = dice.pick(&[3, 9, 11, 12, 13, 13, 13]);
        let is_idempotent = dice.percent(65);
        let floods = may_flood && !is_idempotent;
        Producer { is_idempotent, floods, version, dice, state: RefCell::default() }
    }

    /// A life's work.
    pub async fn work(self: Rc<Self>, world: Rc<World>, batches: u64) {
        let mut link = Link::new(&world, &self.dice);
        let flood = if self.floods { FLOOD } else { 0 };
        let (mut left, mut failures) = (batches + flood as u64, 0);
        while failures < 4 && (left > 0 || self.has_unresolved()) {
            pause(&self.dice).await;
            if self.is_idempotent && !self.identify(&mut link).await {
                failures += 1;
                continue;
            }
            if !self.take_a_partition(&world) {
                return;
            }
            let wanted = flood.max(1 + self.dice.below(IN_FLIGHT_MAX as u64) as usize);
            let more = wanted.saturating_sub(self.unresolved()).min(left as usize);
            (0..more).for_each(|_| self.compose(&world));
            left -= more as u64;
            match self.round(&mut link).await {
                Next::GoOn => {}
                Next::TryLater => {
                    failures += 1;
                    runtime::sleep(TRY_AGAIN).await;
                }
                Next::Leave => failures += 1,
            }
            if link.is_broken() {
                // A retry goes to another core, perhaps.
                link = Link::new(&world, &self.dice);
            }
            if self.dice.percent(20) && self.repeat(&mut link).await == Next::Leave {
                failures += 1;
            }
        }
    }

    fn has_unresolved(&self) -> bool {
        self.unresolved() > 0
    }

    fn unresolved(&self) -> usize {
        self.state.borrow().stint.as_ref().map_or(0, |stint| stint.unresolved.len())
    }

    /// Gets an id, unless there is one. False when there is no answer.
    async fn identify(&self, link: &mut Link) -> bool {
        if self.state.borrow().identity.is_some() {
            return true;
        }
        let request =
            init_producer_id::InitProducerIdRequest { producer_epoch: -1, ..Default::default() };
        let Some(answer) = link.ask(4, &request).await else { return false };
        let now = link.world.now.get();
        if answer.error_code != ErrorCode::None {
            let code = answer.error_code;
            assert!(now.faults || now.stopping, "no producer id: {code}");
            return false;
        }
        link.world.model.borrow_mut().producer_id(answer.producer_id);
        let mut state = self.state.borrow_mut();
        state.identity = Some((answer.producer_id, answer.producer_epoch));
        state.sequences.clear();
        true
    }

    /// Chooses a partition, unless there is work left on one. False when there is none.
    fn take_a_partition(&self, world: &World) -> bool {
        let mut model = world.model.borrow_mut();
        let mut state = self.state.borrow_mut();
        if let Some(stint) = &state.stint {
            let goes_on = !stint.unresolved.is_empty() || self.dice.percent(90);
            let is_there = !model.topics[&stint.id].gone || self.dice.percent(50);
            if goes_on && is_there && !model.is_unsettled(stint.id, stint.index) {
                return true;
            }
        }
        state.stint = None;
        let mut partitions = model.partitions();
        partitions.retain(|(id, index)| !model.is_unsettled(*id, *index));
        if partitions.is_empty() {
            return false;
        }
        let (id, index) = self.dice.pick(&partitions);
        let name = model.name_of(id);
        let deletes_sent = model.names[&name].deletes_sent;
        // By name nobody knows whether the topic is the one that it was.
        let is_blemished = self.version < TOPIC_ID_VERSION_MIN && deletes_sent > 0;
        let (unresolved, resolved) = (VecDeque::new(), VecDeque::new());
        state.stint =
            Some(Stint { id, index, name, unresolved, resolved, is_blemished, deletes_sent });
        true
    }

    fn compose(&self, world: &World) {
        let mut state = self.state.borrow_mut();
        let State { identity, sequences, stint } = &mut *state;
        let stint = stint.as_mut().expect("a partition was taken");
        let by_id = self.version >= TOPIC_ID_VERSION_MIN;
        let id = by_id.then_some(stint.id);
        let topic = id.map_or_else(|| stint.name.clone(), |id| id.to_base64());
        let sequence = sequences.entry((topic, stint.index)).or_default();
        let producer = identity.map(|(id, epoch)| (id, epoch, *sequence));
        let sent = world.compose(&self.dice, (id, &stint.name, stint.index), producer);
        *sequence += sent.records as i32;
        stint.unresolved.push_back(sent);
    }

    fn request(&self, sent: &Sent) -> produce::ProduceRequest {
        let state = self.state.borrow();
        let stint = state.stint.as_ref().expect("a partition was taken");
        let records = Some(Records::Inline(Bytes::copy_from_slice(&sent.bytes)));
        let topic = produce::TopicProduceData {
            name: stint.name.as_str().into(),
            topic_id: stint.id,
            partition_data: vec![produce::PartitionProduceData { index: stint.index, records }],
        };
        let acks = if self.is_idempotent || self.dice.percent(80) { -1 } else { 1 };
        let topic_data = vec![topic];
        produce::ProduceRequest { acks, timeout_ms: 1000, topic_data, ..Default::default() }
    }

    /// The topic that an answer is about; none when it may be any of several.
    fn reached(&self, world: &World) -> Option<TopicId> {
        let state = self.state.borrow();
        let stint = state.stint.as_ref()?;
        let only = world.model.borrow().only(&stint.name);
        let is_sure = self.version >= TOPIC_ID_VERSION_MIN || only == Some(stint.id);
        is_sure.then_some(stint.id)
    }

    fn ticket(&self, world: &World, sent: &Rc<Sent>) -> Ticket {
        let state = self.state.borrow();
        let stint = state.stint.as_ref().expect("a partition was taken");
        let mut model = world.model.borrow_mut();
        let floor = model.records(stint.id, stint.index).floor();
        Ticket { sent: sent.clone(), floor, must: model.must(stint.id, stint.index) }
    }

    /// Sends what is unresolved, all at once, and waits for the answers.
    async fn round(&self, link: &mut Link) -> Next {
        let world = link.world.clone();
        let queue: Vec<Rc<Sent>> = {
            let state = self.state.borrow();
            let stint = state.stint.as_ref().expect("a partition was taken");
            stint.unresolved.iter().cloned().collect()
        };
        if !self.is_idempotent {
            // Sent again, it would be another batch.
            let mut state = self.state.borrow_mut();
            state.stint.as_mut().expect("a partition was taken").unresolved.clear();
        }
        let reached = self.reached(&world);
        let mut tickets = VecDeque::new();
        for sent in &queue {
            let ticket = self.ticket(&world, sent);
            if link.send(self.version, &self.request(sent)).await.is_none() {
                return Next::Leave;
            }
            tickets.push_back(ticket);
            if self.dice.percent(10) {
                runtime::yield_now().await;
            }
        }
        let mut next = Next::GoOn;
        for ticket in tickets {
            let answer = link.receive::<produce::ProduceRequest>(self.version).await;
            let Some(answer) = answer else { return Next::Leave };
            let result = &answer.responses[0].partition_responses[0];
            let same = reached.filter(|id| self.reached(&world) == Some(*id));
            match self.settle(&world, &ticket, same, result) {
                Next::GoOn => {}
                later => next = later,
            }
            if self.state.borrow().stint.is_none() {
                // What else is in flight is somebody else's now.
                link.leave();
                return next;
            }
        }
        next
    }

    /// Takes up an answer. `reached`: the topic that it is about, if that is certain.
    fn settle(
        &self,
        world: &World,
        ticket: &Ticket,
        reached: Option<TopicId>,
        result: &produce::PartitionProduceResponse,
    ) -> Next {
        let sent = &ticket.sent;
        let mut state = self.state.borrow_mut();
        let stint = state.stint.as_mut().expect("a partition was taken");
        let name = format!("{}-{}", stint.name, stint.index);
        let code = result.error_code;
        tell(|| format!("{name}: batch {} at {}: {code}", sent.id, result.base_offset));
        let mut model = world.model.borrow_mut();
        let must = ticket.must && reached.is_some() && model.must(stint.id, stint.index);
        match code {
            ErrorCode::None => {
                let at = stint.unresolved.iter().position(|other| other.id == sent.id);
                stint.is_blemished |= at.is_some_and(|at| at > 0);
                if let Some(at) = at {
                    stint.unresolved.remove(at);
                    stint.resolved.push_back(sent.clone());
                    if stint.resolved.len() > IN_FLIGHT_MAX {
                        stint.resolved.pop_front();
                    }
                }
                let Some(id) = reached else { return Next::GoOn };
                let (floor, start) = (ticket.floor, result.log_start_offset);
                let records = model.records(id, stint.index);
                records.place(&name, result.base_offset, sent);
                if self.version >= 5 {
                    records.begins(&name, floor.log_start, start);
                    model.check_start((id, stint.index), start);
                }
                Next::GoOn
            }
            ErrorCode::OutOfOrderSequenceNumber => {
                world.tally.borrow_mut().out_of_order += 1;
                let habits = model.habits(stint.id);
                let deletes_sent = model.names[&stint.name].deletes_sent;
                let is_excused = stint.is_blemished
                    || world.now.get().faults
                    || !habits.is_strict()
                    || model.is_rotten(stint.id)
                    || !must
                    || deletes_sent > stint.deletes_sent;
                assert!(is_excused, "{name}: batch {} is refused as out of order", sent.id);
                // KIP-360, and what is not acknowledged is given up.
                (state.stint, state.identity) = (None, None);
                Next::GoOn
            }
            code => {
                let place = (stint.id, stint.index);
                let must = must && model.wants_reason(code, place, ticket.floor);
                let may_fail = model.is_rotten(stint.id);
                drop(model);
                world.expect_error(&name, code, must, may_fail);
                stint.is_blemished = true;
                if code == ErrorCode::KafkaStorageError || code == ErrorCode::NotLeaderOrFollower {
                    return Next::TryLater;
                }
                (state.stint, state.identity) = (None, None);
                Next::Leave
            }
        }
    }

    /// Sends an acknowledged batch once more, as a client does that did not get the answer.
    async fn repeat(&self, link: &mut Link) -> Next {
        let world = link.world.clone();
        let sent = {
            let state = self.state.borrow();
            let Some(stint) = state.stint.as_ref().filter(|_| self.is_idempotent) else {
                return Next::GoOn;
            };
            let unknown = !stint.unresolved.is_empty() || stint.resolved.is_empty();
            if unknown || stint.is_blemished {
                return Next::GoOn;
            }
            let at = self.dice.below(stint.resolved.len() as u64) as usize;
            let mut model = world.model.borrow_mut();
            // What its durability let go may be stored again.
            let is_there = model.records(stint.id, stint.index).has(stint.resolved[at].id);
            is_there.then(|| stint.resolved[at].clone())
        };
        let Some(sent) = sent else { return Next::GoOn };
        let reached = self.reached(&world);
        let ticket = self.ticket(&world, &sent);
        let answer = link.ask(self.version, &self.request(&sent)).await;
        let Some(answer) = answer else { return Next::Leave };
        let result = &answer.responses[0].partition_responses[0];
        let same = reached.filter(|id| self.reached(&world) == Some(*id));
        self.settle(&world, &ticket, same, result)
    }
}
