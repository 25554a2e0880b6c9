package m365sim

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/internal/m365sim/tenant"
)

// changeEvery is how often something changes in the directory after the tenant's origin.
const changeEvery = 10 * time.Minute

// change is what has become of one user by the scheduled changes.
type change struct {
	at       int64 // Unix seconds of the last one
	jobTitle string
	disabled bool
	removed  bool
}

// changes returns, by index of user, the changes up to now. They follow from the clock alone, so they survive a restart.
// Every change gives somebody a new title; every sixth one switches an account off or on; a guest whose turn it is in every
// seventh one leaves the directory.
func changes(t *tenant.Tenant, now time.Time) map[int]change {
	out := map[int]change{}
	users := t.Users()
	for k := 1; k <= dueChanges(t, now); k++ {
		i := (k*7919 + int(t.Config().Seed%1000)) % len(users)
		c := out[i]
		if c.removed {
			continue
		}
		c.at = changeTime(t, k)
		c.jobTitle = fmt.Sprintf("Associate %d", k)
		c.removed = k%7 == 0 && users[i].Guest
		if k%6 == 0 {
			c.disabled = !c.disabled
		}
		out[i] = c
	}
	return out
}

func dueChanges(t *tenant.Tenant, now time.Time) int {
	return int(now.Sub(t.Config().Origin) / changeEvery)
}

func changeTime(t *tenant.Tenant, k int) int64 {
	return t.Config().Origin.Add(time.Duration(k) * changeEvery).Unix()
}

// membership is what the scheduled changes did to the members of one group: true is added, false is removed.
type membership map[string]bool

// memberChanges returns, by index of group, what changed between two times: with every change, somebody joins or leaves a group.
func memberChanges(t *tenant.Tenant, since int64, now time.Time) map[int]membership {
	state, out := map[int]membership{}, map[int]membership{}
	groups, users := t.Groups(), t.Users()
	for k := 1; k <= dueChanges(t, now); k++ {
		g, u := (k*31)%len(groups), users[(k*131)%len(users)].ID
		if state[g] == nil {
			state[g] = membership{}
			for _, m := range groups[g].Members {
				state[g][m] = true
			}
		}
		state[g][u] = !state[g][u]
		if changeTime(t, k) > since {
			if out[g] == nil {
				out[g] = membership{}
			}
			out[g][u] = state[g][u]
		}
	}
	return out
}

func userObject(u *tenant.User, c change) map[string]any {
	o := map[string]any{
		"id": u.ID, "userPrincipalName": u.UPN, "mail": orNull(u.Mail), "displayName": u.DisplayName, "givenName": u.GivenName, "surname": u.Surname,
		"jobTitle": orNull(u.JobTitle), "department": u.Department, "officeLocation": u.Office, "usageLocation": u.Country,
		"accountEnabled": u.Enabled != c.disabled, "userType": "Member", "createdDateTime": u.Created.Format(time.RFC3339),
		"onPremisesSyncEnabled": nil, "assignedLicenses": []any{}, "manager": nil, "proxyAddresses": []string{"SMTP:" + u.Mail},
	}
	if c.jobTitle != "" {
		o["jobTitle"] = c.jobTitle
	}
	if u.Guest {
		o["userType"] = "Guest"
	}
	if u.OnPremisesSynced {
		o["onPremisesSyncEnabled"] = true
	}
	if u.Licensed {
		o["assignedLicenses"] = []any{map[string]any{"skuId": skuE5, "disabledPlans": []string{}}}
	}
	if u.ManagerID != "" {
		o["manager"] = map[string]any{"@odata.type": "#microsoft.graph.user", "id": u.ManagerID}
	} else {
		delete(o, "manager")
	}
	return o
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Server) usersDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("users")
	if err != nil {
		return nil, err
	}
	changed := changes(c.tenant, time.Unix(cur.At, 0))
	var objects []map[string]any
	users := c.tenant.Users()
	for i := range users {
		switch ch := changed[i]; {
		case cur.Since != 0 && ch.at <= cur.Since, cur.Since == 0 && ch.removed:
		case ch.removed:
			objects = append(objects, map[string]any{"id": users[i].ID, "@removed": map[string]string{"reason": "changed"}})
		default:
			objects = append(objects, userObject(&users[i], ch))
		}
	}
	return c.deltaPage(cur, "users", objects)
}

// usersList is the plain listing, with $top and $skiptoken.
func (s *Server) usersList(c *graphCall) (any, error) {
	offset, err := strconv.Atoi(c.r.URL.Query().Get("$skiptoken"))
	if err != nil || offset < 0 {
		offset = 0
	}
	users, changed := c.tenant.Users(), changes(c.tenant, c.now)
	offset = min(offset, len(users))
	to := min(offset+c.pageSize(), len(users))
	page := make([]map[string]any, 0, to-offset)
	for i := offset; i < to; i++ {
		if !changed[i].removed {
			page = append(page, userObject(&users[i], changed[i]))
		}
	}
	out := map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#users", "value": page}
	if to < len(users) {
		out["@odata.nextLink"] = base(c.r) + c.r.URL.Path + "?$top=" + strconv.Itoa(c.pageSize()) + "&$skiptoken=" + strconv.Itoa(to)
	}
	return out, nil
}

