package tenant

import "strconv"

var (
	fileNames = []struct{ name, ext string }{
		{"plan", "docx"},
		{"figures", "xlsx"},
		{"deck", "pptx"},
		{"contract signed", "pdf"},
		{"photo", "jpg"},
		{"Übersicht", "xlsx"},
		{"notes", "one"},
		{"export", "csv"},
		{"archive", "zip"},
		{"budget 2026", "xlsx"},
		{"spec", "md"},
		{"O\\u0027Dell review", "docx"},
	}
	fileOps = []string{"FileAccessed", "FileAccessed", "FileModified", "FileModified", "FilePreviewed", "FileUploaded", "FileDownloaded", "FileSyncDownloadedFull", "FileSyncUploadedFull", "FileDeleted", "FileRenamed", "FileMoved", "FolderCreated", "FileModifiedExtended", "FileAccessedExtended", "FileRecycled", "FileCheckedOut", "FileVersionsAllDeleted"}
)

// place is where a SharePoint or OneDrive record happens.
type place struct {
	oneDrive       bool
	url, folder    string
	site, web, lst guid
}

func (w *writer) place() place {
	if len(w.t.sites) == 0 || w.r.n(5) < 3 && !w.u.Guest {
		i := uint64(w.u.index)
		return place{
			oneDrive: true, url: w.u.personalSite, folder: pick(&w.r, []string{"Documents", "Documents/2026", "Documents/Notes", "Documents/Desktop"}),
			site: newGUID(w.t.cfg.Seed, saltSites, i, 11), web: newGUID(w.t.cfg.Seed, saltSites, i, 12), lst: newGUID(w.t.cfg.Seed, saltSites, i, 13),
		}
	}
	s := &w.t.sites[(int(w.u.index)+w.r.n(3))%len(w.t.sites)]
	return place{url: s.url, folder: pick(&w.r, s.folders), site: s.id, web: s.web, lst: s.list}
}

func (p place) workload() string {
	if p.oneDrive {
		return "OneDrive"
	}
	return "SharePoint"
}

// spHead opens a SharePoint or OneDrive record of the session's user.
func (w *writer) spHead(op string, recordType int, p place) {
	w.head(op, recordType)
	switch {
	case w.u.Guest:
		w.str("UserKey", "i:0#.f|membership|urn%3aspo%3aguest#"+w.u.guestHome)
	default:
		w.str("UserKey", "i:0h.f|membership|"+w.u.PUID+"@live.com")
	}
	w.raw(`,"UserType":0,"Version":1`)
	w.str("Workload", p.workload())
	w.str("ClientIP", w.ip())
	if w.u.Guest {
		w.str("UserId", "urn:spo:guest#"+w.u.guestHome)
	} else {
		w.str("UserId", w.u.UPN)
	}
	if w.r.n(3) > 0 {
		w.raw(`,"AppAccessContext":{"AADSessionId":"`)
		w.b = w.sessionGUID().append(w.b)
		w.raw(`","CorrelationId":"`)
		w.b = newGUID(w.r.next()).append(w.b)
		w.raw(`","UniqueTokenId":"`)
		w.b = appendBase32(w.b, w.r.next(), 22)
		w.raw(`"}`)
	}
	w.guid("CorrelationId")
	w.raw(`,"EventSource":"SharePoint"`)
}

func (w *writer) spClient() {
	a := w.agent()
	w.str("UserAgent", a.userAgent)
	if a.browser != "" {
		w.str("BrowserName", a.browser)
		w.str("BrowserVersion", a.version)
	}
	w.str("Platform", a.platform)
	w.raw(`,"IsManagedDevice":`)
	w.b = strconv.AppendBool(w.b, w.u.index%3 == 0)
	if w.r.chance(12) {
		w.str("DeviceDisplayName", w.ip()) // the real feed does this too
	}
}

func (w *writer) spFile(p place) {
	f := pick(&w.r, fileNames)
	n := strconv.Itoa(w.r.n(40))
	w.guidOf("ListId", p.lst)
	w.guidOf("ListItemUniqueId", newGUID(uint64(w.u.index), hash(uint64(len(f.name)), uint64(len(n)))))
	w.guidOf("Site", p.site)
	w.guidOf("WebId", p.web)
	w.key("SiteUrl")
	w.raw(`"`)
	w.raw(p.url)
	w.raw(`/"`)
	w.str("SourceRelativeUrl", p.folder)
	w.key("SourceFileName")
	w.raw(`"`)
	w.raw(f.name)
	w.raw(" ")
	w.raw(n)
	w.raw(".")
	w.raw(f.ext)
	w.raw(`"`)
	w.str("SourceFileExtension", f.ext)
	w.key("ObjectId")
	w.raw(`"`)
	w.raw(p.url)
	w.raw("/")
	w.raw(p.folder)
	w.raw("/")
	w.raw(f.name)
	w.raw(" ")
	w.raw(n)
	w.raw(".")
	w.raw(f.ext)
	w.raw(`"`)
}

func (w *writer) file() { w.fileOp(w.operation(6, fileOps)) }

func (w *writer) fileDownloaded() { w.fileOp("FileDownloaded") }

