package m365

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/klauspost/compress/gzip"
)

const (
	maxHeaderBytes = 64 << 10
	maxErrorBody   = 64 << 10
	maxRetries     = 3                // within one call; longer trouble is the caller's schedule
	maxRetryWait   = 10 * time.Second // a longer Retry-After goes back to the caller
	minRetryWait   = 250 * time.Millisecond
	stallTimeout   = 60 * time.Second // a body that gives nothing for so long is cut
)

// NewTransport makes the HTTP transport that clients may share: bounded headers, no transparent compression, TLS 1.2 or later. A nil
// pool means the system's roots.
func NewTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  stallTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxConnsPerHost:        512, // a thousand tenants that begin at once would open ten thousand
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true, // decompressed here, so that the bound is on what comes out
	}
}

// Bearer gives the token for a call. refused is "" or the token that the service has just answered with 401; then another one is wanted.
type Bearer func(ctx context.Context, refused string) (string, error)

// caller makes calls to one host for one tenant: token, bucket, retries, bounds.
type caller struct {
	base    *url.URL
	bearer  Bearer
	bucket  *Bucket
	retry   *retryablehttp.Client
	metrics *Metrics
	zips    sync.Pool    // of *gzip.Reader: each holds 40 KiB
	skew    atomic.Int64 // nanoseconds that the host's clock is ahead of ours
}

func newCaller(host string, bearer Bearer, bucket *Bucket, rt http.RoundTripper, m *Metrics) (*caller, error) {
	base, err := url.Parse(host)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("host %q: want scheme and host only, for example https://manage.office.com", clean(host, 200))
	}
	if base.Scheme != "https" {
		return nil, fmt.Errorf("host %q: tokens are sent over https only", clean(host, 200))
	}
	if m == nil {
		if m, err = NewMetrics(nil); err != nil {
			return nil, err
		}
	}
	if rt == nil {
		rt = NewTransport(nil)
	}
	c := &caller{base: base, bearer: bearer, bucket: bucket, metrics: m}
	c.retry = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     metered{c: c, next: rt}, // from which no redirect comes
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     maxRetries,
		CheckRetry:   c.checkRetry,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return c, nil
}

// metered takes a token from the bucket for each attempt that has none yet and reads the host's clock from each answer.
type metered struct {
	c    *caller
	next http.RoundTripper
}

// turn is a token that was taken before the call that uses it.
type turn struct{ used atomic.Bool }

type turnKey struct{}

func turnOf(ctx context.Context) *turn {
	t, _ := ctx.Value(turnKey{}).(*turn)
	return t
}

func (m metered) RoundTrip(req *http.Request) (*http.Response, error) {
	wait := m.c.bucket.Wait
	if t := turnOf(req.Context()); t != nil && t.used.CompareAndSwap(false, true) {
		wait = m.c.bucket.hold
	}
	waited, err := wait(req.Context())
	m.c.metrics.throttle.Add(waited.Seconds())
	if err != nil {
		return nil, err
	}
	resp, err := m.next.RoundTrip(req)
	if err == nil {
		m.c.stay(req, resp)
		if at, perr := http.ParseTime(resp.Header.Get("Date")); perr == nil {
			m.c.skew.Store(int64(time.Until(at)))
		}
	}
	return resp, err
}

// stay takes the address out of a redirect, none of which is followed: net/http would fail over one that it cannot read, and be asked again.
// One that leads away is counted.
func (c *caller) stay(req *http.Request, resp *http.Response) {
	to := resp.Header.Get("Location")
	if to == "" {
		return
	}
	if u, err := req.URL.Parse(to); err == nil {
		to = u.String()
	}
	_, _ = c.link(to) // counts
	resp.Header.Del("Location")
}

type opKey struct{}

func operation(ctx context.Context) string {
	op, _ := ctx.Value(opKey{}).(string)
	return op
}

// checkRetry turns a failed answer into an *APIError, which the call returns when there is no further attempt, and says whether one
// makes sense at once. It consumes the body of a failed answer.
func (c *caller) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	op := operation(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		c.metrics.requests.WithLabelValues(op, "network").Inc()
		return worthRetrying(err), fmt.Errorf("%s: %w", op, unwrapURL(err))
	}
	if resp.StatusCode == http.StatusOK {
		c.metrics.requests.WithLabelValues(op, "ok").Inc()
		return false, nil
	}
	body := readError(resp)
	api := newAPIError(op, resp.StatusCode, resp.Header, body, time.Now())
	c.metrics.requests.WithLabelValues(op, api.Class.String()).Inc()
	switch api.Class {
	case ClassThrottled:
		c.bucket.Throttled(api.RetryAfter)
		// Who waited for a turn holds something that others want: it waits for its next turn without it.
		return turnOf(ctx) == nil && api.RetryAfter <= maxRetryWait, api
	case ClassTransient:
		return api.RetryAfter <= maxRetryWait, api
	default:
		return false, api
	}
}

