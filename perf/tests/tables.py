#!/usr/bin/env python3
"""That the tables of perf/soak and perf/scaling say what is in the reports: on reports that are made up, so that the answer
is known. `python3 perf/tests/tables.py`; it needs no build."""

import base64
import copy
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
import zlib

PERF = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PERF))

from histogram import COMPRESSED, HEADER, PLAIN, Histogram
from report import measured_from

SAMPLE = json.loads((PERF / "tests/golden/sample.json").read_text())
MILLISECOND = 1_000_000


def encoded(counts):
    """Nanoseconds with their counts, as corelog-perf writes them: three digits, from a nanosecond on."""
    numbers, at = [], 0
    for value, count in sorted(counts.items()):
        bucket = max(0, value.bit_length() - 11)
        index = value if bucket == 0 else ((bucket + 1) << 10) + (value >> bucket) - 1024
        if index > at:
            numbers.append(at - index)
        numbers.append(count)
        at = index + 1
    payload = b"".join(map(zigzag, numbers))
    packed = zlib.compress(HEADER.pack(PLAIN, len(payload), 0, 3, 1, 3_600_000_000_000, 1.0) + payload)
    return base64.b64encode(struct.pack(">ii", COMPRESSED, len(packed)) + packed).decode()


def zigzag(number):
    raw, text = (number << 1) ^ (number >> 63), bytearray()
    while raw >= 0x80:
        text.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*text, raw])


