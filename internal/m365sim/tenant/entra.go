package tenant

var (
	signInRequests = []string{"OAuth2:Authorize", "OAuth2:Token", "Login:login", "SAS:EndAuth", "Login:reprocess", "Kmsi:kmsi", "OAuth2:Authorize"}
	signInErrors   = []signInFailure{
		{50126, "50126", "InvalidUserNameOrPassword"},
		{50126, "50126", "InvalidUserNameOrPassword"},
		{50076, "50076", "UserStrongAuthClientAuthNRequiredInterrupt"},
		{50053, "50053", "IdsLocked"},
		{50055, "50055", "InvalidPasswordExpiredPassword"},
		{53003, "53003", "BlockedByConditionalAccess"},
		{50072, "50072", "UserStrongAuthEnrollmentRequiredInterrupt"},
		{700016, "700016", "UnauthorizedClient_DoesNotMatchRequest"},
	}
	userOps = []string{"Update user.", "Update user.", "Update user.", "Add member to group.", "Remove member from group.", "Change user license.", "Reset user password.", "Update StsRefreshTokenValidFrom Timestamp.", "Add member to role.", "Disable Strong Authentication.", "Add user.", "Delete user.", "Disable account."}
	appOps  = []string{"Update application.", "Update service principal.", "Add service principal.", "Add app role assignment to service principal.", "Add OAuth2PermissionGrant.", "Update application – Certificates and secrets management ", "Add owner to application.", "Add app role assignment grant to user."}
	roles   = []struct{ name, template, known string }{
		{"Helpdesk Administrator", "729827e3-9c14-49f7-bb1b-9608f156bbb8", "HelpdeskAdmins"},
		{"Global Administrator", "62e90394-69f5-4237-9190-012177145e10", "TenantAdmins"},
		{"Exchange Administrator", "29232cdf-9323-42fd-ade2-1d097af3e4de", "ExchangeServiceAdministrators"},
		{"User Administrator", "fe930be7-5e62-47db-91af-98c3a49a38b1", "UserAccountAdmins"},
	}
)

// signInFailure is why a sign-in failed: the number, also as text, and its name.
type signInFailure struct {
	code         int
	number, text string
}

func (w *writer) signIn() {
	a := w.agent()
	app := w.t.signInApp(w.s)
	resource := &w.t.apps[w.r.n(3)]
	w.head("UserLoggedIn", 15)
	w.str("ResultStatus", "Success")
	w.str("UserKey", w.u.ID)
	w.raw(`,"UserType":0,"Version":1,"Workload":"AzureActiveDirectory"`)
	w.str("ClientIP", w.ip())
	w.str("ObjectId", resource.id)
	w.str("UserId", w.u.UPN)
	w.raw(`,"AzureActiveDirectoryEventType":1,"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"`)
	w.raw(pick(&w.r, []string{"Success", "Redirect", "Success"}))
	w.raw(`"},{"Name":"UserAgent","Value":"`)
	w.raw(a.userAgent)
	w.raw(`"},{"Name":"RequestType","Value":"`)
	w.raw(pick(&w.r, signInRequests))
	w.raw(`"}],"ModifiedProperties":[]`)
	w.signInTail(app, resource)
	w.device(a)
	w.str("ErrorNumber", "0")
}

func (w *writer) signInTail(app, resource *app) {
	ip := w.ip()
	w.raw(`,"Actor":[{"ID":"`)
	w.raw(w.u.ID)
	w.raw(`","Type":0},{"ID":"`)
	w.raw(w.u.UPN)
	w.raw(`","Type":5}]`)
	w.str("ActorContextId", w.t.id)
	w.str("ActorIpAddress", ip)
	w.session("InterSystemsId")
	w.guidOf("IntraSystemId", w.t.signInID(w.s))
	w.raw(`,"SupportTicketId":"","Target":[{"ID":"`)
	w.raw(resource.id)
	w.raw(`","Type":0}]`)
	w.str("TargetContextId", w.t.id)
	w.str("ApplicationId", app.id)
}

