//! One producer: draws planned records, sends batches to the leaders of their partitions, and measures from
//! the plan to the acknowledgement. Lives on one thread; nothing about it waits for a broker before planning.
//!
//! Records are drawn a moment ahead of their planned time, so that it is known when each partition's batch
//! will be due, by being full or by its linger. What is due leaves as soon as its leader has room for a
//! request; what waits for room gathers into larger batches, as in stock clients.

mod lane;

use super::batch::{Batch, Planned, Press, Writer};
use super::draw::{Draw, Drawn};
use super::ledger::{Promised, Stream};
use super::meters::Meters;
use super::pace::Pace;
use super::window::Window;
use crate::settings::Work;
use corelog::client::{
    Acknowledged, Client, ClientError, ProduceAnswer, TopicPartition, partitioner,
};
use corelog::runtime::{self, Instant};
use corelog::wire::{ErrorCode, Str};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lane::Lane;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// How far ahead of its planned time a record is drawn.
const AHEAD: Duration = Duration::from_millis(2);
/// Payload that may wait for room in one producer; beyond it nothing is drawn, and the plan runs on.
const BUFFER_BYTES: usize = 64 << 20;
/// Batches of one partition in flight with idempotence: what brokers remember (KIP-98).
const NUMBERED_IN_FLIGHT_MAX: usize = 5;
/// Before a refused batch goes again, and before metadata is asked anew.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A batch that was refused this often has failed.
const ATTEMPTS_MAX: u32 = 600;

/// What a producer is given.
pub struct Assignment {
    pub number: u32,
    pub run: u32,
    pub client: Client,
    pub work: Rc<Work>,
    pub draw: Draw,
    pub meters: Rc<RefCell<Meters>>,
    /// Records planned and not answered yet, for whoever looks.
    pub backlog: Rc<Cell<u64>>,
}

/// What it knows at the end.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why it ended before its time.
    pub failed: Option<String>,
}

#[derive(Default)]
struct Leader {
    in_flight: usize,
    /// When there was last no room for a request.
    room_since: u64,
    /// Lanes whose batches wait for room.
    due: VecDeque<usize>,
}

struct Answered {
    leader: i32,
    batches: Vec<(usize, Batch)>,
    result: Result<ProduceAnswer, ClientError>,
}

enum Event {
    Answered(Answered),
    Refreshed,
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Event>>>>;

pub struct Producer {
    given: Assignment,
    window: Window,
    writer: Writer,
    press: Press,
    pace: Option<Pace>,
    /// Partition after partition, topic after topic.
    lanes: Vec<Lane>,
    /// Records that were numbered.
    numbered: u64,
    leaders: HashMap<i32, Leader>,
    /// When lanes are due, soonest first; entries that no longer hold are passed over.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    sticky: Sticky,
    waiting_bytes: usize,
    acknowledged: u64,
    failed_records: u64,
    refreshing: bool,
    fatal: Option<String>,
}

/// Records without a key go to one partition until it has a batch's worth (KIP-794).
#[derive(Default)]
struct Sticky {
    lane: usize,
    bytes: usize,
}

impl Producer {
    /// Learns who leads, connects, and takes an identity if need be.
    ///
    /// # Errors
    /// Why it cannot start.
    pub async fn prepare(given: Assignment) -> Result<Producer, ClientError> {
        let work = given.work.clone();
        let mut lanes = Vec::new();
        for (number, name) in (0..).zip(&work.topics) {
            let name: Str = name.as_str().into();
            let topic = given.client.topic(&name).await?;
            for partition in topic.partitions {
                let place = TopicPartition { topic: name.clone(), partition: partition.index };
                lanes.push(Lane::new(number, place, partition.leader));
            }
        }
        let mut leaders = HashMap::new();
        for leader in lanes.iter().filter_map(|lane| lane.leader) {
            // Connected before the start: the first request of a run is not the one that dials.
            given.client.broker(leader).await?;
            leaders.entry(leader).or_insert_with(Leader::default);
        }
        let identity = match work.idempotent {
            true => Some(given.client.producer_identity().await?),
            false => None,
        };
        let writer = Writer { run: given.run, producer: given.number, identity };
        let codec = work.compression.0;
        let press = Press::new(&given.draw, codec, work.batch_bytes, work.stamps(), work.verify);
        let sticky = Sticky { lane: given.number as usize % lanes.len().max(1), bytes: 0 };
        Ok(Producer {
            given,
            window: Window::default(),
            writer,
            press,
            pace: None,
            lanes,
            numbered: 0,
            leaders,
            due: BinaryHeap::new(),
            sticky,
            waiting_bytes: 0,
            acknowledged: 0,
            failed_records: 0,
            refreshing: false,
            fatal: None,
        })
    }

