"""The tables of perf/soak, in Markdown, from the reports in a folder: the run by tenths, and the last tenth against the
second. MB are 10^6 bytes."""

import pathlib
import sys

from report import Folder, Run, about, quotient, row, shown, spread, table, verdict

# What the last tenth may have of the second, to be called flat. The first is left out: caches fill in it.
MEMORY_AT_MOST, TAIL_AT_MOST = 1.05, 1.5


def scaled(part, name, unit):
    return None if part[name] is None else part[name] / unit


def uncounted(part):
    """Memory of the process that no budget of corelog's has in it."""
    return None if part["rss_bytes"] is None else part["rss_bytes"] - part["counted_bytes"]


def megabytes(name):
    return lambda part: scaled(part, name, 1e6)


def uncounted_megabytes(part):
    return quotient(uncounted(part), 1e6)


# Heading, figure of a part, form.
COLUMNS = (
    ("records/s", lambda part: part["produced_per_second"], "{:,.0f}"),
    ("read/s", lambda part: part["consumed_per_second"], "{:,.0f}"),
    ("broker CPU, %", lambda part: part["cpu_percent"], "{:,.0f}"),
    ("RSS MB", megabytes("rss_bytes"), "{:,.1f}"),
    ("counted MB", megabytes("counted_bytes"), "{:,.1f}"),
    ("not counted MB", uncounted_megabytes, "{:,.1f}"),
    ("open files", lambda part: part["open_files"], "{:,.0f}"),
    ("on disk GB", lambda part: scaled(part, "disk_bytes", 1e9), "{:,.1f}"),
    ("segments deleted", lambda part: part["segments_deleted"], "{:,.0f}"),
    ("read from disk MB", megabytes("disk_read_bytes"), "{:,.0f}"),
    ("p50 ms", lambda part: part["p50_ms"], "{:,.2f}"),
    ("p99 ms", lambda part: part["p99_ms"], "{:,.2f}"),
    ("p99.9 ms", lambda part: part["p999_ms"], "{:,.2f}"),
    ("max ms", lambda part: part["max_ms"], "{:,.2f}"),
    ("arrival p99.9 ms", lambda part: part["arrival_p999_ms"], "{:,.2f}"),
    ("not yet read, at most", lambda part: part["lag_max"], "{:,.0f}"),
)

# What is held against the second tenth: title, the verdict's name, heading above, most.
HELD = (
    ("memory of the process (RSS), MB", "memory", "RSS MB", MEMORY_AT_MOST),
    ("of it not counted against a budget, MB", None, "not counted MB", None),
    ("open files", None, "open files", None),
    ("data on the disk, GB", None, "on disk GB", None),
    ("p99 of acknowledgement, ms", None, "p99 ms", None),
    ("p99.9 of acknowledgement, ms", "p99.9 of acknowledgement", "p99.9 ms", TAIL_AT_MOST),
    ("p99.9 of arrival, ms", "p99.9 of arrival", "arrival p99.9 ms", TAIL_AT_MOST),
)


def before(folder, soak):
    """What the load was set by."""
    rate, minutes = soak.report["produced"]["rate_planned"], soak.seconds / 60
    most = folder.valid("most")
    if most:
        print(f"Closed loop: {spread([run.carried() for run in most])} records/s came through, with "
              f"{shown(folder.median('most', busy))} % of the broker's core and "
              f"{shown(folder.median('most', Run.generator))} % of the generator's. ", end="")
        whole = folder.median("most", Run.carried)
        print(f"Open loop: {rate:,.0f} records/s, {100 * rate / whole:.0f} % of that, for {minutes:g} minutes", end="")
    else:
        print(f"Open loop: {rate:,.0f} records/s, as was asked for, for {minutes:g} minutes", end="")
    work = soak.report["work"]
    print(f": {work['record_bytes']} B, {work['partitions']} partitions, {work['consumers']} consumers.\n")


def busy(run):
    return quotient(100 * run.broker_seconds(), run.seconds) if run.broker_seconds() is not None else None


