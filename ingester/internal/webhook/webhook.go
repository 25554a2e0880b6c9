// Package webhook receives the notifications that the feed pushes. They are hints: each makes a content type be listed a little earlier.
//
// Nothing depends on them, and nothing of them is used but the names of a tenant and a content type that are configured. Whoever can reach
// the listener can at most cause listings that would come anyway, no faster than an active content type is polled.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/pkg/audit"
)

const (
	maxBody    = 1 << 20 // 50 notifications are some 25 KiB
	maxEntries = 5000
	maxAtOnce  = 16 // requests worked on; more are told to come again
	maxHeader  = 16 << 10
)

// Config says what is accepted and what becomes of it.
type Config struct {
	Path string // of the address that the service was told
	// AuthID gives what the service sends in Webhook-AuthID. It is asked for with each request, so that it can be rotated.
	AuthID func() (string, error)
	// API is the host whose links the notifications of a tenant must carry, https://host; ok is false for a tenant that is not known here.
	API func(tenant audit.TenantID) (host string, ok bool)
	// Hint is called, after the answer was given, for each content type that has news. Calls are never concurrent.
	Hint       func(tenant audit.TenantID, ct audit.ContentType)
	Registerer prometheus.Registerer // nil = no metrics
}

// Receiver is the handler of the listener.
type Receiver struct {
	cfg   Config
	slots chan struct{} // one for each request that is worked on
	wake  chan struct{} // capacity 1: there are hints
	total *prometheus.CounterVec

	mu    sync.Mutex // guards hints
	hints map[hint]struct{}
}

type hint struct {
	tenant audit.TenantID
	ct     audit.ContentType
}

// The outcomes of a request, as the metric names them.
const (
	outcomeHint       = "hint"
	outcomeValidation = "validation"
	outcomeRefused    = "refused"  // wrong path, method, auth id
	outcomeBad        = "bad"      // not what the service sends
	outcomeForeign    = "foreign"  // of a tenant, or with a link, that is not ours
	outcomeOverload   = "overload" // too many at once
)

// New makes a receiver.
func New(cfg Config) (*Receiver, error) {
	if cfg.AuthID == nil || cfg.API == nil || cfg.Hint == nil || !strings.HasPrefix(cfg.Path, "/") {
		return nil, errors.New("webhook: path, auth id, hosts and hint are needed")
	}
	r := &Receiver{
		cfg: cfg, slots: make(chan struct{}, maxAtOnce), wake: make(chan struct{}, 1), hints: make(map[hint]struct{}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_webhook_requests_total", Help: "Requests to the webhook receiver, by what became of them.",
		}, []string{"outcome"}),
	}
	if cfg.Registerer != nil {
		return r, cfg.Registerer.Register(r.total)
	}
	return r, nil
}

// Serve answers on a listener until ctx ends, and passes the hints on.
func (r *Receiver) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: r, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader, ErrorLog: nil, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1) // one: the result waits for the end
	go func() { served <- server.Serve(l) }()
	r.pass(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.Shutdown(closing)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// pass hands the hints on until ctx ends.
func (r *Receiver) pass(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		r.mu.Lock()
		hints := r.hints
		r.hints = make(map[hint]struct{})
		r.mu.Unlock()
		for h := range hints {
			r.cfg.Hint(h.tenant, h.ct)
		}
	}
}

// ServeHTTP implements http.Handler. It answers before anything is done about what was sent.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		r.total.WithLabelValues(outcomeOverload).Inc()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	status, outcome := r.take(w, req)
	r.total.WithLabelValues(outcome).Inc()
	w.WriteHeader(status)
}

// take judges a request. What it finds waits for pass.
func (r *Receiver) take(w http.ResponseWriter, req *http.Request) (status int, outcome string) {
	switch {
	case req.URL.Path != r.cfg.Path:
		return http.StatusNotFound, outcomeRefused
	case req.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, outcomeRefused
	case !r.authentic(req.Header.Get("Webhook-AuthID")):
		return http.StatusUnauthorized, outcomeRefused
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		return http.StatusRequestEntityTooLarge, outcomeBad
	}
	if code := req.Header.Get("Webhook-ValidationCode"); code != "" {
		var in struct {
			ValidationCode string `json:"validationCode"`
		}
		if json.Unmarshal(body, &in) != nil || in.ValidationCode != code {
			return http.StatusBadRequest, outcomeBad
		}
		return http.StatusOK, outcomeValidation
	}
	hints, err := r.parse(body)
	switch {
	case err != nil:
		return http.StatusBadRequest, outcomeBad
	case len(hints) == 0:
		return http.StatusOK, outcomeForeign // another status would only make the service send it again
	}
	r.mu.Lock()
	for _, h := range hints {
		r.hints[h] = struct{}{} // at most one for each content type of a configured tenant
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it is about to look anyway
	}
	return http.StatusOK, outcomeHint
}

// authentic compares in a time that says nothing about how much of it was right.
func (r *Receiver) authentic(got string) bool {
	want, err := r.cfg.AuthID()
	if err != nil || want == "" {
		return false
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

var errTooMany = errors.New("too many notifications in one request")

// parse reads the notifications and keeps those of configured tenants whose link leads to the tenant's own host.
func (r *Receiver) parse(body []byte) ([]hint, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("no array")
	}
	var out []hint
	for n := 0; d.More(); n++ {
		var in struct {
			TenantID    string `json:"tenantId"`
			ContentType string `json:"contentType"`
			ContentURI  string `json:"contentUri"`
		}
		if n >= maxEntries {
			return nil, errTooMany
		}
		if err := d.Decode(&in); err != nil {
			return nil, err
		}
		tenant, err := audit.ParseTenantID(in.TenantID)
		if err != nil || audit.ContentType(in.ContentType).Source() == "" {
			continue
		}
		host, known := r.cfg.API(tenant)
		if known && sameHost(in.ContentURI, host) {
			out = append(out, hint{tenant, audit.ContentType(in.ContentType)})
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	return out, nil
}

// sameHost reports whether a link leads to a host over https, without user information.
func sameHost(link, host string) bool {
	u, err := url.Parse(link)
	h, herr := url.Parse(host)
	return err == nil && herr == nil && u.Scheme == "https" && u.User == nil && strings.EqualFold(u.Host, h.Host)
}
