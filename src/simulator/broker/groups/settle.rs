//! When nothing fails any more and nobody comes or goes: every group becomes stable within a bounded time, all
//! that its members read has one owner, and it stays so.

use super::Groups;
use super::member::Mood;
use super::model::{Kind, Place};
use super::seat::{Seat, is_passing};
use crate::runtime::{self, Instant};
use crate::simulator::broker::world::{World, tell};
use crate::wire::api::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::wire::api::describe_groups::DescribeGroupsRequest;
use crate::wire::{ErrorCode, Str};
use futures_util::future::join_all;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// In virtual time. What takes longest: a session and the rebalance after it, some times over, with a second
/// between two targets of a consumer group.
const STABLE_AFTER_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(60);
/// Of members of the classic protocol.
const CLASSIC_SESSION_MAX: Duration = Duration::from_millis(900);
const AGAIN_MAX: u64 = 20;

/// A group as it is described: its state, its members, and for KIP-848 its epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub state: String,
    pub members: BTreeSet<String>,
    pub epochs: (i32, i32),
}

/// Asks what a group is, by either protocol; none without an answer.
pub async fn describe(seat: &mut Seat) -> Option<Described> {
    let group_ids = vec![Str::from(seat.group.as_str())];
    let version = seat.dice.pick(&[0, 1]);
    let request = ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
    let answer = seat.ask(version, &request).await?;
    let group = &answer.groups[0];
    let id = |id: &Str| id.as_str().to_string();
    match group.error_code {
        ErrorCode::None => {
            return Some(Described {
                state: id(&group.group_state),
                members: group.members.iter().map(|member| id(&member.member_id)).collect(),
                epochs: (group.group_epoch, group.assignment_epoch),
            });
        }
        ErrorCode::GroupIdNotFound => {}
        code => {
            assert!(is_passing(code), "{} is described with {code}", seat.group);
            seat.note(code);
            return None;
        }
    }
    let groups = vec![Str::from(seat.group.as_str())];
    let version = seat.dice.pick(&[0, 4, 5, 6]);
    let request = DescribeGroupsRequest { groups, ..Default::default() };
    let answer = seat.ask(version, &request).await?;
    let group = &answer.groups[0];
    let code = group.error_code;
    if !matches!(code, ErrorCode::None | ErrorCode::GroupIdNotFound) {
        assert!(is_passing(code), "{} is described with {code}", seat.group);
        seat.note(code);
        return None;
    }
    Some(Described {
        state: id(&group.group_state),
        members: group.members.iter().map(|member| id(&member.member_id)).collect(),
        epochs: (0, 0),
    })
}

/// Lets all who are there go on until every group is stable, and then for a while.
pub async fn settle(groups: &Rc<Groups>, world: &Rc<World>) {
    groups.look(world).await;
    let is_over = Rc::new(Cell::new(false));
    let until = runtime::now() + STABLE_AFTER_MAX;
    let mood = Mood { is_calm: true, until, is_over: is_over.clone() };
    let tasks = groups.spawn_members(world, &mood);
    let names: Vec<String> = groups.model.borrow().groups.keys().cloned().collect();
    let mut seats: Vec<Seat> = Vec::new();
    for name in names.iter().filter(|name| groups.kind(name) != Kind::Simple) {
        seats.push(Seat::new(groups, world, name, groups.dice.fork()));
    }
    // A member may look as if it were there whose connection was cut before, and whose session ends yet: what is
    // stable after that stays so.
    if stable_groups(groups, world, &mut seats, until).await.is_none() {
        return;
    }
    runtime::sleep(groups.plan.modern_session.max(CLASSIC_SESSION_MAX)).await;
    let Some(stable) = stable_groups(groups, world, &mut seats, until).await else { return };
    runtime::sleep(groups.plan.modern_session.min(Duration::from_millis(400))).await;
    for seat in &mut seats {
        let mut found = look(groups, seat).await;
        for attempt in 0..AGAIN_MAX {
            if found.is_ok() {
                break;
            }
            // An answer may be on its way just now.
            runtime::sleep(Duration::from_millis(1 + attempt)).await;
            found = look(groups, seat).await;
        }
        let before = &stable[&seat.group];
        assert_eq!(found.as_ref(), Ok(before), "{} does not stay as it was", seat.group);
    }
    world.tally.borrow_mut().groups_settled += seats.len() as u64;
    is_over.set(true);
    join_all(tasks).await;
}

/// Each group as it is once it is stable; `None` when the history ends before.
async fn stable_groups(
    groups: &Rc<Groups>,
    world: &Rc<World>,
    seats: &mut [Seat],
    until: Instant,
) -> Option<BTreeMap<String, Stable>> {
    let mut stable = BTreeMap::new();
    for seat in seats {
        loop {
            let found = look(groups, seat).await;
            if let Ok(found) = found {
                stable.insert(seat.group.clone(), found);
                break;
            }
            let (name, why) = (&seat.group, found.unwrap_err());
            assert!(runtime::now() < until, "{name} does not become stable: {why}");
            if world.now.get().stopping {
                return None;
            }
            runtime::sleep(LOOK_AGAIN).await;
        }
    }
    Some(stable)
}

type Stable = (Described, BTreeMap<String, (i32, BTreeSet<Place>)>);

/// The group as it is described and as its members see it, when all is as it should be.
async fn look(groups: &Rc<Groups>, seat: &mut Seat) -> Result<Stable, String> {
    let described = describe(seat).await.ok_or("no answer")?;
    let found = members_of(groups, &seat.group)?;
    tell(|| format!("{}: {described:?}, {found:?}", seat.group));
    let ids: BTreeSet<String> = found.keys().cloned().collect();
    if ids.is_empty() {
        return match described.state.as_str() {
            "Empty" | "Dead" => Ok((described, found)),
            _ => Err(format!("nobody is there, but {described:?}")),
        };
    }
    let (epoch, target) = described.epochs;
    if described.state != "Stable" || described.members != ids || epoch != target {
        return Err(format!("{described:?}, where {ids:?} are there"));
    }
    // What was described may be older than what the members were told meanwhile.
    if target > 0 && found.values().any(|(known, _)| *known != target) {
        return Err(format!("{described:?}, where members are further: {found:?}"));
    }
    Ok((described, found))
}

/// What each member has, by its id; an error when something is missing or held twice.
fn members_of(
    groups: &Rc<Groups>,
    group: &str,
) -> Result<BTreeMap<String, (i32, BTreeSet<Place>)>, String> {
    let (mut found, mut owned) = (BTreeMap::new(), BTreeSet::new());
    let mut wanted = BTreeSet::new();
    let mut epochs = BTreeSet::new();
    for member in groups.members.iter().filter(|member| member.group() == group) {
        if member.is_down() {
            continue;
        }
        let (id, epoch, places) =
            member.settled().ok_or_else(|| format!("{} has not settled", member.name()))?;
        let topics = member.topics();
        for place in &places {
            if !topics.contains(&place.0) {
                return Err(format!("{id} has {place:?} and reads only {topics:?}"));
            }
            if !owned.insert(place.clone()) {
                return Err(format!("{id} has {place:?}, which another has, too"));
            }
        }
        wanted.extend(groups.model.borrow().places(topics.iter()));
        epochs.insert(epoch);
        found.insert(id, (epoch, places));
    }
    if owned != wanted {
        let missing: Vec<&Place> = wanted.difference(&owned).collect();
        return Err(format!("nobody has {missing:?}: {found:?}"));
    }
    if epochs.len() > 1 {
        return Err(format!("members are at {epochs:?}"));
    }
    Ok(found)
}
