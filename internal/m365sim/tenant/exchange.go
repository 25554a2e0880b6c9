package tenant

import "strconv"

var (
	// Subjects are JSON text already: some hold escapes, some do not.
	subjects = []string{"Quarterly figures", "RE: Delivery to Harbour House", "Angebot f\\u00fcr Juli", "Lunch?", "Invoice 2026-0417", "WG: Änderung im Vertrag", "\\\"Final\\\" version of the plan", "会議の議事録", "Password expiry notice", "Minutes \\u0026 actions", "FYI", "Übergabe Projekt"}
	folders  = []string{"\\\\Inbox", "\\\\Sent Items", "\\\\Deleted Items", "\\\\Inbox\\\\Customers", "\\\\Drafts", "\\\\Recoverable Items\\\\Deletions", "\\\\Calendar"}
	clients  = []string{"Client=OWA;Action=ViaProxy", "Client=REST;Client=RESTSystem;;", "Client=MSExchangeRPC", "Client=OutlookService;Outlook-Android/2.0;", "Client=WebServices;ExchangeWebServicesProxy", "Client=ActiveSync;Action=Sync"}
	cmdlets  = []string{"Set-Mailbox", "Add-MailboxPermission", "Set-TransportRule", "New-TransportRule", "Set-CASMailbox", "Set-OwaMailboxPolicy", "Set-AdminAuditLogConfig", "Remove-MailboxPermission", "Set-MailboxJunkEmailConfiguration", "Add-RecipientPermission"}
	servers  = []string{"AM0PR00MB1001 (15.20.9000.012)\\r\\n", "DB3PR00MB2002 (15.20.9000.012)\\n", "VI1PR00MB3003 (15.20.9000.010)"}
)

func (w *writer) mailboxHead(op string, recordType int) {
	w.head(op, recordType)
	w.str("ResultStatus", resultOf(&w.r))
	w.who(w.u.UPN, w.puidKey(), 0, "Exchange")
}

func (w *writer) mailboxTail() {
	if w.r.chance(3) {
		w.str("ExternalAccess", "False")
	} else {
		w.raw(`,"ExternalAccess":false`)
	}
	delegate := w.r.chance(30)
	logon := 0
	if delegate {
		logon = 2
	}
	w.num("InternalLogonType", 0)
	w.num("LogonType", logon)
	w.str("LogonUserSid", w.u.SID)
	owner := w.u
	if delegate {
		owner = &w.t.users[int(w.u.index+1)%len(w.t.users)]
	}
	w.str("MailboxGuid", owner.mailbox)
	w.str("MailboxOwnerSid", owner.SID)
	w.str("MailboxOwnerUPN", owner.UPN)
	w.str("OrganizationName", w.t.domains[0])
	w.str("OriginatingServer", pick(&w.r, servers))
	w.session("SessionId")
	w.str("ClientInfoString", pick(&w.r, clients))
}

func (w *writer) folder(path string) {
	w.raw(`{"Id":"LgAAAAB`)
	w.b = appendBase32(w.b, hash(uint64(w.u.index), uint64(len(path))), 24)
	w.raw(`AB","Path":"`)
	w.raw(path)
	w.raw(`"}`)
}

func (w *writer) messageID() {
	w.raw(`<`)
	w.b = appendBase32(w.b, w.r.next(), 20)
	w.raw(`@AM0PR00MB1001.eurprd00.prod.outlook.example>`)
}

const base32Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

func appendBase32(b []byte, v uint64, n int) []byte {
	for range n {
		b = append(b, base32Digits[v&31])
		v = v>>5 | v<<59
	}
	return b
}

