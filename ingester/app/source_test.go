package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

const fakeTenant = "11111111-2222-3333-4444-555555555555"

// fakeFeed is a feed of one content type whose blobs and moods a test decides. It also signs in.
type fakeFeed struct {
	*httptest.Server
	mu      sync.Mutex // guards all below
	blobs   map[string]fakeBlob
	started time.Time
	on      bool
	starts  int
	lists   int
	shift   time.Duration                                 // how far its clock is ahead of the machine's
	perPage int                                           // blobs on a page, the last of which is the first of the next one, too; 0 = all
	stale   int                                           // page markers that are refused before one is taken
	hostile func(http.ResponseWriter, *http.Request) bool // answers instead, if it says so; nil = never
}

// now is the time by the feed's clock. The lock is held.
func (f *fakeFeed) now() time.Time { return time.Now().Add(f.shift) }

type fakeBlob struct {
	body    string
	created time.Time
	expires time.Time
	uri     string // "" = its own
}

func newFakeFeed(t *testing.T) *fakeFeed {
	t.Helper()
	f := &fakeFeed{blobs: make(map[string]fakeBlob), on: true}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeFeed) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeFeed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists
}

func (f *fakeFeed) add(id, body string, age time.Duration) {
	f.set(func() {
		created := f.now().Add(-age)
		f.blobs[id] = fakeBlob{body: body, created: created, expires: created.Add(7 * 24 * time.Hour)}
	})
}

func (f *fakeFeed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
	_, op, isFeed := strings.Cut(r.URL.Path, "/activity/feed/")
	q := r.URL.Query()
	switch {
	case f.hostile != nil && f.hostile(w, r):
	case strings.HasSuffix(r.URL.Path, "openid-configuration"):
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": f.URL + "/x", "authorization_endpoint": f.URL + "/a", "token_endpoint": f.URL + "/token"})
	case r.URL.Path == "/token":
		_, _ = io.WriteString(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"swordfish-token"}`)
	case !isFeed:
		http.NotFound(w, r)
	case op == "subscriptions/list" && f.on:
		_, _ = io.WriteString(w, `[{"contentType":"Audit.General","status":"enabled","webhook":null}]`)
	case op == "subscriptions/list":
		_, _ = io.WriteString(w, `[]`)
	case op == "subscriptions/start":
		f.on, f.started = true, time.Now()
		f.starts++
	case op == "subscriptions/content":
		f.lists++
		f.list(w, q)
	default:
		id := strings.TrimPrefix(op, "audit/")
		b, ok := f.blobs[id]
		if !ok || f.now().After(b.expires) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":{"code":"AF20051","message":"expired"}}`)
			return
		}
		_, _ = io.WriteString(w, b.body)
	}
}

func (f *fakeFeed) list(w http.ResponseWriter, q url.Values) {
	from, _ := time.Parse("2006-01-02T15:04:05", q.Get("startTime"))
	to, _ := time.Parse("2006-01-02T15:04:05", q.Get("endTime"))
	after := q.Get("nextPage")
	if after != "" && f.stale > 0 {
		f.stale--
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":{"code":"AF20031","message":"Invalid nextPage Input."}}`)
		return
	}
	out := []map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(f.blobs)) {
		b := f.blobs[id]
		if b.created.Before(from) || !b.created.Before(to) || id < after {
			continue
		}
		if f.perPage > 0 && len(out) == f.perPage {
			q.Set("nextPage", out[len(out)-1]["contentId"])
			w.Header().Set("NextPageUri", f.URL+"/api/v1.0/"+fakeTenant+"/activity/feed/subscriptions/content?"+q.Encode())
			break
		}
		uri := b.uri
		if uri == "" {
			uri = f.URL + "/api/v1.0/" + fakeTenant + "/activity/feed/audit/" + id
		}
		out = append(out, map[string]string{
			"contentUri": uri, "contentId": id, "contentType": "Audit.General",
			"contentCreated": b.created.UTC().Format("2006-01-02T15:04:05.000Z"), "contentExpiration": b.expires.UTC().Format("2006-01-02T15:04:05.000Z"),
		})
	}
	_ = json.NewEncoder(w).Encode(out)
}

