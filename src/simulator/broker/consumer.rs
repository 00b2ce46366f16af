//! Who reads: consumers of several partitions, with and without fetch sessions, and the audit that reads all
//! there is.

use super::link::Link;
use super::records::Floor;
use super::world::{World, pause, tell};
use crate::runtime;
use crate::simulator::dice::Dice;
use crate::types::TopicId;
use crate::wire::api::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use crate::wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::{ErrorCode, Records};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TOPIC_ID_VERSION_MIN: i16 = 13;
const SESSION_VERSION_MIN: i16 = 7;
/// Reads after which an audit gives a partition up: a disk that fails may give nothing.
const AUDIT_TURNS_MAX: usize = 100;
/// Times that stand for the log's ends.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// A partition that a consumer follows.
struct Want {
    id: TopicId,
    index: i32,
    name: String,
    offset: i64,
    /// The session does not know this offset.
    is_news: bool,
    /// As it was last asked for; a session keeps it.
    bytes_max: i32,
    floor: Floor,
    must: bool,
}

/// What a consumer does after what it was told of a partition.
enum Next {
    GoOn,
    /// What it asked for is not there any more.
    BeginAnew,
    TryLater,
    ChooseOthers,
}

/// Limits of one fetch.
#[derive(Clone, Copy)]
struct Limits {
    wait_ms: i32,
    bytes_min: i32,
    bytes_max: i32,
    partition_bytes_max: i32,
}

impl Want {
    /// All that there is fits into the answer.
    fn is_all(&self, limits: Limits) -> bool {
        limits.bytes_max == i32::MAX && self.bytes_max == i32::MAX
    }
}

const ALL: Limits =
    Limits { wait_ms: 0, bytes_min: 0, bytes_max: i32::MAX, partition_bytes_max: i32::MAX };

/// Id, next epoch, and the connection that it was begun on.
#[derive(Clone, Copy, Default)]
struct Session {
    id: i32,
    epoch: i32,
    made: u64,
}

pub struct Consumer {
    pub link: Link,
    dice: Dice,
    version: i16,
    wants: Vec<Want>,
    /// Others were chosen so often.
    chosen: u64,
    session: Option<Session>,
}

impl Consumer {
    pub fn new(world: &Rc<World>, dice: Dice) -> Consumer {
        let version = dice.pick(&[4, 7, 11, 12, 13, 15, 17, 18]);
        let with_session = version >= SESSION_VERSION_MIN && dice.percent(60);
        let session = with_session.then(Session::default);
        let link = Link::new(world, &dice);
        Consumer { link, dice, version, wants: Vec::new(), chosen: 0, session }
    }

    pub async fn work(mut self, rounds: u64) {
        for _ in 0..rounds {
            pause(&self.dice).await;
            if self.wants.is_empty() || self.dice.percent(8) {
                self.choose();
                if self.wants.is_empty() {
                    continue;
                }
            }
            let limits = Limits {
                wait_ms: self.dice.pick(&[0, 1, 5, 30]),
                bytes_min: self.dice.pick(&[0, 1, 1, 30_000]),
                bytes_max: self.dice.pick(&[i32::MAX, i32::MAX, 100, 20_000]),
                partition_bytes_max: self.dice.pick(&[i32::MAX, i32::MAX, 3000, 20_000]),
            };
            self.turn(limits).await;
            if self.dice.percent(10) && !self.wants.is_empty() {
                let at = self.dice.below(self.wants.len() as u64) as usize;
                let Want { id, index, .. } = self.wants[at];
                let time = self.dice.pick(&[LATEST, EARLIEST, LATEST, 0, 1_700_000_000_001]);
                look_up(&mut self.link, (id, index), time).await;
            }
            if self.dice.percent(5) {
                let made = self.link.made;
                self.link = Link::new(&self.link.world, &self.dice);
                self.link.made = made;
            }
        }
    }

