// Command franz drives a broker with franz-go.
//
//	BOOTSTRAP=127.0.0.1:9092 franz [NAME-REGEX]                    the checks
//	franz produce TOPIC ROWS LEDGER | read TOPIC OUT | times TOPIC TIME    its part of flights.py
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	run    = strconv.FormatInt(time.Now().UnixNano(), 36)
	client *kgo.Client
	admin  *kadm.Client
)

func bootstrap() []string {
	if b := os.Getenv("BOOTSTRAP"); b != "" {
		return strings.Split(b, ",")
	}
	return []string{"127.0.0.1:9092"}
}

func open(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap()...)}, opts...)...)
	if err != nil {
		panic(err)
	}
	return c
}

func need(err error) {
	if err != nil {
		panic(err)
	}
}

func eq(got, want any, what string) {
	if !reflect.DeepEqual(got, want) {
		panic(fmt.Sprintf("%s: got %.300v, want %.300v", what, got, want))
	}
}

func topic(ctx context.Context, stem string, partitions int32, configs map[string]*string) string {
	name := fmt.Sprintf("franz-%s-%s-%d", run, stem, rand.Intn(1<<30))
	made, err := admin.CreateTopic(ctx, partitions, 1, configs, name)
	need(err)
	need(made.Err)
	for {
		ends, err := admin.ListEndOffsets(ctx, name)
		if err == nil && ends.Error() == nil {
			return name
		}
		if ctx.Err() != nil {
			panic(fmt.Sprintf("leaders of %s: %v %v", name, err, ends.Error()))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func sample(topic string, partition int32, count int) []*kgo.Record {
	out := make([]*kgo.Record, count)
	for i := range out {
		r := &kgo.Record{Topic: topic, Partition: partition, Timestamp: time.UnixMilli(1_600_000_000_000 + int64(i)*10)}
		switch i % 4 {
		case 0:
			r.Key = []byte(fmt.Sprintf("key-%d", i%9))
		case 2:
			r.Key = []byte{}
		case 3:
			r.Key = []byte{0, 255, 7}
		}
		if i%11 != 5 {
			r.Value = []byte(fmt.Sprintf("%d %s", i, strings.Repeat("abcdefgh", i%40)))
		}
		if i%3 == 1 {
			r.Headers = []kgo.RecordHeader{{Key: "one", Value: []byte("1")}, {Key: "é中", Value: []byte{0, 1, 255}}}
		}
		out[i] = r
	}
	return out
}

func produce(ctx context.Context, records []*kgo.Record, opts ...kgo.Opt) []int64 {
	c := open(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	defer c.Close()
	offsets := make([]int64, len(records))
	for i, res := range c.ProduceSync(ctx, records...) {
		need(res.Err)
		offsets[i] = res.Record.Offset
	}
	return offsets
}

func consume(ctx context.Context, topic string, from map[int32]kgo.Offset, count int, opts ...kgo.Opt) []*kgo.Record {
	c := open(append([]kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})}, opts...)...)
	defer c.Close()
	var out []*kgo.Record
	for len(out) < count {
		fetches := c.PollFetches(ctx)
		need(ctx.Err())
		for _, e := range fetches.Errors() {
			panic(e.Err)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

func start(offset int64) map[int32]kgo.Offset {
	return map[int32]kgo.Offset{0: kgo.NewOffset().At(offset)}
}

func same(got, want []*kgo.Record) {
	eq(len(got), len(want), "records")
	for i := range want {
		eq(got[i].Offset, int64(i), fmt.Sprintf("offset of record %d", i))
		eq(string(got[i].Key), string(want[i].Key), fmt.Sprintf("key of record %d", i))
		eq(got[i].Key == nil, want[i].Key == nil, fmt.Sprintf("null key of record %d", i))
		eq(string(got[i].Value), string(want[i].Value), fmt.Sprintf("value of record %d", i))
		eq(got[i].Value == nil, want[i].Value == nil, fmt.Sprintf("null value of record %d", i))
		eq(got[i].Timestamp.UnixMilli(), want[i].Timestamp.UnixMilli(), fmt.Sprintf("timestamp of record %d", i))
		eq(len(got[i].Headers), len(want[i].Headers), fmt.Sprintf("headers of record %d", i))
		for h := range want[i].Headers {
			eq(got[i].Headers[h], want[i].Headers[h], fmt.Sprintf("header of record %d", i))
		}
	}
}

type check struct {
	name string
	body func(ctx context.Context)
}

func checks() []check {
	out := []check{{"default producer, round trip", func(ctx context.Context) {
		t := topic(ctx, "rt", 1, nil)
		want := sample(t, 0, 500)
		produce(ctx, want)
		same(consume(ctx, t, start(0), 500), want)
	}}}
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		out = append(out, check{"round trip, " + name, func(ctx context.Context) {
			t := topic(ctx, "codec", 1, nil)
			want := sample(t, 0, 500)
			offsets := produce(ctx, want, kgo.ProducerBatchCompression(codec))
			eq(offsets[499], int64(499), "last offset")
			same(consume(ctx, t, start(0), 500), want)
		}})
	}
	for name, opts := range map[string][]kgo.Opt{"acks 0": {kgo.RequiredAcks(kgo.NoAck())}, "acks 1": {kgo.RequiredAcks(kgo.LeaderAck())},
		"acks all, not idempotent": {}} {
		out = append(out, check{name, func(ctx context.Context) {
			t := topic(ctx, "acks", 1, nil)
			want := sample(t, 0, 200)
			produce(ctx, want, append(opts, kgo.DisableIdempotentWrite())...)
			same(consume(ctx, t, start(0), 200), want)
		}})
	}
	return append(out,
		check{"idempotent, many small batches", func(ctx context.Context) {
			t := topic(ctx, "idem", 1, nil)
			want := sample(t, 0, 3000)
			produce(ctx, want, kgo.ProducerBatchMaxBytes(2048))
			same(consume(ctx, t, start(0), 3000), want)
		}},
		check{"from an offset", func(ctx context.Context) {
			t := topic(ctx, "from", 1, nil)
			produce(ctx, sample(t, 0, 100))
			eq(consume(ctx, t, start(90), 10)[0].Offset, int64(90), "first offset")
			eq(consume(ctx, t, map[int32]kgo.Offset{0: kgo.NewOffset().AtEnd().Relative(-3)}, 3)[0].Offset, int64(97), "three before the end")
			eq(consume(ctx, t, map[int32]kgo.Offset{0: kgo.NewOffset().AfterMilli(1_600_000_000_415)}, 58)[0].Offset, int64(42), "from a time")
		}},
		check{"out of range resets", func(ctx context.Context) {
			t := topic(ctx, "range", 1, nil)
			produce(ctx, sample(t, 0, 10))
			eq(consume(ctx, t, start(500), 10, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))[0].Offset, int64(0), "first offset")
		}},
		check{"small fetches over eight partitions", func(ctx context.Context) {
			t := topic(ctx, "eight", 8, nil)
			var all []*kgo.Record
			from := map[int32]kgo.Offset{}
			for p := int32(0); p < 8; p++ {
				all = append(all, sample(t, p, 300)...)
				from[p] = kgo.NewOffset().AtStart()
			}
			produce(ctx, all)
			next := map[int32]int64{}
			for _, r := range consume(ctx, t, from, 2400, kgo.FetchMaxPartitionBytes(1000), kgo.FetchMaxBytes(4000)) {
				eq(r.Offset, next[r.Partition], "offset")
				next[r.Partition]++
			}
		}},
		check{"a waiting fetch wakes", func(ctx context.Context) {
			t := topic(ctx, "wake", 1, nil)
			c := open(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t: start(0)}), kgo.FetchMaxWait(8*time.Second))
			defer c.Close()
			for i := 0; i < 4; i++ {
				time.Sleep(200 * time.Millisecond)
				produce(ctx, []*kgo.Record{{Topic: t, Value: []byte("x")}})
				began := time.Now()
				eq(len(c.PollFetches(ctx).Records()), 1, "records")
				if took := time.Since(began); took > 2*time.Second {
					panic(fmt.Sprintf("it took %v", took))
				}
			}
		}},
		check{"auto-created topic", func(ctx context.Context) {
			c := open(kgo.AllowAutoTopicCreation())
			defer c.Close()
			need(c.ProduceSync(ctx, &kgo.Record{Topic: "franz-auto-" + run, Value: []byte("x")}).FirstErr())
		}},
		check{"admin: metadata, offsets, configs", func(ctx context.Context) {
			ms := "123456"
			t := topic(ctx, "admin", 3, map[string]*string{"retention.ms": &ms})
			meta, err := admin.Metadata(ctx, t)
			need(err)
			eq(len(meta.Topics[t].Partitions), 3, "partitions")
			if len(meta.Brokers) == 0 || meta.Cluster == "" {
				panic(fmt.Sprintf("cluster %q, brokers %v", meta.Cluster, meta.Brokers))
			}
			produce(ctx, sample(t, 1, 50))
			starts, err := admin.ListStartOffsets(ctx, t)
			need(err)
			ends, err := admin.ListEndOffsets(ctx, t)
			need(err)
			committed, err := admin.ListCommittedOffsets(ctx, t)
			need(err)
			times, err := admin.ListOffsetsAfterMilli(ctx, 1_600_000_000_100, t)
			need(err)
			most, err := admin.ListMaxTimestampOffsets(ctx, t)
			need(err)
			var got []int64
			for _, l := range []kadm.ListedOffsets{starts, ends, committed, times, most} {
				o, _ := l.Lookup(t, 1)
				need(o.Err)
				got = append(got, o.Offset)
			}
			eq(got, []int64{0, 50, 50, 10, 49}, "start, end, committed, by time, of the greatest time")
			configs, err := admin.DescribeTopicConfigs(ctx, t)
			need(err)
			found := ""
			for _, c := range configs[0].Configs {
				if c.Key == "retention.ms" {
					found = c.MaybeValue()
				}
			}
			eq(found, ms, "retention.ms")
			twice := "654321"
			_, err = admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &twice}}, t)
			need(err)
			listed, err := admin.ListTopics(ctx)
			need(err)
			if !listed.Has(t) {
				panic("not listed")
			}
		}},
		check{"admin: partitions, records, log dirs, deletion", func(ctx context.Context) {
			t := topic(ctx, "admin", 1, nil)
			produce(ctx, sample(t, 0, 50))
			grown, err := admin.UpdatePartitions(ctx, 4, t)
			need(err)
			need(grown.Error())
			var cut kadm.Offsets
			cut.AddOffset(t, 0, 20, -1)
			left, err := admin.DeleteRecords(ctx, cut)
			need(err)
			need(left.Error())
			starts, err := admin.ListStartOffsets(ctx, t)
			need(err)
			o, _ := starts.Lookup(t, 0)
			eq(o.Offset, int64(20), "start")
			dirs, err := admin.DescribeAllLogDirs(ctx, kadm.TopicsSet{t: {0: {}}})
			need(err)
			if !sizeOf(dirs, t) {
				panic(fmt.Sprintf("log dirs %v", dirs))
			}
			gone, err := admin.DeleteTopics(ctx, t)
			need(err)
			need(gone.Error())
			gone, err = admin.DeleteTopics(ctx, t)
			need(err)
			if !errors.Is(gone.Error(), kerr.UnknownTopicOrPartition) {
				panic(gone.Error())
			}
		}},
		check{"admin: errors", func(ctx context.Context) {
			t := topic(ctx, "err", 1, nil)
			_, err := admin.CreateTopic(ctx, 1, 1, nil, t)
			eq(errors.Is(err, kerr.TopicAlreadyExists), true, "exists")
			_, err = admin.CreateTopic(ctx, 0, 1, nil, t+"x")
			eq(errors.Is(err, kerr.InvalidPartitions), true, "no partitions")
			_, err = admin.CreateTopic(ctx, 1, 77, nil, t+"x")
			eq(errors.Is(err, kerr.InvalidReplicationFactor), true, "77 replicas")
			_, err = admin.CreateTopic(ctx, 1, 1, nil, "a/b")
			eq(errors.Is(err, kerr.InvalidTopicException), true, "bad name")
		}})
}

