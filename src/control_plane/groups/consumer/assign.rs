//! The assignors: who should have which partitions. Pure functions of subscriptions and the last target.
//!
//! Both are sticky, as Kafka's: balance first, then as few partitions as possible change hands. Members that
//! come first in order get what does not divide evenly, unless others have it already.

use super::member::Assignment;
use crate::types::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// A member as an assignor sees it.
#[derive(Debug)]
pub struct Subscriber<'a> {
    /// Those that are there.
    pub topics: BTreeSet<TopicId>,
    /// What it should have had so far.
    pub has: &'a Assignment,
}

/// How many partitions each topic has.
pub type Counts = BTreeMap<TopicId, usize>;

/// A partition: topic and index.
type Place = (TopicId, i32);

/// Every topic on its own: its members get ranges of it, so that topics of the same size are assigned alike.
pub fn range(members: &[Subscriber], counts: &Counts) -> Vec<Assignment> {
    let mut targets = vec![Assignment::new(); members.len()];
    for (topic, count) in counts {
        let subscribed: Vec<usize> =
            (0..members.len()).filter(|at| members[*at].topics.contains(topic)).collect();
        if subscribed.is_empty() {
            continue;
        }
        let had: Vec<Vec<i32>> = kept(members, counts, |place| place.0 == *topic, &subscribed)
            .into_iter()
            .map(indexes)
            .collect();
        let shares = shares(&had, *count);
        let mut free: BTreeSet<i32> = (0..*count as i32).collect();
        let mut parts: Vec<Vec<i32>> = Vec::new();
        for (had, share) in had.into_iter().zip(&shares) {
            let keeps: Vec<i32> = had.into_iter().take(*share).collect();
            for index in &keeps {
                free.remove(index);
            }
            parts.push(keeps);
        }
        let mut free = free.into_iter();
        for ((at, mut part), share) in subscribed.into_iter().zip(parts).zip(shares) {
            part.extend(free.by_ref().take(share - part.len()));
            if !part.is_empty() {
                targets[at].insert(*topic, part.into_iter().collect());
            }
        }
    }
    targets
}

/// All partitions alike: members have as many as each other, as far as their subscriptions allow.
pub fn uniform(members: &[Subscriber], counts: &Counts) -> Vec<Assignment> {
    let is_same = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    if is_same { uniform_alike(members, counts) } else { uniform_mixed(members, counts) }
}

/// All members subscribe to the same topics: sizes differ by one at most.
fn uniform_alike(members: &[Subscriber], counts: &Counts) -> Vec<Assignment> {
    let Some(first) = members.first() else { return Vec::new() };
    let all: Vec<usize> = (0..members.len()).collect();
    let had = kept(members, counts, |place| first.topics.contains(&place.0), &all);
    let places = places(first.topics.iter(), counts);
    let shares = shares(&had, places.len());
    let mut taken: BTreeSet<Place> = BTreeSet::new();
    let mut parts: Vec<Vec<Place>> = Vec::new();
    for (had, share) in had.into_iter().zip(&shares) {
        let keeps: Vec<Place> = had.into_iter().take(*share).collect();
        taken.extend(&keeps);
        parts.push(keeps);
    }
    let mut free = places.into_iter().filter(|place| !taken.contains(place));
    for (part, share) in parts.iter_mut().zip(shares) {
        part.extend(free.by_ref().take(share - part.len()));
    }
    parts.into_iter().map(assignment).collect()
}

/// Subscriptions differ: no partition could move to another of its subscribers and make the two more alike.
fn uniform_mixed(members: &[Subscriber], counts: &Counts) -> Vec<Assignment> {
    let all: Vec<usize> = (0..members.len()).collect();
    let mut parts: Vec<BTreeSet<Place>> = kept(members, counts, |_| true, &all)
        .into_iter()
        .map(|places| places.into_iter().collect())
        .collect();
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for topic in &member.topics {
            subscribers.entry(*topic).or_default().push(at);
        }
    }
    // Topics with the least choice first: the others even it out.
    let mut topics: Vec<TopicId> = subscribers.keys().copied().collect();
    topics.sort_by_key(|topic| (subscribers[topic].len(), *topic));
    let taken: BTreeSet<Place> = parts.iter().flatten().copied().collect();
    for topic in &topics {
        let mut by_size: BTreeSet<(usize, usize)> =
            subscribers[topic].iter().map(|at| (parts[*at].len(), *at)).collect();
        for place in places(std::iter::once(topic), counts) {
            if taken.contains(&place) {
                continue;
            }
            let (size, at) = by_size.pop_first().expect("a topic here has a subscriber");
            parts[at].insert(place);
            by_size.insert((size + 1, at));
        }
    }
    // Each move brings two sizes closer, so this ends.
    let mut has_moved = true;
    while has_moved {
        has_moved = false;
        for topic in &topics {
            has_moved |= even_out(*topic, &subscribers[topic], members, &mut parts);
        }
    }
    parts.into_iter().map(assignment).collect()
}

