//! Incremental fetch sessions (KIP-227): the client names its partitions once and then only what changes;
//! the answer holds only what is new.
//!
//! One cache per shard. A session that is not found costs its client one full request, no more; so does
//! one for which there is no room: it is answered with session id 0.

use crate::limits::{FETCH_SESSION_IDLE_MIN, TOPIC_NAME_BYTES_MAX};
use crate::runtime::{self, Instant};
use crate::shard::id_map::IdMap;
use crate::types::TopicId;
use crate::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::wire::{ErrorCode, Str};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// A partition as a fetch names it: by name up to version 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub topic: Str,
    pub topic_id: TopicId,
    pub index: i32,
}

impl SessionKey {
    /// Both are partitions of one topic, by how it is named.
    pub fn is_beside(&self, other: &SessionKey) -> bool {
        self.topic_id == other.topic_id && self.topic == other.topic
    }
}

/// What the client last asked of a partition, and what it was last told.
#[derive(Clone, Debug)]
pub struct SessionPartition {
    pub key: SessionKey,
    pub wanted: FetchPartition,
    told_high_watermark: i64,
    told_log_start: i64,
}

impl SessionPartition {
    fn new(key: SessionKey, wanted: FetchPartition) -> SessionPartition {
        SessionPartition { key, wanted, told_high_watermark: -1, told_log_start: -1 }
    }

    /// Whether an answer is news, and from now on known.
    pub fn tell(
        &mut self,
        error: ErrorCode,
        bytes: usize,
        high_watermark: i64,
        log_start: i64,
    ) -> bool {
        let changed =
            self.told_high_watermark != high_watermark || self.told_log_start != log_start;
        (self.told_high_watermark, self.told_log_start) = (high_watermark, log_start);
        if error != ErrorCode::None {
            // To be told again until it is mended.
            (self.told_high_watermark, self.told_log_start) = (-1, -1);
        }
        changed || bytes > 0 || error != ErrorCode::None
    }
}

/// Memory that a session takes for a partition beside its topic's name: its state, and its place in a map
/// that may be half empty.
const PARTITION_BYTES: usize = size_of::<SessionPartition>() + 2 * size_of::<(SessionKey, usize)>();

/// As if each partition had a name of its own: more than it is, and easy to take back.
fn bytes_of(key: &SessionKey) -> usize {
    PARTITION_BYTES + key.topic.as_bytes().len()
}

/// A session, or the partitions of a request without one.
#[derive(Debug, Default)]
pub struct Session {
    /// 0 for none, or for one that has ended.
    pub id: i32,
    /// The epoch that the next request must carry.
    next_epoch: i32,
    /// Begun by a request that names topics by id (KIP-516).
    by_id: bool,
    pub partitions: Vec<SessionPartition>,
    places: HashMap<SessionKey, usize>,
    used: Instant,
    /// Memory that it takes.
    bytes: usize,
}

impl Session {
    fn set_topic(&mut self, topic: FetchTopic) {
        let mut key = SessionKey { topic: topic.topic, topic_id: topic.topic_id, index: 0 };
        let mut is_detached = false;
        for wanted in topic.partitions {
            key.index = wanted.partition;
            if let Some(at) = self.places.get(&key) {
                self.partitions[*at].wanted = wanted;
                continue;
            }
            if !is_detached {
                // Names are slices of a frame; a session outlives it. One copy for all partitions.
                (key.topic, is_detached) = (key.topic.detached(), true);
            }
            self.bytes += bytes_of(&key);
            self.places.insert(key.clone(), self.partitions.len());
            self.partitions.push(SessionPartition::new(key.clone(), wanted));
        }
    }

    fn forget(&mut self, keys: &[SessionKey]) {
        let before = self.partitions.len();
        for key in keys {
            self.places.remove(key);
        }
        self.partitions.retain(|partition| self.places.contains_key(&partition.key));
        if self.partitions.len() != before {
            let numbered = self.partitions.iter().enumerate();
            self.places = numbered.map(|(at, partition)| (partition.key.clone(), at)).collect();
            self.bytes = self.places.keys().map(bytes_of).sum();
        }
    }

    /// Turns the order so that what follows the last partition with data comes first next time: when the
    /// answer's limit is reached, none starves.
    pub fn rotate_after(&mut self, last_with_data: usize) {
        if last_with_data + 1 >= self.partitions.len() {
            return;
        }
        self.partitions.rotate_left(last_with_data + 1);
        for (at, partition) in self.partitions.iter().enumerate() {
            if let Some(place) = self.places.get_mut(&partition.key) {
                *place = at;
            }
        }
    }

