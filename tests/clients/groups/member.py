#!/usr/bin/env python3
"""One member of a consumer group, by a Python client, for workload.py. It says what it sees, line by line, in its log.

  member.py confluent|kafka-python|aiokafka BOOTSTRAP TOPIC GROUP PROTOCOL SESSION_MS LOG

PROTOCOL: classic (range), cooperative (cooperative-sticky), consumer (KIP-848). SIGTERM: commit, leave, end.
Exit code 3: the client met an error that it calls fatal. GROUP_INSTANCE_ID in the environment makes a static member.

A line of the log, written before what follows it is done, is `MILLISECONDS KIND REST`:
  + 0,3      partitions assigned       - 0,3   revoked, after they were committed        ! 0,3   lost
  r 3 17 V   record 17 of partition 3, whose value is V
  t 3:18,..  these offsets are about to be committed       c 3:18,..    the broker said that they are
  x TEXT     what the client complained of                 . end        it ended as it should
"""
import os
import signal
import sys
import time

COMMIT_EVERY_S = 0.2
FATAL = 3  # The exit code of a member whose client gave up.
stopping = False


class Log:
    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.next, self.done, self.owned = {}, {}, set()

    def line(self, kind, text):
        os.write(self.fd, f"{int(time.time() * 1000)} {kind} {text}\n".encode())

    def assigned(self, partitions):
        for p in partitions:
            self.next.pop(p, None)
            self.done.pop(p, None)
        self.owned |= set(partitions)
        self.line("+", ",".join(map(str, sorted(partitions))))

    def gone(self, partitions, kind="-"):
        for p in partitions:
            self.next.pop(p, None)
            self.done.pop(p, None)
        self.owned -= set(partitions)
        self.line(kind, ",".join(map(str, sorted(partitions))))

    def record(self, p, offset, value):
        self.line("r", f"{p} {offset} {value.decode()}")
        self.next[p] = offset + 1

    def due(self, partitions=None):
        """What is not yet committed, of these partitions or of all."""
        return {p: o for p, o in self.next.items() if self.done.get(p) != o and (partitions is None or p in partitions)}

    def tried(self, due):
        self.line("t", ",".join(f"{p}:{o}" for p, o in due.items()))

    def committed(self, due):
        self.line("c", ",".join(f"{p}:{o}" for p, o in due.items()))
        self.done.update(due)


def confluent(bootstrap, topic, group, protocol, session_ms, log):
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
    conf = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "group.protocol": "consumer" if protocol == "consumer" else "classic", "log_level": 5}
    if protocol != "consumer":
        conf |= {"session.timeout.ms": session_ms, "heartbeat.interval.ms": session_ms // 4,
                 "partition.assignment.strategy": {"classic": "range", "cooperative": "cooperative-sticky"}[protocol]}
    if os.environ.get("GROUP_INSTANCE_ID"):
        conf["group.instance.id"] = os.environ["GROUP_INSTANCE_ID"]
    consumer = Consumer(conf)

    def commit(partitions=None):
        due = log.due(partitions)
        if not due:
            return
        log.tried(due)
        try:
            done = consumer.commit(offsets=[TopicPartition(topic, p, o) for p, o in due.items()], asynchronous=False)
            for t in done:
                if t.error:
                    log.line("x", f"commit of {t.partition}: {t.error}")
            log.committed({t.partition: t.offset for t in done if not t.error})
        except KafkaException as e:
            log.line("x", f"commit: {e}")

    def revoked(_, parts):
        partitions = {p.partition for p in parts}
        commit(partitions)
        log.gone(partitions)

    consumer.subscribe([topic], on_assign=lambda _, parts: log.assigned([p.partition for p in parts]), on_revoke=revoked,
                       on_lost=lambda _, parts: log.gone([p.partition for p in parts], "!"))
    last = time.monotonic()
    while not stopping:
        for m in consumer.consume(200, 0.1):
            if m.error():
                log.line("x", f"consume: {m.error()}")
                # The first of them has its own code and says that it is fatal, what comes later has that as its code.
                if m.error().fatal() or m.error().code() == KafkaError._FATAL:
                    # Its application has nothing left but to make another one.
                    log.gone(sorted(log.owned), "!")
                    consumer.close()
                    sys.exit(FATAL)
            else:
                log.record(m.partition(), m.offset(), m.value())
        if time.monotonic() - last > COMMIT_EVERY_S:
            commit()
            last = time.monotonic()
    commit()
    consumer.close()


