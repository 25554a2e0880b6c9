package tenant

import "strconv"

func (w *writer) aip() {
	types := []struct {
		n  int
		op string
	}{{93, "Access"}, {93, "Discover"}, {94, "SensitivityLabelApplied"}, {94, "SensitivityLabelUpdated"}, {95, "Protect"}, {96, "FileDeleted"}, {97, "HeartBeat"}}
	k := pick(&w.r, types)
	w.b = append(w.b, '{')
	// This family puts its own members first; the common ones follow.
	w.raw(`"SensitivityLabelEventData":{"SensitivityLabelId":"`)
	w.b = newGUID(uint64(w.r.n(4)), 44).append(w.b)
	w.raw(`"},"SensitiveInfoTypeData":[],"ProtectionEventData":{"IsProtected":false},"Common":{"ApplicationId":"c00e9d32-3c8d-4a7d-832b-029040e7db99","ApplicationName":"Information Protection Add-In","ProcessName":"WINWORD","Platform":1,"DeviceName":"pc-`)
	w.b = strconv.AppendInt(w.b, int64(w.u.index), 10)
	w.raw(`.` + w.t.domains[1] + `","Location":"On-premises file shares","ProductVersion":"2.13.49.0"},"DataState":"Use","ObjectId":"C:\\work\\plan.docx"`)
	w.inner(k.op, k.n)
	w.who(w.u.UPN, w.u.UPN, 0, "Aip")
	w.str("ClientIP", w.ip())
	w.raw(`,"Scope":1`)
}

// inner writes the members of head in the middle of a record.
func (w *writer) inner(op string, recordType int) {
	at := len(w.b)
	w.head(op, recordType)
	w.b[at] = ','
}

func (w *writer) label() {
	w.head(pick(&w.r, []string{"SensitivityLabelApplied", "SensitivityLabeledFileOpened", "SensitivityLabelUpdated", "FileSensitivityLabelChanged"}), 82+w.r.n(3))
	w.who(w.u.UPN, w.u.ID, 0, "PublicEndpoint")
	w.raw(`,"Application":"Word","DeviceName":"pc-7","Platform":1,"ProductVersion":"16.0.18730","SensitivityLabelEventData":{"ActionSource":3,"LabelEventType":2,"OldSensitivityLabelId":"","SensitivityLabelId":"`)
	w.b = newGUID(uint64(w.r.n(4)), 44).append(w.b)
	w.raw(`"},"Scope":0`)
	w.str("ObjectId", w.u.personalSite+"/Documents/plan 7.docx")
}

var alertNames = []struct{ name, category, severity string }{
	{"Elevation of Exchange admin privilege", "AccessGovernance", "Low"},
	{"Creation of forwarding/redirect rule", "ThreatManagement", "Informational"},
	{"User restricted from sending email", "ThreatManagement", "Medium"},
	{"Unusual volume of file deletion", "DataGovernance", "Medium"},
	{"Email messages containing malicious URL removed after delivery", "ThreatManagement", "High"},
	{"Data loss: card numbers shared outside", "DataLossPrevention", "High"},
}

func (w *writer) alert() {
	a := pick(&w.r, alertNames)
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.head(pick(&w.r, []string{"AlertTriggered", "AlertEntityGenerated", "AlertEntityGenerated", "AlertUpdated"}), 40)
	w.str("ResultStatus", "Succeeded")
	w.who("SecurityComplianceAlerts", "SecurityComplianceAlerts", 4, "SecurityComplianceCenter")
	w.str("ObjectId", v.UPN)
	// The records of one alert share its id.
	w.guidOf("AlertId", newGUID(w.t.cfg.Seed, uint64(w.s.slot)/2, hash(uint64(len(a.name)))))
	w.raw(`,"AlertLinks":[{"AlertLinkHref":"https://compliance.example/alert?id=7\u0026view=1"}],"AlertType":"System","Comments":"New alert"`)
	w.str("Category", a.category)
	w.str("Name", a.name)
	w.str("Severity", a.severity)
	w.raw(`,"Source":"Office 365 Security \u0026 Compliance","Status":"Active","EntityType":"User","PolicyId":"17d50000-88e1-40c1-8df3-20bcf2e40000"`)
	w.str("AlertEntityId", v.UPN)
	w.raw(`,"Data":"{\"etype\":\"User\",\"eid\":\"` + v.UPN + `\",\"tid\":\"` + w.t.id + `\",\"ts\":\"`)
	w.stamp()
	w.raw(`.0000000Z\",\"te\":\"`)
	w.stamp()
	w.raw(`.0000000Z\",\"op\":\"GrantAdminPermission\",\"wl\":\"Exchange\",\"tdc\":\"1\",\"lon\":\"GrantAdminPermission\"}"`)
}

