//! Static members (KIP-345, KIP-814).

use super::*;

/// A stable group of these instances, the leader first.
fn stable(instances: &[&str]) -> (Bench, Vec<JoinGroupResponse>) {
    let mut bench = Bench::new();
    let join = |instance: &&str| bench.join(static_request("", instance), 9);
    let waiting = instances.iter().map(join).collect();
    let joined = bench.settle(waiting);
    (bench, joined)
}

#[test]
fn a_static_member_needs_no_id_to_join() {
    let mut bench = Bench::new();
    let waiting = bench.join(static_request("", "one"), 9);
    bench.pass(INITIAL);
    let joined = waiting.get();
    assert!(joined.member_id.starts_with("one-"));
    assert_eq!(joined.members[0].group_instance_id, Some(Str::from("one")));
}

#[test]
fn a_follower_that_comes_back_takes_its_place_without_a_rebalance() {
    for version in 5..=9 {
        let (mut bench, joined) = stable(&["one", "two"]);
        let (old, records) = (&joined[1].member_id, bench.log.len());
        let instance = old.split('-').next().unwrap().to_string();
        let back = bench.join(static_request("", &instance), version).get();
        assert_eq!((back.error_code, back.generation_id), (ErrorCode::None, 1));
        assert_ne!(back.member_id, *old);
        assert_eq!((&back.leader, back.members.len()), (&joined[0].member_id, 0));
        assert!(!back.skip_assignment);
        bench.check_state(State::Stable, 1);

        let stored = bench.log[records..].to_vec();
        assert_eq!(stored.len(), 1, "the new id is stored");
        let stored = stored[0].as_ref().unwrap();
        assert!(stored.members.iter().any(|each| each.member_id == back.member_id));
        let synced = bench.follow(&back).get();
        assert_eq!(synced.assignment, assignment(1, old), "as assigned to its old id");
        let fenced = bench.heartbeat_as(old, Some(&instance), 1);
        assert_eq!(fenced, ErrorCode::FencedInstanceId);
        assert_eq!(bench.heartbeat(old, 1), ErrorCode::UnknownMemberId);
        assert_eq!(bench.heartbeat_as(&back.member_id, Some(&instance), 1), ErrorCode::None);
    }
}

#[test]
fn a_leader_that_comes_back_leads_but_does_not_assign() {
    for version in [8, 9] {
        let (mut bench, joined) = stable(&["one", "two"]);
        let old = &joined[0].member_id;
        let instance = old.split('-').next().unwrap().to_string();
        let back = bench.join(static_request("", &instance), version).get();
        bench.check_state(State::Stable, 1);
        if version == 9 {
            assert_eq!((&back.leader, back.skip_assignment), (&back.member_id, true));
            assert_eq!(back.members.len(), 2);
        } else {
            assert_eq!((&back.leader, back.skip_assignment), (old, false));
            assert_eq!(back.members.len(), 0);
        }
        assert_eq!(bench.group.leader(), Some(&back.member_id));
        // What a client that ignores it assigns is not taken.
        assert_eq!(bench.lead(&back).get().assignment, assignment(1, old));
    }
}

#[test]
fn a_static_member_that_changes_the_protocol_makes_the_group_rebalance() {
    let mut bench = Bench::new();
    let both = ["range", "sticky"];
    let join = |bench: &mut Bench, instance: &str, protocols: &[&str]| {
        let instance = Some(Str::from(instance));
        let request = request_with("", protocols);
        bench.join(JoinGroupRequest { group_instance_id: instance, ..request }, 9)
    };
    let waiting = vec![join(&mut bench, "one", &both), join(&mut bench, "two", &both)];
    let joined = bench.settle(waiting);
    assert_eq!(joined[0].protocol_name, Some(Str::from("range")));
    let same = join(&mut bench, "two", &["range"]);
    assert_eq!(same.get().generation_id, 1, "the vote is the same");

    let mut bench = Bench::new();
    let waiting = vec![join(&mut bench, "one", &both), join(&mut bench, "two", &both)];
    bench.settle(waiting);
    let changed = join(&mut bench, "two", &["sticky"]);
    assert!(changed.is_waiting());
    bench.check_state(State::PreparingRebalance, 1);
    let id = bench.group.members().static_id("one").unwrap().clone();
    let request =
        JoinGroupRequest { group_instance_id: Some(Str::from("one")), ..request_with(&id, &both) };
    let other = bench.join(request, 9);
    assert_eq!(changed.get().protocol_name, Some(Str::from("sticky")));
    assert_eq!(other.get().generation_id, 2);
}

#[test]
fn a_static_member_that_comes_back_before_the_assignment_makes_the_group_rebalance() {
    let mut bench = Bench::new();
    let (one, two) =
        (bench.join(static_request("", "one"), 9), bench.join(static_request("", "two"), 9));
    bench.pass(INITIAL * 2);
    let waiting = bench.follow(&two.get());
    let back = bench.join(static_request("", "two"), 9);
    assert!(back.is_waiting());
    bench.check_state(State::PreparingRebalance, 1);
    assert_eq!(waiting.get().error_code, ErrorCode::FencedInstanceId);
    let refused = bench.lead(&one.get()).get();
    assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress);
    let one = bench.join(static_request(&one.get().member_id, "one"), 9);
    assert_eq!((one.get().generation_id, back.get().generation_id), (2, 2));
}

#[test]
fn whoever_waits_with_the_old_id_is_fenced() {
    let mut bench = Bench::new();
    let old = bench.join(static_request("", "one"), 9);
    let old_id = bench.ids()[0].clone();
    let new = bench.join(static_request("", "one"), 9);
    let fenced = old.get();
    assert_eq!((fenced.error_code, fenced.member_id), (ErrorCode::FencedInstanceId, old_id));
    assert_eq!(fenced.protocol_name, None);
    bench.pass(INITIAL);
    assert_eq!((new.get().generation_id, new.get().members.len()), (1, 1));
    assert_eq!(new.get().leader, new.get().member_id);
}

