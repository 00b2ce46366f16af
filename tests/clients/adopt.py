#!/usr/bin/env python3
"""A log directory written by Apache Kafka, to be adopted by another broker.

  adopt.py make DIR      Apache Kafka writes topics, is stopped, and its partitions are copied to DIR/clean; it runs again,
                         is killed (kill -9), and they are copied to DIR/killed. DIR/expected.json says what is in them.
  adopt.py check DIR     BROKER_CMD (a command line with DIR and PORT in it) is started on a copy of DIR/clean, then of
                         DIR/killed; all must be served: every record, offset, timestamp and header, the log start
                         offsets, topic ids; then produced to, restarted, and read again

Needs Java and Maven for 'make' (kafka-reference.sh), nothing but Python for 'check', where records in snappy, lz4 and zstd
batches are compared by the batch's bytes.
"""

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

from kafka_wire import HERE, Connection, batch, batches
from managed import Broker

counts = collections.Counter()
# What is not a partition of a topic that a broker adopts.
OWN = ("__cluster_metadata-", "__consumer_offsets-", "__transaction_state-", "__share_group_state-")


def say(result, what, why=""):
    counts[result] += 1
    print(f"{result:4} adopt {what}{': ' if why else ''}{why}", flush=True)


def make_topic(c, name, partitions, **configs):
    made = c.call(
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
    for _ in range(200):
        t = c.call(
            "ListOffsets",
            7,
            replica_id=-1,
            topics=[{"name": name, "partitions": [{"partition_index": p, "timestamp": -1} for p in range(partitions)]}],
        )["topics"][0]
        if not any(p["error_code"] for p in t["partitions"]):
            return
        time.sleep(0.05)
    raise AssertionError(name)


def produce(c, topic, partition, records, acks=-1):
    for _ in range(300):
        answer = c.call(
            "Produce",
            9,
            acks=acks,
            timeout_ms=10000,
            topic_data=[{"name": topic, "partition_data": [{"index": partition, "records": records}]}],
        )
        p = answer["responses"][0]["partition_responses"][0]
        if p["error_code"] not in (3, 5, 6):  # not leading yet, after a start
            break
        time.sleep(0.1)
    assert p["error_code"] == 0, p
    return p["base_offset"]


def bound(c, topic, partition, timestamp):
    for _ in range(300):
        p = c.call(
            "ListOffsets",
            7,
            replica_id=-1,
            topics=[{"name": topic, "partitions": [{"partition_index": partition, "timestamp": timestamp}]}],
        )["topics"][0]["partitions"][0]
        if p["error_code"] not in (3, 5, 6):
            break
        time.sleep(0.1)
    return p["offset"]


def contents(c):
    """Every topic and partition: bounds, and each batch as its fields and a digest of its records."""
    out = {}
    for t in c.call("Metadata", 12, topics=None)["topics"]:
        if t["is_internal"] or t["name"].startswith("__"):
            continue
        parts = {}
        for p in sorted(t["partitions"], key=lambda p: p["partition_index"]):
            n = p["partition_index"]
            bounds = [bound(c, t["name"], n, s) for s in (-2, -1)]
            seen, at = [], bounds[0]
            while at < bounds[1]:
                answer = c.call(
                    "Fetch",
                    12,
                    max_wait_ms=500,
                    min_bytes=1,
                    max_bytes=1 << 20,
                    topics=[
                        {
                            "topic": t["name"],
                            "partitions": [{"partition": n, "fetch_offset": at, "partition_max_bytes": 1 << 20}],
                        }
                    ],
                )
                got = answer["responses"][0]["partitions"][0]
                whole = [b for b in batches(got["records"] or b"") if "torn" not in b]
                if got["error_code"] or not whole:
                    seen.append(f"error {got['error_code']} at {at}, {len(whole)} batches")
                    break
                for b in whole:
                    if b["base_offset"] + b["last_offset_delta"] < at:
                        continue
                    at = b["base_offset"] + b["last_offset_delta"] + 1
                    seen.append(
                        [
                            b[k]
                            for k in (
                                "base_offset",
                                "last_offset_delta",
                                "count",
                                "attributes",
                                "base_timestamp",
                                "max_timestamp",
                                "producer_id",
                                "producer_epoch",
                                "base_sequence",
                                "crc",
                            )
                        ]
                        + [b["crc_ok"]]
                    )
            digest = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
            parts[str(n)] = {
                "start": bounds[0],
                "end": bounds[1],
                "batches": len(seen),
                "digest": digest,
                "first": seen[:1],
                "last": seen[-1:],
            }
        out[t["name"]] = {"id": str(t["topic_id"]), "partitions": parts}
    return out


def write_topics(c):
    stamp = 1_600_000_000_000
    make_topic(c, "adopt-plain", 3)
    for p in range(3):
        for n in range(40):
            produce(
                c,
                "adopt-plain",
                p,
                batch(
                    [
                        {"value": b"%d-%d" % (n, i), "key": b"k%d" % i, "headers": [("h", b"1"), ("null", None)]}
                        for i in range(5)
                    ]
                    + [{"value": None, "key": b"gone"}],
                    timestamp=stamp + n * 1000,
                ),
            )
    make_topic(c, "adopt-gzip", 1)
    for n in range(30):
        produce(c, "adopt-gzip", 0, batch([b"value %d" % i * 20 for i in range(50)], attributes=1, timestamp=stamp + n))
    # Rolled by size (1 MiB is Kafka's least), and the first records deleted: the log does not begin at 0.
    make_topic(c, "adopt-segments", 2, segment_bytes=1 << 20)
    for p in range(2):
        for n in range(60):
            produce(c, "adopt-segments", p, batch([os.urandom(60_000)], timestamp=stamp + n * 1000))
    c.call(
        "DeleteRecords",
        2,
        timeout_ms=10000,
        topics=[{"name": "adopt-segments", "partitions": [{"partition_index": 1, "offset": 25}]}],
    )
    make_topic(c, "adopt-idempotent", 1)
    pid = next(
        a
        for a in (
            c.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=60000)
            for _ in iter(lambda: time.sleep(0.1), 1)
        )
        if a["error_code"] == 0
    )["producer_id"]
    now = int(time.time() * 1000)
    for n in range(10):
        produce(c, "adopt-idempotent", 0, batch([b"x", b"y"], producer_id=pid, epoch=0, sequence=2 * n, timestamp=now))
    make_topic(c, "adopt-log-append-time", 1, message_timestamp_type="LogAppendTime")
    produce(c, "adopt-log-append-time", 0, batch([b"x", b"y"]))
    make_topic(c, "adopt-empty", 2)
    return {"producer_id": pid, "timestamp": now}


