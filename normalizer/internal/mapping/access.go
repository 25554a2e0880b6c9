package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// userAccess fills class 3005: user is who gets or loses the privileges, resources what they are for.
func (w *worker) userAccess() {
	e, r := &w.ev, &w.record
	t := w.target()
	switch grantee := w.grantee(); {
	case grantee != "":
		e.User = named(grantee)
	case t.some():
		e.User = t.user()
	default:
		e.User = w.anyone()
	}
	e.Privileges = w.privileges(e.Privileges)
	if t.some() {
		w.wrote(t)
		e.Resources = append(e.Resources, ocsf.ResourceDetails{
			Name: t.name, UID: t.uid, Type: w.resourceType(), RoleID: ocsf.Value(ocsf.RoleTarget),
		})
	} else if folder := r.part(fItem, "ParentFolder", "Path"); folder != "" {
		e.Resources = append(e.Resources, ocsf.ResourceDetails{
			Name: folder, UID: r.part(fItem, "ParentFolder", "Id"), Type: w.resourceType(), RoleID: ocsf.Value(ocsf.RoleTarget),
		})
	}
	w.owned()
}

// owned adds the application of which the target became or ceased to be an owner.
func (w *worker) owned() {
	if w.rule.privilege == "" || w.number != 8 {
		return
	}
	e, r := &w.ev, &w.record
	for _, kind := range [...]string{"Application", "ServicePrincipal"} {
		res := ocsf.ResourceDetails{
			Name: r.modified(kind + ".DisplayName"), UID: r.modified(kind + ".ObjectID"), Type: w.resourceType(),
			RoleID: ocsf.Value(ocsf.RoleRelated),
		}
		if res.Name != "" || res.UID != "" {
			e.Resources = append(e.Resources, res)
		}
	}
}

func (w *worker) resourceType() string {
	if w.rule.resource == cmdletNoun {
		_, noun, _ := strings.Cut(w.op, "-")
		return noun
	}
	return w.rule.resource
}

// grantee is the name of who gets or loses access, where a field says so.
func (w *worker) grantee() string {
	r := &w.record
	for _, name := range [...]string{"User", "Trustee"} {
		if s := r.pairText(fParameters, name); s != "" {
			return s
		}
	}
	if s := r.take(fTargetUserOrGroupName); s != "" {
		return s
	}
	if s := r.part(fItem, "ParentFolder", "MemberUpn"); s != "" {
		return s
	}
	return r.modified("User.UPN") // of a grant whose target is the application
}

func (w *worker) privileges(list []string) []string {
	r := &w.record
	if w.rule.privilege != "" {
		return append(list, w.rule.privilege)
	}
	for _, name := range [...]string{"AccessRights", "Role"} {
		if list = r.appendTexts(list, r.pair(fParameters, name)); len(list) > 0 {
			return list
		}
	}
	if s := r.part(fItem, "ParentFolder", "MemberRights"); s != "" {
		return append(list, s)
	}
	for _, name := range [...]string{"Role.DisplayName", "AppRole.DisplayName", "AppRole.Value", "Role.TemplateId"} {
		if s := r.modified(name); s != "" {
			return append(list, s)
		}
	}
	for _, name := range [...]string{"DelegatedPermissionGrant.Scope", "OAuth2PermissionGrant.Scope", "ConsentAction.Permissions"} {
		if list = appendScopes(list, r.modified(name)); len(list) > 0 {
			return list
		}
	}
	return append(list, "Unknown")
}

// maxList bounds the lists of names on an event. What is beyond stays in unmapped with the field it came from.
const maxList = 100

// appendTexts appends a text, or the texts of a list.
func (r *record) appendTexts(list []string, raw []byte) []string {
	if s := r.textOf(raw); s != "" {
		return append(list, s)
	}
	c := cursor{raw: raw}
	for c.element() && len(list) < maxList {
		if s := r.textOf(c.value); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// appendScopes reads the scopes of a consent: words with blanks between them, or the same behind "Scope:" in the text of a grant.
func appendScopes(list []string, s string) []string {
	if i := strings.LastIndex(s, "Scope:"); i >= 0 {
		s = s[i+len("Scope:"):]
		if end := strings.IndexAny(s, ",];"); end >= 0 {
			s = s[:end]
		}
	}
	for scope := range strings.FieldsSeq(s) {
		if len(list) == maxList {
			break
		}
		list = append(list, scope)
	}
	return list
}
