#!/usr/bin/env python3
"""Drives a running broker with three Python clients: confluent-kafka (librdkafka), kafka-python and aiokafka.

  BOOTSTRAP=127.0.0.1:9092 python-clients.py [NAME-REGEX]

Each test runs in a process of its own and is killed at its time limit, so one that hangs does not stop the rest.

Environment:
  BOOTSTRAP    broker list, default 127.0.0.1:9092
  TAGS         which kinds of test: basic,group,kip848,admin,txn,slow,interop (default: all but slow)
  WITHOUT      groups,txn: leave out the tests that need consumer groups, transactions, or both (tags group, kip848,
               txn, and those of tag admin that name a group)
  SKIP         regex of test names to leave out
  CODECS       default none,gzip,snappy,lz4,zstd
  RF           replication factor of the topics made here, default 1
  MULT         multiplier for time limits, default 1
  AUTO_CREATE  1: never create topics, let the broker make them on first use (for brokers without CreateTopics)
  CLIENT_CONF  file of librdkafka key=value lines (security.protocol, sasl.*, ssl.ca.location) used by all clients
  LIST         1: only list the tests

Needs: the packages in requirements.txt
"""
import asyncio
import multiprocessing
import os
import queue
import random
import re
import sys
import threading
import time
import traceback

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
TAGS = set(os.environ.get("TAGS", "basic,group,kip848,admin,txn,interop").split(","))
WITHOUT = set(filter(None, os.environ.get("WITHOUT", "").split(",")))
CODECS = os.environ.get("CODECS", "none,gzip,snappy,lz4,zstd").split(",")
RF = int(os.environ.get("RF", "1"))
MULT = float(os.environ.get("MULT", "1"))
AUTO_CREATE = os.environ.get("AUTO_CREATE") == "1"
RUN = f"{int(time.time()) % 1000000:06d}{random.randrange(1000):03d}"
PARTS = 4
TESTS = []


class Skip(Exception):
    pass


def test(tag, limit=60, each=None):
    """Registers a test; with `each`, once for every value in it."""
    def register(fn):
        for value in each if each is not None else [None]:
            name = fn.__name__ if value is None else f"{fn.__name__}[{value}]"
            TESTS.append((name, tag, limit, fn, value))
        return fn
    return register


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def eq(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {str(got)[:300]!r}, want {str(want)[:300]!r}")


def wait_for(condition, seconds, what, step=lambda: time.sleep(0.1)):
    end = time.monotonic() + seconds * MULT
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        step()
    raise AssertionError(f"not within {seconds * MULT:.0f}s: {what}")


# ------------------------------------------------------------------ connection settings

def file_conf():
    conf = {}
    if os.environ.get("CLIENT_CONF"):
        for line in open(os.environ["CLIENT_CONF"]):
            line = line.strip()
            if line and not line.startswith("#"):
                key, _, value = line.partition("=")
                conf[key.strip()] = value.strip()
    return conf


def ck(**more):
    """Settings for confluent-kafka: underscores become dots."""
    conf = {"bootstrap.servers": BOOTSTRAP, "log_level": 3, **file_conf()}
    conf.update({key.replace("_", "."): value for key, value in more.items()})
    return conf


def py(**more):
    """Settings for kafka-python and aiokafka."""
    conf, read = {"bootstrap_servers": BOOTSTRAP.split(",")}, file_conf()
    if "security.protocol" in read:
        conf["security_protocol"] = read["security.protocol"].upper()
    if "sasl.mechanisms" in read or "sasl.mechanism" in read:
        conf["sasl_mechanism"] = read.get("sasl.mechanism") or read["sasl.mechanisms"]
        conf["sasl_plain_username"] = read.get("sasl.username")
        conf["sasl_plain_password"] = read.get("sasl.password")
    if "ssl.ca.location" in read:
        import ssl
        conf["ssl_context"] = ssl.create_default_context(cafile=read["ssl.ca.location"])
    conf.update(more)
    return conf


# ------------------------------------------------------------------ shared pieces

def name_of(stem):
    return f"pc-{RUN}-{stem}-{random.randrange(1 << 24):06x}"


def ck_admin():
    from confluent_kafka.admin import AdminClient
    return AdminClient(ck())


def new_topic(stem, partitions=PARTS, **config):
    """Makes a topic and waits until its leaders are known; its name."""
    from confluent_kafka.admin import NewTopic
    name = name_of(stem)
    admin = ck_admin()
    if AUTO_CREATE:
        if config:
            raise Skip("needs topic settings, and AUTO_CREATE=1")
        from confluent_kafka import Producer
        producer = Producer(ck(allow_auto_create_topics=True))
        producer.list_topics(name, timeout=10)
    else:
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        spec = NewTopic(name, num_partitions=partitions, replication_factor=RF, config=config)
        for future in admin.create_topics([spec], request_timeout=20).values():
            future.result(30)

    def ready():
        meta = admin.list_topics(name, timeout=10).topics[name]
        return meta.error is None and meta.partitions and all(p.leader >= 0 for p in meta.partitions.values())
    wait_for(ready, 15, f"leaders of {name}")
    return name


def settle(topic, partition):
    """Waits until the leader answers for a partition."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition
    consumer = Consumer(ck(group_id=name_of("g"), enable_auto_commit=False))

    def answers():
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5) is not None
        except KafkaException:
            return False
    wait_for(answers, 15, f"the leader of {topic} answers")
    consumer.close()


def partitions_of(topic):
    return sorted(ck_admin().list_topics(topic, timeout=10).topics[topic].partitions)


def sample(count, base=None):
    """Messages with every shape of key, value and headers: (key, value, headers, timestamp)."""
    base = base or int(time.time() * 1000) - 3_600_000
    rnd = random.Random(count)
    out = []
    for i in range(count):
        key = [b"key-%d" % (i % 9), None, b"", b"k\x00\xff"][i % 4]
        value = b"%06d " % i + b"abcdefgh" * (i % 40) + rnd.randbytes(i % 17)
        if i % 7 == 3 and key:
            value = None
        elif i % 11 == 5:
            value = b""
        headers = [[], [("one", b"1")], [("twice", b"a"), ("twice", b"b"), ("empty", b"")],
                   [("\u00e9\u4e2d", "\u00e9\u4e2d".encode()), ("bin", bytes(range(256)))]][i % 4]
        out.append((key, value, headers, base + i * 10))
    return out


def ck_produce(topic, messages, partition=0, **conf):
    """Produces in order to one partition and waits for all acknowledgements; the offsets given."""
    from confluent_kafka import Producer
    producer = Producer(ck(**conf))
    got, errors = {}, []

    def delivered(index):
        def report(err, msg):
            if err:
                errors.append(err)
            else:
                got[index] = msg.offset()
        return report
    for i, (key, value, headers, stamp) in enumerate(messages):
        while True:
            try:
                producer.produce(topic, key=key, value=value, headers=headers, timestamp=stamp, partition=partition,
                                 on_delivery=delivered(i))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(30 * MULT)
    check(not errors, f"delivery failed: {errors[:3]}")
    eq(left, 0, "messages without an acknowledgement")
    return [got[i] for i in range(len(messages))]


def ck_read(topic, partitions, count=None, seconds=30, start=None, **conf):
    """Reads given partitions from the start to their ends (or `count` messages)."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
    consumer = Consumer(ck(group_id=name_of("g"), enable_auto_commit=False, enable_partition_eof=True,
                           auto_offset_reset="error", **conf))
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING if start is None else start) for p in partitions])
    out, ended, end = [], set(), time.monotonic() + seconds * MULT
    try:
        while time.monotonic() < end:
            msg = consumer.poll(0.5)
            if msg is None:
                continue
            if msg.error():
                check(msg.error().code() == KafkaError._PARTITION_EOF, f"consumer error: {msg.error()}")
                ended.add(msg.partition())
                if count is None and len(ended) == len(partitions):
                    return out
                continue
            out.append(msg)
            ended.discard(msg.partition())
            if count is not None and len(out) >= count:
                return out
        raise AssertionError(f"read {len(out)} messages, ends {sorted(ended)}, and no more in {seconds * MULT:.0f}s")
    finally:
        consumer.close()


