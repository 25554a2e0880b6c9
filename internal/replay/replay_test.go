package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const tenant = "00000000-aaaa-4000-8000-000000000001"

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// cluster is a Source in memory: topic → partition → records.
type cluster struct {
	topics map[string][][]kafkatx.Record
	fail   error // of ReadRange, at the second record
}

func (c *cluster) Partitions(_ context.Context, topic string) (int, error) {
	return len(c.topics[topic]), nil
}

func (c *cluster) Offsets(_ context.Context, topic string) (first, last []int64, err error) {
	parts, ok := c.topics[topic]
	if !ok {
		return nil, nil, errors.New("no such topic")
	}
	for _, recs := range parts {
		first, last = append(first, 0), append(last, int64(len(recs)))
	}
	return first, last, nil
}

func (c *cluster) OffsetsAt(_ context.Context, topic string, at time.Time) ([]int64, error) {
	var out []int64
	for _, recs := range c.topics[topic] {
		n := int64(0)
		for n < int64(len(recs)) && recs[n].Time.Before(at) {
			n++
		}
		out = append(out, n)
	}
	return out, nil
}

func (c *cluster) ReadRange(_ context.Context, topic string, partition int32, from, to int64, fn func(kafkatx.Record) error) error {
	for i, rec := range c.topics[topic][partition][from:to] {
		if i == 1 && c.fail != nil {
			return c.fail
		}
		if err := fn(rec); err != nil {
			return err
		}
	}
	return nil
}

// newCluster has one topic of three partitions, with a record a minute that arrives ten minutes later; record 10 is an hour late.
func newCluster() *cluster {
	parts := make([][]kafkatx.Record, 3)
	for i := range 60 {
		user := fmt.Sprintf("%s:user%d@example.org", tenant, i%5)
		p := kafkatx.Partition([]byte(user), 3)
		at := start.Add(time.Duration(i) * time.Minute)
		event := at
		if i == 40 {
			event = start.Add(10*time.Minute + time.Second)
		}
		parts[p] = append(parts[p], kafkatx.Record{
			Topic: "m365.enriched.entra.v1", Partition: p, Offset: int64(len(parts[p])), Time: at.Add(10 * time.Minute), Key: []byte(user), Value: fmt.Appendf(nil, `{"n":%d}`, i),
			Headers: []kafkatx.Header{
				{Key: wire.HeaderTime, Value: []byte(event.Format("2006-01-02T15:04:05.000Z"))},
				{Key: wire.HeaderTenant, Value: []byte(tenant)},
				{Key: wire.HeaderSubject, Value: fmt.Appendf(nil, "Op%d", i%2)},
			},
		})
	}
	return &cluster{topics: map[string][][]kafkatx.Record{"m365.enriched.entra.v1": parts}}
}

func numbers(t *testing.T, src Source, q Query) (string, Stats, error) {
	t.Helper()
	if q.Topics == nil {
		q.Topics = []string{"m365.enriched.entra.v1"}
	}
	var got []string
	stats, err := Read(t.Context(), src, q, func(rec kafkatx.Record) error {
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(string(rec.Value), `{"n":`), "}"))
		return nil
	})
	return strings.Join(got, " "), stats, err
}

