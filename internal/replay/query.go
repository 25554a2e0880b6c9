// Package replay reads a window of the pipeline's topics again: onto a terminal, into a file, or to a topic of its own.
package replay

import (
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

// Clock is the time that a window is about.
type Clock int

const (
	// EventTime is when it happened (the ce_time header).
	EventTime Clock = iota
	// ArrivalTime is when the record was written to its topic (Kafka's timestamp).
	ArrivalTime
)

// ParseClock reads a Clock by its name on the command line.
func ParseClock(s string) (Clock, error) {
	switch s {
	case "event":
		return EventTime, nil
	case "arrival":
		return ArrivalTime, nil
	}
	return 0, fmt.Errorf("%q is no clock: use event or arrival", s)
}

// Query says which records to read. Its zero value reads everything that its topics hold.
type Query struct {
	Topics     []string
	Partitions []int32   // empty = all
	From, To   time.Time // [From, To) on the Clock; zero = open
	By         Clock

	Tenant  audit.TenantID
	User    string            // the user's principal name or object id, in any letter case
	Key     string            // the whole record key
	Headers map[string]string // header → exact value
	Limit   int               // stop after so many records; 0 = no limit
}

// Validate names what is wrong.
func (q Query) Validate() error {
	switch {
	case len(q.Topics) == 0:
		return errors.New("no topic to read")
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		return fmt.Errorf("the window from %s to %s is empty", q.From.Format(time.RFC3339), q.To.Format(time.RFC3339))
	case q.Limit < 0:
		return fmt.Errorf("limit %d: use 0 for no limit or a positive number", q.Limit)
	case q.User != "" && q.Key != "":
		return errors.New("give a user or a key, not both")
	}
	return nil
}

// key is the record key that all wanted records have, "" when they may have several.
func (q Query) key() string {
	if q.Key == "" && q.User != "" && q.Tenant != "" {
		return string(q.Tenant) + ":" + strings.ToLower(q.User)
	}
	return q.Key
}

// Matches reports whether a record is wanted.
func (q Query) Matches(rec kafkatx.Record) bool {
	if key := q.key(); key != "" && string(rec.Key) != key {
		return false
	}
	if q.User != "" && !strings.HasSuffix(string(rec.Key), ":"+strings.ToLower(q.User)) {
		return false
	}
	if q.Tenant != "" && wire.Header(rec, wire.HeaderTenant) != string(q.Tenant) {
		return false
	}
	for name, value := range q.Headers {
		if wire.Header(rec, name) != value {
			return false
		}
	}
	at := TimeOf(rec, q.By)
	return (q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To))
}

// TimeOf is a record's time on a clock. A record that does not say when it happened (a dead letter may not) counts by its arrival.
func TimeOf(rec kafkatx.Record, by Clock) time.Time {
	if by == EventTime {
		if t, err := time.Parse(time.RFC3339, wire.Header(rec, wire.HeaderTime)); err == nil {
			return t
		}
	}
	return rec.Time
}

// maxAgo bounds relative times: nothing is kept longer.
const maxAgo = 10 * 365

// ParseTime reads a time: RFC 3339, a date (midnight UTC), or how long ago (90s, 15m, 2h, 7d).
func ParseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= maxAgo {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-03-02T09:00:00Z, 2026-03-02, or how long ago: 90s, 15m, 2h, 7d", s)
}

// Topics resolves what an operator calls topics: a layer (raw, events, enriched, deadletter), one topic of it (enriched.entra), or a
// full name. The result has no repeats.
func Topics(n wire.Names, wanted []string) ([]string, error) {
	layers := map[string][]string{
		"raw": n.RawAll(), "events": n.EventsAll(), "enriched": n.EnrichedAll(),
		"deadletter": {n.DeadLetter(false), n.DeadLetter(true)}, "ledger": {n.Ledger()},
	}
	var out []string
	add := func(topics ...string) {
		for _, t := range topics {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	for _, w := range wanted {
		layer, rest, short := strings.Cut(w, ".")
		all, known := layers[layer]
		full := n.Prefix + "." + layer + "." + rest + ".v1"
		switch {
		case known && !short:
			add(all...)
		case known && slices.Contains(all, full):
			add(full)
		case known:
			return nil, fmt.Errorf("there is no topic %q: %s has %s", w, layer, strings.Join(all, ", "))
		default:
			add(w)
		}
	}
	return out, nil
}
