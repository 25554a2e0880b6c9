package directory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/pkg/audit"
)

const tenant audit.TenantID = "00000000-aaaa-4000-8000-000000000001"

func objectID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func user(n int, upn string, more ...string) *User {
	return &User{ID: objectID(n), UserPrincipalName: upn, DisplayName: upn, UserType: "Member", Addresses: more}
}

func TestUserLookups(t *testing.T) {
	t.Parallel()
	d := NewDraft()
	ada := user(1, "Ada@Example.org", "ada.l@example.org")
	ada.ManagerID = objectID(2)
	d.SetUser(tenant, "1", ada.ID, ada)
	grace := user(2, "grace@example.org", "ada@example.org") // claims Ada's principal name as an address
	d.SetUser(tenant, "2", grace.ID, grace)
	s := d.Publish().Tenant(tenant)
	for name, want := range map[string]*User{
		"ada@example.org": ada, "ADA@EXAMPLE.ORG": ada, "ada.l@example.org": ada, "grace@example.org": grace,
		"": nil, "nobody@example.org": nil, strings.Repeat("a", 1000) + "@example.org": nil, "ÄDA@example.org": nil,
	} {
		if got := s.UserByName([]byte(name)); got != want {
			t.Errorf("%.40q: got %+v, want %+v", name, got, want)
		}
	}
	if s.UserByID([]byte(strings.ToUpper(ada.ID))) != ada || s.UserByID([]byte("x")) != nil {
		t.Error("lookup by object id")
	}
	if s.Manager(ada) != grace || s.Manager(grace) != nil {
		t.Error("manager")
	}
	if s.Version() != "2" || s.Complete() {
		t.Errorf("version %q, complete %v", s.Version(), s.Complete())
	}

	d.SetUser(tenant, "3", ada.ID, nil)
	if d.Publish().Tenant(tenant).UserByName([]byte("ada@example.org")) != grace {
		t.Error("with Ada gone her name is the other claimant's")
	}
	if s.UserByName([]byte("ada@example.org")) != ada {
		t.Error("a published snapshot changed")
	}
	renamed := user(2, "g.hopper@example.org")
	d.SetUser(tenant, "4", renamed.ID, renamed)
	last := d.Publish().Tenant(tenant)
	if last.UserByName([]byte("grace@example.org")) != nil || last.UserByName([]byte("ada@example.org")) != nil || last.UserByName([]byte("g.hopper@example.org")) != renamed {
		t.Error("a renamed user keeps an old name")
	}
}

func TestNilAndEmpty(t *testing.T) {
	t.Parallel()
	var none *Snapshot
	for _, s := range []*Tenant{none.Tenant(tenant), NewDraft().Publish().Tenant(tenant)} {
		if s.UserByName([]byte("a@b.example")) != nil || s.UserByID([]byte("x")) != nil || s.App([]byte("x")) != nil || s.GroupsOf(&User{}) != nil || s.Complete() || s.Version() != "" {
			t.Error("an unknown tenant must know nothing")
		}
		if managed, known := s.Domains([]byte("example.org")); managed || known {
			t.Error("domains of an unknown tenant")
		}
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	d := NewDraft()
	ada := user(1, "ada@example.org")
	d.SetUser(tenant, "1", ada.ID, ada)
	group := func(n int, members ...string) {
		d.SetGroup(tenant, "2", objectID(n), &Group{ID: objectID(n), DisplayName: fmt.Sprint("group ", n), Members: members})
	}
	list := func(s *Snapshot, u *User) string {
		var names []string
		for _, g := range s.Tenant(tenant).GroupsOf(u) {
			names = append(names, g.DisplayName)
		}
		return strings.Join(names, ",")
	}
	group(12, ada.ID, objectID(7))
	group(11, ada.ID, ada.ID)
	first := d.Publish()
	if got, want := list(first, ada), "group 11,group 12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	group(11)
	group(10, ada.ID)
	second := d.Publish()
	if got, want := list(second, ada), "group 10,group 12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := list(first, ada), "group 11,group 12"; got != want {
		t.Errorf("the older snapshot changed: got %s, want %s", got, want)
	}
	d.SetGroup(tenant, "3", objectID(12), nil)
	if got, want := list(d.Publish(), ada), "group 10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	disabled := *ada
	disabled.Enabled = No
	if got := list(d.Publish(), &disabled); got != "" {
		t.Errorf("a disabled user is a member of %s", got)
	}
}

