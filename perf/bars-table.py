"""The tables of perf/bars, in Markdown, from the reports in a folder: `bars-table.py FOLDER ROW...`. Figures are medians
of the runs that count, with the lowest and the highest; what misses its bar is in bold. MB are 10^6 bytes of batches as
on the wire."""

import pathlib
import re
import sys

from report import Folder, Run, about, median, quotient, row, shown, spread, table, verdict

COSTS = ("broker CPU ns/record", "ms/MB", "generator's CPU, %", "runs")


def costs(folder, name):
    figures = ((Run.ns_per_record, "{:,.0f}"), (Run.ms_per_megabyte, "{:,.2f}"), (Run.generator, "{:,.0f}"))
    return [shown(folder.median(name, figure), form) for figure, form in figures] + [len(folder.valid(name))]


def against(folder, title, name, figure, reference, bar, form="{:,.0f}", has_bar=True):
    """One line: a variant, what it is held against, and whether that is enough."""
    values = folder.values(name, figure)
    ratio = quotient(median(values), reference)
    bars = (f">= {bar:g}", verdict(ratio, bar)) if has_bar else ("", "")
    row(title, spread(values, form), shown(reference, form), shown(ratio, "{:.2f}"), *bars, *costs(folder, name))


def percentiles(runs, kind="acknowledge"):
    return [shown(median([run.ms(share, kind) for run in runs]), "{:,.2f}") for share in (0.5, 0.99, 0.999)]


# ---------------------------------------------------------------- one function for each row


def sink(folder):
    """Produce, 1 KiB records, 16 partitions, acks=all, fsync, against a raw TCP sink"""
    most = folder.median("sink", Run.megabytes)
    table("", "MB/s", "sink", "ratio", "bar", "met", *COSTS)
    against(folder, "every record verified afterwards", "verified", Run.megabytes, most, 0.8)
    against(folder, "not verified", "unverified", Run.megabytes, most, 0.8)
    row("sink", spread(folder.values("sink", Run.megabytes)), "", "", "", "", *costs(folder, "sink"))


def landmark(folder):
    """Produce, 100 B records, 256 KiB batches, fsync, on one core"""
    table("", "records/s", "landmark", "ratio", "bar", "met", *COSTS)
    for name, title in (("verified", "every record verified afterwards"), ("unverified", "not verified")):
        against(folder, title, name, Run.rate, 5_000_000, 1)


def tail(folder):
    """Consume from the tail, against a raw TCP source"""
    table("", "MB/s", "source", "ratio", "bar", "met", *COSTS, "from memory, %")
    for groups in (1, 4):
        title = "1 consumer" if groups == 1 else f"fan-out {groups}"
        most = folder.median(f"source-{groups}", Run.megabytes)
        values = folder.values(f"tail-{groups}", Run.megabytes)
        ratio = quotient(median(values), most)
        row(title, spread(values), shown(most), shown(ratio, "{:.2f}"), ">= 0.8", verdict(ratio, 0.8),
            *costs(folder, f"tail-{groups}"), from_memory(folder.others.get(f"tail-{groups}.counted", [])))
        row(f"source, {title}", spread(folder.values(f"source-{groups}", Run.megabytes)), "", "", "", "",
            *costs(folder, f"source-{groups}"), "")
    print("\nBeside a producer, each record read as it is written; from its plan to its arrival:\n")
    table("", "records/s produced", "read, of what was produced", "p50 ms", "p99 ms", "p99.9 ms", "broker CPU ns/record produced")
    for groups in (1, 4):
        runs = folder.valid(f"live-{groups}")
        read = [run.report["consumed"]["records"] / run.report["produced"]["records"] for run in runs]
        row(f"{groups} consumer{'s' * (groups > 1)}", spread([run.rate() for run in runs]), spread(read, "{:.3f}"),
            *percentiles(runs, "end_to_end"), shown(folder.median(f"live-{groups}", Run.ns_per_record)))


def from_memory(counted):
    hits = sum(one["corelog_tail_cache_hits_total"] for one in counted)
    misses = sum(one["corelog_tail_cache_misses_total"] for one in counted)
    return shown(quotient(100 * hits, hits + misses), "{:.2f}")


