package tenant

import (
	"fmt"
	"strings"
	"time"
)

// NewUser invents the n-th person to join after Origin, who is not part of Users and leaves no records.
func (t *Tenant) NewUser(n int, at time.Time) User {
	r := rng(hash(t.cfg.Seed, saltNewcomer, uint64(n)))
	u := t.newUser(&r, len(t.users)+n)
	u.Created, u.Enabled, u.ManagerID = at, true, ""
	if !u.Guest && !u.Service {
		u.ManagerID = t.users[r.n(3)].ID
	}
	return u
}

// NewGroup invents the n-th group to be made after Origin. It has no members yet.
func (t *Tenant) NewGroup(n int, at time.Time) Group {
	r := rng(hash(t.cfg.Seed, saltNewcomer, 1, uint64(n)))
	g := Group{ID: newGUID(t.cfg.Seed, saltNewcomer, 1, uint64(n)).String(), DisplayName: pick(&r, depts) + fmt.Sprintf(" Initiative %d", n), Unified: n%2 == 0, Security: n%2 == 1, Created: at}
	g.Description = "People of " + g.DisplayName
	if g.Unified {
		g.Mail = fmt.Sprintf("initiative%d@%s", n, t.domains[1])
	}
	return g
}

// NewApplication invents the n-th service principal to be added after Origin.
func (t *Tenant) NewApplication(n int) Application {
	r := rng(hash(t.cfg.Seed, saltNewcomer, 2, uint64(n)))
	name := pick(&r, []string{"Inkwell", "Switchback", "Harbourmaster", "Cartwheel", "Longshore"}) + fmt.Sprintf(" %d", n)
	return Application{
		AppID: newGUID(t.cfg.Seed, saltNewcomer, 2, uint64(n)).String(), ObjectID: newGUID(t.cfg.Seed, saltNewcomer, 3, uint64(n)).String(),
		Name: name, Publisher: strings.Fields(name)[0] + " Ltd.", Verified: n%2 == 0,
	}
}