    fn choose(&mut self) {
        let mut model = self.link.world.model.borrow_mut();
        let mut partitions = model.partitions();
        partitions.retain(|(id, index)| !model.is_unsettled(*id, *index));
        self.wants.clear();
        self.chosen += 1;
        self.session = self.session.map(|_| Session::default());
        for _ in 0..1 + self.dice.below(3) {
            if partitions.is_empty() {
                return;
            }
            let (id, index) =
                partitions.swap_remove(self.dice.below(partitions.len() as u64) as usize);
            let floor = model.records(id, index).floor();
            let offset = match self.dice.below(10) {
                // Beyond the end.
                0 => floor.high_watermark + 1,
                _ => self.dice.within(floor.log_start..floor.high_watermark + 1),
            };
            let name = model.name_of(id);
            self.wants.push(Want {
                id,
                index,
                name,
                offset,
                is_news: true,
                bytes_max: 0,
                floor,
                must: false,
            });
        }
    }

    /// The topic that an answer about this partition is about; none when it may be any of several.
    fn reached(&self, want: &Want) -> Option<TopicId> {
        let only = self.link.world.model.borrow().only(&want.name);
        let is_sure = self.version >= TOPIC_ID_VERSION_MIN || only == Some(want.id);
        is_sure.then_some(want.id)
    }

    fn request(&mut self, limits: Limits) -> FetchRequest {
        let is_incremental = self.session.is_some_and(|session| session.epoch > 0);
        let mut topics: BTreeMap<TopicId, FetchTopic> = BTreeMap::new();
        for want in self.wants.iter_mut().filter(|want| want.is_news || !is_incremental) {
            (want.is_news, want.bytes_max) = (false, limits.partition_bytes_max);
            let topic = topics.entry(want.id).or_insert_with(|| FetchTopic {
                topic: want.name.as_str().into(),
                topic_id: want.id,
                partitions: Vec::new(),
            });
            topic.partitions.push(FetchPartition {
                partition: want.index,
                fetch_offset: want.offset,
                partition_max_bytes: limits.partition_bytes_max,
                ..Default::default()
            });
        }
        let (session_id, session_epoch) =
            self.session.map_or((0, -1), |session| (session.id, session.epoch));
        FetchRequest {
            max_wait_ms: limits.wait_ms,
            min_bytes: limits.bytes_min,
            max_bytes: limits.bytes_max,
            isolation_level: self.dice.pick(&[0, 1]),
            session_id,
            session_epoch,
            topics: topics.into_values().collect(),
            ..Default::default()
        }
    }

    /// One fetch. False when there is no answer.
    async fn turn(&mut self, limits: Limits) -> bool {
        let world = self.link.world.clone();
        {
            let mut model = world.model.borrow_mut();
            for want in &mut self.wants {
                want.floor = model.records(want.id, want.index).floor();
                want.must = model.must(want.id, want.index);
            }
        }
        let chosen = self.chosen;
        let reached: Vec<_> = self.wants.iter().map(|want| self.reached(want)).collect();
        let is_incremental = self.session.is_some_and(|session| session.epoch > 0);
        let request = self.request(limits);
        let Some(answer) = self.link.ask(self.version, &request).await else {
            self.forget_session();
            return false;
        };
        world.tally.borrow_mut().reads += 1;
        if !self.follow_session(&answer) {
            return true;
        }
        for (at, before) in reached.iter().enumerate() {
            let want = &self.wants[at];
            let same = before.filter(|id| self.reached(want) == Some(*id));
            match find(&answer, want, self.version) {
                Some(data) => {
                    self.take(at, same, limits, data).await;
                    if self.chosen != chosen {
                        return true;
                    }
                }
                None => {
                    let name = format!("{}-{}", want.name, want.index);
                    assert!(is_incremental, "{name} is missing from an answer");
                    let has_more = want.floor.high_watermark > want.offset;
                    let is_sure = world.model.borrow().gives_all(want.id);
                    let is_all = is_sure && want.is_all(limits) && same.is_some() && want.must;
                    assert!(!(has_more && is_all), "{name}: no news at {}", want.offset);
                }
            }
        }
        true
    }

    fn forget_session(&mut self) {
        self.session = self.session.map(|_| Session::default());
        self.wants.iter_mut().for_each(|want| want.is_news = true);
    }

