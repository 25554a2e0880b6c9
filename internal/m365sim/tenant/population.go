package tenant

import (
	"fmt"
	"strings"
	"time"
)

// User is one account of the directory.
type User struct {
	ID                string
	UPN               string
	Mail              string
	DisplayName       string
	GivenName         string
	Surname           string
	JobTitle          string
	Department        string
	Office            string
	Country           string // ISO 3166 two-letter usage location
	ManagerID         string
	Created           time.Time
	Guest             bool
	Service           bool // a service account: signs in, never reads mail
	Admin             bool
	Enabled           bool
	OnPremisesSynced  bool
	Licensed          bool
	PUID              string // the 16 hex digits by which older workloads know the account
	SID               string
	index             int32
	officeIP, homeIP  string
	homeIP6           string
	mailbox           string // mailbox GUID
	personalSite      string // OneDrive URL without trailing slash
	agent             int    // index into agents
	guestHome         string // mail address in the guest's own organisation
	upnEscapedForPath string
}

// Group is one group of the directory.
type Group struct {
	ID          string
	DisplayName string
	Description string
	Mail        string
	Unified     bool // a Microsoft 365 group, with a team and a site
	Security    bool
	Created     time.Time
	Members     []string // object ids of users
	Owners      []string
	members     []int32
	thread      string // Teams thread id
}

type site struct {
	name, url       string
	id, web, list   guid
	listTitle       string
	folders         []string
	group           int
	dataset, report guid
}

type app struct {
	id     string
	object guid
	name   string
	vendor string
	own    bool // published by Microsoft
}

var (
	givenNames = []string{"Ana", "Bo", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kaisa", "Lorenzo", "Mei", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Sven", "Tuula", "Uma", "Viktor", "Wanda", "Ximena", "Yusuf", "Zoe", "Aoife", "Benoit", "Chiara", "Diego"}
	surnames   = []string{"Albrecht", "Brandt", "Castellan", "Dorsey", "Eriksen", "Fontaine", "Grabowski", "Halvorsen", "Ibarra", "Jansson", "Kowal", "Lindqvist", "Marchetti", "Novak", "Okafor", "Petrov", "Quist", "Rinaldi", "Sandoval", "Takeda", "Ulrich", "Varga", "Weiss", "Yilmaz", "Zimmer", "O'Dell", "van Maren", "Núñez", "Kjær", "Łukasik"}
	titles     = []string{"Analyst", "Accountant", "Engineer", "Team lead", "Buyer", "Counsel", "Recruiter", "Planner", "Support specialist", "Sales manager", "Technician", "Assistant", "Designer", "Controller"}
	depts      = []string{"Finance", "Sales", "Operations", "Legal", "People", "Engineering", "Procurement", "Support", "IT", "Research"}
	offices    = []string{"Harbour House", "Mill Lane 4", "North Campus", "Annex B", "Remote"}
	countries  = []string{"DE", "GB", "SE", "IT", "US", "FR", "PL"}
	companyA   = []string{"amber", "birch", "copper", "dune", "elm", "flint", "granite", "hazel", "iron", "juniper", "kestrel", "larch"}
	companyB   = []string{"field", "gate", "haven", "works", "bridge", "mill", "shore", "stone", "vale", "yard"}
	partners   = []string{"partner.example", "supplier.example", "counsel.example", "audit-firm.example"}
)

// agentTraits is one client program with what records say about it.
type agentTraits struct {
	userAgent, browser, version, platform, os string
	mobile                                    bool
}

var agents = []agentTraits{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge", "140.0.0.0", "WinDesktop", "Windows10", false},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "Chrome", "140.0.0.0", "WinDesktop", "Windows10", false},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", "Safari", "18.5", "MacDesktop", "MacOs", false},
	{"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", "Firefox", "142.0", "NotSpecified", "Linux", false},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari", "18.5", "iOS", "Ios", true},
	{"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36", "Chrome Mobile", "140.0.0.0", "Android", "Android", true},
	{"Microsoft Office Word/16.0 (Windows NT 10.0; Microsoft Word 16.0.18730; Pro)", "", "", "WinDesktop", "Windows10", false},
	{"Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", "IE", "8.0", "WinDesktop", "Windows7", false},
	{"Microsoft SkyDriveSync 25.130.0706.0001 ship; Windows NT 10.0 (26100)", "", "", "WinDesktop", "Windows10", false},
}