    /// What each of its streams is owed, now and whenever it is looked at.
    pub fn promised(&self) -> Vec<(Stream, Rc<RefCell<Promised>>)> {
        let stream = |lane: &Lane| (lane.stream(self.given.number), lane.promised.clone());
        self.lanes.iter().map(stream).collect()
    }

    /// Produces from the window's start to its end, then waits for what is owed, `drain` at most.
    pub async fn run(mut self, pace: Option<Pace>, window: Window, drain: Duration) -> Outcome {
        (self.pace, self.window) = (pace, window);
        let give_up = window.end + drain;
        let mut running = Running::new();
        runtime::sleep(window.start.since(runtime::now())).await;
        if self.pace.is_none() {
            // Producers begin with different partitions, or all of them would go through these in step.
            let (count, first) = (self.lanes.len(), self.sticky.lane);
            (0..count).for_each(|at| self.line_up((first + at) % count, window.start.0));
        }
        loop {
            let now = runtime::now();
            self.draw_ahead(now);
            self.collect_due(now.0);
            self.send(now, &mut running);
            if (now >= window.end && self.is_idle(&running))
                || now >= give_up
                || self.fatal.is_some()
            {
                break;
            }
            self.given.backlog.set(self.backlog(now.0));
            let wake_at = self.wake_at(now, give_up);
            let event = async {
                match running.next().await {
                    Some(event) => Some(event),
                    None => std::future::pending().await,
                }
            };
            let timer = async {
                runtime::sleep(wake_at.since(now)).await;
                None
            };
            let mut event = futures_lite::future::or(event, timer).await;
            // All that came at once is taken up before anything is sent.
            while let Some(arrived) = event {
                self.take(arrived, &mut running);
                event = futures_lite::future::poll_once(running.next()).await.flatten();
            }
        }
        self.finish()
    }

    /// Nothing is on its way or waits, for the first time or again.
    fn is_idle(&self, running: &Running) -> bool {
        let waits_again = || self.lanes.iter().any(|lane| !lane.again.is_empty());
        running.is_empty() && self.waiting_bytes == 0 && !waits_again()
    }

    // ------------------------------------------------------------ the plan

    /// Draws the records whose time is near.
    fn draw_ahead(&mut self, now: Instant) {
        let horizon = (now + AHEAD).0.min(self.window.end.0);
        while let Some(pace) = &mut self.pace {
            let planned = pace.next();
            if planned >= horizon || self.waiting_bytes >= BUFFER_BYTES {
                return;
            }
            pace.advance();
            let drawn = self.given.draw.draw(planned);
            self.place(drawn);
        }
    }

    fn place(&mut self, drawn: Drawn) {
        let bytes = Press::record_bytes(&drawn);
        let lane = self.choose(&drawn, bytes);
        self.waiting_bytes += bytes;
        let work = &self.given.work;
        let due_at = self.lanes[lane].push(drawn, bytes, work.batch_bytes, work.linger.as_nanos());
        if let Some(due_at) = due_at {
            self.due.push(Reverse((due_at, lane)));
        }
    }

    fn choose(&mut self, drawn: &Drawn, bytes: usize) -> usize {
        let work = &self.given.work;
        if let Some(key) = drawn.key {
            let partitions = work.partitions;
            let topic = (key % work.topics.len() as u64) as usize;
            let key = super::draw::key_bytes(key);
            let partition = partitioner::partition_of(&key, partitions) as usize;
            return topic * partitions as usize + partition;
        }
        if self.sticky.bytes + bytes > work.batch_bytes && self.sticky.bytes > 0 {
            self.sticky.lane = (self.sticky.lane + 1) % self.lanes.len();
            self.sticky.bytes = 0;
        }
        self.sticky.bytes += bytes;
        self.sticky.lane
    }

    // ------------------------------------------------------------ sending

