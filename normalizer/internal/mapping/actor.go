package mapping

import (
	"strings"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// actor fills who did it: actor.user, the application and the session.
func (w *worker) actor() {
	r, a := &w.record, &w.ev.Actor
	w.actorUser()
	if a.AppUID = r.takeFirst(fApplicationID, fAppID, fClientAppID); a.AppUID == "" {
		a.AppUID = r.part(fAppAccessContext, "ClientAppId")
	}
	if a.AppName = r.takeFirst(fApplicationDisplayName, fApplicationName); a.AppName == "" {
		a.AppName = r.part(fAppAccessContext, "ClientAppName")
	}
	s := &a.Session
	if s.UID = r.take(fSessionID); s.UID == "" {
		if s.UID = r.part(fAppAccessContext, "AADSessionId"); s.UID == "" {
			s.UID = r.pairText(fDeviceProperties, "SessionId")
		}
	}
	if s.UIDAlt = r.take(fUniqueTokenID); s.UIDAlt == "" {
		s.UIDAlt = r.part(fAppAccessContext, "UniqueTokenId")
	}
	if a.User.Name == "" && a.User.UID == "" && a.AppUID == "" && a.AppName == "" && s.UID == "" && s.UIDAlt == "" {
		a.AppName = w.service() // an actor is required; the service is all that is known
	}
}

func (w *worker) actorUser() {
	r, u := &w.record, &w.ev.Actor.User
	u.Name = r.take(fUserID)
	u.EmailAddr, u.Domain = address(u.Name)
	if u.UID = r.take(fTokenObjectID); u.UID == "" {
		u.UID = r.actorID()
	}
	if key := r.text(fUserKey); key != "" {
		switch {
		case u.UID == key:
			r.use(fUserKey)
		case u.UID == "" && audit.IsGUID(key):
			u.UID = key
			r.use(fUserKey)
		case u.Name != "" || u.UID != "":
			u.UIDAlt = key
			r.use(fUserKey)
		default: // the key is all there is
			u.UID = key
			r.use(fUserKey)
		}
	}
	if u.Name == "" && u.UID == "" {
		return // a type alone is no user; UserType stays in unmapped
	}
	var known bool
	if u.TypeID, known = userType(r.text(fUserType)); known {
		r.use(fUserType)
	}
}

// address is the mail address in a user's name and its domain. A guest's #EXT# name is no address; a guest's claim holds one.
func address(name string) (email, domain string) {
	if rest, ok := strings.CutPrefix(name, "urn:spo:guest#"); ok {
		name = rest
	}
	if !audit.IsAddress(name) || strings.Contains(name, "#EXT#") {
		return "", ""
	}
	local, domain, _ := strings.Cut(name, "@")
	if !isASCII(local, "!#$%&'*+-/=?^_`{|}~.") || !isASCII(domain, "-.") {
		return "", "" // the schema's type for addresses knows ASCII only; the name has it whole
	}
	return name, domain
}

// isASCII reports whether s has letters and digits of ASCII and the given marks only.
func isASCII(s, marks string) bool {
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return true
}

// userType reads UserType, a number or its name.
func userType(s string) (v ocsf.Enum, known bool) {
	switch s {
	case "0", "Regular":
		return ocsf.Value(ocsf.UserTypeUser), true
	case "2", "Admin":
		return ocsf.Value(ocsf.UserTypeAdmin), true
	case "4", "System":
		return ocsf.Value(ocsf.UserTypeSystem), true
	case "5", "Application", "6", "ServicePrincipal":
		return ocsf.Value(ocsf.UserTypeService), true
	case "1", "Reserved":
		return ocsf.OtherValue("Reserved"), true
	case "3", "DcAdmin", "DCAdmin":
		return ocsf.OtherValue("DCAdmin"), true
	case "7", "CustomPolicy":
		return ocsf.OtherValue("CustomPolicy"), true
	case "8", "SystemPolicy":
		return ocsf.OtherValue("SystemPolicy"), true
	case "9", "PartnerTechnician":
		return ocsf.OtherValue("PartnerTechnician"), true
	case "10", "Guest":
		return ocsf.OtherValue("Guest"), true
	}
	return ocsf.Value(ocsf.UserTypeUnknown), false
}

// actorID is the object id in the list Actor: that of a prefixed entry, else the first GUID.
func (r *record) actorID() string {
	var plain string
	list := cursor{raw: r.structure(fActor)}
	for list.element() {
		id, kind := r.identity(list.value)
		if rest, ok := strings.CutPrefix(id, "User_"); ok && audit.IsGUID(rest) {
			return rest
		}
		if rest, ok := strings.CutPrefix(id, "ServicePrincipal_"); ok && audit.IsGUID(rest) {
			return rest
		}
		if plain == "" && (kind == "0" || kind == "2") && audit.IsGUID(id) {
			plain = id
		}
	}
	return plain
}

// identity reads an entry of Actor or Target.
func (r *record) identity(entry []byte) (id, kind string) {
	c := cursor{raw: entry}
	for c.member() {
		switch string(c.key) {
		case "ID", "Id":
			id = r.textOf(c.value)
		case "Type":
			kind = r.textOf(c.value)
		}
	}
	return id, kind
}

// target is what a record was done to.
type target struct {
	name, uid string
	listed    bool   // by an entry of Target, not only by ObjectId
	kind      string // Application, ServicePrincipal, User, Group, Device; "" = not said
}

// target reads the list Target, and ObjectId where that leaves something open. Who writes the target onto the event says so by wrote.
func (w *worker) target() target {
	r := &w.record
	t := r.targetEntries()
	object := r.text(fObjectID)
	if object == "" {
		return t
	}
	guid := audit.IsGUID(object)
	if t.name == "" && t.uid == "" && !guid {
		t.name = object
	}
	if t.uid == "" && guid {
		t.uid = object
	}
	if t.name == "" && !guid {
		t.name = object
	}
	return t
}

// some reports whether the record has a target.
func (t target) some() bool { return t.name != "" || t.uid != "" }

// wrote marks ObjectId as copied when it is the name or the id of a target that is on the event now.
func (w *worker) wrote(t target) {
	if object := w.record.text(fObjectID); object != "" && (object == t.name || object == t.uid) {
		w.record.use(fObjectID)
	}
}

func (r *record) targetEntries() target {
	var t target
	list := cursor{raw: r.structure(fTarget)}
	for list.element() {
		id, kind := r.identity(list.value)
		t.listed = true
		switch kind {
		case "1", "5":
			if t.name == "" {
				t.name = id
			}
		case "0", "2":
			prefix, rest, ok := strings.Cut(id, "_")
			if ok && audit.IsGUID(rest) && t.kind == "" {
				t.kind = prefix
				if t.uid == "" {
					t.uid = rest
				}
			} else if t.uid == "" && audit.IsGUID(id) {
				t.uid = id
			}
		}
	}
	return t
}

// user is the target as a user.
func (t target) user() ocsf.User {
	u := ocsf.User{Name: t.name, UID: t.uid, TypeID: ocsf.Value(ocsf.UserTypeUnknown)}
	u.EmailAddr, _ = address(t.name)
	return u
}

// named is a user of whom only the name is known.
func named(name string) ocsf.User { return target{name: name}.user() }

// anyone is the user of an event that needs one where the record names none: whoever acted, else the operation.
func (w *worker) anyone() ocsf.User {
	if u := w.ev.Actor.User; u.Name != "" || u.UID != "" {
		return u
	}
	return named(w.operationText())
}