    /// Takes up what a request changes. Topics whose names are too long for any are given back: hashing and
    /// keeping such names is work that only a bad client makes.
    fn apply(&mut self, request: FetchRequest) -> Vec<FetchTopic> {
        let is_possible = |name: &Str| name.as_bytes().len() <= TOPIC_NAME_BYTES_MAX;
        let forgotten = request.forgotten_topics_data.into_iter();
        let forgotten: Vec<SessionKey> = forgotten
            .filter(|topic| is_possible(&topic.topic))
            .flat_map(|topic| {
                let (name, topic_id) = (topic.topic, topic.topic_id);
                topic.partitions.into_iter().map(move |index| SessionKey {
                    topic: name.clone(),
                    topic_id,
                    index,
                })
            })
            .collect();
        if !forgotten.is_empty() {
            self.forget(&forgotten);
        }
        let (possible, impossible): (Vec<_>, Vec<_>) =
            request.topics.into_iter().partition(|topic| is_possible(&topic.topic));
        possible.into_iter().for_each(|topic| self.set_topic(topic));
        impossible
    }
}

/// What a fetch is to answer.
#[derive(Debug)]
pub struct Fetching {
    pub session: Rc<RefCell<Session>>,
    /// Only what is new is answered.
    pub incremental: bool,
    /// Topics that there cannot be: answered once, and in no session.
    pub impossible: Vec<FetchTopic>,
}

/// The sessions of one shard.
pub struct SessionCache {
    sessions: RefCell<IdMap<i32, Rc<RefCell<Session>>>>,
    sessions_max: usize,
    bytes: Cell<usize>,
    bytes_max: usize,
    random: fn() -> u64,
}

const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

impl SessionCache {
    /// `random` makes ids, so that a session's is hard to meet by chance.
    pub fn new(sessions_max: usize, bytes_max: usize, random: fn() -> u64) -> SessionCache {
        let (sessions, bytes) = (RefCell::default(), Cell::new(0));
        SessionCache { sessions, sessions_max, bytes, bytes_max, random }
    }

    /// Sessions that are kept, the memory they take, and what they may take.
    pub fn usage(&self) -> (usize, usize, usize) {
        (self.sessions.borrow().len(), self.bytes.get(), self.bytes_max)
    }

