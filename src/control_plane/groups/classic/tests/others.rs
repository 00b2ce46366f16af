//! LeaveGroup, commits, descriptions, deletion, and what becomes of offsets.

use super::*;
use crate::wire::{Encoder, Message};

#[test]
fn a_leave_makes_the_others_rebalance() {
    let (mut bench, joined) = Bench::stable(2);
    assert_eq!(bench.leave(&[(&joined[0].member_id, None)]), [ErrorCode::None]);
    bench.check_state(State::PreparingRebalance, 1);
    let again = bench.join(request(&joined[1].member_id), 9).get();
    assert_eq!((again.generation_id, &again.leader), (2, &joined[1].member_id));
    assert_eq!(again.members.len(), 1);
}

#[test]
fn the_last_to_leave_leaves_an_empty_group_in_the_log() {
    let (mut bench, joined) = Bench::stable(1);
    bench.pass(Duration::from_secs(1));
    let wall = WALL + bench.now.as_millis() as i64;
    bench.leave(&[(&joined[0].member_id, None)]);
    bench.check_state(State::Empty, 2);
    let stored = bench.log.last().unwrap().clone().unwrap();
    let expected = ClassicGroupValue {
        protocol_type: Str::from("consumer"),
        generation: 2,
        protocol: None,
        leader: None,
        current_state_timestamp: wall,
        members: Vec::new(),
    };
    assert_eq!(stored, expected);
    assert_eq!(bench.timers.next_at(), None);
}

#[test]
fn several_leave_at_once_and_each_is_told_its_own_error() {
    let mut bench = Bench::new();
    let waiting =
        vec![bench.join(static_request("", "one"), 9), bench.join(static_request("", "two"), 9)];
    bench.settle(waiting);
    let pending = bench.join(request(""), 9).get().member_id;
    let one = bench.group.members().static_id("one").unwrap().clone();
    let errors = bench.leave(&[
        ("", Some("two")),
        ("", Some("three")),
        ("", None),
        ("nobody", None),
        (&one, Some("two")),
        (&pending, None),
        (&one, Some("one")),
        (&one, Some("one")),
    ]);
    let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownMemberId);
    assert_eq!(errors, [none, unknown, unknown, unknown, unknown, none, none, unknown]);
    bench.check_state(State::Empty, 2);
}

#[test]
fn nothing_happens_when_nobody_left() {
    let (mut bench, _) = Bench::stable(1);
    assert_eq!(bench.leave(&[("nobody", None)]), [ErrorCode::UnknownMemberId]);
    assert_eq!(bench.leave(&[]), []);
    bench.check_state(State::Stable, 1);
}

#[test]
fn a_leave_ends_a_rebalance_that_only_waited_for_who_left() {
    let (mut bench, joined) = Bench::stable(2);
    let waiting = bench.join(request(&joined[0].member_id), 9);
    assert!(waiting.is_waiting());
    bench.leave(&[(&joined[1].member_id, None)]);
    assert_eq!((waiting.get().generation_id, waiting.get().members.len()), (2, 1));
}