func (w *writer) compliance() {
	if w.r.chance(4) {
		w.head("SearchDataInsightsSubscription", 52)
		w.who("Service Account", "Service Account", 5, "SecurityComplianceCenter")
		w.str("DataType", "DataInsightsSubscription")
		return
	}
	op := w.operation(18, []string{"New-RetentionCompliancePolicy", "Set-DlpCompliancePolicy", "Get-ComplianceSearch", "Add-RoleGroupMember", "Set-ProtectionAlert", "New-ComplianceCase"})
	w.head(op, 18)
	w.str("ResultStatus", "Success")
	w.who(w.u.UPN, w.u.PUID, 2, "SecurityComplianceCenter")
	w.raw(`,"ClientApplication":"EMC","CmdletVersion":"15.20.9000.012"`)
	w.str("EffectiveOrganization", w.t.domains[0])
	w.str("ObjectId", op)
	w.raw(`,"Parameters":"-Identity \"Default policy\" -Confirm \"False\"","NonPiiParameters":"-Identity -Confirm","SecurityComplianceCenterEventType":0,"StartTime":"`)
	w.stamp()
	w.raw(`","UserServicePlan":""`)
	w.guid("ClientRequestId")
}

func (w *writer) discovery() {
	w.head(w.operation(24, []string{"SearchCreated", "CaseAdded", "SearchExportDownloaded", "HoldCreated", "SearchStarted"}), 24)
	w.who(w.u.UPN, w.u.PUID, 0, "SecurityComplianceCenter")
	w.guidOf("CaseId", newGUID(w.t.cfg.Seed, 24, uint64(w.r.n(5))))
	w.raw(`,"Case":"Matter 12","Cmdlet":"New-ComplianceSearch","Query":"subject:\"plan\" AND sent>=2026-01-01","ExchangeLocations":"All","SharepointLocations":"","ObjectType":"ComplianceSearch","ExtendedProperties":[{"Name":"CaseType","Value":"AdvancedEdiscovery"}],"Parameters":[{"Name":"Name","Value":"search 1"}]`)
	w.str("ObjectId", "search 1")
}

func (w *writer) threatHead(op string, recordType int) {
	w.head(op, recordType)
	w.who("ThreatIntel", "ThreatIntel", 4, "ThreatIntelligence")
}

func (w *writer) mailThreat() {
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.threatHead("TIMailData", 28)
	w.raw(`,"AttachmentData":[{"FileName":"invoice.html","FileType":"html","FileVerdict":1,"MalwareFamily":"Phish:HTML/Example","SHA256":"`)
	for range 4 {
		w.b = appendHex(w.b, w.r.next())
	}
	w.raw(`"}],"AuthDetails":[{"Name":"SPF","Value":"Fail"},{"Name":"DKIM","Value":"None"},{"Name":"DMARC","Value":"Fail"}],"DeliveryAction":"DeliveredAsSpam","DetectionMethod":"Advanced filter","DetectionType":"Inline","Directionality":"Inbound","EventDeepLink":"https://security.example/explorer","InternetMessageId":"`)
	w.messageID()
	w.raw(`","LatestDeliveryLocation":"JunkFolder","MessageTime":"`)
	w.stamp()
	w.raw(`","OriginalDeliveryLocation":"JunkFolder","P1Sender":"bounce@bulk.example","P2Sender":"boss@lookalike.example","PhishConfidenceLevel":"High","Policy":"Phish","PolicyAction":"MoveToJmf","SenderIp":"192.0.2.66","Subject":"`)
	w.raw(pick(&w.r, subjects))
	w.raw(`","ThreatsAndDetectionTech":["Phish: [Advanced filter]","Spam: [URL detonation]"],"Verdict":"Phish","SystemOverrides":[]`)
	w.raw(`,"Recipients":["` + v.UPN + `"]`)
	w.guid("NetworkMessageId")
	w.str("ObjectId", "mail")
}

func appendHex(b []byte, v uint64) []byte {
	for range 16 {
		b = append(b, hexDigits[v>>60])
		v <<= 4
	}
	return b
}

func (w *writer) linkClick() {
	w.threatHead("TIUrlClickData", 41)
	w.raw(`,"AppName":"Mail","SourceId":"mail","URLClickAction":` + strconv.Itoa(2+w.r.n(5)) + `,"URL":"https://login.lookalike.example/?u=1\u0026x=2","EventDeepLink":"https://security.example/click","TimeOfClick":"`)
	w.stamp()
	w.raw(`"`)
	w.str("UserIp", w.ip())
	w.str("Recipient", w.u.UPN)
}

