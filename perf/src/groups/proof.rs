//! Proof that the driver is right: groups of one member each at a coordinator whose delays and faults are scripted, in
//! virtual time, where what must be reported is known.

use super::conduct::{Driven, drive};
use super::plan::{Plan, Protocol, Storm};
use super::report::faults;
use bytes::{Buf, Bytes, BytesMut};
use corelog::client::Address;
use corelog::runtime::sim::{NetworkOptions, Simulation, SimulationOptions};
use corelog::runtime::{self, ListenOptions, Listener, Stream};
use corelog::types::TopicId;
use corelog::wire::api::api_versions::ApiVersion;
use corelog::wire::api::consumer_group_heartbeat::{HeartbeatAssignment, HeartbeatTopicPartitions};
use corelog::wire::api::create_topics::CreatableTopicResult;
use corelog::wire::api::find_coordinator::FoundCoordinator;
use corelog::wire::api::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use corelog::wire::api::*;
use corelog::wire::supported_apis;
use corelog::wire::{ApiKey, Decoder, ErrorCode, RequestHeader, Str, encode_response};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

const BROKER: i32 = 1;
const PARTITIONS: i32 = 4;

/// How long the answer to a heartbeat takes, by the time since the broker began, and what it says.
type Script = fn(since_start: Duration) -> (Duration, ErrorCode);

/// A coordinator of groups that have one member each: whoever comes is the group.
struct Coordinator {
    script: Script,
    begun: runtime::Instant,
    topics: RefCell<Vec<Str>>,
    generation: Cell<i32>,
}

fn id_of(name: &Str) -> TopicId {
    let mut id = [0; 16];
    id.iter_mut().zip(name.as_bytes().iter().rev()).for_each(|(to, from)| *to = *from);
    TopicId(id)
}

impl Coordinator {
    async fn answer(&self, frame: Bytes) -> Bytes {
        let mut d = Decoder::new(frame);
        let header = RequestHeader::decode(&mut d).unwrap();
        let (version, id) = (header.api_version, header.correlation_id);
        macro_rules! reply {
            ($request:ident, $answer:expr) => {{
                let request = $request::decode(&mut d, version).unwrap();
                #[allow(clippy::redundant_closure_call)]
                let response = $answer(request);
                encode_response::<$request>(&response, version, id).out.freeze()
            }};
        }
        match header.api_key {
            ApiKey::ApiVersions => reply!(ApiVersionsRequest, |_| versions()),
            ApiKey::Metadata => reply!(MetadataRequest, |_| self.metadata()),
            ApiKey::CreateTopics => reply!(CreateTopicsRequest, |request| self.create(request)),
            ApiKey::DeleteTopics => reply!(DeleteTopicsRequest, deleted),
            ApiKey::FindCoordinator => reply!(FindCoordinatorRequest, found),
            ApiKey::JoinGroup => reply!(JoinGroupRequest, |request| self.join(request)),
            ApiKey::SyncGroup => reply!(SyncGroupRequest, |request| self.sync(request)),
            ApiKey::LeaveGroup => reply!(LeaveGroupRequest, |_| LeaveGroupResponse::default()),
            ApiKey::OffsetFetch => reply!(OffsetFetchRequest, |_| OffsetFetchResponse::default()),
            ApiKey::OffsetCommit => {
                reply!(OffsetCommitRequest, |_| OffsetCommitResponse::default())
            }
            ApiKey::Heartbeat => {
                let error_code = self.follow_script().await;
                let answer = HeartbeatResponse { error_code, ..Default::default() };
                reply!(HeartbeatRequest, |_| answer)
            }
            ApiKey::ConsumerGroupHeartbeat => {
                let request = ConsumerGroupHeartbeatRequest::decode(&mut d, version).unwrap();
                let is_beat = request.member_epoch > 0 && request.topic_partitions.is_none();
                let error_code = if is_beat { self.follow_script().await } else { ErrorCode::None };
                let response = self.beat(request, error_code);
                let frame =
                    encode_response::<ConsumerGroupHeartbeatRequest>(&response, version, id);
                frame.out.freeze()
            }
            other => panic!("{other} is not asked for"),
        }
    }

    async fn follow_script(&self) -> ErrorCode {
        let (delay, code) = (self.script)(runtime::now().since(self.begun));
        runtime::sleep(delay).await;
        code
    }