def run(script, *arguments):
    done = subprocess.run([sys.executable, str(PERF / script), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{script}: {done.stderr}"
    return done.stdout


def rows(text, *first):
    """Cells of the rows that begin with these."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in cells if row[:len(first)] == list(first)]


def report_of(seconds, produced, consumed, rate=None, cpu=None):
    report = copy.deepcopy(SAMPLE)
    report.update(invalid=[], remarks=[], seconds=float(seconds), verified=None, limits=[])
    report["work"].update(consumers="1", duration=f"{seconds}s", warm_up="30s")
    report["produced"].update(records=produced, rate_planned=rate)
    report["consumed"].update(records=consumed)
    if cpu is not None:
        report["broker"]["cpu_seconds"] = cpu
    return report


class Histograms(unittest.TestCase):
    def test_what_is_encoded_is_read_and_added_up(self):
        one = Histogram.decode(encoded({700: 3, 5 * MILLISECOND: 990, 80 * MILLISECOND: 7}))
        self.assertEqual(one.total, 1000)
        self.assertEqual(one.quantile(0.003), 700)
        for share, expected in ((0.5, 5), (0.99, 5), (0.995, 80), (1.0, 80)):
            self.assertAlmostEqual(one.quantile(share) / MILLISECOND, expected, delta=expected / 1000)
        both = Histogram.merged([one, Histogram.decode(encoded({80 * MILLISECOND: 993})), Histogram([])])
        self.assertEqual(both.total, 1993)
        self.assertAlmostEqual(both.quantile(0.5) / MILLISECOND, 80, delta=0.08)


class Soak(unittest.TestCase):
    SECONDS, WARM_UP, INTERVAL = 200, 30, 10

    def tables(self, tail=lambda tenth: 20, memory=lambda tenth: 500, invalid=(), deletes=True):
        """Of a run with that p99.9 in ms and so many MB by tenth; with a picture."""
        report = report_of(self.SECONDS, 1000 * self.SECONDS, 1000 * self.SECONDS, rate=1000.0)
        report["invalid"] = list(invalid)
        report["intervals"] = [self.second(second, tail(1 + 10 * second // self.SECONDS)) for second in range(self.SECONDS)]
        begin = measured_from(report, self.WARM_UP)
        looks = [self.look(begin, second, memory, deletes) for second in (5.5 + 10 * number for number in range(-3, 20))]
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            (place / "raw").write_text(json.dumps(report))
            (place / "samples").write_text("".join(json.dumps(seen) + "\n" for seen in looks))
            (place / "most-1.json").write_text(json.dumps(report_of(20, 40_000, 25_000)))
            run("bars-tools.py", "keep", place / "raw", place / "soak.json")
            run("soak-tools.py", "gather", place / "raw", place / "samples", self.INTERVAL, self.WARM_UP, place / "over-time.json")
            self.assertLess((place / "soak.json").stat().st_size, (place / "raw").stat().st_size)
            run("soak-picture.py", place, place / "soak.svg")
            return run("soak-table.py", place), (place / "soak.svg").read_text()

    @staticmethod
    def second(second, tail):
        acknowledge = encoded({5 * MILLISECOND: 995, tail * MILLISECOND: 5})
        return {
            "start_seconds": float(second), "seconds": 1.0, "planned_records": 1000, "produced_records": 1000,
            "produced_bytes": 1_024_000, "consumed_records": 1000, "consumed_bytes": 1_024_000, "backlog_records": 3,
            "consumer_lag_records": second, "errors": 0, "retries": 0, "acknowledge": acknowledge,
            "end_to_end": encoded({6 * MILLISECOND: 1000}), "broker_cpu_seconds": 0.25, "broker_memory_bytes": 1,
        }

    def look(self, begin, second, memory, deletes):
        tenth = max(1, 1 + int(10 * second // self.SECONDS))
        return {
            "at": begin + second, "rss_bytes": memory(tenth) * 10**6, "counted_bytes": 400e6, "tail_cache_bytes": 300e6,
            "open_files": 40, "segment_files": 32.0, "disk_bytes": 9 * 10**9, "segments_rolled": 4.0 * second,
            "segments_deleted": 4.0 * second if deletes else 0.0, "disk_read_bytes": 0.0,
        }

    def test_a_run_that_stays_as_it_is_is_flat(self):
        text, picture = self.tables()
        self.assertIn("memory is flat, p99.9 of acknowledgement is flat, p99.9 of arrival is flat", text)
        self.assertNotIn("NOT", text)
        self.assertNotIn("in between:", text)
        self.assertNotIn("No segment was deleted", text)
        self.assertNotIn("looks at the broker failed", text)
        self.assertIn("1,250 records/s came through", text)
        self.assertIn("1,000 records/s, 80 % of that, for 3.33333 minutes: 1024 B, 16 partitions, 1 consumers", text)
        tenths = [row for row in rows(text) if row[0].isdigit()]
        self.assertEqual([row[0] for row in tenths], [str(number) for number in range(1, 11)])
        for row in tenths:
            self.assertEqual(row[1:10], ["1,000", "1,000", "25", "500.0", "400.0", "100.0", "40", "9.0", "80"])
        self.assertEqual([tenths[0][16], tenths[9][16]], ["19", "199"])
        self.assertEqual(rows(text, "memory of the process (RSS), MB")[0][1:6], ["500.0", "500.0", "1.00", "1.05", "yes"])
        root = xml.etree.ElementTree.fromstring(picture)
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual([len(line.get("points").split()) for line in lines], [20] * 4)

    def test_growth_to_the_end_is_not_flat(self):
        text, _ = self.tables(tail=lambda tenth: 60 if tenth == 10 else 20, memory=lambda tenth: 500 + 5 * tenth)
        self.assertIn("memory is NOT flat, p99.9 of acknowledgement is NOT flat, p99.9 of arrival is flat", text)
        self.assertEqual(rows(text, "memory of the process (RSS), MB")[0][1:6], ["510.0", "550.0", "1.08", "1.05", "**no**"])
        self.assertEqual(rows(text, "p99.9 of acknowledgement, ms")[0][3:6], ["3.00", "1.5", "**no**"])
        # Five MB each 20 seconds, in steps.
        self.assertIn("RSS +891.6 MB an hour, what is not counted +891.6.", text)

    def test_what_comes_and_goes_is_told_and_what_is_in_the_first_tenth_is_not(self):
        text, _ = self.tables(tail=lambda tenth: {1: 900, 5: 60}.get(tenth, 20))
        self.assertIn("p99.9 of acknowledgement is flat", text)
        self.assertIn("Higher than that in between: p99.9 of acknowledgement.", text)
        self.assertEqual(rows(text, "p99.9 of acknowledgement, ms")[0][6], "3.00 (tenth 5)")

    def test_a_run_that_does_not_count_is_not_called_flat(self):
        text, _ = self.tables(invalid=["12 errors"], deletes=False)
        self.assertIn("does not count, so nothing is said of its being flat: 12 errors", text)
        self.assertNotIn("is flat", text)
        self.assertIn("No segment was deleted in tenth 2, 3, 4, 5, 6, 7, 8, 9, 10", text)

    def test_the_rate_is_a_share_of_what_came_through(self):
        with tempfile.TemporaryDirectory() as place:
            paths = [pathlib.Path(place) / f"most-{number}.json" for number in (1, 2, 3, 4)]
            reports = [report_of(10, 10_000, 9_000), report_of(10, 8_000, 8_500), report_of(10, 20_000, 20_000),
                       report_of(10, 90_000, 90_000)]
            reports[3]["invalid"] = ["the generator fell behind"]
            for path, report in zip(paths, reports):
                path.write_text(json.dumps(report))
            # 900, 800 and 2,000 a second.
            self.assertEqual(run("soak-tools.py", "rate", 80, *paths).strip(), "720")


class Scaling(unittest.TestCase):
    # Seconds of the broker's CPU for a million records: produced, and consumed beside that.
    CPU = {(1, "per-core"): (4.0, 6.0), (1, "shared"): (4.0, 6.0), (2, "per-core"): (4.0, 6.0), (2, "shared"): (4.5, 7.5)}

    def tables(self, cells):
        with tempfile.TemporaryDirectory() as place:
            for shards, endpoints in cells:
                for kind, cpu in zip(("produce", "consume"), self.CPU[shards, endpoints]):
                    name = f"{place}/s{shards}-{endpoints}-{kind}"
                    for number in (1, 2, 3):
                        self.write(f"{name}-{number}", shards, endpoints, kind, cpu)
                    self.write(f"{name}-4", shards, endpoints, kind, 99.0, invalid=["late"])
            return run("scaling-table.py", place)

    @staticmethod
    def write(name, shards, endpoints, kind, cpu, invalid=()):
        report = report_of(20, 1_000_000, 1_000_000 if kind == "consume" else 0, rate=50_000.0, cpu=cpu)
        report["invalid"] = list(invalid)
        # Half of the batches hop, and half of the fetches, these three times.
        hops = {"produce": 10_000, "consume": 40_000}[kind] if (shards, endpoints) == (2, "shared") else 0
        counted = {
            "seconds": 25.0, "corelog_hops_total": hops, "corelog_appended_records_total": 1_250_000,
            'corelog_requests_total{api="Produce"}': 20_000, "corelog_shard_busy_seconds_total": 5.0,
            'corelog_requests_total{api="Fetch"}': 20_000 if kind == "consume" else 0,
        }
        pathlib.Path(f"{name}.json").write_text(json.dumps(report))
        pathlib.Path(f"{name}.counted.json").write_text(json.dumps(counted))

    def test_costs_and_hops_are_those_of_the_reports(self):
        text = self.tables(self.CPU)
        produce, consume = rows(text, "2", "shared")
        self.assertEqual(produce[2:11], ["50,000", "4,500 (4,500-4,500)", "4,000 (4,000-4,000)", "10 (10-10)", "62.5", "0.0080",
                                         "0.500", "50.0", "25"])
        self.assertEqual(consume[3], "3,000 (3,000-3,000)")
        self.assertEqual(consume[7:10], ["0.0240", "1.500", "50.0"])
        self.assertEqual([row[11] for row in (produce, consume)], ["3", "3"])
        for row in rows(text, "2", "per-core") + rows(text, "1", "shared"):
            self.assertEqual(row[7:10], ["0.0000", "0.000", "0.0"])
        self.assertIn("s2-shared-produce-4 does not count: late", text)

    def test_more_cores_are_computed_from_the_share_that_hops(self):
        text = self.tables(self.CPU)
        self.assertIn("**Computed, not measured**, from 2 shards", text)
        expected = {
            1: ["0.0", "4,000", "4,000", "1.00", "4,000, 4,000", "2,000", "2,000", "1.00", "2,000, 2,000"],
            2: ["50.0", "4,000", "4,500", "1.12", "4,000, 4,500", "2,000", "3,000", "1.50", "2,000, 3,000"],
            64: ["98.4", "4,000", "4,984", "1.25", "", "2,000", "3,969", "1.98", ""],
        }
        for shards, cells in expected.items():
            found, = [row[1:] for row in rows(text, str(shards)) if len(row) == 10]
            self.assertEqual(found, cells)
        self.assertIn("A produce request of 62.5 records takes 250.0 us of CPU where it stays on its core, and 312.5 us", text)

    def test_without_two_shards_nothing_is_computed(self):
        text = self.tables([(1, "per-core"), (1, "shared"), (2, "shared")])
        self.assertIn("Nothing is computed", text)
        self.assertNotIn("Computed, not measured", text)


if __name__ == "__main__":
    unittest.main()
