package kafkatx

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	kafka "github.com/segmentio/kafka-go"
)

// metrics are the measurements of one client and the stages on it.
type metrics struct {
	transactions *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	retries      *prometheus.CounterVec
	records      *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	lag          *prometheus.GaugeVec
	stableLag    *prometheus.GaugeVec
	handover     *prometheus.HistogramVec
	owned        *prometheus.GaugeVec
	buffered     prometheus.Gauge
}

// newMetrics makes the metrics and registers them with r, if there is one. A second client on the same registerer shares them.
func newMetrics(r prometheus.Registerer) *metrics {
	const ns, sub = "millrace", "kafka"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets,
		}, labels))
	}
	return &metrics{
		transactions: counter("transactions_total", "Transactions by outcome: committed, aborted, fenced, unknown.", "stage", "outcome"),
		duration: histogram("transaction_duration_seconds", "From the first request of a transaction to the answer to its commit.",
			prometheus.ExponentialBuckets(0.001, 2, 16), "stage"),
		retries: counter("retries_total", "Requests that are sent again, by operation and error code; transport = no answer.", "operation", "code"),
		records: counter("records_total", "Records read from input topics and written in committed transactions.", "stage", "direction"),
		bytes:   counter("bytes_total", "Keys, values and headers of those records, uncompressed.", "stage", "direction"),
		lag:     gauge("lag_records", "Offsets between the high watermark of an input topic and what was committed, over the owned numbers.", "stage", "topic"),
		stableLag: gauge("stable_lag_records", "Offsets between the high watermark and the last stable offset: what open transactions hold back.",
			"stage", "topic"),
		handover: histogram("handover_seconds", "From the assignment of a number to its first batch: fencing, offsets, state.",
			prometheus.ExponentialBuckets(0.005, 2, 16), "stage"),
		owned:    gauge("owned_numbers", "Numbers that this process owns and has loaded.", "stage"),
		buffered: register(r, prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "buffered_bytes", Help: "Input records that are fetched and not processed yet."})),
	}
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	var dup prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &dup) {
		if old, ok := dup.ExistingCollector.(C); ok {
			return old
		}
	}
	return c
}

// retry counts a try that failed. op is cut at the first space: it may go on with names.
func (m *metrics) retry(op string, err error) {
	for i := range len(op) {
		if op[i] == ' ' {
			op = op[:i]
			break
		}
	}
	code := "transport"
	if k, ok := errors.AsType[kafka.Error](err); ok {
		code = strconv.Itoa(int(k))
	}
	m.retries.WithLabelValues(op, code).Inc()
}
