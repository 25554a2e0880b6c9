package m365sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/m365sim/tenant"
)

// TestRestart covers what survives: CA, clock origin, subscriptions, ledger, and tokens.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &testClock{at: testOrigin}
	cfg := Config{Tenants: []tenant.Config{{Seed: 9, Records: 1000}}, Dir: dir, Clock: c.now}
	run := func(fn func(r *rig)) {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, s: s, clock: c, client: clientFor(t, s), id: s.Tenants()[0].ID()}
		r.root = s.URL() + "/api/v1.0/" + r.id + "/activity/feed"
		r.token = r.newToken("https://manage.office.com")
		fn(r)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	var ca []byte
	var blob answer
	var path, token string
	run(func(r *rig) {
		r.start("Audit.General", "")
		d := r.listAll("Audit.General", testOrigin.Add(-20*60*60*1e9), testOrigin)[0]
		blob = r.get(d.ContentURI)
		path, token = strings.TrimPrefix(d.ContentURI, r.s.URL()), r.token
		var err error
		if ca, err = os.ReadFile(r.s.CAFile()); err != nil {
			t.Fatal(err)
		}
	})
	// A crash in the middle of a write leaves half a line.
	f, err := os.OpenFile(filepath.Join(dir, "journal.ndjson"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"kind":"stop","tena`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.advance(30 * 60 * 1e9)
	run(func(r *rig) {
		again, err := os.ReadFile(r.s.CAFile())
		if err != nil || !bytes.Equal(ca, again) {
			t.Errorf("the CA changed: %v", err)
		}
		if got := r.s.Tenants()[0].Config().Origin; !got.Equal(testOrigin) {
			t.Errorf("origin is %s", got)
		}
		r.token = token
		if a := r.get(r.s.URL() + path); a.status != 200 || !bytes.Equal(a.body, blob.body) {
			t.Errorf("the blob: %d, %d bytes, want %d", a.status, len(a.body), len(blob.body))
		}
		if row := r.s.Ledger().Tenants[0].Content[3]; row.BlobsServed != 1 || row.Downloads != 2 {
			t.Errorf("ledger: %+v", row)
		}
		if a := r.start("Audit.General", ""); a.code(t) != "AF20024" {
			t.Errorf("start: %s", a.body)
		}
	})
}

// TestOtherTenantInFolder shows that a folder keeps the tenant that it was made for.
func TestOtherTenantInFolder(t *testing.T) {
	t.Parallel()
	dir := dirWithKey(t)
	id := "3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"
	for _, c := range []struct {
		records int
		want    string
	}{{100, ""}, {100, ""}, {200, "keep the settings"}} {
		s, err := New(Config{Dir: dir, Tenants: []tenant.Config{{TenantID: id, Records: c.records}}})
		if err == nil {
			err = s.Close(context.Background())
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d records: %v, want %q", c.records, err, c.want)
		}
	}
}

func TestBrokenJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.ndjson"), []byte("not json\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Tenants: []tenant.Config{{Records: 100}}}); err == nil || !strings.Contains(err.Error(), "line 1") || !strings.Contains(err.Error(), "move the file away") {
		t.Errorf("got %v", err)
	}
}

