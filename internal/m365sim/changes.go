package m365sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/internal/m365sim/tenant"
)

// changeEvery is how often something changes in the directory after the tenant's origin.
const changeEvery = 10 * time.Minute

// directory is what a tenant's directory has become at an instant. It holds only what differs from the tenant's origin and what came
// after it, and follows from the clock alone: so it survives a restart, and any round of a delta query can be answered from it.
type directory struct {
	t        *tenant.Tenant
	users    map[int]*person // by index; those of the origin first, then the others as they came
	groups   map[int]*circle
	apps     []tenant.Application // that came after the origin
	appTimes []int64
	joined   int // users that came after the origin
	founded  int // groups
}

// stamp says when an object came, last changed and whether it is gone, in Unix seconds; zero is the origin.
type stamp struct {
	created, changed int64
	removed          bool
}

// newsSince reports whether a round of a delta query has to tell of the object, and whether as one that is gone. Zero is the first round.
func (s stamp) newsSince(since int64) (tell, gone bool) {
	switch {
	case since == 0:
		return !s.removed, false
	case s.changed <= since:
		return false, false
	}
	return !s.removed || s.created <= since, s.removed
}

type person struct {
	stamp
	user tenant.User
}

type circle struct {
	stamp
	group   tenant.Group
	members map[string]member // by object id of the user
}

type member struct {
	in bool
	at int64 // when that changed
}

// directoryAt works out the changes up to now. Every ten minutes somebody has a new title and somebody joins or leaves a group; now and
// then accounts are switched off or on, people come and go, groups are founded, renamed and removed, and apps are added.
func directoryAt(t *tenant.Tenant, now time.Time) *directory {
	d := &directory{t: t, users: map[int]*person{}, groups: map[int]*circle{}}
	for k := 1; k <= int(now.Sub(t.Config().Origin)/changeEvery); k++ {
		d.change(k, t.Config().Origin.Add(time.Duration(k)*changeEvery))
	}
	return d
}

func (d *directory) change(k int, at time.Time) {
	sec := at.Unix()
	switch {
	case k%9 == 4:
		d.users[d.userCount()] = &person{stamp{sec, sec, false}, d.t.NewUser(d.joined, at)}
		d.joined++
	case k%30 == 5:
		d.found(sec, at)
	case k%30 == 20:
		d.removeGroup(k, sec)
	case k%45 == 17:
		d.apps, d.appTimes = append(d.apps, d.t.NewApplication(len(d.apps))), append(d.appTimes, sec)
	case k%20 == 11:
		if c := d.group(k % d.groupCount()); !c.removed {
			c.changed, c.group.DisplayName = sec, fmt.Sprintf("Renamed %d", k)
		}
	}
	d.changeUser((k*7919+int(d.t.Config().Seed%1000))%d.userCount(), k, sec)
	d.changeMember((k*31)%d.groupCount(), (k*131)%d.userCount(), sec)
}

// changeUser gives a user another title, switches every sixth account off or on, and removes every seventh if it is a guest and every
// fortieth whoever it is.
func (d *directory) changeUser(i, k int, at int64) {
	p := d.user(i)
	if p.removed {
		return
	}
	p.changed, p.user.JobTitle = at, fmt.Sprintf("Associate %d", k)
	if k%6 == 0 {
		p.user.Enabled = !p.user.Enabled
	}
	if p.removed = k%7 == 0 && p.user.Guest || k%40 == 0; !p.removed {
		return
	}
	for g := range d.groupCount() { // who leaves the directory leaves the groups
		if d.groupAt(g).has(p.user.ID) {
			d.setMember(g, p.user.ID, false, at)
		}
	}
}

// changeMember has a user join a group, or leave it if she is in it.
func (d *directory) changeMember(g, u int, at int64) {
	c, p := d.groupAt(g), d.userAt(u)
	if c.removed || p.removed {
		return
	}
	d.setMember(g, p.user.ID, !c.has(p.user.ID), at)
}

func (d *directory) found(sec int64, at time.Time) {
	g := d.groupCount()
	d.groups[g] = &circle{stamp: stamp{sec, sec, false}, group: d.t.NewGroup(d.founded, at), members: map[string]member{}}
	d.founded++
	for i := range 4 {
		if p := d.userAt((g*17 + i*5) % d.userCount()); !p.removed {
			d.setMember(g, p.user.ID, true, sec)
		}
	}
}

// removeGroup removes a group that was founded after the origin, or else one that was there.
func (d *directory) removeGroup(k int, at int64) {
	g := k % len(d.t.Groups())
	if d.founded > 0 && k%60 == 20 {
		g = len(d.t.Groups()) + k%d.founded
	}
	if c := d.group(g); !c.removed {
		c.changed, c.removed = at, true
	}
}

func (d *directory) userCount() int  { return len(d.t.Users()) + d.joined }
func (d *directory) groupCount() int { return len(d.t.Groups()) + d.founded }

// userAt returns a user to read.
func (d *directory) userAt(i int) *person {
	if p := d.users[i]; p != nil {
		return p
	}
	return &person{user: d.t.Users()[i]}
}

// user returns a user to change.
func (d *directory) user(i int) *person {
	p := d.userAt(i)
	d.users[i] = p
	return p
}

// groupAt returns a group to read.
func (d *directory) groupAt(i int) *circle {
	if c := d.groups[i]; c != nil {
		return c
	}
	return &circle{group: d.t.Groups()[i]}
}

// group returns a group to change.
func (d *directory) group(i int) *circle {
	c := d.groupAt(i)
	if d.groups[i] = c; c.members == nil {
		c.members = make(map[string]member, len(c.group.Members))
		for _, id := range c.group.Members {
			c.members[id] = member{in: true}
		}
	}
	return c
}

func (d *directory) setMember(g int, id string, in bool, at int64) {
	c := d.group(g)
	c.members[id], c.changed = member{in, at}, at
}

func (c *circle) has(id string) bool {
	if c.members == nil {
		return slices.Contains(c.group.Members, id)
	}
	return c.members[id].in
}

// memberIDs lists who is in the group, in order.
func (c *circle) memberIDs() []string {
	if c.members == nil {
		return slices.Sorted(slices.Values(c.group.Members))
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.members)), func(id string) bool { return !c.members[id].in })
}
