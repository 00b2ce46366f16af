"""ApiVersions, frames and bodies, and every version of every API."""

import re
import struct

from kafka_wire import APIS, BY_NAME, Closed, batch, request, response

from oracle_cases.asker import CORE, ERRORS, PREFIX, case, framed, raw


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
    a.producer()  # waits until there is one
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
