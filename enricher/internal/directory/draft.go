package directory

import (
	"maps"
	"slices"

	"millrace/pkg/audit"
)

// Draft is the changing state that snapshots are published from. Its cost is that of the changes: publishing copies a few
// kilobytes for each tenant that changed, and the next change copies the shards that it touches. It is owned by one goroutine.
type Draft struct {
	tenants map[audit.TenantID]*Tenant
	changed map[audit.TenantID]bool
	last    *Snapshot
}

// NewDraft returns an empty draft.
func NewDraft() *Draft {
	return &Draft{
		tenants: make(map[audit.TenantID]*Tenant), changed: make(map[audit.TenantID]bool),
		last: &Snapshot{tenants: map[audit.TenantID]*Tenant{}},
	}
}

// Publish returns the present state as an immutable snapshot. Without changes it is the same one as before.
func (d *Draft) Publish() *Snapshot {
	if len(d.changed) == 0 {
		return d.last
	}
	next := maps.Clone(d.last.tenants)
	for id := range d.changed {
		next[id] = d.tenants[id].publish()
	}
	clear(d.changed)
	d.last = &Snapshot{tenants: next}
	return d.last
}

func (t *Tenant) publish() *Tenant {
	return &Tenant{
		users: t.users.publish(), names: t.names.publish(), groups: t.groups.publish(), memberOf: t.memberOf.publish(),
		apps: t.apps.publish(), appsByID: t.appsByID.publish(),
		domains: t.domains, complete: t.complete, version: t.version,
	}
}

// change returns the tenant's draft, at its new version.
func (d *Draft) change(id audit.TenantID, version string) *Tenant {
	t := d.tenants[id]
	if t == nil {
		t = &Tenant{}
		d.tenants[id] = t
	}
	t.version = version
	d.changed[id] = true
	return t
}

// SetUser adds or replaces a user; nil removes the one of that object id.
func (d *Draft) SetUser(tenant audit.TenantID, version, id string, u *User) {
	t := d.change(tenant, version)
	if old, ok := t.users.get([]byte(id)); ok {
		for name := range namesOf(old) {
			t.release(name, id)
		}
	}
	if u == nil {
		t.users.remove(id)
		return
	}
	t.users.set(id, u)
	for name, rank := range namesOf(u) {
		t.claim(name, claim{user: u, rank: rank})
	}
}

func (t *Tenant) claim(name string, c claim) {
	list, _ := t.names.get([]byte(name))
	list = append(slices.Clone(list), c) // a new slice: the old one may be in a published snapshot
	slices.SortFunc(list, stronger)
	t.names.set(name, list)
}

func (t *Tenant) release(name, id string) {
	list, _ := t.names.get([]byte(name))
	list = slices.DeleteFunc(slices.Clone(list), func(c claim) bool { return c.user.ID == id })
	if len(list) == 0 {
		t.names.remove(name)
		return
	}
	t.names.set(name, list)
}

// SetGroup adds or replaces a group; nil removes the one of that object id.
func (d *Draft) SetGroup(tenant audit.TenantID, version, id string, g *Group) {
	t := d.change(tenant, version)
	if old, ok := t.groups.get([]byte(id)); ok {
		kept := make(map[string]bool)
		if g != nil {
			for _, m := range g.Members {
				kept[m] = true
			}
		}
		for _, m := range old.Members {
			if !kept[m] {
				t.leave(m, id)
			}
		}
	}
	if g == nil {
		t.groups.remove(id)
		return
	}
	t.groups.set(id, g)
	for _, m := range g.Members {
		list, _ := t.memberOf.get([]byte(m))
		t.memberOf.set(m, insertGroup(list, g))
	}
}

func (t *Tenant) leave(member, group string) {
	list, _ := t.memberOf.get([]byte(member))
	list = slices.DeleteFunc(slices.Clone(list), func(g *Group) bool { return g.ID == group })
	if len(list) == 0 {
		t.memberOf.remove(member)
		return
	}
	t.memberOf.set(member, list)
}

// SetApp adds or replaces a service principal; nil removes the one of that object id.
func (d *Draft) SetApp(tenant audit.TenantID, version, id string, a *App) {
	t := d.change(tenant, version)
	if old, ok := t.appsByID.get([]byte(id)); ok {
		if held, _ := t.apps.get([]byte(old.AppID)); held == old {
			t.apps.remove(old.AppID)
		}
	}
	if a == nil {
		t.appsByID.remove(id)
		return
	}
	t.appsByID.set(id, a)
	if a.AppID != "" {
		t.apps.set(a.AppID, a)
	}
}

// SetDomain adds a managed domain (lower case) or takes it away.
func (d *Draft) SetDomain(tenant audit.TenantID, version, domain string, managed bool) {
	t := d.change(tenant, version)
	next := maps.Clone(t.domains)
	if next == nil {
		next = make(map[string]bool)
	}
	if managed {
		next[domain] = true
	} else {
		delete(next, domain)
	}
	t.domains = next
}

// SetComplete notes whether the tenant's directory was read whole.
func (d *Draft) SetComplete(tenant audit.TenantID, version string, complete bool) {
	d.change(tenant, version).complete = complete
}

// Incomplete lists the tenants that are known and were never read whole, in order; known counts all.
func (d *Draft) Incomplete() (incomplete []audit.TenantID, known int) {
	for id, t := range d.tenants {
		if !t.complete {
			incomplete = append(incomplete, id)
		}
	}
	slices.Sort(incomplete)
	return incomplete, len(d.tenants)
}