def copy(data, to):
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(to)
    for name in os.listdir(data):
        path = os.path.join(data, name)
        if os.path.isdir(path) and not name.startswith(OWN):
            shutil.copytree(path, os.path.join(to, name))
            for f in os.listdir(os.path.join(to, name)):
                if f.endswith("index") and os.path.getsize(os.path.join(to, name, f)) >= 10_000_000:
                    cut_zeros(os.path.join(to, name, f))
        elif name.endswith("-checkpoint"):
            shutil.copy(path, to)


def cut_zeros(path):
    """An index left by kill -9 keeps its 10 MiB, zeros after the entries; kept as they are, but sparse on disk."""
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        data = f.read().rstrip(b"\0")
    with open(path, "wb") as f:
        f.write(data)
        f.truncate(size)


def make(to):
    broker = Broker(os.path.join(HERE, "kafka-reference.sh") + " run DIR PORT", os.path.join(to, "kafka"))
    shutil.rmtree(broker.data, ignore_errors=True)
    broker.start()
    try:
        with Connection(broker.bootstrap) as c:
            idempotent = write_topics(c)
        # Batches in the other codecs, by clients that have them.
        for codec in ("snappy", "lz4", "zstd"):
            for key in ("a", "b"):
                subprocess.run(
                    [
                        os.path.join(HERE, "kafka-reference.sh"),
                        "tool",
                        "org.apache.kafka.tools.ProducerPerformance",
                        "--topic",
                        f"adopt-{codec}",
                        "--num-records",
                        "500",
                        "--record-size",
                        "300",
                        "--throughput",
                        "-1",
                        "--producer-props",
                        f"bootstrap.servers={broker.bootstrap}",
                        f"compression.type={codec}",
                        "batch.size=4000",
                    ],
                    check=True,
                    capture_output=True,
                )
        with Connection(broker.bootstrap) as c:
            expected = {"clean": contents(c), **idempotent}
        broker.stop()
        copy(broker.data, os.path.join(to, "clean"))
        broker.start()
        with Connection(broker.bootstrap, 60) as c:
            for n in range(50):
                produce(c, "adopt-plain", 0, batch([b"after %d" % n]))
            expected["killed"] = contents(c)
        broker.kill()
        copy(broker.data, os.path.join(to, "killed"))
    finally:
        broker.stop()
    shutil.rmtree(broker.directory)
    with open(os.path.join(to, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1)
    for kind in ("clean", "killed"):
        say(
            "ok",
            f"made {to}/{kind}: {sum(len(t['partitions']) for t in expected[kind].values())} partitions of {len(expected[kind])} topics",
        )


def differences(want, got):
    for topic, t in want.items():
        if topic not in got:
            yield f"{topic} is not there"
            continue
        if got[topic]["id"] != t["id"]:
            yield f"{topic}: id {got[topic]['id']}, not {t['id']}"
        for n, p in t["partitions"].items():
            have = got[topic]["partitions"].get(n)
            if have != p:
                short = lambda x: x and {k: v for k, v in x.items() if not have or have.get(k) != p.get(k)}
                yield f"{topic}-{n}: {short(have)}, not {short(p)}"


def check(source):
    with open(os.path.join(source, "expected.json")) as f:
        expected = json.load(f)
    for kind in ("clean", "killed"):
        broker = Broker(os.environ["BROKER_CMD"])
        shutil.copytree(os.path.join(source, kind), broker.data)
        try:
            broker.start()
            with Connection(broker.bootstrap, 60) as c:
                wrong = list(differences(expected[kind], contents(c)))
                say("FAIL" if wrong else "ok", f"{kind}: served as Kafka left it", "; ".join(wrong[:6]))
                if wrong and len(wrong) >= len(expected[kind]):
                    continue
                end = expected[kind]["adopt-plain"]["partitions"]["1"]["end"]
                got = produce(c, "adopt-plain", 1, batch([b"new"]))
                say(
                    "ok" if got == end else "FAIL", f"{kind}: produced to", "" if got == end else f"at {got}, not {end}"
                )
                last = batch(
                    [b"x", b"y"],
                    producer_id=expected["producer_id"],
                    epoch=0,
                    sequence=18,
                    timestamp=expected["timestamp"],
                )
                got = produce(c, "adopt-idempotent", 0, last)
                say(
                    "ok" if got == 18 else "FAIL",
                    f"{kind}: an idempotent producer's last batch again",
                    "" if got == 18 else f"at {got}, not 18",
                )
                after = contents(c)
            code = broker.stop()
            say("ok" if code in (0, 143) else "FAIL", f"{kind}: stops", "" if code in (0, 143) else f"exit code {code}")
            broker.start()
            with Connection(broker.bootstrap, 60) as c:
                wrong = list(differences(after, contents(c)))
                say("FAIL" if wrong else "ok", f"{kind}: the same after a restart", "; ".join(wrong[:6]))
        except Exception as e:
            say("FAIL", kind, f"{type(e).__name__}: {e}; {broker.tail(600)}")
        finally:
            broker.stop()
            broker.clean()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "check"):
        sys.exit(__doc__)
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
    print(f"{counts['ok']} passed, {counts['FAIL']} failed")
    sys.exit(1 if counts["FAIL"] or not counts["ok"] else 0)
