//! Members of both protocols in one group, and groups that become of the other kind.

use super::*;
use crate::control_plane::groups::classic::{self, ClassicGroup};
use crate::wire::Encoder;
use crate::wire::api::join_group::JoinGroupRequestProtocol;
use crate::wire::api::leave_group::MemberIdentity;
use crate::wire::api::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use crate::wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

/// A consumer that speaks the classic protocol, cooperatively, of topic `a`.
#[derive(Clone, Debug, Default)]
pub struct ClassicClient {
    pub id: String,
    instance: Option<String>,
    generation: i32,
    pub owned: BTreeSet<i32>,
    /// It was told to join, and has not had its assignment since.
    joins: bool,
}

fn places(owned: &BTreeSet<i32>) -> Vec<ConsumerProtocolTopicPartitions> {
    vec![ConsumerProtocolTopicPartitions {
        topic: Str::from_static("a"),
        partitions: owned.iter().copied().collect(),
    }]
}

impl ClassicClient {
    pub fn new(id: &str) -> ClassicClient {
        ClassicClient { id: id.to_string(), ..Default::default() }
    }

    fn id(&self) -> Str {
        Str::from(self.id.as_str())
    }

    fn instance(&self) -> Option<Str> {
        self.instance.as_deref().map(Str::from)
    }

    fn metadata(&self) -> Bytes {
        let subscription = ConsumerProtocolSubscription {
            topics: vec![Str::from_static("a")],
            owned_partitions: places(&self.owned),
            generation_id: self.generation,
            ..Default::default()
        };
        let mut e = Encoder::new();
        e.write_i16(3);
        subscription.encode(&mut e, 3);
        e.out.freeze()
    }

    fn protocols(&self) -> Vec<JoinGroupRequestProtocol> {
        let name = Str::from_static("cooperative-sticky");
        vec![JoinGroupRequestProtocol { name, metadata: self.metadata() }]
    }

    fn join_request(&self) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: Str::from_static("g"),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 60_000,
            member_id: self.id(),
            group_instance_id: self.instance(),
            protocol_type: Str::from_static("consumer"),
            protocols: self.protocols(),
            ..Default::default()
        }
    }

    fn try_join(&self, bench: &mut Bench) -> JoinGroupResponse {
        let caller = Caller { client_id: Str::default(), client_host: Str::default() };
        let request = self.join_request();
        bench.turn(|group, topics, turn| group.join_classic(&request, 9, &caller, topics, turn))
    }

    fn join(&mut self, bench: &mut Bench) {
        let joined = self.try_join(bench);
        assert_eq!(joined.error_code, ErrorCode::None, "{self:?}");
        self.id = joined.member_id.to_string();
        self.generation = joined.generation_id;
    }

    fn sync(&mut self, bench: &mut Bench) -> ErrorCode {
        let request = SyncGroupRequest {
            group_id: Str::from_static("g"),
            generation_id: self.generation,
            member_id: self.id(),
            group_instance_id: self.instance(),
            protocol_type: Some(Str::from_static("consumer")),
            protocol_name: Some(Str::from_static("cooperative-sticky")),
            ..Default::default()
        };
        let synced = bench.turn(|group, topics, turn| group.sync_classic(&request, topics, turn));
        if synced.error_code.is_none() {
            let (version, assignment) =
                ConsumerProtocolAssignment::from_assignment(synced.assignment).expect("one");
            assert_eq!(version, 3);
            self.owned =
                assignment.assigned_partitions.into_iter().flat_map(|it| it.partitions).collect();
        }
        synced.error_code
    }

    fn heartbeat(&self, bench: &mut Bench) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: Str::from_static("g"),
            generation_id: self.generation,
            member_id: self.id(),
            group_instance_id: self.instance(),
        };
        bench.turn(|group, _, turn| group.heartbeat_classic(&request, turn))
    }

    /// A heartbeat, and what follows from its answer.
    fn beat(&mut self, bench: &mut Bench) {
        match self.heartbeat(bench) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => {
                self.join(bench);
                self.sync(bench);
            }
            error => panic!("{self:?}: {error}"),
        }
    }

    /// As `beat`, of a client some of whose answers are lost, and that was fenced perhaps.
    pub fn beat_over(&mut self, bench: &mut Bench, mut is_lost: impl FnMut() -> bool) {
        match self.heartbeat(bench) {
            ErrorCode::None if !self.joins => return,
            ErrorCode::None | ErrorCode::RebalanceInProgress => {}
            // What it had is not its own any more.
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId => {
                self.owned.clear();
                self.generation = -1;
            }
            error => panic!("{self:?}: {error}"),
        }
        self.joins = true;
        let joined = self.try_join(bench);
        assert_eq!(joined.error_code, ErrorCode::None, "{self:?}");
        if is_lost() {
            return;
        }
        self.generation = joined.generation_id;
        let before = self.clone();
        self.joins = !self.sync(bench).is_none();
        if is_lost() {
            *self = before;
        }
    }

    pub fn leave(&self, bench: &mut Bench) -> ErrorCode {
        let member = MemberIdentity { member_id: self.id(), ..Default::default() };
        let request = LeaveGroupRequest { members: vec![member], ..Default::default() };
        let left = bench.turn(|group, topics, turn| group.leave_classic(&request, 5, topics, turn));
        left.members[0].error_code
    }

    fn member(&self) -> classic::Member {
        let assigned = ConsumerProtocolAssignment {
            assigned_partitions: places(&self.owned),
            user_data: None,
        };
        classic::Member {
            id: self.id(),
            instance_id: self.instance(),
            client_id: Str::default(),
            client_host: Str::default(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 30_000,
            protocols: self.protocols(),
            assignment: assigned.to_assignment(3),
            is_new: false,
        }
    }
}