// unwrapURL drops net/http's own wrapping, which repeats the whole address.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func worthRetrying(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// readError reads the body of a failed answer within its bound and replaces it by nothing.
func readError(resp *http.Response) []byte {
	r := io.LimitReader(resp.Body, maxErrorBody)
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		if z, err := gzip.NewReader(r); err == nil {
			r = z
		}
	}
	body, _ := io.ReadAll(io.LimitReader(r, maxErrorBody)) // what can be read of it is enough
	_ = resp.Body.Close()                                  // the connection is given up if more was to come
	resp.Body = http.NoBody
	return body
}

// backoff doubles from 250 ms with half of it random, or is what the service asked for.
func backoff(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil {
		if d := retryAfter(resp.Header, time.Now()); d > 0 {
			return min(d, maxRetryWait)
		}
	}
	d := min(minRetryWait<<min(attempt, 6), maxRetryWait)
	return d/2 + rand.N(d/2+1)
}

// request is one call to make.
type request struct {
	op     string
	method string
	url    string
	body   []byte
	header http.Header
}

// do makes the call and returns its 200 answer. A refused token is replaced once.
func (c *caller) do(ctx context.Context, r request) (*http.Response, error) {
	ctx = context.WithValue(ctx, opKey{}, r.op)
	refused := ""
	for {
		token, err := c.bearer(ctx, refused)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.op, err)
		}
		resp, err := c.attempt(ctx, r, token)
		if err != nil && ClassOf(err) == ClassAuth && refused == "" {
			refused = token
			continue
		}
		return resp, err
	}
}

func (c *caller) attempt(ctx context.Context, r request, token string) (*http.Response, error) {
	var body any
	if r.body != nil {
		body = r.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	maps.Copy(req.Header, r.header)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.retry.Do(req)
	if err != nil {
		if resp != nil {
			_ = resp.Body.Close() // already read by checkRetry
		}
		return nil, err
	}
	return resp, nil
}

// link checks an address that the service sent. It may be followed only if it leads to the configured host.
func (c *caller) link(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > 8<<10 || u.User != nil || u.Opaque != "" ||
		u.Scheme != c.base.Scheme || !strings.EqualFold(hostPort(u), hostPort(c.base)) {
		c.metrics.foreign.Inc()
		host := ""
		if u != nil {
			host = clean(u.Scheme+"://"+u.Host, 200)
		}
		return nil, fmt.Errorf("%w: %q is not %q", ErrForeignLink, host, c.base.String())
	}
	u.Fragment = ""
	return u, nil
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":443"
}

// copyBody writes the decompressed body to w, at most limit bytes of it, and closes it. A body that stalls is cut.
func (c *caller) copyBody(resp *http.Response, w io.Writer, limit int64) (int64, error) {
	defer func() { _ = resp.Body.Close() }()
	stall := time.AfterFunc(stallTimeout, func() { _ = resp.Body.Close() })
	defer stall.Stop()
	var r io.Reader = &stallReader{r: resp.Body, timer: stall}
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		z, err := c.unzip(r)
		if err != nil {
			return 0, fmt.Errorf("read gzip: %w: %w", errCut, err)
		}
		defer c.zips.Put(z)
		r = z
	}
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	if err != nil {
		return n, fmt.Errorf("read body: %w: %w", errCut, err)
	}
	if n > limit {
		return n, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	}
	return n, nil
}

func (c *caller) unzip(r io.Reader) (*gzip.Reader, error) {
	if z, ok := c.zips.Get().(*gzip.Reader); ok {
		return z, z.Reset(r)
	}
	return gzip.NewReader(r)
}

type stallReader struct {
	r     io.Reader
	timer *time.Timer
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.timer.Reset(stallTimeout)
	return n, err
}

// readBody is copyBody into memory.
func (c *caller) readBody(resp *http.Response, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := c.copyBody(resp, &b, limit); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
