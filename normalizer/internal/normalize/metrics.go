package normalize

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// Stage is the name of the normalizer in groups, dead letters and metrics.
const Stage = "normalizer"

// outcome is what became of a record; a metric label.
type outcome int

const (
	published outcome = iota
	variant           // published, marked
	repeat            // dropped
	refused           // a dead letter
	outcomes
)

// String is the label.
func (o outcome) String() string {
	switch o {
	case published:
		return "published"
	case variant:
		return "variant"
	case repeat:
		return "repeat"
	case refused:
		return "refused"
	default:
		return "unknown"
	}
}

// Metrics are the measurements of all numbers of a process.
type Metrics struct {
	shared  *wire.Metrics
	records *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them, if there is a registerer. The budget is shown as the size of the seen set; overflow says
// whether it has somewhere to go when that is full.
func NewMetrics(r prometheus.Registerer, budget *seen.Budget, overflow bool) (*Metrics, error) {
	shared, err := wire.NewMetrics(Stage, r)
	if err != nil {
		return nil, err
	}
	m := &Metrics{
		shared: shared,
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "millrace", Subsystem: Stage, Name: "records_total",
			Help: "Raw records by what became of them: published, variant (published, marked), repeat (dropped), refused (dead letter).",
		}, []string{"workload", "outcome"}),
	}
	if r == nil {
		return m, nil
	}
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "millrace", Subsystem: Stage, Name: "seen_bytes", Help: "Memory that the record of what was published takes.",
	}, func() float64 { return float64(budget.Used()) })
	files := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "millrace", Subsystem: Stage, Name: "seen_cache_bytes", Help: "What of it lies in files because memory is full (seen.cache_dir).",
	}, func() float64 { return float64(budget.Spilled()) })
	limit := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "millrace", Subsystem: Stage, Name: "seen_limit_bytes", Help: "Memory that it may take (seen.memory).",
	})
	limit.Set(float64(budget.Max()))
	has := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "millrace", Subsystem: Stage, Name: "seen_overflow", Help: "1 if what it has no memory for goes to files, 0 if the process stops then.",
	})
	if overflow {
		has.Set(1)
	}
	for _, c := range []prometheus.Collector{m.records, memory, files, limit, has} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// tally is what a batch will have counted for once it is committed.
type tally struct {
	records map[counted]int
	reasons map[wire.Reason]int
	created []time.Time // of the blobs of published records
}

type counted struct {
	workload audit.Workload
	outcome  outcome
}

func newTally() tally {
	return tally{records: map[counted]int{}, reasons: map[wire.Reason]int{}}
}

func (t *tally) reset() {
	clear(t.records)
	clear(t.reasons)
	t.created = t.created[:0]
}

// add enters a committed batch.
func (m *Metrics) add(t *tally, now time.Time) {
	for c, n := range t.records {
		m.records.WithLabelValues(string(c.workload), c.outcome.String()).Add(float64(n))
	}
	for reason, n := range t.reasons {
		m.shared.Refused(reason, n)
	}
	for _, created := range t.created {
		m.shared.Delay(created, now)
	}
}