/// Runs a turn with a classic group, whose records are not the bench's.
fn classic_turn<T>(bench: &mut Bench, act: impl FnOnce(&TestTopics, &mut Turn) -> T) -> T {
    let log = bench.log.len();
    let topics = bench.topics.clone();
    let result = bench.turn(|_, _, turn| act(&topics, turn));
    bench.log.truncate(log);
    result
}

/// Six partitions, shared by two classic members in generation 4, as a classic group.
fn classic_group(bench: &mut Bench) -> (ClassicGroup, [ClassicClient; 2]) {
    let client = |id: &str, owned: [i32; 3]| ClassicClient {
        generation: 4,
        owned: owned.into(),
        ..ClassicClient::new(id)
    };
    let clients = [client("c1", [0, 1, 2]), client("c2", [3, 4, 5])];
    let members = clients.iter().map(ClassicClient::member).collect();
    let group = Str::from_static("g");
    let classic = classic_turn(bench, |_, turn| ClassicGroup::converted(group, 4, members, turn));
    (classic, clients)
}

/// The bench's group is what the classic one becomes.
fn upgraded() -> (Bench, [ClassicClient; 2]) {
    let mut bench = Bench::with_topic("a", 6);
    let (mut classic, clients) = classic_group(&mut bench);
    bench.turn(|group, topics, turn| {
        *group =
            ConsumerGroup::from_classic(&mut classic, &anybody, topics, turn).expect("consumers");
    });
    (bench, clients)
}

fn anybody(_: &ConsumerGroup, _: &Turn) -> Result<(), Refusal> {
    Ok(())
}

fn to_classic(bench: &mut Bench) -> Option<ClassicGroup> {
    bench.turn(|group, topics, turn| group.to_classic(topics, turn))
}

#[test]
fn classic_members_keep_what_they_have_and_share_it_with_who_joins() {
    let (mut bench, mut clients) = upgraded();
    assert_eq!((bench.group.epoch, bench.group.assignment_epoch), (4, 4));
    let mut new = Client::new("m1", &["a"]);
    let joined = new.beat(&mut bench);
    assert_eq!((joined.member_epoch, new.owned.len()), (5, 0));
    assert_eq!(bench.group.describe(&bench.topics, &bench.config).members[0].member_type, 0);
    for client in &clients {
        assert_eq!(client.heartbeat(&mut bench), ErrorCode::RebalanceInProgress);
    }
    for _ in 0..6 {
        bench.pass(SECOND);
        for client in &mut clients {
            client.beat(&mut bench);
        }
        new.beat(&mut bench);
        let all: Vec<i32> =
            clients.iter().flat_map(|it| it.owned.clone()).chain(new.indexes()).collect();
        let distinct: BTreeSet<i32> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }
    assert_eq!(bench.group.state_name(), "Stable");
    assert!(clients.iter().all(|it| it.owned.len() == 2) && new.owned.len() == 2);
    // What was not theirs to give up, they kept.
    assert!(clients[0].owned.is_subset(&[0, 1, 2].into()));
    assert_eq!(clients[0].heartbeat(&mut bench), ErrorCode::None);
}

