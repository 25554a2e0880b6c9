package enrich

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/enricher/internal/join"
)

// Metrics are the enricher's own measurements; the processors of all numbers share them.
type Metrics struct {
	events   prometheus.Counter
	unjoined prometheus.Counter
	lookups  [len(join.Counts{})][len(join.Counts{}[0])]prometheus.Counter // by source and outcome; nil for what is not counted
}

// NewMetrics makes the metrics and registers them, if there is a registerer.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_enricher_events_total", Help: "Events that were enriched and committed.",
		}),
		unjoined: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_enricher_unjoined_events_total", Help: "Events among them that passed without joins: a defect, which the log names, or too large with them.",
		}),
	}
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_enricher_lookups_total",
		Help: "Lookups of committed events, by source and outcome. A lookup that is missing never drops an event.",
	}, []string{"source", "outcome"})
	for _, s := range join.Sources() {
		for _, o := range join.Outcomes() {
			m.lookups[s][o] = lookups.WithLabelValues(s.String(), o.String())
		}
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.events), reg.Register(m.unjoined), reg.Register(lookups))
}
