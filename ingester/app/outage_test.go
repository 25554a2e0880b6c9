package app

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/pkg/wire"
)

// TestOutageInABackfill stops the ingester for nine days when it has carried a part of its first week. The gap records cover exactly what was
// lost: every record that did not come lies in one, and none that came, but for those of a window whose listing had not come to its end.
func TestOutageInABackfill(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w := newWorld(t, 1500, func(c *m365sim.Config) {
		c.Clock, c.Tenants[0].LiveRate, c.Tenants[0].ExpireAfter = now, 0.005, 0
	})
	w.cfg.Tenants[0].Components = []string{componentActivities}
	w.cfg.Tenants[0].Fetches = 1
	w.cfg.Tenants[0].RequestsPerMinute = 3000 // or it would be through before it can be stopped
	raw, ledger := w.read(w.rawTopics()...), w.read(w.cfg.Kafka.Names().Ledger())
	week := w.expected(time.Time{})
	w.run(func() bool { return raw.count() >= len(week)/4 })
	down := now()
	ahead.Add(int64(9 * 24 * time.Hour))
	w.cfg.Tenants[0].RequestsPerMinute = 1_000_000
	up := now()
	kept := up.Add(-7 * 24 * time.Hour)
	living := w.living(up)
	must, lost := map[string][32]byte{}, map[string]alive{}
	before := had(raw)
	for id, b := range living {
		switch {
		case b.created.After(kept.Add(time.Minute)):
			must[id] = b.sha
		case !before[id]:
			lost[id] = b
		}
	}
	if len(before) == 0 || len(lost) == 0 {
		t.Fatalf("%d records before the outage, %d lost: there is nothing to see", len(before), len(lost))
	}
	w.run(func() bool {
		got := had(raw)
		for id := range must {
			if !got[id] {
				return false
			}
		}
		return true
	})
	w.verify(raw, must, w.expected(up.Add(48*time.Hour)))
	named := w.namedGaps(ledger)
	got := had(raw)
	for id, b := range lost {
		late := b.visible.After(down) && b.created.Before(down)
		if !got[id] && !late && b.created.Before(kept.Add(-time.Minute)) && !within(named[b.contentType], b.created) {
			t.Errorf("%s, %s of %s, did not come and is in no gap record", b.contentType, id, b.created)
		}
	}
	first, last := map[string]time.Time{}, map[string]time.Time{}
	for id, b := range living {
		if !got[id] || !within(named[b.contentType], b.created) {
			continue
		}
		if at, known := first[b.contentType]; !known || b.created.Before(at) {
			first[b.contentType] = b.created
		}
		if b.created.After(last[b.contentType]) {
			last[b.contentType] = b.created
		}
	}
	for ct, at := range first {
		if last[ct].Sub(at) > 23*time.Hour {
			t.Errorf("%s: what came of %s to %s is in gap records %v", ct, at, last[ct], named[ct])
		}
	}
	t.Logf("%d of %d records before the outage, %d lost in gaps %v", len(before), len(week), len(lost), named)
}

// had are the records that are on raw topics.
func had(raw *topic) map[string]bool {
	out := map[string]bool{}
	for _, r := range raw.all() {
		out[header(r, wire.HeaderID)] = true
	}
	return out
}

// namedGaps are the gap records of each content type.
func (w *world) namedGaps(ledger *topic) map[string][]wire.Gap {
	w.t.Helper()
	out := map[string][]wire.Gap{}
	for _, r := range ledger.all() {
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Gap != nil {
			out[e.ContentType] = append(out[e.ContentType], *e.Gap)
		}
	}
	return out
}

func within(gaps []wire.Gap, at time.Time) bool {
	for _, g := range gaps {
		if !at.Before(g.Start) && at.Before(g.End) {
			return true
		}
	}
	return false
}
