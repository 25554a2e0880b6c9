package m365

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/pkg/audit"
)

const testTenant = audit.TenantID("11111111-2222-3333-4444-555555555555")

// newTest starts a TLS server that checks every call for token and publisher, and a client of it.
func newTest(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" || r.URL.Query().Get("PublisherIdentifier") != string(testTenant) {
			t.Errorf("call %s has no token or no publisher", r.URL)
		}
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return clientOf(t, srv, func(context.Context, string) (string, error) { return "token-one", nil })
}

func clientOf(t *testing.T, srv *httptest.Server, bearer Bearer) *Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c, err := New(Config{
		Tenant: testTenant, API: srv.URL, Bearer: bearer, Bucket: NewBucket(6_000_000), Transport: NewTransport(pool), MaxBlob: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContentFollowsPages(t *testing.T) {
	t.Parallel()
	c := newTest(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("nextpage") == "" {
			if q.Get("contentType") != "Audit.General" || q.Get("startTime") != "2026-03-02T10:00:00" || q.Get("endTime") != "2026-03-02T11:00:00" {
				t.Errorf("query %s", r.URL.RawQuery)
			}
			w.Header().Set("NextPageUri", "https://"+r.Host+r.URL.Path+"?contenttype=Audit.General&nextpage=a$b")
			_, _ = io.WriteString(w, `[{"contentUri":"https://x/1","contentId":"a$1","contentType":"Audit.General","contentCreated":"2026-03-02T10:07:33.120Z","contentExpiration":"2026-03-09T10:04:12.337Z"}]`)
			return
		}
		_, _ = io.WriteString(w, `[{"contentUri":"https://x/2","contentId":"a$2","contentCreated":"2026-03-02T10:08:00","contentExpiration":""}]`)
	})
	var ids []string
	start := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	err := c.Content(t.Context(), audit.General, start, start.Add(time.Hour), func(bs []audit.Blob) error {
		for _, b := range bs {
			ids = append(ids, b.ContentID)
			if b.Expiration.Sub(b.Created) < 6*24*time.Hour {
				t.Errorf("blob %s expires %s", b.ContentID, b.Expiration)
			}
		}
		return nil
	})
	if err != nil || strings.Join(ids, " ") != "a$1 a$2" {
		t.Errorf("ids %v, error %v", ids, err)
	}
}

// TestSpoiltPageIsReadAgain: a page that is cut in the middle, or is no JSON, does not make a listing begin anew.
func TestSpoiltPageIsReadAgain(t *testing.T) {
	t.Parallel()
	var calls [2]atomic.Int64
	c := newTest(t, func(w http.ResponseWriter, r *http.Request) {
		page := 0
		if r.URL.Query().Get("nextpage") != "" {
			page = 1
		}
		n := calls[page].Add(1)
		switch {
		case page == 0:
			w.Header().Set("NextPageUri", "https://"+r.Host+r.URL.Path+"?nextpage=1")
			_, _ = io.WriteString(w, "[]")
		case n == 1:
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[{")
		case n == 2:
			_, _ = io.WriteString(w, "[{")
		default:
			_, _ = io.WriteString(w, "[]")
		}
	})
	pages := 0
	now := time.Now()
	err := c.Content(t.Context(), audit.General, now.Add(-time.Hour), now, func([]audit.Blob) error { pages++; return nil })
	if err != nil || pages != 2 || calls[0].Load() != 1 || calls[1].Load() != 3 {
		t.Errorf("%d pages, %d and %d calls, %v; want 2 pages, 1 and 3 calls", pages, calls[0].Load(), calls[1].Load(), err)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	var calls, refused atomic.Int64
	c := newTest(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a$b":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped(1000))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped(64 << 20))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[{")
		case "/flaky":
			if calls.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "<html>busy</html>")
				return
			}
			_, _ = io.WriteString(w, "[]")
		case "/throttled":
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":{"code":"AF429","message":"Too many requests. Method=GetBlob"}}`)
		}
	})
	base := c.c.base.String()
	fetch := func(uri string) (int, error) {
		var b bytes.Buffer
		_, err := c.Fetch(t.Context(), audit.Blob{URI: uri}, &b)
		return b.Len(), err
	}
	if n, err := fetch(base + "/a$b"); err != nil || n != 1000 {
		t.Errorf("gzip: %d bytes, %v", n, err)
	}
	if n, err := fetch(base + "/bomb"); !errors.Is(err, ErrTooLarge) || n > 1<<20+1 {
		t.Errorf("bomb: %d bytes, %v", n, err)
	}
	if _, err := fetch(base + "/cut"); !errors.Is(err, io.ErrUnexpectedEOF) || ClassOf(err) != ClassTransient {
		t.Errorf("cut: %v", err)
	}
	if n, err := fetch(base + "/flaky"); err != nil || n != 2 {
		t.Errorf("flaky: %d bytes, %v", n, err)
	}
	turn, err := c.Turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(turn, audit.Blob{URI: base + "/throttled"}, io.Discard); ClassOf(err) != ClassThrottled || refused.Load() != 1 {
		t.Errorf("throttled in its turn: %v after %d calls, want one", err, refused.Load())
	}
	if _, err := fetch(base + "/throttled"); ClassOf(err) != ClassThrottled || refused.Load() != 2+maxRetries {
		t.Errorf("throttled: %v after %d calls", err, refused.Load())
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer second" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "[]")
	}))
	t.Cleanup(srv.Close)
	next := map[string]string{"": "first", "first": "second"}
	c := clientOf(t, srv, func(_ context.Context, refused string) (string, error) { return next[refused], nil })
	if _, err := c.Subscriptions(t.Context()); err != nil {
		t.Errorf("with a good second token: %v", err)
	}
	next["first"] = "third"
	if _, err := c.Subscriptions(t.Context()); ClassOf(err) != ClassAuth {
		t.Errorf("with a bad second token: %v", err)
	}
}

