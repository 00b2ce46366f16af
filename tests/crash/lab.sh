# What the crash tests share; sourced, not run. Needs $work, the folder of one run, and a `failed` that is called
# with what is wrong and does not return.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/release
corelog=${CORELOG:-$target/corelog} perf=${CORELOG_PERF:-$target/corelog-perf}
# The broker takes CORELOG_ for settings of its own.
unset CORELOG CORELOG_PERF
RATE=${RATE:-8000} TOPICS=${TOPICS:-2} PARTITIONS=${PARTITIONS:-8}
SEED=${SEED:-$RANDOM}
if [ "$RATE" = full ]; then
    # As fast as is acknowledged, with more in flight than the broker can do.
    RECORD_BYTES=${RECORD_BYTES:-1024} SEGMENT=${SEGMENT:-16MiB} SCAN=${SCAN:-64MiB} SECONDS_EACH=${SECONDS_EACH:-1}
    FREE_GB=${FREE_GB:-20}
    flow=(--rate max --batch-bytes "${BATCH_BYTES:-131072}" --in-flight "${IN_FLIGHT:-16}")
else
    RECORD_BYTES=${RECORD_BYTES:-100-900} SEGMENT=${SEGMENT:-512KiB} SCAN=${SCAN:-1MiB} SECONDS_EACH=${SECONDS_EACH:-1.2}
    FREE_GB=${FREE_GB:-4}
    flow=(--rate "$RATE" --batch-bytes "${BATCH_BYTES:-16384}" --in-flight "${IN_FLIGHT:-5}")
fi
export CORELOG_LOG_SEGMENT_BYTES=$SEGMENT CORELOG_RETENTION_CHECK_MS=${RETENTION_CHECK:-500ms}
broker_pid='' load_pid='' side_pid='' starts=0 in_recovery=0 under_load=0
# What a closed loop sends in its last moments is not sent again if it is refused: no crash in them. A machine that is too
# busy for all crashes of a round before that has the others in a round more.
load_tail_ms=${LOAD_TAIL_MS:-6000}

need_binaries() {
    local binary
    for binary in "$corelog" "$perf"; do
        [ -x "$binary" ] || { echo "no $binary: cargo build --release --workspace, or say CORELOG=, CORELOG_PERF=" >&2; exit 2; }
    done
    command -v python3 >/dev/null || { echo "lacks python3" >&2; exit 2; }
    RANDOM=$SEED
    # Recovery that must go on where it stopped, where the broker has it.
    if "$corelog" serve --help | grep -q -e --recovery-scan-bytes-max; then
        export CORELOG_RECOVERY_SCAN_BYTES_MAX=$SCAN
    fi
    cpus=0 shards=1
    if [ "$(nproc)" -gt 1 ]; then cpus=0-1 shards=2; fi
}

# A full load fills a disk that others need too.
need_room() {
    local free
    free=$(($(df --output=avail -B1 "$work" | tail -1) >> 30))
    [ "$free" -ge "$FREE_GB" ] || failed "$free GiB are free below $work, fewer than FREE_GB=$FREE_GB"
}

# A port whose neighbours are free too, for the shards; below those that the kernel gives to clients.
free_port() {
    python3 - $((shards + 1)) <<'END'
import random, socket, sys
while True:
    port, held = random.randrange(20000, 32000), []
    try:
        for at in range(int(sys.argv[1])):
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", port + at))
        print(port)
        break
    except OSError:
        pass
    finally:
        for one in held:
            one.close()
END
}

# Sleeps for so many milliseconds, from the first number to the second. Not in a subshell: that has chances of its own.
pause_between() {
    local ms=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1)))
    [ $ms -eq 0 ] || sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

now_ms() { local now=${EPOCHREALTIME/[.,]/}; echo $((now / 1000)); }

is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Starts a broker and does not wait. Each start has a log of its own, and the last ones are kept.
start_broker() { # data folder, port, flags...
    local data=$1 at=$2
    shift 2
    starts=$((starts + 1))
    broker_log=$work/broker.$starts.log
    rm -f "$work/broker.$((starts - 20)).log"
    : >"$broker_log"
    "$corelog" serve --data-dir "$data" --listen "127.0.0.1:$at" --cpus $cpus "$@" </dev/null >"$broker_log" 2>&1 &
    broker_pid=$!
}