def ck_next(consumer, seconds=20):
    """The next message or error event. (A Message with no value is false, so compare with None.)"""
    end = time.monotonic() + seconds * MULT
    while time.monotonic() < end:
        msg = consumer.poll(0.5)
        if msg is not None:
            return msg
    raise AssertionError(f"nothing from the consumer in {seconds * MULT:.0f}s")


def same_messages(got, want, what):
    """got: list of (offset, key, value, headers, timestamp)."""
    eq(len(got), len(want), f"{what}: number of messages")
    for i, ((offset, key, value, headers, stamp), (k, v, h, t)) in enumerate(zip(got, want)):
        eq(offset, i, f"{what}: offset of message {i}")
        eq(key, k, f"{what}: key of message {i}")
        eq(value, v, f"{what}: value of message {i}")
        eq([(n, x) for n, x in headers or []], h, f"{what}: headers of message {i}")
        eq(stamp, t, f"{what}: timestamp of message {i}")


def ck_tuple(m):
    return m.offset(), m.key(), m.value(), m.headers(), m.timestamp()[1]


# ------------------------------------------------------------------ confluent-kafka: basic

@test("basic")
def confluent_metadata():
    topic = new_topic("meta")
    meta = ck_admin().list_topics(timeout=10)
    check(meta.brokers, "no brokers in metadata")
    check(meta.cluster_id, "no cluster id")
    check(meta.controller_id in meta.brokers, f"controller {meta.controller_id} is not a broker")
    check(topic in meta.topics, "topic missing from the full metadata")
    for p in meta.topics[topic].partitions.values():
        check(p.leader in meta.brokers, f"leader {p.leader} unknown")
        check(p.leader in p.isrs and set(p.isrs) <= set(p.replicas), f"replicas {p.replicas}, in sync {p.isrs}")


@test("basic", each=CODECS)
def confluent_round_trip(codec):
    topic = new_topic("rt-" + codec)
    want = sample(500)
    offsets = ck_produce(topic, want, compression_type=codec, linger_ms=20, enable_idempotence=False)
    eq(offsets, list(range(500)), "offsets acknowledged")
    same_messages([ck_tuple(m) for m in ck_read(topic, [0])], want, codec)


@test("basic", each=["0", "1", "all"])
def confluent_acks(acks):
    topic = new_topic("acks")
    want = sample(200)
    if acks == "0":  # A broker that names itself leader a moment before it is one loses acks=0 by right.
        settle(topic, 0)
    ck_produce(topic, want, acks=acks, enable_idempotence=False)
    msgs = ck_read(topic, [0], count=200)
    same_messages([ck_tuple(m) for m in msgs], want, f"acks={acks}")


@test("basic")
def confluent_many_partitions_order():
    topic = new_topic("order", 8)
    parts = partitions_of(topic)
    from confluent_kafka import Producer
    producer = Producer(ck(linger_ms=5, batch_num_messages=37, enable_idempotence=True))
    for i in range(20000):
        producer.produce(topic, b"%d" % i, partition=parts[i % len(parts)])
        if i % 500 == 0:
            producer.poll(0)
    eq(producer.flush(60 * MULT), 0, "unacknowledged")
    per = {p: [] for p in parts}
    for m in ck_read(topic, parts, seconds=60):
        eq(m.offset(), len(per[m.partition()]), f"offset in partition {m.partition()}")
        per[m.partition()].append(int(m.value()))
    for n, p in enumerate(parts):
        eq(per[p], list(range(n, 20000, len(parts))), f"order in partition {p}")


@test("basic")
def confluent_large_messages():
    topic = new_topic("large", 1)
    want = [(None, os.urandom(size), [], 1_700_000_000_000 + n) for n, size in enumerate([900_000, 1, 500_000, 999_000])]
    ck_produce(topic, want)
    # A limit below the message size must still let the first batch through.
    got = ck_read(topic, [0], fetch_message_max_bytes=1000, fetch_max_bytes=1000, message_max_bytes=1000)
    same_messages([ck_tuple(m) for m in got], want, "large")


@test("basic")
def confluent_message_too_large():
    from confluent_kafka import KafkaError, Producer
    topic = new_topic("small", 1, max_message_bytes=2000)
    producer, seen = Producer(ck(enable_idempotence=False)), []
    producer.produce(topic, os.urandom(5000), on_delivery=lambda err, msg: seen.append(err))
    producer.flush(20 * MULT)
    check(seen and seen[0], f"a 5000-byte message passed max.message.bytes=2000: {seen}")
    eq(seen[0].code(), KafkaError.MSG_SIZE_TOO_LARGE, "error")
    producer.produce(topic, b"fits", on_delivery=lambda err, msg: seen.append(err))
    producer.flush(20 * MULT)
    eq(seen[1], None, "the next message")


@test("basic")
def confluent_bad_topic_name():
    from confluent_kafka import KafkaError, Producer
    producer, seen = Producer(ck(message_timeout_ms=10000)), []
    producer.produce("not a/legal*name", b"x", on_delivery=lambda err, msg: seen.append(err))
    producer.flush(20 * MULT)
    check(seen and seen[0], "no error")
    check(seen[0].code() in (KafkaError.TOPIC_EXCEPTION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC),
          f"error {seen[0]}")


@test("basic")
def confluent_offset_out_of_range():
    from confluent_kafka import Consumer, KafkaError, TopicPartition
    topic = new_topic("range", 1)
    ck_produce(topic, sample(10))
    consumer = Consumer(ck(group_id=name_of("g"), auto_offset_reset="error", enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, 0, 5000)])
    msg = ck_next(consumer)
    check(msg.error(), f"a message at {msg.offset()}")
    check(msg.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE), str(msg.error()))
    consumer.close()
    for reset, first in (("earliest", 0), ("latest", 10)):
        consumer = Consumer(ck(group_id=name_of("g"), auto_offset_reset=reset, enable_auto_commit=False))
        consumer.assign([TopicPartition(topic, 0, 5000)])
        if reset == "latest":
            eq(consumer.poll(4), None, "before anything new was produced")
            ck_produce(topic, sample(1))
        msg = ck_next(consumer)
        check(not msg.error(), str(msg.error()))
        eq(msg.offset(), first, f"first offset after reset to {reset}")
        consumer.close()