func (s *Server) groupsDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("groups")
	if err != nil {
		return nil, err
	}
	changed := memberChanges(c.tenant, cur.Since, time.Unix(cur.At, 0))
	var objects []map[string]any
	for i, g := range c.tenant.Groups() {
		if ch := changed[i]; cur.Since == 0 || len(ch) > 0 {
			objects = append(objects, groupObject(g, ch, cur.Since != 0))
		}
	}
	return c.deltaPage(cur, "groups", objects)
}

// groupObject writes a group with its members, or, in a later round, with those that came and went.
func groupObject(g tenant.Group, changed membership, later bool) map[string]any {
	members := []map[string]any{}
	member := func(id string, gone bool) {
		m := map[string]any{"@odata.type": "#microsoft.graph.user", "id": id}
		if gone {
			m["@removed"] = map[string]string{"reason": "deleted"}
		}
		members = append(members, m)
	}
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		if changed[id] || later {
			member(id, !changed[id])
		}
	}
	for _, id := range g.Members {
		if _, ok := changed[id]; !ok && !later {
			member(id, false)
		}
	}
	o := map[string]any{
		"id": g.ID, "displayName": g.DisplayName, "description": g.Description, "mail": orNull(g.Mail), "mailEnabled": g.Unified,
		"securityEnabled": g.Security, "groupTypes": []string{}, "createdDateTime": g.Created.Format(time.RFC3339), "visibility": "Private", "members@delta": members,
	}
	if g.Unified {
		o["groupTypes"] = []string{"Unified"}
	}
	return o
}

func (s *Server) groupMembers(c *graphCall) (any, error) {
	groups := c.tenant.Groups()
	at := slices.IndexFunc(groups, func(g tenant.Group) bool { return strings.EqualFold(g.ID, c.r.PathValue("id")) })
	if at < 0 {
		return nil, &graphError{status: http.StatusNotFound, code: "Request_ResourceNotFound", message: "Resource '" + printable(c.r.PathValue("id")) + "' does not exist."}
	}
	members := membership{}
	for _, m := range groups[at].Members {
		members[m] = true
	}
	maps.Copy(members, memberChanges(c.tenant, 0, c.now)[at])
	value := []map[string]any{}
	users, changed := c.tenant.Users(), changes(c.tenant, c.now)
	for i := range users {
		if members[users[i].ID] && !changed[i].removed {
			o := userObject(&users[i], changed[i])
			o["@odata.type"] = "#microsoft.graph.user"
			value = append(value, o)
		}
	}
	return map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#directoryObjects", "value": value}, nil
}

func (s *Server) servicePrincipalsDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("servicePrincipals")
	if err != nil {
		return nil, err
	}
	var objects []map[string]any
	if cur.Since == 0 {
		for _, a := range c.tenant.Applications() {
			o := map[string]any{
				"id": a.ObjectID, "appId": a.AppID, "displayName": a.Name, "appDisplayName": a.Name, "publisherName": a.Publisher, "accountEnabled": true,
				"servicePrincipalType": "Application", "verifiedPublisher": map[string]any{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
				"appOwnerOrganizationId": "f8cdef31-a31e-4b4a-93e4-5f571e91255a", "servicePrincipalNames": []string{a.AppID},
			}
			if a.Verified {
				o["verifiedPublisher"] = map[string]any{"displayName": a.Publisher, "verifiedPublisherId": "100200", "addedDateTime": "2024-01-01T00:00:00Z"}
			}
			objects = append(objects, o)
		}
	}
	return c.deltaPage(cur, "servicePrincipals", objects)
}

// Licences of the tenant.
const (
	skuE5         = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
	planExchange  = "efb87545-963c-4e0d-99df-69c6916d9eb0"
	planPremiumP2 = "eec0eb4f-6444-4f95-aba0-50c24d67f998"
)

func (s *Server) subscribedSkus(c *graphCall) (any, error) {
	licensed := 0
	for _, u := range c.tenant.Users() {
		if u.Licensed {
			licensed++
		}
	}
	if s.cfg.Unlicensed {
		licensed = 0
	}
	plans := []map[string]string{{"servicePlanId": planExchange, "servicePlanName": "EXCHANGE_S_ENTERPRISE", "provisioningStatus": "Success", "appliesTo": "User"}}
	if !s.cfg.NoPremium {
		plans = append(plans, map[string]string{"servicePlanId": planPremiumP2, "servicePlanName": "AAD_PREMIUM_P2", "provisioningStatus": "Success", "appliesTo": "User"})
	}
	return map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#subscribedSkus", "value": []any{map[string]any{
		"id": c.tenant.ID() + "_" + skuE5, "skuId": skuE5, "skuPartNumber": "SPE_E5", "capabilityStatus": "Enabled", "appliesTo": "User", "consumedUnits": licensed,
		"prepaidUnits": map[string]int{"enabled": licensed + 5, "suspended": 0, "warning": 0, "lockedOut": 0}, "servicePlans": plans,
	}}}, nil
}

