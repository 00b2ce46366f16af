"""DescribeConfigs, IncrementalAlterConfigs, AlterConfigs."""

import time

from kafka_wire import batch

from oracle_cases.asker import PREFIX, case


def by_name(configs):
    return {
        c["name"]: {k: v for k, v in c.items() if k not in ("name", "documentation")}
        for c in sorted(configs, key=lambda c: c["name"])
    }


def describe(a, kind, name, keys=None, version=4, **more):
    answer = a.attempt(
        "DescribeConfigs",
        version,
        resources=[{"resource_type": kind, "resource_name": name, "configuration_keys": keys}],
        **more,
    )
    return answer if isinstance(answer, str) else [{**r, "configs": by_name(r["configs"])} for r in answer["results"]]


@case
def describe_configs_of_a_topic(a):
    return describe(a, 2, a.topic("cfg", retention_ms=1234))


@case
def describe_configs_choices(a):
    topic = a.topic("cfg", retention_ms=1234)
    return {
        "one key": describe(a, 2, topic, ["retention.ms"]),
        "v1": describe(a, 2, topic, ["retention.ms", "cleanup.policy"], 1),
        "unknown key": describe(a, 2, topic, ["no.such"]),
        "no keys": describe(a, 2, topic, []),
        "twice a key": describe(a, 2, topic, ["retention.ms", "retention.ms"]),
        "synonyms": describe(a, 2, topic, ["retention.ms", "segment.bytes"], include_synonyms=True),
        "documentation": [
            bool(c["documentation"])
            for r in a.call(
                "DescribeConfigs",
                4,
                include_documentation=True,
                resources=[{"resource_type": 2, "resource_name": topic, "configuration_keys": ["retention.ms"]}],
            )["results"]
            for c in r["configs"]
        ],
        "unknown topic": describe(a, 2, PREFIX + "none"),
        "bad name": describe(a, 2, "a/b"),
        "empty name": describe(a, 2, ""),
        "kind 0": describe(a, 0, topic),
        "kind 3": describe(a, 3, topic),
        "kind 99": describe(a, 99, topic),
        "broker 999999": describe(a, 4, "999999", ["num.partitions"]),
        "broker x": describe(a, 4, "x", ["num.partitions"]),
        "none": a.call("DescribeConfigs", 4, resources=[])["results"],
    }


@case
def describe_configs_of_a_broker(a):
    broker = a.call("Metadata", 12, topics=[])["brokers"][0]["node_id"]
    keys = [
        "num.partitions",
        "auto.create.topics.enable",
        "message.max.bytes",
        "default.replication.factor",
        "log.retention.ms",
        "log.retention.hours",
        "log.segment.bytes",
        "socket.request.max.bytes",
        "min.insync.replicas",
        "compression.type",
        "log.cleanup.policy",
        "log.message.timestamp.type",
        "delete.topic.enable",
        "max.connections",
        "connections.max.idle.ms",
        "authorizer.class.name",
        "broker.rack",
        "compression.zstd.level",
        "controller.quota.window.num",
        "controller.quota.window.size.seconds",
        "group.consumer.assignment.interval.ms",
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.max.session.timeout.ms",
        "group.consumer.max.size",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.session.timeout.ms",
        "group.max.session.timeout.ms",
        "group.max.size",
        "log.cleaner.delete.retention.ms",
        "log.cleaner.max.compaction.lag.ms",
        "log.cleaner.min.cleanable.ratio",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.local.retention.ms",
        "log.preallocate",
        "log.retention.minutes",
        "log.roll.jitter.hours",
        "max.request.partition.size.limit",
        "offset.metadata.max.bytes",
        "offsets.retention.check.interval.ms",
        "offsets.retention.minutes",
        "quota.window.size.seconds",
        "no.such.key",
    ]
    by_id = [{**r, "resource_name": r["resource_name"] == str(broker)} for r in describe(a, 4, str(broker), keys)]
    return {"by id": by_id, "cluster default": describe(a, 4, "", keys)}


