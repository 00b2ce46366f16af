//! One partition's batches from the first record to the last answer. No I/O: the sender asks what may go, and
//! says what came of it.
//!
//! Order is kept through every retry. Several batches may be in flight; once one fails, nothing more is sent
//! until all of them are settled, and then the failed ones go again in their old order, with their old
//! sequences, so that the broker tells duplicates (KIP-98). A batch that fails for good leaves a gap in the
//! sequences: the partition then starts anew under another producer id, and those batches that may have been
//! written already fail with it, because under the new id they could be written twice.

use super::delivery::Outcome;
use crate::client::{Acknowledged, ClientError};
use crate::runtime::Instant;
use crate::types::Timestamp;
use crate::wire::ErrorCode;
use crate::wire::compression::Codec;
use crate::wire::records::{BatchBuilder, Header, ProducerSequence, assign_producer};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// What the queues of a producer have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub codec: Codec,
    pub batch_bytes: usize,
    pub linger: Duration,
    pub in_flight_max: usize,
    pub is_idempotent: bool,
    pub delivery_limit: Duration,
    pub retry_pause: Duration,
}

/// Producer id and epoch.
pub(super) type Identity = (i64, i16);

#[derive(Debug)]
enum Payload {
    Building(BatchBuilder),
    Built(Bytes),
}

#[derive(Debug)]
struct Batch {
    id: u64,
    payload: Payload,
    count: usize,
    /// Before compression: what it counts for in the producer's memory.
    bytes: usize,
    opened: Instant,
    sequence: Option<ProducerSequence>,
    /// Some attempt ended without saying whether it was written.
    may_be_written: bool,
    last_error: Option<ClientError>,
    outcome: Rc<Outcome>,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    has_failed: bool,
}

/// What a call has taken out of the queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub bytes_freed: usize,
    pub error: Option<ClientError>,
    /// The partition needs another producer id.
    pub is_reset: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    rules: Rules,
    open: Option<Batch>,
    waiting: VecDeque<Batch>,
    in_flight: VecDeque<InFlight>,
    identity: Option<Identity>,
    next_sequence: i32,
    next_id: u64,
    not_before: Instant,
    /// A batch failed for good while others were in flight.
    has_gap: bool,
}

/// A batch that may go now.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub id: u64,
    pub bytes: Bytes,
}

