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
	if !p.found || len(p.name.text)+len(p.uid.text)+len(p.email.text) == 0 {
		return
	}
	u, by := j.find(p)
	if u != nil || mayBeUser(p) {
		outcome.note(u != nil, j.tenant.Complete())
	}
	var known userText
	if u != nil {
		known = j.about(u)
		j.addUser(p, u, known)
	}
	j.describe(p, u, by, known)
}

// mayBeUser is false for the names of systems and services, so that they do not count as missing users.
func mayBeUser(p *person) bool {
	at := bytes.IndexByte(p.name.text, '@')
	return at > 0 && bytes.IndexByte(p.name.text[at:], '.') > 0 || len(p.email.text) > 0
}

// find prefers the object id; a name can be given to another user after the first one is gone. An id that the directory does not
// know is not always an object id (the vendor's UserKey), so the names are still tried.
func (j *Joiner) find(p *person) (u *directory.User, by string) {
	if len(p.uid.text) == 36 {
		if u = j.tenant.UserByID(p.uid.text); u != nil {
			return u, "uid"
		}
	}
	if u = j.tenant.UserByName(p.name.text); u != nil {
		return u, "name"
	}
	if u = j.tenant.UserByName(p.email.text); u != nil {
		return u, "email_addr"
	}
	return nil, ""
}

// userKey names a user as one tenant's directory has it.
type userKey struct {
	tenant *directory.Tenant
	user   *directory.User
}

// userText is what is written about a user, ready to be copied: each part is members with a comma in front.
type userText struct {
	account, ldap, groups []byte
	data                  []byte // of the enrichment
}

// about renders a user once for all events that name it.
func (j *Joiner) about(u *directory.User) userText {
	k := userKey{j.tenant, u}
	if t, ok := j.users.known[k]; ok {
		return t
	}
	var t userText
	section := func(write func(*members)) []byte {
		var b []byte
		write(&members{buf: &b, some: true})
		return b
	}
	t.account = section(func(m *members) { account(m, u) })
	t.ldap = section(func(m *members) { j.ldap(m, u) })
	t.groups = section(func(m *members) { j.groups(m, u) })
	t.data = section(func(m *members) { j.facts(m, u) })
	return j.users.put(k, t)
}

// addUser adds members to the event's user object. What is there already is never touched.
func (j *Joiner) addUser(p *person, u *directory.User, known userText) {
	from := len(j.added)
	m := j.adding()
	if !p.has.uid {
		m.str("uid", u.ID)
	}
	if !p.has.displayName {
		m.str("display_name", u.DisplayName)
	}
	if !p.has.account {
		j.added = append(j.added, known.account...)
	}
	if !p.has.ldap {
		j.added = append(j.added, known.ldap...)
	}
	if !p.has.groups {
		j.added = append(j.added, known.groups...)
	}
	j.add(from, p.place)
}

func account(m *members, u *directory.User) {
	a := m.open("account")
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
		a.list("labels", u.UserType)
	}
	a.close()
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
		l.list("email_addrs", u.Mail)
	}
	if boss != nil {
		b := l.open("manager")
		b.str("uid", boss.ID)
		b.str("name", boss.UserPrincipalName)
		b.str("display_name", boss.DisplayName)
		b.close()
	}
	l.close()
}

// groups adds the imported groups and the built-in ones that follow from the user.
func (j *Joiner) groups(m *members, u *directory.User) {
	n := 0
	add := func(id, name, kind string) {
		if n == 0 {
			m.key("groups")
			*m.buf = append(*m.buf, '[')
		} else {
			*m.buf = append(*m.buf, ',')
		}
		n++
		*m.buf = append(*m.buf, '{')
		o := members{buf: m.buf}
		o.str("uid", id)
		o.str("name", name)
		o.str("type", kind)
		o.close()
	}
	for _, g := range j.tenant.GroupsOf(u) {
		if n < maxGroups && j.imported(g) {
			add(g.ID, g.DisplayName, g.Type)
		}
	}
	if u.UserType == "Guest" {
		add("", "External", "Built-in")
	}
	if len(u.Roles) > 0 {
		add("", "Microsoft 365 administrator", "Built-in")
	}
	if n > 0 {
		*m.buf = append(*m.buf, ']')
	}
}

