"""The table of perf/side-by-side, in Markdown, from lines of `corelog-perf render --line` behind their names: medians
over runs, in bold where corelog loses. In a closed loop throughput is compared, at a given rate latency, CPU always."""

import collections
import json
import re
import statistics
import sys

FIGURES = {
    "produced_records_per_second": "{:,.0f}",
    "acknowledge_p50_ms": "{:,.2f}",
    "acknowledge_p99_ms": "{:,.2f}",
    "acknowledge_p999_ms": "{:,.2f}",
    "acknowledge_p9999_ms": "{:,.2f}",
    "broker_cpu_ns_per_record": "{:,.0f}",
}
RATE, CPU = "produced_records_per_second", "broker_cpu_ns_per_record"
VARIANTS = ("corelog", "kafka", "kafka-fsync")


def median(lines, figure):
    values = [line["figures"][figure] for line in lines if line["figures"] and line["figures"][figure] is not None]
    return statistics.median(values) if values else None


def is_worse(figure, value, others):
    others = [other for other in others if other is not None]
    if value is None:
        return False
    return any(value < o * 0.99 if figure == RATE else value > o * 1.01 for o in others)


cells = collections.defaultdict(list)
for text in sys.stdin:
    name, line = text.split(" ", 1)
    size, partitions, what, variant = re.fullmatch(r"(\d+)-(\d+)-(max|50|80)-(.+)-\d+", name).groups()
    cells[int(size), int(partitions), what, variant].append(json.loads(line))
print("| record | partitions | load | broker | records/s | p50 ms | p99 ms | p99.9 ms | p99.99 ms | broker CPU ns/record | |")
print("|---|---|---|---|---|---|---|---|---|---|---|")
for size, partitions in sorted({key[:2] for key in cells}):
    for what in ("max", "50", "80"):
        runs = {variant: cells.get((size, partitions, what, variant), []) for variant in VARIANTS}
        figures = {variant: {f: median(lines, f) for f in FIGURES} for variant, lines in runs.items()}
        for variant, lines in runs.items():
            shown = []
            for figure, form in FIGURES.items():
                value = figures[variant][figure]
                text = "-" if value is None else form.format(value)
                counts = figure == CPU or (figure == RATE) == (what == "max")
                others = [figures[other][figure] for other in VARIANTS if other != variant]
                lost = variant == "corelog" and counts and is_worse(figure, value, others)
                shown.append(f"**{text}**" if lost else text)
            notes = {why for line in lines for why in line["invalid"]}
            notes |= {why for line in lines for why in line["remarks"] if "keep up" in why}
            load = "closed loop" if what == "max" else f"{what} % of Kafka's"
            print(f"| {size} B | {partitions} | {load} | {variant} | {' | '.join(shown)} | {'; '.join(sorted(notes))} |")
