"""Histograms in reports of corelog-perf, for scripts that must work without a build: HdrHistogram's V2 encoding,
deflated, in base64 (https://github.com/HdrHistogram/HdrHistogram, AbstractHistogram.encodeIntoByteBuffer)."""

import base64
import math
import struct
import zlib

COMPRESSED, PLAIN = 0x1C849314, 0x1C849313
HEADER = struct.Struct(">iiiiqqd")


class Histogram:
    """Values in nanoseconds with their counts, ascending; a value stands for all up to it that are told as one."""

    def __init__(self, counts):
        self.counts = counts
        self.total = sum(count for _, count in counts)

    @staticmethod
    def decode(text):
        data = base64.b64decode(text)
        cookie, length = struct.unpack_from(">ii", data)
        if cookie != COMPRESSED:
            raise ValueError(f"not a deflated V2 histogram: cookie {cookie:#x}")
        data = zlib.decompress(data[8:8 + length])
        cookie, length, _, digits, lowest, _, _ = HEADER.unpack_from(data)
        if cookie != PLAIN:
            raise ValueError(f"not a V2 histogram: cookie {cookie:#x}")
        unit = int(math.log2(lowest))
        half = math.ceil(math.log2(2 * 10**digits)) - 1
        counts, index = [], 0
        for number in numbers(data[HEADER.size:HEADER.size + length]):
            if number < 0:
                index -= number
                continue
            if number > 0:
                counts.append((highest_of(index, half, unit), number))
            index += 1
        return Histogram(counts)

    @staticmethod
    def merged(histograms):
        """All of them as one: counts are added up, nothing is averaged."""
        counts = {}
        for histogram in histograms:
            for value, count in histogram.counts:
                counts[value] = counts.get(value, 0) + count
        return Histogram(sorted(counts.items()))

    def quantile(self, share):
        """The value that this share of all does not exceed, in nanoseconds; None when there are none."""
        wanted, seen = max(1, math.ceil(share * self.total)), 0
        for value, count in self.counts:
            seen += count
            if seen >= wanted:
                return value
        return None


def highest_of(index, half, unit):
    """The largest value that is counted at an index: buckets double, each with as many steps but the first with twice."""
    bucket, step = (index >> half) - 1, (index & ((1 << half) - 1)) + (1 << half)
    if bucket < 0:
        bucket, step = 0, step - (1 << half)
    return ((step + 1) << (bucket + unit)) - 1


def numbers(data):
    """Zigzag numbers of seven bits a byte, nine bytes at most, of which the last has eight."""
    at = 0
    while at < len(data):
        raw = shift = 0
        while True:
            byte = data[at]
            at += 1
            if shift == 56:
                raw |= byte << shift
                break
            raw |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield (raw >> 1) ^ -(raw & 1)