// fakeWorld is a world around a fake feed instead of the simulator.
func fakeWorld(t *testing.T, f *fakeFeed) *world {
	t.Helper()
	w := importWorld(t)
	w.cfg.Limits.PollFastest, w.cfg.Limits.PollSlowest, w.cfg.Limits.RetryWait = 50*time.Millisecond, 200*time.Millisecond, 10*time.Millisecond
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cfg.Tenants = []Tenant{{
		ID: fakeTenant, ClientID: fakeTenant, Secret: conf.SecretValue("swordfish-secret"), Components: []string{"activities"},
		ContentTypes: []string{string(audit.General)}, Hosts: Hosts{Authority: f.URL, API: f.URL, Graph: f.URL}, CAFile: ca, RequestsPerMinute: 600_000,
	}}
	t.Cleanup(func() {
		w.discreet(hidden{words: suiteSecrets()})
		if t.Failed() {
			lines := strings.Split(w.logs.String(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return w
}

func array(records ...string) string { return "[" + strings.Join(records, ",") + "]" }

// gaps are the gap records on the ledger.
func gaps(t *testing.T, ledger *topic) []wire.Gap {
	t.Helper()
	var out []wire.Gap
	for _, r := range ledger.all() {
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if e.Gap != nil {
			out = append(out, *e.Gap)
		}
	}
	return out
}

func TestLateLargeAndBrokenBlobs(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	w := fakeWorld(t, f)
	names := w.cfg.Kafka.Names()
	raw, dead, ledger := w.read(names.Raw("general")), w.read(names.DeadLetter(false)), w.read(names.Ledger())
	big := strings.Replace(record(10), `"Note":"`, `"Note":"`+strings.Repeat("x", 9<<20), 1)
	f.add("plain", array(record(1), record(2)), time.Hour)
	f.add("empty", "[]", time.Hour)
	f.add("twin", array(record(3)), time.Hour)
	var many []string
	for i := 100; i < 20_100; i++ {
		many = append(many, record(i))
	}
	f.add("large", array(many...), 3*time.Hour) // 6 MiB: through a temporary file
	f.add("too-large", array(record(4), big, record(5)), 2*time.Hour)
	f.add("cut", `[`+record(6)+`,{"Id":"cut`, 2*time.Hour) // as long as it may get better it is fetched again
	f.add("no-record", `[1,"x",`+record(7)+`]`, 2*time.Hour)
	f.set(func() {
		old := f.blobs["cut"]
		old.created, old.expires = time.Now().Add(-7*24*time.Hour+20*time.Minute), time.Now().Add(20*time.Minute)
		old.body = `[` + record(8) + `,{"Id":"lost`
		f.blobs["last-chance"] = old
	})
	const want = 2 + 1 + 20_000 + 2 + 1 + 2 + 1 // the last ones: last-chance, and what is no record in no-record
	late := false
	w.run(func() bool {
		if !late && raw.count() >= want {
			late = true
			f.add("late", array(record(9)), 90*time.Second) // behind the cursor
		}
		return raw.count() >= want+1 && dead.count() >= 3 && ledger.count() > 7
	})
	f.set(func() {
		f.blobs["cut"] = fakeBlob{body: array(record(6)), created: f.blobs["cut"].created, expires: f.blobs["cut"].expires}
	})
	w.run(func() bool { return raw.count() >= want+2 })
	seen := make(map[string]int)
	for _, r := range raw.all() {
		seen[header(r, "ce_id")]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	checkDead(t, dead, big)
	checkLedger(t, f, ledger)
}

// checkDead looks for the record that is too large, in two parts, and for what is left of the blob that stayed cut.
func checkDead(t *testing.T, dead *topic, big string) {
	t.Helper()
	parts := make(map[string]string)
	cut := 0
	for _, r := range dead.all() {
		switch header(r, "ce_reason") {
		case string(wire.ReasonTooLarge):
			parts[header(r, "ce_part")] = string(r.Value)
		case string(wire.ReasonCutShort):
			cut++
			if !strings.HasSuffix(string(r.Value), `{"Id":"lost`) {
				t.Errorf("the rest of the cut blob is %q", r.Value)
			}
		default:
			t.Errorf("dead letter for %q", header(r, "ce_reason"))
		}
	}
	if parts["1"]+parts["2"] != big && parts[""] != big {
		t.Errorf("the parts of the large record are %d and %d bytes of %d", len(parts["1"]), len(parts["2"]), len(big))
	}
	if cut != 1 {
		t.Errorf("%d dead letters of the cut blob", cut)
	}
}

// checkLedger holds the ledger's entries against what was served.
func checkLedger(t *testing.T, f *fakeFeed, ledger *topic) {
	t.Helper()
	for _, r := range ledger.all() {
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil || e.Blob == nil {
			continue
		}
		body := f.blobs[e.Blob.ContentID].body
		sum := sha256.Sum256([]byte(body))
		if e.Blob.SHA256 != hex.EncodeToString(sum[:]) || e.Blob.Bytes != int64(len(body)) {
			t.Errorf("ledger of %s: %d bytes, want %d, or another hash", e.Blob.ContentID, e.Blob.Bytes, len(body))
		}
		n := 0
		for _, o := range e.Offsets {
			n += o.Count
		}
		if n < e.Blob.Records-e.Blob.DeadLetters {
			t.Errorf("ledger of %s: offsets of %d records, want %d", e.Blob.ContentID, n, e.Blob.Records)
		}
	}
}

func TestSubscriptionIsStartedAndItsMissingPastRecorded(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	f.on = false
	f.add("a", array(record(1)), 2*time.Hour) // some hours of back-fill
	w := fakeWorld(t, f)
	raw, ledger, status := w.read(w.cfg.Kafka.Names().Raw("general")), w.read(w.cfg.Kafka.Names().Ledger()), w.read(w.cfg.Kafka.Names().Status())
	connected := func() bool {
		for _, r := range status.all() {
			var s wire.Status
			if json.Unmarshal(r.Value, &s) == nil && s.State == wire.StateConnected && strings.HasSuffix(string(r.Key), ":general") {
				return true
			}
		}
		return false
	}
	w.run(func() bool {
		if raw.count() == 1 { // half a day later nothing older can come
			f.set(func() { f.shift = 14 * time.Hour })
		}
		return raw.count() == 1 && len(gaps(t, ledger)) == 1 && connected()
	})
	before := f.count()
	w.run(func() bool { return f.count() > before+3 })
	g := gaps(t, ledger)
	if len(g) != 1 || g[0].Reason != "before_subscription" || time.Since(g[0].End).Round(time.Hour) != 2*time.Hour || g[0].End.Sub(g[0].Start) < 6*24*time.Hour {
		t.Errorf("gaps %+v", g)
	}
	if f.starts != 1 {
		t.Errorf("started %d times", f.starts)
	}
}

func TestBlobThatIsGoneBecomesAGap(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	f.add("there", array(record(1)), time.Hour)
	w := fakeWorld(t, f)
	raw, ledger := w.read(w.cfg.Kafka.Names().Raw("general")), w.read(w.cfg.Kafka.Names().Ledger())
	gone := false
	w.run(func() bool {
		if !gone && raw.count() == 1 {
			gone = true
			f.set(func() {
				now := time.Now()
				f.blobs["gone"] = fakeBlob{body: "[]", created: now.Add(-time.Minute), expires: now.Add(-time.Second)}
			})
		}
		return len(gaps(t, ledger)) == 1
	})
	if g := gaps(t, ledger); g[0].Reason != "blob_expired" || g[0].ContentID != "gone" {
		t.Errorf("gap %+v", g[0])
	}
}

// TestForeignLinksGetNoToken: whatever the feed names, in whatever place, the foreign host's own log stays empty, the refusal is counted, and what
// is good arrives.
func TestForeignLinksGetNoToken(t *testing.T) {
	t.Parallel()
	foreign := testkit.StartForeign(t)
	away := func(f *fakeFeed) map[string]string {
		return map[string]string{
			"foreign": foreign.TLS.URL + "/x", "http": foreign.Plain.URL + "/x", "own-http": strings.Replace(f.URL, "https", "http", 1) + "/x",
			"user": strings.Replace(f.URL, "://", "://a:b@", 1) + "/x", "as-user": f.URL + "@" + foreign.TLS.Listener.Addr().String() + "/x",
		}
	}
	type answer = func(*fakeFeed, http.ResponseWriter, *http.Request) bool
	page := func(link string) answer {
		return func(f *fakeFeed, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/subscriptions/content") {
				return false
			}
			w.Header().Set("NextPageUri", away(f)[link])
			_, _ = io.WriteString(w, "[]")
			return true
		}
	}
	redirect := func(path, to string) answer {
		return func(_ *fakeFeed, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, path) {
				return false
			}
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return true
		}
	}
	for _, tt := range []struct {
		name    string
		hostile answer
		links   int // contentUris that lead away
	}{
		{"contentUri", nil, 5},
		{"NextPageUri", page("foreign"), 0},
		{"NextPageUri over http", page("http"), 0},
		{"NextPageUri with user information", page("as-user"), 0},
		{"redirect of a listing", redirect("/subscriptions/content", foreign.TLS.URL), 0},
		{"redirect of a blob", redirect("/audit/good", foreign.Plain.URL), 0},
		{"redirect of the sign-in", redirect("/token", foreign.TLS.URL), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeFeed(t)
			f.add("good", array(record(1)), time.Hour)
			f.set(func() {
				now := time.Now()
				for id, uri := range away(f) {
					if tt.links > 0 {
						f.blobs[id] = fakeBlob{created: now.Add(-time.Hour), expires: now.Add(time.Hour), uri: uri}
					}
				}
				if tt.hostile != nil {
					f.hostile = func(w http.ResponseWriter, r *http.Request) bool { return tt.hostile(f, w, r) }
				}
			})
			w := fakeWorld(t, f)
			raw := w.read(w.cfg.Kafka.Names().Raw("general"))
			if strings.Contains(tt.name, "sign-in") {
				if _, err := New(t.Context(), w.cfg, w.runtime()); err == nil {
					t.Error("it started without a token")
				}
				foreign.Unvisited(t)
				return
			}
			_, stop := w.start(w.cfg)
			defer stop()
			w.await("the refusal", func() bool {
				return metric(t, w.registries[0], "millrace_ingester_foreign_links_total", "") >= float64(max(tt.links, 1))
			})
			if tt.links > 0 {
				w.await("the good blob", func() bool { return raw.count() == 1 })
			}
			foreign.Unvisited(t)
		})
	}
}

// TestAbortAndRedo makes the group refuse transactions: what was in them is offered again, and is there once.
func TestAbortAndRedo(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	for i := range 40 {
		f.add(fmt.Sprintf("b%d", i), array(record(2*i), record(2*i+1)), time.Duration(i)*time.Hour)
	}
	w := fakeWorld(t, f)
	raw := w.read(w.cfg.Kafka.Names().Raw("general"))
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // a second member comes and goes: rebalances in the middle of everything
		defer close(done)
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			a, err := New(ctx, w.cfg, w.runtime())
			if err == nil {
				_ = a.Run(ctx) // what it says on being cut off is not the point
			}
			cancel()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	added := 0
	w.run(func() bool {
		if raw.count() >= 80+added && added < 8 {
			added++
			f.add(fmt.Sprintf("live%d", added), array(record(1000+added)), 0)
		}
		return raw.count() >= 88
	})
	close(stop)
	<-done
	seen := make(map[string]int)
	for _, r := range raw.all() {
		if seen[header(r, "ce_id")]++; seen[header(r, "ce_id")] > 1 {
			t.Errorf("%s is there twice", header(r, "ce_id"))
		}
	}
	for i := range 40 {
		if seen[fmt.Sprintf("b%d/0", i)] != 1 || seen[fmt.Sprintf("b%d/1", i)] != 1 {
			t.Errorf("blob %d is not there", i)
		}
	}
}
