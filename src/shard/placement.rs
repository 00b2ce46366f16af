//! Which shard owns a partition. Pure: the answer is recorded in the metadata log and asked again only
//! when the number of shards changes.

use crate::types::{ShardId, TopicId};

/// The shard for a partition of a topic: a topic's partitions follow each other over the shards, from a
/// start that differs from topic to topic.
pub fn place(topic: TopicId, index: i32, shards: u16) -> ShardId {
    assert!(shards > 0);
    let start = u64::from(crc32fast::hash(&topic.0));
    let index = u64::try_from(index).expect("a partition index is not negative");
    ShardId(((start + index) % u64::from(shards)) as u16)
}

/// The places of a topic's partitions when the number of shards has become `shards`: as many stay where
/// they are as evenness allows.
pub fn place_anew(topic: TopicId, current: &[ShardId], shards: u16) -> Vec<ShardId> {
    assert!(shards > 0);
    let even = current.len().div_ceil(usize::from(shards));
    let mut load = vec![0usize; usize::from(shards)];
    let mut places: Vec<Option<ShardId>> = current
        .iter()
        .map(|shard| {
            let count = load.get_mut(shard.index()).filter(|count| **count < even)?;
            *count += 1;
            Some(*shard)
        })
        .collect();
    let start = usize::from(place(topic, 0, shards).0);
    for place in places.iter_mut().filter(|place| place.is_none()) {
        let order = (0..load.len()).map(|step| (start + step) % load.len());
        let least = order.min_by_key(|shard| load[*shard]).expect("there is a shard");
        load[least] += 1;
        *place = Some(ShardId(least as u16));
    }
    places.into_iter().map(|place| place.expect("all are placed")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(places: &[ShardId], shards: u16) -> Vec<usize> {
        (0..shards).map(|shard| places.iter().filter(|p| p.0 == shard).count()).collect()
    }

    #[test]
    fn partitions_of_a_topic_are_spread_evenly() {
        for shards in 1..9u16 {
            let places: Vec<_> =
                (0..64).map(|index| place(TopicId([7; 16]), index, shards)).collect();
            let counts = counts(&places, shards);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn single_partition_topics_do_not_all_land_on_one_shard() {
        let places: Vec<_> = (0..200u8).map(|n| place(TopicId([n; 16]), 0, 4)).collect();
        assert!(counts(&places, 4).iter().all(|count| *count > 20));
    }

    #[test]
    fn another_number_of_shards_moves_no_more_than_it_must() {
        for (from, to) in [(4u16, 2u16), (2, 4), (3, 5), (5, 3), (1, 8), (8, 1)] {
            let topic = TopicId([3; 16]);
            let before: Vec<_> = (0..24).map(|index| place(topic, index, from)).collect();
            let after = place_anew(topic, &before, to);
            assert!(after.iter().all(|shard| shard.0 < to));
            let counts = counts(&after, to);
            assert!(
                *counts.iter().max().unwrap() <= 24usize.div_ceil(usize::from(to)),
                "{counts:?}"
            );
            let stayed = before.iter().zip(&after).filter(|(a, b)| a == b).count();
            let even = 24usize.div_ceil(usize::from(to));
            let could: usize = (0..from.min(to))
                .map(|shard| before.iter().filter(|p| p.0 == shard).count().min(even))
                .sum();
            assert_eq!(stayed, could);
            assert_eq!(place_anew(topic, &after, to), after, "stable");
        }
    }
}
