"""ConsumerGroupHeartbeat, ConsumerGroupDescribe: KIP-848."""

import time
import uuid

from oracle_cases.asker import PREFIX, UNKNOWN_ID, case
from oracle_cases.grouping import Classic, Consumer, Names, brief, group_of, settled, versions


@case
def consumer_group_heartbeat_refused(a):
    names, topic = Names(a), a.topic("t", 2)
    member = str(uuid.uuid4())

    def ask(version=1, **other):
        fields = {
            "group_id": group_of(a), "member_id": member, "member_epoch": 0, "rebalance_timeout_ms": 5000,
            "subscribed_topic_names": [topic], "topic_partitions": [],
        }
        return Names(a).tidy(a.attempt("ConsumerGroupHeartbeat", version, **{**fields, **other}))

    partitions = [{"topic_id": a.made[topic], "partitions": [0]}]
    out = {
        "no group": ask(group_id=""),
        "blank group": ask(group_id=" "),
        "no member": ask(member_id=""),
        "blank member": ask(member_id=" "),
        "no member, epoch 1": ask(member_id="", member_epoch=1),
        "no member, epoch 1, v0": ask(0, member_id="", member_epoch=1),
        "no rebalance timeout": ask(rebalance_timeout_ms=-1),
        "rebalance timeout 0": ask(rebalance_timeout_ms=0),
        "no topics": ask(subscribed_topic_names=None),
        "empty topics": ask(subscribed_topic_names=[]),
        "empty topics, v0": ask(0, subscribed_topic_names=[]),
        "no partitions": ask(topic_partitions=None),
        "partitions": ask(topic_partitions=partitions),
        "empty instance": ask(instance_id=""),
        "blank instance": ask(instance_id=" "),
        "empty rack": ask(rack_id=""),
        "a rack": ask(rack_id="r"),
        "unknown assignor": ask(server_assignor="nonsense"),
        "empty assignor": ask(server_assignor=""),
        "assignor range": ask(server_assignor="range"),
        "assignor uniform": ask(server_assignor="uniform"),
        "assignor UNIFORM": ask(server_assignor="UNIFORM"),
        "epoch -3": ask(member_epoch=-3),
        "epoch -2": ask(member_epoch=-2),
        "epoch -1": ask(member_epoch=-1),
        "epoch -2 of an instance": ask(member_epoch=-2, instance_id="i"),
        "epoch 5": ask(member_epoch=5),
        "epoch 5 of an instance": ask(member_epoch=5, instance_id="i"),
        "unknown topic": ask(subscribed_topic_names=[PREFIX + "none"]),
        "a topic twice": ask(subscribed_topic_names=[topic, topic]),
        "empty topic name": ask(subscribed_topic_names=[""]),
        "bad topic name": ask(subscribed_topic_names=["a/b"]),
        "bad expression": ask(subscribed_topic_names=None, subscribed_topic_regex="a(b"),
        "backreference": ask(subscribed_topic_names=None, subscribed_topic_regex=r"(a)\1"),
        "lookahead": ask(subscribed_topic_names=None, subscribed_topic_regex=r"a(?=b)"),
        "empty expression": ask(subscribed_topic_names=None, subscribed_topic_regex=""),
        "empty expression and topics": ask(subscribed_topic_regex=""),
        "expression and topics": ask(subscribed_topic_regex="nothing-.*"),
        "expression alone": ask(subscribed_topic_names=None, subscribed_topic_regex="nothing-.*"),
        "id of a member that is no uuid": ask(member_id="me"),
        "long member id": ask(member_id="m" * 300),
    }
    return {k: v if isinstance(v, str) else {**v, "assignment": bool(v["assignment"]), "member_id": v["member_id"] is not None} for k, v in out.items()} | {"names": names.tidy([])}


