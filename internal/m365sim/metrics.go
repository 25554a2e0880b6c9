package m365sim

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	faults   *prometheus.CounterVec
	blobs    prometheus.Counter
	records  prometheus.Counter
	bytes    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_m365sim_requests_total", Help: "Requests by operation and HTTP status."}, []string{"operation", "code"}),
		faults:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_m365sim_faults_total", Help: "Faults that hit a request, by name."}, []string{"fault"}),
		blobs:    prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_m365sim_blobs_served_total", Help: "Content blobs served in full, each time counted."}),
		records:  prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_m365sim_records_served_total", Help: "Records in the blobs that were served in full."}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_m365sim_served_bytes_total", Help: "Bytes of the blobs that were served in full, before compression."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.faults, m.blobs, m.records, m.bytes} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("m365sim: register metrics: %w", err)
		}
	}
	return m, nil
}
