package directory

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	records *prometheus.CounterVec
	tenants *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_enricher_directory_records_total",
			Help: "Records read from the directory topic, by kind of object and outcome.",
		}, []string{"kind", "outcome"}),
		tenants: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_enricher_directory_tenants",
			Help: "Tenants whose directory is known, by whether it was ever read whole.",
		}, []string{"state"}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.tenants)
	}
	return m
}
