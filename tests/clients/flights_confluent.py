#!/usr/bin/env python3
"""confluent-kafka's (librdkafka's) part of flights.py; the same commands and files as java/.../Flights.java."""

import os
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

BASE = {"bootstrap.servers": os.environ.get("BOOTSTRAP", "127.0.0.1:9092"), "log_level": 2}


def produce(topic, rows, ledger, *settings):
    producer = Producer({**BASE, "queue.buffering.max.messages": 50000, **dict(s.split("=", 1) for s in settings)})
    acknowledged, failed = 0, []
    with open(ledger, "w") as out, open(rows, "rb") as f:

        def delivered(n):
            def report(err, msg):
                nonlocal acknowledged
                if err:
                    failed.append((n, err))
                else:
                    acknowledged += 1
                    out.write(f"{n}\t{msg.partition()}\t{msg.offset()}\n")

            return report

        for n, line in enumerate(f):
            stamp, key, value = line.rstrip(b"\n").split(b"\t", 2)
            while True:
                try:
                    producer.produce(topic, value, key, timestamp=int(stamp), on_delivery=delivered(n))
                    break
                except BufferError:
                    producer.poll(0.1)
            if n % 500 == 0:
                producer.poll(0)
        producer.flush(240)
    for n, err in failed[:3]:
        print(f"row {n}: {err}", file=sys.stderr)
    print(f"{acknowledged} acknowledged, {len(failed)} failed")
    return 1 if failed else 0


def read(topic, out):
    consumer = Consumer(
        {
            **BASE,
            "group.id": "flights",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    partitions = sorted(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    ended, silent = set(), 0
    with open(out, "wb") as to:
        while len(ended) < len(partitions):
            messages = consumer.consume(10000, 0.5)
            silent = 0 if messages else silent + 1
            if silent > 40:
                sys.exit(f"nothing for 20 s; ended: {sorted(ended)}")
            for m in messages:
                if m.error():
                    if m.error().code() != KafkaError._PARTITION_EOF:
                        sys.exit(str(m.error()))
                    ended.add(m.partition())
                    continue
                to.write(b"%d\t%d\t%d\t%s\t%s\n" % (m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value()))
    consumer.close()


def times(topic, stamp):
    consumer = Consumer({**BASE, "group.id": "flights", "enable.auto.commit": False})
    partitions = sorted(consumer.list_topics(topic, 10).topics[topic].partitions)
    for tp in consumer.offsets_for_times([TopicPartition(topic, p, int(stamp)) for p in partitions], timeout=20):
        print(f"{tp.partition}\t{tp.offset}")
    consumer.close()


if __name__ == "__main__":
    sys.exit({"produce": produce, "read": read, "times": times}[sys.argv[1]](*sys.argv[2:]))