// TestFaults shows each fault hitting, and counts it.
func TestFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed = true })
	list := r.root + "/subscriptions/content?contentType=Audit.Exchange"
	blob := ""
	for d := range r.s.Tenants()[0].Each(tenant.Exchange, testOrigin.Add(-day), testOrigin, testOrigin) {
		if d.Records > 10 {
			blob = r.root + "/audit/" + d.ContentID
		}
	}
	plain := func(want int, text string) func(*testing.T, answer, error) {
		return func(t *testing.T, a answer, err error) {
			if err != nil || a.status != want || !strings.Contains(string(a.body), text) {
				t.Errorf("got %d %.100s %v, want %d %s", a.status, a.body, err, want, text)
			}
		}
	}
	broken := func(t *testing.T, a answer, err error) {
		if err == nil {
			t.Errorf("no error, but %d with %d bytes", a.status, len(a.body))
		}
	}
	cases := []struct {
		fault Fault
		url   string
		check func(*testing.T, answer, error)
	}{
		{Fault{Name: FaultThrottle403, Rate: 1}, list, plain(403, "AF429")},
		{Fault{Name: FaultThrottle429, Rate: 1}, list, plain(429, "AF429")},
		{Fault{Name: FaultInternal, Rate: 1, Endpoint: "content"}, list, plain(500, "AF50000")},
		{Fault{Name: FaultGateway, Rate: 1, ContentType: "Audit.Exchange"}, list, plain(503, "<HTML>")},
		{Fault{Name: FaultUnauthorized, Rate: 1, Tenant: r.id}, list, plain(401, "Authorization has been denied")},
		{Fault{Name: FaultDrop, Rate: 1}, list, broken},
		{Fault{Name: FaultLost, Rate: 1}, list, broken},
		{Fault{Name: FaultCut, Rate: 1, Endpoint: "blob"}, blob, broken},
		{Fault{Name: FaultTruncated, Rate: 1, Endpoint: "blob"}, blob, func(t *testing.T, a answer, err error) {
			if err != nil || a.status != 200 || json.Valid(a.body) {
				t.Errorf("got %d, %d bytes, %v: want a whole answer with half the JSON", a.status, len(a.body), err)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.fault.Name, func(t *testing.T) {
			if err := r.s.SetFaults(c.fault); err != nil {
				t.Fatal(err)
			}
			a, err := r.try(http.MethodGet, c.url)
			c.check(t, a, err)
			// A client may try a dropped connection again by itself.
			if got := r.s.Ledger().Faults[c.fault.Name]; got < 1 {
				t.Errorf("counted %d times", got)
			}
		})
	}
	for _, name := range []string{FaultLost, FaultCut, FaultTruncated} {
		if err := r.s.SetFaults(Fault{Name: name, Rate: 1, Endpoint: "token"}); err != nil {
			t.Fatal(err)
		}
		if token, err := r.tryToken(); err == nil {
			t.Errorf("token under %s: %q", name, token)
		}
	}
	if err := r.s.SetFaults(Fault{Name: FaultInternal, Rate: 1, Count: 1}, Fault{Name: FaultCut, Rate: 1, Endpoint: "token"}); err != nil {
		t.Fatal(err)
	}
	if a := r.get(list); a.status != 500 {
		t.Errorf("the first request: %d", a.status)
	}
	if a := r.get(list); a.status != 200 {
		t.Errorf("the second request: %d", a.status)
	}
	if row := r.s.Ledger().Tenants[0].Content[1]; row.Downloads != 0 {
		t.Errorf("a spoilt download counts as served: %+v", row)
	}
}

// TestFaultSchedule has a fault begin and end by the clock.
func TestFaultSchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := r.s.SetFaults(Fault{Name: FaultGateway, Rate: 1, AfterSeconds: 60, ForSeconds: 30}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{200, 200, 503, 200} { // 0, 30, 60 and 90 seconds in
		if a := r.get(r.root + "/subscriptions/list"); a.status != want {
			t.Errorf("after %d s: %d, want %d", 30*i, a.status, want)
		}
		r.clock.advance(30 * time.Second)
	}
	if err := r.s.SetFaults(Fault{Name: FaultGateway, Rate: 1, ForSeconds: -1}); err == nil {
		t.Error("a negative time was taken")
	}
}

// TestLostStart shows that a start whose answer was lost has been applied, and that a dropped one has not.
func TestLostStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	start := r.root + "/subscriptions/start?contentType=Audit.General"
	for _, c := range []struct{ fault, want string }{{FaultDrop, "[]"}, {FaultLost, `[{"contentType":"Audit.General","status":"enabled","webhook":null}]`}} {
		if err := r.s.SetFaults(Fault{Name: c.fault, Rate: 1, Endpoint: "start"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.try(http.MethodPost, start); err == nil {
			t.Errorf("%s: there was an answer", c.fault)
		}
		if a := r.get(r.root + "/subscriptions/list"); string(a.body) != c.want {
			t.Errorf("%s: %s, want %s", c.fault, a.body, c.want)
		}
	}
}

// try is one request that may fail.
func (r *rig) try(method, address string) (answer, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}

// TestHostile shows that a client cannot make the simulator hold much or fall over.
func TestHostile(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	long := strings.Repeat("a", 100<<10)
	for name, a := range map[string]answer{
		"long path":   r.get(r.root + "/audit/" + long[:9<<10]),
		"long query":  r.get(r.root + "/subscriptions/content?contentType=" + long[:9<<10]),
		"big body":    r.start("Audit.General", `{"webhook":{"address":"`+long+`"}}`),
		"big form":    r.do(http.MethodPost, r.s.URL()+"/"+r.id+"/oauth2/token", "application/x-www-form-urlencoded", "grant_type="+long),
		"dots":        r.get(r.root + "/audit/..%2f..%2fca-key.pem"),
		"empty id":    r.get(r.root + "/audit/"),
		"no such":     r.get(r.s.URL() + "/favicon.ico"),
		"graph":       r.get(r.s.URL() + "/v1.0/secrets"),
		"bad faults":  r.do(http.MethodPost, r.s.URL()+"/_sim/faults", "application/json", `[{"name":"meteor","rate":1}]`),
		"not a list":  r.do(http.MethodPost, r.s.URL()+"/_sim/faults", "application/json", `{`),
		"head":        r.do(http.MethodHead, r.root+"/subscriptions/list", "", ""),
		"delete":      r.do(http.MethodDelete, r.root+"/subscriptions/list", "", ""),
		"odd tenant":  r.get(r.s.URL() + "/_sim/blobs/%00"),
		"delta token": r.get(r.s.URL() + "/v1.0/users/delta?$deltatoken=%ff"),
	} {
		if a.status < 400 || a.status == 500 {
			t.Errorf("%s: %d %.200s", name, a.status, a.body)
		}
	}
	if _, err := New(Config{Apps: []App{{ClientID: "me"}}}); err == nil {
		t.Error("a client id that is no GUID was taken")
	}
	if err := r.s.Start("127.0.0.1:0"); err == nil {
		t.Error("started twice")
	}
}

// TestHostileBytes sends what no HTTP library would: the simulator refuses or hangs up, and goes on serving.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	dial := func() *tls.Conn {
		t.Helper()
		conf := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
		conf.NextProtos = nil
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.s.URL(), "https://"), conf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	host := "Host: localhost\r\n"
	for name, request := range map[string]string{
		"huge header":    "GET /_sim/health HTTP/1.1\r\n" + host + "X-Long: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"many headers":   "GET /_sim/health HTTP/1.1\r\n" + host + strings.Repeat("X-A: b\r\n", 100_000) + "\r\n",
		"no HTTP":        "\x16\x03\x01\x02\x00 hello\r\n\r\n",
		"no host":        "GET /_sim/health HTTP/1.1\r\n\r\n",
		"bad escape":     "GET /api/v1.0/%zz/activity/feed HTTP/1.1\r\n" + host + "\r\n",
		"two lengths":    "POST /_sim/faults HTTP/1.1\r\n" + host + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
		"endless chunks": "POST /_sim/faults HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n20000\r\n[" + strings.Repeat(" ", 0x20000-1) + "\r\n20000\r\n" + strings.Repeat(" ", 0x20000),
		"climbing path":  "GET /api/../../../ca-key.pem HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n",
	} {
		conn := dial()
		go func() { _, _ = io.WriteString(conn, request) }() // the other side may hang up in the middle; Cleanup ends it
		answer := make([]byte, 12)
		n, err := io.ReadFull(conn, answer)
		if err == nil && (answer[9] == '2' || answer[9] == '5') {
			t.Errorf("%s: answered %s", name, answer[:n])
		}
	}
	slow := dial()
	if _, err := io.WriteString(slow, "GET /_sim/health HTTP/1.1\r\nHos"); err != nil {
		t.Fatal(err)
	}
	// The rest never comes. The server must be the one that ends it.
	if _, err := io.ReadAll(slow); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a client that sends half a header holds its connection for two minutes")
	}
	if a := r.get(r.s.URL() + "/_sim/health"); a.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
}

