package mapping

import (
	"millrace/pkg/ocsf"
)

// maxMembers bounds the fan-out of one record. A change of more members than that is one event, with all of them in unmapped.
const maxMembers = 1000

// members is the number of events of the record: of a change of several members of a group, one for each.
func (w *worker) members() int {
	w.only = nil
	if w.class != ocsf.ClassGroupManagement {
		return 1
	}
	n := 0
	c := cursor{raw: w.record.get(fMembers)}
	for c.element() {
		if n++; c.value[0] != '{' {
			return 1 // not a list of members as the vendor writes it
		}
	}
	if n < 2 || n > maxMembers {
		return 1
	}
	return n
}

// groupManagement fills class 3006; of a fan-out the event for member i of n.
func (w *worker) groupManagement(i, n int) {
	e := &w.ev
	if n > 1 {
		e.Count = ocsf.Number(1)
	}
	t := w.target()
	used := w.group(t)
	if member := w.member(i); member != nil {
		w.memberUser(member)
		if n > 1 {
			w.only = append(append(append(w.only[:0], '['), member...), ']')
		}
	} else {
		w.groupUser(t, used)
	}
	if w.rule.privilege != "" {
		e.Privileges = append(e.Privileges, w.rule.privilege)
	}
}

// group fills the group and reports whether it is the record's target.
func (w *worker) group(t target) (isTarget bool) {
	g, r := &w.ev.Group, &w.record
	if g.Name = r.takeFirst(fTeamName, fWorkSpaceName, fGroupName); g.Name == "" {
		g.Name = r.modified("Group.DisplayName")
	}
	if g.UID = r.takeFirst(fAADGroupID, fTeamGuid, fWorkspaceID); g.UID == "" {
		g.UID = r.modified("Group.ObjectID")
	}
	if g.Name == "" && g.UID == "" {
		g.Name = r.pairText(fParameters, "Identity")
	}
	if g.Name != "" || g.UID != "" {
		return false
	}
	if g.Name, g.UID = t.name, t.uid; !t.some() {
		g.Name = w.operationText()
	}
	w.wrote(t)
	return true
}

// member is entry i of Members, or nil.
func (w *worker) member(i int) []byte {
	c := cursor{raw: w.record.get(fMembers)}
	for c.element() {
		if i == 0 {
			if c.value[0] != '{' {
				return nil
			}
			return c.value
		}
		i--
	}
	return nil
}

// memberUser fills the user from an entry of Members.
func (w *worker) memberUser(member []byte) {
	e, r := &w.ev, &w.record
	u := named(r.textOf(find(member, "UPN")))
	u.DisplayName = r.textOf(find(member, "DisplayName"))
	if u.Name == "" {
		if u.Name = u.DisplayName; u.Name == "" {
			return
		}
	}
	e.User = u
	if w.op == "MemberRoleChanged" {
		w.roleChange(r.textOf(find(member, "Role")))
	}
}

// roleChange tells from the new role whether the privileges of an owner were given or taken.
func (w *worker) roleChange(role string) {
	switch role {
	case "0", "Owner":
		w.ev.Activity = ocsf.Value(ocsf.GroupManagementAssignPrivileges)
	case "1", "2", "Member", "Guest":
		w.ev.Activity = ocsf.Value(ocsf.GroupManagementRevokePrivileges)
	default:
		return
	}
	w.ev.Privileges = append(w.ev.Privileges, "Owner")
}

// groupUser fills the user of a change of one member.
func (w *worker) groupUser(t target, groupIsTarget bool) {
	e, r := &w.ev, &w.record
	switch e.Activity.ID() {
	case ocsf.GroupManagementAddUser, ocsf.GroupManagementRemoveUser, ocsf.GroupManagementAssignPrivileges,
		ocsf.GroupManagementRevokePrivileges:
	default:
		return
	}
	for _, name := range [...]string{"Member", "Members", "User", "Links"} {
		if s := r.pairText(fParameters, name); s != "" {
			e.User = named(s)
			return
		}
	}
	if s := r.take(fTargetUserOrGroupName); s != "" {
		e.User = named(s)
		return
	}
	members := cursor{raw: r.structure(fMembershipInformation)}
	if members.element() {
		if s := r.textOf(find(members.value, "MemberEmail")); s != "" {
			e.User = named(s)
			return
		}
	}
	if !groupIsTarget && t.listed && t.some() {
		e.User = t.user()
		w.wrote(t)
	}
}