@test("basic")
def confluent_watermarks_and_times():
    from confluent_kafka import Consumer, TopicPartition
    topic = new_topic("times", 1)
    base = int(time.time() * 1000) - 1_000_000
    ck_produce(topic, [(None, b"%d" % i, [], base + i * 1000) for i in range(100)], batch_num_messages=7)
    consumer = Consumer(ck(group_id=name_of("g")))
    eq(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (0, 100), "watermarks")
    for stamp, want in ((base, 0), (base - 1, 0), (base + 1, 1), (base + 50_000, 50), (base + 98_500, 99),
                        (base + 99_000, 99)):
        got = consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=10)[0].offset
        eq(got, want, f"offset for base+{stamp - base}")
    got = consumer.offsets_for_times([TopicPartition(topic, 0, base + 99_001)], timeout=10)[0].offset
    check(got in (-1, 100), f"offset past the last timestamp: {got}")
    consumer.close()


@test("basic")
def confluent_seek_and_pause():
    from confluent_kafka import Consumer, TopicPartition
    topic = new_topic("seek", 2)
    for p in (0, 1):
        ck_produce(topic, sample(300), partition=p)
    consumer = Consumer(ck(group_id=name_of("g"), auto_offset_reset="earliest", enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)])

    def take(n):
        out = []
        end = time.monotonic() + 20 * MULT
        while len(out) < n and time.monotonic() < end:
            msg = consumer.poll(0.5)
            if msg is not None:
                check(not msg.error(), str(msg.error()))
                out.append((msg.partition(), msg.offset()))
        eq(len(out), n, "messages taken")
        return out
    take(1)
    consumer.pause([TopicPartition(topic, 1)])
    consumer.seek(TopicPartition(topic, 0, 250))
    eq(take(50), [(0, o) for o in range(250, 300)], "after the seek, the other partition paused")
    consumer.seek(TopicPartition(topic, 0, 10))
    eq(take(3), [(0, 10), (0, 11), (0, 12)], "after a seek back, the other partition paused")
    consumer.resume([TopicPartition(topic, 1)])
    wait_for(lambda: (lambda m: m is not None and m.partition() == 1)(consumer.poll(0.5)), 20, "the resumed partition",
             step=lambda: None)
    consumer.close()


