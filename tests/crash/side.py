#!/usr/bin/env python3
"""What goes on beside the load while a broker is killed: topics that are made, written, deleted and made again, two
that retention cuts, and one whose records are deleted. It rides out all crashes and judges what it finds.

  side.py load HOST:PORT JOURNAL SEED     until SIGTERM; the last line sums up; exit code 1: something was wrong
  side.py judge HOST:PORT JOURNAL [--before BYTES] [--after BYTES] [--settled]
                                          holds a broker against a journal. Of a copy that was taken while the load
                                          went on: what the journal held just before and just after. --settled: nobody
                                          writes any more, so retention must have done its work soon
  side.py files HOST:PORT DATA            waits until the data folder of a running broker holds nothing but what its
                                          topics need; exit code 1: it does not within a while
  side.py doctor REPORT STATUS killed|stopped
                                          judges what `corelog doctor data --json` wrote, and its exit code

KNOWN in the environment: a pattern; files and findings in which it is found are counted and told, but pass: of a broker
whose fault is known.

The journal is appended to: what is begun before it is asked for, what is promised after it was answered. So each prefix
of it says what must be there (what was answered) and what may be (what was begun).

Each record holds its topic's generation, its number in its partition and a checksum. There is one writer, idempotent,
with one batch in flight, so a record's number must be its offset.
"""

import json
import os
import random
import re
import signal
import struct
import sys
import threading
import time
import uuid
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients"))
from kafka_wire import BATCH_HEAD, Closed, Connection, Reader, Timeout, batch  # noqa: E402

PREFIX = "side-"
ZERO = uuid.UUID(int=0)
RECORD = struct.Struct(">IQI")
RECORD_BYTES = 1000
# How long one request may go on being refused or cut off: a broker is back within a second or two, but on a busy machine
# it may be killed again before anybody else had a turn.
PATIENCE = 300
NONE, OUT_OF_RANGE, UNKNOWN_TOPIC, TIMED_OUT, EXISTS, DUPLICATE, UNKNOWN_ID = 0, 1, 3, 7, 36, 46, 100
# Not the leader, a timeout, a coordinator or controller that is not there yet: what a client asks again after.
RETRIABLE = {5, 6, TIMED_OUT, 8, 13, 14, 15, 16, 41}
EARLIEST, LATEST = -2, -1

KEPT = {"retention.bytes": "262144", "retention.ms": "-1", "segment.ms": "500"}
AGED = {"retention.ms": "3000", "segment.ms": "500"}
STREAMS = {"side-kept": KEPT, "side-aged": AGED, "side-trimmed": {"retention.ms": "-1"}}
# Above what it promises to keep: the oldest segment.
KEPT_BYTES_ABOVE = 512 << 10
REMADE = ["side-remade-0", "side-remade-1", "side-remade-2"]


class Fault(Exception):
    """The broker broke a promise."""


# ------------------------------------------------------------------ what is promised


class Partition:
    def __init__(self):
        self.sure, self.may = 0, 0  # records that must be there, and that may be: all below
        self.trim_sure, self.trim_may = 0, 0  # records that must be gone, and that may be
        self.times = []  # of batches: first number, time in ms


class Generation:
    def __init__(self, number, partitions, configs):
        self.number, self.configs, self.id = number, configs, None
        self.partitions = [Partition() for _ in range(partitions)]


class Topic:
    def __init__(self):
        self.generations = {}
        self.allowed = {None}  # generations that may be there; None: no topic


