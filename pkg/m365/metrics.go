package m365

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts the calls of all clients that share it.
type Metrics struct {
	requests *prometheus.CounterVec
	throttle prometheus.Counter
	foreign  prometheus.Counter
}

// NewMetrics builds the metrics and registers them; a nil registerer leaves them unregistered.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_api_requests_total",
			Help: "Calls to Microsoft, by operation and outcome (ok, the class of the error, or network).",
		}, []string{"operation", "code"}),
		throttle: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_ingester_throttle_wait_seconds_total",
			Help: "Time that calls spent waiting for their tenant's request bucket.",
		}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_ingester_foreign_links_total",
			Help: "Links of the service that led away from the configured host and were not followed.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.throttle), reg.Register(m.foreign))
}
