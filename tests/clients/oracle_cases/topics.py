"""Metadata, CreateTopics, DeleteTopics, CreatePartitions."""

import time

from kafka_wire import batch

from oracle_cases.asker import PREFIX, UNKNOWN_ID, ZERO, case


# ------------------------------------------------------------------ Metadata
def one_topic(answer):
    return {**answer, "brokers": bool(answer["brokers"])}


@case
def metadata_none_and_all(a):
    topic = a.topic("m", 2)
    out = {"none": a.call("Metadata", 12, topics=[])["topics"]}
    every = a.call("Metadata", 12, topics=None)["topics"]
    out["all"] = [t for t in every if t["name"] == topic]
    out["v0, empty is all"] = [t for t in a.call("Metadata", 0, topics=[])["topics"] if t["name"] == topic]
    out["v1, empty is none"] = a.call("Metadata", 1, topics=[])["topics"]
    return out


@case
def metadata_shape(a):
    topic = a.topic("m", 1)
    return {f"v{v}": one_topic(a.call("Metadata", v, topics=[{"name": topic}])) for v in (1, 4, 8, 10, 12, 13)}


@case
def metadata_unknown_topic(a):
    unknown, fields = a.name("nowhere"), {"allow_auto_topic_creation": False}
    return {
        "v4": a.call("Metadata", 4, topics=[{"name": unknown}], **fields)["topics"],
        "v12": a.call("Metadata", 12, topics=[{"name": unknown}], **fields)["topics"],
        "two and one known": sorted(
            (t["name"], t["error_code"])
            for t in a.call(
                "Metadata",
                12,
                topics=[{"name": unknown}, {"name": a.topic("known")}, {"name": unknown + "x"}],
                **fields,
            )["topics"]
        ),
    }


@case
def metadata_invalid_names(a):
    names = ["", ".", "..", "a/b", "a b", "a*", "ä", "x" * 249, "x" * 250]
    return {
        f"{n[:5]}{len(n)} auto={auto}": (
            lambda r: r if isinstance(r, str) else [[t["error_code"], t["partitions"]] for t in r["topics"]]
        )(a.attempt("Metadata", 12, topics=[{"name": n}], allow_auto_topic_creation=auto))
        for n in names
        for auto in (False, True)
        if len(n) != 249 or not auto
    }


@case
def metadata_auto_creates(a):
    new = a.name("auto")
    first = a.call("Metadata", 12, topics=[{"name": new}], allow_auto_topic_creation=True)["topics"]
    end = time.monotonic() + 10
    while time.monotonic() < end:
        answer = a.call("Metadata", 12, topics=[{"name": new}], allow_auto_topic_creation=False)["topics"]
        if answer[0]["error_code"] == 0:
            break
        time.sleep(0.05)
    return {"at first": first[0]["error_code"], "then": answer}


@case
def metadata_by_id(a):
    topic = a.topic("m", 1)
    ask = lambda v, t: (lambda r: r if isinstance(r, str) else r["topics"])(
        a.attempt("Metadata", v, topics=[t], allow_auto_topic_creation=False)
    )
    return {
        "known": ask(12, {"topic_id": a.made[topic], "name": None}),
        "unknown": ask(12, {"topic_id": UNKNOWN_ID, "name": None}),
        "both": ask(12, {"topic_id": a.made[topic], "name": topic}),
        "zero id, no name": ask(12, {"topic_id": ZERO, "name": None}),
        "v10 id": ask(10, {"topic_id": a.made[topic], "name": None}),
        "v11 id": ask(11, {"topic_id": a.made[topic], "name": None}),
    }


@case
def metadata_twice_the_same_topic(a):
    topic = a.topic("m", 1)
    return [t["error_code"] for t in a.call("Metadata", 12, topics=[{"name": topic}, {"name": topic}])["topics"]]


@case
def metadata_authorized_operations(a):
    topic = a.topic("m", 1)
    answer = a.call(
        "Metadata",
        10,
        topics=[{"name": topic}],
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )
    plain = a.call("Metadata", 10, topics=[{"name": topic}])
    return [
        (x["cluster_authorized_operations"], x["topics"][0]["topic_authorized_operations"]) for x in (answer, plain)
    ]


# ------------------------------------------------------------------ CreateTopics
def create(a, topics, version=7, **more):
    answer = a.attempt("CreateTopics", version, timeout_ms=10000, topics=topics, **more)
    if isinstance(answer, str):
        return answer
    answer["topics"].sort(key=lambda t: t["name"])  # Kafka's order is that of its own maps
    for t in answer["topics"]:
        if t.get("configs"):
            t["configs"] = len(t["configs"]) > 10
        if t["error_code"] == 0:
            a.made[t["name"]] = t.get("topic_id")
    return answer["topics"]


def spec(name, partitions=1, factor=1, **more):
    return {"name": name, "num_partitions": partitions, "replication_factor": factor, **more}


