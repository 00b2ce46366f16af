//! JoinGroup of dynamic members, and the rebalances it makes.

use super::*;

#[test]
fn a_client_is_given_an_id_and_joins_with_it() {
    let mut bench = Bench::new();
    let asked = bench.join(request(""), 4).get();
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired);
    assert!(asked.member_id.starts_with("client-") && asked.member_id.len() == 7 + 36);
    assert_eq!((asked.generation_id, &asked.protocol_name), (-1, &Some(Str::default())));
    bench.check_state(State::Empty, 0);
    assert_eq!(bench.group.members().pending().len(), 1);
    assert!(!bench.group.is_simple(), "somebody is about to join");

    let waiting = bench.join(request(&asked.member_id), 4);
    bench.check_state(State::PreparingRebalance, 0);
    assert!(waiting.is_waiting() && bench.group.members().pending().is_empty());
    bench.pass(INITIAL - Duration::from_millis(1));
    assert!(waiting.is_waiting(), "the group waits for more members to come");
    bench.pass_ms(1);
    let joined = waiting.get();
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
    assert_eq!((&joined.leader, &joined.member_id), (&asked.member_id, &asked.member_id));
    assert_eq!(joined.protocol_type, Some(Str::from("consumer")));
    assert_eq!(joined.protocol_name, Some(Str::from("range")));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, &b"metadata"[..]);
    assert!(!joined.skip_assignment);
    bench.check_state(State::CompletingRebalance, 1);
}

#[test]
fn clients_before_version_4_join_without_an_id() {
    for version in 0..4 {
        let mut bench = Bench::new();
        let waiting = bench.join(request(""), version);
        assert!(waiting.is_waiting());
        bench.pass(INITIAL);
        let joined = waiting.get();
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
        assert!(joined.member_id.starts_with("client-"));
    }
}

#[test]
fn version_0_has_its_session_timeout_as_rebalance_timeout() {
    let mut bench = Bench::new();
    bench.join(JoinGroupRequest { rebalance_timeout_ms: -1, ..request("") }, 0);
    let member = bench.group.members().iter().next().unwrap();
    assert_eq!(member.rebalance_timeout_ms, SESSION_MS);
}

#[test]
fn no_group_is_made_for_a_bad_group_id_or_session_timeout() {
    let config = GroupConfig::default();
    let refused = |request: &JoinGroupRequest| {
        refuse_join(request, &config).map(|answer| (answer.error_code, answer.member_id))
    };
    assert_eq!(refused(&request("m")), None);
    let nameless = JoinGroupRequest { group_id: Str::default(), ..request("m") };
    assert_eq!(refused(&nameless), Some((ErrorCode::InvalidGroupId, Str::from("m"))));
    for (timeout, is_refused) in
        [(5_999, true), (6_000, false), (1_800_000, false), (1_800_001, true), (-1, true)]
    {
        let asked = JoinGroupRequest { session_timeout_ms: timeout, ..request("m") };
        let error = (ErrorCode::InvalidSessionTimeout, Str::from("m"));
        assert_eq!(refused(&asked), is_refused.then_some(error), "{timeout}");
    }
}

#[test]
fn protocols_must_be_those_of_the_group() {
    let inconsistent = ErrorCode::InconsistentGroupProtocol;
    let error = |bench: &mut Bench, request| bench.join(request, 3).get().error_code;
    let mut bench = Bench::new();
    let typeless = JoinGroupRequest { protocol_type: Str::default(), ..request("") };
    assert_eq!(error(&mut bench, typeless), inconsistent);
    assert_eq!(error(&mut bench, request_with("", &[])), inconsistent);
    bench.check_state(State::Empty, 0);

    let first = bench.join(request_with("", &["range", "sticky"]), 3);
    let second = bench.join(request_with("", &["sticky", "own"]), 3);
    assert!(first.is_waiting() && second.is_waiting());
    assert_eq!(error(&mut bench, request_with("", &["range", "own"])), inconsistent);
    let connect = JoinGroupRequest { protocol_type: Str::from("connect"), ..request("") };
    assert_eq!(error(&mut bench, connect), inconsistent);
    bench.pass(INITIAL);
    bench.pass(INITIAL);
    assert_eq!(first.get().protocol_name, Some(Str::from("sticky")));
    let known = JoinGroupRequest { protocols: vec![], ..request(&first.get().member_id) };
    let refused = bench.join(known, 9).get();
    assert_eq!((refused.error_code, refused.member_id), (inconsistent, first.get().member_id));
}

