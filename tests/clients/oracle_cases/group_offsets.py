"""OffsetCommit, OffsetFetch, OffsetDelete."""

from kafka_wire import batch

from oracle_cases.asker import PREFIX, UNKNOWN_ID, ZERO, case
from oracle_cases.grouping import Classic, Consumer, Names, group_of, settled, versions


def where(a, topic, version, first_id):
    return {"topic_id": a.made.get(topic, UNKNOWN_ID)} if version >= first_id else {"name": topic}


def commit(a, group, asked, version=9, generation=-1, member="", **other):
    """asked: {topic: {partition: offset, or the fields of one}}"""
    fields = {
        "group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
        "topics": [
            {**where(a, name, version, 10), "partitions": [
                {"partition_index": p, **(o if isinstance(o, dict) else {"committed_offset": o})} for p, o in of.items()]}
            for name, of in asked.items()
        ],
    }
    return Names(a).tidy(a.attempt("OffsetCommit", version, **{**fields, **other}))


def codes(answer):
    return answer if isinstance(answer, str) else [[p["error_code"] for p in t["partitions"]] for t in answer["topics"]]


def fetch(a, group, topics, version=9, **other):
    """topics: {name: partitions}, or None for all"""
    asked = topics
    if topics is not None:
        asked = [{**where(a, n, version, 10), "partition_indexes": list(of)} for n, of in topics.items()]
    if version >= 8:
        one = {k: other.pop(k) for k in ("member_id", "member_epoch") if k in other}
        fields = {"groups": [{"group_id": group, "topics": asked, **one}]}
    else:
        fields = {"group_id": group, "topics": asked}
    return Names(a).tidy(a.attempt("OffsetFetch", version, **{**fields, **other}))


@case
def offset_commit_versions(a):
    topic, out = a.topic("t", 2), {}
    for v in versions("OffsetCommit"):
        group = group_of(a)
        epoch = {"committed_leader_epoch": 0} if v >= 6 else {}
        out[f"v{v}"] = commit(a, group, {topic: {0: {"committed_offset": v, "committed_metadata": f"m{v}", **epoch}, 1: 5}}, v)
        out[f"v{v} has"] = fetch(a, group, {topic: [0, 1]}, 9)
    return out


@case
def offset_commit_refused(a):
    topic, group = a.topic("t", 1), group_of(a)
    text = lambda n: {"committed_offset": 1, "committed_metadata": "x" * n}
    out = {
        "no group name": commit(a, "", {topic: {0: 1}}),
        "unknown topic": commit(a, group, {PREFIX + "none": {0: 1}, topic: {0: 1}}),
        "unknown topic id": commit(a, group, {PREFIX + "none": {0: 1}, topic: {0: 1}}, 10),
        "id of zero": commit(a, group, {}, 10, topics=[{"topic_id": ZERO, "partitions": [{"partition_index": 0, "committed_offset": 1}]}]),
        "a bad name": commit(a, group, {"a/b": {0: 1}}),
        "unknown partition": commit(a, group, {topic: {0: 1, 9: 1, -1: 1}}),
        "metadata of 4096": commit(a, group, {topic: {0: text(4096)}}),
        "metadata of 4097": commit(a, group, {topic: {0: text(4097)}}),
        "offset -1": commit(a, group, {topic: {0: -1}}),
        "offset -5": commit(a, group, {topic: {0: -5}}),
        "has": fetch(a, group, {topic: [0]}),
        "no topics": commit(a, group, {}),
        "member, no members": commit(a, group, {topic: {0: 2}}, 9, 1, "nobody"),
        "generation alone, no members": commit(a, group, {topic: {0: 2}}, 9, 1),
        "member alone, no members": commit(a, group, {topic: {0: 2}}, 9, -1, "nobody"),
        "instance alone": commit(a, group, {topic: {0: 2}}, 9, -1, "", group_instance_id="i"),
        "no group yet, generation": commit(a, group_of(a, "new"), {topic: {0: 2}}, 9, 1, "nobody"),
        "retention": commit(a, group, {topic: {0: 3}}, 3, retention_time_ms=1),
    }
    return out


