package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/pkg/wire"
)

// later is the bound of what may be on the topics beyond what must be there.
func later() time.Time { return time.Now().Add(48 * time.Hour) }

// TestLossesOfOthers runs into everything that was seen to cost other collectors events, one thing at a time, against the simulator: each
// record of the week must be there once.
func TestLossesOfOthers(t *testing.T) {
	t.Parallel()
	fault := func(name string, rate float64, endpoint string) func(*m365sim.Config) {
		return func(c *m365sim.Config) {
			c.Faults = []m365sim.Fault{{Name: name, Rate: rate, Endpoint: endpoint}}
		}
	}
	tests := []struct {
		name   string
		change func(*m365sim.Config)
	}{
		{"AF429 as 403", fault(m365sim.FaultThrottle403, 0.1, "")},
		{"AF429 as 429", func(c *m365sim.Config) { // each with Retry-After: 1, which is obeyed: thirty of them are enough
			c.Faults = []m365sim.Fault{{Name: m365sim.FaultThrottle429, Rate: 0.1, Count: 30}}
		}},
		{"AF50000", fault(m365sim.FaultInternal, 0.1, "")},
		{"HTML 503", fault(m365sim.FaultGateway, 0.1, "")},
		{"401 in the middle", fault(m365sim.FaultUnauthorized, 0.1, "")},
		{"connection cut in the body", fault(m365sim.FaultCut, 0.2, "blob")},
		{"listing cut in the body", fault(m365sim.FaultCut, 0.2, "content")},
		{"truncated JSON", fault(m365sim.FaultTruncated, 0.2, "")},
		{"connection lost before the answer", fault(m365sim.FaultLost, 0.1, "")},
		{"blobs on two pages", func(c *m365sim.Config) { c.PageSize = 2 }},
		{"clock ten minutes behind", func(c *m365sim.Config) { c.Clock = shifted(10 * time.Minute) }},
		{"clock ten minutes ahead", func(c *m365sim.Config) { c.Clock = shifted(-10 * time.Minute) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 600, tt.change)
			w.cfg.Tenants[0].Components = []string{componentActivities}
			must := w.expected(time.Time{})
			raw, ledger := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Ledger())
			w.run(func() bool { return raw.count() >= len(must) })
			w.verify(raw, must, must)
			w.served(ledger)
			l := w.sim.Ledger()
			for what, n := range l.Improper {
				t.Errorf("%s: %d times", what, n)
			}
			t.Logf("%d records, faults %v", len(must), l.Faults)
		})
	}
}

func shifted(by time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(by) }
}

// served holds the simulator's books against the ledger topic: every blob was served, and is there once.
func (w *world) served(ledger *topic) {
	w.t.Helper()
	for _, tl := range w.sim.Ledger().Tenants {
		for _, c := range tl.Content {
			if c.BlobsServed != c.Blobs || c.ExpiredUnserved > 0 {
				w.t.Errorf("%s: %d of %d blobs were served, %d expired", c.ContentType, c.BlobsServed, c.Blobs, c.ExpiredUnserved)
			}
		}
	}
	seen := map[string]int{}
	for _, r := range ledger.all() {
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil || e.Blob == nil {
			w.t.Errorf("ledger: %s", r.Value)
			continue
		}
		if seen[e.Blob.ContentID]++; seen[e.Blob.ContentID] > 1 {
			w.t.Errorf("%s is on the ledger %d times", e.Blob.ContentID, seen[e.Blob.ContentID])
		}
	}
}

