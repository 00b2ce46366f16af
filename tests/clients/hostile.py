#!/usr/bin/env python3
"""Bad and hostile input against a running broker, while a healthy client's latency and the broker's memory are watched.

  BOOTSTRAP=host:port PID=broker's hostile.py [NAME-REGEX]
  BROKER_CMD=... hostile.py [NAME-REGEX]       (a command line with DIR and PORT in it: started and ended here)

After each attack: the broker lives; a new client is served; its resident memory stayed under the budget; the healthy client, which produces a
record every 10 ms with acks=all all the time, had no error and no worse 99th percentile than allowed. At the end: every
record it was acknowledged is there, and the broker's open files are back to what they were.

Environment: RSS_MAX_MB, what the memory may grow by (default 600); LATENCY_FACTOR, LATENCY_FLOOR_MS: the 99th percentile
during an attack may be the greater of factor x that before (default 5) and the floor (default 100); IDLE, idle
connections (default 10000, or as many as the file limit allows); REQUEST_MAX, the largest request in bytes (default: the
broker's socket.request.max.bytes, else 104857600); SEED. Linux only; nothing but Python.
"""

import collections
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from kafka_wire import APIS, Closed, Connection, Timeout, batch, batches, request, response
from managed import Broker

RSS_MAX = int(os.environ.get("RSS_MAX_MB", "600")) << 20
FACTOR, FLOOR = float(os.environ.get("LATENCY_FACTOR", "5")), float(os.environ.get("LATENCY_FLOOR_MS", "100")) / 1000
SEED = int(os.environ.get("SEED", "7"))
counts, ATTACKS = collections.Counter(), []
bootstrap, pid = None, None


def attack(fn):
    ATTACKS.append(fn)
    return fn


def say(result, what, why=""):
    counts[result] += 1
    print(f"{result:4} hostile {what}{': ' if why else ''}{why}", flush=True)


# ------------------------------------------------------------------ the healthy client, a process of its own


def healthy(address, topic, out):
    """A record every 10 ms: 'time latency number offset', or 'time error text'."""
    connection, n = None, 0
    with open(out, "a", buffering=1) as log:
        while True:
            start = time.time()
            try:
                if connection is None:
                    connection = Connection(address, 10)
                records = batch([b"%d" % n], timestamp=int(start * 1000))
                answer = connection.call(
                    "Produce",
                    9,
                    acks=-1,
                    timeout_ms=10000,
                    topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": records}]}],
                )
                p = answer["responses"][0]["partition_responses"][0]
                log.write(
                    f"{start} error code {p['error_code']}\n"
                    if p["error_code"]
                    else f"{start} {time.time() - start:.6f} {n} {p['base_offset']}\n"
                )
            except (OSError, Closed, Timeout) as e:
                log.write(f"{start} error {type(e).__name__} {e}\n")
                connection = None
                time.sleep(0.1)
            n += 1
            time.sleep(max(0, 0.01 - (time.time() - start)))


def latencies(path, since, until):
    good, bad = [], []
    with open(path) as f:
        for line in f:
            words = line.split()
            if len(words) >= 3 and since <= float(words[0]) <= until:
                bad.append(line.strip()) if words[1] == "error" else good.append(float(words[1]))
    return sorted(good), bad


