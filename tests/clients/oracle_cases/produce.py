"""Produce: acks, errors, bad batches, limits, what is stored."""

import struct
import time

from kafka_wire import Closed, Timeout, batch, crc32c, record

from oracle_cases.asker import PREFIX, UNKNOWN_ID, ZERO, case, framed, raw


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
    struct.pack_into(">I", lie, 17, crc32c(lie[21:]))
    out["max timestamp lies"] = ask(bytes(lie))
    return {**out, "bounds": a.bounds(topic)}


@case
def produce_offsets_inside_a_batch_lie(a):
    """Record offset deltas 0, 2: the batch header says two records and last delta 1."""
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
            base_offset=0,
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