def kafka_python(bootstrap, topic, group, protocol, session_ms, log):
    from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
    from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
    from kafka.errors import KafkaError
    more = {}
    if protocol == "cooperative":
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
        more["partition_assignment_strategy"] = [CooperativeStickyAssignor]
    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), group_id=group, enable_auto_commit=False,
                             auto_offset_reset="earliest", session_timeout_ms=session_ms, heartbeat_interval_ms=session_ms // 4, **more)

    def offsets(due):
        return {TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in due.items()}

    def commit():
        due = log.due()
        if not due:
            return
        log.tried(due)
        try:
            consumer.commit(offsets(due))
            log.committed(due)
        except KafkaError as e:
            log.line("x", f"commit: {e!r}")

    class Listener(AsyncConsumerRebalanceListener):
        # These run on the client's own thread, which may wait, but not by way of a blocking call.
        async def on_partitions_revoked(self, revoked):
            partitions = {p.partition for p in revoked}
            due = log.due(partitions)
            if due:
                log.tried(due)
                try:
                    await consumer.commit_async(offsets(due))
                    log.committed(due)
                except KafkaError as e:
                    log.line("x", f"commit: {e!r}")
            log.gone(partitions)

        async def on_partitions_lost(self, lost):
            log.gone([p.partition for p in lost], "!")

        async def on_partitions_assigned(self, assigned):
            log.assigned([p.partition for p in assigned])

    consumer.subscribe([topic], listener=Listener())
    last = time.monotonic()
    while not stopping:
        for records in consumer.poll(timeout_ms=100).values():
            for r in records:
                log.record(r.partition, r.offset, r.value)
        if time.monotonic() - last > COMMIT_EVERY_S:
            commit()
            last = time.monotonic()
    commit()
    consumer.close()


def aiokafka(bootstrap, topic, group, protocol, session_ms, log):
    import asyncio
    asyncio.run(aiokafka_loop(bootstrap, topic, group, session_ms, log))


async def aiokafka_loop(bootstrap, topic, group, session_ms, log):
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
    from aiokafka.errors import KafkaError
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                                session_timeout_ms=session_ms, heartbeat_interval_ms=session_ms // 4)

    async def commit(partitions=None):
        due = log.due(partitions)
        if not due:
            return
        log.tried(due)
        try:
            await consumer.commit({TopicPartition(topic, p): o for p, o in due.items()})
            log.committed(due)
        except KafkaError as e:
            log.line("x", f"commit: {e!r}")

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            partitions = {p.partition for p in revoked}
            await commit(partitions)
            log.gone(partitions)

        async def on_partitions_assigned(self, assigned):
            log.assigned([p.partition for p in assigned])

    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    last = time.monotonic()
    while not stopping:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for r in records:
                log.record(r.partition, r.offset, r.value)
        if time.monotonic() - last > COMMIT_EVERY_S:
            await commit()
            last = time.monotonic()
    await commit()
    await consumer.stop()


def stop(*_):
    global stopping
    stopping = True


def main():
    client, bootstrap, topic, group, protocol, session_ms, path = sys.argv[1:]
    log = Log(path)
    signal.signal(signal.SIGTERM, stop)
    run = {"confluent": confluent, "kafka-python": kafka_python, "aiokafka": aiokafka}[client]
    run(bootstrap, topic, group, protocol, int(session_ms), log)
    log.line(".", "end")


if __name__ == "__main__":
    main()
