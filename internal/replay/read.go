package replay

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/pkg/kafkatx"
)

// Source is a cluster that is read from; a *kafkatx.Client is one.
type Source interface {
	Partitions(ctx context.Context, topic string) (int, error)
	// Offsets returns for each partition the first offset that is there and the high watermark.
	Offsets(ctx context.Context, topic string) (first, last []int64, err error)
	// OffsetsAt returns for each partition the offset of the first record that was not written before at.
	OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error)
	// ReadRange passes on the committed records with from <= offset < to, in order.
	ReadRange(ctx context.Context, topic string, partition int32, from, to int64, fn func(kafkatx.Record) error) error
}

// Span is a part of a partition that has to be read.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Stats says what a replay did.
type Stats struct {
	Read    int // records that were looked at
	Matched int // records that were passed on
}

// skew is how far a writer's clock may be behind the clock of the event: a record that happened at 9:00 may carry 8:57 as its arrival.
const skew = 5 * time.Minute

// Plan works out which parts of which partitions can hold wanted records. What is written from now on is not part of them.
func Plan(ctx context.Context, src Source, q Query) ([]Span, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	var spans []Span
	for _, topic := range q.Topics {
		found, err := planTopic(ctx, src, q, topic)
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", topic, err)
		}
		spans = append(spans, found...)
	}
	return spans, nil
}

func planTopic(ctx context.Context, src Source, q Query, topic string) ([]Span, error) {
	first, last, err := src.Offsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if !q.From.IsZero() {
		from := q.From
		if q.By == EventTime {
			from = from.Add(-skew)
		}
		at, err := src.OffsetsAt(ctx, topic, from)
		if err != nil {
			return nil, err
		}
		first = at
	}
	// On event time the end stays open: late records of the window may be anywhere behind its beginning.
	if !q.To.IsZero() && q.By == ArrivalTime {
		if last, err = src.OffsetsAt(ctx, topic, q.To); err != nil {
			return nil, err
		}
	}
	var spans []Span
	for p := range last {
		if !q.reads(topic, int32(p), len(last)) || first[p] >= last[p] {
			continue
		}
		spans = append(spans, Span{Topic: topic, Partition: int32(p), From: first[p], To: last[p]})
	}
	return spans, nil
}

// reads tells whether a partition can hold wanted records. On the record topics a key lives in one of them.
func (q Query) reads(topic string, p int32, count int) bool {
	if len(q.Partitions) > 0 && !slices.Contains(q.Partitions, p) {
		return false
	}
	key := q.key()
	return key == "" || !partitionedByKey(topic) || kafkatx.Partition([]byte(key), count) == p
}

// partitionedByKey is true for the topics whose partition numbers follow from record keys.
func partitionedByKey(topic string) bool {
	for _, layer := range [...]string{".raw.", ".events.", ".enriched.", ".deadletter."} {
		if strings.Contains(topic, layer) {
			return true
		}
	}
	return false
}

// ahead is how many records of one partition are read before they are needed.
const ahead = 64

// errEnough ends a replay at its limit.
var errEnough = errors.New("limit reached")

// Read passes the wanted records on, in order of their time as far as partitions keep it: within a partition the order never changes, and
// of the partitions the one with the earliest next record goes first.
func Read(ctx context.Context, src Source, q Query, fn func(kafkatx.Record) error) (Stats, error) {
	spans, err := Plan(ctx, src, q)
	if err != nil {
		return Stats{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	m := &merge{by: q.By}
	var readers sync.WaitGroup
	for _, s := range spans {
		r := &reader{records: make(chan kafkatx.Record, ahead)}
		m.all = append(m.all, r)
		readers.Go(func() {
			defer close(r.records)
			if err := r.run(ctx, src, q, s); err != nil {
				cancel(err)
			}
		})
	}
	passed, err := m.pass(ctx, q.Limit, fn)
	cancel(err)
	readers.Wait()
	stats := Stats{Matched: passed}
	for _, r := range m.all {
		stats.Read += r.read
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return stats, err
}

// reader reads one span.
type reader struct {
	records chan kafkatx.Record // wanted ones; closed at the end
	next    kafkatx.Record      // of the merge
	at      time.Time           // of next
	read    int                 // owned by the reader until records is closed
}

func (r *reader) run(ctx context.Context, src Source, q Query, s Span) error {
	return src.ReadRange(ctx, s.Topic, s.Partition, s.From, s.To, func(rec kafkatx.Record) error {
		r.read++
		if !q.Matches(rec) {
			return nil
		}
		select {
		case r.records <- rec:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// merge is a heap of readers that have a next record.
type merge struct {
	by    Clock
	all   []*reader
	heads []*reader // those that have a next record
}

func (m *merge) pass(ctx context.Context, limit int, fn func(kafkatx.Record) error) (passed int, err error) {
	for _, r := range m.all {
		if m.advance(r) {
			m.heads = append(m.heads, r)
		}
	}
	heap.Init(m)
	for len(m.heads) > 0 {
		if ctx.Err() != nil {
			return passed, context.Cause(ctx)
		}
		r := m.heads[0]
		if err := fn(r.next); err != nil {
			return passed, err
		}
		if passed++; passed == limit {
			return passed, errEnough
		}
		if m.advance(r) {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
	}
	return passed, context.Cause(ctx) // a reader that failed ended like one that is done
}

func (m *merge) advance(r *reader) bool {
	rec, ok := <-r.records
	if ok {
		r.next, r.at = rec, TimeOf(rec, m.by)
	}
	return ok
}

// Len is for package heap.
func (m *merge) Len() int { return len(m.heads) }

// Less is for package heap. Equal times go by topic and partition, so that a replay of the same records has one order.
func (m *merge) Less(i, k int) bool {
	a, b := m.heads[i], m.heads[k]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	if a.next.Topic != b.next.Topic {
		return a.next.Topic < b.next.Topic
	}
	return a.next.Partition < b.next.Partition
}

// Swap is for package heap.
func (m *merge) Swap(i, k int) { m.heads[i], m.heads[k] = m.heads[k], m.heads[i] }

// Push is for package heap.
func (m *merge) Push(x any) {
	if r, ok := x.(*reader); ok {
		m.heads = append(m.heads, r)
	}
}

// Pop is for package heap.
func (m *merge) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}
