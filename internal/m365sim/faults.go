package m365sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault makes a share of requests fail in one way.
type Fault struct {
	// Name is one of FaultNames.
	Name string `json:"name"`
	// Rate is the share of requests that it hits, 0 to 1.
	Rate float64 `json:"rate"`
	// Endpoint limits it to token, start, stop, list, content, blob, notifications or graph; empty means all.
	Endpoint string `json:"endpoint,omitempty"`
	// Tenant and ContentType limit it further; empty means all.
	Tenant      string `json:"tenant,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	// AfterSeconds and ForSeconds make it a schedule: it begins so long after it was set, and ends so long after it began. A
	// ForSeconds of zero has no end.
	AfterSeconds float64 `json:"afterSeconds,omitempty"`
	ForSeconds   float64 `json:"forSeconds,omitempty"`
	// Count ends the fault after so many hits; zero means never.
	Count int `json:"count,omitempty"`
}

// The faults. All but the last three happen instead of the answer: the request has no effect.
const (
	FaultThrottle403  = "throttle403"  // AF429 with HTTP 403
	FaultThrottle429  = "throttle429"  // AF429 with HTTP 429 and Retry-After 1
	FaultInternal     = "internal"     // 500 AF50000
	FaultGateway      = "gateway"      // 503 with an HTML page
	FaultUnauthorized = "unauthorized" // 401 as for an expired token
	FaultDrop         = "drop"         // the connection breaks before the answer, request not applied
	FaultLost         = "lost"         // the request is applied, then the connection breaks before the answer
	FaultCut          = "cut"          // the connection breaks in the middle of the body
	FaultTruncated    = "truncated"    // a complete HTTP answer whose JSON ends too early
)

// FaultNames lists the faults.
func FaultNames() []string {
	return []string{FaultThrottle403, FaultThrottle429, FaultInternal, FaultGateway, FaultUnauthorized, FaultDrop, FaultLost, FaultCut, FaultTruncated}
}

// ParseFault reads "name=rate" or "name=rate@endpoint".
func ParseFault(text string) (Fault, error) {
	name, rest, ok := strings.Cut(text, "=")
	rate, endpoint, _ := strings.Cut(rest, "@")
	value, err := strconv.ParseFloat(rate, 64)
	f := Fault{Name: name, Rate: value, Endpoint: endpoint}
	if !ok || err != nil {
		return Fault{}, fmt.Errorf("fault %q: want name=rate or name=rate@endpoint, such as internal=0.05@blob", text)
	}
	return f, f.validate()
}

func (f Fault) validate() error {
	if !slices.Contains(FaultNames(), f.Name) {
		return fmt.Errorf("fault %q is unknown; known are %s", f.Name, strings.Join(FaultNames(), ", "))
	}
	if f.Rate < 0 || f.Rate > 1 {
		return fmt.Errorf("fault %s: rate %g is not between 0 and 1", f.Name, f.Rate)
	}
	if f.AfterSeconds < 0 || f.ForSeconds < 0 || f.Count < 0 {
		return fmt.Errorf("fault %s: afterSeconds, forSeconds and count cannot be negative", f.Name)
	}
	return nil
}

type faultTable struct {
	mu     sync.Mutex // guards all
	active []Fault
	since  time.Time // when active was set
	now    func() time.Time
	hit    func(name string) // counts
}

func newFaultTable(faults []Fault, now func() time.Time, hit func(string)) *faultTable {
	return &faultTable{active: slices.Clone(faults), since: now(), now: now, hit: hit}
}

// draw decides whether a request fails, and counts it when it does.
func (t *faultTable) draw(endpoint, tenant, contentType string) (Fault, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	age := t.now().Sub(t.since).Seconds()
	for i := range t.active {
		f := &t.active[i]
		switch {
		case f.Endpoint != "" && f.Endpoint != endpoint,
			f.Tenant != "" && !strings.EqualFold(f.Tenant, tenant),
			f.ContentType != "" && !strings.EqualFold(f.ContentType, contentType),
			age < f.AfterSeconds, f.ForSeconds > 0 && age >= f.AfterSeconds+f.ForSeconds,
			f.Count < 0, rand.Float64() >= f.Rate:
			continue
		}
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				f.Count = -1
			}
		}
		t.hit(f.Name)
		return *f, true
	}
	return Fault{}, false
}

func (t *faultTable) set(faults []Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active, t.since = slices.Clone(faults), t.now()
}

// instead reports whether a fault replaces the whole answer.
func (f Fault) instead() bool {
	return f.Name != FaultLost && f.Name != FaultCut && f.Name != FaultTruncated
}

// spoil writes the answer of a fault that replaces the real one.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, f Fault) {
	switch f.Name {
	case FaultThrottle403:
		s.refuse(w, r, errThrottled(http.StatusForbidden, "GetBlob", "00000000-0000-0000-0000-000000000000"))
	case FaultThrottle429:
		w.Header().Set("Retry-After", "1")
		s.refuse(w, r, errThrottled(http.StatusTooManyRequests, "GetBlob", "00000000-0000-0000-0000-000000000000"))
	case FaultInternal:
		s.refuse(w, r, errInternal())
	case FaultGateway:
		w.Header().Set("Content-Type", "text/html; charset=us-ascii")
		_ = send(w, r, http.StatusServiceUnavailable, []byte("<!DOCTYPE HTML>\r\n<HTML><HEAD><TITLE>Service Unavailable</TITLE></HEAD>\r\n<BODY><h2>Service Unavailable</h2>\r\n<hr><p>HTTP Error 503. The service is unavailable.</p>\r\n</BODY></HTML>\r\n")) // the client is gone
	case FaultUnauthorized:
		s.refuseToken(w, r)
	case FaultDrop:
		panic(http.ErrAbortHandler)
	}
}

// spoilBody applies a fault that leaves the request applied to the answer that is about to be written.
func (s *Server) spoilBody(w http.ResponseWriter, body []byte, f Fault) (http.ResponseWriter, []byte) {
	switch f.Name {
	case FaultLost:
		panic(http.ErrAbortHandler)
	case FaultCut:
		return &cutter{ResponseWriter: w, left: len(body) / 8}, body
	default:
		return w, body[:len(body)/2]
	}
}

// answer writes a good answer, or what a fault leaves of it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, f Fault, hit bool) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if hit {
		w, body = s.spoilBody(w, body, f)
	}
	_ = send(w, r, http.StatusOK, body) // the client is gone; nobody is left to tell
}

// bucket is a token bucket of requests.
type bucket struct {
	tokens float64
	last   time.Time
}

// quotas limits requests a minute: one bucket for each tenant, and one for all callers that do not say who they are.
type quotas struct {
	perMinute int
	mu        sync.Mutex // guards buckets
	buckets   map[string]*bucket
}

func newQuotas(perMinute int) *quotas {
	return &quotas{perMinute: perMinute, buckets: map[string]*bucket{}}
}

// take reports whether one more request is within the quota of key.
func (q *quotas) take(key string, now time.Time) bool {
	if q.perMinute < 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := float64(q.perMinute)
	b := q.buckets[key]
	if b == nil {
		b = &bucket{tokens: limit, last: now}
		q.buckets[key] = b
	}
	if now.After(b.last) {
		b.tokens = min(limit, b.tokens+now.Sub(b.last).Minutes()*limit)
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
