//! Who has partitions move between cores, in some histories, while everybody works on them: as a tool asks for it,
//! where a core is a broker to clients, or as the broker does by itself.

use super::link::Link;
use super::world::{World, tell};
use crate::limits::SHARDS_MAX;
use crate::net::harness::Host;
use crate::runtime;
use crate::shard::control::{ControlError, ControlReply, ControlRequest};
use crate::simulator::dice::Dice;
use crate::types::{ShardId, TopicId};
use crate::wire::ErrorCode;
use crate::wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use std::rc::Rc;
use std::time::Duration;

/// Keeps these choices apart from those of the history: others are the same with or without this module.
const SALT: u64 = 0x0C0E_5A11_D04E_5B07;
/// One history of so many; none of those that are kept from before.
const ONE_OF: u64 = 3;
/// Between two moves.
const PAUSE_US_MAX: u64 = 4000;

pub struct Mover {
    dice: Dice,
}

/// What came of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    /// It may have been done, or will be.
    Unknown,
}

impl Mover {
    /// None in most histories.
    pub fn plan(seed: u64) -> Option<Mover> {
        Mover::has_moves(seed).then(|| Mover { dice: Dice::new(seed ^ SALT) })
    }

    /// Whether partitions move in a seed's history.
    pub fn has_moves(seed: u64) -> bool {
        seed.is_multiple_of(ONE_OF)
    }

    /// A life's work.
    pub async fn work(&self, world: &Rc<World>, host: &Host) {
        let dice = self.dice.fork();
        let mut link = Link::new(world, &dice);
        for _ in 0..1 + dice.below(10) {
            runtime::sleep(Duration::from_micros(dice.below(PAUSE_US_MAX))).await;
            let now = world.now.get();
            if now.stopping || now.shards < 2 {
                return;
            }
            if let Some((id, index)) = choose(world, &dice) {
                let to = ShardId(dice.below(now.shards.into()) as u16);
                // An answer that is lost would leave a request that nobody knows the end of.
                let asks = now.per_core && !now.cuts && dice.percent(60);
                let link = asks.then_some(&mut link);
                move_one(world, host, link, (id, index), to).await;
            }
        }
    }
}

/// A partition that may move. Where the disk fails, one that is the same when it is opened anew.
fn choose(world: &World, dice: &Dice) -> Option<(TopicId, i32)> {
    let model = world.model.borrow();
    let is_faulty = world.now.get().faults;
    let mut partitions = model.partitions();
    partitions.retain(|(id, _)| {
        let is_only = model.only(&model.name_of(*id)) == Some(*id);
        let habits = model.habits(*id);
        let is_steady = habits.is_strict() && !habits.retains;
        is_only && !model.is_rotten(*id) && (is_steady || !is_faulty)
    });
    (!partitions.is_empty()).then(|| dice.pick(&partitions))
}

async fn move_one(
    world: &Rc<World>,
    host: &Host,
    link: Option<&mut Link>,
    (id, index): (TopicId, i32),
    to: ShardId,
) {
    let name = world.model.borrow().name_of(id);
    let is_there = is_at(host, (id, index), to);
    let before = world.model.borrow_mut().records(id, index).move_sent();
    let outcome = match link {
        Some(link) => {
            world.model.borrow_mut().move_by_name(&name, true);
            let outcome = ask(link, &name, (id, index), to).await;
            let mut model = world.model.borrow_mut();
            // Else it may have been done to one that nobody has seen yet.
            if model.only(&name) == Some(id) {
                model.move_by_name(&name, false);
            }
            outcome
        }
        None => move_by_itself(world, host, (id, index), to).await,
    };
    tell(|| format!("{name}-{index} moves to core {to}: {outcome:?}"));
    let is_faulty = world.now.get().faults;
    let mut model = world.model.borrow_mut();
    match outcome {
        Outcome::Done if !is_there => {
            world.tally.borrow_mut().moves += 1;
            model.records(id, index).moved(before);
        }
        // What could not be recorded before may have been all the same, so that it was elsewhere.
        Outcome::Done if is_faulty => {}
        Outcome::Done | Outcome::Refused => model.records(id, index).stayed(),
        Outcome::Unknown => {}
    }
}

fn is_at(host: &Host, (id, index): (TopicId, i32), shard: ShardId) -> bool {
    let image = host.servers[0].shard.image();
    let place = image.topic_by_id(id).and_then(|topic| topic.partition(index));
    place.is_some_and(|place| place.shard == shard)
}

/// As `kafka-reassign-partitions.sh` does.
async fn ask(link: &mut Link, name: &str, (id, index): (TopicId, i32), to: ShardId) -> Outcome {
    let world = link.world.clone();
    let broker = SHARDS_MAX as i32 + i32::from(to.0);
    let partition = ReassignablePartition { partition_index: index, replicas: Some(vec![broker]) };
    let topics = vec![ReassignableTopic { name: name.into(), partitions: vec![partition] }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    let must = world.model.borrow().must(id, index);
    let Some(answer) = link.ask(1, &request).await else { return Outcome::Unknown };
    assert_eq!(answer.error_code, ErrorCode::None, "{:?}", answer.error_message);
    let code = answer.responses[0].partitions[0].error_code;
    let now = world.now.get();
    let model = world.model.borrow();
    if model.only(name) != Some(id) {
        // It may have been another topic of that name.
        return Outcome::Unknown;
    }
    let must = must && model.must(id, index);
    match code {
        ErrorCode::None => Outcome::Done,
        ErrorCode::NotController if now.stopping => Outcome::Unknown,
        ErrorCode::NotLeaderOrFollower if now.stopping || !must => Outcome::Refused,
        ErrorCode::UnknownTopicOrPartition if !must => Outcome::Refused,
        ErrorCode::KafkaStorageError if now.faults => Outcome::Unknown,
        code => panic!("{name}-{index} does not move: {code} out of nowhere ({now:?})"),
    }
}

async fn move_by_itself(
    world: &World,
    host: &Host,
    (topic_id, index): (TopicId, i32),
    to: ShardId,
) -> Outcome {
    let must = world.model.borrow().must(topic_id, index);
    let request = ControlRequest::MovePartition { topic_id, index, to };
    let reply = host.servers[0].shard.control(request).await;
    let now = world.now.get();
    let must = must && world.model.borrow().must(topic_id, index);
    match reply {
        ControlReply::MovePartition(Ok(())) => Outcome::Done,
        ControlReply::MovePartition(Err(ControlError::UnknownTopic)) if !must => Outcome::Refused,
        ControlReply::MovePartition(Err(ControlError::Storage(_))) if now.faults => {
            Outcome::Unknown
        }
        ControlReply::MovePartition(Err(ControlError::Stopping)) | ControlReply::Stopping
            if now.stopping =>
        {
            Outcome::Unknown
        }
        other => panic!("{topic_id}-{index} does not move: {other:?} ({now:?})"),
    }
}
