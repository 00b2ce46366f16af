#!/usr/bin/env bash
# Apache Kafka's own console tools against a running broker, and on its files.
#
#   BOOTSTRAP=127.0.0.1:9092 kafka-tools.sh    the tools, one after the other
#   kafka-tools.sh dump FILE...                kafka-dump-log on segments and indexes: no complaint, or it fails
#
# Needs Java and Maven (kafka-reference.sh gets the jars). Environment: BOOTSTRAP; LOG_DIR, the broker's data directory:
# then kafka-dump-log reads the segments of what was produced here as well.
set -u
here=$(cd "$(dirname "$0")" && pwd)
B=${BOOTSTRAP:-127.0.0.1:9092}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
tools=org.apache.kafka.tools
classpath=$("$here/kafka-reference.sh" classpath) || exit 1
HOME_DIR=${HOME_DIR:-} "$here/kafka-reference.sh" get
cat >"$work/log4j2.properties" <<'X'
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%p %m%n
X
java=(timeout 60 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$classpath" -Dlog4j2.configurationFile="$work/log4j2.properties")
tool() { "${java[@]}" "$@" 2>"$work/err"; } # class, arguments
ok() { passed=$((passed + 1)); echo "ok   $1"; }
fail() { # name, what came
  failed=$((failed + 1)); echo "FAIL $1: $(head -c 600 <<<"$2" | tr '\n' '~')"
  head -c 600 "$work/err" | sed 's/^/     stderr: /'
}
has() { if grep -qE -- "$3" <<<"$2"; then ok "$1"; else fail "$1: no /$3/ in" "$2"; fi; } # name, text, pattern
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: want $(head -c 200 <<<"$3" | tr '\n' '~'), got" "$2"; fi; }
finish() { echo "$passed passed, $failed failed"; [ $failed -eq 0 ] && [ $passed -gt 0 ]; exit; }

# kafka-dump-log exits 0 whatever it finds: its complaints stand in stderr, by file, and as 'isvalid: false' in the rest.
# It has one of its own making: with --deep-iteration a segment that does not begin at offset 0 "-1 is followed by" it.
dump() { # files
  local f out complaints files=
  printf -v files '%s,' "$@"
  tool $tools.DumpLogSegments --deep-iteration --files "${files%,}" >"$work/dump"
  if [ $# -gt 1 ] && grep -q '^Exception' "$work/err"; then # It ends at the first: find out whose it is.
    for f in "$@"; do dump "$f"; done
    return
  fi
  for f in "$@"; do
    out=$(awk -v f="Dumping $f" '/^Dumping /{on = $0 == f} on' "$work/dump")
    complaints=$(awk -v f="$f" '/^[^ ]/{on = index($0, f)} on' "$work/err" |
      grep -vE "^Non-consecutive offsets in |^ +-1 is followed by 0*$(basename "$f" .log | sed 's/^0*//')$")
    complaints+=$(grep -E 'isvalid: false' <<<"$out" | head -2)
    complaints+=$(grep -E '^Exception' "$work/err" | head -1)
    if [ -z "$out" ] || [ -n "$complaints" ]; then
      failed=$((failed + 1)); echo "FAIL dump $f: $(head -c 300 <<<"${complaints:-nothing came}" | tr '\n' '~')"
    else
      ok "dump $(basename "$(dirname "$f")")/$(basename "$f"): $(grep -c '^| offset' <<<"$out") records in $(grep -c '^baseOffset' <<<"$out") batches, $(grep -cE '^(offset|timestamp): ' <<<"$out") index entries"
    fi
  done
}
if [ "${1:-}" = dump ]; then
  shift
  dump "$@"
  finish
fi

t=tools-$(date +%s)$$
server=(--bootstrap-server "$B")
has "kafka-topics --create" "$(tool $tools.TopicCommand "${server[@]}" --create --topic "$t" --partitions 2 --replication-factor 1 --config retention.ms=100000000000 --config segment.bytes=1048576)" "Created topic $t"
has "kafka-topics --describe" "$(tool $tools.TopicCommand "${server[@]}" --describe --topic "$t")" "Topic: $t.*TopicId: .*PartitionCount: 2.*ReplicationFactor: 1.*retention.ms=100000000000"
has "kafka-topics --list" "$(tool $tools.TopicCommand "${server[@]}" --list)" "^$t$"
tool $tools.TopicCommand "${server[@]}" --alter --topic "$t" --partitions 3 >"$work/out"
has "kafka-topics --alter" "$(tool $tools.TopicCommand "${server[@]}" --describe --topic "$t")" 'PartitionCount: 3'
has "kafka-topics --create, twice" "$(tool $tools.TopicCommand "${server[@]}" --create --topic "$t"; cat "$work/err")" 'already exists'

for codec in none gzip snappy lz4 zstd; do
  seq 1 200 | sed "s/.*/k&:$codec line &/" | tool $tools.ConsoleProducer "${server[@]}" --topic "$t-$codec" --compression-codec $codec --reader-property parse.key=true --reader-property key.separator=: >"$work/out"
  # Auto-created with the broker's default number of partitions: read them all, by count.
  out=$(for p in 0 1 2 3 4 5 6 7; do tool $tools.TopicCommand "${server[@]}" --describe --topic "$t-$codec" >"$work/d"; n=$(grep -c 'Partition:' "$work/d"); [ $p -lt "$n" ] || break
    tool $tools.consumer.ConsoleConsumer "${server[@]}" --topic "$t-$codec" --partition $p --offset earliest --timeout-ms 1500 --formatter-property print.key=true --formatter-property key.separator=: ; done)
  is "console producer and consumer, $codec" "$(sort <<<"$out" | md5sum)" "$(seq 1 200 | sed "s/.*/k&:$codec line &/" | sort | md5sum)"
done

tool $tools.ProducerPerformance --topic "$t" --num-records 20000 --record-size 200 --throughput -1 --producer-props bootstrap.servers="$B" >"$work/out"
has "kafka-producer-perf-test" "$(cat "$work/out")" '20000 records sent'
is "kafka-get-offsets" "$(tool $tools.GetOffsetShell "${server[@]}" --topic "$t" | awk -F: '{n += $3} END {print NR, n}')" "3 20000"
is "kafka-get-offsets --time earliest" "$(tool $tools.GetOffsetShell "${server[@]}" --topic "$t" --time earliest | sort)" "$(printf '%s:0:0\n%s:1:0\n%s:2:0' "$t" "$t" "$t")"
has "kafka-get-offsets --time max-timestamp" "$(tool $tools.GetOffsetShell "${server[@]}" --topic "$t" --time max-timestamp)" "^$t:0:[0-9]+$"
is "console consumer from an offset" "$(tool $tools.consumer.ConsoleConsumer "${server[@]}" --topic "$t" --partition 0 --offset 10 --max-messages 5 --formatter-property print.offset=true --formatter-property print.value=false | tr '\n' ' ')" "Offset:10 Offset:11 Offset:12 Offset:13 Offset:14 "

has "kafka-configs --describe" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type topics --entity-name "$t" --describe)" 'retention.ms=100000000000'
has "kafka-configs --alter" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type topics --entity-name "$t" --alter --add-config retention.bytes=12345678)" 'Completed updating'
has "kafka-configs --describe --all" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type topics --entity-name "$t" --describe --all)" 'retention.bytes=12345678'
has "kafka-configs --delete-config" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type topics --entity-name "$t" --alter --delete-config retention.bytes)" 'Completed updating'
has "kafka-configs, a bad value" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type topics --entity-name "$t" --alter --add-config retention.ms=never; cat "$work/err")" 'InvalidConfigurationException|Invalid value'
node=$(tool $tools.BrokerApiVersionsCommand "${server[@]}" | tee "$work/api" | sed -nE 's/.*\(id: ([0-9]+) .*/\1/p' | head -1)
has "kafka-broker-api-versions" "$(cat "$work/api")" 'Produce\(0\): .*Fetch\(1\): |Produce\(0\):'
has "kafka-configs --entity-type brokers" "$(tool kafka.admin.ConfigCommand "${server[@]}" --entity-type brokers --entity-name "$node" --describe --all)" 'num.partitions='
has "kafka-log-dirs" "$(tool $tools.LogDirsCommand "${server[@]}" --describe --topic-list "$t")" "\"partition\":\"$t-0\",\"size\":[1-9]"
has "kafka-cluster cluster-id" "$(tool $tools.ClusterTool cluster-id "${server[@]}")" 'Cluster ID: '
printf '{"partitions":[{"topic":"%s","partition":0,"offset":7}],"version":1}' "$t" >"$work/delete.json"
has "kafka-delete-records" "$(tool $tools.DeleteRecordsCommand "${server[@]}" --offset-json-file "$work/delete.json")" "low_watermark: 7"
has "kafka-get-offsets after it" "$(tool $tools.GetOffsetShell "${server[@]}" --topic "$t" --time earliest)" "^$t:0:7$"

