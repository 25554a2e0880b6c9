package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/pkg/wire"
)

// counts is what the stages of this process have done so far.
type counts struct {
	raw        float64 // records that the ingester committed
	normalized float64 // records that the normalizer dealt with: events, repeats, dead letters
	enriched   float64 // events that the enricher committed
	lag        float64 // offsets that the normalizer and the enricher have not taken yet
}

// gather reads the counts from the metrics, so that what is shown here is what an operator's dashboard would show.
func gather(reg prometheus.Gatherer) (counts, error) {
	var c counts
	families, err := reg.Gather()
	if err != nil {
		return c, err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := map[string]string{}
			for _, l := range m.GetLabel() {
				label[l.GetName()] = l.GetValue()
			}
			switch value := m.GetCounter().GetValue(); {
			case f.GetName() == "millrace_kafka_lag_records":
				c.lag += m.GetGauge().GetValue()
			case f.GetName() == "millrace_ingester_records_total":
				c.raw += value
			case f.GetName() == "millrace_normalizer_records_total":
				c.normalized += value
			case f.GetName() == "millrace_kafka_records_total" && label["stage"] == wire.StageEnricher && label["direction"] == "out":
				c.enriched += value
			}
		}
	}
	return c, nil
}

const (
	progressEvery = 2 * time.Second
	restFor       = 2 * time.Second  // nothing written and nothing left to take for so long: the pipeline is at rest
	stuckFor      = 90 * time.Second // nothing written although something is left: let the proof say what is missing
)

// progress prints a line of progress from time to time until ctx ends; on a terminal it is one live line.
func progress(ctx context.Context, w *console, reg prometheus.Gatherer) {
	live := w.live()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	start, before := time.Now(), counts{}
	for {
		select {
		case <-ctx.Done():
			if live {
				_, _ = fmt.Fprintln(w)
			}
			return
		case <-tick.C:
		}
		c, err := gather(reg)
		if err != nil || (c == before && !live) {
			continue
		}
		line := fmt.Sprintf("%5.0fs  fetched %.0f, normalized %.0f, enriched %.0f (%.0f/s)",
			time.Since(start).Seconds(), c.raw, c.normalized, c.enriched, (c.enriched-before.enriched)/progressEvery.Seconds())
		before = c
		if live {
			_, _ = fmt.Fprintf(w, "\r\x1b[K%s", line)
		} else {
			_, _ = fmt.Fprintln(w, line)
		}
	}
}

// console is where the pipeline's tasks, which run side by side, print to: one whole line at a time.
type console struct {
	mu sync.Mutex
	w  io.Writer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// live reports whether somebody watches, so that a line may be drawn over.
func (c *console) live() bool {
	f, ok := c.w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// rest waits until the pipeline has had nothing to do for a moment.
func rest(ctx context.Context, reg prometheus.Gatherer) error {
	return watch(ctx, reg, func(c counts, still time.Duration) bool { return c.lag == 0 && still >= restFor })
}

// untilStuck waits until nothing has moved for long, or ctx ends.
func untilStuck(ctx context.Context, reg prometheus.Gatherer) {
	_ = watch(ctx, reg, func(_ counts, still time.Duration) bool { return still >= stuckFor }) // the error is that ctx ended
}

// watch waits until done says so of the counts and of how long they have not changed.
func watch(ctx context.Context, reg prometheus.Gatherer, done func(c counts, still time.Duration) bool) error {
	tick := time.NewTicker(restFor / 8)
	defer tick.Stop()
	var before counts
	moved := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		c, err := gather(reg)
		if err != nil {
			return err
		}
		if c != before {
			before, moved = c, time.Now()
		}
		if done(c, time.Since(moved)) {
			return nil
		}
	}
}

// firstEvent waits for the first enriched event and prints it, with an independent client.
func firstEvent(ctx context.Context, w io.Writer, brokers []string, names wire.Names, start time.Time) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(names.EnrichedAll()...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		var first *kgo.Record
		fetches := client.PollRecords(ctx, 1)
		fetches.EachRecord(func(r *kgo.Record) { first = r })
		if first == nil {
			continue
		}
		var pretty bytes.Buffer
		if json.Indent(&pretty, first.Value, "  ", "  ") != nil {
			return
		}
		_, _ = fmt.Fprintf(w, "first enriched event after %.1fs, on %s:\n  %s\n", time.Since(start).Seconds(), first.Topic, pretty.String())
		return
	}
}