#[test]
fn the_protocol_with_the_most_votes_is_chosen_of_those_all_have() {
    for (lists, chosen) in [
        (&[&["range", "sticky"][..], &["sticky", "range"], &["sticky", "range"]][..], "sticky"),
        (&[&["own", "range", "sticky"], &["sticky", "range"], &["range", "sticky"]], "range"),
        (&[&["range", "sticky"], &["sticky", "range"]], "the leader's"),
        (&[&["range", "range"], &["range"]], "range"),
    ] {
        let mut bench = Bench::new();
        let all: Vec<_> = lists.iter().map(|list| bench.join(request_with("", list), 3)).collect();
        bench.pass(INITIAL * 3);
        let leader = all[0].get();
        assert_eq!(leader.leader, leader.member_id, "the first to join leads");
        let chosen = if chosen == "the leader's" { lists[0][0] } else { chosen };
        assert_eq!(leader.protocol_name, Some(Str::from(chosen)), "{lists:?}");
    }
}

#[test]
fn ids_that_nobody_was_given_are_unknown() {
    let (mut bench, joined) = Bench::stable(1);
    let refused = bench.join(request("nobody"), 9).get();
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId);
    assert_eq!((refused.member_id, refused.protocol_name), (Str::from("nobody"), None));
    bench.leave(&[(&joined[0].member_id, None)]);
    bench.check_state(State::Empty, 2);
    let again = bench.join(request(&joined[0].member_id), 9).get();
    assert_eq!(again.error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come_up_to_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let first = bench.join(request(""), 3);
    let mut others = Vec::new();
    for second in 0..60 {
        assert!(first.is_waiting(), "after {second} s");
        if second % 2 == 1 {
            others.push(bench.join(request(""), 3));
        }
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(first.get().members.len(), 31, "all who came within the rebalance timeout");
    assert!(others.iter().all(|other| other.get().generation_id == 1));
}

#[test]
fn the_first_rebalance_ends_when_nobody_came_within_its_delay() {
    let mut bench = Bench::new();
    let first = bench.join(request(""), 3);
    bench.pass(Duration::from_secs(2));
    let second = bench.join(request(""), 3);
    bench.pass(Duration::from_millis(3_999));
    assert!(first.is_waiting() && second.is_waiting());
    bench.pass_ms(1);
    assert_eq!((first.get().members.len(), second.get().members.len()), (2, 0));
    assert_eq!(second.get().leader, first.get().member_id);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten_after_the_session_timeout() {
    let mut bench = Bench::new();
    let id = bench.join(request(""), 9).get().member_id;
    bench.pass_ms(SESSION_MS);
    assert!(bench.group.members().pending().is_empty());
    let late = bench.join(request(&id), 9).get();
    assert_eq!(late.error_code, ErrorCode::UnknownMemberId);
    assert_eq!(bench.group.members().bytes(), 0);
    assert!(bench.group.is_simple());
}

#[test]
fn an_id_that_is_given_up_does_not_end_the_first_wait_for_members() {
    let delay = Duration::from_secs(40);
    let config = GroupConfig { initial_rebalance_delay: delay, ..GroupConfig::default() };
    let mut bench = Bench::with(config);
    bench.join(request(""), 9);
    let first = bench.join(request(""), 3);
    bench.pass_ms(SESSION_MS);
    assert!(bench.group.members().pending().is_empty());
    assert!(first.is_waiting(), "others may come");
    bench.pass(delay);
    assert_eq!(first.get().generation_id, 1);
}

#[test]
fn a_rebalance_waits_for_who_has_been_given_an_id() {
    let (mut bench, joined) = Bench::stable(1);
    let pending = bench.join(request(""), 9).get().member_id;
    bench.check_state(State::Stable, 1);
    let leader = bench.join(request(&joined[0].member_id), 9);
    bench.check_state(State::PreparingRebalance, 1);
    assert!(leader.is_waiting());
    let newcomer = bench.join(request(&pending), 9);
    assert_eq!((leader.get().members.len(), newcomer.get().generation_id), (2, 2));

    bench.lead(&leader.get());
    bench.join(request(""), 9);
    let again = bench.join(request(&leader.get().member_id), 9);
    let follower = bench.join(request(&newcomer.get().member_id), 9);
    assert!(again.is_waiting() && follower.is_waiting());
    bench.pass_ms(SESSION_MS);
    assert_eq!(again.get().generation_id, 3, "the pending id is given up");
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_of_its_generation() {
    let (mut bench, joined) = Bench::stable(2);
    let follower = &joined[1];
    let again = bench.join(request(&follower.member_id), 9).get();
    assert_eq!((again.error_code, again.generation_id), (ErrorCode::None, 1));
    assert_eq!((&again.leader, again.members.len()), (&joined[0].member_id, 0));
    bench.check_state(State::Stable, 1);
    let synced = bench.follow(&again).get();
    assert_eq!(synced.assignment, assignment(1, &follower.member_id));
}

#[test]
fn a_leader_that_joins_again_and_changed_metadata_make_the_group_rebalance() {
    for who in 0..2 {
        let (mut bench, joined) = Bench::stable(2);
        let id = &joined[who].member_id;
        let protocols = match who {
            0 => vec![protocol("range", b"metadata")],
            _ => vec![protocol("range", b"other")],
        };
        let waiting = bench.join(JoinGroupRequest { protocols, ..request(id) }, 9);
        bench.check_state(State::PreparingRebalance, 1);
        let other = &joined[1 - who];
        assert_eq!(bench.heartbeat(&other.member_id, 1), ErrorCode::RebalanceInProgress);
        assert!(waiting.is_waiting());
        let other = bench.join(request(&other.member_id), 9);
        assert_eq!((waiting.get().generation_id, other.get().generation_id), (2, 2));
        assert_eq!(waiting.get().leader, joined[0].member_id, "the leader stays");
        bench.check_state(State::CompletingRebalance, 2);
    }
}

#[test]
fn joining_again_before_the_assignment_is_there_repeats_the_answer() {
    let mut bench = Bench::new();
    let (first, second) = (bench.join(request(""), 3), bench.join(request(""), 3));
    bench.pass(INITIAL * 2);
    for joined in [first.get(), second.get()] {
        assert_eq!(bench.join(request(&joined.member_id), 9).get(), joined);
    }
    let leader_sync_waits = bench.follow(&second.get());
    let changed = vec![protocol("range", b"other")];
    let id = second.get().member_id;
    let again = bench.join(JoinGroupRequest { protocols: changed, ..request(&id) }, 9);
    bench.check_state(State::PreparingRebalance, 1);
    assert!(again.is_waiting());
    assert_eq!(leader_sync_waits.get().error_code, ErrorCode::RebalanceInProgress);
}

#[test]
fn a_client_that_asks_again_while_it_waits_has_one_answer() {
    let (mut bench, joined) = Bench::stable(2);
    let lost = bench.join(request(&joined[0].member_id), 9);
    let kept = bench.join(request(&joined[0].member_id), 9);
    assert!(lost.is_dropped() && kept.is_waiting());
    let other = bench.join(request(&joined[1].member_id), 9);
    assert_eq!((kept.get().generation_id, other.get().generation_id), (2, 2));
}

#[test]
fn members_that_do_not_join_again_in_time_are_out_and_another_one_leads() {
    let (mut bench, joined) = Bench::stable(3);
    let waiting = bench.join(
        JoinGroupRequest {
            protocols: vec![protocol("range", b"other")],
            ..request(&joined[1].member_id)
        },
        9,
    );
    // The two others live, but do not join.
    let others = [joined[0].clone(), joined[2].clone()];
    bench.live(&others, Duration::from_millis(REBALANCE_MS as u64 - 1));
    assert!(waiting.is_waiting());
    bench.pass_ms(1);
    let answer = waiting.get();
    assert_eq!((answer.generation_id, answer.members.len()), (2, 1));
    assert_eq!(answer.leader, joined[1].member_id);
    assert_eq!(bench.heartbeat(&joined[0].member_id, 1), ErrorCode::UnknownMemberId);
    assert_eq!(bench.ids(), [answer.member_id]);
}

#[test]
fn a_new_member_that_waits_too_long_is_sent_away() {
    let (mut bench, joined) = Bench::stable(1);
    let slow = JoinGroupRequest { rebalance_timeout_ms: 3_600_000, ..request("") };
    let waiting = bench.join(slow, 3);
    let id = bench.ids().into_iter().find(|id| *id != joined[0].member_id).unwrap();
    bench.live(&joined, Duration::from_mins(5) - Duration::from_millis(1));
    assert!(waiting.is_waiting() && bench.ids().contains(&id));
    bench.pass_ms(1);
    let answer = waiting.get();
    assert_eq!((answer.error_code, answer.member_id), (ErrorCode::UnknownMemberId, Str::default()));
    assert!(!bench.ids().contains(&id));
}

#[test]
fn a_member_that_waits_to_join_again_needs_no_heartbeat() {
    let (mut bench, joined) = Bench::stable(2);
    let waiting = bench.join(request(&joined[0].member_id), 9);
    bench.live(&joined[1..], Duration::from_secs(30));
    assert!(waiting.is_waiting());
    let other = bench.join(request(&joined[1].member_id), 9);
    assert_eq!((waiting.get().generation_id, other.get().generation_id), (2, 2));
    bench.pass_ms(SESSION_MS - 1);
    assert_eq!(bench.ids().len(), 2, "sessions begin anew with a generation");
    bench.pass_ms(1);
    bench.check_state(State::Empty, 3);
}

#[test]
fn a_full_group_takes_nobody_in() {
    let full = ErrorCode::GroupMaxSizeReached;
    let mut bench = Bench::with(GroupConfig { members_max: 2, ..GroupConfig::default() });
    let all: Vec<_> = (0..2).map(|_| bench.join(request(""), 3)).collect();
    let refused = bench.join(request(""), 3).get();
    assert_eq!((refused.error_code, refused.member_id), (full, Str::default()));
    let joined = bench.settle(all);
    assert_eq!(bench.join(request(""), 3).get().error_code, full, "stable");
    assert_eq!(bench.join(request(""), 9).get().error_code, full, "no id is given either");
    let known = bench.join(request(&joined[1].member_id), 9).get();
    assert_eq!(known.error_code, ErrorCode::None, "but members are let in");
}

#[test]
fn of_ids_given_ahead_only_as_many_join_as_there_is_room_for() {
    let mut bench = Bench::with(GroupConfig { members_max: 2, ..GroupConfig::default() });
    let ids: Vec<_> = (0..3).map(|_| bench.join(request(""), 9).get().member_id).collect();
    let all: Vec<_> = ids.iter().map(|id| bench.join(request(id), 9)).collect();
    assert!(all[0].is_waiting() && all[1].is_waiting());
    assert_eq!(all[2].get().error_code, ErrorCode::GroupMaxSizeReached);
    assert!(bench.group.members().pending().is_empty(), "and it is not waited for");
    bench.pass(INITIAL * 2);
    assert_eq!(all[0].get().members.len() + all[1].get().members.len(), 2);
}

#[test]
fn a_group_that_has_become_too_large_is_cut_when_its_members_join_again() {
    let (mut bench, joined) = Bench::stable(3);
    bench.config.members_max = 2;
    let value = bench.group.value().unwrap();
    bench.group = ClassicGroup::from_value(Str::from(GROUP), &value);
    bench.turn(|group, turn| group.on_loaded(turn));
    bench.check_state(State::PreparingRebalance, 1);
    let answers: Vec<_> =
        joined.iter().map(|member| bench.join(request(&member.member_id), 9)).collect();
    assert_eq!(answers[2].get().error_code, ErrorCode::GroupMaxSizeReached);
    assert_eq!((answers[0].get().generation_id, answers[1].get().generation_id), (2, 2));
    assert_eq!(bench.ids().len(), 2);
}

#[test]
fn ids_that_wait_for_their_members_are_bounded() {
    let mut bench = Bench::new();
    let mut given = 0;
    while bench.join(request(""), 9).get().error_code == ErrorCode::MemberIdRequired {
        given += 1;
    }
    assert_eq!(given, crate::limits::PENDING_MEMBERS_MAX);
    assert_eq!(bench.join(request(""), 9).get().error_code, ErrorCode::GroupMaxSizeReached);
    bench.pass_ms(SESSION_MS);
    assert_eq!(bench.join(request(""), 9).get().error_code, ErrorCode::MemberIdRequired);
}

#[test]
fn a_group_without_delay_begins_at_once() {
    let mut bench =
        Bench::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() });
    let waiting = bench.join(request(""), 3);
    bench.pass(Duration::ZERO);
    assert_eq!(waiting.get().generation_id, 1);
}

#[test]
fn a_group_whose_members_all_left_before_it_began_is_empty() {
    let mut bench = Bench::new();
    let (id, waiting) = bench.come();
    assert_eq!(bench.leave(&[(&id, None)]), [ErrorCode::None]);
    assert_eq!(waiting.get().error_code, ErrorCode::UnknownMemberId);
    bench.check_state(State::PreparingRebalance, 0);
    bench.pass(INITIAL);
    bench.check_state(State::Empty, 1);
    let (_, waiting) = bench.come();
    bench.settle(vec![waiting]);
    bench.check_state(State::Stable, 2);
}

#[test]
fn an_id_fits_a_string_however_long_the_clients_name_is() {
    let (filler, slot) = slot();
    let mut bench = Bench::new();
    let name = Str::from("é".repeat(16_383).as_str());
    bench.turn(|group, turn| {
        group.join(request(""), 9, name, "/::1".to_string(), filler, turn);
    });
    let id = Answer::new(slot).get().member_id;
    assert!(id.starts_with("éé") && id.len() <= crate::limits::STRING_BYTES_MAX, "{}", id.len());
    assert!(bench.join(request(&id), 9).is_waiting());
}
