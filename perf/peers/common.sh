# What the peers' scripts share; sourced, not run. A server lives in a folder DIR that the caller names: DIR/data holds
# its data, DIR/log what it printed, DIR/port its port, DIR/fsync whether each acknowledgement waits for the disk, and
# DIR/pid its process id and the time it started, so that an id that was used again is never taken for ours. Nothing
# outside DIR and the cache is written, and nothing in DIR/data is ever removed.
# shellcheck disable=SC2034 # What is read here is used by the scripts that source this.
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/clients/lab.sh
. "$peers/../../tests/clients/lab.sh" # $LAB, the cache, and `lacks`

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Prints the comment at the head of the script and ends.
usage() {
    sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# Reads `DIR PORT [--cpus LIST] [--fsync] [--heap SIZE]` into dir, port, cpus, fsync and heap.
parse_start() {
    [ $# -ge 2 ] || usage
    port=$2 cpus='' fsync=no
    if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65000 ]; then
        die "the port must be 1 to 65000, not '$port'"
    fi
    dir=$1
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            --cpus) [ $# -ge 2 ] || die "--cpus needs a list of CPUs, say 0 or 0,2-3"; cpus=$2; shift 2 ;;
            --fsync) fsync=yes; shift ;;
            --heap)
                [ -n "${heap:-}" ] || die "--heap is for peers that run on a JVM"
                [[ ${2:-} =~ ^[1-9][0-9]*[kmgKMG]$ ]] || die "--heap needs a size, say 1g"
                heap=$2
                shift 2
                ;;
            *) die "unknown option '$1'" ;;
        esac
    done
    if running_pid "$dir" >/dev/null; then die "a server already runs in $dir"; fi
    if listens "$port"; then die "something listens on port $port already"; fi
    mkdir -p "$dir/data"
    dir=$(cd "$dir" && pwd)
}

# Whether somebody listens on a port, without a connection: to connect where nobody listens can take the port, if it is
# one that the kernel gives to outgoing connections, and then the server cannot have it.
listens() { # port
    awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 }
        END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# When the process started, in clock ticks since boot; fails if there is none. The name may have spaces: cut it first.
started_at() { # pid
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] || return 1
    echo "${fields[19]}"
}

# Prints the id of the server that runs in a folder; fails if none does.
running_pid() { # dir
    local pid started
    [ -f "$1/pid" ] && read -r pid started <"$1/pid" && [ "$(started_at "$pid")" = "$started" ] && echo "$pid"
}

# Starts a command as the server of $dir, pinned to $cpus, waits until it listens and `ready PORT` succeeds, and prints
# its id. If it ends before that, or `limit` seconds pass, what its log says is shown and it is stopped.
launch() { # limit, command...
    local limit=$1 pid end
    shift
    [ -z "$cpus" ] || set -- taskset --cpu-list "$cpus" "$@"
    echo "$port" >"$dir/port"
    echo "$fsync" >"$dir/fsync"
    setsid "$@" </dev/null >"$dir/log" 2>&1 & # In a script's background setsid does not fork: the id stays.
    pid=$!
    echo "$pid $(started_at "$pid")" >"$dir/pid"
    end=$((SECONDS + limit))
    until listens "$port" && ready "$port"; do
        if ! running_pid "$dir" >/dev/null; then give_up "ended before it answered"; fi
        if [ "$SECONDS" -ge "$end" ]; then give_up "did not answer within $limit s"; fi
        sleep 0.2
    done
    # What answered must be what was started, not another that took the port meanwhile.
    running_pid "$dir" >/dev/null || give_up "ended, and something else answers on port $port"
    echo "$pid"
}

give_up() { # reason
    echo "--- the first errors in $dir/log" >&2
    grep -E -m 5 'ERROR|FATAL|\[FTL\]' "$dir/log" >&2 || true
    echo "--- its end" >&2
    tail -n 30 "$dir/log" >&2
    echo "---" >&2
    stop "$dir" || true
    die "the server $1"
}

# Ends the server of a folder by its id: SIGTERM, and SIGKILL (which is an error) after 60 s. None there is no error.
stop() { # dir
    local pid end
    if ! pid=$(running_pid "$1"); then
        rm -f "$1/pid"
        return 0
    fi
    kill -TERM "$pid" 2>/dev/null || true
    end=$((SECONDS + 60))
    while running_pid "$1" >/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            kill -KILL "$pid" 2>/dev/null || true
            rm -f "$1/pid"
            echo "process $pid did not end within 60 s of SIGTERM and was killed" >&2
            return 1
        fi
        sleep 0.1
    done
    rm -f "$1/pid"
}

# The sub-commands that are the same for every peer.
stop_or_pid() { # stop|pid DIR
    [ $# -eq 2 ] || usage
    case $1 in
        stop) [ -d "$2" ] || die "$2 is not a folder"; stop "$2" ;;
        pid) running_pid "$2" || die "no server runs in $2" ;;
    esac
}

# Reads `DIR [--cpus LIST] [--seconds N]` into dir, cpus and seconds, and the server's id, port and fsync.
parse_bench() {
    [ $# -ge 1 ] || usage
    dir=$1 cpus='' seconds=10
    shift
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
            --cpus) cpus=$2 ;;
            --seconds) [[ $2 =~ ^[1-9][0-9]*$ ]] || die "--seconds needs a whole number"; seconds=$2 ;;
            *) die "unknown option '$1'" ;;
        esac
        shift 2
    done
    pid=$(running_pid "$dir") || die "no server runs in $dir"
    port=$(cat "$dir/port") fsync=$(cat "$dir/fsync")
    pin=()
    [ -z "$cpus" ] || pin=(taskset --cpu-list "$cpus")
}
