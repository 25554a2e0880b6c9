package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/internal/replay"
	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// queryFlags are the filters that all commands share.
type queryFlags struct {
	topics, partitions, from, to, by, tenant, user, key string
	operation, class, id                                string
	headers                                             []string
	limit                                               int
	speed                                               float64
}

func (q *queryFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&q.topics, "topic", "enriched", "what to read, separated by commas: raw, events, enriched, deadletter or ledger, one of them (enriched.entra), or a full `name`")
	fs.StringVar(&q.from, "from", "", "beginning of the window: 2026-03-02T09:00:00Z, 2026-03-02, or how long ago: 15m, 2h, 7d")
	fs.StringVar(&q.to, "to", "", "end of the window, written alike; what happened at this very time is not part of it")
	fs.StringVar(&q.by, "by", "event", "the window's `clock`: event (when it happened) or arrival (when it was written to the topic)")
	fs.StringVar(&q.partitions, "partition", "", "partition `numbers`, separated by commas (default: all)")
	fs.StringVar(&q.tenant, "tenant", "", "only this tenant, by its `id`")
	fs.StringVar(&q.user, "user", "", "only this user, by principal `name` or object id; with -tenant only one partition is read")
	fs.StringVar(&q.key, "key", "", "only records with this whole `key`")
	fs.StringVar(&q.operation, "operation", "", "only this `Operation`, spelled as the vendor does")
	fs.StringVar(&q.class, "class", "", "only this OCSF class, by `uid` (events and enriched topics)")
	fs.StringVar(&q.id, "id", "", "only the record of this vendor `Id`")
	fs.Func("header", "only records with this `name=value` header; may be repeated", func(s string) error {
		q.headers = append(q.headers, s)
		return nil
	})
	fs.IntVar(&q.limit, "limit", 0, "stop after so many records (default: all)")
	fs.Float64Var(&q.speed, "speed", 0, "1 = as fast as it happened, 10 = ten times as fast (default: as fast as possible)")
}

// query turns the flags into a query.
func (q *queryFlags) query(n wire.Names, now time.Time) (replay.Query, error) {
	out := replay.Query{User: q.user, Key: q.key, Limit: q.limit, Headers: map[string]string{}}
	var err error
	if out.Topics, err = replay.Topics(n, split(q.topics)); err != nil {
		return out, service.Usagef("-topic: %w", err)
	}
	if out.By, err = replay.ParseClock(q.by); err != nil {
		return out, service.Usagef("-by: %w", err)
	}
	if q.from != "" {
		if out.From, err = replay.ParseTime(q.from, now); err != nil {
			return out, service.Usagef("-from: %w", err)
		}
	}
	if q.to != "" {
		if out.To, err = replay.ParseTime(q.to, now); err != nil {
			return out, service.Usagef("-to: %w", err)
		}
	}
	for _, s := range split(q.partitions) {
		p, err := strconv.ParseInt(s, 10, 32)
		if err != nil || p < 0 {
			return out, service.Usagef("-partition: %q is no partition number", s)
		}
		out.Partitions = append(out.Partitions, int32(p))
	}
	if q.tenant != "" {
		if out.Tenant, err = audit.ParseTenantID(q.tenant); err != nil {
			return out, service.Usagef("-tenant: %w", err)
		}
	}
	if err := q.headerFilters(out.Headers); err != nil {
		return out, err
	}
	if q.speed < 0 {
		return out, service.Usagef("-speed: %v: use 0 or more", q.speed)
	}
	if err := out.Validate(); err != nil {
		return out, service.UsageError{Err: err}
	}
	return out, nil
}

func (q *queryFlags) headerFilters(into map[string]string) error {
	for _, pair := range q.headers {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return service.Usagef("-header: %q: write name=value", pair)
		}
		into[name] = value
	}
	for name, value := range map[string]string{wire.HeaderSubject: q.operation, wire.HeaderClass: q.class, wire.HeaderRecordID: q.id} {
		if value != "" {
			into[name] = value
		}
	}
	return nil
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// summary is the last line that a command writes for people.
func summary(s replay.Stats, elapsed time.Duration) string {
	return fmt.Sprintf("%d of %d records in %s", s.Matched, s.Read, elapsed.Round(time.Millisecond))
}
