package m365sim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type graphObjects struct {
	Value []map[string]any
	Next  string `json:"@odata.nextLink"`
	Delta string `json:"@odata.deltaLink"`
}

// round follows one round of a delta query and returns its objects and the link of the next round.
func (r *rig) round(first string) ([]map[string]any, string) {
	r.t.Helper()
	var all []map[string]any
	for next := first; ; {
		a := r.get(next)
		var page graphObjects
		if a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
			r.t.Fatalf("%s: %d %s", next, a.status, a.body)
		}
		all = append(all, page.Value...)
		if next = page.Next; next == "" {
			return all, page.Delta
		}
	}
}

// mirror is a client's copy of a directory, kept by the rounds of delta queries.
type mirror struct {
	users, groups          map[string]map[string]any
	members                map[string]map[string]bool
	newUsers, goneUsers    int
	newGroups, goneGroups  int
	newMembers, oldMembers int
	newApps, renamed       int
}

func (m *mirror) applyUsers(users []map[string]any, first bool) {
	for _, u := range users {
		id := u["id"].(string)
		if u["@removed"] != nil {
			m.goneUsers++
			delete(m.users, id)
			continue
		}
		if m.users[id] == nil && !first {
			m.newUsers++
		}
		m.users[id] = u
	}
}

func (m *mirror) applyGroups(groups []map[string]any, first bool) {
	for _, g := range groups {
		id := g["id"].(string)
		if g["@removed"] != nil {
			m.goneGroups++
			delete(m.groups, id)
			delete(m.members, id)
			continue
		}
		switch old := m.groups[id]; {
		case old == nil:
			m.members[id] = map[string]bool{}
			if !first {
				m.newGroups++
			}
		case old["displayName"] != g["displayName"]:
			m.renamed++
		}
		m.groups[id] = g
		for _, v := range g["members@delta"].([]any) {
			switch v := v.(map[string]any); {
			case v["@removed"] != nil:
				m.oldMembers++
				delete(m.members[id], v["id"].(string))
			default:
				if !first {
					m.newMembers++
				}
				m.members[id][v["id"].(string)] = true
			}
		}
	}
}

// TestDirectoryLives applies the rounds of delta queries to a copy of the directory and holds it against a full read at the end: users,
// groups, members and apps that came, changed and went.
func TestDirectoryLives(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.TokenLife = 30 * day })
	r.token = r.newToken("https://graph.microsoft.com")
	root := r.s.URL() + "/v1.0"
	m := &mirror{users: map[string]map[string]any{}, groups: map[string]map[string]any{}, members: map[string]map[string]bool{}}
	us, userLink := r.round(root + "/users/delta")
	gs, groupLink := r.round(root + "/groups/delta")
	as, appLink := r.round(root + "/servicePrincipals/delta")
	m.applyUsers(us, true)
	m.applyGroups(gs, true)
	apps := len(as)
	for range 30 {
		r.clock.advance(5 * time.Hour)
		us, userLink = r.round(userLink)
		gs, groupLink = r.round(groupLink)
		as, appLink = r.round(appLink)
		if len(us) == 0 || len(gs) == 0 {
			t.Fatal("nothing changed in five hours")
		}
		m.applyUsers(us, false)
		m.applyGroups(gs, false)
		apps += len(as)
		m.newApps += len(as)
	}
	if m.newUsers < 10 || m.goneUsers < 5 || m.newGroups < 5 || m.goneGroups < 5 || m.newMembers < 50 || m.oldMembers < 20 || m.newApps < 5 || m.renamed < 5 {
		t.Errorf("the rounds told of %d new users and %d gone, groups %d, %d and %d renamed, members %d and %d, %d new apps",
			m.newUsers, m.goneUsers, m.newGroups, m.goneGroups, m.renamed, m.newMembers, m.oldMembers, m.newApps)
	}
	fullUsers, _ := r.round(root + "/users/delta")
	if len(fullUsers) != len(m.users) {
		t.Errorf("%d users by changes, %d by a full read", len(m.users), len(fullUsers))
	}
	for _, u := range fullUsers {
		if diff := cmp.Diff(u, m.users[u["id"].(string)]); diff != "" {
			t.Errorf("a user differs by a full read and by changes:\n%s", diff)
		}
	}
	fullGroups, _ := r.round(root + "/groups/delta")
	if len(fullGroups) != len(m.groups) {
		t.Errorf("%d groups by changes, %d by a full read", len(m.groups), len(fullGroups))
	}
	for _, g := range fullGroups {
		members := map[string]bool{}
		for _, v := range g["members@delta"].([]any) {
			members[v.(map[string]any)["id"].(string)] = true
		}
		id := g["id"].(string)
		if diff := cmp.Diff(members, m.members[id]); diff != "" || m.groups[id]["displayName"] != g["displayName"] {
			t.Errorf("members of %v differ by a full read and by changes:\n%s", g["displayName"], diff)
		}
		for id := range members {
			if m.users[id] == nil {
				t.Errorf("member %s of %v is no user", id, g["displayName"])
			}
		}
		listed := r.get(root + "/groups/" + id + "/members")
		var page graphObjects
		if err := json.Unmarshal(listed.body, &page); err != nil || len(page.Value) != len(members) {
			t.Errorf("group %v lists %d members, delta gives %d: %v", g["displayName"], len(page.Value), len(members), err)
		}
	}
	if fullApps, _ := r.round(root + "/servicePrincipals/delta"); len(fullApps) != apps {
		t.Errorf("%d apps by changes, %d by a full read", apps, len(fullApps))
	}
	everyone, _ := r.round(root + "/users?$top=20")
	if len(everyone) != len(m.users) {
		t.Errorf("the plain listing has %d users, want %d", len(everyone), len(m.users))
	}
	r.clock.advance(8 * day)
	for _, link := range []string{userLink, groupLink, appLink} {
		if a := r.get(link); a.status != http.StatusGone || a.header.Get("Location") == "" || strings.Contains(a.header.Get("Location"), "token") {
			t.Errorf("a link of eight days ago: %d %s, Location %q", a.status, a.body, a.header.Get("Location"))
		}
	}
}

func TestGraphReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	feedToken := r.token
	r.token = r.newToken("https://graph.microsoft.com")
	group := r.s.Tenants()[0].Groups()[0].ID
	for path, want := range map[string]string{
		"/v1.0/users?$top=3":                 `"@odata.nextLink"`,
		"/v1.0/groups/" + group + "/members": `"#microsoft.graph.user"`,
		"/v1.0/servicePrincipals/delta":      `"@odata.deltaLink"`,
		"/v1.0/subscribedSkus":               `"AAD_PREMIUM_P2"`,
		"/v1.0/organization":                 `"onPremisesSyncEnabled":true`,
		"/v1.0/domains":                      `"isInitial":true`,
		"/beta/auditLogs/signIns?$top=1000":  `"isInteractive":false`,
		"/v1.0/auditLogs/signIns?$filter=createdDateTime%20ge%202026-03-09T10:00:00Z%20and%20createdDateTime%20le%202026-03-09T11:00:00Z": `"IMAP4"`,
	} {
		if a := r.get(r.s.URL() + path); a.status != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %.300s, want %s", path, a.status, a.body, want)
		}
	}
	for path, want := range map[string]string{
		"/v1.0/groups/none/members":                                        "Request_ResourceNotFound",
		"/v1.0/auditLogs/signIns?$filter=createdDateTime%20ge%20yesterday": "BadRequest",
		"/v1.0/users/delta?$skiptoken=x":                                   "BadRequest",
	} {
		if a := r.get(r.s.URL() + path); a.status < 400 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s, want %s", path, a.status, a.body, want)
		}
	}
	r.token = feedToken
	if a := r.get(r.s.URL() + "/v1.0/users"); a.status != http.StatusUnauthorized {
		t.Errorf("a token of the feed: %d %s", a.status, a.body)
	}
	poor := newRig(t, func(c *Config) {
		c.NoPremium = true
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret, Roles: []string{"AuditLog.Read.All"}}}
	})
	poor.token = poor.newToken("https://graph.microsoft.com")
	for path, want := range map[string]string{"/v1.0/auditLogs/signIns": "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "/v1.0/users": "Authorization_RequestDenied"} {
		if a := poor.get(poor.s.URL() + path); a.status != http.StatusForbidden || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s, want %s", path, a.status, a.body, want)
		}
	}
	if err := poor.s.SetFaults(Fault{Name: FaultThrottle429, Rate: 1, Endpoint: "graph"}); err != nil {
		t.Fatal(err)
	}
	if a := poor.get(poor.s.URL() + "/v1.0/users"); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "1" || !strings.Contains(string(a.body), "TooManyRequests") {
		t.Errorf("throttled: %d %s", a.status, a.body)
	}
}