# The cluster: one host, one controller, no transactions, nobody refused anything.
configs=(kafka.admin.ConfigCommand "${server[@]}")
has "kafka-configs, a client's quota" "$(tool "${configs[@]}" --alter --entity-type clients --entity-name "$t" --add-config 'producer_byte_rate=1048576,request_percentage=150')" 'Completed updating'
has "kafka-configs, a client's quota is there" "$(tool "${configs[@]}" --describe --entity-type clients --entity-name "$t")" 'producer_byte_rate=1048576.0.*request_percentage=150.0|request_percentage=150.0.*producer_byte_rate=1048576.0'
has "kafka-configs, a default quota" "$(tool "${configs[@]}" --alter --entity-type users --entity-default --entity-type clients --entity-name "$t" --add-config consumer_byte_rate=2097152)" 'Completed updating'
has "kafka-configs, all quotas" "$(tool "${configs[@]}" --describe --entity-type users --entity-type clients)" "client-id '$t'.*consumer_byte_rate=2097152.0"
has "kafka-configs, a quota that makes no sense" "$(tool "${configs[@]}" --alter --entity-type clients --entity-name "$t" --add-config producer_byte_rate=-1; cat "$work/err")" 'must be greater than 0|InvalidRequestException'
tool "${configs[@]}" --alter --entity-type users --entity-default --entity-type clients --entity-name "$t" --delete-config consumer_byte_rate >"$work/out"
has "kafka-configs, a quota removed" "$(tool "${configs[@]}" --alter --entity-type clients --entity-name "$t" --delete-config producer_byte_rate,request_percentage)" 'Completed updating'
is "kafka-configs, no quota left" "$(tool "${configs[@]}" --describe --entity-type clients --entity-name "$t" | grep -c byte_rate)" 0
has "kafka-configs, a group" "$(tool "${configs[@]}" --alter --entity-type groups --entity-name "$t" --add-config consumer.session.timeout.ms=50000)" 'Completed updating'
# This one lists the groups first.
[[ ,${WITHOUT:-}, == *,groups,* ]] || has "kafka-configs, a group's settings" "$(tool "${configs[@]}" --describe --entity-type groups --entity-name "$t")" 'consumer.session.timeout.ms=50000'
tool "${configs[@]}" --alter --entity-type groups --entity-name "$t" --delete-config consumer.session.timeout.ms >"$work/out"
has "kafka-configs, all brokers" "$(tool "${configs[@]}" --alter --entity-type brokers --entity-default --add-config log.retention.ms=99000000000)" 'Completed updating'
has "kafka-configs, one broker" "$(tool "${configs[@]}" --alter --entity-type brokers --entity-name "$node" --add-config log.retention.ms=98000000000)" 'Completed updating'
has "kafka-configs, what all brokers have" "$(tool "${configs[@]}" --describe --entity-type brokers --entity-default)" 'log.retention.ms=99000000000'
has "kafka-configs, what one broker has" "$(tool "${configs[@]}" --describe --entity-type brokers --entity-name "$node")" 'DYNAMIC_BROKER_CONFIG:log.retention.ms=98000000000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=99000000000'
has "kafka-configs, a setting of brokers for good" "$(tool "${configs[@]}" --alter --entity-type brokers --entity-name "$node" --add-config num.partitions=3; cat "$work/err")" 'Cannot update these configs dynamically'
has "kafka-configs, one broker's removed" "$(tool "${configs[@]}" --alter --entity-type brokers --entity-name "$node" --delete-config log.retention.ms)" 'Completed updating'
has "kafka-configs, all brokers' removed" "$(tool "${configs[@]}" --alter --entity-type brokers --entity-default --delete-config log.retention.ms)" 'Completed updating'
has "kafka-leader-election" "$(tool $tools.LeaderElectionCommand "${server[@]}" --election-type preferred --topic "$t" --partition 0)" 'no election needed|already elected|Valid replica'
has "kafka-reassign-partitions --list" "$(tool $tools.reassign.ReassignPartitionsCommand "${server[@]}" --list)" 'No partition reassignments found'
leader=$(tool $tools.TopicCommand "${server[@]}" --describe --topic "$t" | sed -nE 's/.*Partition: 0.*Replicas: ([0-9]+).*/\1/p')
printf '{"partitions":[{"topic":"%s","partition":0,"replicas":[%s]}],"version":1}' "$t" "$leader" >"$work/reassign.json"
has "kafka-reassign-partitions, to where it is" "$(tool $tools.reassign.ReassignPartitionsCommand "${server[@]}" --reassignment-json-file "$work/reassign.json" --execute)" 'Successfully started partition reassignment'
has "kafka-reassign-partitions --verify" "$(tool $tools.reassign.ReassignPartitionsCommand "${server[@]}" --reassignment-json-file "$work/reassign.json" --verify)" "$t-0 is (completed|complete)"
other=$(sed -nE 's/.*\(id: ([0-9]+) .*/\1/p' "$work/api" | grep -vx "$leader" | head -1)
if [ -n "$other" ]; then # Each core is a broker.
  printf '{"partitions":[{"topic":"%s","partition":0,"replicas":[%s]}],"version":1}' "$t" "$other" >"$work/reassign.json"
  has "kafka-reassign-partitions, to another core" "$(tool $tools.reassign.ReassignPartitionsCommand "${server[@]}" --reassignment-json-file "$work/reassign.json" --execute)" 'Successfully started partition reassignment'
  has "kafka-reassign-partitions --verify, another core" "$(tool $tools.reassign.ReassignPartitionsCommand "${server[@]}" --reassignment-json-file "$work/reassign.json" --verify)" "$t-0 is (completed|complete)"
  has "its leader is the other core" "$(tool $tools.TopicCommand "${server[@]}" --describe --topic "$t")" "Partition: 0.*Leader: $other"
