#!/usr/bin/env python3
"""Consumer groups of stock clients, whose members join, leave, are killed and are paused while records come in.

  BOOTSTRAP=127.0.0.1:9092 workload.py [NAME-REGEX]     `workload.py list` names the groups

A group's members are processes (member.py, kafkajs-member.mjs, lab.Member, franz-member, sarama-member) that write
down all that they see. A producer writes numbered records to the 12 partitions of a topic, an admin client asks for
the committed offsets all the while, and judge.py looks at all of it in the end:

  consumed     every record that was acknowledged was read
  order        a member reads the records of a partition that it has one after the other, none left out
  start        it begins with the committed offset: what comes twice is what was not yet committed
  never back   committed offsets only grow
  one owner    no two members have a partition at a time, as they and as DescribeGroups tell it
  stable       once nothing changes any more, the group is Stable, each partition is assigned once, all is committed
  ends         the members leave in good order, the group is Empty, its offsets stay

Environment:
  BOOTSTRAP       broker list, default 127.0.0.1:9092
  SECONDS_EACH    how long each group's members come and go, default 30
  TOGETHER        yes: all groups at a time, with a load that two cores carry: what follows has other defaults then
  JOBS            how many groups at a time, default 4; all
  RATE            records a second for each, default 300; 60
  PACE            seconds from one event of a group to the next, on average, default 2; 8
  MEMBERS_MAX     of a group, default 5; 3
  SESSION_MS      session timeout of classic members, default 6000; 10000
  STAGGER_S       seconds from one group's start to the next, default 0; 3
  SEED            of what happens when, default from the clock; it is printed
  KEEP            a folder for the members' logs; they are kept there (and in /tmp, if a check failed)
  JAVA_CLASSPATH, NODE_DEPS, GO_BIN    where the clients are; groups whose client is missing are skipped
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from judge import Judge, Member
from member import FATAL

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
SECONDS_EACH = float(os.environ.get("SECONDS_EACH", "30"))
TOGETHER = os.environ.get("TOGETHER", "no") == "yes"


def setting(name, alone, together):
    return type(alone)(os.environ.get(name) or (together if TOGETHER else alone))


JOBS = setting("JOBS", 4, 1000)
RATE = setting("RATE", 300, 60)
PACE = setting("PACE", 2.0, 8.0)
MEMBERS_MAX = setting("MEMBERS_MAX", 5, 3)
CLASSIC_SESSION_MS = setting("SESSION_MS", 6000, 10000)
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
KEEP = os.environ.get("KEEP")
HERE = os.path.dirname(os.path.abspath(__file__))
PARTITIONS = 12
BEGIN_S = 240 if TOGETHER else 60
SETTLE_S = 180 if TOGETHER else 90
ADMIN_S = 60 if TOGETHER else 20  # How long the admin client waits for an answer.
LOOK_EVERY_S = 1 if TOGETHER else 0.2
# Fifty processes that start at a time would be all that two cores do for a minute.
STAGGER_S = float(os.environ.get("STAGGER_S") or (3 if TOGETHER else 0))
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
printing = threading.Lock()

# In this order they are started: the slow ones first.
GROUPS = [(client, protocol) for client, protocols in (
    ("java", ("consumer", "classic", "cooperative", "static-consumer", "static-classic")),
    ("confluent", ("consumer", "classic", "cooperative", "mixed", "static-consumer", "static-classic")), ("franz-go", ("consumer", "classic", "cooperative")), ("kafka-python", ("classic", "cooperative")), ("aiokafka", ("classic",)),
    ("kafkajs", ("classic",)), ("sarama", ("classic",))) for protocol in protocols]


def command_of(client):
    """The words before BOOTSTRAP; None where the client is not there."""
    go = os.environ.get("GO_BIN", "")
    if client in ("confluent", "kafka-python", "aiokafka"):
        return [sys.executable, os.path.join(HERE, "member.py"), client]
    if client == "java" and os.environ.get("JAVA_CLASSPATH"):
        return ["java", "-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", os.environ["JAVA_CLASSPATH"], "lab.Member"]
    if client == "kafkajs" and os.environ.get("NODE_DEPS"):
        return ["node", os.path.join(HERE, "kafkajs-member.mjs")]
    binary = os.path.join(go, {"franz-go": "franz-member", "sarama": "sarama-member"}.get(client, "none"))
    return [binary] if os.path.exists(binary) else None


def speaks_consumer(protocol):
    return protocol in ("consumer", "mixed", "static-consumer")


def now_ms():
    return int(time.time() * 1000)


def until(condition, seconds):
    """What the condition last said, once it is true or the time is over."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > end:
            return result
        time.sleep(0.2)


