package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/service"
	"millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// patience bounds what a test waits for; nothing depends on its value but how long a broken test takes.
const patience = 90 * time.Second

const (
	tenantID   = audit.TenantID("11111111-2222-3333-4444-555555555555")
	partitions = 2
	secret     = "4929-1234-5678-9012" // what a DLP rule matched
)

var (
	names = wire.Names{Prefix: "m365"}
	began = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
)

// pipe is a broker with raw topics, a normalizer on it, and a witness.
type pipe struct {
	t       testing.TB
	ctx     context.Context
	broker  *kfake.Cluster // nil when the brokers are real
	brokers []string
	client  *kgo.Client
	running *running
}

type running struct {
	cancel context.CancelFunc
	done   chan error
	app    *app.App
}

func newPipe(t testing.TB) *pipe {
	t.Helper()
	return newPipeFor(t, patience)
}

func newPipeFor(t testing.TB, bound time.Duration) *pipe {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "500"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	p := newPipeOn(t, broker.ListenAddrs(), bound)
	p.broker = broker
	return p
}

// newPipeOn makes a pipe on brokers that run already.
func newPipeOn(t testing.TB, brokers []string, bound time.Duration) *pipe {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	p := &pipe{t: t, ctx: ctx, brokers: brokers, client: client}
	p.createTopics()
	return p
}

// config is that of the test's deployment.
func (p *pipe) config() app.Config {
	cfg := app.DefaultConfig()
	cfg.Kafka.Brokers = p.brokers
	cfg.Kafka.Partitions, cfg.Kafka.ControlPartitions = partitions, 1
	return cfg
}

// createTopics makes the topics of all binaries, as another one that started earlier would.
func (p *pipe) createTopics() {
	p.t.Helper()
	k := p.config().Kafka
	for _, spec := range k.Specs("") {
		configs := map[string]*string{}
		for key, value := range spec.Configs {
			configs[key] = &value
		}
		res, err := kadm.NewClient(p.client).CreateTopic(p.ctx, int32(spec.Partitions), 1, configs, spec.Name)
		if err != nil || res.Err != nil {
			p.t.Fatalf("create %s: %v %v", spec.Name, err, res.Err)
		}
	}
}

// start runs a normalizer in the background.
func (p *pipe) start(cfg app.Config) {
	p.t.Helper()
	p.running = p.launch(cfg)
}

// launch runs one more normalizer in the background.
func (p *pipe) launch(cfg app.Config) *running {
	p.t.Helper()
	a, err := app.New(p.ctx, cfg, service.NewRuntime("normalizer", cfg.Service, testLog{p.t}))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	r := &running{cancel: cancel, done: make(chan error, 1), app: a}
	go func() { r.done <- a.Run(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		_ = r.stopped() // judged by stop, if by anyone
	})
	return r
}

// stop ends the normalizer gracefully.
func (p *pipe) stop() {
	p.t.Helper()
	p.running.cancel()
	if err := p.running.stopped(); err != nil {
		p.t.Errorf("stop: %v", err)
	}
}

// stopped waits for the end; after the first call it says nil.
func (r *running) stopped() error {
	err, ok := <-r.done
	if ok {
		close(r.done)
	}
	return err
}

// testLog writes to the test's log as long as the test runs.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", bytes.TrimSpace(b))
	}
	return len(b), nil
}

