package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/pkg/audit"
)

// freePort is an address of this machine that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// hooked is a world whose simulator reaches the ingester's receiver as Microsoft would: over https, through a proxy. The proxy passes the
// validation on, and notifications unless they are to be lost; it counts those that it lost.
func hooked(t *testing.T, lose bool, change func(*m365sim.Config)) (w *world, lost *atomic.Int64) {
	t.Helper()
	lost = new(atomic.Int64)
	listen := freePort(t)
	to := &url.URL{Scheme: "http", Host: listen}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if lose && r.Header.Get("Webhook-ValidationCode") == "" {
			lost.Add(1)
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(rw, r)
	}))
	t.Cleanup(proxy.Close)
	pool := x509.NewCertPool()
	pool.AddCert(proxy.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	w = newWorld(t, 300, func(c *m365sim.Config) {
		c.AlwaysSubscribed = false
		c.WebhookClient = &http.Client{Transport: transport, Timeout: 10 * time.Second}
		change(c)
	})
	w.cfg.Webhook = Webhook{Address: proxy.URL + "/feed", Listen: listen, AuthID: conf.SecretValue("swordfish-auth")}
	w.cfg.Tenants[0].Components = []string{componentActivities}
	return w, lost
}

// TestNotificationsOfTheSimulator: subscriptions are started with the webhook, the handshake passes, and what the simulator notifies of is on
// the topics long before the next poll. With all notifications lost, polls alone bring the same.
func TestNotificationsOfTheSimulator(t *testing.T) {
	t.Parallel()
	for _, lose := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost %v", lose), func(t *testing.T) {
			t.Parallel()
			// Nothing happens between the week and its end, so that all first listings are over when the first notification is sent.
			alive := time.Now().Truncate(time.Second)
			if !lose {
				alive = alive.Add(8 * time.Second)
			}
			w, lost := hooked(t, lose, func(c *m365sim.Config) { c.Tenants[0].Origin, c.Tenants[0].LiveRate = alive, 50 })
			poll := 10 * time.Minute // longer than this test may last
			if lose {
				poll = 200 * time.Millisecond
			}
			w.cfg.Limits.PollFastest, w.cfg.Limits.PollSlowest = poll, poll
			raw := w.read(w.rawTopics()...)
			rt := w.runtime()
			a, err := New(t.Context(), w.cfg, rt)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			requests := func(outcome string) float64 {
				return metric(t, rt.Registry, "millrace_ingester_webhook_requests_total", outcome)
			}
			types := float64(len(audit.ContentTypes()))
			w.await("the handshakes", func() bool { return requests("validation") >= types })
			for _, ct := range audit.ContentTypes() {
				w.await("the first listing", func() bool {
					return metric(t, rt.Registry, "millrace_ingester_cursor_timestamp_seconds", string(ct)) > 0
				})
			}
			from := time.Now()
			if from.Before(alive) {
				from = alive
			}
			if lose {
				w.await("lost notifications", func() bool { return lost.Load() > 0 })
				must := w.created(from, time.Now())
				w.await("all records without a notification", func() bool { return w.missing(raw, must) == 0 })
				if requests("hint") > 0 {
					t.Error("a notification came through")
				}
			} else {
				w.await("a record that was notified of", func() bool {
					must := w.created(from, time.Now())
					return len(must) > 0 && w.missing(raw, must) < len(must)
				})
				if requests("hint") == 0 {
					t.Error("the record came, but not by a notification")
				}
			}
			if requests("refused")+requests("bad")+requests("foreign") > 0 {
				t.Error("something that was sent was not understood")
			}
		})
	}
}

// created lists the records of blobs that were created in a time and are visible at its end.
func (w *world) created(from, to time.Time) (ids []string) {
	for _, st := range w.sim.Tenants() {
		for _, ct := range tenant.ContentTypes() {
			for d := range st.Each(ct, from, to, to) {
				for i := range d.Records {
					ids = append(ids, fmt.Sprintf("%s/%d", d.ContentID, i))
				}
			}
		}
	}
	return ids
}

// missing counts the records that are not on a topic.
func (w *world) missing(p *topic, ids []string) (n int) {
	there := make(map[string]bool)
	for _, r := range p.all() {
		there[header(r, "ce_id")] = true
	}
	for _, id := range ids {
		if !there[id] {
			n++
		}
	}
	return n
}

// metric is the value of a counter or gauge, summed over all whose labels hold a value.
func metric(t testing.TB, reg *prometheus.Registry, name, label string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