func sizeOf(all kadm.DescribedAllLogDirs, topic string) (found bool) {
	all.Each(func(d kadm.DescribedLogDir) {
		for _, p := range d.Topics[topic] {
			found = found || p.Size > 1000
		}
	})
	return
}

func try(c check) (why any) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	defer func() { why = recover() }()
	c.body(ctx)
	return nil
}

// ------------------------------------------------------------------ flights

func flightsProduce(topic, rows, ledger string) int {
	in, err := os.Open(rows)
	need(err)
	file, err := os.Create(ledger)
	need(err)
	var mutex sync.Mutex
	acknowledged, failed := 0, 0
	c := open(kgo.RetryTimeout(5*time.Minute), kgo.MaxBufferedRecords(20000), kgo.ProducerBatchMaxBytes(16384), kgo.UnknownTopicRetries(-1))
	lines := bufio.NewScanner(in)
	for n := 0; lines.Scan(); n++ {
		parts := strings.SplitN(lines.Text(), "\t", 3)
		ms, err := strconv.ParseInt(parts[0], 10, 64)
		need(err)
		row := n
		c.Produce(context.Background(), &kgo.Record{Topic: topic, Key: []byte(parts[1]), Value: []byte(parts[2]), Timestamp: time.UnixMilli(ms)}, func(r *kgo.Record, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				if failed++; failed == 1 {
					fmt.Fprintln(os.Stderr, "row", row, err)
				}
				return
			}
			acknowledged++
			fmt.Fprintf(file, "%d\t%d\t%d\n", row, r.Partition, r.Offset)
		})
	}
	need(c.Flush(context.Background()))
	c.Close()
	need(file.Close())
	fmt.Printf("%d acknowledged, %d failed\n", acknowledged, failed)
	return min(failed, 1)
}

