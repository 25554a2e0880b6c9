package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Sink is a transactional producer: *kafkatx.Producer. Init fences a redrive that is still running elsewhere.
type Sink interface {
	Init(ctx context.Context) error
	Produce(ctx context.Context, recs []kafkatx.Record) ([]int64, error)
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
}

// abortBound is how long an abort may take; after it the broker aborts by itself.
const abortBound = 10 * time.Second

// Bounds of one transaction of a redrive.
const (
	maxTxnRecords = 1000
	maxTxnBytes   = 16 << 20
)

// Counts says what a redrive did.
type Counts struct {
	Redriven int
	Skipped  int // what cannot be redriven
}

// raw is the record for the redrive topic, or why there is none. A dead letter of a later stage stays where it is: its bytes are an
// event, and would be mapped as if they were a record.
func raw(n wire.Names, l Letter) (rec kafkatx.Record, unfit string) {
	if !strings.HasPrefix(l.Origin(), n.Prefix+".raw.") {
		return rec, "it is no raw record; only what was refused on its way to an event can be redriven"
	}
	rec, err := wire.Redrive(n, l.Record)
	if err != nil {
		unfit = err.Error()
	}
	return rec, unfit
}

// Redrive puts the chosen dead letters, bytes unchanged, on the redrive topic. A nil sink tells what would be done, and does nothing.
// report is told of each letter, with the reason if it is skipped, else "".
//
// A redrive that was cut off, or is done twice, does no harm: the normalizer publishes a record once, however often it is
// redriven. So nothing has to be remembered of it, and after an error the whole of it may be repeated.
func Redrive(ctx context.Context, src Source, sink Sink, n wire.Names, f Filter, report func(l Letter, skipped string) error) (Counts, error) {
	var done Counts
	if sink != nil {
		err := sink.Init(ctx)
		if errors.Is(err, kafkatx.ErrFenced) {
			err = errSuperseded
		}
		if err != nil {
			return done, fmt.Errorf("redrive: %w", err)
		}
	}
	var batch []kafkatx.Record
	size := 0
	flush := func() error {
		if sink == nil || len(batch) == 0 {
			done.Redriven += len(batch)
			batch, size = batch[:0], 0
			return nil
		}
		if err := transact(ctx, sink, batch); err != nil {
			return err
		}
		done.Redriven += len(batch)
		batch, size = batch[:0], 0
		return nil
	}
	err := Each(ctx, src, n, f, func(l Letter) error {
		rec, unfit := raw(n, l)
		if err := report(l, unfit); err != nil {
			return err
		}
		if unfit != "" {
			done.Skipped++
			return nil
		}
		if len(batch) >= maxTxnRecords || size+len(rec.Value) > maxTxnBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, rec), size+len(rec.Value)
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return done, fmt.Errorf("redrive: %w: %d records were redriven; the same command may be given again", err, done.Redriven)
	}
	return done, nil
}

// errSuperseded says what a fence means here.
var errSuperseded = errors.New("another redrive was started and ended this one")

func transact(ctx context.Context, sink Sink, batch []kafkatx.Record) error {
	_, err := sink.Produce(ctx, batch)
	if err == nil {
		err = sink.Commit(ctx)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafkatx.ErrFenced):
		return errSuperseded
	}
	// What is left open would hold up readers: it is ended even if the command was interrupted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortBound)
	defer cancel()
	if aborted := sink.Abort(ctx); aborted != nil {
		return fmt.Errorf("%w (and the abort: %w)", err, aborted)
	}
	return err
}
