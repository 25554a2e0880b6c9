package m365sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/internal/m365sim/tenant"
)

// Folder is what the folder of a simulator says, running or not. Whoever has it knows every record that the simulator can have served.
type Folder struct {
	Tenants []tenant.Config
	clock   anchor
	views   map[typeKey][]subscription
}

// ReadFolder reads the folder of a simulator.
func ReadFolder(dir string) (_ *Folder, err error) {
	f, err := os.Open(filepath.Join(dir, journalName))
	if err != nil {
		return nil, fmt.Errorf("m365sim: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	events, _, err := readEvents(f)
	if err != nil {
		return nil, fmt.Errorf("m365sim: read journal of %s: %w", dir, err)
	}
	out := &Folder{clock: lastAnchor(events), views: map[typeKey][]subscription{}}
	subs := newSubscriptions()
	at := map[string]int{}
	for _, e := range events {
		subs.apply(e)
		if e.Kind != eventOrigin || e.Setup == nil {
			continue
		}
		i, known := at[e.Tenant]
		if !known {
			i = len(out.Tenants)
			at[e.Tenant], out.Tenants = i, append(out.Tenants, tenant.Config{})
		}
		out.Tenants[i] = *e.Setup
	}
	subs.each(func(k subKey, sub subscription) {
		tk := typeKey{k.tenant, k.contentType}
		out.views[tk] = append(out.views[tk], sub)
	})
	return out, nil
}

// At returns the simulated time at an instant of the machine.
func (f *Folder) At(machine time.Time) time.Time { return f.clock.at(machine) }

// Serves reports whether content of a tenant that was made at a time is in the view of a subscription, of whichever app.
func (f *Folder) Serves(tenantID, contentType string, created time.Time) bool {
	for _, sub := range f.views[typeKey{strings.ToLower(tenantID), contentType}] {
		if sub.sees(created) {
			return true
		}
	}
	return false
}
