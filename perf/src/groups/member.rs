//! One member of one group: its connection, and what it does when. Lives on the driver's thread. It does one thing
//! at a time, as a client's coordinator connection does; what is late because of that is the broker's doing, and counts.

use super::counts::{Beat, Counts};
use super::plan::{Plan, Protocol};
use super::track::Track;
use corelog::client::{Client, ClientError, Connection};
use corelog::runtime::{self, Event, Instant};
use corelog::types::TopicId;
use corelog::wire::api::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use corelog::wire::api::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use corelog::wire::api::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};
use corelog::wire::{ApiKey, ErrorCode, Request, Str};
use std::cell::{Cell, RefCell};
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::time::Duration;

/// Before something that was refused is tried again.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
pub const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long a member may take to join again (max.poll.interval.ms of Kafka's consumer).
pub const REBALANCE_TIMEOUT: Duration = Duration::from_mins(5);
/// The last versions that name topics rather than their ids.
const NAMES_VERSION_MAX: i16 = 9;

/// What all members of the driver share.
pub struct Driver {
    pub plan: Plan,
    /// Finds coordinators.
    pub client: Client,
    pub topics: Vec<(Str, TopicId)>,
    pub counts: RefCell<Counts>,
    pub groups: Vec<RefCell<Track>>,
    /// When members begin to connect, and to join.
    pub connect_at: Instant,
    pub join_at: Cell<Option<Instant>>,
    /// What is due then or later is measured.
    pub measure_from: Cell<Option<Instant>>,
    pub stage: Event,
    pub connected: Cell<usize>,
    pub ended: Cell<usize>,
}

impl Driver {
    pub fn stable_groups(&self) -> usize {
        self.groups.iter().filter(|group| group.borrow().is_stable()).count()
    }

    /// Counts what an answer says that is no success.
    pub fn note(&self, api: ApiKey, code: ErrorCode) {
        self.counts.borrow_mut().answer(api, code, self.measure_from.get().is_none());
    }

    pub fn measures(&self, due: Instant) -> bool {
        self.measure_from.get().is_some_and(|from| due >= from)
    }
}

/// What a member is told by the conductor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Stay,
    /// Go and come again, as a new member with a new connection.
    Restart,
    End,
}

/// Where a member's orders lie.
#[derive(Debug, Default)]
pub struct Orders {
    order: Cell<Order>,
    given: Event,
}

impl Orders {
    /// An end is not taken back.
    pub fn give(&self, order: Order) {
        if self.order.get() != Order::End {
            self.order.set(order);
            self.given.notify();
        }
    }
}

pub struct Member {
    pub driver: Rc<Driver>,
    pub group: usize,
    pub number: usize,
    orders: Rc<Orders>,
    connection: Option<Connection>,
    pub group_name: Str,
    /// Empty while it has none.
    pub id: Str,
    /// The generation, or member epoch.
    pub epoch: i32,
    pub owned: Vec<i32>,
    is_in: bool,
    heartbeat: Beat,
    commit: Option<Beat>,
    /// When it had last done all that was due.
    ready_at: Instant,
    /// When it began what it did last.
    acted_at: Instant,
    next_offset: i64,
}

impl Member {
    pub fn new(driver: Rc<Driver>, group: usize, number: usize, orders: Rc<Orders>) -> Member {
        let group_name = Str::from(driver.plan.group_name(group).as_str());
        Member {
            driver,
            group,
            number,
            orders,
            connection: None,
            group_name,
            id: Str::default(),
            epoch: -1,
            owned: Vec::new(),
            is_in: false,
            heartbeat: Beat::default(),
            commit: None,
            ready_at: Instant::default(),
            acted_at: Instant::default(),
            next_offset: 0,
        }
    }

    pub fn topic(&self) -> &(Str, TopicId) {
        &self.driver.topics[self.driver.plan.topic_of(self.group)]
    }