// TestLoopbackOnly shows which addresses need permission.
func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Dir: dirWithKey(t), Tenants: []tenant.Config{{Records: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for addr, free := range map[string]bool{
		"127.0.0.1:0": true, "127.8.9.10:0": true, "[::1]:0": true, "localhost:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:443": false, "example.org:443": false, "localhost.example.org:1": false, "127.0.0.1": false,
	} {
		if err := s.checkAddr(addr); (err == nil) != free {
			t.Errorf("%q: %v, free %t", addr, err, free)
		}
	}
	s.cfg.AllowRemote = true
	if err := s.checkAddr("0.0.0.0:0"); err != nil {
		t.Errorf("allowed explicitly: %v", err)
	}
}

// TestControl shows the control endpoints.
func TestControl(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed = true })
	if a := r.do(http.MethodPost, r.s.URL()+"/_sim/faults", "application/json", `[{"name":"internal","rate":1,"endpoint":"list"}]`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := r.get(r.root + "/subscriptions/list"); a.status != 500 {
		t.Errorf("the fault does not hit: %d", a.status)
	}
	var l Ledger
	if a := r.get(r.s.URL() + "/_sim/ledger"); json.Unmarshal(a.body, &l) != nil || l.Requests["list"]["fault internal"] != 1 || l.Tokens["manage"] != 1 {
		t.Errorf("ledger: %s", a.body)
	}
	blobs := 0
	for _, row := range l.Tenants[0].Content {
		blobs += row.Blobs
	}
	a := r.get(r.s.URL() + "/_sim/blobs/" + r.id + "?hash=1")
	var first BlobLedger
	line, _, _ := bytes.Cut(a.body, []byte("\n"))
	if err := json.Unmarshal(line, &first); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(r.get(r.root + "/audit/" + first.ContentID).body); hex.EncodeToString(sum[:]) != first.SHA256 {
		t.Errorf("blob %s hashes to %x, the ledger says %s", first.ContentID, sum, first.SHA256)
	}
	if got := bytes.Count(a.body, []byte("\n")); got != blobs {
		t.Errorf("%d blobs, the ledger has %d", got, blobs)
	}
	if a := r.get(r.s.URL() + "/_sim/attacks/" + r.id); a.status != 200 || !json.Valid(a.body) {
		t.Errorf("attacks: %d %s", a.status, a.body)
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.NoGzip = true, off })
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.root+"/subscriptions/content?contentType=Audit.Exchange", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		req.Header.Set("Accept-Encoding", "br, GZIP;q=0.5")
		if a := r.send(req); (a.header.Get("Content-Encoding") == "gzip") == off {
			t.Errorf("NoGzip %v: Content-Encoding is %q", off, a.header.Get("Content-Encoding"))
		}
	}
}
