#!/usr/bin/env python3
"""Asks a broker some hundreds of raw protocol questions and compares its answers with Apache Kafka's.

  oracle.py record FILE          ask $BOOTSTRAP and write the answers (normalised) to FILE
  oracle.py compare [FILE]       ask $BOOTSTRAP and compare with FILE (default: oracle-kafka-4.3.json beside this script)
  oracle.py diff A B             compare two files of answers
  oracle.py ask NAME-REGEX       ask $BOOTSTRAP and print the answers

NAME-REGEX after FILE chooses cases. Answers are normalised first: ids, times, hosts and this run's topic names are
replaced, so that what is left must agree: error codes, offsets, defaults, which connections are closed. Texts of
errors are kept for the reader and not compared. Where corelog differs on purpose, oracle-expected.json says so:
{"case": {"path regex": "reason"}}; such are counted as skipped, and an entry that no longer applies is a failure.
Needs nothing but Python.
"""

import json
import os
import random
import re
import struct
import sys
import time
import uuid

from kafka_wire import APIS, BY_NAME, HERE, Closed, Connection, Raw, Timeout, batch, batches, put, request, response

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092").split(",")[0]
GOLDEN = os.path.join(HERE, "oracle-kafka-4.3.json")
EXPECTED = os.path.join(HERE, "oracle-expected.json")
RUN = f"{random.randrange(1 << 32):08x}"
PREFIX = f"orc-{RUN}-"
ZERO = uuid.UUID(int=0)
UNKNOWN_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
# The APIs of the first milestone; the others are compared once corelog has them.
CORE = {0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 44, 60, 75}
ERRORS = dict(
    enumerate(
        """NONE OFFSET_OUT_OF_RANGE CORRUPT_MESSAGE UNKNOWN_TOPIC_OR_PARTITION INVALID_FETCH_SIZE LEADER_NOT_AVAILABLE
    NOT_LEADER_OR_FOLLOWER REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE MESSAGE_TOO_LARGE STALE_CONTROLLER_EPOCH
    OFFSET_METADATA_TOO_LARGE NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR
    INVALID_TOPIC_EXCEPTION RECORD_LIST_TOO_LARGE NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND INVALID_REQUIRED_ACKS
    ILLEGAL_GENERATION INCONSISTENT_GROUP_PROTOCOL INVALID_GROUP_ID UNKNOWN_MEMBER_ID INVALID_SESSION_TIMEOUT
    REBALANCE_IN_PROGRESS INVALID_COMMIT_OFFSET_SIZE TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED
    CLUSTER_AUTHORIZATION_FAILED INVALID_TIMESTAMP UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE UNSUPPORTED_VERSION
    TOPIC_ALREADY_EXISTS INVALID_PARTITIONS INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG NOT_CONTROLLER
    INVALID_REQUEST UNSUPPORTED_FOR_MESSAGE_FORMAT POLICY_VIOLATION OUT_OF_ORDER_SEQUENCE_NUMBER DUPLICATE_SEQUENCE_NUMBER
    INVALID_PRODUCER_EPOCH INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING INVALID_TRANSACTION_TIMEOUT CONCURRENT_TRANSACTIONS
    TRANSACTION_COORDINATOR_FENCED TRANSACTIONAL_ID_AUTHORIZATION_FAILED SECURITY_DISABLED OPERATION_NOT_ATTEMPTED
    KAFKA_STORAGE_ERROR LOG_DIR_NOT_FOUND SASL_AUTHENTICATION_FAILED UNKNOWN_PRODUCER_ID REASSIGNMENT_IN_PROGRESS
    DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND DELEGATION_TOKEN_OWNER_MISMATCH
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_AUTHORIZATION_FAILED DELEGATION_TOKEN_EXPIRED
    INVALID_PRINCIPAL_TYPE NON_EMPTY_GROUP GROUP_ID_NOT_FOUND FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH
    LISTENER_NOT_FOUND TOPIC_DELETION_DISABLED FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH UNSUPPORTED_COMPRESSION_TYPE
    STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE MEMBER_ID_REQUIRED PREFERRED_LEADER_NOT_AVAILABLE GROUP_MAX_SIZE_REACHED
    FENCED_INSTANCE_ID ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS
    GROUP_SUBSCRIBED_TO_TOPIC INVALID_RECORD UNSTABLE_OFFSET_COMMIT THROTTLING_QUOTA_EXCEEDED PRODUCER_FENCED
    RESOURCE_NOT_FOUND DUPLICATE_RESOURCE UNACCEPTABLE_CREDENTIAL INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION
    FEATURE_UPDATE_FAILED PRINCIPAL_DESERIALIZATION_FAILURE SNAPSHOT_NOT_FOUND POSITION_OUT_OF_RANGE UNKNOWN_TOPIC_ID
    DUPLICATE_BROKER_REGISTRATION BROKER_ID_NOT_REGISTERED INCONSISTENT_TOPIC_ID INCONSISTENT_CLUSTER_ID
    TRANSACTIONAL_ID_NOT_FOUND FETCH_SESSION_TOPIC_ID_ERROR INELIGIBLE_REPLICA NEW_LEADER_ELECTED OFFSET_MOVED_TO_TIERED_STORAGE
    FENCED_MEMBER_EPOCH UNRELEASED_INSTANCE_ID UNSUPPORTED_ASSIGNOR STALE_MEMBER_EPOCH MISMATCHED_ENDPOINT_TYPE
    UNSUPPORTED_ENDPOINT_TYPE UNKNOWN_CONTROLLER_ID UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE INVALID_REGISTRATION
    TRANSACTION_ABORTABLE INVALID_RECORD_STATE SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH
    FENCED_STATE_EPOCH INVALID_VOTER_KEY DUPLICATE_VOTER VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION
    REBOOTSTRAP_REQUIRED""".split()
    )
)
ERRORS[-1] = "UNKNOWN_SERVER_ERROR"
CASES = {}


def case(fn):
    CASES[fn.__name__.replace("_", " ")] = fn
    return fn


# ------------------------------------------------------------------ asking