    /// Does what members do until it is told to end.
    pub async fn run(mut self) {
        let turn = self.driver.plan.turn_of(self.group, self.number);
        sleep_until(self.driver.connect_at + turn).await;
        self.connect().await;
        self.driver.connected.set(self.driver.connected.get() + 1);
        let join_at = self.join_at().await + turn;
        sleep_until(join_at).await;
        self.driver.groups[self.group].borrow_mut().disturb(join_at, std::iter::empty());
        self.heartbeat = Beat { due: join_at, every: self.driver.plan.heartbeat };
        self.commit = self.driver.plan.commit.map(|every| {
            let share = turn.as_secs_f64() / self.driver.plan.ramp.as_secs_f64().max(1e-9);
            Beat { due: join_at + every.mul_f64(share), every }
        });
        loop {
            match self.orders.order.replace(Order::Stay) {
                Order::Stay => {}
                Order::Restart => self.restart().await,
                Order::End => break,
            }
            if let Err(error) = self.step().await {
                self.driver.counts.borrow_mut().broke(&error);
                self.fall_out();
                self.connection = None;
                runtime::sleep(RETRY_PAUSE).await;
                self.connect().await;
            }
        }
        self.orders.order.set(Order::End);
        self.leave().await;
        self.driver.ended.set(self.driver.ended.get() + 1);
    }

    async fn join_at(&self) -> Instant {
        loop {
            let seen = self.driver.stage.count();
            if let Some(at) = self.driver.join_at.get() {
                return at;
            }
            self.driver.stage.after(seen).await;
        }
    }

    /// The next thing, or the wait for it.
    async fn step(&mut self) -> Result<(), ClientError> {
        if !self.is_in {
            self.is_in = match self.driver.plan.protocol {
                Protocol::Classic => self.join_classic().await?,
                Protocol::Consumer => self.join_consumer().await?,
            };
            if let Some(commit) = &mut self.commit {
                commit.skip_to(runtime::now());
            }
            return Ok(());
        }
        let commits_at = self.commit.map(|commit| commit.due);
        let due = commits_at.map_or(self.heartbeat.due, |at| at.min(self.heartbeat.due));
        let now = runtime::now();
        if now < due {
            // Done with all that was due: what it does later than `due` is the driver's lateness.
            self.ready_at = now;
            let given = &self.orders.given;
            runtime::timeout(due.since(now), given.after(given.count())).await;
            return Ok(());
        }
        if self.driver.measures(due) {
            // After something that took longer it is not late, but held up by what it measures.
            let was_waiting = self.ready_at >= self.acted_at;
            if was_waiting {
                let late = now.since(due);
                self.driver.counts.borrow_mut().lateness.record(nanoseconds(late));
            }
        }
        self.acted_at = now;
        if self.heartbeat.due > due {
            return self.commit_in_turn(due).await;
        }
        self.heartbeat.advance();
        match self.driver.plan.protocol {
            Protocol::Classic => self.beat_classic(due).await,
            Protocol::Consumer => self.beat_consumer(due).await,
        }
    }

    async fn commit_in_turn(&mut self, due: Instant) -> Result<(), ClientError> {
        if let Some(commit) = &mut self.commit {
            commit.advance();
        }
        let is_done = self.commit_offsets().await?;
        if is_done && self.driver.measures(due) {
            let took = runtime::now().since(due);
            self.driver.counts.borrow_mut().commit.record(nanoseconds(took));
        }
        Ok(())
    }

    /// A heartbeat that was due then was answered.
    pub fn beaten(&self, due: Instant) {
        if self.driver.measures(due) {
            let took = runtime::now().since(due);
            self.driver.counts.borrow_mut().heartbeat.record(nanoseconds(took));
        }
    }

    /// Heartbeats run from now on, so far apart.
    pub fn beat_from_now(&mut self, every: Duration) {
        self.heartbeat = Beat { due: runtime::now() + every, every };
    }

    // ------------------------------------------------------------ in and out

    /// What it has is this from now on.
    pub fn take(&mut self, partitions: Vec<i32>) {
        self.owned = partitions;
        let group = &self.driver.groups[self.group];
        let now = runtime::now();
        let stable = group.borrow_mut().hold(self.number, self.epoch, &self.owned, now);
        if let Some(after) = stable {
            self.driver.counts.borrow_mut().stable_after.record(nanoseconds(after));
        }
    }

    /// It works on nothing any more, and is to join again.
    pub fn fall_out(&mut self) {
        self.is_in = false;
        self.owned.clear();
        self.driver.groups[self.group].borrow_mut().give_up(self.number);
    }

    async fn restart(&mut self) {
        let crashes = self.driver.plan.storm.is_some_and(|storm| storm.crash);
        if crashes {
            self.fall_out();
        } else {
            self.leave().await;
        }
        self.connection = None;
        self.id = Str::default();
        self.connect().await;
    }