    fn metadata(&self) -> MetadataResponse {
        let broker = MetadataResponseBroker {
            node_id: BROKER,
            host: Str::from_static("127.0.0.1"),
            port: 9092,
            ..Default::default()
        };
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: BROKER,
            ..Default::default()
        };
        let topics = self.topics.borrow();
        let topics = topics.iter().map(|name| MetadataResponseTopic {
            name: Some(name.clone()),
            topic_id: id_of(name),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        });
        MetadataResponse {
            brokers: vec![broker],
            controller_id: BROKER,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn create(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.into_iter().map(|topic| {
            self.topics.borrow_mut().push(topic.name.detached());
            CreatableTopicResult { name: topic.name, ..Default::default() }
        });
        CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
    }

    /// Who has no id gets one, who has one leads.
    fn join(&self, request: JoinGroupRequest) -> JoinGroupResponse {
        if request.member_id.as_bytes().is_empty() {
            return JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired,
                member_id: Str::from(format!("{}-1", request.group_id.as_str())),
                ..Default::default()
            };
        }
        self.generation.set(self.generation.get() + 1);
        let member = join_group::JoinGroupResponseMember {
            member_id: request.member_id.clone(),
            group_instance_id: None,
            metadata: request.protocols[0].metadata.clone(),
        };
        JoinGroupResponse {
            generation_id: self.generation.get(),
            leader: request.member_id.clone(),
            member_id: request.member_id,
            members: vec![member],
            ..Default::default()
        }
    }

    fn sync(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let own = request.assignments.iter().find(|one| one.member_id == request.member_id);
        let assignment = Bytes::copy_from_slice(&own.unwrap().assignment);
        SyncGroupResponse { assignment, ..Default::default() }
    }

    fn beat(
        &self,
        request: ConsumerGroupHeartbeatRequest,
        error_code: ErrorCode,
    ) -> ConsumerGroupHeartbeatResponse {
        let told = request.subscribed_topic_names.map(|names| HeartbeatAssignment {
            topic_partitions: vec![HeartbeatTopicPartitions {
                topic_id: id_of(&names[0]),
                partitions: (0..PARTITIONS).collect(),
            }],
        });
        ConsumerGroupHeartbeatResponse {
            error_code,
            member_epoch: request.member_epoch.max(1),
            heartbeat_interval_ms: 3000,
            assignment: told,
            ..Default::default()
        }
    }
}

fn versions() -> ApiVersionsResponse {
    let apis = supported_apis().iter().map(|api| ApiVersion {
        api_key: api.key.to_i16(),
        min_version: api.version_min,
        max_version: api.version_max,
    });
    ApiVersionsResponse { api_keys: apis.collect(), ..Default::default() }
}

fn deleted(request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let names = request.topics.into_iter().map(|topic| delete_topics::DeletableTopicResult {
        name: topic.name,
        ..Default::default()
    });
    DeleteTopicsResponse { responses: names.collect(), ..Default::default() }
}

fn found(request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let here = |key: Str| FoundCoordinator { key, node_id: BROKER, ..Default::default() };
    let coordinators = request.coordinator_keys.into_iter().map(here).collect();
    FindCoordinatorResponse { node_id: BROKER, coordinators, ..Default::default() }
}

async fn serve(stream: Stream, coordinator: Rc<Coordinator>) {
    let mut buffer = BytesMut::new();
    loop {
        let read = poll_fn(|context| stream.poll_read(context, &mut buffer, 1 << 20)).await;
        if read.unwrap_or(0) == 0 {
            return;
        }
        while let Some(length) = buffer.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) {
            if buffer.len() < 4 + length as usize {
                break;
            }
            buffer.advance(4);
            let frame = buffer.split_to(length as usize).freeze();
            let mut rest = coordinator.answer(frame).await;
            while !rest.is_empty() {
                let slices = [IoSlice::new(&rest)];
                let sent = poll_fn(|context| stream.poll_write_vectored(context, &slices)).await;
                let Ok(sent) = sent else { return };
                rest.advance(sent);
            }
        }
    }
}

fn plan(protocol: Protocol) -> Plan {
    Plan {
        bootstrap: vec![Address { host: "127.0.0.1".to_string(), port: 9092 }],
        groups: 100,
        members: 1,
        protocol,
        topics: 20,
        partitions: PARTITIONS as usize,
        name: "proof".to_string(),
        existing: false,
        keep: false,
        heartbeat: seconds(3),
        session_timeout: seconds(45),
        commit: Some(seconds(5)),
        // Twice the time between heartbeats: their moments are spread evenly.
        ramp: seconds(6),
        look: Duration::ZERO,
        duration: seconds(300),
        storm: None,
        drain: seconds(60),
    }
}

