// Command franz-member is one member of a consumer group by franz-go, for groups/workload.py; its log is that of
// groups/member.py: franz-member BOOTSTRAP TOPIC GROUP PROTOCOL SESSION_MS LOG
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const commitEvery = 200 * time.Millisecond

var (
	log        *os.File
	topic      string
	mutex      sync.Mutex
	next, done = map[int32]int64{}, map[int32]int64{}
)

func line(kind, text string) {
	fmt.Fprintf(log, "%d %s %s\n", time.Now().UnixMilli(), kind, strings.ReplaceAll(text, "\n", " "))
}

func change(kind string, of map[string][]int32) {
	mutex.Lock()
	defer mutex.Unlock()
	var all []string
	partitions := append([]int32{}, of[topic]...)
	sort.Slice(partitions, func(i, j int) bool { return partitions[i] < partitions[j] })
	for _, p := range partitions {
		delete(next, p)
		delete(done, p)
		all = append(all, strconv.Itoa(int(p)))
	}
	line(kind, strings.Join(all, ","))
}

// What is due, of these partitions or (nil) of all, is committed; the answer is looked at partition by partition.
func commit(ctx context.Context, c *kgo.Client, of map[int32]bool) {
	mutex.Lock()
	due := map[int32]kgo.EpochOffset{}
	var texts []string
	for p, o := range next {
		if d, ok := done[p]; (!ok || d != o) && (of == nil || of[p]) {
			due[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
			texts = append(texts, fmt.Sprintf("%d:%d", p, o))
		}
	}
	mutex.Unlock()
	if len(due) == 0 {
		return
	}
	line("t", strings.Join(texts, ","))
	c.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: due}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			line("x", "commit: "+err.Error())
			return
		}
		var good []string
		mutex.Lock()
		defer mutex.Unlock()
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					line("x", fmt.Sprintf("commit of %d: %v", p.Partition, err))
					continue
				}
				done[p.Partition] = due[p.Partition].Offset
				good = append(good, fmt.Sprintf("%d:%d", p.Partition, due[p.Partition].Offset))
			}
		}
		if len(good) > 0 {
			line("c", strings.Join(good, ","))
		}
	})
}

func main() {
	var err error
	topic = os.Args[2]
	protocol := os.Args[4]
	session, err := strconv.Atoi(os.Args[5])
	if err == nil {
		log, err = os.OpenFile(os.Args[6], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		panic(err)
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(os.Args[1], ",")...), kgo.ConsumerGroup(os.Args[3]), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { change("+", m) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { change("!", m) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, m map[string][]int32) {
			of := map[int32]bool{}
			for _, p := range m[topic] {
				of[p] = true
			}
			commit(ctx, c, of)
			change("-", m)
		}),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}
	switch protocol {
	case "consumer":
		opts = append(opts, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	case "classic":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	}
	if protocol != "consumer" {
		s := time.Duration(session) * time.Millisecond
		opts = append(opts, kgo.SessionTimeout(s), kgo.HeartbeatInterval(s/4))
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		panic(err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	last := time.Now()
	for stop.Err() == nil {
		ctx, cancel := context.WithTimeout(stop, 100*time.Millisecond)
		fetches := c.PollRecords(ctx, 500)
		cancel()
		fetches.EachError(func(_ string, p int32, err error) {
			if ctx.Err() == nil {
				line("x", fmt.Sprintf("poll of %d: %v", p, err))
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			line("r", fmt.Sprintf("%d %d %s", r.Partition, r.Offset, r.Value))
			mutex.Lock()
			next[r.Partition] = r.Offset + 1
			mutex.Unlock()
		})
		if time.Since(last) > commitEvery {
			commit(context.Background(), c, nil)
			last = time.Now()
		}
		c.AllowRebalance()
	}
	commit(context.Background(), c, nil)
	c.CloseAllowingRebalance()
	line(".", "end")
}
