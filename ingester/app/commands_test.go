package app

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/service"
	"millrace/pkg/audit"
)

func TestStatusAndStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 300, func(c *m365sim.Config) { c.NoPremium = true })
	must := w.expected(time.Time{})
	raw := w.read(w.rawTopics()...)
	w.run(func() bool {
		return raw.count() >= len(must) && strings.Count(w.logs.String(), "number loaded") >= 2 && w.sim.Ledger().Requests["graph"]["ok"] > 3
	})
	found, err := readStatus(t.Context(), w.cfg, w.runtime())
	if err != nil || len(found.states) != 6 {
		t.Fatalf("%d components, error %v", len(found.states), err)
	}
	var table, lines bytes.Buffer
	err = found.print(&table, false, time.Now())
	if err != nil || !strings.Contains(table.String(), "directory") || !strings.Contains(table.String(), "exchange since") {
		t.Errorf("%v\n%s", err, table.String())
	}
	found.states[0].State = "ActionRequired"
	if err := found.print(&lines, true, time.Now()); err == nil || strings.Count(lines.String(), "\n") != 7 {
		t.Errorf("error %v\n%s", err, lines.String())
	}
	id := w.cfg.Tenants[0].ID
	if err := stopSubscription(t.Context(), w.cfg, id, audit.General); err != nil {
		t.Error(err)
	}
	if err := stopSubscription(t.Context(), w.cfg, id, audit.General); err == nil || !strings.Contains(err.Error(), "AF20022") {
		t.Errorf("stopped twice: %v", err)
	}
	for _, wrong := range [][2]string{{id, "Audit.Teams"}, {fakeTenant, "Audit.General"}} {
		if err := stopSubscription(t.Context(), w.cfg, wrong[0], audit.ContentType(wrong[1])); err == nil {
			t.Errorf("%v was accepted", wrong)
		}
	}
	paused := w.cfg
	paused.Tenants = []Tenant{{ID: fakeTenant, Paused: true}}
	if err := stopSubscription(t.Context(), paused, fakeTenant, audit.General); err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("of a paused tenant: %v", err)
	}
	var out, errs bytes.Buffer
	args := []string{
		"stop-subscription", "-set", "tenants.0.id=" + fakeTenant, "-set", "tenants.0.client_id=x", "-set", "tenants.0.client_secret=/nowhere",
		"-tenant", id, "-content-type", "Audit.General",
	}
	if code := service.Run(t.Context(), Program(), args, nil, nil, &out, &errs); code != 2 || !strings.Contains(errs.String(), "-yes") {
		t.Errorf("without -yes: exit %d, %s", code, errs.String())
	}
}
