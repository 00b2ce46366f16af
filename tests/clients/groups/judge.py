"""What a group's members wrote down (member.py says how), judged. Knows nothing of how the workload was run."""
from collections import Counter, defaultdict


class Session:
    """One member's time with one partition."""
    def __init__(self, member, partition, began):
        self.member, self.partition, self.began = member, partition, began
        self.ended = self.how = None  # how: revoked, lost, killed, left
        self.records = []  # (time, offset)
        self.disturbed = None  # killed or paused, if its process was while it lasted


class Member:
    def __init__(self, name, path):
        self.name, self.path = name, path
        self.killed = None  # when
        self.pauses = []  # (from, to)
        self.sessions, self.errors, self.tried, self.committed, self.faults = [], [], [], [], []
        self.clean = False

    def read(self, values):
        """Fills the lists from the log; values[partition][offset] is what was written."""
        open_, now = {}, 0

        def close(p, how, at):
            s = open_.pop(p, None)
            if s:
                s.ended, s.how = at, how
        for text in open(self.path, encoding="utf-8", errors="replace"):
            if not text.endswith("\n"):
                break  # killed while it wrote
            at, kind, rest = text.rstrip("\n").split(" ", 2)
            now = int(at)
            if kind == "+":
                for p in partitions(rest):
                    close(p, "revoked", now)
                    open_[p] = Session(self, p, now)
                    self.sessions.append(open_[p])
            elif kind in "-!":
                for p in partitions(rest):
                    close(p, "revoked" if kind == "-" else "lost", now)
            elif kind == "r":
                p, offset, value = rest.split(" ")
                self.record(now, int(p), int(offset), value, open_, values)
            elif kind in "tc":
                pairs = [tuple(map(int, x.split(":"))) for x in rest.split(",")]
                (self.tried if kind == "t" else self.committed).extend((now, p, o) for p, o in pairs)
            elif kind == "x":
                self.errors.append((now, rest))
            elif kind == ".":
                self.clean = True
        for p in list(open_):
            close(p, "killed" if self.killed else "left", self.killed or now)
        for s in self.sessions:
            if s.how == "killed":
                s.disturbed = "killed"
            for stopped, resumed in self.pauses:
                if s.began < resumed and s.ended > stopped:
                    s.disturbed = "paused"
                    s.ended = min(s.ended, stopped)

    def record(self, now, p, offset, value, open_, values):
        session = open_.get(p)
        if session is None:
            self.faults.append(f"record {offset} of partition {p}, which it does not have")
            return
        if session.records and offset != session.records[-1][1] + 1:
            self.faults.append(f"record {offset} of partition {p} after {session.records[-1][1]}")
        if values.get(p, {}).get(offset) not in (None, value):
            self.faults.append(f"record {offset} of partition {p} is {value}, {values[p][offset]} was written")
        session.records.append((now, offset))


def partitions(text):
    return [int(x) for x in text.split(",") if x]


def brief(faults):
    return f"{len(faults)}, the first: " + "; ".join(faults[:3])


class Judge:
    """members; values: {partition: {offset: text}} of what was acknowledged; samples: [(time, {partition: offset})]
    of what an admin client saw committed, each at the time at which its answer had come.

    keeps_positions: the client goes on from its old position when it is given a partition again that it had two
    generations ago and whose owner in between it does not know of, having missed that generation's assignment
    (kafka-python does, under the eager protocol: it does not forget the partitions that it revokes). It then commits
    less than the owner in between did. Such a session is counted as stale, and what it takes back is not held against
    the broker, which can't know."""
    def __init__(self, members, values, samples, keeps_positions=False):
        self.members, self.values, self.samples, self.keeps_positions = members, values, samples, keeps_positions
        self.stale = []
        for m in members:
            m.read(values)
        self.sessions = sorted((s for m in members for s in m.sessions), key=lambda s: s.began)
        self.deliveries = defaultdict(list)
        for s in self.sessions:
            for at, offset in s.records:
                self.deliveries[s.partition, offset].append((at, s))

    def all_consumed(self):
        missing = [f"{p}/{o}" for p, of in self.values.items() for o in of if (p, o) not in self.deliveries]
        return brief(missing) if missing else None

    def in_order(self):
        faults = [f"{m.name}: {f}" for m in self.members for f in m.faults]
        return brief(faults) if faults else None

    def never_back(self):
        """Committed offsets, as the admin client saw them, one answer after the other."""
        last, faults = {}, []
        for at, offsets in self.samples:
            for p, o in last.items():
                if offsets.get(p, -1) < o and not any(s.partition == p and s.began < at for s in self.stale):
                    faults.append(f"partition {p} from {o} to {offsets.get(p)} at {at}")
            last.update(offsets)
        return brief(faults) if faults else None

    def starts_at_committed(self):
        """Each session's first record is the committed offset: no less than what was acknowledged before the session
        began, and no more than what anybody had asked to commit before its first record."""
        faults = []
        floors = defaultdict(list)
        for at, p, o in (c for m in self.members for c in m.committed):
            floors[p].append((at, o))
        for at, offsets in self.samples:
            for p, o in offsets.items():
                floors[p].append((at, o))
        tried = defaultdict(list)
        for at, p, o in (t for m in self.members for t in m.tried):
            tried[p].append((at, o))
        for s in self.sessions:
            if not s.records:
                continue
            first_at, first = s.records[0]
            low = max((o for at, o in floors[s.partition] if at < s.began), default=0)
            high = max((o for at, o in tried[s.partition] if at <= first_at), default=0)
            before = [b for b in self.sessions if b.partition == s.partition and b.member is s.member and b.began < s.began and b.records]
            if self.keeps_positions and first < low and before and before[-1].records[-1][1] + 1 == first:
                self.stale.append(s)
            elif not low <= first <= high:
                faults.append(f"{s.member.name} has partition {s.partition} from {s.began} and begins with {first}: {low} was committed, {high} asked for")
        return brief(faults) if faults else None

    def one_owner(self, slack_ms=0):
        """No two members have a partition at a time, as they know it; one that was killed or paused has it no more.
        slack_ms: how long they may, where the client's assignor gives a partition away at once whose owner missed a
        generation (it then says of itself that it has it from an older one, and is not believed)."""
        faults = []
        for p in {s.partition for s in self.sessions}:
            held = sorted((s for s in self.sessions if s.partition == p), key=lambda s: s.began)
            for i, a in enumerate(held):
                for b in held[i + 1:]:
                    if b.member is not a.member and b.began < a.ended - slack_ms:
                        faults.append(f"partition {p}: {a.member.name} until {a.ended} ({a.how}), {b.member.name} from {b.began}")
        return brief(faults) if faults else None

    def duplicates(self):
        """How many times records came again, by the cause: how the member that had it before lost it."""
        causes = Counter()
        for (_, _), times in self.deliveries.items():
            times.sort(key=lambda d: d[0])
            for (_, before), (_, again) in zip(times, times[1:]):
                causes[before.disturbed or again.disturbed or before.how] += 1
        return causes

    def summary(self):
        causes = self.duplicates()
        total, lost = sum(len(of) for of in self.values.values()), sum(s.how == "lost" for s in self.sessions)
        text = f"{total} records, {len(self.sessions)} sessions of {len(self.members)} members"
        if self.stale:
            text += f", {len(self.stale)} of them stale"
        if lost:
            text += f", {lost} of them lost"
        return text + f", {sum(causes.values())} duplicates" + (f" ({', '.join(f'{n} {how}' for how, n in sorted(causes.items()))})" if causes else "")