@case
def offset_commit_of_a_classic_member(a):
    topic, names, group = a.topic("t", 1), Names(a), group_of(a)
    m = Classic(a, names, group)
    m.enter()
    out = {"before sync": commit(a, group, {topic: {0: 1}}, 9, m.generation, m.id)}
    m.sync({m: b"all"})
    for v in versions("OffsetCommit"):
        out[f"v{v}"] = {
            "right": commit(a, group, {topic: {0: v}}, v, m.generation, m.id),
            "old generation": codes(commit(a, group, {topic: {0: 1}}, v, 0, m.id)),
            "generation to come": codes(commit(a, group, {topic: {0: 1}}, v, 9, m.id)),
            "unknown member": codes(commit(a, group, {topic: {0: 1}}, v, m.generation, "nobody")),
            "nobody": codes(commit(a, group, {topic: {0: 1}}, v)),
            "generation alone": codes(commit(a, group, {topic: {0: 1}}, v, m.generation)),
        }
    out["wrong instance"] = commit(a, group, {topic: {0: 1}}, 9, m.generation, m.id, group_instance_id="i")
    out["unknown topic too"] = commit(a, group, {PREFIX + "none": {0: 1}, topic: {0: 1}}, 9, 7, m.id)
    out["has"] = fetch(a, group, {topic: [0]})
    return out


@case
def offset_commit_of_a_consumer(a):
    topic, names, group = a.topic("t", 2), Names(a), group_of(a)
    m = Consumer(a, names, group)
    m.join([topic])
    out = {"member": settled([m], 2)}
    for v in versions("OffsetCommit"):
        out[f"v{v}"] = {
            "right": commit(a, group, {topic: {0: v}}, v, m.epoch, m.id),
            "old epoch": codes(commit(a, group, {topic: {0: 1}}, v, m.epoch - 1, m.id)),
            "epoch to come": codes(commit(a, group, {topic: {0: 1}}, v, m.epoch + 1, m.id)),
            "unknown member": codes(commit(a, group, {topic: {0: 1}}, v, m.epoch, "nobody")),
            "nobody": codes(commit(a, group, {topic: {0: 1}}, v)),
            "no member": codes(commit(a, group, {topic: {0: 1}}, v, m.epoch)),
        }
    for v in (9, 10):
        ask = lambda **f: fetch(a, group, {topic: [0, 1]}, v, **f)
        out[f"fetch v{v}"] = {
            "right": ask(member_id=m.id, member_epoch=m.epoch), "old": ask(member_id=m.id, member_epoch=m.epoch - 1),
            "to come": ask(member_id=m.id, member_epoch=m.epoch + 1), "unknown": ask(member_id="nobody", member_epoch=m.epoch),
            "epoch alone": ask(member_epoch=m.epoch), "member alone": ask(member_id=m.id), "nobody": ask(),
        }
    return out


@case
def offset_fetch_versions(a):
    topic, other, group = a.topic("t", 3), a.topic("u", 1), group_of(a)
    commit(a, group, {topic: {0: {"committed_offset": 7, "committed_metadata": "seven", "committed_leader_epoch": 3}, 2: 0}, other: {0: 9}})
    out = {}
    for v in versions("OffsetFetch"):
        ask = lambda topics, of=group, **f: fetch(a, of, topics, v, **f)
        out[f"v{v}"] = {
            "some": ask({topic: [0, 1, 2], other: [0]}),
            "unknown partition": ask({topic: [9, -1]}),
            "unknown topic": ask({PREFIX + "none": [0]}),
            "no topics": ask({}),
            "no partitions": ask({topic: []}),
            "a partition twice": ask({topic: [0, 0]}),
            "unknown group": ask({topic: [0]}, PREFIX + "none"),
            "no group name": ask({topic: [0]}, ""),
        }
        if v >= 2:
            out[f"v{v}"] |= {"all": ask(None), "all of an unknown group": ask(None, PREFIX + "none")}
        if v >= 7:
            out[f"v{v}"]["stable"] = ask({topic: [0]}, require_stable=True)
    return out