#[test]
fn who_leaves_while_it_waits_is_told_so() {
    let (mut bench, joined) = Bench::stable(2);
    let waiting = bench.join(request(&joined[0].member_id), 9);
    bench.leave(&[(&joined[0].member_id, None)]);
    assert_eq!(waiting.get().error_code, ErrorCode::UnknownMemberId);

    let mut bench = Bench::new();
    let all = [bench.join(request(""), 3), bench.join(request(""), 3)];
    bench.pass(INITIAL * 2);
    let waiting = bench.follow(&all[1].get());
    bench.leave(&[(&all[1].get().member_id, None)]);
    assert_eq!(waiting.get().error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn before_version_3_one_member_leaves_and_its_error_is_the_answers() {
    for version in 0..3 {
        let (mut bench, joined) = Bench::stable(1);
        let mut leave = |id: &str| {
            let request = LeaveGroupRequest { member_id: Str::from(id), ..Default::default() };
            let answer = bench.turn(|group, turn| group.leave(&request, version, turn));
            assert!(answer.members.is_empty());
            answer.error_code
        };
        assert_eq!(leave("nobody"), ErrorCode::UnknownMemberId);
        assert_eq!(leave(&joined[0].member_id), ErrorCode::None);
        let vain = leave_in_vain(&LeaveGroupRequest::default(), version);
        assert_eq!(vain.error_code, ErrorCode::UnknownMemberId);
    }
    let member = MemberIdentity { member_id: Str::from("m"), ..Default::default() };
    let request = LeaveGroupRequest { members: vec![member], ..Default::default() };
    let vain = leave_in_vain(&request, 3);
    assert_eq!(vain.error_code, ErrorCode::None);
    assert_eq!(vain.members[0].error_code, ErrorCode::UnknownMemberId);
    assert_eq!(vain.members[0].member_id, Str::from("m"));
}

#[test]
fn commits_are_taken_from_members_of_the_generation_and_when_there_are_no_members() {
    let (mut bench, joined) = Bench::stable(1);
    let id = joined[0].member_id.clone();
    let check = |bench: &Bench, expected: [ErrorCode; 6]| {
        let group = &bench.group;
        let found = [
            group.validate_offset_commit(&id, None, 1),
            group.validate_offset_commit(&id, None, 2),
            group.validate_offset_commit("nobody", None, 1),
            group.validate_offset_commit("", None, -1),
            group.validate_offset_commit(&id, None, -1),
            group.validate_offset_commit("", Some("one"), -1),
        ];
        assert_eq!(found, expected, "{}", bench.group.state_name());
    };
    let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownMemberId);
    let illegal = ErrorCode::IllegalGeneration;
    check(&bench, [none, illegal, unknown, unknown, illegal, unknown]);
    let other = bench.join(request(""), 3);
    bench.check_state(State::PreparingRebalance, 1);
    check(&bench, [none, illegal, unknown, unknown, illegal, unknown]);
    bench.join(request(&id), 9);
    assert_eq!(other.get().generation_id, 2);
    let rebalancing = ErrorCode::RebalanceInProgress;
    check(&bench, [illegal, rebalancing, unknown, unknown, illegal, unknown]);
    bench.leave(&[(&id, None), (&other.get().member_id, None)]);
    bench.check_state(State::Empty, 3);
    check(&bench, [unknown, unknown, unknown, none, none, none]);
    bench.turn(|group, turn| group.delete(turn));
    check(&bench, [ErrorCode::CoordinatorNotAvailable; 6]);
}

#[test]
fn a_description_shows_metadata_only_of_a_stable_group() {
    let (mut bench, joined) = Bench::stable(2);
    let described = bench.group.describe();
    assert_eq!((described.error_code, &described.error_message), (ErrorCode::None, &None));
    assert_eq!((&*described.group_state, &*described.protocol_type), ("Stable", "consumer"));
    assert_eq!((&*described.protocol_data, described.members.len()), ("range", 2));
    assert_eq!(described.authorized_operations, i32::MIN);
    let member = &described.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("client", "/10.0.0.1"));
    assert_eq!(member.member_metadata, &b"metadata"[..]);
    assert_eq!(member.member_assignment, assignment(1, &member.member_id));

    bench.join(request(&joined[0].member_id), 9);
    let described = bench.group.describe();
    assert_eq!((&*described.group_state, &*described.protocol_data), ("PreparingRebalance", ""));
    assert!(described.members.iter().all(|member| member.member_metadata.is_empty()));
    assert_eq!(Bench::new().group.describe().group_state, Str::from("Empty"));
}

#[test]
fn a_group_that_is_not_there_is_dead_and_from_version_6_on_an_error() {
    let missing = |version| describe_missing(Str::from("x"), version, "Group x not found.".into());
    assert_eq!((missing(5).error_code, missing(5).error_message), (ErrorCode::None, None));
    let (error, text) = (ErrorCode::GroupIdNotFound, Some(Str::from("Group x not found.")));
    assert_eq!((missing(6).error_code, missing(6).error_message), (error, text));
    assert!([5, 6].iter().all(|version| missing(*version).group_state == "Dead"));
}