    /// Moves lanes whose time has come into their leaders' lines.
    fn collect_due(&mut self, now: u64) {
        while let Some(Reverse((due_at, lane))) = self.due.peek().copied() {
            if due_at > now {
                return;
            }
            self.due.pop();
            if self.lanes[lane].due_at == Some(due_at) {
                self.line_up(lane, due_at);
            }
        }
    }

    /// Puts a lane into its leader's line, once.
    fn line_up(&mut self, lane: usize, due_at: u64) {
        let entry = &mut self.lanes[lane];
        let Some(leader) = entry.leader else { return };
        if !std::mem::replace(&mut entry.is_lined_up, true) {
            entry.lined_up_at = due_at;
            self.leaders.entry(leader).or_default().due.push_back(lane);
        }
    }

    fn send(&mut self, now: Instant, running: &mut Running) {
        let ids: Vec<i32> = self.leaders.keys().copied().collect();
        for id in ids {
            loop {
                let work = &self.given.work;
                let leader = &self.leaders[&id];
                if leader.in_flight >= work.in_flight || leader.due.is_empty() {
                    break;
                }
                let batches = self.gather(id, now);
                if batches.is_empty() {
                    break;
                }
                let leader = self.leaders.get_mut(&id).expect("just seen");
                leader.in_flight += 1;
                let client = self.given.client.clone();
                let acks = self.given.work.acks;
                let place = |(lane, _): &(usize, Batch)| self.lanes[*lane].place.clone();
                let places = batches.iter().map(place).collect();
                running.push(Box::pin(async move {
                    Event::Answered(exchange(client, id, acks, batches, places).await)
                }));
            }
        }
    }

    /// The batches of one request, at most one of each partition.
    fn gather(&mut self, id: i32, now: Instant) -> Vec<(usize, Batch)> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut again = Vec::new();
        let wall_clock = runtime::wall_clock();
        let lines = self.leaders[&id].due.len();
        for _ in 0..lines {
            if bytes >= self.given.work.request_bytes {
                break;
            }
            let leader = self.leaders.get_mut(&id).expect("it has a line");
            let lane = leader.due.pop_front().expect("counted");
            let room_since = leader.room_since;
            let limit =
                if self.given.work.idempotent { NUMBERED_IN_FLIGHT_MAX } else { usize::MAX };
            self.lanes[lane].is_lined_up = false;
            if !self.lanes[lane].may_send(id, limit) {
                // An answer will put it back.
                self.lanes[lane].is_held = true;
                continue;
            }
            let Some(mut batch) = self.next_batch(lane, now, wall_clock) else { continue };
            let entry = &mut self.lanes[lane];
            entry.in_flight += 1;
            if batch.attempts == 0 {
                batch.due_at = entry.lined_up_at.max(room_since).max(entry.held_until);
                batch.sent_at = now.0;
                let lag = now.0.saturating_sub(batch.due_at);
                if self.window.counts(now.0) {
                    self.given.meters.borrow_mut().generator_lag.record(lag);
                }
            }
            batch.attempts += 1;
            bytes += batch.bytes.len();
            batches.push((lane, batch));
            again.push(lane);
        }
        for lane in again {
            self.line_up_next(lane, now.0);
        }
        batches
    }

    /// After a batch was taken: the next one may be due already.
    fn line_up_next(&mut self, lane: usize, now: u64) {
        if self.pace.is_none() {
            self.line_up(lane, now);
            return;
        }
        let work = &self.given.work;
        match self.lanes[lane].renew_due(work.batch_bytes, work.linger.as_nanos()) {
            Some(due_at) if due_at <= now => self.line_up(lane, due_at),
            Some(due_at) => self.due.push(Reverse((due_at, lane))),
            None => {}
        }
    }

    fn next_batch(
        &mut self,
        lane: usize,
        now: Instant,
        wall_clock: corelog::types::Timestamp,
    ) -> Option<Batch> {
        let entry = &mut self.lanes[lane];
        if let Some(batch) = entry.again.pop_front() {
            return Some(batch);
        }
        let batch_bytes = self.given.work.batch_bytes;
        let (records, planned) = match self.pace {
            Some(_) => {
                let (records, bytes) = entry.take(now.0, batch_bytes, self.press.records_max());
                self.waiting_bytes -= bytes;
                let planned = Planned::Each(records.iter().map(|drawn| drawn.planned).collect());
                (records, planned)
            }
            // Only what was refused goes again then.
            None if now >= self.window.end => return None,
            None => (
                draw_full(&mut self.given.draw, &self.press, batch_bytes, now.0),
                Planned::Now(now.0),
            ),
        };
        if records.is_empty() {
            return None;
        }
        let sequence = entry.promised.borrow_mut().number(records.len() as u64);
        self.numbered += records.len() as u64;
        Some(self.press.press(&records, planned, sequence, self.writer, wall_clock))
    }