class Writer(threading.Thread):
    """Writes numbered records, one partition after the other; keeps what was acknowledged."""
    def __init__(self, topic):
        super().__init__(daemon=True)
        self.topic, self.over, self.values, self.failed = topic, threading.Event(), {p: {} for p in range(PARTITIONS)}, []

    def delivered(self, error, message):
        if error:
            self.failed.append(str(error))
        else:
            self.values[message.partition()][message.offset()] = message.value().decode()

    def run(self):
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "linger.ms": 10})
        n, began = 0, time.monotonic()
        while not self.over.is_set():
            while n < (time.monotonic() - began) * RATE:
                producer.produce(self.topic, value=f"{n}", partition=n * 7 % PARTITIONS, on_delivery=self.delivered)
                n += 1
            producer.poll(0.02)
        if producer.flush(60):
            self.failed.append("not all was delivered within a minute")

    def ends(self):
        return {p: max(of, default=-1) + 1 for p, of in self.values.items()}


class Watcher(threading.Thread):
    """Asks for the committed offsets and for the group's description, over and over."""
    def __init__(self, topic, group):
        super().__init__(daemon=True)
        self.topic, self.group, self.over = topic, group, threading.Event()
        self.samples, self.errors, self.twice, self.states = [], [], [], {}
        self.admin = AdminClient({"bootstrap.servers": BOOTSTRAP})

    def offsets(self):
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group)], request_timeout=ADMIN_S)[self.group].result()
        return {t.partition: t.offset for t in answer.topic_partitions if t.topic == self.topic and t.offset >= 0}

    def describe(self):
        """State, members, and how often each partition is assigned."""
        d = self.admin.describe_consumer_groups([self.group], request_timeout=ADMIN_S)[self.group].result()
        times = {}
        for m in d.members:
            for t in m.assignment.topic_partitions if m.assignment else ():
                times[t.partition] = times.get(t.partition, 0) + 1
        return d.state.name, len(d.members), times

    def run(self):
        while not self.over.wait(LOOK_EVERY_S):
            try:
                offsets = self.offsets()
                self.samples.append((now_ms(), offsets))
                state, _, times = self.describe()
                self.states[state] = self.states.get(state, 0) + 1
                if any(n > 1 for n in times.values()):
                    self.twice.append(f"{now_ms()} {state} {times}")
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append(f"{now_ms()} {e}")


class Process:
    def __init__(self, run, number, instance):
        # Classic by range: cooperative-sticky of librdkafka keeps data in assignments, and then Kafka refuses the upgrade.
        protocol = run.protocol if run.protocol != "mixed" else run.random.choice(["classic", "consumer"])
        self.name = f"m{number}" if run.protocol != "mixed" else f"m{number}-{protocol}"
        self.instance, protocol = instance, protocol.removeprefix("static-")
        if instance:
            self.name += f"-{instance}"
        self.member = Member(self.name, os.path.join(run.folder, f"{self.name}.log"))
        open(self.member.path, "w", encoding="utf-8").close()
        self.stderr = os.path.join(run.folder, f"{self.name}.err")
        with open(self.stderr, "w", encoding="utf-8") as err:
            # Whatever ends this process ends its members.
            self.process = subprocess.Popen(DIES_WITH_US + run.command + [BOOTSTRAP, run.topic, run.group, protocol, str(run.session_ms), self.member.path],
                                            stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                            env={**os.environ, "GROUP_INSTANCE_ID": instance or ""})
        self.paused, self.leaving, self.fenced = None, False, False

    def alive(self):
        return self.process.poll() is None

    def reads(self):
        """Whether it has read something yet: a runtime takes its time to start, a group too."""
        return os.path.getsize(self.member.path) > 1000

    def kill(self):
        self.member.killed = now_ms()
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.paused = now_ms()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.member.pauses.append((self.paused, now_ms()))
        self.paused = None