def alter(a, changes, kind=2, name=None, version=1, **more):
    answer = a.attempt(
        "IncrementalAlterConfigs",
        version,
        resources=[
            {
                "resource_type": kind,
                "resource_name": name,
                "configs": [{"name": k, "config_operation": op, "value": v} for k, op, v in changes],
            }
        ],
        **more,
    )
    return answer if isinstance(answer, str) else answer["responses"]


def value_of(a, topic, key):
    return describe(a, 2, topic, [key])[0]["configs"][key]


def settled(a, topic, key, fn):
    before = value_of(a, topic, key)
    answer = fn()
    end = time.monotonic() + 2
    while time.monotonic() < end and value_of(a, topic, key) == before:
        time.sleep(0.05)
    return [answer, value_of(a, topic, key)]


@case
def incremental_alter_configs(a):
    topic = a.topic("cfg")
    do = lambda key, *changes, **more: settled(a, topic, key, lambda: alter(a, changes, name=topic, **more))
    quick = lambda *changes, **more: alter(a, changes, name=topic, **more)
    return {
        "set": do("retention.ms", ("retention.ms", 0, "5000")),
        "validate only": [quick(("retention.ms", 0, "6000"), validate_only=True), value_of(a, topic, "retention.ms")],
        "delete": do("retention.ms", ("retention.ms", 1, None)),
        "append": do("cleanup.policy", ("cleanup.policy", 2, "compact")),
        "append again": quick(("cleanup.policy", 2, "compact")),
        "subtract": do("cleanup.policy", ("cleanup.policy", 3, "delete")),
        "subtract what is not there": quick(("cleanup.policy", 3, "delete")),
        "subtract the last": do("cleanup.policy", ("cleanup.policy", 3, "compact")),
        "delete of unset": quick(("segment.bytes", 1, None)),
        "unknown key": quick(("no.such", 0, "1")),
        "delete of unknown key": quick(("no.such", 1, None)),
        "bad value": quick(("retention.ms", 0, "never")),
        "bad list value": quick(("cleanup.policy", 0, "shred")),
        "append to a number": quick(("retention.ms", 2, "1")),
        "null": quick(("retention.ms", 0, None)),
        "empty": quick(("retention.ms", 0, "")),
        "twice a key": quick(("retention.ms", 0, "1"), ("retention.ms", 0, "2")),
        "operation 9": quick(("retention.ms", 9, "1")),
        "one good, one bad": [
            quick(("segment.ms", 0, "70000"), ("retention.ms", 0, "x")),
            value_of(a, topic, "segment.ms"),
        ],
        "unknown topic": alter(a, [("retention.ms", 0, "1")], name=PREFIX + "none"),
        "kind 0": alter(a, [("retention.ms", 0, "1")], 0, topic),
        "kind 99": alter(a, [("retention.ms", 0, "1")], 99, topic),
        "no changes": quick(),
        "empty name": alter(a, [("retention.ms", 0, "1")], name=""),
        "broker 999999": alter(a, [("log.cleaner.threads", 0, "1")], 4, "999999"),
        "broker x": alter(a, [("log.cleaner.threads", 0, "1")], 4, "x"),
        "twice a topic": (lambda r: r if isinstance(r, str) else r["responses"])(
            a.attempt(
                "IncrementalAlterConfigs",
                1,
                resources=[
                    {
                        "resource_type": 2,
                        "resource_name": topic,
                        "configs": [{"name": "retention.ms", "config_operation": 0, "value": v}],
                    }
                    for v in ("1", "2")
                ],
            )
        ),
    }


@case
def alter_configs_replaces_all(a):
    topic = a.topic("cfg", retention_ms=5000, segment_ms=60000)

    def ask(configs, name=topic, **more):
        answer = a.attempt(
            "AlterConfigs",
            2,
            resources=[
                {"resource_type": 2, "resource_name": name, "configs": [{"name": k, "value": v} for k, v in configs]}
            ],
            **more,
        )
        return answer if isinstance(answer, str) else answer["responses"]

    return {
        "validate only": [ask([("retention.ms", "1")], validate_only=True), value_of(a, topic, "retention.ms")],
        "sets one": settled(a, topic, "retention.ms", lambda: ask([("retention.ms", "7000")])),
        "the other is gone": value_of(a, topic, "segment.ms"),
        "unknown key": ask([("no.such", "1")]),
        "bad value": ask([("retention.ms", "x")]),
        "null": ask([("retention.ms", None)]),
        "twice": ask([("retention.ms", "1"), ("retention.ms", "2")]),
        "unknown topic": ask([], PREFIX + "none"),
        "none": settled(a, topic, "retention.ms", lambda: ask([])),
    }