#[test]
fn a_group_of_classic_members_only_becomes_classic_again() {
    let (mut bench, mut clients) = upgraded();
    let mut new = Client::new("m1", &["a"]);
    new.beat(&mut bench);
    assert!(to_classic(&mut bench).is_none());
    for _ in 0..6 {
        bench.pass(SECOND);
        clients.iter_mut().for_each(|client| client.beat(&mut bench));
        new.beat(&mut bench);
    }
    let generation = clients[0].generation;
    new.leave(&mut bench, member::LEAVE_EPOCH);
    assert_eq!(bench.group.epoch, generation, "the generation that the members know");
    let topics = bench.topics.clone();
    let mut group = bench.group.clone();
    let mut classic = classic_turn(&mut bench, |_, turn| {
        let classic = group.to_classic(&topics, turn);
        turn.records.clear();
        classic
    })
    .expect("classic");
    assert!(group.is_gone());
    assert_eq!((classic.generation(), classic.state_name()), (generation, "PreparingRebalance"));
    for client in &clients {
        let request = HeartbeatRequest {
            generation_id: client.generation,
            member_id: client.id(),
            ..Default::default()
        };
        let heard = classic_turn(&mut bench, |_, turn| classic.heartbeat(&request, turn));
        assert_eq!(heard, ErrorCode::RebalanceInProgress);
        let member = classic.members().get(&client.id).expect("a member");
        assert_eq!(member.assignment, client.member().assignment);
    }
}

#[test]
fn groups_that_no_consumers_made_stay_classic() {
    let mut bench = Bench::with_topic("a", 6);
    let refused = |bench: &mut Bench, change: fn(&mut classic::Member)| {
        let mut member = ClassicClient::new("c1").member();
        change(&mut member);
        let name = Str::from_static("g");
        classic_turn(bench, |topics, turn| {
            let mut classic = ClassicGroup::converted(name, 4, vec![member], turn);
            let stored = turn.records.len();
            let refusal = ConsumerGroup::from_classic(&mut classic, &anybody, topics, turn).err();
            assert_eq!(turn.records.len() == stored, refusal.is_some(), "all or nothing");
            turn.records.clear();
            refusal.map(|refusal| refusal.code)
        })
    };
    let malformed = |member: &mut classic::Member| {
        member.protocols[0].metadata = Bytes::from_static(b"no subscription");
    };
    let custom = |member: &mut classic::Member| {
        let user_data = Some(Bytes::from_static(b"state"));
        let assignment = ConsumerProtocolAssignment { user_data, ..Default::default() };
        member.assignment = assignment.to_assignment(3);
    };
    assert_eq!(refused(&mut bench, |_| {}), None);
    assert_eq!(refused(&mut bench, malformed), Some(ErrorCode::GroupIdNotFound));
    assert_eq!(refused(&mut bench, custom), Some(ErrorCode::GroupIdNotFound));
    bench.config.consumer_members_max = 0;
    assert_eq!(refused(&mut bench, |_| {}), Some(ErrorCode::GroupIdNotFound));
}

