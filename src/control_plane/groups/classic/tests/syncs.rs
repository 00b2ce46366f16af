//! SyncGroup and heartbeats.

use super::*;
use crate::limits::GROUP_VALUE_BYTES_MAX;

/// Two members that have joined and not synced, the leader first.
fn joined() -> (Bench, JoinGroupResponse, JoinGroupResponse) {
    let mut bench = Bench::new();
    let all = [bench.join(request(""), 3), bench.join(request(""), 3)];
    bench.pass(INITIAL * 2);
    (bench, all[0].get(), all[1].get())
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let (mut bench, leader, follower) = joined();
    let waiting = bench.follow(&follower);
    assert!(waiting.is_waiting());
    let led = bench.lead(&leader).get();
    assert_eq!(led.assignment, assignment(1, &leader.member_id));
    let followed = waiting.get();
    assert_eq!(followed.assignment, assignment(1, &follower.member_id));
    assert_eq!(followed.protocol_type, Some(Str::from("consumer")));
    assert_eq!(followed.protocol_name, Some(Str::from("range")));
    bench.check_state(State::Stable, 1);
    assert_eq!(bench.follow(&follower).get(), followed, "asked again");
    assert_eq!(bench.lead(&leader).get(), led, "a second assignment is not taken");
}

#[test]
fn who_is_not_assigned_to_has_nothing_and_who_is_unknown_is_ignored() {
    let (mut bench, leader, follower) = joined();
    let assign = |id: &Str, bytes: &'static [u8]| SyncGroupRequestAssignment {
        member_id: id.clone(),
        assignment: Bytes::from_static(bytes),
    };
    let nobody = Str::from("nobody");
    let assignments = vec![
        assign(&leader.member_id, b"first"),
        assign(&nobody, b"x"),
        assign(&leader.member_id, b"last"),
    ];
    let led = bench.sync(SyncGroupRequest { assignments, ..sync_request(&leader) }).get();
    assert_eq!(led.assignment, &b"last"[..]);
    let followed = bench.follow(&follower).get();
    assert_eq!((followed.error_code, followed.assignment.len()), (ErrorCode::None, 0));
}

#[test]
fn no_answer_shows_a_generation_that_is_not_durable() {
    let (mut bench, leader, follower) = joined();
    let early = bench.follow(&follower);
    bench.is_slow = true;
    let (led, late) = (bench.lead(&leader), bench.follow(&follower));
    assert_eq!(bench.log.last().unwrap().as_ref().unwrap().members.len(), 2);
    assert!(led.is_waiting() && late.is_waiting());
    assert!(early.is_dropped() || early.is_waiting());
    bench.release();
    assert_eq!(led.get().assignment, assignment(1, &leader.member_id));
    assert_eq!(late.get().assignment, assignment(1, &follower.member_id));
    assert_eq!(early.get().assignment, assignment(1, &follower.member_id));

    // What could not be stored is not answered.
    let (mut bench, leader, _) = joined();
    bench.is_slow = true;
    let led = bench.lead(&leader);
    bench.held.clear();
    assert!(led.is_dropped());
}

#[test]
fn a_sync_must_fit_the_generation() {
    let (mut bench, leader, follower) = joined();
    let good = sync_request(&follower);
    let error = |bench: &mut Bench, request: SyncGroupRequest| bench.sync(request).get().error_code;
    let nobody = SyncGroupRequest { member_id: Str::from("nobody"), ..good.clone() };
    assert_eq!(error(&mut bench, nobody), ErrorCode::UnknownMemberId);
    for generation_id in [0, 2, -1] {
        let other = SyncGroupRequest { generation_id, ..good.clone() };
        assert_eq!(error(&mut bench, other), ErrorCode::IllegalGeneration);
    }
    let typed = SyncGroupRequest { protocol_type: Some(Str::from("connect")), ..good.clone() };
    assert_eq!(error(&mut bench, typed), ErrorCode::InconsistentGroupProtocol);
    let named = SyncGroupRequest { protocol_name: Some(Str::from("sticky")), ..good.clone() };
    assert_eq!(error(&mut bench, named), ErrorCode::InconsistentGroupProtocol);
    let silent = SyncGroupRequest { protocol_type: None, protocol_name: None, ..good.clone() };
    assert!(bench.sync(silent).is_waiting(), "before version 5 nothing is said");

    bench.join(request_with(&leader.member_id, &["range", "own"]), 9);
    bench.check_state(State::PreparingRebalance, 1);
    assert_eq!(error(&mut bench, good), ErrorCode::RebalanceInProgress);
}