func TestAppsAndDomains(t *testing.T) {
	t.Parallel()
	d := NewDraft()
	app := &App{ID: objectID(1), AppID: objectID(2), DisplayName: "Mail tool"}
	d.SetApp(tenant, "1", app.ID, app)
	d.SetDomain(tenant, "2", "example.org", true)
	d.SetComplete(tenant, "3", true)
	s := d.Publish().Tenant(tenant)
	if s.App([]byte(app.AppID)) != app || s.App([]byte(app.ID)) != app || s.App([]byte(objectID(3))) != nil {
		t.Error("app lookups")
	}
	if managed, known := s.Domains([]byte("EXAMPLE.org")); !managed || !known {
		t.Error("a managed domain was not found")
	}
	if managed, known := s.Domains([]byte("example.net")); managed || !known {
		t.Error("a foreign domain was found")
	}
	if !s.Complete() {
		t.Error("not complete")
	}
	moved := &App{ID: app.ID, AppID: objectID(4)}
	d.SetApp(tenant, "4", app.ID, moved)
	d.SetDomain(tenant, "5", "example.org", false)
	next := d.Publish().Tenant(tenant)
	if next.App([]byte(objectID(2))) != nil || next.App([]byte(objectID(4))) != moved || s.App([]byte(objectID(2))) != app {
		t.Error("a replaced app")
	}
	if _, known := next.Domains([]byte("example.org")); known {
		t.Error("the last domain is gone, so none is known")
	}
	d.SetApp(tenant, "6", app.ID, nil)
	if d.Publish().Tenant(tenant).App([]byte(objectID(4))) != nil {
		t.Error("a removed app")
	}
}

// TestOrderDoesNotMatter applies the same final objects over different histories: a compacted topic keeps only the last of them.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	const users, names = 30, 20
	final := make([]*User, users)
	rng := rand.New(rand.NewPCG(1, 2))
	name := func() string { return fmt.Sprintf("name%d@example.org", rng.IntN(names)) }
	for i := range final {
		final[i] = user(i, name(), name(), name())
	}
	var want string
	for round := range 20 {
		d := NewDraft()
		for _, i := range rng.Perm(users) {
			if rng.IntN(2) == 0 { // a history that compaction may have removed
				d.SetUser(tenant, "", objectID(i), user(i, name(), name()))
				d.Publish()
			}
		}
		for _, i := range rng.Perm(users) {
			d.SetUser(tenant, "", objectID(i), final[i])
		}
		s := d.Publish().Tenant(tenant)
		var got strings.Builder
		for n := range names {
			if u := s.UserByName(fmt.Appendf(nil, "name%d@example.org", n)); u != nil {
				fmt.Fprintf(&got, "%d=%s ", n, u.ID)
			}
		}
		if round > 0 && got.String() != want {
			t.Fatalf("round %d: got %s, want %s", round, got.String(), want)
		}
		want = got.String()
	}
}

func TestIncomplete(t *testing.T) {
	t.Parallel()
	d := NewDraft()
	d.SetUser(tenant, "1", objectID(1), user(1, "a@example.org"))
	if incomplete, known := d.Incomplete(); len(incomplete) != 1 || known != 1 {
		t.Errorf("got %v of %d", incomplete, known)
	}
	d.SetComplete(tenant, "2", true)
	if incomplete, known := d.Incomplete(); len(incomplete) != 0 || known != 1 {
		t.Errorf("got %v of %d", incomplete, known)
	}
	if a, b := d.Publish(), d.Publish(); a != b {
		t.Error("publishing without a change made a new snapshot")
	}
}

// BenchmarkOneChange is the price of one update to a directory of 100,000 users, published at once.
func BenchmarkOneChange(b *testing.B) {
	d := NewDraft()
	for i := range 100_000 {
		d.SetUser(tenant, "", objectID(i), user(i, fmt.Sprintf("user%d@example.org", i)))
	}
	d.Publish()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = (n + 7919) % 100_000
		d.SetUser(tenant, "", objectID(n), user(n, fmt.Sprintf("user%d@example.org", n)))
		d.Publish()
	}
}

func BenchmarkUserByName(b *testing.B) {
	d := NewDraft()
	for i := range 100_000 {
		d.SetUser(tenant, "", objectID(i), user(i, fmt.Sprintf("user%d@example.org", i)))
	}
	s := d.Publish().Tenant(tenant)
	b.ReportAllocs()
	name := []byte("User77777@example.org")
	for b.Loop() {
		if s.UserByName(name) == nil {
			b.Fatal("not found")
		}
	}
}
