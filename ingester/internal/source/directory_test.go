package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// graph is a directory whose objects and moods a test decides.
type graph struct {
	*httptest.Server
	mu      sync.Mutex // guards all below
	objects map[string][]string
	calls   map[string]int
	broken  map[string]int // path → how many calls of it are cut short
	expired bool           // delta links are
}

func newGraph(t *testing.T) *graph {
	t.Helper()
	g := &graph{objects: make(map[string][]string), calls: make(map[string]int), broken: make(map[string]int)}
	g.Server = httptest.NewTLSServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1.0/")
	g.calls[path]++
	if g.broken[path] > 0 {
		g.broken[path]--
		_, _ = w.Write([]byte(`{"value":[{"id":"cut`))
		return
	}
	if r.URL.Query().Get("token") != "" {
		if g.expired {
			w.WriteHeader(http.StatusGone)
			return
		}
		_, _ = fmt.Fprintf(w, `{"value":[],"@odata.deltaLink":"%s/v1.0/%s?token=2"}`, g.URL, path)
		return
	}
	kind, delta := strings.CutSuffix(path, "/delta")
	if strings.HasSuffix(path, "/members") {
		kind = "members"
	}
	values := []map[string]string{}
	for _, id := range g.objects[kind] {
		values = append(values, map[string]string{"id": id})
	}
	out := map[string]any{"value": values}
	if delta {
		out["@odata.deltaLink"] = g.URL + "/v1.0/" + path + "?token=1"
	}
	_ = json.NewEncoder(w).Encode(out)
}

// mirror runs an owner whose transactions all succeed and keeps what the directory topic would hold.
type mirror struct {
	mu   sync.Mutex // guards recs
	recs []kafkatx.Record
}

func (m *mirror) run(ctx context.Context, o *owner) {
	for ctx.Err() == nil {
		res, err := o.Next(ctx)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.recs = append(m.recs, res.Outputs...)
		m.mu.Unlock()
		res.Follow(make([]int64, len(res.Outputs)))
		res.Change.Merge()
	}
}

func (m *mirror) keys(_ context.Context, _ int32, fn func(string, bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.recs {
		fn(string(r.Key), r.Value == nil)
	}
	return nil
}

// objects are the keys that are on the topic, without the tenant.
func (m *mirror) objects() map[string]bool {
	out := make(map[string]bool)
	_ = m.keys(context.Background(), 0, func(key string, gone bool) {
		key = strings.TrimPrefix(key, string(testTenant)+":")
		delete(out, key)
		if !gone && key != wire.KindComplete {
			out[key] = true
		}
	})
	return out
}

// directoryOf makes the directory stream of a graph, and its owner.
func directoryOf(t *testing.T, g *graph, m *mirror) *directory {
	t.Helper()
	o := testOwner(t, func(c *Config) { c.Directory = m.keys; c.RetryWait = time.Millisecond })
	client, err := m365.NewGraph(g.URL, func(context.Context, string) (string, error) { return "token", nil }, m365.NewBucket(600_000), g.Client().Transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.run(ctx, o) }()
	t.Cleanup(func() { cancel(); <-done })
	tn := &tenant{Tenant: &Tenant{ID: testTenant, Feed: testFeed(t), Graph: client}, o: o, log: o.s.cfg.Log}
	return newDirectory(tn, time.Now())
}

// TestFullReadRemovesWhatHasGone: when the links have expired, nobody says any more what was removed meanwhile.
func TestFullReadRemovesWhatHasGone(t *testing.T) {
	t.Parallel()
	g, m := newGraph(t), &mirror{}
	g.objects["users"], g.objects["groups"], g.objects["domains"] = []string{"ana", "ben", "cleo"}, []string{"team"}, []string{"example.org", "example.net"}
	g.objects["servicePrincipals"], g.objects["members"] = []string{"app"}, []string{"ana"}
	d := directoryOf(t, g, m)
	round := func(want ...string) {
		t.Helper()
		if err := d.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		set := make(map[string]bool)
		for _, w := range want {
			set[w] = true
		}
		if diff := cmp.Diff(m.objects(), set); diff != "" {
			t.Fatal(diff)
		}
	}
	round("user:ana", "user:ben", "user:cleo", "group:team", "serviceprincipal:app", "domain:example.org", "domain:example.net")
	g.mu.Lock()
	g.objects["users"], g.objects["domains"] = []string{"ana", "dora"}, []string{"example.org"}
	g.mu.Unlock()
	round("user:ana", "user:ben", "user:cleo", "group:team", "serviceprincipal:app", "domain:example.org") // the delta says nothing of users
	g.mu.Lock()
	g.expired = true
	g.mu.Unlock()
	round("user:ana", "user:dora", "group:team", "serviceprincipal:app", "domain:example.org")
	g.mu.Lock()
	g.objects["domains"] = nil // no tenant is without a domain: an empty answer removes nothing
	g.mu.Unlock()
	round("user:ana", "user:dora", "group:team", "serviceprincipal:app", "domain:example.org")
}

// TestOneFailedRequestIsMadeAgainAlone: it must not make the whole directory wait.
func TestOneFailedRequestIsMadeAgainAlone(t *testing.T) {
	t.Parallel()
	g, m := newGraph(t), &mirror{}
	g.objects["groups"] = []string{"one", "two", "three"}
	g.broken["groups/two/members"] = graphTries - 1
	d := directoryOf(t, g, m)
	if err := d.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	if g.calls["groups/delta"] != 1 || g.calls["groups/one/members"] != 1 || g.calls["groups/two/members"] != graphTries || g.calls["groups/three/members"] != 1 {
		t.Errorf("calls %v", g.calls)
	}
	g.broken["groups/two/members"] = 1000
	g.expired = true
	g.mu.Unlock()
	if err := d.round(t.Context()); !errors.Is(err, m365.ErrBadAnswer) {
		t.Errorf("a request that always fails: %v", err)
	}
}
