#!/usr/bin/env python3
"""Asks a broker some hundreds of raw protocol questions and compares its answers with Apache Kafka's.

  oracle.py record FILE          ask $BOOTSTRAP and write the answers (normalised) to FILE; chosen cases go among those there
  oracle.py compare [FILE]       ask $BOOTSTRAP and compare with FILE (default: oracle-kafka-4.3.json beside this script)
  oracle.py diff A B             compare two files of answers
  oracle.py ask NAME-REGEX       ask $BOOTSTRAP and print the answers

NAME-REGEX after FILE chooses cases. Answers are normalised first: ids, times, hosts and this run's topic names are
replaced, so that what is left must agree: error codes, offsets, defaults, which connections are closed. Texts of
errors are kept for the reader and not compared. Where corelog differs on purpose, oracle-expected.json says so:
{"case": {"path regex": "reason"}}; such are counted as skipped, and an entry that no longer applies is a failure
(but for those of case "*", which hold everywhere). EXPECTED= in the environment: none are, as for Apache Kafka itself.
Needs nothing but Python.
"""

import importlib
import json
import os
import re
import sys
import uuid

from kafka_wire import HERE, Closed, Connection, Timeout
from oracle_cases.asker import BOOTSTRAP, CASES, ERRORS, PREFIX, ZERO, Asker

MODULES = "frames topics produce idempotent fetch offsets configs describing administration quotas".split()
if os.environ.get("GROUP_CASES") == "yes":
    # Their answers were recorded on a busy machine, and where we differ is not written down yet.
    MODULES += ["classic_groups", "group_offsets", "group_lists", "consumer_groups"]
for module in MODULES:
    importlib.import_module(f"oracle_cases.{module}")
GOLDEN = os.path.join(HERE, "oracle-kafka-4.3.json")
EXPECTED = os.environ.get("EXPECTED", os.path.join(HERE, "oracle-expected.json"))


# ------------------------------------------------------------------ normalising, comparing

NODE = {"leader_id", "node_id", "broker_id", "controller_id", "leader"}
NODES = {"replica_nodes", "isr_nodes"}


def normal(value, key="", brokers=frozenset()):
    if isinstance(value, dict):
        return {
            (k if isinstance(k, str) else str(k)).replace(PREFIX, ""): normal(v, k, brokers)
            for k, v in value.items()
            if k not in ("throttle_time_ms", "port", "cluster_id")
        }
    if isinstance(value, (list, tuple)):
        if key in NODES:
            return ["<broker>" if v in brokers else v for v in value]
        return [normal(v, "", brokers) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and isinstance(key, str) and key.endswith("error_code"):
        return f"{value} {ERRORS.get(value, '?')}"
    if isinstance(value, int) and key in NODE and value in brokers:
        return "<broker>"
    if isinstance(value, uuid.UUID):
        return "<no id>" if value == ZERO else "<id>"
    if isinstance(value, bytes):
        return value.hex()
    if key in ("host", "rack"):
        return f"<{key}>"
    if key == "log_append_time_ms" and value > 0:
        return "<time>"
    if isinstance(value, str):
        return re.sub(re.escape(PREFIX) + r"(\w+?)-\d+-[0-9a-f]{5}", r"\1", value).replace(PREFIX, "")
    return value


def flat(value, path=""):
    if isinstance(value, dict) and value:
        for k in value:
            yield from flat(value[k], f"{path}/{k}")
    elif isinstance(value, list) and value:
        for i, v in enumerate(value):
            yield from flat(v, f"{path}/{i}")
    else:
        yield path, value


def ask(pattern=""):
    with Connection(BOOTSTRAP) as c:
        brokers = {b["node_id"] for b in c.call("Metadata", 12, topics=[])["brokers"]}
    answers = {}
    for name, fn in CASES.items():
        if not re.search(pattern, name):
            continue
        try:
            a = Asker()
        except OSError as e:
            answers[name] = {"raised": f"{type(e).__name__}: {e}"[:300]}
            continue
        try:
            answers[name] = normal(fn(a), "", brokers)
            for topic in a.made:
                try:
                    a.connect(5).call("DeleteTopics", 5, timeout_ms=5000, topic_names=[topic])
                except (Closed, Timeout, OSError):
                    pass
        except Exception as e:
            answers[name] = {"raised": normal(f"{type(e).__name__}: {e}"[:300])}
        finally:
            a.close()
    return json.loads(json.dumps(answers))


def compare(want, got, expected):
    passed = failed = skipped = 0
    for name in want:
        if name not in got:
            continue
        w, g = ({p: v for p, v in flat(answers[name]) if not p.endswith("error_message")} for answers in (want, got))
        if "raised" in got[name]:
            differences = [("", None, got[name]["raised"])]
        else:
            differences = [
                (p, w.get(p, "<absent>"), g.get(p, "<absent>"))
                for p in sorted(set(w) | set(g))
                if w.get(p, "<absent>") != g.get(p, "<absent>")
            ]
        reasons, left, used = {**expected.get("*", {}), **expected.get(name, {})}, [], set()
        for path, kafka, ours in differences:
            reason = next((r for r in reasons if re.fullmatch(r, path)), None)
            if reason is None:
                left.append((path, kafka, ours))
            else:
                used.add(reason)
        stale = set(expected.get(name, {})) - used
        skipped += len(used)
        for r in sorted(used):
            print(f"skip {name}: {r}: {reasons[r]}")
        if left or stale:
            failed += 1
            print(f"FAIL {name}")
            for path, kafka, ours in left[:40]:
                print(f"     {path}: Kafka {json.dumps(kafka)}, this broker {json.dumps(ours)}")
            if len(left) > 40:
                print(f"     and {len(left) - 40} more")
            for r in sorted(stale):
                print(f"     expected difference no longer there: {r}")
        else:
            passed += 1
            print(f"ok   {name}: {len(w)} answers")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def lines(value, depth, indent=""):
    """JSON with the first levels one entry a line, so that a change of one answer is a change of one line."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    return (
        "{\n"
        + ",\n".join(
            f"{inner}{json.dumps(k, ensure_ascii=False)}: {lines(v, depth - 1, inner)}" for k, v in value.items()
        )
        + "\n"
        + indent
        + "}"
    )


def main():
    command, args = sys.argv[1:2], sys.argv[2:]
    read = lambda path: json.load(open(path))
    if command == ["record"]:
        answers = ask(*args[1:2])
        kept = read(args[0]) if args[1:] and os.path.exists(args[0]) else {}
        merged = {**kept, **{name: a for name, a in answers.items() if "raised" not in a}}
        with open(args[0], "w") as f:
            order = [*CASES, *(name for name in merged if name not in CASES)]
            f.write(lines({name: merged[name] for name in order if name in merged}, 2) + "\n")
        raised = [k for k, v in answers.items() if "raised" in v]
        print(f"{len(answers)} cases in {args[0]}, {len(raised)} raised: {[(k, answers[k]) for k in raised]}")
        return 1 if raised else 0
    if command == ["ask"]:
        print(json.dumps(ask(*args), indent=1, ensure_ascii=False))
        return 0
    expected = read(EXPECTED) if os.path.exists(EXPECTED) else {}
    if command == ["compare"]:
        golden, pattern = (args + [GOLDEN, ""][len(args) :])[:2]
        return compare(read(golden), ask(pattern), expected)
    if command == ["diff"]:
        return compare(read(args[0]), read(args[1]), {})
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
