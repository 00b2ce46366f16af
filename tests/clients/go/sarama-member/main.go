// Command sarama-member is one member of a consumer group by sarama, for groups/workload.py; its log is that of
// groups/member.py: sarama-member BOOTSTRAP TOPIC GROUP PROTOCOL SESSION_MS LOG
//
// Session.Commit says nothing of its success, so that there are no lines of kind c: the judge has what the admin
// client beside saw.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

const commitEvery = 200 * time.Millisecond

var (
	log   *os.File
	topic string
)

func line(kind, text string) {
	fmt.Fprintf(log, "%d %s %s\n", time.Now().UnixMilli(), kind, strings.ReplaceAll(text, "\n", " "))
}

type member struct {
	mutex      sync.Mutex
	next, done map[int32]int64
	over       chan struct{}
	ended      sync.WaitGroup
}

func list(s sarama.ConsumerGroupSession) string {
	var all []string
	for _, p := range s.Claims()[topic] {
		all = append(all, strconv.Itoa(int(p)))
	}
	return strings.Join(all, ",")
}

func (m *member) commit(s sarama.ConsumerGroupSession) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var texts []string
	for p, o := range m.next {
		if m.done[p] != o {
			texts = append(texts, fmt.Sprintf("%d:%d", p, o))
			s.MarkOffset(topic, p, o, "")
			m.done[p] = o
		}
	}
	if len(texts) > 0 {
		line("t", strings.Join(texts, ","))
		s.Commit()
	}
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.next, m.done, m.over = map[int32]int64{}, map[int32]int64{}, make(chan struct{})
	line("+", list(s))
	m.ended.Add(1)
	go func() {
		defer m.ended.Done()
		for {
			select {
			case <-m.over:
				return
			case <-time.After(commitEvery):
				m.commit(s)
			}
		}
	}()
	return nil
}

func (m *member) Cleanup(s sarama.ConsumerGroupSession) error {
	close(m.over)
	m.ended.Wait()
	m.commit(s)
	line("-", list(s))
	return nil
}

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, ok := <-c.Messages():
			if !ok {
				return nil
			}
			m.mutex.Lock()
			line("r", fmt.Sprintf("%d %d %s", r.Partition, r.Offset, r.Value))
			m.next[r.Partition] = r.Offset + 1
			m.mutex.Unlock()
		case <-s.Context().Done():
			return nil
		}
	}
}

func main() {
	var err error
	topic = os.Args[2]
	session, err := strconv.Atoi(os.Args[5])
	if err == nil {
		log, err = os.OpenFile(os.Args[6], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		panic(err)
	}
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Consumer.Return.Errors = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Group.Session.Timeout = time.Duration(session) * time.Millisecond
	c.Consumer.Group.Heartbeat.Interval = c.Consumer.Group.Session.Timeout / 4
	c.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	group, err := sarama.NewConsumerGroup(strings.Split(os.Args[1], ","), os.Args[3], c)
	if err != nil {
		panic(err)
	}
	go func() {
		for err := range group.Errors() {
			line("x", err.Error())
		}
	}()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	m := &member{}
	for stop.Err() == nil {
		if err := group.Consume(stop, []string{topic}, m); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			line("x", "consume: "+err.Error())
			time.Sleep(200 * time.Millisecond)
		}
	}
	if err := group.Close(); err != nil {
		line("x", "close: "+err.Error())
	}
	line(".", "end")
}
