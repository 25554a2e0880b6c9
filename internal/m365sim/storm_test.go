package m365sim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/m365sim/tenant"
)

// follower is a correct client of the feed that knows the API reference and nothing of this project: it signs in, starts what is
// missing, lists with an overlap because blobs appear late, follows every page, loads each blob once, tries again what failed, and backs
// off when it is told to. Instead of sleeping it moves the machine's clock.
type follower struct {
	*rig
	cursor map[string]time.Time         // by content type: everything created before it, and older than the overlap, is loaded
	have   map[string][sha256.Size]byte // by content id: the bytes of the blob
	asked  int
}

// subscriptionSeen is what the client reads of a subscription.
type subscriptionSeen struct{ ContentType, Status string }

const (
	followWindow  = 23 * time.Hour
	followOverlap = 90 * time.Minute
)

// call repeats a request until its answer is whole, and returns false for a refusal that repeating does not change.
func (f *follower) call(method, address string, into any) (http.Header, bool) {
	f.t.Helper()
	for pause, n := time.Second, 0; n < 100; n++ {
		f.asked++
		a, err := f.try(method, address)
		var refusal struct{ Error struct{ Code string } }
		switch {
		case err == nil && a.status == http.StatusOK && (into == nil || json.Unmarshal(a.body, into) == nil):
			return a.header, true
		case err == nil && a.status == http.StatusUnauthorized:
			f.signIn()
			continue
		case err == nil && a.status != http.StatusOK && json.Unmarshal(a.body, &refusal) == nil && refusal.Error.Code == "AF429":
			f.clock.advance(time.Duration(float64(30*time.Second) / f.s.cfg.Speed)) // half a minute of the service's time
			continue
		case err == nil && a.status >= 400 && a.status < 500:
			return nil, false
		}
		f.clock.advance(time.Duration(float64(pause) / f.s.cfg.Speed))
		pause = min(2*pause, time.Minute)
	}
	f.t.Fatalf("%s failed 100 times", address)
	return nil, false
}

func (f *follower) signIn() {
	f.t.Helper()
	for range 100 {
		if token, err := f.tryToken(); err == nil {
			f.token = token
			return
		}
	}
	f.t.Fatal("no token in 100 attempts")
}

// start asks once and then looks, because an attempt whose answer was lost has been applied and starts must lie 15 minutes apart.
func (f *follower) start(ct string) {
	f.t.Helper()
	for range 100 {
		_, _ = f.try(http.MethodPost, f.root+"/subscriptions/start?contentType="+ct+"&PublisherIdentifier="+f.id)
		var subs []subscriptionSeen
		f.call(http.MethodGet, f.root+"/subscriptions/list?PublisherIdentifier="+f.id, &subs)
		if slices.ContainsFunc(subs, func(s subscriptionSeen) bool { return s.ContentType == ct && s.Status == "enabled" }) {
			return
		}
	}
	f.t.Fatalf("%s did not start", ct)
}

// poll loads everything of a content type that is listed up to the service's now.
func (f *follower) poll(ct string) {
	f.t.Helper()
	now, seen := f.s.now().Truncate(time.Second), !f.cursor[ct].Before(testOrigin)
	for from := f.cursor[ct].Add(-followOverlap); from.Before(now); from = from.Add(followWindow) {
		to := from.Add(followWindow)
		if to.After(now) {
			to = now
		}
		if !from.Before(to) {
			break
		}
		next := fmt.Sprintf("%s/subscriptions/content?contentType=%s&startTime=%s&endTime=%s", f.root, ct, from.Format("2006-01-02T15:04:05"), to.Format("2006-01-02T15:04:05"))
		for next != "" {
			var page []descriptor
			h, ok := f.call(http.MethodGet, next+"&PublisherIdentifier="+f.id, &page)
			if !ok {
				f.t.Fatalf("%s was refused", next)
			}
			for _, b := range page {
				seen = true
				f.load(b)
			}
			next = h.Get("NextPageUri")
		}
	}
	if seen {
		f.cursor[ct] = now // before that, an empty list may be the delay of the first content, which is dated back
	}
}

func (f *follower) load(b descriptor) {
	f.t.Helper()
	if _, ok := f.have[b.ContentID]; ok {
		return
	}
	var records json.RawMessage
	if _, ok := f.call(http.MethodGet, b.ContentURI+"?PublisherIdentifier="+f.id, &records); !ok {
		f.t.Fatalf("blob %s was refused", b.ContentID)
	}
	f.have[b.ContentID] = sha256.Sum256(records)
}

// judge holds what the client has of some content types against what the tenant has by its seed, blob by blob.
func (f *follower) judge(types []string, from, until time.Time) {
	f.t.Helper()
	blobs := 0
	for _, ct := range types {
		var buf tenant.Buffer
		for d := range f.s.Tenants()[0].Each(ct, from, until, until) {
			blobs++
			f.s.Tenants()[0].Render(&buf, d)
			if got := f.have[d.ContentID]; got != sha256.Sum256(buf.Bytes()) {
				f.t.Errorf("blob %s of %s hashes to %x", d.ContentID, ct, got)
			}
		}
	}
	l := f.s.Ledger()
	for what, n := range l.Improper {
		if what != "over the quota" { // what a throttle that nothing announces makes of every client
			f.t.Errorf("a correct client did what is improper: %s, %d times", what, n)
		}
	}
	f.t.Logf("%d blobs, %d requests, faults %v, requests %v", blobs, f.asked, l.Faults, l.Requests)
}