class Asker:
    """A fresh connection for one case, and short ways to the usual requests."""

    def __init__(self):
        self.connections, self.made = [], {}
        self.c = self.connect()

    def connect(self, timeout=15.0):
        connection = Connection(BOOTSTRAP, timeout)
        self.connections.append(connection)
        return connection

    def close(self):
        for c in self.connections:
            c.close()

    def call(self, api, version, **fields):
        return self.c.call(api, version, **fields)

    def attempt(self, api, version, **fields):
        """The answer, or 'closed', on a connection of its own."""
        connection = self.connect()
        try:
            return connection.call(api, version, **fields)
        except Closed:
            return "closed"
        except Timeout:
            return "no answer"
        finally:
            connection.close()

    def name(self, stem):
        return PREFIX + stem + f"-{len(self.made)}-{random.randrange(1 << 20):05x}"

    def topic(self, stem="t", partitions=1, **configs):
        """Makes a topic and waits until all its partitions answer; its name."""
        name = self.name(stem)
        made = self.call(
            "CreateTopics",
            7,
            timeout_ms=10000,
            topics=[
                {
                    "name": name,
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()],
                }
            ],
        )["topics"][0]
        assert made["error_code"] == 0, made
        self.made[name] = made["topic_id"]
        end = time.monotonic() + 10
        while time.monotonic() < end:
            answer = self.call(
                "ListOffsets",
                7,
                replica_id=-1,
                topics=[
                    {"name": name, "partitions": [{"partition_index": p, "timestamp": -1} for p in range(partitions)]}
                ],
            )
            if all(p["error_code"] == 0 for t in answer["topics"] for p in t["partitions"]):
                return name
            time.sleep(0.05)
        raise AssertionError(f"{name}: {answer}")

    def produce(self, topic, records, partition=0, version=11, acks=-1, timeout_ms=10000, **more):
        answer = self.call(
            "Produce",
            version,
            acks=acks,
            timeout_ms=timeout_ms,
            topic_data=[{"name": topic, "partition_data": [{"index": partition, "records": records}]}],
            **more,
        )
        return answer["responses"][0]["partition_responses"][0]

    def produce_raw(self, topic, records, version=11, acks=-1):
        """The same on a connection of its own, which may be closed."""
        answer = self.attempt(
            "Produce",
            version,
            acks=acks,
            timeout_ms=10000,
            topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": records}]}],
        )
        return answer if isinstance(answer, str) else answer["responses"][0]["partition_responses"][0]

    def fetch(self, topic, offset, partition=0, version=12, **more):
        one = {
            k: more.pop(k)
            for k in ("partition_max_bytes", "current_leader_epoch", "last_fetched_epoch", "log_start_offset")
            if k in more
        }
        fields = {"max_wait_ms": 100, "min_bytes": 1, "max_bytes": 1 << 20, **more}
        where = {"topic_id": self.made.get(topic, UNKNOWN_ID)} if version >= 13 else {"topic": topic}
        answer = self.call(
            "Fetch",
            version,
            topics=[
                {
                    **where,
                    "partitions": [
                        {"partition": partition, "fetch_offset": offset, "partition_max_bytes": 1 << 20, **one}
                    ],
                }
            ],
            **fields,
        )
        return self.fetched(answer)

    @staticmethod
    def fetched(answer):
        """A fetch response with its records as a short account of the batches."""
        for t in answer["responses"]:
            for p in t["partitions"]:
                if p["records"] is not None:
                    p["records"] = [
                        f"{b['base_offset']}+{b['count']}" for b in batches(p["records"]) if "torn" not in b
                    ]
        if answer.get("session_id"):
            answer["session_id"] = "<session>"
        return answer

    def raw_batches(self, topic, offset=0, version=12):
        answer = self.call(
            "Fetch",
            version,
            max_wait_ms=500,
            min_bytes=1,
            max_bytes=1 << 20,
            topics=[
                {
                    "topic": topic,
                    "partitions": [{"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}],
                }
            ],
        )
        return batches(answer["responses"][0]["partitions"][0]["records"] or b"")

    def offsets(self, topic, timestamp, partition=0, version=7, **more):
        one = {k: more.pop(k) for k in ("current_leader_epoch",) if k in more}
        answer = self.call(
            "ListOffsets",
            version,
            **{"replica_id": -1, **more},
            topics=[{"name": topic, "partitions": [{"partition_index": partition, "timestamp": timestamp, **one}]}],
        )
        return answer["topics"][0]["partitions"][0]

    def bounds(self, topic):
        return [self.offsets(topic, t)["offset"] for t in (-2, -1)]

    def producer(self):
        for _ in range(100):
            answer = self.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=60000)
            if answer["error_code"] != 14:  # Kafka fetches its first block of ids after it has started
                break
            time.sleep(0.1)
        assert answer["error_code"] == 0, answer
        return answer["producer_id"]


def raw(data, wait=5.0, shut=False):
    """What comes back for raw bytes: the answer's correlation id, 'closed', or 'open' if nothing comes."""
    connection = Connection(BOOTSTRAP, wait)
    try:
        connection.send(data)
        if shut:
            connection.socket.shutdown(1)
        frame = connection.frame()
        return {"answer to": struct.unpack_from(">i", frame)[0]}
    except Closed:
        return "closed"
    except Timeout:
        return "open"
    finally:
        connection.close()


def framed(body):
    return struct.pack(">i", len(body)) + body


def timed(fn, *args, **more):
    start = time.monotonic()
    return fn(*args, **more), time.monotonic() - start


# ------------------------------------------------------------------ ApiVersions and frames


@case
def api_versions(a):
    answer = a.call("ApiVersions", 3, client_software_name="oracle", client_software_version="1")
    return {
        APIS[k["api_key"]].name: f"{k['min_version']}-{k['max_version']}"
        for k in answer["api_keys"]
        if k["api_key"] in CORE
    }


@case
def api_versions_other_versions(a):
    out = {}
    for version in (0, 1, 2, 3, 4):
        fields = {"client_software_name": "oracle", "client_software_version": "1"} if version >= 3 else {}
        answer = a.call("ApiVersions", version, **fields)
        out[version] = {
            "error_code": answer["error_code"],
            "fields": sorted(answer),
            "has_produce": any(k["api_key"] == 0 for k in answer["api_keys"]),
        }
    return out


@case
def api_versions_unknown_version(a):
    """KIP-511: version 0 of the response, with UNSUPPORTED_VERSION and the versions of ApiVersions itself."""
    out = {}
    for version in (5, 99, 32767, -1):
        body = struct.pack(">hhih", 18, version, 77, 1) + b"x" + b"\0" + b"\x07oracle\x021\0"
        connection = a.connect()
        try:
            connection.send(framed(body))
            correlation, answer = response("ApiVersions", 0, connection.frame())
            out[version] = {
                "correlation": correlation,
                "error_code": answer["error_code"],
                "api_keys": [[k["api_key"], k["min_version"], k["max_version"]] for k in answer["api_keys"]],
            }
            connection.send(framed(request("ApiVersions", 0, 78, {})))
            out[version]["then v0 works"] = response("ApiVersions", 0, connection.frame())[1]["error_code"]
        except Closed:
            out[version] = "closed"
    return out


@case
def api_versions_bad_software_name(a):
    return {
        name: (lambda r: r if isinstance(r, str) else r["error_code"])(
            a.attempt("ApiVersions", 3, client_software_name=name, client_software_version="1")
        )
        for name in ("", "-x", "ok-name.1", "with space", "sl/ash")
    }


@case
def unknown_api_keys_and_versions(a):
    header = lambda key, version: struct.pack(">hhih", key, version, 5, -1)
    return {
        "key 999": raw(framed(header(999, 0))),
        "key -1": raw(framed(header(-1, 0))),
        "Metadata v99": raw(framed(header(3, 99) + b"\0" * 8)),
        "Metadata v-1": raw(framed(header(3, -1) + b"\0" * 8)),
        "Produce v99": raw(framed(header(0, 99) + b"\0" * 20)),
        "Fetch v0": raw(framed(header(1, 0) + b"\0" * 20)),
        "LeaderAndIsr": raw(framed(header(4, 0) + b"\0" * 20)),
        "Vote, a controller's": raw(framed(header(52, 0) + b"\0" * 20)),
    }


@case
def frame_lengths(a):
    good = request("Metadata", 1, 9, {"topics": []})
    return {
        "zero": raw(struct.pack(">i", 0)),
        "negative": raw(struct.pack(">i", -1)),
        "least": raw(struct.pack(">i", -(2**31))),
        "one more than 100 MiB": raw(struct.pack(">i", 104857601)),
        "largest": raw(struct.pack(">i", 2**31 - 1)),
        "HTTP": raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        "TLS hello": raw(bytes.fromhex("16030100c8010000c40303") + b"\0" * 200),
        "1 byte": raw(framed(b"\0")),
        "3 bytes": raw(framed(b"\0\3\0")),
        "8 bytes, no client id": raw(framed(good[:8])),
        "client id runs over": raw(framed(good[:8] + struct.pack(">h", 1000) + b"x")),
        "half a frame, then end": raw(framed(good)[:-3], shut=True),
    }


@case
def request_bodies(a):
    head = struct.pack(">hhih", 3, 1, 9, -1)
    flexible = struct.pack(">hhih", 3, 12, 9, -1)
    return {
        "body missing": raw(framed(head)),
        "array runs over": raw(framed(head + struct.pack(">i", 5))),
        "array of 2^31-1": raw(framed(head + struct.pack(">i", 2**31 - 1))),
        "array of -2": raw(framed(head + struct.pack(">i", -2))),
        "string of -2": raw(framed(head + struct.pack(">ih", 1, -2))),
        "string runs over": raw(framed(head + struct.pack(">ih", 1, 32767) + b"abc")),
        "a byte after the body": raw(framed(head + struct.pack(">i", 0) + b"\0")),
        "100 bytes after the body": raw(framed(head + struct.pack(">i", 0) + b"\xff" * 100)),
        "compact array of 2^32-1": raw(framed(flexible + b"\0" + b"\xff\xff\xff\xff\x0f")),
        "varint of 10 bytes": raw(framed(flexible + b"\0" + b"\xff" * 9 + b"\x01")),
        "varint without end": raw(framed(flexible + b"\0" + b"\xff" * 40)),
        "not UTF-8": raw(framed(head + struct.pack(">ih", 1, 3) + b"\xff\xfe\xfd")),
        "null client id": raw(framed(struct.pack(">hhih", 3, 1, -7, -1) + struct.pack(">i", 0))),
        "unknown tags": raw(framed(flexible + b"\x01\x63\x02ab" + b"\x01" + b"\0\0" + b"\x01\x63\x01z")),
        "tags out of order": raw(framed(flexible + b"\x02\x63\x02ab\x05\x01x" + b"\x01" + b"\0\0" + b"\0")),
        "tag runs over": raw(framed(flexible + b"\x01\x63\x7fab" + b"\x01" + b"\0\0" + b"\0")),
    }


@case
def answers_keep_the_order_of_requests(a):
    """A fetch that waits, then a quick request on the same connection: the fetch is answered first."""
    topic = a.topic()
    first = a.c.start(
        "Fetch",
        12,
        max_wait_ms=700,
        min_bytes=1,
        max_bytes=1000,
        topics=[{"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}],
    )
    second = a.c.start("ListOffsets", 7, replica_id=-1, topics=[])
    return {
        "fetch first": a.c.finish("Fetch", 12)[0] == first,
        "then the other": a.c.finish("ListOffsets", 7)[0] == second,
    }


# ------------------------------------------------------------------ every version of every API


@case
def every_version_answers(a):
    """A harmless request in every version the broker advertises; the answer must decode to its last byte."""
    topic = a.topic("every", 1)
    a.produce(topic, batch([b"x"]))
    topic_id = a.made[topic]
    pid = a.producer()
    part = lambda **more: [{"partition_index": 0, **more}]
    ways = {
        "Produce": lambda v: {
            "acks": -1,
            "timeout_ms": 5000,
            "topic_data": [
                {
                    ("topic_id" if v >= 13 else "name"): topic_id if v >= 13 else topic,
                    "partition_data": [{"index": 0, "records": batch([b"y"])}],
                }
            ],
        },
        "Fetch": lambda v: {
            "max_wait_ms": 10,
            "min_bytes": 0,
            "max_bytes": 100,
            "topics": [
                {
                    ("topic_id" if v >= 13 else "topic"): topic_id if v >= 13 else topic,
                    "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}],
                }
            ],
        },
        "ListOffsets": lambda v: {"replica_id": -1, "topics": [{"name": topic, "partitions": part(timestamp=-1)}]},
        "Metadata": lambda v: {"topics": [{"name": topic}]},
        "ApiVersions": lambda v: {"client_software_name": "o", "client_software_version": "1"} if v >= 3 else {},
        "CreateTopics": lambda v: {
            "timeout_ms": 5000,
            "topics": [{"name": a.name(f"cv{v}"), "num_partitions": 1, "replication_factor": 1}],
        },
        "DeleteTopics": lambda v: {
            "timeout_ms": 5000,
            **({"topics": [{"name": PREFIX + "none"}]} if v >= 6 else {"topic_names": [PREFIX + "none"]}),
        },
        "DeleteRecords": lambda v: {"timeout_ms": 5000, "topics": [{"name": topic, "partitions": part(offset=0)}]},
        "InitProducerId": lambda v: {"transactional_id": None, "transaction_timeout_ms": 1000},
        "OffsetForLeaderEpoch": lambda v: {
            "topics": [{"topic": topic, "partitions": [{"partition": 0, "leader_epoch": 0}]}]
        },
        "DescribeConfigs": lambda v: {
            "resources": [{"resource_type": 2, "resource_name": topic, "configuration_keys": ["retention.ms"]}]
        },
        "AlterConfigs": lambda v: {
            "validate_only": True,
            "resources": [{"resource_type": 2, "resource_name": topic, "configs": []}],
        },
        "DescribeLogDirs": lambda v: {"topics": [{"topic": topic, "partitions": [0]}]},
        "CreatePartitions": lambda v: {
            "timeout_ms": 5000,
            "validate_only": True,
            "topics": [{"name": topic, "count": 2, "assignments": None}],
        },
        "IncrementalAlterConfigs": lambda v: {
            "validate_only": True,
            "resources": [{"resource_type": 2, "resource_name": topic, "configs": []}],
        },
        "DescribeCluster": lambda v: {},
        "DescribeTopicPartitions": lambda v: {"topics": [{"name": topic}]},
    }
    advertised = {k["api_key"]: k for k in a.call("ApiVersions", 0)["api_keys"]}
    out = {}
    for name, way in ways.items():
        key = BY_NAME[name].key
        if key not in advertised:
            out[name] = "not advertised"
            continue
        for version in range(
            max(advertised[key]["min_version"], BY_NAME[name].first),
            min(advertised[key]["max_version"], BY_NAME[name].last) + 1,
        ):
            try:
                answer = a.attempt(name, version, **way(version))
            except ValueError as e:
                answer = f"does not decode: {e}"
            codes = sorted(set(re.findall(r"'error_code': (-?\d+)", str(answer))), key=int)
            out[f"{name} v{version}"] = answer if isinstance(answer, str) else [ERRORS[int(c)] for c in codes]
    return out


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


# ------------------------------------------------------------------ Produce


@case
def produce_acks(a):
    topic = a.topic("w")
    out = {str(acks): a.produce(topic, batch([b"x", b"y"]), acks=acks) for acks in (1, -1)}
    for acks in (2, -2, 3, 32767):
        out[str(acks)] = a.attempt(
            "Produce",
            11,
            acks=acks,
            timeout_ms=1000,
            topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": batch([b"x"])}]}],
        )
    a.c.start(
        "Produce",
        11,
        acks=0,
        timeout_ms=1000,
        topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": batch([b"z"])}]}],
    )
    end = time.monotonic() + 5
    while time.monotonic() < end and a.bounds(topic)[1] < 5:
        time.sleep(0.05)
    return {**out, "after acks=0": a.bounds(topic)}


@case
def produce_acks_0_errors_close(a):
    """With acks=0 there is no answer to carry an error, so Kafka closes the connection."""
    topic = a.topic("w")
    out = {}
    for what, fields in {
        "unknown topic": {"name": PREFIX + "none", "records": batch([b"x"])},
        "bad crc": {"name": topic, "records": batch([b"x"], crc=1)},
    }.items():
        connection = a.connect(3)
        try:
            connection.start(
                "Produce",
                11,
                acks=0,
                timeout_ms=1000,
                topic_data=[{"name": fields["name"], "partition_data": [{"index": 0, "records": fields["records"]}]}],
            )
            time.sleep(0.3)
            connection.call("ApiVersions", 0)
            out[what] = "open"
        except (Closed, Timeout) as e:
            out[what] = type(e).__name__
    return out


@case
def produce_to_nowhere(a):
    topic = a.topic("w", 2)
    return {
        "unknown topic": a.produce(PREFIX + "none", batch([b"x"])),
        "unknown partition": a.produce(topic, batch([b"x"]), 2),
        "negative partition": a.produce(topic, batch([b"x"]), -1),
        "empty name": a.produce_raw("", batch([b"x"])),
        "bad name": a.produce_raw("a/b", batch([b"x"])),
        "no topics": a.attempt("Produce", 11, acks=-1, timeout_ms=1000, topic_data=[]),
        "no partitions": a.attempt(
            "Produce", 11, acks=-1, timeout_ms=1000, topic_data=[{"name": topic, "partition_data": []}]
        ),
        "one good, one unknown": a.call(
            "Produce",
            11,
            acks=-1,
            timeout_ms=1000,
            topic_data=[
                {
                    "name": topic,
                    "partition_data": [{"index": 0, "records": batch([b"x"])}, {"index": 7, "records": batch([b"x"])}],
                }
            ],
        )["responses"],
        "twice the same partition": a.attempt(
            "Produce",
            11,
            acks=-1,
            timeout_ms=1000,
            topic_data=[
                {
                    "name": topic,
                    "partition_data": [{"index": 1, "records": batch([b"x"])}, {"index": 1, "records": batch([b"y"])}],
                }
            ],
        ),
        "bounds": a.bounds(topic),
    }


@case
def produce_by_topic_id(a):
    topic = a.topic("w")
    ask = lambda topic_id: a.attempt(
        "Produce",
        13,
        acks=-1,
        timeout_ms=1000,
        topic_data=[{"topic_id": topic_id, "partition_data": [{"index": 0, "records": batch([b"x"])}]}],
    )
    return {"known": ask(a.made[topic]), "unknown": ask(UNKNOWN_ID), "zero": ask(ZERO)}


@case
def produce_bad_batches(a):
    topic = a.topic("w")
    good = batch([b"one", b"two", b"three"])
    ask = lambda records: a.produce_raw(topic, records)
    out = {
        "crc": ask(batch([b"x"], crc=12345)),
        "magic 0": ask(batch([b"x"], magic=0)),
        "magic 1": ask(batch([b"x"], magic=1)),
        "magic 3": ask(batch([b"x"], magic=3)),
        "magic -1": ask(batch([b"x"], magic=-1)),
        "null": ask(None),
        "empty": ask(b""),
        "one byte": ask(b"\0"),
        "60 bytes": ask(good[:60]),
        "cut in the records": ask(good[:-3]),
        "a byte more": ask(good + b"\0"),
        "20 bytes more": ask(good + b"\0" * 20),
        "length too large": ask(batch([b"x"], length=1000)),
        "length too small": ask(batch([b"x"], length=20)),
        "length 0": ask(batch([b"x"], length=0)),
        "length negative": ask(batch([b"x"], length=-1)),
        "length 2^31-1": ask(batch([b"x"], length=2**31 - 1)),
        "no records": ask(batch([])),
        "no records, count -1": ask(batch([], count=-1)),
        "count too large": ask(batch([b"x"], count=5)),
        "count too small": ask(batch([b"x", b"y"], count=1)),
        "count 2^31-1": ask(batch([b"x"], count=2**31 - 1)),
        "count -1": ask(batch([b"x"], count=-1)),
        "count 0": ask(batch([b"x"], count=0)),
        "count and delta lie together": ask(batch([b"x"], count=5, last_delta=4)),
        "last delta too large": ask(batch([b"x"], last_delta=9)),
        "last delta too small": ask(batch([b"x", b"y"], last_delta=0)),
        "last delta negative": ask(batch([b"x"], last_delta=-1)),
        "two batches": ask(good + good),
        "first batch good, second corrupt": ask(good + batch([b"x"], crc=1)),
        "base offset not 0": ask(batch([b"x", b"y"], base_offset=77)),
        "base offset negative": ask(batch([b"x"], base_offset=-5)),
        "control batch": ask(batch([b"x"], attributes=32)),
        "transactional without a producer": ask(batch([b"x"], attributes=16)),
        "unknown codec 5": ask(batch([b"x"], attributes=5)),
        "unknown codec 7": ask(batch([b"x"], attributes=7)),
        "unknown attribute bits": ask(batch([b"x"], attributes=1 << 10)),
        "says gzip, is garbage": ask(batch([b"x"], attributes=1, records=b"not gzip at all")),
        "says zstd, is garbage": ask(batch([b"x"], attributes=4, records=b"\1\2\3\4\5")),
        "says lz4, is garbage": ask(batch([b"x"], attributes=3, records=b"\1\2\3\4\5")),
        "says snappy, is garbage": ask(batch([b"x"], attributes=2, records=b"\1\2\3\4\5")),
        "gzip": ask(batch([b"x", b"y"], attributes=1)),
        "gzip, count lies": ask(batch([b"x", b"y"], attributes=1, count=3, last_delta=2)),
        "records are garbage": ask(batch([b"x"], records=b"\xff" * 10)),
        "records missing": ask(batch([b"x"], records=b"")),
        "bytes after the records": ask(batch([b"x"], records=batch([b"x"])[61:] + b"\0\0\0")),
        "log append time bit": ask(batch([b"x"], attributes=8)),
        "timestamp -1": ask(batch([b"x"], timestamp=-1)),
        "timestamp -2": ask(batch([b"x"], timestamp=-2)),
        "timestamp far ahead": ask(batch([b"x"], timestamp=int(time.time() * 1000) + 3 * 86_400_000)),
        "timestamp 0": ask(batch([b"x"], timestamp=0)),
        "max timestamp lies": None,
    }
    lie = bytearray(batch([b"x"], timestamp=1000))
    struct.pack_into(">q", lie, 35, 99_000)
    struct.pack_into(">I", lie, 17, __import__("kafka_wire").crc32c(lie[21:]))
    out["max timestamp lies"] = ask(bytes(lie))
    return {**out, "bounds": a.bounds(topic)}


@case
def produce_offsets_inside_a_batch_lie(a):
    """Record offset deltas 0, 2: the batch header says two records and last delta 1."""
    from kafka_wire import record

    topic = a.topic("w")
    lie = batch([b"x", b"y"], records=record(b"x") + record(b"y", offset_delta=2))
    order = batch([b"x", b"y"], records=record(b"x", offset_delta=1) + record(b"y", offset_delta=0))
    return {"gap": a.produce_raw(topic, lie), "wrong order": a.produce_raw(topic, order), "bounds": a.bounds(topic)}


@case
def produce_too_large(a):
    topic, default = a.topic("w", max_message_bytes=1000), a.topic("d")
    fits = batch([b"x" * (1000 - 61 - 10)])
    exact = batch([b"x" * 900])
    exact = batch([b"x" * (900 + 1000 - len(exact))])
    return {
        "below": a.produce(topic, fits),
        "exactly the limit": [len(exact), a.produce(topic, exact)],
        "one more": a.produce(topic, batch([b"x" * (len(exact) - len(batch([b""])) + 2)])),
        "two small ones together above": a.produce(topic, fits + fits),
        "default limit": a.produce(default, batch([b"x" * 1_048_588])),
        "default limit fits": a.produce(default, batch([b"x" * 1_048_000])),
    }


@case
def produce_compact_topic(a):
    topic = a.topic("w", cleanup_policy="compact")
    return {
        "no key": a.produce(topic, batch([b"x"])),
        "key": a.produce(topic, batch([{"value": b"x", "key": b"k"}])),
        "tombstone": a.produce(topic, batch([{"value": None, "key": b"k"}])),
        "one of two without": a.produce(topic, batch([{"value": b"x", "key": b"k"}, b"y"])),
    }


@case
def produce_old_versions(a):
    """Kafka advertises Produce from 0 for librdkafka's sake and does not serve 0 to 2."""
    topic = a.topic("w")
    out = {}
    for version in (0, 1, 2):
        body = (
            struct.pack(">hhih", 0, version, 5, -1)
            + struct.pack(">hii", -1, 1000, 1)
            + struct.pack(">h", len(topic))
            + topic.encode()
            + struct.pack(">ii", 1, 0)
        )
        records = batch([b"x"])
        out[f"v{version}"] = raw(framed(body + struct.pack(">i", len(records)) + records))
    out["v3"] = a.produce_raw(topic, batch([b"x"]), 3)
    out["v7 zstd"] = a.produce_raw(topic, batch([b"x"], attributes=4), 6)
    return out


@case
def produce_log_append_time(a):
    topic = a.topic("w", message_timestamp_type="LogAppendTime")
    now = int(time.time() * 1000)
    answer = a.produce(topic, batch([b"x", b"y"], timestamps=[1000, 2000]))
    b = a.raw_batches(topic)[0]
    return {
        "answer": answer,
        "near now": abs(answer["log_append_time_ms"] - now) < 10_000,
        "attributes": b["attributes"],
        "crc_ok": b["crc_ok"],
        "max is the answer": b["max_timestamp"] == answer["log_append_time_ms"],
        "base_timestamp": b["base_timestamp"],
        "max timestamp finds": a.offsets(topic, -3)["offset"],
    }


@case
def produce_stored_batch(a):
    """What the broker changes in a stored batch: base offset and leader epoch, nothing else."""
    topic = a.topic("w")
    a.produce(topic, batch([b"a"]))
    a.produce(
        topic,
        batch(
            [{"value": b"v", "key": b"k", "headers": [("h", b"1"), ("h", None)]}, {"value": None}],
            base_offset=55,
            leader_epoch=99,
        ),
    )
    return [{**b, "crc": None, "records": str(b["records"])} for b in a.raw_batches(topic)]


@case
def produce_timestamp_limits(a):
    topic = a.topic("w", message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=1000)
    now = int(time.time() * 1000)
    return {
        "now": a.produce(topic, batch([b"x"], timestamp=now)),
        "past": a.produce(topic, batch([b"x"], timestamp=now - 60_000)),
        "future": a.produce(topic, batch([b"x"], timestamp=now + 60_000)),
        "one of two": a.produce(topic, batch([b"x", b"y"], timestamps=[now, now - 60_000])),
        "bounds": a.bounds(topic),
    }


@case
def produce_compression_type_of_the_topic(a):
    """compression.type other than 'producer' makes Kafka recompress."""
    topic = a.topic("w", compression_type="gzip")
    a.produce(topic, batch([b"x" * 100]))
    other = a.topic("w", compression_type="uncompressed")
    a.produce(other, batch([b"x" * 100], attributes=1))
    return {
        "gzip": [b["attributes"] for b in a.raw_batches(topic)],
        "uncompressed": [b["attributes"] for b in a.raw_batches(other)],
    }


@case
def produce_transactional_id_given(a):
    topic = a.topic("w")
    return a.attempt(
        "Produce",
        11,
        transactional_id="some-id",
        acks=-1,
        timeout_ms=1000,
        topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": batch([b"x"])}]}],
    )


# ------------------------------------------------------------------ idempotent producers


@case
def idempotent_in_order_and_duplicates(a):
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda sequence, n=2, epoch=0: a.produce(
        topic, batch([b"x"] * n, producer_id=pid, epoch=epoch, sequence=sequence)
    )
    out = {
        "0": put_(0),
        "2": put_(2),
        "2 again": put_(2),
        "0 again": put_(0),
        "4": put_(4),
        "6": put_(6),
        "8": put_(8),
        "10": put_(10),
    }
    out["the oldest of five again"] = put_(2)
    out["the sixth last again"] = put_(0)
    out["a part of the last batch"] = put_(10, 1)
    out["overlaps the last batch"] = put_(11, 2)
    out["goes on"] = put_(12)
    return {**out, "bounds": a.bounds(topic)}


@case
def idempotent_gaps(a):
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda sequence, epoch=0: a.produce(topic, batch([b"x"], producer_id=pid, epoch=epoch, sequence=sequence))
    return {"0": put_(0), "gap": put_(2), "next": put_(1), "big gap": put_(1000), "bounds": a.bounds(topic)}


@case
def idempotent_first_sequence_not_zero(a):
    topic = a.topic("i", 2)
    pid = a.producer()
    return {
        "known pid, new partition": a.produce(topic, batch([b"x"], producer_id=pid, epoch=0, sequence=5)),
        "and on": a.produce(topic, batch([b"x"], producer_id=pid, epoch=0, sequence=6)),
        "back to 0": a.produce(topic, batch([b"x"], producer_id=pid, epoch=0, sequence=0)),
        "pid never given out": a.produce(topic, batch([b"x"], producer_id=987654321, epoch=0, sequence=3), 1),
        "its next": a.produce(topic, batch([b"x"], producer_id=987654321, epoch=0, sequence=4), 1),
    }


@case
def idempotent_epochs(a):
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda epoch, sequence: a.produce(topic, batch([b"x"], producer_id=pid, epoch=epoch, sequence=sequence))
    return {
        "epoch 1, 0": put_(1, 0),
        "old epoch": put_(0, 1),
        "old epoch, sequence 0": put_(0, 0),
        "new epoch, not 0": put_(2, 5),
        "new epoch, 0": put_(2, 0),
        "same sequence in the new epoch": put_(2, 0),
        "epoch jumps": put_(7, 0),
        "epoch back": put_(6, 0),
        "epoch -1": put_(-1, 0),
    }


@case
def idempotent_bad_fields(a):
    topic, pid = a.topic("i"), a.producer()
    ask = lambda **more: a.produce_raw(topic, batch([b"x"], **more))
    return {
        "no sequence": ask(producer_id=pid, epoch=0, sequence=-1),
        "no epoch": ask(producer_id=pid, epoch=-1, sequence=0),
        "pid -2": ask(producer_id=-2, epoch=0, sequence=0),
        "only sequence": ask(sequence=0),
        "only epoch": ask(epoch=0),
        "sequence -5": ask(producer_id=pid, epoch=0, sequence=-5),
    }


@case
def idempotent_two_batches_in_one_request(a):
    topic, pid = a.topic("i"), a.producer()
    b = lambda sequence, n=1: batch([b"x"] * n, producer_id=pid, epoch=0, sequence=sequence)
    return {"both new": a.produce_raw(topic, b(0) + b(1)), "alone": a.produce(topic, b(0)), "bounds": a.bounds(topic)}


@case
def idempotent_sequence_wraps(a):
    top = 2**31 - 1
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda sequence, n=1: a.produce(topic, batch([b"x"] * n, producer_id=pid, epoch=0, sequence=sequence))
    out = {"to the top": put_(top - 1, 2), "after the top": put_(0), "on": put_(1), "the first again": put_(top - 1, 2)}
    other = a.topic("i")
    put2 = lambda sequence, n=1: a.produce(other, batch([b"x"] * n, producer_id=pid, epoch=0, sequence=sequence))
    return {
        **out,
        "across the top": put2(top, 3),
        "after it": put2(2),
        "duplicate across": put2(top, 3),
        "bounds": [a.bounds(topic), a.bounds(other)],
    }


@case
def idempotent_mixed_with_plain(a):
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda sequence: a.produce(topic, batch([b"x"], producer_id=pid, epoch=0, sequence=sequence))
    return {"0": put_(0), "plain": a.produce(topic, batch([b"p"])), "1": put_(1), "0 again": put_(0)}


@case
def idempotent_after_delete_records(a):
    topic, pid = a.topic("i"), a.producer()
    put_ = lambda sequence: a.produce(topic, batch([b"x"], producer_id=pid, epoch=0, sequence=sequence))
    out = {"0": put_(0), "1": put_(1)}
    a.call(
        "DeleteRecords",
        2,
        timeout_ms=5000,
        topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": -1}]}],
    )
    return {**out, "1 again": put_(1), "2": put_(2), "gap": put_(9)}


@case
def init_producer_id(a):
    ask = lambda version, **more: a.attempt(
        "InitProducerId", version, **{"transactional_id": None, "transaction_timeout_ms": 60000, **more}
    )
    hide = lambda r: (
        r if isinstance(r, str) else {**r, "producer_id": "<pid>" if r["producer_id"] >= 0 else r["producer_id"]}
    )
    first, second = ask(4), ask(4)
    return {
        "first": hide(first),
        "another each time": first["producer_id"] != second["producer_id"],
        "v0": hide(ask(0)),
        "v2": hide(ask(2)),
        "v5": hide(ask(5)),
        "timeout 0": hide(ask(4, transaction_timeout_ms=0)),
        "timeout -1": hide(ask(4, transaction_timeout_ms=-1)),
        "timeout huge": hide(ask(4, transaction_timeout_ms=2**31 - 1)),
        "with an old pid and epoch": hide(ask(4, producer_id=first["producer_id"], producer_epoch=0)),
        "and it stays": ask(4, producer_id=first["producer_id"], producer_epoch=0) == first,
        "pid without epoch": hide(ask(4, producer_id=5, producer_epoch=-1)),
        "epoch without pid": hide(ask(4, producer_id=-1, producer_epoch=3)),
    }


# ------------------------------------------------------------------ Fetch


def three_batches(a, partitions=1, **configs):
    """Batches at 0, 10 and 20, ten records each, about a kilobyte each."""
    topic = a.topic("f", partitions, **configs)
    for partition in range(partitions):
        for n in range(3):
            a.produce(topic, batch([b"%03d" % n + b"x" * 90] * 10, timestamp=1_000_000 + n * 1000), partition)
    return topic


@case
def fetch_offsets(a):
    topic = three_batches(a)
    out = {str(o): a.fetch(topic, o) for o in (0, 5, 10, 29, 30, 31, 1000, -1, -2, -5, 2**63 - 1)}
    return {
        **out,
        "v4": a.fetch(topic, 0, version=4),
        "v5": a.fetch(topic, 0, version=5),
        "v18": a.fetch(topic, 0, version=18),
        "read committed": a.fetch(topic, 0, isolation_level=1),
        "isolation 5": a.attempt("Fetch", 12, max_wait_ms=1, min_bytes=0, max_bytes=1, isolation_level=5, topics=[]),
    }


@case
def fetch_to_nowhere(a):
    topic = three_batches(a)
    return {
        "unknown topic": a.fetch(PREFIX + "none", 0),
        "unknown partition": a.fetch(topic, 0, 7),
        "negative partition": a.fetch(topic, 0, -1),
        "unknown id": a.fetch("x", 0, version=13),
        "unknown partition by id": a.fetch(topic, 0, 7, version=13),
        "zero id": a.fetched(
            a.call(
                "Fetch",
                13,
                max_wait_ms=1,
                min_bytes=0,
                max_bytes=100,
                topics=[
                    {"topic_id": ZERO, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}]}
                ],
            )
        ),
        "no topics": a.fetched(a.call("Fetch", 12, max_wait_ms=1, min_bytes=0, max_bytes=100, topics=[])),
        "one good, one unknown": a.fetched(
            a.call(
                "Fetch",
                12,
                max_wait_ms=1,
                min_bytes=0,
                max_bytes=100,
                topics=[
                    {"topic": t, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}]}
                    for t in (topic, PREFIX + "none")
                ],
            )
        ),
    }