// produce puts raw records on their topics, in order.
func (p *pipe) produce(records ...kafkatx.Record) {
	p.t.Helper()
	list := make([]*kgo.Record, len(records))
	for i, r := range records {
		list[i] = kgoRecord(r)
	}
	if err := p.client.ProduceSync(p.ctx, list...).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

func kgoRecord(r kafkatx.Record) *kgo.Record {
	out := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

// caughtUp waits until the group has committed everything that is on the raw topics.
func (p *pipe) caughtUp() {
	p.t.Helper()
	adm := kadm.NewClient(p.client)
	for {
		ends, err := adm.ListEndOffsets(p.ctx, names.RawAll()...)
		if err != nil {
			p.t.Fatal(err)
		}
		committed, err := adm.FetchOffsets(p.ctx, "m365.normalizer")
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // not yet
			p.t.Fatal(err)
		}
		behind := 0
		ends.Each(func(end kadm.ListedOffset) {
			at, found := committed.Lookup(end.Topic, end.Partition)
			if end.Offset > 0 && (!found || at.At < end.Offset) {
				behind++
			}
		})
		if behind == 0 {
			return
		}
		select {
		case err := <-p.running.done:
			p.t.Fatalf("the normalizer ended: %v", err)
		case <-p.ctx.Done():
			p.t.Fatalf("still behind on %d partitions", behind)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settled returns where the committed records of topics end, when no transaction is open on them any more: Apache Kafka answers a commit before its
// markers are on every partition. A transaction that a killed process left open is waited for a while only.
func (p *pipe) settled(topics ...string) kadm.ListedOffsets {
	p.t.Helper()
	adm := kadm.NewClient(p.client)
	for range 200 {
		ends, err := adm.ListEndOffsets(p.ctx, topics...)
		if err != nil {
			p.t.Fatal(err)
		}
		stable, err := adm.ListCommittedOffsets(p.ctx, topics...)
		if err != nil {
			p.t.Fatal(err)
		}
		open := false
		ends.Each(func(o kadm.ListedOffset) {
			at, found := stable.Lookup(o.Topic, o.Partition)
			open = open || !found || at.Offset < o.Offset
		})
		if !open {
			return stable
		}
		time.Sleep(50 * time.Millisecond)
	}
	stable, err := adm.ListCommittedOffsets(p.ctx, topics...)
	if err != nil {
		p.t.Fatal(err)
	}
	return stable
}

// committed reads what is visible on topics.
func (p *pipe) committed(topics ...string) []*kgo.Record {
	p.t.Helper()
	ends := p.settled(topics...)
	left := map[string]map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			if left[o.Topic] == nil {
				left[o.Topic] = map[int32]int64{}
			}
			left[o.Topic][o.Partition] = o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		p.t.Fatal(err)
	}
	defer reader.Close()
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := reader.PollFetches(p.ctx)
		if err := fetches.Err(); err != nil {
			p.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= left[r.Topic][r.Partition] {
				delete(left[r.Topic], r.Partition)
				if len(left[r.Topic]) == 0 {
					delete(left, r.Topic)
				}
			}
		})
	}
	return out
}

// ids lists the record ids on topics, sorted, with a star behind a variant.
func (p *pipe) ids(topics ...string) []string {
	p.t.Helper()
	out := []string{}
	for _, r := range p.committed(topics...) {
		id := header(r, wire.HeaderRecordID)
		if header(r, wire.HeaderVariant) == "true" {
			id += "*"
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// record is a raw record of one of two users; extra is one more member.
func record(source audit.Source, id, extra string) kafkatx.Record {
	domain, recordType, workload := audit.DomainAudit, 6, "SharePoint"
	if source == audit.SourceDLP {
		domain, recordType = audit.DomainDLP, 11
	}
	if id == "mail" {
		recordType, workload = 2, "Exchange"
	}
	body := fmt.Sprintf(`{"Id":%q,"CreationTime":"2026-03-02T08:00:00","RecordType":%d,"Operation":"FileAccessed","Workload":%q,"UserId":"u%d@example.org","UserType":0,"OrganizationId":%q%s}`,
		id, recordType, workload, len(id)%2, tenantID, extra)
	return rawRecord(source, domain, body)
}

func rawRecord(source audit.Source, domain audit.Domain, body string) kafkatx.Record {
	env, _ := audit.ParseEnvelope([]byte(body)) // of what is no record the empty envelope
	return wire.RawRecord(names, partitions, audit.Record{Raw: []byte(body), Provenance: audit.Provenance{
		Tenant: tenantID, Source: source, Domain: domain, ContentType: "Audit." + string(source), ContentID: "blob", Created: began, Fetched: began.Add(time.Minute),
	}}, env)
}

func TestRepeatsVariantsAndRefusals(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.produce(
		record(audit.SourceSharePoint, "one", ""), record(audit.SourceSharePoint, "one", ""), record(audit.SourceGeneral, "one", ""),
		record(audit.SourceSharePoint, "two", ""), record(audit.SourceSharePoint, "two", `,"ItemType":"File"`),
		record(audit.SourceExchange, "mail", ""), record(audit.SourceImport, "mail", ""),
		record(audit.SourceDLP, "match", `,"PolicyDetails":[{"PolicyId":"p","PolicyName":"Cards","Rules":[{"RuleId":"r","RuleName":"Card","ConditionsMatched":{"SensitiveInformation":[{"SensitiveType":"50842eb7-edc8-4019-85dd-5a5c1f2bb085","Count":1,"SensitiveInformationDetections":{"DetectedValues":[{"Name":"`+secret+`","Value":"card `+secret+`"}]}}]}}]}]`),
		rawRecord(audit.SourceDLP, audit.DomainDLP, `{"Id":"broken","Matched":"`+secret+`"}`),
		rawRecord(audit.SourceSharePoint, audit.DomainAudit, `{"Id":"no time"}`),
		rawRecord(audit.SourceSharePoint, audit.DomainAudit, `not JSON`),
	)
	p.start(p.config())
	p.caughtUp()
	p.produce(record(audit.SourceSharePoint, "one", ""), record(audit.SourceSharePoint, "three", "")) // and again in a later batch
	p.caughtUp()

	if diff := cmp.Diff([]string{"one", "three", "two", "two*"}, p.ids(names.Events(audit.WorkloadSharePoint))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"mail"}, p.ids(names.Events(audit.WorkloadExchange))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"match"}, p.ids(names.Events(audit.WorkloadDLP))); diff != "" {
		t.Error(diff)
	}
	refused := map[string]string{}
	for _, r := range p.committed(names.DeadLetter(false), names.DeadLetter(true)) {
		refused[string(r.Value)] = r.Topic + " " + header(r, wire.HeaderReason)
	}
	want := map[string]string{
		`{"Id":"broken","Matched":"` + secret + `"}`: names.DeadLetter(true) + " no_time",
		`{"Id":"no time"}`:                           names.DeadLetter(false) + " no_time",
		`not JSON`:                                   names.DeadLetter(false) + " invalid_json",
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Error(diff)
	}
	p.noSecretOutside(names.Raw(audit.SourceDLP), names.DeadLetter(true))
}

// noSecretOutside reads every topic but those that may hold what a DLP rule matched.
func (p *pipe) noSecretOutside(allowed ...string) {
	p.t.Helper()
	var topics []string
	for _, spec := range p.config().Kafka.Specs("") {
		if !slices.Contains(allowed, spec.Name) {
			topics = append(topics, spec.Name)
		}
	}
	for _, r := range p.committed(topics...) {
		if bytes.Contains(r.Value, []byte(secret)) {
			p.t.Errorf("%s holds what a DLP rule matched", r.Topic)
		}
		for _, h := range r.Headers {
			if bytes.Contains(h.Value, []byte(secret)) {
				p.t.Errorf("%s: header %s holds what a DLP rule matched", r.Topic, h.Key)
			}
		}
	}
}

// TestAbortedAfterProduceIsRedone is the test of the overlay: without it the redo would take its own records for repeats.
func TestAbortedAfterProduceIsRedone(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	var refusedCommits atomic.Int32
	p.broker.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p.broker.KeepControl()
		end, ok := req.(*kmsg.EndTxnRequest)
		if !ok || !end.Commit || refusedCommits.Add(1) > 3 {
			return nil, nil, false
		}
		res, _ := end.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.InvalidTxnState.Code
		return res, nil, true
	})
	var want []string
	for i := range 200 {
		id := fmt.Sprintf("id-%03d", i)
		want = append(want, id)
		p.produce(record(audit.SourceSharePoint, id, ""))
	}
	p.produce(record(audit.SourceSharePoint, want[0], ""))
	p.start(p.config())
	p.caughtUp()
	if refusedCommits.Load() < 3 {
		t.Fatalf("only %d commits were refused", refusedCommits.Load())
	}
	if diff := cmp.Diff(want, p.ids(names.Events(audit.WorkloadSharePoint))); diff != "" {
		t.Error(diff)
	}
}

