package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// cmdletNoun is what the tables write where the noun of a cmdlet says what kind of thing was changed.
const cmdletNoun = "cmdlet noun"

// entityManagement fills class 3004.
func (w *worker) entityManagement() {
	e, r := &w.ev, &w.record
	t := w.target()
	w.wrote(t)
	if !t.some() {
		t.name = r.takeFirst(fModifiedObjectResolvedName, fChannelName, fName)
		t.uid = r.take(fChannelGuid)
	}
	kind := w.kind(t)
	entity := ocsf.ManagedEntity{Name: t.name, UID: t.uid}
	if entity.Name == "" && entity.UID == "" {
		entity.Name = w.operationText()
	}
	describe(&entity, kind)
	e.Entity = entity
	e.Entity.Data = r.changes(false)
	if after := r.changes(true); after != nil {
		e.EntityResult = entity
		e.EntityResult.Data = after
	}
}

// describe sets the type of an entity, and for the types that the schema has objects for, the object.
func describe(entity *ocsf.ManagedEntity, kind string) {
	switch kind {
	case "":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeUnknown)
	case "Device":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeDevice)
		entity.Device = ocsf.Device{Name: entity.Name, UID: entity.UID, TypeID: ocsf.Value(0)}
	case "User":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeUser)
		entity.User = target{name: entity.Name, uid: entity.UID}.user()
	case "Group":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeGroup)
		entity.Group = ocsf.Group{Name: entity.Name, UID: entity.UID}
	case "Organization":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeOrganization)
		entity.Org = ocsf.Organization{Name: entity.Name, UID: entity.UID}
	case "Policy":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypePolicy)
		entity.Policy = ocsf.Policy{Name: entity.Name, UID: entity.UID}
	case "Email":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeEmail)
	case "Network Zone":
		entity.TypeID = ocsf.Value(ocsf.ManagedEntityTypeNetworkZone)
	default:
		entity.TypeID = ocsf.OtherValue(kind)
	}
}

// kind is the kind of thing the record is about, in words; "" when neither tables nor record say.
func (w *worker) kind(t target) string {
	switch kind := w.rule.resource; kind {
	case "":
		return kindOf(t)
	case cmdletNoun:
		if _, noun, ok := strings.Cut(w.op, "-"); ok {
			return noun
		}
		return kindOf(t)
	case "Directory Object":
		if k := kindOf(t); k != "" {
			return k
		}
		return kind
	default:
		return kind
	}
}

// kindOf is the kind in the prefix of the target's id.
func kindOf(t target) string {
	if t.kind == "ServicePrincipal" {
		return "Service Principal"
	}
	return t.kind
}