@case
def fetch_errors_do_not_wait(a):
    """An error in one partition answers at once, whatever max_wait says."""
    topic = three_batches(a)
    _, took = timed(a.fetch, topic, 1000, max_wait_ms=3000)
    _, unknown = timed(a.fetch, topic, 0, 7, max_wait_ms=3000)
    return {"out of range at once": took < 1.5, "unknown partition at once": unknown < 1.5}


@case
def fetch_limits(a):
    topic = three_batches(a, 2)
    get_ = lambda **more: [p["records"] for t in a.fetch(topic, 0, **more)["responses"] for p in t["partitions"]]
    size = len(batch([b"000" + b"x" * 90] * 10, timestamp=1_000_000))
    both = lambda first, **more: [
        [p["partition"] if "partition" in p else p["partition_index"], p["records"]]
        for t in a.fetched(
            a.call(
                "Fetch",
                12,
                **{"max_wait_ms": 1, "min_bytes": 1, "max_bytes": 1 << 20, **more},
                topics=[
                    {
                        "topic": topic,
                        "partitions": [
                            {"partition": p, "fetch_offset": 0, "partition_max_bytes": more.get("each", 1 << 20)}
                            for p in first
                        ],
                    }
                ],
            )
        )["responses"]
        for p in t["partitions"]
    ]

    def two(each, order=(0, 1), **more):
        answer = a.call(
            "Fetch",
            12,
            **{"max_wait_ms": 1, "min_bytes": 1, "max_bytes": 1 << 20, **more},
            topics=[
                {
                    "topic": topic,
                    "partitions": [{"partition": p, "fetch_offset": 0, "partition_max_bytes": each} for p in order],
                }
            ],
        )
        return [[p["partition_index"], p["records"]] for t in a.fetched(answer)["responses"] for p in t["partitions"]]

    return {
        "batch bytes": size,
        "max_bytes 1": get_(max_bytes=1),
        "max_bytes 0": get_(max_bytes=0),
        "max_bytes negative": get_(max_bytes=-1),
        "partition_max_bytes 1": get_(partition_max_bytes=1),
        "partition_max_bytes 0": get_(partition_max_bytes=0),
        "partition_max_bytes negative": get_(partition_max_bytes=-1),
        "one batch": get_(partition_max_bytes=size),
        "a batch and a byte": get_(partition_max_bytes=size + 1),
        "two batches": get_(partition_max_bytes=2 * size),
        "max_bytes of two batches": get_(max_bytes=2 * size),
        "from 5, max 1": [p["records"] for t in a.fetch(topic, 5, max_bytes=1)["responses"] for p in t["partitions"]],
        "two partitions, max_bytes 1": two(1 << 20, max_bytes=1),
        "two partitions, 1 each": two(1),
        "two partitions, other order": two(1 << 20, (1, 0), max_bytes=1),
        "two partitions, max_bytes of 4 batches": two(1 << 20, max_bytes=4 * size),
        "two partitions, one batch each": two(size),
        "twice the same": two(size, (0, 0)),
    }