fi
has "kafka-metadata-quorum" "$(tool $tools.MetadataQuorumCommand "${server[@]}" describe --status)" 'LeaderId: +[0-9]+'
has "kafka-metadata-quorum --replication" "$(tool $tools.MetadataQuorumCommand "${server[@]}" describe --replication)" 'Leader'
tool $tools.FeatureCommand "${server[@]}" describe >"$work/out" && ok "kafka-features" || fail "kafka-features" "$(cat "$work/out")"
has "kafka-acls" "$(tool $tools.AclCommand "${server[@]}" --list 2>&1; cat "$work/err")" 'SecurityDisabledException|No Authorizer|no access control'
has "kafka-transactions list" "$(tool $tools.TransactionsCommand "${server[@]}" list)" 'TransactionalId'
has "kafka-transactions describe-producers" "$(tool $tools.TransactionsCommand "${server[@]}" describe-producers --topic "$t" --partition 0)" 'ProducerId'
has "kafka-cluster list-endpoints" "$(tool $tools.ClusterTool list-endpoints "${server[@]}")" '127.0.0.1|localhost'
has "kafka-cluster unregister" "$(tool $tools.ClusterTool unregister "${server[@]}" --id 999999; cat "$work/err")" 'not (currently )?registered|no broker 999999|BrokerIdNotRegistered'
tool $tools.ClientMetricsCommand "${server[@]}" --list >"$work/out" && ok "kafka-client-metrics" || fail "kafka-client-metrics" "$(cat "$work/out")"

