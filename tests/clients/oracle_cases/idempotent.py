"""Idempotent producers: sequences, epochs, duplicates; InitProducerId."""

from kafka_wire import batch

from oracle_cases.asker import case


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