@case
def fetch_waits(a):
    topic = three_batches(a)
    size = len(batch([b"000" + b"x" * 90] * 10, timestamp=1_000_000))
    out = {}
    answer, took = timed(a.fetch, topic, 30, max_wait_ms=600)
    out["at the end: waits, empty"] = [0.5 < took < 3, answer["responses"][0]["partitions"][0]["records"]]
    answer, took = timed(a.fetch, topic, 0, max_wait_ms=600, min_bytes=100_000)
    out["too little: waits, and gives it"] = [0.5 < took < 3, answer["responses"][0]["partitions"][0]["records"]]
    _, took = timed(a.fetch, topic, 0, max_wait_ms=2000, min_bytes=3 * size)
    out["just enough: at once"] = took < 1
    _, took = timed(a.fetch, topic, 0, max_wait_ms=1500, min_bytes=3 * size + 1)
    out["one byte too few: waits"] = took > 1.2
    _, took = timed(a.fetch, topic, 30, max_wait_ms=2000, min_bytes=0)
    out["min_bytes 0: at once"] = took < 1
    _, took = timed(a.fetch, topic, 30, max_wait_ms=0)
    out["max_wait 0: at once"] = took < 1
    _, took = timed(a.fetch, topic, 0, max_wait_ms=1500, min_bytes=2 * size, partition_max_bytes=1)
    out["min_bytes over partition_max_bytes: waits"] = took > 1.2
    _, took = timed(a.fetch, topic, 30, max_wait_ms=-1)
    out["max_wait negative: at once"] = took < 1
    return out