# Waits until every shard serves.
await_broker() { # port
    local give_up=$((SECONDS + ${READY_SECONDS:-60}))
    until [ "$(grep -c ' ready ' "$broker_log")" -ge $shards ] && is_listening "$1"; do
        kill -0 "$broker_pid" 2>/dev/null || failed "the broker ended instead of starting: $broker_log"
        if [ $SECONDS -ge $give_up ]; then
            tell_where >"$work/hang.txt" 2>&1
            failed "the broker is not ready after ${READY_SECONDS:-60} s: $broker_log, $work/hang.txt"
        fi
        sleep 0.01
    done
}

# Where the broker's threads are, in the kernel, and in its code if there is gdb.
tell_where() {
    local task fd
    for task in /proc/"$broker_pid"/task/*; do
        echo "== $task $(cat "$task/comm") $(cut -d' ' -f3 "$task/stat") syscall $(cat "$task/syscall")"
        cat "$task/stack" || true
    done
    ls -l "/proc/$broker_pid/fd" || true
    for fd in /proc/"$broker_pid"/fd/*; do
        [ "$(readlink "$fd")" != 'anon_inode:[io_uring]' ] || { echo "== ring ${fd##*/}"; cat "${fd/fd/fdinfo}"; }
    done
    if command -v gdb >/dev/null; then gdb -p "$broker_pid" -batch -ex 'thread apply all backtrace' || true; fi
}