func (w *writer) device(a *agentTraits) {
	w.raw(`,"DeviceProperties":[{"Name":"OS","Value":"`)
	w.raw(a.os)
	w.raw(`"},{"Name":"BrowserType","Value":"`)
	w.raw(a.browser)
	if w.u.index%3 == 0 {
		w.raw(`"},{"Name":"Id","Value":"`)
		w.b = newGUID(w.t.cfg.Seed, saltPopulation, uint64(w.u.index), 7).append(w.b)
		w.raw(`"},{"Name":"IsCompliant","Value":"True"},{"Name":"TrustType","Value":"2`)
	}
	w.raw(`"},{"Name":"IsCompliantAndManaged","Value":"`)
	if w.u.index%3 == 0 {
		w.raw("True")
	} else {
		w.raw("False")
	}
	w.raw(`"},{"Name":"SessionId","Value":"`)
	w.b = w.sessionGUID().append(w.b)
	w.raw(`"}]`)
}

func (w *writer) signInFailed() {
	a := w.agent()
	e := w.t.signInError(w.s)
	app := w.t.signInApp(w.s)
	resource := &w.t.apps[w.r.n(3)]
	w.head("UserLoginFailed", 15)
	w.str("ResultStatus", pick(&w.r, []string{"Success", "Success", "Failed"}))
	w.str("UserKey", w.u.ID)
	w.raw(`,"UserType":0,"Version":1,"Workload":"AzureActiveDirectory"`)
	w.str("ClientIP", w.ip())
	w.str("ObjectId", resource.id)
	w.str("UserId", w.u.UPN)
	w.raw(`,"AzureActiveDirectoryEventType":1,"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"Success"},{"Name":"UserAgent","Value":"`)
	w.raw(a.userAgent)
	w.raw(`"},{"Name":"UserAuthenticationMethod","Value":"1"},{"Name":"RequestType","Value":"Login:login"}],"ModifiedProperties":[]`)
	w.signInTail(app, resource)
	if !w.r.chance(4) {
		w.device(a)
	}
	w.str("ErrorNumber", e.number)
	w.str("LogonError", e.text)
}

// serviceSignIn is a sign-in of an application, or of nobody that the service cares to name.
func (w *writer) serviceSignIn() {
	app := &w.t.apps[8+w.r.n(len(w.t.apps)-8)]
	w.head("UserLoggedIn", 15)
	w.str("ResultStatus", "Succeeded")
	switch w.r.n(3) {
	case 0:
		w.who("Not Available", "Not Available", 5, "AzureActiveDirectory")
	case 1:
		w.who(app.object.String(), app.object.String(), 5, "AzureActiveDirectory")
	default:
		w.who("ServicePrincipal_"+app.object.String(), "Not Available", 4, "AzureActiveDirectory")
	}
	w.raw(`,"ClientIP":null`)
	w.str("ObjectId", w.t.apps[0].id)
	w.raw(`,"AzureActiveDirectoryEventType":1,"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"Success"},{"Name":"RequestType","Value":"OAuth2:Token"}],"ModifiedProperties":[],"Actor":[{"ID":"`)
	w.raw(app.id)
	w.raw(`","Type":0}]`)
	w.str("ActorContextId", w.t.id)
	w.str("ActorIpAddress", "2001:db8:ffff::25")
	w.guid("InterSystemsId")
	w.guid("IntraSystemId")
	w.str("SupportTicketId", "")
	w.raw(`,"Target":[{"ID":"Unknown","Type":0}]`)
	w.str("TargetContextId", w.t.id)
	w.str("ApplicationId", app.id)
	w.str("LogonError", "None")
}