def by_tenths(tenths):
    table("tenth", *(heading for heading, _, _ in COLUMNS))
    for number, part in enumerate(tenths, 1):
        row(number, *(shown(figure(part), form) for _, figure, form in COLUMNS))


def held_against_the_second(tenths):
    """Prints what became of it, and returns what is flat by name of the verdict."""
    columns = {heading: (figure, form) for heading, figure, form in COLUMNS}
    flat = {}
    table("", "second tenth", "last tenth", "ratio", "flat at most", "flat", "highest from the third on, ratio")
    for title, name, heading, at_most in HELD:
        figure, form = columns[heading]
        values = [figure(part) for part in tenths]
        second, last = values[1], values[-1]
        ratio = quotient(last, second)
        later = [(value, number) for number, value in enumerate(values, 1) if number > 2 and value is not None]
        highest = max(later, default=(None, 0))
        most = quotient(highest[0], second)
        row(title, shown(second, form), shown(last, form), shown(ratio, "{:.2f}"), "" if at_most is None else f"{at_most:g}",
            "" if at_most is None else verdict(ratio, at_most, at_most=True),
            "-" if most is None else f"{most:.2f} (tenth {highest[1]})")
        if name:
            flat[name] = (ratio is not None and ratio <= at_most, most is not None and most > at_most)
    return flat


def judge(soak, flat):
    """In one sentence, whether the run is flat."""
    if soak.invalid:
        print(f"\n**The run does not count, so nothing is said of its being flat: {'; '.join(soak.invalid)}.**\n")
        return
    words = [f"{name} is {'flat' if is_flat else 'NOT flat'}" for name, (is_flat, _) in flat.items()]
    humps = [name for name, (is_flat, was_higher) in flat.items() if is_flat and was_higher]
    meanwhile = f" Higher than that in between: {', '.join(humps)}." if humps else ""
    print(f"\n**The last tenth against the second: {', '.join(words)}.**{meanwhile}\n")


def per_hour(parts, figure):
    """The slope of a straight line through the parts, for an hour."""
    points = [(part["start_seconds"], figure(part)) for part in parts if figure(part) is not None]
    if len(points) < 2:
        return None
    middle = [sum(values) / len(points) for values in zip(*points)]
    spread_of_time = sum((second - middle[0]) ** 2 for second, _ in points)
    rises = sum((second - middle[0]) * (value - middle[1]) for second, value in points)
    return quotient(3600 * rises, spread_of_time)


def remarks(soak, over_time):
    interval, parts, tenths = over_time["interval_seconds"], over_time["intervals"], over_time["tenths"]
    later = [part for part in parts if part["start_seconds"] >= soak.seconds / len(tenths)]
    slopes = [shown(per_hour(later, figure), "{:+,.1f}") for figure in (megabytes("rss_bytes"), uncounted_megabytes)]
    print(f"- A straight line through all looks after the first tenth: RSS {slopes[0]} MB an hour, "
          f"what is not counted {slopes[1]}.")
    print(f"- A look every {interval} s; a tenth has the median of its looks, and the percentiles of all its records.")
    print(f"- The generator used {shown(soak.generator())} % of its core meanwhile.")
    missing = len(parts) - sum(part["looks"] for part in parts)
    if missing > 1:
        print(f"- {missing} of {len(parts)} looks at the broker failed.")
    idle = [str(number) for number, part in enumerate(tenths, 1) if number > 1 and not part["segments_deleted"]]
    if idle:
        print(f"- **No segment was deleted in tenth {', '.join(idle)}: retention was not at work there.**")


def main():
    folder = Folder(pathlib.Path(sys.argv[1]))
    soaks, gathered = folder.runs.get("soak"), folder.others.get("over-time")
    if not soaks or not gathered:
        sys.exit(f"no reports of a soak in {folder.path}")
    soak, over_time = soaks[0], gathered[0]
    print("\n### A soak: memory and tail over time\n")
    before(folder, soak)
    by_tenths(over_time["tenths"])
    print()
    judge(soak, held_against_the_second(over_time["tenths"]))
    remarks(soak, over_time)
    about(folder, kind="runs")


if __name__ == "__main__":
    main()
