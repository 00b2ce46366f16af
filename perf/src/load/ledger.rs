//! The verdict on every record: what a producer was promised against what consumers saw. Pure.
//!
//! A producer numbers its records in each partition from zero. A consumer of a partition must see each
//! number once, in order; what is acknowledged and never comes is lost.

use crate::report::model::Verified;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Numbers missing at once that are remembered one by one.
const MISSING_MAX: usize = 100_000;
const EXAMPLES_MAX: usize = 10;

/// Whose records: producer, topic number, partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    pub producer: u32,
    pub topic: u32,
    pub partition: i32,
}

/// What a producer knows of a stream, at any moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promised {
    /// Numbers given out.
    pub sequences: u64,
    /// Numbers that are not acknowledged, from the first of a batch to after its last: they may be there or not.
    pub unanswered: BTreeMap<u64, u64>,
}

impl Promised {
    /// Numbers the records of a batch; the first one's number.
    pub fn number(&mut self, records: u64) -> u64 {
        let first = self.sequences;
        self.sequences += records;
        self.unanswered.insert(first, self.sequences);
        first
    }

    /// The batch that begins with this number is acknowledged.
    pub fn acknowledge(&mut self, first: u64) {
        self.unanswered.remove(&first);
    }

    /// Whether an earlier batch than the one that begins with this number is not acknowledged.
    pub fn has_unanswered_before(&self, first: u64) -> bool {
        self.unanswered.range(..first).next().is_some()
    }

    /// Whether this record must be there.
    fn has(&self, sequence: u64) -> bool {
        let batch = self.unanswered.range(..=sequence).next_back();
        sequence < self.sequences && batch.is_none_or(|(_, end)| sequence >= *end)
    }
}

/// What one group saw of all streams.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    streams: HashMap<Stream, Progress>,
    pub verified: Verified,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    next: u64,
    missing: BTreeSet<u64>,
}

impl Seen {
    /// Takes up one record.
    pub fn note(&mut self, stream: Stream, sequence: u64, is_whole: bool) {
        self.verified.records += 1;
        if !is_whole {
            self.verified.damaged += 1;
            self.example(format!("{stream}: record {sequence} is damaged"));
        }
        let progress = self.streams.entry(stream).or_default();
        if sequence == progress.next {
            progress.next += 1;
            return;
        }
        if sequence > progress.next {
            let gap = progress.next..sequence;
            progress.next = sequence + 1;
            let room = MISSING_MAX.saturating_sub(progress.missing.len());
            progress.missing.extend(gap.clone().take(room));
            self.example(format!(
                "{stream}: {} to {} missing before {sequence}",
                gap.start,
                gap.end - 1
            ));
        } else if progress.missing.remove(&sequence) {
            self.verified.reordered += 1;
            self.example(format!("{stream}: record {sequence} came late"));
        } else {
            self.verified.duplicated += 1;
            self.example(format!("{stream}: record {sequence} came twice"));
        }
    }

    pub fn note_foreign(&mut self) {
        self.verified.foreign += 1;
    }

    /// Adds what another consumer of the group saw. A stream has one consumer.
    pub fn merge(&mut self, other: Seen) {
        self.streams.extend(other.streams);
        add(&mut self.verified, &other.verified);
    }

    /// The verdict, once all has been read.
    pub fn judge(mut self, promised: &HashMap<Stream, Promised>) -> Verified {
        let mut streams: Vec<_> = promised.iter().collect();
        streams.sort_unstable_by_key(|(stream, _)| **stream);
        for (stream, promised) in streams {
            let none = Progress::default();
            let progress = self.streams.get(stream).unwrap_or(&none);
            let holes = progress.missing.iter().copied();
            let unread = holes.chain(progress.next..promised.sequences);
            let lost: Vec<u64> = unread.filter(|sequence| promised.has(*sequence)).collect();
            if let Some(first) = lost.first() {
                self.verified.lost += lost.len() as u64;
                let count = lost.len();
                self.example(format!(
                    "{stream}: {count} acknowledged records never came, first {first}"
                ));
            }
        }
        self.verified
    }

    fn example(&mut self, text: String) {
        if self.verified.examples.len() < EXAMPLES_MAX {
            self.verified.examples.push(text);
        }
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "producer {}, topic {}, partition {}", self.producer, self.topic, self.partition)
    }
}

pub fn add(verified: &mut Verified, other: &Verified) {
    verified.records += other.records;
    verified.lost += other.lost;
    verified.duplicated += other.duplicated;
    verified.reordered += other.reordered;
    verified.damaged += other.damaged;
    verified.foreign += other.foreign;
    verified.examples.extend(other.examples.iter().cloned());
    verified.examples.truncate(EXAMPLES_MAX);
}

/// Whether a benchmark may have a number at all.
pub fn is_clean(verified: &Verified) -> bool {
    let Verified { lost, duplicated, reordered, damaged, .. } = verified;
    lost + duplicated + reordered + damaged == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { producer: 1, topic: 0, partition: 2 };

    /// `unanswered`: batches of one record.
    fn check(sequences: &[u64], promised: u64, unanswered: &[u64], expect: [u64; 3]) {
        let mut seen = Seen::default();
        for sequence in sequences {
            seen.note(STREAM, *sequence, true);
        }
        let unanswered = unanswered.iter().map(|first| (*first, first + 1)).collect();
        let promised = Promised { sequences: promised, unanswered };
        let verdict = seen.judge(&HashMap::from([(STREAM, promised)]));
        assert_eq!([verdict.lost, verdict.duplicated, verdict.reordered], expect, "{sequences:?}");
        assert_eq!(is_clean(&verdict), expect == [0; 3]);
    }

    #[test]
    fn loss_duplication_and_reordering_are_told_apart() {
        check(&[0, 1, 2], 3, &[], [0, 0, 0]);
        check(&[0, 1], 3, &[], [1, 0, 0]);
        check(&[0, 2], 3, &[], [1, 0, 0]);
        check(&[0, 1, 1, 2], 3, &[], [0, 1, 0]);
        check(&[0, 2, 1], 3, &[], [0, 0, 1]);
        check(&[], 2, &[], [2, 0, 0]);
        check(&[0, 3], 4, &[1, 2], [0, 0, 0]);
        check(&[0, 3], 6, &[1, 5], [2, 0, 0]);
        check(&[0, 1, 2, 0, 1, 2], 3, &[], [0, 3, 0]);
    }

    #[test]
    fn only_what_was_acknowledged_is_promised() {
        let mut promised = Promised::default();
        let batches: Vec<u64> = [3, 2, 4].into_iter().map(|n| promised.number(n)).collect();
        assert_eq!(batches, [0, 3, 5]);
        let kept = |promised: &Promised| (0..12).filter(|n| promised.has(*n)).collect::<Vec<_>>();
        assert_eq!(kept(&promised), Vec::<u64>::new());
        promised.acknowledge(3);
        assert_eq!(kept(&promised), [3, 4]);
        assert!(promised.has_unanswered_before(5) && !promised.has_unanswered_before(0));
        promised.acknowledge(0);
        assert!(!promised.has_unanswered_before(5));
        promised.acknowledge(5);
        assert_eq!(kept(&promised), (0..9).collect::<Vec<_>>());
    }
}
