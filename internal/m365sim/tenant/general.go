package tenant

import "strconv"

func (w *writer) teamsMessage() {
	op := pick(&w.r, []string{"MessageCreatedHasLink", "MessageSent", "MessageRead", "ChatRetrieved", "MessageUpdated", "MessageDeleted", "ReactedToMessage", "ChatCreated"})
	g := &w.t.groups[(int(w.u.index)+w.r.n(3))%len(w.t.groups)]
	w.head(op, 25)
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftTeams")
	w.str("ClientIP", "::ffff:"+w.u.officeIP)
	w.str("CommunicationType", pick(&w.r, []string{"OneOnOne", "GroupChat", "Team", "Meeting"}))
	w.raw(`,"ExtraProperties":[{"Key":"TimeZone","Value":"Europe/Berlin"},{"Key":"OsName","Value":"windows"},{"Key":"ClientName","Value":"skypeteams"}]`)
	w.str("ChatThreadId", g.thread)
	w.key("MessageId")
	w.raw(`"`)
	w.b = strconv.AppendInt(w.b, w.s.at, 10)
	w.raw(`"`)
	w.num("MessageSizeInBytes", w.r.between(20, 4000))
	if op == "MessageCreatedHasLink" {
		w.raw(`,"MessageURLs":["https://wiki.supplier.example/page?id=7\u0026view=full"]`)
	}
	w.raw(`,"Members":[{"UPN":"` + w.t.users[g.members[0]].UPN + `","Role":1},{"UPN":"` + w.u.UPN + `","Role":0}],"MessageVisibilityTime":"`)
	w.stamp()
	w.raw(`Z"`)
	w.str("ResourceTenantId", w.t.id)
}

func (w *writer) teamsSession() {
	w.head("TeamsSessionStarted", 25)
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftTeams")
	w.str("ClientIP", w.ip())
	a := w.agent()
	w.str("ObjectId", pick(&w.r, []string{"Windows Desktop", "Web (1415/1.0.0.2025)", "Unknown (Unknown)", "iOS"}))
	w.raw(`,"ExtraProperties":[{"Key":"OsName","Value":"` + a.os + `"}]`)
}

func (w *writer) teamsMembers() {
	op := w.operation(25, []string{"MemberAdded", "MemberRemoved", "MemberRoleChanged", "TeamCreated", "ChannelAdded", "TabAdded", "AppInstalled"})
	g := &w.t.groups[w.r.n(len(w.t.groups))]
	w.head(op, 25)
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftTeams")
	w.str("TeamGuid", g.thread)
	w.str("TeamName", g.DisplayName)
	w.str("ItemName", g.DisplayName)
	w.str("AADGroupId", g.ID)
	switch op {
	case "ChannelAdded":
		w.str("ChannelGuid", g.thread)
		w.raw(`,"ChannelName":"Announcements","ChannelType":"Standard"`)
	case "AppInstalled":
		w.guid("AddOnGuid")
		w.raw(`,"AddOnName":"Rota Board","AddOnType":4`)
	default:
		v := &w.t.users[w.r.n(len(w.t.users))]
		w.raw(`,"Members":[{"Role":1,"UPN":"` + v.UPN + `","DisplayName":"` + v.DisplayName + `"}]`)
	}
}

func (w *writer) powerBI() {
	op := w.operation(20, []string{"ViewReport", "ViewReport", "ViewReport", "RefreshDataset", "ExportReport", "ShareReport", "GetWorkspaces", "ViewDashboard", "CreateReport", "EditDataset", "DeleteReport", "AnalyzeInExcel"})
	i := int(w.u.index) + w.r.n(3)
	s := &w.t.sites[i%len(w.t.sites)]
	w.head(op, 20)
	w.who(w.u.UPN, w.u.PUID, 0, "PowerBI")
	w.str("ClientIP", w.ip())
	w.str("UserAgent", w.agent().userAgent)
	w.str("Activity", op)
	w.str("ItemName", s.name)
	w.str("WorkSpaceName", s.name)
	w.str("DatasetName", s.name+" model")
	w.str("ReportName", s.name)
	w.guidOf("WorkspaceId", s.id)
	w.str("ObjectId", s.name)
	w.guidOf("DatasetId", s.dataset)
	w.guidOf("ReportId", s.report)
	w.raw(`,"ReportType":"PowerBIReport","IsSuccess":`)
	w.b = strconv.AppendBool(w.b, !w.r.chance(30))
	w.guid("RequestId")
	w.session("ActivityId")
	w.raw(`,"DistributionMethod":"Workspace","ConsumptionMethod":"Power BI Web"`)
	if op == "ShareReport" {
		w.raw(`,"SharingInformation":[{"RecipientEmail":"someone@partner.example","RecipientName":"Some One","ResharePermission":"Read"}]`)
	}
}

