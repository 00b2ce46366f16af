"""Members of groups, classic and of KIP-848, for the cases about groups; ids that change with every run get names."""

import json
import re
import time
import uuid

from kafka_wire import BY_NAME, Closed, Timeout

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SESSION_MS, REBALANCE_MS = 120_000, 30_000


def versions(api):
    return range(BY_NAME[api].first, BY_NAME[api].last + 1)


def ready(a, group):
    """The group's coordinator answers: Kafka makes its topic on the first question, and reads it then."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        found = a.call("FindCoordinator", 4, key_type=0, coordinator_keys=[group])["coordinators"][0]["error_code"]
        if found == 0 and a.call("OffsetFetch", 7, group_id=group, topics=None)["error_code"] == 0:
            return group
        time.sleep(0.1)
    raise AssertionError(f"no coordinator for {group}")


def group_of(a, stem="g"):
    return ready(a, a.name(stem))


class Names:
    """Gives the ids of members and topics their names, and lists without an order one."""

    def __init__(self, a):
        self.a, self.members = a, {}

    def name(self, member_id, label):
        if member_id:
            self.members[member_id] = f"<{label}>"

    def tidy(self, value, key=""):
        if isinstance(value, dict):
            return {k: self.tidy(v, k) for k, v in value.items()}
        if isinstance(value, list):
            value = [self.tidy(v) for v in value]
            if key in ("members", "topics", "topic_partitions", "groups", "coordinators", "results") or key == "partitions" and value and isinstance(value[0], dict):
                value.sort(key=lambda v: json.dumps(v, sort_keys=True, default=str))
            return value
        if isinstance(value, uuid.UUID):
            of = {i: n for n, i in self.a.made.items()}
            return f"<id of {of[value]}>" if value in of else value
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, str):
            return self.members.get(value) or UUID.sub("<uuid>", value)
        return value


class Classic:
    """A member of a classic group, on a connection of its own, for its requests may wait for others."""

    def __init__(self, a, names, group, label="m1", instance=None, protocols=(("range", b"of m"),), version=9):
        self.a, self.names, self.group, self.label = a, names, group, label
        self.instance, self.protocols, self.version = instance, protocols, version
        self.c, self.id, self.generation, self.sent = a.connect(40), "", -1, None

    def start(self, version=None, **other):
        version = self.version if version is None else version
        fields = {
            "group_id": self.group,
            "session_timeout_ms": SESSION_MS,
            "member_id": self.id,
            "protocol_type": "consumer",
            "protocols": [{"name": n, "metadata": m} for n, m in self.protocols],
            **other,
        }
        if version >= 1:
            fields.setdefault("rebalance_timeout_ms", REBALANCE_MS)
        if version >= 5:
            fields.setdefault("group_instance_id", self.instance)
        self.sent = version
        self.c.start("JoinGroup", version, **fields)

    def finish(self):
        try:
            _, answer = self.c.finish("JoinGroup", self.sent)
        except (Closed, Timeout) as e:
            return "closed" if isinstance(e, Closed) else "no answer"
        if answer["error_code"] in (0, 79):
            self.id = answer["member_id"]
            self.names.name(self.id, self.label)
        if answer["error_code"] == 0:
            self.generation = answer["generation_id"]
        return self.names.tidy(answer)

    def join(self, **other):
        self.start(**other)
        return self.finish()

    def enter(self, **other):
        """Joins, with the id that it is told to join with if it is."""
        answer = self.join(**other)
        return self.join(**other) if answer["error_code"] == 79 else answer

    def start_sync(self, assignments=None, version=5, **other):
        """assignments: {member: bytes}"""
        fields = {"group_id": self.group, "generation_id": self.generation, "member_id": self.id}
        if version >= 3:
            fields["group_instance_id"] = self.instance
        if version >= 5:
            fields |= {"protocol_type": "consumer", "protocol_name": self.protocols[0][0]}
        fields["assignments"] = [{"member_id": m.id, "assignment": b} for m, b in (assignments or {}).items()]
        self.sent = version
        self.c.start("SyncGroup", version, **{**fields, **other})

    def finish_sync(self):
        return self.names.tidy(self.c.finish("SyncGroup", self.sent)[1])

    def sync(self, assignments=None, version=5, **other):
        self.start_sync(assignments, version, **other)
        return self.finish_sync()

    def beat(self, version=4, **other):
        fields = {"group_id": self.group, "generation_id": self.generation, "member_id": self.id}
        if version >= 3:
            fields["group_instance_id"] = self.instance
        return self.c.call("Heartbeat", version, **{**fields, **other})["error_code"]

    def lead(self):
        """Joins a group without members and takes its assignment."""
        assert self.enter()["error_code"] == 0
        assert self.sync({self: b"all"})["error_code"] == 0
        return self


def both(first, second):
    """A second member joins a group that the first one has to itself: both answers, the leader's first."""
    if not second.instance:
        assert second.join()["error_code"] == 79
    second.start()
    end = time.monotonic() + 10
    while first.beat() != 27:  # Until the second has got there.
        assert time.monotonic() < end
        time.sleep(0.05)
    first.start()
    return first.finish(), second.finish()


class Consumer:
    """A member of a group of KIP-848."""

    def __init__(self, a, names, group, label="m1", version=1, instance=None):
        self.a, self.names, self.group, self.version, self.instance = a, names, group, version, instance
        self.id, self.epoch, self.owned = str(uuid.uuid4()) if version else "", 0, []
        self.label = label
        names.name(self.id, label)

    def beat(self, **other):
        fields = {"group_id": self.group, "member_id": self.id, "member_epoch": self.epoch, "instance_id": self.instance}
        answer = self.a.call("ConsumerGroupHeartbeat", self.version, **{**fields, **other})
        if answer["error_code"] == 0:
            self.id, self.epoch = answer["member_id"] or self.id, answer["member_epoch"]
            self.names.name(self.id, self.label)
            if answer["assignment"] is not None:
                self.owned = answer["assignment"]["topic_partitions"]
        return self.names.tidy(answer)

    def join(self, topics=(), **other):
        fields = {"rebalance_timeout_ms": 30_000, "subscribed_topic_names": list(topics), "topic_partitions": []}
        return self.beat(**{"member_epoch": 0, **fields, **other})

    def own(self, **other):
        """A heartbeat that says that the member has what it was given."""
        return self.beat(topic_partitions=self.owned, **other)

    def has(self):
        return sum(len(t["partitions"]) for t in self.owned)


def settled(members, partitions):
    """Heartbeats until every member has a share of the partitions and all are at one epoch; what each has."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for m in members:
            m.own()
        shares = [m.has() for m in members]
        if sum(shares) == partitions and min(shares) == partitions // len(members) and len({m.epoch for m in members}) == 1:
            return {m.label: m.names.tidy(m.owned, "topic_partitions") for m in members}
        time.sleep(0.1)
    return {m.label: {"epoch": m.epoch, "owned": m.names.tidy(m.owned)} for m in members}


def brief(answer):
    """Of a heartbeat's answer."""
    return answer if isinstance(answer, str) else [answer["error_code"], answer["member_epoch"]]
