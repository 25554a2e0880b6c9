package m365sim

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"millrace/internal/m365sim/tenant"
)

// code is the AF code of an answer.
func (a answer) code(t *testing.T) string {
	t.Helper()
	var out struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if out.Error.Message == "" {
		t.Errorf("%s has no message", a.body)
	}
	return out.Error.Code
}

func (r *rig) start(ct, body string) answer {
	return r.do(http.MethodPost, r.root+"/subscriptions/start?contentType="+ct+"&PublisherIdentifier="+r.id, "application/json", body)
}

func (r *rig) stop(ct string) answer {
	return r.do(http.MethodPost, r.root+"/subscriptions/stop?contentType="+ct+"&PublisherIdentifier="+r.id, "", "")
}

const day = 24 * time.Hour

// TestErrors asserts status and body of every refusal of the feed against the API reference.
func TestErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed = true })
	at := func(d time.Duration) string { return testOrigin.Add(d).Format("2006-01-02T15:04:05") }
	content := func(query string) string { return "/subscriptions/content?" + query }
	window := func(from, to time.Duration) string {
		return content("contentType=Audit.General&startTime=" + at(from) + "&endTime=" + at(to))
	}
	known := ""
	for d := range r.s.Tenants()[0].Each(tenant.General, testOrigin.Add(-day), testOrigin, testOrigin) {
		known = d.ContentID
	}
	other := newRigToken(r, "00000000-1111-4222-8333-444444444444")
	cases := []struct {
		name, path string
		status     int
		code       string
	}{
		{"missing content type", content(""), 400, "AF20001"},
		{"bad time", content("contentType=Audit.General&startTime=yesterday&endTime=2026-03-09"), 400, "AF20002"},
		{"bad publisher", "/subscriptions/list?PublisherIdentifier=me", 400, "AF20002"},
		{"content type", content("contentType=Audit.Everything"), 400, "AF20020"},
		{"only one bound", content("contentType=Audit.General&startTime=2026-03-09T00:00:00"), 400, "AF20055"},
		{"start after end", window(-time.Hour, -2*time.Hour), 400, "AF20055"},
		{"start equals end", window(-time.Hour, -time.Hour), 400, "AF20055"},
		{"25 hours", window(-25*time.Hour, 0), 400, "AF20055"},
		{"8 days old", window(-8*day, -8*day+time.Hour), 400, "AF20030"},
		{"bad marker", window(-day, 0) + "&nextpage=1", 400, "AF20031"},
		{"marker of another window", window(-2*time.Hour, 0) + "&nextpage=20260101000000000000000$20260101000000000000000$emea0029", 400, "AF20031"},
		{"marker with letters", window(-2*time.Hour, 0) + "&nextpage=2026x101000000000000000$20260101000000000000000$emea0029", 400, "AF20031"},
		{"unknown blob", "/audit/20260308100412337000118$20260308100733120000251$audit_general$Audit_General$emea0029$emea0029", 404, "AF20050"},
		{"impossible blob id", "/audit/latest", 400, "AF20052"},
		{"changed blob id", "/audit/" + strings.Replace(known, "Audit_General", "Audit_Exchange", 1), 404, "AF20050"},
		{"notifications without a window", "/subscriptions/notifications?contentType=Audit.General&startTime=2026-03-09", 400, "AF20055"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := r.get(r.root + c.path)
			if a.status != c.status || a.code(t) != c.code {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			if ct := a.header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
				t.Errorf("Content-Type is %q", ct)
			}
		})
	}
	t.Run("tenants", func(t *testing.T) {
		feed := func(id string) string { return r.s.URL() + "/api/v1.0/" + id + "/activity/feed/subscriptions/list" }
		if a := r.get(feed(r.s.Tenants()[0].DomainNames()[0])); a.status != 400 || a.code(t) != "AF20013" {
			t.Errorf("a domain name: %d %s", a.status, a.body)
		}
		if a := r.get(feed("00000000-1111-4222-8333-444444444444")); a.status != 401 || a.code(t) != "AF20010" {
			t.Errorf("another tenant: %d %s", a.status, a.body)
		}
		old := r.token
		r.token = other
		if a := r.get(feed("00000000-1111-4222-8333-444444444444")); a.status != 400 || a.code(t) != "AF20011" {
			t.Errorf("an unknown tenant: %d %s", a.status, a.body)
		}
		r.token = old
	})
}