func (w *writer) fileOp(op string) {
	p := w.place()
	w.spHead(op, 6, p)
	w.str("AuthenticationType", pick(&w.r, []string{"OAuth", "FormsCookieAuth", "BearerToken"}))
	w.spClient()
	w.str("ItemType", map[bool]string{true: "Folder", false: "File"}[op == "FolderCreated"])
	w.spFile(p)
	w.num("FileSizeBytes", w.r.between(200, 9_000_000))
	w.raw(`,"HighPriorityMediaProcessing":false`)
	switch op {
	case "FileRenamed", "FileMoved":
		w.str("DestinationRelativeUrl", p.folder)
		w.str("DestinationFileName", "renamed.docx")
		w.str("DestinationFileExtension", "docx")
	case "FileSyncUploadedFull", "FileSyncDownloadedFull":
		w.raw(`,"MachineDomainInfo":"`)
		w.b = newGUID(uint64(w.u.index)).append(w.b)
		w.raw(`","MachineId":"`)
		w.b = newGUID(uint64(w.u.index), 2).append(w.b)
		w.raw(`"`)
	}
}

func (w *writer) sharing() {
	p := w.place()
	op := w.operation(14, []string{"SharingSet", "AddedToSecureLink", "AnonymousLinkCreated", "SharingInheritanceBroken", "AddedToGroup", "CompanyLinkCreated", "SecureLinkUsed", "SharingInvitationCreated", "AnonymousLinkUsed"})
	w.spHead(op, 14, p)
	w.spClient()
	w.raw(`,"ItemType":"File"`)
	w.spFile(p)
	switch op {
	case "AnonymousLinkCreated", "AnonymousLinkUsed", "CompanyLinkCreated", "SecureLinkUsed":
		w.raw(`,"EventData":"<Type>View</Type><ExpirationDate>2027-01-01</ExpirationDate>"`)
		w.guid("UniqueSharingId")
	case "AddedToGroup":
		w.raw(`,"EventData":"<Group>Site Members</Group>","TargetUserOrGroupType":"Member"`)
		w.str("TargetUserOrGroupName", w.t.users[w.r.n(len(w.t.users))].UPN)
	default:
		w.raw(`,"EventData":"<Permissions granted>Contribute</Permissions granted>"`)
		if w.r.chance(3) {
			w.raw(`,"TargetUserOrGroupType":"Guest","TargetUserOrGroupName":"someone@partner.example"`)
		} else {
			w.raw(`,"TargetUserOrGroupType":"Member"`)
			w.str("TargetUserOrGroupName", w.t.users[w.r.n(len(w.t.users))].UPN)
		}
	}
}

func (w *writer) page() {
	p := w.place()
	w.spHead(pick(&w.r, []string{"PageViewed", "PageViewed", "PagePrefetched", "ClientViewSignaled", "SearchQueryPerformed"}), 4, p)
	w.spClient()
	w.raw(`,"CustomUniqueId":true,"ItemType":"Page"`)
	w.guidOf("Site", p.site)
	w.guidOf("WebId", p.web)
	w.guidOf("ListItemUniqueId", newGUID(w.r.next()))
	w.str("ObjectId", p.url+"/SitePages/Home.aspx")
}

func (w *writer) list() {
	p := w.place()
	w.spHead(pick(&w.r, []string{"ListItemViewed", "ListViewed", "ListItemUpdated", "ListItemCreated", "ListUpdated", "ListColumnUpdated"}), 36, p)
	w.spClient()
	w.raw(`,"ItemType":"ListItem","CustomizedDoclib":false,"FromApp":false,"IsDocLib":false`)
	w.num("ItemCount", w.r.n(900))
	w.raw(`,"ListBaseTemplateType":"100","ListBaseType":`)
	w.raw(pick(&w.r, []string{`"GenericList"`, `"DocumentLibrary"`, "1"}))
	w.guidOf("ListId", p.lst)
	w.guid("ListItemUniqueId")
	w.guidOf("Site", p.site)
	w.guidOf("WebId", p.web)
	w.str("ListTitle", pick(&w.r, []string{"Tasks", "Risks", "Contacts"}))
	w.str("ObjectId", p.url+"/Lists/Tasks/"+strconv.Itoa(w.r.n(500))+"_.000")
}

func (w *writer) siteAdmin() {
	op := w.operation(4, []string{"SiteCollectionCreated", "SiteCollectionAdminAdded", "SharingPolicyChanged", "SiteCollectionQuotaModified", "DeviceAccessPolicyChanged"})
	w.head(op, 4)
	if w.r.chance(2) {
		w.who("app@sharepoint", "i:0i.t|00000003-0000-0ff1-ce00-000000000000|app@sharepoint", 0, "SharePoint")
	} else {
		w.who("SHAREPOINT\\\\system", "S-1-0-0", 4, "SharePoint")
	}
	w.raw(`,"ApplicationDisplayName":"Microsoft Graph","ApplicationId":"00000003-0000-0000-c000-000000000000"`)
	w.guid("CorrelationId")
	w.raw(`,"EventSource":"SharePoint","ItemType":"Site","UserAgent":"","EventData":"<SiteCreationSource>AdminCenter</SiteCreationSource><TenantSettings.ShowCreateSiteCommand>True</TenantSettings.ShowCreateSiteCommand>","ModifiedProperties":[{"Name":"SharingCapability","NewValue":"ExternalUserSharingOnly","OldValue":"Disabled"}]`)
	w.guid("Site")
	w.str("ObjectId", "https://"+w.t.prefix+"-example.sharepoint.com/sites/users")
}
