package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// incarnation is what an owner has under one producer epoch.
type incarnation struct {
	*owner
	p         *Producer
	in        *intake
	committed committed // positions in the input topics, or the guard's in the state topic
	stateNext int64     // the next offset of the state partition
	tries     backoff   // of the batch under way
}

// process turns input into output, a batch a transaction, until taking ends.
func (o *incarnation) process(taking, working context.Context, h Processor) error {
	for {
		in, err := o.poll(taking)
		if err != nil {
			return err
		}
		for redo := true; redo; {
			// A pure function, before anything is open: however slow, it holds up no reader.
			var res Result
			if len(in.recs) > 0 {
				if res, err = h.Process(working, in.recs); err != nil {
					return fmt.Errorf("process a batch of %d records: %w", len(in.recs), err)
				}
			}
			if redo, err = o.attempt(taking, working, res, o.positions(in)); err != nil {
				return err
			}
		}
		// Committed: outputs, state and positions, or none of them. Only now is the batch forgotten.
		maps.Copy(o.committed, in.next)
		o.count("in", in.recs)
	}
}

// feed turns what a feeder offers into output until taking ends.
func (o *incarnation) feed(taking, working context.Context, h Feeder) error {
	for {
		res, err := h.Next(taking)
		if taking.Err() != nil {
			if err == nil && res.Change != nil {
				res.Change.Discard()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("next batch: %w", err)
		}
		// Refused or not, the feeder decides what comes next.
		if _, err := o.attempt(taking, working, res, nil); err != nil {
			return err
		}
	}
}

// attempt tries to commit a result once. redo means that nothing of it is visible and never will be, and that it may be tried again. An
// error ends the incarnation. In every case the change has been merged or discarded.
func (o *incarnation) attempt(taking, working context.Context, res Result, offsets []Offset) (redo bool, err error) {
	began := time.Now()
	session, err := o.s.m.current(taking)
	if err == nil {
		err = o.transact(working, res, session, offsets)
	}
	if err == nil {
		if res.Change != nil {
			res.Change.Merge() // now, and only now, it is true
		}
		o.tries = backoff{}
		o.outcome("committed", began)
		o.log.Debug("transaction committed", "elapsed", time.Since(began))
		return false, nil
	}
	if res.Change != nil {
		res.Change.Discard()
	}
	switch {
	case errors.Is(err, ErrUnknownOutcome):
		o.outcome("unknown", began)
		return false, err
	case errors.Is(err, ErrFenced):
		o.outcome("fenced", began)
		return false, err
	}
	o.outcome("aborted", began)
	if abortErr := o.p.Abort(working); abortErr != nil {
		return false, errors.Join(err, abortErr)
	}
	// Aborted: the log is as if nothing had been tried.
	if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrStaleMember) {
		return false, err
	}
	o.log.Info("transaction aborted, trying again", "err", err)
	if errors.Is(err, ErrStaleMember) && o.s.m.confirm(taking) != nil || !o.tries.wait(taking, err) {
		return false, taking.Err()
	}
	return true, nil
}

// transact runs one transaction. After an error nothing of it is visible, unless it is ErrUnknownOutcome.
func (o *incarnation) transact(ctx context.Context, res Result, session GroupSession, offsets []Offset) error {
	recs := res.Outputs
	if res.Follow != nil {
		at, err := o.p.Produce(ctx, recs)
		if err != nil {
			return err
		}
		if slices.Contains(at, -1) {
			return fmt.Errorf("%w: an answer was lost, and with it the offsets of the records", ErrRefused)
		}
		recs = slices.Clone(res.Follow(at))
	}
	recs = o.withState(recs, res.State)
	// With their offsets goes the guard: the group's coordinator refuses those of a member that it has replaced. A feeder's guard is the
	// end of its state before this transaction, which is as good as any position: nobody reads from it.
	if len(o.s.cfg.Inputs) == 0 {
		offsets = []Offset{{Topic: o.s.cfg.StateTopic, Partition: o.number, Next: o.stateNext}}
	}
	at, err := o.p.ProduceAndSend(ctx, recs, session, offsets)
	if err != nil {
		return err
	}
	if err := o.p.Commit(ctx); err != nil {
		return err
	}
	for _, next := range at[len(recs)-len(res.State):] {
		o.stateNext = max(o.stateNext, next+1)
	}
	o.count("out", recs)
	if res.Follow != nil {
		o.count("out", res.Outputs)
	}
	return nil
}

// withState appends state records, addressed to the number's partition of the state topic.
func (o *incarnation) withState(recs, state []Record) []Record {
	if len(state) == 0 {
		return recs
	}
	recs = slices.Grow(slices.Clip(recs), len(state))
	for _, r := range state {
		r.Topic, r.Partition = o.s.cfg.StateTopic, o.number
		recs = append(recs, r)
	}
	return recs
}

// poll waits for input. A batch without records only moves positions over markers and aborted records.
func (o *incarnation) poll(taking context.Context) (bite, error) {
	passed := map[topicPartition]int64{}
	idle := time.NewTimer(idleCommit)
	defer idle.Stop()
	for {
		in, err := o.in.take(o.s.cfg.MaxBatchRecords, o.s.cfg.MaxBatchBytes)
		if err != nil || taking.Err() != nil {
			return in, errors.Join(err, taking.Err())
		}
		maps.Copy(passed, in.next)
		in.next = passed
		if len(in.recs) > 0 {
			return in, nil
		}
		select {
		case <-taking.Done():
			return in, taking.Err()
		case <-o.in.ready:
		case <-idle.C:
			if len(passed) > 0 {
				return in, nil
			}
			idle.Reset(idleCommit)
		}
	}
}

// positions are the offsets that a batch commits.
func (o *incarnation) positions(in bite) []Offset {
	offsets := make([]Offset, 0, len(in.next))
	for tp, next := range in.next {
		offsets = append(offsets, Offset{Topic: tp.topic, Partition: tp.partition, Next: next})
	}
	return offsets
}

func (o *incarnation) outcome(outcome string, began time.Time) {
	o.s.c.metrics.transactions.WithLabelValues(o.s.cfg.Name, outcome).Inc()
	if outcome == "committed" {
		o.s.c.metrics.duration.WithLabelValues(o.s.cfg.Name).Observe(time.Since(began).Seconds())
	}
}

func (o *incarnation) count(direction string, recs []Record) {
	size := 0
	for i := range recs {
		size += recordSize(&recs[i])
	}
	o.s.c.metrics.records.WithLabelValues(o.s.cfg.Name, direction).Add(float64(len(recs)))
	o.s.c.metrics.bytes.WithLabelValues(o.s.cfg.Name, direction).Add(float64(size))
}