    // ------------------------------------------------------------ answers

    fn take(&mut self, event: Event, running: &mut Running) {
        match event {
            Event::Answered(answered) => self.settle(answered, running),
            Event::Refreshed => {
                self.refreshing = false;
                self.find_leaders(running);
            }
        }
    }

    fn settle(&mut self, answered: Answered, running: &mut Running) {
        let now = runtime::now().0;
        let Answered { leader, batches, result } = answered;
        if let Some(leader) = self.leaders.get_mut(&leader) {
            if leader.in_flight == self.given.work.in_flight {
                leader.room_since = now;
            }
            leader.in_flight -= 1;
        }
        let meters = self.given.meters.clone();
        meters.borrow_mut().produced.requests += u64::from(self.window.counts(now));
        let mut results = match result {
            Ok(answer) => {
                let throttle = answer.throttle.as_secs_f64();
                meters.borrow_mut().produced.throttled_seconds += throttle;
                Ok(answer.results.into_iter())
            }
            Err(error) => Err(error),
        };
        for (lane, batch) in batches {
            let result = match &mut results {
                Ok(results) => results.next().expect("an answer for each batch"),
                Err(error) => Err(error.clone()),
            };
            self.lanes[lane].in_flight -= 1;
            self.settle_batch(leader, lane, batch, result, now, running);
            let entry = &mut self.lanes[lane];
            if entry.in_flight == 0 {
                entry.is_blocked = false;
            }
            if std::mem::take(&mut entry.is_held) || !entry.again.is_empty() {
                entry.held_until = now;
                self.line_up(lane, now);
            }
        }
    }

    fn settle_batch(
        &mut self,
        leader: i32,
        lane: usize,
        mut batch: Batch,
        result: Result<Acknowledged, ClientError>,
        now: u64,
        running: &mut Running,
    ) {
        let code = result.as_ref().err().and_then(ClientError::code);
        match result {
            Err(error) if code != Some(ErrorCode::DuplicateSequenceNumber) => {
                let mut meters = self.given.meters.borrow_mut();
                // After a reconnect a batch may overtake an earlier one, which then has to go first. One that
                // follows what was acknowledged and is out of order shows a loss.
                let is_early = code == Some(ErrorCode::OutOfOrderSequenceNumber)
                    && self.lanes[lane]
                        .promised
                        .borrow()
                        .has_unanswered_before(batch.first_sequence);
                if (error.is_retriable() || is_early) && batch.attempts < ATTEMPTS_MAX {
                    meters.produced.retries += 1;
                    drop(meters);
                    // It goes again when the others of this partition are back, so that the order stays.
                    let entry = &mut self.lanes[lane];
                    entry.is_blocked = entry.in_flight > 0;
                    batch.due_at = now;
                    entry.put_back(batch);
                    let place = &entry.place;
                    self.given.client.forget_leader(&place.topic, place.partition, leader);
                    self.find_leaders(running);
                    return;
                }
                meters.produced.errors += u64::from(batch.records);
                meters.first_error.get_or_insert_with(|| error.to_string());
                drop(meters);
                self.failed_records += u64::from(batch.records);
                if self.writer.identity.is_some() {
                    // Whatever follows in this partition would be out of order.
                    self.fatal = Some(error.to_string());
                }
            }
            _ => {
                self.lanes[lane].promised.borrow_mut().acknowledge(batch.first_sequence);
                self.acknowledge(&batch, now);
            }
        }
        self.press.recycle(batch);
    }