@case
def fetch_wakes(a):
    topic, other = three_batches(a, 2), a.connect()
    ask = {
        "max_wait_ms": 5000,
        "min_bytes": 1,
        "max_bytes": 1 << 20,
        "topics": [
            {
                "topic": topic,
                "partitions": [{"partition": p, "fetch_offset": 30, "partition_max_bytes": 1 << 20} for p in (0, 1)],
            }
        ],
    }

    def woken(do):
        started = time.monotonic()
        other.start("Fetch", 12, **ask)
        time.sleep(0.3)
        do()
        answer = a.fetched(other.finish("Fetch", 12)[1])
        return [
            time.monotonic() - started < 2.5,
            [[p["partition_index"], p["records"]] for t in answer["responses"] for p in t["partitions"]],
        ]

    return {"by a produce": woken(lambda: a.produce(topic, batch([b"x"]), 1))}


@case
def fetch_leader_epochs(a):
    topic = three_batches(a)
    return {
        "current epoch 0": a.fetch(topic, 0, current_leader_epoch=0),
        "current epoch 5": a.fetch(topic, 0, current_leader_epoch=5),
        "last fetched 0": a.fetch(topic, 10, last_fetched_epoch=0),
        "last fetched 5": a.fetch(topic, 10, last_fetched_epoch=5),
        "last fetched 0, past the end": a.fetch(topic, 40, last_fetched_epoch=0),
        "current epoch -2": a.fetch(topic, 0, current_leader_epoch=-2),
    }


