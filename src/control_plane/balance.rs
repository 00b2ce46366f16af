//! Load-weighted placement: what keeps a core busy goes to the idlest, where that evens the load of the two by enough.
//! What moves is decided by pure functions of what the cores say they have to do; a task on shard 0 asks them, and the
//! controller does it. Cold; off unless it is asked for (`balance_cores`).
//!
//! Rather too little than too much, because a move refuses a partition's clients for some milliseconds: one at a time;
//! only while several looks in a row say that it should leave the same core; only for a gain that stands out of what is
//! not measured; and no partition soon again. A partition that is all that its core does never moves: the next core would
//! have as much to do.

use crate::runtime::{self, Instant};
use crate::shard::Shard;
use crate::shard::control::{ControlReply, ControlRequest};
use crate::shard::load::{LoadReading, WINDOW};
use crate::shard::request::{PartitionKey, ShardReply, ShardRequest};
use crate::types::ShardId;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often cores are looked at: two windows of what they measure.
const LOOK_EVERY: Duration = Duration::from_secs(2 * WINDOW.as_secs());
/// Looks in a row that say the same before anything moves.
const LOOKS: u32 = 3;
/// A core that is less busy is left alone, however idle the others are: its clients hardly wait.
const BUSY_MIN: f64 = 0.7;
/// What a busy core has to gain, as a share of its time. The estimate of a partition's share is about as good.
const GAIN_MIN: f64 = 0.1;
/// A partition that has moved stays for so long.
const REST: Duration = Duration::from_mins(10);
/// Partitions of a core that are looked at, the hottest first.
const CANDIDATES_MAX: usize = 100;

/// What one core has to do.
#[derive(Clone, Debug)]
struct CoreLoad {
    shard: ShardId,
    /// Share of its time.
    busy: f64,
    /// Of all its partitions.
    weight: u64,
    /// Those that may move and weigh the most.
    partitions: Vec<(PartitionKey, u64)>,
}

/// What should move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    key: PartitionKey,
    from: ShardId,
    to: ShardId,
}

/// What should go to the idlest core: from the busiest, or, where nothing of that pays, from the next. Of what is alike,
/// the first.
fn choose(cores: &[CoreLoad], rests: impl Fn(PartitionKey) -> bool) -> Option<Choice> {
    let idlest = cores.iter().min_by(|a, b| a.busy.total_cmp(&b.busy))?;
    let mut busy: Vec<&CoreLoad> = cores.iter().filter(|core| core.busy >= BUSY_MIN).collect();
    busy.sort_by(|a, b| b.busy.total_cmp(&a.busy));
    busy.into_iter().find_map(|core| relieve(core, idlest, &rests))
}

/// The partition of a busy core that evens it and the idlest best, if that pays.
fn relieve(
    busy: &CoreLoad,
    idlest: &CoreLoad,
    rests: &impl Fn(PartitionKey) -> bool,
) -> Option<Choice> {
    let gain_of = |weight: u64| {
        let share = busy.busy * weight as f64 / busy.weight.max(1) as f64;
        let after = (busy.busy - share).max(idlest.busy + share);
        busy.busy - after
    };
    let candidates = busy.partitions.iter().filter(|(key, _)| !rests(*key));
    let gains = candidates.map(|(key, weight)| (gain_of(*weight), *key));
    let (gain, key) = gains.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    (gain >= GAIN_MIN).then_some(Choice { key, from: busy.shard, to: idlest.shard })
}

/// What was seen and done so far.
#[derive(Default)]
struct Balancer {
    /// The core that something should leave, and for how many looks in a row.
    wanted: Option<(ShardId, u32)>,
    moved: BTreeMap<PartitionKey, Instant>,
}

impl Balancer {
    /// Takes note of what cores have to do. What is to move now, if anything.
    fn look(&mut self, cores: &[CoreLoad], now: Instant) -> Option<Choice> {
        self.moved.retain(|_, at| now.since(*at) < REST);
        let choice = choose(cores, |key| self.moved.contains_key(&key));
        let looks = match (choice, self.wanted) {
            (None, _) => 0,
            (Some(choice), Some((before, looks))) if choice.from == before => looks + 1,
            _ => 1,
        };
        self.wanted = choice.map(|choice| (choice.from, looks));
        let choice = choice.filter(|_| looks >= LOOKS)?;
        self.wanted = None;
        self.moved.insert(choice.key, now);
        Some(choice)
    }
}

/// Evens the load of this host's cores, as long as the shard lives. On shard 0.
pub async fn run(shard: Rc<Shard>) {
    let mut balancer = Balancer::default();
    while !shard.is_stopping() {
        runtime::sleep(LOOK_EVERY).await;
        let Some(cores) = look_at_all(&shard).await else { continue };
        if let Some(choice) = balancer.look(&cores, runtime::now()) {
            make(&shard, choice).await;
        }
    }
}

