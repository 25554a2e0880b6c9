package m365sim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
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

// TestDirectoryLives applies the rounds of delta queries to a copy of the directory and holds it against a full read at the end.
func TestDirectoryLives(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.TokenLife = 30 * day })
	r.token = r.newToken("https://graph.microsoft.com")
	root := r.s.URL() + "/v1.0"
	users, members := map[string]map[string]any{}, map[string]map[string]bool{}
	removed := 0
	apply := func(us, gs []map[string]any) {
		for _, u := range us {
			id := u["id"].(string)
			if u["@removed"] != nil {
				removed++
				delete(users, id)
				continue
			}
			users[id] = u
		}
		for _, g := range gs {
			id := g["id"].(string)
			if members[id] == nil {
				members[id] = map[string]bool{}
			}
			for _, m := range g["members@delta"].([]any) {
				m := m.(map[string]any)
				if m["@removed"] != nil {
					delete(members[id], m["id"].(string))
				} else {
					members[id][m["id"].(string)] = true
				}
			}
		}
	}
	us, userLink := r.round(root + "/users/delta")
	gs, groupLink := r.round(root + "/groups/delta")
	apply(us, gs)
	for range 30 {
		r.clock.advance(5 * time.Hour)
		us, userLink = r.round(userLink)
		gs, groupLink = r.round(groupLink)
		if len(us) == 0 || len(gs) == 0 {
			t.Fatal("nothing changed in five hours")
		}
		apply(us, gs)
	}
	fullUsers, _ := r.round(root + "/users/delta")
	if len(fullUsers) != len(users) || removed == 0 {
		t.Errorf("%d users by changes, %d by a full read, %d were removed", len(users), len(fullUsers), removed)
	}
	for _, u := range fullUsers {
		if mine := users[u["id"].(string)]; mine == nil || mine["jobTitle"] != u["jobTitle"] || mine["accountEnabled"] != u["accountEnabled"] {
			t.Errorf("user by changes %v, by a full read %v", mine, u)
		}
	}
	fullGroups, _ := r.round(root + "/groups/delta")
	for _, g := range fullGroups {
		mine := members[g["id"].(string)]
		full := g["members@delta"].([]any)
		if len(mine) != len(full) {
			t.Errorf("group %v has %d members by changes, %d by a full read", g["displayName"], len(mine), len(full))
		}
		for _, m := range full {
			if !mine[m.(map[string]any)["id"].(string)] {
				t.Errorf("group %v lacks %v", g["displayName"], m)
			}
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
