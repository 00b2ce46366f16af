//! One partition as a producer sees it: records that wait, batches in flight, numbers given out. Pure.

use crate::load::batch::Batch;
use crate::load::draw::Drawn;
use crate::load::ledger::{Promised, Stream};
use corelog::client::TopicPartition;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

pub struct Lane {
    pub topic: u32,
    pub place: TopicPartition,
    pub leader: Option<i32>,
    /// Planned records with what each takes in a batch, oldest first.
    waiting: VecDeque<(Drawn, u32)>,
    waiting_bytes: usize,
    /// Batches that were refused and go again, oldest first.
    pub again: VecDeque<Batch>,
    /// When the next batch is due; none when nothing waits.
    pub due_at: Option<u64>,
    pub in_flight: usize,
    /// In its leader's line, since it was due then.
    pub is_lined_up: bool,
    pub lined_up_at: u64,
    /// Was due, but had too many in flight; until when it could not send.
    pub is_held: bool,
    pub held_until: u64,
    /// A batch was refused: nothing new leaves before all others are back.
    pub is_blocked: bool,
    /// Numbers given out, for whoever looks.
    pub promised: Rc<RefCell<Promised>>,
}

impl Lane {
    pub fn new(topic: u32, place: TopicPartition, leader: Option<i32>) -> Lane {
        Lane {
            topic,
            place,
            leader,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            again: VecDeque::new(),
            due_at: None,
            in_flight: 0,
            is_lined_up: false,
            lined_up_at: 0,
            is_held: false,
            held_until: 0,
            is_blocked: false,
            promised: Rc::default(),
        }
    }

    /// Adds a planned record; when the batch is due, if that has changed.
    pub fn push(
        &mut self,
        drawn: Drawn,
        bytes: usize,
        batch_bytes: usize,
        linger: u64,
    ) -> Option<u64> {
        self.waiting.push_back((drawn, bytes as u32));
        let was_full = self.waiting_bytes >= batch_bytes;
        self.waiting_bytes += bytes;
        let due_at = match self.due_at {
            None => drawn.planned + linger,
            // Full by this one: it need not linger.
            Some(due_at) if !was_full && self.waiting_bytes >= batch_bytes => {
                due_at.min(drawn.planned)
            }
            Some(_) => return None,
        };
        let is_new = self.due_at != Some(due_at);
        self.due_at = Some(due_at);
        is_new.then_some(due_at)
    }

    /// When the next batch is due, after one was taken.
    pub fn renew_due(&mut self, batch_bytes: usize, linger: u64) -> Option<u64> {
        let first = self.waiting.front().map(|(drawn, _)| drawn.planned + linger);
        let mut bytes = 0;
        let full = self.waiting.iter().find_map(|(drawn, record)| {
            bytes += *record as usize;
            (bytes >= batch_bytes).then_some(drawn.planned)
        });
        self.due_at = match (first, full) {
            (Some(first), Some(full)) => Some(first.min(full)),
            (first, _) => first,
        };
        if !self.again.is_empty() {
            self.due_at = Some(0);
        }
        self.due_at
    }

    /// Takes the records of a batch, of those planned by now; with the bytes that they were counted as.
    pub fn take(
        &mut self,
        now: u64,
        batch_bytes: usize,
        count_max: Option<usize>,
    ) -> (Vec<Drawn>, usize) {
        let count_max = count_max.unwrap_or(usize::MAX);
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some((drawn, record)) = self.waiting.front().copied() {
            let full = bytes + record as usize > batch_bytes || records.len() == count_max;
            if drawn.planned > now || (full && !records.is_empty()) {
                break;
            }
            self.waiting.pop_front();
            bytes += record as usize;
            records.push(drawn);
        }
        self.waiting_bytes -= bytes;
        (records, bytes)
    }

    pub fn may_send(&self, leader: i32, in_flight_max: usize) -> bool {
        self.leader == Some(leader) && !self.is_blocked && self.in_flight < in_flight_max
    }

    /// A refused batch takes its place among those that go again.
    pub fn put_back(&mut self, batch: Batch) {
        let at = self.again.partition_point(|other| other.first_sequence < batch.first_sequence);
        self.again.insert(at, batch);
    }

    /// Something waits although nobody would look: it was due while there was no leader.
    pub fn is_stranded(&self) -> bool {
        !self.again.is_empty() || !self.waiting.is_empty()
    }

    pub fn stream(&self, producer: u32) -> Stream {
        Stream { producer, topic: self.topic, partition: self.place.partition }
    }
}