# All of its threads stand still when this returns; what they asked of the kernel goes on.
freeze_broker() {
    kill -STOP "$broker_pid" 2>/dev/null || failed "the broker ended by itself: $broker_log"
    local give_up=$((SECONDS + 20))
    while grep -h '^State:' "/proc/$broker_pid"/task/*/status 2>/dev/null | grep -qv stopped; do
        [ $SECONDS -lt $give_up ] || failed "the broker cannot be frozen: $broker_log"
        sleep 0.001
    done
}

# As power loss and the OOM killer do: no chance to say anything. A broker whose disk has gone may have ended.
kill_broker() { # may-have-ended, or nothing
    kill -KILL "$broker_pid" 2>/dev/null || [ -n "${1:-}" ] || failed "the broker ended by itself: $broker_log"
    wait "$broker_pid" 2>/dev/null || true
    broker_pid=''
    grep -E ' ERROR ' "$broker_log" >>"$work/errors" || true
    if grep -q 'panicked at' "$broker_log"; then failed "the broker panicked: $broker_log"; fi
}

# A clean stop must be one.
stop_broker() {
    kill -TERM "$broker_pid"
    local status=0 give_up=$((SECONDS + 40))
    while kill -0 "$broker_pid" 2>/dev/null; do
        [ $SECONDS -lt $give_up ] || failed "the broker does not stop within 40 s of SIGTERM: $broker_log"
        sleep 0.05
    done
    wait "$broker_pid" || status=$?
    broker_pid=''
    [ $status -eq 0 ] || failed "the broker's exit code after SIGTERM: $status: $broker_log"
}

# One run of the load for all of the crashes, which it rides out. $work/ledger: what was acknowledged so far.
start_load() { # port, seconds
    rm -f "$work/ledger"
    "$perf" run -b "127.0.0.1:$1" --topic crash --topics "$TOPICS" -p "$PARTITIONS" --keep --verify --idempotent \
        --producers 2 -c 2 "${flow[@]}" -s "$RECORD_BYTES" --warm-up 0 -d "$2s" --drain 240s --seed "$SEED" \
        --ledger "$work/ledger" -o "$work" --name load </dev/null >"$work/load.txt" 2>&1 &
    load_pid=$!
    load_end=$(($(now_ms) + $2 * 1000 - load_tail_ms)) cpu_before=$(cpu_ticks)
    until grep -qs '"sequences":[1-9]' "$work/ledger"; do
        kill -0 "$load_pid" 2>/dev/null || { tail -5 "$work/load.txt" >&2; failed "the load did not start"; }
        sleep 0.02
    done
}

load_is_on() { kill -0 "$load_pid" 2>/dev/null; }

# Ticks of all CPUs: busy, and all that were to be had.
cpu_ticks() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' /proc/stat; }

# Records that were sent so far, as the ledger knows a moment later.
sent_so_far() { grep -o '"sequences":[0-9]*' "$work/ledger" | awk -F: '{ all += $2 } END { printf "%d", all }'; }

# Waits for the load's end and prints its verdict; false if the ledger, or an error, says no.
await_load() {
    wait "$load_pid" || true
    load_pid=''
    [ -s "$work/load.json" ] || { tail -5 "$work/load.txt" >&2; return 1; }
    # shellcheck disable=SC2046,SC2086 # two numbers each
    python3 - "$work/load.json" $cpu_before $(cpu_ticks) <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
busy, all_ticks = (int(sys.argv[at + 2]) - int(sys.argv[at]) for at in (2, 3))
found, produced, consumed = report["verified"], report["produced"], report["consumed"]
# Latencies do not matter here, so neither does a generator that was late.
wrong = [why for why in report["invalid"] if not why.startswith("the generator fell behind")]
for name in ["lost", "duplicated", "reordered", "damaged", "foreign"]:
    if found[name]:
        wrong.append(f"{found[name]} {name}")
wrong += found["examples"]
print(f"load: {found['records']:,} records read, {produced['retries']:,} retries, "
      f"{produced['errors'] + consumed['errors']} errors: {'; '.join(wrong) or 'all is well'}")
seconds = sorted(one["produced_records"] / one["seconds"] for one in report["intervals"] if one["seconds"] > 0.5)
print(f"load: {produced['records']:,} records ({produced['payload_bytes'] / 1e9:.2f} GB) acknowledged in "
      f"{report['seconds']:.0f} s with its crashes: {produced['records'] / report['seconds']:,.0f} records/s, "
      f"{produced['payload_bytes'] / 1e6 / report['seconds']:,.0f} MB/s; the best second {seconds[-1] if seconds else 0:,.0f} "
      f"records; CPUs {100 * busy // all_ticks} % busy")
sys.exit(bool(wrong))
END
}

# All partitions from start to end, held against a ledger; 3: a record is missing, wrong, or of a topic of that name
# that was deleted.
verify() { # port, ledger
    timeout "${VERIFY_SECONDS:-300}" "$perf" verify "$2" -b "127.0.0.1:$1" 2>"$work/verify.err" >"$work/verify.json" || return
    grep -q '"foreign":0' "$work/verify.json" || return 3
}

verified_words() {
    if [ -s "$work/verify.json" ]; then
        python3 -c 'import json, sys
found = json.load(open(sys.argv[1]))
print(", ".join(f"{found[name]:,} {name}" for name in ["records", "lost", "duplicated", "reordered", "damaged", "foreign"]),
    *found["examples"][:3], sep="; ")' "$work/verify.json"
    else
        tail -1 "$work/verify.err"
    fi
}

# ---------------------------------------------------------------- beside the load

side_py=$root/tests/crash/side.py
side() { python3 "$side_py" "$@"; }

# Topics that come and go, retention and deletion of records, until end_side.
start_side() { # port
    rm -f "$work/side.journal"
    python3 "$side_py" load "127.0.0.1:$1" "$work/side.journal" "$SEED" </dev/null >"$work/side.txt" 2>&1 &
    side_pid=$!
    # The topics that are there all the time.
    until [ "$(grep -sc '"made","t":"side-[kat]' "$work/side.journal")" = 3 ]; do
        kill -0 "$side_pid" 2>/dev/null || { tail -5 "$work/side.txt" >&2; failed "the side topics did not start"; }
        sleep 0.02
    done
}

# Both loads go on; else what they say.
need_loads() { # what is going on
    load_is_on || { await_load || true; failed "the load ended before $1 did"; }
    kill -0 "$side_pid" 2>/dev/null || end_side
}

end_side() {
    kill -TERM "$side_pid" 2>/dev/null || true
    local status=0
    wait "$side_pid" || status=$?
    side_pid=''
    [ $status -eq 0 ] || failed "the side topics: $(tail -3 "$work/side.txt")"
    cat "$work/side.txt"
}

judge_side() { # port, options of side.py judge...
    local at=$1
    shift
    side judge "127.0.0.1:$at" "$work/side.journal" "$@" >"$work/side.judged" 2>&1 ||
        failed "the side topics: $(tail -3 "$work/side.judged")"
}

# The second judge, while no broker runs: whether it finds nothing but torn tails, and after a clean stop nothing at all.
examine() { # data folder, killed or stopped, topics or none for all...
    local data=$1 after=$2 status=0
    shift 2
    "$corelog" doctor data --json --data-dir "$data" "$@" >"$work/doctor.json" 2>"$work/doctor.err" || status=$?
    side doctor "$work/doctor.json" $status "$after" 2>&1 | tee -a "$work/doctor.all" >"$work/doctor.txt" ||
        failed "doctor data says after the broker was $after: $(tail -1 "$work/doctor.txt") $(tail -1 "$work/doctor.err")"
}

# What the second judge was asked so far.
looks() {
    awk '{ for (at = 2; at <= NF; at++) { if ($at == "torn") torn += $(at - 1); if ($at == "known,") known += $(at - 1) } }
        END { printf "%d looks of the doctor, %d torn tails, %d known faults", NR, torn, known }' "$work/doctor.all"
}

# Whether all that is left over goes once the broker has had its time.
need_no_leaks() { # port, data folder
    side files "127.0.0.1:$1" "$2" >"$work/files.txt" 2>&1 || failed "files: $(tail -1 "$work/files.txt")"
}

# Deletes all topics, which the next round makes again.
remove_topics() { # port
    local topics
    mapfile -t topics < <("$corelog" topic list -b "127.0.0.1:$1")
    [ "${#topics[@]}" -eq 0 ] || "$corelog" topic delete -b "127.0.0.1:$1" "${topics[@]}" >"$work/delete.txt" 2>&1 ||
        failed "topics cannot be deleted: $(tail -1 "$work/delete.txt")"
}

# ---------------------------------------------------------------- both

# Whether the ledger finds what a lesser promise lost: a method that never finds anything is worth nothing.
finds_loss() { # durability, data folder, port, what takes the broker down...
    local durability=$1 data=$2 at=$3 status=0
    shift 3
    start_broker "$data" "$at" --durability "$durability"
    await_broker "$at"
    start_load "$at" 60
    pause_between 500 1500
    "$@"
    # The ledger is written ten times a second, and what came before the crash counts.
    pause_between 300 300
    kill -KILL "$load_pid"
    wait "$load_pid" 2>/dev/null || true
    load_pid=''
    start_broker "$data" "$at" --durability "$durability"
    await_broker "$at"
    verify "$at" "$work/ledger" || status=$?
    kill_broker
    [ $status -eq 3 ]
}

# Ends what was started, by its number.
end_processes() { # others...
    local pid
    for pid in $broker_pid $load_pid $side_pid "$@"; do
        [ -n "$pid" ] || continue
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    broker_pid='' load_pid='' side_pid=''
}

# Waits until the load goes on after a crash. On a busy machine that takes a while, and a crash before it would hit nothing.
await_full_way() {
    local sent give_up=$(($(now_ms) + 5000))
    sent=$(sent_so_far)
    # What was sent before the crash may not have been written down yet.
    pause_between 150 150
    while [ "$(sent_so_far)" -le "$sent" ]; do
        [ "$(now_ms)" -lt $give_up ] || return 0
        sleep 0.03
    done
    under_load=$((under_load + 1))
}

# Sleeps until the next crash, such that all of them fit into what is left of the load, about. A quarter of them hit
# the broker while it is still starting, the others while it takes records.
await_crash_moment() { # crashes left, what a crash costs beside the wait (ms), port
    local most=$((2 * ((load_end - $(now_ms)) / $1 - $2)))
    most=$((most > 1500 ? 1500 : most < 200 ? 200 : most))
    if [ $((RANDOM % 4)) -eq 0 ]; then
        pause_between 0 30
        [ "$(grep -c ' ready ' "$broker_log")" -ge $shards ] || in_recovery=$((in_recovery + 1))
    else
        await_broker "$3"
        await_full_way
        pause_between 0 $most
    fi
}
