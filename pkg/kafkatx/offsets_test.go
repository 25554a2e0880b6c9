package kafkatx

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestOffsetsAt(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in"))
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	start := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		r := &kgo.Record{Topic: "in", Partition: 0, Value: []byte("v"), Timestamp: start.Add(time.Duration(i) * time.Minute)}
		if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, k.ListenAddrs())
	for _, tt := range []struct {
		at   time.Time
		want []int64
	}{
		{start.Add(-time.Hour), []int64{0, 0}},
		{start.Add(3 * time.Minute), []int64{3, 0}},
		{start.Add(3*time.Minute + time.Second), []int64{4, 0}},
		{start.Add(time.Hour), []int64{10, 0}},
	} {
		got, err := c.OffsetsAt(testContext(t), "in", tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", tt.at.Sub(start), diff)
		}
	}
	if _, err := c.OffsetsAt(testContext(t), "absent", start); err == nil {
		t.Error("a topic that is not there has offsets")
	}
}
