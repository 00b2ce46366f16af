//! A group driven turn by turn, with a client that does what Kafka's consumer does.

mod migration;
mod property;
mod scenarios;

use super::*;
use crate::control_plane::configs::Overrides;
use crate::control_plane::groups::turn::{Counts, GroupConfig, Timers};
use crate::runtime::Instant;
use crate::wire::ErrorCode;
use crate::wire::api::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::wire::api::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// Topics by name: number for their id, and partitions.
#[derive(Clone, Default)]
pub struct TestTopics {
    version: u64,
    topics: BTreeMap<String, (TopicId, usize)>,
}

impl TestTopics {
    pub fn set(&mut self, name: &str, partitions: usize) {
        self.version += 1;
        let id = TopicId([self.version as u8; 16]);
        let topic = self.topics.entry(name.to_string()).or_insert((id, partitions));
        topic.1 = partitions;
    }

    pub fn remove(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    pub fn id(&self, name: &str) -> TopicId {
        self.topics[name].0
    }
}

impl TopicView for TestTopics {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<(TopicId, usize)> {
        self.topics.get(name).copied()
    }

    fn name(&self, id: TopicId) -> Option<Str> {
        let named = self.topics.iter().find(|(_, (of, _))| *of == id)?;
        Some(Str::from(named.0.as_str()))
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        self.topics.keys().for_each(|name| visit(name));
    }
}

/// One group, its log, and time.
pub struct Bench {
    pub group: ConsumerGroup,
    pub topics: TestTopics,
    pub config: GroupConfig,
    pub overrides: BTreeMap<String, Overrides>,
    pub log: Vec<GroupRecord>,
    pub now: Duration,
    /// Of all turns.
    pub counts: Counts,
    folded: ConsumerGroup,
    timers: Timers,
    random: u64,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            group: ConsumerGroup::new(Str::from_static("g")),
            topics: TestTopics::default(),
            config: GroupConfig::default(),
            overrides: BTreeMap::new(),
            log: Vec::new(),
            now: Duration::from_secs(1000),
            counts: Counts::default(),
            folded: ConsumerGroup::new(Str::from_static("g")),
            timers: Timers::default(),
            random: 7,
        }
    }

    pub fn with_topic(name: &str, partitions: usize) -> Bench {
        let mut bench = Bench::new();
        bench.topics.set(name, partitions);
        bench
    }

    /// Runs a turn, keeps its records, and checks that the group is what they say.
    pub fn turn<T>(
        &mut self,
        act: impl FnOnce(&mut ConsumerGroup, &TestTopics, &mut Turn) -> T,
    ) -> T {
        let random = &mut self.random;
        let mut next = || {
            *random =
                random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            *random
        };
        let mut turn = Turn {
            now: Instant(self.now.as_nanos() as u64),
            wall: Timestamp(self.now.as_millis() as i64),
            config: &self.config,
            overrides: &self.overrides,
            timers: &mut self.timers,
            random: &mut next,
            records: Vec::new(),
            releases: Vec::new(),
            counts: Default::default(),
        };
        let result = act(&mut self.group, &self.topics, &mut turn);
        let records = std::mem::take(&mut turn.records);
        self.counts.topics_left_out += turn.counts.topics_left_out;
        self.counts.assignments_withheld += turn.counts.assignments_withheld;
        let from = self.log.len();
        self.log.extend(records);
        self.check_fold(from);
        result
    }

    /// The group is the fold of its log so far.
    fn check_fold(&mut self, from: usize) {
        replay(&mut self.folded, &self.log[from..]);
        assert_eq!(self.folded.records(), self.group.records());
        assert_eq!(self.folded.follows, self.group.follows);
    }

    /// A restart: the group is read from the log, and its timers start.
    pub fn restart(&mut self) {
        self.group = fold(&self.log);
        // A copy of what it is, as it goes to the log's end, is the same.
        self.folded = fold(&self.group.records());
        self.timers = Timers::default();
        self.turn(|group, _, turn| group.start_timers(turn));
    }

    /// Lets time pass; timers fire in order.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.timers.next_at().filter(|at| at.0 <= end.as_nanos() as u64) {
            self.now = Duration::from_nanos(at.0).max(self.now);
            let timer = self.timers.take_due(at).expect("due");
            self.turn(|group, topics, turn| group.on_timer(&timer, topics, turn));
        }
        self.now = end;
    }

    pub fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let caller = Caller {
            client_id: Str::from_static("client"),
            client_host: Str::from_static("/127.0.0.1"),
        };
        refuse(request, 1, &self.config).unwrap_or_else(|| {
            self.turn(|group, topics, turn| group.heartbeat(request, &caller, topics, turn))
        })
    }
}

