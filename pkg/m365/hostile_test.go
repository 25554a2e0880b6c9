package m365

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
)

// swordfish is the token of the tests below: no error and no foreign host may ever show it.
const swordfish = "swordfish-token"

// hostile starts a TLS server and clients of it for feed and Graph with one set of metrics. foreign reads the counter of links that led away.
func hostile(t *testing.T, h http.HandlerFunc) (feed *Client, graph *Graph, foreign func() float64) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	reg := prometheus.NewRegistry()
	metrics, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(context.Context, string) (string, error) { return swordfish, nil }
	bucket, transport := NewBucket(60_000_000), NewTransport(pool)
	t.Cleanup(transport.CloseIdleConnections)
	feed, err = New(Config{Tenant: testTenant, API: srv.URL, Bearer: bearer, Bucket: bucket, Transport: transport, Metrics: metrics, MaxBlob: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if graph, err = NewGraph(srv.URL, bearer, bucket, transport, metrics); err != nil {
		t.Fatal(err)
	}
	return feed, graph, func() float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "millrace_ingester_foreign_links_total" {
				return f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return -1
	}
}

func list(ctx context.Context, c *Client) error {
	return c.Content(ctx, audit.General, time.Now().Add(-time.Hour), time.Now(), func([]audit.Blob) error { return nil })
}

// TestForeignLinks has the service name every kind of address that is not its own, in every place where it may name one: the link is refused
// and counted, and the log of the foreign host stays empty.
func TestForeignLinks(t *testing.T) {
	t.Parallel()
	foreign := testkit.StartForeign(t)
	links := []struct {
		name string
		to   func(own string) string
	}{
		{"another host", func(string) string { return foreign.TLS.URL + "/x" }},
		{"another host over http", func(string) string { return foreign.Plain.URL + "/x" }},
		{"own host over http", func(own string) string { return "http://" + own + "/x" }},
		{"user information", func(own string) string { return "https://a:b@" + own + "/x" }},
		{"own host as user information", func(own string) string { return "https://" + own + "@" + foreign.TLS.Listener.Addr().String() + "/x" }},
		{"own host with a backslash", func(own string) string { return `https://` + own + `\@` + foreign.TLS.Listener.Addr().String() + "/x" }},
		{"own host in the path", func(own string) string { return foreign.TLS.URL + "/https://" + own }},
		{"no scheme", func(string) string { return "//" + foreign.TLS.Listener.Addr().String() + "/x" }},
		{"another scheme", func(own string) string { return "file://" + own + "/x" }},
		{"endless", func(own string) string { return "https://" + own + "/" + strings.Repeat("x", 9<<10) }},
	}
	ways := []struct {
		name string
		call func(ctx context.Context, feed *Client, graph *Graph, link string) error
		want func(error) bool
	}{
		{"contentUri", func(ctx context.Context, c *Client, _ *Graph, link string) error {
			_, err := c.Fetch(ctx, audit.Blob{URI: link}, io.Discard)
			return err
		}, isForeign},
		{"NextPageUri", func(ctx context.Context, c *Client, _ *Graph, _ string) error { return list(ctx, c) }, isForeign},
		{"nextLink of Graph", func(ctx context.Context, _ *Client, g *Graph, link string) error {
			return g.Get(ctx, "read users", link, &struct{}{})
		}, isForeign},
		{"redirect", func(ctx context.Context, c *Client, _ *Graph, _ string) error {
			_, err := c.Subscriptions(ctx)
			return err
		}, func(err error) bool { return ClassOf(err) == ClassConfig }},
		{"redirect of a POST", func(ctx context.Context, c *Client, _ *Graph, _ string) error {
			return c.Start(ctx, audit.General, &Webhook{Address: "https://x.example.org", AuthID: "secret"})
		}, func(err error) bool { return ClassOf(err) == ClassConfig }},
	}
	for _, l := range links {
		for _, way := range ways {
			t.Run(way.name+"/"+l.name, func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int64
				feed, graph, counted := hostile(t, func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					switch {
					case strings.HasPrefix(way.name, "redirect"):
						w.Header().Set("Location", l.to(r.Host))
						w.WriteHeader(http.StatusTemporaryRedirect)
					case calls.Load() == 1:
						w.Header().Set("NextPageUri", l.to(r.Host))
						_, _ = io.WriteString(w, "[]")
					default:
						t.Errorf("%s was followed to %s", l.name, r.URL)
					}
				})
				err := way.call(t.Context(), feed, graph, l.to(feed.c.base.Host))
				if !way.want(err) || strings.Contains(fmt.Sprint(err, RemedyOf(err)), swordfish) {
					t.Errorf("error %v", err)
				}
				if n := counted(); n != 1 {
					t.Errorf("%g links counted, want 1", n)
				}
				if strings.Contains(way.name, "redirect") && calls.Load() != 1 {
					t.Errorf("%d calls after a redirect", calls.Load())
				}
			})
		}
	}
	t.Cleanup(func() { foreign.Unvisited(t) })
}

