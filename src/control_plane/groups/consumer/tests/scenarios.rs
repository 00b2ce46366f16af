use super::*;
use crate::limits::{GROUP_ASSIGNED_PARTITION_BYTES, GROUP_ASSIGNMENT_BYTES_MAX};
use crate::wire::consumer_group::ConsumerGroupCurrentMemberAssignmentValue;

const SECOND: Duration = Duration::from_secs(1);

/// A group in which these clients of topic `a` share what there is.
fn settled(bench: &mut Bench, clients: &mut [Client]) {
    for _ in 0..6 {
        bench.pass(SECOND);
        for client in clients.iter_mut() {
            assert_eq!(client.beat(bench).error_code, ErrorCode::None);
        }
    }
    assert_eq!(bench.group.state_name(), "Stable");
}

fn epochs(bench: &Bench) -> (i32, i32) {
    (bench.group.epoch, bench.group.assignment_epoch)
}

#[test]
fn the_first_member_gets_all_at_once() {
    let mut bench = Bench::with_topic("a", 3);
    let mut one = Client::new("m1", &["a"]);
    let response = one.beat(&mut bench);
    assert_eq!((response.member_epoch, response.heartbeat_interval_ms), (2, 5000));
    assert_eq!(response.member_id.as_deref(), Some("m1"));
    assert_eq!(one.indexes(), [0, 1, 2]);
    assert_eq!(epochs(&bench), (2, 2));
    let again = one.beat(&mut bench);
    assert_eq!((again.member_epoch, again.assignment), (2, None), "nothing new");
    let records = bench.log.len();
    one.beat(&mut bench);
    assert_eq!(bench.log.len(), records, "a steady heartbeat stores nothing");
}

#[test]
fn a_second_member_waits_until_the_first_has_given_up() {
    let mut bench = Bench::with_topic("a", 4);
    let (mut one, mut two) = (Client::new("m1", &["a"]), Client::new("m2", &["a"]));
    one.beat(&mut bench);
    bench.pass(SECOND);
    let joined = two.beat(&mut bench);
    assert_eq!((joined.member_epoch, two.indexes()), (3, vec![]), "all is still at the first");
    assert_eq!(bench.group.members["m2"].holding.state, MemberState::UnreleasedPartitions);

    let told = bench.heartbeat(&one.request());
    one.hear(&told);
    assert_eq!(told.member_epoch, 2, "it stays behind until it has given up");
    assert_eq!(two.beat(&mut bench).assignment, None, "nothing is free before");
    assert_eq!(one.beat(&mut bench).member_epoch, 3);
    assert_eq!(one.indexes(), [0, 1]);
    assert_eq!(bench.group.state_name(), "Reconciling");
    two.beat(&mut bench);
    assert_eq!(two.indexes(), [2, 3]);
    assert_eq!(bench.group.state_name(), "Stable");
}

#[test]
fn a_target_comes_no_sooner_than_the_interval_after_the_last() {
    let mut bench = Bench::with_topic("a", 4);
    let (mut one, mut two) = (Client::new("m1", &["a"]), Client::new("m2", &["a"]));
    one.beat(&mut bench);
    bench.pass(SECOND / 2);
    assert_eq!(two.beat(&mut bench).member_epoch, 2, "KIP-1263: the target is still the old one");
    assert_eq!((epochs(&bench), bench.group.state_name()), ((3, 2), "Assigning"));
    bench.pass(SECOND / 2);
    two.beat(&mut bench);
    assert_eq!(epochs(&bench), (3, 3));

    bench.config.consumer_assignment_interval.default = Duration::ZERO;
    Client::new("m3", &["a"]).beat(&mut bench);
    assert_eq!(epochs(&bench), (4, 4), "at once without one");
}