class Session:
    """Fetch sessions, KIP-227, by topic id."""

    def __init__(self, a, version=13):
        self.a, self.version, self.id = a, version, 0

    def ask(self, epoch, wants=(), forget=(), session=None):
        key = lambda topic: {"topic_id": self.a.made[topic]} if self.version >= 13 else {"topic": topic}
        answer = self.a.call(
            "Fetch",
            self.version,
            max_wait_ms=50,
            min_bytes=1,
            max_bytes=1 << 20,
            session_id=self.id if session is None else session,
            session_epoch=epoch,
            topics=[
                {**key(t), "partitions": [{"partition": p, "fetch_offset": o, "partition_max_bytes": 1 << 20}]}
                for t, p, o in wants
            ],
            forgotten_topics_data=[{**key(t), "partitions": [p]} for t, p in forget],
        )
        if session is None and answer["session_id"]:
            self.id = answer["session_id"]
        known = answer["session_id"] == self.id != 0
        answer = self.a.fetched(answer)
        return {
            "error_code": answer["error_code"],
            "session": "same" if known else answer["session_id"],
            "partitions": [
                [p["partition_index"], p["error_code"], p["records"], p["high_watermark"]]
                for t in answer["responses"]
                for p in t["partitions"]
            ],
        }


@case
def fetch_sessions(a):
    topic = three_batches(a, 3)
    s, out = Session(a), {}
    out["opens"] = s.ask(0, [(topic, 0, 0), (topic, 1, 30)])
    out["nothing new"] = s.ask(1, [(topic, 0, 30)])
    out["nothing at all"] = s.ask(2)
    a.produce(topic, batch([b"x"]), 1)
    out["only what changed"] = s.ask(3)
    out["told again until the offset moves"] = s.ask(4)
    out["offset moved"] = s.ask(5, [(topic, 1, 31)])
    out["a partition more"] = s.ask(6, [(topic, 2, 0)])
    out["forgets one"] = s.ask(7, [], [(topic, 2)])
    out["forgotten"] = s.ask(8)
    out["forgets one it has not"] = s.ask(9, [], [(topic, 2)])
    out["an unknown partition"] = s.ask(10, [(topic, 9, 0)])
    out["still tells of it"] = s.ask(11)
    out["out of range"] = s.ask(12, [(topic, 9, 0), (topic, 0, 500)])
    out["epoch from before"] = s.ask(5)
    out["the right epoch after it"] = s.ask(13)
    out["epoch too far"] = s.ask(20)
    out["closed by -1"] = s.ask(-1)
    out["then gone"] = s.ask(14)
    return out


