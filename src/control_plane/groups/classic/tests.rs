//! Scenarios of classic groups in virtual time: turns are driven directly, timers run in their order.

mod chaos;
mod joins;
mod others;
mod statics;
mod stored;
mod syncs;

use super::super::record::GroupRecord;
use super::super::turn::{GroupConfig, Release, Timers, Turn};
use super::*;
use crate::runtime::{Instant, Slot, slot};
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::api::leave_group::MemberIdentity;
use crate::wire::api::sync_group::SyncGroupRequestAssignment;
use crate::wire::api::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use std::cell::RefCell;
use std::collections::BTreeMap;

const GROUP: &str = "g";
/// The wall clock when a test begins.
const WALL: i64 = 1_700_000_000_000;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const INITIAL: Duration = Duration::from_secs(3);

/// An answer that is there or not yet.
struct Answer<T>(RefCell<(Option<Slot<T>>, Option<T>)>);

impl<T: Clone> Answer<T> {
    fn new(slot: Slot<T>) -> Answer<T> {
        Answer(RefCell::new((Some(slot), None)))
    }

    fn poll(&self) {
        let (slot, answer) = &mut *self.0.borrow_mut();
        let Some(waiting) = slot else { return };
        if let Some(polled) = block_on(poll_once(waiting)) {
            (*slot, *answer) = (None, polled);
        }
    }

    fn is_waiting(&self) -> bool {
        self.poll();
        self.0.borrow().0.is_some()
    }

    /// Whether there never will be one.
    fn is_dropped(&self) -> bool {
        !self.is_waiting() && self.0.borrow().1.is_none()
    }

    #[track_caller]
    fn get(&self) -> T {
        self.poll();
        self.0.borrow().1.clone().expect("there is an answer")
    }
}

type Joined = Answer<JoinGroupResponse>;
type Synced = Answer<SyncGroupResponse>;