func newFollower(t *testing.T, change func(*Config)) *follower {
	t.Helper()
	f := &follower{rig: newRig(t, change), cursor: map[string]time.Time{}, have: map[string][sha256.Size]byte{}}
	for _, ct := range tenant.ContentTypes() {
		f.cursor[ct] = testOrigin.Add(-7*day + followOverlap)
	}
	return f
}

// allFaults has every fault hit a share of all requests.
func allFaults(rate float64) []Fault {
	var faults []Fault
	for _, name := range FaultNames() {
		faults = append(faults, Fault{Name: name, Rate: rate})
	}
	return faults
}

// TestEverythingFailsSometimes has all faults on at 5 % and shows that a correct client gets the whole week, byte for byte.
func TestEverythingFailsSometimes(t *testing.T) {
	t.Parallel()
	f := newFollower(t, func(c *Config) { c.AlwaysSubscribed, c.PageSize, c.Tenants[0].LiveRate = true, 10, -1 })
	if err := f.s.SetFaults(allFaults(0.05)...); err != nil {
		t.Fatal(err)
	}
	for _, ct := range tenant.ContentTypes() {
		f.poll(ct)
	}
	f.judge(tenant.ContentTypes(), time.Unix(0, 0), testOrigin)
	l := f.s.Ledger()
	for _, row := range l.Tenants[0].Content {
		if row.BlobsServed != row.Blobs {
			t.Errorf("%+v", row)
		}
	}
	for _, name := range FaultNames() {
		if l.Faults[name] == 0 {
			t.Errorf("%s never hit", name)
		}
	}
}

// TestCompressedWeek has a week pass at a thousand times the speed, with a first-content delay, tokens that end, blobs that appear late,
// all faults, and the quota of the real service.
func TestCompressedWeek(t *testing.T) {
	t.Parallel()
	const speed = 1000
	f := newFollower(t, func(c *Config) {
		c.Speed, c.FirstContentDelay, c.Backfill = speed, 12*time.Hour, 22*time.Hour
		c.Tenants[0].Records, c.Tenants[0].LiveRate = 1000, 0.004
	})
	if err := f.s.SetFaults(allFaults(0.05)...); err != nil {
		t.Fatal(err)
	}
	for _, ct := range tenant.ContentTypes() {
		if ct != tenant.DLP { // the last type is nobody's: it shows that what is not fetched expires
			f.start(ct)
		}
		f.cursor[ct] = testOrigin.Add(-22*time.Hour + followOverlap)
	}
	started := f.s.now()
	var abandoned string
	for d := range f.s.Tenants()[0].Each(tenant.Exchange, testOrigin.Add(-22*time.Hour), testOrigin, testOrigin) {
		abandoned = d.ContentID
	}
	for f.s.now().Before(testOrigin.Add(7*day + 2*time.Hour)) {
		f.clock.advance(time.Hour / speed)
		for _, ct := range tenant.ContentTypes()[:4] {
			f.poll(ct)
		}
		if n := len(f.have); n > 0 && f.s.now().Sub(started) < 12*time.Hour {
			t.Fatalf("%d blobs before the first-content delay was over", n)
		}
	}
	if machine := f.clock.now().Sub(testOrigin); machine > 11*time.Minute {
		t.Errorf("the week took %s of the machine", machine)
	}
	f.judge(tenant.ContentTypes()[:4], testOrigin.Add(-22*time.Hour), f.s.now().Add(-2*time.Hour))
	l := f.s.Ledger()
	if l.Requests["content"]["401"] < 50 || l.Tokens["manage"] < 50 {
		t.Errorf("%d requests met an expired token, %d tokens were issued; want one an hour", l.Requests["content"]["401"], l.Tokens["manage"])
	}
	if dlp := l.Tenants[0].Content[4]; dlp.ExpiredUnserved == 0 || dlp.BlobsServed > 0 {
		t.Errorf("the type that nobody fetched: %+v", dlp)
	}
	if err := f.s.SetFaults(); err != nil {
		t.Fatal(err)
	}
	f.signIn()
	if a := f.get(f.root + "/audit/" + abandoned); a.status != http.StatusGone || a.code(t) != "AF20051" {
		t.Errorf("a blob of last week: %d %s", a.status, a.body)
	}
}

// TestSpeedOverRestart shows that simulated time never steps, whatever the speeds of the runs of a folder are.
func TestSpeedOverRestart(t *testing.T) {
	t.Parallel()
	dir, c := dirWithKey(t), &testClock{at: testOrigin}
	want := testOrigin
	for _, speed := range []float64{1, 1000, 1000, 1, 0.5} {
		s, err := New(Config{Dir: dir, Clock: c.now, Speed: speed, Tenants: []tenant.Config{{Records: 100, LiveRate: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.now(); !got.Equal(want) {
			t.Errorf("speed %g begins at %s, want %s", speed, got, want)
		}
		c.advance(time.Minute)
		want = want.Add(time.Duration(float64(time.Minute) * speed))
		if got := s.now(); !got.Equal(want) {
			t.Errorf("a minute later at speed %g it is %s, want %s", speed, got, want)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, speed := range []float64{-1, 1e9} {
		if _, err := New(Config{Speed: speed}); err == nil || !strings.Contains(err.Error(), "Speed") {
			t.Errorf("speed %g: %v", speed, err)
		}
	}
}

func (r *rig) tryToken() (string, error) {
	resp, err := r.client.PostForm(r.s.URL()+"/"+r.id+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "scope": {"https://manage.office.com/.default"},
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return "", err
	}
	if out.Token == "" {
		return "", errors.New("the answer has no token")
	}
	return out.Token, nil
}
