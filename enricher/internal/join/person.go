package join

import (
	"bytes"
	"strconv"

	"millrace/enricher/internal/directory"
	"millrace/pkg/audit"
)

// maxGroups bounds the groups on an event; groups_total says how many there are when some were left out.
const maxGroups = 100

// maxValue bounds the values that an enrichment repeats; nothing longer is looked up.
const maxValue = 1024

// person looks a user up and adds what the directory knows in the attributes that OCSF has for it.
func (j *Joiner) person(p *person, outcome *Outcome) {
	if !p.found || len(p.name)+len(p.uid)+len(p.email) == 0 {
		return
	}
	u, by := j.find(p)
	if u != nil || mayBeUser(p) {
		outcome.note(u != nil, j.tenant.Complete())
	}
	if u != nil {
		j.addUser(p, u)
	}
	j.describe(p, u, by)
}

// mayBeUser is false for the names of systems and services, so that they do not count as missing users.
func mayBeUser(p *person) bool {
	return bytes.IndexByte(p.name, '@') > 0 || len(p.email) > 0
}

// find prefers the object id; a name can be given to another user after the first one is gone. An id that the directory does not
// know is not always an object id (the vendor's UserKey), so the names are still tried.
func (j *Joiner) find(p *person) (u *directory.User, by string) {
	if len(p.uid) == 36 {
		if u = j.tenant.UserByID(p.uid); u != nil {
			return u, "uid"
		}
	}
	if u = j.tenant.UserByName(p.name); u != nil {
		return u, "name"
	}
	if u = j.tenant.UserByName(p.email); u != nil {
		return u, "email_addr"
	}
	return nil, ""
}

// addUser adds members to the event's user object. What is there already is never touched.
func (j *Joiner) addUser(p *person, u *directory.User) {
	from := j.begin()
	m := members{w: &j.added, some: true}
	if !p.has.uid {
		m.str("uid", u.ID)
	}
	if !p.has.displayName {
		m.str("display_name", u.DisplayName)
	}
	if !p.has.account {
		account(m.open("account"), u)
	}
	if !p.has.ldap {
		j.ldap(&m, u)
	}
	if !p.has.groups {
		j.groups(&m, u)
	}
	j.end(from, p.place)
}

func account(a members, u *directory.User) {
	a.str("uid", u.ID)
	a.str("name", u.UserPrincipalName)
	a.int("type_id", 6)
	a.str("type", "Azure AD Account")
	if u.Enabled != directory.Unknown {
		a.bool("is_disabled", u.Enabled == directory.No)
	}
	if u.OnPremisesSync != directory.Unknown {
		a.bool("is_on_premises_sync_enabled", u.OnPremisesSync == directory.Yes)
	}
	if u.UserType != "" {
		a.list("labels", []string{u.UserType})
	}
	a.w.ObjEnd()
}

func (j *Joiner) ldap(m *members, u *directory.User) {
	boss := j.tenant.Manager(u)
	mail := audit.IsAddress(u.Mail)
	if u.Department == "" && u.JobTitle == "" && u.OfficeLocation == "" && boss == nil && !mail {
		return
	}
	l := m.open("ldap_person")
	l.str("department", u.Department)
	l.str("job_title", u.JobTitle)
	l.str("office_location", u.OfficeLocation)
	if mail {
		l.list("email_addrs", []string{u.Mail})
	}
	if boss != nil {
		b := l.open("manager")
		b.str("uid", boss.ID)
		b.str("name", boss.UserPrincipalName)
		b.str("display_name", boss.DisplayName)
		b.w.ObjEnd()
	}
	l.w.ObjEnd()
}

// groups adds the imported groups and, for guests, the built-in group External.
func (j *Joiner) groups(m *members, u *directory.User) {
	n := 0
	begin := func() members {
		if n == 0 {
			m.key("groups")
			m.w.ArrStart()
		} else {
			m.w.Comma()
		}
		n++
		m.w.ObjStart()
		return members{w: m.w}
	}
	for _, g := range j.tenant.GroupsOf(u) {
		if n == maxGroups || !j.imported(g) {
			continue
		}
		o := begin()
		o.str("uid", g.ID)
		o.str("name", g.DisplayName)
		o.str("type", g.Type)
		o.w.ObjEnd()
	}
	if u.UserType == "Guest" {
		o := begin()
		o.str("name", "External")
		o.str("type", "Built-in")
		o.w.ObjEnd()
	}
	if n > 0 {
		m.w.ArrEnd()
	}
}

func (j *Joiner) imported(g *directory.Group) bool {
	return j.lookups.Groups == nil || j.lookups.Groups[g.ID]
}

