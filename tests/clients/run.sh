#!/usr/bin/env bash
# Stock clients against a running broker, lane by lane.
#
#   run.sh                      all lanes but those run by name only, against this repository's release build
#   run.sh python kcat          just these
#   run.sh list                 the lanes
#
# Environment:
#   BROKER_CMD   how to start the broker, with DIR, PORT and ENDPOINTS in it (default: target/release/corelog serve ...)
#   BOOTSTRAP    a broker that runs already; lanes that must start or end one are then skipped
#   MODES        endpoint modes, each of which the client lanes run in (default "per-core shared")
#   RESTART_CMD  another command line for flights-restart (default: BROKER_CMD with --cpus 0)
#   WITHOUT      what the broker has not got yet (default txn; empty for all)
#   TOGETHER, SECONDS_EACH, JOBS, RATE, SEED ...    of the lane groups: see groups/workload.py. Here all groups run at
#                a time, for 45 s in each mode; TOGETHER=no runs them four at a time, faster and for longer
#   BROKER_BIN   another binary than target/release/corelog
#   CORELOG_LAB_DIR, where all that is fetched goes; FLIGHTS, flights.csv.zip
#
# A lane whose runtime is missing is skipped, with a line that says so; with CI=true it fails.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/lab.sh"
binary=${BROKER_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/corelog}
BROKER_CMD=${BROKER_CMD:-$binary serve --data-dir DIR --listen 127.0.0.1:PORT --endpoints ENDPOINTS}
MODES=${MODES:-per-core shared}
export WITHOUT=${WITHOUT-txn}
passed=0 failed=0 skipped=0 summary=()

declare -A about=(
  [oracle]="raw requests, answers compared with Apache Kafka's"
  [kcat]="kcat" [python]="confluent-kafka, kafka-python, aiokafka" [kafkajs]="kafkajs, @platformatic/kafka"
  [java]="the Java client" [go]="franz-go, sarama" [tools]="Apache Kafka's console tools, kafka-dump-log on what they wrote"
  [compatibility]="every method of Java's Admin, compared with Apache Kafka's answers"
  [groups]="groups of every client whose members come, go, are killed and paused, in both endpoint modes"
  [quickstart]="the quickstarts of Kafka and of Kafka Streams, word for word, in both endpoint modes"
  [dump-log]="kafka-dump-log on sealed segments after a clean stop"
  [flights]="all flights through every client, read back by another"
  [flights-kill]="the same, with the broker killed in the middle"
  [flights-restart]="read again after restarts with other cores"
  [adopt]="a log directory written by Apache Kafka is served"
  [hostile]="bad input, latency and memory watched")
client_lanes=(oracle kcat python kafkajs java go tools)
own_lanes=(compatibility dump-log flights flights-kill flights-restart adopt hostile)
named_lanes=(groups quickstart) # by name only: they take minutes

command_for() { echo "${BROKER_CMD//ENDPOINTS/$1}"; } # mode

start_broker() { # mode
  broker_dir=$(mktemp -d "${TMPDIR:-/tmp}/corelog-run-XXXXXX")
  port=$(python3 -c "import sys; sys.path.insert(0, '$here'); import managed; print(managed.free_port())")
  local line
  line=$(command_for "$1"); line=${line//DIR/$broker_dir/data}; line=${line//PORT/$port}
  # Word by word, as a shell would.
  bash -c "exec $line" </dev/null >"$broker_dir/broker.log" 2>&1 &
  broker_pid=$!
  export BOOTSTRAP=127.0.0.1:$port
  wait_port "$port" "$broker_pid" && return 0
  echo "FAIL the broker did not start: $line"; head -5 "$broker_dir/broker.log"
  kill -KILL "$broker_pid" 2>/dev/null
  broker_pid=
  return 1
}
end_broker() { # SIGTERM, and its exit code is looked at
  [ -n "${broker_pid:-}" ] || return 0
  local status=0
  kill -TERM "$broker_pid" 2>/dev/null
  for _ in $(seq 1 300); do kill -0 "$broker_pid" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$broker_pid" 2>/dev/null && echo "FAIL the broker did not stop within 30 s of SIGTERM" && failed=$((failed + 1))
  wait "$broker_pid" 2>/dev/null || status=$?
  broker_pid=
  case $status in 0 | 143 | 137) ;; *) failed=$((failed + 1)); echo "FAIL the broker's exit code: $status"; tail -5 "$broker_dir/broker.log" ;; esac
  unset BOOTSTRAP
}
trap '[ -n "${broker_pid:-}" ] && kill -KILL "$broker_pid" 2>/dev/null; [ -n "${broker_dir:-}" ] && rm -rf "$broker_dir"' EXIT