class State:
    """The fold of a journal."""

    def __init__(self):
        self.topics = {}
        self.faults = []

    def take(self, event, is_sure=True):
        if "fault" in event:
            self.faults.append(event["fault"])
            return
        kind, topic = event["k"], self.topics.setdefault(event["t"], Topic())
        number = event["g"]
        if kind == "make":
            topic.generations[number] = Generation(number, event["n"], event["c"])
            topic.allowed = {None, number} if is_sure else topic.allowed | {number}
            return
        generation = topic.generations[number]
        if kind == "made":
            generation.id = event["id"]
            if is_sure:
                topic.allowed = {number}
        elif kind == "delete":
            topic.allowed = topic.allowed | {None}
        elif kind == "deleted":
            if is_sure:
                topic.allowed = {None}
        else:
            partition, to = generation.partitions[event["p"]], event["to"]
            if kind == "send":
                partition.times.append((partition.may, event["at"]))
                partition.may = to
            elif kind == "trim":
                partition.trim_may = max(partition.trim_may, to)
            elif kind == "trimmed" and is_sure:
                partition.trim_sure = max(partition.trim_sure, to)
            elif kind in ("acked", "seen") and is_sure:
                partition.sure = max(partition.sure, to)

    @staticmethod
    def read(path, before, after):
        state, at = State(), 0
        with open(path, "rb") as journal:
            for line in journal:
                at += len(line)
                if after is not None and at > after or not line.endswith(b"\n"):
                    break
                state.take(json.loads(line), before is None or at <= before)
        return state


class Journal:
    def __init__(self, path):
        self.file, self.state, self.lock = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), State(), threading.Lock()

    def note(self, **event):
        with self.lock:
            self.state.take(event)
            os.write(self.file, json.dumps(event, separators=(",", ":")).encode() + b"\n")


# ------------------------------------------------------------------ asking


