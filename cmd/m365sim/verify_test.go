package main

import (
	"context"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/proof"
)

// TestWhatVerifyWants asserts which records the topics have to hold: those of every tenant that a subscription sees, as fresh ones where
// the tenant lives and they came a moment ago.
func TestWhatVerifyWants(t *testing.T) {
	t.Parallel()
	origin := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	cfg := m365sim.Config{
		Dir: dir, Clock: func() time.Time { return origin }, Speed: 10, AlwaysSubscribed: true,
		Tenants: []tenant.Config{{Seed: 1, Records: 300, LiveRate: 1}, {Seed: 2, Records: 200, LiveRate: -1}},
	}
	s, err := m365sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	folder, err := m365sim.ReadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := folder.At(origin.Add(time.Minute)); !got.Equal(origin.Add(10 * time.Minute)) {
		t.Errorf("a minute later it is %s in the folder, want ten minutes", got)
	}
	var tenants []*tenant.Tenant
	for _, tc := range folder.Tenants {
		tn, err := tenant.New(tc)
		if err != nil {
			t.Fatal(err)
		}
		tenants = append(tenants, tn)
	}
	type count struct{ due, fresh int }
	got := map[string]count{}
	err = has(folder, tenants, origin.Add(10*time.Minute), origin.Add(20*time.Minute))(t.Context(), func(it proof.Item) error {
		c := got[it.Tenant]
		if it.Fresh {
			c.fresh++
		} else {
			c.due++
		}
		got[it.Tenant] = c
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if living := got[tenants[0].ID()]; living.due < 300+400 || living.fresh < 400 {
		t.Errorf("the living tenant has to have %+v", living)
	}
	if ended := got[tenants[1].ID()]; ended.due < 200 || ended.fresh != 0 {
		t.Errorf("the ended tenant has to have %+v", ended)
	}
	if folder.Serves(tenants[0].ID(), tenant.General, origin.Add(-8*24*time.Hour)) || folder.Serves("nobody", tenant.General, origin) {
		t.Error("content that no subscription sees is wanted")
	}
}
