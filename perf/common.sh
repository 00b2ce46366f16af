# What perf/bars, perf/soak and perf/scaling share: settings that are checked, a broker on some CPUs and a generator on
# another, runs whose reports are kept small, and an end to all that was started. To be sourced, in the root of the tree and
# under `set -euo pipefail`. Scripts set `reports` and `work_dir` before `begin`, `warm_up` and `seconds` before `measure`.
bin=${CARGO_TARGET_DIR:-target}/release
# CPUs of the broker, one shard on each, with commas between them; and the generator's.
broker_cpus=0 generator_cpu=1
work='' broker='' peer='' reader='' broker_port='' admin_port=''
# The variables that hold processes, in the order in which they are ended.
processes=(reader peer broker)

# The comment at the head of the script.
usage() {
    sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//p}' "perf/${0##*/}" >&2
    exit 2
}

# Takes arguments NAME=VALUE into the environment, if `settings` has the name.
take_settings() { # arguments...
    local setting name
    for setting in "$@"; do
        name=${setting%%=*}
        if [ "$name" = "$setting" ] || [[ " ${settings[*]} " != *" $name "* ]]; then
            echo "perf/${0##*/}: '$setting' is no setting; there are ${settings[*]}, each as NAME=VALUE" >&2
            exit 2
        fi
        export "${setting?}"
    done
}

check_whole() { # name, value, least, most
    if [[ ! $2 =~ ^(0|[1-9][0-9]{0,9})$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        echo "perf/${0##*/}: $1=$2: a whole number from $3 to $4 is possible" >&2
        exit 2
    fi
}

check_durability() { # value
    case $1 in
    fsync | write | memory) ;;
    *)
        echo "perf/${0##*/}: DURABILITY=$1: fsync, write and memory are possible" >&2
        exit 2
        ;;
    esac
}

# Ends a process that the script has started, by its id, which the named variable holds.
end_process() { # variable
    local -n process=$1
    [ -n "$process" ] || return 0
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
    process=''
}
end() {
    local name
    for name in "${processes[@]}"; do end_process "$name"; done
    [ -z "$work" ] || rm -rf "$work"
}
trap end EXIT

begin() { # name: builds, and makes room for reports and data
    cargo build --release --workspace >&2
    mkdir -p "$reports/$1" "$work_dir"
    out=$(cd "$reports/$1" && pwd)
    rm -f "$out"/*.json
    work=$(mktemp -d "$(cd "$work_dir" && pwd)/perf-$1.XXXXXX")
    # A thousand connections and more on both sides.
    ulimit -n "$(ulimit -H -n)"
}

# The first of so many ports in a row that nobody listens on. Those above 32767 are the kernel's to give to outgoing
# connections.
free_port() { # first, how many
    local port=$1 count=${2:-1} at=0 taken
    taken=$({ cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true; } | awk '$4 == "0A" { print substr($2, length($2) - 3) }')
    while [ "$at" -lt "$count" ]; do
        if grep -qx "$(printf '%04X' $((port + at)))" <<<"$taken"; then
            port=$((port + at + 1)) at=0
        else
            at=$((at + 1))
        fi
    done
    echo "$port"
}

# Until a process says something, which must be new in its file.
wait_for() { # pid, words, file
    until grep -q "$2" "$3" 2>/dev/null; do
        kill -0 "$1" 2>/dev/null || { cat "$3" >&2; exit 1; }
        sleep 0.1
    done
}

# A new broker without data. With per-core endpoints each shard has a port behind the common one.
start_broker() { # flags...
    local shards
    IFS=, read -ra shards <<<"$broker_cpus"
    rm -rf "$work/data" "$work/log"
    broker_port=$(free_port 29600 $((${#shards[@]} + 1))) admin_port=$(free_port 29700)
    taskset -c "$broker_cpus" "$bin/corelog" serve --cpus "$broker_cpus" --data-dir "$work/data" \
        --listen 127.0.0.1:"$broker_port" --admin-listen 127.0.0.1:"$admin_port" "$@" 2>"$work/log" &
    broker=$!
    wait_for "$broker" ' ready ' "$work/log"
}

stop_broker() {
    end_process broker
    rm -rf "$work/data"
    # What the file system still does for gigabytes that went should not be the next run's.
    sync -f "$work"
    sleep 1
}

# The line of a run of the generator, to be executed.
running() { # port, name, label, flags...
    line=(taskset -c "$generator_cpu" "$bin/corelog-perf" run -b 127.0.0.1:"$1" --cpus "$generator_cpu"
        --broker-cpus "$broker_cpus" --name "$2" -l "$3" --warm-up "${warm_up}s" -d "${seconds}s" --out "$work/reports"
        "${@:4}")
}

# One run of the generator; its report is kept as NAME.json, without the histograms of each second.
measure() { # port, name, label, flags...
    local status=0
    running "$@"
    "${line[@]}" >"$work/out" 2>"$work/err" || status=$?
    finish "$2" $status
}

finish() { # name, status of the generator, whose output is in the files out and err
    # 3: the run came to an end that does not count; the table says so.
    [ "$2" -eq 0 ] || [ "$2" -eq 3 ] || { cat "$work/out" "$work/err" >&2; exit "$2"; }
    echo "$1: $(head -1 "$work/out")" >&2
    python3 perf/bars-tools.py keep "$work/reports/$1.json" "$out/$1.json"
}
