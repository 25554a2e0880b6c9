package m365sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What a folder keeps besides keys: the journal, which a start writes anew in its shortest form when it has grown, and the counts of the
// ledger, a small file that is replaced as a whole every few seconds and on Close. A crash costs those seconds of counts, and no more.

const (
	countsName = "counts.json"
	keepEvery  = 5 * time.Second
)

// keep saves the counts now and then and lets go of what has expired.
func (s *Server) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.books.fold(s.now())
		s.hooks.forget(s.now())
		if err := s.saveCounts(); err != nil {
			s.log.Error("simulator cannot keep its counts", "err", err)
		}
	}
}

// saveCounts writes the counts down if they have changed. Its callers follow one another.
func (s *Server) saveCounts() error {
	text, err := json.Marshal(s.books.snapshot())
	if err != nil {
		return fmt.Errorf("m365sim: encode counts: %w", err)
	}
	if bytes.Equal(text, s.saved) {
		return nil
	}
	if err := replaceFile(filepath.Join(s.cfg.Dir, countsName), text); err != nil {
		return fmt.Errorf("m365sim: keep counts: %w", err)
	}
	s.saved = text
	return nil
}

func readCounts(dir string) (Counts, error) {
	c := newCounts()
	path := filepath.Join(dir, countsName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("m365sim: read counts %s: %w; remove the file to count from zero", path, err)
	}
	return c, nil
}

// replaceFile writes a file in one step that a crash of the machine cannot tear: readers find the old one or the new one.
func replaceFile(path string, text []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// compact writes the journal anew when its shortest form has less than half as many lines.
func (s *Server) compact(past []event) error {
	now := s.now()
	s.books.fold(now)
	short := s.shortest(past, now)
	if 2*len(short) >= len(past) {
		return nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for _, e := range short {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("m365sim: encode journal: %w", err)
		}
	}
	if err := s.journal.replace(text.Bytes()); err != nil {
		return fmt.Errorf("m365sim: compact journal: %w", err)
	}
	return nil
}

// shortest returns the events that bring a new process to the state of this one. Those of tenants that are not configured now stay as
// they are.
func (s *Server) shortest(past []event, now time.Time) []event {
	var out []event
	if s.clock.anchor.Speed != 0 {
		out = append(out, event{Kind: eventClock, At: s.clock.anchor.Sim, Clock: &s.clock.anchor})
	}
	for _, t := range s.order {
		setup := t.Config()
		out = append(out, event{Kind: eventOrigin, Tenant: s.key(t), At: setup.Origin, Setup: &setup})
	}
	for _, e := range past {
		if e.Kind != eventClock && s.tenants[e.Tenant] == nil {
			out = append(out, e)
		}
	}
	s.subs.each(func(k subKey, sub subscription) {
		t := s.tenants[k.tenant]
		if t == nil {
			return
		}
		forgotten := now.Add(-t.Config().ExpireAfter - foldAfter)
		state := &subscriptionState{Enabled: sub.enabled, Started: sub.started, Since: sub.since}
		for _, p := range sub.spans {
			if p.to.IsZero() || p.to.After(forgotten) {
				state.Spans = append(state.Spans, spanState{From: p.from, To: p.to})
			}
		}
		out = append(out, event{Kind: eventSubscription, At: sub.started, Tenant: k.tenant, App: k.app, ContentType: k.contentType, Subscription: state, Webhook: sub.hook})
	})
	return append(out, s.books.events()...)
}

// loop is a goroutine that stop waits for.
type loop struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (l *loop) start(run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		run(ctx)
	}(l.done)
}

func (l *loop) stop() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
		l.cancel = nil
	}
}
