"""The tables of perf/scaling, in Markdown, from the reports in a folder: what records cost by number of shards and kind of
endpoints, how many requests hop, and what that gives on paper for more cores."""

import json
import pathlib
import re
import sys

from report import Folder, about, listed, median, quotient, row, shown, spread, table

ON_PAPER = (1, 2, 4, 16, 64)
ENDPOINTS = ("per-core", "shared")
HOPS, RECORDS = "corelog_hops_total", "corelog_appended_records_total"
BUSY = "corelog_shard_busy_seconds_total"
PRODUCE, FETCH = 'corelog_requests_total{api="Produce"}', 'corelog_requests_total{api="Fetch"}'
# Hops of a request for one partition of another core: a batch is handed over. A fetch that has read all there is looks, has
# the partition watched, and reads (src/data_plane/fetch_read.rs).
BATCH_HOPS, FETCH_HOPS = 1, 3
# Beyond this share of busy cores, in per cent, a load is not well below what can be taken.
BUSY_MAX = 60


class Load:
    """A run that counts, and what the broker counted in its time."""

    def __init__(self, folder, run):
        self.run, self.number = run, run.name.rpartition("-")[2]
        self.counted = json.loads((folder.path / f"{run.name}.counted.json").read_text())

    def per(self, what, base):
        return quotient(self.counted[what], self.counted[base])


class Cell:
    """A number of shards with one kind of endpoints. What is called `values` has one for each run."""

    def __init__(self, folder, shards, endpoints):
        self.shards, self.endpoints = shards, endpoints
        self.produce, self.consume = (
            [Load(folder, run) for run in folder.valid(f"s{shards}-{endpoints}-{kind}")] for kind in ("produce", "consume"))

    def loads(self, api):
        return self.produce if api == PRODUCE else self.consume

    def costs(self, api):
        """CPU nanoseconds of the broker for each record: produced, or consumed beside that."""
        if api == PRODUCE:
            return known(load.run.ns_per_record() for load in self.produce)
        alone = {load.number: load.run for load in self.produce}
        return known(consuming(load.run, alone[load.number]) for load in self.consume if load.number in alone)

    def records(self, api):
        """Of a request."""
        return known(load.per(RECORDS, api) for load in self.loads(api))

    def hops(self, api):
        """Of a request: beside consumers those of produce requests are taken off, as many as without consumers."""
        of_produce = known(load.per(HOPS, PRODUCE) for load in self.produce)
        if api == PRODUCE:
            return of_produce
        each = median(of_produce)
        if each is None:
            return []
        rest = [(load, load.counted[HOPS] - each * load.counted[PRODUCE]) for load in self.consume]
        return known(quotient(max(0.0, hops), load.counted[api]) for load, hops in rest)

    def hopping(self, api):
        """The share of requests that hop."""
        hops = median(self.hops(api))
        return None if hops is None else hops / (BATCH_HOPS if api == PRODUCE else FETCH_HOPS)

    def busy(self, api):
        """Of the cores, in per cent."""
        return known(quotient(100 * load.counted[BUSY], load.counted["seconds"] * self.shards) for load in self.loads(api))


def consuming(both, alone):
    """CPU nanoseconds for each record consumed: of a run with consumers, what the same producing does not take alone."""
    used, each = both.broker_seconds(), alone.ns_per_record()
    if used is None or each is None:
        return None
    produced, consumed = (both.report[flow]["records"] for flow in ("produced", "consumed"))
    return quotient(used * 1e9 - each * produced, consumed)


def known(values):
    return [value for value in values if value is not None]


def percent(share):
    return None if share is None else 100 * share


# ---------------------------------------------------------------- measured


def measured(cells, api):
    noun = "batch" if api == PRODUCE else "fetch"
    table("shards", "endpoints", "records/s", "broker CPU ns/record", "busy time ns/record, whole load", "cores busy, %",
          f"records a {noun}", "hops a record", f"hops a {noun}", "requests that hop, %", "generator's CPU, %", "runs")
    for cell in cells:
        loads = cell.loads(api)
        flow = "produced" if api == PRODUCE else "consumed"
        rates = [load.run.rate(flow=load.run.report[flow]) for load in loads]
        busy = known(load.per(BUSY, RECORDS) for load in loads)
        hops, records = median(cell.hops(api)), median(cell.records(api))
        row(cell.shards, cell.endpoints, shown(median(rates)), spread(cell.costs(api)), spread([1e9 * value for value in busy]),
            spread(cell.busy(api)), shown(records, "{:.1f}"), shown(quotient(hops, records), "{:.4f}"), shown(hops, "{:.3f}"),
            shown(percent(cell.hopping(api)), "{:.1f}"), shown(median([load.run.generator() for load in loads])), len(loads))


