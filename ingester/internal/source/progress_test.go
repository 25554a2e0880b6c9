package source

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// testStream is a stream of an owner whose clock stands, with a plan or, for a zero progress, without one.
func testStream(t *testing.T, from plan.Progress) *stream {
	t.Helper()
	o := testOwner(t, func(c *Config) { c.Now = func() time.Time { return noon } })
	tn := &tenant{Tenant: &Tenant{ID: testTenant, Feed: testFeed(t)}, o: o, recheck: make(chan struct{}, 1)}
	st := &stream{
		o: o, t: tn, id: string(testTenant) + "/general", ct: audit.General, nudge: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
		open: make(map[checkpoint.Hash]*blob), enabled: make(chan struct{}), status: newStatus(o.s, testTenant, "general", noon),
	}
	if !from.Cursor.IsZero() {
		st.plan = plan.New(o.s.cfg.Plan, from, noon)
	}
	o.adopt(st)
	return st
}

// commit commits the units and says what the checkpoint of the stream is then, and which gaps went to the ledger.
func (st *stream) commit(t *testing.T, units ...*unit) (checkpoint.State, []wire.Gap) {
	t.Helper()
	res, _, err := st.o.result(t.Context(), units)
	if err != nil {
		t.Fatal(err)
	}
	var gaps []wire.Gap
	for _, r := range res.Follow(nil) {
		var e wire.LedgerEntry
		if json.Unmarshal(r.Value, &e) == nil && r.Topic == st.o.s.cfg.Names.Ledger() && e.Gap != nil {
			gaps = append(gaps, *e.Gap)
		}
	}
	res.Change.Merge()
	return st.o.book.State(st.id), gaps
}

// TestGapIsOwedUntilItIsOnTheLedger: a gap that the plan has found waits behind other units. A crash between their transactions and its own must
// find it again.
func TestGapIsOwedUntilItIsOnTheLedger(t *testing.T) {
	t.Parallel()
	cursor := noon.Add(-9 * 24 * time.Hour)
	st := testStream(t, plan.Progress{Cursor: cursor})
	earlier := &unit{stream: st.id}
	for range 2 {
		if job, ok, _ := st.plan.Next(noon); ok {
			st.plan.Listed(job, 0, noon)
		}
	}
	for _, g := range st.plan.Gaps() {
		st.offerGap(g)
	}
	if len(st.o.ready) != 1 {
		t.Fatalf("%d units", len(st.o.ready))
	}
	state, gaps := st.commit(t, earlier)
	heir := plan.New(plan.Config{}, progressOf(state), noon)
	_, _, _ = heir.Next(noon)
	_, _, _ = heir.Next(noon)
	want := plan.Window{Start: cursor, End: noon.Add(-7 * 24 * time.Hour)}
	if again := heir.Gaps(); len(gaps) != 0 || len(again) != 1 || again[0] != want {
		t.Errorf("before its transaction: on the ledger %v, found again %v, want %v", gaps, again, want)
	}
	state, gaps = st.commit(t, st.o.ready...)
	if owed := progressOf(state).Owed; len(gaps) != 1 || !gaps[0].Start.Equal(cursor) || len(owed) == 0 || owed[0].Start.Before(want.End) {
		t.Errorf("after its transaction: on the ledger %+v, owed %v", gaps, owed)
	}
	if len(st.unnamed) != 0 {
		t.Errorf("still to be named: %v", st.unnamed)
	}
}

// TestOpenBlobsAreOwed: what a transaction carries is done with it, what is listed and not in it is owed, and nothing else.
func TestOpenBlobsAreOwed(t *testing.T) {
	t.Parallel()
	st := testStream(t, plan.Progress{Cursor: noon})
	for id, age := range map[string]time.Duration{"a": 5 * time.Hour, "b": 3 * time.Hour, "c": time.Hour} {
		h := checkpoint.HashOf(id)
		st.open[h] = &blob{Blob: audit.Blob{ContentID: id, Created: noon.Add(-age)}, hash: h}
	}
	b := st.open[checkpoint.HashOf("b")]
	state := st.durable(map[checkpoint.Hash]bool{b.hash: true}, nil)
	at := progressOf(state)
	if len(at.Owed) != 2 || !at.Owed[0].Start.Equal(noon.Add(-5*time.Hour)) || at.Owed[0].End.Sub(at.Owed[0].Start) != time.Millisecond ||
		!at.Owed[1].Start.Equal(noon.Add(-time.Hour)) || !at.Done().Equal(state.Resume) || !at.Cursor.Equal(noon) {
		t.Errorf("progress %+v of %+v", at, state)
	}
}

