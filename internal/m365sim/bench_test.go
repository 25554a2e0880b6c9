package m365sim

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/m365sim/tenant"
)

// BenchmarkServe downloads blobs of a large week over TLS with gzip, several at a time, and throws them away unread.
func BenchmarkServe(b *testing.B) {
	for name, records := range map[string]int{"500k": 500_000, "10M": 10_000_000} {
		b.Run(name, func(b *testing.B) { benchmarkServe(b, records) })
	}
}

func benchmarkServe(b *testing.B, weekRecords int) {
	origin := time.Now().UTC().Truncate(time.Second)
	s, err := New(Config{Tenants: []tenant.Config{{Seed: 3, Records: weekRecords, Origin: origin, LiveRate: -1}}, AlwaysSubscribed: true, Quota: -1, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	if err := s.Start("127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	tn := s.Tenants()[0]
	token, err := s.grantTo(s.apps[DefaultClientID], tn.ID(), "https://manage.office.com", "manage", true)
	if err != nil {
		b.Fatal(err)
	}
	var all []tenant.Descriptor
	for _, ct := range tenant.ContentTypes() {
		for d := range tn.Each(ct, origin.Add(-7*24*time.Hour), origin, origin) {
			all = append(all, d)
		}
	}
	client := benchClient(b, s)
	root := s.URL() + "/api/v1.0/" + tn.ID() + "/activity/feed/audit/"
	var next, records, size atomic.Int64
	get := func(d tenant.Descriptor) {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, root+d.ContentID+"?PublisherIdentifier="+tn.ID(), nil)
		if err != nil {
			b.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token["access_token"].(string))
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Errorf("%d %v", resp.StatusCode, err)
		}
		_ = resp.Body.Close()
		records.Add(int64(d.Records))
		size.Add(n)
	}
	const workers = 8
	b.ResetTimer()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					return
				}
				get(all[int(i)%len(all)])
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(records.Load())/b.Elapsed().Seconds(), "records/s")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
	b.ReportMetric(float64(size.Load())/float64(records.Load()), "gzipB/record")
}

func benchClient(b *testing.B, s *Server) *http.Client {
	b.Helper()
	cl := clientFor(b, s)
	cl.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	return cl
}
