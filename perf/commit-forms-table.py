"""The table of perf/commit-forms, in Markdown, from the lines of JSON in a folder: medians of the runs, and ratios to the
log as it is (`files`) with as many partitions. MB are 10^6 bytes of batches."""

import json
import pathlib
import re
import statistics
import sys

NAME = re.compile(r"(.+)-p(\d+)-\d+")
SEGMENT_BYTES_MAX = 2**30


def read(folder):
    """The figures of all runs, by number of partitions and form, in the order in which the forms ran."""
    cells, forms = {}, []
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        found = NAME.fullmatch(path.stem)
        if not found:
            continue
        form, partitions = found[1], int(found[2])
        if form not in forms:
            forms.append(form)
        cells.setdefault((partitions, form), []).append(json.loads(path.read_text()))
    return cells, forms


def median(runs, figure):
    values = [value for value in map(figure, runs) if value is not None]
    return statistics.median(values) if values else None


def shown(value, form="{:,.0f}"):
    return "-" if value is None else form.format(value)


def spread(runs, figure):
    values = [figure(run) for run in runs]
    text = shown(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({shown(min(values))}-{shown(max(values))})"


def ratio(runs, base, figure):
    if not base:
        return "-"
    return shown(median(runs, figure) / median(base, figure), "{:.2f}")


def stalled_percent(run):
    return run["journal"] and run["journal"]["stalled_ms"] / run["seconds"] / 10


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def table(cells, forms):
    columns = ("partitions", "form", "batches/s", "of `files`", "MB/s", "CPU ns/batch", "of `files`", "p50 ms", "p99 ms",
               "p99.9 ms", "written per byte", "writes/s", "syncs/s", "stalled, %", "read back, ms", "runs")
    row(*columns)
    print("|---" * len(columns) + "|")
    for partitions in sorted({partitions for partitions, _ in cells}):
        base = cells.get((partitions, "files"))
        for form in forms:
            runs = cells.get((partitions, form))
            if not runs:
                continue
            rate, cpu = (lambda run: run["batches_per_second"]), (lambda run: run["cpu_ns_per_batch"])
            row(f"{partitions:,}", f"`{form}`", spread(runs, rate), ratio(runs, base, rate),
                shown(median(runs, lambda run: run["bytes_per_second"] / 1e6)), shown(median(runs, cpu)),
                ratio(runs, base, cpu), *(shown(median(runs, lambda run, key=key: run[key]), "{:,.2f}")
                                          for key in ("p50_ms", "p99_ms", "p999_ms")),
                shown(median(runs, lambda run: run["amplification"]), "{:.2f}"),
                shown(median(runs, lambda run: run["writes"] / run["seconds"])),
                shown(median(runs, lambda run: run["syncs"] / run["seconds"])),
                shown(median(runs, stalled_percent), "{:.1f}"),
                shown(median(runs, lambda run: run["journal"] and run["journal"]["read_back_ms"])), len(runs))


def remarks(cells):
    """What has to be known beside the figures."""
    for (partitions, form), runs in sorted(cells.items()):
        name = f"`{form}` with {partitions:,} partitions"
        written = max(run["batches"] * run["batch_bytes"] for run in runs)
        if form == "prepared" and written > partitions * SEGMENT_BYTES_MAX:
            print(f"- {name}: only the first GiB of each partition lay in blocks that were written before.")
        if any(run["journal"] and run["journal"]["regions_emptied"] < 2 for run in runs):
            print(f"- {name}: a run emptied fewer than two regions, so what segments cost is hardly in it.")


def about(cells):
    runs = [run for runs in cells.values() for run in runs]

    def listed(key):
        return ", ".join(sorted({str(run[key]) for run in runs}))

    print(f"- Batches of {listed('batch_bytes')} bytes, {listed('in_flight')} in flight; the loop's own CPU is in all figures.")
    rings = {(run["journal"]["journal_bytes"] >> 20, run["journal"]["regions"]) for run in runs if run["journal"]}
    for megabytes, regions in sorted(rings):
        print(f"- Journal of {megabytes} MiB in {regions} regions. It has no index, no recovery points and no readers, which the "
              "log has: what is shown of it is its best.")
    print(f"- {listed('cpu_model')}, {listed('kernel')}, {listed('filesystem')}; commit {listed('commit')}.")


def main():
    cells, forms = read(pathlib.Path(sys.argv[1]))
    if not cells:
        sys.exit(f"no figures in {sys.argv[1]}")
    table(cells, forms)
    print()
    remarks(cells)
    about(cells)


if __name__ == "__main__":
    main()
