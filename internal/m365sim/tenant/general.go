package tenant

import (
	_ "embed"
	"strconv"
	"strings"
)

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
	op := pick(&w.r, []string{"MemberAdded", "MemberRemoved", "MemberRoleChanged", "TeamCreated", "ChannelAdded", "TabAdded", "AppInstalled"})
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
	op := pick(&w.r, []string{"ViewReport", "ViewReport", "ViewReport", "RefreshDataset", "ExportReport", "ShareReport", "GetWorkspaces", "ViewDashboard", "CreateReport", "EditDataset", "DeleteReport", "AnalyzeInExcel"})
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
	w.head(pick(&w.r, []string{"LaunchPowerApp", "LaunchPowerApp", "CreatePowerApp", "PublishPowerApp", "PowerAppPermissionEdited"}), 45)
	w.who(w.u.UPN, w.u.ID, 0, "PowerApps")
	w.str("ClientIP", w.ip())
	w.raw(`,"AppName":"`)
	w.b = newGUID(uint64(w.u.index % 7)).append(w.b)
	w.raw(`","AdditionalInfo":"{\"displayName\":\"Rota Board\",\"environmentName\":\"Default-` + w.t.id + `\"}"`)
}

func (w *writer) forms() {
	w.head(pick(&w.r, []string{"CreateResponse", "ViewForm", "CreateForm", "EditForm", "ExportForm", "AllowAnonymousResponse", "ViewResponses"}), 66)
	w.str("ResultStatus", "success")
	w.who(w.u.UPN, w.u.ID, 0, "MicrosoftForms")
	w.str("ClientIP", w.ip())
	w.raw(`,"FormsUserType":"1","SourceApp":"` + w.t.apps[3].id + `","FormName":"Lunch order \/ Mittag","FormType":"2","ActivityParameters":"{\"ResponseId\":` + strconv.Itoa(w.r.n(9999)) + `,\"ResponderId\":\"` + w.u.ID + `\"}"`)
	w.guid("FormId")
	w.str("ObjectId", "form")
}

func (w *writer) yammer() {
	w.head(pick(&w.r, []string{"MessageCreated", "MessageViewed", "ThreadViewed", "FileDownloaded", "GroupCreation", "UserSuspension", "MessageDeleted"}), 22)
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

// recordTypes lists every known record type: number, content type, wire workload, name.
//
//go:embed recordtypes.txt
var recordTypes string

type rareType struct {
	number         int
	workload, name string
}

// rareTypes holds the record types of each content type.
var rareTypes = parseRecordTypes()

func parseRecordTypes() (out [numTypes][]rareType) {
	for line := range strings.Lines(recordTypes) {
		f := strings.Fields(line)
		if len(f) != 4 {
			continue
		}
		typ := strings.Index("EXSGD", f[1])
		n, err := strconv.Atoi(f[0])
		if typ < 0 || err != nil {
			continue
		}
		out[typ] = append(out[typ], rareType{number: n, workload: f[2], name: f[3]})
	}
	return out
}

// rareType picks the record type of a rare record.
func (t *Tenant) rareType(typ int, s *spec) rareType {
	table := rareTypes[typ]
	return table[hash(t.cfg.Seed, uint64(s.slot), uint64(s.seq))%uint64(len(table))]
}

// rare writes a record of any type that the content type may bring, with the common members and a few of its own.
func (w *writer) rare(typ int) {
	rt := w.t.rareType(typ, w.s)
	w.head(pick(&w.r, []string{"Create", "Update", "Delete", "View", "Run", "Export"})+rt.name, rt.number)
	if w.r.chance(2) {
		w.str("ResultStatus", pick(&w.r, []string{"Success", "Successful", "Failed", "failed", "New", "TRUE"}))
	}
	switch w.r.n(4) {
	case 0:
		w.who("", "", 4, rt.workload)
	case 1:
		w.who("NT AUTHORITY\\\\SYSTEM (w3wp)", "S-1-5-18", 3, rt.workload)
	default:
		w.who(w.u.UPN, w.u.ID, w.r.n(2)*2, rt.workload)
	}
	if w.r.chance(2) {
		w.str("ClientIP", pick(&w.r, []string{w.u.officeIP, "", "::ffff:" + w.u.officeIP, w.u.homeIP6}))
	}
	w.str("ObjectId", rt.name+"/"+strconv.Itoa(w.r.n(500)))
	switch w.r.n(4) {
	case 0:
		w.raw(`,"ExtendedProperties":[{"Name":"Reason","Value":"scheduled"},{"Name":"Attempt","Value":"1"}]`)
	case 1:
		w.raw(`,"ModifiedProperties":[{"Name":"State","NewValue":"On","OldValue":"Off"}],"Data State":"Use"`)
	case 2:
		w.raw(`,"Data":"{\"kind\":\"` + rt.name + `\",\"nested\":[1,2.50,1e3,null,true]}","Score":0.0700,"Count":12345678901234567890`)
	default:
		w.raw(`,"Details":{"Level":[[],{},{"Deep":{"Er":"\ud83d\ude80"}}]}`)
	}
	w.guid("CorrelationId")
}

// unknown writes what no table knows yet: new record types, new workloads, odd casing.
func (w *writer) unknown() {
	n := pick(&w.r, []int{-1, 9001, 9002, 10077})
	w.head("SomethingNew", n)
	w.who(w.u.UPN, w.u.ID, pick(&w.r, []int{0, 9, 12}), pick(&w.r, []string{"BrandNewService", "exchange", "ONEDRIVE", "Loop"}))
	w.raw(`,"Payload":{"Version":2,"Flags":[true,false,null]},"ClientIP":null`)
}