class Asker:
    """One connection, made again whenever it breaks."""

    def __init__(self, address):
        self.address, self.connection, self.retries = address, None, {}

    def connected(self):
        if self.connection is None:
            self.connection = Connection(self.address, timeout=30)
        return self.connection

    def drop(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def ask(self, api, version, code_of, **fields):
        """The answer, its error code, and whether an earlier attempt may have been carried out all the same."""
        end, was_cut = time.monotonic() + PATIENCE, False
        while True:
            try:
                connection = self.connected()
                answer = connection.call(api, version, **fields)
                code = code_of(answer)
                if code not in RETRIABLE:
                    return answer, code, was_cut
                was_cut = was_cut or code == TIMED_OUT
                last = f"error code {code}"
                self.retries[code] = self.retries.get(code, 0) + 1
            except (Closed, Timeout, OSError) as error:
                was_cut = was_cut or self.connection is not None
                self.drop()
                last = repr(error)
            if time.monotonic() > end:
                raise Fault(f"{api} found no answer within {PATIENCE} s, last: {last}")
            time.sleep(0.03)

    def topic_id(self, name):
        """Its id and number of partitions, or None."""
        answer, code, _ = self.ask(
            "Metadata",
            12,
            lambda a: a["topics"][0]["error_code"],
            topics=[{"topic_id": ZERO, "name": name}],
            allow_auto_topic_creation=False,
        )
        if code == UNKNOWN_TOPIC:
            return None
        if code != NONE:
            raise Fault(f"{name}: Metadata says error code {code}")
        found = answer["topics"][0]
        return str(found["topic_id"]), len(found["partitions"])

    def offset(self, name, partition, timestamp):
        place = {"partition_index": partition, "current_leader_epoch": -1, "timestamp": timestamp}
        answer, code, _ = self.ask(
            "ListOffsets",
            7,
            lambda a: a["topics"][0]["partitions"][0]["error_code"],
            replica_id=-1,
            topics=[{"name": name, "partitions": [place]}],
        )
        if code != NONE:
            raise Fault(f"{name}-{partition}: ListOffsets says error code {code}")
        return answer["topics"][0]["partitions"][0]["offset"]

    def fetch(self, name, partition, offset):
        """Bytes of batches, or None if the offset is out of range."""
        place = {
            "partition": partition,
            "current_leader_epoch": -1,
            "fetch_offset": offset,
            "log_start_offset": -1,
            "partition_max_bytes": 1 << 20,
        }
        answer, code, _ = self.ask(
            "Fetch",
            11,
            lambda a: a["error_code"] or a["responses"][0]["partitions"][0]["error_code"],
            replica_id=-1,
            max_wait_ms=100,
            min_bytes=1,
            max_bytes=4 << 20,
            session_epoch=-1,
            topics=[{"topic": name, "partitions": [place]}],
        )
        if code == OUT_OF_RANGE:
            return None
        if code != NONE:
            raise Fault(f"{name}-{partition}: Fetch at {offset} says error code {code}")
        return answer["responses"][0]["partitions"][0]["records"] or b""


# ------------------------------------------------------------------ records


def filler(generation, number):
    head = struct.pack(">IQ", generation, number)
    return (head * (RECORD_BYTES // len(head) + 1))[: RECORD_BYTES - RECORD.size]


def value(generation, number):
    rest = filler(generation, number)
    return RECORD.pack(generation, number, zlib.crc32(rest)) + rest


def records_of(data):
    """(offset, value, bytes of the batches so far) of each record in the whole batches of a fetch."""
    at = 0
    while at + 61 <= len(data):
        base, size = struct.unpack_from(">qi", data, at)
        end = at + 12 + size
        if end > len(data):
            return
        reader = Reader(data[at + 61 : end])
        for _ in range(struct.unpack_from(BATCH_HEAD, data, at)[12]):
            length = reader.varint()
            start = reader.at
            reader.take(1)
            reader.varint()
            offset = base + reader.varint()
            if reader.varint() != -1:
                raise Fault(f"a key at offset {offset}, where none was written")
            found = reader.take(reader.varint())
            reader.at = start + length
            yield offset, found, end
        at = end


# ------------------------------------------------------------------ judging


class Judge:
    """Holds a topic against what is promised of it."""

    def __init__(self, asker, state):
        self.asker, self.state, self.records = asker, state, 0
        self.seen = lambda name, generation, partition, end: None

    def check(self, name, settled=False):
        topic = self.state.topics[name]
        found = self.asker.topic_id(name)
        generation = self.generation_of(topic, found)
        if generation not in topic.allowed:
            raise Fault(f"{name}: there is generation {generation} ({found}), but it may be one of {topic.allowed} only")
        if generation is None:
            return
        partitions = topic.generations[generation].partitions
        if found[1] != len(partitions):
            raise Fault(f"{name}: {found[1]} partitions, but {len(partitions)} were made")
        for number in range(len(partitions)):
            self.check_partition(name, topic.generations[generation], number, settled)

    def generation_of(self, topic, found):
        if found is None:
            return None
        for generation in topic.generations.values():
            if generation.id == found[0]:
                return generation.number
        # One whose making was never answered.
        unknown = [g.number for g in topic.generations.values() if g.id is None]
        return unknown[-1] if unknown else f"of nobody ({found[0]})"

    def check_partition(self, name, generation, number, settled):
        place, owed, configs = f"{name}-{number}", generation.partitions[number], generation.configs
        give_up = time.monotonic() + 30
        while True:
            start, now = self.asker.offset(name, number, EARLIEST), time.time() * 1000
            # Who writes beside this: what is there now was begun before.
            end = self.asker.offset(name, number, LATEST)
            if not owed.sure <= end <= owed.may:
                raise Fault(f"{place}: ends at {end}; {owed.sure} records are promised, {owed.may} were sent")
            self.check_start(place, owed, configs, start, now)
            kept = self.read(name, number, generation.number, start, end)
            if kept is None:
                if time.monotonic() > give_up:
                    raise Fault(f"{place}: its start is out of range again and again, now {start}")
                continue
            retention = int(configs.get("retention.bytes", -1))
            if retention >= 0 and start > 0 and kept < retention:
                raise Fault(f"{place}: retention left {kept} bytes from offset {start} on, {retention} are promised")
            is_due = start < end and "retention.ms" in configs and int(configs["retention.ms"]) >= 0
            is_due = is_due or retention >= 0 and kept > retention + KEPT_BYTES_ABOVE
            if not (settled and is_due):
                break
            if time.monotonic() > give_up:
                raise Fault(f"{place}: retention leaves {kept} bytes, from {start} to {end}, for 30 s")
            time.sleep(0.5)
        self.seen(name, generation.number, number, end)

    def check_start(self, place, owed, configs, start, now):
        if not owed.trim_sure <= start:
            raise Fault(f"{place}: begins at {start}, but all before {owed.trim_sure} was deleted")
        retention_ms = int(configs.get("retention.ms", -1))
        if retention_ms >= 0:
            young = [first for first, at in owed.times if at >= now - retention_ms and first < owed.sure]
            latest = min(young, default=owed.may)
            why = f"records from {latest} on are younger than {retention_ms} ms"
        elif "retention.bytes" in configs:
            latest, why = owed.may, "that was sent"
        else:
            latest, why = owed.trim_may, "no more was asked to be deleted"
        if start > latest:
            raise Fault(f"{place}: begins at {start}, but {why} (at most {latest})")

    def read(self, name, partition, generation, start, end):
        """Reads all records and checks each; bytes of batches, or None if retention was quicker."""
        at, kept = start, 0
        while at < end:
            data = self.asker.fetch(name, partition, at)
            if data is None:
                return None
            asked, used = at, 0
            for offset, found, used in records_of(data):
                if offset < asked:
                    continue  # the batch in which deletion ends
                if offset != at:
                    raise Fault(f"{name}-{partition}: offset {offset} follows {at - 1}")
                self.check_record(f"{name}-{partition}", generation, offset, found)
                at += 1
            if at == asked:
                raise Fault(f"{name}-{partition}: nothing at {at}, before its end {end}")
            self.records += at - asked
            kept += used
        return kept

    def check_record(self, place, generation, offset, found):
        if len(found) != RECORD_BYTES:
            raise Fault(f"{place}: a record of {len(found)} bytes at offset {offset}")
        of, number, checksum = RECORD.unpack_from(found)
        if checksum != zlib.crc32(found[RECORD.size :]):
            raise Fault(f"{place}: the record at offset {offset} is damaged")
        if of != generation:
            raise Fault(f"{place}: the record at offset {offset} is of generation {of}, this is {generation}")
        if number != offset:
            raise Fault(f"{place}: record {number} is at offset {offset}")


# ------------------------------------------------------------------ the load


class Worker(threading.Thread):
    def __init__(self, load, name, task, seed):
        super().__init__(name=name)
        self.load, self.task, self.random = load, task, random.Random(f"{seed} {name}")
        self.asker, self.counts = Asker(load.address), {}
        self.judge = Judge(self.asker, load.journal.state)
        # What consumers saw does not vanish.
        self.judge.seen = lambda t, g, p, to: load.journal.note(k="seen", t=t, g=g, p=p, to=to)

    def run(self):
        try:
            self.task(self)
        except Exception as error:  # a wrong answer may raise anything
            why = f"{self.name}: {error if isinstance(error, Fault) else repr(error)}"
            self.load.journal.note(fault=why)
            self.load.stop.set()

    def count(self, what, by=1):
        self.counts[what] = self.counts.get(what, 0) + by

    def make(self, name, generation, partitions, configs):
        note = self.load.journal.note
        note(k="make", t=name, g=generation, n=partitions, c=configs)
        topic = {
            "name": name,
            "num_partitions": partitions,
            "replication_factor": 1,
            "configs": [{"name": k, "value": v} for k, v in configs.items()],
        }
        answer, code, was_cut = self.asker.ask(
            "CreateTopics", 7, lambda a: a["topics"][0]["error_code"], topics=[topic], timeout_ms=30000
        )
        made = str(answer["topics"][0]["topic_id"])
        if code == EXISTS and was_cut:
            found = self.asker.topic_id(name)
            if found is None:
                raise Fault(f"{name}: exists and does not")
            made = found[0]
        elif code != NONE:
            raise Fault(f"{name}: cannot be made: {answer['topics'][0]}")
        topic = self.load.journal.state.topics[name]
        if any(known.id == made for known in topic.generations.values()):
            raise Fault(f"{name}: generation {generation} has the id of an earlier one, {made}")
        note(k="made", t=name, g=generation, id=made)
        self.count("made")
        answer, code, _ = self.asker.ask(
            "InitProducerId", 4, lambda a: a["error_code"], transactional_id=None, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1
        )
        if code != NONE:
            raise Fault(f"no producer id: error code {code}")
        self.producer = answer["producer_id"], answer["producer_epoch"]

    def batch_of(self, name, generation, partition, records):
        """Fields of a request with the next records, which are noted as sent."""
        made = self.load.journal.state.topics[name].generations[generation]
        owed, topic_id = made.partitions[partition], uuid.UUID(made.id)
        first, now = owed.may, int(time.time() * 1000)
        values = [value(generation, number) for number in range(first, first + records)]
        identity, epoch = self.producer
        made = batch(values, timestamp=now, producer_id=identity, epoch=epoch, sequence=first)
        self.load.journal.note(k="send", t=name, g=generation, p=partition, to=first + records, at=now)
        data = [{"name": name, "topic_id": topic_id, "partition_data": [{"index": partition, "records": made}]}]
        return first, {"transactional_id": None, "acks": -1, "timeout_ms": 30000, "topic_data": data}

    def write(self, name, generation, partition, records):
        first, fields = self.batch_of(name, generation, partition, records)
        code_of = lambda a: a["responses"][0]["partition_responses"][0]["error_code"]
        answer, code, was_cut = self.asker.ask("Produce", 9, code_of, **fields)
        at = answer["responses"][0]["partition_responses"][0]["base_offset"]
        if code not in (NONE, DUPLICATE) or code == DUPLICATE and not was_cut:
            raise Fault(f"{name}-{partition}: records from {first} on are refused with error code {code}")
        if code == NONE and at != first:
            raise Fault(f"{name}-{partition}: records from {first} on were put at offset {at}")
        self.load.journal.note(k="acked", t=name, g=generation, p=partition, to=first + records)
        self.count("records", records)

    def trim(self, name, generation, partition):
        owed = self.load.journal.state.topics[name].generations[generation].partitions[partition]
        to = self.random.randint(owed.trim_sure, owed.sure)
        self.load.journal.note(k="trim", t=name, g=generation, p=partition, to=to)
        answer, code, _ = self.asker.ask(
            "DeleteRecords",
            2,
            lambda a: a["topics"][0]["partitions"][0]["error_code"],
            topics=[{"name": name, "partitions": [{"partition_index": partition, "offset": to}]}],
            timeout_ms=30000,
        )
        low = answer["topics"][0]["partitions"][0]["low_watermark"]
        if code != NONE or low != to:
            raise Fault(f"{name}-{partition}: DeleteRecords up to {to} says error code {code}, low watermark {low}")
        self.load.journal.note(k="trimmed", t=name, g=generation, p=partition, to=to)
        self.count("trims")

    def delete(self, name, generation):
        note = self.load.journal.note
        made = self.load.journal.state.topics[name].generations[generation].id
        note(k="delete", t=name, g=generation)
        answer, code, was_cut = self.asker.ask(
            "DeleteTopics",
            6,
            lambda a: a["responses"][0]["error_code"],
            topics=[{"name": None, "topic_id": uuid.UUID(made)}],
            timeout_ms=30000,
        )
        if code != NONE and not (was_cut and code in (UNKNOWN_TOPIC, UNKNOWN_ID)):
            raise Fault(f"{name}: generation {generation} cannot be deleted: {answer['responses'][0]}")
        note(k="deleted", t=name, g=generation)
        self.count("deleted")


def stream(worker):
    """One topic that is written all the time; what is due at its start goes by retention or on request."""
    name, load = worker.name, worker.load
    worker.make(name, 1, 2, STREAMS[name])
    while not load.stop.is_set():
        worker.write(name, 1, worker.random.randrange(2), worker.random.randint(1, 12))
        if name == "side-trimmed" and worker.random.random() < 0.1:
            worker.trim(name, 1, worker.random.randrange(2))
        if worker.random.random() < 0.02:
            worker.judge.check(name)
        load.stop.wait(worker.random.random() * 0.08)
    worker.judge.check(name)


def remake(worker):
    """One name, whose topic is made, written, deleted and made again."""
    name, load, draw = worker.name, worker.load, worker.random
    generation = 0
    while not load.stop.is_set():
        generation += 1
        partitions = draw.randint(1, 3)
        worker.make(name, generation, partitions, {})
        for _ in range(draw.randint(0, 12)):
            worker.write(name, generation, draw.randrange(partitions), draw.randint(1, 6))
        if draw.random() < 0.4:
            worker.judge.check(name)
        if load.stop.is_set() and draw.random() < 0.5:
            return
        under_way = delete_under_load(worker, name, generation) if draw.random() < 0.3 else None
        worker.delete(name, generation)
        if under_way:
            under_way.drop()
        worker.judge.check(name)
        # Long enough for a crash, now and then.
        load.stop.wait(draw.choice([0, 0, 0.2, 1.5]))
        worker.judge.check(name)


def delete_under_load(worker, name, generation):
    """Sends records whose answers nobody waits for; the connection. By the topic's id: a name may be the next one's by
    the time that the broker reads them."""
    asker = Asker(worker.load.address)
    try:
        connection = asker.connected()
        for partition in range(len(worker.load.journal.state.topics[name].generations[generation].partitions)):
            _, fields = worker.batch_of(name, generation, partition, 12)
            connection.start("Produce", 13, **fields)
    except (Closed, Timeout, OSError):
        pass
    return asker


class Load:
    def __init__(self, address, journal, seed):
        self.address, self.journal, self.stop = address, Journal(journal), threading.Event()
        self.workers = [Worker(self, name, stream, seed) for name in STREAMS]
        self.workers += [Worker(self, name, remake, seed) for name in REMADE]

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.join()
        total, retries = {}, {}
        for worker in self.workers:
            counts = {**worker.counts, "records read": worker.judge.records}
            for what, by in counts.items():
                total[what] = total.get(what, 0) + by
            for code, by in worker.asker.retries.items():
                retries[code] = retries.get(code, 0) + by
        faults = self.journal.state.faults
        words = ", ".join(f"{by:,} {what}" for what, by in total.items())
        print(f"side: {words}; refused for a while: {retries or 'nothing'}; {'; '.join(faults) or 'all is well'}")
        return bool(faults)


def judge(address, path, before, after, settled):
    state, asker = State.read(path, before, after), Asker(address)
    judged, faults = Judge(asker, state), list(state.faults)
    for name in state.topics:
        try:
            judged.check(name, settled)
        except Fault as fault:
            faults.append(str(fault))
    listed, _, _ = asker.ask("Metadata", 12, lambda a: NONE, topics=None, allow_auto_topic_creation=False)
    for topic in listed["topics"]:
        if topic["name"].startswith(PREFIX) and topic["name"] not in state.topics:
            faults.append(f"{topic['name']}: nobody made it")
    print(f"{len(state.topics)} side topics, {judged.records:,} records read: {'; '.join(faults) or 'all is well'}")
    return bool(faults)


# ------------------------------------------------------------------ files

KNOWN = re.compile(os.environ.get("KNOWN") or "(?!)")


def sift(wrong):
    """What is wrong and not known, and words for what is known."""
    news = [one for one in wrong if not KNOWN.search(one)]
    return news, f"{len(wrong) - len(news)} known, " if len(news) < len(wrong) else ""


AT_TOP = re.compile(r"\.lock|metadata\.log|recovery-points-.*|commit-bytes|disk-model\.toml|[A-Za-z0-9._-]+-\d+")
OF_PARTITION = re.compile(r"partition\.metadata|leader-epoch-checkpoint|(\d{20})\.(log|index|timeindex|producers)")


def leaks(address, data):
    """What is in a data folder and no topic needs, in words."""
    asker, wrong = Asker(address), []
    listed, _, _ = asker.ask("Metadata", 12, lambda a: NONE, topics=None, allow_auto_topic_creation=False)
    expected = {f"{t['name']}-{p['partition_index']}" for t in listed["topics"] for p in t["partitions"]}
    for entry in os.scandir(data):
        if entry.is_dir() and entry.name not in expected:
            wrong.append(f"{entry.name}: no topic's folder")
        elif not AT_TOP.fullmatch(entry.name) or entry.name.endswith(".tmp"):
            wrong.append(entry.name)
        elif entry.is_dir():
            wrong += [f"{entry.name}/{name}" for name in partition_leaks(entry.path)]
    return wrong


def partition_leaks(folder):
    names = os.listdir(folder)
    logs = {name.split(".")[0] for name in names if name.endswith(".log")}
    found = {name: OF_PARTITION.fullmatch(name) for name in names}
    wrong = [name for name, match in found.items() if not match]
    wrong += [n for n, m in found.items() if m and (m[2] or "").endswith("index") and m[1] not in logs]
    snapshots = [name for name in names if name.endswith(".producers")]
    return wrong + (snapshots if len(snapshots) > 3 else [])


def files(address, data):
    began, give_up = time.monotonic(), time.monotonic() + 120
    while True:
        try:
            wrong, known = sift(leaks(address, data))
        except FileNotFoundError:
            wrong, known = ["something that went meanwhile"], ""
        took = time.monotonic() - began
        if not wrong:
            print(f"{known}no file is left over after {took:.1f} s")
            return False
        if time.monotonic() > give_up:
            print(f"{len(wrong)} left over after {took:.0f} s: {', '.join(sorted(wrong)[:10])}")
            return True
        time.sleep(0.2)


# ------------------------------------------------------------------ the doctor


def doctor(report, status, after):
    """After a crash only what a crash leaves; after a clean stop nothing."""
    wrong, torn, records, partitions, is_sound = [], 0, 0, 0, True
    with open(report) as lines:
        for line in map(json.loads, lines):
            records, partitions = records + line.get("records", 0), partitions + ("records" in line)
            is_sound = is_sound and line["sound"]
            if not line["sound"] and not line.get("findings"):
                wrong.append(f"{line['subject']} is not sound: {line.get('error')}")
            for found in line.get("findings", []):
                if found["kind"] == "torn tail" and after == "killed":
                    torn += 1
                else:
                    wrong.append(f"{found['kind']} in {found['file']}, byte {found['position']}: {found['reason']}")
    wrong, known = sift(wrong)
    if status != (0 if is_sound else 1):
        wrong.append(f"exit code {status}")
    print(f"{records:,} records in {partitions} partitions, {torn} torn tails, {known}{'; '.join(wrong[:5]) or 'all is well'}")
    return bool(wrong)


def main(arguments):
    def option(name):
        return int(arguments[arguments.index(name) + 1]) if name in arguments else None

    match arguments[:1]:
        case ["load"]:
            return Load(arguments[1], arguments[2], arguments[3]).run()
        case ["judge"]:
            before, after = option("--before"), option("--after")
            return judge(arguments[1], arguments[2], before, after, "--settled" in arguments)
        case ["files"]:
            return files(arguments[1], arguments[2])
        case ["doctor"]:
            return doctor(arguments[1], int(arguments[2]), arguments[3])
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
