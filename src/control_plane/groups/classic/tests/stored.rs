//! What is in the log, and what a group is that comes from there.

use super::record::{decode_value, encode_value, value_bytes};
use super::*;
use crate::wire::WireError;
use crate::wire::group_metadata::{GroupMetadataMember, GroupMetadataValue};

fn bytes_of(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// By Kafka 4.3.1's own GroupMetadataValue, in its versions 0 to 4.
const GOLDEN: [&str; 5] = [
    "00000008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d3100016300092f31302e\
     302e302e310000afc8000000020001000000010200036d2d32000000042f3a3a3100001770000000000000\
     0000",
    "00010008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d3100016300092f31302e\
     302e302e31000493e00000afc8000000020001000000010200036d2d32000000042f3a3a31000000010000\
     17700000000000000000",
    "00020008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d3100\
     016300092f31302e302e302e31000493e00000afc8000000020001000000010200036d2d32000000042f3a\
     3a3100000001000017700000000000000000",
    "00030008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d3100\
     016900016300092f31302e302e302e31000493e00000afc8000000020001000000010200036d2d32ffff00\
     0000042f3a3a3100000001000017700000000000000000",
    "000409636f6e73756d6572000000070672616e6765046d2d310000018bcfe5680003046d2d31026902630a2f3130\
     2e302e302e31000493e00000afc8030001020200046d2d320001052f3a3a31000000010000177001010000",
];

/// What the golden bytes of this version say.
fn golden(version: usize) -> GroupMetadataValue {
    let rebalance = |timeout| if version >= 1 { timeout } else { -1 };
    let first = GroupMetadataMember {
        member_id: Str::from("m-1"),
        group_instance_id: (version >= 3).then(|| Str::from("i")),
        client_id: Str::from("c"),
        client_host: Str::from("/10.0.0.1"),
        rebalance_timeout: rebalance(300_000),
        session_timeout: 45_000,
        subscription: Bytes::from_static(&[0, 1]),
        assignment: Bytes::from_static(&[2]),
    };
    let second = GroupMetadataMember {
        member_id: Str::from("m-2"),
        client_host: Str::from("/::1"),
        rebalance_timeout: rebalance(1),
        session_timeout: 6_000,
        ..Default::default()
    };
    GroupMetadataValue {
        protocol_type: Str::from("consumer"),
        generation: 7,
        protocol: Some(Str::from("range")),
        leader: Some(Str::from("m-1")),
        current_state_timestamp: if version >= 2 { WALL } else { -1 },
        members: vec![first, second],
    }
}

#[test]
fn values_of_every_version_read_as_kafka_writes_them() {
    for (version, hex) in GOLDEN.iter().enumerate() {
        let bytes = bytes_of(hex);
        assert_eq!(decode_value(bytes.clone()), Ok(golden(version)), "version {version}");
        let mut e = crate::wire::Encoder::new();
        e.write_i16(version as i16);
        golden(version).encode(&mut e, version as i16);
        assert_eq!(e.out.freeze(), bytes, "version {version}");
    }
}

#[test]
fn version_3_is_written_and_its_size_known_before() {
    for value in [golden(3), GroupMetadataValue::default()] {
        let bytes = encode_value(&value);
        assert_eq!(bytes.len(), value_bytes(&value));
        assert_eq!(decode_value(bytes), Ok(value));
    }
    assert_eq!(encode_value(&golden(3)), bytes_of(GOLDEN[3]));
    let empty = GroupMetadataValue { current_state_timestamp: 5, ..Default::default() };
    let kafkas = "0003000000000000ffffffff000000000000000500000000";
    assert_eq!(encode_value(&empty), bytes_of(kafkas));
}

#[test]
fn bytes_that_are_no_value_are_an_error() {
    let whole = bytes_of(GOLDEN[3]);
    for end in 0..whole.len() {
        assert!(decode_value(whole.slice(..end)).is_err(), "{end} bytes");
    }
    let of_version = |version: i16| -> Result<ClassicGroupValue, WireError> {
        let mut bytes = whole.to_vec();
        bytes[..2].copy_from_slice(&version.to_be_bytes());
        decode_value(bytes.into())
    };
    assert!(of_version(-1).is_err() && of_version(5).is_err());
}

#[test]
fn a_group_is_in_the_log_from_its_first_join_on() {
    for version in [3, 9] {
        let mut bench = Bench::new();
        assert_eq!(bench.group.value(), None);
        bench.pass(Duration::from_secs(1));
        bench.join(request(""), version);
        let first = ClassicGroupValue { current_state_timestamp: WALL, ..Default::default() };
        let first = match version {
            // The state of a group that somebody waits to join is a second old.
            3 => ClassicGroupValue { current_state_timestamp: WALL + 1000, ..first },
            _ => first,
        };
        assert_eq!(bench.log, [Some(first.clone())]);
        assert_eq!(bench.group.value(), Some(first));
        bench.join(request(""), version);
        assert_eq!(bench.log.len(), 1);
    }
    let mut bench = Bench::new();
    bench.is_slow = true;
    let asked = bench.join(request(""), 9);
    assert!(asked.is_waiting(), "the answer waits for the record");
    bench.release();
    assert_eq!(asked.get().error_code, ErrorCode::MemberIdRequired);
}

#[test]
fn one_record_is_written_for_each_generation_when_its_leader_syncs() {
    let (mut bench, joined) = Bench::stable(2);
    assert_eq!(bench.log.len(), 2);
    let stored = bench.log[1].clone().unwrap();
    assert_eq!((stored.generation, &*stored.protocol_type), (1, "consumer"));
    assert_eq!(stored.protocol, Some(Str::from("range")));
    assert_eq!(stored.leader, Some(joined[0].leader.clone()));
    let at = stored.current_state_timestamp - WALL;
    assert_eq!(at, 2 * INITIAL.as_millis() as i64, "when the join phase ended");
    for member in &stored.members {
        assert_eq!(member.subscription, &b"metadata"[..]);
        assert_eq!(member.assignment, assignment(1, &member.member_id));
        assert_eq!((member.session_timeout, member.rebalance_timeout), (SESSION_MS, REBALANCE_MS));
        assert_eq!((&*member.client_id, &*member.client_host), ("client", "/10.0.0.1"));
    }
    bench.join(request(&joined[0].member_id), 9);
    assert_eq!(bench.log.len(), 2, "a rebalance that has begun is not stored");
    assert_eq!(bench.group.value(), Some(stored), "copied forward, the log says what it said");
}

/// All that clients can see of a stable group.
fn shown(group: &ClassicGroup) -> impl PartialEq + std::fmt::Debug {
    (
        (group.describe(), group.generation(), group.leader().cloned()),
        (group.value(), group.protocol_type().to_string(), group.offsets_expire()),
    )
}

#[test]
fn a_group_from_the_log_is_the_group_that_was_stored() {
    let mut bench = Bench::new();
    let waiting = vec![bench.join(static_request("", "one"), 9), bench.join(request(""), 3)];
    let joined = bench.settle(waiting);
    let bytes = encode_value(bench.log.last().unwrap().as_ref().unwrap());
    let value = decode_value(bytes).unwrap();
    let loaded = ClassicGroup::from_value(Str::from(GROUP), &value);
    assert_eq!(shown(&loaded), shown(&bench.group));
    bench.timers = Timers::default();
    bench.group = loaded;
    bench.turn(|group, turn| group.on_loaded(turn));
    for each in &joined {
        assert_eq!(bench.heartbeat(&each.member_id, 1), ErrorCode::None);
        let expected = assignment(1, &each.member_id);
        assert_eq!(bench.follow(each).get().assignment, expected);
    }
    assert!(bench.group.members().static_id("one").is_some());
    bench.pass_ms(SESSION_MS);
    bench.check_state(State::Empty, 2);

    let empty = ClassicGroup::from_value(Str::from(GROUP), &bench.group.value().unwrap());
    assert_eq!(shown(&empty), shown(&bench.group));
    assert_eq!(empty.state(), State::Empty);
}

#[test]
fn a_crash_in_a_rebalance_brings_the_generation_before_back() {
    let (mut bench, joined) = Bench::stable(2);
    bench.join(request(&joined[0].member_id), 9);
    bench.join(request(&joined[1].member_id), 9);
    bench.check_state(State::CompletingRebalance, 2);
    bench.group = ClassicGroup::from_value(Str::from(GROUP), &bench.group.value().unwrap());
    bench.timers = Timers::default();
    bench.turn(|group, turn| group.on_loaded(turn));
    bench.check_state(State::Stable, 1);
    for each in &joined {
        assert_eq!(bench.heartbeat(&each.member_id, 2), ErrorCode::IllegalGeneration);
    }
    let again = joined.iter().map(|each| {
        let changed = vec![protocol("range", b"other")];
        bench.join(JoinGroupRequest { protocols: changed, ..request(&each.member_id) }, 9)
    });
    let again = again.collect();
    assert_eq!(bench.settle(again)[0].generation_id, 2);
}

#[test]
fn a_loaded_value_of_an_old_version_has_its_session_timeout_as_rebalance_timeout() {
    let value = decode_value(bytes_of(GOLDEN[0])).unwrap();
    let loaded = ClassicGroup::from_value(Str::from(GROUP), &value);
    let timeouts = |id: &str| loaded.members().get(id).unwrap().rebalance_timeout_ms;
    assert_eq!((timeouts("m-1"), timeouts("m-2")), (45_000, 6_000));
}

#[test]
fn a_strange_value_makes_a_group_that_goes_on() {
    let member = |id: &str, instance: Option<&str>| GroupMetadataMember {
        member_id: Str::from(id),
        group_instance_id: instance.map(Str::from),
        session_timeout: -5,
        ..Default::default()
    };
    let value = GroupMetadataValue {
        generation: i32::MAX,
        protocol_type: Str::default(),
        members: vec![member("a", Some("one")), member("b", Some("one")), member("a", None)],
        leader: Some(Str::from("nobody")),
        ..Default::default()
    };
    let mut bench = Bench::new();
    bench.group = ClassicGroup::from_value(Str::from(GROUP), &value);
    bench.turn(|group, turn| group.on_loaded(turn));
    bench.pass(Duration::from_secs(1));
    bench.check_state(State::Empty, 0);
    let (_, waiting) = bench.come();
    assert_eq!(bench.settle(vec![waiting])[0].generation_id, 1);
}

#[test]
fn a_group_of_the_new_protocol_becomes_a_stable_classic_one() {
    let (mut bench, _) = Bench::stable(2);
    let members: Vec<Member> = bench.group.members().iter().cloned().collect();
    let ids = bench.ids();
    bench.timers = Timers::default();
    bench.turn(|group, turn| {
        *group = ClassicGroup::converted(Str::from(GROUP), 9, members, turn);
    });
    bench.check_state(State::Stable, 9);
    let stored = bench.log.last().unwrap().clone().unwrap();
    assert_eq!((stored.generation, stored.members.len()), (9, 2));
    assert_eq!(stored.members[0].assignment, assignment(1, &ids[0]));
    assert_eq!(bench.heartbeat(&ids[0], 9), ErrorCode::None);
    bench.pass_ms(SESSION_MS);
    bench.check_state(State::Empty, 10);
}