@test("basic")
def confluent_long_poll():
    """A fetch that waits at the end of the log must wake when something arrives, not at its time limit."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    topic = new_topic("poll", 1)
    ck_produce(topic, sample(1))
    consumer = Consumer(ck(group_id=name_of("g"), fetch_wait_max_ms=8000, fetch_min_bytes=1, enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, 0, 1)])
    consumer.poll(2)
    producer, waits = Producer(ck(linger_ms=0)), []
    for _ in range(5):
        time.sleep(0.3)
        producer.produce(topic, b"x")
        producer.flush(10)
        start = time.monotonic()
        ck_next(consumer, 9)
        waits.append(time.monotonic() - start)
    check(max(waits) < 2 * MULT, f"messages came {max(waits):.1f}s after they were acknowledged")
    consumer.close()


@test("basic")
def confluent_fetch_min_bytes():
    from confluent_kafka import Consumer, TopicPartition
    topic = new_topic("minb", 1)
    ck_produce(topic, sample(3))
    consumer = Consumer(ck(group_id=name_of("g"), fetch_wait_max_ms=2500, fetch_min_bytes=100000,
                           enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, 0, 0)])
    start = time.monotonic()
    msg = ck_next(consumer)
    took = time.monotonic() - start
    check(not msg.error(), f"got {msg.error()}")
    check(took > 1.5, f"fetch.min.bytes was not waited for: {took:.2f}s")
    consumer.close()


@test("basic")
def confluent_log_append_time():
    topic = new_topic("lat", 1, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000) - 2000
    ck_produce(topic, sample(20, base=1_000_000_000_000), compression_type="gzip")
    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME
    for m in ck_read(topic, [0]):
        kind, stamp = m.timestamp()
        eq(kind, TIMESTAMP_LOG_APPEND_TIME, "timestamp type")
        check(before <= stamp <= int(time.time() * 1000) + 2000, f"timestamp {stamp}")


# ------------------------------------------------------------------ confluent-kafka: groups

def group_conf(kind, **more):
    conf = dict(auto_offset_reset="earliest", enable_auto_commit=False, **more)
    if kind == "kip848":
        conf["group_protocol"] = "consumer"
    else:
        conf.update(partition_assignment_strategy=kind, session_timeout_ms=6000, heartbeat_interval_ms=500)
    return conf


def poll_all(consumers, seen, seconds, until, what):
    end = time.monotonic() + seconds * MULT
    while time.monotonic() < end:
        for c in consumers:
            msg = c.poll(0.05)
            if msg is not None:
                check(not msg.error() or msg.error().retriable(), f"consumer error: {msg.error()}")
                if not msg.error():
                    seen.append((msg.partition(), msg.offset()))
                    c.store_offsets(msg)
        if until():
            return
    state = [sorted(tp.partition for tp in c.assignment()) for c in consumers]
    raise AssertionError(f"not within {seconds * MULT:.0f}s: {what}; assignments now {state}")


def rebalance(kind):
    from confluent_kafka import Consumer
    topic, group = new_topic("reb"), name_of("group")
    parts = partitions_of(topic)
    for p in parts:
        ck_produce(topic, sample(50), partition=p)
    conf = ck(group_id=group, enable_auto_offset_store=False, **group_conf(kind))
    conf.update({"enable.auto.commit": True, "auto.commit.interval.ms": 300, "topic.metadata.refresh.interval.ms": 5000})
    first, second = Consumer(conf), Consumer(conf)
    seen = []

    def owns(consumer):
        return {tp.partition for tp in consumer.assignment()}
    try:
        first.subscribe([topic])
        poll_all([first], seen, 30, lambda: owns(first) == set(parts), "the first member owns everything")
        second.subscribe([topic])
        poll_all([first, second], seen, 40,
                 lambda: owns(first) and owns(second) and owns(first) | owns(second) == set(parts)
                 and not owns(first) & owns(second), "two members share the partitions")
        check(abs(len(owns(first)) - len(owns(second))) <= 1, f"uneven: {owns(first)} {owns(second)}")
        for p in parts:
            ck_produce(topic, sample(50), partition=p)
        want = {(p, o) for p in parts for o in range(100)}
        poll_all([first, second], seen, 30, lambda: want <= set(seen), "every message arrived")
        second.close()
        second = None
        poll_all([first], seen, 30, lambda: owns(first) == set(parts), "all goes back to the member that stays")
        for p in parts:
            ck_produce(topic, sample(5), partition=p)
        want |= {(p, o) for p in parts for o in range(100, 105)}
        poll_all([first], seen, 30, lambda: want <= set(seen), "the last messages arrived")
    finally:
        first.close()
        if second:
            second.close()


@test("group", 120, each=["range", "roundrobin", "cooperative-sticky"])
def confluent_rebalance(kind):
    rebalance(kind)


@test("kip848", 120)
def confluent_rebalance_kip848():
    rebalance("kip848")


def commit_and_resume(kind):
    from confluent_kafka import Consumer, TopicPartition
    topic, group = new_topic("commit", 1), name_of("group")
    ck_produce(topic, sample(100))
    conf = ck(group_id=group, **group_conf(kind))

    def take(n, commit):
        consumer, out = Consumer(conf), []
        consumer.subscribe([topic])
        end = time.monotonic() + 40 * MULT
        while len(out) < n and time.monotonic() < end:
            msg = consumer.poll(0.5)
            if msg is not None and not msg.error():
                out.append(msg)
        eq(len(out), n, "messages")
        if commit:
            tp = TopicPartition(topic, out[-1].partition(), out[-1].offset() + 1, "note \u00e9")
            result = consumer.commit(offsets=[tp], asynchronous=False)
            eq(result[0].error, None, "commit")
            held = consumer.committed([TopicPartition(topic, tp.partition)], timeout=10)[0]
            eq((held.offset, held.metadata), (tp.offset, "note \u00e9"), "committed offset and metadata")
        consumer.close()
        return [(m.partition(), m.offset()) for m in out]
    eq(take(40, True), [(0, o) for o in range(40)], "first run")
    eq(take(30, False), [(0, o) for o in range(40, 70)], "after the commit")
    eq(take(60, True), [(0, o) for o in range(40, 100)], "uncommitted messages again")


@test("group", 120)
def confluent_commit_and_resume():
    commit_and_resume("range")


@test("kip848", 120)
def confluent_commit_and_resume_kip848():
    commit_and_resume("kip848")


@test("group", 120)
def confluent_auto_commit():
    from confluent_kafka import Consumer, TopicPartition
    topic, group = new_topic("auto", 1), name_of("group")
    ck_produce(topic, sample(50))
    conf = ck(group_id=group, **group_conf("range"))
    conf["enable.auto.commit"] = True
    conf["auto.commit.interval.ms"] = 200
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    for _ in range(50):
        check(not ck_next(consumer, 30).error(), "consumer error")
    consumer.close()
    check_consumer = Consumer(ck(group_id=group))
    eq(check_consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset, 50, "offset committed at close")
    check_consumer.close()


@test("group", 120)
def confluent_static_member():
    """A member with group.instance.id that comes back keeps its partitions, and its peer sees no rebalance."""
    from confluent_kafka import Consumer
    topic, group = new_topic("static"), name_of("group")
    events = {"a": 0, "b": 0}

    def start(name):
        conf = ck(group_id=group, group_instance_id=name, **group_conf("range"))
        conf["session.timeout.ms"] = 20000
        consumer = Consumer(conf)

        def assigned(c, tps):
            events[name] += 1
        consumer.subscribe([topic], on_assign=assigned)
        return consumer

    def owns(c):
        return {tp.partition for tp in c.assignment()}
    a, b = start("a"), start("b")
    a_b = lambda: [c.poll(0.1) for c in (a, b)]
    wait_for(lambda: owns(a) and owns(b) and not owns(a) & owns(b), 40, "both members have partitions", step=a_b)
    held, before = owns(b), events["a"]
    b.close()
    b = start("b")
    wait_for(lambda: owns(b), 30, "the member came back", step=a_b)
    eq(owns(b), held, "partitions after the return")
    eq(events["a"], before, "rebalances seen by the other member")
    a.close()
    b.close()


@test("group", 120)
def confluent_regex_subscription():
    from confluent_kafka import Consumer
    stem = name_of("rx")
    from confluent_kafka.admin import NewTopic
    if AUTO_CREATE:
        raise Skip("needs CreateTopics")
    admin = ck_admin()
    for f in admin.create_topics([NewTopic(f"{stem}-{x}", 1, RF) for x in "ab"]).values():
        f.result(30)
    consumer = Consumer(ck(group_id=name_of("group"), topic_metadata_refresh_interval_ms=1000, **group_conf("range")))
    consumer.subscribe([f"^{stem}-.*"])
    names = lambda: {tp.topic for tp in consumer.assignment()}
    wait_for(lambda: names() == {f"{stem}-a", f"{stem}-b"}, 30, "both topics", step=lambda: consumer.poll(0.2))
    for f in admin.create_topics([NewTopic(f"{stem}-c", 1, RF)]).values():
        f.result(30)
    wait_for(lambda: len(names()) == 3, 40, "the new topic", step=lambda: consumer.poll(0.2))
    consumer.close()


# ------------------------------------------------------------------ confluent-kafka: admin

@test("admin")
def confluent_admin_topics():
    from confluent_kafka import KafkaError, KafkaException, TopicCollection
    from confluent_kafka.admin import NewPartitions, NewTopic
    admin, name = ck_admin(), name_of("adm")

    def code_of(futures):
        try:
            for f in futures.values():
                f.result(30)
        except KafkaException as e:
            return e.args[0].code()
        return 0
    eq(code_of(admin.create_topics([NewTopic(name, 3, RF, config={"retention.ms": "123456"})])), 0, "create")
    eq(code_of(admin.create_topics([NewTopic(name, 3, RF)])), KafkaError.TOPIC_ALREADY_EXISTS, "create twice")
    eq(code_of(admin.create_topics([NewTopic(name_of("x"), 0, RF)])), KafkaError.INVALID_PARTITIONS, "no partitions")
    eq(code_of(admin.create_topics([NewTopic(name_of("x"), 1, 77)])), KafkaError.INVALID_REPLICATION_FACTOR,
       "77 replicas")
    eq(code_of(admin.create_topics([NewTopic("bad/name", 1, RF)])), KafkaError.TOPIC_EXCEPTION, "bad name")
    eq(code_of(admin.create_topics([NewTopic(name_of("x"), 1, RF, config={"retention.ms": "soon"})])),
       KafkaError.INVALID_CONFIG, "bad setting")
    dry = name_of("dry")
    eq(code_of(admin.create_topics([NewTopic(dry, 1, RF)], validate_only=True)), 0, "validate only")
    check(dry not in admin.list_topics(timeout=10).topics, "validate_only made the topic")

    info = admin.describe_topics(TopicCollection([name]))[name].result(30)
    eq(len(info.partitions), 3, "partitions described")
    eq(info.name, name, "name")
    check(str(info.topic_id) not in ("", "AAAAAAAAAAAAAAAAAAAAAA"), f"topic id {info.topic_id}")
    eq(code_of(admin.create_partitions([NewPartitions(name, 5)])), 0, "more partitions")
    wait_for(lambda: len(partitions_of(name)) == 5, 15, "5 partitions")
    eq(code_of(admin.create_partitions([NewPartitions(name, 2)])), KafkaError.INVALID_PARTITIONS, "fewer partitions")
    eq(code_of(admin.delete_topics([name])), 0, "delete")
    wait_for(lambda: name not in admin.list_topics(timeout=10).topics, 15, "the topic is gone")
    eq(code_of(admin.delete_topics([name])), KafkaError.UNKNOWN_TOPIC_OR_PART, "delete twice")


@test("admin")
def confluent_admin_recreate():
    """A topic made again under its old name is empty, starts at 0 and has another id."""
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import NewTopic
    admin, topic = ck_admin(), new_topic("again", 1)
    ck_produce(topic, sample(50))
    old = admin.describe_topics(TopicCollection([topic]))[topic].result(30).topic_id
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=10).topics, 15, "gone")
    admin.create_topics([NewTopic(topic, 1, RF)])[topic].result(30)
    wait_for(lambda: topic in admin.list_topics(timeout=10).topics, 15, "back")
    new = admin.describe_topics(TopicCollection([topic]))[topic].result(30).topic_id
    check(str(old) != str(new), "the topic id stayed")
    eq(ck_produce(topic, sample(3)), [0, 1, 2], "offsets in the new topic")
    eq(len(ck_read(topic, [0])), 3, "messages in the new topic")


@test("admin")
def confluent_admin_configs():
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
    admin, topic = ck_admin(), new_topic("conf", 1, retention_ms=111111)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    describe = lambda: admin.describe_configs([resource])[resource].result(30)
    eq(describe()["retention.ms"].value, "111111", "retention.ms")
    for wanted in ("cleanup.policy", "segment.bytes", "max.message.bytes", "message.timestamp.type",
                   "compression.type", "min.insync.replicas", "retention.bytes"):
        check(wanted in describe(), f"{wanted} not described")
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "222222", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)])
    admin.incremental_alter_configs([change])[change].result(30)
    wait_for(lambda: describe()["retention.ms"].value == "222222", 10, "the new value")
    eq(set(describe()["cleanup.policy"].value.split(",")), {"delete", "compact"}, "cleanup.policy after the append")
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)])
    admin.incremental_alter_configs([change])[change].result(30)
    wait_for(lambda: describe()["retention.ms"].value != "222222", 10, "the default again")
    bad = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "never", incremental_operation=AlterConfigOpType.SET)])
    try:
        admin.incremental_alter_configs([bad])[bad].result(30)
        raise AssertionError("a bad value was taken")
    except KafkaException:
        pass
    broker = sorted(admin.list_topics(timeout=10).brokers)[0]
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    check(admin.describe_configs([resource])[resource].result(30), "no broker settings")


@test("admin")
def confluent_admin_cluster():
    admin = ck_admin()
    info = admin.describe_cluster(request_timeout=10).result(30)
    check(info.cluster_id and info.nodes, f"cluster {info.cluster_id}, nodes {info.nodes}")
    check(info.controller is not None, "no controller")


@test("admin")
def confluent_admin_delete_records():
    from confluent_kafka import Consumer, TopicPartition
    admin, topic = ck_admin(), new_topic("delrec", 1)
    ck_produce(topic, sample(100))
    tp = TopicPartition(topic, 0, 40)
    eq(admin.delete_records([tp])[tp].result(30).low_watermark, 40, "low watermark")
    consumer = Consumer(ck(group_id=name_of("g")))
    eq(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (40, 100), "watermarks")
    consumer.close()
    eq([m.offset() for m in ck_read(topic, [0])], list(range(40, 100)), "messages left")


@test("admin")
def confluent_admin_list_offsets():
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec
    admin, topic = ck_admin(), new_topic("lo", 1)
    base = int(time.time() * 1000) - 1_000_000
    stamps = [base, base + 5000, base + 9000, base + 1000]
    ck_produce(topic, [(None, b"x", [], s) for s in stamps])
    tp = TopicPartition(topic, 0)
    ask = lambda spec: admin.list_offsets({tp: spec}, request_timeout=20)[tp].result(30)
    eq(ask(OffsetSpec.earliest()).offset, 0, "earliest")
    eq(ask(OffsetSpec.latest()).offset, 4, "latest")
    got = ask(OffsetSpec.max_timestamp())
    eq((got.offset, got.timestamp), (2, base + 9000), "max timestamp")
    eq(ask(OffsetSpec.for_timestamp(base + 4000)).offset, 1, "for a timestamp")


@test("admin", 120)
def confluent_admin_groups():
    from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
    admin, topic, group = ck_admin(), new_topic("grp", 2), name_of("group")
    ck_produce(topic, sample(20))
    consumer = Consumer(ck(group_id=group, client_id="the-member", **group_conf("range")))
    consumer.subscribe([topic])
    wait_for(consumer.assignment, 30, "an assignment", step=lambda: consumer.poll(0.2))
    consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    listed = [g.group_id for g in admin.list_consumer_groups(request_timeout=10).result(30).valid]
    check(group in listed, "group not listed")
    eq(len(listed), len(set(listed)), "no group is listed twice")
    info = admin.describe_consumer_groups([group], request_timeout=10)[group].result(30)
    eq(info.state, ConsumerGroupState.STABLE, "state")
    eq([m.client_id for m in info.members], ["the-member"], "members")
    eq(sorted(tp.partition for tp in info.members[0].assignment.topic_partitions), partitions_of(topic), "assignment")
    try:
        admin.delete_consumer_groups([group], request_timeout=10)[group].result(30)
        raise AssertionError("a group with members was deleted")
    except KafkaException:
        pass
    consumer.close()
    wait_for(lambda: admin.describe_consumer_groups([group])[group].result(30).state == ConsumerGroupState.EMPTY, 20,
             "the group is empty")
    spec = ConsumerGroupTopicPartitions(group)
    held = admin.list_consumer_group_offsets([spec])[group].result(30).topic_partitions
    eq([(tp.partition, tp.offset) for tp in held if tp.offset >= 0], [(0, 7)], "offsets")
    change = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 0)])
    admin.alter_consumer_group_offsets([change])[group].result(30)
    held = admin.list_consumer_group_offsets([spec])[group].result(30).topic_partitions
    eq({tp.partition: tp.offset for tp in held if tp.offset >= 0}, {0: 3, 1: 0}, "offsets after the change")
    admin.delete_consumer_groups([group])[group].result(30)
    check(group not in {g.group_id for g in admin.list_consumer_groups().result(30).valid}, "group still listed")


# ------------------------------------------------------------------ confluent-kafka: transactions

def ck_values(topic, level, parts=(0,)):
    return sorted(m.value() for m in ck_read(topic, list(parts), isolation_level=level))


def ck_txn(txn_id, **more):
    from confluent_kafka import Producer
    producer = Producer(ck(transactional_id=txn_id, **more))
    producer.init_transactions(30 * MULT)
    return producer


@test("txn", 120)
def confluent_txn_commit_abort():
    topic = new_topic("txn", 2)
    producer = ck_txn(name_of("tid"))
    for round_, commit in enumerate([True, False, True, False]):
        producer.begin_transaction()
        for i in range(20):
            producer.produce(topic, b"%d-%02d" % (round_, i), partition=i % 2)
        producer.commit_transaction(30 * MULT) if commit else (producer.flush(10), producer.abort_transaction(30 * MULT))
    good = sorted(b"%d-%02d" % (r, i) for r in (0, 2) for i in range(20))
    every = sorted(b"%d-%02d" % (r, i) for r in range(4) for i in range(20))
    eq(ck_values(topic, "read_committed", (0, 1)), good, "read_committed")
    eq(ck_values(topic, "read_uncommitted", (0, 1)), every, "read_uncommitted")


@test("txn", 120)
def confluent_txn_open_holds_back():
    """read_committed stops at the last stable offset while a transaction is open."""
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec
    topic = new_topic("lso", 1)
    ck_produce(topic, [(None, b"before", [], 0)])
    producer = ck_txn(name_of("tid"))
    producer.begin_transaction()
    producer.produce(topic, b"inside", partition=0)
    producer.flush(20)
    ck_produce(topic, [(None, b"after", [], 0)])
    eq(ck_values(topic, "read_committed"), [b"before"], "read_committed while open")
    eq(ck_values(topic, "read_uncommitted"), [b"after", b"before", b"inside"], "read_uncommitted while open")
    tp, admin = TopicPartition(topic, 0), ck_admin()
    ask = lambda level: admin.list_offsets({tp: OffsetSpec.latest()}, isolation_level=level)[tp].result(30).offset
    eq(ask(IsolationLevel.READ_COMMITTED), 1, "last stable offset")
    eq(ask(IsolationLevel.READ_UNCOMMITTED), 3, "high watermark")
    producer.commit_transaction(30 * MULT)
    wait_for(lambda: ck_values(topic, "read_committed") == [b"after", b"before", b"inside"], 15, "all after the commit")
    eq(ask(IsolationLevel.READ_COMMITTED), 4, "last stable offset, with the commit marker")


@test("txn", 120)
def confluent_txn_offsets():
    from confluent_kafka import Consumer, TopicPartition
    source, sink, group = new_topic("src", 1), new_topic("dst", 1), name_of("group")
    ck_produce(source, sample(30))
    consumer = Consumer(ck(group_id=group, isolation_level="read_committed", **group_conf("range")))
    consumer.subscribe([source])
    producer = ck_txn(name_of("tid"))
    seen = [ck_next(consumer, 30) for _ in range(30)]

    def run(commit, upto):
        producer.begin_transaction()
        for m in seen[:upto]:
            producer.produce(sink, m.value() or b"", partition=0)
        producer.send_offsets_to_transaction([TopicPartition(source, 0, upto)], consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30 * MULT) if commit else producer.abort_transaction(30 * MULT)
    committed = lambda: consumer.committed([TopicPartition(source, 0)], timeout=20)[0].offset
    run(False, 20)
    check(committed() < 0, f"an aborted transaction committed offset {committed()}")
    run(True, 10)
    eq(committed(), 10, "offset after the commit")
    eq(len(ck_values(sink, "read_committed")), 10, "messages after the commit")
    consumer.close()


@test("txn", 120)
def confluent_txn_fencing():
    from confluent_kafka import KafkaError, KafkaException
    topic, txn_id = new_topic("fence", 1), name_of("tid")
    old = ck_txn(txn_id)
    old.begin_transaction()
    old.produce(topic, b"old", partition=0)
    old.flush(20)
    new = ck_txn(txn_id)
    try:
        old.commit_transaction(20 * MULT)
        raise AssertionError("the old producer could commit after a new one took its id")
    except KafkaException as e:
        check(e.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH),
              f"error {e.args[0]}")
    new.begin_transaction()
    new.produce(topic, b"new", partition=0)
    new.commit_transaction(30 * MULT)
    eq(ck_values(topic, "read_committed"), [b"new"], "committed")


@test("slow", 180)
def confluent_txn_times_out():
    """A transaction left open is aborted by the broker once transaction.timeout.ms has passed."""
    topic = new_topic("tmo", 1)
    producer = ck_txn(name_of("tid"), transaction_timeout_ms=3000)
    producer.begin_transaction()
    producer.produce(topic, b"lost", partition=0)
    producer.flush(20)
    ck_produce(topic, [(None, b"kept", [], 0)])
    eq(ck_values(topic, "read_committed"), [], "held back while open")
    wait_for(lambda: ck_values(topic, "read_committed") == [b"kept"], 60, "the broker aborted it", step=lambda: time.sleep(2))


# ------------------------------------------------------------------ kafka-python

def kp_producer(**more):
    from kafka import KafkaProducer
    return KafkaProducer(**py(**more))


def kp_consumer(*topics, **more):
    from kafka import KafkaConsumer
    return KafkaConsumer(*topics, **py(**{"auto_offset_reset": "earliest", "enable_auto_commit": False, **more}))


def kp_produce(topic, messages, partition=0, codec="none", **more):
    producer = kp_producer(compression_type=None if codec == "none" else codec, linger_ms=20, **more)
    futures = [producer.send(topic, key=k, value=v, headers=h, timestamp_ms=t, partition=partition)
               for k, v, h, t in messages]
    producer.flush(timeout=30 * MULT)
    offsets = [f.get(timeout=30).offset for f in futures]
    producer.close()
    return offsets


def kp_read(topic, count, partition=0, **more):
    from kafka import TopicPartition
    consumer = kp_consumer(**more)
    tp = TopicPartition(topic, partition)
    consumer.assign([tp])
    consumer.seek_to_beginning(tp)
    out, end = [], time.monotonic() + 30 * MULT
    while len(out) < count and time.monotonic() < end:
        for batch in consumer.poll(timeout_ms=500).values():
            out.extend(batch)
    consumer.close()
    return out


def kp_tuple(m):
    return m.offset, m.key, m.value, list(m.headers), m.timestamp


@test("basic", each=CODECS)
def kafkapython_round_trip(codec):
    topic, want = new_topic("kp-" + codec), sample(300)
    eq(kp_produce(topic, want, codec=codec), list(range(300)), "offsets acknowledged")
    same_messages([kp_tuple(m) for m in kp_read(topic, 300)], want, codec)


@test("basic")
def kafkapython_offsets_and_seek():
    from kafka import TopicPartition
    topic = new_topic("kpo", 1)
    base = int(time.time() * 1000) - 1_000_000
    kp_produce(topic, [(None, b"%d" % i, [], base + i * 1000) for i in range(100)])
    tp = TopicPartition(topic, 0)
    consumer = kp_consumer()
    consumer.assign([tp])
    eq(consumer.beginning_offsets([tp])[tp], 0, "beginning")
    eq(consumer.end_offsets([tp])[tp], 100, "end")
    got = consumer.offsets_for_times({tp: base + 41_500})[tp]
    eq((got.offset, got.timestamp), (42, base + 42_000), "offset for a time")
    eq(consumer.offsets_for_times({tp: base + 999_999_999})[tp], None, "past the end")
    consumer.seek(tp, 90)
    out = []
    wait_for(lambda: [out.extend(b) for b in consumer.poll(timeout_ms=500).values()] and len(out) >= 10, 20, "10 messages",
             step=lambda: None)
    eq([m.offset for m in out], list(range(90, 100)), "after the seek")
    eq(consumer.position(tp), 100, "position")
    consumer.close()


@test("group", 120)
def kafkapython_group():
    """Two members in two threads share the partitions, commit, and one takes over from the other."""
    topic, group = new_topic("kpg"), name_of("group")
    parts = partitions_of(topic)
    for p in parts:
        kp_produce(topic, sample(30), partition=p)
    seen, owned, errors = set(), {}, queue.Queue()
    stops = {name: threading.Event() for name in "ab"}

    def member(name):
        try:
            consumer = kp_consumer(topic, group_id=group, session_timeout_ms=10000, heartbeat_interval_ms=500,
                                   enable_auto_commit=True, auto_commit_interval_ms=300)
            while not stops[name].is_set():
                for tp, batch in consumer.poll(timeout_ms=200).items():
                    seen.update((tp.partition, m.offset) for m in batch)
                owned[name] = {tp.partition for tp in consumer.assignment()}
            consumer.close()
            owned[name] = set()
        except Exception as e:
            errors.put(f"{name}: {e!r}")
    threads = {name: threading.Thread(target=member, args=(name,), daemon=True) for name in "ab"}

    def ok(condition):
        check(errors.empty(), errors.queue and errors.queue[0])
        return condition
    threads["a"].start()
    wait_for(lambda: ok(owned.get("a") == set(parts)), 40, "the first member owns everything")
    threads["b"].start()
    wait_for(lambda: ok(owned.get("a") and owned.get("b") and owned["a"] | owned["b"] == set(parts)
                        and not owned["a"] & owned["b"]), 40, "two members share the partitions")
    want = {(p, o) for p in parts for o in range(30)}
    wait_for(lambda: ok(want <= seen), 30, "every message arrived")
    stops["a"].set()
    wait_for(lambda: ok(owned.get("b") == set(parts)), 40, "the other takes over")
    stops["b"].set()
    for t in threads.values():
        t.join(20)
    from kafka import TopicPartition
    consumer = kp_consumer(group_id=group)
    for p in parts:
        eq(consumer.committed(TopicPartition(topic, p)), 30, f"committed in partition {p}")
    consumer.close()


@test("admin", 90)
def kafkapython_admin():
    from kafka.admin import KafkaAdminClient
    admin, name = KafkaAdminClient(**py()), name_of("kpa")
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": RF, "configs": {"retention.ms": "654321"}}})
    wait_for(lambda: name in admin.list_topics(), 15, "listed")
    eq(len(admin.describe_topics([name])[0]["partitions"]), 2, "partitions")
    text = str(admin.describe_configs(kp_resource(name)))
    check("654321" in text, f"retention.ms not in {text[:300]}")
    kp_produce(name, sample(10))
    info = admin.describe_cluster()
    check("cluster_id" in str(info), str(info)[:200])
    admin.delete_topics([name])
    wait_for(lambda: name not in admin.list_topics(), 15, "deleted")
    admin.close()


def kp_resource(topic):
    from kafka.admin import ConfigResource, ConfigResourceType
    return [ConfigResource(ConfigResourceType.TOPIC, topic)]


@test("admin", 90)
def kafkapython_admin_groups():
    from kafka import OffsetAndMetadata, TopicPartition
    from kafka.admin import KafkaAdminClient
    topic, group = new_topic("kpag", 1), name_of("group")
    kp_produce(topic, sample(10))
    consumer = kp_consumer(topic, group_id=group)
    tp = TopicPartition(topic, 0)
    wait_for(lambda: tp in consumer.assignment(), 30, "an assignment", step=lambda: consumer.poll(timeout_ms=300))
    consumer.commit({tp: OffsetAndMetadata(5, "hi", -1)})
    admin = KafkaAdminClient(**py())
    check(group in str(admin.list_groups()), "group not listed")
    check("Stable" in str(admin.describe_groups([group])), "group not stable")
    held = admin.list_group_offsets([group])
    check("5" in str(held), f"offsets {held}")
    consumer.close()
    wait_for(lambda: "Empty" in str(admin.describe_groups([group])), 20, "group empty")
    admin.delete_groups([group])
    check(group not in str(admin.list_groups()), "group still listed")
    admin.close()


@test("txn", 120)
def kafkapython_txn():
    topic = new_topic("kpt", 1)
    producer = kp_producer(transactional_id=name_of("tid"))
    producer.init_transactions()
    for round_, commit in enumerate([True, False, True]):
        producer.begin_transaction()
        for i in range(10):
            producer.send(topic, b"%d-%d" % (round_, i), partition=0)
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()
    producer.close()
    got = [m.value for m in kp_read(topic, 20, isolation_level="read_committed")]
    eq(got, [b"%d-%d" % (r, i) for r in (0, 2) for i in range(10)], "read_committed")
    eq(len(kp_read(topic, 30)), 30, "read_uncommitted")


@test("txn", 120)
def kafkapython_txn_admin():
    """ListTransactions, DescribeTransactions, DescribeProducers on an open transaction."""
    from kafka import TopicPartition
    from kafka.admin import KafkaAdminClient
    topic, txn_id = new_topic("kpta", 1), name_of("tid")
    producer = ck_txn(txn_id)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=0)
    producer.flush(20)
    admin = KafkaAdminClient(**py())
    check(txn_id in str(admin.list_transactions()), "not listed")
    text = str(admin.describe_transactions([txn_id]))
    check(topic in text, f"described as {text[:300]}")
    check(str(admin.describe_producers([TopicPartition(topic, 0)])), "no producers")
    producer.abort_transaction(30)
    admin.close()


# ------------------------------------------------------------------ aiokafka

def run_async(coroutine):
    return asyncio.run(coroutine)


async def aio_produce(topic, messages, partition=0, codec="none", **more):
    from aiokafka import AIOKafkaProducer
    producer = AIOKafkaProducer(**py(compression_type=None if codec == "none" else codec, linger_ms=20, **more))
    await producer.start()
    try:
        futures = [await producer.send(topic, key=k, value=v, headers=h, timestamp_ms=t, partition=partition)
                   for k, v, h, t in messages]
        return [(await f).offset for f in futures]
    finally:
        await producer.stop()


async def aio_read(topic, count, partition=0, **more):
    from aiokafka import AIOKafkaConsumer, TopicPartition
    consumer = AIOKafkaConsumer(**py(enable_auto_commit=False, auto_offset_reset="earliest", **more))
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        out, end = [], time.monotonic() + 30 * MULT
        while len(out) < count and time.monotonic() < end:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                out.extend(batch)
        return out
    finally:
        await consumer.stop()


@test("basic", each=CODECS)
def aiokafka_round_trip(codec):
    # aiokafka refuses a message with neither key nor value; the sample has none.
    topic, want = new_topic("aio-" + codec), sample(300)
    eq(run_async(aio_produce(topic, want, codec=codec)), list(range(300)), "offsets acknowledged")
    same_messages([kp_tuple(m) for m in run_async(aio_read(topic, 300))], want, codec)


@test("basic")
def aiokafka_offsets_and_seek():
    topic = new_topic("aioo", 1)
    base = int(time.time() * 1000) - 1_000_000

    async def go():
        from aiokafka import AIOKafkaConsumer, TopicPartition
        await aio_produce(topic, [(None, b"%d" % i, [], base + i * 1000) for i in range(100)])
        consumer, tp = AIOKafkaConsumer(**py(enable_auto_commit=False)), TopicPartition(topic, 0)
        await consumer.start()
        try:
            consumer.assign([tp])
            eq((await consumer.beginning_offsets([tp]))[tp], 0, "beginning")
            eq((await consumer.end_offsets([tp]))[tp], 100, "end")
            got = (await consumer.offsets_for_times({tp: base + 41_500}))[tp]
            eq((got.offset, got.timestamp), (42, base + 42_000), "offset for a time")
            consumer.seek(tp, 95)
            eq([(await asyncio.wait_for(consumer.getone(), 20)).offset for _ in range(5)], list(range(95, 100)), "seek")
            await consumer.seek_to_end(tp)
            eq(await consumer.position(tp), 100, "position at the end")
        finally:
            await consumer.stop()
    run_async(go())


@test("group", 120)
def aiokafka_group():
    topic, group = new_topic("aiog"), name_of("group")
    parts = partitions_of(topic)

    async def go():
        from aiokafka import AIOKafkaConsumer, TopicPartition
        for p in parts:
            await aio_produce(topic, sample(30), partition=p)
        seen, owned, stops = set(), {}, {}

        async def member(name):
            consumer = AIOKafkaConsumer(topic, **py(group_id=group, auto_offset_reset="earliest",
                                                    session_timeout_ms=10000, heartbeat_interval_ms=500,
                                                    auto_commit_interval_ms=300))
            await consumer.start()
            try:
                while not stops[name].is_set():
                    for tp, batch in (await consumer.getmany(timeout_ms=200)).items():
                        seen.update((tp.partition, m.offset) for m in batch)
                    owned[name] = {tp.partition for tp in consumer.assignment()}
            finally:
                await consumer.stop()
                owned[name] = set()

        async def until(condition, what):
            end = time.monotonic() + 40 * MULT
            while not condition():
                for t in tasks:
                    if t.done():
                        await t
                check(time.monotonic() < end, f"not in time: {what}; {owned}")
                await asyncio.sleep(0.1)
        tasks = []
        for name in "ab":
            stops[name] = asyncio.Event()
        tasks.append(asyncio.create_task(member("a")))
        await until(lambda: owned.get("a") == set(parts), "the first member owns everything")
        tasks.append(asyncio.create_task(member("b")))
        await until(lambda: owned.get("b") and owned["a"] | owned["b"] == set(parts) and not owned["a"] & owned["b"],
                    "two members share the partitions")
        await until(lambda: {(p, o) for p in parts for o in range(30)} <= seen, "every message arrived")
        stops["a"].set()
        await tasks.pop(0)
        await until(lambda: owned["b"] == set(parts), "the other takes over")
        stops["b"].set()
        await tasks.pop(0)
        consumer = AIOKafkaConsumer(**py(group_id=group))
        await consumer.start()
        for p in parts:
            eq(await consumer.committed(TopicPartition(topic, p)), 30, f"committed in partition {p}")
        await consumer.stop()
    run_async(go())


@test("admin", 90)
def aiokafka_admin():
    name = name_of("aioa")

    async def go():
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic
        admin = AIOKafkaAdminClient(**py())
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name=name, num_partitions=3, replication_factor=RF)])
            for _ in range(50):
                if name in await admin.list_topics():
                    break
                await asyncio.sleep(0.2)
            check(name in await admin.list_topics(), "not listed")
            described = await admin.describe_topics([name])
            eq(len(described[0]["partitions"]), 3, "partitions")
            if "groups" not in WITHOUT:
                check(await admin.list_consumer_groups() is not None, "groups")
            check((await admin.describe_cluster())["brokers"], "no brokers")
            await admin.delete_topics([name])
        finally:
            await admin.close()
    run_async(go())


@test("txn", 120)
def aiokafka_txn():
    """Commit, abort and offsets in a transaction."""
    source, sink, group = new_topic("aios", 1), new_topic("aiot", 1), name_of("group")

    async def go():
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
        await aio_produce(source, sample(20))
        producer = AIOKafkaProducer(**py(transactional_id=name_of("tid")))
        consumer = AIOKafkaConsumer(**py(group_id=group, enable_auto_commit=False))
        await producer.start()
        await consumer.start()
        try:
            tp = TopicPartition(source, 0)
            async with producer.transaction():
                for i in range(10):
                    await producer.send(sink, b"yes-%d" % i, partition=0)
                await producer.send_offsets_to_transaction({tp: 10}, group)
            try:
                async with producer.transaction():
                    for i in range(10):
                        await (await producer.send(sink, b"no-%d" % i, partition=0))
                    await producer.send_offsets_to_transaction({tp: 20}, group)
                    raise KeyError("abort")
            except KeyError:
                pass
            eq(await consumer.committed(tp), 10, "offset committed by the transaction")
        finally:
            await consumer.stop()
            await producer.stop()
        got = await aio_read(sink, 10, isolation_level="read_committed")
        eq([m.value for m in got], [b"yes-%d" % i for i in range(10)], "read_committed")
        eq(len(await aio_read(sink, 20)), 20, "read_uncommitted")
    run_async(go())


# ------------------------------------------------------------------ between clients

@test("interop", 120, each=CODECS)
def interop_codecs(codec):
    """What one client wrote, the two others read."""
    want = sample(200)
    writers = {"confluent": lambda t: ck_produce(t, want, compression_type=codec, linger_ms=20),
               "kafka-python": lambda t: kp_produce(t, want, codec=codec),
               "aiokafka": lambda t: run_async(aio_produce(t, want, codec=codec))}
    readers = {"confluent": lambda t: [ck_tuple(m) for m in ck_read(t, [0], count=200)],
               "kafka-python": lambda t: [kp_tuple(m) for m in kp_read(t, 200)],
               "aiokafka": lambda t: [kp_tuple(m) for m in run_async(aio_read(t, 200))]}
    for writer, write in writers.items():
        topic = new_topic("io")
        write(topic)
        for reader, read in readers.items():
            if reader != writer:
                same_messages(read(topic), want, f"{codec}: {writer} to {reader}")


@test("interop", 60)
def interop_mixed_codecs_in_one_partition():
    topic, want, base = new_topic("mix", 1), [], int(time.time() * 1000) - 100000
    for n, codec in enumerate(CODECS * 2):
        part = sample(20, base=base + n * 1000)
        want += part
        kp_produce(topic, part, codec=codec) if n % 2 else ck_produce(topic, part, compression_type=codec)
    same_messages([ck_tuple(m) for m in ck_read(topic, [0])], want, "mixed")
    # From the middle of a batch.
    got = ck_read(topic, [0], start=33)
    eq(got[0].offset(), 33, "first offset when starting inside a batch")


@test("interop", 60)
def interop_key_partitioning():
    """The Java-compatible partitioners agree, given the same metadata."""
    from confluent_kafka import Producer
    topic = new_topic("keys", 6)
    keys, where = [b"user-%d" % i for i in range(60)], {}
    producer = Producer(ck(partitioner="murmur2_random"))
    for k in keys:
        producer.produce(topic, b"c", key=k, on_delivery=lambda e, m: where.__setitem__(m.key(), m.partition()))
    producer.flush(20)
    other = kp_producer()
    for k in keys:
        eq(other.send(topic, key=k, value=b"k").get(timeout=20).partition, where.get(k), f"partition of {k}")
    other.close()


# ------------------------------------------------------------------ runner

def child(fn, value, pipe):
    try:
        fn() if value is None else fn(value)
        pipe.send(("ok", ""))
    except Skip as e:
        pipe.send(("skip", str(e)))
    except BaseException as e:
        where = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == __file__]
        line = f" (line {where[-1].lineno})" if where else ""
        pipe.send(("FAIL", f"{type(e).__name__}: {e}"[:600] + line))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # not waiting for client threads


def main():
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    leave = os.environ.get("SKIP")
    absent = {"groups": lambda t: t[1] in ("group", "kip848") or t[0].endswith("admin_groups") or "txn_offsets" in t[0],
              "txn": lambda t: t[1] == "txn" or "_txn" in t[0]}
    chosen = [t for t in TESTS if pattern.search(t[0]) and t[1] in TAGS and not (leave and re.search(leave, t[0]))
              and not any(absent[what](t) for what in WITHOUT)]
    if os.environ.get("LIST") == "1":
        for name, tag, *_ in TESTS:
            print(f"{tag:8} {name}")
        return 0
    context, counts, failures = multiprocessing.get_context("fork"), {"ok": 0, "FAIL": 0, "skip": 0}, []
    for name, tag, limit, fn, value in chosen:
        ours, theirs = context.Pipe(duplex=False)
        started = time.monotonic()
        process = context.Process(target=child, args=(fn, value, theirs), daemon=True)
        process.start()
        theirs.close()
        result, why = "FAIL", f"killed at its limit of {limit * MULT:.0f}s"
        if ours.poll(limit * MULT):
            try:
                result, why = ours.recv()
            except EOFError:
                process.join(5)
                why = f"the process died, exit code {process.exitcode}"
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join()
        counts[result] += 1
        if result == "FAIL":
            failures.append(name)
        print(f"{result:4} {tag:8} {name:45} {time.monotonic() - started:6.1f}s  {why}".rstrip(), flush=True)
    if failures:
        print("failed:", " ".join(failures))
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
