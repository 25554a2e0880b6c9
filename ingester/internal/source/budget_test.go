package source

import (
	"context"
	"testing"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	b := newBudget(2 * spoolMemory) // eight beginnings, one that grows
	var all []*share
	for range 8 {
		s, err := b.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	full, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.begin(full); err == nil {
		t.Error("a ninth one begins")
	}
	once := all[0].grow()
	if twice := all[0].grow(); !once || !twice || all[1].grow() || all[0].held() != spoolMemory {
		t.Errorf("the first one holds %d, the second one %d", all[0].held(), all[1].held())
	}
	all[0].keep(firstShare + 10)
	if all[0].held() != firstShare+10 {
		t.Errorf("kept %d", all[0].held())
	}
	all[0].keep(100)
	if all[0].held() != 100 {
		t.Errorf("kept %d", all[0].held())
	}
	if !all[1].grow() {
		t.Error("no room for the second one though the first one gave it back")
	}
	for _, s := range all {
		s.keep(0)
	}
	if !b.first.TryAcquire(spoolMemory) || !b.more.TryAcquire(spoolMemory) {
		t.Error("not everything was given back")
	}
}