#[test]
fn version_5_names_the_protocol() {
    let error = |request: &SyncGroupRequest, version| {
        refuse_sync(request, version).map(|answer| answer.error_code)
    };
    let named = SyncGroupRequest {
        group_id: Str::from(GROUP),
        protocol_type: Some(Str::from("consumer")),
        protocol_name: Some(Str::from("range")),
        ..Default::default()
    };
    assert_eq!(error(&named, 5), None);
    for silent in [
        SyncGroupRequest { protocol_type: None, ..named.clone() },
        SyncGroupRequest { protocol_name: None, ..named.clone() },
    ] {
        assert_eq!(error(&silent, 5), Some(ErrorCode::InconsistentGroupProtocol));
        assert_eq!(error(&silent, 4), None);
    }
    let nameless = SyncGroupRequest { group_id: Str::default(), ..named };
    assert_eq!(error(&nameless, 5), Some(ErrorCode::InvalidGroupId));
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    for with_leader in [true, false] {
        let (mut bench, leader, follower) = joined();
        let (synced, silent) =
            if with_leader { (&leader, &follower) } else { (&follower, &leader) };
        let waiting = if with_leader { bench.lead(&leader) } else { bench.follow(&follower) };
        let all = [leader.clone(), follower.clone()];
        bench.live(&all, Duration::from_millis(REBALANCE_MS as u64 - 1));
        assert_eq!(bench.ids().len(), 2);
        bench.pass_ms(1);
        bench.check_state(State::PreparingRebalance, 1);
        assert_eq!(bench.ids(), std::slice::from_ref(&synced.member_id));
        let expected = if with_leader { ErrorCode::None } else { ErrorCode::RebalanceInProgress };
        assert_eq!(waiting.get().error_code, expected);
        assert_eq!(bench.heartbeat(&silent.member_id, 1), ErrorCode::UnknownMemberId);
        let again = bench.join(request(&synced.member_id), 9).get();
        assert_eq!((again.generation_id, &again.leader), (2, &synced.member_id));
    }
}

#[test]
fn once_all_have_synced_nobody_is_put_out() {
    let (mut bench, joined) = Bench::stable(3);
    bench.live(&joined, Duration::from_mins(10));
    bench.check_state(State::Stable, 1);
    assert_eq!(bench.ids().len(), 3);
}

#[test]
fn a_follower_that_waits_for_its_assignment_needs_no_heartbeat() {
    let (mut bench, leader, follower) = joined();
    let waiting = bench.follow(&follower);
    bench.live(std::slice::from_ref(&leader), Duration::from_secs(30));
    assert!(waiting.is_waiting());
    bench.lead(&leader);
    assert_eq!(waiting.get().error_code, ErrorCode::None);
    bench.pass_ms(SESSION_MS - 1);
    assert_eq!(bench.heartbeat(&follower.member_id, 1), ErrorCode::None);
}