def catch_up(folder):
    """Catch-up read from the disk, data three times the memory budget, while producing at 50 %"""
    direct = {}
    for name, figures in folder.others.items():
        if re.fullmatch(r"direct-alone-\d+", name):
            direct[figures[0]["in_flight"]] = [one["bytes_per_second"] / 1e6 for one in figures]
    best = max((median(values) for values in direct.values()), default=None)
    beside = [one["bytes_per_second"] / 1e6 for one in folder.others.get("direct-beside", [])]
    values_of_reader = folder.values("reader", Run.megabytes)
    ratio = quotient(median(values_of_reader), best)
    table("reading", "MB/s", "direct read alone", "ratio", "bar", "met", "of a direct read beside the load", "generator's CPU, %")
    row("consumers, beside the load", spread(values_of_reader), shown(best), shown(ratio, "{:.2f}"), ">= 0.8", verdict(ratio, 0.8),
        shown(quotient(median(values_of_reader), median(beside)), "{:.2f}"), shown(folder.median("reader", Run.generator)))
    row("direct read, beside the load", spread(beside), "", "", "", "", "", "")
    for in_flight, values in sorted(direct.items()):
        row(f"direct read alone, {in_flight} in flight", spread(values), "", "", "", "", "", "")
    print()
    table("producers", "records/s", "p50 ms", "p99 ms", "p99.9 ms", "p99, ratio", "bar", "met", "broker CPU ns/record", "runs")
    alone = folder.median("alone", lambda run: run.ms(0.99))
    titles = {"alone": "no reader", "beside": "consumers read", "direct": "a direct read, without the broker"}
    for name, title in titles.items():
        runs = folder.valid(name)
        p99 = quotient(folder.median(name, lambda run: run.ms(0.99)), alone)
        bar = ("<= 1.5", verdict(p99, 1.5, at_most=True)) if name == "beside" else ("", "")
        row(title, spread([run.rate() for run in runs]), *percentiles(runs), shown(p99, "{:.2f}"), *bar,
            shown(folder.median(name, Run.ns_per_record)), len(runs))
    counted = folder.others.get("beside.counted", [])
    read, fetched = (sum(one[f"corelog_{name}_bytes_total"] for one in counted) for name in ("disk_read", "fetched"))
    print(f"\n- Read from the disk for each byte fetched: {shown(quotient(read, fetched), '{:.2f}')}.")
    busy = [folder.median(name, lambda run: quotient(run.broker_seconds(), run.seconds)) for name in ("beside", "alone")]
    if None not in busy:
        more = quotient(1000 * (busy[0] - busy[1]), median(values_of_reader))
        print(f"- Reading takes {shown(more, '{:,.2f}')} ms of the broker's CPU for each MB, beyond what the load alone takes.")


def partitions(folder):
    """fsync, 4 KiB batches, many partitions, against 16"""
    few = folder.median("p16", Run.rate)
    table("partitions", "records/s", "with 16", "ratio", "bar", "met", *COSTS)
    for count, bar in ((16, None), (1000, 0.7), (10_000, 0.5)):
        against(folder, f"{count:,}", f"p{count}", Run.rate, few, bar, has_bar=bar is not None)
    for count in (16, 1000, 10_000):
        title = f"{count:,}, every record verified afterwards"
        against(folder, title, f"verified-p{count}", Run.rate, few, None, has_bar=False)


def producers(folder):
    """1 to 500 producers, one batch in flight each"""
    counts = sorted(int(name.removeprefix("n")) for name in folder.runs if re.fullmatch(r"n\d+", name))
    medians = {count: folder.median(f"n{count}", Run.rate) for count in counts}
    best = max((value for value in medians.values() if value is not None), default=None)
    table("producers", "records/s", "of the best", "bar", "met", "p50 ms", "p99 ms", "p99.9 ms", "", *COSTS)
    highest = 0.0
    for count in counts:
        name = f"n{count}"
        ratio = quotient(medians[count], best)
        tail_ms = folder.median(name, lambda run: run.ms(0.999))
        falls = "p99.9 is lower than with fewer" if tail_ms is not None and tail_ms < highest else ""
        highest = max(highest, tail_ms or 0.0)
        row(f"{count:,}", spread(folder.values(name, Run.rate)), shown(ratio, "{:.2f}"), ">= 0.8", verdict(ratio, 0.8),
            *percentiles(folder.valid(name)), falls, *costs(folder, name))


