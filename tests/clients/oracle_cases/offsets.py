"""ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from kafka_wire import batch

from oracle_cases.asker import PREFIX, case, three_batches


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