/// None when a core has not measured yet, or leaves.
async fn look_at_all(shard: &Rc<Shard>) -> Option<Vec<CoreLoad>> {
    let mut cores = Vec::new();
    for id in shard.all_shards() {
        let request = ShardRequest::Load { partitions_max: CANDIDATES_MAX };
        let ShardReply::Load(reading) = shard.ask(id, request).await else { return None };
        let LoadReading { busy, work, hottest, .. } = reading;
        let image = shard.image();
        let may_move = |key: PartitionKey| {
            image.topic_by_id(key.topic_id).is_some_and(|topic| !topic.is_internal())
        };
        let candidates = hottest.iter().filter(|one| may_move(one.key));
        cores.push(CoreLoad {
            shard: id,
            busy: busy?,
            weight: work.weight(),
            partitions: candidates.map(|one| (one.key, one.work.weight())).collect(),
        });
    }
    Some(cores)
}

async fn make(shard: &Rc<Shard>, choice: Choice) {
    let Choice { key: PartitionKey { topic_id, index }, from, to } = choice;
    tracing::info!(%topic_id, partition = index, %from, %to, "moving a partition off a busy core");
    let request = ControlRequest::MovePartition { topic_id, index, to };
    if let ControlReply::MovePartition(Err(error)) = shard.control(request).await {
        tracing::warn!(%topic_id, partition = index, %error,
            "cannot move a partition off a busy core");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::harness;
    use crate::runtime::sim::Simulation;
    use crate::shard::control::NewTopic;
    use crate::shard::request::PartitionError;
    use crate::types::{Timestamp, TopicId};
    use crate::wire::batch::testing::batch;
    use proptest::prelude::*;
    use std::future::poll_fn;

    fn key(index: i32) -> PartitionKey {
        PartitionKey { topic_id: TopicId([1; 16]), index }
    }

    /// Cores whose partitions are numbered from 10 times the core's number on, each with its share of the core's time
    /// in hundredths.
    fn cores(loads: &[&[u64]]) -> Vec<CoreLoad> {
        let core = |(shard, shares): (u16, &&[u64])| {
            let weight: u64 = shares.iter().sum();
            let keys = (i32::from(shard) * 10..).map(key);
            CoreLoad {
                shard: ShardId(shard),
                busy: (weight as f64 / 100.0).min(1.0),
                weight,
                partitions: keys.zip(shares.iter().copied()).collect(),
            }
        };
        (0..).zip(loads).map(core).collect()
    }

    /// The partition that moves, from where, and where to.
    fn choice(loads: &[&[u64]]) -> Option<(i32, u16, u16)> {
        let chosen = choose(&cores(loads), |_| false);
        chosen.map(|choice| (choice.key.index, choice.from.0, choice.to.0))
    }

    #[test]
    fn what_evens_two_cores_best_moves_and_nothing_that_does_not_pay() {
        for (loads, expect) in [
            // 90 and 10: what takes 40 makes them 50 and 50.
            (&[&[20, 40, 30][..], &[10]][..], Some((1, 0, 1))),
            (&[&[10], &[20, 40, 30]], Some((11, 1, 0))),
            // The idlest of several.
            (&[&[50, 40], &[30], &[5], &[20]], Some((1, 0, 2))),
            // Alone on its core, it would keep the next as busy.
            (&[&[95], &[5]], None),
            (&[&[95], &[]], None),
            // And keeps nobody from going to the idlest.
            (&[&[95], &[45, 45], &[0]], Some((10, 1, 2))),
            // What is beside it goes.
            (&[&[80, 15], &[10]], Some((1, 0, 1))),
            // Nobody waits for a core that is not busy.
            (&[&[34, 35], &[0]], None),
            (&[&[35, 35], &[0]], Some((0, 0, 1))),
            // Not worth it: 9 in a hundred.
            (&[&[9; 9], &[0]], None),
            // All are busy alike, or nearly.
            (&[&[45, 45], &[45, 45]], None),
            (&[&[45, 45], &[40, 35]], None),
            // More than a core can do.
            (&[&[50, 50, 50], &[0]], Some((0, 0, 1))),
            (&[&[50, 50], &[50]], None),
            // One core, none, and nothing to do.
            (&[&[50, 40]], None),
            (&[], None),
            (&[&[], &[]], None),
        ] {
            assert_eq!(choice(loads), expect, "{loads:?}");
        }
    }

    #[test]
    fn one_of_several_that_are_alike_moves_whatever_their_order() {
        let mut alike = cores(&[&[30, 30, 30], &[0], &[0]]);
        let expect = Choice { key: key(0), from: ShardId(0), to: ShardId(1) };
        assert_eq!(choose(&alike, |_| false), Some(expect));
        alike[0].partitions.reverse();
        assert_eq!(choose(&alike, |_| false), Some(expect));
        let next = Choice { key: key(1), ..expect };
        assert_eq!(choose(&alike, |one| one == key(0)), Some(next), "it rests");
        assert_eq!(choose(&alike, |_| true), None);
    }

    #[test]
    fn something_has_to_leave_a_core_for_a_while_before_it_does() {
        let at = |look: u64| Instant::default() + LOOK_EVERY * look as u32;
        let (left, right) = (cores(&[&[50, 30, 5], &[0]]), cores(&[&[0], &[50, 30, 5]]));
        let calm = cores(&[&[10], &[10]]);
        let mut balancer = Balancer::default();
        let seen = [&left, &left, &right, &right, &calm, &right, &left, &left];
        for (look, cores) in (0..).zip(seen) {
            assert_eq!(balancer.look(cores, at(look)), None, "look {look}");
        }
        let moved = balancer.look(&left, at(8)).expect("the third in a row");
        assert_eq!((moved.key, moved.from), (key(0), ShardId(0)));
        // As if it had changed nothing: something else is tried, and that one not before it has rested.
        let later: Vec<Option<i32>> = (9..100)
            .map(|look| balancer.look(&left, at(look)).map(|choice| choice.key.index))
            .collect();
        let moves: Vec<(usize, i32)> =
            (9..).zip(later).filter_map(|(look, index)| Some((look, index?))).collect();
        assert_eq!(moves, [(11, 1), (70, 0), (73, 1)]);
    }

    #[test]
    fn a_busy_core_gives_a_partition_to_an_idle_one() {
        Simulation::new(1).run(async {
            let host = harness::start(2).await;
            let topic = NewTopic {
                name: "t".to_string(),
                partitions: 2,
                places: Some(vec![ShardId(0); 2]),
                overrides: Default::default(),
            };
            let made = host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await;
            assert!(matches!(made, ControlReply::CreateTopics(made) if made[0].is_ok()));
            drop(runtime::spawn(run(host.shards[0].clone())));
            let places = || -> Vec<ShardId> {
                let image = host.shards[1].image();
                image.topic("t").unwrap().partitions.iter().map(|place| place.shard).collect()
            };
            // Of two alike the first goes; the other is alone then, and stays.
            let (before, after) = ([ShardId(0); 2], [ShardId(1), ShardId(0)]);
            for window in 0..20 {
                let id = host.shards[0].image().topic("t").unwrap().id;
                for (index, owner) in (0..).zip(places()) {
                    let key = PartitionKey { topic_id: id, index };
                    let record = batch(&[&[7; 1000]], Timestamp(5), None);
                    let mut ticket = host.shards[0].append(owner, key, record.into());
                    let stored = poll_fn(|context| ticket.poll_produced(context)).await;
                    assert!(matches!(stored, Ok(_) | Err(PartitionError::NotHere)), "{stored:?}");
                }
                // The first core has no time left, the other has nothing to do.
                host.shards[0].end_window(Duration::from_secs(5) * window);
                host.shards[1].end_window(Duration::ZERO);
                runtime::sleep(Duration::from_secs(5)).await;
                // The third look is at the end of this one.
                if window != 5 {
                    let expect = if window < 5 { before } else { after };
                    assert_eq!(places(), expect, "after window {window}");
                }
            }
        });
    }

    /// Moves that are made of partitions with these weights, on cores that have all of them by turns at first.
    fn balanced(weights: &[u64], count: u16, looks: u32) -> Vec<(u32, Choice)> {
        // Together they take seven tenths of what the cores have.
        let whole = weights.iter().sum::<u64>() as f64 / (0.7 * f64::from(count));
        let mut places: Vec<ShardId> =
            (0..weights.len()).map(|index| ShardId((index % usize::from(count)) as u16)).collect();
        let (mut balancer, mut moves) = (Balancer::default(), Vec::new());
        for look in 0..looks {
            let core = |shard: u16| {
                let here = (0..).zip(weights.iter().zip(&places));
                let here = here.filter(|(_, (_, place))| place.0 == shard);
                let partitions: Vec<(PartitionKey, u64)> =
                    here.map(|(index, (weight, _))| (key(index), *weight)).collect();
                let weight: u64 = partitions.iter().map(|(_, weight)| weight).sum();
                CoreLoad { shard: ShardId(shard), busy: weight as f64 / whole, weight, partitions }
            };
            let cores: Vec<CoreLoad> = (0..count).map(core).collect();
            let now = Instant::default() + LOOK_EVERY * look;
            if let Some(choice) = balancer.look(&cores, now) {
                let place = &mut places[choice.key.index as usize];
                assert_eq!(*place, choice.from);
                *place = choice.to;
                moves.push((look, choice));
            }
        }
        moves
    }

    proptest! {
        #[test]
        fn steady_loads_come_to_rest(
            weights in prop::collection::vec(1u64..1000, 1..40),
            count in 1u16..7,
        ) {
            let moves = balanced(&weights, count, 900);
            // Each evens two cores by a tenth of one at least, so they come to an end.
            prop_assert!(moves.iter().all(|(look, _)| *look < 600), "{moves:?}");
            for (at, (look, choice)) in moves.iter().enumerate() {
                prop_assert!(choice.from != choice.to);
                let again = moves[at + 1..].iter().find(|(_, other)| other.key == choice.key);
                let rested = again.is_none_or(|(later, _)| LOOK_EVERY * (later - look) >= REST);
                prop_assert!(rested, "{moves:?}");
            }
        }
    }
}
