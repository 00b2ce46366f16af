//! What the admin port shows of the groups of a core. Lives on that core; gathers when somebody asks, in pieces
//! between which others have their turn, and keeps nothing. It changes no group and opens no partition.

use super::coordinator::Coordinator;
use super::state::{Entry, Groups};
use crate::control_plane::ControlPlane;
use crate::limits::{
    ADMIN_ENDS_WAIT_MAX, ADMIN_GROUP_NAME_BYTES_MAX, ADMIN_GROUPS_MAX, ADMIN_OFFSETS_MAX,
    GROUPS_BYTES_MAX,
};
use crate::probe::Budget;
use crate::runtime;
use crate::shard::Shard;
use crate::shard::coordinators::{GroupReading, GroupsReading, Lag, OffsetReading};
use crate::shard::image::MetadataImage;
use crate::shard::request::{PartitionKey, ShardReply, ShardRequest};
use crate::types::{Offset, ShardId};
use crate::wire::Str;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Groups that are looked at in one turn of the core.
const GROUPS_PER_TURN: usize = 128;

/// Every state that a group of either protocol is in, so that a metric is there before its first group.
const STATES: [(&str, &[&str]); 2] = [
    ("classic", &["Empty", "PreparingRebalance", "CompletingRebalance", "Stable"]),
    ("consumer", &["Empty", "Assigning", "Reconciling", "Stable"]),
];

/// A group that is to be shown for itself.
struct Chosen {
    coordinator: Rc<Coordinator>,
    name: Str,
    members: usize,
}

/// One with its offsets, before it is known where the partitions end.
struct Gathered {
    name: Str,
    members: usize,
    offsets: Vec<Committed>,
}

struct Committed {
    owner: ShardId,
    key: PartitionKey,
    topic: Arc<str>,
    offset: Offset,
}

/// Reads the groups of this core, with so many offsets, each for itself, at most.
pub async fn read(plane: &ControlPlane, offsets_max: usize) -> GroupsReading {
    let mut reading = GroupsReading {
        memory: Budget { used: plane.groups.memory_bytes(), limit: GROUPS_BYTES_MAX },
        ..GroupsReading::default()
    };
    let chosen = count(plane, &mut reading).await;
    let gathered = gather(plane, chosen, &mut reading).await;
    let ends = ends_of(&plane.shard, &gathered).await;
    let mut room = offsets_max;
    for group in gathered {
        reading.groups.push(shown(&group, &ends, room));
        let (left, count) = (room, group.offsets.len());
        room = left.saturating_sub(count);
        reading.offsets_left_out += count.saturating_sub(left);
        runtime::yield_if_needed().await;
    }
    if offsets_max == 0 {
        // They were not asked for.
        reading.offsets_left_out = 0;
    }
    reading
}

// ---------------------------------------------------------------- which groups there are

/// Counts groups and members, and chooses which are shown: those with members first, in an order that stays.
async fn count(plane: &ControlPlane, reading: &mut GroupsReading) -> Vec<Chosen> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut members = [("classic", 0), ("consumer", 0)];
    let mut coordinators: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut with_members, mut without) = (Vec::new(), Vec::new());
    let mut all = 0;
    for coordinator in plane.groups.all() {
        *coordinators.entry(coordinator.state_name()).or_default() += 1;
        let mut last: Option<Str> = None;
        loop {
            let next = coordinator.look(|groups| {
                let mut seen = None;
                for (name, entry) in groups.entries_after(last.as_ref()).take(GROUPS_PER_TURN) {
                    let (kind, own) = (entry.group.type_name(), entry.group.members());
                    *counts.entry((kind, entry.group.state_name())).or_default() += 1;
                    members.iter_mut().filter(|of| of.0 == kind).for_each(|of| of.1 += own);
                    all += 1;
                    let list = if own > 0 { &mut with_members } else { &mut without };
                    if list.len() < ADMIN_GROUPS_MAX && name.len() <= ADMIN_GROUP_NAME_BYTES_MAX {
                        let (coordinator, name) = (coordinator.clone(), name.clone());
                        list.push(Chosen { coordinator, name, members: own });
                    }
                    seen = Some(name.clone());
                }
                seen
            });
            let Some(Some(name)) = next else { break };
            last = Some(name);
            runtime::yield_if_needed().await;
        }
    }
    let states = ["failed", "loading", "serving"];
    reading.coordinators =
        states.map(|state| (state, coordinators.get(state).copied().unwrap_or(0))).to_vec();
    let of_kind = |(kind, states): &(&'static str, &'static [&'static str])| {
        let (kind, counts) = (*kind, &counts);
        let count = move |state: &&'static str| {
            (kind, *state, counts.get(&(kind, *state)).copied().unwrap_or(0))
        };
        states.iter().map(count).collect::<Vec<_>>()
    };
    reading.counts = STATES.iter().flat_map(of_kind).collect();
    reading.members = members.to_vec();
    with_members.extend(without);
    with_members.truncate(ADMIN_GROUPS_MAX);
    reading.left_out = all - with_members.len();
    with_members
}

// ---------------------------------------------------------------- what they have committed