fn run(plan: Plan, script: Script) -> Driven {
    let network = NetworkOptions {
        delay: Duration::from_micros(10)..Duration::from_micros(11),
        buffer_bytes: 1 << 20,
        partial_probability: 0.0,
        cut_probability: 0.0,
    };
    let steps_max = 500_000_000;
    let options =
        SimulationOptions { network, stall_probability: 0.0, steps_max, ..Default::default() };
    Simulation::with_options(1, options).run(async move {
        let listening = ListenOptions { shared: false, backlog: 128 };
        let listener = Listener::bind("127.0.0.1:9092".parse().unwrap(), listening).unwrap();
        let coordinator = Rc::new(Coordinator {
            script,
            begun: runtime::now(),
            topics: RefCell::default(),
            generation: Cell::new(0),
        });
        drop(runtime::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                drop(runtime::spawn(serve(stream, coordinator.clone())));
            }
        }));
        drive(plan, None, |_| (), pending()).await.unwrap()
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const PROMPT: Script = |_| (Duration::ZERO, ErrorCode::None);

#[track_caller]
fn is_about(nanoseconds: u64, expect: Duration, allowed: Duration) {
    let got = Duration::from_nanos(nanoseconds);
    let near = got >= expect.saturating_sub(allowed) && got <= expect + allowed;
    assert!(near, "{got:?} where {expect:?} is right");
}

#[test]
fn each_member_beats_and_commits_when_it_is_due() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let driven = run(plan(protocol), PROMPT);
        assert_eq!(faults(&driven), Vec::<String>::new());
        let counts = &driven.counts;
        // One more or less where a moment lies at the edge.
        let near = |count: u64, expect: u64| count.abs_diff(expect) <= 100;
        assert!(near(counts.heartbeat.count(), 100 * 100), "{}", counts.heartbeat.count());
        assert!(near(counts.commit.count(), 100 * 60), "{}", counts.commit.count());
        assert!(counts.heartbeat.max() < 1_000_000 && counts.lateness.max() < 1_000_000);
        assert_eq!(driven.starting.stable_after.count(), 100);
    }
}

/// Stands still for 300 ms at the start of every three seconds.
const STALLING: Script = |since_start| {
    let into = Duration::from_nanos((since_start.as_nanos() % 3_000_000_000) as u64);
    (Duration::from_millis(300).saturating_sub(into), ErrorCode::None)
};

#[test]
fn a_coordinator_that_stalls_shows_in_what_was_due_meanwhile() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let driven = run(Plan { commit: None, ..plan(protocol) }, STALLING);
        let at = |share| driven.counts.heartbeat.quantile(share);
        is_about(at(0.85), Duration::ZERO, Duration::from_millis(1));
        is_about(at(0.95), Duration::from_millis(150), Duration::from_millis(40));
        is_about(at(0.995), Duration::from_millis(285), Duration::from_millis(40));
        assert_eq!(faults(&driven), Vec::<String>::new());
    }
}

#[test]
fn every_group_gets_over_every_storm_and_is_counted() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        for crash in [false, true] {
            let storm = Some(Storm { every: seconds(20), members: 1, crash, over: seconds(1) });
            let driven = run(Plan { storm, ..plan(protocol) }, PROMPT);
            assert_eq!(faults(&driven), Vec::<String>::new());
            assert_eq!((driven.storms, driven.counts.stable_after.count()), (15, 1500));
            let left = driven.counts.requests.get("LeaveGroup").copied().unwrap_or(0);
            let expect = if crash || protocol == Protocol::Consumer { 0 } else { 1500 };
            assert_eq!(left, expect, "{protocol:?}, crash: {crash}");
        }
    }
}

#[test]
fn a_member_that_is_put_out_makes_the_run_invalid_and_comes_again() {
    let script: Script = |since_start| {
        let is_bad = (seconds(100)..seconds(101)).contains(&since_start);
        (Duration::ZERO, if is_bad { ErrorCode::UnknownMemberId } else { ErrorCode::None })
    };
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let driven = run(plan(protocol), script);
        let told = faults(&driven);
        assert!(told.len() == 1 && told[0].contains("UNKNOWN_MEMBER_ID"), "{told:?}");
        assert_eq!(driven.unstable, 0);
    }
}
