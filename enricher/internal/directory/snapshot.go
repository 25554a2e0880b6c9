// Package directory holds what the tenants' directories say about users, groups and applications, as immutable snapshots.
package directory

import (
	"slices"
	"strings"

	"millrace/pkg/audit"
)

// Flag is a boolean that the directory may leave open.
type Flag int8

// The values of a Flag.
const (
	Unknown Flag = iota
	No
	Yes
)

// FlagOf turns an optional boolean into a Flag.
func FlagOf(b *bool) Flag {
	switch {
	case b == nil:
		return Unknown
	case *b:
		return Yes
	default:
		return No
	}
}

// User is a directory user. It is never changed once it was given to a Draft.
type User struct {
	ID                string // object id, lower case
	UserPrincipalName string
	Mail              string
	DisplayName       string
	Department        string
	JobTitle          string
	OfficeLocation    string
	ManagerID         string
	UserType          string // Member or Guest
	Enabled           Flag
	OnPremisesSync    Flag
	Addresses         []string // other addresses, without the smtp: prefix
	Roles             []string // names of directory roles
}

// Group is a group that was imported. It is never changed once it was given to a Draft.
type Group struct {
	ID          string // object id, lower case
	DisplayName string
	Type        string
	Members     []string // object ids, lower case
}

// App is an application's service principal. It is never changed once it was given to a Draft.
type App struct {
	ID          string // object id, lower case
	AppID       string // lower case
	DisplayName string
	Publisher   string
	Verified    string // name of the verified publisher; empty = not verified
}

// claim is one user's right to a name. Several users may claim one name (a mail address of one can be the principal name of
// another); the strongest claim wins, and among equals the smallest object id, whatever the order of arrival.
type claim struct {
	user *User
	rank int // 0 principal name, 1 mail, 2 other address
}

// Tenant is what one tenant's directory said at one moment. It is immutable and safe for concurrent use; a nil Tenant is empty.
type Tenant struct {
	users    shards[*User]    // by object id
	names    shards[[]claim]  // by lower-cased principal name, mail or other address
	groups   shards[*Group]   // by object id
	memberOf shards[[]*Group] // by object id of the member, ordered by the group's id
	apps     shards[*App]     // by application id
	appsByID shards[*App]     // by object id
	domains  map[string]bool  // managed domains, lower case; copied on change
	complete bool
	version  string
}

// Snapshot is the directories of all tenants at one moment. It is immutable and safe for concurrent use.
type Snapshot struct {
	tenants map[audit.TenantID]*Tenant
}

// Tenant is one tenant's directory, nil when nothing is known of it.
func (s *Snapshot) Tenant(id audit.TenantID) *Tenant {
	if s == nil {
		return nil
	}
	return s.tenants[id]
}

// Complete reports whether the directory was read whole at least once.
func (t *Tenant) Complete() bool { return t != nil && t.complete }

// Version names the state: the same version of a tenant's directory holds the same objects.
func (t *Tenant) Version() string {
	if t == nil {
		return ""
	}
	return t.version
}

// maxName bounds the names that can be found; longer ones are no addresses (RFC 5321 allows 254 characters, Entra 320 at most).
const maxName = 320

// UserByName finds a user by principal name, mail or other address, in any letter case. A nil result means that there is none.
func (t *Tenant) UserByName(name []byte) *User {
	if t == nil || len(name) == 0 || len(name) > maxName {
		return nil
	}
	var buf [maxName]byte
	claims, _ := t.names.get(appendLower(buf[:0], name))
	if len(claims) == 0 {
		return nil
	}
	return claims[0].user
}

// UserByID finds a user by object id, in any letter case.
func (t *Tenant) UserByID(id []byte) *User {
	if t == nil || len(id) > maxName {
		return nil
	}
	var buf [maxName]byte
	u, _ := t.users.get(appendLower(buf[:0], id))
	return u
}

// Manager is the user's manager, nil when there is none or it is not known.
func (t *Tenant) Manager(u *User) *User {
	if u.ManagerID == "" {
		return nil
	}
	return t.UserByID([]byte(u.ManagerID))
}

// GroupsOf lists the groups that the user is a direct member of, ordered by object id. A disabled user is a member of none: only
// active users are imported as members.
func (t *Tenant) GroupsOf(u *User) []*Group {
	if t == nil || u.Enabled == No {
		return nil
	}
	var buf [maxName]byte
	groups, _ := t.memberOf.get(append(buf[:0], u.ID...))
	return groups
}

// App finds an application by its application id or, failing that, by the object id of its service principal.
func (t *Tenant) App(id []byte) *App {
	if t == nil || len(id) > maxName {
		return nil
	}
	var buf [maxName]byte
	key := appendLower(buf[:0], id)
	if a, ok := t.apps.get(key); ok {
		return a
	}
	a, _ := t.appsByID.get(key)
	return a
}

// Domains tells whether a domain is one of the tenant's managed domains; known is false when the directory named none.
func (t *Tenant) Domains(domain []byte) (managed, known bool) {
	if t == nil || len(t.domains) == 0 || len(domain) > maxName {
		return false, false
	}
	var buf [maxName]byte
	return t.domains[string(appendLower(buf[:0], domain))], true
}

// appendLower appends name in lower case. Addresses beyond ASCII take the slow way.
func appendLower(dst, name []byte) []byte {
	for _, c := range name {
		if c >= 0x80 {
			return append(dst[:0], strings.ToLower(string(name))...)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func stronger(a, b claim) int {
	if a.rank != b.rank {
		return a.rank - b.rank
	}
	return strings.Compare(a.user.ID, b.user.ID)
}

// namesOf lists the names that a user claims, each once, under its strongest right.
func namesOf(u *User) map[string]int {
	names := make(map[string]int, 2+len(u.Addresses))
	add := func(name string, rank int) {
		name = strings.ToLower(name)
		if name == "" || len(name) > maxName {
			return
		}
		if old, ok := names[name]; !ok || rank < old {
			names[name] = rank
		}
	}
	add(u.UserPrincipalName, 0)
	add(u.Mail, 1)
	for _, a := range u.Addresses {
		add(a, 2)
	}
	return names
}

func insertGroup(list []*Group, g *Group) []*Group {
	i, found := slices.BinarySearchFunc(list, g.ID, func(x *Group, id string) int { return strings.Compare(x.ID, id) })
	out := make([]*Group, 0, len(list)+1) // a new slice: the old one may be in a published snapshot
	out = append(append(out, list[:i]...), g)
	if found {
		i++
	}
	return append(out, list[i:]...)
}