async fn gather(
    plane: &ControlPlane,
    chosen: Vec<Chosen>,
    reading: &mut GroupsReading,
) -> Vec<Gathered> {
    let image = plane.shard.image();
    let mut gathered = Vec::with_capacity(chosen.len());
    let mut room = ADMIN_OFFSETS_MAX;
    for Chosen { coordinator, name, members } in chosen {
        let offsets = coordinator.look(|groups: &Groups| {
            groups.entry(&name).and_then(|entry| committed(entry, &image, room))
        });
        match offsets.flatten() {
            Some(offsets) => {
                room -= offsets.len();
                gathered.push(Gathered { name, members, offsets });
            }
            None => reading.left_out += 1,
        }
        runtime::yield_if_needed().await;
    }
    gathered
}

/// The offsets of partitions that are there; `None` when they are more than there is room for.
fn committed(entry: &Entry, image: &MetadataImage, room: usize) -> Option<Vec<Committed>> {
    if entry.offsets.values().map(|of_topic| of_topic.len()).sum::<usize>() > room {
        return None;
    }
    let mut all = Vec::new();
    for (name, offsets) in &entry.offsets {
        let Some(topic) = image.topic(name) else { continue };
        for (index, offset) in offsets {
            // An offset of a topic that was deleted and made again says nothing of the new one.
            let is_of_it = [[0; 16], topic.id.0].contains(&offset.topic_id);
            let Some(place) = topic.partition(*index).filter(|_| is_of_it) else { continue };
            all.push(Committed {
                owner: place.shard,
                key: PartitionKey { topic_id: topic.id, index: *index },
                topic: topic.name.clone(),
                offset: Offset(offset.offset),
            });
        }
    }
    Some(all)
}

// ---------------------------------------------------------------- where the partitions end

async fn ends_of(shard: &Rc<Shard>, groups: &[Gathered]) -> HashMap<PartitionKey, Offset> {
    let mut wanted: BTreeMap<ShardId, BTreeSet<PartitionKey>> = BTreeMap::new();
    for one in groups.iter().flat_map(|group| &group.offsets) {
        wanted.entry(one.owner).or_default().insert(one.key);
    }
    let asked = wanted.into_iter().map(async |(owner, keys)| {
        let keys: Vec<PartitionKey> = keys.into_iter().collect();
        if owner != shard.id && !shard.mailbox.has_room_for(owner) {
            return Vec::new();
        }
        let request = ShardRequest::Ends { keys: keys.clone() };
        match runtime::timeout(ADMIN_ENDS_WAIT_MAX, shard.ask(owner, request)).await {
            Some(ShardReply::Ends(ends)) => keys.into_iter().zip(ends).collect(),
            _ => Vec::new(),
        }
    });
    let told = join_all(asked).await.into_iter().flatten();
    told.filter_map(|(key, end)| Some((key, end?))).collect()
}

fn shown(group: &Gathered, ends: &HashMap<PartitionKey, Offset>, room: usize) -> GroupReading {
    let mut lag: Option<Lag> = None;
    let mut offsets = Vec::new();
    for (at, one) in group.offsets.iter().enumerate() {
        // A client may commit what it likes, also beyond the end.
        let left = ends
            .get(&one.key)
            .map(|end| u64::try_from(end.0.saturating_sub(one.offset.0.max(0))).unwrap_or(0));
        if let Some(left) = left {
            let so_far = lag.unwrap_or(Lag { sum: 0, max: 0 });
            let (sum, max) = (so_far.sum.saturating_add(left), so_far.max.max(left));
            lag = Some(Lag { sum, max });
        }
        if at < room {
            let (topic, index) = (one.topic.clone(), one.key.index);
            offsets.push(OffsetReading { topic, index, committed: one.offset, lag: left });
        }
    }
    GroupReading { name: group.name.as_str().into(), members: group.members, lag, offsets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    #[test]
    fn a_partition_whose_end_is_not_known_is_no_part_of_the_lag() {
        let key = |index| PartitionKey { topic_id: TopicId([1; 16]), index };
        let committed = |(index, offset): (i32, i64)| Committed {
            owner: ShardId(0),
            key: key(index),
            topic: "t".into(),
            offset: Offset(offset),
        };
        let group = |offsets: &[(i32, i64)]| Gathered {
            name: Str::from_static("g"),
            members: 2,
            offsets: offsets.iter().copied().map(committed).collect(),
        };
        let ends = HashMap::from([(key(0), Offset(10)), (key(1), Offset(7))]);
        let lag = |sum, max| Some(Lag { sum, max });
        for (offsets, expect) in [
            (&[][..], None),
            (&[(2, 5)], None),
            (&[(0, 4), (1, 0), (2, 5)], lag(13, 7)),
            (&[(0, 11), (1, 7)], lag(0, 0)),
            (&[(0, -5)], lag(10, 10)),
        ] {
            assert_eq!(shown(&group(offsets), &ends, 0).lag, expect, "{offsets:?}");
        }
        let some = shown(&group(&[(2, 5), (0, 4), (1, 0)]), &ends, 2);
        let told: Vec<_> = some.offsets.iter().map(|one| (one.index, one.lag)).collect();
        assert_eq!(told, [(2, None), (0, Some(6))]);
    }
}
