//go:build long

package app

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
)

// TestBackfillUnderTheQuota carries the week of a large tenant for some minutes at the pace that the service allows, while the tenant lives on. By
// the simulator's books nearly all of the quota is used, hardly a request is refused, and what is new is fetched within a poll interval.
func TestBackfillUnderTheQuota(t *testing.T) {
	const warmUp, measured, interval, fetch = time.Minute, 3 * time.Minute, 5 * time.Second, time.Second
	dir := t.TempDir()
	w := newWorld(t, 0, func(c *m365sim.Config) {
		c.Dir, c.Quota, c.PageSize, c.Tenants = dir, m365sim.DefaultQuota, m365sim.DefaultPageSize, []tenant.Config{{Seed: 7, Size: tenant.Large}}
	})
	w.cfg.Limits = DefaultConfig().Limits
	w.cfg.Limits.PollFastest, w.cfg.Limits.PollSlowest = interval, interval
	w.cfg.Tenants[0].RequestsPerMinute = 0
	w.cfg.Tenants[0].Components = []string{componentActivities}
	var began, from, to time.Time
	var before, after m365sim.Ledger
	w.runFor(2*warmUp+measured, func() bool {
		switch now := time.Now(); {
		case began.IsZero():
			began = now
		case from.IsZero() && now.Sub(began) >= warmUp:
			from, before = now, w.sim.Ledger()
		case !from.IsZero() && now.Sub(from) >= measured:
			to, after = now, w.sim.Ledger()
			return true
		}
		return false
	})
	made, refused := spent(after), throttled(after)
	used := float64(made-spent(before)) / (m365sim.DefaultQuota * to.Sub(from).Minutes())
	share := float64(refused) / float64(made)
	left := 0
	for _, c := range after.Tenants[0].Content {
		left += c.Blobs - c.BlobsServed
	}
	listed, served, n := lateness(t, w, filepath.Join(dir, "journal.ndjson"), from, to)
	t.Logf("%.1f %% of the quota used, %d of %d requests answered AF429 (%.2f %%), %d blobs were new meanwhile, listed %s and served %s late at most; %d blobs are left",
		100*used, refused, made, 100*share, n, listed.Round(time.Millisecond), served.Round(time.Millisecond), left)
	if left < m365sim.DefaultQuota || n == 0 {
		t.Errorf("%d blobs left, %d new: that was no backfill beside live data", left, n)
	}
	if used < 0.95 || share >= 0.01 || listed > interval+fetch || served > interval+fetch {
		t.Error("want 95 % used at least, 1 % refused at most, and nothing later than a poll interval and the second that a listing and a fetch may take")
	}
}

// spent counts the requests that the quota counts.
func spent(l m365sim.Ledger) (n int) {
	for operation, answers := range l.Requests {
		for _, k := range answers {
			if operation != "token" && operation != "discovery" {
				n += k
			}
		}
	}
	return n
}

func throttled(l m365sim.Ledger) (n int) {
	for _, answers := range l.Requests {
		for answer, k := range answers {
			if strings.Contains(answer, "429") {
				n += k
			}
		}
	}
	return n
}

// lateness reads in the simulator's journal how long after their creation the blobs of a time were listed and served at the latest.
func lateness(t *testing.T, w *world, journal string, from, to time.Time) (listed, served time.Duration, n int) {
	t.Helper()
	visible := map[string]time.Time{}
	for _, st := range w.sim.Tenants() {
		for _, ct := range tenant.ContentTypes() {
			for d := range st.Each(ct, from.Add(-time.Hour), to, to) {
				// Blobs that surface behind their creation are the sweep's, which is not held to the interval.
				if d.Visible.Equal(d.Created) && d.Visible.After(from) && d.Visible.Before(to.Add(-10*time.Second)) {
					visible[d.ContentID] = d.Visible
				}
			}
		}
	}
	f, err := os.Open(journal)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e struct {
			Kind, ContentID string
			At              time.Time
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil || visible[e.ContentID].IsZero() {
			continue
		}
		switch late := e.At.Sub(visible[e.ContentID]); e.Kind {
		case "listed":
			listed = max(listed, late)
		case "served":
			done++
			served = max(served, late)
		}
	}
	if done < len(visible) {
		t.Errorf("%d of %d new blobs were served", done, len(visible))
	}
	return listed, served, len(visible)
}
