// Package deadletter finds refused records and puts chosen ones back on their way.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Source reads the dead-letter topics: *kafkatx.Client.
type Source interface {
	// Offsets gives for each partition the first offset and the one behind the last.
	Offsets(ctx context.Context, topic string) (first, last []int64, err error)
	// ReadRange calls fn for each committed record from one offset to the one before another, in order.
	ReadRange(ctx context.Context, topic string, partition int32, from, to int64, fn func(kafkatx.Record) error) error
}

// ID names a dead letter as the commands print and take it: general/3/17 is offset 17 of partition 3.
type ID struct {
	DLP       bool
	Partition int32
	Offset    int64
}

// String is what ParseID reads.
func (id ID) String() string {
	kind := "general"
	if id.DLP {
		kind = "dlp"
	}
	return fmt.Sprintf("%s/%d/%d", kind, id.Partition, id.Offset)
}

// ParseID reads what String writes.
func ParseID(text string) (ID, error) {
	bad := fmt.Errorf("%q is no dead letter: write general/PARTITION/OFFSET or dlp/PARTITION/OFFSET, as the list shows it", text)
	kind, rest, _ := strings.Cut(text, "/")
	partition, offset, found := strings.Cut(rest, "/")
	if !found || kind != "general" && kind != "dlp" {
		return ID{}, bad
	}
	p, err1 := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if err1 != nil || err2 != nil || p < 0 || o < 0 {
		return ID{}, bad
	}
	return ID{kind == "dlp", int32(p), o}, nil
}

// Letter is one dead letter.
type Letter struct {
	ID     ID
	Record kafkatx.Record
}

// The facts about a letter, from its headers.

// Reason says why the record was refused.
func (l Letter) Reason() wire.Reason { return wire.Reason(wire.Header(l.Record, wire.HeaderReason)) }

// Stage says who refused it.
func (l Letter) Stage() string { return wire.Header(l.Record, wire.HeaderStage) }

// Tenant says whose it is.
func (l Letter) Tenant() string { return wire.Header(l.Record, wire.HeaderTenant) }

// Origin is the topic, partition and offset that it was read from, or meant for.
func (l Letter) Origin() string { return wire.Header(l.Record, wire.HeaderOrigin) }

// Filter chooses dead letters; its zero value chooses all of them.
type Filter struct {
	Reasons      []wire.Reason // empty = any
	Stage        string
	Tenant       audit.TenantID
	Since, Until time.Time // of the refusal; zero = unbounded
	Topics       []bool    // which of the topics, by whether they are the DLP one; empty = both
	IDs          []ID      // empty = all
}

// Chosen reports whether a letter passes.
func (f Filter) Chosen(l Letter) bool {
	switch {
	case len(f.Reasons) > 0 && !slices.Contains(f.Reasons, l.Reason()):
	case f.Stage != "" && l.Stage() != f.Stage:
	case f.Tenant != "" && l.Tenant() != string(f.Tenant):
	case !f.Since.IsZero() && l.Record.Time.Before(f.Since):
	case !f.Until.IsZero() && !l.Record.Time.Before(f.Until):
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, l.ID):
	default:
		return true
	}
	return false
}

// ErrStop ends the reading without an error when the function that Each calls returns it.
var ErrStop = errors.New("stop")

// Each calls fn for each chosen dead letter that is there at the time of the call, ordered by topic, partition and offset.
func Each(ctx context.Context, src Source, n wire.Names, f Filter, fn func(Letter) error) error {
	for _, dlp := range []bool{false, true} {
		if len(f.Topics) > 0 && !slices.Contains(f.Topics, dlp) {
			continue
		}
		err := eachOf(ctx, src, n.DeadLetter(dlp), dlp, f, fn)
		if errors.Is(err, ErrStop) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", n.DeadLetter(dlp), err)
		}
	}
	return nil
}

func eachOf(ctx context.Context, src Source, topic string, dlp bool, f Filter, fn func(Letter) error) error {
	first, last, err := src.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	for p := range first {
		from, to := first[p], last[p]
		if len(f.IDs) > 0 {
			from, to = f.span(dlp, int32(p), from, to)
		}
		if from >= to {
			continue
		}
		err := src.ReadRange(ctx, topic, int32(p), from, to, func(r kafkatx.Record) error {
			l := Letter{ID{dlp, r.Partition, r.Offset}, r}
			if !f.Chosen(l) {
				return nil
			}
			return fn(l)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// span narrows a partition's range to the ids that lie on it.
func (f Filter) span(dlp bool, partition int32, from, to int64) (int64, int64) {
	least, most := to, from
	for _, id := range f.IDs {
		if id.DLP == dlp && id.Partition == partition && id.Offset >= from && id.Offset < to {
			least, most = min(least, id.Offset), max(most, id.Offset+1)
		}
	}
	return least, most
}
