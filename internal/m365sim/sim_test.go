package m365sim

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"millrace/internal/m365sim/tenant"
)

// testClock is a clock that tests set.
type testClock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// rig is a running simulator with a client that trusts it.
type rig struct {
	t      *testing.T
	s      *Server
	clock  *testClock
	client *http.Client
	token  string
	root   string
	id     string
}

var testOrigin = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// tokenKey is a key for tokens that all rigs share: making one takes longer than most tests.
var tokenKey = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "m365sim-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := loadTokenKeys(dir); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "token-key.pem"))
})

// dirWithKey makes a folder for a simulator that has the shared key in it.
func dirWithKey(t *testing.T) string {
	t.Helper()
	key, err := tokenKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token-key.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	c := &testClock{at: testOrigin}
	cfg := Config{Tenants: []tenant.Config{{Seed: 1, Records: 3000}}, Clock: c.now, Dir: dirWithKey(t)}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s, clock: c, client: clientFor(t, s), id: s.Tenants()[0].ID()}
	r.root = s.URL() + "/api/v1.0/" + r.id + "/activity/feed"
	r.token = r.newToken("https://manage.office.com")
	return r
}

func clientFor(t testing.TB, s *Server) *http.Client {
	t.Helper()
	pemText, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pemText) {
		t.Fatal("the CA file holds no certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func (r *rig) newToken(resource string) string {
	r.t.Helper()
	a := r.post(r.s.URL()+"/"+r.id+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "scope": {resource + "/.default"},
	})
	if a.status != http.StatusOK {
		r.t.Fatalf("token: %d %s", a.status, a.body)
	}
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil || out.AccessToken == "" {
		r.t.Fatalf("token answer %s: %v", a.body, err)
	}
	return out.AccessToken
}

// answer is an HTTP answer that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (r *rig) post(address string, form url.Values) answer {
	return r.do(http.MethodPost, address, "application/x-www-form-urlencoded", form.Encode())
}

func (r *rig) get(address string) answer {
	return r.do(http.MethodGet, address, "", "")
}

func (r *rig) do(method, address, contentType, body string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) answer {
	r.t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, text}
}

type descriptor struct {
	ContentURI        string `json:"contentUri"`
	ContentID         string `json:"contentId"`
	ContentType       string `json:"contentType"`
	ContentCreated    string `json:"contentCreated"`
	ContentExpiration string `json:"contentExpiration"`
}

// listAll follows every page of a window and returns what it shows.
func (r *rig) listAll(ct string, from, to time.Time) []descriptor {
	r.t.Helper()
	next := fmt.Sprintf("%s/subscriptions/content?contentType=%s&startTime=%s&endTime=%s", r.root, ct, from.Format("2006-01-02T15:04:05"), to.Format("2006-01-02T15:04:05"))
	var all []descriptor
	for next != "" {
		a := r.get(next + "&PublisherIdentifier=" + r.id)
		if a.status != http.StatusOK {
			r.t.Fatalf("list: %d %s", a.status, a.body)
		}
		var page []descriptor
		if err := json.Unmarshal(a.body, &page); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, page...)
		next = a.header.Get("NextPageUri")
	}
	return all
}

// TestWeekIsServedAsItIs downloads the whole week and compares it with what the tenant has by its seed.
func TestWeekIsServedAsItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.PageSize, c.Quota = true, 7, -1 })
	want := map[string][32]byte{}
	tn, err := tenant.New(tenant.Config{Seed: 1, Records: 3000, Origin: testOrigin})
	if err != nil {
		t.Fatal(err)
	}
	err = tn.Blobs(t.Context(), time.Time{}, func(b tenant.Blob) error {
		h := sha256.New()
		for _, rec := range b.Records {
			h.Write(rec)
		}
		want[b.ContentID] = [32]byte(h.Sum(nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	twice := 0
	for _, ct := range tenant.ContentTypes() {
		seen := map[string]bool{}
		for day := range 7 {
			from := testOrigin.Add(-time.Duration(7-day) * 24 * time.Hour)
			for _, d := range r.listAll(ct, from, from.Add(24*time.Hour)) {
				if seen[d.ContentID] {
					twice++
					continue
				}
				seen[d.ContentID] = true
				a := r.get(d.ContentURI + "?PublisherIdentifier=" + r.id)
				if a.status != http.StatusOK {
					t.Fatalf("blob: %d %s", a.status, a.body)
				}
				var records []json.RawMessage
				if err := json.Unmarshal(a.body, &records); err != nil {
					t.Fatal(err)
				}
				h := sha256.New()
				for _, rec := range records {
					h.Write(rec)
				}
				if want[d.ContentID] != [32]byte(h.Sum(nil)) {
					t.Errorf("blob %s is not what the tenant has", d.ContentID)
				}
				delete(want, d.ContentID)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("%d blobs were not listed", len(want))
	}
	if twice == 0 {
		t.Error("no blob was listed on both sides of a page border")
	}
	for _, row := range r.s.Ledger().Tenants[0].Content {
		if row.BlobsServed != row.Blobs || row.RecordsServed != row.Records {
			t.Errorf("ledger: %+v", row)
		}
	}
}

func TestMSAL(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	cred, err := confidential.NewCredFromSecret(DefaultClientSecret)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := confidential.New(r.s.URL()+"/"+r.id, DefaultClientID, cred, confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(r.client))
	if err != nil {
		t.Fatal(err)
	}
	res, err := cl.AcquireTokenByCredential(t.Context(), []string{"https://manage.office.com/.default"})
	if err != nil {
		t.Fatal(err)
	}
	r.token = res.AccessToken
	if a := r.get(r.root + "/subscriptions/list"); a.status != http.StatusOK || string(a.body) != "[]" {
		t.Errorf("list: %d %s", a.status, a.body)
	}
}

func TestGraphUsersDelta(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Tenants[0].Users = 230 })
	r.token = r.newToken("https://graph.microsoft.com")
	seen := map[string]bool{}
	next, delta := r.s.URL()+"/v1.0/users/delta?$select=displayName,accountEnabled,userPrincipalName", ""
	for next != "" {
		a := r.get(next)
		if a.status != http.StatusOK {
			t.Fatalf("delta: %d %s", a.status, a.body)
		}
		var page struct {
			Value []map[string]any
			Next  string `json:"@odata.nextLink"`
			Delta string `json:"@odata.deltaLink"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Value {
			seen[u["userPrincipalName"].(string)] = true
			if len(u) != 4 {
				t.Fatalf("user has %v, want what was selected", u)
			}
		}
		next, delta = page.Next, page.Delta
	}
	if len(seen) != 230 || delta == "" {
		t.Errorf("%d users, delta link %q", len(seen), delta)
	}
	r.clock.advance(25 * time.Minute)
	if a := r.get(delta); strings.Count(string(a.body), `"id"`) != 2 {
		t.Errorf("two changes in 25 minutes, got %s", a.body)
	}
	r.clock.advance(8 * 24 * time.Hour)
	r.token = r.newToken("https://graph.microsoft.com")
	if a := r.get(delta); a.status != http.StatusGone || a.header.Get("Location") == "" {
		t.Errorf("an old delta token: %d", a.status)
	}
}