@case
def configs_take_effect_on_produce(a):
    topic = a.topic("cfg")
    before = a.produce(topic, batch([b"x" * 500]))
    settled(a, topic, "max.message.bytes", lambda: alter(a, [("max.message.bytes", 0, "300")], name=topic))
    return [before["error_code"], a.produce(topic, batch([b"x" * 500]))]


GROUP_KEYS = ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "consumer.assignment.interval.ms"]
# Settings of groups, in bounds, at them and beyond.
GROUP_VALUES = {
    "consumer.assignment.interval.ms": ["-1", "0", "15000", "15001"],
    "share.auto.offset.reset": ["latest", "none", "LATEST", "by_duration:", "by_duration:P1DT2H", "by_duration:PT-1H", "by_duration:PT1M1H"],
    "share.delivery.count.limit": ["1", "10", "11"],
    "share.isolation.level": ["read_committed", "READ_COMMITTED"],
    "share.partition.max.record.locks": ["99", "4000", "4001"],
    "share.record.lock.duration.ms": ["999", "1000", "60001"],
    "share.renew.acknowledge.enable": ["TRUE", "x"],
    "share.session.timeout.ms": ["44999", "60000"],
    "streams.heartbeat.interval.ms": ["4999", "15000"],
    "streams.initial.rebalance.delay.ms": ["-1", "999999999"],
    "streams.num.standby.replicas": ["-1", "2", "3"],
}


@case
def configs_of_groups(a):
    group, session, heartbeat = PREFIX + "group", *GROUP_KEYS[:2]
    quick = lambda *changes, **more: alter(a, changes, 32, group, **more)
    value = lambda key: describe(a, 32, group, [key])[0]["configs"].get(key)

    def until_changed(key, fn):
        before, answer = value(key), fn()
        end = time.monotonic() + 2
        while time.monotonic() < end and value(key) == before:
            time.sleep(0.05)
        return [answer, value(key)]

    try:
        return {
            "defaults": describe(a, 32, group, include_synonyms=True),
            "unknown key": describe(a, 32, group, ["no.such"]),
            "empty name": describe(a, 32, "", GROUP_KEYS),
            "set": until_changed(session, lambda: quick((session, 0, "50000"))),
            "validate only": [quick((session, 0, "51000"), validate_only=True), value(session)],
            "too short": quick((session, 0, "44999")),
            "too long": quick((session, 0, "60001")),
            "beats too often": quick((heartbeat, 0, "4999")),
            "beats too seldom": quick((heartbeat, 0, "15001")),
            "not a number": quick((session, 0, "x")),
            "values": {
                f"{key}={value}": quick((key, 0, value), validate_only=True)
                for key, values in GROUP_VALUES.items()
                for value in values
            },
            "unknown": quick(("no.such", 0, "1")),
            "delete of unknown": quick(("no.such", 1, None)),
            "append": quick((session, 2, "1")),
            "null": quick((session, 0, None)),
            "twice a key": quick((session, 0, "50000"), (session, 0, "51000")),
            "for all groups": alter(a, [(session, 0, "50000")], 32, ""),
            "delete": until_changed(session, lambda: quick((session, 1, None))),
        }
    finally:
        quick((session, 1, None))