#[test]
fn a_classic_member_joins_with_an_id_and_a_protocol_that_all_have() {
    let (mut bench, clients) = upgraded();
    Client::new("m1", &["a"]).beat(&mut bench);
    let asked = ClassicClient::new("").try_join(&mut bench);
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired);
    let mut third = ClassicClient::new(&asked.member_id);
    bench.pass(SECOND);
    third.join(&mut bench);
    assert_eq!(bench.group.members_count(), 4);
    assert_eq!(third.sync(&mut bench), ErrorCode::None);
    assert!(third.owned.is_empty(), "nothing is free yet");

    let mut request = third.join_request();
    request.protocols[0].name = Str::from_static("range");
    let caller = Caller { client_id: Str::default(), client_host: Str::default() };
    let mut code = |request: &JoinGroupRequest| {
        let join = |group: &mut ConsumerGroup, topics: &TestTopics, turn: &mut Turn| {
            group.join_classic(request, 9, &caller, topics, turn).error_code
        };
        bench.turn(join)
    };
    assert_eq!(code(&request), ErrorCode::InconsistentGroupProtocol);
    request.protocols[0].name = Str::from_static("cooperative-sticky");
    request.protocol_type = Str::from_static("connect");
    assert_eq!(code(&request), ErrorCode::InconsistentGroupProtocol);
    request.protocol_type = Str::from_static("consumer");
    request.protocols[0].metadata = Bytes::from_static(b"?");
    assert_eq!(code(&request), ErrorCode::UnknownServerError);
    // Who speaks the new protocol is not served by the old one.
    let stranger = ClassicClient { generation: 5, ..ClassicClient::new("m1") };
    assert_eq!(stranger.heartbeat(&mut bench), ErrorCode::UnknownMemberId);
    let behind = ClassicClient { generation: 3, ..clients[0].clone() };
    assert_eq!(behind.heartbeat(&mut bench), ErrorCode::IllegalGeneration);
    assert_eq!(behind.clone().sync(&mut bench), ErrorCode::IllegalGeneration);
    assert_eq!(clients[0].clone().sync(&mut bench), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_classic_member_that_does_not_join_or_sync_in_time_is_out() {
    let (mut bench, mut clients) = upgraded();
    let mut new = Client::new("m1", &["a"]);
    new.beat(&mut bench);
    let mut has_joined = false;
    for _ in 0..13 {
        bench.pass(5 * SECOND);
        // The first only says that it lives; the second joins, but does not ask for its assignment.
        let [one, two] = &mut clients;
        if bench.group.members.contains_key("c1") {
            assert_eq!(one.heartbeat(&mut bench), ErrorCode::RebalanceInProgress);
        }
        if !has_joined {
            two.join(&mut bench);
            has_joined = true;
        } else if bench.group.members.contains_key("c2") {
            two.heartbeat(&mut bench);
        }
        new.beat(&mut bench);
    }
    bench.pass(2 * SECOND);
    new.beat(&mut bench);
    assert_eq!(bench.group.members.keys().collect::<Vec<_>>(), ["m1"]);
    new.beat(&mut bench);
    assert_eq!(new.owned.len(), 6);
}

#[test]
fn members_of_both_protocols_leave_by_leave_group() {
    let (mut bench, clients) = upgraded();
    let mut new = Client::new("m1", &["a"]).instance("i1");
    new.beat(&mut bench);
    assert_eq!(ClassicClient::new("nobody").leave(&mut bench), ErrorCode::UnknownMemberId);
    assert_eq!(clients[0].leave(&mut bench), ErrorCode::None);
    assert_eq!(bench.group.members_count(), 2);
    // An administrator names a static member by its instance.
    let request = |member: &'static str| LeaveGroupRequest {
        members: vec![MemberIdentity {
            member_id: Str::from_static(member),
            group_instance_id: Some(Str::from_static("i1")),
            reason: None,
        }],
        ..Default::default()
    };
    let mut leave = |member| {
        let request = request(member);
        let leave = |group: &mut ConsumerGroup, topics: &TestTopics, turn: &mut Turn| {
            group.leave_classic(&request, 5, topics, turn)
        };
        bench.turn(leave).members[0].error_code
    };
    assert_eq!(leave("another"), ErrorCode::FencedInstanceId);
    assert_eq!(leave(""), ErrorCode::None);
    assert_eq!(bench.group.members.keys().collect::<Vec<_>>(), ["c2"]);
}