#[test]
fn what_is_set_for_a_group_holds_from_a_members_next_heartbeat_on() {
    let mut bench = Bench::with_topic("a", 2);
    let set = |bench: &mut Bench, name: &str, value: &str| {
        let of_group = bench.overrides.entry("g".to_string()).or_default();
        of_group.insert(name.to_string(), value.to_string());
    };
    let (mut one, mut two) = (Client::new("m1", &["a"]), Client::new("m2", &["a"]));
    assert_eq!(one.beat(&mut bench).heartbeat_interval_ms, 5000);
    two.beat(&mut bench);
    set(&mut bench, "consumer.session.timeout.ms", "60000");
    set(&mut bench, "consumer.heartbeat.interval.ms", "6000");
    bench.pass(44 * SECOND);
    assert_eq!(one.beat(&mut bench).heartbeat_interval_ms, 6000);
    bench.pass(2 * SECOND);
    assert_eq!(bench.group.members_count(), 1, "the other one's session is the old one still");
    bench.pass(57 * SECOND);
    assert_eq!(bench.group.members_count(), 1);
    bench.pass(2 * SECOND);
    assert_eq!(bench.group.members_count(), 0);

    // What was allowed once and is not any more is brought between the bounds.
    set(&mut bench, "consumer.session.timeout.ms", "1");
    set(&mut bench, "consumer.heartbeat.interval.ms", "99999999");
    let mut three = Client::new("m3", &["a"]);
    assert_eq!(three.beat(&mut bench).heartbeat_interval_ms, 15_000);
    bench.pass(44 * SECOND);
    assert_eq!(bench.group.members_count(), 1);
    bench.pass(2 * SECOND);
    assert_eq!(bench.group.members_count(), 0);
}

#[test]
fn a_group_may_have_an_assignment_interval_of_its_own() {
    let mut bench = Bench::with_topic("a", 4);
    Client::new("m1", &["a"]).beat(&mut bench);
    bench.pass(2 * SECOND);
    let of_group = bench.overrides.entry("g".to_string()).or_default();
    of_group.insert("consumer.assignment.interval.ms".to_string(), "3000".to_string());
    let mut two = Client::new("m2", &["a"]);
    two.beat(&mut bench);
    assert_eq!(epochs(&bench), (3, 2));
    bench.pass(SECOND);
    two.beat(&mut bench);
    assert_eq!(epochs(&bench), (3, 3));
}