func (j *Joiner) imported(g *directory.Group) bool {
	return j.lookups.Groups == nil || j.lookups.Groups[g.ID]
}

// facts writes what has no attribute of its own in OCSF.
func (j *Joiner) facts(m *members, u *directory.User) {
	m.str("user_type", u.UserType)
	m.str("account_status", status(u))
	m.bool("is_admin", len(u.Roles) > 0)
	m.list("roles", u.Roles...)
	total := 0
	for _, g := range j.tenant.GroupsOf(u) {
		if j.imported(g) {
			total++
		}
	}
	if total > maxGroups {
		m.int("groups_total", total)
	}
	suspension(m, u)
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

// describe writes the enrichment of a user.
func (j *Joiner) describe(p *person, u *directory.User, by string, known userText) {
	external, sure := j.external(p, u)
	complete := j.tenant.Complete() && mayBeUser(p)
	attribute, value := p.subject()
	if u == nil && !sure && !complete || len(value.raw) > maxValue {
		return
	}
	m := j.entry(aboutDirectory, value.raw, p.path, attribute)
	if u != nil || complete {
		m.bool("found", u != nil)
	}
	m.str("matched_by", by)
	if sure {
		m.bool("is_external", external)
	}
	j.entries = append(j.entries, known.data...) // begins with a comma; found is there before it
	j.closeEntry()
}

// subject is the attribute that names the user best.
func (p *person) subject() (attribute string, value literal) {
	switch {
	case len(p.name.text) > 0:
		return ".name", p.name
	case len(p.email.text) > 0:
		return ".email_addr", p.email
	default:
		return ".uid", p.uid
	}
}

// external decides whether a user is outside the organization; sure is false when nothing tells.
func (j *Joiner) external(p *person, u *directory.User) (external, sure bool) {
	switch {
	case u != nil && u.UserType == "Guest":
		return true, true
	case bytes.Contains(p.name.text, []byte("#EXT#")) || bytes.HasPrefix(p.name.text, []byte("urn:spo:guest#")):
		return true, true
	case u != nil && u.UserType == "Member":
		return false, true
	}
	domain := p.domain.text
	for _, address := range [...][]byte{p.email.text, p.name.text} {
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
		if j.lookups.Domains[string(bytes.ToLower(domain))] {
			return false, true
		}
		known = true
	}
	return known, known
}

// accessList marks those that something was shared with outside the organization.
func (j *Joiner) accessList(names []literal) {
	for i, name := range names {
		if len(name.raw) > maxValue || !audit.IsAddress(string(name.text)) {
			continue
		}
		u := j.tenant.UserByName(name.text)
		external, sure := j.external(&person{name: name}, u)
		if !sure || !external {
			continue
		}
		m := j.entry(aboutDirectory, name.raw, "access_list[", strconv.Itoa(i), "]")
		m.bool("is_external", true)
		if u != nil {
			m.str("user_type", u.UserType)
		}
		j.closeEntry()
	}
}

// app describes the application that acted.
func (j *Joiner) app(uid literal) {
	if len(uid.text) == 0 || len(uid.raw) > maxValue {
		return
	}
	a := j.tenant.App(uid.text)
	j.report[App].note(a != nil, j.tenant.Complete())
	if a == nil {
		return
	}
	m := j.entry(aboutDirectory, uid.raw, "actor.app_uid")
	m.bool("found", true)
	m.str("app_name", a.DisplayName)
	m.str("publisher", a.Publisher)
	m.bool("is_verified", a.Verified != "")
	m.str("verified_publisher", a.Verified)
	j.closeEntry()
}