    async fn leave(&mut self) {
        self.fall_out();
        if self.id.as_bytes().is_empty() {
            return;
        }
        let left = match self.driver.plan.protocol {
            Protocol::Classic => self.leave_classic().await,
            Protocol::Consumer => self.leave_consumer().await,
        };
        if let Err(error) = left {
            self.driver.counts.borrow_mut().broke(&error);
        }
    }

    // ------------------------------------------------------------ requests

    /// Has a connection to its coordinator, however long that takes.
    async fn connect(&mut self) {
        loop {
            match self.open().await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return;
                }
                Err(error) => {
                    self.driver.counts.borrow_mut().broke(&error);
                    runtime::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let client = &self.driver.client;
        self.driver.counts.borrow_mut().request(FindCoordinatorRequest::KEY);
        let id = client.coordinator(&self.group_name).await?;
        let broker = client.metadata(|metadata| metadata.brokers.get(&id).cloned());
        let what = format!("broker {id}");
        let address = broker.ok_or(ClientError::NoLeader { what })?.address;
        let name = address.to_string();
        let failed = |reason: &str| ClientError::Connect {
            address: name.clone(),
            reason: reason.to_string(),
        };
        let mut found = (address.host.as_str(), address.port)
            .to_socket_addrs()
            .map_err(|error| failed(&error.to_string()))?;
        let found = found.next().ok_or_else(|| failed("the name has no address"))?;
        let client_id = Str::from(client.options().client_id.as_str());
        Connection::open(found, &name, &client_id, CONNECT_LIMIT).await
    }

    pub async fn call<R: Request>(
        &self,
        request: &R,
        version_max: i16,
        limit: Duration,
    ) -> Result<R::Response, ClientError> {
        let closed = || ClientError::Disconnected {
            address: self.group_name.to_string(),
            reason: "it was closed".to_string(),
        };
        let connection = self.connection.as_ref().ok_or_else(closed)?;
        self.driver.counts.borrow_mut().request(R::KEY);
        let version = connection.version::<R>(version_max)?;
        connection.call_version(request, version, Vec::new(), limit).await
    }

    /// Commits all that it has; whether that was taken.
    pub async fn commit_offsets(&mut self) -> Result<bool, ClientError> {
        if self.owned.is_empty() {
            return Ok(true);
        }
        self.next_offset += 1;
        let partitions = self.owned.iter().map(|index| OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: self.next_offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(Str::default()),
        });
        let (name, topic_id) = self.topic().clone();
        let request = OffsetCommitRequest {
            group_id: self.group_name.clone(),
            generation_id_or_member_epoch: self.epoch,
            member_id: self.id.clone(),
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![OffsetCommitRequestTopic {
                name,
                topic_id,
                partitions: partitions.collect(),
            }],
        };
        let response = self.call(&request, NAMES_VERSION_MAX, REQUEST_LIMIT).await?;
        let all = response.topics.iter().flat_map(|topic| &topic.partitions);
        let code = all.map(|one| one.error_code).find(|code| !code.is_none());
        let code = code.unwrap_or(ErrorCode::None);
        self.driver.note(OffsetCommitRequest::KEY, code);
        if code == ErrorCode::UnknownMemberId {
            self.fall_out();
        }
        Ok(code.is_none())
    }

    /// Asks where to begin, as a consumer does of partitions that it is given.
    pub async fn fetch_offsets(&self, partitions: &[i32]) -> Result<(), ClientError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let (name, topic_id) = self.topic().clone();
        let is_consumer = self.driver.plan.protocol == Protocol::Consumer;
        let (member_id, member_epoch) =
            if is_consumer { (Some(self.id.clone()), self.epoch) } else { (None, -1) };
        let topic =
            OffsetFetchRequestTopic { name: name.clone(), partition_indexes: partitions.to_vec() };
        let request = OffsetFetchRequest {
            group_id: self.group_name.clone(),
            topics: Some(vec![topic]),
            groups: vec![OffsetFetchRequestGroup {
                group_id: self.group_name.clone(),
                member_id,
                member_epoch,
                topics: Some(vec![OffsetFetchRequestTopics {
                    name,
                    topic_id,
                    partition_indexes: partitions.to_vec(),
                }]),
            }],
            require_stable: true,
        };
        let response = self.call(&request, NAMES_VERSION_MAX, REQUEST_LIMIT).await?;
        let code = response.groups.first().map_or(response.error_code, |group| group.error_code);
        self.driver.note(OffsetFetchRequest::KEY, code);
        Ok(())
    }
}

pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

async fn sleep_until(at: Instant) {
    runtime::sleep(at.since(runtime::now())).await;
}
