//! What can be known of a driver without a broker.

use super::classic::{ranges, subscription};
use super::conduct::Driven;
use super::counts::{Beat, Counts, is_expected};
use super::plan::{Flags, Plan};
use super::report::faults;
use super::track::Track;
use clap::Parser;
use corelog::runtime::Instant;
use corelog::wire::consumer_protocol::ConsumerProtocolSubscription;
use corelog::wire::{ApiKey, ErrorCode, Str};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn plan(flags: &str) -> Result<Plan, String> {
    let line = Line::try_parse_from(format!("groups {flags}").split_whitespace());
    line.map_err(|error| error.to_string())?.flags.check()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(second: u64) -> Instant {
    Instant(second * 1_000_000_000)
}

#[test]
fn the_default_is_what_the_issue_asks_for() {
    let plan = plan("").unwrap();
    assert_eq!((plan.groups, plan.members, plan.topics * plan.partitions), (1000, 3, 10_000));
    assert_eq!((plan.heartbeat, plan.commit), (seconds(3), Some(seconds(5))));
    assert!(plan.storms().is_empty());
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (flags, name) in [
        ("-m 0", "members"),
        ("-p 0", "partitions"),
        ("--storm 1s --storm-members 4", "storm_members"),
        ("-g 1000000", "groups times members"),
        ("--topics 100000 -p 100000", "topics times partitions"),
        ("--storm 0", "storm"),
    ] {
        let refused = plan(flags).unwrap_err();
        assert!(refused.contains(name), "{flags}: {refused}");
    }
}

#[test]
fn storms_come_within_the_measured_time_and_take_turns_among_members() {
    let plan = plan("-d 30s --storm 10s --storm-members 2").unwrap();
    assert_eq!(plan.storms(), [seconds(5), seconds(15), seconds(25)]);
    assert_eq!(plan.restarting(0), [0, 1]);
    assert_eq!(plan.restarting(1), [2, 0]);
    assert_eq!(plan.restarting(2), [1, 2]);
}

#[test]
fn a_ramp_gives_each_member_a_turn_of_its_own() {
    let plan = plan("-g 2 -m 2 --ramp 8s").unwrap();
    let turns: Vec<u64> =
        (0..4).map(|place| plan.turn_of(place / 2, place % 2).as_secs()).collect();
    assert_eq!(turns, [0, 2, 4, 6]);
}

#[test]
fn a_group_is_stable_when_all_members_have_all_partitions_in_one_generation() {
    let mut track = Track::new(2, 4);
    track.disturb(at(1), std::iter::empty());
    assert_eq!(track.hold(0, 1, &[0, 1], at(2)), None);
    assert_eq!(track.hold(1, 1, &[2], at(2)), None);
    assert_eq!(track.hold(1, 2, &[2, 3], at(3)), None);
    assert_eq!(track.hold(0, 2, &[0, 1], at(4)), Some(seconds(3)));
    // It was told once.
    assert_eq!(track.hold(0, 2, &[0, 1], at(5)), None);
    assert!(track.is_stable());
    assert_eq!(track.doubled, 0);
}

#[test]
fn a_storm_is_over_when_who_was_to_go_has_come_again() {
    let mut track = Track::new(2, 2);
    assert_eq!(track.hold(0, 1, &[0], at(0)), None);
    assert_eq!(track.hold(1, 1, &[1], at(0)), None);
    track.disturb(at(10), [1].into_iter());
    assert!(!track.is_stable());
    // A heartbeat of the other in between changes nothing.
    assert_eq!(track.hold(0, 1, &[0], at(11)), None);
    track.give_up(1);
    assert_eq!(track.hold(0, 2, &[0, 1], at(12)), None);
    assert_eq!(track.hold(0, 3, &[0], at(13)), None);
    // A storm that comes before the last is over does not make it shorter.
    track.disturb(at(14), std::iter::empty());
    assert_eq!(track.hold(1, 3, &[1], at(15)), Some(seconds(5)));
}

#[test]
fn two_members_with_one_partition_are_seen() {
    let mut track = Track::new(2, 2);
    track.hold(0, 1, &[0, 1], at(0));
    track.hold(1, 2, &[1], at(0));
    assert_eq!(track.doubled, 1);
    let driven = Driven { doubled: 1, ..Driven::default() };
    assert!(faults(&driven)[0].contains("the same partition"));
}

#[test]
fn only_what_tells_of_rebalances_is_expected() {
    for (api, code, starting, later) in [
        (ApiKey::JoinGroup, ErrorCode::MemberIdRequired, true, true),
        (ApiKey::Heartbeat, ErrorCode::RebalanceInProgress, true, true),
        (ApiKey::OffsetCommit, ErrorCode::StaleMemberEpoch, true, true),
        (ApiKey::JoinGroup, ErrorCode::NotCoordinator, true, false),
        (ApiKey::Heartbeat, ErrorCode::UnknownMemberId, false, false),
        (ApiKey::ConsumerGroupHeartbeat, ErrorCode::FencedMemberEpoch, false, false),
        (ApiKey::LeaveGroup, ErrorCode::RebalanceInProgress, false, false),
    ] {
        assert_eq!(is_expected(api, code, true), starting, "{api} {code} at the start");
        assert_eq!(is_expected(api, code, false), later, "{api} {code}");
    }
}

#[test]
fn a_fault_makes_a_run_invalid_and_names_the_first() {
    let mut counts = Counts::default();
    counts.answer(ApiKey::Heartbeat, ErrorCode::None, false);
    counts.answer(ApiKey::Heartbeat, ErrorCode::RebalanceInProgress, false);
    assert_eq!(faults(&Driven { counts, ..Driven::default() }), Vec::<String>::new());
    let mut counts = Counts::default();
    counts.answer(ApiKey::Heartbeat, ErrorCode::UnknownMemberId, false);
    counts.answer(ApiKey::LeaveGroup, ErrorCode::UnknownServerError, false);
    let told = faults(&Driven { counts, ..Driven::default() });
    assert_eq!(
        told,
        ["2 faults measured, the first: Heartbeat was answered with UNKNOWN_MEMBER_ID"]
    );
}

#[test]
fn a_driver_that_acts_late_says_so() {
    let mut counts = Counts::default();
    (0..100).for_each(|_| counts.heartbeat.record(5_000_000));
    (0..100).for_each(|_| counts.lateness.record(900_000));
    let lateness = counts.lateness.clone();
    assert_eq!(faults(&Driven { counts, ..Driven::default() }), Vec::<String>::new());
    let mut counts = Counts { lateness, ..Counts::default() };
    (0..100).for_each(|_| counts.heartbeat.record(5_000_000));
    (0..2).for_each(|_| counts.lateness.record(30_000_000));
    assert!(faults(&Driven { counts, ..Driven::default() })[0].contains("the driver fell behind"));
}

#[test]
fn a_subscription_is_read_by_who_reads_them() {
    let topic = Str::from_static("orders");
    let (version, read) =
        ConsumerProtocolSubscription::from_metadata(subscription(&topic)).unwrap();
    assert_eq!((version, read.topics), (3, vec![topic]));
}

proptest! {
    #[test]
    fn ranges_deal_out_each_partition_once_and_evenly(partitions in 0usize..200, members in 1usize..20) {
        let dealt = ranges(partitions, members);
        let all: Vec<i32> = dealt.iter().flatten().copied().collect();
        prop_assert_eq!(all, (0..partitions as i32).collect::<Vec<i32>>());
        let lengths = || dealt.iter().map(Vec::len);
        prop_assert_eq!(dealt.len(), members);
        prop_assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
    }

    #[test]
    fn moments_that_were_missed_are_left_out_and_the_grid_stays(due in 0u64..1000, every in 1u64..50, now in 0u64..1000) {
        let mut beat = Beat { due: Instant(due), every: Duration::from_nanos(every) };
        beat.skip_to(Instant(now));
        prop_assert!(beat.due.0 >= now.min(due));
        prop_assert!(beat.due >= Instant(now) && (beat.due.0 < now + every || beat.due.0 == due));
        prop_assert_eq!((beat.due.0 - due) % every, 0);
    }
}