// newRigToken makes a genuine token of a tenant that the simulator does not have.
func newRigToken(r *rig, tenantID string) string {
	r.t.Helper()
	body, err := r.s.grantTo(r.s.apps[DefaultClientID], tenantID, "https://manage.office.com", "manage", true)
	if err != nil {
		r.t.Fatal(err)
	}
	return body["access_token"].(string)
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	good := r.token
	cases := []struct{ name, token string }{
		{"none", ""},
		{"nonsense", "abc"},
		{"changed", good[:len(good)-6] + "AAAAAA"},
		{"for another service", r.newToken("https://graph.microsoft.com")},
	}
	for _, c := range cases {
		r.token = c.token
		if a := r.get(r.root + "/subscriptions/list"); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
	r.token = good
	r.clock.advance(2 * time.Hour)
	if a := r.get(r.root + "/subscriptions/list"); a.status != http.StatusUnauthorized {
		t.Errorf("expired: %d %s", a.status, a.body)
	}
}

// TestSubscriptions covers S1 to S3 and S8: start, stop and list for each app and content type, and what each sees.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	second := App{ClientID: "11111111-2222-4333-8444-555555555555", Secret: "s"}
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret}, second}
		c.FirstContentDelay = 2 * time.Minute
		c.Tenants[0].LiveRate = 50
	})
	if a := r.get(r.root + "/subscriptions/list"); string(a.body) != "[]" {
		t.Errorf("no subscription yet: %s", a.body)
	}
	listing := r.root + "/subscriptions/content?contentType=Audit.General"
	if a := r.get(listing); a.status != 400 || a.code(t) != "AF20022" {
		t.Errorf("listing before start: %d %s", a.status, a.body)
	}
	if a := r.stop("Audit.General"); a.status != 400 || a.code(t) != "AF20022" {
		t.Errorf("stop before start: %d %s", a.status, a.body)
	}
	want := `{"contentType":"Audit.General","status":"enabled","webhook":null}`
	if a := r.start("audit.general", ""); a.status != 200 || string(a.body) != want {
		t.Errorf("start: %d %s", a.status, a.body)
	}
	if a := r.start("Audit.General", ""); a.status != 400 || a.code(t) != "AF20024" {
		t.Errorf("start again: %d %s", a.status, a.body)
	}
	if a := r.get(r.root + "/subscriptions/list"); string(a.body) != "["+want+"]" {
		t.Errorf("list: %s", a.body)
	}
	if got := r.listAll("Audit.General", testOrigin.Add(-23*time.Hour), testOrigin); len(got) != 0 {
		t.Errorf("%d blobs before the first content is due", len(got))
	}
	r.clock.advance(3 * time.Minute)
	now := r.clock.now()
	got := r.listAll("Audit.General", now.Add(-24*time.Hour), now)
	oldest := testOrigin.Add(-DefaultBackfill).Format(envelopeTime)
	if len(got) == 0 || slices.ContainsFunc(got, func(d descriptor) bool { return d.ContentCreated < oldest }) {
		t.Errorf("%d blobs, none may be older than %s", len(got), oldest)
	}
	old := r.token
	r.token = tokenOf(r, second)
	if a := r.get(r.root + "/subscriptions/list"); string(a.body) != "[]" {
		t.Errorf("another app sees subscriptions: %s", a.body)
	}
	r.token = old
	stopped := r.clock.now()
	if a := r.stop("Audit.General"); a.status != 200 || len(a.body) != 0 {
		t.Errorf("stop: %d %s", a.status, a.body)
	}
	if a := r.get(listing); a.status != 400 || a.code(t) != "AF20023" {
		t.Errorf("listing when stopped: %d %s", a.status, a.body)
	}
	if a := r.get(got[0].ContentURI); a.status != 400 || a.code(t) != "AF20023" {
		t.Errorf("blob when stopped: %d %s", a.status, a.body)
	}
	r.clock.advance(20 * time.Minute)
	restarted := r.clock.now()
	r.start("Audit.General", "")
	r.clock.advance(10 * time.Minute)
	again := r.listAll("Audit.General", restarted.Add(-time.Hour), r.clock.now())
	if len(again) == 0 {
		t.Error("nothing listed after the restart")
	}
	for _, d := range again {
		if d.ContentCreated >= stopped.Format(envelopeTime) && d.ContentCreated < restarted.Format(envelopeTime) {
			t.Errorf("blob of %s was made while the subscription was stopped", d.ContentCreated)
		}
	}
	l := r.s.Ledger()
	if l.Improper["stop called"] != 1 || l.Improper["start repeated within 15 minutes"] != 1 {
		t.Errorf("improper: %v", l.Improper)
	}
}

