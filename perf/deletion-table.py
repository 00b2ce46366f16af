"""The table of perf/deletion: reports of a steady load, and when the deletion in the middle of each began and ended."""

import base64
import collections
import datetime
import json
import math
import pathlib
import statistics
import struct
import sys
import zlib

out, warm_up = pathlib.Path(sys.argv[1]), float(sys.argv[2])
# A report says to the second when it began, and the load begins a moment later.
UNSURE = 1.0
HEADER_BYTES = 40


def decode(text):
    """Counts by the latency that they do not exceed, in ms: HdrHistogram's V2 encoding, deflated."""
    packed = zlib.decompress(base64.b64decode(text)[8:])
    digits, lowest = struct.unpack(">iq", packed[12:24])
    assert lowest == 1, "latencies begin at a nanosecond"
    half_bits = math.ceil(math.log2(2 * 10**digits)) - 1
    half = 1 << half_bits

    def latency(index):
        bucket, place = (index >> half_bits) - 1, (index & (half - 1)) + half
        if bucket < 0:
            bucket, place = 0, place - half
        return ((place << bucket) + (1 << bucket) - 1) / 1e6

    counts, index, at = collections.Counter(), 0, HEADER_BYTES
    while at < len(packed):
        value = shift = 0
        while True:
            byte, at = packed[at], at + 1
            if shift == 56:
                # The ninth byte is the last, and all of it counts.
                value |= byte << shift
                break
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        number = (value >> 1) ^ -(value & 1)
        if number < 0:
            index -= number
        else:
            if number:
                counts[latency(index)] += number
            index += 1
    return counts


def quantile(counts, share):
    left = max(1, math.ceil(share * sum(counts.values())))
    for latency in sorted(counts):
        left -= counts[latency]
        if left <= 0:
            return latency
    return math.nan


SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
print("| run | | " + " | ".join(f"{name} ms" for name in SHARES) + " | seconds | answered after, s | gone after, s |")
print("|---" * (len(SHARES) + 5) + "|")
ratios, gone_after = [], []
for path in sorted(out.glob("steady-*.json"), key=lambda path: int(path.stem.split("-")[1])):
    report, run = json.loads(path.read_text()), path.stem.split("-")[1]
    began, answered, gone = map(float, path.with_suffix(".times").read_text().split())
    started = datetime.datetime.fromisoformat(report["environment"]["started_at"].replace("Z", "+00:00"))
    measure = started.timestamp() + UNSURE / 2 + warm_up
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
        parts[part].update(decode(interval["acknowledge"]))
        seconds[part] += interval["seconds"]
    figures = {part: [quantile(counts, share) for share in SHARES.values()] for part, counts in parts.items()}
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
