// Appends records of 1 KiB to one JetStream stream as fast as acknowledgements come back, and prints one line of JSON.
//
// It stands in for `nats bench js pub`, which could not be had where this was written (see ../../README.md). It is
// closed loop like that tool: a slow server is asked for less, so what it reports is what the server did with so many
// records in flight, not what a producer with a rate of its own would have seen.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	recordBytes = 1024
	warmUp      = time.Second
	// With 1024 records in flight and a sync for each, acknowledgements come seconds apart and in bulk: measuring goes
	// on until this many windows of every connection were acknowledged, but for no longer than a minute more.
	windowsMin = 4
	waitMax    = time.Minute
	stream     = "corelog-peer"
	subject    = "corelog.peer"
	// An acknowledgement that takes longer fails the run.
	ackWaitMax = 30 * time.Second
)

var (
	port        = flag.Int("port", 4222, "the server's port; its monitor is at the next")
	pid         = flag.Int("pid", 0, "the server's process id")
	connections = flag.Int("connections", 1, "connections, each with its own client")
	inFlight    = flag.Int("in-flight", 1, "records on each connection that are not acknowledged yet")
	batch       = flag.Bool("batch", false, "atomic batches of in-flight records, with one acknowledgement for each")
	seconds     = flag.Int("seconds", 10, "how long to measure at least, after a second of warm-up")
)

// What all connections share.
type run struct {
	stop, measuring atomic.Bool
	acknowledged    atomic.Int64
	payload         []byte
}

func main() {
	flag.Parse()
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "nats-publish:", err)
		os.Exit(1)
	}
}

func measure() error {
	url := fmt.Sprintf("nats://127.0.0.1:%d", *port)
	admin, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer admin.Close()
	result := report{
		Peer: "nats", Version: admin.ConnectedServerVersion(), Mode: mode(), Connections: *connections,
		InFlight: *inFlight, ServerCPUs: cpusAllowed(*pid), BenchCPUs: cpusAllowed(os.Getpid()),
		Command: "nats-publish " + strings.Join(os.Args[1:], " "),
	}
	if result.Durability, result.Setting, err = syncSetting(*port + 1); err != nil {
		return err
	}
	log, remove, err := newStream(admin)
	if err != nil {
		return err
	}
	defer remove()

	shared := &run{payload: []byte(strings.Repeat("x", recordBytes))}
	var group sync.WaitGroup
	latencies := make([][]time.Duration, *connections)
	failures := make([]error, *connections)
	for i := range *connections {
		client, err := nats.Connect(url, nats.NoReconnect())
		if err != nil {
			return err
		}
		defer client.Close()
		group.Go(func() {
			latencies[i], failures[i] = shared.publish(client)
			if failures[i] != nil {
				shared.stop.Store(true)
			}
		})
	}
	shared.observe(&result)
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	state, err := log.Info(context.Background())
	if err != nil {
		return err
	}
	if stored := int64(state.State.Msgs); stored != shared.acknowledged.Load() {
		return fmt.Errorf("%d records were acknowledged and %d are in the stream", shared.acknowledged.Load(), stored)
	}
	all := slices.Concat(latencies...)
	if result.Records == 0 || len(all) == 0 {
		return errors.New("nothing was acknowledged while measuring")
	}
	slices.Sort(all)
	result.P50, result.P99 = milliseconds(all, 0.50), milliseconds(all, 0.99)
	return json.NewEncoder(os.Stdout).Encode(result)
}

// An empty stream on file storage, all else as the server has it, and what removes it.
func newStream(admin *nats.Conn) (jetstream.Stream, func(), error) {
	js, err := jetstream.New(admin)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil, err
	}
	log, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{subject}, Storage: jetstream.FileStorage, Replicas: 1, AllowAtomicPublish: *batch,
	})
	remove := func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		_ = js.DeleteStream(ctx, stream)
	}
	return log, remove, err
}