// actorUser and targetUser append the long identity lists of directory changes.
func (w *writer) actorUser() {
	w.raw(`,"Actor":[{"ID":"`)
	w.raw(w.u.UPN)
	w.raw(`","Type":5},{"ID":"`)
	w.raw(w.u.PUID)
	w.raw(`","Type":3},{"ID":"Microsoft Office 365 Portal","Type":1},{"ID":"00000006-0000-0ff1-ce00-000000000000","Type":2},{"ID":"User_`)
	w.raw(w.u.ID)
	w.raw(`","Type":2},{"ID":"`)
	w.raw(w.u.ID)
	w.raw(`","Type":2},{"ID":"User","Type":2}]`)
	w.str("ActorContextId", w.t.id)
}

func (w *writer) targetUser(v *User) {
	w.raw(`,"Target":[{"ID":"User_`)
	w.raw(v.ID)
	w.raw(`","Type":2},{"ID":"`)
	w.raw(v.ID)
	w.raw(`","Type":2},{"ID":"User","Type":2},{"ID":"`)
	w.raw(v.UPN)
	w.raw(`","Type":5},{"ID":"`)
	w.raw(v.PUID)
	w.raw(`","Type":3}]`)
	w.str("TargetContextId", w.t.id)
}

func (w *writer) directoryHead(op, object string) {
	w.head(op, 8)
	w.str("ResultStatus", pick(&w.r, []string{"Success", "Success", "Success", "Success", "Failure"}))
	w.str("UserKey", w.u.PUID+"@"+w.t.domains[0])
	w.raw(`,"UserType":0,"Version":1,"Workload":"AzureActiveDirectory"`)
	if w.r.chance(3) {
		w.str("ClientIP", w.ip())
	}
	w.str("ObjectId", object)
	w.str("UserId", w.u.UPN)
	w.raw(`,"AzureActiveDirectoryEventType":1`)
}

func (w *writer) userChange() {
	v := &w.t.users[w.r.n(len(w.t.users))]
	op := w.operation(8, userOps)
	w.directoryHead(op, v.UPN)
	w.raw(`,"ExtendedProperties":[{"Name":"additionalDetails","Value":"{\"UserType\":\"Member\",\"User-Agent\":\"Mozilla/5.0\"}"},{"Name":"extendedAuditEventCategory","Value":"`)
	w.raw(map[bool]string{true: "Role", false: "User"}[op == "Add member to role."])
	w.raw(`"}],"ModifiedProperties":[`)
	switch op {
	case "Add member to role.":
		role := pick(&w.r, roles)
		w.raw(`{"Name":"Role.ObjectID","NewValue":"`)
		w.b = newGUID(w.r.next()).append(w.b)
		w.raw(`","OldValue":""},{"Name":"Role.DisplayName","NewValue":"` + role.name + `","OldValue":""},{"Name":"Role.TemplateId","NewValue":"` + role.template + `","OldValue":""},{"Name":"Role.WellKnownObjectName","NewValue":"` + role.known + `","OldValue":""}`)
	case "Add member to group.", "Remove member from group.":
		g := &w.t.groups[w.r.n(len(w.t.groups))]
		w.raw(`{"Name":"Group.ObjectID","NewValue":"` + g.ID + `","OldValue":""},{"Name":"Group.DisplayName","NewValue":"` + g.DisplayName + `","OldValue":""}`)
	case "Change user license.":
		w.raw(`{"Name":"AssignedLicense","NewValue":"[\r\n  \"[SkuName=ENTERPRISEPREMIUM, DisabledPlans=[]]\"\r\n]","OldValue":"[]"},{"Name":"Included Updated Properties","NewValue":"AssignedLicense","OldValue":""}`)
	case "Disable account.":
		w.raw(`{"Name":"AccountEnabled","NewValue":"[\r\n  false\r\n]","OldValue":"[\r\n  true\r\n]"},{"Name":"Included Updated Properties","NewValue":"AccountEnabled","OldValue":""}`)
	case "Disable Strong Authentication.":
		w.raw(`{"Name":"StrongAuthenticationRequirement","NewValue":"[]","OldValue":"[\r\n  {\r\n    \"State\": 1\r\n  }\r\n]"},{"Name":"Included Updated Properties","NewValue":"StrongAuthenticationRequirement","OldValue":""}`)
	default:
		w.raw(`{"Name":"Department","NewValue":"[\r\n  \"` + pick(&w.r, depts) + `\"\r\n]","OldValue":"[\r\n  \"` + v.Department + `\"\r\n]"},{"Name":"Included Updated Properties","NewValue":"Department","OldValue":""},{"Name":"TargetId.UserType","NewValue":"Member","OldValue":""}`)
	}
	w.raw("]")
	w.actorUser()
	w.session("InterSystemsId")
	w.guid("IntraSystemId")
	w.str("SupportTicketId", "")
	w.targetUser(v)
}