func TestRestartKnowsWhatWasPublished(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	first := []kafkatx.Record{record(audit.SourceSharePoint, "a", ""), record(audit.SourceSharePoint, "bb", ""), record(audit.SourceDLP, "a", "")}
	p.produce(first...)
	p.start(p.config())
	p.caughtUp()
	p.stop()
	p.produce(first...)
	p.produce(record(audit.SourceSharePoint, "a", `,"ItemType":"File"`), record(audit.SourceSharePoint, "cc", ""))
	p.start(p.config())
	p.caughtUp()
	p.stop()
	if diff := cmp.Diff([]string{"a", "a*", "bb", "cc"}, p.ids(names.Events(audit.WorkloadSharePoint))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a"}, p.ids(names.Events(audit.WorkloadDLP))); diff != "" {
		t.Error(diff)
	}
}

func TestFullMemoryStopsWithTheRemedy(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	cfg := p.config()
	cfg.Seen.Memory = 1 // below what Validate lets through
	p.produce(record(audit.SourceSharePoint, "a", ""))
	p.start(cfg)
	err := p.running.stopped()
	if err == nil || !strings.Contains(err.Error(), "raise it") || !strings.Contains(err.Error(), "seen.memory") {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	if out := p.mustRun("-check"); !strings.Contains(out, "topics: ok") {
		t.Errorf("check: %s", out)
	}
	if out := p.mustRun("-check", "-set", "kafka.prefix=other"); !strings.Contains(out, "other.seen.v1") {
		t.Errorf("check of another prefix: %s", out)
	}
	if out := p.mustRun("-check", "-set", "kafka.topics.raw_retention=90d"); !strings.Contains(out, "warning: broker setting offsets.retention.minutes") {
		t.Errorf("check with a long retention: %s", out)
	}
	for set, want := range map[string]string{"kafka.partitions=3": "counts are for life", "kafka.topics.create=false": "-topics prints the commands"} {
		code, _, errs := p.command("-check", "-set", "kafka.prefix="+map[bool]string{true: "m365", false: "other"}[strings.Contains(set, "partitions")], "-set", set)
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", set, code, errs)
		}
	}
}

// TestServedAsTheBinaryDoes runs the whole program, from arguments to the metrics page.
func TestServedAsTheBinaryDoes(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.produce(record(audit.SourceSharePoint, "a", ""))
	ctx, cancel := context.WithCancel(p.ctx)
	var logs lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- service.Run(ctx, app.Program(), []string{
			"-set", "kafka.brokers=" + strings.Join(p.brokers, ","), "-set", "kafka.partitions=2", "-set", "kafka.control_partitions=1", "-set", "admin.listen=off",
		}, nil, strings.NewReader(""), io.Discard, &logs)
	}()
	p.running = &running{done: make(chan error)}
	p.caughtUp()
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, logs.String())
	}
	for line := range strings.Lines(logs.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a JSON line: %s", line)
		}
	}
	if strings.Contains(logs.String(), "example.org") {
		t.Error("the log names a user")
	}
}

// lockedBuffer may be read while it is written to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