func TestRead(t *testing.T) {
	t.Parallel()
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	tests := []struct {
		name string
		q    Query
		want string
	}{
		{"by event, a late one among them, in its partition's order", Query{From: minute(9), To: minute(13)}, "9 10 11 12 40"},
		{"by arrival", Query{From: minute(9), To: minute(13), By: ArrivalTime}, "0 1 2"},
		{"limit", Query{From: minute(20), Limit: 3}, "20 21 22"},
		{"one user", Query{Tenant: tenant, User: "USER3@example.org", To: minute(20)}, "3 8 13 18"},
		{"one user of any tenant", Query{User: "user3@example.org", To: minute(20)}, "3 8 13 18"},
		{"a key", Query{Key: tenant + ":user4@example.org", From: minute(50)}, "54 59"},
		{"another tenant", Query{Tenant: "00000000-aaaa-4000-8000-000000000002"}, ""},
		{"headers", Query{Headers: map[string]string{wire.HeaderSubject: "Op1"}, To: minute(6)}, "1 3 5"},
		{"nothing after the end", Query{From: minute(500)}, ""},
	}
	for _, tt := range tests {
		got, stats, err := numbers(t, newCluster(), tt.q)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, got, err, tt.want)
		}
		if n := len(strings.Fields(tt.want)); stats.Matched != n || stats.Read < n {
			t.Errorf("%s: stats %+v", tt.name, stats)
		}
	}
	all, stats, err := numbers(t, newCluster(), Query{})
	if err != nil || len(strings.Fields(all)) != 60 || stats.Read != 60 {
		t.Errorf("all: %s, %+v, %v", all, stats, err)
	}
	if again, _, _ := numbers(t, newCluster(), Query{}); again != all {
		t.Error("another order the second time")
	}
	one, stats, err := numbers(t, newCluster(), Query{Tenant: tenant, User: "user3@example.org"})
	if err != nil || stats.Read >= 60 || len(strings.Fields(one)) != 12 {
		t.Errorf("a user's partition is enough: %s, %+v, %v", one, stats, err)
	}
	if none, stats, err := numbers(t, newCluster(), Query{Partitions: []int32{7}}); err != nil || none != "" || stats.Read != 0 {
		t.Errorf("a partition that is not there: %s, %v", none, err)
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	src := newCluster()
	src.fail = broken
	if _, _, err := numbers(t, src, Query{}); !errors.Is(err, broken) {
		t.Errorf("err = %v, want the cause", err)
	}
	if _, _, err := numbers(t, newCluster(), Query{Topics: []string{"absent"}}); err == nil {
		t.Error("a topic that is not there was read")
	}
	stats, err := Read(t.Context(), newCluster(), Query{Topics: []string{"m365.enriched.entra.v1"}}, func(kafkatx.Record) error { return broken })
	if !errors.Is(err, broken) || stats.Matched != 0 {
		t.Errorf("%+v, %v", stats, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, newCluster(), Query{Topics: []string{"m365.enriched.entra.v1"}}, func(kafkatx.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want that of the context", err)
	}
	for _, q := range []Query{{}, {Topics: []string{"a"}, Limit: -1}, {Topics: []string{"a"}, User: "a", Key: "b"}, {Topics: []string{"a"}, From: start, To: start}} {
		if err := q.Validate(); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Time{
		"2026-03-02T09:00:00Z": start, "2026-03-02T10:00:00+01:00": start, "2026-03-02T09:00": start, "2026-03-02": start.Add(-9 * time.Hour),
		"90s": start.Add(-90 * time.Second), "2h": start.Add(-2 * time.Hour), "7d": start.AddDate(0, 0, -7),
	} {
		if got, err := ParseTime(s, start); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "-2h", "-1d", "d", "99999999999d", "2026-13-01"} {
		if got, err := ParseTime(s, start); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	n := wire.Names{Prefix: "m365"}
	got, err := Topics(n, []string{"enriched.entra", "m365.enriched.entra.v1", "deadletter", "other.topic"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"m365.enriched.entra.v1", "m365.deadletter.general.v1", "m365.deadletter.dlp.v1", "other.topic"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all, err := Topics(n, []string{"raw"}); err != nil || len(all) != len(n.RawAll()) {
		t.Errorf("raw: %v, %v", all, err)
	}
	if _, err := Topics(n, []string{"enriched.extra"}); err == nil {
		t.Error("a slip in a short name was taken for a topic")
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	rec := newCluster().topics["m365.enriched.entra.v1"][0][0]
	rec.Key = []byte("tenant:\x1b]0;owned\x07\u202euser\nsecond line")
	rec.Value = []byte(`{"a":"\u001b","b":` + "\"\x9b\u2028\"}")
	var out bytes.Buffer
	if err := (Text{W: &out, Values: true}).Write(rec); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\x07", "\u202e", "\u2028", "\x9b", "\r"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q could steer a terminal: %q", bad, out.String())
		}
	}
	if first, _, _ := strings.Cut(out.String(), "\n"); !strings.Contains(first, "second line") || !strings.Contains(first, "m365.enriched.entra.v1[0]@0") {
		t.Errorf("first line %q", first)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	rec := kafkatx.Record{Topic: "t", Partition: 1, Offset: 2, Time: start, Key: []byte("k"), Value: []byte("{\n \"a\": \"<&>\"}"), Headers: []kafkatx.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}}
	var out bytes.Buffer
	for _, l := range []Lines{{W: &out}, {W: &out, Envelope: true}} {
		if err := l.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	rec.Value = []byte("no JSON \xff")
	rec.Key = nil
	if err := (Lines{W: &out}).Write(rec); err != nil {
		t.Fatal(err)
	}
	want := `{"a":"<&>"}
{"topic":"t","partition":1,"offset":2,"time":"2026-03-02T09:00:00Z","key":"k","headers":{"h":["1","2"]},"value":{"a":"<&>"}}
{"topic":"t","partition":1,"offset":2,"time":"2026-03-02T09:00:00Z","key":null,"headers":{"h":["1","2"]},"value_base64":"bm8gSlNPTiD/"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// recorder is a Producer that keeps what was committed.
type recorder struct {
	open, committed []kafkatx.Record
	commits, aborts int
	fail            error
}

func (r *recorder) Init(context.Context) error { return nil }

func (r *recorder) Produce(_ context.Context, recs []kafkatx.Record) ([]int64, error) {
	r.open = append(r.open, recs...)
	return make([]int64, len(recs)), r.fail
}

func (r *recorder) Commit(context.Context) error {
	r.committed, r.open = append(r.committed, r.open...), nil
	r.commits++
	return nil
}

func (r *recorder) Abort(ctx context.Context) error {
	r.open = nil
	r.aborts++
	return ctx.Err()
}

func TestCopy(t *testing.T) {
	t.Parallel()
	p := &recorder{}
	c, err := NewCopy(t.Context(), p, "elsewhere", 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*batch + 5 {
		rec := kafkatx.Record{Topic: "from", Partition: int32(i % 3), Offset: int64(i), Key: []byte("k"), Value: []byte("v"), Headers: []kafkatx.Header{{Key: "h", Value: []byte("1")}}}
		if err := c.Write(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Flush(t.Context()), c.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(p.committed) != 2*batch+5 || p.commits != 3 {
		t.Errorf("%d records in %d transactions", len(p.committed), p.commits)
	}
	got := p.committed[4]
	if got.Topic != "elsewhere" || got.Partition != 1 || string(got.Value) != "v" || wire.Header(got, "h") != "1" || wire.Header(got, HeaderOrigin) != "from/1/4" {
		t.Errorf("got %+v", got)
	}
	if p.committed[5].Partition >= 2 {
		t.Errorf("partition %d of 2", p.committed[5].Partition)
	}
	p.fail = errors.New("broken")
	if err := errors.Join(c.Write(t.Context(), got), c.Flush(t.Context())); !errors.Is(err, p.fail) || p.aborts != 1 {
		t.Errorf("err = %v, %d aborts", err, p.aborts)
	}
	if n := (wire.Names{Prefix: "m365"}); !Live(n, "m365.raw.entra.v1") || Live(n, "m365x.raw") || Live(n, "elsewhere") {
		t.Error("which topics are live")
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := func(minutes int) kafkatx.Record {
			return kafkatx.Record{Time: start.Add(time.Duration(minutes) * time.Minute)}
		}
		p := Pace{Speed: 10, By: ArrivalTime}
		begin := time.Now()
		for _, m := range []int{0, 10, 5, 20} {
			if err := p.Wait(t.Context(), rec(m)); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(begin); got != 2*time.Minute {
			t.Errorf("20 minutes at speed 10 took %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx, rec(1000)); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		if err := (&Pace{}).Wait(ctx, rec(1000)); err != nil {
			t.Errorf("without a speed: %v", err)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("k"), []byte(`{"a":1}`))
	f.Add([]byte(nil), []byte("\xff\n"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		rec := kafkatx.Record{Topic: "t", Key: key, Value: value}
		for _, envelope := range []bool{false, true} {
			var out bytes.Buffer
			if err := (Lines{W: &out, Envelope: envelope}).Write(rec); err != nil {
				t.Fatal(err)
			}
			if line, ok := bytes.CutSuffix(out.Bytes(), []byte("\n")); !ok || bytes.ContainsAny(line, "\r\n") || !json.Valid(line) {
				t.Fatalf("no line of JSON: %q", out.Bytes())
			}
		}
		var out bytes.Buffer
		if err := (Text{W: &out, Values: true}).Write(rec); err != nil || strings.ContainsAny(out.String(), "\x1b\r") {
			t.Fatalf("%q, %v", out.String(), err)
		}
	})
}