def idle(folder):
    """An idle broker on one core: 1,000 connections, 10,000 partitions"""
    stages = {"empty": "nothing yet", "connected": "and connections", "made": "and partitions", "written": "and each written to"}
    table("", "CPU of the core, %", "bar", "met", "RSS MB", "PSS MB", "of it tail cache MB", "more PSS for each", "connections",
          "partitions", "runs")
    before = None
    for name, title in stages.items():
        looks = folder.others.get(name, [])
        if not looks:
            continue
        keys = ("cpu_percent", "rss_bytes", "pss_bytes", "connections", "partitions")
        cpu, rss, pss, connections, parts = (median([look[key] for look in looks]) for key in keys)
        cache = median([look["budgets_bytes"].get("tail_cache", 0) for look in looks])
        more = "" if before is None else each(name, pss - cache - before[0], connections - before[1], parts)
        bar = ("< 1", "yes" if cpu < 1 else "**no**") if name == "written" else ("", "")
        row(title, spread([look["cpu_percent"] for look in looks], "{:.2f}"), *bar, shown(rss / 1e6, "{:,.1f}"),
            shown(pss / 1e6, "{:,.1f}"), shown(cache / 1e6, "{:,.1f}"), more, shown(connections), shown(parts), len(looks))
        before = (pss - cache, connections)
    seconds = {name: shown(median([look["seconds"] for look in looks])) for name, looks in folder.others.items() if name in stages}
    print(f"\n- CPU is that of all threads, over {seconds.get('written', '-')} s at the end and {seconds.get('empty', '-')} s before; "
          "there is one shard, on one core.")
    print("- What is held for each leaves out the tail cache, which is a budget of its own and given back when others write.")
    for look in folder.others.get("written", [])[:1]:
        named = ", ".join(f"{name} {share:.2f}" for name, share in sorted(look["threads"].items(), key=lambda item: -item[1])[:4])
        print(f"- The busiest threads of one run, in per cent: {named or 'none'}.")


def each(stage, more, connections, parts):
    if stage == "connected":
        return f"connection: {shown(quotient(more, connections))} B"
    return f"partition: {shown(quotient(more, parts))} B"


def kafka(folder):
    """Against Apache Kafka on the same CPU (perf/side-by-side): without fsync, where corelog syncs"""
    cells = {}
    for run in folder.all():
        found = re.fullmatch(r"(\d+)-(\d+)-(max|50|80)-(corelog|kafka|kafka-fsync)-\d+", run.name)
        if found:
            size, parts, load, variant = found.groups()
            cells.setdefault((int(size), int(parts), load), {}).setdefault(variant, []).append(run)
    table("record", "partitions", "load", "figure", "corelog", "kafka", "ratio", "bar", "met", "runs")
    for size, parts, load in sorted(cells, key=lambda cell: (cell[0], cell[1], ("max", "50", "80").index(cell[2]))):
        ours, theirs = (valid(cells[size, parts, load].get(variant, [])) for variant in ("corelog", "kafka"))
        place = (f"{size:,} B", parts, "closed loop" if load == "max" else f"{load} % of Kafka's most")
        for title, figure, form, bar, at_most in figures_of(load, ours + theirs):
            pair = [median([value for value in map(figure, runs) if value is not None]) for runs in (ours, theirs)]
            ratio = quotient(*pair)
            limit = f"<= {bar:g}" if at_most else f">= {bar:g}"
            row(*place, title, shown(pair[0], form), shown(pair[1], form), shown(ratio, "{:.3g}"), limit,
                verdict(ratio, bar, at_most), f"{len(ours)}, {len(theirs)}")


def figures_of(load, runs):
    """What is compared, with its bar: how much in a closed loop, how soon at a given rate, CPU always."""
    if load == "max":
        yield "records/s", Run.rate, "{:,.0f}", 5, False
    yield "CPU ns/record", Run.ns_per_record, "{:,.0f}", 0.2, True
    kinds = [] if load == "max" else [kind for kind in ("acknowledge", "end_to_end") if any(run.ms(0.5, kind) for run in runs)]
    for kind in kinds:
        for share, name in ((0.99, "p99"), (0.999, "p99.9")):
            title = f"{'acknowledged' if kind == 'acknowledge' else 'end to end'} {name} ms"
            yield title, lambda run, kind=kind, share=share: run.ms(share, kind), "{:,.2f}", 0.1, True


def valid(runs):
    return [run for run in runs if not run.invalid]


ROWS = {"sink": sink, "landmark": landmark, "tail": tail, "catch-up": catch_up, "partitions": partitions,
        "producers": producers, "idle": idle, "kafka": kafka}


def main():
    reports, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or list(ROWS)
    for name in names:
        folder = Folder(reports / name)
        if not folder.runs and not folder.others:
            print(f"no reports in {reports / name}", file=sys.stderr)
            continue
        print(f"\n### {ROWS[name].__doc__}\n")
        ROWS[name](folder)
        print()
        about(folder, kind="" if name == "idle" else "alternating runs")


if __name__ == "__main__":
    main()
