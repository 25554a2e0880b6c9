package app

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"millrace/internal/m365sim"
	"millrace/internal/service"
)

// BenchmarkFeedToRaw carries a simulated week of 100,000 records in about 1,100 blobs to the raw topics of an embedded broker, exactly once,
// everything in one process, over a network that takes 20 ms for each answer. The figure to look at is records/s, counted from the first
// listing to the last commit; the target of design.md §9 is 60,000 on two cores.
func BenchmarkFeedToRaw(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, 100_000, func(c *m365sim.Config) { c.PageSize = 500 })
		feed := &distant{Handler: w.sim}
		feed.serve(b, &w.cfg)
		w.cfg.Tenants[0].Components = []string{componentActivities}
		w.cfg.Tenants[0].Fetches, w.cfg.Limits.Memory = 48, 48<<20 // as many answers under way as the latency wants
		want := float64(len(w.expected(time.Time{})))
		rt := w.runtime()
		rt.Log = slog.New(slog.DiscardHandler)
		b.StartTimer()
		runUntil(b, w, rt, func() bool { return committed(b, rt.Registry) >= want })
		b.ReportMetric(want/time.Since(time.Unix(0, feed.listed.Load())).Seconds(), "records/s")
	}
}

// distant is a feed at the end of a network that takes a while.
type distant struct {
	http.Handler
	listed atomic.Int64 // when the first listing was asked for, in Unix nanoseconds
}

func (d *distant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/subscriptions/content") {
		d.listed.CompareAndSwap(0, time.Now().UnixNano())
	}
	time.Sleep(20 * time.Millisecond)
	d.Handler.ServeHTTP(w, r)
}

// serve starts a server and points the configuration at it.
func (d *distant) serve(b testing.TB, cfg *Config) {
	b.Helper()
	srv := httptest.NewUnstartedServer(d)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	b.Cleanup(srv.Close)
	ca := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		b.Fatal(err)
	}
	for i := range cfg.Tenants {
		cfg.Tenants[i].Hosts = Hosts{Authority: srv.URL, API: srv.URL, Graph: srv.URL}
		cfg.Tenants[i].CAFile = ca
	}
}

// BenchmarkAllFaults carries a week while each kind of fault hits one request in twenty, everywhere, at the pace that an operator gets who
// says nothing. The figure to look at is s/op: a tenth of the requests is answered AF429, which must not bring a tenant to a stand.
func BenchmarkAllFaults(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, 20_000, func(c *m365sim.Config) {
			c.Quota = m365sim.DefaultQuota
			for _, name := range m365sim.FaultNames() {
				c.Faults = append(c.Faults, m365sim.Fault{Name: name, Rate: 0.05})
			}
		})
		w.cfg.Limits = DefaultConfig().Limits
		w.cfg.Tenants[0].RequestsPerMinute = 0
		w.cfg.Tenants[0].Components = []string{componentActivities}
		want := float64(len(w.expected(time.Time{})))
		rt := w.runtime()
		b.StartTimer()
		runUntil(b, w, rt, func() bool { return committed(b, rt.Registry) >= want })
		blobs := 0
		for _, c := range w.sim.Ledger().Tenants[0].Content {
			blobs += c.Blobs
		}
		b.ReportMetric(float64(blobs), "blobs")
	}
}

func runUntil(b *testing.B, w *world, rt service.Runtime, done func() bool) {
	b.Helper()
	a, err := New(b.Context(), w.cfg, rt)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for !done() {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

// committed sums up millrace_ingester_records_total.
func committed(b *testing.B, reg *prometheus.Registry) float64 {
	b.Helper()
	families, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "millrace_ingester_records_total" {
			for _, m := range f.GetMetric() {
				sum += counter(m)
			}
		}
	}
	return sum
}

func counter(m *dto.Metric) float64 { return m.GetCounter().GetValue() }
