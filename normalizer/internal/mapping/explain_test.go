package mapping

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"millrace/pkg/audit"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	for name, want := range map[string][]string{
		"exchange-inbox-rule": {
			"rule      operations.csv line ", ": *-inboxrule\n", "class     3004 Entity Management\nactivity  1 Create\n",
			"actor.user.name = ana@example.org  ←  UserId\n", "entity.name = example.org/Users/ana\\hide  ←  ObjectId\n", "class_uid = 3004  ←  derived\n",
		},
		"quirk-no-operation": {"rule      recordtypes.csv: 20 PowerBIAudit\n"},
		"unknown-type":       {"rule      neither operation nor record type is known"},
		"entra-add-user":     {"user.name = bo@example.org  ←  ObjectId, Target[3].ID\n"},
	} {
		a := fixtures(t)[name]
		e, err := m.Explain(audit.Record{Raw: a.raw(), Provenance: a.provenance()}, 1)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := e.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%s: no %q in\n%s", name, w, b.String())
			}
		}
	}
	if _, err := m.Explain(recordOf([]byte(`{}`), ""), 1); err == nil {
		t.Error("a refused record was explained")
	}
}

// TestConcurrentUse maps all fixtures with one mapper from several goroutines.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	cases := fixtures(t)
	want := map[string]string{}
	for name, a := range cases {
		if events, err := m.Map(nil, audit.Record{Raw: a.raw(), Provenance: a.provenance()}, 1); err == nil {
			want[name] = string(events[len(events)-1].Value)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for name, a := range cases {
				events, err := m.Map(nil, audit.Record{Raw: a.raw(), Provenance: a.provenance()}, 1)
				if err == nil && string(events[len(events)-1].Value) != want[name] {
					t.Errorf("%s: another event under load", name)
				}
			}
		})
	}
	wg.Wait()
}
