#!/usr/bin/env python3
"""Real input: all 336,776 flights of 2013 through stock clients, read back by another client, bit for bit.

  BOOTSTRAP=host:port flights.py produce [LANE-REGEX]    every lane writes its topic; another client reads it; checked
  BOOTSTRAP=host:port flights.py verify [LANE-REGEX]     the topics of the last 'produce' or 'kill' are read and checked again
  BROKER_CMD=... flights.py kill [LANE-REGEX]            the broker is killed (kill -9) and started again while a lane writes
  BROKER_CMD=... RESTART_CMD=... flights.py restart      stop, start with RESTART_CMD (other cores, say), verify, and back

A row is one record: key the carrier, timestamp time_hour, value the whole line; into a topic of 8 partitions. Checked:
nothing missing, nothing twice, the order of each key, every byte, every acknowledged offset (each writer keeps a ledger),
and that the first flight of July is found by its time. What may be twice: rows of a producer that is not idempotent,
after a kill.

Environment: FLIGHTS, the zip (default ../shared/data beside the repository, or data/ in it); BOOTSTRAP, or BROKER_CMD, a
command line in which DIR and PORT stand for the data directory and the port (this script starts and ends it; BROKER_DIR
chooses the directory, which is kept then); KILLS, how many times (default 2); FLIGHTS_TIME=now, timestamps of today
instead of time_hour (Apache Kafka forgets what it knows of an idempotent producer when it restarts if the records'
timestamps are over a day old, and then takes rows twice: 'kill' needs this there); CORELOG_LAB_DIR. Needs the clients of its
lanes: confluent-kafka, kcat, the Java driver and the Go programs, as lab.sh makes them; a lane without is skipped, and
fails if CI=true.
"""

import collections
import csv
import datetime
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

from kafka_wire import HERE
from managed import Broker

REPOSITORY = os.path.dirname(os.path.dirname(HERE))
LAB = os.environ.get("CORELOG_LAB_DIR") or (
    "/work/lab-cache" if os.access("/work", os.W_OK) else os.path.join(tempfile.gettempdir(), "corelog-lab")
)
WORK = os.path.join(LAB, "flights")
CI = os.environ.get("CI") == "true"
PARTITIONS, ROWS = 8, 336_776
RUN = f"{int(time.time()):x}"
counts = collections.Counter()


def say(result, what, why=""):
    counts[result] += 1
    print(f"{result:4} flights {what}{': ' if why else ''}{why}", flush=True)


# ------------------------------------------------------------------ the rows


def find_zip():
    places = (
        [os.environ.get("FLIGHTS")]
        if os.environ.get("FLIGHTS")
        else [
            os.path.join(REPOSITORY, "data", "flights.csv.zip"),
            os.path.join(REPOSITORY, "..", "shared", "data", "flights.csv.zip"),
            "/work/shared/data/flights.csv.zip",
        ]
    )
    return next((p for p in places if os.path.exists(p)), None)


def prepare(source):
    """time TAB key TAB value, a line a row; made once."""
    now = os.environ.get("FLIGHTS_TIME") == "now"
    path = os.path.join(WORK, "rows-now.tsv" if now else "rows.tsv")
    stamp = f"{os.path.getsize(source)} {int(time.time()) // 3600 if now else ''}"
    if not os.path.exists(path) or not os.path.exists(path + ".of") or open(path + ".of").read() != stamp:
        os.makedirs(WORK, exist_ok=True)
        with zipfile.ZipFile(source) as z, z.open(z.namelist()[0]) as f, open(path, "w", newline="") as out:
            text = io.TextIOWrapper(f, "utf-8", newline="")
            header = next(text).rstrip("\r\n").split(",")
            carrier, hour = header.index("carrier"), header.index("time_hour")
            times = {}
            for line in text:
                line = line.rstrip("\r\n")
                row = next(csv.reader([line])) if '"' in line else line.split(",")
                if row[hour] not in times:
                    times[row[hour]] = (
                        int(time.time() * 1000)
                        if now
                        else int(datetime.datetime.fromisoformat(row[hour].replace("Z", "+00:00")).timestamp() * 1000)
                    )
                out.write(f"{times[row[hour]]}\t{row[carrier]}\t{line}\n")
        with open(path + ".of", "w") as f:
            f.write(stamp)
    with open(path, newline="") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    rows = [(int(t), k, v) for t, k, v in rows]
    if len(rows) != ROWS:
        say("FAIL", "rows", f"{len(rows)} in {source}, not {ROWS}")
    return path, rows


# ------------------------------------------------------------------ writers and readers


