package kafkatx

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in", "out"), kfake.SeedTopics(1, "status"))
	registry := prometheus.NewRegistry()
	cfg := ClientConfig{Brokers: k.ListenAddrs(), Registerer: registry}
	for range 2 { // a second client on the same registerer shares the metrics of the first
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := NewStage(c, testStage("measured", []string{"in"}, "", "out"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		fill(t, k.ListenAddrs(), "in", 2, 0, 10)
		eventually(t, "everything is processed", func() bool { return s.Ready() && s.Lag()["in"] == 0 })
		s.measure()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for _, name := range []string{
		"millrace_kafka_transactions_total", "millrace_kafka_transaction_duration_seconds", "millrace_kafka_records_total",
		"millrace_kafka_bytes_total", "millrace_kafka_handover_seconds", "millrace_kafka_owned_numbers",
	} {
		if values[name] == 0 {
			t.Errorf("%s is zero", name)
		}
	}
	for _, name := range []string{"millrace_kafka_lag_records", "millrace_kafka_stable_lag_records", "millrace_kafka_buffered_bytes"} {
		if v, ok := values[name]; !ok || v != 0 {
			t.Errorf("%s is %v (there: %t), want 0", name, v, ok)
		}
	}
}
