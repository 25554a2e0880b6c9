package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/normalizer/internal/deadletter"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const tenantID = audit.TenantID("11111111-2222-3333-4444-555555555555")

var (
	names = wire.Names{Prefix: "m365"}
	start = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
)

// topics is a fake cluster: for each topic its partitions, with a hole in the offsets where aborted records were.
type topics map[string][][]kafkatx.Record

func (s topics) Offsets(_ context.Context, topic string) (first, last []int64, err error) {
	for _, records := range s[topic] {
		end := int64(10)
		if len(records) > 0 {
			end = records[len(records)-1].Offset + 2
		}
		first, last = append(first, 10), append(last, end)
	}
	return first, last, nil
}

func (s topics) ReadRange(_ context.Context, topic string, partition int32, from, to int64, fn func(kafkatx.Record) error) error {
	for _, r := range s[topic][partition] {
		if r.Offset >= from && r.Offset < to {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// refused are dead letters: of each partition of both topics n of them.
func refused(n int) topics {
	s := topics{}
	for _, dlp := range []bool{false, true} {
		source, domain := audit.SourceSharePoint, audit.DomainAudit
		if dlp {
			source, domain = audit.SourceDLP, audit.DomainDLP
		}
		s[names.DeadLetter(dlp)] = make([][]kafkatx.Record, 2)
		for p := range int32(2) {
			for i := range n {
				body := fmt.Appendf(nil, `{"Id":"%v-%d-%d"}`, dlp, p, i)
				raw := wire.RawRecord(names, 2, audit.Record{Raw: body, Provenance: audit.Provenance{
					Tenant: tenantID, Source: source, Domain: domain, ContentID: "blob", Created: start, Fetched: start,
				}}, audit.Envelope{ID: "x"})
				raw.Partition = p
				reason := wire.ReasonNoTime
				if i%2 == 1 {
					reason = wire.ReasonMappingFailed
				}
				letter := wire.DeadLetter(names, raw, wire.StageNormalizer, reason, "detail")[0]
				letter.Offset, letter.Time = int64(10+3*i), start.Add(time.Duration(i)*time.Hour)
				s[names.DeadLetter(dlp)][p] = append(s[names.DeadLetter(dlp)][p], letter)
			}
		}
	}
	return s
}

func chosen(t *testing.T, src topics, f deadletter.Filter) []string {
	t.Helper()
	var got []string
	err := deadletter.Each(t.Context(), src, names, f, func(l deadletter.Letter) error {
		got = append(got, l.ID.String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFilter(t *testing.T) {
	t.Parallel()
	src := refused(3)
	all := []string{
		"general/0/10", "general/0/13", "general/0/16", "general/1/10", "general/1/13", "general/1/16",
		"dlp/0/10", "dlp/0/13", "dlp/0/16", "dlp/1/10", "dlp/1/13", "dlp/1/16",
	}
	id := func(text string) deadletter.ID {
		id, err := deadletter.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	tests := []struct {
		name   string
		filter deadletter.Filter
		want   []string
	}{
		{"all", deadletter.Filter{}, all},
		{"one topic", deadletter.Filter{Topics: []bool{true}}, all[6:]},
		{"reason", deadletter.Filter{Reasons: []wire.Reason{wire.ReasonMappingFailed, wire.ReasonNoID}, Topics: []bool{false}}, []string{"general/0/13", "general/1/13"}},
		{"since and until", deadletter.Filter{Since: start.Add(time.Hour), Until: start.Add(2 * time.Hour), Topics: []bool{false}}, []string{"general/0/13", "general/1/13"}},
		{"tenant", deadletter.Filter{Tenant: tenantID}, all},
		{"other tenant", deadletter.Filter{Tenant: "22222222-2222-3333-4444-555555555555"}, nil},
		{"other stage", deadletter.Filter{Stage: wire.StageEnricher}, nil},
		{"ids", deadletter.Filter{IDs: []deadletter.ID{id("general/1/16"), id("dlp/0/10"), id("dlp/0/11"), id("dlp/1/999"), id("general/77/0")}}, []string{"general/1/16", "dlp/0/10"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, chosen(t, src, test.filter)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseIDRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "general", "general/1", "other/1/2", "general/-1/2", "general/1/-2", "general/99999999999/2", "general/1/x"} {
		if id, err := deadletter.ParseID(text); err == nil {
			t.Errorf("%q: got %v", text, id)
		}
	}
}

// sink is a fake producer that fails at its n-th call, and checks how it is called.
type sink struct {
	t         *testing.T
	failAt    int
	calls     int
	open      []kafkatx.Record
	committed []kafkatx.Record
}

var errBroken = errors.New("broken")

func (s *sink) step() error {
	s.calls++
	if s.calls == s.failAt {
		return errBroken
	}
	return nil
}

func (s *sink) Init(context.Context) error { return s.step() }

func (s *sink) Produce(_ context.Context, recs []kafkatx.Record) ([]int64, error) {
	if len(s.open) > 0 {
		s.t.Error("a transaction was left open")
	}
	s.open = slices.Clone(recs)
	return nil, s.step()
}

func (s *sink) Commit(context.Context) error {
	if err := s.step(); err != nil {
		return err
	}
	s.committed, s.open = append(s.committed, s.open...), nil
	return nil
}

func (s *sink) Abort(context.Context) error {
	s.open = nil
	return nil
}

// TestRedriveMayFailAnywhere breaks every call of the producer once and does the whole redrive again.
func TestRedriveMayFailAnywhere(t *testing.T) {
	t.Parallel()
	src := refused(700) // 2800 records: three transactions
	for failAt := 1; ; failAt++ {
		out := &sink{t: t, failAt: failAt}
		quiet := func(deadletter.Letter, string) error { return nil }
		counts, err := deadletter.Redrive(t.Context(), src, out, names, deadletter.Filter{}, quiet)
		if err == nil {
			if counts.Redriven != 2800 || failAt != 8 {
				t.Errorf("%+v after %d calls", counts, failAt-1)
			}
			break
		}
		if !errors.Is(err, errBroken) || counts.Redriven != len(out.committed) {
			t.Errorf("call %d: %v, says %d, committed %d", failAt, err, counts.Redriven, len(out.committed))
		}
		if _, err := deadletter.Redrive(t.Context(), src, out, names, deadletter.Filter{}, quiet); err != nil {
			t.Fatal(err)
		}
		values := map[string]bool{}
		for _, r := range out.committed {
			if r.Topic != names.Raw(audit.SourceRedrive) {
				t.Fatalf("on %s", r.Topic)
			}
			values[string(r.Value)] = true
		}
		if len(values) != 2800 {
			t.Errorf("call %d: %d records after the second try", failAt, len(values))
		}
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	n := 0
	counts, err := deadletter.Redrive(t.Context(), refused(2), nil, names, deadletter.Filter{}, func(deadletter.Letter, string) error { n++; return nil })
	if err != nil || counts.Redriven != 8 || n != 8 {
		t.Errorf("%+v %d %v", counts, n, err)
	}
}
