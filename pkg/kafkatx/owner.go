package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// fencedOften times within fencedWithin means that somebody else uses our transactional ids.
	fencedOften  = 3
	fencedWithin = time.Minute

	// idleCommit is how long a number waits before it commits that it has passed markers and aborted records only. Retention would
	// otherwise remove those, and the next start would take it for a loss.
	idleCommit = 5 * time.Second
)

// owner runs one number.
type owner struct {
	s      *Stage
	number int32
	log    *slog.Logger
	loaded *atomic.Bool
}

// run holds the number until taking ends. Every incarnation begins with nothing but what the cluster says. The error is fatal for the
// process; what concerns this number only is dealt with here.
func (o *owner) run(taking, working context.Context) error {
	var fenced []time.Time
	var b backoff
	for taking.Err() == nil {
		began, round := time.Now(), o.s.m.round()
		err := o.incarnation(taking, working)
		o.loaded.Store(false)
		switch {
		case taking.Err() != nil, working.Err() != nil:
			return nil //nolint:nilerr // what fails while the number is given up is no failure
		case errors.Is(err, ErrFenced), errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrRefused), errors.Is(err, ErrStaleMember):
		default:
			return err
		}
		o.log.Warn("starting the number over", "err", err)
		// Only a member that the group still knows may fence others.
		if o.s.m.confirm(taking) != nil {
			return nil //nolint:nilerr // the number is given up
		}
		if o.s.m.round() != round {
			fenced = nil // another member may have had the number in between, as is its right
		} else if errors.Is(err, ErrFenced) {
			now := time.Now()
			for fenced = append(fenced, now); now.Sub(fenced[0]) > fencedWithin; fenced = fenced[1:] {
				continue
			}
			if len(fenced) >= fencedOften {
				return fmt.Errorf("fenced %d times within %v while the group says that the number is ours: another deployment uses the "+
					"prefix %q on this cluster: give each its own: %w", len(fenced), fencedWithin, o.s.cfg.Prefix, err)
			}
		}
		if time.Since(began) > time.Minute {
			b = backoff{}
		}
		b.wait(taking, err)
	}
	return nil
}

// incarnation is the life of one producer epoch.
func (o *owner) incarnation(taking, working context.Context) error {
	began := time.Now()
	cfg := &o.s.cfg
	p, err := o.s.c.NewProducer(ProducerConfig{TransactionalID: cfg.transactionalID(o.number), Timeout: cfg.TxnTimeout, Codec: cfg.Codec})
	if err != nil {
		return err
	}
	// Fenced: whoever had the number can commit nothing any more, and what they left open is aborted.
	if err := p.Init(taking); err != nil {
		return err
	}
	inc := &incarnation{owner: o, p: p}
	if err := inc.survey(taking); err != nil {
		return err
	}
	if err := inc.admit(working, taking); err != nil {
		return err
	}
	if len(cfg.Inputs) > 0 {
		inc.in = o.s.f.open(inc.committed, 2*cfg.MaxBatchBytes) // reads ahead while the state is loaded
		defer inc.in.close()
	}
	h, err := cfg.New(o.number)
	if err != nil {
		return fmt.Errorf("make handler: %w", err)
	}
	defer h.Close()
	if cfg.StateTopic != "" {
		if err := o.s.c.readState(taking, cfg.StateTopic, o.number, inc.stateNext, h.Load); err != nil {
			return fmt.Errorf("load state: %w", err)
		}
	}
	// Loaded: the handler's memory is that of the last committed transaction.
	o.loaded.Store(true)
	o.s.c.metrics.handover.WithLabelValues(cfg.Name).Observe(time.Since(began).Seconds())
	o.log.Info("number loaded", "elapsed", time.Since(began))
	if len(cfg.Inputs) == 0 {
		if f, ok := h.(Feeder); ok {
			return inc.feed(taking, working, f)
		}
	} else if p, ok := h.(Processor); ok {
		return inc.process(taking, working, p)
	}
	return fmt.Errorf("handler of type %T: want a Processor for a stage with inputs, a Feeder for one without", h)
}

// survey finds out where the number stands: the positions of the last transaction that was committed, and the end of the state. It believes only those who
// have just shown by a write that they are not replaced.
func (o *incarnation) survey(ctx context.Context) error {
	session, err := o.s.m.current(ctx)
	if err != nil {
		return err
	}
	parts := make([]topicPartition, len(o.s.topics))
	offsets := make([]Offset, len(parts))
	for i, t := range o.s.topics {
		parts[i] = topicPartition{t, o.number}
		offsets[i] = Offset{Topic: t, Partition: o.number}
	}
	var recs []Record
	if o.s.cfg.StateTopic != "" {
		recs = o.withState(nil, []Record{{Key: []byte("probe")}}) // compacted topics insist on a key
	}
	ends, err := o.p.probe(ctx, recs, session, offsets)
	if err != nil {
		return err
	}
	for _, end := range ends {
		o.stateNext = end + 1
	}
	o.committed, err = o.s.c.committedOffsets(ctx, o.p.coordinator, session.Group, parts)
	return err
}