// Lets the run warm up, counts for as long as was asked for, and stops it.
func (r *run) observe(result *report) {
	window := int64(*connections) * int64(*inFlight)
	r.waitFor(warmUp, window)
	r.measuring.Store(true)
	began, before := time.Now(), r.acknowledged.Load()
	serverCPU, ownCPU := processCPU(*pid), processCPU(os.Getpid())
	r.waitFor(time.Duration(*seconds)*time.Second, before+windowsMin*window)
	elapsed := time.Since(began).Seconds()
	result.Records = r.acknowledged.Load() - before
	serverCPU, ownCPU = processCPU(*pid)-serverCPU, processCPU(os.Getpid())-ownCPU
	r.measuring.Store(false)
	r.stop.Store(true)

	perSecond := float64(result.Records) / elapsed
	result.Seconds = rounded(elapsed, 3)
	result.RecordsPerSecond = rounded(perSecond, 0)
	result.MegabytesPerSecond = rounded(perSecond*recordBytes/1e6, 2)
	result.ServerCPU = serverCPU.Nanoseconds() / max(1, result.Records)
	result.BenchShare = rounded(ownCPU.Seconds()/elapsed/float64(runtime.GOMAXPROCS(0)), 2)
}

// Returns when that much time has passed and so many records are acknowledged, or when the run failed or hangs.
func (r *run) waitFor(atLeast time.Duration, acknowledged int64) {
	began := time.Now()
	for time.Since(began) < atLeast || r.acknowledged.Load() < acknowledged {
		if r.stop.Load() || time.Since(began) > atLeast+waitMax {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

type report struct {
	Peer               string  `json:"peer"`
	Version            string  `json:"version"`
	Durability         string  `json:"durability"`
	Setting            string  `json:"setting"`
	Mode               string  `json:"mode"`
	Connections        int     `json:"connections"`
	InFlight           int     `json:"in_flight"`
	Records            int64   `json:"records"`
	Seconds            float64 `json:"seconds"`
	RecordsPerSecond   float64 `json:"records_per_second"`
	MegabytesPerSecond float64 `json:"megabytes_per_second"`
	P50                float64 `json:"p50_ms"`
	P99                float64 `json:"p99_ms"`
	ServerCPU          int64   `json:"server_cpu_ns_per_record"`
	ServerCPUs         string  `json:"server_cpus"`
	BenchCPUs          string  `json:"bench_cpus"`
	BenchShare         float64 `json:"bench_cpu_share"`
	Command            string  `json:"command"`
}

func mode() string {
	switch {
	case *batch:
		return "batch"
	case *inFlight > 1:
		return "async"
	}
	return "sync"
}

// Publishes on one connection until it is told to stop, and waits for what is in flight.
func (r *run) publish(client *nats.Conn) ([]time.Duration, error) {
	switch mode() {
	case "batch":
		return r.publishBatches(client)
	case "async":
		return r.publishWindow(client)
	}
	js, err := jetstream.New(client)
	if err != nil {
		return nil, err
	}
	var latencies []time.Duration
	for !r.stop.Load() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), ackWaitMax)
		_, err := js.Publish(ctx, subject, r.payload)
		cancel()
		if err != nil {
			return latencies, err
		}
		latencies = r.settle(latencies, began, 1)
	}
	return latencies, nil
}