lane_oracle() { python3 "$here/oracle.py" compare; }
lane_kcat() { need_kcat && "$here/kcat.sh"; }
lane_python() { "$PYTHON" "$here/python-clients.py" 2>"$LAB/python.stderr"; }
lane_kafkajs() { NODE_DEPS=$LAB/node node "$here/kafkajs.mjs"; }
lane_java() { java -Xmx384m -XX:+UseSerialGC -cp "$JAVA_CLASSPATH" lab.Driver; }
lane_go() {
  "$LAB/go/franz" >"$LAB/franz.out"; "$LAB/go/sarama" >"$LAB/sarama.out"
  grep -hvE '^[0-9]+ passed' "$LAB/franz.out" "$LAB/sarama.out"
  awk '/^[0-9]+ passed/ {p += $1; f += $3; n++} END {if (n < 2) f++; printf "%d passed, %d failed\n", p, f}' "$LAB/franz.out" "$LAB/sarama.out"
}
lane_tools() { LOG_DIR=${broker_dir:+$broker_dir/data} "$here/kafka-tools.sh"; }
lane_dump-log() {
  start_broker per-core || return 1
  # Small segments of every codec, from clients, sealed by size and by the stop.
  local t=dump-$$ tool=("$here/kafka-reference.sh" tool)
  "${tool[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP" --create --topic $t --partitions 1 --replication-factor 1 --config segment.bytes=1048576 >&2
  for codec in none gzip snappy lz4 zstd; do
    "${tool[@]}" org.apache.kafka.tools.ProducerPerformance --topic $t --num-records 6000 --record-size 500 --throughput -1 \
      --producer-props bootstrap.servers="$BOOTSTRAP" compression.type=$codec >&2
  done
  local data=$broker_dir/data files=() f
  end_broker >&2
  for f in "$data"/$t-0/*.log "$data"/$t-0/*.index "$data"/$t-0/*.timeindex; do [ -s "$f" ] && files+=("$f"); done
  ls -l "$data/$t-0" >&2
  "$here/kafka-tools.sh" dump "${files[@]}"
}
lane_flights() { BROKER_CMD=$(command_for per-core) python3 "$here/flights.py" produce; }
lane_flights-kill() { BROKER_CMD=$(command_for per-core) python3 "$here/flights.py" kill; }
lane_flights-restart() {
  local command
  command=$(command_for per-core)
  BROKER_CMD=$command RESTART_CMD=${RESTART_CMD:-$command --cpus 0} python3 "$here/flights.py" restart
}
lane_adopt() {
  [ -f "$LAB/adopt/expected.json" ] || python3 "$here/adopt.py" make "$LAB/adopt" >&2 || return 1
  BROKER_CMD=$(command_for per-core) python3 "$here/adopt.py" check "$LAB/adopt"
}
lane_groups() {
  export TOGETHER=${TOGETHER:-yes}
  # A member of a group of KIP-848 has the broker's session timeout: a pause is to be longer. With all groups at a time
  # on two cores, a process that runs may stand still for seconds.
  local session=8
  [ "$TOGETHER" = yes ] && session=12 && export SECONDS_EACH=${SECONDS_EACH:-45}
  export CORELOG_GROUPS_CONSUMER_SESSION_TIMEOUT_MS=${session}s CORELOG_GROUPS_CONSUMER_HEARTBEAT_INTERVAL_MS=2s
  export CORELOG_GROUPS_CONSUMER_SESSION_TIMEOUT_MS_MIN=${session}s CORELOG_GROUPS_CONSUMER_HEARTBEAT_INTERVAL_MS_MIN=2s
  local kafka="group.consumer.session.timeout.ms=${session}000\\ngroup.consumer.heartbeat.interval.ms=2000"
  kafka+="\\ngroup.consumer.min.session.timeout.ms=${session}000\\ngroup.consumer.min.heartbeat.interval.ms=2000"
  export EXTRA=${EXTRA:-$kafka} # of kafka-reference.sh
  export JAVA_CLASSPATH=${JAVA_CLASSPATH:-} NODE_DEPS=$LAB/node GO_BIN=$LAB/go
  in_each_mode "$PYTHON" "$here/groups/workload.py"
}
lane_quickstart() { in_each_mode "$here/quickstart.sh"; }
in_each_mode() { # command: its broker is watched as well
  local modes=$MODES mode p=0 f=0 s=0 counts before out=$LAB/mode.out
  [[ $BROKER_CMD == *ENDPOINTS* ]] || modes=once
  for mode in $modes; do
    start_broker "$mode" || { f=$((f + 1)); continue; }
    "$@" >"$out"
    grep -vE '^[0-9]+ passed' "$out" | sed -E "s/^(ok  |FAIL|skip) /\1 $mode /"
    counts=$(grep -E '^[0-9]+ passed' "$out" || echo "0 passed, 1 failed")
    p=$((p + $(cut -d' ' -f1 <<<"$counts"))) f=$((f + $(cut -d' ' -f3 <<<"$counts")))
    [[ $counts == *skipped* ]] && s=$((s + $(cut -d' ' -f5 <<<"$counts")))
    before=$failed
    grep -E 'panicked|ERROR' "$broker_dir/broker.log" | head -3 | sed 's/^/FAIL the broker said: /'
    grep -qE 'panicked|ERROR' "$broker_dir/broker.log" && f=$((f + 1))
    end_broker
    f=$((f + failed - before))
  done
  echo "$p passed, $f failed, $s skipped"
}
lane_compatibility() { BROKER_CMD=$(command_for per-core) python3 "$here/compatibility.py" compare; }
lane_hostile() { BROKER_CMD=$(command_for per-core) python3 "$here/hostile.py"; }

need_for() { # lane: makes what it needs
  case $1 in
    oracle | hostile) ! lacks python3 ;;
    kcat) need_kcat ;;
    python) need_python ;;
    kafkajs) need_node ;;
    java) need_java ;;
    compatibility) need_java && need_kafka ;;
    go) need_go ;;
    groups) need_python && { need_java; need_node; need_go; } || [ "${CI:-}" != true ] ;; # skips the groups of a missing one
    tools | dump-log | adopt) need_kafka ;;
    quickstart) need_kafka && "$here/quickstart.sh" get ;;
    flights*) need_python; need_java; need_go; need_kcat; ! lacks python3 ;; # a missing one skips its part
  esac
}

run_lane() { # lane, what to call it
  local lane=$1 name=$2 started=$SECONDS last out=$LAB/lane.out
  echo "=== $name: ${about[$lane]}"
  if ! need_for "$lane" 2>"$LAB/need.err"; then
    local why
    why=$(tail -3 "$LAB/need.err" | tr '\n' ' ')
    if [ "${CI:-}" = true ]; then
      failed=$((failed + 1)); echo "FAIL $name: $why"; summary+=("$name: 0 passed, 1 failed: $why")
    else
      skipped=$((skipped + 1)); echo "skip $name: $why"; summary+=("$name: skipped: $why")
    fi
    return
  fi
  lane_"$lane" 2>"$LAB/lane.err" | tee "$out" | sed -E "s/^([0-9]+ passed, )/$name: \1/"
  last=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -1)
  if [ -z "$last" ]; then
    failed=$((failed + 1)); echo "FAIL $name ended without a count:"; tail -5 "$LAB/lane.err"; last="0 passed, 1 failed"
  else
    passed=$((passed + $(cut -d' ' -f1 <<<"$last"))); failed=$((failed + $(cut -d' ' -f3 <<<"$last")))
    [[ $last == *skipped* ]] && skipped=$((skipped + $(cut -d' ' -f5 <<<"$last")))
  fi
  summary+=("$name: $last ($((SECONDS - started)) s)")
}

chosen=("$@")
[ $# -eq 0 ] || [ "$1" = all ] && chosen=("${client_lanes[@]}" "${own_lanes[@]}")
if [ "${1:-}" = list ]; then
  for lane in "${client_lanes[@]}" "${own_lanes[@]}" "${named_lanes[@]}"; do printf '%-16s %s\n' "$lane" "${about[$lane]}"; done
  exit 0
fi
for lane in "${chosen[@]}"; do
  [ -n "${about[$lane]:-}" ] || { echo "no lane '$lane'; there are: ${client_lanes[*]} ${own_lanes[*]} ${named_lanes[*]}" >&2; exit 2; }
done

clients=() own=()
for lane in "${chosen[@]}"; do
  if [[ " ${client_lanes[*]} " == *" $lane "* ]]; then clients+=("$lane"); else own+=("$lane"); fi
done
if [ -n "${BOOTSTRAP:-}" ]; then
  for lane in ${clients[@]+"${clients[@]}"}; do run_lane "$lane" "$lane"; done
  for lane in ${own[@]+"${own[@]}"}; do skipped=$((skipped + 1)); echo "skip $lane: it starts the broker itself, and BOOTSTRAP is set"; done
else
  if [ ${#clients[@]} -gt 0 ]; then
    [[ $BROKER_CMD == *ENDPOINTS* ]] || MODES=once
    for mode in $MODES; do
      # A start that fails counts; a second one is tried all the same, for what the lanes then tell.
      if start_broker "$mode" || { failed=$((failed + 1)); start_broker "$mode"; }; then
        for lane in "${clients[@]}"; do
          run_lane "$lane" "$lane-$mode"
          kill -0 "$broker_pid" 2>/dev/null || { failed=$((failed + 1)); echo "FAIL the broker ended during $lane:"; tail -20 "$broker_dir/broker.log"; start_broker "$mode" || break; }
        done
        end_broker
      else
        failed=$((failed + 1)); summary+=("clients-$mode: the broker did not start")
      fi
    done
  fi
  for lane in ${own[@]+"${own[@]}"}; do run_lane "$lane" "$lane"; done
fi
echo "==="
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