func (t *Tenant) populate() {
	r := rng(hash(t.cfg.Seed, saltPopulation))
	t.prefix = pick(&r, companyA) + pick(&r, companyB)
	t.domains = []string{t.prefix + "-example.onmicrosoft.com", t.prefix + ".example", t.prefix + "-labs.example"}
	t.users = make([]User, t.cfg.Users)
	for i := range t.users {
		t.users[i] = t.newUser(&r, i)
	}
	for i := range t.users {
		u := &t.users[i]
		if i > 0 && !u.Guest && !u.Service {
			u.ManagerID = t.users[i/8].ID
		}
		if !u.Enabled {
			continue
		}
		// A few people make most of the traffic.
		for range 1 + 12/(1+i%9) {
			t.active = append(t.active, int32(i))
		}
	}
	t.makeApps()
	t.makeGroups()
	t.makeSites()
}

func (t *Tenant) newUser(r *rng, i int) User {
	given, family := pick(r, givenNames), pick(r, surnames)
	local := asciiLocal(given) + "." + asciiLocal(family)
	if i >= 12 {
		local += fmt.Sprint(i)
	}
	u := User{
		ID: newGUID(t.cfg.Seed, saltPopulation, uint64(i)).String(), index: int32(i),
		GivenName: given, Surname: family, DisplayName: given + " " + family,
		JobTitle: pick(r, titles), Department: pick(r, depts), Office: pick(r, offices), Country: pick(r, countries),
		Created: t.cfg.Origin.Add(-time.Duration(30+r.n(2000)) * 24 * time.Hour).Truncate(time.Second),
		Enabled: i < 8 || !r.chance(25), OnPremisesSynced: r.chance(3), Licensed: true,
		PUID: fmt.Sprintf("10032%011x", r.next()&0xfffffffffff), SID: fmt.Sprintf("S-1-5-21-%d-%d-%d-%d", r.next()>>34, r.next()>>34, r.next()>>34, 1000+i),
		officeIP: fmt.Sprintf("203.0.113.%d", 1+r.n(30)), homeIP: fmt.Sprintf("198.51.100.%d", 1+i%250),
		homeIP6: fmt.Sprintf("2001:db8:%x:%x::%x", 1+i%4096, r.n(65536), 1+r.n(65535)),
		mailbox: newGUID(t.cfg.Seed, saltPopulation, uint64(i), 1).String(),
		agent:   r.n(len(agents) - 1),
	}
	if i == len(agents) {
		u.agent = len(agents) - 1
	}
	domain := t.domains[1]
	if r.chance(9) {
		domain = t.domains[2]
	}
	switch {
	case i%25 == 24:
		u.Service, u.Licensed, u.JobTitle = true, false, ""
		u.DisplayName, local = fmt.Sprintf("svc backup %d", i/25), fmt.Sprintf("svc-backup%d", i/25)
	case i%12 == 11:
		u.Guest, u.Licensed, u.OnPremisesSynced = true, false, false
		u.guestHome = local + "@" + pick(r, partners)
		local = strings.ReplaceAll(u.guestHome, "@", "_") + "#EXT#"
		domain = t.domains[0]
	case i < 3 || i%97 == 0:
		u.Admin = true
	}
	u.UPN, u.Mail = local+"@"+domain, local+"@"+domain
	if u.Guest {
		u.Mail = u.guestHome
	}
	u.upnEscapedForPath = strings.NewReplacer("@", "_", ".", "_", "#", "_").Replace(u.UPN)
	u.personalSite = "https://" + t.prefix + "-example-my.sharepoint.com/personal/" + u.upnEscapedForPath
	return u
}

// asciiLocal turns a name into what a mail address made from it looks like.
func asciiLocal(name string) string {
	return strings.NewReplacer("'", "", " ", "", "ú", "u", "ñ", "n", "ł", "l", "æ", "ae").Replace(strings.ToLower(name))
}

