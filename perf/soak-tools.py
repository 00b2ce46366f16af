"""What perf/soak does beside running the generator: the rate of its load, looks at the broker while it runs, and both put
together by time. Each command is one function; its arguments are those of the command line."""

import http.client
import json
import math
import os
import pathlib
import sys
import time

from admin import metrics, total
from histogram import Histogram
from report import Run, measured_from, median, quotient

PARTS = 10
# What a look sees: of these a part of the run has the median,
GAUGES = ("rss_bytes", "counted_bytes", "tail_cache_bytes", "open_files", "segment_files", "disk_bytes")
# and of these what was added in it.
COUNTS = ("segments_rolled", "segments_deleted", "disk_read_bytes")
ACKNOWLEDGE = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
END_TO_END = {"arrival_p99_ms": 0.99, "arrival_p999_ms": 0.999}


def rate(share, *paths):
    """A share, in per cent, of the records per second that came through in a closed loop, by the median of the runs."""
    runs = [Run(pathlib.Path(path)) for path in paths]
    for run in runs:
        if run.invalid:
            print(f"{run.name} does not count: {'; '.join(run.invalid)}", file=sys.stderr)
    most = median([run.carried() for run in runs if not run.invalid])
    if not most:
        sys.exit("no run that rates go by counts")
    print(round(most * int(share) / 100))


# ---------------------------------------------------------------- while the load runs


def is_running(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The state stands behind the name, which is in parentheses: Z and X have ended.
    return stat[stat.rindex(")") + 2] not in "ZX"


def sample(broker, load, admin, folder, interval, disk_gigabytes, target):
    """A look at the broker every interval, as a line of JSON, while the load runs. Ends the soak when there is no sense in it."""
    interval, limit = float(interval), float(disk_gigabytes) * 1e9
    due = time.monotonic()
    with open(target, "w") as file:
        while is_running(load):
            try:
                seen = look(broker, admin, folder)
            except (OSError, http.client.HTTPException) as error:
                if not is_running(broker):
                    sys.exit("perf/soak: the broker has ended")
                print(f"perf/soak: a look at the broker failed: {error}", file=sys.stderr)
            else:
                file.write(json.dumps(seen) + "\n")
                file.flush()
                if seen["disk_bytes"] > limit:
                    sys.exit(f"perf/soak: the data takes {seen['disk_bytes'] / 1e9:.1f} GB: deletion does not keep up")
            due = max(due + interval, time.monotonic())
            while is_running(load) and time.monotonic() < due:
                time.sleep(min(1.0, max(0.0, due - time.monotonic())))


def look(broker, admin, folder):
    series = metrics(admin)
    if not total(series, "corelog_shard_up"):
        raise OSError("its shard does not answer")
    # Not PSS: for it the kernel would walk all pages, and page faults would wait.
    status = pathlib.Path(f"/proc/{broker}/status").read_text().splitlines()
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in status if line.endswith(" kB")}
    return {
        "at": time.time(),
        "rss_bytes": kibibytes["VmRSS"] * 1024,
        "counted_bytes": total(series, "corelog_memory_used_bytes"),
        "tail_cache_bytes": total(series, 'corelog_memory_used_bytes{budget="tail_cache"}'),
        "open_files": len(os.listdir(f"/proc/{broker}/fd")),
        "segment_files": total(series, "corelog_segment_files_open"),
        "disk_bytes": taken(folder),
        "segments_rolled": total(series, "corelog_segments_rolled_total"),
        "segments_deleted": total(series, "corelog_segments_deleted_total"),
        "disk_read_bytes": total(series, "corelog_disk_read_bytes_total"),
    }


def taken(folder):
    """Bytes of the disk that the files of a folder take, with what is preallocated."""
    blocks = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(place, name)).st_blocks
            except FileNotFoundError:
                pass  # It was deleted meanwhile.
    return 512 * blocks


# ---------------------------------------------------------------- afterwards


def gather(report, samples, interval, warm_up, target):
    """What generator and looks say of each interval and of each tenth of the measured time."""
    report, interval = json.loads(pathlib.Path(report).read_text()), int(interval)
    begin, seconds = measured_from(report, float(warm_up)), report["seconds"]
    looks = [json.loads(line) for line in pathlib.Path(samples).read_text().splitlines()]
    for seen in looks:
        seen["second"] = seen.pop("at") - begin
    for one in report["intervals"]:
        for kind in ("acknowledge", "end_to_end"):
            one[kind] = Histogram.decode(one[kind])

    def part(start, end):
        length = round(end - start, 3)
        load = load_between(report["intervals"], start, end)
        return {"start_seconds": round(start, 3), "seconds": length, **load, **looks_between(looks, start, end)}

    steps = [part(at, min(at + interval, seconds)) for at in range(0, math.ceil(seconds), interval)]
    tenths = [part(seconds * number / PARTS, seconds * (number + 1) / PARTS) for number in range(PARTS)]
    # A line for each, as there are hundreds.
    lines = [",\n".join(map(json.dumps, parts)) for parts in (tenths, steps)]
    text = f'{{"interval_seconds": {interval}, "tenths": [\n{lines[0]}\n], "intervals": [\n{lines[1]}\n]}}\n'
    pathlib.Path(target).write_text(text)


def load_between(intervals, start, end):
    chosen = [one for one in intervals if start <= one["start_seconds"] < end]
    seconds = sum(one["seconds"] for one in chosen)
    cpu = [one["broker_cpu_seconds"] for one in chosen]
    acknowledge, arrival = (Histogram.merged(one[kind] for one in chosen) for kind in ("acknowledge", "end_to_end"))
    return {
        "produced_per_second": rounded(quotient(sum(one["produced_records"] for one in chosen), seconds)),
        "consumed_per_second": rounded(quotient(sum(one["consumed_records"] for one in chosen), seconds)),
        "backlog_max": max((one["backlog_records"] for one in chosen), default=None),
        "lag_max": max((one["consumer_lag_records"] for one in chosen), default=None),
        "cpu_percent": None if None in cpu else rounded(quotient(100 * sum(cpu), seconds)),
        **{name: milliseconds(acknowledge, share) for name, share in ACKNOWLEDGE.items()},
        **{name: milliseconds(arrival, share) for name, share in END_TO_END.items()},
    }


def looks_between(looks, start, end):
    chosen = [seen for seen in looks if start <= seen["second"] < end]
    before = [seen for seen in looks if seen["second"] < start][-1:]
    both = before + chosen
    return {
        "looks": len(chosen),
        **{name: median([seen[name] for seen in chosen]) for name in GAUGES},
        **{name: both[-1][name] - both[0][name] if chosen else None for name in COUNTS},
    }


def milliseconds(histogram, share):
    value = histogram.quantile(share)
    return None if value is None else round(value / 1e6, 3)


def rounded(value):
    return None if value is None else round(value, 1)


COMMANDS = {command.__name__: command for command in (rate, sample, gather)}
if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