func flightsRead(topic, out string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ends, err := admin.ListEndOffsets(ctx, topic)
	need(err)
	need(ends.Error())
	from, total := map[int32]kgo.Offset{}, 0
	ends.Each(func(o kadm.ListedOffset) {
		from[o.Partition] = kgo.NewOffset().AtStart()
		total += int(o.Offset)
	})
	file, err := os.Create(out)
	need(err)
	to := bufio.NewWriter(file)
	c := open(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	defer c.Close()
	for total > 0 {
		fetches := c.PollFetches(ctx)
		need(ctx.Err())
		for _, e := range fetches.Errors() {
			panic(e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Fprintf(to, "%d\t%d\t%d\t%s\t%s\n", r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value)
			total--
		})
	}
	need(to.Flush())
	need(file.Close())
}

func flightsTimes(topic, ms string) {
	at, err := strconv.ParseInt(ms, 10, 64)
	need(err)
	found, err := admin.ListOffsetsAfterMilli(context.Background(), at, topic)
	need(err)
	found.Each(func(o kadm.ListedOffset) {
		need(o.Err)
		fmt.Printf("%d\t%d\n", o.Partition, o.Offset)
	})
}

func main() {
	client = open()
	admin = kadm.NewClient(client)
	args := append(os.Args[1:], "", "", "")
	switch {
	case args[0] == "produce" && args[3] != "":
		os.Exit(flightsProduce(args[1], args[2], args[3]))
	case args[0] == "read" && args[2] != "":
		flightsRead(args[1], args[2])
		return
	case args[0] == "times" && args[2] != "":
		flightsTimes(args[1], args[2])
		return
	}
	pattern := regexp.MustCompile(args[0])
	passed, failed := 0, 0
	for _, c := range checks() {
		if !pattern.MatchString(c.name) {
			continue
		}
		began := time.Now()
		why := try(c)
		result, reason := "ok  ", ""
		if why != nil {
			result, reason = "FAIL", fmt.Sprint(why)
			failed++
		} else {
			passed++
		}
		fmt.Printf("%s franz-go %-45s %5.1fs  %s\n", result, c.name, time.Since(began).Seconds(), reason)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