/// Moves partitions of one topic from those who have most to those who have least.
fn even_out(
    topic: TopicId,
    subscribers: &[usize],
    members: &[Subscriber],
    parts: &mut [BTreeSet<Place>],
) -> bool {
    let of_topic = (topic, 0)..=(topic, i32::MAX);
    let owns = |part: &BTreeSet<Place>| part.range(of_topic.clone()).next().is_some();
    let size = |at: usize, parts: &[BTreeSet<Place>]| (parts[at].len(), at);
    let mut takers: BTreeSet<(usize, usize)> =
        subscribers.iter().map(|at| size(*at, parts)).collect();
    let mut givers: BTreeSet<(usize, usize)> =
        takers.iter().copied().filter(|(_, at)| owns(&parts[*at])).collect();
    let mut moved = false;
    while let (Some(&(most, from)), Some(&(least, to))) = (givers.last(), takers.first()) {
        if most <= least + 1 {
            break;
        }
        let had = |at: usize, place: &Place| {
            members[at].has.get(&place.0).is_some_and(|had| had.contains(&place.1))
        };
        // Back to who had it, or what the giver got only now, or whatever: in this order.
        let place = parts[from]
            .range(of_topic.clone())
            .copied()
            .max_by_key(|place| (had(to, place), !had(from, place)))
            .expect("a giver has a partition of the topic");
        for at in [from, to] {
            takers.remove(&size(at, parts));
            givers.remove(&size(at, parts));
        }
        parts[from].remove(&place);
        parts[to].insert(place);
        for at in [from, to] {
            takers.insert(size(at, parts));
            if owns(&parts[at]) {
                givers.insert(size(at, parts));
            }
        }
        moved = true;
    }
    moved
}

/// What these members have of what they may have, each partition at one of them.
fn kept(
    members: &[Subscriber],
    counts: &Counts,
    is_wanted: impl Fn(&Place) -> bool,
    these: &[usize],
) -> Vec<Vec<Place>> {
    let mut taken: BTreeSet<Place> = BTreeSet::new();
    let mut keep = |at: &usize| {
        let member = &members[*at];
        let had = member.has.iter().filter(|(topic, _)| member.topics.contains(*topic));
        let had = had.flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)));
        had.filter(|place| {
            let is_there = counts.get(&place.0).is_some_and(|count| (place.1 as usize) < *count);
            is_there && place.1 >= 0 && is_wanted(place) && taken.insert(*place)
        })
        .collect()
    };
    these.iter().map(&mut keep).collect()
}

/// How many of `total` each should have: alike, and one more first for those who have more already.
fn shares<T>(had: &[Vec<T>], total: usize) -> Vec<usize> {
    let least = total / had.len();
    let mut more = total % had.len();
    let mut shares = vec![least; had.len()];
    for wants in [true, false] {
        for (share, had) in shares.iter_mut().zip(had) {
            if more > 0 && *share == least && (had.len() > least) == wants {
                *share += 1;
                more -= 1;
            }
        }
    }
    shares
}

fn places<'a>(topics: impl Iterator<Item = &'a TopicId>, counts: &Counts) -> Vec<Place> {
    topics
        .flat_map(|topic| {
            let count = counts.get(topic).copied().unwrap_or(0) as i32;
            (0..count).map(|index| (*topic, index))
        })
        .collect()
}

fn indexes(places: Vec<Place>) -> Vec<i32> {
    places.into_iter().map(|place| place.1).collect()
}

fn assignment(places: impl IntoIterator<Item = Place>) -> Assignment {
    let mut target = Assignment::new();
    for (topic, index) in places {
        target.entry(topic).or_default().insert(index);
    }
    target
}

#[cfg(test)]
mod tests;