@case
def consumer_group_heartbeat_of_a_member(a):
    names, topic, group = Names(a), a.topic("t", 3), group_of(a)
    m = Consumer(a, names, group)
    out = {"joins": brief(m.join([topic])), "has": settled([m], 3), "epoch": m.epoch}
    out["nothing new"] = m.own()
    out["nothing told"] = m.beat()
    out["epoch before"] = m.beat(member_epoch=m.epoch - 1)
    out["epoch before, with what it has"] = m.beat(member_epoch=m.epoch - 1, topic_partitions=m.owned)
    out["epoch to come"] = m.beat(member_epoch=m.epoch + 1)
    out["unknown member"] = m.beat(member_id="nobody")
    out["an instance"] = m.beat(instance_id="i")
    out["all fields"] = m.beat(
        rebalance_timeout_ms=30_000, subscribed_topic_names=[topic], server_assignor="uniform", topic_partitions=m.owned
    )
    out["partitions it has not"] = m.beat(topic_partitions=[{"topic_id": UNKNOWN_ID, "partitions": [0]}])
    out["joins again"] = m.join([topic])
    out["unknown assignor"] = m.beat(server_assignor="nonsense")
    out["bad expression"] = m.beat(subscribed_topic_regex="a(b")
    out["a static one of another name leaves"] = m.beat(member_epoch=-2)
    out["leaves"] = m.beat(member_epoch=-1)
    out["leaves again"] = m.beat(member_epoch=-1)
    out["after that"] = m.beat(member_epoch=1)
    return out


@case
def consumer_group_heartbeat_version_0(a):
    names, topic, group = Names(a), a.topic("t", 2), group_of(a)
    m = Consumer(a, names, group, version=0)
    out = {"joins": brief(m.join([topic])), "has": settled([m], 2), "epoch": m.epoch}
    own = Consumer(a, names, group, "m2", version=0)
    own.id = "of-its-own"
    out["with an id"] = brief(own.join([topic]))
    out["both"] = settled([m, own], 2)
    out["leaves"] = own.beat(member_epoch=-1)
    return out


@case
def consumer_group_of_two(a):
    names, topic, group = Names(a), a.topic("t", 4), group_of(a)
    first, second = Consumer(a, names, group, "m1"), Consumer(a, names, group, "m2")
    first.join([topic], server_assignor="range")
    out = {"one": settled([first], 4), "its epoch": first.epoch}
    second.join([topic], server_assignor="range")
    had = second.has()
    out["second at first"] = had
    shares = settled([first, second], 4)
    out["shares"] = sorted(sum(len(t["partitions"]) for t in s) for s in shares.values())
    out["epochs"] = [first.epoch, second.epoch]
    out["second leaves"] = second.beat(member_epoch=-1)
    out["first again"] = settled([first], 4)
    out["its epoch then"] = first.epoch
    return out


@case
def consumer_group_changes_its_topics(a):
    names, one, two, group = Names(a), a.topic("t", 2), a.topic("u", 2), group_of(a)
    m = Consumer(a, names, group)
    m.join([one])
    out = {"one": settled([m], 2)}
    m.beat(subscribed_topic_names=[one, two], topic_partitions=m.owned)
    out["both"] = settled([m], 4)
    m.beat(subscribed_topic_names=[two], topic_partitions=m.owned)
    out["the other"] = settled([m], 2)
    m.beat(subscribed_topic_names=[], topic_partitions=m.owned)
    out["none"] = settled([m], 0)
    out["epoch"] = m.epoch
    return out


@case
def consumer_group_by_expression(a):
    names, group = Names(a), group_of(a)
    one, two, other = a.topic("ex", 1), a.topic("ex", 2), a.topic("oth", 1)
    m = Consumer(a, names, group)
    stem = one.rsplit("-", 2)[0]
    m.join(subscribed_topic_names=None, subscribed_topic_regex=f"{stem}-.*")
    out = {"matches": settled([m], 3)}
    m.beat(subscribed_topic_names=[other], topic_partitions=m.owned)
    out["a name too"] = settled([m], 4)
    m.beat(subscribed_topic_regex="", topic_partitions=m.owned)
    out["the name alone"] = settled([m], 1)
    m.beat(subscribed_topic_names=[], subscribed_topic_regex=two[:-2], topic_partitions=m.owned)
    out["a part of a name"] = settled([m], 0)
    return out