func TestStartIsAlreadyOn(t *testing.T) {
	t.Parallel()
	code := "AF20024"
	c := newTest(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			t.Errorf("method %s", r.Method)
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":"m"}}`, code)
	})
	if err := c.Start(t.Context(), audit.Exchange, nil); err != nil {
		t.Errorf("already on: %v", err)
	}
	code = "AF20012"
	err := c.Start(t.Context(), audit.Exchange, nil)
	if ClassOf(err) != ClassTenant || !strings.Contains(RemedyOf(err), "licence") {
		t.Errorf("class %s, remedy %q", ClassOf(err), RemedyOf(err))
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		body   string
		want   Class
	}{
		{403, `{"error":{"code":"AF429"}}`, ClassThrottled},
		{429, `<html>`, ClassThrottled},
		{403, `{"error":{"code":"AF10001"}}`, ClassPermission},
		{403, ``, ClassPermission},
		{400, `{"error":{"code":"AF20023","message":"The subscription was disabled."}}`, ClassDisabled},
		{500, `{"error":{"code":"AF50000"}}`, ClassTransient},
		{400, `Microsoft.Office.Compliance.Audit.DataServiceException: Tenant x does not exist.`, ClassAuditOff},
		{404, `gone`, ClassLost},
		{410, `{"error":{"code":"AF20051"}}`, ClassLost},
		{401, `no json`, ClassAuth},
		{503, `<html>`, ClassTransient},
		{302, ``, ClassConfig},
		{400, `{"error":{"code":"AF99999"}}`, ClassTransient},
	}
	for _, tt := range tests {
		e := newAPIError("op", tt.status, http.Header{}, []byte(tt.body), time.Now())
		if e.Class != tt.want || e.Remedy == "" {
			t.Errorf("%d %s: class %s, want %s; remedy %q", tt.status, tt.body, e.Class, tt.want, e.Remedy)
		}
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "99999999999": time.Hour, "x": 0, "NaN": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, "Mon, 01 Jan 1990 00:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {in}}, now); got != want {
			t.Errorf("Retry-After %q: %s, want %s", in, got, want)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add([]byte(`[{"contentUri":"https://x/1","contentId":"a","contentCreated":"2026-03-02T10:07:33.120Z"}]`))
	f.Add([]byte(`[{"contentId":1}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		blobs, err := parseListing(in, testTenant, audit.General)
		for _, b := range blobs {
			if err != nil || b.ContentID == "" || b.Created.IsZero() || b.Expiration.Year() < 2000 {
				t.Fatalf("blob %+v, error %v", b, err)
			}
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	f.Add(500, []byte(`{"error":{"code":"AF50000","message":"x\u0000\ny"}}`), "3")
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		e := newAPIError("op", status, http.Header{"Retry-After": {after}}, body, time.Now())
		if s := e.Error(); len(s) > 500 || strings.ContainsAny(s, "\n\r\x00\x1b") {
			t.Fatalf("message %q", s)
		}
		if e.RetryAfter < 0 || e.RetryAfter > time.Hour {
			t.Fatalf("wait %s", e.RetryAfter)
		}
	})
}
