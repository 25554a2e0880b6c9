package m365sim

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/m365sim/tenant"
)

// openFolder starts a simulator on a folder; whoever asks closes it.
func openFolder(t *testing.T, dir string, c *testClock) *rig {
	t.Helper()
	s, err := New(Config{Dir: dir, Clock: c.now, Quota: -1, Tenants: []tenant.Config{{Seed: 9, Records: 1000, LiveRate: 0.01}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s, clock: c, client: clientFor(t, s), id: s.Tenants()[0].ID()}
	r.root = s.URL() + "/api/v1.0/" + r.id + "/activity/feed"
	r.token = r.newToken("https://manage.office.com")
	return r
}

// subscriptionsOf lists the state of all subscriptions, without the spans in which all has expired: a compacted journal has none.
func subscriptionsOf(s *Server) map[string]subscriptionState {
	out := map[string]subscriptionState{}
	s.subs.each(func(k subKey, sub subscription) {
		st := subscriptionState{Enabled: sub.enabled, Started: sub.started, Since: sub.since}
		for _, p := range sub.spans {
			if !p.to.IsZero() && s.now().Sub(p.to) > 7*day+foldAfter {
				continue
			}
			st.Spans = append(st.Spans, spanState{From: p.from, To: p.to})
		}
		out[k.contentType] = st
	})
	return out
}

// TestJournalStaysBounded has a client work through restart after restart: the journal does not grow with what was done, and nothing
// that the ledger and the subscriptions know is lost by that.
func TestJournalStaysBounded(t *testing.T) {
	t.Parallel()
	dir, c := dirWithKey(t), &testClock{at: testOrigin}
	journal := filepath.Join(dir, journalName)
	var lines []int
	var last Ledger
	var subs map[string]subscriptionState
	for round := range 12 {
		r := openFolder(t, dir, c)
		text, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.Count(text, []byte("\n")))
		if short := len(r.s.shortest(nil, r.s.now())); lines[round] > 2*short+2 {
			t.Errorf("round %d: the journal has %d lines, its shortest form %d", round, lines[round], short)
		}
		if round > 0 {
			now := r.s.Ledger()
			last.Tokens["manage"]++ // the one of openFolder
			last.Requests["token"]["ok"]++
			last.Now = now.Now
			if diff := cmp.Diff(last, now); diff != "" {
				t.Errorf("round %d: the ledger changed over the restart (-was +is):\n%s", round, diff)
			}
			if diff := cmp.Diff(subs, subscriptionsOf(r.s)); diff != "" {
				t.Errorf("round %d: subscriptions changed over the restart:\n%s", round, diff)
			}
		}
		if a := r.start("Audit.General", ""); round == 0 && a.status != http.StatusOK {
			t.Fatalf("start: %d %s", a.status, a.body)
		}
		r.start("Audit.Exchange", "")
		list := r.listAll("Audit.General", c.now().Add(-20*time.Hour), c.now())
		for range 5 {
			for _, d := range list {
				if a := r.get(d.ContentURI); a.status != http.StatusOK {
					t.Fatalf("blob: %d %s", a.status, a.body)
				}
			}
		}
		r.stop("Audit.Exchange")
		if len(list) == 0 {
			t.Fatal("there is nothing to load")
		}
		c.advance(20 * time.Hour)
		last, subs = r.s.Ledger(), subscriptionsOf(r.s)
		if err := r.s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	done := last.Requests["blob"]["ok"] + last.Requests["start"]["ok"] + last.Requests["stop"]["ok"]
	if got := lines[len(lines)-1]; 2*got > done {
		t.Errorf("the journal has %d lines after %d events", got, done)
	}
	t.Logf("lines at the starts: %v, after %d events", lines, done)
}

// TestCrashDuringCompaction finds the folder as a crash can leave it: with the new journal half written beside the old one, or in its
// place with a line of the next run cut short.
func TestCrashDuringCompaction(t *testing.T) {
	t.Parallel()
	dir, c := dirWithKey(t), &testClock{at: testOrigin}
	r := openFolder(t, dir, c)
	r.start("Audit.General", "")
	list := r.listAll("Audit.General", testOrigin.Add(-20*time.Hour), testOrigin)
	for range 4 {
		for _, d := range list {
			r.get(d.ContentURI)
		}
	}
	want := r.s.Ledger().Tenants
	if err := r.s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalName)
	long, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, journal, beside []byte) []byte {
		t.Helper()
		if err := os.WriteFile(path, journal, 0o600); err != nil {
			t.Fatal(err)
		}
		if beside != nil {
			if err := os.WriteFile(path+".new", beside, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := New(Config{Dir: dir, Clock: c.now, Tenants: []tenant.Config{{Seed: 9, Records: 1000, LiveRate: 0.01}}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, s.Ledger().Tenants); diff != "" {
			t.Errorf("%s: the ledger changed (-was +is):\n%s", name, diff)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	short := check("as it was", long, nil)
	if len(short)*2 > len(long) {
		t.Errorf("the journal has %d bytes after a start, had %d", len(short), len(long))
	}
	check("half a new journal", long, short[:len(short)/2])
	check("a cut line", append(bytes.Clone(short), `{"kind":"served","ten`...), nil)
	check("compacted already", short, nil)
}

// TestCounts shows that counts are in the folder before the end, where a crash cannot reach them, and go on after it.
func TestCounts(t *testing.T) {
	t.Parallel()
	dir := dirWithKey(t)
	open := func() (*Server, error) {
		return New(Config{Dir: dir, Tenants: []tenant.Config{{Seed: 9, Records: 100}}})
	}
	for round := 1; round <= 2; round++ {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		s.books.improper("stop called")
		s.books.request("stop", "AF20022")
		if err := s.saveCounts(); err != nil {
			t.Fatal(err)
		}
		counts, err := readCounts(dir)
		if err != nil || counts.Improper["stop called"] != round || counts.Requests["stop"]["AF20022"] != round {
			t.Errorf("round %d: %+v, %v", round, counts, err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, countsName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("broken counts: %v", err)
	}
}

// TestBooksAreBounded has a client load everything for three weeks of compressed time: what is held is a week's.
func TestBooksAreBounded(t *testing.T) {
	t.Parallel()
	r := openFolder(t, dirWithKey(t), &testClock{at: testOrigin})
	defer func() {
		if err := r.s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	now, most := testOrigin, 0
	for range 21 * 4 {
		now = now.Add(6 * time.Hour)
		for d := range r.s.Tenants()[0].Each(tenant.General, now.Add(-6*time.Hour), now, now) {
			r.s.book(event{Kind: eventServed, At: now, Tenant: r.id, ContentType: tenant.General, ContentID: d.ContentID, Records: d.Records, Bytes: 1})
		}
		r.s.books.fold(now)
		most = max(most, len(r.s.books.blobs))
	}
	all, _ := r.s.books.sums(now)
	if got := all[typeKey{r.id, tenant.General}].BlobsServed; got < 2*most {
		t.Errorf("%d blobs were served, %d were held at most; want a third or so", got, most)
	}
}

// TestLedgerOfRecords holds the lines about records against the blobs as they are served.
func TestLedgerOfRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.Quota, c.Tenants[0].LiveRate = true, -1, -1 })
	byBlob := map[string][]RecordLedger{}
	repeats := 0
	dec := json.NewDecoder(bytes.NewReader(r.get(r.s.URL() + "/_sim/records/" + r.id + "?contentType=Audit.Exchange").body))
	for dec.More() {
		var row RecordLedger
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		if byBlob[row.ContentID] = append(byBlob[row.ContentID], row); row.Repeat {
			repeats++
		}
	}
	blobs := 0
	for d := range r.s.Tenants()[0].Each(tenant.Exchange, testOrigin.Add(-7*day), testOrigin, testOrigin) {
		blobs++
		var records []json.RawMessage
		if err := json.Unmarshal(r.get(r.root+"/audit/"+d.ContentID).body, &records); err != nil {
			t.Fatal(err)
		}
		rows := byBlob[d.ContentID]
		if len(rows) != len(records) {
			t.Fatalf("blob %s has %d records, the ledger %d", d.ContentID, len(records), len(rows))
		}
		for i, record := range records {
			var env struct {
				ID string `json:"Id"`
			}
			if err := json.Unmarshal(record, &env); err != nil || rows[i].Index != i || rows[i].ID != env.ID || rows[i].SHA256 != hexSHA256(record) {
				t.Errorf("record %d of %s: the ledger says %+v, %v", i, d.ContentID, rows[i], err)
			}
		}
	}
	row := r.s.Ledger().Tenants[0].Content[1]
	if len(byBlob) != blobs || repeats == 0 || repeats != row.Repeats || row.Expired != 0 {
		t.Errorf("%d blobs, %d in the ledger; %d repeats, %+v", blobs, len(byBlob), repeats, row)
	}
	var blob BlobLedger
	line, _, _ := bytes.Cut(r.get(r.s.URL()+"/_sim/blobs/"+r.id+"?contentType=Audit.Exchange").body, []byte("\n"))
	if err := json.Unmarshal(line, &blob); err != nil || !blob.FirstServed.Equal(testOrigin) || blob.Downloads != 1 || !blob.Expires.Equal(blob.Created.Add(7*day)) {
		t.Errorf("%s: %v", line, err)
	}
}

// TestMetrics reads the ledger as Prometheus does.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed = true })
	if err := r.s.SetFaults(Fault{Name: FaultInternal, Rate: 1, Count: 1}); err != nil {
		t.Fatal(err)
	}
	r.get(r.root + "/subscriptions/list")
	r.get(r.root + "/subscriptions/list")
	r.get(r.listAll("Audit.Exchange", testOrigin.Add(-day), testOrigin)[0].ContentURI)
	a := r.get(r.s.URL() + "/_sim/metrics")
	of := `{content_type="Audit.Exchange",tenant="` + r.id + `"} 1`
	for _, want := range []string{
		`millrace_m365sim_requests_total{answer="ok",operation="list"} 1`, `millrace_m365sim_requests_total{answer="fault internal",operation="list"} 1`,
		`millrace_m365sim_faults_total{fault="internal"} 1`, `millrace_m365sim_tokens_issued_total{service="manage"} 1`,
		`millrace_m365sim_improper_acts_total{act="no PublisherIdentifier"} 2`,
		"millrace_m365sim_blobs_served" + of, "millrace_m365sim_downloads_total" + of, "millrace_m365sim_blobs_expired_unserved",
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("no %s in\n%s", want, a.body)
		}
	}
}
