package source

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	cursor  *prometheus.GaugeVec
	open    *prometheus.GaugeVec
	blobs   *prometheus.CounterVec
	records *prometheus.CounterVec
	gaps    *prometheus.CounterVec
	objects *prometheus.CounterVec

	openGaps *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	stream := []string{"tenant", "content_type"}
	m := &metrics{
		cursor: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_ingester_cursor_timestamp_seconds", Help: "Creation time of blobs up to which a stream was listed.",
		}, stream),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_ingester_open_blobs", Help: "Blobs that were listed and are not committed yet.",
		}, stream),
		blobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_blobs_total", Help: "Blobs by the kind of window that found them and what became of them: committed, failed (comes again), lost.",
		}, []string{"via", "outcome"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_records_total", Help: "Raw records committed.",
		}, stream),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_gaps_total", Help: "Gap records committed, by reason.",
		}, []string{"tenant", "reason"}),
		openGaps: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_ingester_gaps_open", Help: "Gaps that no operator has acknowledged, of the tenants that this process reads.",
		}, []string{"tenant", "component"}),
		objects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_ingester_directory_objects_total", Help: "Directory objects committed.",
		}, []string{"tenant"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.cursor), reg.Register(m.open), reg.Register(m.blobs), reg.Register(m.records), reg.Register(m.gaps), reg.Register(m.openGaps),
		reg.Register(m.objects))
}

// forget drops the gauges of a tenant that this process does not read any more: they would stand still.
func (m *metrics) forget(tenant string) {
	of := prometheus.Labels{"tenant": tenant}
	m.cursor.DeletePartialMatch(of)
	m.open.DeletePartialMatch(of)
	m.openGaps.DeletePartialMatch(of)
}
