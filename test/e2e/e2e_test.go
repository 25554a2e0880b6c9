//go:build integration

package e2e

import (
	"bytes"
	"context"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/proof"
	"millrace/normalizer/app"
	"millrace/pkg/wire"
)

// feed is a simulated Microsoft 365 in the test's process, so that it outlives whatever is killed.
type feed struct {
	sim    *m365sim.Server
	tenant *tenant.Tenant
}

func newFeed(t *testing.T, records int, faults ...m365sim.Fault) *feed {
	t.Helper()
	return newFeedOf(t, tenant.Config{Records: records}, faults...)
}

// newFeedOf is newFeed for a tenant with more to say. It has a past only.
func newFeedOf(t *testing.T, cfg tenant.Config, faults ...m365sim.Fault) *feed {
	t.Helper()
	cfg.Seed, cfg.Origin, cfg.LiveRate = 11, time.Now(), -1
	tn, err := tenant.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Origin = tn.Config().Origin
	sim, err := m365sim.New(m365sim.Config{Tenants: []tenant.Config{cfg}, Dir: t.TempDir(), AlwaysSubscribed: true, Quota: -1, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := sim.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return &feed{sim: sim, tenant: tn}
}

// prove compares until nothing is missing any more, or nothing has come for a while, and returns the verdict.
func (f *feed) prove(t *testing.T, brokers []string, prefix string) *proof.Report {
	t.Helper()
	mapper, err := app.NewMap(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proof.Config{Brokers: brokers, Names: wire.Names{Prefix: prefix}, Source: proof.Feed(f.tenant), Map: mapper}
	best, moved := -1, time.Now()
	for {
		r, err := proof.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		missing := r.Total().Missing
		if missing == 0 {
			return r
		}
		if missing != best {
			best, moved = missing, time.Now()
		}
		if time.Since(moved) > 2*time.Minute {
			return r
		}
	}
}

// holds fails the test, with the verdict, if anything is missing, repeated or wrong.
func holds(t *testing.T, r *proof.Report) {
	t.Helper()
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if !r.Holds() {
		t.Error("the proof fails")
	}
}