func tokenOf(r *rig, a App) string {
	r.t.Helper()
	got := r.post(r.s.URL()+"/"+r.id+"/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {a.ClientID}, "client_secret": {a.Secret}, "resource": {"https://manage.office.com"},
	})
	var out map[string]string
	if err := json.Unmarshal(got.body, &out); err != nil || out["access_token"] == "" {
		r.t.Fatalf("%s: %v", got.body, err)
	}
	return out["access_token"]
}

// TestPaging covers S4 and S5: the window is half open, links carry the window in lower case and nobody's name.
func TestPaging(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.PageSize = true, 3 })
	from := testOrigin.Add(-20 * time.Hour)
	a := r.get(r.root + "/subscriptions/content?CONTENTTYPE=Audit.Exchange&StartTime=" + from.Format("2006-01-02T15:04") + "&endtime=" + testOrigin.Format("2006-01-02T15:04:05.000Z"))
	var page []descriptor
	if err := json.Unmarshal(a.body, &page); err != nil || len(page) != 3 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	next := a.header.Get("NextPageUri")
	prefix := r.root + "/subscriptions/content?contenttype=Audit.Exchange&starttime=2026-03-08T16:00:00.0000000Z&endtime=2026-03-09T12:00:00.0000000Z&nextpage="
	if !strings.HasPrefix(next, prefix) || strings.Contains(strings.ToLower(next), "publisher") {
		t.Errorf("link is %s", next)
	}
	if again := r.get(next); again.status != 200 {
		t.Errorf("the link: %d %s", again.status, again.body)
	}
	all := r.listAll("Audit.Exchange", from, testOrigin)
	if !slices.IsSortedFunc(all, func(a, b descriptor) int { return strings.Compare(a.ContentCreated, b.ContentCreated) }) {
		t.Error("blobs are not in order of availability")
	}
	edge, err := time.Parse(envelopeTime, all[4].ContentCreated)
	if err != nil {
		t.Fatal(err)
	}
	list := func(from, to time.Time) string {
		a := r.get(fmt.Sprintf("%s/subscriptions/content?contentType=Audit.Exchange&startTime=%s&endTime=%s", r.root, from.Format(linkTime), to.Format(linkTime)))
		return string(a.body)
	}
	if !strings.Contains(list(edge, edge.Add(time.Second)), all[4].ContentID) {
		t.Error("a blob at the start of the window is missing")
	}
	if strings.Contains(list(edge.Add(-time.Second), edge), all[4].ContentID) {
		t.Error("a blob at the end of the window is listed")
	}
	if !strings.Contains(all[0].ContentURI, "$") {
		t.Error("content ids hold a dollar sign")
	}
}

// TestLateBlobs covers S6: a blob can appear when younger ones have been listed already.
func TestLateBlobs(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.Tenants[0].LiveRate, c.PageSize = true, 40, 1000 })
	seen := map[string]bool{}
	late, newest := 0, ""
	for range 60 {
		r.clock.advance(time.Minute)
		now := r.clock.now()
		highest := newest
		if r.token = ""; true {
			r.token = r.newToken("https://manage.office.com")
		}
		for _, d := range r.listAll("Audit.General", now.Add(-2*time.Hour), now) {
			if seen[d.ContentID] {
				continue
			}
			seen[d.ContentID] = true
			if d.ContentCreated < newest {
				late++
			}
			highest = max(highest, d.ContentCreated)
		}
		newest = highest
	}
	if late == 0 {
		t.Error("no blob was late")
	}
}