// TestRotatedCredentials replaces the secret, or the certificate, at the service first and in the file a while later. Tokens are refused
// meanwhile; nothing is restarted and nothing is lost.
func TestRotatedCredentials(t *testing.T) {
	t.Parallel()
	pemOf := func() (cert, file []byte) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ingester"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		return cert, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), cert...)
	}
	oldCert, oldFile := pemOf()
	newCert, newFile := pemOf()
	tests := []struct {
		name             string
		before, after    m365sim.App
		oldFile, newFile []byte
		use              func(tn *Tenant, path string)
	}{
		{
			"secret",
			m365sim.App{Secret: "old-secret"},
			m365sim.App{Secret: "new-secret"},
			[]byte("old-secret"), []byte("new-secret"),
			func(tn *Tenant, path string) { tn.Secret = conf.SecretFile(path) },
		},
		{
			"certificate",
			m365sim.App{Certificates: oldCert},
			m365sim.App{Certificates: newCert},
			oldFile, newFile,
			func(tn *Tenant, path string) { tn.Secret, tn.CertificateFile = conf.Secret{}, path },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.before.ClientID, tt.after.ClientID = m365sim.DefaultClientID, m365sim.DefaultClientID
			var used m365sim.Config
			w := newWorld(t, 1500, func(c *m365sim.Config) {
				c.Apps = []m365sim.App{tt.before}
				c.Faults = []m365sim.Fault{{Name: m365sim.FaultUnauthorized, Rate: 0.1}}
				used = *c
			})
			path := filepath.Join(t.TempDir(), "credential")
			rotate := func(content []byte) {
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			rotate(tt.oldFile)
			tt.use(&w.cfg.Tenants[0], path)
			w.cfg.Tenants[0].Components = []string{componentActivities}
			w.cfg.Tenants[0].Fetches = 1
			must := w.expected(time.Time{})
			raw := w.read(w.rawTopics()...)
			stage := 0
			w.run(func() bool {
				switch {
				case stage == 0 && raw.count() > 0:
					stage = 1
					used.Apps = []m365sim.App{tt.after}
					w.restartSim(used)
				case stage == 1 && strings.Contains(w.logs.String(), "AADSTS"): // refused with the old one
					stage = 2
					rotate(tt.newFile)
				}
				return stage == 2 && raw.count() >= len(must)
			})
			w.verify(raw, must, must)
		})
	}
}

// restartSim starts the simulator again, on its address and with its folder.
func (w *world) restartSim(cfg m365sim.Config) {
	w.t.Helper()
	addr := strings.TrimPrefix(w.sim.URL(), "https://")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := w.sim.Close(ctx); err != nil {
		w.t.Log(err)
	}
	sim, err := m365sim.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := sim.Start(addr); err != nil {
		w.t.Fatal(err)
	}
	w.sim = sim
}

// TestShapesOfBlobs lists what only a feed of the test's own can make: blobs with one and the same time of creation, one a second, huge,
// small and empty ones, page markers that turn invalid, blobs that surface up to twenty hours late.
func TestShapesOfBlobs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(f *fakeFeed) // blobs that are there from the start
		late []time.Duration   // ages at which further blobs surface, once the first ones are there
		ends time.Duration     // by how much the feed's clock has moved by then
	}{
		{"pairs with equal contentCreated", func(f *fakeFeed) {
			for i := range 40 {
				created := f.now().Add(-time.Duration(i/2) * time.Hour).Truncate(time.Second)
				f.blobs[fmt.Sprintf("b%d", i)] = fakeBlob{body: array(record(i)), created: created, expires: created.Add(7 * 24 * time.Hour)}
			}
		}, nil, 0},
		{"a blob a second", func(f *fakeFeed) {
			for i := range 300 {
				created := f.now().Add(-time.Duration(i) * time.Second)
				f.blobs[fmt.Sprintf("b%d", i)] = fakeBlob{body: array(record(i)), created: created, expires: created.Add(7 * 24 * time.Hour)}
			}
		}, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, 0},
		{"page markers turn invalid, blobs are on two pages", func(f *fakeFeed) {
			f.perPage, f.stale = 3, 7
			for i := range 60 {
				created := f.now().Add(-time.Duration(i) * 20 * time.Minute)
				f.blobs[fmt.Sprintf("b%02d", i)] = fakeBlob{body: array(record(2*i), record(2*i+1)), created: created, expires: created.Add(7 * 24 * time.Hour)}
			}
		}, nil, 0},
		{"a blob of 64 MiB, one of one record, empty ones", func(f *fakeFeed) {
			created := f.now().Add(-time.Hour)
			var huge []string
			for i := range 64 {
				huge = append(huge, strings.Replace(record(i), `"Note":"`, `"Note":"`+strings.Repeat("x", 1<<20), 1))
			}
			for id, body := range map[string]string{"huge": array(huge...), "one": array(record(1000)), "empty1": "[]", "empty2": "[]"} {
				f.blobs[id] = fakeBlob{body: body, created: created, expires: created.Add(7 * 24 * time.Hour)}
			}
		}, nil, 0},
		{"late by a minute to twenty hours", func(f *fakeFeed) {
			created := f.now().Add(-2 * time.Minute)
			f.blobs["first"] = fakeBlob{body: array(record(0)), created: created, expires: created.Add(7 * 24 * time.Hour)}
		}, []time.Duration{
			time.Minute, 5 * time.Minute, 20 * time.Minute, 59 * time.Minute, 90 * time.Minute, 5 * time.Hour, 12 * time.Hour, 20 * time.Hour,
		}, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeFeed(t)
			f.set(func() { tt.make(f) })
			w := fakeWorld(t, f)
			raw, ledger := w.read(w.cfg.Kafka.Names().Raw("general")), w.read(w.cfg.Kafka.Names().Ledger())
			blobs, first := len(f.blobs), 0
			for _, b := range f.blobs {
				first += strings.Count(b.body, `"CreationTime"`)
			}
			// A week, an overlap and a sweep are 9 listings, the rest is live: after so many the first sweep is over and the next one far off.
			const startListings = 30
			surfaced := len(tt.late) == 0
			w.run(func() bool {
				if !surfaced && raw.count() >= first && f.count() > startListings {
					surfaced = true
					f.set(func() { // at once: the listings of what surfaces late are due, and it is there
						f.shift = tt.ends
						for i, age := range tt.late {
							created := f.now().Add(-age)
							f.blobs[fmt.Sprintf("late%d", i)] = fakeBlob{body: array(record(5000 + i)), created: created, expires: created.Add(7 * 24 * time.Hour)}
						}
					})
				}
				return raw.count() >= first+len(tt.late) && ledger.count() >= blobs+len(tt.late)
			})
			seen := map[string]int{}
			for _, r := range raw.all() {
				seen[header(r, "ce_id")]++
			}
			if len(seen) != first+len(tt.late) || raw.count() != len(seen) || ledger.count() != blobs+len(tt.late) {
				t.Errorf("%d distinct of %d records, %d ledger entries; want %d and %d", len(seen), raw.count(), ledger.count(), first+len(tt.late), blobs+len(tt.late))
			}
			checkLedger(t, f, ledger)
		})
	}
}

