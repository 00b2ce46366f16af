"""Fetch: offsets, limits, waiting, leader epochs, sessions."""

import time

from kafka_wire import batch

from oracle_cases.asker import PREFIX, ZERO, case, three_batches, timed


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