class Run:
    """One group: `go` runs it and returns the results, (name, None or what is wrong)."""
    def __init__(self, client, protocol, wait_s=0):
        self.wait_s = wait_s
        self.name, self.client, self.protocol = f"{client} {protocol}", client, protocol
        self.random = random.Random(f"{SEED} {self.name}")
        tag = f"{client}-{protocol}-{time.time_ns() // 1000 % 10**9}"
        self.topic, self.group = f"churn-{tag}", f"churn-group-{tag}"
        self.folder = os.path.join(KEEP, tag) if KEEP else tempfile.mkdtemp(prefix=f"churn-{tag}-")
        os.makedirs(self.folder, exist_ok=True)
        self.command, self.processes, self.results, self.story = command_of(client), [], [], []
        self.watcher = Watcher(self.topic, self.group)
        self.session_ms = max(CLASSIC_SESSION_MS, broker_session_ms() if speaks_consumer(protocol) else 0)
        self.is_static = protocol.startswith("static-")

    def tell(self, what):
        self.story.append(f"{now_ms()} {what}")

    def start(self, instance=None):
        """One more member; of a static group one whose name nobody has, so that a new process is an old member."""
        if self.is_static and not instance:
            taken = {p.instance for p in self.processes if p.alive() or self.is_held(p)}
            instance = next(name for n in range(len(taken) + 1) if (name := f"i{n}") not in taken)
        self.processes.append(Process(self, len(self.processes) + 1, instance))
        self.tell(f"start {self.processes[-1].name}")

    def is_held(self, process):
        """KIP-848: nobody has the name of a static member that did not give it up, until its session has ended."""
        killed = process.member.killed
        return self.protocol == "static-consumer" and killed and now_ms() < killed + self.session_ms + 3000

    def running(self):
        return [p for p in self.processes if p.alive() and not p.paused and not p.leaving and not p.fenced]

    def members(self):
        """Who belongs to the group in the end. One whose place another took ends when it hears of it; but if the other was
        killed and its session is over by then, the first is in the group again, with Kafka too."""
        return [p for p in self.processes if p.alive() and not p.paused and not p.leaving]

    def leave(self, process):
        process.leaving = True
        process.process.send_signal(signal.SIGTERM)

    def churn(self):
        """Members come and go until the time is over, which begins when the first three have something."""
        resume_at, bag = {}, ["pause", "join", "kill", "join", "leave", "join"]
        for _ in range(3):
            self.start()
            time.sleep(self.random.uniform(0, 1.2))
        began = until(lambda: all(p.reads() for p in self.processes), BEGIN_S)
        self.check("begins", None if began else f"three members that join do not all read within {BEGIN_S} s")
        end = time.monotonic() + SECONDS_EACH
        while time.monotonic() < end:
            for process in [p for p, at in resume_at.items() if time.monotonic() > at]:
                self.resume(process, resume_at)
            if not bag:
                bag = ["pause", "join", "kill", "join", "leave", "leave", "join", "kill", "join"]
                self.random.shuffle(bag)
            self.act(bag.pop(0), resume_at, end)
            time.sleep(self.random.uniform(PACE / 4, PACE * 7 / 4))
        for process in list(resume_at):
            time.sleep(max(0, resume_at[process] - time.monotonic()))
            self.resume(process, resume_at)

    def resume(self, process, resume_at):
        del resume_at[process]
        self.tell(f"resume {process.name}")
        process.resume()

    def act(self, what, resume_at, end):
        running = self.running()
        if what == "join":
            if len(running) < MEMBERS_MAX:
                self.start()
            return
        readers = [p for p in running if p.reads()]
        if len(running) < 2 or not readers:
            if len(running) < MEMBERS_MAX:
                self.start()
            return
        process = self.random.choice(readers)
        if what == "pause":
            length = self.session_ms / 1000 + 2.5
            if time.monotonic() + length > end + 10:
                return
            process.pause()
            resume_at[process] = time.monotonic() + length
            if self.protocol == "static-classic" and self.random.random() < 0.5:
                # Another takes its place, and it finds itself fenced.
                process.fenced = True
                self.start(process.instance)
        elif what == "kill":
            process.kill()
        else:
            self.leave(process)
        self.tell(f"{what} {process.name}")

    def check(self, name, wrong):
        self.results.append((name, wrong))

    def settle(self, writer):
        while len(self.running()) < 2:
            self.start()
        writer.over.set()
        writer.join(70)
        self.check("written", "; ".join(writer.failed[:2]) or None)
        want, seen = writer.ends(), {}

        def settled():
            try:
                seen.update(offsets=self.watcher.offsets(), group=self.watcher.describe())
            except Exception as e:  # pylint: disable=broad-except
                seen.update(error=str(e))
                return False
            state, members, times = seen["group"]
            return (seen["offsets"] == want and state == "STABLE" and members == len(self.members())
                    and times == {p: 1 for p in range(PARTITIONS)})
        if until(settled, SETTLE_S + self.session_ms / 1000):
            self.check("stable", None)
        else:
            behind = {p: (seen.get("offsets", {}).get(p), o) for p, o in want.items() if seen.get("offsets", {}).get(p) != o}
            self.check("stable", f"{len(self.members())} members run; {seen.get('group')}; behind (committed, end): {behind} {seen.get('error', '')}")
        self.tell("settled")

    def finish(self, ends):
        gone_wrong = []
        for process in self.members():
            self.leave(process)
        for process in self.processes:
            try:
                code = process.process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                code = "none within 30 s of SIGTERM"
            # A member of KIP-848 whose session ended before the group became a classic one is told GROUP_ID_NOT_FOUND,
            # by Kafka too, and librdkafka ends with that.
            if code == FATAL and self.protocol == "mixed":
                continue
            if process.fenced and code in (FATAL, 1):
                continue
            if not process.member.killed and code not in (0, 143):
                tail = open(process.stderr, encoding="utf-8", errors="replace").read()[-300:]
                gone_wrong.append(f"{process.name} ended with {code}: {tail}")
        seen = {}

        def empty():
            try:
                seen.update(group=self.watcher.describe(), offsets=self.watcher.offsets())
            except Exception as e:  # pylint: disable=broad-except
                seen.update(group=str(e))
            return seen["group"] == ("EMPTY", 0, {}) and seen["offsets"] == ends
        # Static members stay until their session ends.
        if not until(empty, 15 + (self.session_ms / 1000 if self.is_static else 0)):
            gone_wrong.append(f"the group: {seen}, ends {ends}")
        self.check("ends", "; ".join(gone_wrong) or None)

    def go(self):
        time.sleep(self.wait_s)
        admin = self.watcher.admin
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)], request_timeout=ADMIN_S)[self.topic].result(ADMIN_S + 10)
        writer = Writer(self.topic)
        writer.start()
        self.watcher.start()
        try:
            self.churn()
            self.settle(writer)
            self.watcher.over.set()
            self.watcher.join(30)
            self.finish(writer.ends())
        finally:
            writer.over.set()
            self.watcher.over.set()
            for process in self.processes:
                if process.alive():
                    process.process.kill()
                    process.process.wait()
        with open(os.path.join(self.folder, "story"), "w", encoding="utf-8") as f:
            print(*self.story, f"states {self.watcher.states}", *self.watcher.errors, sep="\n", file=f)
        judge = Judge([p.member for p in self.processes], writer.values, self.watcher.samples, self.client == "kafka-python")
        self.check("consumed", judge.all_consumed())
        self.check("order", judge.in_order())
        self.check("start", judge.starts_at_committed())
        self.check("never back", judge.never_back())
        twice = self.watcher.twice
        slack_ms = 1000 if (self.client, self.protocol) == ("kafka-python", "cooperative") else 0
        self.check("one owner", judge.one_owner(slack_ms) or (f"{len(twice)} descriptions: {twice[0]}" if twice else None))
        if len(self.watcher.errors) > len(self.watcher.samples) / 10 + 3:
            self.check("watched", f"{len(self.watcher.errors)} errors in {len(self.watcher.samples)} answers: {self.watcher.errors[-1]}")
        complaints = sum(len(p.member.errors) for p in self.processes)
        acts = {w: sum(f" {w} " in s for s in self.story) for w in ("start", "leave", "kill", "pause")}
        return f"{judge.summary()}; {acts}; {complaints} complaints of clients"