func (w *writer) targetApp(a *app) {
	id := a.object.String()
	w.raw(`,"Target":[{"ID":"ServicePrincipal_` + id + `","Type":2},{"ID":"` + id + `","Type":2},{"ID":"ServicePrincipal","Type":2},{"ID":"` + a.name + `","Type":1},{"ID":"` + a.id + `","Type":2},{"ID":"` + a.id + `","Type":4}]`)
	w.str("TargetContextId", w.t.id)
}

func (w *writer) appChange() {
	a := &w.t.apps[8+w.r.n(len(w.t.apps)-8)]
	w.directoryHead(pick(&w.r, appOps), a.id)
	w.raw(`,"ExtendedProperties":[{"Name":"additionalDetails","Value":"{\"AppId\":\"` + a.id + `\"}"},{"Name":"extendedAuditEventCategory","Value":"ServicePrincipal"}],"ModifiedProperties":[{"Name":"KeyDescription","NewValue":"[\"[KeyIdentifier=`)
	w.b = newGUID(w.r.next()).append(w.b)
	w.raw(`,KeyType=Password,KeyUsage=Verify,DisplayName=deploy]\"]","OldValue":"[]"},{"Name":"Included Updated Properties","NewValue":"KeyDescription","OldValue":""},{"Name":"TargetId.ServicePrincipalNames","NewValue":"` + a.id + `","OldValue":""}]`)
	w.actorUser()
	w.session("InterSystemsId")
	w.guid("IntraSystemId")
	w.str("SupportTicketId", "")
	w.targetApp(a)
}

func (w *writer) consent() {
	a := &w.t.apps[8+w.r.n(len(w.t.apps)-8)]
	scope := pick(&w.r, []string{"User.Read", "openid profile User.Read", "Mail.Read offline_access", "Files.Read.All"})
	if w.s.marks&markAttack != 0 {
		a, scope = &w.t.apps[len(w.t.apps)-1], "Mail.ReadWrite Mail.Send offline_access User.Read"
	}
	w.directoryHead("Consent to application.", a.id)
	w.raw(`,"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"ServicePrincipal"}],"ModifiedProperties":[{"Name":"ConsentContext.IsAdminConsent","NewValue":"False","OldValue":""},{"Name":"ConsentContext.IsAppOnly","NewValue":"False","OldValue":""},{"Name":"ConsentContext.OnBehalfOfAll","NewValue":"False","OldValue":""},{"Name":"ConsentAction.Permissions","NewValue":"[] => [[Id: `)
	w.b = newGUID(w.r.next()).append(w.b)
	w.raw(`, ClientId: `)
	w.b = a.object.append(w.b)
	w.raw(`, PrincipalId: ` + w.u.ID + `, ResourceId: 00000003-0000-0000-c000-000000000000, ConsentType: Principal, Scope: ` + scope + `]]; ","OldValue":""},{"Name":"TargetId.ServicePrincipalNames","NewValue":"` + a.id + `","OldValue":""}]`)
	w.actorUser()
	w.session("InterSystemsId")
	w.guid("IntraSystemId")
	w.str("SupportTicketId", "")
	w.targetApp(a)
}
