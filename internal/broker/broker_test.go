package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

// holdEnv makes the test binary a process that opens a broker on the named folder and stays.
const holdEnv = "MILLRACE_TEST_HOLD_BROKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// hold opens a broker, prints its address and waits to be killed, or for its parent to end.
func hold(dir string) {
	b, err := open(Config{Dir: dir}, 20*time.Millisecond)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, b.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(1)
}

// deadline bounds each wait of these tests; reaching it is a failure, not a measurement.
const deadline = time.Minute

func openBroker(t *testing.T, cfg Config) *Broker {
	t.Helper()
	cfg.Logger = testkit.Logger(t)
	b, err := Open(cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	return b
}

func closeBroker(t *testing.T, b *Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.ProducerBatchMaxBytes(16 << 20), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, configs map[string]string) {
	t.Helper()
	set := map[string]*string{}
	for k, v := range configs {
		set[k] = new(v)
	}
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, set, topic); err != nil {
		t.Fatalf("create topic: %v", err)
	}
}

func produce(t *testing.T, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// read polls until n records have come and returns their values.
func read(t *testing.T, cl *kgo.Client, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records came", len(values), n)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func record(topic, value string) *kgo.Record { return &kgo.Record{Topic: topic, Value: []byte(value)} }

func TestRestartKeepsRecordsOffsetsAndPort(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	first := openBroker(t, Config{Dir: dir})
	cl := newClient(t, first.Addr(), kgo.ConsumeTopics("kept"), kgo.ConsumerGroup("readers"), kgo.DisableAutoCommit())
	createTopic(t, cl, "kept", nil)
	produce(t, cl, record("kept", "a"), record("kept", "b"), record("kept", "c"))
	read(t, cl, 3)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := cl.CommitRecords(ctx, &kgo.Record{Topic: "kept", Offset: 1, LeaderEpoch: -1}); err != nil {
		t.Fatalf("commit: %v", err)
	}
	cl.Close()
	closeBroker(t, first)
	closeBroker(t, first) // twice is fine

	second := openBroker(t, Config{Dir: dir})
	if second.Addr() != first.Addr() {
		t.Errorf("address after restart %s, want %s", second.Addr(), first.Addr())
	}
	cl = newClient(t, second.Addr(), kgo.ConsumeTopics("kept"), kgo.ConsumerGroup("readers"), kgo.DisableAutoCommit())
	if got := read(t, cl, 1); got[0] != "c" {
		t.Errorf("first value after the committed offset %q, want %q", got[0], "c")
	}
	cl.Close()
	closeBroker(t, second)
}

func TestRememberedPortThatIsTakenIsGivenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	port := ln.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(filepath.Join(dir, "port"), []byte(strconv.Itoa(port)), 0o644); err != nil {
		t.Fatal(err)
	}
	b := openBroker(t, Config{Dir: dir})
	if b.Addr() == ln.Addr().String() {
		t.Errorf("broker says that it listens on the taken port %d", port)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	port := ln.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(broken, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "log", "meta.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	held := t.TempDir()
	openBroker(t, Config{Dir: held})

	tests := []struct {
		name string
		cfg  Config
		want error
		says []string
	}{
		{"port taken", Config{Port: port}, ErrPortTaken, []string{strconv.Itoa(port), "choose another port"}},
		{"folder below a file", Config{Dir: filepath.Join(file, "data")}, ErrNotWritable, []string{file, "choose a folder"}},
		{"folder held by another", Config{Dir: held}, ErrLocked, []string{held, "process " + strconv.Itoa(os.Getpid()), "stop that instance"}},
		{"folder not ours", Config{Dir: broken}, ErrUnreadable, []string{broken, "move the folder away"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := Open(tt.cfg)
			if err == nil {
				closeBroker(t, b)
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("open: %v, want %v", err, tt.want)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("no %q in %q", part, err)
				}
			}
		})
	}
}

// startHolder runs a broker on dir in a process of its own, which looks for expired records every 20 ms.
func startHolder(t *testing.T, dir string) (holder *exec.Cmd, addr string) {
	t.Helper()
	holder = exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holdEnv+"="+dir)
	holder.Stderr = os.Stderr
	stdin, err := holder.StdinPipe() // open as long as we live
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = holder.Process.Kill() // it may be gone
		_ = holder.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the holder printed no address: %v", err)
	}
	return holder, strings.TrimSpace(line)
}

func kill(t *testing.T, holder *exec.Cmd) {
	t.Helper()
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
}

func TestKilledProcessLeavesNoLockAndLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, addr := startHolder(t, dir)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(holder.Process.Pid)) {
		t.Errorf("open while process %d has the folder: %v, want %v", holder.Process.Pid, err, ErrLocked)
	}
	cl := newClient(t, addr)
	createTopic(t, cl, "kept", nil)
	produce(t, cl, record("kept", "written before the kill"))
	cl.Close()
	kill(t, holder)

	b := openBroker(t, Config{Dir: dir})
	if got := read(t, newClient(t, b.Addr(), kgo.ConsumeTopics("kept")), 1); got[0] != "written before the kill" {
		t.Errorf("read %q", got[0])
	}
}

