// Command sarama drives a broker with IBM/sarama: BOOTSTRAP=127.0.0.1:9092 sarama [NAME-REGEX]
package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

var run = strconv.FormatInt(time.Now().UnixNano(), 36)

func bootstrap() []string {
	if b := os.Getenv("BOOTSTRAP"); b != "" {
		return strings.Split(b, ",")
	}
	return []string{"127.0.0.1:9092"}
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

func config(version sarama.KafkaVersion) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = version
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Consumer.Return.Errors = true
	c.Net.ReadTimeout, c.Net.DialTimeout, c.Admin.Timeout = 15*time.Second, 5*time.Second, 10*time.Second
	return c
}

func topic(stem string, partitions int32, configs map[string]*string) string {
	name := fmt.Sprintf("sarama-%s-%s-%d", run, stem, rand.Intn(1<<30))
	admin, err := sarama.NewClusterAdmin(bootstrap(), config(sarama.V2_8_0_0))
	need(err)
	defer admin.Close()
	need(admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs}, false))
	client, err := sarama.NewClient(bootstrap(), config(sarama.V2_8_0_0))
	need(err)
	defer client.Close()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready := true
		for p := int32(0); p < partitions && ready; p++ {
			_, err = client.GetOffset(name, p, sarama.OffsetNewest)
			ready = err == nil
		}
		if ready {
			return name
		}
		if time.Now().After(end) {
			panic(fmt.Sprintf("leaders of %s: %v", name, err))
		}
		_ = client.RefreshMetadata(name)
	}
}

func sample(topic string, partition int32, count int) []*sarama.ProducerMessage {
	out := make([]*sarama.ProducerMessage, count)
	for i := range out {
		m := &sarama.ProducerMessage{Topic: topic, Partition: partition, Timestamp: time.UnixMilli(1_600_000_000_000 + int64(i)*10)}
		if i%4 != 1 {
			m.Key = sarama.StringEncoder(fmt.Sprintf("key-%d", i%9))
		}
		if i%11 != 5 {
			m.Value = sarama.StringEncoder(fmt.Sprintf("%d %s", i, strings.Repeat("abcdefgh", i%40)))
		}
		if i%3 == 1 {
			m.Headers = []sarama.RecordHeader{{Key: []byte("one"), Value: []byte("1")}}
		}
		out[i] = m
	}
	return out
}

func produce(c *sarama.Config, messages []*sarama.ProducerMessage) {
	p, err := sarama.NewSyncProducer(bootstrap(), c)
	need(err)
	defer p.Close()
	need(p.SendMessages(messages))
}

func consume(c *sarama.Config, topic string, partition int32, from int64, count int) []*sarama.ConsumerMessage {
	consumer, err := sarama.NewConsumer(bootstrap(), c)
	need(err)
	defer consumer.Close()
	part, err := consumer.ConsumePartition(topic, partition, from)
	need(err)
	defer part.Close()
	var out []*sarama.ConsumerMessage
	deadline := time.After(20 * time.Second)
	for len(out) < count {
		select {
		case m := <-part.Messages():
			out = append(out, m)
		case e := <-part.Errors():
			panic(e)
		case <-deadline:
			panic(fmt.Sprintf("%d of %d messages", len(out), count))
		}
	}
	return out
}

func same(got []*sarama.ConsumerMessage, want []*sarama.ProducerMessage) {
	for i, w := range want {
		text := func(e sarama.Encoder) []byte {
			if e == nil {
				return nil
			}
			b, _ := e.Encode()
			return b
		}
		eq(got[i].Offset, int64(i), fmt.Sprintf("offset of message %d", i))
		eq(string(got[i].Key), string(text(w.Key)), fmt.Sprintf("key of message %d", i))
		eq(string(got[i].Value), string(text(w.Value)), fmt.Sprintf("value of message %d", i))
		eq(got[i].Timestamp.UnixMilli(), w.Timestamp.UnixMilli(), fmt.Sprintf("timestamp of message %d", i))
		eq(len(got[i].Headers), len(w.Headers), fmt.Sprintf("headers of message %d", i))
	}
}

type check struct {
	name string
	body func()
}