#[test]
fn only_an_empty_group_is_deleted_and_its_tombstone_is_stored() {
    let (mut bench, joined) = Bench::stable(1);
    assert_eq!(bench.group.check_delete(), ErrorCode::NonEmptyGroup);
    assert!(!bench.group.can_be_deleted());
    bench.leave(&[(&joined[0].member_id, None)]);
    let pending = bench.join(request(""), 9).get();
    assert_eq!(bench.group.check_delete(), ErrorCode::None);
    assert!(bench.group.can_be_deleted());
    bench.turn(|group, turn| group.delete(turn));
    assert_eq!(bench.log.last(), Some(&None));
    assert_eq!(bench.timers.next_at(), None, "nothing is left to happen");
    let dead = ErrorCode::CoordinatorNotAvailable;
    assert_eq!(bench.join(request(&pending.member_id), 9).get().error_code, dead);
    assert_eq!(bench.join(request(""), 9).get().error_code, dead);
    assert_eq!(bench.follow(&joined[0]).get().error_code, dead);
    let answer = bench.turn(|group, turn| group.leave(&LeaveGroupRequest::default(), 5, turn));
    assert_eq!(answer.error_code, dead);
    assert_eq!(bench.group.check_delete(), ErrorCode::GroupIdNotFound);
    assert_eq!(bench.group.check_offset_delete(), ErrorCode::GroupIdNotFound);
}

#[test]
fn who_waits_is_told_when_the_group_goes_elsewhere() {
    type End = fn(&mut ClassicGroup, &mut Turn);
    let ends: [(End, ErrorCode, bool); 2] = [
        (ClassicGroup::unload, ErrorCode::NotCoordinator, false),
        (ClassicGroup::convert_away, ErrorCode::RebalanceInProgress, true),
    ];
    for (end, error, is_tombstone) in ends {
        let (mut bench, joined) = Bench::stable(2);
        let joining = bench.join(request(&joined[0].member_id), 9);
        bench.turn(end);
        let told = joining.get();
        assert_eq!((told.error_code, told.member_id), (error, joined[0].member_id.clone()));
        assert_eq!(bench.log.last().unwrap().is_none(), is_tombstone);
        assert_eq!(bench.timers.next_at(), None);

        let mut bench = Bench::new();
        let all = [bench.join(request(""), 3), bench.join(request(""), 3)];
        bench.pass(INITIAL * 2);
        let syncing = bench.follow(&all[1].get());
        bench.turn(end);
        assert_eq!(syncing.get().error_code, error);
        assert_eq!(bench.timers.next_at(), None);
    }
}

/// Metadata as a consumer writes it.
fn subscription(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|topic| Str::from(*topic)).collect();
    let message = ConsumerProtocolSubscription { topics, ..Default::default() };
    let mut e = Encoder::new();
    e.write_i16(1);
    Message::encode(&message, &mut e, 1);
    e.out.freeze()
}

fn stable_with(metadata: &[Bytes], protocol_type: &str) -> Bench {
    let mut bench = Bench::new();
    let join = |metadata: &Bytes| {
        let name = Str::from("range");
        let protocols = vec![JoinGroupRequestProtocol { name, metadata: metadata.clone() }];
        let protocol_type = Str::from(protocol_type);
        bench.join(JoinGroupRequest { protocols, protocol_type, ..request("") }, 3)
    };
    let waiting = metadata.iter().map(join).collect();
    bench.settle(waiting);
    bench
}