// TestExpiry covers S9.
func TestExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.Tenants[0].ExpireAfter = true, 5*day })
	ids := []string{}
	for d := range r.s.Tenants()[0].Each(tenant.Exchange, testOrigin.Add(-7*day), testOrigin, testOrigin) {
		ids = append(ids, d.ContentID)
	}
	if a := r.get(r.root + "/audit/" + ids[0]); a.status != http.StatusGone || a.code(t) != "AF20051" {
		t.Errorf("an expired blob: %d %s", a.status, a.body)
	}
	if a := r.get(r.root + "/audit/" + ids[len(ids)-1]); a.status != http.StatusOK {
		t.Errorf("a fresh blob: %d %s", a.status, a.body)
	}
	if got := r.listAll("Audit.Exchange", testOrigin.Add(-7*day), testOrigin.Add(-6*day)); len(got) != 0 {
		t.Errorf("%d expired blobs are listed", len(got))
	}
	if row := r.s.Ledger().Tenants[0].Content[1]; row.ExpiredUnserved == 0 {
		t.Errorf("ledger: %+v", row)
	}
}

// TestQuota covers S10: each tenant has a bucket, those who do not say who they are share one.
func TestQuota(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
		r := newRig(t, func(c *Config) { c.Quota, c.ThrottleStatus, c.RetryAfter = 3, status, 30*time.Second })
		mine, nobodys := r.root+"/subscriptions/list?PublisherIdentifier="+r.id, r.root+"/subscriptions/list"
		for i := range 3 {
			if a := r.get(mine); a.status != 200 {
				t.Fatalf("request %d: %d %s", i, a.status, a.body)
			}
		}
		a := r.get(mine)
		want := fmt.Sprintf(`{"error":{"code":"AF429","message":"Too many requests. Method=GetSubscriptions, PublisherId=%s"}}`, r.id)
		if a.status != status || string(a.body) != want || a.header.Get("Retry-After") != "30" {
			t.Errorf("got %d %s, want %d %s", a.status, a.body, status, want)
		}
		if a := r.get(nobodys); a.status != 200 {
			t.Errorf("the shared bucket: %d %s", a.status, a.body)
		}
		r.clock.advance(20 * time.Second)
		if a := r.get(mine); a.status != 200 {
			t.Errorf("after 20 s one request is back: %d %s", a.status, a.body)
		}
		if l := r.s.Ledger(); l.Improper["over the quota"] != 1 || l.Improper["no PublisherIdentifier"] != 1 {
			t.Errorf("improper: %v", l.Improper)
		}
	}
}

// TestRoles covers S17 and the permission errors.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret, Roles: []string{"ActivityFeed.Read"}}, {ClientID: uuid.NewSHA1(uuid.Nil, nil).String(), Secret: "s", Roles: []string{}}}
		c.AlwaysSubscribed = true
	})
	if a := r.get(r.root + "/subscriptions/content?contentType=DLP.All"); a.status != http.StatusForbidden || a.code(t) != "AF10001" {
		t.Errorf("DLP without its role: %d %s", a.status, a.body)
	}
	for d := range r.s.Tenants()[0].Each(tenant.DLP, testOrigin.Add(-7*day), testOrigin, testOrigin) {
		if a := r.get(r.root + "/audit/" + d.ContentID); a.status != http.StatusForbidden || a.code(t) != "AF10001" {
			t.Errorf("DLP blob without its role: %d %s", a.status, a.body)
		}
		break
	}
	r.token = tokenOf(r, r.s.cfg.Apps[1])
	if a := r.get(r.root + "/subscriptions/list"); a.status != http.StatusForbidden || a.code(t) != "AF10001" {
		t.Errorf("no role at all: %d %s", a.status, a.body)
	}
}

func TestSensitiveTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for lang, want := range map[string]string{"": "", "de-DE": "", "en-US,de": "AF20053", "not a language": "AF20054", "x": "AF20054"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.root+"/resources/dlpSensitiveTypes", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		if lang != "" {
			req.Header.Set("Accept-Language", lang)
		}
		a := r.send(req)
		if want == "" && (a.status != 200 || !strings.Contains(string(a.body), `"name":"CreditCardNumber"`)) || want != "" && a.code(t) != want {
			t.Errorf("Accept-Language %q: %d %s", lang, a.status, a.body)
		}
	}
}