func checks() []check {
	var out []check
	// Each of these versions makes sarama choose older or newer requests.
	for _, version := range []sarama.KafkaVersion{sarama.V1_0_0_0, sarama.V2_1_0_0, sarama.V2_8_0_0, sarama.MaxVersion} {
		out = append(out, check{"round trip, speaking " + version.String(), func() {
			t := topic("v", 1, nil)
			c := config(version)
			want := sample(t, 0, 200)
			produce(c, want)
			same(consume(c, t, 0, sarama.OffsetOldest, 200), want)
		}})
	}
	for name, codec := range map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD} {
		out = append(out, check{"round trip, " + name, func() {
			t := topic("codec", 1, nil)
			c := config(sarama.V2_8_0_0)
			c.Producer.Compression = codec
			want := sample(t, 0, 300)
			produce(c, want)
			same(consume(c, t, 0, sarama.OffsetOldest, 300), want)
		}})
	}
	return append(out,
		check{"idempotent producer", func() {
			t := topic("idem", 1, nil)
			c := config(sarama.V2_8_0_0)
			c.Producer.Idempotent, c.Producer.RequiredAcks, c.Net.MaxOpenRequests, c.Producer.Flush.MaxMessages = true, sarama.WaitForAll, 1, 50
			want := sample(t, 0, 1000)
			produce(c, want)
			same(consume(c, t, 0, sarama.OffsetOldest, 1000), want)
		}},
		check{"acks 0", func() {
			t := topic("acks", 1, nil)
			c := config(sarama.V2_8_0_0)
			c.Producer.RequiredAcks = sarama.NoResponse
			produce(c, sample(t, 0, 50))
			eq(len(consume(c, t, 0, sarama.OffsetOldest, 50)), 50, "messages")
		}},
		check{"offsets, by time too", func() {
			t := topic("offsets", 2, nil)
			c := config(sarama.V2_8_0_0)
			produce(c, sample(t, 0, 100))
			client, err := sarama.NewClient(bootstrap(), c)
			need(err)
			defer client.Close()
			var got []int64
			for _, at := range []int64{sarama.OffsetOldest, sarama.OffsetNewest, 1_600_000_000_415, 1_700_000_000_000} {
				o, err := client.GetOffset(t, 0, at)
				need(err)
				got = append(got, o)
			}
			eq(got, []int64{0, 100, 42, -1}, "oldest, newest, for a time, for a time past the end")
			eq(consume(c, t, 0, 90, 10)[0].Offset, int64(90), "from an offset")
			parts, err := client.Partitions(t)
			need(err)
			eq(parts, []int32{0, 1}, "partitions")
		}},
		check{"out of range", func() {
			t := topic("range", 1, nil)
			consumer, err := sarama.NewConsumer(bootstrap(), config(sarama.V2_8_0_0))
			need(err)
			defer consumer.Close()
			_, err = consumer.ConsumePartition(t, 0, 500)
			eq(errors.Is(err, sarama.ErrOffsetOutOfRange), true, fmt.Sprintf("error %v", err))
		}},
		check{"too large", func() {
			limit := "2000"
			t := topic("small", 1, map[string]*string{"max.message.bytes": &limit})
			p, err := sarama.NewSyncProducer(bootstrap(), config(sarama.V2_8_0_0))
			need(err)
			defer p.Close()
			_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: t, Value: sarama.ByteEncoder(make([]byte, 5000))})
			eq(errors.Is(err, sarama.ErrMessageSizeTooLarge), true, fmt.Sprintf("error %v", err))
		}},
		check{"admin", func() {
			ms := "123456"
			t := topic("admin", 2, map[string]*string{"retention.ms": &ms})
			admin, err := sarama.NewClusterAdmin(bootstrap(), config(sarama.V2_8_0_0))
			need(err)
			defer admin.Close()
			described, err := admin.DescribeTopics([]string{t})
			need(err)
			eq(len(described[0].Partitions), 2, "partitions")
			entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: t, ConfigNames: []string{"retention.ms"}})
			need(err)
			eq(entries[0].Value, ms, "retention.ms")
			more := "654321"
			need(admin.IncrementalAlterConfig(sarama.TopicResource, t, map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &more}}, false))
			need(admin.AlterConfig(sarama.TopicResource, t, map[string]*string{"retention.ms": &ms}, false))
			need(admin.CreatePartitions(t, 3, nil, false))
			produce(config(sarama.V2_8_0_0), sample(t, 0, 20))
			need(admin.DeleteRecords(t, map[int32]int64{0: 5}))
			brokers, _, err := admin.DescribeCluster()
			need(err)
			ids := []int32{}
			for _, b := range brokers {
				ids = append(ids, b.ID())
			}
			dirs, err := admin.DescribeLogDirs(ids)
			need(err)
			eq(len(dirs), len(ids), "brokers with log dirs")
			topics, err := admin.ListTopics()
			need(err)
			if _, ok := topics[t]; !ok {
				panic("not listed")
			}
			need(admin.DeleteTopic(t))
			err = admin.DeleteTopic(t)
			eq(errors.Is(err, sarama.ErrUnknownTopicOrPartition), true, fmt.Sprintf("deleted twice: %v", err))
		}})
}

func try(c check) (why any) {
	defer func() { why = recover() }()
	c.body()
	return nil
}

func main() {
	pattern := regexp.MustCompile(strings.Join(os.Args[1:], " "))
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
		fmt.Printf("%s sarama %-45s %5.1fs  %s\n", result, c.name, time.Since(began).Seconds(), reason)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