    fn acknowledge(&mut self, batch: &Batch, now: u64) {
        self.acknowledged += u64::from(batch.records);
        let window = self.window;
        let mut meters = self.given.meters.borrow_mut();
        if window.counts(now) {
            let flow = &mut meters.produced;
            flow.records += u64::from(batch.records);
            flow.payload_bytes += batch.payload_bytes;
            flow.batch_bytes += batch.bytes.len() as u64;
            flow.batches += 1;
        }
        // A record that was planned in the measured time counts, however late its answer comes.
        match &batch.planned {
            Planned::Now(sent_at) if window.counts(*sent_at) => {
                let latency = now.saturating_sub(*sent_at);
                meters.acknowledge.record_n(latency, u64::from(batch.records));
            }
            Planned::Now(_) => {}
            Planned::Each(times) => {
                for planned in times.iter().filter(|planned| window.counts(**planned)) {
                    meters.acknowledge.record(now.saturating_sub(*planned));
                }
            }
        }
    }

    // ------------------------------------------------------------ leaders

    /// Asks who leads the partitions that have nobody, after a pause.
    fn find_leaders(&mut self, running: &mut Running) {
        let now = runtime::now().0;
        let mut unknown = Vec::new();
        for lane in 0..self.lanes.len() {
            let entry = &self.lanes[lane];
            let place = &entry.place;
            let leader = self.given.client.leader(&place.topic, place.partition);
            if leader.is_none() {
                unknown.push(place.topic.clone());
            }
            if leader == entry.leader {
                continue;
            }
            if entry.is_lined_up
                && let Some(old) = entry.leader.and_then(|old| self.leaders.get_mut(&old))
            {
                old.due.retain(|due| *due != lane);
            }
            let entry = &mut self.lanes[lane];
            entry.leader = leader;
            let was_waiting = std::mem::take(&mut entry.is_lined_up) || entry.is_stranded();
            if leader.is_some() && (was_waiting || self.pace.is_none()) {
                entry.held_until = now;
                self.line_up(lane, now);
            }
        }
        if unknown.is_empty() || std::mem::replace(&mut self.refreshing, true) {
            return;
        }
        unknown.sort();
        unknown.dedup();
        let client = self.given.client.clone();
        running.push(Box::pin(async move {
            runtime::sleep(RETRY_PAUSE).await;
            // Without an answer the next round asks again.
            drop(client.refresh(&unknown).await);
            Event::Refreshed
        }));
    }

    // ------------------------------------------------------------ time

    fn wake_at(&self, now: Instant, give_up: Instant) -> Instant {
        let mut at = if now < self.window.end { self.window.end } else { give_up };
        if let Some(Reverse((due_at, _))) = self.due.peek() {
            at = at.min(Instant((*due_at).max(now.0)));
        }
        if let Some(pace) = &self.pace
            && pace.next() < self.window.end.0
        {
            // Half of what is drawn ahead is still to come then.
            let draw_at = pace.next().saturating_sub(AHEAD.as_nanos() as u64 / 2);
            let full = self.waiting_bytes >= BUFFER_BYTES;
            at = at.min(if full { at } else { Instant(draw_at.max(now.0)) });
        }
        at
    }

    /// Records planned and not answered yet.
    fn backlog(&self, now: u64) -> u64 {
        let planned = match &self.pace {
            // What is planned for the end itself is not sent any more.
            Some(pace) => pace.planned_by(now.min(self.window.end.0 - 1)),
            None => self.numbered,
        };
        planned.saturating_sub(self.acknowledged + self.failed_records)
    }

    fn finish(self) -> Outcome {
        let now = runtime::now().0;
        let left = self.backlog(now);
        self.given.backlog.set(left);
        let unanswered = (left > 0 && self.fatal.is_none())
            .then(|| format!("{left} records were not acknowledged in time"));
        Outcome { failed: self.fatal.or(unanswered) }
    }
}

/// A full batch's worth, for a closed loop.
fn draw_full(draw: &mut Draw, press: &Press, batch_bytes: usize, now: u64) -> Vec<Drawn> {
    if let Some(count) = press.records_max() {
        return vec![draw.draw(now); count];
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let drawn = draw.draw(now);
        bytes += Press::record_bytes(&drawn);
        if bytes > batch_bytes && !records.is_empty() {
            return records;
        }
        records.push(drawn);
    }
}

async fn exchange(
    client: Client,
    leader: i32,
    acks: corelog::client::Acks,
    batches: Vec<(usize, Batch)>,
    places: Vec<TopicPartition>,
) -> Answered {
    let sent: Vec<_> = places
        .into_iter()
        .zip(&batches)
        .map(|(place, (_, batch))| (place, batch.bytes.clone()))
        .collect();
    let result = client.produce(leader, acks, &sent).await;
    Answered { leader, batches, result }
}
