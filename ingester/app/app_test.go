package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/service"
	"millrace/pkg/wire"
)

// world is a simulated Microsoft 365, an embedded broker and the configuration of an ingester between them.
type world struct {
	t      testing.TB
	sim    *m365sim.Server
	broker *broker.Broker
	cfg    Config
	logs   *lockedBuffer

	mu         sync.Mutex // guards registries
	registries []*prometheus.Registry
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB, records int, change func(*m365sim.Config)) *world {
	t.Helper()
	sc := m365sim.Config{
		Tenants: []tenant.Config{{Seed: 7, Records: records, LiveRate: -1, ExpireAfter: 9 * 24 * time.Hour}},
		Dir:     t.TempDir(), AlwaysSubscribed: true, Quota: -1, PageSize: 50,
	}
	if change != nil {
		change(&sc)
	}
	sim, err := m365sim.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sim: sim, broker: b, logs: &lockedBuffer{}}
	people := peopleOf(t, sim)
	t.Cleanup(func() {
		if err := errors.Join(sim.Close(context.Background()), b.Close()); err != nil {
			t.Log(err)
		}
		w.discreet(people)
		if t.Failed() {
			lines := strings.Split(w.logs.String(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	w.cfg = DefaultConfig()
	w.cfg.Kafka.Brokers = []string{b.Addr()}
	w.cfg.Kafka.Partitions, w.cfg.Kafka.ControlPartitions = 3, 2
	w.cfg.Limits.PollFastest, w.cfg.Limits.PollSlowest = 200*time.Millisecond, time.Second
	w.cfg.Limits.RetryWait = 20 * time.Millisecond
	for _, st := range sim.Tenants() {
		w.cfg.Tenants = append(w.cfg.Tenants, Tenant{
			ID: st.ID(), ClientID: m365sim.DefaultClientID, Secret: conf.SecretValue(m365sim.DefaultClientSecret),
			Hosts: Hosts{Authority: sim.URL(), API: sim.URL(), Graph: sim.URL()}, CAFile: sim.CAFile(), RequestsPerMinute: 1_000_000,
		})
	}
	return w
}

func (w *world) runtime() service.Runtime {
	reg := prometheus.NewRegistry()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.registries = append(w.registries, reg)
	return service.Runtime{Log: slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Registry: reg}
}

// run runs an ingester until done says so, or the test's patience ends.
func (w *world) run(done func() bool) {
	w.t.Helper()
	w.runFor(2*time.Minute, done)
}

func (w *world) runFor(patience time.Duration, done func() bool) {
	w.t.Helper()
	a, err := New(w.t.Context(), w.cfg, w.runtime())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for ctx.Err() == nil && !done() {
		select {
		case err := <-ended:
			w.t.Fatalf("the ingester ended: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if ctx.Err() != nil {
		w.t.Errorf("not done in %s", patience)
	}
	cancel()
	if err := <-ended; err != nil {
		w.t.Errorf("run: %v", err)
	}
}

// topic is what a read-committed reader of franz-go has seen of some topics.
type topic struct {
	mu   sync.Mutex // guards recs
	recs []*kgo.Record
}

// read starts an independent reader of topics; it ends with the test.
func (w *world) read(topics ...string) *topic {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.UnknownTopicRetries(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	out := &topic{}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fs := cl.PollFetches(ctx)
			out.mu.Lock()
			out.recs = append(out.recs, fs.Records()...)
			out.mu.Unlock()
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done; cl.Close() })
	return out
}

func (p *topic) all() []*kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*kgo.Record(nil), p.recs...)
}

func (p *topic) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.recs)
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// expected lists the tenant's records up to a moment by content id and index.
func (w *world) expected(until time.Time) map[string][32]byte {
	w.t.Helper()
	want := make(map[string][32]byte)
	for _, st := range w.sim.Tenants() {
		err := st.Blobs(w.t.Context(), until, func(b tenant.Blob) error {
			for i, r := range b.Records {
				want[fmt.Sprintf("%s/%d", b.ContentID, i)] = sha256.Sum256(r)
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return want
}

// verify holds what is on the raw topics against what the tenant has: each record once, byte for byte, nothing else.
func (w *world) verify(raw *topic, must, may map[string][32]byte) {
	w.t.Helper()
	got := make(map[string]int)
	for _, r := range raw.all() {
		id := header(r, "ce_id")
		got[id]++
		if got[id] > 1 {
			w.t.Errorf("record %s is there %d times", id, got[id])
		}
		if sum, ok := may[id]; !ok || sum != sha256.Sum256(r.Value) {
			w.t.Errorf("record %s: known to the tenant %v, or its bytes differ", id, ok)
		}
	}
	missing := 0
	for id := range must {
		if got[id] == 0 {
			missing++
		}
	}
	if missing > 0 {
		w.t.Errorf("%d of %d records are missing", missing, len(must))
	}
}

func (w *world) rawTopics() []string { return w.cfg.Kafka.Names().RawAll() }

func TestWeekArrivesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3000, nil)
	must := w.expected(time.Time{})
	raw, ledger := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Ledger())
	dir := w.read(w.cfg.Kafka.Names().Directory())
	complete := func() bool {
		for _, r := range dir.all() {
			if strings.HasSuffix(string(r.Key), ":"+wire.KindComplete) {
				return raw.count() >= len(must)
			}
		}
		return false
	}
	w.run(complete)
	w.run(func() bool { return w.sim.Ledger().Requests["list"]["ok"] > 0 && raw.count() >= len(must) }) // once more: adds nothing
	w.verify(raw, must, w.expected(time.Now().Add(48*time.Hour)))
	if n := ledger.count(); n == 0 {
		t.Error("nothing on the ledger")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2000, func(c *m365sim.Config) {
		for _, name := range []string{
			m365sim.FaultThrottle403, m365sim.FaultInternal, m365sim.FaultGateway, m365sim.FaultCut, m365sim.FaultTruncated, m365sim.FaultDrop,
			m365sim.FaultUnauthorized, m365sim.FaultLost,
		} {
			c.Faults = append(c.Faults, m365sim.Fault{Name: name, Rate: 0.03})
		}
	})
	must := w.expected(time.Time{})
	raw := w.read(w.rawTopics()...)
	w.run(func() bool { return raw.count() >= len(must)/2 }) // and a restart in the middle
	w.run(func() bool { return raw.count() >= len(must) })
	w.verify(raw, must, w.expected(time.Now().Add(48*time.Hour)))
}

// TestMissingPermissionStopsOneContentType: without ReadDlp only DLP.All is missing, and its status says what to do.
func TestMissingPermissionStopsOneContentType(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000, func(c *m365sim.Config) {
		c.Apps = []m365sim.App{{
			ClientID: m365sim.DefaultClientID, Secret: m365sim.DefaultClientSecret, Roles: []string{"ActivityFeed.Read", "Directory.Read.All"},
		}}
	})
	must := w.expected(time.Time{})
	for _, st := range w.sim.Tenants() {
		err := st.Blobs(t.Context(), time.Time{}, func(b tenant.Blob) error {
			if b.ContentType == "DLP.All" {
				for i := range b.Records {
					delete(must, fmt.Sprintf("%s/%d", b.ContentID, i))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, status := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Status())
	w.run(func() bool {
		for _, r := range status.all() {
			var s wire.Status
			if strings.HasSuffix(string(r.Key), ":dlp") && json.Unmarshal(r.Value, &s) == nil && s.State == wire.StateActionRequired {
				return raw.count() >= len(must) && strings.Contains(s.Remedy, "ReadDlp") && s.Code == "missing_role"
			}
		}
		return false
	})
	w.verify(raw, must, w.expected(time.Now().Add(48*time.Hour)))
}