#[test]
fn a_group_is_subscribed_to_what_its_members_say() {
    let mut bench =
        stable_with(&[subscription(&["a", "b"]), subscription(&["b", "c"])], "consumer");
    let topics =
        |bench: &Bench| ["a", "b", "c", "d"].map(|topic| bench.group.is_subscribed_to(topic));
    assert_eq!(topics(&bench), [true, true, true, false]);
    let value = bench.group.value().unwrap();
    let loaded = ClassicGroup::from_value(Str::from(GROUP), &value);
    assert!(loaded.is_subscribed_to("a") && !loaded.is_subscribed_to("d"));
    let all = bench.ids();
    bench.leave(&[(&all[0], None), (&all[1], None)]);
    assert_eq!(topics(&bench), [false; 4], "an empty group to nothing");
}

#[test]
fn a_subscription_that_cannot_be_read_counts_as_one_to_everything() {
    for hostile in [&b""[..], b"\0", b"\0\0\xff\xff\xff\xff", b"\0\x01\x7f\xff\xff\xff\0\x01a"] {
        let metadata = [Bytes::from_static(hostile), subscription(&["a"])];
        let bench = stable_with(&metadata, "consumer");
        assert!(bench.group.is_subscribed_to("other"), "{hostile:?}");
        assert_eq!(bench.group.offsets_expire(), OffsetsExpire::Never);
        let bench = stable_with(&metadata, "connect");
        assert!(!bench.group.is_subscribed_to("other"), "not consumers");
    }
    assert!(!Bench::new().group.is_subscribed_to("a"));
}

#[test]
fn offsets_are_kept_while_they_may_be_needed() {
    let mut bench = stable_with(&[subscription(&["a"])], "consumer");
    assert_eq!(bench.group.offsets_expire(), OffsetsExpire::AfterCommit);
    assert_eq!(bench.group.check_offset_delete(), ErrorCode::None);
    let id = bench.ids()[0].clone();
    bench.join(request(""), 3);
    assert_eq!(bench.group.offsets_expire(), OffsetsExpire::Never, "rebalancing");
    let all = bench.ids();
    bench.leave(&[(&all[0], None), (&all[1], None)]);
    assert!(all.contains(&id));
    bench.check_state(State::Empty, 2);
    let since = Timestamp(WALL + bench.now.as_millis() as i64);
    assert_eq!(bench.group.offsets_expire(), OffsetsExpire::After(since));
    assert_eq!(bench.group.check_offset_delete(), ErrorCode::None);

    assert_eq!(Bench::new().group.offsets_expire(), OffsetsExpire::AfterCommit, "no members ever");
    let timeless = ClassicGroupValue {
        protocol_type: Str::from("consumer"),
        current_state_timestamp: -1,
        ..bench.group.value().unwrap()
    };
    let loaded = ClassicGroup::from_value(Str::from(GROUP), &timeless);
    assert_eq!(loaded.offsets_expire(), OffsetsExpire::AfterCommit, "an old record");

    let connect = stable_with(&[subscription(&["a"])], "connect");
    assert_eq!(connect.group.offsets_expire(), OffsetsExpire::Never);
    assert_eq!(connect.group.check_offset_delete(), ErrorCode::NonEmptyGroup);
}

#[test]
fn a_group_accounts_for_what_it_holds() {
    let empty = Bench::new().group.bytes();
    let large: &'static [u8] = &[7; 100_000];
    let mut bench = Bench::new();
    let join = |bench: &mut Bench, id: &str| {
        bench.join(JoinGroupRequest { protocols: vec![protocol("range", large)], ..request(id) }, 3)
    };
    let joined = join(&mut bench, "");
    assert!(bench.group.bytes() > empty + 100_000);
    let joined = bench.settle(vec![joined]);
    let held = bench.group.bytes();
    for _ in 0..10 {
        let again = join(&mut bench, &joined[0].member_id);
        bench.settle(vec![again]);
    }
    // A generation with one digit more, in the member and in the record.
    assert_eq!(bench.group.bytes(), held + 2, "the same again takes no more");
    bench.leave(&[(&joined[0].member_id, None)]);
    assert!(bench.group.bytes() < empty + 1000, "{}", bench.group.bytes());
}