    /// Takes up what an answer says of the session. False when there is nothing else in it.
    fn follow_session(&mut self, answer: &FetchResponse) -> bool {
        match answer.error_code {
            ErrorCode::None => {}
            ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch => {
                let made = self.session.map_or(0, |session| session.made);
                assert!(made < self.link.made, "a session is lost: {}", answer.error_code);
                self.forget_session();
                return false;
            }
            code => panic!("a fetch is answered with {code}"),
        }
        let made = self.link.made;
        if let Some(session) = &mut self.session {
            if session.epoch == 0 {
                session.made = made;
            }
            assert!(session.epoch == 0 || session.id == answer.session_id, "another session");
            (session.id, session.epoch) = (answer.session_id, session.epoch + 1);
            if answer.session_id == 0 {
                *session = Session::default();
            }
        }
        true
    }

    async fn take(
        &mut self,
        at: usize,
        reached: Option<TopicId>,
        limits: Limits,
        data: &PartitionData,
    ) {
        match self.judge(at, reached, limits, data) {
            Next::GoOn => {}
            Next::ChooseOthers => self.choose(),
            Next::TryLater => runtime::sleep(Duration::from_millis(5)).await,
            Next::BeginAnew => {
                let Want { id, index, .. } = self.wants[at];
                let start = look_up(&mut self.link, (id, index), EARLIEST).await;
                let want = &mut self.wants[at];
                (want.offset, want.is_news) = (start.unwrap_or(0), true);
            }
        }
    }

    /// Holds what is said of a partition against the model.
    fn judge(
        &mut self,
        at: usize,
        reached: Option<TopicId>,
        limits: Limits,
        data: &PartitionData,
    ) -> Next {
        let world = self.link.world.clone();
        let want = &mut self.wants[at];
        let (id, index, offset) = (want.id, want.index, want.offset);
        let name = format!("{}-{index}", want.name);
        let mut model = world.model.borrow_mut();
        let must = want.must && reached.is_some() && model.must(id, index);
        let records: &[u8] = match &data.records {
            Some(Records::Inline(bytes)) => bytes,
            _ => &[],
        };
        tell(|| {
            let (code, end, bytes) = (data.error_code, data.high_watermark, records.len());
            format!("{name}: read at {offset} of {end}: {bytes} bytes, {code}")
        });
        match data.error_code {
            ErrorCode::None if reached.is_some() => {
                let ends = (data.log_start_offset, data.high_watermark);
                // Version 4 does not tell where the log begins.
                let ends = if self.version < 5 { (want.floor.log_start, ends.1) } else { ends };
                assert_eq!(data.last_stable_offset, data.high_watermark, "{name}");
                let next = model.read((id, index), want.floor, ends, offset, records);
                let must_give = want.is_all(limits) && model.gives_all(id);
                let has_more = want.floor.high_watermark > offset;
                assert!(
                    !(must_give && has_more && records.is_empty()),
                    "{name}: nothing is served at {offset} below {:?}",
                    want.floor
                );
                (want.is_news, want.offset) = (next != offset, next);
                Next::GoOn
            }
            // By name, of a topic that is another now.
            ErrorCode::None => {
                want.must = false;
                Next::GoOn
            }
            ErrorCode::OffsetOutOfRange => {
                let retains = model.habits(id).retains;
                let asked = model.records(id, index).delete_asked();
                let is_allowed = !must || retains || offset < asked;
                let is_beyond = offset > want.floor.high_watermark;
                assert!(is_allowed || is_beyond, "{name}: {offset} is out of range");
                Next::BeginAnew
            }
            code => {
                let must = must && model.wants_reason(code, (id, index), want.floor);
                let (may_fail, is_gone) = (model.is_rotten(id), model.topics[&id].gone);
                world.expect_error(&name, code, must, may_fail);
                if is_gone { Next::ChooseOthers } else { Next::TryLater }
            }
        }
    }
}

/// What an answer says of a partition.
fn find<'a>(answer: &'a FetchResponse, want: &Want, version: i16) -> Option<&'a PartitionData> {
    let is_topic = |topic: &&crate::wire::api::fetch::FetchableTopicResponse| match version {
        TOPIC_ID_VERSION_MIN.. => topic.topic_id == want.id,
        _ => topic.topic == want.name.as_str(),
    };
    let topics = answer.responses.iter().filter(is_topic);
    topics.flat_map(|topic| &topic.partitions).find(|data| data.partition_index == want.index)
}

