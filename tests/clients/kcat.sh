#!/usr/bin/env bash
# Drives a running broker with kcat (Debian's package; librdkafka 2.0, so an older client's request versions).
#
#   BOOTSTRAP=127.0.0.1:9092 kcat.sh
#
# Environment: BOOTSTRAP; CLIENT_CONF, a file of librdkafka properties for the connection; WITHOUT=groups,txn leaves
# out what a broker does not have yet (either or both); TMO, seconds a step may take, default 20. Topics are made by the broker on first use
# (auto.create.topics.enable=true), or by hand before: set TOPIC to the name of an empty topic with one partition
# or more and those steps use its partition 0.
set -u
B=${BOOTSTRAP:-127.0.0.1:9092}
TMO=${TMO:-20}
run=$(date +%s)$$
t=${TOPIC:-kcat-$run}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
conf=()
[ -n "${CLIENT_CONF:-}" ] && conf=(-F "$CLIENT_CONF")
passed=0 failed=0 skipped=0
has_it() { case ",${WITHOUT:-}," in *",$1,"*) return 1 ;; esac; }

k() { timeout "$TMO" kcat -b "$B" ${conf[@]+"${conf[@]}"} "$@" 2>"$work/err"; }
is() { # name, got, want
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1)); echo "ok   $1"
  else
    failed=$((failed + 1)); echo "FAIL $1"
    echo "     got:  $(head -c 300 <<<"$2" | tr '\n' '~')"
    echo "     want: $(head -c 300 <<<"$3" | tr '\n' '~')"
    [ -s "$work/err" ] && sed 's/^/     stderr: /' "$work/err" | head -3
  fi
}
has() { # name, text, pattern
  if grep -qE "$3" <<<"$2"; then passed=$((passed + 1)); echo "ok   $1"; else
    failed=$((failed + 1)); echo "FAIL $1: no /$3/ in: $(head -c 300 <<<"$2" | tr '\n' '~')"
    [ -s "$work/err" ] && sed 's/^/     stderr: /' "$work/err" | head -3
  fi
}
# Everything in partition 0 of a topic, in a format.
all() { k -C -t "$1" -p 0 -o beginning -e -q -f "$2"; }

command -v kcat >/dev/null || { echo "kcat is not installed (apt-get install kcat)"; echo "0 passed, 1 failed"; exit 1; }

has "list brokers" "$(k -L)" '^  broker [0-9]+ at '
has "list as JSON" "$(k -L -J)" '"brokers":\[\{"id":'
for _ in 1 2 3 4 5 6 7 8 9 10; do
  meta=$(k -L -t "$t")
  grep -qE 'partition 0, leader [0-9]+' <<<"$meta" && break
  sleep 0.5
done
has "topic made on first use" "$meta" 'partition 0, leader [0-9]+'

seq 1 100 | k -P -t "$t" -p 0
is "produce 100 lines" "$?" 0
is "consume them in order" "$(all "$t" '%s\n')" "$(seq 1 100)"
is "offsets" "$(all "$t" '%o\n' | sed -n '1p;$p' | tr '\n' ' ')" "0 99 "
is "from offset 95" "$(k -C -t "$t" -p 0 -o 95 -e -q -f '%o:%s\n')" "$(printf '95:96\n96:97\n97:98\n98:99\n99:100')"
is "last 3" "$(k -C -t "$t" -p 0 -o -3 -e -q -f '%s\n')" "$(printf '98\n99\n100')"
is "stop after a count" "$(k -C -t "$t" -p 0 -o beginning -c 7 -q -f '%s\n' | tail -1)" "7"

for codec in none gzip snappy lz4 zstd; do
  tc=$t-$codec
  [ -n "${TOPIC:-}" ] && tc=$t
  before=$(all "$tc" '%s\n' | wc -l)
  for i in $(seq 1 300); do echo "line $i $(printf 'x%.0s' $(seq 1 $((i % 60))))"; done >"$work/lines"
  k -P -t "$tc" -p 0 -X compression.codec=$codec -X linger.ms=50 <"$work/lines"
  is "round trip, $codec" "$(all "$tc" '%s\n' | tail -n +$((before + 1)) | md5sum)" "$(md5sum <"$work/lines")"