func (s *Server) organization(c *graphCall) (any, error) {
	var verified []any
	for i, d := range c.tenant.DomainNames() {
		verified = append(verified, map[string]any{"name": d, "isInitial": i == 0, "isDefault": i == 1, "type": "Managed", "capabilities": "Email, OfficeCommunicationsOnline"})
	}
	name, _, _ := strings.Cut(c.tenant.DomainNames()[1], ".")
	return map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#organization", "value": []any{map[string]any{
		"id": c.tenant.ID(), "displayName": name, "tenantType": "AAD", "countryLetterCode": "DE", "onPremisesSyncEnabled": true, "verifiedDomains": verified,
		"createdDateTime": c.tenant.Config().Origin.AddDate(-6, 0, 0).Format(time.RFC3339),
	}}}, nil
}

func (s *Server) domains(c *graphCall) (any, error) {
	value := make([]any, 0, 3)
	for i, d := range c.tenant.DomainNames() {
		value = append(value, map[string]any{"id": d, "authenticationType": "Managed", "isAdminManaged": true, "isDefault": i == 1, "isInitial": i == 0, "isRoot": true, "isVerified": true, "supportedServices": []string{"Email"}})
	}
	return map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#domains", "value": value}, nil
}

// signIns lists Graph's view of sign-ins, newest first, a page at a time.
func (s *Server) signIns(c *graphCall) (any, error) {
	if s.cfg.NoPremium {
		return nil, &graphError{status: http.StatusForbidden, code: "Authentication_RequestFromNonPremiumTenantOrB2CTenant", message: "Neither tenant is B2C or tenant doesn't have premium license"}
	}
	from, to, err := signInFilter(c.r.URL.Query().Get("$filter"), c.now)
	if err != nil {
		return nil, err
	}
	offset, convErr := strconv.Atoi(c.r.URL.Query().Get("$skiptoken"))
	if convErr != nil || offset < 0 {
		offset = 0
	}
	first, beta := offset, strings.HasPrefix(c.r.URL.Path, "/beta/")
	page, more := []map[string]any{}, false
	for in := range c.tenant.SignIns(from, to) {
		if !in.Interactive && !beta {
			continue // v1.0 lists interactive sign-ins only
		}
		if offset > 0 {
			offset--
			continue
		}
		if more = len(page) == c.pageSize(); more {
			break
		}
		page = append(page, signInObject(in))
	}
	out := map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#auditLogs/signIns", "value": page}
	if more {
		q := c.r.URL.Query()
		q.Set("$skiptoken", strconv.Itoa(first+len(page)))
		out["@odata.nextLink"] = base(c.r) + c.r.URL.Path + "?" + q.Encode()
	}
	return out, nil
}

// signInFilter reads the forms "createdDateTime ge T" and "createdDateTime le T" joined by "and". Without a filter it is the last day.
func signInFilter(filter string, now time.Time) (from, to time.Time, err error) {
	from, to = now.Add(-24*time.Hour), now
	for part := range strings.SplitSeq(filter, " and ") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || f[0] != "createdDateTime" {
			continue // other conditions narrow the answer; the whole answer is a superset
		}
		at, parseErr := time.Parse(time.RFC3339, f[2])
		if parseErr != nil {
			return from, to, &graphError{status: http.StatusBadRequest, code: "BadRequest", message: "Invalid filter clause: " + printable(url.QueryEscape(part))}
		}
		switch f[1] {
		case "ge", "gt":
			from = at
		case "le", "lt":
			to = at
		}
	}
	if to.After(now) {
		to = now // nobody has signed in later
	}
	return from, to, nil
}

func signInObject(in tenant.SignIn) map[string]any {
	reason := "Other."
	if in.ErrorCode != 0 {
		reason = "Sign-in was refused."
	}
	return map[string]any{
		"id": in.ID, "createdDateTime": in.At.Format(time.RFC3339), "userDisplayName": in.User.DisplayName, "userPrincipalName": in.User.UPN, "userId": in.User.ID,
		"appId": in.AppID, "appDisplayName": in.AppName, "ipAddress": in.IP, "clientAppUsed": in.ClientApp, "isInteractive": in.Interactive,
		"correlationId": in.CorrelationID, "conditionalAccessStatus": "success", "resourceDisplayName": "Microsoft Graph", "resourceId": graphAppID,
		"status":     map[string]any{"errorCode": in.ErrorCode, "failureReason": reason, "additionalDetails": nil},
		"riskDetail": "none", "riskLevelAggregated": "none", "riskLevelDuringSignIn": "none", "riskState": "none", "riskEventTypes_v2": []string{},
		"deviceDetail": map[string]any{"deviceId": "", "displayName": "", "operatingSystem": in.OS, "browser": in.Browser, "isCompliant": false, "isManaged": false, "trustType": ""},
		"location":     map[string]any{"city": "Berlin", "state": "Berlin", "countryOrRegion": "DE", "geoCoordinates": map[string]any{"latitude": 52.5, "longitude": 13.4}},
	}
}