#[test]
fn an_assignment_that_cannot_be_stored_is_no_assignment() {
    let (mut bench, leader, follower) = joined();
    let waiting = bench.follow(&follower);
    let (records, large) = (bench.log.len(), Bytes::from(vec![7; GROUP_VALUE_BYTES_MAX]));
    let assignments = vec![SyncGroupRequestAssignment {
        member_id: follower.member_id.clone(),
        assignment: large,
    }];
    let led = bench.sync(SyncGroupRequest { assignments, ..sync_request(&leader) });
    assert_eq!(led.get().error_code, ErrorCode::UnknownServerError);
    assert_eq!(waiting.get().error_code, ErrorCode::UnknownServerError);
    assert_eq!(bench.log.len(), records);
    bench.check_state(State::PreparingRebalance, 1);
    assert!(bench.group.members().iter().all(|member| member.assignment.is_empty()));
    let again: Vec<_> = bench.ids().iter().map(|id| bench.join(request(id), 9)).collect();
    bench.settle(again);
    bench.check_state(State::Stable, 2);
}

#[test]
fn heartbeats_say_how_the_group_does() {
    let (mut bench, joined) = Bench::stable(2);
    let (leader, follower) = (joined[0].member_id.clone(), joined[1].member_id.clone());
    assert_eq!(bench.heartbeat(&leader, 1), ErrorCode::None);
    for generation in [-1, 0, 2] {
        assert_eq!(bench.heartbeat(&leader, generation), ErrorCode::IllegalGeneration);
    }
    assert_eq!(bench.heartbeat("nobody", 1), ErrorCode::UnknownMemberId);
    assert_eq!(bench.heartbeat("", 1), ErrorCode::UnknownMemberId);
    bench.join(request(&leader), 9);
    assert_eq!(bench.heartbeat(&follower, 1), ErrorCode::RebalanceInProgress);
    bench.join(request(&follower), 9);
    bench.check_state(State::CompletingRebalance, 2);
    assert_eq!(bench.heartbeat(&follower, 2), ErrorCode::None, "the join's answer came first");
    bench.turn(|group, turn| group.delete(turn));
    assert_eq!(bench.heartbeat(&follower, 2), ErrorCode::CoordinatorNotAvailable);
}

#[test]
fn a_member_that_is_not_heard_of_is_out_when_its_session_ends() {
    let (mut bench, joined) = Bench::stable(3);
    bench.live(&joined[..2], Duration::from_millis(SESSION_MS as u64 - 1));
    bench.check_state(State::Stable, 1);
    bench.pass_ms(1);
    bench.check_state(State::PreparingRebalance, 1);
    assert_eq!(bench.ids().len(), 2);
    let again = joined[..2].iter().map(|each| bench.join(request(&each.member_id), 9)).collect();
    assert_eq!(bench.settle(again)[0].generation_id, 2);
    bench.pass_ms(SESSION_MS);
    bench.check_state(State::Empty, 3);
    assert_eq!(bench.timers.next_at(), None, "nothing is left to happen");
    assert_eq!(bench.group.members().bytes(), 0);
}

#[test]
fn a_leader_that_is_not_heard_of_is_replaced() {
    let (mut bench, joined) = Bench::stable(3);
    bench.live(&joined[1..], Duration::from_millis(SESSION_MS as u64));
    bench.check_state(State::PreparingRebalance, 1);
    let again = joined[1..].iter().map(|each| bench.join(request(&each.member_id), 9)).collect();
    let settled = bench.settle(again);
    assert!(joined[1..].iter().any(|each| each.member_id == settled[0].leader));
    assert_eq!(settled[0].members.len(), 2);
}

#[test]
fn a_commit_keeps_a_session_alive_but_not_before_the_assignment() {
    let (mut bench, joined) = Bench::stable(1);
    let id = joined[0].member_id.clone();
    for _ in 0..10 {
        bench.pass_ms(SESSION_MS - 1);
        bench.turn(|group, turn| group.touch(&id, turn));
    }
    bench.check_state(State::Stable, 1);
    bench.turn(|group, turn| group.touch("nobody", turn));
    bench.join(request(&id), 9);
    bench.check_state(State::CompletingRebalance, 2);
    bench.pass_ms(SESSION_MS - 1);
    bench.turn(|group, turn| group.touch(&id, turn));
    bench.pass_ms(1);
    bench.check_state(State::Empty, 3);
}
