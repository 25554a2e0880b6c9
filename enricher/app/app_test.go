package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/service"
	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const (
	// patience bounds what a test waits for; nothing depends on its value but how long a broken test takes.
	patience = 90 * time.Second
	tenant   = audit.TenantID("00000000-aaaa-4000-8000-000000000001")
	adaID    = "00000000-0000-4000-8000-0000000000a1"
)

// pipeline is a broker with an enricher's topics and an independent client.
type pipeline struct {
	t      testing.TB
	cfg    Config
	names  wire.Names
	client *kgo.Client
}

func newPipeline(t testing.TB, addr string) *pipeline {
	t.Helper()
	cfg := Default()
	cfg.Admin.Listen = "off"
	cfg.Kafka.Brokers = []string{addr}
	cfg.Kafka.Prefix = "test"
	cfg.Kafka.Partitions, cfg.Kafka.ControlPartitions, cfg.Kafka.Replication = 3, 2, 1
	cfg.Directory.Wait = time.Hour
	cfg.Network.Ranges = []Range{{Name: "head office", Subnets: []string{"203.0.113.0/24"}, Category: "Corporate"}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &pipeline{t: t, cfg: cfg, names: cfg.Kafka.Names(), client: client}
}

// embedded is a pipeline on the embedded broker.
func embedded(t testing.TB) *pipeline {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: t.TempDir(), Logger: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return newPipeline(t, b.Addr())
}

// enricher is a running App.
type enricher struct {
	*App
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error
}

func (p *pipeline) start() *enricher {
	p.t.Helper()
	rt := service.Runtime{Log: testkit.Logger(p.t), Registry: prometheus.NewRegistry()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	a, err := New(ctx, p.cfg, rt)
	if err != nil {
		cancel()
		p.t.Fatal(err)
	}
	e := &enricher{App: a, registry: rt.Registry, cancel: cancel, done: make(chan error, 1)}
	go func() { e.done <- a.Run(ctx) }()
	p.t.Cleanup(func() { e.stop(p.t) })
	return e
}

// stop stops gracefully; it may be called twice.
func (e *enricher) stop(t testing.TB) {
	t.Helper()
	e.cancel()
	if err, first := <-e.done; first {
		close(e.done)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (p *pipeline) produce(recs ...kafkatx.Record) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var out []*kgo.Record
	for _, r := range recs {
		k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		out = append(out, k)
	}
	if err := p.client.ProduceSync(ctx, out...).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// read returns all records of topics up to their present ends, committed ones only or all of them.
func (p *pipeline) read(level kgo.IsolationLevel, topics ...string) []*kgo.Record {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(p.client).ListEndOffsets(ctx, topics...)
	if err != nil {
		p.t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.cfg.Kafka.Brokers...), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(level),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Close()
	type place struct {
		topic     string
		partition int32
	}
	behind := map[place]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			behind[place{o.Topic, o.Partition}] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(behind) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			p.t.Fatalf("read %v: %v; still behind: %v", topics, err, behind)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition}
			if end, ok := behind[at]; ok && r.Offset+1 >= end {
				delete(behind, at)
			}
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
	return out
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// event is normalized event number i, as the normalizer writes it.
func (p *pipeline) event(i int) kafkatx.Record {
	user := fmt.Sprintf("user%d@example.org", i%7)
	if i%7 == 0 {
		user = "ada@example.org"
	}
	raw := fmt.Appendf(nil, `{"Id":"%d","CreationTime":"2026-03-02T09:00:00","UserId":%q,"Operation":"Test"}`, i, user)
	env, err := audit.ParseEnvelope(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	rec := wire.RawRecord(p.names, p.cfg.Kafka.Partitions, audit.Record{Raw: raw, Provenance: audit.Provenance{
		Tenant: tenant, Source: audit.SourceGeneral, Domain: audit.DomainAudit, ContentType: "Audit.General", ContentID: "blob", Index: i,
		Created: time.UnixMilli(1772442000000), Fetched: time.UnixMilli(1772442001000),
	}}, env)
	workloads := audit.Workloads()
	value := fmt.Appendf(nil, `{"class_uid":6003,"metadata":{"uid":"uid-%d"},"actor":{"user":{"name":%q}},"src_endpoint":{"ip":"203.0.113.9"}}`, i, user)
	return wire.EventRecord(p.names, rec, wire.Event{UID: fmt.Sprintf("uid-%d", i), ClassUID: 6003, TypeUID: 600399, SeverityID: 1, TimeMillis: 1772442000000, Workload: workloads[i%len(workloads)], Value: value})
}

func (p *pipeline) directory(kind, id, value string) kafkatx.Record {
	key := string(tenant) + ":" + kind
	if id != "" {
		key += ":" + id
	}
	r := kafkatx.Record{Topic: p.names.Directory(), Partition: kafkatx.Partition([]byte(tenant), p.cfg.Kafka.ControlPartitions), Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	return r
}

func (p *pipeline) ada(department string) kafkatx.Record {
	return p.directory(wire.KindUser, adaID, fmt.Sprintf(`{"id":%q,"user_principal_name":"ada@example.org","user_type":"Member","department":%q}`, adaID, department))
}

func (p *pipeline) complete() kafkatx.Record {
	return p.directory(wire.KindComplete, "", `{"version":"1","at":"2026-03-02T09:00:00Z","objects":1}`)
}

// checkOnce fails unless the enriched topics hold exactly the given events, each once, beside its input and with its members.
func (p *pipeline) checkOnce(want map[string]kafkatx.Record) {
	p.t.Helper()
	seen := map[string]int{}
	for _, r := range p.read(kgo.ReadCommitted(), p.names.EnrichedAll()...) {
		var got struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
			Enrichments []struct {
				Name string `json:"name"`
			} `json:"enrichments"`
		}
		if err := json.Unmarshal(r.Value, &got); err != nil {
			p.t.Fatalf("%s: %v", r.Value, err)
		}
		in, ok := want[got.Metadata.UID]
		if !ok {
			p.t.Errorf("nobody wrote %s", got.Metadata.UID)
			continue
		}
		seen[got.Metadata.UID]++
		if topic := strings.Replace(in.Topic, ".events.", ".enriched.", 1); r.Topic != topic || r.Partition != in.Partition || !bytes.Equal(r.Key, in.Key) {
			p.t.Errorf("%s is on %s[%d] under %s", got.Metadata.UID, r.Topic, r.Partition, r.Key)
		}
		if len(got.Enrichments) == 0 {
			p.t.Errorf("%s was not enriched", got.Metadata.UID)
		}
		p.checkHeaders(in, r)
	}
	for uid := range want {
		if seen[uid] != 1 {
			p.t.Errorf("%s is there %d times", uid, seen[uid])
		}
	}
}

func (p *pipeline) checkHeaders(in kafkatx.Record, out *kgo.Record) {
	p.t.Helper()
	if len(in.Headers) != len(out.Headers) {
		p.t.Fatalf("%d headers became %d", len(in.Headers), len(out.Headers))
	}
	for i, h := range out.Headers {
		want := string(in.Headers[i].Value)
		switch h.Key {
		case wire.HeaderType:
			want = "millrace.m365.enriched.v1"
		case wire.HeaderDataSchema:
			want = "urn:millrace:schema:enriched:v1"
		}
		if h.Key != in.Headers[i].Key || string(h.Value) != want {
			p.t.Errorf("header %s is %q, want %s %q", h.Key, h.Value, in.Headers[i].Key, want)
		}
	}
}

func (p *pipeline) countEnriched() int {
	return len(p.read(kgo.ReadCommitted(), p.names.EnrichedAll()...))
}

func TestEnrichesEveryEventOnce(t *testing.T) {
	t.Parallel()
	p := embedded(t)
	first := p.start()
	if err := first.Ready(); err == nil {
		t.Error("ready without a directory")
	}
	want := map[string]kafkatx.Record{}
	send := func(from, to int) {
		var recs []kafkatx.Record
		for i := from; i < to; i++ {
			r := p.event(i)
			want[fmt.Sprintf("uid-%d", i)] = r
			recs = append(recs, r)
		}
		p.produce(recs...)
	}
	send(0, 200)
	if n := p.countEnriched(); n != 0 {
		t.Errorf("%d events did not wait for the directory", n)
	}
	p.produce(p.ada("Research"), p.directory(wire.KindDomain, "example.org", `{"id":"example.org"}`), p.complete())
	eventually(t, "ready", func() bool { return first.Ready() == nil })

	bad := p.event(1000)
	bad.Value = []byte("no event \xff")
	empty := p.event(1001)
	empty.Value = nil
	p.produce(bad, empty)
	send(200, 400)
	eventually(t, "half of the events", func() bool { return p.countEnriched() >= 200 })
	first.stop(t)
	send(400, 600)
	second := p.start()
	eventually(t, "all events", func() bool { return p.countEnriched() >= len(want) })
	p.checkOnce(want)

	dead := p.read(kgo.ReadCommitted(), p.names.DeadLetter(false))
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2", len(dead))
	}
	for _, d := range dead {
		if reason := headerOf(d, wire.HeaderReason); reason != string(wire.ReasonInvalidEvent) || !bytes.Equal(d.Value, bad.Value) && len(d.Value) != 0 {
			t.Errorf("dead letter %q, reason %s", d.Value, reason)
		}
	}
	for _, r := range p.read(kgo.ReadCommitted(), p.names.EnrichedAll()...) {
		if ada := bytes.Contains(r.Value, []byte(`"ada@example.org"`)); ada != bytes.Contains(r.Value, []byte(`"department":"Research"`)) || !bytes.Contains(r.Value, []byte(`"category":"Corporate"`)) {
			t.Errorf("joined wrongly: %s", r.Value)
		}
	}
	counted := 0.0
	for _, e := range []*enricher{first, second} {
		e.stop(t)
		counted += counter(t, e.registry, "millrace_enricher_events_total")
	}
	if int(counted) != len(want) {
		t.Errorf("%v events were counted, want %d", counted, len(want))
	}
	if n := testutil.CollectAndCount(second.registry, "millrace_enricher_lookups_total", "millrace_pipeline_delay_seconds"); n < 2 {
		t.Errorf("%d series of lookups and delay", n)
	}
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func counter(t testing.TB, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestDirectoryUpdateReachesLaterEvents(t *testing.T) {
	t.Parallel()
	p := embedded(t)
	e := p.start()
	p.produce(p.ada("Research"), p.complete())
	eventually(t, "ready", func() bool { return e.Ready() == nil })
	p.produce(p.event(0))
	eventually(t, "the first event", func() bool { return p.countEnriched() == 1 })
	before := e.directory.Snapshot()
	p.produce(p.ada("Development"))
	eventually(t, "the update is published", func() bool { return e.directory.Snapshot() != before })
	p.produce(p.event(7))
	eventually(t, "the second event", func() bool { return p.countEnriched() == 2 })
	for _, r := range p.read(kgo.ReadCommitted(), p.names.EnrichedAll()...) {
		want := `"department":"Research"`
		if headerOf(r, wire.HeaderID) == "uid-7" {
			want = `"department":"Development"`
		}
		if !bytes.Contains(r.Value, []byte(want)) {
			t.Errorf("no %s in %s", want, r.Value)
		}
	}
}

// TestAbortAfterProduce refuses some offset commits: by then the events are produced, so they have to be aborted and done again.
func TestAbortAfterProduce(t *testing.T) {
	t.Parallel()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	var armed atomic.Bool
	var refused atomic.Int32
	k.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		in, ok := req.(*kmsg.TxnOffsetCommitRequest)
		k.KeepControl()
		if !ok || !armed.Load() || refused.Add(1) > 6 {
			return nil, nil, false
		}
		resp := in.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, topic := range in.Topics {
			t := kmsg.NewTxnOffsetCommitResponseTopic()
			t.Topic = topic.Topic
			for _, part := range topic.Partitions {
				p := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				p.Partition, p.ErrorCode = part.Partition, kerr.TransactionAbortable.Code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
	p := newPipeline(t, k.ListenAddrs()[0])
	p.cfg.Directory.Wait = 0
	e := p.start()
	eventually(t, "ready", func() bool { return e.Ready() == nil })
	armed.Store(true)
	want := map[string]kafkatx.Record{}
	for i := range 60 {
		r := p.event(i)
		want[fmt.Sprintf("uid-%d", i)] = r
		p.produce(r)
	}
	eventually(t, "all events", func() bool { return p.countEnriched() >= len(want) })
	e.stop(t)
	p.checkOnce(want)
	if all := p.read(kgo.ReadUncommitted(), p.names.EnrichedAll()...); len(all) <= len(want) || refused.Load() < 6 {
		t.Errorf("%d records with the aborted ones, %d commits refused: the fault was not hit", len(all), refused.Load())
	}
	if n := counter(t, e.registry, "millrace_enricher_events_total"); int(n) != len(want) {
		t.Errorf("%v events were counted, want %d: aborted ones must not count", n, len(want))
	}
	for _, r := range p.read(kgo.ReadCommitted(), p.names.EnrichedAll()...) {
		if !bytes.Contains(r.Value, []byte(`"directory":"incomplete"`)) {
			t.Errorf("without a directory the event must say so: %s", r.Value)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := embedded(t)
	check := func(args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		args = append([]string{"-check", "-set", "kafka.brokers=" + p.cfg.Kafka.Brokers[0], "-set", "kafka.prefix=test", "-set", "kafka.partitions=3", "-set", "kafka.control_partitions=2"}, args...)
		code = service.Run(t.Context(), Program(), args, nil, strings.NewReader(""), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	if code, out := check(); code != 0 || !strings.Contains(out, "created by the first start") {
		t.Errorf("without topics: exit code %d: %s", code, out)
	}
	if code, out := check("-set", "kafka.topics.create=false"); code != 1 || !strings.Contains(out, "test.events") {
		t.Errorf("without topics and not allowed to create them: exit code %d: %s", code, out)
	}
	p.start().stop(t) // makes them
	if code, out := check(); code != 0 || !strings.Contains(out, "topics: ok") {
		t.Errorf("with topics: exit code %d: %s", code, out)
	}
	if code, out := check("-set", "kafka.partitions=4"); code != 1 || !strings.Contains(out, "counts are for life") {
		t.Errorf("with another count: exit code %d: %s", code, out)
	}
	if code, out := check("-set", "network.location_file=testdata/good.yaml"); code != 1 || !strings.Contains(out, "network.location_file") {
		t.Errorf("with a file that is no MMDB: exit code %d: %s", code, out)
	}
}

func TestUnreachableBroker(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	_, err := New(t.Context(), cfg, service.Runtime{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("err = %v, want one that names the broker", err)
	}
}
