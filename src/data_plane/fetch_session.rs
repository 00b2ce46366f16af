//! Incremental fetch sessions (KIP-227): the client names its partitions once and then only what changes;
//! the answer holds only what is new.
//!
//! One cache per shard. A session that is not found costs its client one full request, no more.

use crate::types::TopicId;
use crate::wire::api::fetch::{FetchPartition, FetchRequest};
use crate::wire::{ErrorCode, Str};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A partition as a fetch names it: by name up to version 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub topic: Str,
    pub topic_id: TopicId,
    pub index: i32,
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

/// A session, or the partitions of a request without one.
#[derive(Debug, Default)]
pub struct Session {
    pub id: i32,
    /// The epoch that the next request must carry.
    next_epoch: i32,
    /// Begun by a request that names topics by id (KIP-516).
    by_id: bool,
    pub partitions: Vec<SessionPartition>,
    places: HashMap<SessionKey, usize>,
    used: u64,
}

impl Session {
    fn set(&mut self, key: SessionKey, wanted: FetchPartition) {
        match self.places.get(&key) {
            Some(at) => self.partitions[*at].wanted = wanted,
            None => {
                // Names are slices of a frame; a session outlives it.
                let key = SessionKey { topic: key.topic.detached(), ..key };
                self.places.insert(key.clone(), self.partitions.len());
                self.partitions.push(SessionPartition::new(key, wanted));
            }
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

    fn apply(&mut self, request: FetchRequest) {
        let forgotten: Vec<SessionKey> = request
            .forgotten_topics_data
            .into_iter()
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
        for topic in request.topics {
            for wanted in topic.partitions {
                let (topic_id, index) = (topic.topic_id, wanted.partition);
                self.set(SessionKey { topic: topic.topic.clone(), topic_id, index }, wanted);
            }
        }
    }
}

/// What a fetch is to answer.
#[derive(Debug)]
pub struct Fetching {
    pub session: Rc<RefCell<Session>>,
    /// Only what is new is answered.
    pub incremental: bool,
}

/// The sessions of one shard.
pub struct SessionCache {
    sessions: RefCell<HashMap<i32, Rc<RefCell<Session>>>>,
    capacity: usize,
    clock: std::cell::Cell<u64>,
    random: fn() -> u64,
}

const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

impl SessionCache {
    /// `random` makes ids, so that a session's is hard to meet by chance.
    pub fn new(capacity: usize, random: fn() -> u64) -> SessionCache {
        let clock = std::cell::Cell::new(0);
        SessionCache { sessions: RefCell::default(), capacity, clock, random }
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
            self.sessions.borrow_mut().remove(&id);
            let mut session = Session { by_id, ..Session::default() };
            session.apply(request);
            let wants_one = with_sessions && epoch == INITIAL_EPOCH;
            let session = Rc::new(RefCell::new(session));
            if wants_one {
                self.insert(&session);
            }
            return Ok(Fetching { session, incremental: false });
        }
        let found = self.sessions.borrow().get(&id).cloned();
        let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.borrow().next_epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.borrow().by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        {
            let mut session = session.borrow_mut();
            session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
            session.used = self.tick();
            session.apply(request);
        }
        Ok(Fetching { session, incremental: true })
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// Gives a session an id and keeps it; the longest unused makes room. Without room it has none.
    fn insert(&self, session: &Rc<RefCell<Session>>) {
        if self.capacity == 0 {
            return;
        }
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() >= self.capacity {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.borrow().used);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                sessions.remove(&id);
            }
        }
        let id = loop {
            let id = ((self.random)() & 0x7fff_ffff) as i32;
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut made = session.borrow_mut();
        (made.id, made.next_epoch, made.used) = (id, 1, self.tick());
        sessions.insert(id, session.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::fetch::{FetchTopic, ForgottenTopic};

    fn cache() -> SessionCache {
        thread_local!(static NEXT: std::cell::Cell<u64> = const { std::cell::Cell::new(100) });
        SessionCache::new(2, || {
            NEXT.set(NEXT.get() + 1);
            NEXT.get()
        })
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
        let cache = cache();
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
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused_and_change_nothing() {
        let cache = cache();
        let code = |id, epoch| cache.begin(request(id, epoch, &[0], &[]), true, false).err();
        assert_eq!(code(7, 1), Some(ErrorCode::FetchSessionIdNotFound));
        let id = cache.begin(request(0, 0, &[0], &[]), true, false).unwrap().session.borrow().id;
        assert_eq!(code(id, 2), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(code(id, 1), None);
        assert_eq!(code(id, FINAL_EPOCH), None);
        assert_eq!(code(id, 2), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn the_longest_unused_session_makes_room() {
        let cache = cache();
        let open =
            || cache.begin(request(0, 0, &[0], &[]), true, false).unwrap().session.borrow().id;
        let (first, second) = (open(), open());
        assert!(cache.begin(request(first, 1, &[], &[]), true, false).is_ok());
        open();
        assert!(cache.begin(request(second, 1, &[], &[]), true, false).is_err());
        assert!(cache.begin(request(first, 2, &[], &[]), true, false).is_ok());
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