# Groups, classic and of KIP-848: read by one, looked at, set back, read again, gone.
if [[ ,${WITHOUT:-}, != *,groups,* ]]; then
  for protocol in classic consumer; do
    g=$t-$protocol groups=($tools.consumer.group.ConsumerGroupCommand "${server[@]}")
    read_all() { tool $tools.consumer.ConsoleConsumer "${server[@]}" --topic "$t-none" --group "$g" --command-property group.protocol=$protocol --command-property auto.offset.reset=earliest --timeout-ms 9000 "$@"; }
    is "console consumer in a $protocol group" "$(read_all | sort | md5sum)" "$(seq 1 200 | sed 's/.*/none line &/' | sort | md5sum)"
    has "kafka-consumer-groups --list, $protocol" "$(tool "${groups[@]}" --list)" "^$g$"
    has "kafka-consumer-groups --list --type --state, $protocol" "$(tool "${groups[@]}" --list --type $protocol --state empty)" "^$g +($protocol|${protocol^}) +Empty"
    has "kafka-groups --list, $protocol" "$(tool $tools.GroupsCommand "${server[@]}" --list)" "^$g +${protocol^} +consumer"
    has "kafka-consumer-groups --describe --state, $protocol" "$(tool "${groups[@]}" --describe --group "$g" --state)" "^$g .*Empty +0"
    is "kafka-consumer-groups --describe: all is committed, $protocol" "$(tool "${groups[@]}" --describe --group "$g" | awk '$2 == "'"$t-none"'" {n += $4; lag += $6} END {print n, lag}')" "200 0"
    has "kafka-consumer-groups --reset-offsets --dry-run, $protocol" "$(tool "${groups[@]}" --reset-offsets --group "$g" --topic "$t-none" --to-earliest --dry-run)" "$g +$t-none +0 +0"
    is "a dry run changes nothing, $protocol" "$(tool "${groups[@]}" --describe --group "$g" | awk '$2 == "'"$t-none"'" {lag += $6} END {print lag}')" "0"
    has "kafka-consumer-groups --reset-offsets --execute, $protocol" "$(tool "${groups[@]}" --reset-offsets --group "$g" --topic "$t-none" --shift-by -10 --execute)" "$g +$t-none +0 +[0-9]+"
    back=$(tool "${groups[@]}" --describe --group "$g" | awk '$2 == "'"$t-none"'" {lag += $6} END {print lag}')
    is "what was set back is read again, $protocol" "$(read_all | wc -l)" "$back"
    # A member that stays a while is seen, and the group can't be deleted.
    "${java[@]}" $tools.consumer.ConsoleConsumer "${server[@]}" --topic "$t-none" --group "$g" --command-property group.protocol=$protocol >"$work/member" 2>&1 &
    member=$!
    for _ in 1 2 3 4 5 6; do
      members=$(tool "${groups[@]}" --describe --group "$g" --members --verbose)
      grep -q "$t-none" <<<"$members" && break
    done
    has "kafka-consumer-groups --describe --members --verbose, $protocol" "$members" "^$g +[^ ]+ +/127.0.0.1 +console-consumer .*$t-none"
    has "kafka-consumer-groups --delete, with a member, $protocol" "$(tool "${groups[@]}" --delete --group "$g" 2>&1; cat "$work/err")" 'GroupNotEmptyException|not empty'
    has "kafka-consumer-groups --reset-offsets, with a member, $protocol" "$(tool "${groups[@]}" --reset-offsets --group "$g" --topic "$t-none" --to-earliest --execute; cat "$work/err")" 'inactive|current state is'
    kill -TERM $member 2>/dev/null; wait $member
    # timeout passed the signal on; the consumer leaves.
    for _ in 1 2 3 4 5; do tool "${groups[@]}" --describe --group "$g" --state >"$work/out"; grep -q Empty "$work/out" && break; done
    has "kafka-consumer-groups --delete-offsets, $protocol" "$(tool "${groups[@]}" --delete-offsets --group "$g" --topic "$t-none:0")" "$t-none +0 +Successful"
    has "kafka-consumer-groups --delete, $protocol" "$(tool "${groups[@]}" --delete --group "$g")" 'Deletion of requested consumer groups .* was successful'
    has "kafka-consumer-groups --describe, gone, $protocol" "$(tool "${groups[@]}" --describe --group "$g"; cat "$work/err")" "does not exist|not found"
  done
fi

if [ -n "${LOG_DIR:-}" ]; then
  files=()
  for d in "$LOG_DIR/$t"-[0-9] "$LOG_DIR/$t"-*-[0-9]; do
    last=$(ls "$d" | sed -n 's/\.log$//p' | tail -1)
    for f in "$d"/*.log "$d"/*.index "$d"/*.timeindex; do
      # A segment still written to, and its indexes, may be longer than they are full.
      case $f in "$d/$last".*) continue ;; esac
      [ -s "$f" ] && files+=("$f")
    done
  done
  dump "${files[@]}"
fi
for x in "" -none -gzip -snappy -lz4 -zstd; do tool $tools.TopicCommand "${server[@]}" --delete --topic "$t$x" >"$work/out" || fail "kafka-topics --delete $t$x" "$(cat "$work/out")"; done
has "kafka-topics --delete" "gone: $(tool $tools.TopicCommand "${server[@]}" --list | grep -c "^$t")" 'gone: 0'
finish
