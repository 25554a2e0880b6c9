package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// Follower reads a compacted topic from its beginning and goes on with what is new, as kafkatx.Client.Tail does: calls of fn never
// overlap; caughtUp is called once, between them, when what the topic held at the start has been passed on.
type Follower interface {
	Tail(ctx context.Context, topic string, fn func(kafkatx.Record) error, caughtUp func()) error
}

// Config says what a Loader reads and how long events wait for it.
type Config struct {
	Topic string
	// Wait bounds how long the first event waits for a directory that was read whole. 0 = only until what the topic holds now is read.
	Wait time.Duration
	// Tenants are those whose directories are waited for; empty = every tenant that the topic names, and at least one.
	Tenants []audit.TenantID
}

// publishEvery is how soon a change of the directory reaches events. Changes within it are published together.
const publishEvery = 250 * time.Millisecond

// Loader keeps a Snapshot up to date with the directory topic.
type Loader struct {
	cfg     Config
	source  Follower
	log     *slog.Logger
	metrics *metrics

	current atomic.Pointer[Snapshot]
	ready   chan struct{} // closed when events need not wait any longer

	mu       sync.Mutex // guards what follows
	draft    *Draft
	caughtUp bool
	waited   bool // Wait has passed
	refused  int  // records that could not be read; the first of them is logged
	opened   bool // ready is closed
}

// NewLoader makes a loader. A nil registerer leaves its metrics unregistered.
func NewLoader(cfg Config, source Follower, log *slog.Logger, reg prometheus.Registerer) *Loader {
	l := &Loader{cfg: cfg, source: source, log: log, metrics: newMetrics(reg), ready: make(chan struct{}), draft: NewDraft()}
	l.current.Store(l.draft.Publish())
	return l
}

// Snapshot is the newest state. It may be called at any time from any goroutine.
func (l *Loader) Snapshot() *Snapshot { return l.current.Load() }

// Await blocks until events need not wait for the directory any longer: it is complete, or the configured wait has passed.
func (l *Loader) Await(ctx context.Context) error {
	select {
	case <-l.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready is nil once Await would not block, and says what is missing before.
func (l *Loader) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened {
		return nil
	}
	return l.missing()
}

// Run follows the topic until ctx ends or the topic cannot be read any more, which is an error.
func (l *Loader) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var publisher sync.WaitGroup
	publisher.Go(func() { l.publishLoop(ctx) })
	err := l.source.Tail(ctx, l.cfg.Topic, l.take, l.reached)
	cancel()
	publisher.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("follow %s: %w", l.cfg.Topic, err)
	}
	return nil
}

// take is called for each record of the topic. A record that cannot be read is left out: it must not stop every event of every tenant.
func (l *Loader) take(rec kafkatx.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind, err := l.draft.apply(rec)
	if err == nil {
		l.metrics.records.WithLabelValues(kind, "applied").Inc()
		return nil
	}
	l.metrics.records.WithLabelValues(kind, "refused").Inc()
	if l.refused++; l.refused == 1 {
		l.log.Warn("directory record left out; further ones are only counted",
			slog.Any("err", err), slog.Int("partition", int(rec.Partition)), slog.Int64("offset", rec.Offset))
	}
	return nil
}

func (l *Loader) reached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caughtUp = true
	l.publish()
}

func (l *Loader) publishLoop(ctx context.Context) {
	wait := time.NewTimer(l.cfg.Wait)
	defer wait.Stop()
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
			l.mu.Lock()
			l.waited = true
			l.publish()
			l.mu.Unlock()
		case <-tick.C:
			l.mu.Lock()
			l.publish()
			l.mu.Unlock()
		}
	}
}

// publish makes the draft's state visible and opens the gate when it is time. It is called with mu held.
func (l *Loader) publish() {
	before := l.current.Load()
	now := l.draft.Publish()
	if now != before {
		l.current.Store(now)
		incomplete, known := l.draft.Incomplete()
		l.metrics.tenants.WithLabelValues("incomplete").Set(float64(len(incomplete)))
		l.metrics.tenants.WithLabelValues("complete").Set(float64(known - len(incomplete)))
	}
	if l.opened {
		return
	}
	missing := l.missing()
	if missing != nil && !l.waited {
		return
	}
	if missing != nil && !l.caughtUp && l.cfg.Wait == 0 {
		return // without a wait the topic is still read to what it holds now
	}
	if missing != nil {
		l.log.Warn("directory is not complete after the configured wait; events will say so", slog.Any("err", missing))
	} else {
		l.log.Info("directory is complete")
	}
	l.opened = true
	close(l.ready)
}

// missing says what the directory lacks; nil = nothing. It is called with mu held.
func (l *Loader) missing() error {
	if !l.caughtUp {
		return errors.New("the directory topic is still being read")
	}
	incomplete, known := l.draft.Incomplete()
	for _, id := range l.cfg.Tenants {
		if t := l.draft.tenants[id]; t == nil || !t.complete {
			return fmt.Errorf("the directory of tenant %s has not been read whole yet", id)
		}
	}
	switch {
	case len(l.cfg.Tenants) > 0:
		return nil
	case known == 0:
		return errors.New("no tenant's directory has been written yet (directory.wait bounds the wait; 0 where none will be)")
	case len(incomplete) > 0:
		return fmt.Errorf("the directory of tenant %s has not been read whole yet", incomplete[0])
	}
	return nil
}
