"""Kept reports of corelog-perf as tables in Markdown: what the tables of perf/bars, perf/soak and perf/scaling share. Figures
are medians of the runs that count, with the lowest and the highest. MB are 10^6 bytes of batches as on the wire."""

import datetime
import json
import re
import statistics

from histogram import Histogram


class Run:
    """One report."""

    def __init__(self, path):
        self.name, self.report = path.stem, json.loads(path.read_text())
        self.seconds, self.invalid = self.report["seconds"], self.report["invalid"]
        self.histograms = {}

    @property
    def flow(self):
        flows = [self.report["produced"], self.report["consumed"]]
        return next((flow for flow in flows if flow and flow["records"] > 0), None)

    def rate(self, what="records", flow=None):
        flow = flow or self.flow
        return flow and flow[what] / self.seconds

    def carried(self):
        """Records per second that came through: produced or consumed, whichever were fewer."""
        flows = (self.report["produced"], self.report["consumed"])
        return min(self.rate(flow=flow) for flow in flows if flow)

    def megabytes(self):
        flow = self.flow
        return flow and flow["batch_bytes"] / self.seconds / 1e6

    def broker_seconds(self):
        return self.report["broker"] and self.report["broker"]["cpu_seconds"]

    def ns_per_record(self):
        used, flow = self.broker_seconds(), self.flow
        return used * 1e9 / flow["records"] if used is not None and flow else None

    def ms_per_megabyte(self):
        used, flow = self.broker_seconds(), self.flow
        return used * 1e3 / (flow["batch_bytes"] / 1e6) if used is not None and flow else None

    def generator(self):
        """Its share of its one core, in per cent, with what it polls before it sleeps."""
        return 100 * self.report["generator"]["cpu_seconds"] / self.seconds

    def ms(self, share, kind="acknowledge"):
        if kind not in self.histograms:
            self.histograms[kind] = Histogram.decode(self.report[kind])
        value = self.histograms[kind].quantile(share)
        return None if value is None else value / 1e6


class Folder:
    """The reports of one row, by variant: NAME-RUN.json is a run of NAME."""

    def __init__(self, path):
        self.path, self.runs, self.others = path, {}, {}
        for file in sorted(path.glob("*.json")):
            name, number = re.fullmatch(r"(.+?)(?:-(\d+))?", file.stem).groups()
            if file.name.endswith(".counted.json"):
                name = file.name.removesuffix(".counted.json").rpartition("-")[0]
                self.others.setdefault(f"{name}.counted", []).append(json.loads(file.read_text()))
            elif '"format"' in file.read_text()[:200]:
                self.runs.setdefault(name, []).append(Run(file))
            else:
                self.others.setdefault(name, []).append(json.loads(file.read_text()))

    def all(self):
        return [run for runs in self.runs.values() for run in runs]

    def valid(self, name):
        return [run for run in self.runs.get(name, []) if not run.invalid]

    def values(self, name, figure):
        return [value for value in map(figure, self.valid(name)) if value is not None]

    def median(self, name, figure):
        return median(self.values(name, figure))


def median(values):
    return statistics.median(values) if values else None


def quotient(part, whole):
    return part / whole if part is not None and whole else None


def shown(value, form="{:,.0f}"):
    return "-" if value is None else form.format(value)


def spread(values, form="{:,.0f}"):
    if not values:
        return "-"
    text = shown(statistics.median(values), form)
    return text if len(values) == 1 else f"{text} ({shown(min(values), form)}-{shown(max(values), form)})"


def verdict(value, bar, at_most=False):
    if value is None or bar is None:
        return "-"
    return "yes" if (value <= bar if at_most else value >= bar) else "**no**"


def table(*columns):
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def listed(values):
    return ", ".join(sorted(values)) or "unknown"


def about(folder, place="broker on CPU 0, generator on CPU 1", kind="alternating runs"):
    """What speaks against the runs, what was checked, what the machine allowed, and where and when it was. `kind` of runs: none
    where their lengths say nothing."""
    runs = folder.all()
    for run in runs:
        if run.invalid:
            print(f"- {run.name} does not count: {'; '.join(run.invalid)}")
    remarks = (("keep up", "The broker did not keep up"), ("generator used", "The generator used 90 % of its core or more"))
    for words, title in remarks:
        names = [run.name for run in runs if any(words in remark for remark in run.report["remarks"])]
        if names:
            print(f"- {title} in {', '.join(names)}.")
    verified([run for run in runs if run.report["verified"]])
    limits = {}
    for limit in (limit for run in runs for limit in run.report["limits"]):
        limits.setdefault(limit["name"], []).append(limit["bytes_per_second"] / 1e6)
    if limits:
        print("- What the machine allowed: " + "; ".join(f"{name} {spread(values)} MB/s" for name, values in limits.items()) + ".")
    if runs:
        environment(runs, place, kind)


def verified(runs):
    if not runs:
        return
    records, lost, doubled, late, damaged, foreign = (
        sum(run.report["verified"][key] for run in runs)
        for key in ("records", "lost", "duplicated", "reordered", "damaged", "foreign"))
    found = ((lost, "lost"), (doubled, "twice"), (late, "out of order"), (damaged, "damaged"), (foreign, "not ours"))
    wrong = ", ".join(f"{number:,} {word}" for number, word in found if number)
    print(f"- Verified: {records:,} records of {len(runs)} runs, read back when producers had ended: "
          f"{wrong or 'each there, once, in order and whole'}.")


def environment(runs, place, kind):
    """Machine, disk, durability, commit, place and time. What stands in for a broker stores nothing and has no say."""
    known = [run.report["environment"] for run in runs]
    hosts = {f"{one['cpu_model']}, {one['cpus']} CPUs, {one['memory_bytes'] / 2**30:.0f} GiB, {one['kernel']}"
             for one in (each_of["host"] for each_of in known)}
    brokers = [one["broker"] for one in known if one["broker"]["durability"]["value"] != "nothing is stored"]
    disks = {f"{one['filesystem']} on {one['device']}" for one in brokers if one["filesystem"] != "unknown"}
    modes = {one["durability"]["value"] for one in brokers}
    lengths = {f"{run.report['work']['duration']} after {run.report['work']['warm_up']} of warm-up" for run in runs}
    days = sorted({one["started_at"][:10] for one in known})
    times = f"; {kind} of {listed(lengths)}" if kind else ""
    print(f"- {listed(hosts)}; {listed(disks)}; durability: {listed(modes)}; commit {listed({one['commit'] for one in known})}; "
          f"{place}{times}; {' to '.join(dict.fromkeys((days[0], days[-1])))}.")


def measured_from(report, warm_up):
    """When the measured time began, on the wall clock and to half a second: a report says to the second when it began, and
    the load begins a moment later. `warm_up` in seconds."""
    started = datetime.datetime.fromisoformat(report["environment"]["started_at"].replace("Z", "+00:00"))
    return started.timestamp() + 0.5 + warm_up