func (w *writer) mailItem() {
	op := pick(&w.r, []string{"Create", "Update", "Send", "Create", "Send", "SendAs", "SendOnBehalf", "ModifyFolderPermissions", "MailboxLogin", "UpdateInboxRules", "RecordDelete"})
	w.mailboxHead(op, 2)
	ip := w.ip()
	w.str("ClientIP", ip)
	w.str("ClientIPAddress", ip)
	w.mailboxTail()
	switch op {
	case "SendAs":
		w.str("SendAsUserSmtp", w.t.users[0].UPN)
		w.str("SendAsUserMailboxGuid", w.t.users[0].mailbox)
	case "SendOnBehalf":
		w.str("SendOnBehalfOfUserSmtp", w.t.users[1].UPN)
		w.str("SendOnBehalfOfUserMailboxGuid", w.t.users[1].mailbox)
	case "UpdateInboxRules":
		w.raw(`,"OperationProperties":[{"Name":"RuleOperation","Value":"AddMailboxRule"},{"Name":"RuleId","Value":"-87654321"},{"Name":"RuleState","Value":"Enabled"},{"Name":"RuleName","Value":"tidy up"}]`)
		return
	case "MailboxLogin":
		return
	}
	w.raw(`,"Item":{"Id":"RgAAAAB`)
	w.b = appendBase32(w.b, w.r.next(), 40)
	w.raw(`AAAJ","InternetMessageId":"`)
	w.messageID()
	w.raw(`","IsRecord":false,"ParentFolder":`)
	if op == "ModifyFolderPermissions" {
		w.raw(`{"Id":"LgAAAAB`)
		w.b = appendBase32(w.b, w.r.next(), 24)
		w.raw(`AB","MemberRights":"ReadAny, Create, EditOwned, Visible","MemberSid":"S-1-8-1","MemberUpn":"Anonymous","Name":"Calendar","Path":"\\Calendar"}}`)
		return
	}
	w.folder(pick(&w.r, folders))
	w.raw(`,"SizeInBytes":`)
	w.b = strconv.AppendInt(w.b, int64(w.r.between(900, 400_000)), 10)
	w.raw(`,"Subject":"`)
	w.raw(pick(&w.r, subjects))
	if w.r.chance(5) {
		w.raw(`","Attachments":"figures.xlsx (18320b); logo.png (4445b)`)
	}
	w.raw(`"}`)
	if w.r.chance(4) {
		w.raw(`,"AppAccessContext":{"AADSessionId":"`)
		w.b = w.sessionGUID().append(w.b)
		w.raw(`","IssuedAtTime":"`)
		w.stamp()
		w.raw(`","UniqueTokenId":"`)
		w.b = appendBase32(w.b, w.r.next(), 22)
		w.raw(`"}`)
	}
}

func (w *writer) mailGroup() {
	op := pick(&w.r, []string{"SoftDelete", "MoveToDeletedItems", "HardDelete", "Move", "SoftDelete", "Copy"})
	w.mailboxHead(op, 3)
	ip := w.ip()
	w.str("ClientIP", ip)
	w.str("ClientIPAddress", ip)
	w.mailboxTail()
	w.raw(`,"AffectedItems":[`)
	for i := w.r.between(1, 5); i > 0; i-- {
		w.raw(`{"Attachments":"","Id":"RgAAAAB`)
		w.b = appendBase32(w.b, w.r.next(), 40)
		w.raw(`","InternetMessageId":"`)
		w.messageID()
		w.raw(`","ParentFolder":`)
		w.folder(folders[0])
		w.raw(`,"Subject":"`)
		w.raw(pick(&w.r, subjects))
		w.raw(`"}`)
		if i > 1 {
			w.raw(",")
		}
	}
	w.raw(`],"CrossMailboxOperation":false,"Folder":`)
	w.folder(folders[0])
	if op == "Move" || op == "MoveToDeletedItems" {
		w.raw(`,"DestFolder":`)
		w.folder(folders[2])
	}
}

func (w *writer) mailAccessed() {
	w.mailboxHead("MailItemsAccessed", 50)
	w.str("ClientIPAddress", w.ip())
	w.mailboxTail()
	bind := !w.r.chance(3)
	w.raw(`,"OperationProperties":[{"Name":"MailAccessType","Value":"`)
	if bind {
		w.raw("Bind")
	} else {
		w.raw("Sync")
	}
	w.raw(`"},{"Name":"IsThrottled","Value":"False"}]`)
	n := 1 + w.r.n(4)
	if w.r.chance(500) {
		n = 200 + w.r.n(300)
	}
	w.num("OperationCount", n)
	w.raw(`,"Folders":[{"FolderItems":[`)
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		w.raw(`{"InternetMessageId":"`)
		w.messageID()
		w.raw(`","SizeInBytes":`)
		w.b = strconv.AppendInt(w.b, int64(w.r.between(2000, 90_000)), 10)
		w.raw("}")
	}
	w.raw(`],"Id":"LgAAAAB`)
	w.b = appendBase32(w.b, uint64(w.u.index), 24)
	w.raw(`","Path":"\\Inbox"}]`)
}

func (w *writer) cmdletHead(op string) {
	w.head(op, 1)
	w.str("ResultStatus", pick(&w.r, []string{"True", "True", "True", "False"}))
	w.who(w.u.UPN, w.puidKey(), 2, "Exchange")
	w.key("ClientIP")
	w.raw(`"`)
	if ip := w.ip(); ip == w.u.homeIP6 {
		w.raw("[" + ip + "]")
	} else {
		w.raw(ip)
	}
	w.raw(":")
	w.b = strconv.AppendInt(w.b, int64(w.r.between(1024, 65000)), 10)
	w.raw(`"`)
}