#[test]
fn an_id_and_an_instance_must_belong_together() {
    let (mut bench, joined) = stable(&["one", "two"]);
    let one = joined.iter().find(|each| each.member_id.starts_with("one-")).unwrap();
    let errors = |bench: &mut Bench, id: &str, instance: &str| {
        let join = bench.join(static_request(id, instance), 9).get().error_code;
        let sync = SyncGroupRequest {
            member_id: Str::from(id),
            group_instance_id: Some(Str::from(instance)),
            ..sync_request(one)
        };
        let sync = bench.sync(sync).get().error_code;
        let heartbeat = bench.heartbeat_as(id, Some(instance), 1);
        let commit = bench.group.validate_offset_commit(id, Some(instance), 1);
        let leave = bench.leave(&[(id, Some(instance))])[0];
        [join, sync, heartbeat, commit, leave]
    };
    let fenced = errors(&mut bench, &one.member_id, "two");
    assert_eq!(fenced, [ErrorCode::FencedInstanceId; 5]);
    let unknown = errors(&mut bench, &one.member_id, "three");
    assert_eq!(unknown, [ErrorCode::UnknownMemberId; 5]);
    bench.check_state(State::Stable, 1);
}

#[test]
fn an_id_that_was_given_ahead_is_not_a_static_members() {
    let mut bench = Bench::new();
    let id = bench.join(request(""), 9).get().member_id;
    let refused = bench.join(static_request(&id, "one"), 9).get();
    assert_eq!((refused.error_code, refused.member_id), (ErrorCode::UnknownServerError, id));
}

#[test]
fn a_static_member_that_does_not_join_again_stays_until_it_does_not_sync_either() {
    let (mut bench, joined) = stable(&["one", "two"]);
    let (leader, absent) = (&joined[0], &joined[1]);
    let instance = leader.member_id.split('-').next().unwrap();
    let absent_instance = absent.member_id.split('-').next().unwrap();
    let waiting = bench.join(static_request(&leader.member_id, instance), 9);
    let beat = |bench: &mut Bench| {
        bench.pass(Duration::from_secs(5));
        bench.heartbeat_as(&absent.member_id, Some(absent_instance), bench.group.generation());
    };
    (0..12).for_each(|_| beat(&mut bench));
    let again = waiting.get();
    assert_eq!((again.generation_id, again.members.len()), (2, 2), "it is counted in");
    assert_eq!(bench.lead(&again).get().error_code, ErrorCode::None);
    bench.check_state(State::Stable, 2);
    for _ in 0..12 {
        bench.heartbeat_as(&again.member_id, Some(instance), 2);
        beat(&mut bench);
    }
    bench.check_state(State::PreparingRebalance, 2);
    assert_eq!(bench.ids(), [again.member_id], "it has not synced");
}

#[test]
fn a_rebalance_that_nobody_joins_waits_for_sessions_to_end() {
    let (mut bench, joined) = stable(&["one", "two"]);
    let dynamic = bench.join(request(""), 3);
    bench.check_state(State::PreparingRebalance, 1);
    let id = bench.ids().into_iter().find(|id| id.starts_with("client-")).unwrap();
    bench.leave(&[(&id, None)]);
    assert_eq!(dynamic.get().error_code, ErrorCode::UnknownMemberId);
    let beat = |bench: &mut Bench| {
        for each in &joined {
            let instance = each.member_id.split('-').next().unwrap();
            let beat = bench.heartbeat_as(&each.member_id, Some(instance), 1);
            assert_eq!(beat, ErrorCode::RebalanceInProgress);
        }
        bench.pass(Duration::from_secs(5));
    };
    // Longer than the rebalance timeout: they live, so they are not put out, and no generation begins.
    (0..30).for_each(|_| beat(&mut bench));
    bench.check_state(State::PreparingRebalance, 1);
    bench.pass_ms(SESSION_MS);
    bench.check_state(State::Empty, 2);
}

#[test]
fn a_rebalance_timeout_of_nothing_does_not_stop_the_clock() {
    for rebalance_timeout_ms in [0, -1, i32::MIN] {
        let (mut bench, _) = stable(&["one"]);
        let hasty = JoinGroupRequest { rebalance_timeout_ms, ..static_request("", "one") };
        assert_eq!(bench.join(hasty, 9).get().generation_id, 1);
        // Whoever leaves makes the group rebalance, even one that had only been given an id.
        let pending = bench.join(request(""), 9).get().member_id;
        bench.leave(&[(&pending, None)]);
        bench.check_state(State::PreparingRebalance, 1);
        bench.pass_ms(SESSION_MS - 1);
        bench.check_state(State::PreparingRebalance, 1);
        bench.pass_ms(1);
        bench.check_state(State::Empty, 2);
    }
}

#[test]
fn a_static_member_that_came_back_is_the_one_that_has_to_sync() {
    let mut bench = Bench::new();
    let (one, two) =
        (bench.join(static_request("", "one"), 9), bench.join(static_request("", "two"), 9));
    bench.pass(INITIAL * 2);
    let (leader, instance) = match one.get().members.is_empty() {
        true => (two.get(), "one"),
        false => (one.get(), "two"),
    };
    assert_eq!(bench.lead(&leader).get().error_code, ErrorCode::None);
    let back = bench.join(static_request("", instance), 9).get();
    assert_eq!(bench.follow(&back).get().error_code, ErrorCode::None);
    bench.live(&[leader, back], Duration::from_millis(2 * REBALANCE_MS as u64));
    bench.check_state(State::Stable, 1);
}
