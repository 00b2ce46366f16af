//! Random histories of members of both protocols: joins, answers that are lost, slow members, crashes, restarts, topics that come and grow.

use super::migration::ClassicClient;
use super::*;

const SEEDS: u64 = 150;
const STEPS: usize = 120;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct History {
    seed: u64,
    dice: Dice,
    bench: Bench,
    clients: Vec<Client>,
    classics: Vec<ClassicClient>,
    born: usize,
}

impl History {
    fn new(seed: u64) -> History {
        let mut bench = Bench::with_topic("a", 5);
        bench.topics.set("b", 3);
        // It stays a consumer group, whoever is in it.
        bench.config.members_max = 0;
        let (clients, classics) = (Vec::new(), Vec::new());
        History { seed, dice: Dice(seed), bench, clients, classics, born: 0 }
    }

    /// Nobody whom the group knows works on what another works on that the group knows.
    fn check_owners(&self) {
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for client in &self.clients {
            let is_member = self.bench.group.members.contains_key(client.id.as_str());
            for partition in client.owned.iter().filter(|_| is_member) {
                let other = owners.insert(*partition, &client.id);
                assert_eq!(other, None, "seed {}: {partition:?} and {}", self.seed, client.id);
            }
        }
        for client in &self.classics {
            let is_member = self.bench.group.members.contains_key(client.id.as_str());
            for index in client.owned.iter().filter(|_| is_member) {
                let partition = (self.bench.topics.id("a"), *index);
                let other = owners.insert(partition, &client.id);
                assert_eq!(other, None, "seed {}: {partition:?} and {}", self.seed, client.id);
            }
        }
    }

    fn beat_classic(&mut self) {
        let at = self.dice.below(self.classics.len());
        match self.dice.below(20) {
            // It is gone, and nobody says so.
            0 => drop(self.classics.swap_remove(at)),
            1 => drop(self.classics.swap_remove(at).leave(&mut self.bench)),
            _ => {
                let dice = &mut self.dice;
                self.classics[at].beat_over(&mut self.bench, || dice.one_in(6));
            }
        }
    }

    fn step(&mut self) {
        match self.dice.below(18) {
            14 if self.classics.len() < 3 && self.bench.group.members_count() > 0 => {
                self.born += 1;
                self.classics.push(ClassicClient::new(&format!("c{}", self.born)));
            }
            15.. if !self.classics.is_empty() => self.beat_classic(),
            0 | 1 if self.clients.len() < 6 => self.join(),
            2 if !self.clients.is_empty() => self.leave_or_crash(),
            3 => self.change_topics(),
            4 => {
                let time = Duration::from_millis(self.dice.below(30_000) as u64);
                self.bench.pass(time);
            }
            5 if self.dice.one_in(3) => self.bench.restart(),
            _ if !self.clients.is_empty() => self.beat(),
            _ => {}
        }
        self.check_owners();
    }

    fn join(&mut self) {
        self.born += 1;
        let topics: &[&str] = match self.dice.below(4) {
            0 => &["a"],
            1 => &["b"],
            _ => &["a", "b"],
        };
        let mut client = Client::new(&format!("m{}", self.born), topics);
        match self.dice.below(6) {
            0 => client = client.instance(&format!("i{}", self.dice.below(3))),
            1 => {
                client.topics.clear();
                client.regex = Some(["a|b", "[a-z]", "c.*"][self.dice.below(3)].to_string());
            }
            2 => client.assignor = Some("range".to_string()),
            _ => {}
        }
        self.clients.push(client);
    }

    fn leave_or_crash(&mut self) {
        let at = self.dice.below(self.clients.len());
        let mut client = self.clients.swap_remove(at);
        match self.dice.below(3) {
            // It is gone, and nobody says so.
            0 => {}
            1 if client.instance.is_some() => {
                client.leave(&mut self.bench, member::LEAVE_STATIC_EPOCH);
            }
            _ => {
                client.leave(&mut self.bench, member::LEAVE_EPOCH);
            }
        }
    }

    fn change_topics(&mut self) {
        match self.dice.below(5) {
            0 => self.bench.topics.remove("b"),
            1 => {
                let name = ["a", "b", "c"][self.dice.below(3)];
                let partitions = self.bench.topics.topic(name).map_or(2, |(_, count)| count + 1);
                self.bench.topics.set(name, partitions.min(9));
            }
            _ => {}
        }
    }

    fn beat(&mut self) {
        let at = self.dice.below(self.clients.len());
        let client = &mut self.clients[at];
        if self.dice.one_in(8) && client.regex.is_none() {
            client.topics = [vec!["a"], vec!["a", "b"], vec!["b"]][self.dice.below(3)]
                .iter()
                .map(|name| name.to_string())
                .collect();
            client.is_full = true;
        }
        if !self.dice.one_in(3) {
            client.work();
        }
        let request = client.request();
        let response = self.bench.heartbeat(&request);
        if self.dice.one_in(6) {
            // The answer is lost. A client that left says all again.
            client.is_full = true;
        } else {
            client.hear(&response);
        }
    }

    /// Everybody who is there goes on, nothing else happens.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.bench.pass(Duration::from_secs(5));
            for client in &mut self.clients {
                client.beat(&mut self.bench);
            }
            for client in &mut self.classics {
                client.beat_over(&mut self.bench, || false);
            }
            self.check_owners();
        }
    }

    fn check_settled(&self) {
        let (group, seed) = (&self.bench.group, self.seed);
        // Static members that share an instance fence each other for ever, so count those that are in.
        let inside: Vec<&Client> = self
            .clients
            .iter()
            .filter(|client| group.members.contains_key(client.id.as_str()))
            .collect();
        let count = inside.len() + self.classics.len();
        assert_eq!(count, group.members.len(), "seed {seed}: only who lives is in");
        let state = if count == 0 { "Empty" } else { "Stable" };
        assert_eq!(group.state_name(), state, "seed {seed}");
        let mut owned = BTreeSet::new();
        for client in &self.classics {
            let topic = self.bench.topics.id("a");
            let target = group.targets[client.id.as_str()].get(&topic);
            let target = target.cloned().unwrap_or_default();
            assert_eq!(client.owned, target, "seed {seed}: {}", client.id);
            owned.extend(client.owned.iter().map(|index| (topic, *index)));
        }
        for client in inside {
            let target = &group.targets[client.id.as_str()];
            let target: BTreeSet<(TopicId, i32)> = target
                .iter()
                .flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
                .collect();
            assert_eq!(client.owned, target, "seed {seed}: {}", client.id);
            owned.extend(target);
        }
        let wanted: BTreeSet<(TopicId, i32)> = group
            .subscribed_topics()
            .filter_map(|name| self.bench.topics.topic(name))
            .flat_map(|(topic, count)| (0..count as i32).map(move |index| (topic, index)))
            .collect();
        assert_eq!(owned, wanted, "seed {seed}: all of every topic");
    }
}

#[test]
fn no_partition_has_two_owners_and_quiet_groups_reach_their_target() {
    for seed in 0..SEEDS {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        history.settle();
        history.check_settled();
        history.bench.restart();
        history.check_settled();
    }
}