def broker_session_ms():
    """group.consumer.session.timeout.ms, which is what a member of a consumer group (KIP-848) has."""
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    broker = str(next(iter(admin.list_topics(timeout=10).brokers)))
    found = admin.describe_configs([ConfigResource(ResourceType.BROKER, broker)])
    entry = next(iter(found.values())).result(20).get("group.consumer.session.timeout.ms")
    return int(entry.value) if entry else 45000


def one(place, client, protocol):
    """Runs a group and prints what came; how many checks passed, failed, were skipped."""
    if command_of(client) is None:
        with printing:
            print(f"skip {client} {protocol}: the client is not there")
        return 0, 0, 1
    run = Run(client, protocol, place * STAGGER_S if place < JOBS else 0)
    try:
        summary = run.go()
    except Exception as e:  # pylint: disable=broad-except
        summary = f"{type(e).__name__}: {e}"
        run.check("runs", summary)
    bad = [(name, wrong) for name, wrong in run.results if wrong]
    with printing:
        print(f"{'FAIL' if bad else 'ok  '} {run.name}: {summary}")
        for name, wrong in bad:
            print(f"     {run.name}, {name}: {wrong[:900]}")
        if bad or KEEP:
            print(f"     logs: {run.folder}")
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
        sys.stdout.flush()
    return len(run.results) - len(bad), len(bad), 0


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [g for g in GROUPS if re.search(pattern, " ".join(g))]
    if pattern == "list":
        print(*(" ".join(g) for g in GROUPS), sep="\n")
        return
    print(f"SEED={SEED} SECONDS_EACH={SECONDS_EACH:g}", flush=True)
    with ThreadPoolExecutor(JOBS) as pool:
        counts = list(pool.map(lambda g: one(g[0], *g[1]), enumerate(chosen)))
    passed, failed, skipped = (sum(c) for c in zip(*counts)) if counts else (0, 1, 0)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