@case
def offset_fetch_several_groups(a):
    topic, one, two = a.topic("t", 1), group_of(a, "g1"), group_of(a, "g2")
    commit(a, one, {topic: {0: 1}})
    commit(a, two, {topic: {0: 2}})
    out = {}
    for v in (8, 9, 10):
        part = [{**where(a, topic, v, 10), "partition_indexes": [0]}]
        ask = lambda *groups: Names(a).tidy(a.attempt("OffsetFetch", v, groups=[{"group_id": g, "topics": t} for g, t in groups]))
        out[f"v{v}"] = {
            "two": ask((one, part), (two, None)),
            "one twice": ask((one, part), (one, None)),
            "an unknown one too": ask((one, part), (PREFIX + "none", part)),
            "none": ask(),
            "no name": ask(("", part), (one, part)),
        }
    return out


@case
def offset_fetch_by_id_of_deleted_and_unknown_topics(a):
    topic, gone, group = a.topic("t", 1), a.topic("x", 1), group_of(a)
    commit(a, group, {topic: {0: 1}, gone: {0: 2}})
    ask = lambda i: Names(a).tidy(a.attempt("OffsetFetch", 10, groups=[{"group_id": group, "topics": [{"topic_id": i, "partition_indexes": [0, 5]}]}]))
    return {"known": ask(a.made[topic]), "unknown": ask(UNKNOWN_ID), "zero": ask(ZERO)}


@case
def offset_delete(a):
    topic, other, names, group = a.topic("t", 2), a.topic("u", 1), Names(a), group_of(a)
    a.produce(topic, batch([b"x"]))
    ask = lambda topics, of=group: a.attempt(
        "OffsetDelete", 0, group_id=of,
        topics=[{"name": n, "partitions": [{"partition_index": p} for p in ps]} for n, ps in topics.items()])
    out = {"unknown group": ask({topic: [0]}, PREFIX + "none"), "no group name": ask({topic: [0]}, "")}
    commit(a, group, {topic: {0: 1, 1: 2}, other: {0: 3}})
    out |= {
        "one": ask({topic: [0]}), "again": ask({topic: [0]}), "unknown partition": ask({topic: [9]}), "unknown topic": ask({PREFIX + "none": [0]}),
        "nothing": ask({}), "no partitions": ask({topic: []}), "left": fetch(a, group, None),
    }
    # A member's subscription, as consumers write it.
    text = other.encode()
    subscription = b"\0\0" + (1).to_bytes(4, "big") + len(text).to_bytes(2, "big") + text + (0xFFFFFFFF).to_bytes(4, "big")
    m = Classic(a, names, group, protocols=(("range", subscription),)).lead()
    out |= {"subscribed": ask({other: [0], topic: [1]}), "left then": fetch(a, group, None)}
    typed = group_of(a, "typed")
    commit(a, typed, {topic: {0: 1}})
    c = Classic(a, names, typed, protocols=(("x", b"whatever"),))
    c.enter(protocol_type="connect")
    c.sync({c: b""}, protocol_type="connect", protocol_name="x")
    out["members that are no consumers"] = [ask({topic: [0]}, typed), c.beat()]
    new = group_of(a, "new")
    commit(a, new, {topic: {0: 1}, other: {0: 1}})
    k = Consumer(a, names, new)
    k.join([other])
    settled([k], 1)
    out["consumer group"] = [ask({other: [0], topic: [0]}, new), fetch(a, new, None), m.beat()]
    return out
