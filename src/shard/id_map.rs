//! Maps by what the broker made up itself: topic ids, which are random, and numbers that it counted. Pure.
//!
//! A client may ask for any key, but puts none there, so it cannot choose keys that collide. A hash that withstands
//! such a choice, the standard library's, takes some twenty nanoseconds for each batch that is looked up; this one
//! takes a multiplication for each word.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Not for keys that a client chooses: names, or the partitions of its request.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Odd, with ones and zeros all over: the golden ratio's fraction.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies word after word, and folds what overflows back in.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_ne_bytes(*word)));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::PartitionKey;
    use super::*;
    use crate::types::TopicId;
    use std::hash::{BuildHasher, Hash};

    /// A map takes low bits for the place and the highest seven to tell keys apart.
    fn check<K: Hash>(keys: impl Iterator<Item = K>) {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        let (mut low, mut high) = ([0; 1024], [0; 128]);
        for key in keys {
            let hash = hasher.hash_one(key);
            low[(hash % 1024) as usize] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        let most = (*low.iter().max().unwrap(), *high.iter().max().unwrap());
        assert!(most.0 <= 30 && most.1 <= 120, "of 10,000 keys {most:?} are alike");
    }

    /// As random as the broker's.
    fn topic_id(number: u64) -> TopicId {
        let words = [number, number + 1_000_000].map(|seed| {
            let mut hasher = IdHasher(seed);
            hasher.write_u64(0x0123_4567_89ab_cdef);
            hasher.finish().to_ne_bytes()
        });
        TopicId(words.concat().try_into().unwrap())
    }

    #[test]
    fn keys_are_spread_evenly() {
        let of_one_topic = |index| PartitionKey { topic_id: TopicId([7; 16]), index };
        check((0..10_000).map(of_one_topic));
        let first = |number| PartitionKey { topic_id: topic_id(number), index: 0 };
        check((0..10_000).map(first));
        check((0..10_000).map(topic_id));
        check(0..10_000u64);
    }
}