// TestKillAfterRetentionKeepsOffsets lets every record of a partition but the last expire, kills the broker, and sees that offsets go on where they were.
func TestKillAfterRetentionKeepsOffsets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, addr := startHolder(t, dir)
	cl := newClient(t, addr)
	createTopic(t, cl, "aging", map[string]string{"retention.ms": "3600000"})
	for range 10 {
		old := record("aging", "old")
		old.Timestamp = time.Now().Add(-2 * time.Hour)
		produce(t, cl, old)
	}
	awaitStart(t, cl, "aging", 9)
	cl.Close()
	kill(t, holder)

	b := openBroker(t, Config{Dir: dir})
	next := record("aging", "next")
	produce(t, newClient(t, b.Addr()), next)
	if next.Offset != 10 {
		t.Errorf("offset after kill and restart %d, want 10", next.Offset)
	}
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	t.Parallel()
	b := openBroker(t, Config{})
	if _, err := os.Stat(b.dir); err != nil {
		t.Fatal(err)
	}
	closeBroker(t, b)
	if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary folder after Close: %v, want it gone", err)
	}
}

func TestTopicsAreNotCreatedByAsking(t *testing.T) {
	t.Parallel()
	b := openBroker(t, Config{})
	cl := newClient(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := cl.ProduceSync(ctx, record("unknown", "value")).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to an unknown topic: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

// TestRecordSizes holds the limits of the topics: one that sets 16 MiB takes a record of 15 MiB that does not compress, and one that sets less
// refuses more than that.
func TestRecordSizes(t *testing.T) {
	t.Parallel()
	b := openBroker(t, Config{})
	cl := newClient(t, b.Addr(), kgo.ConsumeTopics("large"), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxPartitionBytes(32<<20))
	createTopic(t, cl, "large", map[string]string{"max.message.bytes": strconv.Itoa(16 << 20)})
	createTopic(t, cl, "small", map[string]string{"max.message.bytes": "1000"})
	value := make([]byte, 15<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value)
	produce(t, cl, record("large", string(value)))
	if got := read(t, cl, 1); got[0] != string(value) {
		t.Error("the large record came back changed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	err := cl.ProduceSync(ctx, record("small", string(value[:2000]))).FirstErr()
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("2000 bytes to a topic of 1000: %v, want %v", err, kerr.MessageTooLarge)
	}
}

// TestRetentionByTime writes a record that outlived its topic's retention and one that did not.
func TestRetentionByTime(t *testing.T) {
	t.Parallel()
	b, err := open(Config{Logger: testkit.Logger(t)}, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	cl := newClient(t, b.Addr())
	createTopic(t, cl, "aging", map[string]string{"retention.ms": "3600000"})
	old := record("aging", "old")
	old.Timestamp = time.Now().Add(-2 * time.Hour)
	produce(t, cl, old)
	produce(t, cl, record("aging", "young"))
	awaitStart(t, cl, "aging", 1)
	reader := newClient(t, b.Addr(), kgo.ConsumeTopics("aging"))
	if got := read(t, reader, 1); got[0] != "young" {
		t.Errorf("read %q, want %q", got[0], "young")
	}
}

// TestCompactedTopicsAreKept has old records and superseded ones on a topic that is state: all of them stay.
func TestCompactedTopicsAreKept(t *testing.T) {
	t.Parallel()
	b, err := open(Config{Logger: testkit.Logger(t)}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	cl := newClient(t, b.Addr(), kgo.ConsumeTopics("state"))
	createTopic(t, cl, "state", map[string]string{"cleanup.policy": "compact", "retention.ms": "1000"})
	for i := range 5 {
		old := &kgo.Record{Topic: "state", Key: []byte("key"), Value: []byte(strconv.Itoa(i)), Timestamp: time.Now().Add(-1000 * time.Hour)}
		produce(t, cl, old)
	}
	if err := b.dropExpired(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, cl, 5); got[0] != "0" || got[4] != "4" {
		t.Errorf("read %q, want all five records", got)
	}
}

func TestRetentionOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		configs map[string]string
		want    time.Duration
		limited bool
	}{
		{"says nothing", nil, 0, false},
		{"an hour", map[string]string{"retention.ms": "3600000"}, time.Hour, true},
		{"delete", map[string]string{"cleanup.policy": "delete", "retention.ms": "1000"}, time.Second, true},
		{"for ever", map[string]string{"retention.ms": "-1"}, 0, false},
		{"compacted", map[string]string{"cleanup.policy": "compact", "retention.ms": "1000"}, 0, false},
		{"both", map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "1000"}, time.Second, true},
		{"no number", map[string]string{"retention.ms": "soon"}, 0, false},
		{"too long for a duration", map[string]string{"retention.ms": "9223372036854775807"}, 0, false},
	}
	for _, tt := range tests {
		configs := map[string]*string{}
		for k, v := range tt.configs {
			configs[k] = &v
		}
		if got, limited := retentionOf(configs); got != tt.want || limited != tt.limited {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, got, limited, tt.want, tt.limited)
		}
	}
}

// awaitStart waits until the first offset of partition 0 is the wanted one.
func awaitStart(t *testing.T, cl *kgo.Client, topic string, want int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
		if err != nil {
			t.Fatalf("list start offsets: %v", err)
		}
		start, _ := starts.Lookup(topic, 0)
		if start.Offset == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