// describe writes the enrichment of a user: what has no attribute of its own in OCSF.
func (j *Joiner) describe(p *person, u *directory.User, by string) {
	external, sure := j.external(p, u)
	complete := j.tenant.Complete() && mayBeUser(p)
	path, value := p.subject()
	if u == nil && !sure && !complete || len(value) > maxValue {
		return
	}
	j.entry(path, value, "directory", providerDirectory)
	m := members{w: &j.entries}
	if u != nil || complete {
		m.bool("found", u != nil)
	}
	m.str("matched_by", by)
	if sure {
		m.bool("is_external", external)
	}
	if u != nil {
		m.str("user_type", u.UserType)
		m.str("account_status", status(u))
		m.bool("is_admin", len(u.Roles) > 0)
		m.list("roles", u.Roles)
		if total := j.countImported(u); total > maxGroups {
			m.int("groups_total", total)
		}
		suspension(&m, u)
	}
	j.closeEntry()
}

func (p *person) subject() (path string, value []byte) {
	switch {
	case len(p.name) > 0:
		return p.path + ".name", p.name
	case len(p.email) > 0:
		return p.path + ".email_addr", p.email
	default:
		return p.path + ".uid", p.uid
	}
}

func (j *Joiner) countImported(u *directory.User) int {
	n := 0
	for _, g := range j.tenant.GroupsOf(u) {
		if j.imported(g) {
			n++
		}
	}
	return n
}

func status(u *directory.User) string {
	switch u.Enabled {
	case directory.Yes:
		return "active"
	case directory.No:
		return "suspended"
	case directory.Unknown:
	}
	return ""
}

// suspension says whether disabling the account is possible and will last: the next synchronization with an on-premises directory
// takes it back. Disabling an administrator needs a privileged role.
func suspension(m *members, u *directory.User) {
	if u.Enabled == directory.No {
		m.bool("can_suspend", false)
		return
	}
	m.bool("can_suspend", true)
	m.bool("suspension_lasts", u.OnPremisesSync != directory.Yes)
	if len(u.Roles) > 0 {
		m.bool("needs_privileged_role", true)
	}
}

// external decides whether a user is outside the organization; sure is false when nothing tells.
func (j *Joiner) external(p *person, u *directory.User) (external, sure bool) {
	switch {
	case u != nil && u.UserType == "Guest":
		return true, true
	case bytes.Contains(p.name, []byte("#EXT#")) || bytes.HasPrefix(p.name, []byte("urn:spo:guest#")):
		return true, true
	case u != nil && u.UserType == "Member":
		return false, true
	}
	domain := p.domain
	for _, address := range [...][]byte{p.email, p.name} {
		if len(domain) == 0 && audit.IsAddress(string(address)) {
			domain = address[bytes.IndexByte(address, '@')+1:]
		}
	}
	return j.externalDomain(domain)
}

func (j *Joiner) externalDomain(domain []byte) (external, sure bool) {
	if len(domain) == 0 || len(domain) > 255 {
		return false, false
	}
	managed, known := j.tenant.Domains(domain)
	if managed {
		return false, true
	}
	if len(j.lookups.Domains) > 0 {
		var buf [255]byte
		if j.lookups.Domains[string(append(buf[:0], bytes.ToLower(domain)...))] {
			return false, true
		}
		known = true
	}
	return known, known
}

// accessList marks those that something was shared with outside the organization.
func (j *Joiner) accessList(names [][]byte) {
	for i, name := range names {
		if len(name) > maxValue || !audit.IsAddress(string(name)) {
			continue
		}
		u := j.tenant.UserByName(name)
		external, sure := j.external(&person{name: name}, u)
		if !sure || !external {
			continue
		}
		j.entry("access_list["+strconv.Itoa(i)+"]", name, "directory", providerDirectory)
		m := members{w: &j.entries}
		m.bool("is_external", true)
		if u != nil {
			m.str("user_type", u.UserType)
		}
		j.closeEntry()
	}
}

// app describes the application that acted.
func (j *Joiner) app(uid []byte) {
	if len(uid) == 0 || len(uid) > maxValue {
		return
	}
	a := j.tenant.App(uid)
	j.report[App].note(a != nil, j.tenant.Complete())
	if a == nil {
		return
	}
	j.entry("actor.app_uid", uid, "directory", providerDirectory)
	m := members{w: &j.entries}
	m.bool("found", true)
	m.str("app_name", a.DisplayName)
	m.str("publisher", a.Publisher)
	m.bool("is_verified", a.Verified != "")
	m.str("verified_publisher", a.Verified)
	j.closeEntry()
}