#[test]
fn a_static_member_goes_back_to_the_classic_protocol_and_the_group_with_it() {
    let mut bench = Bench::with_topic("a", 2);
    let mut new = Client::new("m1", &["a"]).instance("i1");
    new.beat(&mut bench);
    let epoch = bench.group.epoch;
    let mut back = ClassicClient { instance: Some("i1".to_string()), ..ClassicClient::new("") };
    back.join(&mut bench);
    assert_eq!((back.generation, bench.group.epoch), (epoch, epoch));
    let topics = bench.topics.clone();
    let mut group = bench.group.clone();
    let classic = classic_turn(&mut bench, |_, turn| {
        let classic = group.to_classic(&topics, turn);
        turn.records.clear();
        classic
    })
    .expect("classic");
    assert_eq!((classic.state_name(), classic.generation()), ("Stable", epoch));
    back.owned = [0, 1].into();
    let member = classic.members().get(&back.id).expect("a member");
    assert_eq!(member.assignment, back.member().assignment);
    assert_eq!(new.beat(&mut bench).error_code, ErrorCode::FencedInstanceId);
}

#[test]
fn an_empty_classic_group_makes_way() {
    let mut bench = Bench::with_topic("a", 2);
    let group = classic_turn(&mut bench, |topics, turn| {
        let mut classic = ClassicGroup::new(Str::from_static("g"), turn.wall);
        let group =
            ConsumerGroup::from_classic(&mut classic, &anybody, topics, turn).expect("empty");
        let stored = std::mem::take(&mut turn.records);
        assert_eq!(stored, [GroupRecord::Classic(Str::from_static("g"), None)]);
        group
    });
    assert!(group.is_gone());
}

#[test]
fn members_that_were_rebalancing_join_again_when_the_group_is_classic_once_more() {
    for is_stable in [true, false] {
        let mut bench = Bench::with_topic("a", 6);
        let (mut classic, clients) = classic_group(&mut bench);
        if !is_stable {
            let member = MemberIdentity { member_id: clients[1].id(), ..Default::default() };
            let request = LeaveGroupRequest { members: vec![member], ..Default::default() };
            classic_turn(&mut bench, |_, turn| classic.leave(&request, 5, turn));
            assert_eq!(classic.state_name(), "PreparingRebalance");
        }
        bench.turn(|group, topics, turn| {
            *group = ConsumerGroup::from_classic(&mut classic, &anybody, topics, turn).unwrap();
        });
        let (topics, mut group) = (bench.topics.clone(), bench.group.clone());
        let classic = classic_turn(&mut bench, |_, turn| {
            let classic = group.to_classic(&topics, turn);
            turn.records.clear();
            classic
        });
        let state = if is_stable { "Stable" } else { "PreparingRebalance" };
        assert_eq!(classic.expect("classic").state_name(), state);
    }
}

#[test]
fn groups_change_their_kind_as_the_policy_says() {
    use crate::config::MigrationPolicy::{self, *};
    let upgrades = |policy: MigrationPolicy| {
        let mut bench = Bench::with_topic("a", 6);
        bench.config.consumer_migration_policy = policy;
        let (mut classic, _) = classic_group(&mut bench);
        let refused = classic_turn(&mut bench, |topics, turn| {
            let refused = ConsumerGroup::from_classic(&mut classic, &anybody, topics, turn).err();
            turn.records.clear();
            refused
        });
        assert!(refused.iter().all(|refusal| refusal.code == ErrorCode::GroupIdNotFound));
        // One without members makes way whatever the policy is.
        let mut empty = ClassicGroup::new(Str::from_static("g"), Timestamp(0));
        let made = classic_turn(&mut bench, |topics, turn| {
            let made = ConsumerGroup::from_classic(&mut empty, &anybody, topics, turn);
            turn.records.clear();
            made
        });
        assert!(made.is_ok());
        refused.is_none()
    };
    let downgrades = |policy: MigrationPolicy| {
        let (mut bench, _) = upgraded();
        bench.config.consumer_migration_policy = policy;
        let (topics, mut group) = (bench.topics.clone(), bench.group.clone());
        classic_turn(&mut bench, |_, turn| {
            let classic = group.to_classic(&topics, turn);
            turn.records.clear();
            classic.is_some()
        })
    };
    let allowed = [Bidirectional, Upgrade, Downgrade, Disabled]
        .map(|policy| (upgrades(policy), downgrades(policy)));
    assert_eq!(allowed, [(true, true), (true, false), (false, true), (false, false)]);
}
