"""Draws what perf/soak has found over time, as an SVG: memory above, latency below. `soak-picture.py FOLDER FILE.svg`."""

import math
import pathlib
import sys

from report import Folder
from svg import apart, milliseconds, opening, text

WIDTH, HEIGHT = 760, 540
LEFT, RIGHT = 76, 124
# Top and bottom of the two parts.
MEMORY, LATENCY = (78, 248), (298, 458)
# Label, name, whether it is drawn above.
LINES = (("RSS", "rss_bytes", True), ("counted", "counted_bytes", True), ("p99.9", "p999_ms", False), ("p50", "p50_ms", False))


def round_up(value):
    """1, 2 or 5 times a power of ten, and not less."""
    power = 10 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


class Linear:
    """From zero on, in MB."""

    def __init__(self, values, place):
        self.top, self.bottom = place
        self.step = round_up(max(values) / 4)
        self.high = self.step * math.ceil(max(values) / self.step)

    def y(self, value):
        return self.bottom - (self.bottom - self.top) * value / self.high

    def marks(self):
        for number in range(round(self.high / self.step) + 1):
            yield self.step * number, f"{self.step * number:,g} MB"


class Logarithmic:
    """By powers of ten, in milliseconds."""

    def __init__(self, values, place):
        self.top, self.bottom = place
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.high = max(self.high, self.low + 1)

    def y(self, value):
        return self.bottom - (self.bottom - self.top) * (math.log10(value) - self.low) / (self.high - self.low)

    def marks(self):
        for power in range(self.low, self.high + 1):
            yield 10**power, f"{10**power:,g} ms"


def points_of(parts, name):
    """The middle of each part, in seconds, with MB or milliseconds; none where nobody looked or nothing came."""
    unit = 1e6 if name.endswith("_bytes") else 1
    known = [part for part in parts if part[name]]
    return [(part["start_seconds"] + part["seconds"] / 2, part[name] / unit) for part in known]


def grid(axes, x, seconds):
    for value, label in axes.marks():
        y = axes.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield text(LEFT - 8, y + 4, label, "faint", "end")
    step = round_up(seconds / 60 / 7)
    for number in range(math.floor(seconds / 60 / step + 1e-9) + 1):
        place = x(60 * step * number)
        yield f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{axes.top}" y2="{axes.bottom}"/>'
        yield text(place, axes.bottom + 18, f"{step * number:g} min", "faint", "middle")


def notes(report, over_time):
    work, environment = report["work"], report["environment"]
    host, broker = environment["host"], environment["broker"]
    return [f"{report['produced']['rate_planned']:,.0f} records/s of {work['record_bytes']} B, {work['partitions']} partitions, "
            f"{work['consumers']} consumers. Durability: {broker['durability']['value'].split(':')[0]}. "
            f"A point is {over_time['interval_seconds']} s.",
            f"{host['cpu_model']}, {host['cpus']} CPUs, {host['kernel']}; broker on CPU {broker['cpus']}."]


def draw(report, over_time):
    seconds = report["seconds"]

    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    lines = [(label, points_of(over_time["intervals"], name), is_memory) for label, name, is_memory in LINES]
    lines = [(number, *line) for number, line in enumerate(lines) if line[1]]
    said, parts = [], []
    for above, kind, place in ((True, Linear, MEMORY), (False, Logarithmic, LATENCY)):
        chosen = [(number, label, points) for number, label, points, is_memory in lines if is_memory == above]
        if not chosen:
            continue
        axes = kind([value for _, _, points in chosen for _, value in points], place)
        parts += grid(axes, x, seconds)
        ends = apart({label: axes.y(points[-1][1]) + 4 for _, label, points in chosen}, 16)
        for number, label, points in chosen:
            path = " ".join(f"{x(second):.1f},{axes.y(value):.1f}" for second, value in points)
            parts.append(f'<polyline class="line c{number}" points="{path}"/>')
            shown = f"{points[-1][1]:,.0f} MB" if above else f"{milliseconds(points[-1][1])} ms"
            parts.append(text(WIDTH - RIGHT + 8, ends[label], f"{label} {shown}", f"c{number}"))
            values = [value for _, value in points]
            said.append(f"{label} from {min(values):.4g} to {max(values):.4g} {'MB' if above else 'ms'}")
    title = f"A soak of {seconds / 60:g} minutes: memory and latency"
    head = opening(WIDTH, HEIGHT, LEFT, title, "; ".join(said))
    names = [text(LEFT, MEMORY[0] - 18, "memory of the broker's process, and what it counts against its budgets", "faint"),
             text(LEFT, LATENCY[0] - 18, "latency from a record's plan to its acknowledgement", "faint")]
    below = [text(16, HEIGHT - 30 + 16 * at, line, "faint") for at, line in enumerate(notes(report, over_time))]
    return "\n".join([*head, *names, *parts, *below, "</svg>", ""])


def main():
    folder = Folder(pathlib.Path(sys.argv[1]))
    if "soak" not in folder.runs or "over-time" not in folder.others:
        sys.exit(f"no reports of a soak in {folder.path}")
    pathlib.Path(sys.argv[2]).write_text(draw(folder.runs["soak"][0].report, folder.others["over-time"][0]))


if __name__ == "__main__":
    main()