func (w *writer) fileThreat() {
	w.threatHead("AtpDetection", 47)
	w.raw(`,"DetectionMethod":"AntiMalware","EventDeepLink":"https://security.example/file","FileData":{"DocumentId":"7","FileName":"archive 7.zip","FilePath":"` + w.u.personalSite + `/Documents","FileSize":"18230","FileVerdict":1,"MalwareFamily":"Trojan:Win32/Example","SHA256":"`)
	for range 4 {
		w.b = appendHex(w.b, w.r.next())
	}
	w.raw(`"},"LastModifiedBy":"` + w.u.UPN + `","LastModifiedDate":"`)
	w.stamp()
	w.raw(`","SourceWorkload":` + strconv.Itoa(w.r.n(3)))
}

func (w *writer) air() {
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.head("AirInvestigationData", 64)
	w.who("AirInvestigation", "AirInvestigation", 4, "AirInvestigation")
	inv := newGUID(w.t.cfg.Seed, uint64(w.s.slot)/3, 64)
	w.guidOf("ObjectId", inv)
	w.guidOf("InvestigationId", inv)
	w.raw(`,"InvestigationName":"Mail with malicious URLs","InvestigationType":"ZappedUrlInvestigation","Status":"`)
	w.raw(pick(&w.r, []string{"Investigation Started", "Pending Action", "Remediated"}))
	w.raw(`","DeeplinkURL":"https://security.example/air","LastUpdateTimeUtc":"`)
	w.stamp()
	w.raw(`","StartTimeUtc":"`)
	w.stamp()
	w.raw(`","Actions":["{\"ActionId\":\"a-1\",\"ActionType\":\"EmailRemediation\",\"ActionStatus\":\"Pending\"}"],"Data":"{\"Version\":\"3.0\",\"Severity\":\"Informational\",\"Entities\":[{\"$id\":\"1\",\"Upn\":\"` + v.UPN + `\",\"Type\":\"mailbox\"}]}"`)
}

func (w *writer) quarantine() {
	w.head(pick(&w.r, []string{"QuarantineReleaseMessage", "QuarantinePreviewMessage", "QuarantineDelete"}), 65)
	w.who(w.u.UPN, w.u.PUID, 2, "Quarantine")
	w.guid("NetworkMessageId")
	w.raw(`,"ReleaseTo":"` + w.t.users[0].UPN + `","RequestSource":0,"RequestType":1`)
}

func (w *writer) defender() {
	k := pick(&w.r, []struct {
		n  int
		op string
	}{{78, "AlertCreated"}, {81, "IsolateDevice"}, {113, "CreateCustomDetection"}, {166, "AlertUpdated"}, {169, "IncidentStatus"}, {98, "McasAlert"}, {117, "AppRemediated"}, {294, "RiskDetected"}, {85, "AttackSimClicked"}})
	workload := map[int]string{98: "MCAS", 117: "AppGovernance", 294: "AzureActiveDirectory", 85: "ThreatIntelligence"}[k.n]
	if workload == "" {
		workload = "MicrosoftDefender"
	}
	w.head(k.op, k.n)
	w.str("ResultStatus", "Success")
	w.who(w.u.UPN, w.u.ID, 2, workload)
	w.guidOf("IncidentId", newGUID(w.t.cfg.Seed, uint64(w.s.slot)/4, 98))
	w.raw(`,"Severity":"Medium","Status":"New","DeviceName":"pc-7.` + w.t.domains[1] + `","Comment":"rolled out by runbook"`)
	w.str("ObjectId", "incident")
}

func (w *writer) endpointDLP() {
	w.head(pick(&w.r, []string{"FileCopiedToRemovableMedia", "FileRead", "FileModified", "FileUploadedToCloud", "FilePrinted", "FileCreated"}), 63)
	w.who(w.u.UPN, w.u.ID, 0, "Endpoint")
	w.str("ClientIP", w.ip())
	w.str("ObjectId", "C:\\\\Users\\\\"+w.u.upnEscapedForPath+"\\\\plan.docx")
	w.raw(`,"Application":"explorer.exe","DeviceName":"pc-` + strconv.Itoa(int(w.u.index)) + `","EvidenceFile":{"FullUrl":"","StorageName":""},"FileExtension":"docx","FileType":"","FileSize":` + strconv.Itoa(w.r.between(100, 90_000)) + `,"Hidden":false,"JitTriggered":false,"MDATPDeviceId":"`)
	w.b = appendHex(w.b, uint64(w.u.index))
	w.raw(`","EnforcementMode":1,"OriginatingDomain":"","ParentArchiveHash":"","Platform":1,"PolicyMatchInfo":{},"RMSEncrypted":false,"SensitiveInfoTypeData":[],"SourceLocationType":1,"TargetDomain":"","Sha256":"`)
	for range 4 {
		w.b = appendHex(w.b, w.r.next())
	}
	w.raw(`"`)
}

// Sensitive information types by their well-known ids.
const (
	cardType = "50842eb7-edc8-4019-85dd-5a5c1f2bb085"
	ibanType = "e7dc4711-11b7-4cb0-b88b-2c394a771f0e"
)