/// Asks for the offset of a time, or for one of the log's ends. None when there is no answer, or none that
/// says something.
pub async fn look_up(link: &mut Link, (id, index): (TopicId, i32), time: i64) -> Option<i64> {
    let world = link.world.clone();
    let (name, floor, must, only) = {
        let mut model = world.model.borrow_mut();
        let name = model.name_of(id);
        let floor = model.records(id, index).floor();
        (name.clone(), floor, model.must(id, index), model.only(&name))
    };
    let partition =
        ListOffsetsPartition { partition_index: index, timestamp: time, ..Default::default() };
    let topic = ListOffsetsTopic { name: name.as_str().into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let answer = link.ask(7, &request).await?;
    let result: &ListOffsetsPartitionResponse = &answer.topics[0].partitions[0];
    let (code, offset) = (result.error_code, result.offset);
    let name = format!("{name}-{index}");
    tell(|| format!("{name}: time {time} is at {offset}: {code}"));
    let mut model = world.model.borrow_mut();
    let is_same = only == Some(id) && model.only(&model.name_of(id)) == only;
    if code != ErrorCode::None {
        let must = must && is_same && model.must(id, index);
        let must = must && model.wants_reason(code, (id, index), floor);
        let may_fail = model.is_rotten(id);
        drop(model);
        world.expect_error(&name, code, must, may_fail);
        return None;
    }
    if !is_same {
        return None;
    }
    let records = model.records(id, index);
    if records.unsettled {
        return Some(offset);
    }
    match time {
        LATEST => model.ends((id, index), floor, floor.log_start.min(offset), offset),
        EARLIEST => {
            records.begins(&name, floor.log_start, offset);
            model.check_start((id, index), offset);
        }
        _ => assert!(
            offset == -1 || offset >= floor.log_start && result.timestamp >= time,
            "{name}: time {time} is at {result:?}"
        ),
    }
    Some(offset)
}

/// Looks at the end of each partition of which the last life may have lost something.
pub async fn settle(link: &mut Link) {
    let world = link.world.clone();
    let partitions = world.model.borrow().partitions();
    for (id, index) in partitions {
        if !world.model.borrow_mut().is_unsettled(id, index) {
            continue;
        }
        for _ in 0..3 {
            let end = look_up(link, (id, index), LATEST).await;
            let Some(end) = end else { continue };
            let mut model = world.model.borrow_mut();
            let name = format!("{}-{index}", model.name_of(id));
            tell(|| format!("{name} ends at {end}"));
            model.records(id, index).settle(&name, end);
            break;
        }
    }
}

/// Reads every partition from its start to its end.
pub async fn audit(world: &Rc<World>, dice: &Dice) {
    let mut consumer = Consumer::new(world, dice.fork());
    consumer.version = dice.pick(&[12, 18]);
    let partitions = world.model.borrow().partitions();
    for (id, index) in partitions {
        let skipped = {
            let mut model = world.model.borrow_mut();
            !model.must(id, index) || model.is_unsettled(id, index)
        };
        if skipped {
            continue;
        }
        consumer.session = None;
        let start = look_up(&mut consumer.link, (id, index), EARLIEST).await;
        let end = look_up(&mut consumer.link, (id, index), LATEST).await;
        let (Some(start), Some(end)) = (start, end) else { continue };
        let name = world.model.borrow().name_of(id);
        let floor = Floor { high_watermark: 0, log_start: 0, moves_ended: 0 };
        consumer.wants = vec![Want {
            id,
            index,
            name,
            offset: start,
            is_news: true,
            bytes_max: i32::MAX,
            floor,
            must: true,
        }];
        for _ in 0..AUDIT_TURNS_MAX {
            if !consumer.turn(ALL).await || consumer.wants.is_empty() {
                break;
            }
            let want = &consumer.wants[0];
            if want.offset >= end || !want.must {
                break;
            }
        }
    }
}