// TestGapsAreJoinedOverNothing: two gaps are one if no blob was had between them.
func TestGapsAreJoinedOverNothing(t *testing.T) {
	t.Parallel()
	st := testStream(t, plan.Progress{Cursor: noon})
	at := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	c := st.o.book.Begin()
	c.Done(st.id, checkpoint.HashOf("x"), at(-50))
	c.Done(st.id, checkpoint.HashOf("y"), at(-10))
	c.Merge()
	gaps := []plan.Window{{Start: at(-60), End: at(-58)}, {Start: at(-55), End: at(-54)}, {Start: at(-40), End: at(-30)}, {Start: at(-29), End: at(-11)}}
	got := st.joined(gaps)
	want := []plan.Window{{Start: at(-60), End: at(-54)}, {Start: at(-40), End: at(-11)}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want:\n%s", diff)
	}
}

// TestProgressOfOlderVersions: a checkpoint that says only where to resume owes all from there on, as does one whose ranges are not understood.
func TestProgressOfOlderVersions(t *testing.T) {
	t.Parallel()
	resume := noon.Add(-2 * time.Hour)
	for _, s := range []checkpoint.State{{Cursor: noon, Resume: resume}, {Cursor: noon, Resume: resume, Owed: "?"}, {Cursor: noon, Resume: resume, Again: "?"}} {
		if at := progressOf(s); len(at.Owed) != 1 || at.Owed[0] != (plan.Window{Start: resume, End: noon}) {
			t.Errorf("%+v: %+v", s, at)
		}
	}
	for _, s := range []checkpoint.State{{}, {Cursor: noon}, {Cursor: noon, Resume: noon}} {
		if at := progressOf(s); len(at.Owed) != 0 {
			t.Errorf("%+v: %+v", s, at)
		}
	}
}

// TestSubscriptionThatWasOff: a gap record names the time since when the stream was done, also when a crash comes between the start request and
// its record, and not twice.
func TestSubscriptionThatWasOff(t *testing.T) {
	t.Parallel()
	started, last := noon.Add(-time.Hour), noon.Add(-26*time.Hour)
	st := testStream(t, plan.Progress{})
	st.state = checkpoint.State{Cursor: last, Resume: last, Begun: last, Started: started, Off: last, History: last}
	st.backOn(st.startedBy())
	st.backOn(st.startedBy())
	if len(st.o.ready) != 1 {
		t.Fatalf("%d units", len(st.o.ready))
	}
	state, gaps := st.commit(t, &unit{stream: st.id})
	if !state.Off.Equal(last) || len(gaps) != 0 {
		t.Errorf("before its transaction: %+v, %v", state, gaps)
	}
	state, gaps = st.commit(t, st.o.ready...)
	if !state.Off.IsZero() || !state.Started.Equal(started) || len(gaps) != 1 || gaps[0].Reason != wire.GapSubscriptionOff ||
		!gaps[0].Start.Equal(last) || !gaps[0].End.Equal(started.Add(time.Minute)) {
		t.Errorf("after its transaction: %+v, %+v", state, gaps)
	}
	if st.state.Off != state.Off || !st.off.End.IsZero() {
		t.Errorf("still off: %+v", st.state)
	}
}

// TestHistoryIsJudgedLate: a new subscription may show nothing for 12 hours and then what is a day older than itself. Only then is it said what it
// does not have, once, and before that it is listed once more.
func TestHistoryIsJudgedLate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		started time.Duration // ago
		done    time.Duration // ago, of a committed blob; 0 = none
		gap     time.Duration // of its end, before the start request
	}{
		{"early", 12 * time.Hour, 20 * time.Hour, -1},
		{"nothing came", 14 * time.Hour, 0, 0},
		{"some of the past came", 14 * time.Hour, 30 * time.Hour, 16 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := testStream(t, plan.Progress{Cursor: noon})
			started := noon.Add(-tt.started)
			st.state.Started, st.state.Begun = started, started
			if tt.done > 0 {
				c := st.o.book.Begin()
				c.Done(st.id, checkpoint.HashOf("x"), noon.Add(-tt.done))
				c.Merge()
			}
			st.listed(noon)
			if st.plan.CaughtUp() != (tt.gap < 0) || len(st.o.ready) > 0 {
				t.Fatalf("caught up: %v, %d units", st.plan.CaughtUp(), len(st.o.ready))
			}
			for !st.plan.CaughtUp() {
				job, ok, _ := st.plan.Next(noon)
				if !ok {
					t.Fatal("no job")
				}
				st.plan.Listed(job, 0, noon)
			}
			st.listed(noon)
			st.listed(noon)
			state, gaps := st.commit(t, st.o.ready...)
			if tt.gap < 0 {
				if len(gaps) > 0 || !state.History.IsZero() {
					t.Errorf("judged: %v, %+v", gaps, state)
				}
				return
			}
			if len(gaps) != 1 || !strings.HasPrefix(gaps[0].Reason, "before") || !gaps[0].End.Equal(started.Add(-tt.gap)) || state.History.IsZero() {
				t.Errorf("%+v, %+v", gaps, state)
			}
		})
	}
}