// TestContentTypeEnabledLate subscribes when the tenant is a week old: the feed gives the last 22 hours, and a gap record on each stream
// names the rest of the week, half a day later, when it is known. The service may give nothing for up to twelve hours: that is no loss, and the
// status says that nothing was seen yet.
func TestContentTypeEnabledLate(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 12 * time.Hour} {
		t.Run(fmt.Sprint("first content after ", delay), func(t *testing.T) {
			t.Parallel()
			enabledLate(t, delay)
		})
	}
}

func enabledLate(t *testing.T, delay time.Duration) {
	t.Helper()
	var ahead atomic.Int64
	w := newWorld(t, 800, func(c *m365sim.Config) {
		c.AlwaysSubscribed, c.FirstContentDelay = false, delay
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	w.cfg.Tenants[0].Components = []string{componentActivities}
	w.cfg.Limits.PollSlowest = w.cfg.Limits.PollFastest
	began := time.Now()
	must := w.since(began.Add(-m365sim.DefaultBackfill + time.Minute))
	raw, ledger, status := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Ledger()), w.read(w.cfg.Kafka.Names().Status())
	// An hour at a time, as soon as each stream has been listed at the hour before.
	listings := func() int { return w.sim.Ledger().Requests["content"]["ok"] }
	hour, seen, waited := 0, 0, 0
	w.run(func() bool {
		switch n := listings(); {
		case n < seen+10 || components(status, wire.StateAwaiting)+components(status, wire.StateConnected) < 5:
		case hour < 14:
			if raw.count() == 0 && components(status, wire.StateAwaiting) == 5 {
				waited++
			}
			hour, seen = hour+1, n
			ahead.Store(int64(hour) * int64(time.Hour))
		default:
			return raw.count() >= len(must) && len(gaps(t, ledger)) >= 5
		}
		return false
	})
	if delay > 0 && waited < 11 {
		t.Errorf("the status said for %d hours that all five content types wait for their first data", waited)
	}
	w.verify(raw, must, w.expected(later()))
	w.namesRest(raw, ledger, began)
}

// components counts those that are in a state and, if they wait for their first data, say of no workload that they saw it.
func components(status *topic, state string) int {
	last := map[string]wire.Status{}
	for _, r := range status.all() {
		var s wire.Status
		if json.Unmarshal(r.Value, &s) == nil && s.Component != "" {
			last[s.Component] = s
		}
	}
	n := 0
	for _, s := range last {
		if s.State == state && (state != wire.StateAwaiting || len(s.FirstSeen) == 0) {
			n++
		}
	}
	return n
}

// namesRest holds the one gap record of each stream against the first blob that it had.
func (w *world) namesRest(raw, ledger *topic, began time.Time) {
	t, first, named := w.t, map[string]time.Time{}, 0
	t.Helper()
	for _, r := range raw.all() {
		ct, created := header(r, wire.HeaderFeed), header(r, wire.HeaderContentCreated)
		at, err := time.Parse(time.RFC3339Nano, created)
		if err != nil {
			t.Fatal(err)
		}
		if old, known := first[ct]; !known || at.Before(old) {
			first[ct] = at
		}
	}
	for _, r := range ledger.all() {
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil || e.Gap == nil {
			continue
		}
		end, known := first[e.ContentType]
		if !known {
			end = began // the start request
		}
		named++
		if e.Gap.Reason != "before_subscription" || e.Gap.End.Sub(end).Abs() > time.Minute || e.Gap.Start.Sub(began.Add(-7*24*time.Hour)).Abs() > 2*time.Minute {
			t.Errorf("gap of %s: %+v, want it from a week before %s to %s", e.ContentType, *e.Gap, began, end)
		}
	}
	if named != 5 {
		t.Errorf("%d gap records", named)
	}
}

// since lists the records of blobs created from a moment on.
func (w *world) since(from time.Time) map[string][32]byte {
	w.t.Helper()
	all := w.expected(time.Time{})
	for _, st := range w.sim.Tenants() {
		err := st.Blobs(w.t.Context(), time.Time{}, func(b tenant.Blob) error {
			if b.Created.Before(from) {
				maps.DeleteFunc(all, func(id string, _ [32]byte) bool { return strings.HasPrefix(id, b.ContentID+"/") })
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// TestOutages stops the ingester for three days and for nine, while the tenant lives on. After three nothing is lost; after nine each
// stream has one gap record, from where listing had come to up to what the feed still keeps, and all else is there.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, days := range []int{3, 9} {
		t.Run(fmt.Sprint(days, " days"), func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			w := newWorld(t, 500, func(c *m365sim.Config) {
				c.Clock, c.Tenants[0].LiveRate, c.Tenants[0].ExpireAfter = now, 0.005, 0
			})
			w.cfg.Tenants[0].Components = []string{componentActivities}
			raw, ledger := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Ledger())
			week := w.expected(time.Time{})
			w.run(func() bool { return raw.count() >= len(week) })
			down := now()
			ahead.Add(int64(time.Duration(days) * 24 * time.Hour))
			up := now()
			kept := up.Add(-7 * 24 * time.Hour)
			must := map[string][32]byte{}
			for id, b := range w.living(up) {
				// What surfaced during the outage with a creation time before it could not be listed before it expired.
				if b.created.After(kept.Add(time.Minute)) || b.visible.Before(down.Add(-time.Minute)) {
					must[id] = b.sha
				}
			}
			lost := 0
			if days > 7 {
				lost = 5
			}
			w.run(func() bool {
				got := had(raw)
				for id := range must {
					if !got[id] {
						return false
					}
				}
				return len(gaps(t, ledger)) >= lost
			})
			w.verify(raw, must, w.expected(up.Add(48*time.Hour)))
			g := gaps(t, ledger)
			if len(g) != lost {
				t.Errorf("%d gap records, want %d: %+v", len(g), lost, g)
			}
			for _, gap := range g {
				if gap.Reason != "outage" || gap.Start.Sub(down).Abs() > 2*time.Minute || gap.End.Sub(kept).Abs() > 2*time.Minute {
					t.Errorf("gap %+v, want it from %s to %s", gap, down, kept)
				}
			}
			t.Logf("%d records before, %d in all, %d gap records", len(week), raw.count(), len(g))
		})
	}
}

// alive is one record of a tenant and when its blob came to be.
type alive struct {
	contentType      string
	created, visible time.Time
	sha              [32]byte
}

// living lists the records of all blobs that were visible by a moment.
func (w *world) living(by time.Time) map[string]alive {
	w.t.Helper()
	shas := w.expected(by)
	out := map[string]alive{}
	for _, st := range w.sim.Tenants() {
		for _, ct := range tenant.ContentTypes() {
			for d := range st.Each(ct, time.Unix(0, 0), by, by) {
				for i := range d.Records {
					id := fmt.Sprintf("%s/%d", d.ContentID, i)
					out[id] = alive{ct, d.Created, d.Visible, shas[id]}
				}
			}
		}
	}
	return out
}