    /// Finds, makes or ends the session that a request names, and takes up what it changes.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`.
    pub fn begin(
        &self,
        request: FetchRequest,
        with_sessions: bool,
        by_id: bool,
    ) -> Result<Fetching, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if !with_sessions || epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.remove(id);
            let mut session = Session { by_id, used: runtime::now(), ..Session::default() };
            let impossible = session.apply(request);
            let wants_one = with_sessions && epoch == INITIAL_EPOCH;
            let session = Rc::new(RefCell::new(session));
            if wants_one {
                self.insert(&session);
            }
            return Ok(Fetching { session, incremental: false, impossible });
        }
        let found = self.sessions.borrow().get(&id).cloned();
        let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.borrow().next_epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.borrow().by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let impossible = self.go_on(&session, request);
        Ok(Fetching { session, incremental: true, impossible })
    }

    fn go_on(&self, session: &Rc<RefCell<Session>>, request: FetchRequest) -> Vec<FetchTopic> {
        let (impossible, id) = {
            let mut session = session.borrow_mut();
            let epoch = session.next_epoch;
            session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
            session.used = runtime::now();
            let before = session.bytes;
            let impossible = session.apply(request);
            self.bytes.set(self.bytes.get() - before + session.bytes);
            (impossible, session.id)
        };
        if !self.make_room(0, 0) {
            // KIP-227: an answer without an id tells the client that its session has ended.
            self.remove(id);
            session.borrow_mut().id = 0;
        }
        impossible
    }

    fn remove(&self, id: i32) {
        let removed = self.sessions.borrow_mut().remove(&id);
        if let Some(session) = removed {
            self.bytes.set(self.bytes.get() - session.borrow().bytes);
        }
    }

    /// Gives a session an id and keeps it. Without room it has none.
    fn insert(&self, session: &Rc<RefCell<Session>>) {
        let bytes = session.borrow().bytes;
        if !self.make_room(1, bytes) {
            return;
        }
        let mut sessions = self.sessions.borrow_mut();
        let id = loop {
            let id = ((self.random)() & 0x7fff_ffff) as i32;
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut made = session.borrow_mut();
        (made.id, made.next_epoch) = (id, 1);
        sessions.insert(id, session.clone());
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Evicts sessions that are not used any more, the longest unused first, until there is room for so
    /// much; false when there is none. KIP-227: those in use stay, else clients would only evict each other.
    fn make_room(&self, sessions: usize, bytes: usize) -> bool {
        if bytes > self.bytes_max {
            return false;
        }
        let now = runtime::now();
        loop {
            let is_room = self.sessions.borrow().len() + sessions <= self.sessions_max
                && self.bytes.get() + bytes <= self.bytes_max;
            if is_room {
                return true;
            }
            let oldest = {
                let sessions = self.sessions.borrow();
                let used = sessions.iter().map(|(id, session)| (session.borrow().used, *id));
                used.min()
            };
            match oldest {
                Some((used, id)) if now.since(used) >= FETCH_SESSION_IDLE_MIN => self.remove(id),
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sim::Simulation;
    use crate::wire::api::fetch::ForgottenTopic;
    use bytes::Bytes;

    /// Two sessions, of a megabyte in all.
    fn check(test: impl AsyncFnOnce(SessionCache)) {
        Simulation::new(1).run(test(SessionCache::new(2, 1 << 20, runtime::random_u64)));
    }

    fn open(cache: &SessionCache, request: FetchRequest) -> i32 {
        cache.begin(request, true, false).unwrap().session.borrow().id
    }

    fn request(id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> FetchRequest {
        let wanted = |index: &i32| FetchPartition { partition: *index, ..Default::default() };
        FetchRequest {
            session_id: id,
            session_epoch: epoch,
            topics: vec![FetchTopic {
                topic: "t".into(),
                partitions: partitions.iter().map(wanted).collect(),
                ..Default::default()
            }],
            forgotten_topics_data: vec![ForgottenTopic {
                topic: "t".into(),
                partitions: forgotten.to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn indexes(fetching: &Fetching) -> Vec<i32> {
        fetching.session.borrow().partitions.iter().map(|p| p.key.index).collect()
    }

    #[test]
    fn a_session_remembers_adds_and_forgets_partitions() {
        check(async |cache| {
            let full = cache.begin(request(0, 0, &[0, 1, 2], &[]), true, false).unwrap();
            let id = full.session.borrow().id;
            assert!(id != 0 && !full.incremental);
            let next = cache.begin(request(id, 1, &[3], &[1]), true, false).unwrap();
            assert!(next.incremental);
            assert_eq!(indexes(&next), [0, 2, 3]);
            next.session.borrow_mut().rotate_after(0);
            assert_eq!(indexes(&next), [2, 3, 0]);
            let last = cache.begin(request(id, 2, &[2, 0], &[]), true, false).unwrap();
            assert_eq!(indexes(&last), [2, 3, 0]);
        });
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused_and_change_nothing() {
        check(async |cache| {
            let code = |id, epoch| cache.begin(request(id, epoch, &[0], &[]), true, false).err();
            assert_eq!(code(7, 1), Some(ErrorCode::FetchSessionIdNotFound));
            let id =
                cache.begin(request(0, 0, &[0], &[]), true, false).unwrap().session.borrow().id;
            assert_eq!(code(id, 2), Some(ErrorCode::InvalidFetchSessionEpoch));
            assert_eq!(code(id, 1), None);
            assert_eq!(code(id, FINAL_EPOCH), None);
            assert_eq!(code(id, 2), Some(ErrorCode::FetchSessionIdNotFound));
        });
    }

    #[test]
    fn the_longest_unused_session_makes_room_and_one_in_use_does_not() {
        check(async |cache| {
            let open = || open(&cache, request(0, 0, &[0], &[]));
            let next = |id, epoch| cache.begin(request(id, epoch, &[], &[]), true, false).is_ok();
            let (first, second) = (open(), open());
            assert_eq!(open(), 0, "both are in use");
            runtime::sleep(FETCH_SESSION_IDLE_MIN / 2).await;
            assert!(next(first, 1));
            runtime::sleep(FETCH_SESSION_IDLE_MIN / 2).await;
            assert_ne!(open(), 0);
            assert!(!next(second, 1));
            assert!(next(first, 2));
            assert_eq!(open(), 0);
        });
    }

    fn with_names(id: i32, epoch: i32, names: &[&str], partitions: i32) -> FetchRequest {
        let partitions = |_: &&str| {
            (0..partitions).map(|partition| FetchPartition { partition, ..Default::default() })
        };
        let topic = |name: &&str| FetchTopic {
            topic: (*name).into(),
            partitions: partitions(name).collect(),
            ..Default::default()
        };
        let topics = names.iter().map(topic).collect();
        FetchRequest { session_id: id, session_epoch: epoch, topics, ..Default::default() }
    }

    #[test]
    fn a_topics_name_is_kept_once_and_not_within_its_frame() {
        check(async |cache| {
            let frame = Bytes::from(vec![b'n'; 1000]);
            let mut request = with_names(0, 0, &["t"], 100);
            request.topics[0].topic = Str::from_utf8(frame.slice(500..700)).unwrap();
            let fetching = cache.begin(request, true, false).unwrap();
            let session = fetching.session.borrow();
            let places = |name: &Str| name.as_bytes().as_ptr();
            let first = places(&session.partitions[0].key.topic);
            assert!(!frame.as_ptr_range().contains(&first));
            assert!(session.partitions.iter().all(|one| places(&one.key.topic) == first));
            assert!(session.places.keys().all(|key| places(&key.topic) == first));
        });
    }

    #[test]
    fn names_that_are_too_long_for_any_topic_are_in_no_session() {
        check(async |cache| {
            let (longest, too_long) = ("x".repeat(249), "x".repeat(250));
            let fetching = cache.begin(with_names(0, 0, &[&longest, &too_long], 3), true, false);
            let fetching = fetching.unwrap();
            assert_eq!(indexes(&fetching), [0, 1, 2]);
            assert_eq!(fetching.impossible.len(), 1);
            assert_eq!(fetching.impossible[0].partitions.len(), 3);
            let id = fetching.session.borrow().id;
            let next = cache.begin(with_names(id, 1, &[&too_long], 1), true, false).unwrap();
            assert_eq!((indexes(&next).len(), next.impossible.len()), (3, 1));
            let next = cache.begin(with_names(id, 2, &[], 0), true, false).unwrap();
            assert!(next.impossible.is_empty());
        });
    }

    #[test]
    fn sessions_take_no_more_memory_than_they_may() {
        check(async |cache| {
            let many = (cache.bytes_max / PARTITION_BYTES) as i32;
            assert_eq!(open(&cache, with_names(0, 0, &["t"], many)), 0, "too large by itself");
            assert_eq!(cache.bytes.get(), 0);
            let large = open(&cache, with_names(0, 0, &["t"], many / 2));
            let small = open(&cache, with_names(0, 0, &["t"], 10));
            assert!(large != 0 && small != 0);
            let before = cache.bytes.get();
            // It grows beyond what there is: its client is told that it has ended.
            let grown = with_names(small, 1, &["u"], many / 2);
            assert_eq!(open(&cache, grown), 0);
            assert!(cache.bytes.get() < before && cache.bytes.get() > 0);
            let next = cache.begin(with_names(small, 2, &[], 0), true, false);
            assert_eq!(next.err(), Some(ErrorCode::FetchSessionIdNotFound));
            runtime::sleep(FETCH_SESSION_IDLE_MIN).await;
            assert_ne!(open(&cache, with_names(0, 0, &["t"], many / 2)), 0);
            assert_ne!(open(&cache, with_names(0, 0, &["v"], many / 3)), 0);
            let ended = cache.begin(with_names(large, 1, &[], 0), true, false);
            assert_eq!(ended.err(), Some(ErrorCode::FetchSessionIdNotFound));
        });
    }

    #[test]
    fn only_news_is_told() {
        let mut partition = SessionPartition::new(
            SessionKey { topic: "t".into(), topic_id: TopicId::ZERO, index: 0 },
            FetchPartition::default(),
        );
        assert!(partition.tell(ErrorCode::None, 0, 5, 0));
        assert!(!partition.tell(ErrorCode::None, 0, 5, 0));
        assert!(partition.tell(ErrorCode::None, 1, 5, 0));
        assert!(partition.tell(ErrorCode::OffsetOutOfRange, 0, -1, -1));
        assert!(partition.tell(ErrorCode::OffsetOutOfRange, 0, -1, -1));
        assert!(partition.tell(ErrorCode::None, 0, 5, 0));
    }
}