func isForeign(err error) bool { return errors.Is(err, ErrForeignLink) }

func TestHostileListings(t *testing.T) {
	t.Parallel()
	entry := `{"contentUri":"https://x/1","contentId":"a","contentCreated":"2026-03-02T10:07:33.120Z"}`
	tests := []struct {
		name, body string
	}{
		{"not JSON", "<html>"},
		{"no id", `[` + entry + `,{}]`},
		{"bad time", strings.ReplaceAll(`[`+entry+`]`, "2026", "9999")},
		{"deep", strings.Repeat("[", 1<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			feed, _, _ := hostile(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.body) })
			if err := list(t.Context(), feed); !errors.Is(err, ErrBadAnswer) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestAnswersAreBounded feeds the client what never ends or is far larger than it looks, and measures what that costs: requests, bytes taken
// from the wire and memory. It does not run beside other tests, whose memory it would count.
func TestAnswersAreBounded(t *testing.T) {
	bomb := zipped(64 << 20) // 64 KiB on the wire
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	endless := func(status int) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			for r.Context().Err() == nil {
				if _, err := w.Write(spaces); err != nil {
					return
				}
			}
		}
	}
	inflating := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			_, _ = w.Write(bomb)
		}
	}
	huge := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
		_, _ = io.WriteString(w, "[]")
	}
	fetch := func(ctx context.Context, c *Client) error {
		n, err := c.Fetch(ctx, audit.Blob{URI: c.c.base.String() + "/x"}, io.Discard)
		if n > c.maxBlob+1 {
			return fmt.Errorf("%d bytes were handed on", n)
		}
		return err
	}
	const mib = 1 << 20
	tests := []struct {
		name     string
		serve    http.HandlerFunc
		call     func(context.Context, *Client) error
		want     error  // nil = any
		requests int64  // at most
		wire     int64  // bytes written to the client at most: the bound, and what lies in buffers of sockets and connections
		memory   uint64 // allocated at most in all: a listing of 16 MiB is in a buffer that doubles
	}{
		{"bomb as a blob", inflating(200), fetch, ErrTooLarge, 1, 3 * mib, 8 * mib},
		{"bomb as a listing", inflating(200), list, ErrTooLarge, 1, 3 * mib, 80 * mib},
		{"bomb as an error", inflating(500), list, nil, 1 + maxRetries, 8 * mib, 8 * mib},
		{"endless blob", endless(200), fetch, ErrTooLarge, 1, 16 * mib, 8 * mib},
		{"endless listing", endless(200), list, ErrTooLarge, 1, 32 * mib, 80 * mib},
		{"endless error", endless(500), list, nil, 1 + maxRetries, 64 * mib, 8 * mib},
		{"header of 1 MB", huge, list, nil, 1 + maxRetries, 8 * mib, 8 * mib},
		{"pages in a circle", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("NextPageUri", "https://"+r.Host+r.URL.Path+"?nextpage=1")
			_, _ = io.WriteString(w, `[]`)
		}, list, ErrBadAnswer, pageTries, mib, 8 * mib},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var requests, wire atomic.Int64
			feed, _, _ := hostile(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				tt.serve(counted{w, &wire}, r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := tt.call(ctx, feed)
			runtime.ReadMemStats(&after)
			if err == nil || ctx.Err() != nil || tt.want != nil && !errors.Is(err, tt.want) || strings.Contains(err.Error(), swordfish) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if n := requests.Load(); n > tt.requests {
				t.Errorf("%d requests, want at most %d", n, tt.requests)
			}
			if n := wire.Load(); n > tt.wire {
				t.Errorf("%d bytes were taken from the wire, want at most %d", n, tt.wire)
			}
			allocated := after.TotalAlloc - before.TotalAlloc
			if !testkit.Race && allocated > tt.memory { // the race detector's copies count twice
				t.Errorf("%d MiB were allocated, want at most %d", allocated/mib, tt.memory/mib)
			}
			t.Logf("%v; %d requests, %d KiB on the wire, %d KiB allocated by client and server", err, requests.Load(), wire.Load()>>10, allocated>>10)
		})
	}
}

