"""FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup: the classic protocol."""

import time

from oracle_cases.asker import ERRORS, PREFIX, case
from oracle_cases.grouping import Classic, Names, both, group_of, versions


def code(number):
    return f"{number} {ERRORS[number]}"


@case
def find_coordinator(a):
    names, one, two = Names(a), group_of(a, "g1"), group_of(a, "g2")

    def ask(version, key_type=0, keys=None, key=""):
        fields = {"key_type": key_type} if version else {}
        fields |= {"coordinator_keys": keys} if version >= 4 else {"key": key}
        return names.tidy(a.attempt("FindCoordinator", version, **fields))

    out = {f"v{v}": ask(v, 0, [one], one) for v in versions("FindCoordinator")}
    out["two and one again"] = ask(4, 0, [one, two, one])
    out["none"] = ask(4, 0, [])
    out["v0 empty"] = ask(0)
    out["v4 empty"] = ask(4, 0, [""])
    out["v3 key type 9"] = ask(3, 9, key="x")
    out["v6 key type 9"] = ask(6, 9, ["x"])
    out["v6 key type -1"] = ask(6, -1, ["x"])
    out["v5 share"] = ask(5, 2, [f"{one}:AAAAAAAAAAAAAAAAAAAAAA:0"])
    out["v6 share, no such key"] = ask(6, 2, [one])
    return out


@case
def join_group_versions(a):
    out = {}
    for v in versions("JoinGroup"):
        names = Names(a)
        m = Classic(a, names, group_of(a), version=v)
        out[f"v{v}"] = [m.join()]
        if v >= 4:
            out[f"v{v}"].append(m.join())
        sync = min(v, 5)
        out[f"v{v}"] += [m.sync({m: b"all"}, sync), m.beat(min(v, 4)), m.sync(version=sync)]
    return out


@case
def join_group_refused(a):
    names, group = Names(a), group_of(a)

    def ask(version=9, of=None, **other):
        m = Classic(a, Names(a), group if of is None else of, version=version)
        answer = m.join(**other)
        return answer

    out = {
        "no group": ask(of=""),
        "no group, v0": ask(0, of=""),
        "session 0": ask(session_timeout_ms=0),
        "session 500": ask(session_timeout_ms=500),
        "session 1800001": ask(session_timeout_ms=1_800_001),
        "session -1, v3": ask(3, session_timeout_ms=-1),
        "unknown member, no group": ask(member_id="nobody"),
        "unknown member, no group, v3": ask(3, member_id="nobody"),
        "no protocols": ask(protocols=[]),
        "no protocols, v2": ask(2, protocols=[]),
        "no protocol type": ask(protocol_type=""),
        "no protocol type, v2": ask(2, protocol_type=""),
        "unknown instance with a member id": ask(member_id="nobody", group_instance_id="i"),
    }
    first = Classic(a, names, group).lead()
    out |= {
        "unknown member": ask(member_id="nobody"),
        "other protocol type": ask(3, protocol_type="connect"),
        "no protocol in common": ask(3, protocols=[{"name": "roundrobin", "metadata": b"m"}]),
        "no protocol in common, v4": ask(4, protocols=[{"name": "roundrobin", "metadata": b"m"}]),
        "no protocols, group": ask(3, protocols=[]),
        "member of another instance": ask(member_id=first.id, group_instance_id="i9"),
        "an empty protocol name": ask(3, protocols=[{"name": "", "metadata": b""}], of=group_of(a, "empty")),
        "rebalance timeout -1": ask(3, rebalance_timeout_ms=-1, of=group_of(a, "minus")),
        "rebalance timeout 0": ask(3, rebalance_timeout_ms=0, of=group_of(a, "zero")),
        "as before": first.beat(),
    }
    return out


@case
def join_group_pending_members(a):
    names, group = Names(a), group_of(a)
    pending = Classic(a, names, group)
    out = {"told an id": pending.join()}
    out["heartbeat"] = code(pending.beat(generation_id=-1))
    out["sync"] = pending.sync(generation_id=-1)
    out["empty group, described"] = names.tidy(a.call("DescribeGroups", 5, groups=[group]))
    out["commit"] = a.call(
        "OffsetCommit", 8, group_id=group, generation_id_or_member_epoch=-1, member_id=pending.id,
        topics=[{"name": a.topic(), "partitions": [{"partition_index": 0, "committed_offset": 1}]}],
    )["topics"][0]["partitions"]
    leave = lambda m, v=5: names.tidy(a.call("LeaveGroup", v, group_id=group, members=[{"member_id": m}]))
    out["leaves"] = leave(pending.id)
    out["leaves again"] = leave(pending.id)
    out["joins, having left"] = pending.join()
    return out


