package wire

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the measurements that all stages share, so that one panel shows the whole pipeline.
type Metrics struct {
	stage       string
	deadLetters *prometheus.CounterVec
	delay       *prometheus.HistogramVec
}

// NewMetrics makes the metrics of one stage and registers them, if there is a registerer. Stages of one process share them.
func NewMetrics(stage string, r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		stage: stage,
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "millrace", Name: "dead_letters_total",
			Help: "Records that were refused, by reason; counted once their dead letter is committed.",
		}, []string{"stage", "reason"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "millrace", Subsystem: "pipeline", Name: "delay_seconds",
			Help:    "From the creation of a record's blob to the commit of what the stage made of it.",
			Buckets: []float64{0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600},
		}, []string{"stage"}),
	}
	if r == nil {
		return m, nil
	}
	var err1, err2 error
	m.deadLetters, err1 = register(r, m.deadLetters)
	m.delay, err2 = register(r, m.delay)
	return m, errors.Join(err1, err2)
}

// register registers a collector, or finds the one that another stage has registered under the same name.
func register[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	err := r.Register(c)
	if dup, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := dup.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

// Refused counts committed dead letters. Parts of one record count as one.
func (m *Metrics) Refused(reason Reason, n int) {
	m.deadLetters.WithLabelValues(m.stage, string(reason)).Add(float64(n))
}

// Delay observes a record that was committed at now.
func (m *Metrics) Delay(created, now time.Time) {
	m.delay.WithLabelValues(m.stage).Observe(max(0, now.Sub(created).Seconds()))
}
