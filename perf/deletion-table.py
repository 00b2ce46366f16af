"""The table of perf/deletion: reports of a steady load, and when the deletion in the middle of each began and ended."""

import collections
import json
import math
import pathlib
import statistics
import sys

from histogram import Histogram
from report import measured_from

out, warm_up = pathlib.Path(sys.argv[1]), float(sys.argv[2])
# A report says to the second when it began, and the load begins a moment later.
UNSURE = 1.0


def milliseconds(counts, share):
    value = Histogram(sorted(counts.items())).quantile(share)
    return math.nan if value is None else value / 1e6


SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
print("| run | | " + " | ".join(f"{name} ms" for name in SHARES) + " | seconds | answered after, s | gone after, s |")
print("|---" * (len(SHARES) + 5) + "|")
ratios, gone_after = [], []
for path in sorted(out.glob("steady-*.json"), key=lambda path: int(path.stem.split("-")[1])):
    report, run = json.loads(path.read_text()), path.stem.split("-")[1]
    began, answered, gone = map(float, path.with_suffix(".times").read_text().split())
    measure = measured_from(report, warm_up)
    parts = {"before": collections.Counter(), "during": collections.Counter()}
    seconds = collections.Counter()
    for interval in report["intervals"]:
        start = measure + interval["start_seconds"]
        end = start + interval["seconds"]
        if end < began - UNSURE:
            part = "before"
        elif start < gone + UNSURE:
            part = "during"
        else:
            continue
        parts[part].update(dict(Histogram.decode(interval["acknowledge"]).counts))
        seconds[part] += interval["seconds"]
    figures = {part: [milliseconds(counts, share) for share in SHARES.values()] for part, counts in parts.items()}
    ratio = [during / before for before, during in zip(figures["before"], figures["during"])]
    for part, values in figures.items():
        times = f"{answered - began:.2f} | {gone - began:.1f}" if part == "during" else " | "
        print(f"| {run} | {part} | " + " | ".join(f"{value:.2f}" for value in values) + f" | {seconds[part]:.0f} | {times} |")
    print(f"| {run} | ratio | " + " | ".join(f"{value:.2f}" for value in ratio) + " | | | |")
    if report["invalid"]:
        print(f"run {run} does not count: {'; '.join(report['invalid'])}", file=sys.stderr)
    else:
        ratios.append(ratio)
        gone_after.append(gone - began)
if ratios:
    medians = [statistics.median(values) for values in zip(*ratios)]
    values = " | ".join(f"**{value:.2f}**" for value in medians)
    print(f"| median of {len(ratios)} | ratio | {values} | | | {statistics.median(gone_after):.1f} |")