/// A group with its clock, timers and log.
struct Bench {
    group: ClassicGroup,
    config: GroupConfig,
    timers: Timers,
    now: Duration,
    seed: u64,
    /// The values of all records; `None` is a tombstone.
    log: Vec<Option<ClassicGroupValue>>,
    /// Answers are held back while the disk is slow.
    is_slow: bool,
    held: Vec<Release>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(GroupConfig::default())
    }

    fn with(config: GroupConfig) -> Bench {
        Bench {
            group: ClassicGroup::new(Str::from(GROUP), Timestamp(WALL)),
            config,
            timers: Timers::default(),
            now: Duration::ZERO,
            seed: 1,
            log: Vec::new(),
            is_slow: false,
            held: Vec::new(),
        }
    }

    fn instant(now: Duration) -> Instant {
        Instant(0) + now
    }

    fn turn<T>(&mut self, run: impl FnOnce(&mut ClassicGroup, &mut Turn) -> T) -> T {
        let seed = &mut self.seed;
        let mut random = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *seed ^ *seed >> 29
        };
        let mut turn = Turn {
            now: Bench::instant(self.now),
            wall: Timestamp(WALL + self.now.as_millis() as i64),
            config: &self.config,
            overrides: &BTreeMap::new(),
            timers: &mut self.timers,
            random: &mut random,
            records: Vec::new(),
            releases: Vec::new(),
            counts: Default::default(),
        };
        let answer = run(&mut self.group, &mut turn);
        let (records, releases) = (turn.records, turn.releases);
        for record in records {
            match record {
                GroupRecord::Classic(group, value) => {
                    assert_eq!(group, GROUP);
                    self.log.push(value);
                }
                other => panic!("{other:?} is not a classic group's"),
            }
        }
        self.held.extend(releases);
        if !self.is_slow {
            self.release();
        }
        answer
    }

    fn release(&mut self) {
        for release in self.held.drain(..) {
            release();
        }
    }

    /// Time goes by; timers that come due run at their moments.
    fn pass(&mut self, time: Duration) {
        let (until, mut steps) = (self.now + time, 0);
        while let Some(next) = self.timers.next_at().filter(|at| *at <= Bench::instant(until)) {
            self.now = self.now.max(Duration::from_nanos(next.0));
            let timer = self.timers.take_due(next).unwrap();
            self.turn(|group, turn| group.on_timer(&timer, turn));
            steps += 1;
            assert!(steps < 20_000, "{timer:?} comes again and again");
        }
        self.now = until;
    }

    fn pass_ms(&mut self, ms: i32) {
        self.pass(Duration::from_millis(ms as u64));
    }

    fn join(&mut self, request: JoinGroupRequest, version: i16) -> Joined {
        let (filler, slot) = slot();
        self.turn(|group, turn| {
            let host = "/10.0.0.1".to_string();
            group.join(request, version, Str::from("client"), host, filler, turn);
        });
        Answer::new(slot)
    }

    /// As a client does: asks for an id first.
    fn come(&mut self) -> (Str, Joined) {
        let id = self.join(request(""), 9).get().member_id;
        let joined = self.join(request(&id), 9);
        (id, joined)
    }

    fn sync(&mut self, request: SyncGroupRequest) -> Synced {
        let (filler, slot) = slot();
        self.turn(|group, turn| group.sync(request, filler, turn));
        Answer::new(slot)
    }

    /// The leader's: everybody gets `generation:id`.
    fn lead(&mut self, joined: &JoinGroupResponse) -> Synced {
        let assignments = joined.members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment(joined.generation_id, &member.member_id),
        });
        let assignments = assignments.collect();
        self.sync(SyncGroupRequest { assignments, ..sync_request(joined) })
    }

    fn follow(&mut self, joined: &JoinGroupResponse) -> Synced {
        self.sync(sync_request(joined))
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(member, None, generation)
    }

    fn heartbeat_as(&mut self, member: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: Str::from(GROUP),
            generation_id: generation,
            member_id: Str::from(member),
            group_instance_id: instance.map(Str::from),
        };
        self.turn(|group, turn| group.heartbeat(&request, turn))
    }

    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let identity = |(id, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: Str::from(*id),
            group_instance_id: instance.map(Str::from),
            reason: None,
        };
        let members = members.iter().map(identity).collect();
        let request = LeaveGroupRequest { members, ..Default::default() };
        let response = self.turn(|group, turn| group.leave(&request, 5, turn));
        assert_eq!(response.error_code, ErrorCode::None);
        response.members.iter().map(|member| member.error_code).collect()
    }

    /// A stable group of dynamic members, the leader first.
    fn stable(members: usize) -> (Bench, Vec<JoinGroupResponse>) {
        let mut bench = Bench::new();
        let waiting: Vec<Joined> = (0..members).map(|_| bench.come().1).collect();
        let joined = bench.settle(waiting);
        (bench, joined)
    }

    /// Waits until these have joined, and has all of them sync.
    fn settle(&mut self, waiting: Vec<Joined>) -> Vec<JoinGroupResponse> {
        for _ in 0..20 {
            if waiting.iter().any(Joined::is_waiting) {
                self.pass(INITIAL);
            }
        }
        let mut joined: Vec<_> = waiting.iter().map(Joined::get).collect();
        joined.sort_by_key(|each| each.members.is_empty());
        assert_eq!(joined[0].leader, joined[0].member_id);
        let synced = self.lead(&joined[0]).get();
        assert_eq!(synced.error_code, ErrorCode::None);
        for each in &joined[1..] {
            assert_eq!(self.follow(each).get().error_code, ErrorCode::None);
        }
        assert_eq!(self.group.state(), State::Stable);
        joined
    }

    /// Every member's heart beats while time goes by.
    fn live(&mut self, members: &[JoinGroupResponse], time: Duration) {
        let step = Duration::from_secs(2);
        let mut left = time;
        while !left.is_zero() {
            self.pass(step.min(left));
            left = left.saturating_sub(step);
            for member in members {
                self.heartbeat(&member.member_id, member.generation_id);
            }
        }
    }

    fn ids(&self) -> Vec<Str> {
        self.group.members().ids()
    }

    #[track_caller]
    fn check_state(&self, state: State, generation: i32) {
        assert_eq!((self.group.state(), self.group.generation()), (state, generation));
    }
}

fn assignment(generation: i32, member: &str) -> Bytes {
    Bytes::from(format!("{generation}:{member}"))
}

fn protocol(name: &str, metadata: &'static [u8]) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol { name: Str::from(name), metadata: Bytes::from_static(metadata) }
}

fn request(member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: Str::from(GROUP),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: Str::from(member),
        protocol_type: Str::from("consumer"),
        protocols: vec![protocol("range", b"metadata")],
        ..Default::default()
    }
}

fn request_with(member: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|name| protocol(name, b"metadata")).collect();
    JoinGroupRequest { protocols, ..request(member) }
}

fn static_request(member: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(Str::from(instance)), ..request(member) }
}

fn sync_request(joined: &JoinGroupResponse) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: Str::from(GROUP),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: joined.protocol_type.clone(),
        protocol_name: joined.protocol_name.clone(),
        assignments: Vec::new(),
    }
}