@case
def join_group_two_members(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1").lead()
    second = Classic(a, names, group, "m2", protocols=(("sticky", b"s"), ("range", b"of m2")))
    out = {"both": both(first, second)}
    out["heartbeat before sync"] = [code(m.beat()) for m in (first, second)]
    second.start_sync()
    out["leader syncs"] = first.sync({first: b"one", second: b"two"})
    out["follower has"] = second.finish_sync()
    out["follower joins again, same"] = second.join()
    out["generation"] = second.generation
    out["sync again"] = [m.sync() for m in (first, second)]
    out["heartbeats"] = [code(m.beat()) for m in (first, second)]
    first.start()  # The leader joins again: that is a rebalance.
    time.sleep(0.3)
    out["follower in a rebalance"] = code(second.beat())
    out["follower syncs in a rebalance"] = second.sync()
    second.start()
    out["leader's rebalance"] = [first.finish(), second.finish()]
    out["old generation"] = code(second.beat(generation_id=1))
    second.start_sync()
    first.start_sync({first: b"ONE"})
    out["one assignment missing"] = [first.finish_sync(), second.finish_sync()]
    out["described"] = names.tidy(a.call("DescribeGroups", 6, groups=[group]))
    return out


@case
def join_group_changed_metadata(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1").lead()
    second = Classic(a, names, group, "m2")
    both(first, second)
    second.start_sync()
    first.sync({first: b"one", second: b"two"})
    second.finish_sync()
    second.protocols = (("range", b"changed"),)
    second.start()
    time.sleep(0.3)
    out = {"leader": code(first.beat())}
    first.start()
    out["both"] = [first.finish(), second.finish()]
    return out


@case
def join_group_protocol_by_vote(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1", protocols=(("x", b"1x"), ("y", b"1y"), ("z", b"1z"))).lead()
    second = Classic(a, names, group, "m2", protocols=(("y", b"2y"), ("x", b"2x")))
    out = {"two": both(first, second)}
    return out


@case
def sync_group_refused(a):
    names, group = Names(a), group_of(a)
    m = Classic(a, names, group)
    out = {
        "no group": m.sync(group_id=""),
        "no group, v0": m.sync(version=0, group_id=""),
        "unknown group": m.sync(member_id="nobody", generation_id=1),
        "no protocol": m.sync(member_id="nobody", protocol_type=None, protocol_name=None),
    }
    assert m.enter()["error_code"] == 0
    out |= {
        "other generation, before": m.sync(generation_id=7),
        "other protocol": m.sync(protocol_name="roundrobin"),
        "other type": m.sync(protocol_type="connect"),
        "only a name": m.sync({m: b"all"}, protocol_type=None),
        "unknown member": m.sync(member_id="nobody"),
        "an instance": m.sync(group_instance_id="i"),
        "right": m.sync({m: b"all"}),
        "other generation": m.sync(generation_id=7),
        "generation -1": m.sync(generation_id=-1),
        "other protocol, stable": m.sync(protocol_name="roundrobin"),
        "v4 without": m.sync(version=4),
        "again, other assignment": m.sync({m: b"other"}),
    }
    return out


@case
def sync_group_of_the_leader_alone(a):
    names, group = Names(a), group_of(a)
    m = Classic(a, names, group)
    m.enter()
    return {"empty": m.sync(), "then": m.sync({m: b"all"}), "heartbeat": code(m.beat())}


@case
def heartbeat_versions_and_refusals(a):
    names, group = Names(a), group_of(a)
    m = Classic(a, names, group)
    out = {
        "no group": code(m.beat(group_id="")),
        "unknown group": code(m.beat(generation_id=0, member_id="nobody")),
        "unknown group, no member": code(m.beat(generation_id=-1, member_id="")),
    }
    m.lead()
    out |= {f"v{v}": code(m.beat(v)) for v in versions("Heartbeat")}
    out |= {
        "unknown member": code(m.beat(member_id="nobody")),
        "no member": code(m.beat(member_id="")),
        "generation before": code(m.beat(generation_id=0)),
        "generation to come": code(m.beat(generation_id=2)),
        "an instance": code(m.beat(group_instance_id="i")),
    }
    return out


@case
def leave_group_versions(a):
    out = {}
    for v in versions("LeaveGroup"):
        names, group = Names(a), group_of(a)
        m = Classic(a, names, group).lead()
        who = {"members": [{"member_id": m.id}]} if v >= 3 else {"member_id": m.id}
        ask = lambda **f: names.tidy(a.attempt("LeaveGroup", v, **{"group_id": group, **who, **f}))
        nobody = {"members": [{"member_id": "nobody"}]} if v >= 3 else {"member_id": "nobody"}
        out[f"v{v}"] = {
            "no group": ask(group_id=""), "unknown group": ask(group_id=PREFIX + "none"), "unknown member": ask(**nobody),
            "leaves": ask(), "again": ask(), "heartbeat": code(m.beat()),
            "described": names.tidy(a.call("DescribeGroups", 5, groups=[group])),
        }
    return out


@case
def leave_group_several(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1", instance="i1").lead()
    second = Classic(a, names, group, "m2", instance="i2")
    both(first, second)
    second.start_sync()
    first.sync({first: b"one", second: b"two"})
    second.finish_sync()
    ask = lambda *members, version=5: names.tidy(
        a.attempt("LeaveGroup", version, group_id=group, members=[{"member_id": m, "group_instance_id": i} for m, i in members])
    )
    return {
        "none": ask(),
        "nobody": ask(("", None)),
        "unknown instance": ask(("", "i9")),
        "wrong member of an instance": ask(("nobody", "i1")),
        "another's id": ask((second.id, "i1")),
        "still there": [code(first.beat()), code(second.beat())],
        "by instance, and an unknown one": ask(("", "i1"), ("", "i9"), ("nobody", None)),
        "the other": code(second.beat()),
        "by both": ask((second.id, "i2")),
        "twice": ask((second.id, "i2"), (second.id, "i2")),
        "described": names.tidy(a.call("DescribeGroups", 5, groups=[group])),
    }


@case
def static_members_of_classic_groups(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1", instance="i1")
    out = {"joins": first.join()}
    out["syncs"] = first.sync({first: b"all"})
    old = first.id
    out["wrong member id"] = first.join(member_id="nobody")
    out["heartbeat, wrong id"] = code(first.beat(member_id="nobody"))
    out["heartbeat, unknown instance"] = code(first.beat(group_instance_id="i9"))
    # A new process takes its place.
    again = Classic(a, names, group, "m2", instance="i1")
    out["joins anew"] = again.join()
    out["the old one"] = {
        "heartbeat": code(first.beat()),
        "sync": first.sync(),
        "join": first.join(member_id=old),
        "leave": names.tidy(a.call("LeaveGroup", 5, group_id=group, members=[{"member_id": old, "group_instance_id": "i1"}])),
        "commit": a.call(
            "OffsetCommit", 8, group_id=group, generation_id_or_member_epoch=1, member_id=old, group_instance_id="i1",
            topics=[{"name": a.topic(), "partitions": [{"partition_index": 0, "committed_offset": 1}]}],
        )["topics"][0]["partitions"],
    }
    out["the new one"] = {"heartbeat": code(again.beat()), "sync": again.sync()}
    out["described"] = names.tidy(a.call("DescribeGroups", 5, groups=[group]))
    older = Classic(a, names, group, "m3", instance="i1", version=8)
    out["joins anew, v8"] = older.join()
    out["its sync"] = older.sync()
    changed = Classic(a, names, group, "m4", instance="i1", protocols=(("range", b"changed"),))
    out["joins anew with other metadata"] = changed.join()
    return out


@case
def static_member_joins_anew_beside_another(a):
    names, group = Names(a), group_of(a)
    first = Classic(a, names, group, "m1", instance="i1").lead()
    second = Classic(a, names, group, "m2", instance="i2")
    both(first, second)
    second.start_sync()
    first.sync({first: b"one", second: b"two"})
    second.finish_sync()
    follower = Classic(a, names, group, "m3", instance="i2")
    out = {"follower": follower.join(), "its sync": follower.sync(), "leader": code(first.beat())}
    leader = Classic(a, names, group, "m4", instance="i1")
    out["leader anew"] = leader.join()
    out["its own sync"] = leader.sync()
    out["follower then"] = code(follower.beat())
    return out