// dlpPolicy writes the policy details; the detected values are the secrets themselves, in clear, as the feed has them.
func (w *writer) dlpPolicy(location string) {
	n := w.r.between(1, 5)
	w.raw(`,"PolicyDetails":[{"PolicyId":"`)
	w.b = newGUID(w.t.cfg.Seed, 77).append(w.b)
	w.raw(`","PolicyName":"Financial data","Rules":[{"Actions":["BlockAccess","NotifyUser"],"ActionParameters":["GenerateIncidentReport:` + w.t.users[0].UPN + `"],"ConditionsMatched":{"ConditionMatchedInNewScheme":true,"OtherConditions":[{"Name":"AccessScope","Value":"IncludeExternalUsers"}],"SensitiveInformation":[{"ClassifierType":"Content","Confidence":85,"Count":`)
	w.b = strconv.AppendInt(w.b, int64(n), 10)
	w.raw(`,"Location":"` + location + `","SensitiveInformationDetections":{"DetectedValues":[`)
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		w.raw(`{"Name":"4000 0000 `)
		w.b = strconv.AppendInt(w.b, int64(w.r.between(1000, 9999)), 10)
		w.raw(" ")
		w.b = strconv.AppendInt(w.b, int64(w.r.between(1000, 9999)), 10)
		w.raw(`","Value":"card 4000 0000 valid thru 12\/29, please book"}`)
	}
	w.raw(`],"ResultsTruncated":false},"SensitiveInformationDetailedClassificationAttributes":[{"Confidence":65,"Count":1,"IsMatch":false},{"Confidence":85,"Count":1,"IsMatch":true}],"SensitiveInformationTypeName":"Credit Card Number","SensitiveType":"` + cardType + `","UniqueCount":1},{"Confidence":75,"Count":1,"Location":"` + location + `","SensitiveInformationTypeName":"IBAN","SensitiveType":"` + ibanType + `","UniqueCount":1}]},"ManagementRuleId":"`)
	w.b = newGUID(w.t.cfg.Seed, 79).append(w.b)
	w.raw(`","RuleId":"`)
	w.b = newGUID(w.t.cfg.Seed, 78).append(w.b)
	w.raw(`","RuleMode":"Enable","RuleName":"High volume of card numbers","Severity":"`)
	w.raw(pick(&w.r, []string{"High", "Medium", "Low"}))
	w.raw(`"}]}],"SensitiveInfoDetectionIsIncluded":true`)
}

func (w *writer) dlpExchange() {
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.head(pick(&w.r, []string{"DlpRuleMatch", "DlpRuleMatch", "DlpRuleMatch", "DlpRuleUndo"}), 13)
	w.who("DlpAgent", "1153801116545789462", 4, "Exchange")
	w.guid("IncidentId")
	w.raw(`,"ExceptionInfo":{"FalsePositive":false}`)
	w.dlpPolicy("Message Body")
	w.raw(`,"ExchangeMetaData":{"BCC":[],"CC":["cc@partner.example"],"From":"` + v.UPN + `","MessageID":"`)
	w.messageID()
	w.raw(`","RecipientCount":2,"Sent":"`)
	w.stamp()
	w.raw(`","Subject":"card for the booking","To":["someone@partner.example"],"FileSize":13405,"UniqueID":"`)
	w.b = newGUID(w.r.next()).append(w.b)
	w.raw(`"}`)
	w.str("ObjectId", "mail")
}

func (w *writer) dlpSharePoint() { w.dlpFile("SharePoint", "DlpPolicyEventBasedAssistantSharePoint") }

func (w *writer) dlpOneDrive() {
	w.dlpFile("OneDrive", "DlpPolicyEventBasedAssistantOneDriveForBusiness")
}

func (w *writer) dlpFile(workload, assistant string) {
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.head("DLPRuleMatch", 11)
	w.who(assistant, assistant, 4, workload)
	w.guid("IncidentId")
	w.dlpPolicy("Document")
	id := newGUID(w.r.next())
	w.guidOf("ObjectId", id)
	w.raw(`,"SharePointMetaData":{"FileID":"`)
	w.b = id.append(w.b)
	w.raw(`","FileName":"cards.xlsx","FileOwner":"` + v.DisplayName + `","FilePathUrl":"` + v.personalSite + `/Documents/cards.xlsx","From":"` + v.UPN + `","ItemCreationTime":"`)
	w.stamp()
	w.raw(`","ItemLastModifiedTime":"`)
	w.stamp()
	w.raw(`","SiteCollectionUrl":"` + v.personalSite + `","SiteCollectionGuid":"`)
	w.b = newGUID(w.t.cfg.Seed, uint64(v.index), 11).append(w.b)
	w.raw(`","UniqueID":"`)
	w.b = id.append(w.b)
	w.raw(`"}`)
}