func (w *writer) crm() {
	op := pick(&w.r, []string{"Retrieve", "RetrieveMultiple", "Update", "Create", "Assign", "ExportToExcel", "Delete", "GrantAccess"})
	entity := pick(&w.r, []string{"account", "contact", "opportunity", "incident", "lead"})
	w.head(op, 21)
	w.str("ResultStatus", "True")
	w.who(w.u.UPN, w.u.ID, 0, "CRM")
	w.str("ClientIP", w.ip())
	w.guid("CorrelationId")
	w.str("CrmOrganizationUniqueName", "unq"+w.t.prefix)
	w.str("InstanceUrl", "https://"+w.t.prefix+"-example.crm4.dynamics.example/")
	w.guid("EntityId")
	w.str("EntityName", entity)
	w.str("ItemType", entity)
	w.str("Message", op)
	w.str("UserAgent", w.agent().userAgent)
	w.raw(`,"ItemUrl":"https://` + w.t.prefix + `-example.crm4.dynamics.example/main.aspx?etn=` + entity + `\u0026pagetype=entityrecord"`)
	if op == "Update" || op == "Create" {
		w.raw(`,"Fields":[{"Name":"telephone1","Value":"+49 30 5550100"},{"Name":"modifiedon","Value":"2026-03-02"}]`)
	} else {
		w.raw(`,"Fields":[],"Query":"<fetch top='50'><entity name='` + entity + `'/></fetch>"`)
	}
	w.str("PrimaryFieldValue", "Example Ltd.")
	w.str("ServiceName", "CRM")
	w.guid("SystemUserId")
}

func (w *writer) flow() {
	w.head(pick(&w.r, []string{"CreateFlow", "EditFlow", "PutPermissions", "DeleteFlow"}), 30)
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftFlow")
	w.str("ObjectId", "https://flow.example/manage/environments/Default-"+w.t.id+"/flows/7")
	w.raw(`,"FlowConnectorNames":"SharePoint,Office 365 Outlook","FlowDetailsUrl":"https://flow.example/7","LicenseDisplayName":"Free","RecipientUPN":"","SharingPermission":2,"UserTypeInitiated":1`)
	w.str("UserUPN", w.u.UPN)
}

func (w *writer) powerApp() {
	w.head(w.operation(45, []string{"LaunchPowerApp", "LaunchPowerApp", "CreatePowerApp", "PublishPowerApp", "PowerAppPermissionEdited"}), 45)
	w.who(w.u.UPN, w.u.ID, 0, "PowerApps")
	w.str("ClientIP", w.ip())
	w.raw(`,"AppName":"`)
	w.b = newGUID(uint64(w.u.index % 7)).append(w.b)
	w.raw(`","AdditionalInfo":"{\"displayName\":\"Rota Board\",\"environmentName\":\"Default-` + w.t.id + `\"}"`)
}

func (w *writer) forms() {
	w.head(w.operation(66, []string{"CreateResponse", "ViewForm", "CreateForm", "EditForm", "ExportForm", "AllowAnonymousResponse", "ViewResponses"}), 66)
	w.str("ResultStatus", "success")
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftForms")
	w.str("ClientIP", w.ip())
	w.raw(`,"FormsUserType":"1","SourceApp":"` + w.t.apps[3].id + `","FormName":"Lunch order \/ Mittag","FormType":"2","ActivityParameters":"{\"ResponseId\":` + strconv.Itoa(w.r.n(9999)) + `,\"ResponderId\":\"` + w.u.ID + `\"}"`)
	w.guid("FormId")
	w.str("ObjectId", "form")
}