@case
def fetch_session_errors(a):
    topic = three_batches(a)
    s, out = Session(a), {}
    out["unknown session"] = s.ask(1, session=12345)
    out["unknown session, full"] = s.ask(0, [(topic, 0, 0)], session=12345)
    out["unknown session, final"] = s.ask(-1, [(topic, 0, 0)], session=12345)
    out["no session, epoch 1"] = s.ask(1, [(topic, 0, 0)], session=0)
    out["no session, epoch -1"] = s.ask(-1, [(topic, 0, 0)], session=0)
    out["no partitions"] = s.ask(0)
    out["negative session"] = s.ask(1, session=-1)
    t = Session(a)
    out["opens"] = t.ask(0, [(topic, 0, 0)])
    out["full again on it"] = t.ask(0, [(topic, 0, 0)])
    return out


@case
def fetch_session_by_name(a):
    topic = three_batches(a, 2)
    s, out = Session(a, 12), {}
    out["opens"] = s.ask(0, [(topic, 0, 0), (topic, 1, 30)])
    out["incremental"] = s.ask(1)
    s.version = 13
    out["then by id"] = s.ask(2)
    return out


@case
def fetch_session_of_a_deleted_topic(a):
    topic = three_batches(a)
    s, out = Session(a), {}
    out["opens"] = s.ask(0, [(topic, 0, 30)])
    a.call("DeleteTopics", 6, timeout_ms=10000, topics=[{"name": topic}])
    time.sleep(0.5)
    out["after the delete"] = s.ask(1)
    return out


# ------------------------------------------------------------------ ListOffsets, OffsetForLeaderEpoch, DeleteRecords


@case
def list_offsets(a):
    topic, empty = three_batches(a), a.topic("e")
    out = {
        str(t): a.offsets(topic, t, version=11 if t < -3 else 7)
        for t in (
            -1,
            -2,
            -3,
            -4,
            -5,
            -6,
            -7,
            -100,
            0,
            999_999,
            1_000_000,
            1_000_001,
            1_000_500,
            1_002_000,
            1_002_001,
            2**62,
        )
    }
    out.update(
        {f"empty {t}": a.offsets(empty, t, version=11 if t < -3 else 7) for t in (-1, -2, -3, -4, -5, 0, 1_000_000)}
    )
    out.update(
        {
            "unknown topic": a.offsets(PREFIX + "none", -1),
            "unknown partition": a.offsets(topic, -1, 9),
            "negative partition": a.offsets(topic, -1, -1),
            "v1": a.offsets(topic, -1, version=1),
            "v1 time": a.offsets(topic, 1_001_000, version=1),
            "v6 max timestamp": a.offsets(topic, -3, version=6),
            "v7 -4": a.offsets(topic, -4, version=7),
            "read committed": a.offsets(topic, -1, isolation_level=1),
            "epoch 0": a.offsets(topic, -1, current_leader_epoch=0),
            "epoch 9": a.offsets(topic, -1, current_leader_epoch=9),
            "replica -2": a.offsets(topic, -1, replica_id=-2),
            "replica 7": a.offsets(topic, -1, replica_id=7),
        }
    )
    return out


@case
def list_offsets_out_of_order_times(a):
    topic = a.topic("f")
    for stamps in ([5000, 1000, 9000, 2000], [3000, 8000], [9000]):
        a.produce(topic, batch([b"x"] * len(stamps), timestamps=stamps))
    return {str(t): a.offsets(topic, t) for t in (-3, 0, 1000, 1001, 2500, 5000, 5001, 9000, 9001)}


@case
def list_offsets_duplicates_in_one_request(a):
    topic = three_batches(a)
    return a.attempt(
        "ListOffsets",
        7,
        replica_id=-1,
        topics=[{"name": topic, "partitions": [{"partition_index": 0, "timestamp": t} for t in (-1, -2)]}],
    )


@case
def offset_for_leader_epoch(a):
    topic = three_batches(a)

    def ask(epoch, partition=0, name=topic, version=4, **more):
        answer = a.call(
            "OffsetForLeaderEpoch",
            version,
            topics=[{"topic": name, "partitions": [{"partition": partition, "leader_epoch": epoch, **more}]}],
        )
        return answer["topics"][0]["partitions"][0]

    return {
        **{str(e): ask(e) for e in (0, 1, 5, -1, -2)},
        "current 0": ask(0, current_leader_epoch=0),
        "current 5": ask(0, current_leader_epoch=5),
        "unknown partition": ask(0, 9),
        "unknown topic": ask(0, 0, PREFIX + "none"),
        "v2": ask(0, version=2),
    }


@case
def delete_records(a):
    topic, other = three_batches(a), three_batches(a)

    def ask(offset, name=topic, partition=0):
        answer = a.call(
            "DeleteRecords",
            2,
            timeout_ms=5000,
            topics=[{"name": name, "partitions": [{"partition_index": partition, "offset": offset}]}],
        )
        return answer["topics"][0]["partitions"][0]

    out = {"0": ask(0), "7": ask(7)}
    out["bounds"] = a.bounds(topic)
    out["fetch at 7"] = a.fetch(topic, 7)
    out["fetch at 6"] = a.fetch(topic, 6)
    out["by time, before"] = a.offsets(topic, 0)
    out["back to 3"] = ask(3)
    out["beyond"] = ask(31)
    out["-2"] = ask(-2)
    out["to the end, 30"] = ask(30)
    out["all, -1"] = ask(-1, other)
    out["bounds of both"] = [a.bounds(topic), a.bounds(other)]
    out["max timestamp of none"] = a.offsets(other, -3)
    out["produce after"] = a.produce(other, batch([b"x"]))
    out["unknown topic"] = ask(0, PREFIX + "none")
    out["unknown partition"] = ask(0, topic, 9)
    compact = a.topic("c", cleanup_policy="compact")
    out["compact topic"] = ask(0, compact)
    return out


# ------------------------------------------------------------------ configs


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
        "no.such.key",
    ]
    return {"by id": describe(a, 4, str(broker), keys), "cluster default": describe(a, 4, "", keys)}


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


# ------------------------------------------------------------------ describing


@case
def describe_cluster(a):
    ask = lambda version, **more: (lambda r: r if isinstance(r, str) else {**r, "brokers": bool(r["brokers"])})(
        a.attempt("DescribeCluster", version, **more)
    )
    return {
        "v0": ask(0),
        "v1": ask(1),
        "v2": ask(2),
        "operations": ask(0, include_cluster_authorized_operations=True),
        "controllers": ask(1, endpoint_type=2),
        "endpoint 9": ask(1, endpoint_type=9),
        "fenced too": ask(2, include_fenced_brokers=True),
    }


