#!/usr/bin/env bash
# The quickstart of Apache Kafka's documentation, followed word for word against a running broker; with it the quickstart
# of Kafka Streams, which its step 7 leads to, and what the page on operations shows of kafka-consumer-groups.
#
#   BOOTSTRAP=localhost:9092 quickstart.sh    follow them; the broker must not have their topics yet
#   quickstart.sh get                         only fetch what they need
#
# Every command line stands below as the pages of Kafka 4.3 have it, and so does what they show. Steps 1, 2 and 8 of the
# quickstart get, start and end Kafka: the broker is there instead. What else is not as on the pages:
#   - Kafka's archive is not fetched, only its jars are, by Maven. bin/, libs/ and config/ are made here: a script in bin/
#     runs the class that Kafka's runs, on the same class path; config/ has the settings that Kafka ships.
#   - localhost:9092 is BOOTSTRAP. WordCountDemo has no option for that: unless it is localhost:9092, a file tells it.
#   - 4.3.1 is the version of the jars; in the lines on groups, topic1 is quickstart-events, which they read.
#   - What would lie in /tmp, and Connect's port 8083, are this run's own, so that no other run is in the way.
#   - The first producer ends with its input. What is ended with Ctrl-C is sent SIGTERM: a shell's background processes
#     ignore SIGINT, and Java's shutdown hooks are the same.
#
# Environment: BOOTSTRAP; LIMIT, how many seconds a single command or fact is waited for (default 90); those of
# kafka-reference.sh.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lab.sh"
B=${BOOTSTRAP:-localhost:9092}
B=${B/#127.0.0.1:/localhost:} # The pages' name of this host.
limit=${LIMIT:-90}
passed=0 failed=0 skipped=0

# ---------------------------------------------------------------- the pages

IFS= read -r -d '' pages <<'PAGES' || true
## step 3, create
bin/kafka-topics.sh --create --topic quickstart-events --bootstrap-server localhost:9092
## step 3, describe
bin/kafka-topics.sh --describe --topic quickstart-events --bootstrap-server localhost:9092
## step 4, write
bin/kafka-console-producer.sh --topic quickstart-events --bootstrap-server localhost:9092
## step 4, events
This is my first event
This is my second event
## step 5, read
bin/kafka-console-consumer.sh --topic quickstart-events --from-beginning --bootstrap-server localhost:9092
## step 6, plugin
echo "plugin.path=libs/connect-file-4.3.1.jar" >> config/connect-standalone.properties
## step 6, seed
echo -e "foo
bar" > test.txt
## step 6, start
bin/connect-standalone.sh config/connect-standalone.properties config/connect-file-source.properties config/connect-file-sink.properties
## step 6, look
more test.sink.txt
## step 6, lines
foo
bar
## step 6, read
bin/kafka-console-consumer.sh --bootstrap-server localhost:9092 --topic connect-test --from-beginning
## step 6, records
{"schema":{"type":"string","optional":false},"payload":"foo"}
{"schema":{"type":"string","optional":false},"payload":"bar"}
## step 6, more
echo "Another line" >> test.txt
## streams 3, create input
bin/kafka-topics.sh --create \
    --bootstrap-server localhost:9092 \
    --replication-factor 1 \
    --partitions 1 \
    --topic streams-plaintext-input
## streams 3, create output
bin/kafka-topics.sh --create \
    --bootstrap-server localhost:9092 \
    --replication-factor 1 \
    --partitions 1 \
    --topic streams-wordcount-output \
    --config cleanup.policy=compact
## streams 3, describe
bin/kafka-topics.sh --bootstrap-server localhost:9092 --describe --exclude-internal
## streams 4, start
bin/kafka-run-class.sh org.apache.kafka.streams.examples.wordcount.WordCountDemo
## streams 4, write
bin/kafka-console-producer.sh --bootstrap-server localhost:9092 --topic streams-plaintext-input
## streams 4, read
bin/kafka-console-consumer.sh --bootstrap-server localhost:9092 \
    --topic streams-wordcount-output \
    --from-beginning \
    --formatter-property print.key=true \
    --formatter-property print.value=true \
    --formatter-property key.deserializer=org.apache.kafka.common.serialization.StringDeserializer \
    --formatter-property value.deserializer=org.apache.kafka.common.serialization.LongDeserializer
## streams 5, line 1
all streams lead to kafka
## streams 5, counts 1
all	    1
streams	1
lead	1
to	    1
kafka	1
## streams 5, line 2
hello kafka streams
## streams 5, counts 2
hello	1
kafka	2
streams	2
## streams 5, line 3
join kafka summit
## streams 5, counts 3
join	1
kafka	3
summit	1
## operations, groups
bin/kafka-groups.sh --bootstrap-server localhost:9092 --list
## operations, list
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --list
## operations, describe
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group my-group
## operations, members
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group my-group --members
## operations, members verbose
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group my-group --members --verbose
## operations, state
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group my-group --state
## operations, reset
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --reset-offsets --group my-group --topic topic1 --to-latest
## operations, delete groups
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --delete --group my-group --group my-other-group
## operations, delete topics
bin/kafka-topics.sh --bootstrap-server localhost:9092 --delete --topic my_topic_name
PAGES

# Not on the pages: consumers of the groups that the page on operations names, the tool's own words for --delete-offsets,
# which the page has for share groups only, and a look at what is left.
IFS= read -r -d '' added <<'ADDED' || true
## added, a member of my-group
bin/kafka-console-consumer.sh --topic quickstart-events --from-beginning --bootstrap-server localhost:9092 --group my-group
## added, my-other-group
bin/kafka-console-consumer.sh --topic quickstart-events --from-beginning --bootstrap-server localhost:9092 --group my-other-group --max-messages 2
## added, delete offsets
bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --delete-offsets --group my-group --topic topic1
## added, list topics
bin/kafka-topics.sh --bootstrap-server localhost:9092 --list
ADDED

documented() { # section: its lines, with this broker's address in them
  local demo=
  [ "$B" = localhost:9092 ] || demo=" config/wordcount.properties"
  awk -v section="## $1" '/^## /{on = $0 == section; next} on' <<<"$pages$added" |
    sed -E "s/localhost:9092/$B/g; s/4\.3\.1/$version/g; s/topic1/quickstart-events/g; s#WordCountDemo\$#&$demo#
      s/my_topic_name/'quickstart-events|connect-test|streams-.*'/"
}

# ---------------------------------------------------------------- Kafka, as its archive has it

get() { # Kafka's jars, and those of connect-file and Streams, which kafka-reference.sh does without.
  local artifacts=connect-file,kafka-streams,kafka-streams-examples,rocksdbjni artifact
  libs=$("$here/kafka-reference.sh" classpath) || return 1
  libs=${libs%/\*}
  version=$(cat "$libs/.version") || return 1
  more=$LAB/quickstart
  mkdir -p "$more"
  cat >"$more/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-quickstart</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-file</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams-examples</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
X
  fetch() {
    rm -rf "$more/libs"
    mvn -q -B -f "$more/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -DincludeArtifactIds=$artifacts -DoutputDirectory="$more/libs" || return 1
    for artifact in ${artifacts//,/ }; do ls "$more/libs/$artifact"-[0-9]*.jar || return 1; done
  }
  once "$more/.stamp" "$more/pom.xml" fetch
}

lay_out() { # into $kafka
  local name class
  mkdir -p "$kafka/bin" "$kafka/libs" "$kafka/config" "$kafka/tmp"
  ln -s "$libs"/*.jar "$more/libs"/[!c]*.jar "$kafka/libs/" && cp "$more/libs"/connect-file-*.jar "$kafka/libs/" || return 1
  # Connect finds connect-file by its plugin.path, and Kafka's own script leaves it out here too.
  cat >"$kafka/bin/kafka-run-class.sh" <<'X'
#!/bin/sh
home=$(cd "$(dirname "$0")/.." && pwd)
jars=
for jar in "$home"/libs/*.jar; do
  case $jar in */connect-file-*) ;; *) jars=$jars:$jar ;; esac
done
exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$home/tmp" \
  -Dlog4j2.configurationFile="$home/config/log4j2.properties" -cp "${jars#:}" "$@"
X
  while read -r name class; do
    cat >"$kafka/bin/$name" <<X
#!/bin/sh
exec "\$(dirname "\$0")/kafka-run-class.sh" $class "\$@"
X
  done <<'CLASSES'
kafka-topics.sh org.apache.kafka.tools.TopicCommand
kafka-console-producer.sh org.apache.kafka.tools.ConsoleProducer
kafka-console-consumer.sh org.apache.kafka.tools.consumer.ConsoleConsumer
kafka-consumer-groups.sh org.apache.kafka.tools.consumer.group.ConsumerGroupCommand
kafka-groups.sh org.apache.kafka.tools.GroupsCommand
connect-standalone.sh org.apache.kafka.connect.cli.ConnectStandalone
CLASSES
  chmod +x "$kafka"/bin/*.sh
  cp "$(dirname "$libs")/log4j2.properties" "$kafka/config/"
  cat >"$kafka/config/connect-standalone.properties" <<X
bootstrap.servers=$B
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=true
value.converter.schemas.enable=true
offset.storage.file.filename=$kafka/tmp/connect.offsets
offset.flush.interval.ms=10000
listeners=http://127.0.0.1:0
X
  printf '%s\n' name=local-file-source connector.class=FileStreamSource tasks.max=1 file=test.txt topic=connect-test \
    >"$kafka/config/connect-file-source.properties"
  printf '%s\n' name=local-file-sink connector.class=FileStreamSink tasks.max=1 file=test.sink.txt topics=connect-test \
    >"$kafka/config/connect-file-sink.properties"
  echo "bootstrap.servers=$B" >"$kafka/config/wordcount.properties"
}

# ---------------------------------------------------------------- to follow them

declare -A pids=() # of what runs beside this, by name
out= missing=

lines_of() { # section: into $lines
  lines=$(documented "$1")
  [ -n "$lines" ] || { echo "the pages have no section '$1'" >&2; exit 2; }
}
run() { # section, [its input]: as in a terminal of its own; what it prints is $out
  local lines
  lines_of "$1"
  out=$(cd "$kafka" && timeout "$limit" bash -c "$lines" <"${2:-/dev/null}" 2>"$work/run.err")
}
start() { # name, section, [its input]: a command that runs until it is stopped
  local lines
  lines_of "$2"
  (cd "$kafka" && exec bash -c "exec $lines") <"${3:-/dev/null}" >"$work/$1.out" 2>"$work/$1.err" 4>&- &
  pids[$1]=$!
}
stop() { # name...
  local name _
  for name; do [ -z "${pids[$name]:-}" ] || kill -TERM "${pids[$name]}" 2>/dev/null; done
  for name; do
    [ -n "${pids[$name]:-}" ] || continue
    for _ in $(seq 1 150); do kill -0 "${pids[$name]}" 2>/dev/null || break; sleep 0.2; done
    kill -KILL "${pids[$name]}" 2>/dev/null && echo "$name did not end within 30 s of SIGTERM" >&2
    wait "${pids[$name]}" 2>/dev/null
    unset "pids[$name]"
  done
}

ok() { passed=$((passed + 1)); echo "ok   $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
fail() { # name, what came, [whose errors]
  failed=$((failed + 1)); echo "FAIL $1: $(head -c 600 <<<"$2" | tr '\n' '~')"
  tail -n 6 "$work/${3:-run}.err" 2>/dev/null | cut -c 1-300 | sed 's/^/     stderr: /'
  return 1
}
finish() { echo "$passed passed, $failed failed, $skipped skipped"; [ $failed -eq 0 ] && [ $passed -gt 0 ]; exit; }

matches() { # pattern...: $out has a line for each
  for missing; do grep -qE -- "$missing" <<<"$out" || return 1; done
}
shows() { # name, pattern...
  local name=$1
  shift
  if matches "$@"; then ok "$name"; else fail "$name" "no /$missing/ in: $out"; fi
}
becomes() { # name, section, pattern...: what is asked again until it is so
  local name=$1 section=$2 end=$((SECONDS + limit))
  shift 2
  until run "$section" && matches "$@"; do [ $SECONDS -lt $end ] || break; done
  shows "$name" "$@"
}
arrives() { # name, text, whose, [file, else its output]: waits until that is all that the file has
  local file=${4:-$work/$3.out} end=$((SECONDS + limit)) is_last=
  until [ "$(cat "$file" 2>/dev/null)" = "$2" ]; do
    [ -z "$is_last" ] || { fail "$1" "want $2, got $(cat "$file" 2>&1)" "$3"; return 1; }
    if [ $SECONDS -ge $end ] || ! kill -0 "${pids[$3]}" 2>/dev/null; then is_last=yes; fi
    sleep 0.2
  done
  ok "$1"
}

topics_and_events() { # steps 3 to 5
  run "step 3, create"
  shows "step 3: kafka-topics --create" '^Created topic quickstart-events\.$' || return 1
  run "step 3, describe"
  shows "step 3: kafka-topics --describe, in the page's form" \
    '^Topic: quickstart-events\s+TopicId: [A-Za-z0-9_-]{22}\s+PartitionCount: 1\s+ReplicationFactor: 1\s+Configs:' \
    '^\s*Topic: quickstart-events\s+Partition: 0\s+Leader: [0-9]+\s+Replicas: [0-9]+\s+Isr: [0-9]+'
  documented "step 4, events" >"$work/events"
  if run "step 4, write" "$work/events"; then ok "step 4: kafka-console-producer"; else fail "step 4: kafka-console-producer" "exit code not 0; $out"; fi
  start reader "step 5, read"
  arrives "step 5: kafka-console-consumer --from-beginning" "$(documented "step 4, events")" reader
  stop reader
}

consumer_groups() { # what the page on operations shows, with the topic of step 3
  start member "added, a member of my-group"
  arrives "operations: the console consumer in a group" "$(documented "step 4, events")" member
  # It commits every 5 s.
  becomes "operations: kafka-consumer-groups --describe" "operations, describe" \
    'TOPIC +PARTITION +CURRENT-OFFSET +LOG-END-OFFSET +LAG +CONSUMER-ID +HOST +CLIENT-ID' \
    'quickstart-events +0 +2 +2 +0 +console-consumer-[^ ]+ +/[^ ]+ +console-consumer'
  run "operations, members"
  shows "operations: --describe --members" 'CONSUMER-ID +HOST +CLIENT-ID +#PARTITIONS' 'console-consumer-[^ ]+ +/[^ ]+ +console-consumer +1'
  run "operations, members verbose"
  shows "operations: --describe --members --verbose" '#PARTITIONS.*ASSIGNMENT' 'console-consumer +1 .*quickstart-events'
  run "operations, state"
  shows "operations: --describe --state" 'COORDINATOR \(ID\) +ASSIGNMENT-STRATEGY +STATE +#MEMBERS' '^my-group +[^ ]+:[0-9]+ +\([0-9]+\) +range +Stable +1'
  run "operations, groups"
  shows "operations: kafka-groups --list" '^GROUP +TYPE +PROTOCOL' '^my-group +Classic +consumer'
  stop member
  run "added, my-other-group"
  shows "step 5: read again, by another group" '^This is my first event$' '^This is my second event$'
  run "operations, list"
  shows "operations: kafka-consumer-groups --list" '^my-group$' '^my-other-group$'
  run "operations, reset"
  shows "operations: --reset-offsets --to-latest" 'TOPIC +PARTITION +NEW-OFFSET' 'quickstart-events +0 +2'
  run "added, delete offsets"
  shows "operations: --delete-offsets" 'TOPIC +PARTITION +STATUS' 'quickstart-events +0 +Successful'
  run "operations, delete groups"
  shows "operations: --delete" "^Deletion of requested consumer groups \('my-(other-)?group', 'my-(other-)?group'\) was successful\.$"
}

connect() { # step 6
  local lines records
  lines=$(documented "step 6, lines") records=$(documented "step 6, records")
  if ! { run "step 6, plugin" && run "step 6, seed"; }; then fail "step 6: its files" "$out"; return; fi
  start connect "step 6, start"
  arrives "step 6: connect-standalone: a file to a topic, to a file" "$lines" connect "$kafka/test.sink.txt" || { stop connect; return; }
  run "step 6, look"
  shows "step 6: more test.sink.txt" '^foo$' '^bar$'
  start reader "step 6, read"
  arrives "step 6: the topic's records" "$records" reader
  run "step 6, more"
  arrives "step 6: another line, in the sink's file" "$lines"$'\n'"Another line" connect "$kafka/test.sink.txt"
  arrives "step 6: another line, in the consumer" "$records"$'\n'"$(head -1 <<<"$records" | sed 's/"foo"/"Another line"/')" reader
  stop reader connect
}

streams() { # the quickstart of Kafka Streams
  local n counts=
  run "streams 3, create input"
  shows "Streams, step 3: the input topic" '^Created topic "?streams-plaintext-input"?\.$' || return
  run "streams 3, create output"
  shows "Streams, step 3: the output topic, compacted" '^Created topic "?streams-wordcount-output"?\.$' || return
  run "streams 3, describe"
  shows "Streams, step 3: kafka-topics --describe --exclude-internal" \
    '^Topic: ?streams-wordcount-output\s.*PartitionCount: ?1\s+ReplicationFactor: ?1\s+Configs: ?.*cleanup\.policy=compact' \
    '^Topic: ?streams-plaintext-input\s.*PartitionCount: ?1\s+ReplicationFactor: ?1\s+Configs:' \
    '^\s+Topic: streams-wordcount-output\s+Partition: 0\s+Leader: [0-9]+\s+Replicas: [0-9]+\s+Isr: [0-9]+'
  if grep -q __consumer_offsets <<<"$out"; then fail "Streams, step 3: no internal topic" "$out"; else ok "Streams, step 3: no internal topic"; fi
  start demo "streams 4, start"
  skip "Streams, step 4: group.protocol=streams" "the page has it in the place of the line above, for those who want it; it asks for streams groups (KIP-1071), which corelog has not"
  # One producer, into which line after line is typed.
  mkfifo "$work/typed" && exec 4<>"$work/typed" || return
  start writer "streams 4, write" "$work/typed"
  start reader "streams 4, read"
  for n in 1 2 3; do
    documented "streams 5, line $n" >&4
    counts+=${counts:+$'\n'}$(documented "streams 5, counts $n" | sed -E 's/\s+/\t/')
    arrives "Streams, step 5: WordCountDemo, $(documented "streams 5, line $n")" "$counts" reader || {
      tail -n 6 "$work/demo.err" "$work/writer.err" | cut -c 1-300 | sed 's/^/     stderr: /'
      break
    }
  done
  stop writer reader demo
  exec 4>&-
}

delete() {
  run "operations, delete topics" || { fail "operations: kafka-topics --delete" "$out"; return; }
  run "added, list topics"
  if grep -E '^(quickstart-events$|connect-test$|streams-)' <<<"$out" >"$work/left"; then
    fail "operations: kafka-topics --delete" "still there: $(cat "$work/left")"
  else
    ok "operations: kafka-topics --delete"
  fi
}

get || exit 1
[ "${1:-}" != get ] || exit 0
work=$(mktemp -d)
kafka=$work/kafka
trap 'for pid in ${pids[@]+"${pids[@]}"}; do kill -KILL "$pid" 2>/dev/null; done; rm -rf "$work"' EXIT
lay_out || exit 1
topics_and_events || finish
consumer_groups
connect
streams
delete
finish
