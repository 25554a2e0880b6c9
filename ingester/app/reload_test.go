package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/service"
	"millrace/pkg/wire"
)

const otherTenant = "99999999-2222-3333-4444-555555555555"

// start runs an ingester until stop is called.
func (w *world) start(cfg Config) (a *App, stop func()) {
	w.t.Helper()
	a, err := New(w.t.Context(), cfg, w.runtime())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return a, stop
}

// await waits for a condition.
func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not in two minutes: %s", what)
		}
	}
}

// latest is the last value of a key that a reader of the status topic has seen.
func latest(p *topic, key string) (s wire.Status, there bool) {
	for _, r := range p.all() {
		if string(r.Key) == key {
			s = wire.Status{}
			there = r.Value != nil && json.Unmarshal(r.Value, &s) == nil
		}
	}
	return s, there
}

// byTenant counts records by tenant and content id.
func byTenant(p *topic) map[string]int {
	n := make(map[string]int)
	for _, r := range p.all() {
		n[header(r, "ce_tenantid")+" "+header(r, "ce_id")]++
	}
	return n
}

// TestTenantsComeAndGo adds, changes, pauses and removes tenants of a running ingester; nothing is read twice and nothing is left out.
func TestTenantsComeAndGo(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	w := fakeWorld(t, f)
	raw, status := w.read(w.cfg.Kafka.Names().Raw("general")), w.read(w.cfg.Kafka.Names().Status())
	a1 := w.cfg.Tenants[0]
	b1 := a1
	b1.ID = otherTenant
	for i := range 20 {
		f.add(fmt.Sprintf("old%d", i), array(record(2*i), record(2*i+1)), time.Duration(i+1)*time.Hour)
	}
	app, _ := w.start(w.cfg)
	reload := func(tenants ...Tenant) {
		t.Helper()
		cfg := w.cfg
		cfg.Tenants = tenants
		if err := app.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	has := func(tenant, blob string) func() bool {
		return func() bool { return byTenant(raw)[tenant+" "+blob] > 0 }
	}
	state := func(tenant, want string) func() bool {
		return func() bool { s, ok := latest(status, tenant+":general"); return ok && s.State == want }
	}
	w.await("the first tenant's week", func() bool { return raw.count() == 40 })
	reload(a1, b1)
	w.await("the second tenant's week", func() bool { return raw.count() == 80 })
	a2 := a1
	a2.Fetches = 3 // starts anew, from what is committed
	b2 := Tenant{ID: otherTenant, Paused: true}
	reload(a2, b2)
	w.await("disabled", state(otherTenant, wire.StateDisabled))
	f.add("while-paused", array(record(500)), 0)
	w.await("the blob of the tenant that is not paused", has(fakeTenant, "while-paused/0"))
	if has(otherTenant, "while-paused/0")() {
		t.Error("a paused tenant was read")
	}
	reload(a2, b1)
	w.await("the blob of the tenant that was paused", has(otherTenant, "while-paused/0"))
	w.await("connected", state(otherTenant, wire.StateConnected))
	reload(b1)
	w.await("a tenant in no list", state(fakeTenant, wire.StateActionRequired))
	if s, _ := latest(status, fakeTenant+":general"); s.Code != "tenant_not_configured" || !strings.Contains(s.Remedy, "add it") {
		t.Errorf("status %+v", s)
	}
	bad := w.cfg
	bad.Tenants = []Tenant{b1, {ID: "no"}}
	if err := app.Reload(bad); err == nil {
		t.Error("a bad list was taken")
	}
	f.add("last", array(record(501)), 0)
	w.await("the tenant that is left goes on", has(otherTenant, "last/0"))
	for id, n := range byTenant(raw) {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if n := raw.count(); n != 83 {
		t.Errorf("%d records, want 83", n)
	}
}

// TestReplicasWithDifferentLists: nobody may take it for granted that another replica reads a tenant.
func TestReplicasWithDifferentLists(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	w := fakeWorld(t, f)
	w.cfg.Limits.ListGrace = 100 * time.Millisecond
	status := w.read(w.cfg.Kafka.Names().Status())
	other := w.cfg.Tenants[0]
	other.ID = otherTenant
	both := w.cfg
	both.Tenants = append([]Tenant{other}, w.cfg.Tenants...)
	w.start(both)
	second, _ := w.start(w.cfg)
	differ := func() bool {
		s, ok := latest(status, otherTenant+":"+wire.ComponentReplicas)
		return ok && s.State == wire.StateActionRequired
	}
	w.await("the difference is reported", differ)
	if _, there := latest(status, fakeTenant+":"+wire.ComponentReplicas); there {
		t.Error("a tenant that both have is reported")
	}
	found, err := readStatus(t.Context(), w.cfg, w.runtime())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := found.print(&out, false, time.Now()); err == nil || !strings.Contains(out.String(), "tenant_lists_differ") {
		t.Errorf("status: %v\n%s", err, out.String())
	}
	if err := second.Reload(both); err != nil {
		t.Fatal(err)
	}
	w.await("the difference is over", func() bool { return !differ() })
}

func TestGapIsAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	f.add("there", array(record(1)), time.Hour)
	w := fakeWorld(t, f)
	raw, status := w.read(w.cfg.Kafka.Names().Raw("general")), w.read(w.cfg.Kafka.Names().Status())
	_, stop := w.start(w.cfg)
	w.await("the first record", func() bool { return raw.count() == 1 })
	f.set(func() {
		now := time.Now()
		f.blobs["gone"] = fakeBlob{body: "[]", created: now.Add(-time.Minute), expires: now.Add(-time.Second)}
	})
	gapsShown := func(n int) func() bool {
		return func() bool {
			s, ok := latest(status, fakeTenant+":general")
			return ok && s.Gaps == n && s.DataLoss == (n > 0)
		}
	}
	w.await("the gap is in the status", gapsShown(1))
	if report, code := verified(t, w.cfg); code != 1 || findings(report) != "gap" {
		t.Errorf("verify with an open gap: exit %d, %s", code, findings(report))
	}
	command := func(args ...string) (string, int) {
		t.Helper()
		var out, errs bytes.Buffer
		all := append([]string{args[0], "-set", "kafka.brokers=" + w.broker.Addr(), "-set", "kafka.partitions=3", "-set", "kafka.control_partitions=2"}, args[1:]...)
		code := service.Run(t.Context(), Program(), all, nil, nil, &out, &errs)
		return out.String() + errs.String(), code
	}
	if out, code := command("ack-gap"); code != 0 || !strings.Contains(out, "blob_expired") || !strings.Contains(out, "gone") {
		t.Errorf("list: exit %d\n%s", code, out)
	}
	if out, code := command("ack-gap", "0123"); code != 2 || !strings.Contains(out, "no open gap") {
		t.Errorf("unknown id: exit %d\n%s", code, out)
	}
	if out, code := command("ack-gap", "-tenant", otherTenant, "-all"); code != 0 || !strings.Contains(out, "0 gaps") {
		t.Errorf("another tenant: exit %d\n%s", code, out)
	}
	var listed struct{ ID string }
	out, _ := command("ack-gap", "-json")
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, code := command("status"); code != 0 || !strings.Contains(out, "data loss") || !strings.Contains(out, "onedrive since") {
		t.Errorf("status: exit %d\n%s", code, out)
	}
	if out, code := command("ack-gap", "-note", "imported by hand", listed.ID); code != 0 || !strings.Contains(out, "1 gaps") {
		t.Errorf("acknowledge: exit %d\n%s", code, out)
	}
	w.await("the gap has left the status", gapsShown(0))
	report, code := verified(t, w.cfg)
	if code != 0 || len(report.Streams) != 1 || len(report.Streams[0].Gaps) != 1 || report.Streams[0].Gaps[0].Acknowledged.IsZero() {
		t.Errorf("verify after the acknowledgement: exit %d, %+v", code, report)
	}
	stop()
}

// TestConfigurationFileIsReloaded runs the program as main does and edits its file.
func TestConfigurationFileIsReloaded(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	f.add("a", array(record(1)), time.Hour)
	w := fakeWorld(t, f)
	raw := w.read(w.cfg.Kafka.Names().Raw("general"))
	secret := w.file("secret", []byte("swordfish-secret"))
	path := filepath.Join(t.TempDir(), "ingester.yaml")
	write := func(tenants ...string) {
		t.Helper()
		text := fmt.Sprintf("kafka: {brokers: [%q], partitions: 3, control_partitions: 2}\nadmin: {listen: off}\ntenants:\n", w.broker.Addr())
		for _, id := range tenants {
			text += fmt.Sprintf("- {id: %s, client_id: %s, client_secret: %q, ca_file: %q, components: [activities], content_types: [Audit.General],\n"+
				"   hosts: {authority: %q, api: %q, graph: %q}}\n", id, fakeTenant, "file:"+secret, w.cfg.Tenants[0].CAFile, f.URL, f.URL, f.URL)
		}
		if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	write(fakeTenant)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- service.Run(ctx, Program(), []string{"-config", path}, nil, nil, &out, w.logs) }()
	w.await("the first tenant", func() bool { return raw.count() == 1 })
	write("no tenant")
	w.await("a refusal", func() bool { return strings.Contains(w.logs.String(), "the one before it stays in use") })
	write(fakeTenant, otherTenant)
	w.await("the second tenant", func() bool { return raw.count() == 2 })
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}