# ---------------------------------------------------------------- computed


class Request:
    """What a record takes where requests stay on their core, and how much more where all of them hop."""

    def __init__(self, per_core, shared, api):
        stays, dearer, hopping = median(per_core.costs(api)), median(shared.costs(api)), shared.hopping(api)
        self.is_known = None not in (stays, dearer) and bool(hopping)
        if self.is_known:
            self.stays, self.hop = stays, (dearer - stays) / hopping
            self.records = median(shared.records(api))

    def on_paper(self, shards):
        return self.stays + self.hop * probability(shards)


def probability(shards):
    """That a request which comes by any core is for a partition of another."""
    return (shards - 1) / shards


def costs_measured(cells, shards, api):
    """Both endpoints', as far as they were."""
    found = {cell.endpoints: median(cell.costs(api)) for cell in cells if cell.shards == shards}
    return ", ".join(shown(found.get(endpoints)) for endpoints in ENDPOINTS) if found else ""


def computed(cells):
    pairs = {shards: [cell for cell in cells if cell.shards == shards] for shards in {cell.shards for cell in cells}}
    both = [shards for shards, pair in pairs.items() if shards > 1 and [cell.endpoints for cell in pair] == list(ENDPOINTS)]
    if not both:
        print("\nNothing is computed: that needs two shards or more, with both kinds of endpoints.")
        return
    base = max(both)
    requests = [Request(*pairs[base], api) for api in (PRODUCE, FETCH)]
    print(f"\n**Computed, not measured**, from {base} shards: CPU ns/record = stays + hop * (N - 1) / N with a shared endpoint,\n"
          "and stays with one for each core; hop is what shared endpoints take more, by the share of requests that hop.\n")
    columns = ("per-core", "shared", "ratio", "measured: per-core, shared")
    kinds = [f"{kind}, {words}" for kind in ("produce", "consume") for words in columns]
    table("shards N", "requests that hop, shared, %", *kinds)
    for shards in ON_PAPER:
        figures = []
        for request, api in zip(requests, (PRODUCE, FETCH)):
            if request.is_known:
                paper = request.on_paper(shards)
                ratio = shown(quotient(paper, request.stays), "{:.2f}")
                figures += [shown(request.stays), shown(paper), ratio, costs_measured(cells, shards, api)]
            else:
                figures += ["-", "-", "-", costs_measured(cells, shards, api)]
        row(shards, f"{100 * probability(shards):.1f}", *figures)
    print()
    for request, words in zip(requests, ("produce request of", "fetch that gives")):
        if request.is_known and request.records:
            micro = [request.records * cost / 1000 for cost in (request.stays, request.stays + request.hop)]
            print(f"- A {words} {request.records:.1f} records takes {micro[0]:,.1f} us of CPU where it stays on its core, and "
                  f"{micro[1]:,.1f} us on both cores where it hops.")


def main():
    folder = Folder(pathlib.Path(sys.argv[1]))
    names = {found.groups() for found in (re.fullmatch(r"s(\d+)-(per-core|shared)-.+", name) for name in folder.runs) if found}
    if not names:
        sys.exit(f"no reports of scaling in {folder.path}")
    cells = [Cell(folder, *place) for place in sorted((int(shards), endpoints) for shards, endpoints in names)]
    print("\n### CPU for each record by cores and endpoints\n\nProduce, a batch a request:\n")
    measured(cells, PRODUCE)
    print("\nConsume beside it, a partition a fetch:\n")
    measured(cells, FETCH)
    computed(cells)
    busy = [f"{cell.shards} {cell.endpoints}" for cell in cells
            if max(cell.busy(PRODUCE) + cell.busy(FETCH), default=0) > BUSY_MAX]
    if busy:
        print(f"- **Not well below what can be taken, cores were busy for more than {BUSY_MAX} %: {', '.join(busy)}.**")
    limits = listed({run.report["environment"]["generator_limits"] for run in folder.all()})
    about(folder, place=f"a shard on each CPU from 0 on, generator: {limits}, which it shares with the shard that is there")


if __name__ == "__main__":
    main()
