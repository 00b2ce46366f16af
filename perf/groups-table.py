"""The tables of perf/groups, for one broker and protocol: reports of groups from files, lines of `render --line` from stdin."""

import json
import pathlib
import statistics
import sys

out, cell = pathlib.Path(sys.argv[1]), sys.argv[2]


def groups(name):
    return json.loads((out / f"{cell}-{name}.json").read_text())


def cost(title, stage, before):
    memory, cpu = stage["broker_memory_mb"], stage["broker_cpu"]
    more = "" if before is None else f"{memory - before:+.1f}"
    peak = stage["broker_peak_mb"]
    print(f"| {title} | {memory:.1f} | {more} | {peak:.1f} | {100 * cpu:.1f} | {100 * stage['driver_cpu']:.1f} |")
    return memory


heartbeats, commits = groups("heartbeats"), groups("commits")
print(f"\n{cell}: {heartbeats['groups']:,} groups of {heartbeats['members']} members, {heartbeats['topics']:,} topics of "
      f"{heartbeats['partitions']} partitions\n")
print("| | broker's memory, MB | more | at most | broker's CPU, % of a core | driver's CPU, % |")
print("|---|---|---|---|---|---|")
memory = cost("topics only", groups("topics")["alone"], None)
memory = cost("and connections", heartbeats["connected"], memory)
memory = cost("and groups that heartbeat", heartbeats["measured"], memory)
cost("and commit", commits["measured"], memory)

print("\n| ms | count | p50 | p99 | p99.9 | max |")
print("|---|---|---|---|---|---|")


def row(title, figures):
    if figures["count"]:
        values = " | ".join(f"{figures[name]:.2f}" for name in ("p50", "p99", "p999", "max"))
        print(f"| {title} | {figures['count']:,} | {values} |")


row("heartbeat", heartbeats["heartbeat_ms"])
row("heartbeat beside commits", commits["heartbeat_ms"])
row("commit of all of a member's partitions", commits["commit_ms"])
row("all stable after the start", heartbeats["stable_at_start_ms"])
drivers = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob(f"{cell}-driver-*.json"))}
for name, report in drivers.items():
    if "-storm-" in name:
        row(f"stable after each of {report['storms']} storms, run {name.rsplit('-', 1)[1]}", report["stable_after_storm_ms"])

kinds = {"alone": "nobody else", "idle": "groups", "storm": "groups in storms"}
names = ["acknowledge_p50_ms", "acknowledge_p99_ms", "acknowledge_p999_ms"]
valid, invalid = {kind: [] for kind in kinds}, {kind: 0 for kind in kinds}
for text in sys.stdin:
    name, line = text.split(" ", 1)
    kind, figures = name.rsplit("-", 2)[1], json.loads(line)["figures"]
    if figures:
        valid[kind].append(figures)
    else:
        invalid[kind] += 1

print("\n| produce beside | p50 ms | p99 ms | p99.9 ms | windows | generator too late |")
print("|---|---|---|---|---|---|")
medians = {kind: [statistics.median(run[name] for run in runs) for name in names] for kind, runs in valid.items() if runs}
for kind, title in kinds.items():
    values = " | ".join(f"{value:.2f}" for value in medians[kind]) if kind in medians else "- | - | -"
    print(f"| {title} | {values} | {len(valid[kind])} | {invalid[kind]} |")
for kind in ("idle", "storm"):
    if kind in medians and "alone" in medians:
        ratios = " | ".join(f"{now / alone:.2f}" for now, alone in zip(medians[kind], medians["alone"]))
        print(f"| {kinds[kind]}, ratio | {ratios} | | |")
print()
for name, report in {"heartbeats": heartbeats, "commits": commits, **drivers}.items():
    if report["invalid"]:
        print(f"{name} does not count: {'; '.join(report['invalid'])}")