def p99(values):
    return values[min(len(values) - 1, len(values) * 99 // 100)] if values else float("inf")


# ------------------------------------------------------------------ watching


def rss():
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return len(os.listdir(f"/proc/{pid}/fd"))


def alive():
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def plain(timeout=5.0):
    host, port = bootstrap.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout)


def framed(body):
    return struct.pack(">i", len(body)) + body


def ends(connection, seconds=10.0):
    """Waits for the broker to close: 'closed', or what came instead."""
    connection.settimeout(seconds)
    try:
        data = connection.recv(65536)
        return "closed" if not data else f"an answer of {len(data)} bytes"
    except ConnectionResetError:
        return "closed"
    except TimeoutError:
        return "open"


class Peak:
    """The greatest resident memory while it is looked at."""

    def __init__(self):
        self.value = rss()

    def look(self):
        self.value = max(self.value, rss())


def need(condition, why):
    if not condition:
        raise AssertionError(why)


# ------------------------------------------------------------------ attacks; each is given a Peak to look often


@attack
def random_100_megabytes(peak):
    """At the port, in 64 KiB pieces, until the broker has had enough."""
    rng = random.Random(SEED)
    sent, s = 0, plain()
    try:
        while sent < 100 << 20:
            sent += s.send(rng.randbytes(65536))
            peak.look()
    except OSError:
        pass
    try:
        result = ends(s)
    except OSError:
        result = "closed"
    need(result == "closed", result)
    return f"closed after {sent >> 10} KiB"


@attack
def random_starts(peak):
    """1,000 connections with a few random bytes each."""
    rng, open_ = random.Random(SEED), 0
    for n in range(1000):
        with plain() as s:
            try:
                s.sendall(rng.randbytes(rng.randrange(1, 400)))
                s.shutdown(socket.SHUT_WR)
                open_ += ends(s, 5) == "open"
            except OSError:
                pass
        if n % 50 == 0:
            peak.look()
    need(not open_, f"{open_} connections stayed open though their end was sent")


@attack
def lengths_announced_and_not_sent(peak):
    """300 connections that announce large requests and send a kilobyte of each, or 64: honest megabytes are served."""
    limit, held, took = request_max(), [], []
    start = request("Produce", 9, 1, {"acks": -1, "timeout_ms": 1000})[:20]
    # Below max.message.bytes, and far above what a broker would take in without a thought.
    honest = batch([os.urandom(1_000_000)])
    try:
        for n in range(300):
            s = plain()
            # From the largest down, so that together they fill whatever takes a length for what will come.
            length = max(limit >> n // 12, 1 << 17)
            s.sendall(struct.pack(">i", length) + start + b"\0" * (65536 if n % 4 == 3 else 1000))
            held.append(s)
            peak.look()
        # Each on a new connection, so that every core is asked.
        for _ in range(8):
            began = time.monotonic()
            with Connection(bootstrap, 10) as c:
                topics = [{"name": TOPIC + "-big", "partition_data": [{"index": 0, "records": honest}]}]
                p = c.call("Produce", 9, acks=-1, timeout_ms=10000, topic_data=topics)
                code = p["responses"][0]["partition_responses"][0]["error_code"]
                need(code == 0, f"an honest megabyte: error code {code}")
            took.append(time.monotonic() - began)
            peak.look()
        for _ in range(20):
            time.sleep(0.1)
            peak.look()
    finally:
        for s in held:
            s.close()
    need(max(took) < 2, f"an honest megabyte took {max(took):.1f} s")
    return f"8 honest megabytes in {max(took) * 1000:.0f} ms each at most"


@attack
def bad_lengths(peak):
    for length in (-1, -(2**31), 2**31 - 1, request_max() + 1, 0, 1, 7):
        with plain() as s:
            s.sendall(struct.pack(">i", length) + b"\0" * max(0, min(length, 64)))
            result = ends(s)
            need(result == "closed", f"length {length}: {result}")


def produce_of_size(topic, size):
    """A Produce request of exactly `size` bytes, its one batch far above max.message.bytes (the CRC is not looked at before)."""
    empty = request(
        "Produce",
        7,
        1,
        {
            "acks": -1,
            "timeout_ms": 5000,
            "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": b""}]}],
        },
    )
    data = size - len(empty)
    head = bytearray(batch([b"x"])[:61])
    struct.pack_into(">i", head, 8, data - 12)
    return request(
        "Produce",
        7,
        1,
        {
            "acks": -1,
            "timeout_ms": 5000,
            "topic_data": [
                {"name": topic, "partition_data": [{"index": 0, "records": bytes(head) + bytes(data - 61)}]}
            ],
        },
    )