done

tk=$t-kh
[ -n "${TOPIC:-}" ] && tk=$t
start=$(all "$tk" '%o\n' | wc -l)
printf 'k1=v1\nk2=\n=v3\n' | k -P -t "$tk" -p 0 -K = -Z -H a=1 -H 'b=two words' -H a=again
is "keys, NULLs and headers" "$(k -C -t "$tk" -p 0 -o "$start" -e -q -Z -f '%k|%s|%h\n')" \
  "$(printf 'k1|v1|a=1,b=two words,a=again\nk2|NULL|a=1,b=two words,a=again\nNULL|v3|a=1,b=two words,a=again')"
has "JSON envelope" "$(k -C -t "$tk" -p 0 -o "$start" -c 1 -q -J)" \
  "\"partition\":0,\"offset\":$start,\"tstype\":\"create\",\"ts\":[0-9]{13},.*\"key\":\"k1\",\"payload\":\"v1\""

tt=$t-ts
[ -n "${TOPIC:-}" ] && tt=$t
base=$(all "$tt" '%o\n' | wc -l)
for i in 1 2 3; do echo "early $i"; done | k -P -t "$tt" -p 0
sleep 1.2
mark=$(date +%s%3N)
for i in 1 2 3; do echo "late $i"; done | k -P -t "$tt" -p 0
is "offset for a timestamp" "$(k -Q -t "$tt:0:$mark" | grep -oE 'offset -?[0-9]+')" "offset $((base + 3))"
is "earliest and latest" "$(k -Q -t "$tt:0:-1" | grep -oE 'offset -?[0-9]+')" "offset $((base + 6))"
is "consume from a timestamp" "$(k -C -t "$tt" -p 0 -o "s@$mark" -e -q -f '%s\n')" "$(printf 'late 1\nlate 2\nlate 3')"

head -c 900000 /dev/urandom >"$work/big"
k -P -t "$t-big" -p 0 "$work/big" && k -C -t "$t-big" -p 0 -o beginning -c 1 -e -q -f '%s' >"$work/back"
is "a 900 kB message" "$(head -c 900000 "$work/back" | md5sum)" "$(md5sum <"$work/big")"

g=kcat-group-$run
if ! has_it groups; then
  skipped=$((skipped + 2)); echo "skip group, both runs: WITHOUT=$WITHOUT"
else
is "group, first run reads all" "$(k -G "$g" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -q -c 100 -f '%s\n' "$t" |
  sort -n | head -100 | md5sum)" "$(all "$t" '%s\n' | head -100 | sort -n | md5sum)"
total=$(all "$t" '%o\n' | wc -l)
if [ "$total" -eq 100 ]; then
  (sleep 4; seq 201 205 | kcat -b "$B" ${conf[@]+"${conf[@]}"} -P -t "$t" -p 0 2>/dev/null) &
  is "group, second run goes on after the commit" \
    "$(k -G "$g" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -q -c 5 -f '%s\n' "$t")" "$(seq 201 205)"
  wait
else
  skipped=$((skipped + 1)); echo "skip group, second run"
fi
fi

if has_it txn; then
  printf 'in1\nin2\n' | k -P -t "$t-tx" -p 0 -X transactional.id="kcat-$run"
  is "produce in a transaction" "$?" 0
  is "read committed" "$(k -C -t "$t-tx" -p 0 -o beginning -c 2 -q -X isolation.level=read_committed -f '%s\n')" \
    "$(printf 'in1\nin2')"
else
  skipped=$((skipped + 2)); echo "skip transaction: WITHOUT=$WITHOUT"
fi

seq 1 50 | k -P -t "$t-idem" -p 0 -X enable.idempotence=true
is "idempotent producer" "$(all "$t-idem" '%s\n')" "$(seq 1 50)"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