def program(name):
    path = os.path.join(LAB, name)
    return path if os.path.exists(path) else None


JAVA = (
    ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{LAB}/java/classes:{LAB}/java/dependency/*", "lab.Flights"]
    if program("java/classes/lab/Flights.class")
    else None
)
FRANZ = [program("go/franz")] if program("go/franz") else None
PYTHON = (
    [program("venv/bin/python"), os.path.join(HERE, "flights_confluent.py")] if program("venv/bin/python") else None
)
KCAT = [shutil.which("kcat")] if shutil.which("kcat") else None


def kcat_produce(bootstrap, topic, rows, ledger):
    """kcat has neither timestamps nor a ledger: keys and values only."""
    cut = subprocess.Popen(["cut", "-f2-", rows], stdout=subprocess.PIPE)
    done = subprocess.run(
        KCAT
        + [
            "-b",
            bootstrap,
            "-P",
            "-t",
            topic,
            "-K",
            "\t",
            "-X",
            "linger.ms=50",
            "-X",
            "queue.buffering.max.messages=500000",
        ],
        stdin=cut.stdout,
        capture_output=True,
        text=True,
    )
    cut.wait()
    return done.returncode, done.stderr


def writer_command(writer, topic, rows, ledger, kill):
    """The command line of a writer's lane."""
    small = (
        {
            "java": ["batch.size=4096", "linger.ms=0", "retry.backoff.max.ms=500", "reconnect.backoff.max.ms=200"],
            "confluent": ["batch.size=4096", "linger.ms=1", "retry.backoff.ms=50", "reconnect.backoff.max.ms=200"],
        }
        if kill
        else {}
    )
    kind, *settings = writer
    if kind == "java":
        return JAVA and JAVA + ["produce", topic, rows, ledger] + small.get("java", []) + settings
    if kind == "franz":
        return FRANZ and FRANZ + ["produce", topic, rows, ledger]
    if kind == "confluent":
        return PYTHON and PYTHON + ["produce", topic, rows, ledger] + small.get("confluent", []) + settings
    return KCAT


READERS = {
    "java": lambda topic, out: JAVA and JAVA + ["read", topic, out],
    "franz": lambda topic, out: FRANZ and FRANZ + ["read", topic, out],
    "confluent": lambda topic, out: PYTHON and PYTHON + ["read", topic, out],
    "kcat": lambda topic, out: KCAT
    and ["sh", "-c", f"exec kcat -b $BOOTSTRAP -C -t {topic} -o beginning -e -q -f '%p\\t%o\\t%T\\t%k\\t%s\\n' >{out}"],
}
# lane: (writer and its settings, reader, idempotent)
LANES = {
    "kcat to franz-go": (("kcat",), "franz", False),
    "librdkafka none to java": (("confluent", "compression.type=none"), "java", False),
    "librdkafka gzip to franz-go": (("confluent", "compression.type=gzip"), "franz", False),
    "librdkafka snappy to java": (("confluent", "compression.type=snappy"), "java", False),
    "librdkafka lz4 to franz-go": (("confluent", "compression.type=lz4"), "franz", False),
    "librdkafka zstd to java": (("confluent", "compression.type=zstd"), "java", False),
    "confluent-kafka idempotent to java": (("confluent", "enable.idempotence=true"), "java", True),
    "java default to confluent-kafka": (("java",), "confluent", True),
    "franz-go to kcat": (("franz",), "kcat", True),
}
KILL_LANES = [
    "java default to confluent-kafka",
    "confluent-kafka idempotent to java",
    "franz-go to kcat",
    "librdkafka lz4 to franz-go",
]


def run(command, bootstrap, seconds=180):
    return subprocess.run(
        command, env={**os.environ, "BOOTSTRAP": bootstrap}, capture_output=True, text=True, timeout=seconds
    )


def make_topic(bootstrap, topic):
    from kafka_wire import Connection

    with Connection(bootstrap.split(",")[0]) as c:
        made = c.call(
            "CreateTopics",
            5,
            timeout_ms=10000,
            topics=[{"name": topic, "num_partitions": PARTITIONS, "replication_factor": 1}],
        )["topics"][0]
        if made["error_code"]:
            raise RuntimeError(f"{topic}: {made}")
        for _ in range(200):
            t = c.call(
                "ListOffsets",
                5,
                replica_id=-1,
                topics=[
                    {"name": topic, "partitions": [{"partition_index": p, "timestamp": -1} for p in range(PARTITIONS)]}
                ],
            )["topics"][0]
            if all(p["error_code"] == 0 for p in t["partitions"]):
                return
            time.sleep(0.05)
    raise RuntimeError(f"{topic} has no leaders")


# ------------------------------------------------------------------ checking


def check(rows, topic, dump, ledger, times, idempotent, killed):
    """What is wrong, or None. `times`: whether timestamps were set by the writer."""
    by_key, got, records = collections.defaultdict(list), collections.defaultdict(list), {}
    for n, (t, k, v) in enumerate(rows):
        by_key[k].append((t if times else 0, v))
    partition_of, expected = {}, collections.Counter()
    with open(dump, newline="") as f:
        for line in f:
            p, o, t, k, v = line.rstrip("\n").split("\t", 4)
            p, o, t = int(p), int(o), int(t)
            if o != expected[p]:
                return f"partition {p}: offset {o} follows {expected[p] - 1}"
            expected[p] = o + 1
            if partition_of.setdefault(k, p) != p:
                return f"key {k} in partitions {partition_of[k]} and {p}"
            got[k].append((t if times else 0, v))
            records[p, o] = (t, k, v)
    if set(got) != set(by_key):
        return f"keys {sorted(set(got) ^ set(by_key))} missing or too many"
    twice = 0
    for k, want in by_key.items():
        have = got[k]
        if have == want:
            continue
        if idempotent or not killed:
            at = next((i for i, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want)))
            return f"key {k}: {len(have)} records of {len(want)}; the first difference at {at}: {have[at:at + 1]}, not {want[at:at + 1]}"
        more, fewer = collections.Counter(have), collections.Counter(want)
        if fewer - more:
            return f"key {k}: {sum((fewer - more).values())} rows missing"
        twice += sum((more - fewer).values())
    if ledger and os.path.exists(ledger):
        acknowledged = 0
        with open(ledger) as f:
            for line in f:
                n, p, o = map(int, line.split("\t"))
                t, k, v = rows[n]
                acknowledged += 1
                if o < 0 and killed:
                    continue  # acknowledged as a duplicate whose offset the broker no longer knew
                r = records.get((p, o))
                if r is None or r[1:] != (k, v) or times and r[0] != t:
                    return f"row {n} was acknowledged at {p}:{o}, where {r} is"
        if acknowledged != len(rows):
            return f"{acknowledged} rows acknowledged"
    return ("", f"{twice} twice, by right") if twice else None


def first_of_july(rows, topic, bootstrap, dump):
    """offsetsForTimes of the first flight of July, against what was read."""
    july = min(t for t, _, v in rows if v.split(",", 2)[1] == "7")
    want = {p: -1 for p in range(PARTITIONS)}
    with open(dump, newline="") as f:
        for line in f:
            p, o, t, k, v = line.rstrip("\n").split("\t", 4)
            if int(t) >= july and want[int(p)] < 0:
                want[int(p)] = int(o)
    wrong = []
    for name, command in (("java", JAVA), ("franz", FRANZ), ("confluent", PYTHON)):
        if command:
            done = run(command + ["times", topic, str(july)], bootstrap)
            got = {int(a): int(b) for a, b in (line.split("\t") for line in done.stdout.splitlines())}
            if got != want:
                wrong.append(f"{name}: {got or done.stderr[-300:]}, not {want}")
    return "; ".join(wrong)


def read_and_check(lane, topic, bootstrap, rows, killed=False, reader=None):
    writer, default, idempotent = LANES[lane]
    reader = reader or default
    dump, ledger = os.path.join(WORK, topic + ".read"), os.path.join(WORK, topic + ".ledger")
    started = time.monotonic()
    command = READERS[reader](topic, dump)
    if not command:
        return say("FAIL" if CI else "skip", lane, f"no {reader}")
    try:
        done = run(command, bootstrap)
    except subprocess.TimeoutExpired:
        return say("FAIL", lane, f"{reader} did not read to the end in 180 s")
    if done.returncode:
        return say("FAIL", lane, f"{reader}: {done.stderr[-400:]}")
    times = writer[0] != "kcat"
    wrong = check(rows, topic, dump, ledger, times, idempotent, killed)
    note = ""
    if isinstance(wrong, tuple):
        wrong, note = wrong
    if not wrong and times and not killed:
        wrong = first_of_july(rows, topic, bootstrap, dump)
        wrong = wrong and "the first flight of July: " + wrong
    say("FAIL" if wrong else "ok", f"{lane}, read by {reader} in {time.monotonic() - started:.1f} s", wrong or note)
    os.remove(dump)


# ------------------------------------------------------------------ modes


def lanes(pattern, names):
    return [n for n in names if re.search(pattern, n)]


def produce(bootstrap, rows_path, rows, pattern):
    topics = {}
    for lane in lanes(pattern, LANES):
        writer, _, _ = LANES[lane]
        topic = f"flights-{RUN}-" + re.sub(r"[^a-z0-9]+", "-", lane)
        ledger = os.path.join(WORK, topic + ".ledger")
        command = writer_command(writer, topic, rows_path, ledger, False)
        if not command:
            say("FAIL" if CI else "skip", lane, f"no {writer[0]}")
            continue
        make_topic(bootstrap, topic)
        started = time.monotonic()
        if writer[0] == "kcat":
            code, errors = kcat_produce(bootstrap, topic, rows_path, ledger)
        else:
            try:
                done = run(command, bootstrap)
                code, errors = done.returncode, done.stdout + done.stderr[-400:]
            except subprocess.TimeoutExpired:
                code, errors = 1, "not done in 180 s"
        say("FAIL" if code else "ok", f"{lane}: written in {time.monotonic() - started:.1f} s", errors if code else "")
        topics[lane] = topic
        if not code:
            read_and_check(lane, topic, bootstrap, rows)
    remember(topics, False)


def remember(topics, killed):
    with open(os.path.join(WORK, "topics.json"), "w") as f:
        json.dump({"topics": topics, "killed": killed}, f)


def verify(bootstrap, rows, pattern):
    with open(os.path.join(WORK, "topics.json")) as f:
        last = json.load(f)
    for lane, topic in last["topics"].items():
        if re.search(pattern, lane):
            read_and_check(lane, topic, bootstrap, rows, last["killed"])


def kill(broker, rows_path, rows, pattern):
    kills, topics = int(os.environ.get("KILLS", "2")), {}
    for lane in lanes(pattern, KILL_LANES):
        writer, _, idempotent = LANES[lane]
        topic = f"flights-{RUN}-kill-" + re.sub(r"[^a-z0-9]+", "-", lane)
        ledger = os.path.join(WORK, topic + ".ledger")
        command = writer_command(writer, topic, rows_path, ledger, True)
        if not command:
            say("FAIL" if CI else "skip", f"kill, {lane}", f"no {writer[0]}")
            continue
        make_topic(broker.bootstrap, topic)
        started = time.monotonic()
        log = open(os.path.join(WORK, topic + ".log"), "w+")
        process = subprocess.Popen(command, env={**os.environ, "BOOTSTRAP": broker.bootstrap}, stdout=log, stderr=log)
        done = 0
        for n in range(kills):
            enough = ROWS * (n + 1) // (kills + 2)
            while process.poll() is None and (os.path.getsize(ledger) if os.path.exists(ledger) else 0) < enough * 14:
                time.sleep(0.005)
            if process.poll() is not None:
                break
            broker.kill()
            time.sleep(0.3)
            broker.start()
            done += 1
        try:
            code = process.wait(300)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "not done in 300 s"
        log.seek(0)
        text = log.read()
        why = (
            f"writer: {code}: {text[-300:]}"
            if code
            else f"only {done} of {kills} kills in time" if done < kills else ""
        )
        say("FAIL" if why else "ok", f"kill, {lane}: {done} kills, written in {time.monotonic() - started:.1f} s", why)
        topics[lane] = topic
        read_and_check(lane, topic, broker.bootstrap, rows, True)
    remember(topics, True)


def main():
    mode, pattern = (sys.argv[1:] + ["", ""])[:2]
    if mode not in ("produce", "verify", "kill", "restart"):
        sys.exit(__doc__)
    source = find_zip()
    if not source:
        say("FAIL" if CI else "skip", "rows", "no flights.csv.zip (set FLIGHTS)")
        print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
        return 1 if CI else 0
    rows_path, rows = prepare(source)
    command = os.environ.get("BROKER_CMD")
    if mode in ("kill", "restart") and not command:
        sys.exit(f"{mode} needs BROKER_CMD")
    broker = Broker(command, os.environ.get("BROKER_DIR")) if command else None
    if broker:
        broker.start()
    bootstrap = broker.bootstrap if broker else os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
    try:
        if mode == "produce":
            produce(bootstrap, rows_path, rows, pattern)
        elif mode == "verify":
            verify(bootstrap, rows, pattern)
        elif mode == "kill":
            kill(broker, rows_path, rows, pattern)
        else:
            produce(bootstrap, rows_path, rows, pattern or "java|zstd")
            for other in (os.environ["RESTART_CMD"], command):
                broker.stop()
                broker.command = other
                broker.start()
                print(f"     now: {other}")
                verify(bootstrap, rows, pattern)
    finally:
        if broker:
            broker.stop()
            broker.clean()
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