func (t *Tenant) makeApps() {
	own := []struct{ id, name string }{
		{"00000003-0000-0000-c000-000000000000", "Microsoft Graph"},
		{"00000002-0000-0ff1-ce00-000000000000", "Office 365 Exchange Online"},
		{"00000003-0000-0ff1-ce00-000000000000", "Office 365 SharePoint Online"},
		{"4765445b-32c6-49b0-83e6-1d93765276ca", "OfficeHome"},
		{"5e3ce6c0-2b1f-4285-8d4b-75ee78787346", "Microsoft Teams Web Client"},
		{"d3590ed6-52b3-4102-aeff-aad2292ab01c", "Microsoft Office"},
		{"ab9b8c07-8f02-4f72-87fa-80105867a763", "OneDrive SyncEngine"},
		{"871c010f-5e61-4fb1-83ac-98610a7e9110", "Microsoft Power BI"},
	}
	for i, o := range own {
		t.apps = append(t.apps, app{id: o.id, object: newGUID(t.cfg.Seed, saltApp, uint64(i)), name: o.name, vendor: "Microsoft Services", own: true})
	}
	for i, name := range []string{"Ledgerline", "Plotwise", "Formwright", "Quill Sync", "Tidepool CRM", "Rota Board", "Mail Merge Pro"} {
		id := newGUID(t.cfg.Seed, saltApp, uint64(100+i))
		t.apps = append(t.apps, app{id: id.String(), object: newGUID(t.cfg.Seed, saltApp, uint64(200+i)), name: name, vendor: name + " Ltd."})
	}
}

func (t *Tenant) makeGroups() {
	r := rng(hash(t.cfg.Seed, saltGroups))
	n := min(max(len(t.users)/8, 8), 400)
	for i := range n {
		g := Group{
			ID: newGUID(t.cfg.Seed, saltGroups, uint64(i)).String(), Unified: i%3 != 2, Security: i%3 == 2,
			DisplayName: depts[i%len(depts)] + " " + pick(&r, []string{"Team", "Readers", "Leads", "Project", "Forum"}) + fmt.Sprintf(" %d", i),
			Created:     t.cfg.Origin.Add(-time.Duration(20+r.n(900)) * 24 * time.Hour).Truncate(time.Second),
			thread:      "19:" + strings.ReplaceAll(newGUID(t.cfg.Seed, saltGroups, uint64(i), 1).String(), "-", "") + "@thread.tacv2",
		}
		g.Description = "People of " + g.DisplayName
		if g.Unified {
			g.Mail = fmt.Sprintf("group%d@%s", i, t.domains[1])
		}
		seen := map[int32]bool{}
		for range 2 + r.n(min(20, len(t.users))) {
			m := int32(r.n(len(t.users)))
			if seen[m] {
				continue
			}
			seen[m] = true
			g.members = append(g.members, m)
			g.Members = append(g.Members, t.users[m].ID)
		}
		g.Owners = g.Members[:1]
		t.groups = append(t.groups, g)
	}
}

func (t *Tenant) makeSites() {
	r := rng(hash(t.cfg.Seed, saltSites))
	for i := range len(t.groups) {
		if !t.groups[i].Unified {
			continue
		}
		name := strings.ReplaceAll(t.groups[i].DisplayName, " ", "")
		k := uint64(i)
		t.sites = append(t.sites, site{
			name: name, url: "https://" + t.prefix + "-example.sharepoint.com/sites/" + name, group: i,
			id: newGUID(t.cfg.Seed, saltSites, k, 1), web: newGUID(t.cfg.Seed, saltSites, k, 2), list: newGUID(t.cfg.Seed, saltSites, k, 3),
			dataset: newGUID(t.cfg.Seed, saltSites, k, 4), report: newGUID(t.cfg.Seed, saltSites, k, 5),
			listTitle: pick(&r, []string{"Tasks", "Risks", "Documents", "Contacts"}),
			folders:   []string{"Shared Documents", "Shared Documents/General", "Shared Documents/Plans 2026", "Shared Documents/Contracts"},
		})
	}
}