@case
def configs_of_brokers_while_they_run(a):
    broker = str(a.call("Metadata", 12, topics=[])["brokers"][0]["node_id"])
    topic = a.topic("cfg")
    key = "log.retention.ms"

    def quick(*changes, name="", **more):
        answer = alter(a, changes, 4, name, **more)
        return answer if isinstance(answer, str) else [r["error_code"] for r in answer]

    def shown(kind, name, key=key):
        return describe(a, kind, name, [key], include_synonyms=True)[0]["configs"].get(key)

    def until_changed(kind, name, fn):
        before, answer = shown(kind, name), fn()
        end = time.monotonic() + 2
        while time.monotonic() < end and shown(kind, name) == before:
            time.sleep(0.05)
        return [answer, shown(kind, name)]

    def of_topic():
        return describe(a, 2, topic, ["retention.ms"], include_synonyms=True)[0]["configs"]["retention.ms"]

    try:
        return {
            "unset": [shown(4, broker), shown(4, "")],
            "for all": until_changed(4, "", lambda: quick((key, 0, "99000000000"))),
            "for all, of one": shown(4, broker),
            "for one": until_changed(4, broker, lambda: quick((key, 0, "98000000000"), name=broker)),
            "for one, of all": shown(4, ""),
            "in hours": shown(4, broker, "log.retention.hours"),
            "of a topic": of_topic(),
            "validate only": [quick((key, 0, "5"), validate_only=True), shown(4, "")],
            "values": {
                f"{key}={value}": quick((key, 0, value), validate_only=True)
                for key, value in [
                    ("log.retention.ms", "never"),
                    ("log.retention.ms", "0"),
                    ("log.retention.ms", "-5"),
                    ("log.roll.ms", "0"),
                    ("log.segment.bytes", "1048575"),
                    ("log.cleanup.policy", "shred"),
                    ("compression.type", "brotli"),
                    ("message.max.bytes", "-1"),
                    ("group.consumer.assignment.interval.ms", "15001"),
                    ("log.local.retention.ms", "-1"),
                    ("leader.replication.throttled.rate", "-1"),
                    ("num.partitions", "3"),
                    ("no.such", "1"),
                ]
            },
            "append": quick(("log.cleanup.policy", 2, "compact"), validate_only=True),
            "append to a number": quick((key, 2, "1"), validate_only=True),
            "operation 9": quick((key, 9, "1"), validate_only=True),
            "null": quick((key, 0, None)),
            "twice a key": quick((key, 0, "1"), (key, 0, "2")),
            "delete of unset": quick(("log.roll.ms", 1, None)),
            "delete of what is fixed": quick(("num.partitions", 1, None)),
            "delete of one": until_changed(4, broker, lambda: quick((key, 1, None), name=broker)),
            "delete of all": until_changed(4, "", lambda: quick((key, 1, None))),
        }
    finally:
        quick((key, 1, None), name=broker)
        quick((key, 1, None))


@case
def configs_of_loggers(a):
    broker = str(a.call("Metadata", 12, topics=[])["brokers"][0]["node_id"])
    ask = lambda name: [
        {**r, "resource_name": "<broker>" if r["resource_name"] == broker else r["resource_name"], "configs": "root" in r["configs"]}
        for r in describe(a, 8, name)
    ]

    def change(*changes, name=broker):
        answer = alter(a, changes, 8, name)
        return answer if isinstance(answer, str) else [r["error_code"] for r in answer]

    return {
        "a broker": ask(broker),
        "all brokers": ask(""),
        "broker 999999": ask("999999"),
        "broker x": ask("x"),
        "unknown logger": change(("no.such.logger", 0, "INFO")),
        "unknown logger, deleted": change(("no.such.logger", 1, None)),
        "append": change(("root", 2, "INFO")),
        "root deleted": change(("root", 1, None)),
        "changes of all brokers": change(("root", 0, "INFO"), name=""),
        "changes of broker 999999": change(("root", 0, "INFO"), name="999999"),
        "no changes": change(),
    }


@case
def configs_of_client_metrics(a):
    name = PREFIX + "metrics"
    return {
        "one": describe(a, 16, name),
        "empty name": describe(a, 16, ""),
        "interval too short": alter(a, [("interval.ms", 0, "1")], 16, name),
        "unknown key": alter(a, [("no.such", 0, "1")], 16, name),
        "delete": alter(a, [("interval.ms", 1, None)], 16, name),
        "changes of no name": alter(a, [("interval.ms", 0, "60000")], 16, ""),
        "no changes": alter(a, [], 16, name),
    }