// TestEndlessPagesEnd: a listing of which each page names another one, without an end, is given up.
func TestEndlessPagesEnd(t *testing.T) {
	t.Parallel()
	pages := 0
	c, err := New(Config{
		Tenant: testTenant, API: "https://manage.example.org", Bucket: NewBucket(60_000_000),
		Bearer: func(context.Context, string) (string, error) { return swordfish, nil },
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			pages++
			next := http.Header{"Nextpageuri": {fmt.Sprintf("https://manage.example.org/api?nextpage=%d", pages)}}
			return &http.Response{StatusCode: http.StatusOK, Header: next, Body: io.NopCloser(strings.NewReader("[]")), Request: r}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := list(t.Context(), c); !errors.Is(err, ErrBadAnswer) || pages != maxPages {
		t.Errorf("%d pages: %v; want an error after %d", pages, err, maxPages)
	}
}

// counted counts the bytes that a server could write.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// zipped is so many zero bytes, compressed.
func zipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	piece := make([]byte, 1<<20)
	for left := n; left > 0; left -= len(piece) {
		_, _ = z.Write(piece[:min(left, len(piece))])
	}
	_ = z.Close()
	return b.Bytes()
}

// drip is a body that gives one byte after each wait, or nothing at all for a wait of zero, until it is closed or its request is over.
type drip struct {
	ctx    context.Context //nolint:containedctx // of the request that it is the answer to
	wait   time.Duration
	closed chan struct{}
}

func (d *drip) Read(p []byte) (int, error) {
	var ready <-chan time.Time
	if d.wait > 0 {
		ready = time.After(d.wait)
	}
	select {
	case <-ready:
		p[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-d.closed:
		return 0, io.ErrClosedPipe
	}
}

func (d *drip) Close() error {
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSlowAnswersEnd: a body that stalls, and one that gives a byte now and then, hold a caller for a bounded time.
func TestSlowAnswersEnd(t *testing.T) {
	t.Parallel()
	fetch := func(ctx context.Context, c *Client) error {
		_, err := c.Fetch(ctx, audit.Blob{URI: "https://manage.example.org/x"}, io.Discard)
		return err
	}
	retries := time.Duration(1+maxRetries) * time.Minute
	for _, tt := range []struct {
		name   string
		status int
		wait   time.Duration
		call   func(context.Context, *Client) error
		within time.Duration
	}{
		{"stalling blob", 200, 0, fetch, stallTimeout + time.Second},
		{"dripping blob", 200, stallTimeout / 2, fetch, blobTimeout + time.Second},
		{"stalling page", 200, 0, list, pageTries*stallTimeout + time.Minute},
		{"dripping page", 200, stallTimeout / 2, list, pageTries*callTimeout + time.Minute},
		{"dripping error", 500, stallTimeout / 2, list, callTimeout + retries},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, err := New(Config{
					Tenant: testTenant, API: "https://manage.example.org", Bearer: func(context.Context, string) (string, error) { return swordfish, nil },
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						body := &drip{ctx: r.Context(), wait: tt.wait, closed: make(chan struct{})}
						return &http.Response{StatusCode: tt.status, Header: http.Header{}, Body: body, Request: r}, nil
					}),
				})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if err := tt.call(t.Context(), c); err == nil || time.Since(begin) > tt.within {
					t.Errorf("after %s: %v; want an error within %s", time.Since(begin), err, tt.within)
				}
			})
		})
	}
}

// TestErrorsHidePeople: a service that repeats what it was sent, or what its directory has, puts none of it into our logs.
func TestErrorsHidePeople(t *testing.T) {
	t.Parallel()
	jwt := "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJ4In0.c2ln-_x"
	said := "token " + jwt + " of ada.lovelace+x@corp.example.org (203.0.113.7, 2001:db8::17:1, b\u00f6b@example.org) at 2026-03-02T10:07:33Z is refused"
	e := newAPIError("op", 400, http.Header{}, fmt.Appendf(nil, `{"error":{"code":"AF10001 %s","message":%q}}`, jwt, said), time.Now())
	shown := fmt.Sprintf("%v %+v", e, *e)
	for _, hidden := range []string{"eyJ", "ada", "corp.example.org", "203.0.113.7", "db8", "17:1", "b\u00f6b"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%q is in %s", hidden, shown)
		}
	}
	if !strings.Contains(shown, "2026-03-02T10:07:33Z is refused") {
		t.Errorf("too much is hidden: %s", shown)
	}
}
