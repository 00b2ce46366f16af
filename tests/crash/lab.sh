# What the crash tests share; sourced, not run. Needs $work, the folder of one run, and a `failed` that is called
# with what is wrong and does not return.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/release
corelog=${CORELOG:-$target/corelog} perf=${CORELOG_PERF:-$target/corelog-perf}
# The broker takes CORELOG_ for settings of its own.
unset CORELOG CORELOG_PERF
RATE=${RATE:-8000} RECORD_BYTES=${RECORD_BYTES:-100-900} TOPICS=${TOPICS:-2} PARTITIONS=${PARTITIONS:-8}
SEED=${SEED:-$RANDOM}
export CORELOG_LOG_SEGMENT_BYTES=${SEGMENT:-512KiB}
broker_pid='' load_pid='' starts=0 in_recovery=0

need_binaries() {
    local binary
    for binary in "$corelog" "$perf"; do
        [ -x "$binary" ] || { echo "no $binary: cargo build --release --workspace, or say CORELOG=, CORELOG_PERF=" >&2; exit 2; }
    done
    command -v python3 >/dev/null || { echo "lacks python3" >&2; exit 2; }
    RANDOM=$SEED
    # Recovery that must go on where it stopped, where the broker has it.
    if "$corelog" serve --help | grep -q -e --recovery-scan-bytes-max; then
        export CORELOG_RECOVERY_SCAN_BYTES_MAX=${SCAN:-1MiB}
    fi
    cpus=0 shards=1
    if [ "$(nproc)" -gt 1 ]; then cpus=0-1 shards=2; fi
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
        --producers 2 -c 2 --rate "$RATE" -s "$RECORD_BYTES" --batch-bytes 16384 --warm-up 0 -d "$2s" --drain 60s \
        --seed "$SEED" --ledger "$work/ledger" -o "$work" --name load </dev/null >"$work/load.txt" 2>&1 &
    load_pid=$!
    until grep -qs '"sequences":[1-9]' "$work/ledger"; do
        kill -0 "$load_pid" 2>/dev/null || { tail -5 "$work/load.txt" >&2; failed "the load did not start"; }
        sleep 0.02
    done
}

load_is_on() { kill -0 "$load_pid" 2>/dev/null; }

# Waits for the load's end and prints its verdict; false if the ledger, or an error, says no.
await_load() {
    wait "$load_pid" || true
    load_pid=''
    [ -s "$work/load.json" ] || { tail -5 "$work/load.txt" >&2; return 1; }
    python3 - "$work/load.json" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
found, produced, consumed = report["verified"], report["produced"], report["consumed"]
# Latencies do not matter here, so neither does a generator that was late.
wrong = [why for why in report["invalid"] if not why.startswith("the generator fell behind")]
for name in ["lost", "duplicated", "reordered", "damaged", "foreign"]:
    if found[name]:
        wrong.append(f"{found[name]} {name}")
wrong += found["examples"]
print(f"load: {found['records']:,} records read, {produced['retries']:,} retries, "
      f"{produced['errors'] + consumed['errors']} errors: {'; '.join(wrong) or 'all is well'}")
sys.exit(bool(wrong))
END
}

# All partitions from start to end, held against a ledger; 3: a record is missing or wrong.
verify() { # port, ledger
    timeout "${VERIFY_SECONDS:-300}" "$perf" verify "$2" -b "127.0.0.1:$1" 2>"$work/verify.err" >"$work/verify.json"
}

verified_words() {
    if [ -s "$work/verify.json" ]; then
        python3 -c 'import json, sys
found = json.load(open(sys.argv[1]))
print(", ".join(f"{found[name]:,} {name}" for name in ["records", "lost", "duplicated", "reordered", "damaged"]),
    *found["examples"][:3], sep="; ")' "$work/verify.json"
    else
        tail -1 "$work/verify.err"
    fi
}

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
    for pid in $broker_pid $load_pid "$@"; do
        [ -n "$pid" ] || continue
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    broker_pid='' load_pid=''
}

# Sleeps until the next crash, such that all of them fit into what is left of the load, about. A quarter of them hit
# the broker while it is still starting.
await_crash_moment() { # crashes left, when the load ends (ms), what a crash costs beside the wait (ms), port
    local most=$((2 * (($2 - $(now_ms)) / $1 - $3)))
    most=$((most > 1500 ? 1500 : most < 200 ? 200 : most))
    if [ $((RANDOM % 4)) -eq 0 ]; then
        pause_between 0 30
        [ "$(grep -c ' ready ' "$broker_log")" -ge $shards ] || in_recovery=$((in_recovery + 1))
    else
        await_broker "$4"
        pause_between 100 $most
    fi
}