func (w *writer) yammer() {
	w.head(w.operation(22, []string{"MessageCreated", "MessageViewed", "ThreadViewed", "FileDownloaded", "GroupCreation", "UserSuspension", "MessageDeleted"}), 22)
	w.str("ResultStatus", "TRUE")
	w.who(w.u.UPN, w.u.PUID, 0, "Yammer")
	w.str("ActorUserId", w.u.UPN)
	w.num("ActorYammerUserId", 36_000_000_000+int(w.u.index))
	w.str("ClientIP", "[2001:db8::1]:52211")
	w.raw(`,"YammerNetworkId":5840000001,"GroupName":"All of us","ObjectId":"All of us"`)
	w.num("MessageId", 100_000_000+w.r.n(1_000_000))
	w.num("ThreadId", 100_000_000+w.r.n(1_000_000))
	w.num("VersionId", 0)
}

func (w *writer) copilot() {
	w.head("CopilotInteraction", 261)
	w.who(w.u.UPN, w.u.ID, 0, "Copilot")
	w.str("ClientIP", "ffff:10.11.0."+strconv.Itoa(1+w.r.n(250)))
	w.raw(`,"ClientRegion":"deu","CopilotLogVersion":"1.0.0.0","CopilotEventData":{"AISystemPlugin":[{"Id":"BingWebSearch","Name":"","Version":""}],"AccessedResources":[`)
	for i := w.r.n(3); i > 0; i-- {
		w.raw(`{"Action":"Read","ID":"`)
		w.b = newGUID(w.r.next()).append(w.b)
		w.raw(`","Name":"budget 2026 7.xlsx","SiteUrl":"` + w.u.personalSite + `","Type":"xlsx"},`)
	}
	w.raw(`{"Action":"Read","Id":"CiQ","Name":"mail","SiteUrl":"","Type":"EmailMessage"}],"AppHost":"`)
	w.raw(pick(&w.r, []string{"Teams", "Word", "Office", "Outlook", "Excel"}))
	w.raw(`","Contexts":[{"Id":"` + w.u.personalSite + `","Type":"docx"}],"MessageIds":[],"Messages":[{"Id":"`)
	w.b = strconv.AppendInt(w.b, w.s.at, 10)
	w.raw(`","isPrompt":true},{"Id":"`)
	w.b = strconv.AppendInt(w.b, w.s.at+900, 10)
	w.raw(`","isPrompt":false}],"ModelTransparencyDetails":[{"ModelName":"DEEP_LEO"}],"ThreadId":"19:`)
	w.b = appendBase32(w.b, w.r.next(), 24)
	w.raw(`@thread.v2"}`)
}

func (w *writer) todo() {
	w.head(pick(&w.r, []string{"TaskCreated", "TaskUpdated", "TaskListRead", "TaskDeleted", "SubTaskCreated"}), 202)
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftTodo")
	w.raw(`,"ActorAppId":"22098786-6e16-43cc-a27d-191a01a1e3b5","ItemType":"Task"`)
	w.guid("ItemID")
	w.str("TargetActorId", w.u.ID)
	w.str("TargetActorTenantId", w.t.id)
}

func (w *writer) powerPlatform() {
	recordType := pick(&w.r, []int{80, 187, 256, 163, 79})
	w.head(pick(&w.r, []string{"EnvironmentCreated", "CreateDlpPolicy", "ApplyAdminRole", "EnvironmentPropertyChange"}), recordType)
	w.str("ResultStatus", "Success")
	w.who(w.u.UPN, w.u.ID, 2, "PowerPlatform")
	w.str("ClientIP", w.ip())
	w.raw(`,"PropertyCollection":[{"Name":"powerplatform.analytics.resource.environment.name","Value":"Sandbox"},{"Name":"powerplatform.analytics.activity.name","Value":"Environment"},{"Name":"enduser.role","Value":"Admin"}]`)
	w.guid("EnvironmentId")
	w.str("EnvironmentName", "Sandbox")
}

// unknown writes what no table knows yet: new record types, new workloads, odd casing.
func (w *writer) unknown() {
	n := pick(&w.r, []int{-1, 9001, 9002, 10077})
	w.head("SomethingNew", n)
	w.who(w.u.UPN, w.u.ID, pick(&w.r, []int{0, 9, 12}), pick(&w.r, []string{"BrandNewService", "exchange", "ONEDRIVE", "Loop"}))
	w.raw(`,"Payload":{"Version":2,"Flags":[true,false,null]},"ClientIP":null`)
}