func (w *writer) cmdletTail() {
	w.str("AppId", w.t.apps[1].id)
	w.raw(`,"ClientAppId":"","ExternalAccess":false`)
	w.str("OrganizationName", w.t.domains[0])
	w.str("OriginatingServer", pick(&w.r, servers))
}

func (w *writer) inboxRule() {
	w.cmdletHead("New-InboxRule")
	w.str("ObjectId", "EURPR00A000.PROD.OUTLOOK.EXAMPLE/Microsoft Exchange Hosted Organizations/"+w.t.domains[0]+"/"+w.u.mailbox+"\\\\rule 1")
	w.cmdletTail()
	w.raw(`,"Parameters":[{"Name":"AlwaysDeleteOutlookRulesBlob","Value":"False"},{"Name":"Force","Value":"False"}`)
	if w.s.marks&markAttack != 0 {
		w.raw(`,{"Name":"ForwardTo","Value":"collector@drop.example"},{"Name":"SubjectContainsWords","Value":"invoice;payment;iban"},{"Name":"Name","Value":"."},{"Name":"DeleteMessage","Value":"True"}]`)
	} else {
		w.raw(`,{"Name":"From","Value":"newsletter@supplier.example"},{"Name":"MoveToFolder","Value":"Newsletters"},{"Name":"Name","Value":"newsletters"},{"Name":"StopProcessingRules","Value":"True"}]`)
	}
	w.session("SessionId")
}

func (w *writer) exchangeAdmin() {
	op := w.operation(1, cmdlets)
	v := &w.t.users[w.r.n(len(w.t.users))]
	w.cmdletHead(op)
	w.str("ObjectId", "EURPR00A000.PROD.OUTLOOK.EXAMPLE/Microsoft Exchange Hosted Organizations/"+w.t.domains[0]+"/"+v.mailbox)
	w.cmdletTail()
	w.raw(`,"Parameters":[{"Name":"Identity","Value":"` + v.UPN + `"}`)
	switch op {
	case "Add-MailboxPermission", "Remove-MailboxPermission":
		w.raw(`,{"Name":"User","Value":"` + w.u.UPN + `"},{"Name":"AccessRights","Value":"FullAccess"},{"Name":"InheritanceType","Value":"All"}`)
	case "Set-Mailbox":
		w.raw(`,{"Name":"ProhibitSendQuota","Value":"99 GB (106,300,440,576 bytes)"},{"Name":"AuditEnabled","Value":"True"}`)
	case "New-TransportRule", "Set-TransportRule":
		w.raw(`,{"Name":"Name","Value":"Mark external mail"},{"Name":"SetSCL","Value":"-1"},{"Name":"Mode","Value":"Enforce"}`)
	case "Set-AdminAuditLogConfig":
		w.raw(`,{"Name":"UnifiedAuditLogIngestionEnabled","Value":"True"}`)
	}
	w.raw("]")
	w.session("SessionId")
}

func (w *writer) exchangeSystem() {
	w.head(pick(&w.r, []string{"Set-Mailbox", "Set-TenantObjectVersion", "Enable-AddressListPaging", "Set-TransportConfig", "Install-DefaultSharingPolicy"}), 1)
	w.str("ResultStatus", "True")
	who := pick(&w.r, []string{"NT AUTHORITY\\\\SYSTEM (Microsoft.Exchange.ServiceHost)", "NT AUTHORITY\\\\SYSTEM (Microsoft.Exchange.AdminApi.NetCore)", "NT AUTHORITY\\\\NETWORK SERVICE"})
	w.who(who, who, 3, "Exchange")
	w.str("ObjectId", w.t.domains[0]+"\\\\Quarantine")
	w.raw(`,"AppId":"","ClientAppId":"","ExternalAccess":true`)
	w.str("OrganizationName", w.t.domains[0])
	w.str("OriginatingServer", pick(&w.r, servers))
	w.raw(`,"Parameters":[{"Name":"Arbitration","Value":"True"},{"Name":"Force","Value":"True"},{"Name":"IssueWarningQuota","Value":"90 GB (96,636,764,160 bytes)"},{"Name":"SCLDeleteEnabled","Value":"False"}]`)
}

func resultOf(r *rng) string {
	if r.chance(30) {
		return "PartiallySucceeded"
	}
	return "Succeeded"
}