@case
def describe_topic_partitions(a):
    names = sorted([a.topic("q1", 3), a.topic("q2", 2)])

    def ask(topics, limit=2000, cursor=None):
        answer = a.attempt(
            "DescribeTopicPartitions",
            0,
            topics=[{"name": n} for n in topics],
            response_partition_limit=limit,
            cursor=cursor,
        )
        if isinstance(answer, str):
            return answer
        for t in answer["topics"]:
            t["partitions"] = [p["partition_index"] for p in t["partitions"]]
        return answer

    return {
        "shape": a.call("DescribeTopicPartitions", 0, topics=[{"name": names[1]}]),
        "both": ask(names),
        "other order": ask(names[::-1]),
        "limit 2": ask(names, 2),
        "limit 3": ask(names, 3),
        "limit 4": ask(names, 4),
        "limit 0": ask(names, 0),
        "limit -1": ask(names, -1),
        "cursor": ask(names, 2, {"topic_name": names[0], "partition_index": 2}),
        "cursor at the second": ask(names, 2000, {"topic_name": names[1], "partition_index": 0}),
        "cursor beyond": ask(names, 2000, {"topic_name": names[0], "partition_index": 9}),
        "negative cursor": ask(names, 2000, {"topic_name": names[0], "partition_index": -1}),
        "cursor before all": ask(names, 2000, {"topic_name": PREFIX[:-1], "partition_index": 0}),
        "unknown": ask([PREFIX + "none", names[0]]),
        "bad name": ask(["a/b"]),
        "twice": ask([names[0], names[0]]),
    }


@case
def describe_log_dirs(a):
    topic = three_batches(a, 2)

    def ask(version, topics):
        answer = a.call("DescribeLogDirs", version, topics=topics)
        for r in answer["results"]:
            r["log_dir"] = "<dir>"
            r["topics"] = [t for t in r["topics"] if t["name"] == topic]
            for t in r["topics"]:
                t["partitions"].sort(key=lambda p: p["partition_index"])
            for k in ("total_bytes", "usable_bytes"):
                if k in r:
                    r[k] = r[k] > 0
        merged = {
            json.dumps({k: v for k, v in r.items() if k != "topics"}, sort_keys=True): None for r in answer["results"]
        }
        return {
            **answer,
            "results": [json.loads(m) for m in merged],
            "topics": [t for r in answer["results"] for t in r["topics"]],
        }

    return {
        "one": ask(4, [{"topic": topic, "partitions": [0]}]),
        "both, v1": ask(1, [{"topic": topic, "partitions": [0, 1]}]),
        "all": ask(4, None),
        "unknown partition": ask(4, [{"topic": topic, "partitions": [9]}]),
        "unknown topic": ask(4, [{"topic": PREFIX + "none", "partitions": [0]}]),
        "none": ask(4, []),
        "v5": ask(5, [{"topic": topic, "partitions": [0]}]),
    }


# ------------------------------------------------------------------ normalising, comparing

NODE = {"leader_id", "node_id", "broker_id", "controller_id", "leader"}
NODES = {"replica_nodes", "isr_nodes"}


def normal(value, key="", brokers=frozenset()):
    if isinstance(value, dict):
        return {
            (k if isinstance(k, str) else str(k)).replace(PREFIX, ""): normal(v, k, brokers)
            for k, v in value.items()
            if k not in ("throttle_time_ms", "port", "cluster_id")
        }
    if isinstance(value, (list, tuple)):
        if key in NODES:
            return ["<broker>" if v in brokers else v for v in value]
        return [normal(v, "", brokers) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and isinstance(key, str) and key.endswith("error_code"):
        return f"{value} {ERRORS.get(value, '?')}"
    if isinstance(value, int) and key in NODE and value in brokers:
        return "<broker>"
    if isinstance(value, uuid.UUID):
        return "<no id>" if value == ZERO else "<id>"
    if isinstance(value, bytes):
        return value.hex()
    if key in ("host", "rack"):
        return f"<{key}>"
    if key == "log_append_time_ms" and value > 0:
        return "<time>"
    if isinstance(value, str):
        return re.sub(re.escape(PREFIX) + r"(\w+?)-\d+-[0-9a-f]{5}", r"\1", value).replace(PREFIX, "")
    return value


def flat(value, path=""):
    if isinstance(value, dict) and value:
        for k in value:
            yield from flat(value[k], f"{path}/{k}")
    elif isinstance(value, list) and value:
        for i, v in enumerate(value):
            yield from flat(v, f"{path}/{i}")
    else:
        yield path, value


def ask(pattern=""):
    with Connection(BOOTSTRAP) as c:
        brokers = {b["node_id"] for b in c.call("Metadata", 12, topics=[])["brokers"]}
    answers = {}
    for name, fn in CASES.items():
        if not re.search(pattern, name):
            continue
        try:
            a = Asker()
        except OSError as e:
            answers[name] = {"raised": f"{type(e).__name__}: {e}"[:300]}
            continue
        try:
            answers[name] = normal(fn(a), "", brokers)
            for topic in a.made:
                try:
                    a.connect(5).call("DeleteTopics", 5, timeout_ms=5000, topic_names=[topic])
                except (Closed, Timeout, OSError):
                    pass
        except Exception as e:
            answers[name] = {"raised": normal(f"{type(e).__name__}: {e}"[:300])}
        finally:
            a.close()
    return json.loads(json.dumps(answers))


def compare(want, got, expected):
    passed = failed = skipped = 0
    for name in want:
        if name not in got:
            continue
        w, g = ({p: v for p, v in flat(answers[name]) if not p.endswith("error_message")} for answers in (want, got))
        if "raised" in got[name]:
            differences = [("", None, got[name]["raised"])]
        else:
            differences = [
                (p, w.get(p, "<absent>"), g.get(p, "<absent>"))
                for p in sorted(set(w) | set(g))
                if w.get(p, "<absent>") != g.get(p, "<absent>")
            ]
        reasons, left, used = expected.get(name, {}), [], set()
        for path, kafka, ours in differences:
            reason = next((r for r in reasons if re.fullmatch(r, path)), None)
            if reason is None:
                left.append((path, kafka, ours))
            else:
                used.add(reason)
        stale = set(reasons) - used
        skipped += len(used)
        for r in sorted(used):
            print(f"skip {name}: {r}: {reasons[r]}")
        if left or stale:
            failed += 1
            print(f"FAIL {name}")
            for path, kafka, ours in left[:40]:
                print(f"     {path}: Kafka {json.dumps(kafka)}, this broker {json.dumps(ours)}")
            if len(left) > 40:
                print(f"     and {len(left) - 40} more")
            for r in sorted(stale):
                print(f"     expected difference no longer there: {r}")
        else:
            passed += 1
            print(f"ok   {name}: {len(w)} answers")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def lines(value, depth, indent=""):
    """JSON with the first levels one entry a line, so that a change of one answer is a change of one line."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    return (
        "{\n"
        + ",\n".join(
            f"{inner}{json.dumps(k, ensure_ascii=False)}: {lines(v, depth - 1, inner)}" for k, v in value.items()
        )
        + "\n"
        + indent
        + "}"
    )


def main():
    command, args = sys.argv[1:2], sys.argv[2:]
    read = lambda path: json.load(open(path))
    if command == ["record"]:
        answers = ask(*args[1:2])
        with open(args[0], "w") as f:
            f.write(lines(answers, 2) + "\n")
        raised = [k for k, v in answers.items() if "raised" in v]
        print(f"{len(answers)} cases in {args[0]}, {len(raised)} raised: {[(k, answers[k]) for k in raised]}")
        return 1 if raised else 0
    if command == ["ask"]:
        print(json.dumps(ask(*args), indent=1, ensure_ascii=False))
        return 0
    expected = read(EXPECTED) if os.path.exists(EXPECTED) else {}
    if command == ["compare"]:
        golden, pattern = (args + [GOLDEN, ""][len(args) :])[:2]
        return compare(read(golden), ask(pattern), expected)
    if command == ["diff"]:
        return compare(read(args[0]), read(args[1]), {})
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