@case
def static_members_of_consumer_groups(a):
    names, topic, group = Names(a), a.topic("t", 2), group_of(a)
    first = Consumer(a, names, group, "m1", instance="i1")
    out = {"joins": brief(first.join([topic])), "has": settled([first], 2)}
    second = Consumer(a, names, group, "m2", instance="i1")
    out["not released"] = second.join([topic])
    out["wrong member of the instance"] = second.beat(member_epoch=1)
    out["unknown instance"] = first.beat(instance_id="i9")
    out["no instance"] = first.beat(instance_id=None)
    out["leaves for a while"] = first.beat(member_epoch=-2)
    first.epoch = 1
    out["described"] = names.tidy(a.call("ConsumerGroupDescribe", 1, group_ids=[group]))
    out["back with an epoch"] = first.beat()
    out["another comes"] = brief(second.join([topic]))
    out["it has"] = settled([second], 2)
    out["its epoch"] = second.epoch
    out["the old one"] = first.beat()
    out["the old one leaves"] = first.beat(member_epoch=-1)
    out["the old one leaves for a while"] = first.beat(member_epoch=-2)
    out["leaves for good"] = second.beat(member_epoch=-1)
    out["a third"] = brief(Consumer(a, names, group, "m3", instance="i1").join([topic]))
    return out


@case
def consumer_group_describe(a):
    names, topic = Names(a), a.topic("t", 2)
    groups = {k: group_of(a, k) for k in ("consumer", "left", "classic", "expression")}
    m = Consumer(a, names, groups["consumer"], "m1", instance="i1")
    m.join([topic], rack_id="r1", server_assignor="range")
    settled([m], 2)
    left = Consumer(a, names, groups["left"], "m2")
    left.join([topic])
    settled([left], 2)
    left.beat(member_epoch=-1)
    Classic(a, names, groups["classic"], "m3").lead()
    by = Consumer(a, names, groups["expression"], "m4")
    by.join(subscribed_topic_names=None, subscribed_topic_regex=topic)
    settled([by], 2)
    out = {}
    for v in versions("ConsumerGroupDescribe"):
        ask = lambda *of, **f: names.tidy(a.attempt("ConsumerGroupDescribe", v, group_ids=list(of), **f))
        out[f"v{v}"] = {k: ask(g) for k, g in groups.items()}
        out[f"v{v}"] |= {
            "unknown": ask(PREFIX + "none"), "no name": ask(""), "none": ask(), "two": ask(groups["left"], PREFIX + "none"),
            "twice": ask(groups["left"], groups["left"]), "operations": ask(groups["consumer"], PREFIX + "none", include_authorized_operations=True),
        }
    return out


@case
def groups_of_the_other_kind(a):
    names, topic = Names(a), a.topic("t", 2)
    classic, consumer = group_of(a, "classic"), group_of(a, "consumer")
    m = Classic(a, names, classic, "m1").lead()
    out = {"no consumer protocol in it": Consumer(a, names, classic, "m2").join([topic])}
    out["the classic member"] = m.beat()
    k = Consumer(a, names, consumer, "m3")
    k.join([topic])
    settled([k], 2)
    n = Classic(a, names, consumer, "m4")
    out["not a consumer's metadata"] = n.enter()
    out["another type"] = Classic(a, names, consumer, "m5", version=3).join(protocol_type="connect")
    out["classic heartbeat"] = m.c.call("Heartbeat", 4, group_id=consumer, generation_id=k.epoch, member_id=k.id)["error_code"]
    out["classic sync"] = names.tidy(m.c.call("SyncGroup", 5, group_id=consumer, generation_id=k.epoch, member_id=k.id))
    out["classic leave"] = names.tidy(m.c.call("LeaveGroup", 5, group_id=consumer, members=[{"member_id": "nobody"}]))
    out["classic leave of the consumer"] = names.tidy(m.c.call("LeaveGroup", 5, group_id=consumer, members=[{"member_id": k.id}]))
    out["the consumer"] = brief(k.beat(member_epoch=1))
    return out


@case
def groups_without_members_change_their_kind(a):
    names, topic, group = Names(a), a.topic("t", 2), group_of(a)
    m = Classic(a, names, group, "m1").lead()
    m.c.call("LeaveGroup", 5, group_id=group, members=[{"member_id": m.id}])
    k = Consumer(a, names, group, "m2")
    out = {"to consumer": brief(k.join([topic])), "has": settled([k], 2), "epoch": k.epoch}
    k.beat(member_epoch=-1)
    time.sleep(0.1)
    n = Classic(a, names, group, "m3")
    out["to classic"] = n.enter()
    return out
