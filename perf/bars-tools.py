"""What perf/bars and perf/scaling do beside running the generator: reports made small, counters compared, connections held,
and an idle process watched. Each command is one function; its arguments are those of the command line."""

import json
import os
import pathlib
import signal
import socket
import struct
import sys
import time

from admin import metrics, total

# What the broker counts that says where a fetch was served from, what requests cost, and how many of them hop.
COUNTERS = ("corelog_tail_cache_hits_total", "corelog_tail_cache_misses_total", "corelog_disk_read_bytes_total",
            "corelog_fetched_bytes_total", "corelog_appended_bytes_total", "corelog_appended_records_total",
            "corelog_hops_total", 'corelog_requests_total{api="Produce"}', 'corelog_requests_total{api="Fetch"}',
            "corelog_shard_busy_seconds_total", "corelog_process_cpu_seconds_total")
GAUGES = ("corelog_connections", "corelog_partitions", "corelog_partitions_unopened")


def write(path, value):
    pathlib.Path(path).write_text(json.dumps(value, indent=1) + "\n")


def keep(source, target):
    """A report without the histograms of each second, which are nine tenths of it; `corelog-perf render` reads it."""
    report = json.loads(pathlib.Path(source).read_text())
    report["intervals"] = []
    write(target, report)


def rate(path, share):
    """A share, in per cent, of the records per second that a run brought."""
    report = json.loads(pathlib.Path(path).read_text())
    if report["invalid"]:
        sys.exit(f"the run that rates go by does not count: {path}: {'; '.join(report['invalid'])}")
    print(round(report["produced"]["records"] / report["seconds"] * int(share) / 100))


def counters(admin):
    """By name, with the time of a clock that all processes share."""
    series = metrics(admin)
    return {"seconds": time.monotonic(), **{name: total(series, name) for name in COUNTERS}}


def count(admin, target):
    """What the broker has counted so far."""
    write(target, counters(admin))


def counted(admin, before, target):
    """What it has counted since, and in how many seconds."""
    now, before = counters(admin), json.loads(pathlib.Path(before).read_text())
    write(target, {name: value - before[name] for name, value in now.items()})


def receive(one, length):
    got = b""
    while len(got) < length:
        more = one.recv(length - len(got))
        if not more:
            sys.exit("the broker closed a connection that asked for its versions")
        got += more
    return got


def hold(port, connections):
    """Opens connections, asks on each for the API's versions, says so when all are answered, and keeps them."""
    client_id = b"idle"
    body = struct.pack(">hhih", 18, 0, 1, len(client_id)) + client_id
    held = []
    for _ in range(int(connections)):
        one = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
        one.sendall(struct.pack(">i", len(body)) + body)
        length, = struct.unpack(">i", receive(one, 4))
        receive(one, length)
        held.append(one)
    print(f"{len(held)} connected", flush=True)
    signal.pause()


def threads(pid):
    """CPU time of each thread, in seconds, with its name."""
    used, tick = {}, os.sysconf("SC_CLK_TCK")
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            stat = (task / "stat").read_text()
        except OSError:
            continue  # It has ended.
        name, fields = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        used[task.name] = (name, (int(fields[11]) + int(fields[12])) / tick)
    return used


def watch(pid, admin, seconds, target):
    """What a process uses while nobody asks anything of it: CPU by thread over these seconds, memory after them."""
    before, start = threads(pid), time.monotonic()
    time.sleep(float(seconds))
    after, elapsed = threads(pid), time.monotonic() - start
    shares = {task: (name, 100 * (used - before.get(task, (name, 0.0))[1]) / elapsed) for task, (name, used) in after.items()}
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup if line.endswith(" kB")}
    series = metrics(admin)
    budgets = {key.split('budget="')[1].split('"')[0]: value for key, value in series.items()
               if key.startswith("corelog_memory_used_bytes{")}
    write(target, {
        "seconds": elapsed,
        "cpu_percent": sum(share for _, share in shares.values()),
        "threads": {f"{name} ({task})": share for task, (name, share) in shares.items() if share > 0},
        "rss_bytes": kibibytes["Rss"] * 1024,
        "pss_bytes": kibibytes["Pss"] * 1024,
        "budgets_bytes": budgets,
        **{name.removeprefix("corelog_"): total(series, name) for name in GAUGES},
    })


COMMANDS = {command.__name__: command for command in (keep, rate, count, counted, hold, watch)}
if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