@attack
def request_of_exactly_the_limit(peak):
    body = produce_of_size(TOPIC, request_max())
    need(len(body) == request_max(), f"{len(body)}")
    c = Connection(bootstrap, 60)
    c.send(framed(body))
    peak.look()
    _, answer = response("Produce", 7, c.frame())
    code = answer["responses"][0]["partition_responses"][0]["error_code"]
    c.close()
    need(code in (2, 10), f"error code {code}, not MESSAGE_TOO_LARGE")
    return f"{len(body)} bytes: error code {code}"


@attack
def request_one_byte_over_the_limit(peak):
    body = produce_of_size(TOPIC, request_max() + 1)
    with plain() as s:
        sent = 0
        try:
            view = memoryview(framed(body))
            while sent < len(view):
                sent += s.send(view[sent : sent + 65536])
                peak.look()
        except OSError:
            pass
        try:
            result = ends(s)
        except OSError:
            result = "closed"
        need(result == "closed", result)
        return f"closed after {sent >> 10} KiB"


@attack
def one_byte_a_second(peak):
    """A good request, one byte a second, on 20 connections: it is answered in the end."""
    body = framed(struct.pack(">hhih", 18, 0, 99, -1))
    held = [plain() for _ in range(20)]
    for i in range(len(body)):
        for s in held:
            s.sendall(body[i : i + 1])
        peak.look()
        time.sleep(1)
    got = [ends(s, 10) for s in held]
    for s in held:
        s.close()
    need(all(g.startswith("an answer") for g in got), f"{collections.Counter(got)}")


@attack
def never_reads_its_answers(peak):
    """200 connections that ask for all of a topic, 18 MB, again and again and read nothing: an honest one is served.
    (On the core that owns the topic answers are slices of its cache; every other one has to hold copies, 18 MB each.)"""
    topics = [
        {
            "topic": TOPIC + "-big",
            "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 55 << 20}],
        }
    ]
    ask = framed(request("Fetch", 11, 1, {"max_wait_ms": 0, "min_bytes": 0, "max_bytes": 55 << 20, "topics": topics}))
    held, closed, sent, took = [plain() for _ in range(200)], set(), 0, []
    for s in held:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(0.0)

    def honest():
        for _ in range(4):
            began = time.monotonic()
            try:
                with Connection(bootstrap, 30) as c:
                    p = c.call("Fetch", 11, max_wait_ms=0, min_bytes=0, max_bytes=1 << 20, topics=topics)
                    if p["responses"][0]["partitions"][0]["records"]:
                        took.append(time.monotonic() - began)
            except (OSError, Closed, Timeout):
                pass

    reader = None
    try:
        end = time.monotonic() + 12
        while time.monotonic() < end:
            for s in held:
                try:
                    for _ in range(20):
                        s.send(ask)
                        sent += 1
                except BlockingIOError:
                    pass
                except OSError:
                    closed.add(s)
            peak.look()
            time.sleep(0.01)
            if reader is None:
                reader = threading.Thread(target=honest, daemon=True)
                reader.start()
        while reader.is_alive():
            peak.look()
            reader.join(0.1)
    finally:
        for s in held:
            s.close()
    need(len(took) == 4, f"{4 - len(took)} of 4 honest fetches were not answered in 30 s")
    return f"{sent} fetches asked for, {len(closed)} closed; an honest one took {max(took):.1f} s at most"


@attack
def reads_one_byte_a_second(peak):
    ask = framed(request("Metadata", 9, 1, {"topics": None}))
    held = [plain() for _ in range(30)]
    for s in held:
        s.settimeout(0.2)
    for _ in range(8):
        for s in held:
            try:
                s.sendall(ask * 20)
                s.recv(1)
            except OSError:
                pass
        peak.look()
        time.sleep(1)
    for s in held:
        s.close()


@attack
def many_requests_before_reading(peak):
    """5,000 small requests in a row on one connection: all are answered, in order."""
    c = Connection(bootstrap, 30)
    data = b"".join(framed(struct.pack(">hhih", 18, 0, n, -1)) for n in range(5000))
    sender = threading.Thread(target=lambda: c.send(data), daemon=True)
    sender.start()
    for n in range(5000):
        got = struct.unpack_from(">i", c.frame())[0]
        need(got == n, f"answer {got} in place of {n}")
        if n % 500 == 0:
            peak.look()
    c.close()