@case
def create_topics(a):
    return {
        "as asked": create(a, [spec(a.name("c"), 3)]),
        "defaults": create(a, [spec(a.name("c"), -1, -1)]),
        "none": create(a, []),
        "two": create(a, [spec(a.name("c1")), spec(a.name("c2"), 0)]),
        "v2": create(a, [spec(a.name("c"))], 2),
        "v4 defaults": create(a, [spec(a.name("c"), -1, -1)], 4),
        "v3 defaults": create(a, [spec(a.name("c"), -1, -1)], 3),
    }


@case
def create_topics_duplicates(a):
    topic, twice = a.topic("c"), a.name("twice")
    return {
        "exists": create(a, [spec(topic)]),
        "twice in one request": create(a, [spec(twice), spec(twice)]),
        "twice and another": sorted(
            create(a, [spec(twice), spec(twice, 2), spec(a.name("other"))]), key=lambda t: t["error_code"]
        ),
        "exists, validate only": create(a, [spec(topic)], validate_only=True),
    }


@case
def create_topics_names(a):
    out = {
        f"{n[:5]}{len(n)}": create(a, [spec(n)], validate_only=True)
        for n in ("", ".", "..", "a/b", "a b", "ä", "a,b", "x" * 250, "x" * 249, "__cluster_metadata")
    }
    dotted = a.name("col") + ".x"
    create(a, [spec(dotted)])
    out["collides"] = create(a, [spec(dotted.replace(".x", "_x"))])
    return out


@case
def create_topics_partitions_and_replicas(a):
    dry = lambda partitions, factor: create(a, [spec(a.name("c"), partitions, factor)], validate_only=True)
    return {
        f"{p} partitions, {f} replicas": dry(p, f)
        for p, f in (
            (0, 1),
            (-1, 1),
            (-2, 1),
            (1, 0),
            (1, -1),
            (1, -2),
            (1, 2),
            (1, 77),
            (0, 0),
            (-1, -1),
            (10001, 1),
            (2**31 - 1, 1),
        )
    }


@case
def create_topics_assignments(a):
    broker = a.call("Metadata", 12, topics=[])["brokers"][0]["node_id"]
    one = lambda index, ids: {"partition_index": index, "broker_ids": ids}
    dry = lambda assignments, partitions=-1, factor=-1: create(
        a, [spec(a.name("c"), partitions, factor, assignments=assignments)], validate_only=True
    )
    return {
        "one": dry([one(0, [broker])]),
        "two": dry([one(0, [broker]), one(1, [broker])]),
        "with num_partitions": dry([one(0, [broker])], 1),
        "with replication_factor": dry([one(0, [broker])], -1, 1),
        "with both": dry([one(0, [broker])], 1, 1),
        "unknown broker": dry([one(0, [999999])]),
        "not from 0": dry([one(1, [broker])]),
        "gap": dry([one(0, [broker]), one(2, [broker])]),
        "twice the same partition": dry([one(0, [broker]), one(0, [broker])]),
        "no replicas": dry([one(0, [])]),
        "twice the same broker": dry([one(0, [broker, broker])]),
        "negative partition": dry([one(-1, [broker])]),
    }


@case
def create_topics_configs(a):
    dry = lambda *configs: create(
        a, [spec(a.name("c"), configs=[{"name": k, "value": v} for k, v in configs])], validate_only=True
    )
    return {
        "good": dry(("retention.ms", "1000")),
        "unknown": dry(("no.such.key", "1")),
        "bad number": dry(("retention.ms", "soon")),
        "too small": dry(("retention.ms", "-2")),
        "bad list": dry(("cleanup.policy", "shred")),
        "bad enum": dry(("compression.type", "rar")),
        "null": dry(("retention.ms", None)),
        "empty": dry(("retention.ms", "")),
        "twice": dry(("retention.ms", "1"), ("retention.ms", "2")),
        "spaces": dry(("retention.ms", " 1000 ")),
        "overflow": dry(("segment.bytes", "99999999999")),
        "segment too small": dry(("segment.bytes", "10")),
        "min.insync.replicas 0": dry(("min.insync.replicas", "0")),
        "min.insync.replicas 5": dry(("min.insync.replicas", "5")),
        "policy in capitals": dry(("cleanup.policy", "COMPACT")),
        "both policies": dry(("cleanup.policy", "compact, delete")),
        "empty policy": dry(("cleanup.policy", "")),
        "bool yes": dry(("preallocate", "yes")),
        "bool TRUE": dry(("preallocate", "TRUE")),
        "timestamp type": dry(("message.timestamp.type", "logappendtime")),
        "broker's name": dry(("log.retention.ms", "1000")),
    }


@case
def create_topics_validate_only(a):
    name = a.name("dry")
    first = create(a, [spec(name, 2)], validate_only=True)
    return {
        "answer": first,
        "exists": a.call("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False)["topics"][0][
            "error_code"
        ],
    }


