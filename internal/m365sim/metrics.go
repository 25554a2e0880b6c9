package m365sim

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// ledgerMetrics shows the ledger to Prometheus. It counts nothing itself, so the two forms of the books cannot differ.
type ledgerMetrics struct{ s *Server }

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("millrace_m365sim_"+name, help, labels, nil)
}

var (
	requestsDesc = metric("requests_total", "Requests by operation and answer.", "operation", "answer")
	faultsDesc   = metric("faults_total", "Faults that hit a request.", "fault")
	tokensDesc   = metric("tokens_issued_total", "Access tokens issued, by service.", "service")
	improperDesc = metric("improper_acts_total", "What clients did that a good client does not do.", "act")
)

// contentMetrics is what is told of each content type of each tenant.
var contentMetrics = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(TypeLedger) int
}{
	{ofContent("blobs", "Content blobs that became visible."), prometheus.GaugeValue, func(l TypeLedger) int { return l.Blobs }},
	{ofContent("records", "Records in the visible blobs."), prometheus.GaugeValue, func(l TypeLedger) int { return l.Records }},
	{ofContent("repeated_records", "Of the records, those that an earlier blob has too."), prometheus.GaugeValue, func(l TypeLedger) int { return l.Repeats }},
	{ofContent("blobs_listed", "Of the blobs, those that a listing showed."), prometheus.GaugeValue, func(l TypeLedger) int { return l.BlobsListed }},
	{ofContent("blobs_served", "Of the blobs, those that were served in full."), prometheus.GaugeValue, func(l TypeLedger) int { return l.BlobsServed }},
	{ofContent("blobs_expired_unserved", "Of the blobs, those that expired and were never served."), prometheus.GaugeValue, func(l TypeLedger) int { return l.ExpiredUnserved }},
	{ofContent("downloads_total", "Blobs served in full, each time counted."), prometheus.CounterValue, func(l TypeLedger) int { return l.Downloads }},
	{ofContent("records_served_total", "Records in all downloads."), prometheus.CounterValue, func(l TypeLedger) int { return l.RecordsServed }},
	{ofContent("served_bytes_total", "Bytes of all downloads, before compression."), prometheus.CounterValue, func(l TypeLedger) int { return l.BytesServed }},
}

func ofContent(name, help string) *prometheus.Desc {
	return metric(name, help, "tenant", "content_type")
}

// register adds the ledger to a registry.
func (s *Server) register(r prometheus.Registerer) error {
	if err := r.Register(ledgerMetrics{s}); err != nil {
		return fmt.Errorf("m365sim: register metrics: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (m ledgerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, faultsDesc, tokensDesc, improperDesc} {
		ch <- d
	}
	for _, c := range contentMetrics {
		ch <- c.desc
	}
}

// Collect implements prometheus.Collector.
func (m ledgerMetrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(n), labels...)
	}
	l := m.s.Ledger()
	for operation, answers := range l.Requests {
		for answer, n := range answers {
			send(requestsDesc, prometheus.CounterValue, n, operation, answer)
		}
	}
	for desc, counts := range map[*prometheus.Desc]map[string]int{faultsDesc: l.Faults, tokensDesc: l.Tokens, improperDesc: l.Improper} {
		for name, n := range counts {
			send(desc, prometheus.CounterValue, n, name)
		}
	}
	for _, t := range l.Tenants {
		for _, row := range t.Content {
			for _, c := range contentMetrics {
				send(c.desc, c.kind, c.value(row), t.ID, row.ContentType)
			}
		}
	}
}
