package source

import (
	"context"
	"testing"
	"time"

	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
)

// testFeed is a client that is not called.
func testFeed(t *testing.T) *m365.Client {
	t.Helper()
	c, err := m365.New(m365.Config{Tenant: testTenant, API: "https://manage.example.org", Bearer: func(context.Context, string) (string, error) { return "", nil }, Bucket: m365.NewBucket(0)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHint: it makes the live listing of its content type due, no more often than an active one is polled, and of no other.
func TestHint(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	o := testOwner(t, func(c *Config) { c.Now = func() time.Time { return now }; c.Plan.Fastest = 2 * time.Second })
	tn := &tenant{Tenant: &Tenant{ID: testTenant, Feed: testFeed(t)}, o: o}
	st := &stream{o: o, t: tn, id: string(testTenant) + "/general", ct: audit.General, nudge: make(chan struct{}, 1), status: newStatus(o.s, testTenant, "general", now)}
	st.plan = plan.New(o.s.cfg.Plan, plan.Progress{Cursor: now}, now)
	job, ok, _ := st.plan.Next(now)
	if !ok || job.Kind != plan.Live {
		t.Fatalf("job %v", job)
	}
	st.plan.Listed(job, 0, now)
	o.adopt(st)
	live := func() bool {
		job, ok, _ := st.plan.Next(now)
		if ok {
			st.plan.Listed(job, 0, now)
		}
		return ok && job.Kind == plan.Live
	}
	if live() {
		t.Fatal("a live listing is due at once")
	}
	o.s.Hint(testTenant, audit.Exchange)
	o.s.Hint("99999999-2222-3333-4444-555555555555", audit.General)
	if live() || len(st.nudge) != 0 {
		t.Error("a hint for another stream made this one list")
	}
	o.s.Hint(testTenant, audit.General)
	if len(st.nudge) != 1 || !live() {
		t.Error("a hint did not make it list")
	}
	for range 100 {
		o.s.Hint(testTenant, audit.General)
	}
	if live() {
		t.Error("hints made it list more often than an active content type is polled")
	}
}