// A window of in-flight records that slides: each acknowledgement lets the next record go.
func (r *run) publishWindow(client *nats.Conn) ([]time.Duration, error) {
	js, err := jetstream.New(client, jetstream.WithPublishAsyncMaxPending(2**inFlight))
	if err != nil {
		return nil, err
	}
	type sent struct {
		began time.Time
		ack   jetstream.PubAckFuture
	}
	// One is with the receiver, one with the sender, and the others are in the channel.
	window := make(chan sent, *inFlight-2)
	failed := make(chan error, 1)
	go func() {
		defer close(window)
		for !r.stop.Load() {
			began := time.Now()
			ack, err := js.PublishAsync(subject, r.payload)
			if err != nil {
				failed <- err
				return
			}
			window <- sent{began, ack}
		}
	}()
	var latencies []time.Duration
	late := time.NewTimer(ackWaitMax)
	for next := range window {
		late.Reset(ackWaitMax)
		select {
		case <-next.ack.Ok():
			latencies = r.settle(latencies, next.began, 1)
			continue
		case failure := <-next.ack.Err():
			err = errors.Join(err, failure)
		case <-late.C:
			err = errors.Join(err, errors.New("no acknowledgement came in time"))
		}
		r.stop.Store(true)
	}
	select {
	case failure := <-failed:
		err = errors.Join(err, failure)
	default:
	}
	return latencies, err
}

// ADR-50: a batch is known by its id, its records by their sequence, and the one that commits is acknowledged.
func (r *run) publishBatches(client *nats.Conn) ([]time.Duration, error) {
	var latencies []time.Duration
	for !r.stop.Load() {
		began, id := time.Now(), nats.NewInbox()
		for sequence := 1; sequence <= *inFlight; sequence++ {
			message := nats.NewMsg(subject)
			message.Data = r.payload
			message.Header.Set("Nats-Batch-Id", id[len(nats.InboxPrefix):])
			message.Header.Set("Nats-Batch-Sequence", strconv.Itoa(sequence))
			if sequence < *inFlight {
				if err := client.PublishMsg(message); err != nil {
					return latencies, err
				}
				continue
			}
			message.Header.Set("Nats-Batch-Commit", "1")
			answer, err := client.RequestMsg(message, ackWaitMax)
			if err != nil {
				return latencies, err
			}
			var ack struct {
				Error *jetstream.APIError `json:"error"`
				Count int                 `json:"count"`
			}
			if err := json.Unmarshal(answer.Data, &ack); err != nil {
				return latencies, err
			}
			if ack.Error != nil {
				return latencies, ack.Error
			}
			if ack.Count != *inFlight {
				return latencies, fmt.Errorf("a batch of %d was acknowledged as %d", *inFlight, ack.Count)
			}
		}
		latencies = r.settle(latencies, began, *inFlight)
	}
	return latencies, nil
}

// Counts acknowledged records, and keeps how long each waited if the run is measuring.
func (r *run) settle(latencies []time.Duration, began time.Time, records int) []time.Duration {
	r.acknowledged.Add(int64(records))
	if r.measuring.Load() {
		latency := time.Since(began)
		for range records {
			latencies = append(latencies, latency)
		}
	}
	return latencies
}

// Asks the server how it syncs, rather than trusting the one who started it.
func syncSetting(monitor int) (durability, setting string, err error) {
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/varz", monitor))
	if err != nil {
		return "", "", err
	}
	defer answer.Body.Close()
	var varz struct {
		JetStream struct {
			Config struct {
				SyncAlways   bool          `json:"sync_always"`
				SyncInterval time.Duration `json:"sync_interval"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&varz); err != nil {
		return "", "", err
	}
	if varz.JetStream.Config.SyncAlways {
		return "fsync", "sync_interval always", nil
	}
	return "default", "sync_interval " + varz.JetStream.Config.SyncInterval.String(), nil
}

// Time in user and kernel; 0 for a process that is not there. A tick is 10 ms on every Linux that Go runs on.
func processCPU(pid int) time.Duration {
	if pid == os.Getpid() {
		var usage syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
			return 0
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func cpusAllowed(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if list, found := strings.CutPrefix(line, "Cpus_allowed_list:"); found {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

// The smallest latency that at least that share of the records stayed within.
func milliseconds(sorted []time.Duration, share float64) float64 {
	at := min(len(sorted)-1, max(0, int(float64(len(sorted))*share+0.999999)-1))
	return rounded(float64(sorted[at].Nanoseconds())/1e6, 3)
}

func rounded(value float64, digits int) float64 {
	result, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'f', digits, 64), 64)
	return result
}
