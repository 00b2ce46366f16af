use super::*;

const SEEDS: u64 = 400;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }
}

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn counts(sizes: &[usize]) -> Counts {
    sizes.iter().enumerate().map(|(at, size)| (topic(at as u8), *size)).collect()
}

fn size(target: &Assignment) -> usize {
    target.values().map(BTreeSet::len).sum()
}

/// Members with these topics, which had these targets.
fn members<'a>(topics: &[BTreeSet<TopicId>], had: &'a [Assignment]) -> Vec<Subscriber<'a>> {
    topics.iter().zip(had).map(|(topics, has)| Subscriber { topics: topics.clone(), has }).collect()
}

/// Every partition that somebody subscribes to is at one of its subscribers, and nothing else is.
fn check_whole(topics: &[BTreeSet<TopicId>], targets: &[Assignment], counts: &Counts, seed: u64) {
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    for (subscribed, target) in topics.iter().zip(targets) {
        for (topic, indexes) in target {
            assert!(subscribed.contains(topic) && !indexes.is_empty(), "seed {seed}");
            for index in indexes {
                assert!((*index as usize) < counts[topic], "seed {seed}");
                assert!(seen.insert((*topic, *index)), "seed {seed}: twice");
            }
        }
    }
    let wanted: usize = counts
        .iter()
        .filter(|(topic, _)| topics.iter().any(|subscribed| subscribed.contains(*topic)))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(seen.len(), wanted, "seed {seed}");
}

type Assignor = fn(&[Subscriber], &Counts) -> Vec<Assignment>;

/// A random group through random changes; `check` sees each step.
fn through_changes(
    assignor: Assignor,
    is_mixed: bool,
    mut check: impl FnMut(&[BTreeSet<TopicId>], &[Assignment], &[Assignment], &Counts, u64),
) {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut sizes: Vec<usize> = (0..1 + dice.below(4)).map(|_| 1 + dice.below(9)).collect();
        let (mut topics, mut had) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            match dice.below(4) {
                0 if had.len() > 1 => {
                    let leaves = dice.below(had.len());
                    had.remove(leaves);
                    topics.remove(leaves);
                }
                1 => {
                    let grows = dice.below(sizes.len());
                    sizes[grows] += dice.below(4);
                }
                2 if sizes.len() < 6 => sizes.push(1 + dice.below(9)),
                _ => {
                    had.push(Assignment::new());
                    topics.push(BTreeSet::new());
                }
            }
            let counts = counts(&sizes);
            for subscribed in &mut topics {
                if !is_mixed {
                    *subscribed = counts.keys().copied().collect();
                } else if subscribed.is_empty() || dice.below(6) == 0 {
                    *subscribed = counts.keys().copied().filter(|_| dice.below(2) == 0).collect();
                }
            }
            let targets = assignor(&members(&topics, &had), &counts);
            check_whole(&topics, &targets, &counts, seed);
            check(&topics, &had, &targets, &counts, seed);
            had = targets;
        }
    }
}

/// As few partitions change hands as balance allows, when all subscribe alike.
fn check_sticky(had: &[Assignment], targets: &[Assignment], total: usize, seed: u64) {
    let (least, more) = (total / targets.len(), total % targets.len());
    let richer = had.iter().filter(|had| size(had) > least).count().min(more);
    for (had, target) in had.iter().zip(targets) {
        let kept: usize = had
            .iter()
            .map(|(topic, had)| target.get(topic).map_or(0, |has| has.intersection(had).count()))
            .sum();
        assert!(kept >= size(had).min(least), "seed {seed}: {had:?} became {target:?}");
    }
    let kept_one_more =
        had.iter().zip(targets).filter(|(had, target)| size(had) > least && size(target) > least);
    assert_eq!(kept_one_more.count(), richer, "seed {seed}");
}

#[test]
fn uniform_balances_and_moves_no_more_than_it_must_when_all_subscribe_alike() {
    through_changes(uniform, false, |_, had, targets, counts, seed| {
        if targets.is_empty() {
            return;
        }
        let sizes: Vec<usize> = targets.iter().map(size).collect();
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        assert!(most <= least.map(|least| least + 1).as_ref(), "seed {seed}: {sizes:?}");
        check_sticky(had, targets, counts.values().sum(), seed);
    });
}

#[test]
fn uniform_leaves_no_partition_that_could_move_to_a_poorer_subscriber() {
    through_changes(uniform, true, |topics, _, targets, _, seed| {
        for (from, target) in targets.iter().enumerate() {
            for topic in target.keys() {
                for to in (0..targets.len()).filter(|to| topics[*to].contains(topic)) {
                    assert!(size(&targets[from]) <= size(&targets[to]) + 1, "seed {seed}");
                }
            }
        }
    });
}

#[test]
fn range_balances_every_topic_on_its_own() {
    for is_mixed in [false, true] {
        through_changes(range, is_mixed, |topics, _, targets, counts, seed| {
            for topic in counts.keys() {
                let sizes: Vec<usize> = topics
                    .iter()
                    .zip(targets)
                    .filter(|(subscribed, _)| subscribed.contains(topic))
                    .map(|(_, target)| target.get(topic).map_or(0, BTreeSet::len))
                    .collect();
                let (least, most) = (sizes.iter().min(), sizes.iter().max());
                assert!(most <= least.map(|least| least + 1).as_ref(), "seed {seed}: {sizes:?}");
            }
        });
    }
}

#[test]
fn range_gives_the_same_numbers_of_topics_of_one_size_to_one_member() {
    let counts = counts(&[5, 5]);
    let all: BTreeSet<TopicId> = counts.keys().copied().collect();
    let had = vec![Assignment::new(); 2];
    let targets = range(&members(&[all.clone(), all], &had), &counts);
    let expected = |indexes: &[i32]| -> Assignment {
        [topic(0), topic(1)].map(|id| (id, indexes.iter().copied().collect())).into()
    };
    assert_eq!(targets, [expected(&[0, 1, 2]), expected(&[3, 4])]);
}

#[test]
fn nothing_changes_when_nothing_changed() {
    for (assignor, is_mixed) in [(uniform as Assignor, false), (uniform, true), (range, true)] {
        through_changes(assignor, is_mixed, |topics, _, targets, counts, seed| {
            let again = assignor(&members(topics, targets), counts);
            assert_eq!(again, targets, "seed {seed}");
        });
    }
}

#[test]
fn a_partition_that_two_had_goes_to_one_and_one_that_is_not_there_to_none() {
    let counts = counts(&[2]);
    let all: BTreeSet<TopicId> = counts.keys().copied().collect();
    let had = vec![Assignment::from([(topic(0), [0, 7].into())]); 2];
    let topics = [all.clone(), all];
    for assignor in [uniform as Assignor, range] {
        let targets = assignor(&members(&topics, &had), &counts);
        check_whole(&topics, &targets, &counts, 0);
    }
}

#[test]
fn an_empty_group_has_no_targets() {
    assert!(uniform(&[], &counts(&[3])).is_empty());
    assert!(range(&[], &counts(&[3])).is_empty());
}
