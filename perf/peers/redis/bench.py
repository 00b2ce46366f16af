"""One run of redis-benchmark with XADD of 1 KiB records to one stream, as one line of JSON.

The tool runs for a count of records, not for a time: a first run, which is also the warm-up, finds the count that takes
as long as was asked for. What the server is set to do with its file is asked of the server.
"""

import argparse
import csv
import json
import os
import resource
import shlex
import subprocess
import sys
import time

RECORD_BYTES = 1024
WARM_UP_SECONDS = 1.0
# The stream lives in the server's memory: no run appends more than about 4 GiB.
RECORDS_MAX = 4_000_000
STREAM = "corelog-peer"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("pid", "port", "connections", "in-flight", "seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()

    records, rate = asked.connections * asked.in_flight * 10, 0.0
    while True:
        _, seconds, _, appended, _ = run(asked, records)
        rate = appended / seconds
        if seconds >= WARM_UP_SECONDS / 2 or records >= RECORDS_MAX:
            break
        records = min(RECORDS_MAX, max(2 * records, int(rate * WARM_UP_SECONDS)))
    records = max(1, min(RECORDS_MAX, int(rate * asked.seconds)))

    row, seconds, server_cpu_ns, appended, share = run(asked, records)
    per_second = float(row["rps"])
    durability = {"always": "fsync", "everysec": "default"}
    appendfsync = ask(asked.port, "CONFIG", "GET", "appendfsync").split("\n")[1]
    print(json.dumps({
        "peer": "redis",
        "version": info(asked.port, "redis_version"),
        "durability": durability.get(appendfsync, appendfsync),
        "setting": f"appendfsync {appendfsync}",
        "mode": "pipeline" if asked.in_flight > 1 else "sync",
        "connections": asked.connections,
        "in_flight": asked.in_flight,
        "records": appended,
        "seconds": round(seconds, 3),
        "records_per_second": round(per_second),
        "megabytes_per_second": round(per_second * RECORD_BYTES / 1e6, 2),
        "p50_ms": float(row["p50_latency_ms"]),
        "p99_ms": float(row["p99_latency_ms"]),
        "server_cpu_ns_per_record": round(server_cpu_ns / appended),
        "server_cpus": cpus_allowed(asked.pid),
        "bench_cpus": cpus_allowed("self"),
        "bench_cpu_share": round(share / len(os.sched_getaffinity(0)), 2),
        "command": shlex.join(command(asked, records)),
    }), flush=True)


def command(asked, records):
    """-x takes the record, the last argument, from the input."""
    return ["redis-benchmark", "-h", "127.0.0.1", "-p", str(asked.port), "-c", str(asked.connections),
            "-P", str(asked.in_flight), "-n", str(records), "-e", "--csv", "--precision", "3", "-x",
            "XADD", STREAM, "*", "v"]


def run(asked, records):
    """The tool's line, the seconds it took with its start, the server's CPU ns, how many records are there, and the
    tool's share of one CPU.
    """
    ask(asked.port, "DEL", STREAM)
    server_before, tool_before, began = cpu_ns(asked.pid), children_cpu_seconds(), time.monotonic()
    done = subprocess.run(command(asked, records), input=b"x" * RECORD_BYTES, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    seconds = time.monotonic() - began
    server, tool = cpu_ns(asked.pid) - server_before, children_cpu_seconds() - tool_before
    text = done.stdout.decode(errors="replace")
    appended = int(ask(asked.port, "XLEN", STREAM))
    first = ask(asked.port, "XRANGE", STREAM, "-", "+", "COUNT", "1").split("\n")[-1]
    ask(asked.port, "DEL", STREAM)
    head = text.find('"test"')
    if done.returncode != 0 or head < 0 or appended < records or first != "x" * RECORD_BYTES:
        sys.stderr.write(text[-2000:] + done.stderr.decode(errors="replace")[-2000:])
        sys.exit(f"redis-benchmark failed: code {done.returncode}, {appended} of {records} records in the stream")
    return next(csv.DictReader(text[head:].splitlines())), seconds, server, appended, tool / seconds


def cpu_ns(pid):
    """Time in user and kernel of the process and of the children that it waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def children_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpus_allowed(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(line.split(":")[1].strip() for line in status if line.startswith("Cpus_allowed_list"))


def ask(port, *words):
    done = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(port), *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"redis-cli {words[0]} failed with code {done.returncode}: is the server on port {port} still there?")
    return done.stdout.strip()


def info(port, name):
    return next(line.split(":")[1] for line in ask(port, "INFO", "server").splitlines() if line.startswith(name + ":"))


main()