#[test]
fn a_member_is_fenced_by_an_epoch_that_is_not_its() {
    let mut bench = Bench::with_topic("a", 4);
    let mut clients = [Client::new("m1", &["a"]), Client::new("m2", &["a"])];
    settled(&mut bench, &mut clients);
    bench.topics.set("a", 6);
    settled(&mut bench, &mut clients);
    let epoch = bench.group.epoch;
    let holding = bench.group.members["m1"].holding.clone();
    assert_eq!((holding.epoch, holding.previous_epoch), (epoch, epoch - 1));

    let mut beat = |member: &str, epoch: i32, owned: Option<&[i32]>| {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: Str::from_static("g"),
            member_id: Str::from(member),
            member_epoch: epoch,
            topic_partitions: owned.map(|owned| {
                vec![HeartbeatTopicPartitions {
                    topic_id: bench.topics.id("a"),
                    partitions: owned.to_vec(),
                }]
            }),
            ..Default::default()
        };
        bench.heartbeat(&request).error_code
    };
    let has: Vec<i32> = holding.assigned.values().flat_map(|of| of.keys().copied()).collect();
    assert_eq!(beat("m1", epoch, None), ErrorCode::None);
    assert_eq!(beat("m1", epoch + 1, None), ErrorCode::FencedMemberEpoch);
    assert_eq!(beat("m1", epoch - 2, Some(&has)), ErrorCode::FencedMemberEpoch);
    // The answer with the new epoch may have been lost: fine, if it has nothing that is not its own.
    assert_eq!(beat("m1", epoch - 1, Some(&has)), ErrorCode::None);
    assert_eq!(beat("m1", epoch - 1, None), ErrorCode::FencedMemberEpoch);
    assert_eq!(beat("m1", epoch - 1, Some(&[0, 1, 2, 3])), ErrorCode::FencedMemberEpoch);
    assert_eq!(beat("m3", 1, None), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_is_not_heard_of_loses_its_partitions() {
    let mut bench = Bench::with_topic("a", 4);
    let mut clients = [Client::new("m1", &["a"]), Client::new("m2", &["a"])];
    settled(&mut bench, &mut clients);
    let [mut one, mut two] = clients;
    for _ in 0..9 {
        bench.pass(5 * SECOND);
        one.beat(&mut bench);
    }
    assert_eq!(bench.group.members_count(), 1);
    one.beat(&mut bench);
    assert_eq!(one.indexes(), [0, 1, 2, 3]);
    assert_eq!(two.beat(&mut bench).error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_fenced() {
    let mut bench = Bench::with_topic("a", 4);
    let (mut one, mut two) = (Client::new("m1", &["a"]), Client::new("m2", &["a"]));
    one.beat(&mut bench);
    bench.pass(SECOND);
    two.beat(&mut bench);
    // It goes on with heartbeats, but never says that it gave anything up.
    for _ in 0..12 {
        let response = bench.heartbeat(&one.request());
        assert_eq!(response.error_code, ErrorCode::None);
        one.hear(&response);
        bench.pass(5 * SECOND);
        two.beat(&mut bench);
    }
    assert_eq!(bench.heartbeat(&one.request()).error_code, ErrorCode::UnknownMemberId);
    two.beat(&mut bench);
    assert_eq!(two.indexes(), [0, 1, 2, 3]);
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = Bench::with_topic("a", 4);
    let mut clients =
        [Client::new("m1", &["a"]).instance("i1"), Client::new("m2", &["a"]).instance("i2")];
    settled(&mut bench, &mut clients);
    let [mut one, two] = clients;
    let (epoch, had) = (bench.group.epoch, two.indexes());

    let mut back = Client::new("m3", &["a"]).instance("i2");
    let early = back.beat(&mut bench);
    assert_eq!(early.error_code, ErrorCode::UnreleasedInstanceId, "it has not left");
    let left = two.clone().leave(&mut bench, member::LEAVE_STATIC_EPOCH);
    assert_eq!((left.error_code, left.member_epoch), (ErrorCode::None, -2));
    assert_eq!(bench.group.members["m2"].holding.epoch, -2);
    bench.pass(10 * SECOND);
    one.beat(&mut bench);
    assert_eq!(bench.group.epoch, epoch, "nothing moves meanwhile");
    let joined = back.beat(&mut bench);
    assert_eq!((joined.error_code, joined.member_epoch), (ErrorCode::None, epoch));
    assert_eq!(back.indexes(), had);
    assert_eq!((bench.group.epoch, bench.group.members_count()), (epoch, 2));
    // Who it was is no member any more.
    assert_eq!(two.clone().beat(&mut bench).error_code, ErrorCode::FencedInstanceId);
    assert_eq!(
        two.clone().leave(&mut bench, member::LEAVE_EPOCH).error_code,
        ErrorCode::FencedInstanceId
    );
    let mut stranger = Client::new("m9", &["a"]).instance("i9");
    assert_eq!(stranger.leave(&mut bench, -2).error_code, ErrorCode::UnknownMemberId);
    // For good this time.
    assert_eq!(back.leave(&mut bench, member::LEAVE_EPOCH).member_epoch, -1);
    assert_eq!(bench.group.members_count(), 1);
}

#[test]
fn a_static_member_that_stays_away_is_removed_when_its_session_ends() {
    let mut bench = Bench::with_topic("a", 2);
    let mut one = Client::new("m1", &["a"]).instance("i1");
    one.beat(&mut bench);
    bench.pass(20 * SECOND);
    one.leave(&mut bench, member::LEAVE_STATIC_EPOCH);
    bench.pass(24 * SECOND);
    assert_eq!(bench.group.members_count(), 1);
    bench.pass(2 * SECOND);
    assert_eq!((bench.group.members_count(), bench.group.state_name()), (0, "Empty"));
    assert!(bench.group.can_be_deleted() && !bench.group.is_gone());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let valid = |change: fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = Client::new("m1", &["a"]).request();
        change(&mut request);
        request
    };
    let check = |change: fn(&mut ConsumerGroupHeartbeatRequest), version, expected| {
        let config = GroupConfig::default();
        let code =
            refuse(&valid(change), version, &config).map_or(ErrorCode::None, |it| it.error_code);
        assert_eq!(code, expected);
    };
    const BLANK: Str = Str::from_static(" ");
    check(|_| {}, 1, ErrorCode::None);
    check(|it| it.member_id = Str::default(), 0, ErrorCode::None);
    check(|it| it.member_id = Str::default(), 1, ErrorCode::InvalidRequest);
    check(|it| (it.member_id, it.member_epoch) = (Str::default(), 5), 0, ErrorCode::InvalidRequest);
    check(
        |it| (it.member_id, it.member_epoch) = (Str::default(), -1),
        0,
        ErrorCode::InvalidRequest,
    );
    check(|it| it.group_id = BLANK, 1, ErrorCode::InvalidRequest);
    check(|it| it.instance_id = Some(BLANK), 1, ErrorCode::InvalidRequest);
    check(|it| it.rack_id = Some(BLANK), 1, ErrorCode::InvalidRequest);
    check(|it| it.rebalance_timeout_ms = -1, 1, ErrorCode::InvalidRequest);
    check(|it| it.topic_partitions = None, 1, ErrorCode::InvalidRequest);
    check(|it| it.topic_partitions = Some(vec![Default::default()]), 1, ErrorCode::InvalidRequest);
    check(|it| it.subscribed_topic_names = None, 1, ErrorCode::InvalidRequest);
    check(|it| it.member_epoch = -2, 1, ErrorCode::InvalidRequest);
    check(|it| it.member_epoch = -3, 1, ErrorCode::InvalidRequest);
    let assignor = |it: &mut ConsumerGroupHeartbeatRequest| it.server_assignor = Some(BLANK);
    check(assignor, 1, ErrorCode::UnsupportedAssignor);
    check(|it| it.server_assignor = Some(Str::from_static("range")), 1, ErrorCode::None);
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut bench = Bench::with_topic("a", 2);
    bench.config.consumer_members_max = 1;
    let mut one = Client::new("m1", &["a"]);
    one.beat(&mut bench);
    let refused = Client::new("m2", &["a"]).beat(&mut bench);
    assert_eq!(refused.error_code, ErrorCode::GroupMaxSizeReached);
    assert_eq!(one.beat(&mut bench).error_code, ErrorCode::None);
    assert_eq!(bench.group.members_count(), 1);
}

#[test]
fn more_partitions_than_a_record_holds_are_refused_or_wait() {
    let mut bench = Bench::with_topic("a", 3);
    let too_many = GROUP_ASSIGNMENT_BYTES_MAX / GROUP_ASSIGNED_PARTITION_BYTES;
    bench.topics.set("huge", too_many);
    let refused = Client::new("m1", &["a", "huge"]).beat(&mut bench);
    assert_eq!(refused.error_code, ErrorCode::GroupMaxSizeReached);
    assert!(bench.group.is_gone() && bench.log.is_empty(), "nothing came of it");
    let mut one = Client::new("m1", &["a"]);
    one.beat(&mut bench);
    bench.pass(SECOND);
    bench.topics.set("a", too_many);
    assert_eq!(one.beat(&mut bench).error_code, ErrorCode::None);
    assert_eq!((one.indexes(), epochs(&bench)), (vec![0, 1, 2], (3, 2)));
    let text = "x".repeat(crate::limits::GROUP_MEMBER_BYTES_MAX);
    let refused = Client::new("m2", &[&text]).beat(&mut bench);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest);
}

#[test]
fn topics_that_grow_appear_or_go_make_a_new_target() {
    let mut bench = Bench::with_topic("a", 2);
    let mut one = Client::new("m1", &["a", "b"]);
    one.beat(&mut bench);
    assert_eq!(one.owned.len(), 2);
    for (name, partitions, expected) in [("a", 3, 3), ("b", 2, 5), ("other", 1, 5)] {
        bench.topics.set(name, partitions);
        bench.pass(SECOND);
        let epoch = bench.group.epoch;
        one.beat(&mut bench);
        assert_eq!(one.owned.len(), expected, "{name}");
        assert_eq!(bench.group.epoch, epoch + i32::from(name != "other"));
    }
    bench.topics.remove("a");
    bench.pass(SECOND);
    one.beat(&mut bench);
    one.beat(&mut bench);
    assert_eq!((one.owned.len(), bench.group.state_name()), (2, "Stable"));
}

#[test]
fn a_regular_expression_matches_whole_names_and_topics_that_come_later() {
    let mut bench = Bench::with_topic("orders-1", 2);
    bench.topics.set("my-orders-1", 1);
    let mut one = Client { regex: Some("orders-.*|x".to_string()), ..Client::new("m1", &[]) };
    let joined = one.beat(&mut bench);
    assert_eq!((joined.member_epoch, one.owned.len()), (2, 2));
    assert!(
        bench.group.is_subscribed_to("orders-1") && !bench.group.is_subscribed_to("my-orders-1")
    );
    bench.pass(5 * SECOND);
    bench.topics.set("orders-2", 1);
    one.beat(&mut bench);
    assert_eq!(one.owned.len(), 2, "not looked for so soon after the last time");
    bench.pass(5 * SECOND);
    one.beat(&mut bench);
    assert_eq!((one.owned.len(), bench.group.epoch), (3, 3));

    // Another with the same one: nothing is searched again, and it shares.
    let two = Client { regex: one.regex.clone(), ..Client::new("m2", &[]) };
    let mut both = [one, two];
    settled(&mut bench, &mut both);
    assert_eq!((bench.group.regexes.len(), both[1].owned.len()), (1, 1));
    // To a list of names: the pattern goes when nobody has it.
    for client in &mut both {
        (client.regex, client.topics) = (Some(String::new()), vec!["my-orders-1".to_string()]);
        client.is_full = true;
        assert_eq!(client.beat(&mut bench).error_code, ErrorCode::None);
    }
    assert!(bench.group.regexes.is_empty());
    assert!(bench.group.is_subscribed_to("my-orders-1"));
}

#[test]
fn what_is_no_regular_expression_is_refused_and_changes_nothing() {
    let mut bench = Bench::with_topic("a", 1);
    for bad in ["(", "a)(b", "[z-a]", "a{1000}{1000}{1000}", "\\p{Nope}"] {
        let mut client = Client { regex: Some(bad.to_string()), ..Client::new("m1", &[]) };
        let refused = client.beat(&mut bench);
        assert_eq!(refused.error_code, ErrorCode::InvalidRegularExpression, "{bad}");
    }
    assert!(bench.group.is_gone() && bench.log.is_empty());
    let matches = |pattern: &str, name: &str| {
        topics::compile(pattern).is_ok_and(|regex| regex.is_match(name))
    };
    assert!(matches("a|ab", "ab") && !matches("a|ab", "abc") && matches("(?i)A.c", "abC"));
    assert!(matches("", "") && !matches("b", "abc"));
}

#[test]
fn commits_are_let_through_by_member_and_epoch() {
    let mut bench = Bench::with_topic("a", 4);
    let commit = |bench: &Bench, member: &str, epoch, version, index: i32| match bench
        .group
        .validate_offset_commit(&Str::from(member), epoch, version)
    {
        Ok(check) => check.partition(bench.topics.id("a"), index).err().unwrap_or(ErrorCode::None),
        Err(refusal) => refusal.code,
    };
    assert_eq!(commit(&bench, "", -1, 2, 0), ErrorCode::None, "nobody is in the group");
    let mut clients = [Client::new("m1", &["a"]), Client::new("m2", &["a"])];
    settled(&mut bench, &mut clients);
    let (epoch, [one, two]) = (bench.group.epoch, clients);
    let (own, others) = (one.indexes()[0], two.indexes()[0]);
    assert_eq!(commit(&bench, "", -1, 9, 0), ErrorCode::UnknownMemberId);
    assert_eq!(commit(&bench, "m1", epoch, 9, others), ErrorCode::None);
    assert_eq!(commit(&bench, "m1", epoch, 8, own), ErrorCode::UnsupportedVersion);
    assert_eq!(commit(&bench, "m1", epoch + 1, 9, own), ErrorCode::StaleMemberEpoch);
    // KIP-1251: one epoch behind is fine for what it has had since then.
    assert_eq!(commit(&bench, "m1", epoch - 1, 9, own), ErrorCode::None);
    assert_eq!(commit(&bench, "m1", epoch - 1, 9, others), ErrorCode::StaleMemberEpoch);
    assert_eq!(commit(&bench, "m2", epoch - 1, 9, others), ErrorCode::StaleMemberEpoch);
    assert_eq!(commit(&bench, "m1", -1, 9, own), ErrorCode::StaleMemberEpoch);

    let fetch = |member: Option<&'static str>, epoch| {
        let member = member.map(Str::from_static);
        let answer = bench.group.validate_offset_fetch(member.as_ref(), epoch);
        answer.err().map_or(ErrorCode::None, |refusal| refusal.code)
    };
    assert_eq!(fetch(None, -1), ErrorCode::None);
    assert_eq!(fetch(None, 1), ErrorCode::UnknownMemberId);
    assert_eq!(fetch(Some("m1"), epoch), ErrorCode::None);
    assert_eq!(fetch(Some("m1"), epoch - 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(fetch(Some("m3"), epoch), ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_is_described_as_it_is() {
    let mut bench = Bench::with_topic("a", 2);
    let mut clients = [
        Client { assignor: Some("range".to_string()), ..Client::new("m1", &["a"]) }.instance("i1"),
        Client::new("m2", &["a"]),
    ];
    settled(&mut bench, &mut clients);
    let described = bench.group.describe(&bench.topics, &bench.config);
    let epoch = bench.group.epoch;
    assert_eq!(described.group_state, "Stable");
    assert_eq!((described.group_epoch, described.assignment_epoch), (epoch, epoch));
    assert_eq!(described.assignor_name, "range");
    let one = &described.members[0];
    assert_eq!((one.member_id.as_str(), one.instance_id.as_deref()), ("m1", Some("i1")));
    assert_eq!((one.client_id.as_str(), one.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!((one.member_epoch, one.member_type), (epoch, 1));
    assert_eq!(one.assignment, one.target_assignment);
    assert_eq!(one.assignment.topic_partitions[0].topic_name, "a");
    assert_eq!(one.assignment.topic_partitions[0].partitions, clients[0].indexes());
    bench.topics.remove("a");
    let described = bench.group.describe(&bench.topics, &bench.config);
    assert!(described.members[0].assignment.topic_partitions.is_empty(), "it has no name now");
}

#[test]
fn a_restart_changes_nothing_and_sessions_start_again() {
    let mut bench = Bench::with_topic("a", 4);
    let mut clients = [Client::new("m1", &["a"]), Client::new("m2", &["a"])];
    settled(&mut bench, &mut clients);
    let records = bench.log.len();
    bench.pass(40 * SECOND);
    bench.restart();
    bench.pass(40 * SECOND);
    for client in &mut clients {
        let response = client.beat(&mut bench);
        assert_eq!((response.error_code, response.assignment), (ErrorCode::None, None));
    }
    assert_eq!(bench.log.len(), records);
    bench.pass(46 * SECOND);
    assert_eq!(bench.group.members_count(), 0);
}

#[test]
fn a_deleted_group_leaves_nothing_in_the_log() {
    let mut bench = Bench::with_topic("a", 4);
    let mut client = Client { regex: Some("a.*".to_string()), ..Client::new("m1", &["a"]) };
    client.beat(&mut bench);
    bench.turn(|group, _, turn| group.delete(turn));
    assert!(bench.group.is_gone());
    assert_eq!(bench.group.memory_bytes(), ConsumerGroup::new(Str::default()).memory_bytes());
    let mut left: BTreeMap<bytes::Bytes, bool> = BTreeMap::new();
    for record in &bench.log {
        let GroupRecord::Consumer(record) = record else { panic!("{record:?}") };
        left.insert(record.key(), record.value().is_some());
    }
    assert!(left.values().all(|is_there| !is_there), "{left:?}");
}

#[test]
fn a_member_without_an_id_gets_one() {
    let mut bench = Bench::with_topic("a", 1);
    let mut request = Client::new("", &["a"]).request();
    request.member_id = Str::default();
    let caller = Caller { client_id: Str::default(), client_host: Str::default() };
    assert_eq!(refuse(&request, 0, &GroupConfig::default()), None);
    let joined = bench.turn(|group, topics, turn| group.heartbeat(&request, &caller, topics, turn));
    let id = joined.member_id.expect("an id");
    assert!(TopicId::from_base64(&id).is_some(), "{id}");
    assert!(bench.group.members.contains_key(&id));
}

#[test]
fn what_kafka_before_4_1_stored_is_removed_with_the_next_epoch() {
    let mut bench = Bench::with_topic("a", 1);
    bench.group.replay(ConsumerChange::PartitionMetadata(Some(bytes::Bytes::from_static(b"old"))));
    assert!(!bench.group.is_gone());
    let mut turn_log = bench.log.clone();
    bench.turn(|group, topics, turn| group.bump_epoch(topics, turn));
    turn_log.clone_from(&bench.log);
    let removes = |record: &GroupRecord| {
        matches!(record, GroupRecord::Consumer(record)
            if record.change == ConsumerChange::PartitionMetadata(None))
    };
    assert!(turn_log.iter().any(removes));
    assert!(!bench.group.has_partition_metadata);
}

#[test]
fn a_member_in_a_state_of_a_later_version_has_to_start_over() {
    let mut bench = Bench::with_topic("a", 1);
    let mut one = Client::new("m1", &["a"]);
    one.beat(&mut bench);
    let mut value = bench.group.members["m1"].holding.to_value();
    value.state = 99;
    bench.turn(|group, _, turn| {
        group.change(ConsumerChange::Current(Str::from_static("m1"), Some(value)), turn);
    });
    one.is_full = true;
    assert_eq!(one.beat(&mut bench).error_code, ErrorCode::FencedMemberEpoch);
    assert_eq!((one.beat(&mut bench).error_code, one.indexes()), (ErrorCode::None, vec![0]));
}

#[test]
fn records_of_kafka_before_4_3_do_not_say_since_when() {
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 6,
        previous_member_epoch: 5,
        assigned_partitions: vec![crate::wire::consumer_group::CurrentTopicPartitions {
            topic_id: TopicId([1; 16]),
            partitions: vec![3],
            assignment_epochs: None,
        }],
        ..Default::default()
    };
    let holding = Holding::from_value(&value);
    assert_eq!(holding.epoch_of(TopicId([1; 16]), 3), Some(6));
}

#[test]
fn topics_that_are_too_many_for_an_expression_are_counted_and_warned_of_now_and_then() {
    let mut bench = Bench::new();
    let name = |number: usize| format!("a{number:0>239}");
    let fitting = crate::limits::GROUP_REGEX_TOPICS_BYTES_MAX / name(0).len();
    for number in 0..fitting {
        bench.topics.set(&name(number), 1);
    }
    let mut client = Client { regex: Some("a.*".to_string()), ..Client::new("m1", &[]) };
    client.beat(&mut bench);
    let found = |bench: &Bench| bench.group.regexes["a.*"].topics.len();
    assert_eq!((found(&bench), bench.counts.topics_left_out), (fitting, 0));
    bench.topics.set(&name(fitting), 1);
    bench.topics.set("b", 1);
    let mut warned = BTreeSet::new();
    for _ in 0..20 {
        bench.pass(30 * SECOND);
        client.beat(&mut bench);
        warned.insert(bench.group.soft.left_out_warned);
        // Something is new, so that topics are searched.
        bench.topics.set("c", 1);
    }
    assert_eq!((found(&bench), bench.counts.topics_left_out), (fitting, 20));
    assert_eq!(warned.len(), 1, "once in ten minutes");
    bench.pass(30 * SECOND);
    client.beat(&mut bench);
    warned.insert(bench.group.soft.left_out_warned);
    assert_eq!(warned.len(), 2);
}

#[test]
fn topics_that_grew_too_large_keep_their_assignment_which_is_counted_and_warned_of_now_and_then() {
    let mut bench = Bench::with_topic("a", 4);
    let mut client = Client::new("m1", &["a"]);
    client.beat(&mut bench);
    assert_eq!((client.owned.len(), bench.counts.assignments_withheld), (4, 0));
    bench.topics.set("a", 130_000);
    let mut warned = BTreeSet::new();
    for _ in 0..20 {
        bench.pass(30 * SECOND);
        client.beat(&mut bench);
        warned.insert(bench.group.soft.withheld_warned);
    }
    assert_eq!((client.owned.len(), bench.counts.assignments_withheld), (4, 20));
    assert_eq!(warned.len(), 1, "once in ten minutes");
}

#[test]
fn members_choose_among_the_assignors_that_there_are() {
    use crate::config::Assignor::{Range, Uniform};
    let mut bench = Bench::with_topic("a", 4);
    let asking = |name: &str, id: &str| Client {
        assignor: Some(name.to_string()),
        ..Client::new(id, &["a"])
    };
    let assignor = |bench: &Bench| {
        bench.group.describe(&bench.topics, &bench.config).assignor_name.to_string()
    };
    assert_eq!(asking("uniform", "m1").beat(&mut bench).error_code, ErrorCode::None);
    assert_eq!(assignor(&bench), "uniform");
    bench.config.consumer_assignors = vec![Range];
    let refused = asking("uniform", "m2").beat(&mut bench);
    assert_eq!(refused.error_code, ErrorCode::UnsupportedAssignor);
    let message = refused.error_message.unwrap();
    assert_eq!(message, "ServerAssignor uniform is not supported. Supported assignors: range.");
    assert_eq!(assignor(&bench), "range", "there is no other any more");
    bench.config.consumer_assignors = vec![Range, Uniform];
    assert_eq!(assignor(&bench), "uniform", "a member asks for it");
    assert_eq!(asking("range", "m2").beat(&mut bench).error_code, ErrorCode::None);
    assert_eq!(assignor(&bench), "range", "the first, when as many ask for each");
}
