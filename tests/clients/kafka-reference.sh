#!/usr/bin/env bash
# A real Apache Kafka on loopback, from Maven Central's artifacts, to compare with: needs Java 17 and Maven.
#
#   kafka-reference.sh get             download the jars into $HOME_DIR/libs (does nothing if they are there)
#   kafka-reference.sh start           format (first time) and start NODES combined broker+controller processes
#   kafka-reference.sh stop            stop them;  wipe: stop and remove their data
#   kafka-reference.sh run DIR PORT    one broker in the foreground, its log directory DIR; ends with this process
#   kafka-reference.sh tool CLASS ...  run a class with the jars, say org.apache.kafka.tools.ProducerPerformance
#   kafka-reference.sh classpath       print the class path
#
# Environment: HOME_DIR (default $CORELOG_LAB_DIR/kafka, and that /work/lab-cache or the temporary folder),
# KAFKA_VERSION (default 4.3.1: 4.4.0's kafka-tools was not on Maven Central yet), LOG4J_VERSION (default 2.25.4),
# NODES (1 or 3, default 1), PORT (first broker's, default 9092; node n is at PORT+n-1, its controller at
# PORT+100+n-1), HEAP (default 1g), AUTO_CREATE (default true), EXTRA (lines for server.properties, \n between them;
# say 'log.flush.interval.messages=1' for an fsync a write). Everything binds to 127.0.0.1.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lab.sh"
HOME_DIR=${HOME_DIR:-$LAB/kafka}
KAFKA_VERSION=${KAFKA_VERSION:-4.3.1} LOG4J_VERSION=${LOG4J_VERSION:-2.25.4}
NODES=${NODES:-1} PORT=${PORT:-9092} HEAP=${HEAP:-1g} AUTO_CREATE=${AUTO_CREATE:-true}
RF=$NODES
[ "$NODES" -ge 3 ] && RF=3
libs=$HOME_DIR/libs

dep() { # artifact, [group], [version], [classifier]
  printf '    <dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>%s</dependency>\n' \
    "${2:-org.apache.kafka}" "$1" "${3:-$KAFKA_VERSION}" "${4:+<classifier>$4</classifier>}"
}

get() {
  local binding=${1:-log4j-slf4j-impl} l=org.apache.logging.log4j
  [ "$(cat "$libs/.version" 2>/dev/null)" = "$KAFKA_VERSION" ] && return
  mkdir -p "$HOME_DIR"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '  <groupId>local</groupId><artifactId>kafka-reference</artifactId><version>1</version><packaging>pom</packaging>'
    echo '  <dependencies>'
    for a in kafka_2.13 kafka-tools kafka-clients; do dep $a; done
    for a in log4j-api log4j-core "$binding"; do dep "$a" $l "$LOG4J_VERSION"; done
    echo '  </dependencies>'
    echo '</project>'
  } >"$HOME_DIR/pom.xml"
  rm -rf "$libs.new"
  (cd "$HOME_DIR" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs.new")
  # slf4j-api 2 finds its binding in log4j-slf4j2-impl, slf4j-api 1.7 in log4j-slf4j-impl; there may be only one.
  if ls "$libs.new"/slf4j-api-2* >/dev/null 2>&1 && [ "$binding" = log4j-slf4j-impl ]; then get log4j-slf4j2-impl; return; fi
  echo "$KAFKA_VERSION" >"$libs.new/.version"
  rm -rf "$libs" && mv "$libs.new" "$libs"
  echo "$(ls "$libs" | wc -l) jars in $libs" >&2
}

log_config() { # To the error stream: what a tool prints is its answer.
  [ -f "$HOME_DIR/log4j2.properties" ] || cat >"$HOME_DIR/log4j2.properties" <<'X'
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
X
}

run_java() { java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" -Dlog4j2.configurationFile="$HOME_DIR/log4j2.properties" "$@"; }

# Writes a node's settings and formats its directory the first time. node, directory, broker's port, voters
prepare() {
  local n=$1 dir=$2 p=$3 voters=$4 conf=$2.properties
  cat >"$conf" <<X
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$p,CONTROLLER://127.0.0.1:$((p + 100))
advertised.listeners=PLAINTEXT://127.0.0.1:$p
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir
auto.create.topics.enable=$AUTO_CREATE
default.replication.factor=$RF
offsets.topic.replication.factor=$RF
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=$RF
transaction.state.log.min.isr=$((RF > 1 ? 2 : 1))
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=$RF
share.coordinator.state.topic.min.isr=$((RF > 1 ? 2 : 1))
share.coordinator.state.topic.num.partitions=8
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
X
  [ -n "${EXTRA:-}" ] && printf "$EXTRA\n" >>"$conf"
  [ -f "$HOME_DIR/cluster.id" ] || run_java kafka.tools.StorageTool random-uuid | tail -1 >"$HOME_DIR/cluster.id"
  # Static voters in the file, so no --standalone here.
  [ -f "$dir/meta.properties" ] || run_java kafka.tools.StorageTool format -t "$(cat "$HOME_DIR/cluster.id")" -c "$conf" >"$dir.format" 2>&1 ||
    { cat "$dir.format" >&2; return 1; }
}

server() { # settings
  exec java -Xms"$HEAP" -Xmx"$HEAP" -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$HOME_DIR/log4j2.properties" -cp "$libs/*" kafka.Kafka "$1"
}

start() {
  local n voters= pid
  for n in $(seq 1 "$NODES"); do voters+=${voters:+,}$n@127.0.0.1:$((PORT + 100 + n - 1)); done
  for n in $(seq 1 "$NODES"); do
    if [ -f "$HOME_DIR/node$n.pid" ] && kill -0 "$(cat "$HOME_DIR/node$n.pid")" 2>/dev/null; then continue; fi
    prepare "$n" "$HOME_DIR/node$n" "$((PORT + n - 1))" "$voters"
    (server "$HOME_DIR/node$n.properties") </dev/null >"$HOME_DIR/node$n.log" 2>&1 &
    echo $! >"$HOME_DIR/node$n.pid"
  done
  for n in $(seq 1 "$NODES"); do
    pid=$(cat "$HOME_DIR/node$n.pid")
    wait_port "$((PORT + n - 1))" "$pid" || { tail -20 "$HOME_DIR/node$n.log" >&2; return 1; }
  done
  echo "BOOTSTRAP=127.0.0.1:$PORT"
}

stop() {
  local f
  for f in "$HOME_DIR"/node*.pid; do
    [ -f "$f" ] || continue
    kill "$(cat "$f")" 2>/dev/null || true
    for _ in $(seq 1 60); do kill -0 "$(cat "$f")" 2>/dev/null || break; sleep 0.5; done
    rm -f "$f"
  done
}

case ${1:-} in
  get) get ;;
  start) get; log_config; start ;;
  stop) stop ;;
  wipe) stop; rm -rf "$HOME_DIR"/node* "$HOME_DIR/cluster.id" ;;
  run) get; log_config; prepare 1 "${2%/}" "$3" "1@127.0.0.1:$(($3 + 100))"; server "${2%/}.properties" ;;
  tool) shift; get; log_config; run_java "$@" ;;
  classpath) get; log_config; echo "$libs/*" ;;
  *) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
