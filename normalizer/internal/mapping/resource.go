package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// maxResources bounds web_resources; the rest is in unmapped, and metadata.is_truncated says so.
const maxResources = 100

// webResources fills class 6001.
func (w *worker) webResources() {
	switch w.number {
	case 2, 3, 19, 50:
		w.mailbox()
	default:
		w.resource()
	}
}

// resource fills the one thing that a record is about.
func (w *worker) resource() {
	e, r := &w.ev, &w.record
	t := w.target()
	w.wrote(t)
	res := ocsf.WebResource{Type: w.resourceType(), Name: t.name, UID: t.uid}
	if link := r.takeFirst(fURLUpper, fURL); link != "" {
		res.URLString = link
		if res.Name == "" {
			res.Name = link
		}
	} else if strings.HasPrefix(res.Name, "https://") || strings.HasPrefix(res.Name, "http://") {
		res.URLString = res.Name
	}
	if res.Name == "" {
		res.Name = r.takeFirst(fFormName, fItemName)
	}
	if res.UID == "" {
		res.UID = r.takeFirst(fMessageID, fFormID)
	}
	if res.Name == "" && (res.UID == "" || t.uid == "") {
		res.Name = w.operationText()
	}
	e.WebResources = append(e.WebResources, res)
}

// mailbox fills the mailbox and its items.
func (w *worker) mailbox() {
	e, r := &w.ev, &w.record
	box := ocsf.WebResource{Type: "Mailbox", Name: r.take(fMailboxOwnerUPN), UID: r.take(fMailboxGuid)}
	if box.Name != "" || box.UID != "" {
		e.WebResources = append(e.WebResources, box)
	}
	w.item(r.structure(fItem))
	w.items(r.structure(fAffectedItems))
	for _, list := range [...]struct {
		field field
		items string
	}{{fFolders, "FolderItems"}, {fMessages, "MessageItems"}} {
		c := cursor{raw: r.structure(list.field)}
		for c.element() {
			w.items(find(c.value, list.items))
		}
	}
	if len(e.WebResources) == 0 {
		w.resource()
	}
}

func (w *worker) items(raw []byte) {
	c := cursor{raw: raw}
	for c.element() {
		w.item(c.value)
	}
}

// item adds an item of a mailbox.
func (w *worker) item(raw []byte) {
	e, r := &w.ev, &w.record
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	res := ocsf.WebResource{Type: "Email"}
	var id string
	c := cursor{raw: raw}
	for c.member() {
		switch string(c.key) {
		case "Subject":
			res.Name = r.textOf(c.value)
		case "InternetMessageId":
			res.UID = r.textOf(c.value)
		case "Id":
			id = r.textOf(c.value)
		}
	}
	if res.UID == "" {
		res.UID = id
	}
	if res.Name == "" && res.UID == "" {
		return
	}
	if len(e.WebResources) >= maxResources {
		e.Metadata.IsTruncated = ocsf.True
		return
	}
	e.WebResources = append(e.WebResources, res)
}

// applicationLifecycle fills class 6002.
func (w *worker) applicationLifecycle() {
	e, r := &w.ev, &w.record
	e.App = ocsf.Product{Name: r.takeFirst(fAddOnName, fAppName), UID: r.take(fAddOnGuid)}
	if e.App.UID == "" {
		e.App.UID = e.Actor.AppUID
	}
	if e.App.Name != "" || e.App.UID != "" {
		return
	}
	t := w.target()
	if e.App.Name, e.App.UID = t.name, t.uid; !t.some() {
		e.App.Name = w.operationText()
	}
	w.wrote(t)
}