// TestTenantTrouble covers S12 and AF20012.
func TestTenantTrouble(t *testing.T) {
	t.Parallel()
	off := newRig(t, func(c *Config) { c.AuditingOff = true })
	if a := off.get(off.root + "/subscriptions/list"); a.status != 500 || !strings.Contains(string(a.body), "DataServiceException: Tenant "+off.id+" does not exist.") {
		t.Errorf("auditing off: %d %s", a.status, a.body)
	}
	none := newRig(t, func(c *Config) { c.Unlicensed = true })
	if a := none.get(none.root + "/subscriptions/list"); a.status != 400 || a.code(t) != "AF20012" {
		t.Errorf("no licence: %d %s", a.status, a.body)
	}
}

// TestDateHeader covers S15, and the headers that the real service sends.
func TestDateHeader(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.ClockSkew = 7 * time.Minute })
	h := r.get(r.root + "/subscriptions/list").header
	if got, want := h.Get("Date"), testOrigin.Add(7*time.Minute).Format(http.TimeFormat); got != want {
		t.Errorf("Date is %s, want %s", got, want)
	}
	for k, want := range map[string]string{"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1", "Server": "Microsoft-IIS/10.0", "X-Powered-By": "ASP.NET"} {
		if h.Get(k) != want {
			t.Errorf("%s is %q, want %q", k, h.Get(k), want)
		}
	}
	if h.Get("Retry-After") != "" {
		t.Error("the real service sends no Retry-After")
	}
}

// TestWebhook covers S2 and S14.
func TestWebhook(t *testing.T) {
	t.Parallel()
	hook := newHook(t)
	r := newRig(t, func(c *Config) {
		c.WebhookClient, c.WebhookFailures, c.Tenants[0].LiveRate = hook.client(), 2, 40
	})
	body := func(address, expiration string) string {
		return fmt.Sprintf(`{"webhook":{"address":%q,"authId":"feed-7","expiration":%q}}`, address, expiration)
	}
	refusals := []struct{ body, code string }{
		{body("http://hooks.example.org", ""), "AF20021"},
		{body(hook.url, "2020-01-01T00:00:00"), "AF20003"},
		{body(hook.url, "soon"), "AF20002"},
		{`{"webhook":{}}`, "AF20001"},
		{`{"webhook":7}`, "AF20002"},
		{`[`, "AF20002"},
	}
	for _, c := range refusals {
		if a := r.start("Audit.General", c.body); a.status != 400 || a.code(t) != c.code {
			t.Errorf("start with %s: %d %s, want %s", c.body, a.status, a.body, c.code)
		}
	}
	hook.answer(http.StatusTeapot)
	if a := r.start("Audit.General", body(hook.url, "")); a.code(t) != "AF20021" || !strings.Contains(string(a.body), "did not return HTTP 200") {
		t.Errorf("start with a receiver that fails: %d %s", a.status, a.body)
	}
	if a := r.get(r.root + "/subscriptions/list"); string(a.body) != "[]" {
		t.Errorf("a subscription was made all the same: %s", a.body)
	}
	hook.answer(http.StatusOK)
	want := fmt.Sprintf(`{"contentType":"Audit.General","status":"enabled","webhook":{"status":"enabled","address":%q,"authId":"feed-7","expiration":null}}`, hook.url)
	if a := r.start("Audit.General", body(hook.url, "")); a.status != 200 || string(a.body) != want {
		t.Fatalf("start: %d %s", a.status, a.body)
	}
	first := hook.next(t)
	if first.code == "" || first.body != `{"validationCode":"`+first.code+`"}` || first.authID != "feed-7" {
		t.Errorf("validation: %+v", first)
	}
	r.clock.advance(time.Minute)
	pushed := hook.next(t)
	var notes []map[string]string
	if err := json.Unmarshal([]byte(pushed.body), &notes); err != nil || len(notes) == 0 || notes[0]["tenantId"] != r.id || notes[0]["clientId"] != DefaultClientID || !strings.HasPrefix(notes[0]["contentUri"], r.root) {
		t.Errorf("notification: %s", pushed.body)
	}
	if a := r.get(r.root + "/subscriptions/notifications?contentType=Audit.General"); !strings.Contains(string(a.body), `"notificationStatus":"success"`) {
		t.Errorf("notifications: %s", a.body)
	}
	hook.answer(http.StatusInternalServerError)
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(string(r.get(r.root+"/subscriptions/list").body), `"webhook":{"status":"disabled"`) {
		if time.Now().After(deadline) {
			t.Fatal("the webhook was not disabled")
		}
		r.clock.advance(time.Minute)
		hook.drain()
		time.Sleep(20 * time.Millisecond)
		r.token = r.newToken("https://manage.office.com")
	}
	if a := r.start("Audit.General", `{"webhook":null}`); a.status != 200 || !strings.Contains(string(a.body), `"webhook":null`) {
		t.Errorf("removal: %d %s", a.status, a.body)
	}
}