impl Queue {
    pub fn new(rules: Rules) -> Queue {
        Queue {
            rules,
            open: None,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            identity: None,
            next_sequence: 0,
            next_id: 0,
            not_before: Instant::default(),
            has_gap: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Adds a record; returns what tells its batch's end, and its place in the batch, and how many more bytes
    /// are held now. Closes a batch that is full.
    pub fn push(
        &mut self,
        now: Instant,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> (Rc<Outcome>, usize, usize) {
        let record_bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let is_full = |batch: &Batch| batch.bytes + record_bytes > self.rules.batch_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        let (id, codec) = (self.next_id, self.rules.codec);
        let batch = self.open.get_or_insert_with(|| Batch {
            id,
            payload: Payload::Building(BatchBuilder::new(codec)),
            count: 0,
            bytes: 0,
            opened: now,
            sequence: None,
            may_be_written: false,
            last_error: None,
            outcome: Rc::default(),
        });
        let Payload::Building(builder) = &mut batch.payload else {
            unreachable!("an open batch is being built")
        };
        builder.push(timestamp, key, value, headers);
        let bytes_more = builder.bytes() - batch.bytes;
        batch.bytes = builder.bytes();
        batch.count += 1;
        self.next_id = batch.id + 1;
        let added = (batch.outcome.clone(), batch.count - 1, bytes_more);
        if batch.bytes >= self.rules.batch_bytes {
            self.close();
        }
        added
    }

    fn close(&mut self) {
        self.waiting.extend(self.open.take());
    }

    /// When something may go, as far as is known now; None while only an answer can change that.
    pub fn due(&self, is_flushing: bool) -> Option<Instant> {
        let is_held = self.in_flight.iter().any(|sent| sent.has_failed);
        if is_held || self.in_flight.len() >= self.rules.in_flight_max {
            return None;
        }
        if !self.waiting.is_empty() {
            return Some(self.not_before);
        }
        let open = self.open.as_ref()?;
        let lingered = if is_flushing { open.opened } else { open.opened + self.rules.linger };
        Some(lingered.max(self.not_before))
    }

    /// Whether `take` needs to be given an identity.
    pub fn wants_identity(&self) -> bool {
        self.rules.is_idempotent && self.identity.is_none()
    }

    pub fn set_identity(&mut self, identity: Identity) {
        debug_assert!(self.in_flight.is_empty(), "sequences in flight are of the old identity");
        self.identity = Some(identity);
        self.next_sequence = 0;
    }

    /// The next batch; the caller has seen that it is due.
    pub fn take(&mut self) -> Option<Outgoing> {
        if self.waiting.is_empty() {
            self.close();
        }
        let mut batch = self.waiting.pop_front()?;
        let count = i32::try_from(batch.count).expect("a batch has fewer than 2^31 records");
        let sequence = batch.sequence.unwrap_or_else(|| match self.identity {
            Some((id, epoch)) => {
                let base_sequence = self.next_sequence;
                // KIP-98: sequences wrap to 0 after the greatest i32.
                self.next_sequence = base_sequence.wrapping_add(count) & i32::MAX;
                ProducerSequence { id, epoch, base_sequence }
            }
            None => ProducerSequence::NONE,
        });
        let bytes = match batch.payload {
            Payload::Building(builder) => builder.build(sequence),
            Payload::Built(bytes) if batch.sequence == Some(sequence) => bytes,
            Payload::Built(bytes) => {
                let mut bytes = BytesMut::from(bytes);
                assign_producer(&mut bytes, sequence);
                bytes.freeze()
            }
        };
        batch.payload = Payload::Built(bytes.clone());
        batch.sequence = Some(sequence);
        let id = batch.id;
        self.in_flight.push_back(InFlight { batch, has_failed: false });
        Some(Outgoing { id, bytes })
    }

    /// Says what came of a batch that `take` gave.
    pub fn settle(
        &mut self,
        id: u64,
        answer: Result<Acknowledged, ClientError>,
        now: Instant,
    ) -> Settled {
        let mut settled = Settled::default();
        let place = self.in_flight.iter().position(|sent| sent.batch.id == id);
        let place = place.expect("a batch is settled once");
        match answer {
            Ok(acknowledged) => self.finish(place, Ok(acknowledged), &mut settled),
            // The broker had it already, and longer ago than it remembers offsets.
            Err(error) if error.code() == Some(ErrorCode::DuplicateSequenceNumber) => {
                self.finish(place, Ok(Acknowledged::default()), &mut settled);
            }
            Err(error) if self.may_retry(&error, place) => {
                let sent = &mut self.in_flight[place];
                sent.has_failed = true;
                sent.batch.may_be_written |= error.is_ambiguous();
                sent.batch.last_error = Some(error);
            }
            Err(error) => {
                self.has_gap = self.rules.is_idempotent;
                self.finish(place, Err(error), &mut settled);
            }
        }
        if self.in_flight.iter().all(|sent| sent.has_failed) {
            self.requeue(now, &mut settled);
        }
        settled
    }

    /// Another broker leads the partition: what failed goes there at once.
    pub fn end_pause(&mut self) {
        self.not_before = Instant::default();
    }

    /// A sequence out of order follows from an earlier batch that failed, unless there is none.
    fn may_retry(&self, error: &ClientError, place: usize) -> bool {
        let follows = self.rules.is_idempotent && (place > 0 || self.has_gap);
        let is_out_of_order = error.code() == Some(ErrorCode::OutOfOrderSequenceNumber);
        error.is_retriable() || (is_out_of_order && follows)
    }

    fn finish(
        &mut self,
        place: usize,
        answer: Result<Acknowledged, ClientError>,
        settled: &mut Settled,
    ) {
        let sent = self.in_flight.remove(place).expect("the place was just found");
        fail_or_fill(sent.batch, answer, settled);
    }

    /// Puts what failed back to the front, in its old order.
    fn requeue(&mut self, now: Instant, settled: &mut Settled) {
        if !self.in_flight.is_empty() {
            self.not_before = now + self.rules.retry_pause;
        }
        while let Some(sent) = self.in_flight.pop_back() {
            self.waiting.push_front(sent.batch);
        }
        if self.has_gap {
            self.reset(settled);
        }
    }

    /// Starts anew under another identity.
    fn reset(&mut self, settled: &mut Settled) {
        self.has_gap = false;
        self.identity = None;
        settled.is_reset = true;
        for mut batch in std::mem::take(&mut self.waiting) {
            if batch.may_be_written {
                let error = batch.last_error.clone();
                let error = error.expect("an ambiguous attempt left its error");
                fail_or_fill(batch, Err(error), settled);
            } else {
                batch.sequence = None;
                self.waiting.push_back(batch);
            }
        }
    }

    /// Fails what is too old, unless it is in flight.
    pub fn expire(&mut self, now: Instant) -> Settled {
        let mut settled = Settled::default();
        let limit = self.rules.delivery_limit;
        let is_late = |batch: &Batch| now.since(batch.opened) > limit;
        if !self.in_flight.is_empty() {
            return settled;
        }
        if self.waiting.is_empty() && self.open.as_ref().is_some_and(is_late) {
            self.close();
        }
        while self.waiting.front().is_some_and(is_late) {
            let batch = self.waiting.pop_front().expect("there is a front");
            let cause = batch.last_error.clone().map(Box::new);
            let what = format!("delivering {} records", batch.count);
            self.has_gap |= self.rules.is_idempotent && batch.sequence.is_some();
            fail_or_fill(batch, Err(ClientError::Expired { what, limit, cause }), &mut settled);
        }
        if self.has_gap {
            self.reset(&mut settled);
        }
        settled
    }

    /// Fails everything that is not in flight.
    pub fn abandon(&mut self, error: &ClientError) -> Settled {
        let mut settled = Settled::default();
        self.close();
        for batch in std::mem::take(&mut self.waiting) {
            fail_or_fill(batch, Err(error.clone()), &mut settled);
        }
        settled
    }

    /// When `expire` has something to do, if nothing is sent until then.
    pub fn expires_at(&self) -> Option<Instant> {
        if !self.in_flight.is_empty() {
            return None;
        }
        let oldest = self.waiting.front().or(self.open.as_ref())?;
        Some(oldest.opened + self.rules.delivery_limit + Duration::from_millis(1))
    }
}

fn fail_or_fill(batch: Batch, answer: Result<Acknowledged, ClientError>, settled: &mut Settled) {
    settled.bytes_freed += batch.bytes;
    if let Err(error) = &answer {
        settled.error.get_or_insert_with(|| error.clone());
    }
    batch.outcome.fill(answer);
}

#[cfg(test)]
mod tests;