fn fold(log: &[GroupRecord]) -> ConsumerGroup {
    let mut group = ConsumerGroup::new(Str::from_static("g"));
    replay(&mut group, log);
    group
}

fn replay(group: &mut ConsumerGroup, log: &[GroupRecord]) {
    for record in log {
        let GroupRecord::Consumer(record) = record else { continue };
        // Through its bytes, as from the log.
        let (key, value) = (record.key(), record.value());
        let mut d = crate::wire::Decoder::new(key);
        let kind = d.read_i16().expect("a kind");
        let read = ConsumerRecord::decode(kind, &mut d, value).expect("a record");
        assert_eq!(&read, record);
        group.replay(read.change);
    }
}

/// A consumer as Kafka's: gives up at once or later what it is told to, and says so.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub id: String,
    pub instance: Option<String>,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    pub epoch: i32,
    /// What it works on.
    pub owned: BTreeSet<(TopicId, i32)>,
    /// What it was told to have, when that differs.
    pub told: Option<BTreeSet<(TopicId, i32)>>,
    said: Option<BTreeSet<(TopicId, i32)>>,
    /// The next request says all.
    pub is_full: bool,
}

impl Client {
    pub fn new(id: &str, topics: &[&str]) -> Client {
        Client {
            id: id.to_string(),
            topics: topics.iter().map(|name| name.to_string()).collect(),
            ..Default::default()
        }
    }

    pub fn instance(mut self, instance: &str) -> Client {
        self.instance = Some(instance.to_string());
        self
    }

    pub fn request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let is_full = self.is_full || self.epoch == 0;
        let says = is_full || self.said.as_ref() != Some(&self.owned);
        let text = |text: &String| Str::from(text.as_str());
        self.said = says.then(|| self.owned.clone()).or(self.said.take());
        ConsumerGroupHeartbeatRequest {
            group_id: Str::from_static("g"),
            member_id: text(&self.id),
            member_epoch: self.epoch,
            instance_id: self.instance.as_ref().map(text),
            rebalance_timeout_ms: if is_full { 60_000 } else { -1 },
            subscribed_topic_names: is_full.then(|| self.topics.iter().map(text).collect()),
            subscribed_topic_regex: self.regex.as_ref().filter(|_| is_full).map(text),
            server_assignor: self.assignor.as_ref().filter(|_| is_full).map(text),
            topic_partitions: says.then(|| wire(&self.owned)),
            ..Default::default()
        }
    }

    /// Follows an answer; gives up what it should as soon as `work` is called.
    pub fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        self.is_full = false;
        match response.error_code {
            ErrorCode::None => {}
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                let (id, instance, topics) =
                    (self.id.clone(), self.instance.clone(), self.topics.clone());
                let (regex, assignor) = (self.regex.clone(), self.assignor.clone());
                *self = Client { id, instance, topics, regex, assignor, ..Default::default() };
                return;
            }
            _ => return,
        }
        self.epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            let told: BTreeSet<(TopicId, i32)> = assignment
                .topic_partitions
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)))
                .collect();
            if self.owned.is_subset(&told) {
                (self.owned, self.told) = (told, None);
            } else {
                self.told = Some(told);
            }
        }
    }

    /// Gives up what it was told to.
    pub fn work(&mut self) {
        if let Some(told) = self.told.take() {
            self.owned = told;
        }
    }

    /// A heartbeat that arrives and is answered, and all that follows from it.
    pub fn beat(&mut self, bench: &mut Bench) -> ConsumerGroupHeartbeatResponse {
        self.work();
        let response = bench.heartbeat(&self.request());
        self.hear(&response);
        response
    }

    pub fn leave(&mut self, bench: &mut Bench, epoch: i32) -> ConsumerGroupHeartbeatResponse {
        let mut request = self.request();
        request.member_epoch = epoch;
        bench.heartbeat(&request)
    }

    pub fn indexes(&self) -> Vec<i32> {
        self.owned.iter().map(|(_, index)| *index).collect()
    }
}

fn wire(owned: &BTreeSet<(TopicId, i32)>) -> Vec<HeartbeatTopicPartitions> {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, index) in owned {
        topics.entry(*topic).or_default().push(*index);
    }
    topics
        .into_iter()
        .map(|(topic_id, partitions)| HeartbeatTopicPartitions { topic_id, partitions })
        .collect()
}