// TestWebhookCertificate has a receiver that lets nobody in without a certificate of the simulator's CA (reference, "Webhook").
func TestWebhookCertificate(t *testing.T) {
	t.Parallel()
	hook := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "m365sim" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	hook.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	for _, trusted := range []bool{true, false} {
		dir := dirWithKey(t)
		if hook.URL == "" {
			ca, err := loadAuthority(dir, nil, testOrigin) // the one that the simulator will find
			if err != nil {
				t.Fatal(err)
			}
			hook.TLS.ClientCAs = x509.NewCertPool()
			hook.TLS.ClientCAs.AddCert(ca.cert)
			hook.TLS.Time = func() time.Time { return testOrigin } // as long as the certificates are valid at
			hook.StartTLS()
			t.Cleanup(hook.Close)
		}
		receiver := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
		r := newRig(t, func(c *Config) { c.Dir, c.WebhookCAs = dir, receiver })
		a := r.start("Audit.General", `{"webhook":{"address":"`+hook.URL+`"}}`)
		if got := a.status == http.StatusOK; got != trusted {
			t.Errorf("the certificate of the receiver's CA %t: %d %s", trusted, a.status, a.body)
		}
	}
	if _, err := New(Config{WebhookCAs: []byte("none")}); err == nil {
		t.Error("a file without certificates was taken")
	}
}

func TestWebhookStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hook webhook
		want string
	}{
		{webhook{}, "enabled"},
		{webhook{Expiration: testOrigin.Add(time.Second)}, "enabled"},
		{webhook{Expiration: testOrigin}, "expired"},
		{webhook{Disabled: true, Expiration: testOrigin}, "disabled"},
	} {
		if got := c.hook.status(testOrigin); got != c.want {
			t.Errorf("%+v is %s, want %s", c.hook, got, c.want)
		}
	}
}

// hook is a receiver of webhooks.
type hook struct {
	url    string
	srv    *httptest.Server
	got    chan pushed
	status chan int
}

type pushed struct{ authID, code, body string }

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{got: make(chan pushed, 1000), status: make(chan int, 1)}
	h.status <- http.StatusOK
	h.srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1<<20)
		n := 0
		for {
			k, err := r.Body.Read(buf[n:])
			if n += k; err != nil {
				break
			}
		}
		status := <-h.status
		h.status <- status
		if status == http.StatusOK {
			select {
			case h.got <- pushed{r.Header.Get("Webhook-AuthID"), r.Header.Get("Webhook-ValidationCode"), string(buf[:n])}:
			default:
			}
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.srv.Close)
	h.url = h.srv.URL + "/m365"
	return h
}

func (h *hook) client() *http.Client { return h.srv.Client() }

func (h *hook) answer(status int) {
	<-h.status
	h.status <- status
}

func (h *hook) drain() {
	for len(h.got) > 0 {
		<-h.got
	}
}

func (h *hook) next(t *testing.T) pushed {
	t.Helper()
	select {
	case p := <-h.got:
		return p
	case <-time.After(time.Minute):
		t.Fatal("nothing was pushed")
		return pushed{}
	}
}