@attack
def idle_connections(peak):
    wanted = int(os.environ.get("IDLE", "10000"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(wanted, hard - 200)
    held, refused = [], 0
    try:
        for n in range(wanted):
            try:
                held.append(plain(5))
            except OSError:
                refused += 1
                if refused > 20:
                    break
            if n % 500 == 0:
                peak.look()
        for _ in range(20):
            time.sleep(0.1)
            peak.look()
        with Connection(bootstrap, 10) as c:
            try:
                c.call("ApiVersions", 0)
                after = "one more is served"
            except (Closed, Timeout) as e:
                after = f"one more is turned away ({type(e).__name__})"
    finally:
        for s in held:
            s.close()
    return f"{len(held)} held, {refused} refused; {after}"


@attack
def connections_come_and_go(peak):
    """3,000 connections that are reset at once, or in the middle of a frame."""
    half = framed(request("Metadata", 9, 1, {"topics": None}))[:-3]
    for n in range(3000):
        s = plain()
        if n % 2:
            s.send(half)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        if n % 300 == 0:
            peak.look()


@attack
def mutated_requests(peak):
    """Good requests of every API and version the broker has, with bytes flipped, cut, doubled and numbers set to extremes."""
    rng = random.Random(SEED)
    with Connection(bootstrap) as c:
        apis = [
            (APIS[k["api_key"]], v)
            for k in c.call("ApiVersions", 0)["api_keys"]
            if k["api_key"] in APIS
            for v in range(
                max(k["min_version"], APIS[k["api_key"]].first), min(k["max_version"], APIS[k["api_key"]].last) + 1
            )
        ]
    bodies = {
        "Produce": {
            "acks": -1,
            "timeout_ms": 100,
            "topic_data": [{"partition_data": [{"index": 0, "records": batch([b"x"] * 3)}]}],
        },
        "Fetch": {
            "max_wait_ms": 0,
            "min_bytes": 0,
            "max_bytes": 1000,
            "topics": [{"partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}]}],
        },
        "CreateTopics": {
            "timeout_ms": 100,
            "validate_only": True,
            "topics": [{"name": "hostile-x", "num_partitions": 1, "replication_factor": 1}],
        },
        "Metadata": {"topics": [{"name": "hostile-y"}]},
        "ListOffsets": {
            "replica_id": -1,
            "topics": [{"name": TOPIC, "partitions": [{"partition_index": 0, "timestamp": -1}]}],
        },
        "DescribeConfigs": {"resources": [{"resource_type": 2, "resource_name": TOPIC}]},
        "DescribeTopicPartitions": {"topics": [{"name": TOPIC}]},
        "IncrementalAlterConfigs": {
            "validate_only": True,
            "resources": [
                {
                    "resource_type": 2,
                    "resource_name": TOPIC,
                    "configs": [{"name": "retention.ms", "config_operation": 0, "value": "1000000000"}],
                }
            ],
        },
    }
    # What would end or change the broker or the healthy client's topic is left out.
    skip = {
        "DeleteTopics",
        "DeleteRecords",
        "UpdateFeatures",
        "UnregisterBroker",
        "AlterConfigs",
        "AddRaftVoter",
        "RemoveRaftVoter",
    }
    apis = [a for a in apis if a[0].name not in skip]
    answered = closed = silent = 0
    for n in range(3000):
        api, version = apis[n % len(apis)]
        body = bytearray(
            request(
                api,
                version,
                n,
                {k: v for k, v in bodies.get(api.name, {}).items() if any(f.name == k for f in api.request)},
            )
        )
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(8, len(body)) if len(body) > 8 else 8
            way = rng.randrange(5)
            if way == 0 and at < len(body):
                body[at] ^= 1 << rng.randrange(8)
            elif way == 1:
                del body[at:]
            elif way == 2:
                body[at:at] = rng.randbytes(rng.randrange(1, 9))
            elif way == 3:
                body[at : at + 4] = struct.pack(">i", rng.choice((-1, -2, -(2**31), 2**31 - 1, 65536, 1 << 24)))
            else:
                body[at:at] = body[8:]
        try:
            with Connection(bootstrap, 3) as c:
                c.send(framed(bytes(body)))
                c.frame()
                answered += 1
        except Closed:
            closed += 1
        except Timeout:
            silent += 1
        if n % 100 == 0:
            peak.look()
            need(alive(), f"dead after request {n}: {api.name} v{version} {body.hex()[:400]} (SEED={SEED})")
    return f"{answered} answered, {closed} closed, {silent} neither in 3 s (acks=0, or waiting for more)"


@attack
def corrupt_batches(peak):
    """1,000 batches with a byte flipped: refused, whatever the byte, and the connection goes on."""
    rng, accepted = random.Random(SEED), []
    good = batch([b"value %d" % i for i in range(20)])
    with Connection(bootstrap) as c:
        for n in range(1000):
            bad = bytearray(good)
            # From the length on: base offset is patched by the broker, leader epoch is not covered by the CRC.
            at = rng.choice([i for i in range(8, len(bad)) if not 12 <= i < 16])
            bad[at] ^= 1 << rng.randrange(8)
            p = c.call(
                "Produce",
                9,
                acks=-1,
                timeout_ms=5000,
                topic_data=[{"name": TOPIC + "-corrupt", "partition_data": [{"index": 0, "records": bytes(bad)}]}],
            )["responses"][0]["partition_responses"][0]
            if p["error_code"] == 0:
                accepted.append(at)
            if n % 100 == 0:
                peak.look()
    need(not accepted, f"accepted with a flipped bit in byte {sorted(set(accepted))}")


# ------------------------------------------------------------------ running


def request_max():
    if "REQUEST_MAX" in os.environ:
        return int(os.environ["REQUEST_MAX"])
    try:
        with Connection(bootstrap) as c:
            node = c.call("Metadata", 9, topics=[])["brokers"][0]["node_id"]
            r = c.call(
                "DescribeConfigs",
                4,
                resources=[
                    {"resource_type": 4, "resource_name": str(node), "configuration_keys": ["socket.request.max.bytes"]}
                ],
            )["results"][0]
            return int(r["configs"][0]["value"])
    except (Closed, Timeout, IndexError, KeyError, TypeError):
        return 104857600


def make_topics():
    with Connection(bootstrap) as c:
        for stem in ("", "-big", "-corrupt"):
            made = c.call(
                "CreateTopics",
                5,
                timeout_ms=10000,
                topics=[{"name": TOPIC + stem, "num_partitions": 1, "replication_factor": 1}],
            )["topics"][0]
            need(made["error_code"] == 0, f"{made}")
        for stem in ("", "-big", "-corrupt"):
            for _ in range(200):
                if (
                    c.call(
                        "ListOffsets",
                        5,
                        replica_id=-1,
                        topics=[{"name": TOPIC + stem, "partitions": [{"partition_index": 0, "timestamp": -1}]}],
                    )["topics"][0]["partitions"][0]["error_code"]
                    == 0
                ):
                    break
                time.sleep(0.05)
        big = batch([os.urandom(900_000)])
        for _ in range(20):
            c.call(
                "Produce",
                9,
                acks=-1,
                timeout_ms=10000,
                topic_data=[{"name": TOPIC + "-big", "partition_data": [{"index": 0, "records": big}]}],
            )


def nothing_lost(path):
    acknowledged = {}
    with open(path) as f:
        for line in f:
            words = line.split()
            if len(words) == 4 and words[1] != "error":
                acknowledged[int(words[3])] = words[2].encode()
    found, at = {}, 0
    with Connection(bootstrap) as c:
        while True:
            p = c.call(
                "Fetch",
                11,
                max_wait_ms=0,
                min_bytes=0,
                max_bytes=1 << 22,
                topics=[
                    {
                        "topic": TOPIC,
                        "partitions": [{"partition": 0, "fetch_offset": at, "partition_max_bytes": 1 << 22}],
                    }
                ],
            )["responses"][0]["partitions"][0]
            whole = [b for b in batches(p["records"] or b"") if "torn" not in b]
            if not whole:
                break
            for b in whole:
                for r in b["records"]:
                    found[r["offset"]] = r["value"]
                at = b["base_offset"] + b["last_offset_delta"] + 1
    lost = [o for o, v in acknowledged.items() if found.get(o) != v]
    say(
        "FAIL" if lost or not acknowledged else "ok",
        f"every one of {len(acknowledged)} acknowledged records is there",
        f"{len(lost)} are not, first at offset {min(lost)}" if lost else "",
    )


TOPIC = f"hostile-{random.randrange(1 << 32):08x}"


def main():
    global bootstrap, pid
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    broker = None
    if os.environ.get("BROKER_CMD"):
        broker = Broker(os.environ["BROKER_CMD"])
        broker.start()
        bootstrap, pid = broker.bootstrap, broker.pid
    else:
        bootstrap, pid = os.environ.get("BOOTSTRAP", "127.0.0.1:9092").split(",")[0], int(os.environ["PID"])
    path = tempfile.mktemp(prefix="hostile-")
    client = None
    try:
        make_topics()
        client = subprocess.Popen([sys.executable, os.path.abspath(__file__), "healthy", bootstrap, TOPIC, path])
        os.nice(5)
        time.sleep(1)
        began = time.time()
        time.sleep(4)
        before, _ = latencies(path, began, time.time())
        base, files = rss(), open_files()
        allowed = max(FACTOR * p99(before), FLOOR)
        print(
            f"     before: {len(before)} records, p99 {p99(before) * 1000:.1f} ms (allowed {allowed * 1000:.0f}), {base >> 20} MiB, {files} files"
        )
        for fn in ATTACKS:
            name = fn.__name__.replace("_", " ")
            if not re.search(pattern, name):
                continue
            peak, since, why, note = Peak(), time.time(), "", ""
            try:
                note = fn(peak) or ""
            except Exception as e:
                why = f"{type(e).__name__}: {e}"[:500]
            peak.look() if alive() else None
            time.sleep(0.3)
            good, bad = latencies(path, since, time.time())
            worst = p99(good)
            if not alive():
                say("FAIL", name, f"the broker is gone; {why}" + (broker.tail(800) if broker else ""))
                break
            try:
                with Connection(bootstrap, 3) as c:
                    c.call("ApiVersions", 0)
                newcomer = ""
            except (OSError, Closed, Timeout) as e:
                newcomer = f"{type(e).__name__} {e}"
            for wrong, text in (
                (newcomer, f"a new client after it: {newcomer}"),
                (peak.value > base + RSS_MAX, f"memory grew to {peak.value >> 20} MiB from {base >> 20}"),
                (bad, f"the healthy client: {bad[:2]}"),
                (worst > allowed, f"p99 of the healthy client {worst * 1000:.0f} ms"),
            ):
                if wrong:
                    why += ("; " if why else "") + text
            say(
                "FAIL" if why else "ok",
                f"{name} ({time.time() - since:.0f} s, p99 {worst * 1000:.1f} ms, max {good[-1] * 1000 if good else 0:.0f} ms, {peak.value >> 20} MiB)",
                "; ".join(filter(None, (why, note))),
            )
        if alive():
            client.kill()
            client.wait()
            try:
                nothing_lost(path)
            except (OSError, Closed, Timeout) as e:
                say("FAIL", "acknowledged records", f"could not be read: {type(e).__name__} {e}")
            for _ in range(100):
                if open_files() <= files + 20:
                    break
                time.sleep(0.1)
            now = open_files()
            say("ok" if now <= files + 20 else "FAIL", f"open files: {now}, {files} before")
            print(f"     memory: {rss() >> 20} MiB, {base >> 20} before")
    finally:
        if client:
            client.kill()
            client.wait()
        if os.path.exists(path):
            os.remove(path)
        if broker:
            broker.stop()
            broker.clean()
    print(f"{counts['ok']} passed, {counts['FAIL']} failed")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["healthy"]:
        healthy(*sys.argv[2:5])
    sys.exit(main())
