package m365sim

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/internal/m365sim/tenant"
)

func userObject(u *tenant.User) map[string]any {
	o := map[string]any{
		"id": u.ID, "userPrincipalName": u.UPN, "mail": orNull(u.Mail), "displayName": u.DisplayName, "givenName": u.GivenName, "surname": u.Surname,
		"jobTitle": orNull(u.JobTitle), "department": u.Department, "officeLocation": u.Office, "usageLocation": u.Country,
		"accountEnabled": u.Enabled, "userType": "Member", "createdDateTime": u.Created.Format(time.RFC3339),
		"onPremisesSyncEnabled": nil, "assignedLicenses": []any{}, "manager": nil, "proxyAddresses": []string{"SMTP:" + u.Mail},
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

// removedObject is how a delta query tells of an object that is gone.
func removedObject(id string) map[string]any {
	return map[string]any{"id": id, "@removed": map[string]string{"reason": "changed"}}
}

func (s *Server) usersDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("users")
	if err != nil {
		return nil, err
	}
	dir := directoryAt(c.tenant, time.Unix(cur.At, 0))
	var objects []map[string]any
	for i := range dir.userCount() {
		p := dir.userAt(i)
		switch tell, gone := p.newsSince(cur.Since); {
		case gone && tell:
			objects = append(objects, removedObject(p.user.ID))
		case tell:
			objects = append(objects, userObject(&p.user))
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
	dir := directoryAt(c.tenant, c.now)
	offset = min(offset, dir.userCount())
	to := min(offset+c.pageSize(), dir.userCount())
	page := make([]map[string]any, 0, to-offset)
	for i := offset; i < to; i++ {
		if p := dir.userAt(i); !p.removed {
			page = append(page, userObject(&p.user))
		}
	}
	out := map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#users", "value": page}
	if to < dir.userCount() {
		out["@odata.nextLink"] = base(c.r) + c.r.URL.Path + "?$top=" + strconv.Itoa(c.pageSize()) + "&$skiptoken=" + strconv.Itoa(to)
	}
	return out, nil
}

func (s *Server) groupsDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("groups")
	if err != nil {
		return nil, err
	}
	dir := directoryAt(c.tenant, time.Unix(cur.At, 0))
	var objects []map[string]any
	for i := range dir.groupCount() {
		g := dir.groupAt(i)
		switch tell, gone := g.newsSince(cur.Since); {
		case gone && tell:
			objects = append(objects, removedObject(g.group.ID))
		case tell:
			objects = append(objects, groupObject(g, cur.Since))
		}
	}
	return c.deltaPage(cur, "groups", objects)
}

// groupObject writes a group with its members or, where an earlier round has told of it, with those that came and went since.
func groupObject(g *circle, since int64) map[string]any {
	members := []map[string]any{}
	tell := func(id string, gone bool) {
		m := map[string]any{"@odata.type": "#microsoft.graph.user", "id": id}
		if gone {
			m["@removed"] = map[string]string{"reason": "deleted"}
		}
		members = append(members, m)
	}
	if since == 0 || g.created > since {
		for _, id := range g.memberIDs() {
			tell(id, false)
		}
	} else {
		for _, id := range slices.Sorted(maps.Keys(g.members)) {
			if m := g.members[id]; m.at > since {
				tell(id, !m.in)
			}
		}
	}
	o := map[string]any{
		"id": g.group.ID, "displayName": g.group.DisplayName, "description": g.group.Description, "mail": orNull(g.group.Mail), "mailEnabled": g.group.Unified,
		"securityEnabled": g.group.Security, "groupTypes": []string{}, "createdDateTime": g.group.Created.Format(time.RFC3339), "visibility": "Private", "members@delta": members,
	}
	if g.group.Unified {
		o["groupTypes"] = []string{"Unified"}
	}
	return o
}

func (s *Server) groupMembers(c *graphCall) (any, error) {
	dir := directoryAt(c.tenant, c.now)
	for i := range dir.groupCount() {
		g := dir.groupAt(i)
		if g.removed || !strings.EqualFold(g.group.ID, c.r.PathValue("id")) {
			continue
		}
		value := []map[string]any{}
		for u := range dir.userCount() {
			if p := dir.userAt(u); g.has(p.user.ID) && !p.removed {
				o := userObject(&p.user)
				o["@odata.type"] = "#microsoft.graph.user"
				value = append(value, o)
			}
		}
		return map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#directoryObjects", "value": value}, nil
	}
	return nil, &graphError{status: http.StatusNotFound, code: "Request_ResourceNotFound", message: "Resource '" + printable(c.r.PathValue("id")) + "' does not exist."}
}

func (s *Server) servicePrincipalsDelta(c *graphCall) (any, error) {
	cur, err := c.deltaRound("servicePrincipals")
	if err != nil {
		return nil, err
	}
	dir := directoryAt(c.tenant, time.Unix(cur.At, 0))
	var objects []map[string]any
	if cur.Since == 0 {
		for _, a := range c.tenant.Applications() {
			objects = append(objects, appObject(a))
		}
	}
	for i, a := range dir.apps {
		if dir.appTimes[i] > cur.Since {
			objects = append(objects, appObject(a))
		}
	}
	return c.deltaPage(cur, "servicePrincipals", objects)
}

func appObject(a tenant.Application) map[string]any {
	o := map[string]any{
		"id": a.ObjectID, "appId": a.AppID, "displayName": a.Name, "appDisplayName": a.Name, "publisherName": a.Publisher, "accountEnabled": true,
		"servicePrincipalType": "Application", "verifiedPublisher": map[string]any{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		"appOwnerOrganizationId": "f8cdef31-a31e-4b4a-93e4-5f571e91255a", "servicePrincipalNames": []string{a.AppID},
	}
	if a.Verified {
		o["verifiedPublisher"] = map[string]any{"displayName": a.Publisher, "verifiedPublisherId": "100200", "addedDateTime": "2024-01-01T00:00:00Z"}
	}
	return o
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