@case
def create_topics_returns_configs(a):
    """v5+ tells every effective config of the new topic."""
    answer = a.call(
        "CreateTopics",
        7,
        timeout_ms=10000,
        topics=[spec(a.name("c"), configs=[{"name": "retention.ms", "value": "1234"}])],
    )["topics"][0]
    return {c["name"]: {k: v for k, v in c.items() if k != "name"} for c in answer["configs"]}


# ------------------------------------------------------------------ DeleteTopics, CreatePartitions
@case
def delete_topics(a):
    ask = lambda version, **more: (lambda r: r if isinstance(r, str) else r["responses"])(
        a.attempt("DeleteTopics", version, timeout_ms=10000, **more)
    )
    by_name, by_id, both, twice = a.topic("d"), a.topic("d"), a.topic("d"), a.topic("d")
    return {
        "by name, v5": ask(5, topic_names=[by_name]),
        "again": ask(5, topic_names=[by_name]),
        "unknown name": ask(6, topics=[{"name": PREFIX + "none"}]),
        "by id": ask(6, topics=[{"topic_id": a.made[by_id], "name": None}]),
        "id again": ask(6, topics=[{"topic_id": a.made[by_id], "name": None}]),
        "unknown id": ask(6, topics=[{"topic_id": UNKNOWN_ID, "name": None}]),
        "name and id": ask(6, topics=[{"name": both, "topic_id": a.made[both]}]),
        "neither": ask(6, topics=[{"name": None}]),
        "twice": ask(6, topics=[{"name": twice}, {"name": twice}]),
        "by id and by name": sorted(
            ask(6, topics=[{"name": both}, {"name": None, "topic_id": a.made[both]}]), key=lambda t: t["error_code"]
        ),
        "none": ask(6, topics=[]),
        "bad name": ask(6, topics=[{"name": "a/b"}]),
    }


@case
def after_delete_topics(a):
    topic = a.topic("d")
    a.produce(topic, batch([b"x"] * 3))
    old = a.made[topic]
    a.call("DeleteTopics", 6, timeout_ms=10000, topics=[{"name": topic}])
    end = time.monotonic() + 10
    while (
        time.monotonic() < end
        and a.call("Metadata", 12, topics=[{"name": topic}], allow_auto_topic_creation=False)["topics"][0]["error_code"]
        == 0
    ):
        time.sleep(0.05)
    out = {
        "metadata": a.call("Metadata", 12, topics=[{"name": topic}], allow_auto_topic_creation=False)["topics"],
        "produce": a.produce(topic, batch([b"x"])),
        "fetch": a.fetch(topic, 0),
        "fetch by id": a.fetch(topic, 0, version=13),
        "list offsets": a.offsets(topic, -1),
    }
    create(a, [spec(topic)])
    end = time.monotonic() + 10
    while time.monotonic() < end and a.offsets(topic, -1)["error_code"]:
        time.sleep(0.05)
    out["made again: bounds"] = a.bounds(topic)
    out["made again: another id"] = a.made[topic] != old
    a.made[topic] = old
    out["made again: fetch by the old id"] = a.fetch(topic, 0, version=13)
    return out


@case
def create_partitions(a):
    ask = lambda topics, **more: (
        lambda r: r if isinstance(r, str) else [{k: v for k, v in t.items()} for t in r["results"]]
    )(a.attempt("CreatePartitions", 3, timeout_ms=10000, topics=topics, **more))
    topic = a.topic("p", 2)
    broker = a.call("Metadata", 12, topics=[])["brokers"][0]["node_id"]
    one = lambda count, assignments=None, name=topic: [{"name": name, "count": count, "assignments": assignments}]
    out = {
        "fewer": ask(one(1)),
        "same": ask(one(2)),
        "zero": ask(one(0)),
        "negative": ask(one(-1)),
        "unknown": ask(one(3, None, PREFIX + "none")),
        "validate only": ask(one(3), validate_only=True),
        "twice": ask(one(3) + one(4)),
        "one assignment for two": ask(one(4, [{"broker_ids": [broker]}])),
        "two for one": ask(one(3, [{"broker_ids": [broker]}] * 2)),
        "unknown broker": ask(one(3, [{"broker_ids": [999999]}])),
        "no brokers": ask(one(3, [{"broker_ids": []}])),
        "empty assignments": ask(one(3, [])),
        "still": len(a.call("Metadata", 12, topics=[{"name": topic}])["topics"][0]["partitions"]),
        "more": ask(one(5)),
        "10000 more": ask(one(10006), validate_only=True),
    }
    end = time.monotonic() + 10
    while (
        time.monotonic() < end and len(a.call("Metadata", 12, topics=[{"name": topic}])["topics"][0]["partitions"]) < 5
    ):
        time.sleep(0.05)
    return {
        **out,
        "now": sorted(
            p["partition_index"] for p in a.call("Metadata", 12, topics=[{"name": topic}])["topics"][0]["partitions"]
        ),
        "none": ask([]),
    }
