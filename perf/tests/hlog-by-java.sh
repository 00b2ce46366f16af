#!/usr/bin/env bash
# Proves that Java's HdrHistogram reads our interval logs and finds the percentiles that we wrote.
#
# usage: perf/tests/hlog-by-java.sh [NAME.hlog NAME.hgrm]...
#
# Sums up the log's intervals of tag "acknowledge" with org.HdrHistogram.HistogramLogProcessor and compares
# the percentile text with NAME.hgrm, letter by letter. Without arguments: the golden reports beside this file.
# HDRHISTOGRAM_JAR names the jar (2.2.2); else it is fetched from Maven Central and kept under the temporary
# directory. Without Java, or without a jar, it says so and proves nothing, which is no failure.
set -euo pipefail

version=2.2.2
sha256=22d1d4316c4ec13a68b559e98c8256d69071593731da96136640f864fa14fad8
address=https://repo1.maven.org/maven2/org/hdrhistogram/HdrHistogram/$version/HdrHistogram-$version.jar

skip() {
    echo "SKIPPED hlog-by-java: $1"
    exit 0
}

command -v java >/dev/null || skip "there is no java"

jar=${HDRHISTOGRAM_JAR:-${TMPDIR:-/tmp}/corelog-perf-HdrHistogram-$version.jar}
if [ ! -s "$jar" ]; then
    curl -sSfL --max-time 60 -o "$jar.part" "$address" || skip "cannot fetch $address"
    mv "$jar.part" "$jar"
fi
echo "$sha256  $jar" | sha256sum --check --quiet || { echo "$jar is not version $version"; exit 1; }

if [ $# -eq 0 ]; then
    golden=$(dirname "$0")/golden
    set -- "$golden/sample.hlog" "$golden/sample.hgrm"
fi

while [ $# -ge 2 ]; do
    # Java adds two comments to the table: when the log began, and which part of it was read.
    java -cp "$jar" org.HdrHistogram.HistogramLogProcessor -i "$1" -tag acknowledge |
        grep -v '^#\[\(StartTime\|Overall\)' |
        diff - "$2" || { echo "FAILED hlog-by-java: Java reads $1 otherwise than $2 says"; exit 1; }
    echo "ok: Java reads of $1 what $2 says, in $(grep -c '^Tag=acknowledge' "$1") intervals"
    shift 2
done
